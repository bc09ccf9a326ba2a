"""Markdown as models write it: what is meant is drawn, also where CommonMark reads it otherwise."""

import re
import time
from html import escape

import pytest

from chatapp.rendering import render
from tests.rendering.hostile import visible_text
from tests.rendering.page import Page, streamed

ATTRIBUTES = re.compile(r' (?:dir="auto"|target="_blank"|rel="[^"]*"|tabindex="0")')


def html(text):
    found = ATTRIBUTES.sub("", str(render(text))).strip()
    return re.sub(r"<math.*?</math>", "∑", found, flags=re.DOTALL)


EMPHASIS = [
    ("**提示：**先保存文件。", "<p><strong>提示：</strong>先保存文件。</p>"),
    ("她说的是**“重点”**两个字。", "<p>她说的是<strong>“重点”</strong>两个字。</p>"),
    ("公式**（见下）**如此。", "<p>公式<strong>（见下）</strong>如此。</p>"),
    ("これは**「大切」**なことです。", "<p>これは<strong>「大切」</strong>なことです。</p>"),
    ("**“공지”**는 위에 있습니다.", "<p><strong>“공지”</strong>는 위에 있습니다.</p>"),
    ("*「例」*です。", "<p><em>「例」</em>です。</p>"),
    ("~~（旧）~~新。", "<p><del>（旧）</del>新。</p>"),
    ("2 * 3 * 4 and snake_case_name", "<p>2 * 3 * 4 and snake_case_name</p>"),
]
NO_FORMULAS = [
    "Add PATH=$HOME/bin:$PATH to your profile.",
    "Use $USER/$HOSTNAME in the prompt.",
    "In PHP call $list-&gt;add($item) twice.",
    "They met Ke$ha and A$AP on tour.",
    "Run sed 's/^$/-/;s/$x/y/' on it.",
    "Set ${HOME}/${USER} and $(CC)/$(LD).",
    "From $5 to $10, or $5-$10, about $7/month; $1,200.00–$1,500.00.",
    "Match ^[0-9]+$|^$ only.",
]
FORMULAS = ["$\\pi r^2$ and $a_1$", "$n=5$ and $x < y$", "the $n$th and the $x$-axis", "\\(y\\) and $f(x)$"]
LISTS = [
    ("1. First\n  - below\n  - too\n2. Second\n  - below", ["First", "below", "too", "Second", "below"]),
    ("10. Ten\n   - below ten", ["Ten", "below ten"]),
    ("1. One\n  - a\n    - b\n  - c", ["One", "a", "b", "c"]),
    ("- x\n  1. a\n    - b", ["x", "a", "b"]),
    ("> 1. First\n>   - below", ["First", "below"]),
    ("1. a\n\n  * b\n\n2. c", ["a", "b", "c"]),
]
CODE_LEFT_OF_ITS_ITEM = [
    ("- a\n  ```\nx\n  y\n  ```\n- b", "x\n  y\n"),
    ("1. a\n   ```\nx\n```\n2. b", "x\n"),
    ("1. a\n   ```\nx\n> y\n```\n2. b", "x\n&gt; y\n"),
    ("- ```\nx\n\ny\n```\n- b", "x\n\ny\n"),
    ("- a\n  - c\n    ```\n  x\n    y\n    ```\n- b", "  x\n    y\n"),
]
DISPLAYS = [
    "$$\na\n- b\n+ c\n$$",
    "\\[\n1. a\n> b\n\\]",
    "$$\na = b\n\nc = d\n$$",
    "$$\n# A\n=\nb\n$$",
    "\\begin{align}\na &= b \\\\\n\n- c\n\\end{align}",
    "\\begin{split}a&=b\\end{split}",
]
DISPLAYS_IN_ITEMS = [
    "- \\[\n  a\n  + b\n\n  - c\n  \\]\n- end",
    "1. $$\n- b\n$$\n2. end",
    "> $$\n> - a\n>\n> b\n> $$\n>\n> - end",
]
NO_DISPLAYS = [
    "$$ is the number of the shell.\n\n- one\n\nUse $$ again.",
    "Kill it: $$\n- one\n\nor $$ again",
    "$$\nforgotten\n\nThen some words.\n\n- one\n\n$$",
    "$$\n- a\n\nend",
    "> $$\n> - a\n\n$$",
    "\\[\n```\n\\]\n```\n- a",
    "\\[\na\n\\[\n- b",
    "$$\n" + "x\n" * 1_000 + "- a\n\n$$",
]
CELLS = [
    ("`x | y`", ["<code>x | y</code>", "z"]),
    ("`a\\|b`", ["<code>a|b</code>", "z"]),
    ("`|`", ["<code>|</code>", "z"]),
    ("` | `", ["`", "`"]),
    ("x<BR>y<br/>", ["x<br>y<br>", "z"]),
]
NUMBERS_BELOW_NUMBERS = [("1. One\n  1. a\n  2. b\n2. Two", 2), ("1. a\n  2. b\n3. c", 1), ("1) a\n  1) b\n    - c", 2)]
TAGS = [
    ("<answer>\n**42** is it:\n- one\n</answer>", "<strong>42</strong>", "<li>one"),
    ("<notes>\nshort\n</notes>\nAnd **bold** right below.", "&lt;notes&gt;", "<strong>bold</strong>"),
    ("<output>\n```python\nx = 1\n```\n</output>", "&lt;output&gt;", "<figure"),
    ("> <details>\n> *x*\n> </details>", "&lt;details&gt;", "<em>x</em>"),
    ("</div>\n# Title", "&lt;/div&gt;", "<h3>Title"),
    ("- a\n  <note>\n  **b**\n  </note>", "&lt;note&gt;", "<strong>b</strong>"),
    ('<my-tag a="b">\n`c`', "&lt;my-tag", "<code>c</code>"),
    ("```x``` is code\n<b>\n**y**", "&lt;b&gt;", "<strong>y</strong>"),
]
STAYS = [
    ("```html\n<div>\n1. a\n  - b $HOME/$USER\n```", "&lt;div"),
    ("<https://a.b/c>", '<a href="https://a.b/c">'),
    ("`<div>` and `$x$`", "<code>$x$</code>"),
    ("<script>\nif (a *b* c)\n</script>", "*b*"),
    ("Text:\n\n    <div>\n    \\begin{align}a&=b\\end{align}", "<code>&lt;div&gt;\n\\begin{align}a&amp;=b"),
    ("``a`$HOME/$`` and `$x`", "<code>a`$HOME/$</code>"),
    ("[x](http://a.b/?q=$A&r=$B)", 'href="http://a.b/?q=$A&amp;r=$B"'),
]
ADDRESSES = [
    ("请看https://example.com/a。好", '<a href="https://example.com/a">https://example.com/a</a>。好'),
    ("见 https://a.b/c（x）", '<a href="https://a.b/c">https://a.b/c</a>（x）'),
    ("https://zh.example.org/wiki/中文", "wiki/中文</a>"),
    ("https://a.b/c、https://d.e/f。", '<a href="https://d.e/f">https://d.e/f</a>。'),
    ("見 https://a.b/cを", ">https://a.b/c</a>を"),
    ("www.a.b에서", '<a href="http://www.a.b">www.a.b</a>에서'),
    ("(https://a.b/(c)).", ">https://a.b/(c)</a>)."),
    ("[t](https://a.b/。)", ">t</a>"),
    (
        "见https://a.b/路径。还有http://c.d/e，好",
        '<a href="https://a.b/路径">https://a.b/路径</a>。还有<a href="http://c.d/e">http://c.d/e</a>，好',
    ),
    ("https://例え.jp/テスト、次", ">https://例え.jp/テスト</a>、次"),
    ("（https://a.b/路?q=值&x=1）", 'href="https://a.b/路?q=值&amp;x=1"'),
    ("https://a.b/%E8%B7%AF。好", ">https://a.b/%E8%B7%AF</a>。好"),
    ("[文](https://a.b/路径。x)", ">文</a>"),
    ("**https://a.b/c**。", '<strong><a href="https://a.b/c">https://a.b/c</a></strong>。'),
    ("**见：https://a.b/?q=$c**是", ">https://a.b/?q=$c</a></strong>是"),
    ("`**https://a.b/**中`", "<code>**https://a.b/**中</code>"),
    ("https://a.b/**/c", ">https://a.b/**/c</a>"),
    ("[1: https://a.b/c], [2]", '[1: <a href="https://a.b/c">https://a.b/c</a>], [2]'),
    ("c://d file://x/y javascript://z", "<p>c://d file://x/y javascript://z</p>"),
]
ENVIRONMENTS = ["\\begin{align}\na &= b \\\\[4pt]\nc &= d\n\\end{align}", "$$a \\\\[4pt] b$$"]
NESTED = [
    ("```markdown\n```py\nx\n```\ny\n```\n**end**", "```py\nx\n```\ny\n"),
    ("~~~md\n~~~py\nx\n~~~\n~~~\n**end**", "~~~py\nx\n~~~\n"),
    ("````markdown\n```py\nx\n```\n````\n**end**", "```py\nx\n```\n"),
    ("> ```md\n> ```py\n> x\n> ```\n> ```\n> **end**", "```py\nx\n```\n"),
    ("```markdown\n```py\nx\n```\n**end**", "```py\nx\n"),
    ("```text\n```py\nx\n```\n**end**", "```py\nx\n"),
]
RIGHT_TO_LEFT = "- React مكتبة.\n- أهلا بالعالم!\n\n> JSON صيغة.\n>\n> هذه فقرة!\n\n| الاسم | b |\n|---|---|\n| x | y |"


