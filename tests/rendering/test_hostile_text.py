"""What must never come out of the renderer, whole or streamed."""

import json
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest

from chatapp.kernel.text import ModelText, clean_model_text
from chatapp.rendering import markdown, render
from tests.rendering.hostile import foreign, violations, visible_text
from tests.rendering.page import Page, cut, streamed

pytestmark = pytest.mark.slow

DATA = Path(os.environ.get("CHATAPP_DATA", Path(__file__).parents[3] / "shared" / "data"))
CORPUS = DATA / "hostile-outputs-dev.jsonl"

HOSTILE = [
    "<script>pwn()</script>", "<img src=x onerror=pwn()>", "<svg/onload=pwn()>", "<iframe src=//leak.invalid>",
    "<style>*{display:none}</style>", "<form action=/logout><button>go</button></form>", "</div></article></main>out",
    "<!-- the rest", "<textarea>", "<a href=javascript:pwn()>x</a>", "[x](javascript:pwn())",
    "[x](JaVa\tScRiPt:pwn())", "[x](&#106;avascript:pwn())", "[x](data:text/html,x)", "[x](vbscript:x)",
    "[x](/logout)", "[x](//leak.invalid)", "[x](/\\leak.invalid)", "[x](#main)", "[x](https://user@leak.invalid/)",
    "[x](https://a%2F@leak.invalid)", "[x](mailto:a@b.example?body=x)", "[x]: javascript:pwn()\n\n[x]",
    "<javascript:pwn()>", "![x](https://leak.invalid/p.png)", "[![x](https://leak.invalid/p.png)](javascript:pwn())",
    "![x](javascript:pwn())", "![\"onload=pwn()](https://a.example/i)",
    "[x](https://a.example '\" onclick=pwn() \"')", "https://a.example/\"onmouseover=\"pwn()",
    "<div hx-get=/logout>x</div>", "<p id=answer class=hidden name=x style=a>x</p>", "```fixed inset-0\nx\n```",
    "```\"><script>\nx\n```", "~~~html\n</code></pre><script>pwn()</script>\n~~~",
    "```python\n</code></pre><img src=x>\n```", "`<b>`", "# <svg onload=x>",
    "| <img src=x> |\n|---|\n| </table><script> |", "- <input autofocus onfocus=pwn()>",
    "$\\href{javascript:pwn()}{x}$", "$\\text{<script>pwn()</script>}$",
    "$\\class{hidden}{x}\\style{position:fixed}{y}$", "$$\\htmlData{hx-get=/}{x}$$",
    "$\\hspace{-999em}\\rule{99em}{99em}$", "```math\n\\text{</math><img src=x onerror=pwn()>}\n```",
    "<span data-math-style=\"inline\">\\href{x}{y}</span>", "&lt;img src=x onerror=pwn()&gt;", "&#60;script&#62;",
    "{{ 6*7 }}", "\x01\x1b[31m\ufeff\u202e\u2066", "a\u0000b", "\ud800", "<b\n>x</b\n>", "<![CDATA[<img src=x>]]>",
]  # fmt: skip

