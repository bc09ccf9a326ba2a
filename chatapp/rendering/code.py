"""Colours the code in an answer with a small set of our own classes (static/css/code.css)."""

from __future__ import annotations

import time
from functools import lru_cache
from html import escape

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Token, _TokenType

# About 25 ms of work; longer code is shown without colours.
LONGEST_COLOURED_CHARS = 12_000
# Most lexers are quadratic on hostile text: we measured 14 s. They yield often, so they can be stopped.
LONGEST_CPU_SECONDS = 0.08

# Our own list: an unknown name makes the library search all installed packages, and some lexers (ini, make) look so
# far ahead that they can't be stopped in time.
LANGUAGES = {
    alias: name
    for name, aliases in {
        "bash": "sh shell zsh make makefile",
        "c": "h",
        "cpp": "c++ cc hpp",
        "csharp": "c# cs",
        "css": "",
        "dart": "",
        "diff": "patch",
        "docker": "dockerfile",
        "elixir": "ex exs",
        "go": "golang",
        "graphql": "gql",
        "haskell": "hs",
        "html": "htm svg xhtml",
        "java": "",
        "javascript": "js jsx mjs cjs",
        "json": "json5 jsonc",
        "julia": "jl",
        "kotlin": "kt",
        "lua": "",
        "nginx": "",
        "perl": "pl",
        "php": "",
        "powershell": "ps1 pwsh",
        "python": "py python3 py3",
        "r": "",
        "ruby": "rb",
        "rust": "rs",
        "scala": "",
        "scss": "",
        "sql": "sqlite mysql postgresql postgres",
        "swift": "",
        "toml": "ini cfg conf properties",
        "typescript": "ts tsx",
        "xml": "",
        "yaml": "yml",
    }.items()
    for alias in (name, *aliases.split())
}

CLASSES = {
    Token.Comment: "c",
    Token.Comment.Preproc: "a",
    Token.Keyword: "k",
    Token.Keyword.Constant: "m",
    Token.Keyword.Type: "t",
    Token.Operator.Word: "k",
    Token.Name.Attribute: "a",
    Token.Name.Builtin: "t",
    Token.Name.Class: "t",
    Token.Name.Constant: "m",
    Token.Name.Decorator: "a",
    Token.Name.Exception: "t",
    Token.Name.Function: "f",
    Token.Name.Tag: "k",
    Token.Literal.Number: "m",
    Token.Literal.String: "s",
    Token.Generic.Deleted: "d",
    Token.Generic.Heading: "k",
    Token.Generic.Inserted: "i",
    Token.Generic.Subheading: "k",
}


def colour(source: str, language: str) -> str:
    """Return the code as escaped HTML, with <span class> around coloured parts; its text is exactly the source."""
    if language.lower() not in LANGUAGES or len(source) > LONGEST_COLOURED_CHARS:
        return escape(source, quote=False)
    runs: list[tuple[str, list[str]]] = []
    # The first use of a language imports its lexer; don't count that.
    lexer = _lexer(LANGUAGES[language.lower()])
    deadline = time.thread_time() + LONGEST_CPU_SECONDS
    for kind, text in lexer.get_tokens(source):
        if time.thread_time() > deadline:
            return escape(source, quote=False)
        css_class = _class_of(kind)
        if runs and (runs[-1][0] == css_class or text.isspace()):
            runs[-1][1].append(text)
        else:
            runs.append((css_class, [text]))
    pieces = [(css_class, "".join(texts)) for css_class, texts in runs]
    # A lexer may change line ends or drop a byte order mark. Code is copied, so it must stay exact.
    if "".join(text for _, text in pieces) != source:
        return escape(source, quote=False)
    return "".join(_span(css_class, escape(text, quote=False)) for css_class, text in pieces)


@lru_cache(len(LANGUAGES))
def _lexer(name: str) -> Lexer:
    return get_lexer_by_name(name, stripnl=False, ensurenl=False)


@lru_cache(512)
def _class_of(kind: _TokenType) -> str:
    return next((CLASSES[kind] for kind in reversed(kind.split()) if kind in CLASSES), "")


def _span(css_class: str, html: str) -> str:
    return f'<span class="{css_class}">{html}</span>' if css_class else html
