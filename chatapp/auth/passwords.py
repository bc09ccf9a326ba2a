"""Passwords: what is accepted, and hashing that never holds up the loop.

A hash takes about 90 ms of a core and 32 MiB. On the loop ten sign-ins would stop every stream for a second, so two
threads of our own do it. Beyond a bounded queue the answer is "try again in a moment".
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

from chatapp.database import release
from chatapp.errors import Unavailable

# Argon2id above OWASP's least (19 MiB, 2 passes): 32 MiB and 4 passes. It takes as long as the scrypt of earlier
# editions, so an account that still has an old hash cannot be told from none.
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
    """Return what is stored of a password that problem() accepts.

    Waits for a thread with the database connection given back: load again what was loaded before.
    Raises Unavailable where too many wait.
    """
    return _in_thread(lambda: _hash(_plain(password)))


def matches(password_hash: str | None, password: str) -> bool:
    """Say whether a password is the right one. None, for nobody, takes as long and is never right.

    Waits and raises like make_hash.
    """
    can_be_right = password_hash is not None and _is_text(password)
    known, typed = (password_hash or nobody(), _plain(password)) if can_be_right else (nobody(), "")
    return _in_thread(lambda: _check(known, typed)) and can_be_right


def nobody() -> str:
    """Return a hash that no password has. Checking against it takes as long as against a real one."""
    return f"$argon2id$v=19$m={HASHER.memory_cost},t={HASHER.time_cost},p=1${'A' * 22}${'A' * 43}"


def is_outdated(password_hash: str) -> bool:
    """Say whether a hash was made in an earlier way: the next right password makes it anew."""
    return password_hash.startswith(SCRYPT) or HASHER.check_needs_rehash(password_hash)


def problem(password: str, email: str = "") -> str | None:
    """Say what is wrong with a new password, for people; None where nothing is.

    Length is what counts, so there are no rules about kinds of characters.
    Source: NIST SP 800-63B, 3.1.1.2; OWASP ASVS 5.0, 6.2.
    """
    if not _is_text(password):
        return _("The password is too long or has characters that cannot be typed")
    if len(password) < MIN_CHARS:
        return _("Use at least %(count)s characters; 15 or more are better", count=MIN_CHARS)
    if _is_common(password.casefold(), email.casefold()):
        return _("This password is among the first that anybody would try")
    return None


def _is_text(password: str) -> bool:
    """Refuse NUL and lone surrogates, which hashing cannot take, and what is too long to be worth the time."""
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
    """One keyboard sends ü as one character, another as two."""
    return unicodedata.normalize("NFC", password)


def _is_common(password: str, email: str) -> bool:
    stem = password.strip("0123456789!?.,-_*#$@+ ")
    names = {email, email.partition("@")[0]} - {""}
    is_run = len(set(password)) <= 2 or any(password in run for run in RUNS)
    return is_run or password in names or (stem in COMMON | names and len(password) < len(stem) + 8)


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


# What everybody tries first, without the digits and signs that people put around it.
WORDS = """
abc abcd abcdef access account adidas admin administrator andrew angel apple asdf asdfgh asdfghjkl ashley austin
babygirl baseball batman benutzer buster changeme charlie chatapp chelsea chocolate computer cookie daniel
default dragon einfach enter fluffy football freedom fussball geheim george guest hallo hello hockey hunter
iloveyou internet jennifer jessica jordan joshua killer letmein liebe login london lovely maggie master matrix
merlin michael mustang ninja p@ssw0rd p@ssword pa$$word passw0rd password passwort pepper pokemon princess
qazwsx qazwsxedc qwert qwerty qwertyuiop qwertz qwertzuiop ranger robert root schatz secret shadow soccer sommer
starwars summer sunshine superman supersecret sysadmin temp test tester thomas tigger trustno user username
welcome whatever willkommen winter yankees zaq1xsw zaq1zaq zxcvbn zxcvbnm
"""
COMMON = frozenset(WORDS.split())
RUNS = (
    "01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm", "1q2w3e4r5t6z7u8i9o0p", "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb",
    "a1b2c3d4e5f6g7h8", "passwordpassword", "iloveyouiloveyou", "11223344556677889900", "123qweasdzxc", "qweasdzxc",
    "123123123123123", "12341234123412341234", "abcabcabcabc", "abcd1234abcd1234", "asdfasdfasdf", "qwerqwerqwer",
)  # fmt: skip
