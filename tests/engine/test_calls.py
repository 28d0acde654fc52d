"""The quick ways of partial_fit and predict, for arrays that need no conversion.

They take no copy of the network and look through no array before they start. So they must give
what the slow way gives, on which lists are sent: the same bits, the same error, the same things
untouched.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import Array, both_dtypes, state

import cbackprop
from cbackprop import SGD, Activation, Adam, Network
from cbackprop.random_numbers import RandomNumbers

pytestmark = pytest.mark.skipif(
    cbackprop.info()["backend"] != "compiled", reason="the reference has no quick ways"
)


LARGEST = {dtype: float(np.finfo(dtype).max) for dtype in ("float32", "float64")}


def outcome(call: Callable[[], Any]) -> tuple[str, str]:
    """The error of a call, as its type's name and its text; empty for none."""
    try:
        with warnings.catch_warnings():
            # A fit says what its outputs cannot reach; steps near overflow are told of it often.
            warnings.simplefilter("ignore", UserWarning)
            call()
    except (ArithmeticError, TypeError, ValueError) as error:
        return type(error).__name__, str(error)
    return "", ""


# ---- partial_fit: steps near overflow ------------------------------------------------------------


class Training(NamedTuple):
    """A network, an optimiser and batches of examples for it, all of any size of number."""

    dtype: str
    sizes: tuple[int, ...]
    activation: str
    cost: str
    parameters: float
    optimizer: Any
    n: int
    last_n: int
    # Of each batch: the size of its X, and of its Y's distance from the outputs.
    batches: tuple[tuple[float, float], ...]
    # Whether they hold the same draws, so that all steps have one direction.
    alike: bool = False


def a_later_step(net: Network) -> tuple[Any, ...]:
    """What an easy step makes of a copy: it shows the optimiser's state."""
    twin = net.copy()
    twin.parameters = np.full(net.n_parameters, 0.25)
    X = np.full((1, net.sizes[0]), 0.5, net.dtype)
    Y = np.full((1, net.sizes[-1]), 0.5, net.dtype)
    return outcome(lambda: twin.partial_fit(X, Y)), twin.parameters.tobytes()


def batch_of(net: Network, n: int, size: float, distance: float, seed: int) -> tuple[Array, Array]:
    random = RandomNumbers(seed)
    with np.errstate(over="ignore"):
        X = size * (2 * random.uniform(n * net.sizes[0]).reshape(n, -1) - 1)
        X = X.astype(net.dtype)
        try:
            outputs = net.predict(X)
        except FloatingPointError:
            outputs = np.zeros((n, net.sizes[-1]), net.dtype)
        Y = outputs + (distance * (2 * random.uniform(outputs.size) - 1)).reshape(n, -1)
        limit = np.finfo(net.dtype).max
        return X, np.clip(Y, -limit, limit).astype(net.dtype)


def assert_steps_are_safe(training: Training) -> None:
    start = Network(
        training.sizes, training.activation, training.cost, dtype=training.dtype, seed=1
    )
    drawn = start.parameters.astype(float)
    start.parameters = training.parameters * (drawn / np.abs(drawn).max())
    net = start.copy()
    all_X, all_Y, total_cost = [], [], 0.0
    failed = False
    for i, (size, distance) in enumerate(training.batches):
        n = training.n if i + 1 < len(training.batches) else training.last_n
        X, Y = batch_of(net, n, size, distance, 0 if training.alike else i)
        all_X.append(X)
        all_Y.append(Y)
        before, slow = net.copy(), net.copy()
        # The first step sets the optimiser, and is slow itself.
        options = {"batch_size": training.n} | ({"optimizer": training.optimizer} if i == 0 else {})
        quick_outcome = outcome(functools.partial(net.partial_fit, X, Y, **options))
        slow_outcome = outcome(
            functools.partial(slow.partial_fit, X.tolist(), Y.tolist(), **options)
        )
        assert quick_outcome == slow_outcome
        assert state(net) == state(slow)
        assert a_later_step(net) == a_later_step(slow)
        assert np.isfinite(net.parameters).all()
        assert all(np.isfinite(slot).all() for slot in net._engine.slots)
        failed = quick_outcome != ("", "")
        if failed:
            assert quick_outcome[0] == "FloatingPointError"
            assert state(net) == state(before)
            assert a_later_step(net) == a_later_step(before)
            break
        total_cost += n * before.cost(X, Y)
    whole = start.copy()
    fit_outcome = outcome(
        lambda: whole.fit(
            np.concatenate(all_X),
            np.concatenate(all_Y),
            epochs=1,
            batch_size=training.n,
            optimizer=training.optimizer,
            shuffle=False,
        )
    )
    if failed or fit_outcome != ("", ""):
        # The costs of many steps may overflow where those of each do not.
        assert failed or total_cost > LARGEST["float64"] / 2
        assert fit_outcome[0] == "FloatingPointError"
        assert state(whole) == state(start)
    else:
        assert whole.parameters.tobytes() == net.parameters.tobytes()


