"""OpenAI-compatible servers in all their dialects: docs/providers.md is the table, each row of it is held here."""

import json
import time

import pytest

from chatapp.kernel.errors import (
    ContextTooLong,
    ProviderError,
    ProviderInterrupted,
    ProviderMisconfigured,
    ProviderOverloaded,
)
from chatapp.providers import passed_over
from chatapp.providers.base import Usage
from chatapp.providers.openai import OpenAICompatibleProvider, wire
from chatapp.providers.openai.models import listed_models
from chatapp.providers.thoughts import ThoughtSplitter
from tests.scripted_openai import Answer, ScriptedOpenAI, says

THOUGHT, FOUR = "Let me see.", "It is four."


@pytest.fixture(scope="module")
def _openai():
    server = ScriptedOpenAI().start()
    yield server
    server.stop()


@pytest.fixture
def openai(_openai):
    _openai.reset()
    return _openai


@pytest.fixture
def provider(openai):
    made = OpenAICompatibleProvider(openai.url, connect_seconds=2, idle_seconds=5, total_seconds=20)
    yield made
    made.close()


@pytest.fixture
def heard(provider, ask):
    """Read an answer: its text, its thought, how it ended."""

    def read():
        text = thought = ""
        for chunk in provider.stream(ask()):
            if chunk.restarts:
                text, thought = "", thought + text
            text, thought = text + chunk.delta, thought + chunk.thought
        return text, thought.strip(), chunk.finish_reason

    return read


def choice(delta=None, **fields):
    return {"chunk": {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": None} | fields]}}


PARTS = {
    "strings": [choice({"content": FOUR})],
    "text and thinking": [
        choice({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me "}]}]}),
        choice({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "see."}]}]}),
        choice({"content": [{"type": "text", "text": "It is "}]}),
        choice({"content": "four."}),
    ],
    "output_text": [choice({"content": [{"type": "output_text", "text": FOUR, "annotations": []}]})],
    "one part, no list": [choice({"content": {"type": "text", "text": FOUR}})],
    "a value within": [choice({"content": [{"type": "text", "text": {"value": FOUR}}]})],
    "plain strings in a list": [choice({"content": ["It is ", "four."]})],
    "a message in place of a delta": [{"chunk": {"choices": [{"message": {"role": "assistant", "content": FOUR}}]}}],
    "text of a choice": [{"chunk": {"choices": [{"text": FOUR}]}}],
    "a choice that is no list": [{"chunk": {"choices": {"delta": {"content": FOUR}}}}],
    "Ollama's own lines": [
        {"raw": json.dumps({"message": {"role": "assistant", "content": FOUR}, "done": False}) + "\n"}
    ],
    "two events without a blank line": [
        {
            "raw": 'data: {"choices":[{"delta":{"content":"It is "}}]}\ndata: {"choices":[{"delta":{"content":"four."}}]}\n\n'
        }
    ],
    "no blank line at all": [
        {"raw": 'data: {"choices":[{"delta":{"content":"It is "}}]}\n'},
        {"raw": 'data: {"choices":[{"delta":{"content":"four."}}]}\n'},
    ],
    "a list of chunks": [
        {"raw": json.dumps([choice({"content": each})["chunk"] for each in ("It is ", "four.")]) + "\n"}
    ],
    "a message within the delta": [{"chunk": {"delta": {"message": {"content": {"text": FOUR}}}}}],
    "Anthropic's own events": [
        {"chunk": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": FOUR}}}
    ],
    "events that keep the connection open": [{"raw": "data:\n\ndata: ping\n\n: ping\n\n"}, FOUR],
    "line ends of one CR": [{"raw": 'data: {"choices":[{"delta":{"content":"It is four."}}]}\r\r'}],
    "an empty delta beside a message": [{"chunk": {"choices": [{"delta": {}, "message": {"content": FOUR}}]}}],
    "an empty delta beside what was said": [
        FOUR,
        {"chunk": {"choices": [{"delta": {}, "message": {"content": FOUR}, "finish_reason": "stop"}]}},
    ],
    "a chunk within data": [{"chunk": {"code": 0, "data": choice({"content": FOUR})["chunk"]}}],
    "another choice beside it": [
        {"chunk": {"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": FOUR}}]}}
    ],
}


@pytest.mark.parametrize("name", PARTS)
def test_a_content_is_read_in_every_shape(openai, heard, name):
    openai.script(says(*PARTS[name], finish="stop"))

    assert heard() == (FOUR, THOUGHT if "thinking" in name else "", "stop")


