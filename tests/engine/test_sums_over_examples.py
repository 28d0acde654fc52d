"""Sums over so many examples that the chains of blocks are themselves summed (16,384 to a chain).

Whole numbers, whose sums have no rounding: a chain that is lost, or counted twice, shows in full.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import BACKENDS, DTYPES, needs_compiled

from cbackprop import SGD, Network

CHAIN = 256 * 64

# Up to one chain, into the second, the third and the fourth.
COUNTS = [CHAIN, CHAIN + 1, 2 * CHAIN, 2 * CHAIN + 1, 3 * CHAIN, 3 * CHAIN + 300]


def linear(dtype, backend):
    net = Network([2, 1], activation="identity", dtype=dtype, backend=backend)
    net.weights[0][...] = [[1, -2]]
    net.biases[0][...] = 1
    return net


def whole_numbers(n):
    random = np.random.default_rng(n)
    return random.integers(-3, 4, (n, 2)), random.integers(-3, 4, (n, 1))


def derivatives(X, Y, weight=1):
    """Of each C_i = (w·x + b − y)²: (n, 3) whole numbers, in the order of the parameters."""
    delta = 2 * (X @ [[1], [-2]] + 1 - Y)
    return weight * np.hstack([delta * X, delta])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", COUNTS)
def test_gradient_and_cost(n, dtype, backend):
    net, (X, Y) = linear(dtype, backend), whole_numbers(n)
    each = derivatives(X, Y)
    gradient = net.gradient(X, Y)
    close = 2 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(gradient.vector, each.sum(axis=0) / n, rtol=close)
    assert gradient.cost == pytest.approx((each[:, 2] ** 2).sum() / 4 / n, rel=close)
    weight = 1 + np.arange(n) % 3
    weighted = net.gradient(X, Y, sample_weight=weight).vector
    expected = derivatives(X, Y, weight[:, None]).sum(axis=0) / weight.sum()
    np.testing.assert_allclose(weighted, expected, rtol=close)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [2 * CHAIN + 1, 3 * CHAIN + 300])
def test_moments_and_curvature(n, dtype, backend):
    net, (X, Y) = linear(dtype, backend), whole_numbers(n)
    each = derivatives(X, Y)
    # Squares of deviations are no whole numbers; the reference adds them one by one.
    close = n * np.finfo(dtype).eps / 2
    mean, variance = net.gradient_moments(X, Y)
    np.testing.assert_allclose(mean.vector, each.mean(axis=0), rtol=2 * float(np.finfo(dtype).eps))
    np.testing.assert_allclose(variance.vector, each.var(axis=0), rtol=close)
    ones = np.hstack([X, np.ones((n, 1), int)])
    v = np.array([1, 2, -1])
    product = 2 * ones.T @ (ones @ v) / n
    for call in (net.hessian_vector_product, net.gauss_newton_vector_product):
        np.testing.assert_allclose(call(X, Y, v), product, rtol=2 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", COUNTS)
def test_one_step_along_all_of_them(n, dtype, backend):
    net, (X, Y) = linear(dtype, backend), whole_numbers(n)
    net.fit(X, Y, epochs=1, batch_size=n, shuffle=False, optimizer=SGD(0.125))
    expected = np.array([1, -2, 1]) - 0.125 * derivatives(X, Y).sum(axis=0) / n
    # The derivatives, about 8, are rounded before they are multiplied and subtracted.
    close = 2 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(net.parameters, expected, rtol=0, atol=close)


@needs_compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [5, 1000, 9000])
def test_sums_of_another_layout_leave_nothing_in_the_padding(n, dtype):
    """Rows of 1 kB are padded on every level, as one output is."""
    for width in (1, 128, 256):
        net = Network((3, width, 2), "tanh", dtype=dtype, seed=0)
        random = np.random.default_rng(n)
        X, Y = random.normal(size=(n, 3)), random.normal(size=(n, 2))
        other = net.copy()
        net.gradient_moments(X, Y)
        assert net.gradient(X, Y).vector.tobytes() == other.gradient(X, Y).vector.tobytes()
        for twin in (net, other):
            twin.partial_fit(X, Y, n, "adam")
        blocks = [twin._engine.parameter_arrays()[2] for twin in (net, other)]
        assert blocks[0].tobytes() == blocks[1].tobytes()
