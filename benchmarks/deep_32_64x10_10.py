"""W7: 32-[64]×10-10, tanh, quadratic cost, momentum: one call for a batch of 32.

    python benchmarks/deep_32_64x10_10.py [--rounds 5] [--dtype float32]

Eleven layers, so that what a call costs besides its arithmetic shows. Random data.
"""

from __future__ import annotations

import peers
from machine import Session

STEPS, BATCH = 200, 32


def main() -> None:
    session = Session(__doc__)
    X, Y = session.normal(STEPS * BATCH, 32), 0.5 * session.normal(STEPS * BATCH, 10)
    sizes = (32, *[64] * 10, 10)
    plan = peers.Plan(sizes, ("tanh",) * 11, "quadratic", "momentum", 0.01, BATCH)
    peers.compare_training(
        session,
        "W7",
        "32-[64]×10-10, momentum, one call for a batch of 32",
        plan,
        X,
        Y,
        by_calls=True,
        target=1.8,
        leave_out=[peers.SCIKIT_LEARN],  # its outputs cannot be tanh
    )
    session.finish()


if __name__ == "__main__":
    main()
