"""The estimators: scikit-learn's course of a fit, what they have besides, its tools around them."""

from __future__ import annotations

import pickle
import re
import warnings
from typing import Any

import numpy as np
import pytest
from support import Array, state

sklearn = pytest.importorskip("sklearn", minversion="1.6", reason="scikit-learn is not installed")

from sklearn import neural_network as theirs  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.datasets import load_digits, load_iris  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.inspection import permutation_importance  # noqa: E402
from sklearn.metrics import accuracy_score, make_scorer, r2_score  # noqa: E402
from sklearn.model_selection import (  # noqa: E402
    GridSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from cbackprop import Activation, Cost, Network  # noqa: E402
from cbackprop import sklearn as ours  # noqa: E402
from cbackprop.optimizers import OPTIMIZERS  # noqa: E402
from cbackprop.sklearn import MLPClassifier, MLPRegressor, parameters  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # scikit-learn 1.6 on a later scipy.
    pytest.mark.filterwarnings("ignore:scipy.optimize. The .disp. and:DeprecationWarning"),
]

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_IRIS = StandardScaler().fit_transform(X_IRIS)
X, DIGITS = load_digits(return_X_y=True)
X, DIGITS = X[:150] / 16, DIGITS[:150]
LABELS = (X[:, 20:25] > 0.5).astype(int)
OUTPUTS = np.random.default_rng(0).normal(size=(150, 3))
ESTIMATORS = [MLPClassifier, MLPRegressor]


def pair(kind: str, X: Any, y: Any, **options: Any) -> tuple[Any, Any]:
    """Ours and scikit-learn's after the same fit."""
    return tuple(getattr(module, kind)(**options).fit(X, y) for module in (ours, theirs))  # type: ignore[return-value]


SMALL = {"hidden_layer_sizes": (8,), "max_iter": 20, "random_state": 0, "learning_rate_init": 0.03}


def small(kind: Any = MLPClassifier, **options: Any) -> Any:
    return kind(**{**SMALL, **options})


# ---- the course of a fit -------------------------------------------------------------------------

SGD = {"solver": "sgd", "random_state": 1, "max_iter": 25, "learning_rate_init": 0.02}


@pytest.mark.parametrize(
    ("kind", "y", "options"),
    [
        ("MLPClassifier", DIGITS, {}),
        ("MLPClassifier", DIGITS, {"hidden_layer_sizes": (9, 7), "activation": "tanh"}),
        ("MLPClassifier", DIGITS > 4, {"activation": "logistic", "alpha": 0.3}),
        ("MLPClassifier", LABELS, {"nesterovs_momentum": False}),
        ("MLPRegressor", DIGITS / 10, {"momentum": 0}),
        ("MLPRegressor", DIGITS / 10, {"tol": 0.01, "n_iter_no_change": 2}),
        ("MLPRegressor", DIGITS / 10, {"batch_size": 50, "shuffle": False, "alpha": 0}),
        ("MLPRegressor", OUTPUTS, {"activation": "identity"}),
        (
            "MLPClassifier",
            DIGITS,
            {"momentum": 0, "learning_rate": "invscaling", "power_t": 0.2, "learning_rate_init": 1},
        ),
        (
            "MLPRegressor",
            DIGITS / 10,
            {"momentum": 0, "learning_rate": "adaptive", "tol": 0.01, "n_iter_no_change": 1},
        ),
    ],
)
def test_the_same_steps_as_scikit_learn(kind: str, y: Array, options: dict[str, Any]) -> None:
    """From the same first parameters, to the last digits: loss, rate, epochs, parameters."""
    mine, original = pair(kind, X, y, **{**SGD, **options})
    n = mine.n_outputs_ if kind == "MLPRegressor" else 1  # theirs is a mean over outputs
    assert mine.n_iter_ == original.n_iter_
    assert mine.t_ == original.t_
    if n == 1:
        assert mine.loss_curve_ == pytest.approx(original.loss_curve_, rel=1e-9)
        assert mine.best_loss_ == pytest.approx(original.best_loss_, rel=1e-9)
        assert mine.loss_ == pytest.approx(original.loss_, rel=1e-9)
    for own, other in zip(mine.coefs_, original.coefs_, strict=True):
        assert own == pytest.approx(other, rel=1e-9, abs=1e-12)
    for own, other in zip(mine.intercepts_, original.intercepts_, strict=True):
        assert own == pytest.approx(other, rel=1e-9, abs=1e-12)
    call = "predict_proba" if kind == "MLPClassifier" else "predict"
    assert getattr(mine, call)(X) == pytest.approx(getattr(original, call)(X), rel=1e-9)
    assert (mine.out_activation_, mine.n_layers_) == (original.out_activation_, original.n_layers_)


