"""CSV as it comes: what separates the cells, what stands in the first line, and every row.

The first lines are looked at together before anything is decided; then the file is read once, row
by row. Everything that is wrong in any cell is told at once.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import IO, NamedTuple

import numpy as np

from cbackprop.functions import Array
from cbackprop.tables.columns import LARGEST_WHOLE, Column, Form, Heading, Table, whole_if_so
from cbackprop.tables.header import is_header, is_index
from cbackprop.tables.mixed import encoded, is_missing, learnt
from cbackprop.tables.numbers import (
    MISSING,
    MISSING_CLASSES,
    Notation,
    like_a_number,
    notation_of,
    says_missing,
    with_comma,
)
from cbackprop.validation import shown, some

DELIMITERS = (",", ";", "\t", "|")
BLANKS = " "  # any number of blanks and tabs
SAMPLE_LINES, SAMPLE_LETTERS, SAMPLE_CELLS = 200, 1 << 18, 100_000
LONGEST_CLASS = 200
MOST_COLUMNS_TOLD = 50

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What pandas calls a column of another table's row labels that was read as data.
_INDEX_NAMES = ("", "Unnamed: 0")
_DATE = re.compile(r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}([T ]|$)")
_CODE = re.compile(r"[+-]?[0-9]+")
_CELLS_BETWEEN_BLANKS = re.compile(r'"((?:[^"]|"")*)"(?!\S)|(\S+)')

Row = list[str]
Numbered = tuple[int, Row]  # a row, and the number of its first line


def read_csv(stream: IO[bytes], start: bytes, name: str, form: Form) -> Table:
    """The examples of a stream of CSV.

    Parameters
    ----------
    stream : binary stream
    start : bytes
        What it begins with, still to be read.
    name : str
        The file's, for messages.
    form : Form

    Returns
    -------
    Table

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        Naming the file, or the part of `form`.
    """
    encoding = _encoding(start, name, form.encoding)
    # Bytes that are no letters come through as surrogates, to be refused with line and column.
    text = io.TextIOWrapper(stream, encoding, "surrogateescape", newline="")
    try:
        return _parsed(text, name, form, encoding)
    except UnicodeError as error:
        raise ValueError(f"{name} is no text in {encoding}: {error}; expected CSV") from None
    finally:
        text.detach()  # whoever opened the stream closes it


def _encoding(start: bytes, name: str, asked: str | None) -> str:
    """What was asked for, or what the file's mark says, or UTF-8."""
    if asked is not None:
        try:
            known = codecs.lookup(asked).name
            "".encode(known)  # some are no encodings of text
        except (LookupError, ValueError):
            raise ValueError(
                f"encoding is {shown(asked)}; expected the name of one, such as utf-8, cp1252, "
                "latin-1 or utf-16"
            ) from None
        return "utf-8-sig" if known == "utf-8" else known
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding
    if b"\0" in start:
        order = "be" if start[:1] == b"\0" else "le"
        raise ValueError(
            f"{name} has NUL bytes; expected CSV, .npy or .npz (--encoding utf-16-{order} if it is "
            "text in UTF-16)"
        )
    return "utf-8"


# ---- lines and rows -----------------------------------------------------------------------------


class _Lines:
    """A file's lines, counted; comments between the rows are passed over.

    Attributes
    ----------
    row : int
        The number of the last row's first line.
    between_rows : bool
        Whether the next line begins a row: the reader of rows sets it.
    """

    def __init__(self, lines: Iterable[str], first: int, is_comment: Callable[[str], bool]) -> None:
        self._lines = iter(lines)
        self._is_comment = is_comment
        self._number = first - 1
        self.row = first
        self.between_rows = True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while True:
            line = next(self._lines)
            self._number += 1
            if not self.between_rows:
                return line
            self.row = self._number
            if not (line.startswith("#") and self._is_comment(line)):
                self.between_rows = False
                return line


def _rows(lines: _Lines, name: str, delimiter: str, encoding: str) -> Iterator[Numbered]:
    """Each row that is not blank, with the number of its first line."""
    cells = _between_blanks(lines) if delimiter == BLANKS else _reader(lines, delimiter)
    while True:
        lines.between_rows = True
        try:
            row = next(cells, None)
        except csv.Error as error:
            raise ValueError(
                f"{name}:{lines.row}: {error}; expected CSV, its quotes in pairs"
            ) from None
        if row is None:
            return
        if len(row) > 1 or (row and row[0].strip()):
            if not "".join(row).isascii():
                _require_text(row, name, lines.row, encoding)
            yield lines.row, row


