"""A turn with an OpenAI-compatible server behind it, as the settings wire it."""

import pytest

from chatapp import create_app
from chatapp.chats.models import Message
from chatapp.kernel.config import ConfigurationError
from chatapp.kernel.extensions import db
from tests.scripted_openai import ScriptedOpenAI, refuses, says
from tests.streams import until
from tests.turns.test_turns import settled_once


@pytest.fixture
def openai():
    server = ScriptedOpenAI().start()
    yield server
    server.stop()


@pytest.fixture
def app(sqlite_url, tmp_path, openai, settings):
    values = {"database_url": sqlite_url, "instance_dir": tmp_path / "instance", "rate_limits": False}
    values |= {"secret_key": "x" * 32, "openai_base_url": openai.url}
    app = create_app(**(values | settings))
    app.extensions["providers"].warm_up()
    yield app
    openai.release()
    app.extensions["live_turns"].close()
    with app.app_context():
        db.engine.dispose()


def test_a_turn_is_answered_by_a_model_that_was_listed(app, api, openai):
    until(lambda: [info.id for info in app.extensions["providers"].models()] == ["small", "large"])
    openai.script(says({"thought": "Hm."}, "It is", " so."))

    heard = api.send(api.new_chat(model="large"), "Is it?")

    assert (heard.text, heard.final["finish_reason"]) == ("It is so.", "stop")
    assert openai.requests[-1].body["model"] == "large"
    settled_once(app)


@pytest.mark.parametrize("settings", [{"metering": "provider"}])
def test_what_it_reports_is_charged(app, api, openai):
    usage = {"prompt_tokens": 20, "completion_tokens": 30, "completion_tokens_details": {"reasoning_tokens": 25}}
    openai.script(says("Yes.", usage=usage))

    assert api.send(api.new_chat(), "Is it?").final["tokens_used"] == 50
    settled_once(app)


@pytest.mark.parametrize(
    ("answer", "code", "is_charged"),
    [
        (refuses(401), "PROVIDER_ERROR", False),
        (refuses(429, times=3, retry_after="60"), "RATE_LIMIT_ERROR", False),
        (says("so far", {"reset": True}), "PROVIDER_ERROR", True),
    ],
)
def test_a_fault_is_told_saved_and_settled(app, api, openai, answer, code, is_charged):
    openai.script(answer)

    heard = api.send(api.new_chat(), "Is it?")

    assert heard.final["code"] == code
    assert (heard.final["tokens_used"] > 0) == is_charged
    settled_once(app)


def test_a_wrong_setting_names_itself(tmp_path):
    for values in ({"openai_base_url": "localhost:1"}, {"openai_base_url": "http://x/v1", "openai_models": "a=b"}):
        with pytest.raises(ConfigurationError, match="OPENAI_"):
            create_app(instance_dir=tmp_path, secret_key="x" * 32, **values)


def test_thoughts_without_an_opening_tag_leave_the_answer_before_it_is_saved(app, api, openai):
    openai.script(says("Two and two make four.\n", "</think>\n\n", "It is four.", finish="stop"))
    chat = api.new_chat()

    heard = api.send(chat, "How much?")

    assert (heard.text, heard.final["done"]) == ("It is four.", True)
    answer = api.messages(chat)[1]
    assert (answer["content"], answer["status"]) == ("It is four.", "completed")
    with app.app_context():
        assert db.session.scalar(db.select(Message.thoughts).where(Message.role == "assistant")) == (
            "Two and two make four.\n"
        )


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource", "nobody_knows"])
def test_half_an_answer_does_not_look_whole(api, openai, reason):
    openai.script(says("The first half of an answer that", finish=reason))
    chat = api.new_chat()

    heard = api.send(chat, "Hi")

    assert heard.final["code"] == "PROVIDER_ERROR"
    answer = api.messages(chat)[1]
    assert (answer["content"], answer["status"]) == ("The first half of an answer that", "interrupted")


def test_a_server_that_writes_without_end_is_stopped(api, openai):
    openai.script(says({"raw": "data: {}\n\n" * 2_000_000}, finish="stop"))

    assert api.send(api.new_chat(), "Hi").final["code"] == "PROVIDER_ERROR"
