"""Single values: numbers, words, paths; and how messages show what came."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from types import FrameType
from typing import Any, TypeGuard, TypeVar

import numpy as np

from cbackprop.functions import Array

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Word = TypeVar("Word", bound=str)
Kind = TypeVar("Kind")


# ---- messages ------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value as messages show it: its repr, cut to one short line."""
    text = ""
    try:
        raw = ""
        for piece in _pieces_of_repr(value):
            raw += piece
            text = " ".join(raw.split())
            if len(text) > 60:
                break
    except Exception:
        # A repr of the user's that fails, or an integer of more digits than Python prints.
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


_BUILT_IN: dict[str, Any] = {  # Any: of entries of whatever type
    kind.__name__: kind for kind in (str, bytes, list, tuple, dict)
}
# By their repr, which a subclass of them may have replaced.
_NAME_OF_REPR: dict[object, str] = {kind.__repr__: name for name, kind in _BUILT_IN.items()}


def _pieces_of_repr(value: Any) -> Iterator[str]:
    """A repr from its beginning on: of a list of a million entries a line reads but few."""
    name = _NAME_OF_REPR.get(type(value).__repr__, "")
    kind: Any = _BUILT_IN.get(name)
    if name in ("str", "bytes"):
        yield repr(kind.__getitem__(value, slice(61)))
    elif name == "list":
        yield from _pieces_of_entries("[", kind.__iter__(value), "]")
    elif name == "tuple":
        yield from _pieces_of_entries("(", kind.__iter__(value), ",)" if len(value) == 1 else ")")
    elif name == "dict":
        yield "{"
        for i, (key, entry) in enumerate(kind.items(value)):
            yield ", " if i else ""
            yield from _pieces_of_repr(key)
            yield ": "
            yield from _pieces_of_repr(entry)
        yield "}"
    else:
        yield repr(value)


def _pieces_of_entries(opening: str, entries: Iterator[object], closing: str) -> Iterator[str]:
    yield opening
    for i, entry in enumerate(entries):
        yield ", " if i else ""
        yield from _pieces_of_repr(entry)
    yield closing


def counted(number: int, noun: str) -> str:
    """A number of things, of which one is singular."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def wrong_type(argument: str, value: object, expected: str) -> TypeError:
    """What to raise for a value of a type that cannot be meant."""
    return TypeError(f"{argument} is {shown(value)} ({type(value).__name__}); expected {expected}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the known one that is meant, if any is."""
    from cbackprop.validation import words  # for a message alone

    meant = words.meant(word, list(known))
    return f"; did you mean {meant!r}?" if meant else ""


# ---- kinds: what an object is, whatever its __class__ says of it ---------------------------------


