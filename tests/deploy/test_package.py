"""The wheel: all that is served is inside it, and one command starts it."""

import os
import subprocess
import sys
import sysconfig
import venv

import httpx
import pytest

from tests.servers import PATIENT, ROOT, Process, free_port


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A new environment that holds the built wheel alone; the packages that it needs are lent to it."""
    home = tmp_path_factory.mktemp("package")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(home), str(ROOT), timeout=100)
    venv.create(home / "env", symlinks=True)
    (wheel,) = home.glob("chatapp-*.whl")
    python = str(home / "env/bin/python")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", str(wheel))
    (home / "data").mkdir()
    return home


@pytest.fixture
def env(installed):
    lent = sysconfig.get_path("purelib")
    return {"PATH": f"{installed}/env/bin:{os.environ['PATH']}", "PYTHONPATH": lent, "PORT": "0", **PATIENT}


@pytest.mark.slow
def test_a_wheel_serves_the_pages_with_their_style_and_scripts(installed, env):
    product = Process([f"{installed}/env/bin/chatapp", "run"], installed / "data", env)
    try:
        product.wait_until(lambda: "first one here" in product.log())
        url = next(line.split()[-1] for line in product.log().splitlines() if "Tally is at" in line)
        page = httpx.get(f"{url}/login").text
        linked = [part.split('"')[0] for part in page.split('="/static/')[1:]]
        assert {httpx.get(f"{url}/static/{name}").status_code for name in linked} == {200}
        assert any("htmx" in name for name in linked)
        assert (installed / "data/instance/chat.db").exists()
    finally:
        product.kill()


@pytest.mark.slow
def test_the_command_has_what_flask_has_and_our_own(installed, env):
    env["PORT"] = str(free_port())
    asked = run(f"{installed}/env/bin/chatapp", "--help", env=env, cwd=installed / "data")

    assert {"run", "db", "users", "ledger", "routes"} <= {
        line.split()[0] for line in asked.splitlines() if line.strip()
    }
