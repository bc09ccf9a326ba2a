"""Uploading, looking at, describing, downloading and deleting files through the API."""

import os
from io import BytesIO
from uuid import uuid4

import gevent
import pytest

from chatapp.attachments import adding
from chatapp.attachments.models import Attachment
from chatapp.auth.models import User
from chatapp.kernel.extensions import db
from tests.attachments.files import SECRET_PLACE, opened, pdf, photo, picture


@pytest.fixture
def chat(api):
    return api.new_chat()


@pytest.fixture
def upload(api, chat):
    def upload(data, name="a.bin", **options):
        return api.call("POST", f"/chat/{chat}/attachments", query_string={"name": name}, data=data, **options)

    return upload


def content(api, added, **headers):
    return api.client.get(added["url"], headers=api.headers | headers, buffered=True)


def space(app, user):
    with app.app_context():
        return db.session.get_one(User, user.id).attachment_bytes


def files(tmp_path):
    return sorted(p for p in (tmp_path / "instance" / "attachments").rglob("*") if p.is_file())


def test_a_photo_is_upright_small_and_without_its_place(api, upload):
    answer = upload(photo(), "holiday.jpg")
    added = answer.get_json()
    stored = content(api, added).data

    assert (answer.status_code, added["kind"], added["media_type"]) == (201, "image", "image/jpeg")
    assert (added["width"], added["height"]) == opened(stored).size == (1152, 1536)
    assert added["bytes"] == len(stored)
    # It lay on its side: what was left is above now.
    red, blue = opened(stored).getpixel((500, 100)), opened(stored).getpixel((500, 1400))
    assert red[0] > 200 > 50 > red[2]
    assert blue[2] > 200 > 50 > blue[0]
    assert not opened(stored).getexif()
    assert SECRET_PLACE not in stored
    assert b"SECRET-CAMERA" not in stored


@pytest.mark.parametrize(
    ("format_name", "media_type"),
    [("PNG", "image/png"), ("GIF", "image/png"), ("WEBP", "image/jpeg"), ("JPEG", "image/jpeg")],
)
def test_pictures_of_every_kind_become_jpeg_or_png(api, upload, format_name, media_type):
    added = upload(picture(format_name), "picture.bin").get_json()

    assert (added["media_type"], added["width"], added["height"]) == (media_type, 60, 40)
    assert opened(content(api, added).data).format == media_type.partition("/")[2].upper()
    assert added["tokens"] > 0
    assert added["method"] == "estimate"


def test_a_picture_that_shines_through_lies_on_white(api, upload):
    from PIL import Image

    out = BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(out, "PNG")

    assert opened(content(api, upload(out.getvalue()).get_json()).data).getpixel((1, 1)) == (255, 255, 255)


def test_a_thumbnail_is_a_small_jpeg(api, upload):
    added = upload(photo(size=(2000, 1000), turn=1)).get_json()
    thumbnail = api.client.get(added["thumbnail_url"], headers=api.headers, buffered=True)

    assert (thumbnail.mimetype, opened(thumbnail.data).size) == ("image/jpeg", (256, 128))


def test_a_pdf_is_kept_as_it_is_and_its_pages_are_counted(api, upload):
    data = pdf(pages=3)
    added = upload(data, "paper.pdf").get_json()

    assert (added["kind"], added["pages"], added["thumbnail_url"]) == ("pdf", 3, None)
    assert content(api, added).data == data
    assert added["characters"] > len("Hello world") * 3


@pytest.mark.parametrize(("count", "pages"), [(1, 3), (9, 9)])
def test_a_pdf_that_lies_about_its_pages_counts_as_the_larger_number(upload, count, pages):
    assert upload(pdf(pages=3, count=count)).get_json()["pages"] == pages


