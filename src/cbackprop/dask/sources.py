"""What chunks may be, as tasks that make them on the workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from cbackprop import validation
from cbackprop.dask.library import Delayed, delayed, dumps, is_dask_collection, optimize
from cbackprop.dask.tasks import of_arrays, of_function, of_pair
from cbackprop.functions import Array

AN_ENTRY = (
    "a function without arguments or a dask.delayed object that gives a pair (X, Y), a pair of "
    "paths ('X.npy', 'Y.npy') or one of an .npz file"
)
Chunks = Sequence[object]  # a pair of Dask arrays, or entries


def pickled(name: str, value: object) -> bytes:
    """For the workers; TypeError where that cannot be."""
    try:
        return dumps(value)
    except Exception as error:
        raise TypeError(
            f"{name} is {validation.shown(value)}, which does not pickle ({error}); expected what "
            "can be sent to the workers"
        ) from error


def tasks(chunks: object, described: bytes) -> list[Delayed]:
    """A task for each chunk, in order, whose result is a `tasks.Chunk`.

    Raises
    ------
    TypeError, ValueError
        Naming the entry of ``chunks``.
    """
    if not validation.is_list(chunks):
        raise validation.wrong_type(
            "chunks",
            chunks,
            f"a pair (X, Y) of Dask arrays, or a list whose entries are {AN_ENTRY}",
        )
    if len(chunks) == 2 and all(_is_dask_array(part) for part in chunks):
        return _blocks(described, *chunks)
    if len(chunks) == 0:
        raise ValueError("chunks is empty; expected at least 1")
    return [_task(described, k, entry) for k, entry in enumerate(chunks)]


def _task(described: bytes, k: int, entry: object) -> Delayed:
    name = f"chunks[{k}]"
    if isinstance(entry, Delayed):
        return delayed(of_pair, pure=False)(described, k, entry)
    if validation.is_list(entry) and len(entry) == 2:
        if all(isinstance(part, Delayed) for part in entry):
            return delayed(of_arrays, pure=False)(described, k, *entry)
        if all(_is_path(part) for part in entry):
            X, Y = (validation.file_path(f"{name}[{i}]", part) for i, part in enumerate(entry))
            return _of_function(described, k, partial(_from_npy, X, Y))
    elif _is_path(entry):
        path = validation.file_path(name, entry)
        if path.endswith(".npz"):
            return _of_function(described, k, partial(_from_npz, path))
    elif callable(entry):
        return _of_function(described, k, entry)
    raise validation.wrong_type(name, entry, AN_ENTRY)


def _of_function(described: bytes, k: int, function: object) -> Delayed:
    return delayed(of_function, pure=False)(described, k, pickled(f"chunks[{k}]", function))


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def _from_npy(X: str, Y: str) -> tuple[Array, Array]:
    return np.load(X, allow_pickle=False), np.load(Y, allow_pickle=False)


def _from_npz(path: str) -> tuple[Array, Array]:
    with np.load(path, allow_pickle=False) as arrays:
        if not {"X", "Y"} <= {*arrays}:
            raise ValueError(f"{path} has the arrays {sorted(arrays)}; expected X and Y")
        return arrays["X"], arrays["Y"]


def _is_dask_array(value: object) -> bool:
    # A Delayed has every attribute that it is asked for.
    return is_dask_collection(value) and hasattr(type(value), "rechunk")


def _blocks(described: bytes, *pair: Any) -> list[Delayed]:
    """Of two Dask arrays: whole rows, in blocks of as many of X as of Y."""
    for name, array, meaning in zip("XY", pair, ("n_0", "n_L"), strict=True):
        if array.ndim != 2:
            raise ValueError(
                f"{name} of chunks has shape {array.shape}; expected two axes, (n, {meaning})"
            )
    X, Y = (array.rechunk({1: -1}) for array in pair)
    if X.numblocks[0] != Y.numblocks[0] or (
        X.chunks[0] != Y.chunks[0] and not np.isnan([*X.chunks[0], *Y.chunks[0]]).any()
    ):
        if np.isnan([*X.chunks[0], *Y.chunks[0]]).any():
            raise ValueError(
                "chunks has arrays whose rows are not counted, in different numbers of row chunks; "
                "expected the same, after .compute_chunk_sizes()"
            )
        raise ValueError(
            f"chunks has X in row chunks {validation.shown(X.chunks[0])} and Y in "
            f"{validation.shown(Y.chunks[0])}; expected the same: Y.rechunk({{0: X.chunks[0]}})"
        )
    # Together, so that what both are made from is made once.
    X, Y = optimize(X, Y)
    make: Callable[..., Delayed] = delayed(of_arrays, pure=False)
    rows = zip(X.to_delayed(False).ravel(), Y.to_delayed(False).ravel(), strict=True)
    return [make(described, k, *blocks) for k, blocks in enumerate(rows)]
