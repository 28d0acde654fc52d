"""Arithmetic of gradients: sums, multiples and inner products, beside that of their vectors."""

from __future__ import annotations

import operator
import pickle

import numpy as np
import pytest
from support import both_dtypes, data, every_backend

from cbackprop import Gradient, Network

SIZES = (3, 4, 2)


def gradients(dtype="float64", backend="compiled"):
    """A network, two gradients of it, and two of eight examples each."""
    net = Network(SIZES, dtype=dtype, seed=1, backend=backend)
    X, Y = data(16, SIZES, dtype)
    g, h = net.gradient(X[:8], Y[:8]), net.gradient(X[8:], Y[8:])
    G = net.gradient(X[:8], Y[:8], per_example=True)
    H = net.gradient(X[8:], Y[8:], per_example=True)
    return net, g, h, G, H


def assert_is(result, vector, cost):
    """A gradient of this vector, bit for bit, and this cost; its parts are views onto it."""
    assert isinstance(result, Gradient)
    assert result.vector.dtype == vector.dtype
    np.testing.assert_array_equal(result.vector, vector)
    np.testing.assert_array_equal(result.cost, cost)
    assert type(result.cost) is type(cost)
    assert np.asarray(result.cost).dtype == np.asarray(cost).dtype
    parts = [*result.weights, *result.biases]
    assert all(np.shares_memory(part, result.vector) for part in parts)
    flat = [
        p.reshape(*vector.shape[:-1], -1)
        for W, b in zip(result.weights, result.biases, strict=True)
        for p in (W, b)
    ]
    np.testing.assert_array_equal(np.concatenate(flat, axis=-1), vector)


@every_backend
@both_dtypes
def test_sums_and_multiples(dtype, backend):
    _, g, h, G, H = gradients(dtype, backend)
    before = [x.vector.copy() for x in (g, h, G, H)]
    for one, other in ((g, h), (G, H), (G, g), (g, G)):
        assert_is(one + other, one.vector + other.vector, one.cost + other.cost)
        assert_is(one - other, one.vector - other.vector, one.cost - other.cost)
    for one in (g, G):
        assert_is(-one, -one.vector, -one.cost)
        assert_is(
            sum([one, one, one]),
            one.vector + one.vector + one.vector,
            one.cost + one.cost + one.cost,
        )
        for c in (
            2,
            -0.3,
            np.float64(0.1),
            np.float32(0.1),
            np.int8(3),
            np.uint64(7),
            np.array(0.1),
        ):
            number = float(c)
            for product in (c * one, one * c, np.multiply(c, one)):
                assert_is(product, one.vector * number, one.cost * number)
            assert_is(one / c, one.vector / number, one.cost / number)
    for x, kept in zip((g, h, G, H), before, strict=True):
        np.testing.assert_array_equal(x.vector, kept)


def test_it_is_the_gradient_of_the_same_sum_of_costs():
    """Linear, as differentiation is: of batches, and of single examples."""
    net, g, h, G, _ = gradients()
    X, Y = data(16, SIZES)
    whole = (g + h) / 2
    np.testing.assert_allclose(whole.vector, net.gradient(X, Y).vector, rtol=1e-13)
    assert whole.cost == pytest.approx(net.cost(X, Y), rel=1e-14)
    unequal = (3 * net.gradient(X[:3], Y[:3]) + 13 * net.gradient(X[3:], Y[3:])) / 16
    np.testing.assert_allclose(unequal.vector, net.gradient(X, Y).vector, rtol=1e-12)
    apart = G - g
    assert np.abs(apart.vector.mean(axis=0)).max() < 1e-15
    assert apart.norm().shape == (8,)
    assert apart.weights[1].shape == (8, 2, 4)


def test_results_are_new():
    _, g, h, G, _ = gradients()
    for one in (g, G):
        for result in (0 + one, one + 0, 1 * one, one / 1, sum([one])):
            assert result is not one
            assert not np.shares_memory(result.vector, one.vector)
            assert_is(result, one.vector, one.cost)
    assert not np.shares_memory((0 + G).cost, G.cost)
    alias, kept = g, g.vector.copy()
    g += h
    assert_is(g, kept + h.vector, alias.cost + h.cost)
    np.testing.assert_array_equal(alias.vector, kept)
    g -= h
    g *= 2
    g /= 4
    np.testing.assert_allclose(g.vector, kept / 2, rtol=1e-12, atol=1e-15)
    again = pickle.loads(pickle.dumps(2 * h))
    assert_is(again, (2 * h).vector, (2 * h).cost)


def test_inner_products():
    _, g, h, G, _ = gradients()
    assert g @ h == g.vector @ h.vector
    assert (g @ g) ** 0.5 == pytest.approx(g.norm(), rel=1e-14)
    np.testing.assert_array_equal(G @ h, G.vector @ h.vector)
    assert (G @ h).shape == (8,)
    v = np.arange(g.vector.size) / 7
    assert g @ v == v @ g == g.vector @ v
    np.testing.assert_array_equal(G @ v, G.vector @ v)
    np.testing.assert_array_equal(np.ones(8) @ G, np.ones(8) @ G.vector)


