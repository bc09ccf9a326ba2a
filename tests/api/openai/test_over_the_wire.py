"""/v1 over real sockets: the first piece at once, and what becomes of a call whose program hangs up."""

import json

import httpx
import pytest

from tests.api.product import GEMINI_KEY, running
from tests.scripted_gemini import ScriptedGemini, refuses, says
from tests.streams import until

HOLD = {"hold": True}
MODEL = "gemini-3.5-flash-lite"


@pytest.fixture(scope="module")
def gemini():
    server = ScriptedGemini(api_key=GEMINI_KEY).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def product(tmp_path_factory, gemini):
    with running(tmp_path_factory.mktemp("product"), gemini) as product:
        yield product


@pytest.fixture(autouse=True)
def silence(gemini):
    gemini.reset()


def usage(product):
    return product.client.get("/api/user/token-usage").json()


def body(**fields):
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]} | fields


def upstream(gemini):
    return [request for request in gemini.requests if request.kind == "stream"]


def test_a_stream_is_heard_piece_by_piece(product, gemini):
    gemini.script(says("Hello,", HOLD, " world"))

    with product.client.stream("POST", "/v1/chat/completions", json=body(stream=True)) as response:
        lines = response.iter_lines()
        early = [next(lines) for _ in range(3)]
        gemini.release()
        late = list(lines)

    assert json.loads(early[2].removeprefix("data: "))["choices"][0]["delta"] == {"content": "Hello,"}
    assert late[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("stream", [True, False])
def test_a_program_that_hangs_up_ends_its_call_and_pays_for_what_came(product, gemini, stream):
    before = usage(product)["total_tokens_used"]
    gemini.script(says(*(["one "] if stream else []), HOLD))

    with httpx.Client(base_url=product.url, headers=product.client.headers, timeout=1) as program:
        with pytest.raises(httpx.ReadTimeout):
            program.post("/v1/chat/completions", json=body(stream=stream))

    until(lambda: upstream(gemini)[0].state == "closed")
    until(lambda: usage(product)["reserved_tokens"] == 0)
    assert before < usage(product)["total_tokens_used"] < before + 100


def test_tries_that_fail_first_cost_nothing(product, gemini):
    gemini.script(refuses(503), refuses(503), says("Hello"))
    before = usage(product)["total_tokens_used"]

    answer = product.client.post("/v1/chat/completions", json=body()).json()

    assert len(upstream(gemini)) == 3
    assert usage(product)["total_tokens_used"] == before + answer["usage"]["charged_tokens"]


def test_two_megabytes_are_answered_and_hold_nothing_up(product, gemini):
    gemini.script(says("Hello"))

    answer = product.client.post(
        "/v1/chat/completions", json=body(messages=[{"role": "user", "content": "a b " * 500_000}])
    )

    # The budget of 100,000 tokens is no match; what matters is that the loop was not held (tests/conftest.py).
    assert answer.status_code in (400, 402)
