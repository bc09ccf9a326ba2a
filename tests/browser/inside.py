"""The pages served by this process, for tests that change what is inside of it: imported in place of the product."""

import pytest
from gevent.pywsgi import WSGIServer

from tests.conftest import api, app, demo

__all__ = ["api", "app", "demo", "site"]


@pytest.fixture
def site(app):
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None)
    server.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop(timeout=1)
