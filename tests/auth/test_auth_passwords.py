"""Which passwords are accepted, and that hashing disturbs nobody."""

import gzip

import gevent
import pytest
from werkzeug.security import generate_password_hash

from chatapp.auth import common_passwords, passwords
from chatapp.kernel.errors import Unavailable
from chatapp.kernel.extensions import db

LONE_SURROGATE = "a horse \ud800 battery"


@pytest.fixture
def context(app):
    with app.app_context():
        yield


def test_the_right_password_matches_and_others_do_not(context):
    known = passwords.make_hash("a horse called battery")

    assert passwords.matches(known, "a horse called battery")
    assert not passwords.matches(known, "a horse called batter")
    assert not passwords.matches(None, "a horse called battery")


def test_nothing_is_cut_off_a_long_password(context, cheap_hashes):
    known = passwords.make_hash("x" * 1023 + "a")

    assert passwords.matches(known, "x" * 1023 + "a")
    assert not passwords.matches(known, "x" * 1023 + "b")


def test_a_letter_matches_however_the_keyboard_composes_it(context, cheap_hashes):
    known = passwords.make_hash("müde Mäuse")

    assert passwords.matches(known, "mu\u0308de Ma\u0308use")


@pytest.mark.parametrize("password", [LONE_SURROGATE, "a horse\0battery", "x" * 1025, "ü" * 513])
def test_what_cannot_be_hashed_is_refused_and_matches_nothing(context, cheap_hashes, password):
    assert passwords.problem(password)
    assert not passwords.matches(passwords.make_hash("a horse called battery"), password)


@pytest.mark.parametrize(
    "password",
    [
        "a horse called battery",
        "eight ch",
        "ÄÖÜäöüß€",
        "🐴🔋🐴🔋🐎🪫🐎🪫",
        "x1" * 32 + "y",
        "correcthorse",
        "8" * 7 + "x7",
    ],
)
def test_length_is_what_counts(context, password):
    assert passwords.problem(password, "ada@example.org") is None


COMMON = (
    "password Passw0rd! password123 iloveyou 12345678 87654321 qwertyuiop qwertzui aaaaaaaa abababab abcdefgh "
    "Sommer2024! ada@example.org letmein! Administrator1"
)


# Of the lists that everybody tries, beside what the file holds word for word.
VARIANTS = (
    "michelle1 liverpool midnight blink182 qwer1234 zaq12wsx microsoft Liverpool! L1verp00l 1Michelle ellehcim1 "
    "$unshine99 dragondragon monkeymonkeymonkey ＰＡＳＳＷＯＲＤ !!football!! 12344321 q1w2e3r4 trustno1 "
    "Example2024!"
)


@pytest.mark.parametrize("password", ["", "seven c", "i love you", "pass word", *COMMON.split(), *VARIANTS.split()])
def test_what_anybody_would_try_first_is_refused(context, password):
    assert passwords.problem(password, "ada@example.org")


def test_the_3000_most_used_that_are_long_enough_are_refused(context):
    entries = [
        line for line in gzip.decompress(common_passwords.FILE.read_bytes()).decode().splitlines() if line[0] != "#"
    ]

    assert len(entries) > 3000
    assert entries == sorted(entries)
    assert [each for each in entries if len(each) >= 8 and not passwords.problem(each.title())] == []
    assert common_passwords.FILE.stat().st_size < 40_000


@pytest.mark.parametrize("settings", [{"public_url": "https://chat.lighthouse.example"}])
def test_the_sites_own_name_is_refused(context, settings):
    assert passwords.problem("Lighthouse1", "ada@example.org")
    assert passwords.problem("Lantern-house", "ada@example.org") is None


@pytest.mark.parametrize(
    "password", ["GraceHopper1", "grace.hopper", "Hopper1906", "navylab2024", "grace.hopper@navylab.mil"]
)
def test_parts_of_ones_own_email_are_refused(context, password):
    assert passwords.problem(password, "Grace.Hopper@navylab.mil")


def test_ones_own_name_with_a_number_is_refused(context):
    assert passwords.problem("lovelace1815", "lovelace@example.org")
    assert passwords.problem("lovelace1815", "ada@example.org") is None


def spawn(app, function, *arguments):
    """Run something as a request of its own would."""

    def run():
        with app.app_context():
            return function(*arguments)

    return gevent.spawn(run)


def test_the_loop_goes_on_while_passwords_are_hashed(app):
    ticks = 0
    hashing = [spawn(app, passwords.make_hash, "a horse called battery") for _ in range(6)]
    while not all(job.ready() for job in hashing):
        gevent.sleep(0.001)
        ticks += 1

    # On the loop itself each hash would let one tick through.
    assert ticks > 20


def test_no_connection_is_held_while_a_password_is_hashed(context, cheap_hashes, monkeypatch):
    held: list[int] = []
    real, pool = passwords._hash, db.engine.pool
    monkeypatch.setattr(passwords, "_hash", lambda *a: held.append(pool.checkedout()) or real(*a))
    db.session.execute(db.select(1))
    assert pool.checkedout() == 1

    passwords.make_hash("a horse called battery")

    assert held == [0]


def test_a_queue_that_is_too_long_refuses(app, cheap_hashes, monkeypatch):
    monkeypatch.setattr(passwords, "MAX_WAITING", 2)
    hashing = [spawn(app, passwords.make_hash, "a horse called battery") for _ in range(3)]
    gevent.joinall(hashing)

    assert [type(each.exception) for each in hashing].count(Unavailable) == 1
    assert spawn(app, passwords.make_hash, "a horse called battery").get()


def test_nobody_costs_the_same_work_as_somebody(context, monkeypatch):
    """Not by the clock, which is no witness on a busy machine: by the work that is done."""
    done: list[tuple[str, int]] = []
    real = passwords._check

    def check(password_hash, password):
        parameters, _, digest = password_hash.rpartition("$")
        done.append((parameters.rpartition("$")[0], len(digest)))
        return real(password_hash, password)

    monkeypatch.setattr(passwords, "_check", check)
    passwords.matches(passwords.make_hash("a horse called battery"), "wrong")
    passwords.matches(None, "wrong")
    passwords.matches(None, LONE_SURROGATE)

    assert done == [("$argon2id$v=19$m=32768,t=4,p=1", 43)] * 3


def test_a_hash_of_an_earlier_edition_still_matches(context):
    known = generate_password_hash("müde Mäuse", "scrypt:32768:8:1")

    assert passwords.matches(known, "mu\u0308de Ma\u0308use")
    assert not passwords.matches(known, "wrong")
    assert passwords.is_outdated(known)
    assert not passwords.is_outdated(passwords.make_hash("müde Mäuse"))


def test_what_is_no_hash_matches_nothing(context):
    assert not passwords.matches("!", "!")
    assert not passwords.matches("", "")


def test_nobody_has_a_password(context):
    assert not passwords.matches(passwords.nobody(), "")