def test_a_text_gets_one_kind_of_line_end_and_is_counted(api, upload):
    added = upload("\ufeffGrüße\r\nund mehr\r".encode(), "words.md").get_json()
    answer = content(api, added)

    assert (added["kind"], added["characters"], added["tokens"] > 2) == ("text", 15, True)
    assert answer.data.decode() == "Grüße\nund mehr\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_text_in_utf_16_is_read(api, upload):
    assert content(api, upload("Grüße".encode("utf-16")).get_json()).data.decode() == "Grüße"


def test_a_form_does_the_same_as_a_body(api, chat):
    form = {"file": (BytesIO(picture("PNG")), "form.png")}
    answer = api.call("POST", f"/chat/{chat}/attachments", data=form)

    assert (answer.status_code, answer.get_json()["name"]) == (201, "form.png")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd\u202e.png", "passwd .png"),
        ("C:\\pictures\\a<b>.png", "a b .png"),
        ("x" * 300 + ".jpeg", "x" * 115 + ".jpeg"),
        ("", "file"),
        ("...", "file"),
    ],
)
def test_a_name_is_for_people_and_never_a_path(upload, tmp_path, sent, shown):
    assert upload(picture(), sent).get_json()["name"] == shown
    assert all(path.name in ("content", "thumb") for path in files(tmp_path))


@pytest.mark.parametrize(
    ("data", "options", "status", "code"),
    [
        (b"", {}, 400, "INVALID_REQUEST"),
        (b"--x\r\ncut", {"content_type": "multipart/form-data; boundary=x"}, 400, "INVALID_REQUEST"),
        ({"text": "no file"}, {"content_type": "multipart/form-data"}, 400, "INVALID_REQUEST"),
        ({"file": (BytesIO(b""), "empty.txt")}, {}, 400, "INVALID_REQUEST"),
    ],
)
def test_an_upload_without_a_file_is_refused(upload, data, options, status, code):
    answer = upload(data, **options)

    assert (answer.status_code, answer.get_json()["code"]) == (status, code)


def test_a_body_without_a_length_is_refused(api, chat):
    answer = api.call(
        "POST",
        f"/chat/{chat}/attachments",
        input_stream=BytesIO(picture()),
        headers={"Transfer-Encoding": "chunked"},
    )

    assert answer.status_code == 411


@pytest.mark.parametrize("settings", [{"attachment_bytes": 1000}])
@pytest.mark.parametrize("in_a_form", [False, True])
def test_a_file_over_the_limit_is_refused(upload, in_a_form):
    data = b"x" * 1001

    answer = upload({"file": (BytesIO(data), "a.txt")} if in_a_form else data)

    assert (answer.status_code, answer.get_json()["code"]) == (413, "ATTACHMENT_TOO_LARGE")
    assert upload(b"x" * 1000).status_code == 201


def test_a_list_holds_a_chats_own_in_their_order(api, chat, upload):
    ids = [upload(b"%d" % number).get_json()["id"] for number in range(3)]
    upload_elsewhere = api.call("POST", f"/chat/{api.new_chat()}/attachments", data=b"other")

    assert upload_elsewhere.status_code == 201
    found = api.call("GET", f"/chat/{chat}/attachments").get_json()["attachments"]
    assert [each["id"] for each in found] == ids


def test_one_of_another_chat_is_not_found(api, upload):
    added = upload(b"text").get_json()

    assert api.call("GET", f"/chat/{api.new_chat()}/attachments/{added['id']}").status_code == 404
    assert api.call("GET", f"/chat/{api.new_chat()}/attachments/{uuid4()}").status_code == 404


def test_a_description_is_kept_and_bounded(api, chat, upload):
    path = f"/chat/{chat}/attachments/{upload(picture()).get_json()['id']}"

    assert api.call("PATCH", path, json={"alt": "Two halves"}).get_json()["alt"] == "Two halves"
    assert api.call("GET", path).get_json()["alt"] == "Two halves"
    assert api.call("PATCH", path, json={"alt": "x" * 301}).status_code == 400
    assert api.call("PATCH", path, json={"alt": None}).status_code == 400
    assert api.call("PATCH", path, json={}).status_code == 400


