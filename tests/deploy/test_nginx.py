"""The shipped nginx before two processes on PostgreSQL and Redis, over HTTP/2 and TLS."""

import json
import os
import random
import re
import signal
import subprocess
from pathlib import Path
from uuid import uuid4

import gevent
import httpx
import psycopg
import pytest
from playwright.sync_api import expect

from bench import attachments, chaos
from tests import servers
from tests.auth.browser import PASSWORD, make_account
from tests.chromium import FLAGS
from tests.deploy.site import Site, Visitor
from tests.faults import invariants
from tests.scripted_gemini import says
from tests.streams import Heard, until

pytestmark = [pytest.mark.slow, pytest.mark.nginx, pytest.mark.postgresql, pytest.mark.redis]

NAMELESS = {"Connection": "close"}


@pytest.fixture
def site(tmp_path, to_gemini, postgresql_url, redis_url):
    site = Site(tmp_path, {**to_gemini, "DATABASE_URL": postgresql_url, "REDIS_URL": redis_url})
    yield site
    site.stop()


@pytest.fixture
def ada(site, make_person, postgresql_url):
    visitor = Visitor(site, make_person(postgresql_url))
    yield visitor
    visitor.close()


@pytest.fixture
def browserless(site):
    with site.client() as client:
        yield client


def served_by(site: Site) -> list[str]:
    """Return the process that each request went to, as nginx noted it."""
    lines = [json.loads(line) for line in (site._directory / "chat.log").read_text().splitlines()]
    return [line["upstream"] for line in lines]


def test_every_piece_is_there_before_the_next_is_sent(ada, gemini):
    gemini.script(says("one", {"hold": True}, " two"))
    chat, heard = ada.new_chat(), ""
    with ada._client.stream("POST", f"/chat/{chat}/message", json={"message": "Count."}) as answer:
        for chunk in answer.iter_text():
            heard += chunk
            # What a proxy collected would never come: the provider waits until the first piece is here.
            if "data: one\n" in heard:
                gemini.release()

    assert answer.http_version == "HTTP/2"
    assert "data:  two\n" in heard
    assert '"done": true' in heard


def test_a_listener_that_comes_back_goes_on_in_whichever_process_he_meets(site, ada, gemini):
    gemini.script(says("one", " two", {"hold": True}, " three"))
    chat = ada.new_chat()
    heard, listening = ada.start(chat, "Count.")
    until(lambda: heard.text == "one two")
    first = Heard(200, text="one", ids=[heard.ids[-1].partition(":")[0] + ":3"])
    again = [Heard(200, first.text, ids=list(first.ids)) for _ in range(4)]
    # A connection each: httpx lets nobody else read while one waits.
    visitors = [Visitor(site, ada.person) for _ in again]
    coming = [gevent.spawn(visitor.resume, chat, each) for visitor, each in zip(visitors, again, strict=True)]
    until(lambda: all(each.text == "one two" for each in again))
    gemini.release()
    gevent.joinall([listening, *coming], timeout=20)
    for visitor in visitors:
        visitor.close()

    assert [each.text for each in again] == ["one two three"] * 4
    assert {each.final["message_id"] for each in again} == {heard.final["message_id"]}
    until(lambda: len(set(served_by(site)[-5:])) == 2)


def test_another_name_is_sent_away(browserless):
    assert browserless.get("/healthz").status_code == 200
    assert browserless.get("/healthz", headers={"Host": "evil.example"}).status_code == 421


def test_v1_takes_long_conversations_and_refuses_in_its_own_shape(site, ada):
    body = lambda text: {"model": "none", "messages": [{"role": "user", "content": text}]}  # noqa: E731

    with site.client(http2=False, path="/v1", headers=ada.person.headers) as client:
        long, longer = (client.post("/chat/completions", json=body("x" * size)) for size in (2_000_000, 9_000_000))

    assert (long.status_code, long.json()["error"]["code"]) == (404, "model_not_found")
    assert (longer.status_code, longer.json()["error"]["code"]) == (413, "request_too_large")


def test_files_come_through_up_to_their_limit_and_both_processes_hand_them_out(site, ada):
    path = f"/chat/{ada.new_chat()}/attachments"
    with site.client(http2=False, path="/api", headers=ada.person.headers) as client:
        added = client.post(path, content=attachments.pdf(19))
        handed_out = [client.get(f"{path}/{added.json()['id']}/content") for _ in range(4)]
        refused = client.post(path, content=b"x" * 22 * 2**20)

    assert (added.status_code, added.json()["kind"]) == (201, "pdf")
    assert {len(each.content) for each in handed_out} == {added.json()["bytes"]}
    assert refused.status_code == 413
    assert len(set(served_by(site)[-5:-1])) == 2


