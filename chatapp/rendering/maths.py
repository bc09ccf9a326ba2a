"""Converts LaTeX to MathML that is safe in a page.

The converter escapes nothing and has commands that write links, classes and styles, so its text output is never used:
its element tree is walked, and only the names below are written out again.
"""

from __future__ import annotations

import re
from html import escape, unescape
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

from chatapp.rendering.chemistry import with_chemistry

LONGEST_FORMULA_CHARS = 2_000
DEEPEST_FORMULA = 60

# Macros could refer to each other and grow without bound.
MACRO = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|def|[egx]def|let|(?:re)?newenvironment|Declare[A-Za-z]*)(?![A-Za-z])"
)
# The converter knows one of the environments that set equations in rows.
_ROWS = r"(?:aligned|gather|gathered|multline|split|flalign|eqnarray)\*?"
ROWS = re.compile(
    rf"(?<=\\begin)\{{(?:{_ROWS}|align(?:at\*?|edat)\}}\s?\{{\d{{1,2}})\}}"
    rf"|(?<=\\end)\{{(?:{_ROWS}|align(?:at\*?|edat))\}}"
)
# The space below a row, which the converter would print.
GAP = re.compile(r"(\\\\)\*?\s{0,9}\[\s{0,9}-?[\d.]{1,9}\s{0,9}(?:pt|em|ex|mm|cm|in|mu|pc|sp)\s{0,9}\]")
RELATION_BETWEEN_SIGNS = re.compile(r"&\s{0,9}(=|<|>|\\[a-z]{2,9})\s{0,9}&")
ESCAPED = re.compile(r"\\([%$&#_{}])")
# Operators that the converter treats as identifiers, without spacing or stretching.
OPERATORS = frozenset("±∓⟨⟩⌊⌋⌈⌉⟂∥")
UNKNOWN_COMMAND = re.compile(r"\\[A-Za-z]")

_NAMES = (
    "mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle mpadded mphantom menclose msub msup msubsup munder mover "
    "munderover mmultiscripts mprescripts none mtable mtr mtd"
)
ELEMENTS = frozenset(_NAMES.split())
# The converter accepts a missing argument; a browser shows such an element as an error.
CHILDREN = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "munder": 2, "mover": 2, "msubsup": 3, "munderover": 3}
_FLAG = "true|false"
# Less than ten units, or one backwards: nothing leaves its message.
_LENGTH = r"(?:\d(?:\.\d+)?|-?0?\.\d+)(?:em|ex|pt|px|mu)?|-?0"
_WORDS = "[a-z -]{1,200}"
ATTRIBUTES = {
    name: re.compile(rf"(?:{pattern})\Z")
    for pattern, names in {
        _FLAG: "displaystyle stretchy fence separator symmetric largeop movablelimits accent accentunder",
        _LENGTH: "width height depth lspace rspace minsize maxsize linethickness mathsize",
        rf"(?:{_LENGTH})(?: (?:{_LENGTH})){{0,40}}": "rowspacing columnspacing",
        _WORDS: "mathvariant columnalign rowalign columnlines rowlines notation form",
        r"[A-Za-z]{1,20}|\#[0-9A-Fa-f]{3,6}": "mathcolor",
        r"[+-]?\d": "scriptlevel",
    }.items()
    for name in names.split()
}


def to_mathml(latex: str, *, is_block: bool) -> str | None:
    """Return the formula as one <math> element; None if it is too long, not understood or not allowed.

    Source: MathML Core, W3C, 2025; latex2mathml 3.81.
    """
    if len(latex) > LONGEST_FORMULA_CHARS or not latex.strip() or MACRO.search(latex):
        return None
    try:
        latex = GAP.sub(r"\1", with_chemistry(latex.strip()))
        if "{eqnarray" in latex:
            latex = RELATION_BETWEEN_SIGNS.sub(r"&\1", latex)
        latex = ROWS.sub("{align*}", latex)
        root = convert_to_element(latex, display="block" if is_block else "inline")
        display = ' display="block"' if is_block else ""
        return f'<math dir="ltr"{display}>{"".join(_write(child, 1) for child in root)}</math>'
    except Exception:
        # Bad input raises every kind of error, including IndexError and RecursionError.
        return None


def _write(element: Element, depth: int) -> str:
    is_whole = len(element) == CHILDREN.get(element.tag, len(element))
    if element.tag not in ELEMENTS or not is_whole or depth > DEEPEST_FORMULA:
        raise ValueError(element.tag)
    attributes = "".join(
        f' {name}="{value}"' for name, value in element.items() if name in ATTRIBUTES and ATTRIBUTES[name].match(value)
    )
    text = unescape(element.text or "")
    if element.tag == "mtext":
        text = ESCAPED.sub(r"\1", text)
    if UNKNOWN_COMMAND.match(text):
        raise ValueError(text)
    children = "".join(_write(child, depth + 1) for child in element)
    tag = "mo" if element.tag == "mi" and text in OPERATORS else element.tag
    return f"<{tag}{attributes}>{escape(text)}{children}</{tag}>"
