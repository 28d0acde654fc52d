"""The reference engine: a network's calls in NumPy, with the very interface of the compiled one.

The formulas stand in calculus.py; here they are strung together over layers, for all examples at
once. backend="reference" computes with it, and the compiled engine is checked against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cbackprop import layout
from cbackprop.functions import COSTS, Activation, Array, Cost
from cbackprop.quantities import Failure
from cbackprop.random_numbers import normals_at, words_at
from cbackprop.reference import calculus
from cbackprop.reference.curvature import output_curvature, softmax_curvature
from cbackprop.reference.ownership import Changing, Reading, Shared
from cbackprop.sparse_rows import Examples, dense
from cbackprop.sums import NO_COST, CostSum
from cbackprop.update_rules import StepOptions, UpdateRule

WATCH_WORK = 10_000_000  # multiply-adds of a forward pass between two words to a watcher


class Forward(NamedTuple):
    """z and da_dz of the layers 1 … L, a of 0 … L, a[0] the examples; for softmax da_dz is ln a."""

    z: list[Array]
    a: list[Array]
    da_dz: list[Array]


class Backward(NamedTuple):
    """The same, with delta of the layers 1 … L, dC_da of 0 … L and the costs C_i (n,)."""

    z: list[Array]
    a: list[Array]
    da_dz: list[Array]
    delta: list[Array]
    dC_da: list[Array]
    C: Array


class Engine(Shared):
    """Parameters and calls of one network, with the interface of the compiled engine.

    Arguments are validated before they come here. Every call returns None, or what it met that was
    not finite: (quantity, layer), the layer from 1, 0 where none has it. A sum of costs comes as
    two numbers, sum and correction (sums.CostSum), which together are it.
    """

    backend = "reference"

    def __init__(
        self,
        sizes: tuple[int, ...],
        activations: tuple[str | Activation, ...],
        cost: str | Cost,
        dtype: str,
        threads: int = 1,  # whatever the limit, NumPy computes as it is set up to
    ) -> None:
        super().__init__()
        self.threads = threads
        self.activations = activations
        self.cost_function = cost
        self.learning_rate = 0.0
        self.step_count = 0
        self.previous_cost = math.inf
        self.dropout = 0.0  # while a pass of training goes on that has it
        self.dropout_key = 0
        self.missing_targets = False  # in a fit whose targets may be NaN
        self.rule: UpdateRule | None = None
        self.slots: tuple[Array, ...] = ()
        self.n_parameters = layout.n_parameters(sizes)
        self.storage = np.zeros(self.n_parameters, dtype)
        self.sizes = sizes
        self.weights, self.biases = self.layer_views(self.storage)

    # -- state --

    def parameter_arrays(self) -> tuple[tuple[Array, ...], tuple[Array, ...], Array]:
        """W views (n_out, n_in), b views (n_out,) and the whole block, all onto the same memory."""
        return self.weights, self.biases, self.storage

    def layer_views(self, block: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """W views (n_out, n_in) and b views (n_out,) onto a block laid out as the parameters are.

        A slot is such a block.
        """
        return layout.views(self.sizes, block)

    def set_optimizer(self, rule: UpdateRule | None) -> None:
        """Choose the update rule, None for none, and start its state afresh."""
        with Changing(self):
            self.slots = tuple(np.zeros_like(self.storage) for _ in (rule.slots if rule else ()))
            self.rule = rule
            self.step_count = 0
            self.previous_cost = math.inf

    # -- forward and backward --

    def run_forward(self, X: Examples, first_row: int = 0) -> Forward:
        """Layer by layer, without a look at what is not finite.

        ``first_row`` is the place of X's first row in a pass of training, for dropout.
        """
        forward = Forward([], [dense(X)], [])
        for l, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = calculus.weighted_input(W, b, forward.a[l])
            a, da_dz = calculus.activate(self.activations[l], z)
            if self.dropout > 0 and l < len(self.weights) - 1:
                kept = self._kept(len(X), l, first_row)
                a, da_dz = a * kept, da_dz * kept
            for values, of_layer in zip(forward, (z, a, da_dz), strict=True):
                values.append(of_layer)
        return forward

    def _kept(self, n: int, l: int, first_row: int) -> Array:
        """1/(1 − dropout) for layer l's neurons (l from 0) that stay, 0 for the others, (n, n_l).

        (Srivastava et al. 2014, "Dropout".) Backpropagation through it is the product with da_dz.
        """
        widths = [len(b) for b in self.biases]
        rows = np.arange(first_row, first_row + n, dtype=np.uint64) * np.uint64(sum(widths))
        places = rows[:, np.newaxis] + np.arange(
            sum(widths[:l]), sum(widths[: l + 1]), dtype=np.uint64
        )
        threshold = np.uint64(int(self.dropout * 2.0**32))
        stays = words_at(self.dropout_key, places) >> np.uint64(32) >= threshold
        kept: Array = stays * self.storage.dtype.type(1 / (1 - self.dropout))
        return kept

    def _forward(self, X: Examples, first_row: int = 0) -> Forward | Failure:
        with np.errstate(all="ignore"):
            forward = self.run_forward(X, first_row)
        failure = _first_not_finite("z", forward.z) or _first_not_finite("a", forward.a[1:])
        return failure or forward

    def cost_parts(self, z: Array, a: Array, da_dz: Array, y: Array) -> Array:
        """Each output's part of C_i, (n, n_L), of a cost by name."""
        cost, activation = self.cost_function, self.activations[-1]
        assert isinstance(cost, str)
        if activation == "softmax" and COSTS[cost].delta_from_z:
            return calculus.softmax_cost(cost, a, da_dz, y)[0]
        name = activation if isinstance(activation, str) else "user"
        return calculus.cost_formula(cost, name, z, a, da_dz, y)[0]

    def output(self, z: Array, a: Array, da_dz: Array, y: Array) -> tuple[Array, Array, Array]:
        """C_i (n,), ∂C_i/∂a and delta of the output layer (n, n_L).

        With ``missing_targets`` a y that is NaN adds nothing to any of them.
        """
        cost, activation = self.cost_function, self.activations[-1]
        missing: Array | None = None
        if self.missing_targets:
            # 0 is a target that every cost takes; what comes of it is taken away again.
            missing = np.isnan(y)
            y = np.where(missing, np.zeros_like(y), y)
        if isinstance(cost, Cost):
            C = cost.checked_value(a, y)
            dC_da = cost.checked_gradient(a, y)
            delta = dC_da if activation == "softmax" else dC_da * da_dz
        else:
            if activation == "softmax" and COSTS[cost].delta_from_z:
                parts, dC_da = calculus.softmax_cost(cost, a, da_dz, y)
                delta = dC_da
            else:
                name = activation if isinstance(activation, str) else "user"
                parts, dC_da, delta = calculus.cost_formula(cost, name, z, a, da_dz, y)
            if missing is not None:
                parts, dC_da, delta = (
                    np.where(missing, np.zeros_like(part), part) for part in (parts, dC_da, delta)
                )
            C = parts.sum(axis=1)
        if activation == "softmax":
            delta = calculus.softmax_delta(cost, a, y, dC_da, missing)
        return C, dC_da, delta

    def run_backward(
        self, X: Examples, Y: Array, first_row: int = 0, lowest: int = 0
    ) -> Backward | Failure:
        """Forward, and from the cost back to the examples, or what was not finite.

        Back to layer ``lowest`` (from 0) alone where no layer below it learns: delta and dC_da then
        have 0 for those.
        """
        forward = self._forward(X, first_row)
        if not isinstance(forward, Forward):
            return forward
        z, a, da_dz = forward
        with np.errstate(all="ignore"):
            C, dC_da_output, delta_output = self.output(z[-1], a[-1], da_dz[-1], Y)
            dC_da, delta = [dC_da_output], [delta_output]
            for l in range(len(self.weights) - 1, -1, -1):
                if l <= lowest and l > 0:
                    dC_da.insert(0, np.zeros_like(a[l]))
                else:
                    dC_da.insert(0, calculus.propagate_delta(self.weights[l], delta[0]))
                if l > 0:
                    delta.insert(0, dC_da[0] * da_dz[l - 1])
        if not np.isfinite(C).all():
            return "delta", len(z)
        failure = _first_not_finite("delta", delta) or _first_not_finite("delta", dC_da[:1])
        return failure or Backward(*forward, delta, dC_da, C)

    # -- the calls: arrays in, arrays filled --

    def forward(self, X: Examples, z: list[Array | None], a: list[Array | None]) -> Failure | None:
        """Fill z[l] and a[l] of the layers 1 … L; a None is left out."""
        with Reading(self):
            forward = self._forward(X)
            if not isinstance(forward, Forward):
                return forward
            _fill(z, forward.z)
            _fill(a, forward.a[1:])
            return None

    def backward(
        self,
        X: Examples,
        Y: Array,
        z: list[Array | None],
        a: list[Array | None],
        da_dz: list[Array | None],
        delta: list[Array | None],
        dC_da: list[Array | None],
        cost: Array,
    ) -> Failure | None:
        """Fill every factor; dC_da has an entry for the input too. A None is left out."""
        with Reading(self):
            values = self.run_backward(X, Y)
            if not isinstance(values, Backward):
                return values
            _fill(z, values.z)
            _fill(a, values.a[1:])
            _fill(da_dz, values.da_dz)
            _fill(delta, values.delta)
            _fill(dC_da, values.dC_da)
            cost[...] = values.C
            return None

    def cost(
        self, X: Examples, Y: Array, cost: Array, sample_weight: Array | None
    ) -> tuple[Failure | None, CostSum]:
        """Fill the costs C_i (n,); returns their sum, weighted where weights are given."""
        with Reading(self):
            forward = self._forward(X)
            if not isinstance(forward, Forward):
                return forward, NO_COST
            with np.errstate(all="ignore"):
                C = self.output(forward.z[-1], forward.a[-1], forward.da_dz[-1], Y)[0]
            total = _weighted_sum(C, sample_weight)
            if not (np.isfinite(C).all() and math.isfinite(total)):
                return ("delta", len(self.weights)), NO_COST
            cost[...] = C
            return None, (total, 0.0)

    def gradient(
        self, X: Examples, Y: Array, sample_weight: Array | None, total_weight: float, out: Array
    ) -> tuple[Failure | None, CostSum]:
        """Fill out (P,) with Σ_i w_i ∇C_i / total_weight; returns Σ_i w_i C_i."""
        with Reading(self):
            failure, total = self._mean_gradient(X, Y, sample_weight, total_weight, 0.0, out)
            return failure, (total, 0.0)

    def _mean_gradient(
        self,
        X: Examples,
        Y: Array,
        sample_weight: Array | None,
        total_weight: float,
        clip_norm: float,
        out: Array,
        first_row: int = 0,
        frozen: tuple[int, ...] = (),
    ) -> tuple[Failure | None, float]:
        """The same; with clip_norm > 0 every ∇C_i is first shortened to that length at most.

        Derivatives by what is ``frozen`` count as 0, also in that length.
        """
        if len(X) == 0:
            out[...] = 0
            return None, 0.0
        learning = [l for l in range(len(self.weights)) if l + 1 not in frozen]
        values = self.run_backward(X, Y, first_row, learning[0])
        if not isinstance(values, Backward):
            return values, math.nan
        below, delta = values.a[:-1], values.delta
        for l in frozen:
            delta[l - 1] = np.zeros_like(delta[l - 1])
        factors = sample_weight
        if clip_norm > 0:
            with np.errstate(all="ignore"):
                norms = calculus.gradient_norms(below, delta)
                # In float64, whatever the network's numbers: of a norm of 1e38 and a limit of 1e-8
                # float32 has no quotient.
                factors = calculus.clipping_factors(norms, clip_norm)
            if not np.isfinite(norms).all():
                return ("norm", 0), math.nan
            if sample_weight is not None:
                factors = factors * sample_weight
        layers: list[tuple[Array, Array]] = []
        with np.errstate(all="ignore"):
            for a_below, delta_l in zip(below, delta, strict=True):
                if factors is not None:
                    delta_l = (delta_l * factors[:, np.newaxis]).astype(out.dtype)
                layers.append(calculus.accumulate_gradient(a_below, delta_l))
            gradient = layout.flat(*zip(*layers, strict=True))
        total = _weighted_sum(values.C, sample_weight)
        if not (np.isfinite(gradient).all() and math.isfinite(total)):
            return ("delta", len(self.weights)), math.nan
        with np.errstate(all="ignore"):
            out[...] = gradient / out.dtype.type(total_weight)
        return None, total

    def per_example_gradient(
        self, X: Examples, Y: Array, out: Array, fresh: bool, cost: Array
    ) -> Failure | None:
        """Fill out (n, P) with every ∇C_i and the costs (n,).

        That out is fresh memory matters only to the compiled engine's way of writing.
        """
        with Reading(self):
            values = self.run_backward(X, Y)
            if not isinstance(values, Backward):
                return values
            weights, biases = layout.views(self.sizes, out.reshape(len(X), len(self.storage)))
            for l, delta in enumerate(values.delta):
                with np.errstate(all="ignore"):
                    dC_dw, dC_db = calculus.per_example_gradient(values.a[l], delta)
                if not np.isfinite(dC_dw).all():
                    return "delta", l + 1
                weights[l][...] = dC_dw
                biases[l][...] = dC_db
            cost[...] = values.C
            return None

    def gradient_norms(self, X: Examples, Y: Array, out: Array) -> Failure | None:
        """Fill out (n,) with every ‖∇C_i‖."""
        with Reading(self):
            values = self.run_backward(X, Y)
            if not isinstance(values, Backward):
                return values
            with np.errstate(all="ignore"):
                norms = calculus.gradient_norms(values.a[:-1], values.delta).astype(out.dtype)
            if not np.isfinite(norms).all():
                return "norm", 0
            out[...] = norms
            return None

    def jacobian(self, X: Examples, out: Array, fresh: bool) -> Failure | None:
        """Fill out (n, n_L, P), fresh or not, with ∂a_j/∂parameters of every output j."""
        with Reading(self):
            forward = self._forward(X)
            if not isinstance(forward, Forward):
                return forward
            _, a, da_dz = forward
            n, n_L = a[-1].shape
            # delta[i, j] = ∂a_j/∂z of the layer, (n, n_L, n_l).
            delta = self._output_seeds(a[-1], da_dz[-1])
            weights, biases = layout.views(self.sizes, out.reshape(n, n_L, len(self.storage)))
            for l in range(len(self.weights) - 1, -1, -1):
                with np.errstate(all="ignore"):
                    da_dw = delta[..., np.newaxis] * a[l][:, np.newaxis, np.newaxis, :]
                if not (np.isfinite(delta).all() and np.isfinite(da_dw).all()):
                    return "jacobian", l + 1
                weights[l][...] = da_dw
                biases[l][...] = delta
                if l > 0:
                    with np.errstate(all="ignore"):
                        delta = calculus.propagate_delta(self.weights[l], delta)
                        delta = delta * da_dz[l - 1][:, np.newaxis, :]
            return None

    def input_jacobian(self, X: Examples, out: Array) -> Failure | None:
        """Fill out (n, n_L, n_0) with ∂a_j/∂x of every output j."""
        with Reading(self):
            forward = self._forward(X)
            if not isinstance(forward, Forward):
                return forward
            _, a, da_dz = forward
            delta = self._output_seeds(a[-1], da_dz[-1])
            for l in range(len(self.weights) - 1, -1, -1):
                if not np.isfinite(delta).all():
                    return "jacobian", l + 1
                with np.errstate(all="ignore"):
                    da_da = calculus.propagate_delta(self.weights[l], delta)
                    delta = da_da * da_dz[l - 1][:, np.newaxis, :] if l > 0 else da_da
            if not np.isfinite(delta).all():
                return "jacobian", 1
            out[...] = delta.reshape(out.shape)
            return None

    def _output_seeds(self, a: Array, da_dz: Array) -> Array:
        """∂a_j/∂z of the output layer's own z, (n, n_L, n_L): a diagonal but for softmax."""
        if self.activations[-1] == "softmax":
            return calculus.softmax_jacobian(a)
        n, n_L = a.shape
        delta = np.zeros((n, n_L, n_L), a.dtype)
        delta[:, np.arange(n_L), np.arange(n_L)] = da_dz
        return delta

    def clipped_gradient(
        self, X: Examples, Y: Array, max_norm: float, out: Array
    ) -> tuple[Failure | None, CostSum]:
        """Fill out (P,) with Σ_i min(1, max_norm/‖∇C_i‖) ∇C_i / n; returns Σ_i C_i."""
        with Reading(self):
            failure, total = self._mean_gradient(X, Y, None, len(X), max_norm, out)
            return failure, (total, 0.0)

    def gradient_gram(
        self, X: Examples, Y: Array, X2: Examples | None, Y2: Array | None, out: Array
    ) -> Failure | None:
        """Fill out (n, n2) with ⟨∇C_i, ∇C_j⟩, i of X and j of X2; or of X, where it is None."""
        with Reading(self):
            sets: list[tuple[list[Array], list[Array]]] = []
            for X_s, Y_s in ((X, Y), (X2, Y2)):
                if X_s is None or Y_s is None:
                    sets.append(sets[0])
                    continue
                values = self.run_backward(X_s, Y_s)
                if not isinstance(values, Backward):
                    return values
                sets.append((values.a[:-1], values.delta))
            with np.errstate(all="ignore"):
                gram = calculus.gradient_gram(*sets[0], *sets[1]).astype(out.dtype)
                if X2 is None:  # the library's products need not be symmetric to the bit
                    gram = np.tril(gram) + np.tril(gram, -1).T
            if not np.isfinite(gram).all():
                return "gram", 0
            out[...] = gram
            return None

    def gradient_moments(
        self, X: Examples, Y: Array, mean: Array, variance: Array, cost: Array
    ) -> tuple[Failure | None, CostSum]:
        """Fill mean and variance (P,) over the examples, and the costs (n,); returns their sum."""
        sums = np.empty(self.moment_numbers, mean.dtype)
        with Reading(self):
            failure, total = self.moment_sums(X, Y, cost, sums)
            failure = failure or self.moments_of(sums, len(X), mean, variance)
            if failure is None and not math.isfinite(sum(total)):
                failure = "delta", len(self.weights)
            return failure, total

    @property
    def moment_numbers(self) -> int:
        """How many numbers the sums have from which moments are made."""
        return 2 * len(self.storage) + sum(self.sizes[:-1]) + sum(self.sizes[1:])

    def _parts_of_moments(self, sums: Array) -> tuple[Array, Array, Array]:
        """Of the gradients and of their squared deviations (P,), and the a and delta in common."""
        P = len(self.storage)
        return sums[:P], sums[P : 2 * P], sums[2 * P :]

    def moment_sums(
        self, X: Examples, Y: Array, cost: Array, sums: Array
    ) -> tuple[Failure | None, CostSum]:
        """Fill sums (moment_numbers,) with those of one node of a sum, and the costs (n,)."""
        with Reading(self):
            values = self.run_backward(X, Y)
            if not isinstance(values, Backward):
                return values, NO_COST
            # Of equal examples NumPy's products round each row by its place, the kernels' do not.
            X = values.a[0]
            is_one = bool((X == X[0]).all() and (Y == Y[0]).all())
            cost[...] = values.C[0] if is_one else values.C
            gradient, squares, common = self._parts_of_moments(sums)
            squares[...] = 0
            for l, place in enumerate(layout.places(self.sizes)):
                with np.errstate(all="ignore"):
                    dC_dw, dC_db = calculus.accumulate_gradient(values.a[l], values.delta[l])
                    gradient[place.weights], gradient[place.biases] = dC_dw.ravel(), dC_db
                    for a_i, delta_i in zip(values.a[l], values.delta[l], strict=True):
                        deviation = np.outer(delta_i, a_i) - dC_dw / len(X)
                        squares[place.weights] += deviation.ravel() ** 2
                        squares[place.biases] += (delta_i - dC_db / len(X)) ** 2
            rows = np.concatenate([*values.a[:-1], *values.delta], axis=1)
            common[...] = np.where(is_one | (rows == rows[0]).all(axis=0), rows[0], np.nan)
            return None, (_weighted_sum(cost, None), 0.0)

    def join_moments(self, sums: Array, other: Array, n: int, n_other: int) -> None:
        """Add the other node's sums, of n_other examples, to those of n (kernels/moments.pyx)."""
        left, right = self._parts_of_moments(sums), self._parts_of_moments(other)
        with np.errstate(all="ignore"):
            apart = left[0] / sums.dtype.type(n) - right[0] / sums.dtype.type(n_other)
            left[1][...] += right[1] + apart * apart * sums.dtype.type(n * n_other / (n + n_other))
            left[0][...] += right[0]
            left[2][left[2] != right[2]] = np.nan

    def moments_of(self, sums: Array, n: int, mean: Array, variance: Array) -> Failure | None:
        """Fill mean and variance (P,) from the sums of all n examples."""
        gradient, squares, common = self._parts_of_moments(sums)
        is_common = np.split(~np.isnan(common), np.cumsum(self.sizes[:-1] + self.sizes[1:])[:-1])
        of_a, of_delta = is_common[: len(self.weights)], is_common[len(self.weights) :]
        # The mean of equal numbers is rounded, and would make a variance of its own.
        for l, place in enumerate(layout.places(self.sizes)):
            squares[place.weights][np.outer(of_delta[l], of_a[l]).ravel()] = 0
            squares[place.biases][of_delta[l]] = 0
        with np.errstate(all="ignore"):
            mean[...] = gradient / mean.dtype.type(n)
            variance[...] = squares / mean.dtype.type(n)
        if not np.isfinite(mean).all():
            return "delta", len(self.weights)
        return None if np.isfinite(variance).all() else ("moments", 0)

    def vjp(
        self, X: Examples, V: Array, out: Array, by_inputs: Array
    ) -> tuple[Failure | None, CostSum]:
        """Fill out (P,) and by_inputs (n, n_0) with the derivatives of Σ_ij V_ij a_ij.

        Returns that sum, too.
        """
        with Reading(self):
            forward = self._forward(X)
            if not isinstance(forward, Forward):
                return forward, NO_COST
            _, a, da_dz = forward
            layers: list[tuple[Array, Array]] = []
            with np.errstate(all="ignore"):
                is_softmax = self.activations[-1] == "softmax"
                delta = a[-1] * calculus.centred(a[-1], V) if is_softmax else V * da_dz[-1]
                for l in range(len(self.weights) - 1, -1, -1):
                    if not np.isfinite(delta).all():
                        return ("jacobian", l + 1), NO_COST
                    layers.insert(0, calculus.accumulate_gradient(a[l], delta))
                    da_da = calculus.propagate_delta(self.weights[l], delta)
                    delta = da_da * da_dz[l - 1] if l > 0 else da_da
                total = float(np.sum(V.astype(np.float64) * a[-1]))
            gradient = layout.flat(*zip(*layers, strict=True))
            if not np.isfinite(delta).all():
                return ("jacobian", 1), NO_COST
            if not np.isfinite(gradient).all():
                return ("jacobian", 0), NO_COST
            if not math.isfinite(total):
                return ("jacobian", 0), NO_COST
            out[...], by_inputs[...] = gradient, delta.reshape(by_inputs.shape)
            return None, (total, 0.0)

    def jvp(self, X: Examples, v: Array | None, dX: Array | None, out: Array) -> Failure | None:
        """Fill out (n, n_L) with the outputs' change along v (P,) and dX; either may be None."""
        with Reading(self):
            forward = self._forward(X)
            if not isinstance(forward, Forward):
                return forward
            _, a, da_dz = forward
            with np.errstate(all="ignore"):
                R_z = self._tangents(a, da_dz, v, dX)[0][-1]
                is_softmax = self.activations[-1] == "softmax"
                R_a = a[-1] * calculus.centred(a[-1], R_z) if is_softmax else da_dz[-1] * R_z
            if not np.isfinite(R_a).all():
                return "jacobian", 0
            out[...] = R_a.reshape(out.shape)
            return None

    def _tangents(
        self, a: list[Array], da_dz: list[Array], v: Array | None, dX: Array | None
    ) -> tuple[list[Array], list[Array]]:
        """R{z} of the layers 1 … L and R{a} of 0 … L along v and dX (see curvature.py)."""
        moves = None if v is None else list(zip(*layout.views(self.sizes, v), strict=True))
        R_z: list[Array] = []
        R_a = [np.zeros_like(a[0]) if dX is None else dX.reshape(a[0].shape)]
        for l, W in enumerate(self.weights):
            R_z.append(R_a[l] @ W.T)
            if moves is not None:
                R_z[l] = R_z[l] + calculus.weighted_input(*moves[l], a[l])
            R_a.append(da_dz[l] * R_z[l])  # a softmax layer is the last, whose R{a} nobody reads
        return R_z, R_a

    def curvature_product(
        self, X: Examples, Y: Array, v: Array, gauss_newton: bool, out: Array
    ) -> Failure | None:
        """Fill out (P,) with Hv of the mean cost, or with the Gauss–Newton matrix's product."""
        with Reading(self):
            values = self.run_backward(X, Y)
            if not isinstance(values, Backward):
                return values
            with np.errstate(all="ignore"):
                product = self.run_curvature(values, Y, v, gauss_newton)
            if not np.isfinite(product).all():
                return "curvature", 0
            out[...] = product
            return None

    def run_curvature(self, values: Backward, Y: Array, v: Array, gauss_newton: bool) -> Array:
        """R{∇C} along v (see curvature.py), from the values of the backward pass."""
        z, a, da_dz, delta, dC_da, C = values
        moves = list(zip(*layout.views(self.sizes, v), strict=True))
        R_z, R_a = self._tangents(a, da_dz, v, None)
        R_delta = self._output_R_delta(values, Y, R_z[-1], gauss_newton)
        layers: list[tuple[Array, Array]] = []
        for l in range(len(moves) - 1, -1, -1):
            R_W, R_b = calculus.accumulate_gradient(a[l], R_delta)
            if not gauss_newton:
                R_W = R_W + calculus.accumulate_gradient(R_a[l], delta[l])[0]
            layers.insert(0, (R_W, R_b))
            if l > 0:
                R_dC_da = calculus.propagate_delta(self.weights[l], R_delta)
                if not gauss_newton:
                    R_dC_da = R_dC_da + calculus.propagate_delta(moves[l][0], delta[l])
                R_delta = R_dC_da * da_dz[l - 1]
                if not gauss_newton:
                    activation = self.activations[l - 1]
                    d2a_dz2 = calculus.second_derivative(activation, z[l - 1], a[l], da_dz[l - 1])
                    R_delta = R_delta + dC_da[l] * d2a_dz2 * R_z[l - 1]
        product: Array = layout.flat(*zip(*layers, strict=True)) / v.dtype.type(len(C))
        return product

    def _output_R_delta(self, values: Backward, y: Array, R_z: Array, gauss_newton: bool) -> Array:
        """R{δ} of the output layer, from its R{z}."""
        cost, activation = self.cost_function, self.activations[-1]
        z, a, da_dz, _, dC_da = (by_layer[-1] for by_layer in values[:5])
        if activation == "softmax":
            return softmax_curvature(cost, a, dC_da, y, R_z, gauss_newton)
        d2a_dz2 = np.zeros_like(z)
        if not gauss_newton and cost != "cross_entropy":
            d2a_dz2 = calculus.second_derivative(activation, z, a, da_dz)
        if isinstance(cost, Cost):
            R_dC_da = cost.checked_hessian_vector_product(a, y, da_dz * R_z)
            R_delta: Array = R_dC_da * da_dz + dC_da * d2a_dz2 * R_z
            return R_delta
        name = activation if isinstance(activation, str) else "user"
        curvature = output_curvature(cost, name, z, a, da_dz, dC_da, y, d2a_dz2, gauss_newton)
        R_delta = curvature * R_z
        return R_delta

    def train(
        self,
        X: Examples,
        Y: Array,
        order: Array | None,
        batch_size: int,
        sample_weight: Array | None,
        options: StepOptions | None,
        key: int,
        watcher: Callable[[int], object] | None = None,
        first_batch: int = 0,
        cost_so_far: CostSum = NO_COST,
    ) -> tuple[Failure | None, CostSum]:
        """One pass in batches; returns the sum of the costs, each as its batch came.

        sample_weight (n,) float64 or None, by the rows of X; options: what a step does besides the
        rule, or None for nothing; key: the stream of random words of dropout and noise; watcher:
        None, or a function that long passes call now and then with the number of batches done;
        first_batch and cost_so_far: how many there were in earlier calls for the same pass, and the
        costs' sum that those returned.
        Without a row a pass with noise is one step of noise alone, and any other is none.
        """
        asked = options or StepOptions()
        clip_norm, noise_multiplier = asked.clip_norm, asked.noise_multiplier
        is_private = noise_multiplier > 0
        total = sum(cost_so_far)
        watched = WATCH_WORK
        gradient = np.empty_like(self.storage)
        # A lot without a row is a step of noise alone.
        stop = max(len(X), 1) if is_private else len(X)
        for batch, start in enumerate(range(0, stop, batch_size), first_batch):
            rows: Any = slice(start, min(start + batch_size, len(X)))
            if order is not None:
                rows = order[rows]
            X_batch, Y_batch = X[rows], Y[rows]
            if watcher is not None and start * self.storage.size >= watched:
                watcher(batch)
                watched += WATCH_WORK
            weight, shift = None, 0
            if sample_weight is not None:
                weight, shift = calculus.scaled_up(sample_weight[rows])
            # By the size that a lot is meant to have: noise over its own size would drown it.
            total_weight = float(batch_size if is_private else len(X_batch))
            if weight is not None:
                total_weight = float(weight.sum())
            if total_weight == 0:
                continue
            before = [array.copy() for array in self._state()]
            state = self.step_count, self.previous_cost
            changing = Changing(self)
            try:
                with changing:
                    self.dropout, self.dropout_key = asked.dropout, key
                    try:
                        failure, cost = self._mean_gradient(
                            X_batch, Y_batch, weight, total_weight, clip_norm, gradient,
                            batch * batch_size, asked.frozen,
                        )  # fmt: skip
                    finally:
                        self.dropout = 0.0
                    if failure is not None:
                        return failure, (total, 0.0)
                    if is_private:
                        # Of the other stream: all bits of the key turned over.
                        first = batch * len(gradient)
                        places = np.arange(first, first + len(gradient), dtype=np.uint64)
                        noise = normals_at(key ^ (2**64 - 1), places) * (
                            noise_multiplier * clip_norm / total_weight
                        )
                        with np.errstate(all="ignore"):
                            gradient += noise.astype(gradient.dtype)
                    self._take_step(gradient, cost / total_weight, asked)
            except KeyboardInterrupt:
                # It may come between two of an update's statements, or while the network is given
                # back: to the last full batch, and free for the next call.
                for array, saved in zip(self._state(), before, strict=True):
                    array[...] = saved
                self.step_count, self.previous_cost = state
                changing.end()
                raise
            total += math.ldexp(cost, -shift)
        if not all(np.isfinite(array).all() for array in self._state()):
            return ("parameters", 0), (total, 0.0)
        if not math.isfinite(total):
            return ("delta", len(self.weights)), (total, 0.0)
        return None, (total, 0.0)

    def step_along(
        self, sums: Array, cost: CostSum, total: float, options: StepOptions | None
    ) -> Failure | None:
        """One step along Σ_i w_i ∇C_i (P,), as a batch of ``total`` examples, or of that sum of
        weights, takes it.

        cost: the sum of the batch's costs; options: what a step does besides the rule, or None,
        nothing in it that is random or of single examples.
        """
        with Changing(self):
            with np.errstate(all="ignore"):
                gradient = sums / sums.dtype.type(total)
            self._take_step(gradient, sum(cost) / total, options or StepOptions())
        is_finite = all(np.isfinite(array).all() for array in self._state())
        return None if is_finite else ("parameters", 0)

    def _take_step(self, gradient: Array, cost: float, asked: StepOptions) -> None:
        """A step along a batch's mean gradient, which is overwritten; its mean cost is ``cost``."""
        before = [array.copy() for array in self._state()] if asked.frozen else []
        of_layers = list(layout.places(self.sizes))
        with np.errstate(all="ignore"):
            if asked.clip_gradient_norm > 0:
                for l in asked.frozen:
                    gradient[of_layers[l - 1].weights] = gradient[of_layers[l - 1].biases] = 0
                calculus.limit_length(gradient, asked.clip_gradient_norm)
            self._add_penalties(gradient, asked.l1, asked.l2)
            self._update(gradient, cost)
            if asked.max_norm > 0:
                for W in self.weights:
                    calculus.limit_norms(W, asked.max_norm)
        for l in asked.frozen:
            for array, saved in zip(self._state(), before, strict=True):
                for columns in (of_layers[l - 1].weights, of_layers[l - 1].biases):
                    array[columns] = saved[columns]

    def _state(self) -> tuple[Array, ...]:
        """What a step changes: the parameters, and what the optimiser remembers of them."""
        return self.storage, *self.slots

    def _add_penalties(self, gradient: Array, l1: float, l2: float) -> None:
        """The weights' own part of the gradient; biases have none."""
        if l1 == 0 and l2 == 0:
            return
        for W, place in zip(self.weights, layout.places(self.sizes), strict=True):
            gradient[place.weights] += calculus.penalty_gradient(W, l1, l2).ravel()

    def predict(self, X: Any, out: Any) -> Array | None:
        """The compiled engine's quick way for plain arrays; there is none here."""
        return None

    def sparse_rows(self, X: Array) -> Examples:
        """The compiled engine's way to leave out zeros; there is none here."""
        return X

    def step(self, X: Any, Y: Any, batch_size: int) -> bool:
        """The compiled engine's quick way for plain arrays; there is none here."""
        return False

    def _update(self, g: Array, cost: float) -> None:
        """One step of the rule along the batch's mean gradient, whose mean cost was ``cost``."""
        assert self.rule is not None
        self.step_count += 1
        has_grown = cost > self.previous_cost
        calculus.take_step(
            self.rule, self.storage, self.slots, g, self.learning_rate, self.step_count, has_grown
        )
        if self.rule.compares_costs:
            self.previous_cost = cost


def _first_not_finite(quantity: str, arrays: list[Array]) -> Failure | None:
    """The quantity and the first layer, from 1, whose array is not finite."""
    for layer, array in enumerate(arrays, start=1):
        if not np.isfinite(array).all():
            return quantity, layer
    return None


def _fill(targets: list[Array | None], arrays: list[Array]) -> None:
    for target, array in zip(targets, arrays, strict=True):
        if target is not None:
            target[...] = array


def _weighted_sum(C: Array, sample_weight: Array | None) -> float:
    """Σ w_i C_i, correctly rounded; infinite where it overflows."""
    with np.errstate(all="ignore"):
        terms = C if sample_weight is None else C.astype(np.float64) * sample_weight
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):  # a sum, or terms, beyond the largest float
        return math.inf
