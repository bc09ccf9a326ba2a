"""A page that cannot be loaded: the service worker shows one of its own, with the draft, and keeps nothing private."""

from playwright.sync_api import expect

PATH = "/service-worker.js"
# The page waits until its worker is in charge.
READY = "navigator.serviceWorker.ready.then(found => new Promise(go => navigator.serviceWorker.controller ? go() : navigator.serviceWorker.addEventListener('controllerchange', go)))"
KEPT = "caches.keys().then(names => Promise.all(names.map(name => caches.open(name).then(cache => cache.keys())))).then(all => all.flat().map(each => new URL(each.url).pathname))"


def ready(open_page, path="/", **options):
    page = open_page(path, service_workers="allow", **options)
    page.evaluate(READY)
    return page


def test_without_a_network_the_page_says_so_and_shows_the_draft(open_page, api, complaints):
    complaints.expect("ERR_INTERNET_DISCONNECTED")
    chat = api.new_chat()
    page = ready(open_page, f"/chats/{chat}")
    page.get_by_label("Message").fill("Half a thought")

    page.context.set_offline(True)
    page.reload()

    expect(page.get_by_role("heading", name="You are offline")).to_be_visible()
    expect(page.get_by_label("Your draft")).to_have_value("Half a thought")


def test_a_draft_that_was_edited_offline_is_in_the_box_when_the_network_is_back(open_page, complaints):
    complaints.expect("ERR_INTERNET_DISCONNECTED")
    page = ready(open_page)
    page.get_by_label("Message").fill("Half")
    page.context.set_offline(True)
    page.reload()

    page.get_by_label("Your draft").fill("A whole thought")
    page.context.set_offline(False)

    expect(page.get_by_label("Message", exact=True)).to_have_value("A whole thought")


def test_a_worker_keeps_a_page_and_what_it_loads_and_nothing_else(open_page, api):
    chat = api.new_chat(title="Very private")
    page = ready(open_page, f"/chats/{chat}")
    page.goto("/usage")

    kept = page.evaluate(KEPT)

    assert [path for path in kept if not path.startswith("/static/")] == ["/offline"]
    assert len(kept) == 4


def test_signing_out_takes_the_worker_and_what_it_kept_away(open_page):
    page = ready(open_page)

    page.locator(".account").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/login*")

    assert page.evaluate("navigator.serviceWorker.getRegistrations().then(found => found.length)") == 0
    assert page.evaluate("caches.keys()") == []
