"""Steps of L-BFGS and Levenberg–Marquardt, as several test files take them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import support
from support import Array

from cbackprop import Network
from cbackprop.optimizers import LBFGS, LevenbergMarquardt, WholeBatch, WholeBatchState
from cbackprop.training import second_order
from cbackprop.training.whole_batch import InMemory

both_optimizers = pytest.mark.parametrize("optimizer", [LBFGS(), LevenbergMarquardt()], ids=repr)


def data(n: int, sizes: tuple[int, ...], dtype: str = "float64") -> tuple[Array, Array]:
    return support.data(n, sizes, dtype, seed=7)


def step(
    engine: Any,
    X: Array,
    Y: Array,
    sample_weight: Array | None,
    l2: float,
    optimizer: WholeBatch,
    state: WholeBatchState,
) -> tuple[float, str | None]:
    """One step on arrays."""
    examples = InMemory(engine, X, Y, sample_weight)
    return second_order.step(engine, examples, l2, optimizer, state)


def steps(
    net: Network,
    X: Array,
    Y: Array,
    optimizer: WholeBatch,
    most: int,
    *,
    goal: float = 0.0,
    l2: float = 0.0,
    sample_weight: Array | None = None,
    state: WholeBatchState | None = None,
) -> tuple[list[float], str | None, WholeBatchState]:
    """Step until the cost reaches the goal; the costs before each step, and why it ended."""
    X, Y = (np.ascontiguousarray(array, net.dtype) for array in (X, Y))
    state = state or second_order.start(optimizer, net._engine)
    costs: list[float] = []
    reason = None
    while len(costs) < most and reason is None and (not costs or costs[-1] > goal):
        cost, reason = step(net._engine, X, Y, sample_weight, l2, optimizer, state)
        costs.append(cost)
    return costs, reason, state


def objective(net: Network, X: Array, Y: Array, l2: float) -> tuple[float, Array]:
    """Mean cost and penalty, and the gradient of both, from the network's own calls."""
    g = net.gradient(X, Y)
    vector = g.vector.astype(np.float64)
    penalty = sum(float(np.sum(W.astype(np.float64) ** 2)) for W in net.weights)
    parts = [
        part
        for W, b in zip(net.weights, net.biases, strict=True)
        for part in (l2 * W.astype(np.float64).ravel(), np.zeros(len(b)))
    ]
    return g.cost + l2 / 2 * penalty, vector + np.concatenate(parts)


class Watched:
    """An engine whose calls are counted, and one of which may fail."""

    CALLS = ("cost", "gradient", "forward", "jacobian")

    def __init__(self, engine: Any, failing: int = -1, error: type[BaseException] = OSError):
        self.engine, self.failing, self.error = engine, failing, error
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.engine, name)
        if name not in self.CALLS:
            return value

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 == self.failing:
                raise self.error
            return value(*arguments)

        return call
