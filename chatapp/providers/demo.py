"""A model that needs no key and no network: paced, varied Markdown that says plainly that it is a demo.

An answer is an opening, a body that suits the question (the first match in RECIPES), and a note that this is a demo.
German questions get German answers. It thinks aloud first if the chat allows it or the question asks for it.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace

import gevent

from chatapp.providers.base import ChatRequest, Chunk, ModelInfo
from chatapp.providers.demo_cards import CARDS
from chatapp.providers.demo_texts import (
    ENGLISH_CHAPTERS,
    ENGLISH_POEMS,
    ENGLISH_SENTENCES,
    FORMULAS,
    GERMAN_CHAPTERS,
    GERMAN_POEMS,
    GERMAN_SENTENCES,
    PLANETS,
    SNIPPETS,
)

TAKES = 8  # Number of variants; fixed, so that a cut-off answer can be continued.
FIRST_WORD_PACES = 15  # 0.3 s at the usual pace.
# How much it thinks if only the question asks for it. Nothing is billed, so no thinking budget is exceeded.
ASKED_IN_WORDS_TOKENS = 1_024

GERMAN = re.compile(
    r"[äöüß]|\b(ich|du|ist|und|nicht|wie|was|warum|bitte|hallo|moin|servus|ein|eine|der|das|mir|kannst|schreib|zeig)\b",
    re.IGNORECASE,
)
GO_ON = re.compile(r"go on with your answer", re.IGNORECASE)
THINK = re.compile(r"\b(think|reason|puzzle|riddle|(nach)?denk\w*|überleg\w*|rätsel\w*)\b", re.IGNORECASE)
ENGLISH = re.compile(r"\b(the|is|are|you|what|how|why|please|hello|can|me|write|show|and|of|in|to)\b", re.IGNORECASE)
# Words that say nothing about the subject: articles, verbs, and the kinds of answer in RECIPES.
COMMON_WORDS = """
about all also always and answer any are because before below best between but can code could did does doing down each
every explain for formula from function get give good had has have hello her here his how into its just know like list
long make more most much need not one only other our out over plan please poem program really script should show some
something such table tell than that the their them then there these they thing think this through today two very want
was what when where which while who why will with without would write you your
aber alle als also auch auf aus bei bitte bitten code dann das dass dein deine deiner dem den denn der des die dies
diese dieser dir doch du durch ein eine einen einer eines erkläre etwas formel für funktion gedicht gibt habe haben
hallo hat hier ich ihr ist jetzt kann kannst könntest lange langen liste mal mehr mein meine mich mir mit nach nicht
nachdenken noch nur oder plan schreib schreibe sehr sein sich sie sind tabelle über und uns vom von wann war warum was
welche wenn wer werden wie wieder wir wird zeig zeige zum zur zwischen
"""
# A line that begins so is not the rest of the one before, and one that ends so is whole.
BEGINS_A_LINE = re.compile(r"[|#>`$]|[-*] |\d+\. ")
ENDS_A_LINE = re.compile(r"\\$|^([|#]|```|\$\$)")
STOP_WORDS = frozenset(COMMON_WORDS.split())


class DemoProvider:
    """Answers offline. The same random source, question and history give the same pieces.

    pace_seconds: the mean time between two words; 0.02 is about 60 tokens a second.
    """

    name = "demo"

    def __init__(
        self,
        pace_seconds: float = 0.02,
        sleep: Callable[[float], object] = gevent.sleep,
        source: random.Random | None = None,
    ) -> None:
        self._pace_seconds = pace_seconds
        self._sleep = sleep
        self._source = source or random.Random()

    def models(self) -> tuple[ModelInfo, ...]:
        return (ModelInfo("demo", "Demo (offline)", 32_768, 8_192, max_thinking_tokens=4_096),)

    def warm_up(self) -> None:
        """Do nothing: there is nothing slow here."""

    def close(self) -> None:
        """Do nothing: there are no connections."""

    def count_tokens(self, model: str, text: str) -> int | None:
        return None

    def stream(self, request: ChatRequest) -> Iterator[Chunk]:
        """Yield thoughts and an answer word by word. Never reports usage, since nothing is billed."""
        ask = read(request, take=self._source.randrange(TAKES))
        thought, words = words_of(thoughts(ask)), words_of(rest_of_answer(request) or compose(ask))
        thinking_tokens = request.thinking_tokens or (ASKED_IN_WORDS_TOKENS if THINK.search(ask.question) else 0)
        may_think, allowed = words_within(thought, thinking_tokens), words_within(words, request.max_output_tokens)
        said = [Chunk(thought=word) for word in thought[:may_think]] + [Chunk(word) for word in words[:allowed]]
        wait_seconds = FIRST_WORD_PACES * self._pace_seconds
        for chunk in said:
            self._sleep(wait_seconds)
            yield chunk
            wait_seconds = self._pace_seconds * self._source.uniform(0.5, 1.5)
        yield Chunk(finish_reason="stop" if allowed == len(words) else "length")


def words_of(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


def words_within(words: list[str], max_tokens: int) -> int:
    """Return how many of the first words fit into a number of tokens, estimated."""
    from chatapp.tokens.estimate import (
        calibrated,
    )  # Imported here, because tokens depends on providers and not vice versa.

    return bisect_right(range(1, len(words) + 1), max_tokens, key=lambda n: calibrated("".join(words[:n])))


def read(request: ChatRequest, take: int) -> Ask:
    questions = [message.content for message in request.messages if message.role == "user"]
    question = questions[-1] if questions else ""
    earlier = questions[-2] if len(questions) > 1 else ""
    language = "de" if len(GERMAN.findall(question)) > len(ENGLISH.findall(question)) else "en"
    return Ask(question, earlier, language, random.Random(take))


def rest_of_answer(request: ChatRequest) -> str:
    """Return the rest of a cut-off answer, found among the variants that start the same way.

    "" if no rest is requested, or if the history that was sent does not reach back to the question.
    """
    asked = [place for place, message in enumerate(request.messages) if message.role == "user"]
    while asked and GO_ON.match(request.messages[asked[-1]].content):
        asked.pop()
    if not asked or asked[-1] == len(request.messages) - 1:
        return ""
    said = "".join(message.content for message in request.messages[asked[-1] :] if message.role == "assistant")
    question = replace(request, messages=request.messages[: asked[-1] + 1])
    takes = [compose(read(question, take)) for take in range(TAKES)]
    return next((take.removeprefix(said) for take in takes if take.startswith(said)), "")


def compose(ask: Ask) -> str:
    """Return a whole answer, in Markdown."""
    body = next(recipe for pattern, recipe in RECIPES if pattern.search(ask.question))
    answer = body(ask).strip()
    return answer if body is poem else flowing(answer)


def flowing(text: str) -> str:
    """Join the lines of each paragraph: the sources below are wrapped, and in an answer each line end shows."""
    lines: list[str] = []
    is_fenced = False
    for line in text.split("\n"):
        is_fenced ^= line.startswith(("```", "$$"))
        mark, words = re.match(r"(> ?)?(.*)", line, re.DOTALL).groups("")  # type: ignore[union-attr]
        goes_on = words and not BEGINS_A_LINE.match(words) and lines and lines[-1].removeprefix(mark) and not is_fenced
        if goes_on and lines[-1].startswith(mark) and not ENDS_A_LINE.search(lines[-1]):
            lines[-1] += f" {words.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)


def thoughts(ask: Ask) -> str:
    """Return the thoughts before an answer, in the form that real models use."""
    return ask.say(
        f"""**Reading the question**

