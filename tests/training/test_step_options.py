"""What is done to each step: penalties, dropout, limits of norms, noise.

Each against its definition; where chance plays a part, against the words that it was made of.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import oracle
import pytest
from fits import OPTIMIZERS, data, masks, network, next_key, one_pass, rows, step_taken
from support import both_dtypes, every_backend, state

from cbackprop import SGD, Adam, Cost, Network
from cbackprop.random_numbers import normals_at

OTHER_STREAM = 2**64 - 1  # noise has the words of the key with all bits turned over


# ---- penalties -----------------------------------------------------------------------------------


@every_backend
@both_dtypes
def test_penalties_add_their_own_derivative_to_weights_alone(dtype, backend):
    X, Y = data(dtype=dtype)
    net = network(backend, dtype=dtype)
    net.weights[1][2, 3] = 0  # where |w| has a kink, l1 does nothing
    for b in net.biases:
        b[...] = 0.7
    gradient = net.gradient(X, Y)
    for l1, l2 in ((0.3, 0.0), (0.0, 0.2), (0.3, 0.2)):
        parts = []
        for W, b, dC_dW, dC_db in zip(
            net.weights, net.biases, gradient.weights, gradient.biases, strict=True
        ):
            parts += [(dC_dW + l1 * np.sign(W) + l2 * W).ravel(), dC_db + 0 * b]
        step = step_taken(net.copy(), X, Y, l1=l1, l2=l2)
        atol = 1e-14 if dtype == "float64" else 5e-7
        np.testing.assert_allclose(step, np.concatenate(parts), rtol=0, atol=atol)
    # A weighted batch has the same penalty.
    weight = np.linspace(1, 9, 24)
    plain, weighted = (
        step_taken(net.copy(), X, Y, sample_weight=weight, l1=l1, l2=l2)
        for l1, l2 in ((0.0, 0.0), (0.3, 0.2))
    )
    expected = np.concatenate(
        [
            part
            for W, b in zip(net.weights, net.biases, strict=True)
            for part in ((0.3 * np.sign(W) + 0.2 * W).ravel(), 0 * b)
        ]
    )
    np.testing.assert_allclose(weighted - plain, expected, rtol=0, atol=2 * atol)


@every_backend
def test_the_history_has_the_penalty_after_each_epoch(backend):
    X, Y = data()
    net, expected = network(backend), []

    def record(net, history):
        sizes = [(np.abs(W).sum(), (W**2).sum()) for W in net.weights]
        expected.append(sum(0.01 * l1 + 0.3 / 2 * l2 for l1, l2 in sizes))

    history = net.fit(X, Y, epochs=3, l1=0.01, l2=0.3, callbacks=record)
    np.testing.assert_allclose(history.penalty, expected, rtol=1e-13)
    # The cost has none of it.
    first = network(backend).cost(X, Y)
    history = network(backend).fit(X, Y, epochs=1, batch_size=24, l2=5.0)
    assert history.cost[0] == pytest.approx(first, rel=1e-14)
    assert network(backend).fit(X, Y, epochs=2, dropout=0.5).penalty == []


# ---- dropout -------------------------------------------------------------------------------------


def masked_gradients(net, X, Y, kept):
    """Every ∇C_i and C_i of the masked network, by the oracle: a mask on activations is one on the
    columns of the weights above, whose derivatives then have the mask, too."""
    gradients, costs = [], []
    for i in range(len(X)):
        factors = [np.ones(net.sizes[0]), *(layer[i] for layer in kept)]
        weights = [W * f for W, f in zip(net.weights, factors, strict=True)]
        model = oracle.Model(weights, net.biases, net.activations, net.cost_function)
        vector = oracle.gradients(model, X[i : i + 1], Y[i : i + 1])[0]
        scale = [
            part
            for W, f in zip(net.weights, factors, strict=True)
            for part in (np.broadcast_to(f, W.shape).ravel(), np.ones(len(W)))
        ]
        gradients.append(vector * np.concatenate(scale))
        costs.append(float(oracle.values(model, X[i : i + 1], Y[i : i + 1])[2][0]))
    return np.array(gradients, dtype=float), np.array(costs)


@every_backend
@pytest.mark.parametrize(
    ("sizes", "activation", "cost"),
    [
        ([4, 6, 5, 3], "sigmoid", "quadratic"),
        ([4, 3, 2], "tanh", "mse"),
        ([4, 19, 3], ["gelu", "softmax"], "cross_entropy"),
        ([4, 2], "sigmoid", "quadratic"),  # no hidden layer, nothing to drop
    ],
)
def test_a_step_with_dropout_is_that_of_the_masked_network(sizes, activation, cost, backend):
    X, Y = data(9, 4, sizes[-1])
    if cost == "cross_entropy":
        Y = (Y == Y.max(axis=1, keepdims=True)).astype(float)
    net = network(backend, sizes, activation=activation, cost=cost)
    for p in (0.25, 0.6):
        key = next_key(net)
        kept = masks(key, sizes[1:], range(9), p)
        gradients, _ = masked_gradients(net, X, Y, kept)
        step = step_taken(net, X, Y, dropout=p)
        np.testing.assert_allclose(step, gradients.mean(axis=0), rtol=0, atol=1e-13)
        if len(sizes) > 2:
            assert any((layer == 0).any() for layer in kept)


@every_backend
def test_dropout_with_clipping_and_weights_or_noise_is_the_masked_networks(backend):
    """Clipping shortens the masked gradients; the noise is of the other stream."""
    sizes = [4, 6, 5, 3]
    X, Y = data(9)
    weight = np.linspace(0.5, 2, 9)
    net = network(backend, sizes)
    key = next_key(net)
    gradients, _ = masked_gradients(net, X, Y, masks(key, sizes[1:], range(9), 0.4))
    norms = np.sqrt((gradients**2).sum(axis=1))
    clip = float(np.median(norms))
    shortened = gradients * np.minimum(1, clip / norms)[:, np.newaxis]
    noise = normals_at(key ^ OTHER_STREAM, np.arange(net.n_parameters, dtype=np.uint64))
    step = step_taken(net.copy(), X, Y, dropout=0.4, clip_norm=clip, sample_weight=weight)
    expected = weight @ shortened / weight.sum()
    np.testing.assert_allclose(step, expected, rtol=0, atol=1e-13)
    step = step_taken(net, X, Y, dropout=0.4, clip_norm=clip, noise_multiplier=0.3)
    expected = (shortened.sum(axis=0) + 0.3 * clip * noise) / 9
    np.testing.assert_allclose(step, expected, rtol=0, atol=1e-13)


@every_backend
@both_dtypes
def test_masks_do_not_depend_on_the_batches(dtype, backend):
    """With a rate of 0 the epoch's cost is that of the masked network, whatever the batch size."""
    sizes = [4, 6, 5, 3]
    X, Y = data(300, dtype=dtype)
    net = network(backend, sizes, dtype=dtype)
    order = np.random.default_rng(0).permutation(300)
    costs = {}
    for batch_size in (1, 7, 256, 257, 300):
        history = net.copy().fit(
            X, Y, epochs=2, batch_size=batch_size, dropout=0.3, shuffle=order, learning_rate=0.0
        )
        costs[batch_size] = history.cost
    assert costs[1][0] != costs[1][1]
    for found in costs.values():
        if backend == "compiled":
            assert found == costs[1]
        np.testing.assert_allclose(found, costs[1], rtol=1e-13 if dtype == "float64" else 1e-6)
    if dtype == "float64":
        kept = masks(next_key(net), sizes[1:], range(300), 0.3)
        _, expected = masked_gradients(net, X[order], Y[order], [layer[:300] for layer in kept])
        assert costs[1][0] == pytest.approx(expected.mean(), rel=1e-13)
    assert costs[1][0] != pytest.approx(net.cost(X, Y), rel=1e-3)


