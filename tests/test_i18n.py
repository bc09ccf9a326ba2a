"""The texts that people read: in their language, and all of them in the catalogue."""

import re

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po
from jinja2.nodes import TemplateData

from chatapp.kernel import errors, i18n
from chatapp.kernel.config import FILES as ROOT
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
    ("languages", "text"), [("de-AT, en;q=0.5", "Anmelden"), ("en-GB, de;q=0.9", "Sign in"), ("fi", "Sign in")]
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
