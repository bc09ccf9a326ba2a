"""What every provider promises."""

import gevent
import pytest

from chatapp.providers.demo import DemoProvider
from chatapp.providers.gemini import GeminiProvider
from chatapp.providers.openai import OpenAICompatibleProvider
from tests.providers.conftest import KEY
from tests.providers.scripted import ScriptedProvider
from tests.scripted_openai import ScriptedOpenAI


@pytest.fixture(params=["demo", "gemini by rest", "gemini by sdk", "openai compatible", "scripted"])
def provider(request):
    if request.param.startswith("gemini"):
        url = request.getfixturevalue("server").url
        gemini = GeminiProvider(KEY, url, client=request.param.removeprefix("gemini by "))
        yield gemini
        gemini.close()
    elif request.param == "openai compatible":
        server = ScriptedOpenAI(api_key=KEY).start()
        compatible = OpenAICompatibleProvider(server.url, KEY)
        yield compatible
        compatible.close()
        server.stop()
    else:
        yield DemoProvider(pace_seconds=0) if request.param == "demo" else ScriptedProvider()


def test_an_answer_is_text_and_then_exactly_one_finish(provider, ask, text_of):
    chunks = list(provider.stream(ask("Hello, who are you?")))

    assert text_of(chunks)
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    assert chunks[-1].finish_reason == "stop"


def test_the_models_are_never_none_and_have_limits(provider):
    assert all(
        model.id and model.label and model.max_input_tokens >= model.max_output_tokens > 0
        for model in provider.models()
    )
    assert provider.models()


def test_an_answer_can_be_closed_at_any_point(provider, ask):
    answer = provider.stream(ask("A long answer, please"))
    first = next(answer)

    answer.close()

    assert first.delta
    assert list(answer) == []


def test_two_answers_at_once_do_not_mix(provider, ask, text_of):
    readers = [gevent.spawn(lambda: list(provider.stream(ask("A poem, please")))) for _ in range(2)]

    gevent.joinall(readers, raise_error=True)

    assert all(reader.value[-1].finish_reason == "stop" and text_of(reader.value) for reader in readers)


def test_a_count_is_a_number_or_nothing(provider):
    count = provider.count_tokens(provider.models()[0].id, "Some words to count")

    assert count is None or count > 0


def test_warming_up_may_be_repeated(provider, ask):
    provider.warm_up()
    provider.warm_up()

    assert list(provider.stream(ask()))
