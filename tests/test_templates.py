"""Templates show what views have loaded: the whole suite runs with the database closed while one is drawn (conftest)."""

import re
from pathlib import Path

import pytest
from flask import render_template_string
from sqlalchemy import literal, select

from chatapp import create_app
from chatapp.kernel.extensions import db

TEMPLATES = Path(__file__).parents[1] / "templates"


def test_a_template_that_asks_the_database_fails(tmp_path):
    app = create_app(database_url=f"sqlite:///{tmp_path}/chat.db", instance_dir=tmp_path, secret_key="x" * 32)
    with app.test_request_context(), pytest.raises(AssertionError, match="a template asked the database"):
        render_template_string("{{ ask() }}", ask=lambda: db.session.scalar(select(literal(1))))


def test_a_line_of_a_template_has_at_most_160_characters_but_for_one_long_text():
    long = [
        (path.name, number)
        for path in TEMPLATES.rglob("*.html")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > 160 and not re.search(r'"[^"]{90,}"', line)
    ]
    assert long == []
