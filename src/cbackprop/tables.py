"""Tables of examples from files: CSV, and NumPy's .npy and .npz.

Each row is an example. Inputs are numbers; target columns are numbers or names of classes. What a
file is, is told from its first bytes and not from its name. Nothing in a file is guessed or filled
in: a cell that is no number is an error that names its line and its column.

Columns and rows count from 0, lines of a file from 1.
"""

from __future__ import annotations

import itertools
import math
import re
import sys
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from cbackprop.functions import Array
from cbackprop.validation import did_you_mean, shown

if TYPE_CHECKING:
    from io import BufferedReader

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MISSING = ("nan", "na", "n/a", "null", "none", "?", "-", "inf", "-inf", "+inf", "infinity")
_NPY, _ZIP, _GZIP = b"\x93NUMPY", b"PK", b"\x1f\x8b"
_DELIMITERS = (",", ";", "\t")
_MOST_NAMES_SHOWN = 8
_LARGEST_WHOLE = 2**53  # up to here every whole number is a float64

STANDARD_INPUT = "-"
LAST_COLUMN = "-1"


class Table(NamedTuple):
    """The examples of a file.

    Attributes
    ----------
    X : ndarray
        (n, n_0), float64, finite.
    inputs : tuple of str
        The names of X's columns.
    targets : tuple of ndarray
        A column (n,) each: int64 where every number is whole, float64 for other numbers, str for
        names. Empty where no target was asked for.
    target_names : tuple of str
        The names of these columns.
    """

    X: Array
    inputs: tuple[str, ...]
    targets: tuple[Array, ...]
    target_names: tuple[str, ...]


class Form(NamedTuple):
    """How a file is to be read.

    Attributes
    ----------
    target : str or None
        Columns that are targets and not inputs: names or numbers, with commas between. None for
        none.
    drop : str or None
        Columns that are neither.
    header : bool or None
        Whether the first line of a CSV file has the columns' names; None: it has if none of its
        cells is a number.
    delimiter : str or None
        The character between a CSV file's cells; None: a comma, or where the first line has none,
        a semicolon or a tabulator.
    x_key, y_key : str or None
        Names of the arrays of a .npz file; X or x and Y or y by default.
    mixed : bool
        Whether a target column may have numbers in some rows and names in others; all are names
        then.
    """

    target: str | None = None
    drop: str | None = None
    header: bool | None = None
    delimiter: str | None = None
    x_key: str | None = None
    y_key: str | None = None
    mixed: bool = False


