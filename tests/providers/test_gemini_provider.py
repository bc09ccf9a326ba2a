"""Gemini through the real SDK, over real HTTP: requests, text, thoughts, usage, counting, closing."""

import subprocess
import sys

import gevent
import pytest

from chatapp.kernel.errors import ProviderError, ProviderInterrupted, ProviderMisconfigured
from chatapp.providers import passed_over
from chatapp.providers.base import Usage
from chatapp.providers.gemini import MODELS, GeminiProvider, thinking_of
from chatapp.providers.gemini.sdk import SdkClient
from tests.providers.conftest import KEY
from tests.scripted_gemini import counts, refuses, says


@pytest.fixture
def sent(server, gemini, ask):
    """Ask and return the JSON that reached the server."""

    def send(*texts, **fields):
        list(gemini.stream(ask(*texts, **fields)))
        return server.requests[-1].body

    return send


def usages(chunks):
    return [chunk.usage for chunk in chunks if chunk.usage]


def test_the_module_alone_does_not_load_the_sdk():
    script = "import chatapp.providers.registry, sys; assert not {'google.genai', 'httpx2'} & set(sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- what is sent


def test_a_dialogue_is_sent_with_gemini_s_roles(sent):
    body = sent("One?", "Two.", "Three?", system_prompt="Be short.", temperature=0.5, max_output_tokens=64)

    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert [content["parts"] for content in body["contents"]] == [[{"text": t}] for t in ("One?", "Two.", "Three?")]
    assert body["systemInstruction"]["parts"] == [{"text": "Be short."}]
    assert body["generationConfig"] == {
        "temperature": 0.5,
        "maxOutputTokens": 64,
        "thinkingConfig": {"thinking_budget": 0},
    }


def test_the_key_travels_in_a_header_only(sent, server):
    sent()

    assert server.requests[-1].headers["x-goog-api-key"] == KEY
    assert KEY not in server.requests[-1].path
    assert server.requests[-1].path.startswith("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse")
    assert "x-server-timeout" not in server.requests[-1].headers


def test_another_service_s_environment_changes_nothing(server, make_gemini, ask, monkeypatch):
    monkeypatch.setenv("GOOGLE_API_KEY", "another-key")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    list(make_gemini().stream(ask()))

    assert server.requests[-1].headers["x-goog-api-key"] == KEY


@pytest.mark.parametrize(
    ("model", "allowed", "config", "limit"),
    [
        ("gemini-2.5-flash", 0, {"thinking_budget": 0}, 1000),
        ("gemini-2.5-flash", 300, {"thinking_budget": 300, "include_thoughts": True}, 1300),
        ("gemini-2.5-flash", 10**6, {"thinking_budget": 24_576, "include_thoughts": True}, 25_576),
        ("gemini-2.5-flash", None, {"include_thoughts": True}, 1000),
        ("gemini-2.5-flash-lite", 10, {"thinking_budget": 0}, 1000),
        ("gemini-2.5-flash-lite", 512, {"thinking_budget": 512, "include_thoughts": True}, 1512),
        ("gemini-2.5-pro", 0, {"thinking_budget": 128}, 1128),
        ("gemini-3.5-flash-lite", 0, {"thinking_level": "MINIMAL"}, 1512),
        ("gemini-3.8-flash", 0, {"thinking_level": "LOW"}, 3048),
        ("gemini-3.8-flash", 9000, {"thinking_level": "MEDIUM", "include_thoughts": True}, 10_000),
        ("gemini-3.1-pro-preview", 100, {"thinking_level": "LOW", "include_thoughts": True}, 3048),
        ("gemini-7-flash", 0, {"thinking_level": "LOW"}, 3048),
        ("gemini-2.0-flash", 0, None, 1000),
        ("gemma-3-27b-it", 500, None, 1000),
    ],
)
def test_the_allowance_to_think_comes_on_top_of_the_answer(sent, model, allowed, config, limit):
    sending = sent(model=model, thinking_tokens=allowed)["generationConfig"]

    # The SDK writes the inner names with underscores; the API reads both.
    assert sending.get("thinkingConfig") == config
    assert sending["maxOutputTokens"] == limit


