"""gunicorn.conf.py with points at which a worker fails, for a message that says where: "die at committed"."""

import os
import runpy
import signal
from pathlib import Path

PRODUCT = Path(__file__).resolve().parents[2]
globals().update(runpy.run_path(str(PRODUCT / "gunicorn.conf.py")))

timeout = 2
pythonpath = str(PRODUCT)
_begin_worker = globals()["post_worker_init"]


def post_worker_init(worker):
    _arm()
    _begin_worker(worker)


def _arm():
    from chatapp.exchanges import settling
    from chatapp.turns import lifecycle
    from chatapp.turns.live.process import LiveTurns

    _guard(lifecycle, "_admit", "admission", lambda send: send.text)
    _guard(LiveTurns, "begin", "saved", lambda self, started, terms, request: request.messages[-1].content)
    _guard(settling, "_bill", "settling", lambda terms, *_: terms.texts.get("question", ""))
    _guard(LiveTurns, "_settle", "committed", lambda self, run: run.request.messages[-1].content, is_after=True)
    _guard(lifecycle, "checked_message", "spin", lambda text: text, fails=_spin)


def _guard(owner, name, step, text_of, is_after=False, fails=None):
    real = getattr(owner, name)

    def guarded(*arguments):
        is_due = f"die at {step}" in str(text_of(*arguments))
        if is_due and not is_after:
            (fails or _die)()
        value = real(*arguments)
        if is_due:
            _die()
        return value

    setattr(owner, name, guarded)


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _spin():
    while True:
        pass
