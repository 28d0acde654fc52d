"""Targets that are missing: NaN in Y under missing_targets, against costs without their terms."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import BACKENDS, PAIRS, Array, both_dtypes, every_backend, state

from cbackprop import LBFGS, SGD, Adam, Cost, LevenbergMarquardt, Network
from cbackprop.training import loop

N = 11


def examples(n_L: int, cost: str, dtype: str = "float64", seed: int = 0) -> tuple[Array, Array]:
    """About a third of the targets are missing, all of row 2 and none of row 3."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 4))
    Y = rng.dirichlet(np.ones(n_L + 1), size=N)[:, :n_L]
    Y[rng.uniform(size=Y.shape) < 0.35] = np.nan
    Y[2] = np.nan
    Y[3] = 0.2
    return X.astype(dtype), Y.astype(dtype)


def term(cost: str, activation: str, a: Array, y: Array, n_L: int) -> Array:
    """What each output adds to the cost, by the textbook."""
    r = a - y
    with np.errstate(divide="ignore", invalid="ignore"):
        if cost == "cross_entropy":
            rest = 0 if activation == "softmax" else (1 - y) * np.log(1 - a)
            return -(y * np.log(a) + rest)
        return {
            "quadratic": r**2,
            "half_quadratic": r**2 / 2,
            "mse": r**2 / n_L,
            "mae": np.abs(r) / n_L,
            "huber": np.where(np.abs(r) <= 1, r**2 / 2, np.abs(r) - 0.5) / n_L,
            "poisson": (a - y * np.log(a)) / n_L if cost == "poisson" else r,
        }[cost]


def masked_cost(net: Network, X: Array, Y: Array) -> float:
    a = net.predict(X)
    parts = term(str(net.cost_function), str(net.activations[-1]), a, Y, Y.shape[1])
    return float(np.where(np.isnan(Y), 0, parts).sum(axis=1).mean())


def masked_gradient(net: Network, X: Array, Y: Array) -> Array:
    """By central differences of the cost without the missing terms."""
    w, twin = net.parameters, net.copy()
    result = np.empty_like(w)
    for k in range(len(w)):
        h = 1e-5 * max(1.0, abs(w[k]))
        costs = []
        for sign in (1, -1):
            there = w.copy()
            there[k] += sign * h
            twin.parameters = there
            costs.append(masked_cost(twin, X, Y))
        result[k] = (costs[0] - costs[1]) / (2 * h)
    return result


def step(net: Network, X: Array, Y: Array, **options: Any) -> Array:
    twin = net.copy()
    twin.partial_fit(X, Y, len(X), SGD(1.0), options={"missing_targets": True, **options})
    return net.parameters.astype(float) - twin.parameters


@every_backend
@pytest.mark.parametrize(("output", "cost"), PAIRS)
@pytest.mark.parametrize("n_L", [3, 19])
def test_cost_and_gradient_are_those_without_the_missing_terms(
    n_L: int, output: str, cost: str, backend: str
) -> None:
    X, Y = examples(n_L, cost)
    net = Network([4, 5, n_L], ["tanh", output], cost, seed=2, backend=backend)
    expected = masked_gradient(net, X, Y)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(step(net, X, Y), expected, rtol=0, atol=2e-8 * max(scale, 1))
    history = net.copy().fit(
        X, Y, epochs=1, batch_size=N, learning_rate=0.0, missing_targets=True,
        validation_data=(X, Y),
    )  # fmt: skip
    assert history.cost[0] == pytest.approx(masked_cost(net, X, Y), rel=1e-12)
    assert history.validation_cost[0] == pytest.approx(masked_cost(net, X, Y), rel=1e-12)


@every_backend
@both_dtypes
@pytest.mark.parametrize(("output", "cost"), PAIRS)
def test_nothing_missing_is_the_ordinary_training_to_the_bit(
    output: str, cost: str, dtype: str, backend: str
) -> None:
    X, Y = examples(3, cost, dtype)
    Y = np.nan_to_num(Y, nan=0.3)
    nets = [
        Network([4, 5, 3], ["tanh", output], cost, dtype=dtype, seed=2, backend=backend)
        for _ in range(2)
    ]
    nets[0].fit(X, Y, epochs=3, batch_size=4, optimizer="adam")
    nets[1].fit(X, Y, epochs=3, batch_size=4, optimizer="adam", missing_targets=True)
    assert state(nets[0]) == state(nets[1])


