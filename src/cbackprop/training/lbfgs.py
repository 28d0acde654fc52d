"""L-BFGS's step.

After Nocedal & Wright (2006, *Numerical Optimization*, 2nd edition): the two-loop recursion 7.4
inside 7.5, steps by the line search 3.5 and 3.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cbackprop.functions import Array
from cbackprop.nodes import NotFinite
from cbackprop.optimizers import LBFGS, WholeBatchState
from cbackprop.quantities import Failure
from cbackprop.training import stop_reasons, whole_batch
from cbackprop.training.whole_batch import Step, dot, euclidean_norm

# The strong Wolfe conditions: enough of a decrease, and a slope that has become flat enough.
DECREASE, FLATTENING = 1e-4, 0.9


class _Point(NamedTuple):
    """Parameters, as the engine rounds them, and what the objective is there."""

    length: float  # along the line that is searched
    parameters: Array
    cost: float  # with the penalty; infinite where anything is not finite
    slope: float  # along that line
    gradient: Array
    cost_sum: float  # Σ w_i C_i, without the penalty


class _Last(NamedTuple):
    """Where the last step has ended, and what its objective was made of."""

    point: _Point
    data: object  # the identity of the examples
    l2: float
    frozen: list[slice]


class LBFGSStep(Step[LBFGS]):
    """From the mean cost with its penalty, and its gradient, to lower ones along a line."""

    failure: Failure  # of the last point that is not finite

    def take(self) -> tuple[float, str | None]:
        optimizer, state = self.optimizer, self.state
        here = self.here()
        if here.cost == math.inf:
            raise NotFinite(self.failure)
        cost = here.cost_sum / self.examples.total_weight
        steepness = euclidean_norm(here.gradient)
        if np.abs(here.gradient).max() <= optimizer.gradient_tolerance:
            self.remember(here)
            return cost, stop_reasons.CONVERGED
        pairs = _pairs(state)
        # The pairs may be from steps in which other layers were frozen.
        direction = self.frozen_out(_two_loop_direction(pairs, here.gradient))
        slope = float(dot(here.gradient, direction))
        first, there = optimizer.learning_rate, None
        if pairs and -math.inf < slope < 0:
            origin = here._replace(length=0.0, slope=slope)
            there = _line_search(self, origin, direction, first, self.most)
        if there is None:
            # The first step, or what is remembered leads nowhere: straight down, and begin again.
            pairs = []
            direction = -here.gradient / steepness
            origin = here._replace(length=0.0, slope=-steepness)
            there = _line_search(self, origin, direction, first * min(1.0, steepness), self.most)
        if there is None:
            whole_batch.write_parameters(self.engine, here.parameters)
            self.remember(here)
            # Without a limit no step that these numbers can tell from none makes the cost lower.
            ended = stop_reasons.CONVERGED if self.most > 0 else stop_reasons.MAX_EVALUATIONS
            return cost, ended
        whole_batch.write_parameters(self.engine, there.parameters)
        self.remember(there)
        s, y = there.parameters - here.parameters, there.gradient - here.gradient
        # Without curvature along s, beyond what rounding makes, the pair says nothing.
        if dot(s, y) > np.finfo(self.dtype).eps * euclidean_norm(s) * euclidean_norm(y):
            pairs = [*pairs, (s, y)][-optimizer.memory :]
        arrays: dict[str, Array] = {}
        for i, pair in enumerate(pairs):
            for name, array in zip(("s", "y"), pair, strict=True):
                array.flags.writeable = False
                arrays[f"{name}{i}"] = array
        state.arrays = arrays
        return cost, None if self.most > 0 else stop_reasons.MAX_EVALUATIONS

    @property
    def most(self) -> int:
        """Evaluations that a search may take now."""
        most, limit = self.optimizer.line_search, self.optimizer.max_evaluations
        return most if limit is None else min(most, limit - int(self.state.numbers["evaluations"]))

    def point(self, length: float, parameters: Array, direction: Array | None) -> _Point:
        """The objective where the engine's parameters, given once more as a vector, stand now."""
        if self.optimizer.max_evaluations is not None:
            self.state.numbers = {"evaluations": self.state.numbers.get("evaluations", 0.0) + 1}
        rounded = self.workspace.array("the gradient", parameters.shape, self.dtype)
        failure: Failure | None = None
        try:
            cost_sum = self.examples.gradient(rounded)
        except NotFinite as error:
            failure, cost_sum = error.failure, math.inf
        gradient = rounded.astype(np.float64)
        cost = cost_sum / self.examples.total_weight
        if self.l2 > 0:
            weights = whole_batch.weights_alone(parameters, self.of_biases)
            cost += self.l2 / 2 * float(dot(weights, weights))
            gradient += self.l2 * weights
        self.frozen_out(gradient)
        slope = 0.0 if direction is None else float(dot(gradient, direction))
        if failure is not None or not (math.isfinite(cost) and np.isfinite(gradient).all()):
            cost = math.inf
            # What overflows after the engine's call is a sum of this method's own.
            own = ("penalty", 0) if self.l2 > 0 else ("delta", len(self.of_weights))
            self.failure = failure or own
        return _Point(length, parameters, cost, slope, gradient, cost_sum)

    def along(self, origin: Array, direction: Array, length: float) -> _Point:
        """Go there, and see."""
        whole_batch.write_parameters(self.engine, origin + length * direction)
        return self.point(length, whole_batch.read_parameters(self.engine), direction)

    def here(self) -> _Point:
        """The objective at the parameters as they stand: the last step's end, if it is that."""
        parameters = whole_batch.read_parameters(self.engine)
        last = self.workspace.last
        if (
            isinstance(last, _Last)
            and last.l2 == self.l2
            and last.frozen == self.frozen
            and last.data == self.data
            and np.array_equal(last.point.parameters, parameters)
        ):
            return last.point
        return self.point(0.0, parameters, None)

    def remember(self, point: _Point) -> None:
        """The parameters are left there; the next step may begin with it."""
        self.workspace.last = _Last(point, self.data, self.l2, self.frozen)

    @cached_property
    def data(self) -> object:
        """Tells these examples from others: a network that is kept keeps no data."""
        return self.examples.identity()


