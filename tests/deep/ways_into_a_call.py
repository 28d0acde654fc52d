"""The checks of test_ways_into_a_call.py with new random calls, for as long as asked."""

from __future__ import annotations

from drawing_calls import SETTINGS, draw
from hypothesis import given, settings
from test_ways_into_a_call import CHECKS

EXAMPLES = 200


def check_all() -> None:
    for check, draws in CHECKS.items():
        settings(max_examples=EXAMPLES, **SETTINGS)(given(**draws)(check))()


if __name__ == "__main__":
    draw(
        "ways_into_a_call",
        "drawn calls, each made in two ways",
        __doc__,
        check_all,
        lambda times: f"{times * len(CHECKS) * EXAMPLES:,} calls",
    )