# Handing out


HTML = b"<script>document.title = 'pwned'</script>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"


@pytest.mark.parametrize("data", [HTML, SVG, b"<?xml version='1.0'?><a/>", picture("GIF") + b"/*" + HTML, pdf()])
def test_nothing_that_is_handed_out_can_run(api, upload, data):
    added = upload(data, "page.html").get_json()
    for path in filter(None, (added["url"], added["thumbnail_url"])):
        for headers in ({}, {"Range": "bytes=0-1"}):
            answer = api.client.get(path, headers=api.headers | headers, buffered=True)

            assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Disposition"].startswith("attachment; ")
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert answer.headers["Cache-Control"] == "private, no-cache"
            assert answer.mimetype in ("text/plain", "image/png", "image/jpeg", "application/pdf")


def test_a_polyglot_loses_what_is_not_picture(api, upload):
    assert HTML not in content(api, upload(picture("GIF") + b"/*" + HTML).get_json()).data


def test_a_part_of_a_file_and_a_known_file_cost_little(api, upload):
    added = upload(b"0123456789").get_json()
    whole = content(api, added)

    part = content(api, added, Range="bytes=2-4")
    assert (part.status_code, part.data, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert (whole.data, whole.headers["Content-Length"]) == (b"0123456789", "10")
    assert content(api, added, Range="bytes=20-").status_code == 416
    assert content(api, added, **{"If-None-Match": whole.headers["ETag"]}).status_code == 304


# Space


@pytest.mark.parametrize("settings", [{"attachment_quota_bytes": 100}])
def test_uploads_that_race_never_pass_the_limit_together(app, user, api, chat, tmp_path):
    answers = []

    def send():
        answers.append(
            app.test_client().post(f"/api/chat/{chat}/attachments", headers=user.headers, data=b"x" * 30).get_json()
        )

    gevent.joinall([gevent.spawn(send) for _ in range(8)], raise_error=True)

    assert sum("id" in answer for answer in answers) == 3
    assert {answer["code"] for answer in answers if "id" not in answer} == {"STORAGE_LIMIT_EXCEEDED"}
    assert space(app, user) == 90
    assert len(files(tmp_path)) == 3


def test_a_file_that_is_deleted_gives_its_space_back_once(app, api, chat, user, upload):
    added = upload(picture()).get_json()
    path = f"/chat/{chat}/attachments/{added['id']}"
    assert space(app, user) > added["bytes"]

    statuses = [api.call("DELETE", path).status_code for _ in range(2)]

    assert statuses == [204, 404]
    assert space(app, user) == 0
    assert content(api, added).status_code == 404


def test_files_are_for_this_account_of_the_system_only(upload, tmp_path):
    upload(picture())

    for path in (tmp_path / "instance" / "attachments").rglob("*"):
        assert os.stat(path).st_mode & 0o077 == 0


def test_a_disk_that_takes_nothing_leaves_nothing(app, api, chat, user, upload, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    answer = upload(b"text")

    assert (answer.status_code, answer.get_json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert space(app, user) == 0
    with app.app_context():
        assert db.session.query(Attachment).count() == 0


def test_too_many_uploads_at_once_are_refused(upload, monkeypatch):
    monkeypatch.setattr(adding, "MOST_OPEN", 0)

    assert upload(b"text").status_code == 503


@pytest.mark.parametrize("settings", [{"attachments": False}])
def test_where_files_are_switched_off_there_is_nothing(upload):
    assert upload(b"text").status_code == 404


def test_both_databases_keep_files(both_app, both_api):
    chat = both_api.new_chat()
    added = both_api.call("POST", f"/chat/{chat}/attachments", data=b"text").get_json()

    assert both_api.client.get(added["url"], headers=both_api.headers, buffered=True).data == b"text"
    assert both_api.call("DELETE", f"/chat/{chat}/attachments/{added['id']}").status_code == 204
