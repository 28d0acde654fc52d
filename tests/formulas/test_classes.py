"""What targets say of classes, and where they say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbackprop import Activation
from cbackprop.classes import are_classes, classes_of

ONE, TWO, ANY = "one of many", "one of two", "any of many"
OWN = Activation(np.sin, np.cos)
HARD, LABELS = np.eye(3)[[2, 0, 1, 1]], np.array([[1.0, 1, 0], [0, 0, 0], [0, 1, 0]])
SOFT = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])


def column(*numbers: float) -> Any:
    return np.array(numbers, float)[:, np.newaxis]


CASES = [
    ("softmax", HARD, (ONE, 0.5), True),
    ("softmax", SOFT, (ONE, 0.5), True),
    ("softmax", 7 * SOFT, (ONE, 0.5), True),
    ("sigmoid", HARD, (ONE, 0.5), True),
    ("identity", HARD, (ONE, 0.5), True),
    ("tanh", 2 * HARD - 1, (ONE, 0.0), True),
    ("identity", 2 * HARD - 1, (ONE, 0.0), True),
    ("sigmoid", LABELS, (ANY, 0.5), True),
    ("tanh", 2 * LABELS - 1, (ANY, 0.0), True),
    ("sigmoid", SOFT, None, False),
    ("identity", 7 * SOFT, None, False),
    ("sigmoid", 2 * HARD, None, False),  # 0 and 2
    ("sigmoid", column(0, 1, 1), (TWO, 0.5), True),
    ("identity", column(0, 1, 1), (TWO, 0.5), True),
    (OWN, column(0, 1, 1), (TWO, 0.5), True),
    ("tanh", column(-1, 1, 1), (TWO, 0.0), True),
    ("identity", column(-1, 1, 1), (TWO, 0.0), True),
    ("sigmoid", column(1, 2, 2), None, False),
    ("identity", column(-1, 0, 1), None, False),
    ("identity", column(900, 900.5), None, False),
    # Of one kind alone: outputs tell, or it is a number like any other.
    ("tanh", column(1, 1), (TWO, 0.0), True),
    ("sigmoid", column(1, 1), (TWO, 0.5), True),
    ("identity", column(1, 1), (TWO, 0.5), False),
    ("elu", column(1, 1), (TWO, 0.5), False),  # from −1 on, without an upper bound
    ("identity", column(0, 0), (TWO, 0.5), False),
    ("relu", np.zeros((4, 2)), (ANY, 0.5), False),
    (OWN, column(-1, -1), (TWO, 0.0), False),
    # Missing ones.
    ("sigmoid", column(0, np.nan, 1), (TWO, 0.5), True),
    ("sigmoid", np.array([[0, np.nan, 0], [1, 0, np.nan]]), (ONE, 0.5), True),
    ("sigmoid", np.array([[1, np.nan, 1], [1, 0, np.nan]]), (ANY, 0.5), True),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_targets_stand_for(case: Any, dtype: str) -> None:
    output, Y, expected, by_itself = case
    assert classes_of(output, Y.astype(dtype)) == expected
    assert are_classes(output, "quadratic", Y.astype(dtype)) == by_itself
    assert not are_classes(output, "poisson", Y.astype(dtype))


def test_all_targets_of_a_task_are_looked_at() -> None:
    """Validation data of rows with a single label do not make classes of many labels."""
    assert classes_of("sigmoid", HARD) == (ONE, 0.5)
    assert classes_of("sigmoid", LABELS, HARD) == classes_of("sigmoid", HARD, LABELS) == (ANY, 0.5)
    assert classes_of("identity", column(1, 1), column(-1)) == (TWO, 0.0)
    assert classes_of("sigmoid", HARD, SOFT) is None


def textbook(predictions: Any, Y: Any, kind: str, threshold: float) -> list[bool]:
    """Example by example, output by output."""
    right = []
    for a, y in zip(predictions.tolist(), Y.tolist(), strict=True):
        if any(number != number for number in y):
            continue
        if kind == ONE:
            right.append(a.index(max(a)) == y.index(max(y)))
        else:
            right.append([one > threshold for one in a] == [one > threshold for one in y])
    return right


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_what_is_right_of_drawn_targets(data: st.DataObject) -> None:
    n, n_L = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    least = data.draw(st.sampled_from([0.0, -1.0]))
    numbers = st.sampled_from([least, 1.0, 1.0, float("nan")])
    Y = np.array(data.draw(st.lists(numbers, min_size=n * n_L, max_size=n * n_L))).reshape(n, n_L)
    halves = st.floats(-2, 2)
    a = np.array(data.draw(st.lists(halves, min_size=n * n_L, max_size=n * n_L))).reshape(n, n_L)
    output = data.draw(st.sampled_from(["sigmoid", "tanh", "identity"]))
    found = classes_of(output, Y)
    assert found is not None
    known = Y[~np.isnan(Y)]
    if (known == least).any():
        assert found.threshold == (0.5 if least == 0 else 0.0)
    whole = Y[~np.isnan(Y).any(axis=1)]
    if n_L > 1 and ((whole == 1).sum(axis=1) != 1).any():
        assert found.kind == ANY
    assert found.right(a, Y).tolist() == textbook(a, Y, found.kind, found.threshold)
