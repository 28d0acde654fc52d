"""Examples as sparse rows: of each the numbers that are not 0, and the columns they stand in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from cbackprop.functions import Array

if TYPE_CHECKING:
    import numpy.typing as npt


class SparseMatrix(Protocol):
    """What scipy.sparse's matrices and arrays have, of whatever format."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def nnz(self) -> int: ...

    def tocsr(self) -> object: ...


class SparseRows:
    """Rows (n, n_0) without their zeros, for the engines; nothing of it changes.

    Row i has the numbers ``values[p]`` in the columns ``columns[p]``, ascending and each once, for
    p from ``starts[i]`` to ``starts[i + 1] - 1``. Zeros may be among them.

    Parameters
    ----------
    starts : ndarray
        (n + 1,), int64.
    columns : ndarray
        int32, memory that nobody else writes to: compiled code trusts it.
    values : ndarray
        As many, float32 or float64.
    n_columns : int
        n_0.

    Attributes
    ----------
    least : float or None
        What no ``|value|`` that is not 0 is below, once an engine has looked.
    """

    def __init__(self, starts: Array, columns: Array, values: Array, n_columns: int) -> None:
        self.starts, self.columns, self.values = starts, columns, values
        for array in (starts, columns):
            array.flags.writeable = False
        self.shape = (len(starts) - 1, n_columns)
        self.dtype = values.dtype
        self.least: float | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> SparseRows:
        """Some of the rows, by a slice, by their numbers or by a mask."""
        chosen = np.arange(len(self))[rows]
        first: Array = self.starts[chosen]
        counts: Array = self.starts[chosen + 1] - first
        starts: Array = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(counts, out=starts[1:])
        # From a number's place among those chosen to its place here.
        places: Array = np.repeat(first - starts[:-1], counts)
        places += np.arange(len(places))
        part = SparseRows(starts, self.columns[places], self.values[places], self.shape[1])
        part.least = self.least
        return part

    def dense(self) -> Array:
        """(n, n_0), zeros and all."""
        array = np.zeros(self.shape, self.dtype)
        array[self.rows, self.columns[: self.size]] = self.values[: self.size]
        return array

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(self.starts[-1])

    @property
    def rows(self) -> Array:
        """Which row each number is of."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def apart(self, memory: Array) -> SparseRows:
        """The same rows, and none of their numbers in this memory."""
        if not np.may_share_memory(self.values, memory):
            return self
        return SparseRows(self.starts, self.columns, self.values.copy(), self.shape[1])


def in_order_of_columns(rows: SparseRows) -> SparseRows:
    """The same numbers, each row's in the order of its columns; those of one place are added."""
    row = rows.rows
    order = np.lexsort((rows.columns, row))
    row, columns, values = row[order], rows.columns[order], rows.values[order]
    is_other = np.ones(len(row), bool)
    is_other[1:] = (row[1:] != row[:-1]) | (columns[1:] != columns[:-1])
    first = np.flatnonzero(is_other)
    starts = np.searchsorted(row[first], np.arange(len(rows) + 1))
    return SparseRows(
        starts.astype(np.int64), columns[first], np.add.reduceat(values, first), rows.shape[1]
    )


Examples: TypeAlias = Array | SparseRows
# What calls take as X.
ExamplesLike: TypeAlias = "npt.ArrayLike | SparseMatrix"


def dense(X: Examples) -> Array:
    """The rows with their zeros: an array is that already."""
    return X.dense() if isinstance(X, SparseRows) else X


def numbers_of(X: Examples) -> Array:
    """The array that holds all numbers that are not 0, in the order of the rows."""
    return X.values if isinstance(X, SparseRows) else X
