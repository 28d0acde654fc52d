"""fit(standardise=True): training on standardised numbers by a network that takes them as they are.

The truth is a twin that is trained on numbers that were standardised by hand.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest
from fits import OPTIMIZERS, one_pass
from support import BACKENDS, Array, Csr, both_dtypes, every_backend, scales_of, state

from cbackprop import LBFGS, SGD, Activation, Adam, Cost, EarlyStopping, LevenbergMarquardt, Network
from cbackprop.functions import COSTS
from cbackprop.model import Snapshot
from cbackprop.scaling import Scales, scaling_of

ALL = [*OPTIMIZERS, LBFGS(), LevenbergMarquardt()]
MEAN, DEVIATION = np.array([3.0, -400.0, 0.02, 9e4]), np.array([0.5, 30.0, 0.001, 700.0])
UNITS = np.array([1e4, 0.05])
OWN_COST = Cost(lambda a, y: ((a - y) ** 2).sum(axis=1), lambda a, y: 2 * (a - y), "own")


def examples(n: int = 30, dtype: str = "float64", n_out: int = 2) -> tuple[Array, Array]:
    """Columns of very different sizes, and targets that depend on them."""
    rng = np.random.default_rng(3)
    U = rng.normal(size=(n, 4))
    Y = np.column_stack([U @ [1, -1, 0.5, 2], np.tanh(U[:, 0] * U[:, 1])])[:, :n_out]
    return (MEAN + DEVIATION * U).astype(dtype), (UNITS[:n_out] * (Y + 5)).astype(dtype)


def network(backend: str = BACKENDS[0], dtype: str = "float64", **options: Any) -> Network:
    sizes = options.pop("sizes", (4, 6, 2))
    options = {"activation": ["tanh"] * (len(sizes) - 2) + ["identity"], "cost": "mse"} | options
    return Network(list(sizes), seed=5, backend=backend, dtype=dtype, **options)


def by_hand(X: Array, of: Array | None = None) -> tuple[Array, Array, Array]:
    """The rows, standardised by those of another array, its mean and its deviation."""
    of = (X if of is None else of).astype(np.float64)
    mean, deviation = of.mean(axis=0), of.std(axis=0)
    return ((X - mean) / deviation).astype(X.dtype), mean, deviation


# ---- the same training as by hand ----------------------------------------------------------------


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_it_is_the_training_on_standardised_numbers(optimizer, dtype, backend):
    X, Y = examples(dtype=dtype)
    if isinstance(optimizer, (LBFGS, LevenbergMarquardt)):
        options: dict[str, Any] = {"l2": 0.01, "epochs": 3, "optimizer": optimizer}
    else:
        options = {"l2": 0.01, "l1": 0.001, "dropout": 0.2, "max_norm": 2.0, "clip_norm": 3.0}
        options |= {"epochs": 3, "batch_size": 8, "optimizer": optimizer}
    net, twin = network(backend, dtype), network(backend, dtype)
    history = net.fit(X, Y, standardise=True, **options)
    assert net.scales is not None
    assert net.scales.outputs is not None
    for scaling, rows in ((net.scales.inputs, X), (net.scales.outputs, Y)):
        _, mean, deviation = by_hand(rows)
        np.testing.assert_allclose(scaling.mean, mean, rtol=1e-14)
        np.testing.assert_allclose(scaling.deviation, deviation, rtol=1e-12)
        assert not scaling.mean.flags.writeable
        assert not scaling.deviation.flags.writeable
    # To the bit in those scales; penalties, lengths and costs are of standardised numbers.
    other = twin.fit(net.scales.inputs.apply(X), net.scales.outputs.apply(Y), **options)
    assert history.cost == other.cost
    assert history.penalty == other.penalty
    assert scales_of(net)[-1] == twin._model.storage.tobytes()
    # And the network takes and gives numbers as they are.
    scaled, (_, mean, deviation) = by_hand(X)[0], by_hand(Y)
    expected = twin.predict(scaled) * deviation + mean
    precision = 1e-9 if dtype == "float64" else 2e-2  # 9e4 ± 700 has four digits of float32 left
    np.testing.assert_allclose(
        (net.predict(X) - expected) / deviation, np.zeros_like(expected), atol=precision
    )


@every_backend
def test_a_single_layer_is_the_first_and_the_last(backend):
    X, Y = examples()
    net = network(backend, sizes=(4, 2))
    net.fit(X, Y, epochs=60, standardise=True, optimizer=LBFGS())
    A = np.column_stack([X, np.ones(len(X))])
    expected = A @ np.linalg.lstsq(A, Y, rcond=None)[0]
    np.testing.assert_allclose(net.predict(X) / UNITS, expected / UNITS, rtol=1e-6)


@every_backend
@pytest.mark.parametrize(
    "options",
    [
        {"activation": "sigmoid", "cost": "quadratic"},
        {"activation": ["tanh", "softmax"], "cost": "cross_entropy"},
        {"activation": ["tanh", "softplus"], "cost": "mse"},
        {"activation": ["tanh", "identity"], "cost": OWN_COST},
        {"activation": ["tanh", Activation(lambda z: z, np.ones_like)], "cost": "mse"},
    ],
    ids=str,
)
def test_other_targets_stay_as_they_are(options, backend):
    """Those of bounded outputs, and what only the user knows; then costs have their own units."""
    X, _ = examples()
    Y = np.eye(2)[np.arange(30) % 3 // 2]
    net = network(backend, **options)
    history = net.fit(X, Y, epochs=2, standardise=True, learning_rate=0.001, validation_data=(X, Y))
    assert net.scales is not None
    assert net.scales.outputs is None
    assert history.validation_cost[-1] == pytest.approx(net.cost(X, Y), rel=1e-12)


def test_every_cost_of_identity_outputs_takes_scaled_targets():
    for name, row in COSTS.items():
        if row.outputs is None or "identity" in row.outputs:
            assert row.target_range == (-np.inf, np.inf), name


# ---- the scales ----------------------------------------------------------------------------------


def test_scales_are_of_the_rows_trained_on_each_counted_once():
    X, Y = examples()
    X[20:] += 1e7
    net = network()
    net.fit(
        X, Y, epochs=1, standardise=True, shuffle=False, validation_fraction=1 / 3,
        sample_weight=np.r_[np.zeros(10), np.ones(20)],
    )  # fmt: skip
    assert net.scales is not None
    np.testing.assert_allclose(net.scales.inputs.mean, X[:20].mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(net.scales.inputs.deviation, X[:20].std(axis=0), rtol=1e-12)


def test_equal_numbers_are_only_shifted():
    """Also those that are equal up to rounding, and their own mean to the bit."""
    columns = [np.full(7, 0.1), np.arange(7.0), np.array([0.3, 0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3])]
    rows = np.column_stack(columns)
    scaling = scaling_of(rows)
    assert scaling.deviation.tolist() == [1, pytest.approx(2), 1]
    scaled = scaling.apply(rows)
    assert (scaled[:, 0] == 0).all()
    assert np.abs(scaled[:, 2]).max() < 1e-15
    assert scaled[:, 1].std() == pytest.approx(1)


@pytest.mark.parametrize("size", [1e-30, 0.3, 7.0, 1e15])
def test_columns_that_are_constant_up_to_rounding(size):
    """0.3 and 0.1 + 0.2; what varies by more is scaled, however little it is."""
    near = np.nextafter(size, 2 * size)
    n = 40
    X = np.column_stack([np.where(np.arange(n) % 3, size, near), size * (1 + 1e-6 * np.arange(n))])
    scaling = scaling_of(X)
    assert scaling.deviation[0] == 1
    assert scaling.deviation[1] == pytest.approx(X[:, 1].std())
    assert np.abs(scaling.apply(X)[:, 0]).max() <= 4 * (near - size)


@pytest.mark.parametrize("sizes", [(4, 3, 2), (4, 2)])
def test_folding_and_back(sizes):
    X, Y = examples()
    scales = Scales(scaling_of(X), scaling_of(Y))
    net = network(sizes=sizes)
    before, outputs = net.parameters, net.predict(scales.inputs.apply(X))
    scales.fold(net.weights, net.biases)
    _, mean, deviation = by_hand(Y)
    np.testing.assert_allclose(net.predict(X), outputs * deviation + mean, rtol=1e-11)
    scales.unfold(net.weights, net.biases)
    np.testing.assert_allclose(net.parameters, before, rtol=1e-10, atol=1e-12)


def test_small_deviations_of_float32_are_deviations():
    """1013 ± 8 over many rows, which the error of a sum in float32 would hide."""
    rows = np.where(np.arange(200_000) % 2, 1021, 1005).astype(np.float32)[:, np.newaxis]
    assert scaling_of(rows).deviation == pytest.approx(8)
    rounded = np.where(np.arange(9) % 2, np.float32(0.1), np.nextafter(np.float32(0.1), 1))
    assert scaling_of(rounded[:, np.newaxis].astype(np.float32)).deviation == 1


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1e30, 1e150, 1e300])
def test_sizes_whose_squares_are_no_numbers(size):
    rows = np.arange(6.0)[:, np.newaxis] * size
    scaling = scaling_of(rows)
    assert scaling.mean[0] == pytest.approx(2.5 * size, rel=1e-12)
    assert scaling.deviation[0] == pytest.approx(size * np.std(np.arange(6)), rel=1e-12)


@every_backend
def test_missing_targets_do_not_count(backend):
    X, Y = examples()
    Y[::3, 0] = np.nan
    net = network(backend, sizes=(4, 6, 2))
    history = net.fit(X, Y, epochs=3, standardise=True, missing_targets=True)
    assert net.scales is not None
    assert net.scales.outputs is not None
    there = ~np.isnan(Y[:, 0])
    assert net.scales.outputs.mean[0] == pytest.approx(Y[there, 0].mean(), rel=1e-14)
    assert net.scales.outputs.deviation[0] == pytest.approx(Y[there, 0].std(), rel=1e-12)
    assert np.isfinite(history.cost).all()
    Y[:, 1] = np.nan  # a column of nothing else
    net = network(backend)
    net.fit(X, Y, epochs=1, standardise=True, missing_targets=True)
    assert net.scales is not None
    assert net.scales.outputs is not None
    assert (net.scales.outputs.mean[1], net.scales.outputs.deviation[1]) == (0, 1)


# ---- what is judged, and what callbacks see ------------------------------------------------------


@every_backend
def test_costs_are_of_standardised_targets_and_metrics_of_targets_as_they_are(backend):
    X, Y = examples(60)
    net = network(backend)
    seen = []

    def look(net, history):
        seen.append((net.cost(X[:20], Y[:20]), net.score(X[:20], Y[:20], "mae")))

    history = net.fit(
        X[20:], Y[20:], epochs=3, standardise=True, validation_data=(X[:20], Y[:20]),
        metrics=["mae"], callbacks=[look],
    )  # fmt: skip
    assert net.scales is not None
    assert net.scales.outputs is not None
    scaled = net.scales.outputs.apply(Y[:20])
    outputs = net.scales.outputs.apply(net.predict(X[:20]))
    assert history.validation_cost[-1] == pytest.approx(((outputs - scaled) ** 2).mean(), rel=1e-9)
    assert history.metrics["mae"] == [mae for _, mae in seen]
    assert len({cost for cost, _ in seen}) == 3
    assert seen[-1] == (net.cost(X[:20], Y[:20]), net.score(X[:20], Y[:20], "mae"))


def test_early_stopping_brings_back_the_best_epoch_as_it_was():
    X, Y = examples()
    net, kept = network(), []
    history = net.fit(
        X, Y, epochs=30, standardise=True, learning_rate=0.5, early_stopping=3,
        validation_data=(X, -Y), callbacks=[lambda net, history: kept.append(net.parameters)],
    )  # fmt: skip
    assert history.stop_reason == "early stopping"
    assert history.best_epoch is not None
    np.testing.assert_array_equal(net.parameters, kept[history.best_epoch])


@every_backend
def test_what_a_callback_writes_is_trained_on(backend):
    X, Y = examples()

    def write(net, history):
        if history.epochs == 2:
            net.biases[0][...] = 0.25

    net, twin = network(backend), network(backend)
    net.fit(X, Y, epochs=3, standardise=True, callbacks=[write], shuffle=False)
    twin.fit(X, Y, epochs=2, standardise=True, shuffle=False)
    twin.biases[0][...] = 0.25
    twin.partial_fit(X, Y)
    assert state(net).parameters == state(twin).parameters


# ---- kept for later ------------------------------------------------------------------------------


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_later_passes_go_on_in_the_scales_to_the_bit(optimizer, dtype, backend):
    X, Y = examples(dtype=dtype)
    net, twin = network(backend, dtype), network(backend, dtype)
    net.fit(X, Y, epochs=3, standardise=True, shuffle=False, optimizer=optimizer)
    twin.fit(X, Y, epochs=1, standardise=True, shuffle=False, optimizer=optimizer)
    twin.partial_fit(X, Y)
    one_pass(twin, X, Y, batch_size=32)
    assert state(twin) == state(net)
    for other in (net.copy(), pickle.loads(pickle.dumps(net))):
        assert state(other) == state(net)
        other.partial_fit(X[:1], Y[:1])
        net.copy().partial_fit(X[:1], Y[:1])
        assert state(other) == state(net.copy().partial_fit(X[:1], Y[:1]))


@every_backend
def test_one_example_is_learnt_in_the_scales(backend):
    """Also by the quick way's arguments: x and y are standardised there."""
    X, Y = examples()
    net = network(backend)
    net.fit(X, Y, epochs=1, standardise=True, optimizer=SGD(0.01))
    assert net.scales is not None
    assert net.scales.outputs is not None
    twin = network(backend)
    twin.fit(net.scales.inputs.apply(X), net.scales.outputs.apply(Y), epochs=1, optimizer=SGD(0.01))
    net.partial_fit(X[3], Y[3])
    twin.partial_fit(net.scales.inputs.apply(X)[3], net.scales.outputs.apply(Y)[3])
    assert scales_of(net)[-1] == twin._model.storage.tobytes()


