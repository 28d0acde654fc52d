"""Single values: numbers, words, paths; and how messages show what came."""

from __future__ import annotations

import difflib
import operator
import os
import sys
from typing import Any

import numpy as np

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def shown(value: Any) -> str:
    """A value as messages show it: its repr, cut to one short line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        # A repr of the user's that fails, or an integer of more digits than Python prints.
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def integer(argument: str, value: Any, lowest: int) -> int:
    """A Python int of at least ``lowest``; booleans are not numbers here."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{argument} is {value!r}; expected an integer, not a boolean")
    refuse_masked_entries(argument, value)
    try:
        number = operator.index(value)
    except Exception as error:
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected an integer"
        ) from (None if isinstance(error, TypeError) else error)
    if number < lowest:
        raise ValueError(f"{argument} is {shown(number)}; expected at least {lowest}")
    if number > sys.maxsize:
        raise ValueError(f"{argument} is {shown(number)}; expected at most {sys.maxsize}")
    return number


def real_number(argument: str, value: Any) -> float:
    """A finite Python float from a real number or a 0-d array of one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    # NumPy counts a timedelta64 among its integers.
    if isinstance(value, (bool, np.bool_, np.timedelta64)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected a real number"
        )
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{argument} is {shown(value)}; expected a finite number") from None
    if not np.isfinite(number):
        raise ValueError(f"{argument} is {number}; expected a finite number")
    return number


def non_negative(argument: str, value: Any) -> float:
    """A finite number ≥ 0."""
    number = real_number(argument, value)
    if number < 0:
        raise ValueError(f"{argument} is {number}; expected a number >= 0")
    return number


def positive(argument: str, value: Any) -> float:
    """A finite number > 0."""
    number = real_number(argument, value)
    if number <= 0:
        raise ValueError(f"{argument} is {number}; expected a number > 0")
    return number


def at_least(argument: str, value: Any, lowest: float) -> float:
    """A finite number ≥ ``lowest``."""
    number = real_number(argument, value)
    if number < lowest:
        raise ValueError(f"{argument} is {number}; expected a number >= {lowest}")
    return number


def above(argument: str, value: Any, bound: float) -> float:
    """A finite number > ``bound``."""
    number = real_number(argument, value)
    if number <= bound:
        raise ValueError(f"{argument} is {number}; expected a number > {bound:g}")
    return number


def not_zero(argument: str, value: Any) -> float:
    """A finite number other than 0."""
    number = real_number(argument, value)
    if number == 0:
        raise ValueError(f"{argument} is {number}; expected a number other than 0")
    return number


def fraction(argument: str, value: Any) -> float:
    """A number in [0, 1)."""
    number = real_number(argument, value)
    if not 0 <= number < 1:
        raise ValueError(f"{argument} is {number}; expected a number in [0, 1)")
    return number


def flag(argument: str, value: Any) -> bool:
    """A boolean, and nothing that merely counts as one."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected True or False"
        )
    return bool(value)


def choice(argument: str, value: Any, choices: tuple[str, ...], otherwise: str = "") -> str:
    """One of the words ``choices``."""
    expected = ", ".join(repr(word) for word in choices)
    if not isinstance(value, str):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); "
            f"expected one of {expected}{otherwise}"
        )
    if value not in choices:
        near = difflib.get_close_matches(value, choices, 1)
        suggestion = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{argument} is {shown(value)}; expected one of {expected}{otherwise}{suggestion}"
        )
    # The word itself, where an enum's member or another subclass of str equals it.
    return choices[choices.index(value)]


def word(argument: str, value: Any) -> str:
    """A string, and of no subclass."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} is {shown(value)} ({type(value).__name__}); expected a string")
    return str.__str__(value)


def file_path(argument: str, value: Any, expected: str = "a str, bytes or a pathlib.Path") -> str:
    """A path as a str. Numbers are not paths: open() would take one for a file descriptor."""
    try:
        path = os.fsdecode(value)
    except TypeError:
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected {expected}"
        ) from None
    if not path:
        raise ValueError(f"{argument} is {path!r}; expected a path of at least one character")
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        encoded = b"\0"
    if b"\0" in encoded:
        raise ValueError(
            f"{argument} is {shown(value)}; expected a path without NUL or lone surrogates"
        )
    return path


def refuse_masked_entries(argument: str, value: Any) -> None:
    """Masked entries, also in lists: NumPy would take what is under the mask."""
    masked = _count_masked(value)
    if masked:
        raise ValueError(
            f"{argument} has {masked} masked entries; expected none: fill or drop them first"
        )


def _count_masked(value: Any, depth: int = 3) -> int:
    if isinstance(value, np.ma.MaskedArray):
        return int(np.count_nonzero(np.ma.getmaskarray(value)))
    # A list of plain numbers needs no second look, and one that holds itself has no end.
    if isinstance(value, (list, tuple)) and depth > 0 and not {*map(type, value)} <= {int, float}:
        return sum(_count_masked(entry, depth - 1) for entry in value)
    return 0
