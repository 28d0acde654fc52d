"""The lesson's chain of single neurons: every quantity a point on its number line."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cbackprop.drawing.canvas import Canvas, Drawing, Point, Stroke, largest_of, stroke
from cbackprop.drawing.choice import place_of, strongest_path
from cbackprop.drawing.formulas import activation_bounds, activation_name, cost_name
from cbackprop.drawing.shown import ChainRule, Pass, Term
from cbackprop.drawing.symbols import (
    Label,
    exact,
    neuron_symbol,
    number,
    plain,
    signed,
    symbol,
    target_symbol,
    weight_symbol,
)
from cbackprop.neuron_names import called

LENGTH = 180.0  # of a number line
LEFT, MIDDLE, RIGHT = 0.0, 342.0, 672.0  # where the lines of w and b, of z and of a begin
ROW = 168.0
DEEPEST_HEADER = 8


class Quantity(NamedTuple):
    """What a number line shows: its label, its value, and that after the nudge."""

    label: Label
    value: float
    nudged: float
    chosen: bool = False


def draw(rule: ChainRule, term: Term, theme: str) -> Drawing:
    canvas = Canvas(f"The chain of neurons through {term.long_name}", theme)
    place = place_of(rule, term)
    path = strongest_path(rule, place)
    size = _nudge_size(rule, term)
    after = term.nudged_pass(size)
    top = len(rule.sizes) - 1
    y = 0.0
    if top <= DEEPEST_HEADER:
        _neurons(canvas, rule, path)
        y += 100
    chosen_a = {"a": place.layer - 1, "output": place.layer}.get(place.quantity)
    _activation(canvas, rule, after, y, 0, path[0], chosen_a == 0)
    for l in range(1, top + 1):
        j, k = path[l], path[l - 1]
        y += ROW
        w, b = float(rule.weights[l - 1][j, k]), float(rule.biases[l - 1][j])
        here = l == place.layer
        of_w, of_b = here and place.quantity == "w", here and place.quantity == "b"
        weight = Quantity(weight_symbol(rule.sizes, l, j, k), w, w + size * of_w, of_w)
        bias = Quantity(neuron_symbol(rule.sizes, "b", l, j), b, b + size * of_b, of_b)
        for side, quantity in ((-42.0, weight), (42.0, bias)):
            span = _span((quantity.value, quantity.nudged), True)
            _number_line(canvas, Point(LEFT, y + side), quantity, span)
        z = float(rule.backward.z[l][j])
        nudged_z = after.z[l]
        z_after = z if nudged_z is None else float(nudged_z[0, j])
        of_z = Quantity(neuron_symbol(rule.sizes, "z", l, j), z, z_after)
        _number_line(canvas, Point(MIDDLE, y), of_z, _span((z, z_after), True))
        _others(canvas, rule, y, l, j, k)
        _activation(canvas, rule, after, y, l, j, chosen_a == l)
        a_k = float(rule.backward.a[l - 1][k])
        largest = largest_of([a_k, w, 1.0])
        for side, text, name, local, chosen in (
            (-42.0, -52.0, "∂z/∂w", a_k, of_w),
            (42.0, 61.0, "∂z/∂b", 1.0, of_b),
        ):
            start, end = Point(LEFT + LENGTH + 12, y + side), Point(MIDDLE - 12, y + side / 6)
            at = Point(LEFT + LENGTH + 14, y + text)
            canvas.derivative(start, end, name, local, largest, at, bold=chosen)
        _from_row_above(canvas, y, "∂z/∂a", w, largest, chosen_a == l - 1)
        start, end = Point(MIDDLE + LENGTH + 12, y), Point(RIGHT - 12, y)
        at = Point(MIDDLE + LENGTH + 16, y - 10)
        canvas.derivative(start, end, "∂a/∂z", rule.slope(l, j), 1.0, at)
    y += ROW
    _cost(canvas, rule, after, y, path[-1], chosen_a == top)
    change = after.cost - term.nudged_pass(0.0).cost
    moved = f"changes by {signed(change)}" if math.isfinite(change) else "is then not finite"
    captions = [
        f"A nudge of {signed(size)} to {term.name} moves each point to its ring.",
        f"C {moved}; its derivative {number(term.value)} times the nudge predicts "
        f"{signed(size * term.value)}.",
    ]
    if max(rule.sizes) > 1:
        captions.append(
            "One path of many: the derivative adds up what comes along all of them (see the tree)."
        )
    for i, caption in enumerate(captions):
        canvas.text(Point(LEFT, y + 70 + 22 * i), caption, 13)
    return canvas.drawing("\n".join([str(term), *captions]))


# ---- number lines --------------------------------------------------------------------------------


def _nudge_size(rule: ChainRule, term: Term) -> float:
    """A fifth of the quantity's size, or of 1: to one digit."""
    place = place_of(rule, term)
    value = {
        "w": lambda: rule.weights[place.layer - 1][place.j, place.k],
        "b": lambda: rule.biases[place.layer - 1][place.j],
        "a": lambda: rule.backward.a[place.layer - 1][place.k],
        "output": lambda: rule.backward.a[place.layer][place.j],
    }[place.quantity]()
    size = abs(float(value)) / 5
    return float(f"{min(size, 1e300) if size > 0.02 else 0.1:.0e}")


