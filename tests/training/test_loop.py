"""fit and partial_fit: digits are learned, and a run is recorded and repeatable."""

from __future__ import annotations

import contextlib
import copy
import itertools
import pickle

import numpy as np
import pytest
from fits import OPTIMIZERS, data, everything, network, one_pass, scripted
from rejections import examples, trained
from rejections import network as untrained
from support import BACKENDS, every_backend, state

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
    datasets,
    schedules,
)
from cbackprop.reference import calculus


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(scope="module")
def digits():
    """Every fifth digit is held out: (X, Y), (X_test, Y_test)."""
    X, labels = datasets.load_digits()
    Y = datasets.one_hot(labels, 10)
    held_out = np.arange(len(X)) % 5 == 0
    return (X[~held_out], Y[~held_out]), (X[held_out], Y[held_out])


XOR = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
XOR_Y = np.array([[0.0], [1.0], [1.0], [0.0]])


# ---- real digits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_lesson_s_network_reads_digits(digits, dtype, seed):
    train, test = digits
    net = Network([64, 30, 10], dtype=dtype, seed=seed)
    net.fit(*train, epochs=30, batch_size=10, learning_rate=2.0)
    assert net.score(*test) >= 0.95


def test_deep_network_reads_digits(digits):
    """relu, softmax and cross-entropy with Adam, as people train today."""
    train, test = digits
    net = Network([64, 48, 48, 10], ["relu", "relu", "softmax"], "cross_entropy", seed=0)
    history = net.fit(*train, epochs=20, optimizer=Adam(0.002), validation_data=test)
    assert net.score(*test) >= 0.96
    assert history.validation_cost[-1] < history.validation_cost[0] / 5


def test_mnist_in_the_published_band(mnist_directory):
    """Nielsen's [784, 30, 10], 30 epochs of batches of 10, learning rate 3 with his ½: 1.5 here.

    His code draws N(0, 1); final accuracies are 94.8 to 95.4 % (Neural Networks and Deep Learning,
    chapter 1), with a tenth more on either side for other seeds.
    """
    (X, labels), (X_test, labels_test) = datasets.load_mnist(mnist_directory)
    net = Network([784, 30, 10], init="standard_normal", dtype="float32", seed=0)
    net.fit(
        X[:50_000],
        datasets.one_hot(labels[:50_000], 10),
        epochs=30,
        batch_size=10,
        learning_rate=1.5,
    )
    assert 0.942 <= net.score(X_test, datasets.one_hot(labels_test, 10)) <= 0.957


# ---- the record ----------------------------------------------------------------------------------


def test_history_counts_and_costs(backend):
    net = Network([2, 4, 1], seed=1, backend=backend)
    first = net.cost(XOR, XOR_Y)
    history = net.fit(
        XOR,
        XOR_Y,
        epochs=3,
        batch_size=4,
        shuffle=False,
        validation_data=(XOR, XOR_Y),
        metrics=("accuracy", lambda a, y: float(np.abs(a - y).max())),
    )
    assert history.epochs == 3
    assert history.stop_reason == "epochs"
    assert history.seconds > 0
    assert len(history.cost) == len(history.validation_cost) == 3
    # One batch an epoch: the epoch's cost is the cost before its step, the validation's after.
    assert history.cost[0] == pytest.approx(first, rel=1e-14)
    np.testing.assert_allclose(history.cost[1:], history.validation_cost[:-1], rtol=1e-14)
    assert history.validation_cost[-1] == pytest.approx(net.cost(XOR, XOR_Y), rel=1e-14)
    assert list(history.metrics) == ["accuracy", "<lambda>"]
    assert history.metrics["accuracy"][-1] == net.score(XOR, XOR_Y)
    assert history.metrics["<lambda>"][-1] == np.abs(net.predict(XOR) - XOR_Y).max()
    assert "3 epochs" in repr(history)


def test_last_batch_counts_by_its_own_size(backend):
    """Five examples in batches of 2: the mean gradient of the last is over one example."""
    rng = np.random.default_rng(3)
    X, Y = rng.random((5, 2)), rng.random((5, 1))
    net = Network([2, 3, 1], seed=0, backend=backend)
    by_hand = net.copy()
    for rows in (slice(0, 2), slice(2, 4), slice(4, 5)):
        by_hand.parameters = by_hand.parameters - 0.5 * by_hand.gradient(X[rows], Y[rows]).vector
    net.fit(X, Y, epochs=1, batch_size=2, learning_rate=0.5, shuffle=False)
    np.testing.assert_allclose(net.parameters, by_hand.parameters, rtol=1e-14)