def test_without_scales_the_quick_step_is_the_engines_own():
    net = network()
    assert net._step == net._engine.step
    net.fit(*examples(), epochs=1, standardise=True)
    assert net._step != net._engine.step
    net.partial_fit(*examples())
    assert net._step != net._engine.step
    for twin in (net.copy(), pickle.loads(pickle.dumps(net))):
        assert twin._step != net._engine.step
        twin.fit(*examples(), epochs=1, standardise=False)
        twin.partial_fit(*examples())
        assert twin._step == twin._engine.step
    net.reset(1)
    net.partial_fit(*examples())
    assert net._step == net._engine.step


@every_backend
def test_new_scales_leave_the_outputs_what_they_are(backend):
    X, Y = examples()
    net = network(backend)
    net.fit(X, Y, epochs=2, standardise=True)
    before, first = net.predict(X), net.scales
    assert first is not None
    net.fit(3 * X, Y, epochs=1, standardise=True, learning_rate=0.0)
    assert net.scales is not None
    np.testing.assert_allclose(net.scales.inputs.mean, 3 * first.inputs.mean, rtol=1e-12)
    np.testing.assert_allclose(net.predict(X), before, rtol=1e-9)


def test_false_forgets_them_and_so_does_reset():
    X, Y = examples()
    net, twin = network(), network()
    net.fit(X, Y, epochs=1, standardise=True)
    twin.parameters = net.parameters
    net.fit(X, Y, epochs=1, standardise=False, learning_rate=1e-12, shuffle=False)
    twin.fit(X, Y, epochs=1, learning_rate=1e-12, shuffle=False)
    assert net.scales is None
    np.testing.assert_array_equal(net.parameters, twin.parameters)
    net = network()
    net.fit(X, Y, epochs=1, standardise=True)
    net.reset(5)
    assert net.scales is None
    np.testing.assert_array_equal(net.parameters, network().parameters)
    net.fit(X, Y, epochs=1, standardise=True)


