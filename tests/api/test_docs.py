"""The examples of docs/api.md, run as they stand there against the product in a process of its own."""

import json
import os
import re
import subprocess
import sys

import httpx
import pytest

from tests.servers import ROOT

EXAMPLES = re.findall(r"^```(\w+) run\n(.*?)^```", (ROOT / "docs/api.md").read_text(), re.M | re.S)
SHELL = [code for language, code in EXAMPLES if language == "sh"]
PYTHON = [code for language, code in EXAMPLES if language == "python"]
SCRIPT = "\n".join(code for language, code in EXAMPLES if language == "js")
PASSWORD = "correct horse battery staple"


@pytest.fixture
def product(server, tmp_path):
    """A running product with one user, and the environment that the examples read."""
    url = server(DEMO_PACE_SECONDS="0.001").url
    settings = {"PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite:///{tmp_path / 'chat.db'}"}
    settings["INSTANCE_DIR"] = str(tmp_path / "instance")

    def flask(*arguments: str) -> str:
        command = [sys.executable, "-m", "flask", "--app", str(ROOT / "wsgi.py"), *arguments]
        done = subprocess.run(command, env=settings, input=PASSWORD, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    flask("users", "create", "ada@example.org", "--password-stdin")
    key = flask("keys", "create", "ada@example.org")
    chat = httpx.post(f"{url}/api/chat", json={}, headers={"Authorization": f"Bearer {key}"}).json()["id"]
    return {"CHAT_URL": url, "CHAT_KEY": key, "CHAT_ID": chat, "PATH": os.environ["PATH"]}


def run(command, environment):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_examples_for_the_shell_do_what_they_say(product):
    usage, chat, attachment, stream = [run(["sh", "-c", code], product) for code in SHELL]

    assert json.loads(usage)["remaining_tokens"] == 100_000
    assert json.loads(chat)["title"] == "Plans"
    assert (json.loads(attachment)["name"], json.loads(attachment)["kind"]) == ("recipe.txt", "text")
    assert re.fullmatch(
        r"id: [0-9a-f-]{36}:0\n\n(id: [0-9a-f-]{36}:\d+\n(data: .*\n)+\n)+id: [0-9a-f-]{36}:end\ndata: \{\"done\": true.*\}\n\n",
        stream,
    )


@pytest.mark.slow
def test_the_example_in_python_hears_the_whole_answer(product):
    printed = run([sys.executable, "-c", PYTHON[0]], product)

    headers = {"Authorization": f"Bearer {product['CHAT_KEY']}"}
    saved = httpx.get(f"{product['CHAT_URL']}/api/chat/{product['CHAT_ID']}", headers=headers).json()["messages"]
    assert printed.startswith(saved[1]["content"])
    assert "'done': True" in printed


@pytest.mark.slow
@pytest.mark.browser
def test_the_examples_for_pages_run_in_a_browser_under_our_policy(product, new_context):
    page = new_context().new_page()
    page.goto(f"{product['CHAT_URL']}/login")
    page.fill("input[name=email]", "ada@example.org")
    page.fill("input[name=password]", PASSWORD)
    page.press("input[name=password]", "Enter")
    page.wait_for_selector("#text, textarea")
    chat = product["CHAT_ID"]
    sent = page.evaluate(f"({{chat}}) => {{ {SCRIPT}; return send(chat, 'Hello') }}", {"chat": chat})
    heard = page.evaluate(f"({{chat}}) => {{ {SCRIPT}; return listen(chat, 'And again') }}", {"chat": chat})
    headers = {"Authorization": f"Bearer {product['CHAT_KEY']}"}
    saved = httpx.get(f"{product['CHAT_URL']}/api/chat/{chat}", headers=headers).json()["messages"]
    assert '"done": true' in sent
    assert [message["status"] for message in saved] == ["completed"] * 4
    assert heard == saved[3]["content"]
