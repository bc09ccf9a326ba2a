"""Two real processes spend one budget: whatever they do, in whatever order, and whoever is killed in between."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from chatapp import create_app
from chatapp.auth.models import User
from chatapp.budget import ledger
from chatapp.budget.models import UserUsage
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers
from tests.conftest import make_user
from tests.providers.scripted import ScriptedProvider

pytestmark = pytest.mark.slow
DAY_ONE = datetime(2040, 1, 1, tzinfo=UTC)


class Spender:
    """One of the processes: tell it something, then hear what came of it; None where it died of it."""

    def __init__(self, url: str, place: Path) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, str(Path(__file__).with_name("spender.py"))]
        self._process = subprocess.Popen(
            [*command, url, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=place
        )
        self.pid = self._hear()["life"]

    def tell(self, verb: str, user: UUID, **values: object) -> None:
        line = {"verb": verb, "user": str(user)} | {k: str(v) if isinstance(v, UUID) else v for k, v in values.items()}
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        # A line that was read in part would be the next life's. From here on it may be killed.
        assert self._hear() == {"heard": True}

    def hear(self):
        said = self._hear()
        if "life" in said:
            self.pid = said["life"]
            return None
        return said["done"]

    def ask(self, verb: str, user: UUID, **values: object):
        self.tell(verb, user, **values)
        return self.hear()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _hear(self):
        line = self._process.stdout.readline()
        assert line, "the process ended by itself"
        return json.loads(line)


class World:
    """The two processes, the database between them, and an application to look with."""

    def __init__(self, url: str, place: Path) -> None:
        self.app = create_app(
            Providers([ScriptedProvider()]),
            database_url=url,
            instance_dir=place,
            secret_key="x" * 32,
            rate_limits=False,
        )
        self.engine = create_engine(self.app.config["SQLALCHEMY_DATABASE_URI"], poolclass=NullPool)
        self.spenders = [Spender(url, place) for _ in range(2)]

    def new_user(self, limit: int, **fields: object) -> UUID:
        user = make_user(self.app, f"{uuid4()}@example.org", limit=limit).id
        with self.app.app_context(), write():
            usage = db.session.get(UserUsage, user)
            for name, value in ({"reset_period": "daily", "last_reset_at": DAY_ONE} | fields).items():
                setattr(usage, name, value)
        return user

    def rows(self, query: str, user: UUID) -> list[tuple]:
        with self.engine.connect() as connection:
            form = user.hex if self.engine.dialect.name == "sqlite" else user
            return [tuple(row) for row in connection.execute(text(query), {"user": form})]

    def figures(self, user: UUID) -> tuple[int, int, int]:
        query = "SELECT token_limit, total_tokens_used, reserved_tokens FROM user_usage WHERE user_id = :user"
        return self.rows(query, user)[0]

    def entries(self, user: UUID) -> list[tuple]:
        """The user's entries in the order in which they were made: the row of the budget is locked before each."""
        return self.rows(
            "SELECT operation, delta, exchange_id FROM ledger_entries WHERE user_id = :user ORDER BY id", user
        )

    def check(self, user: UUID) -> None:
        limit = used = held = 0
        seen: set[tuple] = set()
        for operation, delta, turn in self.entries(user):
            before = used + held
            limit += delta if operation == "grant" else 0
            held -= delta if operation in ("reserve", "release") else 0
            used -= delta if operation in ("charge", "reset") else 0
            if operation == "reserve":
                assert used + held <= limit, "an admission passed the limit"
            if operation == "release":
                assert (str(turn), "reserve") in seen, "released what nobody held"
            if operation == "charge":
                # The release of the same settlement stands right before it.
                assert (str(turn), "release") in seen
                assert used + held <= before - delta
            assert min(limit, used, held) >= 0
            if turn:
                assert (str(turn), operation) not in seen, "settled twice"
                seen.add((str(turn), operation))
        assert self.figures(user) == (limit, used, held), "the balance is not the sum of its entries"
        self.check_turns(user, seen)

    def check_turns(self, user: UUID, seen: set[tuple]) -> None:
        for turn, status, reserved, charged in self.rows(
            "SELECT id, status, reserved_tokens, charged_tokens FROM exchanges WHERE user_id = :user", user
        ):
            has_ended = status != "in_progress"
            assert ((str(turn), "charge") in seen, (str(turn), "release") in seen) == (has_ended, has_ended)
            assert 0 <= charged <= reserved

    def close(self) -> None:
        for spender in self.spenders:
            with contextlib.suppress(BrokenPipeError):
                spender.close()
        self.engine.dispose()
        with self.app.app_context():
            db.engine.dispose()


@pytest.fixture
def world(database, tmp_path):
    made = World(database, tmp_path)
    yield made
    made.close()


