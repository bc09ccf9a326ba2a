"""The usage page, its charts and exports, and the page that explains one exchange."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4
from xml.etree import ElementTree

import pytest

from chatapp.budget.models import BudgetNotice
from chatapp.chats import housekeeping
from chatapp.chats.models import Chat
from chatapp.exchanges import settling
from chatapp.exchanges.models import Exchange, Part
from chatapp.kernel.database import now, write
from chatapp.kernel.errors import ProviderMisconfigured
from chatapp.kernel.extensions import db
from chatapp.providers.base import Usage
from chatapp.tokens.estimate import calibrated
from chatapp.usage import queries
from chatapp.usage.charts import chart, nice_top
from chatapp.usage.queries import read_range, report
from tests.auth.browser import Browser, error_of, signed_in
from tests.conftest import make_user

TODAY = date(2026, 11, 24)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


def save(user_id, day=TODAY, model="scripted", charged=100, chat_id=None, reported=None, cost=None):
    """Save a record as settling does. Inside an application context."""
    with write() as session:
        session.add(
            Exchange(
                user_id=user_id, purpose="answer", chat_id=chat_id or uuid4(), model=model, day=day, owner="-",
                ended_at=datetime(day.year, day.month, day.day, 12, tzinfo=UTC), status="completed",
                metering="exchange", method="estimate", overhead_tokens=10, reserved_tokens=0, max_answer_tokens=0,
                parts=[Part("question", 20, "api").as_dict(), Part("answer", charged - 30, "estimate").as_dict(),
                       Part("system", 0, "api").as_dict(), Part("overhead", 10, "fixed").as_dict()],
                counted_tokens=charged, charged_tokens=charged, reported_tokens=reported, cost_microusd=cost,
            )
        )  # fmt: skip


def save_chat(user_id, title):
    with write() as session:
        chat = Chat(id=uuid4(), user_id=user_id, title=title, model="scripted")
        session.add(chat)
        return chat.id


def exchange(api, demo, *, usage=None, **fields):
    """Have one exchange; return the answer's id and its usage as the API has it."""
    chat = api.new_chat(**fields)
    demo.will_say("Sure.", usage=usage)
    api.send(chat, "Help me create an NFT")
    answer = api.messages(chat)[1]
    return chat, answer["id"], answer["usage"]


@pytest.fixture
def both(both_app):
    """A user's id on SQLite and on PostgreSQL, inside an application context."""
    with both_app.app_context():
        yield make_user(both_app, "ada@example.org").id


# Sums


def test_days_models_and_totals_add_up(both):
    save(both, TODAY, "a", 100, reported=300, cost=5)
    save(both, TODAY, "b", 50)
    save(both, TODAY - timedelta(days=2), "a", 40, cost=7)
    save(both, TODAY - timedelta(days=40), "a", 1000)
    shown = report(both, read_range({"days": "7"}, "UTC", NOON), "model")

    assert [bar.total.charged for bar in shown.bars] == [0, 0, 0, 0, 40, 0, 150]
    assert [(group.key, group.sums.charged, group.sums.exchanges) for group in shown.shown] == [
        ("a", 140, 2),
        ("b", 50, 1),
    ]
    total = shown.total
    assert (total.charged, total.reported, total.matched, total.cost_microusd, total.unpriced) == (190, 300, 100, 12, 1)


def test_nobody_sees_what_others_used(app, user, other_user):
    with app.app_context():
        save(other_user.id)

        assert report(user.id, read_range({}, "UTC", NOON), "model").total.exchanges == 0


def test_the_smaller_groups_are_shown_together_and_lose_nothing(app, user):
    with app.app_context():
        for number in range(9):
            save(user.id, model=f"model-{number}", charged=100 - number)
        shown = report(user.id, read_range({"days": "7"}, "UTC", NOON), "model")

    assert [group.key for group in shown.shown] == [f"model-{n}" for n in range(5)] + [""]
    assert sum(group.sums.charged for group in shown.shown) == shown.total.charged == sum(range(92, 101))
    assert sum(sums.charged for sums in shown.bars[-1].groups.values()) == shown.total.charged


