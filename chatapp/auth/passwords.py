"""Password rules, and hashing that never blocks the event loop.

A hash takes about 90 ms of a core and 32 MiB. On the event loop ten sign-ins would stall every stream for a second, so
two dedicated threads do it. When their queue is full, the answer is "try again in a moment".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from flask_babel import gettext as _
from gevent.threadpool import ThreadPool
from werkzeug.security import check_password_hash

from chatapp.auth.common_passwords import is_common
from chatapp.auth.models import canonical_email
from chatapp.kernel.config import settings
from chatapp.kernel.database import release
from chatapp.kernel.errors import Unavailable

# Argon2id above OWASP's minimum (19 MiB, 2 passes): 32 MiB and 4 passes. It takes as long as the scrypt of earlier
# versions, so timing doesn't reveal that an account with an old hash exists.
# Source: OWASP Password Storage Cheat Sheet, Argon2id; RFC 9106.
HASHER = PasswordHasher(time_cost=4, memory_cost=32 * 1024, parallelism=1)
MIN_CHARS = 8
MAX_BYTES = 1024
THREADS = 2
MAX_WAITING = 50
SCRYPT = "scrypt:"

T = TypeVar("T")
_waiting = 0


def make_hash(password: str) -> str:
    """Return the hash of a password that problem() accepts.

    Gives the database connection back while waiting for a thread; reload objects that were loaded before.
    Raises Unavailable if too many are waiting.
    """
    return _in_thread(lambda: _hash(_plain(password)))


def matches(password_hash: str | None, password: str) -> bool:
    """Return whether the password is correct. A hash of None (no such user) takes as long and never matches.

    Waits and raises like make_hash.
    """
    can_be_right = password_hash is not None and _is_text(password)
    known, typed = (password_hash or nobody(), _plain(password)) if can_be_right else (nobody(), "")
    return _in_thread(lambda: _check(known, typed)) and can_be_right


def nobody() -> str:
    """Return a hash that no password matches. Checking against it takes as long as against a real one."""
    return f"$argon2id$v=19$m={HASHER.memory_cost},t={HASHER.time_cost},p=1${'A' * 22}${'A' * 43}"


def is_outdated(password_hash: str) -> bool:
    """Return whether a hash is outdated; the next successful sign-in renews it."""
    return password_hash.startswith(SCRYPT) or HASHER.check_needs_rehash(password_hash)


def problem(password: str, email: str = "") -> str | None:
    """Return what is wrong with a new password, for display; None if it is fine.

    Length is what counts, so there are no rules about kinds of characters.
    Source: NIST SP 800-63B, 3.1.1.2; OWASP ASVS 5.0, 6.2.
    """
    if not _is_text(password):
        return _("The password is too long or has characters that can’t be typed")
    if len(password) < MIN_CHARS:
        return _("Use at least %(count)s characters; 15 or more are better", count=MIN_CHARS)
    if is_common(password, _context(canonical_email(email))):
        return _("This password is too common")
    return None


def _is_text(password: str) -> bool:
    """Reject NUL and lone surrogates, which cannot be hashed, and text that is too long."""
    try:
        return "\0" not in password and len(password.encode()) <= MAX_BYTES
    except UnicodeEncodeError:
        return False


def _hash(password: str) -> str:
    return HASHER.hash(password)


def _check(known: str, typed: str) -> bool:
    if known.startswith(SCRYPT):
        return check_password_hash(known, typed)
    try:
        return HASHER.verify(known, typed)
    except (VerificationError, InvalidHashError):
        return False


def _plain(password: str) -> str:
    """Some keyboards send ü as one character, others as two."""
    return unicodedata.normalize("NFC", password)


def _context(email: str) -> list[str]:
    """Return texts that an attacker knows: the email and this site's names."""
    host = (settings().public_url or "").partition("://")[2].partition(":")[0]
    return [email, f"@{host}", getattr(settings(), "site_name", "")]


def _in_thread(work: Callable[[], T]) -> T:
    global _waiting
    if _waiting >= MAX_WAITING:
        raise Unavailable(_("Too many people are signing in. Try again in a moment"))
    release()
    _waiting += 1
    try:
        return _threads().apply(work)
    finally:
        _waiting -= 1


@cache
def _threads() -> ThreadPool:
    """Not the hub's pool: its ten threads are no faster on a few cores and take 370 MB."""
    return ThreadPool(THREADS)
