"""Numbers, flags, places: of optimisers, early stopping, schedules, chain rules and nudges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rejections import Row, as_parameters, check_rejected, examples, label, not_finite, not_integer

from cbackprop import Adagrad, AdamW, LevenbergMarquardt, RMSprop, Rprop


def rule_rows():
    """G, the numbers of the optimisers, of early stopping and of the schedules."""
    integer, number = r"\(\w+\); expected an integer", r"\(\w+\); expected a real number"
    unit, above_0 = r"expected a number in \[0, 1\)", r"expected a number > 0"
    least_0, least_1 = r"expected a number >= 0", r"expected a number >= 1.0"
    flag = r"expected True or False"
    fractions_of = {
        "AdamW": ("beta1", "beta2"), "RMSprop": ("alpha", "momentum"), "OneCycle": ("warm_up",),
        "ReduceOnPlateau": ("min_delta",),
    }  # fmt: skip
    positives_of = {
        "AdamW": ("epsilon",), "RMSprop": ("epsilon",), "Adagrad": ("epsilon",),
        "Rprop": ("learning_rate", "shrink", "least"), "StepDecay": ("factor",),
        "ExponentialDecay": ("factor",), "ReduceOnPlateau": ("factor",),
        "LBFGS": ("learning_rate",), "LevenbergMarquardt": ("mu", "decrease"),
    }  # fmt: skip
    not_negative_of = {
        "AdamW": ("learning_rate", "weight_decay"), "RMSprop": ("learning_rate",),
        "Adagrad": ("learning_rate", "learning_rate_decay"), "EarlyStopping": ("min_delta",),
        "CosineDecay": ("least",), "ReduceOnPlateau": ("least",),
        "LBFGS": ("gradient_tolerance",), "LevenbergMarquardt": ("gradient_tolerance",),
    }  # fmt: skip
    at_least_1_of = {"Rprop": ("grow",), "OneCycle": ("start_divisor", "end_divisor")}
    rows: list[tuple[str, str, Any, type[Exception], str]] = []
    for table, wrong, pattern in (
        (fractions_of, (1.0, -0.25), unit),
        (positives_of, (0.0, -1.0), above_0),
        (not_negative_of, (-0.5,), least_0),
        (at_least_1_of, (0.5, -2.0), least_1),
    ):
        for kind, arguments in table.items():
            for argument in arguments:
                for value in wrong:
                    rows.append((kind, argument, value, ValueError, rf" is {value}; {pattern}"))
                for rest in (*not_finite(number), (None, TypeError, rf" is None {number}")):
                    rows.append((kind, argument, *rest))
    for kind, argument in (
        ("Rprop", "shrink"), ("ReduceOnPlateau", "factor"), ("LevenbergMarquardt", "decrease"),
    ):  # fmt: skip
        rows.append((kind, argument, 1.0, ValueError, rf" is 1.0; {unit}"))
    for argument, value, pattern in (
        ("increase", 1.0, r" is 1.0; expected a number > 1"),
        ("most_mu", 1e-9, r" is 1e-09; expected a number >= 0.001"),
    ):
        rows.append(("LevenbergMarquardt", argument, value, ValueError, pattern))
        rows += [("LevenbergMarquardt", argument, *rest) for rest in not_finite(number)]
    rows.append(("Rprop", "most", 1e-9, ValueError, r" is 1e-09; expected a number >= 1e-06"))
    for kind, argument, lowest in (
        ("EarlyStopping", "patience", 1), ("StepDecay", "every", 1), ("CosineDecay", "epochs", 1),
        ("OneCycle", "epochs", 2), ("ReduceOnPlateau", "patience", 0), ("LBFGS", "memory", 1),
        ("LBFGS", "line_search", 1),
    ):  # fmt: skip
        below = lowest - 1
        rows += [
            (kind, argument, below, ValueError, rf" is {below}; expected at least {lowest}"),
            (kind, argument, None, TypeError, rf" is None {integer}"),
            *((kind, argument, *rest) for rest in not_integer(integer)),
        ]
    wrong: list[Any] = [(0, ValueError, " is 0; expected at least 1"), *not_integer(integer)]
    rows += [("LBFGS", "max_evaluations", *rest) for rest in wrong]
    for kind, argument in (
        ("RMSprop", "centred"), ("Rprop", "takes_back"), ("EarlyStopping", "restore_best"),
    ):  # fmt: skip
        for value in (1, "yes", None):
            rows.append((kind, argument, value, TypeError, rf" is .* \(\w+\); {flag}"))
    for value in (1, "yes"):
        rows.append(
            ("EarlyStopping", "larger_is_better", value, TypeError, rf" is .* \(\w+\); {flag}")
        )
    for value in (None, 3, abs, b"cost", ["cost"]):
        rows.append(
            ("EarlyStopping", "monitor", value, TypeError, r" is .* \(\w+\); expected a string")
        )
    for kind, argument, value, error, pattern in rows:
        yield Row(
            f"{kind} {argument}={label(value)}", kind, error, f"{argument}{pattern}",
            lambda net, a=argument, v=value: {a: v}, group=f"{kind} {argument}",
        )  # fmt: skip
    for name in ("rprop", "lbfgs"):
        for call in ("fit", "partial_fit"):
            yield Row(
                f"{call} {name} learning_rate=0", call, ValueError,
                rf"learning_rate is 0.0; {above_0}",
                lambda net, name=name: {"optimizer": name, "learning_rate": 0.0},
            )  # fmt: skip
    for optimizer in ("levenberg_marquardt", LevenbergMarquardt()):
        yield Row(
            f"fit {label(optimizer)} learning_rate", "fit", ValueError,
            r"learning_rate is given with LevenbergMarquardt; expected None",
            lambda net, o=optimizer: {"optimizer": o, "learning_rate": 0.1},
        )  # fmt: skip
    for optimizer, pattern in (
        (RMSprop(epsilon=1e-50), r"epsilon is 1e-50, which is 0 in float32; expected a larger"),
        (Adagrad(epsilon=1e-50), r"epsilon is 1e-50, which is 0 in float32; expected a larger"),
        (AdamW(epsilon=3e-45), r"epsilon is 3e-45 with beta2 0.999: .* is 0 in float32; expected"),
        (Rprop(least=1e-50), r"least is 1e-50, which is 0 in float32; expected a larger"),
    ):
        for call in ("fit", "partial_fit"):
            yield Row(
                f"{call} float32 {optimizer!r}", call, ValueError, pattern,
                lambda net, o=optimizer: {"optimizer": o}, {"dtype": "float32"},
            )  # fmt: skip


def other_rows():
    """H and the rest: flags, metrics, the chain rule's places, networks half made."""
    for call in ("cost", "gradient"):
        for value in ("yes", 1, None, np.array([True])):
            yield Row(
                f"{call} per_example={value!r}", call, TypeError,
                r"per_example is .* \(\w+\); expected True or False",
                lambda net, v=value: {"per_example": v},
            )  # fmt: skip
    for value, error, pattern in (
        ("acuracy", ValueError, r"metric\w*(\[0\])? is 'acuracy'; .* did you mean 'accuracy'"),
        (None, TypeError, r"metric\w* is None .*; expected"),
        (3, TypeError, r"metric\w* is 3 .*; expected"),
    ):
        if value is not None:  # which is the metric that the targets imply
            yield Row(f"score {value}", "score", error, pattern, lambda net, v=value: {"metric": v})

    def place(method, *arguments):
        def function(net):
            X, Y = examples()
            return getattr(net.chain_rule(X[0], Y[0]), method)(*arguments)

        return function

    counted = "counted from 0"
    for method, arguments, error, pattern in (
        ("weight", (0, 0, 0), ValueError, r"layer is 0; expected (at least 1|1 to 2)"),
        ("weight", (3, 0, 0), ValueError, r"layer is 3; expected 1 to 2"),
        ("weight", (1.0, 0, 0), TypeError, r"layer is 1.0 \(float\); expected an integer"),
        ("weight", (True, 0, 0), TypeError, r"layer is True; expected an integer"),
        ("weight", (1, 5, 0), ValueError, rf"j is 5; expected 0 to 4 .*, {counted}"),
        ("weight", (1, -1, 0), ValueError, r"j is -1; expected at least 0"),
        ("weight", (1, 0, 4), ValueError, rf"k is 4; expected 0 to 3 .*, {counted}"),
        ("weight", (1, 0, "a"), TypeError, r"k is 'a' \(str\); expected an integer"),
        ("bias", (2, 3), ValueError, rf"j is 3; expected 0 to 2 .*, {counted}"),
        ("bias", (-1, 0), ValueError, r"layer is -1; expected at least"),
        ("activation", (-1, 0), ValueError, r"layer is -1; expected at least 0"),
        ("activation", (3, 0), ValueError, r"layer is 3; expected 0 to 2"),
        ("activation", (0, 4), ValueError, rf"k is 4; expected 0 to 3 .*, {counted}"),
        ("activation", (0, 2**70), ValueError, r"k is 1180591620717411303424; expected"),
    ):
        yield Row(
            f"chain_rule {method}{arguments}", place(method, *arguments), error, pattern,
            lambda net: {},
        )  # fmt: skip
    for place_of in ("layer", "j", "k"):
        for value, error, pattern in not_integer(r"\(\w+\); expected an integer"):
            where = {"layer": 1, "j": 0, "k": 0, place_of: value}
            yield Row(
                f"chain_rule {place_of} {label(value)}",
                lambda net, w=where: net.chain_rule(*(v[0] for v in examples())).weight(**w),
                error, f"{place_of}{pattern}", lambda net: {}, group=f"chain_rule {place_of}",
            )  # fmt: skip
    for size, error, pattern in (
        (0, ValueError, r"size is 0.0; expected a number other than 0"),
        *((v, e, f"size{p}") for v, e, p in not_finite(r"\(\w+\); expected a real number")),
    ):
        for method, arguments in (("weight", (1, 0, 0)), ("bias", (2, 0)), ("activation", (0, 0))):
            yield Row(
                f"nudge {method} {label(size)}",
                lambda net, m=method, a=arguments, s=size: place(m, *a)(net).nudge(s),
                error, pattern, lambda net: {},
            )  # fmt: skip


@pytest.mark.parametrize("rows", as_parameters([*rule_rows(), *other_rows()]))
def test_rejected(rows, capfd):
    for row in rows:
        check_rejected(row, capfd)
