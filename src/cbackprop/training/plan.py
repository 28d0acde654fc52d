"""A fit as it was asked for: judged once, before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from cbackprop.validation import TableNames

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
    n_held_out: int  # examples to keep from training and to judge instead
    metrics: dict[str, Metric]
    early_stopping: EarlyStopping | None
    schedule: RateOfEpoch | None
    callbacks: tuple[Callable[[History], object], ...]
    progress: bool | None
    checkpoint: str | None
    resume: bool
    names: TableNames  # which the network takes where it has none

    def description(self, n: int) -> dict[str, object]:
        """What must be the same for a fit to go on from a checkpoint."""
        return {
            "examples": n,
            "held out": self.n_held_out,
            "batch_size": self.batch_size,
            "optimizer": repr(self.optimizer),
            # The text of a plain tuple, as earlier checkpoints have it.
            "options": repr(None if self.options is None else tuple(self.options)),
            "shuffle": repr(self.shuffle) if isinstance(self.shuffle, bool) else "given",
            "weighted": self.sample_weight is not None,
        }


def make(
    model: Model, network: object, X: object, Y: object, **asked: object
) -> tuple[Array, Array, Plan]:
    """The examples, the targets and the plan of a fit.

    ``network`` is what callbacks get besides the history, ``asked`` what `Network.fit` takes
    besides the examples, all of it.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    chosen = resolve(asked["optimizer"], asked["learning_rate"])
    network_facts = (model.sizes, model.dtype.name)
    tables = validation.table_names(
        model.about.feature_names, model.about.class_names, model.sizes, X, Y
    )
    X, Y = tables.pair(X, Y)
    examples = validation.batch("X", X, *network_facts)
    n = len(examples)
    validation.at_least_one_example("X", n, "training")
    targets = validation.targets("Y", Y, n, False, *network_facts, model.cost_function)
    examples, targets = model.apart(examples), model.apart(targets)
    weight = combined_weight(asked["sample_weight"], asked["class_weight"], targets)
    pair, path = asked["validation_data"], asked["checkpoint"]
    share = validation.fraction("validation_fraction", asked["validation_fraction"])
    n_held_out = validation.held_out(share, pair, n)
    judged = validation.validation_pair(pair, *network_facts, model.cost_function, tables)
    functions = named(validation.metrics(asked["metrics"], tuple(METRICS)))
    stopping = _early_stopping(asked["early_stopping"])
    if stopping is not None:
        validation.monitor(stopping.monitor, tuple(functions), judged is not None or n_held_out > 0)
    callbacks = asked["callbacks"]
    plan = Plan(
        checkpoint=None if path is None else validation.file_path("checkpoint", path),
        epochs=validation.integer("epochs", asked["epochs"], 0),
        batch_size=validation.integer("batch_size", asked["batch_size"], 1),
        optimizer=chosen,
        shuffle=validation.batch_order("shuffle", asked["shuffle"], n - n_held_out),
        sample_weight=weight,
        options=step_options(asked),
        validation_data=judged,
        n_held_out=n_held_out,
        metrics=functions,
        early_stopping=stopping,
        schedule=validation.schedule(asked["schedule"]),
        callbacks=tuple(
            partial(callback, network) for callback in validation.functions("callbacks", callbacks)
        ),
        progress=validation.progress(asked["progress"]),
        resume=validation.flag("resume", asked["resume"]),
        names=tables,
    )
    validation.resume_needs_checkpoint(plan.resume, plan.checkpoint)
    return examples, targets, plan


def step_options(asked: Mapping[str, object]) -> StepOptions | None:
    """The step's options that are asked for by name; None where they come to nothing."""
    judges = {"dropout": validation.fraction, "max_norm": _norm_or_none, "clip_norm": _norm_or_none}
    numbers = {
        name: judges.get(name, validation.non_negative)(name, asked[name])
        for name in StepOptions._fields
        if name in asked
    }
    options = StepOptions(**numbers)
    validation.noise_needs_clipping(options.noise_multiplier, options.clip_norm)
    return options if any(options) else None


def _norm_or_none(argument: str, value: object) -> float:
    return 0.0 if value is None else validation.positive(argument, value)


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
    return np.sort(order[n - plan.n_held_out :])


def hold_out(X: Array, Y: Array, rows: Array, plan: Plan) -> tuple[Array, Array, Plan]:
    """The examples left to train on, and the plan with the others as validation data."""
    validation.require_finite("X", X)  # here a row still has the number by which it was given
    left = np.ones(len(X), dtype=bool)
    left[rows] = False
    weight = None if plan.sample_weight is None else plan.sample_weight[left]
    validation.some_weight_left(weight, len(rows))
    changed = plan._replace(sample_weight=weight, validation_data=(X[rows], Y[rows]))
    return X[left], Y[left], changed
