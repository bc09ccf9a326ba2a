"""Pages of chats: beginning one, the list beside it, what can be done with one, and whose it is."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from chatapp.auth.models import User
from chatapp.chats import sidebar
from chatapp.chats.models import Chat
from chatapp.conversation import page as conversation_page
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from tests.auth.browser import signed_in
from tests.conftest import make_user

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def make_chat(app, user, title="A chat", *, days_ago=0, **values):
    with app.app_context(), write() as session:
        updated = NOON - timedelta(days=days_ago)
        chat = Chat(user_id=user.id, title=title, model="scripted", updated_at=updated, **values)
        session.add(chat)
        session.flush()
        return chat.id


def hear_out(browser, address):
    """Follow what the chat at the address is answering, to its end."""
    if stream := re.search(r"/turns/[-0-9a-f]{36}/stream", browser.get(address).text):
        assert browser.get(stream[0]).text


def groups(app, user, **options):
    with app.test_request_context():
        found = sidebar.sidebar(db.session.get(User, user.id), instant=NOON, **options)
        return {group.label: [chat.title for chat in group.chats] for group in found.groups}


def test_a_first_message_begins_a_chat_without_a_script(browser, demo):
    demo.will_say("Hello yourself.")

    answer = browser.post("/chats", text="Hello", key=str(uuid4()))

    assert answer.status_code == 303
    page = browser.get(answer.headers["Location"]).text
    assert '<h1 id="title"><bdi>Hello</bdi></h1>' in page
    assert "Hello" in page


def test_a_form_sent_twice_begins_one_chat(browser, demo):
    key = str(uuid4())

    first, second = (browser.post("/chats", text="Hello", key=key) for _ in range(2))

    assert first.headers["Location"] == second.headers["Location"]
    hear_out(browser, first.headers["Location"])
    assert len(demo.requests) == 1


def test_two_people_with_one_key_have_two_chats(app, browser, other_user):
    key = str(uuid4())

    first = browser.post("/chats", text="Hello", key=key).headers["Location"]
    second = signed_in(app, other_user.id).post("/chats", text="Hello", key=key).headers["Location"]

    assert first != second


def test_a_refused_first_message_leaves_no_chat(app, browser):
    answer = browser.post("/chats", text=" \n ", key=str(uuid4()), headers=HTMX)

    assert answer.status_code == 400
    assert answer.headers["HX-Retarget"] == "#toasts"
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count(Chat.id))) == 0


def test_a_message_over_the_budget_is_refused_and_the_page_says_when_it_is_filled_again(app):
    poor = signed_in(app, make_user(app, "poor@example.org", limit=20).id)

    answer = poor.post("/chats", text="Hello", key=str(uuid4()), headers=HTMX)

    assert answer.status_code == 403
    assert "It resets on" in poor.get("/").text


def test_while_an_answer_is_written_a_page_without_a_script_reloads_itself(browser, demo):
    demo.will_say("Wait", demo.hold())
    address = browser.post("/chats", text="Hello", key=str(uuid4())).headers["Location"]

    page = browser.get(address).text

    assert f'<noscript><meta http-equiv="refresh" content="2;url={address}"></noscript>' in page
    assert 'aria-busy="true"' in page
    assert 'id="stop"' in page


def test_a_second_message_while_one_is_answered_is_refused(browser, demo):
    demo.will_say("Wait", demo.hold())
    address = browser.post("/chats", text="Hello", key=str(uuid4())).headers["Location"]

    answer = browser.post(f"{address}/messages", text="And?", key=str(uuid4()), headers=HTMX)

    assert answer.status_code == 409
    assert 'role="alert"' in answer.text


def test_an_old_form_with_a_new_text_is_a_new_message(browser, demo):
    address = browser.post("/chats", text="Hello", key=(key := str(uuid4()))).headers["Location"]
    hear_out(browser, address)

    answer = browser.post(f"{address}/messages", text="Something else", key=key)

    assert answer.status_code == 303
    hear_out(browser, address)
    assert len(demo.requests) == 2


def test_chats_are_grouped_by_the_day_they_were_used(app, user):
    for title, days in (("now", 0), ("before", 1), ("week", 5), ("month", 20), ("summer", 100), ("old", 400)):
        make_chat(app, user, title, days_ago=days)
    make_chat(app, user, "kept", days_ago=300, pinned=True)

    assert groups(app, user) == {
        "Pinned": ["kept"],
        "Today": ["now"],
        "Yesterday": ["before"],
        "Previous 7 days": ["week"],
        "Previous 30 days": ["month"],
        "August": ["summer"],
        "October 2025": ["old"],
    }


def test_the_list_holds_neither_archived_nor_deleted_nor_other_peoples_chats(app, user, other_user):
    make_chat(app, user, "archived", archived=True)
    make_chat(app, user, "deleted", deleted_at=NOON)
    make_chat(app, other_user, "theirs")
    make_chat(app, user, "mine")

    assert groups(app, user) == {"Today": ["mine"]}


def test_a_long_list_is_shown_in_part(app, browser, user):
    for number in range(sidebar.LISTED_CHATS + 1):
        make_chat(app, user, f"Chat {number}")

    assert browser.get("/").text.count('class="chat-row"') == sidebar.LISTED_CHATS
    assert browser.get("/chats?limit=80", headers=HTMX).text.count('class="chat-row"') == sidebar.LISTED_CHATS + 1


def test_the_open_chat_is_listed_however_old_it_is(app, browser, user):
    oldest = make_chat(app, user, "The oldest", days_ago=9)
    for number in range(sidebar.LISTED_CHATS):
        make_chat(app, user, f"Chat {number}")

    assert f'href="/chats/{oldest}"' not in browser.get("/").text
    assert re.search(rf'href="/chats/{oldest}"[^>]* aria-current="page"', browser.get(f"/chats/{oldest}").text)


def test_a_change_leaves_the_list_as_long_as_it_was_unfolded(app, browser, user):
    for number in range(sidebar.LISTED_CHATS + 1):
        chat_id = make_chat(app, user, f"Chat {number}")

    changed = browser.post(f"/chats/{chat_id}", title="Other", headers=HTMX | {"X-Listed": "80"})

    assert changed.text.count('class="chat-row"') == sidebar.LISTED_CHATS + 1


def test_a_chat_is_renamed_and_pinned_from_the_list(app, browser, user):
    chat_id = make_chat(app, user)

    renamed = browser.post(f"/chats/{chat_id}", title="  Two\n words ", headers=HTMX)
    pinned = browser.post(f"/chats/{chat_id}", pinned="1", headers=HTMX)

    assert "<bdi>Two words</bdi>" in renamed.text
    assert "Pinned" in pinned.text


@pytest.mark.parametrize("changes", [{"title": " "}, {"title": "x" * 201}, {"title": "a\0b"}, {"model": "nobody's"}])
def test_a_change_that_is_not_possible_is_refused(app, browser, user, changes):
    chat_id = make_chat(app, user)

    assert browser.post(f"/chats/{chat_id}", headers=HTMX, **changes).status_code == 400

    assert groups(app, user) == {"Today": ["A chat"]}


def test_a_deleted_chat_is_gone_and_can_be_taken_back(app, browser, user):
    chat_id = make_chat(app, user)
    token = {"X-CSRFToken": browser.token(), "Referer": "http://localhost/"}

    gone = browser.client.delete(f"/chats/{chat_id}", headers=HTMX | token)

    assert f"/chats/{chat_id}/restoration" in gone.text
    assert browser.get(f"/chats/{chat_id}").status_code == 404
    assert "A chat" in browser.post(f"/chats/{chat_id}/restoration", headers=HTMX).text
    assert browser.get(f"/chats/{chat_id}").status_code == 200


def test_deleting_the_chat_that_is_shown_leads_to_a_new_one_that_offers_to_undo(app, browser, user):
    chat_id = make_chat(app, user)

    answer = browser.post(f"/chats/{chat_id}/delete")

    assert answer.headers["Location"] == "/"
    (undo,) = re.findall(rf'action="(/chats/{chat_id}/restoration[^"]*)"', browser.get("/").text)
    assert browser.post(undo, headers=HTMX).headers["HX-Redirect"] == f"/chats/{chat_id}"


def test_an_archived_chat_is_out_of_the_list_and_can_be_taken_out_again(app, browser, user):
    chat_id = make_chat(app, user)

    archived = browser.post(f"/chats/{chat_id}", archived="1", headers=HTMX)

    assert f'action="/chats/{chat_id}/unarchive"' in archived.text
    assert "A chat" in browser.get("/chats?archived=1").text.split("<main")[1]
    assert groups(app, user) == {}
    assert browser.post(f"/chats/{chat_id}/unarchive").headers["Location"] == "/chats?archived=1"
    assert groups(app, user) == {"Today": ["A chat"]}


PATHS = ["", "/settings", "/menu", "/title", "/naming", "/export.md", "/export.json"]
WRITES = ["", "/unarchive", "/messages", "/delete", "/restoration"]


@pytest.mark.parametrize("path", PATHS)
def test_a_strangers_chat_is_not_there(app, browser, other_user, path):
    theirs = make_chat(app, other_user, "Secret plans")

    answers = [browser.get(f"/chats/{chat_id}{path}") for chat_id in (theirs, uuid4(), "no-uuid")]

    assert {answer.status_code for answer in answers} == {404}
    assert not any("Secret" in answer.text for answer in answers)


@pytest.mark.parametrize("path", WRITES)
def test_a_strangers_chat_cannot_be_changed(app, browser, other_user, path):
    theirs = make_chat(app, other_user, "Secret plans")

    assert browser.post(f"/chats/{theirs}{path}", title="Mine", text="Hi").status_code == 404

    assert groups(app, other_user) == {"Today": ["Secret plans"]}


@pytest.mark.parametrize("path", ["/", "/chats", "/usage", *(f"/chats/{UUID(int=1)}{path}" for path in PATHS)])
def test_without_a_login_every_page_leads_to_the_sign_in(client, path):
    assert client.get(path).headers["Location"].startswith("/login?next=")


def test_a_write_without_its_token_is_refused(app, browser, user):
    chat_id = make_chat(app, user)

    assert browser.client.post(f"/chats/{chat_id}/delete").status_code == 403
    assert browser.get(f"/chats/{chat_id}").status_code == 200


def test_a_title_cannot_break_out_of_the_page(app, browser, user):
    make_chat(app, user, '</title><script>alert(1)</script>"\u202e')

    page = browser.get("/").text

    assert "<script>alert" not in page
    assert "<bdi>&lt;/title&gt;&lt;script&gt;" in page


def test_earlier_messages_are_fetched_when_asked_for(app, browser, user, api, monkeypatch):
    monkeypatch.setattr(conversation_page, "SHOWN_MESSAGES", 2)
    chat_id = api.new_chat()
    for text in ("first question", "second question"):
        api.send(chat_id, text)

    page = browser.get(f"/chats/{chat_id}").text
    more = re.search(r'hx-get="(/chats/[^"]+before=[^"]+)"', page)[1]

    assert "second question" in page.split('id="log"')[1]
    assert "first question" not in page.split('id="log"')[1]
    assert "first question" in browser.get(more, headers=HTMX).text
