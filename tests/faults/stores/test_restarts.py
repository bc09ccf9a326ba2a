"""PostgreSQL restarts in the midst of a send and of a page, before a real process that is not restarted with it."""

import contextlib
import importlib
import re
import signal

import gevent
import httpx
import pytest

from tests.faults import invariants
from tests.faults.conftest import GEMINI_KEY, SECRET
from tests.faults.program import Program
from tests.scripted_gemini import says
from tests.streams import until

pytestmark = pytest.mark.postgresql

HOW = pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
TITLE = re.compile("<title>.*?</title>", re.DOTALL)
QUESTION, ANSWER = "What is lost?", "Nothing: 漢 👩‍👧."


@pytest.fixture
def program(server, make_person, own_postgresql, scripted):
    """Somebody's program before a real process on a PostgreSQL of its own, with a scripted Gemini behind it."""
    env = {"DATABASE_URL": own_postgresql.url, "SECRET_KEY": SECRET, "COUNT_SECONDS": "30"}
    process = server(**env, GEMINI_API_KEY=GEMINI_KEY, GEMINI_BASE_URL=scripted.url)
    program = Program(process, make_person(own_postgresql.url))
    yield program
    program.close()


@pytest.fixture
def browser(program):
    """The same person's browser, without a script."""
    with httpx.Client(base_url=program.server.url, timeout=30) as client:
        client.cookies.set("session", program.person.cookie, domain="127.0.0.1")
        yield client


@contextlib.contextmanager
def restart_while_it_waits_for(database, table, how):
    """Run the block up to a statement on that table, and restart PostgreSQL within it."""
    with database.connect() as holder:
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        until(lambda: database.sessions(f"wait_event_type = 'Lock' AND query LIKE '%{table}%'"))
        database.restart(how)
        holder.close()


