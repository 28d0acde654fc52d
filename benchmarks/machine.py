"""What every benchmark shares: the machine's own limits, medians, and runs in turn."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

import cbackprop
from cbackprop import backend


def multiply_add_peak(dtype: str) -> float:
    """Measured GFLOP/s of one core: vector multiply-adds on registers, the best of ten."""
    kernels = backend.kernels(dtype)
    best = 0.0
    for _ in range(10):
        start = time.perf_counter()
        numbers = kernels.fused_multiply_adds(2_000_000)
        best = max(best, 2 * numbers / (time.perf_counter() - start) / 1e9)
    return best


def write_bandwidth() -> float:
    """Measured GB/s of filling 256 MB, the median of five."""
    target = np.empty(32 << 20)
    target.fill(0)
    rates = []
    for value in range(5):
        start = time.perf_counter()
        target.fill(value)
        rates.append(target.nbytes / (time.perf_counter() - start) / 1e9)
    return statistics.median(rates)


def describe() -> str:
    """The lines that stand above every table."""
    info = cbackprop.info()
    return (
        f"{_processor()}, one core: {multiply_add_peak('float32'):.0f} (float32) and "
        f"{multiply_add_peak('float64'):.0f} (float64) GFLOP/s of multiply-adds, "
        f"{write_bandwidth():.1f} GB/s written\n"
        f"cbackprop {info['version']} ({info['simd_level']}), NumPy {np.__version__}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def in_turn(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each run's results, round by round in turn, so that a drifting machine is fair to all."""
    results: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    return results


def table(results: dict[str, list[float]], unit: str, first: str) -> str:
    """Median, least and greatest of each, and the median of the ratios of ``first`` to it."""
    lines = [f"{'':<28}{'median':>14}{'min':>14}{'max':>14}{'first/this':>12}   {unit}"]
    for name, values in results.items():
        ratios = [a / b for a, b in zip(results[first], values, strict=True)]
        lines.append(
            f"{name:<28}{statistics.median(values):>14,.3f}{min(values):>14,.3f}"
            f"{max(values):>14,.3f}{statistics.median(ratios):>12.2f}"
        )
    return "\n".join(lines)
