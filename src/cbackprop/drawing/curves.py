"""What a training did, as curves over its epochs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cbackprop.drawing.canvas import Canvas, Drawing, Point, Stroke
from cbackprop.drawing.shown import History
from cbackprop.drawing.symbols import exact, number
from cbackprop.neuron_names import short_name

WIDTH, HEIGHT, GAP = 520.0, 190.0, 74.0
LARGEST = sys.float_info.max
MOST_POINTS = 1000  # of a curve; more are thinned, as more than the picture's pixels say nothing
STROKES = (
    Stroke("positive", 2),
    Stroke("negative", 2, dashed=True),
    Stroke("ink", 2),
    Stroke("quiet", 2, dashed=True),
)


def panels(history: History) -> list[tuple[str, dict[str, Sequence[float]]]]:
    """The curves that share an axis: the costs, each metric, the learning rate where it moves."""
    costs = {"cost": history.cost}
    if history.validation_cost:
        costs["validation cost"] = history.validation_cost
    found = [("cost", costs)]
    found += [(name, {name: values}) for name, values in history.metrics.items()]
    if len(set(history.learning_rate)) > 1:
        found.append(("learning rate", {"learning rate": history.learning_rate}))
    if history.penalty:
        found.append(("penalty", {"penalty": history.penalty}))
    return found


def draw(history: History, theme: str = "auto") -> Drawing:
    epochs = f"{history.epochs} epoch{'' if history.epochs == 1 else 's'}"
    canvas = Canvas(f"Training over {epochs}", theme)
    lines = [f"{epochs}, stop reason: {history.stop_reason}"]
    y = 0.0
    for title, curves in panels(history):
        _panel(canvas, y, title, curves, history)
        lines += [
            f"{name}: {exact(values[0])} to {exact(values[-1])}"
            for name, values in curves.items()
            if values
        ]
        y += HEIGHT + GAP
    return canvas.drawing("\n".join(lines))


def _panel(
    canvas: Canvas, top: float, title: str, curves: dict[str, Sequence[float]], history: History
) -> None:
    finite = [v for values in curves.values() for v in values if math.isfinite(v)]
    canvas.text(Point(0, top - 12), short_name(title), 13, bold=True, title=title)
    if not finite:
        canvas.text(Point(0, top + 16), "no finite numbers to draw", 12, look="quiet")
        return
    low, high = min(finite), max(finite)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
        low, high = max(low, -LARGEST), min(high, LARGEST)
    # Costs that fall by orders of magnitude are seen on a logarithmic axis only.
    logarithmic = low > 0 and high / 50 > low
    log_low = math.log(low) if logarithmic else 0.0
    bottom = top + HEIGHT

    def place(epoch: int, value: float) -> Point:
        if logarithmic:
            share = (math.log(value) - log_low) / (math.log(high) - log_low)
        else:
            share = (value / 2 - low / 2) / (high / 2 - low / 2)
        # One epoch stands in the middle.
        across = epoch / (history.epochs - 1) if history.epochs > 1 else 0.5
        return Point(WIDTH * across, bottom - HEIGHT * share)

    # As many digits as tell the lines apart.
    digits = 3
    if not logarithmic:
        digits += max(0, math.ceil(math.log10(max(abs(low), abs(high)) / (high / 4 - low / 4))) - 1)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low * (1 - share) + high * share
        if logarithmic and share < 1:
            value = math.exp(log_low + share * (math.log(high) - log_low))
        at = bottom - HEIGHT * share
        canvas.line(Point(0, at), Point(WIDTH, at), Stroke("faint", 0.7))
        canvas.text(
            Point(-8, at + 4), number(value, min(digits, 12)), 11, "end", "quiet", exact(value)
        )
    canvas.text(Point(0, bottom + 18), "epoch 1", 11, look="quiet")
    if history.epochs > 1:
        canvas.text(Point(WIDTH, bottom + 18), str(history.epochs), 11, "end", "quiet")
    if logarithmic:
        canvas.text(Point(WIDTH / 2, bottom + 18), "logarithmic", 11, "middle", "quiet")
    if history.best_epoch is not None:
        x = place(history.best_epoch, high).x
        canvas.line(Point(x, top), Point(x, bottom), Stroke("quiet", 1.2))
        best = f"| best epoch {history.best_epoch + 1}"
        canvas.text(Point(WIDTH + 18, bottom), best, 12, look="quiet")
    for i, (name, values) in enumerate(curves.items()):
        stroke = STROKES[i % len(STROKES)]
        _curve(canvas, name, values, place, stroke)
        key = Point(WIDTH + 18, top + 12 + 40 * i)
        canvas.line(key, key._replace(x=key.x + 34), stroke, name)
        text = f"{short_name(name)} {number(values[-1])}" if values else short_name(name)
        canvas.text(Point(key.x, key.y + 18), text, 12, title=name)


def _curve(
    canvas: Canvas,
    name: str,
    values: Sequence[float],
    place: Callable[[int, float], Point],
    stroke: Stroke,
) -> None:
    """Line pieces between numbers that are finite; a single one is a point."""
    step = max(1, math.ceil(len(values) / MOST_POINTS))
    kept = sorted({*range(0, len(values), step), len(values) - 1}) if values else []
    piece: list[Point] = []
    pieces = [piece]
    for epoch in kept:
        if math.isfinite(values[epoch]):
            piece.append(place(epoch, values[epoch]))
        elif piece:
            piece = []
            pieces.append(piece)
    for points in pieces:
        if len(points) > 1:
            canvas.polyline(points, stroke, name)
        elif points:
            canvas.circle(points[0], 3, "point", name)


def on_axes(history: History, ax: Any) -> None:
    """The costs on matplotlib's axes, the metrics dashed."""
    epochs = range(1, history.epochs + 1)
    for kind, curves in panels(history):
        if kind in ("learning rate", "penalty"):
            continue
        for name, values in curves.items():
            ax.plot(epochs, values, "-" if kind == "cost" else "--", label=name)
    ax.set_xlabel("epoch")
    ax.legend()
