"""``cbackprop predict``: a saved network's outputs for the rows of a table."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

from cbackprop import Network
from cbackprop.classes import threshold_of
from cbackprop.cli import examples
from cbackprop.cli.options import add_command, add_examples, add_json, print_json
from cbackprop.cli.terminal import aside, data_output, naming
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
        cbackprop predict iris.model new.csv
        cbackprop predict houses.model houses.csv --target price --out out.csv
        cbackprop predict digits.model --digits
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="a file of train --save or Network.save")
    add_examples(parser, "MNIST's test digits", "the true answers, if there (none)")
    parser.add_argument(
        "--labels",
        nargs="?",
        const="",
        metavar="NAME,...",
        help="for a model that has no names of its classes: begin each row with that of the "
        "largest output, its number, or its name of these, in the order of the outputs",
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
    labels = examples.labels_of(arguments.labels, net)
    table = examples.read(arguments, net, last=False, mixed=True)
    examples.require_inputs(table, net)
    outputs = net.predict(table.X)
    classes = None if labels is None else [labels[j] for j in _largest(net, outputs)]
    scores = _scores(net, table, labels) if table.targets else None
    if arguments.json:
        facts = {"outputs": outputs.tolist(), "labels": classes, "scores": scores}
        print_json(facts)
        return 0
    header = _header(net, labels)
    if arguments.out is None:
        _write_csv(data_output(), outputs, classes, header)
    elif arguments.out.endswith(".npy"):
        asked = arguments.labels is not None
        with naming(arguments.out):
            np.save(arguments.out, np.array(classes) if asked else outputs)
    else:
        with naming(arguments.out), open(arguments.out, "w", encoding="utf-8", newline="") as file:
            _write_csv(file, outputs, classes, header)
    if scores is not None:
        aside(examples.in_words(scores, len(outputs)))
    return 0


def _largest(net: Network, outputs: Array) -> list[int]:
    """The number of each example's class."""
    if outputs.shape[1] == 1:
        threshold = threshold_of(net.activations[-1])
        return [int(above) for above in (outputs[:, 0] > threshold).tolist()]
    classes: list[int] = outputs.argmax(axis=1).tolist()
    return classes


def _scores(net: Network, table: Table, labels: Sequence[str] | None) -> dict[str, float]:
    Y, are_classes = examples.targets_of(table, net, labels)
    return examples.scores(net, table.X, Y, are_classes)


def _header(net: Network, labels: Sequence[str] | None) -> list[str]:
    """A name for each output: of its class, of what it tells, or of its number."""
    n_out = net.sizes[-1]
    names = net.class_names if labels is None else labels
    if names is not None and len(names) == n_out:
        return list(names)
    return [f"output {j}" for j in range(n_out)]


def _write_csv(
    stream: IO[str], outputs: Array, classes: Sequence[str] | None, header: Sequence[str]
) -> None:
    """A header and a row for each example; numbers with every digit that they have."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header if classes is None else ["label", *header])
    for i, row in enumerate(outputs):
        # By each number's own text: the shortest that gives its bits again, of float32 as well.
        numbers = [str(value) for value in row]
        writer.writerow(numbers if classes is None else [classes[i], *numbers])
