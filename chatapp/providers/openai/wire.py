"""Reads the replies of OpenAI-compatible servers in all their dialects, which docs/providers.md lists.

Anything unknown is named in the log once per process, and never makes an answer complete.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from chatapp.kernel.errors import ProviderInterrupted
from chatapp.providers import passed_over, refusals
from chatapp.providers.base import Chunk, FinishReason, Usage
from chatapp.providers.event_stream import Refused
from chatapp.providers.figures import tokens
from chatapp.providers.thoughts import Split, ThoughtSplitter

logger = logging.getLogger(__name__)

MAX_PIECE_CHARACTERS = 1_000_000
MAX_PARTS = 1000
LONGEST_DONE_BYTES = 20
# A server that sends this many events without any text is given up on.
MAX_EMPTY_EVENTS = 10_000
STOPS = (
    *("stop", "stopped", "eos", "eos_token", "eos_found", "end_turn", "end", "end_of_turn", "end_of_text", "complete"),
    *("completed", "stop_sequence", "stop_str", "stop_word", "done", "finish", "finished", "finish_reason_stop"),
)
LENGTHS = (
    *("length", "max_tokens", "max_length", "max_new_tokens", "max_output_tokens", "max_completion_tokens", "limit"),
    *("model_length", "model_context_window_exceeded", "token_limit", "context_length", "finish_reason_max_tokens"),
)
FILTERS = (
    *("content_filter", "content_filtered", "safety", "refusal", "recitation", "blocked", "blocklist", "sensitive"),
    *("prohibited_content", "guardrail_intervened", "content_policy", "moderation", "spii", "error_toxic"),
)
FINISH_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys(STOPS, "stop"),
    **dict.fromkeys(LENGTHS, "length"),
    **dict.fromkeys(FILTERS, "content_filter"),
}
THOUGHT_KEYS = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thought", "thoughts")
TEXT_TYPES = ("text", "output_text", "input_text", "answer", "markdown", "refusal", "")
THOUGHT_TYPES = (
    *("thinking", "reasoning", "thought", "reasoning_content", "reasoning_text", "summary_text"),
    *("reasoning.text", "reasoning.summary"),
)
# The keys under which a part may keep its text.
WORD_KEYS = ("text", "thinking", "reasoning", "content", "value", "summary", "refusal")
PASSED_OVER = ("redacted_thinking", "reasoning.encrypted", "ping")

ERROR_KEYS = ("detail", "error_message", "error_msg", "errorMessage", "error_code", "errorCode", "status_code", "msg")
# The keys under which a chunk without choices has its text.
WRAPPERS = ("data", "result", "response", "output", "body")
ANSWER_KEYS = ("message", "response", "delta", "content", "text")


def name_once(what: str, which: Any) -> None:
    passed_over.name_once("An OpenAI-compatible server", what, which)


@dataclass
class Reading:
    """The state of one answer so far."""

    splitter: ThoughtSplitter = field(default_factory=ThoughtSplitter)
    usage: Usage | None = None
    finish: FinishReason | None = None
    has_begun: bool = False
    has_piece: bool = False
    is_done: bool = False
    restarted: bool = False
    empty_events: int = 0
    # The index of the choice that is read, once there is one.
    index: int | None = None
    # A finish reason that means a failure or is unknown.
    broke_off: str = ""

    def take(self, data: bytes) -> list[Chunk]:
        """Return what is new in one event.

        For an error instead of a chunk raises Refused before the first piece, ProviderInterrupted after it.
        """
        if len(data) < LONGEST_DONE_BYTES and data.strip(b'" ').upper() in (b"[DONE]", b"DONE"):
            self.is_done = True
            return []
        found = [chunk for each in self._parsed(data) if (chunk := self._read(each)) is not None]
        self.empty_events = 0 if found else self.empty_events + 1
        if self.empty_events > MAX_EMPTY_EVENTS:
            raise ProviderInterrupted
        return found

    def rest(self) -> Chunk | None:
        """Return text that was held back because it might have been the start of a tag."""
        return self._chunk(self.splitter.finish(), "", None)

    def end(self) -> FinishReason:
        """Return how the answer ended. Raises ProviderInterrupted if there was no known finish reason."""
        if self.finish is None or self.broke_off:
            raise ProviderInterrupted(can_retry=not self.has_piece)
        return self.finish

    def _parsed(self, data: bytes) -> list[Any]:
        text = data.decode(errors="replace")
        try:
            said = json.loads(text, strict=False)
            # A list may contain all chunks of an answer.
            return said if isinstance(said, list) and said else [said]
        except (ValueError, RecursionError):
            pass
        try:
            # Events without a blank line between them.
            lines = [line for line in text.split("\n") if line.strip()]
            if len(lines) > 1:
                return [json.loads(line) for line in lines if line.strip() != "[DONE]"]
        except (ValueError, RecursionError):
            pass
        if self.finish or text[:1] not in ("{", "["):
            # Plain text, most likely to keep the connection open. The answer still needs a proper end.
            name_once("an event", "no JSON")
            return []
        raise self._failure({}) from None

    def _read(self, chunk: Any) -> Chunk | None:
        if not isinstance(chunk, dict):
            name_once("an event", chunk)
            return None
        inner = _unwrapped(chunk)
        if (error := error_in(chunk) or error_in(inner)) is not None:
            raise self._failure(error)
        chunk = inner
        self.has_begun = True
        choice = self._choice(chunk)
        text, thought = self._words_of(choice)
        usage = _usage_in(chunk, choice)
        self.usage = usage or self.usage
        self._note_finish(chunk, choice)
        return self._chunk(self.splitter.feed(text) if text else Split(), thought, usage)

    def _choice(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """Return the answer's choice; the chunk itself if it has none, as in Ollama's own API."""
        choices = chunk.get("choices")
        if isinstance(choices, dict):
            choices = [choices]
        if isinstance(choices, list):
            found = {_index(choice): choice for choice in reversed(choices[:MAX_PARTS]) if isinstance(choice, dict)}
            if self.index is None and found:
                # We ask for one answer, and some servers count from one.
                self.index = 0 if 0 in found else next(iter(found))
            if found and self.index not in found:
                name_once("a choice", "of another index")
            return found.get(self.index or 0, {})
        if not any(key in chunk for key in (*ANSWER_KEYS, "usage", "done", "object", "id")):
            name_once("an event", chunk.get("type") or "?")
        return chunk if any(key in chunk for key in ANSWER_KEYS) else {}

    def _words_of(self, choice: dict[str, Any]) -> tuple[str, str]:
        # Beside an empty delta, a message is the answer so far once more.
        text, thought = ("", "") if self.has_piece and choice.get("delta") == {} else words_of(choice)
        if len(text) + len(thought) > MAX_PIECE_CHARACTERS:
            raise ProviderInterrupted
        self.has_piece = self.has_piece or bool(text or thought)
        return text, thought

    def _chunk(self, split: Split, thought: str, usage: Usage | None) -> Chunk | None:
        thought = split.thought + thought
        self.restarted = self.restarted or split.restarts
        if split.text or thought or usage or split.restarts:
            return Chunk(split.text, thought, usage, restarts=split.restarts)
        return None

    def _note_finish(self, chunk: dict[str, Any], choice: dict[str, Any]) -> None:
        reason = _finish_in(chunk, choice)
        if not reason:
            return
        self.finish = FINISH_REASONS.get(reason.lower().removeprefix("finishreason."))
        self.broke_off = "" if self.finish else reason
        if self.broke_off:
            name_once("a finish reason", reason)

    def _failure(self, error: Any) -> Exception:
        if not self.has_piece:
            return Refused(refusals.status_in(error, 500), Message(), json.dumps(error).encode())
        told = refusals.read(error)
        logger.warning("The OpenAI-compatible server sent an error instead of a chunk: %s", told.for_log)
        return ProviderInterrupted()


def _unwrapped(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return the chunk that some proxies put into an object of their own."""
    if "choices" in chunk:
        return chunk  # Nearly every chunk.
    inner = (chunk.get(key) for key in WRAPPERS)
    return next((each for each in inner if isinstance(each, dict) and "choices" in each), chunk)


