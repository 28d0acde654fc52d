"""Calls on examples that are read a piece at a time: the bits of those on arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from row_sources import SOURCES, Slices
from support import Array, bits, both_dtypes, every_backend

from cbackprop import Gradient, Network
from cbackprop.streams import sources as reading

SIZES = (7, 9, 3)
N = 2_900


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 rows at a time in float32, 256 in float64."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 512 * 10 * 4)


def examples(n: int = N) -> tuple[Array, Array]:
    random = np.random.default_rng(n)
    X = random.normal(size=(n, SIZES[0])).astype(np.float32)
    return X, np.tanh(X[:, : SIZES[-1]])


def network(dtype: str = "float64", backend: str = "compiled") -> Network:
    return Network(SIZES, "tanh", dtype=dtype, backend=backend, seed=3)  # type: ignore[arg-type]


def numbers_of(result: Any) -> list[Array]:
    """All numbers of a call's result."""
    if isinstance(result, tuple):
        return [number for part in result for number in numbers_of(part)]
    if isinstance(result, Gradient):
        return [result.vector, np.asarray(result.cost)]
    return [np.asarray(result)]


def same(one: Any, other: Any, backend: str) -> None:
    for expected, found in zip(numbers_of(one), numbers_of(other), strict=True):
        assert expected.dtype == found.dtype
        if backend == "compiled":
            assert bits(expected) == bits(found)
        else:  # the reference sums all examples at once, and NumPy's products go by their shapes
            close = 1e-4 if expected.dtype == np.float32 else 1e-11
            np.testing.assert_allclose(found, expected, rtol=close, atol=close)


CALLS: dict[str, Any] = {
    "gradient": lambda net, X, Y: net.gradient(X, Y),
    "per_example": lambda net, X, Y: net.gradient(X, Y, per_example=True),
    "cost": lambda net, X, Y: net.cost(X, Y),
    "costs": lambda net, X, Y: net.cost(X, Y, per_example=True),
    "norms": lambda net, X, Y: net.gradient_norms(X, Y),
    "moments": lambda net, X, Y: net.gradient_moments(X, Y),
    "score": lambda net, X, Y: net.score(X, Y),
    "mse": lambda net, X, Y: net.score(X, Y, "mse"),
    "predict": lambda net, X, Y: net.predict(X),
}


@every_backend
@both_dtypes
@pytest.mark.parametrize("name", SOURCES)
def test_every_call(name: str, dtype: str, backend: str, tmp_path: Path) -> None:
    X, Y = examples()
    given = SOURCES[name](X, Y, tmp_path)
    if name == "chunks of one row":
        X, Y = X[:700], Y[:700]
    net = network(dtype, backend)
    for call in CALLS.values():
        same(call(net, X, Y), call(net, *given), backend)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 1_023, 1_024, 1_025, 2_560])
def test_numbers_of_rows_about_a_group(n: int, tmp_path: Path) -> None:
    X, Y = examples(n)
    net = network()
    for name in ("memmaps", "slices", "chunks"):
        given = SOURCES[name](X, Y, tmp_path)
        for call in CALLS.values():
            same(call(net, X, Y), call(net, *given), "compiled")


@both_dtypes
@pytest.mark.parametrize("name", ["memmaps", "shards", "slices"])
def test_weights(name: str, dtype: str, tmp_path: Path) -> None:
    X, Y = examples()
    given = SOURCES[name](X, Y, tmp_path)
    weight = np.random.default_rng(5).random(N)
    net = network(dtype)
    same(
        net.gradient(X, Y, sample_weight=weight),
        net.gradient(*given, sample_weight=weight),
        "compiled",
    )
    assert net.cost(X, Y, sample_weight=weight) == net.cost(*given, sample_weight=weight)


@pytest.mark.parametrize("name", ["memmaps", "slices", "chunks"])
def test_into_arrays_of_the_caller(name: str, tmp_path: Path) -> None:
    X, Y = examples()
    given = SOURCES[name](X, Y, tmp_path)
    net = network()
    out = np.memmap(tmp_path / "out", np.float64, "w+", shape=(N, 3))
    found = net.predict(given[0], out=out)
    assert np.shares_memory(found, out)
    assert bits(out) == bits(net.predict(X))
    vector = np.empty(net.n_parameters)
    assert net.gradient(*given, out=vector).vector is vector
    assert bits(vector) == bits(net.gradient(X, Y).vector)
    each = np.empty((N, net.n_parameters))
    net.gradient(*given, per_example=True, out=each)
    assert bits(each) == bits(net.gradient(X, Y, per_example=True).vector)


