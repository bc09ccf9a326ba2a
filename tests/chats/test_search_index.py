"""The index of the search: it finds the same before and after a text is in it, rules out the rest, and old chats come
into it while the product serves. On SQLite and on PostgreSQL."""

import csv
import json
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import gevent
import pytest
from flask_migrate import downgrade, upgrade
from sqlalchemy import event, func, insert, select

from chatapp.auth.models import User
from chatapp.chats import housekeeping, indexing, search
from chatapp.chats.folding import fold
from chatapp.chats.indexing import Indexer
from chatapp.chats.models import Chat, Message, SearchBacklog, SearchPage, SearchPending
from chatapp.chats.search_index import grams, pages_with, signature
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db
from chatapp.kernel.server.loop_alarm import LoopAlarm
from tests.auth.browser import signed_in
from tests.chats.test_folding import DIFFERENT, SAME
from tests.conftest import make_user

CASES = Path(__file__).parent / "search_cases"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def ada(both_app):
    return make_user(both_app, "ada@example.org")


@pytest.fixture
def say(both_app, ada):
    """Put a chat with these messages there: say("Title", "text", …)."""

    def put(title, *texts, person=ada):
        chat_id = uuid4()
        rows = [{"id": uuid4(), "chat_id": chat_id, "role": "user", "content": text} for text in texts]
        with both_app.app_context(), write() as session:
            session.add(Chat(id=chat_id, user_id=person.id, title=title, model="m"))
            session.flush()
            if rows:
                session.execute(insert(Message), rows)
        return chat_id

    return put


@pytest.fixture
def find(both_app, ada):
    def found(query, person=ada):
        with both_app.app_context():
            return {hit.chat.title for hit in search.search(db.session.get(User, person.id), query).hits}

    return found


@pytest.fixture
def index(both_app, monkeypatch):
    """Bring all that waits into the index, however little it is."""

    def bring():
        monkeypatch.setattr(indexing, "PAGE_CHARS", 1)
        with both_app.app_context():
            list(iter(Indexer().step, False))
            assert count(SearchPending) == 0

    return bring


def count(table):
    return db.session.scalar(select(func.count()).select_from(table))


@pytest.mark.parametrize("is_indexed", [False, True])
def test_every_query_finds_its_chat_as_it_is_spelled_and_without_marks(say, find, index, is_indexed):
    for chat in json.loads((CASES / "chats.json").read_text())["chats"]:
        say(chat["title"], *(message["content"] for message in chat["messages"]))
    if is_indexed:
        index()

    with (CASES / "queries.tsv").open() as lines:
        wrong = [(query, title) for query, title in csv.reader(lines, delimiter="\t") if title not in find(query)]
    assert wrong == []


@pytest.mark.parametrize("is_indexed", [False, True])
def test_in_every_script_words_are_found_with_marks_and_without_whole_and_inside(say, find, index, is_indexed):
    for number, (written, typed) in enumerate(SAME):
        say(f"written {number}", f"see: x{written}x")
        say(f"typed {number}", f"see: x{typed}x")
    if is_indexed:
        index()

    for number, pair in enumerate(SAME):
        both = {f"written {number}", f"typed {number}"}
        assert [query for query in pair if not both <= find(query)] == []


def test_a_page_made_before_more_signs_were_folded_alike_still_gives_its_texts(say, find, index, monkeypatch):
    monkeypatch.setattr(indexing, "fold", lambda text: fold(text.replace("〜", "-").replace("«", "<")))
    say("Opening hours", "10〜20時 «Привет»")
    index()

    assert find("10～20時") == find('"привет') == {"Opening hours"}


def test_short_words_and_signs_are_told_apart_by_the_index_too(say, find, index):
    for title, other in DIFFERENT:
        say(title, f"a {title} b")
        say(other, f"a {other} b")
    index()

    assert all(title in find(title) for title, _other in DIFFERENT)
    assert find("中") == {"中"}
    assert find("c++") == {"c++"}
    assert find(".env") == {".env"}


