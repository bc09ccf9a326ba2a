"""A browser without a screen: it keeps cookies and sends the CSRF token of the page it is on."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from chatapp.auth import accounts, passwords
from chatapp.auth.models import LoginSession, User
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db

PASSWORD = "a horse called battery"
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Browser:
    def __init__(self, app: Flask, base_url: str = "http://localhost", **environ: Any) -> None:
        self.app = app
        self.client = app.test_client()
        self.how = {"base_url": base_url, "environ_overrides": environ or None}

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **self.how, **options)

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: Any) -> TestResponse:
        """Press a button on a page of this site."""
        sent = {"Referer": f"{self.how['base_url']}/"} | (headers or {})
        return self.client.post(path, data={"csrf_token": self.token(), **fields}, headers=sent, **self.how)

    def token(self) -> str:
        page = self.get("/login")
        if page.status_code == 303:
            page = self.get("/account")
        found = TOKEN.search(page.text)
        assert found, page.text
        return found[1]

    def sign_in(self, email: str = "grace@example.org", password: str = PASSWORD, **fields: Any) -> TestResponse:
        return self.post("/login", email=email, password=password, **fields)

    def is_signed_in(self) -> bool:
        return self.get("/account").status_code == 200

    @property
    def cookie_name(self) -> str:
        return str(self.client.application.config["SESSION_COOKIE_NAME"])

    def take(self, cookie: str) -> None:
        """Hold this session instead."""
        self.client.set_cookie(self.cookie_name, cookie)

    def cookie(self, name: str | None = None) -> str | None:
        found = self.client.get_cookie(name or self.cookie_name)
        return found.value if found else None


def make_account(app: Flask, email: str = "grace@example.org", *, is_admin: bool = False) -> Any:
    """Create account with PASSWORD and return its id."""
    with app.app_context():
        password_hash = passwords.make_hash(PASSWORD)
        with write():
            return accounts.create(email, password_hash, is_admin=is_admin).id


def signed_in(app: Flask, user_id: Any) -> Browser:
    """Return a browser that is signed in, without a hash."""
    browser = Browser(app)
    with app.app_context(), write():
        token = LoginSession.begin(db.session.get(User, user_id))
    with browser.client.session_transaction() as session:
        session["login"] = token
        session.permanent = True
    return browser


def error_of(page: str, name: str) -> str:
    """Return what stands beside the field of that name as its error; the field says that it is wrong and why."""
    control = next(each for each in re.findall(rf'<\w+ [^>]*name="{name}"[^>]*>', page) if "aria-invalid" in each)
    described_by = re.search(r'aria-describedby="([^" ]+)', control)
    assert described_by, control
    said = re.search(rf'id="{described_by[1]}"[^>]*>([^<]*)<', page)
    assert said, described_by[0]
    return unescape(said[1])