def test_a_loss_has_the_penalty_of_its_batches() -> None:
    """Of the weights as they move from one to the next, not of those that the epoch ends with."""
    options = {**SGD, "alpha": 0.1, "batch_size": 50, "shuffle": False}
    mine, original = pair("MLPClassifier", X, DIGITS, **options)
    assert mine.loss_curve_ == pytest.approx(original.loss_curve_, abs=5e-5)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_adam_comes_to_the_same(kind: str) -> None:
    """Its ε stands in another place, where scikit-learn's is larger at first."""
    mine, original = pair(kind, X, DIGITS, random_state=1, max_iter=60)
    assert mine.loss_ == pytest.approx(original.loss_, rel=0.01)
    assert mine.score(X, DIGITS) == pytest.approx(original.score(X, DIGITS), abs=0.01)


def test_early_stopping_goes_back_to_the_best_score() -> None:
    """Of a classifier each class has its share; the score is scikit-learn's."""
    model = small(early_stopping=True, max_iter=60, tol=0, n_iter_no_change=3).fit(X_IRIS, Y_IRIS)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == model.n_iter_ == len(model.validation_loss_curve_)
    assert model.best_loss_ is None
    # What was held out is known from the seed: its score is that of the parameters now.
    best = np.argmax(model.validation_scores_)
    again = small(max_iter=int(best) + 1, early_stopping=True, tol=0, n_iter_no_change=60)
    assert again.fit(X_IRIS, Y_IRIS).coefs_[0] == pytest.approx(model.coefs_[0], rel=1e-12)


