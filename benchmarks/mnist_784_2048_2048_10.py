"""W6: 784-2048-2048-10, relu, softmax with cross-entropy, Adam, batches of 256.

    python benchmarks/mnist_784_2048_2048_10.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

One pass over 2,560 MNIST examples in their own order. The costs are compared after ten steps:
Adam divides by the size of the gradient, so that small differences of rounding grow fast.
"""

from __future__ import annotations

import peers
from machine import Session


def main() -> None:
    session = Session(__doc__)
    X, Y = session.mnist(2_560)
    activations = ("relu", "relu", "softmax")
    plan = peers.Plan((784, 2048, 2048, 10), activations, "cross_entropy", "adam", 1e-3, batch=256)
    peers.compare_training(
        session,
        "W6",
        "784-2048-2048-10, Adam, batches of 256",
        plan,
        X,
        Y,
        check_steps=10,
        target=1.17,
    )
    session.finish()


if __name__ == "__main__":
    main()
