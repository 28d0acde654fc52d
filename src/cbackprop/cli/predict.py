"""``cbackprop predict``: a saved network's outputs for the rows of a table."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from cbackprop import Network
from cbackprop.cli import examples
from cbackprop.cli.options import add_command, add_examples, add_json, names, print_json
from cbackprop.functions import Array
from cbackprop.tables import Table
from cbackprop.validation import file_path

ENDINGS = (".csv", ".npy")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "predict",
        run,
        "write a saved model's outputs for each row of a table",
        "Write a saved model's outputs for each row of a table: CSV on standard output, or a file. "
        "If --target names the true answers in the table, say on stderr how good the outputs are.",
        """
        cbackprop predict iris.model new.csv --labels setosa,versicolor,virginica
        cbackprop predict houses.model houses.csv --target price --out out.csv
        cbackprop predict digits.model --digits --labels
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="a file of train --save or Network.save")
    add_examples(parser, "MNIST's test digits", "the true answers, if there (none)")
    parser.add_argument(
        "--labels",
        nargs="?",
        const="",
        metavar="NAME,...",
        help="begin each row with the class of the largest output: its number, or its name of "
        "these, in the order of the outputs (train says it)",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="write there: .csv, or .npy (outputs, with --labels classes)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Predict, and write."""
    if arguments.out is not None:
        file_path("out", arguments.out)
        if os.path.splitext(arguments.out)[1] not in ENDINGS:
            raise ValueError(f"out is {arguments.out!r}; expected a name ending in .csv or .npy")
        if arguments.json:
            raise ValueError("argument --json: not with --out, a file of another form")
    net = examples.model(arguments.model)
    labels = _labels(arguments.labels, net)
    table = examples.read(arguments, None, True)
    examples.require_inputs(table, net)
    outputs = net.predict(table.X)
    classes = None if labels is None else [labels[j] for j in _largest(outputs)]
    scores = _scores(arguments, net, table, labels) if table.targets else None
    if arguments.json:
        facts = {"outputs": outputs.tolist(), "labels": classes, "scores": scores}
        print_json(facts)
        return 0
    if arguments.out is None:
        if sys.stdout is not None:
            _write_csv(sys.stdout, outputs, classes, labels)
    elif arguments.out.endswith(".npy"):
        np.save(arguments.out, outputs if classes is None else np.array(classes))
    else:
        with open(arguments.out, "w", encoding="utf-8", newline="") as stream:
            _write_csv(stream, outputs, classes, labels)
    if scores is not None:
        print(examples.in_words(scores, len(outputs)), file=sys.stderr)
    return 0


def _labels(text: str | None, net: Network) -> list[str] | None:
    """The classes' names in the order of the outputs; one output tells two classes apart."""
    if text is None:
        return None
    n_classes = max(net.sizes[-1], 2)
    given = names(text) if text else [str(j) for j in range(n_classes)]
    if given is None or len(given) != n_classes:
        raise ValueError(
            f"labels is {text!r}; expected {n_classes} names, as the model has "
            f"{net.sizes[-1]} output{'s' if net.sizes[-1] > 1 else ''}"
        )
    if len(set(given)) < n_classes:
        raise ValueError(f"labels is {text!r}; expected no name twice")
    return given


def _largest(outputs: Array) -> list[int]:
    """The number of each example's class."""
    if outputs.shape[1] == 1:
        return [int(above) for above in (outputs[:, 0] > 0.5).tolist()]
    classes: list[int] = outputs.argmax(axis=1).tolist()
    return classes


def _scores(
    arguments: argparse.Namespace, net: Network, table: Table, labels: Sequence[str] | None
) -> dict[str, float]:
    known = examples.known_classes(arguments, net) if labels is None else labels
    Y, are_classes = examples.targets_of(table, net, known)
    return examples.scores(net, table.X, Y, are_classes)


def _write_csv(
    stream: IO[str], outputs: Array, classes: Sequence[str] | None, labels: Sequence[str] | None
) -> None:
    """A header and a row for each example; numbers with every digit that they have."""
    writer = csv.writer(stream, lineterminator="\n")
    header = [f"output {j}" for j in range(outputs.shape[1])]
    if labels is not None and len(labels) == outputs.shape[1]:
        header = list(labels)
    writer.writerow(header if classes is None else ["label", *header])
    for i, row in enumerate(outputs):
        # By each number's own text: the shortest that gives its bits again, of float32 as well.
        numbers = [str(value) for value in row]
        writer.writerow(numbers if classes is None else [classes[i], *numbers])
