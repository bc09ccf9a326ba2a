"""A minute in which everything breaks, see bench/chaos.py."""

import pytest

from bench import chaos

pytestmark = [
    *(pytest.mark.slow, pytest.mark.nginx, pytest.mark.postgresql, pytest.mark.redis),
    pytest.mark.timeout(300),
]


def test_a_minute_of_chaos_loses_nothing_and_charges_nothing_twice(tmp_path):
    assert chaos.run(tmp_path, seconds=60, seed=20261124, users=8)
