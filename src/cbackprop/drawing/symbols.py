"""The lesson's symbols and numbers as labels: spans of text, some raised, lowered or in italics."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from unicodedata import east_asian_width

Label = list[tuple[str, str]]  # text, and "" or "it" (a symbol), "sup", "sub"

NARROW = "iljtfrI.,:;|!'()[]/ ·⁽⁾"
WIDE = "mwMW@%∂Σ∞→—…⋮"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def symbol(letter: str, layer: int | None = None, *indices: int) -> Label:
    """A letter with its layer above and its neurons below, such as w⁽²⁾ with 3,7."""
    label: Label = [(letter, "it")]
    if layer is not None:
        label.append((f"({layer})", "sup"))
    if indices:
        label.append((",".join(str(index) for index in indices), "sub"))
    return label


def neuron_symbol(sizes: tuple[int, ...], letter: str, layer: int, j: int) -> Label:
    """z, a or b of a neuron; the only one of its layer needs no number."""
    return symbol(letter, layer) if sizes[layer] == 1 else symbol(letter, layer, j)


def weight_symbol(sizes: tuple[int, ...], layer: int, j: int, k: int) -> Label:
    if sizes[layer] == sizes[layer - 1] == 1:
        return symbol("w", layer)
    return symbol("w", layer, j, k)


def target_symbol(sizes: tuple[int, ...], j: int) -> Label:
    return symbol("y") if sizes[-1] == 1 else symbol("y", None, j)


def marked(text: str) -> Label:
    """One of our own formulas, its indices lowered: "a_j − y_j". Never a name of the user's."""
    parts = re.split(r"_(\w)", text)
    return [(part, "sub" if i % 2 else "") for i, part in enumerate(parts) if part]


def derivative(upper: Label, lower: Label) -> Label:
    """∂upper/∂lower on one line."""
    return [("∂", ""), *upper, ("/∂", ""), *lower]


def joined(*pieces: Label | str) -> Label:
    """Labels and plain text, one after another."""
    labels = (plain(piece) if isinstance(piece, str) else piece for piece in pieces)
    return [span for label in labels for span in label]


def plain(text: str) -> Label:
    return [(text, "")]


def number(value: float, digits: int = 4) -> str:
    """A number for the eye: few digits, a true minus, powers of ten written out."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    if mantissa in ("0", "-0"):
        return "0"
    text = mantissa.replace("-", "−")
    if not exponent:
        return text
    return f"{text}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"


def signed(value: float) -> str:
    """A number with its sign, as a term of a sum."""
    text = number(value)
    return f"+{text}" if value > 0 else text


def in_product(value: float) -> str:
    """A number as a factor: in brackets where it has a sign."""
    text = number(value)
    return f"({text})" if text.startswith("−") else text


def product(factors: Sequence[float]) -> str:
    """Factors written out: 2 · (−3) · 0.5."""
    return " · ".join([number(factors[0]), *map(in_product, factors[1:])])


def exact(value: float) -> str:
    """A number as hovers and text alternatives say it."""
    return f"{value:z.9g}"


def as_text(label: Label) -> str:
    """A label in one line of plain text."""
    marks = {"sup": "^", "sub": "_"}
    return "".join(marks.get(kind, "") + text for text, kind in label)


def label_width(label: Label, size: float) -> float:
    """The width a label takes at most in the fonts in use: what is drawn may be narrower."""
    width = 0.0
    for text, kind in label:
        scale = 0.72 if kind in ("sup", "sub") else 1.0
        width += scale * sum(_character_width(c) for c in text)
    return width * size


def _character_width(character: str) -> float:
    if character in NARROW:
        return 0.42
    if character in WIDE:
        return 0.92
    if east_asian_width(character) in "WF":
        return 1.05
    return 0.72 if character.isupper() else 0.64
