"""Search: what is found, what never is, and that it is marked without harm. On SQLite and on PostgreSQL."""

import random
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from flask_migrate import downgrade, upgrade

from chatapp.auth.models import User
from chatapp.chats.marking import marked, marked_html
from chatapp.chats.models import Chat, Message
from chatapp.chats.search import search
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db
from chatapp.turns.lifecycle import CONTINUE
from tests.auth.browser import signed_in
from tests.conftest import make_user
from tests.streams import until

HTMX = {"HX-Request": "true"}


@pytest.fixture
def ada(both_app):
    return make_user(both_app, "ada@example.org")


@pytest.fixture
def say(both_app, ada):
    """Put a chat with these messages there: say("Title", "question", "answer")."""

    def put(title, *texts, person=ada, status="completed", **values):
        with both_app.app_context(), write() as session:
            chat = Chat(id=uuid4(), user_id=person.id, title=title, model="scripted", **values)
            session.add(chat)
            session.flush()
            for index, text in enumerate(texts):
                role = "assistant" if index % 2 else "user"
                message = Message(chat_id=chat.id, parent_id=chat.head_id, role=role, content=text, status=status)
                session.add(message)
                session.flush()
                chat.head_id = message.id
            return chat.id

    return put


@pytest.fixture
def find(both_app, ada):
    def found(query, person=ada):
        with both_app.app_context():
            return [hit.chat.title for hit in search(db.session.get(User, person.id), query).hits]

    return found


def test_words_are_found_in_titles_and_in_messages(say, find):
    say("Bread", "How long do I knead?", "Ten minutes.")
    say("Minutes of the meeting", "Hello", "Hello.")

    assert sorted(find("minutes")) == ["Bread", "Minutes of the meeting"]
    assert find("knead long") == ["Bread"]
    assert find("knead meeting") == []


@pytest.mark.parametrize("query", ["uber", "Über", "ÜBERG", "ubergro", "u\u0308ber"])
def test_neither_capitals_nor_marks_nor_missing_ends_matter(say, find, query):
    say("Größen", "Die Übergröße")

    assert find(query) == ["Größen"]


@pytest.mark.parametrize("query", ["東京", "京タ", "タワーは", "กรุงเทพ", "เทพ", "c++", "foo(", "#42", "x_y", "50%"])
def test_what_has_no_spaces_and_what_has_signs_is_found(say, find, query):
    say("Odd", "私は東京タワーはどこ", "อยู่ที่กรุงเทพครับ", "c++ and foo(bar) #42 x_y 50% off")
    say("Other", "c, foo, 42, xay, 500 off, 京 タ")

    assert find(query) == ["Odd"]


def test_the_inside_of_a_word_is_found_when_nothing_begins_with_it(say, find):
    say("Long words", "Donaudampfschifffahrt")

    assert find("schiff") == ["Long words"]


ODD = [
    '"',
    "'",
    "''':*",
    "\\",
    "a\\",
    "*",
    "(",
    ") OR (",
    "NEAR(a b)",
    "owner:x",
    "-",
    "a AND",
    "\0",
    "%",
    "_",
    "a'b",
    "^",
    "😀",
]


@pytest.mark.parametrize("query", [*ODD, " ", "x" * 5000, " ".join(map(str, range(500)))])
def test_any_text_is_a_query(say, find, query):
    say("Plain", "Nothing like it here")

    assert isinstance(find(query), list)
    assert find(f"{query[:20]} zzz") == []


def test_random_queries_never_fail(say, find):
    say("Plain", "Nothing like it here")
    chance = random.Random(7)

    for _ in range(150):
        find("".join(chance.choices("ab \"'\\*()-:&|!<>%_^{}[]~äก京", k=chance.randint(1, 12))))


def test_neither_others_nor_deleted_nor_unfinished_texts_are_found(both_app, say, find):
    eve = make_user(both_app, "eve@example.org")
    say("Theirs", "a secret word", person=eve)
    say("Gone", "a secret word", deleted_at=now())
    say("Being written", "a secret word", status="in_progress")
    say("Shelved", "a secret word", archived=True)

    for query in ("secret", "ecre", "Theirs", "Gone"):
        assert set(find(query)) <= {"Shelved"}
    assert find("secret") == ["Shelved"]
    assert find("secret", eve) == ["Theirs"]


def test_the_index_follows_every_change(both_app, say, find):
    chat_id = say("First name", "apples", "pears", status="in_progress")
    with both_app.app_context(), write() as session:
        session.get(Chat, chat_id).title = "Second name"
        for message in session.scalars(db.select(Message)):
            message.status = "completed"
    assert find("apples") == find("second") == ["Second name"]
    assert find("first") == []

    with both_app.app_context(), write() as session:
        session.execute(db.delete(Chat))

    assert find("apples") == find("second") == []


def test_texts_that_were_there_before_the_index_are_found(both_app, say, find):
    say("Old chat", "an ancient question")
    with both_app.app_context():
        try:
            downgrade(revision="0001")
        finally:
            db.engine.dispose()
            upgrade()

    assert find("ancient") == find("old") == ["Old chat"]


def test_a_very_long_text_can_be_saved_and_is_found_by_its_beginning(say, find):
    chance = random.Random(3)
    say("Book", "needle " + " ".join(f"{chance.getrandbits(60):x}" for _ in range(60_000)))

    assert find("needle") == ["Book"]


def test_hits_are_marked_and_everything_else_is_text():
    parts = marked("<b>Tïtle</b> & title", ("title",))

    assert marked_html(parts) == "&lt;b&gt;<mark>Tïtle</mark>&lt;/b&gt; &amp; <mark>title</mark>"


