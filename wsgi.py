"""What gunicorn serves and the flask command finds."""

import os
import sys

from chatapp import create_app
from chatapp.kernel.config import ConfigurationError

os.umask(0o077)
try:
    app = create_app()
except ConfigurationError as error:
    sys.exit(f"The product cannot start:\n{error}")
