"""/v1 as programs use it: what they send, what they are told, what it costs."""

import json

import gevent
import pytest

from chatapp.api.openai import calls, shapes, views
from chatapp.budget import ledger
from chatapp.exchanges.models import Exchange
from chatapp.kernel.errors import (
    ContentBlocked,
    ProviderKeyRefused,
    ProviderRateLimited,
)
from chatapp.kernel.extensions import db
from chatapp.providers.base import Chunk, Usage
from chatapp.turns import recovery
from tests.auth.browser import signed_in
from tests.conftest import make_user
from tests.streams import until

ASKED = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
REPORTED = Usage(input_tokens=70, output_tokens=30, cached_tokens=5, thoughts_tokens=10)


class Program:
    def __init__(self, app, person):
        self.app, self.person = app, person

    def get(self, path):
        return self.app.test_client().get(f"/v1{path}", headers=self.person.headers)

    def ask(self, **fields):
        return self.app.test_client().post("/v1/chat/completions", headers=self.person.headers, json=ASKED | fields)


@pytest.fixture
def program(app, user):
    return Program(app, user)


@pytest.fixture
def both_program(both_app):
    return Program(both_app, make_user(both_app, "ada@example.org", limit=5000))


def exchanges(app):
    with app.app_context():
        return list(db.session.scalars(db.select(Exchange)))


def balance(program):
    answer = program.app.test_client().get("/api/user/token-usage", headers=program.person.headers).get_json()
    return answer["total_tokens_used"], answer["reserved_tokens"]


def events(response):
    blocks = response.get_data(as_text=True).split("\n\n")
    return [block.removeprefix("data: ") for block in blocks if block]


def chunks(response):
    return [json.loads(event) for event in events(response) if event != "[DONE]"]


def error(response):
    found = response.get_json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return response.status_code, found["type"], found["param"], found["code"]


def test_the_models_are_listed_and_one_is_shown(program):
    listed = program.get("/models").get_json()

    assert [model["id"] for model in listed["data"]] == ["scripted"]
    assert listed["data"][0] == program.get("/models/scripted").get_json()
    assert error(program.get("/models/a/b")) == (404, "invalid_request_error", "model", "model_not_found")


def test_an_answer_is_charged_by_all_that_was_sent_and_came(both_program, demo):
    demo.will_say("Hel", "lo", usage=REPORTED)

    answer = both_program.ask().get_json()

    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"] == {
        "prompt_tokens": 70,
        "completion_tokens": 30,
        "total_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 5},
        "completion_tokens_details": {"reasoning_tokens": 10},
        "charged_tokens": 100,
        "remaining_tokens": 4900,
    }
    assert balance(both_program) == (100, 0)
    with both_program.app.app_context():
        assert ledger.verify() == []


def test_what_nobody_reports_is_counted_with_the_conversation(program, demo):
    history = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "word " * 200}]
    demo.will_say("Hello")

    used = program.ask(messages=[*history, *ASKED["messages"]]).get_json()["usage"]

    assert used["prompt_tokens"] > 350
    assert used["charged_tokens"] == balance(program)[0] == used["total_tokens"] + 10


def test_a_stream_is_the_plain_answer_in_chunks_with_one_id(program, demo):
    demo.will_say("Hel", "lo\n\nyou", usage=REPORTED)

    response = program.ask(stream=True, stream_options={"include_usage": True})

    found = chunks(response)
    assert events(response)[-1] == "[DONE]"
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in found}) == 1
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found[:-1]) == "Hello\n\nyou"
    assert [chunk["choices"][0]["finish_reason"] for chunk in found[-3:-1]] == [None, "stop"]
    assert (found[-1]["choices"], found[-1]["usage"]["total_tokens"]) == ([], 100)
    assert [chunk["usage"] for chunk in found[:-1]] == [None] * (len(found) - 1)
    assert not [line for line in response.text.splitlines() if line.startswith(("id:", "event:"))]


def test_usage_comes_only_if_it_is_asked_for(program):
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks(program.ask(stream=True)))


def test_thoughts_come_beside_the_text(program, demo):
    demo.will_say(Chunk(thought="Hm"), "Hello")
    demo.will_say(Chunk(thought="Hm"), "Hello")

    assert program.ask().get_json()["choices"][0]["message"]["reasoning_content"] == "Hm"
    assert {"reasoning_content": "Hm"} in [chunk["choices"][0]["delta"] for chunk in chunks(program.ask(stream=True))]


