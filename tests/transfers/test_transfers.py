"""Export, import and the end of an account."""

import html
import io
import json
import re
import zipfile
from uuid import UUID, uuid4

import pytest

from chatapp.auth.models import ApiKey, LoginSession, User
from chatapp.budget.models import LedgerEntry, UserUsage
from chatapp.chats import housekeeping
from chatapp.chats.models import Chat, Message
from chatapp.kernel.database import now, write
from chatapp.kernel.errors import InvalidRequest
from chatapp.kernel.extensions import db
from chatapp.providers.base import Chunk
from chatapp.transfers import export, importing, reading
from chatapp.transfers.bounds import Bounds, Intake
from chatapp.transfers.unpacking import Text
from chatapp.turns.lifecycle import go_on
from chatapp.turns.models import Turn
from tests.auth.browser import PASSWORD, make_account, signed_in
from tests.conftest import make_user
from tests.streams import until

PAGE = "/account/data"


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def bring(browser, value, name="chats.json"):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    # Written here: the test client would leave a large body open as a file.
    head = '--cut\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'.format("csrf_token", browser.token())
    head += f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    sent = {"Referer": "http://localhost/", "Content-Type": "multipart/form-data; boundary=cut"}
    return browser.client.post(f"{PAGE}/imports", data=head.encode() + data + b"\r\n--cut--\r\n", headers=sent)


def error(answer):
    return re.search(r'id="import-error"[^>]*>([^<]*)', answer.text)[1]


def a_chat(**values):
    chat = {"id": "c1", "title": "Bread", "created_at": "2026-01-02T03:04:05Z", "head_id": "m2"}
    messages = [
        {"id": "m1", "parent_id": None, "role": "user", "content": "Knead?", "created_at": "2026-01-02T03:04:05Z"},
        {
            "id": "m2",
            "parent_id": "m1",
            "role": "assistant",
            "content": "Ten minutes.",
            "created_at": "2026-01-02T03:04:06Z",
        },
    ]
    return chat | {"messages": messages} | values


def a_file(*chats, **values):
    return {"format": "chat-export", "version": 1, "chats": list(chats or [a_chat()])} | values


def gpt(mapping, current, **values):
    return (
        {"title": "From afar", "create_time": 1700000000.5, "conversation_id": "g1", "current_node": current}
        | {"mapping": mapping}
        | values
    )


def node(parent, role=None, *parts, **values):
    content = {"content_type": "text", "parts": list(parts)}
    message = {"author": {"role": role}, "content": content, "create_time": 1700000001} | values
    return {"parent": parent, "message": message if role else None}


def read(value):
    """Return the chats of a file without an import."""
    return list(reading.chats([Text("", json.dumps(value).encode())], Intake(Bounds(), now())))


def chats(app, user):
    with app.app_context():
        found = db.session.scalars(db.select(Chat).where(Chat.user_id == user.id, Chat.deleted_at.is_(None)))
        return {chat.title: [(each.role, each.content) for each in chat.branch()] for chat in found}


def count(app, table):
    with app.app_context():
        return db.session.scalar(db.select(db.func.count()).select_from(table))


def comparable(document):
    """What is the same after an import: everything but the ids and what it cost."""
    found = json.loads(document)["chats"]
    for chat in found:
        names = {message["id"]: number for number, message in enumerate(chat["messages"])}
        chat["head_id"] = names.get(chat["head_id"])
        for message in chat["messages"]:
            message["id"], message["parent_id"] = names[message["id"]], names.get(message["parent_id"])
            message["usage"], message["tokens_consumed"] = None, 0
        del chat["id"]
    return found


