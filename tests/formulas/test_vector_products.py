"""vjp and jvp: products with the Jacobian, which is not made, against the Jacobian itself.

The Jacobians are judged by oracle.py and PyTorch elsewhere, these products by PyTorch, too.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support import ACTIVATIONS, ELEMENTWISE, Array, Csr, bits, both_dtypes, every_backend

from cbackprop import Activation, Gradient, Network

SIZES = (3, 5, 4)
SINE = Activation(np.sin, np.cos, "sine")
every_activation = pytest.mark.parametrize("activation", [*ACTIVATIONS, "sine"])


def network(activation: str, dtype: str, backend: Any, **options: Any) -> Network:
    own: Any = SINE if activation == "sine" else activation
    hidden = own if activation in (*ELEMENTWISE, "sine") else "tanh"
    return Network(SIZES, [hidden, own], dtype=dtype, seed=3, backend=backend, **options)


def numbers(net: Network, n: int) -> tuple[Array, Array, Array, Array]:
    """X, V, v and dX."""
    random = np.random.default_rng(n)
    shapes = (n, net.sizes[0]), (n, net.sizes[-1]), (net.n_parameters,), (n, net.sizes[0])
    X, V, v, dX = (random.normal(size=shape).astype(net.dtype) for shape in shapes)
    return X, V, v, dX


def close(got: Array, expected: Array, terms: Array, dtype: str, length: int) -> bool:
    """To within the rounding of so many products, the sizes of whose sum are `terms`."""
    bound = 4 * (length + 20) * np.finfo(dtype).eps * (terms + np.finfo(dtype).tiny)
    return bool((abs(got - expected) <= bound).all())


@every_backend
@both_dtypes
@every_activation
def test_they_are_products_with_the_jacobian(activation: str, dtype: str, backend: Any) -> None:
    net = network(activation, dtype, backend)
    X, V, v, dX = numbers(net, 9)
    J, Jx = net.jacobian(X).astype("f8"), net.input_jacobian(X).astype("f8")
    gradient, by_inputs = net.vjp(X, V)
    assert isinstance(gradient, Gradient)
    assert gradient.vector.dtype == by_inputs.dtype == net.dtype
    cases = (
        (gradient.vector, "nj,njp->p", (V, J), 36),
        (by_inputs, "nj,njk->nk", (V, Jx), 4),
        (np.array(gradient.cost), "nj,nj->", (V, net.predict(X)), 36),
        (net.jvp(X, v), "p,njp->nj", (v, J), net.n_parameters),
        (net.jvp(X, dX=dX), "nk,njk->nj", (dX, Jx), 3),
    )
    for got, sum_of, factors, length in cases:
        doubles = [factor.astype("f8") for factor in factors]
        terms = np.einsum(sum_of, *map(abs, doubles))
        # Relu's own rounding moves no Jacobian; a softmax's rows of it are differences, of size 1.
        assert close(got, np.einsum(sum_of, *doubles), terms + 1, dtype, length), sum_of
    both = net.jvp(X, v, dX)
    assert close(both, net.jvp(X, v) + net.jvp(X, dX=dX), abs(both) + 10, dtype, 60)


@every_backend
@both_dtypes
def test_cost_gradients_are_such_products(dtype: str, backend: Any) -> None:
    """Of V = dC/da: the sum of the examples' gradients, and their input gradients to the bit."""
    net = network("tanh", dtype, backend)
    X, Y = numbers(net, 40)[:2]
    gradient, by_inputs = net.vjp(X, net.backward(X, Y).dC_da[-1])
    each = net.gradient(X, Y, per_example=True).vector.astype("f8")
    assert close(gradient.vector, each.sum(axis=0), abs(each).sum(axis=0), dtype, 40)
    assert bits(by_inputs) == bits(net.input_gradient(X, Y))


@every_backend
@both_dtypes
def test_an_example_has_its_bits_anywhere(dtype: str, backend: Any) -> None:
    net = network("softmax", dtype, backend)
    X, V, v, dX = numbers(net, 600)
    by_inputs, moved = net.vjp(X, V)[1], net.jvp(X, v, dX)
    if backend == "compiled":
        for rows in (slice(7, 8), slice(100, 399), slice(599, None, -1)):
            assert bits(net.vjp(X[rows], V[rows])[1]) == bits(by_inputs[rows])
            assert bits(net.jvp(X[rows], v, dX[rows])) == bits(moved[rows])
    gradient, by_input = net.vjp(X[5], V[5])
    assert by_input.shape == (3,)
    assert net.jvp(X[5], v).shape == net.jvp(X[5], dX=dX[5]).shape == (4,)
    assert bits(gradient.vector) == bits(net.vjp(X[5:6], V[5:6])[0].vector)


