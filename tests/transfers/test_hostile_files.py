"""Files made to stop or exhaust the product: each passes one bound by a little, and the answer says which."""

import html
import io
import json
import random
import re
import zipfile

import gevent
import gevent.socket
import pytest

from chatapp.chats.models import Chat, Message
from chatapp.kernel import breath
from chatapp.kernel.database import now
from chatapp.kernel.extensions import db
from chatapp.transfers import json_pieces, unpacking
from chatapp.transfers.bounds import Bounds, Intake, InvalidFile
from tests.auth.browser import signed_in
from tests.transfers.files import PAGE, bring, good, gpt, own, read, text, zipped

TOMORROW_AND_MORE = [
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "1969-12-31T00:00:00Z",
]


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


@pytest.fixture
def context(app):
    with app.test_request_context():
        yield


def error(answer):
    return html.unescape(re.search(r'id="import-error"[^>]*>([^<]*)', answer.text)[1])


def page_after(browser, value):
    return html.unescape(browser.get(bring(browser, value).headers["Location"]).text)


# ZIP files


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_packed_so_that_it_unpacks_in_one_piece_is_refused(browser, method):
    answer = bring(browser, zipped(method, conversations__json=[gpt(text("user", "Hello"))]))

    assert answer.status_code == 400
    assert "conversations.json is not packed with deflate" in error(answer)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_broken_entry_is_named_whatever_it_is_packed_with(browser, method):
    data = bytearray(zipped(method, conversations__json="[" + "1," * 500 + "1]"))
    start = 30 + len("conversations.json")
    data[start : start + 8] = b"\xff" * 8

    answer = bring(browser, bytes(data))

    assert answer.status_code == 400
    assert "conversations.json is" in error(answer)


def test_an_entry_with_a_password_is_named(browser):
    data = zipped(conversations__json="[]")
    data = data.replace(b"PK\1\2" + data[data.index(b"PK\1\2") + 4 :][:4] + b"\0\0", b"PK\1\2\x14\3\x14\0\1\0")

    assert "conversations.json is protected with a password" in error(bring(browser, data))


def as_zip64(data, list_bytes):
    """Say how long the list of contents is in ZIP64's record, as zipfile believes it, and lie in the old one."""
    end = data.index(b"PK\5\6")
    count, size, offset = (int.from_bytes(data[end + a : end + b], "little") for a, b in ((10, 12), (12, 16), (16, 20)))
    record = b"PK\6\6" + (44).to_bytes(8, "little") + bytes(4 + 8)
    record += b"".join(each.to_bytes(8, "little") for each in (count, count, size, offset))
    locator = b"PK\6\7" + bytes(4) + end.to_bytes(8, "little") + (1).to_bytes(4, "little")
    lie = data[end:][:12] + list_bytes.to_bytes(4, "little") + data[end:][16:]
    return data[:end] + record + locator + lie


@pytest.mark.parametrize("lies", [False, True])
def test_a_list_of_contents_that_is_too_long_is_not_read_whatever_it_says_of_itself(context, lies):
    data = zipped(**{f"picture{number}": b"" for number in range(100)}, conversations__json="[]")
    data = as_zip64(data, 10) if lies else data
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 101

    with pytest.raises(InvalidFile, match="too many files"):
        read(data, zip_list_bytes=4000)


def test_what_is_in_a_zip_file_counts_together_and_pictures_do_not(context):
    part = [gpt(text("user", "x" * 3000), conversation_id="a")]
    files = {"conversations_0__json": part, "conversations_1__json": part, "picture__png": b"\1" * 50_000}

    chats, _intake = read(zipped(zipfile.ZIP_STORED, **files), unpacked_bytes=10_000)
    assert len(chats) == 2
    with pytest.raises(InvalidFile, match="larger than") as refused:
        read(zipped(zipfile.ZIP_STORED, **files), unpacked_bytes=5000)
    assert refused.value.status == 413


class TestAnArchiveOfPictures:
    @pytest.fixture
    def settings(self):
        return {"import_bytes": 2**20, "import_zip_bytes": 2**22}

    def test_an_archive_larger_than_its_chats_may_be_is_taken(self, browser):
        data = zipped(zipfile.ZIP_STORED, conversations__json=[gpt(text("user", "Hi"))], a__png=b"\1" * 3 * 2**20)

        assert "1 chat was imported" in page_after(browser, data)
        assert bring(browser, b"[" + b" " * 3 * 2**20 + b"]").status_code == 413
        assert bring(browser, data + b" " * 2**21).status_code == 413