def test_out_is_not_what_is_read(tmp_path: Path) -> None:
    """What is written for one piece would be read for the next."""
    shared = np.memmap(tmp_path / "both", np.float32, "w+", shape=(N * 7,))
    X, Y = shared.reshape(N, 7), examples()[1]
    net, half = network(), network("float32")
    with pytest.raises(ValueError, match=r"^out overlaps X; expected memory of its own"):
        half.predict(X, out=shared[: N * 3].reshape(N, 3))
    vector = shared.view(np.float64)[: net.n_parameters]
    with pytest.raises(ValueError, match=r"^out overlaps X; expected memory of its own"):
        net.gradient(X, Y, out=vector)


def test_a_wrong_width_is_told_before_anything_is_read() -> None:
    source = Slices(np.zeros((N, 3)))
    for call in CALLS.values():
        with pytest.raises(ValueError, match=r"^X\[0:1\] has shape \(1, "):
            call(network(), source, examples()[1])
    assert {(rows.start, rows.stop) for rows in source.asked} == {(0, 1)}


def test_plain_memory_maps_are_read_where_they_are(tmp_path: Path) -> None:
    """Of the network's own number type; predict writes a piece at a time all the same."""
    X, Y = examples()
    given = SOURCES["memmaps"](X, Y, tmp_path)
    net = network("float32")
    for call in CALLS.values():
        same(call(net, X, Y), call(net, *given), "compiled")
    out = np.empty((N, 3), np.float32)
    net.predict(given[0], out=out)
    assert bits(out) == bits(net.predict(X))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads(threads: int, tmp_path: Path) -> None:
    X, Y = examples()
    given = SOURCES["memmaps"](X, Y, tmp_path)
    net, many = network(), Network(SIZES, "tanh", seed=3, threads=threads)
    for call in CALLS.values():
        same(call(net, X, Y), call(many, *given), "compiled")


def test_other_calls_read_the_whole_source() -> None:
    """Of what has slices and no __array__, too."""
    X, Y = examples(300)
    given = SOURCES["slices"](X, Y, Path())
    net = network()
    for call in (
        lambda X, Y: net.backward(X, Y).delta[1],
        lambda X, Y: net.jacobian(X[:3]),
        lambda X, Y: net.clipped_gradient(X, Y, 0.1),
        lambda X, Y: net.gradient_gram(X, Y),
        lambda X, Y: net.input_gradient(X, Y),
        lambda X, Y: net.hessian_vector_product(X, Y, np.ones(net.n_parameters)),
    ):
        same(call(X, Y), call(*given), "compiled")  # type: ignore[no-untyped-call]


# ---- what is wrong with them ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["memmaps", "shards", "slices"])
@pytest.mark.parametrize("call", CALLS)
def test_a_number_that_is_none_names_its_row(name: str, call: str, tmp_path: Path) -> None:
    X, Y = examples()
    X[1_400, 2] = np.nan
    given = SOURCES[name](X, Y, tmp_path)
    net = network()
    with pytest.raises(ValueError, match=r"^X\[1400:1401\] has nan at \[0, 2\]"):
        CALLS[call](net, *given)


def test_targets_that_are_none_name_their_row(tmp_path: Path) -> None:
    X, Y = examples()
    Y[2_899, 1] = np.inf
    net = network()
    for name in ("memmaps", "Y a memmap", "slices"):
        given = SOURCES[name](X, Y, tmp_path)
        with pytest.raises(ValueError, match=r"^Y\[2899:2900\] has inf at \[0, 1\]"):
            net.gradient(*given)


def test_overflow_is_told_as_of_arrays(tmp_path: Path) -> None:
    X, Y = examples()
    net = Network(SIZES, "identity", seed=0)
    net.weights[0][...] = 1e200
    net.weights[1][...] = 1e200
    messages = set()
    for given in ((X, Y), *(SOURCES[name](X, Y, tmp_path) for name in ("memmaps", "chunks"))):
        for call in ("gradient", "cost", "moments", "norms"):
            with pytest.raises(FloatingPointError) as error:
                CALLS[call](net, *given)
            messages.add(str(error.value))
    assert len(messages) == 1