def _span(values: tuple[float, ...], symmetric: bool = False) -> tuple[float, float]:
    """Round ends of a number line with 0 on it."""
    finite = [value for value in values if math.isfinite(value)]
    largest = max((abs(value) for value in finite), default=0.0)
    end = 1.0
    if 0 < largest < 1e300:
        power = 10.0 ** math.floor(math.log10(largest))
        end = next((m * power for m in (1, 2, 5, 10, 20) if m * power >= 1.04 * largest), largest)
    elif largest > 0:
        end = largest
    if symmetric:
        return -end, end
    return (-end if min(finite, default=0.0) < 0 else 0.0), end


def _number_line(canvas: Canvas, at: Point, quantity: Quantity, span: tuple[float, float]) -> None:
    """A line from at.x, the quantity's point on it, and a ring where the nudge takes it."""
    low, high = span

    def place(value: float) -> float:
        share = (value / high - low / high) / (1.0 - low / high)
        return at.x + LENGTH * min(1.04, max(-0.04, share))

    canvas.line(at, Point(at.x + LENGTH, at.y), Stroke("quiet", 1.5))
    ends = [(low, "start"), (high, "end")]
    if low < 0 < high:
        ends.insert(1, (0.0, "middle"))
    for value, anchor in ends:
        x = place(value)
        canvas.line(Point(x, at.y - 4), Point(x, at.y + 4), Stroke("quiet", 1.2))
        canvas.text(Point(x, at.y + 17), number(value), 10, anchor, "quiet")
    name = [*quantity.label, *plain(f" = {number(quantity.value)}")]
    canvas.text(Point(at.x, at.y - 14), name, 13, title=exact(quantity.value), bold=quantity.chosen)
    if not math.isfinite(quantity.value):
        return
    x, after = place(quantity.value), quantity.nudged
    if after != quantity.value and math.isfinite(after):
        look = "positive" if after > quantity.value else "negative"
        canvas.line(at._replace(x=x), at._replace(x=place(after)), Stroke(look, 3.5))
        ring = f"after the nudge {exact(after)}, moved by {exact(after - quantity.value)}"
        canvas.circle(at._replace(x=place(after)), 7, "ring", ring)
    look = "mark" if quantity.chosen else "point"
    canvas.circle(at._replace(x=x), 6 if quantity.chosen else 4.5, look, exact(quantity.value))


def _activation(
    canvas: Canvas, rule: ChainRule, after: Pass, y: float, layer: int, j: int, chosen: bool
) -> None:
    a, a_after = float(rule.backward.a[layer][j]), float(after.a[layer][0, j])
    label = neuron_symbol(rule.sizes, "a", layer, j)
    span = _activation_span(rule, layer, (a, a_after))
    _number_line(canvas, Point(RIGHT, y), Quantity(label, a, a_after, chosen), span)
    what = "input x" if layer == 0 else activation_name(rule, layer)
    name = called(rule, layer, j)
    if name is not None:
        what = f"{what}: {name}"
    canvas.text(Point(RIGHT + LENGTH + 14, y + 5), what, 12, look="quiet")