@every_backend
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_many_masks_average_to_the_whole_network(p, backend):
    """A linear output's bias steps along the mean of a − y. Over n masks of the same example, the
    output Σ w_k h_k m_k/(1 − p) has the variance Σ (w_k h_k)² p/(1 − p)/n about the undropped."""
    n = 20_000
    x = np.array([[0.3, -0.8, 0.5]])
    net = network(backend, (3, 12, 2), activation=["sigmoid", "identity"], cost="half_quadratic")
    h, a = net.forward(x).a[1][0], net.predict(x)[0]
    W = net.weights[1].copy()
    step_taken_by_bias = net.biases[1].copy()
    net.fit(
        np.repeat(x, n, axis=0), np.zeros((n, 2)), epochs=1, batch_size=n, dropout=p,
        learning_rate=1.0,
    )  # fmt: skip
    found = step_taken_by_bias - net.biases[1]
    deviation = np.sqrt(((W * h) ** 2).sum(axis=1) * p / (1 - p) / n)
    assert (np.abs(found - a) < 4 * deviation).all()
    assert (np.abs(found - a) > 1e-9).any()


@every_backend
def test_each_neuron_is_dropped_as_often_as_asked(backend):
    """Counted from the costs of a network that tells which of its two neurons stayed."""
    n, p = 5000, 0.3
    net = network(backend, (1, 2, 1), activation="identity", cost="half_quadratic", init="zeros")
    net.weights[0][...] = 1
    net.weights[1][...] = [[1, 2]]
    sums: list[Any] = []
    recorder = Cost(
        lambda a, y: (sums.append(a[:, 0].copy()), np.zeros(len(a), a.dtype))[1],
        lambda a, y: np.zeros_like(a),
    )
    recording = network(backend, (1, 2, 1), activation="identity", cost=recorder)
    recording.parameters = net.parameters
    recording.fit(np.ones((n, 1)), np.zeros((n, 1)), epochs=1, batch_size=100, dropout=p)
    outputs = np.rint(np.concatenate(sums) * (1 - p)).astype(int)
    assert len(outputs) == n
    first, second = (outputs & 1).astype(bool), (outputs & 2).astype(bool)
    spread = math.sqrt(p * (1 - p) / n)
    for stays in (first, second):
        assert abs(stays.mean() - (1 - p)) < 4 * spread
    # One by one, and apart from the example before: products have the products' means.
    for pair in (first & second, first[1:] & first[:-1], first[1:] & second[:-1]):
        q = (1 - p) ** 2
        assert abs(pair.mean() - q) < 4 * math.sqrt(q * (1 - q) / len(pair)) * 1.5


