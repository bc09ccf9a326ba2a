"""The product as it is deployed: real processes on real databases, and a provider that waits where a test wants it."""

import pytest

from tests.faults.conftest import SECRET, make_app, make_person  # noqa: F401
from tests.faults.program import Program
from tests.scripted_gemini import ScriptedGemini


@pytest.fixture
def gemini():
    provider = ScriptedGemini().start()
    yield provider
    provider.release()
    provider.stop()


@pytest.fixture
def to_gemini(gemini):
    """The settings of a product whose answers come from there."""
    return {"GEMINI_API_KEY": "k", "GEMINI_BASE_URL": gemini.url, "SECRET_KEY": SECRET, "RATE_LIMITS": "false"}


@pytest.fixture
def ada(server, make_person, to_gemini, sqlite_url):  # noqa: F811
    """Start one process on SQLite and return a program of hers: ada(DRAIN_SECONDS="1").server."""
    programs = []

    def start(*arguments, **env):
        person = programs[0].person if programs else make_person(sqlite_url)
        programs.append(Program(server(*arguments, **to_gemini, **env), person))
        return programs[-1]

    yield start
    for program in programs:
        program.close()
