"""The whole-batch optimisers' steps by kind of optimiser."""

from __future__ import annotations

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.reference import Engine
from cbackprop.training import lbfgs, levenberg_marquardt
from cbackprop.training.optimizers import LBFGS, LevenbergMarquardt, WholeBatch
from cbackprop.training.whole_batch import State


def start(optimizer: WholeBatch, engine: Engine) -> State:
    """The state before the first step.

    Raises
    ------
    ValueError
        For Levenberg–Marquardt if the engine's cost is no sum of squares.
    """
    if isinstance(optimizer, LevenbergMarquardt):
        validation.least_squares_cost(engine.cost_function)
        return State({}, {"mu": optimizer.mu})
    return State({}, {})


def step(
    engine: Engine,
    X: Array,
    Y: Array,
    sample_weight: Array | None,
    l2: float,
    optimizer: WholeBatch,
    state: State,
) -> tuple[float, str | None]:
    """One iteration: changes the engine's parameters and the state.

    Arguments are validated before they come here, as for an engine's calls. Steps that get the very
    arrays of the step before save the half of their work.

    Returns
    -------
    cost : float
        The mean cost before the step, without the penalty.
    stop_reason : str or None
        "converged" when there is nothing more to gain, None otherwise.

    Raises
    ------
    NotFinite
        If the cost or a derivative before the step is not finite. After it, and after any other
        exception, parameters and state are as they were before the call.
    """
    storage = engine.parameter_arrays()[2]
    before, arrays, numbers = storage.copy(), state.arrays, state.numbers
    try:
        with np.errstate(all="ignore"):
            if isinstance(optimizer, LevenbergMarquardt):
                return levenberg_marquardt.step(engine, X, Y, sample_weight, l2, optimizer, state)
            assert isinstance(optimizer, LBFGS)
            return lbfgs.step(engine, X, Y, sample_weight, l2, optimizer, state)
    except BaseException:
        storage[...] = before
        state.arrays, state.numbers = arrays, numbers
        raise
