"""What this machine reaches, and what it could: the measurements of ``cbackprop bench``.

Everything is drawn from a fixed seed, so nothing is read. The machine's limits are measured first:
multiply-adds a second on registers, bytes written to memory, bytes read from the second-level
cache. A workload's limit is the longest of what its dense multiply-adds, its result and its
parameters take at those rates, so a first layer that skips zeros may pass it.
"""

from __future__ import annotations

import platform
import statistics
import time
import timeit
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from cbackprop import SGD, Adam, History, Network, backend, datasets, info, layout, validation
from cbackprop.functions import ActivationName, Array, CostName
from cbackprop.optimizers import Optimizer

ROUND_SECONDS = 0.1
# An exp is a polynomial of degree 7 or 13, two steps of range reduction and one of scaling.
MULTIPLY_ADDS_OF_EXP = {"float32": 10, "float64": 16}
NON_ZERO = 0.19  # of MNIST's pixels
REFERENCE_SHARE = 20  # the NumPy reference trains on this part of an epoch's examples


# ---- the machine -------------------------------------------------------------------------------


class Limits(NamedTuple):
    """What one core does at best; without the compiled core the first is not known."""

    multiply_adds: float | None  # GFLOP/s
    written: float  # GB/s
    read: float  # GB/s

    def of(self, cores: int) -> Limits:
        """What so many cores do, memory left out, which all of them share."""
        peak = None if self.multiply_adds is None else cores * self.multiply_adds
        return Limits(peak, self.written, cores * self.read)


def measured_limits(dtype: str) -> Limits:
    """This machine's limits, for one number type."""
    peak = None if backend.simd_level() is None else multiply_add_peak(dtype)
    return Limits(peak, write_bandwidth(), cache_bandwidth())


def multiply_add_peak(dtype: str) -> float:
    """Measured GFLOP/s of one core: vector multiply-adds on registers, the best of two hundred.

    Each takes about a millisecond, less than another program's turn on the core.
    """
    kernels = backend.kernels(dtype)
    best = 0.0
    for _ in range(200):
        start = time.perf_counter()
        numbers = kernels.fused_multiply_adds(100, 2000)
        best = max(best, 2 * numbers / (time.perf_counter() - start) / 1e9)
    return best


def write_bandwidth() -> float:
    """Measured GB/s of filling 256 MB, the median of five."""
    target = np.empty(32 << 20)
    target.fill(0)
    rates: list[float] = []
    for value in range(5):
        start = time.perf_counter()
        target.fill(value)
        rates.append(target.nbytes / (time.perf_counter() - start) / 1e9)
    return statistics.median(rates)