So this is about {ask.topic}. What would help most? Something short to begin with, and then something to look at.

**Weighing what I know**

Which is nothing: I am a demo and have read no books. I could make something up, but it would be wrong sooner or later,
and nobody could tell when. Better to say plainly what I am, and to show what an answer looks like.

**Choosing the form**

- A list, if there are steps in it.
- A table, if there is something to compare.
- Code or a formula, if the words ask for it.

That is settled, then. I write it down now.""",
        f"""**Die Frage lesen**

Es geht also um {ask.topic}. Was hülfe am meisten? Wohl erst etwas Kurzes und dann etwas zum Ansehen.

**Abwägen, was ich weiß**

Nämlich nichts: Ich bin eine Demo und habe keine Bücher gelesen. Ich könnte etwas erfinden, aber es wäre früher oder
später falsch, und niemand merkte, wann. Besser sage ich klar, was ich bin, und zeige, wie eine Antwort aussieht.

**Die Form wählen**

- Eine Liste, wenn Schritte darin vorkommen.
- Eine Tabelle, wenn es etwas zu vergleichen gibt.
- Code oder eine Formel, wenn die Worte danach fragen.

Damit ist es entschieden. Ich schreibe es auf.""",
    )


class Ask:
    """What a recipe needs to know about a question."""

    def __init__(self, question: str, earlier: str, language: str, source: random.Random) -> None:
        self.question = question
        self.earlier = earlier
        self.is_german = language == "de"
        self.source = source

    def say(self, english: str, german: str) -> str:
        return german if self.is_german else english

    def one_of(self, english: list[str], german: list[str]) -> str:
        return self.source.choice(german if self.is_german else english)

    @property
    def topic(self) -> str:
        """The question's longest distinctive words, letters and digits only: its Markdown cannot be trusted."""
        return topic_of(self.question) or topic_of(self.earlier) or self.say("your question", "deine Frage")

    @property
    def note(self) -> str:
        return self.say(
            "> 🧪 *From the built-in demo, not a model. An administrator can connect one, or set `GEMINI_API_KEY`.*",
            "> 🧪 *Aus der eingebauten Demo. Administratoren verbinden ein echtes Modell, oder: `GEMINI_API_KEY`.*",
        )

    @property
    def reminder(self) -> str:
        """A paragraph that refers to the question before this one, "" at the start of a chat."""
        topic = topic_of(self.earlier)
        if not topic:
            return ""
        return self.say(
            f"Earlier we had **{topic}**; this follows on.\n\n", f"Vorhin ging es um **{topic}**; das knüpft an.\n\n"
        )


