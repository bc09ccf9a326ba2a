"""An OpenAI-compatible server: what is sent, what is made of its answer, and of every way in which it can fail."""

import contextlib

import gevent
import pytest
from gevent.server import StreamServer

from chatapp.kernel.errors import (
    ContentBlocked,
    ProviderError,
    ProviderInterrupted,
    ProviderKeyRefused,
    ProviderMisconfigured,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderTimeout,
)
from chatapp.providers.base import Chunk, Usage
from chatapp.providers.openai import OpenAICompatibleProvider, _headers, declared_models
from chatapp.providers.retry import stream_with_retries
from tests.scripted_gemini import Answer
from tests.scripted_openai import ScriptedOpenAI, refuses, says

KEY = "sk-the-secret-key"


@pytest.fixture(scope="module")
def _openai():
    server = ScriptedOpenAI(api_key=KEY).start()
    yield server
    server.stop()


@pytest.fixture
def openai(_openai):
    _openai.reset()
    return _openai


@pytest.fixture
def make(openai):
    made = []

    def make_one(key=KEY, url=openai.url, **options):
        made.append(
            OpenAICompatibleProvider(
                url, key, **{"connect_seconds": 2, "idle_seconds": 5, "total_seconds": 20, **options}
            )
        )
        return made[-1]

    yield make_one
    for provider in made:
        provider.close()


@pytest.fixture
def provider(make):
    return make()


def test_what_is_sent_is_what_all_servers_know(provider, openai, ask):
    list(provider.stream(ask("Hi", "Yes?", "Tell me", model="small", system_prompt="Be brief.", temperature=0.5)))

    request = openai.requests[-1]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Tell me"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 1000,
        "temperature": 0.5,
    }


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_address_that_moved_gets_no_key(provider, openai, ask, status):
    elsewhere = ScriptedOpenAI().start()
    openai.script(Answer(status=status, headers={"Location": f"{elsewhere.url}/chat/completions"}, body=""))

    try:
        with pytest.raises(ProviderMisconfigured):
            list(provider.stream(ask("Hi")))
        assert elsewhere.requests == []
    finally:
        elsewhere.stop()


def test_what_an_address_asks_for_stands_behind_every_path(openai, make, ask):
    with pytest.raises(ProviderError):
        list(make(url=f"{openai.url}/?api-version=2026-01-01").stream(ask("Hi", model="m")))

    assert openai.requests[-1].path == "/v1/chat/completions?api-version=2026-01-01"


def test_azure_gets_the_key_in_its_own_header():
    assert _headers("x.openai.azure.com:443", KEY)["api-key"] == KEY
    assert "api-key" not in _headers("azure.com.example", KEY)


def test_without_a_key_none_is_sent(make, ask):
    server = ScriptedOpenAI().start()
    list(make(key=None, url=server.url).stream(ask()))
    server.stop()

    assert "authorization" not in server.requests[-1].headers


@pytest.mark.parametrize("word", ["reasoning_content", "reasoning"])
def test_thoughts_are_apart_from_the_text(provider, openai, ask, text_of, word):
    openai.thinks_as = word
    openai.script(says({"thought": "Let me "}, {"thought": "see."}, "It is", " so."))

    chunks = list(provider.stream(ask()))

    assert text_of(chunks) == "It is so."
    assert "".join(chunk.thought for chunk in chunks) == "Let me see."
    assert chunks[-1].usage.thoughts_tokens == 3


