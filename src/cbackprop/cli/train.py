"""``cbackprop train``: a network for the examples of a file, or the lesson's for digits."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from cbackprop import Network
from cbackprop.cli import about, examples, options, training_examples
from cbackprop.cli.epochs import EpochTable
from cbackprop.cli.terminal import note, output_may_fail
from cbackprop.cli.training_examples import MNIST_TRAIN_SIZE, Data, Sets
from cbackprop.cli.training_report import Report
from cbackprop.functions import COSTS, can_serve
from cbackprop.optimizers import OPTIMIZERS, Optimizer, resolve
from cbackprop.scaling import scales_outputs
from cbackprop.training import EarlyStopping, History
from cbackprop.training.metrics import MetricName
from cbackprop.validation import choice, file_path, fraction, integer, non_negative

TASKS = ("classification", "regression")
MISSING = ("refuse", "mean")
# The lesson's network, for --digits and --mnist; and what small tables are well served by.
LESSON_LEARNING_RATE = {"digits": 2.0, "mnist": 1.5}
LESSON_EPOCHS, EPOCHS = 30, 100
HIDDEN = (30,)
BATCH_SIZE = 10

FRACTION_HELD = 0.2
FEWEST_TO_HOLD_OUT = 50  # from this number of examples on a share is held out by itself


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = options.add_command(
        commands,
        "train",
        run,
        "train a network on a table, on the bundled digits or on MNIST",
        "Train a network on the rows of a table, and judge it by a fifth of them that it never "
        "learns from. A target of names, or of at most 20 different whole numbers, is one of "
        "classes: softmax outputs and the cost cross_entropy. Other targets are numbers to be met: "
        "identity outputs and the cost mse. For --digits and --mnist it is the lesson's network: "
        "sigmoid everywhere, quadratic cost, plain gradient descent, judged by the test digits.",
        """
        cbackprop train iris.csv --target species --save iris.model
        cbackprop train houses.csv --target price --drop id --hidden 16,16
        cbackprop train --digits --save digits.model
        """,
    )
    options.add_examples(parser, "MNIST's training digits", "what the others are to tell (-1)")
    parser.add_argument(
        "--categorical",
        metavar="COLUMN[,...]",
        help="columns of words that are inputs, one for each of their categories",
    )
    parser.add_argument(
        "--missing",
        metavar="WHAT",
        help="of empty cells and the like among the inputs: refuse, or mean, that of the column's "
        "training examples, with an input more that says it is missing (refuse)",
    )
    parser.add_argument(
        "--task", help="classification or regression, where the targets leave it open"
    )
    parser.add_argument(
        "--train-size",
        type=int,
        metavar="N",
        help=f"with --mnist train on the first N of the 60,000 digits ({MNIST_TRAIN_SIZE})",
    )
    network = parser.add_argument_group("the network")
    network.add_argument(
        "--hidden",
        type=options.integers,
        action="extend",
        metavar="N[,N...]",
        help=f"sizes of the hidden layers; may be repeated ({','.join(map(str, HIDDEN))})",
    )
    network.add_argument(
        "--sizes",
        type=options.integers,
        metavar="N,N[,N...]",
        help="instead: inputs, hidden, outputs",
    )
    options.add_activations(
        network, "tanh, for digits sigmoid", "softmax, identity; for digits sigmoid"
    )
    network.add_argument(
        "--cost", help=f"{', '.join(COSTS)} (cross_entropy, mse; for digits quadratic)"
    )
    options.add_number_type(network, "float64, with --mnist float32")
    options.add_init(network)
    network.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="that share the work of wide layers, at most (1)",
    )
    options.add_seed(network, "the first parameters, what is held out, and every shuffle")

    training = parser.add_argument_group("the training")
    training.add_argument(
        "--epochs", type=int, metavar="N", help=f"passes ({EPOCHS}, for digits {LESSON_EPOCHS})"
    )
    training.add_argument(
        "--batch-size",
        type=int,
        default=BATCH_SIZE,
        metavar="N",
        help=f"examples a step ({BATCH_SIZE})",
    )
    training.add_argument("--optimizer", help=f"{', '.join(OPTIMIZERS)} (adam, for digits sgd)")
    training.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="size of the steps (the optimizer's own; of sgd 2 for --digits, 1.5 for --mnist)",
    )
    training.add_argument(
        "--l2",
        type=float,
        default=0.0,
        metavar="X",
        help="adds X/2 times the sum of w² to the cost",
    )
    training.add_argument(
        "--standardise",
        action=argparse.BooleanOptionalAction,
        help="train on inputs of mean 0, deviation 1, and on such targets for identity outputs; "
        "the scaling then becomes part of the first and the last layer: the saved model takes "
        "numbers as they are (yes, for digits no)",
    )
    training.add_argument(
        "--validation-fraction",
        type=float,
        metavar="X",
        help=f"share of the examples to hold out ({FRACTION_HELD}; 0 with fewer than "
        f"{FEWEST_TO_HOLD_OUT} examples, and for digits)",
    )
    training.add_argument(
        "--early-stopping",
        type=int,
        nargs="?",
        const=10,
        metavar="EPOCHS",
        help="stop after so many without a lower cost of what is held out (10), and keep the best",
    )
    training.add_argument("--save", metavar="FILE", help="where to write the model")
    training.add_argument(
        "--checkpoint", metavar="FILE", help="a new one, written after each epoch, for --resume"
    )
    training.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, to the bit"
    )
    options.add_json(parser)


class _Asked(NamedTuple):
    """What the options say of the training, every part of it looked at."""

    optimizer: Optimizer
    epochs: int
    batch_size: int
    l2: float
    early_stopping: EarlyStopping | None
    held: float | None  # None: not said


def run(arguments: argparse.Namespace) -> int:
    """Train, say how well it went, and save."""
    if arguments.save is None and arguments.checkpoint is None:
        return _run(arguments)
    with output_may_fail():  # a long training is not lost because nobody reads of it
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    source = examples.source(arguments)
    asked = _asked(arguments, source)
    if source == "data":
        data = training_examples.of_table(arguments)
        net = _network(arguments, source, data)
    else:
        # Of digits all is known: a bad option is told before they are read.
        net = _network(arguments, source, None)
        data = training_examples.of_digits(arguments, source)
    share = _share(asked, source, len(data.X))
    sets = training_examples.divided(data, share, net.sizes, arguments.seed)
    made_of = training_examples.filled(data.columns, sets)
    standardise = source == "data" if arguments.standardise is None else arguments.standardise
    standardised = ""
    if standardise:
        with_outputs = scales_outputs(net.activations[-1], net.cost_function)
        standardised = "inputs and targets" if with_outputs else "inputs"
    task = "regression" if data.classes is None else "classification"
    metadata = about.of_training(task, data.target, arguments.seed, share, standardised, made_of)
    if arguments.resume:
        kept = Network.load(arguments.checkpoint).metadata
        about.require_same(metadata, kept, arguments.checkpoint)

    report = Report(net, asked.optimizer, asked.batch_size, data, sets, standardised)
    if not arguments.json:
        report.before()
    # After it, which has told all of this.
    net.feature_names, net.class_names, net.metadata = data.inputs, data.outputs, metadata
    try:
        history = _fit(net, asked, arguments, sets, standardise, data.metric)
    except KeyboardInterrupt:
        note(f"interrupted; {_what_remains(arguments.checkpoint)}")
        return 130
    if arguments.save is not None:
        net.save(arguments.save)
    if arguments.json:
        facts = {**report.facts(history), "saved": arguments.save}
        options.print_json(facts)
    else:
        report.after(history)
        report.next_commands(arguments.save, source, arguments.mnist)
    return 0


def _fit(
    net: Network,
    asked: _Asked,
    arguments: argparse.Namespace,
    sets: Sets,
    standardise: bool,
    metric: MetricName,
) -> History:
    # A table of epochs on a terminal; and what fit itself shows of long ones, on stderr.
    table = not arguments.json and sys.stdout.isatty()
    callbacks: list[Callable[[Network, History], object]] = []
    if table:
        print()
        callbacks.append(EpochTable(sets.name, asked.epochs, len(sets.learn[0])))
    trained: list[int] = []
    if arguments.resume:
        callbacks.append(lambda _, history: trained.append(history.epochs))
    history = net.fit(
        *sets.learn,
        epochs=asked.epochs,
        batch_size=asked.batch_size,
        optimizer=asked.optimizer,
        l2=asked.l2,
        standardise=standardise,
        validation_data=sets.judged,
        metrics=(metric,),
        early_stopping=asked.early_stopping,
        callbacks=callbacks,
        checkpoint=arguments.checkpoint,
        resume=arguments.resume,
    )
    if arguments.resume and not trained:
        note(
            f"the checkpoint has {history.epochs} epochs, and --epochs is {asked.epochs}: nothing "
            "is left to train"
        )
    return history


def _what_remains(checkpoint: str | None) -> str:
    """Of a training that was stopped."""
    if checkpoint is not None and os.path.isfile(checkpoint) and os.path.getsize(checkpoint) > 0:
        return f"--resume goes on from {checkpoint}"
    return "nothing was saved: with --checkpoint FILE a training can go on"


# ---- what is asked ------------------------------------------------------------------------------


def _asked(arguments: argparse.Namespace, source: str) -> _Asked:
    lesson = source != "data"
    word = arguments.optimizer or ("sgd" if lesson else "adam")
    rate = arguments.learning_rate
    if rate is None and lesson and word == "sgd":
        rate = LESSON_LEARNING_RATE[source]
    if arguments.task is not None:
        choice("task", arguments.task, TASKS)
        if lesson:
            raise ValueError("argument --task: only with DATA")
    if arguments.missing is not None:
        choice("missing", arguments.missing, MISSING)
    for option in ("categorical", "missing"):
        if lesson and getattr(arguments, option) is not None:
            raise ValueError(f"argument --{option}: only with DATA")
    if arguments.train_size is not None and source != "mnist":
        raise ValueError("argument --train-size: only with --mnist")
    if arguments.hidden is not None and arguments.sizes is not None:
        raise ValueError("argument --sizes: not with --hidden, whose sizes it has, too")
    if arguments.resume and arguments.checkpoint is None:
        raise ValueError("argument --resume: only with --checkpoint, the file to go on from")
    for option in ("save", "checkpoint"):
        _require_folder(option, getattr(arguments, option))
    _require_checkpoint(arguments.checkpoint, arguments.resume)
    patience = arguments.early_stopping
    held = arguments.validation_fraction
    if patience is not None and held == 0:
        raise ValueError(
            "argument --early-stopping: only with a --validation-fraction above 0: it looks at the "
            "cost of what is held out"
        )
    return _Asked(
        optimizer=resolve(word, rate),
        epochs=integer(
            "epochs",
            (LESSON_EPOCHS if lesson else EPOCHS) if arguments.epochs is None else arguments.epochs,
            0,
        ),
        batch_size=integer("batch_size", arguments.batch_size, 1),
        l2=non_negative("l2", arguments.l2),
        early_stopping=None if patience is None else EarlyStopping(patience),
        held=None if held is None else fraction("validation_fraction", held),
    )


def _require_folder(option: str, path: str | None) -> None:
    """A file that cannot be written is told before the training, not after."""
    if path is None:
        return
    folder = os.path.dirname(os.path.abspath(file_path(option, path)))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{option} is {path!r}; expected a folder that is there: {folder}")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{option} is {path!r}; expected a file, not a folder")


def _require_checkpoint(path: str | None, resume: bool) -> None:
    """A file to go on from, or none yet: one word forgotten must not cost a long training."""
    if path is None:
        return
    if resume and not os.path.exists(path):
        raise FileNotFoundError(
            f"checkpoint is {path!r}, which is not there; expected one to go on from (without "
            "--resume the training begins)"
        )
    # A file without contents is one that was made to be written.
    if not resume and os.path.isfile(path) and os.path.getsize(path) > 0:
        raise FileExistsError(
            f"checkpoint is {path!r}, which is there already; expected --resume to go on from it, "
            "or a file of another name"
        )


def _share(asked: _Asked, source: str, n: int) -> float:
    """How much of the examples is held out."""
    if asked.held is not None:
        return asked.held
    by_itself = source == "data" and n >= FEWEST_TO_HOLD_OUT
    return FRACTION_HELD if by_itself or asked.early_stopping is not None else 0.0


def _network(arguments: argparse.Namespace, source: str, data: Data | None) -> Network:
    """The network by its options, and by the data where they say nothing; without data digits'."""
    if data is None:
        n_in, n_out, classify = 64 if source == "digits" else 784, 10, True
    else:
        n_in, n_out, classify = data.X.shape[1], data.Y.shape[1], data.classes is not None
    lesson = source != "data"
    sizes = arguments.sizes or [n_in, *(arguments.hidden or HIDDEN), n_out]
    if lesson:
        activation, output = "sigmoid", "sigmoid"
    else:
        activation, output = "tanh", "softmax" if classify else "identity"
    activations: Any = options.activations(arguments, len(sizes) - 1, activation, output)
    cost = arguments.cost
    if cost is None and lesson:
        cost = "quadratic"
    elif cost is None:
        possible = classify and can_serve(activations[-1], "cross_entropy")
        cost = "cross_entropy" if possible else "mse"
    net = Network(
        sizes,
        activations,
        cost,
        dtype=arguments.dtype or ("float32" if source == "mnist" else "float64"),
        init=arguments.init or "auto",
        seed=arguments.seed,
        threads=arguments.threads,
    )
    if net.sizes[0] != n_in or net.sizes[-1] != n_out:
        raise ValueError(
            f"sizes is {list(net.sizes)}; expected {n_in} inputs and {n_out} outputs, as the "
            "examples have"
        )
    return net
