"""Files go with what they belong to, and nothing stays behind a process that died."""

import os
import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from chatapp.attachments.models import Attachment, RemovedAttachment
from chatapp.attachments.removing import Sweeper
from chatapp.auth.models import User
from chatapp.chats import housekeeping
from chatapp.chats.models import Chat
from chatapp.kernel.database import now, write
from chatapp.kernel.extensions import db

LONG_AGO = timedelta(hours=25)


@pytest.fixture
def chat(api):
    return api.new_chat()


@pytest.fixture
def added(api, chat):
    return api.call("POST", f"/chat/{chat}/attachments", data=b"text").get_json()


@pytest.fixture
def folder(tmp_path, user):
    return tmp_path / "instance" / "attachments" / str(user.id)


def sweep(app):
    with app.app_context():
        Sweeper().step()


def age(app, model, column):
    with app.app_context(), write():
        db.session.execute(update(model).values({column: now() - LONG_AGO}))


def counts(app):
    with app.app_context():
        return db.session.query(Attachment).count(), db.session.query(RemovedAttachment).count()


def test_one_that_was_never_sent_goes_after_a_day_and_its_bytes_a_day_later(app, user, added, folder):
    sweep(app)
    assert counts(app) == (1, 0)

    age(app, Attachment, "created_at")
    sweep(app)
    assert (counts(app), (folder / added["id"] / "content").exists()) == ((0, 1), True)

    age(app, RemovedAttachment, "removed_at")
    sweep(app)
    assert (counts(app), folder.exists()) == ((0, 0), False)
    with app.app_context():
        assert db.session.get_one(User, user.id).attachment_bytes == 0


def test_a_deleted_chat_takes_its_files_along_when_it_is_purged(app, api, user, chat, added):
    assert api.call("DELETE", f"/chat/{chat}").status_code == 204
    assert counts(app) == (1, 0)

    age(app, Chat, "deleted_at")
    with app.app_context():
        assert housekeeping.purge_deleted_chats() == 1

    assert counts(app) == (0, 1)
    with app.app_context():
        assert db.session.get_one(User, user.id).attachment_bytes == 0


def test_a_deleted_account_leaves_no_byte(app, user, added, folder):
    assert folder.exists()
    with app.app_context():
        housekeeping.remove_user(user.id)

    assert (counts(app), folder.exists()) == ((0, 0), False)


def test_bytes_that_a_dying_process_left_are_swept_and_young_ones_are_not(app, user, folder, added):
    for name, is_old in (("orphan", True), ("upload", False)):
        place = folder / str(uuid4())
        place.mkdir()
        (place / "content").write_bytes(name.encode())
        if is_old:
            then = time.time() - LONG_AGO.total_seconds()
            os.utime(place, (then, then))
    old = time.time() - LONG_AGO.total_seconds()
    os.utime(folder / added["id"], (old, old))

    sweep(app)

    left = sorted((path / "content").read_bytes() for path in folder.iterdir())
    assert left == [b"text", b"upload"]
    assert UUID(added["id"])
