"""A page that steps through backpropagation, one example at a time, with every factor a number.

The numbers are the library's own: `record` makes the steps and notes every value in full, and the
page shows them and computes none. So it is exact for every activation and cost, a user's own ones
too. The page is one file that asks nothing of the network, put together from those in step_page/.
"""

from __future__ import annotations

import html
import json
import math
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from cbackprop.drawing.page import Page
from cbackprop.functions import ACTIVATIONS, COSTS, Activation, Array, Cost, cost_texts, name_of
from cbackprop.model import Model
from cbackprop.optimizers import SGD
from cbackprop.training import loop

if TYPE_CHECKING:
    from cbackprop.gradients import Gradient

# In the order in which they need each other.
SCRIPTS = ("record", "formulas", "phases", "picture", "choices", "tables", "controls")


def page(model: Model, X: Array, Y: Array, learning_rate: float, steps: int, title: str) -> Page:
    """The page for the first steps on examples X (n, n_0) with targets Y (n, n_L)."""
    parts = {
        "title": html.escape(title),
        "style": _file("page.css"),
        "script": "\n".join(_file(f"{name}.js") for name in SCRIPTS),
        "record": _embedded(record(model, X, Y, learning_rate, steps)),
    }
    # In one pass, so that what a title says is not looked at again.
    return Page(re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("page.html")))


def record(model: Model, X: Array, Y: Array, learning_rate: float, steps: int) -> dict[str, Any]:
    """Every value of the first steps, made by the library on a copy of the network."""
    twin = model.copy()
    start = _parameters(twin)
    made: list[dict[str, Any]] = []
    for step in range(steps):
        try:
            made.append(_step(twin, X, Y, step % len(X), learning_rate))
        except FloatingPointError as error:
            raise FloatingPointError(
                f"in step {step + 1} of {steps} with the learning rate {learning_rate:g}: {error}"
            ) from error
    return {
        "sizes": list(model.sizes),
        "dtype": model.dtype.name,
        "learning_rate": learning_rate,
        "n_examples": len(X),
        "activations": [_activation_formula(activation) for activation in model.activations],
        "cost": _cost_formula(model.cost_function, model.activations[-1]),
        "parameters": start,
        "steps": made,
    }


def _step(model: Model, X: Array, Y: Array, example: int, learning_rate: float) -> dict[str, Any]:
    """Every value of one step of the network, which makes it."""
    x, y = X[example : example + 1], Y[example : example + 1]
    mean_cost = model.mean_cost(X, Y)
    backward = model.backward(x, y, True)
    gradient = model.gradient(x, y)
    loop.run_pass(model, x, y, 1, SGD(learning_rate), None, None, None)
    return {
        "example": example,
        "y": _numbers(y[0]),
        "z": [_numbers(z) for z in backward.z],
        "a": [_numbers(a) for a in backward.a],
        "cost": _number(backward.cost),
        "dC_da": [_numbers(dC_da) for dC_da in backward.dC_da],
        "da_dz": [_numbers(da_dz) for da_dz in backward.da_dz],
        "delta": [_numbers(delta) for delta in backward.delta],
        "gradient": _parameters(gradient),
        "updated": _parameters(model),
        "cost_after": _number(model.mean_cost(x, y)),
        "mean_cost": _number(mean_cost),
        "mean_cost_after": _number(model.mean_cost(X, Y)),
    }


def _parameters(source: Model | Gradient) -> dict[str, Any]:
    return {
        "weights": [_numbers(W) for W in source.weights],
        "biases": [_numbers(b) for b in source.biases],
    }


def _activation_formula(activation: str | Activation) -> dict[str, Any]:
    row = ACTIVATIONS[activation] if isinstance(activation, str) else None
    return {
        "name": name_of(activation),
        "softmax": activation == "softmax",
        "value": row and row.formula,
        "derivative": row and row.derivative_formula,
        "note": row and row.note,
    }


def _cost_formula(cost: str | Cost, output: str | Activation) -> dict[str, Any]:
    texts = cost_texts(cost, output) if isinstance(cost, str) else None
    return {
        "name": name_of(cost),
        "part": texts and texts.part_formula,
        "derivative": texts and texts.part_derivative_formula,
        "note": texts and texts.note,
        # δ of these is taken before rounding, and is no product of two rounded factors.
        "delta_before_rounding": isinstance(cost, str) and COSTS[cost].delta_from_z,
    }


# ---- JSON ----------------------------------------------------------------------------------------


def _number(value: Any) -> float | str:
    """A number that JSON can hold in full; for those it has no word for, JavaScript's."""
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _numbers(array: Array | None) -> Any:
    """The same for an array, as nested lists."""
    if array is None:
        return None
    return [_numbers(row) if row.ndim else _number(row) for row in array]


def _embedded(facts: dict[str, Any]) -> str:
    """JSON that can stand in a script element: ASCII, without the < that would end it."""
    text = json.dumps(facts, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _file(name: str) -> str:
    return files("cbackprop").joinpath("step_page", name).read_text(encoding="utf-8")
