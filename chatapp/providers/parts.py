"""What a message to a model is made of. No Flask, no database.

A new kind of part is a class here, a reading of it in each provider, and a kind of the exchange's parts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    text: str


Part = Text
