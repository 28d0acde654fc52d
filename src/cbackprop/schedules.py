"""Learning-rate schedules: the rate of each epoch, from its number and the optimiser's own rate.

A schedule is any function f(epoch, learning_rate) with epoch = 0, 1, … that returns a rate ≥ 0.
These are the usual ones; the formulas are those of torch.optim.lr_scheduler unless said otherwise.
They are functions of the epoch's number alone (`ReduceOnPlateau`: of the history, too), so that a
fit that goes on from a checkpoint has the rates of one that was never stopped. None keeps anything
of a fit: one object serves any number of them, also at the same time.
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
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


def _power(factor: float, exponent: int) -> float:
    """factor^exponent; infinite, which `Rates` refuses, where Python has an OverflowError."""
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

    Looks at the validation cost where there is one, at the training cost otherwise; where a fit
    goes on from a checkpoint with the other one of the two, a low of that is sought anew. The rate
    that is reduced is that of the epoch before.

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

    def __call__(self, epoch: int, learning_rate: float) -> float:
        return learning_rate

    def after(self, history: History, learning_rate: float) -> float:
        """The rate that follows the epochs of this history."""
        return _Plateaus(self, learning_rate).rate_after(history)


class _Plateaus:
    """How far one fit has been followed: an epoch's costs are read once.

    Not in the schedule, which other fits may have, too.
    """

    def __init__(self, schedule: ReduceOnPlateau, learning_rate: float) -> None:
        self.schedule = schedule
        self.rate = learning_rate
        self.epochs, self.best, self.waited, self.was_judged = 0, math.inf, 0, True

    def rate_after(self, history: History) -> float:
        schedule, costs = self.schedule, history.validation_cost or history.cost
        for epoch in range(self.epochs, len(costs)):
            if epoch < len(history.learning_rate):
                self.rate = history.learning_rate[epoch]
            # Before a checkpoint there may have been no validation data.
            is_judged = not math.isnan(costs[epoch])
            cost = costs[epoch] if is_judged else history.cost[epoch]
            if is_judged != self.was_judged:
                self.best, self.waited, self.was_judged = math.inf, 0, is_judged
            if math.isinf(self.best) or cost < self.best - schedule.min_delta * abs(self.best):
                self.best, self.waited = cost, 0
                continue
            self.waited += 1
            if self.waited > schedule.patience:
                least = min(schedule.least, self.rate)
                self.rate, self.waited = max(self.rate * schedule.factor, least), 0
        self.epochs = len(costs)
        return self.rate


class Rates:
    """The rates of one fit: each checked; the optimiser's own without a schedule."""

    def __init__(self, schedule: RateOfEpoch | None, learning_rate: float) -> None:
        self.schedule, self.learning_rate = schedule, learning_rate
        self._plateaus = (
            _Plateaus(schedule, learning_rate) if isinstance(schedule, ReduceOnPlateau) else None
        )

    def of(self, epoch: int, history: History) -> float:
        """The rate of the epoch that follows those of the history."""
        if self.schedule is None:
            return self.learning_rate
        if self._plateaus is not None:
            return self._plateaus.rate_after(history)
        rate = self.schedule(epoch, self.learning_rate)
        what = f"the result of schedule({epoch}, {self.learning_rate})"
        return validation.non_negative(what, rate)
