"""What fit and partial_fit can be asked for beside the rule: weights, penalties, dropout, limits of
norms, noise, orders, held-out examples, early stopping, metrics, progress, callbacks.

Each against its definition; where chance plays a part, against the words that it was made of.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import sys
import types
from typing import Any

import numpy as np
import oracle
import pytest
import support
from support import BACKENDS, both_dtypes, every_backend, state

from cbackprop import (
    SGD,
    Activation,
    Adagrad,
    Adam,
    AdamW,
    Cost,
    EarlyStopping,
    Network,
    RMSprop,
    Rprop,
)
from cbackprop.random_numbers import normals_at, words_at
from cbackprop.training import progress
from cbackprop.training.metrics import METRICS, mean_absolute_error, mean_squared_error, r2
from cbackprop.training.plan import combined_weight
from cbackprop.update_rules import StepOptions

OTHER_STREAM = 2**64 - 1  # noise has the words of the key with all bits turned over

OPTIMIZERS = [
    SGD(0.3), SGD(0.1, 0.9), SGD(0.1, 0.9, True), Adam(0.02), AdamW(0.02), RMSprop(0.01),
    RMSprop(0.01, momentum=0.5, centred=True), Adagrad(0.1), Rprop(0.02),
]  # fmt: skip
EVERYTHING: dict[str, Any] = {
    "l1": 0.002, "l2": 0.05, "dropout": 0.25, "max_norm": 0.9, "clip_norm": 0.3,
    "noise_multiplier": 0.4,
}  # fmt: skip


def one_pass(net, X, Y, **arguments):
    """partial_fit with arguments as fit takes them."""
    options = {name: arguments.pop(name) for name in StepOptions._fields if name in arguments}
    return net.partial_fit(X, Y, **arguments, options=options or None)


def data(n=24, n_in=4, n_out=3, dtype="float64"):
    return support.data(n, (n_in, n_out), dtype, seed=6)


def network(backend, sizes=(4, 6, 5, 3), **options):
    return Network(list(sizes), seed=5, backend=backend, **options)


def step_taken(net, X, Y, rate=1.0, **options):
    """What one step of gradient descent subtracts, over the rate: the gradient that it used."""
    before = net.parameters
    one_pass(net, X, Y, batch_size=len(X), optimizer=SGD(rate), **options)
    return (before - net.parameters) / rate


def next_key(net):
    """The word that the next pass with dropout or noise draws."""
    return int(net.copy()._model.random.words(1)[0])


# ---- weights of examples and classes -------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_weight_of_2_is_the_row_twice(optimizer, backend):
    X, Y = data()
    twice = np.concatenate([np.arange(24), [3, 7]])
    weight = np.ones(24)
    weight[[3, 7]] = 2
    for options in ({}, {"l1": 0.01, "l2": 0.1, "max_norm": 0.8, "clip_norm": 0.2}):
        nets = [network(backend) for _ in range(2)]
        costs = [
            nets[0].fit(
                X, Y, epochs=4, batch_size=24, optimizer=optimizer, sample_weight=weight, **options
            ),
            nets[1].fit(
                X[twice], Y[twice], epochs=4, batch_size=26, optimizer=optimizer, **options
            ),
        ]
        np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=0, atol=1e-10)
        np.testing.assert_allclose(costs[0].cost, costs[1].cost, rtol=1e-12)


@every_backend
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_weight_of_0_is_a_row_that_is_not_there(optimizer, backend):
    """The last rows, so that the others' masks stay what they are: with every option at once."""
    X, Y = data()
    weight = np.where(np.arange(24) < 20, 1.5, 0.0)
    nets = [network(backend) for _ in range(2)]
    for net, n in zip(nets, (24, 20), strict=True):
        for _ in range(4):
            one_pass(
                net, X[:n], Y[:n], batch_size=n, optimizer=optimizer, sample_weight=weight[:n],
                **EVERYTHING,
            )  # fmt: skip
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=0, atol=1e-12)


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_batch_without_weight_makes_no_step(optimizer, dtype, backend):
    """Nor do penalties, AdamW's decay or momentum move anything then."""
    X, Y = data(dtype=dtype)
    weight = np.ones(24)
    weight[8:16] = 0
    rows = np.r_[0:8, 16:24]
    options = {"l2": 0.1, "max_norm": 0.9}
    nets = [network(backend, dtype=dtype) for _ in range(2)]
    history = nets[0].fit(
        X, Y, epochs=3, batch_size=8, optimizer=optimizer, shuffle=False, sample_weight=weight,
        **options,
    )  # fmt: skip
    expected = nets[1].fit(
        X[rows], Y[rows], epochs=3, batch_size=8, optimizer=optimizer, shuffle=False,
        sample_weight=weight[rows], **options,
    )  # fmt: skip
    assert nets[0]._engine.step_count == 6
    assert state(nets[0]) == state(nets[1])
    assert history.cost == expected.cost