def error_in(chunk: dict[str, Any]) -> Any:
    """Return the error sent instead of a chunk, in any format; None if there is none."""
    base = chunk.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return {"message": base.get("status_msg"), "code": base["status_code"]}  # MiniMax's format.
    if chunk.get("choices") and "error" not in chunk and "errors" not in chunk:
        return _error_of_choice(chunk["choices"])  # Nearly every chunk.
    if chunk.get("error_code"):
        return chunk  # As FastChat writes, its words in "text".
    for key in ("error", "errors"):
        if chunk.get(key):
            return chunk[key] if isinstance(chunk[key], dict) else {"message": chunk[key], **_plain(chunk)}
    if chunk.get("object") == "error" or chunk.get("type") == "error" or chunk.get("status") in ("error", "failed"):
        return chunk
    is_answer = any(chunk.get(key) is not None for key in ("choices", "usage", *ANSWER_KEYS))
    if not is_answer and any(chunk.get(key) for key in ERROR_KEYS):
        return chunk
    if isinstance(chunk.get("message"), str) and "choices" not in chunk:
        return chunk  # A plain text message, not one with a role: {"code": 500, "message": "…"}.
    return None


def _error_of_choice(choices: Any) -> Any:
    """Return the error that stands in a choice, as OpenRouter writes; None without one."""
    first = choices[0] if isinstance(choices, list) else choices
    error = first.get("error") if isinstance(first, dict) else None
    return error if isinstance(error, dict) or not error else {"message": error}