@pytest.mark.parametrize(("text", "expected"), EMPHASIS)
def test_emphasis_ends_at_full_width_signs_and_stays_as_it_is_elsewhere(text, expected):
    assert html(text) == expected


@pytest.mark.parametrize("text", NO_FORMULAS)
def test_dollars_of_shells_programs_names_and_prices_stay(text):
    assert html(text.replace("&gt;", ">")) == f"<p>{text}</p>"


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_between_dollars_are_drawn(text):
    assert html(text).count("∑") == 2


@pytest.mark.parametrize(("text", "items"), LISTS)
def test_a_list_below_a_number_is_its_own_however_it_is_indented(text, items):
    found = html(text)

    assert re.findall(r"<li>\s*(?:<p>)?([^<\n]*)", found) == items
    assert found.count("<ol>") + found.count('<ol start="10">') == 1


@pytest.mark.parametrize(("text", "code"), CODE_LEFT_OF_ITS_ITEM)
def test_code_that_begins_left_of_its_item_is_in_the_item(text, code):
    found = html(text)

    assert re.findall("<code>(.*?)</code>", found, re.DOTALL) == [code]
    assert "<li>b</li>" in found


@pytest.mark.parametrize("text", DISPLAYS)
def test_what_begins_a_line_of_a_formula_is_a_sign_of_the_formula(text):
    assert html(f"{text}\nend") == "<p>∑<br>\nend</p>"