def cache_bandwidth() -> float:
    """Measured GB/s of reading 96 kB more: too many for the first-level cache, not for the second.

    The greatest of an array is found at the speed of reading; the difference of two sizes leaves
    the cost of a call out.
    """
    seconds: list[float] = []
    for size in (96 << 10, 192 << 10):
        names = {"greatest": np.maximum.reduce, "array": np.ones(size // 8)}
        timer = timeit.Timer("greatest(array)", globals=names)
        seconds.append(min(timer.repeat(20, 100)) / 100)
    return (96 << 10) / max(seconds[1] - seconds[0], 1e-9) / 1e9


def processor() -> str:
    """The processor's name, as well as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


# ---- the workloads -----------------------------------------------------------------------------


TANH: list[ActivationName] = ["tanh"]


class Workload(NamedTuple):
    """A network, and what is done with it."""

    name: str
    what: str
    unit: str
    sizes: tuple[int, ...]
    n: int  # examples of a step or call
    call: str = ""  # timed as it stands; without it, the steps inside one fit
    epoch: int = 0  # examples of that fit
    activation: ActivationName | Sequence[ActivationName] = "sigmoid"
    cost: CostName = "quadratic"
    optimizer: Optimizer = SGD(1.5)

    def network(self, dtype: str, threads: int = 1) -> Network:
        """The network, from seed 0."""
        return Network(self.sizes, self.activation, self.cost, dtype=dtype, seed=0, threads=threads)

    def examples(self, n: int, dtype: str) -> tuple[Array, Array]:
        """(n, n_0) and (n, n_L) random numbers from seed 0, as sparse as MNIST where as wide."""
        random = np.random.default_rng(0)
        n_in, n_out = self.sizes[0], self.sizes[-1]
        X = random.random((n, n_in), np.float32)
        if n_in == 784:
            X[random.random((n, n_in), np.float32) >= NON_ZERO] = 0
        if self.cost == "mse":
            Y = random.standard_normal((n, n_out))
        elif n_out == 1:
            Y = random.integers(2, size=(n, 1)).astype(float)
        else:
            Y = datasets.one_hot(random.integers(n_out, size=n), n_out)
        return X.astype(dtype), Y.astype(dtype)

    def multiply_adds(self, dtype: str) -> int:
        """Those of a step or call, exponentials counted as such."""
        forward = [n_in * n_out for n_in, n_out in pairwise(self.sizes)]
        count = sum(forward)
        if "predict" not in self.call:
            count += sum(forward) + sum(forward[1:])  # ∂C/∂w, and ∂C/∂a of the hidden layers
        names = self.activation
        if isinstance(names, str):
            names = [names] * len(forward)
        for n_out, name in zip(self.sizes[1:], names, strict=True):
            if name in ("sigmoid", "tanh", "softmax"):
                count += MULTIPLY_ADDS_OF_EXP[dtype] * n_out
        return self.n * count

    def limit(self, limits: Limits, dtype: str) -> float | None:
        """The fewest seconds of a step or call; None where no measured limit bounds it."""
        if limits.multiply_adds is None or self.sizes == TINY:
            return None  # a tiny step waits for its own results: it is bound by latency, not rate
        seconds = 2 * self.multiply_adds(dtype) / (limits.multiply_adds * 1e9)
        n_parameters = layout.n_parameters(tuple(self.sizes))
        n_bytes = n_parameters * np.dtype(dtype).itemsize
        if "per_example" in self.call:
            seconds = max(seconds, self.n * n_bytes / (limits.written * 1e9))
        if "predict" in self.call:
            seconds = max(seconds, n_bytes / (limits.read * 1e9))
        return seconds

    def in_unit(self, seconds: float) -> float:
        """Seconds of a step or call, in the workload's unit."""
        if self.unit == "examples/s":
            return self.n / seconds
        return seconds * {"µs": 1e6, "ms": 1e3}[self.unit]


TINY = (2, 3, 1)
DIGITS = (784, 30, 10)

WORKLOADS = (
    Workload("W1", "784-30-10 sigmoid, fit, batch 10", "examples/s", DIGITS, 10, epoch=50_000),
    Workload(
        name="W2",
        what="784-16-16-10 sigmoid, fit, batch 100",
        unit="examples/s",
        sizes=(784, 16, 16, 10),
        n=100,
        epoch=50_000,
    ),
    Workload("W3", "2-3-1 sigmoid, one call a step", "µs", TINY, 1, "net.partial_fit(x, y)"),
    Workload("W3", "2-3-1 sigmoid, fit, batch 1", "µs", TINY, 1, epoch=100_000),
    Workload(
        name="W4",
        what="17-64-64-6 tanh, Adam, a call of 64",
        unit="µs",
        sizes=(17, 64, 64, 6),
        n=64,
        call="net.partial_fit(X, Y, batch_size=64)",
        activation=["tanh", "tanh", "identity"],
        cost="mse",
        optimizer=Adam(),
    ),
    Workload(
        name="W5",
        what="784-512-512-10 relu, Adam, batch 128",
        unit="examples/s",
        sizes=(784, 512, 512, 10),
        n=128,
        epoch=2560,
        activation=["relu", "relu", "softmax"],
        cost="cross_entropy",
        optimizer=Adam(),
    ),
    Workload(
        name="W6",
        what="784-2048-2048-10, Adam, batch 256",
        unit="examples/s",
        sizes=(784, 2048, 2048, 10),
        n=256,
        epoch=768,
        activation=["relu", "relu", "softmax"],
        cost="cross_entropy",
        optimizer=Adam(),
    ),
    Workload(
        name="W7",
        what="ten layers of 64, tanh, a call of 32",
        unit="µs",
        sizes=(32, *[64] * 10, 10),
        n=32,
        call="net.partial_fit(X, Y)",
        activation=[*TANH * 10, "identity"],
        cost="mse",
        optimizer=SGD(0.01, momentum=0.9),
    ),
    Workload(
        name="W8",
        what="per-example gradients, 256 examples",
        unit="ms",
        sizes=(784, 128, 64, 10),
        n=256,
        call="net.gradient(X, Y, per_example=True, out=out)",
    ),
    Workload(
        name="W10",
        what="mean gradient, 10,000 of 784-30-10",
        unit="ms",
        sizes=DIGITS,
        n=10_000,
        call="net.gradient(X, Y)",
    ),
    Workload("W11", "predict one example, 784-30-10", "µs", DIGITS, 1, "net.predict(x)"),
    Workload(
        name="W14",
        what="4-32-16-4 tanh, Adam, batch 10,000",
        unit="examples/s",
        sizes=(4, 32, 16, 4),
        n=10_000,
        epoch=10_000,
        activation=["tanh", "tanh", "identity"],
        cost="mse",
        optimizer=Adam(),
    ),
)


def chosen(only: str | None) -> tuple[Workload, ...]:
    """The workloads whose names stand in ``only``, with commas between; all of them for None.

    Raises
    ------
    ValueError
        For a name that is none of theirs.
    """
    if only is None:
        return WORKLOADS
    known = tuple(dict.fromkeys(workload.name for workload in WORKLOADS))
    names = {validation.choice("only", name.strip(), known) for name in only.split(",")}
    return tuple(workload for workload in WORKLOADS if workload.name in names)


# ---- measuring ---------------------------------------------------------------------------------


def seconds_of(workload: Workload, dtype: str, rounds: int, threads: int = 1) -> list[float]:
    """Seconds of a step or call, the mean of each round; what comes before them is not counted."""
    net = workload.network(dtype, threads)
    if not workload.call:
        return _inside_fit(workload, net, rounds)
    timer = timed_call(workload, net)
    calls, seconds = 1, timer.timeit(1)
    while seconds < ROUND_SECONDS / 10:
        calls *= 10
        seconds = timer.timeit(calls)
    calls = max(1, round(calls * ROUND_SECONDS / seconds))
    return [timer.timeit(calls) / calls for _ in range(rounds)]


def timed_call(workload: Workload, net: Network) -> timeit.Timer:
    """The workload's call, ready to be repeated; the optimiser is set."""
    X, Y = workload.examples(workload.n, net.dtype.name)
    names: dict[str, Any] = {"net": net, "X": X, "Y": Y, "x": X[0], "y": Y[0]}
    if "partial_fit" in workload.call:
        net.partial_fit(X, Y, batch_size=workload.n, optimizer=workload.optimizer)
    if "out" in workload.call:
        names["out"] = np.empty((workload.n, net.n_parameters), net.dtype)
    return timeit.Timer(workload.call, globals=names)


def _inside_fit(workload: Workload, net: Network, rounds: int) -> list[float]:
    """An epoch is a round; the first warms up. The copies kept for a failure are not counted."""
    n = workload.epoch
    if net.backend == "reference":
        n = max(workload.n, n // REFERENCE_SHARE)
    passed = [0.0]

    def note(_: Network, history: History) -> None:
        passed.append(history.seconds)

    net.fit(
        *workload.examples(n, net.dtype.name),
        epochs=rounds + 1,
        batch_size=workload.n,
        optimizer=workload.optimizer,
        shuffle=False,
        callbacks=(note,),
        progress=False,  # the table is all that a terminal should show
    )
    steps = n // workload.n
    return [(end - start) / steps for start, end in pairwise(passed[1:])]


# ---- what is told ------------------------------------------------------------------------------


def machine(dtype: str, limits: Limits, threads: int = 1) -> dict[str, Any]:
    """Where this is measured, by what, and the limits there."""
    facts = info()
    return {
        "processor": processor(),
        "multiply_adds_gflop_per_second": limits.multiply_adds,
        "written_gb_per_second": limits.written,
        "read_from_cache_gb_per_second": limits.read,
        "cbackprop": facts["version"],
        "simd_level": facts["simd_level"],
        "python": platform.python_version(),
        "numpy": facts["numpy"],
        "dtype": dtype,
        "threads": threads,
    }


def row(
    workload: Workload, limits: Limits, dtype: str, rounds: int, threads: int = 1
) -> dict[str, Any]:
    """Measure one workload: ``median``, ``min``, ``max`` and ``limit`` are in its ``unit``.

    ``limits`` are of one core, ``limit`` is of as many as there are threads.
    """
    seconds = seconds_of(workload, dtype, rounds, threads)
    values = [workload.in_unit(each) for each in seconds]
    least = workload.limit(limits.of(threads), dtype)
    return {
        "name": workload.name,
        "what": workload.what,
        "unit": workload.unit,
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "limit": None if least is None else workload.in_unit(least),
        "reached": None if least is None else least / statistics.median(seconds),
    }


def machine_lines(facts: dict[str, Any]) -> str:
    """The lines above the table."""
    peak = facts["multiply_adds_gflop_per_second"]
    cores = "one core" if facts["threads"] == 1 else f"{facts['threads']} threads; one core's"
    told = "multiply-adds not measured" if peak is None else f"{peak:.0f} GFLOP/s of multiply-adds"
    return (
        f"{facts['processor']}, {cores}\n"
        f"limits: {told} ({facts['dtype']}), {facts['written_gb_per_second']:.1f} GB/s written, "
        f"{facts['read_from_cache_gb_per_second']:.0f} GB/s read from cache\n"
        f"cbackprop {facts['cbackprop']} ({facts['simd_level'] or 'the NumPy reference'}), "
        f"NumPy {facts['numpy']}, Python {facts['python']}"
    )


HEADING = f"{'':<41}{'median':>9} {'min':>9} {'max':>9} {'unit':<10} {'limit':>9} {'reached':>7}"


def line(result: dict[str, Any]) -> str:
    """A row of the table, under `HEADING`."""
    numbers = " ".join(f"{_short(result[key]):>9}" for key in ("median", "min", "max"))
    reached = "-" if result["reached"] is None else f"{result['reached']:.0%}"
    return (
        f"{result['name']:<4}{result['what']:<37}{numbers} {result['unit']:<10} "
        f"{_short(result['limit']):>9} {reached:>7}"
    )


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
