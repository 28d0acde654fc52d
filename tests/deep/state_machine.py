"""The state machine of test_state_machine.py with new random calls, for as long as asked."""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "promises"))

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from test_state_machine import AnyOrderOfCalls


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a minute")
    parser.add_argument("--seconds", type=float, help="600 by default, 30 with --quick")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (30 if arguments.quick else 600)
    start, runs, passed = time.monotonic(), 0, True
    chosen = settings(
        max_examples=50,
        stateful_step_count=25,
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    while passed and time.monotonic() - start < seconds:
        try:
            run_state_machine_as_test(AnyOrderOfCalls, settings=chosen)
        except Exception:
            traceback.print_exc(file=sys.stdout)
            passed = False
        runs += chosen.max_examples
    print(
        json.dumps(
            {
                "part": "state_machine",
                "did": "drawn orders of calls, compiled beside reference",
                "figure": f"{runs:,} orders, {AnyOrderOfCalls.calls:,} calls compared in "
                f"{time.monotonic() - start:.0f} s",
                "passed": passed,
            }
        )
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
