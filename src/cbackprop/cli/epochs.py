"""A line for each epoch of a fit."""

from __future__ import annotations

from cbackprop import Network
from cbackprop.training import History


class EpochTable:
    """A callback of fit: a line per epoch, with the speed where the number of examples is given."""

    def __init__(self, n_examples: int | None = None) -> None:
        self.n_examples = n_examples
        self.seconds = 0.0

    def __call__(self, network: Network, history: History) -> None:
        line = f"{'epoch':>5}{'training cost':>16}{'test cost':>13}{'test accuracy':>16}"
        if history.epochs == 1:
            print(line + (f"{'seconds':>10}{'examples/s':>13}" if self.n_examples else ""))
        line = (
            f"{history.epochs:>5}{history.cost[-1]:>16.6f}{history.validation_cost[-1]:>13.6f}"
            f"{history.metrics['accuracy'][-1]:>16.4f}"
        )
        if self.n_examples:
            seconds = history.seconds - self.seconds
            self.seconds = history.seconds
            rate = f"{self.n_examples / seconds:,.0f}" if seconds > 0 else "-"
            line += f"{seconds:>10.3f}{rate:>13}"
        print(line, flush=True)