def read_table(path: str, form: Form) -> Table:
    """Read the examples of a file.

    Parameters
    ----------
    path : str
        A CSV file in UTF-8, a .npy or a .npz file; "-" is a CSV file from standard input.
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
        return _read_csv(sys.stdin.buffer, "<stdin>", form)
    with open(path, "rb") as stream:
        start = stream.peek(len(_NPY))[: len(_NPY)]
        if start == _NPY:
            _only_for(form, path, ())
            return _read_npy(stream, path, form)
        if start.startswith(_ZIP):
            _only_for(form, path, ("x_key", "y_key"))
            return _read_npz(stream, path, form)
        if start.startswith(_GZIP):
            raise ValueError(f"{path} is compressed by gzip; expected a file that is not")
        if start.startswith(b"\0\0"):
            raise ValueError(
                f"{path} begins as an idx file does; expected CSV, .npy or .npz: --mnist takes the "
                "folder of the four idx files"
            )
        _only_for(form, path, ("header", "delimiter"))
        return _read_csv(stream, path, form)


def _only_for(form: Form, name: str, parts: tuple[str, ...]) -> None:
    """Refuse what a file of this kind does not have."""
    for part in ("header", "delimiter", "x_key", "y_key"):
        if part not in parts and getattr(form, part) is not None:
            kind = "CSV" if part in ("header", "delimiter") else ".npz"
            raise ValueError(
                f"{part} is {shown(getattr(form, part))}; expected none: {name} is no {kind} file"
            )


# ---- columns ------------------------------------------------------------------------------------


def _columns(option: str, text: str | None, names: Sequence[str] | None, width: int) -> list[int]:
    """The columns that an option means: a name with commas in it, or names and numbers."""
    if text is None:
        return []
    if names is not None and text in names:
        return [_named_column(option, text, names)]
    found: list[int] = []
    for part in text.split(","):
        word = part.strip()
        if names is not None and word in names:
            column = _named_column(option, word, names)
        elif re.fullmatch(r"-?[0-9]{1,9}", word) and -width <= int(word) < width:
            column = int(word) % width
        else:
            _refuse_column(option, word, names, width)
        if column in found:
            raise ValueError(
                f"{option} is {shown(text)}; it has column {column} twice, expected it once"
            )
        found.append(column)
    return found


def _named_column(option: str, name: str, names: Sequence[str]) -> int:
    if list(names).count(name) > 1:
        raise ValueError(
            f"{option} is {shown(name)}, the name of {list(names).count(name)} columns; "
            "expected a column's number"
        )
    return list(names).index(name)


def _refuse_column(option: str, word: str, names: Sequence[str] | None, width: int) -> NoReturn:
    numbers = f"a column's number, 0 to {width - 1} or -{width} to -1"
    if names is None:
        raise ValueError(
            f"{option} is {shown(word)}; expected {numbers}: the columns have no names"
        )
    some = ", ".join(repr(name) for name in names[:_MOST_NAMES_SHOWN])
    more = ", …" if len(names) > _MOST_NAMES_SHOWN else ""
    raise ValueError(
        f"{option} is {shown(word)}; expected one of {some}{more}, or {numbers}"
        f"{did_you_mean(word, names)}"
    )


def _chosen(form: Form, names: Sequence[str] | None, width: int) -> tuple[list[int], list[int]]:
    """The columns that are inputs, and those that are targets."""
    targets = _columns("target", form.target, names, width)
    dropped = _columns("drop", form.drop, names, width)
    both = [column for column in targets if column in dropped]
    if both:
        raise ValueError(
            f"drop is {shown(form.drop)}; it has column {both[0]}, a target, expected others"
        )
    inputs = [column for column in range(width) if column not in targets + dropped]
    if not inputs:
        raise ValueError(
            f"of {width} column{'s' if width > 1 else ''} {len(targets)} "
            f"{'is a target' if len(targets) == 1 else 'are targets'} and {len(dropped)} "
            f"{'is' if len(dropped) == 1 else 'are'} dropped; expected one more at least, of inputs"
        )
    return inputs, targets


def _name_of(names: Sequence[str] | None, column: int) -> str:
    return f"column {column}" if names is None else names[column]


def _whole_if_so(numbers: Array) -> Array:
    """int64 where every number is whole; 3.0 is the same class as 3."""
    if (
        numbers.dtype.kind == "f"
        and not ((np.floor(numbers) == numbers) & (np.abs(numbers) <= _LARGEST_WHOLE)).all()
    ):
        return numbers.astype(np.float64)
    return numbers.astype(np.int64)


# ---- CSV ----------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """A cell of a file, as messages name it."""

    file: str
    names: Sequence[str] | None
    column: int
    line: int

    def __str__(self) -> str:
        own = f" ({shown(self.names[self.column])})" if self.names is not None else ""
        return f"{self.file}:{self.line}: column {self.column}{own}"


def _read_csv(stream: BufferedReader | IO[bytes], name: str, form: Form) -> Table:
    import io

    # Bytes that are no UTF-8 come through as surrogates, to be refused with their line and column.
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
    try:
        return _parse_csv(text, name, form)
    finally:
        text.detach()  # whoever opened the stream closes it


def _parse_csv(text: IO[str], name: str, form: Form) -> Table:
    rows = _rows(text, name, form.delimiter)
    empty: list[str] = []
    first_line, first = next(rows, (0, empty))
    if not first:
        raise ValueError(f"{name} is empty; expected rows of numbers")
    width = len(first)
    header = form.header
    if header is None:
        header = not any(_is_number(cell) for cell in first)
    names = [cell.strip() for cell in first] if header else None
    inputs, targets = _chosen(form, names, width)

    values = array("d")
    cells: list[list[str]] = [[] for _ in targets]
    lines: list[int] = []
    for line, row in rows if header else itertools.chain([(first_line, first)], rows):
        if len(row) != width:
            raise ValueError(
                f"{name}:{line}: {len(row)} column{'s' if len(row) != 1 else ''}; expected {width} "
                f"as in line {first_line}"
            )
        words = [row[column] for column in inputs]
        perhaps_header = line == first_line and form.header is None
        values.extend(
            _numbers_if_sure(words)
            or [
                _number(word, _Place(name, names, column, line), perhaps_header)
                for word, column in zip(words, inputs, strict=True)
            ]
        )
        for column, target in zip(targets, cells, strict=True):
            target.append(row[column].strip())
        lines.append(line)
    if not lines:
        raise ValueError(f"{name} has a header and no rows; expected rows of numbers below it")
    return Table(
        np.array(values).reshape(len(lines), len(inputs)),
        tuple(_name_of(names, column) for column in inputs),
        tuple(
            _target(target, lines, partial(_Place, name, names, column), form.mixed)
            for column, target in zip(targets, cells, strict=True)
        ),
        tuple(_name_of(names, column) for column in targets),
    )


def _rows(text: IO[str], name: str, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of its first line."""
    import csv

    first = text.readline()
    if delimiter is None:
        delimiter = next((one for one in _DELIMITERS if one in first), ",")
    reader = csv.reader(
        itertools.chain([first] if first else [], text), delimiter=delimiter, strict=True
    )
    line = 1
    try:
        for row in reader:
            if len(row) > 1 or (row and row[0].strip()):
                if not "".join(row).isascii():
                    _require_text(row, name, line)
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{name}:{line}: {error}; expected CSV, its quotes in pairs") from None


