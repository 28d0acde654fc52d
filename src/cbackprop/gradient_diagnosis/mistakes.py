"""The mistakes that are known, in the words in which they are named."""

from __future__ import annotations

from typing import NamedTuple

SLOPE_MISSING = "σ′ missing"
SLOPE_OF_A = "σ′ taken of a"
SLOPE_TWICE = "σ′ twice"
TRANSPOSED = "transposed"
NOT_AVERAGED = "not averaged"
FACTOR_2 = "factor 2 missing"
SIGN = "sign reversed"
BIAS = "bias forgotten"
ORDER = "order of the vector"
ONE_PATH = "one path only"
ERROR_ABOVE = "the layer above's error"


class Mistake(NamedTuple):
    """One mistake, made in one place."""

    name: str
    layer: int  # 0 where it is none of one layer
    part: str  # "weights" or "biases", "" where it is of both
    said: str  # what shows it


Mistakes = tuple[Mistake, ...]


def names_of(mistakes: Mistakes) -> tuple[str, ...]:
    """Each name once, in the order in which they come."""
    return tuple(dict.fromkeys(mistake.name for mistake in mistakes))