def test_assigned_parameters_are_of_numbers_as_they_are():
    X, Y = examples()
    net = network()
    net.fit(X, Y, epochs=1, standardise=True)
    scales = net.scales
    net.parameters = net.parameters * 0.5
    before = net.predict(X)
    net.fit(X, Y, epochs=1, learning_rate=0.0)
    assert net.scales is scales
    np.testing.assert_allclose(net.predict(X), before, rtol=1e-9)


@pytest.mark.parametrize("standardise", [True, False, None])
def test_no_epochs_change_nothing(standardise):
    X, Y = examples()
    net = network()
    before = state(net)
    net.fit(X, Y, epochs=0, standardise=standardise)
    assert state(net) == before
    net.fit(X, Y, epochs=1, standardise=True)
    before = state(net)
    net.fit(X, Y, epochs=0, standardise=standardise)
    assert state(net) == before


@every_backend
@pytest.mark.parametrize("optimizer", [SGD(), LBFGS()], ids=str)
def test_frozen_layers_keep_their_bits(optimizer, backend):
    X, Y = examples()
    for frozen in ((1,), (3,), (1, 3)):
        net = network(backend, sizes=(4, 5, 4, 2))
        net.fit(X, Y, epochs=1, standardise=True)
        # Nothing is kept from the last training then, and there and back is not exact.
        net.parameters = np.random.default_rng(7).normal(size=net.n_parameters) / 3
        layers = [(W.copy(), b.copy()) for W, b in zip(net.weights, net.biases, strict=True)]
        net.fit(X, Y, epochs=2, frozen=frozen, optimizer=optimizer)
        for l, (W, b) in enumerate(layers, start=1):
            same = (net.weights[l - 1] == W).all() and (net.biases[l - 1] == b).all()
            assert same == (l in frozen)


