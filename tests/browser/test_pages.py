"""Every page and state, wide and on a phone, light and dark, with and without scripts: axe finds nothing, nothing is too
wide, nothing moves that should not, the console is silent."""

# ruff: noqa: F811

import pytest
from playwright.sync_api import expect
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from chatapp.auth import invitations
from chatapp.kernel.errors import Forbidden, ProviderInterrupted, ProviderMisconfigured, RateLimited, Unavailable
from tests.browser.flaws import WIDER, flaws
from tests.browser.inside import app, demo, site  # noqa: F401
from tests.browser.scenes import MORE_SCENES, NEED_SCRIPTS, PEOPLE, REFUSING, SCENES, SIZES, product, sign_in

ALL_SCENES = SCENES | MORE_SCENES
RICH = (
    "# Title\n\n`code`, [link](https://example.org), $x^2$.\n\n| a | b |\n|--|--|\n| 1 | 2 |\n\n"
    "```python\nx = 1 # y\n```\n\n> ChunkContent.\n\n- [x] done\n- [ ] open"
)
REFUSED = "Failed to load resource"
LOOKS = {
    "wide": {"viewport": SIZES["wide"], "reduced_motion": "reduce"},
    "phone": {"viewport": SIZES["phone"], "reduced_motion": "reduce", "has_touch": True, "is_mobile": True},
}
EACH_LOOK = pytest.mark.parametrize("look", LOOKS)


@pytest.fixture(scope="session")
def stage(browser, tmp_path_factory):
    """The product in a process of its own, with a few days of work: its address, its data, and who is signed in."""
    with product(tmp_path_factory.mktemp("stage"), SIGNUP="open") as (url, data):
        yield url, data, {name: sign_in(browser, url, f"{name}@example.org") for name in ("ada", "eve")}


@pytest.fixture
def visit(stage, new_context, complaints):
    """Go to a scene: visit("usage", "phone")."""

    def go(scene, look, **options):
        if scene in REFUSING:
            complaints.expect(REFUSED)
            complaints.expect("htmx:error")
        url, data, logins = stage
        page = new_context(storage_state=logins[PEOPLE.get(scene, "ada")], **LOOKS[look], **options).new_page()
        ALL_SCENES[scene](page, data, url)
        return page

    return go


@EACH_LOOK
@pytest.mark.parametrize("scene", ALL_SCENES)
def test_a_page_is_without_flaws(visit, scene, look):
    assert flaws(visit(scene, look)) == []


@EACH_LOOK
@pytest.mark.parametrize("scene", [scene for scene in ALL_SCENES if scene not in NEED_SCRIPTS])
def test_a_page_without_scripts_is_whole(visit, scene, look):
    # axe is a script, so this is all it can be asked.
    page = visit(scene, look, java_script_enabled=False)

    expect(page.locator("h1")).to_have_count(1)
    assert page.evaluate(WIDER) == 0


def send(page, text):
    """Send by the button: on a phone Enter begins a line."""
    page.locator("#text").fill(text)
    page.locator("#action button").click()


@EACH_LOOK
def test_the_states_of_a_conversation_are_without_flaws(open_page, demo, complaints, look):
    complaints.expect(REFUSED)
    page = open_page(**LOOKS[look])
    found = {"welcome": flaws(page)}
    demo.will_say(RICH)
    send(page, "Hello")
    expect(page.locator(".bill")).to_be_visible()
    page.locator(".bill summary").click()
    found["answer and bill"] = flaws(page)
    demo.will_say("Some", demo.hold())
    send(page, "And?")
    expect(page.locator(".answer").last).to_contain_text("Some")
    found["writing"] = flaws(page)
    page.locator("#stop").click()
    expect(page.locator(".answer .notice")).to_contain_text("stopped")
    found["stopped"] = flaws(page)
    for error in (ProviderMisconfigured(), ProviderInterrupted()):
        demo.will_raise(error)
        send(page, "Again")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        found[error.code] = flaws(page)
    send(page, "x" * 5001)
    expect(page.locator(".toast")).to_be_visible()
    found["refused"] = flaws(page)
    assert {state: each for state, each in found.items() if each} == {}


ERRORS = [BadRequest(), Forbidden(), RequestEntityTooLarge(), RateLimited(), Unavailable(), RuntimeError("a bug")]


@EACH_LOOK
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_page_that_says_what_went_wrong_is_without_flaws(app, open_page, complaints, error, look):
    def fail():
        raise error

    complaints.expect(REFUSED)
    app.add_url_rule("/fails", view_func=fail)

    assert flaws(open_page("/fails", **LOOKS[look])) == []


@EACH_LOOK
def test_setting_up_is_without_flaws(app, site, new_context, complaints, look):
    complaints.expect(REFUSED)
    page = new_context(base_url=site, **LOOKS[look]).new_page()
    page.goto(site + invitations.setup_link(app).removeprefix("http://127.0.0.1:8000"))
    found = flaws(page)
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Create account").click()
    expect(page.locator(".error")).to_be_visible()

    assert found + flaws(page) == []


def test_who_sets_the_site_up_has_the_time_of_the_browser(app, site, new_context):
    page = new_context(base_url=site, timezone_id="Asia/Tokyo").new_page()
    page.goto(site + invitations.setup_link(app).removeprefix("http://127.0.0.1:8000"))
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Password").fill("tall grass in the wind")
    page.get_by_role("button", name="Create account").click()
    expect(page.locator("#welcome")).to_be_visible()

    page.goto("/account")

    expect(page.get_by_label("Time zone")).to_have_value("Asia/Tokyo")


def test_a_flaw_would_be_found(page):
    page.evaluate("""() => {
      document.querySelector('main').innerHTML = '<button>a</button><button>b</button><img src="/static/icons/icon.svg"><p>Pale</p><hr>';
      const style = new CSSStyleSheet();
      style.replaceSync(`button { all: unset; font-size: 8px } p { inline-size: 200vw; color: light-dark(black, #555) } hr { animation: spin 9s }
        @keyframes spin { to { rotate: 1turn } } body { overflow: visible !important }`);
      document.adoptedStyleSheets = [style];
    }""")

    found = flaws(page)

    assert {each[0] for each in found} >= {"image-alt", "target-size", "moves", "wider than the window"}
    assert ["dark", "color-contrast"] in [each[:2] for each in found]
