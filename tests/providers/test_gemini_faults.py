"""Everything that can go wrong between us and Gemini, over real HTTP. All of it is a ProviderError."""

import json
import random
import socket
import traceback

import gevent
import pytest
from gevent.server import StreamServer

from chatapp.kernel.errors import (
    ContentBlocked,
    ContextTooLong,
    ProviderError,
    ProviderInterrupted,
    ProviderKeyRefused,
    ProviderMisconfigured,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderTimeout,
)
from chatapp.providers.retry import stream_with_retries
from tests.providers.conftest import KEY
from tests.scripted_gemini import Answer, ScriptedGemini, blocks, refuses, says

pytestmark = pytest.mark.slow


@pytest.fixture
def fail(gemini, ask):
    """Read an answer that must fail; return its text so far and the error."""

    def read(provider=gemini, **fields):
        said, error = attempt(provider.stream(ask(**fields)))
        assert error is not None
        return said, error

    return read


def attempt(answer):
    """Read an answer to its end; return its text and the error that ended it, None without one."""
    said = []
    try:
        for chunk in answer:
            assert chunk.usage is None or chunk.usage.total_tokens >= 0
            said.append(chunk.delta)
    except ProviderError as error:
        return "".join(said), error
    return "".join(said), None


def kind(error):
    return type(error), error.can_retry


# --- refused before the first piece


@pytest.mark.parametrize(
    ("answer", "expected", "seconds"),
    [
        (refuses(429), (ProviderRateLimited, True), None),
        (refuses(429, retry_delay="3.5s"), (ProviderRateLimited, True), 3.5),
        (refuses(429, retry_after="12"), (ProviderRateLimited, True), 12),
        (refuses(429, retry_delay="2s", retry_after="12"), (ProviderRateLimited, True), 2),
        (refuses(429, retry_delay="soon", retry_after="-3"), (ProviderRateLimited, True), None),
        (refuses(500), (ProviderError, True), None),
        (refuses(503, retry_after="4"), (ProviderOverloaded, True), 4),
        (refuses(504), (ProviderError, True), None),
        (Answer(status=502, body="<html>Bad gateway</html>"), (ProviderError, True), None),
        (refuses(400, reason="API_KEY_INVALID"), (ProviderKeyRefused, False), None),
        (refuses(401), (ProviderKeyRefused, False), None),
        (refuses(403, reason="API_KEY_SERVICE_BLOCKED"), (ProviderKeyRefused, False), None),
        (refuses(404), (ProviderMisconfigured, False), None),
        (refuses(400), (ProviderError, False), None),
        (refuses(413), (ContextTooLong, False), None),
    ],
)
def test_each_refusal_has_its_kind(server, fail, answer, expected, seconds):
    server.script(answer)
    said, error = fail()

    assert said == ""
    assert kind(error) == expected
    assert error.retry_after_seconds == seconds


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_address_that_moved_is_a_wrong_setting_and_gets_no_key(server, fail, status):
    elsewhere = ScriptedGemini().start()
    server.script(Answer(status=status, headers={"Location": f"{elsewhere.url}/v1beta/models/x"}, body=""))

    try:
        assert kind(fail()[1]) == (ProviderMisconfigured, False)
        assert elsewhere.requests == []
    finally:
        elsewhere.stop()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "[1]",
        '"text"',
        '{"error": "text"}',
        '{"error": {"details": {"a": 1}}}',
        '{"error": {"details": [null, 3]}}',
        '{"error": {"details": [{"reason": 5, "retryDelay": {}}]}}',
        '[{"error": {"code": "x", "details": null}}]',
    ],
)
def test_an_error_of_any_shape_is_ours(server, fail, body):
    server.script(Answer(status=429, body=body))

    assert kind(fail()[1])[0] in (ProviderRateLimited, ProviderError)


def test_a_wrong_key_is_the_operator_s_and_told_to_nobody(server, make_gemini, fail, caplog):
    caplog.set_level("DEBUG", logger="chatapp")
    _, error = fail(make_gemini(key="AIza-wrong-and-secret"))
    told = "".join(traceback.format_exception(error)) + repr(error) + caplog.text

    assert kind(error) == (ProviderKeyRefused, False)
    assert "API_KEY_INVALID" in caplog.text
    assert "AIza" not in told
    assert error.__context__ is None


