"""Derivatives by the input, and what holds for all that comes besides the gradient.

The same bits anywhere, one example as a batch of one, a network by hand, a hundred layers, little
memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from small_networks import (
    NETWORKS,
    SIZES,
    SMALL,
    assert_within,
    every_activation,
    every_pair,
    model_of,
    part_sizes,
    small_case,
    truth_case,
    unit_roundoff,
)
from support import both_dtypes, data, every_backend, needs_compiled, output_of

from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers


@every_pair
@both_dtypes
@every_backend
def test_input_gradient_of_every_activation_and_cost(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    net, _, X, Y, _ = small_case(activation, cost, dtype, backend)
    model, *pair, _ = truth_case(activation, cost)
    truth = oracle.derivatives(model, *pair, [("a", 0, k) for k in range(SIZES[0])])
    got = net.input_gradient(X, Y)
    assert (got.dtype, got.shape) == (np.dtype(dtype), X.shape)
    largest = np.abs(truth).max(axis=1, keepdims=True)
    assert_within(got, truth, SMALL * unit_roundoff(dtype) * largest)


@every_activation
@both_dtypes
@every_backend
def test_input_jacobian_of_every_activation(activation: str, dtype: str, backend: str) -> None:
    net, _, X, _, _ = small_case(activation, "quadratic", dtype, backend)
    model, X_true, _, _ = truth_case(activation, "quadratic")
    truth = oracle.output_derivatives(model, X_true, [("a", 0, k) for k in range(SIZES[0])])
    J = net.input_jacobian(X)
    assert (J.dtype, J.shape) == (np.dtype(dtype), (2, SIZES[-1], SIZES[0]))
    largest = np.abs(truth).max(axis=2, keepdims=True)
    assert_within(J, truth, SMALL * unit_roundoff(dtype) * largest)


@needs_compiled
@pytest.mark.parametrize("activation", ["tanh", ["relu", "softmax"], ["gelu", "identity"]])
@both_dtypes
def test_an_example_has_the_same_bits_alone_and_in_a_batch(activation: Any, dtype: str) -> None:
    n, sizes = 600, (19, 33, 5)
    net = Network(sizes, activation, dtype=dtype, seed=4)
    X, Y = data(n, sizes, dtype)
    X2, Y2 = data(300, sizes, dtype, seed=6)
    gram = net.gradient_gram(X, Y, X2, Y2)
    inputs, J = net.input_gradient(X, Y), net.input_jacobian(X)
    order = np.argsort(RandomNumbers(8).uniform(n))
    assert net.gradient_gram(X[order], Y[order], X2, Y2).tobytes() == gram[order].tobytes()
    assert net.input_gradient(X[order], Y[order]).tobytes() == inputs[order].tobytes()
    assert net.input_jacobian(X[order]).tobytes() == J[order].tobytes()
    back = net.backward(X, Y)
    assert inputs.tobytes() == back.dC_da[0].tobytes()
    for i in (0, 1, 2, 3, 15, 127, 128, 255, 256, 257, 511, 512, n - 1):
        assert net.gradient_gram(X[i], Y[i], X2, Y2).tobytes() == gram[i].tobytes()
        assert net.gradient_gram(X2, Y2, X[i], Y[i]).tobytes() == gram[i].tobytes()
        j = i % 300
        assert net.gradient_gram(X[i], Y[i], X2[j], Y2[j]).tobytes() == gram[i, j].tobytes()
        column = np.ascontiguousarray(gram[:, j])
        assert net.gradient_gram(X, Y, X2[j : j + 1], Y2[j : j + 1]).tobytes() == column.tobytes()
        assert net.input_gradient(X[i], Y[i]).tobytes() == inputs[i].tobytes()
        assert net.input_jacobian(X[i]).tobytes() == J[i].tobytes()
    for rows in (slice(0, 256), slice(1, 258), slice(100, 150), slice(250, 600)):
        assert net.gradient_gram(X[rows], Y[rows], X2, Y2).tobytes() == gram[rows].tobytes()
        assert net.input_gradient(X[rows], Y[rows]).tobytes() == inputs[rows].tobytes()
        assert net.input_jacobian(X[rows]).tobytes() == J[rows].tobytes()


@needs_compiled
@pytest.mark.parametrize("activation", ["tanh", ["relu", "elu", "softmax"]])
@both_dtypes
def test_the_same_bits_with_any_number_of_threads(activation: Any, dtype: str) -> None:
    sizes, n = (64, 130, 70, 10), 600
    X, Y = data(n, sizes, dtype)
    results = []
    for threads in (1, 2, 3):
        net = Network(sizes, activation, dtype=dtype, seed=4, threads=threads)
        v = RandomNumbers(2).normal(net.n_parameters)
        mean, variance = net.gradient_moments(X, Y)
        found = [
            net.clipped_gradient(X, Y, 0.5).vector,
            net.gradient_gram(X, Y),
            net.gradient_gram(X, Y, X[:300], Y[:300]),
            mean.vector,
            variance.vector,
            net.input_gradient(X, Y),
            net.input_jacobian(X),
            net.hessian_vector_product(X, Y, v),
            net.gauss_newton_vector_product(X, Y, v),
        ]
        results.append([array.tobytes() for array in found])
    assert results[0] == results[1] == results[2]


@both_dtypes
@every_backend
def test_input_gradient_is_the_chain_rules(dtype: str, backend: str) -> None:
    """∂C_i/∂x = Σ_j ∂C_i/∂a_j · ∂a_j/∂x, and the first factor of the backward pass itself."""
    for sizes, activation, cost in NETWORKS:
        net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=3)
        X, Y = data(40, sizes, dtype)
        back = net.backward(X, Y)
        got = net.input_gradient(X, Y)
        assert got.tobytes() == back.dC_da[0].tobytes()
        J = net.input_jacobian(X).astype(np.float64)
        dC_da = back.dC_da[-1].astype(np.float64)
        joined = np.einsum("nj,njk->nk", dC_da, J)
        # Where terms cancel, their sizes count; and every layer has its own SMALL share.
        size = np.einsum("nj,njk->nk", np.abs(dC_da), np.abs(J)).max(axis=1, keepdims=True)
        layers = len(sizes) - 1
        assert_within(got, joined, SMALL * max(1, layers / 3) * unit_roundoff(dtype) * size)


@both_dtypes
@every_backend
def test_one_example_and_a_batch_of_one(dtype: str, backend: str) -> None:
    net = Network((4, 5, 3), "tanh", dtype=dtype, backend=backend, seed=1)
    X, Y = data(1, net.sizes, dtype)
    v = RandomNumbers(1).normal(net.n_parameters)
    P = net.n_parameters
    x, y = X[0], Y[0]
    for one, batch, shape in (
        (net.clipped_gradient(x, y, 0.1), net.clipped_gradient(X, Y, 0.1), (P,)),
        (net.gradient_moments(x, y)[0], net.gradient_moments(X, Y)[0], (P,)),
        (net.gradient_moments(x, y)[1], net.gradient_moments(X, Y)[1], (P,)),
        (net.hessian_vector_product(x, y, v), net.hessian_vector_product(X, Y, v), (P,)),
        (net.gauss_newton_vector_product(x, y, v), net.gauss_newton_vector_product(X, Y, v), (P,)),
        (net.input_gradient(x, y), net.input_gradient(X, Y)[0], (4,)),
        (net.input_jacobian(x), net.input_jacobian(X)[0], (3, 4)),
        (net.gradient_gram(x, y), net.gradient_gram(X, Y)[0, 0], ()),
        (net.gradient_gram(x, y, X, Y), net.gradient_gram(X, Y)[0], (1,)),
        (net.gradient_gram(X, Y, x, y), net.gradient_gram(X, Y)[0], (1,)),
    ):
        assert np.asarray(one).shape == np.asarray(batch).shape == shape
        assert np.asarray(one).dtype == np.dtype(dtype)
        # The reference promises no bits; with one row NumPy has but one way.
        assert np.asarray(one).tobytes() == np.asarray(batch).tobytes()


@both_dtypes
@every_backend
def test_a_network_of_one_weight_by_hand(dtype: str, backend: str) -> None:
    """C = (w x + b − y)², all in numbers that binary fractions hold."""
    net = Network((1, 1), "identity", "quadratic", dtype=dtype, backend=backend, init="zeros")
    net.parameters = [2.0, 0.5]
    X, Y = np.array([[1.0], [3.0]]), np.array([[0.5], [8.5]])
    # a − y is 2 and −2, δ is 4 and −4.
    assert net.gradient(X, Y, per_example=True).vector.tolist() == [[4, 4], [-12, -4]]
    assert net.input_gradient(X, Y).tolist() == [[8], [-8]]
    assert net.input_jacobian(X).tolist() == [[[2]], [[2]]]
    assert net.gradient_gram(X, Y).tolist() == [[32, -64], [-64, 160]]
    assert net.gradient_gram(X[0], Y[0], X[1], Y[1]) == -64
    mean, variance = net.gradient_moments(X, Y)
    assert (mean.vector.tolist(), variance.vector.tolist()) == ([-4, 0], [64, 16])
    assert (mean.cost, variance.cost) == (4.0, 0.0)
    # H = 2 [[mean x², mean x], [mean x, 1]] = [[10, 4], [4, 2]].
    for call in (net.hessian_vector_product, net.gauss_newton_vector_product):
        assert call(X, Y, [1, 0]).tolist() == [10, 4]
        assert call(X, Y, [0, 1]).tolist() == [4, 2]
    # The norms are √32 and √160; the second is made as long as the first.
    share = np.sqrt(32 / 160)
    clipped = net.clipped_gradient(X, Y, np.sqrt(32.0) * (1 + 1e-6)).vector
    assert clipped == pytest.approx([(4 - 12 * share) / 2, (4 - 4 * share) / 2], rel=1e-5)


@both_dtypes
@every_backend
def test_a_hundred_layers(dtype: str, backend: str) -> None:
    """Errors grow with the depth, measured 294u at 100 layers; a SMALL share each three are 2133u.
    Nothing may be lost otherwise."""
    sizes = (2, *[2] * 99, 1)
    limit = SMALL * 100 / 3 * unit_roundoff(dtype)
    net = Network(sizes, "tanh", dtype=dtype, backend=backend, init="zeros")
    for l, W in enumerate(net.weights):
        W[...] = np.array([[0.8, 0.6], [-0.6, 0.8]])[: len(W)] * (1.25 if l % 2 else 1)
    net.parameters = net.parameters.astype(np.float32)
    X = np.array([[0.5, -0.25], [0.125, 0.75]], dtype)
    Y = np.array([[0.5], [-1.0]], dtype)
    model = model_of(net, ["tanh"] * 100, "quadratic")
    each = oracle.gradients(model, X, Y)
    inputs = [("a", 0, 0), ("a", 0, 1)]
    truth = oracle.derivatives(model, X, Y, inputs)
    assert 1e-8 < np.abs(truth).max() < 1e8
    assert_within(net.input_gradient(X, Y), truth, limit * np.abs(truth).max(axis=1, keepdims=True))
    truth = oracle.output_derivatives(model, X, inputs)
    assert_within(net.input_jacobian(X), truth, limit * np.abs(truth).max(axis=2, keepdims=True))
    size = part_sizes(each, sizes)
    moved = size @ np.abs(each).T
    assert_within(net.gradient_gram(X, Y), each @ each.T, limit * (moved + moved.T))
    norms = np.sqrt((each**2).sum(axis=1))
    factors = np.minimum(1, float(norms.mean()) / norms)[:, np.newaxis]
    got = net.clipped_gradient(X, Y, float(norms.mean())).vector
    assert_within(got, (factors * each).mean(axis=0), 2 * limit * (factors * size).mean(axis=0))


# No array of n·P numbers, 17 GB here: scratch of a block, and what is returned.
PEAK = """
import sys
import numpy as np
from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers

