"""The same things said in other shapes, as other releases of other programs write them: nothing is lost unsaid."""

import html
import json

import pytest

from tests.auth.browser import signed_in
from tests.transfers.files import bring, gpt, read, says, shown, text


@pytest.fixture(autouse=True)
def context(app):
    with app.test_request_context():
        yield


def said_in(*messages):
    [chat], intake = read([gpt(text("user", "Question"), *messages)])
    return chat.messages[-1].content, chat.messages[-1].thoughts, intake.left_out


@pytest.mark.parametrize(
    "message",
    [
        {"author": {"role": "assistant"}, "content": "Hello"},
        {"author": {"role": "assistant"}, "content": ["Hello"]},
        {"role": "assistant", "content": {"content_type": "text", "parts": ["Hello"]}},
    ],
)
def test_chatgpts_answer_is_found_however_it_is_wrapped(message):
    assert said_in(message) == ("Hello", "", {})


@pytest.mark.parametrize("role", [["x"], {"a": 1}, 3])
def test_an_author_that_is_no_text_costs_only_that_message(app, user, role):
    odd = {"author": {"role": role}, "content": {"content_type": "text", "parts": ["x"]}}
    browser = signed_in(app, user.id)
    answer = bring(browser, [gpt(text("user", "Hi"), odd, text("assistant", "Hello"))])

    page = browser.get(answer.headers["Location"]).text
    assert "1 chat was imported. 1 part of an unknown kind was left out (?)." in page


def test_what_an_unknown_author_said_is_counted_and_the_systems_words_are_not():
    assert said_in(text("system", "Be brief"), text("critic", "No"), text("assistant", "Yes"))[2] == {"critic": 1}


def test_a_part_that_is_neither_a_text_nor_of_a_kind_is_counted():
    assert said_in(text("assistant", "One", ["two"], {"text": {"value": "three"}}, None)) == ("One", "", {"?": 2})


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ('\ue200entity\ue202["city","Ulm","city in Germany"]\ue201', "Ulm"),
        ("\ue200url\ue202Ulm\ue202https://ulm.de\ue201", "[Ulm](https://ulm.de)"),
        ("\ue200link_title\ue202Ulm\ue202turn0search1\ue201", "Ulm"),
        ("\ue200entity\ue202[1, 2]\ue201", ""),
        ("\ue200cite\ue202turn0search1\ue201", ""),
    ],
)
def test_a_mark_that_holds_words_of_the_sentence_leaves_them(mark, words):
    assert said_in(text("assistant", f"In {mark} it rains"))[0] == f"In {words} it rains"


def test_a_drawing_of_a_program_is_mentioned():
    drawn = {"aggregate_result": {"messages": [{"message_type": "image", "image_url": "file-service://x"}]}}
    said, _thoughts, _left_out = said_in(says("tool", "execution_output", text="", metadata=drawn))

    assert said == "[A picture that was not imported]"


def test_the_pages_of_a_file_that_chatgpt_read_are_no_part_of_its_answer():
    page = says("tool", "multimodal_text", parts=["Page 1 of 90"])
    page["author"]["name"] = "file_search"

    assert said_in(page, text("assistant", "It is about cats.")) == ("It is about cats.", "Page 1 of 90", {})


@pytest.mark.parametrize("many", [False, True])
def test_what_follows_the_end_of_the_json_is_not_passed_over_in_silence(many):
    chat = gpt(text("user", "Hi"))
    line = json.dumps([chat] if many else chat).encode()

    assert [len(found) for found, _intake in (read(line), read(line + b"\n\0"))] == [1, 1]
    [_chat], intake = read(line + b"\n" + line)
    assert (intake.unreadable, intake.reasons) == (1, [f"The file is not valid JSON (byte {len(line)})"])
    assert read(line + b"\n\0")[1].unreadable == 0


# Claude


def claude(*messages):
    rows = [{"uuid": f"m{number}"} | message for number, message in enumerate(messages)]
    return {"uuid": "k1", "name": "x", "created_at": "2025-01-02T03:04:05Z", "chat_messages": rows}


def test_what_claude_and_its_user_said_is_found_as_a_text_alone():
    [chat], intake = read([claude({"sender": "human", "content": "Hi"}, {"sender": "assistant", "content": ["Hello"]})])

    assert (shown(chat), intake.left_out) == ([("user", "Hi"), ("assistant", "Hello")], {})


def test_a_file_that_claude_made_is_part_of_its_answer_and_a_summary_of_its_thoughts():
    call = {"type": "tool_use", "name": "create_file", "input": {"path": "/a.md", "file_text": "# Hi"}}
    thought = {"type": "thinking", "thinking": "", "summaries": [{"summary": "A greeting"}]}
    [chat], _intake = read([claude({"sender": "assistant", "content": [thought, call]})])

    assert (chat.messages[0].content, chat.messages[0].thoughts) == ("**/a.md**\n\n```\n# Hi\n```", "A greeting")


def test_what_an_unknown_sender_said_is_counted():
    _chats, intake = read([claude({"sender": "human", "text": "Hi"}, {"sender": "tool", "text": "x"})])

    assert intake.left_out == {"tool": 1}


# Open WebUI


def webui(**answer):
    messages = {
        "q": {"id": "q", "parentId": None, "role": "user", "content": "Why?"},
        "a": {"id": "a", "parentId": "q", "role": "assistant", "content": ""} | answer,
    }
    return {"id": "w1", "title": "x", "chat": {"history": {"messages": messages, "currentId": "a"}}}


@pytest.mark.parametrize(
    "error", ["Out of memory", {"detail": "Out of memory"}, {"content": {"message": "Out of memory"}}]
)
def test_why_open_webui_could_not_answer_is_found_in_every_shape(error):
    [chat], _intake = read([webui(error=error)])

    assert (chat.messages[-1].content, chat.messages[-1].status) == ("Out of memory", "failed")


def test_what_open_webui_counts_and_keeps_of_other_shapes():
    chat = webui(content=["Hello", {"type": "text", "text": "there"}], error="")
    chat["chat"]["history"]["messages"]["t"] = {"id": "t", "role": "tool", "content": "x"}
    [chat], intake = read([chat])

    assert (chat.messages[-1].content, chat.messages[-1].status) == ("Hello\n\nthere", "completed")
    assert intake.left_out == {"tool": 1}


def block(kind, summary="Done", inner="", **values):
    given = "".join(f' {name}="{html.escape(json.dumps(value))}"' for name, value in values.items())
    return f'<details type="{kind}" done="true"{given}>\n<summary>{summary}</summary>\n{inner}</details>\n'


def test_what_open_webuis_tools_were_asked_and_answered_is_among_the_thoughts():
    call = block("tool_calls", name="weather", arguments='{"city": "Ulm"}', result="sunny")
    [chat], _intake = read([webui(content=call + "It is sunny.")])

    found = chat.messages[-1]
    assert found.content == "It is sunny."
    assert [each in found.thoughts for each in ("weather", '{"city": "Ulm"}', "sunny")] == [True] * 3


@pytest.mark.parametrize("output", ["1 < 2", {"stdout": "1 < 2", "result": None}])
def test_what_open_webuis_program_printed_is_kept_below_it(output):
    ran = block("code_interpreter", inner="```python\nprint(1)\n```\n", output=output)
    [chat], _intake = read([webui(content=ran + "So.")])

    assert chat.messages[-1].content == "```python\nprint(1)\n```\n\n```\n1 < 2\n```\n\nSo."
