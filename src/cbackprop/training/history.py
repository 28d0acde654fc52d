"""The record that a fit leaves, and when a fit that no longer improves is over."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from cbackprop import validation
from cbackprop.training import stop_reasons


class EarlyStopping:
    """Stop a fit that no longer improves, and go back to its best epoch.

    Parameters
    ----------
    patience : int
        Epochs without a new best that are waited for, ≥ 1.
    min_delta : float
        How much better than the last one a new best must be, ≥ 0.
    monitor : str
        "validation_cost", "cost" (the training cost) or the name of a metric of the fit.
    restore_best : bool
        Whether the parameters of the best epoch are brought back at the end, also of a fit that
        goes through all its epochs or is ended by a callback.
    larger_is_better : bool, optional
        Needed for a metric that is a function of your own: nothing tells there which values are
        good. Without it larger is better for "accuracy" and "r2", smaller for costs, "mse", "mae".

    Raises
    ------
    TypeError, ValueError
        Naming the argument.

    Notes
    -----
    A fit only reads it: one object serves any number of fits, also at the same time.
    """

    @validation.names_keywords
    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        monitor: str = "validation_cost",
        restore_best: bool = True,
        larger_is_better: bool | None = None,
    ) -> None:
        self.patience = validation.integer("patience", patience, 1)
        self.min_delta = validation.non_negative("min_delta", min_delta)
        self.monitor = validation.monitored_name("monitor", monitor)
        self.restore_best = validation.flag("restore_best", restore_best)
        self.larger_is_better = (
            None
            if larger_is_better is None
            else validation.flag("larger_is_better", larger_is_better)
        )

    def is_best(self, history: History, best: int | None) -> bool:
        """Whether the last epoch is better than the one that was the best before it."""
        return self._is_better(self._values(history), history.epochs - 1, best)

    def best_epoch(self, history: History) -> int | None:
        """The best of all epochs, as a fit that has looked at each of them has found it."""
        best, values = None, self._values(history)
        for epoch, value in enumerate(values):
            # What was not looked at then has no value.
            if not math.isnan(value) and self._is_better(values, epoch, best):
                best = epoch
        return best

    def is_over(self, history: History) -> bool:
        """Whether the patience has run out."""
        best = history.best_epoch
        return best is not None and history.epochs - 1 - best >= self.patience

    def _is_better(self, values: list[float], epoch: int, best: int | None) -> bool:
        if best is None:
            return True
        sign = -1.0 if self.larger_is_better else 1.0
        return sign * values[epoch] < sign * values[best] - self.min_delta

    def _values(self, history: History) -> list[float]:
        if self.monitor in ("cost", "validation_cost"):
            values: list[float] = getattr(history, self.monitor)
            return values
        return history.metrics[self.monitor]

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"EarlyStopping({arguments})"


class History:
    """What a fit did, epoch by epoch.

    Attributes
    ----------
    cost : list of float
        Mean over the epoch's examples of the cost each had when its batch came.
    validation_cost : list of float
        Mean cost of the validation data after the epoch; empty without validation data.
    metrics : dict of str to list of float
        Each metric on the validation data after the epoch, on the training data without any.
    epochs : int
        Epochs completed.
    learning_rate : list of float
        That of each epoch.
    penalty : list of float
        l1 Σ|w| + (l2/2) Σw² at the end of each epoch; empty without l1 and l2. It is not part of
        ``cost``.
    best_epoch : int or None
        With early stopping the best epoch's number, from 0: its place in the lists above. The
        command line counts epochs from 1, as messages do.
    seconds : float
        Time of the training passes alone, without validation, metrics and callbacks.
    stop_reason : str
        "epochs", "callback", "early stopping"; of a whole-batch optimiser "converged", of L-BFGS
        "max_evaluations", of Levenberg–Marquardt "mu reached its bound"; "interrupted" by Ctrl-C,
        "error" where the fit raised one.
    """

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.validation_cost: list[float] = []
        self.metrics: dict[str, list[float]] = {}
        self.learning_rate: list[float] = []
        self.penalty: list[float] = []
        self.best_epoch: int | None = None
        self.epochs = 0
        self.seconds = 0.0
        self.stop_reason: str = stop_reasons.EPOCHS

    def cut(self) -> None:
        """Leave out what was noted of an epoch that was not completed."""
        for values in (self.cost, self.validation_cost, self.learning_rate, self.penalty):
            del values[self.epochs :]
        for values in self.metrics.values():
            del values[self.epochs :]

    def __repr__(self) -> str:
        if not self.epochs:
            return "<History of 0 epochs>"
        parts = [f"cost {self.cost[0]:.6g} to {self.cost[-1]:.6g}"]
        if self.validation_cost:
            parts.append(f"validation cost {self.validation_cost[-1]:.6g}")
        parts += [f"{name} {values[-1]:.4g}" for name, values in self.metrics.items()]
        epochs = validation.counted(self.epochs, "epoch")
        return f"<History of {epochs}, {', '.join(parts)}, {self.seconds:.3g} s>"

    def plot(self, ax: object = None, *, matplotlib: bool = False, theme: str = "auto") -> Any:
        """The curves of the costs and metrics, of the learning rate where it moves.

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw the costs and metrics instead.
        matplotlib : bool
            Draw them on new axes of matplotlib.
        theme : {"auto", "light", "dark"}
            Of the SVG: auto follows the reader's system.

        Returns
        -------
        str or matplotlib axes
            SVG, which notebooks display, or the axes.

        Raises
        ------
        TypeError, ValueError
            Naming the argument.
        ImportError
            If matplotlib is asked for and not installed.
        """
        axes = validation.axes("ax", ax)
        wanted = validation.flag("matplotlib", matplotlib)
        from cbackprop.drawing import THEMES, curves

        theme = validation.choice("theme", theme, THEMES)
        if axes is None and not wanted:
            return curves.draw(self, theme)
        if axes is None:
            try:
                import_module("matplotlib")  # not pyplot alone, which may be loaded still
                pyplot: Any = import_module("matplotlib.pyplot")
            except ImportError as error:
                raise ImportError(
                    f"matplotlib=True needs matplotlib, which cannot be imported ({error}); "
                    "plot() alone draws without it"
                ) from None
            axes = pyplot.subplots()[1]
        curves.on_axes(self, axes)
        return axes  # Any: matplotlib, whose axes it may be, is optional

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.history(self)