def test_choices_may_count_from_one(openai, heard):
    openai.script(says(choice({"content": FOUR}, index=1), choice(finish_reason="stop", index=1), finish=None))

    assert heard() == (FOUR, "", "stop")


@pytest.mark.parametrize("key", [*wire.THOUGHT_KEYS, "reasoning_details"])
def test_a_thought_is_read_by_every_name(openai, heard, key):
    value = [{"type": "reasoning.text", "text": THOUGHT}] if key == "reasoning_details" else THOUGHT
    openai.script(says(choice({key: value}), FOUR, finish="stop"))

    assert heard() == (FOUR, THOUGHT, "stop")


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        *[(reason, "stop") for reason in ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", "STOP")],
        *[(reason, "length") for reason in ("length", "max_tokens", "model_length", "MAX_TOKENS")],
        *[(reason, "content_filter") for reason in ("content_filter", "safety", "refusal", "SAFETY")],
    ],
)
def test_an_end_is_known_by_every_word(openai, heard, reason, word):
    openai.script(says(FOUR, choice(finish_reason=reason), {"raw": "data: [DONE]\n\n"}, finish=None))

    assert heard() == (FOUR, "", word)


@pytest.mark.parametrize(
    "end",
    [
        {"raw": "data: DONE\n\n"},
        {"raw": "data: [done]\n\n"},
        {"raw": 'data: "[DONE]"\n\n'},
        {"raw": "data: {bye\n\n"},
        {"raw": "[DONE]"},
    ],
)
def test_what_comes_after_a_known_end_costs_no_answer(openai, heard, end):
    openai.script(says(FOUR, choice(finish_reason=" Stop "), end, finish=None))

    assert heard() == (FOUR, "", "stop")


@pytest.mark.parametrize("event", ["data: DONE\n\n", "data: ping\n\n", "data: 1\n\n"])
def test_words_without_a_known_end_make_no_answer_whole(openai, heard, event):
    openai.script(says(FOUR, {"raw": event}, finish=None))

    with pytest.raises(ProviderInterrupted):
        heard()


@pytest.mark.parametrize(
    "reason",
    [
        1,
        {"type": "stop"},
        ["stop"],
        "error",
        "network_error",
        "insufficient_system_resource",
        "abort",
        "tool_calls",
        "a new one",
        None,
    ],
)
def test_what_is_no_known_end_leaves_the_answer_cut(openai, heard, caplog, reason):
    passed_over._named.clear()
    openai.script(says("half", choice(finish_reason=reason), {"raw": "data: [DONE]\n\n"}, finish=None))

    with pytest.raises(ProviderInterrupted):
        heard()
    assert reason is None or (reason if isinstance(reason, str) else f"a {type(reason).__name__}") in caplog.text


ERRORS = {
    "an object": {"error": {"message": "x", "code": 503}},
    "a text": {"error": "overloaded"},
    "vLLM's": {"object": "error", "message": "overloaded", "type": "ServiceUnavailableError", "code": 503},
    "Anthropic's": {"type": "error", "error": {"type": "overloaded_error", "message": "x"}},
    "MiniMax's": {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "x"}},
    "msg": {"code": "Arrearage", "msg": "x"},
    "a message alone": {"code": 503, "message": "x"},
    "FastChat's": {"text": "**NETWORK ERROR**", "error_code": 50001},
    "one within data": {"data": {"error": {"code": 503}, "choices": []}},
    "a choice's": {"choices": [{"delta": {"content": "no"}, "finish_reason": "error", "error": {"code": 503}}]},
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_in_the_stream_is_one_in_any_words(openai, heard, name):
    openai.script(says({"chunk": ERRORS[name]}, finish=None), says("so far", {"chunk": ERRORS[name]}, finish=None))

    with pytest.raises(ProviderError) as before_a_word:
        heard()
    with pytest.raises(ProviderInterrupted):
        heard()
    assert before_a_word.value.can_retry


@pytest.mark.parametrize("data", ["out of memory", '{"reason": "boom"}', "null", '["x"]', '{"error": {"code": 500}}'])
def test_an_event_named_error_is_one_whatever_it_holds(openai, heard, data):
    openai.script(says("half", {"raw": f"event: error\ndata: {data}\n\n"}, finish="stop"))

    with pytest.raises(ProviderInterrupted):
        heard()


@pytest.mark.parametrize("line", ['error: {"code": 503}', "event: server_error\ndata: {}"])
def test_an_error_has_other_names_too(openai, heard, line):
    openai.script(says({"raw": f"{line}\n\n"}, FOUR, finish="stop"))

    with pytest.raises(ProviderError):
        heard()


