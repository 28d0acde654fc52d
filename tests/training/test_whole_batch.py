"""L-BFGS and Levenberg–Marquardt: their steps against the formulas, and what they reach."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import support
from support import Array, both_dtypes, every_backend

import cbackprop
from cbackprop import Network, optimizers
from cbackprop.optimizers import LBFGS, LevenbergMarquardt, WholeBatch, WholeBatchState
from cbackprop.random_numbers import RandomNumbers
from cbackprop.training import lbfgs, levenberg_marquardt, second_order, whole_batch
from cbackprop.training.levenberg_marquardt import ParameterEquations, ResidualEquations
from cbackprop.training.whole_batch import NotFinite

both_optimizers = pytest.mark.parametrize("optimizer", [LBFGS(), LevenbergMarquardt()], ids=repr)


def data(n: int, sizes: tuple[int, ...], dtype: str = "float64") -> tuple[Array, Array]:
    return support.data(n, sizes, dtype, seed=7)


def steps(
    net: Network,
    X: Array,
    Y: Array,
    optimizer: WholeBatch,
    most: int,
    *,
    goal: float = 0.0,
    l2: float = 0.0,
    sample_weight: Array | None = None,
    state: WholeBatchState | None = None,
) -> tuple[list[float], str | None, WholeBatchState]:
    """Step until the cost reaches the goal; the costs before each step, and why it ended."""
    X, Y = (np.ascontiguousarray(array, net.dtype) for array in (X, Y))
    state = state or second_order.start(optimizer, net._engine)
    costs: list[float] = []
    reason = None
    while len(costs) < most and reason is None and (not costs or costs[-1] > goal):
        cost, reason = second_order.step(net._engine, X, Y, sample_weight, l2, optimizer, state)
        costs.append(cost)
    return costs, reason, state


def objective(net: Network, X: Array, Y: Array, l2: float) -> tuple[float, Array]:
    """Mean cost and penalty, and the gradient of both, from the network's own calls."""
    g = net.gradient(X, Y)
    vector = g.vector.astype(np.float64)
    penalty = sum(float(np.sum(W.astype(np.float64) ** 2)) for W in net.weights)
    parts = [
        part
        for W, b in zip(net.weights, net.biases, strict=True)
        for part in (l2 * W.astype(np.float64).ravel(), np.zeros(len(b)))
    ]
    return g.cost + l2 / 2 * penalty, vector + np.concatenate(parts)


class Watched:
    """An engine whose calls are counted, and one of which may fail."""

    CALLS = ("cost", "gradient", "forward", "jacobian")

    def __init__(self, engine: Any, failing: int = -1, error: type[BaseException] = OSError):
        self.engine, self.failing, self.error = engine, failing, error
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.engine, name)
        if name not in self.CALLS:
            return value

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 == self.failing:
                raise self.error
            return value(*arguments)

        return call


# ---- the vector of parameters, the state ---------------------------------------------------------


@both_dtypes
@every_backend
def test_the_vector_has_the_documented_order(dtype: str, backend: str) -> None:
    net = Network((3, 5, 2), dtype=dtype, backend=backend, init="standard_normal", seed=1)
    vector = whole_batch.read_parameters(net._engine)
    assert vector.dtype == np.float64
    assert (vector == net.parameters).all()
    other = Network((3, 5, 2), dtype=dtype, backend=backend, seed=2)
    whole_batch.write_parameters(other._engine, vector)
    assert other.parameters.tobytes() == net.parameters.tobytes()
    of_weights, of_biases = whole_batch.weight_columns(net._engine)
    for columns, W in zip(of_weights, net.weights, strict=True):
        assert (vector[columns] == W.ravel()).all()
    for columns, b in zip(of_biases, net.biases, strict=True):
        assert (vector[columns] == b).all()
    alone = whole_batch.weights_alone(vector, of_biases)
    assert sum(float(np.sum(W.astype(float) ** 2)) for W in net.weights) == pytest.approx(
        float(alone @ alone), rel=1e-12
    )


@both_optimizers
@both_dtypes
@every_backend
def test_a_state_saved_and_restored_goes_on_bit_for_bit(
    optimizer: WholeBatch, dtype: str, backend: str
) -> None:
    sizes = (2, 6, 3)
    X, Y = data(40, sizes, dtype)
    net = Network(sizes, "tanh", dtype=dtype, backend=backend, seed=1)
    # Longer than the memory of pairs.
    _, _, state = steps(net, X, Y, optimizer, 13, l2=1e-4)
    assert bool(state.arrays) == isinstance(optimizer, LBFGS)
    assert not any(array.flags.writeable for array in state.arrays.values())
    file = io.BytesIO()
    np.savez(file, **state.arrays)
    file.seek(0)
    with np.load(file) as loaded:
        restored = WholeBatchState(dict(loaded), dict(state.numbers))
    twins = [net.copy() for _ in range(2)]
    kept = state.copy()
    before = {name: array.copy() for name, array in state.arrays.items()}, dict(state.numbers)
    runs = [steps(net, X, Y, optimizer, 7, l2=1e-4, state=state)[0]]
    # What was copied before has not moved with it.
    assert kept.numbers == before[1]
    assert kept.arrays.keys() == before[0].keys()
    assert all((kept.arrays[name] == array).all() for name, array in before[0].items())
    for twin, its_state in zip(twins, (kept, restored), strict=True):
        runs.append(steps(twin, X, Y, optimizer, 7, l2=1e-4, state=its_state)[0])
        assert twin.parameters.tobytes() == net.parameters.tobytes()
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 7


@both_optimizers
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failing_call_leaves_parameters_and_state(
    optimizer: WholeBatch, error: type[BaseException]
) -> None:
    """Whichever of a step's calls it is."""
    X, Y = data(30, (2, 4, 1))
    net = Network((2, 4, 1), "tanh", seed=1)
    _, _, state = steps(net, X, Y, optimizer, 3)
    watched = Watched(net._engine)
    second_order.step(watched, X, Y, None, 0.0, optimizer, state.copy())  # type: ignore[arg-type]
    storage = net._engine.parameter_arrays()[2]
    assert len(watched.calls) >= 2
    for failing in range(len(watched.calls)):
        net = Network((2, 4, 1), "tanh", seed=1)
        _, _, state = steps(net, X, Y, optimizer, 3)
        state.workspace = optimizers.Workspace()
        storage = net._engine.parameter_arrays()[2]
        before, arrays, numbers = storage.copy(), dict(state.arrays), dict(state.numbers)
        engine: Any = Watched(net._engine, failing, error)
        with pytest.raises(error):
            second_order.step(engine, X, Y, None, 0.0, optimizer, state)
        assert storage.tobytes() == before.tobytes()
        assert state.numbers == numbers
        assert state.arrays.keys() == arrays.keys()
        assert all(state.arrays[name] is arrays[name] for name in arrays)


