"""Private training: the noise of every step is what is stated, whatever the lot, the way and the
optimiser; what would make it other noise is refused (tests/refusals/test_fitting.py)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support import Array, both_dtypes, every_backend, state

from cbackprop import SGD, Adam, Cost, Network

C, SIGMA, LOT = 0.8, 1.7, 12
PRIVATE: dict[str, Any] = {"clip_norm": C, "noise_multiplier": SIGMA}
SIZES = (3, 9, 2)
# Without a gradient, a step is its noise.
NO_GRADIENT = Cost(lambda a, y: np.zeros(len(a), a.dtype), lambda a, y: np.zeros_like(a), "none")


def network(backend: str, dtype: str, cost: Any = NO_GRADIENT) -> Network:
    return Network(SIZES, cost=cost, dtype=dtype, init="zeros", seed=3, backend=backend)


def rows(n: int, dtype: str) -> tuple[Array, Array]:
    return np.ones((n, 3), dtype), np.zeros((n, 2), dtype)


def by_partial_fit(net: Network, lots: list[int], optimizer: Any) -> Array:
    """What each lot has added to the parameters, (steps, P)."""
    changes = []
    for n in lots:
        before = net.parameters.astype(float)
        X, Y = rows(n, net.dtype.name)
        net.partial_fit(X, Y, LOT, optimizer, options=PRIVATE)
        changes.append(net.parameters - before)
    return np.array(changes)


def standard_normal(z: Array) -> None:
    """Mean, variance, the distribution (Kolmogorov and Smirnov), from step to step and from
    parameter to parameter."""
    steps, count = z.size, z.size
    assert abs(z.mean()) < 4 / math.sqrt(count)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / count)
    ordered = np.sort(z.ravel())
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in ordered])
    ranks = np.arange(count + 1) / count
    distance = max((ranks[1:] - below).max(), (below - ranks[:-1]).max())
    assert distance < 1.95 / math.sqrt(count)  # of 1,000 normal samples one is farther
    steps = len(z)
    assert abs((z[1:] * z[:-1]).mean()) < 4 / math.sqrt(count)
    correlations = np.corrcoef(z.T)[np.triu_indices(z.shape[1], 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(steps)


@every_backend
@both_dtypes
@pytest.mark.parametrize("n", [LOT, 1, 5, 0], ids=["full", "of one", "short", "empty"])
def test_the_noise_of_every_lot_is_what_is_stated(n: int, dtype: str, backend: str) -> None:
    """Of a step of SGD with a rate of 1: standard_normal · clip_norm · noise_multiplier / LOT."""
    z = by_partial_fit(network(backend, dtype), [n] * 300, SGD(1.0)) * LOT / (C * SIGMA)
    standard_normal(z)


@every_backend
@both_dtypes
def test_the_noise_of_a_fit_whose_last_lot_is_short(dtype: str, backend: str) -> None:
    """25 rows in lots of 12: the last has one. An epoch adds three steps up."""
    net = network(backend, dtype)
    seen = [net.parameters.astype(float)]
    net.fit(
        *rows(25, dtype), epochs=300, batch_size=LOT, learning_rate=1.0, **PRIVATE,
        callbacks=lambda net, history: seen.append(net.parameters.astype(float)),
    )  # fmt: skip
    z = np.diff(seen, axis=0) * LOT / (C * SIGMA) / math.sqrt(3)
    standard_normal(z)


@every_backend
@both_dtypes
def test_the_noise_under_momentum_and_adam_follows_from_their_formulas(
    dtype: str, backend: str
) -> None:
    lots = [LOT, 3, 0, 1] * 75
    # v ← 0.6 v + g; w ← w − v: the noise g is what v has more than 0.6 of the one before.
    changes = by_partial_fit(network(backend, dtype), lots, SGD(1.0, momentum=0.6))
    g = -changes
    g[1:] += 0.6 * changes[:-1]
    standard_normal(g * LOT / (C * SIGMA))
    # With β = 0 and a large ε a step of Adam is −η g/(|g| + ε), which says what g was.
    net = network(backend, dtype)
    changes = by_partial_fit(net, lots, Adam(1.0, beta1=0.0, beta2=0.0, epsilon=1.0))
    g = -changes / (1 - np.abs(changes))
    standard_normal(g * LOT / (C * SIGMA))


@every_backend
@both_dtypes
def test_a_short_lot_is_divided_by_the_lot_size(dtype: str, backend: str) -> None:
    """Sum and noise: with hardly any noise the step is the clipped sum over LOT."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 3)).astype(dtype)
    Y = rng.uniform(size=(5, 2)).astype(dtype)
    net = Network(SIZES, dtype=dtype, seed=3, backend=backend)
    expected = net.clipped_gradient(X, Y, 0.05).vector * 5 / LOT
    before = net.parameters
    net.partial_fit(X, Y, LOT, SGD(1.0), options={"clip_norm": 0.05, "noise_multiplier": 1e-9})
    atol = 1e-10 if dtype == "float64" else 1e-7
    np.testing.assert_allclose(before - net.parameters, expected, rtol=0, atol=atol)


