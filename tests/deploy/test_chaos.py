"""A minute in which everything breaks, see bench/chaos.py."""

import tempfile
from pathlib import Path

import pytest
from httpx_sse import ServerSentEvent

from bench import chaos


@pytest.mark.parametrize(
    ("heard", "saved", "expected"),
    [(0, 0, (0, 0)), (-2, 0, (2, 0)), (0, -2, (2, 2)), (-2, -2, (2, 0))],
)
def test_what_was_not_heard_or_not_saved_or_heard_twice_is_counted(monkeypatch, heard, saved, expected):
    said = "one two three"
    cut = lambda characters: said[: len(said) + characters]  # noqa: E731
    crowd = chaos.Crowd(None, [])
    exchange = chaos.Exchange(13, "", chaos.Listener(200, cut(heard), ids=["x"]), saved=cut(saved), status="completed")
    crowd.exchanges.append(exchange)
    monkeypatch.setattr(chaos, "pieces_of", lambda number: [said])

    assert crowd.lost_and_duplicated_bytes() == expected


@pytest.mark.parametrize(("seconds", "counted"), [(2, 0), (5, 1)])
def test_what_was_heard_for_longer_than_a_checkpoint_and_taken_back_is_counted(monkeypatch, seconds, counted):
    heard, clock = chaos.Listener(200, ids=["x"]), iter([100.0, 100.0 + seconds])
    monkeypatch.setattr(chaos.time, "monotonic", lambda: next(clock, 200.0))
    crowd = chaos.Crowd(None, [], exchanges=[chaos.Exchange(13, "", heard)])

    for data in ("one", " two", '{"reset": true}', "on"):
        heard.take(ServerSentEvent("message", data, "x"))

    assert crowd.taken_back() == counted


@pytest.mark.slow
@pytest.mark.nginx
@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.timeout(300)
def test_a_minute_of_chaos_loses_nothing_and_charges_nothing_twice():
    # Not in pytest's own folder, through which PostgreSQL's user may not pass.
    with tempfile.TemporaryDirectory(prefix="chat-chaos-") as directory:
        assert chaos.run(Path(directory), seconds=60, seed=20261124, users=8)
