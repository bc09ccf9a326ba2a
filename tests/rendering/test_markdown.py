"""Markdown to HTML."""

import html5lib
import pytest

from chatapp.rendering import markdown, render
from chatapp.rendering.code import LANGUAGES, colour
from chatapp.rendering.maths import to_mathml
from tests.rendering.hostile import foreign, visible_text

LINK = 'target="_blank" rel="noopener noreferrer nofollow"'


def tags(text):
    return [
        e.tag.rpartition("}")[2] for e in html5lib.parseFragment(str(render(text))).iter() if isinstance(e.tag, str)
    ][1:]


@pytest.mark.parametrize(("text", "html"), [
    ("a *b* **c** ~~d~~ `e`", '<p dir="auto">a <em>b</em> <strong>c</strong> <del>d</del> <code>e</code></p>'),
    ("# one\n\n###### six", '<h3 dir="auto">one</h3>\n<h6 dir="auto">six</h6>'),
    ("- [ ] a\n- [x] b", '<ul>\n<li dir="auto"><span class="task">☐</span> a</li>\n<li dir="auto"><span class="task">☑</span> b</li>\n</ul>'),
    ("3. x", '<ol start="3">\n<li dir="auto">x</li>\n</ol>'),
    ("> x", '<blockquote>\n<p dir="auto">x</p>\n</blockquote>'), ("a  \nb", '<p dir="auto">a<br>\nb</p>'),
    ("<b>x</b>", '<p dir="auto">&lt;b&gt;x&lt;/b&gt;</p>'),
    ("<div>\n  x\n</div>", '<p dir="auto">&lt;div&gt;<br>\nx<br>\n&lt;/div&gt;</p>'),
    ("[a](https://b.example/?c=1&d)", f'<p dir="auto"><a {LINK} href="https://b.example/?c=1&amp;d">a</a></p>'),
    ("a@b.example", f'<p dir="auto"><a {LINK} href="mailto:a@b.example">a@b.example</a></p>'),
    ("[*a*](/b) [](c) [d](javascript:e)", '<p dir="auto"><em>a</em>  d</p>'),
    ("![a *b*](https://c.example/d.png)", f'<p dir="auto"><a {LINK} href="https://c.example/d.png">a b</a></p>'),
    ("![](https://c.example)", f'<p dir="auto"><a {LINK} href="https://c.example">https://c.example</a></p>'),
    ("[![a](https://b.example)](https://c.example)", f'<p dir="auto"><a {LINK} href="https://c.example">a</a></p>'),
    ("`&lt;br&gt; <br>`", '<p dir="auto"><code>&amp;lt;br&amp;gt; &lt;br&gt;</code></p>'), ("---", "<hr>"), ("", ""),
    (" \n", ""), ("H~2~O and ~~no~~", '<p dir="auto">H<sub>2</sub>O and <del>no</del></p>'),
    ("3~5 days, 10~15 in all, ~a *b*~", '<p dir="auto">3~5 days, 10~15 in all, ~a <em>b</em>~</p>'),
    ("So[^1]: `[^1]`", '<p dir="auto">So<sup>1</sup>: <code>[^1]</code></p>'),
    ("[a](https://b.example/[^1])", f'<p dir="auto"><a {LINK} href="https://b.example/%5B%5E1%5D">a</a></p>'),
    ("[^aeiou] is no vowel\n[^a]: b", '<p dir="auto">[^aeiou] is no vowel<br>\n[^a]: b</p>'),
    ("a[^1]\n\n[^1]: One *b*\n[^2]: https://c.example", '<p dir="auto">a<sup>1</sup></p>\n<p dir="auto"><sup>1</sup> One <em>b</em><br>\n'
     f'<sup>2</sup> <a {LINK} href="https://c.example">https://c.example</a></p>'),
])  # fmt: skip
def test_markdown_becomes_this_html(text, html):
    assert str(render(text)).strip() == html


@pytest.mark.parametrize(
    ("text", "shown"),
    [(r"a\<br> b", "a<br> b"), (r"a \<br/\> b", "a <br/> b"), (r"a\[^1]", "a[^1]"), (r"`\<br>`", r"\<br>")],
)
def test_what_a_backslash_stands_before_is_shown(text, shown):
    assert visible_text(str(render(text))).strip() == shown


def test_a_table_can_be_scrolled_and_its_cells_may_hold_line_breaks():
    html = render("| a | b |\n|:-:|--:|\n| x<br>y | 1 |")
    assert html.startswith('<div class="table" tabindex="0"><table dir="ltr">')
    assert '<td dir="auto" align="center">x<br>y</td>\n<td dir="auto" align="right">1</td>' in html
    assert html.endswith("</table></div>\n")


def test_a_code_block_has_its_language_a_copy_button_and_its_text_to_the_letter():
    html = render("```py title\n\n\tif a < b: # <b>\n\n```", copy_label="Kopi<er>")
    assert html.startswith(
        '<figure class="code" dir="ltr"><figcaption><span>py</span>'
        '<button type="button" data-copy>Kopi&lt;er&gt;</button></figcaption><pre tabindex="0"><code>'
    )
    assert '<span class="k">if</span>' in html.replace("if ", "if")
    assert visible_text(html).removeprefix("pyKopi<er>") == "\n\tif a < b: # <b>\n\n\n"


@pytest.mark.parametrize("language", sorted(set(LANGUAGES.values())))
def test_colours_never_change_the_code(language):
    source = "\n\n# a <b> & 'c' \"d\" // e /* f */\nclass X { def f(x): return 1.5 }\n-a\n+b\n$x = @y;\n\t\n"
    assert visible_text(f"<pre>\n{colour(source, language)}</pre>") == source


