"""Refusals before the stream starts: their status, their code, and that nothing was changed."""

import uuid

import pytest

from tests.streams import Api

UNKNOWN = str(uuid.uuid4())


def refusal(response):
    error = response.get_json()
    assert error["status"] == "error"
    return response.status_code, error["code"]


def test_no_key_no_entry(client):
    assert refusal(client.post(f"/api/chat/{UNKNOWN}/message", json={"message": "Hi"})) == (401, "UNAUTHENTICATED")


def test_a_wrong_key_is_no_key(client):
    headers = {"Authorization": "Bearer chat_wrong"}

    assert refusal(client.get("/api/chat", headers=headers)) == (401, "UNAUTHENTICATED")


def test_an_id_that_is_none_is_said_to_be_one(api):
    response = api.call("POST", "/chat/nonsense/message", json={"message": "Hi"})

    assert refusal(response) == (400, "CHAT_NOT_FOUND")
    assert response.get_json()["message"] == "Invalid chat ID format"


def test_a_chat_that_is_not_there_is_not_found(api):
    assert refusal(api.call("POST", f"/chat/{UNKNOWN}/message", json={"message": "Hi"})) == (404, "CHAT_NOT_FOUND")


@pytest.mark.parametrize(("method", "path"), [
    ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/message"), ("POST", "/stop"),
])  # fmt: skip
def test_a_strangers_chat_is_closed(app, api, other_user, method, path):
    chat = Api(app, other_user).new_chat()

    response = api.call(method, f"/chat/{chat}{path}", json={"message": "Hi"})

    assert refusal(response) == (403, "UNAUTHORIZED_CHAT_ACCESS")


@pytest.mark.parametrize("message", [None, 7, ["Hi"], "", "  \n\t ", "x" * 5001, "🎨" * 5001, "a\x00b", "a\ud800b"])
def test_a_message_that_is_none_is_refused_and_nothing_is_saved(api, demo, message):
    chat = api.new_chat()
    body = b'{"message": "a\\ud800b"}' if message == "a\ud800b" else None
    options = {"data": body, "content_type": "application/json"} if body else {"json": {"message": message}}

    assert refusal(api.call("POST", f"/chat/{chat}/message", **options)) == (400, "INVALID_MESSAGE")
    assert api.messages(chat) == []
    assert demo.requests == []


@pytest.mark.parametrize("message", ["x" * 5000, "🎨" * 5000, "  padded  \r\n"])
def test_a_message_that_fits_is_saved_to_the_letter(api, message):
    chat = api.new_chat()

    assert api.send(chat, message).final["done"]
    assert api.messages(chat)[0]["content"] == message.strip()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"Hi"', b"null", b"[" * 100_000, b"\xff\xfe{}"])
def test_a_body_that_is_no_object_is_no_message(api, body):
    response = api.call("POST", f"/chat/{api.new_chat()}/message", data=body, content_type="application/json")

    assert refusal(response) == (400, "INVALID_MESSAGE")


def test_a_body_that_is_no_json_is_told_so(api):
    response = api.call("POST", f"/chat/{api.new_chat()}/message", data=b"message=Hi")

    assert refusal(response) == (415, "INVALID_REQUEST")


def test_a_body_that_is_too_large_is_refused(api):
    response = api.call("POST", f"/chat/{api.new_chat()}/message", json={"message": "x" * 300_000})

    assert refusal(response) == (413, "INVALID_REQUEST")


@pytest.mark.parametrize("key", ["", "x" * 201, "with blank", "ümlaut"])
def test_a_key_that_cannot_be_one_is_refused(api, key):
    headers = {"Idempotency-Key": key.encode().decode("latin-1")}
    response = api.call("POST", f"/chat/{api.new_chat()}/message", json={"message": "Hi"}, headers=headers)

    assert refusal(response) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("fields", [
    {"title": 7}, {"title": "x" * 201}, {"model": "unknown"}, {"system_prompt": []}, {"system_prompt": "x" * 8001},
])  # fmt: skip
def test_a_chat_with_a_wrong_field_is_refused_by_the_fields_name(api, fields):
    response = api.call("POST", "/chat", json=fields)

    assert refusal(response) == (400, "INVALID_REQUEST")
    assert next(iter(fields)) in response.get_json()["message"]


def test_unknown_fields_are_ignored(api):
    response = api.call("POST", "/chat", json={"title": "Plans", "user_id": UNKNOWN, "is_admin": True})

    assert response.status_code == 201
    assert response.get_json()["title"] == "Plans"


def test_what_is_not_there_is_json_too(api):
    assert refusal(api.call("GET", "/nothing")) == (404, "NOT_FOUND")
    assert api.call("PUT", "/chat").status_code == 405


def test_an_unexpected_failure_shows_a_reference_and_nothing_else(app, api, monkeypatch):
    monkeypatch.setattr("chatapp.api.tokens.usage_of", lambda user_id: 1 / 0)

    response = api.call("GET", "/user/token-usage")

    assert refusal(response) == (500, "INTERNAL_ERROR")
    assert "division" not in response.text
    assert response.headers["X-Request-ID"] in response.get_json()["message"]


def test_only_administrators_clear_the_counts(app, api):
    assert refusal(api.call("DELETE", "/chat/token-stats")) == (403, "FORBIDDEN")
