"""Hostile outputs through the provider and the API: the bytes of the stream, what is saved, what is logged."""

import random
import re

import pytest

from chatapp.providers.base import ModelInfo
from tests.providers.scripted import ScriptedProvider
from tests.rendering import corpus

SEED = random.SystemRandom().randrange(10**6)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
CORPUS = corpus.read() or [pytest.param(None, marks=pytest.mark.skip(reason=f"no corpus at {corpus.CORPUS}"))]
SHARES = [CORPUS[start::4] for start in range(4)] if corpus.CORPUS.exists() else CORPUS


@pytest.fixture
def settings():
    return {"token_limit": 10**9, "max_output_tokens": 10**6}


@pytest.fixture
def demo():
    """A provider with a model that may say as much as the longest of them."""
    return ScriptedProvider(ModelInfo("scripted", "Scripted", max_input_tokens=10**6, max_output_tokens=10**6))


@pytest.mark.parametrize("share", SHARES, ids=range(len(SHARES)))
def test_the_stream_says_what_the_model_said_and_no_event_is_forged(api, demo, caplog, share):
    caplog.set_level("INFO")
    for line in share:
        for pieces in ([line.text], line.pieces(SEED)):
            demo.will_say(*pieces)
            chat = api.new_chat()

            heard = api.send(chat, "Say it.")

            said = (line.name, SEED)
            assert (said, heard.text, heard.resets, heard.final["done"]) == (said, line.saved, 0, True)
            # Every event that carries text carries a position, and the last one alone is metadata.
            assert (said, len(heard.ids)) == (said, len(heard.pieces) + 2)
            assert (said, api.messages(chat)[1]["content"]) == (said, line.saved)
    assert len(caplog.records) >= 2 * len(share)
    for record in caplog.records:
        written = caplog.handler.format(record)
        assert not CONTROL.search(written)
        assert not [line.name for line in share if len(line.saved.strip()) > 8 and line.saved.strip() in written]
