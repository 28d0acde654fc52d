"""scikit-learn's multi-layer perceptrons on cbackprop's networks.

Needs scikit-learn 1.6 or newer, which `import cbackprop` does not look for.
"""

from cbackprop.sklearn.conversion import from_sklearn, to_sklearn
from cbackprop.sklearn.estimators import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn", "to_sklearn"]
