"""A fit as it was asked for: judged once, before anything changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.training.history import EarlyStopping
from cbackprop.training.optimizers import Optimizer
from cbackprop.update_rules import StepOptions


class Plan(NamedTuple):
    """A fit as it was asked for, every part of it validated."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    shuffle: Any  # True, False, an order (n,), or a function of the epoch that returns one
    sample_weight: Array | None
    options: StepOptions | None  # None for nothing
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
            # The text of a plain tuple, as earlier checkpoints have it.
            "options": repr(None if self.options is None else tuple(self.options)),
            "shuffle": repr(self.shuffle) if isinstance(self.shuffle, bool) else "given",
            "weighted": self.sample_weight is not None,
        }


def step_options(
    l1: Any = 0.0,
    l2: Any = 0.0,
    dropout: Any = 0.0,
    max_norm: Any = None,
    clip_norm: Any = None,
    noise_multiplier: Any = 0.0,
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