# JSON


def test_json_is_decoded_in_pieces_as_it_would_be_in_one(context, monkeypatch):
    chance = random.Random(7)

    def value(depth):
        kind = chance.random()
        if depth > 4 or kind < 0.3:
            return chance.choice([1, None, True, 'a,b[{"\\', "é😀\n\\", 1.5, "x" * chance.randint(0, 300), [], {}, ""])
        if kind < 0.65:
            return [value(depth + 1) for _ in range(chance.randint(0, 5))]
        return {f"{number}{chance.choice('abc')}": value(depth + 1) for number in range(chance.randint(0, 5))}

    for _ in range(200):
        monkeypatch.setattr(json_pieces, "WINDOW_BYTES", chance.choice([7, 20, 64, 300]))
        monkeypatch.setattr(json_pieces, "PIECE_BYTES", chance.choice([20, 40, 100, 1000]))
        whole = {"format": "x", "other": value(0), "chats": [value(0) for _ in range(chance.randint(0, 4))]}
        data = json.dumps(whole, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1])).encode()
        document = json_pieces.Document(data, Intake(Bounds(), now()))

        assert [value for _number, value in document.elements()] == whole["chats"]
        assert document.head == {"format": "x", "other": whole["other"]}


@pytest.mark.parametrize("junk", ["[],", '{"a":1},', "1,", '"ab",'])
def test_a_chat_of_more_values_than_memory_should_hold_is_left_out_and_the_others_come(context, junk):
    odd = json.dumps(good("odd"))[:-1] + ', "junk": [' + junk * 50_000 + "0]}"
    data = '{"format": "chat-export", "version": 1, "chats": [' + odd + ", " + json.dumps(good()) + "]}"

    chats, intake = read(data.encode(), chat_values=40_000)

    assert ([chat.title for chat in chats], intake.unreadable) == (["good"], 1)
    assert intake.reasons == ["chats[0]: it holds more than 40000 values"]


def test_a_chat_of_more_lists_than_python_should_look_at_is_left_out(context):
    odd = json.dumps(good("odd"))[:-1] + ', "junk": [' + "[]," * 5000 + "0]}"
    data = '{"format": "chat-export", "version": 1, "chats": [' + odd + ", " + json.dumps(good()) + "]}"

    chats, intake = read(data.encode(), chat_lists=4000)

    assert ([chat.title for chat in chats], intake.unreadable) == (["good"], 1)
    assert intake.reasons == ["chats[0]: it holds more than 4000 lists and objects"]


@pytest.mark.parametrize(
    ("data", "bounds", "said"),
    [
        (b'{"junk": [' + b"[]," * 50_000 + b'0], "chats": []}', {"chat_values": 40_000}, "more than 40000 values"),
        (b"[" + b"{}," * 50_000 + b"0]", {"values": 40_000}, "more than 40000 values"),
        (b"[" * 50_000 + b"]" * 50_000, {}, "nested deeper than 100 levels"),
        (b'[{"a":' * 50_000, {}, "nested deeper than 100 levels"),
        (b'["' + b"\\" * 300_001, {}, "not valid JSON"),
    ],
)
def test_a_file_that_grows_in_memory_is_refused_with_the_bound(context, data, bounds, said):
    with pytest.raises(InvalidFile, match=said):
        read(data, **bounds)


def test_a_chat_that_is_longer_than_one_may_be_is_left_out(context):
    long = own(*({"content": "x" * 2000} for _ in range(50)))

    assert read(long, chat_bytes=120_000)[1].unreadable == 0
    chats, intake = read(long, chat_bytes=90_000)
    assert (chats, intake.unreadable) == ([], 1)


def test_broken_json_in_one_chat_is_not_the_end_of_the_others(context):
    data = b'{"format": "chat-export", "version": 1, "chats": [{"id": tru}, ' + json.dumps(good()).encode() + b"]}"

    chats, intake = read(data)

    assert ([chat.title for chat in chats], intake.unreadable) == (["good"], 1)


# Texts, messages, dates, links


def test_a_text_longer_than_a_message_may_be_is_cut_and_the_page_says_so(browser):
    page = page_after(
        browser, own({"content": "x" * 200_000}, {"content": "y" * 200_001}, {"content": "é\n" * 2_000_000})
    )

    assert "2 texts were cut off after 200,000 characters." in page


