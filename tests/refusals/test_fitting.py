"""What fit and partial_fit can be asked for: what is rejected, what is accepted."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest
from rejections import (
    WEIGHTS,
    ArrayOf,
    Row,
    as_parameters,
    check_rejected,
    examples,
    label,
    network,
    not_finite,
    not_integer,
    put,
    strided,
    trained,
)
from support import every_backend, state

from cbackprop import SGD, Adam, EarlyStopping, schedules


def hyper_parameter_rows():
    """G. Arguments of fit and partial_fit, and the optimisers' own."""
    integer, number = r"\(\w+\); expected an integer", r"\(\w+\); expected a real number"
    table: list[tuple[str, Any, type[Exception], str]] = [
        ("epochs", -1, ValueError, r"epochs is -1; expected at least 0"),
        ("epochs", None, TypeError, rf"epochs is None {integer}"),
        ("batch_size", 0, ValueError, r"batch_size is 0; expected at least 1"),
        ("batch_size", -1, ValueError, r"batch_size is -1; expected at least 1"),
        ("batch_size", None, TypeError, rf"batch_size is None {integer}"),
        ("learning_rate", -0.1, ValueError, r"learning_rate is -0.1; expected a number >= 0"),
        ("learning_rate", np.inf, ValueError, r"learning_rate is inf; expected a finite number"),
        ("optimizer", "sdg", ValueError, r"optimizer is 'sdg'; expected one of 'sgd', 'adam'.*sgd"),
        ("optimizer", "lion", ValueError, r"optimizer is 'lion'; expected one of 'sgd', 'adam'"),
        ("optimizer", 3, TypeError, r"optimizer is 3 \(int\); expected one of 'sgd', 'adam'"),
        ("optimizer", SGD, TypeError, r"optimizer is <class .*SGD'> \(type\); expected one of"),
    ]  # fmt: skip
    for argument in ("epochs", "batch_size"):
        table += [(argument, v, e, f"{argument}{p}") for v, e, p in not_integer(integer)]
    table += [("learning_rate", v, e, f"learning_rate{p}") for v, e, p in not_finite(number)]
    for argument, value, error, pattern in table:
        for call in ("fit", "partial_fit"):
            if call == "fit" or argument != "epochs":
                yield Row(
                    f"{call} {argument}={label(value)}", call, error, pattern,
                    lambda net, a=argument, v=value: {a: v},
                )  # fmt: skip
        if argument == "learning_rate":
            for kind in ("SGD", "Adam"):
                yield Row(
                    f"{kind} {argument}={label(value)}", kind, error, pattern,
                    lambda net, a=argument, v=value: {a: v},
                )  # fmt: skip
    for kind in ("SGD", "Adam"):
        yield Row(
            f"{kind} learning_rate=None", kind, TypeError, rf"learning_rate is None {number}",
            lambda net: {"learning_rate": None},
        )  # fmt: skip
    unit = r"expected a number in \[0, 1\)"
    for kind, argument, value, error, pattern in (
        ("SGD", "momentum", 1.0, ValueError, rf" is 1.0; {unit}"),
        ("SGD", "momentum", -0.1, ValueError, rf" is -0.1; {unit}"),
        ("SGD", "momentum", np.nan, ValueError, r" is nan; expected a finite number"),
        ("SGD", "momentum", "0.9", TypeError, rf" is '0.9' {number}"),
        ("SGD", "nesterov", 1, TypeError, r" is 1 \(int\); expected True or False"),
        ("SGD", "nesterov", "yes", TypeError, r" is 'yes' \(str\); expected True or False"),
        ("SGD", "nesterov", True, ValueError, r" is True with momentum 0.0; expected a momentum"),
        ("Adam", "beta1", 1.0, ValueError, rf" is 1.0; {unit}"),
        ("Adam", "beta2", -1e-9, ValueError, rf" is -1e-09; {unit}"),
        ("Adam", "beta2", None, TypeError, rf" is None {number}"),
        ("Adam", "epsilon", 0, ValueError, r" is 0.0; expected a number > 0"),
        ("Adam", "epsilon", -1e-8, ValueError, r" is -1e-08; expected a number > 0"),
        ("Adam", "epsilon", np.inf, ValueError, r" is inf; expected a finite number"),
    ):
        yield Row(
            f"{kind} {argument}={value!r}", kind, error, f"{argument}{pattern}",
            lambda net, a=argument, v=value: {a: v},
        )  # fmt: skip
    for argument, value, error, pattern in (
        ("shuffle", 1, TypeError, r" is 1 \(int\); expected True, False, an order of"),
        ("shuffle", "no", TypeError, r" is 'no' \(str\); expected True, False, an order of"),
        ("shuffle", None, TypeError, r" is None \(NoneType\); expected True, False, an order"),
        ("metrics", "acuracy", ValueError, r"\[0\] is 'acuracy'; .* did you mean 'accuracy'"),
        ("metrics", [abs, 3], TypeError, r"\[1\] is 3 \(int\); expected one of 'accuracy', 'm"),
        ("metrics", 3, TypeError, r" is 3 \(int\); expected names or functions"),
        ("metrics", {"accuracy"}, TypeError, r" is \{'accuracy'\} \(set\); expected names or fun"),
        ("metrics", None, TypeError, r" is None \(NoneType\); expected names or functions"),
        ("metrics", np.array(abs), TypeError, r" is array.* \(ndarray\); expected names or fun"),
        ("metrics", np.ma.masked, TypeError, r" is masked \(MaskedConstant\); expected names or"),
        ("callbacks", np.array(abs), TypeError, r" is array.* \(ndarray\); expected functions"),
        ("callbacks", np.ma.masked, TypeError, r" is masked \(MaskedConstant\); expected funct"),
        ("callbacks", 3, TypeError, r" is 3 \(int\); expected functions"),
        ("callbacks", "print", TypeError, r" is 'print' \(str\); expected functions"),
        ("callbacks", None, TypeError, r" is None \(NoneType\); expected functions"),
        ("callbacks", [abs, None], TypeError, r"\[1\] is None \(NoneType\); expected a function"),
        ("callbacks", {abs}, TypeError, r" is \{<built-in .* \(set\); expected functions"),
    ):
        yield Row(
            f"fit {argument}={label(value)}", "fit", error, f"{argument}{pattern}",
            lambda net, a=argument, v=value: {a: v},
        )  # fmt: skip


