"""The offline demo."""

import random
import re
from pathlib import Path

import pytest

from chatapp.kernel.i18n import catalogue
from chatapp.providers.demo import DemoProvider
from chatapp.providers.demo_cards import CODE
from chatapp.tokens.estimate import calibrated
from chatapp.turns.lifecycle import CONTINUE as GO_ON


@pytest.fixture
def say(ask, text_of):
    """Return what the demo answers to the last of some texts."""

    def answer(*texts, seed=1):
        demo = DemoProvider(pace_seconds=0, source=random.Random(seed))
        return text_of(list(demo.stream(ask(*texts, max_output_tokens=8000))))

    return answer


@pytest.mark.parametrize(
    ("question", "sign"),
    [
        ("Hi!", "GEMINI_API_KEY"),
        ("What can you do?", "| Ask for |"),
        ("Write a function in Rust", "```rust"),
        ("some code, please", "```python"),
        ("Please show a query in SQL", "```sql"),
        ("Compare the planets in a table", "|:--|--:|"),
        ("Give me a checklist for moving house", "- [x] "),
        ("What is the quadratic formula?", "$$\n"),
        ("A poem about rain", "### Rain\n"),
        ("Hallo!", "eingebaute Demo"),
        ("Schreib mir ein Gedicht über Regen", "### Regen\n"),
        ("Zeig mir eine Tabelle, bitte", "| Durchmesser"),
        ("Warum ist der Himmel blau?", "Ein echtes Modell"),
        ("Why is the sky blue?", "A real model"),
    ],
)
def test_the_demo_answers_in_kind(say, question, sign):
    answer = say(question)

    assert sign in answer
    assert "demo" in answer.lower()


def test_every_answer_tells_how_to_get_a_real_model(say):
    for question in ("code", "a table", "a list", "latex", "a poem", "long", "anything at all", "hello"):
        assert "GEMINI_API_KEY" in say(question)


def test_a_long_answer_fills_several_screens(say):
    assert say("Give me a long answer about bridges").count("\n") > 60
    assert "Fazit" in say("Bitte eine lange Antwort über Brücken")


def test_the_same_source_gives_the_same_answer_and_another_varies(say):
    assert say("Hello", seed=1) == say("Hello", seed=1)
    assert len({say("Hello", seed=seed) for seed in range(20)}) > 1


def test_a_follow_up_remembers_the_question_before(say):
    assert "lighthouses" in say("Tell me about lighthouses", "Well.", "Why?")
    assert "lighthouses" in say("Tell me about lighthouses", "Well.", "Show me a function in Go")


@pytest.mark.parametrize("question", ["A long answer about bridges", "Write code in Rust", "Hallo!"])
def test_an_answer_that_was_cut_off_goes_on_with_its_own_words(say, question):
    begun = say(question)[:40]
    more = say(question, begun, GO_ON, seed=2)[:50]

    rest = say(question, begun, GO_ON, more, GO_ON, seed=3)

    assert begun + more + rest in {say(question, seed=seed) for seed in range(40)}


def test_a_rest_of_what_nobody_began_is_an_answer_all_the_same(say):
    assert "demo" in say("Hello", "What another model said", GO_ON)


def test_a_title_stands_in_a_line_of_its_own_whatever_came_before(say):
    answer = say("Write code that sorts", "Here.", "A long answer, please")

    lines = answer.split("\n")

    assert "this follows on." in lines[0]
    assert lines[2].startswith("# A long look at ")


def test_the_question_is_echoed_by_its_words_only(say):
    answer = say("What about <marquee>alert(1)</marquee> [anchors](https://x.test) and `ticks`?")

    assert "marquee" in answer
    assert not any(part in answer for part in ("<marquee", "](", "x.test", "alert(1)"))


@pytest.mark.parametrize("limit", [0, 1, 20, 100])
def test_an_answer_ends_by_length_at_its_limit(ask, text_of, limit):
    chunks = list(DemoProvider(pace_seconds=0).stream(ask("A long answer, please", max_output_tokens=limit)))

    assert calibrated(text_of(chunks)) <= limit
    assert chunks[-1].finish_reason == "length"


def test_the_words_come_at_the_pace_of_a_fast_model(ask):
    naps = []
    demo = DemoProvider(sleep=naps.append, source=random.Random(1))
    text = "".join(chunk.delta for chunk in demo.stream(ask("A long answer, please", max_output_tokens=8000)))

    assert naps[0] == pytest.approx(0.3)
    assert 40 <= calibrated(text) / sum(naps) <= 90


def test_the_demo_bills_nothing(ask):
    chunks = list(DemoProvider(pace_seconds=0).stream(ask()))

    assert all(chunk.usage is None for chunk in chunks)
    assert DemoProvider().count_tokens("demo", "text") is None


@pytest.mark.parametrize(
    ("question", "thinking_tokens", "thinks"),
    [
        ("Why is the sky blue?", 0, False),
        ("Why is the sky blue?", 1_024, True),
        ("Here is something to think about", 0, True),
        ("Ein Rätsel, bitte", 0, True),
    ],
)
def test_the_demo_thinks_where_it_may_or_where_the_question_says_so(ask, question, thinking_tokens, thinks):
    chunks = list(DemoProvider(pace_seconds=0).stream(ask(question, thinking_tokens=thinking_tokens)))

    assert any(chunk.thought for chunk in chunks) == thinks


@pytest.mark.parametrize("allowance", [1, 20])
def test_the_demo_thinks_no_further_than_it_may(ask, allowance):
    chunks = DemoProvider(pace_seconds=0).stream(ask("Why is the sky blue?", thinking_tokens=allowance))

    assert calibrated("".join(chunk.thought for chunk in chunks)) <= allowance


def suggestions(language):
    """The texts of the cards on an empty page."""
    source = Path("templates/conversation/_suggestions.html").read_text()
    return [
        catalogue(language).gettext(text) for _label, text in re.findall(r'\(_\("([^"]+)"\), _\("([^"]+)"\)\)', source)
    ]


@pytest.mark.parametrize(
    ("language", "signs"),
    [
        ("en", ["raindrops have sorted", "thank you so much", "| **Runs as** |", "def group_anagrams"]),
        (
            "de",
            ["nach Farben sortiert", "vielen Dank für deine Einladung", "| **Läuft als** |", "sortierten Buchstaben"],
        ),
    ],
)
def test_each_suggestion_of_an_empty_page_gets_an_answer_of_its_own(say, language, signs):
    answers = [say(text) for text in suggestions(language)]

    assert [sign in answer for sign, answer in zip(signs, answers, strict=True)] == [True] * 4


def test_the_code_that_the_demo_shows_passes_the_test_that_comes_with_it():
    names: dict = {}
    exec(CODE.removeprefix("```python\n").removesuffix("```"), names)

    names["test_group_anagrams"]()
