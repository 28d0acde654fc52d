"""Derivatives beyond the gradient, both backends against the independent truth of oracle.py.

1. Values: clipped gradients, inner products, moments, derivatives by the input, curvature products.
2. Saturated units.
3. What must hold exactly: to the bit where it is promised, to rounding elsewhere.
4. Edges: one example, width 1, a hundred layers, numbers at both ends of the number type.
5. Memory.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import oracle
import pytest

import cbackprop
from cbackprop import Activation, Cost, Network
from cbackprop.random_numbers import RandomNumbers

Array = np.ndarray[Any, np.dtype[Any]]

ELEMENTWISE = (
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "softsign",
    "exponential",
    "identity",
)
COSTS = ("quadratic", "half_quadratic", "mse", "mae", "huber", "quartic", "coupled")
PAIRS = [
    *[(activation, cost) for activation in (*ELEMENTWISE, "softmax", "sine") for cost in COSTS],
    ("sigmoid", "cross_entropy"),
    ("softmax", "cross_entropy"),
    *[(activation, "poisson") for activation in ("exponential", "softplus", "sigmoid", "softmax")],
]
CONVEX = ("quadratic", "half_quadratic", "mse", "mae", "huber", "quartic", "coupled")
BACKENDS = ("compiled", "reference")
SIZES = (3, 4, 3, 3)

SINE = Activation(np.sin, np.cos, "sine", second_derivative=lambda z: -np.sin(z))
QUARTIC = Cost(
    lambda a, y: np.sum((a - y) ** 4, axis=1),
    lambda a, y: 4 * (a - y) ** 3,
    "quartic",
    hessian_vector_product=lambda a, y, v: 12 * (a - y) ** 2 * v,
)


def _square(r: Array) -> Array:
    return np.sum(r * r, axis=1, keepdims=True)


# (Σ_j (a_j − y_j)²)²: its Hessian is no diagonal.
COUPLED = Cost(
    lambda a, y: _square(a - y)[:, 0] ** 2,
    lambda a, y: 4 * _square(a - y) * (a - y),
    "coupled",
    hessian_vector_product=lambda a, y, v: (
        4 * _square(a - y) * v + 8 * (a - y) * np.sum((a - y) * v, axis=1, keepdims=True)
    ),
)
# The targets become the δ of the output, whatever they are.
FREE = Cost(lambda a, y: np.zeros(len(a)), lambda a, y: y, "free")

both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_pair = pytest.mark.parametrize(("activation", "cost"), PAIRS)
every_activation = pytest.mark.parametrize("activation", [*ELEMENTWISE, "softmax", "sine"])
needs_compiled = pytest.mark.skipif(
    cbackprop.info()["backend"] != "compiled", reason="the compiled core is not built here"
)


@pytest.fixture(autouse=True)
def _compiled_core_or_skip(request: pytest.FixtureRequest) -> None:
    if "backend" in request.fixturenames and request.getfixturevalue("backend") == "compiled":
        if cbackprop.info()["backend"] != "compiled":
            pytest.skip("the compiled core is not built here")


def unit_roundoff(dtype: Any) -> float:
    return float(np.finfo(dtype).eps) / 2


def smallest(dtype: Any) -> float:
    return float(np.finfo(dtype).smallest_subnormal)


def make_network(
    sizes: tuple[int, ...],
    activations: list[str],
    cost: str,
    dtype: str,
    backend: str,
    **other: Any,
) -> Network:
    return Network(
        sizes,
        [SINE if name == "sine" else name for name in activations],
        {"quartic": QUARTIC, "coupled": COUPLED, "free": FREE}.get(cost, cost),
        dtype=dtype,
        backend=backend,
        **other,
    )


def layers_of(activation: str, n_layers: int) -> list[str]:
    """The activation in every layer; tanh below a softmax, which may only come last."""
    return [*["tanh" if activation == "softmax" else activation] * (n_layers - 1), activation]


def model_of(net: Network, activations: list[str], cost: str) -> oracle.Model:
    return oracle.Model(
        [W.astype(np.float64) for W in net.weights],
        [b.astype(np.float64) for b in net.biases],
        activations,
        cost,
    )


def data(n: int, sizes: tuple[int, ...], dtype: str, seed: int = 5) -> tuple[Array, Array]:
    random = RandomNumbers(seed)
    X = random.normal(n * sizes[0]).reshape(n, sizes[0])
    Y = random.uniform(n * sizes[-1]).reshape(n, sizes[-1])
    return X.astype(dtype), Y.astype(dtype)


def small_case(
    activation: str, cost: str, dtype: str, backend: str
) -> tuple[Network, list[str], Array, Array, Array]:
    """A network, its activations, X, Y and a direction v. All numbers are float32's, so that both
    number types have the same truth."""
    activations = layers_of(activation, len(SIZES) - 1)
    net = make_network(SIZES, activations, cost, dtype, backend, seed=7, init="glorot")
    random = RandomNumbers(11)
    for b in net.biases:
        b[...] = 0.3 * random.normal(len(b))
    # Milder for exponential, whose outputs and errors multiply from layer to layer.
    scale = 0.5 if activation == "exponential" else 1.0
    net.parameters = scale * net.parameters.astype(np.float32)
    X = random.normal(2 * SIZES[0]).astype(np.float32).reshape(2, SIZES[0])
    Y = np.array([[0.25, 0.5, 0.25], [0.0625, 0.875, 0.75]])
    v = random.normal(net.n_parameters).astype(np.float32)
    return net, activations, X.astype(dtype), Y.astype(dtype), v.astype(dtype)


def truth_case(activation: str, cost: str) -> tuple[oracle.Model, Array, Array, Array]:
    net, activations, X, Y, v = small_case(activation, cost, "float64", "reference")
    return model_of(net, activations, cost), X, Y, v


@functools.cache
def true_gradients(activation: str, cost: str) -> Array:
    model, X, Y, _ = truth_case(activation, cost)
    return oracle.gradients(model, X, Y)


def as_longdouble(numbers: Array) -> Array:
    with mpmath.workdps(40):
        values = [np.longdouble(mpmath.nstr(number, 25)) for number in numbers.ravel()]
    return np.array(values, np.longdouble).reshape(numbers.shape)


@functools.cache
def true_products(activation: str, cost: str) -> tuple[Array, Array]:
    """Every H_i v and G_i v, (n, P)."""
    model, X, Y, v = truth_case(activation, cost)
    H = oracle.hessian_vector_products(model, X, Y, v)
    G = oracle.gauss_newton_products(model, X, Y, v)
    return as_longdouble(H), as_longdouble(G)


def slices(sizes: tuple[int, ...]) -> list[slice]:
    """W and b of every layer in (…, P)."""
    result, start = [], 0
    for n_in, n_out in itertools.pairwise(sizes):
        for width in (n_in * n_out, n_out):
            result.append(slice(start, start + width))
            start += width
    return result


def part_sizes(vector: Array, sizes: tuple[int, ...]) -> Array:
    """max |vector| over each layer's W and over its b, in the place of its numbers."""
    result = np.empty(np.shape(vector), np.longdouble)
    for part in slices(sizes):
        result[..., part] = np.abs(vector[..., part]).max(axis=-1, keepdims=True)
    return result


