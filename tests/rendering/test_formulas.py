"""Dollars that are formulas and dollars that are not; environments, rows and chemistry."""

import re

import pytest

from chatapp.rendering import render
from tests.rendering.hostile import visible_text
from tests.rendering.page import streamed

FORMULAS = [
    "设$x=1$，则", "$|x|$", "$[0,1)$", "the $n$th", "the $x$-axis", "$f$(x)", "$H^+$", "$a+b$", "$x'$", "$2x$", "$5$", "$=$",
    "$x, y$", "$\\{1,2\\}$", "$|\\psi\\rangle$", "$P(A|B)$", "**$x$**", "($x$)", '"$x$"', "*$x$*", "$E=mc^2$.", "$\\alpha$的",
    "$n \\log n$", "$10\\%$", "$x_1,\\dots,x_n$", "$\\text{speed} = \\frac{d}{t}$", "$A \\to B$", "$total = a + b$", "$p<0.05$",
    "$x>0,$", "$d/dx$", "| a |\n|---|\n| $P(A|B)$ |", "| a |\n|---|\n| \\(|x|\\) |", "- $x$",
    "text \\begin{pmatrix}1&2\\end{pmatrix}", "1. x:\n   \\begin{align}\n   a&=b\n   \\end{align}", "\\ce{H2O}", "$\\ce{A -> B}$",
]  # fmt: skip
NO_FORMULAS = [
    "echo $A$B and ${A}${B} and $(pwd)/$(id)", "$('.x').hide() and $('.y').show()", "He paid US$5 and A$7/A$8.",
    "$5k–$10k, $1.2M/$3M, €5/$6", "foreach ($a as $k => $v) { echo $v; }", "for ($i=0;$i<5;$i++)", "df$x and df$y$z",
    "$a[$i] and $a->b($c)", "Kill $$ or echo $$.", "grep '^a$' f; grep 'b$' g", "$AAPL/$TSLA and $BTC-$ETH",
    "export A=$B; export C=$D", "费用$5，比$贵", "$USER@$HOST", "$@: $<, $(CC) -o $@ $^", '"$x"."$y"', "$FOO_BAR$BAZ",
    "costs 5$ and 10$.", "$1 and $0/$1", "Say \\begin{align} and then \\end{align}.",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_drawn_once_whatever_is_beside_it(text):
    assert str(render(text)).count("<math") == 1
    assert streamed(text, longest=3).html == render(text)


@pytest.mark.parametrize("text", NO_FORMULAS)
def test_what_is_no_formula_is_read_as_it_was_written(text):
    assert visible_text(str(render(text))).strip() == text
    assert streamed(text, longest=3).html == render(text)


def test_dollars_do_not_take_the_signs_of_emphasis():
    html = str(render("Use **$HOME** or **$USER** and *$A* or *$B*."))

    assert re.findall("<(?:strong|em)>(.*?)<", html) == ["$HOME", "$USER", "$A", "$B"]


@pytest.mark.parametrize(
    ("latex", "shown"),
    [
        ("\\ce{2H2 + O2 -> 2H2O}", "2H2+O2→2H2O"),
        ("\\ce{SO4^2-}", "SO42−"),
        ("\\ce{Na+ + Cl- <=> NaCl v}", "Na++Cl−⇌NaCl↓"),
        ("\\ce{CuSO4*5H2O}", "CuSO4·5H2O"),
        ("\\ce{A ->[H2SO4][\\Delta] B}", "A→ΔH2SO4B"),
        ("\\ce{Ca(OH)2(aq)}", "Ca(OH)2(aq)"),
        ("a \\\\[4pt] b", "ab"),
        ("\\begin{eqnarray}a&=&b\\end{eqnarray}", "a=b"),
        ("\\begin{alignat}{2}a&=b\\end{alignat}", "a=b"),
        ("\\text{50\\%}", "50%"),
        ("\\unknown{x}", "$$\\unknown{x}$$"),
    ],
)
def test_formulas_are_read_without_their_commands_or_stay_as_they_are(latex, shown):
    assert visible_text(str(render(f"$${latex}$$"))).strip() == shown
