"""Two processes that share one PostgreSQL and one Redis: as two applications in here, or as two real ones."""

import pytest

from chatapp import create_app
from chatapp.extensions import db
from chatapp.providers.registry import Providers
from tests.conftest import make_user
from tests.faults.program import Program
from tests.providers.scripted import ScriptedProvider
from tests.streams import Api

SECRET = "f" * 32


@pytest.fixture
def make_app(tmp_path, demo):
    """Make an application in this process: make_app(url, redis_url=...). Settings by name."""
    made = []

    def make(url, **settings):
        values = {"instance_dir": tmp_path / "instance", "rate_limits": False, "secret_key": SECRET}
        app = create_app(Providers([demo]), database_url=url, **(values | settings))
        app.testing = True
        made.append(app)
        return app

    yield make
    demo.release()
    for app in made:
        app.extensions["services"].turns.close()
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
        return make_user(app, email, limit)

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def products(server, make_person, postgresql_url, redis_url):
    """Start two real processes on one PostgreSQL and one Redis: products(DEMO_PACE_SECONDS="0.01") → two programs."""

    def start_two(**env):
        shared = {"DATABASE_URL": postgresql_url, "REDIS_URL": redis_url, "SECRET_KEY": SECRET, "RATE_LIMITS": "false"}
        servers = [server(**shared, **env) for _ in range(2)]
        person = make_person(postgresql_url)
        return [Program(one, person) for one in servers]

    return start_two
