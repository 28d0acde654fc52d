"""Levenberg–Marquardt: both forms of its equations, μ, and where it stops."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from support import Array, both_dtypes, every_backend
from whole_batches import data, objective, step, steps

import cbackprop
from cbackprop import Network, nodes
from cbackprop.optimizers import LBFGS, LevenbergMarquardt, WholeBatchState
from cbackprop.random_numbers import RandomNumbers
from cbackprop.training import levenberg_marquardt, second_order, whole_batch
from cbackprop.training.levenberg_marquardt import ParameterEquations, ResidualEquations
from cbackprop.training.whole_batch import InMemory


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
            net._engine,
            InMemory(net._engine, X, Y, weight),
            l2,
            LevenbergMarquardt(),
            WholeBatchState({}, {}),
        )
        for _ in range(2)
    )
    parameters = whole_batch.read_parameters(net._engine)
    return (
        ParameterEquations(problem, parameters),
        ResidualEquations(by_residuals, parameters),
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
        # Three examples at a time.
        monkeypatch.setattr(nodes, "JACOBIAN_ROWS", 3 * sizes[-1])
        monkeypatch.setattr(nodes, "JACOBIAN_BYTES", 0)
        X, Y = data(n, sizes, dtype)
        weight = 0.25 + np.arange(n) % 5 if weighted else None
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
            assert error <= 1e-9 * rounding * np.abs(expected).max()
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
        _, reason = step(net._engine, X, Y, None, 0.0, optimizer, state)
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
    assert steps(net, x, np.cos(5 * x), hard, 5, state=state)[1] == "mu reached its bound"
    assert net.parameters.tobytes() == parameters.tobytes()
    assert state.numbers == {"mu": 1e-8}
    # In float32, where its digits end.
    rounded, _ = end(LevenbergMarquardt(gradient_tolerance=0.0), "float32")
    twin = exact.copy()
    twin.parameters = rounded.parameters
    least = objective(exact, X, Y, 0.01)[0]
    assert objective(twin, X, Y, 0.01)[0] == pytest.approx(least, rel=1e-6)


@every_backend
@pytest.mark.parametrize("scale", [1e4, 1e6])
@pytest.mark.parametrize("activation", ["softplus", "relu", "identity"])
def test_unscaled_data_are_no_end(activation: str, scale: float, backend: str) -> None:
    """x² on 0 … scale: JᵀJ is large where the data are, and so must be μ and its bound.

    A line explains 0.93 of it, the way there is flat.
    """
    x = np.linspace(0, scale, 40)[:, None]
    net = Network((1, 6, 1), [activation, "identity"], "mse", seed=0, backend=backend)
    history = net.fit(x, x**2, epochs=60, optimizer=LevenbergMarquardt())
    assert history.epochs > 20
    assert net.score(x, x**2, "r2") > 0.8


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
