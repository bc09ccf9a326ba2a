"""The framing of HTTP and of event streams, whole and cut anywhere."""

import contextlib
import http.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapp.providers.event_stream import _Chunks
from chatapp.providers.events import read_events

BODY = b'data: {"a": 1}\r\n\r\ndata: two\ndata: lines\n\n: comment\nid: 7\nevent: x\ndata:3\n\n{"error": 1}\n'
EVENTS = [b'{"a": 1}', b"two\nlines", b"3", b'{"error": 1}']


def chunked(body, sizes):
    found, at = b"", 0
    for size in sizes:
        if content := body[at : at + size]:
            found += b"%x;ext=1\r\n%s\r\n" % (len(content), content)
        at += size
    rest = body[at:]
    return found + (b"%x\r\n%s\r\n" % (len(rest), rest) if rest else b"") + b"0\r\n\r\n"


@given(st.lists(st.integers(1, 30), max_size=10), st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_a_body_in_chunks_cut_anywhere_comes_out_whole(sizes, cuts):
    wire, chunks, found, at = chunked(BODY, sizes), _Chunks(), b"", 0
    while at < len(wire):
        cut = cuts[at % len(cuts)]
        found += chunks.feed(wire[at : at + cut])
        at += cut

    assert found == BODY
    assert chunks.is_over


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_events_cut_anywhere_are_the_same_events(cuts):
    def pieces():
        at = 0
        while at < len(BODY):
            cut = cuts[at % len(cuts)]
            yield BODY[at : at + cut]
            at += cut

    assert [data for events in read_events(pieces()) for data in events] == EVENTS


@pytest.mark.parametrize("head", [b"xyz\r\n", b"-5\r\n", b"\r\n", b"0x10\r\n", b"f" * 20 + b"\r\n", b"1" * 2000])
def test_what_is_no_chunk_size_is_refused(head):
    with pytest.raises(http.client.HTTPException):
        _Chunks().feed(head)


def test_an_event_that_is_not_ended_is_none():
    assert list(read_events(iter([b"data: one\n\ndata: two\n"]))) == [[b"one"]]


@pytest.mark.parametrize("line", [b"data: {}\n", b"data: x\n", b"data: [\n"])
def test_an_event_without_end_is_given_out_or_given_up(line):
    # Ten million bytes, a read at a time: nothing of it may wait for the end, and be worked on in one piece.
    pieces = (line * (16_384 // len(line)) for _ in range(700))
    longest = 0
    with contextlib.suppress(http.client.LineTooLong):
        for events in read_events(pieces):
            longest = max(longest, *map(len, events))

    assert longest < 100
    assert sum(1 for _ in pieces) < 300 or line == b"data: {}\n"
