"""W14: 4-32-16-4, tanh, mean squared error, full-batch Adam on 2x2 matrices' exponentials.

    python benchmarks/matrix_exponential.py [--rounds 5] [--dtype float32] [--threads 2]

The example of SimpleChains.jl: entries of 10,000 matrices drawn evenly from 0 ... 1, targets from
the formula. One step is an epoch. The costs are compared after ten steps, as for W5.
"""

from __future__ import annotations

import numpy as np
import peers
from machine import Array, Session

N = 10_000


def exponentials(X: Array) -> Array:
    """e^A of 2x2 matrices A, (n, 4) row by row: e^s (cosh q I + sinh q / q (A - s I)).

    s is half the trace and q^2 = ((a - d) / 2)^2 + bc, after Cayley and Hamilton; not negative for
    entries that are not.
    """
    a, b, c, d = np.asarray(X, np.float64).T
    s = (a + d) / 2
    q = np.sqrt(((a - d) / 2) ** 2 + b * c)
    ratio = np.where(q == 0, 1, np.sinh(q) / np.where(q == 0, 1, q))
    entries = (np.cosh(q) + ratio * (a - s), ratio * b, ratio * c, np.cosh(q) + ratio * (d - s))
    return np.stack([np.exp(s) * entry for entry in entries], axis=1)


def main() -> None:
    session = Session(__doc__)
    X = np.random.default_rng(0).uniform(size=(N, 4))
    Y = exponentials(X)
    plan = peers.Plan((4, 32, 16, 4), ("tanh", "tanh", "identity"), "mse", "adam", 1e-3, batch=N)
    peers.compare_training(
        session,
        "W14",
        f"4-32-16-4, Adam, full batches of {N:,}",
        plan,
        X.astype(session.dtype),
        Y.astype(session.dtype),
        check_steps=1,
        target=1.15,
    )
    session.finish()


if __name__ == "__main__":
    main()