def topic_of(text: str) -> str:
    words = dict.fromkeys(re.findall(r"[^\W_]{3,24}", text))
    own = [word for word in words if word.lower() not in STOP_WORDS]
    kept = set(sorted(own, key=len, reverse=True)[:3])
    return ", ".join(word for word in own if word in kept)


def greeting(ask: Ask) -> str:
    opening = ask.one_of(
        ["Hello! 👋 Good to see you.", "Hi there! 👋", "Hey! 👋 Nice of you to drop by."],
        ["Hallo! 👋 Schön, dass du da bist.", "Hi! 👋", "Grüß dich! 👋"],
    )
    return opening + "\n\n" + abilities(ask)


def abilities(ask: Ask) -> str:
    return ask.say(
        """I am the **built-in demo**: no model, no key, no network. The rest is real: the streaming, the Markdown,
the token meter, Stop, reload in mid-answer, a second tab that joins in.

### Things to try

| Ask for | and see |
|---|---|
| *a function in Rust* | highlighted code, with a copy button |
| *a table of planets* | a table that scrolls on a phone |
| *the quadratic formula* | LaTeX: $x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$ |
| *a poem about rain* | verse, line by line |
| *a long answer* | several screens; press **Stop** half way |
| *something to think about* | what the model thinks, in a fold |
| *eine Liste, bitte* | the same in German |

### Connecting a real model

1. Get a key at <https://aistudio.google.com/apikey>, or start a server such as Ollama.
2. As an administrator, open **Administration → Models**, enter it, and test it.

Or set `GEMINI_API_KEY` or `OPENAI_BASE_URL` in the environment and restart.""",
        """Ich bin die **eingebaute Demo**: kein Modell, kein Schlüssel, kein Netz. Der Rest ist echt: das Streaming,
das Markdown, der Token-Zähler, Stopp, Neuladen mitten in der Antwort, ein zweiter Tab, der einsteigt.

### Zum Ausprobieren

| Frage nach | und sieh |
|---|---|
| *einer Funktion in Rust* | farbigen Code mit Kopierknopf |
| *einer Tabelle der Planeten* | eine Tabelle, die auf dem Telefon rollt |
| *der Lösungsformel* | LaTeX: $x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$ |
| *einem Gedicht über Regen* | Verse, Zeile für Zeile |
| *einer langen Antwort* | mehrere Bildschirme; drück mittendrin **Stopp** |
| *etwas zum Nachdenken* | was das Modell denkt, zum Aufklappen |

### Ein echtes Modell verbinden

1. Hol dir einen Schlüssel auf <https://aistudio.google.com/apikey> oder starte einen Server wie Ollama.
2. Öffne als Administrator **Verwaltung → Modelle**, gib ihn ein und teste ihn.

Oder setze `GEMINI_API_KEY` oder `OPENAI_BASE_URL` in der Umgebung und starte neu.""",
    )


