"""``cbackprop step``: write the page that steps through backpropagation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cbackprop import Network
from cbackprop.functions import ACTIVATIONS, COSTS, INITS

# Exclusive or: what one neuron cannot learn, and a small network with a hidden layer can. (1, 1)
# comes first, as (0, 0) moves no weight of the first layer: a dull first step.
XOR_X = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
XOR_Y = ((0.0,), (1.0,), (1.0,), (0.0,))

SIZES = (2, 3, 1)
STEPS = 20
LEARNING_RATE = 0.5


def add_step(subparsers: Any) -> None:
    """Add the command to the parser."""
    parser = subparsers.add_parser(
        "step",
        help="write a web page that steps through backpropagation with every number",
        description="Write a web page that steps through a network's learning of exclusive or: "
        "forward pass, cost, deltas, gradient and update of one example at a time, every factor "
        "of the chain rule a number. The page is one file and needs no network.",
    )
    parser.set_defaults(run=run_step)
    parser.add_argument(
        "--sizes",
        type=_integers,
        default=list(SIZES),
        metavar="2,N[,N...],1",
        help="inputs, hidden layers, outputs (2,3,1)",
    )
    parser.add_argument(
        "--activation",
        type=lambda text: text.split(","),
        default=["sigmoid"],
        metavar="NAME[,NAME...]",
        help="one for all layers, or one for each after the input: "
        f"{', '.join(ACTIVATIONS)} (sigmoid)",
    )
    parser.add_argument("--cost", default="quadratic", help=f"{', '.join(COSTS)} (quadratic)")
    parser.add_argument("--init", default="auto", help=f"{', '.join(INITS)} (auto)")
    parser.add_argument("--dtype", default="float64", help="float32 or float64 (float64)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="fixes the first parameters (0)"
    )
    parser.add_argument(
        "--steps", type=int, default=STEPS, metavar="N", help=f"examples to go through ({STEPS})"
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=LEARNING_RATE,
        metavar="RATE",
        help=f"size of the steps ({LEARNING_RATE})",
    )
    parser.add_argument(
        "--out", default="step.html", metavar="FILE", help="where the page goes (step.html)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")


def run_step(arguments: argparse.Namespace) -> int:
    names = arguments.activation
    net = Network(
        arguments.sizes,
        names[0] if len(names) == 1 else names,
        arguments.cost,
        dtype=arguments.dtype,
        init=arguments.init,
        seed=arguments.seed,
    )
    page = net.stepper_html(
        XOR_X,
        XOR_Y,
        learning_rate=arguments.learning_rate,
        steps=arguments.steps,
        title="Backpropagation, step by step: exclusive or",
    )
    path = Path(arguments.out)
    path.write_text(page, encoding="utf-8")
    print(f"{path}: {arguments.steps} steps of a {'-'.join(map(str, net.sizes))} network")
    if not arguments.open:
        print("Open it in a browser.")
        return 0
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        print("No browser was found to open it with.")
    return 0


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected integers with commas between, such as 2,3,1"
        ) from None
