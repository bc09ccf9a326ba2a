"""The n-th call to the database of a turn fails, n = 1, 2, … until a turn comes through; after each, all is well."""

import gevent
import pytest
from sqlalchemy import event

from chatapp.exchanges import recovery as leases
from chatapp.kernel.extensions import db
from chatapp.turns.live import process
from tests.faults.invariants import hold
from tests.streams import until

MOST_CALLS = 120


class Failpoint:
    """Fails the n-th statement or commit after arm(n), once. how: "trouble" of the store, a "bug" of ours."""

    def __init__(self, app, monkeypatch, how):
        self.n, self.calls = 0, 0
        with app.app_context():
            dialect = db.engine.dialect
            trouble = dialect.dbapi.OperationalError("disk I/O error")
            self._error = trouble if how == "trouble" else RuntimeError("a bug")
            event.listen(db.engine, "do_execute", lambda *_: self._tick())
        commit = dialect.do_commit
        monkeypatch.setattr(dialect, "do_commit", lambda connection: (self._tick(), commit(connection))[1])

    def arm(self, n):
        self.n, self.calls = n, 0

    def disarm(self):
        has_failed, self.n = 0 < self.n <= self.calls, 0
        return has_failed

    def _tick(self):
        if self.n:
            self.calls += 1
            if self.calls == self.n:
                raise self._error


@pytest.mark.parametrize("how", ["trouble", "bug"])
def test_the_nth_call_to_the_database_fails_and_everything_holds(both_app, both_api, demo, database, how, monkeypatch):
    monkeypatch.setattr(leases, "LEASE", leases.LEASE / 10)
    for name in ("HEARTBEAT_EVERY_SECONDS", "SWEEP_SECONDS", "TRUST_SECONDS"):
        monkeypatch.setattr(process, name, getattr(process, name) / 10)
    both_api.send(both_api.new_chat(), "What is made at first use is.")
    failpoint, turns = Failpoint(both_app, monkeypatch, how), both_app.extensions["live_turns"]
    taken, refused = 0, 0

    for n in range(1, MOST_CALLS):
        chat = both_api.new_chat()
        demo.will_say("So ", "far.")
        failpoint.arm(n)
        heard = both_api.send(chat, f"Call {n}")
        has_failed = failpoint.disarm()
        demo._answers.clear()
        until(lambda: not turns.open_count(), 20)
        said = (n, how, heard.status)

        if heard.status == 200:
            taken += 1
            [question, answer] = both_api.messages(chat)
            assert (said, question["content"]) == (said, f"Call {n}")
            assert (said, answer["content"], heard.text) == (said, "So far.", "So far.")
            assert (said, answer["tokens_consumed"]) == (said, heard.final["tokens_used"])
        else:
            refused += 1
            assert (said, heard.error["code"]) == (
                said, "SERVICE_UNAVAILABLE" if heard.status == 503 else "INTERNAL_ERROR",
            )  # fmt: skip
        hold(database, lease_seconds=20)
        if not has_failed:
            break
        gevent.sleep(0)

    assert not has_failed
    assert taken > 5
    assert refused > 0
