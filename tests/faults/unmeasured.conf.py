"""gunicorn.conf.py without the bound on an answer's characters, for tests of how very long ones are sent."""

import runpy
from pathlib import Path

PRODUCT = Path(__file__).resolve().parents[2]
globals().update(runpy.run_path(str(PRODUCT / "gunicorn.conf.py")))

pythonpath = str(PRODUCT)
_begin_worker = globals()["post_worker_init"]


def post_worker_init(worker):
    from chatapp.exchanges import meter

    meter.MOST_CHARS_PER_TOKEN = 1_000_000
    _begin_worker(worker)
