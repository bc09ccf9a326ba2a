"""What every test may ask for. The process is patched for gevent before any other import, as the server is."""

from gevent import monkey

monkey.patch_all()

import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import local

import gevent
import gevent.monkey
import jinja2
import pytest
from sqlalchemy import Engine, event

from tests import servers
from tests.chromium import browser, complaints, new_context, playwright  # noqa: F401  (fixtures)

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
# Logged by chatapp/kernel/server/loop_alarm.py.
HELD = "The event loop was blocked"
LOCAL = ("127.", "::1", "localhost")
os.environ.update(servers.PATIENT)


if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker hears from its controller through a thread. A hub with nothing of its own to wait for would call
    # that a deadlock; this watcher gives it something.
    _hears_of_threads = gevent.get_hub().loop.async_()
    _hears_of_threads.start(lambda: None)


class _PolledEvent:
    """Says that a worker of xdist has tests to run. An event of gevent's can miss what a thread of the system sets."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self) -> None:
        while not self._is_set:
            gevent.sleep(0.01)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have a worker wait for its tests by means that a thread of the system can use: it hung in one run of many."""
    for plugin in session.config.pluginmanager.get_plugins():
        if hasattr(plugin, "torun"):
            plugin.torun._lock = gevent.monkey.get_original("_thread", "RLock")()
            plugin.torun._has_items_event = _PolledEvent()


class _Drawing(local):
    """Whether this greenlet is drawing a template."""

    is_on = False


_drawing = _Drawing()
_render = jinja2.Template.render


def _draw(template: jinja2.Template, *values: object, **named: object) -> str:
    was_on, _drawing.is_on = _drawing.is_on, True
    try:
        return _render(template, *values, **named)
    finally:
        _drawing.is_on = was_on


def _refuse_queries(*statement: object) -> None:
    assert not _drawing.is_on, f"a template asked the database: {statement[2]}"


# Views load what their templates show: for every test the database is closed while a template is drawn.
jinja2.Template.render = _draw  # type: ignore[method-assign]
event.listen(Engine, "before_cursor_execute", _refuse_queries)


def _close_network(event: str, arguments: tuple) -> None:
    """Let nobody out of this machine. Audit hooks see every call, whatever library makes it."""
    if event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0] or "localhost"
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if not host.startswith(LOCAL):
        raise RuntimeError(f"a test wants to reach {host}: the network is closed")


sys.addaudithook(_close_network)


# The run: what it shares, what it leaves out


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # Whoever ends the run, it is cleared away.
        servers.begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        servers.end_run()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, package in servers.missing().items():
        if item.get_closest_marker(mark):
            pytest.skip(f"{mark} tests: no {servers.NEEDS[mark][0]} here (Debian package {package})")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line per reason what was left out, and note what failed for .ci/again.py."""
    # Left out is failed too, where nothing may be: it is left out again.
    failed = [
        report.nodeid for kind in ("failed", "error", "skipped") for report in terminalreporter.stats.get(kind, [])
    ]
    if failed and (path := os.environ.get("FAILED_TESTS")):
        Path(path).write_text("\n".join(failed))
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", [])]
    for reason in sorted(set(reasons)):
        terminalreporter.write_line(f"{reasons.count(reason)} left out: {reason.removeprefix('Skipped: ')}")
    if reasons and _must_be_complete():
        terminalreporter.write_line("CI=true: a test left out is a failure")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _must_be_complete() and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _must_be_complete() -> bool:
    return os.environ.get("CI") == "true"


@pytest.fixture(autouse=True)
def _nothing_holds_a_loop() -> Iterator[None]:
    """Fail the test in which a product was kept from all its other work for 300 ms of CPU time."""
    yield
    held = []
    for product in servers.PRODUCTS:
        # A test that made a folder of its own may have removed it with its end.
        with contextlib.suppress(FileNotFoundError):
            held += product.log().split(HELD)[1:]
    servers.PRODUCTS[:] = [product for product in servers.PRODUCTS if product.is_running and not held]
    assert not held, HELD + held[0][:4000]


# Databases and servers


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database of this test's own, migrated and empty."""
    shutil.copy(servers.migrated_sqlite(), tmp_path / "chat.db")
    return f"sqlite:///{tmp_path / 'chat.db'}"