BINARY = (operator.add, operator.sub, operator.mul, operator.truediv)


@both_dtypes
@pytest.mark.parametrize("of", BINARY)
def test_an_array_makes_an_array(of, dtype):
    """On either side, of parameters' shape or another that NumPy joins with the vector."""
    net, g, _, G, _ = gradients(dtype)
    w = net.parameters + np.float32(2)
    for one in (g, G):
        for array in (w, w.astype("float64"), np.ones((8, w.size)), np.ones((8, 1))):
            for result, expected in (
                (of(one, array), of(one.vector, array)),
                (of(array, one), of(array, one.vector)),
            ):
                assert type(result) is np.ndarray
                assert result.dtype == expected.dtype
                np.testing.assert_array_equal(result, expected)
    masked = np.ma.MaskedArray(w, np.arange(w.size) == 3)
    assert np.ma.getmaskarray(of(g, masked)).tolist() == masked.mask.tolist()
    w -= 0.5 * g  # in the array's own memory
    np.testing.assert_array_equal(w, net.parameters + np.float32(2) - (0.5 * g).vector)
    for wrong in (np.ones(3), np.ones((2, 2, 2))):
        with pytest.raises(ValueError, match="broadcast"):
            of(g, wrong)


def test_functions_of_numpy_take_the_vector():
    _, g, h, G, _ = gradients()
    for one in (g, G):
        for function in (np.abs, np.exp, np.isfinite, np.square, np.max, np.linalg.norm):
            result = function(one)
            assert not isinstance(result, Gradient)
            np.testing.assert_array_equal(result, function(one.vector))
        np.testing.assert_array_equal(np.sum(one, axis=0), one.vector.sum(axis=0))
        np.testing.assert_array_equal(np.add.reduce(one), one.vector.sum(axis=0))
        assert_is(np.negative(one), -one.vector, -one.cost)
    assert_is(np.add(g, h), (g + h).vector, (g + h).cost)
    out = np.empty_like(g.vector)
    assert np.multiply(g, 2, out=out) is out
    np.testing.assert_array_equal(out, 2 * g.vector)
    assert (g.vector == g).all()
    assert np.allclose(g, g.vector)
    with pytest.raises(TypeError):
        np.add(g.vector, h, out=g)


@both_dtypes
def test_unlike_gradients_are_refused(dtype):
    _, g, _, G, _ = gradients(dtype)
    other = Network([3, 5, 2], dtype=dtype, seed=0)
    as_many = Network([12, 2], dtype=dtype).gradient(np.ones(12), np.ones(2))
    X, Y = data(5, (3, 5, 2))
    fewer = Network(SIZES, dtype=dtype).gradient(X, Y, per_example=True)
    one = Network(SIZES, dtype=dtype).gradient(X[:1], Y[:1], per_example=True)
    for of in (operator.add, operator.sub, operator.matmul):
        sign = {operator.add: r"\+", operator.sub: "-", operator.matmul: "@"}[of]
        for left, right in ((g, other.gradient(X, Y)), (other.gradient(X, Y), g)):
            with pytest.raises(ValueError, match=f"^Gradient {sign} Gradient has sizes \\[3"):
                of(left, right)
    assert g.vector.shape == as_many.vector.shape  # otherwise laid out
    with pytest.raises(
        ValueError, match=r"has sizes \[3, 4, 2\] and \[12, 2\]; expected the same$"
    ):
        g + as_many
    for left, right in ((G, fewer), (G, one), (one, G)):
        for of in (operator.add, operator.sub):
            with pytest.raises(ValueError, match=r"^Gradient . Gradient has . and . examples; exp"):
                of(left, right)
    for left in (g, G):
        with pytest.raises(
            ValueError, match=r"^Gradient @ Gradient has 8 examples on the right; e"
        ):
            left @ G


@pytest.mark.parametrize("per_example", [False, True])
def test_what_is_no_number_is_refused(per_example):
    _, g, h, G, H = gradients()
    one, another = (G, H) if per_example else (g, h)
    no_numbers = (
        True,
        np.True_,
        np.array(True),
        1j,
        np.complex64(1j),
        None,
        "2",
        [1.0],
        (2,),
        {},
        np.timedelta64(1, "s"),
    )
    for value in no_numbers:
        for of in BINARY:
            with pytest.raises(TypeError):
                of(one, value)
            with pytest.raises(TypeError):
                of(value, one)
    for value in (1, -0.5, np.float64(2), np.array(3)):
        for of in (operator.add, operator.sub):
            with pytest.raises(TypeError):
                of(one, value)
            with pytest.raises(TypeError):
                of(value, one)
        with pytest.raises(TypeError):
            value / one
        with pytest.raises((TypeError, ValueError), match=r"@|enough dimensions"):
            one @ value
        with pytest.raises((TypeError, ValueError), match=r"@|enough dimensions"):
            value @ one
    for of in (operator.mul, operator.truediv, operator.pow, operator.floordiv):
        with pytest.raises(TypeError):
            of(one, another)
    for value in (np.inf, -np.inf, np.nan, np.float32("nan"), np.array(np.inf)):
        with pytest.raises(ValueError, match=r"^the factor of a Gradient is .*inf|nan"):
            one * value
        with pytest.raises(ValueError, match=r"expected a finite number"):
            value * one
        with pytest.raises(ValueError, match=r"^the divisor of a Gradient is "):
            one / value
    for zero in (0, 0.0, -0.0, np.float32(0), np.array(0)):
        with pytest.raises(ZeroDivisionError, match=r"^the divisor of a Gradient is -?0$"):
            one / zero
    with pytest.raises(TypeError):
        sum([one, another], 1)


