"""Markdown that is still being written."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatapp.rendering import MarkdownStream, open_fence, render
from chatapp.rendering.tail import visible_part
from tests.rendering.hostile import visible_text
from tests.rendering.page import Page, cut, streamed

TRICKY = [
    "a\n===\n", "a\n---\n", "a\n-\n- b\n", "foo\n#bar\n", "foo\n#\nbar\n", "- a\n- b\n\n- c\n", "- a\n\n  b\n\n- c\n",
    "1. a\n   - b\n\n     c\n2. d\n", "> a\nb\n> c\n\nd\n", "> ```\n> x\n\ny\n", "> - a\n>   b\nc\n",
    "| a |\n|---|\n| b |\nc\n\nd\n", "text\n| a | b |\n|---|---|\n| 1 | 2 |\n", "| a |\n|---\n",
    "| a | b |\n|---|\n| 1 |\n", "a | b\n--|--\n1 | 2\n", "```\na\n```\nb\n", "````\n```\n````\nb\n",
    "```\na\n``\n~~~\n", "~~~\n```\n~~~\n", "```py\n  a\n   ```\nb\n", "```\na\n    ```\nb\n```\n",
    "  ```\n  a\n  ```\nb\n", "```\n\n\n```\n", "```\n```\n", "```\na", "```", "``` a`b\nc\n",
    "- ```\n  a\n  ```\n- b\n", "- ```\n  a\n\nb\n", "    code\n\n    more\n\ntext\n", "a\n    b\n",
    "- a\n\n      code\n", "<div>\n\n*a*\n\n</div>\n\nb\n", "<!-- a\n\nb -->\n*c*\n",
    "<script>\n\na\n</script>\n\nb\n", "<pre>\n\n# a\n\n</pre>\n", "[a]\n\n[a]: https://b.example\n",
    "[a]: https://b.example\n\n[a]\n", "[a]: https://b.example\n'title\nmore'\n\n[a]\n",
    "[a]:\nhttps://b.example\n[a]\n", "[a]: https://b.example\n'x\n\ny'\n\n[a]\n",
    "[a]: https://b.example\n```\nx\n```\n[a]\n", "> [a]: https://b.example\n\n[a]\n",
    "[a]\n\n> [a]: https://b.example\n", "---\n***\n___\n", "- - -\n- a\n", "* a\n+ b\n- c\n", "1) a\n1. b\n",
    "10. a\n\n\n\n11. b\n", "# a\n## b\nc\n# d #\n", "#a\n", "a\\\nb\n", "a  \nb\n", "`a\nb`\n", "**a\nb**\n",
    "*a\n\nb*\n", "$$\na\n\nb\n$$\n", "$$\na\nb\n$$\nc\n", "\\[\na\n\\]\nb\n", "$a$\n$b\nc$\n",
    "```math\na\n```\nb\n", "\n\n\na\n\n\n", "   a\n  b\n", "\ta\n", "- \n  a\n", "-\n\n  a\n", "- a\n-\n- c\n",
    "* * *\na\n", "a\n***\nb\n", "- [ ] a\n- [x] b\n", "https://a.example b\n", "![a](https://b.example)\n\nc\n",
    "- a\n  - b\n    - c\n\n      d\n\ne\n", "1. a\n\n   ```js\n   b\n   ```\n\n2. c\n\n---\n", "a\n> b\n",
    "a\n1. b\n2. c\n", "a\n2. b\n", "> a\n>\n> b\n\n> c\n", "a\u00a0\n\n\u2028b\n", "&copy;\n\n&amp\n",
    "x\n\n[y]: <\n\nz\n", "***\n\n\n***", "| a |\n|---|\n\n| b |\n", "| a |\n| b |\n|---|\n", "a\n\n| b |\n|:-:|",
    "+ a\n\n\n\n  b\n", "> > > a\n> b\n\nc\n", "```\n> a\n```\n> ```\n> b\n> ```\n", "~~~ a `b` ~c\nd\n~~~~\ne\n",
    "``\n\n``\n", "a[^1]\n\n[^1]: b\n[^2]: c\n\nd\n", "```\n[^1]: a\n```\n\n[^1]: b\n", "> [^1]: a\n\n3~5, 6~7\nH~2~O\n",
]  # fmt: skip

LINES = [
    "", "", "", "a", "word *b* `c`", "# h", "---", "===", "- a", "  b", "    c", "1. x", "2) y", "> q", ">", "```",
    "```py", "````", "~~~", "  ```", "| a | b |", "|---|---|", "| 1 | 2 |", "<div>", "</div>", "<!--", "-->", "[r]",
    "[r]: https://r.example", "'t'", "$$", "$x$", "\\[", "\\]", "- [ ] t", "  - n", "\t", "*", "**", "\\", "**b",
    "b**", "[l](https://l.example)", "  1. z", "```md", "~~~md", "<b>", "$HOME/$", "| $|a|$ |", ">   - r",
    "\\begin{align}a&=b\\\\", "c&=d\\end{align}", "\\ce{H2O}", "    code $x$", "https://a.b/c，d", "+ c", "$$\\", "  $$", "> $$", "> \\]",
    "- \\[", "=", "**https://a.b/c**。", "- ```", "| `a | b` | c |", "见https://a.b/路径。好",
]  # fmt: skip
DOCUMENTS = st.lists(st.sampled_from(LINES), max_size=14).map("\n".join)


@pytest.mark.parametrize("text", TRICKY)
def test_a_streamed_text_ends_as_the_whole_one_does(text):
    for longest in (1, 3, 12):
        assert streamed(text, seed=longest, longest=longest).html == render(text)
    assert Page().feed(text).finish().html == render(text)


@given(DOCUMENTS, st.integers(0, 99))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_in_any_cuts_ends_as_the_whole_one_does(text, seed):
    assert streamed(text, seed).html == render(text)


@given(st.text(max_size=80), st.integers(0, 99))
@settings(deadline=None)
def test_any_characters_in_any_cuts_end_as_the_whole_text_does(text, seed):
    text = text.replace("\r", "\n").replace("\0", "")
    assert streamed(text, seed).html == render(text)


@pytest.mark.parametrize("text", [text for text in TRICKY if "]:" not in text])
def test_only_a_links_late_definition_replaces_what_was_sent(text):
    assert "reset" not in streamed(f"start\n\n{text}\n\nend\n\n", longest=5).events


def test_a_late_definition_replaces_what_was_sent():
    page = streamed("[a]\n\nb\n\n> [a]: https://b.example\n\nc\n")
    assert "reset" in page.events
    assert 'href="https://b.example"' in page.html


def test_a_block_is_sent_once_and_only_the_end_again():
    page = Page().feed("one\n\ntwo\n\nthree\n\nfo")
    assert visible_text(page.blocks).split() == ["one", "two"]
    assert visible_text(page.tail).split() == ["three", "fo"]
    assert page.feed("ur").events == ["block", "tail", "tail"]


def test_a_page_that_comes_back_is_given_the_whole_state():
    text = "# a\n\nb\n\n```py\nx = 1\ny"
    later = MarkdownStream()
    later.feed(text)
    page = Page().feed(*cut(text, seed=3))
    assert (later.blocks, later.tail) == (page.blocks, page.tail)


def test_open_code_is_sent_once_however_long_it_gets():
    page = Page().feed("a\n\n```py\n").feed(*["x = 1\n"] * 3_000)
    assert page.events.count("tail") <= 3
    assert page.events.count("code") == 3_000
    assert page.feed("```\n").finish().html == render("a\n\n```py\n" + "x = 1\n" * 3_000 + "```\n")


def test_closed_code_is_coloured_at_once():
    assert '<span class="k">' in Page().feed("```py\nif x: pass\n", "```\n").blocks


def test_what_may_end_the_code_is_not_shown_as_code():
    page = Page().feed("```\na\n", "``")
    assert "``" not in page.html
    assert visible_text(page.feed("x\n").tail).rstrip().endswith("a\n``x")


@pytest.mark.parametrize(("source", "shown"), [
    ("a $$x^2", "a "), ("a $$x$", "a "), ("a \\[x\n+ y", "a "), ("a \\(x", "a "), ("a $x_1", "a "), ("a $", "a "),
    ("a \\", "a "), ("a $$x$$ b", "a $$x$$ b"), ("$5 and $10 x", "$5 and $10 x"), ("$5 and $$x", "$5 and "),
    ("`$$` a", "`$$` a"), ("`$$` \\(", "`$$` "), ("a [b", "a "), ("a [b]", "a "), ("a [b](https://c", "a "),
    ("a [b](c) d", "a [b](c) d"), ("see https://exam", "see "),
    ("see https://a.example now", "see https://a.example now"), ("a <https://b", "a "), ("![a", ""),
    ("a \\[b\\]", "a \\[b\\]"), ("a\n-", "a\n"), ("a\n---", "a\n"), ("a\n#", "a\n"), ("a\n1.", "a\n"), ("- ", ""),
    ("- [ ] ", ""), ("a\n``", "a\n"), ("a\n> ", "a\n"), ("**", ""), ("a\n\n| b | c", "a\n\n"),
    ("a\n\n| b |\n", "a\n\n"), ("a\n\n| b |\n|--", "a\n\n"), ("| b |\n|--|\n", "| b |\n|--|\n"),
    ("| b |\n|--|\n| c", "| b |\n|--|\n| c"), ("- a\n  ```py", "- a\n"),
    ("- a\n  ```py\n  x = [1", "- a\n  ```py\n  x = [1"), ("plain words", "plain words"),
    ("$HOME " + "x" * 99, "$HOME " + "x" * 99),
    ("a *", "a "), ("a **", "a "), ("a **b", "a **b**"), ("a **b ", "a **b**"), ("a **b*", "a **b**"),
    ("a **b** c", "a **b** c"), ("a **b *c", "a **b *c***"), ("a ***b**", "a ***b***"), ("- **b", "- **b**"),
    ("a ~~b", "a ~~b~~"), ("a `", "a "), ("a `b", "a `b`"), ("a ``b`", "a ``b``"), ("a **`b", "a **`b`**"),
    ("a `*b", "a `*b`"), ("a **[b](c", "a "), ("a **b $x", "a **b**"), ("2 * 3", "2 * 3"), ("2*3", "2*3"), ("~5 min", "~5 min"),
    ("a \\*b", "a \\*b"), ("- **a\n- b", "- **a\n- b"), ("a **" + "b" * 400, "a **" + "b" * 400),
    ("| a | b |\n|--|--|\n| **c", "| a | b |\n|--|--|\n| **c**"),
])  # fmt: skip
def test_what_is_still_becoming_something_is_held_back(source, shown):
    assert visible_part(source) == shown


@pytest.mark.parametrize("text", ["a $$x_1 * y_2$$ b", "a \\[x*y*z\\] b", "a \\(x\\) b", "$$\nx * y * z\n$$\n"])
def test_a_formula_is_never_half_rendered(text):
    whole = str(render(text))
    formula = whole[whole.index("<math") : whole.index("</math>")]
    page = Page()
    for character in text:
        html = page.feed(character).html
        assert "<em>" not in html
        assert html.count("<math") == html.count(formula)


def test_the_signs_of_emphasis_and_code_are_never_read():
    page = Page()
    for character in "So **bold it is**, *leaning*, ***both***, `code` and ~~gone~~.\n\n- **One:** it\n- `two`\n":
        assert not set("`~*") & set(visible_text(page.feed(character).html))
    assert page.html.count("<strong>") == 3


def test_a_link_never_leads_elsewhere_while_it_is_written():
    page = Page()
    for character in "see [the docs](https://a.example/docs) or https://b.example/x y":
        assert not set(page.feed(character).html.split('"')) & {
            "https://a.example/doc",
            "https://b.example",
            "http://a",
        }
    assert page.html.count("<a ") == 2


@pytest.mark.parametrize(("length", "interval_ms"), [(100, 50), (5_000, 100), (20_000, 200)])
def test_a_longer_tail_is_drawn_less_often(length, interval_ms):
    page = Page().feed("word " * (length // 5))
    assert page.stream.interval_ms == interval_ms


def test_open_code_needs_no_longer_interval():
    assert Page().feed("```\n" + "x\n" * 20_000).stream.interval_ms == 50


def test_a_large_tail_is_not_drawn_for_every_word():
    page = Page().feed("- a\n" * 5_000)
    drawn = len(page.events)
    page.feed(*["word "] * 40)
    assert len(page.events) == drawn
    assert page.finish().html == render("- a\n" * 5_000 + "word " * 40)


def test_a_text_beyond_all_measure_is_shown_as_it_was_written():
    page = Page().feed("start\n\nmore\n\n", "lorem " * 40_000)
    assert page.blocks == ""
    assert page.tail.startswith('<pre class="plain"')
    assert page.finish().html == render("start\n\nmore\n\n" + "lorem " * 40_000)


def test_a_failure_while_streaming_is_mended_at_the_end(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError

    page = Page().feed("one\n\ntwo")
    with monkeypatch.context() as patched:
        patched.setattr("chatapp.rendering.stream.parse", fail)
        page.feed(" **three**")
    assert visible_text(page.html).split() == ["one", "two", "**three**"]
    assert page.finish().html == render("one\n\ntwo **three**")


def test_an_empty_text_shows_nothing():
    assert Page().feed("").finish().events == []


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("", ""),
        ("No code.", ""),
        ("```python\nx = 1\n", "```python\n"),
        ("```python\nx = 1\n```\n", ""),
        ("````\n```\n", "````\n"),
        ("~~~ c\n```\n~~~\n```js", "```js\n"),
        ("```inline``` text\n", ""),
        ("    ```\n", ""),
    ],
)
def test_the_code_in_which_a_text_ends_is_known(text, opening):
    assert open_fence(text) == opening
