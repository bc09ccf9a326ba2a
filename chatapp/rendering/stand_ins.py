"""Characters that stand in for signs that the parser must not read as Markdown.

A backslash or an entity would be seen in code. These are turned back everywhere, so code stays what it is.
"""

from __future__ import annotations

import re

# Noncharacters, which no text may contain (Unicode 16, section 23.7).
SIGNS = {"\ufdd0": "<", "\ufdd1": "$", "\ufdd2": "|", "\ufdd3": "`", "\ufdd4": "~"}
FOR = {sign: stand_in for stand_in, sign in SIGNS.items()}
# Stands for nothing: what follows it doesn't start its line.
NOTHING = "\ufdd5"
STAND_IN = re.compile(f"[{''.join(SIGNS)}{NOTHING}]")
# Their form in addresses, which the parser encodes.
ENCODED = re.compile("%EF%B7%9([0-4])")
HTML = {stand_in: "&lt;" if sign == "<" else sign for stand_in, sign in SIGNS.items()} | {NOTHING: ""}


def without_stand_ins(text: str) -> str:
    """Return the text without characters that would be taken for stand-ins."""
    return STAND_IN.sub("\ufffd", text)


def turned_back(html: str) -> str:
    """Return the parser's HTML with the signs themselves."""
    if "%EF%B7%9" in html:
        html = ENCODED.sub(lambda found: list(HTML.values())[int(found[1])], html)
    return STAND_IN.sub(lambda found: HTML[found[0]], html)
