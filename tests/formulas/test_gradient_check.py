"""check_gradient passes what is right, names what is wrong, and takes kinks for what they are."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import support
from support import (
    ACTIVATIONS,
    COSTS,
    ELEMENTWISE,
    FREE_COSTS,
    PAIRS,
    Array,
    both_dtypes,
    every_backend,
    go_together,
)

from cbackprop import Activation, Adam, Cost, Network
from cbackprop.gradient_check import GradientCheck, check_gradient, extrapolated_slopes
from cbackprop.gradients import Gradient
from cbackprop.random_numbers import RandomNumbers
from cbackprop.reference.calculus import activation_values

SIZES = (4, 9, 5, 3)
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


def data(n: int = 6, sizes: tuple[int, ...] = SIZES) -> tuple[Array, Array]:
    return support.data(n, sizes, seed=7)


def with_biases(net: Network) -> Network:
    """Biases that are not 0, so that no neuron stands in a kink unless it is put there."""
    for l, b in enumerate(net.biases):
        b[...] = 0.3 * RandomNumbers(l).normal(len(b))
    return net


def largest(check: GradientCheck) -> float:
    return max(part.relative_error for part in check.parts)


def change(net: Network, monkeypatch: pytest.MonkeyPatch, place: Any) -> None:
    """Let net.gradient return what ``place`` makes of the right one."""
    right = net.gradient

    def wrong(*arguments: Any, **others: Any) -> Gradient:
        gradient = right(*arguments, **others)
        place(gradient)
        return gradient

    monkeypatch.setattr(net, "gradient", wrong)


# ---- what is right passes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "cost"),
    PAIRS,
)
@both_dtypes
@every_backend
def test_every_output_with_every_cost(output: str, cost: str, dtype: str, backend: str) -> None:
    net = with_biases(
        Network(SIZES, ["tanh", "gelu", output], cost, dtype=dtype, seed=2, backend=backend)
    )
    check = net.check_gradient(*data())
    assert check.passed
    assert check.method == "complex step"
    assert check.tolerance == 4096 * EPSILON[dtype]
    assert largest(check) < 64 * EPSILON[dtype]


@pytest.mark.parametrize("hidden", ELEMENTWISE)
@both_dtypes
@every_backend
def test_every_hidden_activation(hidden: str, dtype: str, backend: str) -> None:
    net = Network(SIZES, [hidden, hidden, "sigmoid"], dtype=dtype, seed=1, backend=backend)
    check = with_biases(net).check_gradient(*data())
    assert check.passed
    assert check.method == "complex step"
    assert largest(check) < 64 * EPSILON[dtype]


def test_gelu_carries_a_derivative_to_all_digits() -> None:
    z = np.concatenate([np.linspace(-30, 12, 400), [0.0, -0.0, 1e-300]])
    a, da_dz = activation_values("gelu", z)
    nudged, _ = activation_values("gelu", z + 1e-25j)
    np.testing.assert_allclose(nudged.real, a, rtol=1e-15, atol=1e-49)
    np.testing.assert_allclose(nudged.imag / 1e-25, da_dz, rtol=2e-13, atol=1e-250)


@pytest.mark.parametrize("value", [1e-60, 1e-100, 1e-160, 0.0])
@both_dtypes
@every_backend
def test_gradients_of_almost_nothing_and_nothing(value: float, dtype: str, backend: str) -> None:
    """Their weights' derivatives underflow: in float32 from 1e-45 on, in float64 with the last."""
    net = Network([3, 4, 2], ["tanh", "identity"], dtype=dtype, seed=0, backend=backend)
    net.parameters = value * net.parameters
    X, Y = data(sizes=(3, 2))
    for targets in (Y, 0 * Y, value * Y):
        check = net.check_gradient(X, targets)
        assert check.passed
        assert largest(check) < 64 * EPSILON[dtype]
        assert np.isfinite(check.max_relative_error)


