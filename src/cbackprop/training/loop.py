"""The epoch loop, what can be asked of it, and the record it leaves."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cbackprop import backend, checkpoints, second_order, validation
from cbackprop.functions import Array, read_only
from cbackprop.optimizers import Optimizer, WholeBatch
from cbackprop.progress import Progress
from cbackprop.schedules import rate_of

if TYPE_CHECKING:
    from cbackprop.network import Network

# ---- metrics -------------------------------------------------------------------------------------


def accuracy(predictions: Array, targets: Array) -> float:
    """The share of examples whose largest output is the largest target; with one output, whose
    output lies on the target's side of ½."""
    if predictions.shape[1] == 1:
        return float(np.mean((predictions > 0.5) == (targets > 0.5)))
    return float(np.mean(predictions.argmax(axis=1) == targets.argmax(axis=1)))


def mean_squared_error(predictions: Array, targets: Array) -> float:
    """The mean of (a − y)² over examples and outputs."""
    return float(np.mean(np.square(predictions - targets, dtype=np.float64)))


def mean_absolute_error(predictions: Array, targets: Array) -> float:
    """The mean of |a − y| over examples and outputs."""
    return float(np.mean(np.abs(predictions - targets, dtype=np.float64)))


def r2(predictions: Array, targets: Array) -> float:
    """The share of the targets' variance that is explained, averaged over the outputs.

    1 − Σ(a − y)²/Σ(y − mean y)²; an output whose targets are all alike counts 1 where it is right
    and 0 otherwise.
    """
    targets = targets.astype(np.float64)
    rest = np.square(predictions - targets).sum(axis=0)
    spread = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    # Not spread == 0: the mean of equal numbers is rounded.
    alike = (targets == targets[0]).all(axis=0)
    shares = np.where(alike, rest == 0, 1 - rest / np.where(alike, 1, spread))
    return float(shares.mean())


METRICS: dict[str, Callable[[Array, Array], float]] = {
    "accuracy": accuracy,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
    "r2": r2,
}
SMALLER_IS_BETTER = ("cost", "validation_cost", "mse", "mae")

# ---- what can be asked ---------------------------------------------------------------------------


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
        By default False for costs, "mse" and "mae", True for other metrics.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """

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
        self.monitor = validation.word("monitor", monitor)
        self.restore_best = validation.flag("restore_best", restore_best)
        if larger_is_better is None:
            larger_is_better = monitor not in SMALLER_IS_BETTER
        self.larger_is_better = validation.flag("larger_is_better", larger_is_better)

    def is_best(self, history: History) -> bool:
        """Whether the last epoch is the best of all, the one before known by history.best_epoch."""
        if history.best_epoch is None:
            return True
        values = self._values(history)
        sign = -1.0 if self.larger_is_better else 1.0
        return sign * values[-1] < sign * values[history.best_epoch] - self.min_delta

    def knows_best(self, history: History) -> bool:
        """Whether there is a best epoch, judged by what this looks at."""
        best = history.best_epoch
        return best is not None and not math.isnan(self._values(history)[best])

    def is_over(self, history: History) -> bool:
        """Whether the patience has run out."""
        best = history.best_epoch
        return best is not None and history.epochs - 1 - best >= self.patience

    def _values(self, history: History) -> list[float]:
        if self.monitor in ("cost", "validation_cost"):
            values: list[float] = getattr(history, self.monitor)
            return values
        return history.metrics[self.monitor]

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"EarlyStopping({arguments})"


class Plan(NamedTuple):
    """A fit as it was asked for, every part of it validated."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    shuffle: Any  # True, False, an order (n,), or a function of the epoch that returns one
    sample_weight: Array | None
    options: tuple[float, ...] | None  # as engine.train takes them
    validation_data: tuple[Array, Array] | None
    held: int  # examples to keep from training and to judge instead
    metrics: dict[str, Any]
    early_stopping: EarlyStopping | None
    schedule: Any
    callbacks: tuple[Callable[..., Any], ...]
    progress: bool | None
    checkpoint: str | None
    resume: bool

    def description(self, n: int) -> dict[str, Any]:
        """What must be the same for a fit to go on from a checkpoint."""
        return {
            "examples": n,
            "held out": self.held,
            "batch_size": self.batch_size,
            "optimizer": repr(self.optimizer),
            "options": repr(self.options),
            "shuffle": repr(self.shuffle) if isinstance(self.shuffle, bool) else "given",
            "weighted": self.sample_weight is not None,
        }


STEP_OPTIONS = ("l1", "l2", "dropout", "max_norm", "clip_norm", "noise_multiplier")


