"""A network in CasADi's symbols: value, Jacobian and Hessian are the package's and the oracle's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from oracle import COMPLEX, DIGITS, MANY_DIGITS, Model, activation, output_derivatives, run
from support import ACTIVATIONS, ELEMENTWISE, STEEP, Array, data

from cbackprop import Activation, Cost, Network, functions

ca: Any = pytest.importorskip("casadi", reason="CasADi is not installed")

from cbackprop.casadi import FORMULAS, function  # noqa: E402

BOUND = 1e-12  # of the largest number of each array


def network(name: str, seed: int, **options: Any) -> Network:
    """Of random shape, with this activation in every layer that takes it; biases are not 0."""
    random = np.random.default_rng(seed)
    depth = int(random.integers(1, 4))
    sizes = [int(n) for n in random.integers(1, 7, depth + 1)]
    hidden = "tanh" if name == "softmax" else name
    net = Network(sizes, [hidden] * (depth - 1) + [name], seed=seed, **options)
    for W, b in zip(net.weights, net.biases, strict=True):
        W[...] *= 0.3 if name in STEEP else 1.5
        b[...] = random.normal(0, 0.5, b.shape)
    return net


def derivatives(net: Network, x: Array) -> tuple[Array, Array, Array]:
    """CasADi's: a (n_L,), ∂a/∂x (n_L, n_0) and ∂²a/∂x² (n_L, n_0, n_0)."""
    symbol = ca.MX.sym("x", net.sizes[0])
    a = function(net)(symbol)
    J = ca.jacobian(a, symbol)
    H = [ca.hessian(a[j], symbol)[0] for j in range(net.sizes[-1])]
    value, jacobian, *hessians = ca.Function("f", [symbol], [a, J, *H])(x)
    return (
        value.full()[:, 0],
        jacobian.full(),
        np.stack([hessian.full() for hessian in hessians]),
    )


def our_hessian(net: Network, x: Array) -> Array:
    """∂²a/∂x² by hessian_vector_product: x is the bias of a layer more, on an input of 0."""
    n_0, n_L = net.sizes[0], net.sizes[-1]
    result = np.zeros((n_L, n_0, n_0))
    for j in range(n_L):
        one = np.eye(n_L)[j]
        linear = Cost(
            lambda a, y, one=one: a @ one,
            lambda a, y, one=one: one + 0 * a,
            hessian_vector_product=lambda a, y, v: 0 * v,
        )
        longer = Network((1, *net.sizes), ["identity", *net.activations], linear, init="zeros")
        longer.biases[0][...] = x
        for to, array in zip(longer.weights[1:], net.weights, strict=True):
            to[...] = array
        for to, array in zip(longer.biases[1:], net.biases, strict=True):
            to[...] = array
        for k, direction in enumerate(np.eye(n_0, longer.n_parameters, n_0)):  # after n_0 weights
            product = longer.hessian_vector_product(np.zeros((1, 1)), np.zeros((1, n_L)), direction)
            result[j, :, k] = product[n_0 : 2 * n_0]
    return result


def oracles_hessian(model: Model, x: Array) -> Array:
    """By central differences of central differences, with digits enough for both."""
    places = [("a", 0, k) for k in range(len(x))]
    with mpmath.workdps(120):
        h = mpmath.mpf(10) ** -30
        many = np.array([mpmath.mpf(float(value)) for value in x])[np.newaxis]
        y = np.zeros((1, len(model.biases[-1])))

        def outputs(X: Array, step: Any) -> Array:
            return np.array([a[0] for a in run(MANY_DIGITS, model, X, y, places, step)[1][-1]])

        columns = []
        for k in range(len(x)):
            nudge = np.array([h if i == k else mpmath.mpf(0) for i in range(len(x))])[np.newaxis]
            slopes = [
                (outputs(many + s * nudge, h) - outputs(many + s * nudge, -h)) / (2 * h)
                for s in (1, -1)
            ]
            columns.append((slopes[0] - slopes[1]) / (2 * h))
        return np.stack(columns, axis=-1).astype(float)


def assert_close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=BOUND * float(np.abs(expected).max(initial=0))
    )


