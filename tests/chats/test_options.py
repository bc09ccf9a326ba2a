"""What is chosen for a chat: on its page, by default, by a persona, by a program."""

from html import escape

import pytest

from chatapp.chats.models import Chat
from chatapp.kernel.extensions import db
from chatapp.personas.builtin import PERSONAS
from chatapp.providers.base import ModelInfo
from tests.auth.browser import error_of, signed_in
from tests.providers.scripted import ScriptedProvider
from tests.turns.test_versions import answered

CHOICES = {"system_prompt": "Be brief.", "temperature": "0.5", "thinking_tokens": "1024"}


@pytest.fixture
def demo():
    provider = ScriptedProvider(
        ModelInfo("scripted", "Scripted", 32_768, 8_192, max_thinking_tokens=4_096),
        ModelInfo("other", "Other", 1_000_000, 65_536, min_thinking_tokens=128, max_thinking_tokens=4_096),
        ModelInfo("local", "Local", 1, 1, has_known_limits=False),
    )
    yield provider
    provider.release()


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def only_chat(app):
    with app.app_context():
        return db.session.scalar(db.select(Chat))


def test_what_is_chosen_for_a_chat_goes_to_the_model(app, browser, api, demo):
    chat = api.new_chat()

    browser.post(f"/chats/{chat}", **CHOICES, model="other", title="T")
    api.send(chat, "Hi")

    request = demo.requests[0]
    assert (request.model, request.system_prompt) == ("other", "Be brief.")
    assert (request.temperature, request.thinking_tokens) == (0.5, 1024)
    page = browser.get(f"/chats/{chat}/settings").text
    assert 'value="0.5"' in page
    assert '<option selected value="1024">' in page


def test_a_blank_temperature_is_the_models_own(app, browser, api):
    chat = api.new_chat(temperature=1)

    browser.post(f"/chats/{chat}", temperature="")

    assert only_chat(app).temperature is None


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("temperature", "2.1", "temperature must be a number from 0 to 2"),
        ("temperature", "-0.1", "temperature must be a number from 0 to 2"),
        ("temperature", "nan", "temperature must be a number from 0 to 2"),
        ("temperature", "warm", "temperature must be a number from 0 to 2"),
        ("thinking_tokens", "65537", "thinking_tokens must be a whole number from 0 to 65536"),
        ("thinking_tokens", "1.5", "thinking_tokens must be a whole number from 0 to 65536"),
        ("thinking_tokens", "-1", "thinking_tokens must be a whole number from 0 to 65536"),
        ("system_prompt", "x" * 8001, "Instructions for the model is longer than 8000 characters"),
        ("system_prompt", "a\0b", "Instructions for the model contains characters that cannot be stored"),
        ("model", "nobodys", "model: this model is not available"),
    ],
)
def test_what_cannot_be_chosen_is_refused_by_field_and_limit_in_the_form_again(app, browser, api, field, value, says):
    chat = api.new_chat()

    for path in (f"/chats/{chat}", "/account/defaults"):
        response = browser.post(path, **{"system_prompt": "Kept as typed.", field: value})
        assert response.status_code == 422
        assert says in error_of(response.text, field)
        assert field == "model" or escape(value) in response.text
        assert field == "system_prompt" or "Kept as typed." in response.text

    chat = only_chat(app)
    assert (chat.model, chat.system_prompt, chat.temperature, chat.thinking_tokens) == ("scripted", "", None, None)


def test_new_chats_begin_with_the_users_defaults(app, browser, api, demo):
    browser.post("/account/defaults", **CHOICES, model="other")

    browser.post("/chats", text="Hi", key="k")
    answered(app)
    by_program = api.new_chat()

    assert (demo.requests[0].model, demo.requests[0].temperature) == ("other", 0.5)
    assert api.call("GET", f"/chat/{by_program}").json["system_prompt"] == "Be brief."
    assert '<option selected value="1024">' in browser.get("/account").text


@pytest.mark.parametrize("persona", PERSONAS, ids=[persona.id for persona in PERSONAS])
def test_a_persona_sets_instructions_and_temperature(app, browser, demo, persona):
    browser.post("/account/defaults", **CHOICES)

    browser.post("/chats", text="Hi", key="k", persona=persona.id)
    answered(app)

    request = demo.requests[0]
    assert (request.system_prompt, request.temperature) == (persona.system_prompt, persona.temperature)
    assert request.thinking_tokens == 1024
    assert len(persona.system_prompt) < 1000


def test_without_a_persona_the_defaults_stay(app, browser, demo):
    browser.post("/account/defaults", **CHOICES)

    browser.post("/chats", text="Hi", key="k", persona="")
    answered(app)

    assert demo.requests[0].system_prompt == "Be brief."


def test_a_persona_that_is_none_is_refused(app, browser):
    response = browser.post("/chats", text="Hi", key="k", persona="nobody")

    assert response.status_code == 400
    assert "persona" in response.text
    assert only_chat(app) is None


def test_the_settings_say_what_a_model_can_do(browser, api):
    page = browser.get(f"/chats/{api.new_chat()}/settings").text

    assert "1,000,000" in page
    assert "65,536" in page
    assert "always" in page
    row = page.split("<td>Local</td>")[1].split("</tr>")[0]
    assert row.count("–") == 4


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"temperature": True}, "temperature must be a number"),
        ({"temperature": 3}, "temperature must be a number from 0 to 2"),
        ({"thinking_tokens": 1.5}, "thinking_tokens must be a whole number"),
        ({"thinking_tokens": 10**6}, "thinking_tokens must be a whole number from 0 to 65536"),
    ],
)
def test_a_program_is_told_field_and_limit(api, fields, says):
    chat = api.new_chat()

    for method, path in (("POST", "/chat"), ("PATCH", f"/chat/{chat}")):
        response = api.call(method, path, json=fields)
        assert (response.status_code, response.json["code"]) == (400, "INVALID_REQUEST")
        assert says in response.json["message"]


def test_a_program_chooses_too(api, demo):
    chat_id = api.new_chat(temperature=0, thinking_tokens=500)
    chosen = api.call("GET", f"/chat/{chat_id}").json
    assert (chosen["temperature"], chosen["thinking_tokens"]) == (0, 500)

    api.call("PATCH", f"/chat/{chat_id}", json={"temperature": None, "thinking_tokens": 0})

    changed = api.call("GET", f"/chat/{chat_id}").json
    assert (changed["temperature"], changed["thinking_tokens"]) == (None, 0)
