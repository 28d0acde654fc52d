"""``cbackprop check``: gradients against nudges of every parameter."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from cbackprop import Network, datasets, info
from cbackprop.cli import options
from cbackprop.cli.terminal import print_wrapped
from cbackprop.functions import ACTIVATIONS, COSTS, Array, can_serve, name_of
from cbackprop.gradient_check import GradientCheck
from cbackprop.random_numbers import RandomNumbers
from cbackprop.validation import backend, integer, number_type

N_CHECKED = 5

# What check --all builds, and with which hidden activation and output where it varies the other.
CHECKED_SIZES = (5, 7, 6, 4)
CHECKED_HIDDEN = "tanh"
CHECKED_OUTPUT = ("sigmoid", "quadratic")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = options.add_command(
        commands,
        "check",
        run,
        "check a whole gradient against nudges of every parameter",
        "Check the gradient of a network against nudges of every parameter, without "
        "backpropagation: on bundled digits where it has 64 inputs and 10 outputs, otherwise on "
        "random examples. Status 1 if they disagree.",
        """
        cbackprop check
        cbackprop check --sizes 8,16,3 --activation gelu,softmax --cost cross_entropy
        cbackprop check --all
        """,
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="instead of one network: every output activation with every cost it can have, and "
        "every hidden activation, in both number types",
    )
    options.add_sizes(parser, "N,N[,N...]", "64,30,10")
    options.add_number_type(parser, "float64")
    options.add_init(parser)
    parser.add_argument("--cost", help=f"{', '.join(COSTS)} (quadratic)")
    options.add_activations(parser, "sigmoid", "sigmoid")
    parser.add_argument("--backend", default="compiled", help="compiled or reference (compiled)")
    parser.add_argument(
        "--examples", type=int, default=N_CHECKED, metavar="N", help=f"examples ({N_CHECKED})"
    )
    options.add_seed(parser, "the parameters and random examples")
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    n = integer("examples", arguments.examples, 1)
    if arguments.all:
        return _check_all(arguments, n)
    net = options.network_of(arguments, (64, 30, 10), arguments.backend)
    digits = net.sizes[0] == 64 and net.sizes[-1] == 10
    X, Y = _first_digits(n) if digits else random_examples(net, n, arguments.seed)
    check = net.check_gradient(X, Y)
    if arguments.json:
        facts = {**_facts(net, check), "examples": n, "data": "digits" if digits else "random"}
        options.print_json(facts)
    else:
        count = f"{n} {'digit' if digits else 'random example'}{'' if n == 1 else 's'}"
        print_wrapped(f"{_in_words(net)}; {count}")
        print(check)
    return 0 if check.passed else 1


def _check_all(arguments: argparse.Namespace, n: int) -> int:
    """A line for every output activation with every cost, and for every hidden activation."""
    for option in ("sizes", "activation", "output", "cost", "init"):
        if getattr(arguments, option) is not None:
            raise ValueError(f"argument --{option}: not with --all, which takes every one in turn")
    dtypes = ["float64", "float32"] if arguments.dtype is None else [number_type(arguments.dtype)]
    seed = integer("seed", arguments.seed, 0)
    engine = backend(arguments.backend)
    rows: list[dict[str, Any]] = []
    n_failed = 0
    began = time.perf_counter()
    if not arguments.json:
        print(f"{'hidden':<12}{'output':<12}{'cost':<15}" + "".join(f"{d:>10}" for d in dtypes))
    for hidden, output, cost in _combinations():
        line = f"{hidden:<12}{output:<12}{cost:<15}"
        failed: list[str] = []
        for dtype in dtypes:
            net = Network(
                CHECKED_SIZES,
                [*[hidden] * (len(CHECKED_SIZES) - 2), output],
                cost,
                dtype=dtype,
                seed=seed,
                backend=engine,
            )
            check = net.check_gradient(*random_examples(net, n, seed))
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
        options.print_json(facts)
    else:
        net = Network(CHECKED_SIZES, backend=engine)
        print(
            f"{len(rows)} checks of {_layers_of(net)} networks, {_computer_of(net)}, "
            f"{n_failed} FAILED; {time.perf_counter() - began:.1f} s"
        )
    return 1 if n_failed else 0


def _combinations() -> list[tuple[Any, Any, Any]]:
    """Hidden activation, output activation and cost: each pair of the last two, and each first."""
    found = [
        (CHECKED_HIDDEN, output, cost)
        for output in ACTIVATIONS
        for cost in COSTS
        if can_serve(output, cost)
    ]
    hidden = [name for name in ACTIVATIONS if name not in ("softmax", CHECKED_HIDDEN)]
    return found + [(name, *CHECKED_OUTPUT) for name in hidden]


def _first_digits(n: int) -> tuple[Array, Array]:
    images, labels = datasets.load_digits()
    if n > len(images):
        raise ValueError(f"examples is {n}; expected at most {len(images)}, the bundled digits")
    return images[:n], datasets.one_hot(labels[:n], 10)


def random_examples(net: Network, n: int, seed: int) -> tuple[Array, Array]:
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
    """What --json prints of a network and its check."""
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
        "max_relative_error": check.max_relative_error,
        "worst": check.worst,
        "parts": [
            {
                "layer": part.layer,
                "kind": part.kind,
                "largest_gradient": part.largest_gradient,
                "largest_error": part.largest_error,
                "relative_error": part.relative_error,
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
