"""Every page and state of the product as a scene: how to get there, on a database that holds a few days of work.

They are looked at twice: test_pages.py looks for flaws, screenshots.py takes pictures.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from playwright.sync_api import Browser, Page

from chatapp.exchanges.models import Exchange, Part
from tests import servers

PASSWORD = "a quiet morning by the sea"
SIZES = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
ANSWER = """\
A rainbow is sunlight, **sorted by colour** inside raindrops. Three things happen in each drop:

1. The light is *bent* as it enters, blue a little more than red.
2. It is *mirrored* at the back of the drop.
3. It is bent again as it leaves, and the colours have come apart.

You see red from drops at about $42^\\circ$ above the shadow of your head, and violet from those at $40^\\circ$:

| Colour | Wavelength | Angle |
|:--|--:|--:|
| Red | 700 nm | 42.4° |
| Green | 530 nm | 41.4° |
| Violet | 400 nm | 40.5° |

> Everybody sees a rainbow of their own: other eyes, other drops.
"""
CODE = """\
The sorted letters of a word are the same for all its anagrams, so they make a good key:

```python
from collections import defaultdict


def group_anagrams(words: list[str]) -> list[list[str]]:
    \"\"\"Return the words in groups of anagrams, in the order of their first word.\"\"\"
    groups: dict[str, list[str]] = defaultdict(list)
    for word in words:
        groups["".join(sorted(word.lower()))].append(word)
    return list(groups.values())


def test_words_with_the_same_letters_come_together():
    assert group_anagrams(["tea", "ate", "bun"]) == [["tea", "ate"], ["bun"]]
```

Sorting costs `O(k log k)` for a word of *k* letters; counting the letters instead would make it linear.
"""
PORTO = """\
**Day 1, the river.** Ribeira, the lower deck of the bridge, a cellar in Gaia.

**Day 2, the hill.** Clérigos, the bookshop before ten, the market at noon.

