"""Whether a table's first row has the names of its columns: told from the rows below it.

Most headers are words over numbers. But pandas names columns 0, 1, 2, … where nobody else did, and
years and wavelengths are names, too. Where such a row may as well be an example, the answer is that
it cannot be known.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from cbackprop.tables.numbers import MISSING, Notation

Row = Sequence[str]

FEWEST_POSITIONS = 3  # 0, 1 may as well be an example
SURELY_POSITIONS = 6
FEWEST_IN_STEP = 4
MOST_REPEATED = 0.1  # of the rows; where more are the same, examples are
FEWEST_BELOW = 3  # rows that say where a column's numbers lie
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_WITH_DECIMALS = re.compile(r"[.,eE]")


def is_header(first: Row, below: Sequence[Row], notation: Notation) -> bool | None:
    """Whether the first row has names.

    Parameters
    ----------
    first : sequence of str
        The first row's cells, without blanks around them.
    below : sequence of sequences of str
        Rows under it, as many cells in each.
    notation : Notation

    Returns
    -------
    bool or None
        None where it cannot be known.
    """
    # Tables that were put one below the other have their header again: that makes it no example.
    own = list(first)
    others = [row for row in below if [cell.strip() for cell in row] != own]
    if len(below) - len(others) <= MOST_REPEATED * len(below):
        below = others
    columns = [_Column(cell, cells, notation) for cell, *cells in zip(first, *below, strict=True)]
    numbers = [column for column in columns if column.is_number]
    if not below:
        return not numbers
    words_over_numbers = any(column.is_word and column.over_numbers for column in columns)
    again = any(column.occurs_again for column in columns)
    if not numbers:
        if any(column.is_word and column.mostly_over_numbers for column in columns):
            return True
        # A row of missing values, or of classes that come again, is an example, if a bad one.
        return not again and not any(column.is_missing for column in columns)
    if again:
        return False
    like_names = _like_names([column.cell for column in numbers])
    sure = words_over_numbers or any(
        column.is_empty and is_index(column.cells) for column in columns[:1]
    )
    sure = sure or any(column.is_number and column.over_words for column in columns)
    if sure:
        return True if like_names else None
    if any(column.is_word for column in columns):
        return _words_over_words(columns, numbers, like_names)
    return _numbers_over_numbers(columns, numbers, below)


class _Column:
    """A cell of the first row, and what stands below it."""

    def __init__(self, cell: str, below: Sequence[str], notation: Notation) -> None:
        self.cell = cell
        self.cells = below
        self.is_empty = not cell
        self.is_missing = bool(cell) and cell.lower() in MISSING
        self.is_number = notation.is_number(cell)
        self.is_word = not (self.is_empty or self.is_missing or self.is_number)
        there = [word for word in map(str.strip, below) if word.lower() not in MISSING]
        are_numbers = [notation.is_number(word) for word in there]
        self.below = there  # without what is missing
        self.notation = notation
        self.over_numbers = bool(there) and all(are_numbers)
        self.mostly_over_numbers = 2 * sum(are_numbers) > len(there)
        self.over_words = len(there) > 1 and not any(are_numbers)
        # One of its classes, which may be called by numbers, too.
        self.occurs_again = not self.over_numbers and cell in there

    @property
    def over_decimals(self) -> bool:
        """A whole number over numbers that all have decimals, also those like 3.0."""
        return (
            self.over_numbers
            and _WHOLE.fullmatch(self.cell) is not None
            and all(_WITH_DECIMALS.search(word) for word in self.below)
        )

    @property
    def far_outside(self) -> bool:
        """Much farther from the numbers below than they are from one another, or from 0."""
        values = [self.notation.number(word) for word in self.below]
        known = [value for value in values if value is not None]
        own = self.notation.number(self.cell)
        if own is None or not self.over_numbers or len(known) < FEWEST_BELOW:
            return False
        least, most = min(known), max(known)
        distance = max(least - own, own - most)
        return distance > 2 * max(most - least, abs(least), abs(most))

    def over_classes(self, share: float = 1.0) -> bool:
        """A word over words of which this share at least occur more than once, unlike this one."""
        counts = Counter(self.below)
        n_again = sum(count for count in counts.values() if count > 1)
        return self.is_word and bool(counts) and n_again >= share * len(self.below)


def is_index(cells: Sequence[str]) -> bool:
    """Whether they may number or name the rows: all of them different, and none with decimals."""
    words = [cell.strip() for cell in cells]
    if not words or "" in words or len(set(words)) < len(words):
        return False
    whole = [re.fullmatch(r"[0-9]+", word) is not None for word in words]
    return all(whole) or not any(re.match(r"[+-]?[.,]?[0-9]", word) for word in words)


def _words_over_words(
    columns: list[_Column], numbers: list[_Column], like_names: bool
) -> bool | None:
    """0,1,species over 5.1,3.5,setosa: no word stands over numbers, no class comes again."""
    if not like_names:
        return False
    positions = _are_positions(numbers)
    odd = [column.over_decimals or column.far_outside for column in numbers]
    classes = any(column.over_classes() for column in columns)
    if len(numbers) > 1 and (all(odd) or (positions and (classes or any(odd)))):
        return True
    # 1,2,species over 5,3,setosa: a word that does not come again where most others do.
    odd_word = any(column.over_classes(share=0.5) for column in columns)
    return None if positions or all(odd) or odd_word else False


def _numbers_over_numbers(
    columns: list[_Column], numbers: list[_Column], below: Sequence[Row]
) -> bool | None:
    """0,1,2 or 400,410,420: names, or the first example."""
    if len(numbers) < len(columns):  # others are empty or missing
        return False
    n = len(numbers)
    outside = all(column.far_outside for column in numbers)
    n_unlike = sum(column.over_decimals or column.far_outside for column in numbers)
    if n == 1:
        return None if outside and numbers[0].over_decimals else False
    steps_below = any(_step(row) is not None for row in below)
    if _are_positions(numbers):
        surely = n_unlike > 0 or (n >= SURELY_POSITIONS and not steps_below)
        return True if n >= FEWEST_POSITIONS and surely else None
    step = _step([column.cell for column in numbers])
    if step is None:
        return None if n_unlike == n else False
    if outside and n >= FEWEST_POSITIONS:
        return True
    years = all(1900 <= int(column.cell) <= 2100 for column in numbers)
    if n_unlike == n or years or (n >= FEWEST_POSITIONS and 2 * n_unlike >= n):
        return None
    if n >= FEWEST_IN_STEP and not steps_below:
        return None
    return False


def _like_names(cells: list[str]) -> bool:
    """Different whole numbers, or four and more that rise or fall."""
    if len(set(cells)) < len(cells):
        return False
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        return True
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return False
    rising = [after > before for before, after in pairwise(values)]
    return len(cells) >= FEWEST_IN_STEP and (all(rising) or not any(rising))


def _are_positions(numbers: list[_Column]) -> bool:
    return [column.cell for column in numbers] == [str(k) for k in range(len(numbers))]


def _step(row: Row) -> int | None:
    """The step between whole numbers that are equally far apart; None for other cells."""
    cells = [cell.strip() for cell in row]
    if len(cells) < 2 or not all(_WHOLE.fullmatch(cell) for cell in cells):
        return None
    steps = {int(after) - int(before) for before, after in pairwise(cells)}
    step = steps.pop()
    return None if steps or step == 0 else step
