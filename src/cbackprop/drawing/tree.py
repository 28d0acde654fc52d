"""The lesson's tree: from one quantity through z and a of every layer down to the cost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cbackprop.drawing import choice
from cbackprop.drawing.canvas import (
    HALF,
    Canvas,
    Drawing,
    Point,
    Stroke,
    largest_of,
    look_of,
    stroke,
)
from cbackprop.drawing.choice import Place
from cbackprop.drawing.formulas import cost_formulas
from cbackprop.drawing.shown import ChainRule, Term
from cbackprop.drawing.symbols import (
    Label,
    derivative,
    exact,
    in_product,
    joined,
    marked,
    neuron_symbol,
    number,
    plain,
    product,
    signed,
    symbol,
    target_symbol,
    weight_symbol,
)
from cbackprop.neuron_names import called

ROW = 104.0  # from a row of nodes to the next
SIDE = 215.0  # how far the other inputs of z stand from the path
FIRST_BRANCH, BRANCH = 205.0, 104.0
MOST_BRANCHES = 4


class Branches(NamedTuple):
    """The ways from one node into the next row: the one drawn on, and the others."""

    names: str  # the letter of the nodes there
    layer: int
    main: int
    local: dict[int, float]  # the local derivative of each
    contributions: dict[int, float]
    total: float


def draw(rule: ChainRule, term: Term, theme: str) -> Drawing:
    canvas = Canvas(f"The chain rule for {term.long_name}", theme)
    top = len(rule.sizes) - 1
    place = choice.place_of(rule, term)
    equations: list[Label] = []
    along: list[float] = []  # the local derivatives of the path drawn
    y, nodes_in_row = 0.0, 1
    branches: Branches | None = None
    if place.quantity in ("w", "b"):
        _inputs(canvas, rule, place)
        equations.append(_product(rule, place, term.value))
        along.append(
            float(rule.backward.a[place.layer - 1][place.k]) if place.quantity == "w" else 1.0
        )
        layer, neuron, at_z = place.layer, place.j, True
        y += ROW
    else:
        layer = place.layer if place.quantity == "output" else place.layer - 1
        neuron, at_z = (place.j if place.quantity == "output" else place.k), False
    while True:
        if at_z:
            z = neuron_symbol(rule.sizes, "z", layer, neuron)
            _node(canvas, y, z, float(rule.backward.z[layer][neuron]))
            branches = _branches_of_z(rule, layer, neuron)
            if choice.is_softmax(rule, layer):
                equations.append(_sum(rule, z, branches))
            name = "∂a/∂z"
        else:
            a = neuron_symbol(rule.sizes, "a", layer, neuron)
            value, what = float(rule.backward.a[layer][neuron]), called(rule, layer, neuron)
            _node(canvas, y, a, value, chosen=y == 0, what=what)
            if layer == top:
                break
            branches = _branches_of_a(rule, layer, neuron)
            equations.append(_sum(rule, a, branches))
            name = "∂z/∂a"
            _side_inputs(canvas, rule, y + ROW, layer + 1, branches.main, neuron)
        _edges(canvas, y, name, branches, nodes_in_row)
        nodes_in_row = len(branches.local)
        along.append(branches.local[branches.main])
        layer, neuron, at_z = branches.layer, branches.main, not at_z
        y += ROW
    _cost(canvas, rule, y, neuron)
    equations.append(_cost_slope(rule, neuron))
    dC_da = float(rule.backward.dC_da[-1][neuron])
    if branches is None or np.isfinite(dC_da):
        along.append(dC_da)
    else:
        along[-1] = branches.contributions[neuron]  # ∂a/∂z · ∂C/∂a before rounding
    if len(along) > 3:
        equations.append(_along(along))
    y += ROW + 60
    for equation in equations:
        canvas.text(Point(-SIDE - 60, y), equation, 13)
        y += 27
    return canvas.drawing(str(term))


# ---- nodes ---------------------------------------------------------------------------------------


def _node(
    canvas: Canvas,
    y: float,
    label: Label,
    value: float,
    chosen: bool = False,
    what: str | None = None,
) -> None:
    """A node of the path, on its right its value, on its left what it is called."""
    half = canvas.pill(Point(0, y), label, "chosen" if chosen else "node", exact(value))
    canvas.text(Point(half + 8, y + 5), f"= {number(value)}", 13, title=exact(value))
    if what is not None:
        canvas.text(Point(-half - 8, y + 5), what, 13, "end")


def _inputs(canvas: Canvas, rule: ChainRule, place: Place) -> None:
    """The first row: w_jk, a_k and b_j, of which the term's is the one chosen."""
    l, j, k = place.layer, place.j, place.k
    w = float(rule.weights[l - 1][j, k])
    a = float(rule.backward.a[l - 1][k])
    b = float(rule.biases[l - 1][j])
    nodes = (
        (-SIDE, "w", weight_symbol(rule.sizes, l, j, k), w, a, "∂z/∂w"),
        (0.0, "a", neuron_symbol(rule.sizes, "a", l - 1, k), a, w, "∂z/∂a"),
        (SIDE, "b", neuron_symbol(rule.sizes, "b", l, j), b, 1.0, "∂z/∂b"),
    )
    largest = largest_of([w, a, 1.0])
    for x, quantity, label, value, local, name in nodes:
        chosen = quantity == place.quantity
        canvas.pill(Point(x, 0), label, "chosen" if chosen else "node", exact(value))
        canvas.text(Point(x, -HALF - 8), f"= {number(value)}", 13, "middle", title=exact(value))
        what = called(rule, l - 1, k) if quantity == "a" else None
        if what is not None:
            canvas.text(Point(x, -HALF - 26), what, 13, "middle")
        end = Point(0.12 * x, ROW - HALF if x == 0 else ROW - HALF + 2)
        # Outside the slanting edges; beside the upright one, where they are far apart.
        at = Point(9, HALF + 18) if x == 0 else Point(0.68 * x, HALF + 50)
        anchor = "end" if x < 0 else "start"
        start = Point(0.94 * x, HALF)
        canvas.derivative(start, end, name, local, largest, at, anchor=anchor, bold=chosen)


