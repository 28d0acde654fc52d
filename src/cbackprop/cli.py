"""The command line: ``cbackprop demo``, ``train``, ``check``, ``step``, ``bench`` and ``info``.

Exit statuses: 0; 1 where the computation itself disappoints (a failed check, divergence); 2 for
what was asked wrongly; 130 for Ctrl-C; 141 where the reader of a pipe has gone. Every error is one
line on stderr.
"""

from __future__ import annotations

import argparse
import codecs
import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from cbackprop import Network, __version__, datasets, info
from cbackprop.functions import ACTIVATIONS, COSTS, INITS, OUTPUTS_OF_COST, Array, name_of
from cbackprop.gradient_check import GradientCheck
from cbackprop.optimizers import resolve
from cbackprop.random_numbers import RandomNumbers
from cbackprop.step_command import add_step
from cbackprop.training import History
from cbackprop.validation import backend, integer, number_type

# With these every one of the seeds 0 to 9 reaches a test accuracy of 0.969 or more.
DEMO_BATCH_SIZE = 10
DEMO_LEARNING_RATE = 2.0
DEMO_ACCURACY = 0.95
DEMO_TEST_STEP = 5  # every fifth digit is for testing: 360 of 1,797
NUDGES = (0.1, 0.01, 0.001)
N_CHECKED = 5

# What check --all builds, and with which hidden activation and output where it varies the other.
CHECKED_SIZES = (5, 7, 6, 4)
CHECKED_HIDDEN = "tanh"
CHECKED_OUTPUT = ("sigmoid", "quadratic")

TRAIN_SGD_LEARNING_RATE = 1.5