@every_backend
def test_dropout_is_repeatable_and_predictions_use_all_neurons(backend):
    X, Y = data()
    runs = []
    for _ in range(2):
        net = network(backend)
        seen = []
        history = net.fit(
            X, Y, epochs=3, batch_size=8, dropout=0.5, validation_data=(X, Y), metrics="mse",
            callbacks=lambda net, history, seen=seen: seen.append(net.copy()),
        )  # fmt: skip
        runs.append((state(net), history.cost))
        # What is judged is judged undropped, and so is whatever comes after the fit.
        fresh = [Network([4, 6, 5, 3], backend=backend) for _ in seen]
        for twin, at_the_time in zip(fresh, seen, strict=True):
            twin.parameters = at_the_time.parameters
        assert history.validation_cost == [twin.cost(X, Y) for twin in fresh]
        assert history.metrics["mse"] == [twin.score(X, Y, "mse") for twin in fresh]
        assert net.predict(X).tobytes() == fresh[-1].predict(X).tobytes()
        expected = fresh[-1].gradient(X, Y).vector.tobytes()
        assert net.gradient(X, Y).vector.tobytes() == expected
    assert runs[0] == runs[1]
    other = Network([4, 6, 5, 3], seed=6, backend=backend)
    other.parameters = network(backend).parameters
    other.fit(X, Y, epochs=3, batch_size=8, dropout=0.5, shuffle=False)
    assert state(other).parameters != runs[0][0].parameters


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_options_that_ask_for_nothing_change_no_bit(optimizer, dtype, backend):
    """Nor does the generator draw a word for what needs none."""
    X, Y = data(dtype=dtype)
    Y = np.eye(3, dtype=dtype)[np.arange(24) % 3]  # classes, for class_weight
    nothing = {
        "l1": 0.0, "l2": 0, "dropout": 0.0, "max_norm": None, "clip_norm": None,
        "noise_multiplier": 0.0, "sample_weight": None, "class_weight": None, "schedule": None,
        "validation_fraction": 0.0, "early_stopping": None, "progress": False,
    }  # fmt: skip
    plain = network(backend, dtype=dtype)
    plain.fit(X, Y, epochs=2, batch_size=7, optimizer=optimizer)
    for options in (
        nothing,
        {"clip_norm": 1e9},
        {"max_norm": 1e9},
        {"sample_weight": np.ones(24)},
        {"class_weight": [1, 1, 1]},
        {"clip_norm": 1e9, "max_norm": 1e9, "noise_multiplier": 0.0},
    ):
        net = network(backend, dtype=dtype)
        net.fit(X, Y, epochs=2, batch_size=7, optimizer=optimizer, **options)
        assert state(net) == state(plain), options
    weighted = network(backend, dtype=dtype)
    weighted.fit(X, Y, epochs=2, batch_size=7, optimizer=optimizer, l2=0.1, max_norm=1.0)
    assert state(weighted).generator == state(plain).generator
    assert state(weighted).parameters != state(plain).parameters


