"""How a fit goes on from its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cbackprop.files.checkpoint import FitParts, HistoryParts, read_fit, set_training, write_fit
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.training.history import History
from cbackprop.training.plan import Plan


def write(
    model: Model,
    path: str,
    description: Mapping[str, Any],
    history: History,
    best: Array | None,
    rows: Array | None,
) -> None:
    """The fit's checkpoint after an epoch: `best` and `rows` are what `resume` returns."""
    parts = FitParts(HistoryParts(**vars(history)), best, rows)
    write_fit(path, model, description, parts)


def resume(
    model: Model, plan: Plan, history: History, description: Mapping[str, Any]
) -> tuple[Array | None, Array | None]:
    """Go on from the checkpoint's file.

    Returns the best epoch's parameters and the rows that are held out, where there are any.

    Raises
    ------
    ModelFileError, OSError, ValueError
        As `read_fit`; nothing has changed then.
    MemoryError
        For want of memory for the optimiser's state.
    """
    assert plan.checkpoint is not None
    checkpoint, whole_batch_state, fit = read_fit(plan.checkpoint, model, description)
    set_training(model, checkpoint, whole_batch_state)
    model.optimizer = plan.optimizer
    vars(history).update(fit.history._asdict())
    # What was not looked at before the checkpoint has no numbers for those epochs.
    missing = [math.nan] * history.epochs
    history.metrics = {name: history.metrics.get(name, missing[:]) for name in plan.metrics}
    judged = plan.validation_data is not None or plan.held > 0
    history.validation_cost = (history.validation_cost or missing) if judged else []
    history.stop_reason = "epochs"
    best, stopping = fit.best, plan.early_stopping
    # Of what is no longer asked for, or was not judged then, no epoch is the best.
    if stopping is None or not stopping.knows_best(history):
        history.best_epoch = None
    if stopping is None or history.best_epoch is None or not stopping.restore_best:
        best = None
    return best, fit.held_out