def test_what_is_scored_is_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels by chance can be learnt by heart, and not foretold. Examples count by their weight."""
    weights: list[Any] = []

    def accuracy(*arrays: Array, sample_weight: Any) -> float:
        weights.append(sample_weight)
        return float(accuracy_score(*arrays, sample_weight=sample_weight))

    monkeypatch.setattr("cbackprop.sklearn.estimators.accuracy_score", accuracy)
    random = np.random.default_rng(0)
    rows, labels = random.normal(size=(300, 20)), random.integers(0, 2, 300)
    weight = 1.0 + np.arange(300)
    model = small(hidden_layer_sizes=50, early_stopping=True, max_iter=40, n_iter_no_change=99)
    model.fit(rows, labels, weight)
    assert model.t_ == 40 * 270
    assert model.best_validation_score_ < 0.8
    assert model.score(rows, labels) > model.best_validation_score_
    assert len({tuple(sorted(each)) for each in weights}) == 1
    assert len(weights[0]) == 30
    assert {*weights[0]} <= {*weight}


def test_rare_classes_are_held_out_as_they_come() -> None:
    y = np.r_[Y_IRIS[:149], 9]
    model = small(early_stopping=True).fit(X_IRIS, y)
    assert model.validation_scores_ is not None
    assert [*model.classes_] == [0, 1, 2, 9]


def test_l_bfgs_of_several_outputs_minimises_what_it_says() -> None:
    """scikit-learn's gradient is n_outputs times its loss's, and its search goes astray."""
    random = np.random.default_rng(0)
    A = random.normal(size=(60, 4))
    B = A @ random.normal(size=(4, 3)) + 0.1 * random.normal(size=(60, 3))
    ones = np.hstack([A, np.ones((60, 1))])
    minimum = np.linalg.solve(ones.T @ ones + np.diag([1.0] * 4 + [0]), ones.T @ B)
    mine, original = pair(
        "MLPRegressor",
        A,
        B,
        hidden_layer_sizes=(),
        solver="lbfgs",
        alpha=1,
        tol=1e-10,
        random_state=0,
    )
    found = [np.vstack([m.coefs_[0], m.intercepts_]) for m in (mine, original)]
    assert found[0] == pytest.approx(minimum, abs=1e-7)
    assert np.abs(found[1] - minimum).max() > 1e-4
    # ½ Σ_j (a−y)², as the gradient has it, with alpha/2n Σw².
    rest = np.square(mine.predict(A) - B).sum(axis=1).mean() / 2
    assert mine.loss_ == pytest.approx(rest + np.square(mine.coefs_[0]).sum() / 120, rel=1e-12)
    assert mine.network_.check_gradient(A[:5], B[:5]).passed


def test_l_bfgs_ends_where_scikit_learn_does() -> None:
    mine, original = pair(
        "MLPRegressor", X, DIGITS / 10, solver="lbfgs", random_state=1, max_iter=30
    )
    assert mine.n_iter_ == original.n_iter_ == 30
    assert mine.loss_ == pytest.approx(original.loss_, rel=1e-8)
    assert mine.loss_curve_[-1] > mine.loss_ == mine.best_loss_


@pytest.mark.parametrize("solver", parameters.SOLVERS)
def test_every_solver_learns(solver: str) -> None:
    rate = {"adagrad": 0.3, "sgd": 0.1}.get(solver, 0.03)
    model = MLPRegressor(
        "squared_error",
        10,
        "tanh",
        solver=solver,
        learning_rate_init=rate,
        random_state=0,
        tol=1e-6,
    ).fit(X_IRIS[:, :3], X_IRIS[:, 3])
    assert model.score(X_IRIS[:, :3], X_IRIS[:, 3]) > 0.9
    assert hasattr(model, "partial_fit") == (solver not in ("lbfgs", "lm"))


def test_every_optimiser_is_a_solver() -> None:
    words = {"levenberg_marquardt": "lm"}
    assert {words.get(name, name) for name in OPTIMIZERS} == set(parameters.SOLVERS)
    assert set(parameters.JUDGES) == set(parameters.Settings._fields)


def test_a_weight_of_two_is_an_example_given_twice() -> None:
    """The penalty's share included, which scikit-learn divides by the sum of the weights."""
    weight = np.arange(150) % 4
    options = {**SGD, "alpha": 1.0, "batch_size": 600}
    weighted = MLPClassifier(**options).fit(X, DIGITS, weight)
    repeated = MLPClassifier(**options).fit(X.repeat(weight, axis=0), DIGITS.repeat(weight))
    assert weighted.coefs_[0] == pytest.approx(repeated.coefs_[0], rel=1e-9, abs=1e-12)
    assert weighted.loss_curve_ == pytest.approx(repeated.loss_curve_, rel=1e-9)
    original = theirs.MLPClassifier(**{**options, "batch_size": 150})
    if sklearn.utils.validation.has_fit_parameter(original, "sample_weight"):  # since 1.7
        original.fit(X, DIGITS, weight)
        assert weighted.coefs_[0] == pytest.approx(original.coefs_[0], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_warm_start_goes_on(kind: Any) -> None:
    model = small(kind, warm_start=True, max_iter=3).fit(X, DIGITS)
    network, losses = model.network_, [*model.loss_curve_]
    model.fit(X, DIGITS)
    assert model.network_ is network
    assert model.loss_curve_[:3] == losses
    assert (len(model.loss_curve_), model.n_iter_, model.t_) == (6, 3, 900)
    assert small(kind, max_iter=3).fit(X, DIGITS).fit(X, DIGITS).loss_curve_ == losses


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_passes_of_partial_fit_are_the_epochs_of_a_fit(kind: Any, solver: str) -> None:
    whole = small(kind, solver=solver, max_iter=10).fit(X, DIGITS)
    parts = small(kind, solver=solver)
    options = {"classes": np.unique(DIGITS)} if kind is MLPClassifier else {}
    for _ in range(10):
        parts.partial_fit(X, DIGITS, **options)
    assert parts.loss_curve_ == pytest.approx(whole.loss_curve_, rel=1e-12)
    assert (parts.network_.parameters == whole.network_.parameters).all()
    assert parts.n_iter_ == 1


def test_partial_fit_by_a_schedule_takes_the_rates_of_a_fit() -> None:
    options = {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0, "max_iter": 5}
    whole = small(**options).fit(X, DIGITS)
    parts = small(**options)
    for _ in range(5):
        parts.partial_fit(X, DIGITS, classes=range(10))
    assert (parts.network_.parameters == whole.network_.parameters).all()


def test_verbose_says_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    small(early_stopping=True, verbose=True, max_iter=100, tol=0.5).fit(X_IRIS, Y_IRIS)
    printed = capsys.readouterr().out
    assert re.search(r"Iteration 1, loss = \d\.\d{8}\nValidation score: \d\.\d{6}\n", printed)
    assert printed.endswith("Validation score did not improve by 0.5 for 11 epochs. Stopping.\n")


def test_the_end_by_max_iter_is_told() -> None:
    """Also as an error: what is trained stays."""
    model = small(max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            model.fit(X, DIGITS)
    assert model.n_iter_ == 2
    with pytest.warns(ConvergenceWarning, match=r"not settled in max_iter=2 epochs"):
        small(max_iter=2).fit(X, DIGITS)
    with pytest.warns(ConvergenceWarning, match=r"not settled in max_fun=3 evaluations"):
        small(solver="lbfgs", max_fun=3).fit(X, DIGITS)


# ---- what scikit-learn does not have -------------------------------------------------------------


def test_an_activation_for_each_layer() -> None:
    model = small(hidden_layer_sizes=(5, 4), activation=["gelu", "logistic"]).fit(X_IRIS, Y_IRIS)
    assert model.network_.activations == ("gelu", "sigmoid", "softmax")
    assert model.network_.class_names == ("0", "1", "2")
    cube = Activation(lambda z: z**3 / 9, lambda z: z**2 / 3)
    model = small(MLPRegressor, activation=cube, output_activation="softplus").fit(X, DIGITS)
    assert model.network_.activations == (cube, "softplus")
    assert model.out_activation_ == "softplus"
    with pytest.raises(ValueError, match=r"activation has 1 entries; expected 2, one for each"):
        small(hidden_layer_sizes=(5, 4), activation=["gelu"]).fit(X_IRIS, Y_IRIS)


def test_any_cost() -> None:
    model = small(MLPRegressor, loss="huber").fit(X, DIGITS)
    assert (model.network_.cost_function, model.out_activation_) == ("huber", "identity")
    fourth = Cost(lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3)
    assert small(MLPRegressor, loss=fourth).fit(X, DIGITS / 9).network_.cost_function is fourth
    model = small(
        loss="quadratic", output_activation="logistic", max_iter=200, learning_rate_init=0.05
    )
    model.fit(X_IRIS, Y_IRIS)
    assert model.network_.activations[-1] == "sigmoid"
    assert model.predict_proba(X_IRIS).sum(axis=1) == pytest.approx(1)
    assert (model.predict(X_IRIS) == model.predict_proba(X_IRIS).argmax(axis=1)).all()
    assert model.score(X_IRIS, Y_IRIS) > 0.9


def test_validation_data_of_ones_own() -> None:
    train, held = np.arange(150) % 3 > 0, np.arange(150) % 3 == 0
    model = small(alpha=0.1).fit(X[train], DIGITS[train], validation_data=(X[held], DIGITS[held]))
    assert len(model.validation_loss_curve_) == model.n_iter_
    Y = np.eye(10)[DIGITS[held]]
    assert model.validation_loss_curve_[-1] == model.network_.cost(X[held], Y)
    assert model.validation_scores_ is None
    scored = small(early_stopping=True, max_iter=40, tol=0.05, n_iter_no_change=2)
    scored.fit(X[train], DIGITS[train], validation_data=(X[held], DIGITS[held]))
    assert scored.best_validation_score_ == scored.score(X[held], DIGITS[held])
    assert scored.t_ == scored.n_iter_ * train.sum()
    assert small().fit(X, DIGITS).validation_loss_curve_ is None
    with pytest.raises(ValueError, match=r"y is .*; expected some of classes_"):
        small().fit(X[train], DIGITS[train], validation_data=(X[held], DIGITS[held] + 20))
    with pytest.raises(TypeError, match=r"validation_data is .* expected a pair \(X, y\)"):
        small().fit(X, DIGITS, validation_data=X)


def test_callbacks_see_the_network_and_end_the_fit() -> None:
    seen: list[Any] = []

    def callback(network: Network, history: Any) -> bool:
        seen.append((network, history.epochs))
        return history.epochs == 4

    model = small(callbacks=[callback]).fit(X, DIGITS)
    assert seen == [(model.network_, epoch) for epoch in (1, 2, 3, 4)]
    assert model.n_iter_ == 4


def test_dropout_threads_and_number_type_are_the_network_s() -> None:
    plain = small().fit(X, DIGITS)
    assert small(dropout=0.5).fit(X, DIGITS).loss_ > plain.loss_
    threaded = small(threads=2).fit(X, DIGITS)
    assert threaded.network_.threads == 2
    assert (threaded.network_.parameters == plain.network_.parameters).all()
    assert small(dtype="float32").fit(X, DIGITS).coefs_[0].dtype == np.float32
    assert small(dtype="float64").fit(X.astype("f4"), DIGITS).coefs_[0].dtype == np.float64


def test_class_weights() -> None:
    weight = {0: 3.0, 1: 0.5}
    by_class = small(class_weight=weight).fit(X, DIGITS)
    own = [weight.get(digit, 1.0) for digit in DIGITS]
    assert by_class.loss_curve_ == small().fit(X, DIGITS, own).loss_curve_
    y = DIGITS == 0
    balanced = small(class_weight="balanced", max_iter=5).fit(X, y)
    assert (
        balanced.predict_proba(X)[:, 1].mean()
        > small(max_iter=5).fit(X, y).predict_proba(X)[:, 1].mean()
    )
    both = small(class_weight={False: 1, True: 2}).fit(X, y, own)
    assert both.loss_curve_ == small().fit(X, y, np.where(y, 2.0, 1.0) * own).loss_curve_


# ---- parameters and failures ---------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"solver": "newton"}, "solver is 'newton'; expected one of 'sgd'"),
    ({"alpha": -1}, "alpha is -1.0; expected a number >= 0"),
    ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
    ({"batch_size": "all"}, r"batch_size is 'all' \(str\); expected an integer"),
    ({"learning_rate": "constnat"}, "learning_rate is .*; did you mean 'constant'"),
    ({"learning_rate_init": 0}, "learning_rate_init is 0.0; expected a number > 0"),
    ({"max_iter": 0.5}, r"max_iter is 0.5 \(float\); expected an integer"),
    ({"momentum": 1}, r"momentum is 1.0; expected a number in \[0, 1\)"),
    ({"n_iter_no_change": 0}, "n_iter_no_change is 0; expected at least 1"),
    ({"hidden_layer_sizes": (3, 0)}, r"hidden_layer_sizes\[1\] is 0; expected at least 1"),
    ({"hidden_layer_sizes": 2.5}, r"hidden_layer_sizes is 2.5 \(float\); expected an integer"),
    ({"activation": "reul"}, "activation.* is 'reul'; expected one of"),
    ({"activation": None}, "activation is None .*; expected a name, or one for each hidden"),
    ({"loss": "hinge"}, "loss is 'hinge'; expected one of 'squared_error'"),
    ({"dropout": 1}, r"dropout is 1.0; expected a number in \[0, 1\)"),
    ({"dtype": "float16"}, "dtype is 'float16'; expected"),
    ({"callbacks": [3]}, r"callbacks\[0\] is 3"),
    ({"solver": "lbfgs", "dropout": 0.1}, "dropout is 0.1 with optimizer 'lbfgs'"),
]


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_parameter_is_named_and_nothing_has_changed(
    kind: Any, wrong: dict[str, Any], message: str
) -> None:
    model = small(kind).fit(X, DIGITS)
    parameters, before = model.get_params(), {**vars(model)}
    model.set_params(**wrong)
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(X[:, :9], DIGITS)
    model.set_params(**parameters)
    assert vars(model) == before
    assert model.predict(X).shape == (150,)


def test_outputs_of_a_classifier_are_probabilities() -> None:
    for word, y in (("tanh", DIGITS), ("softmax", LABELS), ("softmax", DIGITS > 4)):
        with pytest.raises(ValueError, match=rf"output_activation is '{word}'; expected '"):
            small(output_activation=word).fit(X, y)
    with pytest.raises(ValueError, match=r"log_loss|cross_entropy"):
        small(MLPRegressor, loss="log_loss", output_activation="tanh").fit(X, DIGITS / 9)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_divergence_leaves_the_estimator_as_it_was(kind: Any) -> None:
    model = small(kind).fit(X, DIGITS)
    before, network = {**vars(model)}, state(model.network_)
    huge = X_IRIS * 1e300
    with pytest.raises(ValueError, match=r"non-finite parameter weights.*diverged in epoch"):
        model.fit(np.hstack([huge] * 16), Y_IRIS)
    assert (vars(model), state(model.network_)) == (before, network)
    fresh = small(kind)
    with pytest.raises(ValueError, match="diverged"):
        fresh.fit(huge, Y_IRIS)
    assert vars(fresh) == vars(small(kind))
    with pytest.raises(ValueError, match="zero for every example"):
        model.fit(X, DIGITS, np.zeros(150))
    with pytest.raises(ValueError, match=r"sample_weight has shape \(3,\); expected \(150,\)"):
        model.fit(X, DIGITS, np.ones(3))
    with pytest.raises(ValueError, match=r"sample_weight has -1.0 at \[1\]; expected numbers >= 0"):
        model.fit(X, DIGITS, (-1.0) ** np.arange(150))
    assert vars(model) == before


def test_after_ctrl_c_the_network_is_that_of_then() -> None:
    def interrupted(network: Network, history: Any) -> None:
        if history.epochs == 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="fit was interrupted"):
        model = small(callbacks=[interrupted]).fit(X, DIGITS)
    assert model.n_iter_ == 3
    assert len(model.loss_curve_) == 3
    assert model.predict(X).shape == (150,)


