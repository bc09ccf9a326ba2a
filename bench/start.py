"""Measure what it takes to have the product there: .venv/bin/python -m bench.start [--starts 5]

  start to first 200   from the command of `make run` to the first 200 of /healthz, on a database that is there (a
                       second start), and the processor time spent until then: on a busy machine the steadier figure
  idle RSS             of master and worker together, after the first page
  installed            the .venv that this runs in, with pip; the tools of `make setup-dev` too, where they are in it

The figures of others, for comparison, are quoted from measurements of 2026 on another machine of this kind, under load:
they are not measured here.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
# Open WebUI 0.12.4, LiteLLM 1.106.2, Chainlit 2.12.0: start (contended), idle RSS of one process set, venv on disk.
OTHERS = [
    ("Open WebUI 0.12.4", "73–90 s", "785–807 MB", "2.9 GB"),
    ("LiteLLM proxy", "17–24 s", "310 MB", "742 MB"),
    ("Chainlit 2.12", "3.2 s", "117 MB", "178 MB"),
]


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in tree(int(child)))]


def cpu_seconds(pids: list[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def memory_bytes(pids: list[int], kind: str) -> int:
    """Return the sum over processes. kind: Rss counts what they share with each, Pss once."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(re.findall(rf"^{kind}: +(\d+) kB", rollup, re.MULTILINE)[0]) * 1024 for rollup in rollups)


def size_bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def start(instance: Path) -> tuple[float, float, int, int]:
    """Return seconds and processor seconds to the first 200, and the bytes in memory after a first page."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    env = {**kept, "PORT": str(port), "INSTANCE_DIR": str(instance)}
    began = time.monotonic()
    product = subprocess.Popen([sys.executable, "-m", "gunicorn"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    try:
        while not answers(f"http://127.0.0.1:{port}/healthz"):
            if product.poll() is not None:
                raise RuntimeError("the product ended")
            time.sleep(0.01)
        seconds, pids = time.monotonic() - began, tree(product.pid)
        used = cpu_seconds(pids)
        answers(f"http://127.0.0.1:{port}/login")
        time.sleep(1)
        pids = tree(product.pid)
        return seconds, used, memory_bytes(pids, "Rss"), memory_bytes(pids, "Pss")
    finally:
        product.send_signal(signal.SIGTERM)
        product.wait(40)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure start, memory and size.")
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        start(Path(directory))  # The first makes the database and the compiled files.
        measured = [start(Path(directory)) for _ in range(options.starts)]
    seconds, used, rss, pss = (list(each) for each in zip(*measured, strict=True))
    how = f"processor {statistics.median(used):.2f} s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    once = f"{statistics.median(pss) / 1e6:.0f} MB with what they share counted once"
    spread = f"{min(seconds):.2f} to {max(seconds):.2f} s, {how}"
    print(f"start to first 200   {statistics.median(seconds):5.2f} s   {spread}")
    print(f"idle RSS             {statistics.median(rss) / 1e6:5.0f} MB  master and worker; {once}")
    print(f"installed            {size_bytes(Path(sys.prefix)) / 1e6:5.0f} MB  {sys.prefix}")
    print(f"                     {size_bytes(ROOT / 'static' / 'vendor') / 1e3:5.0f} kB  static/vendor")
    print("\nOthers, as measured elsewhere and not here:")
    for name, begun, memory, size in OTHERS:
        print(f"  {name:20} start {begun:8}  idle {memory:11}  venv {size}")


if __name__ == "__main__":
    main()
