"""What demo and explain show alike: a digit in characters, and nudges in a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cbackprop.chain_rule import WeightTerm
from cbackprop.cli.terminal import print_wrapped
from cbackprop.functions import Array

SHADES = " .:-=+*#%@"
NUDGES = ("nudge", "predicted change", "measured change", "measured / nudge")


def print_digit(x: Array, label: int, outputs: Array) -> None:
    """An 8x8 picture in characters, with the label and the outputs beside it."""
    prediction = int(outputs.argmax())
    verdict = "right" if prediction == label else "wrong"
    beside = [f"label {label}, prediction {prediction}: {verdict}", ""]
    beside += [
        f"{j}: {outputs[j]:.4f}    {j + 5}: {outputs[j + 5]:.4f}" for j in range(len(outputs) // 2)
    ]
    beside += [""]
    for row, text in zip(x.reshape(8, 8), beside, strict=True):
        # Each pixel twice, because characters are about twice as high as wide.
        pixels = "".join(2 * SHADES[round(value * (len(SHADES) - 1))] for value in row.tolist())
        print(f"  |{pixels}|   {text}".rstrip())


def nudge_sizes(term: WeightTerm) -> list[float]:
    """Three sizes, a tenth of each other: 0.1 at first, less where a large a_k makes much of it."""
    scale = 10.0 ** -math.ceil(math.log10(max(1.0, abs(term.dz_dw))))
    return [size * scale for size in (0.1, 0.01, 0.001)]


def nudge_rows(term: WeightTerm) -> list[tuple[str, ...]]:
    """What the derivative predicts of three nudges, and what they do; the columns of `NUDGES`."""
    form = "z.9f" if 1e-4 <= abs(term.value) < 1e6 else "z.9g"
    rows: list[tuple[str, ...]] = []
    for size in nudge_sizes(term):
        measured = _measured(term, size)
        found = ("not finite", "") if measured is None else (measured, measured / size)
        numbers = (size * term.value, *found)
        rows.append((f"{size:g}", *(n if isinstance(n, str) else f"{n:{form}}" for n in numbers)))
    return rows


def print_nudges(term: WeightTerm, name: str) -> None:
    """What the derivative predicts of three nudges, and what they do."""
    print_wrapped(
        f"Nudge {name} and run the network again. Predicted is nudge · ∂C/∂w; the smaller the "
        "nudge, the nearer measured / nudge comes to ∂C/∂w.",
        indent="",
    )
    for size, *changes in (NUDGES, *nudge_rows(term)):
        print(f"{size:>8}{''.join(f'{change:>20}' for change in changes)}".rstrip())


def _measured(term: WeightTerm, size: float) -> float | None:
    """What a nudge does to the cost; None where that is then not finite."""
    try:
        return term.nudge(size).measured
    except FloatingPointError:
        return None


def facts_of(term: WeightTerm) -> dict[str, Any]:
    """What --json prints of it; lists where a softmax layer has a factor for each output."""
    return {
        "layer": term.layer,
        "j": term.j,
        "k": term.k,
        "dz_dw": term.dz_dw,
        "da_dz": np.asarray(term.da_dz).tolist(),
        "dC_da": np.asarray(term.dC_da).tolist(),
        "dC_dz": term.dC_dz,
        "dC_dw": term.value,
        "nudges": [
            {"size": size, "predicted": size * term.value, "measured": _measured(term, size)}
            for size in nudge_sizes(term)
        ],
    }
