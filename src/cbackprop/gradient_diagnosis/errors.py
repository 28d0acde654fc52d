"""δ of every layer, right and as each mistake has it, and the gradient that follows.

A mistake in δ of one layer is passed back to all below it; so an `Error` is made from the one of
the layer above, whatever that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cbackprop.functions import COSTS, Array, Cost
from cbackprop.gradient_diagnosis.mistakes import (
    ERROR_ABOVE,
    ONE_PATH,
    SLOPE_MISSING,
    SLOPE_OF_A,
    SLOPE_TWICE,
    TRANSPOSED,
    Mistake,
    Mistakes,
)
from cbackprop.random_numbers import RandomNumbers
from cbackprop.reference.calculus import (
    accumulate_gradient,
    activate,
    centred,
    propagate_delta,
    softmax_slopes,
)
from cbackprop.reference.engine import Engine, Forward

May = Callable[[Mistakes], bool]  # whether these further ones are still few enough


class Error:
    """What somebody may have taken for ∂C/∂a and δ of a layer, and the gradient that it makes.

    ``weights_size`` and ``biases_size`` are no less than what a derivative's terms, of each
    example, are on average without their signs (Cauchy–Schwarz): rounding is relative to that.
    """

    def __init__(
        self, layer: int, dC_da: Array, delta: Array, a_below: Array, mistakes: Mistakes
    ) -> None:
        self.layer = layer
        self.dC_da = dC_da
        self.delta = delta
        self.mistakes = mistakes  # those of this layer
        self.below: dict[tuple[int, int], Error] = {}
        n = len(delta)
        dW, db = accumulate_gradient(a_below, delta)
        self.weights, self.biases = dW / n, db / n
        self.biases_size = _largest_rms(delta)
        self.weights_size = self.biases_size * _largest_rms(a_below)

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.weights).all() and np.isfinite(self.biases).all())


def _largest_rms(values: Array) -> float:
    """Of the columns."""
    largest = float(np.abs(values).max(initial=0.0))
    scaled = values / largest if largest > 0 else values
    return largest * float(np.sqrt(np.mean(scaled * scaled, axis=0).max(initial=0.0)))


class Errors:
    """All of them, for some examples."""

    def __init__(self, engine: Engine, values: Forward, Y: Array) -> None:
        self.engine = engine
        self.Y = Y
        self.a = values.a
        self.da_dz = values.da_dz
        self.outputs = [error for error in self._at_output(values.z[-1]) if error.is_finite]
        # In place of σ′(z), by layer from 1.
        self.slopes = [self._slopes(l) for l in range(1, len(self.a) - 1)]
        random = RandomNumbers(0)
        self.directions = [random.normal(a.shape[1]) for a in self.a]

    def of(self, above: Error | None, may: May) -> Iterator[Error]:
        """Those of the layer below ``above``, the right one first; of the output without."""
        if above is None:
            yield from (error for error in self.outputs if may(error.mistakes))
            return
        for i, (back_mistakes, passed) in enumerate(self._passed_back(above)):
            for j, (slope_mistakes, slope) in enumerate(self.slopes[above.layer - 2]):
                mistakes = back_mistakes + slope_mistakes
                if not may(mistakes):
                    continue
                if (i, j) not in above.below:
                    dC_da = passed()
                    above.below[i, j] = self._error(above.layer - 1, dC_da, dC_da * slope, mistakes)
                if above.below[i, j].is_finite:
                    yield above.below[i, j]
        layer = above.layer - 1
        mistakes = self._above(layer, f"δ is that of layer {layer + 1}")
        if above.delta.shape[1] in (1, self.a[layer].shape[1]) and may(mistakes):
            delta = np.broadcast_to(above.delta, self.a[layer].shape)
            yield self._error(layer, delta, delta, mistakes)

    def of_one_path(
        self, above: Error, dW: Array, factor: float, further: Mistakes, may: May
    ) -> Iterator[Error]:
        """Those where a_k reaches the cost through one neuron j(k) above: that which fits best.

        ``dW`` are the derivatives by the weights that are to be explained, ``factor`` times what
        they should be by ``further`` mistakes.
        """
        layer = above.layer - 1
        n, W = len(above.delta), self.engine.weights[layer]
        if len(W) < 2:
            return
        along = self.directions[layer - 1]
        moves = (self.a[layer - 1] @ along)[:, np.newaxis]
        for slope_mistakes, slope in self.slopes[layer - 1]:
            made = Mistake(ONE_PATH, layer, "", "")
            if not may((made, *slope_mistakes, *further)):
                continue
            of_paths = W * (above.delta.T @ (slope * moves)) / n  # (n_{l+1}, n_l)
            path = np.abs(of_paths - (dW @ along) / factor).argmin(axis=0)
            dC_da = above.delta[:, path] * W[path, np.arange(W.shape[1])]
            j = f"neuron {path[0]}" if (path == path[0]).all() else "one neuron for each a_k"
            made = made._replace(said=f"∂C/∂a comes through {j} of layer {layer + 1} alone")
            error = self._error(layer, dC_da, dC_da * slope, (made, *slope_mistakes))
            if error.is_finite:
                yield error

    def _error(self, layer: int, dC_da: Array, delta: Array, mistakes: Mistakes) -> Error:
        return Error(layer, dC_da, delta, self.a[layer - 1], mistakes)

    def _at_output(self, z: Array) -> Iterator[Error]:
        L = len(self.a) - 1
        a, da_dz = self.a[-1], self.da_dz[-1]
        activation, cost = self.engine.activations[-1], self.engine.cost_function
        _, dC_da, delta = self.engine.output(z, a, da_dz, self.Y)
        yield self._error(L, dC_da, delta, ())
        slope = softmax_slopes(a) if activation == "softmax" else da_dz
        others = [(SLOPE_MISSING, "δ is ∂C/∂a, without σ′(z)", dC_da)]
        if activation == "softmax":
            s, _ = activate(activation, a)
            others += [
                (SLOPE_OF_A, "δ has σ′(a), not σ′(z)", s * centred(s, dC_da)),
                (ONE_PATH, "δ_j comes through a_j alone; z_j moves every output", dC_da * slope),
            ]
        else:
            others += [(SLOPE_OF_A, "δ has σ′(a), not σ′(z)", dC_da * activate(activation, a)[1])]
        if not isinstance(cost, Cost) and COSTS[cost].delta_from_z:
            said = "δ has the factor σ′(z) that it has lost against ∂C/∂a"
            others += [(SLOPE_TWICE, said, delta * slope)]
        for name, said, other in others:
            if not np.array_equal(other, delta):
                yield self._error(L, dC_da, other, (Mistake(name, L, "", said),))

    def _slopes(self, l: int) -> list[tuple[Mistakes, Array]]:
        da_dz, a = self.da_dz[l - 1], self.a[l]
        of_a = activate(self.engine.activations[l - 1], a)[1]
        slopes: list[tuple[Mistakes, Array]] = [((), da_dz)]
        for name, said, slope in (
            (SLOPE_MISSING, "δ is ∂C/∂a, without σ′(z)", np.ones_like(a)),
            (SLOPE_OF_A, "δ has σ′(a), not σ′(z)", of_a),
        ):
            if not np.array_equal(slope, da_dz):
                slopes.append(((Mistake(name, l, "", said),), slope))
        return slopes

    def _passed_back(self, above: Error) -> Iterator[tuple[Mistakes, Callable[[], Array]]]:
        """∂C/∂a of the layer below; none is computed before it is called for."""
        layer = above.layer - 1
        W = self.engine.weights[layer]
        shape = self.a[layer].shape
        yield (), lambda: propagate_delta(W, above.delta)
        if not np.array_equal(above.dC_da, above.delta):
            said = f"∂C/∂a of layer {layer + 1} is passed back, not its δ"
            yield self._above(layer, said), lambda: propagate_delta(W, above.dC_da)
        if len(W) in (1, W.shape[1]):
            said = f"δ of layer {layer + 1} is taken for ∂C/∂a, without W"
            yield self._above(layer, said), lambda: np.broadcast_to(above.delta, shape)
        if len(W) == W.shape[1]:
            said = f"δ of layer {layer + 1} is passed back through W, not its transpose"
            yield (
                (Mistake(TRANSPOSED, layer, "", said),),
                lambda: propagate_delta(W.T, above.delta),
            )

    def _above(self, layer: int, said: str) -> Mistakes:
        return (Mistake(ERROR_ABOVE, layer, "", said),)
