"""A turn from send to settled, as a program with a key sees it, on SQLite and PostgreSQL."""

import gevent
import pytest

from chatapp.budget import ledger
from chatapp.budget.models import LedgerEntry, UserUsage
from chatapp.kernel.errors import (
    ContentBlocked,
    ProviderError,
    ProviderInterrupted,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderTimeout,
)
from chatapp.kernel.extensions import db
from chatapp.providers.base import Chunk, Usage
from chatapp.turns.models import Turn
from tests.conftest import application, make_user
from tests.streams import Api, until


def settled_once(app) -> None:
    """Every turn has one reserve, one release, one charge; nothing is held; the balance is the sum of the entries."""
    with app.app_context():
        for turn in db.session.scalars(db.select(Turn)):
            operations = db.select(LedgerEntry.operation).where(LedgerEntry.exchange_id == turn.id)
            assert sorted(db.session.scalars(operations)) == ["charge", "release", "reserve"]
        assert ledger.verify() == []
        assert all(usage.reserved_tokens == 0 for usage in db.session.scalars(db.select(UserUsage)))


def test_an_answer_streams_and_is_saved_and_charged(both_app, both_api, demo):
    chat = both_api.new_chat()
    demo.will_say("I'd love", " to", " help!")

    heard = both_api.send(chat, "Help me create an NFT")

    question, answer = both_api.messages(chat)
    assert heard.text == answer["content"] == "I'd love to help!"
    assert (question["content"], question["tokens_consumed"]) == ("Help me create an NFT", 0)
    assert heard.final["done"]
    assert heard.final["tokens_used"] == answer["tokens_consumed"] == both_api.usage()["total_tokens_used"] > 10
    assert heard.final["message_id"] == answer["id"]
    settled_once(both_app)


def test_the_parts_of_a_count_are_shown_with_their_method(api, demo):
    demo.count_rule = lambda text: {"Help me create an NFT": 6, "Sure.": 42}.get(text, 150)
    chat = api.new_chat(system_prompt="You help.")
    demo.will_say("Sure.")

    heard = api.send(chat, "Help me create an NFT")

    usage = api.messages(chat)[1]["usage"]
    assert heard.final["tokens_used"] == usage["total_tokens"] == 6 + 42 + 150 + 10
    assert (usage["user_tokens"], usage["answer_tokens"], usage["system_tokens"]) == (6, 42, 150)
    assert usage["methods"] == {"user": "api", "answer": "api", "system": "api"}
    assert heard.final["calculation_method"] == "api"


def test_the_weakest_part_names_the_method_of_the_sum(api, demo):
    demo.count_rule = lambda text: None if text == "Sure." else 5
    demo.will_say("Sure.")

    assert api.send(api.new_chat(), "Hi").final["calculation_method"] == "estimate"


@pytest.mark.parametrize("settings", [{"count_seconds": 0.05}])
def test_a_count_that_does_not_come_in_time_is_estimated(api, demo):
    demo.count_rule = lambda text: gevent.sleep(60)

    assert api.send(api.new_chat(), "Hi").final["calculation_method"] == "estimate"


def test_a_count_that_fails_is_estimated(api, demo):
    def fail(text):
        raise ProviderRateLimited()

    demo.count_rule = fail

    assert api.send(api.new_chat(), "Hi").final["calculation_method"] == "estimate"


def test_the_model_sees_the_conversation_and_not_what_was_never_answered(api, demo):
    chat = api.new_chat(system_prompt="Be brief.")
    demo.will_say("First.")
    api.send(chat, "One")
    demo.will_raise(ProviderMisconfigured())
    api.send(chat, "Two")
    demo.will_say("Third.")
    api.send(chat, "Three")

    request = demo.requests[-1]
    assert [message.content for message in request.messages] == ["One", "First.", "Three"]
    assert request.system_prompt == "Be brief."


@pytest.mark.parametrize("settings", [{"history_messages": 3}])
def test_the_context_is_the_last_messages_and_begins_with_the_users(api, demo):
    chat = api.new_chat()
    for number in range(4):
        api.send(chat, f"Question {number}")

    assert [message.content for message in demo.requests[-1].messages] == ["Question 2", "Hello.", "Question 3"]


def test_a_stopped_answer_is_kept_and_metered(both_app, both_api, demo):
    chat = both_api.new_chat()
    demo.will_say("Once upon", demo.hold(), " a time")
    reading = gevent.spawn(both_api.send, chat, "Tell me")
    until(lambda: both_api.messages(chat) and both_api.messages(chat)[-1]["content"])

    assert both_api.call("POST", f"/chat/{chat}/stop").status_code == 204

    heard = reading.get(timeout=30)
    answer = both_api.messages(chat)[1]
    assert heard.final["code"] == "TURN_STOPPED"
    assert (answer["content"], answer["status"]) == ("Once upon", "stopped")
    assert answer["tokens_consumed"] == both_api.usage()["total_tokens_used"] > 0
    settled_once(both_app)


