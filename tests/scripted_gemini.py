"""A Gemini REST server that says, and breaks, what a test tells it to. Real sockets, so that real clients can be tried.

In a test:      server.script(says("one", " two"), refuses(429, retry_delay="3s"))
On its own:     python -m tests.scripted_gemini --port 8099 --script '[{"steps": ["one", " two"]}]'

It speaks streamGenerateContent, generateContent, countTokens and the list of models, over HTTP/1.1 with keep-alive. A
request takes the first scripted answer meant for its kind; without one, it is answered with a pleasant echo. Beside a
server under test it is steered over HTTP, with Answer's fields as JSON:

    POST /__script      one answer or a list            POST /__release     let every step "hold" go on
    GET  /__requests    what came, and how it ended     POST /__reset       forget script and requests
"""

from __future__ import annotations

import argparse
import json
import re
import socket as sockets
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import gevent
from gevent.event import Event
from gevent.server import StreamServer

KINDS = {"streamGenerateContent": "stream", "generateContent": "generate", "countTokens": "count"}
DEFAULT_KEY_MESSAGE = "API key not valid. Please pass a valid API key."


@dataclass
class Answer:
    """One scripted reply.

    steps, in order: a string is a piece of text; {"thought": str} a piece of thought; {"chunk": {...}} any JSON as one
    event; {"raw": str} or {"raw_hex": str} bytes as they are; {"wait": seconds}; {"hold": true} until released, or until its own Event is set;
    {"error": {...}} an error object in mid-stream; {"reset": true} and {"close": true} end the connection there.
    usage: "running" totals with every piece, "last" only at the end, "zeros_first", "none", or the object itself.
    Offsets in bytes count the body before compression; 0 is right after the headers.
    """

    to: str = "stream"  # stream, generate, count, models or any
    times: int = 1  # 0 is for ever
    steps: list[Any] = field(default_factory=list)
    finish: str | None = "STOP"
    usage: Any = "running"
    tokens: int | None = None  # the number for countTokens
    status: int = 200
    body: str | None = None  # instead of steps, as it is
    headers: dict[str, str] = field(default_factory=dict)
    refuse: str = ""  # "close" or "reset": as soon as the request is read, without a byte of reply
    wait_seconds: float = 0.0  # before the headers
    pace_seconds: float | None = None  # between pieces; None: the server's
    write_bytes: int = 0  # cut the body into writes of so many bytes
    drip_seconds: float = 0.0  # and wait between them
    gzip: bool = False
    reset_after_bytes: int | None = None
    close_after_bytes: int | None = None


def says(*steps: Any, **fields: Any) -> Answer:
    return Answer(steps=list(steps), **fields)


def blocks(reason: str = "SAFETY", prompt_tokens: int = 7) -> Answer:
    usage = {"promptTokenCount": prompt_tokens, "totalTokenCount": prompt_tokens}
    return says({"chunk": {"promptFeedback": {"blockReason": reason}, "usageMetadata": usage}}, finish=None)


def counts(tokens: int, **fields: Any) -> Answer:
    return Answer(to="count", tokens=tokens, **fields)


def refuses(
    status: int,
    *,
    reason: str = "",
    message: str = "Something went wrong.",
    retry_delay: str = "",
    retry_after: str = "",
    **fields: Any,
) -> Answer:
    """Return an error as Google words it: ErrorInfo with a reason, RetryInfo with a delay such as "3s"."""
    details: list[dict[str, Any]] = []
    if reason:
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason})
    if retry_delay:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay})
    error = {"code": status, "message": message, "status": "ERROR", "details": details}
    headers = {"Retry-After": retry_after} if retry_after else {}
    return Answer(status=status, body=json.dumps({"error": error}), headers=headers, **fields)


@dataclass
class Request:
    """What came in, and how it ended: "open", "done", "cut" (by the script) or "closed" (by the client)."""

    number: int
    method: str
    path: str
    kind: str
    model: str
    headers: dict[str, str]
    body: Any
    opened_at: float
    state: str = "open"
    closed_at: float | None = None
    sent_bytes: int = 0

    def end(self, state: str) -> None:
        if self.state == "open":
            self.state, self.closed_at = state, time.time()