def test_a_long_range_has_a_bar_a_week(app, user):
    with app.app_context():
        save(user.id, TODAY)
        shown = report(user.id, read_range({"from": "2026-01-01", "to": str(TODAY)}, "UTC", NOON), "chat")

    assert (len(shown.bars), shown.bars[0].days, shown.bars[-1].total.charged) == (47, 7, 100)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ({}, date(2026, 10, 26), TODAY),
        ({"days": "7"}, date(2026, 11, 18), TODAY),
        ({"from": "2026-02-01", "to": "2026-02-28"}, date(2026, 2, 1), date(2026, 2, 28)),
    ],
)
def test_a_range_has_both_its_ends(asked, first, last):
    chosen = read_range(asked, "UTC", NOON)

    assert (chosen.first, chosen.last) == (first, last)


def test_today_is_the_users_own():
    assert read_range({"days": "7"}, "Pacific/Auckland", NOON).last == TODAY + timedelta(days=1)


BAD_RANGES = [
    ({"days": "8"}, "days: must be one of 7, 30, 90"),
    ({"from": "2026-02-30", "to": "2026-03-01"}, "from: must be a day"),
    ({"from": "2026-02-01"}, "to: must be a day"),
    ({"from": "2026-02-02", "to": "2026-02-01"}, "to: must be from the first day on, at most 366 days"),
    ({"from": "2020-01-01", "to": "2026-02-01"}, "at most 366 days"),
    ({"from": "0001-01-01", "to": "0001-01-02"}, "from: must be a day"),
    ({"by": "colour"}, "by: must be model or chat"),
]


@pytest.mark.parametrize(("asked", "says"), BAD_RANGES)
def test_a_range_that_is_none_is_refused_by_name(browser, asked, says):
    page = browser.get("/usage", query_string=asked)

    assert (page.status_code, says in page.text) == (400, True)


def test_days_that_are_none_stay_in_their_fields_with_the_reason(browser, user):
    page = browser.get("/usage", query_string={"from": "2026-02-02", "to": "2026-02-01"})

    assert "at most 366 days" in error_of(page.text, "from")
    assert error_of(page.text, "to") == error_of(page.text, "from")
    assert all(f'value="{day}"' in page.text for day in ("2026-02-02", "2026-02-01"))


def test_the_day_of_an_exchange_is_the_users_own(app, api, user, demo, monkeypatch):
    from chatapp.auth.models import User

    with app.app_context(), write():
        db.session.get(User, user.id).timezone = "Pacific/Auckland"
    monkeypatch.setattr(settling, "now", lambda: NOON)
    exchange(api, demo)

    with app.app_context():
        assert db.session.scalar(db.select(Exchange.day)) == TODAY + timedelta(days=1)


def test_what_was_spent_outlives_its_chat(app, api, user, browser, demo, monkeypatch):

    chat, _, _ = exchange(api, demo)
    api.call("DELETE", f"/chat/{chat}")
    monkeypatch.setattr(housekeeping, "PURGE_AFTER", timedelta())
    with app.app_context():
        assert housekeeping.purge_deleted_chats() == 1
        assert report(user.id, read_range({}, "UTC"), "chat").total.exchanges == 1

    assert "deleted chat" in browser.get("/usage?by=chat").text


# Charts


@pytest.mark.parametrize(
    ("figure", "top"), [(0, 1), (1, 1), (7, 8), (9, 10), (10, 10), (11, 12), (51, 60), (4999, 5000), (8001, 10000)]
)
def test_the_axis_ends_at_a_round_figure(figure, top):
    assert nice_top(figure) == top


def test_a_bar_is_as_high_as_its_figure_and_stacked_without_a_gap(app, user):
    with app.app_context():
        save(user.id, TODAY, "a", 300, reported=900)
        save(user.id, TODAY, "b", 200)
        drawn = chart(
            report(user.id, read_range({"days": "7"}, "UTC", NOON), "model"), lambda s: s.charged, lambda s: s.reported
        )

    column = drawn.columns[-1]
    assert (drawn.top, [(s.series, s.y, s.height) for s in column.segments]) == (1000, [(0, 70, 30), (1, 50, 20)])
    assert column.mark_y == 10
    assert 857 < column.x < column.x + column.width < 1000