def _side_inputs(canvas: Canvas, rule: ChainRule, y: float, layer: int, j: int, k: int) -> None:
    """The weight and the bias of a z further down, entering from the left."""
    w = float(rule.weights[layer - 1][j, k])
    b = float(rule.biases[layer - 1][j])
    a = float(rule.backward.a[layer - 1][k])
    largest = largest_of([a, 1.0])
    for dy, label, value, name, local in (
        (-21.0, weight_symbol(rule.sizes, layer, j, k), w, "∂z/∂w", a),
        (21.0, neuron_symbol(rule.sizes, "b", layer, j), b, "∂z/∂b", 1.0),
    ):
        half = canvas.pill(Point(-SIDE, y + dy), label, "node", exact(value))
        left = Point(-SIDE - half - 7, y + dy + 5)
        canvas.text(left, f"{number(value)} =", 12, "end", title=exact(value))
        start, end = Point(-SIDE + half, y + dy), Point(-30, y + dy / 3)
        at = Point(-SIDE + half + 8, y + (dy - 8 if dy < 0 else dy + 14))
        canvas.derivative(start, end, name, local, largest, at, 11)


# ---- edges ---------------------------------------------------------------------------------------


def _branches_of_a(rule: ChainRule, layer: int, k: int) -> Branches:
    return Branches(
        "z",
        layer + 1,
        choice.strongest_above(rule, layer, k),
        dict(enumerate(map(float, rule.weights[layer][:, k]))),
        dict(enumerate(map(float, choice.contributions(rule, layer, k)))),
        float(rule.backward.dC_da[layer][k]),
    )


def _branches_of_z(rule: ChainRule, layer: int, j: int) -> Branches:
    """One way, into a_j; in a softmax layer one into every a_i."""
    total = float(rule.backward.delta[layer][j])
    if not choice.is_softmax(rule, layer):
        return Branches("a", layer, j, {j: rule.slope(layer, j)}, {j: total}, total)
    slopes = np.asarray(rule.upper_factors(layer, j)[0])
    terms = rule.softmax_terms(j)
    return Branches(
        "a",
        layer,
        choice.largest_index(terms),
        dict(enumerate(map(float, slopes))),
        dict(enumerate(map(float, terms))),
        total,
    )


def _edges(canvas: Canvas, y: float, name: str, branches: Branches, nodes_in_row: int) -> None:
    """The edge of the path, and those of the other ways with what each contributes.

    ``nodes_in_row`` counts the nodes of the row they start from.
    """
    largest = largest_of(branches.local.values())
    _downwards(canvas, y, name, branches.local[branches.main], largest)
    others = [i for i in branches.local if i != branches.main]
    if not others:
        return
    kept = others
    if len(others) > MOST_BRANCHES:
        ranked = sorted(others, key=lambda i: -abs(np.nan_to_num(branches.contributions[i])))
        kept = sorted(ranked[: MOST_BRANCHES - 1])
    below = y + ROW
    main = branches.contributions[branches.main]
    at = Point(14, below - HALF - 8)
    canvas.text(at, f"path: {signed(main)}", 12, look=look_of(main), title=exact(main))
    x = FIRST_BRANCH
    for i in kept:
        value = branches.contributions[i]
        line = stroke(branches.local[i], largest)
        title = f"{name} = {exact(branches.local[i])}; this path contributes {exact(value)}"
        canvas.arrow(Point(16, y + HALF - 2), Point(x - 12, below - HALF), line, title)
        canvas.pill(Point(x, below), symbol(branches.names, branches.layer, i), "node", title, 12)
        _contribution(canvas, x, below, value)
        x += BRANCH
    if len(kept) < len(others):
        rest = [branches.contributions[i] for i in others if i not in kept]
        title = f"{len(rest)} more paths"
        start, end = Point(16, y + HALF - 2), Point(x - 12, below - HALF)
        canvas.line(start, end, Stroke("faint", 1.0), title)
        canvas.pill(Point(x, below), plain(f"⋮ {len(rest)} more"), "node", title, 12)
        _contribution(canvas, x, below, float(np.sum(rest)))
        x += BRANCH
    x = FIRST_BRANCH - 40
    if nodes_in_row > 1:
        x += BRANCH * min(nodes_in_row - 1, MOST_BRANCHES) + 10
    quantity = "a" if branches.names == "z" else "z"
    sum_text = f"∂C/∂{quantity} = {number(branches.total)}, the sum of {len(branches.local)} paths:"
    canvas.text(Point(x, y + 5), sum_text, 12, title=exact(branches.total))