@pytest.mark.parametrize(
    ("text", "query", "shown"),
    [
        ("## Bread\n\n- **knead** `it` - long", "knead", "Bread knead it long"),
        ("It is *bent*, 2*3 and a*", "bent", "It is bent, 2*3 and a"),
        ("a ** b", "**", "a ** b"),
        ("__Use__ filter(name__in=x)", "filter", "Use filter(name__in=x)"),
        ("x" * 300 + " knead", "knead", "…knead"),
    ],
)
def test_a_snippet_is_one_plain_line_that_keeps_its_hits(app, ada_alone, text, query, shown):
    with app.app_context():
        (hit,) = search(db.session.get(User, ada_alone(text)), query).hits

    assert hit.snippets[0].text == shown


@pytest.fixture
def ada_alone(app, user):
    def put(text):
        with app.app_context(), write() as session:
            session.add(chat := Chat(id=uuid4(), user_id=user.id, title="Bread", model="scripted"))
            session.flush()
            session.add(Message(chat_id=chat.id, role="assistant", content=text))
        return user.id

    return put


def test_the_page_shows_where_it_was_said_and_leads_there(both_app, ada, say):
    chat_id = say("Plans", "<i>Where</i> is the  treasure?", "Under the oak.")
    browser = signed_in(both_app, ada.id)

    for page in (browser.get("/chats?q=treas"), browser.get("/chats?q=treas", headers=HTMX)):
        assert "&lt;i&gt;Where&lt;/i&gt; is the <mark>treas</mark>ure?" in page.text
    link = page.text.split('class="hit-place" href="')[1].split('"')[0]
    assert link.startswith(f"/chats/{chat_id}?at=")
    assert f'id="{link.split("#")[1]}"' in browser.get(link.split("#")[0]).text


def test_a_hit_far_up_is_on_the_page_it_leads_to(both_app, ada, say):
    chat_id = say("Long", *(f"message number{index}" for index in range(150)))
    browser = signed_in(both_app, ada.id)

    page = browser.get("/chats?q=number7", headers=HTMX).text
    link = page.split('class="hit-place" href="')[-1].split('"')[0]

    assert link.startswith(f"/chats/{chat_id}?at=")
    assert f'id="{link.split("#")[1]}"' in browser.get(link.split("#")[0]).text


@pytest.mark.parametrize("query", ["repeat nothing", "epeat nothin", "Go on with"])
def test_the_request_to_go_on_with_an_answer_is_nobodys_words_and_never_found(both_app, say, find, query):
    chat_id = say("Bread", "How long do I knead?", "Ten")
    with both_app.app_context(), write() as session:
        session.add(Message(chat_id=chat_id, role="user", content=CONTINUE, continues=True))

    assert find(query) == []
    say("Mine", "Go on with it and repeat nothing")
    assert find(query) == ["Mine"]


def test_a_hit_in_a_version_that_is_not_shown_says_so_and_shows_it_when_it_is_pressed(both_app, both_api, demo):
    demo.will_say("Under the oak.")
    demo.will_say("In the cellar.")
    chat_id = both_api.new_chat(title="Plans")
    both_api.send(chat_id, "Where is the treasure?")
    both_api.send(chat_id, "Are you sure?")
    with both_app.app_context():
        browser = signed_in(both_app, db.session.get(Chat, UUID(chat_id)).user_id)
    oak = both_api.messages(chat_id)[1]["id"]
    browser.post(f"/messages/{oak}/versions")
    until(lambda: both_api.messages(chat_id)[1]["status"] == "completed")

    page = browser.get("/chats?q=oak", headers=HTMX).text

    assert f'action="/messages/{oak}/selection"' in page
    assert "In another version" in page
    assert "In another version" not in browser.get("/chats?q=treasure", headers=HTMX).text
    assert both_api.messages(chat_id)[1]["id"] != oak
    address = browser.post(f"/messages/{oak}/selection").headers["Location"]
    assert f'id="{address.split("#")[1]}"' in browser.get(address).text
    assert [message["content"] for message in both_api.messages(chat_id)][1:3] == ["Under the oak.", "Are you sure?"]
    assert "In another version" not in browser.get("/chats?q=oak", headers=HTMX).text


def test_a_program_searches_too(both_api):
    chat_id = both_api.new_chat()
    both_api.send(chat_id, "Where is the treasure?")

    found = both_api.call("GET", "/chat?q=treas").get_json()

    assert [chat["id"] for chat in found["chats"]] == [chat_id]
    assert found["chats"][0]["hits"][0]["snippet"] == "Where is the treasure?"
    assert found["next_cursor"] is None


@pytest.mark.slow
def test_of_ten_thousand_messages_those_with_the_words_are_found(both_app, ada, find):
    chance = random.Random(5)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 9))) for _ in range(3000)]
    with both_app.app_context(), write() as session:
        for number in range(500):
            chat = Chat(id=uuid4(), user_id=ada.id, title=f"Chat {number}", model="scripted")
            session.add(chat)
            session.flush()
            session.add_all(
                Message(
                    chat_id=chat.id,
                    role="user",
                    content=" ".join(chance.choices(words, k=90)),
                    created_at=now() - timedelta(minutes=number),
                )
                for _ in range(20)
            )
    assert all(find(query) for query in (words[0], words[1][:2], f"{words[2]} {words[3]}"))
    assert not any(find(query) for query in ("京都", "nowhereatall"))