@contextlib.contextmanager
def restart_within_a_commit_to(database, table, how):
    """Run the block up to a commit that PostgreSQL has made, and restart it before it can say so."""
    with database.connect() as administrator:
        administrator.autocommit = True
        # A standby that never comes: a commit is made and then waits for it.
        administrator.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        administrator.execute("SELECT pg_reload_conf()")
        written = f"SELECT 1 FROM pg_locks WHERE pid = pg_stat_activity.pid AND relation = '{table}'::regclass"
        others = f"wait_event = 'SyncRep' AND NOT EXISTS ({written})"

        def has_come():
            # A heartbeat that waits would keep the row that the commit needs.
            administrator.execute(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {others}")
            return database.sessions(f"wait_event = 'SyncRep' AND EXISTS ({written})")

        try:
            yield
            until(has_come)
        except BaseException:
            administrator.execute("ALTER SYSTEM RESET synchronous_standby_names")
            administrator.execute("SELECT pg_reload_conf()")
            raise
        administrator.execute("ALTER SYSTEM RESET synchronous_standby_names")
        database.restart(how)
        administrator.close()


AT_ADMISSION = [
    # What it waits for, and whether its own try again is enough.
    (restart_while_it_waits_for, "api_keys", False),
    (restart_while_it_waits_for, "chats", False),
    (restart_while_it_waits_for, "user_usage", True),
    (restart_while_it_waits_for, "ledger_entries", True),
    (restart_within_a_commit_to, "ledger_entries", True),
]


@HOW
@pytest.mark.parametrize(("restart", "table", "is_taken"), AT_ADMISSION)
def test_a_send_in_a_restart_is_taken_or_put_off_and_repeated_it_is_one_turn(
    program, own_postgresql, scripted, how, restart, table, is_taken
):
    chat = program.new_chat()
    scripted.script(says(ANSWER))

    with restart(own_postgresql, table, how):
        first, sending = program.start(chat, QUESTION, key="k1")
    sending.get(timeout=30)
    again = program.send(chat, QUESTION, key="k1")

    if is_taken:
        assert first.final == again.final
    else:
        assert (first.status, first.error["code"]) == (503, "SERVICE_UNAVAILABLE")
    ends_well(program, chat, again, own_postgresql, scripted)


@HOW
def test_a_send_without_a_key_whose_commit_was_not_confirmed_is_answered(program, own_postgresql, scripted, how):
    chat = program.new_chat()
    scripted.script(says(ANSWER))

    with restart_within_a_commit_to(own_postgresql, "ledger_entries", how):
        heard, sending = program.start(chat, QUESTION)
    sending.get(timeout=30)

    ends_well(program, chat, heard, own_postgresql, scripted)


@HOW
def test_a_restart_between_admission_and_the_first_piece_is_not_noticed(program, own_postgresql, scripted, how):
    chat = program.new_chat()
    scripted.script(says({"hold": True}, ANSWER))
    heard, sending = program.start(chat, QUESTION)
    until(lambda: asked(scripted))

    own_postgresql.restart(how)
    scripted.release()
    sending.get(timeout=30)

    ends_well(program, chat, heard, own_postgresql, scripted)


@HOW
@pytest.mark.parametrize("restart", [restart_while_it_waits_for, restart_within_a_commit_to])
def test_a_restart_in_the_settling_delays_the_end_and_charges_once(program, own_postgresql, scripted, how, restart):
    chat = program.new_chat()
    scripted.script(says({"hold": True}, ANSWER))
    heard, sending = program.start(chat, QUESTION)
    until(lambda: asked(scripted))

    with restart(own_postgresql, "ledger_entries", how):
        scripted.release()
    sending.get(timeout=30)

    ends_well(program, chat, heard, own_postgresql, scripted)


def asked(scripted):
    return [request for request in scripted.requests if request.kind == "stream"]


def ends_well(program, chat, heard, database, scripted):
    """Check that it was answered, is saved and was charged once, and that the process goes on as ever."""
    assert (heard.text, heard.resets, heard.final.get("done")) == (ANSWER, 0, True), heard
    assert len(asked(scripted)) == 1
    invariants.saved_is_shown(program.messages(chat), heard)
    assert program.usage()["total_tokens_used"] == heard.final["tokens_used"]
    invariants.hold(database.url)
    invariants.server_is_well(program.server, secrets=[GEMINI_KEY, QUESTION, ANSWER, program.person.key])
    assert program.send(program.new_chat(), QUESTION).final["done"]


READ = [
    # What a page reads: who asks, his chats, what was said, his budget.
    ("/", "login_sessions"),
    ("/", "chats"),
    ("/", "user_usage"),
    ("/chats/{chat}", "chats"),
    ("/chats/{chat}", "messages"),
    ("/chats/{chat}", "user_usage"),
    ("/usage", "exchanges"),
    ("/account", "login_sessions"),
]


@HOW
def test_a_page_in_a_restart_says_try_again_and_is_there_with_the_next_try(
    program, browser, own_postgresql, scripted, how
):
    chat = program.new_chat()
    scripted.script(says(ANSWER))
    program.send(chat, QUESTION)
    for path, table in READ:
        with restart_while_it_waits_for(own_postgresql, table, how):
            asking = gevent.spawn(browser.get, path.format(chat=chat))
        refused = asking.get(timeout=30)
        again = browser.get(path.format(chat=chat))

        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5"), (path, table)
        assert "Try again in a moment" in refused.text
        assert again.status_code == 200
    assert ANSWER in browser.get(f"/chats/{chat}").text
    invariants.server_is_well(program.server, secrets=[GEMINI_KEY, QUESTION, ANSWER, program.person.cookie])


@HOW
@pytest.mark.parametrize("path", ["/chats/{chat}", "/chats/00000000-0000-0000-0000-000000000000"])
def test_a_page_that_had_read_everything_before_the_restart_is_shown(
    on_postgresql, own_postgresql, how, path, monkeypatch
):
    api = on_postgresql()
    address = path.format(chat=api.new_chat())
    expected = api.client.get(address, headers=api.headers)
    for drawn_by in ("chatapp.chats.views", "chatapp.kernel.web"):
        draws_and_restarts(monkeypatch, drawn_by, lambda: own_postgresql.restart(how))

    shown = api.client.get(address, headers=api.headers)

    assert (shown.status_code, TITLE.findall(shown.text)) == (expected.status_code, TITLE.findall(expected.text))


def draws_and_restarts(monkeypatch, module, restart):
    draw = importlib.import_module(module).render_template
    monkeypatch.setattr(f"{module}.render_template", lambda *names, **values: (draw(*names, **values), restart())[0])


@HOW
@pytest.mark.parametrize("table", ["login_sessions", "chats", "user_usage"])
def test_what_was_typed_outlives_a_restart_and_is_sent_once(program, browser, own_postgresql, scripted, how, table):
    chat = program.new_chat()
    scripted.script(says(ANSWER))
    page = browser.get(f"/chats/{chat}").text
    form = hidden_fields(re.search(r'<form id="composer".*?</form>', page, re.DOTALL)[0]) | {"text": QUESTION}
    address, headers = f"/chats/{chat}/messages", {"Referer": f"{program.server.url}/"}

    with restart_while_it_waits_for(own_postgresql, table, how):
        sending = gevent.spawn(browser.post, address, data=form, headers=headers)
    answer = sending.get(timeout=30)
    if answer.status_code == 503:
        assert QUESTION in answer.text
        again = hidden_fields(answer.text) | {"text": QUESTION}
        assert again["key"] == form["key"]
        answer = browser.post(address, data=again, headers=headers)

    assert answer.status_code == 303
    until(lambda: ANSWER in browser.get(f"/chats/{chat}").text)
    assert [message["role"] for message in program.messages(chat)] == ["user", "assistant"]
    invariants.hold(own_postgresql.url)
    invariants.server_is_well(program.server, secrets=[QUESTION, ANSWER])


def hidden_fields(form):
    return dict(re.findall(r'<input[^>]*type="hidden" name="(\w+)" value="([^"]*)"', form))