@every_backend
def test_a_weighted_step_is_that_of_the_weighted_gradient(backend):
    X, Y = data()
    weight = np.random.default_rng(1).uniform(0, 5, 24)
    net = network(backend)
    expected = net.gradient(X, Y, sample_weight=weight)
    step = step_taken(net, X, Y, sample_weight=weight)
    np.testing.assert_allclose(step, expected.vector, rtol=0, atol=1e-14)
    net = network(backend)
    history = net.fit(X, Y, epochs=1, batch_size=24, sample_weight=weight)
    assert history.cost[0] == pytest.approx(expected.cost, rel=1e-14)


def class_cases():
    """Targets, a class_weight, and the weights of the examples that it stands for."""
    rng = np.random.default_rng(4)
    labels = rng.choice(3, size=24, p=[0.6, 0.3, 0.1])
    hard = np.eye(3)[labels]
    soft = 0.8 * hard + 0.2 * rng.dirichlet(np.ones(3), size=24)
    one = (rng.uniform(size=(24, 1)) > 0.7).astype(float)
    counts, ones = np.bincount(labels, minlength=3), one.sum()
    assert (soft.argmax(axis=1) == labels).all()
    balanced = 24 / (3 * counts[labels])
    numbers = np.array([0.5, 2.0, 3.0])
    yield "balanced", hard, "balanced", balanced
    yield "balanced soft", soft, "balanced", balanced
    yield "dict", hard, {1: 2.0, 2: 3}, np.array([1.0, 2.0, 3.0])[labels]
    yield "dict of NumPy's", hard, {np.int64(0): np.float32(0.5)}, np.array([0.5, 1, 1])[labels]
    yield "empty dict", hard, {}, np.ones(24)
    yield "list", soft, numbers.tolist(), numbers[labels]
    yield "array with 0", hard, np.array([1, 0, 2]), np.array([1.0, 0, 2])[labels]
    in_class = one[:, 0].astype(int)
    each = np.array([24 / (2 * (24 - ones)), 24 / (2 * ones)])
    yield "balanced, one output", one, "balanced", each[in_class]
    yield "dict, one output", one, {1: 4.0}, np.array([1.0, 4.0])[in_class]
    yield "array, one output", 0.2 + 0.6 * one, np.array([2, 0.5]), np.array([2, 0.5])[in_class]
    without = np.eye(3)[labels % 2]
    yield (
        "balanced, a class missing",
        without,
        "balanced",
        (24 / (2 * np.bincount(labels % 2)[labels % 2])),
    )


@every_backend
@pytest.mark.parametrize("case", list(class_cases()), ids=lambda case: case[0])
def test_class_weight_is_a_weight_for_each_example(case, backend):
    _, Y, class_weight, weight = case
    X, _ = data()
    own = np.random.default_rng(2).uniform(0.5, 1, 24)
    for sample_weight in (None, own):
        both = weight if sample_weight is None else weight * sample_weight
        nets = [network(backend, (4, 5, Y.shape[1])) for _ in range(2)]
        nets[0].fit(
            X, Y, epochs=2, batch_size=7, class_weight=class_weight, sample_weight=sample_weight
        )
        nets[1].fit(X, Y, epochs=2, batch_size=7, sample_weight=both)
        assert state(nets[0]) == state(nets[1])


