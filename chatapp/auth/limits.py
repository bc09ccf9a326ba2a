"""Rate limits for signing in, by account and by address, and for signing up. Without the store, memory counts.

A browser that has signed in before is counted separately from strangers (tries.scope_of).
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import Any

from flask import request
from flask_login import current_user

from chatapp.auth import tries
from chatapp.kernel.config import settings
from chatapp.kernel.extensions import limiter

TRIES = "tries"


def address() -> str:
    """Return the caller's IPv4 address or IPv6 /64 network: one household has 2^64 IPv6 addresses."""
    try:
        found = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return request.remote_addr or "unknown"
    # A server that listens on :: sees IPv4 callers as ::ffff:192.0.2.1, which would all be one network.
    mapped = getattr(found, "ipv4_mapped", None) or found
    return str(mapped) if mapped.version == 4 else str(ipaddress.ip_network((mapped, 64), strict=False))


def _scope() -> str:
    return tries.scope_of(request.form.get("email", ""))


def _scope_at_address() -> str:
    return f"{_scope()}@{address()}"


def _user() -> str:
    return str(current_user.id)


def _few() -> str:
    return f"{settings().sign_ins_per_minute} per minute"


def _many() -> str:
    return f"{settings().sign_ins_per_minute * 10} per minute"


def _has_failed(response: Any) -> bool:
    return response.status_code == 401


# Few attempts are allowed for one account from one address, so an attacker elsewhere locks nobody out. One address
# trying many accounts, and many addresses trying one account, get ten times as many.
limit_tries = limiter.shared_limit(_few, scope=TRIES, key_func=_scope_at_address)
limit_addresses = limiter.limit(_many, key_func=address, deduct_when=_has_failed)
limit_accounts = limiter.limit(_many, key_func=_scope, deduct_when=_has_failed)
# Each of these costs a password hash.
limit_newcomers = limiter.shared_limit(_few, scope="newcomers", key_func=address)
limit_changes = limiter.limit(_few, key_func=_user)


def forgive() -> None:
    """Clear the attempts before a successful sign-in. If the store is down, they expire within a minute anyway."""
    for limit in limiter.current_limits:
        if TRIES in limit.request_args:
            with suppress(Exception):
                limit.limiter.clear(limit.limit, *limit.request_args)
