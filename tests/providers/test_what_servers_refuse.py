"""What a server refuses of a request is left out, remembered and asked again; every refusal says what it is about."""

import json
import logging

import pytest

from chatapp.kernel.errors import (
    ContentBlocked,
    ContextTooLong,
    ModelNotFound,
    PlaceNotServed,
    ProviderKeyRefused,
    ProviderMisconfigured,
    ProviderOverloaded,
    ProviderQuotaUsedUp,
    ProviderRateLimited,
)
from chatapp.providers import refusals
from chatapp.providers.openai import OpenAICompatibleProvider
from chatapp.providers.retry import stream_with_retries
from tests.scripted_gemini import Answer, refuses
from tests.scripted_openai import ScriptedOpenAI


class Picky(ScriptedOpenAI):
    """A server that refuses a request for as long as is_wrong says so."""

    is_wrong = staticmethod(lambda body: False)
    refusal = (400, "")

    def _answer_for(self, request):
        if request.kind == "stream" and self.is_wrong(request.body):
            return Answer(status=self.refusal[0], body=self.refusal[1])
        return super()._answer_for(request)

    def wants(self, is_right, body, status=400):
        self.is_wrong, self.refusal = (lambda sent: not is_right(sent)), (status, json.dumps(body))


@pytest.fixture
def picky():
    server = Picky().start()
    yield server
    server.stop()


@pytest.fixture
def provider(picky):
    provider = OpenAICompatibleProvider(picky.url, None, connect_seconds=2, idle_seconds=5, total_seconds=20)
    yield provider
    provider.close()


def without(name):
    return lambda body: name not in body


def has_no_system(body):
    return all(message["role"] != "system" for message in body["messages"])


OPENAI = {
    "error": {
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": "unsupported_parameter",
    }
}
ONLY_ONE = {
    "error": {
        "message": "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is "
        "supported.",
        "param": "temperature",
        "code": "unsupported_value",
    }
}
FORBIDDEN = {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
REFUSED = [
    (without("max_tokens"), 400, OPENAI),
    (without("max_completion_tokens"), 400, {"detail": "Unknown field: max_completion_tokens"}),
    (without("temperature"), 400, ONLY_ONE),
    (without("stream_options"), 422, {"detail": [FORBIDDEN]}),
    (without("stream_options"), 422, {"object": "error", "message": {"detail": [FORBIDDEN]}, "code": "3051"}),
    (without("stream_options"), 400, {"error": "unknown parameter stream_options"}),
    (has_no_system, 400, {"error": {"message": "System role not supported"}}),
    (has_no_system, 500, {"error": {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}}),
    (has_no_system, 400, {"error": {"message": "Invalid value: 'system'. Supported values are: 'user'"}}),
    (has_no_system, 422, {"detail": [{"loc": ["messages"], "msg": "Input should be 'user' or 'assistant'"}]}),
    (has_no_system, 400, {"error": {"message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}),
]


@pytest.mark.parametrize(("is_right", "status", "body"), REFUSED)
def test_what_is_refused_by_name_is_left_out_once_and_remembered(provider, picky, ask, is_right, status, body):
    picky.wants(is_right, body, status)

    for _ in range(2):
        request = ask("Hi", model="m", system_prompt="Be brief.", temperature=0.5)
        assert "".join(chunk.delta for chunk in stream_with_retries(provider, request, tries=1)).startswith("You said")

    assert [is_right(request.body) for request in picky.requests][-2:] == [True, True]
    assert len(picky.requests) == (2 if is_right(picky.requests[0].body) else 3)


@pytest.mark.parametrize(("is_right", "status", "body"), REFUSED)
def test_what_is_refused_within_a_stream_is_left_out_and_remembered_too(provider, picky, ask, is_right, status, body):
    picky.wants(is_right, body)
    picky.refusal = (200, f"data: {json.dumps({'error': body, 'code': status})}\n\n")

    for _ in range(2):
        request = ask("Hi", model="m", system_prompt="Be brief.", temperature=0.5)
        assert "".join(chunk.delta for chunk in stream_with_retries(provider, request, tries=1)).startswith("You said")
    assert [is_right(request.body) for request in picky.requests][-2:] == [True, True]


def test_a_refusal_that_comes_compressed_is_read(provider, picky, ask):
    picky.script(Answer(status=400, body=json.dumps(OPENAI), gzip=True))

    assert list(provider.stream(ask("Hi", model="m")))
    assert "max_completion_tokens" in picky.requests[-1].body


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_refusal_in_a_coding_that_is_not_so_keeps_its_status(provider, picky, ask, coding):
    picky.script(Answer(status=401, body="no", headers={"Content-Encoding": coding}))

    with pytest.raises(ProviderKeyRefused):
        list(provider.stream(ask("Hi", model="m")))


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"message": "This model's maximum context length is 4096 tokens"}, 400),
        ({"message": "Too many requests"}, 429),
        ({"type": "rate_limit_error", "message": "Check your current quota"}, 429),
        ({"message": "insufficient_quota"}, 402),
        ({"type": "overloaded_error"}, 503),
        ({"message": "content_policy_violation"}, 400),
        ({"message": "The model `x` does not exist"}, 404),
        ({"type": "authentication_error"}, 401),
        ({"type": "invalid_request_error", "message": "Unknown field"}, 400),
        ({"code": "429", "message": "overloaded"}, 429),
        ({"code": 1008, "message": "boom"}, 500),
    ],
)
def test_an_error_without_a_status_is_given_the_one_it_means(said, status):
    assert refusals.status_in(said, 500) == status