def test_a_new_title_is_found_and_the_old_one_is_not(both_app, say, find, index):
    chat_id = say("First name")
    index()
    with both_app.app_context(), write() as session:
        session.get(Chat, chat_id).title = "Second name"

    for _ in range(2):
        assert find("second") == {"Second name"}
        assert find("first") == set()
        index()


def test_an_answer_is_found_when_it_has_ended_and_not_before(both_app, say, find, index):
    chat_id, answer_id = say("Bread"), uuid4()
    with both_app.app_context(), write() as session:
        session.add(Message(id=answer_id, chat_id=chat_id, role="assistant", content="knea", status="in_progress"))
    index()
    assert find("knea") == set()
    with both_app.app_context(), write() as session:
        answer = session.get(Message, answer_id)
        answer.content, answer.status = "knead it", "completed"
    index()

    assert find("knead") == {"Bread"}


def test_what_was_deleted_and_put_back_is_found_again(both_app, say, find, index):
    chat_id = say("Bread", "knead it")
    with both_app.app_context(), write() as session:
        session.get(Chat, chat_id).deleted_at = now()
    index()
    assert find("knead") == set()
    with both_app.app_context(), write() as session:
        session.get(Chat, chat_id).deleted_at = None

    assert find("knead") == {"Bread"}


def test_where_the_index_rules_a_word_out_no_text_is_read(both_app, ada, say, find, index):
    for number in range(50):
        say(f"Chat {number}", f"How long do I knead bread number {number}?")
    index()
    statements = []
    with both_app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))

    for absent in ("nowhere", "knead nowhere", "中", "京都", "c++", "zq"):
        assert find(absent) == set()
    assert not [statement for statement in statements if "content" in statement]


def test_the_pages_of_one_person_hold_nothing_of_anothers(both_app, ada, say, find, index):
    eve = make_user(both_app, "eve@example.org")
    say("Theirs", *["the same common word"] * 300, person=eve)
    say("Mine", "the same common word")
    index()
    with both_app.app_context():
        mine, theirs = (sum(map(len, pages_with(person.id, 10, ["common"]))) for person in (ada, eve))

    assert find("common") == {"Mine"}
    assert find("common", eve) == {"Theirs"}
    assert (mine, theirs) == (2, 301)


def old_database(both_app, ada, chats, messages):
    """Fill a database of before the index: chats with so many messages each, the last one holds a needle."""
    with both_app.app_context():
        downgrade(revision="0010")
        with write() as session:
            for chat in range(chats):
                # Not through the ORM, which names columns that came later.
                row = {"id": (chat_id := uuid4()), "user_id": ada.id, "title": f"Old {chat}", "model": "m"}
                session.execute(insert(Chat.__table__).values(row))
                rows = [{"chat_id": chat_id, "role": "user", "content": f"said {n} ёлка"} for n in range(messages)]
                session.execute(insert(Message), [row | {"id": uuid4()} for row in rows])
        db.session.remove()
        db.engine.dispose()
        upgrade()


def test_chats_from_before_the_index_are_found_at_once_and_come_into_it_step_by_step(both_app, ada, say, find):
    old_database(both_app, ada, chats=3, messages=450)
    indexer = Indexer()
    steps = 0
    with both_app.app_context():
        assert count(SearchPage) == 0
    assert find("old елка") == set()
    assert find("Old") == {"Old 0", "Old 1", "Old 2"}
    with both_app.app_context():
        while indexer.step():
            steps += 1
            assert count(SearchPending) <= indexing.ROWS_AT_ONCE * 2
            if steps == 2:
                say("Meanwhile", "something новое")
                assert find("новое") == {"Meanwhile"}
                assert find("елка") == {"Old 0", "Old 1", "Old 2"}
        assert count(SearchBacklog) == 0
        assert count(SearchPage) > 0

    assert steps >= 9
    assert find("елка 449") == {"Old 0", "Old 1", "Old 2"}


