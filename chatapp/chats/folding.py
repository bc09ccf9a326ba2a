"""Folds texts and queries alike for search: lower case without marks, in every script.

Each character is folded on its own, by its compatibility decomposition (NFKD), which also removes width variants and
ligatures. Marks are removed: accents, й ё ї, Greek tonos, Hebrew points, Arabic vowels, nukta, Thai tones. Marks that
people read as letters stay: the vowel signs and viramas of Indian and Southeast Asian scripts, and kana voicing,
because か and が make different words. The rest is composed again, so that Hangul always ends up as syllables.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

# Combining classes of marks that people read as letters: kana voicing, viramas, vowels from Telugu to Tibetan.
LETTERS = {0, 8, 9, 84, 91, 103, 118, 129, 130, 132}
# Marks without a class of their own: the Thai silencers, and variation selectors.
MARKS = re.compile("[\u0e4c\u0e4e\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
# "ł" is "LATIN SMALL LETTER L WITH STROKE": Unicode does not decompose it, its name does.
WITH_MARK = re.compile(r"((?:LATIN|GREEK|CYRILLIC) (?:SMALL|CAPITAL) LETTER [A-Z ]+?) WITH ")

STEP_CHARS = 500

ALIKE = {
    "ı": "i",
    "æ": "ae",
    "œ": "oe",
    "þ": "th",
    "ð": "d",
    "ٱ": "ا",
    "ى": "ي",
    "ی": "ي",
    "ې": "ي",
    "ک": "ك",
    "ة": "ه",
    "ہ": "ه",
    "ە": "ه",
    "ھ": "ه",
    "ـ": "",
    "ך": "כ",
    "ם": "מ",
    "ן": "נ",
    "ף": "פ",
    "ץ": "צ",
    # Letters that older software writes as two: Yiddish digraphs and Malayalam chillus.
    "װ": "וו",
    "ױ": "וי",
    "ײ": "יי",
    "ൺ": "ണ്",
    "ൻ": "ന്",
    "ർ": "ര്",
    "ൽ": "ല്",
    "ൾ": "ള്",
    "ൿ": "ക്",
    "−": "-",
    "⁃": "-",
    "־": "-",
    "⁄": "/",
    **dict.fromkeys("‘’‚‛′‵ʼʻʹʾʿ´׳‹›", "'"),
    **dict.fromkeys("“”„‟″״«»", '"'),
    # Two keyboards' signs for the same "to" in Japanese: 10〜20, 10～20.
    **dict.fromkeys("〜〰∼", "~"),
}


def _is_mark(char: str) -> bool:
    category = unicodedata.category(char)
    if category in ("Mn", "Mc"):
        return unicodedata.combining(char) not in LETTERS or MARKS.match(char) is not None
    return category in ("Me", "Cf")


def _letter(char: str) -> str:
    """Fold a character that does not decompose."""
    if char in ALIKE:
        return ALIKE[char]
    if _is_mark(char):
        return ""
    category = unicodedata.category(char)
    if category == "Pd":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(char))
    name = WITH_MARK.match(unicodedata.name(char, "")) if category[0] == "L" else None
    try:
        return unicodedata.lookup(name[1]).casefold() if name else char.casefold()
    except KeyError:
        return char.casefold()


def _character(char: str) -> str:
    """Fold until nothing changes: the result of one step may decompose further."""
    if char in ALIKE:
        return ALIKE[char]
    parts = unicodedata.normalize("NFKD", char)
    # A standalone accent decomposes into a space that nobody typed, and the mark.
    parts = parts[1:] if len(parts) > 1 and parts[0] == " " and char != " " else parts
    folded = "".join(map(_letter, parts))
    return folded if folded == char else "".join(map(_character, folded))


class _Folds(dict[int, str]):
    """Character → its folded form, filled on demand."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _character(chr(code))
        return folded


FOLDS = _Folds()


def fold(text: str) -> str:
    """Return the folded text. It may be shorter or longer than the original; folding it again changes nothing."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).translate(FOLDS))


def fold_with_places(text: str) -> tuple[str, list[int]]:
    """Return the folded text and the position in the original of each of its characters, then the original's length.

    folded[start:end] comes from text[places[start]:places[end]], including the marks that follow.
    """
    pieces = _pieces(text)
    begins = [0, *accumulate(map(len, pieces))]
    folded = [fold(piece) for piece in pieces]
    places = [begin for begin, part in zip(begins, folded, strict=False) for _ in part]
    return "".join(folded), [*places, len(text)]


def _pieces(text: str) -> list[str]:
    """Split a text before each character that folds independently, so that the folded pieces join to its fold."""
    pieces: list[str] = []
    for char in text:
        if pieces and _joins(pieces[-1], char):
            pieces[-1] += char
        else:
            pieces.append(char)
    return pieces


def _joins(piece: str, char: str) -> bool:
    """Return whether a character belongs to the piece before it: a mark, the rest of a syllable, kana voicing."""
    if unicodedata.combining(char):
        return True
    alone = fold(char)
    return not alone or fold(piece + char) != fold(piece) + alone


def place_of(text: str, at: int) -> int:
    """Return the position in a text of the character at this position of its fold. Reads no further than that."""
    start = 0
    while True:
        end = min(start + STEP_CHARS, len(text))
        while end < len(text) and _joins(text[end - 1], text[end]):
            end += 1
        length = len(fold(text[start:end]))
        if at < length or end == len(text):
            _folded, places = fold_with_places(text[start:end])
            return start + places[min(at, len(places) - 1)]
        start, at = end, at - length