@both_optimizers
def test_a_step_interrupted_at_its_very_end_is_undone(
    optimizer: WholeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the state has taken the step's numbers."""
    method = second_order.STEPS[type(optimizer)]
    whole: Callable[..., Any] = method.take

    def interrupted(*arguments: Any) -> Any:
        whole(*arguments)
        raise KeyboardInterrupt

    X, Y = data(30, (2, 4, 1))
    net = Network((2, 4, 1), "tanh", seed=1)
    _, _, state = steps(net, X, Y, optimizer, 3)
    parameters, arrays, numbers = net.parameters, dict(state.arrays), dict(state.numbers)
    monkeypatch.setattr(method, "take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        second_order.step(net._engine, X, Y, None, 0.0, optimizer, state)
    assert net.parameters.tobytes() == parameters.tobytes()
    assert (state.arrays, state.numbers) == (arrays, numbers)


@both_optimizers
@both_dtypes
@every_backend
def test_numbers_that_are_not_finite_at_the_start(
    optimizer: WholeBatch, dtype: str, backend: str
) -> None:
    large = float(np.finfo(dtype).max)
    for X, Y, quantity in (
        ([[large, large]], [[0.0]], "z"),
        ([[1.0, 1.0]], [[large]], "delta"),
        ([[math.nan, 1.0]], [[0.0]], "z"),
    ):
        net = Network((2, 1), "identity", "mse", dtype=dtype, backend=backend, init="zeros")
        net.weights[0][...] = 8
        parameters = net.parameters
        state = second_order.start(optimizer, net._engine)
        x, y = np.array(X, dtype), np.array(Y, dtype)
        if quantity == "delta" and dtype == "float32" and not isinstance(optimizer, LBFGS):
            continue  # its squares are made in float64
        with pytest.raises(NotFinite) as caught:
            second_order.step(net._engine, x, y, None, 0.0, optimizer, state)
        assert caught.value.failure == (quantity, 1)
        assert net.parameters.tobytes() == parameters.tobytes()


@every_backend
def test_a_jacobian_whose_squares_overflow(backend: str) -> None:
    for n in (1, 3):
        net = Network((1, 1), "identity", "mse", backend=backend, init="zeros")
        net.weights[0][...] = 1e-200
        state = second_order.start(LevenbergMarquardt(), net._engine)
        X, Y = np.full((n, 1), 1e200), np.full((n, 1), 2.0)
        with pytest.raises(NotFinite) as caught:
            second_order.step(net._engine, X, Y, None, 0.0, LevenbergMarquardt(), state)
        assert caught.value.failure == ("jacobian", 1)
        assert net.weights[0] == 1e-200


@both_optimizers
@every_backend
def test_the_cost_returned_is_that_before_the_step(optimizer: WholeBatch, backend: str) -> None:
    sizes = (3, 4, 2)
    X, Y = data(25, sizes)
    weight = np.arange(25) % 4 / 2
    for cost in ("quadratic", "half_quadratic", "mse"):
        net = Network(sizes, "tanh", cost, backend=backend, seed=3)
        state = second_order.start(optimizer, net._engine)
        last = math.inf
        for _ in range(8):
            expected = net.cost(X, Y, sample_weight=weight)
            penalty = 0.005 * sum(float(np.sum(W**2)) for W in net.weights)
            assert expected + penalty < last
            last = expected + penalty
            cost_before, reason = second_order.step(
                net._engine, X, Y, weight, 0.01, optimizer, state
            )
            assert reason is None
            assert cost_before == pytest.approx(expected, rel=1e-13)


@both_optimizers
def test_a_weight_of_two_is_an_example_twice(optimizer: WholeBatch) -> None:
    sizes = (3, 4, 2)
    X, Y = data(20, sizes)
    weight = (np.arange(20) % 3).astype(float)
    counts = weight.astype(int)
    net, twin = (Network(sizes, "tanh", "mse", seed=3) for _ in range(2))
    steps(net, X, Y, optimizer, 4, l2=1e-3, sample_weight=weight)
    steps(twin, np.repeat(X, counts, axis=0), np.repeat(Y, counts, axis=0), optimizer, 4, l2=1e-3)
    assert net.parameters == pytest.approx(twin.parameters, rel=1e-8, abs=1e-10)
    plain = Network(sizes, "tanh", "mse", seed=3)
    steps(plain, X, Y, optimizer, 4, l2=1e-3)
    assert np.abs(plain.parameters - net.parameters).max() > 1e-3


@both_optimizers
def test_both_backends_take_the_same_steps(optimizer: WholeBatch) -> None:
    sizes = (3, 5, 2)
    X, Y = data(60, sizes)
    ends = []
    for backend in ("compiled", "reference"):
        net = Network(sizes, ["tanh", "softmax"], "mse", backend=backend, seed=3)
        steps(net, X, Y, optimizer, 5, l2=1e-3)
        ends.append(net.parameters)
    assert ends[0] == pytest.approx(ends[1], rel=1e-7, abs=1e-9)


def test_memory_that_cannot_be_had_is_named() -> None:
    with pytest.raises(
        MemoryError, match=r"^the Jacobian of the optimiser.* takes 9223372036854775808 bytes"
    ):
        optimizers.Workspace().array("the Jacobian", (1 << 20, 1 << 40), np.float64)


# ---- L-BFGS --------------------------------------------------------------------------------------


def test_the_two_loops_are_the_bfgs_matrix() -> None:
    """H⁺ = (I − ρsyᵀ)H(I − ρysᵀ) + ρssᵀ from γI, γ = sᵀy/yᵀy of the last pair (6.17, 7.20)."""
    random = RandomNumbers(3)
    P = 9
    curvature = random.normal(P * P).reshape(P, P)
    curvature = curvature @ curvature.T + np.eye(P)
    pairs = [(s, curvature @ s) for s in random.normal(5 * P).reshape(5, P)]
    s, y = pairs[-1]
    H = np.eye(P) * (s @ y) / (y @ y)
    for s, y in pairs:
        rho = 1 / (s @ y)
        left = np.eye(P) - rho * np.outer(s, y)
        H = left @ H @ left.T + rho * np.outer(s, s)
    gradient = random.normal(P)
    for count in range(len(pairs) + 1):
        direction = lbfgs._two_loop_direction(pairs[:count], gradient)
        if count == 0:
            assert (direction == -gradient).all()
    assert direction == pytest.approx(-H @ gradient, rel=1e-11, abs=1e-12)


@every_backend
@pytest.mark.parametrize("learning_rate", [1.0, 0.01, 30.0])
def test_every_step_fulfils_the_strong_wolfe_conditions(learning_rate: float, backend: str) -> None:
    """Judged by the network's own gradients, with the first trial too short and too long, too."""
    sizes = (3, 8, 2)
    X, Y = data(60, sizes)
    net = Network(sizes, "tanh", backend=backend, seed=2)
    optimizer = LBFGS(learning_rate)
    state = second_order.start(optimizer, net._engine)
    for _ in range(40):
        cost, gradient = objective(net, X, Y, 1e-3)
        before = net.parameters
        _, reason = second_order.step(net._engine, X, Y, None, 1e-3, optimizer, state)
        assert reason is None
        cost_after, gradient_after = objective(net, X, Y, 1e-3)
        s = net.parameters - before
        assert cost_after <= cost + 1e-4 * (gradient @ s) + 1e-14
        assert abs(gradient_after @ s) <= 0.9 * abs(gradient @ s) * (1 + 1e-8)
        assert gradient @ s < 0
        # The newest pair is this step's.
        last = len(state.arrays) // 2 - 1
        assert state.arrays[f"s{last}"] == pytest.approx(s, rel=1e-12, abs=1e-15)
        y = gradient_after - gradient
        assert state.arrays[f"y{last}"] == pytest.approx(y, rel=1e-7, abs=1e-12)


class Line:
    """A function of one number and its derivative, as the line search sees an objective."""

    def __init__(self, value: Any, derivative: Any, dtype: str = "float64") -> None:
        self.value, self.derivative, self.X = value, derivative, np.zeros(1, dtype)
        self.evaluations = 0

    def along(self, origin: Array, direction: Array, length: float) -> Any:
        self.evaluations += 1
        place = origin + length * direction
        cost = float(self.X.dtype.type(self.value(length)))
        return lbfgs._Point(length, place, cost, self.derivative(length), place, cost)

    def search(self, first: float, most: int = 25) -> tuple[Any, Any]:
        origin = self.along(np.zeros(1), np.ones(1), 0.0)
        self.evaluations = 0
        return origin, lbfgs._line_search(
            self,  # type: ignore[arg-type]
            origin,
            np.ones(1),
            first,
            most,
        )


# Moré & Thuente 1994, "Line search algorithms with guaranteed sufficient decrease", functions 1, 2;
# a valley with ripples, where many a point is lower by less than enough; and one that overflows.
LINES: dict[str, tuple[Any, Any]] = {
    "rational": (lambda x: -x / (x * x + 2), lambda x: (x * x - 2) / (x * x + 2) ** 2),
    "quintic": (
        lambda x: (x + 0.004) ** 5 - 2 * (x + 0.004) ** 4,
        lambda x: 5 * (x + 0.004) ** 4 - 8 * (x + 0.004) ** 3,
    ),
    "ripples": (
        lambda x: (x - 3) ** 2 + 4 * math.cos(5 * x),
        lambda x: 2 * (x - 3) - 20 * math.sin(5 * x),
    ),
    "overflow": (
        lambda x: math.exp(min(x, 700)) - 3 * x if x < 600 else math.inf,
        lambda x: math.exp(min(x, 700)) - 3 if x < 600 else math.nan,
    ),
}


@pytest.mark.parametrize("first", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize("name", LINES)
def test_the_line_search_ends_by_the_strong_wolfe_conditions(name: str, first: float) -> None:
    line = Line(*LINES[name])
    origin, point = line.search(first)
    assert point is not None
    assert line.evaluations <= 15
    assert point.length > 0
    assert point.cost <= origin.cost + 1e-4 * point.length * origin.slope
    assert abs(point.slope) <= 0.9 * abs(origin.slope)


def test_a_lower_cost_that_is_not_lower_enough() -> None:
    """A step over nearly the whole valley; the slope there would do."""
    line = Line(lambda x: (x - 1) ** 2, lambda x: 2 * (x - 1))
    first = 2 - 1e-4  # lower by 2e-4, and 4e-4 were enough
    _, point = line.search(first, most=1)
    assert point is None
    _, point = line.search(first)
    assert 0.1 < point.length < 1.9


def test_the_search_does_not_leave_the_valley_it_has_found() -> None:
    """Behind a hill the cost falls for ever, but there it is higher than a point before."""

    def share(x: float) -> float:
        return 1 / (1 + math.exp(-3 * (min(x, 200) - 5)))

    line = Line(lambda x: -x + 9 * share(x), lambda x: -1 + 27 * share(x) * (1 - share(x)))
    _, point = line.search(0.95)
    assert 0.95 < point.length < 5


def test_a_cost_that_stands_still_in_its_rounding() -> None:
    """The slope shows the way to where float32 sees the decrease, or nothing is claimed."""

    def value(x: float) -> float:
        return 1 + 0.01 * ((x - 1) ** 2 - 1)

    line = Line(value, lambda x: 0.02 * (x - 1), "float32")
    origin, point = line.search(1e-7)
    assert point.cost < origin.cost
    assert 0.1 < point.length < 1.9
    assert line.search(1e-9, most=1)[1] is None


def test_a_search_cut_short_leaves_the_parameters_where_it_says() -> None:
    X, Y = data(60, (3, 8, 2))
    returned = 0
    for most, rate in itertools.product((2, 3, 4), (3.0, 30.0)):
        net = Network((3, 8, 2), "tanh", seed=2)
        optimizer, newest = LBFGS(rate, line_search=most), None
        state = second_order.start(optimizer, net._engine)
        for _ in range(15):
            before, cost = net.parameters, net.cost(X, Y)
            engine: Any = Watched(net._engine)
            _, reason = second_order.step(engine, X, Y, None, 0.0, optimizer, state)
            if reason == "converged":
                assert net.parameters.tobytes() == before.tobytes()
                break
            assert net.cost(X, Y) < cost
            # The pair is left out where the slope at the end is steeper than at the start.
            s = state.arrays.get(f"s{len(state.arrays) // 2 - 1}")
            if s is not None and s is not newest:
                assert np.abs(net.parameters - before - s).max() <= 1e-15
                returned += 1
            newest = s
    assert returned > 20


def test_the_parameters_are_those_of_the_point_that_was_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the search has looked at last."""
    chosen: list[Any] = []
    search = lbfgs._line_search

    def looking_on(objective: Any, origin: Any, direction: Array, *arguments: Any) -> Any:
        chosen.append(search(objective, origin, direction, *arguments))
        objective.along(origin.parameters, direction, 17.0)
        return chosen[-1]

    monkeypatch.setattr(lbfgs, "_line_search", looking_on)
    X, Y = data(60, (3, 8, 2))
    net = Network((3, 8, 2), "tanh", seed=2)
    steps(net, X, Y, LBFGS(), 1)
    assert net.parameters.tobytes() == chosen[0].parameters.tobytes()


def test_a_search_that_finds_nothing_changes_nothing() -> None:
    X, Y = data(60, (3, 2))
    net = Network((3, 2), "identity", seed=2)
    before = net.parameters
    # Both along the pairs and along the gradient the one trial is too far.
    pair = np.ones(net.n_parameters)
    state = WholeBatchState({"s0": pair, "y0": pair}, {})
    optimizer = LBFGS(1e6, line_search=1)
    reason = second_order.step(net._engine, X, Y, None, 0.0, optimizer, state)[1]
    assert reason == "converged"
    assert net.parameters.tobytes() == before.tobytes()
    assert list(state.arrays) == ["s0", "y0"]


def test_pairs_that_lead_nowhere_are_forgotten() -> None:
    X, Y = data(60, (3, 2))
    net = Network((3, 2), "tanh", seed=2)
    s = np.ones(net.n_parameters)
    state = WholeBatchState({"s0": s, "y0": 1e-300 * s}, {})
    costs, reason, state = steps(net, X, Y, LBFGS(), 1, state=state)
    assert reason is None
    assert net.cost(X, Y) < costs[0]
    assert list(state.arrays) == ["s0", "y0"]
    assert np.abs(state.arrays["y0"]).max() > 1e-6


def test_the_gradient_tolerance_of_lbfgs() -> None:
    X, Y, _, _ = softmax_regression(0.01)
    lengths = []
    for tolerance in (1e-2, 1e-5):
        net = Network((4, 3), "softmax", "cross_entropy", seed=5)
        costs, reason, _ = steps(net, X, Y, LBFGS(gradient_tolerance=tolerance), 200, l2=0.01)
        assert reason == "converged"
        largest = np.abs(objective(net, X, Y, 0.01)[1]).max()
        assert tolerance / 100 < largest <= tolerance
        lengths.append(len(costs))
    assert lengths[0] < lengths[1]


def test_as_many_pairs_as_the_memory_holds() -> None:
    X, Y = data(60, (3, 8, 2))
    for memory in (1, 3):
        net = Network((3, 8, 2), "tanh", seed=2)
        optimizer = LBFGS(memory=memory)
        state = second_order.start(optimizer, net._engine)
        for count in range(6):
            assert len(state.arrays) == 2 * min(count, memory)
            newest = state.arrays.get(f"s{memory - 1}")
            second_order.step(net._engine, X, Y, None, 0.0, optimizer, state)
            if newest is not None and memory > 1:
                assert state.arrays[f"s{memory - 2}"] is newest


def test_pairs_without_curvature_are_left_out() -> None:
    """mae far from its target is a plane: the gradient stays, y is 0."""
    net = Network((2, 1), "identity", "mae", init="zeros")
    X, Y = data(10, (2, 1))
    # The search grows its steps tenfold; the most of it still ends on the plane.
    optimizer = LBFGS(line_search=3)
    costs, _, state = steps(net, X, Y + 1e6, optimizer, 4)
    assert np.diff(costs).max() < 0
    assert state.arrays == {}


@every_backend
def test_a_trial_that_overflows_is_infinitely_costly(backend: str) -> None:
    net = Network((1, 1, 1), ["exponential", "identity"], backend=backend, init="zeros")
    net.weights[1][...] = 1
    X, Y = np.array([[1.0], [2.0]]), np.array([[3.0], [9.0]])
    engine: Any = Watched(net._engine)
    optimizer = LBFGS(1e6)
    state = second_order.start(optimizer, engine)
    parameters = whole_batch.read_parameters(engine)
    gradient = net.gradient(X, Y).vector
    trial = net.copy()
    trial.parameters = parameters - 1e6 * gradient / np.linalg.norm(gradient)
    with pytest.raises(FloatingPointError):
        trial.cost(X, Y)
    costs = []
    for _ in range(200):
        cost, reason = second_order.step(engine, X, Y, None, 0.0, optimizer, state)
        costs.append(cost)
        if reason:
            break
    assert np.diff(costs).max() <= 0
    assert costs[-1] < 1e-6 * costs[0]


def softmax_regression(l2: float) -> tuple[Array, Array, Array, float]:
    """X, Y, and the parameters and the objective of the minimum by Newton's method.

    From the Hessian's formula Σ_i (diag(p) − ppᵀ) ⊗ xxᵀ/n, to the last digits.
    """
    random = RandomNumbers(11)
    n, n_in, k = 120, 4, 3
    X = random.normal(n * n_in).reshape(n, n_in)
    Y = np.eye(k)[(X[:, 0] + random.normal(n) > 0).astype(int) + (X[:, 1] > 0.7)]
    ones = np.concatenate([X, np.ones((n, 1))], axis=1)
    penalty = np.tile([l2] * n_in + [1e-300], k)  # the biases are free
    theta = np.zeros((k, n_in + 1))
    for _ in range(30):
        z = ones @ theta.T
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        g = ((p - Y).T @ ones / n).ravel() + penalty * theta.ravel()
        blocks = p[:, :, None] * (np.eye(k) - p[:, None, :])
        H = np.einsum("nij,na,nb->iajb", blocks, ones, ones).reshape(theta.size, -1) / n
        H += np.diag(penalty)
        # A common shift of all biases changes nothing: the pseudoinverse leaves it.
        theta -= (np.linalg.pinv(H, rcond=1e-12) @ g).reshape(theta.shape)
    z = ones @ theta.T
    shifted = z - z.max(axis=1, keepdims=True)
    cost = -np.mean(np.sum(Y * (shifted - np.log(np.exp(shifted).sum(axis=1))[:, None]), axis=1))
    assert np.abs(g).max() < 1e-14
    return X, Y, theta, float(cost + l2 / 2 * np.sum(theta[:, :-1] ** 2))


@every_backend
def test_softmax_regression_to_its_minimum(backend: str) -> None:
    X, Y, theta, minimum = softmax_regression(0.01)
    net = Network((4, 3), "softmax", "cross_entropy", backend=backend, seed=5)
    costs, reason, _ = steps(net, X, Y, LBFGS(), 200, l2=0.01)
    assert reason == "converged"
    assert len(costs) < 60
    assert objective(net, X, Y, 0.01)[0] == pytest.approx(minimum, rel=1e-14)
    assert net.weights[0] == pytest.approx(theta[:, :-1], rel=1e-6, abs=1e-7)
    shift = net.biases[0] - theta[:, -1]
    assert np.ptp(shift) < 1e-6


@both_optimizers
@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize("cost", ["quadratic", "half_quadratic", "mse"])
def test_linear_least_squares_against_the_closed_form(
    cost: str, l2: float, optimizer: WholeBatch
) -> None:
    X, Y = data(50, (4, 2))
    weight = 0.5 + np.arange(50) % 3
    ones = np.concatenate([X, np.ones((50, 1))], axis=1)
    factor = {"quadratic": 1.0, "half_quadratic": 0.5, "mse": 0.5}[cost]
    kappa = l2 * weight.sum() / (2 * factor)
    left = ones.T @ (weight[:, None] * ones) + kappa * np.diag([1.0] * 4 + [0.0])
    theta = np.linalg.solve(left, ones.T @ (weight[:, None] * Y))
    net = Network((4, 2), "identity", cost, seed=5)
    costs, reason, _ = steps(net, X, Y, optimizer, 100, l2=l2, sample_weight=weight)
    assert reason == "converged"
    assert net.weights[0] == pytest.approx(theta[:-1].T, rel=1e-6, abs=1e-7)
    assert net.biases[0] == pytest.approx(theta[-1], rel=1e-6, abs=1e-7)
    assert len(costs) < (40 if isinstance(optimizer, LBFGS) else 12)


@pytest.mark.parametrize("hidden", [(), (6,)])
def test_as_low_as_scipy(hidden: tuple[int, ...]) -> None:
    """The final objective of L-BFGS-B, from a start in one valley where there are several."""
    optimize = pytest.importorskip("scipy.optimize")
    X, Y, _, _ = softmax_regression(0.01)
    sizes = (4, *hidden, 3)
    activation = ["tanh"] * len(hidden) + ["softmax"]
    net = Network(sizes, activation, "cross_entropy", seed=5)
    twin = net.copy()

    def value(parameters: Array) -> tuple[float, Array]:
        twin.parameters = parameters
        return objective(twin, X, Y, 0.01)

    def scipys(iterations: int) -> Any:
        options = {"maxiter": iterations, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 10}
        return optimize.minimize(
            value, net.parameters.copy(), jac=True, method="L-BFGS-B", options=options
        )

    if hidden:
        noise = RandomNumbers(1).normal(net.n_parameters)
        net.parameters = scipys(200).x + 0.02 * noise
    result = scipys(5000)
    costs, reason, _ = steps(net, X, Y, LBFGS(), 2000, l2=0.01)
    assert reason == "converged"
    assert objective(net, X, Y, 0.01)[0] <= result.fun * (1 + 1e-9)
    assert len(costs) <= 1.5 * result.nit + 10


@every_backend
def test_float32_ends_where_its_digits_end(backend: str) -> None:
    """Converged, without an endless search, within float32 of the minimum."""
    X, Y, _, minimum = softmax_regression(0.01)
    net = Network((4, 3), "softmax", "cross_entropy", dtype="float32", backend=backend, seed=5)
    costs, reason, state = steps(net, X, Y, LBFGS(), 200, l2=0.01)
    assert reason == "converged"
    X32, Y32 = X.astype("float32"), Y.astype("float32")
    exact = Network((4, 3), "softmax", "cross_entropy")
    exact.parameters = net.parameters
    assert objective(exact, X32, Y32, 0.01)[0] == pytest.approx(minimum, rel=2e-7)
    # Asked again it says the same, and changes nothing.
    parameters = net.parameters
    again = second_order.step(net._engine, X32, Y32, None, 0.01, LBFGS(), state)
    assert again == (costs[-1], "converged")
    assert net.parameters.tobytes() == parameters.tobytes()


def test_a_step_begins_where_the_last_one_ended() -> None:
    """One cost instead of a gradient; not when somebody has changed parameters or data."""
    X, Y = data(40, (3, 4, 1))
    weight = np.ones(40)
    optimizer = LBFGS()
    net = Network((3, 4, 1), "tanh", seed=1)
    engine: Any = Watched(net._engine)
    state = second_order.start(optimizer, engine)

    def first_call(sample_weight: Array | None, l2: float) -> list[str]:
        """What a step does before its line search, checked against one that remembers nothing."""
        twin, fresh = net.copy(), state.copy()
        expected = second_order.step(twin._engine, X, Y, sample_weight, l2, optimizer, fresh)
        engine.calls.clear()
        assert second_order.step(engine, X, Y, sample_weight, l2, optimizer, state) == expected
        assert net.parameters.tobytes() == twin.parameters.tobytes()
        assert expected[1] is None
        return engine.calls[:2]

    assert first_call(weight, 0.0)[0] == "gradient"
    assert first_call(weight, 0.0) == ["cost", "gradient"]
    X *= 1.5
    assert first_call(weight, 0.0) == ["cost", "gradient"]
    assert engine.calls.count("gradient") >= 2
    weight[3] = 7
    first_call(weight, 0.0)
    first_call(weight, 0.1)
    first_call(None, 0.1)
    net.biases[0][0] += 0.5
    assert first_call(None, 0.1)[0] == "gradient"
    Y[...] = Y[::-1].copy()
    first_call(None, 0.1)
    # Other targets with the very cost: only that they are others tells.
    net = Network((3, 4, 1), "tanh", seed=1)
    engine = Watched(net._engine)
    state = second_order.start(optimizer, engine)
    Y = np.zeros((40, 1))
    first_call(None, 0.0)
    cost = net.cost(X, Y)
    Y = 2 * net.predict(X)
    assert net.cost(X, Y) == cost
    first_call(None, 0.0)


def test_a_step_may_have_weights_where_the_one_before_had_none() -> None:
    """And the other way round; on the very same arrays, as partial_fit takes them."""
    X, Y = data(20, (3, 4, 2))
    weight = 0.25 + np.arange(20) % 5
    net, fresh = (Network((3, 4, 2), seed=0) for _ in range(2))
    net.partial_fit(X, Y, optimizer=LBFGS())
    fresh.partial_fit(X.copy(), Y.copy(), optimizer=LBFGS())
    for sample_weight in (weight, None):
        net.partial_fit(X, Y, sample_weight=sample_weight)
        fresh.partial_fit(X.copy(), Y.copy(), sample_weight=sample_weight)
        assert net.parameters.tobytes() == fresh.parameters.tobytes()


@every_backend
def test_a_penalty_that_overflows_is_a_divergence(backend: str) -> None:
    net = Network((1, 1), "identity", seed=0, backend=backend)
    net.weights[0][...] = 1e180
    said = "the step diverged: the penalty by l1 and l2 overflowed; everything is as it was"
    with pytest.raises(FloatingPointError, match=f"^{said}"):
        net.partial_fit([[1e-180]], [[0.1]], optimizer=LBFGS(), options={"l2": 1.0})
    assert net.weights[0] == 1e180


# ---- Levenberg–Marquardt -------------------------------------------------------------------------


@every_backend
def test_residuals_whose_squares_overflow_are_a_divergence(backend: str) -> None:
    """No call of the engine fails: the sum of squares is the optimiser's own."""
    net = Network((1, 1), "identity", seed=0, backend=backend)
    X, Y = [[1.0], [2.0]], [[1e200], [2e200]]
    for call, said in (
        (net.fit, "training diverged in epoch 1: delta of layer 1 overflowed; the parameters are"),
        (net.partial_fit, "the step diverged: delta of layer 1 overflowed; everything is as it"),
    ):
        before = net.parameters
        with pytest.raises(FloatingPointError, match=f"^{said}"):
            call(X, Y, optimizer=LevenbergMarquardt())
        assert net.parameters.tobytes() == before.tobytes()


def equations_of(
    net: Network, X: Array, Y: Array, weight: Array | None, l2: float
) -> tuple[ParameterEquations, ResidualEquations, levenberg_marquardt.LevenbergMarquardtStep]:
    problem, by_residuals = (
        levenberg_marquardt.LevenbergMarquardtStep(
            net._engine, X, Y, weight, l2, LevenbergMarquardt(), WholeBatchState({}, {})
        )
        for _ in range(2)
    )
    r = problem.residuals("the residuals")
    assert r is not None
    parameters = whole_batch.read_parameters(net._engine)
    return (
        ParameterEquations(problem, r, parameters),
        ResidualEquations(by_residuals, r, parameters),
        problem,
    )


LAYERS: list[tuple[tuple[int, ...], Any]] = [
    ((2, 5, 1), ["tanh", "identity"]),  # P = 21
    ((3, 4, 2), "sigmoid"),  # P = 26
    ((2, 3, 3), ["tanh", "softmax"]),  # P = 21
    ((4, 6, 5, 2), ["tanh", "silu", "identity"]),  # P = 77: more than one triangle
]


@both_dtypes
@every_backend
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.03])
@pytest.mark.parametrize("cost", ["quadratic", "half_quadratic", "mse"])
def test_both_forms_solve_the_equations(
    cost: str, l2: float, weighted: bool, backend: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both sides of n·n_L = P, in blocks: (JᵀWJ + κD + μI) s = JᵀWr + κDw put together here."""
    for (sizes, activation), extra in itertools.product(LAYERS, (-2, -1, 0, 1, 20)):
        net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=4)
        for b in net.biases:
            b[...] = 0.3
        n = net.n_parameters // sizes[-1] + extra
        # Three examples a block.
        monkeypatch.setattr(
            levenberg_marquardt, "SCRATCH_BYTES", 3 * sizes[-1] * net.n_parameters * 8 + 5
        )
        X, Y = data(n, sizes, dtype)
        weight = (0.25 + np.arange(n) % 5).astype(dtype) if weighted else None
        w = np.ones(n) if weight is None else weight.astype(float)
        factor = {"quadratic": 1.0, "half_quadratic": 0.5, "mse": 1 / sizes[-1]}[cost]
        kappa = l2 * w.sum() / (2 * factor)
        J = net.jacobian(X).astype(float)
        r = net.predict(X).astype(float) - Y
        theta = net.parameters.astype(float)
        D = np.concatenate(
            [np.repeat([1.0, 0.0], [W.size, len(W)]) for W in net.weights], dtype=float
        )
        left = np.einsum("i,ijp,ijq->pq", w, J, J) + np.diag(kappa * D)
        right = np.einsum("i,ijp,ij->p", w, J, r) + kappa * D * theta
        # NumPy's products of float32 have other bits in other blocks.
        rounding = 1e5 if (backend, dtype) == ("reference", "float32") else 1
        for mu in (1e-3, 2.0):
            expected = np.linalg.solve(left + mu * np.eye(len(left)), right)
            first, second, problem = equations_of(net, X, Y, weight, l2)
            for equations in (first, second):
                s = equations.solve(mu)
                assert s is not None
                error = np.abs(equations.gradient - right).max()
                assert error <= 1e-11 * rounding * np.abs(right).max()
                error = np.abs(s - expected).max()
                assert error <= 1e-9 * rounding * 1e2 ** (rounding > 1) * np.abs(expected).max()
                # A second attempt begins from the matrix, not from the last damping.
                again = equations.solve(3 * mu)
                assert again is not None
                residual = (left + 3 * mu * np.eye(len(left))) @ again - right
                assert np.abs(residual).max() <= 1e-9 * rounding * np.abs(right).max()
            ours = [equations.solve(mu) for equations in (first, second)]
            error = np.abs(ours[0] - ours[1]).max()  # type: ignore[operator]
            assert error <= 1e-9 * np.abs(expected).max()
        # And the gradient is the objective's.
        if dtype == "float64" and not weighted:
            slope = objective(net, X, Y, l2)[1]
            assert 2 * problem.scale * first.gradient == pytest.approx(slope, rel=1e-9, abs=1e-12)


def test_the_smaller_form_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    for form in (ParameterEquations, ResidualEquations):

        def made(*arguments: Any, form: type[Any] = form) -> Any:
            taken.append(form.__name__)
            return form(*arguments)

        monkeypatch.setattr(levenberg_marquardt, form.__name__, made)
    for n, n_L in ((20, 1), (21, 1), (12, 2), (13, 2), (14, 2)):
        sizes = (2, 5, 1) if n_L == 1 else (3, 4, 2)
        net = Network(sizes, ["tanh", "identity"], "mse", seed=1)
        X, Y = data(n, sizes)
        steps(net, X, Y, LevenbergMarquardt(), 1)
    assert taken == [
        "ResidualEquations",
        "ParameterEquations",
        "ResidualEquations",
        "ParameterEquations",
        "ParameterEquations",
    ]


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 128, 130, 200])
def test_the_triangles_are_solved(size: int) -> None:
    random = RandomNumbers(size)
    A = random.normal(size * size).reshape(size, size)
    A = A @ A.T + np.eye(size)
    right = random.normal(size)
    kept = right.copy()
    x = levenberg_marquardt._solve_positive(A, right)
    assert x is not None
    assert (right == kept).all()
    assert np.abs(A @ x - right).max() <= 1e-11 * max(1, np.abs(A).max() * np.abs(x).max())
    indefinite = A - 1.1 * np.linalg.eigvalsh(A)[0] * np.eye(size)
    assert levenberg_marquardt._solve_positive(indefinite, right) is None
    with np.errstate(all="ignore"):
        assert levenberg_marquardt._solve_positive(1e-300 * A, 1e300 * right) is None


@pytest.mark.parametrize("sign", [-1, 1])
def test_small_and_large_scales_do_not_mix(sign: int) -> None:
    """Cholesky's factors do not mind a matrix DAD, D diagonal; nor may what is done with them."""
    random = RandomNumbers(1)
    A = random.normal(60 * 60).reshape(60, 60)
    A = A @ A.T + 60 * np.eye(60)
    D = 10.0 ** (sign * np.linspace(0, 14, 60))
    right = random.normal(60)
    x = levenberg_marquardt._solve_positive(D[:, None] * A * D, D * right)
    assert x is not None
    assert D * x == pytest.approx(np.linalg.solve(A, right), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("n", [5, 40])
def test_mu_follows_the_steps(n: int) -> None:
    """The first μ whose step lowers the cost, then a tenth of it; each step is its formula's."""
    sizes = (2, 5, 1)
    X, Y = data(n, sizes)
    net = Network(sizes, ["tanh", "identity"], "mse", seed=3)
    optimizer = LevenbergMarquardt(mu=1e-6)
    state = second_order.start(optimizer, net._engine)
    rejections = 0
    for _ in range(25):
        mu, before = state.numbers["mu"], net.parameters
        J, r = net.jacobian(X)[:, 0], (net.predict(X) - Y)[:, 0]
        trial = net.copy()
        while True:
            s = np.linalg.lstsq(
                np.concatenate([J, np.sqrt(mu) * np.eye(len(before))]),
                np.concatenate([r, np.zeros(len(before))]),
                rcond=None,
            )[0]
            trial.parameters = before - s
            if trial.cost(X, Y) < net.cost(X, Y):
                break
            mu *= 10
            rejections += 1
        _, reason = second_order.step(net._engine, X, Y, None, 0.0, optimizer, state)
        if reason:
            break
        assert np.abs(before - s - net.parameters).max() <= 1e-5 * np.abs(s).max()
        assert state.numbers["mu"] == pytest.approx(mu / 10, rel=1e-12)
    # Both ways were gone.
    assert (rejections > 0) == (n == 40)


def test_a_matrix_that_rounding_spoils_raises_mu(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = data(40, (2, 5, 1))
    net = Network((2, 5, 1), ["tanh", "identity"], "mse", seed=3)
    answers: list[Array | None] = []
    solve = levenberg_marquardt._solve_positive

    def spoilt(matrix: Array, right: Array) -> Array | None:
        answers.append(None if len(answers) < 3 else solve(matrix, right))
        return answers[-1]

    monkeypatch.setattr(levenberg_marquardt, "_solve_positive", spoilt)
    optimizer = LevenbergMarquardt()
    costs, reason, state = steps(net, X, Y, optimizer, 1)
    assert reason is None
    assert len(answers) == 4
    assert net.cost(X, Y) < costs[0]
    assert state.numbers["mu"] == pytest.approx(0.1, rel=1e-12)


def test_twins_among_the_neurons_and_a_mu_near_zero() -> None:
    """JᵀJ is singular: the damping alone carries it, and does not fall below what counts."""
    net = Network((1, 4, 1), ["tanh", "identity"], "mse", init="zeros")
    net.weights[0][...] = 0.5
    net.weights[1][...] = 0.5
    X = np.linspace(-1, 1, 60)[:, None]
    state = WholeBatchState({}, {"mu": 1e-300})
    # Four twins do what one neuron could.
    costs, _, state = steps(
        net, X, 1.5 * np.tanh(2 * X), LevenbergMarquardt(), 40, goal=1e-20, state=state
    )
    assert costs[-1] <= 1e-20
    assert state.numbers["mu"] > 1e-20
    assert np.ptp(net.weights[0]) < 1e-6


def test_few_equations_are_solved_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """μ neither begins far below what counts nor grows when the steps are below the last digit."""
    count = 0
    solve = levenberg_marquardt._solve_positive

    def counted(matrix: Array, right: Array) -> Array | None:
        nonlocal count
        count += 1
        return solve(matrix, right)

    monkeypatch.setattr(levenberg_marquardt, "_solve_positive", counted)
    X, Y = data(40, (2, 3, 1))
    net = Network((2, 3, 1), ["tanh", "identity"], "mse", seed=3)
    optimizer = LevenbergMarquardt(mu=1e-300, most_mu=1e300, gradient_tolerance=0.0)
    twins = Network((1, 4, 1), ["tanh", "identity"], "mse", init="zeros")
    for W in twins.weights:
        W[...] = 0.5
    x = np.linspace(-1, 1, 60)[:, None]
    steps(twins, x, np.sin(2 * x), optimizer, 1)
    assert count < 30
    _, reason, state = steps(net, X, Y, optimizer, 400, l2=0.01)
    assert reason == "converged"
    count = 0
    assert steps(net, X, Y, optimizer, 1, l2=0.01, state=state)[1] == "converged"
    assert count < 40


def test_levenberg_marquardt_stops() -> None:
    X, Y = data(40, (2, 3, 1))

    def end(optimizer: LevenbergMarquardt, dtype: str = "float64") -> tuple[Network, list[float]]:
        net = Network((2, 3, 1), ["tanh", "identity"], "mse", dtype=dtype, seed=3)
        costs, reason, state = steps(net, X, Y, optimizer, 400, l2=0.01)
        assert reason == "converged"
        before, numbers = net.parameters, dict(state.numbers)
        assert steps(net, X, Y, optimizer, 1, l2=0.01, state=state)[:2] == (
            [costs[-1]],
            "converged",
        )
        assert net.parameters.tobytes() == before.tobytes()
        assert state.numbers == numbers
        return net, costs

    # By the length of Jᵀr + κDw, which is 20 times the slope of the objective here.
    net, costs = end(LevenbergMarquardt(gradient_tolerance=1e-3))
    assert 20 * np.linalg.norm(objective(net, X, Y, 0.01)[1]) <= 1e-3 * (1 + 1e-9)
    # By steps too short to count: no derivative is left.
    exact, longer = end(LevenbergMarquardt(gradient_tolerance=0.0))
    assert len(longer) > len(costs)
    assert np.abs(objective(exact, X, Y, 0.01)[1]).max() < 1e-8
    # By μ: within it no step is short enough.
    state = WholeBatchState({}, {"mu": 1e-8})
    net = Network((1, 1, 1), ["exponential", "identity"], "mse", init="zeros")
    net.weights[0][...], net.weights[1][...] = 3, 1e-3
    parameters = net.parameters
    hard = LevenbergMarquardt(mu=1e-8, most_mu=2e-8)
    x = np.linspace(-1, 1, 9)[:, None]
    assert steps(net, x, np.cos(5 * x), hard, 5, state=state)[1] == "converged"
    assert net.parameters.tobytes() == parameters.tobytes()
    assert state.numbers == {"mu": 1e-8}
    # In float32, where its digits end.
    rounded, _ = end(LevenbergMarquardt(gradient_tolerance=0.0), "float32")
    twin = exact.copy()
    twin.parameters = rounded.parameters
    least = objective(exact, X, Y, 0.01)[0]
    assert objective(twin, X, Y, 0.01)[0] == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize("cost", ["cross_entropy", "mae", "huber", "poisson"])
def test_other_costs_are_refused(cost: str) -> None:
    activation = "sigmoid" if cost in ("cross_entropy", "poisson") else "identity"
    net = Network((2, 1), activation, cost)
    with pytest.raises(ValueError, match=rf"^cost is '{cost}'; expected 'quadratic', 'half_quad"):
        second_order.start(LevenbergMarquardt(), net._engine)
    assert second_order.start(LBFGS(), net._engine).numbers == {}


def test_a_cost_of_the_users_own_is_refused() -> None:
    own = cbackprop.Cost(lambda a, y: ((a - y) ** 2).sum(axis=1), lambda a, y: 2 * (a - y), "mine")
    with pytest.raises(ValueError, match=r"^cost is 'mine'; expected 'quadratic'"):
        second_order.start(LevenbergMarquardt(), Network((2, 1), cost=own)._engine)


def test_mu_must_be_able_to_grow() -> None:
    with pytest.raises(ValueError, match=r"^increase is 1\.0; expected a number > 1"):
        LevenbergMarquardt(increase=1.0)


# ---- what they reach -----------------------------------------------------------------------------


@both_dtypes
@every_backend
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sine(seed: int, backend: str, dtype: str) -> None:
    """One period, 1-5-1: the error goal of 0.002 (Demuth & Beale's comparison of algorithms)."""
    X = np.linspace(-1, 1, 41)[:, None]
    net = Network((1, 5, 1), ["tanh", "identity"], "mse", dtype=dtype, backend=backend, seed=seed)
    costs, _, _ = steps(net, X, np.sin(np.pi * X), LevenbergMarquardt(), 40, goal=0.002)
    assert costs[-1] <= 0.002


@both_dtypes
@every_backend
@pytest.mark.parametrize("output", ["identity", "tanh"])
def test_parity(output: str, backend: str, dtype: str) -> None:
    """Of 3 bits of ±1, odd is 1 and even −1, 3-10-10-1: the goal of 0.001 of the same place."""
    X = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    Y = np.where((X > 0).sum(axis=1, keepdims=True) % 2 == 1, 1.0, -1.0)
    for seed in range(3):
        net = Network(
            (3, 10, 10, 1), ["tanh", "tanh", output], "mse", dtype=dtype, backend=backend, seed=seed
        )
        costs, _, _ = steps(net, X, Y, LevenbergMarquardt(), 20, goal=0.001)
        assert costs[-1] <= 0.001
        assert (np.sign(net.predict(X)) == Y).all()


@both_optimizers
@every_backend
def test_xor(optimizer: WholeBatch, backend: str) -> None:
    X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    Y = np.array([[0.0], [1.0], [1.0], [0.0]])
    net = Network((2, 2, 1), backend=backend, seed=3)
    costs, _, _ = steps(net, X, Y, optimizer, 100, goal=1e-4)
    assert costs[-1] <= 1e-4
    assert len(costs) <= (20 if isinstance(optimizer, LevenbergMarquardt) else 60)


def test_sinc() -> None:
    """sinc(10x) by 61 parameters to an mse of 3.3e-7 over 20,000 points, from 250 of them.

    The published run needed 1,000 steps of 1,000 points for 3.31e-7.
    """
    X = np.linspace(-1, 1, 250)[:, None]
    net = Network((1, 20, 1), ["tanh", "identity"], "mse", init="lecun", seed=0)
    steps(net, X, np.sinc(10 * X), LevenbergMarquardt(), 1500, goal=3.2e-7)
    everywhere = np.linspace(-1, 1, 20000)[:, None]
    assert net.cost(everywhere, np.sinc(10 * everywhere)) <= 3.3e-7


def test_breast_cancer() -> None:
    """CANCER's goal of 0.012 on scikit-learn's data of that name: 30 features instead of its 9."""
    datasets = pytest.importorskip("sklearn.datasets")
    loaded = datasets.load_breast_cancer()
    X = (loaded.data - loaded.data.mean(axis=0)) / loaded.data.std(axis=0)
    Y = np.eye(2)[loaded.target]
    net = Network((30, 5, 5, 2), ["tanh", "tanh", "identity"], "mse", seed=0)
    costs, _, _ = steps(net, X, Y, LevenbergMarquardt(), 30, goal=0.012)
    assert costs[-1] <= 0.012


def test_a_levenberg_marquardt_fit_has_the_rate_1():
    """There is none to choose; the history shows it all the same."""
    net = Network([1, 2, 1], "tanh", "mse", seed=0)
    history = net.fit(np.ones((3, 1)), np.zeros((3, 1)), epochs=1, optimizer=LevenbergMarquardt())
    assert history.learning_rate == [1.0]
