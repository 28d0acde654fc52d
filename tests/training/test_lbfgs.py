"""L-BFGS: the line search, the pairs that it remembers, the minimum that it reaches."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from support import Array, every_backend
from whole_batches import Watched, both_optimizers, data, objective, step, steps

from cbackprop import Network
from cbackprop.optimizers import LBFGS, WholeBatch, WholeBatchState
from cbackprop.random_numbers import RandomNumbers
from cbackprop.training import lbfgs, second_order, whole_batch


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
        _, reason = step(net._engine, X, Y, None, 1e-3, optimizer, state)
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
        self.value, self.derivative, self.dtype = value, derivative, np.dtype(dtype)
        self.evaluations = 0

    def along(self, origin: Array, direction: Array, length: float) -> Any:
        self.evaluations += 1
        place = origin + length * direction
        cost = float(self.dtype.type(self.value(length)))
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
            _, reason = step(engine, X, Y, None, 0.0, optimizer, state)
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
    reason = step(net._engine, X, Y, None, 0.0, optimizer, state)[1]
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
            step(net._engine, X, Y, None, 0.0, optimizer, state)
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
        cost, reason = step(engine, X, Y, None, 0.0, optimizer, state)
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


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 20])
def test_no_more_evaluations_than_are_allowed(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit with a limit is the beginning of one without, and has taken every evaluation."""
    X, Y = data(60, (3, 8, 2))
    evaluations = []
    original = lbfgs.LBFGSStep.point

    def counted(self: Any, *arguments: Any) -> Any:
        evaluations.append(None)
        return original(self, *arguments)

    monkeypatch.setattr(lbfgs.LBFGSStep, "point", counted)
    # Too long a first trial, so that a step takes several.
    net = Network((3, 8, 2), "tanh", seed=2)
    history = net.fit(X, Y, epochs=50, optimizer=LBFGS(30.0, max_evaluations=limit))
    assert history.stop_reason == "max_evaluations"
    assert len(evaluations) == limit
    whole = Network((3, 8, 2), "tanh", seed=2).fit(X, Y, epochs=50, optimizer=LBFGS(30.0))
    assert history.cost == whole.cost[: history.epochs]
    assert net.cost(X, Y) <= history.cost[-1]


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
    again = step(net._engine, X32, Y32, None, 0.01, LBFGS(), state)
    assert again == (costs[-1], "converged")
    assert net.parameters.tobytes() == parameters.tobytes()


def test_a_step_begins_where_the_last_one_ended() -> None:
    """The search begins at once; not when somebody has changed parameters or data."""
    X, Y = data(40, (3, 4, 1))
    weight = np.ones(40)
    optimizer = LBFGS()
    net = Network((3, 4, 1), "tanh", seed=1)
    engine: Any = Watched(net._engine)
    state = second_order.start(optimizer, engine)

    def saved(sample_weight: Array | None, l2: float) -> int:
        """Gradients that a step saves, checked against one that remembers nothing."""
        twin, fresh = net.copy(), state.copy()
        other: Any = Watched(twin._engine)
        expected = step(other, X, Y, sample_weight, l2, optimizer, fresh)
        engine.calls.clear()
        assert step(engine, X, Y, sample_weight, l2, optimizer, state) == expected
        assert net.parameters.tobytes() == twin.parameters.tobytes()
        assert expected[1] is None
        assert set(engine.calls) == {"gradient"}
        return len(other.calls) - len(engine.calls)

    assert saved(weight, 0.0) == 0
    assert saved(weight, 0.0) == 1
    X = X.copy()  # the same numbers elsewhere
    assert saved(weight, 0.0) == 1
    X *= 1.5
    assert saved(weight, 0.0) == 0
    weight[3] = 7
    assert saved(weight, 0.0) == 0
    assert saved(weight, 0.1) == 0
    assert saved(None, 0.1) == 0
    net.biases[0][0] += 0.5
    assert saved(None, 0.1) == 0
    Y[...] = Y[::-1].copy()
    assert saved(None, 0.1) == 0
    # Other targets with the very cost, in the same memory.
    net = Network((3, 4, 1), "tanh", seed=1)
    engine = Watched(net._engine)
    state = second_order.start(optimizer, engine)
    Y = np.zeros((40, 1))
    assert saved(None, 0.0) == 0
    cost = net.cost(X, Y)
    Y[...] = 2 * net.predict(X)
    assert net.cost(X, Y) == cost
    assert saved(None, 0.0) == 0


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
