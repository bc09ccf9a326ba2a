"""Chemical formulas, \\ce{2H2 + O2 -> 2H2O}, in the commands that the converter to MathML knows.

Source: mhchem 4.9, manual, 2021; what models write of it.
"""

from __future__ import annotations

import re

COMMAND = re.compile(r"\\(?P<name>ce|pu)\{(?P<content>(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
ARROWS = {
    "<=>>": r"\rightleftharpoons",
    "<<=>": r"\rightleftharpoons",
    "<=>": r"\rightleftharpoons",
    "<-->": r"\rightleftarrows",
    "<->": r"\leftrightarrow",
    "->": r"\rightarrow",
    "<-": r"\leftarrow",
    "→": r"\rightarrow",
    "⇌": r"\rightleftharpoons",
}
_ARROW = "|".join(map(re.escape, ARROWS))
TOKEN = re.compile(
    rf"(?P<arrow>{_ARROW})(?:\[(?P<above>[^\]]*)\])?(?:\[(?P<below>[^\]]*)\])?"
    r"|\$(?P<formula>[^$]*)\$"
    r"|(?P<command>\\[A-Za-z]+)"
    r"|(?P<script>[_^])(?P<shifted>\{[^{}]*\}|\d*[+-]|[A-Za-z0-9]+)"
    r"|(?<=[A-Za-z)\]}])(?P<charge>[+-])(?=$|[\s)\]}])"
    r"|(?<=[A-Za-z)\]}])(?P<amount>\d+)"
    r"|(?:(?<=\s)|^)(?P<sign>[v^])(?=\s|$)"
    r"|(?P<letters>[A-Za-z]+)|(?P<bond>#)|(?P<dot>[*.](?=[\dA-Z]))|(?P<blank>\s+)"
)


def with_chemistry(latex: str) -> str:
    """Return the formula with \\ce and \\pu expanded."""
    return COMMAND.sub(_written_out, latex) if "\\ce{" in latex or "\\pu{" in latex else latex


def _written_out(found: re.Match[str]) -> str:
    if found["name"] == "pu":
        return rf"\mathrm{{{found['content'].replace(' ', '~')}}}"
    return f"{{{TOKEN.sub(_piece, found['content'].strip())}}}"


def _piece(found: re.Match[str]) -> str:
    kind = found.lastgroup
    if found["arrow"]:
        return _arrow(found)
    if kind == "shifted":
        return rf"{found['script']}{{\mathrm{{{found['shifted'].strip('{}')}}}}}"
    simple = {
        "charge": rf"^{{{found[0]}}}",
        "amount": f"_{{{found[0]}}}",
        "letters": rf"\mathrm{{{found[0]}}}",
        "sign": r"\downarrow " if found[0] == "v" else r"\uparrow ",
        "bond": r"\equiv ",
        "dot": r"\cdot ",
        "blank": " ",
        "formula": found["formula"],
    }
    return simple.get(kind or "", found[0])


def _arrow(found: re.Match[str]) -> str:
    arrow = ARROWS[found["arrow"]]
    for side, command in (("below", "underset"), ("above", "overset")):
        if found[side]:
            arrow = rf"\{command}{{{TOKEN.sub(_piece, found[side])}}}{{{arrow}}}"
    return f" {arrow} "