@pytest.mark.parametrize("seed", range(20))
def test_drawn_expressions(seed):
    """Sums of multiples, grouped at random, are those of their vectors and costs."""
    random = np.random.default_rng(seed)
    dtype = ("float32", "float64")[seed % 2]
    sizes = tuple(int(n) for n in random.integers(1, 5, random.integers(2, 5)))
    net = Network(sizes, dtype=dtype, seed=seed)
    n = int(random.integers(1, 5))
    terms = []
    for _ in range(8):
        X, Y = random.random((n, sizes[0])), random.random((n, sizes[-1]))
        g = net.gradient(X, Y, per_example=bool(random.integers(2)))
        terms.append((g, g.vector, g.cost))
    while len(terms) > 1:
        (g, v, C), (h, u, D) = terms.pop(0), terms.pop(0)
        c = (int, float, np.float32, np.float64)[random.integers(4)](random.integers(1, 9))
        choice = random.integers(4)
        if choice == 0:
            result = (g + c * h, v + u * float(c), C + D * float(c))
        elif choice == 1:
            result = (g / c - h, v / float(c) - u, C / float(c) - D)
        elif choice == 2:
            result = (-(g * c) + h, -(v * float(c)) + u, -(C * float(c)) + D)
        else:
            result = (sum([g, h]), v + u, C + D)
        terms.append(result)
    ((result, vector, cost),) = terms
    assert result.vector.dtype == dtype
    np.testing.assert_array_equal(result.vector, vector)
    np.testing.assert_array_equal(result.cost, cost)
    assert result.weights[0].shape[-2:] == (sizes[1], sizes[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_beyond_the_number_type(dtype):
    """A number that the type does not have is no infinity, and what vanishes raises nothing."""
    net = Network([2, 3, 1], dtype=dtype, seed=0)
    g = net.gradient(np.eye(2), np.ones((2, 1)))
    g.vector[0] = 0
    with np.errstate(all="raise"):
        small = g * 1e-30
        back = small * 1e40
        assert back.vector[0] == 0
        np.testing.assert_allclose(back.vector, g.vector.astype(np.float64) * 1e10, rtol=1e-6)
        assert not (g / 1e300 / 1e300).vector.any()
        with pytest.raises(FloatingPointError, match="overflows"):
            g * 1e300 * 1e300


@every_backend
@both_dtypes
def test_what_does_not_fit_is_an_error_of_every_operator(dtype, backend):
    """In the vector or in the cost alone, of one gradient and of one for each example."""
    _, g, _, G, _ = gradients(dtype, backend)
    factor = np.finfo(dtype).max * 0.9

    def enlarged(one):
        result = one * 1
        result.vector[...] = one.vector / np.abs(one.vector).max() * factor
        return result

    for one in (g, G):
        large = enlarged(one)
        for act in (
            lambda x: x + x,
            lambda x: x - -x,
            lambda x: 3 * x,
            lambda x: x / 0.1,
            lambda x: sum([x, x]),
            lambda x: np.add(x, x),
            lambda x: x @ enlarged(g),
        ):
            before = large.vector.copy()
            with pytest.raises(FloatingPointError, match=f"overflows {dtype}; expected a finite"):
                act(large)
            np.testing.assert_array_equal(large.vector, before)
        dear = one * 0
        dear.cost = one.cost * 0 + np.finfo(np.asarray(one.cost).dtype).max
        for act in (lambda x: x + x, lambda x: x - -x, lambda x: 3 * x, lambda x: x / 0.1):
            with pytest.raises(FloatingPointError, match=r"cost.* overflows"):
                act(dear)
        # What is none before is NumPy's.
        dear.cost = one.cost * 0 + np.inf
        assert np.isinf((dear + dear).cost).all()
        large.vector[..., 0] = np.inf
        assert np.isinf((large * 2).vector[..., 0]).all()


def test_a_plus_before_it():
    _, g, _, G, _ = gradients()
    for one in (g, G):
        for result in (+one, np.positive(one)):
            assert_is(result, one.vector, one.cost)
            assert not np.shares_memory(result.vector, one.vector)