def step_options(
    l1: Any = 0.0,
    l2: Any = 0.0,
    dropout: Any = 0.0,
    max_norm: Any = None,
    clip_norm: Any = None,
    noise_multiplier: Any = 0.0,
) -> tuple[float, ...] | None:
    """What engine.train does beside the optimiser's rule; None for nothing."""
    options = (
        validation.non_negative("l1", l1),
        validation.non_negative("l2", l2),
        validation.fraction("dropout", dropout),
        0.0 if max_norm is None else validation.positive("max_norm", max_norm),
        0.0 if clip_norm is None else validation.positive("clip_norm", clip_norm),
        validation.non_negative("noise_multiplier", noise_multiplier),
    )
    validation.noise_needs_clipping(options[5], options[4])
    return options if any(options) else None


def stopping(value: Any) -> EarlyStopping | None:
    """None, an EarlyStopping, or one of that patience."""
    if value is None or isinstance(value, EarlyStopping):
        return value
    return EarlyStopping(validation.integer("early_stopping", value, 1))


def combined_weight(sample_weight: Any, class_weight: Any, Y: Array) -> Array | None:
    """Each example's weight (n,), in Y's number type; None where all are 1."""
    dtype, n = Y.dtype.name, len(Y)
    weight, _ = validation.sample_weight("sample_weight", sample_weight, n, dtype)
    by_class = validation.class_weight("class_weight", class_weight, Y)
    if by_class is None:
        return weight
    product = by_class if weight is None else by_class * weight
    name = "class_weight" if weight is None else "class_weight times sample_weight"
    return validation.sample_weight(name, product, n, dtype)[0]


def _held_rows(network: Network, n: int, held: int, shuffle: Any) -> Array:
    """The rows that are kept from training: random ones, or the last."""
    order = random_order(network, n) if shuffle is True else np.arange(n, dtype=np.int64)
    return np.sort(order[n - held :])


def _hold_out(X: Array, Y: Array, rows: Array, plan: Plan) -> tuple[Array, Array, Plan]:
    """The examples left to train on, and the plan with the others as validation data."""
    left = np.ones(len(X), dtype=bool)
    left[rows] = False
    weight = None if plan.sample_weight is None else plan.sample_weight[left]
    validation.some_weight_left(weight, len(rows))
    changed = plan._replace(sample_weight=weight, validation_data=(X[rows], Y[rows]))
    return X[left], Y[left], changed


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
        With early stopping the best epoch's number, from 0.
    seconds : float
        Time of the training passes alone, without validation, metrics and callbacks.
    stop_reason : str
        "epochs", "callback", "early stopping", or "converged" (of a whole-batch optimiser).
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
        self.stop_reason = "epochs"

    def __repr__(self) -> str:
        if not self.epochs:
            return "<History of 0 epochs>"
        parts = [f"cost {self.cost[0]:.6g} to {self.cost[-1]:.6g}"]
        if self.validation_cost:
            parts.append(f"validation cost {self.validation_cost[-1]:.6g}")
        parts += [f"{name} {values[-1]:.4g}" for name, values in self.metrics.items()]
        return f"<History of {self.epochs} epochs, {', '.join(parts)}, {self.seconds:.3g} s>"

    def plot(self, ax: Any = None, *, matplotlib: bool = False, theme: str = "auto") -> Any:
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
        validation.axes("ax", ax)
        wanted = validation.flag("matplotlib", matplotlib)
        theme = validation.choice("theme", theme, ("auto", "light", "dark"))
        from cbackprop.drawing import curves

        if ax is None and not wanted:
            return curves.draw(self, theme)
        if ax is None:
            try:
                from matplotlib import pyplot
            except ImportError as error:
                raise ImportError(
                    f"matplotlib=True needs matplotlib, which cannot be imported ({error}); "
                    "plot() alone draws without it"
                ) from None
            ax = pyplot.subplots()[1]
        curves.on_axes(self, ax)
        return ax

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.history(self)


class Snapshot:
    """Everything a training call may change, as it was: to go back to, or to give to a copy."""

    def __init__(self, network: Network) -> None:
        engine = network._engine
        self.storage = engine.parameter_arrays()[2].copy()
        self.slots = tuple(slot.copy() for slot in engine.slots)
        self.rule = (engine.rule_name, engine.hyper_parameters)
        self.learning_rate = engine.learning_rate
        self.step_count = engine.step_count
        self.previous_cost = engine.previous_cost
        self.optimizer = network._optimizer
        state = network._second_order
        self.second_order = None if state is None else state.copy()
        self.random_state = network._random.state

    def restore(self, network: Network) -> None:
        """Write everything back, into the memory that ``weights`` and ``biases`` look at."""
        engine = network._engine
        engine.parameter_arrays()[2][...] = self.storage
        if (engine.rule_name, engine.hyper_parameters) != self.rule:
            engine.set_optimizer(*self.rule)
        for slot, saved in zip(engine.slots, self.slots, strict=True):
            slot[...] = saved
        engine.learning_rate = self.learning_rate
        engine.step_count = self.step_count
        engine.previous_cost = self.previous_cost
        network._optimizer = self.optimizer
        network._second_order = self.second_order
        network._random.state = self.random_state