def test_balanced_classes_are_those_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils", reason="scikit-learn is not installed")
    labels = np.random.default_rng(4).choice(4, size=90, p=[0.5, 0.3, 0.2, 0])
    expected = utils.compute_sample_weight("balanced", labels)
    found = combined_weight(None, "balanced", np.eye(4)[labels])
    np.testing.assert_allclose(found, expected, rtol=1e-15)


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


def masks(key, widths, rows, p):
    """1/(1 − p) for the hidden neurons that stay and 0 for the others, layer by layer: neuron j of
    layer l of row i has word i·(all neurons) + (those of the layers before) + j."""
    result, before = [], 0
    for width in widths[:-1]:
        places = np.array(
            [[i * sum(widths) + before + j for j in range(width)] for i in rows], dtype=np.uint64
        )
        upper = words_at(key, places) >> np.uint64(32)
        result.append(np.where(upper >= p * 2**32, 1 / (1 - p), 0.0))
        before += width
    return result


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
def test_dropout_with_clipping_weights_and_noise_is_the_masked_networks(backend):
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
    expected = (weight @ shortened + 0.3 * clip * noise) / weight.sum()
    step = step_taken(
        net, X, Y, dropout=0.4, clip_norm=clip, noise_multiplier=0.3, sample_weight=weight
    )
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


def rows(net):
    return [W.astype(np.longdouble) for W in net.weights]


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
        optimizer=SGD(1.0),
        clip_norm=2.0,
        noise_multiplier=0.5,
    )
    expected = -normals_at(key ^ OTHER_STREAM, np.arange(P, dtype=np.uint64)).astype(dtype)
    assert net.parameters.tobytes() == expected.tobytes()
    # Batch b of a pass has the numbers from b·P on, over its own size.
    key = next_key(net)
    before = net.parameters
    one_pass(
        net, np.ones((7, 3)), np.zeros((7, 2)), batch_size=3, clip_norm=1.5, noise_multiplier=0.2
    )
    noise = normals_at(key ^ OTHER_STREAM, np.arange(3 * P, dtype=np.uint64)).reshape(3, P)
    expected = before - (0.2 * 1.5 * noise / np.array([[3.0], [3.0], [1.0]])).sum(axis=0)
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


# ---- orders and held-out examples ----------------------------------------------------------------


@every_backend
def test_a_function_gives_each_epochs_order(backend):
    X, Y = data()
    rng = np.random.default_rng(9)
    orders = [rng.permutation(24) for _ in range(4)]
    asked = []

    def order(epoch):
        asked.append(epoch)
        return orders[epoch].astype(["int64", "uint8", "int32", "uint64"][epoch])

    net, twin = network(backend), network(backend)
    net.fit(X, Y, epochs=4, batch_size=7, optimizer="adam", shuffle=order)
    for rows in orders:
        one_pass(twin, X[rows], Y[rows], batch_size=7, optimizer="adam")
    assert state(net) == state(twin)
    assert asked == [0, 1, 2, 3]
    for given in (orders[0], orders[0].tolist(), tuple(orders[0].tolist())):
        net, twin = network(backend), network(backend)
        net.fit(X, Y, epochs=2, batch_size=7, shuffle=given)
        for _ in range(2):
            one_pass(twin, X[orders[0]], Y[orders[0]], batch_size=7)
        assert state(net) == state(twin)
    net, twin = network(backend), network(backend)
    net.fit(X, Y, epochs=2, batch_size=7, shuffle=range(24))
    twin.fit(X, Y, epochs=2, batch_size=7, shuffle=False)
    assert state(net) == state(twin)


