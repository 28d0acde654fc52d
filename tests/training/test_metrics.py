"""Accuracy and the score that a network has by itself: what the targets imply, and no guess."""

from __future__ import annotations

import numpy as np
import pytest
from support import both_dtypes, every_backend

from cbackprop import Activation, Network


def that_says(outputs, activation="identity", cost="quadratic", **options):
    """A network whose outputs are its inputs: what it predicts is what it is given."""
    n_L = np.shape(outputs)[1]
    net = Network([n_L, n_L], activation, cost, init="zeros", **options)
    net.weights[0][...] = np.eye(n_L)
    return net, np.array(outputs, float)


PASS = Activation(lambda z: z, np.ones_like, name="pass")
CASES = [
    # outputs, targets, accuracy, score by itself (None: the accuracy)
    ([[0.9, 0.8, 0.1], [0.2, 0.1, 0.3]], [[1, 1, 0], [0, 0, 0]], 1.0, None),
    ([[0.9, 0.4, 0.1], [0.2, 0.1, 0.3]], [[1, 1, 0], [0, 0, 0]], 0.5, None),
    ([[0.4, 0.3, 0.1], [0.2, 0.1, 0.3]], [[1, 0, 0], [0, 0, 1]], 1.0, None),  # the largest
    ([[0.6], [0.4]], [[1], [0]], 1.0, None),
    ([[0.6], [0.6]], [[1], [0]], 0.5, None),
    ([[0.4], [-0.4]], [[1], [-1]], 1.0, None),
    ([[-0.4], [-0.4]], [[1], [-1]], 0.5, None),
    ([[0.1, -0.2], [-0.3, -0.1]], [[1, -1], [-1, 1]], 1.0, None),
    ([[0.1, 0.2], [-0.3, -0.1]], [[1, 1], [-1, -1]], 1.0, None),
    # No classes: r2 by itself, and no accuracy.
    ([[2.0], [2.0]], [[1], [2]], "refused", -1.0),
    ([[900.0], [900.0]], [[880], [920]], "refused", 0.0),
    ([[0.3], [0.7]], [[0.3], [0.7]], "refused", 1.0),
    # Of outputs without bounds targets all alike are numbers, unless accuracy is asked for.
    ([[900.0], [900.0]], [[1], [1]], 1.0, 0.0),
]


@every_backend
@both_dtypes
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_score_is_what_the_targets_imply(case, dtype, backend):
    outputs, targets, accuracy, by_itself = case
    net, X = that_says(outputs, dtype=dtype, backend=backend)
    own, _ = that_says(outputs, PASS, dtype=dtype, backend=backend)
    Y = np.array(targets, float)
    for network in (net, own):
        if isinstance(accuracy, str):
            with pytest.raises(ValueError, match=r"^metric 'accuracy' needs targets"):
                network.score(X, Y, "accuracy")
        else:
            assert network.score(X, Y, "accuracy") == accuracy
        expected = accuracy if by_itself is None else by_itself
        assert network.score(X, Y) == pytest.approx(expected, abs=1e-5)


@every_backend
def test_softmax_has_classes_whatever_its_targets_are(backend):
    net, X = that_says([[3.0, 1, 0], [0, 1, 2]], "softmax", "cross_entropy", backend=backend)
    assert net.score(X, [[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]]) == 0.5
    net, X = that_says([[3.0, 1, 0], [0, 1, 2]], "softmax", "poisson", backend=backend)
    assert net.score(X, net.predict(X)) == 1.0  # counts: r2
    with pytest.raises(
        ValueError, match=r"^metric is 'acuracy'; expected one of 'accuracy', 'mse'"
    ):
        net.score(X, X, "acuracy")


@every_backend
def test_a_fit_judges_validation_data_by_the_task_that_it_was_trained_for(backend):
    """Rows of many labels that happen to have one each are no classes there."""
    Y = np.array([[1.0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]])
    said = [[0.9, 0.8, 0.1], [0.1, 0.2, 0.7], [0.8, 0.6, 0.1], [0, 0, 0]]
    net, X = that_says(said, backend=backend)
    history = net.fit(
        X, Y, epochs=1, learning_rate=0.0, validation_data=(X[1:3], Y[1:3]), metrics="accuracy"
    )
    assert history.metrics["accuracy"] == [0.5]
    # −1 and 1 of which the validation data have one only.
    net, X = that_says([[0.2], [-0.2], [0.3]], backend=backend)
    Y = np.array([[1.0], [-1], [1]])
    history = net.fit(
        X, Y, epochs=1, learning_rate=0.0, validation_data=(X[2:], Y[2:]), metrics="accuracy"
    )
    assert history.metrics["accuracy"] == [1.0]


@every_backend
def test_classes_are_weighted_as_accuracy_sees_them(backend):
    X = np.linspace(-1, 1, 10)[:, np.newaxis]
    signs = np.where(np.arange(10) < 8, -1.0, 1.0)[:, np.newaxis]
    weight = np.where(signs[:, 0] < 0, 10 / 16, 10 / 4)
    nets = [Network([1, 1], "tanh", seed=0, backend=backend) for _ in range(2)]
    nets[0].fit(X, signs, epochs=2, class_weight="balanced")
    nets[1].fit(X, signs, epochs=2, sample_weight=weight)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    with pytest.raises(ValueError, match=r"^class_weight needs targets that name classes, and Y h"):
        Network([1, 1], "identity", seed=0).fit(X, signs + 2, class_weight="balanced")
