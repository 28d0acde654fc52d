"""Tables of examples from files: CSV, and NumPy's .npy and .npz.

Each row is an example. Inputs are numbers, or words where that is asked for; target columns are
numbers or names of classes. What a file is, is told from its first bytes and not from its name.
Nothing in a file is filled in unless that is asked for, and nothing is guessed that may be
otherwise: a cell that is no number is an error that names its line and its column, and of all
columns that have one it is told at once.

Columns and rows count from 0, lines of a file from 1.
"""

from __future__ import annotations

import io
import sys
from typing import IO

from cbackprop.tables import arrays, csv_file, kinds
from cbackprop.tables.columns import LAST_COLUMN, Column, Form, Table, listed
from cbackprop.tables.mixed import fill_with_means
from cbackprop.validation import shown

__all__ = [
    "LAST_COLUMN",
    "STANDARD_INPUT",
    "Column",
    "Form",
    "Table",
    "fill_with_means",
    "kinds",
    "listed",
    "read_table",
]

STANDARD_INPUT = "-"

_NPY, _ZIP = b"\x93NUMPY", b"PK\3\4"
_EMPTY_ZIP = b"PK\5\6"
_START = 4096  # bytes that are looked at


def read_table(path: str, form: Form) -> Table:
    """Read the examples of a file.

    Parameters
    ----------
    path : str
        A CSV file, a .npy or a .npz file; "-" is a CSV file from standard input.
    form : Form

    Returns
    -------
    Table

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    ValueError
        Beginning with the file's name, and with the line where there is one, for contents that are
        no table; or naming the part of `form` that does not fit.
    """
    if form.delimiter is not None and (len(form.delimiter) != 1 or form.delimiter in '"\r\n'):
        raise ValueError(f"delimiter is {shown(form.delimiter)}; expected one character")
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise ValueError("data is '-'; expected a file: standard input is closed")
        return _read(sys.stdin.buffer, "<stdin>", form, by_name=False)
    with open(path, "rb") as stream:
        return _read(stream, path, form, by_name=True)


def _read(stream: IO[bytes], name: str, form: Form, by_name: bool) -> Table:
    """What a stream has; of an array's file it must be known by name, as it is read twice."""
    start = stream.read(_START)
    is_npy, is_zip = start.startswith(_NPY), start.startswith((_ZIP, _EMPTY_ZIP))
    if is_npy or is_zip:
        if not by_name or not stream.seekable():
            raise ValueError(
                f"{name} is {'a .npy file' if is_npy else 'a .npz file or another archive'}; "
                "expected CSV from a pipe: give the file's own name"
            )
        stream.seek(0)
        _only_for(form, name, () if is_npy else ("x_key", "y_key"))
        return (arrays.read_npy if is_npy else arrays.read_npz)(stream, name, form)
    kind = kinds.of_bytes(start[: kinds.LONGEST])
    if kind is not None:
        raise ValueError(f"{name} is {kind.text}; expected CSV, .npy or .npz: {kind.advice}")
    _only_for(form, name, ("header", "delimiter", "encoding", "categorical", "missing"))
    return csv_file.read_csv(io.BufferedReader(_Joined(start, stream)), start, name, form)


def _only_for(form: Form, name: str, parts: tuple[str, ...]) -> None:
    """Refuse what a file of this kind does not have."""
    for part in ("header", "delimiter", "encoding", "categorical", "missing", "x_key", "y_key"):
        if part not in parts and getattr(form, part) not in (None, False):
            kind = ".npz" if part.endswith("key") else "CSV"
            raise ValueError(
                f"{part} is {shown(getattr(form, part))}; expected none: {name} is no {kind} file"
            )


class _Joined(io.RawIOBase):
    """The bytes that were looked at, and then the rest of the stream: a pipe has no way back."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._start:
            piece, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        else:
            piece = self._rest.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)
