"""A server that brings an old database up to date says that it is alive, and serves when it has done so."""

import os
import sqlite3
import sys
from contextlib import closing

import httpx
import pytest
from flask_migrate import downgrade

from chatapp import create_app
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers
from tests import servers
from tests.providers.scripted import ScriptedProvider
from tests.servers import Process, free_port


@pytest.fixture
def old_database(tmp_path, sqlite_url):
    app = create_app(
        Providers([ScriptedProvider()]), database_url=sqlite_url, instance_dir=tmp_path, secret_key="x" * 32
    )
    with app.app_context():
        downgrade(revision="0011")
        db.engine.dispose()
    return sqlite_url


def get(url):
    try:
        return httpx.get(url, timeout=2)
    except httpx.TransportError:
        return None


def test_it_is_alive_while_it_migrates_and_serves_afterwards(old_database, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "DATABASE_URL": old_database, "INSTANCE_DIR": str(tmp_path)}
    with closing(sqlite3.connect(old_database.removeprefix("sqlite:///"), isolation_level=None)) as other:
        # Migrating waits for who writes.
        other.execute("BEGIN IMMEDIATE")
        program = [sys.executable, "-m", "gunicorn", "-c", str(servers.ROOT / "gunicorn.conf.py")]
        server = Process(program, tmp_path, env)
        try:
            server.wait_until(lambda: get(f"{url}/healthz"))
            health, page = get(f"{url}/healthz"), get(f"{url}/login")
            other.execute("ROLLBACK")
            server.wait_until(lambda: "Tally is at http" in server.log())
            served = get(f"{url}/healthz"), get(f"{url}/login")
        finally:
            server.kill()

    assert (health.status_code, health.json()["status"]) == (200, "upgrading")
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert [answer.status_code for answer in served] == [200, 200]
    assert served[0].json()["status"] == "ok"
