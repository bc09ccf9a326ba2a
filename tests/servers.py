"""Real servers for the tests: this machine's own binaries, on free ports, gone when the test run is gone.

`Process` is a server of one test: it is killed by the kernel when its test process ends. What all processes of a
test run share (one PostgreSQL, one Redis) is started by `shared` for whoever asks first and then belongs to a keeper:
this file run as a script, which waits for the test run to end, in whatever way, and ends the server after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
STOP_SECONDS = 10
RUN_DIR, RUN_PID = "CHAT_TEST_RUN_DIR", "CHAT_TEST_RUN_PID"

# The name in deploy/nginx.conf.
SITE = "chat.example.org"
NGINX_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

# A machine that is busy with tests must not make the product refuse what they send; the tests of that refusal say so.
PATIENT = {"MAX_LOOP_LAG_MS": "60000"}
# What blocks a server's loop for this much CPU time fails the test (tests/conftest.py). A page of 60 messages takes up to
# 107 ms of it on a busy machine.
WATCHED = {"LOOP_ALARM_MS": "200"}

# The products that were started since somebody looked (tests/conftest.py).
PRODUCTS: list[Process] = []

# Mark of a test → the program it needs, the Debian package that has it.
NEEDS = {
    "postgresql": ("postgres", "postgresql"),
    "redis": ("redis-server", "redis-server"),
    "nginx": ("nginx", "nginx"),
    "browser": ("chromium", "chromium"),
    "systemd": ("systemd-analyze", "systemd"),
}


def find(program: str) -> str | None:
    """Return the path of a server's program. Debian keeps PostgreSQL's and nginx's outside an ordinary PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    places = [str(path) for path in reversed(versions)] + os.environ.get("PATH", "").split(":")
    return shutil.which(program, path=":".join([*places, "/usr/sbin", "/usr/local/sbin"]))


def missing() -> dict[str, str]:
    """Return the marks whose program this machine lacks → the Debian package that has it."""
    return {mark: package for mark, (program, package) in NEEDS.items() if find(program) is None}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until(is_true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


@dataclass(frozen=True)
class Recipe:
    """How a server is started: its command, its address, and how one sees that it answers."""

    command: list[str]
    url: str
    is_ready: Callable[[], bool]


def redis(directory: Path) -> Recipe:
    port = free_port()
    command = f"{find('redis-server')} --bind 127.0.0.1 --port {port} --appendonly no --dir {directory} --save".split()
    return Recipe([*command, ""], f"redis://127.0.0.1:{port}", lambda: _redis_answers(port))


def _redis_answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def postgresql(directory: Path) -> Recipe:
    """Make a cluster in directory, without its safety against power loss: it lives as long as the tests."""
    port, data = free_port(), directory / "data"
    user = _unprivileged(directory)
    initdb = [find("initdb"), "-D", data, "-U", "chat", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    subprocess.run([*user, *map(str, initdb)], check=True, cwd=directory, stdout=subprocess.DEVNULL)
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "300",
        # A transaction left open while a model talks is a bug; here it breaks the test that has it.
        "idle_in_transaction_session_timeout": "10s",
    }
    settings = [f"--{name}={value}" for name, value in options.items()]
    command = [*user, str(find("postgres")), "-D", str(data), "-p", str(port), *settings]
    url = f"postgresql://chat@127.0.0.1:{port}/postgres"
    return Recipe(command, url, lambda: _postgresql_answers(url))


def _unprivileged(directory: Path) -> list[str]:
    """Return the words that run a command as somebody else: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(directory, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig", "KILL"]


def _postgresql_answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def nginx(directory: Path, ports: list[int]) -> Recipe:
    """The nginx.conf that is shipped, before processes on two ports; only paths, ports and the certificate are ours.

    Its name is chat.example.org; the certificate, made here, is directory/chat.pem.
    """
    port, plain = free_port(), free_port()
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={SITE} -addext subjectAltName=DNS:{SITE}"
    files = ["-keyout", str(directory / "chat.key"), "-out", str(directory / "chat.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for ours, yours in {
        "127.0.0.1:8001": f"127.0.0.1:{ports[0]}",
        "127.0.0.1:8002": f"127.0.0.1:{ports[1]}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 80": f"listen 127.0.0.1:{plain}",
        "/etc/ssl/chat/fullchain.pem": f"{directory}/chat.pem",
        "/etc/ssl/chat/privkey.pem": f"{directory}/chat.key",
        "/var/log/nginx/": f"{directory}/",
        "\nhttp {": "\nhttp {\n" + "".join(f"  {kind}_temp_path {directory}/{kind};\n" for kind in NGINX_TEMPORARY),
    }.items():
        assert ours in text, ours
        text = text.replace(ours, yours)
    path = directory / "nginx.conf"
    path.write_text(text)
    # Started by root it would give its workers another user, who may not write into a test's folder.
    user = "user root; " if os.geteuid() == 0 else ""
    globals_ = f"daemon off; pid {directory}/nginx.pid; {user}"
    return Recipe(
        [str(find("nginx")), "-p", str(directory), "-c", str(path), "-g", globals_],
        f"https://127.0.0.1:{port}",
        lambda: _listens(port),
    )


def gemini(directory: Path) -> Recipe:
    """A scripted Gemini beside a server under test; one within the test's own process needs no recipe."""
    port = free_port()
    command = [sys.executable, str(ROOT / "tests" / "scripted_gemini.py"), "--port", str(port)]
    return Recipe(command, f"http://127.0.0.1:{port}", lambda: _listens(port))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Process:
    """A server process of one test. Its output, both streams, goes to a file."""

    def __init__(self, command: list[str], directory: Path, env: Mapping[str, str] | None = None) -> None:
        self._log = Path(directory) / f"{Path(command[0]).name}-{free_port()}.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                cwd=directory,
                env=dict(env) if env is not None else None,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Wait until the server is as it should be. Raises RuntimeError with its log if it ends instead."""

        def has_come() -> bool:
            if not self.is_running:
                raise RuntimeError(f"the server ended:\n{self.log()}")
            return is_true()

        wait_until(has_come, f"the server in {self._log}")

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Return the exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def stop(self, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """End it as an operator would, by force after some seconds, and return its exit code."""
        if self.is_running:
            self.send(number)
            try:
                return self.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.wait()

    def kill(self) -> None:
        """End the process and those it started at once, as a lack of memory or power would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()


def start(recipe: Recipe, directory: Path) -> Process:
    process = Process(recipe.command, directory)
    process.url = recipe.url
    process.wait_until(recipe.is_ready)
    return process


def start_product(
    directory: Path, env: Mapping[str, str], *arguments: str, config: Path = ROOT / "gunicorn.conf.py"
) -> Process:
    """Start the product as `make run` does, on a free port, and return when it answers. arguments: gunicorn's."""
    own = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    env = {
        **own,
        **PATIENT,
        **WATCHED,
        "PYTHONUNBUFFERED": "1",
        "PORT": "0",
        "INSTANCE_DIR": str(directory / "instance"),
        **env,
    }
    process = Process([sys.executable, "-m", "gunicorn", "-c", str(config), *arguments], directory, env)
    PRODUCTS.append(process)
    process.wait_until(lambda: "Tally is at http" in process.log())
    found = re.search(r"Tally is at (http://\S+)", process.log())
    process.url = found[1] if found else ""
    return process


# What the processes of one test run share


def begin_run() -> None:
    """Make the folder that the processes of this test run share; called by the one that leads them."""
    directory = tempfile.mkdtemp(prefix="chat-tests-")
    os.chmod(directory, 0o711)  # PostgreSQL's own user passes through.
    os.environ[RUN_DIR], os.environ[RUN_PID] = directory, str(os.getpid())


def end_run() -> None:
    directory = Path(os.environ.pop(RUN_DIR))
    keepers = [json.loads(path.read_text())["keeper"] for path in directory.glob("*.json")]
    for pid in keepers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not any(directory.glob("*/keeper")), "the end of the servers", STOP_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)


