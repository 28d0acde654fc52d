"""What pictures look at: a few attributes of a network, its chain rule and its training.

The classes that have them lie above the pictures, which know no more of them than stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from cbackprop.functions import Activation, Array, Cost
from cbackprop.neuron_names import Named

Picture = Literal["chain", "tree", "indices", "summary"]
Theme = Literal["auto", "light", "dark"]


class Parameters(Protocol):
    """W and b of every layer, or the derivatives by them."""

    @property
    def weights(self) -> tuple[Array, ...]: ...
    @property
    def biases(self) -> tuple[Array, ...]: ...


class Layers(Parameters, Protocol):
    """The functions of a network's layers and its parameters."""

    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def activations(self) -> tuple[str | Activation, ...]: ...
    @property
    def cost_function(self) -> str | Cost: ...


class NamedLayers(Layers, Named, Protocol):
    """With the names of inputs and outputs, where they have some."""


class Network(NamedLayers, Protocol):
    @property
    def n_parameters(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[np.floating]: ...
    @property
    def backend(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    def summary(self) -> str: ...


# ---- the chain rule ------------------------------------------------------------------------------


class Forward(Protocol):
    """z and a by layer; there is no z of layer 0."""

    @property
    def z(self) -> Sequence[Array]: ...
    @property
    def a(self) -> Sequence[Array]: ...


class Backward(Forward, Protocol):
    """∂a/∂z, ∂C/∂a and ∂C/∂z by layer; of layer 0 there is ∂C/∂a alone."""

    @property
    def da_dz(self) -> Sequence[Array]: ...
    @property
    def dC_da(self) -> Sequence[Array]: ...
    @property
    def delta(self) -> Sequence[Array]: ...


class ChainRule(NamedLayers, Protocol):
    """One example: its target y, its cost, and every derivative on the way."""

    @property
    def backward(self) -> Backward: ...
    @property
    def cost(self) -> float: ...
    @property
    def y(self) -> Array: ...
    def slope(self, layer: int, j: int, /) -> float: ...
    def upper_factors(self, layer: int, j: int, /) -> tuple[float | Array, float | Array]: ...
    def softmax_terms(self, j: int, /) -> Array: ...
    def svg(self, kind: Picture = ..., /) -> str: ...


class Pass(Protocol):
    """z and a of every layer after a nudge, (1, n_l), and the cost; z is None below a nudged a."""

    @property
    def z(self) -> Sequence[Array | None]: ...
    @property
    def a(self) -> Sequence[Array]: ...
    @property
    def cost(self) -> float: ...


class Nudge(Protocol):
    @property
    def measured(self) -> float: ...


class Term(Protocol):
    """∂C/∂ of a weight (indices j and k), a bias (j) or an activation (k)."""

    @property
    def quantity(self) -> Literal["w", "b", "a"]: ...
    @property
    def layer(self) -> int: ...
    @property
    def indices(self) -> tuple[int, ...]: ...
    @property
    def name(self) -> str: ...
    @property
    def long_name(self) -> str: ...
    @property
    def value(self) -> float: ...
    def nudge(self, size: float, /) -> Nudge: ...
    def nudged_pass(self, size: float, /) -> Pass: ...
    def svg(self, kind: Picture = ..., /) -> str: ...


class Table(Protocol):
    """Text in columns."""

    @property
    def columns(self) -> tuple[str, ...]: ...
    def rows(self) -> list[tuple[str, ...]]: ...


class Nudges(Table, Protocol):
    @property
    def name(self) -> str: ...
    @property
    def derivative(self) -> float: ...


# ---- gradients and trainings ---------------------------------------------------------------------


class Gradient(Parameters, Protocol):
    @property
    def vector(self) -> Array: ...


class GradientCheck(Table, Protocol):
    @property
    def passed(self) -> bool: ...
    @property
    def worst(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def tolerance(self) -> float: ...


class GradientDiagnosis(Table, Protocol):
    @property
    def headline(self) -> str: ...
    @property
    def general(self) -> tuple[str, ...]: ...


class History(Protocol):
    """A number of each epoch, and how the training ended."""

    @property
    def cost(self) -> Sequence[float]: ...
    @property
    def validation_cost(self) -> Sequence[float]: ...
    @property
    def metrics(self) -> Mapping[str, Sequence[float]]: ...
    @property
    def learning_rate(self) -> Sequence[float]: ...
    @property
    def penalty(self) -> Sequence[float]: ...
    @property
    def epochs(self) -> int: ...
    @property
    def best_epoch(self) -> int | None: ...
    @property
    def stop_reason(self) -> str: ...