def _require_text(row: list[str], name: str, line: int) -> None:
    for column, cell in enumerate(row):
        for letter in cell:
            if "\udc80" <= letter <= "\udcff":
                raise ValueError(
                    f"{name}:{line}: column {column} has the byte 0x{ord(letter) - 0xDC00:02x}, "
                    "which is no UTF-8; expected a CSV file in UTF-8, or .npy or .npz"
                )


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _numbers_if_sure(cells: list[str]) -> list[float] | None:
    """The cells' numbers; None where each cell has to be looked at.

    float() takes 1_000, nan, and digits of every script. These are looked for in the whole row,
    which is many times quicker than a pattern for each cell.
    """
    text = "".join(cells)
    if "_" in text or not text.isascii():
        return None
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return values if math.isfinite(sum(values)) else None


def _number(cell: str, place: _Place, perhaps_header: bool) -> float:
    """One cell's number, or an error that says what it is instead."""
    word = cell.strip()
    if _is_number(cell):
        value = float(word)
        if math.isfinite(value):
            return value
        raise ValueError(f"{place} is {shown(word)}; expected a number that float64 can hold")
    if not word or word.lower() in _MISSING:
        came = shown(word) if word else "empty"
        raise ValueError(f"{place} is {came}; expected a number: what is missing is not filled in")
    hint = ""
    if _is_number(word.replace(",", ".", 1)):
        hint = ", with a point and no comma"
    elif perhaps_header:
        hint = "; the first line has numbers, so it is no header (--header if it is one)"
    else:
        hint = "; --target and --drop name columns that are no inputs"
    raise ValueError(f"{place} is {shown(word)}; expected a number{hint}")


