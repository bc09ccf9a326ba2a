"""Encrypts stored keys with one derived from SECRET_KEY: a copy of the database alone reveals none of them."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import current_app


def seal(text: str) -> str:
    return _box().encrypt(text.encode()).decode()


def open_sealed(sealed: str) -> str | None:
    """Return the text; None if SECRET_KEY has changed since. SECRET_KEY_FALLBACKS still open it."""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken:
        return None


def _box() -> MultiFernet:
    keys = [current_app.config["SECRET_KEY"], *(current_app.config["SECRET_KEY_FALLBACKS"] or ())]
    return MultiFernet([_fernet(key) for key in keys])


def _fernet(secret_key: str) -> Fernet:
    derived = HKDF(SHA256(), length=32, salt=None, info=b"chatapp connections").derive(secret_key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
