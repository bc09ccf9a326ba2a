"""Text at the door."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.kernel.text import ModelText, clean_model_text, is_storable, normalise

PIECES = st.lists(st.text(st.sampled_from("a\r\n\0\ud83d\ude00\ud800\udc00é😀"), max_size=4), max_size=8)


@given(PIECES)
def test_pieces_come_out_as_the_whole_text_does(pieces):
    text = ModelText()
    out = "".join([text.feed(piece) for piece in pieces] + [text.finish()])
    assert out == clean_model_text("".join(pieces))


@given(PIECES)
def test_what_came_through_the_door_can_be_stored_and_stays_as_it_is(pieces):
    text = clean_model_text("".join(pieces))
    assert is_storable(text)
    assert clean_model_text(text) == text.encode().decode()
    assert "\r" not in text


def test_a_cr_waits_for_the_lf_that_may_follow():
    text = ModelText()
    assert [text.feed("a\r"), text.feed("\nb\r"), text.finish(), text.finish()] == ["a", "\nb", "\n", ""]


def test_a_character_cut_in_half_is_whole_again():
    text = ModelText()
    assert [text.feed("x\ud83d"), text.feed("\ude00"), text.feed("\ud83d"), text.finish()] == ["x", "😀", "", "\ufffd"]


def test_line_ends_become_lf():
    assert normalise("a\r\nb\rc\nd\r\n\r\n") == "a\nb\nc\nd\n\n"


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\ude00\ud83d"])
def test_nul_and_lone_surrogates_cannot_be_stored(text):
    assert not is_storable(text)
    assert "\ufffd" in clean_model_text(text)


def test_control_characters_and_emoji_are_kept_to_the_letter():
    assert clean_model_text("\x01\x1b[31m\u202e😀\u2028\ufeff ") == "\x01\x1b[31m\u202e😀\u2028\ufeff "