def test_many_events_without_a_word_between_words_cost_no_answer(openai, heard, monkeypatch):
    monkeypatch.setattr(wire, "MAX_EMPTY_EVENTS", 3)
    openai.script(says(*[choice()] * 3, "It is ", *[choice()] * 3, "four.", finish="stop"))

    assert heard() == (FOUR, "", "stop")


@pytest.mark.parametrize(
    "chunk",
    [
        {"response": "", "thinking": THOUGHT},
        {"choices": [{"text": "", "reasoning": THOUGHT}]},
        {"choices": [{"delta": {"content": [{"text": THOUGHT, "thought": True}]}}]},
    ],
)
def test_a_thought_beside_a_plain_text_is_a_thought(openai, heard, chunk):
    openai.script(says({"chunk": chunk}, FOUR, finish="stop"))

    assert heard() == (FOUR, THOUGHT, "stop")


def test_a_control_character_as_it_is_costs_no_answer(openai, heard):
    openai.script(says({"raw": 'data: {"choices":[{"delta":{"content":"a\tb"}}]}\n\n'}, finish="stop"))

    assert heard() == ("a\tb", "", "stop")


def test_the_window_that_is_loaded_is_the_one_that_counts():
    entry = {"id": "m", "max_context_length": 131072, "loaded_context_length": 4096}

    assert listed_models({"data": [entry]})[0].max_input_tokens == 4096


def test_a_page_of_html_in_place_of_an_answer_is_a_wrong_address(openai, heard, caplog):
    openai.script(Answer(body="\n<!doctype html><title>Welcome</title>", headers={"Content-Type": "text/html"}))

    with pytest.raises(ProviderMisconfigured):
        heard()
    assert "is its address right?" in caplog.text


def test_an_error_in_the_stream_keeps_its_kind(openai, heard):
    openai.script(says({"chunk": ERRORS["an object"]}, finish=None))

    with pytest.raises(ProviderOverloaded):
        heard()


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", "text/plain"])
@pytest.mark.parametrize("indent", [None, 2])
def test_one_document_in_place_of_a_stream_is_read(openai, heard, indent, kind):
    whole = {"choices": [{"message": {"content": FOUR, "reasoning": THOUGHT}, "finish_reason": "stop"}]}
    openai.script(Answer(body=f" \n{json.dumps(whole, indent=indent)}", headers={"Content-Type": kind}))

    assert heard() == (FOUR, THOUGHT, "stop")


def test_a_byte_order_mark_and_broken_utf_8_cost_no_answer(openai, heard):
    broken = b'data: {"choices":[{"delta":{"content":"fo\xffur"}}]}\n\n'.hex()
    first = ("\ufeffdata: " + json.dumps(choice({"content": "It is "})["chunk"]) + "\n\n").encode().hex()
    openai.script(says({"raw_hex": first}, {"raw_hex": broken}, finish="stop"))

    assert heard() == ("It is fo\ufffdur", "", "stop")


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 5}, Usage(7, 5)),
        ({"input_tokens": 7, "output_tokens": 5}, Usage(7, 5)),
        ({"prompt_tokens": 7, "total_tokens": 12}, Usage(7, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 1}, Usage(7, 5)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 112}, Usage(7, 105)),
        ({"prompt_tokens": 7, "completion_tokens": 5, "cached_tokens": 99}, Usage(7, 5, cached_tokens=7)),
        ({"prompt_tokens": "7", "completion_tokens": 5.0}, Usage(7, 5)),
        ({"prompt_tokens": -7, "completion_tokens": True}, None),
        ({"prompt_eval_count": 7, "eval_count": 5}, Usage(7, 5)),
        ("many", None),
    ],
)
def test_figures_are_read_in_every_shape(reported, expected):
    assert wire.usage_of(reported) == expected


# Thoughts between tags


def split(pieces, **options):
    splitter, text, thought = ThoughtSplitter(**options), "", ""
    for new in [*map(splitter.feed, pieces), splitter.finish()]:
        if new.restarts:
            text, thought = "", thought + text
        text, thought = text + new.text, thought + new.thought
    return text, thought.strip()


