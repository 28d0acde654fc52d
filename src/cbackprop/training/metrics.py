"""What predictions are worth: metrics by name, and functions of the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import numpy as np

from cbackprop import validation
from cbackprop.classes import Classes, are_classes
from cbackprop.functions import Activation, Array, Cost, read_only

MetricName = Literal["accuracy", "mse", "mae", "r2"]
# Of predictions and targets, both (n, n_L); what a user's own returns is judged when it has.
Metric = Callable[[Array, Array], object]


def accuracy(classes: Classes, predictions: Array, targets: Array) -> float:
    """The share of examples of which the outputs say the class, or every label, that the targets
    say."""
    right = classes.right(predictions, targets)
    return float(np.mean(right)) if len(right) else math.nan


@np.errstate(all="ignore")  # what is not finite is refused by `measured`
def mean_squared_error(predictions: Array, targets: Array) -> float:
    """The mean of (a − y)² over examples and outputs."""
    return _mean(np.square(predictions - targets, dtype=np.float64))


@np.errstate(all="ignore")
def mean_absolute_error(predictions: Array, targets: Array) -> float:
    """The mean of |a − y| over examples and outputs."""
    return _mean(np.abs(predictions - targets, dtype=np.float64))


def _mean(values: Array) -> float:
    """Without those that are NaN, where a target is missing; NaN of none."""
    missing = np.isnan(values)
    if not missing.any():
        return float(np.mean(values))
    return math.nan if missing.all() else float(np.mean(values[~missing]))


@np.errstate(all="ignore")
def r2(predictions: Array, targets: Array) -> float:
    """The share of the targets' variance that is explained, averaged over the outputs.

    1 − Σ(a − y)²/Σ(y − mean y)²; an output whose targets are all alike counts 1 where it is right
    and 0 otherwise. Where targets are missing, each output by those that it has.
    """
    missing = np.isnan(targets)
    if missing.any():
        columns = [slice(j, j + 1) for j in range(targets.shape[1]) if not missing[:, j].all()]
        rows = [~missing[:, column.start] for column in columns]
        of_outputs = [
            r2(predictions[there, column], targets[there, column])
            for there, column in zip(rows, columns, strict=True)
        ]
        return sum(of_outputs) / len(of_outputs) if of_outputs else math.nan
    targets = targets.astype(np.float64)
    rest: Array = np.square(predictions - targets).sum(axis=0)
    spread: Array = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    # Not spread == 0: the mean of equal numbers is rounded.
    alike = (targets == targets[0]).all(axis=0)
    shares: Array = np.where(alike, rest == 0, 1 - rest / np.where(alike, 1, spread))
    return float(shares.mean())


# Those of numbers; accuracy is of classes, which are to be known besides.
OF_NUMBERS: dict[str, Metric] = {"mse": mean_squared_error, "mae": mean_absolute_error, "r2": r2}
METRICS: tuple[MetricName, ...] = ("accuracy", "mse", "mae", "r2")
# What is better is known of these alone, and not of a function of the user's that has their name.
LARGER_IS_BETTER: dict[str, bool] = {"accuracy": True, "mse": False, "mae": False, "r2": True}


def named(metrics: Iterable[MetricName | Metric]) -> dict[str, MetricName | Metric]:
    """Each metric by a name; a second one of a name, or of a cost's, is numbered."""
    by_name: dict[str, MetricName | Metric] = {}
    for metric in metrics:
        own = _function_name(metric) if callable(metric) else metric
        name, count = own, 1
        while name in by_name or name in ("cost", "validation_cost"):  # as EarlyStopping calls them
            count += 1
            name = f"{own} {count}"
        by_name[name] = metric
    return by_name


def function_of(metric: MetricName | Metric, classes: Classes | None) -> Metric:
    """The metric of that name, accuracy with the classes that it is of, or the user's own."""
    if metric == "accuracy":
        assert classes is not None
        return partial(accuracy, classes)
    return OF_NUMBERS[metric] if isinstance(metric, str) else metric


def chosen(
    argument: str,
    metric: object,
    output: str | Activation,
    cost: str | Cost,
    targets: Array,
) -> Metric:
    """The metric that was asked for; of None accuracy of targets that are classes, else r2.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    if metric is None:
        metric = "accuracy" if are_classes(output, cost, targets) else "r2"
    checked = validation.metric(argument, metric, METRICS)
    is_of_classes = checked == "accuracy"
    classes = validation.classes_of_accuracy(argument, output, targets) if is_of_classes else None
    return function_of(checked, classes)


def _function_name(function: object) -> str:
    """Also of a functools.partial, which has no name of its own."""
    inner: object = getattr(function, "func", function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def measured(name: str, metric: Metric, predictions: Array, targets: Array) -> float:
    """One metric's number; a function gets arrays that it cannot write to."""
    return validation.real_number(
        f"the result of {name}", metric(read_only(predictions), read_only(targets))
    )
