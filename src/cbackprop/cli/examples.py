"""The examples a command works on: those of a file, the bundled digits, or MNIST's."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from cbackprop import Network, datasets
from cbackprop.classes import are_classes, name_of_label, threshold_of
from cbackprop.cli import about
from cbackprop.cli.options import names
from cbackprop.cli.terminal import naming, note, printable
from cbackprop.files import format as file_format
from cbackprop.functions import Array
from cbackprop.tables import LAST_COLUMN, Form, Table, kinds, read_table
from cbackprop.training.metrics import MetricName
from cbackprop.validation import counted, file_path, in_order, shown, some

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READING = ("target", "drop", "header", "delimiter", "encoding", "x_key", "y_key")


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


def read(
    arguments: argparse.Namespace,
    net: Network | None,
    last: bool,
    mixed: bool,
    codes: bool | None = False,
) -> Table:
    """The examples that were named; of MNIST the 10,000 for testing.

    Inputs come in the order that the model knows them by. Where --target was not given, ``last``
    takes the column that the model was trained to tell, or the last.
    """
    named = source(arguments)
    if named == "digits":
        return as_table("digit", *datasets.load_digits())
    if named == "mnist":
        return as_table("digit", *datasets.load_mnist(arguments.mnist)[1])
    target: str | int | tuple[str, ...] | None = arguments.target
    if target is None and last:
        target = LAST_COLUMN if net is None else _targets_of_training(net) or LAST_COLUMN
    made_of = None if net is None else about.columns(net)
    names = None if net is None else net.feature_names
    if made_of is not None and names is not None:
        names = tuple(column.name for column in made_of)
    delimiter = {"tab": "\t", "\\t": "\t"}.get(arguments.delimiter, arguments.delimiter)
    with naming(arguments.data):
        table = read_table(
            arguments.data,
            Form(
                target=target,
                drop=arguments.drop,
                header=arguments.header,
                delimiter=delimiter,
                encoding=arguments.encoding,
                x_key=arguments.x_key,
                y_key=arguments.y_key,
                mixed=mixed,
                codes=codes if net is None else about.task(net) == "classification",
                inputs=names,
                categorical=arguments.categorical if net is None else None,
                missing=net is None and arguments.missing == "mean",
                columns=made_of,
                trains=net is None,
            ),
        )
    for text in table.notes:
        note(text)
    return table


def _targets_of_training(net: Network) -> tuple[str, ...] | None:
    """The column of classes, or those of numbers, that train was given by name."""
    if about.TARGET in net.metadata:
        return (net.metadata[about.TARGET],)
    return None if about.task(net) == "classification" else net.class_names


def as_table(target: str, X: Array, labels: Array) -> Table:
    """Pictures and their labels."""
    inputs = tuple(f"pixel {k}" for k in range(X.shape[1]))
    return Table(X, inputs, (labels,), (target,))


def model(path: str) -> Network:
    """The network of a model file. A checkpoint is none: it has the last epoch, not the best."""
    name = file_path("model", path)
    with naming(path), open(name, "rb") as stream:
        start = stream.read(kinds.LONGEST)
    if start[8:9] != b"{":
        kind = kinds.of_bytes(start)
        what = "text, as a table is" if start and b"\0" not in start else ""
        what = kind.text if kind else what
        if what:
            raise ValueError(
                f"model is {path!r}, which is {what}; expected a file of train --save or of "
                "Network.save: MODEL comes first, then DATA"
            )
    _, metadata = file_format.read(name)
    if metadata.get("kind") == "checkpoint":
        raise ValueError(
            f"model is {path!r}, the checkpoint of a training; expected a file of train --save "
            "(train --checkpoint ... --resume --save makes one)"
        )
    return Network.load(path)


# ---- targets ------------------------------------------------------------------------------------


def class_names(column: Array) -> list[str]:
    """The classes of a target column in the order of the outputs: by value, names by letters."""
    return [name_of_label(value) for value in np.unique(column).tolist()]


def one_hot(column: Array, classes: Sequence[str], name: str) -> Array:
    """A target column as targets (n, classes)."""
    distinct, places = np.unique(column, return_inverse=True)
    known = {one: number for number, one in enumerate(classes)}
    numbers: list[int] = []
    for value in distinct.tolist():
        label = name_of_label(value)
        if label not in known:
            raise ValueError(
                f"{name} has the class {shown(label)}; expected one of {some(classes)}"
            )
        numbers.append(known[label])
    return datasets.one_hot(np.array(numbers)[places.reshape(-1)], len(classes))


def targets_of(table: Table, net: Network, labels: Sequence[str] | None) -> tuple[Array, bool]:
    """A table's targets as a network of that many outputs takes them, and whether they are classes.

    A column of classes has as many outputs as classes: those of ``labels``, or the numbers of the
    outputs. Columns of numbers have one output each.
    """
    n_out = net.sizes[-1]
    columns = table.targets
    name = ", ".join(dict.fromkeys(table.target_names))
    numeric = all(column.dtype.kind != "U" for column in columns)
    regression = about.task(net) == "regression"
    if len(columns) == n_out and numeric and labels is None:
        columns = _in_order(table, net.class_names)
        Y = np.stack(columns, axis=1).astype(np.float64)
        found = are_classes(net.activations[-1], net.cost_function, Y)
        return Y, found and not regression
    if len(columns) != 1 or regression:
        came = f"{len(columns)} column{'s' if len(columns) > 1 else ''}"
        came += "" if numeric else " with names"
        raise ValueError(
            f"target is {printable(name)}, {came}; expected {n_out} of numbers"
            f"{'' if regression else ' or one of classes'}, because the model has {n_out} "
            f"output{'s' if n_out > 1 else ''}{' of numbers' if regression else ''}"
        )
    expected = max(n_out, 2)  # one output tells two classes apart
    labels = labels or about.classes(net)
    classes = [str(j) for j in range(expected)] if labels is None else labels
    if len(classes) != expected:
        raise ValueError(
            f"labels has {len(classes)} classes; expected {expected}, as the model has: --labels "
            "names them in the order of the outputs"
        )
    if labels is None and not set(class_names(columns[0])) <= set(classes):
        raise ValueError(
            f"{printable(name)} has the classes {some(class_names(columns[0]))}, and the model no "
            f"names for its {expected}; expected --labels, which names them in the order of the "
            "outputs"
        )
    Y = one_hot(columns[0], classes, printable(name))
    if n_out > 1:
        return Y, True
    # 0 and 1, or −1 and 1 where the outputs are between them.
    return (Y[:, 1:] if threshold_of(net.activations[-1]) else Y[:, 1:] - Y[:, :1]), True


def _in_order(table: Table, outputs: tuple[str, ...] | None) -> tuple[Array, ...]:
    """The target columns in the order of the outputs' names, where both have names."""
    if not table.named or outputs is None or len(outputs) != len(table.targets) or len(outputs) < 2:
        return table.targets
    places, misfit = in_order(table.target_names, outputs)
    if misfit:
        raise ValueError(
            f"target has the columns {some(table.target_names)}, {misfit}; expected those of the "
            f"model's outputs, {some(outputs)}"
        )
    return tuple(table.targets[place] for place in places)


