"""Signs links and the cookie that identifies a known browser."""

from __future__ import annotations

import hashlib

from flask import current_app
from itsdangerous import URLSafeSerializer


def signer(salt: str) -> URLSafeSerializer:
    """Sign with the secret key; also accept its predecessors."""
    keys = [*(current_app.config["SECRET_KEY_FALLBACKS"] or ()), current_app.config["SECRET_KEY"]]
    return URLSafeSerializer(keys, salt=salt, signer_kwargs={"digest_method": hashlib.sha256})
