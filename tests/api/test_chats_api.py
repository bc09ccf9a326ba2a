"""Chats, figures and estimates over the API."""

import pytest

from tests.streams import Api


def test_a_chat_is_made_with_what_was_given(api):
    response = api.call("POST", "/chat", json={"title": "Plans", "system_prompt": "Be brief."})

    chat = response.get_json()
    assert response.status_code == 201
    assert list(chat) == [
        "id", "title", "model", "system_prompt", "pinned", "archived", "created_at", "updated_at",
    ]  # fmt: skip
    assert (chat["title"], chat["system_prompt"], chat["model"]) == ("Plans", "Be brief.", "scripted")


def test_a_chat_without_a_title_takes_it_from_the_first_message(api):
    chat = api.new_chat()
    api.send(chat, "\n  What is a monad?\nI wonder.")

    assert api.call("GET", f"/chat/{chat}").get_json()["title"] == "What is a monad?"


def test_chats_come_in_pages_and_each_once(app, api, other_user):
    Api(app, other_user).new_chat()
    mine = [api.new_chat() for _ in range(5)]

    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = api.call("GET", "/chat", query_string=query).get_json()
        seen += [chat["id"] for chat in page["chats"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == mine[::-1]


@pytest.mark.parametrize("query", [{"cursor": "nonsense"}, {"cursor": "é"}, {"limit": "0"}, {"limit": "x"}])
def test_a_bad_page_is_refused_by_name(api, query):
    response = api.call("GET", "/chat", query_string=query)

    assert (response.status_code, response.get_json()["code"]) == (400, "INVALID_REQUEST")
    assert next(iter(query)) in response.get_json()["message"]


def test_a_chat_is_renamed_pinned_and_archived(api):
    chat = api.new_chat()

    changed = api.call("PATCH", f"/chat/{chat}", json={"title": "New", "pinned": True, "archived": True}).get_json()

    assert (changed["title"], changed["pinned"], changed["archived"]) == ("New", True, True)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_title_is_one_line_with_one_blank_between_its_words(api, method):
    path = "/chat" if method == "POST" else f"/chat/{api.new_chat()}"
    named = api.call(method, path, json={"title": "  My\n\tplans   for  June " + " " * 300})

    assert named.get_json()["title"] == "My plans for June"
    assert api.call(method, path, json={"title": " \n\u00a0\u3000"}).status_code == 400


@pytest.mark.parametrize("fields", [{"pinned": "yes"}, {"archived": 1}, {"title": None}])
def test_a_change_of_the_wrong_type_is_refused_by_name(api, fields):
    response = api.call("PATCH", f"/chat/{api.new_chat()}", json=fields)

    assert response.status_code == 400
    assert next(iter(fields)) in response.get_json()["message"]


def test_a_deleted_chat_is_gone(api):
    chat = api.new_chat()

    assert api.call("DELETE", f"/chat/{chat}").status_code == 204
    assert api.call("GET", f"/chat/{chat}").status_code == 404
    assert api.call("GET", "/chat").get_json()["chats"] == []


def test_an_answer_in_progress_shows_its_text_so_far(api, demo):
    chat = api.new_chat()
    demo.will_say("so far", demo.hold())
    api.send(chat, "Hi", pieces=1)

    answer = api.messages(chat)[1]

    assert (answer["status"], answer["content"]) == ("in_progress", "so far")


def test_usage_begins_at_nothing(api):
    usage = api.usage()

    assert (usage["total_tokens_used"], usage["token_limit"], usage["remaining_tokens"]) == (0, 100_000, 100_000)
    assert usage["estimated_days_until_limit"] is None
    assert usage["last_reset_at"].endswith("Z")


def test_usage_says_how_long_it_lasts(api):
    api.send(api.new_chat(), "Hi")

    usage = api.usage()

    assert usage["estimated_days_until_limit"] == usage["remaining_tokens"] // usage["total_tokens_used"]


def test_a_draft_is_counted_before_it_is_sent(api, demo):
    demo.count_rule = lambda text: len(text)

    assert api.call("POST", "/tokens/estimate", json={"text": "Hello"}).get_json() == {"tokens": 5, "method": "api"}
    assert api.call("POST", "/tokens/estimate", json={}).status_code == 400
    assert api.call("POST", "/tokens/estimate", json={"text": 5}).status_code == 400


def test_counts_are_cached_and_the_cache_tells_of_itself(api, demo):
    demo.count_rule = lambda text: len(text)
    chat = api.new_chat(system_prompt="Be brief.")
    api.send(chat, "Hi")
    api.send(chat, "Hi")

    stats = api.call("GET", "/chat/token-stats").get_json()

    assert stats["system_prompt_cache_entries"] == 1
    assert stats["text_token_cache_entries"] == 2
    assert stats["total_cache_entries"] == 3
    assert (stats["hits"], stats["misses"], stats["hit_rate"]) == (3, 3, 0.5)
    assert demo.counted.count("Be brief.") == 1
