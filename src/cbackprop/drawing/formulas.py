"""The formulas of activations and costs, as the pictures write them."""

from __future__ import annotations

import math
import re

from cbackprop.drawing.shown import ChainRule
from cbackprop.drawing.symbols import Label, marked, plain
from cbackprop.functions import ACTIVATIONS, Activation, cost_texts, name_of
from cbackprop.neuron_names import short_name

RAISED = str.maketrans("−z", "⁻ᶻ")


def activation_bounds(activation: str | Activation) -> tuple[float, float] | None:
    """The ends of the range of a where it has both; of a function of the user's none are known."""
    low, high = ACTIVATIONS[activation].bounds if isinstance(activation, str) else (0, math.inf)
    return (low, high) if math.isfinite(high - low) else None


def activation_formula(rule: ChainRule, layer: int) -> Label:
    """σ(z) of a layer; the name of a function of the user's."""
    activation = rule.activations[layer - 1]
    if not isinstance(activation, str):
        return plain(f"{short_name(name_of(activation))}(z)")
    row = ACTIVATIONS[activation]
    if row.picture_formula is not None:
        return marked(row.picture_formula)
    assert row.formula is not None
    return plain(re.sub(r"\^\{(.*?)\}", lambda match: match[1].translate(RAISED), row.formula))


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
