"""Measure token counting.

    .venv/bin/python bench/tokens.py [folder with token-counts-dev.jsonl]

Section 1, accuracy: estimates against true counts (Gemma 3 vocabulary), by
kind and by language; for `calibrated` both the committed weights, which were
fitted to this very data, and cross-validated ones, refitted without the files of the
fold a text is in. "p95 err" is over texts of 20 tokens and more, "under" the
share of texts under-counted, the bootstrap range of `est/true`. Section 2, speed: CPU time of the estimators.
Section 3: how often a count is there already, on replayed dialogues. Section 4: the time that counting adds to a turn.

The folder is the argument, or CHATAPP_DATA, or ../shared/data.
"""

from gevent import monkey

monkey.patch_all()

import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.counting import print_hit_rate, print_time
from bench.fit_estimator import Row, cross_validated, load
from chatapp.tokens.estimate import calibrated, seed

HEADER = (
    f"{'':16}{'texts':>6}{'tokens':>8}{'est/true':>9}{'p5':>6}{'p50':>6}{'p95':>6}"
    f"{'p95 err':>8}{'under':>7}{'bootstrap 95 %':>16}"
)


def main() -> None:
    data = load(data_folder() / "token-counts-dev.jsonl")
    print_accuracy(data)
    print_speed(data)
    print_hit_rate(data)
    print_time(data)


def data_folder() -> Path:
    return Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHATAPP_DATA", ROOT / "../shared/data"))


# Section 1: accuracy


def print_accuracy(rows: Sequence[Row]) -> None:
    texts = [row["text"] for row in rows]
    accuracy_table("seed", rows, [seed(text) for text in texts])
    accuracy_table("calibrated, committed weights, fitted on this data", rows, [calibrated(text) for text in texts])
    accuracy_table("calibrated, cross-validated by file", rows, cross_validated(rows))


def accuracy_table(title: str, rows: Sequence[Row], estimates: Sequence[int]) -> None:
    """Print one line for all rows, one a kind, one a language or format; groups of 500 true tokens and more."""
    print(f"\n{title}\n{HEADER}")
    pairs = [(estimated, row["gemma3_tokens"]) for row, estimated in zip(rows, estimates, strict=True)]
    print_accuracy_line("all", pairs)
    for field in ("kind", "lang"):
        groups = defaultdict(list)
        for row, pair in zip(rows, pairs, strict=True):
            groups[row[field]].append(pair)
        print(f"by {field}")
        for name, members in sorted(groups.items(), key=lambda item: -sum(true for _, true in item[1])):
            if sum(true for _, true in members) >= 500:
                print_accuracy_line(name, members)


def print_accuracy_line(name: str, pairs: Sequence[tuple[int, int]]) -> None:
    ratios = sorted(estimated / true for estimated, true in pairs)
    errors = sorted(abs(estimated / true - 1) for estimated, true in pairs if true >= 20) or [0.0]
    under = sum(ratio < 1 for ratio in ratios) / len(ratios)
    low, high = bootstrap(pairs)
    print(
        f"{name:16}{len(pairs):6}{sum(true for _, true in pairs):8}{aggregate(pairs):9.3f}"
        f"{quantile(ratios, 0.05):6.2f}{quantile(ratios, 0.5):6.2f}{quantile(ratios, 0.95):6.2f}"
        f"{quantile(errors, 0.95):8.1%}{under:7.0%}{low:9.3f}-{high:.3f}"
    )


def aggregate(pairs: Sequence[tuple[int, int]]) -> float:
    return sum(estimated for estimated, _ in pairs) / sum(true for _, true in pairs)


def quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]


def bootstrap(pairs: Sequence[tuple[int, int]], draws: int = 200) -> tuple[float, float]:
    """Return the range that holds 95 % of the aggregates of as many texts drawn again."""
    rng = random.Random(1)
    found = sorted(aggregate(rng.choices(pairs, k=len(pairs))) for _ in range(draws))
    return quantile(found, 0.025), quantile(found, 0.975)


# Section 2: speed


def print_speed(rows: Sequence[Row]) -> None:
    print(f"\n{'CPU time':16}{'us / 100 characters':>28}{'ms for all 5,000':>28}")
    print(f"{'':16}" + f"{'seed':>14}{'calibrated':>14}" * 2)
    for name, text in speed_texts(rows).items():
        figures = [best_ms(function, text) for function in (seed, calibrated)]
        print(
            f"{name:16}"
            + "".join(f"{ms * 1e5 / len(text):14.1f}" for ms in figures)
            + "".join(f"{ms:14.3f}" for ms in figures)
        )


def speed_texts(rows: Sequence[Row]) -> dict[str, str]:
    """Return texts of 5,000 characters: the data's, by language or format, and some of the worst that can be made."""
    texts = defaultdict(list)
    for row in rows:
        texts[row["lang"]].append(row["text"])
    joined = {name: "\n".join(parts)[:5000] for name, parts in texts.items()}
    rng = random.Random(1)
    made = {
        "a question": "What is the capital of Australia, and why?",
        "any characters": "".join(chr(rng.randrange(0x110000)) for _ in range(5000)),
        "one letter": "a" * 5000,
        "a a a": "a " * 2500,
        ".a.a.a": ".a" * 2500,
        "rules": "--==" * 1250,
        "spaces": "   a" * 1250,
        "emoji": "\U0001f600" * 5000,
        "rare Han": "".join(chr(rng.randrange(0x4E00, 0xA000)) for _ in range(5000)),
    }
    return {name: text for name, text in joined.items() if len(text) == 5000} | made


def best_ms(function: Callable[[str], int], text: str) -> float:
    """Return the CPU time of one call: the least of twenty runs, which other work on the machine disturbed least."""
    calls = 1 + 5000 // len(text)

    def once() -> float:
        began = time.process_time()
        for _ in range(calls):
            function(text)
        return (time.process_time() - began) / calls

    return 1000 * min(once() for _ in range(20))


if __name__ == "__main__":
    main()