@pytest.mark.parametrize("text", DISPLAYS_IN_ITEMS)
def test_a_formula_in_a_list_or_quote_ends_there(text):
    found = html(text)

    assert (found.count("∑"), found.count("<p>∑</p>") + found.count("<li>∑</li>")) == (1, 1)
    assert "<li>end</li>" in found


@pytest.mark.parametrize("text", NO_DISPLAYS)
def test_signs_of_a_formula_without_an_end_hold_nothing(text):
    assert "∑" not in html(text)
    assert "<li>" in html(text)


@pytest.mark.parametrize("text", NO_DISPLAYS)
def test_what_turns_out_to_be_no_formula_replaces_nothing_that_was_sent(text):
    assert "reset" not in streamed(f"{text}\n\nSome words.\n\nend\n", longest=5).events


def test_a_formula_over_blank_lines_is_not_shown_before_its_end():
    page = Page().feed("So\n\n$$\na\n\n- b\n")

    assert visible_text(page.html).split() == ["So"]
    assert page.feed("$$\n").finish().html.count("<math") == 1


@pytest.mark.parametrize(("cell", "cells"), CELLS)
def test_a_bar_in_code_does_not_end_its_cell(cell, cells):
    assert re.findall("<td>(.*?)</td>", html(f"| a | b |\n|---|---|\n| {cell} | z |")) == cells


@pytest.mark.parametrize(("text", "lists"), NUMBERS_BELOW_NUMBERS)
def test_a_number_that_begins_anew_is_below_and_one_that_counts_on_is_beside(text, lists):
    assert html(text).count("<ol>") == lists


@pytest.mark.parametrize(("text", "code"), NESTED)
def test_a_block_of_markdown_may_hold_blocks(text, code):
    found = html(text)

    assert re.search("<code>(.*?)</code>", re.sub("</?span[^>]*>", "", found), re.DOTALL)[1] == code
    assert "<strong>end</strong>" in found


@pytest.mark.parametrize(("text", "tag", "below"), TAGS)
def test_markdown_below_a_tag_is_markdown(text, tag, below):
    assert tag in html(text)
    assert below in html(text)


@pytest.mark.parametrize(
    "tag", ['<a b="\\/ __c__">', '<p name="&ouml; `">', "<path d='1 *2* 3'/>", '<b c="https://d.example">']
)
def test_a_tag_that_begins_a_line_is_shown_letter_for_letter(tag):
    assert html(f"{tag}\n*x*") == f"<p>{escape(tag, quote=False)}<br>\n<em>x</em></p>"


