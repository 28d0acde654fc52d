"""What both estimators are: one `Network`, trained by one call, with scikit-learn's ways around it.

Nothing is computed here but what scikit-learn defines.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np

from cbackprop import validation
from cbackprop.functions import Activation, Array, Cost
from cbackprop.network import Network
from cbackprop.sklearn.course import Course, penalty
from cbackprop.sklearn.library import (
    BaseEstimator,
    ConvergenceWarning,
    check_is_fitted,
    check_random_state,
    train_test_split,
    validate_data,
)
from cbackprop.sklearn.parameters import (
    WHOLE_BATCH,
    activation,
    activations,
    first_parameters,
    hidden_sizes,
    seed_of,
    settings_of,
    word_for,
)
from cbackprop.sparse_rows import ExamplesLike
from cbackprop.training import stop_reasons

if TYPE_CHECKING:
    import numpy.typing as npt

Which = Literal["first", "all", "some"]


class Judged(NamedTuple):
    """Examples that are not trained on, and what each of them counts in the score."""

    X: Any  # Any: dense or sparse
    Y: Array
    weight: Array | None


class MultilayerPerceptron(BaseEstimator):
    """A network that scikit-learn's tools can fit, copy, search and store.

    What an estimator of a kind adds: what its targets are, what its network ends in, how it is
    scored.
    """

    # Those of the parameters that are used here; what is taken as it is, `Network` judges.
    hidden_layer_sizes: object
    activation: object
    output_activation: object
    loss: object
    random_state: object
    dropout: float
    callbacks: Sequence[Callable[..., object]]
    dtype: Literal["float32", "float64"] | None
    threads: int | Literal["auto"]

    network_: Network
    loss_: float
    n_features_in_: int

    def _keep(self, arguments: dict[str, object]) -> None:
        """Store what __init__ was given, as it came."""
        vars(self).update((name, value) for name, value in arguments.items() if name != "self")

    # ---- what a kind of estimator says -----------------------------------------------------------

    def _targets(self, y: Any, which: Which) -> Array:
        """Y (n, n_outputs) of labels or numbers: the first, or of all or some of those classes."""
        raise NotImplementedError

    def _cost_and_output(self, n_outputs: int) -> tuple[str | Cost, str | Activation]:
        """What a new network minimises, and its last layer's activation."""
        raise NotImplementedError

    def _score(self, predictions: Array, Y: Array, weight: Array | None) -> float:
        """scikit-learn's score of these outputs."""
        raise NotImplementedError

    def _class_names(self) -> list[str] | None:
        """What the network's outputs are called."""
        return None

    def _weight_of_classes(self, y: Any) -> Array | None:
        """What each example counts by its class."""
        return None

    def _strata(self, y: Any, Y: Array, share: float) -> Any:
        """The classes of which each keeps its share in what is held out; None for none."""
        return None

    # ---- training --------------------------------------------------------------------------------

    def fit(
        self,
        X: ExamplesLike,
        y: ExamplesLike,
        sample_weight: npt.ArrayLike | None = None,
        validation_data: tuple[ExamplesLike, ExamplesLike] | None = None,
    ) -> Self:
        """Train on X and y, from the beginning unless ``warm_start`` is on.

        Parameters
        ----------
        X : array_like, data frame or sparse matrix
            (n, n_features).
        y : array_like
            (n,) labels or numbers, or (n, n_outputs).
        sample_weight : array_like, optional
            (n,) ≥ 0. A weight of 2 is an example given twice.
        validation_data : (X, y), optional
            Judged after each epoch: ``validation_loss_curve_``. With ``early_stopping`` it is what
            is scored, and nothing of X is held out.

        Returns
        -------
        MLPClassifier or MLPRegressor
            This estimator.

        Raises
        ------
        TypeError, ValueError
            Naming a parameter or an argument; if training diverges. The estimator is then as it
            was, but for a network that was to go on, which is as at that epoch's start.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` ended it.
        """
        with unchanged_if_it_fails(self):
            reason = self._fit(X, y, sample_weight, validation_data)
        # Afterwards, so that what is trained stays where warnings are errors.
        if reason == stop_reasons.INTERRUPTED:
            warnings.warn("fit was interrupted; the network is as it was then", stacklevel=2)
        elif reason is not None:
            warnings.warn(reason, ConvergenceWarning, stacklevel=2)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, validation_data: object) -> str | None:
        """Train, and say why that ended, where it is to be told."""
        settings = settings_of(self)
        generator = check_random_state(self.random_state)
        is_first = not (settings.warm_start and "network_" in vars(self))
        X, y, Y = self._examples(X, y, is_first, "first" if is_first else "all")
        own_weight = _given_weight(sample_weight, len(Y))
        weight = self._weight(own_weight, y)
        judged = self._judged(validation_data)
        network = self._new_network(Y, generator) if is_first else self.network_
        if judged is None and settings.stops_early:
            share = settings.validation_fraction
            train, held = self._hold_out(y, Y, share, generator)
            judged = Judged(X[held], Y[held], _chosen(own_weight, held))
            X, Y, weight = X[train], Y[train], _chosen(weight, train)
        n = len(Y)
        l2 = settings.l2_of(n, _total(weight, n))
        scored = settings.stops_early
        before = {} if is_first else _with_lists_of_its_own(vars(self))
        course = Course(settings, n, l2, network, scored, before)

        def score(predictions: Array, targets: Array) -> float:
            assert judged is not None
            return self._score(predictions, targets, judged.weight)

        moves = settings.solver == "sgd" and settings.learning_rate != "constant"
        callbacks = validation.functions("callbacks", self.callbacks)
        try:
            reason = network.fit(
                X,
                Y,
                epochs=settings.max_iter,
                batch_size=settings.batch_of(n),
                optimizer=settings.optimizer(settings.learning_rate_init),
                # A batch of all examples has no order.
                shuffle=settings.shuffle and settings.batch_of(n) < n,
                sample_weight=weight,
                l2=l2,
                dropout=self.dropout,
                validation_data=None if judged is None else judged[:2],
                metrics=(score,) if scored else (),
                schedule=course.rate_of if moves else None,
                callbacks=(course.after_epoch, *callbacks),
                progress=False,
            ).stop_reason
        except KeyboardInterrupt:
            reason = stop_reasons.INTERRUPTED
        except FloatingPointError as error:
            if course.best is None:
                raise _diverged(error) from error
            course.scores.append(math.nan)
            reason = f"{error}"
        if course.best is not None:
            network.parameters = course.best
        if settings.is_whole_batch or not course.epochs:
            # Each of its losses is of the parameters before a step.
            loss = network.cost(X, Y, sample_weight=weight) + penalty(network, l2)
            course.best_loss = min(course.best_loss, loss)
        else:
            loss = course.losses[-1]
        vars(self).update(course.attributes(), network_=network, loss_=loss)
        unsettled = f"{settings.solver!r}: the loss has not settled in "
        told = {
            stop_reasons.EPOCHS: f"{unsettled}max_iter={settings.max_iter} epochs",
            stop_reasons.MAX_EVALUATIONS: f"{unsettled}max_fun={settings.max_fun} evaluations",
        }
        settled = (stop_reasons.CALLBACK, stop_reasons.CONVERGED, stop_reasons.MU_AT_BOUND)
        return None if reason in settled else told.get(reason, reason)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        settings = settings_of(self)
        if settings.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        before = vars(self)
        is_first = "network_" not in before
        X, y, Y = self._examples(X, y, is_first, "some")
        n = len(Y)
        weight = self._weight(_given_weight(sample_weight, n), y)
        generator = check_random_state(self.random_state)
        network = self._new_network(Y, generator) if is_first else self.network_
        batch = settings.batch_of(n)
        if settings.shuffle and batch < n:
            order = generator.permutation(n)
            X, Y, weight = X[order], Y[order], _chosen(weight, order)
        l2 = settings.l2_of(n, _total(weight, n))
        course = Course(settings, n, l2, network, False, before)
        rate = settings.learning_rate_init
        if settings.solver == "sgd" and settings.learning_rate != "constant":
            rate = course.rate = before.get("_learning_rate", rate)
        try:
            loss = network.cost(X, Y, sample_weight=weight) + course.penalty
            network.partial_fit(
                X,
                Y,
                batch,
                settings.optimizer(rate),
                sample_weight=weight,
                options={"l2": l2, "dropout": self.dropout},
            )
        except FloatingPointError as error:
            raise _diverged(error) from error
        course.note(loss, None, network)
        before.update(course.attributes(), network_=network, loss_=loss)

    def _examples(self, X: Any, y: Any, is_first: bool, which: Which) -> tuple[Any, Any, Array]:
        """X and y as scikit-learn validates them, and the network's targets."""
        plain = which == "some" and self._is_plain(X) and type(y) is np.ndarray
        if not (plain and y.shape == X.shape[:1]):
            X, y = validate_data(
                self,
                X,
                y,
                accept_sparse="csr",
                multi_output=True,
                dtype=self._number_types(),
                reset=is_first,
                **self._demands_on_targets(),
            )
        return X, y, self._targets(y, which).astype(X.dtype)

    def _demands_on_targets(self) -> dict[str, object]:
        return {}

    def _is_plain(self, X: Any) -> bool:
        """Whether the fitted network takes X as it is, and there are no columns to compare.

        Then scikit-learn, which takes many times as long as the network, need not look at it.
        """
        attributes = vars(self)
        return (
            type(X) is np.ndarray
            and X.ndim == 2
            and len(X) > 0
            and "feature_names_in_" not in attributes
            and "network_" in attributes
            and X.dtype.char in "fd"
            and X.shape[1] == self.n_features_in_
        )

    def _number_types(self) -> object:
        return (
            (np.float64, np.float32) if self.dtype is None else validation.number_type(self.dtype)
        )

    def _new_network(self, Y: Array, generator: np.random.RandomState) -> Network:
        hidden = hidden_sizes(self.hidden_layer_sizes)
        sizes = [self.n_features_in_, *hidden, Y.shape[1]]
        cost, output = self._cost_and_output(Y.shape[1])
        functions = activations(self.activation, len(hidden), output)
        # The last layer's, too, go by the hidden activation.
        last_kind = functions[-2] if hidden else activation(self.activation)
        first = first_parameters(sizes, [*functions[:-1], last_kind], generator)
        network = Network(
            sizes,
            functions,
            cost,  # type: ignore[arg-type]  # a word that is none is refused there
            dtype=Y.dtype,
            init="zeros",
            seed=seed_of(self.random_state, generator),
            threads=self.threads,
        )
        name_network(self, network)
        for W, b, (weights, biases) in zip(network.weights, network.biases, first, strict=True):
            W[...], b[...] = weights.T, biases
        return network

    def _weight(self, own_weight: Array | None, y: Any) -> Array | None:
        """What each example counts, (n,): by itself and by its class."""
        by_class = self._weight_of_classes(y)
        weight = by_class if own_weight is None else own_weight
        if own_weight is not None and by_class is not None:
            weight = own_weight * by_class
        return _some(weight)

    def _judged(self, pair: object) -> Judged | None:
        if pair is None:
            return None
        if not validation.is_list(pair) or len(pair) != 2:
            raise validation.wrong_type("validation_data", pair, "a pair (X, y)")
        X, _, Y = self._examples(pair[0], pair[1], False, "some")
        return Judged(X, Y, None)

    def _hold_out(
        self, y: Any, Y: Array, share: float, generator: np.random.RandomState
    ) -> tuple[Array, Array]:
        """The rows to train on, and those that are scored."""
        if share == 0:
            raise ValueError(
                "validation_fraction is 0 with early_stopping; expected a number above 0"
            )
        rows = np.arange(len(Y))
        strata = self._strata(y, Y, share)
        train, held = train_test_split(
            rows, test_size=share, random_state=generator, stratify=strata
        )
        if len(held) < 2:
            # The first two sentences are what scikit-learn's callers look for.
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                f"your dataset. ({share:g} of {len(Y)} examples; expected 2 or more)"
            )
        return train, held

    # ---- the network -----------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        """a⁽ᴸ⁾ (n, n_outputs) of the fitted network."""
        network: Network | None = vars(self).get("network_")
        if network is None:
            check_is_fitted(self)
            raise AttributeError("network_ is missing; fit makes it")
        if self._is_plain(X):
            try:
                return network.predict(X)
            except ValueError:  # of what scikit-learn refuses, too, below and in its words
                pass
        checked = validate_data(
            self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False
        )
        return network.predict(checked)

    @property
    def coefs_(self) -> list[Array]:
        """Each layer's weights, (n_in, n_out): live views of the network's.

        Raises
        ------
        AttributeError
            Before `fit`.
        """
        return [W.T for W in self.network_.weights]

    @coefs_.setter
    def coefs_(self, arrays: Sequence[Array]) -> None:
        _write("coefs_", self.coefs_, arrays)

    @property
    def intercepts_(self) -> list[Array]:
        """Each layer's biases, (n_out,): live views of the network's.

        Raises
        ------
        AttributeError
            Before `fit`.
        """
        return [*self.network_.biases]

    @intercepts_.setter
    def intercepts_(self, arrays: Sequence[Array]) -> None:
        _write("intercepts_", self.intercepts_, arrays)

    @property
    def n_layers_(self) -> int:
        """Layers, that of the inputs included.

        Raises
        ------
        AttributeError
            Before `fit`.
        """
        return len(self.network_.sizes)

    @property
    def n_outputs_(self) -> int:
        """Outputs of the network.

        Raises
        ------
        AttributeError
            Before `fit`.
        """
        return self.network_.sizes[-1]

    @property
    def out_activation_(self) -> str:
        """The last layer's activation, in scikit-learn's words where it has one.

        Raises
        ------
        AttributeError
            Before `fit`.
        """
        return word_for(self.network_.activations[-1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def name_network(estimator: MultilayerPerceptron, network: Network) -> None:
    """Give the network the names of the estimator's columns and classes."""
    names: Any = getattr(estimator, "feature_names_in_", None)
    network.feature_names = None if names is None else _if_different(names.tolist())
    network.class_names = _if_different(estimator._class_names())


def goes_by_batches(estimator: MultilayerPerceptron) -> bool:
    """Whether there is a `partial_fit`: not where each step needs all examples."""
    solver = getattr(estimator, "solver")  # noqa: B009 - of its kinds
    if solver in WHOLE_BATCH:
        raise AttributeError(f"there is no partial_fit with solver={solver!r}, of whole batches")
    return True


@contextmanager
def unchanged_if_it_fails(estimator: object) -> Generator[None]:
    """What a call that raises has set is taken back."""
    attributes = vars(estimator)
    before = attributes.copy()
    try:
        yield
    except BaseException:
        attributes.clear()
        attributes.update(before)
        raise


def _with_lists_of_its_own(attributes: dict[str, Any]) -> dict[str, Any]:
    """So that a fit that fails has made none of the estimator's longer."""
    return {
        name: [*value] if isinstance(value, list) else value for name, value in attributes.items()
    }


def _diverged(error: FloatingPointError) -> ValueError:
    # The first two sentences are what scikit-learn's callers look for.
    return ValueError(
        "Solver produced non-finite parameter weights. The input data may contain large values "
        f"and need to be preprocessed. ({error})"
    )


def _given_weight(sample_weight: object, n: int) -> Array | None:
    if sample_weight is None:
        return None
    weight = _some(validation.numbers("sample_weight", sample_weight, "float64"))
    validation.sample_weight("sample_weight", weight, n, "float64")  # (n,), finite, >= 0
    return weight


def _some(weight: Array | None) -> Array | None:
    if weight is not None and not weight.any():
        raise ValueError("sample_weight is zero for every example; expected some weight > 0")
    return weight


def _chosen(weight: Array | None, rows: Array) -> Array | None:
    return None if weight is None else weight[rows]


def _total(weight: Array | None, n: int) -> float:
    return float(n) if weight is None else float(weight.sum())


def _if_different(names: list[str] | None) -> list[str] | None:
    """Names that a network can have; None where some are alike."""
    return names if names is not None and len(set(names)) == len(names) else None


def _write(name: str, views: list[Array], arrays: Sequence[Array]) -> None:
    """Replace parameters, all or none."""
    if [np.shape(array) for array in arrays] != [view.shape for view in views]:
        shapes = [np.shape(array) for array in arrays]
        raise ValueError(
            f"{name} has the shapes {shapes}; expected {[view.shape for view in views]}"
        )
    for view, array in zip(views, arrays, strict=True):
        view[...] = array
