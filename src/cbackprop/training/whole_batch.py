"""What steps that look at all examples at once have in common.

They minimise the mean cost of all examples, weighted where weights are given, plus (l2/2) Σw² over
the weights, without the biases. They are functions of an engine, which holds the parameters, and of
a `WholeBatchState`, which holds what the optimiser remembers; vectors of parameters are float64
here, whatever the engine's numbers, in the documented order (W⁽¹⁾, b⁽¹⁾, …), each W row by row.
What they need of the examples they ask of an `AllExamples`, wherever those are.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from cbackprop import layout, nodes, validation
from cbackprop.functions import Array
from cbackprop.model import total_weight
from cbackprop.nodes import NotFinite
from cbackprop.optimizers import WholeBatch, WholeBatchState
from cbackprop.reference.engine import Engine
from cbackprop.sparse_rows import Examples
from cbackprop.sums import Node
from cbackprop.training.fingerprint import checksums

Kind = TypeVar("Kind", bound=WholeBatch)


class NormalEquations(NamedTuple):
    """Of the rows √w_i ∂a_j/∂parameters and √w_i r_j, r = a − y, of examples i and outputs j."""

    matrix: Array  # JᵀJ (P, P), float64
    gradient: Array  # Jᵀr (P,)
    squares: float  # ‖r‖²


class AllExamples(ABC):
    """What a step asks of all examples, at the engine's parameters as they stand.

    Sums over them run along the tree of sums.py: they have the same bits wherever its nodes are
    made. Every call raises `NotFinite` where an activation or a derivative is not.

    Attributes
    ----------
    n, n_outputs : int
        Examples, and outputs of each.
    total_weight : float
        The sum of their weights w_i, n without any.
    """

    def __init__(self, engine: Engine, n: int, n_outputs: int, total_weight: float) -> None:
        self.engine, self.n, self.n_outputs = engine, n, n_outputs
        self.total_weight = total_weight

    @abstractmethod
    def gradient(self, out: Array) -> float:
        """Fill out (P,), of the engine's number type, with Σ w_i ∇C_i / Σ w_i.

        Returns Σ w_i C_i.
        """

    @abstractmethod
    def sums(self, kind: nodes.Kind) -> Node:
        """The node of this kind that all examples make."""

    @abstractmethod
    def identity(self) -> object:
        """What is equal for the same examples, and differs for others."""

    @abstractmethod
    def rows(self, J: Array) -> Array:
        """Fill J (n, n_L, P) with √w_i ∂a_j/∂parameters; returns √w_i r_j (n, n_L)."""

    def squares(self) -> float:
        """Σ w_i r_ij²; as ``normal_equations`` sums it."""
        return float(self.sums(nodes.squares).arrays[0][0])

    def normal_equations(self, matrix: Array) -> NormalEquations:
        """Made in ``matrix`` (P, P), which is overwritten."""
        P = len(matrix)
        right = np.empty(P + 1)
        for first, band in layout.bands(self.sums(nodes.normal_equations).arrays[0], P + 1):
            stop = min(first + len(band), P)
            matrix[first:stop, first:] = band[: stop - first, : P - first]
            matrix[stop:, first:stop] = band[: stop - first, stop - first : P - first].T
            right[first : first + len(band)] = band[:, P - first]
        return NormalEquations(matrix, right[:P], float(right[P]))


class InMemory(AllExamples):
    """Arrays, judged as for an engine's calls; the weights (n,) may be None."""

    def __init__(self, engine: Engine, X: Examples, Y: Array, sample_weight: Array | None) -> None:
        super().__init__(engine, len(X), Y.shape[1], total_weight(sample_weight, len(X)))
        self._X, self._Y, self._weight = X, Y, sample_weight

    def gradient(self, out: Array) -> float:
        failure, cost = self.engine.gradient(self._X, self._Y, self._weight, self.total_weight, out)
        if failure is not None:
            raise NotFinite(failure)
        return sum(cost)

    def sums(self, kind: nodes.Kind) -> Node:
        return kind(self.engine, self._X, self._Y, self._weight)

    def identity(self) -> object:
        """Checksums, which also see what somebody has written into the same arrays."""
        return checksums((self._X, self._Y, self._weight))

    def rows(self, J: Array) -> Array:
        r, roots = nodes.weighted_residuals(self.engine, self._X, self._Y, self._weight)
        nodes.weighted_jacobian(self.engine, self._X, roots, J)
        return r


class InParts(AllExamples):
    """Examples of which only joined sums are to be had.

    Parameters
    ----------
    joined : callable
        From a kind of node to the node of that kind that all examples make, at the engine's
        parameters, in memory of its own; raises `NotFinite` where there is none.
    identity : object
        What is equal for the same examples.
    total_weight : float or None
        The sum of their weights; None where they have none.
    """

    def __init__(
        self,
        engine: Engine,
        joined: Callable[[nodes.Kind], Node],
        n: int,
        n_outputs: int,
        identity: object,
        total_weight: float | None = None,
    ) -> None:
        super().__init__(engine, n, n_outputs, n if total_weight is None else total_weight)
        self._joined, self._identity = joined, identity

    def gradient(self, out: Array) -> float:
        node = self._joined(nodes.gradient)
        n_layers = len(self.engine.parameter_arrays()[0])
        nodes.mean_gradient(node, self.total_weight, out, n_layers)
        return sum(node.cost)

    def sums(self, kind: nodes.Kind) -> Node:
        return self._joined(kind)

    def identity(self) -> object:
        return self._identity

    def rows(self, J: Array) -> Array:
        """Not to be had.

        Raises
        ------
        ValueError
            Always.
        """
        validation.refuse_few_residuals(self.n, self.n_outputs, self.engine.n_parameters)


class Step(Generic[Kind]):
    """One iteration of a kind of optimiser, on the examples that it is given.

    Arguments are validated before they come here, as for an engine's calls.
    """

    def __init__(
        self,
        engine: Engine,
        examples: AllExamples,
        l2: float,
        optimizer: Kind,
        state: WholeBatchState,
        frozen: tuple[int, ...] = (),
    ) -> None:
        self.engine, self.examples, self.l2 = engine, examples, l2
        self.optimizer, self.state, self.workspace = optimizer, state, state.workspace
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