def rmse(predictions, targets):
    return float(np.sqrt(np.mean((predictions - targets) ** 2)))


def accuracy(predictions, targets):
    return rmse(predictions, targets)


def option_rows():
    """G, what fit and partial_fit can be asked for beside the rule."""
    integer, number = r"\(\w+\); expected an integer", r"\(\w+\); expected a real number"
    unit = r"expected a number in \[0, 1\)"

    def row(call, argument, value, error, pattern, named=None, **others):
        shown = "".join(f" {name}={label(other)}" for name, other in others.items())
        return Row(
            f"{call} {argument}={label(value)}{shown}", call, error,
            f"{named or argument}{pattern}", lambda net: {argument: value, **others},
        )  # fmt: skip

    numbers: list[tuple[str, Any, type[Exception], str]] = []
    for argument in ("l1", "l2", "noise_multiplier"):
        numbers.append((argument, -1e-9, ValueError, r" is -1e-09; expected a number >= 0"))
    for argument in ("max_norm", "clip_norm", "clip_gradient_norm"):
        numbers.append((argument, 0, ValueError, r" is 0.0; expected a number > 0"))
        numbers.append((argument, -1.0, ValueError, r" is -1.0; expected a number > 0"))
    numbers.append(("dropout", 1.0, ValueError, rf" is 1.0; {unit}"))
    numbers.append(("dropout", -0.1, ValueError, rf" is -0.1; {unit}"))
    for argument in (
        "l1", "l2", "dropout", "noise_multiplier", "max_norm", "clip_norm", "clip_gradient_norm",
    ):  # fmt: skip
        numbers += [(argument, *rest) for rest in not_finite(number)]
    for argument in ("l1", "l2", "dropout", "noise_multiplier"):
        numbers.append((argument, None, TypeError, rf" is None {number}"))
    for argument, value, error, pattern in numbers:
        for call in ("fit", "partial_fit"):
            yield row(call, argument, value, error, pattern)
    layers = "expected numbers of layers, each from 1 to 2"
    private = {"clip_norm": 1.0, "noise_multiplier": 0.5}
    for call in ("fit", "partial_fit"):
        for value, error, pattern in (
            ([0], ValueError, r"\[0\] is 0; expected at least 1"),
            ([-1], ValueError, r"\[0\] is -1; expected at least 1"),
            ([1, 3], ValueError, rf"\[1\] is 3; {layers}"),
            ([2, 2], ValueError, r" has 2 twice; expected each layer once"),
            ([1, 2], ValueError, r" is \[1, 2\], every layer; expected one at least to learn"),
            ([True], TypeError, r"\[0\] is True; expected an integer, not a boolean"),
            ([1.0], TypeError, rf"\[0\] is 1.0 {integer}"),
            (1, TypeError, rf" is 1 \(int\); {layers}"),
            ("1", TypeError, rf" is '1' \(str\); {layers}"),
            (None, TypeError, rf" is None \(NoneType\); {layers}"),
            ({1}, TypeError, rf" is \{{1\}} \(set\); {layers}"),
        ):
            yield row(call, "frozen", value, error, pattern)
        for value in (1, 0.0, None, "yes"):
            yield row(
                call, "missing_targets", value, TypeError, r" is .* \(\w+\); expected True or False"
            )
        switch = "; missing_targets=True leaves out what is nan"
        for value, hint in ((np.nan, switch), (np.inf, "")):
            yield Row(
                f"{call} a target of {value}", call, ValueError,
                rf"Y has {value} at \[1, 2\]; expected finite numbers{hint}$",
                lambda net, v=value: {"Y": put((6, 3), (1, 2), v)},
            )  # fmt: skip
        yield Row(
            f"{call} an infinite target among missing ones", call, ValueError,
            r"Y has inf at \[1, 2\]; expected finite numbers$",
            lambda net: {
                "Y": put((6, 3), (1, 2), np.inf) + put((6, 3), (0, 1), np.nan),
                "missing_targets": True,
            },
        )  # fmt: skip
        yield row(
            call, "noise_multiplier", 0.5, ValueError, r" is 0.5 without clip_norm; expected both"
        )
        yield row(
            call, "clip_gradient_norm", 0.1, ValueError,
            r" is 0.1 with noise_multiplier 0.5; expected None", **private,
        )  # fmt: skip
        yield row(
            call, "sample_weight", np.ones(6), ValueError,
            r" is given with noise_multiplier 0.5; expected None: an example of twice", **private,
        )  # fmt: skip
        yield row(
            call, "optimizer", "rprop", ValueError,
            r" 'rprop' compares costs with noise_multiplier 0.5; expected", **private,
        )  # fmt: skip
        yield row(
            call, "optimizer", "lbfgs", ValueError, r"", named="clip_norm is 1.0 with", **private
        )
    yield row(
        "fit", "class_weight", "balanced", ValueError, r" is given with noise_multiplier", **private
    )
    for value in (EarlyStopping(3, monitor="cost"), EarlyStopping(3, monitor="mse")):
        yield row(
            "fit", "early_stopping", value, ValueError,
            rf" by '{value.monitor}' with noise_multiplier 0.5; expected what looks at noisy",
            metrics=("mse",), **private,
        )  # fmt: skip
    yield row(
        "fit", "schedule", schedules.ReduceOnPlateau(), ValueError,
        r" is a ReduceOnPlateau with noise_multiplier 0.5; expected", **private,
    )  # fmt: skip
    yield row(
        "fit", "class_weight", "balanced", ValueError, r" needs the class of each example, and Y",
        missing_targets=True, Y=np.eye(3)[[0, 1, 2, 0, 1, 2]] + put((6, 3), (1, 2), np.nan),
    )  # fmt: skip
    yield row(
        "fit", "Y", np.full((6, 3), np.nan), ValueError, r" has nothing but nan; expected some",
        missing_targets=True,
    )  # fmt: skip
    for call in ("fit", "partial_fit"):
        for value, error, pattern in (
            (np.ones(5), ValueError, r" has shape \(5,\); expected \(6,\), one for each example"),
            (np.ones((6, 1)), ValueError, r" has shape \(6, 1\); expected \(6,\)"),
            (2.0, ValueError, r" has shape \(\); expected \(6,\)"),
            (np.zeros(6), ValueError, r" has the sum 0.0; expected a sum > 0"),
            (-WEIGHTS, ValueError, r" has -0.5 at \[?\(?0.*; expected numbers >= 0"),
            (np.where(WEIGHTS > 0.8, np.nan, 1), ValueError, r" has nan at .*; expected finite"),
            ("heavy", TypeError, r" is 'heavy' \(str\); expected an array of numbers"),
            (["1"] * 6, TypeError, r" has dtype [<>]U1; expected real numbers, not text"),
        ):
            yield row(call, "sample_weight", value, error, pattern)
    for value, error, pattern in (
        ("balnced", ValueError, r" is 'balnced'; expected one of 'balanced', a .* mean 'balanced'"),
        (np.ones(2), ValueError, r" has shape \(2,\); expected \(3,\), one for each class"),
        (2.0, ValueError, r" has shape \(\); expected \(3,\)"),
        ([1, -1, 1], ValueError, r" has a negative number; expected numbers >= 0"),
        ([1, np.inf, 1], ValueError, r" has inf at .*; expected finite numbers"),
        ({3: 1.0}, ValueError, r" key is 3; expected 0 to 2"),
        ({"no": 1.0}, TypeError, r" key is 'no' .*; expected an integer, because the network has"),
        ({0: -1.0}, ValueError, r"\[0\] is -1.0; expected a number >= 0"),
        ({1: "2"}, TypeError, rf"\[1\] is '2' {number}"),
        ({1, 2, 3}, TypeError, r" is \{1, 2, 3\} \(set\)"),
    ):
        yield row("fit", "class_weight", value, error, pattern)
    hard, labels = np.eye(3)[[0, 1, 1, 1, 2, 2]], np.array([[1.0, 1, 0]] * 6)
    yield row(
        "fit",
        "class_weight",
        [0, 0, 0],
        ValueError,
        r" has the sum 0.0; expected a sum > 0",
        Y=hard,
    )
    no_classes = (
        r" needs targets that name classes, and Y has 0\.\d+; expected 0 and 1 alone, or -1"
    )
    several = (
        r" needs one class for each example, and Y has rows of none or several labels; expected"
    )
    for value in ("balanced", [1, 2, 3]):
        yield row("fit", "class_weight", value, ValueError, no_classes)
        yield row(
            "fit", "class_weight", value, ValueError, several + " None, and sample_w", Y=labels
        )
    yield row(
        "fit", "metrics", "accuracy", ValueError, no_classes + ".*or 'r2', 'mse', 'mae', or a func",
        named=r"metrics\[0\] 'accuracy'",
    )  # fmt: skip
    yield row(
        "fit", "metrics", ("mse", "accuracy"), ValueError, no_classes,
        named=r"metrics\[1\] 'accuracy'", Y=labels / 2,
    )  # fmt: skip
    for value, error, pattern in (
        (1, TypeError, r" is 1 \(int\); expected True, False, None or \(6,\) labels"),
        (np.array(1.5), TypeError, r" is array\(1.5\) \(ndarray\); expected True, False, None or"),
        ("classes", TypeError, r" is 'classes' \(str\); expected True, False, None or \(6,\)"),
        ({1, 2}, TypeError, r" is \{1, 2\} \(set\); expected True"),
        (
            [0, "a", 1, 1, None, 3],
            ValueError,
            r" has missing labels, the first of them None at row 4; expected one for",
        ),
        (
            np.array([0, "a", 1, 1, 2, 3], object),
            TypeError,
            r" is array\(\[0, 'a', 1.*; expected True, False, None or",
        ),
        (np.zeros(5), ValueError, r" has shape \(5,\); expected \(6,\), a label for each example"),
        (np.zeros((6, 1)), ValueError, r" has shape \(6, 1\); expected \(6,\)"),
        ([0, 0, 0, 1, 1, np.nan], ValueError, r" has nan at \[5\]; expected finite numbers"),
        (
            np.array(["2026-01-01"] * 2 + ["2026-01-02"] * 2 + ["NaT"] * 2, "M8[D]"),
            ValueError,
            r" has missing labels, the first of them NaT at row 4; expected one for each",
        ),
        (
            np.array([0, 0, 0, 0, np.nan, np.nan], object),
            ValueError,
            r" has missing labels, the first of them nan at row 4; expected",
        ),
        ([0, 0, 0, 1, 1, 2], ValueError, r" has one example of the class of row 5; expected two"),
        (
            [0, 0, 1, 1, 2, 2],
            ValueError,
            r" has 3 classes, and validation_fraction parts 6 examples "
            "into 4 and 2; expected as many in each part as there are classes",
        ),
        (True, ValueError, no_classes),
    ):
        yield row("fit", "stratify", value, error, pattern, validation_fraction=0.4)
    yield row("fit", "stratify", True, ValueError, several, validation_fraction=0.4, Y=labels)
    for value in (True, [0, 0, 0, 1, 1, 1]):
        yield row(
            "fit", "stratify", value, ValueError, r" is given without validation_fraction; exp"
        )
    for value in (1, None, "no"):
        yield row(
            "fit", "checkpoint_generator", value, TypeError, r" is .*; expected True or False"
        )
    for key, error, pattern in (
        (-1, ValueError, r" is -1; expected at least 0"),
        ("0", TypeError, rf" is '0' {integer}"),
        (1.0, TypeError, rf" is 1.0 {integer}"),
        (True, TypeError, r" is True; expected an integer"),
    ):
        yield Row(
            f"fit class_weight key {key!r}", "fit", error, f"class_weight key{pattern}",
            lambda net, k=key: {"class_weight": {k: 1.0}},
        )  # fmt: skip
    yield Row(
        "fit class_weight times sample_weight", "fit", ValueError,
        r"class_weight times sample_weight has the sum 0.0; expected a sum > 0",
        lambda net: {"class_weight": [0, 1, 1], "Y": np.eye(3)[[0, 1, 1, 1, 2, 2]],
                     "sample_weight": [1.0, 0, 0, 0, 0, 0]},
    )  # fmt: skip
    for value, error, pattern in (
        (
            np.arange(5),
            ValueError,
            r" is an array of dtype int64 and shape \(5,\); expected \(6,\)",
        ),
        (np.arange(7).tolist(), ValueError, r" is .*shape \(7,\); expected \(6,\) integers"),
        (np.arange(6.0), ValueError, r" is an array of dtype float64 .* expected \(6,\) integers"),
        (np.ones(6, bool), ValueError, r" is an array of dtype bool .* expected \(6,\) integers"),
        ([0, 1, 2, 3, 4, 4], ValueError, r" has 4 2 times; expected every number from 0 to 5"),
        ([1, 2, 3, 4, 5, 6], ValueError, r" has 6 at \[5\]; expected every number from 0 to 5"),
        ([-1, 0, 1, 2, 3, 4], ValueError, r" has -1 at \[0\]; expected every number from 0 to 5"),
        (np.full(6, 2**64 - 1, np.uint64), ValueError, r" has 1844\d* at \[0\]; expected every"),
        ([[0, 1], [2]], ValueError, r" is \[\[0, 1\], \[2\]\]; expected a rectangular array"),
        ([], ValueError, r" is an array of dtype float64 and shape \(0,\); expected \(6,\)"),
        (
            {0, 1},
            TypeError,
            r" is \{0, 1\} \(set\); expected True, False, an order of the examples",
        ),
        (1.0, TypeError, r" is 1.0 \(float\); expected True, False, an order of the examples"),
    ):
        yield row("fit", "shuffle", value, error, pattern)
    # Of the examples that are left to train on.
    yield row(
        "fit", "shuffle", np.arange(6), ValueError, r" is .* shape \(6,\); expected \(3,\)",
        validation_fraction=0.5,
    )  # fmt: skip
    for rest in not_finite(number):
        yield row("fit", "validation_fraction", *rest)
    for value, error, pattern in (
        (1.0, ValueError, rf" is 1.0; {unit}"),
        (-0.1, ValueError, rf" is -0.1; {unit}"),
        (None, TypeError, rf" is None {number}"),
        (0.95, ValueError, r" is 0.95 of 6 examples: none would be left to train on"),
    ):
        yield row("fit", "validation_fraction", value, error, pattern)
    X, Y = examples()
    yield row(
        "fit", "validation_fraction", 0.5, ValueError, r" is 0.5 with validation_data given; exp",
        validation_data=(X, Y),
    )  # fmt: skip
    stops = r"; validation_data or validation_fraction makes a validation_cost"
    for value, error, pattern in (
        (0, ValueError, r" is 0; expected at least 1"),
        (True, TypeError, r" is True; expected an integer"),
        ("yes", TypeError, rf" is 'yes' {integer}"),
        (2.0, TypeError, rf" is 2.0 {integer}"),
        (EarlyStopping, TypeError, rf" is <class .*EarlyStopping'> {integer}"),
        (3, ValueError, rf" monitors 'validation_cost'; expected one of 'cost'{stops}"),
        (
            EarlyStopping(monitor="mse"),
            ValueError,
            r" monitors 'mse'; expected one of 'cost'; metrics=\['mse'\] makes it",
        ),
    ):
        yield row("fit", "early_stopping", value, error, pattern)
    yield row(
        "fit", "early_stopping", EarlyStopping(monitor="mea"), ValueError,
        r" monitors 'mea'; expected one of 'cost', 'validation_cost', 'mae'$",
        metrics="mae", validation_data=(X, Y),
    )  # fmt: skip
    for own in (rmse, accuracy):
        # Also where one of the metrics known has the name.
        yield row(
            "fit", "early_stopping", EarlyStopping(monitor=own.__name__), ValueError,
            rf" monitors '{own.__name__}', a function of your own, and larger_is_better is None; ",
            metrics=[own],
        )  # fmt: skip
    for value in (np.int64(1), np.float64(1), np.str_("no")):
        yield row("fit", "shuffle", value, TypeError, r" is .* expected True, False, an order of")
    yield row(
        "fit", "shuffle", np.ma.array(np.arange(6), mask=np.arange(6) > 3), ValueError,
        r" has 2 masked entries; expected none",
    )  # fmt: skip
    for name, value in (("l1", 1e200), ("l1", 1e300), ("l2", 1e160), ("l2", 1e300)):
        # The steps may still be finite where the sum of the squares is not.
        yield Row(
            f"fit {name}={value} overflows", "fit", FloatingPointError,
            r"training diverged in epoch \d: the (parameters|penalty by l1 and l2) overflowed; ",
            lambda net, name=name, value=value: {name: value, "l2": 1e-3, **{name: value}},
        )  # fmt: skip
    for value in (0.5, "cosine", [0.1, 0.2], True):
        yield row("fit", "schedule", value, TypeError, r" is .* \(\w+\); expected a function")
    for value in (1, 0, "yes", np.array([True])):
        yield row("fit", "progress", value, TypeError, r" is .* \(\w+\); expected True or False")
        yield row("fit", "resume", value, TypeError, r" is .* \(\w+\); expected True or False")
    yield row("fit", "resume", True, ValueError, r" is True without checkpoint; expected the path")
    yield row("fit", "checkpoint", 3, TypeError, r" is 3 \(int\); expected a str")
    yield row("fit", "checkpoint", bytearray(b"f"), TypeError, r" is bytearray.*; expected a str")
    yield row("fit", "checkpoint", "", ValueError, r" is ''; expected a path of at least one char")
    yield row("fit", "metrics", "maee", ValueError, r"\[0\] is 'maee'; .* did you mean 'mae'")
    for optimizer in ("lbfgs", "levenberg_marquardt"):
        for options in (
            {"l1": 0.1}, {"dropout": 0.5}, {"max_norm": 1.0}, {"clip_norm": 2.0},
        ):  # fmt: skip
            for call in ("fit", "partial_fit"):
                ((name, value),) = options.items()
                yield row(
                    call, name, value, ValueError,
                    rf" is {value} with optimizer '{optimizer}'; expected none: only l2",
                    optimizer=optimizer,
                )  # fmt: skip
    # Options that a pass of partial_fit does not have.
    known = "'l1', 'l2', 'dropout', 'max_norm', 'clip_norm', 'noise_multiplier', .*"
    for name, hint in (
        ("epochs", ""), ("class_weight", ""), ("shuffle", ""), ("schedule", ""),
        ("clipnorm", r"; did you mean 'clip_norm'\?"), ("drop_out", r"; did you mean 'dropout'\?"),
    ):  # fmt: skip
        yield row(
            "partial_fit", "options", {name: 1}, ValueError,
            rf" is '{name}'; expected one of {known}{hint}", named="options key",
        )  # fmt: skip
    for value in (0.1, "l2", ["l2"], True, {("l2",)}):
        yield row(
            "partial_fit", "options", value, TypeError, r" is .* \(\w+\); expected a dict with some"
        )
    yield Row(
        "partial_fit l2", "partial_fit", TypeError,
        r".*partial_fit\(\) got an unexpected keyword argument 'lambda_'",
        lambda net: {"lambda_": 1},
    )  # fmt: skip


