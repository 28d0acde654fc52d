"""Examples in HDF5, zarr and dask: the bits of arrays in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Array, bits, needs_compiled

from cbackprop import Network
from cbackprop.streams import sources as reading

SIZES = (6, 8, 2)
N = 3_000


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 rows at a time."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 256 * 8 * 8)
    monkeypatch.setattr(reading, "SHUFFLED_BYTES", 256 * 8 * 8)


def examples() -> tuple[Array, Array]:
    X = np.random.default_rng(0).normal(size=(N, SIZES[0])).astype(np.float32)
    return X, np.tanh(X[:, : SIZES[-1]])


def of_h5py(chunks: Any) -> Callable[[Array, Path], Any]:
    def dataset(array: Array, path: Path) -> Any:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file.create_dataset("rows", data=array, chunks=chunks)
        return h5py.File(path, "r")["rows"]

    return dataset


def of_zarr(array: Array, path: Path) -> Any:
    zarr = pytest.importorskip("zarr")
    rows = zarr.open(path, mode="w", shape=array.shape, chunks=(700, 2), dtype=array.dtype)
    rows[:] = array
    return zarr.open(path, mode="r")


def of_dask(array: Array, path: Path) -> Any:
    return pytest.importorskip("dask.array").from_array(array, chunks=(700, 2))


SOURCES: dict[str, Callable[[Array, Path], Any]] = {
    "h5py": of_h5py(None),
    "h5py in chunks": of_h5py((100, 2)),
    "zarr": of_zarr,
    "dask": of_dask,
}


@needs_compiled
@pytest.mark.parametrize("name", SOURCES)
def test_every_call(name: str, tmp_path: Path) -> None:
    X, Y = examples()
    given = SOURCES[name](X, tmp_path / "X"), SOURCES[name](Y, tmp_path / "Y")
    net = Network(SIZES, "tanh", seed=0)
    assert bits(net.gradient(*given).vector) == bits(net.gradient(X, Y).vector)
    assert bits(net.predict(given[0])) == bits(net.predict(X))
    assert net.cost(*given) == net.cost(X, Y)
    assert bits(net.gradient_norms(*given)) == bits(net.gradient_norms(X, Y))
    for found, expected in zip(
        net.gradient_moments(*given), net.gradient_moments(X, Y), strict=True
    ):
        assert bits(found.vector) == bits(expected.vector)
    assert net.score(*given) == net.score(X, Y)
    assert bits(net.jacobian(given[0])) == bits(net.jacobian(X))


@needs_compiled
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("name", SOURCES)
def test_fit(name: str, shuffle: bool, tmp_path: Path) -> None:
    X, Y = examples()
    given = SOURCES[name](X, tmp_path / "X"), SOURCES[name](Y, tmp_path / "Y")
    net, twin = (Network(SIZES, "tanh", seed=0) for _ in range(2))
    one = net.fit(X, Y, epochs=2, shuffle=shuffle, validation_data=(X, Y))
    other = twin.fit(*given, epochs=2, shuffle=shuffle, validation_data=given)
    if not shuffle or name.startswith("h5py"):
        assert bits(net.parameters) == bits(twin.parameters)
        assert one.cost == other.cost
        assert one.validation_cost == other.validation_cost
    else:  # by pieces: another order
        assert bits(net.parameters) != bits(twin.parameters)
        assert other.cost[-1] == pytest.approx(one.cost[-1], rel=0.2)


def test_rows_that_nobody_has_counted() -> None:
    dask = pytest.importorskip("dask.array")
    X = examples()[0]
    rows = dask.from_array(X, chunks=(700, 6))
    some = rows[rows[:, 0] > 0]
    net = Network(SIZES, "tanh", seed=0)
    with pytest.raises(ValueError, match=r"^X has shape \(nan, 6\); .* use \.compute_chunk_sizes"):
        net.predict(some)
    some.compute_chunk_sizes()
    assert bits(net.predict(some)) == bits(net.predict(X[X[:, 0] > 0]))


def test_a_closed_file(tmp_path: Path) -> None:
    X, Y = examples()
    rows = of_h5py(None)(X, tmp_path / "X")
    rows.file.close()
    before = Network(SIZES, "tanh", seed=0)
    net = before.copy()
    with pytest.raises((TypeError, ValueError), match=r"^X "):
        net.fit(rows, Y)
    assert bits(net.parameters) == bits(before.parameters)


def test_tables_beside_files(tmp_path: Path) -> None:
    """A frame's columns go by their names, and the network takes these, as without the file."""
    pandas = pytest.importorskip("pandas")
    X, Y = examples()
    names = [f"x{k}" for k in range(SIZES[0])]
    with open(tmp_path / "Y", "wb") as file:
        Y.tofile(file)
    of_file = np.memmap(tmp_path / "Y", np.float32, "r", shape=Y.shape)
    frame = pandas.DataFrame(X.astype(np.float64), columns=names)
    net, twin = (Network(SIZES, "tanh", seed=0) for _ in range(2))
    net.fit(frame, Y, epochs=1)
    twin.fit(frame, of_file, epochs=1)
    assert twin.feature_names == net.feature_names == tuple(names)
    assert bits(net.parameters) == bits(twin.parameters)
    turned = frame[names[::-1]]
    assert bits(twin.gradient(turned, of_file).vector) == bits(net.gradient(X, Y).vector)


def test_tables_to_judge_by(tmp_path: Path) -> None:
    """In the order of the training's, beside a file and in chunks."""
    pandas = pytest.importorskip("pandas")
    X, Y = examples()
    names = [f"x{k}" for k in range(SIZES[0])]
    frame = pandas.DataFrame(X.astype(np.float64), columns=names)
    turned = frame[names[::-1]]
    with open(tmp_path / "Y", "wb") as file:
        Y.tofile(file)
    of_file = np.memmap(tmp_path / "Y", np.float32, "r", shape=Y.shape)
    expected = None
    for judged in ((turned, Y), (turned, of_file), lambda: [(turned, Y)]):
        net = Network(SIZES, "tanh", seed=0)
        history = net.fit(frame, Y, epochs=1, validation_data=judged)
        expected = expected or history.validation_cost
        assert history.validation_cost == expected
    net = Network(SIZES, "tanh", seed=0)
    with pytest.raises(ValueError, match=r"^validation_data\[0\] has the columns .* too late"):
        net.fit(lambda: [(frame, Y)], epochs=1, validation_data=(turned, Y))


def test_tables_in_chunks() -> None:
    """The first chunk's order is that of the others; only training gives the network names."""
    pandas = pytest.importorskip("pandas")
    X, Y = examples()
    names = [f"x{k}" for k in range(SIZES[0])]

    def chunks() -> Any:
        for start in range(0, N, 700):
            frame = pandas.DataFrame(X[start : start + 700].astype(np.float64), columns=names)
            yield frame[names if start == 0 else names[::-1]], Y[start : start + 700]

    net = Network(SIZES, "tanh", seed=0)
    assert bits(net.gradient(chunks).vector) == bits(net.gradient(X, Y).vector)
    assert bits(net.predict(chunks)) == bits(net.predict(X))
    assert net.feature_names is None
    net.fit(chunks, epochs=1)
    assert net.feature_names == tuple(names)
