"""What notebooks show of an object: a headline, pictures and tables, folded without scripts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from cbackprop.drawing import curves, shown
from cbackprop.drawing import network as network_picture
from cbackprop.drawing.canvas import COLOURS, escaped
from cbackprop.drawing.page import Page
from cbackprop.drawing.symbols import exact
from cbackprop.functions import Array, name_of
from cbackprop.neuron_names import about, short_name

CELL = "padding:2px 10px;text-align:right"

# Pictures keep their size, and what is wider than the screen scrolls by itself.
PAGE_STYLE = f"""
body {{ max-width: 70rem; margin: 0 auto; padding: 0 1rem; overflow-wrap: anywhere;
  font: 1rem/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
  background: {COLOURS["light"]["paper"]}; color: {COLOURS["light"]["ink"]}; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: {COLOURS["dark"]["paper"]}; color: {COLOURS["dark"]["ink"]}; }}
}}
.wide {{ overflow-x: auto; margin: 0.7rem 0; }}
body .wide > svg {{ max-width: none; }}
table {{ white-space: nowrap; font-variant-numeric: tabular-nums; }}
"""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col" style="{CELL}">{escaped(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{CELL}">{escaped(cell)}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return (
        f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def folded(summary: str, content: str, unfolded: bool = False) -> str:
    opening = "<details open>" if unfolded else "<details>"
    return f"{opening}<summary>{escaped(summary)}</summary>{content}</details>"


def headline(text: str) -> str:
    return f"<p><strong>{escaped(text)}</strong></p>"


def preformatted(text: str) -> str:
    return f"<pre>{escaped(text)}</pre>"


# ---- the chain rule ------------------------------------------------------------------------------


def chain_rule(rule: shown.ChainRule) -> str:
    layers = "-".join(str(n) for n in rule.sizes)
    return (
        headline(f"Chain rule of one example, {layers}, cost {rule.cost:.6g}")
        + rule.svg()
        + folded("every formula", rule.svg("summary"))
        + folded("every layer", preformatted(str(rule)))
    )


def term(of: shown.Term) -> str:
    return _value(of) + of.svg() + folded("every formula", of.svg("summary"))


def _value(of: shown.Term) -> str:
    return headline(f"∂C/∂{of.long_name} = {exact(of.value)}")


def _wide(content: str) -> str:
    return f'<div class="wide">{content}</div>'


def page_of_term(
    of: shown.Term, nudge_columns: Sequence[str], nudge_rows: Iterable[Sequence[str]]
) -> Page:
    """A page with the derivative's pictures, its factors and its nudges."""
    title = escaped(f"∂C/∂{of.name}")
    parts = (
        _value(of),
        _wide(preformatted(str(of))),
        _wide(of.svg()),
        folded("every formula", _wide(of.svg("summary"))),
        headline(f"Nudges of {of.long_name}"),
        _wide(table(nudge_columns, nudge_rows)),
    )
    return Page(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{PAGE_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def nudges(of: shown.Nudges) -> str:
    title = f"Nudges of {of.name}, derivative {exact(of.derivative)}"
    return headline(title) + table(of.columns, of.rows())


# ---- gradients -----------------------------------------------------------------------------------


def gradient(of: shown.Gradient) -> str:
    """Length and largest entry of each layer's part; of n examples their means."""
    many = of.vector.ndim == 2
    rows: list[tuple[str, ...]] = []
    with np.errstate(all="ignore"):
        for layer, parts in enumerate(zip(of.weights, of.biases, strict=True), start=1):
            for kind, array in zip(("weights", "biases"), parts, strict=True):
                shape = array.shape[1 if many else 0 :]
                n = len(array) if many else 1
                each = array.reshape(n, math.prod(shape)).astype(np.float64)
                lengths = np.sqrt(np.square(each).sum(axis=1))
                rows.append(
                    (
                        str(layer),
                        kind,
                        " × ".join(map(str, shape)),
                        f"{_mean(lengths):.6g}",
                        f"{np.abs(each).max(initial=0.0):.6g}",
                    )
                )
    length = "mean norm" if many else "norm"
    columns = ("layer", "part", "shape", length, "largest |∂C/∂w|")
    return headline(repr(of).strip("<>")) + table(columns, rows)


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0


def forward(of: shown.Forward) -> str:
    """The range of every layer's numbers; of a backward pass also of its derivatives."""
    names = [name for name in ("z", "a", "da_dz", "dC_da", "delta") if hasattr(of, name)]
    symbols = {"da_dz": "∂a/∂z", "dC_da": "∂C/∂a", "delta": "∂C/∂z"}
    rows: list[tuple[str, ...]] = []
    for l, a in enumerate(of.a):
        arrays = [getattr(of, name)[l] for name in names]
        shape = " × ".join(str(n) for n in a.shape)
        rows.append((str(l), shape, *(_range(array) for array in arrays)))
    columns = ("layer", "shape", *(symbols.get(name, name) for name in names))
    return headline(repr(of).strip("<>")) + table(columns, rows)


def _range(array: Array | None) -> str:
    if array is None or array.size == 0:
        return "–"
    low, high = float(array.min()), float(array.max())
    return f"{low:z.4g}" if low == high else f"{low:z.4g} … {high:z.4g}"


def gradient_check(of: shown.GradientCheck) -> str:
    text = f"Gradient check {'passed' if of.passed else 'FAILED'}, worst at {of.worst}"
    return (
        headline(text)
        + table(of.columns, of.rows())
        + f"<p>by {escaped(of.method)}, with a tolerance of {of.tolerance:.1e}</p>"
    )


def gradient_diagnosis(of: shown.GradientDiagnosis) -> str:
    said = "".join(f"<p>{escaped(line)}</p>" for line in of.general)
    return headline(of.headline) + said + table(of.columns, of.rows())


# ---- networks and trainings ----------------------------------------------------------------------


def network(of: shown.Network) -> str:
    rows = [("0", str(of.sizes[0]), "input", "", "")]
    for l, (W, activation) in enumerate(zip(of.weights, of.activations, strict=True), start=1):
        shape = f"{W.shape[0]} × {W.shape[1]}"
        parameters = str(W.size + W.shape[0])
        rows.append((str(l), str(W.shape[0]), short_name(name_of(activation)), shape, parameters))
    columns = ("layer", "neurons", "activation", "weights", "parameters")
    layers = "-".join(str(n) for n in of.sizes)
    summary = (
        f"Network {layers}, cost {short_name(name_of(of.cost_function))}, "
        f"{of.n_parameters} parameters, {of.dtype.name}, {of.backend}"
    )
    said = "".join(f"<p>{escaped(what)}: {escaped(text)}</p>" for what, text in about(of))
    return folded(
        summary,
        table(columns, rows) + said + folded("weights", network_picture.draw(of), unfolded=True),
        unfolded=True,
    )


def history(of: shown.History) -> str:
    if not of.epochs:
        return headline("History of 0 epochs")
    named = {name: values for _, panel in curves.panels(of) for name, values in panel.items()}
    rows = [
        (str(epoch + 1), *(f"{values[epoch]:.6g}" for values in named.values()))
        for epoch in _some(of.epochs)
    ]
    text = f"{repr(of).strip('<>')}; stop reason: {of.stop_reason}"
    return (
        headline(text)
        + curves.draw(of)
        + folded("numbers", table(("epoch", *(short_name(name) for name in named)), rows))
    )


def _some(epochs: int) -> list[int]:
    """All epochs, or of many some that are evenly spread, the first and the last among them."""
    if epochs <= 50:
        return list(range(epochs))
    return sorted({round(i * (epochs - 1) / 49) for i in range(50)})