def test_the_last_usage_counts_and_holds_what_was_cached(provider, openai, ask):
    first = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "choices": []}
    details = {"prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}}
    openai.script(says({"chunk": first}, "Yes.", usage={"prompt_tokens": 9, "completion_tokens": 5, **details}))

    assert list(provider.stream(ask()))[-1].usage == Usage(9, 5, cached_tokens=4, thoughts_tokens=2)


@pytest.mark.parametrize("usage", ["none", {"prompt_tokens": "x"}, {"prompt_tokens": -3}])
def test_without_usable_usage_there_is_none(provider, openai, ask, usage):
    openai.script(says("Yes.", usage=usage))

    assert list(provider.stream(ask()))[-1] == Chunk(usage=None, finish_reason="stop")


@pytest.mark.parametrize(
    ("word", "reason"), [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop")]
)
def test_an_end_is_told_in_our_words(provider, openai, ask, word, reason):
    openai.script(says("Yes.", finish=word))

    assert list(provider.stream(ask()))[-1].finish_reason == reason


def test_a_blocked_question_is_blocked(provider, openai, ask):
    openai.script(says(finish="content_filter"))

    with pytest.raises(ContentBlocked):
        list(provider.stream(ask()))


@pytest.mark.parametrize(
    "strange",
    [
        {"raw": ": a comment\n\n"},
        {"raw": "event: ping\ndata: []\n\n"},
        {"chunk": {"choices": []}},
        {"chunk": {"choices": [None]}},
        {"chunk": {"choices": [{"delta": None}]}},
        {"chunk": {"choices": [{"delta": {"content": [7, {"type": "image_url"}], "tool_calls": [{}]}}]}},
    ],
)
def test_what_is_not_as_it_should_be_is_passed_over(provider, openai, ask, text_of, strange):
    openai.script(says("a", strange, "b"))

    assert text_of(list(provider.stream(ask()))) == "ab"


def test_a_stream_that_is_cut_byte_by_byte_says_the_same(provider, openai, ask, text_of):
    openai.script(says("Ä", " 🙂 ", "\n{}", write_bytes=1))

    assert text_of(list(provider.stream(ask()))) == "Ä 🙂 \n{}"


FAULTS = [
    (refuses(429, retry_after="3"), ProviderRateLimited, True),
    (refuses(401), ProviderKeyRefused, False),
    (refuses(404), ProviderMisconfigured, False),
    (refuses(400), ProviderError, False),
    (refuses(500), ProviderError, True),
    (refuses(503), ProviderOverloaded, True),
    (says({"chunk": {"error": {"message": f"bad key {KEY}"}}}, finish=None), ProviderError, True),
    (says({"raw": "data: {nonsense\n\n"}, finish=None), ProviderError, True),
    (says("so far", {"chunk": {"error": {"message": "out of memory"}}}, finish=None), ProviderInterrupted, False),
    (says("so far", {"raw": "data: {nonsense\n\n"}, finish=None), ProviderInterrupted, False),
    (says("so far", {"reset": True}), ProviderInterrupted, False),
    (says("so far", {"close": True}), ProviderInterrupted, False),
    (says("so far", finish=None), ProviderInterrupted, False),
    (says(finish=None), ProviderInterrupted, True),
]


@pytest.mark.parametrize(("answer", "kind", "can_retry"), FAULTS)
def test_a_fault_becomes_our_error_without_the_servers_words(provider, openai, ask, caplog, answer, kind, can_retry):
    openai.script(answer)

    with pytest.raises(ProviderError) as raised:
        list(provider.stream(ask()))

    assert (type(raised.value), raised.value.can_retry) == (kind, can_retry)
    assert KEY not in caplog.text + repr(raised.value) + repr(raised.value.__context__)


def test_a_server_that_is_down_may_be_asked_again_and_the_log_says_why(make, ask, caplog):
    with pytest.raises(ProviderError) as raised:
        list(make(url="http://127.0.0.1:9/v1").stream(ask()))

    assert raised.value.can_retry
    assert "Connection refused" in caplog.text


def test_a_key_that_cannot_be_sent_is_a_wrong_setting(make, ask):
    with pytest.raises(ProviderMisconfigured):
        list(make(key="sk-ä\n").stream(ask()))


@pytest.mark.parametrize("answer", [says(wait_seconds=5), says("so far", {"wait": 5})])
def test_a_server_that_falls_silent_is_given_up(make, openai, ask, answer):
    openai.script(answer)

    with pytest.raises(ProviderTimeout):
        list(make(idle_seconds=0.1).stream(ask()))


def test_an_answer_that_never_ends_is_ended(make, openai, ask):
    openai.script(says(*["word "] * 200, pace_seconds=0.01))

    with pytest.raises(ProviderTimeout):
        list(make(total_seconds=0.2).stream(ask()))
    assert openai.wait_until(lambda: openai.requests[-1].state == "closed")


@pytest.mark.parametrize("head", [b"HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_a_head_or_a_refusal_that_drips_for_ever_is_given_up(make, ask, head):
    def drip(client, _address):
        with contextlib.suppress(OSError):
            client.sendall(head)
            while True:
                client.sendall(b"x")
                gevent.sleep(0.01)

    server = StreamServer(("127.0.0.1", 0), drip)
    server.start()

    with pytest.raises(ProviderTimeout):
        list(make(url=f"http://127.0.0.1:{server.server_port}/v1", total_seconds=0.3).stream(ask()))
    server.stop(timeout=0)


def test_what_comes_before_the_first_piece_is_tried_again_and_nothing_after_it(provider, openai, ask, text_of):
    openai.script(refuses(503), refuses(429), says("Yes."))
    chunks = list(stream_with_retries(provider, ask(), sleep=lambda seconds: None))
    assert text_of(chunks) == "Yes."

    openai.script(says("so far", {"reset": True}), says("again"))
    with pytest.raises(ProviderInterrupted):
        list(stream_with_retries(provider, ask(), sleep=lambda seconds: None))


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_whoever_stops_listening_closes_the_connection(provider, openai, ask, how):
    openai.script(says("one", {"hold": True}, "two"))
    answer = provider.stream(ask())
    assert next(answer).delta == "one"

    if how == "closed":
        answer.close()
    else:
        reader = gevent.spawn(next, answer)
        gevent.sleep(0.01)
        reader.kill()

    assert openai.wait_until(lambda: openai.requests[-1].state == "closed")


def test_a_whole_answer_leaves_its_connection_for_the_next(provider, openai, ask):
    for _ in range(3):
        list(provider.stream(ask()))

    assert openai.open_connections == 1


def test_an_allowance_to_think_is_on_top_of_the_answer(provider, openai, ask):
    list(provider.stream(ask(thinking_tokens=500)))

    assert openai.requests[-1].body["max_tokens"] == 1500


# Models


def test_models_are_listed_with_what_is_known_of_them(provider):
    small, large = provider.list_models()

    assert (small.id, small.max_input_tokens, small.has_known_limits) == ("small", 8192, True)
    assert (large.id, large.has_known_limits) == ("large", False)
    assert provider.models() == (small, large)


def test_a_server_that_is_down_at_the_start_is_no_reason_not_to_start(make):
    provider = make(url="http://127.0.0.1:9/v1")

    provider.warm_up()

    assert [info.id for info in provider.models()] == ["openai-compatible"]


def test_the_models_are_there_once_the_server_is(provider, openai):
    provider.warm_up()
    assert provider.models()[0].id == "openai-compatible"

    assert openai.wait_until(lambda: [info.id for info in provider.models()] == ["small", "large"])


def test_the_stand_in_is_answered_by_the_first_model(provider, openai, ask, text_of):
    assert text_of(list(provider.stream(ask(model="openai-compatible"))))

    assert openai.requests[-1].body["model"] == "small"


@pytest.mark.parametrize("body", ["", "[]", "null", '{"data": 3}', '{"data": [null, {"id": 3}, {"id": ""}]}'])
def test_a_list_that_is_none_is_no_list(provider, openai, body):
    openai.script(says(to="models", body=body))

    try:
        provider.list_models()
    except ProviderError:
        pass

    assert provider.models()[0].id == "openai-compatible"


def test_the_default_model_stands_first_listed_or_not(make):
    listed, unlisted = (make(default_model=name) for name in ("large", "new"))
    for provider in (listed, unlisted):
        provider.list_models()

    assert [info.id for info in listed.models()] == ["large", "small"]
    assert [info.id for info in unlisted.models()] == ["new", "small", "large"]


def test_models_that_are_set_are_not_asked_for(make, openai):
    provider = make(models=declared_models("qwen3:8b=40960, llama3.2"))
    provider.warm_up()
    gevent.sleep(0.02)

    assert [(info.id, info.max_input_tokens) for info in provider.models()] == [
        ("qwen3:8b", 40960),
        ("llama3.2", 32768),
    ]
    assert openai.requests == []


@pytest.mark.parametrize("text", ["=5", "a=0", "a=many", "a=-1"])
def test_a_wrong_list_names_its_setting(text):
    with pytest.raises(ValueError, match="OPENAI_MODELS"):
        declared_models(text)
