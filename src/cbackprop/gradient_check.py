"""The gradient, found once more without backpropagation.

Each parameter is nudged and the cost recomputed by the NumPy reference in float64. Where every
function in the way accepts complex numbers the nudge is imaginary: the cost's imaginary part is
then the derivative itself, with nothing subtracted, right to the last digits (Squire & Trapp 1998).
Elsewhere (gelu's error function, functions of the user's) central differences with Richardson's
extrapolation serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop.calculus import activate, weighted_input
from cbackprop.functions import Array
from cbackprop.gradients import Gradient
from cbackprop.reference import Engine

if TYPE_CHECKING:
    from cbackprop.network import Network

COMPLEX_STEP = 1e-30
RICHARDSON_STEP = 1e-3


class GradientCheck:
    """A gradient beside the one found by nudging.

    Attributes
    ----------
    max_relative_error : float
        max |ĝ − g| / max |g| over all parameters.
    worst : str
        The parameter of the largest error, such as "layer 2 weight [3, 7]".
    passed : bool
        Whether the error is at most ``tolerance``.
    tolerance : float
        4096 ε of the network's number type; 1e-9 at least where differences are Richardson's.
    method : str
        "complex step" or "Richardson extrapolation".
    gradient, expected : Gradient
        The network's and the nudged one.
    """

    def __init__(self, gradient: Gradient, expected: Gradient, method: str, epsilon: float) -> None:
        self.gradient = gradient
        self.expected = expected
        self.method = method
        self.tolerance = 4096 * epsilon if method == "complex step" else max(4096 * epsilon, 1e-9)
        error = np.abs(gradient.vector.astype(np.float64) - expected.vector)
        self._scale = float(np.max(np.abs(expected.vector)))
        self.max_relative_error = self._relative(float(error.max()))
        self.passed = bool(self.max_relative_error <= self.tolerance)
        self.worst = _parameter_name(int(error.argmax()), gradient)

    def _relative(self, error: float) -> float:
        if self._scale == 0:
            return 0.0 if error == 0 else float("inf")
        return error / self._scale

    def __str__(self) -> str:
        lines = [f"{'layer':>5}  {'largest |weight gradient|':>25}  {'largest |error|':>15}"]
        for layer, (W, b, expected_W, expected_b) in enumerate(
            zip(
                self.gradient.weights,
                self.gradient.biases,
                self.expected.weights,
                self.expected.biases,
                strict=True,
            ),
            start=1,
        ):
            error = max(np.abs(W - expected_W).max(), np.abs(b - expected_b).max())
            lines.append(f"{layer:>5}  {np.abs(expected_W).max():>25.6e}  {error:>15.3e}")
        verdict = "passed" if self.passed else "FAILED"
        lines.append(
            f"gradient check by {self.method}: {verdict}; largest relative error "
            f"{self.max_relative_error:.2e} (tolerance {self.tolerance:.1e}) at {self.worst}"
        )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"<GradientCheck {'passed' if self.passed else 'FAILED'}, max_relative_error "
            f"{self.max_relative_error:.2e} at {self.worst}>"
        )


def check_gradient(network: Network, X: Array, Y: Array) -> GradientCheck:
    """Compare ``network.gradient(X, Y)`` with nudges of every parameter."""
    gradient = network.gradient(X, Y)
    analytic = isinstance(network.cost_function, str) and all(
        isinstance(activation, str) and activation != "gelu" for activation in network.activations
    )
    engine = Engine(
        network.sizes,
        network.activations,
        network.cost_function,
        "complex128" if analytic else "float64",
    )
    for target, source in zip(
        (*engine.weights, *engine.biases), (*network.weights, *network.biases), strict=True
    ):
        target[...] = source
    nudge = _complex_step if analytic else _richardson
    expected = nudged_gradient(engine, X.astype(np.float64), Y.astype(np.float64), nudge)
    return GradientCheck(
        gradient,
        Gradient(expected, gradient.cost, network.sizes),
        "complex step" if analytic else "Richardson extrapolation",
        float(np.finfo(network.dtype).eps),
    )


def nudged_gradient(engine: Engine, X: Array, Y: Array, nudge: Any) -> Array:
    """∇C (P,) by nudging: w_jk by h moves z_j by h·a_k, and b_j by h moves it by h.

    All nudges of the parameters into one neuron j go through the layers above in one batch.
    """
    n = len(X)
    parts = []
    a = X.astype(engine.storage.dtype)
    with np.errstate(all="ignore"):
        for l, (W, b) in enumerate(zip(engine.weights, engine.biases, strict=True)):
            z = weighted_input(W, b, a)
            inputs = np.concatenate([a, np.ones((n, 1), a.dtype)], axis=1)
            derivatives = np.empty((W.shape[0], W.shape[1] + 1))
            for j in range(W.shape[0]):
                derivatives[j] = nudge(engine, l, z, j, inputs.real, Y)
            parts += [derivatives[:, :-1].ravel(), derivatives[:, -1]]
            a = activate(engine.activations[l], z)[0]
    return np.concatenate(parts)


def _complex_step(engine: Engine, l: int, z: Array, j: int, inputs: Array, Y: Array) -> Array:
    """∂C/∂w = Im C(w + ih)/h."""
    return _mean_costs(engine, l, z, j, 1j * COMPLEX_STEP * inputs, Y).imag / COMPLEX_STEP


def _richardson(engine: Engine, l: int, z: Array, j: int, inputs: Array, Y: Array) -> Array:
    """(4 D(h/2) − D(h))/3 with the central difference D(h): the h² term cancels."""
    size = np.maximum(1.0, np.abs(inputs).max(axis=0))
    shift = RICHARDSON_STEP * inputs / size

    def central(scale: float) -> Array:
        above = _mean_costs(engine, l, z, j, scale * shift, Y)
        below = _mean_costs(engine, l, z, j, -scale * shift, Y)
        difference: Array = (above - below) / (2 * scale * RICHARDSON_STEP / size)
        return difference

    derivatives: Array = (4 * central(0.5) - central(1.0)) / 3
    return derivatives


def _mean_costs(engine: Engine, l: int, z: Array, j: int, shift: Array, Y: Array) -> Array:
    """The mean cost for each column of ``shift`` (n, m) added to z_j of layer l (from 0), (m,)."""
    n, m = shift.shape
    batch = np.repeat(z[np.newaxis], m, axis=0)
    batch[:, :, j] += shift.T
    z = batch.reshape(m * n, -1)
    for W, b, activation in zip(
        engine.weights[l + 1 :], engine.biases[l + 1 :], engine.activations[l:-1], strict=True
    ):
        z = weighted_input(W, b, activate(activation, z)[0])
    a, da_dz = activate(engine.activations[-1], z)
    costs = engine.output(z, a, da_dz, np.tile(Y, (m, 1)))[0]
    means: Array = costs.reshape(m, n).mean(axis=1)
    return means


def _parameter_name(index: int, gradient: Gradient) -> str:
    for layer, (W, b) in enumerate(zip(gradient.weights, gradient.biases, strict=True), start=1):
        if index < W.size:
            j, k = divmod(index, W.shape[1])
            return f"layer {layer} weight [{j}, {k}]"
        index -= W.size
        if index < b.size:
            return f"layer {layer} bias [{index}]"
        index -= b.size
    raise IndexError(index)
