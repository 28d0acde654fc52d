"""Tables from NumPy's .npy and .npz files.

What stands in them is read by NumPy, which trusts a header's shape and takes memory for it; so the
shape is compared with the file's length first.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from cbackprop.functions import Array
from cbackprop.tables import kinds
from cbackprop.tables.columns import LAST_COLUMN, Form, Heading, Table, whole_if_so
from cbackprop.validation import shown, some

_MOST_BY_DEFLATE = 1032  # bytes that one byte of a compressed file can become
_STORED, _DEFLATED = 0, 8  # zipfile's numbers of the methods, which np.savez uses


def read_npy(stream: IO[bytes], name: str, form: Form) -> Table:
    """The examples of a .npy file: one array, of which some columns may be targets.

    Raises
    ------
    ValueError
        Naming the file, or the part of `form`.
    """
    with _naming_damage(name, "npy"):
        _require_length(stream, os.fstat(stream.fileno()).st_size)
        stream.seek(0)
        array: Array = np.load(stream, allow_pickle=False)
    return _columns_of(f"{name}: its array", array, form)


def read_npz(stream: IO[bytes], name: str, form: Form) -> Table:
    """The examples of a .npz file: an array of inputs, and perhaps one of targets.

    Raises
    ------
    ValueError
        Naming the file, or the part of `form`.
    """
    X, Y, x_key, y_key = _load_npz(stream, name, form)
    where = f"{name}: array {x_key!r}"
    if Y is None:
        return _columns_of(where, X, form)
    # A model's own names, a tuple, are of what Y has; an option's would be columns of X.
    if isinstance(form.target, str) and form.target != str(LAST_COLUMN):
        raise ValueError(
            f"target is {shown(form.target)}; expected none, because array {y_key!r} of {name} "
            "has the targets"
        )
    table = _columns_of(where, X, form._replace(target=None))
    where = f"{name}: array {y_key!r}"
    if np.ndim(Y) == 0 or len(Y) != len(X) or Y.size == 0:
        raise ValueError(
            f"{where} has shape {np.shape(Y)}; expected {len(X)} rows as {x_key!r} has"
        )
    if form.target is None:
        return table
    columns = Y.reshape(len(Y), -1)
    if columns.dtype.kind in "bU":
        targets = tuple(column.astype(np.str_) for column in columns.T)
    else:
        targets = tuple(whole_if_so(column) for column in _numbers_of(where, columns).T)
    return table._replace(targets=targets, target_names=(y_key,) * len(targets))


def _load_npz(stream: IO[bytes], name: str, form: Form) -> tuple[Array, Array | None, str, str]:
    """The arrays of the inputs and of the targets, where there are any, and their names."""
    import zipfile

    with _naming_damage(name, "npz"), zipfile.ZipFile(stream) as archive:
        members = archive.namelist()
    if not any(member.endswith(".npy") for member in members):
        text, advice = kinds.of_archive(members)
        raise ValueError(f"{name} is {text}; expected CSV, .npy or .npz: {advice}")
    stream.seek(0)
    with _naming_damage(name, "npz"), np.load(stream, allow_pickle=False) as arrays:
        files: list[str] = list(arrays.files)
    x_key = _key("x_key", form.x_key, ("X", "x"), files, name)
    y_key = _key("y_key", form.y_key, ("Y", "y"), files, name)
    if x_key is None and len(files) == 1 and form.y_key is None:
        x_key, y_key = files[0], None
    if x_key is None or x_key == y_key:
        raise ValueError(
            f"{name} has the arrays {some(files)}; expected X or x for the inputs, and Y or y "
            "for the targets, or x_key and y_key to name others"
        )
    with _naming_damage(name, "npz"):
        _require_lengths(stream, [key for key in (x_key, y_key) if key is not None])
    stream.seek(0)
    with _naming_damage(name, "npz"), np.load(stream, allow_pickle=False) as arrays:
        return arrays[x_key], None if y_key is None else arrays[y_key], x_key, str(y_key)


def _require_lengths(stream: IO[bytes], keys: list[str]) -> None:
    """Refuse arrays of an archive that are longer than what is packed can be."""
    import zipfile

    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if info.filename.removesuffix(".npy") not in keys or info.filename in keys:
                continue
            most = info.file_size
            if info.compress_type in (_STORED, _DEFLATED):
                most = min(most, info.compress_size * _MOST_BY_DEFLATE)
            with archive.open(info) as member:
                _require_length(member, most)


def _require_length(stream: IO[bytes], size: int) -> None:
    """Refuse a .npy file whose header has a shape that its length does not have room for."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    n = math.prod(shape) * dtype.itemsize
    if n > size and not dtype.hasobject:  # of objects NumPy says itself that it does not read them
        raise ValueError(f"its array has shape {shape}; expected {n} bytes, it has {size}")


@contextmanager
def _naming_damage(name: str, kind: str) -> Generator[None, None, None]:
    """Say of whatever comes of a damaged file which file it is.

    NumPy and zipfile leave what they meet to the parsers below them: of Python's literals, of
    compressed data. What these raise is no list that could be written down.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how old the file is, on several lines
            yield
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's, and no damage
        raise ValueError(f"{name} is no whole .{kind} file of numbers or text: {error}") from None


def _key(
    option: str, key: str | None, usual: tuple[str, ...], files: list[str], name: str
) -> str | None:
    if key is None:
        return next((one for one in usual if one in files), None)
    if key not in files:
        raise ValueError(
            f"{option} is {shown(key)}; expected one of the arrays of {name}: {some(files)}"
        )
    return key


def _columns_of(where: str, array: Array, form: Form) -> Table:
    """One array, of which some columns may be targets."""
    values = _numbers_of(where, array)
    heading = Heading(None, values.shape[1])
    inputs, targets = heading.chosen(form)
    return Table(
        np.ascontiguousarray(values[:, inputs]),
        tuple(map(heading.name_of, inputs)),
        tuple(whole_if_so(values[:, column]) for column in targets),
        tuple(map(heading.name_of, targets)),
    )


def _numbers_of(where: str, values: Array | bytes) -> Array:
    """An array as (n, columns) of finite float64; pictures become rows of pixels."""
    if not isinstance(values, np.ndarray):  # another file in the archive
        raise ValueError(f"{where} is no array; expected a .npz file, or CSV")
    if values.dtype.kind not in "buif":
        raise ValueError(f"{where} has dtype {values.dtype}; expected numbers")
    if values.ndim < 2 or values.size == 0:
        raise ValueError(
            f"{where} has shape {values.shape}; expected (rows, columns), one at least"
        )
    values = values.reshape(len(values), -1)
    with np.errstate(over="ignore"):  # of a longdouble: then it is infinite, and refused
        values = values.astype(np.float64)
    wrong: Any = ~np.isfinite(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{where} has {float(values[row, column])!r} in row {row}, column {column}; expected "
            "finite numbers"
        )
    return values
