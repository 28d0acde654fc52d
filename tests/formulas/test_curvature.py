"""Products with the curvature, and second derivatives, against the independent truth of oracle.py.

1. Values.
2. Saturated units.
3. What must hold exactly, or to rounding.
4. A hundred layers.
"""

from __future__ import annotations

import functools
from typing import Any

import mpmath
import numpy as np
import oracle
import pytest
from small_networks import (
    COSTS,
    COUPLED,
    NETWORKS,
    SINE,
    SIZES,
    SMALL,
    as_longdouble,
    assert_within,
    every_activation,
    every_pair,
    layers_of,
    make_network,
    model_of,
    part_sizes,
    small_case,
    smallest,
    truth_case,
    unit_roundoff,
)
from support import ELEMENTWISE, Array, both_dtypes, data, every_backend

from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers


@functools.cache
def true_products(activation: str, cost: str) -> tuple[Array, Array]:
    """Every H_i v and G_i v, (n, P)."""
    model, X, Y, v = truth_case(activation, cost)
    H = oracle.hessian_vector_products(model, X, Y, v)
    G = oracle.gauss_newton_products(model, X, Y, v)
    return as_longdouble(H), as_longdouble(G)


TRUTH = 1e-40  # more than the error of the nudges of many digits


# ---- 1. values -----------------------------------------------------------------------------------


