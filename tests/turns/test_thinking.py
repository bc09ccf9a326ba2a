"""What a model may think is held with the answer where it is charged, and never more is asked for than is held."""

import pytest

from chatapp.chats.models import Chat
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from chatapp.providers.base import ModelInfo, Usage
from chatapp.providers.gemini.models import THINKING, gemini_model, thinking_of
from chatapp.turns.models import Turn
from tests.conftest import make_user
from tests.providers.scripted import ScriptedProvider
from tests.streams import Api
from tests.turns.test_turns import settled_once

MUST_THINK = ModelInfo("scripted", "Scripted", 32_768, 8_192, min_thinking_tokens=128, max_thinking_tokens=4_096)
MAY_THINK = ModelInfo("scripted", "Scripted", 32_768, 8_192, max_thinking_tokens=4_096)
NEVER_THINKS = ModelInfo("scripted", "Scripted", 32_768, 8_192)


@pytest.fixture(params=[MUST_THINK, MAY_THINK, NEVER_THINKS], ids=["must", "may", "never"])
def demo(request):
    provider = ScriptedProvider(request.param)
    yield provider
    provider.release()


def ask(app, demo, limit, thinking_tokens):
    """Ask a question in a chat with an allowance to think; return the model, the request and the turn."""
    api = Api(app, make_user(app, "ada@example.org", limit=limit))
    chat_id = api.new_chat(system_prompt="Be brief.")
    with app.app_context(), write():
        db.session.scalar(db.select(Chat)).thinking_tokens = thinking_tokens
    info = demo.models()[0]
    demo.will_say("Yes.", usage=Usage(input_tokens=20, output_tokens=9_000, thoughts_tokens=4_000))
    heard = api.send(chat_id, "Is it so?")
    with app.app_context():
        turn = db.session.scalar(db.select(Turn))
    return heard, info, demo.requests[0] if demo.requests else None, turn


@pytest.mark.parametrize("settings", [{"metering": "provider"}])
@pytest.mark.parametrize("thinking_tokens", [None, 0, 100, 4_096, 60_000])
@pytest.mark.parametrize("limit", [100_000, 9_000, 1_000, 260])
def test_what_the_provider_may_bill_is_held(app, demo, limit, thinking_tokens):
    _, info, request, turn = ask(app, demo, limit, thinking_tokens)

    input_tokens = sum(part["tokens"] for part in turn.sent)
    may_think = info.thinking_tokens(request.thinking_tokens)
    assert input_tokens + request.max_output_tokens + may_think <= turn.exchange.reserved_tokens <= limit
    assert request.max_output_tokens >= 64
    settled_once(app)


@pytest.mark.parametrize("settings", [{"metering": "provider"}])
def test_the_answer_comes_before_thoughts_where_the_budget_is_short(app, demo):
    _, info, request, turn = ask(app, demo, 9_000, 4_096)

    assert request.max_output_tokens == 8_192
    assert request.thinking_tokens < 9_000 - 8_192
    assert (request.thinking_tokens > 0) == (info.max_thinking_tokens > 0)
    assert not turn.exchange.clamped_by_budget


@pytest.mark.parametrize("settings", [{"metering": "provider"}])
def test_a_budget_without_room_for_what_must_be_thought_refuses(app, demo):
    heard, info, request, _turn = ask(app, demo, 150, 0)

    assert (request is None) == (info.min_thinking_tokens > 0) == (heard.status == 403)


@pytest.mark.parametrize("thinking_tokens", [0, 100, 60_000])
def test_charged_by_exchange_thoughts_are_on_top_of_what_is_held(app, demo, thinking_tokens):
    _, info, request, turn = ask(app, demo, 100_000, thinking_tokens)

    assert request.max_output_tokens == 8_192
    assert request.thinking_tokens == min(thinking_tokens, info.thinking_tokens(thinking_tokens))
    assert turn.exchange.reserved_tokens < 8_192 + 40


@pytest.mark.parametrize("family", [start or "other" for start in THINKING])
@pytest.mark.parametrize("asked", [0, 1, 100, 512, 513, 2_048, 10_000, 100_000])
def test_no_model_is_asked_for_more_than_its_bound_says(family, asked):
    _, added = thinking_of(family).settings(min(asked, gemini_model(family).max_thinking_tokens))

    assert added <= gemini_model(family).thinking_tokens(asked)
