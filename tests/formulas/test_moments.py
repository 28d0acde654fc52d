"""Mean and variance of the examples' gradients."""

from __future__ import annotations

from typing import Any

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
from support import Array, both_dtypes, data, every_backend

from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers


@every_pair
@both_dtypes
@every_backend
def test_gradient_moments_of_every_activation_and_cost(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    net, _, X, Y, _ = small_case(activation, cost, dtype, backend)
    each = true_gradients(activation, cost)
    u = unit_roundoff(dtype)
    error = (SMALL + 4) * u * part_sizes(each, SIZES).max(axis=0)
    mean, variance = net.gradient_moments(X, Y)
    assert_within(mean.vector, each.mean(axis=0), error)
    # d² moves by 2|d||dd| + dd², where dd is an example's error and the mean's.
    deviations = each - each.mean(axis=0)
    tolerance = 4 * np.abs(deviations).mean(axis=0) * error + 4 * error**2
    tolerance += 8 * u * (deviations**2).mean(axis=0)
    assert_within(variance.vector, (deviations**2).mean(axis=0), tolerance)
    costs = net.cost(X, Y, per_example=True).astype(np.float64)
    assert mean.cost == pytest.approx(costs.mean(), rel=1e-15)
    # The costs are a few numbers of like size; float64's digits.
    assert variance.cost == pytest.approx(np.var(costs), rel=1e-12)
    assert mean.vector.dtype == variance.vector.dtype == np.dtype(dtype)


@each_network
@both_dtypes
@every_backend
def test_moments_of_many_examples(
    sizes: tuple[int, ...], activation: Any, cost: str, dtype: str, backend: str
) -> None:
    """The mean is the gradient; the variance is that of the gradients made one by one."""
    net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=3)
    for n in COUNTS:
        X, Y = data(n, sizes, dtype)
        mean, variance = net.gradient_moments(X, Y)
        gradient = net.gradient(X, Y)
        each = net.gradient(X, Y, per_example=True)
        if backend == "compiled":
            assert mean.vector.tobytes() == gradient.vector.tobytes()
        limit = 2 * chain_length(n, backend) * unit_roundoff(dtype)
        size = np.abs(each.vector.astype(np.longdouble)).mean(axis=0)
        assert_within(mean.vector, gradient.vector, limit * size)
        assert mean.cost == gradient.cost
        assert variance.cost == pytest.approx(np.var(each.cost, dtype=np.float64), rel=1e-12)
        assert (variance.vector >= 0).all()
        truth, tolerance = variance_and_bound(each.vector, n, backend)
        assert_within(variance.vector, truth, tolerance, f"n = {n}")


def variance_and_bound(each: Array, n: int, backend: str) -> tuple[Array, Array]:
    """The variance of rounded gradients (n, P), and the limit of its error when deviations are
    squared and summed.

    With d = g − m for the true mean m: an error of the mean adds its square, for the d sum to 0.
    The product a_k δ_j under the difference may be rounded or (in a fused operation) not, which
    moves d by u|g|: the variance by 2u·mean |d||g| + u²·mean g². Difference, square, sum and
    division round.
    """
    u, step = unit_roundoff(each.dtype), smallest(each.dtype)
    g = each.astype(np.longdouble)
    m = g.mean(axis=0)
    d = np.abs(g - m)
    variance = (d * d).mean(axis=0)
    c = chain_length(n, backend) + 2
    mean_error = c * u * np.abs(g).mean(axis=0)
    moved = variance + mean_error**2 + 2 * u * (d * np.abs(g)).mean(axis=0)
    moved += u * u * (g * g).mean(axis=0)
    return variance, moved * (1 + (c + 4) * u) - variance + 2 * step


@both_dtypes
@every_backend
def test_variance_of_one_row_repeated(dtype: str, backend: str) -> None:
    """Exactly 0, also where NumPy's products round a row by its place among the others."""
    for sizes in ((5, 7, 6, 3), (3, 2), (20, 40, 4), (64, 30, 10)):
        net = Network(sizes, "tanh", dtype=dtype, backend=backend, seed=1)
        for n in (1, 2, 3, 5, 7, 16, 64, 257, 600):
            X, Y = (np.repeat(rows, n, axis=0) for rows in data(1, net.sizes, dtype))
            _, variance = net.gradient_moments(X, Y)
            assert not variance.vector.any(), (sizes, n)
            assert variance.cost == 0, (sizes, n)


@every_backend
def test_a_small_variance_beside_a_large_mean_keeps_its_digits(backend: str) -> None:
    """Derivatives of 1000 ± 1 in float32, where squares have 1e6 and the steps of 0.06."""
    n = 500
    net = Network((2, 1), "identity", "half_quadratic", dtype="float32", backend=backend, seed=1)
    net.weights[0][...] = 0.25
    random = RandomNumbers(3)
    X = (1 + 1e-3 * random.normal(2 * n).reshape(n, 2)).astype(np.float32)
    Y = (-1000 + 0.5 * random.normal(n).reshape(n, 1)).astype(np.float32)
    each = net.gradient(X, Y, per_example=True).vector
    truth, tolerance = variance_and_bound(each, n, backend)
    assert_within(net.gradient_moments(X, Y)[1].vector, truth, tolerance)
    # A thousandth of the variance, or a little more with all the reference's mean may be off by.
    assert (tolerance <= (0.005 if backend == "reference" else 0.003) * truth).all()
    squares = np.mean(each * each, axis=0) - np.mean(each, axis=0) ** 2
    assert (np.abs(squares - truth) > 10 * tolerance).any()


@both_dtypes
@every_backend
def test_a_variance_of_numbers_that_underflow(dtype: str, backend: str) -> None:
    """Squares below the smallest number are 0, whatever else stands beside them."""
    net = Network((1, 2), "identity", FREE, dtype=dtype, backend=backend, init="zeros")
    small = float(np.finfo(dtype).tiny) ** 0.75
    X, Y = np.ones((2, 1)), np.array([[small, 1.0], [-small, 3.0]])
    mean, variance = net.gradient_moments(X, Y)
    assert mean.vector.tolist() == [0, 2, 0, 2]
    assert variance.vector.tolist() == [0, 1, 0, 1]


@every_backend
def test_a_variance_of_costs_beyond_float64(backend: str) -> None:
    """The costs fit, and so do all derivatives' moments: refused by name, and without a warning."""
    net = Network((1, 1), "identity", "quadratic", backend=backend, init="zeros")
    X, Y = np.zeros((2, 1)), np.array([[1e90], [0.0]])
    for size in (1.0, -1.0):
        with pytest.raises(FloatingPointError, match=r"^the variance of the costs is not finite"):
            net.gradient_moments(X, size * Y)
    # float32's costs have a variance in float64 whatever they are.
    net = Network((1, 1), "identity", "quadratic", dtype="float32", backend=backend, init="zeros")
    mean, variance = net.gradient_moments(X, Y * 1e-72)
    assert mean.cost == pytest.approx(5e35, rel=1e-6)
    assert variance.cost == pytest.approx(2.5e71, rel=1e-6)
