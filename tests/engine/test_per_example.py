"""What is made for each example on its own: gradients, their norms, Jacobians of the outputs."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import numpy as np
import pytest
from support import (
    Array,
    both_dtypes,
    data,
    every_backend,
    every_level,
    needs_compiled,
    output_at_level,
)

from cbackprop import Activation, Cost, Network
from cbackprop import backend as backend_module

WIDTHS = (*range(1, 20), 31, 32, 33, 47, 64, 65, 130)


# ---- the rows of per-example gradients -----------------------------------------------------------


def products(net: Network, X: Array, Y: Array) -> Array:
    """a_k δ_j and δ_j from the backward pass, (n, P): one rounding each, so the bits are fixed."""
    back = net.backward(X, Y)
    parts: list[Array] = []
    for a, delta in zip(back.a[:-1], back.delta[1:], strict=True):
        parts += [(delta[:, :, np.newaxis] * a[:, np.newaxis, :]).reshape(len(X), -1), delta]
    return np.concatenate(parts, axis=1)


@both_dtypes
@every_backend
@pytest.mark.parametrize("n_in", WIDTHS)
def test_rows_are_the_products_wherever_out_lies(n_in: int, dtype: str, backend: str) -> None:
    """Each row starts somewhere between two vectors; nothing around the array is touched."""
    for n_out, n in itertools.product((1, 2, 3, 16, 17), (1, 2, 5)):
        net = Network((n_in, n_out, 2), dtype=dtype, backend=backend, seed=n_in)
        X, Y = data(n, net.sizes, dtype)
        expected = products(net, X, Y)
        for offset in range(17) if backend == "compiled" else (0, 3):
            block = np.full(expected.size + 64, 777, dtype)
            out = block[offset : offset + expected.size].reshape(expected.shape)
            assert net.gradient(X, Y, per_example=True, out=out).vector is out
            assert out.tobytes() == expected.tobytes()
            assert (block[:offset] == 777).all()
            assert (block[offset + expected.size :] == 777).all()


# More bytes than go through the caches, of layers wide and narrow, long and short; the offset puts
# the rows on every kind of boundary.
LARGE = """
import sys
import numpy as np
import cbackprop
from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers

level = sys.argv[1]
assert cbackprop.info()["simd_level"] == level
for dtype, offset in (("float32", 0), ("float32", 5), ("float64", 3)):
    for sizes in ((203, 130, 3, 40), (15, 700, 16), (64, 130, 64), (16, 3000), (17, 1000)):
        net = Network(sizes, dtype=dtype, seed=1)
        P = net.n_parameters
        n = (33 << 20) // (P * np.dtype(dtype).itemsize) + 1
        random = RandomNumbers(2)
        X = random.normal(n * sizes[0]).reshape(n, sizes[0]).astype(dtype)
        Y = random.uniform(n * sizes[-1]).reshape(n, sizes[-1]).astype(dtype)
        block = np.full(n * P + 32, 777, dtype)
        out = block[offset : offset + n * P].reshape(n, P)
        net.gradient(X, Y, per_example=True, out=out)
        # New memory is written the ordinary way.
        assert net.gradient(X, Y, per_example=True).vector.tobytes() == out.tobytes()
        for i in (0, 1, 127, 128, 255, 256, n - 2, n - 1):
            i = min(i, n - 1)
            alone = net.gradient(X[i], Y[i], per_example=True).vector
            assert out[i].tobytes() == alone.tobytes(), (dtype, sizes, i)
        start = 0
        back = net.backward(X, Y)
        for a, delta in zip(back.a[:-1], back.delta[1:]):
            W = out[:, start : start + delta.shape[1] * a.shape[1]]
            W = W.reshape(n, delta.shape[1], a.shape[1])
            assert (W == delta[:, :, np.newaxis] * a[:, np.newaxis, :]).all(), (dtype, sizes)
            start += W[0].size
            assert (out[:, start : start + delta.shape[1]] == delta).all(), (dtype, sizes)
            start += delta.shape[1]
        assert (block[:offset] == 777).all() and (block[offset + n * P :] == 777).all()
