"""What steps that look at all examples at once have in common.

They minimise the mean cost of all examples, weighted where weights are given, plus (l2/2) Σw² over
the weights, without the biases. They are functions of an engine, which holds the parameters, and of
a `WholeBatchState`, which holds what the optimiser remembers; vectors of parameters are float64
here, whatever the engine's numbers, in the documented order (W⁽¹⁾, b⁽¹⁾, …), each W row by row.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

import numpy as np

from cbackprop import layout
from cbackprop.functions import Array
from cbackprop.model import total_weight
from cbackprop.optimizers import WholeBatch, WholeBatchState
from cbackprop.reference.engine import Engine
from cbackprop.sparse_rows import Examples

Kind = TypeVar("Kind", bound=WholeBatch)


class Step(Generic[Kind]):
    """One iteration of a kind of optimiser, on the examples that it is given.

    Arguments are validated before they come here, as for an engine's calls.
    """

    def __init__(
        self,
        engine: Engine,
        X: Examples,
        Y: Array,
        sample_weight: Array | None,
        l2: float,
        optimizer: Kind,
        state: WholeBatchState,
        frozen: tuple[int, ...] = (),
    ) -> None:
        self.engine, self.X, self.Y, self.sample_weight, self.l2 = engine, X, Y, sample_weight, l2
        self.optimizer, self.state, self.workspace = optimizer, state, state.workspace
        self.total_weight = total_weight(sample_weight, len(X))
        self.of_weights, self.of_biases = weight_columns(engine)
        # Along these columns every derivative counts as 0, and so does every step.
        self.frozen = [
            columns for l in frozen for columns in (self.of_weights[l - 1], self.of_biases[l - 1])
        ]
        self.n_parameters: int = self.of_biases[-1].stop
        self.dtype = engine.parameter_arrays()[2].dtype

    def frozen_out(self, derivatives: Array) -> Array:
        """The same, in place, with 0 in the last axis for the layers that do not learn."""
        for columns in self.frozen:
            derivatives[..., columns] = 0
        return derivatives

    @classmethod
    def start(cls, optimizer: Kind, engine: Engine) -> WholeBatchState:
        """The state before the first step."""
        return WholeBatchState({}, {})

    def take(self) -> tuple[float, str | None]:
        """Change the engine's parameters and the state; the cost before, and why this is the end.

        Both may be left changed by an exception: the caller undoes it.
        """
        raise NotImplementedError


# ---- the parameters as one vector ----------------------------------------------------------------


def read_parameters(engine: Engine) -> Array:
    """The parameters (P,) in float64, in the documented order."""
    weights, biases, _ = engine.parameter_arrays()
    return layout.flat(weights, biases).astype(np.float64)


def write_parameters(engine: Engine, vector: Array) -> None:
    """Make (P,) numbers the parameters, rounded to the engine's number type."""
    weights, biases, _ = engine.parameter_arrays()
    layout.write(vector, weights, biases)


def weight_columns(engine: Engine) -> tuple[list[slice], list[slice]]:
    """Where each layer's weights and biases stand in such a vector."""
    weights = engine.parameter_arrays()[0]
    places = list(layout.places((weights[0].shape[1], *(len(W) for W in weights))))
    return [place.weights for place in places], [place.biases for place in places]


def weights_alone(vector: Array, of_biases: list[slice]) -> Array:
    """The vector with 0 for every bias: what a penalty sees of it."""
    result = vector.copy()
    for columns in of_biases:
        result[columns] = 0
    return result


def dot(x: Array, y: Array) -> np.float64:
    """Σ x_k y_k of two vectors; not by BLAS, whose sum depends on how many threads share it."""
    product: np.float64 = np.einsum("k,k->", x, y)
    return product


def euclidean_norm(vector: Array) -> float:
    """Euclidean, of a vector whose squares may leave the numbers."""
    scale = float(np.abs(vector).max(initial=0.0))
    if scale == 0:
        return 0.0
    scaled = vector / scale
    return scale * math.sqrt(dot(scaled, scaled))
