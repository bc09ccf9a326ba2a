"""Whatever is cut, lost and repeated between a turn and its listeners, their texts joined are the answer, to the letter.

A program of hypothesis' making lets the model speak, the writer write, the readers read, Redis lose things, and the
clients come and go, at every place of a text that is unkind to be cut: one client in the process that produces the
answer, one in another process, and a page in each.
"""

from uuid import uuid4

import pytest
from httpx_sse._decoders import SSEDecoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatapp.api import sse
from chatapp.kernel.redis import SoftRedis
from chatapp.rendering import MarkdownStream, render
from chatapp.turns.live.log import Ending, MemoryLog, Piece, TurnLog
from chatapp.turns.live.redis_log import RedisLog, end_key, text_key
from tests.streams import Heard

DONE = Ending("completed", uuid4(), 12, 88, "estimate", "stop")
# Characters of one to four bytes, joined and combined ones, both directions, and what opens or closes in Markdown.
UNKIND = [
    "a", " ", "\n", "\n\n", "é", "e\u0301", "漢", "𝄞", "👩\u200d👩\u200d👧", "🇩🇪", "\u202e", "\u2028", "\ufeff", "\ufffd",
    "{", '{"done": true}', "data: x\n", ": y\n", "id: 7\n\n", "**", "`", "```py\n", "```\n", "$x^2$", "| a | b |\n|--|--|\n",
    "[x](https://e.org)", "- [ ] ", "# ", "> ", "<b>", "&amp;", "\\",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(UNKIND), min_size=1, max_size=20).map("".join)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 9)),
        st.tuples(st.sampled_from(["write", "read", "checkpoint", "come"]), st.just(0)),
        st.tuples(st.sampled_from(["flush", "expire", "truncate"]), st.integers(0, 9)),
    ),
    max_size=30,
)
A_FEW = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)


@pytest.fixture
def redis(redis_url):
    client = SoftRedis(redis_url)
    yield client
    client.close()


class Client:
    """Hears a log over the wire, breaks off, and comes back with the last id that it has, as an EventSource does."""

    def __init__(self, log: TurnLog, page_log: TurnLog) -> None:
        self.log = log
        self.page_log = page_log
        self.heard = Heard(200)

    def come(self) -> None:
        offset = sse.read_position(self.heard.ids[-1])[1] if self.heard.ids else 0
        decoder = SSEDecoder()
        for item in self.log.follow(offset or 0, tick_seconds=0, heartbeat_seconds=1e-6):
            if not isinstance(item, Piece):
                return
            for line in sse.piece(TURN, item).split("\n")[:-1]:
                if event := decoder.decode(line):
                    self.heard.take(event)

    def page(self) -> str:
        """Return what a page shows that comes now and stays until nothing more comes."""
        stream = MarkdownStream()
        for item in self.page_log.follow(tick_seconds=0, heartbeat_seconds=1e-6):
            if not isinstance(item, Piece):
                break
            stream = MarkdownStream() if item.reset else stream
            stream.feed(item.text)
        stream.finish()
        return stream.blocks + stream.tail


TURN = uuid4()


@given(TEXTS, STEPS)
@A_FEW
def test_in_the_producing_process_every_cut_joins_exactly(text, steps):
    logs = MemoryLog(spawn_later=lambda *_: None)
    log, said = logs.open(TURN), 0
    client = Client(log, log)
    for step, number in steps:
        if step == "say":
            log.append(text[said : said + number])
            said += number
        client.come()
        assert client.heard.text == text[:said]
        assert client.page() == render(text[:said])
    log.append(text[said:])
    logs.end(TURN, DONE)
    client.come()

    assert (client.heard.text, client.heard.resets) == (text, 0)
    assert client.page() == render(text)


@pytest.mark.redis
@given(TEXTS, STEPS)
@A_FEW
def test_in_another_process_every_cut_and_every_loss_joins_exactly(redis, text, steps):
    redis.call(lambda client: client.flushdb(), None)
    logs, reader = RedisLog(redis, spawn_later=lambda *_: None), RedisLog(redis)
    # The test writes; nothing is written behind its back.
    logs._writer = object()
    log, copy, said = logs.open(TURN), TurnLog(is_copy=True), 0
    there = Client(copy, copy)
    here = Client(log, log)
    for step, number in steps:
        if step == "say":
            log.append(text[said : said + number])
            said += number
        elif step == "write":
            logs._write({(TURN, "text"): log.text})
        elif step == "read":
            reader.fetch({TURN: copy})
        elif step == "checkpoint" and len(log.text) > len(copy.text):
            copy.replace(log.text)
        elif step == "come":
            there.come()
            here.come()
        elif step in LOSSES:
            redis.call(lambda client, step=step, number=number: LOSSES[step](client, number), None)
        # Never a letter that is not the answer's, and never one that is not at its place.
        assert text.startswith(copy.text)
        assert text.startswith(there.heard.text)
        assert text.startswith(reader.stored_text(TURN))
    log.append(text[said:])
    logs.end(TURN, DONE)
    reader.fetch({TURN: copy})
    if copy.ending is None:  # What Redis lost, the database has.
        copy.replace(text)
        copy.end(DONE)
    there.come()
    here.come()

    assert there.heard.text == here.heard.text == text
    assert there.heard.resets == here.heard.resets == 0
    assert copy.ending == DONE
    assert there.page() == here.page() == render(text)


LOSSES = {
    "flush": lambda client, _: client.flushdb(),
    "expire": lambda client, number: client.delete([text_key, end_key][number % 2](TURN)),
    "truncate": lambda client, number: client.set(text_key(TURN), (client.get(text_key(TURN)) or b"")[:number]),
}


@pytest.mark.redis
@given(TEXTS, st.integers(0, 60), st.integers(0, 60))
@A_FEW
def test_where_the_text_behind_a_position_is_gone_for_good_it_begins_anew(redis, text, had, left):
    """The owner died: what is left of its text, in Redis or as a checkpoint, is shorter than what somebody has had."""
    redis.call(lambda client: client.set(text_key(TURN), text[:left].encode()[: left + 1]), None)
    kept = RedisLog(redis).stored_text(TURN)
    copy = TurnLog(is_copy=True)
    there = Client(copy, copy)
    copy.append(text[:had])
    there.come()
    copy = there.log = there.page_log = TurnLog(is_copy=True)
    copy.replace(kept)
    copy.end(DONE)
    there.come()

    assert there.heard.text == kept
    assert there.heard.resets == (len(kept) < len(text[:had]))
    assert there.page() == render(kept)