def test_code_in_an_unknown_language_or_too_long_is_plain():
    assert colour("if <x>", "klingon") == "if &lt;x&gt;"
    assert "<span" not in colour("if x\n" * 5_000, "python")


def test_a_lexer_that_takes_too_long_is_stopped(monkeypatch):
    assert "<span" in colour("if x", "python")
    monkeypatch.setattr("chatapp.rendering.code.LONGEST_CPU_SECONDS", -1)
    assert colour("if x", "python") == "if x"


@pytest.mark.parametrize("text", [
    "$x^2$", "$$x$$", "\\(x\\)", "\\[x\\]", "$$\nx\n$$", "> $$x$$", "- $x$", "| $x$ |\n|-|\n", "**$x$**",
    "```math\nx\n```", "$a_1$ and $b*c*d$", "$\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}$", "$x \\ne 0$, so $y$.",
])  # fmt: skip
def test_latex_becomes_mathml(text):
    assert "math" in tags(text)
    assert "$" not in visible_text(str(render(text)))
    assert "em" not in tags(text)


@pytest.mark.parametrize("text", [
    "$5 and $10", "from $5 to $6.", "US$5-$10", "$ x $", "`$x$`", "```\n$x$\n```", "    $x$", "\\$x\\$", "$x$1",
    "`\\(x\\)`", "$x",
])  # fmt: skip
def test_prices_and_code_are_no_formulas(text):
    assert "math" not in tags(text)
    assert "$" in visible_text(str(render(text))) or "\\(" in text


@pytest.mark.parametrize("latex", [
    "\\foo{x}", "\\left(x", "\\def\\a{x}\\a", "\\newcommand{\\a}{x}\\a", "{" * 99 + "x" + "}" * 99,
    "x+" * 1_001,
])  # fmt: skip
def test_a_formula_that_is_not_understood_is_shown_as_its_source(latex):
    assert to_mathml(latex, is_block=False) is None
    assert visible_text(str(render(f"$${latex}$$"))).strip() == f"$${latex}$$"


@pytest.mark.parametrize("latex", [
    "\\href{javascript:x}{y}", "\\class{hidden}{x}", "\\style{position:fixed}{x}", "\\text{<img src=x onerror=y>}",
    "\\text{</math><script>}", "\\unicode{x3c}script", "\\rule{99em}{99em}x", "\\hspace{-99em}x",
    "\\color{red;x:y}{x}", "a<b&c",
])  # fmt: skip
def test_mathml_holds_only_names_from_the_list(latex):
    mathml = to_mathml(latex, is_block=False)
    assert mathml
    assert foreign(mathml) == []
    assert "99em" not in mathml


def test_one_message_may_only_cost_so_much(monkeypatch):
    text = "$x$ \n\n```python\nif x: pass\n```\n" * 3
    monkeypatch.setattr(markdown, "RICH_HTML_CHARS", 100)
    html = markdown.present_all(markdown.parse(text), "Copy", markdown.Allowance())
    assert html.count("<math") == 1
    assert html.count("<figure") == 3
    assert visible_text(html).count("$x$") == 2


def test_whatever_goes_wrong_inside_the_text_is_shown(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(markdown, "parse", fail)
    assert render("a <b> never rendered before") == (
        '<pre class="plain" tabindex="0">\na &lt;b&gt; never rendered before</pre>\n'
    )


def test_a_panic_inside_the_parser_is_an_ordinary_failure(monkeypatch):
    class PanicException(BaseException):
        pass

    def panic(*_, **__):
        raise PanicException

    monkeypatch.setattr(markdown.comrak, "render_markdown", panic)
    assert render("never rendered before either").startswith('<pre class="plain"')


def test_a_greenlets_own_end_passes_through(monkeypatch):
    def end(*_, **__):
        raise SystemExit

    monkeypatch.setattr(markdown.comrak, "render_markdown", end)
    with pytest.raises(SystemExit):
        render("nor this")


def test_the_cache_is_bounded_by_entries_and_by_characters():
    cache = markdown.Cache(max_entries=3, max_chars=1_000)
    for number in range(9):
        cache.get((f"key {number}",), lambda: "x")
    assert len(cache) == 3
    cache.get(("large",), lambda: "x" * 999)
    assert len(cache) == 3
    for number in range(99):
        cache.get((f"{number:30}",), lambda: "x" * 30)
    assert cache.chars <= 1_000


def test_the_cache_forgets_what_was_not_used_for_longest():
    cache = markdown.Cache(max_entries=2, max_chars=1_000)
    for key in ("a", "b", "a", "c"):
        cache.get((key,), lambda key=key: key)
    assert cache.get(("a",), lambda: "made anew") == "a"
    assert cache.get(("b",), lambda: "made anew") == "made anew"


def test_a_long_render_lets_other_greenlets_run():
    import gevent

    text = "".join(f"paragraph {number} of a long text\n\n" for number in range(2_000))
    other = gevent.spawn(lambda: "ran")
    render(text)
    assert other.value == "ran"


@pytest.mark.parametrize("name", ["aligned", "align*", "gather", "gathered"])
def test_equations_in_rows_stand_in_rows(name):
    html = str(render(f"$$\\begin{{{name}}} a &= b \\\\ c &= d \\end{{{name}}}$$"))

    assert (html.count("<mtr"), html.count("&amp;")) == (2, 0)


def test_signs_that_work_on_what_is_beside_them_are_no_names():
    html = str(render(r"$a \pm \lfloor b \rfloor$"))

    assert [sign in html for sign in ("<mo>±</mo>", "<mo>⌊</mo>", "<mi>b</mi>")] == [True] * 3
