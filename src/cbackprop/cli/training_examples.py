"""What ``cbackprop train`` learns from: inputs, targets, classes, and what is held out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cbackprop import datasets, layout
from cbackprop.cli import about, examples
from cbackprop.cli.terminal import note, printable
from cbackprop.functions import Array
from cbackprop.random_numbers import RandomNumbers
from cbackprop.tables import Column, Table, fill_with_means
from cbackprop.training.metrics import MetricName
from cbackprop.validation import counted, first_repeated, held_out, integer, shown

MOST_CLASSES = 20  # of whole numbers; with more of them they are numbers to be met
MOST_CLASSES_BY_ITSELF = 1000  # of names; more of them have to be asked for
MOST_CLASSES_SHOWN = 12
DIGITS_TEST_STEP = 5  # every fifth digit is for testing, as in the demo
MNIST_TRAIN_SIZE = 50_000

Pair = tuple[Array, Array]


class Data(NamedTuple):
    """The examples, and what the outputs are to be.

    Attributes
    ----------
    X, Y : ndarray
        (n, n_0) and (n, n_L).
    classes : list of str or None
        Their names in the order of the outputs; None for targets that are numbers.
    test : pair of ndarrays or None
        Examples that are for testing alone, where the data has such.
    text : str
        All of this in a line.
    inputs, outputs : tuple of str or None
        The names of the inputs and of the outputs, where they have any.
    target : str or None
        That of the column of classes.
    columns : tuple of Column or None
        What the inputs are made of, if not of columns of numbers alone.
    """

    X: Array
    Y: Array
    classes: list[str] | None
    test: Pair | None
    text: str
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    target: str | None = None
    columns: tuple[Column, ...] | None = None

    @property
    def metric(self) -> MetricName:
        """What an epoch is judged by besides the cost."""
        return "r2" if self.classes is None else "accuracy"


class Sets(NamedTuple):
    """The examples by their use.

    Attributes
    ----------
    learn : pair of ndarrays
        To train on.
    judged, name : pair of ndarrays or None, and a word for it
        What each epoch is judged by; None for the training examples themselves.
    final, final_name : pair of ndarrays, and a word for it
        What the trained network is judged by.
    """

    learn: Pair
    judged: Pair | None
    name: str
    final: Pair
    final_name: str


def of_table(arguments: argparse.Namespace) -> Data:
    codes = None if arguments.task is None else arguments.task == "classification"
    table = examples.read(arguments, None, last=True, mixed=codes is True, codes=codes)
    name = printable(", ".join(dict.fromkeys(table.target_names)))
    inputs = _names(table, table.inputs)
    n, n_in = table.X.shape
    text = f"{printable(arguments.data)}: {counted(n, 'example')}, {counted(n_in, 'input')}"
    if table.columns is not None:
        _require_fit(table.columns, n)
        text += f" of {counted(len(table.columns), 'column')}"
    text += f", target {name}: "
    if not _is_classification(table, name, arguments.task):
        Y = np.stack(table.targets, axis=1).astype(np.float64)
        text += "a number" if Y.shape[1] == 1 else "numbers"
        return Data(table.X, Y, None, None, text, inputs, _names(table, table.target_names),
            columns=table.columns,
        )  # fmt: skip
    column = next(iter(table.targets))
    classes = examples.class_names(column)
    if len(classes) < 2:
        raise ValueError(f"{name} has one class, {shown(classes[0])}; expected two at least")
    if arguments.task is None and _names_rows(len(classes), n):
        raise ValueError(
            f"{name} has {len(classes)} classes in {n} rows; expected fewer: --drop a column that "
            "names the rows, --task classification if it does not"
        )
    counts = np.unique(column, return_counts=True)[1].tolist()
    told = [
        f"{printable(one)} {count}"
        for one, count in zip(classes[:MOST_CLASSES_SHOWN], counts, strict=False)
    ]
    more = ", …" if len(classes) > MOST_CLASSES_SHOWN else ""
    text += f"{len(classes)} classes ({', '.join(told)}{more})"
    Y = examples.one_hot(column, classes, name)
    target = table.target_names[0] if table.named else None
    return Data(table.X, Y, classes, None, text, inputs, _of_a_file(tuple(classes)), target,
        table.columns,
    )  # fmt: skip


def _names(table: Table, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The columns' names, by which the model will know them; None where the file has none."""
    if not table.named:
        return None
    twice = first_repeated(names)
    if twice is not None:
        raise ValueError(
            f"the columns {shown(twice)} have one name; expected one for each, by which the model "
            "will know them: rename one, or --drop it by its number"
        )
    return _of_a_file(names)


