"""The paths from one quantity into the cost, one layer deep and all the way up."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cbackprop.functions import Floats

# A local derivative; of a softmax layer one for each output, (n_L,).
Factor = float | Floats

MOST_SHOWN = 100  # outputs of a softmax layer in a line of text


class Path:
    """One path from an activation into the cost, through neuron j of the next layer.

    Attributes
    ----------
    j : int
        The neuron.
    dz_da : float
        ∂z_j/∂a_k = w_jk.
    da_dz, dC_da : float or ndarray
        ∂a_j/∂z_j and ∂C/∂a_j. Through a softmax layer z_j moves every output i: ∂a_i/∂z_j and
        ∂C/∂a_i, (n_L,), whose products are summed.
    dC_dz : float
        ∂C/∂z_j, what the two multiply to; as in `WeightTerm`.
    value : float
        The path's contribution to ∂C/∂a_k, dz_da · dC_dz.
    """

    def __init__(
        self, j: int, dz_da: float, upper: Callable[[], tuple[Factor, Factor]], dC_dz: float
    ) -> None:
        self.j = j
        self.dz_da = dz_da
        self._upper = upper  # ∂a/∂z and ∂C/∂a: long in a softmax layer, and seldom asked for
        self.dC_dz = dC_dz
        self.value = dz_da * dC_dz

    @property
    def da_dz(self) -> Factor:
        """∂a_j/∂z_j."""
        return self._upper()[0]

    @property
    def dC_da(self) -> Factor:
        """∂C/∂a_j."""
        return self._upper()[1]

    def __str__(self) -> str:
        upper = upper_factors(self.da_dz, self.dC_da, self.dC_dz)
        return f"through neuron {self.j}: {number(self.dz_da)} · {upper} = {number(self.value)}"

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
    factors : tuple of float or ndarray
        The local derivatives along it: ∂z/∂w (or ∂z/∂b, or none of an activation), ∂a/∂z, ∂z/∂a,
        …, ∂a/∂z and ∂C/∂a. In a softmax layer the last two are (n_L,), and their products summed.
    dC_dz : float or None
        What the last two multiply to, as in `WeightTerm`; None of an output's own activation, whose
        one factor is ∂C/∂a.
    value : float
        Their product, the path's contribution to the derivative.
    """

    def __init__(
        self,
        layer: int,
        neurons: tuple[int, ...],
        factors: tuple[Factor, ...],
        dC_dz: float | None,
        value: float,
    ) -> None:
        self.layer = layer
        self.neurons = neurons
        self.factors = factors
        self.dC_dz = dC_dz
        self.value = value

    def __str__(self) -> str:
        way = " → ".join(
            f"neuron {neuron} of layer {l}" for l, neuron in enumerate(self.neurons, self.layer)
        )
        if self.dC_dz is None:
            return f"{way}: {number(self.value)}"
        *below, da_dz, dC_da = self.factors
        parts = [*map(factor, below), upper_factors(da_dz, dC_da, self.dC_dz)]
        return f"{way}: {' · '.join(parts)} = {number(self.value)}"

    def __repr__(self) -> str:
        return f"<FullPath {self}>"


def count_from(sizes: tuple[int, ...], layer: int) -> int:
    """How many paths lead from one neuron of a layer into the cost."""
    return math.prod(sizes[layer + 1 :])


def number(value: float) -> str:
    return f"{value:z.9g}"


def factor(value: Factor) -> str:
    """A number, or one for each output of a softmax layer; of very many the first and the last."""
    if not isinstance(value, np.ndarray):
        return number(value)
    texts = [f"{entry:z.4g}" for entry in value[:MOST_SHOWN]]
    if len(value) > MOST_SHOWN:
        texts[-2:] = [f"… {len(value) - MOST_SHOWN + 1} more …", f"{value[-1]:z.4g}"]
    return f"({', '.join(texts)})"


def upper_factors(da_dz: Factor, dC_da: Factor, dC_dz: float) -> str:
    """∂a/∂z · ∂C/∂a; where an infinite one leaves no product, that of before rounding, too."""
    text = f"{factor(da_dz)} · {factor(dC_da)}"
    return text if np.isfinite(dC_da).all() else f"[{text} → {number(dC_dz)}]"
