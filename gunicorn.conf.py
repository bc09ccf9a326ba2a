"""How gunicorn runs the product. gevent patches first: what was imported before would block the whole process."""

from gevent import monkey

monkey.patch_all()

import errno
import faulthandler
import gc
import os
import socket
import sys
from contextlib import nullcontext
from pathlib import Path

from gunicorn.http import message
from sqlalchemy.orm import configure_mappers

from chatapp.kernel.config import ConfigurationError, load
from chatapp.kernel.logs import without_dropped_peers, without_request_lines
from chatapp.kernel.server.loop_alarm import LoopAlarm

# Files created from here on, such as databases, are readable by this system account only.
os.umask(0o077)
try:
    settings = load()
except ConfigurationError as error:
    sys.exit(f"The product cannot start:\n{error}")

pythonpath = str(Path(__file__).parent)
wsgi_app = "wsgi:app"
bind = f"{f'[{settings.host}]' if ':' in settings.host else settings.host}:{settings.port}"
workers = settings.web_concurrency
worker_class = "chatapp.kernel.server.drain.DrainWorker"
# At the limit not even a health check gets in, so listeners are refused earlier (MAX_LISTENERS).
worker_connections = settings.max_listeners + 2000
# nginx keeps idle connections for 60 s; ours must outlive them, or it sends a request into a closed one.
keepalive = 75
timeout = 30
graceful_timeout = settings.drain_seconds + 5
# Don't replace a worker after a number of requests: a single worker's streams would be cut for seconds.
max_requests = 0

# A URL may hold a message (GET form): 5,000 emoji are 60,000 characters. gunicorn caps this setting at 8,190, and with
# 0 it rescans everything received with each packet: 20 MB without a line end took 29 s.
message.MAX_REQUEST_LINE = limit_request_line = 128 * 1024
limit_request_fields = 60
limit_request_field_size = 8190
forwarded_allow_ips = "127.0.0.1"
control_socket_disable = True
# Without the query string, which may hold a message.
access_log_format = "%(h)s %(m)s %(U)s %(s)s %(B)s %(L)s"
loglevel = "warning"


def _check_address(server):
    """Say in one line what gunicorn would try five times and then say in twelve."""
    address = server.address[0]
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            sys.exit(f"{bind} {reason}: set HOST or PORT to another address.")


def on_starting(server):
    """Bring the database up to date. The workers are forks of this process and inherit what it imports for that."""
    from flask_migrate import upgrade
    from sqlalchemy.exc import OperationalError

    from chatapp import create_app
    from chatapp.kernel import database
    from chatapp.kernel.extensions import db
    from chatapp.kernel.server.upgrading import answering

    is_handed_down = "LISTEN_FDS" in os.environ or "GUNICORN_FD" in os.environ  # Another process passes the socket.
    if not is_handed_down:
        _check_address(server)
    # For migrations only: each worker creates its own. Rate limits would start a thread, which a fork must not inherit.
    try:
        app = create_app(rate_limits=False)
    except ConfigurationError as error:
        sys.exit(f"The product cannot start:\n{error}")
    with app.app_context():
        try:
            with answering(*server.address[0]) if database.is_older() and not is_handed_down else nullcontext():
                upgrade()
        except OperationalError as error:
            url = db.engine.url.render_as_string()  # Without the password.
            sys.exit(f"The database {url} cannot be used. Is DATABASE_URL right?\n{error.orig}")
        except SystemExit:
            # The log line above names the revision that this program doesn't know.
            sys.exit("The database was last used by a newer version of this program. Start that one, or restore a copy")
        for engine in app.extensions["sqlalchemy"].engines.values():
            engine.dispose()  # A connection must not be shared with a fork.


def on_reload(server):
    """Forget our own modules, so that new workers import the code as it is now."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("chatapp", "wsgi")]:
        del sys.modules[name]


def post_worker_init(worker):
    from chatapp.connections import live

    app = worker.wsgi
    worker.log.error_log.addFilter(without_dropped_peers)
    worker.log.error_log.addFilter(without_request_lines)
    app.extensions["worker"] = worker
    app.extensions["providers"].warm_up()
    # Otherwise the first request does this, and all others wait about 100 ms for it.
    configure_mappers()
    with app.app_context():
        live.look()
    app.extensions["live_turns"].start()
    if settings.loop_alarm_ms:
        LoopAlarm(settings.loop_alarm_ms).start()
    # Don't scan permanent objects on every collection.
    gc.collect()
    gc.freeze()
    if worker.age == 1:
        _say_hello(app, worker)


def worker_abort(worker):
    """Show where a worker hangs and end it. gunicorn's own way out would be swallowed by the greenlet that hangs."""
    faulthandler.dump_traceback(all_threads=True)
    os._exit(1)


def _say_hello(app, worker):
    from chatapp.auth.invitations import setup_link
    from chatapp.kernel.redis import warn_if_silent

    host, port = worker.sockets[0].getsockname()[:2]
    print(f"{settings.site_name} is at http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    if settings.redis_url:
        warn_if_silent(settings.redis_url)
    with app.app_context():
        if link := setup_link(app, port):
            print(f"There is no account yet. Make the first one here: {link}", flush=True)
