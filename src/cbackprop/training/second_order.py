"""The whole-batch optimisers' steps, by kind of optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbackprop.optimizers import LBFGS, LevenbergMarquardt, WholeBatch, WholeBatchState
from cbackprop.reference.engine import Engine
from cbackprop.training.lbfgs import LBFGSStep
from cbackprop.training.levenberg_marquardt import LevenbergMarquardtStep
from cbackprop.training.whole_batch import AllExamples, Step

# A step is of the kind of its optimiser, which the type of a dict cannot say.
STEPS: dict[type[WholeBatch], type[Step[Any]]] = {
    LBFGS: LBFGSStep,
    LevenbergMarquardt: LevenbergMarquardtStep,
}


def start(optimizer: WholeBatch, engine: Engine) -> WholeBatchState:
    """The state before the first step.

    Raises
    ------
    ValueError
        If the optimiser cannot minimise the engine's cost.
    """
    return _kind_of_step(optimizer).start(optimizer, engine)


def step(
    engine: Engine,
    examples: AllExamples,
    l2: float,
    optimizer: WholeBatch,
    state: WholeBatchState,
    frozen: tuple[int, ...] = (),
) -> tuple[float, str | None]:
    """One iteration: changes the engine's parameters, but for those of ``frozen``, and the state.

    Arguments are validated before they come here, as for an engine's calls. Steps that get the
    numbers of the step before save half of their work.

    Returns
    -------
    cost : float
        The mean cost before the step, without the penalty.
    stop_reason : str or None
        One of those of whole-batch optimisers, None where it can go on.

    Raises
    ------
    NotFinite
        If the cost or a derivative before the step is not finite. After it, and after any other
        exception, parameters and state are as they were before the call.
    """
    storage = engine.parameter_arrays()[2]
    before, arrays, numbers = storage.copy(), state.arrays, state.numbers
    kind = _kind_of_step(optimizer)
    try:
        with np.errstate(all="ignore"):
            result = kind(engine, examples, l2, optimizer, state, frozen).take()
        # To the bit, where a step of 0 makes 0 of -0.
        old, now = engine.layer_views(before), engine.parameter_arrays()
        for l in frozen:
            now[0][l - 1][...], now[1][l - 1][...] = old[0][l - 1], old[1][l - 1]
        return result
    except BaseException:
        storage[...] = before
        state.arrays, state.numbers = arrays, numbers
        raise


def _kind_of_step(optimizer: WholeBatch) -> type[Step[Any]]:
    """Of the optimiser's class, or of the one that a class of the user's own is made from."""
    return next(STEPS[kind] for kind in type(optimizer).__mro__ if kind in STEPS)
