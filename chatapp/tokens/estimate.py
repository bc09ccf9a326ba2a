"""Estimate tokens without a model file: the documented seed formula and a calibrated one.

`seed` is the product's documented formula, kept to the letter. `calibrated`
is a sum of counts times weights: every character is mapped to a class letter
(`_BLOCKS`), patterns of class letters are counted, and `WEIGHTS` says what one
of each costs. All integers, linear in the text, no state, no model file.

`bench/fit_estimator.py` fitted the weights to counts of the Gemma 3 vocabulary,
which equal the API's on 121 of 124 recorded answers of Gemini 2.5 and 3.
`bench/tokens.py` prints how good they are.
"""

import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from math import ceil

# JavaScript's \w is ASCII only; its \s is this set (ECMA-262, WhiteSpace and LineTerminator).
_SEED_PLAIN = re.compile("[A-Za-z0-9_\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]+")


def seed(text: str, *, chars_per_token: float = 4, special_factor: float = 0.02, buffer: float = 1.03) -> int:
    """Return the seed's estimate, as its JavaScript computes it.

    Lengths and special characters are counted in UTF-16 code units, so an
    emoji outside the basic plane is two of each. Quadratic in the text, since
    the factor multiplies by a count: DESIGN.md, "Estimators".
    """
    specials = _SEED_PLAIN.sub("", text)
    base_tokens = ceil(_utf16_units(text) / chars_per_token)
    special_char_factor = 1 + _utf16_units(specials) * special_factor
    return ceil(base_tokens * special_char_factor * buffer)


# What a message costs besides its text: its role and delimiters.
MESSAGE_TOKENS = 8


