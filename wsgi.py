"""What gunicorn serves and the flask command finds."""

from chatapp import create_app

app = create_app()
