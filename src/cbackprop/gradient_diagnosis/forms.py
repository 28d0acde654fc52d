"""What a gradient of somebody's own may mean: which of its numbers belongs to which parameter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from cbackprop import layout
from cbackprop.functions import Array
from cbackprop.gradient_diagnosis.mistakes import BIAS, ORDER, Mistake, Mistakes

# A vector, or the derivatives by the weights and by the biases of each layer.
Form = Array | tuple[list[Array], list[Array]]


class Reading(NamedTuple):
    """∂C/∂W and ∂C/∂b of each layer, as a gradient has them if it was meant so.

    A weight's part comes twice: as W lies, and with a transposition undone; None where its shape
    says that it is not that.
    """

    mistakes: Mistakes
    weights: list[tuple[Array | None, Array | None]]
    biases: list[Array]
    is_vector: bool


def readings(given: Form, sizes: tuple[int, ...]) -> list[Reading]:
    """Every way to read it, the documented one first, where it can be read in that way."""
    found = _of_vector(given, sizes) if isinstance(given, np.ndarray) else _of_pair(*given, sizes)
    return list(found)


def _of_pair(
    weights: list[Array], biases: list[Array], sizes: tuple[int, ...]
) -> Iterator[Reading]:
    places = list(layout.places(sizes))
    said = "the lists begin with the last layer"
    for step, mistakes in ((1, ()), (-1, (Mistake(ORDER, 0, "", said),))):
        pairs: list[tuple[Array | None, Array | None]] = [
            (
                W if W.shape == (place.n_out, place.n_in) else None,
                W.T if W.shape == (place.n_in, place.n_out) else None,
            )
            for W, place in zip(weights[::step], places, strict=True)
        ]
        fits = all(b.size == place.n_out for b, place in zip(biases[::step], places, strict=True))
        if (
            fits
            and all(W is not None or turned is not None for W, turned in pairs)
            and (step > 0 or len(places) > 1)
        ):
            yield Reading(mistakes, pairs, biases[::step], False)


def _of_vector(vector: Array, sizes: tuple[int, ...]) -> Iterator[Reading]:
    P = layout.n_parameters(sizes)
    seen: list[Array] = []
    for said, order in _orders(sizes):
        mistakes: Mistakes = (Mistake(ORDER, 0, "", said),) if said else ()
        if len(vector) < P:
            is_bias = np.zeros(P, bool)
            for place in layout.places(sizes):
                is_bias[place.biases] = True
            order = order[~is_bias[order]]
            missing = f"the vector has {len(vector)} numbers: of the weights alone"
            mistakes += (Mistake(BIAS, 0, "biases", missing),)
        if any(np.array_equal(order, other) for other in seen):
            continue
        seen.append(order)
        own = np.zeros(P)
        own[order] = vector
        weights, biases = layout.views(sizes, own)
        yield Reading(mistakes, [(W, W.reshape(W.T.shape).T) for W in weights], [*biases], True)


def _orders(sizes: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Ways to lay out a vector in words, "" for the documented one, and whose each number is."""
    weights, biases = layout.views(sizes, np.arange(layout.n_parameters(sizes), dtype=np.intp))
    for step, from_the_last in ((1, ""), (-1, "from the last layer to the first")):
        layers = list(zip(weights, biases, strict=True))[::step]
        W, b = [W.ravel() for W, _ in layers], [b for _, b in layers]
        of_layers = list(zip(W, b, strict=True))
        orders: list[tuple[str, list[Array]]] = [
            ("", [part for pair in of_layers for part in pair]),
            ("the biases of a layer before its weights", [p for w, b in of_layers for p in (b, w)]),
            ("all weights, then all biases", W + b),
            ("all biases, then all weights", b + W),
            (
                "each neuron's bias after its weights",
                [np.column_stack((W, b)).ravel() for W, b in layers],
            ),
            (
                "each neuron's bias before its weights",
                [np.column_stack((b, W)).ravel() for W, b in layers],
            ),
        ]
        for said, parts in orders:
            yield ", ".join(filter(None, (said, from_the_last))), np.concatenate(parts)