def test_what_is_exported_is_imported_the_same_with_all_branches(both_app, both_api, demo):
    ada = make_user(both_app, "grace@example.org")
    chat_id = both_api.new_chat(title="Plans", system_prompt="Be brief.", temperature=0.7, thinking_tokens=1024)
    demo.will_say(Chunk(thought="Let me *see* …"), "First\nanswer", finish_reason="length")
    both_api.send(chat_id, "First\nquestion")
    with both_app.app_context():
        chat = db.session.get(Chat, UUID(chat_id))
        owner, chosen = chat.user_id, chat.head_id
        go_on(db.session.get(User, owner), chat, db.session.get(Message, chosen))
    until(lambda: both_api.messages(chat_id)[-1]["status"] == "completed")
    with both_app.app_context(), write() as session:
        session.add(Message(chat_id=UUID(chat_id), role="user", content="Another beginning  “é” 😀"))
        session.get(Chat, UUID(chat_id)).head_id = chosen
    document = signed_in(both_app, owner).get(f"{PAGE}/chats.json").text

    answer = bring(signed_in(both_app, ada.id), document.encode())

    assert answer.status_code == 303
    again = signed_in(both_app, ada.id).get(f"{PAGE}/chats.json").text
    (chat,) = comparable(again)
    assert [message["continues"] for message in chat["messages"]].count(True) == 1
    assert (chat["messages"][1]["thoughts"], len(chat["messages"])) == ("Let me *see* …", 5)
    assert (chat["temperature"], chat["thinking_tokens"], chat["head_id"]) == (0.7, 1024, 1)
    assert [chat] == comparable(document)
    assert json.loads(document)["chats"][0]["messages"][1]["usage"]["total_tokens"] > 0
    assert json.loads(document)["version"] == 1


def test_many_messages_are_exported_in_their_order(app, browser, api, user):
    messages = [
        {"id": str(n), "parent_id": str(n - 1) if n else None, "role": "user", "content": str(n)}
        | {"created_at": "2026-01-02T03:04:05Z"}
        for n in range(3 * export.BATCH)
    ]
    bring(browser, a_file(a_chat(messages=messages, head_id=messages[-1]["id"])))

    document = json.loads(browser.get(f"{PAGE}/chats.json").text)
    chat = document["chats"][0]

    assert sorted(int(message["content"]) for message in chat["messages"]) == list(range(3 * export.BATCH))
    text = browser.get(f"/chats/{chat['id']}/export.md").text
    assert re.findall(r"\n\n(\d+)\n", text) == [str(n) for n in range(3 * export.BATCH)]


def test_one_chat_is_exported_as_markdown_and_as_json(browser, api):
    chat_id = api.new_chat(title='Ways/"\r\nSet-Cookie: x=1 ö')
    api.send(chat_id, "Which way?")

    text = browser.get(f"/chats/{chat_id}/export.md")
    assert "Which way?" in text.text
    document = browser.get(f"/chats/{chat_id}/export.json")

    assert "## You · " in text.text
    assert [chat["id"] for chat in document.json["chats"]] == [chat_id]
    assert "Set-Cookie" not in [name for name, _value in text.headers if name != "Content-Disposition"]
    disposition = text.headers["Content-Disposition"]
    assert re.fullmatch(r"attachment; filename=\"[\w .:=-]+\"; filename\*=UTF-8''[\w.%~-]+", disposition)


def test_an_answer_in_two_pieces_is_one_in_markdown(browser, api, demo):
    chat_id = api.new_chat(title="A tale")
    demo.will_say("Once upon", finish_reason="length")
    api.send(chat_id, "Tell me")
    demo.will_say(" a time.")
    browser.post(f"/messages/{api.messages(chat_id)[1]['id']}/continuation")
    until(lambda: api.messages(chat_id)[-1]["status"] == "completed" and len(api.messages(chat_id)) == 4)

    text = browser.get(f"/chats/{chat_id}/export.md").text

    assert [line for line in text.splitlines() if line and not line.startswith("#")] == ["Tell me", "Once upon a time."]
    assert text.count("## ") == 2
    assert text.endswith("time.\n")


def test_all_chats_come_as_a_zip_file_of_markdown(browser, api):
    for title in ("Same", "Same", "../../etc/passwd"):
        api.send(api.new_chat(title=title), "Hello")

    archive = zipfile.ZipFile(io.BytesIO(browser.get(f"{PAGE}/chats.zip").data))

    assert len(set(archive.namelist())) == 3
    assert not any("/" in name or ".." in name for name in archive.namelist())
    assert all("Hello" in archive.read(name).decode() for name in archive.namelist())


@pytest.mark.parametrize("name", ["chats.json", "chats.zip"])
def test_an_export_holds_nobody_elses_chats(app, browser, other_user, name):
    bring(signed_in(app, other_user.id), a_file())

    assert b"Bread" not in browser.get(f"{PAGE}/{name}").data
    assert b"Ten minutes" not in browser.get(f"{PAGE}/chats.json").data