# ---- checkpoints and files -----------------------------------------------------------------------


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_a_resumed_fit_has_the_bits_of_one_that_was_not_stopped(
    optimizer, dtype, backend, tmp_path
):
    X, Y = examples(dtype=dtype)
    options: dict[str, Any] = {
        "optimizer": optimizer, "standardise": True, "validation_fraction": 0.2, "metrics": ["r2"],
    }  # fmt: skip
    path = tmp_path / "a.checkpoint"
    whole, part = network(backend, dtype), network(backend, dtype)
    history = whole.fit(X, Y, epochs=4, **options)
    part.fit(X, Y, epochs=2, checkpoint=path, **options)
    for net in (network(backend, dtype), part):
        kept = path.read_bytes()
        resumed = net.fit(X, Y, epochs=4, checkpoint=path, resume=True, **options)
        assert state(net) == state(whole)
        assert (resumed.cost, resumed.metrics) == (history.cost, history.metrics)
        path.write_bytes(kept)
    with pytest.raises(ValueError, match=r"resume: the checkpoint's fit had standardise True"):
        network(backend, dtype).fit(
            X, Y, epochs=4, checkpoint=path, resume=True, **options | {"standardise": None}
        )


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_a_file_brings_the_scales(optimizer, dtype, backend, tmp_path):
    X, Y = examples(dtype=dtype)
    path = tmp_path / "a.model"
    net = network(backend, dtype)
    net.fit(X, Y, epochs=2, standardise=True, optimizer=optimizer)
    net.save(path)
    found = Network.load(path, backend=backend)
    assert found.scales is not None
    assert scales_of(found) == scales_of(net)[:-1]  # without what only an optimiser goes on from
    np.testing.assert_array_equal(found.parameters, net.parameters)
    net.save(path, optimizer=True)
    found = Network.load(path, backend=backend)
    assert state(found) == state(net)
    assert state(found.partial_fit(X, Y)) == state(net.partial_fit(X, Y))
    # Nor are parameters kept that no longer go with them.
    net.biases[0][...] = 0.5
    net.save(path, optimizer=True)
    found = Network.load(path, backend=backend)
    assert len(scales_of(found)) == 4
    assert state(found.partial_fit(X, Y)) == state(net.partial_fit(X, Y))