def code(ask: Ask) -> str:
    language = next((name for name, pattern in CODE_NAMES if pattern.search(ask.question)), "python")
    opening = ask.one_of(
        [
            f"Here is a small one in **{language}**:",
            f"Sure, in **{language}**:",
            f"In **{language}** it might look so:",
        ],
        [f"Hier etwas Kleines in **{language}**:", f"Gern, in **{language}**:", f"In **{language}** etwa so:"],
    )
    points = ask.say(
        "- It is short enough to read in one go.\n- The name says *what*, the body says *how*.\n"
        "- It takes $O(n)$ steps, which is all anyone needs here.",
        "- Kurz genug, um es in einem Zug zu lesen.\n- Der Name sagt *was*, der Rumpf sagt *wie*.\n"
        "- Es braucht $O(n)$ Schritte, mehr verlangt hier niemand.",
    )
    return f"{ask.reminder}{opening}\n\n```{language}\n{SNIPPETS[language]}\n```\n\n{points}\n\n{ask.note}"


def table(ask: Ask) -> str:
    opening = ask.say(f"A table, with **{ask.topic}** in mind:", f"Eine Tabelle zu **{ask.topic}**:")
    rows = ask.source.sample(PLANETS, 5)
    head = ask.say(
        "| Planet | Diameter (km) | Moons | A day lasts |\n|:--|--:|--:|:--|",
        "| Planet | Durchmesser (km) | Monde | Ein Tag dauert |\n|:--|--:|--:|:--|",
    )
    lines = [f"| {ask.say(*names)} | {diameter:,} | {moons} | {day} |" for names, diameter, moons, day in rows]
    return f"{ask.reminder}{opening}\n\n{head}\n" + "\n".join(lines) + f"\n\n{ask.note}"


def checklist(ask: Ask) -> str:
    tasks = ask.say(
        "- [x] Open this chat\n- [x] Ask a question\n- [ ] Press **Stop** in the middle of an answer\n"
        "- [ ] Reload the page while it streams\n- [ ] Look at the usage page",
        "- [x] Diesen Chat öffnen\n- [x] Eine Frage stellen\n- [ ] Mitten in einer Antwort **Stopp** drücken\n"
        "- [ ] Die Seite beim Streamen neu laden\n- [ ] Die Verbrauchsseite ansehen",
    )
    steps = ask.say(
        "1. Write down what **done** means.\n2. Take the smallest step that shows something.\n"
        "   - Keep it for a day.\n   - Then keep it, change it, or drop it.\n3. Tell someone. 📣",
        "1. Aufschreiben, was **fertig** heißt.\n2. Den kleinsten Schritt tun, der etwas zeigt.\n"
        "   - Einen Tag liegen lassen.\n   - Dann behalten, ändern oder streichen.\n3. Es jemandem erzählen. 📣",
    )
    opening = ask.say(
        f"Two lists for **{ask.topic}**, one to follow and one to tick:", f"Zwei Listen zu **{ask.topic}**:"
    )
    return f"{ask.reminder}{opening}\n\n{steps}\n\n{tasks}\n\n{ask.note}"


