"""Guessing passwords day after day, and that it does not lock the owner out."""

import pytest

from chatapp.auth import counts, tries
from chatapp.kernel.redis import SoftRedis
from tests.auth.browser import PASSWORD, Browser, make_account


class Clock:
    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time


@pytest.fixture
def settings():
    return {"rate_limits": True, "sign_in_failures_per_day": 3, "sign_ins_per_minute": 50}


@pytest.fixture
def clock(app):
    clock = Clock()
    app.extensions["tries"] = counts.MemoryCounts(clock)
    return clock


def guess(app, email="grace@example.org", password="wrong"):
    """Try once, from an address of its own."""
    guess.address = getattr(guess, "address", 0) + 1
    return Browser(app, REMOTE_ADDR=f"10.0.{guess.address // 250}.{guess.address % 250}").sign_in(email, password)


@pytest.mark.parametrize("email", ["grace@example.org", "nobody@example.org"])
def test_after_so_many_wrong_passwords_a_day_comes_a_pause_for_accounts_and_others_alike(app, grace, clock, email):
    answers = [guess(app, email) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401] * 3 + [429]
    assert answers[3].headers["Retry-After"] == "61"
    assert "Try again in" in answers[3].text


def test_during_the_pause_the_right_password_is_not_even_looked_at(app, grace, clock, monkeypatch):
    for _ in range(3):
        guess(app)
    monkeypatch.setattr("chatapp.auth.passwords.matches", None)

    assert guess(app, password=PASSWORD).status_code == 429


def test_the_pause_doubles_up_to_a_quarter_of_an_hour(app, grace, clock):
    pauses = []
    for number in range(9):
        assert guess(app).status_code == 401
        if number >= 2:
            pauses.append(int(guess(app).headers["Retry-After"]) - 1)
            clock.time += pauses[-1] + 1

    assert pauses == [60, 120, 240, 480, 900, 900, 900]


def test_after_a_pause_the_right_password_signs_in(app, grace, clock):
    for _ in range(3):
        guess(app)
    clock.time += 61

    assert guess(app, password=PASSWORD).status_code == 303


def test_the_next_day_is_a_new_one(app, grace, clock):
    for _ in range(3):
        guess(app)
    clock.time += 24 * 3600 + 1

    assert [guess(app).status_code for _ in range(4)] == [401] * 3 + [429]


def test_a_stranger_neither_ends_nor_hinders_the_owner_of_a_browser_that_is_known(app, grace, clock):
    known, signed_in = Browser(app), Browser(app)
    known.sign_in()
    known.post("/logout")
    signed_in.sign_in()
    for _ in range(5):
        guess(app)

    assert guess(app, password=PASSWORD).status_code == 429
    assert signed_in.is_signed_in()
    assert known.sign_in().status_code == 303


def test_a_browser_that_is_known_guesses_no_more_than_others(app, grace, clock):
    thief = Browser(app)
    thief.sign_in()
    thief.post("/logout")

    assert [thief.sign_in(password="wrong").status_code for _ in range(4)] == [401] * 3 + [429]
    assert guess(app, password=PASSWORD).status_code == 303


def test_a_browser_is_known_for_the_account_it_signed_in_with_only(app, grace, clock):
    make_account(app, "eve@example.org")
    eve = Browser(app)
    eve.sign_in("eve@example.org")
    eve.post("/logout")
    for _ in range(3):
        guess(app)

    assert eve.sign_in().status_code == 429


@pytest.mark.parametrize("cookie", ["nonsense", "", "WyJhIiwiYiJd.AAAA"])
def test_a_cookie_that_is_not_ours_makes_no_browser_known(app, grace, clock, cookie):
    for _ in range(3):
        guess(app)
    forger = Browser(app)
    device = forger.cookie_name.replace("session", "device")
    forger.client.set_cookie(device, cookie)

    assert forger.sign_in().status_code == 429


def test_the_account_page_says_how_many_tries_failed(app, grace, clock):
    owner = Browser(app)
    owner.sign_in()
    assert "failed-tries" not in owner.get("/account").text

    for _ in range(2):
        guess(app)
    assert "2 failed sign-ins since you last signed in." in owner.get("/account").text

    owner.post("/logout")
    owner.sign_in()
    assert "2 failed sign-ins" in owner.get("/account").text

    owner.post("/logout")
    owner.sign_in()
    assert "failed-tries" not in owner.get("/account").text


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def numbers(request):
    if request.param == "memory":
        return counts.MemoryCounts()
    return counts.RedisCounts(SoftRedis(request.getfixturevalue("redis_url")))


def test_numbers_are_counted_read_and_taken(numbers):
    assert [numbers.add("a", 60), numbers.add("a", 60), numbers.add("b", 60)] == [1, 2, 1]
    assert [numbers.get("a"), numbers.take("a"), numbers.get("a"), numbers.get("b"), numbers.take("c")] == [
        2,
        2,
        0,
        1,
        0,
    ]


def test_what_is_held_says_for_how_long(numbers):
    numbers.hold("a", 600)

    assert 590 < numbers.held_seconds("a") <= 601
    assert numbers.held_seconds("b") == 0


def test_memory_keeps_a_bounded_number(monkeypatch):
    monkeypatch.setattr(counts, "MAX_ENTRIES", 2)
    numbers = counts.MemoryCounts()
    for key in "abc":
        numbers.add(key, 60)

    assert [numbers.get(key) for key in "abc"] == [0, 1, 1]


def test_without_redis_nothing_is_counted_and_nobody_hindered():
    numbers = counts.RedisCounts(SoftRedis("redis://127.0.0.1:1/0"))

    assert [numbers.add("a", 60), numbers.get("a"), numbers.take("a"), numbers.held_seconds("a")] == [0] * 4


def test_the_longest_pause_needs_no_large_number():
    assert tries.FIRST_PAUSE_SECONDS << 10 > tries.LONGEST_PAUSE_SECONDS