def _require_fit(columns: tuple[Column, ...], n: int) -> None:
    """Few categories, which fit into a model file: without them no other row can be read."""
    for column in columns:
        count = len(column.categories or ())
        if _names_rows(count, n):
            raise ValueError(
                f"{printable(column.name)} has {count} categories in {n} rows; expected fewer: "
                "--drop a column that names the rows"
            )
    names = [name for column in columns for name in column.inputs()]
    if not (about.fit_into_a_file(names) and about.fit_into_a_file([about.as_text(columns)])):
        raise ValueError(
            f"the columns have {len(names)} categories and names, longer than a model file holds; "
            "expected fewer or shorter ones"
        )


def filled(columns: tuple[Column, ...] | None, sets: Sets) -> tuple[Column, ...] | None:
    """Put the means of what is learnt from for what is missing, in place; the columns with them."""
    if columns is None:
        return None
    judged = () if sets.judged is None else (sets.judged[0],)
    return fill_with_means(columns, sets.learn[0], *judged)


def _of_a_file(names: tuple[str, ...]) -> tuple[str, ...] | None:
    if about.fit_into_a_file(names):
        return names
    note("the names are too long for a model file: it will know columns or classes by their places")
    return None


def _names_rows(n_classes: int, n: int) -> bool:
    """Whether so many classes of so many rows are no classes, but a name for every row or two."""
    return n_classes > MOST_CLASSES_BY_ITSELF or (n_classes > MOST_CLASSES and 2 * n_classes > n)


def _is_classification(table: Table, name: str, task: str | None) -> bool:
    names = any(column.dtype.kind == "U" for column in table.targets)
    if task == "regression" and names:
        raise ValueError(f"task is 'regression'; {name} has names, expected numbers")
    if len(table.targets) > 1:
        if names or task == "classification":
            raise ValueError(
                f"target is {name}, {len(table.targets)} columns; expected one column of classes, "
                "or columns of numbers"
            )
        return False
    column = next(iter(table.targets))
    if task is not None:
        return task == "classification"
    return names or (column.dtype.kind == "i" and len(np.unique(column)) <= MOST_CLASSES)


def of_digits(arguments: argparse.Namespace, source: str) -> Data:
    classes = [str(digit) for digit in range(10)]
    if source == "digits":
        pictures, digits = datasets.load_digits()
        Y = datasets.one_hot(digits, 10)
        test = np.arange(len(pictures)) % DIGITS_TEST_STEP == 0
        text = f"the bundled digits: {len(pictures)} pictures of 8 x 8 pixels"
        tested = (pictures[test], Y[test])
        return Data(pictures[~test], Y[~test], classes, tested, text, outputs=tuple(classes))
    asked = MNIST_TRAIN_SIZE if arguments.train_size is None else arguments.train_size
    n = integer("train_size", asked, 1)
    (X, labels), (X_test, labels_test) = datasets.load_mnist(arguments.mnist)
    if n > len(X):
        raise ValueError(f"train_size is {n}; expected at most {len(X)}")
    return Data(
        X[:n],
        datasets.one_hot(labels[:n], 10),
        classes,
        (X_test, datasets.one_hot(labels_test, 10)),
        f"MNIST: {len(X)} pictures of 28 x 28 pixels",
        outputs=tuple(classes),
    )


def divided(data: Data, share: float, sizes: Sequence[int], seed: int) -> Sets:
    """Hold out a share of the examples, drawn at random; without one, those for testing judge."""
    learn, held = (data.X, data.Y), None
    if share > 0:
        learn, held = _held_out(data, share, sizes, seed)
    judged, name = held, "held-out"
    if held is None:
        judged, name = data.test, "training" if data.test is None else "test"
    if data.test is not None:
        return Sets(learn, judged, name, data.test, "test")
    return Sets(learn, judged, name, learn if judged is None else judged, name)


def _held_out(data: Data, share: float, sizes: Sequence[int], seed: int) -> tuple[Pair, Pair]:
    """Not by `fit`: what is held out is judged once more at the end."""
    n = len(data.X)
    count = held_out(share, None, n)
    # After the words that have gone into the parameters. Checkpoints know their examples again: a
    # seed must hold out the same ones for good.
    random = RandomNumbers(seed)
    random.words(layout.n_parameters(tuple(sizes)))
    order = np.argsort(random.words(n), kind="stable")
    rest, kept = np.sort(order[count:]), np.sort(order[:count])
    return (data.X[rest], data.Y[rest]), (data.X[kept], data.Y[kept])