BEGINNING = Training(
    "float32", (2, 20, 1), "identity", "quadratic", 1.0, SGD(), 2, 2, ((1.0, 1.0), (1.0, 1.0))
)
STEPS_NEAR_OVERFLOW = {
    "parameters of 1e38": {"parameters": 1e38, "batches": ((1e-38, 1.0), (1e-38, 1.0))},
    "parameters of 3e38": {"parameters": 3e38, "batches": ((0.0, 0.0), (1e-38, 1e-3))},
    "parameters of 3e38, nothing to learn": {"parameters": 3e38, "batches": ((0.0, 0.0),) * 3},
    "parameters of 3.35e38 and steps of 1e37": {
        "parameters": 3.35e38, "optimizer": SGD(2e38), "cost": "mae", "sizes": (1, 20), "n": 1,
        "last_n": 1, "batches": ((0.0, 0.0), *((1.0, 1e34),) * 8),
    },
    "learning rate 1e38": {"optimizer": SGD(1e38), "batches": ((1.0, 0.0), (1.0, 1e-3))},
    "learning rate 3e38": {"optimizer": SGD(3e38), "batches": ((1.0, 0.0), (1.0, 10.0))},
    "learning rate 1e300": {"optimizer": SGD(1e300), "batches": ((1.0, 0.0), (1.0, 1e-3))},
    "learning rate 5e38 over 2 examples, then 1": {
        "optimizer": SGD(5e38), "last_n": 1, "batches": ((0.0, 0.0), (0.0, 0.0)),
    },
    "learning rate 1e40 over 200 examples, then 1": {
        "optimizer": SGD(1e40), "n": 200, "last_n": 1, "batches": ((0.0, 0.0), (1.0, 1e-4)),
    },
    "gradients of 1e38": {"batches": ((1.0, 1.0), (1e19, 1e19))},
    "velocity that grows": {
        "optimizer": SGD(1e-45, 0.999), "cost": "mae", "batches": ((1e37, 1e34),) * 60,
        "alike": True,
    },
    "velocity that grows, Nesterov": {
        "optimizer": SGD(1e-45, 0.999, True), "cost": "mae", "batches": ((1e37, 1e34),) * 60,
        "alike": True,
    },
    "velocity and a large learning rate": {
        "optimizer": SGD(1e20, 0.999), "cost": "mae", "sizes": (2, 1),
        "batches": ((1e17, 1e16), *((0.0, 0.0),) * 60),
    },
    "Adam with epsilon 1e-43": {"optimizer": Adam(0.001, epsilon=1e-43)},
    "Adam with epsilon 1e-43 and nothing to learn": {
        "optimizer": Adam(0.001, epsilon=1e-43), "batches": ((1.0, 0.0),) * 5,
    },
    "Adam with epsilon 1e-43 and little to learn": {
        "optimizer": Adam(0.001, epsilon=1e-43), "batches": ((1.0, 1e-6), (1e-30, 1e-6)) * 3,
    },
    "Adam with epsilon 1e-30 and learning rate 1e38": {
        "optimizer": Adam(1e38, epsilon=1e-30), "batches": ((1.0, 0.0), (1.0, 1e-3)),
    },
    "Adam with beta 1 - 2^-53": {
        "optimizer": Adam(1.0, 1 - 2.0**-53, 1 - 2.0**-53, 1e-8), "batches": ((1.0, 1.0),) * 3,
    },
    "Adam without second moment where nothing is to be learnt": {
        "optimizer": Adam(0.001, 0.9, 0.0, 1e-43), "batches": ((1.0, 1.0), (1.0, 0.0)),
    },
    "Adam, squares of 1e38": {"optimizer": Adam(), "batches": ((1.0, 1.0), (1e10, 5e8))},
}  # fmt: skip


