"""Markdown to safe HTML, one top-level block at a time.

comrak turns the text into HTML in which the text's own tags are escaped; that HTML is cut into its top-level blocks;
nh3 keeps of each block what is on the list; only then are our own elements put in (figures, table wrappers, MathML).
A block's HTML depends on nothing but the block, so it can be cached, and sent once while an answer streams.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from html import escape, unescape
from typing import NamedTuple

import comrak
import nh3
from markupsafe import Markup

from chatapp.kernel.breath import give_way
from chatapp.kernel.text import clean_model_text
from chatapp.rendering import dialect
from chatapp.rendering.addresses import end_bare_links
from chatapp.rendering.code import colour
from chatapp.rendering.direction import direction
from chatapp.rendering.dollars import is_formula
from chatapp.rendering.maths import to_mathml
from chatapp.rendering.stand_ins import turned_back
from chatapp.rendering.tail import FENCE

LONGEST_MARKDOWN_CHARS = 200_000
# The sanitiser is quadratic in depth (12 s at 40,000 levels), the parser in table columns and in formulas that are
# opened but not closed (7 s at 100,000).
DEEPEST_HTML = 100
MOST_FORMULAS = 2_000
# Bare mail addresses: 9,500 in a row took 230 ms in one uninterruptible call.
MOST_ADDRESSES = 2_000
TOO_WIDE_TABLE = re.compile(r"^[ \t>]*+\|?+(?:[ \t]*+:?-++:?[ \t]*+\|){300}", re.MULTILINE)
# How much HTML of one message gets colours and formulas; the rest stays as written.
RICH_HTML_CHARS = 100_000
RICH_CPU_SECONDS = 0.8
LONGEST_MATHS_CHARS = 10_000
# Yield to other greenlets after this much work.
BREATH_HTML_CHARS = 8_000
BREATH_TAGS = 500


class TooStrange(ValueError):
    """Rendering the text would cost too much, so it is shown as written."""


class Block(NamedTuple):
    """One top-level block: the parser's HTML, and its first and last line in the source (0, 0: not known)."""

    html: str
    first_line: int
    last_line: int


def render(text: str, copy_label: str = "Copy") -> Markup:
    """Return Markdown from a user or a model as HTML that is safe in a page; never raises.

    GFM tables, strikethrough, task lists and bare links; LaTeX between $, $$, \\( \\) and \\[ \\]. Raw HTML is shown as
    text, an image as a link to it, a link that is not absolute http, https or mailto as its text. Headings begin at h3.
    What is too long or too deeply nested comes back as one <pre>. May let other greenlets run.
    """
    text = clean_model_text(text)
    try:
        html = MESSAGES.get((text, copy_label), lambda: present_all(parse(text), copy_label, Allowance()))
    except Exception:
        html = preformatted(text)
    return Markup(html)  # noqa: S704


def preformatted(text: str) -> str:
    """Return the text as written, for when it can't be rendered."""
    # A parser drops the first line end inside <pre>.
    return f'<pre class="plain" tabindex="0">\n{escape(clean_model_text(text), quote=False)}</pre>\n' if text else ""


# --- text to blocks --------------------------------------------------------------------------------------------------

EXTENSIONS = comrak.ExtensionOptions()
for _name in (
    "table",
    "strikethrough",
    "subscript",
    "tasklist",
    "autolink",
    "math_dollars",
    "math_latex",
    "cjk_friendly_emphasis",
):
    setattr(EXTENSIONS, _name, True)
OPTIONS = comrak.RenderOptions()
OPTIONS.escape = True
OPTIONS.sourcepos = True
# Models mean their line ends: addresses, verses, keys with values.
OPTIONS.hardbreaks = True
OPTIONS.escaped_char_spans = True
READING = comrak.ParseOptions()
# An address between brackets is one.
READING.relaxed_autolinks = True

# comrak escapes every < and > in the text, so whatever looks like a tag is one.
TAG = re.compile(r"<(/?)[a-z][a-z0-9]*[^<>]*?(/?)>")
POSITION = re.compile(r' data-sourcepos="(\d+):\d+-(\d+):\d+"')
# H~2~O is a subscript; one ~ means "about" or "to" in everything longer, and strikes nothing through.
SUBSCRIPT = re.compile(r"<sub[^>]*>(?P<short>[0-9A-Za-z+-]{1,6}</sub>)?|</sub>")
# What a backslash stands before is a sign like any other, but it must not make a line's end or a note (PIECE) either.
ESCAPED = re.compile(
    r"<span data-escaped-char[^>]*>(?P<sign>[^<]*)</span>(?P<would_be>(?=(?i:br) ?/?(?:&gt;|<span)|\^))?"
)
NOTE = re.compile(r"[ >]{0,3}\[\^[^\s\[\]]+\]:")


