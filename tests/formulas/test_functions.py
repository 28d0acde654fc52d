"""The functions that a network can be made of: their names, pinned.

Other tests take their lists from the package itself, so that a new function is in all of them; here
a name that was forgotten, or that came without being meant, is noticed.
"""

from __future__ import annotations

from support import ACTIVATIONS, COSTS, FREE_COSTS, PAIRS

from cbackprop import functions, optimizers


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