@pytest.fixture(scope="session")
def _postgresql_database() -> str:
    """This test process's own PostgreSQL database, a copy of one that was migrated."""
    import psycopg

    def prepare(url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE empty")
        servers.migrate(url.replace("/postgres", "/empty"))

    url = servers.shared(servers.postgresql, prepare)
    with servers.once("template"), psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {WORKER} TEMPLATE empty")
    return url.replace("/postgres", f"/{WORKER}")


@pytest.fixture
def postgresql_url(_postgresql_database: str) -> str:
    """A PostgreSQL database, migrated and empty. A test that uses it is marked postgresql."""
    import psycopg

    with psycopg.connect(_postgresql_database) as connection:
        connection.execute("SET LOCAL lock_timeout = '5s'")
        # Neither foreign keys nor the triggers that guard the ledger stand in the way of emptying.
        connection.execute("SET LOCAL session_replication_role = replica")
        for (table,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            if table != "alembic_version":
                connection.execute(f'DELETE FROM "{table}"')
    return _postgresql_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database(request: pytest.FixtureRequest) -> str:
    """The address of an empty database: a test that uses it runs on SQLite and on PostgreSQL."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def redis_url() -> str:
    """An empty database of the run's Redis. A test that uses it is marked redis."""
    import redis

    url = f"{servers.shared(servers.redis)}/{int(WORKER.removeprefix('gw')) % 16}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[servers.Recipe], servers.Process]]:
    """Start servers of this test's own, to be killed or paused: start(servers.redis(tmp_path))."""
    started: list[servers.Process] = []

    def start_one(recipe: servers.Recipe) -> servers.Process:
        started.append(servers.start(recipe, tmp_path))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


@pytest.fixture
def server(tmp_path: Path, sqlite_url: str) -> Iterator[Callable[..., servers.Process]]:
    """Start the product in a process of its own: server(DATABASE_URL=postgresql_url).url. Settings by name; gunicorn's own
    as arguments."""
    started: list[servers.Process] = []

    def start_one(*arguments: str, config: Path = servers.ROOT / "gunicorn.conf.py", **env: str) -> servers.Process:
        product = servers.start_product(tmp_path, {"DATABASE_URL": sqlite_url, **env}, *arguments, config=config)
        started.append(product)
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


# The application in this process


@pytest.fixture
def demo():
    """The provider behind the application of this process: it says what the test tells it to."""
    from tests.providers.scripted import ScriptedProvider

    provider = ScriptedProvider()
    yield provider
    provider.release()


@pytest.fixture
def settings() -> dict[str, object]:
    """Settings of the application that a test wants otherwise: override it in a module, or fill it by parametrising."""
    return {}


@pytest.fixture
def app(sqlite_url, tmp_path, demo, settings):
    """The application on SQLite, with the scripted provider and without request limits."""
    yield from application(sqlite_url, tmp_path, demo, settings)


@pytest.fixture
def both_app(database, tmp_path, demo, settings):
    """The application on SQLite and on PostgreSQL: a test that uses it runs on both."""
    yield from application(database, tmp_path, demo, settings)


def application(url, tmp_path, demo, settings):
    from chatapp import create_app
    from chatapp.kernel.extensions import db
    from chatapp.providers.registry import Providers

    values = {"database_url": url, "instance_dir": tmp_path / "instance", "rate_limits": False, "secret_key": "x" * 32}
    app = create_app(Providers([demo]), **(values | settings))
    app.testing = True
    yield app
    demo.release()
    app.extensions["live_turns"].close()
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app):
    """A browser that is not signed in."""
    return app.test_client()


@pytest.fixture
def user(app):
    return make_user(app, "ada@example.org")


@pytest.fixture
def other_user(app):
    return make_user(app, "eve@example.org")


class Person:
    """A user as plain values, and the key with which programs come in."""

    def __init__(self, user_id, email, key) -> None:
        self.id, self.email, self.key = user_id, email, key
        self.headers = {"Authorization": f"Bearer {key}"}


def make_user(app, email: str, limit: int | None = None, is_admin: bool = False) -> Person:
    from chatapp.auth import accounts
    from chatapp.auth.models import ApiKey
    from chatapp.kernel.database import write

    with app.app_context(), write():
        account = accounts.create(email, "!", is_admin=is_admin, limit=limit)
        return Person(account.id, email, ApiKey.issue(account))


@pytest.fixture
def api(app, user):
    """A program of the user's, with a personal key."""
    from tests.streams import Api

    return Api(app, user)


@pytest.fixture
def both_api(both_app):
    """The same on SQLite and on PostgreSQL."""
    from tests.streams import Api

    return Api(both_app, make_user(both_app, "ada@example.org"))
