"""scikit-learn's own judges: its checks of estimators, and its tests of the originals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from cbackprop.sklearn import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # What checks skip they tell by a warning.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


CHECKS = parametrize_with_checks([MLPClassifier(), MLPRegressor()])
# Its versions before 1.8 give a generator, which pytest no longer likes.
NAMES, VALUES = CHECKS.args


@pytest.mark.parametrize(NAMES, [*VALUES], **CHECKS.kwargs)
def test_check_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


# ---- its tests of the originals, run on ours -----------------------------------------------------

VERSION = "1.9"
IMPORT = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"

# What needs the originals' private parts: each is shown to fail for want of them.
PRIVATE = {
    "test_fit": "network_",  # writes the state of a fit by hand, _coef_grads and the like
    "test_gradient": "_loss_grad_lbfgs",
    "test_learning_rate_warmstart": "_optimizer",
    "test_adaptive_learning_rate": "_optimizer",
}

SOURCE = Path(sklearn.__file__).parent / "neural_network" / "tests" / "test_mlp.py"
HAS_TESTS = sklearn.__version__.startswith(f"{VERSION}.") and SOURCE.is_file()
their_tests = pytest.mark.skipif(
    not HAS_TESTS, reason=f"these are the tests of scikit-learn {VERSION}"
)

if HAS_TESTS:
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(IMPORT) == 1
    theirs: dict[str, Any] = {"__name__": __name__}
    ours = text.replace(IMPORT, "from cbackprop.sklearn import MLPClassifier, MLPRegressor\n")
    exec(compile(ours, str(SOURCE), "exec"), theirs)
    tests = {name: value for name, value in theirs.items() if name.startswith("test_")}
    globals().update((name, test) for name, test in tests.items() if name not in PRIVATE)


@pytest.fixture
def global_random_seed() -> int:
    return 42


@their_tests
@pytest.mark.parametrize("name", PRIVATE)
def test_left_out_for_private_parts_alone(name: str) -> None:
    with pytest.raises(AttributeError, match=re.escape(f"no attribute '{PRIVATE[name]}'")):
        theirs[name]()