@every_backend
@pytest.mark.parametrize("shuffle", [False, "order", "function"])
def test_the_last_examples_are_held_out_unless_shuffled(shuffle, backend):
    X, Y = data()
    order = np.random.default_rng(3).permutation(18)
    given = {"order": order, "function": lambda epoch: order}.get(shuffle, shuffle)
    weight = np.linspace(0.1, 2, 24)
    net, twin = network(backend), network(backend)
    history = net.fit(
        X, Y, epochs=3, batch_size=5, shuffle=given, sample_weight=weight,
        validation_fraction=0.25, metrics="mse",
    )  # fmt: skip
    expected = twin.fit(
        X[:18], Y[:18], epochs=3, batch_size=5, shuffle=given, sample_weight=weight[:18],
        validation_data=(X[18:], Y[18:]), metrics="mse",
    )  # fmt: skip
    assert state(net) == state(twin)
    assert history.cost == expected.cost
    assert history.validation_cost == expected.validation_cost
    assert history.metrics == expected.metrics


@every_backend
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9])
def test_random_examples_are_held_out_when_shuffled(fraction, backend):
    """They are found by their targets; none is lost, none is in both, and weights follow."""
    X, _ = data()
    Y = ((np.arange(24) + 0.5) / 24)[:, np.newaxis]
    weight = np.linspace(0.1, 2, 24)
    judged = []

    def look(predictions, targets):
        judged.append(targets[:, 0].copy())
        return 0.0

    net, twin = network(backend, (4, 5, 1)), network(backend, (4, 5, 1))
    history = net.fit(
        X, Y, epochs=3, batch_size=5, sample_weight=weight, validation_fraction=fraction,
        metrics=look,
    )  # fmt: skip
    held = np.rint(judged[0] * 24 - 0.5).astype(int)
    assert len(judged) == 3
    assert all((again == judged[0]).all() for again in judged)
    assert len(held) == max(1, round(fraction * 24))
    kept = np.setdiff1d(np.arange(24), held)
    assert len(kept) + len(held) == 24
    assert (held != np.arange(24)[-len(held) :]).any()
    # The same split drawn, the others are trained on.
    twin._model.random.words(24)
    expected = twin.fit(
        X[kept], Y[kept], epochs=3, batch_size=5, sample_weight=weight[kept],
        validation_data=(X[held], Y[held]),
    )  # fmt: skip
    assert state(net) == state(twin)
    assert history.cost == expected.cost
    assert history.validation_cost == expected.validation_cost
    other = Network([4, 5, 1], seed=6, backend=backend)
    other.fit(X, Y, epochs=1, validation_fraction=fraction, metrics=look)
    assert (np.sort(judged[-1]) != np.sort(judged[0])).any()


@every_backend
def test_a_fit_of_no_epochs_draws_nothing_to_hold_out(backend):
    X, Y = data()
    net = network(backend)
    before = state(net)
    assert net.fit(X, Y, epochs=0, validation_fraction=0.5, dropout=0.5).epochs == 0
    assert state(net) == before


@every_backend
def test_weights_that_are_all_held_out_are_refused(backend):
    X, Y = data()
    weight = (np.arange(24) >= 20).astype(float)
    for shuffle, weights in ((False, weight), (True, None)):
        net = network(backend)
        if weights is None:
            # The row that the generator will hold out.
            order = net.copy()._model.random_order(24)
            weights = (np.arange(24) == order[-1]).astype(float)
        before = state(net)
        with pytest.raises(ValueError, match=r"^validation_fraction holds \d examples out, and"):
            net.fit(
                X, Y, epochs=2, shuffle=shuffle, sample_weight=weights,
                validation_fraction=0.2 if shuffle is False else 0.01,
            )  # fmt: skip
        assert state(net) == before


# ---- early stopping ------------------------------------------------------------------------------


def scripted(values):
    """A metric whose values are given."""
    left = list(values)

    def metric(predictions, targets):
        return left.pop(0)

    return metric


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
        "larger_is_better=False)"
    )
    assert EarlyStopping(monitor="r2").larger_is_better is True


# ---- metrics and the history ---------------------------------------------------------------------


