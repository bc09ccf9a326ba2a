"""What a message in a ChatGPT export says, whatever its content type: as Markdown, with thoughts kept apart.

What ChatGPT shows as an answer becomes text: code that ran and what it printed, what was written into the canvas, that
there was a picture. What it only did on the way (searches, pages it read, calls of tools) becomes thoughts. Kinds that
are not known are kept where they hold a text, else counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from chatapp.kernel.text import clean_model_text
from chatapp.transfers.bounds import Intake
from chatapp.transfers.content import (
    fenced,
    file_mark,
    list_in,
    name_in,
    object_in,
    picture_mark,
    recording_mark,
    text_in,
)

# "【3†source】" of old, and between characters for private use "cite turn0search1".
SOURCE = re.compile(
    "\u3010[^\u3010\u3011\n]{0,80}\u2020[^\u3010\u3011\n]{0,200}\u3011|\ue200[^\ue200\ue201\n]{0,2000}\ue201"
)
# What ChatGPT is told about its user, and the text of a page or file as the model received it.
NOT_SAID = ("user_editable_context", "model_editable_context", "app_pairing_content")
# These tools return the text of a file, page by page.
FILE_TOOLS = ("file_search", "myfiles_browser")
MAX_DRAWN = 100
LINK = re.compile(r"https?://[^\s()<>]+")
SHOWN_CALLS = (None, "all", "python", "container.exec")
SHOWN_OUTPUTS = ("execution_output", "multimodal_text", "tether_quote", "system_error", "citable_code_output")
RECORDINGS = ("audio_asset_pointer", "video_container_asset_pointer", "real_time_user_audio_video_asset_pointer")


def said(message: dict[str, Any], intake: Intake) -> tuple[str, str]:
    """Return what a message says, and the thoughts and tool use on the way; both may be empty."""
    content, metadata = _content(message), object_in(message, "metadata")
    role, recipient = role_of(message), message.get("recipient")
    kind = name_in(content, "content_type") or ""
    if kind in NOT_SAID or metadata.get("is_visually_hidden_from_conversation"):
        return "", ""
    if kind in THOUGHTS:
        return "", intake.joined(THOUGHTS[kind](content))
    if isinstance(recipient, str) and recipient.startswith("canmore."):
        return intake.joined(_canvas(_words(content, intake))), ""
    text = _with_sources(intake.joined(_parts_of(kind, content, intake) + _drawn(metadata)), metadata, intake)
    if role == "tool":
        is_page = kind == "multimodal_text" and name_in(object_in(message, "author"), "name") in FILE_TOOLS
        return (text, "") if kind in SHOWN_OUTPUTS and not is_page else ("", text)
    if role == "assistant" and (recipient not in SHOWN_CALLS or (kind != "code" and recipient not in (None, "all"))):
        return "", text
    return intake.joined([text, *_attachments(content, metadata)]), ""


def role_of(message: dict[str, Any]) -> str | None:
    return name_in(object_in(message, "author"), "role") or name_in(message, "role")


def _content(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message's content; a bare text or list of parts is wrapped as content."""
    found = message.get("content")
    found = [found] if isinstance(found, str) else found
    return {"content_type": "text", "parts": found} if isinstance(found, list) else object_in(message, "content")


def _drawn(metadata: dict[str, Any]) -> list[str]:
    """Mention the pictures that a program drew."""
    results = list_in(object_in(metadata, "aggregate_result"), "messages")[:MAX_DRAWN]
    return [picture_mark()] * sum(name_in(each, "message_type") == "image" for each in results)


def _parts_of(kind: str, content: dict[str, Any], intake: Intake) -> list[str]:
    if kind in TEXTS:
        return TEXTS[kind](content)
    if isinstance(content.get("parts"), list):
        return _parts(content, intake)
    if found := text_in(content, "text", "result", "content", "output_str", "summary", "output"):
        return [found]
    if content:
        intake.left_out[kind or "?"] += 1
    return []


def _parts(content: dict[str, Any], intake: Intake) -> list[str]:
    parts = content["parts"]
    is_heard = any(_kind(part) == "audio_transcription" for part in parts)
    return [_part(part, intake, is_heard=is_heard) for part in parts]


def _kind(part: Any) -> str | None:
    return name_in(part, "content_type")


