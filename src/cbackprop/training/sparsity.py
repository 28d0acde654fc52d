"""When a fit leaves out the zeros of its examples."""

from __future__ import annotations

import numpy as np

from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.optimizers import LevenbergMarquardt
from cbackprop.sparse_rows import Examples
from cbackprop.training.plan import Plan

# Measured over inputs, widths, batches and densities (docs/speed.md): above this share of numbers
# that are not 0, or with fewer inputs, dense rows are as fast or faster.
MOST_DENSE, LEAST_INPUTS = 0.2, 256
# Leaving out zeros takes once what so many epochs, times the neurons of the first layer, save.
LEAST_NEURON_EPOCHS = 300
# One row is looked at for so many examples to train on, a thousandth of their time; that many
# rows at most, and so many at least.
EXAMPLES_A_LOOK, MOST_LOOKS, LEAST_LOOKS = 200, 1000, 50


def examples_of(model: Model, X: Examples, plan: Plan) -> Examples:
    """X as the fit's passes take it: without its zeros where that is asked for, or pays."""
    if not isinstance(X, np.ndarray) or plan.sparse is False:
        return X
    if plan.sparse is True or _pays(model, X, plan):
        return model.engine.sparse_rows(X)
    return X


def _pays(model: Model, X: Array, plan: Plan) -> bool:
    n_0, n_1 = model.sizes[:2]
    looks = min(len(X) * plan.epochs // EXAMPLES_A_LOOK, MOST_LOOKS)
    if (
        n_0 < LEAST_INPUTS
        or plan.epochs * n_1 < LEAST_NEURON_EPOCHS
        or looks < LEAST_LOOKS
        or _makes_rows_dense(plan)
    ):
        return False
    rows = X[:: max(len(X) // looks, 1)]
    return bool(np.count_nonzero(rows) <= MOST_DENSE * rows.size)


def _makes_rows_dense(plan: Plan) -> bool:
    """Whether its steps need the whole rows, by example."""
    clips = plan.options is not None and plan.options.clip_norm > 0
    return clips or isinstance(plan.optimizer, LevenbergMarquardt)
