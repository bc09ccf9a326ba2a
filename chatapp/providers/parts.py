"""The parts of a message to a model. No Flask, no database.

A new kind of part needs a class here, support in each provider, and a kind among the exchange's parts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    text: str


Part = Text
