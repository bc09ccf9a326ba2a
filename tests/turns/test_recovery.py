"""A process that dies: what it was answering is found at the next start, marked, and settled once."""

import errno
import subprocess
import sys
from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from chatapp.chats.models import Message
from chatapp.exchanges import owner
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db
from chatapp.turns import recovery
from chatapp.turns.models import Turn
from tests.servers import ROOT, wait_until
from tests.turns.test_turns import settled_once


def run_flask(environment, *arguments, text=""):
    command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), *arguments]
    done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite_url", pytest.param("postgresql_url", marks=pytest.mark.postgresql)])
def test_after_a_kill_the_text_so_far_is_there_marked_and_settled(server, request, tmp_path, store):
    settings = {"DATABASE_URL": request.getfixturevalue(store), "DEMO_PACE_SECONDS": "0.05"}
    first = server(**settings)
    environment = {"PATH": "/usr/bin:/bin", "INSTANCE_DIR": str(tmp_path / "instance"), **settings}
    run_flask(environment, "users", "create", "ada@example.org", "--password-stdin", text="correct horse battery")
    headers = {"Authorization": f"Bearer {run_flask(environment, 'keys', 'create', 'ada@example.org')}"}
    chat = httpx.post(f"{first.url}/api/chat", json={}, headers=headers).json()["id"]
    address = f"/api/chat/{chat}"
    seen = ""
    with httpx.stream(
        "POST", f"{first.url}{address}/message", json={"message": "Write a long story"}, headers=headers
    ) as answer:
        for chunk in answer.iter_text():
            seen += chunk
            if len(seen) > 600:
                break
    wait_until(
        lambda: len(httpx.get(f"{first.url}{address}", headers=headers).json()["messages"][1]["content"]) > 60, "text"
    )
    written = "coalesce(max(length(content)), 0) FROM messages WHERE role = 'assistant'"
    wait_until(lambda: _stored(environment, written) > 20, "a checkpoint")
    first.kill()

    again = server(**settings)

    # Nobody asks it for anything: it settles by itself.
    wait_until(
        lambda: _stored(environment, "count(*) FROM exchanges WHERE status = 'in_progress'") == 0, "the settling"
    )
    question, answer = httpx.get(f"{again.url}{address}", headers=headers).json()["messages"]
    usage = httpx.get(f"{again.url}/api/user/token-usage", headers=headers).json()
    assert question["content"] == "Write a long story"
    assert (answer["status"], len(answer["content"]) > 20) == ("interrupted", True)
    assert (usage["total_tokens_used"], usage["reserved_tokens"]) == (answer["tokens_consumed"], 0)
    assert answer["tokens_consumed"] > 10
    run_flask(environment, "ledger", "verify")


def _stored(environment, query: str) -> int:
    """Return what the database says, whatever a process has in memory."""
    from sqlalchemy import create_engine, text

    url = environment["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT {query}")).scalar_one()
    engine.dispose()
    return int(found)


def orphan(app, api, demo, name: str, age: timedelta = timedelta(0)) -> UUID:
    """Leave an open turn behind that belongs to another owner, with a checkpoint."""
    chat = api.new_chat()
    demo.will_say("so far", demo.hold())
    api.send(chat, "Hi", pieces=1)
    app.extensions["live_turns"].close()
    with app.app_context():
        with write():
            turn = db.session.scalars(db.select(Exchange).where(Exchange.status == "in_progress")).one()
            turn.owner, turn.heartbeat_at = name, now() - age
            answer_id = db.session.get_one(Turn, turn.id).answer_id
            db.session.get(Message, answer_id).content = "so far"
        return turn.id


HERE = owner.me().rpartition("|")[0].rpartition("|")[0]


@pytest.mark.parametrize(("name", "age", "is_found"), [
    (f"{HERE}|999999999|1", 0, True),
    (f"{HERE}|1|1", 0, True),
    (f"{HERE}|{owner.me().split('|', 3)[3]}", 10, False),
    ("elsewhere|boot|space|1|1", 10, False),
    ("elsewhere|boot|space|1|1", 60, True),
], ids=["no such process", "another process of that id", "lives here", "elsewhere, heard of", "elsewhere, silent"])  # fmt: skip
def test_only_turns_whose_owner_is_gone_are_settled(app, api, demo, name, age, is_found):
    turn_id = orphan(app, api, demo, name, timedelta(seconds=age))

    with app.app_context():
        assert recovery.settle_orphans(set()) == int(is_found)
        assert db.session.get(Exchange, turn_id).status == ("interrupted" if is_found else "in_progress")


def test_a_recovered_turn_keeps_its_text_and_is_settled_once(app, api, demo):
    orphan(app, api, demo, f"{HERE}|999999999|1")

    with app.app_context():
        assert [recovery.settle_orphans(set()) for _ in range(3)] == [1, 0, 0]
        answer = db.session.scalars(db.select(Message).where(Message.role == "assistant")).one()
        assert (answer.content, answer.status) == ("so far", "interrupted")
        assert answer.tokens_consumed > 10
    settled_once(app)


def test_a_process_that_lives_is_not_taken_for_gone():
    assert owner.is_gone(owner.me()) is False
    assert owner.is_gone(f"{HERE}|999999999|1") is True
    assert owner.is_gone("another|boot|space|1|1") is None


def test_another_machine_of_the_same_name_is_not_taken_for_this_one_before_its_restart():
    host = owner.me().split("|")[0]

    assert owner.is_gone(f"{host}|another-boot|space|1|1") is None


def test_a_process_without_a_file_left_to_open_knows_itself_and_buries_nobody(monkeypatch):
    me = owner.me()

    def fail(*_arguments, **_options):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("pathlib.Path.read_text", fail)
    assert owner.me() == me
    assert owner.is_gone(f"{HERE}|1|1") is None