@pytest.mark.parametrize("rows", as_parameters([*hyper_parameter_rows(), *option_rows()]))
def test_rejected(rows, capfd):
    for row in rows:
        check_rejected(row, capfd)


@every_backend
def test_batches_that_do_not_divide_n_count_by_their_own_size(backend):
    X, Y = examples(n=7)
    nets = [network(backend) for _ in "ab"]
    nets[0].fit(X, Y, epochs=1, batch_size=3, shuffle=False, learning_rate=0.5)
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
        nets[1].partial_fit(X[rows], Y[rows], learning_rate=0.5)
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)
    # One row alone moves the weights three times as far as when it is one of three.
    step = nets[0].parameters - network(backend).parameters
    assert np.abs(step).max() > 0


@every_backend
def test_accepted_orders_of_the_examples(backend):
    X, Y = examples()
    order = [3, 0, 5, 1, 4, 2]
    twin = network(backend)
    twin.fit(X, Y, epochs=2, batch_size=2, shuffle=np.array(order))
    for shuffle in (
        order, tuple(order), np.array(order, ">i2"), np.array(order, np.uint8),
        strided(np.array(order)), ArrayOf(np.array(order)), lambda epoch: order,
    ):  # fmt: skip
        net = network(backend)
        net.fit(X, Y, epochs=2, batch_size=2, shuffle=shuffle)
        assert state(net) == state(twin)


