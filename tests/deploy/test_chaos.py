"""A minute in which everything breaks, see bench/chaos.py."""

import tempfile
from pathlib import Path

import pytest

from bench import chaos
from tests.streams import Heard


@pytest.mark.parametrize(
    ("heard", "saved", "expected"),
    [(0, 0, (0, 0)), (-2, 0, (2, 0)), (0, -2, (2, 2)), (-2, -2, (2, 0))],
)
def test_what_was_not_heard_or_not_saved_or_heard_twice_is_counted(monkeypatch, heard, saved, expected):
    said = "one two three"
    cut = lambda characters: said[: len(said) + characters]  # noqa: E731
    crowd = chaos.Crowd(None, [])
    exchange = chaos.Exchange(13, "", Heard(200, cut(heard), ids=["x"]), cut(saved), "completed")
    crowd.exchanges.append(exchange)
    monkeypatch.setattr(chaos, "pieces_of", lambda number: [said])

    assert crowd.lost_and_duplicated_bytes() == expected


@pytest.mark.slow
@pytest.mark.nginx
@pytest.mark.postgresql
@pytest.mark.redis
@pytest.mark.timeout(300)
def test_a_minute_of_chaos_loses_nothing_and_charges_nothing_twice():
    # Not in pytest's own folder, through which PostgreSQL's user may not pass.
    with tempfile.TemporaryDirectory(prefix="chat-chaos-") as directory:
        assert chaos.run(Path(directory), seconds=60, seed=20261124, users=8)
