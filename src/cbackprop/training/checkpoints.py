"""How a fit goes on from its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cbackprop import validation
from cbackprop.files.checkpoint import read_fit, set_training
from cbackprop.functions import Array
from cbackprop.model import About, Model
from cbackprop.training.history import History
from cbackprop.training.plan import Plan


def resume(
    model: Model, plan: Plan, history: History, description: Mapping[str, object]
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
    fit = read_fit(plan.checkpoint, model, description, vars(history))
    about = _joined(model.about, fit.checkpoint.model.about)
    set_training(model, fit.checkpoint, fit.whole_batch_state)
    model.about = about
    model.optimizer = plan.optimizer
    vars(history).update(fit.history)
    # What was not looked at before the checkpoint has no numbers for those epochs.
    missing = [math.nan] * history.epochs
    history.metrics = {name: history.metrics.get(name, missing[:]) for name in plan.metrics}
    judged = plan.validation_data is not None or plan.n_held_out > 0
    history.validation_cost = (history.validation_cost or missing) if judged else []
    history.stop_reason = "epochs"
    best, stopping = fit.best, plan.early_stopping
    # Of what is no longer asked for, or was not judged then, no epoch is the best.
    if stopping is None or not stopping.knows_best(history):
        history.best_epoch = None
    if stopping is None or history.best_epoch is None or not stopping.restore_best:
        best = None
    return best, fit.held_out


def _joined(own: About, found: About) -> About:
    """What the network is about, and where it says nothing what the checkpoint says."""
    return About(
        validation.names_to_go_on_with("feature_names", own.feature_names, found.feature_names),
        validation.names_to_go_on_with("class_names", own.class_names, found.class_names),
        own.metadata or found.metadata,
    )
