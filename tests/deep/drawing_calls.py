"""What the parts share that draw random calls: where the tests lie, for how long, the last line."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from builds import ROOT, tell
from hypothesis import HealthCheck

# The tests that are drawn from, and what they share.
sys.path[:0] = [str(ROOT / "tests" / "promises"), str(ROOT / "tests")]

# Of each call of Hypothesis, besides how much it draws: new calls every time, and none kept.
SETTINGS: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "derandomize": False,
    "suppress_health_check": list(HealthCheck),
}


def draw(
    part: str, did: str, description: str, work: Callable[[], None], figure: Callable[[int], str]
) -> NoReturn:
    """Do the work for as long as asked, or until it fails; ``figure`` says of how many times."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="half a minute")
    parser.add_argument("--seconds", type=float, help="600 by default, 30 with --quick")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (30 if arguments.quick else 600)
    start, times, passed = time.monotonic(), 0, True
    while passed and time.monotonic() - start < seconds:
        try:
            work()
        except Exception:
            traceback.print_exc(file=sys.stdout)
            passed = False
        times += 1
    tell(part, did, f"{figure(times)} in {time.monotonic() - start:.0f} s", passed)
