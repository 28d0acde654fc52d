"""L-BFGS and Levenberg–Marquardt: their steps against the formulas, and what they reach."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import both_dtypes, every_backend
from whole_batches import Watched, both_optimizers, data, step, steps

from cbackprop import Network, optimizers
from cbackprop.optimizers import LBFGS, LevenbergMarquardt, WholeBatch, WholeBatchState
from cbackprop.training import second_order, whole_batch
from cbackprop.training.whole_batch import NotFinite

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
    step(watched, X, Y, None, 0.0, optimizer, state.copy())  # type: ignore[arg-type]
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
            step(engine, X, Y, None, 0.0, optimizer, state)
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
        step(net._engine, X, Y, None, 0.0, optimizer, state)
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
            step(net._engine, x, y, None, 0.0, optimizer, state)
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
            step(net._engine, X, Y, None, 0.0, LevenbergMarquardt(), state)
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
            cost_before, reason = step(net._engine, X, Y, weight, 0.01, optimizer, state)
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
