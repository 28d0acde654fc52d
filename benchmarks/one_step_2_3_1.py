"""One training step of a 2-3-1 sigmoid network, one example: microseconds.

    python benchmarks/one_step.py [--rounds 7]

From Python, one `partial_fit` call a step; inside one `fit` over many examples; and the same step
in NumPy.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import machine
import numpy as np

from cbackprop import SGD, Network

STEPS = 20_000
Array = np.ndarray[Any, np.dtype[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(machine.describe())
    x, y = np.array([0.1, 0.9], np.float32), np.array([1.0], np.float32)
    X, Y = np.tile(x, (STEPS, 1)), np.tile(y, (STEPS, 1))
    net = Network([2, 3, 1], dtype="float32", seed=0)
    net.partial_fit(x, y, optimizer=SGD(0.1))

    def partial_fit() -> float:
        step = net.partial_fit
        start = time.perf_counter()
        for _ in range(STEPS):
            step(x, y)
        return (time.perf_counter() - start) / STEPS * 1e6

    def fit() -> float:
        start = time.perf_counter()
        net.fit(X, Y, epochs=1, batch_size=1, learning_rate=0.1, shuffle=False)
        return (time.perf_counter() - start) / STEPS * 1e6

    W1, W2 = (W.copy() for W in net.weights)
    b1, b2 = (b.copy() for b in net.biases)

    def numpy_step() -> float:
        nonlocal W1, W2, b1, b2
        start = time.perf_counter()
        for _ in range(STEPS // 10):
            a1 = 1 / (1 + np.exp(-(W1 @ x + b1)))
            a2 = 1 / (1 + np.exp(-(W2 @ a1 + b2)))
            delta2 = 2 * (a2 - y) * a2 * (1 - a2)
            delta1 = W2.T @ delta2 * a1 * (1 - a1)
            W2 -= 0.1 * np.outer(delta2, a1)
            b2 -= 0.1 * delta2
            W1 -= 0.1 * np.outer(delta1, x)
            b1 -= 0.1 * delta1
        return (time.perf_counter() - start) / (STEPS // 10) * 1e6

    results = machine.in_turn(
        {"partial_fit, one call a step": partial_fit, "inside fit": fit, "NumPy": numpy_step},
        arguments.rounds,
    )
    print(machine.table(results, "µs a step, float32", "partial_fit, one call a step"))


if __name__ == "__main__":
    main()
