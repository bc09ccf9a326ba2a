"""Exports of other programs, with whatever kinds of content they hold: what is said in them is found here."""

import codecs
import json
import logging

import pytest

from tests.auth.browser import signed_in
from tests.conftest import make_user
from tests.transfers.files import bring, good, gpt, own, read, says, shown, text, zipped


@pytest.fixture
def browser(app, user):
    return signed_in(app, user.id)


@pytest.fixture(autouse=True)
def context(app):
    with app.test_request_context():
        yield


def answer(*messages):
    """Return the one answer to a question, and what was thought for it."""
    [chat], _intake = read([gpt(text("user", "Question"), *messages)])
    [question, found] = chat.messages
    assert (question.content, found.role, chat.head_key) == ("Question", "assistant", found.key)
    return found


# ChatGPT: kinds of content


def test_an_answer_that_is_code_is_a_block_of_code_in_its_language():
    found = answer(says("assistant", "code", language="json", text='{"city": "Ulm"}'))

    assert found.content == '```json\n{"city": "Ulm"}\n```'


def test_a_fence_is_longer_than_those_in_the_code():
    found = answer(says("assistant", "code", language="unknown", text="````\nx\n````"))

    assert found.content == "`````\n````\nx\n````\n`````"


def test_what_was_written_into_the_canvas_is_part_of_the_answer():
    call = {"name": "Letter", "type": "document", "content": "Dear neighbour,\n\nthe cat is well."}
    found = answer(
        says("assistant", "code", "canmore.create_textdoc", language="unknown", text=json.dumps(call)),
        text("tool", "Created"),
        text("assistant", "The letter is in the canvas."),
    )

    assert found.content == "**Letter**\n\nDear neighbour,\n\nthe cat is well.\n\nThe letter is in the canvas."


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"name": "a", "type": "code/python", "content": "x = 1"}, "**a**\n\n```python\nx = 1\n```"),
        ({"updates": [{"pattern": ".*", "multiple": False, "replacement": "Dear all,"}]}, "Dear all,"),
        ({"comments": [{"pattern": "cat", "comment": "Which cat?"}]}, "Which cat?"),
        ("no JSON", "```\nno JSON\n```"),
        ([1], "```\n[1]\n```"),
    ],
)
@pytest.mark.parametrize("kind", ["code", "text"])
def test_every_call_of_the_canvas_says_what_it_wrote(call, said, kind):
    call = call if isinstance(call, str) else json.dumps(call)
    content = {"text": call} if kind == "code" else {"parts": [call]}

    assert answer(says("assistant", kind, "canmore.update_textdoc", **content)).content == said


def test_a_program_that_was_run_and_what_it_printed_are_one_answer():
    found = answer(
        says("assistant", "code", "python", language="python", text="print(2 + 3)"),
        says("tool", "execution_output", text="5\n"),
        text("assistant", "Five."),
    )

    assert found.content == "```python\nprint(2 + 3)\n```\n\n```\n5\n```\n\nFive."


def test_thoughts_searches_and_what_a_tool_answered_are_thoughts():
    thoughts = [{"summary": "A plan", "content": "First look."}, {"summary": "Then", "content": "Answer."}]
    found = answer(
        says("assistant", "thoughts", thoughts=thoughts),
        says("assistant", "code", "web.run", text='search("cats")'),
        says("tool", "tether_browsing_display", result="A page on cats"),
        text("tool", "More on cats"),
        says("assistant", "reasoning_recap", content="Thought for 5 seconds"),
        text("assistant", "Cats."),
    )

    assert found.content == "Cats."
    for each in (
        "**A plan**\n\nFirst look.",
        "Answer.",
        'search("cats")',
        "A page on cats",
        "More on cats",
        "5 seconds",
    ):
        assert each in found.thoughts


def test_a_quote_of_a_page_is_a_quote_with_its_source():
    found = answer(says("tool", "tether_quote", url="https://a.example", title="Cats", text="They\nsleep."))

    assert found.content == "> They\n> sleep.\n\nCats https://a.example"


def test_pictures_recordings_and_files_are_named():
    picture, sound = {"content_type": "image_asset_pointer"}, {"content_type": "audio_asset_pointer"}
    files = [{"name": "cats.pdf", "mime_type": "application/pdf"}, {"name": "cat.png", "mime_type": "image/png"}, 7]
    [chat], _intake = read(
        [
            gpt(
                says("user", "multimodal_text", parts=[picture, "Look", sound], metadata={"attachments": files}),
                says("tool", "multimodal_text", parts=[picture]),
                text("assistant", "A cat."),
            )
        ]
    )

    question = (
        "[A picture that was not imported]\n\nLook\n\n[A recording that was not imported]\n\n"
        "[A file that was not imported: cats.pdf]\n\n[A file that was not imported: ?]"
    )
    assert shown(chat) == [("user", question), ("assistant", "[A picture that was not imported]\n\nA cat.")]