def test_a_length_limit_goes_under_its_newer_name(provider, picky, ask):
    picky.wants(without("max_tokens"), OPENAI)

    list(provider.stream(ask("Hi", model="m")))

    assert "max_completion_tokens" in picky.requests[-1].body


def test_a_server_that_refuses_everything_is_asked_a_few_times(provider, picky, ask):
    picky.wants(lambda body: False, OPENAI)

    with pytest.raises(Exception, match="couldn’t be reached"):
        list(provider.stream(ask("Hi", model="m")))

    assert len(picky.requests) <= 4


def test_instructions_go_before_the_first_question_where_there_is_no_system_role(provider, picky, ask):
    picky.wants(has_no_system, {"error": {"message": "System role not supported"}})

    list(provider.stream(ask("Hi", model="m", system_prompt="Be brief.")))

    assert picky.requests[-1].body["messages"] == [{"role": "user", "content": "Be brief.\n\nHi"}]


@pytest.mark.parametrize(
    "error",
    [
        {"message": "maximum context length is 4096 tokens, requested 9000", "code": 400},
        {"error": {"message": "the request exceeds the available context size", "n_ctx": 4096}},
        {"message": "Prompt contains 9,000 tokens, too large for model with 4,096 maximum context length"},
        {"error": {"message": "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 9000"}},
        {"error": {"message": "Input validation error: `inputs` must have less than 4096 tokens. Given: 9000"}},
        {"error": {"message": "Context length 9000 is greater than max_seq_len 4096"}},
        {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum model length of 4096."}},
        {"error": {"message": "input length and `max_tokens` exceed context limit: 808 + 8192 > 4096, decrease it"}},
        {"error": {"message": "Input tokens exceed the configured limit of 4096 tokens. You sent 9000 tokens."}},
        {"error": {"message": "This model's maximum prompt length is 4096 but the request contains 9000 tokens."}},
        {"error": {"message": "Invalid request: Your request exceeded model token limit: 4096"}},
        {"error": {"message": "Range of input length should be [1, 4096]"}},
        {"error": {"message": "Please reduce the length of the messages. Current length is 9000 while limit is 4096"}},
        {"error": {"message": "too many tokens: the prompt cannot exceed 4096 - received 9000"}},
    ],
)
def test_a_window_that_a_refusal_tells_is_kept_to(provider, picky, ask, error):
    picky.wants(lambda body: body["max_tokens"] <= 4090, error)

    list(provider.stream(ask("Hi", model="m", max_output_tokens=8192)))

    assert 3000 < picky.requests[-1].body["max_tokens"] <= 4090


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens is too large: 8192. This model supports at most 4096 completion tokens",
        "`max_tokens` must be less than or equal to `4096`, the maximum value is less than the `context_window`",
        "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens",
        "max_tokens参数取值范围[1,4096]",
        "max_tokens must be ≤ 4096",
        "max_tokens (8192) is greater than the maximum of 4096",
        "max_tokens must not exceed 4096",
        "max_tokens should be in (0, 4096]",
    ],
)
def test_a_longest_answer_that_a_refusal_tells_is_kept_to(provider, picky, ask, said):
    picky.wants(lambda body: body.get("max_tokens", 9999) <= 4096, {"error": {"message": said, "param": "max_tokens"}})

    list(provider.stream(ask("Hi", model="m", max_output_tokens=8192)))

    assert picky.requests[-1].body["max_tokens"] == 4096


