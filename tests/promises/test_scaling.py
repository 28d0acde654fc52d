"""What docs/how_it_scales.md rests on, in benchmarks/: the model's formulas and the simulation."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from support import REPOSITORY, data, needs_compiled

from cbackprop import Network
from cbackprop.distributed import GradientSum
from cbackprop.sums import leaves_of

BENCHMARKS = str(REPOSITORY / "benchmarks")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import scaling_model

    return scaling_model


@pytest.fixture
def simulation(model: Any) -> Any:
    assert BENCHMARKS in sys.path
    import scaling_simulation

    return scaling_simulation


@needs_compiled
@pytest.mark.parametrize("n", [1, 1000, 70 * 256, 64 * 256])
def test_workers_send_as_many_vectors_as_the_model_says(model: Any, n: int) -> None:
    net, (X, Y) = Network([3, 2]), data(n, (3, 2))
    for k in (1, 2, 3, 7):
        edges = model.edges(n, k)
        assert (edges[0], edges[-1]) == (0, n)
        parts = [GradientSum(net, X[a:b], Y[a:b], a) for a, b in pairwise(edges) if a < b]
        assert model.vectors(n, k) == max(len(part._nodes) for part in parts)
        assert sum(len(part) for part in parts) == n
        assert max(len(part) for part in parts) <= math.ceil(leaves_of(n) / k) * 256


def test_the_model_s_short_forms_are_its_long_ones(model: Any) -> None:
    work = model.Work(n_bytes=100_000, seconds=1e-6)
    client = model.Way(round=8e-3, task=1e-3, byte=1e-9, is_tree=False)
    ranks = model.Way(round=2e-5, task=0.0, byte=1e-9, is_tree=True)
    for way in (client, ranks):
        n = model.pays_from(work, way, 4)
        alone, four = n * work.seconds, n * work.seconds / 4 + model.exchange(work, way, 4)
        assert four == pytest.approx(alone, rel=1e-3)
        assert model.step(work, way, 10**6, 1) == pytest.approx(1.0)
    k = model.best_workers(work, client, 10**9)
    times = [10**9 * work.seconds / x + model.exchange(work, client, x) for x in (k / 2, k, 2 * k)]
    assert times[1] == min(times)
    # A tree's rounds grow with log₂ k, a client's with k.
    assert model.exchange(work, ranks, 1024) == 10 * model.exchange(work, ranks, 2)
    assert model.exchange(work, client, 1000) > 100 * model.exchange(work, client, 2)


def run(simulation: Any, chance: Any, steps: int = 200, k: int = 12, seed: int = 3) -> Any:
    """A chunk takes a second, four make a worker's share."""
    simulated = simulation.Simulation(k, 4, 1.0, chance, np.random.default_rng(seed))
    return [simulated.step() for _ in range(steps)]


def test_without_chance_a_step_is_a_share(simulation: Any) -> None:
    assert run(simulation, simulation.CALM, steps=3) == [simulation.Step(4.0, 0, 0, 0)] * 3
    n, k = 4 * 10 * simulation.CHUNK, 4
    share = n / k * simulation.WORK.seconds
    for steps in (simulation.steps_with_client, simulation.steps_of_ranks):
        assert share < simulation.mean(steps(n, k, simulation.CALM, 3, seed=0)) < share + 0.03
    # Of a thousand workers a client takes a second.
    of_client = simulation.steps_with_client(10**8, 1000, simulation.CALM, 1, seed=0)
    assert simulation.mean(of_client) > 1000 * simulation.DASK.task


def test_slow_workers_cost_less_than_their_own_time(simulation: Any) -> None:
    """Others take what a slow one has not begun; who waits for all waits for the slowest."""
    slow = simulation.Chance(spread=0.0, straggling=0.02, lifetime=math.inf, reading=0.0)
    steps = run(simulation, slow)
    assert sum(step.chunks_moved for step in steps) > 100
    shared = np.mean([step.seconds for step in steps])
    apart = simulation.Simulation(12, 4, 1.0, slow, np.random.default_rng(3))
    waiting = np.mean([apart.step_that_begins_again().seconds for _ in range(200)])
    # 48 chunks of 1.08 s on average, on 12 workers.
    assert 4.32 < shared < waiting < 4 + 2 * 4.0


def test_a_death_costs_the_chunk_that_was_begun(simulation: Any) -> None:
    chance = simulation.Chance(
        spread=0.0, straggling=0.0, lifetime=400.0, notice=0.5, replacement=3.0, reading=0.5
    )
    steps = run(simulation, chance)
    deaths, again = (sum(step[i] for step in steps) for i in (1, 2))
    # 200 steps of at least 4 s of 12 workers.
    assert deaths == pytest.approx(sum(s.seconds for s in steps) * 12 / 400, rel=0.35)
    assert 0 < again <= deaths
    assert all(step.chunks_again <= step.deaths for step in steps)
    calm = [step.seconds for step in steps if step.deaths == 0 and not step.chunks_moved]
    # But for where the one in its place comes late.
    assert np.mean(np.isclose(calm, 4.0)) > 0.9
    assert min(calm) > 3.999
    apart = simulation.Simulation(12, 4, 1.0, chance, np.random.default_rng(3))
    repeated = [apart.step_that_begins_again() for _ in range(200)]
    assert sum(s.seconds for s in steps) < sum(s.seconds for s in repeated)
    assert sum(s.chunks_again for s in repeated) == 48 * sum(s.deaths for s in repeated) > 48 * 10


def test_the_same_seed_gives_the_same_course(simulation: Any) -> None:
    chance = simulation.Chance(lifetime=300.0)
    first, second, other = (run(simulation, chance, 20, seed=seed) for seed in (1, 1, 2))
    assert first == second != other
