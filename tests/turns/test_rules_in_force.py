"""What a provider reports in any shape comes to the right totals, and a change in mid-turn changes no bill."""

import gevent
import pytest

from chatapp import create_app
from chatapp.budget import ledger
from chatapp.budget.pricing import PriceTable
from chatapp.chats.models import Chat
from chatapp.exchanges.models import Exchange
from chatapp.kernel.database import write
from chatapp.kernel.errors import ProviderRateLimited
from chatapp.kernel.extensions import db
from chatapp.providers.base import Usage
from chatapp.turns.models import Turn
from tests.conftest import make_user
from tests.scripted_gemini import ScriptedGemini, says
from tests.streams import Api, until
from tests.turns.test_turns import settled_once

KEY = "AIza-the-key"


def reports(text, **figures):
    """A chunk with text and the figures that Gemini gives with it."""
    candidates = [{"content": {"role": "model", "parts": [{"text": text}]}}]
    return {"chunk": {"candidates": candidates, "usageMetadata": figures}}


TRUE = {"promptTokenCount": 50, "cachedContentTokenCount": 20, "candidatesTokenCount": 7, "thoughtsTokenCount": 30}
FIRST = {"promptTokenCount": 50, "candidatesTokenCount": 2, "thoughtsTokenCount": 30}
SHAPES = {
    "running totals": says(reports("One", **FIRST), reports(" two", **TRUE), usage=TRUE),
    "the last chunk only": says("One", " two", reports("", **TRUE), usage="none"),
    "zeros first": says(reports("One", promptTokenCount=0), reports(" two", **TRUE), usage=TRUE),
    "zeros last": says(reports("One", **FIRST), reports(" two", **TRUE), usage={"promptTokenCount": 0}),
    "a drop in the middle": says(reports("One", **FIRST), reports(" two", promptTokenCount=50), usage=TRUE),
    "a prompt that changes": says(reports("One", promptTokenCount=169), reports(" two"), usage=TRUE),
}


@pytest.fixture
def gemini():
    server = ScriptedGemini(api_key=KEY).start()
    yield server
    server.stop()


