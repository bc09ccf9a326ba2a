"""`make` on machines that lack something, and `make run` where the address is taken: one line says what is wrong."""

import os
import shutil
import socket
import subprocess
import sys

import pytest

from tests.servers import ROOT, free_port, start_product


def make(*arguments, cwd, path=os.environ["PATH"]):
    command = [shutil.which("make"), "-s", "-f", str(ROOT / "Makefile"), *arguments]
    done = subprocess.run(command, cwd=cwd, env={"PATH": str(path)}, capture_output=True, text=True, check=False)
    return done.returncode, [line for line in (done.stdout + done.stderr).splitlines() if "make: ***" not in line]


def program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_is_too_old_is_named(tmp_path):
    old = program(tmp_path / "python3.9", "exit 1")

    code, lines = make(".venv/.made", f"PYTHON={old}", cwd=tmp_path)

    assert (code, lines) == (2, [f"PYTHON={old} is no Python 3.11 or newer."])


def test_a_python_without_venv_is_named_with_the_package_that_has_it(tmp_path):
    bare = program(tmp_path / "bare", f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')

    code, lines = make(".venv/.made", f"PYTHON={bare}", cwd=tmp_path)

    assert (code, lines) == (2, [f"{bare} lacks venv (Debian: apt install python3-venv)."])


def test_where_apt_may_not_be_used_the_tests_say_what_they_leave_out(tmp_path):
    for name in ("sh", "id"):
        (tmp_path / name).symlink_to(shutil.which(name))
    program(tmp_path / "python", "echo nginx redis-server")

    code, lines = make("-o", "setup-dev", "servers", f"BIN={tmp_path}", cwd=tmp_path, path=tmp_path)

    assert (code, lines) == (
        0,
        ["apt may not be used here. Left out are the tests that need: nginx redis-server"],
    )


def gunicorn(directory, **env):
    env = {"PATH": os.environ["PATH"], "INSTANCE_DIR": str(directory), **env}
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")]
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1", "is taken"), ("203.0.113.9", "cannot be used (Cannot assign requested address)")]
)
def test_an_address_that_cannot_be_had_is_said_in_one_line(tmp_path, host, reason):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = gunicorn(tmp_path, HOST=host, PORT=str(port))

    assert said == f"{host}:{port} {reason}: set HOST or PORT to another address.\n"


def test_an_address_of_ipv6_needs_no_brackets(tmp_path):
    assert gunicorn(tmp_path, HOST="2001:db8::1", PORT="8000").startswith("[2001:db8::1]:8000 cannot be used (")


def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path):
    url = f"postgresql://ada:hunter2@127.0.0.1:{free_port()}/chat"

    said = gunicorn(tmp_path, PORT="0", DATABASE_URL=url)

    assert url.replace("hunter2", "***").removeprefix("postgresql") in said.splitlines()[0]
    assert "Is DATABASE_URL right?" in said
    assert "hunter2" not in said


def test_a_redis_that_does_not_answer_is_said_at_the_start(tmp_path):
    product = start_product(tmp_path, {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"})

    product.wait_until(lambda: "Redis does not respond; continuing without it. Is REDIS_URL right?" in product.log())
    product.kill()