def assert_within(value: Any, truth: Any, tolerance: Any, what: str = "") -> None:
    error = np.abs(np.asarray(value).astype(np.longdouble) - truth)
    worst = np.max(error - np.asarray(tolerance))
    assert (error <= tolerance).all(), f"{what}: {float(worst):.3g} beyond the tolerance"


# The limit of test_oracle.py, and its reason: a part's largest number may be off by 64u, where ten
# u and less are met. Products of the Hessian have the factors of the gradient and σ″, one factor
# more, and twice the terms: twice that.
SMALL = 64.0
CURVED = 2 * SMALL
TRUTH = 1e-40  # more than the error of the nudges of many digits


# ---- 1. values -----------------------------------------------------------------------------------


@every_pair
@both_dtypes
@both_backends
def test_hessian_vector_product_of_every_activation_and_cost(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    net, _, X, Y, v = small_case(activation, cost, dtype, backend)
    truth = true_products(activation, cost)[0]
    product = net.hessian_vector_product(X, Y, v)
    assert (product.dtype, product.shape) == (np.dtype(dtype), v.shape)
    # The examples' own sizes: their mean may be small.
    tolerance = CURVED * unit_roundoff(dtype) * part_sizes(truth, SIZES).mean(axis=0) + TRUTH
    assert_within(product, truth.mean(axis=0), tolerance)


@every_pair
@both_dtypes
@both_backends
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
    tolerance = CURVED * unit_roundoff(dtype) * part_sizes(truth, SIZES).mean(axis=0) + TRUTH
    assert_within(product, truth.mean(axis=0), tolerance)


@every_pair
@both_dtypes
@both_backends
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


@every_pair
@both_dtypes
@both_backends
def test_gradient_gram_of_every_activation_and_cost(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    net, _, X, Y, _ = small_case(activation, cost, dtype, backend)
    each = true_gradients(activation, cost)
    sizes, u = part_sizes(each, SIZES), unit_roundoff(dtype)
    truth = each @ each.T
    # ⟨g, h⟩ moves by ⟨|dg|, |h|⟩ + ⟨|g|, |dh|⟩; then the sums, as long as the widths.
    moved = sizes @ np.abs(each).T
    tolerance = SMALL * u * (moved + moved.T) + 20 * u * (np.abs(each) @ np.abs(each).T)
    gram = net.gradient_gram(X, Y)
    assert (gram.dtype, gram.shape) == (np.dtype(dtype), (2, 2))
    assert_within(gram, truth, tolerance)
    for i, j in np.ndindex(2, 2):
        assert_within(net.gradient_gram(X[i], Y[i], X[j], Y[j]), truth[i, j], tolerance[i, j])
    assert_within(net.gradient_gram(X[:1], Y[:1], X, Y), truth[:1], tolerance[:1])


@every_pair
@both_dtypes
@both_backends
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


@every_pair
@both_dtypes
@both_backends
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
@both_backends
def test_input_jacobian_of_every_activation(activation: str, dtype: str, backend: str) -> None:
    net, _, X, _, _ = small_case(activation, "quadratic", dtype, backend)
    model, X_true, _, _ = truth_case(activation, "quadratic")
    truth = oracle.output_derivatives(model, X_true, [("a", 0, k) for k in range(SIZES[0])])
    J = net.input_jacobian(X)
    assert (J.dtype, J.shape) == (np.dtype(dtype), (2, SIZES[-1], SIZES[0]))
    largest = np.abs(truth).max(axis=2, keepdims=True)
    assert_within(J, truth, SMALL * unit_roundoff(dtype) * largest)


@every_activation
@pytest.mark.parametrize("cost", ["quadratic", "coupled"])
def test_two_ways_to_second_derivatives_agree(activation: str, cost: str) -> None:
    """The truth itself: nudges of many digits against one more nudge of the complex steps."""
    model, X, Y, v = truth_case(activation, cost)
    h = 1e-5

    def gradient(r: float) -> Array:
        moved = oracle.displaced(oracle.COMPLEX, model, v, np.longdouble(r))
        return oracle.gradients(moved, X, Y).mean(axis=0)

    # No unit is near a kink: one that is stepped over would be off by far more than h².
    difference = (gradient(h) - gradient(-h)) / (2 * h)
    assert_within(difference, true_products(activation, cost)[0].mean(axis=0), 1e-7)


# ---- 2. saturation -------------------------------------------------------------------------------

# Relative errors in u: 16 for δ (test_oracle.py), which has one slope; two of them here.
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
@both_backends
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


@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
@both_dtypes
@both_backends
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
@both_backends
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
@both_backends
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
@both_backends
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
@both_backends
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
