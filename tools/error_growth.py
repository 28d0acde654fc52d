"""How a gradient's rounding error grows with depth: docs/error_growth.svg.

    python tools/error_growth.py docs/error_growth.svg

Random sigmoid networks, four neurons to a layer, weights from N(0, 1): the compiled gradient of
one example beside that of tests/oracle.py, which nudges every parameter in the complex plane and
knows no backpropagation. The error is that of the worst layer, ‖ĝ − g‖/‖g‖, in units of the
rounding error u.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import oracle

from cbackprop import Network

DEPTHS = (1, 2, 3, 5, 8, 12, 20, 30, 50, 70, 100)
SEEDS = 8
WIDTH = 4


def worst_layer(depth: int, seed: int, dtype: str) -> float:
    """The largest relative error of a layer's gradient, in u."""
    net = Network([WIDTH] * depth + [2], dtype=dtype, init="standard_normal", seed=seed)
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(1, WIDTH)).astype(dtype), random.uniform(size=(1, 2)).astype(dtype)
    model = oracle.Model(net.weights, net.biases, ["sigmoid"] * depth, "quadratic")
    true = oracle.gradients(model, x, y)[0]
    found = net.gradient(x, y)
    errors, start = [], 0
    for W, b in zip(found.weights, found.biases, strict=True):
        stop = start + W.size + b.size
        layer = np.concatenate([W.ravel(), b]).astype(np.longdouble)
        size = np.linalg.norm(true[start:stop].astype(np.float64))
        # Deep layers' gradients vanish: below the normal numbers digits are lost by definition.
        if size > np.finfo(dtype).tiny / np.finfo(dtype).eps:
            errors.append(
                float(np.linalg.norm((layer - true[start:stop]).astype(np.float64))) / size
            )
        start = stop
    return max(errors) / (np.finfo(dtype).eps / 2)


def main(path: str) -> None:
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "cbackprop"  # the same file from the same numbers
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for dtype, colour, marker in (("float64", "#1f4e79", "o"), ("float32", "#c05621", "s")):
        errors = np.array([[worst_layer(d, s, dtype) for s in range(SEEDS)] for d in DEPTHS])
        axis.plot(
            DEPTHS,
            errors.max(axis=1),
            color=colour,
            marker=marker,
            label=f"{dtype}, worst of {SEEDS}",
        )
        axis.plot(
            DEPTHS,
            np.median(errors, axis=1),
            color=colour,
            linestyle="--",
            label=f"{dtype}, median",
        )
        for depth, row in zip(DEPTHS, errors, strict=True):
            print(
                f"{dtype} depth {depth:>3}: median {np.median(row):6.1f} u, worst {max(row):6.1f} u"
            )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(DEPTHS, [str(depth) for depth in DEPTHS])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("layers")
    axis.set_ylabel("error of the worst layer's gradient, in u")
    axis.grid(True, linewidth=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(sys.argv[1])
