"""The scripted server on its own feet, as it stands beside a server under test."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.providers.conftest import KEY


@pytest.fixture
def beside():
    """Return the address of a scripted server in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "tests.scripted_gemini",
        "--port",
        "0",
        "--script",
        '[{"steps": ["from", " afar"]}]',
    ]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().split()[-1]
        process.terminate()


def test_a_server_beside_is_steered_and_watched_over_http(beside, make_gemini, ask, text_of):
    gemini = make_gemini(url=beside)
    assert text_of(gemini.stream(ask())) == "from afar"

    httpx.post(f"{beside}/__script", json={"steps": ["one"], "finish": "MAX_TOKENS"})
    assert list(gemini.stream(ask()))[-1].finish_reason == "length"

    seen = httpx.get(f"{beside}/__requests").json()
    assert [(each["kind"], each["model"], each["state"]) for each in seen] == [
        ("stream", "gemini-2.5-flash", "done")
    ] * 2
    assert seen[0]["closed_at"] >= seen[0]["opened_at"]


def test_the_other_calls_are_answered_too(server):
    headers = {"x-goog-api-key": KEY}
    generated = httpx.post(f"{server.url}/v1beta/models/m:generateContent", json={}, headers=headers)
    listed = httpx.get(f"{server.url}/v1beta/models", headers=headers)
    lost = httpx.get(f"{server.url}/elsewhere", headers=headers)

    assert generated.json()["candidates"][0]["finishReason"] == "STOP"
    assert listed.json()["models"]
    assert lost.status_code == 404
