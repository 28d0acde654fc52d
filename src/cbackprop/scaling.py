"""Standardised numbers, (x − mean)/deviation, and the same scaling inside a network's layers.

In float64, by blocks of rows that the caches hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cbackprop.functions import Activation, Array, Cost

BLOCK = 1 << 15  # numbers that are float64 at a time


class Scaling(NamedTuple):
    """(x − mean)/deviation, column by column.

    Attributes
    ----------
    mean, deviation : ndarray
        A number for each column, float64 and read-only; no deviation is 0.
    """

    mean: Array
    deviation: Array

    def apply(self, rows: Array) -> Array:
        """The rows (n, columns) standardised: a new array of their number type."""
        scaled = np.empty_like(rows)
        with np.errstate(all="ignore"):  # whoever trains on it meets what is not finite
            start = 0
            for block in _blocks(rows):
                block -= self.mean
                block /= self.deviation
                scaled[start : start + len(block)] = block
                start += len(block)
        return scaled


class Scaled(NamedTuple):
    """A network's memory of parameters, as a training in scales has left it; never written to.

    Attributes
    ----------
    as_is : ndarray
        For numbers as they are: what the network has.
    standardised : ndarray
        What it was for standardised numbers.
    """

    as_is: Array
    standardised: Array


class Scales(NamedTuple):
    """The scaling of a network's inputs and outputs, in which it is trained.

    Attributes
    ----------
    inputs : Scaling
        Of X's columns, (n_0,).
    outputs : Scaling or None
        Of Y's, (n_L,); None where targets stay as they are.
    """

    inputs: Scaling
    outputs: Scaling | None

    def apply(self, X: Array, Y: Array) -> tuple[Array, Array]:
        """X and Y, standardised."""
        return self.inputs.apply(X), Y if self.outputs is None else self.outputs.apply(Y)

    def fold(self, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """Let layers for standardised numbers take and give them as they are, in place.

        W(x − m)/s + b = (W/s) x + (b − (W/s) m), exact up to rounding, and the same for identity
        outputs: s(Wa + b) + m = (sW) a + (sb + m).
        """
        with np.errstate(all="ignore"):
            if self.outputs is not None:
                mean, deviation = self.outputs
                biases[-1][...] = biases[-1] * deviation + mean
                weights[-1][...] = weights[-1] * deviation[:, np.newaxis]
            mean, deviation = self.inputs
            weights[0][...] = weights[0] / deviation
            # Of W as it was rounded: what that changes then meets x − m, not x.
            biases[0][...] = biases[0] - _product(weights[0], mean)

    def unfold(self, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        """The other way: layers for standardised numbers, in place."""
        with np.errstate(all="ignore"):
            mean, deviation = self.inputs
            biases[0][...] = biases[0] + _product(weights[0], mean)
            weights[0][...] = weights[0] * deviation
            if self.outputs is not None:
                mean, deviation = self.outputs
                biases[-1][...] = (biases[-1] - mean) / deviation
                weights[-1][...] = weights[-1] / deviation[:, np.newaxis]


def scales_outputs(output: str | Activation, cost: str | Cost) -> bool:
    """Whether outputs can be scaled back, and the cost takes any targets.

    Those of an identity; not with a cost of the user's own, which may know the targets' units.
    """
    return isinstance(cost, str) and output == "identity"


def scaling_of(rows: Array) -> Scaling:
    """Mean and standard deviation of each column; a column of equal numbers is only shifted.

    Equal up to rounding, as 0.3 and 0.1 + 0.2 are: divided by such a deviation, rounding errors
    would be inputs of size 1. The bound is that of the error of a mean and a variance that are
    computed in two passes (Chan, Golub and LeVeque, 1983), n eps mean, as scikit-learn's
    StandardScaler has it, or one rounding of the number type. NaN does not count. Not finite where
    the numbers are too large.
    """
    columns = rows.shape[1]
    n, total, squares = np.zeros(columns), np.zeros(columns), np.zeros(columns)
    least, most = np.full(columns, np.inf), np.full(columns, -np.inf)
    with np.errstate(all="ignore"):
        for block in _blocks(rows):
            low, high, added = block.min(axis=0), block.max(axis=0), block.sum(axis=0)
            count: Array = np.full(columns, float(len(block)))
            if np.isnan(added).any():
                low, high = np.fmin.reduce(block, axis=0), np.fmax.reduce(block, axis=0)
                count, added = (~np.isnan(block)).sum(axis=0), np.nansum(block, axis=0)
            least, most = np.fmin(least, low), np.fmax(most, high)
            n += count
            total += added
        alike = (least == most) | (n == 0)
        # The mean of equal numbers is rounded.
        mean = np.where(alike, np.where(n == 0, 0.0, least), total / np.maximum(n, 1.0))
        # In units of the range, so that no square leaves the numbers.
        spread = np.where(alike, 1.0, most - least)
        for block in _blocks(rows):
            block -= mean
            block /= spread
            np.square(block, out=block)
            added = block.sum(axis=0)
            squares += np.nansum(block, axis=0) if np.isnan(added).any() else added
        deviation = spread * np.sqrt(squares / np.maximum(n, 1.0))
        rounding = np.maximum(n * np.finfo(np.float64).eps, np.finfo(rows.dtype).eps)
        alike |= deviation <= rounding * np.abs(mean)
        deviation = np.where(alike, 1.0, deviation)
    for array in (mean, deviation):
        array.flags.writeable = False
    return Scaling(mean, deviation)


def _blocks(rows: Array) -> Iterator[Array]:
    """The rows in float64, so many at a time that the caches hold them: copies."""
    step = max(BLOCK // rows.shape[1], 1)
    for start in range(0, len(rows), step):
        yield rows[start : start + step].astype(np.float64)


def _product(W: Array, mean: Array) -> Array:
    """W·mean in float64, each sum in the order of its terms: not by BLAS, which has several."""
    products: Array = np.add.accumulate(W * mean, axis=1)[:, -1]
    return products
