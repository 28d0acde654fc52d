"""Options that several commands have, and the network they describe."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from cbackprop import Network
from cbackprop.functions import ACTIVATIONS, COSTS, INITS


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epochs", type=int, default=30, metavar="N", help="passes over the training data (30)"
    )
    add_seed(parser, "the first parameters and every shuffle")


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=f"fixes {what} (0)")


def add_network(parser: argparse.ArgumentParser, dtype: str | None) -> None:
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


def network(sizes: Sequence[int], arguments: argparse.Namespace, **others: Any) -> Network:
    """A Network by the options of `add_network`."""
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


def integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected an integer or several with commas between, such as 16,16"
        ) from None
