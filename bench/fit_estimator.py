"""Fit the weights of the calibrated estimator to texts with known token counts.

    .venv/bin/python bench/fit_estimator.py ../shared/data/token-counts-dev.jsonl

Prints each kind's cross-validated aggregate, then the weights and the table of
letter pairs for chatapp/tokens/estimate.py. A row of the data is a JSON object
with `text`, `kind`, `lang`, `src`, `path` and `gemma3_tokens`.

Method: least squares of the counts in `features`, a row weighted by
1 / true tokens ** 0.85 so that short texts matter and by 1 / rows of its kind **
0.3 so that rare kinds do, rows far off weighted down (Huber), no weight below
its floor, and some artificial texts at a low weight, so that nothing is free.
The sum is then scaled to `AIM` times the true tokens.
"""

import codecs
import json
import math
import random
import re
import string
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chatapp.tokens import estimate

AIM = 1.03
FOLDS = 8
STRESS_WEIGHT = 0.02
RIDGE = 0.001
LETTERS = string.ascii_lowercase

FLOORS = {
    " C": -1500,
    " g": -1000,
    "v": -800,
    "</a>": -1200,
    ".a": -500,
    ".o": -500,
    "n": 35,
    "t": 35,
    "....": 500,
    "b": 800,
}
BY_HAND = {"a" * 26: 4000, "........": 3000, "x": 1000, "z": 1000, "rare Han": 1600, "m": 1500, "O": 2400, "4": 3000}

# Approximate true tokens of artificial texts, from ratios measured with the same vocabulary: per true token of the
# original (the first two), or per character.
ROT13, REVERSED, RANDOM_LETTERS, GIBBERISH, RANDOM_PUNCTUATION = 1.88, 1.49, 0.67, 0.44, 0.62

Row = dict[str, Any]
Case = tuple[dict[str, int], float, float]  # counts, true tokens, weight


