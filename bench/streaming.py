"""Measure streaming: what a delivered chunk costs, how late it is, what a stream weighs, how many messages a second.

    .venv/bin/python -m bench.streaming [--streams 100,500] [--rounds 3] [--seconds 8] [--messages 400] [--profile]

The product (accounts, database, budget, resumable log, counting, settling) and the reference (bench/reference.py) take
turns in one run, both in one gunicorn gevent worker before the same model server (bench/upstream.py: 20 chunks a second
a stream). Figures:

  CPU ms/chunk    user + system time of the server's process tree, by chunk delivered: of the whole run, and of its
                  middle, in which every stream is open and none begins or ends
                  (every stream lasts --seconds longer than it takes to begin them all)
  delay           from the model server's send to our reader's receive, over all chunks
  first           from the request to the first chunk, over all streams
  kB/stream       what the server's memory grew by while all streams were open

With --profile one more run of each size says where in the product the CPU time of the middle goes.

These machines are noisy: compare ratios, not milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench.upstream import STAMP_PATTERN

ROOT = Path(__file__).resolve().parents[1]
PACE_MS = 50
# Streams begun in a second: messages cost more than chunks, and are measured by themselves.
BEGIN_PER_SECOND = 40
STAMPS = re.compile(STAMP_PATTERN)
TICKS = os.sysconf("SC_CLK_TCK")
SECRET = "a secret of the benchmark, 32 bytes"


@dataclass
class Server:
    name: str
    pid: int
    port: int
    key: str = ""
    profile: Path | None = None
    chats: list[str] = field(default_factory=list)

    def request(self, number: int) -> bytes:
        if not self.key:
            return b"POST /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}"
        body = b'{"message": "Please count for me, number %d."}' % number
        path = f"/api/chat/{self.chats[number]}/message"
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def pids(self) -> list[int]:
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """Return user + system time of the process tree so far."""
        total = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory_kb(self) -> int:
        """Return the proportional set size of the process tree: memory shared by a fork counts once."""
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids()]
        return sum(int(size) for text in rollups for size in re.findall(r"(?m)^Pss:\s+(\d+)", text))


@dataclass
class Reading:
    """One stream as its reader sees it."""

    connection: socket.socket
    began: float = 0.0
    first: float = 0.0
    rest: bytes = b""
    chunks: int = 0
    is_done: bool = False


@dataclass
class Result:
    streams: int
    chunks: int
    whole_ms: float
    middle_ms: float
    delays: list[float]
    firsts: list[float]
    kb_per_stream: float
    unfinished: int


def run(server: Server, streams: int, chunks: int) -> Result:
    """Open the streams over the ramp, read them to their end, and account for what the server spent."""
    selector = selectors.EpollSelector()
    readings: list[Reading] = []
    delays: list[float] = []
    memory, peak = server.memory_kb(), 0
    cpu = [server.cpu_seconds()]
    began = time.time()
    ramp, length = streams / BEGIN_PER_SECOND, chunks * PACE_MS / 1000
    # The middle: all streams are open and none has ended.
    middle = [began + ramp + 1, began + length - 0.5]
    middle_cpu: list[float] = []
    middle_chunks: list[int] = []
    end = began + ramp + length * 2 + 20
    received = done = 0
    while done < streams and time.time() < end:
        now = time.time()
        while len(readings) < streams and now >= began + len(readings) / BEGIN_PER_SECOND:
            readings.append(_open(server, len(readings), selector))
        if middle and now >= middle[0]:
            middle.pop(0)
            if server.profile:
                os.kill(server.pids()[1], signal.SIGUSR2)
            middle_cpu.append(server.cpu_seconds())
            middle_chunks.append(received)
            peak = max(peak, server.memory_kb())
        for key, _events in selector.select(0.005):
            reading: Reading = key.data
            before = reading.chunks
            _read(reading, delays)
            received += reading.chunks - before
            if reading.is_done:
                done += 1
                selector.unregister(reading.connection)
                reading.connection.close()
    cpu.append(server.cpu_seconds())
    if received == 0 or len(middle_chunks) < 2 or middle_chunks[1] == middle_chunks[0]:
        raise SystemExit(f"{server.name}: {received} chunks arrived of {streams} streams; the run is too short")
    return Result(
        streams,
        received,
        1000 * (cpu[1] - cpu[0]) / received,
        1000 * (middle_cpu[1] - middle_cpu[0]) / (middle_chunks[1] - middle_chunks[0]),
        delays,
        [reading.first - reading.began for reading in readings if reading.first],
        (peak - memory) / streams,
        streams - done + (streams * chunks - received),
    )


def _open(server: Server, number: int, selector: selectors.EpollSelector) -> Reading:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(server.request(number))
    connection.setblocking(False)
    reading = Reading(connection, began=time.time())
    selector.register(connection, selectors.EVENT_READ, reading)
    return reading


def _read(reading: Reading, delays: list[float]) -> None:
    try:
        data = reading.connection.recv(262144)
    except BlockingIOError:
        return
    now = time.time()
    text = reading.rest + data
    last = 0
    for stamp in STAMPS.finditer(text):
        delays.append(now - float(stamp[1]))
        reading.chunks += 1
        last = stamp.end()
    if reading.chunks and not reading.first:
        reading.first = now
    reading.is_done = not data or b'{"done": true' in text
    reading.rest = text[max(last, len(text) - 64) :]


# The servers


@contextlib.contextmanager
def running(command: list[str], env: dict[str, str], directory: str) -> Iterator[subprocess.Popen[bytes]]:
    with open(f"{directory}/log", "ab") as output:
        process = subprocess.Popen(
            command, cwd=directory, env={**os.environ, **env}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, path: str = "/healthz") -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}{path}").status_code < 500:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def upstream(chunks: int, pace_ms: float) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, str(ROOT / "bench" / "upstream.py"), str(port), str(chunks), str(pace_ms)]
    with tempfile.TemporaryDirectory() as directory, running(command, {}, directory):
        time.sleep(0.5)
        yield port


@contextlib.contextmanager
def reference(upstream_port: int) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "/dev/null", "-k", "gevent", "-b", f"127.0.0.1:{port}"]
    command += ["--worker-connections", "8000", "--no-control-socket", "--pythonpath", str(ROOT), "bench.reference:app"]
    env = {"UPSTREAM_PORT": str(upstream_port)}
    with tempfile.TemporaryDirectory() as directory, running(command, env, directory) as process:
        wait_for(port)
        yield Server("reference", process.pid, port)


@contextlib.contextmanager
def product(upstream_port: int, chats: int, config: str = "gunicorn.conf.py", **settings: str) -> Iterator[Server]:
    """Start the product as it is shipped, on SQLite unless DATABASE_URL says otherwise, with a user and their chats."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        env = {
            "PORT": str(port),
            "INSTANCE_DIR": f"{directory}/instance",
            "SECRET_KEY": SECRET,
            "GEMINI_API_KEY": "bench",
            "GEMINI_BASE_URL": f"http://127.0.0.1:{upstream_port}",
            "RATE_LIMITS": "false",
            "TOKEN_LIMIT": "1000000000",
            "MAX_OPEN_TURNS": "5000",
            "MAX_USER_TURNS": "5000",
            "MAX_LISTENERS_PER_USER": "5000",
            "LOG_LEVEL": "WARNING",
            "PROFILE": f"{directory}/profile",
            **settings,
        }
        command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / config)]
        with running(command, env, directory) as process:
            wait_for(port)
            flask = [sys.executable, "-m", "flask", "--app", f"{ROOT}/wsgi.py"]
            whole_env = {**os.environ, **env}
            create = [*flask, "users", "create", "bench@example.org", "--password-stdin"]
            password = b"a-long-enough-password-of-the-benchmark\n"
            subprocess.run(create, input=password, env=whole_env, check=True, capture_output=True)
            made = subprocess.run(
                [*flask, "keys", "create", "bench@example.org"], env=whole_env, check=True, capture_output=True
            )
            server = Server("product", process.pid, port, made.stdout.decode().strip())
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {server.key}"}, timeout=60
            ) as client:
                server.chats = [client.post("/api/chat", json={}).json()["id"] for _ in range(chats)]
            yield server