def status(name):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    raise LookupError(name)

n, sizes = 20_000, (784, 128, 64, 10)
net = Network(sizes, "tanh", seed=0, backend=sys.argv[1])
X, Y = np.empty((n, sizes[0])), np.empty((n, sizes[-1]))
random = RandomNumbers(1)
for start in range(0, n, 100):  # without a second array as large
    X[start : start + 100] = random.normal(100 * sizes[0]).reshape(100, -1)
    Y[start : start + 100] = random.uniform(100 * sizes[-1]).reshape(100, -1)
before = status("VmHWM")
assert before - status("VmRSS") < 20, "the peak before would hide what comes"
norms = net.gradient_norms(X, Y)
after_norms = status("VmHWM")
clipped = net.clipped_gradient(X, Y, float(np.median(norms)))
after_clipped = status("VmHWM")
mean, variance = net.gradient_moments(X, Y)
assert (variance.vector >= 0).all() and np.isfinite(clipped.vector).all()
print(after_norms - before, after_clipped - before, status("VmHWM") - before)
"""


@needs_compiled
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc"
)
def test_norms_clipped_sums_and_moments_take_little_memory() -> None:
    printed = output_of(
        PEAK, "compiled", options=("-W", "error"), timeout=300, CBACKPROP_REQUIRE_EXT="1"
    )
    growth = [float(megabytes) for megabytes in printed.split()]
    assert len(growth) == 3
    assert max(growth) < 300, growth
