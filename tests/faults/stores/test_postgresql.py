"""PostgreSQL restarts, goes away, hands out no connection, refuses and cuts: what was taken is kept and charged once."""

import contextlib
import signal

import gevent
import pytest
from sqlalchemy import event

from chatapp.kernel.extensions import db
from tests.faults.invariants import hold
from tests.streams import until

pytestmark = pytest.mark.postgresql

FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT
HOW = pytest.mark.parametrize("how", [FAST, IMMEDIATE], ids=["fast", "immediate"])


@HOW
def test_a_restart_in_mid_answer_is_not_noticed(on_postgresql, own_postgresql, half_said, ends_well, how):
    api = on_postgresql()
    said = half_said(api)

    own_postgresql.restart(how)
    said.go_on()

    ends_well(api, own_postgresql.url, said.chat, said.heard())


@HOW
def test_a_restart_between_the_last_piece_and_the_settling_delays_it(
    on_postgresql, own_postgresql, half_said, ends_well, demo, how
):
    api = on_postgresql()
    said = half_said(api)
    restarts = []

    def restart_while_it_is_counted(_text):
        # The texts are counted side by side, for two seconds at most.
        restarts.append(_text)
        if len(restarts) == 1:
            own_postgresql.restart(how)

    demo.count_rule = restart_while_it_is_counted
    said.go_on()

    ends_well(api, own_postgresql.url, said.chat, said.heard())
    assert restarts


@pytest.mark.parametrize("seconds", [2.5, pytest.param(61, marks=pytest.mark.slow)])
def test_while_it_is_down_answers_stream_on_and_new_sends_are_put_off(
    on_postgresql, own_postgresql, half_said, ends_well, demo, seconds
):
    api = on_postgresql()
    said, other = half_said(api), api.new_chat()
    own_postgresql.store.stop()
    said.third.set()
    turns = api.client.application.extensions["live_turns"]
    until(lambda: PIECES_SO_FAR in [run.log.text for run in turns._runs.values()], 1)

    refused = api.call("POST", f"/chat/{other}/message", json={"message": "Hi"})
    page = api.client.get("/", headers=api.headers)
    said.end.set()
    gevent.sleep(seconds)
    assert not said.listening.ready()
    own_postgresql.store.start()

    for response in (refused, page):
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert refused.get_json()["code"] == "SERVICE_UNAVAILABLE"
    ends_well(api, own_postgresql.url, said.chat, said.heard())
    assert len(demo.requests) == 1
    assert api.send(other, "Hi").final["done"]


PIECES_SO_FAR = "The first third, the second, "


def test_sixty_turns_on_a_pool_of_five_and_ten_never_wait_for_a_connection(on_postgresql, own_postgresql, demo, caplog):
    api = on_postgresql(database_pool_size=5, database_max_overflow=10, max_listeners_per_user=60, token_limit=10**6)
    chats = [api.new_chat() for _ in range(60)]
    for _ in chats:
        demo.will_say("So", demo.hold(), " far.")

    sending = [gevent.spawn(api.send, chat, "Hi") for chat in chats]
    until(lambda: len(demo.requests) == 60)
    gevent.sleep(1.2)
    idle = own_postgresql.sessions("state = 'idle in transaction' AND state_change < now() - interval '1 s'")
    demo.release()

    assert [one.get(timeout=30).text for one in sending] == ["So far."] * 60
    assert idle == 0
    assert "QueuePool" not in caplog.text
    hold(own_postgresql.url)


@contextlib.contextmanager
def locked(database, table="user_usage"):
    """Hold the rows of a table from another session. Its own deadlocks it leaves to others to find."""
    with database.connect() as session:
        session.execute("SET deadlock_timeout = '20s'")
        session.execute(f"SELECT * FROM {table} FOR UPDATE")
        yield session
        session.rollback()


def waits(database):
    return lambda: database.sessions("wait_event_type = 'Lock'")


def test_a_row_that_somebody_else_holds_is_waited_for(on_postgresql, own_postgresql, half_said, ends_well):
    api = on_postgresql()
    said, other = half_said(api), api.new_chat()

    with locked(own_postgresql):
        said.go_on()
        sending = gevent.spawn(api.send, other, "Hi")
        until(lambda: waits(own_postgresql)() == 2)
        gevent.sleep(2)

    assert sending.get(timeout=10).final["done"]
    assert said.heard().final["done"]
    hold(own_postgresql.url)


def test_a_lock_that_times_out_is_asked_for_again(on_postgresql, own_postgresql, half_said, ends_well):
    api = on_postgresql()
    timeouts = []
    with api.client.application.app_context():
        event.listen(db.engine, "checkout", lambda connection, *_: connection.execute("SET lock_timeout = '200ms'"))
        event.listen(db.engine, "handle_error", lambda context: timeouts.append(context.original_exception.sqlstate))
    said = half_said(api)

    with locked(own_postgresql):
        said.go_on()
        until(lambda: timeouts.count("55P03") >= 2)

    ends_well(api, own_postgresql.url, said.chat, said.heard())


def test_a_deadlock_is_tried_again(on_postgresql, own_postgresql, half_said, ends_well, caplog):
    api = on_postgresql()
    said, deadlocks = half_said(api), []
    with api.client.application.app_context():
        event.listen(db.engine, "handle_error", lambda context: deadlocks.append(context.original_exception.sqlstate))

    with locked(own_postgresql) as session:
        said.go_on()
        until(waits(own_postgresql))
        gevent.spawn(session.execute, "UPDATE exchanges SET heartbeat_at = heartbeat_at").get(timeout=10)

    assert "40P01" in deadlocks
    ends_well(api, own_postgresql.url, said.chat, said.heard())


def test_a_connection_that_is_terminated_in_mid_transaction_is_replaced(
    on_postgresql, own_postgresql, half_said, ends_well
):
    api = on_postgresql()
    said = half_said(api)

    with locked(own_postgresql):
        said.go_on()
        until(waits(own_postgresql))
        own_postgresql.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    ends_well(api, own_postgresql.url, said.chat, said.heard())


def test_serialization_failures_are_tried_again(on_postgresql, own_postgresql, make_app, demo):
    """Our statements do not need that isolation; an operator may have asked for it."""
    own_postgresql.set("default_transaction_isolation = 'serializable'")
    api = on_postgresql()
    failures = []
    with api.client.application.app_context():
        event.listen(db.engine, "handle_error", lambda context: failures.append(context.original_exception.sqlstate))
    chats = [api.new_chat() for _ in range(3)]

    sending = [gevent.spawn(api.send, chat, "Hi") for chat in chats]

    assert [one.get(timeout=30).text for one in sending] == ["Hello."] * 3
    assert "40001" in failures
    hold(own_postgresql.url)