def test_the_least_allowance_is_what_the_model_is_said_to_need(sent):
    for model in MODELS:
        sending = sent(model=model.id, thinking_tokens=0)["generationConfig"]
        assert sending["maxOutputTokens"] == 1000 + model.min_thinking_tokens == 1000 + thinking_of(model.id).min_tokens


def test_no_more_is_asked_for_than_a_model_can_give(sent):
    assert sent(max_output_tokens=60_000, thinking_tokens=20_000)["generationConfig"]["maxOutputTokens"] == 65_536


# --- what comes back


def test_pieces_arrive_one_by_one_as_they_are_written(server, gemini, ask):
    server.script(says("one", {"hold": True}, " two"))
    answer = gemini.stream(ask())

    assert next(answer).delta == "one"
    server.release()
    assert next(answer).delta == " two"


def test_thoughts_are_kept_apart_from_the_answer(server, gemini, ask, text_of):
    server.script(says({"thought": "Hm."}, "Yes."))
    chunks = list(gemini.stream(ask(thinking_tokens=100)))

    assert [chunk.thought for chunk in chunks if chunk.thought] == ["Hm."]
    assert text_of(chunks) == "Yes."
    assert chunks[-1].usage.thoughts_tokens == 1


@pytest.mark.parametrize("usage", ["running", "last", "zeros_first"])
def test_usage_ends_at_the_last_total_whatever_its_shape(server, gemini, ask, usage):
    server.script(says("word" * 5, "word" * 5, usage=usage))
    chunks = list(gemini.stream(ask("12345678")))

    assert chunks[-1].usage == Usage(input_tokens=3, output_tokens=10)
    assert all(usage.total_tokens for usage in usages(chunks))


def test_usage_that_never_comes_is_none(server, gemini, ask):
    server.script(says("one", usage="none"))

    assert usages(gemini.stream(ask())) == []


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"promptTokenCount": -5, "candidatesTokenCount": 4}, Usage(output_tokens=4)),
        ({"promptTokenCount": 10**30, "candidatesTokenCount": 1}, Usage(input_tokens=10**9, output_tokens=1)),
        ({"promptTokenCount": "7", "candidatesTokenCount": 2.0}, Usage(input_tokens=7, output_tokens=2)),
        ({"promptTokenCount": 9, "cachedContentTokenCount": 50}, Usage(input_tokens=9, cached_tokens=9)),
        ({"promptTokenCount": 9, "toolUsePromptTokenCount": 3}, Usage(input_tokens=9, tool_tokens=3)),
        ({"candidatesTokenCount": 5, "thoughtsTokenCount": 6}, Usage(output_tokens=11, thoughts_tokens=6)),
        ({"promptTokenCount": None, "unknownCount": 3}, None),
        ({}, None),
    ],
)
def test_odd_figures_are_made_sound(server, gemini, ask, reported, expected):
    server.script(says("one", usage=reported))

    assert list(gemini.stream(ask()))[-1].usage == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
    ],
)
def test_each_finish_reason_has_its_word(server, gemini, ask, text_of, reason, expected):
    server.script(says("one", finish=reason))
    chunks = list(gemini.stream(ask()))

    assert text_of(chunks) == "one"
    assert chunks[-1].finish_reason == expected


@pytest.mark.parametrize(
    "reason",
    [
        *("OTHER", "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"),
        *("NO_IMAGE", "IMAGE_OTHER", "FINISH_REASON_UNSPECIFIED", "A_REASON_OF_NEXT_YEAR"),
    ],
)
def test_a_reason_that_is_no_known_end_makes_no_answer_whole(server, gemini, ask, reason, caplog):
    server.script(says("one", finish=reason))
    said = []

    with pytest.raises(ProviderInterrupted):
        said.extend(chunk.delta for chunk in gemini.stream(ask()))

    assert reason in caplog.text or reason == "FINISH_REASON_UNSPECIFIED"