def shared(make: Callable[[Path], Recipe], prepare: Callable[[str], None] = lambda url: None) -> str:
    """Return the address of the run's one server of that kind, which the first to ask starts and prepares."""
    directory = Path(os.environ[RUN_DIR])
    with once(make.__name__):
        answer = directory / f"{make.__name__}.json"
        if not answer.exists():
            home = directory / make.__name__
            home.mkdir()
            recipe = make(home)
            keeper = _start_keeper(home, recipe.command)
            wait_until(recipe.is_ready, make.__name__)
            prepare(recipe.url)
            answer.write_text(json.dumps({"url": recipe.url, "keeper": keeper}))
        url: str = json.loads(answer.read_text())["url"]
        return url


@contextlib.contextmanager
def once(name: str):
    """Let one process of the run at a time through."""
    with open(Path(os.environ[RUN_DIR]) / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _start_keeper(home: Path, command: list[str]) -> int:
    with (home / "log").open("wb") as output:
        keeper = subprocess.Popen(
            [sys.executable, "-S", __file__, os.environ[RUN_PID], str(home), *command],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Nobody waits for it here: it outlives this worker. Python would warn about that at its end.
    keeper.returncode = 0
    return keeper.pid


def migrated_sqlite() -> Path:
    """Return the run's one SQLite file with every table and no row, to be copied."""
    path = Path(os.environ[RUN_DIR]) / "empty.db"
    with once("sqlite"):
        if not path.exists():
            fresh = path.with_suffix(".new")
            migrate(f"sqlite:///{fresh}")
            with contextlib.closing(sqlite3.connect(fresh)) as connection:
                # Without the pages that migrations left free: a test of a full disk must find none.
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            fresh.rename(path)
    return path


def migrate(database_url: str) -> None:
    """Bring a database up to date as `flask db upgrade` does."""
    directory = os.environ[RUN_DIR]
    env = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "INSTANCE_DIR": f"{directory}/instance"}
    command = [sys.executable, "-m", "flask", "--app", f"{ROOT}/wsgi.py", "db", "upgrade"]
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the database could not be migrated:\n{done.stdout}{done.stderr}")


def keep(run_pid: int, home: Path, command: list[str]) -> None:
    """Run the command until process run_pid is gone or SIGTERM comes, then end it and remove its folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    run = os.pidfd_open(run_pid)
    server = subprocess.Popen(command)
    (home / "keeper").touch()
    try:
        while server.poll() is None and not select.select([run], [], [], 0.5)[0]:
            pass
    finally:
        server.send_signal(signal.SIGINT)  # The quick but orderly end for PostgreSQL and Redis alike.
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["missing"]:
        print(*missing().values())
    else:
        keep(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
