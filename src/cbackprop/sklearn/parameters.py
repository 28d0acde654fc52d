"""scikit-learn's parameters: what each may be, and what it is to a `Network`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cbackprop import validation
from cbackprop.functions import COSTS, Activation, ActivationName, Array, Cost, CostName
from cbackprop.optimizers import (
    LBFGS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    LevenbergMarquardt,
    Optimizer,
    RMSprop,
    Rprop,
)

# What scikit-learn calls by another word than we do; both are taken.
ACTIVATIONS: dict[str, ActivationName] = {"logistic": "sigmoid", "exp": "exponential"}
LOSSES: dict[str, CostName] = {
    "squared_error": "half_quadratic",
    "log_loss": "cross_entropy",
    "poisson": "poisson",
}


class Settings(NamedTuple):
    """The parameters that both estimators have, each judged: those of a fit."""

    solver: str
    alpha: float
    batch_size: int | None  # None for "auto"
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int

    @property
    def is_whole_batch(self) -> bool:
        """Whether each step looks at all examples: batches, rates and `partial_fit` have no use."""
        return self.solver in WHOLE_BATCH

    @property
    def stops_early(self) -> bool:
        """Whether a held-out score ends the fit; scikit-learn's L-BFGS pays no heed to it."""
        return self.early_stopping and self.solver != "lbfgs"

    def batch_of(self, n: int) -> int:
        """Examples a step, of n."""
        if self.is_whole_batch or (self.batch_size is None and self.solver == "rprop"):
            return n
        return min(200 if self.batch_size is None else self.batch_size, n)

    def l2_of(self, n: int, total_weight: float) -> float:
        """scikit-learn's penalty is alpha/(2 Σ w_i) Σw², the w_i those of a batch."""
        if self.solver == "adamw":  # decays by alpha itself
            return 0.0
        return self.alpha * n / (self.batch_of(n) * total_weight)

    def optimizer(self, rate: float) -> Optimizer:
        return SOLVERS[self.solver](self, rate)


# ---- what each may be ----------------------------------------------------------------------------


def _batch_size(argument: str, value: object) -> int | None:
    return None if value is None or value == "auto" else validation.integer(argument, value, 1)


def _patience(argument: str, value: object) -> float:
    endless = isinstance(value, float) and value == math.inf
    return math.inf if endless else validation.integer(argument, value, 1)


def _one_of(*words: str) -> Callable[[str, object], str]:
    return lambda argument, value: validation.choice(argument, value, words)


def _at_least(lowest: int) -> Callable[[str, object], int]:
    return lambda argument, value: validation.integer(argument, value, lowest)


SOLVERS: dict[str, Callable[[Settings, float], Optimizer]] = {
    "sgd": lambda s, rate: SGD(rate, s.momentum, s.nesterovs_momentum and s.momentum > 0),
    "adam": lambda s, rate: Adam(rate, s.beta_1, s.beta_2, s.epsilon),
    "adamw": lambda s, rate: AdamW(rate, s.beta_1, s.beta_2, s.epsilon, s.alpha),
    "rmsprop": lambda s, rate: RMSprop(rate, epsilon=s.epsilon),
    "adagrad": lambda s, rate: Adagrad(rate, s.epsilon),
    "rprop": lambda s, rate: Rprop(rate),
    "lbfgs": lambda s, rate: LBFGS(gradient_tolerance=s.tol, max_evaluations=s.max_fun),
    "lm": lambda s, rate: LevenbergMarquardt(),
}
WHOLE_BATCH = ("lbfgs", "lm")

