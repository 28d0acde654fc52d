"""Rows that lie somewhere else, and how some of them become an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.streams.ahead import wait_for_readers

# What is read at a time, in the network's numbers; who has no more of them is read whole. Twice as
# much, and half, take longer: memory is not had again, or threads meet too often.
PIECE_BYTES = 1 << 23
# Rows that come by slices alone are shuffled within so many.
SHUFFLED_BYTES = 1 << 25

# Judges rows that are called so, and makes of them an array (n, width) of the network's numbers.
Judge = Callable[[str, object], Array]


class Rows:
    """The rows (n, width) of a source, some at a time.

    Parameters
    ----------
    argument : str
        What messages call it.
    source : object
        With a shape and slices of its rows.
    judge : callable
        What makes arrays of them.
    width, dtype
        Of these arrays.

    Attributes
    ----------
    takes_numbers : bool
        Whether rows can be had by their numbers, too, and not only by slices.
    """

    def __init__(
        self, argument: str, source: Any, judge: Judge, width: int, dtype: np.dtype[Any]
    ) -> None:
        self.argument, self.source, self.judge = argument, source, judge
        self.shape, self.dtype = (validation.n_rows(argument, source), width), dtype
        wait_for_readers(source)
        judge(f"{argument}[0:1]", source[0:1])  # what is wrong with all of them is told at once
        self.is_hdf5 = type(source).__module__.partition(".")[0] == "h5py"
        self.takes_numbers = (
            self.is_hdf5 or isinstance(source, np.ndarray) or hasattr(source, "take_rows")
        )
        self.may_use_memory_again = not self.takes_numbers

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Array) -> Array:
        """Some of them, judged.

        Raises
        ------
        TypeError, ValueError
            Naming the row.
        """
        if isinstance(rows, slice):
            name, n = f"{self.argument}[{rows.start}:{rows.stop}]", rows.stop - rows.start
            found = self.source[rows.start : rows.stop]
        else:
            name, n = f"{self.argument}[rows]", len(rows)
            rows = rows.view()
            rows.flags.writeable = False  # the same numbers are for X and Y
            found = self._numbered(rows)
        validation.as_many_rows(name, found, n)
        try:
            judged = self.judge(name, found)
            # A source of the user's may give the next rows in the same memory meanwhile.
            return judged.copy() if self.may_use_memory_again else judged
        except ValueError:
            for i in range(n):
                row = rows.start + i if isinstance(rows, slice) else int(rows[i])
                self.judge(f"{self.argument}[{row}:{row + 1}]", found[i : i + 1])
            raise

    def _numbered(self, rows: Array) -> Any:
        if not self.is_hdf5:
            take = getattr(self.source, "take_rows", None)
            return self.source[rows] if take is None else take(rows)
        # h5py takes ascending numbers, each once.
        ascending, places = np.unique(rows, return_inverse=True)
        return np.asarray(self.source[ascending])[places]

    def pieces(self) -> Iterator[Array]:
        """All of them, in their order."""
        step = rows_in(PIECE_BYTES, self.shape[1] * self.dtype.itemsize)
        for start in range(0, len(self), step):
            yield self[start : min(start + step, len(self))]


def rows_in(n_bytes: int, row_bytes: int) -> int:
    """How many rows, a power of two of them, so many bytes hold; the same on any machine."""
    return 1 << max(n_bytes // max(row_bytes, 1), 1).bit_length() - 1
