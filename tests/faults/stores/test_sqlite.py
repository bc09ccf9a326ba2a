"""SQLite is locked, full, read-only or no longer there: reading goes on, and what was taken is saved once and whole."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import gevent
import pytest
from sqlalchemy import event

from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from tests import servers
from tests.conftest import make_user
from tests.faults.invariants import hold
from tests.streams import Api, until

LOCKED_SECONDS = 3
LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def path(url):
    return url.removeprefix("sqlite:///")


class Stalls:
    """How long the loop of this process stood still at most, in seconds, apart from waiting for a processor."""

    def __enter__(self):
        self.longest = 0.0
        self._ticking = gevent.spawn(self._tick)
        gevent.sleep(0)
        return self

    def __exit__(self, *_):
        self._ticking.kill()

    def _tick(self):
        while True:
            began, queued = time.monotonic(), self._queued_seconds()
            gevent.sleep(0.005)
            late = time.monotonic() - began - 0.005 - (self._queued_seconds() - queued)
            self.longest = max(self.longest, late)

    @staticmethod
    def _queued_seconds():
        """The second figure is the time that this thread was ready to run and did not (Linux, schedstat, ns)."""
        thread = threading.main_thread().native_id
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9


def test_a_lock_of_another_process_is_waited_for_and_nobody_else_waits(app, api, demo, sqlite_url, caplog):
    chat = api.new_chat()
    api.send(chat, "What is imported and compiled at first use is.")
    command = [sys.executable, "-c", LOCK, path(sqlite_url), str(LOCKED_SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other, Stalls() as stalls:
        assert other.stdout.readline() == b"locked\n"
        began = time.monotonic()
        sending = gevent.spawn(api.send, chat, "Hi")
        assert [api.call("GET", "/chat").status_code for _ in range(5)] == [200] * 5

        heard = sending.get(timeout=20)
        waited = time.monotonic() - began

    assert (heard.status, heard.text, heard.final["done"]) == (200, "Hello.", True)
    assert waited > LOCKED_SECONDS / 2
    assert stalls.longest < LOCKED_SECONDS / 10
    assert "database is locked" not in caplog.text
    hold(sqlite_url)


@contextlib.contextmanager
def full(app):
    """Let the file grow no further. SQLite fails as it does on a full disk."""
    is_full = True

    def stop_growing(connection):
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        # 0 changes nothing; a number below what there is means what there is.
        connection.exec_driver_sql(f"PRAGMA max_page_count = {1 if is_full else 2**30}")
        assert pages

    with app.app_context():
        event.listen(db.engine, "begin", stop_growing)
        yield
    is_full = False


def test_a_full_disk_keeps_what_was_said_until_there_is_room(app, api, demo, sqlite_url):
    chat, other, hold_end = api.new_chat(), api.new_chat(), demo.hold()
    text = "Very long. " * 3000
    demo.will_say("So far. ", hold_end, text)
    sending = gevent.spawn(api.send, chat, "Hi")
    until(lambda: (found := api.messages(chat)) and found[1]["content"] == "So far. ")

    with full(app):
        hold_end.set()
        until(lambda: api.messages(chat)[1]["content"] == "So far. " + text)
        gevent.sleep(1)
        refused = [api.call("POST", f"/chat/{other}/message", json={"message": "Hi " * 1600}) for _ in range(2)]
        assert (api.messages(chat)[1]["status"], sending.ready()) == ("in_progress", False)
        with contextlib.closing(sqlite3.connect(path(sqlite_url))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    for response in refused:
        assert (response.status_code, response.get_json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert response.headers["Retry-After"]
    heard = sending.get(timeout=20)
    assert (heard.text, heard.final["done"]) == ("So far. " + text, True)
    assert api.messages(other) == []
    hold(sqlite_url)


def test_a_file_that_may_only_be_read_is_read(make_app, sqlite_url, demo):
    writable = make_app(sqlite_url)
    user = make_user(writable, "ada@example.org")
    chat = Api(writable, user).new_chat()
    app = make_app(f"sqlite:///file:{path(sqlite_url)}?mode=ro&uri=true")
    api = Api(app, user)

    refused = api.call("POST", f"/chat/{chat}/message", json={"message": "Hi"})

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert refused.get_json()["code"] == "SERVICE_UNAVAILABLE"
    assert [api.call("GET", where).status_code for where in ("/chat", f"/chat/{chat}", "/user/token-usage")] == [
        200
    ] * 3
    # Nothing of the failed transaction is left: it would keep the writable one out.
    with writable.app_context(), write():
        pass
    assert Api(writable, user).send(chat, "Hi").final["done"]
    hold(sqlite_url)


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_file_that_is_deleted_or_replaced_fails_the_health_check(app, api, client, sqlite_url, is_replaced):
    chat = api.new_chat()
    os.unlink(path(sqlite_url))
    if is_replaced:
        shutil.copy(servers.migrated_sqlite(), path(sqlite_url))

    api.send(chat, "Hi")

    answer = client.get("/healthz")
    assert (answer.status_code, answer.get_json()["status"]) == (503, "database file replaced")


def test_a_file_that_stays_passes_the_health_check(api, client):
    api.send(api.new_chat(), "Hi")

    assert client.get("/healthz").status_code == 200


def test_a_database_of_another_version_stops_the_start_and_says_so(server, sqlite_url):
    with contextlib.closing(sqlite3.connect(path(sqlite_url))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(RuntimeError) as failure:
        server()

    said = str(failure.value)
    assert "9999" in said
    assert "newer" in said
    assert "Traceback" not in said


def test_a_database_of_an_older_version_is_brought_up_to_date(server, tmp_path):
    """A file without a table is as old as can be."""
    url = f"sqlite:///{tmp_path / 'old.db'}"

    server(DATABASE_URL=url)

    with contextlib.closing(sqlite3.connect(path(url))) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)
