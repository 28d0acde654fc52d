"""The two estimators: scikit-learn's parameters, and what classes and numbers differ in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from cbackprop import validation
from cbackprop.functions import Activation, Array, Cost
from cbackprop.sklearn.base import (
    MultilayerPerceptron,
    Which,
    goes_by_batches,
    unchanged_if_it_fails,
)
from cbackprop.sklearn.library import (
    ClassifierMixin,
    RegressorMixin,
    accuracy_score,
    available_if,
    check_classification_targets,
    column_or_1d,
    compute_sample_weight,
    dense,
    r2_score,
    sparse_matrix,
    type_of_target,
)
from cbackprop.sklearn.parameters import activation, cost, output_for, word_for
from cbackprop.sparse_rows import ExamplesLike

if TYPE_CHECKING:
    import numpy.typing as npt

Words = str | Activation
ClassWeight = dict[Any, float] | Literal["balanced"]  # Any: labels of whatever kind


class MLPClassifier(ClassifierMixin, MultilayerPerceptron):
    """scikit-learn's MLPClassifier on a `Network`: its parameters, its attributes, and more.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Neurons of each hidden layer; () for none.
    activation : str, Activation or list of them
        Of all hidden layers, or one for each: "logistic" and what `Network` takes.
    solver : {"adam", "sgd", "lbfgs", "adamw", "rmsprop", "adagrad", "rprop", "lm"}
        The optimiser; "lm" is `LevenbergMarquardt`, for squared errors. "rprop" takes all examples
        as one batch unless ``batch_size`` says otherwise.
    alpha : float
        Adds alpha/(2 n) Σw² to the loss of a batch of n examples; "adamw" decays all parameters by
        learning rate times alpha instead.
    batch_size : int or "auto"
        Examples a step; "auto" is 200, or all where there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}
        Of "sgd": as it is; over t^power_t after t examples; or a fifth each time that the loss no
        longer improves, down to 1e-6.
    learning_rate_init : float
        The first rate, > 0; "lbfgs" and "lm" find their own.
    power_t : float
        See ``learning_rate``.
    max_iter : int
        Epochs at most; of "lbfgs" and "lm" steps.
    shuffle : bool
        A new order of the examples for each epoch.
    random_state : int, RandomState or None
        Gives the first parameters, those that scikit-learn would take, and all that is drawn after
        them. None is NumPy's own generator.
    tol : float
        The loss, or with ``early_stopping`` the score, has to improve by so much. For "lbfgs" the
        largest derivative that counts as none.
    verbose : bool
        Print the loss of each epoch.
    warm_start : bool
        Whether `fit` goes on from what the last one has left.
    momentum : float
        In [0, 1), of "sgd".
    nesterovs_momentum : bool
        Its form, of "sgd".
    early_stopping : bool
        Hold examples out, of each class its share, score them after each epoch, and go back to the
        epoch that had the best score. "lbfgs" pays no heed to it, as in scikit-learn.
    validation_fraction : float
        The share that is held out.
    beta_1, beta_2 : float
        In [0, 1), of "adam" and "adamw".
    epsilon : float
        > 0, of "adam", "adamw", "rmsprop" and "adagrad".
    n_iter_no_change : int or inf
        Epochs without an improvement by ``tol`` that are waited for.
    max_fun : int
        Evaluations of the loss and its gradient by "lbfgs" at most.
    loss : str or Cost
        What is minimised: "log_loss", another cost of `Network`, or one of your own.
    output_activation : str, optional
        "softmax" for one of many classes and "logistic" otherwise, or the one of the two that you
        say.
    class_weight : dict or "balanced", optional
        A weight for each class, times ``sample_weight``.
    dropout : float
        In [0, 1): the share of hidden activations that is left out of each step.
    callbacks : sequence of callable
        Each called as f(network, history) after each epoch; one that returns True ends the fit.
    dtype : {"float64", "float32"}, optional
        The network's number type: that of X where it is one of the two, else float64.
    threads : int or "auto"
        As `Network`'s.

    Attributes
    ----------
    network_ : Network
        What was trained, with all that a network can do.
    classes_ : ndarray, (n_classes,)
        The labels, sorted.
    loss_ : float
        The last epoch's loss with its penalty; of "lbfgs" and "lm" that after the last step.
    loss_curve_, validation_loss_curve_ : list of float
        The loss of each epoch, and that of ``validation_data`` or of what was held out, without
        the penalty; None without any.
    best_loss_ : float or None
        The smallest loss; None with ``early_stopping``.
    validation_scores_, best_validation_score_ : list of float, float or None
        The accuracy of each epoch and the best of them; None without ``early_stopping``.
    n_iter_, t_ : int
        Epochs of the last fit, and examples trained on.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray, (n_features,)
        What they are called, where X is a data frame.

    Raises
    ------
    TypeError
        For an argument by an unknown name. Their values are judged by `fit`.
    """

    class_weight: ClassWeight | None
    classes_: Array
    has_labels_: bool  # whether an example has any number of the classes, and not one of them
    _sparse_labels: bool  # whether they came, and are to be told, as a sparse matrix

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: Words | Sequence[Words] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: object = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str | Cost = "log_loss",
        output_activation: str | None = None,
        class_weight: ClassWeight | None = None,
        dropout: float = 0.0,
        callbacks: Sequence[Callable[..., object]] = (),
        dtype: Literal["float32", "float64"] | None = None,
        threads: int | Literal["auto"] = 1,
    ) -> None:
        self._keep(locals())

    def _targets(self, y: Any, which: Which) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if which == "first":
            self._learn_classes(y, y)
        known, n = self.classes_, y.shape[0]
        if self.has_labels_:
            labels = dense(y)
            if labels.shape != (n, len(known)) or not np.isin(labels, (0, 1)).all():
                raise ValueError(f"y has shape {y.shape}; expected 0 and 1, {(n, len(known))}")
            return labels
        if which == "all" and not np.array_equal(np.unique(y), known):
            # The first sentence is what scikit-learn's callers look for.
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {known}, `y` has {np.unique(y)}"
            )
        if y.dtype.kind == "O":  # of whatever its entries are
            y = np.array(y.tolist())
        are_text = [array.dtype.kind in "OUS" for array in (known, y)]
        numbers = np.zeros(n, np.intp)
        fits = are_text[0] == are_text[1] and y.ndim == 1
        if fits:
            numbers[:] = np.searchsorted(known, y)
            numbers[numbers == len(known)] = 0  # beyond the last class, and so none
        if not fits or (known[numbers] != y).any():
            raise ValueError(f"y is {validation.shown(y)}; expected some of classes_, {known}")
        if len(known) < 3:
            return numbers.reshape(-1, 1)
        targets = np.zeros((n, len(known)))
        targets[np.arange(n), numbers] = 1
        return targets

    def _learn_classes(self, y: Any, classes: Any) -> None:
        """What y is, and what its classes are: those of ``classes``, or its columns' numbers."""
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError(f"y has {y.shape[1]} columns of classes; expected one, or 0 and 1")
        self.has_labels_ = kind == "multilabel-indicator"
        self._sparse_labels = self.has_labels_ and hasattr(y, "tocsr")
        self.classes_ = np.arange(y.shape[1]) if self.has_labels_ else np.unique(classes)

    def _cost_and_output(self, n_outputs: int) -> tuple[str | Cost, Words]:
        one_of_many = n_outputs > 1 and not self.has_labels_
        output: object = "softmax" if one_of_many else "sigmoid"
        if self.output_activation is not None:
            output = activation(self.output_activation)
        words = ("softmax", "sigmoid") if one_of_many else ("sigmoid",)
        if output not in words:
            shown = " or ".join(repr(word_for(word)) for word in words)
            raise ValueError(
                f"output_activation is {self.output_activation!r}; expected {shown} for such "
                "targets: each output is a probability"
            )
        return cost(self.loss), str(output)

    def _class_names(self) -> list[str] | None:
        names = [str(label) for label in self.classes_]
        return names if len(names) > 1 else None

    def _weight_of_classes(self, y: Any) -> Array | None:
        return None if self.class_weight is None else compute_sample_weight(self.class_weight, y)

    def _strata(self, y: Any, Y: Array, share: float) -> Any:
        n = len(Y)
        if self.has_labels_:
            return None
        if Y.shape[1] == 1:
            return Y.astype(bool)
        numbers = Y.argmax(axis=1)
        # Where there are too few of them for a share of each, the rows fall as they will.
        counts = np.unique(numbers, return_counts=True)[1]
        few = counts.min() < 2 or min(share, 1 - share) * n < len(counts)
        return None if few else numbers

    def _decided(self, outputs: Array) -> Array:
        """The number of each example's class, or whether it has each of the labels."""
        if self.has_labels_:
            return outputs > 0.5
        if outputs.shape[1] == 1:
            # Of a single class, too, there is an output.
            return ((outputs[:, 0] > 0.5) & (len(self.classes_) > 1)).astype(np.intp)
        numbers: Array = outputs.argmax(axis=1)
        return numbers

    def _score(self, predictions: Array, Y: Array, weight: Array | None) -> float:
        decided = self._decided(Y), self._decided(predictions)
        return float(accuracy_score(*decided, sample_weight=weight))

    @available_if(goes_by_batches)
    def partial_fit(
        self,
        X: ExamplesLike,
        y: ExamplesLike,
        sample_weight: npt.ArrayLike | None = None,
        classes: npt.ArrayLike | None = None,
    ) -> Self:
        """One pass over these examples, the optimiser's state kept from call to call.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix
            (n, n_features).
        y : array_like
            (n,) labels, or (n, n_classes) of 0 and 1.
        sample_weight : array_like, optional
            (n,) ≥ 0.
        classes : array_like, optional
            (n_classes,): every label that will come. Needed in the first call.

        Returns
        -------
        MLPClassifier
            This estimator; ``loss_`` is that of X before the pass.

        Raises
        ------
        TypeError, ValueError
            As `fit`; for ``classes`` that are missing, or others than before.
        """
        with unchanged_if_it_fails(self):
            known = vars(self).get("classes_")
            if known is None:
                if classes is None:
                    raise ValueError("classes must be passed on the first call to partial_fit.")
                self._learn_classes(y, classes)
            elif classes is not None and not np.array_equal(known, np.unique(classes)):
                raise ValueError(
                    f"classes is {classes!r}; expected those of the first call, {known}"
                )
            self._partial_fit(X, y, sample_weight)
        return self

    # Any: an array, or a sparse matrix as the labels were.
    def predict(self, X: ExamplesLike) -> Any:
        """The class of each example, or its labels.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix
            (n, n_features).

        Returns
        -------
        ndarray
            (n,) of ``classes_``, or (n, n_classes) of 0 and 1.

        Raises
        ------
        TypeError, ValueError
            Of X; NotFittedError before `fit`.
        FloatingPointError
            If finite inputs overflow.
        """
        outputs = self._outputs(X)
        if self.has_labels_:
            labels = self._decided(outputs).astype(np.intp)
            return sparse_matrix(labels) if self._sparse_labels else labels
        return self.classes_[self._decided(outputs)]

    def predict_proba(self, X: ExamplesLike) -> Array:
        """The probability of each class.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix
            (n, n_features).

        Returns
        -------
        ndarray
            (n, n_classes). Rows add up to 1 but for labels, any number of which may be right.

        Raises
        ------
        TypeError, ValueError
            Of X; NotFittedError before `fit`.
        FloatingPointError
            If finite inputs overflow.
        """
        outputs = self._outputs(X)
        if self.has_labels_:
            return outputs
        if outputs.shape[1] == 1:
            return np.hstack([1 - outputs, outputs])
        if self.network_.activations[-1] != "softmax":
            outputs /= outputs.sum(axis=1, keepdims=True)
        return outputs

    def predict_log_proba(self, X: ExamplesLike) -> Array:
        """The logarithms of `predict_proba`.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix
            (n, n_features).

        Returns
        -------
        ndarray
            (n, n_classes); −inf for a probability that has rounded to 0.

        Raises
        ------
        TypeError, ValueError
            Of X; NotFittedError before `fit`.
        FloatingPointError
            If finite inputs overflow.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, MultilayerPerceptron):
    """scikit-learn's MLPRegressor on a `Network`: its parameters, its attributes, and more.

    Parameters
    ----------
    loss : str or Cost
        "squared_error" (½ Σ_j (a−y)² over the outputs), "poisson", another cost of `Network`, or
        one of your own.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate : various
        As `MLPClassifier`'s.
    learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose : various
        Likewise.
    warm_start, momentum, nesterovs_momentum : various
        Likewise.
    early_stopping : bool
        Likewise; the score is R².
    validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun : various
        Likewise.
    output_activation : str or Activation, optional
        Where it is not what goes with the loss: "exp" for "poisson", otherwise "identity".
    dropout, callbacks, dtype, threads : various
        As `MLPClassifier`'s.

    Attributes
    ----------
    network_, loss_, loss_curve_, validation_loss_curve_, best_loss_, n_iter_, t_
        As `MLPClassifier`'s.
    validation_scores_, best_validation_score_, n_features_in_, feature_names_in_
        Likewise; the score is R².

    Raises
    ------
    TypeError
        For an argument by an unknown name. Their values are judged by `fit`.
    """

    def __init__(
        self,
        loss: str | Cost = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: Words | Sequence[Words] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: object = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        output_activation: Words | None = None,
        dropout: float = 0.0,
        callbacks: Sequence[Callable[..., object]] = (),
        dtype: Literal["float32", "float64"] | None = None,
        threads: int | Literal["auto"] = 1,
    ) -> None:
        self._keep(locals())

    def _demands_on_targets(self) -> dict[str, object]:
        return {"y_numeric": True}

    def _targets(self, y: Any, which: Which) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        numbers: Array = y
        return numbers.reshape(len(numbers), -1)

    def _cost_and_output(self, n_outputs: int) -> tuple[str | Cost, Words]:
        chosen = cost(self.loss)
        output: Any = self.output_activation
        return chosen, output_for(chosen) if output is None else activation(output)

    def _score(self, predictions: Array, Y: Array, weight: Array | None) -> float:
        return float(r2_score(Y, predictions, sample_weight=weight))

    @available_if(goes_by_batches)
    def partial_fit(
        self, X: ExamplesLike, y: ExamplesLike, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """One pass over these examples, the optimiser's state kept from call to call.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix
            (n, n_features).
        y : array_like
            (n,) or (n, n_outputs).
        sample_weight : array_like, optional
            (n,) ≥ 0.

        Returns
        -------
        MLPRegressor
            This estimator; ``loss_`` is that of X before the pass.

        Raises
        ------
        TypeError, ValueError
            As `fit`.
        """
        with unchanged_if_it_fails(self):
            self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X: ExamplesLike) -> Array:
        """The outputs.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix
            (n, n_features).

        Returns
        -------
        ndarray
            (n,), or (n, n_outputs) of several.

        Raises
        ------
        TypeError, ValueError
            Of X; NotFittedError before `fit`.
        FloatingPointError
            If finite inputs overflow.
        """
        outputs = self._outputs(X)
        return outputs.reshape(-1) if outputs.shape[1] == 1 else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
