"""How a fit goes on from its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cbackprop.files.checkpoint import read_fit, set_training
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.random_numbers import RandomNumbers
from cbackprop.training import stop_reasons
from cbackprop.training.history import History
from cbackprop.training.plan import LATER, Plan


def resume(
    model: Model, plan: Plan, history: History, description: Mapping[str, object]
) -> tuple[tuple[int, Array] | None, Array | None]:
    """Go on from the checkpoint's file.

    Returns the best epoch with its parameters and the rows that are held out, where there are any.

    Raises
    ------
    ModelFileError, OSError, ValueError
        As `read_fit`; nothing has changed then.
    MemoryError
        For want of memory for the optimiser's state.
    """
    assert plan.checkpoint is not None
    fit = read_fit(plan.checkpoint, model, description, LATER, vars(history))
    set_training(model, fit.checkpoint, fit.whole_batch_state)
    if fit.checkpoint.training.generator is None:
        # Not the network's own, which may be in the state that the fit began with.
        model.random.state = RandomNumbers(None).state
    model.about = fit.about
    model.optimizer = plan.optimizer
    vars(history).update(fit.history)
    # What was not looked at before the checkpoint has no numbers for those epochs.
    missing = [math.nan] * history.epochs
    history.metrics = {name: history.metrics.get(name, missing[:]) for name in plan.metrics}
    history.validation_cost = (history.validation_cost or missing) if plan.is_judged else []
    history.stop_reason = stop_reasons.EPOCHS
    history.best_epoch = None
    best, judge, stopping = fit.best, plan.judge, plan.early_stopping
    best_epoch = None if judge is None else judge.best_epoch(history)
    if best is None or best[0] != best_epoch:
        best = None  # of another epoch than the one that is the best by what is looked at now
    # Without its parameters it cannot come back: then a best one is looked for from here on.
    if stopping is not None and (best is not None or not stopping.restore_best):
        history.best_epoch = best_epoch
    return best, fit.held_out