@every_backend
def test_a_row_without_targets_counts_in_the_mean_and_moves_nothing(backend: str) -> None:
    X, Y = examples(3, "quadratic")
    net = Network([4, 5, 3], seed=2, backend=backend)
    nothing = np.full((4, 3), np.nan)
    assert not step(net, X[:4], nothing).any()
    whole = np.nan_to_num(Y, nan=0.1)
    doubled = np.concatenate([whole, np.full_like(whole, np.nan)])
    found = step(net, np.concatenate([X, X]), doubled)
    np.testing.assert_allclose(found, step(net, X, whole) / 2, rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    st.data(),
    st.sampled_from(PAIRS),
    st.lists(st.integers(1, 20), min_size=2, max_size=4),
    st.sampled_from(["float32", "float64"]),
)
def test_any_missing_targets_train_as_the_reference(
    draw: Any, pair: tuple[str, str], sizes: list[int], dtype: str
) -> None:
    output, cost = pair
    if output == "softmax" and sizes[-1] == 1:
        sizes = [*sizes[:-1], 2]
    rng = np.random.default_rng(draw.draw(st.integers(0, 2**32)))
    n = draw.draw(st.integers(1, 40))
    X = rng.normal(size=(n, sizes[0])).astype(dtype)
    Y = rng.dirichlet(np.ones(sizes[-1] + 1), size=n)[:, :-1].astype(dtype)
    Y[rng.uniform(size=Y.shape) < draw.draw(st.floats(0, 0.9))] = np.nan
    options = {
        "clip_norm": draw.draw(st.sampled_from([None, 0.3])),
        "clip_gradient_norm": draw.draw(st.sampled_from([None, 0.05])),
        "dropout": draw.draw(st.sampled_from([0.0, 0.3])),
    }
    # An exponential output of large inputs runs away, or magnifies the last bit.
    rate, scale = (0.01, 0.1) if output == "exponential" else (0.05, 1)
    X = (X * np.array(scale)).astype(dtype)
    ends = []
    for backend in BACKENDS:
        layers = ["tanh"] * (len(sizes) - 2) + [output]
        net = Network(sizes, layers, cost, dtype=dtype, seed=1, backend=backend)
        for _ in range(2):
            net.partial_fit(X, Y, 7, SGD(rate), options={"missing_targets": True, **options})
        assert np.isfinite(net.parameters).all()
        ends.append(net.parameters)
    np.testing.assert_allclose(
        ends[0], ends[-1], rtol=0, atol=1e-12 if dtype == "float64" else 3e-5
    )


