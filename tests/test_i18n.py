"""The texts that people read: in their language, and all of them in the catalogue."""

import re
from datetime import UTC, datetime

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from flask_babel import format_date, format_decimal, format_time
from jinja2.nodes import TemplateData

from chatapp.auth.models import User
from chatapp.kernel import errors, i18n
from chatapp.kernel.config import FILES as ROOT
from chatapp.kernel.database import write
from tests.auth.browser import signed_in

PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|\{\w+\}")
# Names of keys and of things are the same in every language.
NAMES = {"Enter", "Shift", "Esc", "Ctrl", "Alt", "K", "O", "/", "?", "‹", "›"}


@pytest.fixture(scope="module")
def german():
    with (i18n.FOLDER / "de/LC_MESSAGES/messages.po").open("rb") as file:
        return read_po(file, locale="de")


def test_a_translation_holds_the_same_placeholders(german):
    for message in german:
        originals = message.id if message.pluralizable else [message.id]
        wanted = set(PLACEHOLDER.findall("".join(originals)))
        for text in message.string if message.pluralizable else [message.string]:
            assert not text or not message.id or set(PLACEHOLDER.findall(text)) == wanted, message.id


def test_no_text_of_a_template_is_left_out_of_the_catalogue(app):
    found = {}
    for name in app.jinja_env.list_templates(extensions=["html"]):
        source = app.jinja_env.loader.get_source(app.jinja_env, name)[0]
        data = "\0".join(node.data for node in app.jinja_env.parse(source).find_all(TemplateData))
        # What stands between tags; an expression leaves a NUL, also inside a tag.
        texts = re.sub(r"<[^>]*>", "\n", data).replace("\0", "\n").split("\n")
        words = {text.strip() for text in texts if re.search(r"[A-Za-z]{2}", text) and "=" not in text}
        if left := words - NAMES:
            found[name] = left
    assert found == {}


@pytest.mark.parametrize(
    ("languages", "text"),
    [("de-AT, en;q=0.5", "Bei Tally anmelden"), ("en-GB, de;q=0.9", "Sign in to Tally"), ("fi", "Sign in to Tally")],
)
def test_a_page_is_written_in_the_browser_s_language(client, languages, text):
    assert f"<h1>{text}</h1>" in client.get("/login", headers={"Accept-Language": languages}).text


def test_an_error_page_is_written_in_the_reader_s_language_and_the_api_in_english(client, app, user):
    browser, german = signed_in(app, user.id).client, {"Accept-Language": "de"}
    address = f"/chats/{user.id}"
    assert "Diesen Chat gibt es nicht" in browser.get(address, headers=german).text
    answer = client.get(f"/api/chat/{user.id}", headers=german | user.headers)
    assert answer.json["message"] == errors.ChatNotFound.default_message


def test_a_toast_is_written_in_the_reader_s_language(app, user):
    browser, german = signed_in(app, user.id).client, {"Accept-Language": "de", "HX-Request": "true"}
    assert "Diese Seite ist veraltet" in browser.post("/chats", headers=german | {"Referer": "http://localhost"}).text


def test_every_text_is_in_the_catalogue_and_translated(german):
    with (ROOT / "babel.cfg").open() as mapping:
        methods, options = parse_mapping_cfg(mapping, "babel.cfg")
    found = extract_from_dir(ROOT, methods, options, DEFAULT_KEYWORDS | {"_l": None})
    texts = {text if isinstance(text, str) else text[0] for _file, _line, text, _comments, _context in found}
    # `make translations` adds what is new; the German is written by hand.
    assert {text for text in texts if not is_translated(german.get(text))} == set()


def is_translated(message):
    return (
        message is not None
        and not message.fuzzy
        and all([message.string] if isinstance(message.string, str) else message.string)
    )


@pytest.mark.parametrize(
    ("asked", "tag", "written"),
    [
        ("en-GB", "en-GB", "1 January 2026, 15:05; 1,234"),
        ("en-US", "en-US", "January 1, 2026, 3:05 PM; 1,234"),
        ("en-AU,en;q=0.9", "en-AU", "1 January 2026, 3:05 pm; 1,234"),
        ("de-CH, en;q=0.5", "de-CH", "1. Januar 2026, 15:05; 1’234"),
        ("de-Latn-AT", "de-AT", "1. Jänner 2026, 15:05; 1.234"),
        ("fr-FR, de-CH;q=0.8", "de-CH", "1. Januar 2026, 15:05; 1’234"),
        ("en-XX", "en", "January 1, 2026, 3:05 PM; 1,234"),
        ("en-GB;q=0, en", "en", "January 1, 2026, 3:05 PM; 1,234"),
        ("*", "en", "January 1, 2026, 3:05 PM; 1,234"),
        ("en-" + "x" * 5000, "en", "January 1, 2026, 3:05 PM; 1,234"),
    ],
)
def test_dates_and_numbers_are_written_as_in_the_region_that_the_browser_names(app, asked, tag, written):
    instant = datetime(2026, 1, 1, 15, 5, tzinfo=UTC)
    with app.test_request_context("/login", headers={"Accept-Language": asked}):
        day, time = format_date(instant.date(), "long"), format_time(instant, "short", rebase=False)
        found = f"{day}, {time}; {format_decimal(1234)}".replace("\u202f", " ").replace("\xa0", " ")
    page = app.test_client().get("/login", headers={"Accept-Language": asked}).text

    assert found == written
    assert f'<html lang="{tag}"' in page


def test_a_language_that_was_chosen_keeps_the_region_only_where_it_is_the_browsers_too(app, user):
    browser = signed_in(app, user.id).client
    with app.app_context(), write() as session:
        session.get(User, user.id).locale = "de"

    assert '<html lang="de-AT"' in browser.get("/usage", headers={"Accept-Language": "en-GB, de-AT"}).text
    assert '<html lang="de"' in browser.get("/usage", headers={"Accept-Language": "en-GB"}).text
