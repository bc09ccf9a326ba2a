"""What is shipped beside the product says what the product needs: read, where nothing here could run it."""

import re
import subprocess
from uuid import uuid4

import psycopg
import pytest
from flask_migrate import upgrade
from sqlalchemy import make_url

from chatapp import create_app
from chatapp.kernel.config import Settings
from chatapp.kernel.extensions import db
from chatapp.providers.registry import Providers
from tests import servers
from tests.conftest import make_user
from tests.streams import Api

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


def test_each_container_has_bounded_memory_and_no_rights_that_it_does_not_need():
    services = re.split(
        r"^  (?=\w+:)", COMPOSE.partition("\nservices:\n")[2].partition("\nconfigs:")[0], flags=re.MULTILINE
    )
    own = {name: text for name, _, text in (each.partition(":") for each in services) if re.fullmatch(r"\w+", name)}
    shared = COMPOSE.partition("x-web: &web\n")[2].partition("\nservices:")[0]

    assert set(own) == {"web1", "web2", "nginx", "postgres", "redis"}
    for name, text in own.items():
        text = shared if name.startswith("web") else text
        asked = ("cap_drop: [ALL]", "no-new-privileges:true", "mem_limit:", "pids_limit:")
        assert [each for each in asked if each not in text] == [], name


def test_redis_and_postgresql_want_passwords_and_the_product_is_no_superuser():
    assert "REDIS_URL: redis://:${REDIS_PASSWORD:?}@redis" in COMPOSE
    assert re.search(r"--requirepass\n\s+- \$\{REDIS_PASSWORD:\?\}", COMPOSE)
    assert "POSTGRES_USER: chat" not in COMPOSE
    assert "CREATE ROLE chat LOGIN PASSWORD '${POSTGRES_PASSWORD:?}';" in COMPOSE


@pytest.fixture
def shipped_role(postgresql_url):
    """The address of a database that was made by the statements of compose.yaml."""
    name = f"shipped_{uuid4().hex[:8]}"
    statements = COMPOSE.partition("content: |\n")[2].partition("\n\n")[0].replace("${POSTGRES_PASSWORD:?}", "secret")
    with psycopg.connect(postgresql_url, autocommit=True) as admin:
        for line in statements.splitlines():
            admin.execute(line.strip().replace("chat", name))
        yield make_url(postgresql_url).set(username=name, password="secret", database=name).render_as_string(False)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.execute(f"DROP ROLE {name}")


@pytest.mark.postgresql
def test_the_role_that_is_shipped_is_no_superuser_and_can_migrate_and_answer(shipped_role, tmp_path, demo):
    with psycopg.connect(shipped_role) as connection:
        mine = "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(mine).fetchone() == (False,)
    app = create_app(Providers([demo]), database_url=shipped_role, instance_dir=tmp_path, secret_key="x" * 32)
    with app.app_context():
        upgrade()
    api = Api(app, make_user(app, "ada@example.org"))

    assert api.send(api.new_chat(), "Hi").final["done"]
    app.extensions["live_turns"].close()
    with app.app_context():
        db.engine.dispose()


def test_systemd_bounds_memory_and_tasks():
    assert [name for name in ("MemoryHigh=", "MemoryMax=", "TasksMax=", "PrivateUsers=true") if name not in UNIT] == []
