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

from cbackprop.functions import Activation, Array, Cost, name_of
from cbackprop.training.optimizers import SGD

if TYPE_CHECKING:
    from cbackprop.gradients import Gradient
    from cbackprop.network import Network

# In the order in which they need each other.
SCRIPTS = ("record", "formulas", "phases", "picture", "choices", "tables", "controls")

# σ(z) and σ′(z) as the page writes them; {…} is raised, and the letter z becomes the number.
ACTIVATION_FORMULAS = {
    "sigmoid": ("1/(1 + e^{−z})", "e^{−z}/(1 + e^{−z})²"),
    "tanh": ("(e^{z} − e^{−z})/(e^{z} + e^{−z})", "4/(e^{z} + e^{−z})²"),
    "relu": ("max(0, z)", "1 if z > 0, else 0"),
    "leaky_relu": ("max(0.01·z, z)", "1 if z > 0, else 0.01"),
    "elu": ("z if z > 0, else e^{z} − 1", "1 if z > 0, else e^{z}"),
    "selu": (
        "1.0507·z if z > 0, else 1.0507·1.6733·(e^{z} − 1)",
        "1.0507 if z > 0, else 1.0507·1.6733·e^{z}",
    ),
    "gelu": ("z·Φ(z)", "Φ(z) + z·φ(z)"),
    "silu": ("z/(1 + e^{−z})", "1/(1 + e^{−z}) + z·e^{−z}/(1 + e^{−z})²"),
    "softplus": ("ln(1 + e^{z})", "1/(1 + e^{−z})"),
    "softsign": ("z/(1 + |z|)", "1/(1 + |z|)²"),
    "exponential": ("e^{z}", "e^{z}"),
    "identity": ("z", "1"),
}

# What output j adds to C, and ∂C/∂a_j; n is the number of outputs.
COST_FORMULAS = {
    "quadratic": ("(a − y)²", "2·(a − y)"),
    "half_quadratic": ("½·(a − y)²", "a − y"),
    "mse": ("(a − y)²/n", "2·(a − y)/n"),
    "cross_entropy": ("−y·ln(a) − (1 − y)·ln(1 − a)", "(1 − y)/(1 − a) − y/a"),
    "mae": ("|a − y|/n", "sign(a − y)/n"),
    "huber": ("huber(a − y)/n", "max(−1, min(1, a − y))/n"),
    "poisson": ("(a − y·ln(a))/n", "(1 − y/a)/n"),
}
SOFTMAX_CROSS_ENTROPY = ("−y·ln(a)", "−y/a")

# What a formula leaves open.
NOTES = {
    "gelu": "Φ is the distribution function of the standard normal distribution, φ its density.",
    "huber": "huber(r) is r²/2 where |r| ≤ 1, and |r| − ½ elsewhere.",
}


def page(network: Network, X: Array, Y: Array, learning_rate: float, steps: int, title: str) -> str:
    """The page for the first steps on examples X (n, n_0) with targets Y (n, n_L)."""
    parts = {
        "title": html.escape(title),
        "style": _file("page.css"),
        "script": "\n".join(_file(f"{name}.js") for name in SCRIPTS),
        "record": _embedded(record(network, X, Y, learning_rate, steps)),
    }
    # In one pass, so that what a title says is not looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("page.html"))


def record(
    network: Network, X: Array, Y: Array, learning_rate: float, steps: int
) -> dict[str, Any]:
    """Every value of the first steps, made by the library on a copy of the network."""
    net = network.copy()
    start = _parameters(net)
    made = []
    for step in range(steps):
        try:
            made.append(_step(net, X, Y, step % len(X), learning_rate))
        except FloatingPointError as error:
            raise FloatingPointError(
                f"in step {step + 1} of {steps} with the learning rate {learning_rate:g}: {error}"
            ) from error
    return {
        "sizes": list(network.sizes),
        "dtype": network.dtype.name,
        "learning_rate": learning_rate,
        "n_examples": len(X),
        "activations": [_activation_formula(activation) for activation in network.activations],
        "cost": _cost_formula(network.cost_function, network.activations[-1]),
        "parameters": start,
        "steps": made,
    }


def _step(net: Network, X: Array, Y: Array, example: int, learning_rate: float) -> dict[str, Any]:
    """Every value of one step of the network, which makes it."""
    x, y = X[example], Y[example]
    mean_cost = net.cost(X, Y)
    backward = net.backward(x, y)
    gradient = net.gradient(x, y)
    net.partial_fit(x, y, optimizer=SGD(learning_rate))
    return {
        "example": example,
        "y": _numbers(y),
        "z": [_numbers(z) for z in backward.z],
        "a": [_numbers(a) for a in backward.a],
        "cost": _number(backward.cost),
        "dC_da": [_numbers(dC_da) for dC_da in backward.dC_da],
        "da_dz": [_numbers(da_dz) for da_dz in backward.da_dz],
        "delta": [_numbers(delta) for delta in backward.delta],
        "gradient": _parameters(gradient),
        "updated": _parameters(net),
        "cost_after": _number(net.cost(x, y)),
        "mean_cost": _number(mean_cost),
        "mean_cost_after": _number(net.cost(X, Y)),
    }


def _parameters(source: Network | Gradient) -> dict[str, Any]:
    return {
        "weights": [_numbers(W) for W in source.weights],
        "biases": [_numbers(b) for b in source.biases],
    }


def _activation_formula(activation: str | Activation) -> dict[str, Any]:
    value, derivative = (
        ACTIVATION_FORMULAS.get(activation, (None, None))
        if isinstance(activation, str)
        else (None, None)
    )
    return {
        "name": name_of(activation),
        "softmax": activation == "softmax",
        "value": value,
        "derivative": derivative,
        "note": NOTES.get(activation) if isinstance(activation, str) else None,
    }


def _cost_formula(cost: str | Cost, output: str | Activation) -> dict[str, Any]:
    part, derivative = COST_FORMULAS[cost] if isinstance(cost, str) else (None, None)
    if cost == "cross_entropy" and output == "softmax":
        part, derivative = SOFTMAX_CROSS_ENTROPY
    return {
        "name": name_of(cost),
        "part": part,
        "derivative": derivative,
        "note": NOTES.get(cost) if isinstance(cost, str) else None,
        # δ of these is taken before rounding, and is no product of two rounded factors.
        "delta_before_rounding": cost in ("cross_entropy", "poisson"),
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