def is_a(value: object, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether it is of this class, or of one derived from it."""
    return issubclass(type(value), kind)


def is_array(value: object) -> TypeGuard[Array]:
    """Whether it is one of NumPy's."""
    return is_a(value, np.ndarray)


def is_list(value: object) -> TypeGuard[Sequence[object]]:
    """Whether it is a list or a tuple."""
    return issubclass(type(value), (list, tuple))


def is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    """Whether it is a dict or the like."""
    return issubclass(type(value), Mapping)


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string."""
    return is_a(value, str)


def attribute(argument: str, value: object, name: str) -> Any:
    """One of an object's attributes, None where it has none; a property of the user's may fail."""
    try:
        return getattr(value, name, None)
    except MemoryError:
        raise
    except Exception as error:
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}), whose {name} cannot be read "
            f"({error}); expected an array of numbers"
        ) from error


def has_no_order(value: object) -> bool:
    """Whether it is a set or a dict, whose entries stand in no place that means something."""
    return issubclass(type(value), (Set, Mapping))


def is_flag(value: object) -> TypeGuard[bool]:
    """Whether it is True or False, and does not merely count as one of them."""
    return issubclass(type(value), (bool, np.bool_))


def is_real(value: object) -> TypeGuard[float]:
    """Whether it is a real number, and no boolean."""
    # NumPy counts a timedelta64 among its integers.
    kind = type(value)
    return issubclass(kind, (int, float, np.integer, np.floating)) and not issubclass(
        kind, (bool, np.timedelta64)
    )


# ---- numbers -------------------------------------------------------------------------------------


def integer(argument: str, value: object, lowest: int) -> int:
    """A Python int of at least ``lowest``; booleans are not numbers here."""
    if is_flag(value):
        raise TypeError(f"{argument} is {value!r}; expected an integer, not a boolean")
    refuse_masked_entries(argument, value)
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # raises for what has none
    except Exception as error:
        raise wrong_type(argument, value, "an integer") from (
            None if isinstance(error, TypeError) else error
        )
    if number < lowest:
        raise ValueError(f"{argument} is {shown(number)}; expected at least {lowest}")
    if number > sys.maxsize:
        raise ValueError(f"{argument} is {shown(number)}; expected at most {sys.maxsize}")
    return number


def real_number(argument: str, value: object) -> float:
    """A finite Python float from a real number or a 0-d array of one."""
    if is_array(value) and value.ndim == 0:
        value = value[()]
    if not is_real(value):
        raise wrong_type(argument, value, "a real number")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{argument} is {shown(value)}; expected a finite number") from None
    except Exception as error:
        # A __float__ of the user's that fails.
        raise wrong_type(argument, value, "a real number") from error
    if not np.isfinite(number):
        raise ValueError(f"{argument} is {number}; expected a finite number")
    return number


def non_negative(argument: str, value: object) -> float:
    """A finite number ≥ 0."""
    return at_least(argument, value, 0)


def positive(argument: str, value: object) -> float:
    """A finite number > 0."""
    return above(argument, value, 0)


def at_least(argument: str, value: object, lowest: float) -> float:
    """A finite number ≥ ``lowest``."""
    return _number_that(argument, value, lambda number: number >= lowest, f">= {lowest}")


def above(argument: str, value: object, bound: float) -> float:
    """A finite number > ``bound``."""
    return _number_that(argument, value, lambda number: number > bound, f"> {bound:g}")


def not_zero(argument: str, value: object) -> float:
    """A finite number other than 0."""
    return _number_that(argument, value, lambda number: number != 0, "other than 0")


def fraction(argument: str, value: object) -> float:
    """A number in [0, 1)."""
    return _number_that(argument, value, lambda number: 0 <= number < 1, "in [0, 1)")


def _number_that(
    argument: str, value: object, does: Callable[[float], bool], expected: str
) -> float:
    number = real_number(argument, value)
    if not does(number):
        raise ValueError(f"{argument} is {number}; expected a number {expected}")
    return number


def refuse_masked_entries(argument: str, value: object) -> None:
    """Masked entries, also in lists: NumPy would take what is under the mask."""
    masked = _count_masked(value)
    if masked:
        entries = "entry" if masked == 1 else "entries"
        raise ValueError(
            f"{argument} has {masked} masked {entries}; expected none: fill or drop them first"
        )


def _count_masked(value: object, depth: int = 3) -> int:
    if np.ma.isMaskedArray(value):
        return int(np.count_nonzero(np.ma.getmaskarray(value)))
    # A list of plain numbers needs no second look, and one that holds itself has no end.
    if is_list(value) and depth > 0 and not {*map(type, value)} <= {int, float}:
        return sum(_count_masked(entry, depth - 1) for entry in value)
    return 0


def warn(message: str) -> None:
    """A UserWarning of the line outside this package from which the call came."""
    import inspect  # for a warning alone
    import warnings

    package = __name__.partition(".")[0]
    frame: FrameType | None = inspect.currentframe()
    level = 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


# ---- yes or no, words, paths ---------------------------------------------------------------------


def flag(argument: str, value: object) -> bool:
    """A boolean, and nothing that merely counts as one."""
    if not is_flag(value):
        raise wrong_type(argument, value, "True or False")
    return bool(value)


def choice(argument: str, value: object, choices: Collection[Word], otherwise: str = "") -> Word:
    """One of the words ``choices``."""
    expected = f"one of {', '.join(repr(word) for word in choices)}{otherwise}"
    if not is_text(value):
        # A function or a class of that name, such as NumPy's tanh, or an object of the class.
        from cbackprop.validation import words  # for a message alone

        name: object = getattr(value, "__name__", type(value).__name__)
        known = words.same(name, choices) if isinstance(name, str) else None
        hint = f"; did you mean {known!r}?" if known else ""
        raise wrong_type(argument, value, f"{expected}{hint}")
    plain = text(argument, value)
    for word in choices:
        if word == plain:
            return word
    raise ValueError(
        f"{argument} is {shown(value)}; expected {expected}{did_you_mean(plain, choices)}"
    )


def text(argument: str, value: object) -> str:
    """A string, and of no subclass of str: those may say that they equal anything."""
    if not is_text(value):
        raise wrong_type(argument, value, "a string")
    return str.__str__(value)


def file_path(
    argument: str, value: object, expected: str = "a str, bytes or a pathlib.Path"
) -> str:
    """A path as a str. Numbers are not paths: open() would take one for a file descriptor."""
    try:
        path = text(argument, os.fsdecode(value))  # type: ignore[arg-type]  # raises for no path
    except TypeError:
        raise wrong_type(argument, value, expected) from None
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