# ---- norms and noise -----------------------------------------------------------------------------


@every_backend
@both_dtypes
@pytest.mark.parametrize("sizes", [(4, 6, 5, 3), (40, 130, 3), (3, 2)])
def test_no_neurons_weights_are_longer_than_max_norm_after_a_step(sizes, dtype, backend):
    X, Y = data(24, sizes[0], sizes[-1], dtype)
    limit = 0.8
    for optimizer in (SGD(0.5), Adam(0.05)):
        net, free = (network(backend, sizes, dtype=dtype) for _ in range(2))
        at_the_limit = below = 0
        for _ in range(6):
            for one, options in ((free, {}), (net, {"max_norm": limit})):
                one_pass(one, X, Y, optimizer=optimizer, **options)
            for W, unlimited in zip(rows(net), rows(free), strict=True):
                norms = np.sqrt((W**2).sum(axis=1))
                assert (norms <= limit * (1 + 4 * np.finfo(dtype).eps)).all()
                wanted = np.sqrt((unlimited**2).sum(axis=1))
                sure = np.abs(wanted - limit) > 1e-4
                long = wanted > limit
                np.testing.assert_array_equal(W[sure & ~long], unlimited[sure & ~long])
                expected = unlimited * (limit / wanted)[:, np.newaxis]
                rtol = 1e-14 if dtype == "float64" else 2e-6
                np.testing.assert_allclose(W[long], expected[long], rtol=rtol)
                at_the_limit += int(long.sum())
                below += int((sure & ~long).sum())
            for b, unlimited in zip(net.biases, free.biases, strict=True):
                np.testing.assert_array_equal(b, unlimited)
            free = net.copy()
        assert at_the_limit > 0
        assert below > 0 or sizes == (40, 130, 3)


@every_backend
@both_dtypes
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_max_norm_of_weights_whose_squares_leave_the_numbers(size, dtype, backend):
    if dtype == "float64" and not oracle.LONGDOUBLE_IS_WIDER:
        pytest.skip("long double is double here: the squares leave it, too")
    net = network(backend, (6, 4, 2), dtype=dtype)
    for W in net.weights:
        W *= np.asarray(size if dtype == "float32" else size**6, dtype)
    limit = float(np.abs(net.weights[0]).max())
    before = rows(net)
    # No gradient moves anything: a rate of 0.
    one_pass(net, np.zeros((3, 6)), np.zeros((3, 2)), learning_rate=0.0, max_norm=limit)
    shortened = 0
    for W, old in zip(rows(net), before, strict=True):
        norms = np.sqrt((old**2).sum(axis=1))
        factor = np.minimum(1, limit / norms)[:, np.newaxis]
        np.testing.assert_allclose(W, old * factor, rtol=2e-6 if dtype == "float32" else 1e-14)
        shortened += int((factor < 1).sum())
    assert shortened > 0


