"""`make` on machines that lack something, and `make run` where the address is taken: one line says what is wrong."""

import os
import shutil
import socket
import subprocess
import sys

import pytest

from tests.servers import ROOT


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


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1", "is taken"), ("203.0.113.9", "cannot be used (Cannot assign requested address)")]
)
def test_an_address_that_cannot_be_had_is_said_in_one_line(tmp_path, host, reason):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        env = {"PATH": os.environ["PATH"], "HOST": host, "PORT": str(port), "INSTANCE_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode != 0
    assert done.stdout + done.stderr == f"{host}:{port} {reason}: set HOST or PORT to another address.\n"
