"""A network: its neurons, and its weights by width, colour and dashes."""

from __future__ import annotations

import numpy as np

from cbackprop.drawing.canvas import Canvas, Drawing, Point, largest_of, stroke
from cbackprop.drawing.choice import shown_neurons
from cbackprop.drawing.shown import Network
from cbackprop.drawing.symbols import exact, label_width, plain
from cbackprop.functions import name_of
from cbackprop.neuron_names import called, short_name

COLUMN, ROW, RADIUS = 170.0, 34.0, 12.0
THINNER = 0.5  # than the strokes of other pictures: there are more of them


def draw(network: Network, theme: str = "auto") -> Drawing:
    """Layers wider than 16 are elided; hovering over an edge says its weight."""
    layers = "-".join(str(n) for n in network.sizes)
    canvas = Canvas(f"Network {layers}", theme)
    columns = [shown_neurons(n, []) for n in network.sizes]
    names = ["input", *(short_name(name_of(activation)) for activation in network.activations)]
    column = max(COLUMN, *(label_width(plain(name), 12) + 16 for name in names))
    height = ROW * (max(len(rows) for rows in columns) - 1)
    places = [
        {
            row if isinstance(row, int) else -1: Point(
                column * l, (height - ROW * (len(rows) - 1)) / 2 + ROW * i
            )
            for i, row in enumerate(rows)
        }
        for l, rows in enumerate(columns)
    ]
    for l, W in enumerate(network.weights, start=1):
        seen = [(j, k) for j in places[l] for k in places[l - 1] if j >= 0 and k >= 0]
        largest = largest_of([W[j, k] for j, k in seen])
        # The strongest are drawn last, over the others.
        for j, k in sorted(seen, key=lambda jk: abs(float(np.nan_to_num(W[jk])))):
            w = float(W[j, k])
            line = stroke(w, largest)
            line = line._replace(width=THINNER * line.width)
            title = f"w[{j}, {k}] of layer {l} = {exact(w)}"
            canvas.line(places[l - 1][k], places[l][j], line, title)
    for l, rows in enumerate(columns):
        for row in rows:
            if isinstance(row, range):
                canvas.left_out(places[l][-1], len(row))
                continue
            title = f"neuron {row} of layer {l}"
            name = called(network, l, row)
            if name is not None:
                title += f" ({name})"
                side = -1 if l == 0 else 1
                beside = Point(places[l][row].x + side * (RADIUS + 8), places[l][row].y + 4)
                canvas.text(beside, name, 12, "end" if l == 0 else "start")
            if l:
                title += f", bias {exact(float(network.biases[l - 1][row]))}"
            canvas.circle(places[l][row], RADIUS, "node", title)
        canvas.text(Point(column * l, -44), str(network.sizes[l]), 13, "middle", bold=True)
        canvas.text(Point(column * l, -26), names[l], 12, "middle", "quiet")
    canvas.text(
        Point(-RADIUS, height + 46),
        "weights: solid positive, dashed negative, wider the larger in their layer",
        12,
        look="quiet",
    )
    return canvas.drawing(network.summary())