@every_backend
@both_dtypes
def test_a_clipped_step_is_that_of_the_clipped_gradient(dtype, backend):
    X, Y = data(dtype=dtype)
    net = network(backend, dtype=dtype)
    atol = 1e-14 if dtype == "float64" else 5e-7
    norms = net.gradient_norms(X, Y)
    for limit in (float(norms.min()) / 2, float(np.median(norms)), float(norms.max()) * 2):
        expected = net.clipped_gradient(X, Y, limit).vector
        step = step_taken(net.copy(), X, Y, clip_norm=limit)
        np.testing.assert_allclose(step, expected, rtol=0, atol=atol)
    # With weights: every gradient is shortened first, then weighted.
    each = net.gradient(X, Y, per_example=True).vector.astype(float)
    weight = np.linspace(0, 3, 24)
    factors = np.minimum(1, limit / 4 / np.sqrt((each**2).sum(axis=1)))
    step = step_taken(net.copy(), X, Y, clip_norm=limit / 4, sample_weight=weight)
    expected = (weight * factors) @ each / weight.sum()
    np.testing.assert_allclose(step, expected, rtol=0, atol=atol)
    assert (factors < 1).any()


NO_GRADIENT = Cost(lambda a, y: np.zeros(len(a), a.dtype), lambda a, y: np.zeros_like(a), "none")


@every_backend
@both_dtypes
def test_noise_is_exactly_the_words_it_is_made_of(dtype, backend):
    """From parameters of 0, with one example, a rate of 1 and a deviation of 1: the bits."""
    sizes = (3, 21, 2)
    net = network(backend, sizes, cost=NO_GRADIENT, dtype=dtype, init="zeros")
    P = net.n_parameters
    key = next_key(net)
    one_pass(
        net,
        np.ones((1, 3)),
        np.zeros((1, 2)),
        batch_size=1,
        optimizer=SGD(1.0),
        clip_norm=2.0,
        noise_multiplier=0.5,
    )
    expected = -normals_at(key ^ OTHER_STREAM, np.arange(P, dtype=np.uint64)).astype(dtype)
    assert net.parameters.tobytes() == expected.tobytes()
    # Batch b of a pass has the numbers from b·P on; the last, of one row, over 3 as the others.
    key = next_key(net)
    before = net.parameters
    one_pass(
        net, np.ones((7, 3)), np.zeros((7, 2)), batch_size=3, clip_norm=1.5, noise_multiplier=0.2
    )
    noise = normals_at(key ^ OTHER_STREAM, np.arange(3 * P, dtype=np.uint64)).reshape(3, P)
    expected = before - (0.2 * 1.5 * noise / 3).sum(axis=0)
    rtol = 1e-13 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(net.parameters, expected, rtol=rtol, atol=rtol)


@every_backend
def test_noise_is_normal_and_independent(backend):
    """30,000 numbers: mean, variance, the distribution by Kolmogorov and Smirnov, correlations."""
    net = network(backend, (5, 8, 3), cost=NO_GRADIENT, init="zeros")
    P, epochs, n = net.n_parameters, 400, 4
    steps, last = [], [net.parameters]

    def record(net, history):
        steps.append(net.parameters - last[-1])
        last.append(net.parameters)

    net.fit(
        np.ones((n, 5)), np.zeros((n, 3)), epochs=epochs, batch_size=n, learning_rate=1.0,
        clip_norm=0.7, noise_multiplier=1.3, callbacks=record,
    )  # fmt: skip
    z = -np.array(steps) * n / (1.3 * 0.7)
    count = z.size
    assert z.shape == (epochs, P)
    assert abs(z.mean()) < 4 / math.sqrt(count)
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / count)
    ordered = np.sort(z.ravel())
    below = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in ordered])
    ranks = np.arange(count + 1) / count
    distance = max((ranks[1:] - below).max(), (below - ranks[:-1]).max())
    assert distance < 1.63 / math.sqrt(count)  # passed by 99 of 100 normal samples
    # Of one parameter with another, and of one step with the next.
    correlations = np.corrcoef(z.T)[np.triu_indices(P, 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(epochs)
    assert abs((z[1:] * z[:-1]).mean()) < 4 / math.sqrt(count)