@every_backend
@pytest.mark.parametrize("optimizer", [LBFGS(), LevenbergMarquardt(), Adam(0.05)], ids=repr)
def test_every_optimizer_learns_from_what_is_there(optimizer: Any, backend: str) -> None:
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (200, 2))
    Y = np.column_stack([X[:, 0] * X[:, 1], X[:, 0] - X[:, 1] ** 2])
    seen = Y.copy()
    seen[rng.uniform(size=Y.shape) < 0.4] = np.nan
    net = Network([2, 10, 2], ["tanh", "identity"], "mse", seed=0, backend=backend)
    history = net.fit(
        X, seen, epochs=150, batch_size=20, optimizer=optimizer, missing_targets=True,
        metrics=("mse", "mae", "r2"),
    )  # fmt: skip
    assert net.score(X, Y, "r2") > 0.97
    r = (net.predict(X) - seen)[~np.isnan(seen)]
    assert history.metrics["mse"][-1] == pytest.approx((r**2).mean(), rel=1e-12)
    assert history.metrics["mae"][-1] == pytest.approx(np.abs(r).mean(), rel=1e-12)
    shares = []
    for j in range(2):
        there = ~np.isnan(seen[:, j])
        y, a = seen[there, j], net.predict(X)[there, j]
        shares.append(1 - ((a - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert history.metrics["r2"][-1] == pytest.approx(np.mean(shares), rel=1e-10)
    own = Cost(lambda a, y: ((a - y) ** 2).sum(axis=1), lambda a, y: 2 * (a - y), name="mine")
    with pytest.raises(
        ValueError, match="missing_targets is True with the cost 'mine' of your own"
    ):
        Network([2, 2], cost=own, backend=backend).fit(X, seen, missing_targets=True)


@every_backend
def test_examples_without_a_single_target_are_not_met_perfectly(backend: Any) -> None:
    X, Y = examples(3, "quadratic")
    nothing = np.full_like(Y, np.nan)
    net = Network([4, 5, 3], seed=2, backend=backend)
    before = state(net)
    first, last = nothing.copy(), nothing.copy()
    first[0], last[-1] = 0.2, 0.2
    for targets, options, what in (
        (nothing, {}, "Y"),
        (Y, {"validation_data": (X, nothing)}, "validation_data[1]"),
        (first, {"validation_fraction": 0.3}, "Y of the examples held out"),
        (last, {"validation_fraction": 0.3}, "Y of the examples to train on"),
    ):
        asked: Any = options
        with pytest.raises(ValueError, match=rf"^{re.escape(what)} has nothing but nan; expected"):
            net.fit(X, targets, shuffle=False, missing_targets=True, **asked)
        assert state(net) == before


@every_backend
def test_a_pass_that_cannot_begin_leaves_the_network_without_missing_targets(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError("none left")

    X, Y = examples(3, "quadratic")
    net = Network([4, 5, 3], seed=2, backend=backend)
    monkeypatch.setattr(loop, "Snapshot", no_memory)
    for call in (
        lambda: net.partial_fit(X, Y, options={"missing_targets": True}),
        lambda: net.fit(X, Y, missing_targets=True),
    ):
        with pytest.raises(MemoryError, match="none left"):
            call()
        assert not net._model.engine.missing_targets


def test_the_oracle_says_the_same_of_rows_that_are_whole() -> None:
    """Rows with every target have the gradient that they have without the switch."""
    X, Y = examples(3, "quadratic")
    net = Network([4, 5, 3], seed=2)
    model = oracle.Model(net.weights, net.biases, net.activations, net.cost_function)
    expected = np.array(oracle.gradients(model, X[3:4], Y[3:4])[0], dtype=float)
    np.testing.assert_allclose(step(net, X[3:4], Y[3:4]), expected, rtol=0, atol=1e-15)


@every_backend
@pytest.mark.parametrize("where", ["training", "validation", "held out"])
def test_accuracy_of_no_whole_row_is_refused_before_the_first_epoch(where, backend):
    X = np.linspace(-1, 1, 24).reshape(8, 3)
    Y = np.eye(2)[np.arange(8) % 2]
    Y[6:, 1] = np.nan
    gaps = Y.copy()
    gaps[:, 0] = np.nan
    net = Network([3, 2], seed=0, backend=backend)
    before = state(net)
    asked, argument = {
        "training": ({"X": X, "Y": gaps[:6]}, "Y"),
        "validation": ({"X": X, "Y": Y, "validation_data": (X, gaps)}, r"validation_data\[1\]"),
        "held out": (
            {"X": X, "Y": Y, "validation_fraction": 0.25, "shuffle": False},
            "Y of the examples held out",
        ),
    }[where]
    X, Y = asked.pop("X")[: len(asked["Y"])], asked.pop("Y")
    calls = []
    words = (
        rf"^metrics\[1\] 'accuracy' needs an example whose targets are all there, and {argument} "
    )
    with pytest.raises(ValueError, match=words):
        net.fit(
            X, Y, missing_targets=True, metrics=("mse", "accuracy"), callbacks=calls.append, **asked
        )
    assert state(net) == before
    # What is not judged by it may have gaps in every row.
    gaps = np.where(np.arange(2), np.nan, np.eye(2)[np.arange(len(X)) % 2])
    asked = {"metrics": "accuracy", "validation_data": (X[:2], np.eye(2))}
    net.fit(X, gaps, missing_targets=True, epochs=1, **asked)
