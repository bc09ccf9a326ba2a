"""Is it alive, is it ready: what supervisors and load balancers ask, by address and without a login."""

import pytest
from sqlalchemy.exc import OperationalError

from chatapp.kernel.extensions import db

PATHS = ["/healthz", "/readyz"]


@pytest.mark.parametrize("path", PATHS)
def test_both_are_200_while_it_serves(both_app, path):
    assert both_app.test_client().get(path).status_code == 200


@pytest.mark.parametrize("settings", [{"public_url": "https://chat.example.org"}])
@pytest.mark.parametrize("path", PATHS)
def test_a_supervisor_asks_by_address_though_people_may_not(client, path):
    by_address = {"Host": "127.0.0.1:8001"}

    assert client.get(path, headers=by_address).status_code == 200
    assert client.get("/", headers=by_address).status_code == 400


def test_a_process_that_leaves_is_alive_but_not_ready(app, client):
    app.extensions["live_turns"].drain()

    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503


def test_without_its_database_it_is_alive_but_not_ready(client, monkeypatch):
    def is_gone(*_arguments):
        raise OperationalError("SELECT 1", {}, Exception("connection refused"))

    monkeypatch.setattr(db.session, "execute", is_gone)

    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").get_json() == {"status": "The database does not respond"}


@pytest.mark.parametrize("settings", [{"proxy_hops": 1}])
def test_behind_a_proxy_a_request_keeps_the_name_it_has_in_the_proxy_s_log(client):
    named = client.get("/healthz", headers={"X-Request-ID": "0123456789abcdef0123456789abcdef"})
    odd = client.get("/healthz", headers={"X-Request-ID": "<script>"})

    assert named.headers["X-Request-ID"] == "0123456789abcdef0123456789abcdef"
    assert len(odd.headers["X-Request-ID"]) == 16


@pytest.mark.parametrize(
    "stranger",
    [
        {"environ_base": {"REMOTE_ADDR": "203.0.113.7"}},
        {"headers": {"X-Forwarded-For": "203.0.113.7"}},
        {"headers": {"X-Forwarded-For": "127.0.0.1"}},
    ],
)
def test_how_many_answers_are_in_progress_is_told_to_this_machine_alone(client, stranger):
    assert client.get("/healthz").get_json() == {"status": "ok", "open_turns": 0}
    assert client.get("/healthz", **stranger).get_json() == {"status": "ok"}
