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
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import oracle
import pytest
from support import (
    ELEMENTWISE,
    FREE_COSTS,
    Array,
    both_dtypes,
    data,
    every_backend,
    needs_compiled,
    output_of,
    pairs,
)

from cbackprop import Activation, Cost, Network
from cbackprop.random_numbers import RandomNumbers

COSTS = (*FREE_COSTS, "quartic", "coupled")
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
# Σ_j a_j: what bends is the activation alone.
LINEAR = Cost(
    lambda a, y: a.sum(axis=1),
    lambda a, y: np.ones_like(a),
    "linear",
    hessian_vector_product=lambda a, y, v: np.zeros_like(a),
)
# The targets become the δ of the output, whatever they are.
FREE = Cost(lambda a, y: np.zeros(len(a)), lambda a, y: y, "free")

every_pair = pytest.mark.parametrize(
    ("activation", "cost"), pairs(["sine"], ["quartic", "coupled"])
)
every_activation = pytest.mark.parametrize("activation", [*ELEMENTWISE, "softmax", "sine"])


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
        {"quartic": QUARTIC, "coupled": COUPLED, "linear": LINEAR}.get(cost, cost),
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


# The limit of test_calculus.py, and its reason: errors of 6u in the largest number of a layer were
# measured for sigmoid at this depth, other derivatives are off by three times as much, and a cost
# may triple that. Products with the curvature have one factor more, σ″, and twice the terms: 16u is
# the worst met here.
SMALL = 64.0
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


@every_pair
@both_dtypes
@every_backend
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

NETWORKS: list[tuple[tuple[int, ...], Any, str]] = [
    ((5, 7, 6, 3), "sigmoid", "quadratic"),
    ((17, 33, 16, 10), ["relu", "elu", "softmax"], "cross_entropy"),
    ((3, *[2] * 12, 2), "tanh", "huber"),
    ((1, 1), "softplus", "poisson"),
    ((20, 5), "softmax", "mse"),
]
each_network = pytest.mark.parametrize(
    ("sizes", "activation", "cost"), NETWORKS, ids=["-".join(map(str, n[0])) for n in NETWORKS]
)
COUNTS = (1, 2, 5, 255, 256, 257, 600)


def chain_length(n: int, backend: str) -> int:
    """Additions a term meets, and the division: in the compiled engine's tree of blocks of 256, or
    in any order."""
    return min(n, 256) + -(-n // 256) + 1 if backend == "compiled" else n + 1


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


@each_network
@both_dtypes
@every_backend
def test_gram_is_symmetric_and_has_the_norms_on_its_diagonal(
    sizes: tuple[int, ...], activation: Any, cost: str, dtype: str, backend: str
) -> None:
    net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=3)
    u = unit_roundoff(dtype)
    for n in COUNTS:
        X, Y = data(n, sizes, dtype)
        gram = net.gradient_gram(X, Y)
        assert gram.shape == (n, n)
        assert gram.tobytes() == np.ascontiguousarray(gram.T).tobytes()
        squares = net.gradient_norms(X, Y).astype(np.longdouble) ** 2
        # Sums of squares, each as long as a layer is wide; and the norm's own rounding, twice.
        assert_within(np.diag(gram), squares, (2 * max(sizes) + 12) * u * squares)
        between = net.gradient_gram(X, Y, X, Y)
        if backend == "compiled":
            assert between.tobytes() == gram.tobytes()
        roots = np.sqrt(squares)
        limit = (2 * max(sizes) + 12) * u * roots[:, np.newaxis] * roots
        assert_within(between, gram, limit)
        # ⟨g_i, g_j⟩ of the gradients themselves.
        each = net.gradient(X[:20], Y[:20], per_example=True).vector.astype(np.longdouble)
        assert_within(gram[:20, :20], each @ each.T, limit[:20, :20])


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


# ---- 4. edges ------------------------------------------------------------------------------------


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


@both_dtypes
@every_backend
def test_inner_products_at_both_ends_of_the_numbers(dtype: str, backend: str) -> None:
    """Σ_l (δ_i · δ_j)(a_i · a_j + 1) where one factor vanishes, or overflows, on its own."""
    info = np.finfo(dtype)
    least, tiny, largest = (float(x) for x in (info.smallest_subnormal, info.tiny, info.max))
    sizes = [0.0, 64 * least, 1.0, tiny, tiny**0.75, tiny**0.5, largest**0.5, largest**0.75]
    net = Network((3, 2), "identity", FREE, dtype=dtype, backend=backend, init="zeros")
    pairs = [(x, y) for x in sizes for y in sizes if x * y < largest / 64]
    X = np.array([[x, -0.75 * x, 0.25 * x] for x, _ in pairs], dtype)
    Y = np.array([[0.5 * y, y] for _, y in pairs], dtype)
    # The kernels' two sums have five terms in all; the reference sums float32 in float64 and rounds
    # once.
    units = 1.001 if (dtype, backend) == ("float32", "reference") else 12
    checked = 0
    with mpmath.workdps(60):

        def exact(row: Array) -> list[Any]:
            return [mpmath.mpf(float(w)) for w in row]

        each = [(exact(x), exact(y)) for x, y in zip(X, Y, strict=True)]
        for i, j in itertools.combinations_with_replacement(range(len(pairs)), 2):
            (x, y), (x2, y2) = each[i], each[j]
            # Every term of either sum has the same sign: its relative error is its terms' own.
            delta = sum(p * q for p, q in zip(y, y2, strict=True))
            true = delta * (sum(p * q for p, q in zip(x, x2, strict=True)) + 1)
            if true > largest / 4:
                continue
            got = mpmath.mpf(float(net.gradient_gram(X[i], Y[i], X[j], Y[j])))
            limit = units * unit_roundoff(dtype) * true + least
            assert abs(got - true) <= limit, (pairs[i], pairs[j], got, true)
            checked += 1
    assert checked > 500


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


# ---- 5. memory -----------------------------------------------------------------------------------

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
