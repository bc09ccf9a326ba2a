"""gunicorn.conf.py with a sampling profiler in its worker: SIGUSR2 begins to sample, the next one writes and ends.

Each millisecond of CPU time, the kernel's included, is one sample. It counts for the first part below that is on the
stack, innermost frame first. The lines "share<TAB>part" go to the file that PROFILE names.
"""

import os
import runpy
import signal
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
globals().update(runpy.run_path(str(ROOT / "gunicorn.conf.py")))

PARTS = {
    "chatapp/providers/event_stream.py": "the model's stream: sockets, framing, events",
    "chatapp/pace.py": "the model's stream: sockets, framing, events",
    "chatapp/providers/": "the model's chunks: JSON to text and figures",
    "chatapp/turns/meter.py": "the turn: cleaning, metering, keeping the text",
    "chatapp/kernel/text.py": "the turn: cleaning, metering, keeping the text",
    "chatapp/turns/live/log.py": "the turn log: waking listeners",
    "chatapp/api/sse.py": "the listener: Flask, Werkzeug, gunicorn, sending",
    "chatapp/api/": "the listener: Flask, Werkzeug, gunicorn, sending",
    "flask/": "the listener: Flask, Werkzeug, gunicorn, sending",
    "werkzeug/": "the listener: Flask, Werkzeug, gunicorn, sending",
    "gunicorn/": "the listener: Flask, Werkzeug, gunicorn, sending",
    "sqlalchemy/": "the database: checkpoints, heartbeats, stops, logins",
    "chatapp/": "the turn: cleaning, metering, keeping the text",
    "gevent/": "the hub, and the kernel under it",
}
samples: Counter[str] = Counter()


def part_of(frame):
    while frame is not None:
        file = frame.f_code.co_filename
        for place, part in PARTS.items():
            if place in file:
                return part
        frame = frame.f_back
    return "other"


def sample(_signal, frame):
    # gevent's sockets belong to who uses them.
    while frame is not None and "gevent/" in frame.f_code.co_filename and frame.f_back is not None:
        frame = frame.f_back
    samples[part_of(frame)] += 1


def toggle(_signal, _frame):
    if signal.getitimer(signal.ITIMER_PROF)[0]:
        signal.setitimer(signal.ITIMER_PROF, 0)
        total = samples.total()
        lines = [f"{100 * count / total:.1f}\t{part}\n" for part, count in samples.most_common()]
        Path(os.environ["PROFILE"]).write_text("".join(lines))
        samples.clear()
    else:
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)


pythonpath = str(ROOT)
_serve = globals()["post_worker_init"]


def post_worker_init(worker):
    _serve(worker)
    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR2, toggle)