def test_every_activation_has_a_formula() -> None:
    assert set(FORMULAS) == set(functions.ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_jacobian_and_hessian_are_the_packages(name: str) -> None:
    for seed in range(8):
        net = network(name, seed)
        x = data(1, net.sizes, seed=seed)[0][0]
        value, jacobian, hessian = derivatives(net, x)
        assert_close(value, net.predict(x))
        assert_close(jacobian, net.input_jacobian(x))
        assert_close(hessian, our_hessian(net, x))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_jacobian_and_hessian_are_the_oracles(name: str) -> None:
    net = Network((3, 4, 3), ["tanh", name], seed=1)
    x = data(1, net.sizes)[0]
    model = Model(net.weights, net.biases, ("tanh", name), "quadratic")
    places = [("a", 0, k) for k in range(3)]
    value, jacobian, hessian = derivatives(net, x[0])
    outputs = run(COMPLEX, model, x, np.zeros((1, 3)))[1][-1]
    assert_close(value, np.array([float(a.real[0, 0]) for a in outputs]))
    assert_close(jacobian, output_derivatives(model, x, places)[0].astype(float))
    assert_close(hessian, oracles_hessian(model, x[0]))


def truth(name: str, z: float) -> list[float]:
    """σ, σ′ and σ″ by central differences at hundreds of digits."""
    with mpmath.workdps(DIGITS):
        h = mpmath.mpf(10) ** -100
        below, at, above = activation(MANY_DIGITS, name, np.array([z - h, mpmath.mpf(z), z + h]))
        orders = (at, (above - below) / (2 * h), (above - 2 * at + below) / h**2)
        return [float(order) for order in orders]


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nothing_overflows_or_cancels_for_any_z(name: str) -> None:
    """σ, σ′ and σ″ each to 12 digits of itself, however saturated; σ‴ is finite, too."""
    net = Network((1, 1), name, init="zeros")
    net.weights[0][...] = 1
    sizes = [1e-12, 1e-3, 0.5, 3.0, 40.0, 700.0]
    judged = [*sizes, *(-size for size in sizes)]
    extreme = [0.0, 1e-300, -1e-300, -1e4, -1e9, -1e300]
    if name not in STEEP:
        judged += [1e6, -1e6]
        extreme += [1e4, 1e9, 1e300]
    symbol = ca.MX.sym("z")
    orders = [function(net)(symbol)]
    for _ in range(3):
        orders.append(ca.jacobian(orders[-1], symbol))
    F = ca.Function("f", [symbol], orders)
    for z in judged:
        for order, (found, expected) in enumerate(zip(F(z)[:3], truth(name, z), strict=True)):
            # CasADi has no 1 − erf. Where σ″ has a 0 at 0, it is a difference near it.
            atol = 1e-14 if name == "gelu" else 1e-15 if order == 2 and abs(z) < 1e-2 else 0
            assert float(found) == pytest.approx(expected, rel=1e-12, abs=atol), (order, z)
    assert all(np.isfinite(order.full()).all() for order in F(np.array([extreme])))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_at_zero_derivatives_are_the_packages(name: str) -> None:
    """Of kinks one side's: relu′(0) = 0."""
    net = Network((1, 1), name, init="zeros")
    net.weights[0][...] = 1
    x = np.zeros(1)
    value, jacobian, hessian = derivatives(net, x)
    assert value == pytest.approx(net.predict(x), abs=1e-15)
    assert jacobian == pytest.approx(net.input_jacobian(x), abs=1e-15)
    assert hessian == pytest.approx(our_hessian(net, x), abs=1e-15)


def test_saturated_softmax_keeps_the_digits_of_small_derivatives() -> None:
    net = Network((3, 3), "softmax", init="zeros")
    net.weights[0][...] = np.eye(3)
    for x in ([0.0, -40, -300], [1e5, 0, 1e5], [1e300, -1e300, 5], [-700.0, 0, 30]):
        value, jacobian, hessian = derivatives(net, np.array(x))
        np.testing.assert_allclose(value, net.predict(x), rtol=1e-12)
        np.testing.assert_allclose(jacobian, net.input_jacobian(x), rtol=1e-12, atol=1e-290)
        assert np.isfinite(hessian).all()


def test_columns_are_examples_and_numbers_are_the_same_in_single_symbols() -> None:
    net = network("silu", 2)
    F = function(net)
    X = data(5, net.sizes)[0]
    assert_close(F(X.T).full().T, net.predict(X))
    assert_close(F.map(5)(X.T).full().T, net.predict(X))
    assert_close(F.expand()(X[0]).full()[:, 0], net.predict(X[0]))
    assert F(x=X[0])["a"].shape == (net.sizes[-1], 1)
    assert (F.name(), F.name_in(), F.name_out()) == ("network", ["x"], ["a"])


def test_generated_code_has_the_name_and_computes_the_same(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    net = Network((3, 5, 5, 2), ["gelu", "elu", "softmax"], seed=0)
    generator = ca.CodeGenerator("plant.c")
    generator.add(function(net, "plant"))
    source, library = generator.generate(f"{tmp_path}/"), tmp_path / "plant.so"
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
    x = np.array([0.1, -2, 0.7])
    assert_close(ca.external("plant", str(library))(x).full()[:, 0], net.predict(x))


def test_parameters_are_copied_and_taken_as_float64() -> None:
    net = network("tanh", 4, dtype="float32")
    x = np.linspace(-1, 1, net.sizes[0])
    F, before = function(net), net.copy()
    net.weights[0][...] = 0
    exact = Network(net.sizes, net.activations, init="zeros")
    exact.parameters = before.parameters
    assert_close(F(x).full()[:, 0], exact.predict(x))


def test_what_is_refused_is_named() -> None:
    own = Activation(np.sin, np.cos, "sine")
    net = Network((2, 3, 1), [own, "identity"], seed=0)
    with pytest.raises(ValueError, match=r"^net has Activation\(sine\), of your own; expected"):
        function(net)
    with pytest.raises(TypeError, match=r"^net is 3 \(int\); expected a Network$"):
        function(3)  # type: ignore[arg-type]
    net = Network((2, 3, 1), seed=0)
    with pytest.raises(TypeError, match=r"^name is 3 \(int\); expected a string$"):
        function(net, 3)  # type: ignore[arg-type]
    for name in ("a b", "_a", "a__b", "", "null", "jac", "hess"):
        with pytest.raises(ValueError, match=rf"^name is '{name}'; expected a letter, .*own words"):
            function(net, name)
