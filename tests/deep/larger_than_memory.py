"""Calls on files of 3 GB: the bits of those in memory, and at most 400 MB of memory besides.

    PYTHONPATH=src python tests/deep/larger_than_memory.py [--quick]

float32 numbers for a 256-64-10 network of either number type, by benchmarks/larger_than_memory.py,
which tells the times, too: they are for reading.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import larger_than_memory  # noqa: E402 - the folder is named first

MOST = 400e6  # bytes


def report(passed: bool | None, did: str, figure: str) -> int:
    print(
        json.dumps({"part": "larger than memory", "did": did, "figure": figure, "passed": passed})
    )
    return 1 if passed is False else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the data")
    gigabytes = 0.3 if parser.parse_args().quick else 3.0
    if not sys.platform.startswith("linux"):
        return report(None, "skipped: RssAnon is read from Linux's /proc", "")
    n = round(gigabytes * 1e9 / 1024)
    found = [
        (dtype, one)
        for dtype in ("float32", "float64")
        for one in larger_than_memory.measured(n, dtype)
    ]
    for dtype, one in found:
        print(
            f"{dtype} {one.name:<16}{one.seconds_in_memory:>8.2f} s{one.seconds:>8.2f} s"
            f"{one.added_bytes / 1e6:>7.0f} MB {one.is_equal}"
        )
    worst = max(one.added_bytes for _, one in found)
    passed = worst < MOST and all(one.is_equal for _, one in found)
    slowest = min(one.seconds_in_memory / one.seconds for _, one in found)
    figure = f"at most {worst / 1e6:.0f} MB, at least {slowest:.2f} of the rate in memory"
    return report(passed, f"fit, gradient, predict and norms on files of {gigabytes} GB", figure)


if __name__ == "__main__":
    raise SystemExit(main())