def test_what_chatgpt_is_told_of_its_user_is_left_out():
    context = says("user", "user_editable_context", user_profile="I am Ada", user_instructions="Be brief")
    [chat], intake = read([gpt(context, text("user", "Hi"), text("assistant", "Hello"))])

    assert shown(chat) == [("user", "Hi"), ("assistant", "Hello")]
    assert not intake.left_out


def test_an_unknown_kind_is_kept_where_it_has_a_text_else_counted_on_the_page_and_in_the_log(browser, caplog):
    file = [
        gpt(
            text("user", "Hi"),
            says("assistant", "of_tomorrow", text="Readable"),
            says("assistant", "hologram", shape=[1, 2]),
            says("assistant", "multimodal_text", parts=[{"content_type": "smell", "of": "roses"}]),
        )
    ]
    with caplog.at_level(logging.WARNING):
        page = browser.get(bring(browser, file).headers["Location"]).text

    [chat], intake = read(file)
    assert chat.messages[1].content == "Readable"
    assert intake.left_out == {"hologram": 1, "smell": 1}
    assert "2 parts of unknown kinds were left out (hologram, smell)." in page
    assert [record.kinds for record in caplog.records if hasattr(record, "kinds")] == [{"hologram": 1, "smell": 1}]


def test_an_answer_that_was_cut_short_does_not_look_whole():
    cut = {"finish_details": {"type": "max_tokens"}}

    assert answer(text("assistant", "So", metadata=cut)).status == "interrupted"
    stopped = {"finish_details": {"type": "interrupted"}}
    assert answer(text("assistant", "So", metadata=stopped)).status == "stopped"
    assert answer(text("assistant", "So")).status == "completed"


def test_two_answers_after_one_search_are_versions_and_neither_search_nor_words_are_doubled():
    chat = gpt(text("user", "Why?"), text("tool", "found"), text("assistant", "So."))
    chat["mapping"]["other"] = {"parent": "n1", "message": text("assistant", "Or so.")}

    [read_chat], _intake = read([chat])

    assert [(each.content, each.parent_key) for each in read_chat.messages] == [
        ("Why?", None),
        ("So.", "n0"),
        ("Or so.", "n0"),
    ]
    assert [each.thoughts for each in read_chat.messages] == ["", "found", ""]


# One odd chat, files in parts


ODD = [
    {"title": "Odd", "create_time": None, "mapping": None},
    {"title": "Odd", "mapping": [1]},
    {"title": "Odd", "chat_messages": {}},
    {"title": "Odd", "chat": {"history": 5}},
    {"title": "Odd"},
    7,
    None,
    "text",
    [],
]


def circle():
    chat = gpt(text("user", "a"), text("assistant", "b"), title="Circle")
    chat["mapping"]["n0"]["parent"] = "n1"
    return chat


@pytest.mark.parametrize("odd", [*ODD, circle()])
@pytest.mark.parametrize("first", [True, False])
def test_an_odd_chat_is_counted_and_the_others_come_in(browser, odd, first):
    fine = [gpt(text("user", "Hello"), conversation_id=key) for key in ("o1", "o2")]
    file = [odd, *fine] if first else [*fine, odd]

    page = browser.get(bring(browser, file).headers["Location"]).text

    assert "2 chats were imported. 1 chat could not be read:" in page


def test_an_export_in_parts_is_read_as_one_and_other_files_are_passed_over():
    parts = {
        f"conversations-{number:03}__json": [gpt(text("user", str(number)), conversation_id=f"p{number}")]
        for number in (0, 1)
    }
    others = {"user__json": {"id": "u"}, "message_feedback__json": [], "shared_conversations__json": [{"id": "s"}]}
    for folder in ("", "export___2026___"):
        chats, intake = read(zipped(**{folder + name: content for name, content in (parts | others).items()}))

        assert [chat.messages[0].content for chat in chats] == ["0", "1"]
        assert intake.unreadable == 0


def test_a_broken_part_is_counted_and_the_others_come_in():
    parts = {"conversations_0__json": "[{", "conversations_1__json": [gpt(text("user", "One"))]}

    chats, intake = read(zipped(**parts))

    assert (len(chats), intake.unreadable) == (1, 1)
    assert intake.reasons[0].startswith("conversations_0.json: The file is not valid JSON")