def random_order(network: Network, n: int) -> Array:
    """A uniformly random order of 0 … n-1, from the network's own generator."""
    order = np.arange(n, dtype=np.int64)
    backend.shuffle(network.backend, network.dtype.name, order, network._random.words(n))
    return order


def train_once(
    network: Network,
    X: Array,
    Y: Array,
    order: Array | None,
    batch_size: int,
    sample_weight: Array | None,
    options: tuple[float, ...] | None,
) -> tuple[bool, float, str | None]:
    """One pass with the network's optimiser.

    Returns whether all numbers were finite, the sum of the (weighted) costs, and why a whole-batch
    optimiser goes no further.
    """
    engine = network._engine
    if isinstance(network._optimizer, WholeBatch):
        l2 = 0.0 if options is None else options[1]
        if network._second_order is None:
            network._second_order = second_order.start(network._optimizer, engine)
        try:
            cost, reason = second_order.step(
                engine, X, Y, sample_weight, l2, network._optimizer, network._second_order
            )
        except second_order.NotFinite:
            return False, 0.0, None
        return True, cost * total_weight(sample_weight, len(X)), reason
    # A word is drawn only where it is used, so that other fits' orders stay what they were.
    random = options is not None and (options[2] > 0 or options[5] > 0)
    key = int(network._random.words(1)[0]) if random else 0
    finite, total = engine.train(X, Y, order, batch_size, sample_weight, options, key)
    return finite, total, None


def total_weight(sample_weight: Array | None, n: int) -> float:
    """The sum of the weights, of n without any."""
    return float(n) if sample_weight is None else float(sample_weight.sum(dtype=np.float64))


def penalty(network: Network, options: tuple[float, ...]) -> float:
    """l1 Σ|w| + (l2/2) Σw² over the weights, in float64; infinite beyond its largest number."""
    l1, l2 = options[:2]
    total = 0.0
    with np.errstate(over="ignore", under="ignore"):
        for W in network.weights:
            w = W.astype(np.float64)
            # What is not asked for does not count, even where its sum would be infinite.
            total += l1 * float(np.abs(w).sum()) if l1 > 0 else 0.0
            total += l2 / 2 * float(np.square(w).sum()) if l2 > 0 else 0.0
    return total


def run(network: Network, X: Array, Y: Array, plan: Plan) -> History:
    """Train as planned, the optimiser started afresh.

    Raises
    ------
    FloatingPointError
        If a pass diverges, naming its epoch.
    Exception
        Whatever a function of the user's raises, or MemoryError.

    After any of them parameters, optimiser and generator are as they were at the start of that
    epoch, and before the first one as they were before the call; only what comes behind an epoch,
    such as a callback, finds it completed, and leaves it so. Ctrl-C leaves the parameters of the
    last full batch.
    """
    before = Snapshot(network)
    history = History()
    history.metrics = {name: [] for name in plan.metrics}
    best: Array | None = None
    rows: Array | None = None
    description = plan.description(len(X))
    progress = Progress(plan.epochs, plan.progress)
    try:
        if plan.checkpoint is not None:
            # A folder that is not there is found out now, and not after the first epoch.
            os.stat(os.path.dirname(os.path.abspath(plan.checkpoint)))
        if plan.epochs > 0:
            network._set_optimizer(plan.optimizer)
        if plan.resume:
            best, rows = checkpoints.resume(network, plan, history, description)
        elif plan.held > 0 and plan.epochs > 0:
            rows = _held_rows(network, len(X), plan.held, plan.shuffle)
        if rows is not None:
            X, Y, plan = _hold_out(X, Y, rows, plan)
        first = history.epochs
        # What a failure goes back to; None when an epoch is complete.
        epoch_start = None if plan.resume else before
    except BaseException:
        before.restore(network)
        raise
    try:
        for epoch in range(first, plan.epochs):
            if plan.early_stopping is not None and plan.early_stopping.is_over(history):
                history.stop_reason = "early stopping"
                break
            if epoch_start is None:
                epoch_start = Snapshot(network)
            reason = _train_and_judge(network, X, Y, plan, history, epoch)
            epoch_start = None
            if plan.early_stopping is not None and plan.early_stopping.is_best(history):
                history.best_epoch = epoch
                if plan.early_stopping.restore_best:
                    best = second_order.read_parameters(network._engine)
            # Every callback is called, whatever the ones before it answered.
            answers = [callback(network, history) for callback in plan.callbacks]
            if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
                reason = "callback"
            if plan.checkpoint is not None:
                checkpoints.write(network, plan.checkpoint, description, history, best, rows)
            last = reason is not None or epoch + 1 == plan.epochs
            if plan.early_stopping is not None:
                last = last or plan.early_stopping.is_over(history)
            progress.show(history, last)
            if reason is not None:
                history.stop_reason = reason
                break
        else:
            if plan.early_stopping is not None and plan.early_stopping.is_over(history):
                history.stop_reason = "early stopping"
    except Exception:
        if epoch_start is not None:
            epoch_start.restore(network)
        raise
    finally:
        progress.close()
    if best is not None:
        before = Snapshot(network)
        try:
            second_order.write_parameters(network._engine, best)
        except BaseException:
            before.restore(network)
            raise
    return history


