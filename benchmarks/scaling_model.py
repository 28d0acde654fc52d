"""What a full-batch step costs on k workers: constants of this machine, and the model beside times.

    python benchmarks/scaling_model.py [--seconds 1] [--dtype float32]

The formulas of docs/how_it_scales.md. Constants are measured in one process, on two MPI ranks
(mpi4py, with mpiexec beside this Python) and on two Dask processes; what is not installed is left
out. Then gradients are timed in one process and on two, beside what the model says. A time is the
least of those within so many seconds, which other programs disturb least. Cores that are no cores
of their own (threads of one core, shared machines) compute more slowly together; "computing" is
the time of the two without any exchange, and the model takes it from there.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cbackprop import EXAMPLES_PER_GROUP, Network
from cbackprop.distributed import GradientSum
from cbackprop.sums import leaves_of, places

Array = np.ndarray[Any, np.dtype[Any]]
Sizes = tuple[int, ...]
MPIEXEC = Path(sys.executable).with_name("mpiexec")

# Networks, and how many examples.
CASES: tuple[tuple[Sizes, int], ...] = (
    ((32, 64, 64, 1), 8_192),
    ((32, 64, 64, 1), 65_536),
    ((784, 30, 10), 4_096),
    ((784, 30, 10), 32_768),
    ((784, 512, 512, 10), 1_024),
    ((784, 512, 512, 10), 4_096),
)


# ---- the model -----------------------------------------------------------------------------------


class Work(NamedTuple):
    """A gradient: of how many bytes, and what an example of it takes."""

    n_bytes: int  # P numbers
    seconds: float


class Way(NamedTuple):
    """What carries sums: seconds a round trip, for each task in it, and for each byte."""

    round: float
    task: float
    byte: float  # pickled, sent, read and added up
    is_tree: bool  # ranks add up in pairs; or else a client takes all, one after the other


def edges(n: int, k: int) -> list[int]:
    """Where the rows of k workers begin, and the end: whole groups, as evenly as they go."""
    return [min(leaves_of(n) * worker // k * EXAMPLES_PER_GROUP, n) for worker in range(k + 1)]


def vectors(n: int, k: int) -> int:
    """The most that one of k workers sends: the fewest nodes that are its groups."""
    groups = [leaves_of(n) * worker // k for worker in range(k + 1)]
    return max(len([*places(*pair)]) for pair in pairwise(groups))


def exchange(work: Work, way: Way, k: int, sent: int = 1) -> float:
    """Seconds for what k workers send, ``sent`` vectors each; one alone sends nothing."""
    if k == 1:
        return 0.0
    if way.is_tree:  # to the first rank, and back to all
        return 2 * math.ceil(math.log2(k)) * (way.round + sent * work.n_bytes * way.byte)
    # A client's parameters out and sums back.
    return way.round + k * (way.task + (1 + sent) * work.n_bytes * way.byte)


def step(work: Work, way: Way, n: int, k: int) -> float:
    """Seconds for n examples on k workers with cores of their own."""
    largest = max(stop - start for start, stop in pairwise(edges(n, k)))
    return largest * work.seconds + exchange(work, way, k, vectors(n, k))


def pays_from(work: Work, way: Way, k: int) -> int:
    """The fewest examples of which k workers are quicker than one."""
    return math.ceil(exchange(work, way, k) / (work.seconds * (1 - 1 / k)))


def best_workers(work: Work, way: Way, n: int) -> float:
    """The k of a client with the shortest step: where n·c/k + k·u is least."""
    one_more = exchange(work, way, 3) - exchange(work, way, 2)
    return math.sqrt(n * work.seconds / one_more)


# ---- what is measured ----------------------------------------------------------------------------


def network(sizes: Sizes, dtype: str) -> Network:
    return Network(sizes, "tanh", "mse", dtype=dtype, seed=0)


class Rows:
    """A worker's rows, which it has before the first step."""

    key: object = None
    net: Network
    X: Array
    Y: Array


def part(sizes: Sizes, dtype: str, start: int, stop: int, parameters: Array | None) -> GradientSum:
    """A worker's part of a step."""
    if Rows.key != (key := (sizes, dtype, start, stop)):
        random = np.random.default_rng(start)
        X = random.random((stop - start, sizes[0]), np.float32).astype(dtype)
        Rows.net, Rows.X, Rows.Y = network(sizes, dtype), X, np.zeros((len(X), sizes[-1]), dtype)
        Rows.key = key
    if parameters is not None:
        Rows.net.parameters = parameters
    return GradientSum(Rows.net, Rows.X, Rows.Y, start)


def least(call: Callable[[], object], seconds: float, agreed: Callable[[int], int] = int) -> float:
    """Of the shortest call; ranks agree how many there are."""
    call()
    start = time.perf_counter()
    call()
    count = agreed(max(5, int(seconds / (time.perf_counter() - start))))
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


class Measured(NamedTuple):
    """Of two processes: the constants, and of each case the step and its computing alone."""

    way: Way
    steps: list[float]
    computing: list[float]