@pytest.fixture
def gemini_app(sqlite_url, tmp_path, gemini, settings):
    values = {"database_url": sqlite_url, "instance_dir": tmp_path / "instance", "rate_limits": False}
    values |= {"secret_key": "x" * 32, "gemini_api_key": KEY, "gemini_base_url": gemini.url}
    app = create_app(**(values | settings))
    yield app
    gemini.release()
    app.extensions["live_turns"].close()
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize(
    "settings", [{"metering": "exchange"}, {"metering": "provider"}], ids=lambda value: value["metering"]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_usage_in_any_shape_gives_the_right_totals(gemini_app, gemini, settings, shape):
    api = Api(gemini_app, make_user(gemini_app, "ada@example.org"))
    gemini.script(SHAPES[shape])

    final = api.send(api.new_chat(), "Count.").final

    with gemini_app.app_context():
        record = db.session.scalars(db.select(Exchange)).one()
        turn = db.session.scalars(db.select(Turn)).one()
    assert (record.reported_input_tokens, record.reported_cached_tokens) == (50, 20)
    assert (record.reported_output_tokens, record.reported_thoughts_tokens, record.reported_tokens) == (37, 30, 87)
    assert turn.exchange.reported == {
        "input_tokens": 50, "output_tokens": 37, "cached_tokens": 20, "thoughts_tokens": 30, "tool_tokens": 0,
        "total_tokens": 87,
    }  # fmt: skip
    by_provider = settings["metering"] == "provider"
    assert final["tokens_used"] == record.charged_tokens == (87 if by_provider else record.counted_tokens)
    assert final["calculation_method"] == ("reported" if by_provider else "api")
    price = PriceTable().at(turn.exchange.model, turn.exchange.started_at.date())
    assert turn.exchange.cost_microusd == price.cost_microusd(Usage(50, 37, 20, 30))
    settled_once(gemini_app)


@pytest.mark.parametrize("settings", [{"metering": "provider"}])
def test_a_provider_that_reports_nothing_is_charged_by_count(api, demo):
    demo.count_rule = lambda text: 5
    demo.will_say("Sure.")

    final = api.send(api.new_chat(), "Hi").final

    assert (final["tokens_used"], final["calculation_method"]) == (5 + 5 + 10, "api")


# A change in mid-turn


@pytest.fixture
def change(app):
    """Change settings of the running application, as a restart would: change(metering="provider")."""

    def change(**values):
        app.extensions["settings"] = app.extensions["settings"].model_copy(update=values)

    return change


@pytest.fixture
def midway(app, api, demo):
    """Begin a turn, do something in its middle, end it, and return its figures: midway(do)."""

    def run(do):
        demo.count_rule = lambda text: {"Hi": 5, "Sure.": 7, "": 0}.get(text, 40)
        chat_id = api.new_chat(system_prompt="Be brief.")
        hold = demo.hold()
        demo.will_say("Sure.", hold, usage=Usage(input_tokens=200, output_tokens=30))
        reading = gevent.spawn(api.send, chat_id, "Hi")
        until(lambda: len(api.messages(chat_id)) == 2 and api.messages(chat_id)[1]["content"])
        with app.app_context():
            do(chat_id)
        hold.set()
        reading.get(timeout=10)
        with app.app_context():
            settled_once(app)
            return db.session.scalars(db.select(Turn)).one()

    return run


BY_COUNT = 5 + 7 + 40 + 10


@pytest.mark.parametrize(
    ("settings", "then", "charged"),
    [
        ({"metering": "exchange"}, "provider", BY_COUNT),
        ({"metering": "provider"}, "exchange", 230),
    ],
)
def test_the_mode_of_the_reservation_counts(midway, change, settings, then, charged):
    turn = midway(lambda chat_id: change(metering=then))

    assert (turn.exchange.metering, turn.exchange.charged_tokens) == (settings["metering"], charged)


def test_the_overhead_of_the_reservation_counts(midway, change):
    assert midway(lambda chat_id: change(overhead_tokens=5000)).exchange.charged_tokens == BY_COUNT


def test_the_system_prompt_that_was_sent_counts(midway, demo):
    def do(chat_id):
        with write():
            db.session.execute(db.update(Chat).values(system_prompt=""))

    assert midway(do).exchange.charged_tokens == BY_COUNT


def test_the_price_of_the_reservation_counts(app, midway, tmp_path):
    def table(dollars):
        file = tmp_path / "prices.toml"
        file.write_text(f'[[price]]\nmodel = "scripted"\nsince = 2020-01-01\ninput = {dollars}\noutput = 10\n')
        return PriceTable(file)

    app.extensions["prices"] = table(1)
    turn = midway(lambda chat_id: app.extensions.update(prices=table(100)))

    assert turn.exchange.cost_microusd == 200 * 1 + 30 * 10


def test_a_limit_that_is_lowered_charges_what_was_used_and_never_more_than_was_held(midway, user):
    def do(chat_id):
        with write():
            ledger.set_limit(user.id, 10, "taken away")

    turn = midway(do)

    assert turn.exchange.charged_tokens == BY_COUNT <= turn.exchange.reserved_tokens


def test_a_limit_that_is_raised_changes_nothing_of_a_turn(midway, user):
    def do(chat_id):
        with write():
            ledger.grant(user.id, 10**6, "a gift")

    turn = midway(do)

    assert (turn.exchange.charged_tokens, turn.exchange.max_answer_tokens, turn.exchange.clamped_by_budget) == (
        BY_COUNT,
        8192,
        False,
    )


# Retries


def test_tries_by_itself_cost_nothing_and_one_that_is_asked_for_is_metered(app, api, user, demo, monkeypatch):
    from chatapp.providers import retry

    monkeypatch.setattr(retry, "BASE_SECONDS", 0.001)
    chat_id = api.new_chat()
    for _ in range(2):
        demo.will_raise(ProviderRateLimited(can_retry=True))
    demo.will_say("Sure.")
    first = api.send(chat_id, "Hi").final["tokens_used"]
    again = api.send(chat_id, "Hi", key="retry-by-hand").final["tokens_used"]

    with app.app_context():
        charges = [
            turn.exchange.charged_tokens for turn in db.session.scalars(db.select(Turn).order_by(Turn.started_at))
        ]
    assert len(demo.requests) == 4
    assert charges == [first, again]
    assert again > 10
    assert api.usage()["total_tokens_used"] == first + again
    settled_once(app)
