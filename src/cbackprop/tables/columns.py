"""Which columns of a table are inputs and which are targets."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple, NoReturn

import numpy as np

from cbackprop.functions import Array
from cbackprop.validation import counted, did_you_mean, in_order, shown, some

LAST_COLUMN: Final = -1

LARGEST_WHOLE = 2**53  # up to here every whole number is a float64


class Column(NamedTuple):
    """What stands in a column of the file that inputs are made of.

    Attributes
    ----------
    name : str
    categories : tuple of str or None
        Of a column of words, in the order of their inputs; None for one of numbers.
    may_miss : bool
        Whether there may be none in some rows.
    tells_missing : bool
        Whether there is one more input, which says that the number is missing.
    fill : float
        What stands in its inputs for what is missing; NaN where that is not known yet.
    """

    name: str
    categories: tuple[str, ...] | None = None
    may_miss: bool = False
    tells_missing: bool = False
    fill: float = math.nan

    def inputs(self) -> list[str]:
        """The names of its inputs."""
        if self.categories is not None:
            return [f"{self.name}={category}" for category in self.categories]
        return [self.name, f"{self.name} missing"] if self.tells_missing else [self.name]


class Table(NamedTuple):
    """The examples of a file.

    Attributes
    ----------
    X : ndarray
        (n, n_0), float64, finite; NaN where a number is missing that may be, and its column does
        not say yet what stands for it.
    inputs : tuple of str
        The names of X's columns.
    targets : tuple of ndarray
        A column (n,) each: int64 where every number is whole, float64 for other numbers, str for
        names. Empty where no target was asked for.
    target_names : tuple of str
        The names of these columns.
    named : bool
        Whether the file has the names; otherwise they are made of the columns' numbers.
    columns : tuple of Column or None
        What X was made of, where some columns are of words or may have gaps.
    notes : tuple of str
        What whoever gave the file should know: columns that were left out.
    """

    X: Array
    inputs: tuple[str, ...]
    targets: tuple[Array, ...]
    target_names: tuple[str, ...]
    named: bool = False
    columns: tuple[Column, ...] | None = None
    notes: tuple[str, ...] = ()


class Form(NamedTuple):
    """How a file is to be read.

    Attributes
    ----------
    target : str, int, tuple of str or None
        Columns that are targets and not inputs: names or numbers, with commas between, of which one
        that has a comma itself stands in double quotes. `LAST_COLUMN` for the last, a tuple for the
        names themselves, or again the last where the file has no such names, None for none.
    drop : str or None
        Columns that are neither, likewise.
    header : bool or None
        Whether the first line of a CSV file has the columns' names; None: that is told from what
        stands in it and below it.
    delimiter : str or None
        The character between a CSV file's cells, a blank for any number of blanks; None: the one of
        comma, semicolon, tab, vertical bar and blanks that makes rows of numbers of the first
        lines.
    encoding : str or None
        How a CSV file's letters are encoded; None: UTF-8, or UTF-16 with its mark.
    x_key, y_key : str or None
        Names of the arrays of a .npz file; X or x and Y or y by default.
    mixed : bool
        Whether a target column may have numbers in some rows and names in others; all are names
        then.
    codes : bool or None
        Whether what a number would lose of 01, or of a whole number that float64 does not have,
        tells classes: True makes names of such a target column, None refuses 01.
    inputs : tuple of str or None
        The names that the inputs must have, where the file has names, and their order.
    categorical : str or None
        Columns of words that are inputs, named as targets are.
    missing : bool
        Whether inputs may be missing.
    columns : tuple of Column or None
        What the inputs are made of, where another file has said it.
    trains : bool
        Whether the three before can still be chosen.
    """

    target: str | int | tuple[str, ...] | None = None
    drop: str | None = None
    header: bool | None = None
    delimiter: str | None = None
    encoding: str | None = None
    x_key: str | None = None
    y_key: str | None = None
    mixed: bool = False
    codes: bool | None = False
    inputs: tuple[str, ...] | None = None
    categorical: str | None = None
    missing: bool = False
    columns: tuple[Column, ...] | None = None
    trains: bool = False


class Heading:
    """The names of a table's columns, if it has any, and the columns there are.

    Parameters
    ----------
    names : sequence of str or None
    width : int
        How many columns the file has.
    left_out : collection of int, optional
        Those that are no data: they can be named, but nothing else means them.
    """

    def __init__(
        self, names: Sequence[str] | None, width: int, left_out: Collection[int] = ()
    ) -> None:
        self.names = names
        self.width = width
        self.left_out = frozenset(left_out)
        self._places: dict[str, list[int]] = {}
        for column, name in enumerate(names or ()):
            self._places.setdefault(name, []).append(column)
        # -1 is the last column that has anything in it.
        self._end = width
        while self._end > 1 and self._end - 1 in self.left_out:
            self._end -= 1

    def name_of(self, column: int) -> str:
        """The column's own name, or one made of its number."""
        return (self.names[column] if self.names else "") or f"column {column}"

    def as_option(self, columns: Iterable[int]) -> str:
        """The columns as --drop takes them, before a shell's own quotes."""
        words: list[str] = []
        for column in columns:
            name = self.names[column] if self.names else ""
            by_number = len(self._places.get(name, ())) != 1 or not name or '"' in name
            word = str(column) if by_number else name
            words.append(f'"{word}"' if "," in word else word)
        return ",".join(words)

    def columns(self, option: str, text: str | int | tuple[str, ...] | None) -> list[int]:
        """The columns that an option means."""
        if text is None:
            return []
        if isinstance(text, int):
            return [text % self._end]
        if isinstance(text, tuple):
            if all(len(self._places.get(word, ())) == 1 for word in text):
                return [self._places[word][0] for word in text]
            return [self._end - 1]  # what is called otherwise is the last as well
        if text in self._places:
            return [self._named(option, text)]
        found: dict[int, None] = {}
        for word in listed(option, text) or [""]:
            column = self._column(option, word)
            if column in found:
                raise ValueError(
                    f"{option} is {shown(text)}; it has column {column} twice, expected it once"
                )
            found[column] = None
        return list(found)

    def _column(self, option: str, word: str) -> int:
        if word in self._places:
            return self._named(option, word)
        if re.fullmatch(r"-[0-9]{1,9}", word) and -self._end <= int(word):
            return int(word) + self._end
        if re.fullmatch(r"[0-9]{1,9}", word) and int(word) < self.width:
            return int(word)
        self._refuse(option, word)

    def _named(self, option: str, name: str) -> int:
        columns = self._places[name]
        if len(columns) > 1:
            raise ValueError(
                f"{option} is {shown(name)}, the name of {len(columns)} columns; "
                "expected a column's number"
            )
        return columns[0]

    def _refuse(self, option: str, word: str) -> NoReturn:
        numbers = f"a column's number, 0 to {self.width - 1} or -{self._end} to -1"
        if self.names is None:
            raise ValueError(
                f"{option} is {shown(word)}; expected {numbers}: the columns have no names"
            )
        raise ValueError(
            f"{option} is {shown(word)}; expected one of {some(self.names)}, or {numbers}"
            f"{did_you_mean(word, self.names[:1000])}"
        )

    def chosen(self, form: Form) -> tuple[list[int], list[int]]:
        """The columns that are inputs, and those that are targets."""
        targets = self.columns("target", form.target)
        dropped = self.columns("drop", form.drop)
        taken = {*targets, *dropped}
        if len(taken) < len(targets) + len(dropped):
            both = min(set(targets) & set(dropped))
            raise ValueError(
                f"drop is {shown(form.drop)}; it has column {both}, a target, expected others"
            )
        inputs = [
            column
            for column in range(self.width)
            if column not in taken and column not in self.left_out
        ]
        if form.inputs is not None and self.names is not None:
            self._require_answers(targets, form)
            inputs = self._in_order(inputs, form.inputs)
        if not inputs:
            raise ValueError(
                f"of {self._end} column{'s' if self._end > 1 else ''} {len(targets)} "
                f"{'is a target' if len(targets) == 1 else 'are targets'} and {len(dropped)} "
                f"{'is' if len(dropped) == 1 else 'are'} dropped; expected one more at least, of "
                "inputs"
            )
        return inputs, targets

    def of_words(self, form: Form, inputs: list[int]) -> list[int]:
        """Those of the inputs that are columns of words."""
        if form.columns is not None:
            if len(form.columns) != len(inputs):
                raise ValueError(
                    f"the table has {counted(len(inputs), 'input')}; expected "
                    f"{len(form.columns)}, as the model has: "
                    f"{some([column.name for column in form.columns])}"
                )
            pairs = zip(inputs, form.columns, strict=True)
            return [column for column, known in pairs if known.categories is not None]
        words = self.columns("categorical", form.categorical)
        others = [column for column in words if column not in inputs]
        if others:
            raise ValueError(
                f"categorical is {shown(form.categorical)}; it has column {others[0]}, which is a "
                "target or left out, expected inputs"
            )
        return words

    def _require_answers(self, targets: list[int], form: Form) -> None:
        """Refuse an input of the model as a target: where nothing else is said, it stands last."""
        known = {name.strip() for name in form.inputs or ()}
        for name in map(self.name_of, targets):
            if name not in known or len(self._places.get(name, ())) > 1:
                continue
            last = "" if isinstance(form.target, str) else ", the last column"
            told = (
                f", {some(form.target)} in the training" if isinstance(form.target, tuple) else ""
            )
            raise ValueError(
                f"target is {shown(name)}{last}, an input of the model; expected a column of "
                f"answers{told}: --target names it"
            )

    def _in_order(self, inputs: list[int], expected: tuple[str, ...]) -> list[int]:
        """The inputs in the order of these names, which must be theirs."""
        found, wanted = list(map(self.name_of, inputs)), [name.strip() for name in expected]
        places, misfit = in_order(found, wanted)
        if misfit:
            more = len(found) > len(wanted)
            hint = ": --target and --drop say which columns are none" if more else ""
            raise ValueError(
                f"the table has the inputs {some(found)}, {misfit}; expected the model's "
                f"{len(wanted)}, {some(wanted)}{hint}"
            )
        return [inputs[place] for place in places]


def listed(option: str, text: str) -> list[str]:
    """Names with commas between; one that has a comma itself stands in double quotes.

    Raises
    ------
    ValueError
        Naming the option, for what is no such list.
    """
    import csv

    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(
            f"{option} is {shown(text)}; expected names with commas between: {error}"
        ) from None
    return [word.strip() for word in rows[0]] if rows else []


def whole_if_so(numbers: Array) -> Array:
    """int64 where every number is whole; 3.0 is the same class as 3."""
    if (
        numbers.dtype.kind == "f"
        and not ((np.floor(numbers) == numbers) & (np.abs(numbers) <= LARGEST_WHOLE)).all()
    ):
        return numbers.astype(np.float64)
    return numbers.astype(np.int64)