@pytest.mark.parametrize("kind", ["md", "json"])
def test_a_strangers_chat_is_not_exported(app, browser, other_user, client, kind):
    bring(signed_in(app, other_user.id), a_file())
    with app.app_context():
        theirs = db.session.scalar(db.select(Chat.id))

    assert browser.get(f"/chats/{theirs}/export.{kind}").status_code == 404
    assert client.get(f"/chats/{theirs}/export.{kind}").status_code == 303


def test_a_key_cannot_take_everything_or_end_the_account(client, user):
    for path in (PAGE, f"{PAGE}/chats.json", f"{PAGE}/chats.zip"):
        assert client.get(path, headers=user.headers).status_code == 403
    assert client.post(f"{PAGE}/deletion", headers=user.headers).status_code == 403


def test_the_same_file_twice_brings_its_chats_once(app, browser, user):
    assert "1 chat was imported" in browser.get(bring(browser, a_file()).headers["Location"]).text

    again = browser.get(bring(browser, a_file()).headers["Location"]).text

    assert "1 was already here" in again
    assert count(app, Chat) == 1
    assert count(app, Message) == 2


def test_a_chat_exported_here_is_not_doubled_by_its_own_file(app, browser, api):
    api.send(api.new_chat(title="Mine"), "Hello")

    bring(browser, browser.get(f"{PAGE}/chats.json").data)

    assert count(app, Chat) == 1


def test_a_deleted_chat_can_be_imported_again(app, browser, user):
    bring(browser, a_file())
    with app.app_context():
        chat_id = db.session.scalar(db.select(Chat.id))
    browser.post(f"/chats/{chat_id}/delete")

    bring(browser, a_file())

    assert chats(app, user) == {"Bread": [("user", "Knead?"), ("assistant", "Ten minutes.")]}


def test_what_was_imported_costs_nothing_and_is_said_again_in_the_next_turn(app, browser, user, api, demo):
    before = api.usage()["remaining_tokens"]
    bring(browser, a_file())
    chat = api.call("GET", "/chat").get_json()["chats"][0]

    assert api.usage()["remaining_tokens"] == before
    assert [message["usage"] for message in api.messages(chat["id"])] == [None, None]
    assert "Ten minutes." in browser.get(f"/chats/{chat['id']}").text
    api.send(chat["id"], "And then?")
    assert [message.content for message in demo.requests[-1].messages] == ["Knead?", "Ten minutes.", "And then?"]


def test_chatgpts_export_is_read_with_its_branches_and_without_what_is_unknown(app, browser, user):
    mapping = {
        "root": node(None),
        "sys": node("root", "system", "You are"),
        "q": node("sys", "user", "Why?", {"asset_pointer": "picture"}),
        "tool": node("q", "tool", "searching"),
        "hidden": node("tool", "assistant", "secret", metadata={"is_visually_hidden_from_conversation": True}),
        "code": {"parent": "hidden", "message": {"author": {"role": "assistant"}, "content": {"content_type": "code"}}},
        "a1": node("code", "assistant", "Because.", metadata={"model_slug": "gpt-x"}),
        "a2": node("code", "assistant", "Who knows\0\ud800?"),
        "odd": {"parent": 5, "message": "nothing"},
        "odder": 7,
    }

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("user.json", "{}")
        file.writestr("conversations.json", json.dumps([gpt(mapping, "a1"), gpt({}, None, conversation_id="empty")]))
    bring(browser, archive.getvalue(), "export.zip")

    assert chats(app, user) == {"From afar": [("user", "Why?"), ("assistant", "Because.")]}
    assert count(app, Message) == 3
    with app.app_context():
        other = db.session.scalar(db.select(Message).where(Message.content.startswith("Who")))
        assert other.content == "Who knows\ufffd\ufffd?"
        assert db.session.get(Message, other.parent_id).content == "Why?"


def test_chatgpts_marks_of_sources_become_links_and_its_pictures_are_mentioned():
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1"}
    mark, link = "\ue200cite\ue202turn0search1\ue201", "([A page](https://a.example))"
    references = [{"matched_text": mark, "alt": link}, {"matched_text": " ", "alt": ""}, "odd"]
    mapping = {
        "q": node(None, "user", picture),
        "a": node(
            "q",
            "assistant",
            f"So it is{mark}. \ue200x\ue201And so【3†source】.",
            metadata={"content_references": references},
        ),
        "b": node("a", "user", {"content_type": "audio_transcription", "text": "Thanks"}),
    }

    (chat,) = read([gpt(mapping, "b")])

    texts = ["[A picture that was not imported]", "So it is([A page](https://a.example)). And so.", "Thanks"]
    assert [message.content for message in chat.messages] == texts