def test_until_old_chats_are_in_the_index_the_page_says_that_some_were_not_searched(both_app, ada, index):
    old_database(both_app, ada, chats=1, messages=300)
    browser = signed_in(both_app, ada.id)
    note = "Some older messages weren’t searched."

    assert note in browser.get("/chats?q=nowhere").text
    assert note in browser.get("/chats?q=nowhere", headers=HTMX).text
    index()
    assert note not in browser.get("/chats?q=nowhere", headers=HTMX).text


def test_what_indexing_was_cut_off_in_goes_on_after_a_restart(both_app, ada, find, index):
    old_database(both_app, ada, chats=1, messages=450)
    with both_app.app_context():
        assert Indexer().step()

    index()

    assert find("449") == find("0") == {"Old 0"}


def test_two_processes_that_index_at_once_make_one_page(both_app, ada, say, monkeypatch):
    say("Bread", "knead it")
    monkeypatch.setattr(indexing, "PAGE_CHARS", 1)

    def pack():
        with both_app.app_context():
            return indexing.pack(ada.id)

    made = [greenlet.get() for greenlet in gevent.joinall([gevent.spawn(pack) for _ in range(4)])]

    assert sorted(made) == [False, False, False, True]
    with both_app.app_context():
        assert count(SearchPage) == 1


def test_a_person_who_goes_leaves_nothing_in_the_index(both_app, ada, say, index):
    eve = make_user(both_app, "eve@example.org")
    for person in (ada, eve):
        say("Bread", "knead it", person=person)
    index()
    say("Waits", "for the index")
    with both_app.app_context():
        housekeeping.remove_user(ada.id)

        assert db.session.scalars(select(SearchPage.user_id)).all() == [eve.id]
        assert count(SearchPending) == 0


def test_long_texts_are_searched_in_steps_and_what_is_left_out_is_said(both_app, ada, say, index, monkeypatch):
    monkeypatch.setattr(search, "LOOKED_AT_CHARS", 600_000)
    say("Books", *(f"слово {number} " * 9000 for number in range(20)))
    held = []

    def look():
        # In a context of its own, as a request is: a session that stays open keeps seeing what was there before.
        with both_app.app_context():
            return search.search(db.session.get(User, ada.id), "слово нигде")

    with watched(held):
        partly = look()
        index()
        whole = look()

    assert held == []
    assert (partly.hits, partly.is_whole) == ([], False)
    assert (whole.hits, whole.is_whole) == ([], True)


@contextmanager
def watched(held):
    """Note in held what keeps the loop for more than 100 ms."""
    alarm = LoopAlarm(100, lambda ms, stack: held.append((ms, stack)))
    alarm.start()
    yield
    gevent.sleep(0.05)
    alarm.stop()


def test_a_word_of_a_hundred_thousand_characters_can_be_indexed(say, find, index):
    say("Long", "а" * 50_000 + "needle" + "中文" * 20_000)
    index()

    assert find("needle") == find("文中文") == {"Long"}


def test_a_signature_holds_every_run_and_is_as_long_as_they_are_many():
    found = grams("knead the dough for ten minutes")

    assert {"k", "kn", "kne", "knea", "utes"} <= found
    assert not [gram for gram in found if " " in gram]
    assert len(signature(found)) < 3 * len(found)


@pytest.mark.parametrize(
    "query", ['"', "%", "_", "\0", "a" * 10_000, "' OR 1=1 --", "NEAR(a b)", "\u0301", "\u200b", "😀"]
)
def test_hostile_queries_find_nothing_in_the_index_and_break_nothing(say, find, index, query):
    say("Plain", "Nothing like it here")
    index()

    assert find(query) == set()


def test_a_program_learns_whether_everything_was_searched(both_app, ada, both_api_of):
    old_database(both_app, ada, chats=1, messages=300)

    assert both_api_of(ada).call("GET", "/chat?q=nowhere").get_json()["is_complete"] is False


@pytest.fixture
def both_api_of(both_app):
    from tests.streams import Api

    return lambda person: Api(both_app, person)