def test_a_body_that_is_too_large_is_refused_in_the_words_of_the_api(site, ada):
    # Over HTTP/1.1: httpx waits for leave to send the rest where the answer has come already.
    with site.client(http2=False, path="/api", headers=ada.person.headers) as client:
        refused = client.post(f"/chat/{ada.new_chat()}/message", json={"message": "x" * 300_000})

    assert (refused.status_code, refused.json()["code"]) == (413, "INVALID_REQUEST")


def test_a_message_of_5000_emoji_may_stand_in_the_address(ada, gemini):
    gemini.script(says("😀"))
    heard = Heard(0)
    text = "😀" * 5000

    ada._listen(heard, "GET", f"/chat/{ada.new_chat()}/message", {"Accept": "text/event-stream"}, params={"msg": text})

    assert (heard.status, heard.text) == (200, "😀")


def test_a_client_does_not_choose_its_own_address(site, browserless):
    """Ten failed sign-ins a minute and address: an address of his own choice would give him as many as he likes."""
    forged = [{"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=203.0.113.{number}"} for number in range(3)]
    for headers in forged:
        browserless.get("/login", headers=headers)

    assert {json.loads(line)["ip"] for line in (site._directory / "chat.log").read_text().splitlines()} == {"127.0.0.1"}


def test_a_get_whose_process_dies_before_its_headers_is_not_run_again(site, ada, gemini, postgresql_url):
    chat, key = ada.new_chat(), str(uuid4())
    asked = {"msg": "secret-marker", "key": key}
    with psycopg.connect(postgresql_url) as lock:
        # The send waits for the row of her budget, and then its process dies.
        lock.execute("SELECT * FROM user_usage FOR UPDATE")
        heard = Heard(0)
        asking = gevent.spawn(
            ada._listen, heard, "GET", f"/chat/{chat}/message", {"Accept": "text/event-stream"}, params=asked
        )
        os.kill(worker_at_the_lock(site, postgresql_url), signal.SIGKILL)
        asking.get(timeout=10)
        gevent.sleep(0.5)  # A second run would wait for the lock by now.

    assert (heard.status, heard.error["code"]) == (503, "SERVICE_UNAVAILABLE")
    gevent.sleep(0.5)
    assert ada.messages(chat) == [], "nothing was run a second time"
    again = Heard(0)
    gemini.script(says("one"))
    ada._listen(again, "GET", f"/chat/{chat}/message", {"Accept": "text/event-stream"}, params=asked)
    assert again.text == "one"
    invariants.hold(postgresql_url)
    assert "secret-marker" not in site.logs()


def worker_at_the_lock(site: Site, url: str) -> int:
    """Return the worker whose connection waits for a lock, by the port it comes from."""
    with psycopg.connect(url, autocommit=True) as connection:
        waiting = "SELECT client_port FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        until(lambda: connection.execute(waiting).fetchone())
        [port] = connection.execute(waiting).fetchone()
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    [inode] = [fields[9] for fields in sockets if int(fields[1].partition(":")[2], 16) == port and fields[9] != "0"]
    workers = [pid for index in range(2) for pid in site.workers(index)]
    [pid] = [pid for pid in workers if f"socket:[{inode}]" in map(readlink, Path(f"/proc/{pid}/fd").iterdir())]
    return pid