def test_stopping_twice_or_after_the_end_changes_nothing(app, api, demo):
    chat = api.new_chat()
    api.send(chat, "Hi")

    for _ in range(2):
        assert api.call("POST", f"/chat/{chat}/stop").status_code == 204

    assert api.messages(chat)[1]["status"] == "completed"
    settled_once(app)


def test_a_stop_before_the_first_piece_is_heard(api, demo):
    chat = api.new_chat()
    demo.will_say(demo.hold(), "never")
    reading = gevent.spawn(api.send, chat, "Tell me")
    until(lambda: demo.requests)
    api.call("POST", f"/chat/{chat}/stop")

    assert reading.get(timeout=30).final["code"] == "TURN_STOPPED"
    assert api.messages(chat)[1]["content"] == ""


ENDS = [
    (ProviderInterrupted(), True, "interrupted", "PROVIDER_ERROR", True),
    (ProviderTimeout(), True, "interrupted", "PROVIDER_TIMEOUT", True),
    (ProviderTimeout(), False, "interrupted", "PROVIDER_TIMEOUT", True),
    (ProviderRateLimited(), False, "failed", "RATE_LIMIT_ERROR", False),
    (ProviderMisconfigured(), False, "failed", "PROVIDER_ERROR", False),
    (ProviderError(), False, "failed", "PROVIDER_ERROR", False),
    (ContentBlocked(), False, "failed", "CONTENT_BLOCKED", True),
    (RuntimeError("a bug"), True, "failed", "INTERNAL_ERROR", True),
]


@pytest.mark.parametrize(("error", "has_text", "status", "code", "is_charged"), ENDS)
def test_every_end_is_told_saved_and_settled_once(app, api, demo, error, has_text, status, code, is_charged):
    chat = api.new_chat()
    demo.will_raise(error, *(["so far"] if has_text else []))

    heard = api.send(chat, "Tell me")

    answer = api.messages(chat)[1]
    assert (heard.final["error"], heard.final["code"]) == (True, code)
    assert (answer["status"], answer["content"]) == (status, "so far" if has_text else "")
    assert (answer["tokens_consumed"] > 0) == is_charged == (heard.final["tokens_used"] > 0)
    settled_once(app)


def test_an_answer_without_a_word_has_failed_and_the_question_is_charged(app, api, demo):
    chat = api.new_chat()
    demo.will_say()

    heard = api.send(chat, "Tell me")

    assert heard.final["code"] == "PROVIDER_ERROR"
    assert api.messages(chat)[1]["status"] == "failed"
    assert heard.final["tokens_used"] > 10
    settled_once(app)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_ends_early_says_why(api, demo, reason):
    demo.will_say("so far", finish_reason=reason)

    final = api.send(api.new_chat(), "Tell me").final

    assert (final["done"], final["finish_reason"]) == (True, reason)


def test_the_provider_is_asked_for_no_more_than_the_budget_leaves(app, demo):
    api = Api(app, make_user(app, "poor@example.org", limit=200))
    chat = api.new_chat()
    demo.will_say("word " * 300)

    heard = api.send(chat, "Tell me")

    assert heard.final["code"] == "TOKEN_LIMIT_EXCEEDED"
    assert demo.requests[0].max_output_tokens < 200
    assert api.messages(chat)[1]["status"] == "stopped"
    assert api.usage()["total_tokens_used"] <= 200
    settled_once(app)


def test_a_budget_that_leaves_no_room_for_an_answer_refuses_the_send(app, demo):
    api = Api(app, make_user(app, "poor@example.org", limit=70))
    chat = api.new_chat()

    heard = api.send(chat, "Tell me")

    assert (heard.status, heard.error["code"]) == (403, "TOKEN_LIMIT_EXCEEDED")
    assert api.messages(chat) == []
    assert demo.requests == []


def test_what_the_provider_reports_is_kept_beside_what_was_metered(api, demo):
    chat = api.new_chat()
    zeros, last = Usage(), Usage(input_tokens=30, output_tokens=25, thoughts_tokens=20)
    demo.will_say(Chunk(delta="Sure", usage=zeros), Chunk(delta=".", usage=last))

    api.send(chat, "Hi")

    reported = api.messages(chat)[1]["usage"]["reported"]
    assert (reported["input_tokens"], reported["output_tokens"], reported["total_tokens"]) == (30, 25, 55)


