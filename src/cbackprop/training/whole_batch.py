"""What steps that look at all examples at once have in common.

They minimise the mean cost of all examples, weighted where weights are given, plus (l2/2) Σw² over
the weights, without the biases. They are functions of an engine, which holds the parameters, and of
a `State`, which holds what the optimiser remembers; vectors of parameters are float64 here,
whatever the engine's numbers, in the documented order (W⁽¹⁾, b⁽¹⁾, …), each W row by row.
"""

from __future__ import annotations

import math
from typing import Any, Generic, TypeVar

import numpy as np

from cbackprop.functions import Array
from cbackprop.reference import Engine
from cbackprop.training.optimizers import WholeBatch

Kind = TypeVar("Kind", bound=WholeBatch)


class NotFinite(FloatingPointError):
    """Cost or derivatives at the parameters as they stand are no finite numbers.

    Attributes
    ----------
    failure : (str, int)
        Which quantity, of which layer: what an engine's ``failure`` says.
    """

    def __init__(self, failure: tuple[str, int]) -> None:
        super().__init__(f"{failure[0]} of layer {failure[1]} is not finite")
        self.failure = failure


class Workspace:
    """Memory that is used again from step to step; nothing is lost with it but time."""

    def __init__(self) -> None:
        self._arrays: dict[str, Array] = {}
        self.last: object = None  # what a method keeps of its last step, in a form of its own

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        """The array of that name, of whatever content; made anew only if shape or dtype differ."""
        array = self._arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            self._arrays.pop(name, None)
            try:
                array = np.empty(shape, dtype)
            except (MemoryError, ValueError):  # ValueError: more than any array can have
                n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
                raise MemoryError(
                    f"{name} of the optimiser, {' x '.join(map(str, shape))} numbers, takes "
                    f"{n_bytes} bytes, more than can be had"
                ) from None
            self._arrays[name] = array
        return array


class State:
    """Everything an optimiser remembers between its steps.

    Attributes
    ----------
    arrays : dict of str to ndarray
        L-BFGS: the steps ``s0``, ``s1``, … and the changes of the gradient ``y0``, ``y1``, …, each
        (P,) and float64, the oldest first. No step writes into them: it puts others in their place.
    numbers : dict of str to float
        Levenberg–Marquardt: ``mu``.
    workspace : Workspace
        No part of the state: a copy and a restored state begin with an empty one.
    """

    def __init__(self, arrays: dict[str, Array], numbers: dict[str, float]) -> None:
        self.arrays = arrays
        self.numbers = numbers
        self.workspace = Workspace()

    def copy(self) -> State:
        """A state of its own; the arrays, which nobody writes into, are shared."""
        return State(dict(self.arrays), dict(self.numbers))


class Step(Generic[Kind]):
    """One iteration of a kind of optimiser, on the examples that it is given.

    Arguments are validated before they come here, as for an engine's calls.
    """

    def __init__(
        self,
        engine: Engine,
        X: Array,
        Y: Array,
        sample_weight: Array | None,
        l2: float,
        optimizer: Kind,
        state: State,
    ) -> None:
        self.engine, self.X, self.Y, self.sample_weight, self.l2 = engine, X, Y, sample_weight, l2
        self.optimizer, self.state, self.workspace = optimizer, state, state.workspace
        self.total_weight = total_weight(sample_weight, len(X))
        self.of_weights, self.of_biases = weight_columns(engine)
        self.n_parameters: int = self.of_biases[-1].stop
        self.dtype = engine.parameter_arrays()[2].dtype

    @classmethod
    def start(cls, optimizer: Kind, engine: Engine) -> State:
        """The state before the first step."""
        return State({}, {})

    @classmethod
    def is_state(cls, optimizer: Kind, arrays: dict[str, Array], numbers: object) -> bool:
        """Whether a state that came from a file may be one that this optimiser has left."""
        raise NotImplementedError

    def take(self) -> tuple[float, str | None]:
        """Change the engine's parameters and the state; the cost before, and why this is the end.

        Both may be left changed by an exception: the caller undoes it.
        """
        raise NotImplementedError


# ---- the parameters as one vector ----------------------------------------------------------------


def read_parameters(engine: Engine) -> Array:
    """The parameters (P,) in float64, in the documented order."""
    weights, biases, _ = engine.parameter_arrays()
    parts: list[Array] = []
    for W, b in zip(weights, biases, strict=True):
        parts += [W.ravel(), b]
    return np.concatenate(parts, dtype=np.float64)


def write_parameters(engine: Engine, vector: Array) -> None:
    """Make (P,) numbers the parameters, rounded to the engine's number type."""
    weights, biases, _ = engine.parameter_arrays()
    for W, b, of_W, of_b in zip(weights, biases, *weight_columns(engine), strict=True):
        W[...] = vector[of_W].reshape(W.shape)
        b[...] = vector[of_b]


def weight_columns(engine: Engine) -> tuple[list[slice], list[slice]]:
    """Where each layer's weights and biases stand in such a vector."""
    weights, biases, _ = engine.parameter_arrays()
    of_weights, of_biases, first = [], [], 0
    for W, b in zip(weights, biases, strict=True):
        middle = first + W.size
        of_weights.append(slice(first, middle))
        of_biases.append(slice(middle, middle + len(b)))
        first = middle + len(b)
    return of_weights, of_biases


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


def total_weight(sample_weight: Array | None, n: int) -> float:
    """The sum of the weights, of n without any."""
    return float(n) if sample_weight is None else float(sample_weight.sum(dtype=np.float64))
