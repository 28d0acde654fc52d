"""Finite inputs that overflow on the way: each place that looks for it says so, nothing changes.

The rows of test_arrays.py overflow at the first chance, mostly in z; here all before that place
is finite.
"""

from __future__ import annotations

import numpy as np
import pytest
from support import BACKENDS, DTYPES

from cbackprop import SGD, Adam, Cost, Network

# Twice the exponent is beyond the number type's largest.
HUGE = {"float64": 1e200, "float32": 1e25}
# Once it is not, and the sum of two is.
LARGEST = {"float64": 1.7e308, "float32": 3.4e38}

# Its gradient is whatever the targets say.
FREE = Cost(lambda a, y: np.zeros(len(a)), lambda a, y: y, "free")


def linear(sizes, backend, dtype, **options):
    return Network(
        sizes, activation="identity", init="zeros", dtype=dtype, backend=backend, **options
    )


def fails(message, call, *arguments, **options):
    with pytest.raises(FloatingPointError, match=message):
        call(*arguments, **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 40])
def test_delta_of_a_hidden_layer(n, dtype, backend):
    """-2 in the output layer, passed back through one huge weight and another."""
    net = linear([1, 1, 1, 1], backend, dtype)
    for W in net.weights:
        W[...] = HUGE[dtype]
    X, Y = np.zeros((n, 1)), np.ones((n, 1))
    v = np.ones(net.n_parameters)
    message = "^the cost or its gradient of layer 1 is not finite: finite inputs and parameters"
    for call in (
        net.backward, net.gradient, net.gradient_norms, net.input_gradient, net.gradient_moments,
        net.gradient_gram,
    ):  # fmt: skip
        fails(message, call, X, Y)
    fails(message, net.gradient, X, Y, per_example=True)
    fails(message, net.hessian_vector_product, X, Y, 0 * v)
    assert net.cost(X, Y) == 1
    assert (net.predict(X) == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_jacobian_of_a_hidden_layer(n_outputs, dtype, backend):
    net = linear([1, 1, 1, n_outputs], backend, dtype)
    for W in net.weights:
        W[...] = HUGE[dtype]
    message = "^a derivative of the outputs of layer 1 is not finite"
    fails(message, net.jacobian, np.zeros((2, 1)))
    fails(message, net.input_jacobian, np.zeros((2, 1)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_product_with_the_hessian_in_a_hidden_layer(dtype, backend):
    """R{delta} of layer 1 is v times the delta above it; the gradient itself is finite."""
    net = linear([1, 1, 1, 1], backend, dtype)
    net.weights[1][...] = 1
    net.weights[2][...] = HUGE[dtype]
    X, Y = np.zeros((1, 1)), np.ones((1, 1))
    assert np.isfinite(net.gradient(X, Y).vector).all()
    v = np.zeros(net.n_parameters)
    v[2] = 1  # of layer 2's weight
    assert net.hessian_vector_product(X, Y, v)[1] == np.dtype(dtype).type(-2 * HUGE[dtype])
    message = "^the product of the curvature with v is not finite"
    fails(message, net.hessian_vector_product, X, Y, HUGE[dtype] * v)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sum_of_gradients(dtype, backend):
    net = linear([1, 1], backend, dtype, cost=FREE)
    X, Y = np.zeros((2, 1)), np.full((2, 1), LARGEST[dtype])
    assert np.isfinite(net.gradient(X, Y, per_example=True).vector).all()
    fails("^the cost or its gradient of layer 1 is not finite", net.gradient, X, Y)
    fails("^the cost or its gradient of layer 1 is not finite", net.gradient_moments, X, Y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sum_of_costs(backend):
    """Each cost fits a float64, and so do all gradients; the sum of two costs does not."""
    net = linear([1, 1], backend, "float64")
    X, Y = np.zeros((2, 1)), np.full((2, 1), 1.2e154)
    assert net.cost(X[:1], Y[:1]) == pytest.approx(1.44e308)
    assert net.gradient(X[:1], Y[:1]).biases[0] == -2.4e154
    message = "the cost or its gradient of layer 1 is not finite"
    for call in (net.cost, net.gradient, net.gradient_moments):
        fails(f"^{message}", call, X, Y)
    before = net.parameters
    for batch_size in (1, 2):
        for learning_rate in (0, 1e-200):
            options = {"learning_rate": learning_rate, "batch_size": batch_size}
            fails("^training diverged in epoch 1: .*overflowed", net.fit, X, Y, **options)
            fails("^the step diverged: .*overflowed", net.partial_fit, X, Y, **options)
    assert np.array_equal(net.parameters, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_of_the_optimiser(backend):
    """Adam's mean square overflows float32: it divides by infinity, and the parameters stay."""
    net = linear([1, 1], backend, "float32", cost="mae")
    net.partial_fit([[1.0]], [[1.0]], optimizer=Adam())
    net.weights[0][...] = 0
    before = [net.parameters, *(slot.copy() for slot in net._engine.slots)]
    # The derivative is -x, and 0.001 of its square is kept.
    assert net.copy().partial_fit([[1e20]], [[1.0]])._engine.step_count == 2
    fails("^the step diverged: .*overflowed", net.partial_fit, [[1e21]], [[1.0]])
    fails(
        "^training diverged in epoch 1: .*overflowed",
        net.fit, [[1e21]], [[1.0]], epochs=1, optimizer=Adam(),
    )  # fmt: skip
    after = [net.parameters, *net._engine.slots]
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"l2": 0.1}, {"clip_norm": 1.0}])
@pytest.mark.parametrize("n", [3000, 33000])
def test_one_of_the_last_examples_of_a_large_batch(n, options, dtype, backend):
    """Many blocks of it are summed up before, in one chain or in three."""
    net = Network([2, 3, 1], activation="identity", seed=0, dtype=dtype, backend=backend)
    X, Y = np.ones((n, 2)), np.ones((n, 1))
    Y[n - 10] = HUGE[dtype]
    before = net.parameters
    options = {"batch_size": n, "optimizer": SGD(0.01), **options}
    fails("^training diverged in epoch 1: .*overflowed", net.fit, X, Y, **options)
    assert np.array_equal(net.parameters, before)
    net.fit(X[: n - 10], Y[: n - 10], epochs=1, **options)
    assert not np.array_equal(net.parameters, before)
