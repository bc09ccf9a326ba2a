"""Bare addresses in scripts that put no space after them."""

from __future__ import annotations

import re
from urllib.parse import unquote

# What ends an address.
FULL_WIDTH = "\u2014\u3000-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65“”‘’…"
LETTERS = "\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
# So does a letter right after a Latin one: https://a.example/wiki/東京 is one address, https://a.bを is not.
END = re.compile(f"[{FULL_WIDTH}]|(?<=[A-Za-z0-9])[{LETTERS}]|(?<=/)[\u3040-\u309f]")
BARE_LINK = re.compile(r'<a href="([^"]*)">((?:https?://|www\.)[^<]*)</a>')
NEXT = re.compile(r"(?:https?://|www\.)(?:(?!https?://)[^\s<])+")


def end_bare_links(html: str) -> str:
    """End a bare address before a full-width character, and before a letter that is not part of it."""
    return BARE_LINK.sub(_shorter, html) if "<a href=" in html else html


def _shorter(found: re.Match[str]) -> str:
    href, shown = found[1], found[2]
    end = END.search(shown)
    # A link written in full has its own address.
    if end is None or not _plain(href).startswith(_plain(shown[: end.start()])):
        return found[0]
    return _link(shown[: end.start()]) + NEXT.sub(_next, shown[end.start() :])


def _plain(address: str) -> str:
    """Return an address as people read it: the parser percent-encodes letters beyond ASCII."""
    return unquote(address).removeprefix("http://")


def _next(found: re.Match[str]) -> str:
    end = END.search(found[0])
    kept = found[0][: end.start()] if end else found[0]
    return _link(kept) + found[0][len(kept) :]


def _link(shown: str) -> str:
    address = shown if shown.startswith("http") else f"http://{shown}"
    return f'<a href="{address}">{shown}</a>'
