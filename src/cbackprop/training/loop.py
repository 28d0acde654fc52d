"""The epoch loop: it carries out a plan, and keeps the record."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop import backend, checkpoints, validation
from cbackprop.functions import Array
from cbackprop.training import second_order
from cbackprop.training.history import History
from cbackprop.training.metrics import measured
from cbackprop.training.optimizers import WholeBatch
from cbackprop.training.plan import Plan
from cbackprop.training.progress import Progress
from cbackprop.training.schedules import rate_of
from cbackprop.training.whole_batch import (
    NotFinite,
    read_parameters,
    total_weight,
    write_parameters,
)
from cbackprop.update_rules import StepOptions

if TYPE_CHECKING:
    from cbackprop.network import Network


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
                    best = read_parameters(network._engine)
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
            write_parameters(network._engine, best)
        except BaseException:
            before.restore(network)
            raise
    return history


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


def train_once(
    network: Network,
    X: Array,
    Y: Array,
    order: Array | None,
    batch_size: int,
    sample_weight: Array | None,
    options: StepOptions | None,
) -> tuple[bool, float, str | None]:
    """One pass with the network's optimiser.

    Returns whether all numbers were finite, the sum of the (weighted) costs, and why a whole-batch
    optimiser goes no further.
    """
    engine = network._engine
    if isinstance(network._optimizer, WholeBatch):
        l2 = 0.0 if options is None else options.l2
        if network._second_order is None:
            network._second_order = second_order.start(network._optimizer, engine)
        try:
            cost, reason = second_order.step(
                engine, X, Y, sample_weight, l2, network._optimizer, network._second_order
            )
        except NotFinite:
            return False, 0.0, None
        return True, cost * total_weight(sample_weight, len(X)), reason
    # A word is drawn only where it is used, so that other fits' orders stay what they were.
    random = options is not None and (options.dropout > 0 or options.noise_multiplier > 0)
    key = int(network._random.words(1)[0]) if random else 0
    finite, total = engine.train(
        # Interim: the engines take a StepOptions soon.
        X,
        Y,
        order,
        batch_size,
        sample_weight,
        None if options is None else tuple(options),
        key,
    )
    return finite, total, None


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
    if plan.options is not None and (plan.options.l1 > 0 or plan.options.l2 > 0):
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


def penalty(network: Network, options: StepOptions) -> float:
    """l1 Σ|w| + (l2/2) Σw² over the weights, in float64; infinite beyond its largest number."""
    l1, l2 = options.l1, options.l2
    total = 0.0
    with np.errstate(over="ignore", under="ignore"):
        for W in network.weights:
            w = W.astype(np.float64)
            # What is not asked for does not count, even where its sum would be infinite.
            total += l1 * float(np.abs(w).sum()) if l1 > 0 else 0.0
            total += l2 / 2 * float(np.square(w).sum()) if l2 > 0 else 0.0
    return total


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