def test_by_how_much_a_window_was_passed_is_not_its_size(provider, picky, ask):
    picky.wants(lambda body: False, {"error": {"message": "exceeded max context length by 1000 tokens"}})

    with pytest.raises(ContextTooLong):
        list(provider.stream(ask("Hi", model="m")))
    assert len(picky.requests) == 1


DAY = {"@type": "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
MINUTE = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}
BY_THE_WAY = (
    "Limit 6000 tokens per minute (TPM). Please try again in 7.6s. More at https://example.com/settings/billing"
)
PLAN = "You exceeded your current quota, please check your plan and billing details"
WHY = [
    (429, {"error": {"code": "rate_limit_exceeded", "message": BY_THE_WAY}}, ProviderRateLimited),
    (429, {"error": {"message": f"{PLAN}. Please retry in 36s", "details": [MINUTE]}}, ProviderRateLimited),
    (429, {"error": {"message": f"{PLAN}. Please retry in 36s", "details": [DAY]}}, ProviderQuotaUsedUp),
    (429, {"error": {"message": PLAN}}, ProviderQuotaUsedUp),
    (429, {"error": {"message": "Limit on tokens per day (TPD). Please try again in 7m12s"}}, ProviderQuotaUsedUp),
    (429, {"error": {"message": "Rate limit exceeded: free-models-per-day"}}, ProviderQuotaUsedUp),
    (429, {"error": {"message": "Rate limit exceeded: free-models-per-min"}}, ProviderRateLimited),
    (400, {"error": {"message": "Output blocked by content filtering policy"}}, ContentBlocked),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}}, ContentBlocked),
    (400, {"error": {"code": "data_inspection_failed", "message": "Inappropriate content"}}, ContentBlocked),
    (403, {"error": {"message": "Content violates usage guidelines. Failed check: SAFETY"}}, ContentBlocked),
    (404, {"error": {"code": 404, "message": "No endpoints found for some/model."}}, ModelNotFound),
    (400, {"error": {"message": "some/model is not a valid model ID"}}, ModelNotFound),
    (400, {"detail": "No models are currently loaded."}, ModelNotFound),
    (500, {"detail": "No model is loaded! Select one in the Model tab."}, ModelNotFound),
    (404, {"error": {"status": "NOT_FOUND", "message": "models/x is not found for API version v1beta"}}, ModelNotFound),
    (409, {"message": "Model has not been loaded, please load model"}, ModelNotFound),
    (400, {"error": {"message": "Prompt length 9000 is greater than max_seq_len 4096"}}, ContextTooLong),
    (400, {"error": {"message": "Prompt exceeds max length"}}, ContextTooLong),
    (413, {"message": "<html><h1>413 Request Entity Too Large</h1></html>"}, ContextTooLong),
    (308, {"message": "<html>Permanent Redirect</html>"}, ProviderMisconfigured),
    (405, {"detail": "Method Not Allowed"}, ProviderMisconfigured),
    (400, {"error": {"message": "maximum context length is 4096", "code": "context_length_exceeded"}}, ContextTooLong),
    (400, {"error": {"type": "exceed_context_size_error", "message": "exceeds"}}, ContextTooLong),
    (400, {"error": {"message": "litellm.ContextWindowExceededError: too much"}}, ContextTooLong),
    (413, {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}, ContextTooLong),
    (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}, ProviderQuotaUsedUp),
    (402, {"error": {"code": 402, "message": "Insufficient credits"}}, ProviderQuotaUsedUp),
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}, ProviderQuotaUsedUp),
    (400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is low"}}, ProviderQuotaUsedUp),
    (429, {"error": {"status": "RESOURCE_EXHAUSTED", "message": "quota", "details": [DAY]}}, ProviderQuotaUsedUp),
    (429, {"error": {"code": "rate_limit_exceeded", "message": "Slow down"}}, ProviderRateLimited),
    (400, {"error": {"status": "FAILED_PRECONDITION", "message": "User location is not supported"}}, PlaceNotServed),
    (403, {"error": {"code": "unsupported_country_region_territory", "message": "Country"}}, PlaceNotServed),
    (401, {"error": {"code": "invalid_api_key", "message": "Incorrect API key"}}, ProviderKeyRefused),
    (400, {"error": {"status": "INVALID_ARGUMENT", "message": "API key not valid"}}, ProviderKeyRefused),
    (404, {"error": {"code": "model_not_found", "message": "The model `x` does not exist"}}, ModelNotFound),
    (404, {"error": "model 'x' not found"}, ModelNotFound),
    (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist"}}, ModelNotFound),
    (503, {"error": {"message": "Loading model", "type": "unavailable_error"}}, ProviderOverloaded),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, ProviderOverloaded),
    (500, {"error": {"message": "The engine is currently overloaded"}}, ProviderOverloaded),
    (400, {"error": {"code": "content_filter", "message": "content management policy"}}, ContentBlocked),
    (402, {"error": {"message": "x", "metadata": {"raw": '{"error": {"code": "no_credit"}}'}}}, ProviderQuotaUsedUp),
]


