"""The state machine of test_state_machine.py with new random calls, for as long as asked."""

from __future__ import annotations

from drawing_calls import SETTINGS, draw
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from test_state_machine import AnyOrderOfCalls

ORDERS = 50


def run_machine() -> None:
    chosen = settings(
        max_examples=ORDERS,
        stateful_step_count=25,
        phases=(Phase.generate, Phase.shrink),
        **SETTINGS,
    )
    run_state_machine_as_test(AnyOrderOfCalls, settings=chosen)


if __name__ == "__main__":
    draw(
        "state_machine",
        "drawn orders of calls, compiled beside reference",
        __doc__,
        run_machine,
        lambda times: f"{times * ORDERS:,} orders, {AnyOrderOfCalls.calls:,} calls compared",
    )