SHADES = " .:-=+*#%@"
WIDTH = 80


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit status. ``--help`` and ``--version`` raise SystemExit(0), as argparse does.
    """
    _make_encodable()
    try:
        parser = _parser()
        arguments = parser.parse_args(argv)
        if arguments.run is None:
            parser.print_help(sys.stderr)
            return 2
        status: int = arguments.run(arguments)
        # Here and not at interpreter exit, where a closed pipe could no longer be caught.
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("cbackprop: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        _discard_output()
        return 141
    except (FloatingPointError, MemoryError) as error:
        return _failed(error, 1)
    except (OSError, TypeError, ValueError) as error:
        return _failed(error, 2)


# ---- what can be asked -------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, like every other error of this program."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="cbackprop",
        description="Exact gradients and training of dense neural networks, with every factor of "
        "the chain rule open to inspection.",
    )
    parser.add_argument("--version", action="version", version=f"cbackprop {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="command")

    demo = commands.add_parser(
        "demo",
        help="train on the bundled digits and show the chain rule at work",
        description="Train a network on the bundled 8x8 digits, then take one weight's derivative "
        "apart, nudge the weight, and check the whole gradient.",
    )
    demo.set_defaults(run=_demo)
    _add_common(demo)

    train = commands.add_parser(
        "train",
        help="train on MNIST",
        description="Train a network on MNIST and report its accuracy on the 10,000 test digits.",
    )
    train.set_defaults(run=_train)
    train.add_argument(
        "--mnist",
        required=True,
        metavar="DIR",
        help="folder with the four official files, plain or .gz",
    )
    train.add_argument(
        "--hidden",
        type=_integers,
        action="extend",
        metavar="N[,N...]",
        help="sizes of the hidden layers; may be repeated (30)",
    )
    _add_common(train)
    train.add_argument(
        "--batch-size", type=int, default=10, metavar="N", help="examples a step (10)"
    )
    train.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help=f"size of the steps ({TRAIN_SGD_LEARNING_RATE} for sgd, adam's own 0.001)",
    )
    train.add_argument(
        "--train-size",
        type=int,
        default=50_000,
        metavar="N",
        help="train on the first N of the 60,000 training digits (50000)",
    )
    train.add_argument("--optimizer", default="sgd", help="sgd or adam (sgd)")
    _add_network(train, "float32")

    check = commands.add_parser(
        "check",
        help="check a whole gradient against nudges of every parameter",
        description="Check the gradient of a network against nudges of every parameter, without "
        "backpropagation: on bundled digits where it has 64 inputs and 10 outputs, otherwise on "
        "random examples. Status 1 if they disagree.",
    )
    check.set_defaults(run=_check)
    check.add_argument(
        "--all",
        action="store_true",
        help="instead of one network: every output activation with every cost it can have, and "
        "every hidden activation, in both number types",
    )
    check.add_argument(
        "--sizes",
        type=_integers,
        metavar="N,N[,N...]",
        help="inputs, hidden layers, outputs (64,30,10)",
    )
    _add_network(check, None)
    check.add_argument("--backend", default="compiled", help="compiled or reference (compiled)")
    check.add_argument(
        "--examples", type=int, default=N_CHECKED, metavar="N", help=f"examples ({N_CHECKED})"
    )
    _add_seed(check, "the parameters and random examples")
    check.add_argument("--json", action="store_true", help="as one JSON object")

    add_step(commands)

    measure = commands.add_parser(
        "bench",
        help="measure this machine's limits and how near to them this installation comes",
        description="Measure this machine's limits, and how near to them training, gradients and "
        "predictions of usual sizes come, on random numbers. Takes about half a minute.",
    )
    measure.set_defaults(run=_bench)
    measure.add_argument("--dtype", default="float32", help="float32 or float64 (float32)")
    measure.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="measurements of each workload (5)"
    )
    measure.add_argument(
        "--only", metavar="NAME[,NAME...]", help="these workloads, such as W1,W4 (all)"
    )
    measure.add_argument("--json", action="store_true", help="as one JSON object")

    information = commands.add_parser(
        "info",
        help="say what this installation computes with",
        description="Say what this installation computes with.",
    )
    information.set_defaults(run=_info)
    information.add_argument("--json", action="store_true", help="as one JSON object")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epochs", type=int, default=30, metavar="N", help="passes over the training data (30)"
    )
    _add_seed(parser, "the first parameters and every shuffle")


def _add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"fixes {what} (0)")


def _add_network(parser: argparse.ArgumentParser, dtype: str | None) -> None:
    """Options of a Network, None where not given; without a dtype, float64 is the default."""
    parser.add_argument("--dtype", default=dtype, help=f"float32 or float64 ({dtype or 'float64'})")
    parser.add_argument("--init", help=f"{', '.join(INITS)} (auto)")
    parser.add_argument("--cost", help=f"{', '.join(COSTS)} (quadratic)")
    parser.add_argument(
        "--activation",
        metavar="NAME[,NAME...]",
        help="one for all layers, or one for each after the input: "
        f"{', '.join(ACTIVATIONS)} (sigmoid)",
    )


def _network(sizes: Sequence[int], arguments: argparse.Namespace, **others: Any) -> Network:
    """A Network by the options of `_add_network`."""
    names = ["sigmoid"] if arguments.activation is None else arguments.activation.split(",")
    return Network(
        sizes,
        names[0] if len(names) == 1 else names,
        "quadratic" if arguments.cost is None else arguments.cost,
        dtype="float64" if arguments.dtype is None else arguments.dtype,
        init="auto" if arguments.init is None else arguments.init,
        seed=arguments.seed,
        **others,
    )


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected an integer or several with commas between, such as 16,16"
        ) from None


# ---- demo --------------------------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> int:
    epochs = integer("epochs", arguments.epochs, 0)
    net = Network([64, 30, 10], seed=arguments.seed)
    images, labels = datasets.load_digits()
    targets = datasets.one_hot(labels, 10)
    held_out = np.arange(len(labels)) % DEMO_TEST_STEP == 0
    X, Y = images[~held_out], targets[~held_out]
    X_test, Y_test = images[held_out], targets[held_out]

    print("A network learns to read handwritten digits: 64 pixels in, 30 hidden neurons,")
    print(f"10 outputs; {net.n_parameters} weights and biases. {_computed_by()}")
    print(f"It learns from {len(X)} digits and is tested on {len(X_test)} it never learns from.")
    print("An epoch is one pass over the first; accuracy is the share of the others it")
    print("reads right; the cost is low where the outputs are near the wanted ones.")
    print()
    history = net.fit(
        X,
        Y,
        epochs=epochs,
        batch_size=DEMO_BATCH_SIZE,
        learning_rate=DEMO_LEARNING_RATE,
        validation_data=(X_test, Y_test),
        metrics=("accuracy",),
        callbacks=(_EpochTable(),),
    )
    accuracy = net.score(X_test, Y_test)

    example, hidden = _most_to_learn(net, X_test, Y_test)
    _explain(net, X_test[example], Y_test[example], hidden)

    check = net.check_gradient(X_test[:N_CHECKED], Y_test[:N_CHECKED])
    print()
    print(f"All {net.n_parameters} derivatives, for {N_CHECKED} test digits, against nudges:")
    _print_wrapped(str(check))

    print()
    if history.seconds > 0:
        rate = len(X) * history.epochs / history.seconds
        print(
            f"Speed: {rate:,.0f} training examples a second "
            f"({history.epochs} epochs in {history.seconds:.3g} s)."
        )
    if not check.passed:
        print("FAILED: the gradient check did not pass.")
        return 1
    if accuracy < DEMO_ACCURACY:
        print(
            f"FAILED: test accuracy {accuracy:.4f} is below {DEMO_ACCURACY} "
            f"(epochs: {history.epochs}; more may help)."
        )
        return 1
    print(f"Done: test accuracy {accuracy:.4f}, gradient check passed.")
    return 0


def _explain(net: Network, x: Array, y: Array, hidden: int) -> None:
    """Show one digit, and the derivative of its cost by one weight: as a product, and nudged."""
    digit = int(y.argmax())
    outputs = net.predict(x)
    print()
    print("The test digit this network could still learn most from, and its ten outputs:")
    _print_digit(x, digit, outputs)

    chain = net.chain_rule(x, y)
    term = chain.weight(layer=2, j=digit, k=hidden)
    print()
    print(f"How does its cost C = {chain.cost:.4f} depend on w, the weight from hidden neuron")
    print(f"{hidden} to output neuron {digit}? By the chain rule, a product of three factors:")
    print("∂C/∂w = ∂z/∂w · ∂a/∂z · ∂C/∂a")
    print(f"  ∂z/∂w  {term.dz_dw:>13.9f}   the activation of hidden neuron {hidden}")
    print(f"  ∂a/∂z  {term.da_dz:>13.9f}   σ′(z), the slope of the sigmoid at this neuron's z")
    print(f"  ∂C/∂a  {term.dC_da:>13.9f}   2(a - y) = 2({outputs[digit]:.4f} - {y[digit]:g})")
    print(f"  product{term.value:>13.9f}   the derivative ∂C/∂w")

    print()
    print("Nudge w and run the network again. Predicted is nudge · ∂C/∂w; the smaller the")
    print("nudge, the nearer measured / nudge comes to ∂C/∂w.")
    print(f"{'nudge':>8}{'predicted change':>20}{'measured change':>20}{'measured / nudge':>20}")
    for size in NUDGES:
        nudge = term.nudge(size)
        print(f"{size:>8g}{nudge.predicted:>20.9f}{nudge.measured:>20.9f}{nudge.ratio:>20.9f}")


def _most_to_learn(net: Network, X: Array, Y: Array) -> tuple[int, int]:
    """The example and the hidden neuron k of the largest |∂C/∂w_jk| with j the true digit's."""
    backward = net.backward(X, Y)
    delta_j = backward.delta[-1][np.arange(len(Y)), Y.argmax(axis=1)]
    size = np.abs(delta_j[:, np.newaxis] * backward.a[-2])
    example, hidden = np.unravel_index(size.argmax(), size.shape)
    return int(example), int(hidden)


