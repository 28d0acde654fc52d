"""The functions that a network can be made of: their names, pinned.

Other tests take their lists from the package itself, so that a new function is in all of them; here
a name that was forgotten, or that came without being meant, is noticed.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from support import ACTIVATIONS, COSTS, ELEMENTWISE, FREE_COSTS, PAIRS, both_dtypes

from cbackprop import functions, optimizers
from cbackprop.reference import calculus


def test_the_activations() -> None:
    assert ACTIVATIONS == (
        *("sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus"),
        *("softsign", "exponential", "identity", "softmax"),
    )


def test_the_costs() -> None:
    assert COSTS == (
        *("quadratic", "half_quadratic", "mse", "cross_entropy", "mae", "huber", "poisson"),
    )


def test_which_outputs_a_cost_takes() -> None:
    assert FREE_COSTS == ("quadratic", "half_quadratic", "mse", "mae", "huber")
    few = {(activation, cost) for activation, cost in PAIRS if cost not in FREE_COSTS}
    assert few == {
        *((activation, "cross_entropy") for activation in ("sigmoid", "softmax")),
        *((a, "poisson") for a in ("exponential", "softplus", "sigmoid", "softmax")),
    }
    assert len(PAIRS) == len(ACTIVATIONS) * len(FREE_COSTS) + len(few)


def test_the_ways_to_draw_the_parameters() -> None:
    assert tuple(functions.INITS) == (
        *("auto", "glorot", "he", "lecun", "standard_normal", "zeros"),
    )


def test_the_optimisers() -> None:
    assert tuple(optimizers.OPTIMIZERS) == (
        *("sgd", "adam", "adamw", "rmsprop", "adagrad", "rprop"),
        *("lbfgs", "levenberg_marquardt"),
    )


def test_editors_know_the_same_names() -> None:
    aliases = tuple(functions.ACTIVATION_ALIASES)
    assert get_args(functions.ActivationName) == (*functions.ACTIVATIONS, *aliases)
    assert get_args(functions.CostName) == tuple(functions.COSTS)
    assert get_args(functions.InitName) == tuple(functions.INITS)
    assert get_args(optimizers.OptimizerName) == tuple(optimizers.OPTIMIZERS)


@both_dtypes
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_rows_say_what_is_bounded_and_what_overflows(name: str, dtype: str) -> None:
    """Of a row that does not say so, the kernels would hand out an infinite a as a result."""
    row, largest = functions.ACTIVATIONS[name], np.finfo(dtype).max
    z = np.array([-largest, -1e4, -1, 0, 1, 1e4, largest], dtype)
    with np.errstate(all="ignore"):
        a, _ = calculus.activation_values(name, z)
    assert bool(np.isinf(a).any()) == row.can_overflow
    between, _ = calculus.activation_values(name, np.linspace(-10, 10, 20_001).astype(dtype))
    least = min(a.min(), between.min())
    low = -np.inf if least < -2 else pytest.approx(least, rel=1e-6, abs=1e-300)
    assert row.bounds == (low, a.max() if a.max() < 2 else np.inf)