def parse(text: str, *, is_whole: bool = True) -> list[Block]:
    """Return the text's top-level blocks. is_whole: it no longer grows. Raises TooStrange."""
    formulas = text.count("\\[") + text.count("\\(")
    if len(text) > LONGEST_MARKDOWN_CHARS or formulas > MOST_FORMULAS or text.count("@") > MOST_ADDRESSES:
        raise TooStrange
    if TOO_WIDE_TABLE.search(text) or dialect.keeps_the_parser(text):
        raise TooStrange
    text = dialect.put_right(text, is_whole=is_whole)
    return _split(_comrak(_with_notes(text) if "\n[^" in f"\n{text}" else text))


def _with_notes(text: str) -> str:
    """Return the text with its footnotes as paragraphs: the parser would read them as link definitions.

    Its own footnotes make what a block looks like depend on others, which may come later.
    """
    lines, fence = text.split("\n"), ""
    for number, line in enumerate(lines):
        if found := FENCE.match(line):
            fence = "" if fence and found[1].startswith(fence) else fence or found[1]
        elif not fence and NOTE.match(line):
            lines[number] = line.replace("[", "&#91;", 1)
    return "\n".join(lines)


def _comrak(text: str) -> str:
    try:
        html = comrak.render_markdown(text, EXTENSIONS, READING, OPTIONS)
        html = ESCAPED.sub(_escaped, html)
        return turned_back(SUBSCRIPT.sub(lambda found: found[0] if found["short"] else "~", html))
    except Exception:
        raise
    except BaseException as error:
        # A Rust panic arrives as a BaseException. So does a greenlet's exit, which must pass.
        if type(error).__name__ == "PanicException":
            raise TooStrange from error
        raise


def _escaped(found: re.Match[str]) -> str:
    return found["sign"] if found["would_be"] is None else f"<span>{found['sign']}</span>"


def _split(html: str) -> list[Block]:
    blocks: list[Block] = []
    depth = start = 0
    for count, tag in enumerate(TAG.finditer(html), 1):
        if count % BREATH_TAGS == 0:
            give_way()
        closes, is_void = tag.groups()
        if depth == 0 and html[start : tag.start()].strip():
            # A raw HTML block is escaped text in the output, without an element around it.
            blocks.append(_block(html[start : tag.start()]))
            start = tag.start()
        if not is_void:
            depth += -1 if closes else 1
        if depth > DEEPEST_HTML:
            raise TooStrange
        if depth == 0:
            blocks.append(_block(html[start : tag.end()]))
            start = tag.end()
    if html[start:].strip():
        blocks.append(_block(html[start:]))
    return blocks


def _block(html: str) -> Block:
    html = html.strip("\n")
    found = POSITION.search(html[: html.find(">") + 1]) if html.startswith("<") else None
    first, last = (int(found[1]), int(found[2])) if found else (0, 0)
    return Block(POSITION.sub("", html), first, last)


FIRST_CELL_CHARS = 500

# --- blocks to safe HTML ---------------------------------------------------------------------------------------------

IMAGE = re.compile(r'<img src="([^"]*)" alt="([^"]*)"(?: title="[^"]*")? />')
LINK = re.compile(r"<a [^>]*>.*?</a>", re.DOTALL)
CHECKBOX = re.compile(r'<input type="checkbox"( checked="")? disabled="" />')

TAGS = "p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong del a table thead tbody tr th td span sub"
SAFE_HREF = re.compile(r"(?:https?://[^\s/?#@\\]+(?:[/?#]\S*)?|mailto:[^\s@?]+@[^\s@?]+)\Z", re.IGNORECASE)
SAFE_CODE_CLASS = re.compile(r"language-\S{1,40}\Z")
LINK_ATTRIBUTES = 'target="_blank" rel="noopener noreferrer nofollow"'


def _allow(tag: str, name: str, value: str) -> str | None:
    if name == "href":
        return value if SAFE_HREF.match(value) else None
    if tag == "code" and name == "class":
        return value if SAFE_CODE_CLASS.match(value) else None
    return value