def _print_digit(x: Array, label: int, outputs: Array) -> None:
    """An 8x8 picture in characters, with the label and the outputs beside it."""
    prediction = int(outputs.argmax())
    verdict = "right" if prediction == label else "wrong"
    beside = [f"label {label}, prediction {prediction}: {verdict}", ""]
    beside += [
        f"{j}: {outputs[j]:.4f}    {j + 5}: {outputs[j + 5]:.4f}" for j in range(len(outputs) // 2)
    ]
    beside += [""]
    for row, text in zip(x.reshape(8, 8), beside, strict=True):
        # Each pixel twice, because characters are about twice as high as wide.
        pixels = "".join(2 * SHADES[round(value * (len(SHADES) - 1))] for value in row.tolist())
        print(f"  |{pixels}|   {text}".rstrip())


# ---- train -------------------------------------------------------------------------------------


def _train(arguments: argparse.Namespace) -> int:
    # All of this before the data are read: a bad option is then told at once.
    net = _network([784, *(arguments.hidden or [30]), 10], arguments)
    rate = arguments.learning_rate
    if rate is None and arguments.optimizer == "sgd":
        rate = TRAIN_SGD_LEARNING_RATE
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
        callbacks=(_EpochTable(n),),
    )
    accuracies = history.metrics["accuracy"] or [net.score(X_test, Y_test)]
    best = int(np.argmax(accuracies))
    where = f" (epoch {best + 1})" if history.epochs else ""
    print()
    print(f"test accuracy: final {accuracies[-1]:.4f}, best {accuracies[best]:.4f}{where}")
    return 0


