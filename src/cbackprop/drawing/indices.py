"""Two layers with their indices: w_jk from neuron k to neuron j, and the paths into the cost."""

from __future__ import annotations

import numpy as np

from cbackprop.drawing import choice
from cbackprop.drawing.canvas import (
    Canvas,
    Drawing,
    Point,
    Stroke,
    largest_of,
    look_of,
    pill_half,
    stroke,
)
from cbackprop.drawing.choice import Place
from cbackprop.drawing.shown import ChainRule, Term
from cbackprop.drawing.symbols import (
    Label,
    derivative,
    exact,
    joined,
    label_width,
    marked,
    neuron_symbol,
    number,
    plain,
    product,
    signed,
    symbol,
    weight_symbol,
)
from cbackprop.neuron_names import called

BELOW, HERE, PRODUCTS, COST = 0.0, 310.0, 375.0, 780.0  # x of the columns
ROW = 46.0


def draw(rule: ChainRule, term: Term, theme: str) -> Drawing:
    canvas = Canvas(f"Two layers and their indices, for {term.long_name}", theme)
    place = choice.place_of(rule, term)
    l, j, k = place.layer, place.j, place.k
    below = choice.shown_neurons(rule.sizes[l - 1], [k])
    here = choice.shown_neurons(rule.sizes[l], [j])
    height = ROW * (max(len(below), len(here)) - 1)
    at_k = _places(below, BELOW, height)
    at_j = _places(here, HERE, height)
    _headers(canvas, rule, l)
    _weights(canvas, rule, place, at_k, at_j)
    _paths(canvas, rule, place, here, height)
    _neurons(canvas, rule, place, below, here, height)
    if place.quantity == "b":
        _bias(canvas, rule, place, at_j[j])
    else:
        w = [*weight_symbol(rule.sizes, l, j, k), *_equals(rule.weights[l - 1][j, k])]
        look = "chosen" if place.quantity == "w" else "node"
        _label_on(canvas, _middle(at_k[k], at_j[j]), w, look)
    for i, (quantity, equation) in enumerate(_equations(rule, place)):
        at = Point(BELOW - 110, height + 66 + 27 * i)
        canvas.text(at, equation, 13, bold=quantity == place.quantity)
    return canvas.drawing(str(term))


def _places(rows: list[int | range], x: float, height: float) -> dict[int, Point]:
    """Where the neurons of a column stand; the shorter column in the middle of the other."""
    top = (height - ROW * (len(rows) - 1)) / 2
    return {row: Point(x, top + ROW * i) for i, row in enumerate(rows) if isinstance(row, int)}


def _middle(start: Point, end: Point) -> Point:
    return Point((start.x + end.x) / 2, (start.y + end.y) / 2)


def _equals(value: float) -> Label:
    return plain(f" = {number(float(value))}")


def _headers(canvas: Canvas, rule: ChainRule, l: int) -> None:
    for x, layer, index in ((BELOW, l - 1, "k"), (HERE, l, "j")):
        canvas.text(Point(x, -62), f"layer {layer}", 13, "middle", bold=True)
        last = rule.sizes[layer] - 1
        numbers = "0" if last == 0 else f"0 … {last}"
        canvas.text(Point(x, -42), [(index, "it"), (f" = {numbers}", "")], 13, "middle", "quiet")
    factors = "w_j_k · ∂C/∂z_j" if choice.is_softmax(rule, l) else "w_j_k · ∂a_j/∂z_j · ∂C/∂a_j"
    canvas.text(Point(PRODUCTS, -42), marked(f"each path: {factors}"), 13, look="quiet")


def _weights(
    canvas: Canvas, rule: ChainRule, place: Place, at_k: dict[int, Point], at_j: dict[int, Point]
) -> None:
    """Every weight between neurons that are seen, those of a_k over the others."""
    W = rule.weights[place.layer - 1]
    for k, start in at_k.items():
        if k != place.k:
            for end in at_j.values():
                canvas.line(start, end, Stroke("faint", 0.7))
    largest = largest_of([W[:, place.k]])
    start = at_k[place.k]
    for j, end in at_j.items():
        w = float(W[j, place.k])
        line = stroke(w, largest)
        title = f"w[{j}, {place.k}] of layer {place.layer} = {exact(w)}"
        if j == place.j and place.quantity == "w":
            line = line._replace(width=line.width + 2.5)
        canvas.line(start, end, line, title)


def _bias(canvas: Canvas, rule: ChainRule, place: Place, at: Point) -> None:
    """The bias in a box of its own, beside the neuron that it is added in."""
    label = neuron_symbol(rule.sizes, "b", place.layer, place.j)
    label = [*label, *_equals(rule.biases[place.layer - 1][place.j])]
    of_neuron = neuron_symbol(rule.sizes, "a", place.layer, place.j)
    end = at.x - pill_half(of_neuron, 12)
    start = end - 20
    canvas.arrow(Point(start, at.y), Point(end, at.y), Stroke("ink", 1.5))
    _label_on(canvas, Point(start - _box_half(label), at.y), label, "chosen")


