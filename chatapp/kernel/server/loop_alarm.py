"""For debugging: with LOOP_ALARM_MS, logs the stack of anything that blocks the gevent loop for longer than that.

While one greenlet computes, no other runs. A native thread watches: it reports when there was no switch for that much
CPU time of the loop's thread. CPU time, because on a busy machine everything takes longer.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType

import gevent
import gevent.monkey
import greenlet

MESSAGE = "The event loop was blocked for %d ms of CPU time by\n%s"
LOOKS_PER_LIMIT = 5
# Loading code and compiling templates happens once, on first use, and is not counted.
FIRST_USES = (
    "<frozen importlib",
    "/jinja2/lexer.py",
    "/jinja2/parser.py",
    "/jinja2/compiler.py",
    "/babel/localedata.py",
)

logger = logging.getLogger(__name__)


class LoopAlarm:
    """Watches the loop of the thread that creates it. report is called in that thread with CPU time (ms) and stack."""

    def __init__(self, limit_ms: int, report: Callable[[int, str], None] | None = None) -> None:
        self._limit = limit_ms / 1000
        self._report = report or (lambda ms, stack: logger.warning(MESSAGE, ms, stack))
        self._thread = gevent.monkey.get_original("_thread", "get_ident")()
        self._clock = time.pthread_getcpuclockid(self._thread)
        self._turns = 0
        self._found: list[tuple[int, str]] = []
        # The watching thread must not log, because the locks are gevent's. It wakes the loop, which logs.
        self._waker = gevent.get_hub().loop.async_()
        self._is_over = False

    def start(self) -> None:
        greenlet.settrace(self._count)
        self._waker.start(self._tell)
        gevent.monkey.get_original("_thread", "start_new_thread")(self._look, ())

    def stop(self) -> None:
        greenlet.settrace(None)
        self._waker.stop()
        self._is_over = True

    def _count(self, _event: str, _greenlets: object) -> None:
        self._turns += 1

    def _look(self) -> None:
        sleep = gevent.monkey.get_original("time", "sleep")
        turns, since, has_told = self._turns, self._cpu(), False
        while not self._is_over:
            sleep(self._limit / LOOKS_PER_LIMIT)
            cpu = self._cpu()
            if self._turns != turns or self._is_first_use():
                turns, since, has_told = self._turns, cpu, False
            elif cpu - since >= self._limit and not has_told:
                has_told = True
                self._found.append((int((cpu - since) * 1000), self._stack()))
                self._waker.send()

    def _cpu(self) -> float:
        return time.clock_gettime(self._clock)

    def _is_first_use(self) -> bool:
        frame = self._frame()
        while frame is not None:
            if any(place in frame.f_code.co_filename for place in FIRST_USES):
                return True
            frame = frame.f_back
        return False

    def _stack(self) -> str:
        frame = self._frame()
        return "".join(traceback.format_stack(frame)) if frame else ""

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self._thread)

    def _tell(self) -> None:
        while self._found:
            self._report(*self._found.pop(0))
