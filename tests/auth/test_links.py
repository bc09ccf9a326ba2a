"""Invitations and the setup link: used once, revoked for everybody, and no way back into a deleted account."""

import re
from datetime import timedelta

import gevent
import pytest
from sqlalchemy import delete

from chatapp.auth import accounts, invitations, models
from chatapp.auth.invitations import Invitation
from chatapp.auth.models import Link, User
from chatapp.auth.signing import signer
from chatapp.kernel.database import now, write
from chatapp.kernel.errors import NotFound
from chatapp.kernel.extensions import db
from tests.auth.browser import PASSWORD, Browser, make_account, signed_in

BOB = "bob@example.org"
OURS = "http://localhost"


@pytest.fixture
def invite(app, cheap_hashes):
    """Make an invitation and return its path: invite("bob@example.org")."""

    def make(email=BOB):
        with app.test_request_context():
            return Invitation(email).issue().removeprefix(OURS)

    return make


def remove(app, email):
    with app.app_context(), write():
        db.session.execute(delete(User).where(User.email == email))


def accept(app, link):
    return Browser(app).post(link, password=PASSWORD).status_code


def test_a_used_invitation_stays_used_when_its_account_is_deleted(app, invite):
    link = invite()
    assert accept(app, link) == 303

    remove(app, BOB)

    assert (Browser(app).get(link).status_code, accept(app, link)) == (404, 404)


def test_a_second_invitation_of_a_deleted_account_makes_none_either(app, invite):
    first, second = invite(), invite()
    assert first != second
    assert accept(app, first) == 303

    remove(app, BOB)

    assert accept(app, second) == 404


def test_an_invitation_ends_when_its_email_gets_an_account_in_another_way(app, invite):
    link = invite()
    make_account(app, BOB)

    remove(app, BOB)

    assert accept(app, link) == 404


def test_a_signature_written_in_another_way_is_the_same_link(app, invite):
    link = invite()
    accept(app, link)
    remove(app, BOB)

    for sign in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        assert Browser(app).get(link[:-1] + sign).status_code == 404


def test_an_invitation_of_an_earlier_edition_is_good_once(app, cheap_hashes):
    with app.test_request_context():
        content = {"until": int(now().timestamp()) + 60, "email": BOB, "is_admin": False, "limit": None}
        link = f"/invitations/{signer('link-invite').dumps(content)}"
    assert accept(app, link) == 303

    remove(app, BOB)

    assert accept(app, link) == 404


def test_one_person_can_be_invited_again_after_the_deletion(app, invite):
    accept(app, invite())
    remove(app, BOB)

    assert accept(app, invite()) == 303


def test_a_used_setup_link_stays_used_when_its_account_is_deleted(app, cheap_hashes):
    link = invitations.setup_link(app).removeprefix("http://127.0.0.1:8000")
    Browser(app).post(link, email=BOB, password=PASSWORD)
    remove(app, BOB)

    assert Browser(app).get(link).status_code == 404
    assert Browser(app).post(link, email=BOB, password=PASSWORD).status_code == 404
    assert Browser(app).get(invitations.setup_link(app).removeprefix("http://127.0.0.1:8000")).status_code == 200


def test_what_has_expired_is_forgotten(app, invite, monkeypatch):
    invite()
    later = now() + timedelta(days=8)
    for module in (invitations, models):
        monkeypatch.setattr(module, "now", lambda: later)

    invite("eve@example.org")

    with app.app_context():
        assert [link.email for link in db.session.scalars(db.select(Link))] == ["eve@example.org"]


def test_however_many_race_with_one_link_it_is_closed_once(both_app):
    with both_app.test_request_context():
        token = Invitation(BOB).issue().rpartition("/")[2]
    with both_app.app_context(), write():
        db.session.execute(delete(Link))
    refused = []

    def race(number):
        with both_app.app_context():
            try:
                with write():
                    accounts.create(f"user{number}@example.org", "!")
                    invitations.close(token)
            except NotFound:
                refused.append(number)

    gevent.joinall([gevent.spawn(race, number) for number in range(6)], raise_error=True)

    assert len(refused) == 5


class TestRevoking:
    @pytest.fixture
    def admin(self, app):
        return signed_in(app, make_account(app, "root@example.org", is_admin=True))

    def test_an_administrator_revokes_one_on_the_page(self, app, cheap_hashes, admin, invite):
        link, other = invite(), invite("eve@example.org")
        page = admin.get("/admin").text
        row = page[page.index(f"<bdi>{BOB}") :]

        admin.post(re.search(r"/admin/invitations/\w+/revoke", row)[0])

        assert (accept(app, link), accept(app, other)) == (404, 303)
        assert BOB not in admin.get("/admin").text

    @pytest.mark.parametrize("digest", ["nonsense", "0" * 64, "a\0b"])
    def test_one_that_is_not_there_is_not_found(self, cheap_hashes, admin, digest):
        assert admin.post(f"/admin/invitations/{digest}/revoke").status_code == 404

    def test_only_an_administrator_may(self, app, cheap_hashes, invite, user):
        assert signed_in(app, user.id).post(f"/admin/invitations/{'0' * 64}/revoke").status_code == 403

    @pytest.mark.parametrize("how", ["email", "link"])
    def test_the_command_line_revokes_by_email_or_link(self, app, invite, how):
        link = invite()
        run = app.test_cli_runner().invoke
        assert run(args=["users", "invitations"]).stdout.startswith(f"{BOB}\tuser\t")

        result = run(args=["users", "revoke-invitation", " Bob@Example.org" if how == "email" else f"{OURS}{link}"])

        assert (result.exit_code, accept(app, link)) == (0, 404)
        assert run(args=["users", "invitations"]).stdout == ""
        assert run(args=["users", "revoke-invitation", BOB]).exit_code == 1


def test_a_setup_link_names_the_port_that_the_system_chose(app):
    assert invitations.setup_link(app, 43210).startswith("http://127.0.0.1:43210/setup/")