@pytest.mark.parametrize("settings", [{"metering": "provider"}])
def test_metering_by_the_provider_charges_what_it_reports(api, demo):
    demo.will_say("Sure.", usage=Usage(input_tokens=30, output_tokens=25))

    final = api.send(api.new_chat(), "Hi").final

    assert (final["tokens_used"], final["calculation_method"]) == (55, "reported")


@pytest.mark.parametrize("settings", [{"metering": "provider"}])
def test_no_more_than_was_held_is_ever_charged(app, demo):
    api = Api(app, make_user(app, "poor@example.org", limit=500))
    chat = api.new_chat()
    demo.will_say("Sure.", usage=Usage(input_tokens=10**9, output_tokens=25))

    final = api.send(chat, "Hi").final

    assert final["tokens_used"] <= 500
    assert api.messages(chat)[1]["usage"]["excess_tokens"] == 10**9 + 25 - final["tokens_used"]
    settled_once(app)


def test_one_chat_answers_one_question_at_a_time(both_api, demo):
    chat = both_api.new_chat()
    demo.will_say("a", demo.hold())
    reading = gevent.spawn(both_api.send, chat, "First")
    until(lambda: demo.requests)

    second = both_api.send(chat, "Second")

    assert (second.status, second.error["code"]) == (409, "TURN_IN_PROGRESS")
    demo.release()
    assert reading.get(timeout=30).final["done"]


def test_the_same_send_twenty_times_is_one_turn_and_one_charge(both_app, both_api, demo):
    chat = both_api.new_chat()
    demo.will_say("only", demo.hold(), " once")
    sends = [gevent.spawn(both_api.send, chat, "Hi", key="k1") for _ in range(20)]
    until(lambda: demo.requests)
    demo.release()

    heard = [send.get(timeout=10) for send in sends]

    assert {one.text for one in heard} == {"only once"}
    assert len(demo.requests) == 1
    assert len(both_api.messages(chat)) == 2
    settled_once(both_app)


def test_a_key_with_another_text_is_refused(api):
    chat = api.new_chat()
    api.send(chat, "Hi", key="k1")

    again = api.send(chat, "Hello", key="k1")

    assert (again.status, again.error["code"]) == (409, "KEY_REUSED")


def test_a_repeated_key_hears_the_whole_answer_again(api, demo):
    chat = api.new_chat()
    first = api.send(chat, "Hi", key="k1")

    again = api.send(chat, " Hi\r\n", key="k1")

    assert (again.text, again.final) == (first.text, first.final)
    assert len(demo.requests) == 1


@pytest.fixture
def second_app(both_app, database, tmp_path, demo, settings):
    """Another process's application on the same database."""
    yield from application(database, tmp_path, demo, settings)


def test_two_hundred_racing_sends_over_two_processes_admit_exactly_what_fits(both_app, second_app, demo):
    reservation = 8192 + 10 + 2
    person = make_user(both_app, "team@example.org", limit=10 * reservation)
    apis = [Api(app, person) for app in (both_app, second_app)]
    chats = [apis[0].new_chat() for _ in range(200)]
    for _ in range(10):
        demo.will_say(demo.hold(), "Hi.")
    sends = [gevent.spawn(apis[at % 2].send, chat, "Hi") for at, chat in enumerate(chats)]
    # The ten that were admitted wait for the provider; all others have been refused.
    until(lambda: sum(send.ready() for send in sends) == 190)
    demo.release()

    heard = [send.get(timeout=30) for send in sends]

    assert sum(one.status == 200 for one in heard) == 10
    assert {one.error["code"] for one in heard if one.status != 200} == {"TOKEN_LIMIT_EXCEEDED"}
    settled_once(both_app)


def test_nobody_waits_for_a_connection_while_models_talk(both_app, demo):
    apis = [Api(both_app, make_user(both_app, f"user{number}@example.org")) for number in range(40)]
    chats = [api.new_chat() for api in apis]
    for _ in apis:
        demo.will_say("a", demo.hold(), "b")
    sends = [gevent.spawn(api.send, chat, "Hi") for api, chat in zip(apis, chats, strict=True)]
    until(lambda: len(demo.requests) == 40)
    until(lambda: _checked_out(both_app) == 0)

    demo.release()
    assert [send.get(timeout=10).text for send in sends] == ["ab"] * 40


def _checked_out(app) -> int:
    with app.app_context():
        return db.engine.pool.checkedout()


def test_a_deleted_chat_ends_its_answer_and_its_cost_stays_in_the_ledger(app, api, demo):
    chat = api.new_chat()
    demo.will_say("so far", demo.hold())
    reading = gevent.spawn(api.send, chat, "Hi")
    until(lambda: demo.requests)

    assert api.call("DELETE", f"/chat/{chat}").status_code == 204

    assert reading.get(timeout=30).final["error"]
    assert api.call("GET", f"/chat/{chat}").status_code == 404
    settled_once(app)