def _reader(lines: Iterable[str], delimiter: str, strict: bool = True) -> Iterator[Row]:
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=strict)


def _between_blanks(lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
        if '"' not in line:
            yield line.split()
            continue
        found = [
            word if word else quoted.replace('""', '"')
            for quoted, word in _CELLS_BETWEEN_BLANKS.findall(line)
        ]
        if any(cell.startswith('"') for cell in found):
            raise csv.Error("a quote without its pair")
        yield found


def _require_text(row: Row, name: str, line: int, encoding: str) -> None:
    for column, cell in enumerate(row):
        for letter in cell:
            if "\udc80" <= letter <= "\udcff":
                read_as = "UTF-8" if encoding.startswith("utf-8") else encoding
                raise ValueError(
                    f"{name}:{line}: column {column} has the byte 0x{ord(letter) - 0xDC00:02x}, "
                    f"which is no {read_as}; expected a CSV file in UTF-8, or its --encoding, such "
                    "as cp1252"
                )


# ---- what the first lines say -------------------------------------------------------------------


class _Layout(NamedTuple):
    """How a file's rows are to be understood."""

    notation: Notation
    names: Row | None
    width: int
    first_line: int  # that says how many columns there are
    empty: tuple[int, ...]  # columns without a name and without anything in them
    has_index: bool  # the first column numbers or names the rows
    guessed: bool  # the first row is taken for an example by what it has


def _sample(text: Iterable[str]) -> list[str]:
    lines: list[str] = []
    letters = rows = 0
    for line in text:
        lines.append(line)
        letters += len(line)
        rows += bool(line.strip())
        if len(lines) >= SAMPLE_LINES or (letters > SAMPLE_LETTERS and rows > 2):
            break
    return lines


def _without_comments(lines: list[str]) -> list[str]:
    rest = [line for line in lines if not line.startswith("#")]
    return rest if any(line.strip() for line in rest) else lines


def _cells(lines: list[str], delimiter: str) -> list[Row]:
    """The rows of some lines; none where they are no such CSV."""
    rows = _between_blanks(lines) if delimiter == BLANKS else _reader(lines, delimiter, False)
    try:
        return [row for row in rows if len(row) > 1 or (row and row[0].strip())]
    except csv.Error:
        return []


def _delimiter(lines: list[str]) -> str:
    """What makes rows of as many cells, numbers mostly, of the most lines."""
    found, best = ",", 0.0
    for delimiter in (*DELIMITERS, BLANKS):
        rows = _cells(lines, delimiter)
        widths = Counter(len(row) for row in rows if len(row) > 1)
        if not widths:
            continue
        width, n = widths.most_common(1)[0]
        cells = [cell for row in (rows[1:] or rows) if len(row) == width for cell in row]
        share = sum(map(like_a_number, cells)) / len(cells) if cells else 0.0
        # Words have blanks between them that separate no cells.
        if share + n / len(rows) > best and (delimiter != BLANKS or share >= 0.5):
            found, best = delimiter, share + n / len(rows)
    return found


def _commented(lines: list[str], delimiter: str) -> Callable[[str], bool]:
    """Whether a line that begins with # is no row: it has not as many cells as the rows."""
    widths = Counter(map(len, _cells(_without_comments(lines), delimiter)))
    width = widths.most_common(1)[0][0] if widths else 1

    def is_comment(line: str) -> bool:
        return [len(row) for row in _cells([line], delimiter)] != [width]

    return is_comment


def _layout(head: list[Numbered], name: str, form: Form) -> tuple[_Layout, int]:
    """What the first rows say, and how many of them are no examples."""
    notation = notation_of(cell for _, row in head for cell in row)
    # Rows that begin with #, unless all do: comments, the last of them perhaps a header.
    n_marked = next((i for i, (_, row) in enumerate(head) if row[0][:1] != "#"), 0)
    marked, rest = head[:n_marked], head[n_marked:]
    first_line, first = rest[0]
    below = [row for _, row in rest[1:]]
    names, width, n_skipped, guessed = None, len(first), n_marked, False
    if form.header is not False:
        widths = set(map(len, below))
        if widths == {width + 1}:
            if not any(row[-1].strip() for row in below):  # a delimiter behind each row
                first, width = [*first, ""], width + 1
            elif _are_row_names([row[0].strip() for row in below]):  # as R writes them
                names, width = ["", *(cell.strip() for cell in first)], width + 1
        elif widths == {width - 1} and width > 1 and not first[-1].strip():
            first, width = first[:-1], width - 1
    below = [row for row in below if len(row) == width]
    if names is None:
        cells = [cell.strip() for cell in first]
        header = form.header
        if header is None:
            header = True if _is_asked_for(cells, form) else is_header(cells, below, notation)
            guessed = not header
        if header is None:
            raise ValueError(
                f"{name}:{first_line}: the first row may be the columns' names, and it may be an "
                "example; expected --header or --no-header, which say it"
            )
        if header:
            names = cells
    if names is not None:
        n_skipped += 1
    elif form.header is None and marked and len(marked[-1][1]) == width:
        # As NumPy's savetxt writes one.
        cells = [cell.strip() for cell in marked[-1][1]]
        cells[0] = cells[0].lstrip("# ")
        if is_header(cells, [first, *below], notation):
            names, guessed = cells, False
    examples = [row for _, row in head[n_skipped:] if len(row) == width]
    empty = tuple(
        column
        for column in range(width)
        if not (names and names[column]) and not any(row[column].strip() for row in examples)
    )
    index = (
        names is not None
        and names[0] in _INDEX_NAMES
        and not (form.inputs is not None and names[0] in form.inputs)
        and is_index([row[0] for row in examples])
    )
    layout = _Layout(
        notation, names, width, first_line, empty if len(empty) < width else (), index, guessed
    )
    return layout, n_skipped


def _are_row_names(cells: Row) -> bool:
    """What R writes before each row, but not into the header: 1, 2, 3, …, or words."""
    if len(cells) < 2:
        return False
    numbers = [str(i) for i in range(1, len(cells) + 1)]
    return cells == numbers or (is_index(cells) and not any(map(like_a_number, cells)))


def _is_asked_for(cells: Row, form: Form) -> bool:
    """Whether somebody knows the columns by what stands in this row."""
    there = set(cells)
    if form.inputs is not None and {name.strip() for name in form.inputs} <= there:
        return True
    for asked in (form.target, form.drop, form.categorical):
        words = asked if isinstance(asked, tuple) else [asked] if isinstance(asked, str) else []
        for text in words:
            if {text, *text.split(",")} & {cell for cell in there if not like_a_number(cell)}:
                return True
    return False


# ---- the file -----------------------------------------------------------------------------------


class _Fault(NamedTuple):
    """The first cell of a column that is not what is expected there."""

    column: int
    line: int
    word: str
    came: str  # what it is, in words
    expected: str
    advice: str


class _Columns(NamedTuple):
    """Which columns of a file are what."""

    heading: Heading
    inputs: list[int]
    targets: list[int]
    words: list[int]  # those of the inputs that are columns of words
    may_miss: set[int]  # those of the inputs that may have gaps

    @property
    def numeric(self) -> list[int]:
        """Those of the inputs that are columns of numbers."""
        return [column for column in self.inputs if column not in self.words]


class _Cells(NamedTuple):
    """What stands in the examples."""

    numbers: array[float]  # of the columns of numbers among the inputs, row by row; NaN for a gap
    texts: dict[int, list[str]]  # of the columns of words and the targets
    lines: list[int]  # where each row begins
    faults: list[_Fault]  # what is wrong with the numbers


def _parsed(text: IO[str], name: str, form: Form, encoding: str) -> Table:
    delimiter, head, rest = _begun(text, name, form, encoding)
    layout, n_skipped = _layout(head, name, form)
    separated = _separated(delimiter)
    columns = _columns(layout, form, separated)
    cells = _read(chain(head[n_skipped:], rest), name, separated, layout, form, columns)
    if not cells.lines:
        raise ValueError(f"{name} has a header and no rows; expected rows of numbers below it")
    targets = [_target(cells, column, layout.notation, form) for column in columns.targets]
    faults = [
        *cells.faults,
        *(target for target in targets if isinstance(target, _Fault)),
        *_faults_of_words(cells, columns, form),
    ]
    if faults:
        told = _told(name, columns, faults, separated, form.columns is not None)
        raise ValueError(f"{told} ({separated})" if layout.width == 1 else told)
    X, names, recipe = _inputs(cells, columns, form)
    heading = columns.heading
    return Table(
        X,
        names,
        tuple(target for target in targets if not isinstance(target, _Fault)),
        tuple(map(heading.name_of, columns.targets)),
        layout.names is not None,
        recipe,
        _notes(name, layout, {*columns.targets, *heading.columns("drop", form.drop)}),
    )


def _begun(
    text: IO[str], name: str, form: Form, encoding: str
) -> tuple[str, list[Numbered], Iterator[Numbered]]:
    """The delimiter, the first rows, by which the others are understood, and those others."""
    sample = _sample(text)
    if sample:
        sample[0] = sample[0].removeprefix("\ufeff")
    first, said = 1, re.fullmatch(r'"?sep=(.)"?\s*', sample[0]) if sample else None
    if said is not None:  # a line for Excel
        del sample[0]
        first = 2
    uncommented = _without_comments(sample)
    delimiter = form.delimiter or (said[1] if said is not None else _delimiter(uncommented))
    lines = _Lines(chain(sample, text), first, _commented(sample, delimiter))
    rows = _rows(lines, name, delimiter, encoding)
    head: list[Numbered] = []
    n_cells = 0
    for numbered in islice(rows, SAMPLE_LINES):
        head.append(numbered)
        n_cells += len(numbered[1])
        if n_cells > SAMPLE_CELLS and len(head) > 3:
            break
    if not head:
        raise ValueError(f"{name} is empty; expected rows of numbers")
    return delimiter, head, rows


def _columns(layout: _Layout, form: Form, separated: str) -> _Columns:
    heading = Heading(
        layout.names, layout.width, (*layout.empty, *((0,) if layout.has_index else ()))
    )
    try:
        inputs, targets = heading.chosen(form)
    except ValueError as error:
        if layout.width > 1:
            raise
        raise ValueError(f"{error} ({separated})") from None
    words = heading.of_words(form, inputs)
    if form.columns is None:
        may_miss = set(inputs if form.missing else ())
    else:
        pairs = zip(inputs, form.columns, strict=True)
        may_miss = {column for column, known in pairs if known.may_miss}
    return _Columns(heading, inputs, targets, words, may_miss)


def _inputs(
    cells: _Cells, columns: _Columns, form: Form
) -> tuple[Array, tuple[str, ...], tuple[Column, ...] | None]:
    """X, the names of its columns, and what they are made of where that is not numbers alone."""
    numeric, names = columns.numeric, tuple(map(columns.heading.name_of, columns.inputs))
    X = np.array(cells.numbers).reshape(len(cells.lines), len(numeric))
    recipe = form.columns
    if recipe is None and not columns.words and not form.missing:
        return X, names, None
    of_numbers = dict(zip(numeric, X.T, strict=True))
    parts = [
        cells.texts[column] if column in columns.words else of_numbers[column]
        for column in columns.inputs
    ]
    if recipe is None:
        pairs = zip(names, parts, strict=True)
        recipe = tuple(learnt(name, part, form.missing) for name, part in pairs)
    return *encoded(recipe, parts, len(cells.lines)), recipe


def _read(
    rows: Iterable[Numbered],
    name: str,
    separated: str,
    layout: _Layout,
    form: Form,
    columns: _Columns,
) -> _Cells:
    """Every row, its numbers looked at."""
    notation, width = layout.notation, layout.width
    values: array[float] = array("d")
    texts: dict[int, list[str]] = {column: [] for column in (*columns.targets, *columns.words)}
    lines: list[int] = []
    faults: list[_Fault] = []
    good = columns.numeric
    picked = _picker(good)
    header = None if all(map(like_a_number, layout.names or ())) else layout.names
    for line, row in rows:
        if row == header:
            raise ValueError(f"{name}:{line}: the header comes again; expected an example")
        if len(row) != width:
            raise ValueError(
                f"{name}:{line}: {len(row)} column{'s' if len(row) != 1 else ''}; expected {width} "
                f"as in line {layout.first_line} ({separated})"
            )
        for column in layout.empty:
            if row[column].strip():
                raise ValueError(
                    f"{name}:{line}: column {column} is {shown(row[column].strip())}, but has no "
                    f"name and nothing in it before; expected a name or --drop {column}"
                )
        words = picked(row)
        found = notation.numbers_if_sure(words)
        if found is None:
            found = list[float]()
            wrong: set[int] = set()
            for word, column in zip(words, good, strict=True):
                number = notation.number(word)
                if number is None and column in columns.may_miss and says_missing(word):
                    number = math.nan
                if number is None:
                    guessed = layout.guessed and line == layout.first_line
                    faults.append(_fault(word.strip(), column, line, notation, guessed, form))
                    wrong.add(column)
                else:
                    found.append(number)
            if wrong:  # one fault of each column is enough; the others are still looked at
                good = [column for column in good if column not in wrong]
                picked = _picker(good)
        if not faults:
            values.extend(found)
        for column, cells in texts.items():
            cells.append(row[column].strip())
        lines.append(line)
    return _Cells(values, texts, lines, faults)


def _picker(columns: list[int]) -> Callable[[Row], Sequence[str]]:
    """What takes the cells of these columns from a row."""
    if len(columns) > 1:
        return itemgetter(*columns)
    return lambda row: [row[column] for column in columns]


def _fault(
    word: str, column: int, line: int, notation: Notation, guessed: bool, form: Form
) -> _Fault:
    """What is wrong with a cell that should be a number."""
    came, expected, advice = shown(word) if word else "empty", "a number", ""
    if notation.is_number(word):
        expected = "a number that float64 can hold"
    elif word.lower() in MISSING:
        advice = _about_missing(form) if says_missing(word) else "what is missing is not filled in"
    elif _DATE.match(word):
        advice = (
            "a date is no number: give the days since some date, or year, month and weekday, as "
            "columns"
        )
    elif with_comma(word):
        advice = "with a point and no comma, which may begin decimals or group thousands"
    elif guessed:
        advice = "the first line is taken for an example (--header if it has names)"
    elif notation is Notation.COMMA and Notation.POINT.is_number(word):
        advice = "with a decimal comma, as in the lines before"
    else:
        advice = "--target and --drop name columns that are no inputs"
        if form.trains:
            advice = f"--categorical names columns of words, {advice}"
    return _Fault(column, line, word, came, expected, advice)


def _loses_as_a_number(cell: str) -> bool:
    """Whether it is a whole number with zeros before it, or one that float64 may not have."""
    digits = cell.lstrip("+-")
    if len(digits) < 2 or _CODE.fullmatch(cell) is None:
        return False
    return len(digits) > len(str(LARGEST_WHOLE)) or digits[0] == "0" or int(digits) > LARGEST_WHOLE


def _target(read: _Cells, column: int, notation: Notation, form: Form) -> Array | _Fault:
    """A target column: numbers if every cell is one, names if none is."""
    cells, lines, mixed = read.texts[column], read.lines, form.mixed
    codes = (
        []
        if form.codes is False
        else [row for row, cell in enumerate(cells) if _loses_as_a_number(cell)]
    )
    if form.codes is None:
        padded = [row for row in codes if cells[row].lstrip("+-").startswith("0")]
        if padded:
            cell = cells[padded[0]]
            expected = (
                "--task classification, which keeps it as it stands, or --task regression, which "
                "takes the number"
            )
            came = f"{shown(cell)}, a code or a number"
            return _Fault(column, lines[padded[0]], cell, came, expected, "")
    names = bool(codes) and form.codes
    found = None if names else notation.numbers_if_sure(cells)
    if found is not None:
        return whole_if_so(np.array(found))
    numeric = [notation.is_number(cell) for cell in cells]
    n_numbers = sum(numeric)
    for row, cell in enumerate(cells):
        expected = "a number or the name of a class"
        if not cell:
            return _Fault(column, lines[row], cell, "empty", expected, "")
        if not mixed and not MISSING_CLASSES.isdisjoint((cell, cell.lower())):
            advice = "what is missing is not filled in (--task classification takes it for a name)"
            return _Fault(column, lines[row], cell, shown(cell), expected, advice)
        if len(cell) > LONGEST_CLASS:
            expected = f"the name of a class, of {LONGEST_CLASS} letters at most"
            return _Fault(column, lines[row], cell, shown(cell), expected, "")
    if n_numbers == len(cells) and not names:
        values = [notation.number(cell) for cell in cells]
        if None in values:
            row = values.index(None)
            return _fault(cells[row], column, lines[row], notation, False, form)
        return whole_if_so(np.array(values, dtype=np.float64))
    if n_numbers and not mixed:
        row = numeric.index(not numeric[0])
        came = (
            f"{shown(cells[row])}, {'no' if numeric[0] else 'a'} number, unlike "
            f"{shown(cells[0])} in line {lines[0]}"
        )
        advice = "(--task classification takes all for names)"
        return _Fault(column, lines[row], cells[row], came, "all or none to be numbers", advice)
    return np.array(cells, dtype=np.str_)


def _about_missing(form: Form) -> str:
    return f"what is missing is not filled in{' (--missing mean does it)' if form.trains else ''}"


def _faults_of_words(cells: _Cells, columns: _Columns, form: Form) -> list[_Fault]:
    """What is wrong with columns of words: one fault of each."""
    found: list[_Fault] = []
    for column in columns.words:
        texts = cells.texts[column]
        if form.columns is None:
            known = learnt("", texts, form.missing)
        else:
            known = form.columns[columns.inputs.index(column)]
        fault = _of_words(texts, cells.lines, column, known, form)
        found += [] if fault is None else [fault]
    return found


def _of_words(
    cells: list[str], lines: list[int], column: int, known: Column, form: Form
) -> _Fault | None:
    """The first cell of a column of words that is none of its categories, or too long, or empty."""
    categories = set(known.categories or ())
    for row, cell in enumerate(cells):
        expected, advice = "", ""
        if is_missing(cell):
            if not known.may_miss:
                expected, advice = "a category", _about_missing(form)
        elif len(cell) > LONGEST_CLASS:
            expected = f"a category, of {LONGEST_CLASS} letters at most"
        elif cell not in categories:
            expected = f"a category that the model knows, {some(known.categories or ())}"
        if expected:
            came = shown(cell) if cell else "empty"
            return _Fault(column, lines[row], cell, came, expected, advice)
    return None


# Between what is expected and the advice, by its first word.
_JOINTS = {"(--task": " ", "with": ", ", "what": ": "}


def _told(
    name: str, columns: _Columns, faults: list[_Fault], separated: str, of_model: bool
) -> str:
    """Everything that is wrong, in one line: the first cell of each column.

    Where all inputs are wrong, the delimiter is. What a model's inputs are made of cannot be
    dropped.
    """
    heading, n_inputs = columns.heading, len(columns.inputs)

    def place(fault: _Fault) -> str:
        own = f" ({shown(heading.names[fault.column])})" if heading.names is not None else ""
        return f"column {fault.column}{own}"

    first, *others = faults
    text = f"{name}:{first.line}: {place(first)} is {first.came}"
    if not others:
        joint = first.advice and _JOINTS.get(first.advice.split()[0], "; ")
        return f"{text}; expected {first.expected}{joint}{first.advice}"
    for fault in others[: MOST_COLUMNS_TOLD - 1]:
        line = f" in line {fault.line}" if fault.line != first.line else ""
        text += f", {place(fault)} is {fault.came}{line}"
    if len(faults) > MOST_COLUMNS_TOLD:
        text += f", and {len(faults) - MOST_COLUMNS_TOLD} more columns are not right"
    expected = dict.fromkeys(fault.expected.replace("a number", "numbers") for fault in faults)
    text += f"; expected {', '.join(expected)}"
    advice = dict.fromkeys(fault.advice for fault in faults if fault.advice)
    text += "".join(f"; {one}" for one in advice)
    if len(faults) >= n_inputs > 1:
        return f"{text}; {separated}"
    if len(faults) <= MOST_COLUMNS_TOLD and not of_model:
        text += f"; --drop {heading.as_option(fault.column for fault in faults)} leaves all out"
    return text


def _separated(delimiter: str) -> str:
    """What was taken for the delimiter, and what to do where it is none."""
    words = {",": "commas", ";": "semicolons", "\t": "tabs", BLANKS: "blanks", "|": "vertical bars"}
    return (
        f"cells are separated by {words.get(delimiter, shown(delimiter))}; --delimiter names "
        "another character"
    )


def _notes(name: str, layout: _Layout, used: set[int]) -> tuple[str, ...]:
    """What was left out without having been asked for."""
    notes: list[str] = []
    if layout.has_index and 0 not in used:
        notes.append(
            f"{name}: column 0 has no name of its own and numbers or names the rows: left out"
        )
    empty = [str(column) for column in layout.empty if column not in used]
    if empty:
        notes.append(
            f"{name}: {'column' if len(empty) == 1 else 'columns'} {', '.join(empty)}: left out, "
            "without a name and without anything in them"
        )
    return tuple(notes)