print("right")
"""


@needs_compiled
@every_level
def test_outputs_larger_than_the_caches(level: str) -> None:
    assert output_at_level(level, LARGE) == "right\n"


@both_dtypes
@every_backend
def test_a_product_that_overflows_is_found_among_those_that_do_not(
    dtype: str, backend: str
) -> None:
    """The largest a of one example and the largest delta of another do not meet."""
    large = float(np.finfo(dtype).max) / 4
    net = Network((2, 1), "identity", "half_quadratic", dtype=dtype, backend=backend, init="zeros")
    net.biases[0][...] = 8
    X = np.array([[large, 0.0], [1.0, 0.0], [0.5, 0.5]])
    Y = np.array([[7.5], [-1e5], [8.0]])
    G = net.gradient(X, Y, per_example=True).vector
    assert np.isfinite(G).all()
    assert G[0, 0] == large / 2
    Y[0] = -1e5
    with pytest.raises(FloatingPointError, match="of layer 1 is not finite"):
        net.gradient(X, Y, per_example=True)


# ---- norms ---------------------------------------------------------------------------------------


def true_norms(net: Network, X: Array, Y: Array) -> list[Any]:
    """√Σ (a_k δ_j)² + δ_j² over all parameters, in 60 digits, from the rounded a and δ."""
    back = net.backward(X, Y)
    norms = []
    for i in range(len(X)):
        total = mpmath.mpf(0)
        for a, delta in zip(back.a[:-1], back.delta[1:], strict=True):
            for factor in (*a[i].tolist(), 1.0):
                for d in delta[i].tolist():
                    total += (mpmath.mpf(factor) * mpmath.mpf(d)) ** 2
        norms.append(mpmath.sqrt(total))
    return norms


def assert_right_norms(net: Network, X: Array, Y: Array, units: float) -> None:
    """Within so many units of roundoff, and one step of the subnormal numbers."""
    info = np.finfo(net.dtype)
    with mpmath.workdps(60):
        norms = net.gradient_norms(X, Y)
        assert norms.dtype == net.dtype
        for norm, true in zip(norms.tolist(), true_norms(net, X, Y), strict=True):
            tolerance = units * float(info.eps) / 2 * true + float(info.smallest_subnormal)
            assert abs(mpmath.mpf(norm) - true) <= tolerance, (norm, true)


@both_dtypes
@every_backend
@pytest.mark.parametrize("n_in", WIDTHS)
def test_norms_of_every_width(n_in: int, dtype: str, backend: str) -> None:
    for n_out in (1, 16, 17, 33):
        net = Network((n_in, n_out, 2), "tanh", dtype=dtype, backend=backend, seed=n_in)
        # float32 is summed in float64 and rounded once; float64 in chains as long as the widths.
        assert_right_norms(net, *data(3, net.sizes, dtype), 1.001 if dtype == "float32" else 8)


# The targets become the δ of the output, whatever they are.
FREE = Cost(lambda a, y: np.zeros(len(a)), lambda a, y: y, "free")


@both_dtypes
@every_backend
def test_norms_whose_squares_leave_the_numbers(dtype: str, backend: str) -> None:
    """Inputs, deltas and their products of every size that the number type has."""
    info = np.finfo(dtype)
    least, tiny, largest = (float(x) for x in (info.smallest_subnormal, info.tiny, info.max))
    scales = [0.0, least, 64 * least, 1.0, largest / 64]
    scales += [tiny**p for p in (1, 0.75, 0.5, 0.25)]
    scales += [largest**p for p in (0.25, 0.5, 0.75, 0.9)]
    net = Network((3, 2), "identity", FREE, dtype=dtype, backend=backend, init="zeros")
    pairs = [(x, y) for x in scales for y in scales if x * y < largest / 64 and y < largest / 8]
    X = np.array([[x, -0.75 * x, 0.25 * x] for x, _ in pairs], dtype)
    Y = np.array([[0.5 * y, y] for _, y in pairs], dtype)
    assert_right_norms(net, X, Y, 8)
    assert (net.gradient_norms(X, Y)[[y == 0 for _, y in pairs]] == 0).all()


@both_dtypes
@every_backend
def test_norms_of_layers_of_different_sizes(dtype: str, backend: str) -> None:
    """A δ whose square vanishes meets an input whose square overflows, beside a tame layer."""
    info = np.finfo(dtype)
    small, large = float(info.tiny) ** 0.75, float(info.max) ** 0.8
    net = Network((2, 2, 2), "identity", FREE, dtype=dtype, backend=backend, init="zeros")
    for below, above in ((small, 1.0), (1.0, small), (small, large), (1.0, large)):
        net.biases[0][...] = above
        net.weights[1][...] = [[below, 0], [0, below / 2]]
        for y in (1.0, small, float(info.tiny)):
            if above * y > 1e3 * large:
                continue
            X = np.array([[1 / below, 0], [0.5, 0.25], [1 / small, 1 / small]], dtype)
            assert_right_norms(net, X, np.full((3, 2), y, dtype), 8)


@both_dtypes
@every_backend
def test_norms_of_deep_networks_that_fade(dtype: str, backend: str) -> None:
    """From one layer to the next δ shrinks, to nothing in float32."""
    net = Network((4, *[3] * 30, 1), "sigmoid", dtype=dtype, backend=backend, seed=1)
    for W in net.weights:
        W *= 0.05
    X, Y = data(3, net.sizes, dtype)
    assert (net.backward(X, Y).delta[1] == 0).any() == (dtype == "float32")
    assert_right_norms(net, X, Y, 8)


@every_backend
@both_dtypes
def test_norms_agree_with_the_gradients_own(dtype: str, backend: str) -> None:
    layers = ["relu", "elu", "softmax"]
    net = Network((40, 30, 20, 10), layers, "cross_entropy", dtype=dtype, backend=backend, seed=3)
    X, _ = data(300, net.sizes, dtype)
    Y = np.eye(10, dtype=dtype)[np.arange(300) % 10]
    expected = net.gradient(X, Y, per_example=True).norm()
    assert net.gradient_norms(X, Y) == pytest.approx(expected, rel=100 * float(np.finfo(dtype).eps))


@both_dtypes
@needs_compiled
def test_the_passes_that_norms_are_measured_by_go_all_the_way_down(dtype: str) -> None:
    # ∂C/∂a of the hidden layer overflows, for the last example alone: z, a, C and δ above do not.
    kernels = backend_module.kernels(dtype)
    largest = float(np.finfo(dtype).max)
    net = Network([1, 1, 1], "identity", dtype=dtype, init="zeros")
    net.parameters = [largest**-0.4, 0, largest**0.9, 0]
    X, Y = np.zeros((2, 700, 1), dtype)
    assert kernels.deltas_pass(net._engine, X, Y) is None
    Y[-1] = -(largest**0.3)
    assert np.isfinite(net.cost(X, Y))
    assert kernels.deltas_pass(net._engine, X, Y) == ("delta", 1)
    with pytest.raises(ValueError, match="array has 699 numbers; expected 700"):
        kernels.deltas_pass(net._engine, X, Y[1:])
    with pytest.raises(TypeError):
        kernels.deltas_pass(None, X, Y)


# ---- Jacobians of the outputs --------------------------------------------------------------------

SQUARE = Activation(lambda z: z * z, lambda z: 2 * z, "square")
NETWORKS: list[tuple[tuple[int, ...], Any]] = [
    ((5, 7, 6, 3), "sigmoid"),
    ((8, 32, 32, 1), "tanh"),
    ((1, 1), "softplus"),
    ((1, 1, 2), ["tanh", "softmax"]),
    ((3, 4, 5), ["elu", "softmax"]),
    ((17, 16, 33), "gelu"),
    ((2, 3, 130), "silu"),
    ((2, 3, 150), ["tanh", "softmax"]),
    ((3, *[2] * 12, 2), "tanh"),
    ((4, 5, 3), SQUARE),
]
each_network = pytest.mark.parametrize(
    ("sizes", "activation"), NETWORKS, ids=["-".join(map(str, sizes)) for sizes, _ in NETWORKS]
)


@each_network
@both_dtypes
@every_backend
def test_the_chain_rule_joins_jacobian_and_gradient(
    sizes: tuple[int, ...], activation: Any, dtype: str, backend: str
) -> None:
    """∇C_i = Σ_j ∂C_i/∂a_j · ∂a_j/∂parameters."""
    net = Network(sizes, activation, dtype=dtype, backend=backend, seed=4)
    X, Y = data(5, sizes, dtype)
    J = net.jacobian(X)
    assert J.shape == (5, sizes[-1], net.n_parameters)
    back = net.backward(X, Y)
    joined = np.einsum("nj,njp->np", back.dC_da[-1].astype(float), J.astype(float))
    each = net.gradient(X, Y, per_example=True).vector
    assert np.abs(joined - each).max() <= 300 * np.finfo(dtype).eps * max(np.abs(each).max(), 1e-6)


@each_network
@both_dtypes
@every_backend
def test_jacobian_rows_are_products_wherever_out_lies(
    sizes: tuple[int, ...], activation: Any, dtype: str, backend: str
) -> None:
    """∂a_j/∂w_jk = a_k δ_j with δ_j = ∂a_j/∂b_j, to the bit; nothing around the array changes."""
    net = Network(sizes, activation, dtype=dtype, backend=backend, seed=4)
    X, _ = data(3, sizes, dtype)
    expected = net.jacobian(X)
    start = 0
    for a, n_out in zip(net.forward(X).a[:-1], sizes[1:], strict=True):
        middle = start + n_out * a.shape[1]
        delta = expected[..., middle : middle + n_out]
        W = expected[..., start:middle].reshape(*delta.shape, a.shape[1])
        assert (W == delta[..., np.newaxis] * a[:, np.newaxis, np.newaxis, :]).all()
        start = middle + n_out
    for offset in (0, 1, 3, 8):
        block = np.full(expected.size + 64, 777, dtype)
        out = block[offset : offset + expected.size].reshape(expected.shape)
        assert net.jacobian(X, out=out) is out
        assert out.tobytes() == expected.tobytes()
        assert (block[:offset] == 777).all()
        assert (block[offset + expected.size :] == 777).all()


@needs_compiled
@each_network
@both_dtypes
def test_a_jacobian_has_the_same_bits_alone_and_in_a_batch(
    sizes: tuple[int, ...], activation: Any, dtype: str
) -> None:
    net = Network(sizes, activation, dtype=dtype, seed=4)
    n = 300
    X, _ = data(n, sizes, dtype)
    together = net.jacobian(X)
    for i in (*range(12), 42, 63, 64, 127, 128, 129, 255, 256, 257, n - 1):
        assert net.jacobian(X[i]).tobytes() == together[i].tobytes()
    for rows in (slice(0, 256), slice(1, 258), slice(100, 150), slice(200, 300)):
        assert net.jacobian(X[rows]).tobytes() == together[rows].tobytes()


@both_dtypes
@every_backend
def test_a_saturated_softmax_keeps_its_derivatives(dtype: str, backend: str) -> None:
    """∂a_j/∂b_j = a_j(1 − a_j) where a_j rounds to 1: 1 − a_j is the sum of the others."""
    z = (40.0 if dtype == "float64" else 20.0, 0.0, 1.0)
    net = Network((1, 3), "softmax", dtype=dtype, backend=backend, init="zeros")
    net.biases[0][...] = z
    assert net.predict([0.0])[0] == 1
    J = net.jacobian([0.0])[:, 3:]
    with mpmath.workdps(60):
        e = [mpmath.exp(z_j) for z_j in z]
        a = [e_j / sum(e) for e_j in e]
        for i, j in np.ndindex(3, 3):
            true = a[i] * (sum(a) - a[i] if i == j else -a[j])
            error = abs(mpmath.mpf(float(J[i, j])) - true)
            assert error <= 8 * float(np.finfo(dtype).eps) * abs(true)


@every_backend
def test_an_overflow_is_looked_for_in_the_right_example(backend: str) -> None:
    """δ is x_0 here, and ∂a/∂w has x_0 x_1 in it: never large together, until they are."""
    slope = Activation(lambda z: 0 * z, lambda z: z, "slope")
    net = Network((2, 2), slope, backend=backend, init="zeros")
    net.weights[0][:, 0] = 1
    X = np.ones((200, 2))
    X[:64, 1] = 1e200
    X[64:, 0] = 1e150
    J = net.jacobian(X)
    assert (J[:, 0, 1] == X[:, 0] * X[:, 1]).all()
    for i in (0, 63, 64, 127, 128, 199):
        wrong = X.copy()
        wrong[i] = 1e150, 1e200
        with pytest.raises(FloatingPointError, match="derivative of the outputs of layer 1"):
            net.jacobian(wrong)


@every_backend
def test_the_cost_plays_no_part_in_the_jacobian(backend: str) -> None:
    X, _ = data(4, (3, 2), "float64")
    expected = Network((3, 5, 2), "sigmoid", backend=backend, seed=1).jacobian(X)
    for cost in ("mae", "cross_entropy", "poisson", FREE):
        net = Network((3, 5, 2), "sigmoid", cost, backend=backend, seed=1)
        assert net.jacobian(X).tobytes() == expected.tobytes()


# More than goes through the caches, in both ways of writing.
LARGE_JACOBIAN = """
import sys
import numpy as np
import cbackprop
from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers

assert cbackprop.info()["simd_level"] == sys.argv[1]
for dtype in ("float32", "float64"):
    for sizes in ((203, 130, 3), (64, 130, 64)):
        net = Network(sizes, "tanh", dtype=dtype, seed=1)
        row = net.n_parameters * sizes[-1]
        n = (33 << 20) // (row * np.dtype(dtype).itemsize) + 1
        X = RandomNumbers(2).normal(n * sizes[0]).reshape(n, sizes[0]).astype(dtype)
        J = np.full((n, sizes[-1], net.n_parameters), 777, dtype)
        net.jacobian(X, out=J)
        # New memory is written the ordinary way.
        assert net.jacobian(X).tobytes() == J.tobytes()
        for i in range(0, n, 3):
            assert J[i].tobytes() == net.jacobian(X[i]).tobytes(), (dtype, sizes, i)
print("right")
"""


@needs_compiled
@every_level
def test_jacobians_larger_than_the_caches(level: str) -> None:
    assert output_at_level(level, LARGE_JACOBIAN) == "right\n"
