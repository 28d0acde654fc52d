"""Trained networks from scikit-learn, and for it.

A row for each activation and each cost: what scikit-learn calls it, or why it has none.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array, name_of
from cbackprop.network import Network
from cbackprop.sklearn.base import MultilayerPerceptron, name_network
from cbackprop.sklearn.estimators import MLPClassifier, MLPRegressor
from cbackprop.sklearn.library import ConvergenceWarning, check_is_fitted
from cbackprop.sklearn.parameters import activation, cost

# Of hidden layers; None for those that scikit-learn does not have there.
HIDDEN: dict[str, str | None] = {
    "sigmoid": "logistic",
    "tanh": "tanh",
    "relu": "relu",
    "identity": "identity",
    "leaky_relu": None,
    "elu": None,
    "selu": None,
    "gelu": None,
    "silu": None,
    "softplus": None,
    "softsign": None,
    "exponential": None,
    "softmax": None,
}
# The loss, and the output activations that scikit-learn has with it.
OUTPUTS: dict[str, tuple[str, tuple[str, ...]] | None] = {
    "half_quadratic": ("squared_error", ("identity",)),
    "quadratic": ("squared_error", ("identity",)),  # twice as much
    "mse": ("squared_error", ("identity",)),  # likewise, as a mean over outputs
    "cross_entropy": ("log_loss", ("sigmoid", "softmax")),
    "poisson": ("poisson", ("exponential",)),
    "mae": None,
    "huber": None,
}
# What an estimator has learnt besides its parameters, where it has.
LEARNT = (
    "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "n_iter_",
    "t_", "n_features_in_", "feature_names_in_", "classes_",
)  # fmt: skip


def from_sklearn(
    estimator: Any,  # scikit-learn has no types
) -> MLPClassifier | MLPRegressor:
    """scikit-learn's fitted estimator as ours: the same parameters, the same predictions.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted.

    Returns
    -------
    MLPClassifier or MLPRegressor
        Of this package; ``network_`` is the `Network`. What a solver remembers stays behind:
        `partial_fit` begins afresh.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        NotFittedError, for an estimator that has not been fitted.
    """
    ours = _ours_for(estimator)
    check_is_fitted(estimator)
    ours.set_params(**estimator.get_params())
    coefs: Sequence[Array] = estimator.coefs_
    sizes = [len(coefs[0]), *(W.shape[1] for W in coefs)]
    hidden = [activation(estimator.activation)] * (len(coefs) - 1)
    vars(ours).update(
        _learnt(estimator),
        validation_loss_curve_=None,
        network_=Network(
            sizes,
            [*hidden, activation(estimator.out_activation_)],
            cost(estimator.loss),
            dtype=coefs[0].dtype,
            init="zeros",
        ),
    )
    if isinstance(ours, MLPClassifier):
        labelled = estimator.out_activation_ == "logistic" and sizes[-1] > 1
        vars(ours).update(has_labels_=labelled, _sparse_labels=False)
    name_network(ours, ours.network_)
    ours.coefs_, ours.intercepts_ = coefs, estimator.intercepts_
    return ours


def to_sklearn(estimator: object) -> Any:  # likewise
    """A fitted estimator or a network as scikit-learn's: the same parameters and predictions.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor or Network
        Of this package. Of a network softmax outputs, or one sigmoid output, tell one of its
        ``class_names``, or of the numbers from 0; several sigmoid outputs are labels.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        Naming what scikit-learn has no place for: an activation, several of them in the hidden
        layers, an output activation, a cost. NotFittedError before `fit`.
    """
    network = _network_of(estimator)
    loss, hidden = _words_for(network)
    n, n_outputs = network.sizes[0], network.sizes[-1]
    options: dict[str, Any] = {
        "hidden_layer_sizes": network.sizes[1:-1], "activation": hidden, "max_iter": 1,
    }  # fmt: skip
    learnt: dict[str, Any] = {"n_features_in_": n}
    theirs = import_module("sklearn.neural_network")
    y: Array
    if loss == "log_loss":
        copy = theirs.MLPClassifier(**options)
        classes = _classes(estimator, network)
        y = np.eye(n_outputs, dtype=int) if classes is None else classes
    else:
        copy = theirs.MLPRegressor(**options)
        if loss != "squared_error":
            if "loss" not in copy.get_params():
                raise ValueError(f"cost {loss!r} has no place in scikit-learn before 1.7")
            copy.set_params(loss=loss)
        y = np.zeros((2, n_outputs)) if n_outputs > 1 else np.zeros(2)
    # scikit-learn makes whatever it keeps besides, in an epoch on rows of zeros.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        copy.fit(np.zeros((len(y), n), network.dtype), y)
    learnt["coefs_"] = [W.T.copy() for W in network.weights]
    learnt["intercepts_"] = [b.copy() for b in network.biases]
    names = network.feature_names
    if names is not None:
        learnt["feature_names_in_"] = np.array(names, dtype=object)
    if isinstance(estimator, MultilayerPerceptron):
        learnt |= _learnt(estimator)
        known = copy.get_params()
        own = {name: value for name, value in estimator.get_params().items() if name in known}
        if own["solver"] not in ("adam", "sgd", "lbfgs"):
            own["solver"] = "adam"
        kept = ("activation", "loss", "hidden_layer_sizes")
        copy.set_params(**{name: value for name, value in own.items() if name not in kept})
    # What it goes back to where early stopping finds nothing better.
    learnt |= {"_best_coefs": learnt["coefs_"], "_best_intercepts": learnt["intercepts_"]}
    for name, value in learnt.items():
        setattr(copy, name, value)
    return copy


def _ours_for(estimator: object) -> MLPClassifier | MLPRegressor:
    theirs = import_module("sklearn.neural_network")
    if isinstance(estimator, theirs.MLPClassifier):
        return MLPClassifier()
    if isinstance(estimator, theirs.MLPRegressor):
        return MLPRegressor()
    expected = "an MLPClassifier or MLPRegressor of sklearn.neural_network"
    raise validation.wrong_type("estimator", estimator, expected)


def _network_of(estimator: object) -> Network:
    if isinstance(estimator, Network):
        return estimator
    if not isinstance(estimator, MultilayerPerceptron):
        raise validation.wrong_type("estimator", estimator, "an estimator of ours or a Network")
    check_is_fitted(estimator)
    return estimator.network_


def _learnt(estimator: object) -> dict[str, Any]:
    """Lists are copied: estimators make theirs longer."""
    return {
        name: [*value] if isinstance(value, list) else value
        for name, value in vars(estimator).items()
        if name in LEARNT
    }


def _words_for(network: Network) -> tuple[str, str]:
    """scikit-learn's loss, and its activation of the hidden layers."""
    names = [name_of(function) for function in network.activations]
    kinds = [*dict.fromkeys(names[:-1])]
    for name in kinds:
        if HIDDEN.get(name) is None:
            known = ", ".join(name for name, word in HIDDEN.items() if word is not None)
            raise ValueError(f"activation {name!r} has no place in scikit-learn, which has {known}")
    if len(kinds) > 1:
        raise ValueError(
            f"the hidden layers have the activations {', '.join(kinds)}; scikit-learn has one for "
            "all of them"
        )
    chosen = name_of(network.cost_function)
    row = OUTPUTS.get(chosen)
    if row is None:
        raise ValueError(f"cost {chosen!r} has no place in scikit-learn")
    loss, outputs = row
    if names[-1] not in outputs:
        raise ValueError(
            f"output activation {names[-1]!r} with the cost {chosen!r} has no place in "
            f"scikit-learn, which has {' and '.join(outputs)} there"
        )
    return loss, str(HIDDEN[kinds[0]]) if kinds else "relu"


def _classes(estimator: object, network: Network) -> Array | None:
    """The classes one of which each example has; None where it has any number of labels."""
    if isinstance(estimator, MLPClassifier):
        return None if estimator.has_labels_ else estimator.classes_
    n, output = network.sizes[-1], network.activations[-1]
    if n > 1 and output == "sigmoid":
        return None
    names = network.class_names
    return np.arange(max(n, 2)) if names is None or len(names) < 2 else np.array(names)