def test_files_of_any_name_in_a_zip_file_are_told_apart_by_what_they_hold():
    chats, _intake = read(
        zipped(**{"___MACOSX___._a__json": "x", "a__json": own({}), "b__json": {"x": 1}, "c__json": [webui()]})
    )

    assert [chat.title for chat in chats] == ["Bread", "A tree"]


@pytest.mark.parametrize("odd", ["\ud83d", "a\0b"])
@pytest.mark.parametrize("where", ["title", "conversation_id", "node", "model"])
def test_half_a_character_or_a_nul_in_a_name_costs_no_chat(both_app, odd, where):
    metadata = {"model_slug": odd} if where == "model" else {}
    chat = gpt(text("user", "Hi"), text("assistant", "Hello", metadata=metadata)) | {where: odd}
    if where == "node":
        chat["mapping"] = json.loads(json.dumps(chat["mapping"]).replace("n1", json.dumps(odd)[1:-1]))
    browser = signed_in(both_app, make_user(both_app, "eve@example.org").id)

    page = browser.get(
        bring(browser, [chat, gpt(text("user", "Other"), conversation_id="g2")]).headers["Location"]
    ).text

    assert "2 chats were imported." in page


@pytest.mark.parametrize(
    "time", [1_700_000_000.5, 1_700_000_000_500, "1700000000.5", "1700000000500", "2023-11-14T22:13:20.5Z"]
)
def test_an_instant_is_read_as_a_number_or_a_text(time):
    [chat], intake = read([gpt(text("user", "Hi"), create_time=time)])

    assert (chat.created_at.isoformat(), intake.changed_dates) == ("2023-11-14T22:13:20.500000+00:00", 0)


# Claude


def claude(*messages, **values):
    rows = [
        {"uuid": f"m{number}", "created_at": "2025-01-02T03:04:05.123456Z"} | each
        for number, each in enumerate(messages)
    ]
    return {"uuid": "c1", "name": "From Claude", "created_at": "2025-01-02T03:04:05Z", "chat_messages": rows} | values


def part(kind, **values):
    return {"type": kind} | values


def test_claudes_chat_is_read_with_thoughts_tools_and_files():
    asked = {"sender": "human", "text": "Look", "content": [part("text", text="Look")]}
    asked |= {
        "attachments": [{"file_name": "a.txt", "extracted_content": "Its text"}],
        "files": [{"file_name": "cat.png"}],
    }
    said = [
        part("thinking", thinking="Let me see"),
        part("tool_use", name="web_search", input={"query": "cats"}),
        part("tool_result", content=[part("text", text="All on cats")]),
        part("text", text="Here it is."),
        part(
            "tool_use",
            name="artifacts",
            input={"title": "Page", "type": "text/html", "language": "html", "content": "<p>"},
        ),
        part("hologram", shape=1),
    ]
    [chat], intake = read([claude(asked, {"sender": "assistant", "text": "Here it is.", "content": said})])

    question, found = chat.messages
    assert question.content == "Look\n\n**a.txt**\n\n```\nIts text\n```\n\n[A file that was not imported: cat.png]"
    assert found.content == "Here it is.\n\n**Page**\n\n```html\n<p>\n```"
    for each in ("Let me see", '"query": "cats"', "All on cats"):
        assert each in found.thoughts
    assert (chat.title, chat.created_at.year, intake.left_out) == ("From Claude", 2025, {"hologram": 1})


def test_an_old_file_of_claudes_has_only_texts():
    [chat], _intake = read([claude({"sender": "human", "text": "Hi"}, {"sender": "assistant", "text": "Hello"})])

    assert shown(chat) == [("user", "Hi"), ("assistant", "Hello")]


def test_claudes_branches_are_kept():
    above = {"parent_message_uuid": "m0"}
    root = {"parent_message_uuid": "00000000-0000-4000-8000-000000000000"}
    rows = [{"sender": "human", "text": "Hi"} | root, *({"sender": "assistant", "text": each} | above for each in "ab")]
    [chat], _intake = read(zipped(conversations__json=[claude(*rows)], users__json=[{"uuid": "u"}]))

    assert [message.parent_key for message in chat.messages] == [None, "m0", "m0"]
    assert shown(chat) == [("user", "Hi"), ("assistant", "b")]


# Open WebUI