def maths(ask: Ask) -> str:
    intro = ask.say("The roots of $ax^2 + bx + c = 0$ are", "Die Nullstellen von $ax^2 + bx + c = 0$ sind")
    middle = ask.say(
        "What is under the root decides how many real ones there are:",
        "Was unter der Wurzel steht, entscheidet, wie viele reelle es gibt:",
    )
    cases = ask.say(
        "- $b^2 - 4ac > 0$: two\n- $b^2 - 4ac = 0$: one, counted twice\n- $b^2 - 4ac < 0$: none",
        "- $b^2 - 4ac > 0$: zwei\n- $b^2 - 4ac = 0$: eine, doppelt gezählt\n- $b^2 - 4ac < 0$: keine",
    )
    also = ask.say("And because it is beautiful:", "Und weil es schön ist:")
    formula = ask.source.choice(FORMULAS)
    root = "$$\nx_{1,2} = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}\n$$"
    return f"{ask.reminder}{intro}\n\n{root}\n\n{middle}\n\n{cases}\n\n{also}\n\n$$\n{formula}\n$$\n\n{ask.note}"


def poem(ask: Ask) -> str:
    verses = ask.one_of(ENGLISH_POEMS, GERMAN_POEMS)
    return f"### {ask.topic[:1].upper()}{ask.topic[1:]}\n\n{verses}\n\n{ask.note}"


def long_answer(ask: Ask) -> str:
    title = ask.say(f"# A long look at {ask.topic}", f"# Ausführlich: {ask.topic}")
    openings = ask.say(
        "This answer is long on purpose, so that there is something to scroll, to stop and to resume.",
        "Diese Antwort ist mit Absicht lang: zum Rollen, Anhalten und Fortsetzen.",
    )
    headings = ENGLISH_CHAPTERS if not ask.is_german else GERMAN_CHAPTERS
    sentences = ENGLISH_SENTENCES if not ask.is_german else GERMAN_SENTENCES
    chapters = [chapter(ask, number, heading, sentences) for number, heading in enumerate(headings, start=1)]
    return f"{ask.reminder}{title}\n\n{openings}\n\n" + "\n\n".join(chapters) + f"\n\n---\n\n{ask.note}"


def chapter(ask: Ask, number: int, heading: str, sentences: list[str]) -> str:
    paragraphs = [" ".join(ask.source.sample(sentences, 4)) for _ in range(2)]
    extras = [
        "> " + ask.source.choice(sentences),
        "\n".join(f"- {sentence}" for sentence in ask.source.sample(sentences, 3)),
        f"```python\n{SNIPPETS['python']}\n```",
        f"$$\n{ask.source.choice(FORMULAS)}\n$$",
    ]
    return f"## {number}. {heading}\n\n" + "\n\n".join([*paragraphs, extras[number % len(extras)]])


def follow_up(ask: Ask) -> str:
    topic = topic_of(ask.earlier)
    if not topic:
        return conversation(ask)
    return ask.say(
        f"""Back to **{topic}**, then. Since you ask for more:

1. What came before still holds: I am a demo and know nothing of {topic}.
2. What I do know is this chat: your last question began with *“{opening_words(ask.earlier)}”*.
3. A real model would now be sent the last messages as context, and so would know what *“that”* means. 🧵

{ask.note}""",
        f"""Zurück zu **{topic}**. Weil du nachfragst:

1. Das Bisherige gilt noch: Ich bin eine Demo und weiß nichts über {topic}.
2. Was ich kenne, ist dieser Chat: Deine vorige Frage begann mit *„{opening_words(ask.earlier)}“*.
3. Ein echtes Modell bekäme jetzt die letzten Nachrichten als Zusammenhang und wüsste, was *„das“* meint. 🧵

{ask.note}""",
    )


