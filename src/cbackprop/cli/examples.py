"""The examples a command works on: those of a file, the bundled digits, or MNIST's."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from cbackprop import Network, datasets
from cbackprop.files import format as file_format
from cbackprop.functions import Array
from cbackprop.tables import Form, Table, read_table
from cbackprop.training.metrics import MetricName
from cbackprop.validation import file_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READING = ("target", "drop", "header", "delimiter", "x_key", "y_key")


def source(arguments: argparse.Namespace) -> str:
    """ "data", "digits" or "mnist": the one that was named."""
    named = [
        name
        for name, value in (
            ("data", arguments.data),
            ("digits", arguments.digits or None),
            ("mnist", arguments.mnist),
        )
        if value is not None
    ]
    if len(named) != 1:
        came = " and ".join({"data": "DATA"}.get(name, f"--{name}") for name in named)
        raise ValueError(f"{came or 'no DATA'} came; expected one of DATA, --digits, --mnist DIR")
    if named[0] != "data":
        for option in _READING:
            if getattr(arguments, option) is not None:
                raise ValueError(f"argument --{option.replace('_', '-')}: only with DATA")
    return named[0]


def read(arguments: argparse.Namespace, target: str | None, mixed: bool) -> Table:
    """The examples that were named; of MNIST the 10,000 for testing.

    ``target`` is that of a file's columns where --target was not given.
    """
    named = source(arguments)
    if named == "digits":
        return as_table("digit", *datasets.load_digits())
    if named == "mnist":
        return as_table("digit", *datasets.load_mnist(arguments.mnist)[1])
    delimiter = {"tab": "\t", "\\t": "\t"}.get(arguments.delimiter, arguments.delimiter)
    return read_table(
        arguments.data,
        Form(
            target=target if arguments.target is None else arguments.target,
            drop=arguments.drop,
            header=arguments.header,
            delimiter=delimiter,
            x_key=arguments.x_key,
            y_key=arguments.y_key,
            mixed=mixed,
        ),
    )


def as_table(target: str, X: Array, labels: Array) -> Table:
    """Pictures and their labels."""
    inputs = tuple(f"pixel {k}" for k in range(X.shape[1]))
    return Table(X, inputs, (labels,), (target,))


def model(path: str) -> Network:
    """The network of a model file. A checkpoint is none: its inputs may be standardised ones."""
    _, metadata = file_format.read(file_path("path", path))
    if metadata.get("kind") == "checkpoint":
        raise ValueError(
            f"model is {path!r}, the checkpoint of a training; expected a file of train --save "
            "(train --checkpoint ... --resume --save makes one)"
        )
    return Network.load(path)


# ---- targets ------------------------------------------------------------------------------------


def class_names(column: Array) -> list[str]:
    """The classes of a target column in the order of the outputs: by value, names by letters."""
    return [str(value) for value in np.unique(column).tolist()]


def one_hot(column: Array, classes: Sequence[str], name: str) -> Array:
    """A target column as targets (n, classes)."""
    distinct, places = np.unique(column, return_inverse=True)
    numbers: list[int] = []
    for value in distinct.tolist():
        if str(value) not in classes:
            raise ValueError(
                f"{name} has the class {str(value)!r}; expected one of "
                f"{', '.join(repr(one) for one in classes)}"
            )
        numbers.append(list(classes).index(str(value)))
    return datasets.one_hot(np.array(numbers)[places.reshape(-1)], len(classes))


def targets_of(table: Table, net: Network, labels: Sequence[str] | None) -> tuple[Array, bool]:
    """A table's targets as a network of that many outputs takes them, and whether they are classes.

    A column of classes has as many outputs as classes: those of ``labels``, or else those that
    occur. Columns of numbers have one output each.
    """
    n_out = net.sizes[-1]
    columns = table.targets
    name = ", ".join(dict.fromkeys(table.target_names))
    numeric = all(column.dtype.kind != "U" for column in columns)
    if len(columns) == n_out and numeric and labels is None:
        return np.stack(columns, axis=1).astype(np.float64), net.cost_function == "cross_entropy"
    if len(columns) != 1:
        raise ValueError(
            f"target is {name}, {len(columns)} columns; expected {n_out} of numbers or one of "
            f"classes, because the model has {n_out} output{'s' if n_out > 1 else ''}"
        )
    classes = class_names(columns[0]) if labels is None else labels
    expected = max(n_out, 2)  # one output tells two classes apart
    if len(classes) != expected:
        whose = "labels has" if labels is not None else f"{name} has"
        raise ValueError(
            f"{whose} {len(classes)} classes; expected {expected}, as the model has: --labels "
            "names them in the order of the outputs"
        )
    Y = one_hot(columns[0], classes, name)
    return (Y if n_out > 1 else Y[:, 1:]), True


def known_classes(arguments: argparse.Namespace, net: Network) -> list[str] | None:
    """The ten digits, where the examples are such; None for a table's."""
    if arguments.data is not None or net.sizes[-1] != 10:
        return None
    return [str(digit) for digit in range(10)]


def require_inputs(table: Table, net: Network) -> None:
    """As many inputs as the model has."""
    n_in = table.X.shape[1]
    if n_in != net.sizes[0]:
        hint = ": --target and --drop say which columns are none" if n_in > net.sizes[0] else ""
        raise ValueError(
            f"the examples have {n_in} inputs; expected {net.sizes[0]}, as the model has{hint}"
        )


def scores(net: Network, X: Array, Y: Array, are_classes: bool) -> dict[str, float]:
    """How good the outputs are: accuracy of classes, R² and mean absolute error of numbers."""
    metrics: tuple[MetricName, ...] = ("accuracy",) if are_classes else ("r2", "mae")
    return {metric: net.score(X, Y, metric) for metric in metrics}


def in_words(values: Mapping[str, float], n: int) -> str:
    """The scores of n examples."""
    if "accuracy" in values:
        right = round(values["accuracy"] * n)
        return f"accuracy {values['accuracy']:.4f} ({right} of {n} right)"
    return f"R² {values['r2']:.4f}, mean absolute error {values['mae']:.6g} ({n} examples)"
