"""The most tokens an attachment may cost with a model, known without asking anybody. No Flask, no database.

Sources: Gemini API, media resolution (September 2026), and recorded answers: a picture costs 1,088 to 1,102 tokens with
Gemini 3 whatever its size, and tiles of 258 with Gemini 2; a PDF's page 520 to 532, and 258.
"""

from __future__ import annotations

from math import ceil

GEMINI_3_PICTURE, GEMINI_3_PAGE = 1120, 560
UNKNOWN_PAGE = 1120
TILE = 258
PATCH = 16


def picture(model: str, width: int, height: int) -> int:
    if model.startswith("gemini-2"):
        unit = min(768, max(256, int(min(width, height) / 1.5)))
        return TILE * (ceil(width / unit) * ceil(height / unit) + 1)
    if model.startswith("gemini-"):
        return GEMINI_3_PICTURE
    # The finest patches that an open model is known to use.
    return max(GEMINI_3_PICTURE, ceil(width / PATCH) * (ceil(height / PATCH) + 1))


def pdf(model: str, pages: int) -> int:
    if model.startswith("gemini-2"):
        return pages * TILE
    return pages * (GEMINI_3_PAGE if model.startswith("gemini-") else UNKNOWN_PAGE)
