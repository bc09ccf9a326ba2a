"""The chats beside the conversation, in Chromium: searched, named by the model, archived; files that leave and come."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.looks import LOOKS
from tests.browser.steps import LONG, send, show_chats, wait_until

EACH_LOOK = pytest.mark.parametrize("look", LOOKS)
FILE = {"format": "chat-export", "version": 1}
MESSAGE = {"id": "m", "role": "user", "content": "Where is the sea chest?", "created_at": "2026-01-02T03:04:05Z"}
CHAT = {"id": "c", "title": "From a file", "created_at": "2026-01-02T03:04:05Z", "messages": [MESSAGE]}


@pytest.fixture
def look_at(open_page, look):
    return lambda path="/", **options: open_page(path, **LOOKS[look], **options)


@EACH_LOOK
def test_what_was_said_is_found_while_one_types_and_a_hit_leads_to_it(look_at, api):
    api.send(api.new_chat(title="Bread"), "How long do I <b>knead</b> it?")
    api.send(api.new_chat(title="Other"), "Something else")
    page = look_at()
    show_chats(page)

    page.locator("#search").press_sequentially("KNEA")

    expect(page.locator("#chats mark")).to_have_text("knea")
    expect(page.locator("#chats .hit")).to_have_count(1)
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("Bread")
    assert re.search(r"\?at=[-0-9a-f]{36}#m", page.url)
    expect(page.locator(".bubble")).to_be_in_viewport()


@EACH_LOOK
def test_a_hit_far_up_is_where_one_looks_and_stays_there(look_at, api, demo):
    chat_id = api.new_chat(title="Bread")
    demo.will_say(LONG)
    demo.will_say(LONG)
    api.send(chat_id, "How long do I knead it?")
    api.send(chat_id, "And then?")
    page = look_at("/chats?q=knead")
    page.locator("main .hit-place").click()

    expect(page.locator(".bubble").first).to_be_in_viewport()
    page.wait_for_timeout(600)  # Until what is held while a page is drawn is let go.
    expect(page.locator(".bubble").first).to_be_in_viewport()
    expect(page.locator(".bar")).to_be_in_viewport()


@EACH_LOOK
@pytest.mark.parametrize("scripts", [True, False])
def test_a_hit_in_another_version_leads_to_it(look_at, api, demo, scripts):
    demo.will_say("Ten minutes.")
    chat_id = api.new_chat(title="Bread")
    api.send(chat_id, "How long do I knead it?")
    page = look_at(f"/chats/{chat_id}", java_script_enabled=scripts)
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".answer")).to_contain_text("Hello.")
    expect(page.locator(".bill")).to_have_count(1)
    show_chats(page)

    page.locator("#search").fill("ten min")
    page.locator("#search").press("Enter")
    page.get_by_role("button", name="In another version").locator("visible=true").first.click()

    expect(page.locator(".answer")).to_contain_text("Ten minutes.")
    expect(page.locator(".answer")).to_be_in_viewport()
    expect(page.locator(".versions")).to_contain_text("1/2")


@EACH_LOOK
def test_an_archived_chat_is_taken_back_from_the_toast(look_at, api):
    api.new_chat(title="Bread")
    page = look_at()
    show_chats(page)
    page.locator(".chat-row").hover()
    page.locator(".chat-row .more").click()
    page.locator("#chat-menu").get_by_role("button", name="Archive").click()
    expect(page.locator(".chat-row")).to_have_count(0)

    page.get_by_role("button", name="Undo").click()

    expect(page.locator("#chats .chat-row")).to_have_text("Bread")


@EACH_LOOK
def test_the_open_chat_is_archived_and_says_so(look_at, api):
    page = look_at(f"/chats/{api.new_chat(title='Bread')}")
    show_chats(page)
    page.locator(".chat-row").hover()
    page.locator(".chat-row .more").click()
    page.locator("#chat-menu").get_by_role("button", name="Archive").click()

    expect(page.locator("#archived")).to_contain_text("This chat is archived.")
    expect(page.locator("#status")).to_have_text("Chat archived")
    expect(page.locator(".toast")).to_have_count(0)


@EACH_LOOK
@pytest.mark.parametrize("scripts", [True, False])
def test_an_archived_chat_that_is_open_says_so_and_is_taken_back(look_at, api, scripts):
    chat_id = api.new_chat(title="Bread")
    api.call("PATCH", f"/chat/{chat_id}", json={"archived": True})
    page = look_at(f"/chats/{chat_id}", java_script_enabled=scripts)
    expect(page.locator("#archived")).to_contain_text("This chat is archived.")

    page.get_by_role("button", name="Unarchive").click()

    expect(page.locator("#archived")).to_be_empty()
    expect(page.locator("#title")).to_have_text("Bread")
    assert [chat["id"] for chat in api.call("GET", "/chat").json()["chats"]] == [chat_id]


@EACH_LOOK
def test_the_keyboard_stays_with_the_chat_that_it_changes(look_at, api):
    for title in ("Third", "Second", "First"):
        api.new_chat(title=title)
    page = look_at()
    show_chats(page)

    def choose(title, entry):
        page.get_by_role("link", name=f"Options for {title}").focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name=entry, exact=True).focus()
        page.keyboard.press("Enter")

    choose("Second", "Rename")
    expect(page.get_by_role("textbox", name="Title")).to_be_focused()
    page.keyboard.type("Renamed")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Options for Renamed")).to_be_focused()
    choose("Renamed", "Rename")
    expect(page.get_by_role("textbox", name="Title")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Options for Renamed")).to_be_focused()
    choose("Renamed", "Pin")
    expect(page.locator("#chats h2").first).to_have_text("Pinned")
    expect(page.get_by_role("link", name="Options for Renamed")).to_be_focused()
    choose("First", "Delete")
    expect(page.locator(".chat-row")).to_have_count(2)
    expect(page.get_by_role("link", name="Options for Third")).to_be_focused()


@EACH_LOOK
def test_the_menu_of_a_chat_keeps_the_focus_while_an_answer_grows(look_at, api, demo):
    chat_id = api.new_chat(title="Bread")
    page = look_at(f"/chats/{chat_id}")
    opened = demo.hold()
    demo.will_say("First", opened, " second", demo.hold())
    send(page, "Tell me")
    expect(page.locator(".answer")).to_contain_text("First")
    show_chats(page)
    page.get_by_role("link", name="Options for Bread").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Rename")).to_be_focused()

    opened.set()

    expect(page.locator(".answer")).to_contain_text("second")
    expect(page.get_by_role("button", name="Rename")).to_be_focused()


@EACH_LOOK
def test_a_chat_that_is_gone_on_with_comes_up_in_the_list_and_what_is_found_stays(look_at, api):
    api.send(older := api.new_chat(title="Older"), "Hi")
    api.send(api.new_chat(title="Newer"), "Hi")
    page = look_at(f"/chats/{older}")
    rows, search = page.locator(".chat-row"), page.locator("#search")
    expect(rows).to_have_text(["Newer", "Older"])

    send(page, "And?")

    expect(rows).to_have_text(["Older", "Newer"])
    show_chats(page)
    search.fill("newer")
    expect(page.locator("#chats .hit")).to_have_count(1)
    page.locator("#text").evaluate("e => { e.value = 'Again'; e.form.requestSubmit(); }")
    expect(page.locator(".bubble")).to_have_count(3)
    expect(page.locator(".bill")).to_have_count(3)
    expect(page.locator("#chats .hit")).to_have_count(1)


@EACH_LOOK
def test_who_leaves_a_title_for_another_chat_gets_there(look_at, api):
    for title in ("Second", "First"):
        api.new_chat(title=title)
    page = look_at()
    show_chats(page)
    page.get_by_role("link", name="Options for First").click()
    page.locator("#chat-menu").get_by_role("button", name="Rename").click()
    expect(page.get_by_role("textbox", name="Title")).to_be_focused()
    page.keyboard.type("Renamed")
    page.get_by_role("link", name="Second", exact=True).hover()

    # The list is drawn anew below the finger.
    page.mouse.down()
    expect(page.get_by_role("link", name="Renamed", exact=True)).to_be_visible()
    page.mouse.up()

    expect(page.locator("#title")).to_have_text("Second")


@EACH_LOOK
def test_what_opened_a_menu_shuts_it(look_at, api):
    api.new_chat(title="Bread")
    page = look_at()
    show_chats(page)
    opener, menu = page.get_by_role("link", name="Options for Bread"), page.locator("#chat-menu")
    opener.click()
    expect(menu.get_by_role("button", name="Rename")).to_be_focused()

    opener.click()

    expect(menu).to_be_hidden()
    expect(opener).to_be_focused()
    opener.click()
    expect(menu).to_be_visible()


def test_a_menu_that_comes_late_takes_nothing_from_who_is_writing(open_page, api):
    api.new_chat(title="Bread")
    page, held = open_page(), []
    page.route("**/menu", lambda route: held.append(route))
    with page.expect_request("**/menu"):
        page.get_by_role("link", name="Options for Bread").click()
    page.locator("#text").click()

    with page.expect_response("**/menu"):
        held[0].continue_()

    expect(page.locator("#chat-menu button").first).to_be_attached()
    page.keyboard.type("A thought")
    expect(page.locator("#text")).to_have_value("A thought")


@EACH_LOOK
def test_the_list_stays_as_it_was_scrolled(look_at, api):
    for number in range(38):
        api.new_chat(title=f"Chat {number}")
    page = look_at()
    show_chats(page)
    top = "() => document.getElementById('chats').scrollTop"
    page.locator("#chats").evaluate("list => list.scrollTop = 600")
    wait_until(page, f"() => ({top})() > 500 && Number(sessionStorage.getItem('list-top')) > 500")
    # By keys: before it clicks, Playwright may scroll.
    page.get_by_role("link", name="Options for Chat 12", exact=True).press("Enter")
    page.locator("#chat-menu").get_by_role("button", name="Rename").press("Enter")
    expect(page.get_by_role("textbox", name="Title")).to_be_focused()
    page.keyboard.type("Renamed")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Options for Renamed")).to_be_focused()
    assert page.evaluate(top) > 500

    page.get_by_role("link", name="Renamed", exact=True).press("Enter")

    expect(page.locator("#title")).to_have_text("Renamed")
    expect(page).to_have_title("Renamed · Tally")
    show_chats(page)
    expect(page.locator("#chats [aria-current]")).to_be_in_viewport()
    assert page.evaluate(top) > 400


@EACH_LOOK
def test_a_file_comes_in_and_leaves_again(look_at, complaints):
    complaints.expect("400")
    page = look_at("/account/data")
    data = json.dumps(FILE | {"chats": [CHAT]}).encode()

    page.locator("#import-file").set_input_files({"name": "a.json", "mimeType": "application/json", "buffer": data})
    page.get_by_role("button", name="Import").click()

    expect(page.locator(".toast")).to_contain_text("1 chat was imported.")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export as JSON").click()
    assert download.value.suggested_filename.endswith("All chats.json")
    exported = json.loads(download.value.path().read_text())
    assert exported["chats"][0]["messages"][0]["content"] == MESSAGE["content"]
    page.locator("#import-file").set_input_files({"name": "b.json", "mimeType": "application/json", "buffer": b"[1]"})
    page.get_by_role("button", name="Import").click()
    expect(page.locator("#import-error")).to_contain_text("The file is neither an export of this site nor one of")


class TestTitles:
    @pytest.fixture
    def settings(self):
        return {"titles": "model"}

    def test_a_title_of_the_models_arrives_without_a_reload(self, open_page, demo):
        page = open_page("/")
        page.evaluate("window.same = true")
        demo.will_say("Ten minutes.")
        demo.will_say("Kneading bread")

        send(page, "How long do I knead?")

        expect(page.locator("#title")).to_have_text("Kneading bread")
        expect(page.locator("#chats [aria-current]")).to_have_text("Kneading bread")
        expect(page).to_have_title("Kneading bread · Tally")
        expect(page.locator("#title [hx-get]")).to_have_count(0)
        assert page.evaluate("window.same")

    def test_a_title_of_the_models_leaves_the_one_that_is_being_typed(self, open_page, demo):
        page = open_page("/")
        named = demo.hold()
        demo.will_say("Ten minutes.")
        demo.will_say(named, "Kneading bread")
        send(page, "How long do I knead?")
        expect(page.locator(".bill")).to_be_visible()
        page.get_by_role("link", name="Options for How long").click()
        page.locator("#chat-menu").get_by_role("button", name="Rename").click()
        expect(page.get_by_role("textbox", name="Title")).to_be_focused()
        page.keyboard.type("Dough")

        named.set()

        expect(page.locator("#title")).to_have_text("Kneading bread")
        expect(page.get_by_role("textbox", name="Title")).to_have_value("Dough")
        page.keyboard.press("Enter")
        expect(page.locator("#title")).to_have_text("Dough")
        expect(page.locator("#chats [aria-current]")).to_have_text("Dough")
