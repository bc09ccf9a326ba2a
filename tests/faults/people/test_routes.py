"""Every route before everybody who should not get in: somebody else, nobody, somebody who was shut out.

The routes come from the application; one that is new fails until ROUTES says whose it is.
"""

import re
from uuid import uuid4

import pytest
from sqlalchemy import text

from chatapp.auth.models import ApiKey, LoginSession, User
from chatapp.chats.models import Message
from chatapp.kernel.database import write
from chatapp.kernel.extensions import db
from chatapp.personas.models import Persona
from chatapp.turns.models import Turn
from tests.attachments.files import picture
from tests.auth.browser import Browser, signed_in
from tests.streams import Api

SECRET = "only-adas-own-words"

# open: for nobody in particular. own: of whoever asks. owned: its address names something of somebody's.
ROUTES = {
    "open": "auth.show_sign_in auth.sign_in auth.show_register auth.register auth.show_invitation "
    "auth.accept_invitation auth.show_setup auth.set_up auth.sign_out health.alive health.ready static favicon site.manifest site.offline site.service_worker",
    "own": "conversation.index personas.index personas.prompts personas.create chats.index chats.changes conversation.begin chats.save_defaults usage.index auth.account auth.create_key auth.show_keys auth.change_password "
    "auth.save_preferences auth.end_other_sessions api.create api.index tokens.stats tokens.usage tokens.estimate "
    "endpoint.unknown endpoint.models endpoint.model endpoint.complete usage.download usage.put_notices_away conversation.estimate transfers.index transfers.all_json transfers.all_markdown transfers.delete_account transfers.create",
    "owned": "personas.edit personas.update personas.delete conversation.show chats.update chats.destroy chats.delete chats.edit chats.menu chats.rename chats.restore "
    "chats.title_status chats.unarchive "
    "conversation.send conversation.changes conversation.stop conversation.stream conversation.source conversation.show_message conversation.continue_answer conversation.edit conversation.select "
    "conversation.create_version usage.show auth.revoke_key auth.end_session transfers.export_one transfers.fork_chat "
    "api.show api.update api.destroy api.send api.join_or_send api.stop "
    "attachments.create attachments.index attachments.show attachments.update attachments.destroy attachments.content attachments.thumbnail",
    "admin": "admin.index admin.invite admin.show_invitations admin.revoke_invitation admin.clear_counts admin.disable admin.enable admin.set_limit "
    "admin.show admin.grant admin.set_period "
    "connections.index connections.save connections.delete tokens.clear_cache",
}
KIND = {endpoint: kind for kind, endpoints in ROUTES.items() for endpoint in endpoints.split()}
# A stream that is refused ends at once: on any other answer htmx would ask for ever.
# They want headers, or another message than the one in the address.
OTHERWISE = ("api.join_or_send", "conversation.edit")
REFUSED_STREAM = "event: done\ndata: -\n\n"


def routes(app, *kinds):
    """Return (endpoint, method) of every route of those kinds, of every route where none is said."""
    found = {(rule.endpoint, method) for rule in app.url_map.iter_rules() for method in rule.methods}
    return sorted(
        (endpoint, method)
        for endpoint, method in found
        if method not in ("HEAD", "OPTIONS") and (not kinds or KIND[endpoint] in kinds)
    )


@pytest.fixture
def ada(app, user, api):
    """Somebody with a bit of everything, as what stands in addresses."""
    chat = api.new_chat(title=f"{SECRET} title", system_prompt=f"{SECRET} prompt")
    api.send(chat, f"{SECRET} question")
    added = api.call("POST", f"/chat/{chat}/attachments?name={SECRET}.png", data=picture("PNG"))
    signed_in(app, user.id)
    with app.app_context(), write():
        persona = Persona.add(db.session.get_one(User, user.id), {"name": "Mine", "instructions": SECRET})
    with app.app_context():
        db.session.add(persona)
        one = lambda column, where: str(db.session.scalar(db.select(column).where(where)))  # noqa: E731
        return {
            "chat_id": chat,
            "turn_id": one(Turn.id, Turn.user_id == user.id),
            "message_id": one(Message.id, Message.role == "assistant"),
            "key_id": one(ApiKey.id, ApiKey.user_id == user.id),
            "login_id": one(LoginSession.id, LoginSession.user_id == user.id),
            "user_id": str(user.id),
            "answer_id": one(Turn.answer_id, Turn.user_id == user.id),
            "attachment_id": added.get_json()["id"],
            "kind": "json",
            "what": "persona",
            "item_id": str(persona.id),
            "filename": "css/none.css",
            "token": "none",
            "link_digest": "none",
            "rest": "none",
            "model_id": "none",
        }


