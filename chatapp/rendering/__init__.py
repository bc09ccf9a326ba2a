"""Turns untrusted text into HTML that is safe in a page. Knows neither Flask nor the database.

    text ── comrak, raw HTML escaped ── nh3, allow-list ── our own figures, tables, MathML ── page
            markdown.py                                     code.py, maths.py

stream.py does the same while the text is still growing.
"""

from chatapp.rendering.markdown import render
from chatapp.rendering.stream import MarkdownStream, open_fence

__all__ = ["MarkdownStream", "open_fence", "render"]