@pytest.mark.parametrize("status", [400, 403, 429, 500])
def test_a_key_in_the_provider_s_words_goes_no_further(server, fail, caplog, status):
    caplog.set_level("DEBUG", logger="chatapp")
    server.script(refuses(status, message=f"The key {KEY} is not welcome"))
    _, error = fail()

    assert KEY not in "".join(traceback.format_exception(error)) + str(error) + caplog.text
    assert "welcome" not in str(error)


@pytest.mark.parametrize("key", ["with\nbreak", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_a_wrong_key(make_gemini, fail, key):
    assert kind(fail(make_gemini(key=key))[1]) == (ProviderMisconfigured, False)


# --- not reached


def test_a_closed_port_can_be_tried_again(make_gemini, fail):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    assert kind(fail(make_gemini(url=f"http://127.0.0.1:{port}"))[1]) == (ProviderError, True)


def test_a_name_that_does_not_resolve_can_be_tried_again(make_gemini, fail, monkeypatch):
    asked = []

    def unknown(host, *_, **__):
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # Whatever a library calls, gevent asks here.
    monkeypatch.setattr(gevent.get_hub().resolver, "getaddrinfo", unknown)

    assert kind(fail(make_gemini(url="http://nowhere.invalid"))[1]) == (ProviderError, True)
    assert "nowhere.invalid" in asked


def test_a_server_without_tls_can_be_tried_again(make_gemini, fail):
    plain = StreamServer(("127.0.0.1", 0), lambda connection, address: connection.sendall(b"HTTP/1.1 400 No\r\n\r\n"))
    plain.start()

    assert kind(fail(make_gemini(url=f"https://127.0.0.1:{plain.server_port}"))[1]) == (ProviderError, True)
    plain.stop()


def test_a_connection_that_is_never_made_is_a_timeout_to_try_again(make_gemini, fail):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Two connections fill the queue of a listener that accepts none: the next handshake gets no reply.
        fillers = [socket.socket() for _ in range(2)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        gevent.sleep(0.01)
        _, error = fail(make_gemini(url=f"http://127.0.0.1:{full.getsockname()[1]}", connect_seconds=0.2))
        for filler in fillers:
            filler.close()

    assert kind(error) == (ProviderTimeout, True)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_connection_refused_at_the_door_can_be_tried_again(server, make_gemini, fail, how):
    server.script(Answer(refuse=how))

    assert kind(fail(make_gemini())[1]) == (ProviderError, True)


# --- broken off


def test_a_reset_before_the_first_piece_can_be_tried_again(server, fail):
    server.script(says("one", reset_after_bytes=0))

    assert kind(fail()[1]) == (ProviderError, True)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_break_between_pieces_keeps_what_was_said(server, fail, how):
    server.script(says("one", {"wait": 0.02}, {how: True}))

    said, error = fail()
    assert said == "one"
    assert kind(error) == (ProviderInterrupted, False)


@pytest.mark.parametrize("how", ["reset_after_bytes", "close_after_bytes"])
def test_a_break_at_any_byte_is_an_interruption(server, fail, how):
    first = len("data: ") + len(json.dumps({"candidates": [{"content": {"parts": [{"text": ""}]}}]}))
    for offset in random.Random(4).sample(range(first, 420), 12):
        server.script(says("Grüße 👩‍👩‍👧", " 世界", {"wait": 0.01}, " und so weiter", finish=None, **{how: offset}))
        said, error = fail()

        assert "Grüße 👩‍👩‍👧 世界 und so weiter".startswith(said)
        assert isinstance(error, ProviderInterrupted | ProviderError)
        assert not (said and error.can_retry)


def test_an_end_without_a_finish_is_an_interruption(server, fail):
    server.script(says("one", finish=None))

    said, error = fail()
    assert said == "one"
    assert kind(error) == (ProviderInterrupted, False)


def test_an_end_without_anything_can_be_tried_again(server, fail):
    server.script(says(finish=None))

    assert kind(fail()[1]) == (ProviderInterrupted, True)


@pytest.mark.parametrize("code", [429, 500, 503, None, "x", {}])
def test_an_error_in_mid_stream_is_an_interruption(server, fail, code):
    server.script(says("one", {"error": {"code": code, "message": "overloaded"}}))

    said, error = fail()
    assert said == "one"
    assert kind(error) == (ProviderInterrupted, False)


def test_an_error_in_place_of_the_first_piece_keeps_its_kind(server, fail):
    server.script(says({"error": {"code": 503, "message": "overloaded"}}), says({"error": {"code": 429}}))

    assert kind(fail()[1]) == (ProviderOverloaded, True)
    assert kind(fail()[1]) == (ProviderRateLimited, True)


# --- too slow


def test_a_stall_before_the_headers_is_a_timeout(server, make_gemini, fail):
    server.script(says("one", wait_seconds=60))

    assert kind(fail(make_gemini(idle_seconds=0.2))[1]) == (ProviderTimeout, False)


@pytest.mark.parametrize("steps", [[{"wait": 60}], ["one", {"wait": 60}]])
def test_a_stall_is_a_timeout_and_keeps_what_was_said(server, make_gemini, fail, steps):
    server.script(says(*steps))

    said, error = fail(make_gemini(idle_seconds=0.2))
    assert said == "".join(step for step in steps if isinstance(step, str))
    assert kind(error) == (ProviderTimeout, False)
    assert server.wait_until(lambda: server.requests[-1].state == "closed", seconds=1)


@pytest.mark.parametrize(
    "answer", [says("one " * 50, write_bytes=1, drip_seconds=0.05), says(*["one"] * 10_000, pace_seconds=0.002)]
)
def test_the_total_limit_ends_a_drip_and_a_stream_without_end(server, make_gemini, fail, answer):
    gemini = make_gemini(total_seconds=0.5)
    gemini.warm_up()
    server.script(answer)
    _, error = fail(gemini, max_output_tokens=10**6)

    assert kind(error) == (ProviderTimeout, False)
    assert server.wait_until(lambda: server.requests[-1].state == "closed", seconds=1)


def test_the_total_limit_does_not_go_off_in_the_reader_s_own_time(server, make_gemini, ask):
    gemini = make_gemini(total_seconds=0.5)
    gemini.warm_up()
    server.script(says("one", {"hold": True}, " two"))
    answer = gemini.stream(ask())
    next(answer)
    gevent.sleep(0.55)

    with pytest.raises(ProviderTimeout):
        next(answer)


def test_a_finished_answer_survives_a_connection_left_open(server, gemini, ask, text_of, monkeypatch):
    monkeypatch.setattr("chatapp.providers.gemini.AFTER_FINISH_SECONDS", 0.05)
    end = {"candidates": [{"content": {"parts": [{"text": " two"}]}, "finishReason": "STOP"}]}
    server.script(says("one", {"chunk": end}, {"wait": 60}))
    chunks = list(gemini.stream(ask()))

    assert text_of(chunks) == "one two"
    assert chunks[-1].finish_reason == "stop"


# --- nonsense


@pytest.mark.parametrize(
    "step",
    [
        {"raw": "data: {not json\n\n"},
        {"raw": "data: \n\n"},
        {"raw": "data: null\n\n"},
        {"raw": "data: [1]\n\n"},
        {"raw": 'data: "text"\n\n'},
        {"raw": "data: 1e999\n\n"},
        {"raw": "data: " + "[" * 100_000 + "\n\n"},
        {"raw": "data: {" + '"a":{' * 2000 + "\n\n"},
        {"raw": 'data: {"usageMetadata": {"promptTokenCount": ' + "9" * 5000 + "}}\n\n"},
        {"raw": "<html>Please log in</html>\n\n"},
        {"raw_hex": "64617461 3a20 fffe00ff 0a0a"},
        {"chunk": {"candidates": "text"}},
        {"chunk": {"candidates": [None]}},
        {"chunk": {"candidates": [{"content": {"parts": "text"}}]}},
        {"chunk": {"candidates": [{"content": {"parts": [{"text": 5}]}}]}},
        {"chunk": {"candidates": [{"content": {"parts": [None]}}]}},
        {"chunk": {"candidates": [{"content": "x", "finishReason": 7}]}},
        {"chunk": {"candidates": [{"finishReason": ["STOP"]}]}},
        {"chunk": {"usageMetadata": {"promptTokenCount": "many"}}},
        {"chunk": {"usageMetadata": [1, 2]}},
        {"chunk": {"promptFeedback": 3}},
    ],
)  # fmt: skip
def test_nonsense_is_an_answer_or_an_error_of_ours(server, gemini, ask, step):
    server.script(says("one", step))
    said, error = attempt(gemini.stream(ask()))

    assert said == "one"
    assert error is None or kind(error) == (ProviderInterrupted, False)


def test_a_piece_beyond_all_measure_is_an_error(server, fail):
    server.script(says("one", "x" * 10_000_000, usage="none"))

    said, error = fail()
    assert said == "one"
    assert kind(error) == (ProviderInterrupted, False)


def test_no_shape_of_reply_gets_anything_else_out(server, gemini, ask):
    source = random.Random(7)
    for _ in range(40):
        server.script(says("one", {"chunk": odd_value(source, depth=5)}, finish=source.choice(["STOP", "ODD", None])))
        said, error = attempt(gemini.stream(ask()))

        assert said.startswith("one")
        assert error is None or kind(error) == (ProviderInterrupted, False)


NAMES = ["candidates", "content", "parts", "text", "thought", "finishReason", "usageMetadata", "promptTokenCount",
         "candidatesTokenCount", "promptFeedback", "blockReason", "error", "code", "details"]  # fmt: skip


def odd_value(source, depth):
    """Return random JSON made of the words of a reply."""
    shape = source.choice(["object", "object", "list", "plain"]) if depth else "plain"
    if shape == "object":
        return {source.choice(NAMES): odd_value(source, depth - 1) for _ in range(source.randint(1, 4))}
    if shape == "list":
        return [odd_value(source, depth - 1) for _ in range(source.randint(0, 3))]
    return source.choice([None, True, -1, 0, 2.5, 10**40, "", "text", "STOP", "\ud800"])


# --- blocked


@pytest.mark.parametrize("reason", ["SAFETY", "PROHIBITED_CONTENT", "A_REASON_OF_NEXT_YEAR"])
def test_a_blocked_prompt_reports_its_usage_and_says_so(server, gemini, ask, reason):
    server.script(blocks(reason, prompt_tokens=7))
    answer = gemini.stream(ask())

    assert next(answer).usage.input_tokens == 7
    with pytest.raises(ContentBlocked) as raised:
        next(answer)
    assert not raised.value.can_retry


def test_a_block_in_mid_answer_is_a_content_filter(server, gemini, ask, text_of):
    server.script(says("one", {"chunk": {"promptFeedback": {"blockReason": "OTHER"}}}, finish=None))
    chunks = list(gemini.stream(ask()))

    assert text_of(chunks) == "one"
    assert chunks[-1].finish_reason == "content_filter"


# --- and after all of it


def test_a_busy_gemini_is_asked_again_until_it_answers(server, gemini, ask, text_of):
    server.script(refuses(429, retry_delay="0.01s"), refuses(503), says("at last"))
    chunks = list(stream_with_retries(gemini, ask(), sleep=lambda seconds: None))

    assert text_of(chunks) == "at last"
    assert len(server.requests) == 3


def test_sixty_faults_leave_no_connection_behind(server, make_gemini, ask):
    gemini = make_gemini(idle_seconds=0.05)
    faults = [
        refuses(429),
        refuses(500),
        says("one", {"error": {"code": 503}}),
        says("one", {"wait": 0.01}, {"reset": True}),
        says("one", {"wait": 60}),
        says("one", {"raw": "data: {\n\n"}),
    ]
    server.script(*faults * 10)
    for _ in range(60):
        with pytest.raises(ProviderError):
            list(gemini.stream(ask()))

    assert server.wait_until(
        lambda: server.open_connections <= 2 and all(request.state != "open" for request in server.requests)
    )
