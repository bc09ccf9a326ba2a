"""People with passwords, and their browsers."""

import pytest
from argon2 import PasswordHasher

from chatapp.auth import passwords
from tests.auth.browser import Browser, make_account, signed_in


@pytest.fixture
def cheap_hashes(monkeypatch):
    """Hashes that take 1 ms, for tests that are not about them."""
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


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