EXPENSIVE = {
    "quotes": "> " * 90_000 + "x",
    "lists": "- " * 90_000 + "x",
    "emphasis": "*a **b " * 15_000 + "c** d* " * 15_000,
    "brackets": "[" * 190_000,
    "links": "[a](" * 40_000,
    "open formulas": "\\[" * 90_000,
    "fewer open formulas": "\\(x" + "\\[ x " * 1_900 + "x" * 180_000,
    "wide table": "|a" * 40_000 + "\n" + "|-" * 40_000,
    "long table": "|a\n|-\n" + "|b\n" * 50_000,
    "backticks": " ".join("`" * length for length in range(500)),
    "dollars": "$a$ " * 45_000,
    "formulas": " ".join(f"${number}a$" for number in range(20_000)),
    "braces": "$" + "{" * 900 + "x" + "}" * 900 + "$",
    "macros": "$\\def\\a{xx}" + "".join(f"\\def\\{b}{{\\{a}\\{a}}}" for a, b in pairwise("abcdefghi")) + "\\i$",
    "powers": "$" + "^" * 900 + "$",
    "slow lexer": ("```csharp\n" + "a\n " * 900 + "\n```\n\n") * 50,
    "slower lexer": "```java\n" + "\n" * 11_900 + "x\n```\n",
    "blanks": " " * 150_000 + "x",
    "ampersands": "&" * 190_000,
    "comments": "<!--" * 50_000,
    "too long": "lorem ipsum " * 20_000,
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_only_what_is_ours_comes_out(text):
    assert foreign(str(render(text))) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_only_what_is_ours_comes_out_at_any_moment_of_a_stream(text):
    page = Page()
    for character in clean_model_text(text):
        assert foreign(page.feed(character).html) == []
    assert page.finish().html == render(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_after_a_message_is_swallowed_by_it(text):
    assert violations(str(render(f"{text}\n\nend")), ["escape", "hidden", "exec", "load"]) == []


@pytest.mark.parametrize("name", EXPENSIVE)
def test_an_expensive_text_takes_less_than_two_seconds(name):
    started = time.thread_time()
    html = render(EXPENSIVE[name])
    assert time.thread_time() - started < 2
    assert html


@pytest.mark.parametrize("name", ["quotes", "emphasis", "wide table", "too long"])
def test_what_is_too_strange_is_shown_as_it_was_written(name):
    html = render(EXPENSIVE[name])
    assert html.startswith('<pre class="plain"')
    assert visible_text(html).strip() == EXPENSIVE[name].strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPENSIVE)
def test_an_expensive_stream_ends_as_the_whole_text_does(name):
    assert streamed(EXPENSIVE[name], longest=40_000).html == render(EXPENSIVE[name])


@pytest.mark.parametrize("rule", [
    "tag:script", "attr:onclick", "attr-prefix:hx-", "class:hidden", "id:x", "name:y", "target:_top",
    "scheme:javascript", "href:relative", "href:userinfo", "a:no-rel", "load", "exec", "text:1338", "escape",
])  # fmt: skip
def test_the_checker_sees_what_it_looks_for(rule):
    bad = (
        '<script></script><a id=x name=y class="b hidden" hx-get=/ onclick=x target=_top href="java\nscript:x">1338</a>'
        "<a href=/x></a><a href=https://u@h/></a><img src=x></article><i>out</i>"
    )
    assert violations(bad, [rule]) == [rule]


def corpus():
    if not CORPUS.exists():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no corpus at {CORPUS}"))]
    lines = [json.loads(line) for line in CORPUS.read_text("utf-8").splitlines()]
    return [pytest.param(line, id=line["name"]) for line in lines]


@pytest.mark.parametrize("line", corpus())
def test_the_corpus_finds_nothing(line):
    started = time.thread_time()
    html = str(render(line["text"]))
    assert time.thread_time() - started < 2
    assert violations(html, line["must_not"]) == []
    assert foreign(html) == []


@pytest.mark.slow
@pytest.mark.parametrize("line", corpus())
def test_the_corpus_finds_nothing_in_a_stream(line):
    text, page = ModelText(), Page()
    pieces = cut(line["text"], seed=len(line["name"]), longest=max(12, len(line["text"]) // 100))
    for number, piece in enumerate(pieces):
        page.feed(text.feed(piece))
        if number % max(1, len(pieces) // 10) == 0:
            assert violations(page.html, line["must_not"]) == []
    page.feed(text.finish()).finish()
    assert page.html == render(line["text"])


def test_no_step_of_a_long_paragraph_of_links_is_longer_than_a_breath(monkeypatch):
    work, steps = [0], []
    one = markdown._Pieces.__call__
    monkeypatch.setattr(markdown._Pieces, "__call__", lambda *given: work.append(work.pop() + 1) or one(*given))
    monkeypatch.setattr(markdown, "give_way", lambda: steps.append(work.pop()) or work.append(0))

    html = render("http://a.b " * 5_000)

    assert html.count("<a ") == 5_000
    assert max([*steps, work[0]]) <= markdown.BREATH_TAGS
    # To find the blocks is as much work again.
    assert len(steps) >= 2 * 5_000 // markdown.BREATH_TAGS


def test_thousands_of_mail_addresses_are_shown_as_they_were_written():
    assert render("a@b.c " * 5_000).startswith('<pre class="plain"')
    assert render("a@b.c " * 100).count("mailto:") == 100
