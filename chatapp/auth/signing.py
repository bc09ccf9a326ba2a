"""Signatures of our own for what people carry around: links and the cookie of a browser that is known."""

from __future__ import annotations

import hashlib

from flask import current_app
from itsdangerous import URLSafeSerializer


def signer(salt: str) -> URLSafeSerializer:
    """Sign with the secret key; accept the ones before it too."""
    keys = [*(current_app.config["SECRET_KEY_FALLBACKS"] or ()), current_app.config["SECRET_KEY"]]
    return URLSafeSerializer(keys, salt=salt, signer_kwargs={"digest_method": hashlib.sha256})
