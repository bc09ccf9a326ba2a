"""Measure how soon the product stops and refuses: .venv/bin/python -m bench.prompt [--rounds 15]

Two processes on PostgreSQL and Redis, before a scripted Gemini that holds its answers open. Each round measures all:

  stop, here        from the request to the process that writes the answer until the provider sees its connection closed
  stop, elsewhere   the same, asked of the other process: promised within a second
  refusal           a send to a process that has as many open turns as it takes: promised within 100 ms
  smallest request  GET /api/chat of the same process, as the reference
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.chaos import Stores, make_people, settings
from tests import servers
from tests.faults.program import Program
from tests.scripted_gemini import ScriptedGemini, says
from tests.streams import until


def begin(program: Program, gemini: ScriptedGemini) -> str:
    """Begin an answer that is held open after its first word; return its chat."""
    until(lambda: httpx.get(f"{program.server.url}/healthz").json()["open_turns"] == 0)
    gemini.requests.clear()
    gemini.script(says("word", {"hold": True}))
    chat = program.new_chat()
    heard, _listening = program.start(chat, "Hi")
    until(lambda: heard.text == "word")
    return chat


def stop_seconds(program: Program, asked: Program, gemini: ScriptedGemini) -> float:
    chat = begin(program, gemini)
    began = time.perf_counter()
    asked.call("POST", f"/chat/{chat}/stop")
    until(lambda: gemini.requests[-1].state == "closed")
    return time.perf_counter() - began


def seconds(program: Program, method: str, path: str, **options: Any) -> float:
    began = time.perf_counter()
    program.call(method, path, **options)
    return time.perf_counter() - began


def measure(directory: Path, rounds: int) -> dict[str, list[float]]:
    stores = Stores(directory)
    gemini = ScriptedGemini().start()
    env = settings(stores.url("postgresql"), stores.url("redis"), gemini) | {"MAX_OPEN_TURNS": "1"}
    processes = []
    figures: dict[str, list[float]] = {}
    try:
        processes = [servers.start_product(directory, env) for _ in range(2)]
        (person,) = make_people(directory, stores.url("postgresql"), 1)
        here, elsewhere = (Program(process, person) for process in processes)
        for _ in range(rounds):
            figures.setdefault("stop, here", []).append(stop_seconds(here, here, gemini))
            figures.setdefault("stop, elsewhere", []).append(stop_seconds(here, elsewhere, gemini))
            full, idle = begin(here, gemini), here.new_chat()
            refused = seconds(here, "POST", f"/chat/{idle}/message", json={"message": "Hi"})
            figures.setdefault("refusal", []).append(refused)
            figures.setdefault("smallest request", []).append(seconds(here, "GET", "/chat?limit=1"))
            here.call("POST", f"/chat/{full}/stop")
            until(lambda: gemini.requests[-1].state == "closed")
        return figures
    finally:
        for process in processes:
            process.kill()
        gemini.stop()
        stores.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how soon the product stops and refuses.")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="chat-prompt-") as directory:
        figures = measure(Path(directory), rounds)
    print(f"{rounds} rounds, ms          median      longest")
    for name, each in figures.items():
        print(f"{name:20} {median(each) * 1000:12,.0f} {max(each) * 1000:12,.0f}")


if __name__ == "__main__":
    main()