def test_the_address_of_a_link_may_stand_between_signs_below_its_name():
    assert html("[a]:\n<b c>\n'title'\n\n[a]") == "<p>a</p>"


@pytest.mark.parametrize(("text", "expected"), STAYS)
def test_what_stands_in_code_is_left_alone(text, expected):
    assert expected in re.sub("<span[^>]*>|</span>", "", html(text))


@pytest.mark.parametrize(("text", "expected"), ADDRESSES)
def test_a_bare_address_ends_before_a_full_width_sign(text, expected):
    assert expected in html(text)


@pytest.mark.parametrize("text", ENVIRONMENTS)
def test_environments_that_stand_bare_are_formulas(text):
    assert html(text) == "<p>∑</p>"


@pytest.mark.parametrize("sign", ["$$", "\\["])
def test_a_formula_in_lines_of_its_own_may_begin_behind_a_colon(sign):
    assert html(f"That is: {sign}\na\n+ b\n{sign.replace('[', ']')}") == "<p>That is: ∑</p>"


def test_a_tag_at_the_end_of_a_line_ends_it_once():
    assert html("a<br>\nb<br/>\n\nc") == "<p>a<br>\nb<br></p>\n<p>c</p>"


def test_a_line_ends_where_it_ends():
    assert html("Jane Doe\n1 High Street\nLondon") == "<p>Jane Doe<br>\n1 High Street<br>\nLondon</p>"


def test_each_item_paragraph_and_cell_has_a_direction_of_its_own():
    found = str(render(RIGHT_TO_LEFT))

    assert found.count('<li dir="auto">') == 2
    assert found.count('<p dir="auto">') == 2
    assert found.count('<td dir="auto">') == found.count('<th dir="auto">') == 2
    assert '<table dir="rtl">' in found


ALL = [
    *(
        text
        for text, *_ in [
            *EMPHASIS,
            *LISTS,
            *NUMBERS_BELOW_NUMBERS,
            *TAGS,
            *STAYS,
            *ADDRESSES,
            *NESTED,
            *CODE_LEFT_OF_ITS_ITEM,
        ]
    ),
    *DISPLAYS,
    *DISPLAYS_IN_ITEMS,
    *NO_DISPLAYS,
    *(f"| a | b |\n|---|---|\n| {cell} | z |" for cell, _ in CELLS),
    *(text.replace("&gt;", ">") for text in NO_FORMULAS),
    *FORMULAS,
    *ENVIRONMENTS,
    RIGHT_TO_LEFT,
]


@pytest.mark.parametrize("text", [*ALL, "\n\n".join(ALL)])
def test_what_grows_ends_as_the_whole_one_does(text):
    for longest in (1, 3, 12):
        assert streamed(text, seed=longest, longest=longest).html == render(text)


def test_a_long_address_in_code_is_code():
    text = f"Here:\n\n```js\nx='https://a.b/{'y' * 5000}'\n```\n"

    assert "<figure" in str(render(text))


COSTLY = [
    "\\begin{align}\n",
    "\\begin{align}&\\end{align}\n",
    "```md\n",
    "$HOME/",
    "\\ce{",
    "`$` ``",
    "$a$$",
    "1. a\n  1. b\n",
    "\\[\n",
    "$$\n",
    "\\begin{align}\n\\[\n$$ \n",
    "- ```\nx\n",
    "> " * 40 + "$x\n",
    "$$\n" + "a: b\n" * 5,
    "http://a.b**中",
]


@pytest.mark.parametrize("piece", [")", "a)", ")&a;", "(", "$x$ ", "1. a\n  - b\n", "<a>\n", "\\begin{align}", *COSTLY])
def test_hostile_repetition_costs_little(piece):
    text = "http://a.b/" + piece * (190_000 // len(piece))
    began = time.thread_time()
    render(text)

    assert time.thread_time() - began < 5


@pytest.mark.parametrize("piece", ["**_ *_", "*a **b", "~__._。 "])
def test_more_signs_of_emphasis_than_the_parser_pairs_in_time_are_shown_as_they_were_written(piece):
    assert str(render(piece * 20_000)).startswith('<pre class="plain"')
    assert "<pre" not in str(render((piece * 100 + "\n\n") * 200)).replace("<pre><code>", "")


def test_any_number_of_signs_in_code_is_code():
    assert str(render("```\n" + "a*b_c " * 15_000 + "\n```\n")).startswith("<figure")
