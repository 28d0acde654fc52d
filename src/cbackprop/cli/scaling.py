"""Standardised numbers for training, and the same scaling inside the network afterwards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cbackprop import Network
from cbackprop.functions import Array


class Scaling(NamedTuple):
    """(x - mean)/deviation, column by column."""

    mean: Array
    deviation: Array

    def apply(self, X: Array) -> Array:
        scaled: Array = (X - self.mean) / self.deviation
        return scaled


class Scales(NamedTuple):
    """The scaling of inputs and of outputs; None for none."""

    inputs: Scaling | None
    outputs: Scaling | None

    def apply(self, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        """X and Y, scaled."""
        X, Y = pair
        return (
            X if self.inputs is None else self.inputs.apply(X),
            Y if self.outputs is None else self.outputs.apply(Y),
        )

    def fold(self, net: Network) -> None:
        """Let a network that was trained on scaled numbers take and give them as they were.

        W(x - m)/s + b = (W/s) x + (b - (W/s) m), exact up to rounding, and the same for identity
        outputs: s(Wa + b) + m = (sW) a + (sb + m).
        """
        with np.errstate(over="ignore"):  # in float32: Network.save and predict refuse infinities
            if self.inputs is not None:
                first = net.weights[0].astype(np.float64) / self.inputs.deviation
                net.biases[0][...] = net.biases[0].astype(np.float64) - first @ self.inputs.mean
                net.weights[0][...] = first
            if self.outputs is not None:
                mean, deviation = self.outputs
                last = net.weights[-1].astype(np.float64) * deviation[:, np.newaxis]
                net.biases[-1][...] = net.biases[-1].astype(np.float64) * deviation + mean
                net.weights[-1][...] = last


NO_SCALES = Scales(None, None)


def scales_of(X: Array, Y: Array, with_outputs: bool) -> Scales:
    """The scaling to mean 0 and deviation 1."""
    return Scales(_standard("the inputs", X), _standard("the targets", Y) if with_outputs else None)


def _standard(name: str, X: Array) -> Scaling:
    """Mean and standard deviation of each column; a column of equal numbers is only shifted.

    Equal up to rounding, as 0.3 and 0.1 + 0.2 are: divided by such a deviation, rounding errors
    would be inputs of size 1. The bound is that of the error of a variance that is computed in two
    passes (Chan, Golub and LeVeque, 1983), n eps var + (n eps mean)², as scikit-learn's
    StandardScaler has it.
    """
    n, eps = len(X), np.finfo(X.dtype).eps
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        mean: Array = X.mean(axis=0)
        variance: Array = X.var(axis=0)
        constant = variance <= n * eps * variance + (n * eps * mean) ** 2
        constant &= np.isfinite(variance)
    alike = (X == X[0]).all(axis=0)  # the mean of equal numbers is rounded
    mean = np.where(alike, X[0], mean)
    deviation = np.where(alike | constant, 1.0, np.sqrt(variance))
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        raise ValueError(
            f"{name} are too large to be standardised; expected smaller ones or --no-standardise"
        )
    return Scaling(mean, deviation)