# Messages a second


def messages_per_second(server: Server, messages: int, at_once: int = 16) -> tuple[float, float]:
    """Send messages, at_once at a time, each in a chat of its own; return messages a second and CPU ms a message."""
    selector = selectors.EpollSelector()
    cpu, began = server.cpu_seconds(), time.time()
    sent = done = 0
    while done < messages:
        while sent < messages and sent - done < at_once:
            _open(server, sent, selector)
            sent += 1
        for key, _events in selector.select(1):
            _read(key.data, [])
            if key.data.is_done:
                done += 1
                selector.unregister(key.data.connection)
                key.data.connection.close()
    return messages / (time.time() - began), 1000 * (server.cpu_seconds() - cpu) / messages


# The report

HEADER = (
    f"{'':22}{'CPU ms/chunk':>14}{'middle':>8}{'delay p50':>11}{'p99':>7}{'first p50':>11}{'p99':>7}"
    f"{'kB/stream':>11}{'missing':>9}"
)


def line(name: str, results: list[Result]) -> str:
    middle = statistics.median
    delays = sorted(delay for result in results for delay in result.delays)
    firsts = sorted(first for result in results for first in result.firsts)
    return (
        f"{name:22}{middle(r.whole_ms for r in results):14.3f}{middle(r.middle_ms for r in results):8.3f}"
        f"{_ms(delays, 50):11.1f}{_ms(delays, 99):7.1f}{_ms(firsts, 50):11.1f}{_ms(firsts, 99):7.1f}"
        f"{middle(r.kb_per_stream for r in results):11.1f}{sum(r.unfinished for r in results):9}"
    )


