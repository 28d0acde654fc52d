"""A fit as it was asked for: judged once, before anything changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.optimizers import Optimizer, resolve
from cbackprop.schedules import RateOfEpoch
from cbackprop.training.history import EarlyStopping, History
from cbackprop.training.metrics import METRICS, Metric, named
from cbackprop.update_rules import StepOptions

# Of the epoch; what it returns is judged when it has.
OrderOfEpoch = Callable[[int], object]


class Plan(NamedTuple):
    """A fit as it was asked for, every part of it validated."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    shuffle: bool | Array | OrderOfEpoch
    sample_weight: Array | None
    options: StepOptions | None  # None for nothing
    validation_data: tuple[Array, Array] | None
    held: int  # examples to keep from training and to judge instead
    metrics: dict[str, Metric]
    early_stopping: EarlyStopping | None
    schedule: RateOfEpoch | None
    callbacks: tuple[Callable[[History], object], ...]
    progress: bool | None
    checkpoint: str | None
    resume: bool

    def description(self, n: int) -> dict[str, object]:
        """What must be the same for a fit to go on from a checkpoint."""
        return {
            "examples": n,
            "held out": self.held,
            "batch_size": self.batch_size,
            "optimizer": repr(self.optimizer),
            # The text of a plain tuple, as earlier checkpoints have it.
            "options": repr(None if self.options is None else tuple(self.options)),
            "shuffle": repr(self.shuffle) if isinstance(self.shuffle, bool) else "given",
            "weighted": self.sample_weight is not None,
        }


def make(
    model: Model,
    network: object,
    X: object,
    Y: object,
    *,
    epochs: object,
    batch_size: object,
    optimizer: object,
    learning_rate: object,
    shuffle: object,
    sample_weight: object,
    class_weight: object,
    l1: object,
    l2: object,
    dropout: object,
    max_norm: object,
    clip_norm: object,
    noise_multiplier: object,
    validation_data: object,
    validation_fraction: object,
    metrics: object,
    early_stopping: object,
    schedule: object,
    callbacks: object,
    progress: object,
    checkpoint: object,
    resume: object,
) -> tuple[Array, Array, Plan]:
    """The examples, the targets and the plan of a fit, from the arguments of `Network.fit`.

    ``network`` is what callbacks get besides the history.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    chosen = resolve(optimizer, learning_rate)
    network_facts = (model.sizes, model.dtype.name)
    examples = validation.batch("X", X, *network_facts)
    n = len(examples)
    validation.at_least_one_example("X", n, "training")
    targets = validation.targets("Y", Y, n, False, *network_facts, model.cost_function)
    examples, targets = model.apart(examples), model.apart(targets)
    weight = combined_weight(sample_weight, class_weight, targets)
    held = validation.held_out(
        validation.fraction("validation_fraction", validation_fraction), validation_data, n
    )
    judged = validation.validation_pair(validation_data, *network_facts, model.cost_function)
    functions = named(validation.metrics(metrics, tuple(METRICS)))
    stopping = _early_stopping(early_stopping)
    if stopping is not None:
        validation.monitor(stopping, tuple(functions), judged is not None or held > 0)
    path = None if checkpoint is None else validation.file_path("checkpoint", checkpoint)
    plan = Plan(
        epochs=validation.integer("epochs", epochs, 0),
        batch_size=validation.integer("batch_size", batch_size, 1),
        optimizer=chosen,
        shuffle=validation.batch_order("shuffle", shuffle, n - held),
        sample_weight=weight,
        options=step_options(l1, l2, dropout, max_norm, clip_norm, noise_multiplier),
        validation_data=judged,
        held=held,
        metrics=functions,
        early_stopping=stopping,
        schedule=validation.schedule(schedule),
        callbacks=tuple(
            partial(callback, network) for callback in validation.functions("callbacks", callbacks)
        ),
        progress=validation.progress(progress),
        checkpoint=path,
        resume=validation.flag("resume", resume),
    )
    validation.resume_needs_checkpoint(plan.resume, path)
    return examples, targets, plan


def step_options(
    l1: object = 0.0,
    l2: object = 0.0,
    dropout: object = 0.0,
    max_norm: object = None,
    clip_norm: object = None,
    noise_multiplier: object = 0.0,
) -> StepOptions | None:
    """What a step does besides the optimiser's rule; None for nothing."""
    options = StepOptions(
        l1=validation.non_negative("l1", l1),
        l2=validation.non_negative("l2", l2),
        dropout=validation.fraction("dropout", dropout),
        max_norm=0.0 if max_norm is None else validation.positive("max_norm", max_norm),
        clip_norm=0.0 if clip_norm is None else validation.positive("clip_norm", clip_norm),
        noise_multiplier=validation.non_negative("noise_multiplier", noise_multiplier),
    )
    validation.noise_needs_clipping(options.noise_multiplier, options.clip_norm)
    return options if any(options) else None


def _early_stopping(value: object) -> EarlyStopping | None:
    """None, an EarlyStopping, or one of that patience."""
    if value is None or isinstance(value, EarlyStopping):
        return value
    return EarlyStopping(validation.integer("early_stopping", value, 1))


def combined_weight(sample_weight: object, class_weight: object, Y: Array) -> Array | None:
    """Each example's weight (n,), in Y's number type; None where all are 1."""
    dtype, n = Y.dtype.name, len(Y)
    weight, _ = validation.sample_weight("sample_weight", sample_weight, n, dtype)
    by_class = validation.class_weight("class_weight", class_weight, Y)
    if by_class is None:
        return weight
    product = by_class if weight is None else by_class * weight
    name = "class_weight" if weight is None else "class_weight times sample_weight"
    return validation.sample_weight(name, product, n, dtype)[0]


def held_rows(model: Model, n: int, plan: Plan) -> Array:
    """The rows that are kept from training: random ones, or the last."""
    order = model.random_order(n) if plan.shuffle is True else np.arange(n, dtype=np.int64)
    return np.sort(order[n - plan.held :])


def hold_out(X: Array, Y: Array, rows: Array, plan: Plan) -> tuple[Array, Array, Plan]:
    """The examples left to train on, and the plan with the others as validation data."""
    left = np.ones(len(X), dtype=bool)
    left[rows] = False
    weight = None if plan.sample_weight is None else plan.sample_weight[left]
    validation.some_weight_left(weight, len(rows))
    changed = plan._replace(sample_weight=weight, validation_data=(X[rows], Y[rows]))
    return X[left], Y[left], changed