@both_dtypes
def test_metrics_are_their_definitions(dtype):
    rng = np.random.default_rng(3)
    Y = rng.normal(size=(31, 3)).astype(dtype)
    P = (Y + rng.normal(size=(31, 3)) * 0.3).astype(dtype)
    wide_Y, wide_P = Y.astype(np.longdouble), P.astype(np.longdouble)
    error = wide_P - wide_Y
    rtol = 1e-13 if dtype == "float64" else 1e-6
    assert mean_squared_error(P, Y) == pytest.approx(float((error**2).mean()), rel=rtol)
    assert mean_absolute_error(P, Y) == pytest.approx(float(np.abs(error).mean()), rel=rtol)
    spread = ((wide_Y - wide_Y.mean(axis=0)) ** 2).sum(axis=0)
    expected = (1 - (error**2).sum(axis=0) / spread).mean()
    assert r2(P, Y) == pytest.approx(float(expected), rel=rtol)


@both_dtypes
@pytest.mark.parametrize("value", [0.1, 0.3, 1e-30, 7.0])
def test_r2_of_targets_that_are_all_alike(value, dtype):
    """The mean of ten times 0.1 is not 0.1: the spread must not be taken for one."""
    Y = np.full((10, 1), value, dtype)
    assert r2(Y, Y) == 1.0
    assert r2(Y * 2, Y) == 0.0
    both = np.concatenate([Y, np.arange(10.0)[:, np.newaxis]], axis=1).astype(dtype)
    assert r2(both, both) == 1.0
    assert r2(both + np.array([value, 0], dtype), both) == 0.5


def test_metrics_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(5)
    for outputs in (1, 4):
        Y = rng.uniform(size=(50, outputs))
        P = Y + rng.normal(size=Y.shape) * 0.2
        pairs = {
            "mse": metrics.mean_squared_error(Y, P),
            "mae": metrics.mean_absolute_error(Y, P),
            "r2": metrics.r2_score(Y, P),
        }
        for name, expected in pairs.items():
            assert METRICS[name](P, Y) == pytest.approx(expected, rel=1e-12)


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


# ---- what a failure leaves -----------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_divergence_names_the_epoch_and_goes_back_to_its_start(optimizer, options, backend):
    """In the second batch of epoch 4, after a step that was far too long."""
    X, Y = data()
    net = network(backend, (4, 6, 3), activation="identity")
    options = {k: v for k, v in options.items() if k != "max_norm"}  # it would tame the step
    seen = []

    def after(net, history):
        if history.epochs == 3 and isinstance(optimizer, Rprop):
            net.weights[0][...] = 1e200  # no rate changes its steps
            net.weights[1][...] = 1e200
        seen.append(state(net))

    with pytest.raises(FloatingPointError, match=r"^training diverged in epoch 4: .* overflowed"):
        net.fit(
            X, Y, epochs=9, batch_size=8, optimizer=optimizer, callbacks=after,
            schedule=lambda epoch, rate: rate if epoch < 3 else 1e300, **options,
        )  # fmt: skip
    # Its rate is of the epoch before, and its words are drawn again.
    assert len(seen) == 3
    assert state(net) == seen[-1]


@every_backend
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_what_the_users_functions_raise_leaves_the_epochs_start(optimizer, backend):
    """The metric, the schedule and the order of the third epoch; a callback finds it completed."""
    X, Y = data()

    def fail_third(result):
        calls = []

        def function(*arguments):
            calls.append(1)
            if len(calls) == 3:
                raise ZeroDivisionError("mine")
            return result

        return function

    for arguments, completed in (
        ({"metrics": fail_third(0.0)}, 2),
        ({"schedule": fail_third(0.1)}, 2),
        ({"shuffle": fail_third(np.arange(24))}, 2),
        ({"callbacks": fail_third(None)}, 3),
    ):
        net, twin = network(backend), network(backend)
        with pytest.raises(ZeroDivisionError, match="mine"):
            net.fit(X, Y, epochs=5, batch_size=7, optimizer=optimizer, **EVERYTHING, **arguments)
        good = {name: {"schedule": lambda epoch, rate: 0.1, "shuffle": np.arange(24)}.get(name, ())
                for name in arguments}  # fmt: skip
        twin.fit(X, Y, epochs=completed, batch_size=7, optimizer=optimizer, **EVERYTHING, **good)
        assert state(net) == state(twin), arguments


