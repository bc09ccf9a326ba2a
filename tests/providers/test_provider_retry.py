"""Trying again before the first piece, and never after it."""

import pytest

from chatapp.kernel.errors import ProviderError, ProviderInterrupted, ProviderMisconfigured, ProviderRateLimited
from chatapp.providers.base import Chunk, Usage
from chatapp.providers.retry import stream_with_retries
from tests.providers.scripted import ScriptedProvider


@pytest.fixture
def provider():
    return ScriptedProvider()


@pytest.fixture
def naps():
    return []


@pytest.fixture
def read(provider, naps, ask):
    def read(**fields):
        return list(stream_with_retries(provider, ask(), sleep=naps.append, random=lambda: 1.0, **fields))

    return read


def test_a_refusal_before_the_first_piece_is_tried_again(provider, read, naps, text_of):
    provider.will_raise(ProviderRateLimited(can_retry=True))
    provider.will_raise(ProviderError(can_retry=True))
    provider.will_say("one", " two")

    assert text_of(read()) == "one two"
    assert naps == [0.5, 1.0]


def test_the_last_try_raises_what_it_met(provider, read, naps):
    for _ in range(3):
        provider.will_raise(ProviderRateLimited(can_retry=True))

    with pytest.raises(ProviderRateLimited):
        read()

    assert len(provider.requests) == 3
    assert len(naps) == 2


@pytest.mark.parametrize("piece", ["a word", Chunk(thought="hm")])
def test_nothing_is_tried_again_after_a_piece(provider, read, naps, piece):
    provider.will_raise(ProviderInterrupted(can_retry=True), piece)

    with pytest.raises(ProviderInterrupted):
        read()

    assert len(provider.requests) == 1
    assert naps == []


def test_usage_alone_is_no_piece(provider, read, text_of):
    provider.will_raise(ProviderInterrupted(can_retry=True), Chunk(usage=Usage(input_tokens=3)))
    provider.will_say("again")

    assert text_of(read()) == "again"


def test_what_cannot_get_better_is_not_tried_again(provider, read):
    provider.will_raise(ProviderMisconfigured())

    with pytest.raises(ProviderMisconfigured):
        read()

    assert len(provider.requests) == 1


def test_the_wait_that_the_provider_asks_for_is_kept(provider, read, naps):
    provider.will_raise(ProviderRateLimited(can_retry=True, retry_after_seconds=12))
    provider.will_say("one")
    read()

    assert naps == [12]


def test_a_wait_beyond_half_a_minute_gives_up_at_once(provider, read, naps):
    provider.will_raise(ProviderRateLimited(can_retry=True, retry_after_seconds=31))

    with pytest.raises(ProviderRateLimited):
        read()

    assert naps == []


def test_the_waits_grow_to_a_ceiling(provider, read, naps):
    for _ in range(7):
        provider.will_raise(ProviderError(can_retry=True))
    provider.will_say("at last")
    read(tries=8)

    assert naps == [0.5, 1, 2, 4, 8, 8, 8]


def test_the_waits_are_spread(provider, ask, naps):
    provider.will_raise(ProviderError(can_retry=True))
    list(stream_with_retries(provider, ask(), sleep=naps.append, random=lambda: 0.0))

    assert naps == [0.25]


def test_each_retry_is_told(provider, read):
    told = []
    provider.will_raise(ProviderError(can_retry=True))
    read(on_retry=lambda error, tried, seconds: told.append((type(error), tried, seconds)))

    assert told == [(ProviderError, 1, 0.5)]


def test_closing_closes_the_answer_underneath(provider, ask):
    answer = stream_with_retries(provider, ask())
    next(answer)

    answer.close()

    assert provider.closed == 1