def test_a_chat_of_more_messages_than_one_may_hold_is_left_out_with_the_bound(context):
    mapping = [text(role, "x") for role in ("user", "assistant") * 6]
    for file in (own(*({} for _ in range(11))), [gpt(*mapping)]):
        chats, intake = read(file, messages=10)

        assert (chats, intake.unreadable) == ([], 1)
        assert "holds more than 10 messages" in intake.reasons[0]
    assert len(read(own(*({} for _ in range(10))), messages=10)[0]) == 1


def test_more_chats_than_a_file_may_hold_are_not_read(context):
    chats, intake = read([gpt(text("user", "Hi"), conversation_id=str(number)) for number in range(4)], chats=3)

    assert len(chats) == 3
    assert intake.reasons == ["only the first 3 chats of a file are read"]


@pytest.mark.parametrize("date", TOMORROW_AND_MORE)
@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati"])
def test_a_date_that_no_page_could_show_becomes_that_of_the_import(app, browser, user, date, zone):
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(db.text("UPDATE users SET timezone = :zone"), {"zone": zone})
    file = own({"created_at": date}, created_at=date, updated_at=date, pinned=True)

    assert "3 impossible dates were replaced by today’s." in page_after(browser, file)

    with app.app_context():
        chat_id = db.session.scalar(db.select(Chat.id))
        assert db.session.scalar(db.select(Message.created_at)).year >= 2026
    for path in ("/", "/chats", "/account", PAGE, "/usage", f"/chats/{chat_id}"):
        assert browser.get(path).status_code == 200


@pytest.mark.parametrize(
    "instant", [-6.2e10, 1e300, -1, float("inf"), 10**30, "9999-12-31", "0001-01-01T00:00:00+23:59"]
)
def test_dates_of_other_programs_are_within_the_same_bounds(context, instant):
    [chat], intake = read([gpt(text("user", "Hi"), create_time=instant)])

    assert (chat.created_at, intake.changed_dates) == (intake.now, 1)


@pytest.mark.parametrize(
    "instant", [1_700_000_000, 1_700_000_000_000, 1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"]
)
def test_dates_are_read_in_every_unit_that_programs_write(context, instant):
    [chat], intake = read([gpt(text("user", "Hi"), create_time=instant)])

    assert (chat.created_at.isoformat(), intake.changed_dates) == ("2023-11-14T22:13:20+00:00", 0)


@pytest.mark.parametrize(("marks", "link"), [(400, 500_000), (2000, 1900)])
def test_marks_of_sources_do_not_multiply_a_small_file(context, marks, link):
    mark = "\ue200cite\ue202t\ue201"
    references = [{"matched_text": mark, "alt": "x" * link}]
    [chat], _intake = read(
        [gpt(text("user", "Hi"), text("assistant", mark * marks + "!", metadata={"content_references": references}))]
    )

    assert len(chat.messages[1].content) <= 200_000
    assert chat.messages[1].content.endswith("!")


# What others notice


def test_who_gives_way_lets_those_read_that_wait_for_the_network():
    near, far = gevent.socket.socketpair()
    echoed = []

    def ask():
        while True:
            near.send(b"?")
            echoed.append(near.recv(1))

    def echo():
        while True:
            far.send(far.recv(1))

    with near, far:
        others = gevent.spawn(ask), gevent.spawn(echo)
        for _ in range(100):
            breath.give_way()
        gevent.killall(others)

    # With sleep(0) there are six.
    assert len(echoed) > 25


@pytest.mark.parametrize("kind", ["own", "chatgpt"])
def test_others_have_their_turn_at_each_message_that_is_read(context, monkeypatch, kind):
    monkeypatch.setattr(breath, "BREATH_SECONDS", -1)
    messages = range(300)
    file = own(*({} for _ in messages)) if kind == "own" else [gpt(*(text("user", "x") for _ in messages))]
    turns = []

    def others():
        while True:
            turns.append(1)
            gevent.sleep(0)

    other = gevent.spawn(others)
    chats, _intake = read(file)
    other.kill()

    assert len(chats[0].messages) == 300
    assert len(turns) >= 300


def test_a_zip_files_list_is_read_in_a_thread(context, monkeypatch):
    threads = []
    begin = unpacking.zipfile.ZipFile.__init__

    def watch(archive, *rest):
        threads.append(gevent.get_hub().thread_ident)
        begin(archive, *rest)

    monkeypatch.setattr(unpacking.zipfile.ZipFile, "__init__", watch)
    data = zipped(conversations__json=[gpt(text("user", "Hi"))])
    threads.clear()
    read(data)

    assert len(threads) == 1
    assert threads[0] != gevent.get_hub().thread_ident
