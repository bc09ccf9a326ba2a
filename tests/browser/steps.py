"""What people do on the pages, and what tests ask about it."""

from playwright.sync_api import expect

from chatapp.kernel.extensions import db
from chatapp.turns.models import Turn
from tests.auth.browser import signed_in

LONG = "\n\n".join(f"Paragraph {number} of a long answer, with some words in it." for number in range(60))
FOLLOWED = "(s => s.scrollHeight - s.scrollTop - s.clientHeight < 5)(document.getElementById('scroll'))"


def cookie(app, site, person):
    browser = signed_in(app, person.id)
    return {"name": browser.cookie_name, "value": browser.cookie(), "url": site}


def send(page, text):
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")


def wait_until(page, expression):
    """Wait until a script's expression is true. Playwright's own wait evaluates text in the page, which our policy forbids."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"not within five seconds: {expression}")


def show_chats(page):
    """Open the list of chats, where it is a drawer."""
    if page.locator(".open-side").is_visible():
        page.locator(".open-side").click()
    expect(page.locator("#side")).to_be_visible()


def last_answer(page):
    return page.locator(".answer").last


def turns(app):
    with app.app_context():
        return db.session.scalar(db.select(db.func.count(Turn.id)))
