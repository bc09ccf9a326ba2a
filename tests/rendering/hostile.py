"""Look into HTML as a browser would, and say what should not be there.

The words of the corpus: FAULTS 6 in its description. Those that need a browser or the event stream (exec at run time,
sse, header, log, bidi) are looked at elsewhere; of exec and load what markup alone tells is looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

import html5lib

XHTML = "{http://www.w3.org/1999/xhtml}"
MATHML = "{http://www.w3.org/1998/Math/MathML}"
ADDRESSES = frozenset({"href", "src", "action", "formaction", "data", "poster", "background", "srcset", "ping"})
_LOADING = "img audio video source track embed object iframe frame link script style input svg image body"
_OURS = (
    "p br hr h3 h4 h5 h6 ul ol li blockquote pre code em strong del a table thead tbody tr th td figure figcaption "
    "button span div"
)
LOADING_TAGS = frozenset(_LOADING.split())
OUR_TAGS = frozenset(_OURS.split())
OUR_ATTRIBUTES = {"dir", "href", "rel", "target", "class", "start", "align", "tabindex", "type", "data-copy"}
OUR_CLASSES = frozenset({"code", "table", "task", "plain"} | set("ckmsftadi"))
FOREIGN_IN_MATHML = re.compile(r"on|href|style|class|id|data|action")
SAFE_ADDRESS = re.compile(r"(https?://[^/?#@\\\s]+([/?#].*)?|mailto:[^\s@?]+@[^\s@?]+)\Z")


def violations(html: str, must_not: Iterable[str]) -> list[str]:
    """Return those of must_not that are found in the HTML of one message, as it would stand in a page."""
    page = html5lib.parse(f'<!DOCTYPE html><main><article id="answer">{html}</article><p id="after">after</p></main>')
    message = next(element for element in page.iter() if element.get("id") == "answer")
    return [rule for rule in must_not if _is_broken(rule, message, page)]


def broken(message: Element, must_not: Iterable[str]) -> list[str]:
    """The same of a message that a browser has parsed, but for escape and hidden, which the page tells."""
    return [rule for rule in must_not if rule not in ("escape", "hidden") and _is_broken(rule, message, message)]


def foreign(html: str) -> list[str]:
    """Return every tag, attribute and class in the HTML that is not one of the renderer's own."""
    return foreign_elements(html5lib.parseFragment(html))


def foreign_elements(message: Element) -> list[str]:
    found = []
    for element in _elements(message):
        tag = _name(element)
        if element.tag.startswith(MATHML):
            found += [f"{tag} {name}" for name in element.attrib if FOREIGN_IN_MATHML.match(name)]
            continue
        if tag not in OUR_TAGS:
            found.append(tag)
        found += [f"{tag} {name}" for name in element.attrib if name not in OUR_ATTRIBUTES]
        found += [f".{name}" for name in element.get("class", "").split() if name not in OUR_CLASSES]
        if "href" in element.attrib and not SAFE_ADDRESS.match(element.get("href", "")):
            found.append(f"{tag} {element.get('href')}")
    return found


def visible_text(html: str) -> str:
    return "".join(html5lib.parseFragment(html).itertext())


def _is_broken(rule: str, message: Element, page: Element) -> bool:
    kind, _, what = rule.partition(":")
    elements = list(_elements(message))
    names = [name for element in elements for name in element.attrib]
    addresses = [value for element in elements for name, value in element.items() if name in ADDRESSES]
    match kind:
        case "tag":
            # The renderer's own copy button is no control of the text's.
            return any(_name(e) == what and "data-copy" not in e.attrib for e in elements if MATHML not in e.tag)
        case "attr":
            return any(what in e.attrib for e in elements if not (what == "tabindex" and _name(e) in ("pre", "div")))
        case "attr-prefix":
            return any(name.startswith(what) for name in names)
        case "class":
            return any(what in e.get("class", "").split() for e in elements)
        case "id" | "name" | "target":
            return any(e.get(kind) == what for e in elements)
        case "scheme":
            return any(re.sub(r"[\s\x00-\x20]", "", a).lower().startswith(f"{what}:") for a in addresses)
        case "href":
            wrong = {"userinfo": r"https?://[^/?#]*@", "relative": r"(?!https?://|mailto:)"}[what]
            return any(re.match(wrong, a) for a in addresses)
        case "a":
            return any(
                not {"noopener", "noreferrer"} <= set(e.get("rel", "").split()) for e in elements if _name(e) == "a"
            )
        case "load":
            return any(_name(e) in LOADING_TAGS for e in elements) or any(n in ("src", "style", "ping") for n in names)
        case "exec":
            scripts = any(_name(e) == "script" for e in elements) or any(n.startswith("on") for n in names)
            return scripts or any(re.sub(r"\s", "", a).lower().startswith("javascript:") for a in addresses)
        case "escape" | "hidden":
            main = next(e for e in page.iter() if _name(e) == "main")
            return [_name(e) for e in main] != ["article", "p"] or main[1].text != "after"
        case "text":
            return what in "".join(message.itertext())
    return False


def _elements(root: Element) -> Iterator[Element]:
    return (element for element in root.iter() if element is not root and isinstance(element.tag, str))


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
