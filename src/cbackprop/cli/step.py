"""``cbackprop step``: write the page that steps through backpropagation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cbackprop.cli import options
from cbackprop.cli.terminal import write_text
from cbackprop.functions import COSTS
from cbackprop.validation import counted

# Exclusive or: what one neuron cannot learn, and a small network with a hidden layer can. (1, 1)
# comes first, as (0, 0) moves no weight of the first layer: a dull first step.
XOR_X = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
XOR_Y = ((0.0,), (1.0,), (1.0,), (0.0,))

SIZES = (2, 3, 1)
STEPS = 20
LEARNING_RATE = 0.5


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = options.add_command(
        commands,
        "step",
        run,
        "write a web page that steps through backpropagation with every number",
        "Write a web page that steps through a network's learning of exclusive or: forward pass, "
        "cost, deltas, gradient and update of one example at a time, every factor of the chain "
        "rule a number. The page is one file and loads nothing. Network.stepper_html writes it "
        "for data of your own.",
        """
        cbackprop step --open
        cbackprop step --sizes 2,4,1 --activation tanh,sigmoid --out xor.html
        """,
    )
    options.add_sizes(parser, "2,N[,N...],1", "2,3,1")
    options.add_activations(parser, "sigmoid", "sigmoid")
    parser.add_argument("--cost", default="quadratic", help=f"{', '.join(COSTS)} (quadratic)")
    options.add_init(parser)
    options.add_number_type(parser, "float64")
    options.add_seed(parser, "the first parameters")
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
    options.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    net = options.network_of(arguments, SIZES)
    page = net.stepper_html(
        XOR_X,
        XOR_Y,
        learning_rate=arguments.learning_rate,
        steps=arguments.steps,
        title="Backpropagation, step by step: exclusive or",
    )
    path = Path(arguments.out)
    write_text(arguments.out, page)
    opened = False
    if arguments.open:
        import webbrowser

        opened = webbrowser.open(path.resolve().as_uri())
    if arguments.json:
        facts = {"path": str(path), "steps": arguments.steps, "sizes": list(net.sizes)}
        options.print_json(facts)
        return 0
    print(
        f"{path}: {counted(arguments.steps, 'step')} of a {'-'.join(map(str, net.sizes))} network"
    )
    if not arguments.open:
        print("Open it in a browser.")
    elif not opened:
        print("No browser was found to open it with.")
    return 0
