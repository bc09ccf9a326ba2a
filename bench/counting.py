"""The time that counting adds to a turn, and how often a count is there already. Sections 3 and 4 of bench/tokens.py.

The provider is the product's own, over real sockets, before the tests' scripted Gemini in a process of its own,
whose counter takes 40 ms to answer.
"""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from chatapp.kernel.config import load as load_settings
from chatapp.providers.gemini import GeminiProvider
from chatapp.providers.registry import Providers
from chatapp.tokens.cache import MemoryCache
from chatapp.tokens.count import Counter
from tests import servers

Row = dict[str, Any]
API_SECONDS = 0.040
TURNS = 300
DIALOGUES = 400
SYSTEM_PROMPTS = 8
RETRIED = 0.06
MODEL = "gemini-3.5-flash-lite"


@dataclass(frozen=True)
class Turn:
    """What is counted at the end of one: a question, its answer, and the chat's system prompt."""

    question: str
    answer: str
    system: str


def dialogues(rows: Sequence[Row], seed: int = 1) -> list[list[Turn]]:
    """Make dialogues of real questions and answers, the same for the same rows.

    Assumed, since no traffic is at hand: two to ten turns; every second chat has one of eight system prompts, the
    first ones much more often; 6 % of the questions are asked again for another answer; one chat in ten begins with
    one of five questions that everybody asks.
    """
    rng = random.Random(seed)
    questions = [row["text"] for row in rows if row["kind"] in ("prompt", "short") and len(row["text"]) <= 5000]
    answers = [row["text"] for row in rows if row["kind"] in ("answer", "answer_code", "answer_gemini")]
    systems = [text for text in questions if 200 < len(text) < 2000][:SYSTEM_PROMPTS]
    made = []
    for _ in range(DIALOGUES):
        rank = min(int(rng.expovariate(0.7)), SYSTEM_PROMPTS - 1)
        system = systems[rank] if rng.random() < 0.5 else ""
        turns: list[Turn] = []
        for number in range(rng.randint(2, 10)):
            question = rng.choice(questions[:5] if number == 0 and rng.random() < 0.1 else questions)
            # Two people write alike, but seldom to the letter: a word of their own makes a text another one.
            own = "" if question in questions[:5] else f" {rng.randrange(10**6)}"
            answer = f"{rng.choice(answers)} {rng.randrange(10**6)}"
            turns.append(Turn(question + own, answer, system))
            if rng.random() < RETRIED:
                turns.append(Turn(question + own, f"{rng.choice(answers)} {rng.randrange(10**6)}", system))
        made.append(turns)
    return made


def print_hit_rate(rows: Sequence[Row]) -> None:
    """Replay the dialogues, mixed as many users would mix them, through the cache as the product has it."""
    rng, talks = random.Random(2), [list(turns) for turns in dialogues(rows)]
    print(f"\n{'cache, replayed':28}{'look-ups':>10}{'hits':>8}{'rate':>8}")
    counts = {"question": [0, 0], "answer": [0, 0], "system": [0, 0]}
    counter = Counter(Providers.from_settings(load_settings()), MemoryCache(10_000), load_settings())
    turns = 0
    while talks:
        talk = rng.choice(talks)
        turn = talk.pop(0)
        turns += 1
        if not talk:
            talks.remove(talk)
        for name in counts:
            text = getattr(turn, name)
            if text:
                count = counter.count("demo", text, "system" if name == "system" else "text")
                counts[name][0] += 1
                counts[name][1] += count.is_cached
    for name, (asked, hits) in counts.items():
        print(f"{name:28}{asked:10}{hits:8}{hits / asked:8.1%}")
    stats = counter.stats()
    print(f"{f'all, {turns} turns':28}{stats['hits'] + stats['misses']:10}{stats['hits']:8}{stats['hit_rate']:8.1%}")


def print_time(rows: Sequence[Row]) -> None:
    """Time count_all as settling calls it: everything new, all of it known, and a counter that does not answer."""
    turns = [turn for talk in dialogues(rows, seed=3) for turn in talk if turn.system][:TURNS]
    print(f"\n{'counting adds to a turn, ms':32}{'p50':>8}{'p99':>8}{'method':>12}")
    with scripted_counter(API_SECONDS) as url:
        settings = load_settings(gemini_api_key="a-key", gemini_base_url=url)
        _print_times("the API itself, bare", _bare_times(url), "-")
        provider = GeminiProvider("a-key", url)
        counter = Counter(Providers([provider]), MemoryCache(10_000), settings)
        fresh = [Turn(f"{turn.question} {n}", turn.answer, f"{turn.system} {n}") for n, turn in enumerate(turns)]
        _time(counter, fresh[:5], "")  # The first ones open the connections.
        _time(counter, fresh[5:], f"API at {API_SECONDS * 1000:.0f} ms, nothing known")
        known = [Turn(turn.question, turn.answer, fresh[5].system) for turn in fresh[5:]]
        _time(counter, [Turn(f"{turn.question}!", f"{turn.answer}!", turn.system) for turn in known], "system known")
        _time(counter, fresh[5:], "all of it known")
    estimating = Counter(Providers.from_settings(load_settings()), MemoryCache(10_000), load_settings())
    _time(estimating, turns, "estimates, nothing known", "demo")


def _time(counter: Counter, turns: Sequence[Turn], name: str, model: str = MODEL) -> None:
    times, methods = [], set()
    for turn in turns:
        began = time.perf_counter()
        parts = counter.count_all(model, {"user": turn.question, "answer": turn.answer}, turn.system)
        times.append(1000 * (time.perf_counter() - began))
        methods |= {part.method for part in parts.values()}
    if name:
        _print_times(name, times, "+".join(sorted(methods)))


def _print_times(name: str, times: Sequence[float], method: str) -> None:
    print(f"{name:32}{statistics.median(times):8.2f}{statistics.quantiles(times, n=100)[98]:8.2f}{method:>12}")


def _bare_times(url: str) -> list[float]:
    """Return the milliseconds that one count takes a client that does nothing else: what no counting can be below."""
    connection = HTTPConnection(url.removeprefix("http://"))
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Why is the sky blue?"}]}]})
    times = []
    for _ in range(TURNS // 3):
        began = time.perf_counter()
        headers = {"Content-Type": "application/json", "x-goog-api-key": "a-key"}
        connection.request("POST", f"/v1beta/models/{MODEL}:countTokens", body, headers)
        connection.getresponse().read()
        times.append(1000 * (time.perf_counter() - began))
    connection.close()
    return times


@contextmanager
def scripted_counter(seconds: float) -> Iterator[str]:
    port = servers.free_port()
    script = json.dumps([{"to": "count", "times": 0, "wait_seconds": seconds}])
    program = Path(servers.__file__).with_name("scripted_gemini.py")
    process = subprocess.Popen(
        [sys.executable, str(program), "--port", str(port), "--script", script], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
