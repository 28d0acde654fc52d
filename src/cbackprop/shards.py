"""Rows that lie in several .npy files, as one source of rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array


class Shards:
    """The rows of several arrays, one array after the other: what `datasets.open_npy` opens.

    Nothing is read but what is asked for: ``shards[a:b]`` is an array of these rows, as is
    ``shards.take_rows(numbers)``; ``np.asarray(shards)`` reads all of them.

    Parameters
    ----------
    parts : tuple of ndarray
        (n_i, …) each, alike but for n_i; one at least.

    Attributes
    ----------
    shape : tuple of int
        (n, …), n the rows of all of them.
    dtype : dtype
        In which all their numbers fit.
    """

    def __init__(self, parts: tuple[Array, ...]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape: tuple[int, ...] = (int(self._ends[-1]), *parts[0].shape[1:])
        self.dtype: np.dtype[Any] = np.result_type(*parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: object) -> Array:
        """Some rows in their order, in memory where they are of several files.

        Raises
        ------
        TypeError
            For anything but a slice.
        """
        if not isinstance(rows, slice):
            raise TypeError(f"rows is {validation.shown(rows)}; expected a slice, or take_rows")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            return self.take_rows(np.arange(start, stop, step))
        first, last = np.searchsorted(self._ends, (start, max(stop - 1, start)), side="right")
        begins = self._begins()
        found = [
            self._parts[i][max(start - begins[i], 0) : max(stop - begins[i], 0)]
            for i in range(min(first, len(begins) - 1), min(last, len(begins) - 1) + 1)
        ]
        if len(found) == 1:
            return found[0].astype(self.dtype, copy=False)
        return np.concatenate(found, dtype=self.dtype)

    def take_rows(self, rows: Array) -> Array:
        """Some rows by their numbers, in memory.

        Parameters
        ----------
        rows : ndarray, shape (m,)
            Integers in 0 … n − 1, in any order and as often as they come.

        Returns
        -------
        ndarray, shape (m, …)
            In the type of all the numbers.

        Raises
        ------
        IndexError
            For a number of no row.
        """
        result = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(
                f"rows has {rows.min()} to {rows.max()}; expected 0 to {len(self) - 1}"
            )
        of_part = np.searchsorted(self._ends, rows, side="right")
        for i, begin in enumerate(self._begins()):
            here = of_part == i
            if here.any():
                result[here] = self._parts[i][rows[here] - begin]
        return result

    def _begins(self) -> list[int]:
        return [0, *self._ends[:-1].tolist()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError(
                "copy is False; expected None or True: rows of several files are copied"
            )
        return np.asarray(self[:], dtype=dtype)

    def __repr__(self) -> str:
        files = validation.counted(len(self._parts), "file")
        return f"<rows of {files}, shape {self.shape}, {self.dtype}>"


def open_npy(paths: Iterable[validation.PathLike]) -> Shards:
    """Open .npy files whose rows follow one another, without reading them.

    Parameters
    ----------
    paths : sequence of paths
        One file at least, in the order of the rows. Arrays of numbers (n_i, …), alike but for n_i,
        as `numpy.save` writes them.

    Returns
    -------
    Shards
        What calls take as X or Y: it is read a piece at a time. A fit may take its rows in any
        order.

    Raises
    ------
    TypeError, ValueError
        Naming the path: that is none, of a file that is no .npy file of numbers, or has other
        columns than the first.
    OSError
        If there is no such file, or it cannot be read.
    """
    if isinstance(paths, (str, bytes)) or not hasattr(paths, "__iter__"):
        raise TypeError(f"paths is {validation.shown(paths)}; expected a sequence of paths")
    parts: list[Array] = []
    for i, given in enumerate(paths):
        name = f"paths[{i}]"
        path = validation.file_path(name, given)
        try:
            loaded: object = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ValueError(
                f"{name} is {path!r}; expected a .npy file of numbers, as numpy.save writes them"
            ) from error
        if not validation.is_array(loaded):
            raise ValueError(f"{name} is {path!r}, which is an archive; expected a .npy file")
        part = loaded
        if part.ndim == 0 or part.dtype.kind not in "fiub":
            raise ValueError(
                f"{name} is {path!r}, of shape {part.shape} and dtype {part.dtype}; expected rows "
                "of real numbers"
            )
        if parts and part.shape[1:] != parts[0].shape[1:]:
            raise ValueError(
                f"{name} is {path!r}, of shape {part.shape}; expected rows as paths[0] has them, "
                f"{parts[0].shape[1:]}"
            )
        parts.append(part)
    if not parts:
        raise ValueError("paths is empty; expected one path at least")
    return Shards(tuple(parts))
