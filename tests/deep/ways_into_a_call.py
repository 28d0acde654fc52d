"""The checks of test_ways_into_a_call.py with new random calls, for as long as asked."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "promises"))

from hypothesis import HealthCheck, given, settings
from test_ways_into_a_call import CHECKS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a minute")
    parser.add_argument("--seconds", type=float, help="600 by default, 30 with --quick")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (30 if arguments.quick else 600)
    start, drawn, passed = time.monotonic(), 0, True
    chosen = settings(
        max_examples=200,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    while passed and time.monotonic() - start < seconds:
        for check, draws in CHECKS.items():
            try:
                chosen(given(**draws)(check))()
            except Exception:
                traceback.print_exc(file=sys.stdout)
                passed = False
            drawn += chosen.max_examples
    print(
        json.dumps(
            {
                "part": "ways_into_a_call",
                "did": "drawn calls, each made in two ways",
                "figure": f"{drawn:,} calls in {time.monotonic() - start:.0f} s",
                "passed": passed,
            }
        )
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
