"""Run every benchmark: `make bench`. Each prints its figures and what they are compared with."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = ["bench.tokens", "bench.weight"]

for name in BENCHMARKS:
    subprocess.run([sys.executable, "-m", name], check=True)
