"""Other accounts of the machine read neither chats nor keys nor, in the log, what was asked."""

import logging
import socket
import subprocess
import sys

import pytest

from chatapp import create_app
from chatapp.kernel import logs
from tests import servers


def modes(folder):
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


def test_a_server_makes_its_folder_and_files_for_itself_alone(server, tmp_path):
    folder = tmp_path / "instance"
    server(DATABASE_URL="", SECRET_KEY="")

    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert {"chat.db", "secret_key"} <= set(modes(folder))
    assert set(modes(folder).values()) == {"0o600"}


@pytest.mark.parametrize("program", ["flask", "chatapp"])
def test_the_command_line_does_so_too(tmp_path, program):
    env = {"PATH": "/usr/bin:/bin", "INSTANCE_DIR": str(tmp_path / "new")}
    subprocess.run([sys.executable, "-m", program, "db", "upgrade"], cwd=servers.ROOT, env=env, check=True)

    assert modes(tmp_path)["new"] == "0o700"
    assert modes(tmp_path / "new")["chat.db"] == "0o600"


def test_files_of_an_earlier_edition_are_tightened_and_a_folder_is_named(sqlite_url, tmp_path, capsys):
    (tmp_path / "chat.db").chmod(0o644)
    tmp_path.chmod(0o755)

    create_app(database_url=sqlite_url, instance_dir=tmp_path, secret_key="x" * 32)

    assert modes(tmp_path)["chat.db"] == "0o600"
    assert f"can list {tmp_path}: run chmod 700 on it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "said",
    [
        "Invalid request from ip=::1: Invalid HTTP request line: 'GET /api?msg=secret-marker HTTP/1.1'",
        "Error handling request GET /api/chat/1/message?msg=secret-marker",
        "Error handling request /setup/secret-marker",
    ],
)
def test_gunicorn_quotes_nothing_of_a_request(said):
    record = logging.makeLogRecord({"msg": said.replace("%", "%%")})

    assert logs.without_request_lines(record)
    assert "secret-marker" not in record.getMessage()
    assert record.getMessage() in said


def test_a_request_that_is_refused_leaves_no_text_in_the_log(server):
    product = server()
    host, port = product.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall("GET /api/chat/1/message?msg=Grüße+secret-marker HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 400 " in client.recv(1000)

    assert "secret-marker" not in product.log()
