"""A listener comes back anywhere, in any process, at any offset, and has every character once."""

from unittest.mock import ANY
from uuid import UUID

import gevent
import pytest

from chatapp.api import sse
from chatapp.providers.base import Chunk
from chatapp.rendering import render
from chatapp.turns.live.log import Piece, Thought
from tests.conftest import make_user
from tests.faults import invariants
from tests.streams import Api, Heard, read, until

pytestmark = [pytest.mark.postgresql, pytest.mark.redis]

TEXT = (
    "# Grüße 👩‍👩‍👧\n\n**fett e\u0301 `code`** und [link](https://example.org/ä)\n\n"
    "```py\nx = '漢字𝄞'\n```\n\n| a | b |\n|--|--|\n| $x^2$ | 🇩🇪 |\n\n- [ ] eins\n{\"done\": true}\n\n"
)
# Behind it, what makes a stream of it hard: blanks and line ends at the borders of pieces.
PIECES = [TEXT[:7], TEXT[7:8], *[TEXT[at : at + 9] for at in range(8, len(TEXT), 9)]]


def resume(api: Api, chat: str, position: str) -> Heard:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": position}
    return read(api.call("GET", f"/chat/{chat}/message", headers=headers))


def half_said(pair, demo) -> tuple[str, str, gevent.Greenlet]:
    """Begin an answer in the first process; return its chat, its turn and its listener once half of it is said."""
    first, _ = pair
    chat, half = first.new_chat(), len(PIECES) // 2
    demo.will_say(*PIECES[:half], demo.hold(), *PIECES[half:])
    listening = gevent.spawn(first.send, chat, "Hi")
    until(lambda: (found := first.messages(chat)) and found[1]["content"] == "".join(PIECES[:half]))
    [turn_id] = first.client.application.extensions["live_turns"]._runs
    return chat, str(turn_id), listening


def test_a_cut_at_every_offset_is_resumed_in_either_process_while_it_runs_and_after(pair, demo, postgresql_url):
    chat, turn, listening = half_said(pair, demo)
    half = len("".join(PIECES[: len(PIECES) // 2]))
    # Also ahead of what the other process can know yet.
    waiting = {at: [gevent.spawn(resume, api, chat, f"{turn}:{at}") for api in pair] for at in range(0, half + 1, 6)}
    gevent.sleep(0.3)
    demo.release()
    live = {at: [each.get(timeout=20) for each in both] for at, both in waiting.items()}
    whole = listening.get(timeout=20)
    late = {at: [resume(api, chat, f"{turn}:{at}") for api in pair] for at in range(len(TEXT) + 1)}

    for at, heard in [(at, one) for answers in (live, late) for at, both in answers.items() for one in both]:
        assert (at, heard.text, heard.resets) == (at, TEXT[at:], 0)
        assert heard.final == whole.final
    invariants.saved_is_shown(pair[1].messages(chat), whole)
    invariants.hold(postgresql_url)


def test_a_cut_at_every_byte_of_the_connection_loses_and_repeats_nothing(pair, demo):
    """The client keeps the events that came whole; its position is the last one's."""
    chat, turn, listening = half_said(pair, demo)
    demo.release()
    listening.get(timeout=20)
    ends = [sum(map(len, PIECES[: at + 1])) for at in range(len(PIECES))]
    events = [sse.piece(UUID(turn), Piece(piece, end)) for piece, end in zip(PIECES, ends, strict=True)]
    stream = (sse.position(UUID(turn)) + "".join(events)).encode()
    rests: dict[str, str] = {}

    for cut in range(len(sse.position(UUID(turn))), len(stream) + 1):
        whole = stream[:cut].decode(errors="ignore").rpartition("\n\n")[0].split("\n\n")
        had = [event for event in whole if event]
        position = had[-1].split("\n")[0].removeprefix("id: ")
        if position not in rests:
            rests[position] = resume(pair[cut % 2], chat, position).text
        assert "".join(PIECES[: len(had) - 1]) + rests[position] == TEXT


@pytest.mark.parametrize("process", [0, 1])
def test_a_page_that_comes_back_at_any_frame_ends_with_the_same_answer(pair, demo, process):
    from chatapp.conversation.stream import AnswerFrames

    _chat, turn, listening = half_said(pair, demo)
    workers = pair[process].client.application.extensions["live_turns"]
    early = gevent.spawn(lambda: list(workers.follow(UUID(turn), tick_seconds=0.001)))
    gevent.sleep(0.3)
    demo.release()
    listening.get(timeout=20)
    late = list(workers.follow(UUID(turn)))

    for heard in (early.get(timeout=20), late):
        pieces = [item for item in heard if isinstance(item, Piece)]
        for cut in range(len(pieces) + 1):
            # The page shows what it had; the first frame after it is the whole state anew.
            text = "".join(piece.text for piece in pieces[:cut])
            frames = AnswerFrames(UUID(turn), "Copy")
            frames.grow(Piece(text, len(text)))
            frames.grow(Piece(TEXT[len(text) :], len(TEXT)))
            frames.finish("")
            assert frames._text._stream.blocks + frames._text._stream.tail == render(TEXT, "Copy")


@pytest.mark.parametrize("through", ["redis", "database"])
def test_a_page_of_another_process_is_told_what_the_model_thinks(make_app, sqlite_url, redis_url, demo, through):
    here, there = (make_app(sqlite_url, redis_url=redis_url if through == "redis" else None) for _ in range(2))
    api, end, heard = Api(here, make_user(here, "ada@example.org")), demo.hold(), []
    demo.will_say(Chunk(thought="Let me "), Chunk(thought="see."), end, "Yes.")
    turn_id = UUID(api.send(api.new_chat(), "Is it so?", pieces=0).turn_id)
    followed = there.extensions["live_turns"].follow(turn_id, with_thoughts=True)
    listener = gevent.spawn(heard.extend, followed)

    until(lambda: "".join(item.text for item in heard if isinstance(item, Thought)) == "Let me see.")
    end.set()
    listener.get(timeout=20)

    assert heard[-2:] == [Piece("Yes.", 4), ANY]


def test_a_position_ahead_of_the_other_process_waits_for_it_and_is_not_reset(pair, demo):
    chat, turn, listening = half_said(pair, demo)
    at = len("".join(PIECES[: len(PIECES) // 2]))
    pair[0].client.application.extensions["live_turns"]._log._written.clear()  # Nothing more reaches Redis.
    waiting = gevent.spawn(resume, pair[1], chat, f"{turn}:{at + 3}")
    gevent.sleep(0.2)
    demo.release()

    heard = waiting.get(timeout=20)
    assert (heard.text, heard.resets) == (TEXT[at + 3 :], 0)
    assert heard.final == listening.get(timeout=20).final