def _plain(chunk: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in chunk.items() if key in refusals.CODE_KEYS}


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def words_of(choice: dict[str, Any]) -> tuple[str, str]:
    """Return the text and the thought of a choice, from its delta, a whole message, or its own text."""
    said = next(
        (choice[key] for key in ("delta", "message") if isinstance(choice.get(key), dict) and choice[key]), None
    )
    if said is None and isinstance(choice.get("delta"), dict):
        said = {}
    if said is not None and isinstance(said.get("message"), dict):
        said = said["message"]  # Cohere's own format.
    if said is None:
        plain = next((choice[key] for key in ("delta", "text", "response", "content") if choice.get(key)), "")
        text, thought = _words(plain)
        return text, thought or "".join(_words(next((choice[key] for key in THOUGHT_KEYS if choice.get(key)), "")))
    text, thought = _words(said.get("content"))
    for key in THOUGHT_KEYS:
        if said.get(key):
            thought += "".join(_words(said[key]))
            break
    else:
        thought += "".join(_words(said.get("reasoning_details")))
    for key in ("refusal", "text"):
        if not text and isinstance(said.get(key), str):
            text = said[key]
    for key in ("tool_calls", "function_call", "audio", "images"):
        if said.get(key):
            name_once("a part", key)
    return text, thought


def _words(content: Any, *, is_thought: bool = False, depth: int = 0) -> tuple[str, str]:
    """Return the text and the thought in `content`: a string, a part, or a list of parts, in any shape."""
    if isinstance(content, str):
        return ("", content) if is_thought else (content, "")
    if isinstance(content, list) and depth < 5:
        pairs = [_words(part, is_thought=is_thought, depth=depth + 1) for part in content[:MAX_PARTS]]
        return "".join(text for text, _thought in pairs), "".join(thought for _text, thought in pairs)
    if not isinstance(content, dict) or depth >= 5:
        if content is not None and not isinstance(content, bool):
            name_once("a content", content)
        return "", ""
    kind = content.get("type")
    kind = kind if isinstance(kind, str) else ""
    if kind in PASSED_OVER:
        return "", ""
    if kind not in TEXT_TYPES and kind not in THOUGHT_TYPES:
        name_once("a part", kind)
        return "", ""
    words = next((content[key] for key in WORD_KEYS if content.get(key)), "")
    return _words(
        words, is_thought=is_thought or kind in THOUGHT_TYPES or content.get("thought") is True, depth=depth + 1
    )


def _finish_in(chunk: dict[str, Any], choice: dict[str, Any]) -> str:
    """Return the finish reason, wherever it is; "" if there is none yet."""
    if choice.get("finish_reason", "") is None and not choice.get("native_finish_reason"):
        return ""  # Nearly every chunk.
    delta = choice.get("delta")
    places = [choice, delta if isinstance(delta, dict) else {}, chunk]
    for place in places:
        for key in ("finish_reason", "finishReason", "native_finish_reason", "stop_reason", "done_reason"):
            # Next to a finish_reason, stop_reason only says which stop word was hit.
            if (reason := place.get(key)) and (key != "stop_reason" or choice is chunk or place is chunk):
                return reason.strip() if isinstance(reason, str) else f"a {type(reason).__name__}"
    if chunk.get("done") is True:
        return "stop"
    if chunk.get("stop") is True:  # llama.cpp's own API.
        return "length" if chunk.get("stopped_limit") or chunk.get("stop_type") == "limit" else "stop"
    return ""


def _usage_in(chunk: dict[str, Any], choice: dict[str, Any]) -> Usage | None:
    if chunk.get("usage", "") is None and "x_groq" not in chunk and not choice.get("usage"):
        return None  # Nearly every chunk.
    places = [chunk.get("usage"), choice.get("usage")]
    groq = chunk.get("x_groq")
    if isinstance(groq, dict):
        places.append(groq.get("usage"))
    if "eval_count" in chunk or "tokens_predicted" in chunk:
        places.append(chunk)
    return next((found for place in places if (found := usage_of(place)) is not None), None)


def usage_of(reported: Any) -> Usage | None:
    """Return a chunk's figures, None if it has none. completion_tokens include the reasoning."""
    if not isinstance(reported, dict):
        return None
    prompt = _figure(reported, "prompt_tokens", "input_tokens", "prompt_eval_count", "tokens_evaluated")
    completion = _figure(reported, "completion_tokens", "output_tokens", "eval_count", "tokens_predicted")
    # Some leave thoughts out of the answer's own figure; the total has them.
    completion = max(completion, tokens(reported.get("total_tokens")) - prompt)
    of_prompt = _details(reported, "prompt_tokens_details", "input_tokens_details")
    of_completion = _details(reported, "completion_tokens_details", "output_tokens_details")
    cached = _figure(of_prompt, "cached_tokens") or _figure(reported, "prompt_cache_hit_tokens", "cached_tokens")
    reasoning = _figure(of_completion, "reasoning_tokens") or _figure(reported, "reasoning_tokens")
    usage = Usage(prompt, completion, cached_tokens=min(cached, prompt), thoughts_tokens=min(reasoning, completion))
    return usage if usage.total_tokens else None


def _figure(reported: dict[str, Any], *names: str) -> int:
    return next((figure for name in names if (figure := tokens(reported.get(name)))), 0)


def _details(reported: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((reported[name] for name in names if isinstance(reported.get(name), dict)), {})