def _pairs(state: WholeBatchState) -> list[tuple[Array, Array]]:
    return [(state.arrays[f"s{i}"], state.arrays[f"y{i}"]) for i in range(len(state.arrays) // 2)]


def _two_loop_direction(pairs: list[tuple[Array, Array]], gradient: Array) -> Array:
    """−H∇f, H the inverse Hessian's approximation by the pairs (algorithm 7.4)."""
    q = gradient.copy()
    curvatures = [dot(s, y) for s, y in pairs]
    alphas: list[np.float64] = []
    # Divided as NumPy's numbers: a square may have vanished, and then no direction comes out.
    for (s, y), curvature in zip(reversed(pairs), reversed(curvatures), strict=True):
        alphas.append(dot(s, q) / curvature)
        q -= alphas[-1] * y
    if pairs:
        y = pairs[-1][1]
        q *= curvatures[-1] / dot(y, y)
    for (s, y), curvature, alpha in zip(pairs, curvatures, reversed(alphas), strict=True):
        q += (alpha - dot(y, q) / curvature) * s
    return -q


def _line_search(
    objective: LBFGSStep, origin: _Point, direction: Array, first: float, most: int
) -> _Point | None:
    """A point along the line that fulfils the strong Wolfe conditions (algorithm 3.5).

    None if ``most`` evaluations find none with enough of a decrease; the longest or lowest one that
    has it if none is flat enough, too.
    """

    def evaluate(length: float) -> _Point:
        return objective.along(origin.parameters, direction, length)

    rounding = np.finfo(objective.dtype).eps
    previous, length = origin, first
    for count in range(1, most + 1):
        point = evaluate(length)
        # Where the cost stands still within its rounding, the slope tells whether to go on.
        undecided = (
            abs(point.cost - origin.cost) <= rounding * abs(origin.cost)
            and point.slope <= FLATTENING * origin.slope
        )
        if not undecided and (
            not _decreases(origin, point) or (count > 1 and point.cost >= previous.cost)
        ):
            return _zoom(evaluate, origin, previous, point, most - count)
        if abs(point.slope) <= -FLATTENING * origin.slope:
            return point
        if point.slope >= 0:
            return _zoom(evaluate, origin, point, previous, most - count)
        wanted = _cubic_minimum(previous, point)
        previous = point
        length = min(max(wanted, 1.25 * length), 10 * length) if wanted > length else 10 * length
        if not math.isfinite(length):
            break
    return previous if _decreases(origin, previous) else None


def _zoom(
    evaluate: Callable[[float], _Point], origin: _Point, low: _Point, high: _Point, most: int
) -> _Point | None:
    """The same between two points, where ``low`` has the lower cost (algorithm 3.6)."""
    width = math.inf
    for _ in range(most):
        narrowed = abs(high.length - low.length) <= 0.66 * width
        width = abs(high.length - low.length)
        share = 0.5
        if high.cost == math.inf:
            share = 0.1  # nothing is known of it but that it is too far
        elif narrowed:
            share = (_cubic_minimum(low, high) - low.length) / (high.length - low.length)
            share = min(max(share, 0.1), 0.9) if math.isfinite(share) else 0.5
        point = evaluate(low.length + share * (high.length - low.length))
        if not _decreases(origin, point) or point.cost >= low.cost:
            if np.array_equal(point.parameters, low.parameters):
                break  # rounding leaves nothing between the two
            high = point
            continue
        if abs(point.slope) <= -FLATTENING * origin.slope:
            return point
        if point.slope * (high.length - low.length) >= 0:
            high = low
        low = point
    return low if _decreases(origin, low) else None


def _decreases(origin: _Point, point: _Point) -> bool:
    return (
        point.cost <= origin.cost + DECREASE * point.length * origin.slope
        and point.cost < origin.cost  # also where the term above is lost in rounding
    )


def _cubic_minimum(first: _Point, second: _Point) -> float:
    """Where the cubic through both costs with both slopes has its minimum (equation 3.59).

    NaN if it has none.
    """
    distance = second.length - first.length
    d1 = first.slope + second.slope - 3 * (second.cost - first.cost) / distance
    square = d1 * d1 - first.slope * second.slope
    if not square >= 0:
        return math.nan
    d2 = math.copysign(math.sqrt(square), distance)
    denominator = second.slope - first.slope + 2 * d2
    if denominator == 0:
        return math.nan
    return second.length - distance * (second.slope + d2 - d1) / denominator