@every_pair
@both_dtypes
@every_backend
def test_hessian_vector_product_of_every_activation_and_cost(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    net, _, X, Y, v = small_case(activation, cost, dtype, backend)
    truth = true_products(activation, cost)[0]
    product = net.hessian_vector_product(X, Y, v)
    assert (product.dtype, product.shape) == (np.dtype(dtype), v.shape)
    # The examples' own sizes: their mean may be small.
    tolerance = SMALL * unit_roundoff(dtype) * part_sizes(truth, SIZES).mean(axis=0) + TRUTH
    assert_within(product, truth.mean(axis=0), tolerance)


@every_pair
@both_dtypes
@every_backend
def test_gauss_newton_vector_product_of_every_activation_and_cost(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    net, _, X, Y, v = small_case(activation, cost, dtype, backend)
    truth = true_products(activation, cost)[1]
    product = net.gauss_newton_vector_product(X, Y, v)
    assert (product.dtype, product.shape) == (np.dtype(dtype), v.shape)
    if cost == "mae":  # piecewise linear
        assert (product == 0).all()
        return
    assert float(np.abs(truth).max()) > 1e-3
    # The examples' own sizes: their mean may be small.
    tolerance = SMALL * unit_roundoff(dtype) * part_sizes(truth, SIZES).mean(axis=0) + TRUTH
    assert_within(product, truth.mean(axis=0), tolerance)


@every_activation
@pytest.mark.parametrize("cost", ["quadratic", "coupled"])
def test_two_ways_to_second_derivatives_agree(activation: str, cost: str) -> None:
    """The truth itself: nudges of many digits against one more nudge of the complex steps."""
    model, X, Y, v = truth_case(activation, cost)
    h = 1e-5

    def gradient(r: float) -> Array:
        moved = oracle.displaced(oracle.COMPLEX, model, v, np.longdouble(r))
        return oracle.gradients(moved, X, Y)

    def central(size: float) -> Array:
        return (gradient(size) - gradient(-size)) / (2 * size)

    # h² cancels and h⁴ is 1e-20; rounding is 1e-16/h at the worst, where long double is double. A
    # kink that was stepped over would be off by far more.
    truth = true_products(activation, cost)[0]
    difference = (4 * central(h / 2) - central(h)) / 3
    assert_within(difference, truth, 1e-9 * np.abs(truth).max())


# ---- 2. saturation -------------------------------------------------------------------------------

# Relative errors in u: 16 for δ (test_calculus.py), which has one slope; two of them here.
FEW = 32.0


def saturated_z(dtype: str) -> list[float]:
    if dtype == "float32":
        return [-80.0, -20.0, 20.0, 80.0]
    return [-700.0, -40.0, -20.0, 20.0, 40.0, 700.0]


def one_layer(
    z: list[float], activation: str, cost: str, dtype: str, backend: str
) -> tuple[Network, Array]:
    """A network 1-k and an input with exactly these weighted inputs: z/2 · 1 + z/2."""
    net = make_network((1, len(z)), [activation], cost, dtype, backend, init="zeros")
    net.weights[0][:, 0] = np.array(z) / 2
    net.biases[0][...] = np.array(z) / 2
    return net, np.ones((1, 1), dtype)


def direction(k: int) -> Array:
    """For a network 1-k: R{z_j} is the sum of two of these, and never 0."""
    return np.array([*(1.0 + j % 3 for j in range(k)), *(0.5 - 0.25 * (j % 2) for j in range(k))])


@functools.cache
def true_saturated(
    z: tuple[float, ...], activation: str, cost: str, y: tuple[float, ...]
) -> tuple[Array, Array, Array]:
    """C_i, and Hv and Gv of the biases of `one_layer`; those of the weights are the same."""
    half = np.array(z) / 2
    model = oracle.Model([half[:, np.newaxis]], [half], [activation], cost)
    case = (model, np.ones((1, 1)), np.array([y]), direction(len(z)))
    digits = oracle.MORE_DIGITS if cost == "poisson" else oracle.ALL_DIGITS
    H = oracle.hessian_vector_products(*case, digits)[0]
    G = oracle.gauss_newton_products(*case, digits)[0]
    with mpmath.workdps(oracle.DIGITS):
        C = oracle.run(oracle.MANY_DIGITS, *case[:3])[2][0, 0]
    return C, H[len(z) :], G[len(z) :]


@functools.cache
def slopes_of(activation: str, z: float) -> tuple[Any, Any, Any]:
    """σ, σ′ and σ″ by nudges in many digits."""
    with mpmath.workdps(oracle.DIGITS):
        h = mpmath.mpf(10) ** -100
        points = np.array([mpmath.mpf(z) + s * h for s in (1, 0, -1)], dtype=object)
        above, here, below = oracle.activation(oracle.MANY_DIGITS, activation, points)
        return here, (above - below) / (2 * h), (above - 2 * here + below) / (h * h)


def cost_sizes(cost: str, a: Any, y: float, n: int) -> tuple[Any, Any]:
    """|∂C/∂a| with the error of a − y, which is of the size of a and y, and |∂²C/∂a²| likewise."""
    r = abs(a) + y
    return {
        "quadratic": (2 * r, 2),
        "half_quadratic": (r, 1),
        "mse": (2 * r / n, mpmath.mpf(2) / n),
        "mae": (mpmath.mpf(1) / n, 0),
        "huber": (min(r, 1) / n, mpmath.mpf(1) / n if r <= 2 else 0),
        "quartic": (4 * r**3, 12 * r**2),
        "coupled": (4 * r**3, 12 * r**2),
    }[cost]


def assert_relative(values: Array, truth: Array, sizes: list[Any], what: str) -> None:
    """|value − truth| ≤ FEW u · size, and two subnormal steps."""
    u, step = unit_roundoff(values.dtype), smallest(values.dtype)
    with mpmath.workdps(60):
        for j, (value, true, size) in enumerate(zip(values.tolist(), truth, sizes, strict=True)):
            error = abs(mpmath.mpf(value) - true)
            limit = FEW * u * size + 2 * step
            assert error <= limit, f"{what}, unit {j}: {value} for {mpmath.nstr(true, 20)}"


def both_products(net: Network, X: Array, Y: Array, v: Array) -> list[Array]:
    """Hv and Gv of the biases of a network 1-k, whose weights' are the same."""
    result = []
    for call in (net.hessian_vector_product, net.gauss_newton_vector_product):
        with np.errstate(all="raise", under="ignore"):
            product = call(X, Y, v)
        k = len(v) // 2
        assert product[:k].tobytes() == product[k:].tobytes()
        result.append(product[k:])
    return result


@pytest.mark.parametrize("activation", [*ELEMENTWISE, "sine"])
@pytest.mark.parametrize("cost", COSTS[:-1])
@both_dtypes
@every_backend
def test_saturated_curvature_of_every_kind(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    """Hv = (∂²C/∂a² σ′² + ∂C/∂a σ″) R{z} within a few u of its two terms' sizes."""
    for z in saturated_z(dtype):
        C, H, G = true_saturated((z,), activation, cost, (0.25,))
        a, slope, second = slopes_of(activation, z)
        first, curvature = cost_sizes(cost, a, 0.25, 1)
        sizes = [1.5 * (curvature * slope**2 + first * abs(second))]
        if max(abs(C), abs(H[0]), 100 * sizes[0]) > float(np.finfo(dtype).max):
            continue
        if activation == "sine":
            # sin z of a z whose rounding is that of 1.5 z: NumPy's own error, and its second
            # derivative is −sin.
            sizes = [1.5 * (curvature + first)]
        net, X = one_layer([z], activation, cost, dtype, backend)
        products = both_products(net, X, np.full((1, 1), 0.25, dtype), direction(1).astype(dtype))
        assert_relative(products[0], H, sizes, f"Hv at z = {z}")
        assert_relative(products[1], G, [1.5 * curvature * slope**2], f"Gv at z = {z}")


@pytest.mark.parametrize("activation", [*ELEMENTWISE, "sine"])
@both_dtypes
@every_backend
def test_second_derivatives_alone(activation: str, dtype: str, backend: str) -> None:
    """σ″ with every digit, where it passes through 0 with z too: not 1 − 2a, which cancels."""
    z = [s * w for w in (2.0**-40, 2.0**-20, 2.0**-7, 0.5, 1.0, 3.0, 8.0) for s in (-1, 1)]
    net, X = one_layer(z, activation, "linear", dtype, backend)
    v = direction(len(z))
    products = both_products(net, X, np.zeros((1, len(z)), dtype), v.astype(dtype))
    assert (products[1] == 0).all()
    R_z = v[: len(z)] + v[len(z) :]
    with mpmath.workdps(60):
        truth = np.array([slopes_of(activation, w)[2] * R for w, R in zip(z, R_z, strict=True)])
        assert_relative(products[0], truth, [abs(t) for t in truth], activation)


@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
@both_dtypes
@every_backend
def test_saturated_sigmoid_with_cross_entropy(y: float, dtype: str, backend: str) -> None:
    """∂²C/∂z² is σ′, whatever y: both products have every digit of it, and are the same."""
    z = saturated_z(dtype)
    net, X = one_layer(z, "sigmoid", "cross_entropy", dtype, backend)
    v = direction(len(z))
    products = both_products(net, X, np.full((1, len(z)), y, dtype), v.astype(dtype))
    with mpmath.workdps(400):
        R_z = v[: len(z)] + v[len(z) :]
        truth = np.array([slopes_of("sigmoid", w)[1] * R for w, R in zip(z, R_z, strict=True)])
        for product in products:
            assert_relative(product, truth, [abs(t) for t in truth], f"y = {y}")
    # One unit alone by the definitions: the sum above has every digit of each.
    _, H, G = true_saturated((40.0,), "sigmoid", "cross_entropy", (1.0,))
    with mpmath.workdps(60):
        assert abs(H[0] - G[0]) <= 1e-50
        assert abs(H[0] - 1.5 * slopes_of("sigmoid", 40.0)[1]) <= 1e-50


@pytest.mark.parametrize("activation", ["exponential", "softplus", "sigmoid"])
@pytest.mark.parametrize("y", [0.0, 1.0, 3.0])
@both_dtypes
@every_backend
def test_saturated_poisson(activation: str, y: float, dtype: str, backend: str) -> None:
    """At z = −600 softplus and its logarithm's derivatives are e^z and 1, to the last digit."""
    for z in (*saturated_z(dtype), -600.0 if dtype == "float64" else -60.0):
        net, X = one_layer([z], activation, "poisson", dtype, backend)
        products = both_products(net, X, np.full((1, 1), y, dtype), direction(1).astype(dtype))
        _, H, G = true_saturated((z,), activation, "poisson", (y,))
        sizes = [abs(H[0])]
        if activation == "sigmoid":  # σ″ + y σ′ cancels at y = 1, z > 0
            sizes = [1.5 * (1 + y) * slopes_of("sigmoid", z)[1]]
        assert_relative(products[0], H, sizes, f"Hv at z = {z}")
        assert_relative(products[1], G, [abs(G[0])], f"Gv at z = {z}")


def softmax_sizes(
    cost: str, z: list[float], y: tuple[float, ...], R_z: list[float]
) -> tuple[list[Any], list[Any]]:
    """The sizes of R{δ}'s terms, all of them and those that Gauss–Newton keeps."""
    n = len(z)
    e = [mpmath.exp(mpmath.mpf(w)) for w in z]
    a = [w / sum(e) for w in e]

    def spread(x: list[Any]) -> list[Any]:
        """x_j Σ_{i≠j} a_i + Σ_{i≠j} a_i x_i, of x_j − Σ a x, for x ≥ 0."""
        return [sum(a[i] * (x[i] + x[j]) for i in range(n) if i != j) for j in range(n)]

    t = spread(R_z)
    R_a = [a[j] * t[j] for j in range(n)]
    if cost == "cross_entropy":
        return [R * sum(y) for R in R_a], [R * sum(y) for R in R_a]
    if cost == "poisson":
        kept = [
            sum(a[i] * y[j] * t[j] + a[j] * y[i] * t[i] for i in range(n) if i != j) / n
            for j in range(n)
        ]
        return [R * sum(y) / n for R in R_a], kept
    sizes = [cost_sizes(cost, a[j], y[j], n) for j in range(n)]
    g, h = [first for first, _ in sizes], [sizes[j][1] * R_a[j] for j in range(n)]
    if cost == "coupled":
        r = [a[j] + y[j] for j in range(n)]
        square = sum(r_j**2 for r_j in r)
        g = [4 * square * r_j for r_j in r]
        inner = sum(r[j] * R_a[j] for j in range(n))
        h = [4 * square * R_a[j] + 8 * r[j] * inner for j in range(n)]
    kept = [a[j] * size for j, size in enumerate(spread(h))]
    u = spread(g)
    whole = [a[j] * size for j, size in enumerate(spread([h[j] + t[j] * u[j] for j in range(n)]))]
    return whole, kept


@pytest.mark.parametrize("cost", [*COSTS, "cross_entropy", "poisson"])
@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
@both_dtypes
@every_backend
def test_saturated_softmax(cost: str, y: float, dtype: str, backend: str) -> None:
    """R{δ} within a few u of the sum of its terms' sizes, products of sums over the others."""
    if cost == "mae" and y == 1.0:
        y = 0.75  # at a = 1 to rounding the sign of a − 1 is lost, and is all there is of mae′
    largest = saturated_z(dtype)[-1]
    for z in ([largest, 0.0, -largest], [0.0, -largest / 4, 1.0], [20.0, 0.5, 19.0]):
        net, X = one_layer(z, "softmax", cost, dtype, backend)
        targets = (y, 1 - y, 0.0)
        v = direction(3)
        products = both_products(net, X, np.array([targets], dtype), v.astype(dtype))
        _, H, G = true_saturated(tuple(z), "softmax", cost, targets)
        with mpmath.workdps(oracle.DIGITS):
            whole, kept = softmax_sizes(cost, z, targets, np.abs(v[:3] + v[3:]).tolist())
        assert_relative(products[0], H, whole, f"Hv, z = {z}")
        assert_relative(products[1], G, kept, f"Gv, z = {z}")


@pytest.mark.parametrize("activation", [*ELEMENTWISE, "sine"])
@both_dtypes
@every_backend
def test_saturated_hidden_units(activation: str, dtype: str, backend: str) -> None:
    """R{δ_j} = (w_j R{δ} + v_j δ) σ′ + w_j δ σ″ R{z_j}, of every hidden unit to its own digits."""
    # Large values would swamp the output, which is no one's fault.
    z = [w for w in saturated_z(dtype) if abs(float(slopes_of(activation, w)[0])) < 1e3]
    k = len(z)
    net = make_network((1, k, 1), [activation, "identity"], "half_quadratic", dtype, backend)
    half = np.array(z) / 2
    W2 = np.array([0.25 + 0.125 * (j % 3) for j in range(k)])
    net.parameters = np.concatenate([half, half, W2, [0.5]])
    v1, v2 = direction(k), np.array([0.5 + 0.25 * (j % 2) for j in range(k)])
    v = np.concatenate([v1, v2, [-0.25]])
    X, Y = np.ones((1, 1)), np.array([[0.75]])
    model = model_of(net, [activation, "identity"], "half_quadratic")
    H = oracle.hessian_vector_products(model, X, Y, v, oracle.ALL_DIGITS)[0]
    G = oracle.gauss_newton_products(model, X, Y, v, oracle.ALL_DIGITS)[0]
    with mpmath.workdps(oracle.DIGITS):
        a, slope, second = ([slopes_of(activation, w)[i] for w in z] for i in range(3))
        if activation == "sine":  # as above: NumPy's sin of a rounded argument
            slope, second = [1] * k, [1] * k
        R_z = v1[:k] + v1[k:]
        delta = sum(abs(w * a_j) for w, a_j in zip(W2, a, strict=True)) + 1.25
        R_delta = sum(W2[j] * abs(slope[j]) * R_z[j] + v2[j] * abs(a[j]) for j in range(k)) + 0.25
        kept = [W2[j] * R_delta * abs(slope[j]) for j in range(k)]
        whole = [
            kept[j] + v2[j] * delta * abs(slope[j]) + W2[j] * delta * abs(second[j]) * R_z[j]
            for j in range(k)
        ]
    # The output's sums run over k units.
    for call, truth, sizes in (
        (net.hessian_vector_product, H, whole),
        (net.gauss_newton_vector_product, G, kept),
    ):
        with np.errstate(all="raise", under="ignore"):
            product = call(X, Y, v)
        assert_relative(product[k : 2 * k], truth[k : 2 * k], sizes, str(call.__name__))
        assert product[:k].tobytes() == product[k : 2 * k].tobytes()


@pytest.mark.parametrize("activation", ELEMENTWISE)
@both_dtypes
@every_backend
def test_curvature_far_out(activation: str, dtype: str, backend: str) -> None:
    """z beyond the root of the largest number: nothing that vanishes is multiplied by infinity."""
    large = float(np.finfo(dtype).max) ** 0.75
    for z in (-large, large):
        if activation == "exponential" and z > 0:
            continue
        sizes = (1, 1, 1)
        net = make_network(sizes, [activation, "identity"], "huber", dtype, backend, init="zeros")
        net.biases[0][...] = z
        X, Y = np.ones((1, 1), dtype), np.zeros((1, 1), dtype)
        v = np.array([1.0, 1, 0, 0], dtype)
        for call in (net.hessian_vector_product, net.gauss_newton_vector_product):
            # w = 0 behind the unit: nothing of what it does is felt.
            with np.errstate(all="raise", under="ignore"):
                assert (call(X, Y, v)[:2] == 0).all()


# ---- 3. what must hold exactly -------------------------------------------------------------------

CURVED_NETWORKS: list[tuple[tuple[int, ...], Any, Any]] = [
    *NETWORKS,
    ((4, 6, 5, 3), ["gelu", "silu", "softmax"], "poisson"),
    ((4, 6, 5, 3), ["softplus", "tanh", "sigmoid"], "cross_entropy"),
    ((4, 6, 5, 3), ["elu", "softsign", "identity"], COUPLED),
    ((4, 6, 5, 3), [SINE, SINE, "exponential"], "poisson"),
]
each_curved_network = pytest.mark.parametrize(
    ("sizes", "activation", "cost"), CURVED_NETWORKS, ids=map(str, range(len(CURVED_NETWORKS)))
)


def curved(
    sizes: tuple[int, ...], activation: Any, cost: Any, dtype: str, backend: str
) -> tuple[Network, Array, Array, Array, Array]:
    """A network, 30 examples and two directions."""
    net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=3)
    random = RandomNumbers(4)
    u, v = random.normal(2 * net.n_parameters).astype(dtype).reshape(2, -1)
    return net, *data(30, sizes, dtype), u, v


@each_curved_network
@pytest.mark.parametrize("call", ["hessian_vector_product", "gauss_newton_vector_product"])
@both_dtypes
@every_backend
def test_curvature_products_are_linear_and_symmetric(
    sizes: tuple[int, ...], activation: Any, cost: Any, call: str, dtype: str, backend: str
) -> None:
    net, X, Y, u, v = curved(sizes, activation, cost, dtype, backend)
    product = functools.partial(getattr(net, call), X, Y)
    Au, Av = product(u), product(v)
    assert np.abs(Au).max() > 1e-6
    # Multiplied by a power of two nothing is rounded anew.
    assert product(4 * v).tobytes() == (4 * Av).tobytes()
    assert (product(-v) == -Av).all()
    assert (product(0 * v) == 0).all()
    # Av is off by a SMALL share of its part's largest number for each three layers; examples may
    # cancel, so that the mean of their own products' sizes counts.
    alone = [[getattr(net, call)(x, y, w) for x, y in zip(X, Y, strict=True)] for w in (u, v)]
    limit = SMALL * max(1, len(sizes) / 4) * unit_roundoff(dtype)
    off_u, off_v = (limit * part_sizes(np.array(each), sizes).mean(axis=0) for each in alone)
    mixed = product(u + 2 * v)
    # The direction u + 2v is rounded: a product of a direction of u's size, times u.
    assert_within(mixed, Au.astype(np.longdouble) + 2 * Av, 2 * (off_u + 2 * off_v))
    symmetric = np.dot(u.astype(np.longdouble), Av) - np.dot(v.astype(np.longdouble), Au)
    assert abs(symmetric) <= np.abs(u) @ off_v + np.abs(v) @ off_u
    # The mean's product is the mean of the examples' own.
    mean = np.mean(np.array(alone[1], np.longdouble), axis=0)
    assert_within(Av, mean, 2 * off_v)


@each_curved_network
@both_dtypes
@every_backend
def test_gauss_newton_has_no_negative_curvature(
    sizes: tuple[int, ...], activation: Any, cost: Any, dtype: str, backend: str
) -> None:
    """v·Gv ≥ 0 for these convex costs, in every direction; the Hessian is not so."""
    net, X, Y, _, _ = curved(sizes, activation, cost, dtype, backend)
    random = RandomNumbers(5)
    for _ in range(20):
        v = random.normal(net.n_parameters).astype(dtype)
        Gv = net.gauss_newton_vector_product(X, Y, v).astype(np.float64)
        # Far from rounding's own sign: Σ h (Jv)² is a sum of squares.
        assert np.dot(v.astype(np.float64), Gv) > 0
    if len(sizes) > 2:
        # Moving w of one layer and w of the next one together bends the cost as one likes.
        worst = min(
            np.dot(v, net.hessian_vector_product(X, Y, v).astype(np.float64))
            for v in random.normal(200 * net.n_parameters).reshape(200, -1).astype(dtype)
        )
        G_worst = min(
            np.dot(v, net.gauss_newton_vector_product(X, Y, v).astype(np.float64))
            for v in random.normal(20 * net.n_parameters).reshape(20, -1).astype(dtype)
        )
        assert worst < G_worst


@pytest.mark.parametrize(
    ("activation", "cost"),
    [
        ("identity", "quadratic"),
        ("identity", "half_quadratic"),
        ("identity", COUPLED),
        ("sigmoid", "cross_entropy"),
        ("softmax", "cross_entropy"),
    ],
)
@both_dtypes
@every_backend
def test_gauss_newton_is_the_hessian_of_a_linear_network(
    activation: str, cost: Any, dtype: str, backend: str
) -> None:
    """One layer, and what the cost is taken to be a function of is linear in the parameters."""
    net, X, Y, _, v = curved((6, 4), activation, cost, dtype, backend)
    H = net.hessian_vector_product(X, Y, v)
    size = np.abs(H).max()
    assert_within(net.gauss_newton_vector_product(X, Y, v), H, SMALL * unit_roundoff(dtype) * size)
    # And with a layer below it is not.
    net, X, Y, _, v = curved((6, 5, 4), ["tanh", activation], cost, dtype, backend)
    H = net.hessian_vector_product(X, Y, v)
    G = net.gauss_newton_vector_product(X, Y, v)
    assert np.abs(H - G).max() > 1e-3 * np.abs(H).max()


@pytest.mark.parametrize(
    ("activation", "cost", "factor"),
    [
        ("tanh", "quadratic", 2.0),
        ("softmax", "quadratic", 2.0),
        ("gelu", "half_quadratic", 1.0),
        ("sigmoid", "mse", 2 / 3),
    ],
)
@both_dtypes
@every_backend
def test_gauss_newton_is_the_jacobians_product_with_itself(
    activation: str, cost: str, factor: float, dtype: str, backend: str
) -> None:
    net, X, Y, _, v = curved((4, 6, 5, 3), layers_of(activation, 3), cost, dtype, backend)
    J = net.jacobian(X).astype(np.float64).reshape(-1, net.n_parameters)
    truth = factor / len(X) * (J.T @ (J @ v.astype(np.float64)))
    size = factor / len(X) * (np.abs(J.T) @ np.abs(J @ v.astype(np.float64)))
    got = net.gauss_newton_vector_product(X, Y, v)
    tolerance = SMALL * unit_roundoff(dtype) * part_sizes(size, net.sizes)
    assert_within(got, truth, tolerance)


# ---- 4. a hundred layers -------------------------------------------------------------------------


def a_hundred_layers(dtype: str, backend: str) -> tuple[Network, Array, Array, Array]:
    """A network of width 1, identity in every layer; X, Y and a direction v."""
    sizes = (1,) * 101
    net = Network(sizes, "identity", "quadratic", dtype=dtype, backend=backend, init="zeros")
    weights = np.array([1.125 if l % 2 else 0.875 for l in range(100)])
    net.parameters = np.stack([weights, np.full(100, 0.03125)], axis=1).ravel()
    # All positive: no sum cancels.
    return net, np.array([[0.75]]), np.array([[-0.5]]), np.tile([0.5, 0.25], 100)


@functools.cache
def true_products_of_a_hundred_layers() -> tuple[Array, Array]:
    """H v and G v; the numbers above are the same in float32."""
    net, X, Y, v = a_hundred_layers("float64", "reference")
    model = model_of(net, ["identity"] * 100, "quadratic")
    H = oracle.hessian_vector_products(model, X, Y, v)[0]
    return as_longdouble(H), as_longdouble(oracle.gauss_newton_products(model, X, Y, v)[0])


@both_dtypes
@every_backend
def test_the_hessian_of_a_hundred_layers(dtype: str, backend: str) -> None:
    """Each entry is a product of a hundred weights or a sum of such products."""
    net, X, Y, v = a_hundred_layers(dtype, backend)
    calls = (net.hessian_vector_product, net.gauss_newton_vector_product)
    for call, truth in zip(calls, true_products_of_a_hundred_layers(), strict=True):
        assert (truth > 0).all()
        # Each layer's z, R{z}, δ and R{δ} round a handful of times: under 16u a layer, relatively.
        assert_within(call(X, Y, v), truth, 16 * 100 * unit_roundoff(dtype) * truth)
