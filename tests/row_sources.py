"""Sources of rows for the tests: the same numbers, each time lying somewhere else."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from support import Array

from cbackprop import datasets


class Slices:
    """A shape and slices of rows, and nothing else."""

    def __init__(self, rows: Array) -> None:
        self.rows, self.shape = rows, rows.shape
        self.asked: list[Any] = []

    def __getitem__(self, rows: slice) -> Array:
        assert isinstance(rows, slice)
        assert rows.step is None
        self.asked.append(rows)
        return self.rows[rows]


def unused(path: Path) -> Path:
    """Another name beside it: Windows does not write anew what is still in memory."""
    return path.with_name(f"{path.name} {os.urandom(4).hex()}")


def memory_mapped(array: Array, path: Path) -> Array:
    """A read-only map of a file with these numbers."""
    path = unused(path)
    with open(path, "wb") as file:
        array.tofile(file)
    return np.memmap(path, array.dtype, "r", shape=array.shape)


def of_shards(array: Array, path: Path) -> datasets.Shards:
    """In three files of unequal lengths, one of them empty."""
    path = unused(path)
    edges = [0, len(array) // 3, len(array) // 3, len(array) // 2, len(array)]
    paths = []
    for i, (start, stop) in enumerate(itertools.pairwise(edges)):
        paths.append(path.with_name(f"{path.name}.{i}.npy"))
        np.save(paths[-1], array[start:stop])
    return datasets.open_npy(paths)


def of_chunks(X: Array, Y: Array, rows: int) -> Callable[[], Iterator[tuple[Array, Array]]]:
    """A function that gives chunks, all in the same memory."""

    def chunks() -> Iterator[tuple[Array, Array]]:
        memory = np.empty_like(X[:rows]), np.empty_like(Y[:rows])
        for start in range(0, len(X), rows):
            n = len(X[start : start + rows])
            memory[0][:n], memory[1][:n] = X[start : start + rows], Y[start : start + rows]
            yield memory[0][:n], memory[1][:n]

    return chunks


# From X and Y in memory and a folder to what takes their places.
SOURCES: dict[str, Callable[[Array, Array, Path], tuple[Any, Any]]] = {
    "memmaps": lambda X, Y, at: (memory_mapped(X, at / "X"), memory_mapped(Y, at / "Y")),
    "X a memmap": lambda X, Y, at: (memory_mapped(X, at / "X"), Y),
    "Y a memmap": lambda X, Y, at: (X, memory_mapped(Y, at / "Y")),
    "Fortran": lambda X, Y, at: (
        memory_mapped(np.ascontiguousarray(X.T), at / "X").T,
        memory_mapped(np.ascontiguousarray(Y.T), at / "Y").T,
    ),
    "big-endian": lambda X, Y, at: (
        memory_mapped(X.astype(X.dtype.newbyteorder(">")), at / "X"),
        memory_mapped(Y.astype(Y.dtype.newbyteorder(">")), at / "Y"),
    ),
    "shards": lambda X, Y, at: (of_shards(X, at / "X"), of_shards(Y, at / "Y")),
    "slices": lambda X, Y, at: (Slices(X), Slices(Y)),
    "slices and lists": lambda X, Y, at: (Slices(X), Y.tolist()),
    "chunks": lambda X, Y, at: (of_chunks(X, Y, 777), None),
    "chunks of one row": lambda X, Y, at: (of_chunks(X[:700], Y[:700], 1), None),
}
