"""The formulas of activations and costs, as the pictures and the stepper's page write them.

A formula of one number writes an exponent as ^{…} and means by the letters z, a, y and n one
neuron's z, a and y and the number of outputs: the page puts numbers in their place. In a formula
of a layer _j lowers an index.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from cbackprop.drawing.shown import ChainRule
from cbackprop.drawing.symbols import Label, marked, plain, short_name
from cbackprop.functions import Activation, name_of

RAISED = str.maketrans("−z", "⁻ᶻ")


class ActivationTexts(NamedTuple):
    """σ(z) and σ′(z) of one number; None where a neuron's a needs every z of its layer."""

    formula: str | None
    derivative_formula: str | None
    picture_formula: str | None = None  # where a picture writes σ(z) in another way, or shorter
    note: str | None = None  # what the formula leaves open
    bounds: tuple[float, float] | None = None  # of a, where it has both


class CostTexts(NamedTuple):
    """C of one example and ∂C/∂a_j, then what one output adds to C and its derivative."""

    formula: str
    derivative_formula: str
    part_formula: str
    part_derivative_formula: str
    note: str | None = None


ACTIVATIONS = {
    "sigmoid": ActivationTexts("1/(1 + e^{−z})", "e^{−z}/(1 + e^{−z})²", bounds=(0.0, 1.0)),
    "tanh": ActivationTexts(
        "(e^{z} − e^{−z})/(e^{z} + e^{−z})", "4/(e^{z} + e^{−z})²", "tanh z", bounds=(-1.0, 1.0)
    ),
    "relu": ActivationTexts("max(0, z)", "1 if z > 0, else 0"),
    "leaky_relu": ActivationTexts(
        "max(0.01·z, z)", "1 if z > 0, else 0.01", "z, or 0.01 z below 0"
    ),
    "elu": ActivationTexts(
        "z if z > 0, else e^{z} − 1", "1 if z > 0, else e^{z}", "z, or eᶻ − 1 below 0"
    ),
    "selu": ActivationTexts(
        "1.0507·z if z > 0, else 1.0507·1.6733·(e^{z} − 1)",
        "1.0507 if z > 0, else 1.0507·1.6733·e^{z}",
        "1.0507·z, or 1.758·(eᶻ − 1) below 0",
    ),
    "gelu": ActivationTexts(
        "z·Φ(z)",
        "Φ(z) + z·φ(z)",
        "z Φ(z)",
        "Φ is the distribution function of the standard normal distribution, φ its density.",
    ),
    "silu": ActivationTexts("z/(1 + e^{−z})", "1/(1 + e^{−z}) + z·e^{−z}/(1 + e^{−z})²"),
    "softplus": ActivationTexts("ln(1 + e^{z})", "1/(1 + e^{−z})"),
    "softsign": ActivationTexts("z/(1 + |z|)", "1/(1 + |z|)²", bounds=(-1.0, 1.0)),
    "exponential": ActivationTexts("e^{z}", "e^{z}"),
    "identity": ActivationTexts("z", "1"),
    "softmax": ActivationTexts(None, None, "exp z_j / Σ_i exp z_i", bounds=(0.0, 1.0)),
}

COSTS = {
    "quadratic": CostTexts("Σ_j (a_j − y_j)²", "2(a_j − y_j)", "(a − y)²", "2·(a − y)"),
    "half_quadratic": CostTexts("½ Σ_j (a_j − y_j)²", "a_j − y_j", "½·(a − y)²", "a − y"),
    "mse": CostTexts("1/n Σ_j (a_j − y_j)²", "2(a_j − y_j)/n", "(a − y)²/n", "2·(a − y)/n"),
    "cross_entropy": CostTexts(
        "−Σ_j (y_j ln a_j + (1 − y_j) ln(1 − a_j))",
        "(a_j − y_j)/(a_j (1 − a_j))",
        "−y·ln(a) − (1 − y)·ln(1 − a)",
        "(1 − y)/(1 − a) − y/a",
    ),
    "mae": CostTexts("1/n Σ_j |a_j − y_j|", "sign(a_j − y_j)/n", "|a − y|/n", "sign(a − y)/n"),
    "huber": CostTexts(
        "1/n Σ_j h(a_j − y_j)",
        "(a_j − y_j, between −1 and 1)/n",
        "huber(a − y)/n",
        "max(−1, min(1, a − y))/n",
        "huber(r) is r²/2 where |r| ≤ 1, and |r| − ½ elsewhere.",
    ),
    "poisson": CostTexts(
        "1/n Σ_j (a_j − y_j ln a_j)", "(1 − y_j/a_j)/n", "(a − y·ln(a))/n", "(1 − y/a)/n"
    ),
}
SOFTMAX_CROSS_ENTROPY = CostTexts("−Σ_j y_j ln a_j", "−y_j/a_j", "−y·ln(a)", "−y/a")


def cost_texts(cost: str, output: str | Activation) -> CostTexts:
    """The row of a cost, which for cross-entropy depends on the last layer's activation."""
    if cost == "cross_entropy" and output == "softmax":
        return SOFTMAX_CROSS_ENTROPY
    return COSTS[cost]


def activation_bounds(activation: str | Activation) -> tuple[float, float] | None:
    """The ends of the range of a where it has both; of a function of the user's none are known."""
    return ACTIVATIONS[activation].bounds if isinstance(activation, str) else None


def activation_formula(rule: ChainRule, layer: int) -> Label:
    """σ(z) of a layer; the name of a function of the user's."""
    activation = rule.activations[layer - 1]
    if not isinstance(activation, str):
        return plain(f"{short_name(name_of(activation))}(z)")
    texts = ACTIVATIONS[activation]
    if texts.picture_formula is not None:
        return marked(texts.picture_formula)
    assert texts.formula is not None
    return plain(re.sub(r"\^\{(.*?)\}", lambda match: match[1].translate(RAISED), texts.formula))


def activation_name(rule: ChainRule, layer: int) -> str:
    return short_name(name_of(rule.activations[layer - 1]))


def cost_formulas(rule: ChainRule) -> tuple[Label, Label]:
    """C and ∂C/∂a_j; names of a function of the user's."""
    cost = rule.cost_function
    if not isinstance(cost, str):
        name = short_name(cost.name)
        return plain(f"{name}(a, y)"), [*plain(f"∂{name}/∂a"), ("j", "sub")]
    texts = cost_texts(cost, rule.activations[-1])
    value, slope = texts.formula, texts.derivative_formula
    if rule.sizes[-1] == 1:  # one output: nothing to sum, or to number
        for mark in ("1/n ", "/n", "Σ_j ", "_j"):
            value, slope = value.replace(mark, ""), slope.replace(mark, "")
    return marked(value), marked(slope)


def cost_name(rule: ChainRule) -> str:
    return short_name(name_of(rule.cost_function))
