"""A process that spends: it does what it is told on standard input, a JSON object a line, and answers in JSON.

It forks for each life, so that one that was killed (by itself in the middle of a transaction, or by the test) is
followed at once by another: `python spender.py DATABASE_URL INSTANCE_DIR`.
"""

from gevent import monkey

monkey.patch_all()

import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sqlalchemy import event

from chatapp import create_app
from chatapp.budget import ledger
from chatapp.chats.models import Chat, Message
from chatapp.exchanges import owner, settling
from chatapp.exchanges.models import Exchange
from chatapp.exchanges.settling import Produced
from chatapp.kernel.database import retry_write
from chatapp.kernel.errors import BudgetExceeded, InvalidRequest
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers
from chatapp.turns import endings, recovery
from chatapp.turns.models import Started, Turn
from tests.providers.scripted import ScriptedProvider


def reserve(user: UUID, turn: UUID, tokens: int, answer: int):
    """Begin a turn as a send does: question, answer and turn are saved with its reservation, or none of it is."""

    def unit():
        chat = Chat(id=uuid4(), user_id=user, model="scripted")
        asked = Message(id=uuid4(), chat_id=chat.id, role="user", content="Why?")
        told = Message(id=uuid4(), chat_id=chat.id, role="assistant", status="in_progress", parent_id=asked.id)
        told.exchange_id = turn
        row = Turn(id=turn, chat_id=chat.id, user_id=user, question_id=asked.id, answer_id=told.id)
        spent = Exchange(id=turn, user_id=user, purpose="answer", chat_id=chat.id, model="scripted", owner=owner.me())
        spent.metering, spent.overhead_tokens, spent.parts = "exchange", 10, []
        spent.reserved_tokens, spent.max_answer_tokens = 0, 0
        for part in (chat, asked, told, row, spent):
            db.session.add(part)
            db.session.flush()
        held = ledger.reserve(user, turn, tokens, answer, min(answer, 64))
        spent.reserved_tokens = held.tokens
        db.session.flush()
        return held.tokens

    try:
        return retry_write(unit)
    except BudgetExceeded:
        return 0


def end(user: UUID, turn: UUID, chars: int):
    """Settle a turn with an answer of so many characters; below nought it is released without a charge."""
    outcome = settling.stopped() if chars >= 0 else settling.Outcome("failed", "PROVIDER_ERROR", is_charged=False)
    if (row := db.session.get(Turn, turn)) is None:
        return None
    started = Started(turn, row.chat_id, row.question_id, row.answer_id)
    ending = endings.settle(started, Produced("x y " * chars), outcome)
    return ending and ending.tokens_used


def grant(user: UUID, tokens: int):
    try:
        retry_write(lambda: ledger.grant(user, tokens, "drawn by lot"))
    except InvalidRequest:
        return False
    return True


def limit(user: UUID, tokens: int):
    return retry_write(lambda: ledger.set_limit(user, tokens, "drawn by lot"))


def reset(user: UUID, at: str):
    return retry_write(lambda: ledger.reset_if_due(user, datetime.fromisoformat(at)))


def reap(user: UUID):
    return recovery.settle_orphans(set(), trusts_leases=False)


VERBS = {verb.__name__: verb for verb in (reserve, end, grant, limit, reset, reap)}


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def obey(app, line: bytes) -> object:
    """Do as a line says: {"verb", "user", "turn"?, "dies"?: "before_commit" | "after_commit", and the verb's own}."""
    told = json.loads(line)
    verb, dies = VERBS[told.pop("verb")], told.pop("dies", None)
    values = {name: UUID(value) if name in ("user", "turn") else value for name, value in told.items()}
    with app.app_context():
        if dies:
            event.listen(db.session, dies, die)
        done = verb(**values)
        if dies:
            die()  # It was refused, so there was no commit to die of.
        return done


def say(**words: object) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def live(app) -> None:
    while line := sys.stdin.buffer.raw.readline():
        say(heard=True)
        say(done=obey(app, line))
    os._exit(0)


def main(url: str, place: str) -> None:
    app = create_app(
        Providers([ScriptedProvider()]), database_url=url, instance_dir=place, secret_key="x" * 32, rate_limits=False,
        log_level="ERROR",
    )  # fmt: skip
    while True:
        pid = os.fork()
        if not pid:
            live(app)
        say(life=pid)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(*sys.argv[1:])
