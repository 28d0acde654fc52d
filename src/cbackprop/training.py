"""The epoch loop, and the record it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop import backend, validation
from cbackprop.functions import Array, read_only

if TYPE_CHECKING:
    from cbackprop.network import Network


def accuracy(predictions: Array, targets: Array) -> float:
    """The share of examples whose largest output is the largest target; with one output, whose
    output lies on the target's side of ½."""
    if predictions.shape[1] == 1:
        return float(np.mean((predictions > 0.5) == (targets > 0.5)))
    return float(np.mean(predictions.argmax(axis=1) == targets.argmax(axis=1)))


METRICS: dict[str, Callable[[Array, Array], float]] = {"accuracy": accuracy}


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
    seconds : float
        Time of the training passes alone, without validation, metrics and callbacks.
    stop_reason : str
        "epochs" or "callback".
    """

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.validation_cost: list[float] = []
        self.metrics: dict[str, list[float]] = {}
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


class Snapshot:
    """Everything a training call may change, as it was: to go back to, or to give to a copy."""

    def __init__(self, network: Network) -> None:
        engine = network._engine
        self.storage = engine.parameter_arrays()[2].copy()
        self.slots = tuple(slot.copy() for slot in engine.slots)
        self.rule = (engine.rule_name, engine.hyper_parameters)
        self.learning_rate = engine.learning_rate
        self.step_count = engine.step_count
        self.optimizer = network._optimizer
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
        network._optimizer = self.optimizer
        network._random.state = self.random_state


def random_order(network: Network, n: int) -> Array:
    """A uniformly random order of 0 … n-1, from the network's own generator."""
    order = np.arange(n, dtype=np.int64)
    backend.shuffle(network.backend, network.dtype.name, order, network._random.words(n))
    return order


def run(
    network: Network,
    X: Array,
    Y: Array,
    *,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    validation_data: tuple[Array, Array] | None,
    metrics: tuple[Any, ...],
    callbacks: tuple[Callable[..., Any], ...],
    before: Snapshot,
) -> History:
    """Train for some epochs; every argument is validated, the optimiser is set.

    ``before`` is the network as it was before that: what a failure in the first epoch goes back to.

    Raises
    ------
    FloatingPointError
        If a pass diverges, naming its epoch.
    Exception
        Whatever a function of the user's raises.

    After either of them parameters, optimiser and generator are as they were at the start of that
    epoch. Ctrl-C leaves the parameters of the last full batch.
    """
    engine = network._engine
    history = History()
    names = _names(metrics)
    history.metrics = {name: [] for name in names}
    judged = validation_data if validation_data is not None else (X, Y)
    for epoch in range(epochs):
        if epoch > 0:
            before = Snapshot(network)
        try:
            order = random_order(network, len(X)) if shuffle else None
            start = time.perf_counter()
            finite, total = engine.train(X, Y, order, batch_size)
            history.seconds += time.perf_counter() - start
            if not finite:
                raise_divergence(epoch + 1, engine.failure, X)
            try:
                if validation_data is not None:
                    history.validation_cost.append(network.cost(*validation_data))
                if names:
                    predictions = network.predict(judged[0])
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"training diverged in epoch {epoch + 1}, seen when it was judged: {error}"
                ) from None
        except Exception:
            before.restore(network)
            raise
        history.cost.append(total / len(X))
        for name, metric in names.items():
            history.metrics[name].append(measured(name, metric, predictions, judged[1]))
        history.epochs = epoch + 1
        # Every callback is called, whatever the ones before it answered.
        answers = [callback(network, history) for callback in callbacks]
        if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
            history.stop_reason = "callback"
            break
    return history


def _names(metrics: tuple[Any, ...]) -> dict[str, Any]:
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
    where = "the parameters" if quantity == "parameters" else f"{quantity} of layer {layer}"
    if epoch is None:
        raise FloatingPointError(
            f"the step diverged: {where} overflowed; everything is as it was before the call. "
            "A smaller learning_rate is the usual cure"
        )
    raise FloatingPointError(
        f"training diverged in epoch {epoch}: {where} overflowed; the parameters are those at the "
        "start of that epoch. A smaller learning_rate is the usual cure"
    )