def calibrated(text: str) -> int:
    """Return an estimate that is about 3 % above the true tokens in aggregate.

    0 for the empty text; never above the UTF-8 length, which no tokenizer
    exceeds, since an unknown character falls back to its bytes. Never raises.
    """
    thousandths = sum(WEIGHTS[name] * count for name, count in features(text).items())
    return min(max(1, -(-thousandths // 1000)), len(text.encode("utf-8", "replace")))


def features(text: str) -> dict[str, int]:
    """Return name → count for everything in `WEIGHTS`; what does not occur may be absent."""
    collapsed = _REPEATED.sub(r"\1", _SPACES.sub("  ", text))
    marks = collapsed.translate(_CLASSES).encode()
    counts = {letter: marks.count(letter.encode()) for letter in map(chr, set(marks)) if letter in WEIGHTS}
    marks = marks.translate(_FOLDED).replace(b"Aa", b"oa")
    present = set(marks)
    for name, pattern in _PATTERNS:
        if pattern[-1] in present:
            counts[name] = marks.count(pattern)
    for name, only in _RUNS:
        if ord(name[0]) in present:
            counts[name] = len(marks.translate(only).split())
    counts["</a>"] = len(_CLOSING_TAG.findall(collapsed))
    # A negative weight counts at most once for each feature it corrects; otherwise a text made of it would be free.
    counts["v"] = min(counts.get("v", 0), counts.get("a+", 0))
    counts["surprise"], counts["gibberish"] = _surprise(collapsed)
    # At least a fifth of real Han text is common characters. Without them, most are not in the vocabulary.
    counts["rare Han"] = max(0, counts.get("h", 0) - 9 * counts.get("j", 0) - 10)
    return counts


def _surprise(text: str) -> tuple[int, int]:
    """Return the sum over all letter pairs, and the part of it that no real text reaches."""
    numbers = text.encode("ascii", "replace").translate(_NUMBERS)
    surprise = _sum_pairs(numbers) + _sum_pairs(numbers[1:])
    letters = len(numbers) - numbers.count(0)
    return surprise, max(0, surprise - letters)


def _sum_pairs(numbers: bytes) -> int:
    """Sum over the pairs that start at an even position; two bytes are read as one 16-bit integer."""
    return sum(map(_PAIRS.__getitem__, memoryview(numbers[: len(numbers) & ~1]).cast("H")))


def _utf16_units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


# Thousandths of a token. A name made of class letters is counted as it stands, without overlaps; a letter with a +
# counts its runs. For patterns and runs, Latin letters with diacritics are a, all Han is h, and a capital that opens a
# word is o. What hardly occurs in the data has its weight set by hand, and is marked so.
WEIGHTS = {
    "a+": 953,  # a word: a run of lower-case letters
    "aaaaaaaaa": 83,  # more for long words
    "aaaaaaaaaaaaa": 765,
    "aaaaaaaaaaaaaaaaaaaaaaaaaa": 4000,  # by hand: text without spaces
    "surprise": 48,  # rare pairs of letters, see _SURPRISE
    "gibberish": 43,  # the surprise above one a letter, which real text does not reach
    "A+": 1004,  # capitals that do not open a word
    "A": 6,  # each capital, wherever it stands
    "AAAAAAAAA": 2197,  # keys and shouting
    ".+": 927,  # ASCII punctuation
    ".": 101,
    "....": 514,  # code
    "........": 3000,  # by hand: random punctuation
    ".a": 90,  # a word right after punctuation
    ".o": 168,
    "</a>": -1233,  # closing HTML tags, many of which are one token
    "0": 1049,  # every digit is a token
    " 0": 1079,  # and so is a space before one
    "r": 1667,  # every carriage return is a token
    "n+": 1042,  # line ends
    "n": 36,
    "t+": 623,  # tabs
    "t": 36,
    "  ": 807,  # two or more spaces
    "x": 1000,  # by hand: control characters
    "e": 892,  # Latin letters with diacritics, on top of their word
    "l": 993,
    "v": -822,  # Vietnamese: a syllable is mostly one token
    "z": 1000,  # by hand: combining marks, Armenian
    "C+": 1963,  # Cyrillic
    " C": -1541,  # the same after a space
    "C": 164,
    "G": 445,  # Greek
    "H+": 452,  # Hebrew
    "H": 438,
    "R": 373,  # Arabic
    "D+": 21,  # Devanagari
    "D": 315,
    "B+": 329,  # Bengali, Tamil
    "B": 211,
    "I+": 628,  # other Indic scripts
    "I": 286,
    "T": 318,  # Thai
    "L+": 3586,  # Lao
    "L": 246,
    "M": 417,  # Burmese, Khmer
    "h+": 274,  # Han
    "h": 669,
    "j": 498,  # common Han
    "rare Han": 1600,  # by hand: on top, in a text without common ones
    "k": 363,  # kana
    "c": 1104,  # CJK punctuation, full-width forms
    "g+": 1353,  # Hangul
    " g": -743,  # the same after a space
    "g": 410,
    "2": 1068,  # typographic punctuation, arrows, mathematics
    "b": 822,  # box drawing
    "d": 1877,  # dingbats
    "E": 1102,  # emoji
    " E": 970,  # a space beside one
    "E ": 239,
    "V": 152,  # variation selector
    "m": 1500,  # by hand: mathematical letters
    "?": 545,  # other characters without a class
    "O": 2400,  # by hand: scripts that fall back to bytes
    "4": 3000,  # by hand: rare planes
}


# First code point, class letter. Each block reaches to the next one's first code point.
_BLOCKS = (
    (0x00, "x"),  # control characters
    (0x09, "t"),
    (0x0A, "n"),
    (0x0B, "x"),
    (0x0D, "r"),
    (0x0E, "x"),
    (0x20, " "),
    (0x21, "."),  # ASCII punctuation
    (0x30, "0"),
    (0x3A, "."),
    (0x41, "A"),
    (0x5B, "."),
    (0x61, "a"),
    (0x7B, "."),
    (0x7F, "x"),
    (0xA0, "?"),  # any character without a class of its own
    (0xC0, "e"),  # Latin letters with a common diacritic
    (0x100, "l"),  # Latin letters with a rarer one
    (0x250, "?"),
    (0x300, "z"),  # combining marks
    (0x370, "G"),  # Greek
    (0x400, "C"),  # Cyrillic
    (0x530, "z"),  # Armenian
    (0x590, "H"),  # Hebrew
    (0x600, "R"),  # Arabic
    (0x700, "O"),  # a script the vocabulary hardly knows: its letters fall back to bytes
    (0x900, "D"),  # Devanagari
    (0x980, "B"),  # Bengali
    (0xA00, "I"),  # Indic scripts but Devanagari, Bengali and Tamil
    (0xB80, "B"),  # Tamil
    (0xC00, "I"),
    (0xE00, "T"),  # Thai
    (0xE80, "L"),  # Lao
    (0xF00, "O"),
    (0x1000, "M"),  # Burmese
    (0x10A0, "O"),
    (0x1100, "O"),
    (0x1780, "M"),  # Khmer
    (0x1800, "O"),
    (0x1E00, "v"),  # Vietnamese letters
    (0x1F00, "O"),
    (0x2000, "2"),  # typographic punctuation, arrows, mathematics
    (0x2500, "b"),  # box drawing, blocks, geometric shapes
    (0x2600, "d"),  # miscellaneous symbols, dingbats
    (0x27C0, "2"),
    (0x3000, "c"),  # CJK punctuation
    (0x3040, "k"),  # kana
    (0x3100, "c"),
    (0x3400, "O"),
    (0x4E00, "h"),  # Han
    (0xA000, "O"),
    (0xAC00, "g"),  # Hangul syllables
    (0xD7B0, "?"),
    (0xE000, "O"),
    (0xF900, "O"),
    (0xFB00, "?"),
    (0xFE0F, "V"),  # the variation selector of emoji
    (0xFE10, "?"),
    (0xFF00, "c"),  # full-width forms
    (0xFFA0, "?"),
    (0x10000, "4"),  # rare planes: up to four bytes each
    (0x1D400, "m"),  # mathematical letters
    (0x1D800, "4"),
    (0x1F000, "E"),  # emoji
    (0x1FB00, "4"),
    (0x110000, ""),
)
# Frequent characters of Chinese (both scripts) and Japanese prose.
_COMMON_HAN = (
    "的用一模以要型使合可中我示本在数成下提能有例是人定生行们理計个大応最通対場分和如方法確地作性文学化反度加重了子解道間果入力出不何目個你少情問助多者它答都"
    "这関話供相素考自們体高必動立新所同含時回設熱全指画前上質気正物明来集列実変値年特工言其持表具置会得器量算率手常感他件建到将見知包于对取進映発圏更再基現程为接点"
    "報任次状部日認結代语共向教為看面私意況因进些您題管标低整主与機依始过训练查這求先技"
    "这来国到说为么里后会过对着没还开只起发见经头动两长从时个们样问现点学实无电产业东车书话给让间关应当被想心事天家小好那就也而之她他已三十同二把"
)

# How surprising a letter is after another: -log2 of its share, less 3, from 0 to 6. Row: the first letter; column: the
# second, a to z. Gibberish, keys and rarer languages have rare pairs, and cost more tokens than their length says.
_SURPRISE = (
    "31116326163010616000324425",  # a
    "03440546036045045024056506",  # b
    "06250660161166046120166646",  # c
    "04520446055345056214146636",  # d
    "14112235365010423000523146",  # e
    "05560056062154066012164636",  # f
    "15460311066132036012166645",  # g
    "06450666066444056240165636",  # h
    "23011126664110025200626462",  # i
    "04420443243343023303033444",  # j
    "03530423065252125402254545",  # k
    "05410346065045046612136616",  # l
    "01440646066225006624266636",  # m
    "16100204163352136500236636",  # n
    "33115126352100216021022556",  # o
    "06630652166045016000166416",  # p
    "14444544444144354334043444",  # q
    "05220336062322056211235616",  # r
    "16150351063345014300063636",  # s
    "05360560066446026011164626",  # t
    "11120426165000516000646555",  # u
    "05660654066566156446466656",  # v
    "05640550065441046214562566",  # w
    "04140344044334304530344435",  # x
    "13321545256121006400454553",  # y
    "04330443033234144443042321",  # z
)


def _class_table() -> str:
    """Return the string whose item at a code point is the character's class letter."""
    table = bytearray()
    for (first, letter), (after, _) in pairwise(_BLOCKS):
        table += letter.encode() * (after - first)
    for character in _COMMON_HAN:
        table[ord(character)] = ord("j")
    return table.decode()


def _pair_table(rows: Sequence[str]) -> bytes:
    """Return the surprise at each pair of letter numbers, read as one 16-bit integer."""
    table = bytearray(27 << 8)
    for first, row in enumerate(rows, 1):
        for second, digit in enumerate(row, 1):
            table[int.from_bytes((first, second), sys.byteorder)] = int(digit)
    return bytes(table)


_CLASSES = _class_table()
_FOLDED = bytes.maketrans(b"elvj", b"aaah")
_NUMBERS = bytes((byte | 32) - 96 if chr(byte).isalpha() and byte < 128 else 0 for byte in range(256))
_PAIRS = _pair_table(_SURPRISE)
# A run of up to 31 spaces is one token, and so, roughly, is one of a character that rules are drawn with.
_REPEATED = re.compile("([-=*#_.~`\u2500-\u259f])\\1{1,31}")
_SPACES = re.compile(" {3,31}")
_CLOSING_TAG = re.compile("</[a-z]+>")
_MEASURED = ("</a>", "surprise", "gibberish", "rare Han")
_RUNS = [
    (name, bytes(byte if byte == ord(name[0]) else 32 for byte in range(256))) for name in WEIGHTS if name.endswith("+")
]
_PATTERNS = [
    (name, name.encode()) for name in WEIGHTS if len(name) > 1 and not name.endswith("+") and name not in _MEASURED
]


def prompt_bound(text_tokens: int, messages: int) -> int:
    """Return an upper bound for a prompt's tokens: estimates may be 10 % low, and each message has delimiters."""
    return -(-text_tokens * 11 // 10) + MESSAGE_TOKENS * messages
