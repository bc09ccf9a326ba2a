"""Run each test that failed once more, alone. One that passes then is flaky: it is named, and does not fail the check.

More than three of them do, and so does a test that fails again: `python .ci/again.py FILE`, with an id a line.
"""

import subprocess
import sys
from pathlib import Path

MOST_FLAKY = 3
MOST_FAILED = 10


def main(file: str) -> int:
    path = Path(file)
    failed = sorted(set(path.read_text().splitlines())) if path.exists() else []
    if not failed or len(failed) > MOST_FAILED:
        # Something else went wrong, or too much.
        return 1
    flaky = [test for test in failed if passes(test)]
    for test in failed:
        print("FLAKY" if test in flaky else "FAILED", test)
    return int(len(flaky) < len(failed) or len(flaky) > MOST_FLAKY)


def passes(test: str) -> bool:
    return subprocess.run([sys.executable, "-m", "pytest", "-n0", test], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
