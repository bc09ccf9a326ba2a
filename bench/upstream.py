"""A model server that costs little: streamGenerateContent at an even pace, each chunk with the instant it was sent.

    python bench/upstream.py PORT CHUNKS PACE_MS

One thread, one epoll, no framework, so that what is measured is the server in front of it. Each chunk's text is
STAMP, 20 characters: a reader can tell from any part of the answer when it was sent. countTokens answers at once.
"""

from __future__ import annotations

import heapq
import json
import selectors
import socket
import sys
import time

STAMP = "@%017.6f, "  # Seconds since the epoch, to be found by STAMP_PATTERN.
STAMP_PATTERN = rb"@(\d{10}\.\d{6}), "
STAMP_CHARS = 20
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Stream:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.sent = 0


class Upstream:
    def __init__(self, port: int, chunks: int, pace_seconds: float) -> None:
        self.chunks, self.pace = chunks, pace_seconds
        self.listener = socket.create_server(("127.0.0.1", port), backlog=2048)
        self.listener.setblocking(False)
        self.selector = selectors.EpollSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.buffers: dict[socket.socket, bytes] = {}
        self.due: list[tuple[float, int, Stream]] = []

    def serve(self) -> None:
        while True:
            wait = max(0.0, self.due[0][0] - time.time()) if self.due else None
            for key, _events in self.selector.select(wait):
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.read(key.fileobj)  # type: ignore[arg-type]
            self.send_what_is_due()

    def accept(self) -> None:
        while True:
            try:
                connection, _address = self.listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.buffers[connection] = b""
            self.selector.register(connection, selectors.EVENT_READ)

    def read(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.selector.unregister(connection)
            del self.buffers[connection]
            connection.close()
            return
        self.buffers[connection] += data
        head, end, body = self.buffers[connection].partition(b"\r\n\r\n")
        if not end:
            return
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        self.buffers[connection] = body[length:]
        if b":countTokens" in head.partition(b"\r\n")[0]:
            reply = b'{"totalTokens": 7}'
            connection.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(reply), reply)
            )
        else:
            connection.send(HEAD)
            self.plan(Stream(connection), time.time())

    def plan(self, stream: Stream, at: float) -> None:
        heapq.heappush(self.due, (at, id(stream), stream))

    def send_what_is_due(self) -> None:
        now = time.time()
        while self.due and self.due[0][0] <= now:
            at, _id, stream = heapq.heappop(self.due)
            stream.sent += 1
            is_last = stream.sent == self.chunks
            try:
                stream.connection.send(frame(STAMP % time.time(), stream.sent, is_last))
            except OSError:
                continue  # Whoever listened has gone; the next read says so.
            if not is_last:
                self.plan(stream, at + self.pace)


def frame(text: str, number: int, is_last: bool) -> bytes:
    """Return a chunk as Gemini sends it: the delta, the running usage, who says it."""
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if is_last:
        candidate["finishReason"] = "STOP"
    event = {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": 12,
            "candidatesTokenCount": number * 5,
            "totalTokenCount": 12 + number * 5,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
        },
        "modelVersion": "gemini-3.5-flash-lite",
        "responseId": "bench-response-0000000",
    }
    data = b"data: " + json.dumps(event).encode() + b"\r\n\r\n"
    return b"%x\r\n%s\r\n%s" % (len(data), data, b"0\r\n\r\n" if is_last else b"")


if __name__ == "__main__":
    Upstream(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000).serve()
