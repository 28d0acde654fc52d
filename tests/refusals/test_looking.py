"""Numbers that are not finite, or will not be: in arguments, on the way, in what comes out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from rejections import (
    CURVATURE,
    FREE,
    WITH_BOTH,
    WITH_X,
    Row,
    as_parameters,
    besides,
    check_rejected,
    examples,
    network,
    overflow_call,
    put,
    trained,
)
from support import BACKENDS, every_backend, state

from cbackprop import LBFGS, SGD, Adam, Cost, LevenbergMarquardt, Network

# ---- numbers that are not finite -----------------------------------------------------------------


def test_a_nudge_after_which_the_cost_is_not_finite():
    net = Network([1, 1], activation="identity", seed=0)
    rule = net.chain_rule([1.0], [0.0])
    for term in (rule.weight(1, 0, 0), rule.bias(1, 0), rule.activation(1, 0)):
        with pytest.raises(
            FloatingPointError, match=r"^size is 1e\+200: the cost is not finite after such a nudge"
        ):
            term.nudge(1e200)
        assert term.nudge(1e-6).ratio == pytest.approx(term.value, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", [LBFGS(), LevenbergMarquardt()], ids=["lbfgs", "lm"])
def test_a_fit_to_the_whole_batch_that_cannot_begin(optimizer, backend):
    """Zeros go in and come out, so z and the cost are finite; the derivatives are not."""
    net = Network([1, 1, 1, 1], activation="identity", init="zeros", backend=backend)
    for W in net.weights:
        W[...] = 1e200
    before = net.parameters
    with pytest.raises(FloatingPointError, match=r"^training diverged in epoch 1: .*overflowed"):
        net.fit(np.zeros((3, 1)), np.ones((3, 1)), epochs=2, optimizer=optimizer)
    assert np.array_equal(net.parameters, before)


def value_rows():
    """F. Numbers that are not finite, out of range, or that overflow."""
    every = (*WITH_X, *WITH_BOTH)
    for value in (np.nan, np.inf, -np.inf):
        for call in every:
            yield Row(
                f"{call} X {value}", call, ValueError,
                rf"X has {value} at \[2, 1\]; expected finite numbers",
                lambda net, v=value: {"X": put((6, 4), (2, 1), v)},
            )  # fmt: skip
        for call in WITH_BOTH:
            yield Row(
                f"{call} Y {value}", call, ValueError,
                rf"Y has {value} at \[5, 2\]; expected finite numbers",
                lambda net, v=value: {"Y": put((6, 3), (5, 2), v)},
            )  # fmt: skip
        for position, shape in enumerate(((6, 4), (6, 3))):
            yield Row(
                f"fit validation_data[{position}] {value}", "fit", ValueError,
                rf"validation_data\[{position}\] has {value} at \[0, 1\]; expected finite numbers",
                lambda net, v=value, p=position, s=shape: {
                    "validation_data": [
                        put(s, (0, 1), v) if i == p else examples()[i] for i in (0, 1)
                    ]
                },
            )  # fmt: skip
        yield Row(
            f"parameters {value}", "parameters", ValueError,
            rf"parameters has {value} at \[42\]; expected finite numbers",
            lambda net, v=value: {"parameters": put(43, 42, v)},
        )  # fmt: skip
        for call in ("cost", "gradient"):
            yield Row(
                f"{call} sample_weight {value}", call, ValueError,
                rf"sample_weight has {value} at \[3\]; expected finite numbers",
                lambda net, v=value: {"sample_weight": put(6, 3, v)},
            )  # fmt: skip
        yield Row(
            f"chain_rule x {value}", "chain_rule", ValueError,
            rf"x has {value} at \[0, 3\]; expected finite numbers",
            lambda net, v=value: {"x": put(4, 3, v)},
        )  # fmt: skip
        yield Row(
            f"chain_rule y {value}", "chain_rule", ValueError,
            rf"y has {value} at \[0, 2\]; expected finite numbers",
            lambda net, v=value: {"y": put(3, 2, v)},
        )  # fmt: skip
    # The second argument of a call that is wrong twice is not reached.
    yield Row(
        "gradient wrong twice", "gradient", ValueError, r"X has shape",
        lambda net: {"X": np.zeros((6, 3)), "Y": np.full((6, 3), np.nan)},
    )  # fmt: skip
    for call in every:
        yield Row(
            f"{call} X float32", call, ValueError,
            r"X has .*1e\+300\)? at \[2, 1\], which overflows float32; "
            r"expected numbers up to 3.403e\+38",
            lambda net: {"X": put((6, 4), (2, 1), 1e300)}, {"dtype": "float32"},
        )  # fmt: skip
    yield Row(
        "parameters float32", "parameters", ValueError,
        r"parameters has .*-1e\+39.* at \[7\], which overflows float32; expected numbers up to",
        lambda net: {"parameters": put(43, 7, -1e39)}, {"dtype": "float32"},
    )  # fmt: skip
    if np.finfo(np.longdouble).max > np.finfo(float).max:
        yield Row(
            "predict X long double", "predict", ValueError,
            r"X has .*1e\+4000.* at \[0, 0\], which overflows float64; expected numbers up to 1.79",
            lambda net: {"X": put((6, 4), (0, 0), np.longdouble("1e4000"), np.longdouble)},
        )  # fmt: skip
    for value, name in ((-0.1, "negative"), (1.1, "above 1")):
        for call in WITH_BOTH:
            yield Row(
                f"{call} cross-entropy target {name}", call, ValueError,
                rf"Y has {value} at \[1, 2\]; expected numbers in \[0, 1\] because the cost is "
                r"'cross_entropy'",
                lambda net, v=value: {"Y": put((6, 3), (1, 2), v)}, {"cost": "cross_entropy"},
            )  # fmt: skip
    for call in WITH_BOTH:
        yield Row(
            f"{call} poisson target", call, ValueError,
            r"Y has -0.5 at \[1, 2\]; expected numbers >= 0 because the cost is 'poisson'",
            lambda net: {"Y": put((6, 3), (1, 2), -0.5)}, {"cost": "poisson"},
        )  # fmt: skip
    for call in ("cost", "gradient"):
        yield Row(
            f"{call} no weight", call, ValueError,
            r"sample_weight has the sum 0.0; expected a sum > 0",
            lambda net: {"sample_weight": np.zeros(6)},
        )  # fmt: skip
        yield Row(
            f"{call} negative weight", call, ValueError,
            r"sample_weight has -1.0 at \[4\]; expected numbers >= 0",
            lambda net: {"sample_weight": [1, 1, 1, 1, -1, 1]},
        )  # fmt: skip
        yield Row(
            f"{call} weights per example", call, ValueError,
            r"sample_weight is given with per_example=True; expected None",
            lambda net: {"sample_weight": np.ones(6), "per_example": True},
        )  # fmt: skip
    huge = {"sizes": [4, 3], "activation": "identity", "init": "zeros"}

    def overflowing(net):
        # The sum that overflows is W.x of layer 1: 4 times 1e308.
        net.weights[0][...] = 1.0
        return {"X": np.full((6, 4), 1e308)}

    for call in every:
        if call not in ("partial_fit", "fit"):
            yield Row(
                f"{call} z overflows", overflow_call(call), FloatingPointError,
                r"the weighted input z of layer 1 is not finite: finite inputs and parameters "
                r"overflowed float64",
                overflowing, huge,
            )  # fmt: skip
    yield Row(
        "predict exp overflows", "predict", FloatingPointError,
        r"the activation a of layer 2 is not finite",
        lambda net: net.biases[1].fill(1e3) or {},
        {"activation": ["sigmoid", "exponential"]},
    )  # fmt: skip
    yield Row(
        "gradient cost overflows", "gradient", FloatingPointError,
        r"the cost or its gradient of layer 2 is not finite",
        lambda net: {"Y": np.full((6, 3), 1e200)},
    )  # fmt: skip
    # 1e200 passed back through 1e200; with relu at 0 that is then multiplied by 0.
    for first in ("identity", "relu"):
        yield Row(
            f"jacobian overflows below {first}", lambda net: net.jacobian(np.zeros((6, 1))),
            FloatingPointError, r"a derivative of the outputs of layer 1 is not finite",
            lambda net: [W.fill(1e200) for W in net.weights] and {},
            {
                "sizes": [1, 1, 1, 1], "init": "zeros",
                "activation": [first, "identity", "identity"],
            },
        )  # fmt: skip
    # Each derivative fits; the root of their squares' sum does not.
    yield Row(
        "norm overflows",
        lambda net: net.gradient_norms(np.zeros((6, 4)), np.full((6, 3), 1.7e308)),
        FloatingPointError,
        r"the norm of a gradient is not finite",
        lambda net: {},
        {
            "sizes": [4, 3],
            "activation": "identity",
            "init": "zeros",
            "cost": Cost(lambda a, y: np.zeros(len(a)), lambda a, y: y, "free"),
        },
    )


def overflowing_rows():
    """Finite numbers whose results are not: each is named for what it is."""
    linear = {"sizes": [4, 3], "activation": "identity", "init": "zeros", "cost": FREE}

    def row(name, call, pattern, **options):
        return Row(name, call, FloatingPointError, pattern, lambda net: {}, {**linear, **options})

    zeros, ones = np.zeros((6, 4)), np.ones((6, 4))
    for dtype, y in (("float64", 1e200), ("float32", 1e25)):
        yield row(
            f"an inner product overflows {dtype}",
            lambda net, y=y: net.gradient_gram(zeros, np.full((6, 3), y)),
            r"an inner product of two gradients is not finite: .* overflowed " + dtype, dtype=dtype,
        )  # fmt: skip
        yield row(
            f"an inner product with a second set overflows {dtype}",
            lambda net, y=y: net.gradient_gram(
                zeros, np.full((6, 3), y), ones, np.full((6, 3), -y)
            ),
            r"an inner product of two gradients is not finite: .* overflowed " + dtype, dtype=dtype,
        )  # fmt: skip
        yield row(
            f"a variance overflows {dtype}",
            lambda net, y=y: net.gradient_moments(zeros, np.array([[y] * 3, [-y] * 3] * 3)),
            r"the variance of a derivative is not finite: .* overflowed " + dtype, dtype=dtype,
        )  # fmt: skip
    yield row(
        "a norm that clips overflows",
        lambda net: net.clipped_gradient(zeros, np.full((6, 3), 1.7e308), 1.0),
        r"the norm of a gradient is not finite",
    )  # fmt: skip
    yield row(
        "the variance of the costs overflows",
        lambda net: net.gradient_moments(zeros, np.array([[1e90, 0, 0], [0, 0, 0]] * 3)),
        r"the variance of the costs is not finite", cost="quadratic",
    )  # fmt: skip
    # Every layer's z of the second set: the weights are ones.
    yield Row(
        "z of a second set overflows",
        lambda net: net.gradient_gram(zeros, zeros[:, :3], np.full((6, 4), 1e308), zeros[:, :3]),
        FloatingPointError, r"the weighted input z of layer 1 is not finite",
        lambda net: net.weights[0].fill(1.0) or {}, linear,
    )  # fmt: skip
    for call in CURVATURE:
        yield row(
            f"{call} overflows",
            lambda net, call=call: getattr(net, call)(ones, zeros[:, :3], np.full(15, 1e308)),
            r"the product of the curvature with v is not finite", cost="quadratic",
        )  # fmt: skip
    # 1e200 passed back through 1e200.
    steep = {"sizes": [1, 1, 1], "init": "zeros", "activation": "identity"}

    def fill(net):
        for W in net.weights:
            W.fill(1e200)
        return {}

    yield Row(
        "input_jacobian overflows", lambda net: net.input_jacobian(np.zeros((6, 1))),
        FloatingPointError, r"a derivative of the outputs of layer 1 is not finite", fill, steep,
    )  # fmt: skip
    yield Row(
        "input_gradient overflows",
        lambda net: net.input_gradient(np.zeros((6, 1)), np.full((6, 1), 1e-100)),
        FloatingPointError, r"the cost or its gradient of layer 1 is not finite", fill, steep,
    )  # fmt: skip


@pytest.mark.parametrize("rows", as_parameters([*value_rows(), *overflowing_rows()]))
def test_rejected(rows, capfd):
    for row in rows:
        check_rejected(row, capfd)


@every_backend
@pytest.mark.parametrize("row", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 4])
def test_a_bad_number_is_found_wherever_it_stands(row, backend):
    """Numbers are looked at in blocks of 2^20."""
    n = (1 << 20) + 5
    net = network(backend, sizes=[1, 1], dtype="float32")
    values = np.zeros((n, 1), np.float32)
    wrong = put((n, 1), (row, 0), np.inf, np.float32)
    for name, pair in (("X", (wrong, values)), ("Y", (values, wrong))):
        with pytest.raises(ValueError, match=rf"^{name} has inf at \[{row}, 0\]; expected finite"):
            net.cost(*pair)


@every_backend
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["weights[0]", "biases[0]", "weights[1]", "biases[1]"])
def test_a_number_written_into_a_live_view_is_found_and_named(place, bad, backend):
    X, Y = examples()
    net = trained(backend)
    kind, position = place[:-3], int(place[-2])
    view = getattr(net, kind)[position]
    index = (2, 1) if view.ndim == 2 else (2,)
    view[index] = bad
    before = state(net)
    message = (
        rf"{kind}\[{position}\] of layer {position + 1} has {bad} at "
        rf"{re.escape(str(list(index)))}; expected finite numbers"
    )
    calls = [lambda call=call: getattr(net, call)(X) for call in WITH_X]
    calls += [
        lambda call=call: getattr(net, call)(X, Y, **besides(net, call)) for call in WITH_BOTH
    ]
    calls += [lambda: net.gradient_gram(X, Y, X, Y)]
    calls += [lambda: net.partial_fit(X[0], Y[0]), lambda: net.fit(X, Y, epochs=0)]
    calls += [lambda: net.chain_rule(X[0], Y[0])]
    calls += [lambda: net.gradient(X, Y, per_example=True)]
    for call in calls:
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
        assert state(net) == before
    view[index] = 0.25
    twin = net.copy()
    assert net.predict(X).tobytes() == twin.predict(X).tobytes()
    assert net.partial_fit(X, Y).parameters.tobytes() == twin.partial_fit(X, Y).parameters.tobytes()


def diverging(backend, dtype="float64"):
    """A linear network that blows up after some epochs; X and Y for it."""
    X, Y = examples()
    return network(backend, sizes=[4, 3], activation="identity", dtype=dtype), X, Y


@every_backend
@pytest.mark.parametrize(
    "optimizer", [SGD(3.0), SGD(3.0, 0.5), SGD(3.0, 0.5, True)], ids=["sgd", "momentum", "nesterov"]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_divergence_in_a_later_epoch(dtype, optimizer, backend, capfd):
    net, X, Y = diverging(backend, dtype)
    seen = []
    with pytest.raises(FloatingPointError) as failure:
        net.fit(
            X, Y, epochs=2000, batch_size=4, optimizer=optimizer,
            callbacks=lambda net, history: seen.append((state(net), history.epochs)),
        )  # fmt: skip
    assert len(seen) > 5
    # The epochs that were completed, and the one that was not, counted from 1.
    assert re.match(
        rf"training diverged in epoch {len(seen) + 1}: .* overflowed; the parameters are those at "
        r"the start of that epoch",
        str(failure.value),
    )
    assert (state(net), len(seen)) == seen[-1]
    assert np.isfinite(net.parameters).all()
    assert capfd.readouterr() == ("", "")
    net.reset(1)
    assert net.fit(X, Y, epochs=2, learning_rate=0.01).epochs == 2


@every_backend
@pytest.mark.parametrize("optimizer", [SGD(), SGD(0.1, 0.5), SGD(0.1, 0.5, True), Adam()])
def test_divergence_in_the_first_epoch(optimizer, backend):
    X, Y = examples()
    net = trained(backend, activation="identity")
    before, gradient = state(net), net.gradient(X, Y).vector
    with pytest.raises(FloatingPointError, match=r"^training diverged in epoch 1: "):
        net.fit(X, Y, epochs=3, batch_size=2, optimizer=optimizer, learning_rate=1e300)
    # The optimiser that was there before the fit is there again.
    assert state(net) == before
    assert net.gradient(X, Y).vector.tobytes() == gradient.tobytes()


@every_backend
@pytest.mark.parametrize("batch_size", [32, 2])
@pytest.mark.parametrize("changes", [{}, {"learning_rate": 1e300}, {"optimizer": SGD(1e300)}])
def test_divergence_in_partial_fit_restores_everything(changes, batch_size, backend):
    X, Y = examples()
    net = network(backend, activation="identity")
    net.partial_fit(X, Y, optimizer=SGD(0.01, 0.5))
    before = state(net)
    wide_X, wide_Y = np.concatenate([X, 1e200 * X]), np.concatenate([Y, Y])
    with pytest.raises(FloatingPointError, match=r"^the step diverged: .* it was before the call"):
        net.partial_fit(wide_X, wide_Y, batch_size=batch_size, **changes)
    assert state(net) == before


@every_backend
@pytest.mark.parametrize(
    "judge",
    [
        pytest.param({"validation_data": ([[1.0]], [[0.0]])}, id="cost"),
        pytest.param({"metrics": "accuracy"}, id="metric"),
    ],
)
def test_divergence_met_by_the_epochs_judgement(judge, backend):
    net = network(backend, sizes=[1, 1, 1], activation="identity")
    before = net.parameters
    with pytest.raises(FloatingPointError, match="epoch 1"):
        net.fit([[1.0]], [[0.0]], epochs=1, learning_rate=1e200, **judge)
    np.testing.assert_array_equal(net.parameters, before)


@every_backend
@pytest.mark.parametrize("scale", [1.0, 1e4, 800.0, 1e300])
def test_saturated_networks_stay_finite_and_quiet(scale, backend):
    X, Y = examples()
    for options in (
        {},
        {"activation": ["relu", "softmax"], "cost": "cross_entropy"},
        {"activation": ["tanh", "sigmoid"], "cost": "cross_entropy"},
        {"activation": ["softsign", "softplus"], "cost": "mae"},
    ):
        net = network(backend, **options)
        inputs = np.sign(X) * scale
        with np.errstate(all="raise"):
            try:
                predicted = net.predict(inputs)
                gradient = net.gradient(inputs, Y)
            except FloatingPointError as error:
                # Our own, for layers that do not bound their outputs.
                assert re.match("the (weighted input z|activation a|cost or)", str(error))  # noqa: PT017
                assert scale == 1e300
                continue
        assert np.isfinite(predicted).all()
        assert np.isfinite(gradient.vector).all()
        if options.get("activation", [""])[-1] == "softmax":
            np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-15)
    sigmoid = network(backend, sizes=[1, 1])
    sigmoid.parameters = [1.0, 0.0]
    assert sigmoid.predict([[800.0]])[0, 0] == 1.0
    assert 0 <= sigmoid.predict([[-800.0]])[0, 0] < 1e-300
    assert 0 <= sigmoid.gradient([[-800.0]], [[1.0]]).vector[0] * -1 < 1e-300


@every_backend
def test_relu_at_zero_and_equal_weights(backend):
    net = network(backend, sizes=[2, 3, 1], activation=["relu", "identity"], init="zeros")
    X = np.array([[1.0, -2.0], [-0.0, 0.0]])
    assert [set(d.ravel()) for d in net.backward(X, [[1.0], [1.0]]).da_dz[1:]] == [{0.0}, {1.0}]
    for view in (*net.weights, *net.biases):
        view[...] = 0.5
    gradient = net.gradient(X, [[1.0], [1.0]])
    rows = gradient.weights[0]
    assert rows[0].tobytes() == rows[1].tobytes() == rows[2].tobytes()
    assert net.predict(X).tobytes() == net.predict(X + 0.0).tobytes()


@every_backend
def test_an_overflowing_gradient_of_one_example_is_an_error(backend):
    # dC/dw = a * delta = 1e200 * 1e150, though a, delta and the cost are finite.
    net = network(backend, sizes=[1, 1, 1], activation="identity", cost="mae")
    net.parameters = [1e-150, 0, 1e150, 0]
    with pytest.raises(FloatingPointError, match="not finite"):
        net.gradient([[1e200]], [[0.0]])
    with pytest.raises(FloatingPointError, match="not finite"):
        net.gradient([[1e200]], [[0.0]], per_example=True)