def test_without_a_fit_there_is_no_network() -> None:
    for call in ("predict", "predict_proba", "score"):
        with pytest.raises(NotFittedError):
            getattr(small(), call)(*(X, DIGITS)[: 2 if call == "score" else 1])
    assert not hasattr(small(), "coefs_")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        small(solver="lbfgs").partial_fit(X, DIGITS)


def test_classes_of_partial_fit() -> None:
    model = small()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, DIGITS)
    assert vars(model) == vars(small())
    model.partial_fit(X[:5], DIGITS[:5], classes=range(10))
    with pytest.raises(ValueError, match=r"classes is .*; expected those of the first call"):
        model.partial_fit(X, DIGITS, classes=range(11))
    for wrong in (DIGITS + 1, DIGITS.astype(str), DIGITS + 0.5):
        with pytest.raises(ValueError, match=r"y is .*; expected some of classes_"):
            model.partial_fit(X, wrong)
    with pytest.raises(ValueError, match=r"nan|NaN"):
        model.partial_fit(np.where(X > 0.9, np.nan, X), DIGITS)
    again = small().partial_fit(X, DIGITS, classes=range(10))
    again.partial_fit(X, DIGITS.astype(object)).partial_fit(X, DIGITS.astype(float))
    words = small().partial_fit(X_IRIS, SPECIES.astype(object), classes=np.unique(SPECIES))
    assert {*words.partial_fit(X_IRIS, SPECIES).predict(X_IRIS)} <= {*SPECIES}
    labelled = small().fit(X, LABELS)
    with pytest.raises(ValueError, match=r"y has shape \(150, 4\); expected 0 and 1, \(150, 5\)"):
        labelled.partial_fit(X, LABELS[:, :4])
    with pytest.raises(ValueError, match="columns of classes; expected one, or 0 and 1"):
        small().fit(X, np.stack([DIGITS, DIGITS], axis=1))