@pytest.mark.parametrize("cost", COSTS)
@both_dtypes
def test_inputs_and_parameters_of_zero(cost: str, dtype: str) -> None:
    """Every neuron stands at z = 0, and mae's a at y: no nudge may carry it to one side."""
    for hidden in ("relu", "gelu", "softsign", "tanh"):
        output = "identity" if cost in FREE_COSTS else next(a for a, c in PAIRS if c == cost)
        activations = [hidden, "relu", output]
        for init in ("auto", "zeros"):
            net = Network(SIZES, activations, cost, dtype=dtype, init=init, seed=0)
            Y = net.predict(np.zeros((5, 4)))
            for targets in (Y, np.clip(Y + 0.25, 0, 1)):
                check = net.check_gradient(np.zeros((5, 4)), targets)
                assert check.passed, (hidden, init)
                assert largest(check) < 64 * EPSILON[dtype]


@pytest.mark.parametrize("cost", ["quadratic", "mse", "huber"])
@both_dtypes
def test_what_has_converged_is_no_false_alarm(cost: str, dtype: str) -> None:
    """a − y is then a few last digits of a, and so is all that is left of the gradient."""
    X, Y = data(6, (3, 2))
    net = Network([3, 12, 2], ["tanh", "identity"], cost, dtype=dtype, seed=0)
    for rate in (1e-2, 1e-3, 1e-4, 1e-5):
        net.fit(X, Y, epochs=4000, batch_size=6, optimizer=Adam(rate), shuffle=False)
    check = net.check_gradient(X, Y)
    error = np.abs(check.gradient.vector - check.expected.vector).max()
    # Beside the gradient itself that is too much; the reference sums in the order of the check.
    size = np.abs(check.expected.vector).max()
    assert net.backend == "reference" or error / size > 2 * check.tolerance
    assert check.passed


