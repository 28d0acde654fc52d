"""What a fit records and when it stops by itself: early stopping, metrics, the history."""

from __future__ import annotations

import numpy as np
import pytest
from fits import EVERYTHING, data, network, scripted
from support import both_dtypes, every_backend, state

from cbackprop import EarlyStopping
from cbackprop.training import metrics


def stopped(backend, values, early_stopping, epochs=None, **options):
    """A fit whose metric is given; the parameters after each epoch, and at the end."""
    X, Y = data()
    net, after = network(backend), []
    history = net.fit(
        X, Y, epochs=len(values) if epochs is None else epochs, optimizer="adam",
        metrics=scripted(values), early_stopping=early_stopping,
        callbacks=[
            lambda net, history: after.append(net.parameters.tobytes()),
            *options.pop("callbacks", ()),
        ],
        **options,
    )  # fmt: skip
    return net, history, after


SCRIPTS = [
    # values, patience, min_delta, larger is better, epochs until it stops (None: it does not), best
    ([5, 4, 3, 2, 1], 1, 0, False, None, 4),
    ([5, 4, 4, 4, 4], 2, 0, False, 4, 1),
    ([5, 4, 4, 4, 4, 3.9], 3, 0, False, 5, 1),  # the new best comes too late
    ([5, 4, 4.5, 3.5, 9, 9, 9, 9], 2, 0, False, 6, 3),
    ([5, 6, 7, 8], 1, 0, False, 2, 0),
    ([5, 4.5, 4.1, 3.8, 3.7], 3, 1.0, False, None, 3),  # 4.5 and 4.1 are no more than 1 better
    ([5, 4.5, 4.4, 4.3, 4.2], 2, 1.0, False, 3, 0),
    ([0.1, 0.2, 0.2, 0.3, 0.1, 0.1], 2, 0, True, 6, 3),
    ([0.9, 0.8, 0.7], 2, 0, True, 3, 0),
    ([0.5, 0.55, 0.7, 0.72, 0.71], 2, 0.1, True, 5, 2),
]  # fmt: skip


@every_backend
@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_early_stopping_counts_and_goes_back_to_the_best_epoch(script, backend):
    values, patience, min_delta, larger, epochs, best = script
    stopping = EarlyStopping(patience, min_delta, "metric", larger_is_better=larger)
    net, history, after = stopped(backend, values, stopping)
    assert history.epochs == len(after) == (len(values) if epochs is None else epochs)
    assert history.stop_reason == ("epochs" if epochs is None else "early stopping")
    assert history.best_epoch == best
    assert net.parameters.tobytes() == after[best]
    kept = EarlyStopping(patience, min_delta, "metric", False, larger)
    net, history, after_again = stopped(backend, values, kept)
    assert after_again == after
    assert history.best_epoch == best
    assert net.parameters.tobytes() == after[-1]


@every_backend
def test_the_best_epoch_comes_back_however_the_fit_ends(backend):
    stopping = EarlyStopping(50, monitor="metric", larger_is_better=False)
    net, history, after = stopped(backend, [3, 1, 2, 2], stopping)
    assert (history.stop_reason, history.best_epoch) == ("epochs", 1)
    assert net.parameters.tobytes() == after[1]
    net, history, after = stopped(
        backend, [3, 1, 2, 2], stopping, callbacks=[lambda net, history: history.epochs == 3]
    )
    assert (history.stop_reason, history.epochs, history.best_epoch) == ("callback", 3, 1)
    assert net.parameters.tobytes() == after[1]
    # A callback that stops in the very epoch in which the patience ends.
    stopping = EarlyStopping(1, monitor="metric", larger_is_better=False)
    _, history, _ = stopped(
        backend, [3, 4, 2], stopping, callbacks=[lambda net, history: history.epochs == 2]
    )
    assert (history.stop_reason, history.epochs) == ("callback", 2)


@every_backend
def test_what_early_stopping_looks_at(backend):
    """The validation cost by default; larger accuracies and r2 are better, smaller errors."""
    X, Y = data(60)
    Y = np.eye(3)[Y.argmax(axis=1)]
    parts = {"validation_data": (X[40:], Y[40:])}
    for monitor in ("validation_cost", "cost", "mse", "mae", "r2", "accuracy"):
        net, after = network(backend), []
        history = net.fit(
            X[:40], Y[:40], epochs=40, learning_rate=1.0, batch_size=8, **parts,
            metrics=("mse", "mae", "r2", "accuracy"),
            early_stopping=EarlyStopping(3, monitor=monitor),
            callbacks=lambda net, history, after=after: after.append(net.parameters.tobytes()),
        )  # fmt: skip
        values = history.metrics.get(monitor) or getattr(history, monitor)
        pick = np.argmax if monitor in ("r2", "accuracy") else np.argmin
        assert history.best_epoch == pick(values)
        assert net.parameters.tobytes() == after[history.best_epoch]
        if history.stop_reason == "early stopping":
            assert history.epochs == history.best_epoch + 4
    nets = [network(backend) for _ in range(2)]
    for net, early_stopping in zip(nets, (3, EarlyStopping(3)), strict=True):
        net.fit(
            X[:40], Y[:40], epochs=60, learning_rate=3.0, **parts, early_stopping=early_stopping
        )
    assert state(nets[0]) == state(nets[1])
    # Held-out examples make a validation cost, too.
    history = nets[0].fit(X, Y, epochs=3, validation_fraction=0.2, early_stopping=1)
    assert len(history.validation_cost) == history.epochs