# ---- what goes wrong -----------------------------------------------------------------------------


@every_backend
def test_divergence_leaves_what_was_there_before_the_epoch(backend):
    X, Y = examples()
    for epochs in (0, 2):
        net = network(backend, activation=["exponential", "identity"])
        before = state(net)
        if epochs:
            net.fit(X, Y, epochs=epochs, standardise=True, learning_rate=1e-4)
            before = state(net)
        with pytest.raises(FloatingPointError, match="epoch"):
            net.fit(
                X, Y, epochs=1, batch_size=1, learning_rate=1e8,
                standardise=None if epochs else True,
            )  # fmt: skip
        assert state(net) == before
        if epochs:
            with pytest.raises(FloatingPointError, match="as it was before the call"):
                net.partial_fit(X, Y, batch_size=1, learning_rate=1e8)
            assert state(net) == before


@every_backend
def test_layers_that_the_number_type_cannot_hold(backend):
    X, Y = examples()
    net = network(backend, "float32")
    before = state(net)
    with pytest.raises(FloatingPointError, match=r"^the first or the last.*float32 cannot hold"):
        net.fit(X * 1e-44, Y, epochs=1, standardise=True)
    assert state(net) == before
    with pytest.raises(FloatingPointError, match=r"epoch 1, seen when.*float32 cannot hold"):
        net.fit(X, Y * 1e33, epochs=1, standardise=True, learning_rate=100.0)
    assert state(net) == before


