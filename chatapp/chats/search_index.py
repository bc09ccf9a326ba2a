"""The search index: pages, each with a few texts of one user and a signature of their content.

A signature (a Bloom filter) has bits set for each n-gram of one to four characters within the page's words. If one of
a query's n-grams lacks a bit, none of the page's texts can contain the word. If all bits are set, one of them probably
does and they are read: the index rules out, the texts decide. So a page may list texts that have changed or are gone,
and pages are only ever added. The same table works in SQLite and PostgreSQL and needs no extension.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import zip_longest
from uuid import UUID
from zlib import crc32

from sqlalchemy import ColumnElement, Integer, and_, func, select

from chatapp.chats.models import SearchPage
from chatapp.kernel.breath import Breath, give_way
from chatapp.kernel.database import is_sqlite
from chatapp.kernel.extensions import db

# A pasted book must not block the event loop: only the beginning of a longer text is searched.
SEARCHED_CHARS = 100_000
# The total of a page's texts, unless it has only one.
PAGE_READ_CHARS = 50_000
# A query may consist of n-grams of up to three characters only: they set four bits and are wrong once in 300 times. A
# query has several n-grams of four characters, and together they are hardly ever wrong.
SHORT = 3
BITS_SET = {True: 4, False: 2}
BITS_KEPT = {True: 16, False: 7}
# Some of a long query's n-grams rule out as much as all of them.
TESTED_GRAMS = 12
SCANNED_PAGES = 250
STEP_CHARS = 5000
# From Knuth's MMIX: spreads numbers evenly over 64 bits, the upper ones best.
MULTIPLIER = 6364136223846793005
HEX = "0123456789ABCDEF"
# More signs fold to these than when some pages were made, so pages are not asked for them.
REFOLDED = re.compile("['\"~]")


def grams(folded: str) -> set[str]:
    """Return the n-grams of one to four characters within the words of a folded text. Yields in between."""
    found: set[str] = set()
    breath = Breath()
    for word in set(folded.split()):
        # In steps too, as a word may have 100,000 characters.
        for start in range(0, len(word), STEP_CHARS):
            part = word[start : start + STEP_CHARS + 3]
            found.update(part)
            for more in (part[1:],), (part[1:], part[2:]), (part[1:], part[2:], part[3:]):
                found.update(map("".join, zip(part, *more, strict=False)))
            breath()
    return found


def signature(found: set[str]) -> bytes:
    """Return a page's signature: about 10,000 bytes for 15,000 characters of English."""
    size = max(64, sum(BITS_KEPT[len(gram) <= SHORT] for gram in found) // 8)
    bits = bytearray(size)
    breath = Breath()
    for done, gram in enumerate(found):
        for number in _numbers(gram):
            bits[(number >> 3) % size] |= 1 << (number & 7)
        if done % 200 == 0:
            breath()
    return bytes(bits)


def _numbers(gram: str) -> list[int]:
    """Return the numbers of an n-gram's bits, 31 bits each; they do not depend on the signature's length."""
    mixed = crc32(gram.encode("utf-8", "surrogatepass"))
    numbers = []
    for _ in range(BITS_SET[len(gram) <= SHORT]):
        mixed = (mixed * MULTIPLIER + 1) & 0xFFFF_FFFF_FFFF_FFFF
        numbers.append(mixed >> 33)
    return numbers


def pages_with(user_id: UUID, last: int, terms: Iterable[str]) -> Iterator[list[UUID]]:
    """Yield the text ids of each page that may contain all the words, from page `last` down to 0, newest first."""
    tests = [_has(number) for gram in _tested(terms) for number in _numbers(gram)]
    mine = SearchPage.user_id == user_id
    for top in range(last, -1, -SCANNED_PAGES):
        window = SearchPage.number.between(top - SCANNED_PAGES + 1, top)
        found = select(SearchPage.subjects).where(mine, window, and_(*tests)).order_by(SearchPage.number.desc())
        for subjects in db.session.scalars(found).all():
            yield [UUID(bytes=subjects[at : at + 16]) for at in range(len(subjects) - 16, -1, -16)]
        give_way()


def _tested(terms: Iterable[str]) -> list[str]:
    """Return some of the words' n-grams: those of four characters, spread over each word; for short words, all."""
    of_words = [_runs(part) for term in terms for part in REFOLDED.sub(" ", term).split() or [term]]
    turns = zip_longest(*of_words)
    return list(dict.fromkeys(gram for turn in turns for gram in turn if gram))[:TESTED_GRAMS]


def _runs(term: str) -> list[str]:
    if len(term) <= SHORT:
        return [term, *term]
    starts = range(len(term) - SHORT)
    return [term[start : start + 4] for start in (*starts[::4], *starts[2::4], *starts[1::4], *starts[3::4])]


def _has(number: int) -> ColumnElement[bool]:
    """Return an SQL condition: a signature has the bit of a number. Neither database reads more than that byte."""
    at = db.literal(number >> 3, Integer) % func.length(SearchPage.signature) + 1
    byte = func.substr(SearchPage.signature, at, 1)
    bit = number & 7
    if is_sqlite():
        return func.instr(_digits(bit & 3), func.substr(func.hex(byte), 1 if bit > 3 else 2, 1)) > 0
    return func.get_byte(byte, 0).op("&")(1 << bit) > 0


@cache
def _digits(bit: int) -> str:
    """Return the hexadecimal digits that have this bit: SQLite can only read a byte as hex digits."""
    return "".join(digit for digit in HEX if int(digit, 16) >> bit & 1)