def test_callbacks_are_called_after_each_epoch_and_stop(backend):
    seen = []

    def record(net, history):
        seen.append((history.epochs, net.cost(XOR, XOR_Y)))

    def stop_at_two(net, history):
        return history.epochs == 2

    net = Network([2, 4, 1], seed=1, backend=backend)
    history = net.fit(XOR, XOR_Y, epochs=5, callbacks=(stop_at_two, record))
    assert [epoch for epoch, _ in seen] == [1, 2]  # the last callback is called all the same
    assert history.epochs == 2
    assert history.stop_reason == "callback"
    assert seen[-1][1] == net.cost(XOR, XOR_Y)


# ---- repeatability -------------------------------------------------------------------------------


def test_same_seed_same_run(backend):
    def run():
        net = Network([2, 5, 1], seed=7, backend=backend)
        return net.fit(XOR, XOR_Y, epochs=20, batch_size=2).cost, net.parameters

    (costs, parameters), (costs_again, parameters_again) = run(), run()
    assert costs == costs_again
    assert parameters.tobytes() == parameters_again.tobytes()


def test_shuffle_draws_a_new_order_each_epoch_from_the_network_s_generator():
    """Without shuffling the run differs; a reset generator repeats it."""
    X = np.arange(12.0).reshape(6, 2) / 12
    Y = X[:, :1]
    net, plain = Network([2, 3, 1], seed=0), Network([2, 3, 1], seed=0)
    net.fit(X, Y, epochs=2, batch_size=1)
    plain.fit(X, Y, epochs=2, batch_size=1, shuffle=False)
    assert net.parameters.tobytes() != plain.parameters.tobytes()
    trained = net.parameters
    net.reset(0)
    net.fit(X, Y, epochs=2, batch_size=1)
    assert net.parameters.tobytes() == trained.tobytes()


def test_fit_starts_the_optimiser_afresh_and_partial_fit_goes_on(backend):
    optimizer = Adam(0.05)
    net = Network([2, 4, 1], seed=2, backend=backend)
    net.fit(XOR, XOR_Y, epochs=1, optimizer=optimizer, shuffle=False)
    one_fit = net.copy()
    net.partial_fit(XOR, XOR_Y)
    two_passes = Network([2, 4, 1], seed=2, backend=backend)
    two_passes.fit(XOR, XOR_Y, epochs=2, optimizer=optimizer, shuffle=False)
    assert net.parameters.tobytes() == two_passes.parameters.tobytes()
    one_fit.fit(XOR, XOR_Y, epochs=1, optimizer=optimizer, shuffle=False)
    assert one_fit.parameters.tobytes() != two_passes.parameters.tobytes()


def test_learning_rate_of_partial_fit_stays_and_keeps_the_state():
    """A new learning rate alone does not throw the momentum away."""
    net = Network([2, 4, 1], seed=2)
    twin = net.copy()
    net.partial_fit(XOR, XOR_Y, optimizer=SGD(0.1, momentum=0.9))
    net.partial_fit(XOR, XOR_Y, learning_rate=0.01)
    net.partial_fit(XOR, XOR_Y)
    velocity = np.zeros(twin.n_parameters)
    for rate in (0.1, 0.01, 0.01):
        velocity = 0.9 * velocity + twin.gradient(XOR, XOR_Y).vector
        twin.parameters = twin.parameters - rate * velocity
    np.testing.assert_allclose(net.parameters, twin.parameters, rtol=1e-13)


def test_copy_is_independent_and_continues_alike(backend):
    net = Network([2, 4, 1], seed=3, backend=backend)
    net.fit(XOR, XOR_Y, epochs=2, optimizer=SGD(0.2, momentum=0.5))
    twin = net.copy()
    assert twin.parameters.tobytes() == net.parameters.tobytes()
    for each in (net, twin):
        each.partial_fit(XOR, XOR_Y)
    assert twin.parameters.tobytes() == net.parameters.tobytes()
    for each in (net, twin):
        each.fit(XOR, XOR_Y, epochs=2, batch_size=1)  # the same shuffles too
    assert twin.parameters.tobytes() == net.parameters.tobytes()
    twin.weights[0][...] = 0
    assert net.weights[0].any()


