"""Learning-rate schedules: the rate of each epoch, from its number and the optimiser's own rate.

A schedule is any function f(epoch, learning_rate) with epoch = 0, 1, … that returns a rate ≥ 0.
These are the usual ones; the formulas are those of torch.optim.lr_scheduler unless said otherwise.
They are functions of the epoch's number alone (`ReduceOnPlateau`: of the history, too), so that a
fit that goes on from a checkpoint has the rates of one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from cbackprop import validation

if TYPE_CHECKING:
    from cbackprop.training.history import History

# Of the epoch and the optimiser's own rate; what a user's own returns is judged when it has.
RateOfEpoch = Callable[[int, float], object]


class Schedule:
    """What every schedule here has in common."""

    def __call__(self, epoch: int, learning_rate: float) -> float:
        """The rate of an epoch, from 0; ``learning_rate`` is the optimiser's own."""
        raise NotImplementedError

    def __repr__(self) -> str:
        arguments = ", ".join(
            f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_")
        )
        return f"{type(self).__name__}({arguments})"


def _power(factor: float, exponent: int) -> float:
    """factor^exponent; infinite, which `rate_of` refuses, where Python has an OverflowError."""
    try:
        return float(factor**exponent)
    except OverflowError:
        return math.inf


class Constant(Schedule):
    """The optimiser's own rate throughout."""

    def __call__(self, epoch: int, learning_rate: float) -> float:
        return learning_rate


class StepDecay(Schedule):
    """η · factor^⌊epoch/every⌋.

    Parameters
    ----------
    every : int
        Epochs between two reductions, ≥ 1.
    factor : float
        > 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    def __init__(self, every: int, factor: float = 0.1) -> None:
        self.every = validation.integer("every", every, 1)
        self.factor = validation.positive("factor", factor)

    def __call__(self, epoch: int, learning_rate: float) -> float:
        return learning_rate * _power(self.factor, epoch // self.every)


class ExponentialDecay(Schedule):
    """η · factor^epoch.

    Parameters
    ----------
    factor : float
        > 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    def __init__(self, factor: float) -> None:
        self.factor = validation.positive("factor", factor)

    def __call__(self, epoch: int, learning_rate: float) -> float:
        return learning_rate * _power(self.factor, epoch)


class CosineDecay(Schedule):
    """least + (η − least)(1 + cos(π epoch/epochs))/2; ``least`` from then on.

    (Loshchilov & Hutter 2017, "SGDR", without restarts.)

    Parameters
    ----------
    epochs : int
        Epochs until ``least`` is reached, ≥ 1.
    least : float
        ≥ 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    def __init__(self, epochs: int, least: float = 0.0) -> None:
        self.epochs = validation.integer("epochs", epochs, 1)
        self.least = validation.non_negative("least", least)

    def __call__(self, epoch: int, learning_rate: float) -> float:
        part = min(epoch / self.epochs, 1.0)
        return self.least + (learning_rate - self.least) * (1 + math.cos(math.pi * part)) / 2


class OneCycle(Schedule):
    """Up to the optimiser's rate η along a cosine, then down to almost nothing along another.

    (Smith & Topin 2018, "Super-convergence".) From η/start_divisor to η in the first ``warm_up`` of
    the epochs, then to η/start_divisor/end_divisor in the last one. Epoch by epoch, where PyTorch's
    goes batch by batch.

    Parameters
    ----------
    epochs : int
        Of the whole cycle, ≥ 2.
    warm_up : float
        The share of the way up, in [0, 1).
    start_divisor, end_divisor : float
        ≥ 1.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    def __init__(
        self,
        epochs: int,
        warm_up: float = 0.3,
        start_divisor: float = 25.0,
        end_divisor: float = 1e4,
    ) -> None:
        self.epochs = validation.integer("epochs", epochs, 2)
        self.warm_up = validation.fraction("warm_up", warm_up)
        self.start_divisor = validation.at_least("start_divisor", start_divisor, 1.0)
        self.end_divisor = validation.at_least("end_divisor", end_divisor, 1.0)

    def __call__(self, epoch: int, learning_rate: float) -> float:
        start = learning_rate / self.start_divisor
        last = self.epochs - 1
        top = self.warm_up * last
        epoch = min(epoch, last)
        if epoch < top:
            low, part = start, 1 - epoch / top
        else:
            low, part = start / self.end_divisor, (epoch - top) / (last - top)
        return low + (learning_rate - low) * (1 + math.cos(math.pi * part)) / 2


class ReduceOnPlateau(Schedule):
    """η times ``factor`` for each ``patience`` epochs in which the cost reached no new low.

    Looks at the validation cost where there is one, at the training cost otherwise.

    Parameters
    ----------
    factor : float
        In (0, 1).
    patience : int
        Epochs without a new low that are waited for, ≥ 0; the next one reduces.
    min_delta : float
        Share of the cost by which a new low must lie below the last one, in [0, 1).
    least : float
        The rate goes no lower, ≥ 0.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, for a value outside the above.
    """

    def __init__(
        self, factor: float = 0.1, patience: int = 10, min_delta: float = 1e-4, least: float = 0.0
    ) -> None:
        self.factor = validation.fraction("factor", validation.positive("factor", factor))
        self.patience = validation.integer("patience", patience, 0)
        self.min_delta = validation.fraction("min_delta", min_delta)
        self.least = validation.non_negative("least", least)
        self._history: History | None = None
        self._seen = (0, math.inf, 0, 0.0)

    def __call__(self, epoch: int, learning_rate: float) -> float:
        return learning_rate

    def after(self, history: History, learning_rate: float) -> float:
        """The rate that follows the epochs of this history.

        A function of the costs alone: what is kept between calls only saves reading them again.
        """
        costs = history.validation_cost or history.cost
        if self._history is not history:
            self._history, self._seen = history, (0, math.inf, 0, learning_rate)
        count, best, waited, rate = self._seen
        for cost in costs[count:]:
            if math.isinf(best) or cost < best - self.min_delta * abs(best):
                best, waited = cost, 0
                continue
            waited += 1
            if waited > self.patience:
                rate, waited = max(rate * self.factor, min(self.least, rate)), 0
        self._seen = (len(costs), best, waited, rate)
        return rate


def rate_of(
    schedule: RateOfEpoch | None, epoch: int, learning_rate: float, history: History
) -> float:
    """The checked rate of an epoch; the optimiser's own without a schedule."""
    if schedule is None:
        return learning_rate
    if isinstance(schedule, ReduceOnPlateau):
        return schedule.after(history, learning_rate)
    rate = schedule(epoch, learning_rate)
    return validation.non_negative(f"the result of schedule({epoch}, {learning_rate})", rate)
