"""What a fit is made of: weights of examples and classes, orders, held-out examples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fits import EVERYTHING, OPTIMIZERS, data, network, one_pass, step_taken
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from support import both_dtypes, every_backend, state

from cbackprop import SGD, Activation, EarlyStopping, ModelFileError, Network
from cbackprop.training import plan

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
    """The last rows, so that the others' masks stay what they are: with every option at once that
    weights can be given with."""
    X, Y = data()
    options = {name: value for name, value in EVERYTHING.items() if name != "noise_multiplier"}
    weight = np.where(np.arange(24) < 20, 1.5, 0.0)
    nets = [network(backend) for _ in range(2)]
    for net, n in zip(nets, (24, 20), strict=True):
        for _ in range(4):
            one_pass(
                net, X[:n], Y[:n], batch_size=n, optimizer=optimizer, sample_weight=weight[:n],
                **options,
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
    """Targets, a class_weight, and the weights of the examples that it stands for.

    Soft ones are those of softmax outputs: of others they are no classes.
    """
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
    yield "array, one output", one, np.array([2, 0.5]), np.array([2, 0.5])[in_class]
    yield "list, signs", 2 * one - 1, [2, 0.5], np.array([2, 0.5])[in_class]
    yield "list, several signs", 2 * hard - 1, numbers.tolist(), numbers[labels]
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
        output = "tanh" if Y.min() < 0 else "softmax" if 0 < Y.min() else "sigmoid"
        nets = [
            network(backend, (4, 5, Y.shape[1]), activation=["sigmoid", output]) for _ in range(2)
        ]
        nets[0].fit(
            X, Y, epochs=2, batch_size=7, class_weight=class_weight, sample_weight=sample_weight
        )
        nets[1].fit(X, Y, epochs=2, batch_size=7, sample_weight=both)
        assert state(nets[0]) == state(nets[1])


def test_balanced_classes_are_those_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils", reason="scikit-learn is not installed")
    labels = np.random.default_rng(4).choice(4, size=90, p=[0.5, 0.3, 0.2, 0])
    expected = utils.compute_sample_weight("balanced", labels)
    found = plan.combined_weight(None, "balanced", "softmax", np.eye(4)[labels], None, len(labels))
    np.testing.assert_allclose(found, expected, rtol=1e-15)


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
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("row", [3, 12, 23])
def test_a_number_that_is_not_finite_is_told_by_its_own_row(row, shuffle, backend):
    """Whichever part its example is in, and in the order in which it was given."""
    X, Y = data()
    X[row, 1] = np.nan
    net = network(backend)
    before = state(net)
    with pytest.raises(ValueError, match=rf"^X has nan at \[{row}, 1\]; expected finite"):
        net.fit(X, Y, epochs=2, shuffle=shuffle, validation_fraction=0.25)
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


# ---- hold-out by class ---------------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("shuffle", [True, False])
def test_of_each_class_its_share_is_held_out(shuffle, backend):
    rng = np.random.default_rng(8)
    n, counts = 60, np.array([30, 24, 6])
    labels = rng.permutation(np.repeat([0, 1, 2], counts))
    X = rng.normal(size=(n, 4))
    X[:, 0] = np.arange(n)
    words = np.array(["b", "a", "c"])[labels]
    held = []
    for Y, stratify in (
        (np.eye(3)[labels], True),
        (rng.uniform(size=(n, 3)), labels),
        (rng.uniform(size=(n, 3)), words),
        (rng.uniform(size=(n, 3)), words.astype(object).tolist()),
    ):
        seen = []
        net = network(backend)
        X_own, marks = X.copy(), Y.copy()
        net.fit(
            X_own, marks, epochs=2, validation_fraction=0.2, stratify=stratify, shuffle=shuffle,
            metrics=lambda a, y, seen=seen: seen.append(y.copy()) or 0.0,
        )  # fmt: skip
        rows = [int(np.flatnonzero((Y == row).all(axis=1))[0]) for row in seen[0]]
        if len(np.unique(Y, axis=0)) == 3:
            assert seen[0].sum(axis=0).tolist() == [6, 5, 1]
            continue
        assert np.bincount(labels[rows]).tolist() == [6, 5, 1]
        assert len({*rows}) == 12
        assert (seen[0] == seen[1]).all()
        held.append(rows)
    assert held[0] == held[1] == held[2] or shuffle
    if not shuffle:
        expected = [np.flatnonzero(labels == c)[-m:] for c, m in enumerate((6, 5, 1))]
        assert held[0] == sorted(np.concatenate(expected).tolist())
    nets = [network(backend) for _ in range(3)]
    for net, stratify in zip(nets, (None, False, np.False_), strict=True):
        net.fit(X / n, Y, epochs=2, validation_fraction=0.2, stratify=stratify, shuffle=shuffle)
    assert state(nets[0]) == state(nets[1]) == state(nets[2])


@settings(deadline=None, max_examples=200)
@drawn(st.lists(st.integers(2, 40), min_size=1, max_size=12), st.floats(0, 1))
def test_shares_are_those_of_the_classes(counts, share):
    n, k = sum(counts), len(counts)
    total = min(max(round(share * n), k), n - k)
    found = plan.shares(np.array(counts), total)
    assert found.sum() == total
    assert (found >= 1).all()
    assert (found <= np.array(counts) - 1).all()
    exact = np.array(counts) * total / n
    free = (exact >= 1) & (exact <= np.array(counts) - 1)
    if free.all():
        assert (np.abs(found - exact) < 1).all()


# ---- arrays that are views of the parameters -----------------------------------------------------


@every_backend
@both_dtypes
def test_what_a_fit_reads_is_taken_apart_from_the_parameters(dtype, backend):
    """Views of them, where copies have the same numbers at first."""
    X = np.linspace(-1, 1, 24).reshape(6, 4).astype(dtype)

    def trained(copies):
        net = Network([4, 6, 4], seed=3, dtype=dtype, backend=backend)
        W, b = net.weights[0], net.biases[0]
        b[...] = np.linspace(0.5, 2, 6)
        W[...] = np.clip(np.abs(W), 0, 1)
        targets, weight = (W.copy(), b.copy()) if copies else (W, b)
        history = net.fit(
            X, targets, epochs=5, batch_size=2, sample_weight=weight, learning_rate=0.5,
            validation_data=(targets, targets), shuffle=False, metrics="mse",
        )  # fmt: skip
        return net.parameters.tobytes(), history.validation_cost, history.metrics

    assert trained(True) == trained(False)


@every_backend
@both_dtypes
def test_what_partial_fit_reads_is_taken_apart_from_the_parameters(dtype, backend):
    X = np.linspace(-1, 1, 24).reshape(6, 4).astype(dtype)
    nets = [Network([4, 6, 4], seed=3, dtype=dtype, backend=backend) for _ in range(2)]
    for net in nets:
        net.biases[0][...] = np.linspace(0.5, 2, 6)
    for net, weight in zip(nets, (nets[0].biases[0], nets[1].biases[0].copy()), strict=True):
        net.partial_fit(X, X * 0 + 0.5, batch_size=2, sample_weight=weight, learning_rate=0.5)
    assert state(nets[0]) == state(nets[1])


def test_parameters_may_be_assigned_from_their_own_memory():
    net = Network([1, 3], seed=0)
    block = net._model.storage
    start = next(
        i for i in range(len(block)) if np.shares_memory(block[i : i + 1], net.weights[0][0])
    )
    view = block[start : start + 6]
    expected = view.copy()
    net.parameters = view
    assert net.parameters.tolist() == expected.tolist()


# ---- targets that are out of reach ---------------------------------------------------------------


REACH = [
    ("sigmoid", [3.0, 6.0], r"has 3 at .*, and sigmoid outputs are between 0 and 1: .* 2 of 2"),
    ("sigmoid", [-1.0, 1.0], r"has -1 at .*, and sigmoid outputs are between 0 and 1: .* 1 of 2"),
    ("sigmoid", [0.0, 1.0], None),
    ("sigmoid", [-0.02, 1.03], None),  # a little noise
    ("tanh", [0.0, 2.0], r"has 2 at \[1, 0\], and tanh outputs are between -1 and 1"),
    ("softsign", [-1.0, 1.0], None),
    ("relu", [-3.0, 5.0], r"has -3 at \[0, 0\], and relu outputs are above 0"),
    ("relu", [0.0, 1e6], None),
    ("elu", [-3.0, 5.0], r"has -3 at \[0, 0\], and elu outputs are above -1"),
    ("gelu", [-3.0, 5.0], r"has -3 at .*, and gelu outputs are above -0.17"),
    ("identity", [-1e9, 1e9], None),
    ("leaky_relu", [-9.0, 9.0], None),
]  # fmt: skip


@pytest.mark.parametrize("case", REACH, ids=str)
def test_targets_that_no_output_can_reach_are_warned_of(case):
    activation, targets, pattern = case
    X, Y = np.zeros((2, 1)), np.array(targets)[:, np.newaxis]
    net = Network([1, 1], activation, seed=0)
    if pattern is None:
        net.fit(X, Y, epochs=2, learning_rate=1e-9)
        return
    with pytest.warns(UserWarning, match=f"^Y {pattern}") as caught:
        net.fit(X, Y, epochs=2, learning_rate=1e-9)
    (warning,) = caught  # once a fit, of the line that calls it
    assert warning.filename == __file__
    before = state(net)
    with pytest.raises(UserWarning, match=f"^Y {pattern}"):
        net.fit(X, Y, epochs=2, learning_rate=1e-9)
    assert state(net) == before


def test_examples_without_a_class_are_warned_of():
    X, Y = np.zeros((4, 1)), np.eye(3)[[0, 1, 2, 0]]
    Y[[1, 3]] = 0
    net = Network([1, 3], "softmax", "cross_entropy", seed=0)
    with pytest.warns(
        UserWarning, match=r"^Y has only zeros in 2 of 4 rows \(the first is row 1\)"
    ):
        net.fit(X, Y, epochs=1)
    Network([1, 3], "sigmoid", "cross_entropy", seed=0).fit(X, Y, epochs=1)  # none of the labels


def test_a_metric_called_like_a_cost_is_not_taken_for_it():
    """Early stopping by "cost" looks at the training cost, whatever a metric is called."""
    values = iter([3.0, 1.0, 2.0])

    def cost(predictions, targets):
        return next(values)

    X, Y = data()
    history = Network([4, 3], seed=0).fit(
        X, Y, epochs=3, metrics=[cost], early_stopping=EarlyStopping(9, monitor="cost")
    )
    assert history.metrics == {"cost 2": [3.0, 1.0, 2.0]}
    assert history.best_epoch == int(np.argmin(history.cost))


def test_functions_that_no_checkpoint_holds_are_refused_before_the_first_epoch(tmp_path):
    X, Y = data()
    net = Network([4, 3], Activation(np.sin, np.cos), seed=0)
    before = state(net)
    with pytest.raises(TypeError, match="a model file holds no code"):
        net.fit(X, Y, epochs=1, checkpoint=tmp_path / "fit")
    assert state(net) == before
    assert not list(tmp_path.iterdir())


class OwnSGD(SGD):
    pass


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"optimizer": OwnSGD(0.1)}, ModelFileError, "of a class of your own"),
        ({"metadata": {"text": "x" * (2 << 20)}}, ModelFileError, "header has .*'metadata' alone"),
        ({"checkpoint": ""}, ValueError, "checkpoint"),
        ({"checkpoint": "."}, IsADirectoryError, r"\."),
        ({"checkpoint": "none/fit"}, FileNotFoundError, "none"),
        ({"checkpoint": "link"}, FileNotFoundError, "none"),
        ({"checkpoint": "pipe"}, ModelFileError, "expected a regular file"),
        ({"checkpoint": "x" * 300}, OSError, "xxx"),
    ],
)
@every_backend
def test_what_no_checkpoint_takes_is_refused_before_the_first_epoch(
    change, error, says, backend, tmp_path, monkeypatch
):
    X, Y = data()
    monkeypatch.chdir(tmp_path)
    if os.name == "posix":
        os.mkfifo("pipe")
        os.symlink("none/fit", "link")
    elif change.get("checkpoint") in ("link", "pipe"):
        pytest.skip("of POSIX systems")
    net = Network([4, 3], seed=0, backend=backend, metadata=change.get("metadata"))
    before = state(net)
    options = {"checkpoint": "fit", "validation_fraction": 0.2, "optimizer": "adam"} | {
        name: value for name, value in change.items() if name != "metadata"
    }
    epochs_seen = []
    with pytest.raises(error, match=says):
        net.fit(X, Y, epochs=2, callbacks=[lambda *_: epochs_seen.append(1)], **options)
    assert state(net) == before
    assert not epochs_seen
    assert not Path("fit").exists()
