"""An administrator connects models on a page: tested first, stored encrypted, in use at once and in every process."""

import pytest
from sqlalchemy import text

from chatapp import create_app
from chatapp.connections import live
from chatapp.kernel.extensions import db
from tests.auth.browser import error_of, make_account, signed_in
from tests.scripted_gemini import ScriptedGemini
from tests.scripted_openai import ScriptedOpenAI, refuses

KEY = "a-very-secret-key"
PAGE = "/admin/connections"


@pytest.fixture
def process(sqlite_url, tmp_path):
    """Make a process of a site without any model in its settings: process(setting=...)."""
    made = []

    def make(**settings):
        values = {"secret_key": "x" * 32, "rate_limits": False, "instance_dir": tmp_path} | settings
        made.append(create_app(database_url=sqlite_url, **values))
        return made[-1]

    yield make
    for app in made:
        app.extensions["live_turns"].close()
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def gemini():
    server = ScriptedGemini(api_key=KEY).start()
    yield server
    server.stop()


@pytest.fixture
def openai():
    server = ScriptedOpenAI(api_key=KEY).start()
    yield server
    server.stop()


@pytest.fixture
def app(process, gemini):
    return process(gemini_base_url=gemini.url)


@pytest.fixture
def admin_id(app):
    return make_account(app, "grace@example.org", is_admin=True)


@pytest.fixture
def admin(app, admin_id):
    return signed_in(app, admin_id)


def offered(browser):
    page = browser.get("/").text
    return page.partition('<select name="model">')[2].partition("</select>")[0] or page


def test_a_new_site_says_that_this_is_a_demo_and_tells_only_administrators_how_to_end_that(app, admin):
    ada = signed_in(app, make_account(app, "ada@example.org"))

    assert "This is the built-in demo" in ada.get("/").text
    assert PAGE not in ada.get("/").text
    assert f'href="{PAGE}"' in admin.get("/").text
    assert ada.get(PAGE).status_code == 403


def test_a_key_that_works_is_in_use_at_once(admin):
    answer = admin.post(f"{PAGE}/gemini", key=f" {KEY} ")

    assert answer.status_code == 303
    assert "gemini" in offered(admin)
    assert "This is the built-in demo" not in admin.get("/").text
    assert KEY not in admin.get(PAGE).text


def test_a_key_that_is_refused_is_not_stored_and_the_form_says_why(admin):
    answer = admin.post(f"{PAGE}/gemini", key="mistyped")

    assert answer.status_code == 422
    assert "refuses this key" in error_of(answer.text, "key")
    assert "mistyped" not in answer.text
    assert "This is the built-in demo" in admin.get("/").text


def test_a_server_is_connected_by_its_address_and_names_its_models(admin, openai):
    admin.post(f"{PAGE}/openai", address=openai.url, key=KEY, models="")

    assert openai.wait_until(lambda: "large" in offered(admin))
    assert f'value="{openai.url}"' in admin.get(PAGE).text


@pytest.mark.parametrize(
    ("address", "name", "says"),
    [
        ("ftp://nowhere", "address", "http://127.0.0.1:11434/v1"),
        ("", "address", "http://127.0.0.1:11434/v1"),
        ("http://127.0.0.1:1/v1", "key", "reached"),
        ("http://127.0.0.1:8000/" + "x" * 500, "address", "500"),
    ],
)
def test_an_address_where_no_server_answers_is_refused(admin, address, name, says):
    answer = admin.post(f"{PAGE}/openai", address=address, key="", models="")

    assert answer.status_code == 422
    assert says in error_of(answer.text, name)


def test_what_the_server_says_of_a_key_is_told_in_our_words(admin, openai):
    openai.script(refuses(429, message=f"You exceeded your current quota, key {KEY}", to="models"))

    answer = admin.post(f"{PAGE}/openai", address=openai.url, key=KEY, models="")

    assert "quota is used up" in error_of(answer.text, "key")
    assert KEY not in answer.text


def test_another_process_uses_it_without_a_restart(process, app, admin, admin_id, gemini, monkeypatch):
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.0)
    other = signed_in(process(gemini_base_url=gemini.url), admin_id)
    assert "This is the built-in demo" in other.get("/").text

    admin.post(f"{PAGE}/gemini", key=KEY)
    assert "gemini" in offered(other)

    other.post(f"{PAGE}/gemini/delete")
    assert "This is the built-in demo" in admin.get("/").text


def test_a_chat_is_answered_by_what_was_connected_and_refused_by_what_is_not_any_more(app, admin, gemini):
    admin.post(f"{PAGE}/gemini", key=KEY)
    chat = admin.post("/chats", text="Hello").headers["Location"]
    assert gemini.wait_until(lambda: any(each.kind == "stream" for each in gemini.requests))

    admin.post(f"{PAGE}/gemini/delete")

    assert "This is the built-in demo" in admin.get("/").text
    assert admin.get(chat).status_code == 200


def test_the_environment_goes_first_and_is_only_shown(process, admin_id, gemini):
    admin = signed_in(process(gemini_base_url=gemini.url, gemini_api_key="from-outside"), admin_id)

    page, answer = admin.get(PAGE).text, admin.post(f"{PAGE}/gemini", key=KEY)

    assert "Connected by GEMINI_API_KEY" in page
    assert f'action="{PAGE}/gemini' not in page
    assert "from-outside" not in page
    assert answer.status_code == 403


def test_the_database_holds_no_key_in_clear(app, admin, caplog):
    admin.post(f"{PAGE}/gemini", key=KEY)

    with app.app_context(), db.engine.connect() as connection:
        (sealed,) = connection.scalars(text("SELECT sealed_key FROM connections"))
    assert KEY not in sealed
    assert KEY not in caplog.text


@pytest.mark.parametrize(("fallbacks", "is_read"), [("x" * 32, True), ("", False)], ids=["kept", "lost"])
def test_after_a_new_secret_key_the_old_one_still_opens_it_if_it_is_named(process, admin, gemini, fallbacks, is_read):
    admin.post(f"{PAGE}/gemini", key=KEY)

    renewed = process(gemini_base_url=gemini.url, secret_key="y" * 32, secret_key_fallbacks=fallbacks)
    page = signed_in(renewed, make_account(renewed, "ada@example.org", is_admin=True)).get(PAGE).text

    assert ("SECRET_KEY has changed" in page) != is_read
    assert ("The built-in demo answers" in page) != is_read


def test_an_empty_key_keeps_the_stored_one(app, admin, openai):
    admin.post(f"{PAGE}/openai", address=openai.url, key=KEY, models="")

    answer = admin.post(f"{PAGE}/openai", address=openai.url, key="", models="small=4096")

    assert answer.status_code == 303
    assert "large" not in offered(admin)


def test_disconnecting_what_is_not_connected_is_not_found(admin):
    assert admin.post(f"{PAGE}/gemini/delete").status_code == 404
    assert admin.post(f"{PAGE}/other").status_code == 404