def test_a_chatgpt_tree_in_a_circle_ends():
    mapping = {"a": node("b"), "b": node("a"), "q": node("b", "user", "Why?")}

    (chat,) = read([gpt(mapping, "a")])

    assert [message.content for message in chat.messages] == ["Why?"]


def wrong(**values):
    return a_file(a_chat(), a_chat(id="c2", **values))


def message(**values):
    return wrong(messages=[a_chat()["messages"][0] | values])


def broken_zip():
    """A ZIP file whose list is whole, and whose content is no deflate stream."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("conversations.json", "[" + "1," * 500 + "1]")
    data = bytearray(archive.getvalue())
    start = 30 + len("conversations.json")
    data[start : start + 8] = b"\xff" * 8
    return bytes(data)


BAD = [
    (b"", "neither"),
    (b"{", "not valid JSON"),
    (b"[", "not valid JSON"),
    (b"No JSON", "neither"),
    (b'{"a": 1}', "neither"),
    (b'[{"mapping": {}},', "not valid JSON"),
    (b'[{"mapping": {}}, {]', "not valid JSON"),
    (b"[1]", "neither an export of this site nor one of ChatGPT, Claude or Open WebUI"),
    (b'[{"title": "Bread", "mapping": 7}]', "“Bread”.mapping is missing or not an object"),
    (b"\xff\xfe", "neither"),
    (b'{"format": "chat-export", "version": 1}', "chats is missing"),
    (b'{"format": "chat-export", "version": 1, "chats": [{}]', "chats[0].created_at"),
    (b'{"format": "chat-export", "version": 1, "chats": [{}', "not valid JSON"),
    (b"[" * 100_000, "nested deeper than 100 levels"),
    (broken_zip(), "ZIP file"),
    (b"PK\3\4 nonsense", "ZIP file"),
    ({"format": "else", "chats": [{}]}, "neither"),
    (a_file(version=2), "version must be 1"),
    (a_file(chats=[]), "no chat"),
]


@pytest.mark.parametrize(("value", "said"), BAD)
def test_a_file_of_which_nothing_can_be_read_is_refused_with_the_reason_and_leaves_nothing(app, browser, value, said):
    answer = bring(browser, value)

    assert answer.status_code == 400
    assert said in error(answer)
    assert count(app, Chat) == count(app, Message) == 0


ODD = [
    (wrong(created_at="yesterday"), "chats[1].created_at must be an instant"),
    (wrong(messages={}), "chats[1].messages must be a list"),
    (wrong(pinned="yes"), "chats[1].pinned must be true or false"),
    (wrong(temperature="hot"), "chats[1].temperature must be a number from 0 to 2"),
    (wrong(temperature=2.1), "chats[1].temperature must be a number from 0 to 2"),
    (wrong(temperature=float("nan")), "chats[1].temperature must be a number from 0 to 2"),
    (wrong(thinking_tokens=65_537), "chats[1].thinking_tokens must be a number from 0 to 65536"),
    (wrong(system_prompt="x" * 8001), "system_prompt is longer than 8000"),
    (message(role="robot"), "chats[1].messages[0].role must be user / assistant"),
    (message(content=7), "chats[1].messages[0].content must be a text"),
    (message(parent_id="nobody"), "chats[1].messages[0].parent_id is not a message"),
    (message(parent_id="m1"), "circle"),
]


@pytest.mark.parametrize(("value", "said"), ODD)
def test_a_chat_that_is_wrong_is_named_with_the_place_and_the_others_come_in(app, browser, user, value, said):
    page = html.unescape(browser.get(bring(browser, value).headers["Location"]).text)

    assert "1 chat was imported. 1 chat could not be read:" in page
    assert said in page
    assert list(chats(app, user)) == ["Bread"]


class TestLimits:
    @pytest.fixture
    def settings(self):
        return {"import_bytes": 2**20, "import_zip_bytes": 2**20}

    def test_a_file_that_unpacks_to_too_much_is_refused(self, app, browser):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("conversations.json", b"[" + b" " * 40 * 2**20 + b"]")
        assert len(archive.getvalue()) < 2**20

        answer = bring(browser, archive.getvalue())

        assert answer.status_code == 413
        assert error(answer) == "The file is larger than 1 MiB"

    def test_a_body_over_the_limit_is_refused_and_one_above_other_bodies_is_not(self, app, browser, user):
        long = a_chat()
        long["messages"][1] |= {"content": "x" * 200_000, "thoughts": "y" * 200_000}
        long["messages"][0]["content"] = "z" * 200_000

        assert bring(browser, a_file(long)).status_code == 303
        assert bring(browser, b" " * 2**21).status_code == 413
        assert [len(text) for _role, text in chats(app, user)["Bread"]] == [200_000, 200_000]


def test_an_import_that_breaks_off_shows_nothing_and_can_be_repeated(app, browser, user, monkeypatch):
    file = a_file(a_chat(), a_chat(id="c2", title="Second"))
    write_one = importing._write

    def fail_at_the_second(chat, *rest):
        if chat.title == "Second":
            raise OSError("the process dies here")
        write_one(chat, *rest)

    monkeypatch.setattr(importing, "_write", fail_at_the_second)
    assert bring(browser, file).status_code == 500
    assert chats(app, user) == {}
    assert count(app, Chat) == 1

    monkeypatch.undo()
    bring(browser, file)

    assert sorted(chats(app, user)) == ["Bread", "Second"]


def test_without_a_login_nothing_is_taken_or_brought(client):
    for path in (PAGE, f"{PAGE}/chats.json", f"{PAGE}/chats.zip"):
        assert client.get(path).headers["Location"].startswith("/login")
    assert client.post(f"{PAGE}/imports", data={"file": (io.BytesIO(b"[]"), "x.json")}).status_code in (303, 403)


def test_an_account_is_deleted_with_everything_in_it(both_app):
    browser = signed_in(both_app, make_account(both_app, "grace@example.org"))
    messages = [
        {"id": str(n), "parent_id": str(n - 1) if n else None, "role": "user", "content": "x"}
        | {"created_at": "2026-01-02T03:04:05Z"}
        for n in range(2000)
    ]
    bring(browser, a_file(a_chat(messages=messages, head_id="1999")))
    browser.post("/account/keys", key_name="program")
    browser.post("/chats", text="Hello", key=str(uuid4()))
    stranger = make_user(both_app, "eve@example.org")

    refused = browser.post(f"{PAGE}/deletion", current_password="guess")
    done = browser.post(f"{PAGE}/deletion", current_password=PASSWORD)

    assert (refused.status_code, done.status_code) == (422, 303)
    assert "Your account and everything in it was deleted." in browser.get("/login").text
    with both_app.app_context():
        assert list(db.session.scalars(db.select(User.id))) == [stranger.id]
    for table in (Chat, Message, Turn, LoginSession):
        assert count(both_app, table) == 0
    for table in (ApiKey, UserUsage, LedgerEntry):
        assert count(both_app, table) == 1


def test_a_deletion_that_is_cut_off_is_finished_later_and_nobody_else_is_touched(both_app, both_api, monkeypatch):
    ada, shut_out = make_account(both_app, "grace@example.org"), make_user(both_app, "eve@example.org")
    bring(browser := signed_in(both_app, ada), a_file())
    both_api.send(both_api.new_chat(), "Hello")
    monkeypatch.setattr(housekeeping, "remove_user", lambda user_id: 1 / 0)
    browser.post(f"{PAGE}/deletion", current_password=PASSWORD)
    monkeypatch.undo()

    with both_app.app_context():
        db.session.get(User, shut_out.id).disable()
        assert housekeeping.finish_deletions() == 0
        with write() as session:
            session.get(User, ada).deleted_at -= housekeeping.FINISH_AFTER
        assert housekeeping.finish_deletions() == 1
        assert set(db.session.scalars(db.select(User.email))) == {"ada@example.org", "eve@example.org"}
    assert count(both_app, Chat) == 1
    assert count(both_app, Message) == 2


def test_an_account_that_is_being_deleted_cannot_be_let_in_again(app, user):
    with app.app_context():
        with write() as session:
            session.get(User, user.id).deleted_at = now()
        with pytest.raises(InvalidRequest):
            db.session.get(User, user.id).enable()


def test_the_last_administrator_of_others_cannot_leave(app, user):
    browser = signed_in(app, make_account(app, "root@example.org", is_admin=True))

    answer = browser.post(f"{PAGE}/deletion", current_password=PASSWORD)

    assert answer.status_code == 403
    assert browser.is_signed_in()
