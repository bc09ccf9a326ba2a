"""Personas and prompts of one's own, and those an administrator shares."""

import pytest

from chatapp.chats.models import Chat
from chatapp.kernel.extensions import db
from chatapp.personas import models
from tests.auth.browser import error_of, make_account, signed_in

SKIPPER = {"name": " Skipper ", "instructions": "Speak like a sailor.", "temperature": "1.2", "model": ""}


@pytest.fixture
def ada(app):
    return signed_in(app, make_account(app, "ada@example.org"))


@pytest.fixture
def eve(app):
    return signed_in(app, make_account(app, "eve@example.org"))


@pytest.fixture
def admin(app):
    return signed_in(app, make_account(app, "grace@example.org", is_admin=True))


def ids(app, model):
    with app.app_context():
        return [str(each.id) for each in db.session.scalars(db.select(model))]


def the_chat(app):
    with app.app_context():
        return db.session.scalars(db.select(Chat)).one()


def test_a_persona_gives_a_new_chat_its_instructions_and_its_name(app, ada):
    ada.post("/personas/persona", **SKIPPER)
    (persona,) = ids(app, models.Persona)

    ada.post("/chats", text="Hello", persona=persona)
    chat = the_chat(app)

    assert (chat.persona, chat.system_prompt, chat.temperature) == ("Skipper", "Speak like a sailor.", 1.2)
    assert '<span class="persona" title="Persona">Skipper</span>' in ada.get(f"/chats/{chat.id}").text


def test_a_persona_brings_its_model_and_without_one_the_box_decides(app, ada, demo):
    ada.post("/personas/persona", **SKIPPER | {"model": "scripted"})
    (persona,) = ids(app, models.Persona)

    ada.post("/chats", text="Hello", persona=persona)

    assert the_chat(app).model == "scripted"


def test_a_persona_that_comes_with_the_product_is_named_in_its_chat(app, ada):
    ada.post("/chats", text="Hello", persona="tutor")

    assert the_chat(app).persona == "Tutor"


def test_what_is_ones_own_nobody_else_sees_chooses_or_changes(app, ada, eve):
    ada.post("/personas/persona", **SKIPPER)
    (persona,) = ids(app, models.Persona)

    assert "Skipper" not in eve.get("/personas").text + eve.get("/").text
    assert eve.get(f"/personas/persona/{persona}").status_code == 404
    assert eve.post(f"/personas/persona/{persona}", **SKIPPER | {"name": "Mine"}).status_code == 404
    assert eve.post(f"/personas/persona/{persona}/delete").status_code == 404
    assert eve.post("/chats", text="Hello", persona=persona).status_code == 400
    assert "Skipper" in ada.get("/personas").text


def test_what_an_administrator_shares_everybody_uses_and_only_administrators_change(app, ada, admin):
    admin.post("/personas/persona", **SKIPPER, is_shared="y")
    (persona,) = ids(app, models.Persona)

    assert f'<option value="{persona}"' in ada.get("/").text
    assert f"/personas/persona/{persona}" not in ada.get("/personas").text
    assert ada.post(f"/personas/persona/{persona}/delete").status_code == 404
    assert admin.post(f"/personas/persona/{persona}", **SKIPPER | {"name": "Captain"}).status_code == 303
    assert "Captain" not in ada.get("/").text


def test_nobody_else_shares(app, ada, eve):
    ada.post("/personas/prompt", name="Mail", text="Answer this mail:", is_shared="y")

    assert "Mail" in ada.get("/personas/prompts").text
    assert "Mail" not in eve.get("/personas/prompts").text


@pytest.mark.parametrize(
    ("kind", "field", "value", "says"),
    [
        ("persona", "name", " ", "at least one character"),
        ("persona", "name", "x" * 61, "60"),
        ("persona", "instructions", "x" * 8001, "8000"),
        ("persona", "instructions", "a\0b", "cannot be stored"),
        ("persona", "model", "nowhere", "not available"),
        ("persona", "temperature", "3", "0 to 2"),
        ("prompt", "text", "x" * 5001, "5000"),
    ],
)
def test_what_cannot_be_kept_is_named_beside_its_field(ada, kind, field, value, says):
    values = SKIPPER if kind == "persona" else {"name": "Mail", "text": "Answer this mail:"}

    answer = ada.post(f"/personas/{kind}", **values | {field: value})

    assert answer.status_code == 422
    assert says in error_of(answer.text, field)


def test_there_is_an_end_to_how_many_one_may_have(ada, monkeypatch):
    monkeypatch.setattr(models, "MOST_OWN", 1)
    ada.post("/personas/prompt", name="One", text="1")

    answer = ada.post("/personas/prompt", name="Two", text="2")

    assert (answer.status_code, "Delete one first" in error_of(answer.text, "name")) == (422, True)


def test_a_persona_that_is_deleted_leaves_its_chats_as_they_are(app, ada):
    ada.post("/personas/persona", **SKIPPER)
    (persona,) = ids(app, models.Persona)
    ada.post("/chats", text="Hello", persona=persona)

    ada.post(f"/personas/persona/{persona}/delete")

    assert the_chat(app).system_prompt == "Speak like a sailor."
    assert "Skipper" not in ada.get("/personas").text


def test_an_account_takes_its_personas_and_prompts_with_it(app, ada):
    ada.post("/personas/persona", **SKIPPER)
    ada.post("/personas/prompt", name="Mail", text="Answer this mail:")

    ada.post("/account/data/deletion", current_password="a horse called battery")

    assert ids(app, models.Persona) + ids(app, models.Prompt) == []


def test_a_chats_persona_is_in_its_export_and_comes_back(app, ada, eve):
    ada.post("/chats", text="Hello", persona="tutor")
    chat = the_chat(app)
    file = ada.get(f"/chats/{chat.id}/export.json")

    assert file.json["chats"][0]["persona"] == "Tutor"
