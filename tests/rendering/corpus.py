"""The corpus of hostile outputs: a name, a text, and what must not be found of it."""

from __future__ import annotations

import json
import os
from array import array
from dataclasses import dataclass
from pathlib import Path

from chatapp.kernel.text import clean_model_text
from tests.rendering.page import cut

DATA = Path(os.environ.get("CHATAPP_DATA", Path(__file__).parents[3] / "shared" / "data"))
CORPUS = DATA / "hostile-outputs-dev.jsonl"


@dataclass(frozen=True)
class Hostile:
    name: str
    text: str
    must_not: list[str]

    @property
    def saved(self) -> str:
        """The text as it is kept and streamed."""
        return clean_model_text(self.text)

    def pieces(self, seed: int) -> list[str]:
        """Cut it at random places, also between the halves of one character, into some hundred pieces at most."""
        units = "".join(map(chr, array("H", self.text.encode("utf-16-le", "surrogatepass"))))
        return cut(units, seed, longest=max(12, len(units) // 50))


def read() -> list[Hostile]:
    """Return the corpus; empty where this machine has none."""
    if not CORPUS.exists():
        return []
    return [Hostile(**json.loads(line)) for line in CORPUS.read_text("utf-8").splitlines()]