class _EpochTable:
    """A callback of fit: a line per epoch, with the speed where the number of examples is given."""

    def __init__(self, n_examples: int | None = None) -> None:
        self.n_examples = n_examples
        self.seconds = 0.0

    def __call__(self, network: Network, history: History) -> None:
        line = f"{'epoch':>5}{'training cost':>16}{'test cost':>13}{'test accuracy':>16}"
        if history.epochs == 1:
            print(line + (f"{'seconds':>10}{'examples/s':>13}" if self.n_examples else ""))
        line = (
            f"{history.epochs:>5}{history.cost[-1]:>16.6f}{history.validation_cost[-1]:>13.6f}"
            f"{history.metrics['accuracy'][-1]:>16.4f}"
        )
        if self.n_examples:
            seconds = history.seconds - self.seconds
            self.seconds = history.seconds
            rate = f"{self.n_examples / seconds:,.0f}" if seconds > 0 else "-"
            line += f"{seconds:>10.3f}{rate:>13}"
        print(line, flush=True)


# ---- check -------------------------------------------------------------------------------------


def _check(arguments: argparse.Namespace) -> int:
    n = integer("examples", arguments.examples, 1)
    if arguments.all:
        return _check_all(arguments, n)
    net = _network(arguments.sizes or [64, 30, 10], arguments, backend=arguments.backend)
    digits = net.sizes[0] == 64 and net.sizes[-1] == 10
    X, Y = _first_digits(n) if digits else _random_examples(net, n, arguments.seed)
    check = net.check_gradient(X, Y)
    if arguments.json:
        facts = {**_facts(net, check), "examples": n, "data": "digits" if digits else "random"}
        print(json.dumps(facts, indent=2, allow_nan=False))
    else:
        count = f"{n} {'digit' if digits else 'random example'}{'' if n == 1 else 's'}"
        _print_wrapped(f"{_in_words(net)}; {count}")
        print(check)
    return 0 if check.passed else 1


def _check_all(arguments: argparse.Namespace, n: int) -> int:
    """A line for every output activation with every cost, and for every hidden activation."""
    for option in ("sizes", "activation", "cost", "init"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"argument --{option}: not with --all, which takes every one in turn")
    dtypes = ["float64", "float32"] if arguments.dtype is None else [number_type(arguments.dtype)]
    seed = integer("seed", arguments.seed, 0)
    engine = backend(arguments.backend)
    rows = []
    n_failed = 0
    began = time.perf_counter()
    if not arguments.json:
        print(f"{'hidden':<12}{'output':<12}{'cost':<15}" + "".join(f"{d:>10}" for d in dtypes))
    for hidden, output, cost in _combinations():
        line = f"{hidden:<12}{output:<12}{cost:<15}"
        failed = []
        for dtype in dtypes:
            net = Network(
                CHECKED_SIZES,
                [*[hidden] * (len(CHECKED_SIZES) - 2), output],
                cost,
                dtype=dtype,
                seed=seed,
                backend=engine,
            )
            check = net.check_gradient(*_random_examples(net, n, seed))
            rows.append(_facts(net, check))
            line += f"{max(part.relative_error for part in check.parts):>10.1e}"
            if not check.passed:
                failed.append(f"{dtype}: {check.worst}")
        n_failed += len(failed)
        if not arguments.json:
            print(
                f"{line}  FAILED, {'; '.join(failed)}" if failed else f"{line}  passed", flush=True
            )
    if arguments.json:
        facts = {"passed": n_failed == 0, "examples": n, "checks": rows}
        print(json.dumps(facts, indent=2, allow_nan=False))
    else:
        print(
            f"{len(rows)} checks of {_layers_of(net)} networks, {_computer_of(net)}, "
            f"{n_failed} FAILED; {time.perf_counter() - began:.1f} s"
        )
    return 1 if n_failed else 0


def _combinations() -> list[tuple[str, str, str]]:
    """Hidden activation, output activation and cost: each pair of the last two, and each first."""
    found = [
        (CHECKED_HIDDEN, output, cost)
        for output in ACTIVATIONS
        for cost in COSTS
        if output in OUTPUTS_OF_COST.get(cost, ACTIVATIONS)
    ]
    hidden = [name for name in ACTIVATIONS if name not in ("softmax", CHECKED_HIDDEN)]
    return found + [(name, *CHECKED_OUTPUT) for name in hidden]


def _first_digits(n: int) -> tuple[Array, Array]:
    images, labels = datasets.load_digits()
    if n > len(images):
        raise ValueError(f"examples is {n}; expected at most {len(images)}, the bundled digits")
    return images[:n], datasets.one_hot(labels[:n], 10)