@every_backend
@pytest.mark.parametrize(
    ("argument", "function", "message"),
    [
        ("schedule", lambda epoch, rate: -1.0, r"the result of schedule\(0, 0.1\) is -1.0; exp"),
        ("schedule", lambda epoch, rate: np.nan, r"the result of schedule\(0, 0.1\) is nan; exp"),
        ("schedule", lambda epoch, rate: None, r"the result of schedule\(0, 0.1\) is None \(None"),
        ("shuffle", lambda epoch: None, r"the result of shuffle\(0\) is None"),
        ("shuffle", lambda epoch: np.arange(23), r"the result of shuffle\(0\) .*shape \(23,\)"),
        ("shuffle", lambda epoch: np.zeros(24, int), r"the result of shuffle\(0\) has 0 24 times"),
        ("shuffle", lambda epoch: np.arange(24.0), r"the result of shuffle\(0\) .* float64"),
        ("metrics", lambda a, y: "good", r"the result of <lambda> is 'good' \(str\); expected a r"),
        ("metrics", lambda a, y: np.nan, r"the result of <lambda> is nan; expected a finite"),
    ],
)  # fmt: skip
def test_what_the_users_functions_return_is_looked_at(argument, function, message, backend):
    X, Y = data()
    net = network(backend)
    one_pass(net, X, Y, optimizer=Rprop())
    before = state(net)
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        net.fit(X, Y, epochs=2, dropout=0.5, **{argument: function})
    assert state(net) == before


@every_backend
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_partial_fit_that_fails_late_takes_its_steps_back(optimizer, backend):
    X, Y = data()
    net = network(backend, activation=["tanh", "tanh", "identity"])
    one_pass(net, X, Y, optimizer=Adam(0.01) if optimizer == OPTIMIZERS[0] else SGD(0.1, 0.3))
    before = state(net)
    X[-1] = 1.0
    Y[-1] = 1e200
    with pytest.raises(FloatingPointError, match=r"^the step diverged: .* it was before the call"):
        one_pass(net, X, Y, batch_size=8, optimizer=optimizer, l2=0.1, dropout=0.1)
    assert state(net) == before


@every_backend
@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(9e307), SGD(5e307, 0.9), SGD(5e307, 0.9, True), Adam(9e306), AdamW(9e306),
        RMSprop(9e306), RMSprop(9e306, momentum=0.5, centred=True), Adagrad(9e307),
        Rprop(9e307, most=1.7e308),
    ],
    ids=str,
)  # fmt: skip
def test_a_single_step_beyond_the_numbers_is_taken_back(optimizer, backend):
    """Everything before the step is finite, so that it is found only after it: the bias runs
    towards 1.7e308 until a step leaves the numbers. Plain arrays take the quick way there."""
    net = network(backend, (1, 1), activation="identity", cost="mae", init="zeros")
    x, y = np.zeros((1, 1)), np.full((1, 1), 1.7e308)
    net.partial_fit(x, y, optimizer=optimizer)
    for _ in range(50):
        before = state(net)
        try:
            net.partial_fit(x, y)
        except FloatingPointError as error:
            assert "parameters overflowed" in str(error)  # noqa: PT017 - it may come in any step
            break
    else:
        pytest.fail("no step was too long")
    assert net._engine.step_count > 0
    assert state(net) == before


@every_backend
def test_a_norm_that_overflows_is_named(backend):
    """∂C/∂w = a·δ = 1e200·1e150, though a, δ and the cost are finite."""
    net = network(backend, (1, 1, 1), activation="identity", cost="mae")
    net.parameters = [1e-150, 0, 1e150, 0]
    before = state(net)
    for call, arguments, epoch in (
        (net.fit, {"clip_norm": 1.0}, "training diverged in epoch 1"),
        (net.partial_fit, {"options": {"clip_norm": 1.0}}, "the step di"),
    ):
        with pytest.raises(
            FloatingPointError, match=f"^{epoch}.*the norm of an example's gradient"
        ):
            call([[1e200]], [[0.0]], **arguments)
        assert state(net) == before