SANITISER = nh3.Cleaner(
    tags=set(TAGS.split()),
    # Without "*", the sanitiser would allow title and lang everywhere.
    attributes={"*": set(), "a": {"href"}, "ol": {"start"}, "code": {"class"}},
    tag_attribute_values={
        "th": {"align": {"left", "center", "right"}},
        "td": {"align": {"left", "center", "right"}},
        "span": {"data-math-style": {"inline", "display"}},
    },
    allowed_classes={"span": {"task"}},
    attribute_filter=_allow,
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    # Attributes that the sanitiser adds come in random order; we add ours below.
    link_rel=None,
)

DEAD_LINK = re.compile(r"<a>(.*?)</a>", re.DOTALL)
WITH_DIRECTION = re.compile(r"<(?:p|h[1-6]|li|th|td)\b")
# What our own elements replace, in one pass, so that nothing inserted is read again. A footnote has a number: [^aeiou]
# is more likely a regular expression.
PIECE = re.compile(
    r'<pre><code(?: class="language-(?P<language>[^"]*)")?>(?P<code>[^<]*)</code></pre>'
    r'|<span data-math-style="(?P<style>inline|display)">(?P<latex>[^<]*)</span>(?P<closing>[.,:;!?)\]]*)'
    r"|(?P<inline_code><code>[^<]*</code>)"
    r"|(?P<line_break>&lt;(?i:br) ?/?&gt;(?:<br>)?)"
    r"|<(?P<heading>/?h)(?P<level>[1-6])"
    r"|(?P<table></?table)>"
    r'|<a (?P<link>(?:[^">]|"[^"]*")*>)'
    r'|(?P<place><p(?: dir="auto")?>|\n)?\[\^(?P<note>[0-9]{1,3})\](?P<says>: ?)?'
)


def present(html: str, copy_label: str, *, has_colours: bool, has_maths: bool) -> str:
    """Return one block of the parser's HTML as it appears in the page, with a line end."""
    html = SANITISER.clean(CHECKBOX.sub(_task_mark, end_bare_links(_images_as_links(html))))
    html = DEAD_LINK.sub(r"\1", html)
    if not html.startswith("<"):
        html = "<p>" + html.replace("\n", "<br>\n") + "</p>"
    # Each element finds its own first letter; a table's columns take the direction of its first cell.
    html = WITH_DIRECTION.sub(r'\g<0> dir="auto"', html)
    return PIECE.sub(_Pieces(copy_label, has_colours, has_maths), html) + "\n"


def _images_as_links(html: str) -> str:
    """Replace images: loading one would tell its server that the answer was read, and leak what its URL carries."""
    if "<img" not in html:
        return html
    html = LINK.sub(lambda link: IMAGE.sub(r"\2", link[0]), html)
    return IMAGE.sub(lambda image: f'<a href="{image[1]}">{image[2] or image[1]}</a>', html)


def _task_mark(box: re.Match[str]) -> str:
    return f'<span class="task">{"☑" if box[1] else "☐"}</span>'


class _Pieces:
    """Replace one PIECE after another within a block."""

    def __init__(self, copy_label: str, has_colours: bool, has_maths: bool) -> None:
        self.copy_label = copy_label
        self.has_colours = has_colours
        self.maths_left_chars = LONGEST_MATHS_CHARS if has_maths else 0
        self.count = 0

    def __call__(self, piece: re.Match[str]) -> str:
        self.count += 1
        if self.count % BREATH_TAGS == 0:
            give_way()
        if piece["code"] is not None:
            return self._code(unescape(piece["code"]), unescape(piece["language"] or ""))
        if piece["latex"] is not None:
            if piece["style"] == "inline" and not is_formula(unescape(piece["latex"]), *_beside(piece)):
                return f"${piece['latex']}${piece['closing']}"
            return self._formula(unescape(piece["latex"]), piece["style"] == "display", piece["closing"])
        if piece["heading"]:
            # The page uses h1, and h2 for its sections.
            return f"<{piece['heading']}{min(int(piece['level']) + 2, 6)}"
        if piece["line_break"]:
            # Models write <br> in table cells, where Markdown has no line ends, and at the ends of lines.
            return "<br>"
        if piece["table"]:
            is_start = piece["table"] == "<table"
            if not is_start:
                return "</table></div>"
            cells = piece.string[piece.end() : piece.end() + FIRST_CELL_CHARS]
            return f'<div class="table" tabindex="0"><table dir="{direction(cells)}">'
        if piece["link"]:
            return f"<a {LINK_ATTRIBUTES} {piece['link']}"
        if piece["note"]:
            return self._note(piece["place"] or "", piece["note"], piece["says"] or "")
        return piece[0]

    def _note(self, place: str, name: str, says: str) -> str:
        """Return a footnote reference, or the mark before the note if it starts a line and a colon follows."""
        if not place or not says:
            return f"{place}<sup>{name}</sup>{says}"
        return f"{place}<sup>{name}</sup> "

    def _code(self, source: str, language: str) -> str:
        language = re.split("[,{]", language)[0]
        if language == "math" and self.has_colours and self.maths_left_chars:
            return self._formula(source, True)
        body = colour(source, language) if self.has_colours else escape(source, quote=False)
        return code_figure(body, language, self.copy_label)

    def _formula(self, latex: str, is_block: bool, closing: str = "") -> str:
        self.maths_left_chars -= len(latex)
        mathml = FORMULAS.get((latex, is_block), lambda: _mathml(latex, is_block)) if self.maths_left_chars > 0 else ""
        delimiter = "$$" if is_block else "$"
        if mathml and closing and not is_block:
            # Browsers may break a line after a formula, even before a comma.
            return f'<span class="held">{mathml}{closing}</span>'
        return (mathml or escape(f"{delimiter}{latex}{delimiter}", quote=False)) + closing