def _random_examples(net: Network, n: int, seed: int) -> tuple[Array, Array]:
    """Inputs from N(0, 1), and targets of the kind that the outputs and the cost are made for."""
    random = RandomNumbers(seed)
    random.words(net.n_parameters)  # these have gone into the parameters
    n_in, n_out = net.sizes[0], net.sizes[-1]
    X = random.normal(n * n_in).reshape(n, n_in)
    uniform = random.uniform(n * n_out).reshape(n, n_out)
    if net.activations[-1] == "softmax":
        return X, datasets.one_hot(uniform.argmax(axis=1), n_out)
    if net.cost_function == "cross_entropy":
        return X, uniform
    if net.cost_function == "poisson":
        return X, np.floor(4 * uniform)  # counts
    return X, 2 * uniform - 1


def _facts(net: Network, check: GradientCheck) -> dict[str, Any]:
    """What --json prints of a network and its check; null for what is not finite."""

    def number(value: float) -> float | None:
        return value if np.isfinite(value) else None

    return {
        "sizes": net.sizes,
        "activations": net.activations,
        "cost": net.cost_function,
        "dtype": net.dtype.name,
        "backend": net.backend,
        "simd_level": info()["simd_level"] if net.backend == "compiled" else None,
        "method": check.method,
        "tolerance": check.tolerance,
        "passed": check.passed,
        "max_relative_error": number(check.max_relative_error),
        "worst": check.worst,
        "parts": [
            {
                "layer": part.layer,
                "kind": part.kind,
                "largest_gradient": part.largest_gradient,
                "largest_error": number(part.largest_error),
                "relative_error": number(part.relative_error),
                "place": part.place,
            }
            for part in check.parts
        ],
    }


def _in_words(net: Network) -> str:
    """A network in one line."""
    names = [name_of(activation) for activation in net.activations]
    return (
        f"{_layers_of(net)} {names[0] if len(set(names)) == 1 else ', '.join(names)}, "
        f"{name_of(net.cost_function)}, {net.dtype.name}, {_computer_of(net)}"
    )


def _layers_of(net: Network) -> str:
    return "-".join(str(size) for size in net.sizes)


def _computer_of(net: Network) -> str:
    level = info()["simd_level"]
    return f"compiled ({level})" if net.backend == "compiled" else "reference"


# ---- bench -------------------------------------------------------------------------------------


def _bench(arguments: argparse.Namespace) -> int:
    from cbackprop import bench  # the only command that needs it

    dtype = number_type(arguments.dtype)
    rounds = integer("rounds", arguments.rounds, 1)
    workloads = bench.chosen(arguments.only)
    limits = bench.measured_limits(dtype)
    machine = bench.machine(dtype, limits)
    if arguments.json:
        rows = [bench.row(workload, limits, dtype, rounds) for workload in workloads]
        print(json.dumps({"machine": machine, "rounds": rounds, "workloads": rows}, indent=2))
        return 0
    print(bench.machine_lines(machine))
    print()
    print(bench.HEADING, flush=True)
    for workload in workloads:
        print(bench.line(bench.row(workload, limits, dtype, rounds)), flush=True)
    return 0


# ---- info --------------------------------------------------------------------------------------


def _info(arguments: argparse.Namespace) -> int:
    facts = dict(info())
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return 0
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {_plain(value)}")
    return 0


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _computed_by() -> str:
    level = info()["simd_level"]
    if level is None:
        return "The NumPy reference computes."
    return f"Compiled core, SIMD level {level}."


# ---- terminals, pipes and errors ---------------------------------------------------------------


def _print_wrapped(text: str) -> None:
    for line in text.splitlines():
        for part in textwrap.wrap(line, WIDTH, subsequent_indent="  "):
            print(part)


def _failed(error: Exception, status: int) -> int:
    """Say what went wrong in one line, without a traceback."""
    print(f"cbackprop: error: {' '.join(str(error).split())}", file=sys.stderr)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Standard output itself is what failed; Python would try it again at exit.
        _discard_output()
    return status


def _discard_output() -> None:
    """Send what is still in stdout's buffer nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _make_encodable() -> None:
    """Let a terminal that lacks the lesson's letters show plain ones of the same width."""
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        codecs.register_error("cbackprop.plain", _plain_letters)
        reconfigure(errors="cbackprop.plain")


def _plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = {"∂": "d", "σ": "s", "′": "'", "·": "*", "Σ": "S", "µ": "u"}
    text = error.object[error.start : error.end]
    return "".join(letters.get(letter, "?") for letter in text), error.end