@every_backend
def test_accepted_hyper_parameters(backend):
    X, Y = examples()

    def after(**arguments):
        net = network(backend)
        net.fit(X, **{"Y": Y, "epochs": 2, "batch_size": 4, **arguments})
        return net.parameters.tobytes()

    expected = after(learning_rate=0.25)
    for rate in (np.array(0.25), np.float32(0.25), np.float16(0.25), np.longdouble(0.25)):
        assert after(learning_rate=rate) == expected
    assert after(learning_rate=1) == after(learning_rate=np.int8(1)) == after(learning_rate=1.0)
    assert after(learning_rate=0.25, batch_size=np.uint8(4), epochs=np.array(2)) == expected
    assert after(optimizer=SGD(9.0), learning_rate=0.25, shuffle=np.True_) == expected
    assert after(batch_size=2**63 - 1) == after(batch_size=6)
    assert after(optimizer=SGD(0.1, momentum=0.0)) == after(optimizer="sgd")
    for one, other in (
        ({"l1": np.float32(0.5), "l2": 1}, {"l1": 0.5, "l2": np.array(1.0)}),
        ({"dropout": np.float16(0.5)}, {"dropout": 0.5}),
        ({"max_norm": 1, "clip_norm": np.int8(2)}, {"max_norm": 1.0, "clip_norm": 2.0}),
        ({"shuffle": range(6)}, {"shuffle": False, "progress": np.False_}),
        ({"sample_weight": [1, 2, 3, 4, 5, 6]}, {"sample_weight": np.arange(1, 7, dtype="int8")}),
        (
            {"Y": np.eye(3)[[0, 1, 2, 2, 1, 1]], "class_weight": (1, 2, 3)},
            {
                "Y": np.eye(3)[[0, 1, 2, 2, 1, 1]].tolist(),
                "class_weight": {1: np.int8(2), np.uint8(2): 3.0},
            },
        ),
        ({"validation_fraction": np.float32(0.5), "early_stopping": np.int64(1)},
         {"validation_fraction": 0.5, "early_stopping": EarlyStopping(1)}),
    ):  # fmt: skip
        assert after(**one) == after(**other), one
    callback = collections.Counter()
    after(callbacks=lambda net, history: callback.update(epochs=1))
    after(callbacks=iter([lambda net, history: callback.update(epochs=1)]))
    assert callback["epochs"] == 4