JUDGES: dict[str, Callable[[str, object], object]] = {
    "solver": _one_of(*SOLVERS),
    "alpha": validation.non_negative,
    "batch_size": _batch_size,
    "learning_rate": _one_of("constant", "invscaling", "adaptive"),
    "learning_rate_init": validation.positive,
    "power_t": validation.non_negative,
    "max_iter": _at_least(1),
    "shuffle": validation.flag,
    "tol": validation.non_negative,
    "verbose": lambda argument, value: bool(value),
    "warm_start": validation.flag,
    "momentum": validation.fraction,
    "nesterovs_momentum": validation.flag,
    "early_stopping": validation.flag,
    "validation_fraction": validation.fraction,
    "beta_1": validation.fraction,
    "beta_2": validation.fraction,
    "epsilon": validation.positive,
    "n_iter_no_change": _patience,
    "max_fun": _at_least(1),
}


def settings_of(estimator: object) -> Settings:
    """The estimator's parameters, judged; TypeError or ValueError naming one that is not right."""
    judged: dict[str, Any] = {
        name: judge(name, getattr(estimator, name)) for name, judge in JUDGES.items()
    }
    return Settings(**judged)


# ---- a network's description ---------------------------------------------------------------------


def first_parameters(
    sizes: Sequence[int], kinds: Sequence[object], generator: np.random.RandomState
) -> list[tuple[Array, Array]]:
    """Of each layer weights (n_in, n_out) and biases: for the same generator scikit-learn's own.

    Uniform on ±√(6/(n_in + n_out)), or ±√(2/(n_in + n_out)) where a layer's kind is sigmoid.
    """
    drawn: list[tuple[Array, Array]] = []
    for n_in, n_out, kind in zip(sizes[:-1], sizes[1:], kinds, strict=True):
        bound = math.sqrt((2 if kind == "sigmoid" else 6) / (n_in + n_out))
        weights = generator.uniform(-bound, bound, (n_in, n_out))
        drawn.append((weights, generator.uniform(-bound, bound, n_out)))
    return drawn


def seed_of(random_state: object, generator: np.random.RandomState) -> int:
    """An integer is the network's seed, too; a generator draws one."""
    if validation.is_real(random_state):
        return int(random_state)
    return int(generator.randint(2**31 - 1))


def hidden_sizes(value: Any) -> list[int]:
    """Neurons of each hidden layer: a number for one, or as many as there are layers."""
    name = "hidden_layer_sizes"
    if not hasattr(value, "__iter__"):
        return [validation.integer(name, value, 1)]
    sizes: list[object] = list(value)
    return [validation.integer(f"{name}[{i}]", size, 1) for i, size in enumerate(sizes)]


def activations(hidden: object, n_hidden: int, output: object) -> list[Any]:
    """One for each layer after the input; `Network` judges them."""
    if isinstance(hidden, (str, Activation)):
        chosen: list[object] = [hidden] * n_hidden
    elif validation.is_list(hidden):
        chosen = list(hidden)
    else:
        raise validation.wrong_type("activation", hidden, "a name, or one for each hidden layer")
    if len(chosen) != n_hidden:
        raise ValueError(
            f"activation has {len(chosen)} entries; expected {n_hidden}, one for each hidden layer "
            "(the last layer's is output_activation)"
        )
    return [activation(entry) for entry in (*chosen, output)]


def activation(value: object) -> Any:
    """Our word for scikit-learn's; anything else as it is."""
    return ACTIVATIONS.get(value, value) if isinstance(value, str) else value


def cost(loss: object) -> CostName | Cost:
    """The network's cost for a loss, by scikit-learn's word or ours."""
    if isinstance(loss, Cost):
        return loss
    word = validation.choice("loss", loss, tuple({**LOSSES, **COSTS}), " or a Cost")
    known: dict[str, Any] = {**{name: name for name in COSTS}, **LOSSES}
    chosen: CostName = known[word]
    return chosen


def output_for(chosen: CostName | Cost) -> str:
    """The last layer's activation where none is asked for and targets are numbers."""
    outputs = COSTS[chosen].outputs if isinstance(chosen, str) else None
    return "identity" if outputs is None else outputs[0]


def word_for(function: str | Activation) -> str:
    """scikit-learn's word for an activation, where it has one of its own."""
    words: dict[str, str] = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    return words.get(function, function) if isinstance(function, str) else function.name