def machine_of(world: World):
    process, dies = st.integers(0, 1), st.sampled_from([None, None, None, "before_commit", "after_commit"])
    tokens, chars = st.integers(1, 500), st.integers(-1, 300)

    class Spending(RuleBasedStateMachine):
        turns = Bundle("turns")

        @initialize(limit=st.integers(0, 1500))
        def begin(self, limit):
            self.user, self.day = world.new_user(limit), 0

        @rule(target=turns, by=process, tokens=tokens, answer=tokens, dies=dies)
        def reserve(self, by, tokens, answer, dies):
            turn = uuid4()
            world.spenders[by].ask("reserve", self.user, turn=turn, tokens=tokens, answer=answer, dies=dies)
            return turn

        @rule(target=turns, tokens=tokens, answer=tokens)
        def race_to_reserve(self, tokens, answer):
            pair = [uuid4(), uuid4()]
            self._both("reserve", *({"turn": turn, "tokens": tokens, "answer": answer} for turn in pair))
            return multiple(*pair)

        @rule(by=process, turn=turns, chars=chars, dies=dies)
        def settle_or_release(self, by, turn, chars, dies):
            world.spenders[by].ask("end", self.user, turn=turn, chars=chars, dies=dies)

        @rule(turn=turns, chars=chars, other_chars=chars)
        def race_to_settle(self, turn, chars, other_chars):
            said = self._both("end", {"turn": turn, "chars": chars}, {"turn": turn, "chars": other_chars})
            assert said.count(None) >= 1, "both settled one turn"

        @rule(turn=turns, chars=chars, tokens=tokens)
        def settle_while_another_reserves(self, turn, chars, tokens):
            world.spenders[0].tell("end", self.user, turn=turn, chars=chars)
            world.spenders[1].tell("reserve", self.user, turn=uuid4(), tokens=tokens, answer=tokens)
            self._hear_both()

        @rule(by=process, tokens=st.integers(-800, 800))
        def grant(self, by, tokens):
            world.spenders[by].ask("grant", self.user, tokens=tokens)

        @rule(tokens=st.integers(-800, 800), limit=st.integers(0, 2000))
        def race_to_change_the_limit(self, tokens, limit):
            world.spenders[0].tell("grant", self.user, tokens=tokens)
            world.spenders[1].tell("limit", self.user, tokens=limit)
            self._hear_both()

        @rule()
        def both_see_midnight(self):
            self.day += 1
            at = (DAY_ONE + timedelta(days=self.day)).isoformat()
            assert sorted(self._both("reset", {"at": at}, {"at": at})) == [False, True]

        @rule(by=process)
        def reap(self, by):
            world.spenders[by].ask("reap", self.user)

        @rule(by=process, tokens=tokens, ms=st.integers(0, 15))
        def kill_while_it_works(self, by, tokens, ms):
            world.spenders[by].tell("reserve", self.user, turn=uuid4(), tokens=tokens, answer=tokens)
            time.sleep(ms / 1000)
            world.spenders[by].kill()
            if world.spenders[by].hear() is not None:
                # It was faster than its end: that comes next.
                world.spenders[by].hear()

        @invariant()
        def it_adds_up(self):
            if hasattr(self, "user"):
                world.check(self.user)

        def teardown(self):
            if not hasattr(self, "user"):
                return
            # Nobody whose process is gone keeps a hold; those who live end theirs.
            world.spenders[0].ask("reap", self.user)
            query = "SELECT id FROM exchanges WHERE status = 'in_progress' AND user_id = :user"
            for (turn,) in world.rows(query, self.user):
                world.spenders[1].ask("end", self.user, turn=UUID(str(turn)), chars=0)
            world.check(self.user)
            assert world.figures(self.user)[2] == 0

        def _both(self, verb, *values):
            for spender, each in zip(world.spenders, values, strict=True):
                spender.tell(verb, self.user, **each)
            return self._hear_both()

        def _hear_both(self):
            return [spender.hear() for spender in world.spenders]

    return Spending


EXAMPLES = int(os.environ.get("SPENDING_EXAMPLES", "12"))


@pytest.mark.timeout(600)
def test_no_interleaving_breaks_the_budget(world):
    run_state_machine_as_test(
        machine_of(world),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # To shrink what two processes did takes minutes.
            suppress_health_check=list(HealthCheck),
        ),
    )
    with world.app.app_context():
        assert ledger.verify() == []


ZONES = [
    ("daily", "Europe/Berlin", "2041-03-31T00:00+01:00"),  # the night in which an hour is missing
    ("daily", "America/New_York", "2041-11-03T00:00-04:00"),  # the night that has one twice
    ("weekly", "Asia/Kathmandu", "2041-03-04T00:00+05:45"),
    ("monthly", "Pacific/Auckland", "2041-04-01T00:00+13:00"),
]


def test_of_two_processes_that_see_midnight_one_resets(world):
    for period, zone, midnight in ZONES:
        at = datetime.fromisoformat(midnight)
        user = world.new_user(1000, reset_period=period, last_reset_at=at - timedelta(days=31))
        with world.app.app_context(), write():
            db.session.get(User, user).timezone = zone
        said = {}
        for instant in (at - timedelta(seconds=1), at, at + timedelta(hours=5)):
            for spender in world.spenders:
                spender.tell("reset", user, at=instant.isoformat())
            said[instant] = sorted(spender.hear() for spender in world.spenders)

        assert list(said.values())[1:] == [[False, True], [False, False]]
        assert [entry[0] for entry in world.entries(user)].count("reset") == sum(map(sum, said.values()))


def test_what_a_killed_process_held_is_settled_by_the_other(world):
    user, turn = world.new_user(1000), uuid4()
    world.spenders[0].ask("reserve", user, turn=turn, tokens=100, answer=300, dies="after_commit")
    assert world.figures(user) == (1000, 0, 400)

    assert world.spenders[1].ask("reap", user) == 1

    _, used, held = world.figures(user)
    assert (held, 0 < used <= 400) == (0, True)
    world.check(user)


def test_a_process_killed_before_it_commits_leaves_nothing_behind(world):
    user = world.new_user(1000)

    world.spenders[0].ask("reserve", user, turn=uuid4(), tokens=100, answer=300, dies="before_commit")

    assert world.figures(user) == (1000, 0, 0)
    assert world.entries(user) == [("grant", 1000, None)]
