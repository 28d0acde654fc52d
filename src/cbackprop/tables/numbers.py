"""What a cell's text is as a number, in the notation that a table has.

In most tables a point begins the decimals, and commas group thousands if anything: 1,234.5. In
others it is the other way round: 1.234,5. Which of them it is stands nowhere; it is taken from
cells that can be read in one way alone, and where there are none, a comma is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from enum import Enum

MISSING = frozenset(
    "nan na n/a #n/a #na <na> nat null nil none ? - -- . inf -inf +inf infinity -infinity".split()
) | {""}
# In a column of classes others may be names. None is what pandas takes for missing; none is not.
MISSING_CLASSES = frozenset("nan na n/a #n/a #na <na> nat null ? None".split())

_EXPONENT = r"(?:[eE][+-]?[0-9]+)?"
_POINT = re.compile(rf"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+){_EXPONENT}")
_GROUPED = re.compile(rf"[+-]?[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+(?:\.[0-9]*)?{_EXPONENT}")
_COMMA = re.compile(
    rf"[+-]?(?:[0-9]+,?[0-9]*|,[0-9]+|[1-9][0-9]{{0,2}}(?:\.[0-9]{{3}})+(?:,[0-9]*)?){_EXPONENT}"
)
# One group of three digits: 1,234 is a number in either notation, and another one in each.
_EITHER = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")

_BOOLEANS = {
    **dict.fromkeys(("True", "TRUE", "true"), 1.0),
    **dict.fromkeys(("False", "FALSE", "false"), 0.0),
}


class Notation(Enum):
    """How a table writes its numbers: 1234.5, or 1,234.5, or 1.234,5."""

    POINT = "a decimal point"
    GROUPED = "commas between thousands"
    COMMA = "a decimal comma"

    def is_number(self, cell: str) -> bool:
        """Whether a cell is a number, of whatever size."""
        return _PATTERNS[self].fullmatch(cell.strip()) is not None

    def number(self, cell: str) -> float | None:
        """A cell's number, also of a True or False; None if it has none that is finite."""
        word = cell.strip()
        if _PATTERNS[self].fullmatch(word) is None:
            return _BOOLEANS.get(word)
        value = float(self._with_point(word))
        return value if math.isfinite(value) else None

    def numbers_if_sure(self, cells: Sequence[str]) -> list[float] | None:
        """The cells' numbers; None where each cell has to be looked at.

        float() takes 1_000, nan, and digits of every script. These are looked for in the whole row,
        which is many times quicker than a pattern for each cell.
        """
        text = "".join(cells)
        if "_" in text or not text.isascii():
            return None
        if self is Notation.COMMA:
            if "." in text:
                return None
            cells = [cell.replace(",", ".") for cell in cells] if "," in text else cells
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            return None
        return values if math.isfinite(sum(values)) else None

    def _with_point(self, word: str) -> str:
        if self is Notation.COMMA:
            return word.replace(".", "").replace(",", ".")
        return word.replace(",", "")


_PATTERNS = {
    Notation.POINT: _POINT,
    Notation.GROUPED: re.compile(f"{_POINT.pattern}|{_GROUPED.pattern}"),
    Notation.COMMA: _COMMA,
}


def notation_of(cells: Iterable[str]) -> Notation:
    """The notation that these cells are written in, where one that has a comma is certain."""
    point = grouped = comma = either = False
    for cell in cells:
        if "," not in cell and "." not in cell:
            continue
        word = cell.strip()
        if _EITHER.fullmatch(word):
            either |= "," in word
        elif _POINT.fullmatch(word):
            point = True
        elif _GROUPED.fullmatch(word):
            grouped = True
        elif _COMMA.fullmatch(word):
            comma = True
    if comma and not (point or grouped):
        return Notation.COMMA
    if (grouped or (either and point)) and not comma:
        return Notation.GROUPED
    return Notation.POINT


def like_a_number(cell: str) -> bool:
    """Whether it is a number in one of the notations, or says that there is none."""
    word = cell.strip()
    return (
        word.lower() in MISSING
        or _POINT.fullmatch(word) is not None
        or _COMMA.fullmatch(word) is not None
        or _GROUPED.fullmatch(word) is not None
    )


def says_missing(cell: str) -> bool:
    """Whether it says that there is no number; an infinity is none, and not missing."""
    word = cell.strip().lower()
    return word in MISSING and "inf" not in word


def with_comma(cell: str) -> bool:
    """Whether it is a number with a comma in it."""
    word = cell.strip()
    return "," in word and (_COMMA.fullmatch(word) or _GROUPED.fullmatch(word)) is not None
