"""What programs ask of an answer, as it reaches each provider."""

import pytest

from chatapp.providers.base import ChatRequest, PromptMessage, Wishes
from chatapp.providers.gemini import GeminiProvider
from chatapp.providers.openai import OpenAICompatibleProvider
from tests.scripted_gemini import ScriptedGemini
from tests.scripted_openai import ScriptedOpenAI, refuses

SCHEMA = {
    "type": "object",
    "$defs": {"age": {"type": "integer", "exclusiveMinimum": 0}},
    "properties": {"age": {"$ref": "#/$defs/age"}},
    "additionalProperties": False,
}
WISHES = Wishes(("END",), 7, 0.9, 0.1, 0.2, schema=SCHEMA, schema_name="person", is_strict=True)


def ask(provider, model, wishes):
    messages = (PromptMessage.of_text("user", "Hi"),)
    return list(provider.stream(ChatRequest(model, messages, max_output_tokens=100, wishes=wishes)))


@pytest.fixture
def openai():
    server = ScriptedOpenAI().start()
    yield server
    server.stop()


@pytest.mark.parametrize("client", ["rest", "sdk"])
def test_gemini_gets_them_and_a_schema_unchanged(client):
    server = ScriptedGemini().start()
    ask(GeminiProvider("key", server.url, client=client), "gemini-2.5-flash", WISHES)
    server.stop()

    sent = server.requests[-1].body["generationConfig"]
    assert {name: sent[name] for name in sent if name not in ("maxOutputTokens", "thinkingConfig")} == {
        "stopSequences": ["END"],
        "seed": 7,
        "topP": 0.9,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }


def test_an_openai_compatible_server_gets_them(openai):
    ask(OpenAICompatibleProvider(openai.url), "small", WISHES)

    sent = openai.requests[-1].body
    assert (sent["stop"], sent["seed"], sent["top_p"]) == (["END"], 7, 0.9)
    assert (sent["presence_penalty"], sent["frequency_penalty"]) == (0.1, 0.2)
    described = {"name": "person", "schema": SCHEMA, "strict": True}
    assert sent["response_format"] == {"type": "json_schema", "json_schema": described}


def test_a_seed_that_is_refused_is_left_out(openai):
    openai.script(refuses(400, message="Unknown parameter: seed"))

    ask(OpenAICompatibleProvider(openai.url), "small", Wishes(seed=7))

    assert ["seed" in request.body for request in openai.requests] == [True, False]


def test_any_json_is_asked_for_without_a_schema(openai):
    ask(OpenAICompatibleProvider(openai.url), "small", Wishes(is_json=True))

    assert openai.requests[-1].body["response_format"] == {"type": "json_object"}