def test_views_are_live_both_ways():
    net = Network([2, 3, 1], seed=0)
    W = net.weights[0]
    W[1, 0] = 5.0
    assert net.parameters[2] == 5.0  # row by row: w_10 is the third
    net.parameters = np.arange(13.0)
    assert W[1, 0] == 2.0
    np.testing.assert_array_equal(net.biases[0], [6, 7, 8])
    with pytest.raises(ValueError, match="read-only"):
        net.parameters[0] = 1.0


# ---- functions of the user's own -----------------------------------------------------------------


def test_user_functions_train_as_the_named_ones_do(backend):
    own = Network(
        [2, 4, 1],
        Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2),
        Cost(lambda a, y: ((a - y) ** 2).sum(axis=1), lambda a, y: 2 * (a - y)),
        seed=5,
        init="glorot",
        backend=backend,
    )
    named = Network([2, 4, 1], "tanh", seed=5, init="glorot", backend=backend)
    for net in (own, named):
        net.fit(XOR, XOR_Y, epochs=50, batch_size=3)
    np.testing.assert_allclose(own.parameters, named.parameters, rtol=1e-10)


# ---- what is shown -------------------------------------------------------------------------------


def test_summary_and_repr():
    net = Network([784, 16, 16, 10], ["relu", "relu", "softmax"], "cross_entropy", dtype="float32")
    text = net.summary()
    assert "13002 parameters, float32, cost cross_entropy" in text
    assert "16 x 784" in text
    assert repr(net).startswith("Network([784, 16, 16, 10], activation=['relu', 'relu', 'softmax']")
    assert "P = 13002" in repr(net.gradient(np.zeros((2, 784)), np.eye(10)[:2]))
    assert "learning_rate=0.1" in repr(SGD())


