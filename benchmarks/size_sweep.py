"""Time a step against width, batch, depth and parameters: no cliffs between neighbouring sizes.

    python benchmarks/size_sweep.py [--rounds 5] [--dtype float32] [--plot FILE.svg]

Widths 1 … 130 of w-w-w at a batch of 10, batches 1 … 40 of 32-32-10, depths 1 … 30 of 32 neurons a
layer at a batch of 10, all sigmoid with plain steps; and w-w-w from 10³ to 10⁷ parameters at a
batch of 32. Many steps inside one `fit`, by its own clock (`History.seconds`), so that the call
does not count; the least of several interleaved measurements, of more where a cliff seems to be.

A cliff is a step to the next size that takes over 1.3 times longer although its work did not grow
so: the ratio of the times over the ratio of the multiply-adds. A next size that is over 1.3 times
quicker is one as well.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from typing import Any

import machine
import numpy as np
from machine import Session

from cbackprop import SGD, Network

CLIFF, SECONDS_A_MEASUREMENT = 1.3, 2e-3


@dataclasses.dataclass
class Point:
    """One network and batch size, and the least time of a step so far."""

    size: int
    sizes: tuple[int, ...]
    batch: int
    seconds: float = math.inf

    @property
    def multiply_adds(self) -> int:
        return self.batch * machine.gradient_multiply_adds(self.sizes)

    def prepare(self, session: Session) -> None:
        """The network, and rows for as many steps as make a measurement."""
        self.net = Network(self.sizes, dtype=session.dtype, seed=0)
        guess = self.multiply_adds / session.limits.multiply_adds
        steps = min(max(int(SECONDS_A_MEASUREMENT / (2 * guess + 1e-7)), 3), 5000)
        rows = steps * self.batch
        self.X = session.normal(rows, self.sizes[0])
        self.Y = session.random.random((rows, self.sizes[-1])).astype(session.dtype)
        self.steps = steps

    def measure(self) -> None:
        history = self.net.fit(
            self.X,
            self.Y,
            epochs=1,
            batch_size=self.batch,
            optimizer=SGD(1e-3),
            shuffle=False,
        )
        self.seconds = min(self.seconds, history.seconds / self.steps)

    def forget(self) -> None:
        del self.net, self.X, self.Y


def sweep(session: Session, points: list[Point]) -> list[Point]:
    """Measure all, round by round in turn; what looks like a cliff, and its neighbours, longer."""
    for point in points:
        point.prepare(session)
        point.measure()
    for _ in range(session.rounds):
        for point in points:
            point.measure()
    for _ in range(4 * session.rounds):
        for before, after, _ in cliffs(points):
            before.measure()
            after.measure()
    for point in points:
        point.forget()
    return points


def cliffs(points: list[Point]) -> list[tuple[Point, Point, float]]:
    """Neighbours whose times differ by more than their work explains, and the factor."""
    found = []
    for before, after in pairwise(points):
        time = after.seconds / before.seconds
        work = after.multiply_adds / before.multiply_adds
        if time / work > CLIFF or time < 1 / CLIFF:
            found.append((before, after, time))
    return found


def describe(name: str, points: list[Point]) -> int:
    """Print some of the points and every cliff; returns how many there are."""
    print(f"\n{name}\n  {'size':>10}{'µs a step':>14}{'ns a multiply-add':>20}")
    chosen = sorted({round(i * (len(points) - 1) / 9) for i in range(10)})
    for point in (points[i] for i in chosen):
        print(
            f"  {point.size:>10,}{1e6 * point.seconds:>14.3f}"
            f"{1e9 * point.seconds / point.multiply_adds:>20.4f}"
        )
    found = cliffs(points)
    for before, after, time in found:
        print(
            f"  cliff: {before.size} takes {1e6 * before.seconds:.3f} µs, {after.size} takes "
            f"{1e6 * after.seconds:.3f} µs: {time:.2f} times, with "
            f"{after.multiply_adds / before.multiply_adds:.2f} times the multiply-adds"
        )
    if not found:
        print(f"  no cliff over {CLIFF} times")
    return len(found)


def plot(path: str, panels: dict[str, list[Point]], dtype: str) -> None:
    """One panel a sweep."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for axis, (name, points) in zip(axes.flat, panels.items(), strict=True):
        sizes = [point.size for point in points]
        times = [1e6 * point.seconds for point in points]
        axis.plot(sizes, times, marker=".", markersize=4, linewidth=1, color="#1f4e79")
        axis.set_xlabel(name)
        axis.set_ylabel(f"µs a step, {dtype}")
        axis.grid(True, which="both", linewidth=0.3)
        if "parameters" in name:
            axis.set_xscale("log")
            axis.set_yscale("log")
        elif "width" in name:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
    figure.savefig(path)
    print(f"\ndrawn to {path}")


def arguments(parser: Any) -> None:
    parser.add_argument("--plot", metavar="FILE.svg", help="draw the four curves (matplotlib)")


def main() -> None:
    session = Session(__doc__, extra=arguments)
    widths = [Point(w, (w, w, w), 10) for w in range(1, 131)]
    batches = [Point(n, (32, 32, 10), n) for n in range(1, 41)]
    depths = [Point(L, (32,) * (L + 1), 10) for L in range(1, 31)]
    parameters = []
    for power in np.arange(3, 7.01, 0.25):
        w = round((math.sqrt(1 + 2 * 10**power) - 1) / 2)  # 2 w (w + 1) parameters
        parameters.append(Point(2 * w * (w + 1), (w, w, w), 32))
    panels = {
        "width w of w-w-w, batches of 10": widths,
        "batch of 32-32-10": batches,
        "depth, layers of 32, batches of 10": depths,
        "parameters of w-w-w, batches of 32": parameters,
    }
    total = 0
    for name, points in panels.items():
        sweep(session, points)
        if points is not parameters:
            total += describe(name, points)
    describe_parameters(parameters)
    print(f"\n{total} cliffs over {CLIFF} times in widths, batches and depths")
    if session.options.plot:
        plot(session.options.plot, panels, session.dtype)


def describe_parameters(points: list[Point]) -> None:
    """Time a parameter, and the power of the number of parameters that the time grows with."""
    print("\nparameters of w-w-w, batches of 32")
    print(f"  {'parameters':>12}{'µs a step':>14}{'ns each':>12}")
    for point in points:
        each = 1e9 * point.seconds / point.size
        print(f"  {point.size:>12,}{1e6 * point.seconds:>14.2f}{each:>12.3f}")
    logs = np.log([(point.size, point.seconds) for point in points])
    print(f"  time grows as parameters to the power {np.polyfit(logs[:, 0], logs[:, 1], 1)[0]:.3f}")


if __name__ == "__main__":
    main()