def test_an_answer_without_figures_of_its_own_has_what_the_total_leaves(server, gemini, ask):
    server.script(says("one", usage={"promptTokenCount": 10, "totalTokenCount": 25}))

    assert list(gemini.stream(ask()))[-1].usage == Usage(input_tokens=10, output_tokens=15)


def test_of_many_finish_reasons_the_last_one_counts(server, gemini, ask, text_of):
    stop = {"candidates": [{"content": {"parts": [{"text": "one"}]}, "finishReason": "STOP"}]}
    server.script(says({"chunk": stop}, " two", finish="MAX_TOKENS"))
    chunks = list(gemini.stream(ask()))

    assert text_of(chunks) == "one two"
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["length"]


def test_an_answer_longer_than_asked_for_is_ended_by_length(server, gemini, ask, text_of):
    server.script(says(*["word"] * 20, {"hold": True}))
    chunks = list(gemini.stream(ask(model="gemini-2.5-pro", max_output_tokens=10)))

    assert text_of(chunks) == "word" * 11
    assert chunks[-1].finish_reason == "length"
    assert server.wait_until(lambda: server.requests[-1].state == "closed")


def test_an_empty_answer_ends_without_text(server, gemini, ask, text_of):
    server.script(says(finish="STOP"))
    chunks = list(gemini.stream(ask()))

    assert text_of(chunks) == ""
    assert chunks[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    "how", [{"write_bytes": 1}, {"write_bytes": 7}, {"gzip": True}, {"gzip": True, "write_bytes": 3}]
)
def test_text_cut_anywhere_arrives_to_the_letter(server, gemini, ask, text_of, how):
    pieces = ["Grüße, 世界 👩‍👩‍👧", "a\u2028b\u2029c\u0085d", '\r\n\t\\ " data: {x}\n\n', "\x00", "é"]
    server.script(says(*pieces, **how))

    assert text_of(gemini.stream(ask())) == "".join(pieces)


def test_half_a_surrogate_pair_is_handed_over_as_it_came(server, gemini, ask, text_of):
    server.script(says("a\ud83d", "\ude00b"))

    assert text_of(gemini.stream(ask())) == "a\ud83d\ude00b"


def test_parts_that_are_no_text_are_passed_over_and_named(server, gemini, ask, text_of, caplog):
    passed_over._named.clear()
    parts = [
        {"functionCall": {"name": "f", "args": {}}},
        {"text": "one"},
        {"somethingNew": {"x": 1}},
        {"executableCode": {}},
    ]
    server.script(says({"chunk": {"candidates": [{"content": {"parts": parts}}], "newField": [1]}}))

    assert text_of(gemini.stream(ask())) == "one"
    assert "functionCall" in caplog.text


@pytest.mark.parametrize(
    "chunk", [{}, {"candidates": []}, {"candidates": None}, {"candidates": [{}]}, {"candidates": [{"content": {}}]}]
)
def test_chunks_without_anything_are_passed_over(server, gemini, ask, text_of, chunk):
    server.script(says({"chunk": chunk}, "one"))

    assert text_of(gemini.stream(ask())) == "one"


def test_words_that_keep_the_connection_open_are_passed_over_and_named(server, ask, text_of, caplog):
    passed_over._named.clear()
    server.script(says({"raw": "data: ping\n\n"}, "one", {"raw": "data: [DONE]\n\n"}, finish="STOP"))

    # google-genai reads events itself.
    provider = GeminiProvider(KEY, server.url, connect_seconds=2, idle_seconds=5, total_seconds=20)
    assert text_of(provider.stream(ask())) == "one"
    assert "no JSON" in caplog.text
    provider.close()


# --- counting


def test_a_text_is_counted_as_one_user_message(server, gemini):
    server.script(counts(42))

    assert gemini.count_tokens("gemini-2.5-flash", "Some text") == 42
    assert server.requests[-1].body == {"contents": [{"role": "user", "parts": [{"text": "Some text"}]}]}
    assert server.requests[-1].path == "/v1beta/models/gemini-2.5-flash:countTokens"


@pytest.mark.parametrize("body", ["{}", "[]", "not json", '{"totalTokens": "many"}', ""])
def test_a_count_without_a_number_is_an_error_of_ours(server, gemini, body):
    server.script(counts(0, body=body))

    with pytest.raises(ProviderError):
        gemini.count_tokens("gemini-2.5-flash", "text")


