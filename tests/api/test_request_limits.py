"""How often somebody may send and call: per user, whatever the address."""

import time

import pytest

from tests.streams import Api


@pytest.fixture(autouse=True)
def _within_one_window(monkeypatch):
    now = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)


@pytest.mark.parametrize("settings", [{"rate_limits": True, "sends_per_minute": 2}])
def test_who_sends_too_often_is_told_when_to_come_back(app, api, other_user):
    chat = api.new_chat()

    assert [api.send(chat, "Hi").status for _ in range(2)] == [200, 200]
    refused = api.call("POST", f"/chat/{chat}/message", json={"message": "Hi"})

    assert (refused.status_code, refused.get_json()["code"]) == (429, "RATE_LIMITED")
    assert refused.headers["Retry-After"] == "60"
    assert api.call("GET", "/chat").status_code == 200
    other = Api(app, other_user)
    assert other.send(other.new_chat(), "Hi").status == 200


@pytest.mark.parametrize("settings", [{"rate_limits": True, "calls_per_minute": 3}])
def test_who_calls_too_often_is_told_so_on_every_address_together(app, api, other_user):
    addresses = ["/chat", "/user/token-usage", "/chat/token-stats", "/chat"]

    assert [api.call("GET", address).status_code for address in addresses] == [200, 200, 200, 429]

    assert Api(app, other_user).call("GET", "/chat").status_code == 200
    assert app.test_client().get("/healthz").status_code == 200