# ---- accepted ------------------------------------------------------------------------------------


@every_backend
def test_a_weight_of_2_is_the_row_twice(backend):
    X, Y = examples()
    net = trained(backend)
    twice = [np.concatenate([values, values[2:3]]) for values in (X, Y)]
    weight = [1, 1, 2, 1, 1, 1]
    weighted, repeated = net.gradient(X, Y, sample_weight=weight), net.gradient(*twice)
    # Sums of 7 terms in another order: a few ulp of the largest.
    atol = 1e-15 * np.abs(repeated.vector).max()
    np.testing.assert_allclose(weighted.vector, repeated.vector, rtol=1e-14, atol=atol)
    assert weighted.cost == pytest.approx(repeated.cost, rel=1e-15)
    assert net.cost(X, Y, sample_weight=weight) == pytest.approx(net.cost(*twice), rel=1e-15)
    ones = net.gradient(X, Y, sample_weight=np.ones(6, bool))
    np.testing.assert_allclose(ones.vector, net.gradient(X, Y).vector, rtol=1e-14, atol=atol)


@every_backend
def test_a_weight_of_0_leaves_the_row_out(backend):
    X, Y = examples()
    net = trained(backend)
    one = net.gradient(X, Y, sample_weight=put(6, 4, 3.0))
    alone = net.gradient(X[4:5], Y[4:5])
    np.testing.assert_allclose(one.vector, alone.vector, rtol=1e-14, atol=1e-17)


