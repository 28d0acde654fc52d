"""W4: 17-64-64-6, tanh, identity outputs, mean squared error, Adam: one call for a batch of 64.

    python benchmarks/control_17_64_64_6.py [--rounds 5] [--dtype float32]

The size of a controller or a surrogate model that learns while it runs, on random data. JAX's scan
takes all batches in one call, which such a use does not allow: it is the mark to beat. scikit-learn
halves the squares' sum, which Adam does not see but for its ε: other work, narrowly.
"""

from __future__ import annotations

import peers
from machine import Session

STEPS, BATCH = 500, 64


def main() -> None:
    session = Session(__doc__)
    X, Y = session.normal(STEPS * BATCH, 17), session.normal(STEPS * BATCH, 6)
    plan = peers.Plan((17, 64, 64, 6), ("tanh", "tanh", "identity"), "mse", "adam", 1e-3, BATCH)
    peers.compare_training(
        session,
        "W4",
        "17-64-64-6, Adam, one call for a batch of 64",
        plan,
        X,
        Y,
        by_calls=True,
        target=1.8,
        other_work=[peers.SCIKIT_LEARN],
    )
    session.finish()


if __name__ == "__main__":
    main()
