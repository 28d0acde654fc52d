"""What every benchmark shares: arguments, the machine's own limits, runs in turn, tables, JSON.

Import it before NumPy: it limits every library to one thread, or to those of `--threads`.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

_early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
_early.add_argument("--threads", type=int, default=1)
THREADS: int = _early.parse_known_args()[0].threads

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, str(THREADS))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if THREADS == 1:
    os.environ.setdefault(
        "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    )

import numpy as np

import cbackprop
from cbackprop import datasets
from cbackprop.cli import workloads

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[[], float]  # one timed run; returns seconds an item (an example, a step, a call)

OURS = "cbackprop"


# ---- the machine's limits ------------------------------------------------------------------------


@dataclasses.dataclass
class Limits:
    """What one core can do at best, or several: they multiply more, but share the memory."""

    dtype: str
    multiply_adds: float
    bytes_written: float
    bytes_read_from_cache: float

    @classmethod
    def measured(cls, dtype: str) -> Limits:
        return cls(
            dtype,
            THREADS * workloads.multiply_add_peak(dtype) * 1e9 / 2,
            workloads.write_bandwidth() * 1e9,
            THREADS * workloads.cache_bandwidth() * 1e9,
        )

    def seconds_of_arithmetic(self, multiply_adds: float, exponentials: float = 0) -> float:
        """Multiply-adds at the peak, and each exp as the multiply-adds it consists of."""
        total = multiply_adds + exponentials * workloads.MULTIPLY_ADDS_OF_EXP[self.dtype]
        return total / self.multiply_adds

    def __str__(self) -> str:
        return (
            f"{2e-9 * self.multiply_adds:.0f} GFLOP/s of {self.dtype} multiply-adds, "
            f"{1e-9 * self.bytes_written:.1f} GB/s written to memory, "
            f"{1e-9 * self.bytes_read_from_cache:.0f} GB/s read from the second-level cache"
        )


def forward_multiply_adds(sizes: Sequence[int]) -> int:
    """Of one example's weighted inputs: one for each weight."""
    return sum(n_in * n_out for n_in, n_out in pairwise(sizes))


def gradient_multiply_adds(sizes: Sequence[int]) -> int:
    """Of one example's gradient: z, ∂C/∂w, and ∂C/∂a for every layer but the input."""
    return 2 * forward_multiply_adds(sizes) + forward_multiply_adds(sizes[1:])


def n_exponentials(sizes: Sequence[int], activations: Sequence[str]) -> int:
    """Exps of one example's forward pass."""
    widths = zip(sizes[1:], activations, strict=True)
    return sum(n for n, name in widths if name in ("sigmoid", "tanh", "softmax"))


def n_parameters(sizes: Sequence[int]) -> int:
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))


def cores_used() -> str:
    return "one core" if THREADS == 1 else f"{THREADS} cores"