class _Cut(Exception):
    """The script ends the connection here."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


def tokens_of(text: str) -> int:
    return -(-len(text) // 4)


class ScriptedGemini:
    """The server. count_rule turns a text into the number that countTokens gives for it."""

    def __init__(self, port: int = 0, *, api_key: str | None = None, pace_seconds: float = 0.0) -> None:
        self.api_key = api_key
        self.pace_seconds = pace_seconds
        self.count_rule: Callable[[str], int] = lambda text: tokens_of(text) + 1
        self.requests: list[Request] = []
        self.open_connections = 0
        self._script: list[Answer] = []
        self._released = Event()
        self._server = StreamServer(("127.0.0.1", port), self._serve)

    def start(self) -> ScriptedGemini:
        self._server.start()
        return self

    def stop(self) -> None:
        self._server.stop(timeout=0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def script(self, *answers: Answer) -> None:
        self._released.clear()
        self._script.extend(answers)

    def release(self) -> None:
        self._released.set()

    def reset(self) -> None:
        self.release()
        self._script.clear()
        self.requests.clear()

    def wait_until(self, is_true: Callable[[], object], seconds: float = 20.0) -> bool:
        """Return whether it came true in time, letting the server work meanwhile."""
        deadline = time.monotonic() + seconds
        while not is_true() and time.monotonic() < deadline:
            gevent.sleep(0.002)
        return bool(is_true())

    # --- one connection

    def _serve(self, socket: Any, address: Any) -> None:
        self.open_connections += 1
        socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        reader = socket.makefile("rb")
        try:
            while (request := self._read(reader)) is not None:
                if not self._reply(socket, request):
                    break
        except _Cut as cut:
            if cut.how == "reset":
                socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        finally:
            self.open_connections -= 1
            reader.close()
            socket.close()

    def _read(self, reader: Any) -> Request | None:
        method, _, rest = reader.readline().decode("latin-1").partition(" ")
        if not rest:
            return None
        headers = {}
        while (line := reader.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", 0)))
        path = rest.rsplit(" ", 1)[0]
        kind, model = self._kind(path)
        request = Request(
            number=len(self.requests) + 1,
            method=method,
            path=path,
            kind=kind,
            model=model,
            headers=headers,
            body=json.loads(body) if body else None,
            opened_at=time.time(),
        )
        if kind != "control":
            self.requests.append(request)
        return request

    def _kind(self, path: str) -> tuple[str, str]:
        """Return what a request is for, and its model."""
        named = re.match(r"/v1\w*/models(?:/([^:?]*)(?::(\w+))?)?", path)
        if not named:
            return "control" if path.startswith("/__") else "unknown", ""
        return (KINDS.get(named[2] or "", "unknown") if named[1] else "models"), named[1] or ""

    def _reply(self, socket: Any, request: Request) -> bool:
        """Answer one request; return whether the connection goes on."""
        if request.kind == "control":
            return self._control(socket, request)
        writer = gevent.getcurrent()
        watcher = gevent.spawn(self._watch, socket, request, writer)
        try:
            self._send_answer(socket, request, self._answer_for(request))
        except _Cut:
            request.end("cut")
            raise
        except (OSError, gevent.GreenletExit):
            request.end("closed")
            return False
        finally:
            watcher.kill()
        request.end("done")
        return True

    @staticmethod
    def _watch(socket: Any, request: Request, writer: Any) -> None:
        """End the reply as soon as the client hangs up, also in the middle of a stall."""
        try:
            gone = socket.recv(1, sockets.MSG_PEEK) == b""
        except OSError:
            gone = True
        if gone:
            request.end("closed")
            gevent.kill(writer)

    def _take(self, kind: str) -> Answer | None:
        for index, answer in enumerate(self._script):
            if answer.to in (kind, "any"):
                if answer.times == 1:
                    del self._script[index]
                elif answer.times > 1:
                    answer.times -= 1
                return answer
        return None

    def _answer_for(self, request: Request) -> Answer:
        key = request.headers.get("x-goog-api-key", "")
        if not key or (self.api_key is not None and key != self.api_key):
            return refuses(400, reason="API_KEY_INVALID", message=f"{DEFAULT_KEY_MESSAGE} {key}")
        answer = self._take(request.kind)
        if answer is not None:
            return answer
        if request.kind == "models":
            names = ("gemini-3.5-flash-lite", "gemini-3.8-flash")
            return Answer(body=json.dumps({"models": [{"name": f"models/{name}"} for name in names]}))
        return refuses(404, message="Not found.") if request.kind == "unknown" else self._echo(request)

    @staticmethod
    def _echo(request: Request) -> Answer:
        text = _last_text(request.body)
        words = re.findall(r"\s*\S+", f"You said: **{text}**\n\nThat is all there is to it. 🙂")
        limit = ((request.body or {}).get("generationConfig") or {}).get("maxOutputTokens") or 65_536
        steps: list[str] = []
        while words and tokens_of("".join(steps) + words[0]) <= limit:
            steps.append(words.pop(0))
        return says(*steps, finish="MAX_TOKENS" if words else "STOP")

    # --- one reply

    def _send_answer(self, socket: Any, request: Request, answer: Answer) -> None:
        if answer.refuse:
            raise _Cut(answer.refuse)
        self._sleep(answer.wait_seconds)
        headers = {"Content-Type": "application/json; charset=UTF-8", **answer.headers}
        if answer.body is not None:
            body = iter([answer.body.encode()])
        elif request.kind == "count":
            text = _last_text(request.body)
            count = self.count_rule(text) if answer.tokens is None else answer.tokens
            body = iter([json.dumps({"totalTokens": count}).encode()])
        elif request.kind == "generate":
            text = "".join(step for step in answer.steps if isinstance(step, str))
            body = iter([json.dumps(_chunk(text, finish=answer.finish)).encode()])
        else:
            headers["Content-Type"] = answer.headers.get("Content-Type", "text/event-stream")
            body = self._events(request, answer)
        _Wire(socket, request, answer, headers).send(body)

    def _events(self, request: Request, answer: Answer) -> Iterator[bytes]:
        usage = _RunningUsage(answer.usage, prompt=_prompt_tokens(request.body))
        pace_seconds = self.pace_seconds if answer.pace_seconds is None else answer.pace_seconds
        for index, step in enumerate(answer.steps):
            if index:
                self._sleep(pace_seconds)
            if isinstance(step, str):
                yield _event(_chunk(step, usage=usage.after(text=step)))
            elif "thought" in step:
                yield _event(_chunk(step["thought"], thought=True, usage=usage.after(thought=step["thought"])))
            elif "wait" in step:
                self._sleep(step["wait"])
            elif "hold" in step:
                (step["hold"] if isinstance(step["hold"], Event) else self._released).wait()
            elif "reset" in step or "close" in step:
                raise _Cut("reset" if "reset" in step else "close")
            elif "raw" in step or "raw_hex" in step:
                yield step["raw"].encode() if "raw" in step else bytes.fromhex(step["raw_hex"])
            else:
                yield _event(step.get("chunk", step))
        if answer.finish is not None:
            yield _event(_chunk("", finish=answer.finish, usage=usage.at_end()))

    @staticmethod
    def _sleep(seconds: float) -> None:
        if seconds:
            gevent.sleep(seconds)

    def _control(self, socket: Any, request: Request) -> bool:
        reply: Any = {}
        if request.path == "/__script":
            given = request.body if isinstance(request.body, list) else [request.body]
            self.script(*[Answer(**fields) for fields in given])
        elif request.path == "/__requests":
            reply = [asdict(each) for each in self.requests]
        elif request.path == "/__release":
            self.release()
        elif request.path == "/__reset":
            self.reset()
        _Wire(socket, request, Answer(), {"Content-Type": "application/json"}).send(iter([json.dumps(reply).encode()]))
        return True


class _Wire:
    """Write one reply, cut, slowed, compressed and broken off as the answer says."""

    def __init__(self, socket: Any, request: Request, answer: Answer, headers: dict[str, str]) -> None:
        self._socket = socket
        self._request = request
        self._answer = answer
        self._compressor = zlib.compressobj(wbits=31) if answer.gzip else None
        headers = {**headers, "Transfer-Encoding": "chunked"}
        if self._compressor:
            headers["Content-Encoding"] = "gzip"
        lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        self._head = "\r\n".join([*lines, "", ""]).encode("latin-1")

    def send(self, body: Iterator[bytes]) -> None:
        self._socket.sendall(self._head)
        self._check_cuts()
        for data in body:
            for part in self._parts(data):
                self._write(part)
        if self._compressor:
            self._frame(self._compressor.flush())
        self._socket.sendall(b"0\r\n\r\n")

    def _parts(self, data: bytes) -> Iterator[bytes]:
        size = self._answer.write_bytes or len(data)
        for start in range(0, len(data), size or 1):
            yield data[start : start + size]
            if self._answer.write_bytes:
                gevent.sleep(self._answer.drip_seconds)

    def _write(self, data: bytes) -> None:
        left = self._bytes_to_cut()
        if left is not None:
            data = data[:left]
        self._request.sent_bytes += len(data)
        if self._compressor:
            self._frame(self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH))
        else:
            self._frame(data)
        self._check_cuts()

    def _frame(self, data: bytes) -> None:
        if data:
            self._socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def _bytes_to_cut(self) -> int | None:
        limits = [self._answer.reset_after_bytes, self._answer.close_after_bytes]
        return min((limit - self._request.sent_bytes for limit in limits if limit is not None), default=None)

    def _check_cuts(self) -> None:
        if self._bytes_to_cut() == 0:
            # A reset throws away what the other side has not read yet: give it the moment to read.
            gevent.sleep(0.01)
            raise _Cut("close" if self._answer.reset_after_bytes is None else "reset")


class _RunningUsage:
    """The usage that goes with each piece: totals so far, as Gemini reports them."""

    def __init__(self, mode: Any, prompt: int) -> None:
        self._mode = mode
        self._prompt = prompt
        self._text = self._thought = ""

    def after(self, text: str = "", thought: str = "") -> Any:
        self._text += text
        self._thought += thought
        if self._mode == "zeros_first":
            return {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
        return self._totals() if self._mode == "running" else None

    def at_end(self) -> Any:
        if not isinstance(self._mode, str):
            return self._mode
        return None if self._mode == "none" else self._totals()

    def _totals(self) -> dict[str, int]:
        answer, thoughts = tokens_of(self._text), tokens_of(self._thought)
        totals = {"promptTokenCount": self._prompt, "candidatesTokenCount": answer}
        if thoughts:
            totals["thoughtsTokenCount"] = thoughts
        return {**totals, "totalTokenCount": self._prompt + answer + thoughts}


def _chunk(text: str, *, thought: bool = False, finish: str | None = None, usage: Any = None) -> dict[str, Any]:
    part = {"text": text, "thought": True} if thought else {"text": text}
    candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    chunk: dict[str, Any] = {"candidates": [candidate], "modelVersion": "scripted", "responseId": "scripted-1"}
    return chunk if usage is None else {**chunk, "usageMetadata": usage}


def _event(value: Any) -> bytes:
    # Not escaped to ASCII, as the API: so characters can be cut, and U+2028 stands in the line as itself. Lone
    # surrogates have no bytes and are escaped.
    text = re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    return f"data: {text}\r\n\r\n".encode()


def _texts(body: Any) -> list[str]:
    contents = (body or {}).get("contents") or []
    return [part.get("text", "") for content in contents for part in content.get("parts", [])]


def _last_text(body: Any) -> str:
    return (_texts(body) or [""])[-1]


def _prompt_tokens(body: Any) -> int:
    return sum(tokens_of(text) + 1 for text in _texts(body))


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted Gemini REST server.")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--script", default="[]", help="a JSON list of answers")
    parser.add_argument("--pace-seconds", type=float, default=0.02)
    parser.add_argument("--api-key", default=None)
    options = parser.parse_args()
    server = ScriptedGemini(options.port, api_key=options.api_key, pace_seconds=options.pace_seconds).start()
    server.script(*[Answer(**fields) for fields in json.loads(options.script)])
    print(f"Listening on {server.url}", flush=True)
    gevent.wait()


if __name__ == "__main__":
    main()