TAGGED = {
    "tags": (f"<think>\n{THOUGHT}\n</think>\n\n{FOUR}", (FOUR, THOUGHT)),
    "other tags": (f"<Thinking>{THOUGHT}</Thinking> {FOUR}", (FOUR, THOUGHT)),
    "brackets": (f"[THINK]{THOUGHT}[/THINK]{FOUR}", (FOUR, THOUGHT)),
    "channels": (
        f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{FOUR}",
        (FOUR, THOUGHT),
    ),
    "channels from the start": (
        f"<|start|>assistant<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{FOUR}<|return|>",
        (FOUR, THOUGHT),
    ),
    "the last channel alone": (f"<|channel|>final<|message|>{FOUR}<|return|>", (FOUR, "")),
    "Cohere's marks": (
        f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{FOUR}<|END_RESPONSE|>",
        (FOUR, THOUGHT),
    ),
    "Gemma's channel": (f"<|channel>thought\n{THOUGHT}\n<channel|>{FOUR}<turn|>", (FOUR, THOUGHT)),
    "no opening tag": (f"{THOUGHT}\n</think>\n\n{FOUR}", (FOUR, THOUGHT)),
    "no closing tag": (f"<think>{THOUGHT}", ("", THOUGHT)),
    "tags in a fence": ("```xml\n<think>\nhere\n</think>\n```\n", ("```xml\n<think>\nhere\n</think>\n```\n", "")),
    "a tag in code": ("Write `</think>`\nhere", ("Write `</think>`\nhere", "")),
    "a tag within a line": ("The </think> tag ends it.", ("The </think> tag ends it.", "")),
    "other angle brackets": ("<b> 1 < 2 </b>", ("<b> 1 < 2 </b>", "")),
}


@pytest.mark.parametrize("name", TAGGED)
def test_thoughts_between_tags_are_told_from_the_answer_at_every_cut(name):
    text, expected = TAGGED[name]

    assert {split([text[:cut], text[cut:]]) for cut in range(len(text) + 1)} | {split(text)} == {expected}


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_many_closing_tags_in_code_are_read_in_one_go(size):
    text = "```\n" + "</think>\n" * 20_000
    began = time.process_time()

    assert split([text[at : at + size] for at in range(0, len(text), size)]) == (text, "")
    assert time.process_time() - began < 3


def test_a_model_whose_template_begins_the_thought_is_known_after_its_first_answer(provider, openai, heard, ask):
    openai.script(*[says(f"{THOUGHT}\n", "</think>\n\n", FOUR, finish="stop") for _ in range(2)])

    assert heard() == (FOUR, THOUGHT, "stop")
    second = list(provider.stream(ask()))
    assert not any(chunk.restarts for chunk in second)
    assert "".join(chunk.delta for chunk in second) == FOUR


# Lists of models

LISTS = {
    "OpenAI": {"object": "list", "data": [{"id": "m"}]},
    "Ollama": {"models": [{"name": "m", "model": "m", "details": {"family": "x"}}]},
    "llama.cpp": {"models": [{"name": "m"}], "data": [{"id": "m", "meta": {"n_ctx_train": 4096}}]},
    "a bare list": [{"id": "m"}],
    "names alone": {"data": ["m", "m"]},
    "text-generation-webui": {"model_names": ["m"]},
}


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "m", "parameters": {"max_seq_len": 4096}},
        {"id": "m", "metadata": {"context_length": 4096}},
        {"id": "m", "context_size": 4096},
        {"id": "m", "limits": {"max_context_window_tokens": 4096}},
    ],
)
def test_a_listed_window_is_read_by_every_name(entry):
    assert listed_models({"data": [entry]})[0].max_input_tokens == 4096


@pytest.mark.parametrize("body", [b'{"data": [{"id": "m\xff"}]}', b'\xef\xbb\xbf{"data": [{"id": "m\\ufffd"}]}'])
def test_a_broken_byte_or_a_mark_costs_no_list(openai, provider, body):
    openai.script(Answer(to="models", steps=[{"raw_hex": body.hex()}], finish=None))

    assert [info.id for info in provider.list_models()] == ["m\ufffd"]


def test_what_is_no_list_of_models_is_named_in_the_log(openai, provider, caplog):
    openai.script(Answer(to="models", body="upstream connect error"))

    with pytest.raises(ProviderError):
        provider.list_models()
    assert "something other than a list of models" in caplog.text