def test_what_a_program_wishes_reaches_the_model(program, demo):
    schema = {"type": "object", "$defs": {"a": {"type": "integer", "exclusiveMinimum": 0}}}
    described = {"name": "thing", "strict": True, "schema": schema}
    program.ask(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "In verse."}]},
            {"role": "user", "content": [{"type": "text", "text": "Hi", "foo": 1}], "foo": 1},
            {"role": "assistant", "content": " "},
            {"role": "user", "content": "There?"},
        ],
        max_tokens=5,
        max_completion_tokens=9,
        temperature=0.5,
        stop="END",
        seed=7,
        top_p=0.9,
        response_format={"type": "json_schema", "json_schema": described},
        store=True,
        metadata={},
        user="x",
        foo=1,
    )

    (asked,) = demo.requests
    assert (asked.system_prompt, asked.max_output_tokens, asked.temperature) == ("Be brief.\n\nIn verse.", 5, 0.5)
    assert [(message.role, message.content) for message in asked.messages] == [("user", "Hi"), ("user", "There?")]
    assert (asked.wishes.stop, asked.wishes.seed, asked.wishes.top_p) == (("END",), 7, 0.9)
    assert (asked.wishes.schema, asked.wishes.schema_name, asked.wishes.is_strict) == (schema, "thing", True)


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{}]}, "functions"),
        ({"tools": [{"type": "custom"}]}, "tools"),
        ({"messages": IMAGE}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_name_and_costs_nothing(program, demo, fields, param):
    assert error(program.ask(**fields)) == (400, "invalid_request_error", param, None)
    assert (demo.requests, balance(program)) == ([], (0, 0))


def test_an_unknown_model_is_not_found(program):
    assert error(program.ask(model="none")) == (404, "invalid_request_error", "model", "model_not_found")


def test_more_than_the_model_takes_is_refused_in_the_words_clients_know(program):
    response = program.ask(messages=[{"role": "user", "content": "word " * 40_000}])

    assert error(response) == (400, "invalid_request_error", "messages", "context_length_exceeded")
    assert "maximum context length is 32768 tokens. However, your messages resulted in" in response.text


def test_without_a_key_nobody_is_let_in_not_even_with_a_cookie(app, user):
    browser = signed_in(app, user.id)
    for client, headers in [
        (app.test_client(), {}),
        (app.test_client(), {"Authorization": "Bearer chat_wrong"}),
        (browser.client, {}),
    ]:
        for response in (
            client.post("/v1/chat/completions", json=ASKED, headers=headers),
            client.get("/v1/models", headers=headers),
        ):
            assert error(response) == (401, "invalid_request_error", None, "invalid_api_key")
            assert "Set-Cookie" not in response.headers


def test_every_other_address_is_a_404_that_names_what_there_is(program):
    response = program.app.test_client().post("/v1/responses", headers=program.person.headers, json={})

    assert error(response) == (404, "invalid_request_error", None, "unknown_url")
    assert "/v1/chat/completions" in response.text
    assert error(program.get("/chat/completions")) == (405, "invalid_request_error", None, "unknown_url")


@pytest.mark.parametrize("settings", [{"endpoint_bytes": 1000}])
def test_a_body_that_is_too_large_or_no_json_is_refused(program):
    client, headers = program.app.test_client(), program.person.headers

    large = program.ask(foo="x" * 1000)
    plain = client.post("/v1/chat/completions", headers=headers, data="x")
    broken = client.post("/v1/chat/completions", headers=headers, data="{", content_type="application/json")

    assert error(large) == (413, "invalid_request_error", None, "request_too_large")
    assert [error(response)[0] for response in (plain, broken)] == [415, 400]


def test_a_conversation_longer_than_a_message_and_its_form_is_taken(program, demo):
    demo.will_say("Hello", usage=REPORTED)

    assert program.ask(messages=[{"role": "user", "content": "a" * 30_000}], foo="x" * 400_000).status_code == 200


def test_a_budget_that_is_used_up_is_402_and_costs_nothing(app, demo):
    poor = Program(app, make_user(app, "poor@example.org", limit=100))
    demo.will_say("x " * 400)

    first, second = poor.ask(), poor.ask()

    assert demo.requests[0].max_output_tokens < 100
    assert first.get_json()["choices"][0]["finish_reason"] == "length"
    assert error(second) == (402, "insufficient_quota", None, "insufficient_quota")
    assert second.headers["x-should-retry"] == "false"
    assert "Retry-After" not in second.headers
    assert balance(poor) == (100, 0)


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (ProviderRateLimited(retry_after_seconds=999), 429, "upstream_rate_limited"),
        (ProviderKeyRefused(), 502, "upstream_misconfigured"),
        (ContentBlocked(), 400, "content_filter"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_before_the_first_piece_is_a_status(program, demo, raised, status, code, stream):
    demo.will_raise(raised)

    response = program.ask(stream=stream)

    assert (error(response)[0], error(response)[3]) == (status, code)
    if status == 429:
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert balance(program) == (0, 0)


def test_a_stream_that_breaks_off_says_so_and_is_charged(program, demo):
    demo.will_say("one ", "two ", finish_reason=None)
    demo.will_raise(RuntimeError("the wire"), "one ", "two ")

    program.ask(stream=True).get_data()
    broken = program.ask(stream=True)

    assert json.loads(events(broken)[-1])["error"]["code"] == "upstream_interrupted"
    assert "[DONE]" not in broken.text
    assert balance(program)[0] > 0
    assert balance(program)[1] == 0


def test_an_answer_that_breaks_off_must_not_be_bought_again(program, demo):
    demo.will_raise(RuntimeError("the wire"), "one ")

    response = program.ask()

    assert error(response) == (502, "server_error", None, "upstream_interrupted")
    assert response.headers["x-should-retry"] == "false"


def test_who_hangs_up_pays_for_what_came(program, app, demo):
    demo.will_say("one ", demo.hold(), "two")
    response = program.ask(stream=True)
    stream = response.iter_encoded()
    next(stream), next(stream)

    response.close()

    until(lambda: [each for each in exchanges(app) if each.ended_at])
    (call,) = exchanges(app)
    assert (call.status, call.purpose, call.chat_id) == ("stopped", "api", None)
    assert balance(program) == (call.charged_tokens, 0)
    assert 10 < call.charged_tokens < 30


def test_a_silent_stream_shows_that_it_lives(program, demo, monkeypatch):
    monkeypatch.setattr(views, "SILENCE_SECONDS", 0.01)
    monkeypatch.setattr(views, "STATUS_SECONDS", 0.01)
    demo.will_say(demo.hold(), "Hello")

    stream = program.ask(stream=True).iter_encoded()

    assert b'"role"' in next(stream)
    assert [next(stream), next(stream)] == [shapes.KEEP_ALIVE.encode()] * 2
    demo.release()
    assert b"".join(stream).endswith(b"data: [DONE]\n\n")


def test_an_answer_that_takes_long_begins_with_blanks(program, demo, monkeypatch):
    monkeypatch.setattr(views, "WHOLE_SECONDS", 0.01)
    monkeypatch.setattr(views, "SILENCE_SECONDS", 0.01)
    demo.will_say(demo.hold(), "Hello")

    parts = program.ask().iter_encoded()

    assert [next(parts), next(parts)] == [b" ", b" "]
    demo.release()
    assert json.loads(b"".join(parts))["choices"][0]["message"]["content"] == "Hello"


def test_a_key_that_is_revoked_ends_its_streams(program, app, demo, monkeypatch):
    monkeypatch.setattr(calls, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(calls, "KEY_CHECKED_EVERY_SECONDS", 0)
    demo.will_say("one ", demo.hold())
    stream = program.ask(stream=True).iter_encoded()
    next(stream), next(stream)

    with app.app_context(), db.engine.begin() as connection:
        connection.execute(db.text("UPDATE api_keys SET revoked_at = '2026-01-01'"))

    assert b"invalid_api_key" in b"".join(stream)
    until(lambda: all(each.ended_at for each in exchanges(app)))


def test_what_a_dead_process_left_is_charged_by_what_was_noted(program, app, demo, monkeypatch):
    monkeypatch.setattr(calls, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(calls, "NOTED_EVERY_SECONDS", 0)
    demo.will_say("word " * 100, demo.hold())
    stream = program.ask(stream=True).iter_encoded()
    next(stream), next(stream)
    until(lambda: len(exchanges(app)[0].parts) == 2)

    app.extensions["live_turns"].close()
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(db.text("UPDATE exchanges SET owner = 'elsewhere|-|-|1|1', heartbeat_at = '2026-01-01'"))
    with app.app_context():
        assert recovery.settle_orphans(()) == 1

    (call,) = exchanges(app)
    assert call.status == "interrupted"
    assert 100 < call.charged_tokens < 150
    assert balance(program) == (call.charged_tokens, 0)


def test_a_process_that_leaves_settles_its_calls(program, app, demo):
    demo.will_say("one ", demo.hold())
    stream = program.ask(stream=True).iter_encoded()
    next(stream), next(stream)
    turns = app.extensions["live_turns"]
    assert turns.open_count() == 1

    turns.drain()
    turns.interrupt_all(5)

    assert turns.open_count() == 0
    assert b"upstream_interrupted" in b"".join(stream)
    assert error(program.ask())[3] == "overloaded"


def test_no_text_is_stored_or_logged(program, app, demo, caplog):
    demo.will_say("a-marker-that-came")

    program.ask(messages=[{"role": "user", "content": "a-marker-that-was-sent"}])

    with app.app_context(), db.engine.connect() as connection:
        tables = connection.execute(db.text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        stored = str([connection.execute(db.text(f'SELECT * FROM "{table}"')).all() for table in tables])
    assert "a-marker" not in stored + caplog.text


def test_usage_pages_and_exports_show_it_without_a_chat(program, app, user):
    program.ask()
    browser = signed_in(app, user.id).client

    assert browser.get("/usage?by=chat").status_code == 200
    assert browser.get("/usage").status_code == 200
    rows = browser.get("/usage/export.json").get_json()["exchanges"]
    assert [(row["status"], row["chat_id"], row["chat"]) for row in rows] == [("completed", None, "")]


def test_two_hundred_calls_at_once_never_pass_the_limit(both_program, demo):
    for _ in range(200):
        demo.will_say("word " * 50)

    statuses = [job.get().status_code for job in [gevent.spawn(both_program.ask, max_tokens=100) for _ in range(200)]]

    used, reserved = balance(both_program)
    assert (reserved, set(statuses) <= {200, 402, 429, 503}) == (0, True)
    assert 0 < used <= 5000
    with both_program.app.app_context():
        assert ledger.verify() == []
