"""The sum of gradients that are clipped one by one."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from small_networks import (
    COUNTS,
    FREE,
    SIZES,
    SMALL,
    assert_within,
    chain_length,
    each_network,
    every_pair,
    part_sizes,
    small_case,
    smallest,
    true_gradients,
    unit_roundoff,
)
from support import both_dtypes, data, every_backend, needs_compiled

from cbackprop import Network


@every_pair
@both_dtypes
@every_backend
def test_clipped_gradient_of_every_activation_and_cost(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    net, _, X, Y, _ = small_case(activation, cost, dtype, backend)
    each = true_gradients(activation, cost)
    norms = np.sqrt((each**2).sum(axis=1))
    sizes = part_sizes(each, SIZES)
    u = unit_roundoff(dtype)
    # Both are clipped, one is, none is.
    for max_norm in (float(norms.min()) / 3, float(norms.mean()), float(norms.max()) * 2):
        factors = np.minimum(1, max_norm / norms)[:, np.newaxis]
        got = net.clipped_gradient(X, Y, max_norm)
        # The gradient's own error; the norm has one as large, relative to the gradient itself; the
        # factor, its product with δ and the sum are rounded.
        tolerance = factors * (SMALL * u * sizes + (SMALL + 4) * u * np.abs(each))
        truth = (factors * each).mean(axis=0)
        assert_within(got.vector, truth, tolerance.mean(axis=0), f"max_norm {max_norm}")
        assert got.cost == pytest.approx(net.cost(X, Y), rel=1e-15)
        assert got.vector.dtype == np.dtype(dtype)


@each_network
@both_dtypes
@every_backend
def test_clipping_above_every_norm_is_the_gradient(
    sizes: tuple[int, ...], activation: Any, cost: str, dtype: str, backend: str
) -> None:
    net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=3)
    for n in COUNTS:
        X, Y = data(n, sizes, dtype)
        gradient = net.gradient(X, Y)
        largest = float(net.gradient_norms(X, Y).max())
        for max_norm in (2 * largest, 1e300):
            clipped = net.clipped_gradient(X, Y, max_norm)
            assert clipped.vector.tobytes() == gradient.vector.tobytes()
            assert clipped.cost == gradient.cost
        # And one that clips the longest does change it.
        assert net.clipped_gradient(X, Y, largest / 2).vector.tobytes() != gradient.vector.tobytes()


@each_network
@both_dtypes
@every_backend
def test_no_example_moves_a_clipped_sum_by_more_than_max_norm(
    sizes: tuple[int, ...], activation: Any, cost: str, dtype: str, backend: str
) -> None:
    net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=3)
    X, Y = data(5, sizes, dtype)
    u = unit_roundoff(dtype)
    for norm, x, y in zip(net.gradient_norms(X, Y).tolist(), X, Y, strict=True):
        for share in (1e-3, 0.5, 0.999):
            clipped = net.clipped_gradient(x, y, share * norm).norm()
            # Two roundings of each entry, and those of the factor and the two norms.
            assert clipped == pytest.approx(share * norm, rel=40 * u)


@each_network
@both_dtypes
@every_backend
def test_clipped_sum_of_many_examples(
    sizes: tuple[int, ...], activation: Any, cost: str, dtype: str, backend: str
) -> None:
    """Against Σ min(1, max_norm/‖g_i‖) g_i / n of the gradients made one by one."""
    net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=3)
    u = unit_roundoff(dtype)
    for n in COUNTS:
        X, Y = data(n, sizes, dtype)
        each = net.gradient(X, Y, per_example=True).vector.astype(np.longdouble)
        norms = np.sqrt((each**2).sum(axis=1))
        max_norm = float(np.median(norms))
        terms = np.minimum(1, max_norm / norms)[:, np.newaxis] * each
        # The sum's own length; 20u for a norm of these widths, and the factor's product with δ.
        tolerance = (chain_length(n, backend) + 24) * u * np.abs(terms).mean(axis=0)
        got = net.clipped_gradient(X, Y, max_norm).vector
        assert_within(got, terms.mean(axis=0), tolerance, f"n = {n}")


@needs_compiled
@both_dtypes
def test_a_clipped_contribution_has_the_same_bits_alone_and_at_any_place(dtype: str) -> None:
    """The other examples' δ is 0 here, and a division by a power of two is exact."""
    sizes, n = (19, 33, 5), 512
    net = Network(sizes, ["tanh", "identity"], dtype=dtype, seed=4)
    X, _ = data(n, sizes, dtype)
    Y = net.predict(X)
    assert (net.gradient_norms(X, Y) == 0).all()
    x, y = data(1, sizes, dtype, seed=9)
    for max_norm in (0.125, 1e3):
        alone = net.clipped_gradient(x, y, max_norm).vector
        for i in (0, 1, 7, 255, 256, 300, n - 1):
            X_i, Y_i = X.copy(), Y.copy()
            X_i[i], Y_i[i] = x[0], y[0]
            got = net.clipped_gradient(X_i, Y_i, max_norm).vector
            assert (got * n == alone).all()


@both_dtypes
@every_backend
def test_clipping_at_both_ends_of_the_numbers(dtype: str, backend: str) -> None:
    """Norms below and above all that a float32 number, or its square, can be."""
    powers = (-42, -38, -30, -10, 0, 20, 38) if dtype == "float32" else (-310, -200, 0, 180, 300)
    limits = (1e-42, 1e-38, 1e-20, 1.0, 1e30, 1e39) if dtype == "float32" else (1e-200, 1.0, 1e250)
    step, u = smallest(dtype), unit_roundoff(dtype)
    net = Network((2, 2), "identity", FREE, dtype=dtype, backend=backend, init="zeros")
    x = np.array([0.5, -0.75], dtype)
    for power in powers:
        y = (np.array([2.0, -1.5]) * 10.0**power).astype(dtype)
        with mpmath.workdps(60):
            g = [mpmath.mpf(float(d)) for d in y]
            g = [d * mpmath.mpf(float(a)) for d in g for a in x] + g
            norm = mpmath.sqrt(sum(w * w for w in g))
            for max_norm in limits:
                if max_norm / float(norm) < 1e-300:
                    continue  # a factor that float64 does not hold to all its digits
                factor = min(mpmath.mpf(1), mpmath.mpf(max_norm) / norm)
                got = net.clipped_gradient(x, y, max_norm).vector.tolist()
                for value, true in zip(got, g, strict=True):
                    error = abs(mpmath.mpf(value) - factor * true)
                    # Factor, δ's product with it, its product with a; a is below 1.
                    assert error <= 12 * u * factor * abs(true) + 2 * step, (power, max_norm)