def _part(value: Any, intake: Intake, *, is_heard: bool) -> str:
    """Return a part of a message as text: the transcript of speech, or a note in place of a picture."""
    if isinstance(value, str):
        return clean_model_text(value)
    kind = _kind(value)
    if kind == "image_asset_pointer":
        return picture_mark()
    if kind in RECORDINGS:
        return "" if is_heard else recording_mark()
    text = text_in(value, "text", "result", "content")
    if not text and value:
        intake.left_out[kind or "?"] += 1
    return text


def _words(content: dict[str, Any], intake: Intake) -> str:
    return text_in(content, "text") or "\n".join(_parts_of("", content, intake))


# One function for each kind of content


def _code(content: dict[str, Any]) -> list[str]:
    text = text_in(content, "text")
    return [fenced(text, text_in(content, "language", "response_format_name"))] if text else []


def _output(content: dict[str, Any]) -> list[str]:
    text = text_in(content, "text", "output_str", "name")
    return [fenced(text)] if text else []


def _quote(content: dict[str, Any]) -> list[str]:
    text = "\n".join(f"> {line}" for line in text_in(content, "text").splitlines())
    return [text, " ".join(filter(None, (name_in(content, "title", "domain"), name_in(content, "url"))))]


def _page(content: dict[str, Any]) -> list[str]:
    return [text_in(content, "result", "summary")]


def _thoughts(content: dict[str, Any]) -> list[str]:
    found = []
    for thought in list_in(content, "thoughts"):
        summary, text = name_in(thought, "summary"), text_in(thought, "content")
        found += [f"**{summary}**" if summary else "", text]
    return found


def _recap(content: dict[str, Any]) -> list[str]:
    return [text_in(content, "content")]


TEXTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "code": _code,
    "execution_output": _output,
    "citable_code_output": _output,
    "system_error": _output,
    "tether_quote": _quote,
    "tether_browsing_display": _page,
}
THOUGHTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {"thoughts": _thoughts, "reasoning_recap": _recap}


def _canvas(text: str) -> list[str]:
    """Return what a call writes to the canvas: a new document, edits to one, or comments on it."""
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        call = None
    if not isinstance(call, dict):
        return [fenced(text)] if text else []
    if document := text_in(call, "content"):
        name, kind = name_in(call, "name"), text_in(call, "type")
        is_code = kind.startswith("code")
        return [f"**{name}**" if name else "", fenced(document, kind.partition("/")[2]) if is_code else document]
    changes = [text_in(each, "replacement") for each in list_in(call, "updates")]
    comments = [text_in(each, "comment") for each in list_in(call, "comments")]
    found = [each for each in changes + comments if each]
    return found or [fenced(text, "json")]


def _attachments(content: dict[str, Any], metadata: dict[str, Any]) -> list[str]:
    """Name the files attached to a message; pictures are mentioned already."""
    has_pictures = any(_kind(part) == "image_asset_pointer" for part in list_in(content, "parts"))
    marks = []
    for each in list_in(metadata, "attachments"):
        is_picture = text_in(each, "mime_type", "mimeType").startswith("image/")
        if not (is_picture and has_pictures):
            marks.append(file_mark(name_in(each, "name", "id")))
    return marks


def _with_sources(text: str, metadata: dict[str, Any], intake: Intake) -> str:
    """Return a text with links for its marks of sources, which mean nothing outside ChatGPT, or without them.

    A link stands once in the file and may have thousands of marks: none is put in where the text would be too long.
    """
    links = {}
    for reference in list_in(metadata, "content_references"):
        found, link = text_in(reference, "matched_text"), text_in(reference, "alt")
        if found and len(link) <= intake.bounds.link_chars:
            links[found] = clean_model_text(link)
    left = intake.bounds.message_chars - len(text)

    def put(found: re.Match[str]) -> str:
        nonlocal left
        link = links.get(found[0]) or _label(found[0])
        if len(link) > left:
            return ""
        left -= len(link)
        return link

    return SOURCE.sub(put, text)


def _label(mark: str) -> str:
    """Return the words inside a mark: the name of an entity, or the title of a link."""
    kind, _sign, rest = mark.strip("\ue200\ue201").partition("\ue202")
    title, _sign, link = rest.partition("\ue202")
    if kind in ("url", "link_title"):
        return f"[{title}]({link})" if title and LINK.fullmatch(link) else title
    try:
        found = json.loads(rest) if kind == "entity" else None
    except (ValueError, RecursionError):
        return ""
    return found[1] if isinstance(found, list) and len(found) > 1 and isinstance(found[1], str) else ""
