"""``cbackprop explain``: the chain rule of one weight of a saved network, for one example."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from cbackprop import Network
from cbackprop.chain_rule import WeightTerm
from cbackprop.cli import examples
from cbackprop.cli.lesson import NUDGES, facts_of, nudge_rows, print_digit, print_nudges
from cbackprop.cli.options import add_command, add_examples, add_json, print_json
from cbackprop.cli.terminal import print_wrapped, printable, write_text
from cbackprop.functions import Array
from cbackprop.tables import Table
from cbackprop.validation import integer, layer_number, neuron

MOST_OUTPUTS = 12


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "explain",
        run,
        "take the derivative by one weight apart, factor by factor",
        "Show how the cost of one example depends on one weight of a saved model: the three "
        "factors of the chain rule, and nudges of the weight, predicted and measured. Of the "
        "weights that --layer, --j and --k leave, it is the one with the largest derivative.",
        """
        cbackprop explain digits.model --digits --row 3
        cbackprop explain iris.model iris.csv --target species --row 50 --layer 1
        cbackprop explain iris.model iris.csv --row 50 --layer 2 --j 1 --k 7
        cbackprop explain digits.model --digits --row 3 --svg tree.svg
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="a file of train --save or Network.save")
    add_examples(parser, "MNIST's test digits", "what the model was trained to tell (that, or -1)")
    parser.add_argument(
        "--labels",
        metavar="NAME,...",
        help="the classes in the order of the outputs, for a model that has no names of them",
    )
    parser.add_argument("--row", type=int, default=0, metavar="N", help="the example, from 0 (0)")
    parser.add_argument("--layer", type=int, metavar="L", help="the weight's layer, from 1")
    parser.add_argument("--j", type=int, metavar="J", help="its neuron of that layer, from 0")
    parser.add_argument("--k", type=int, metavar="K", help="its neuron of the layer below, from 0")
    parser.add_argument("--svg", metavar="FILE", help="write a picture of the derivative, too")
    parser.add_argument("--html", metavar="FILE", help="write a page with it and its numbers, too")
    parser.add_argument(
        "--latex", action="store_true", help="print the formula for LaTeX, and nothing else"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Choose the weight, and print its chain rule."""
    if arguments.latex and arguments.json:
        raise ValueError("argument --latex: not with --json, which is another form")
    row = integer("row", arguments.row, 0)
    net = examples.model(arguments.model)
    if arguments.layer is not None:
        layer_number(arguments.layer, 1, len(net.sizes) - 1)
    labels = examples.labels_of(arguments.labels, net)
    table = examples.read(arguments, net, last=True, mixed=True)
    examples.require_inputs(table, net)
    if row >= len(table.X):
        raise ValueError(f"row is {row}; expected 0 to {len(table.X) - 1}")
    x, y = table.X[row], examples.targets_of(table, net, labels)[0][row]
    layer, j, k = _weight(net, x, y, (arguments.layer, arguments.j, arguments.k))
    chain = net.chain_rule(x, y)
    term = chain.weight(layer, j, k)
    _write_pictures(term, arguments.svg, arguments.html)
    if arguments.latex:
        print(term.latex())
        return 0
    if arguments.json:
        facts = {"row": row, "cost": chain.cost, **facts_of(term)}
        print_json(facts)
        return 0
    outputs = net.predict(x)
    if arguments.digits and net.sizes[-1] == 10:
        print(f"Digit {row} of the bundled ones, and the network's ten outputs:")
        print_digit(x, int(y.argmax()), outputs)
    else:
        _print_example(row, y, outputs, labels or net.class_names)
    print()
    print_wrapped(
        f"How does its cost C = {chain.cost:.6g} depend on w[{j}, {k}] of layer {layer} = "
        f"{net.weights[layer - 1][j, k]:.6g}, the weight from {_input_name(net, table, layer, k)} "
        f"to {_output_name(net, labels, layer, j)}?",
        indent="",
    )
    print()
    print_wrapped(str(term))
    print()
    print_nudges(term, f"w[{j}, {k}]")
    return 0


def _weight(
    net: Network, x: Array, y: Array, asked: tuple[int | None, int | None, int | None]
) -> tuple[int, int, int]:
    """The weight of the largest |∂C/∂w| among those that have what was asked for."""
    layer, j, k = asked
    gradient = net.gradient(x, y)
    best: tuple[float, int, int, int] | None = None
    for number, dC_dw in enumerate(gradient.weights, start=1):
        if layer is not None and number != layer:
            continue
        # Without a layer any that has such neurons; with one, a neuron it lacks is an error.
        if layer is None and (
            (j is not None and not 0 <= j < dC_dw.shape[0])
            or (k is not None and not 0 <= k < dC_dw.shape[1])
        ):
            continue
        rows = slice(None) if j is None else slice(neuron("j", j, dC_dw.shape[0], number), j + 1)
        columns = (
            slice(None) if k is None else slice(neuron("k", k, dC_dw.shape[1], number - 1), k + 1)
        )
        size = np.abs(dC_dw[rows, columns])
        place = np.unravel_index(int(size.argmax()), size.shape)
        largest = float(size[place])
        if best is None or largest > best[0]:
            best = (largest, number, int(place[0]) + (j or 0), int(place[1]) + (k or 0))
    if best is None:
        raise ValueError(f"j is {j} and k is {k}; expected neurons that one of the layers has")
    return best[1:]


def _write_pictures(term: WeightTerm, svg: str | None, html: str | None) -> None:
    if svg is not None:
        write_text(svg, term.svg())
    if html is not None:
        from cbackprop.drawing.html import page_of_term

        write_text(html, page_of_term(term, NUDGES, nudge_rows(term)))


def _input_name(net: Network, table: Table, layer: int, k: int) -> str:
    """What a weight of this layer comes from."""
    if layer > 1:
        return f"neuron {k} of layer {layer - 1}"
    return f"input {k} ({printable((net.feature_names or table.inputs)[k])})"


def _output_name(net: Network, labels: Sequence[str] | None, layer: int, j: int) -> str:
    """What it leads to; an output neuron by its class or by what it tells, where that is known."""
    names = labels or net.class_names
    text = f"neuron {j} of layer {layer}"
    if layer < len(net.sizes) - 1 or names is None or len(names) != net.sizes[-1]:
        return text
    return text if names[j] == str(j) else f"{text} ({printable(names[j])})"


def _print_example(row: int, y: Array, outputs: Array, names: Sequence[str] | None) -> None:
    print(f"Row {row}: wanted outputs y, and those of the network, a:")
    if names is not None and len(names) == len(y):
        more = ", …" if len(names) > MOST_OUTPUTS else ""
        print_wrapped(f"  of ({', '.join(map(printable, names[:MOST_OUTPUTS]))}{more})")
    for name, values in (("y", y), ("a", outputs)):
        more = ", …" if len(values) > MOST_OUTPUTS else ""
        shown = ", ".join(f"{value:.6g}" for value in values[:MOST_OUTPUTS].tolist())
        print_wrapped(f"  {name} = ({shown}{more})")
