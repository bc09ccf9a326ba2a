"""What is shipped beside the product says what the product needs: read, where nothing here could run it."""

import re
import subprocess

import pytest

from chatapp.kernel.config import Settings
from tests import servers

NGINX = (servers.ROOT / "deploy" / "nginx.conf").read_text()
UNIT = (servers.ROOT / "deploy" / "chat@.service").read_text()
COMPOSE = (servers.ROOT / "deploy" / "compose.yaml").read_text()
DOCKERFILE = (servers.ROOT / "Dockerfile").read_text()


@pytest.mark.nginx
def test_nginx_takes_its_file_without_a_warning(tmp_path):
    command = servers.nginx(tmp_path, [1, 2]).command

    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)

    assert (done.returncode, "warn" in done.stderr) == (0, False), done.stderr


def test_whoever_stops_a_process_waits_longer_than_it_may_take():
    grace = Settings.model_fields["drain_seconds"].default + 5
    waits = [re.search(r"TimeoutStopSec=(\d+)", UNIT), re.search(r"stop_grace_period: (\d+)s", COMPOSE)]

    assert all(found and int(found[1]) > grace for found in waits)


@pytest.mark.systemd
def test_systemd_takes_the_unit(tmp_path):
    # Its program is not where it will be.
    (tmp_path / "chat@.service").write_text(UNIT.replace("/srv/chat/.venv/bin/gunicorn", "/bin/true"))

    done = subprocess.run(["systemd-analyze", "verify", tmp_path / "chat@.service"], capture_output=True, text=True)

    assert [line for line in done.stderr.splitlines() if "chat@" in line] == []


def test_the_image_is_made_of_what_is_locked_and_holds_all_that_is_read_at_run_time():
    taken = [line[1:] for line in (servers.ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [name for name in taken if not (servers.ROOT / name).exists()] == []
    assert {"chatapp", "migrations", "static", "templates", "gunicorn.conf.py", "wsgi.py"} <= set(taken)
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    assert re.search(r"^USER chat$", DOCKERFILE, re.MULTILINE)


def test_compose_makes_its_nginx_conf_of_the_shipped_one():
    command = " ".join(COMPOSE.partition(">-\n")[2].partition("> /etc/nginx/nginx.conf")[0].split())
    command = command.replace("$$", "$").replace("/etc/chat/nginx.conf", "deploy/nginx.conf")

    made = subprocess.run(
        ["sh", "-c", command], cwd=servers.ROOT, env={"DOMAIN": "chat.test"}, capture_output=True, text=True, check=True
    ).stdout

    assert re.findall(r"server (\S+) max", made) == ["172.31.87.11:8000", "172.31.87.12:8000"]
    assert re.findall(r"_log (\S+) ", made) == ["/dev/stderr", "/dev/stdout"]
    assert "chat.example.org" not in made
    assert made.count("server_name chat.test;") == NGINX.count("server_name chat.example.org;") == 2