def webui(**values):
    messages = {
        "q": {"id": "q", "parentId": None, "childrenIds": ["a", "b"], "role": "user", "content": "Why?"},
        "a": {"id": "a", "parentId": "q", "role": "assistant", "content": "So.", "model": "llama3.2"},
        "b": {"id": "b", "parentId": "q", "role": "assistant", "content": "Or so.", "timestamp": 1_700_000_000},
    }
    history = {"messages": {key: each | values.get(key, {}) for key, each in messages.items()}, "currentId": "a"}
    chat = {"title": "A tree", "models": ["llama3.2"], "history": history, "messages": [messages["q"]]}
    return {"id": "w1", "title": "A tree", "created_at": 1_700_000_000, "updated_at": 1_700_000_001, "chat": chat}


def test_open_webuis_chat_is_read_with_its_branches():
    [chat], _intake = read([webui()])

    assert shown(chat) == [("user", "Why?"), ("assistant", "So.")]
    assert [(each.content, each.parent_key) for each in chat.messages][1:] == [("So.", "q"), ("Or so.", "q")]
    assert (chat.model, chat.created_at.year, chat.messages[1].model) == ("llama3.2", 2023, "llama3.2")


@pytest.mark.parametrize("wrap", [lambda chat: [chat], lambda chat: chat, lambda chat: [chat["chat"]]])
def test_open_webuis_chat_is_known_however_it_is_wrapped(wrap):
    [chat], _intake = read(wrap(webui()))

    assert chat.title == "A tree"


def test_thoughts_in_open_webuis_texts_are_thoughts():
    block = '<details type="reasoning" done="true" duration="5">\n<summary>Thought for 5 seconds</summary>\n> Let me\n> see &lt;x&gt;\n</details>\n'
    [chat], _intake = read([webui(a={"content": block + "So."}, b={"content": 'Or <details type="reasoning">\n> cut'})])

    _question, found, other = chat.messages
    assert (found.content, found.thoughts) == ("So.", "Let me\nsee <x>")
    assert (other.content, other.thoughts) == ("Or ", "cut")


def test_what_open_webui_could_not_answer_and_its_files_are_kept():
    files = {
        "files": [{"type": "image", "url": "data:image/png;base64," + "A" * 200_000}, {"type": "file", "name": "a.pdf"}]
    }
    [chat], intake = read([webui(q=files, a={"content": "", "error": {"content": "Out of memory"}}, b={"done": False})])

    question, found, other = chat.messages
    assert question.content == "Why?\n\n[A picture that was not imported]\n\n[A file that was not imported: a.pdf]"
    assert (found.content, found.status, other.status) == ("Out of memory", "failed", "interrupted")
    assert intake.cut_texts == 0


def test_an_old_file_of_open_webuis_has_a_list_of_messages():
    chat = webui()
    del chat["chat"]["history"]
    chat["chat"]["messages"] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    [found], _intake = read([chat])

    assert shown(found) == [("user", "Hi"), ("assistant", "Hello")]


# Codings


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("is_zipped", [False, True])
def test_a_file_may_be_written_in_utf_8_or_utf_16(coding, is_zipped):
    data = json.dumps([gpt(text("user", "Grüße 😀"))], ensure_ascii=False).encode(coding)

    [chat], intake = read(zipped(conversations__json=data) if is_zipped else data)

    assert shown(chat) == [("user", "Grüße 😀")]
    assert not intake.has_foreign_bytes


def test_a_mark_before_utf_16_that_begins_with_the_higher_byte_is_read():
    data = codecs.BOM_UTF16_BE + json.dumps([gpt(text("user", "é"))], ensure_ascii=False).encode("utf-16-be")

    assert shown(read(data)[0][0]) == [("user", "é")]


def test_bytes_that_are_no_utf_8_are_replaced_and_the_page_says_so(browser):
    data = json.dumps([gpt(text("user", "Grüße"))], ensure_ascii=False).encode("latin-1")

    page = browser.get(bring(browser, data).headers["Location"]).text

    assert shown(read(data)[0][0]) == [("user", "Gr\ufffd\ufffde")]
    assert "The file is not entirely UTF-8, so some characters were replaced." in page


# Our own


def test_our_own_export_keeps_everything_on_its_way_through_a_zip_file():
    file = own({"content": "a\n\u2028<b>", "thoughts": "t"}, {"role": "assistant", "status": "stopped", "model": "m"})
    file["chats"].append(good())

    chats, intake = read(zipped(**{"All chats__json": file}))

    assert [chat.title for chat in chats] == ["Bread", "good"]
    assert (chats[0].messages[0].content, chats[0].messages[0].thoughts) == ("a\n\u2028<b>", "t")
    assert (intake.unreadable, intake.cut_texts, intake.changed_dates) == (0, 0, 0)
