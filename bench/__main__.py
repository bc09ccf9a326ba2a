"""Run every benchmark: `make bench`. Each prints its figures and what they are compared with."""

from __future__ import annotations

import runpy
import sys

BENCHMARKS = ["bench.tokens"]

for name in BENCHMARKS:
    sys.argv = [name]
    runpy.run_module(name, run_name="__main__")
