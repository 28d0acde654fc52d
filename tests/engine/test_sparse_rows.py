"""Examples as sparse rows: every call has the bits that it has of dense ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import Array, Csr, bits, both_dtypes, every_backend, every_level, output_at_level

from cbackprop import Network

ATTRIBUTES = ("indptr", "indices", "data")


def examples(n: int, sizes: tuple[int, ...], density: float, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, sizes[0]))
    X[random.random(X.shape) >= density] = 0
    return X, random.uniform(0.1, 0.9, (n, sizes[-1]))


def results(net: Network, X: Any, Y: Array) -> dict[str, bytes]:
    v = np.linspace(-1, 1, net.n_parameters)
    forward, backward = net.forward(X), net.backward(X, Y)
    mean, variance = net.gradient_moments(X, Y)
    calls: dict[str, Callable[[], Any]] = {
        "predict": lambda: net.predict(X),
        "z": lambda: forward.z[1],
        "a of 0": lambda: forward.a[0],
        "dC_da": lambda: backward.dC_da[0],
        "cost": lambda: net.cost(X, Y),
        "costs": lambda: net.cost(X, Y, per_example=True),
        "gradient": lambda: net.gradient(X, Y).vector,
        "weighted": lambda: net.gradient(X, Y, sample_weight=np.arange(1, len(Y) + 1)).vector,
        "each": lambda: net.gradient(X, Y, per_example=True).vector,
        "norms": lambda: net.gradient_norms(X, Y),
        "clipped": lambda: net.clipped_gradient(X, Y, 0.1).vector,
        "gram": lambda: net.gradient_gram(X, Y),
        "gram of two": lambda: net.gradient_gram(X, Y, X, Y),
        "mean": lambda: mean.vector,
        "variance": lambda: variance.vector,
        "jacobian": lambda: net.jacobian(X),
        "input gradient": lambda: net.input_gradient(X, Y),
        "input jacobian": lambda: net.input_jacobian(X),
        "vjp": lambda: np.append(net.vjp(X, Y)[0].vector, net.vjp(X, Y)[1]),
        "jvp": lambda: net.jvp(X, v, X if isinstance(X, np.ndarray) else X.toarray()),
        "Hv": lambda: net.hessian_vector_product(X, Y, v),
        "Gv": lambda: net.gauss_newton_vector_product(X, Y, v),
        "r2": lambda: net.score(X, Y, "r2"),
    }
    return {name: bits(np.asarray(call())) for name, call in calls.items()}


@every_backend
@both_dtypes
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_every_call(density: float, dtype: str, backend: Any) -> None:
    net = Network([40, 7, 3], "tanh", dtype=dtype, seed=1, backend=backend)
    X, Y = examples(300, net.sizes, density)
    assert results(net, Csr(X), Y) == results(net, X, Y)


@both_dtypes
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_widths_and_threads(threads: int, dtype: str) -> None:
    for width in (*range(1, 71), 300):
        net = Network([90, width, 2], dtype=dtype, seed=width, threads=threads)
        X, Y = examples(23 if width < 70 else 1100, net.sizes, 0.2, width)
        sparse = Csr(X)
        assert bits(net.predict(sparse)) == bits(net.predict(X))
        assert bits(net.gradient(sparse, Y).vector) == bits(net.gradient(X, Y).vector)
        one, other = net.copy(), net.copy()
        one.partial_fit(X, Y, batch_size=10)
        other.partial_fit(sparse, Y, batch_size=10)
        assert bits(one.parameters) == bits(other.parameters), width


@both_dtypes
def test_a_sum_that_is_negative_zero(dtype: str) -> None:
    """From a bias of -0, and from products that vanish: the only sums that zeros change."""
    least = float(np.finfo(dtype).smallest_subnormal)
    X, Y = examples(30, (20, 1), 0.2)
    X[::3] = 0
    X[1::7][X[1::7] != 0] = -least
    for scale in (1.0, least, 1e8 * least):
        net = Network([20, 9, 1], "identity", dtype=dtype, seed=0)
        net.weights[0][...] = np.sign(net.weights[0]) * scale
        net.weights[1][...] *= scale
        net.biases[0][...] = -0.0
        sparse = Csr(X)
        for name in ("z", "a"):
            expected, got = (getattr(net.forward(x), name) for x in (X, sparse))
            assert bits(got[1]) == bits(expected[1])
        assert np.signbit(net.forward(X).z[1]).any()
        assert bits(net.gradient(sparse, Y).vector) == bits(net.gradient(X, Y).vector)
        one, other = (Network([20, 9, 1], "identity", dtype=dtype, init="zeros") for _ in "12")
        for twin, x in ((one, X), (other, sparse)):
            twin.parameters = net.parameters
            twin.partial_fit(x, Y, 10, "adam", 1e-3)
        assert bits(one.parameters) == bits(other.parameters)


def test_places_in_any_order_and_twice() -> None:
    net = Network([6, 4, 2], seed=0)
    X, Y = examples(12, net.sizes, 0.5)
    sparse = Csr(X)
    at = np.random.default_rng(1).permutation(3)
    for name in ("indices", "data"):
        array = getattr(sparse, name)
        start = sparse.indptr[np.argmax(np.diff(sparse.indptr) >= 3)]
        array[start : start + 3] = array[start : start + 3][at[::-1]]
    sparse.indices = np.concatenate((sparse.indices, [5, 5, 0, 1]))
    sparse.data = np.concatenate((sparse.data, [1.0, 2.0, 0.0, -0.0]))
    sparse.indptr = np.concatenate((sparse.indptr, [len(sparse.data)]))
    sparse.shape, Y = (13, 6), np.concatenate((Y, Y[:1]))
    assert results(net, sparse, Y) == results(net, sparse.toarray(), Y)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("indptr", [0, 1, 3, 2]),
        ("indptr", [0, 1, 2]),
        ("indptr", [1, 1, 2, 3]),
        ("indptr", [0, 1, 2, 9]),
        ("indices", [0, 1, 4]),
        ("indices", [0, -1, 2]),
        ("indices", [0, 1, 2 + 2**32]),
        ("data", [1.0]),
    ],
)
def test_what_names_places_outside_is_refused(attribute: str, value: list[Any]) -> None:
    net = Network([4, 2], seed=0)
    sparse = Csr(np.eye(3, 4))
    setattr(sparse, attribute, np.array(value))
    with pytest.raises(ValueError, match=r"^X is a sparse Csr whose indptr and indices name"):
        net.predict(sparse)


def test_numbers_are_judged_as_those_of_arrays() -> None:
    X = np.zeros((3, 4))
    X[1, 2] = 1e300
    net = Network([4, 2], dtype="float32", seed=0)
    with pytest.raises(ValueError, match=r"^X has 1e\+300 at \[1, 2\], which overflows float32"):
        net.predict(Csr(X))
    X[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"^X has nan at \[1, 2\]; expected finite numbers"):
        net.predict(Csr(X))
    with pytest.raises(ValueError, match=r"^X is a sparse Csr of shape \(3, 5\); expected"):
        net.predict(Csr(np.zeros((3, 5))))
    with pytest.raises(TypeError, match=r"^Y is a sparse Csr; expected a dense array"):
        net.cost(np.zeros((3, 4)), Csr(np.zeros((3, 2))))


def test_what_looks_inside() -> None:
    net = Network([4, 3, 2], seed=0)
    X, Y = examples(5, net.sizes, 0.5)
    assert net.check_gradient(Csr(X), Y).passed
    assert str(net.chain_rule(Csr(X[:1]), Y[:1])) == str(net.chain_rule(X[:1], Y[:1]))
    assert net.stepper_html(Csr(X), Y) == net.stepper_html(X, Y)


def test_the_matrix_stays_as_it_is() -> None:
    net = Network([30, 4, 2], seed=0)
    X, Y = examples(50, net.sizes, 0.2)
    sparse = Csr(X)
    before = [getattr(sparse, name).copy() for name in ATTRIBUTES]
    net.fit(sparse, Y, epochs=2)
    for name, array in zip(ATTRIBUTES, before, strict=True):
        assert bits(getattr(sparse, name)) == bits(array)
        assert getattr(sparse, name).flags.writeable


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_array", "coo_array", "lil_array"])
def test_scipy(kind: str) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse", reason="scipy is not installed")
    net = Network([40, 7, 3], "tanh", seed=1)
    X, Y = examples(30, net.sizes, 0.2)
    for array in (X, X.astype("float32"), np.rint(3 * X).astype("int8")):
        sparse = getattr(scipy_sparse, kind)(array)
        assert results(net, sparse, Y) == results(net, array, Y)
    assert bits(net.predict(scipy_sparse.coo_array(X[0]))) == bits(net.predict(X[0]))


LEVELS = """
import numpy as np
from cbackprop import Adam, Network, SGD

random = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    for width in (1, 7, 16, 30, 45, 130):
        X = random.normal(size=(257, 300)) * (random.random((257, 300)) < 0.2)
        Y = random.uniform(0.1, 0.9, (257, 2))
        for options in ({}, {"shuffle": False, "batch_size": 257}, {"optimizer": "adam"}):
            one, other = (Network([300, width, 2], dtype=dtype, seed=0) for _ in "12")
            one.fit(X, Y, epochs=2, sparse=False, **options)
            other.fit(X, Y, epochs=2, sparse=True, **options)
            assert one.parameters.tobytes() == other.parameters.tobytes(), (dtype, width, options)
print("ok")
"""


@every_level
def test_every_level(level: str) -> None:
    assert output_at_level(level, LEVELS) == "ok\n"
