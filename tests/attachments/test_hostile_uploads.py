"""Files made to hurt: each is refused in a bounded time, and others are served meanwhile."""

import zlib
from io import BytesIO

import gevent
import pytest
from PIL import Image

from chatapp.attachments import examine
from chatapp.attachments.refusals import UnreadableAttachment
from tests.attachments.files import header_only, many_scans, pdf, picture


@pytest.fixture
def upload(api):
    chat = api.new_chat()
    return lambda data: api.call("POST", f"/chat/{chat}/attachments", data=data)


def flat_png(side):
    """A PNG of few bytes and many pixels."""
    out = BytesIO()
    Image.new("1", (side, side)).save(out, "PNG")
    return out.getvalue()


def pdf_bomb():
    """A PDF whose page unpacks to 100 MB."""
    stream = zlib.compress(b" " * (100 << 20), 9)
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>endobj\n"
        + f"4 0 obj<</Length {len(stream)}/Filter/FlateDecode>>stream\n".encode()
        + stream
        + b"\nendstream endobj\ntrailer<</Root 1 0 R/Size 5>>\nstartxref\n0\n%%EOF"
    )


def many_kids():
    """A PDF of 20,000 pages that are all one object, under a tree that claims a single one."""
    kids = b" ".join(b"3 0 R" for _ in range(20_000))
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 1/Kids["
        + kids
        + b"]>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\n"
        b"trailer<</Root 1 0 R/Size 4>>\nstartxref\n0\n%%EOF"
    )


@pytest.mark.parametrize(
    ("make", "status", "words"),
    [
        (many_kids, 413, "100 pages"),
        (lambda: header_only(30_000, 30_000), 413, "million pixels"),
        (lambda: flat_png(13_000), 413, "million pixels"),
        (many_scans, 422, "damaged"),
        (lambda: picture(size=(900, 900))[:-400], 422, "damaged"),
        (lambda: header_only(100, 100), 422, "damaged"),
        (lambda: b"\xff\xd8\xff" + b"junk" * 99, 422, "damaged"),
        (lambda: pdf(password="secret"), 422, "locked"),
        (lambda: pdf(pages=101), 413, "100 pages"),
        (lambda: pdf(pages=1, count=20_000), 413, "100 pages"),
        (lambda: b"%PDF-1.7\nnothing", 422, "damaged"),
        (lambda: b"x" * 200_001, 413, "200000 characters"),
        (lambda: b" \n ", 422, "no text"),
        (lambda: "Gr\u00fc\u00dfe".encode("latin-1"), 415, "UTF-8"),
        (lambda: b"PK\3\4" + bytes(40), 415, "PDF"),
        (lambda: bytes(4) + b"ftypheic" + bytes(40), 415, "HEIC"),
        (lambda: b"\x7fELF" + bytes(40), 415, "Only pictures"),
        (lambda: b"BM" + bytes(40), 415, "Only pictures"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_reason(upload, make, status, words):
    answer = upload(make())

    assert (answer.status_code, words in answer.get_json()["message"]) == (status, True), answer.get_json()


def test_a_pdf_that_unpacks_to_much_is_bounded(upload):
    answer = upload(pdf_bomb())

    assert (answer.status_code, answer.get_json()["pages"]) == (201, 1)


def test_a_pdf_with_an_owners_password_only_can_be_read(upload):
    answer = upload(pdf(pages=2, password="", owner_password="owner"))

    assert (answer.status_code, answer.get_json()["pages"]) == (201, 2)


def test_a_child_that_does_not_end_is_ended(app, tmp_path, monkeypatch):
    slow = tmp_path / "slow.py"
    slow.write_text("import time\ntime.sleep(60)")
    monkeypatch.setattr(examine, "CHILD", slow)

    with app.test_request_context(), (tmp_path / "file").open("w+b") as file, gevent.Timeout(20):
        file.write(b"text")
        file.flush()
        with pytest.raises(UnreadableAttachment):
            examine.examine(file, deadline_seconds=0.2)


def test_a_child_knows_none_of_our_secrets(app, tmp_path, monkeypatch):
    """It is shown its environment by a child that writes it as a refusal's reason would be written."""
    nosy = tmp_path / "nosy.py"
    nosy.write_text(
        "import json, os, sys\nprint(json.dumps({'media_type': ' '.join(os.environ), 'parts': {}}), end='\\n')"
    )
    monkeypatch.setattr(examine, "CHILD", nosy)
    monkeypatch.setenv("SECRET_KEY", "s" * 40)

    with app.test_request_context(), (tmp_path / "file").open("w+b") as file:
        file.write(b"text")
        file.flush()
        found = examine.examine(file)

    assert "SECRET_KEY" not in found.media_type


def test_others_are_served_while_a_picture_is_read(app, upload):
    """The loop goes on: a ticker beside the upload never waits long."""
    gaps, is_over = [], False

    def tick():
        import time

        last = time.thread_time()
        while not is_over:
            gevent.sleep(0.001)
            gaps.append(time.thread_time() - last)
            last = time.thread_time()

    ticker = gevent.spawn(tick)
    answer = upload(picture(size=(5000, 4000), quality=95))
    is_over = True
    ticker.join()

    assert answer.status_code == 201
    assert len(gaps) > 20
    # CPU time of this thread, not of the clock: a busy machine is no fault of ours.
    assert max(gaps) < 0.05
