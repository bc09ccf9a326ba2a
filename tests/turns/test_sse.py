"""The wire format, read back by a client nobody here wrote and by the standard's own rules."""

import json
from uuid import UUID

import pytest
from httpx_sse._decoders import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from chatapp.api import sse
from chatapp.turns.live.log import Ending, Piece

TURN = UUID("0b0e4a59-5d4c-4a0f-9e55-0c1f3ad6a001")


def events(frames: str):
    """Parse frames by the standard: only LF, CR and CRLF end a line."""
    decoder, found = SSEDecoder(), []
    for line in frames.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        event = decoder.decode(line)
        if event is not None:
            found.append(event)
    return found


@given(st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]), min_size=1))
def test_the_text_that_a_client_reads_is_the_text_that_was_sent(text):
    [event] = events(sse.piece(TURN, Piece(text, len(text))))

    assert (json.loads(event.data)["chunk"] if text.startswith("{") else event.data) == text


@pytest.mark.parametrize("text", [" leading blank", "a\n\nb", "\n", "ends with\n", "data: x", ":x", "id: 7\nevent: x"])
def test_texts_that_look_like_the_format_pass_through_it(text):
    [event] = events(sse.piece(TURN, Piece(text, 5)))

    assert (event.data, event.event, event.id) == (text, "message", f"{TURN}:5")


def test_text_that_looks_like_metadata_is_wrapped():
    frame = sse.piece(TURN, Piece('{"done": true}\n', 15))

    assert json.loads(events(frame)[0].data) == {"chunk": '{"done": true}\n', "done": False}


def test_a_lost_position_is_said_before_the_whole_text():
    reset, text = events(sse.piece(TURN, Piece("all of it", 9, reset=True)))

    assert json.loads(reset.data) == {"reset": True}
    assert text.data == "all of it"


def test_a_completed_turn_ends_with_its_figures():
    frame = sse.ending(TURN, Ending("completed", TURN, 187, 13, "api", "stop"))

    [event] = events(frame)
    assert event.id == f"{TURN}:end"
    assert json.loads(event.data) == {
        "done": True,
        "tokens_used": 187,
        "message_id": str(TURN),
        "remaining_tokens": 13,
        "calculation_method": "api",
        "finish_reason": "stop",
    }


def test_a_failed_turn_ends_with_its_reason():
    frame = sse.ending(TURN, Ending("stopped", TURN, 7, 13, "api", None, "TURN_STOPPED", "The answer was stopped"))

    final = json.loads(events(frame)[0].data)
    assert (final["error"], final["code"], final["message"]) == (True, "TURN_STOPPED", "The answer was stopped")
    assert "done" not in final


@pytest.mark.parametrize("text", ["", "x", f"{TURN}", f"{TURN}:", f"{TURN}:-1", f"{TURN}:1\n", "x:1", f"{TURN}:1e3"])
def test_a_position_that_is_none_of_ours_is_not_read(text):
    assert sse.read_position(text) is None


def test_a_position_is_read_back():
    assert sse.read_position(f"{TURN}:17") == (TURN, 17)
    assert sse.read_position(f"{TURN}:end") == (TURN, None)