def as_a_rank(dtype: str, seconds: float) -> None:
    """Under mpiexec: what `on_mpi` returns, printed by the first rank."""
    from mpi4py import MPI

    ranks = MPI.COMM_WORLD

    def together(call: Callable[[], object]) -> float:
        """From when all begin until the last one ends."""

        def from_barrier() -> None:
            ranks.Barrier()
            call()

        alone = least(ranks.Barrier, seconds / 10, ranks.bcast)
        return float(ranks.allreduce(least(from_barrier, seconds, ranks.bcast), MPI.MAX)) - alone

    first = 256 * ranks.rank
    empty, million = (
        part(sizes, dtype, first, first + 256, None) for sizes in ((1, 1), (1000, 1000, 1))
    )
    start = together(lambda: ranks.allreduce(empty)) / 2
    byte = together(lambda: ranks.allreduce(million)) / 2 - start
    steps, computing = [], []
    for sizes, n in CASES:
        rows = edges(n, ranks.size)[ranks.rank : ranks.rank + 2]

        def mine(sizes: Sizes = sizes, rows: list[int] = rows) -> GradientSum:
            return part(sizes, dtype, rows[0], rows[1], None)

        computing.append(together(mine))
        steps.append(together(lambda mine=mine: ranks.allreduce(mine()).gradient()))
    n_bytes = Rows.net.dtype.itemsize * network((1000, 1000, 1), dtype).n_parameters
    if ranks.rank == 0:
        print(json.dumps([Way(start, 0.0, byte / n_bytes, True), steps, computing]))


def on_mpi(dtype: str, seconds: float) -> Measured:
    command = [MPIEXEC, "-n", 2, sys.executable, __file__, "--rank", "--seconds", seconds]
    run = subprocess.run(
        [*map(str, command), "--dtype", dtype], stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    way, steps, computing = json.loads(run.stdout)
    return Measured(Way(*way), steps, computing)


def echo(i: int, array: Array | None = None) -> Array | None:
    return array


def on_dask(dtype: str, seconds: float) -> Measured:
    """Tasks that give back what they are given, few and many, small and large; then gradients."""
    import scaling_model  # tasks are found by their module's name
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):

        def round_of(tasks: int, n_bytes: int) -> float:
            given = [range(tasks)] + [[np.zeros(n_bytes, np.uint8)] * tasks] * (n_bytes > 0)
            return least(
                lambda: client.gather(client.map(scaling_model.echo, *given, pure=False)), seconds
            )

        few, many, large = round_of(2, 0), round_of(66, 0), round_of(2, 4_000_000)
        task = max(many - few, 0.0) / 64
        way = Way(few - 2 * task, task, (large - few) / (2 * 2 * 4_000_000), False)
        workers = list(client.scheduler_info()["workers"])
        steps, computing = [], []
        for sizes, n in CASES:
            parameters = network(sizes, dtype).parameters.copy()

            def parts(sizes: Sizes = sizes, n: int = n, w: Array = parameters) -> list[GradientSum]:
                arguments = [(sizes, dtype, *pair, w) for pair in pairwise(edges(n, 2))]
                futures = [
                    client.submit(scaling_model.part, *each, workers=[worker], pure=False)
                    for each, worker in zip(arguments, workers, strict=True)
                ]
                return list(client.gather(futures))

            steps.append(least(lambda parts=parts: sum(parts()).gradient(), seconds))
            computing.append(math.nan)
    return Measured(way, steps, computing)


# ---- what is printed -----------------------------------------------------------------------------


def name_of(sizes: Sizes) -> str:
    return "-".join(map(str, sizes))


def show(
    title: str, measured: Measured, works: dict[Sizes, Work], one: list[float], two: list[float]
) -> None:
    """``two``: the computing of two processes at the same time."""
    way = measured.way
    print(
        f"\n{title}: {way.round * 1e3:.3g} ms a round, {way.task * 1e3:.3g} ms a task, "
        f"{1e-9 / way.byte:.2f} GB/s"
    )
    print(
        f"  {'ms':<16}{'n':>8}{'one':>9}{'two':>9}{'model':>9}{'computing':>11}"
        f"{'gain':>7}{'own cores':>11}{'pays from':>11}"
    )
    for (sizes, n), alone, step_of_two, computing in zip(
        CASES, one, measured.steps, two, strict=True
    ):
        work = works[sizes]
        model = computing + exchange(work, way, 2, vectors(n, 2))
        print(
            f"  {name_of(sizes):<16}{n:>8,}{alone * 1e3:>9.2f}{step_of_two * 1e3:>9.2f}"
            f"{model * 1e3:>9.2f}{computing * 1e3:>11.2f}{alone / step_of_two:>7.2f}"
            f"{n * work.seconds / step(work, way, n, 2):>11.2f}{pays_from(work, way, 2):>11,}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each time; default 1")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)  # under mpiexec
    options = parser.parse_args()
    dtype, seconds = options.dtype, options.seconds
    if options.rank:
        as_a_rank(dtype, seconds)
        return

    one = [
        least(lambda c=case: part(c[0], dtype, 0, c[1], None).gradient(), seconds) for case in CASES
    ]
    works: dict[Sizes, Work] = {}
    for (sizes, n), alone in zip(CASES, one, strict=True):  # the last count of each
        n_bytes = network(sizes, dtype).n_parameters * np.dtype(dtype).itemsize
        works[sizes] = Work(n_bytes, alone / n)
    for sizes, work in works.items():
        print(
            f"{name_of(sizes):<16} {work.n_bytes:>9,} bytes {work.seconds * 1e6:7.2f} µs an example"
        )

    two = [math.nan] * len(CASES)
    if find_spec("mpi4py") is not None and MPIEXEC.exists():
        measured = on_mpi(dtype, seconds)
        two = measured.computing
        show("MPI, two ranks", measured, works, one, two)
    if find_spec("distributed") is not None:
        show("Dask, two processes", on_dask(dtype, seconds), works, one, two)


if __name__ == "__main__":
    main()
