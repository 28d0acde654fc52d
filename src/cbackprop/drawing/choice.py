"""What a picture shows of a network too large to show whole: which neurons, and which path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from cbackprop.drawing.shown import ChainRule, Term
from cbackprop.functions import Array

WIDEST = 16  # layers of more neurons are elided


class Place(NamedTuple):
    """Where a term stands: its quantity, and a weight w_jk beside which it is seen."""

    quantity: Literal["w", "b", "a", "output"]  # a of the layer below, or of the last layer
    layer: int  # of the weight
    j: int
    k: int


def shown_neurons(n: int, chosen: Iterable[int]) -> list[int | range]:
    """All neurons of a layer; of a wide one the first, the chosen and the last.

    A range stands for those left out between two of them.
    """
    if n <= WIDEST:
        return list(range(n))
    seen = sorted({0, n - 1, *chosen})
    rows: list[int | range] = []
    for before, neuron in zip([-1, *seen], seen, strict=False):
        left_out = range(before + 1, neuron)
        # One neuron takes no more room than the note that it is left out.
        rows += [left_out] if len(left_out) > 1 else left_out
        rows.append(neuron)
    return rows


def largest_index(values: Any) -> int:
    """The place of the largest finite |value|."""
    sizes = np.abs(np.asarray(values, dtype=np.float64))
    return int(np.where(np.isfinite(sizes), sizes, -1.0).argmax())


def is_softmax(rule: ChainRule, layer: int) -> bool:
    return layer == len(rule.sizes) - 1 and rule.activations[-1] == "softmax"


def place_of(rule: ChainRule, term: Term) -> Place:
    """The weight beside which a bias or an activation is seen has the strongest influence."""
    l = term.layer
    if term.quantity == "w":
        j, k = term.indices
        return Place("w", l, j, k)
    if term.quantity == "b":
        (j,) = term.indices
        return Place("b", l, j, strongest_below(rule, l, j))
    (k,) = term.indices
    if l == len(rule.sizes) - 1:
        return Place("output", l, k, strongest_below(rule, l, k))
    return Place("a", l + 1, strongest_above(rule, l, k), k)


def contributions(rule: ChainRule, layer: int, k: int) -> Array:
    """What each neuron j of the layer above adds to ∂C/∂a_k: w_jk · ∂C/∂z_j, in float64."""
    return rule.weights[layer][:, k] * rule.backward.delta[layer + 1]


def strongest_above(rule: ChainRule, layer: int, k: int) -> int:
    """The neuron of the layer above through which a_k moves the cost most."""
    return largest_index(contributions(rule, layer, k))


def strongest_below(rule: ChainRule, layer: int, j: int) -> int:
    """The neuron of the layer below that moves z_j most."""
    return largest_index(rule.weights[layer - 1][j] * rule.backward.a[layer - 1])


def strongest_path(rule: ChainRule, place: Place) -> list[int]:
    """A neuron of each layer, 0 … L: through w_jk, and elsewhere where the influence is largest."""
    path = [place.k, place.j]
    for l in range(place.layer - 1, 0, -1):
        path.insert(0, strongest_below(rule, l, path[0]))
    for l in range(place.layer, len(rule.sizes) - 1):
        path.append(strongest_above(rule, l, path[-1]))
    return path


def is_product(rule: ChainRule, layer: int, j: int) -> bool:
    """Whether ∂C/∂z_j is written as ∂a_j/∂z_j · ∂C/∂a_j.

    In a softmax layer it is a sum; and where ∂C/∂a_j is infinite, as 0 · ∞ says nothing, it is one
    number, that of before rounding.
    """
    return not is_softmax(rule, layer) and bool(np.isfinite(rule.backward.dC_da[layer][j]))


def upper_numbers(rule: ChainRule, layer: int, j: int) -> list[float]:
    """∂a_j/∂z_j and ∂C/∂a_j, or the one ∂C/∂z_j where it is not written as their product."""
    if is_product(rule, layer, j):
        return [float(entry) for entry in rule.upper_factors(layer, j)]
    return [float(rule.backward.delta[layer][j])]