@every_backend
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_ctrl_c_keeps_the_last_full_batch_with_every_option(optimizer, backend):
    """It comes in the third batch of the first epoch, in a function of the user's."""
    X, Y = data()
    calls: list[int] = []

    def value(z):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.tanh(z)

    own = Activation(value, lambda z: 1 - np.tanh(z) ** 2, "own")
    options = dict(EVERYTHING, sample_weight=np.linspace(0.5, 1, 24))
    net = network(backend, (4, 6, 3), activation=[own, "sigmoid"])
    twin = net.copy()
    with pytest.raises(KeyboardInterrupt):
        net.fit(
            X, Y, epochs=3, batch_size=7, optimizer=optimizer, shuffle=False, early_stopping=2,
            validation_data=(X, Y), **options,
        )  # fmt: skip
    assert len(calls) == 3
    options["sample_weight"] = options["sample_weight"][:14]
    one_pass(twin, X[:14], Y[:14], batch_size=7, optimizer=optimizer, **options)
    assert state(net) == state(twin)
    for network_ in (net, twin):
        one_pass(network_, X, Y)
    assert state(net) == state(twin)


# ---- progress ------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Seconds that pass by so many at each look."""

    def __init__(self, step):
        self.step, self.now = step, 0.0

    def monotonic(self):
        self.now += self.step
        return self.now