def _ms(ordered: list[float], percent: int) -> float:
    return 1000 * ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else float("nan")


def print_profile(port: int, streams: int, chunks: int) -> None:
    with product(port, streams, "bench/profiled.conf.py") as ours:
        run(ours, min(streams, 20), chunks)
        ours.profile = Path(f"/proc/{ours.pid}/cwd/profile")
        run(ours, streams, chunks)
        print("\nwhere the middle's CPU time goes, in percent")
        for share, part in (entry.split("\t") for entry in ours.profile.read_text().splitlines()):
            print(f"  {share:>5}  {part}")


def compare(streams: int, rounds: int, seconds: float, has_profile: bool) -> None:
    chunks = int((seconds + streams / BEGIN_PER_SECOND) * 1000 / PACE_MS)
    print(f"\n{streams} streams of {chunks} chunks, {1000 // PACE_MS} a second each, {rounds} rounds\n{HEADER}")
    with upstream(chunks, PACE_MS) as port, reference(port) as bare, product(port, streams) as ours:
        run(ours, min(streams, 20), chunks)  # What is done once, such as importing, is not measured.
        run(bare, min(streams, 20), chunks)
        results: dict[str, list[Result]] = {"reference": [], "product": []}
        for number in range(rounds):
            for server in (bare, ours) if number % 2 else (ours, bare):
                results[server.name].append(run(server, streams, chunks))
                time.sleep(1)
        for name, found in results.items():
            print(line(name, found))
        for what in ("whole_ms", "middle_ms"):
            ratios = [getattr(a, what) / getattr(b, what) for a, b in zip(*reversed(results.values()), strict=True)]
            label = "ratio, whole run" if what == "whole_ms" else "ratio, middle"
            each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"{label:22}{statistics.median(ratios):14.2f}   (rounds: {each})")
        if has_profile:
            print_profile(port, streams, chunks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="100,500")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    for streams in filter(None, arguments.streams.split(",")):
        compare(int(streams), arguments.rounds, arguments.seconds, arguments.profile)
    if arguments.messages:
        print_messages(arguments.messages)


def print_messages(messages: int) -> None:
    """Print messages a second: admitted, streamed in 5 chunks, counted by the API, settled; 16 at once."""
    print(f"\n{messages} messages of 5 chunks, 16 at once{'':>10}{'a second':>10}{'CPU ms each':>13}")
    with upstream(5, 1) as port:
        with product(port, messages) as server:
            print("{:39}{:16.1f}{:13.1f}".format("SQLite", *messages_per_second(server, messages)))
        with postgresql() as url, product(port, messages, DATABASE_URL=url) as server:
            print("{:39}{:16.1f}{:13.1f}".format("PostgreSQL", *messages_per_second(server, messages)))


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    from tests import servers

    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        (home := Path(directory) / "postgresql").mkdir()
        process = servers.start(servers.postgresql(home), home)
        try:
            yield process.url
        finally:
            process.stop(2)  # SIGINT, PostgreSQL's quick but orderly end.


if __name__ == "__main__":
    main()