def _target(
    cells: list[str], lines: list[int], place: Callable[[int], _Place], mixed: bool
) -> Array:
    """A target column: numbers if every cell is one, names if none is."""
    numeric = [_is_number(cell) for cell in cells]
    for row, cell in enumerate(cells):
        if not cell:
            raise ValueError(
                f"{place(lines[row])} is empty; expected a number or the name of a class"
            )
    if all(numeric):
        numbers = [
            _number(cell, place(line), False) for cell, line in zip(cells, lines, strict=True)
        ]
        return _whole_if_so(np.array(numbers))
    if any(numeric) and not mixed:
        row = numeric.index(not numeric[0])
        raise ValueError(
            f"{place(lines[row])} is {shown(cells[row])}, {'no' if numeric[0] else 'a'} number, "
            f"unlike {shown(cells[0])} in line {lines[0]}; expected all or none to be numbers "
            "(--task classification takes all for names)"
        )
    return np.array(cells, dtype=np.str_)


# ---- arrays -------------------------------------------------------------------------------------


def _read_npy(stream: BufferedReader, name: str, form: Form) -> Table:
    with _naming_damage(name, "npy"):
        array: Array = np.load(stream, allow_pickle=False)
    return _columns_of(f"{name}: its array", array, form)


def _read_npz(stream: BufferedReader, name: str, form: Form) -> Table:
    X, Y, x_key, y_key = _load_npz(stream, name, form)
    where = f"{name}: array {x_key!r}"
    if Y is None:
        return _columns_of(where, X, form)
    if form.target not in (None, LAST_COLUMN):
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
        targets = tuple(_whole_if_so(column) for column in _numbers_of(where, columns).T)
    return table._replace(targets=targets, target_names=(y_key,) * len(targets))


def _load_npz(
    stream: BufferedReader, name: str, form: Form
) -> tuple[Array, Array | None, str, str]:
    """The arrays of the inputs and of the targets, where there are any, and their names."""
    with _naming_damage(name, "npz"), np.load(stream, allow_pickle=False) as arrays:
        files: list[str] = list(arrays.files)
    x_key = _key("x_key", form.x_key, ("X", "x"), files, name)
    y_key = _key("y_key", form.y_key, ("Y", "y"), files, name)
    if x_key is None and len(files) == 1 and form.y_key is None:
        x_key, y_key = files[0], None
    if x_key is None or x_key == y_key:
        raise ValueError(
            f"{name} has the arrays {_listed(files)}; expected X or x for the inputs, and Y or y "
            "for the targets, or x_key and y_key to name others"
        )
    stream.seek(0)
    with _naming_damage(name, "npz"), np.load(stream, allow_pickle=False) as arrays:
        return arrays[x_key], None if y_key is None else arrays[y_key], x_key, str(y_key)


@contextmanager
def _naming_damage(name: str, kind: str) -> Generator[None, None, None]:
    import zipfile
    import zlib

    try:
        yield
    except (
        *(EOFError, KeyError, NotImplementedError, RuntimeError, ValueError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise ValueError(f"{name} is no whole .{kind} file of numbers or text: {error}") from None


def _key(
    option: str, key: str | None, usual: tuple[str, ...], files: list[str], name: str
) -> str | None:
    if key is None:
        return next((one for one in usual if one in files), None)
    if key not in files:
        raise ValueError(
            f"{option} is {shown(key)}; expected one of the arrays of {name}: {_listed(files)}"
        )
    return key


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names) if names else "none at all"


def _columns_of(where: str, array: Array, form: Form) -> Table:
    """One array, of which some columns may be targets."""
    values = _numbers_of(where, array)
    inputs, targets = _chosen(form, None, values.shape[1])
    return Table(
        np.ascontiguousarray(values[:, inputs]),
        tuple(_name_of(None, column) for column in inputs),
        tuple(_whole_if_so(values[:, column]) for column in targets),
        tuple(_name_of(None, column) for column in targets),
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