# ---- the network ---------------------------------------------------------------------------------


def test_parameters_are_live_views_of_the_network() -> None:
    model = small().fit(X, DIGITS)
    assert [W.shape for W in model.coefs_] == [(64, 8), (8, 10)]
    model.coefs_[1][3, 7] = 0.25
    assert model.network_.weights[1][7, 3] == 0.25
    model.coefs_ = [0.5 * W for W in model.coefs_]
    model.intercepts_ = [np.zeros(8), np.ones(10)]
    assert (model.network_.weights[1][7, 3], model.network_.biases[1][9]) == (0.125, 1.0)
    before = model.network_.parameters
    with pytest.raises(ValueError, match=r"coefs_ has the shapes .*; expected \[\(64, 8\), \(8"):
        model.coefs_ = [np.zeros((64, 8)), np.zeros((10, 8))]
    assert (model.network_.parameters == before).all()


def test_an_array_is_predicted_without_detours() -> None:
    """And what the network refuses is refused in scikit-learn's words."""
    model = small().fit(X, DIGITS)
    plain = model.predict_proba(X)
    for other in (X.tolist(), np.asfortranarray(X), X.astype(object), X.astype(">f8")):
        assert (model.predict_proba(other) == plain).all()
    assert model.predict_proba(X.astype("f4")) == pytest.approx(plain, rel=1e-4)
    for wrong, message in (
        (np.full((1, 64), np.nan), "Input X contains NaN"),
        (X[:, :9], "X has 9 features, but MLPClassifier is expecting 64"),
        (X[0], "Expected 2D array, got 1D array"),
        (X[:0], "0 sample"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(wrong)


def test_sparse_rows_have_the_same_bits() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = small(early_stopping=True).fit(X, DIGITS)
    for make in (sparse.csr_matrix, sparse.csr_array, sparse.csc_array):
        model = small(early_stopping=True).fit(make(X), DIGITS)
        assert (model.network_.parameters == dense.network_.parameters).all()
        assert (model.predict_proba(make(X)) == dense.predict_proba(X)).all()
    model = small().fit(X, LABELS)
    other = small().fit(X, sparse.csr_matrix(LABELS))
    assert (other.predict(X).toarray() == model.predict(X)).all()


# ---- tables and tools ----------------------------------------------------------------------------

NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = np.array(["setosa", "versicolor", "virginica"])[Y_IRIS]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_tables_have_their_columns_compared(library: str) -> None:
    frames = pytest.importorskip(library)
    table = frames.DataFrame(dict(zip(NAMES, X_IRIS.T, strict=True)))
    model = small(max_iter=200).fit(table, frames.Series(SPECIES))
    assert [*model.feature_names_in_] == NAMES
    assert model.network_.feature_names == tuple(NAMES)
    assert model.network_.class_names == ("setosa", "versicolor", "virginica")
    assert [*model.classes_] == ["setosa", "versicolor", "virginica"]
    assert model.score(table, frames.Series(SPECIES)) > 0.9
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[NAMES[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert (model.predict(X_IRIS) == model.predict(table)).all()


def test_a_pipeline_hands_tables_on() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X_IRIS, columns=NAMES)
    pipeline = make_pipeline(StandardScaler(), small(max_iter=100)).set_output(transform="pandas")
    pipeline.fit(table, pandas.Series(SPECIES, dtype="category"))
    assert pipeline[-1].network_.feature_names == tuple(NAMES)
    assert pipeline.score(table, SPECIES) > 0.9
    importance = permutation_importance(pipeline, table, SPECIES, random_state=0)
    assert NAMES[int(importance.importances_mean.argmax())].startswith("petal")


def test_the_tools_of_model_selection() -> None:
    model = small(max_iter=100)
    assert cross_val_score(model, X_IRIS, SPECIES, cv=3).mean() > 0.9
    search = GridSearchCV(
        model, {"hidden_layer_sizes": [(4,), (8,)], "activation": ["tanh", "gelu"]}, n_jobs=-1, cv=2
    ).fit(X_IRIS, SPECIES)
    assert search.best_score_ > 0.9
    calibrated = CalibratedClassifierCV(model, cv=2).fit(X_IRIS, SPECIES)
    assert calibrated.predict_proba(X_IRIS).sum(axis=1) == pytest.approx(1)


def test_copies_and_pickles() -> None:
    model = small(activation=["gelu"], dropout=0.1).fit(X, DIGITS)
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "coefs_")
    other = pickle.loads(pickle.dumps(model))
    assert (other.predict_proba(X) == model.predict_proba(X)).all()
    for each in (model, other):
        each.partial_fit(X, DIGITS)
    assert (other.network_.parameters == model.network_.parameters).all()
    assert repr(MLPClassifier(dropout=0.1)) == "MLPClassifier(dropout=0.1)"


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_parameters_are_scikit_learn_s_and_more(kind: Any) -> None:
    """In its order with its defaults, so that arguments by position mean the same."""
    own, original = kind().get_params(), getattr(theirs, kind.__name__)().get_params()
    assert own.items() >= original.items()
    names = lambda cls: [*cls.__init__.__code__.co_varnames[1 : cls.__init__.__code__.co_argcount]]  # noqa: E731
    if original.keys() >= {"loss"} or kind is MLPClassifier:  # since 1.7
        assert names(kind) == names(getattr(theirs, kind.__name__))


def test_weights_are_routed() -> None:
    weight = 1.0 + np.arange(150) % 2

    def scores(wanted: bool, **params: Any) -> Array:
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, small().set_fit_request(sample_weight=wanted))
        accuracy = make_scorer(accuracy_score).set_score_request(sample_weight=False)
        scored = cross_validate(pipeline, X, DIGITS, params=params, cv=2, scoring=accuracy)
        routed: Array = scored["test_score"]
        return routed

    with sklearn.config_context(enable_metadata_routing=True):
        assert (scores(True, sample_weight=weight) != scores(False)).any()


def test_scores_are_scikit_learn_s() -> None:
    weight = 1.0 + np.arange(150) % 4
    model = small(early_stopping=True)
    for kind, y, judge in (
        (MLPClassifier, DIGITS, accuracy_score),
        (MLPClassifier, LABELS, accuracy_score),
        (MLPRegressor, OUTPUTS, r2_score),
    ):
        model = small(kind, early_stopping=True).fit(X, y, validation_data=(X, y))
        assert model.best_validation_score_ == pytest.approx(judge(y, model.predict(X)), rel=1e-12)
    model = small(MLPRegressor, early_stopping=True, max_iter=1).fit(X, OUTPUTS, weight)
    assert len(model.validation_scores_) == 1


@pytest.mark.parametrize("kind", ["logistic", "relu"])
def test_first_parameters_without_a_hidden_layer(kind: str) -> None:
    """They go by the hidden activation, as those of every last layer."""
    options: dict[str, Any] = {"hidden_layer_sizes": (), "activation": kind, "random_state": 3}
    options |= {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1, "alpha": 0.0}
    for mine, original, y in (
        (MLPRegressor, theirs.MLPRegressor, Y_IRIS.astype(float)),
        (MLPClassifier, theirs.MLPClassifier, Y_IRIS == 1),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            one, other = (kind_of(**options).fit(X_IRIS, y) for kind_of in (mine, original))
        np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])
        np.testing.assert_array_equal(one.intercepts_[0], other.intercepts_[0])
