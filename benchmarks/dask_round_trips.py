"""What a cluster costs and gives: a round trip, a step on two processes, many trainings.

    python benchmarks/dask_round_trips.py [--rounds 5] [--trainings 40]

Round trips: a step of gradient descent on so few examples that nearly all of it is Dask. Steps: the
same fit in memory, one thread, and on two worker processes with two threads of one core each left
to the machine; chunks are two, of 256·2ᵏ examples. Trainings: `map` on one worker and on two, and
the same work in one and two processes without Dask, which is all that the machine gives. Medians of
rounds, the sides in turn.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from dask.distributed import Client, LocalCluster

from cbackprop import Network
from cbackprop.dask import fit
from cbackprop.dask import map as map_trainings

NETWORKS = ((64, 64, 10), (256, 64, 10), (784, 128, 64, 10))
TRAINED = (64, 64, 10)


def examples(sizes: tuple[int, ...], n: int, seed: int) -> tuple[Any, Any]:
    """n of them, the same for the same seed."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, sizes[0])).astype(np.float32)
    return X, random.uniform(size=(n, sizes[-1])).astype(np.float32)


def training(seed: int, epochs: int = 20) -> Network:
    """Some half a second."""
    net = Network(TRAINED, dtype="float32", seed=seed)
    net.fit(*examples(TRAINED, 16_384, 0), epochs=epochs, batch_size=32)
    return net


def seconds(call: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def per_step(run: Callable[[int], object], steps: int) -> float:
    """Seconds of one of the later steps: what is done once is in both fits."""
    return (seconds(partial(run, steps + 1)) - seconds(partial(run, 1))) / steps


def medians(rounds: int, **sides: Callable[[], float]) -> dict[str, float]:
    """Of each side's seconds, all of them in turn."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return {name: statistics.median(values) for name, values in found.items()}


def on_cluster(client: Any, sizes: tuple[int, ...], chunks: int, n: int, epochs: int) -> None:
    """A fit of whole-batch steps on so many chunks of n examples."""
    parts = [partial(examples, sizes, n, seed) for seed in range(chunks)]
    fit(client, Network(sizes, dtype="float32", seed=0), parts, epochs=epochs, exact=True)


def in_memory(pairs: list[Any], sizes: tuple[int, ...], epochs: int) -> None:
    """The same fit here."""
    X, Y = (np.concatenate(part) for part in zip(*pairs, strict=True))
    net = Network(sizes, dtype="float32", seed=0)
    net.fit(X, Y, epochs=epochs, batch_size=len(X), shuffle=False)


def round_trips(client: Any, rounds: int) -> None:
    print("\na step on chunks of 256 examples, 2-2-1")
    for chunks in (1, 2, 8, 32):
        run = partial(on_cluster, client, (2, 2, 1), chunks, 256)
        median = medians(rounds, step=lambda run=run: per_step(run, 50))["step"]
        print(f"  {chunks:3d} chunks  {1e3 * median:6.1f} ms")


def steps(client: Any, rounds: int) -> None:
    print("\na step of all examples in float32: in memory, on two processes")
    for sizes in NETWORKS:
        for n in (4_096, 16_384, 65_536, 262_144):
            pairs = [examples(sizes, n // 2, seed) for seed in range(2)]
            count = max(2, min(30, 10_000_000 // n))
            found = medians(
                rounds,
                here=lambda: per_step(partial(in_memory, pairs, sizes), count),  # noqa: B023
                there=lambda: per_step(partial(on_cluster, client, sizes, 2, n // 2), count),  # noqa: B023
            )
            here, there = (1e3 * value for value in found.values())
            name = "-".join(map(str, sizes))
            print(f"  {name:16s} {n:8d}  {here:8.1f} ms {there:8.1f} ms  {here / there:5.2f}")


def trainings(cluster: Any, client: Any, rounds: int, count: int) -> None:
    def mapped(workers: int) -> float:
        cluster.scale(workers)
        while len(client.scheduler_info()["workers"]) != workers:
            time.sleep(0.1)
        map_trainings(client, [partial(training, 0, 1)] * workers)  # what a process does once
        return seconds(lambda: map_trainings(client, [partial(training, s) for s in range(count)]))

    def processes(number: int) -> float:
        code = (
            f"from dask_round_trips import training\nfor s in range({count // number}): training(s)"
        )
        start = time.perf_counter()
        running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(number)]
        for process in running:
            process.wait()
        return time.perf_counter() - start

    sides = {f"map_{i}": partial(mapped, i) for i in (1, 2)}
    sides |= {f"processes_{i}": partial(processes, i) for i in (1, 2)}
    found = medians(rounds, **sides)
    print(f"\n{count} trainings of {'-'.join(map(str, TRAINED))}")
    for name in ("map", "processes"):
        one, two = found[f"{name}_1"], found[f"{name}_2"]
        print(f"  {name:10s} one {one:6.2f} s  two {two:6.2f} s  {one / two:5.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trainings", type=int, default=40)
    options = parser.parse_args()
    with LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            round_trips(client, options.rounds)
            steps(client, options.rounds)
            trainings(cluster, client, options.rounds, options.trainings)