def load(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def fold_of(row: Row) -> int:
    """Return the row's fold. All rows of one file are in one, so that no document is on both sides."""
    return zlib.crc32(f"{row['src']} {row['path'].split('#')[0]}".encode()) % FOLDS


def fit(rows: Sequence[Row]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return weights (thousandths of a token) and the table of letter pairs for these rows."""
    surprise = surprise_table(rows)
    with using(estimate.WEIGHTS, surprise):
        shares = Counter(row["kind"] for row in rows)
        cases = [
            (estimate.features(row["text"]), float(row["gemma3_tokens"]), shares[row["kind"]] ** -0.3) for row in rows
        ]
        artificial = [(estimate.features(text), true, STRESS_WEIGHT) for text, true in stress(rows)]
    weights = solve(cases + artificial)
    true_tokens = sum(true for _, true, _ in cases)
    estimated = sum(max(0, math.ceil(dot(weights, counts) / 1000)) for counts, _, _ in cases)
    scale = AIM * true_tokens / estimated
    scaled = {name: round(weight * (1 if name in BY_HAND else scale)) for name, weight in weights.items()}
    return scaled, surprise


def cross_validated(rows: Sequence[Row]) -> list[int]:
    """Return every row's estimate by the weights and the pair table that were fitted without its fold."""
    estimates = {}
    for fold in range(FOLDS):
        with using(*fit([row for row in rows if fold_of(row) != fold])):
            estimates.update(
                {i: estimate.calibrated(row["text"]) for i, row in enumerate(rows) if fold_of(row) == fold}
            )
    return [estimates[i] for i in range(len(rows))]


@contextmanager
def using(weights: dict[str, int], surprise: Sequence[str]) -> Iterator[None]:
    """Let the estimator work with other numbers for a while."""
    before = estimate.WEIGHTS, estimate._PAIRS
    estimate.WEIGHTS, estimate._PAIRS = weights, estimate._pair_table(surprise)
    try:
        yield
    finally:
        estimate.WEIGHTS, estimate._PAIRS = before


def surprise_table(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return 26 rows of 26 digits: -log2 of the second letter's share after the first, less 3, from 0 to 6."""
    pairs: Counter[str] = Counter()
    for row in rows:
        if row["kind"] not in ("base64", "hashes"):
            for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", row["text"]):
                pairs.update(map("".join, pairwise(word.lower())))
    after = {a: sum(pairs[a + b] for b in LETTERS) for a in LETTERS}
    bits = {a + b: -math.log2((pairs[a + b] + 5) / (after[a] + 130)) for a in LETTERS for b in LETTERS}
    return tuple("".join(str(min(6, max(0, int(bits[a + b]) - 3))) for b in LETTERS) for a in LETTERS)


def stress(rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    """Yield artificial texts with their approximate true tokens."""
    english = [row for row in rows if row["kind"] == "answer" and row["lang"] == "en" and row["text"].isascii()]
    for row in [row for row in english if len(row["text"]) > 300][:20]:
        yield codecs.encode(row["text"], "rot13"), ROT13 * row["gemma3_tokens"]
        yield row["text"][::-1], REVERSED * row["gemma3_tokens"]
    rng = random.Random(3)
    for _ in range(10):
        words = " ".join("".join(rng.choices(LETTERS, k=rng.randint(3, 10))) for _ in range(80))
        yield words, GIBBERISH * len(words)
        yield "".join(rng.choices(string.ascii_letters, k=600)), RANDOM_LETTERS * 600
        yield "".join(rng.choices(string.punctuation, k=400)), RANDOM_PUNCTUATION * 400


def solve(cases: Sequence[Case], rounds: int = 8) -> dict[str, float]:
    """Return the weights in thousandths by robust least squares with floors."""
    weights = {name: float(BY_HAND.get(name, 0)) for name in estimate.WEIGHTS}
    scales = [1000 / true**0.85 for _, true, _ in cases]
    trust = [weight for _, _, weight in cases]
    for _ in range(rounds):
        squares = [t * (scale / 1000) ** 2 for t, scale in zip(trust, scales, strict=True)]
        descend(weights, cases, squares)
        errors = [
            abs(dot(weights, counts) - 1000 * true) * scale / 1000
            for (counts, true, _), scale in zip(cases, scales, strict=True)
        ]
        bound = 1.5 * 1.4826 * median(errors)
        trust = [weight * min(1, bound / max(e, 1e-9)) for (_, _, weight), e in zip(cases, errors, strict=True)]
    return weights


def descend(weights: dict[str, float], cases: Sequence[Case], squares: Sequence[float]) -> None:
    """Move the weights to the bounded minimum of the weighted squares, one coordinate after the other."""
    free = [name for name in weights if name not in BY_HAND]
    gram: dict[str, Counter[str]] = {name: Counter() for name in weights}
    target: Counter[str] = Counter()
    for (counts, true, _), square in zip(cases, squares, strict=True):
        present = [(name, count) for name, count in counts.items() if count]
        for name, count in present:
            target[name] += square * count * true * 1000  # type: ignore[assignment]
            for other, times in present:
                gram[name][other] += square * count * times  # type: ignore[assignment]
    for _ in range(400):
        moved = 0.0
        for name in free:
            row = gram[name]
            # A little of the identity keeps a weight at nought that nothing in the data speaks for.
            step = target[name] - sum(value * weights[other] for other, value in row.items()) - RIDGE * weights[name]
            after = max(FLOORS.get(name, 0), weights[name] + step / (row[name] + RIDGE))
            moved = max(moved, abs(after - weights[name]))
            weights[name] = after
        if moved < 0.05:
            break


def dot(weights: dict[str, float], counts: dict[str, int]) -> float:
    return sum(weights[name] * count for name, count in counts.items())


if __name__ == "__main__":
    data = load(Path(sys.argv[1]))
    pairs = [(estimated, row["gemma3_tokens"]) for row, estimated in zip(data, cross_validated(data), strict=True)]
    for kind in sorted({row["kind"] for row in data}):
        members = [pair for row, pair in zip(data, pairs, strict=True) if row["kind"] == kind]
        print(f"{kind:14} {sum(e for e, _ in members) / sum(t for _, t in members):.3f} times the true tokens")
    fitted, table = fit(data)
    print(json.dumps(fitted, indent=4))
    print("\n".join(table))