def _beside(piece: re.Match[str]) -> tuple[str, str]:
    """Return the characters before and after a formula; "" at a tag."""
    html, at = piece.string, piece.end("latex") + len("</span>")
    before, after = html[max(0, piece.start() - 1) : piece.start()], html[at : at + 1]
    return before.strip("<>"), after.strip("<>")


def _mathml(latex: str, is_block: bool) -> str:
    return to_mathml(latex, is_block=is_block) or ""


def code_figure(body: str, language: str, copy_label: str) -> str:
    """Return a code block with its header. body is HTML, the others are text."""
    return (
        f'<figure class="code" dir="ltr"><figcaption><span>{escape(language) or "text"}</span>'
        f'<button type="button" data-copy>{escape(copy_label)}</button></figcaption>'
        f'<pre tabindex="0"><code>{body}</code></pre></figure>'
    )


# --- many blocks -----------------------------------------------------------------------------------------------------


class Cache:
    """Keeps the most recently used results, bounded by entries and by characters."""

    def __init__(self, max_entries: int, max_chars: int) -> None:
        self.max_entries = max_entries
        self.max_chars = max_chars
        self.chars = 0
        self._kept: OrderedDict[tuple, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: tuple, make: Callable[[], str]) -> str:
        """Return the result for the key, or make it. The key's first item is its text."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = make()
        # Another greenlet may have made it meanwhile.
        if key not in self._kept and len(key[0]) + len(value) <= self.max_chars // 16:
            self._kept[key] = value
            self.chars += len(key[0]) + len(value)
        while len(self._kept) > self.max_entries or self.chars > self.max_chars:
            old_key, old_value = self._kept.popitem(last=False)
            self.chars -= len(old_key[0]) + len(old_value)
        return value


MESSAGES = Cache(max_entries=1_024, max_chars=8_000_000)
BLOCKS = Cache(max_entries=4_096, max_chars=8_000_000)
FORMULAS = Cache(max_entries=2_048, max_chars=2_000_000)


class Allowance:
    """How much more one message may cost in colours and formulas: a hostile one is shown plain rather than late."""

    def __init__(self) -> None:
        self.chars_left = RICH_HTML_CHARS
        self.cpu_seconds_left = RICH_CPU_SECONDS

    @property
    def is_rich(self) -> bool:
        return self.chars_left > 0 and self.cpu_seconds_left > 0

    def present(self, html: str, copy_label: str) -> str:
        """Present a block that no later text can change."""
        is_rich = self.is_rich
        started = time.thread_time()
        result = BLOCKS.get(
            (html, copy_label, is_rich), lambda: present(html, copy_label, has_colours=is_rich, has_maths=is_rich)
        )
        self.cpu_seconds_left -= time.thread_time() - started
        self.chars_left -= len(html)
        return result


def present_all(blocks: Iterable[Block], copy_label: str, allowance: Allowance) -> str:
    """Present a message's next blocks, which no later text can change. May let other greenlets run."""
    pieces, since_breath_chars = [], 0
    for block in blocks:
        pieces.append(allowance.present(block.html, copy_label))
        since_breath_chars += len(block.html)
        if since_breath_chars > BREATH_HTML_CHARS:
            since_breath_chars = 0
            give_way()
    return "".join(pieces)