@every_backend
def test_a_fit_of_no_epochs_does_nothing(backend):
    X, Y = examples()
    net = trained(backend)
    before = state(net)
    for arguments in ({}, {"optimizer": "sgd", "validation_data": (X, Y)}):
        history = net.fit(X, Y, epochs=0, **arguments)
        assert (history.epochs, history.cost) == (0, [])
        assert state(net) == before


@every_backend
@pytest.mark.parametrize(
    ("optimizer", "dtype", "rate"),
    [
        ("sgd", "float64", 0),
        ("sgd", "float64", -0.0),
        ("sgd", "float32", 1e-50),  # 0 in float32
        ("adam", "float64", 0),
        (SGD(1.0, momentum=0.5), "float64", 0),
        (SGD(1.0, 0.5, nesterov=True), "float64", 0),
        (Adam(1.0), "float32", 1e-50),
    ],
)
def test_a_learning_rate_of_0_does_nothing(optimizer, dtype, rate, backend):
    X, Y = examples()
    net = network(backend, dtype=dtype)
    before = net.parameters
    for batch_size in (1, 4, 6):
        net.fit(X, Y, epochs=2, batch_size=batch_size, optimizer=optimizer, learning_rate=rate)
        np.testing.assert_array_equal(net.parameters, before)
    net.partial_fit(X, Y, batch_size=4)
    net.partial_fit(X, Y)
    net.partial_fit(X[0], Y[0])
    np.testing.assert_array_equal(net.parameters, before)


@every_backend
def test_batch_size_has_one_type_on_the_quick_way_too(backend):
    X, Y = examples()
    net = trained(backend)
    for size in (32.0, np.array([32, 32]), True + 31.0):
        with pytest.raises(TypeError, match=r"^batch_size is"):
            net.partial_fit(X, Y, batch_size=size)


@every_backend
def test_a_callback_or_a_metric_that_raises(backend):
    X, Y = examples()
    net, twin = network(backend), network(backend)

    def fail(*arguments):
        raise ZeroDivisionError("mine")

    # A callback finds its epoch completed; an epoch that cannot be judged has not been.
    for arguments, epochs in (({"callbacks": fail}, 1), ({"metrics": fail}, 0)):
        with pytest.raises(ZeroDivisionError, match="mine"):
            net.fit(X, Y, epochs=3, batch_size=2, **arguments)
        twin.fit(X, Y, epochs=epochs, batch_size=2)
        assert state(net) == state(twin)
