"""Where every weight and bias stands in the flat order (W⁽¹⁾, b⁽¹⁾, …, W⁽ᴸ⁾, b⁽ᴸ⁾).

Each W goes row by row: j slow, k fast. Vectors in this order are gradients, directions and the
parameters as users see them; the compiled engine's own memory is padded and laid out otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np

from cbackprop.functions import Array


class LayerPlace(NamedTuple):
    """One layer's part of a flat vector."""

    weights: slice
    biases: slice
    n_in: int
    n_out: int


def n_parameters(sizes: tuple[int, ...]) -> int:
    """P = Σ_l (n_{l-1} + 1) n_l."""
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def places(sizes: tuple[int, ...]) -> Iterator[LayerPlace]:
    """The layers 1 … L in their order."""
    start = 0
    for n_in, n_out in pairwise(sizes):
        middle, stop = start + n_out * n_in, start + (n_in + 1) * n_out
        yield LayerPlace(slice(start, middle), slice(middle, stop), n_in, n_out)
        start = stop


def views(sizes: tuple[int, ...], vector: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """W (…, n_l, n_{l-1}) and b (…, n_l) of every layer, views onto ``vector`` (…, P)."""
    weights: list[Array] = []
    biases: list[Array] = []
    for place in places(sizes):
        shape = (*vector.shape[:-1], place.n_out, place.n_in)
        weights.append(vector[..., place.weights].reshape(shape))
        biases.append(vector[..., place.biases])
    return tuple(weights), tuple(biases)


def write(vector: Array, weights: Iterable[Array], biases: Iterable[Array]) -> None:
    """Write (P,) numbers into W and b of every layer, rounded to their number type."""
    start = 0
    for part in chain.from_iterable(zip(weights, biases, strict=True)):
        part[...] = vector[start : start + part.size].reshape(part.shape)
        start += part.size


def flat(weights: Iterable[Array], biases: Iterable[Array]) -> Array:
    """(P,): a new vector of the numbers in W and b of every layer."""
    pairs = zip(weights, biases, strict=True)
    vector: Array = np.concatenate([part.ravel() for part in chain.from_iterable(pairs)])
    return vector


# Rows of a band (kernels/normal_equations.pyx).
BAND = 112


def bands(sums: Array, size: int) -> Iterator[tuple[int, Array]]:
    """The upper half of a symmetric matrix (size, size), as a sum of normal equations has it.

    (first row i, view of rows i … i + 111 and of the columns from i on) for one band after the
    other; columns after ``size``, up to whole groups of 8, are 0.
    """
    start, width = 0, -(-size // 8) * 8
    for first in range(0, size, BAND):
        shape = min(BAND, size - first), width - first
        stop = start + shape[0] * shape[1]
        yield first, sums[start:stop].reshape(shape)
        start = stop


def band_numbers(size: int) -> int:
    """How many numbers all bands have."""
    width = -(-size // 8) * 8
    return sum(min(BAND, size - i) * (width - i) for i in range(0, size, BAND))
