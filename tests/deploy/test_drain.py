"""A process that is told to leave: real gunicorn, real signals."""

import http.client
import os
import signal
import socket
import time
from pathlib import Path

import gevent
import httpx
import pytest

from tests.faults import invariants
from tests.scripted_gemini import says
from tests.streams import Heard, until

pytestmark = pytest.mark.slow


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def half_said(program, gemini) -> tuple[str, Heard, gevent.Greenlet]:
    """Begin an answer; return its chat, what is heard of it and its listener once half of it is said."""
    gemini.script(says("one", {"hold": True}, " two"))
    chat = program.new_chat()
    heard, listening = program.start(chat, "Count.")
    until(lambda: heard.text == "one")
    return chat, heard, listening


def test_an_answer_that_ends_in_time_is_heard_to_its_end(ada, gemini, sqlite_url):
    program = ada()
    _chat, heard, listening = half_said(program, gemini)

    program.server.send(signal.SIGTERM)
    gevent.sleep(0.5)
    gemini.release()
    listening.get(timeout=10)

    assert (heard.text, heard.final.get("done")) == ("one two", True)
    assert program.server.wait(3) == 0
    invariants.hold(sqlite_url)


def test_an_answer_that_does_not_end_in_time_is_saved_as_interrupted(ada, gemini, sqlite_url):
    program = ada(DRAIN_SECONDS="1")
    chat, heard, listening = half_said(program, gemini)

    began = time.monotonic()
    program.server.send(signal.SIGTERM)
    listening.get(timeout=10)

    assert (heard.text, heard.final.get("code")) == ("one", "TURN_INTERRUPTED")
    assert program.server.wait() == 0
    assert time.monotonic() - began >= 1
    again = ada()
    answer = again.messages(chat)[1]
    assert (answer["content"], answer["status"]) == ("one", "interrupted")
    assert again.usage()["total_tokens_used"] == answer["tokens_consumed"] > 0
    invariants.hold(sqlite_url)


def test_one_that_is_idle_leaves_at_once_though_connections_are_kept_open(ada):
    program = ada()
    program.new_chat()

    program.server.send(signal.SIGTERM)

    assert program.server.wait(10) == 0  # Long before the grace time is over.


def test_whoever_listens_to_the_end_keeps_nobody_with_his_open_connection(ada, gemini):
    """A stream that began before the signal was promised a kept connection."""
    program = ada()
    _chat, _heard, listening = half_said(program, gemini)
    program.server.send(signal.SIGTERM)
    gemini.release()
    listening.get(timeout=10)

    assert program.server.wait(5) == 0


def test_one_that_leaves_takes_no_new_message_and_no_new_connection(ada, gemini):
    program = ada()
    _chat, _heard, listening = half_said(program, gemini)
    other = program.new_chat()
    [worker] = children(program.server.pid)
    host, port = program.server.url.removeprefix("http://").split(":")
    kept = http.client.HTTPConnection(host, int(port), timeout=10)
    kept.request("GET", "/api/chat", headers=program.person.headers)
    assert kept.getresponse().read()
    # Both reach it at the same moment: the signal, and a message on a connection that it has.
    os.kill(worker, signal.SIGSTOP)
    as_json = {"Content-Type": "application/json"}
    kept.request("POST", f"/api/chat/{other}/message", b'{"message": "Hi"}', program.person.headers | as_json)
    program.server.send(signal.SIGTERM)
    gevent.sleep(0.3)
    os.kill(worker, signal.SIGCONT)
    refused = kept.getresponse()

    assert (refused.status, refused.headers["Retry-After"], refused.headers["Connection"]) == (503, "5", "close")
    assert b"SERVICE_UNAVAILABLE" in refused.read()
    until(lambda: not takes_connections(host, int(port)))
    assert not listening.ready()
    gemini.release()
    assert program.server.wait(5) == 0


def takes_connections(host, port) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def test_ctrl_c_leaves_at_once_with_everything_saved(ada, gemini, sqlite_url):
    """The terminal sends it to master and worker alike."""
    program = ada()
    _chat, heard, listening = half_said(program, gemini)

    os.killpg(program.server.pid, signal.SIGINT)
    listening.get(timeout=10)

    assert heard.final.get("code") == "TURN_INTERRUPTED"
    assert program.server.wait(10) == 0  # Long before the grace time is over.
    assert "Traceback" not in program.server.log()
    invariants.hold(sqlite_url)


def reload(server) -> None:
    before = children(server.pid)
    server.send(signal.SIGHUP)
    until(lambda: set(children(server.pid)) - set(before))
    gevent.sleep(1)


def test_a_reload_under_load_fails_no_request_and_ends_no_answer(ada, gemini):
    program = ada()
    _chat, heard, listening = half_said(program, gemini)
    statuses = []
    closing = httpx.Client(base_url=program.server.url, headers={"Connection": "close"}, timeout=10)

    def ask_on():
        while True:
            statuses.append(closing.get("/healthz").status_code)
            gevent.sleep(0.01)

    asking = [gevent.spawn(ask_on) for _ in range(4)]
    reload(program.server)
    assert not listening.ready()
    gemini.release()
    listening.get(timeout=10)
    # gunicorn takes the second when the first is over.
    until(lambda: len(children(program.server.pid)) == 1)
    reload(program.server)
    gevent.sleep(0.5)
    failed = [greenlet.exception for greenlet in asking if greenlet.ready()]
    gevent.killall(asking)
    closing.close()

    assert failed == []
    assert len(statuses) > 100
    assert set(statuses) == {200}
    assert (heard.text, heard.final.get("done")) == ("one two", True)


def test_a_worker_that_hangs_shows_where_and_is_replaced(ada, tmp_path):
    (tmp_path / "spinning.py").write_text(
        "from wsgi import app\n@app.get('/spin')\ndef spin():\n    while True:\n        pass\n"
    )
    program = ada("--timeout", "2", "--pythonpath", str(tmp_path), "spinning:app")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{program.server.url}/spin", timeout=20)

    until(lambda: takes_requests(program.server.url))
    assert "in spin" in program.server.log()


def takes_requests(url) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