def versions() -> str:
    """Of ours and of what is installed beside it."""
    info = cbackprop.info()
    parts = [f"cbackprop {info['version']} ({info['simd_level']})"]
    for name, distribution in (
        ("NumPy", "numpy"),
        ("PyTorch", "torch"),
        ("JAX", "jax"),
        ("scikit-learn", "scikit-learn"),
        ("mlpfile", "mlpfile"),
        ("Opacus", "opacus"),
        ("BackPACK", "backpack-for-pytorch"),
    ):
        try:
            parts.append(f"{name} {importlib.metadata.version(distribution)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([*parts, f"Python {platform.python_version()}"])


# ---- reports -------------------------------------------------------------------------------------

UNITS = {"examples/s": 0.0, "s": 1.0, "ms": 1e3, "µs": 1e6, "MB": 1.0}


@dataclasses.dataclass
class Report:
    """One table: ours and the peers, and what the machine would allow.

    ``seconds`` are those of one item, round by round (for the unit MB they are megabytes);
    ``limit`` likewise. ``target`` is how many times the best peer ours is to be. ``yardsticks`` are
    lines that are no peers but what ours is measured by, ``most`` how many times the time of the
    quickest of them ours may take. Over several processes each is a round by its medians, those of
    its ratios in ``medians_of_ratios``.
    """

    workload: str
    title: str
    dtype: str
    unit: str
    seconds: dict[str, list[float]]
    limit: float | None
    limited_by: str
    target: float | None
    other_work: list[str]
    medians_of_ratios: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    yardsticks: list[str] = dataclasses.field(default_factory=list)
    most: float | None = None

    def shown(self, seconds: float) -> float:
        return 1 / seconds if self.unit == "examples/s" else UNITS[self.unit] * seconds

    def ratios(self, name: str) -> list[float]:
        """How many times slower (or larger) than ours, round by round."""
        if name in self.medians_of_ratios:
            return self.medians_of_ratios[name]
        pairs = zip(self.seconds[name], self.seconds[OURS], strict=True)
        return [theirs / own for theirs, own in pairs]

    def peers(self) -> list[str]:
        """Those that do the same work, the best first."""
        if OURS not in self.seconds:
            return []
        others = (OURS, *self.other_work, *self.yardsticks)
        names = [name for name in self.seconds if name not in others]
        return sorted(names, key=lambda name: statistics.median(self.ratios(name)))

    def yardstick(self) -> str | None:
        """The quickest of them."""
        names = [name for name in self.yardsticks if name in self.seconds]
        if OURS not in self.seconds or not names:
            return None
        return min(names, key=lambda name: statistics.median(self.ratios(name)))

    def over_yardstick(self) -> str:
        """How many times its time ours takes, and that as a share of its speed."""
        ratios = self.ratios(str(self.yardstick()))
        share = f"{statistics.median(ratios):.0%} of its speed"
        return f"{spread([1 / ratio for ratio in ratios])} times {self.yardstick()} ({share})"

    def __str__(self) -> str:
        lines = [
            f"{self.workload}: {self.title}, {self.dtype}",
            f"  {'':<30}{'median':>13}{'min':>13}{'max':>13}   {self.unit:<12}over ours",
        ]
        for name, values in self.seconds.items():
            numbers = sorted(self.shown(value) for value in values)
            line = f"  {name:<30}" + "".join(
                f"{significant(number):>13}"
                for number in (statistics.median(numbers), numbers[0], numbers[-1])
            )
            if name != OURS and OURS in self.seconds:
                line += f"   {'':<12}{spread(self.ratios(name))}"
            if name in self.other_work:
                line += "  (other work)"
            lines.append(line.rstrip())
        if self.limit is not None:
            lines.append(
                f"  {'limit':<30}{significant(self.shown(self.limit)):>13}   {self.limited_by}"
            )
            if OURS in self.seconds:
                share = self.limit / statistics.median(self.seconds[OURS])
                lines.append(f"  cbackprop reaches {share:.0%} of the limit")
        if self.peers():
            best = self.peers()[0]
            line = f"  best peer: {best}, {spread(self.ratios(best))} times ours"
            lines.append(line + (f"; target {self.target:g}" if self.target else ""))
        if self.yardstick() is not None:
            line = f"  cbackprop takes {self.over_yardstick()}"
            lines.append(line + (f"; target at most {self.most:.3g}" if self.most else ""))
        return "\n".join(lines)

    def markdown(self) -> str:
        """One line of a Markdown table, under `MARKDOWN_HEAD`."""
        if OURS in self.seconds:
            median = statistics.median(self.seconds[OURS])
            ours = f"{significant(self.shown(median))} {self.unit}"
        else:
            median, ours = None, "not in this version"
        limit = reached = best = "–"
        if self.limit is not None:
            limit = f"{significant(self.shown(self.limit))} {self.unit}"
            if median is not None:
                reached = f"{self.limit / median:.0%}"
        peers = self.peers()
        if peers:
            best = f"{peers[0]}: **{spread(self.ratios(peers[0]))}**"
        others = [f"{name} {statistics.median(self.ratios(name)):.3g}" for name in peers[1:]]
        if median is None:  # the peers' own times, then
            others = [
                f"{name} {significant(self.shown(statistics.median(seconds)))} {self.unit}"
                for name, seconds in self.seconds.items()
            ]
        else:
            others += [
                f"{name} (other work) {statistics.median(self.ratios(name)):.3g}"
                for name in self.other_work
            ]
        targets = [f"{self.target:g}"] if self.target else []
        if self.yardstick() is not None:
            reached += f"; takes {self.over_yardstick()}"
            targets += [f"takes ≤ {self.most:.3g}"] if self.most else []
        target = "; ".join(targets) or "–"
        cells = (self.workload, self.title, ours, limit, reached, best, "; ".join(others), target)
        return "| " + " | ".join(cells) + " |"


MARKDOWN_HEAD = (
    "| | workload | cbackprop | limit | reached | best peer, over ours | other peers | target |",
    "|---|---|---|---|---|---|---|---|",
)


def significant(number: float) -> str:
    """Four significant digits, with commas for thousands."""
    if number >= 1000:
        return f"{round(number, 3 - len(str(int(number)))):,.0f}"
    return f"{number:.4g}"


def spread(ratios: Sequence[float]) -> str:
    """The median, and the least and the greatest."""
    least, most = min(ratios), max(ratios)
    return f"{statistics.median(ratios):.2f} ({least:.2f} to {most:.2f})"


def in_turn(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Each run's results, round by round in turn, so that a drifting machine is fair to all."""
    results: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    return results


def repeated(function: Callable[[], Any], count: int) -> Run:
    """A run of ``count`` calls."""

    def run() -> float:
        start = time.perf_counter()
        for _ in range(count):
            function()
        return (time.perf_counter() - start) / count

    return run


def writing(array: Array) -> dict[str, Run]:
    """Runs that only write an array's bytes, in two ways: which is quicker, machines differ."""
    pointer, count, wide = array.ctypes.data, array.nbytes, array.reshape(-1).view(np.float64)
    return {
        "writing alone, NumPy fill": repeated(lambda: wide.fill(1), 1),
        "writing alone, C memset": repeated(lambda: ctypes.memset(pointer, 1, count), 1),
    }


def require_same(results: dict[str, Any], tolerance: float) -> None:
    """All results equal ours, relative to its largest number; otherwise an end with an error.

    A list's arrays are compared one by one, each relative to its own largest number.
    """
    if not results:
        return
    name, own = next(iter(results.items()))
    for other, theirs in results.items():
        lists = [result if isinstance(result, list) else [result] for result in (own, theirs)]
        difference = max(relative_difference(*pair) for pair in zip(*lists, strict=True))
        if not difference <= tolerance:
            raise SystemExit(f"{other} differs from {name} by {difference:.2g}: not the same work")
    print(f"results agree to {tolerance:g}: {', '.join(results)}")


def relative_difference(own: Any, theirs: Any) -> float:
    """The greatest difference over the greatest number; infinite where one of them is NaN."""
    own = np.asarray(own, np.float64)
    difference = np.abs(np.asarray(theirs, np.float64).reshape(own.shape) - own).max()
    ratio = float(difference / np.abs(own).max())
    return ratio if ratio == ratio else float("inf")


# ---- one script's session ------------------------------------------------------------------------


class Session:
    """The arguments every script takes, the machine's limits, and the reports made so far."""

    def __init__(
        self,
        description: str | None,
        rounds: int = 5,
        extra: Callable[[argparse.ArgumentParser], None] | None = None,
        parts: Sequence[str] = (),
    ) -> None:
        parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
        parser.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
        parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
        parser.add_argument(
            "--mnist",
            default=os.environ.get("CBACKPROP_MNIST"),
            help="folder with the four idx files; by default CBACKPROP_MNIST of the environment",
        )
        only = "only the line of this name; repeatable"
        if parts:
            only += f". Or only these tables, with commas between: {', '.join(parts)}"
        parser.add_argument("--only", action="append", metavar="NAME", help=only)
        parser.add_argument("--json", metavar="FILE", help="write the results there, too")
        parser.add_argument("--markdown", action="store_true", help="a Markdown table at the end")
        parser.add_argument("--threads", type=int, default=1, help="default 1, each on its core")
        parser.add_argument("--core", type=int, help="the core to run on; by default the last one")
        if extra is not None:
            extra(parser)
        arguments = self.options = parser.parse_args()
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))[-THREADS:]
            os.sched_setaffinity(0, cores if arguments.core is None else {arguments.core})
        self.rounds: int = arguments.rounds
        self.dtype: str = arguments.dtype
        self.tolerance = 1e-3 if arguments.dtype == "float32" else 1e-8
        self.random = np.random.default_rng(0)
        self.reports: list[Report] = []
        self._mnist, self._json = arguments.mnist, arguments.json
        self._markdown: bool = arguments.markdown
        chosen: list[str] = []
        lines: list[str] = []
        for given in arguments.only or ():
            names = given.split(",")
            if set(names) <= set(parts):
                chosen += names
            else:
                lines.append(given)  # the name of a line may hold a comma
        self.parts = [part for part in parts if part in chosen or not chosen]
        self._only = lines or None
        self.limits = Limits.measured(self.dtype)
        print(f"{workloads.processor()}, {cores_used()}: {self.limits}\n{versions()}")

    def wanted(self, name: str) -> bool:
        return self._only is None or name in self._only

    def wants_any_of(self, peer: str) -> bool:
        """Whether any line whose name begins like this is asked for."""
        return self._only is None or any(name.startswith(peer) for name in self._only)

    def mnist(self, n: int) -> tuple[Array, Array]:
        """The first n training examples, or random ones of their density, and one-hot targets."""
        if self._mnist:
            (X, labels), _ = datasets.load_mnist(self._mnist)
            X, labels = X[:n], labels[:n]
        else:
            print("no MNIST folder (--mnist, CBACKPROP_MNIST): random digits, 19 % not zero")
            X = self.random.random((n, 784)) * (self.random.random((n, 784)) < 0.19)
            labels = self.random.integers(0, 10, n)
        Y = datasets.one_hot(labels, 10)
        return np.ascontiguousarray(X, self.dtype), np.ascontiguousarray(Y, self.dtype)

    def normal(self, *shape: int) -> Array:
        """Standard normal numbers, the same in every run."""
        return self.random.standard_normal(shape).astype(self.dtype)

    def report(
        self,
        workload: str,
        title: str,
        runs: dict[str, Run],
        *,
        unit: str,
        limit: float | None = None,
        limited_by: str = "multiply-adds and exps at the peak",
        target: float | None = None,
        other_work: Sequence[str] = (),
        yardsticks: Sequence[str] = (),
        most: float | None = None,
    ) -> None:
        """Run all in turn and print the table. A first turn, for caches and clocks, is thrown away.

        Parameters
        ----------
        workload, title : str
            The number in the table of targets, and what is done.
        runs : dict
            Each contestant's run; ours has the name ``OURS``.
        unit : str
            One of ``UNITS``.
        limit : float, optional
            Seconds an item that the machine would allow.
        limited_by : str
            What that limit consists of.
        target : float, optional
            How many times the best peer's speed ours is to have.
        other_work : sequence of str
            Those whose work differs from ours, so that no best peer is sought among them.
        yardsticks : sequence of str
            Those that ours is measured by: no peers either.
        most : float, optional
            How many times the time of the quickest yardstick ours is to take at most.
        """
        chosen = {name: run for name, run in runs.items() if self.wanted(name)}
        if not chosen:
            return
        in_turn(chosen, 1)
        seconds = in_turn(chosen, self.rounds)
        report = Report(
            workload,
            title,
            self.dtype,
            unit,
            seconds,
            limit,
            limited_by,
            target,
            [name for name in other_work if name in seconds],
            yardsticks=[name for name in yardsticks if name in seconds],
            most=most,
        )
        self.add(report)

    def add(self, report: Report) -> None:
        self.reports.append(report)
        print(f"\n{report}", flush=True)

    def finish(self) -> None:
        """Print the Markdown table and write the JSON file, if they were asked for."""
        if not self.reports:
            raise SystemExit("nothing was measured: --only names no line of this benchmark")
        if self._markdown:
            rows = [report.markdown() for report in self.reports]
            print("\n".join(("", *MARKDOWN_HEAD, *rows)))
        if self._json:
            content = {
                "processor": workloads.processor(),
                "versions": versions(),
                "cores": cores_used(),
                "limits": dataclasses.asdict(self.limits),
                "reports": [dataclasses.asdict(report) for report in self.reports],
            }
            with open(self._json, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
