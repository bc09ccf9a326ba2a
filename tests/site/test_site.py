"""The site's name and logo, the web manifest, and what a browser keeps for when there is no network."""

import json
import re

import pytest

from chatapp import create_app
from chatapp.kernel import config
from tests.auth.browser import signed_in

named = pytest.mark.parametrize("settings", [{"site_name": "Kitchen <b>"}])
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(50)


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def test_every_title_ends_in_the_sites_name(app, browser):
    titles = [re.search("<title>(.*?)</title>", browser.get(path).text)[1] for path in ("/", "/usage")]

    assert titles == ["New chat · Tally", "Usage · Tally"]


@named
def test_the_name_is_the_operators_and_is_text(browser, client):
    assert "Sign in to Kitchen &lt;b&gt;</h1>" in client.get("/login").text
    assert "Kitchen &lt;b&gt;</a>" in browser.get("/").text


@named
def test_the_manifest_says_it_too_and_its_icons_are_there(client):
    answer = client.get("/manifest.webmanifest")

    assert answer.mimetype == "application/manifest+json"
    assert answer.json["name"] == "Kitchen <b>"
    assert {client.get(icon["src"]).status_code for icon in answer.json["icons"]} == {200}


def test_a_logo_of_ones_own_takes_the_place_of_ours(tmp_path):
    (tmp_path / "ours.PNG").write_bytes(PIXEL)

    client = create_app(instance_dir=tmp_path, site_logo=tmp_path / "ours.PNG").test_client()
    logo, icon = re.findall(r'(?:class="logo" src|rel="icon" href)="([^"]+)"', client.get("/login").text)

    assert logo == icon
    assert client.get(logo).data == PIXEL


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("logo.gif", 10, "must end in .svg, .png, .webp"),
        ("logo.png", 300_000, "at most 262,144"),
        ("none.svg", 0, "No such file"),
    ],
)
def test_a_logo_that_cannot_be_shown_stops_the_start_and_says_why(tmp_path, name, size, reason):
    if size:
        (tmp_path / name).write_bytes(bytes(size))

    with pytest.raises(config.ConfigurationError, match=f"^SITE_LOGO: .*{re.escape(reason)}"):
        create_app(instance_dir=tmp_path, site_logo=tmp_path / name)


@pytest.mark.parametrize("settings", [{"site_name": "x" * 41}, {"site_name": " "}], ids=["too long", "blank"])
def test_a_name_has_1_to_40_characters(tmp_path, settings):
    with pytest.raises(config.ConfigurationError, match="^SITE_NAME: "):
        config.load(instance_dir=tmp_path, **settings)


def kept(answer):
    return json.loads(re.match("const KEPT = (.*);", answer.text)[1])


def test_what_the_worker_keeps_is_there_for_everybody_and_holds_nothing_private(browser, client, user):
    worker = browser.get("/service-worker.js")
    page = browser.get(kept(worker)["page"])

    assert (worker.mimetype, worker.headers["Cache-Control"]) == ("text/javascript", "no-cache, private")
    assert {client.get(path).status_code for path in kept(worker)["files"]} == {200}
    assert user.email not in page.text
    assert "csrf" not in page.text


def test_the_worker_changes_with_the_language_of_its_page(client):
    english, german = (kept(client.get("/service-worker.js", headers={"Accept-Language": tag})) for tag in ("en", "de"))

    assert english["version"] != german["version"]


def test_the_offline_page_takes_no_message_away_from_the_next_page(browser):
    browser.post("/account/preferences", theme="dark")
    browser.get("/offline")

    assert 'class="toast' in browser.get("/account").text