@every_backend
@pytest.mark.parametrize("early_stopping", [None, EarlyStopping(5, monitor="cost")])
def test_ctrl_c_leaves_a_network_for_numbers_as_they_are(early_stopping, backend):
    """In the middle of an epoch, from a function of the user's that the engine calls."""
    X, Y = examples(64)
    calls = [0]

    def value(z):
        calls[0] += 1
        if calls[0] == limit:
            raise KeyboardInterrupt
        return np.tanh(z)

    own = Activation(value, lambda z: 1 - np.tanh(z) ** 2)
    limit = -1
    net = network(backend, activation=[own, "identity"])
    net.fit(X, Y, epochs=1, standardise=True, batch_size=8)
    before, error = net.parameters, net.cost(X, Y)
    limit = calls[0] + 20
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=5, batch_size=8, early_stopping=early_stopping, learning_rate=0.01)
    assert (net.parameters != before).any()
    assert net.cost(X, Y) < 1.1 * error
    assert len(scales_of(net)) == (5 if early_stopping is None else 4)


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_ctrl_c_between_any_two_lines(call):
    """Also of those that take the parameters into the scales and back."""
    X, Y = examples(40)
    lines = [0]

    def interrupt(frame, event, argument):
        if frame.f_code.co_filename.endswith(("standardised.py", "scaling.py")):
            lines[0] += event == "line"
            if lines[0] == limit:
                lines[0] += 1
                raise KeyboardInterrupt
            return interrupt
        return interrupt if event == "call" else None

    trained = network()
    trained.fit(X, Y, epochs=30, standardise=True, batch_size=8)
    error = trained.cost(X, Y)
    for limit in range(1, 1000):
        net, lines[0] = trained.copy(), 0
        sys.settrace(interrupt)
        try:
            if call == "fit":
                net.fit(X, Y, epochs=1, batch_size=8, learning_rate=1e-4)
            else:
                net.partial_fit(X, Y, 8, learning_rate=1e-4)
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            sys.settrace(None)
        assert net.cost(X, Y) == pytest.approx(error, rel=0.05), limit
        net.partial_fit(X, Y, 8, learning_rate=1e-4)
        assert net.cost(X, Y) == pytest.approx(error, rel=0.05), limit
    assert 20 < limit < 999


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no boolean": ({"standardise": "yes"}, r"standardise is 'yes' \(str\); expected"),
    "private": (
        {"clip_norm": 1.0, "noise_multiplier": 1.0},
        "standardise is True with noise_multiplier 1.0; expected False or None",
    ),
    "a frozen first layer": ({"frozen": [1]}, "frozen has layer 1 with standardise=True"),
    "a frozen last layer": ({"frozen": [2]}, "frozen has layer 2 with standardise=True"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_changes_nothing(options, message):
    net = network()
    before = state(net)
    with pytest.raises((TypeError, ValueError), match=message):
        net.fit(*examples(), **{"standardise": True} | options)
    assert state(net) == before


def test_numbers_that_cannot_be_standardised():
    X, Y = examples()
    net = network()
    before = state(net)
    for place, value in ((0, 1.7e308), (1, -1.7e308)):
        X[place, 2] = value
    with pytest.raises(ValueError, match="X has numbers too large to be standardised; expected"):
        net.fit(X, Y, standardise=True)
    X[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"X has nan at \[4, 1\]"):
        net.fit(X, Y, standardise=True)
    assert state(net) == before
    # Later ones are not looked at beforehand.
    X, Y = examples()
    net.fit(X, Y, epochs=1, standardise=True)
    X[4, 1] = np.inf
    with pytest.raises(ValueError, match=r"X has inf at \[4, 1\]"):
        net.fit(X, Y)


def test_sparse_rows_are_refused_with_scales():
    X, Y = examples()
    net = network()
    with pytest.raises(ValueError, match=r"X is sparse, and standardised its zeros are other"):
        net.fit(Csr(X), Y, standardise=True)
    net.fit(X, Y, epochs=1, standardise=True)
    before = state(net)
    for call in (net.fit, net.partial_fit):
        with pytest.raises(ValueError, match=r"X is sparse"):
            call(Csr(X), Y)
    with pytest.raises(ValueError, match=r"validation_data\[0\] is sparse"):
        net.fit(X, Y, validation_data=(Csr(X), Y))
    assert state(net) == before
    twin = network()
    net = network()
    net.fit(Csr(X), Y, epochs=1, standardise=True, sparse=False)
    twin.fit(X, Y, epochs=1, standardise=True, sparse=True)
    assert state(net) == state(twin)


def test_a_network_that_was_trained_on_numbers_as_they_are():
    """Its parameters would be taken for those of standardised ones."""
    X, Y = examples()
    net = network()
    net.partial_fit(X / 1e5, Y / 1e5)
    before = state(net)
    with pytest.raises(ValueError, match=r"has been trained on numbers as they are; expected"):
        net.fit(X, Y, standardise=True)
    assert state(net) == before
    net.reset(5)
    net.fit(X, Y, epochs=1, standardise=True)


def test_a_private_training_may_have_scales_of_other_data():
    X, Y = examples()
    net = network()
    net.fit(X, Y, epochs=1, standardise=True)
    scales = net.scales
    net.fit(2 * X, Y, epochs=1, clip_norm=1.0, noise_multiplier=1.0)
    assert net.scales is scales


@every_backend
def test_what_is_kept_is_never_written_to(backend):
    net = network(backend)
    net.fit(*examples(), epochs=1, standardise=True, optimizer=Adam())
    snapshot, before = Snapshot(net._model), state(net)
    net.fit(*examples(), epochs=2)
    snapshot.restore(net._model)
    assert state(net) == before