def labels_of(option: str | None, net: Network) -> list[str] | None:
    """The classes' names in the order of the outputs, as --labels or the model has them.

    None where neither does; the numbers of the outputs for --labels without names.
    """
    n_classes = max(net.sizes[-1], 2)  # one output tells two classes apart
    known = about.classes(net)
    if option is None:
        return known if about.task(net) == "classification" else None
    if about.task(net) == "regression":
        raise ValueError(
            "argument --labels: only for a model that tells classes; this one was trained for "
            "numbers"
        )
    if not option:
        return known or [str(j) for j in range(n_classes)]
    given = names("labels", option)
    assert given is not None
    if len(given) != n_classes:
        raise ValueError(
            f"labels is {shown(option)}; expected {n_classes} names, as the model has "
            f"{net.sizes[-1]} output{'s' if net.sizes[-1] > 1 else ''}"
        )
    if len(set(given)) < n_classes:
        raise ValueError(f"labels is {shown(option)}; expected no name twice")
    if known is not None and given != known:
        raise ValueError(
            f"labels is {shown(option)}; expected none: the model has the names of its classes, "
            f"{some(known)}, in this order"
        )
    return given


def require_inputs(table: Table, net: Network) -> None:
    """As many inputs as the model has."""
    n_in = table.X.shape[1]
    if n_in != net.sizes[0]:
        hint = ""
        if n_in > net.sizes[0]:
            hint = ": --target and --drop say which columns are none"
        elif table.targets:
            hint = f", besides the target, {some(table.target_names)}"
        raise ValueError(
            f"the examples have {n_in} input{'' if n_in == 1 else 's'}; expected {net.sizes[0]}, "
            f"as the model has{hint}"
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
    return (
        f"R² {values['r2']:.4f}, mean absolute error {values['mae']:.6g} ({counted(n, 'example')})"
    )