def test_the_page_draws_charts_without_scripts_or_styles_and_has_their_table(app, user, browser):
    with app.app_context():
        chat_id = save_chat(user.id, "<b>Bold & brave</b>")
        save(user.id, now().date(), charged=1234, chat_id=chat_id, reported=4000, cost=56)
    page = browser.get("/usage?by=chat")

    assert page.status_code == 200
    svg = page.text[page.text.index('<svg viewBox="0 0 1000 100"') :]
    drawing = ElementTree.fromstring(svg[: svg.index("</svg>") + 6])
    titles = "".join(drawing.itertext())
    assert "1,234 tokens" in titles
    assert "<b>Bold & brave</b>: 1,234" in titles
    assert "reported by the provider: 4,000" in titles
    assert 'style="' not in page.text
    assert "<details" in page.text
    assert "$0.000056" in page.text


def test_an_empty_page_says_so(browser):
    page = browser.get("/usage")

    assert (page.status_code, "No usage in this period." in page.text) == (200, True)


# Exports


def test_an_export_has_every_exchange_as_csv_and_json(app, user, browser):
    with app.app_context():
        for number in range(5):
            save(user.id, TODAY - timedelta(days=number), charged=100 + number, cost=None if number else 7)
    asked = f"?from={TODAY - timedelta(days=4)}&to={TODAY}"

    rows = list(csv.DictReader(io.StringIO(browser.get(f"/usage/export.csv{asked}").text)))
    exported = json.loads(browser.get(f"/usage/export.json{asked}").text)["exchanges"]

    assert [row["charged_tokens"] for row in rows] == ["104", "103", "102", "101", "100"]
    assert [row["charged_tokens"] for row in exported] == [104, 103, 102, 101, 100]
    assert (rows[-1]["cost_microusd"], rows[0]["cost_microusd"], exported[0]["cost_microusd"]) == ("7", "", None)


def test_an_export_reads_in_batches_and_loses_nothing_at_their_borders(both, monkeypatch):
    monkeypatch.setattr(queries, "BATCH", 3)
    chat_id = save_chat(both, "A title")
    for _ in range(10):
        save(both, chat_id=chat_id)
    rows = list(queries.exchanges(both, read_range({}, "UTC", NOON)))

    assert len({record.id for record, _ in rows}) == len(rows) == 10
    assert {title for _, title in rows} == {"A title"}


def test_chats_are_grouped_by_their_titles_and_the_page_is_drawn(both_app):
    person = make_user(both_app, "ada@example.org").id
    with both_app.app_context():
        save(person, now().date(), chat_id=save_chat(person, "A title"), reported=50, cost=3)
        save(person, now().date(), charged=50)
        shown = report(person, read_range({}, "UTC"), "chat")

    assert [(group.label, group.sums.charged) for group in shown.listed] == [("A title", 100), ("deleted chat", 50)]
    assert "A title: 100" in signed_in(both_app, person).get("/usage?by=chat").text


def test_an_exchange_is_explained_on_both_databases(both_app, both_api, demo):
    _, answer_id, _ = exchange(both_api, demo)
    with both_app.app_context():
        owner_id = db.session.scalars(db.select(Chat.user_id)).one()

    assert "reserved before asking the model" in signed_in(both_app, owner_id).get(f"/usage/exchanges/{answer_id}").text


def test_an_export_goes_out_while_it_is_read(app, user, browser, monkeypatch):
    monkeypatch.setattr(queries, "BATCH", 1)
    with app.app_context():
        for _ in range(3):
            save(user.id)
    response = browser.get(f"/usage/export.csv?from={TODAY}&to={TODAY}", buffered=False)
    lines = response.iter_encoded()
    next(lines), next(lines)
    with app.app_context(), write():
        db.session.execute(db.delete(Exchange))

    assert list(lines) == []


@pytest.mark.parametrize("title", ['=HYPERLINK("http://evil")', "+1", "-1", "@SUM(A1)", "\t=1", "＝1"])
def test_a_title_is_never_a_formula(app, user, browser, title):
    with app.app_context():
        save(user.id, chat_id=save_chat(user.id, title))
    [row] = csv.DictReader(io.StringIO(browser.get(f"/usage/export.csv?from={TODAY}&to={TODAY}").text, newline=""))

    assert row["chat"] == f"'{title}"