def readlink(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def test_with_one_process_gone_every_request_is_served_by_the_other(site, ada):
    site.processes[0].kill()

    # What was on its way into the process when it died is the documented 503: nginx repeats nothing it has sent.
    statuses = [ada.call("GET", "/chat").status_code for _ in range(20)]
    assert set(statuses[:4]) <= {200, 503}
    assert statuses[4:] == [200] * 16


def test_with_both_gone_it_is_the_documented_503(site, ada, browserless):
    for process in site.processes:
        process.kill()

    refused = ada.call("POST", "/chat", json={})
    page = browserless.get("/login")

    assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html")
    assert refused.headers["Retry-After"] == page.headers["Retry-After"] == "1"


def test_scripts_come_compressed_and_are_kept(browserless):
    page = browserless.get("/login").text
    for path in re.findall(r"/static/[\w/.-]+\.(?:js|css)", page):
        answer = browserless.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "immutable" in answer.headers["Cache-Control"]


def plain(site: Site) -> str:
    """Return where nginx listens without TLS."""
    listening = re.search(r"listen 127.0.0.1:(\d+);", (site._directory / "nginx.conf").read_text())
    return f"http://127.0.0.1:{listening[1]}"


def test_plain_http_is_sent_to_tls(site):
    answer = httpx.get(f"{plain(site)}/chats?x=1", headers={"Host": "chat.example.org"} | NAMELESS)

    assert (answer.status_code, answer.headers["Location"]) == (301, "https://chat.example.org/chats?x=1")


def test_plain_http_leads_to_no_other_name_and_takes_no_key(site):
    evil = httpx.get(f"{plain(site)}/login", headers={"Host": "evil.test"} | NAMELESS)
    by_key = httpx.get(f"{plain(site)}/api/chat", headers={"Host": "chat.example.org"} | NAMELESS)

    assert (evil.status_code, "Location" in evil.headers) == (421, False)
    assert (by_key.status_code, by_key.json()["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize("suite", ["AES256-SHA", "AES128-SHA256", "CAMELLIA256-SHA", "ECDHE-RSA-AES256-SHA"])
def test_a_connection_has_forward_secrecy_or_none_is_made(site, suite):
    """With the RSA certificate of this site."""
    address = site.url.removeprefix("https://")
    suites = {"refused": [suite], "taken": ["ECDHE-RSA-AES128-GCM-SHA256"]}
    command = ["openssl", "s_client", "-connect", address, "-servername", "chat.example.org", "-tls1_2", "-cipher"]
    ends = {
        name: subprocess.run([*command, *each], input=b"", capture_output=True, check=False).returncode
        for name, each in suites.items()
    }

    assert ends["taken"] == 0
    assert ends["refused"] != 0


def test_answers_of_nginx_s_own_have_the_headers_of_safety_and_others_have_them_once(site, browserless):
    once = browserless.get("/login")
    wrong_name = browserless.get("/login", headers={"Host": "evil.example"})
    with site.client(http2=False) as client:
        too_large = client.post("/login", content=b"x" * 300_000)
    for process in site.processes:
        process.kill()
    away = browserless.get("/login")

    assert [each.status_code for each in (once, wrong_name, too_large, away)] == [200, 421, 413, 503]
    for name in ("Strict-Transport-Security", "X-Content-Type-Options", "Content-Security-Policy"):
        assert [len(each.headers.get_list(name)) for each in (once, wrong_name, too_large, away)] == [1] * 4, name
    assert "script-src 'self'" in once.headers["Content-Security-Policy"]


def test_links_that_let_somebody_in_are_cut_in_the_log(site, browserless):
    for path in ("/setup/secret-marker", "/invitations/secret-marker"):
        browserless.get(path)

    # nginx writes its log after it has answered.
    until(lambda: "/invitations/..." in (site._directory / "chat.log").read_text())
    assert "secret-marker" not in site.logs()


@pytest.mark.browser
def test_nine_tabs_of_one_browser_hear_one_answer(site, gemini, make_app, postgresql_url, playwright):
    """Over HTTP/1.1 a browser has six connections for a site, and the seventh tab would not even load."""
    make_account(make_app(postgresql_url), "grace@example.org")
    gemini.script(says("one", {"hold": True}, " two"))
    flags = [*FLAGS, f"--host-resolver-rules=MAP chat.example.org {site.url.removeprefix('https://')}"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = playwright.chromium.launch(executable_path=servers.find("chromium"), args=flags)
    context = browser.new_context(base_url="https://chat.example.org", ignore_https_errors=True)
    tabs = [context.new_page()]
    tabs[0].goto("/login")
    tabs[0].fill("[name=email]", "grace@example.org")
    tabs[0].fill("[name=password]", PASSWORD)
    tabs[0].press("[name=password]", "Enter")
    tabs[0].fill("#text", "Count.")
    tabs[0].press("#text", "Enter")
    expect(tabs[0].locator(".answer").last).to_contain_text("one")
    for _ in range(8):
        tabs.append(context.new_page())
        tabs[-1].goto(tabs[0].url)
    for tab in tabs:
        expect(tab.locator(".answer").last).to_contain_text("one")
    gemini.release()

    for tab in tabs:
        expect(tab.locator(".answer").last).to_contain_text("one two")
        expect(tab.locator(".bill summary")).to_contain_text("tokens")
    too_large = (
        "fetch('/api/tokens/estimate', {method: 'POST', body: 'x'.repeat(300000)}).then(answer => answer.status)"
    )
    assert tabs[0].evaluate(too_large) == 413
    browser.close()


def test_replacing_one_process_after_the_other_under_load_is_not_noticed(tmp_path, postgresql_url, redis_url):
    """No byte is lost or said twice, nothing is charged twice, and no answer is an error but the 503 to be repeated."""
    provider = chaos.Provider(random.Random(1)).start()
    site = Site(tmp_path, chaos.settings(postgresql_url, redis_url, provider))
    crowd = chaos.Crowd(site, chaos.make_people(tmp_path, postgresql_url, 6))
    crowd.start()
    for index in (0, 1):
        gevent.sleep(2)
        site.replace(index)
    gevent.sleep(1)
    crowd.stop()
    chaos.wait_until_quiet(postgresql_url)
    figures = chaos.report(crowd, postgresql_url)
    site.stop()
    provider.stop()

    assert set(figures.values()) == {0}, (figures, crowd.problems)
    assert {exchange.status for exchange in crowd.accepted} == {"completed"}
    assert len(crowd.accepted) > 6
