"""The chain rule of one quantity as a formula for LaTeX, MathJax and KaTeX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cbackprop.drawing.choice import is_product, is_softmax, place_of, upper_numbers
from cbackprop.drawing.shown import ChainRule, Term

MOST_TERMS = 6  # of a sum that is written out


@np.errstate(all="ignore")
def of_term(rule: ChainRule, term: Term) -> str:
    """∂C/∂ of it = its factors with symbols = with numbers = the value."""
    place = place_of(rule, term)
    l, j, k = place.layer, place.j, place.k
    value = number(term.value)
    if place.quantity == "output":
        return rf"\frac{{\partial C}}{{\partial {_neuron('a', l, j)}}} = {value}"
    if place.quantity == "a":
        left = rf"\frac{{\partial C}}{{\partial {_neuron('a', l - 1, k)}}}"
        symbols, numbers = _sum_over_paths(rule, l, k)
        return f"{left} = {symbols} = {numbers} = {value}"
    quantity = _weight(l, j, k) if place.quantity == "w" else _neuron("b", l, j)
    first = float(rule.backward.a[l - 1][k]) if place.quantity == "w" else 1.0
    left = rf"\frac{{\partial C}}{{\partial {quantity}}}"
    z = _neuron("z", l, j)
    slope = rf"\frac{{\partial {z}}}{{\partial {quantity}}}"
    upper = rf"\frac{{\partial C}}{{\partial {z}}}"
    if is_product(rule, l, j) or is_softmax(rule, l):
        upper = _upper(rule, l, str(j))
    symbols = rf"{slope} \, {upper}"
    numbers = _product([first, *upper_numbers(rule, l, j)])
    return f"{left} = {symbols} = {numbers} = {value}"


def _neuron(letter: str, layer: int, j: int | str) -> str:
    return f"{letter}^{{({layer})}}_{{{j}}}"


def _weight(layer: int, j: int | str, k: int | str) -> str:
    return f"w^{{({layer})}}_{{{j},{k}}}"


def _upper(rule: ChainRule, layer: int, j: str) -> str:
    """∂a_j/∂z_j · ∂C/∂a_j; of a softmax layer the sum over the outputs i that z_j moves."""
    softmax = is_softmax(rule, layer)
    z, a = _neuron("z", layer, j), _neuron("a", layer, "i" if softmax else j)
    product = rf"\frac{{\partial {a}}}{{\partial {z}}} \, \frac{{\partial C}}{{\partial {a}}}"
    return rf"\sum_{{i}} {product}" if softmax else product


def _sum_over_paths(rule: ChainRule, layer: int, k: int) -> tuple[str, str]:
    """Σ_j w_jk ∂a_j/∂z_j ∂C/∂a_j, and its terms; of many the first ones and the last."""
    symbols = rf"\sum_{{j}} {_weight(layer, 'j', k)} \, {_upper(rule, layer, 'j')}"
    n = rule.sizes[layer]
    written: list[Any] = list(range(n))
    if n > MOST_TERMS:
        written = [*range(MOST_TERMS - 2), None, n - 1]
    terms = [
        r"\cdots"
        if j is None
        else _product([float(rule.weights[layer - 1][j, k]), *upper_numbers(rule, layer, j)])
        for j in written
    ]
    return symbols, " + ".join(terms)


def _product(factors: list[float]) -> str:
    return r" \cdot ".join(
        f"({text})" if text.startswith("-") else text for text in map(number, factors)
    )


def number(value: float) -> str:
    if math.isnan(value):
        return r"\mathrm{nan}"
    if math.isinf(value):
        return r"\infty" if value > 0 else r"-\infty"
    mantissa, _, exponent = f"{value:z.6g}".partition("e")
    if not exponent:
        return mantissa
    return rf"{mantissa} \times 10^{{{int(exponent)}}}"