def test_ctrl_c_inside_a_reference_update_goes_back_to_the_last_full_batch(monkeypatch):
    """Between two statements of Adam's update: slots, parameters and step count agree again."""
    update = calculus.adam_update
    steps = []

    def interrupted(w, m, v, *rest):
        steps.append(1)
        if len(steps) == 3:
            m *= 0.5
            raise KeyboardInterrupt
        update(w, m, v, *rest)

    net = Network([2, 4, 1], seed=4, backend="reference")
    twin = net.copy()
    monkeypatch.setattr(calculus, "adam_update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.fit(XOR, XOR_Y, epochs=3, batch_size=1, optimizer=Adam(0.1), shuffle=False)
    monkeypatch.undo()
    twin.partial_fit(XOR[:2], XOR_Y[:2], batch_size=1, optimizer=Adam(0.1))
    assert net.parameters.tobytes() == twin.parameters.tobytes()
    for each in (net, twin):
        each.partial_fit(XOR, XOR_Y)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


@pytest.mark.parametrize("epsilon", [1e-50, 3e-45])
def test_adam_refuses_an_epsilon_that_float32_rounds_to_nothing(backend, epsilon):
    """3e-45 itself is a float32, but not times sqrt(1 - beta2), as the first step has it."""
    net = Network([2, 4, 1], seed=0, dtype="float32", backend=backend)
    before = net.parameters.tobytes()
    for train in (net.fit, net.partial_fit):
        with pytest.raises(ValueError, match=r"^epsilon is .* is 0 in float32; expected"):
            train(XOR, XOR_Y, optimizer=Adam(epsilon=epsilon))
    assert net.parameters.tobytes() == before
    net.fit(XOR, XOR_Y, epochs=2, optimizer=Adam(epsilon=1e-30))
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize("optimizer", [SGD(0.5), SGD(0.5, momentum=0.9)], ids=["sgd", "momentum"])
@pytest.mark.parametrize("n", [40, 256, 300])
def test_a_step_too_long_to_take_unlooked_at_is_the_same_step(n, optimizer):
    """Ctrl-C is looked for between its pieces, so its gradient is summed before it is applied."""
    net = Network([4000, 3600], "identity", dtype="float32", init="zeros", seed=0)
    X = np.linspace(-1, 1, n * 4000, dtype="float32").reshape(n, 4000)
    Y = np.ones((n, 3600), "float32")
    expected = -0.5 * net.gradient(X, Y).vector
    net.fit(X, Y, epochs=1, batch_size=n, optimizer=optimizer, shuffle=False)
    np.testing.assert_allclose(net.parameters, expected, rtol=1e-6, atol=1e-9)
    net.partial_fit(X, Y, batch_size=n)
    assert not np.array_equal(net.parameters, expected)


@every_backend
@pytest.mark.parametrize("twin_of", [Network.copy, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_copies_are_equal_and_independent(dtype, twin_of, backend):
    X, Y = examples()
    net = trained(backend, dtype=dtype)
    twin = twin_of(net)
    assert type(twin) is Network
    assert state(twin) == state(net)
    assert repr(twin) == repr(net)
    assert twin.predict(X).tobytes() == net.predict(X).tobytes()
    before = state(net)
    twin.fit(X, Y, epochs=2)
    twin.weights[0][...] = 7
    assert state(net) == before
    # The generator's state came along: the next shuffles are the same, and so are the slots.
    pair = [net, twin_of(net)]
    for one in pair:
        one.partial_fit(X, Y)
        one.fit(X, Y, epochs=3, batch_size=2)
    assert state(pair[0]) == state(pair[1])
    # One that was never trained has no optimiser to copy.
    assert state(twin_of(untrained(backend))) == state(untrained(backend))


# ---- what a failure leaves -----------------------------------------------------------------------


@every_backend
@pytest.mark.parametrize("with_all", [False, True], ids=["plain", "everything"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_divergence_names_the_epoch_and_goes_back_to_its_start(optimizer, with_all, backend):
    """In the second batch of epoch 4, after a step that was far too long."""
    X, Y = data()
    net = network(backend, (4, 6, 3), activation="identity")
    options = dict(everything(optimizer)) if with_all else {}
    options.pop("max_norm", None)  # it would tame the step
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
    options = everything(optimizer)

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
            net.fit(X, Y, epochs=5, batch_size=7, optimizer=optimizer, **options, **arguments)
        good = {name: {"schedule": lambda epoch, rate: 0.1, "shuffle": np.arange(24)}.get(name, ())
                for name in arguments}  # fmt: skip
        twin.fit(X, Y, epochs=completed, batch_size=7, optimizer=optimizer, **options, **good)
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
    options = {k: v for k, v in everything(optimizer).items() if k != "noise_multiplier"}
    options["sample_weight"] = np.linspace(0.5, 1, 24)
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


# ---- what a fit leaves behind --------------------------------------------------------------------


class Stop(Exception):
    """What a function of the user's raises."""


def fits_with_a_schedule():
    """Ways in which a fit whose schedule goes down to 1e-8 of the rate may end."""

    def down(epoch, rate):
        return rate * 1e-4**epoch

    def failing(net, history):
        if history.epochs == 2:
            raise Stop

    def interrupted(net, history):
        if history.epochs == 2:
            raise KeyboardInterrupt

    yield "epochs", {"schedule": down}, None
    yield "callback", {"schedule": down, "callbacks": lambda net, h: h.epochs == 2}, None
    yield "failing callback", {"schedule": down, "callbacks": failing}, Stop
    yield "interrupted callback", {"schedule": down, "callbacks": interrupted}, KeyboardInterrupt
    yield "early stopping", {"schedule": down, "early_stopping": EarlyStopping(1, 9, "cost")}, None
    yield "failing schedule", {"schedule": lambda e, r: "x" if e == 2 else down(e, r)}, TypeError
    yield "failing order", {"schedule": down, "shuffle": lambda e: [0]}, ValueError
    yield "failing metric", {"schedule": down, "metrics": [1, 2]}, IndexError
    yield "plateaus", {"schedule": schedules.ReduceOnPlateau(1e-4, 0, 0.9)}, None
    yield "cycle", {"schedule": schedules.OneCycle(3)}, None


WAYS = ("fit", "copy", "pickle", "copy in a callback", "pickle in a callback", "resume", "load")


@pytest.mark.parametrize("optimizer", [SGD(0.3), Adam(0.02)], ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", list(fits_with_a_schedule()), ids=lambda case: case[0])
def test_every_way_into_partial_fit_has_the_optimisers_own_rate(
    case, way, optimizer, backend, tmp_path
):
    """Arrays on the quick way, lists, another type, other batches: after whatever came before."""
    _, options, error = case
    X, Y = data(8, 3, 2)
    net, taken = Network([3, 4, 2], seed=1, backend=backend), []
    twins = {
        "copy": lambda net: net.copy(),
        "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    }
    options = dict(options)
    if "metrics" in options:
        options["metrics"] = scripted(options["metrics"])
    if way.endswith("in a callback"):
        given = options.get("callbacks")
        first = [lambda net, h: taken.append(twins[way.split()[0]](net)) or None]
        options["callbacks"] = [*first, *([given] if given else [])]
    if way in ("resume", "load"):
        options["checkpoint"] = tmp_path / "fit"
    with pytest.raises(error) if error else contextlib.nullcontext():
        net.fit(X, Y, epochs=3, batch_size=4, optimizer=optimizer, **options)
    if way == "resume" and (tmp_path / "fit").exists():
        with pytest.raises(error) if error else contextlib.nullcontext():
            net.fit(X, Y, epochs=4, batch_size=4, optimizer=optimizer, resume=True, **options)
    if way == "load" and (tmp_path / "fit").exists():
        net = Network.load(tmp_path / "fit", backend=backend)
    net = taken[-1] if taken else twins[way](net) if way in twins else net
    if net._model.optimizer is not None:
        assert net._engine.learning_rate == net._model.optimizer.learning_rate
    ends = []
    for call in (
        lambda net: net.partial_fit(X, Y),
        lambda net: net.partial_fit(X.tolist(), Y.tolist()),
        lambda net: net.partial_fit(X.astype("longdouble"), Y),
        lambda net: net.partial_fit(X, Y, options={}),
        lambda net: net.partial_fit(X, Y, sample_weight=None, learning_rate=None),
    ):
        twin = net.copy()
        call(twin)
        ends.append(state(twin))
    assert all(end == ends[0] for end in ends)


def test_the_history_is_that_of_the_last_fit(backend):
    X, Y = data(8, 3, 2)
    net = Network([3, 4, 2], seed=1, backend=backend)
    assert net.history is None
    history = net.fit(X, Y, epochs=2)
    assert net.history is history
    # A call that is refused leaves it; a copy and a pickle have none.
    with pytest.raises(ValueError, match=r"^epochs"):
        net.fit(X, Y, epochs=-1)
    assert net.history is history
    assert net.copy().history is pickle.loads(pickle.dumps(net)).history is None

    def end(error):
        def callback(net, history):
            if history.epochs == 3:
                raise error

        with pytest.raises(error):
            net.fit(X, Y, epochs=9, callbacks=callback, metrics="mse")
        assert net.history.epochs == len(net.history.cost) == 3
        assert len(net.history.metrics["mse"]) == len(net.history.learning_rate) == 3
        return net.history.stop_reason

    assert end(KeyboardInterrupt) == "interrupted"
    assert end(Stop) == "error"
    with pytest.raises(AttributeError):
        net.history = None
    assert net.reset(1).history is None


@pytest.mark.parametrize("restore_best", [True, False])
def test_after_ctrl_c_the_best_epoch_comes_back_where_it_is_asked_for(restore_best, backend):
    X, Y = data(8, 3, 2)
    net, after = Network([3, 4, 2], seed=1, backend=backend), []

    def callback(net, history):
        after.append(net.parameters.tobytes())
        if history.epochs == 4:
            raise KeyboardInterrupt

    stopping = EarlyStopping(9, 0, "metric", restore_best, larger_is_better=False)
    with pytest.raises(KeyboardInterrupt):
        net.fit(
            X, Y, epochs=9, metrics=scripted([3, 1, 2, 2]), early_stopping=stopping,
            callbacks=callback,
        )  # fmt: skip
    assert net.history.best_epoch == 1
    assert net.parameters.tobytes() == after[1 if restore_best else 3]


@pytest.mark.parametrize("call", ["fit", "partial_fit"])
def test_where_large_numbers_diverge_scaling_is_the_cure(call, backend):
    X, Y = data(8, 3, 2)
    for scale_X, scale_Y, words in (
        (1, 1, r"A smaller learning_rate is the usual cure$"),
        (1e6, 1, r"X has numbers up to \S+: scaling to about 1 .* is the usual cure, a smaller"),
        (1, 1e6, r"Y has numbers up to \S+: scaling to about 1"),
        (1e6, 1e6, r"X has numbers up to \S+ and Y has numbers up to \S+: scaling to about 1"),
    ):
        net = Network([3, 4, 2], "identity", seed=1, backend=backend)
        one = {"fit": {"epochs": 5_000}, "partial_fit": {}}[call]

        def until_it_diverges(net=net, options=one, X=scale_X * X, Y=scale_Y * Y):
            for _ in range(2_000):
                getattr(net, call)(X, Y, learning_rate=5.0, **options)

        with pytest.raises(FloatingPointError, match=rf"diverged.*{words}"):
            until_it_diverges()
        assert np.isfinite(net.parameters).all()