def test_a_sum_may_overflow_where_no_part_does(tmp_path: Path) -> None:
    X, Y = examples()
    net = Network(SIZES, "identity", dtype="float32", seed=0)
    Y = np.full_like(Y, 4e17)
    messages = set()
    for given in ((X, Y), SOURCES["chunks"](X * 1, Y, tmp_path)):
        net.weights[1][...] = 0
        net.biases[1][...] = 3e36
        with pytest.raises(FloatingPointError) as error:
            net.gradient(*given)
        messages.add(str(error.value))
    assert len(messages) == 1


def test_rows_that_are_too_few_or_too_wide() -> None:
    X, Y = examples()
    net = network()

    class Short(type(SOURCES["slices"](X, Y, Path())[0])):  # type: ignore[misc]
        def __getitem__(self, rows: slice) -> Array:
            found: Array = super().__getitem__(rows)
            return found[:-1] if rows.start > 0 else found

    with pytest.raises(ValueError, match=r"^X\[256:512\] gave 255 rows; expected 256"):
        net.gradient(Short(X), Y)
    with pytest.raises(ValueError, match=r"^Y has 2899 rows and X has 2900; expected as many"):
        net.gradient(SOURCES["slices"](X, Y, Path())[0], Y[1:])
    with pytest.raises(ValueError, match=r"^X\[0:1\] has shape \(1, 8\); expected \(n, 7\)"):
        net.gradient(SOURCES["slices"](np.zeros((N, 8)), Y, Path())[0], Y)


def test_chunks_may_use_their_memory_again() -> None:
    """Also where NumPy gets at it through an object of theirs."""
    X, Y = examples()
    memory = np.empty((500, 7))

    class Wrapped:
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
            return memory

    def chunks():  # type: ignore[no-untyped-def]
        for start in range(0, 2_500, 500):
            memory[...] = X[start : start + 500]
            yield Wrapped(), Y[start : start + 500]

    net = network()
    same(net.gradient(X[:2_500], Y[:2_500]), net.gradient(chunks), "compiled")


def test_what_slices_may_not_give() -> None:
    X, Y = examples()

    class Nothing(Slices):
        def __getitem__(self, rows: slice) -> Any:
            return super().__getitem__(rows) if rows.start < 512 else None

    with pytest.raises(TypeError, match=r"^X\[512:768\] gave None; expected an array"):
        network().gradient(Nothing(X), Y)


def test_chunks_alone() -> None:
    X, Y = examples()
    net = network()
    chunks = SOURCES["chunks"](X, Y, Path())[0]
    with pytest.raises(ValueError, match=r"^sample_weight is given where X comes in chunks"):
        net.gradient(chunks, sample_weight=np.ones(N))
    with pytest.raises(ValueError, match=r"^out has 2899 rows, and X has more"):
        net.predict(chunks, out=np.empty((N - 1, 3)))
    with pytest.raises(ValueError, match=r"^out has 2901 rows and X has 2900; expected as many"):
        net.predict(chunks, out=np.empty((N + 1, 3)))
    with pytest.raises(TypeError, match=r"^out is list; expected a NumPy array"):
        net.predict(chunks, out=[0.0])
    with pytest.raises(ValueError, match=r"^X had no examples in any chunk"):
        net.gradient(lambda: [])
    with pytest.raises(TypeError, match=r"^Y is None; expected an array of numbers, as X is one"):
        net.gradient(X)
    with pytest.raises(TypeError, match=r"^Y is given, and X is .*; expected arrays"):
        net.cost(chunks, Y)
    with pytest.raises(TypeError, match=r"^X is .*generator.*comes to its end once"):
        net.cost(chunks())

    def wrong():  # type: ignore[no-untyped-def]
        yield X[:300], Y[:300]
        yield X[:300, :3], Y[:300]

    with pytest.raises(TypeError, match=r"^in chunk 1: what came is None .*; expected a pair"):
        net.gradient(lambda: [(X[:300], Y[:300]), None, (X, Y)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"^in chunk 1: X has shape \(300, 3\)"):
        net.gradient_norms(wrong)
    assert net.predict(lambda: [(X[:5], None)]).shape == (5, 3)
    assert net.predict(lambda: []).shape == (0, 3)
