"""The examples of CommonMark 0.31, whole and in pieces, and where the product reads otherwise on purpose."""

import pytest

from chatapp.rendering import render
from tests.rendering.commonmark import compared, read
from tests.rendering.page import Page, streamed

EXAMPLES = read()
pytestmark = pytest.mark.skipif(not EXAMPLES, reason="CommonMark's examples: not fetched (make setup-dev does it)")

# Reason → numbers of the examples.
OTHERWISE = {
    "a tag is shown as text": {21, 31, *range(148, 192), 201, 308, 309, 344, *range(475, 478), 491, 494, 524, 536}
    | {*range(613, 618), 623, *range(625, 632), 642, 643},
    "an address that stands bare is a link": {602, 608, 611, 612},
    "what stands between \\[ and \\] is a formula": {12},
    "a list may be indented by two below a number": {297},
    "a dollar that begins no formula counts as a letter": {354},
}
EXCEPTIONS = set().union(*OTHERWISE.values())


def says_the_same(example):
    return compared(render(example.text)) == compared(example.html)


def test_every_example_is_read_as_commonmark_says():
    wrong = [example for example in EXAMPLES if example.number not in EXCEPTIONS and not says_the_same(example)]

    assert [(*example, compared(render(example.text))) for example in wrong] == []
    assert len(EXAMPLES) == 652


def test_no_exception_is_needless():
    assert [example.number for example in EXAMPLES if example.number in EXCEPTIONS and says_the_same(example)] == []


@pytest.mark.parametrize("longest", [1, 3, 12])
def test_every_example_in_pieces_ends_as_the_whole_one_does(longest):
    wrong = [e for e in EXAMPLES if streamed(e.text, seed=longest, longest=longest).html != render(e.text)]

    assert wrong == []


def test_every_example_cut_anywhere_ends_as_the_whole_one_does():
    for example in EXAMPLES:
        cuts = ((example.text[:at], example.text[at:]) for at in range(len(example.text)))
        pages = {Page().feed(*pieces).finish().html for pieces in cuts}
        assert (example.number, pages) == (example.number, {render(example.text)})
