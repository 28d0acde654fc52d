"""``cbackprop train``."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from cbackprop import datasets
from cbackprop.cli.epochs import EpochTable
from cbackprop.cli.options import add_common, add_network, integers, network
from cbackprop.optimizers import resolve
from cbackprop.validation import integer

SGD_LEARNING_RATE = 1.5


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="train on MNIST",
        description="Train a network on MNIST and report its accuracy on the 10,000 test digits.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--mnist",
        required=True,
        metavar="DIR",
        help="folder with the four official files, plain or .gz",
    )
    parser.add_argument(
        "--hidden",
        type=integers,
        action="extend",
        metavar="N[,N...]",
        help="sizes of the hidden layers; may be repeated (30)",
    )
    add_common(parser)
    parser.add_argument(
        "--batch-size", type=int, default=10, metavar="N", help="examples a step (10)"
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help=f"size of the steps ({SGD_LEARNING_RATE} for sgd, adam's own 0.001)",
    )
    parser.add_argument(
        "--train-size",
        type=int,
        default=50_000,
        metavar="N",
        help="train on the first N of the 60,000 training digits (50000)",
    )
    parser.add_argument("--optimizer", default="sgd", help="sgd or adam (sgd)")
    add_network(parser, "float32")


def run(arguments: argparse.Namespace) -> int:
    # All of this before the data are read: a bad option is then told at once.
    net = network([784, *(arguments.hidden or [30]), 10], arguments)
    rate = arguments.learning_rate
    if rate is None and arguments.optimizer == "sgd":
        rate = SGD_LEARNING_RATE
    optimizer = resolve(arguments.optimizer, rate)
    epochs = integer("epochs", arguments.epochs, 0)
    batch_size = integer("batch_size", arguments.batch_size, 1)
    n = integer("train_size", arguments.train_size, 1)

    (X, labels), (X_test, labels_test) = datasets.load_mnist(arguments.mnist)
    if n > len(X):
        raise ValueError(f"train_size is {n}; expected at most {len(X)}")
    Y = datasets.one_hot(labels[:n], 10)
    Y_test = datasets.one_hot(labels_test, 10)

    print(net.summary())
    print(f"{n} training examples in batches of {batch_size}, {len(X_test)} test examples")
    print(optimizer)
    print(flush=True)
    history = net.fit(
        X[:n],
        Y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        validation_data=(X_test, Y_test),
        metrics=("accuracy",),
        callbacks=(EpochTable(n),),
    )
    accuracies = history.metrics["accuracy"] or [net.score(X_test, Y_test)]
    best = int(np.argmax(accuracies))
    where = f" (epoch {best + 1})" if history.epochs else ""
    print()
    print(f"test accuracy: final {accuracies[-1]:.4f}, best {accuracies[best]:.4f}{where}")
    return 0
