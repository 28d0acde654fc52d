"""What is used of scikit-learn, with the types that it does not say."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import numpy as np

    from cbackprop.functions import Array

    # Any: what scikit-learn takes or hands on, arrays, tables and labels of every kind.

    class BaseEstimator:
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: object) -> Self: ...
        def __sklearn_tags__(self) -> Any: ...

    class ClassifierMixin(BaseEstimator): ...

    class RegressorMixin(BaseEstimator): ...

    class ConvergenceWarning(UserWarning): ...

    def accuracy_score(y_true: Array, y_pred: Array, *, sample_weight: Any) -> float: ...
    def available_if(check: Callable[[Any], bool]) -> Callable[[Any], Any]: ...
    def check_classification_targets(y: Any) -> None: ...
    def check_is_fitted(estimator: object) -> None: ...
    def check_random_state(seed: object) -> np.random.RandomState: ...
    def column_or_1d(y: Any, *, warn: bool) -> Array: ...
    def compute_sample_weight(class_weight: Any, y: Any) -> Array: ...
    def r2_score(y_true: Array, y_pred: Array, *, sample_weight: Any) -> float: ...
    def train_test_split(*arrays: Any, **options: Any) -> list[Any]: ...
    def type_of_target(y: Any) -> str: ...
    def validate_data(estimator: object, /, X: Any, *y: Any, **options: Any) -> Any: ...
else:
    try:
        from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.metrics import accuracy_score, r2_score
        from sklearn.model_selection import train_test_split
        from sklearn.utils import check_random_state, column_or_1d
        from sklearn.utils.class_weight import compute_sample_weight
        from sklearn.utils.metaestimators import available_if
        from sklearn.utils.multiclass import (
            check_classification_targets,
            type_of_target,
        )
        from sklearn.utils.validation import check_is_fitted, validate_data
    except ImportError as error:
        raise ImportError(
            f"cbackprop.sklearn needs scikit-learn 1.6 or newer ({error}): "
            "pip install 'scikit-learn>=1.6', or cbackprop with its extra: 'cbackprop[sklearn]'"
        ) from error


def dense(array: Any) -> Array:
    """With its zeros."""
    result: Array = array.toarray() if hasattr(array, "toarray") else array
    return result


def sparse_matrix(array: Array) -> Any:
    """scipy's, which scikit-learn brings along."""
    return import_module("scipy.sparse").csr_matrix(array)


__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "ConvergenceWarning",
    "RegressorMixin",
    "accuracy_score",
    "available_if",
    "check_classification_targets",
    "check_is_fitted",
    "check_random_state",
    "column_or_1d",
    "compute_sample_weight",
    "dense",
    "r2_score",
    "sparse_matrix",
    "train_test_split",
    "type_of_target",
    "validate_data",
]