@pytest.mark.parametrize(("status", "body", "kind"), WHY)
def test_a_refusal_is_known_for_what_it_is(status, body, kind):
    for shape in (body, json.dumps(body).encode(), [body]):
        assert type(refusals.error_for(status, refusals.read(shape))) is kind


def test_a_wait_of_hours_is_not_called_a_moment(provider, picky, ask, caplog):
    picky.script(*[refuses(429, retry_after="43200", message="secret words")] * 2)

    with caplog.at_level(logging.WARNING), pytest.raises(ProviderQuotaUsedUp) as raised:
        list(stream_with_retries(provider, ask("Hi", model="m"), tries=3))

    assert (len(picky.requests), raised.value.code) == (1, "RATE_LIMIT_ERROR")
    assert "moment" not in str(raised.value.message)
    assert "429" in caplog.text
    assert "secret" not in caplog.text


def test_a_date_to_come_back_at_is_waited_for_or_not():
    soon = {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert refusals.retry_after_seconds(soon) == 0
    assert refusals.retry_after_seconds({"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}) > 10**6
    assert refusals.retry_after_seconds({"Retry-After": "soon"}) is None


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Developer instruction is not enabled for models/x", "systemInstruction"),
        ("Budget 0 is invalid. This model only works in thinking mode.", "thinkingConfig"),
        ("Thinking is not enabled for models/x", "thinkingConfig"),
    ],
)
def test_gemini_is_asked_again_without_what_a_model_does_not_know(gemini, server, ask, message, field):
    request = ask("Hi", model=f"gemini-2.5-flash-{abs(hash(message))}", system_prompt="Be brief.")
    server.script(refuses(400, message=message))

    for _ in range(2):
        assert list(gemini.stream(request))[-1].finish_reason == "stop"

    assert [field in json.dumps(sent.body) for sent in server.requests] == [True, False, False]