@both_dtypes
@pytest.mark.parametrize(("last_digits", "right"), [(2, True), (200, False)])
def test_examples_that_cancel_are_no_false_alarm(
    last_digits: int, right: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mae's slopes, 1 and −1, weigh inputs that sum to 0: no parameter's last digit moves that."""
    x = RandomNumbers(0).uniform(40).astype(dtype)
    x[-1] = 0.0
    sign = np.where(np.arange(40) % 2 == 0, 1, -1)
    x[-1] = (sign[:-1] * x[:-1].astype(np.float64)).sum()
    net = Network([1, 1], "identity", "mae", dtype=dtype, init="zeros")

    def summed_otherwise(gradient: Gradient) -> None:
        gradient.weights[0][...] += last_digits * EPSILON[dtype]

    change(net, monkeypatch, summed_otherwise)
    check = net.check_gradient(x[:, np.newaxis], -10.0 * sign[:, np.newaxis])
    assert np.abs(check.expected.weights[0]) < EPSILON[dtype]
    assert check.passed == right


@both_dtypes
def test_large_inputs(dtype: str) -> None:
    """A nudge of w is then a large one of z."""
    X, Y = data()
    net = with_biases(Network(SIZES, "tanh", dtype=dtype, seed=1))
    net.weights[0][...] *= 1e-25
    check = net.check_gradient(1e25 * X, Y)
    assert check.passed
    assert largest(check) < 64 * EPSILON[dtype]


def test_overflow_is_the_gradients_own_error() -> None:
    net = Network([2, 3, 1], "exponential", seed=0)
    for call in (net.gradient, net.check_gradient):
        with pytest.raises(FloatingPointError, match="a of layer 2 is not finite"):
            call(np.full((1, 2), 300.0), np.ones((1, 1)))


def test_many_examples_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = data(50)
    net = with_biases(Network(SIZES, ["tanh", "gelu", "softmax"], "cross_entropy", seed=0))
    whole = net.check_gradient(X, Y).expected.vector
    monkeypatch.setattr("cbackprop.gradient_check.BLOCK", 7 * 10 * 9)
    check = net.check_gradient(X, Y)
    assert check.passed
    np.testing.assert_allclose(check.expected.vector, whole, rtol=1e-12, atol=1e-16)


# ---- what is wrong is named ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "layer", "place", "name"),
    [
        ("weights", 1, (0, 0), "layer 1 weight [0, 0]"),
        ("weights", 2, (3, 7), "layer 2 weight [3, 7]"),
        ("biases", 2, (4,), "layer 2 bias [4]"),
        ("biases", 3, (2,), "layer 3 bias [2]"),
    ],
)
@pytest.mark.parametrize("activation", ["sigmoid", "gelu"])
@every_backend
def test_one_entry_wrong_by_a_millionth(
    kind: str,
    layer: int,
    place: tuple[int, ...],
    name: str,
    activation: str,
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, Y = data()
    net = with_biases(Network(SIZES, activation, seed=1, backend=backend))

    def wrong(gradient: Gradient) -> None:
        getattr(gradient, kind)[layer - 1][place] *= 1 + 1e-6

    change(net, monkeypatch, wrong)
    check = net.check_gradient(X, Y)
    assert check.passed is False
    assert check.worst == name
    (failed,) = [part for part in check.parts if part.relative_error > check.tolerance]
    assert (failed.layer, failed.kind, failed.place) == (layer, kind, place)
    assert failed.parameter == name
    true = getattr(check.expected, kind)[layer - 1]
    assert failed.largest_gradient == np.abs(true).max()
    assert failed.largest_error == pytest.approx(1e-6 * abs(true[place]), rel=1e-6)
    assert failed.relative_error == failed.largest_error / failed.largest_gradient
    assert check.max_relative_error == failed.largest_error / np.abs(check.expected.vector).max()


@both_dtypes
def test_a_layer_of_small_gradients_is_judged_by_them(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, Y = data()
    net = Network([4, 6, 6, 6, 6, 3], dtype=dtype, seed=0)
    for W in net.weights[1:]:
        W *= 0.01

    def wrong(gradient: Gradient) -> None:
        gradient.weights[0][...] *= 1.05

    change(net, monkeypatch, wrong)
    check = net.check_gradient(X, Y)
    size = np.abs(check.expected.weights[0]).max() / np.abs(check.expected.vector).max()
    assert size < 1e-7
    assert not check.passed
    assert check.worst.startswith("layer 1 weight [")
    assert largest(check) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_fails(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network(SIZES, seed=0)

    def wrong(gradient: Gradient) -> None:
        gradient.weights[1][3, 7] = value

    change(net, monkeypatch, wrong)
    check = net.check_gradient(*data())
    assert check.passed is False
    assert check.worst == "layer 2 weight [3, 7]"
    assert check.max_relative_error == np.inf
    assert "layer 2 weight [3, 7]" in str(check)


def test_infinite_as_expected_fails() -> None:
    gradient = Gradient(np.array([np.inf, 1.0]), 0.5, (1, 1))
    check = GradientCheck(gradient, gradient, "complex step", EPSILON["float64"])
    assert not check.passed
    assert check.worst == "layer 1 weight [0, 0]"
    assert check.max_relative_error == np.inf


def test_everything_wrong_where_the_gradient_is_0(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network([2, 1], "relu", init="zeros")

    def wrong(gradient: Gradient) -> None:
        gradient.biases[0][0] = 1e-200

    change(net, monkeypatch, wrong)
    check = net.check_gradient(np.ones((2, 2)), np.zeros((2, 1)))
    assert not check.passed
    assert check.worst == "layer 1 bias [0]"


# ---- functions of the user's ---------------------------------------------------------------------


def step_relu(z: Array) -> Array:
    return np.where(z > 0, 1.0, 0.0)


def hard(z: Array) -> Array:
    return np.where(np.abs(z) < 0.5, 1.0, 0.0)


KINKED = {
    "relu": (lambda z: np.maximum(z, 0), step_relu),
    "relu on a height": (lambda z: 1 + np.maximum(z, 0), step_relu),
    "relu, the other slope at 0": (
        lambda z: np.maximum(z, 0),
        lambda z: np.where(z >= 0, 1.0, 0.0),
    ),
    "hard tanh": (lambda z: np.clip(z, -0.5, 0.5), hard),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.exp(np.minimum(z, 0)),
    ),
    "absolute": (np.abs, np.sign),
    "rounded": (np.floor, np.zeros_like),
}
CURVED = {
    "sine": (np.sin, np.cos),
    "quick sine": (lambda z: np.sin(100 * z), lambda z: 100 * np.cos(100 * z)),
    "steep": (
        lambda z: np.tanh(50 * z),
        lambda z: 50 / np.cosh(np.clip(50 * z, -300, 300)) ** 2,
    ),
    "nearly a kink": (
        lambda z: np.sqrt(1e-12 + z * z),
        lambda z: z / np.sqrt(1e-12 + z * z),
    ),
    "cube": (lambda z: z**3, lambda z: 3 * z * z),
    "a slope for each neuron": (
        lambda z: z * np.linspace(0.5, 2, z.shape[1]),
        lambda z: np.tile(np.linspace(0.5, 2, z.shape[1]), (len(z), 1)),
    ),
}
EVERY = KINKED | CURVED
USER_COSTS = {
    "quartic": (lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3),
    "absolute": (lambda a, y: np.abs(a - y).sum(axis=1), lambda a, y: np.sign(a - y)),
    "of all outputs at once": (
        lambda a, y: np.exp((a * y).sum(axis=1)),
        lambda a, y: y * np.exp((a * y).sum(axis=1, keepdims=True)),
    ),
    "logarithm": (
        lambda a, y: -(y * np.log(a) + (1 - y) * np.log(1 - a)).sum(axis=1),
        lambda a, y: (1 - y) / (1 - a) - y / a,
    ),
}


@pytest.mark.parametrize("name", EVERY)
@both_dtypes
@every_backend
def test_activations_of_the_users(name: str, dtype: str, backend: str) -> None:
    X, Y = data(12)
    activation = Activation(*EVERY[name], name)
    net = Network(SIZES, [activation, activation, "identity"], dtype=dtype, seed=1, backend=backend)
    if name == "rounded":
        activation = Activation(lambda z: z + np.floor(z), np.ones_like, name)
        net = Network(SIZES, [activation, "tanh", activation], dtype=dtype, seed=1, backend=backend)
    check = with_biases(net).check_gradient(X, Y)
    assert check.passed, str(check)
    assert check.method == "Richardson extrapolation"
    assert check.tolerance == max(4096 * EPSILON[dtype], 1e-10)
    assert largest(check) < (1e-11 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("distance", [0.0, 1e-13, 1e-10, 1e-7, 1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("name", [*KINKED, "named relu beside a sine"])
def test_kinks_near_the_data(name: str, side: int, distance: float) -> None:
    """The weighted input of each hidden neuron is this far from the kink at 0, or at 0.5."""
    if name == "named relu beside a sine":
        activations = ["relu", Activation(*CURVED["sine"]), "identity"]
    else:
        activations = [Activation(*KINKED[name], name), "tanh", "identity"]
    net = Network([1, 6, 4, 2], activations, seed=3)
    kink = 0.5 if name == "hard tanh" else 0.0
    net.biases[0][...] = kink + side * distance - net.weights[0][:, 0] * 0.25
    check = net.check_gradient([[0.25]], [[0.3, 0.7]])
    assert check.passed, str(check)
    assert largest(check) < 1e-11


@pytest.mark.parametrize("name", USER_COSTS)
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@both_dtypes
@every_backend
def test_costs_of_the_users(name: str, output: str, dtype: str, backend: str) -> None:
    cost = Cost(*USER_COSTS[name], name)
    X, Y = data(12)
    for scale in (1, 10):
        net = with_biases(
            Network(SIZES, ["relu", "tanh", output], cost, dtype=dtype, seed=1, backend=backend)
        )
        net.weights[-1][...] *= scale if dtype == "float64" else 1
        check = net.check_gradient(X, Y)
        assert check.passed, str(check)
        assert check.method == "Richardson extrapolation"
        assert largest(check) < (1e-11 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("rounded", "quick sine")])
@both_dtypes
def test_a_wrong_derivative_is_found(name: str, dtype: str) -> None:
    value, derivative = EVERY[name]
    X, Y = data(12)
    wrong = {
        "factor": lambda z: 1.001 * derivative(z),
        "sign": lambda z: np.where(z < 0, -derivative(z), derivative(z)),
        "at some": lambda z: derivative(z) + 0.1 * ((z > -0.3) & (z < 0.3)),
        "one more": lambda z: derivative(z) + 0.01 * (z < 0),
    }
    if "relu" in name:
        del wrong["sign"]  # that of 0
    for what, function in wrong.items():
        activation = Activation(value, function, what)
        net = with_biases(Network(SIZES, [activation, "tanh", "identity"], dtype=dtype, seed=1))
        check = net.check_gradient(X, Y)
        assert not check.passed, what
        assert check.worst.startswith("layer 1 "), what
        assert largest(check) > 2e-4


@pytest.mark.parametrize("name", USER_COSTS)
def test_a_wrong_gradient_of_a_cost_is_found(name: str) -> None:
    value, gradient = USER_COSTS[name]
    X, Y = data(12)
    for factor in (1.001, 1 + 1e-8):
        cost = Cost(value, lambda a, y, factor=factor: factor * gradient(a, y))
        check = with_biases(Network(SIZES, cost=cost, seed=1)).check_gradient(X, Y)
        assert not check.passed
        assert check.max_relative_error == pytest.approx(factor - 1, rel=0.3)


def test_a_derivative_wrong_in_one_neurons_range_names_that_neuron() -> None:
    """Only neuron 3 of layer 2 comes above 5, where the derivative is wrong."""
    activation = Activation(
        np.sin, lambda z: np.cos(z) * np.where(z > 5, 1 + 1e-7, 1), "sine with a fault"
    )
    net = Network([4, 9, 5, 3], ["sigmoid", activation, "identity"], seed=1)
    net.biases[1][3] = 8.0
    X, Y = data()
    net.weights[1][3, 7] = 0.5
    X[:, 0] = 3.0
    net.weights[0][7, 0] = 2.0  # neuron 7 of layer 1 has the largest activations
    net.biases[1][3] = 7.0
    net.weights[1][3, :7] *= 0.1
    assert (net.forward(X).z[2][:, 3] > 5).all()
    assert (np.delete(net.forward(X).z[2], 3, axis=1) < 5).all()
    check = net.check_gradient(X, Y)
    assert not check.passed
    wrong = np.abs(check.gradient.weights[1] - check.expected.weights[1])
    assert wrong[3].max() > 1e-9
    assert np.delete(wrong, 3, axis=0).max() < 1e-14
    (layer_2,) = [part for part in check.parts if (part.layer, part.kind) == (2, "weights")]
    assert layer_2.place[0] == 3


def test_a_slope_that_no_side_of_the_kink_has_is_found() -> None:
    activation = Activation(KINKED["relu"][0], lambda z: np.where(z == 0, 1.5, step_relu(z)))
    net = Network([2, 3, 1], [activation, "identity"], seed=0)
    check = net.check_gradient(np.zeros((1, 2)), np.ones((1, 1)))
    assert not check.passed
    assert largest(check) == pytest.approx(0.5)  # beside 1, the nearest of those that are right


def test_an_activation_that_mixes_neurons_is_found() -> None:
    def normalised(z: Array) -> Array:
        return z / np.sqrt(1 + (z * z).mean(axis=1, keepdims=True))

    def derivative(z: Array) -> Array:
        """Of each output by its own neuron alone: right as far as it goes."""
        m = 1 + (z * z).mean(axis=1, keepdims=True)
        return m**-0.5 - z * z / z.shape[1] * m**-1.5

    net = Network(SIZES, [Activation(normalised, derivative), "tanh", "identity"], seed=1)
    check = with_biases(net).check_gradient(*data())
    assert not check.passed
    assert largest(check) > 0.01
    # What it compares with is right: a nudge of one weight, the plain way.
    X, Y = data()
    costs = []
    for h in (1e-5, -1e-5):
        nudged = net.copy()
        nudged.weights[0][2, 1] += h
        costs.append(nudged.cost(X, Y))
    slope = (costs[0] - costs[1]) / 2e-5
    assert check.expected.weights[0][2, 1] == pytest.approx(slope, rel=1e-6)


def test_values_without_a_slope_do_not_pass() -> None:
    random = np.random.default_rng(0)
    activation = Activation(lambda z: random.normal(size=z.shape), np.zeros_like)
    cost = Cost(lambda a, y: random.normal(size=len(a)), lambda a, y: 0 * a)
    for net in (Network(SIZES, [activation, "tanh", "identity"]), Network(SIZES, cost=cost)):
        check = net.check_gradient(*data())
        assert not check.passed
        assert check.max_relative_error == np.inf


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # at 0 a step beside x is 0
def test_extrapolated_slopes_say_how_sure_they_are() -> None:
    x = np.array([-2.0, -1e-6, 0.0, 1e-9, 0.3, 12.0])
    for function, slope in (
        (np.sin, np.cos),
        (np.exp, np.exp),
        (np.arctan, lambda x: 1 / (1 + x * x)),
    ):
        surest, low, high = extrapolated_slopes(function, x)
        size = np.maximum(1, np.abs(function(x)))
        assert (np.abs(surest - slope(x)) <= 1e-12 * size).all()
        assert (low <= slope(x)).all()
        assert (slope(x) <= high).all()
        assert (high - low <= 1e-11 * size).all()
    # From one side alone, as near to the end as a logarithm needs.
    x = np.array([1e-20, 1e-9, 0.5, 1e9])
    surest, low, high = extrapolated_slopes(lambda x: np.where(x > 0, np.log(np.abs(x)), np.nan), x)
    np.testing.assert_allclose(surest[1:], 1 / x[1:], rtol=1e-10)
    assert (low <= 1 / x).all()
    assert (1 / x <= high).all()
    surest, low, high = extrapolated_slopes(np.sqrt, np.array([4.0]))
    np.testing.assert_allclose(surest, 0.25, rtol=1e-12)
    low, high = extrapolated_slopes(np.abs, np.array([0.0]))[1:]
    assert (low[0], high[0]) == (pytest.approx(-1), pytest.approx(1))


# ---- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (64, 30, 10), (120, 101, 2, 11, 2)])
def test_the_table_fits_a_terminal(sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = data(2, sizes)
    net = Network(sizes, seed=0)

    def wrong(gradient: Gradient) -> None:
        gradient.weights[0][-1, -1] -= 1e100

    for faults in (False, True):
        if faults:
            change(net, monkeypatch, wrong)
        check = net.check_gradient(X, Y)
        heading, *lines = str(check).splitlines()
        assert max(len(line) for line in (heading, *lines)) <= 80
        rows, verdict = lines[: 2 * len(sizes) - 2], lines[2 * len(sizes) - 2 :]
        assert heading.split() == "layer part largest |∂C/∂w| largest error relative at".split()
        for row, part in zip(rows, check.parts, strict=True):
            match = re.fullmatch(
                r" +(\d+)  (weights|biases ) +(\S+) +(\S+) +(\S+)  (\[.*\])(.*)", row
            )
            assert match is not None
            assert match[1] == str(part.layer)
            assert match[2].strip() == part.kind
            assert float(match[3]) == pytest.approx(part.largest_gradient, rel=1e-6)
            assert float(match[4]) == pytest.approx(part.largest_error, rel=1e-2)
            assert float(match[5]) == pytest.approx(part.relative_error, rel=1e-1)
            assert match[6] == str(list(part.place))
            failed = faults and (part.layer, part.kind) == (1, "weights")
            assert match[7] == ("  FAILED" if failed else "")
        assert verdict[0].endswith(f" at {check.worst}")
        assert verdict[-1] == "by complex step, with a tolerance of 9.1e-13"
        if faults:
            assert verdict[0].startswith("gradient check FAILED: relative error ")
            assert check.worst == f"layer 1 weight [{sizes[1] - 1}, {sizes[0] - 1}]"
            true = check.expected.weights[0][-1, -1]
            assert verdict[1] == f"there the gradient has -1e+100, and nudging finds {true:.12g}"
            assert repr(check).startswith("<GradientCheck FAILED, max_relative_error ")
        else:
            assert verdict[0].startswith("gradient check passed: relative error ")
            assert len(verdict) == 2
            assert repr(check).startswith("<GradientCheck passed, max_relative_error ")
        assert check.worst in repr(check)


def test_it_can_be_made_from_two_gradients() -> None:
    """As before it had the sizes that rounding is judged by."""
    gradient, expected = (Gradient(np.array(v), 0.5, (1, 1)) for v in ([2.0, 1.0], [2.0, 1.1]))
    check = GradientCheck(gradient, expected, "complex step", EPSILON["float64"])
    assert not check.passed
    assert check.max_relative_error == pytest.approx(0.05)
    assert check.worst == "layer 1 bias [0]"
    assert check.gradient is gradient
    assert check.expected is expected


# ---- the whole range of z ------------------------------------------------------------------------

FAR = [0.0, 1e-300, 1e-8, 0.5, 5.0, 37.0, 300.0, 740.0, 1e4, 1e6, 1e10, 1e16, 1e30, 1e100, 1e300]


def far_network(
    activation: str, cost: str, z: float, way: str, dtype: str
) -> tuple[Network, Array, Array]:
    """A first layer with a neuron at z: by its bias, or by its input; and an example."""
    n_L = 3 if activation == "softmax" else 1
    net = Network([2, n_L], activation, cost, dtype=dtype, init="zeros")
    if way == "bias":
        net.biases[0][0] = z
        return net, np.array([[0.3, -0.4]]), np.full((1, n_L), 0.25)
    net.weights[0][0, 0] = 1
    return net, np.array([[z, -0.4]]), np.full((1, n_L), 0.25)


@both_dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_right_gradient_passes_wherever_z_is(activation: str, dtype: str) -> None:
    """Also where σ′ is tiny, where parts of the gradient cancel, and near the largest numbers.

    Softsign failed from |z| = 10⁴ on, by the error of the complex step's own division.
    """
    checked = 0
    for cost, size, sign, way in itertools.product(COSTS, FAR, (1, -1), ("bias", "weight")):
        if not go_together(activation, cost) or size > float(np.finfo(dtype).max):
            continue
        net, X, Y = far_network(activation, cost, sign * size, way, dtype)
        try:
            check = net.check_gradient(X, Y)
        except FloatingPointError:
            continue  # e^z, or the square of a, is beyond the number type
        assert check.passed, (cost, sign * size, way, str(check))
        checked += 1
    assert checked > 50


@pytest.mark.parametrize("activation", ["softsign", "sigmoid", "tanh", "silu", "gelu", "softmax"])
def test_a_wrong_gradient_fails_wherever_z_is(activation: str) -> None:
    """By 10⁻⁹ of a derivative that is no rounding error."""
    failed = 0
    # With z_j far below the others, softmax's derivatives are what rounding leaves of their terms.
    signs = (1,) if activation == "softmax" else (1, -1)
    for size, sign, way in itertools.product(FAR, signs, ("bias", "weight")):
        net, X, Y = far_network(activation, "quadratic", sign * size, way, "float64")
        Y[0, 0] = 0.75
        try:
            gradient = net.gradient(X, Y)
        except FloatingPointError:
            continue
        worst = np.abs(gradient.vector).argmax()
        if abs(gradient.vector[worst]) < 1e-250:
            continue
        wrong = Gradient(gradient.vector.copy(), gradient.cost, net.sizes)
        wrong.vector[worst] *= 1 + 1e-9
        assert not check_gradient(net._model, X, Y, lambda X, Y, wrong=wrong: wrong).passed, size
        failed += 1
    assert failed > 8