def call(app, route, ada, who, **headers):
    """Ask as that person's browser with its token, or as their program with its key."""
    endpoint, method = route
    rule = next(r for r in app.url_map.iter_rules() if r.endpoint == endpoint and method in r.methods)
    path = re.sub(r"<(?:[^:<>]+:)?(\w+)>", lambda found: ada[found[1]], rule.rule)
    fields = {"message": "x", "text": "x", "title": "x", "key": str(uuid4()), "name": "x", "limit": "1"}
    if isinstance(who, dict):
        return app.test_client().open(path, method=method, headers=who | headers, json=fields)
    if path.startswith("/api"):
        headers |= {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors"}
    headers |= {"Referer": "http://localhost/", "X-CSRFToken": token_of(who)}
    sent = {"json": fields} if path.startswith("/api") else {"data": fields}
    return who.client.open(path, method=method, headers=headers, **({} if method == "GET" else sent))


def token_of(browser):
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/login").text + browser.get("/account").text)
    return found[1] if found else ""


def everything(app):
    """All that is Ada's, and how it stands; but for when she was last seen."""
    tables = dict.fromkeys(("chats", "messages", "turns", "ledger_entries", "user_usage", "users", "attachments"), "*")
    tables |= {"login_sessions": "id, ended_at", "api_keys": "id, revoked_at"}
    with app.app_context(), db.engine.connect() as connection:
        return [connection.execute(text(f"SELECT {what} FROM {table}")).all() for table, what in tables.items()]


def is_told(response):
    return SECRET.encode() in response.data or SECRET in str(response.headers)


def is_refused(response):
    if response.mimetype == "text/event-stream":
        return response.text == REFUSED_STREAM
    at_the_door = response.status_code == 303 and response.headers["Location"].startswith("/login")
    return at_the_door or response.status_code in (401, 403, 404, 406)


def test_a_route_that_is_new_says_whose_it_is(app):
    assert {endpoint for endpoint, _ in routes(app)} == set(KIND)


def test_somebody_else_sees_and_changes_nothing_of_what_is_owned(app, ada, other_user):
    strangers = [other_user.headers, signed_in(app, other_user.id)]
    before, let_in = everything(app), []
    for route in routes(app, "owned", "admin"):
        for who in strangers:
            accept = {"Accept": "text/event-stream"} if route[0] == "api.join_or_send" else {}
            response = call(app, route, ada, who, **accept)
            if not is_refused(response) or is_told(response):
                let_in.append((route, response.status_code, response.text[:300]))
            assert (route, everything(app)) == (route, before)
    assert let_in == []


def test_somebody_elses_own_pages_show_nothing_of_it(app, ada, other_user):
    for route in routes(app, "own", "open"):
        for who in (other_user.headers, signed_in(app, other_user.id)):
            response = call(app, route, ada, who)
            assert (route, is_told(response), response.status_code >= 500) == (route, False, False)


@pytest.mark.parametrize("is_shut_out", [False, True], ids=["nobody", "shut out"])
def test_nobody_and_who_was_shut_out_are_asked_to_sign_in(app, ada, user, is_shut_out):
    outsiders = [user.headers, signed_in(app, user.id)] if is_shut_out else [{}, Browser(app)]
    with app.app_context(), write():
        db.session.get_one(User, user.id).is_enabled = not is_shut_out
    before, let_in = everything(app), []
    for route in routes(app):
        for who in outsiders:
            response = call(app, route, ada, who)
            assert (route, is_told(response), response.status_code >= 500) == (route, False, False)
            if KIND[route[0]] != "open" and not is_refused(response):
                let_in.append((route, response.status_code, response.text[:300]))
    assert let_in == []
    assert everything(app) == before


def test_the_owner_is_let_in(app, ada, user):
    """What is refused to others above is there."""
    shown = [route for route in routes(app, "owned") if route[1] == "GET" and route[0] not in OTHERWISE]

    for route in shown:
        with call(app, route, ada, signed_in(app, user.id)) as response:
            assert (route, is_refused(response)) == (route, False)


# A child that is real, under a parent that is one's own


@pytest.fixture
def eve(app, other_user):
    api = Api(app, other_user)
    api.browser = signed_in(app, other_user.id)
    api.chat = api.new_chat()
    api.send(api.chat, "Mine")
    return api


@pytest.mark.parametrize("path", ["?before=", "?at=", "/news?seen=&at="])
def test_a_strangers_message_is_no_place_to_read_on_from(ada, eve, path):
    browser = eve.browser
    page = browser.get(f"/chats/{eve.chat}{path}{ada['message_id']}")
    fragment = browser.get(f"/chats/{eve.chat}{path}{ada['message_id']}", headers={"HX-Request": "true"})

    assert (page.status_code, fragment.status_code) == (200, 200)
    assert SECRET not in page.text + fragment.text
    assert "Mine" in browser.get(f"/chats/{eve.chat}").text


def test_a_strangers_position_in_ones_own_chat_is_unknown(ada, eve):
    answer = eve.call(
        "GET",
        f"/chat/{eve.chat}/message",
        headers={"Accept": "text/event-stream", "Last-Event-ID": f"{ada['turn_id']}:0"},
    )

    assert (answer.status_code, answer.text) == (204, "")


def test_a_strangers_chat_beside_the_list_is_not_shown(ada, eve):
    browser = eve.browser
    address = f"http://localhost/chats/{ada['chat_id']}"

    changed = browser.client.patch(
        f"/chats/{eve.chat}",
        data={"title": "New", "csrf_token": browser.token()},
        headers={"HX-Request": "true", "HX-Current-URL": address, "Referer": address},
    )

    news = browser.get("/chats/news", headers={"HX-Request": "true", "HX-Current-URL": address})

    assert (changed.status_code, news.status_code) == (200, 200)
    assert SECRET not in changed.text + news.text
