"""Two processes that share one PostgreSQL and one Redis: as two applications in here, or as two real ones."""

import gevent
import httpx
import pytest

from chatapp import create_app
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers
from tests import servers
from tests.auth.browser import signed_in
from tests.conftest import make_user
from tests.faults.program import Program
from tests.providers.scripted import ScriptedProvider
from tests.scripted_gemini import ScriptedGemini
from tests.streams import Api

SECRET = "f" * 32
GEMINI_KEY = "scripted-key-of-no-value"
# Too much for the quick suite, which is for every few minutes.
SLOW = {"hostile", "people", "provider", "stores"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name in SLOW and item.path.parent.parent.name == "faults":
            item.add_marker("slow")


@pytest.fixture
def make_app(tmp_path, demo):
    """Make an application in this process: make_app(url, redis_url=...). Settings by name.

    has_demo: the scripted provider answers, not the one that the settings name.
    """
    made = []

    def make(url, has_demo=True, **settings):
        values = {"instance_dir": tmp_path / "instance", "rate_limits": False, "secret_key": SECRET}
        app = create_app(Providers([demo]) if has_demo else None, database_url=url, **(values | settings))
        app.testing = True
        made.append(app)
        return app

    yield make
    demo.release()
    for app in made:
        app.extensions["live_turns"].close()
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def pair(make_app, postgresql_url, redis_url):
    """Two applications on one PostgreSQL and one Redis, and the same person's programs before them."""
    apps = [make_app(postgresql_url, redis_url=redis_url) for _ in range(2)]
    person = make_user(apps[0], "ada@example.org")
    return [Api(app, person) for app in apps]


@pytest.fixture
def make_person(tmp_path):
    """Make somebody on a server's database without asking the server: make_person(url).key."""
    made = []

    def make(url, email="ada@example.org", limit=None):
        values = {"instance_dir": tmp_path / "instance", "secret_key": SECRET}
        app = create_app(Providers([ScriptedProvider()]), database_url=url, **values)
        made.append(app)
        person = make_user(app, email, limit)
        person.cookie = signed_in(app, person.id).cookie()
        return person

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def scripted():
    """A scripted Gemini in this process."""
    server = ScriptedGemini().start()
    yield server
    server.release()
    server.stop()


@pytest.fixture
def gemini(start, tmp_path):
    """A scripted Gemini beside the servers: gemini.post("/__script", json=[...])."""
    process = start(servers.gemini(tmp_path))
    with httpx.Client(base_url=process.url) as client:
        yield client


@pytest.fixture
def products(server, make_person, postgresql_url, redis_url):
    """Start two real processes on one PostgreSQL and one Redis: products(DEMO_PACE_SECONDS="0.01") → two programs.

    gemini: who answers, instead of the demo. config: how gunicorn runs the first of them, where it is not as shipped.
    """

    def start_two(gemini=None, config=None, **env):
        shared = {"DATABASE_URL": postgresql_url, "REDIS_URL": redis_url, "SECRET_KEY": SECRET, "RATE_LIMITS": "false"}
        if gemini:
            shared |= {"GEMINI_API_KEY": GEMINI_KEY, "GEMINI_BASE_URL": str(gemini.base_url), "COUNT_SECONDS": "30"}
        first = {"config": config} if config else {}
        starting = [gevent.spawn(server, **shared, **env, **how) for how in (first, {})]
        person = make_person(postgresql_url)
        programs.extend(Program(each.get(), person) for each in starting)
        return programs[-2:]

    programs: list[Program] = []
    yield start_two
    for program in programs:
        program.close()
