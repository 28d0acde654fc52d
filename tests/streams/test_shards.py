"""Rows in several .npy files as one source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import Array, bits

from cbackprop import datasets


def files(tmp_path: Path, *arrays: Array) -> list[Path]:
    paths = [tmp_path / f"{i}.npy" for i in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    return paths


@pytest.mark.parametrize("lengths", [(5,), (3, 4), (0, 3, 0, 0, 4, 0), (1, 1, 1), (0,)])
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_every_slice_and_any_numbers(
    lengths: tuple[int, ...], shape: tuple[int, ...], tmp_path: Path
) -> None:
    n = sum(lengths)
    whole = np.arange(n * int(np.prod(shape, dtype=int)), dtype=np.float32).reshape(n, *shape)
    shards = datasets.open_npy(files(tmp_path, *np.split(whole, np.cumsum(lengths)[:-1])))
    assert shards.shape == whole.shape
    assert shards.dtype == whole.dtype
    assert len(shards) == n
    assert bits(np.asarray(shards)) == bits(whole)
    for start in (None, *range(-2, n + 2)):
        for stop in (None, *range(-2, n + 2)):
            for step in (None, 2, -1):
                rows = slice(start, stop, step)
                assert bits(shards[rows]) == bits(whole[rows]), rows
    numbers = np.random.default_rng(0).integers(0, max(n, 1), 20 if n else 0)
    assert bits(shards.take_rows(numbers)) == bits(whole[numbers])


def test_numbers_of_several_types(tmp_path: Path) -> None:
    parts = np.arange(3, dtype=np.uint8)[:, np.newaxis], np.array([[0.5]], np.float32)
    shards = datasets.open_npy(files(tmp_path, *parts))
    assert shards.dtype == np.float32
    assert shards.take_rows(np.array([3, 2])).ravel().tolist() == [0.5, 2]
    assert shards[0:2].dtype == shards[2:4].dtype == np.float32


def test_nothing_is_read_but_what_is_asked_for(tmp_path: Path) -> None:
    paths = files(tmp_path, np.zeros((3, 2)), np.ones((3, 2)))
    shards = datasets.open_npy(paths)
    assert isinstance(shards[1:3], np.memmap)
    assert repr(shards) == "<rows of 2 files, shape (6, 2), float64>"


def test_what_is_refused(tmp_path: Path) -> None:
    good = files(tmp_path, np.zeros((3, 2)))[0]
    text, archive, names, wide, point = (tmp_path / f"{i}" for i in range(5))
    text.write_text("1,2\n")
    with open(archive, "wb") as file:
        np.savez(file, X=np.zeros(3))
    for path, array in ((names, np.array(["a"])), (wide, np.zeros((2, 3))), (point, np.zeros(()))):
        with open(path, "wb") as file:
            np.save(file, array)
    for paths, message in (
        ([], "^paths is empty; expected one path at least"),
        (str(good), "^paths is '.*expected a sequence of paths"),
        ([good, text], r"^paths\[1\] is '.*'; expected a \.npy file of numbers"),
        ([archive], r"^paths\[0\] is '.*', which is an archive; expected a \.npy file"),
        ([names], r"^paths\[0\] is '.*', of shape \(1,\) and dtype [<>]U1; expected rows of real"),
        ([point], r"^paths\[0\] is '.*', of shape \(\) and dtype float64; expected rows"),
        ([good, wide], r"^paths\[1\] is '.*', of shape \(2, 3\); expected rows as paths\[0\]"),
        ([good, 3], r"^paths\[1\] is 3"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            datasets.open_npy(paths)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        datasets.open_npy([tmp_path / "none.npy"])
    with pytest.raises(IndexError, match=r"^rows has 0 to 3; expected 0 to 2"):
        datasets.open_npy([good]).take_rows(np.array([0, 3]))
    with pytest.raises(TypeError, match=r"^rows is 1; expected a slice"):
        datasets.open_npy([good])[1]  # type: ignore[index]