@every_backend
@both_dtypes
def test_threads_and_sparse_rows_change_no_bit(dtype: str, backend: Any) -> None:
    net = Network((40, 30, 20, 3), "gelu", dtype=dtype, seed=0, backend=backend)
    X, V, v, dX = numbers(net, 3000)
    X[np.random.default_rng(0).random(X.shape) < 0.8] = 0
    results = []
    for threads in (1, 2, 3, 5):
        other = Network(net.sizes, "gelu", dtype=dtype, seed=0, backend=backend, threads=threads)
        for x in (X, Csr(X)):
            gradient, by_inputs = other.vjp(x, V)
            moved = other.jvp(x, v, dX)
            results.append((gradient.cost, bits(gradient.vector), bits(by_inputs), bits(moved)))
    assert all(result == results[0] for result in results)


@every_backend
def test_results_go_where_they_are_sent(backend: Any) -> None:
    net = network("tanh", "float64", backend)
    X, V, v, _ = numbers(net, 5)
    vector, by_inputs, moved = (np.full(m, np.nan) for m in (net.n_parameters, (5, 3), (5, 4)))
    gradient, second = net.vjp(X, V, out=(vector, by_inputs))
    assert gradient.vector is vector
    assert second is by_inputs
    assert net.jvp(X, v, out=moved) is moved
    expected = net.vjp(X, V)
    assert bits(vector) == bits(expected[0].vector)
    assert bits(by_inputs) == bits(expected[1])
    assert bits(net.vjp(X, V, out=(None, by_inputs))[0].vector) == bits(vector)
    assert bits(moved) == bits(net.jvp(X, v))
    assert bits(net.jvp(X, expected[0])) == bits(net.jvp(X, vector))


@every_backend
def test_no_example(backend: Any) -> None:
    net = network("tanh", "float64", backend)
    gradient, by_inputs = net.vjp(np.empty((0, 3)), np.empty((0, 4)))
    assert not gradient.vector.any()
    assert gradient.cost == 0
    assert by_inputs.shape == (0, 3)
    assert net.jvp(np.empty((0, 3)), np.ones(net.n_parameters)).shape == (0, 4)


@every_backend
def test_what_is_refused(backend: Any) -> None:
    net = network("tanh", "float64", backend)
    X, V, v, dX = numbers(net, 5)
    before, shared = net.parameters, np.empty(44)
    refusals: list[tuple[Any, type[Exception], str]] = [
        (lambda: net.vjp(X, V[:4]), ValueError, "V has shape (4, 4); expected (5, 4), a row for"),
        (lambda: net.vjp(X[0], V), ValueError, "V has shape (5, 4); expected (4,)"),
        (lambda: net.vjp(X, V * np.nan), ValueError, "V has nan at [0, 0]; expected finite"),
        (lambda: net.vjp(X, V, out=X), TypeError, "out is ndarray; expected a tuple of two"),
        (lambda: net.vjp(X, V, out=(X, X)), ValueError, "out[0] has shape (5, 3); expected (44,"),
        (lambda: net.vjp(X, V, out=(None, X)), ValueError, "out[1] overlaps X"),
        (
            lambda: net.vjp(X, V, out=(shared[:44], shared[29:].reshape(5, 3))),
            ValueError,
            "out[1] overlaps out[0]",
        ),
        (lambda: net.jvp(X), ValueError, "v and dX are None; expected one of them at least"),
        (lambda: net.jvp(X, v[1:]), ValueError, f"v has shape ({len(v) - 1},); expected"),
        (lambda: net.jvp(X, dX=dX[0]), ValueError, "dX has shape (3,); expected (5, 3)"),
        (lambda: net.jvp(X, dX=X / 0.0 * 0), ValueError, "dX has nan at [0, 0]"),
        (lambda: net.jvp(X, v, out=V[:, ::-1]), ValueError, "out has strides"),
    ]
    for call, kind, message in refusals:
        with pytest.raises(kind, match="^" + re.escape(message)), np.errstate(all="ignore"):
            call()
    assert bits(net.parameters) == bits(before)


@every_backend
def test_overflow_is_told(backend: Any) -> None:
    net = Network((1, 1), "identity", init="zeros", backend=backend)
    net.weights[0][...] = 1e300
    with pytest.raises(FloatingPointError, match="a derivative of the outputs"):
        net.vjp([[1.0]], [[1e300]])
    with pytest.raises(FloatingPointError, match="a derivative of the outputs"):
        net.jvp([[1.0]], dX=[[1e300]])
    net.weights[0][...], net.biases[0][...] = 1.0, 1e300
    with pytest.raises(FloatingPointError, match="a derivative of the outputs"):
        net.vjp([[1.0]], [[1e10]])