- [x] Shoes that know cobblestones
- [ ] A table for Saturday night
"""
TITLES = {
    0: ["How a rainbow forms", "Group words by their anagrams", "رسالة قصيرة إلى صديق"],
    1: ["A note that declines an invitation", "SQLite or PostgreSQL for a small web application, and when to move"],
    4: ["Names for a sailing boat", "Bread without kneading"],
    17: ["Plan for three days in Porto", "What a ledger is", "Whether it will rain"],
    70: ["Reading list on typography"],
}

BREAD = "How do I bake bread without kneading?"


class Data:
    """What the pictures show, and where."""

    def __init__(self) -> None:
        self.chats: dict[str, UUID] = {}

    def fill(self) -> None:
        from chatapp.auth import accounts, passwords
        from chatapp.chats.models import Chat
        from chatapp.kernel.database import now, write
        from chatapp.providers.demo import Ask, compose

        for email, limit in (("ada@example.org", 250_000), ("eve@example.org", 40)):
            hashed = passwords.make_hash(PASSWORD)
            with write() as session:
                user = accounts.create(email, hashed, is_admin=email.startswith("ada"), limit=limit)
                user_id = user.id
            if email.startswith("eve"):
                continue
            for days, titles in TITLES.items():
                for place, title in enumerate(titles):
                    with write() as session:
                        instant = now() - timedelta(days=days, minutes=7 * place)
                        chat = Chat(user_id=user_id, title=title, model="demo", updated_at=instant)
                        chat.pinned = title.startswith("Reading")
                        chat.archived = title.startswith("Whether")
                        session.add(chat)
                        session.flush()
                        self.chats[title] = chat.id
        self._say("How a rainbow forms", "How does a rainbow form? One picture to keep in mind, please.", ANSWER, 247)
        self._say(
            "Group words by their anagrams", "Write a Python function that groups words by their anagrams.", CODE, 231
        )
        self._say(
            "Names for a sailing boat",
            "Ten names for a small sailing boat",
            "Here are ten:\n\n1. Plover\n2. Lull\n3. Half",
            96,
            "stopped",
        )
        whole = compose(Ask(BREAD, "", "en", random.Random(0)))
        begun = whole[: whole.index(" ", 150)]
        self._say("Bread without kneading", BREAD, begun, 118, "interrupted", "TURN_INTERRUPTED")
        self._say("Plan for three days in Porto", "Plan three days in Porto, on foot.", PORTO, 214)
        self._say("What a ledger is", "What is a ledger?", "", 0, "failed", "RATE_LIMIT_ERROR")
        self._say(
            "Whether it will rain", "Will it rain?", "Yes.", 31, thoughts="**Clouds**\n\nThey come from the west."
        )
        self._spend()

    def _spend(self) -> None:
        """Save what a month of exchanges came to, with three models, and what of it was spent in this period."""
        from chatapp.budget.models import LedgerEntry, UserUsage
        from chatapp.chats.models import Chat
        from chatapp.kernel.database import now, write

        rng = random.Random(7)
        models = ("gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-3.1-pro-preview")
        with write() as session:
            user_id = session.get_one(Chat, self.chats["What a ledger is"]).user_id
            budget = session.get_one(UserUsage, user_id)
            budget.last_reset_at = now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            for days in range(30):
                instant = now() - timedelta(days=days)
                for model in rng.choices(models, (5, 3, 1), k=0 if days % 7 == 5 else rng.randint(2, 9)):
                    user, answer = rng.randint(8, 220), rng.randint(60, 900)
                    history, thoughts = rng.randint(0, 700), rng.choice((0, 0, rng.randint(100, 900)))
                    record = Exchange(id=uuid4(), user_id=user_id, purpose="answer", model=model, status="completed")
                    record.chat_id, record.owner = rng.choice([*self.chats.values()]), "-"
                    record.day, record.ended_at = instant.date(), instant
                    record.metering, record.method, record.overhead_tokens = "exchange", "api", 10
                    record.reserved_tokens = record.max_answer_tokens = 0
                    counts = {"question": user, "answer": answer, "system": 0, "overhead": 10}
                    record.parts = [Part(kind, tokens, "api").as_dict() for kind, tokens in counts.items()]
                    record.counted_tokens = record.charged_tokens = user + answer + 10
                    record.reported_input_tokens, record.reported_output_tokens = user + history, answer + thoughts
                    record.reported_cached_tokens, record.reported_thoughts_tokens = 0, thoughts
                    record.reported_tokens = user + history + answer + thoughts
                    record.cost_microusd = (user + history) * 3 // 10 + (answer + thoughts) * 5 // 2
                    session.add(record)
                    if instant < budget.last_reset_at:
                        continue
                    spent = LedgerEntry(user_id=user_id, exchange_id=record.id, operation="charge", created_at=instant)
                    spent.delta = -record.charged_tokens
                    session.add(spent)
                    budget.total_tokens_used += record.charged_tokens

    def _say(
        self,
        title: str,
        question: str,
        answer: str,
        tokens: int,
        status: str = "completed",
        code: str | None = None,
        thoughts: str = "",
    ) -> None:
        """Save one exchange as a turn that has ended would have left it."""
        from chatapp.budget.models import LedgerEntry, UserUsage
        from chatapp.budget.pricing import PriceTable
        from chatapp.chats.models import Chat, Message
        from chatapp.kernel.database import now, write
        from chatapp.turns.models import Turn

        with write() as session:
            chat = session.get_one(Chat, self.chats[title])
            asked = Message(id=uuid4(), chat_id=chat.id, role="user", content=question, model="demo")
            told = Message(
                id=uuid4(), chat_id=chat.id, parent_id=asked.id, role="assistant", content=answer, status=status
            )
            told.thoughts = thoughts
            told.model = "demo"
            session.add_all([asked, told])
            session.flush()
            spent = exchange(tokens, code)
            spent.user_id, spent.chat_id, spent.status = chat.user_id, chat.id, status
            spent.started_at, spent.ended_at, spent.day = chat.updated_at, now(), now().date()
            price = PriceTable().at("gemini-3.5-flash-lite", now().date())
            spent.price, spent.cost_microusd = price and price.as_dict(), tokens * 5 // 2 + 81
            turn = Turn(id=spent.id, chat_id=chat.id, user_id=chat.user_id, question_id=asked.id, answer_id=told.id)
            turn.is_open, told.exchange_id = False, spent.id
            turn.sent = [{"role": "user", "message_id": str(asked.id), "tokens": 15}]
            held = spent.reserved_tokens
            for operation, delta in (("reserve", -held), ("release", held), ("charge", -tokens)):
                entry = LedgerEntry(user_id=chat.user_id, exchange_id=spent.id, operation=operation, delta=delta)
                session.add(entry)
            session.add_all([spent, turn])
            chat.head_id = told.id
            session.get_one(UserUsage, chat.user_id).total_tokens_used += tokens


def exchange(tokens: int, code: str | None) -> Exchange:
    counts = {"question": min(tokens, 14), "answer": max(0, tokens - 24), "system": 0, "overhead": min(tokens, 10)}
    methods = {"question": "api", "answer": "estimate", "system": "api", "overhead": "fixed"}
    parts = [Part(kind, figure, methods[kind]).as_dict() for kind, figure in counts.items()]
    spent = Exchange(id=uuid4(), purpose="answer", model="demo", owner="-", metering="exchange", error_code=code)
    spent.parts, spent.method, spent.overhead_tokens = parts, "estimate", 10
    spent.counted_tokens = spent.charged_tokens = tokens
    spent.max_answer_tokens = max(8192, tokens)
    spent.reserved_tokens = spent.max_answer_tokens + 26
    spent.reported_input_tokens, spent.reported_output_tokens, spent.reported_cached_tokens = 412, tokens, 256
    spent.reported_tokens = tokens + 412
    return spent


def open_chat(title: str) -> Callable[[Page, Data, str], None]:
    def show(page: Page, data: Data, url: str) -> None:
        page.goto(f"{url}/chats/{data.chats[title]}")

    return show


def at(path: str) -> Callable[[Page, Data, str], None]:
    return lambda page, data, url: (page.goto(url + path), None)[1]


def bill(page: Page, data: Data, url: str) -> None:
    open_chat("How a rainbow forms")(page, data, url)
    page.locator(".bill > summary").last.click()


def why(page: Page, data: Data, url: str) -> None:
    bill(page, data, url)
    page.goto(url + str(page.locator(".why-link a").last.get_attribute("href")))


def writing(page: Page, data: Data, url: str) -> None:
    page.goto(url)
    page.locator("#text").fill("Tell me a long story, with some code")
    page.locator("#action button").click()
    page.locator(".answer .prose > div:not(:empty)").first.wait_for()
    page.wait_for_timeout(900)


def thinking(page: Page, data: Data, url: str) -> None:
    page.goto(url)
    page.locator("#text").fill("Here is a puzzle: why does a mirror swap left and right, but not up and down?")
    page.locator("#action button").click()
    page.locator(".thoughts summary").click()
    page.locator(".thoughts strong").nth(1).wait_for()


def versions(page: Page, data: Data, url: str) -> None:
    open_chat("Plan for three days in Porto")(page, data, url)
    page.locator(".turn").last.hover()
    page.get_by_role("button", name="Regenerate").last.click()
    page.locator("#stop").wait_for()
    page.locator("#action button:not(#stop)").wait_for()


def editing(page: Page, data: Data, url: str) -> None:
    open_chat("Plan for three days in Porto")(page, data, url)
    page.locator(".turn").last.hover()
    page.get_by_role("link", name="Edit your message").last.click()
    page.locator(".revision textarea").wait_for()


def continued(page: Page, data: Data, url: str) -> None:
    open_chat("Bread without kneading")(page, data, url)
    if (button := page.get_by_role("button", name="Continue")).is_visible():
        button.click()
        page.locator("#stop").wait_for()
    page.locator(".seam").wait_for()
    page.locator("#action button:not(#stop)").wait_for()


def chat_menu(page: Page, data: Data, url: str) -> None:
    open_chat("How a rainbow forms")(page, data, url)
    drawer(page)
    page.locator(".chat-row", has_text="anagrams").hover()
    page.locator(".chat-row", has_text="anagrams").locator(".more").click()
    page.locator("#chat-menu .danger").wait_for()


def account_menu(page: Page, data: Data, url: str) -> None:
    open_chat("Group words by their anagrams")(page, data, url)
    drawer(page)
    page.locator(".account").click()


def drawer(page: Page) -> None:
    if page.locator(".open-side").is_visible():
        page.locator(".open-side").click()
        page.wait_for_timeout(300)


def with_drawer(page: Page, data: Data, url: str) -> None:
    open_chat("How a rainbow forms")(page, data, url)
    drawer(page)


def search(page: Page, data: Data, url: str) -> None:
    with_drawer(page, data, url)
    page.locator("#search").press_sequentially("rain")
    page.locator(".hit mark").first.wait_for()


def shortcuts(page: Page, data: Data, url: str) -> None:
    account_menu(page, data, url)
    page.locator("[commandfor=shortcuts]").click()


def refused(page: Page, data: Data, url: str) -> None:
    page.goto(url)
    page.locator("#text").fill("One more question")
    page.locator("#action button").click()
    page.locator(".toast").wait_for()


def german(page: Page, data: Data, url: str) -> None:
    page.set_extra_http_headers({"Accept-Language": "de"})
    open_chat("How a rainbow forms")(page, data, url)


def offline(page: Page, data: Data, url: str) -> None:
    open_chat("Names for a sailing boat")(page, data, url)
    page.context.set_offline(True)
    page.locator("#connection:not([hidden])").wait_for()
    page.locator("#text").fill("One more, please")


def person(page: Page, data: Data, url: str) -> None:
    page.goto(f"{url}/admin")
    page.get_by_role("link", name="eve@example.org").click()
    page.wait_for_load_state()


def signed_out(page: Page, data: Data, url: str) -> None:
    page.context.clear_cookies(name=re.compile("^session"))
    page.goto(f"{url}/login")


def thoughts(page: Page, data: Data, url: str) -> None:
    open_chat("Whether it will rain")(page, data, url)
    page.locator(".thoughts summary").click()


def renaming(page: Page, data: Data, url: str) -> None:
    chat_menu(page, data, url)
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("textbox", name="Title").wait_for()


def found_nothing(page: Page, data: Data, url: str) -> None:
    with_drawer(page, data, url)
    page.locator("#search").press_sequentially("zebra")
    page.locator("#chats .nothing").wait_for()


def over_budget(page: Page, data: Data, url: str) -> None:
    page.goto(url)
    page.locator(".notice.warn").wait_for()


def settings(page: Page, data: Data, url: str) -> None:
    page.goto(f"{url}/chats/{data.chats['What a ledger is']}/settings")


def models(page: Page, data: Data, url: str) -> None:
    settings(page, data, url)
    page.locator(".models summary").click()


def invitation(page: Page, data: Data, url: str) -> None:
    page.goto(f"{url}/admin")
    fill_in(page, email="grace@example.org")
    link = page.locator(".secret").inner_text()
    page.context.clear_cookies(name=re.compile("^session"))
    page.goto(url + link[link.index("/invitations/") :])


def keys(page: Page, data: Data, url: str) -> None:
    page.goto(f"{url}/account")
    fill_in(page, key_name="laptop")
    page.locator(".secret").wait_for()


def fill_in(page: Page, **fields: str) -> None:
    """Fill a form and send it as it is: what a browser would hold back comes to the server."""
    for name, value in fields.items():
        field = page.locator(f"main [name={name}]").first
        field.evaluate(
            "(e, value) => { e.form.noValidate = true; e.removeAttribute('maxlength'); e.value = value }", value
        )
    with page.expect_navigation():
        field.evaluate("e => e.form.requestSubmit()")


def refused_form(show: Callable[[Page, Data, str], None], **fields: str) -> Callable[[Page, Data, str], None]:
    def fill(page: Page, data: Data, url: str) -> None:
        show(page, data, url)
        fill_in(page, **fields)
        page.locator("main .error").first.wait_for()

    return fill


def signed_out_at(path: str) -> Callable[[Page, Data, str], None]:
    def show(page: Page, data: Data, url: str) -> None:
        page.context.clear_cookies(name=re.compile("^session"))
        page.goto(url + path)

    return show


SCENES: dict[str, Callable[[Page, Data, str], None]] = {
    "welcome": at("/"),
    "chat": open_chat("How a rainbow forms"),
    "code": open_chat("Group words by their anagrams"),
    "bill": bill,
    "why": why,
    "stopped": open_chat("Names for a sailing boat"),
    "versions": versions,
    "editing": editing,
    "interrupted": open_chat("Bread without kneading"),
    "failed": open_chat("What a ledger is"),
    "sidebar": with_drawer,
    "search": search,
    "found": at("/chats?q=rainbow"),
    "data": at("/account/data"),
    "chat-menu": chat_menu,
    "account-menu": account_menu,
    "shortcuts": shortcuts,
    "settings": settings,
    "usage": at("/usage"),
    "account": at("/account"),
    "german": german,
    "offline": offline,
    "person": person,
    "admin": at("/admin"),
    "not-found": at("/nowhere"),
    "no-budget": refused,
    "thinking": thinking,
    "writing": writing,
    "continued": continued,
    "sign-in": signed_out,
}
# Those without a picture of their own.
MORE_SCENES: dict[str, Callable[[Page, Data, str], None]] = {
    "thoughts": thoughts,
    "renaming": renaming,
    "found-nothing": found_nothing,
    "over-budget": over_budget,
    "chats": at("/chats"),
    "archive": at("/chats?archived=1"),
    "nothing-found": at("/chats?q=zebra"),
    "models": models,
    "connections": at("/admin/connections"),
    "connection-refused": refused_form(at("/admin/connections"), address="nowhere"),
    "no-network": at("/offline"),
    "personas": at("/personas"),
    "persona-refused": refused_form(at("/personas"), temperature="9"),
    "settings-refused": refused_form(settings, title=" ", system_prompt="x" * 9000, temperature="9"),
    "defaults-refused": refused_form(at("/account"), system_prompt="x" * 9000),
    "password-refused": refused_form(at("/account"), current_password="not this one", password="short"),
    "key-refused": refused_form(at("/account"), key_name="x" * 200),
    "new-key": keys,
    "usage-by-chat": at("/usage?days=90&by=chat"),
    "usage-refused": refused_form(at("/usage"), **{"from": "2026-02-02", "to": "2026-02-01"}),
    "limit-refused": refused_form(at("/admin"), limit="-1"),
    "invitation-refused": refused_form(at("/admin"), email="nobody"),
    "grant-refused": refused_form(person, tokens="0"),
    "import-refused": refused_form(at("/account/data"), current_password="not this one"),
    "bad-request": at("/usage?by=colour"),
    "forbidden": at("/admin"),
    "register": signed_out_at("/register"),
    "register-refused": refused_form(signed_out_at("/register"), email="nobody", password="short"),
    "sign-in-refused": refused_form(signed_out, email="ada@example.org", password="not this one"),
    "invitation": invitation,
    "invitation-password-refused": refused_form(invitation, password="short"),
    "invitation-over": signed_out_at("/invitations/nonsense"),
}
# Those that come about by a script alone.
NEED_SCRIPTS = ("versions", "search", "chat-menu", "offline", "no-budget", "continued", "renaming", "found-nothing")
# Those in which the server or the network says no, which is a line in the console whatever the page makes of it.
REFUSING = {scene for scene in SCENES | MORE_SCENES if scene.endswith("-refused")} | {
    "bad-request",
    "forbidden",
    "invitation-over",
    "no-budget",
    "not-found",
    "offline",
}
# Who looks; ada, where nobody is named.
PEOPLE = {"no-budget": "eve", "over-budget": "eve", "forbidden": "eve"}


@contextlib.contextmanager
def product(place: Path, **env: str) -> Iterator[tuple[str, Data]]:
    """Start the product, filled. env: settings by name."""
    from chatapp import create_app
    from chatapp.kernel.extensions import db

    database = shutil.copy(servers.migrated_sqlite(), place / "chat.db")
    env = {"DATABASE_URL": f"sqlite:///{database}", "RATE_LIMITS": "false", "DEMO_PACE_SECONDS": "0.02", **env}
    data = Data()
    app = create_app(instance_dir=place / "instance", database_url=env["DATABASE_URL"])
    with app.app_context():
        data.fill()
        db.engine.dispose()
    app.extensions["live_turns"].close()
    process = servers.start_product(place, env)
    try:
        yield process.url, data
    finally:
        process.kill()


def sign_in(browser: Browser, url: str, email: str) -> dict:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}/login")
    page.fill("[name=email]", email)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.locator("#composer").wait_for()
    state = context.storage_state()
    context.close()
    return dict(state)