def _box_half(label: Label) -> float:
    return label_width(label, 14) / 2 + 7


def _label_on(canvas: Canvas, at: Point, label: Label, look: str) -> None:
    """A label in a box, as lines run behind it."""
    half = _box_half(label)
    canvas.box(Point(at.x - half, at.y - 14), 2 * half, 28, look)
    canvas.text(Point(at.x, at.y + 5), label, 14, "middle")


def _neurons(
    canvas: Canvas,
    rule: ChainRule,
    place: Place,
    below: list[int | range],
    here: list[int | range],
    height: float,
) -> None:
    sizes, l = rule.sizes, place.layer
    # A weight joins two neurons, a bias and an activation belong to one.
    chosen = {
        l - 1: place.k if place.quantity in ("w", "a") else None,
        l: None if place.quantity == "a" else place.j,
    }
    for x, layer, rows in ((BELOW, l - 1, below), (HERE, l, here)):
        top = (height - ROW * (len(rows) - 1)) / 2
        for i, row in enumerate(rows):
            at = Point(x, top + ROW * i)
            if isinstance(row, range):
                canvas.left_out(at, len(row))
                continue
            a = float(rule.backward.a[layer][row])
            lit = row == chosen[layer]
            label = neuron_symbol(sizes, "a", layer, row)
            name = called(rule, layer, row)
            title = exact(a) if name is None else f"{name}: {exact(a)}"
            half = canvas.pill(at, label, "chosen" if lit else "node", title, 12)
            if layer < l:
                beside = Point(x - half - 8, at.y + 5)
                text = f"{number(a)} =" if name is None else f"{name}   {number(a)} ="
                canvas.text(beside, text, 12, "end", title=title)


def _paths(
    canvas: Canvas, rule: ChainRule, place: Place, here: list[int | range], height: float
) -> None:
    """Beside each neuron j the product that leads from a_k through it, and a line into the cost."""
    l, k = place.layer, place.k
    weights = rule.weights[l - 1][:, k]
    along = choice.contributions(rule, l - 1, k)
    top = (height - ROW * (len(here) - 1)) / 2
    cost = Point(COST, height / 2)
    rows: list[tuple[float, str, float]] = []
    for i, row in enumerate(here):
        if isinstance(row, range):
            value = float(np.sum(along[row.start : row.stop]))
            text = f"together {signed(value)}"
        else:
            value = float(along[row])
            factors = [float(weights[row]), *choice.upper_numbers(rule, l, row)]
            text = f"{product(factors)} = {signed(value)}"
            name = called(rule, l, row)
            if name is not None:
                text = f"{name}:   {text}"
        rows.append((top + ROW * i, text, value))
    largest = largest_of([value for _, _, value in rows])
    end = PRODUCTS + max(label_width(plain(text), 12) for _, text, _ in rows) + 10
    cost = Point(max(COST, end + 90), height / 2)
    for y, text, value in rows:
        canvas.text(Point(PRODUCTS, y + 4), text, 12, look=look_of(value), title=exact(value))
        line = stroke(value, largest)
        start = Point(end, y)
        toward = Point(cost.x - 21, cost.y + 12 * (y - cost.y) / (height + 1))
        title = f"this path contributes {exact(value)}"
        canvas.line(start, toward, line, title)
    canvas.pill(cost, symbol("C"), "node", exact(rule.cost))
    canvas.text(Point(cost.x + 28, cost.y + 5), f"= {number(rule.cost)}", 12)


def _equations(rule: ChainRule, place: Place) -> list[tuple[str, Label]]:
    """What the paths add up to, and the weight and the bias themselves."""
    sizes, l, j, k = rule.sizes, place.layer, place.j, place.k
    a_k = neuron_symbol(sizes, "a", l - 1, k)
    terms = f"{sizes[l]} paths" if sizes[l] > 1 else "one path"
    dC_da = number(float(rule.backward.dC_da[l - 1][k]))
    a, delta = float(rule.backward.a[l - 1][k]), float(rule.backward.delta[l][j])
    w = weight_symbol(sizes, l, j, k)
    b = neuron_symbol(sizes, "b", l, j)
    dC_dz = derivative(symbol("C"), neuron_symbol(sizes, "z", l, j))
    numbers = f"{product([a, delta])} = {number(a * delta)}"
    return [
        ("a", joined(derivative(symbol("C"), a_k), f" = the sum of {terms} = {dC_da}")),
        ("w", joined(derivative(symbol("C"), w), " = ", a_k, " · ", dC_dz, f" = {numbers}")),
        ("b", joined(derivative(symbol("C"), b), " = ", dC_dz, f" = {number(delta)}")),
    ]