def test_early_stopping_shows_itself():
    shown = repr(EarlyStopping(4, monitor="mae"))
    assert shown == (
        "EarlyStopping(patience=4, min_delta=0.0, monitor='mae', restore_best=True, "
        "larger_is_better=None)"
    )
    assert repr(eval(shown)) == shown


# ---- metrics and the history ---------------------------------------------------------------------


@both_dtypes
def test_metrics_are_their_definitions(dtype):
    rng = np.random.default_rng(3)
    Y = rng.normal(size=(31, 3)).astype(dtype)
    P = (Y + rng.normal(size=(31, 3)) * 0.3).astype(dtype)
    wide_Y, wide_P = Y.astype(np.longdouble), P.astype(np.longdouble)
    error = wide_P - wide_Y
    rtol = 1e-13 if dtype == "float64" else 1e-6
    assert metrics.mean_squared_error(P, Y) == pytest.approx(float((error**2).mean()), rel=rtol)
    assert metrics.mean_absolute_error(P, Y) == pytest.approx(float(np.abs(error).mean()), rel=rtol)
    spread = ((wide_Y - wide_Y.mean(axis=0)) ** 2).sum(axis=0)
    expected = (1 - (error**2).sum(axis=0) / spread).mean()
    assert metrics.r2(P, Y) == pytest.approx(float(expected), rel=rtol)


@both_dtypes
@pytest.mark.parametrize("value", [0.1, 0.3, 1e-30, 7.0])
def test_r2_of_targets_that_are_all_alike(value, dtype):
    """The mean of ten times 0.1 is not 0.1: the spread must not be taken for one."""
    Y = np.full((10, 1), value, dtype)
    assert metrics.r2(Y, Y) == 1.0
    assert metrics.r2(Y * 2, Y) == 0.0
    both = np.concatenate([Y, np.arange(10.0)[:, np.newaxis]], axis=1).astype(dtype)
    assert metrics.r2(both, both) == 1.0
    assert metrics.r2(both + np.array([value, 0], dtype), both) == 0.5


def test_metrics_are_those_of_scikit_learn():
    theirs = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(5)
    for outputs in (1, 4):
        Y = rng.uniform(size=(50, outputs))
        P = Y + rng.normal(size=Y.shape) * 0.2
        pairs = {
            "mse": theirs.mean_squared_error(Y, P),
            "mae": theirs.mean_absolute_error(Y, P),
            "r2": theirs.r2_score(Y, P),
        }
        for name, expected in pairs.items():
            assert metrics.OF_NUMBERS[name](P, Y) == pytest.approx(expected, rel=1e-12)


@every_backend
def test_the_history_of_a_fit_that_has_everything(backend):
    X, Y = data()
    net = network(backend)

    def biggest(predictions, targets):
        return float(np.abs(predictions - targets).max())

    seen = []
    history = net.fit(
        X, Y, epochs=4, batch_size=5, validation_fraction=0.25, **EVERYTHING,
        metrics=("mse", "mse", biggest), early_stopping=3, schedule=lambda epoch, rate: rate / 2,
        learning_rate=0.2, callbacks=lambda net, h: seen.append((h.epochs, len(h.cost))),
    )  # fmt: skip
    assert seen == [(1, 1), (2, 2), (3, 3), (4, 4)][: history.epochs]
    assert list(history.metrics) == ["mse", "mse 2", "biggest"]
    for values in (
        history.cost, history.validation_cost, history.learning_rate, history.penalty,
        *history.metrics.values(),
    ):  # fmt: skip
        assert len(values) == history.epochs
        assert all(type(value) is float for value in values)
    assert history.learning_rate == [0.1] * history.epochs
    assert history.best_epoch == int(np.argmin(history.validation_cost))
    assert history.seconds > 0
    shown = repr(history)
    assert f"{history.epochs} epochs" in shown
    assert "validation cost" in shown
    assert repr(net.fit(X, Y, epochs=0)) == "<History of 0 epochs>"
    plain = net.fit(X, Y, epochs=2)
    assert (plain.validation_cost, plain.penalty, plain.metrics) == ([], [], {})
    assert plain.best_epoch is None