def test_plain_words_in_place_of_a_stream_are_named_in_the_log(openai, heard, caplog):
    passed_over._named.clear()
    openai.script(Answer(body="upstream connect error\n"))

    with pytest.raises(ProviderInterrupted):
        heard()
    assert "plain text" in caplog.text
    assert "upstream" not in caplog.text


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_models_is_read_in_every_shape(name):
    assert [info.id for info in listed_models(LISTS[name])] == ["m"]


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "text-embedding-3-small"},
        {"id": "nomic-embed-text:latest"},
        {"id": "x", "type": "embeddings"},
        {"id": "x", "mode": "image_generation"},
        {"id": "x", "capabilities": ["embedding"]},
        {"id": "x", "architecture": {"output_modalities": ["image"]}},
        {"id": "x", "pipeline_tag": "feature-extraction"},
        {"id": "x", "task": "text-to-image"},
        {"model_name": "x", "model_info": {"mode": "embedding"}},
        {"id": "x", "architecture": {"modality": "text->image"}},
        {"id": "x", "capabilities": {"embeddings": True}},
        {"id": "x", "capabilities": {"completion_chat": False, "vision": True}},
        {"id": "x", "supportedGenerationMethods": ["embedContent"]},
        *({"id": name} for name in ("embeddinggemma:300m", "gpt-4o-transcribe", "gpt-realtime", "qwen-image")),
        *({"id": name} for name in ("whisper-1", "org/bge-reranker-v2", "gpt-4o-mini-tts", "dall-e-3")),
    ],
)
def test_a_model_that_cannot_chat_is_not_offered(entry, caplog):
    assert [info.id for info in listed_models({"data": [entry, {"id": "chat"}]})] == ["chat"]
    assert "1 cannot chat" in caplog.text


@pytest.mark.parametrize(
    "entry",
    [
        {"pipeline_tag": "image-text-to-text"},
        {"type": "language"},
        {"type": "model", "architecture": {"modality": "text+image->text"}},
        {"capabilities": ["completion", "embedding"]},
        {"capabilities": ["vision", "tools"]},
        {"capabilities": {"completion_chat": True, "vision": False}},
        {"model_info": {"mode": "chat"}},
    ],
)
def test_a_model_that_can_chat_is_offered(entry):
    assert [info.id for info in listed_models({"data": [{"id": "m"} | entry]})] == ["m"]


def test_a_long_list_is_cut_and_a_long_name_is_kept():
    path = "/srv/models/hub/" + "example-" * 14 + "7b-q4_k_m.gguf"
    found = listed_models(
        {"data": [{"id": path, "meta": {"n_ctx_train": 32768}}, *({"id": f"m{n}"} for n in range(5000))]}
    )

    assert len(found) == 500
    assert (found[0].id, found[0].max_input_tokens) == (path, 32768)


# Refusals


@pytest.mark.parametrize(
    ("refusal", "left_out"),
    [
        ({"error": {"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens"}}, "max_tokens"),
        (
            {
                "object": "error",
                "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]},
            },
            "stream_options",
        ),
        ({"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs"}]}, "stream_options"),
        ({"error": "unknown field: stream_options"}, "stream_options"),
    ],
)
def test_a_parameter_that_is_refused_is_left_out_from_then_on(provider, openai, ask, text_of, refusal, left_out):
    openai.script(Answer(status=400, body=json.dumps(refusal)), says(FOUR, finish="stop"), says(FOUR, finish="stop"))

    assert [text_of(list(provider.stream(ask()))) for _ in range(2)] == [FOUR, FOUR]
    assert [left_out in request.body for request in openai.requests] == [True, False, False]
    assert left_out != "max_tokens" or openai.requests[-1].body["max_completion_tokens"] == 1000


def test_instructions_go_before_the_question_where_there_is_no_system_role(provider, openai, ask):
    refusal = {"error": {"message": "System role not supported", "type": "BadRequestError", "code": 400}}
    openai.script(Answer(status=400, body=json.dumps(refusal)), says(FOUR, finish="stop"))

    list(provider.stream(ask("Hi", system_prompt="Be brief.")))

    assert openai.requests[-1].body["messages"] == [{"role": "user", "content": "Be brief.\n\nHi"}]


def test_a_window_that_a_refusal_tells_is_kept(provider, openai, ask):
    message = "maximum context length is 512 tokens, requested 1007 (7 in the messages, 1000 in the completion)"
    openai.script(
        Answer(status=400, body=json.dumps({"object": "error", "message": message})), says(FOUR, finish="stop")
    )

    list(provider.stream(ask("Old " * 900, "Yes", "Hi")))

    asked = openai.requests[-1].body
    assert [each["content"] for each in asked["messages"]] == ["Hi"]
    assert asked["max_tokens"] < 500


def test_what_stays_too_long_is_said_to_be_so(provider, openai, ask):
    body = json.dumps({"error": {"message": "the prompt is too long", "code": "context_length_exceeded"}})
    openai.script(Answer(status=400, body=body))

    with pytest.raises(ContextTooLong):
        list(provider.stream(ask()))
