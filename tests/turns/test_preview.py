"""Before sending: what a draft would come to, and what is said where it does not fit."""

import pytest

from chatapp.budget import ledger
from chatapp.budget.models import UserUsage
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from chatapp.providers.registry import providers
from chatapp.tokens.estimate import calibrated
from chatapp.turns.models import Turn
from chatapp.turns.preview import preview
from tests.auth.browser import Browser, signed_in

DRAFT = "Why is the sky blue, and why is it red in the evening?"


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def set_limit(app, user, tokens):
    with app.app_context(), write():
        ledger.set_limit(user.id, tokens, "a test")


@pytest.mark.parametrize("settings", [{"metering": "exchange"}, {"metering": "provider"}])
@pytest.mark.parametrize("limit", [100_000, 500])
def test_what_is_foretold_is_what_is_held(app, api, user, demo, limit, settings):
    from chatapp.chats.models import Chat

    chat_id = api.new_chat(system_prompt="Be brief.")
    api.send(chat_id, "A first question, so that there is a history.")
    set_limit(app, user, limit)
    with app.app_context():
        foretold = preview(user.id, db.session.scalars(db.select(Chat)).one(), DRAFT)
    demo.will_say("Because of its light.")
    api.send(chat_id, DRAFT)

    with app.app_context():
        turn = db.session.scalars(db.select(Turn).order_by(Turn.started_at.desc())).first()
    assert (foretold.fits, foretold.held_tokens) == (True, turn.exchange.reserved_tokens)
    assert foretold.draft_tokens == calibrated(DRAFT)


@pytest.mark.parametrize("spare", [-1, 0])
def test_what_is_said_to_fit_is_what_is_admitted(app, api, user, spare):
    with app.app_context():
        needed = preview(user.id, None, DRAFT)
    set_limit(app, user, needed.held_tokens - 8192 + 64 + spare)
    with app.app_context():
        fits = preview(user.id, None, DRAFT).fits

    assert fits == (spare == 0)
    assert api.send(api.new_chat(), DRAFT).status == (200 if fits else 403)


def test_the_page_says_tokens_hold_and_what_is_left(browser):
    said = browser.post("/drafts", text=DRAFT).text

    assert f"≈ {calibrated(DRAFT)} tokens" in said
    assert "of 100,000" in said


def test_a_draft_that_does_not_fit_says_when_the_budget_is_filled_again(app, user, browser):
    set_limit(app, user, 60)

    said = browser.post("/drafts", text=DRAFT).text

    assert "Needs" in said
    assert "you have 60" in said
    assert "Resets" in said


def test_a_send_that_does_not_fit_says_what_it_needs_and_when_there_is_more(app, user, browser, demo):
    set_limit(app, user, 60)
    page = browser.post("/chats", text=DRAFT, headers={"HX-Request": "true"})

    assert (page.status_code, page.headers["HX-Retarget"]) == (403, "#toasts")
    assert "60 tokens are left" in page.text
    assert "Your budget resets on" in page.text
    assert demo.requests == []


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 5001, "\0"])
def test_what_cannot_be_sent_has_no_figure(browser, text):
    page = browser.post("/drafts", text=text)

    assert page.status_code == 200
    assert "token" not in page.text or text == "\0"


def test_drafts_are_for_people_who_are_signed_in_and_for_their_own_chats(app, api, other_user):
    assert Browser(app).post("/drafts", text=DRAFT).status_code == 303
    assert signed_in(app, other_user.id).post(f"/drafts?chat={api.new_chat()}", text=DRAFT).status_code == 404


def test_a_foretelling_needs_a_token_of_the_page(browser):
    assert browser.client.post("/drafts", data={"text": DRAFT}).status_code == 403


@pytest.mark.parametrize(("settings", "thoughts"), [({"metering": "exchange"}, 0), ({"metering": "provider"}, 512)])
def test_what_a_model_must_think_is_foretold_where_it_is_charged(app, user, settings, thoughts, monkeypatch):
    from chatapp.providers.base import ModelInfo

    thinker = ModelInfo("scripted", "Scripted", 32_768, 8_192, min_thinking_tokens=512, max_thinking_tokens=4_096)
    with app.app_context():
        plain = preview(user.id, None, DRAFT).held_tokens
        monkeypatch.setattr(providers(), "model", lambda model: thinker)

        assert preview(user.id, None, DRAFT).held_tokens == plain + thoughts


@pytest.mark.parametrize(("used", "is_shown"), [(79_000, False), (80_000, True)])
def test_what_a_draft_costs_is_shown_unasked_from_80_percent_of_the_budget_on(app, user, browser, used, is_shown):
    with app.app_context(), write():
        db.session.get_one(UserUsage, user.id).total_tokens_used = used

    assert ('class="urgent"' in browser.post("/drafts", text=DRAFT).text) == is_shown
