"""The chain rule of one example, factor by factor.

∂C/∂w_jk = ∂z_j/∂w_jk · ∂a_j/∂z_j · ∂C/∂a_j, ∂C/∂b_j the same with 1 for the first factor, and
∂C/∂a_k = Σ_j w_jk · ∂a_j/∂z_j · ∂C/∂a_j, one path for every neuron j of the next layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop import validation
from cbackprop.calculus import activate, weighted_input
from cbackprop.functions import Array
from cbackprop.gradients import Backward
from cbackprop.reference import Engine

if TYPE_CHECKING:
    from cbackprop.network import Network


class Nudge:
    """A small change of one quantity: what its derivative predicts, and what happens.

    Attributes
    ----------
    size : float
        The change h of the weight, bias or activation.
    predicted : float
        h times the derivative.
    measured : float
        C after minus C before, computed by the reference in float64.
    ratio : float
        measured / h: it tends to the derivative as h shrinks, and only in the limit.
    """

    def __init__(self, size: float, derivative: float, measured: float) -> None:
        self.size = size
        self.derivative = derivative
        self.predicted = size * derivative
        self.measured = measured
        self.ratio = measured / size

    def __str__(self) -> str:
        return (
            f"nudge {self.size:+.6g}: cost changes by {self.measured:+.9g}, predicted "
            f"{self.predicted:+.9g}; ratio {self.ratio:.9g}, derivative {self.derivative:.9g}"
        )

    def __repr__(self) -> str:
        return f"<Nudge {self}>"


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
            f"through neuron {self.j}: {_number(self.dz_da)} · {_factor(self.da_dz)} · "
            f"{_factor(self.dC_da)} = {_number(self.value)}"
        )

    def __repr__(self) -> str:
        return f"<Path {self}>"


class Term:
    """A derivative of the cost of one example; see the three kinds below.

    Attributes
    ----------
    name : str
        The quantity, such as "w[3, 7] of layer 2".
    value : float
        ∂C/∂ of it.
    """

    name: str
    value: float

    def __init__(self, cost_change: Callable[[float], float]) -> None:
        self._cost_change = cost_change

    def nudge(self, size: float = 0.01) -> Nudge:
        """Change the quantity by ``size`` and see what the cost does.

        Parameters
        ----------
        size : float
            Any finite number but 0.

        Returns
        -------
        Nudge

        Raises
        ------
        TypeError, ValueError
            Naming ``size``.
        FloatingPointError
            If the nudged cost overflows.
        """
        number = validation.not_zero("size", size)
        change = self._cost_change(number)
        validation.nudge_stays_finite(number, change)
        return Nudge(number, self.value, change)

    def _lines(self) -> list[str]:
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return f"<∂C/∂ {self.name} = {_number(self.value)}>"


class WeightTerm(Term):
    """∂C/∂w_jk = dz_dw · da_dz · dC_da.

    Attributes
    ----------
    dz_dw : float
        ∂z_j/∂w_jk = a_k of the layer below.
    da_dz : float or ndarray
        ∂a_j/∂z_j = σ′(z_j); in a softmax layer ∂a_i/∂z_j for every output i, (n_L,).
    dC_da : float or ndarray
        ∂C/∂a_j; in a softmax layer ∂C/∂a_i for every output i, (n_L,).
    value : float
        Their product (summed over i for softmax), formed as the gradient forms it.
    """

    def __init__(
        self,
        layer: int,
        j: int,
        k: int,
        factors: tuple[float, Any, Any],
        value: float,
        cost_change: Callable[[float], float],
    ) -> None:
        super().__init__(cost_change)
        self.layer, self.j, self.k = layer, j, k
        self.dz_dw, self.da_dz, self.dC_da = factors
        self.value = value
        self.name = f"w[{j}, {k}] of layer {layer}"

    def _lines(self) -> list[str]:
        return [
            f"∂C/∂w[{self.j}, {self.k}] of layer {self.layer} = ∂z/∂w · ∂a/∂z · ∂C/∂a",
            *_aligned(
                (f"∂z/∂w = a[{self.k}] of layer {self.layer - 1}", _factor(self.dz_dw)),
                *_upper_rows(self.j, self.da_dz, self.dC_da),
                ("product", _number(self.value)),
            ),
        ]


class BiasTerm(Term):
    """∂C/∂b_j = 1 · da_dz · dC_da.

    Attributes
    ----------
    dz_db : float
        ∂z_j/∂b_j = 1. A bias is the weight of an input that is always 1: `dz_dw` is the same.
    da_dz, dC_da, value
        As in `WeightTerm`.
    """

    def __init__(
        self,
        layer: int,
        j: int,
        factors: tuple[Any, Any],
        value: float,
        cost_change: Callable[[float], float],
    ) -> None:
        super().__init__(cost_change)
        self.layer, self.j = layer, j
        self.dz_db = 1.0
        self.da_dz, self.dC_da = factors
        self.value = value
        self.name = f"b[{j}] of layer {layer}"

    @property
    def dz_dw(self) -> float:
        return self.dz_db

    def _lines(self) -> list[str]:
        return [
            f"∂C/∂b[{self.j}] of layer {self.layer} = ∂z/∂b · ∂a/∂z · ∂C/∂a",
            *_aligned(
                ("∂z/∂b", _factor(self.dz_db)),
                *_upper_rows(self.j, self.da_dz, self.dC_da),
                ("product", _number(self.value)),
            ),
        ]


class ActivationTerm(Term):
    """∂C/∂a_k of a layer: the sum over every path into the cost.

    Attributes
    ----------
    paths : tuple of Path
        One for each neuron j of the next layer; none for the output layer, where the cost itself
        gives ∂C/∂a.
    value : float
        Their sum.
    """

    def __init__(
        self,
        layer: int,
        k: int,
        paths: tuple[Path, ...],
        value: float,
        cost_change: Callable[[float], float],
    ) -> None:
        super().__init__(cost_change)
        self.layer, self.k = layer, k
        self.paths = paths
        self.value = value
        self.name = f"a[{k}] of layer {layer}"

    def _lines(self) -> list[str]:
        if not self.paths:
            return [f"∂C/∂a[{self.k}] of the output layer {self.layer} = {_number(self.value)}"]
        return [
            f"∂C/∂a[{self.k}] of layer {self.layer} = Σ_j ∂z_j/∂a · ∂a_j/∂z_j · ∂C/∂a_j",
            *(f"  {path}" for path in self.paths),
            f"  sum = {_number(self.value)}",
        ]


class ChainRule:
    """Every factor of ∂C/∂w, ∂C/∂b and ∂C/∂a for one example x with target y.

    Attributes
    ----------
    backward : Backward
        z, a, da_dz, dC_da and delta by layer, each (n_l,).
    cost : float
        C of the example.
    """

    def __init__(self, network: Network, x: Array, backward: Backward, y: Any) -> None:
        self.sizes = network.sizes
        self.backward = backward
        self.cost = float(backward.cost)
        self._softmax = network.activations[-1] == "softmax"
        # The parameters as they are now, in float64, for the paths' weights and the nudges.
        self._engine = Engine(network.sizes, network.activations, network.cost_function, "float64")
        for target, source in zip(
            (*self._engine.weights, *self._engine.biases),
            (*network.weights, *network.biases),
            strict=True,
        ):
            target[...] = source
        self._x = x.astype(np.float64).reshape(1, -1)
        self._y = np.asarray(y, dtype=np.float64).reshape(1, -1)

    def weight(self, layer: int, j: int, k: int) -> WeightTerm:
        """∂C/∂w_jk of a layer.

        Parameters
        ----------
        layer : int
            1 … L, as in the lesson.
        j : int
            The neuron of that layer, from 0.
        k : int
            The neuron of the layer below, from 0.

        Returns
        -------
        WeightTerm

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        """
        layer, j = self._place(layer, j)
        k = validation.neuron("k", k, self.sizes[layer - 1], layer - 1)
        a_k = float(self.backward.a[layer - 1][k])
        W = self._engine.weights[layer - 1]
        return WeightTerm(
            layer,
            j,
            k,
            (a_k, *self._upper_factors(layer, j)),
            float(a_k * self.backward.delta[layer][j]),
            lambda size: self._cost_with(W, (j, k), size),
        )

    def bias(self, layer: int, j: int) -> BiasTerm:
        """∂C/∂b_j of a layer.

        Parameters
        ----------
        layer : int
            1 … L.
        j : int
            The neuron, from 0.

        Returns
        -------
        BiasTerm
        """
        layer, j = self._place(layer, j)
        b = self._engine.biases[layer - 1]
        return BiasTerm(
            layer,
            j,
            self._upper_factors(layer, j),
            float(self.backward.delta[layer][j]),
            lambda size: self._cost_with(b, (j,), size),
        )

    def activation(self, layer: int, k: int) -> ActivationTerm:
        """∂C/∂a_k of a layer, path by path.

        Parameters
        ----------
        layer : int
            0 … L; 0 is the input.
        k : int
            The neuron, from 0.

        Returns
        -------
        ActivationTerm
        """
        layer = validation.layer_number(layer, 0, len(self.sizes) - 1)
        k = validation.neuron("k", k, self.sizes[layer], layer)
        paths: tuple[Path, ...] = ()
        if layer < len(self.sizes) - 1:
            W = self._engine.weights[layer]
            delta = self.backward.delta[layer + 1]
            paths = tuple(
                Path(
                    j,
                    float(W[j, k]),
                    *self._upper_factors(layer + 1, j),
                    float(W[j, k]) * float(delta[j]),
                )
                for j in range(self.sizes[layer + 1])
            )
        return ActivationTerm(
            layer,
            k,
            paths,
            float(self.backward.dC_da[layer][k]),
            lambda size: self._cost_with_activation(layer, k, size),
        )

    def _place(self, layer: int, j: int) -> tuple[int, int]:
        layer = validation.layer_number(layer, 1, len(self.sizes) - 1)
        return layer, validation.neuron("j", j, self.sizes[layer], layer)

    def _upper_factors(self, layer: int, j: int) -> tuple[Any, Any]:
        """∂a/∂z_j and ∂C/∂a: numbers, or columns of the Jacobian and ∂C/∂a in a softmax layer."""
        da_dz, dC_da = self.backward.da_dz[layer], self.backward.dC_da[layer]
        if self._softmax and layer == len(self.sizes) - 1:
            return da_dz[:, j].copy(), dC_da.copy()
        return float(da_dz[j]), float(dC_da[j])

    # ---- nudges ----------------------------------------------------------------------------------

    def _cost_from(self, layer: int, a: Array) -> float:
        """The cost that follows from the activations a of a layer, (1, n_l)."""
        engine = self._engine
        z = da_dz = a
        with np.errstate(all="ignore"):
            for W, b, activation in zip(
                engine.weights[layer:],
                engine.biases[layer:],
                engine.activations[layer:],
                strict=True,
            ):
                z = weighted_input(W, b, a)
                a, da_dz = activate(activation, z)
            return float(engine.output(z, a, da_dz, self._y)[0][0])

    def _cost_with(self, array: Array, index: tuple[int, ...], size: float) -> float:
        before = self._cost_from(0, self._x)
        value = array[index]
        try:
            array[index] = value + size
            return self._cost_from(0, self._x) - before
        finally:
            array[index] = value

    def _cost_with_activation(self, layer: int, k: int, size: float) -> float:
        a = [self._x, *self._engine.run_forward(self._x)[1]][layer]
        nudged = a.copy()
        nudged[0, k] += size
        return self._cost_from(layer, nudged) - self._cost_from(layer, a)

    def __repr__(self) -> str:
        layers = "-".join(str(n) for n in self.sizes)
        return f"<ChainRule {layers}, cost {self.cost:.6g}>"


def _upper_rows(j: int, da_dz: Any, dC_da: Any) -> list[tuple[str, str]]:
    """∂a/∂z and ∂C/∂a; in a softmax layer z_j moves every output i, and the products are summed."""
    if isinstance(da_dz, float):
        return [(f"∂a/∂z = σ′(z[{j}])", _factor(da_dz)), (f"∂C/∂a[{j}]", _factor(dC_da))]
    return [
        (f"∂a[i]/∂z[{j}], every i", _factor(da_dz)),
        ("∂C/∂a[i], every i", _factor(dC_da)),
        ("sum of their products", _number(float(np.dot(da_dz, dC_da)))),
    ]


def _aligned(*rows: tuple[str, str]) -> list[str]:
    """Names and numbers in two columns; a minus sign stands before its column."""
    width = max(len(name) for name, _ in rows)
    return [
        f"  {name:<{width}}  {'' if number.startswith('-') else ' '}{number}"
        for name, number in rows
    ]


def _number(value: float) -> str:
    return f"{value:.9g}"


def _factor(value: Any) -> str:
    """A number, or one for each output of a softmax layer."""
    if isinstance(value, float):
        return _number(value)
    return f"({', '.join(f'{entry:.4g}' for entry in value)})"