def shown(monkeypatch, stream, step=0.0, epochs=5, **options):
    """What a fit wrote to stderr, the clock going on by ``step`` at each look."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "time", Clock(step))
    monkeypatch.setitem(sys.modules, "tqdm", options.pop("tqdm", None))
    X, Y = data()
    history = network(BACKENDS[0]).fit(X, Y, epochs=epochs, **options)
    monkeypatch.undo()
    return history


def test_nothing_is_shown_off_a_terminal_unless_asked_for(monkeypatch):
    for stream, wanted, step in (
        (io.StringIO(), None, 10.0),  # no terminal
        (io.StringIO(), False, 10.0),
        (Terminal(), False, 10.0),
        (Terminal(), None, 0.01),  # over before a second has passed
    ):
        shown(monkeypatch, stream, step, progress=wanted)
        assert stream.getvalue() == ""


def test_lines_where_they_are_asked_for(monkeypatch):
    stream = io.StringIO()
    history = shown(
        monkeypatch, stream, 10.0, progress=True, validation_fraction=0.25, metrics="accuracy"
    )
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    values = (history.cost, history.validation_cost, history.metrics["accuracy"])
    for epoch, line in enumerate(lines):
        cost, judged, share = (f"{value[epoch]:.4g}" for value in values)
        assert line == (
            f"epoch {epoch + 1}/5  cost {cost}  validation cost {judged}  accuracy {share}"
        )
    # However fast they come, the last one is shown, and no more than ten a second before it.
    for options in ({}, {"callbacks": lambda net, history: history.epochs == 3}):
        stream = io.StringIO()
        history = shown(monkeypatch, stream, 0.0, progress=True, **options)
        (line,) = stream.getvalue().splitlines()
        assert line.startswith(f"epoch {history.epochs}/5  cost ")
    stream = io.StringIO()
    shown(monkeypatch, stream, 0.04, epochs=31, progress=True)
    assert 8 <= len(stream.getvalue().splitlines()) <= 16


def test_the_last_epoch_of_a_fit_that_is_stopped_early_is_shown(monkeypatch):
    stream = io.StringIO()
    history = shown(
        monkeypatch, stream, 0.0, epochs=50, progress=True, metrics=scripted([1, 2, 3, 4]),
        early_stopping=EarlyStopping(2, monitor="metric", larger_is_better=False),
    )  # fmt: skip
    assert history.stop_reason == "early stopping"
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("epoch 3/50  cost ")


@pytest.mark.parametrize("wanted", [None, True])
def test_a_terminals_line_is_written_over(wanted, monkeypatch):
    stream = Terminal()
    shown(monkeypatch, stream, 10.0, progress=wanted)
    text = stream.getvalue()
    assert text.count("\r\x1b[K") == 5
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "epoch 5/5" in text.rsplit("\r", 1)[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_on_a_pseudo_terminal(monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as reader:
        assert stream.isatty()
        shown(monkeypatch, stream, 10.0)
        text = ""
        while not text.endswith("\n"):
            text += reader.read(4096).decode()
    assert text.count("\r\x1b[K") == 5
    assert "epoch 5/5  cost " in text
    assert text.endswith("\n")


class FakeBar:
    made: list[FakeBar] = []  # noqa: RUF012 - emptied by the test that uses it

    def __init__(self, total, unit, file):
        self.total, self.unit, self.file, self.n, self.closed = total, unit, file, 0, False
        self.texts: list[str] = []
        FakeBar.made.append(self)

    def set_postfix_str(self, text, refresh):
        self.texts.append(text)

    def update(self, count):
        self.n += count

    def close(self):
        self.closed = True


def test_tqdms_bar_where_it_is_installed(monkeypatch):
    module = types.SimpleNamespace(tqdm=FakeBar)
    for step, updates in ((10.0, 5), (0.0, 1)):
        FakeBar.made.clear()
        stream = io.StringIO()
        history = shown(monkeypatch, stream, step, progress=True, tqdm=module)
        (bar,) = FakeBar.made
        assert (bar.total, bar.unit, bar.file, bar.n, bar.closed) == (5, "epoch", stream, 5, True)
        assert len(bar.texts) == updates
        assert bar.texts[-1] == f"cost {history.cost[-1]:.4g}"
        assert stream.getvalue() == ""
    # It is closed, too, where the fit fails.
    FakeBar.made.clear()

    def fail(net, history):
        if history.epochs == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shown(monkeypatch, io.StringIO(), 10.0, progress=True, tqdm=module, callbacks=fail)
    assert FakeBar.made[0].closed


class Broken(Terminal):
    """The other end of a pipe that has gone."""

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("wanted", [None, True])
def test_a_stream_that_fails_does_not_stop_the_fit(wanted, monkeypatch):
    class Bare:
        """A replacement of stderr that can only write, as some programs have it."""

        def write(self, text):
            written.append(text)

        def flush(self):
            pass

    written: list[str] = []
    closed = Terminal()
    closed.close()
    expected = network(BACKENDS[0])
    X, Y = data()
    costs = expected.fit(X, Y, epochs=5).cost
    for stream in (None, closed, Broken(), Bare()):
        history = shown(monkeypatch, stream, 10.0, progress=wanted)
        assert history.cost == costs
    assert bool(written) == bool(wanted)
    # Closed in the middle.
    stream = Terminal()

    def close(net, history):
        if history.epochs == 3:
            stream.close()

    for module in (None, types.SimpleNamespace(tqdm=_closing_bar)):
        stream = Terminal()
        assert shown(
            monkeypatch, stream, 10.0, progress=wanted, callbacks=close, tqdm=module
        ).cost == costs  # fmt: skip


def _closing_bar(total, unit, file):
    """A bar that writes to its stream as tqdm does: to a closed one it raises ValueError."""
    bar = FakeBar(total, unit, file)
    bar.update = lambda count: file.write(f"{count}\n")
    bar.close = lambda: file.write("\n")
    return bar


# ---- callbacks -----------------------------------------------------------------------------------


@every_backend
def test_only_true_stops_a_fit(backend):
    X, Y = data()
    for answer, epochs in itertools.chain(
        ((value, 4) for value in (None, 0, 1, "stop", [], False, np.False_)),
        ((value, 1) for value in (True, np.True_)),
    ):
        history = network(backend).fit(X, Y, epochs=4, callbacks=lambda net, h, a=answer: a)
        assert history.epochs == epochs, answer


@every_backend
def test_a_callback_may_change_the_parameters(backend):
    """The next epoch goes on from them; the best epoch is as it was before the callback."""
    X, Y = data()

    def halve(net, history):
        for W in net.weights:
            W *= 0.5

    net, twin = network(backend), network(backend)
    net.fit(X, Y, epochs=2, shuffle=False, callbacks=halve)
    for _ in range(2):
        one_pass(twin, X, Y)
        halve(twin, None)
    assert net.parameters.tobytes() == twin.parameters.tobytes()
