"""Passwords that attackers try first: the most common ones, words of this site or the user's email, and variants.

The words are in common_passwords.txt.gz; its first lines name their sources. Source of the rule: OWASP ASVS 5.0,
6.2.4 (the 3,000 most used that are long enough) and 6.2.11 (words of the context).
"""

from __future__ import annotations

import gzip
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_suffix(".txt.gz")
# A known word with fewer extra characters than this still counts as common.
FEW_CHARS = 8
EDGES = "0123456789!?.,-_*#$@+ "
INSIDE = re.compile(r"[\s._-]+")
DISGUISE = str.maketrans("@4310$5!7", "aaeiossit")
OURS = "chatapp tally benutzer hallo fussball geheim schatz sommer liebe willkommen einfach passwort sysadmin changeme"
RUNS = (
    "01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm", "1q2w3e4r5t6z7u8i9o0p", "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb",
    "a1b2c3d4e5f6g7h8", "11223344556677889900", "123qweasdzxc", "qweasdzxc",
)  # fmt: skip


def is_common(password: str, context: Iterable[str] = ()) -> bool:
    """Return whether a password is common or a variant of one. context: texts whose words an attacker would know."""
    plain = unicodedata.normalize("NFKC", password).casefold()
    if len(set(plain)) <= 2 or any(plain in run for run in RUNS):
        return True
    known = _common() | {word for text in context for word in _words(text.casefold())}
    return any(_is_known(variant, known) for variant in _variants(plain))


def _variants(plain: str) -> Iterator[str]:
    for text in (plain, INSIDE.sub("", plain), plain[::-1]):
        yield from (text, text.translate(DISGUISE))
    if plain == plain[: len(plain) // 2] * 2 or plain == plain[: len(plain) // 3] * 3:
        yield from (plain[: len(plain) // 2], plain[: len(plain) // 3])


def _is_known(text: str, known: frozenset[str]) -> bool:
    stem = text.strip(EDGES)
    is_word = stem in known or stem.translate(DISGUISE) in known
    return text in known or (is_word and len(text) < len(stem) + FEW_CHARS)


def _words(text: str) -> set[str]:
    """Return what an attacker who knows a text would try: the whole text, its parts, and the parts joined."""
    local, _at, domain = text.partition("@")
    parts = [*re.split(r"[^\w]|_", local), *domain.split(".")[:-1]]
    return {word for word in parts if len(word) >= 4} | {text, local, re.sub(r"[\W_]", "", local)} - {""}


@cache
def _common() -> frozenset[str]:
    lines = gzip.decompress(FILE.read_bytes()).decode().splitlines()
    return frozenset(line for line in lines if not line.startswith("#")) | frozenset(OURS.split())
