"""People with passwords, and their browsers."""

import pytest

from chatapp.auth import passwords
from tests.auth.browser import Browser, make_account, signed_in


@pytest.fixture
def cheap_hashes(monkeypatch):
    """Hashes that take 1 ms, for tests that are not about them."""
    method = "scrypt:512:8:1"
    monkeypatch.setattr(passwords, "METHOD", method)
    monkeypatch.setattr(passwords, "NOBODY", passwords.NOBODY.replace("scrypt:32768:8:1", method))


@pytest.fixture
def grace(app, cheap_hashes):
    """The id of an account whose password is known."""
    return make_account(app)


@pytest.fixture
def browser(app):
    return Browser(app)


@pytest.fixture
def signed_in_browser(app, grace):
    return signed_in(app, grace)