@pytest.mark.parametrize("sizes", [None, (2, 2, 1)], ids=["general", "tiny"])
@pytest.mark.parametrize("name", STEPS_NEAR_OVERFLOW)
def test_a_step_near_overflow_is_safe(name: str, sizes: tuple[int, ...] | None) -> None:
    changes = STEPS_NEAR_OVERFLOW[name] | ({} if sizes is None else {"sizes": sizes})
    assert_steps_are_safe(BEGINNING._replace(**changes))


@st.composite
def trainings(draw: Callable[..., Any]) -> Training:
    dtype = draw(st.sampled_from(["float32", "float64"]))
    top = 38 if dtype == "float32" else 308
    # Of the sizes of numbers those at which a sum, a product or a square leaves the type.
    exponent = st.one_of(
        st.integers(-3, 3),
        st.integers(top // 2 - 3, top // 2 + 1),
        st.integers(top - 3, top),
        st.integers(-top - 4, -top + 4),
    )
    number = st.builds(lambda mantissa, e: mantissa * 10.0**e, st.floats(1.0, 1.7), exponent)
    any_size = st.one_of(st.just(0.0), number)
    fraction = st.sampled_from([0.0, 0.5, 0.9, 0.999, 1 - 2.0**-30, 1 - 2.0**-53])
    n = draw(st.sampled_from([1, 2, 3, 30, 256]))
    rate = draw(st.one_of(any_size, number.map(lambda size: min(n * size, LARGEST["float64"]))))
    kind = draw(st.sampled_from(["sgd", "momentum", "nesterov", "adam"]))
    if kind == "sgd":
        optimizer: Any = SGD(rate)
    elif kind == "adam":
        beta2 = draw(fraction)
        least = float(np.finfo(dtype).smallest_subnormal) / (1 - beta2) ** 0.5
        optimizer = Adam(rate, draw(fraction), beta2, max(draw(number), least))
    else:
        optimizer = SGD(rate, draw(st.sampled_from([0.5, 0.999, 1 - 2.0**-53])), kind == "nesterov")
    return Training(
        dtype,
        draw(st.sampled_from([(2, 20, 1), (2, 2, 1), (1, 1), (3, 17)])),
        draw(st.sampled_from(["identity", "relu", "tanh", "exponential"])),
        draw(st.sampled_from(["quadratic", "mae", "huber"])),
        draw(number),
        optimizer,
        n,
        draw(st.sampled_from([m for m in (1, 2, 3, 30, 256) if m <= n])),
        tuple(draw(st.lists(st.tuples(any_size, any_size), min_size=2, max_size=4))),
        draw(st.booleans()),
    )


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(training=trainings())
@example(training=BEGINNING)
def test_any_step_is_safe(training: Training) -> None:
    assert_steps_are_safe(training)


# ---- predict -------------------------------------------------------------------------------------


class Rows(np.ndarray):  # type: ignore[type-arg]
    """An array of a subclass."""


square = Activation(lambda z: z * z, lambda z: 2 * z, "square")

NETWORKS: dict[str, tuple[tuple[int, ...], Any]] = {
    "sigmoid": ((5, 9, 3), "sigmoid"),
    "softmax": ((5, 20, 3), ["exponential", "softmax"]),
    "one layer": ((5, 3), "gelu"),
    "square": ((5, 9, 3), square),
    "wide": ((5, 300, 3), "tanh"),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def network(name: str, dtype: str) -> Network:
    sizes, activation = NETWORKS[name]
    return Network(sizes, activation, dtype=dtype, seed=4)


def examples(n: int, dtype: str, width: int = 5) -> Array:
    return RandomNumbers(6).normal(n * width).reshape(n, width).astype(dtype)


def held_otherwise(X: Array) -> dict[str, Any]:
    """The same numbers, each time in a way that the quick way does not take, or only just."""
    strided = np.zeros((*X.shape, 2), X.dtype)[..., 0]
    strided[...] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    return {
        "list": X.tolist(),
        "Fortran order": np.asfortranarray(X),
        "strided": strided,
        "read-only": read_only,
        "float64": X.astype(np.float64),
        "longdouble": X.astype(np.longdouble),
        "big-endian": X.astype(X.dtype.newbyteorder(">")),
        "subclass": X.view(Rows),
        "backwards": X[::-1].copy()[::-1],
    }


@both_dtypes
@every_network
@pytest.mark.parametrize("n", [0, 1, 2, 3, 17, 255, 256, 257, 300])
def test_predict_has_the_same_bits_however_x_is_held(n: int, name: str, dtype: str) -> None:
    net = network(name, dtype)
    X = examples(n, dtype)
    kept = X.tobytes()
    quick = net.predict(X)
    assert type(quick) is np.ndarray
    assert (quick.shape, quick.dtype) == ((n, 3), np.dtype(dtype))
    assert quick.flags.c_contiguous
    assert quick.flags.writeable
    assert quick.tobytes() == net.forward(X).a[-1].tobytes()
    for kind, other in held_otherwise(X).items():
        if n == 0 and kind == "list":
            continue
        assert net.predict(other).tobytes() == quick.tobytes(), kind
        out = np.full((n, 3), 77, dtype)
        assert net.predict(other, out=out) is out
        assert out.tobytes() == quick.tobytes(), kind
    # A block larger than the result stays as it is around it.
    block = np.full(3 * n + 20, 77, dtype)
    out = block[10 : 10 + 3 * n].reshape(n, 3)
    assert np.shares_memory(net.predict(X, out=out), block) == (n > 0)
    assert out.tobytes() == quick.tobytes()
    assert set(block[:10]) == set(block[10 + 3 * n :]) == {77}
    assert X.tobytes() == kept
    # The next call writes into memory of its own.
    first = net.predict(X)
    net.predict(2 * X)
    assert first.tobytes() == quick.tobytes()


@both_dtypes
@every_network
def test_predict_of_a_vector_has_the_bits_of_a_row(name: str, dtype: str) -> None:
    net = network(name, dtype)
    X = examples(4, dtype)
    expected = net.predict(X)
    for i in range(4):
        for kind, x in held_otherwise(X[i]).items():
            one = net.predict(x)
            assert one.shape == (3,)
            assert one.tobytes() == expected[i].tobytes(), kind
        out = np.full(3, 77, dtype)
        assert net.predict(X[i], out=out) is out
        assert out.tobytes() == expected[i].tobytes()


@both_dtypes
def test_predict_follows_parameters_that_were_written_into(dtype: str) -> None:
    net = Network((3, 3, 3), "tanh", dtype=dtype, seed=4)
    X = examples(2, dtype, 3)
    net.predict(X)
    net.weights[0][...] = 0.5
    net.biases[1][...] = 0.25
    assert net.predict(X).tobytes() == net.predict(X.tolist()).tobytes()
    # The parameters themselves are inputs as good as any.
    b = net.biases[1]
    assert net.predict(b).tobytes() == net.predict(b.copy()).tobytes()
    assert net.predict(net.weights[0]).tobytes() == net.predict(net.weights[0].copy()).tobytes()


def with_number(number: float, place: tuple[int, ...], shape: tuple[int, ...], dtype: str) -> Array:
    X = np.ones(shape, dtype)
    X[place] = number
    return X


BAD_INPUTS: dict[str, Callable[[str], Any]] = {
    "a column too many": lambda dtype: np.ones((4, 6), dtype),
    "a column too few": lambda dtype: np.ones((4, 4), dtype),
    "the shape turned": lambda dtype: np.ones((5, 4), dtype),
    "a vector too long": lambda dtype: np.ones(6, dtype),
    "a vector of nothing": lambda dtype: np.ones(0, dtype),
    "rows of nothing": lambda dtype: np.ones((4, 0), dtype),
    "one number": lambda dtype: np.ones((), dtype),
    "three axes": lambda dtype: np.ones((1, 1, 5), dtype),
    "NaN in a vector": lambda dtype: with_number(np.nan, (4,), (5,), dtype),
    "infinity in a vector": lambda dtype: with_number(np.inf, (0,), (5,), dtype),
    "NaN": lambda dtype: with_number(np.nan, (2, 1), (4, 5), dtype),
    "infinity": lambda dtype: with_number(np.inf, (3, 4), (4, 5), dtype),
    "-infinity": lambda dtype: with_number(-np.inf, (0, 0), (4, 5), dtype),
    "NaN in row 255": lambda dtype: with_number(np.nan, (255, 0), (256, 5), dtype),
    "NaN in row 256": lambda dtype: with_number(np.nan, (256, 0), (257, 5), dtype),
}


@both_dtypes
@every_network
@pytest.mark.parametrize("bad", BAD_INPUTS)
@pytest.mark.parametrize("given_out", [False, True])
def test_predict_rejects_what_the_slow_way_rejects(
    given_out: bool, bad: str, name: str, dtype: str
) -> None:
    net = network(name, dtype)
    X = BAD_INPUTS[bad](dtype)
    before = state(net)
    expected = outcome(lambda: net.predict(X.view(Rows)))
    assert expected[0] == "ValueError"
    assert expected[1].startswith("X")
    out = np.full((len(X), 3) if X.ndim == 2 else 3, 77, dtype) if given_out else None
    assert outcome(lambda: net.predict(X, out=out)) == expected
    assert out is None or set(out.ravel()) == {77}
    assert state(net) == before
    good = examples(3, dtype)
    assert net.predict(good).tobytes() == network(name, dtype).predict(good).tobytes()


@both_dtypes
@pytest.mark.parametrize("n", [1, 3, 256, 257])
@pytest.mark.parametrize("cause", ["the examples", "a weight of infinity", "a bias of NaN"])
def test_predict_that_overflows_is_the_slow_ways_error(cause: str, n: int, dtype: str) -> None:
    net = network("sigmoid", dtype)
    X = examples(n, dtype)
    if cause == "the examples":
        X[-1] = np.sign(net.weights[0][0]) * LARGEST[dtype]
        net.weights[0][0] *= 5
        kind = "FloatingPointError"
    elif cause == "a weight of infinity":
        net.weights[1][2, 8] = np.inf
        kind = "ValueError"
    else:
        net.biases[1][2] = np.nan
        kind = "ValueError"
    out = np.full((n, 3), 77, dtype)
    errors = {outcome(lambda: net.predict(X)), outcome(lambda: net.predict(X, out=out))}
    errors |= {outcome(lambda: net.predict(X.tolist()))}
    assert len(errors) == 1
    assert errors.pop()[0] == kind
    assert set(out.ravel()) == {77}


def bad_outputs(net: Network, X: Array) -> dict[str, tuple[Any, Any]]:
    """X and an `out` for it that must be refused; both networks' sizes are 3."""
    n, dtype = len(X), X.dtype
    block = np.full(6 * n + 8, 0.5, dtype)
    front = block[: 3 * n].reshape(n, 3)
    read_only = np.full((n, 3), 77, dtype)
    read_only.flags.writeable = False
    other = np.float64 if dtype == np.float32 else np.float32
    return {
        "X itself": (X, X),
        "X and one number more": (front, block[1 : 3 * n + 1].reshape(n, 3)),
        "the last number of X": (front, block[3 * n - 1 : 6 * n - 1].reshape(n, 3)),
        "one example's own numbers": (X[0], X[0]),
        "a bias": (X[0], net.biases[0]),
        "the last bias": (X[0], net.biases[1]),
        "read-only": (X, read_only),
        "another type": (X, np.full((n, 3), 77, other)),
        "big-endian": (X, np.full((n, 3), 77, dtype.newbyteorder(">"))),
        "a row too many": (X, np.full((n + 1, 3), 77, dtype)),
        "a column too few": (X, np.full((n, 2), 77, dtype)),
        "an axis too many": (X[0], np.full((1, 3), 77, dtype)),
        "an axis too few": (X, np.full(3 * n, 77, dtype)),
        "strided": (X, np.full((n, 6), 77, dtype)[:, ::2]),
        "list": (X, [[77.0] * 3] * n),
        "0": (X, 0),
    }


@both_dtypes
@pytest.mark.parametrize("n", [2, 256, 257])
@pytest.mark.parametrize("bad", list(bad_outputs(Network((3, 3, 3)), np.zeros((2, 3)))))
def test_predict_rejects_an_out_as_the_slow_way_does(bad: str, n: int, dtype: str) -> None:
    net = Network((3, 3, 3), "tanh", dtype=dtype, seed=4)
    X, out = bad_outputs(net, examples(n, dtype, 3))[bad]
    before, kept = state(net), (X.tobytes(), np.array(out).tobytes())
    # X in a view of a subclass is not taken by the quick way, and shares its memory.
    expected = outcome(lambda: net.predict(X.view(Rows), out=out))
    assert expected[0] in ("TypeError", "ValueError")
    assert expected[1].startswith("out ")
    assert outcome(lambda: net.predict(X, out=out)) == expected
    assert state(net) == before
    assert (X.tobytes(), np.array(out).tobytes()) == kept


@both_dtypes
def test_predict_beside_x_and_beside_the_parameters(dtype: str) -> None:
    """Neighbours that share no number are fine."""
    net = Network((3, 3, 3), "tanh", dtype=dtype, seed=4)
    block = np.zeros(60, dtype)
    X, before, behind = (block[start : start + 18].reshape(6, 3) for start in (20, 2, 38))
    X[...] = examples(6, dtype, 3)
    expected = net.predict(X).tobytes()
    for out in (before, behind):
        assert net.predict(X, out=out).tobytes() == expected
    one = np.zeros(3, dtype)
    assert net.predict(net.biases[0], out=one) is one


@both_dtypes
def test_predict_of_a_function_that_fails(dtype: str) -> None:
    """The user's error comes out, and the network is free for the next call."""

    def fail(z: Array) -> Array:
        raise KeyError("not today")

    broken = Network((5, 3), Activation(fail, fail), dtype=dtype, seed=4)
    wrong = Network((5, 3), Activation(lambda z: z[:1], lambda z: z), dtype=dtype, seed=4)
    X = examples(4, dtype)
    out = np.full((4, 3), 77, dtype)
    for _ in range(2):
        for call in (
            functools.partial(broken.predict, X),
            functools.partial(broken.predict, X, out=out),
            functools.partial(broken.predict, X.tolist()),
        ):
            with pytest.raises(KeyError, match="not today"):
                call()
        with pytest.raises(ValueError, match=r"value\(z\) returned shape \(1, 3\)"):
            wrong.predict(X)
    assert set(out.ravel()) == {77}
