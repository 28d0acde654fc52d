"""The fewest mistakes that make somebody's gradient of the network's.

From the output down, layer by layer: which δ, of those that the layer above may have passed back,
gives the derivatives that were given? What is right is always tried first, and a further mistake
only where nothing with fewer explains every layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from cbackprop.functions import COSTS, Array
from cbackprop.gradient_diagnosis.errors import Error, Errors, May
from cbackprop.gradient_diagnosis.forms import Reading
from cbackprop.gradient_diagnosis.mistakes import (
    BIAS,
    FACTOR_2,
    NOT_AVERAGED,
    ORDER,
    SIGN,
    TRANSPOSED,
    Mistake,
    Mistakes,
    names_of,
)

MOST_MISTAKES = 3
MOST_EXPLANATIONS = 64  # that are followed further down at a time

# What counts as rounding, in ε: of the largest number, of the terms that a sum may cancel, and of
# what moves with the last digits of the parameters.
OF_LARGEST = 512.0
OF_TERMS = 64.0
OF_NEARBY = 16.0


class Rounding(NamedTuple):
    """How far the derivatives of a layer may be from the right ones that are computed otherwise."""

    epsilon: float
    nearby: list[tuple[float, float]]  # of weights and biases, from layer 1

    def times(self, factor: float) -> Rounding:
        nearby = [(factor * of_W, factor * of_b) for of_W, of_b in self.nearby]
        return Rounding(factor * self.epsilon, nearby)

    def tolerance(self, expected: Array, size: float, nearby: float) -> float:
        terms = max(OF_LARGEST * largest(expected), OF_TERMS * size)
        return self.epsilon * terms + OF_NEARBY * nearby


class Explanation(NamedTuple):
    """What was found from the output down to some layer: an error and the mistakes of each."""

    errors: tuple[Error, ...] = ()
    mistakes: Mistakes = ()
    factors: tuple[tuple[float, float], ...] = ()  # of weights and biases, as the errors
    unexplained: tuple[int, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        return frozenset(names_of(self.mistakes))

    @property
    def rank(self) -> tuple[int, int, int]:
        return len(self.unexplained), len(self.names), len(self.mistakes)


class Ways(NamedTuple):
    """One reading of the gradient, and errors of one forward pass, right or not."""

    reading: Reading
    errors: Errors
    mistakes: Mistakes


def largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0.0))


def explanations(
    ways: list[Ways], rounding: Rounding, fewest: int, most: int
) -> list[tuple[Ways, Explanation]]:
    """Those with the fewest mistakes that leave nothing unexplained, if there are any."""
    for number in range(fewest, most + 1):
        found: list[tuple[Ways, Explanation]] = []
        for way in ways:
            if len(names_of(way.mistakes)) <= number:
                found += [(way, e) for e in Search(way, rounding, number).whole()]
        if found:
            return _simplest(found)
    return []


def _simplest(found: list[tuple[Ways, Explanation]]) -> list[tuple[Ways, Explanation]]:
    """One for each set of names, of those with the fewest."""
    found.sort(key=lambda pair: pair[1].rank)
    by_names: dict[frozenset[str], tuple[Ways, Explanation]] = {}
    for pair in found:
        if len(pair[1].names) == len(found[0][1].names):
            by_names.setdefault(pair[1].names, pair)
    return list(by_names.values())


class Search:
    """One of the ways, with so many different mistakes at most."""

    def __init__(self, way: Ways, rounding: Rounding, most: int) -> None:
        self.way = way
        self.reading = way.reading
        self.rounding = rounding
        self.most = most
        self.factors = self._factors()

    def _factors(self) -> list[tuple[float, Mistakes]]:
        """What all derivatives of a part may be times the right ones, and why."""
        n, cost = len(self.way.errors.Y), self.way.errors.engine.cost_function
        known = [
            (-1.0, SIGN, "times −1"),
            (float(n), NOT_AVERAGED, f"times {n}, the number of examples"),
        ]
        if isinstance(cost, str) and COSTS[cost].squares == 1:
            known.append((0.5, FACTOR_2, "times ½"))
        factors: dict[float, Mistakes] = {1.0: ()}
        for count in range(1, len(known) + 1):
            for chosen in combinations(known, count):
                factor = float(np.prod([of for of, _, _ in chosen]))
                factors.setdefault(factor, tuple(Mistake(name, 0, "", s) for _, name, s in chosen))
        return list(factors.items())

    def whole(self) -> list[Explanation]:
        """Explanations of every layer."""
        found = [Explanation(mistakes=self.way.mistakes)]
        for _ in self.reading.biases:
            found = self._further(found)
        return [settled for e in found for settled in self._settled(e)]

    def partial(self) -> Explanation:
        """As much as can be explained: a layer that cannot passes the right error back."""
        found = self._partial()
        if not found:  # because half of what is right was taken for a missing factor 2
            self.factors = [pair for pair in self.factors if FACTOR_2 not in names_of(pair[1])]
            found = self._partial()
        return min(found, key=lambda e: e.rank)

    def _partial(self) -> list[Explanation]:
        found = [Explanation(mistakes=self.way.mistakes)]
        for _ in self.reading.biases:
            found = self._further(found) or [self._unexplained(e) for e in found]
        return [settled for e in found for settled in self._settled(e)]

    def _unexplained(self, e: Explanation) -> Explanation:
        error = next(self.way.errors.of(e.errors[-1] if e.errors else None, lambda made: not made))
        return e._replace(
            errors=(*e.errors, error),
            factors=(*e.factors, (1.0, 1.0)),
            unexplained=(*e.unexplained, error.layer),
        )

    def _settled(self, e: Explanation) -> list[Explanation]:
        """With what only the whole shows; none where that speaks against it."""
        # The 2 is one of ∂C/∂a at the output: it is missing everywhere or nowhere.
        if FACTOR_2 in e.names:
            halved = {factor for factor, of in self.factors if FACTOR_2 in names_of(of)}
            for error, factors in zip(e.errors, e.factors, strict=True):
                if error.layer in e.unexplained:
                    continue
                for array, factor in zip((error.weights, error.biases), factors, strict=True):
                    if array.any() and factor not in (0.0, *halved):
                        return []
        # A vector whose weights all stand transposed has another order.
        turned = {m.layer for m in e.mistakes if m.name == TRANSPOSED and m.part}
        others = tuple(m for m in e.mistakes if not (m.name == TRANSPOSED and m.part))
        if not (self.reading.is_vector and turned) or TRANSPOSED in names_of(others):
            return [e]
        for error in e.errors:
            W, undone = self.reading.weights[error.layer - 1]
            seen = W is None or undone is None or not np.array_equal(W, undone)
            if seen and error.layer not in turned:
                return [e]
        said = "the weights of each layer column by column"
        return [e, e._replace(mistakes=(Mistake(ORDER, 0, "", said), *others))]

    def _further(self, found: list[Explanation]) -> list[Explanation]:
        """One layer further down."""
        further: list[Explanation] = []
        for e in found:

            def may(mistakes: Mistakes, names: frozenset[str] = e.names) -> bool:
                return len(names.union(names_of(mistakes))) <= self.most

            for error in self._errors(e.errors[-1] if e.errors else None, may):
                for mistakes, factors in self._fits(error, may):
                    further.append(
                        Explanation(
                            (*e.errors, error),
                            e.mistakes + error.mistakes + mistakes,
                            (*e.factors, factors),
                            e.unexplained,
                        )
                    )
        further.sort(key=lambda e: e.rank)
        return further[:MOST_EXPLANATIONS]

    def _errors(self, above: Error | None, may: May) -> Iterator[Error]:
        yield from self.way.errors.of(above, may)
        if above is not None and self.most > 0:
            for factor, mistakes in self.factors:
                for W, turned in self._weights(above.layer - 1):
                    yield from self.way.errors.of_one_path(above, W, factor, mistakes + turned, may)

    def _weights(self, layer: int) -> list[tuple[Array, Mistakes]]:
        """The derivatives by its weights, as they lie and with a transposition undone."""
        W, turned = self.reading.weights[layer - 1]
        said = "∂C/∂W stands transposed"
        transposed = (Mistake(TRANSPOSED, layer, "weights", said),)
        pairs = ((W, ()), (turned, transposed))
        return [(array, mistakes) for array, mistakes in pairs if array is not None]

    def _fits(self, error: Error, may: May) -> Iterator[tuple[Mistakes, tuple[float, float]]]:
        """How the derivatives that were given come from this error: mistakes and factors."""
        layer = error.layer
        nearby = self.rounding.nearby[layer - 1]
        db = self.reading.biases[layer - 1]
        of_weights: list[tuple[Mistakes, float]] = []
        for W, turned in self._weights(layer):
            of_weights += [
                (turned + self._of_layer(mistakes, layer, "weights"), factor)
                for mistakes, factor in self._factors_of(
                    W, error.weights, error.weights_size, nearby[0]
                )
            ]
        if not of_weights:
            return
        of_biases = [
            (self._of_layer(mistakes, layer, "biases"), factor)
            for mistakes, factor in self._factors_of(db, error.biases, error.biases_size, nearby[1])
        ]
        if not of_biases and not db.any():
            said = "every ∂C/∂b is 0"
            of_biases = [((Mistake(BIAS, layer, "biases", said),), 0.0)]
        for weight_mistakes, weight_factor in of_weights:
            for bias_mistakes, bias_factor in of_biases:
                mistakes = weight_mistakes + bias_mistakes
                if may(error.mistakes + mistakes):
                    yield mistakes, (weight_factor, bias_factor)

    def _of_layer(self, mistakes: Mistakes, layer: int, part: str) -> Mistakes:
        return tuple(mistake._replace(layer=layer, part=part) for mistake in mistakes)

    def _factors_of(
        self, found: Array, expected: Array, size: float, nearby: float
    ) -> list[tuple[Mistakes, float]]:
        """By which factors it is what was expected; by 1 alone where it is by that."""
        tolerance = self.rounding.tolerance(expected, size, nearby)
        fitting: list[tuple[Mistakes, float]] = []
        found_largest, expected_largest = largest(found), largest(expected)
        for factor, mistakes in self.factors:
            allowed = abs(factor) * tolerance
            if not abs(found_largest - abs(factor) * expected_largest) <= allowed:
                continue
            if largest(found - factor * expected) <= allowed:
                fitting.append((mistakes, factor))
                if factor == 1:
                    break
        return fitting
