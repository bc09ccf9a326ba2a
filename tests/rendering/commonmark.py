"""The examples of the CommonMark specification, and how what they say is compared with what the product says.

`make setup-dev` fetches the specification (hatch_build.py); its licence keeps it out of this repository.
"""

from __future__ import annotations

import re
from html import escape
from typing import NamedTuple
from xml.etree.ElementTree import Element

import html5lib

from chatapp.rendering.markdown import SAFE_HREF
from tests.servers import ROOT

SPECIFICATION = ROOT / ".cache/commonmark-spec/spec.txt"
EXAMPLE = re.compile(r"^`{32} example\n(.*?)^\.\n(.*?)^`{32}$", re.MULTILINE | re.DOTALL)
# The examples' links lead to pages beside them, which a message has not. In capitals: where such an address stands
# bare, it is no link to compare, since in the specification it is none.
BESIDE = re.compile(r"/(?=(?:ur[li]\d?|path|bar|foo-url|bar-url|baz-url)\b)")
HEADING = re.compile(r"(</?h)([1-6])")
SITE = "HTTPS://a.example/"
BLOCK_EDGE = re.compile(r"\n*(</?(?:p|h\d|ul|ol|li|blockquote|pre|hr)\b[^>]*>)\n*")


class Example(NamedTuple):
    number: int
    text: str
    html: str


def read() -> list[Example]:
    """Return the examples in their order, headings two levels lower; empty where the specification was not fetched."""
    if not SPECIFICATION.exists():
        return []
    found = EXAMPLE.findall(BESIDE.sub(SITE, SPECIFICATION.read_text("utf-8").replace("→", "\t")))
    return [Example(number, text, HEADING.sub(_lower, html)) for number, (text, html) in enumerate(found, 1)]


def _lower(heading: re.Match[str]) -> str:
    return f"{heading[1]}{min(int(heading[2]) + 2, 6)}"


def compared(html: str) -> str:
    """Return HTML of the specification or of the product in one form: equal where they say the same.

    Left out is what the product adds and leaves out on purpose: the frame of code, directions, titles, links that lead
    nowhere. A line's end is one however it is written, and an image is a link.
    """
    text = _written(html5lib.parseFragment(html, namespaceHTMLElements=False), is_linked=False)
    return BLOCK_EDGE.sub(r"\1", re.sub(r"\n+", "\n", text)).strip("\n").replace("⏎", "\n")


def _written(element: Element, is_linked: bool) -> str:
    inside = escape(element.text or "", quote=False)
    for child in element:
        if isinstance(child.tag, str):
            inside += _element(child, is_linked)
        inside += escape(child.tail or "", quote=False)
    return inside


def _element(element: Element, is_linked: bool) -> str:
    tag = str(element.tag)
    match tag:
        case "br":
            return "\n"
        case "img":
            alt, source = element.get("alt", ""), element.get("src", "")
            return escape(alt) if is_linked else _link(source, escape(alt or source, quote=False))
        case "a":
            return _link(element.get("href", ""), _written(element, True))
        case "span":
            return _written(element, is_linked)
        case "pre":
            return _code("".join(element.itertext()), element[0].get("class", "") if len(element) else "")
        case "figure":
            return _code("".join(element[1].itertext()), "".join(element[0][0].itertext()).removesuffix("text"))
    start = f' start="{element.get("start")}"' if element.get("start") else ""
    others = " ".join(sorted(set(element.keys()) - {"start", "dir"}))
    return f"<{tag}{start}{others}>{_written(element, is_linked)}</{tag}>"


def _link(address: str, inside: str) -> str:
    is_bare = address.startswith(SITE) and inside == address
    return f"<a {escape(address)}>{inside}</a>" if SAFE_HREF.match(address) and not is_bare else inside


def _code(source: str, language: str) -> str:
    return f"<pre {language.removeprefix('language-')}>{escape(source, quote=False)}</pre>".replace("\n", "⏎")