def _activation_span(rule: ChainRule, layer: int, values: tuple[float, ...]) -> tuple[float, float]:
    bounds = activation_bounds(rule.activations[layer - 1]) if layer > 0 else None
    if bounds and all(bounds[0] <= value <= bounds[1] for value in values):
        return bounds
    return _span(values)


def _others(canvas: Canvas, rule: ChainRule, y: float, layer: int, j: int, k: int) -> None:
    """What the inputs other than a_k add to z_j."""
    others = rule.sizes[layer - 1] - 1
    if others:
        products = rule.weights[layer - 1][j] * rule.backward.a[layer - 1].astype(np.float64)
        rest = float(np.sum(np.delete(products, k)))
        text = f"{others} other input{'s add' if others > 1 else ' adds'} {signed(rest)}"
        canvas.text(Point(MIDDLE, y + 36), text, 11, look="quiet", title=exact(rest))


def _cost(canvas: Canvas, rule: ChainRule, after: Pass, y: float, j: int, chosen: bool) -> None:
    target = float(rule.y[j])
    a = float(rule.backward.a[-1][j])
    span = _activation_span(rule, len(rule.sizes) - 1, (target, a))
    of_y = Quantity(target_symbol(rule.sizes, j), target, target)
    _number_line(canvas, Point(LEFT, y), of_y, span)
    canvas.arrow(Point(LEFT + LENGTH + 12, y), Point(MIDDLE - 12, y), Stroke("quiet", 1.2))
    of_cost = Quantity(symbol("C"), rule.cost, after.cost)
    _number_line(canvas, Point(MIDDLE, y), of_cost, _span((rule.cost, after.cost)))
    what = cost_name(rule)
    if rule.sizes[-1] > 1:
        what = f"{what}, of all {rule.sizes[-1]} outputs"
    canvas.text(Point(MIDDLE + LENGTH + 14, y + 5), what, 12, look="quiet")
    dC_da = rule.backward.dC_da[-1]
    _from_row_above(canvas, y, "∂C/∂a", float(dC_da[j]), largest_of([dC_da]), chosen)


def _from_row_above(
    canvas: Canvas, y: float, name: str, local: float, largest: float, chosen: bool
) -> None:
    """How far the activation at the end of the row above moves what this row begins with."""
    start, end = Point(RIGHT + LENGTH / 2, y - ROW + 34), Point(MIDDLE + LENGTH / 2, y - 38)
    canvas.derivative(start, end, name, local, largest, Point(MIDDLE + 272, y - 66), bold=chosen)


# ---- the neurons above ---------------------------------------------------------------------------


def _neurons(canvas: Canvas, rule: ChainRule, path: list[int]) -> None:
    """The chain itself: a neuron of each layer with its activation, joined by the weights."""
    gap = (RIGHT + LENGTH) / max(1, len(path) - 1)
    weights = [float(W[j, k]) for W, j, k in zip(rule.weights, path[1:], path, strict=False)]
    for l, w in enumerate(weights):
        line = stroke(w, largest_of(weights))
        title = f"w[{path[l + 1]}, {path[l]}] of layer {l + 1} = {exact(w)}"
        start, end = Point(l * gap + 24, -20.0), Point((l + 1) * gap - 24, -20.0)
        canvas.line(start, end, line, title)
    for l, j in enumerate(path):
        a = float(rule.backward.a[l][j])
        at = Point(l * gap, -20.0)
        canvas.circle(at, 23, "node", exact(a))
        canvas.text(at._replace(y=-16.0), number(a, 2), 11, "middle", title=exact(a))
        canvas.text(Point(at.x, 22), neuron_symbol(rule.sizes, "a", l, j), 13, "middle")
        if rule.sizes[l] > 1:
            canvas.text(Point(at.x, 39), f"{j} of 0 … {rule.sizes[l] - 1}", 10, "middle", "quiet")