def _downwards(canvas: Canvas, y: float, name: str, local: float, largest: float) -> None:
    """The edge from a node of the path to the next."""
    start, end, at = Point(0, y + HALF), Point(0, y + ROW - HALF), Point(-12, y + ROW / 2 + 5)
    canvas.derivative(start, end, name, local, largest, at, anchor="end")


def _contribution(canvas: Canvas, x: float, y: float, value: float) -> None:
    canvas.text(
        Point(x, y + HALF + 18), signed(value), 12, "middle", look_of(value), title=exact(value)
    )


def _cost(canvas: Canvas, rule: ChainRule, y: float, neuron: int) -> None:
    """The last row: the cost, with the target entering from the left."""
    below = y + ROW
    dC_da = rule.backward.dC_da[-1]
    _downwards(canvas, y, "∂C/∂a", float(dC_da[neuron]), largest_of([dC_da]))
    target = float(rule.y[neuron])
    symbol_of_y = target_symbol(rule.sizes, neuron)
    half = canvas.pill(Point(-SIDE, below), symbol_of_y, "node", exact(target))
    canvas.text(Point(-SIDE, below - HALF - 7), f"= {number(target)}", 12, "middle")
    canvas.arrow(Point(-SIDE + half, below), Point(-HALF - 4, below), Stroke("quiet", 1.2))
    _node(canvas, below, symbol("C"), rule.cost)


# ---- the product below ---------------------------------------------------------------------------


def _product(rule: ChainRule, place: Place, value: float) -> Label:
    """∂C/∂w_jk or ∂C/∂b_j as three factors; of a softmax layer the last two are one sum."""
    l, j, k = place.layer, place.j, place.k
    of_weight = place.quantity == "w"
    quantity = (
        weight_symbol(rule.sizes, l, j, k) if of_weight else neuron_symbol(rule.sizes, "b", l, j)
    )
    first = float(rule.backward.a[l - 1][k]) if of_weight else 1.0
    names = "∂a/∂z · ∂C/∂a" if choice.is_product(rule, l, j) else "∂C/∂z"
    numbers = f"{product([first, *choice.upper_numbers(rule, l, j)])} = {number(value)}"
    return joined(
        derivative(symbol("C"), quantity), f" = ∂z/∂{place.quantity} · {names} = {numbers}"
    )


def _sum(rule: ChainRule, quantity: Label, branches: Branches) -> Label:
    """∂C/∂a or, of a softmax layer, ∂C/∂z: the path drawn and all others."""
    main = branches.contributions[branches.main]
    factors = "∂z_j/∂a · ∂a_j/∂z_j · ∂C/∂a_j" if branches.names == "z" else "∂a_i/∂z · ∂C/∂a_i"
    if len(branches.local) == 1:
        local = branches.local[branches.main]
        if branches.names == "a":
            upper = [float(rule.backward.dC_da[-1][branches.main])]
        else:
            upper = choice.upper_numbers(rule, branches.layer, branches.main)
            if not choice.is_product(rule, branches.layer, branches.main):
                factors = "∂z/∂a · ∂C/∂z"
        names = factors.replace("_j", "").replace("_i", "")
        text = f" = {names} = {product([local, *upper])} = {number(branches.total)}"
        return joined(derivative(symbol("C"), quantity), text)
    rest = float(np.sum([v for i, v in branches.contributions.items() if i != branches.main]))
    others = len(branches.local) - 1
    text = (
        f" = {number(main)} (drawn) + {in_product(rest)} "
        f"({others} other path{'s' if others > 1 else ''}) = {number(branches.total)}"
    )
    index = "_j" if branches.names == "z" else "_i"
    return [*derivative(symbol("C"), quantity), *marked(f" = Σ{index} {factors}"), *plain(text)]


def _cost_slope(rule: ChainRule, j: int) -> Label:
    value = float(rule.backward.dC_da[-1][j])
    a = neuron_symbol(rule.sizes, "a", len(rule.sizes) - 1, j)
    formula = cost_formulas(rule)[1]
    return joined(derivative(symbol("C"), a), " = ", formula, f" = {number(value)}")


def _along(local: list[float]) -> Label:
    """The product of everything on the path drawn."""
    value = float(np.prod(local))
    return plain(f"along the path drawn: {product(local)} = {number(value)}")