def test_a_failing_count_is_an_error_of_ours(server, gemini):
    server.script(refuses(503, to="count"), refuses(404, to="count"))

    with pytest.raises(ProviderError):
        gemini.count_tokens("gemini-2.5-flash", "text")
    with pytest.raises(ProviderMisconfigured):
        gemini.count_tokens("gemini-2.5-flash", "text")


def test_a_slow_count_can_be_interrupted_and_hangs_up(server, gemini):
    server.script(counts(1, wait_seconds=60))

    with pytest.raises(gevent.Timeout), gevent.Timeout(0.5):
        gemini.count_tokens("gemini-2.5-flash", "text")

    assert server.wait_until(lambda: server.requests[-1].state == "closed", seconds=1)
    assert gemini.count_tokens("gemini-2.5-flash", "text") == 2


def test_counts_run_side_by_side(server, gemini):
    server.script(counts(1, wait_seconds=60, times=3))
    jobs = [gevent.spawn(gemini.count_tokens, "gemini-2.5-flash", "text") for _ in range(3)]

    assert server.wait_until(lambda: len(server.requests) == 3)
    gevent.killall(jobs)


# --- hanging up


def test_closing_the_answer_hangs_up_at_once(server, gemini, ask):
    server.script(says("one", {"wait": 60}))
    answer = gemini.stream(ask())
    next(answer)

    answer.close()

    assert server.wait_until(lambda: server.requests[-1].state == "closed", seconds=1)


@pytest.mark.parametrize("steps", [[{"wait": 60}], ["one", {"wait": 60}]])
def test_killing_the_reader_hangs_up_at_once(server, make_gemini, ask, steps):
    gemini = make_gemini(idle_seconds=60)
    server.script(says(*steps))
    reader = gevent.spawn(lambda: list(gemini.stream(ask())))
    assert server.wait_until(lambda: server.requests)
    gevent.sleep(0.02)

    reader.kill()

    assert server.wait_until(lambda: server.requests[-1].state == "closed", seconds=1)
    assert isinstance(reader.value, gevent.GreenletExit)


def test_someone_else_s_timeout_passes_through_and_hangs_up(server, make_gemini, ask):
    gemini = make_gemini(idle_seconds=60)
    list(gemini.stream(ask()))
    server.script(says("one", {"wait": 60}))

    with pytest.raises(gevent.Timeout) as raised, gevent.Timeout(0.5) as mine:
        list(gemini.stream(ask()))

    assert raised.value is mine
    assert server.wait_until(lambda: server.requests[-1].state == "closed", seconds=1)


def test_a_hundred_and_fifty_answers_stream_at_once(server, make_gemini, ask):
    gemini = make_gemini(idle_seconds=20, connect_seconds=20, total_seconds=60)
    server.script(says("one", {"hold": True}, times=150))
    readers = [gevent.spawn(lambda: list(gemini.stream(ask()))) for _ in range(150)]

    together = server.wait_until(lambda: len(server.requests) == 150, seconds=20)
    server.release()
    gevent.joinall(readers, raise_error=True)

    assert together


def test_connections_are_used_again(server, make_gemini, ask):
    gemini = make_gemini()
    list(gemini.stream(ask()))
    before = server.open_connections
    for _ in range(5):
        list(gemini.stream(ask()))

    assert server.open_connections <= before


def test_a_closed_provider_opens_again(gemini, ask):
    gemini.close()

    assert list(gemini.stream(ask()))


def test_one_sdk_client_is_built_however_many_ask_at_first(monkeypatch):
    gemini = SdkClient(KEY, None, connect_seconds=2, idle_seconds=5)
    built = []
    monkeypatch.setattr(SdkClient, "_build_client", lambda self: gevent.sleep(0.01) or built.append(1) or FakeClient())

    gevent.joinall([gevent.spawn(gemini.warm_up) for _ in range(5)], raise_error=True)

    assert built == [1]


class FakeClient:
    def close(self):
        """Do nothing."""
