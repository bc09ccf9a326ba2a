"""How long the first line of a request may be where no proxy stands before the server."""

import contextlib
import socket

import pytest


@pytest.fixture
def connection(server):
    host, port = server().url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        yield client


def test_a_line_without_an_end_is_refused_before_it_is_long(connection):
    sent = 0
    with contextlib.suppress(OSError):
        for _ in range(2_000):
            connection.sendall(b"x" * 10_000)
            sent += 10_000
    # What the kernel holds for both sides is sent too: 20 MB would be all of it.
    assert sent < 20_000_000


def test_a_message_of_5000_emoji_may_stand_in_it(connection):
    connection.sendall(b"GET /healthz?msg=" + b"%F0%9F%98%80" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_line_that_is_too_long_is_refused_though_it_ends(connection):
    connection.sendall(b"GET /healthz?msg=" + b"x" * 140_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert connection.recv(12) == b"HTTP/1.1 414"