def conversation(ask: Ask) -> str:
    opening = ask.one_of(
        [
            f"**{ask.topic}**: a good thing to ask about. 🤔",
            f"Let me think about **{ask.topic}** for a moment.",
            f"So it is **{ask.topic}** you want to know about.",
        ],
        [
            f"**{ask.topic}**: danach zu fragen lohnt sich. 🤔",
            f"Lass mich kurz über **{ask.topic}** nachdenken.",
            f"Es geht dir also um **{ask.topic}**.",
        ],
    )
    body = ask.say(
        """A real model would answer here from what it has learned. The demo has learned nothing, but can show what an
answer looks like:

- **Short facts** stand in lists,
- `names_of_things` in code,
- and *second thoughts* in italics.

> “A good question is half of the answer.”

Ask for **code**, a **table**, a **list**, a **formula**, a **poem** or a **long answer**, and watch it arrive.""",
        """Ein echtes Modell antwortete hier aus dem, was es gelernt hat. Die Demo hat nichts gelernt, zeigt aber gern,
wie eine Antwort aussieht:

- **Kurze Fakten** stehen in Listen,
- `namen_von_dingen` in Code,
- und *Nebengedanken* kursiv.

> „Gut gefragt ist halb gewusst.“

Frag nach **Code**, einer **Tabelle**, einer **Liste**, einer **Formel**, einem **Gedicht** oder einer **langen
Antwort** und sieh zu, wie sie eintrifft.""",
    )
    return f"{ask.reminder}{opening}\n\n{body}\n\n{ask.note}"


def opening_words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text)[:6])


def _any(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


Recipe = Callable[[Ask], str]


def card(answers: tuple[str, str]) -> Recipe:
    return lambda ask: f"{ask.say(*answers)}\n\n{ask.note}"


RECIPES: tuple[tuple[re.Pattern[str], Recipe], ...] = (
    *((_any(pattern), card(answers)) for pattern, answers in CARDS.items()),
    (
        _any(r"^\W*(hi|hello|hey|good (morning|evening|day)|hallo|moin|servus|guten (tag|morgen|abend))\b\W*\w*\W*$"),
        greeting,
    ),
    (_any(r"what can you do|who are you|^\W*help\W*$|was kannst du|wer bist du|^\W*hilfe\W*$"), abilities),
    (_any(r"(?<!how )\b(long|detailed|essay|lange?|langen|ausführlich\w*|aufsatz)\b"), long_answer),
    (_any(r"\b(poem|verse|haiku|song|gedicht|reim)\b"), poem),
    (_any(r"\b(table|compare|comparison|tabelle|vergleich\w*)\b"), table),
    (_any(r"\b(code|function|script|program|snippet|regex|query|funktion|programm|skript|quelltext)\b"), code),
    (_any(r"\b(maths?|formula|equation|integral|latex|quadratic|formel|lösungsformel|gleichung|mathe\w*)\b"), maths),
    (_any(r"\b(list|steps|todo|checklist|plan|tasks|liste|schritte|aufgaben)\b"), checklist),
    (GO_ON, follow_up),
    (_any(r"^\W*(more|why|and|go on|continue|shorter|again|mehr|warum|wieso|und|weiter|kürzer)\b.{0,40}$"), follow_up),
    (_any(r""), conversation),
)

# Tested in this order: a name that is part of another comes after it.
CODE_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("typescript", _any(r"\b(typescript|ts)\b")),
    ("javascript", _any(r"\b(javascript|js|node)\b")),
    ("java", _any(r"\bjava\b")),
    ("rust", _any(r"\brust\b")),
    ("go", _any(r"\b(golang|in go)\b")),
    ("cpp", _any(r"\b(c\+\+|cpp)(?!\w)")),
    ("c", _any(r"\bin c\b(?![+#])")),
    ("sql", _any(r"\bsql\b")),
    ("bash", _any(r"\b(bash|shell)\b")),
    ("html", _any(r"\bhtml\b")),
    ("css", _any(r"\bcss\b")),
    ("ruby", _any(r"\bruby\b")),
)
