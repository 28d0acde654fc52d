"""Fits on a Dask cluster whose workers are killed at random: the bits of those in memory.

    PYTHONPATH=src python tests/deep/cluster.py [--quick] [--seed 0]

Methods, networks, lengths of chunks and the moments of SIGKILL, in loading and within steps, are
drawn by the seed.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import logging
import os
import signal
import tempfile
from typing import Any

import numpy as np

from cbackprop import Activation, Network

METHODS: tuple[dict[str, Any], ...] = (
    {"optimizer": "sgd", "learning_rate": 0.3, "epochs": 10},
    {"optimizer": "adam", "batch_size": 2048, "epochs": 3, "l2": 1e-3},
    {"optimizer": "rprop", "epochs": 8},
    {"optimizer": "lbfgs", "epochs": 8},
    {"optimizer": "levenberg_marquardt", "epochs": 4},
)


def report(passed: bool | None, did: str, figure: str) -> int:
    print(json.dumps({"part": "cluster", "did": did, "figure": figure, "passed": passed}))
    return 1 if passed is False else 0


def examples(sizes: tuple[int, ...], seed: int, start: int, stop: int) -> tuple[Any, Any]:
    """Rows of a data set that depends on the seed alone."""
    n = 50_000
    random = np.random.default_rng(seed)
    X, Y = random.normal(size=(n, sizes[0])), random.uniform(size=(n, sizes[-1]))
    return X[start:stop], Y[start:stop]


def count_and_end(folder: str, ends: set[int]) -> None:
    """Of all calls together, those of these numbers end their process."""
    call = len(os.listdir(folder))
    while True:
        try:
            os.close(os.open(os.path.join(folder, str(call)), os.O_CREAT | os.O_EXCL))
            break
        except FileExistsError:
            call += 1
    if call in ends:
        os.kill(os.getpid(), signal.SIGKILL)


def loaded(folder: str, ends: set[int], *which: Any) -> tuple[Any, Any]:
    count_and_end(folder, ends)
    return examples(*which)


def relu(z: Any) -> Any:
    return np.maximum(z, 0)


def relu_or_end(folder: str, ends: set[int], z: Any) -> Any:
    count_and_end(folder, ends)
    return relu(z)


def step_function(z: Any) -> Any:
    return (z > 0).astype(z.dtype)


def one_fit(client: Any, random: Any) -> str | None:
    """What was wrong with one, if anything was."""
    from cbackprop.dask import fit

    sizes = tuple(int(size) for size in random.integers(2, 12, 3))
    seed, method = int(random.integers(1 << 30)), METHODS[random.integers(len(METHODS))]
    lengths = 256 * random.integers(1, 20, random.integers(1, 9))
    edges = [0, *np.cumsum(lengths).tolist()]
    edges[-1] -= int(random.integers(256))
    n_calls = 60
    with tempfile.TemporaryDirectory() as loads, tempfile.TemporaryDirectory() as steps:
        ends_of_loads = {int(i) for i in random.integers(0, 8, 1)}
        ends_of_steps = {int(i) for i in random.integers(0, n_calls, 2)}
        chunks = [
            functools.partial(loaded, loads, ends_of_loads, sizes, seed, start, stop)
            for start, stop in itertools.pairwise(edges)
        ]
        own = Activation(functools.partial(relu_or_end, steps, ends_of_steps), step_function, "own")
        net = Network(sizes, [own, "tanh"], seed=seed)
        history = fit(client, net, chunks, exact=True, **method)
    twin = Network(sizes, [Activation(relu, step_function), "tanh"], seed=seed)
    X, Y = examples(sizes, seed, 0, edges[-1])
    expected = twin.fit(X, Y, shuffle=False, **{"batch_size": len(X), **method})
    if net.parameters.tobytes() == twin.parameters.tobytes() and history.cost == expected.cost:
        return None
    return f"other bits: {sizes} {seed} {method} {edges}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few fits")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if importlib.util.find_spec("distributed") is None:
        return report(None, "skipped: Dask is not installed", "")
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.deploy.lost-worker-timeout": "1 day",  # for none is lost for good
        "distributed.scheduler.allowed-failures": 9,
        "distributed.scheduler.no-workers-timeout": "5 minutes",
    }
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    count = 8 if options.quick else 100
    random, wrong = np.random.default_rng(options.seed), []
    with (
        dask.config.set(settings),
        LocalCluster(3, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        for i in range(count):
            found = one_fit(client, random)
            if found is not None:
                wrong.append(found)
                print(found)
            if i % 10 == 9:
                print(f"{i + 1} fits", flush=True)
    return report(
        not wrong, f"{count} fits on three workers that were killed", f"{len(wrong)} of other bits"
    )


if __name__ == "__main__":
    raise SystemExit(main())
