"""Trained networks carried over from scikit-learn and back; what it has no place for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import ACTIVATIONS, COSTS, go_together

sklearn = pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn is not installed")

from sklearn import neural_network as theirs  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

from cbackprop import Activation, Network  # noqa: E402
from cbackprop import sklearn as ours  # noqa: E402
from cbackprop.sklearn import conversion, from_sklearn, to_sklearn  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # scikit-learn 1.6 on a later scipy.
    pytest.mark.filterwarnings("ignore:scipy.optimize. The .disp. and:DeprecationWarning"),
]

X, DIGITS = load_digits(return_X_y=True)
X, DIGITS = X[:120] / 16, DIGITS[:120]
WORDS = np.array(["one", "two", "three"])[DIGITS % 3]
LABELS = (X[:, 20:25] > 0.5).astype(int)

CASES: list[tuple[str, Any, dict[str, Any]]] = [
    ("MLPClassifier", DIGITS, {}),
    ("MLPClassifier", WORDS, {"activation": "logistic", "hidden_layer_sizes": (7, 6)}),
    ("MLPClassifier", WORDS == "one", {"activation": "tanh"}),
    ("MLPClassifier", LABELS, {"early_stopping": True}),
    ("MLPRegressor", DIGITS, {"activation": "identity"}),
    ("MLPRegressor", X[:, :3], {"early_stopping": True, "validation_fraction": 0.2}),
    ("MLPRegressor", DIGITS, {"solver": "lbfgs", "hidden_layer_sizes": ()}),
]
HAS_POISSON = "loss" in theirs.MLPRegressor().get_params()  # since 1.7
if HAS_POISSON:
    CASES.append(("MLPRegressor", DIGITS, {"loss": "poisson"}))


def outputs(model: Any) -> Any:
    return getattr(model, "predict_proba", model.predict)(X)


@pytest.mark.parametrize(("kind", "y", "options"), CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_there_and_back(kind: str, y: Any, options: dict[str, Any], dtype: str) -> None:
    original = getattr(theirs, kind)(max_iter=5, random_state=0, **options)
    original.fit(X.astype(dtype), y)
    own = from_sklearn(original)
    assert type(own) is getattr(ours, kind)
    assert own.network_.dtype == original.coefs_[0].dtype  # that of X but for lbfgs
    assert own.get_params().items() >= original.get_params().items()
    bound = {"float64": 1e-12, "float32": 1e-5}[dtype]
    back = to_sklearn(own)
    assert type(back) is getattr(theirs, kind)
    assert back.get_params() == original.get_params()
    for model in (own, back):
        assert outputs(model) == pytest.approx(outputs(original), rel=bound, abs=bound)
        assert (model.predict(X) == original.predict(X)).all() or kind == "MLPRegressor"
        assert model.score(X, y) == pytest.approx(original.score(X, y), rel=1e-5)
        for name in ("loss_", "n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
            if hasattr(original, name):
                assert getattr(model, name) == getattr(original, name)
    # Both go on by themselves, and neither makes the other's lists longer.
    n_losses = len(getattr(original, "loss_curve_", []))
    for model in (own, back):
        model.set_params(warm_start=True).fit(X, y)
        assert model.predict(X).shape == original.predict(X).shape
    assert len(getattr(original, "loss_curve_", [])) == n_losses


def test_scikit_learn_goes_back_to_what_it_was_given() -> None:
    """Where early stopping finds nothing better, not to what it made up."""
    own = ours.MLPClassifier(random_state=0, early_stopping=True, max_iter=200).fit(X, DIGITS)
    back = to_sklearn(own).set_params(warm_start=True, max_iter=1, learning_rate_init=1e-9)
    back.fit(X, DIGITS)
    assert back.predict_proba(X) == pytest.approx(own.predict_proba(X), abs=1e-4)


def test_networks_become_estimators() -> None:
    softmax = Network([64, 5, 3], ["tanh", "softmax"], "cross_entropy", seed=1)
    model = to_sklearn(softmax)
    assert model.predict_proba(X) == pytest.approx(softmax.predict(X), rel=1e-12)
    assert [*model.classes_] == [0, 1, 2]
    softmax.class_names, softmax.feature_names = ("a", "b", "c"), [f"p{i}" for i in range(64)]
    model = to_sklearn(softmax)
    assert ([*model.classes_], model.feature_names_in_[63]) == (["a", "b", "c"], "p63")
    one = Network([64, 5, 1], ["relu", "sigmoid"], "cross_entropy", class_names=("no", "yes"))
    assert {*to_sklearn(one).predict(X)} <= {"no", "yes"}
    labels = Network([64, 5, 4], ["relu", "sigmoid"], "cross_entropy")
    assert to_sklearn(labels).predict(X).shape == (120, 4)
    for cost in ("quadratic", "mse"):
        regression = Network([64, 4], "identity", cost, seed=1)
        assert to_sklearn(regression).predict(X) == pytest.approx(regression.predict(X), rel=1e-12)


def test_every_function_has_its_row() -> None:
    assert set(conversion.HIDDEN) == set(ACTIVATIONS)
    assert set(conversion.OUTPUTS) == set(COSTS)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("output", ACTIVATIONS)
def test_an_output_is_held_or_refused_by_name(output: str, cost: str) -> None:
    if not go_together(output, cost):
        pytest.skip("no network has them both")
    network = Network([64, 4, 3], ["relu", output], cost, seed=0)
    row = conversion.OUTPUTS[cost]
    if row is None:
        with pytest.raises(ValueError, match=f"cost '{cost}' has no place in scikit-learn"):
            to_sklearn(network)
    elif cost == "poisson" and output == "exponential" and not HAS_POISSON:
        with pytest.raises(ValueError, match="cost 'poisson' has no place in scikit-learn before"):
            to_sklearn(network)
    elif output not in row[1]:
        with pytest.raises(
            ValueError, match=f"output activation '{output}' with the cost '{cost}'"
        ):
            to_sklearn(network)
    else:
        assert outputs(to_sklearn(network)) == pytest.approx(network.predict(X), rel=1e-12)


@pytest.mark.parametrize("hidden", [name for name in ACTIVATIONS if name != "softmax"])
def test_a_hidden_activation_is_held_or_refused_by_name(hidden: str) -> None:
    network = Network([64, 4, 3], [hidden, "identity"], "mse", seed=0)
    if conversion.HIDDEN[hidden] is None:
        with pytest.raises(ValueError, match=f"activation '{hidden}' has no place"):
            to_sklearn(network)
    else:
        assert to_sklearn(network).predict(X) == pytest.approx(network.predict(X), rel=1e-12)


def test_what_cannot_be_carried_over() -> None:
    mixed = Network([64, 5, 4, 3], ["tanh", "relu", "identity"], "mse")
    with pytest.raises(ValueError, match="hidden layers have the activations tanh, relu; scikit"):
        to_sklearn(mixed)
    own = Activation(lambda z: z, lambda z: 0 * z + 1, name="mine")
    with pytest.raises(ValueError, match="activation 'mine' has no place"):
        to_sklearn(Network([64, 5, 3], [own, "identity"], "mse"))
    for wrong in (None, X, theirs.MLPClassifier):
        with pytest.raises(TypeError, match=r"estimator is .*; expected an"):
            to_sklearn(wrong)
        with pytest.raises(TypeError, match=r"estimator is .*; expected an MLPClassifier or"):
            from_sklearn(wrong)
    with pytest.raises(NotFittedError):
        from_sklearn(theirs.MLPRegressor())
    with pytest.raises(NotFittedError):
        to_sklearn(ours.MLPRegressor())
