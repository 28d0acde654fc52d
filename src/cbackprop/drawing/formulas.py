"""The formulas of activations and costs, as the pictures write them."""

from __future__ import annotations

from cbackprop.drawing.shown import ChainRule
from cbackprop.drawing.symbols import Label, marked, plain, short_name
from cbackprop.functions import name_of

ACTIVATIONS = {
    "sigmoid": "1/(1 + e⁻ᶻ)",
    "tanh": "tanh z",
    "relu": "max(0, z)",
    "leaky_relu": "z, or 0.01 z below 0",
    "elu": "z, or eᶻ − 1 below 0",
    "selu": "1.0507·z, or 1.758·(eᶻ − 1) below 0",
    "gelu": "z Φ(z)",
    "silu": "z/(1 + e⁻ᶻ)",
    "softplus": "ln(1 + eᶻ)",
    "softsign": "z/(1 + |z|)",
    "exponential": "eᶻ",
    "identity": "z",
    "softmax": "exp z_j / Σ_i exp z_i",
}

# C of one example, and ∂C/∂a_j.
COSTS = {
    "quadratic": ("Σ_j (a_j − y_j)²", "2(a_j − y_j)"),
    "half_quadratic": ("½ Σ_j (a_j − y_j)²", "a_j − y_j"),
    "mse": ("1/n Σ_j (a_j − y_j)²", "2(a_j − y_j)/n"),
    "mae": ("1/n Σ_j |a_j − y_j|", "sign(a_j − y_j)/n"),
    "huber": ("1/n Σ_j h(a_j − y_j)", "(a_j − y_j, between −1 and 1)/n"),
    "poisson": ("1/n Σ_j (a_j − y_j ln a_j)", "(1 − y_j/a_j)/n"),
}
CROSS_ENTROPY = {
    "sigmoid": ("−Σ_j (y_j ln a_j + (1 − y_j) ln(1 − a_j))", "(a_j − y_j)/(a_j (1 − a_j))"),
    "softmax": ("−Σ_j y_j ln a_j", "−y_j/a_j"),
}


def activation_formula(rule: ChainRule, layer: int) -> Label:
    """σ(z) of a layer; the name of a function of the user's."""
    activation = rule.activations[layer - 1]
    if isinstance(activation, str):
        return marked(ACTIVATIONS[activation])
    return plain(f"{short_name(name_of(activation))}(z)")


def activation_name(rule: ChainRule, layer: int) -> str:
    return short_name(name_of(rule.activations[layer - 1]))


def cost_formulas(rule: ChainRule) -> tuple[Label, Label]:
    """C and ∂C/∂a_j; names of a function of the user's."""
    cost = rule.cost_function
    if not isinstance(cost, str):
        name = short_name(cost.name)
        return plain(f"{name}(a, y)"), [*plain(f"∂{name}/∂a"), ("j", "sub")]
    if cost == "cross_entropy":
        value, slope = CROSS_ENTROPY[str(rule.activations[-1])]
    else:
        value, slope = COSTS[cost]
    if rule.sizes[-1] == 1:  # one output: nothing to sum, or to number
        for mark in ("1/n ", "/n", "Σ_j ", "_j"):
            value, slope = value.replace(mark, ""), slope.replace(mark, "")
    return marked(value), marked(slope)


def cost_name(rule: ChainRule) -> str:
    return short_name(name_of(rule.cost_function))