@every_backend
def test_digits_learn_whatever_number_of_rows_is_left_for_the_last_lot(backend: str) -> None:
    """1,281 rows in lots of 256: the last one has a single row."""
    from cbackprop import datasets

    X, labels = datasets.load_digits()
    Y = datasets.one_hot(labels, 10)
    for n in (1280, 1281):
        net = Network([64, 32, 10], ["tanh", "softmax"], "cross_entropy", seed=0, backend=backend)
        net.fit(
            X[:n], Y[:n], epochs=15, batch_size=256, optimizer=SGD(2.0), clip_norm=1.0,
            noise_multiplier=2.0,
        )  # fmt: skip
        assert net.score(X[n:], Y[n:]) > 0.7, n


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", [SGD(0.5), SGD(0.5, 0.9), Adam(0.05)], ids=str)
def test_a_private_fit_that_goes_on_has_the_noise_it_would_have_had(
    optimizer: Any, dtype: str, backend: str, tmp_path: Any
) -> None:
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(25, 3)), rng.uniform(size=(25, 2))
    options = {"batch_size": LOT, "optimizer": optimizer, "dropout": 0.2, **PRIVATE}

    def net() -> Network:
        return Network(SIZES, dtype=dtype, seed=3, backend=backend)

    whole, stopped = net(), net()
    whole.fit(X, Y, epochs=6, **options)
    stopped.fit(X, Y, epochs=2, checkpoint=tmp_path / "fit", **options)
    goes_on = Network(SIZES, dtype=dtype, seed=8, backend=backend)
    goes_on.fit(X, Y, epochs=6, checkpoint=tmp_path / "fit", resume=True, **options)
    assert state(goes_on) == state(whole)


@every_backend
def test_an_empty_lot_is_a_step_of_noise_alone_and_no_other_pass_is_one(backend: str) -> None:
    X, Y = rows(0, "float64")
    net = network(backend, "float64", "quadratic")
    before = net.parameters
    with pytest.raises(ValueError, match="X has 0 examples; expected at least 1 for training"):
        net.partial_fit(X, Y)
    assert (net.parameters == before).all()
    net.partial_fit(X, Y, options={**PRIVATE, "frozen": (1,)})
    assert not net.weights[0].any()
    assert net.weights[1].all()
    assert net._engine.step_count == 1


@every_backend
@both_dtypes
def test_no_layer_that_is_frozen_has_noise_or_counts_in_the_length(
    dtype: str, backend: str
) -> None:
    """Each example's gradient is clipped by what of it is used."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(6, 3)).astype(dtype)
    Y = rng.uniform(size=(6, 2)).astype(dtype)
    net = Network(SIZES, dtype=dtype, seed=3, backend=backend)
    each = net.gradient(X, Y, per_example=True).vector.astype(float)
    for frozen in ((1,), (2,)):
        used = each.copy()
        used[:, slice(0, 36) if frozen == (1,) else slice(36, None)] = 0
        lengths = np.sqrt((used**2).sum(axis=1))
        clip = float(np.median(lengths))
        expected = (used * np.minimum(1, clip / lengths)[:, None]).mean(axis=0)
        twin = net.copy()
        options = {"clip_norm": clip, "frozen": frozen}
        twin.partial_fit(X, Y, 6, SGD(1.0), options=options)
        atol = 1e-14 if dtype == "float64" else 3e-7
        step = net.parameters.astype(float) - twin.parameters
        np.testing.assert_allclose(step, expected, rtol=0, atol=atol)