def _order(network: Network, plan: Plan, n: int, epoch: int) -> Array | None:
    """The order of an epoch's examples; None for that of the rows."""
    if isinstance(plan.optimizer, WholeBatch) or plan.shuffle is False:
        return None
    if plan.shuffle is True:
        return random_order(network, n)
    if callable(plan.shuffle):
        return validation.permutation(f"the result of shuffle({epoch})", plan.shuffle(epoch), n)
    order: Array = plan.shuffle
    return order


def _train_and_judge(
    network: Network, X: Array, Y: Array, plan: Plan, history: History, epoch: int
) -> str | None:
    """One epoch and its line in the history. Returns why the fit should end, or None."""
    engine = network._engine
    rate = rate_of(plan.schedule, epoch, plan.optimizer.learning_rate, history)
    engine.learning_rate = rate
    order = _order(network, plan, len(X), epoch)
    start = time.perf_counter()
    finite, total, reason = train_once(
        network, X, Y, order, plan.batch_size, plan.sample_weight, plan.options
    )
    seconds = time.perf_counter() - start
    if not finite:
        raise_divergence(epoch + 1, engine.failure, X)
    validation_cost = predictions = None
    judged = plan.validation_data if plan.validation_data is not None else (X, Y)
    try:
        if plan.validation_data is not None:
            validation_cost = network.cost(*plan.validation_data)
        if plan.metrics:
            predictions = network.predict(judged[0])
    except FloatingPointError as error:
        raise FloatingPointError(
            f"training diverged in epoch {epoch + 1}, seen when it was judged: {error}"
        ) from None
    penalised = None
    if plan.options is not None and (plan.options[0] > 0 or plan.options[1] > 0):
        penalised = penalty(network, plan.options)
        if not math.isfinite(penalised):
            raise_divergence(epoch + 1, ("penalty", 0), X)
    values: dict[str, float] = {}
    if predictions is not None:
        for name, metric in plan.metrics.items():
            values[name] = measured(name, metric, predictions, judged[1])
    history.seconds += seconds
    history.cost.append(total / total_weight(plan.sample_weight, len(X)))
    history.learning_rate.append(rate)
    if validation_cost is not None:
        history.validation_cost.append(validation_cost)
    for name, value in values.items():
        history.metrics[name].append(value)
    if penalised is not None:
        history.penalty.append(penalised)
    history.epochs = epoch + 1
    return reason


def named(metrics: tuple[Any, ...]) -> dict[str, Any]:
    """A name for each metric; a second one of a name is numbered."""
    names: dict[str, Any] = {}
    for metric in metrics:
        own = metric if isinstance(metric, str) else _function_name(metric)
        name, count = own, 1
        while name in names:
            count += 1
            name = f"{own} {count}"
        names[name] = metric
    return names


def _function_name(function: Any) -> str:
    """Also of a functools.partial, which has no name of its own."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def measured(name: str, metric: Any, predictions: Array, targets: Array) -> float:
    """One metric's number; functions of the user's get arrays they cannot write to."""
    function = METRICS[metric] if isinstance(metric, str) else metric
    return validation.real_number(
        f"the result of {name}", function(read_only(predictions), read_only(targets))
    )


def raise_divergence(epoch: int | None, failure: tuple[str, int], X: Array) -> None:
    """Say where training diverged, and in which epoch of a fit, counted from 1.

    The whole of X is looked at only here: a NaN or an infinity in it cannot pass through z unseen.
    """
    validation.require_finite("X", X)
    quantity, layer = failure
    where = {
        "parameters": "the parameters",
        "norm": "the norm of an example's gradient",
        "penalty": "the penalty by l1 and l2",
        "jacobian": f"a derivative by the parameters of layer {layer}",
    }.get(quantity, f"{quantity} of layer {layer}")
    if epoch is None:
        raise FloatingPointError(
            f"the step diverged: {where} overflowed; everything is as it was before the call. "
            "A smaller learning_rate is the usual cure"
        )
    raise FloatingPointError(
        f"training diverged in epoch {epoch}: {where} overflowed; the parameters are those at the "
        "start of that epoch. A smaller learning_rate is the usual cure"
    )