def test_a_spreadsheet_that_splits_at_semicolons_finds_no_formula(app, user, browser):
    with app.app_context():
        save(user.id, chat_id=save_chat(user.id, "a;=1+1"))
    lines = browser.get(f"/usage/export.csv?from={TODAY}&to={TODAY}").text.splitlines()

    assert '"a;=1+1"' in lines[1]
    assert all(cell[0] == cell[-1] == '"' for line in lines for cell in line.split(","))


def test_exports_are_ones_own_and_need_a_login(app, user, other_user):
    with app.app_context():
        save(other_user.id)
    asked = f"/usage/export.csv?from={TODAY}&to={TODAY}"

    assert len(signed_in(app, user.id).get(asked).text.splitlines()) == 1
    assert Browser(app).get(asked).status_code == 303
    assert signed_in(app, user.id).get("/usage/export.exe").status_code == 404


# Why was I charged?


def test_the_page_shows_formula_reservation_settlement_and_what_was_sent(api, browser, demo):
    demo.count_rule = lambda text: {"Help me create an NFT": 6, "Sure.": 42}.get(text, 150)
    _, answer_id, usage = exchange(api, demo, system_prompt="You help.")
    page = browser.get(f"/usage/exchanges/{answer_id}").text

    assert "6 + 42 + 150 + 10" in page
    assert page.count("counted by the provider") >= 3
    for words in (
        "reserved before asking the model",
        "released at the end",
        "charged",
        "You help.",
    ):
        assert words in page
    assert "Help me create an NFT" in page
    assert f"−{usage['charged_tokens']}" in page
    texts = -(-(calibrated("You help.") + calibrated("Help me create an NFT")) * 105 // 100) + 10
    assert f"{texts} tokens for the texts" in page
    assert "what the model may think" not in page


def test_the_difference_to_the_providers_figure_is_explained(api, browser, demo):
    chat, _, _ = exchange(api, demo)
    demo.will_say("Again.", usage=Usage(input_tokens=60, output_tokens=30, thoughts_tokens=25))
    api.send(chat, "And now?")
    page = browser.get(f"/usage/exchanges/{api.messages(chat)[3]['id']}").text

    assert "the provider reported 90" in page
    assert "25 for thinking" in page
    assert "history, not charged again" in page


def test_an_exchange_that_cost_nothing_says_why(api, browser, demo):
    chat = api.new_chat()
    demo.will_raise(ProviderMisconfigured())
    api.send(chat, "Hello?")
    page = browser.get(f"/usage/exchanges/{api.messages(chat)[1]['id']}").text

    assert "automatic retries are free" in page


def test_an_unknown_price_is_said_and_not_guessed(api, browser, demo):
    _, answer_id, _ = exchange(api, demo)

    assert "No price known for scripted" in browser.get(f"/usage/exchanges/{answer_id}").text


def test_the_bill_opens_the_explanation_in_its_place(api, browser, demo):
    chat, answer_id, _ = exchange(api, demo)
    address = f"/usage/exchanges/{answer_id}"

    assert f'hx-get="{address}"' in browser.get(f"/chats/{chat}").text
    fragment = browser.get(address, headers={"HX-Request": "true"}).text
    assert "What was charged" in fragment
    assert "<html" not in fragment


def test_nobody_reads_another_ones_bill(app, api, demo, other_user):
    _, answer_id, _ = exchange(api, demo)

    assert signed_in(app, other_user.id).get(f"/usage/exchanges/{answer_id}").status_code == 404
    assert Browser(app).get(f"/usage/exchanges/{answer_id}").status_code == 303


# Notices


def test_a_notice_stands_until_it_is_put_away(app, user, browser):
    from chatapp.budget import ledger

    with app.app_context(), write():
        held = ledger.reserve(user.id, turn := uuid4(), 85_000, 64, 0).tokens
        ledger.settle(user.id, turn, held, 85_000)
    assert all("tokens left until" in browser.get(path).text for path in ("/", "/usage", "/"))

    assert browser.post("/usage/notices/seen").status_code == 303

    assert "tokens left until" not in browser.get("/").text
    with app.app_context():
        assert db.session.scalar(db.select(BudgetNotice.seen_at)) is not None
