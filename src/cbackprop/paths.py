"""The paths from one quantity into the cost, one layer deep and all the way up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cbackprop.chain_rule import ChainRule


class Path:
    """One path from an activation into the cost, through neuron j of the next layer.

    Attributes
    ----------
    j : int
        The neuron.
    dz_da : float
        ∂z_j/∂a_k = w_jk.
    da_dz, dC_da : float
        ∂a_j/∂z_j and ∂C/∂a_j. Through a softmax layer z_j moves every output i: ∂a_i/∂z_j and
        ∂C/∂a_i, (n_L,), whose products are summed.
    value : float
        The path's contribution to ∂C/∂a_k.
    """

    def __init__(self, j: int, dz_da: float, da_dz: Any, dC_da: Any, value: float) -> None:
        self.j = j
        self.dz_da = dz_da
        self.da_dz = da_dz
        self.dC_da = dC_da
        self.value = value

    def __str__(self) -> str:
        return (
            f"through neuron {self.j}: {number(self.dz_da)} · {factor(self.da_dz)} · "
            f"{factor(self.dC_da)} = {number(self.value)}"
        )

    def __repr__(self) -> str:
        return f"<Path {self}>"


class FullPath:
    """One path from a weight, bias or activation through a neuron of every layer into the cost.

    Attributes
    ----------
    layer : int
        The layer of the first neuron.
    neurons : tuple of int
        Its neuron in that layer and in every layer above.
    factors : tuple
        The local derivatives along it: ∂z/∂w (or ∂z/∂b, or none of an activation), ∂a/∂z, ∂z/∂a,
        …, ∂a/∂z and ∂C/∂a. In a softmax layer the last two are (n_L,), and their products summed.
    value : float
        Their product, the path's contribution to the derivative.
    """

    def __init__(
        self, layer: int, neurons: tuple[int, ...], factors: tuple[Any, ...], value: float
    ) -> None:
        self.layer = layer
        self.neurons = neurons
        self.factors = factors
        self.value = value

    def __str__(self) -> str:
        way = " → ".join(
            f"neuron {neuron} of layer {l}" for l, neuron in enumerate(self.neurons, self.layer)
        )
        factors = " · ".join(factor(entry) for entry in self.factors)
        return f"{way}: {factors} = {number(self.value)}"

    def __repr__(self) -> str:
        return f"<FullPath {self}>"


def count_from(sizes: tuple[int, ...], layer: int) -> int:
    """How many paths lead from one neuron of a layer into the cost."""
    return math.prod(sizes[layer + 1 :])


def from_weighted_input(
    rule: ChainRule, layer: int, j: int, first: tuple[float, ...]
) -> Iterator[FullPath]:
    """Every path through z_j of a layer, after the derivatives that lead there."""
    a_to_z, delta = rule.backward.da_dz, rule.backward.delta
    top = len(rule.sizes) - 1
    for above in product(*(range(n) for n in rule.sizes[layer + 1 :])):
        neurons = (j, *above)
        factors: list[Any] = list(first)
        for l, (below, here) in enumerate(zip(neurons, above, strict=False), start=layer):
            factors += [float(a_to_z[l][below]), float(rule.weights[l][here, below])]
        # delta of the output is surer than its two factors, whose product it is.
        value = math.prod(factors) * float(delta[top][neurons[-1]])
        yield FullPath(layer, neurons, (*factors, *rule.upper_factors(top, neurons[-1])), value)


def from_activation(rule: ChainRule, layer: int, k: int) -> Iterator[FullPath]:
    """Every path from a_k of a layer."""
    if layer == len(rule.sizes) - 1:
        dC_da = float(rule.backward.dC_da[layer][k])
        yield FullPath(layer, (k,), (dC_da,), dC_da)
        return
    for j in range(rule.sizes[layer + 1]):
        dz_da = float(rule.weights[layer][j, k])
        for path in from_weighted_input(rule, layer + 1, j, (dz_da,)):
            yield FullPath(layer, (k, *path.neurons), path.factors, path.value)


def number(value: float) -> str:
    return f"{value:.9g}"


def factor(value: Any) -> str:
    """A number, or one for each output of a softmax layer."""
    if isinstance(value, float):
        return number(value)
    return f"({', '.join(f'{entry:.4g}' for entry in value)})"
