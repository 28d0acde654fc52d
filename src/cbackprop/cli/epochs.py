"""A line for each epoch of a fit."""

from __future__ import annotations

import itertools
import time

from cbackprop import Network
from cbackprop.cli.terminal import clear_progress
from cbackprop.training import History

MOST_LINES = 40
SECONDS_BETWEEN = 1.0


class EpochTable:
    """A callback of fit: a line per epoch, above what fit itself shows of a long one.

    Parameters
    ----------
    judged : str
        What the metric is of, in a word: "test".
    epochs : int, optional
        Those of the whole fit: where they are many, a line is printed for every second, fifth or
        tenth only, and so on, and for an epoch that ends a second after the last line. By default
        for each.
    n_examples : int, optional
        With it the lines tell the speed.
    """

    def __init__(self, judged: str, epochs: int = 0, n_examples: int | None = None) -> None:
        self.judged = judged
        self.epochs = epochs
        self.n_examples = n_examples
        self.every = next(
            step
            for power in itertools.count()
            for step in (10**power, 2 * 10**power, 5 * 10**power)
            if epochs <= MOST_LINES * step
        )
        self.seconds = 0.0
        self.shown = 0
        self.last = 0.0

    def __call__(self, network: Network, history: History) -> None:
        now = time.monotonic()
        if (
            self.shown
            and history.epochs % self.every
            and history.epochs != self.epochs
            and now - self.last < SECONDS_BETWEEN
        ):
            return
        cells = [("epoch", 5, f"{history.epochs}")]
        cells.append(("training cost", 16, f"{history.cost[-1]:.6f}"))
        if history.validation_cost:
            name = f"{self.judged} cost"
            cells.append((name, max(13, len(name) + 2), f"{history.validation_cost[-1]:.6f}"))
        for metric, values in history.metrics.items():
            name = f"{self.judged} {'R²' if metric == 'r2' else metric}"
            cells.append((name, max(16, len(name) + 2), f"{values[-1]:.4f}"))
        if self.n_examples:
            seconds = history.seconds - self.seconds
            done = self.n_examples * (history.epochs - self.shown)
            cells.append(("seconds", 10, f"{seconds:.3f}"))
            cells.append(("examples/s", 13, f"{done / seconds:,.0f}" if seconds > 0 else "-"))
        clear_progress()
        if not self.shown:
            print("".join(f"{name:>{width}}" for name, width, _ in cells))
        print("".join(f"{value:>{width}}" for _, width, value in cells), flush=True)
        self.seconds, self.shown, self.last = history.seconds, history.epochs, now
