"""W5: 784-512-512-10, relu, softmax with cross-entropy, Adam, batches of 128.

    python benchmarks/mnist_784_512_512_10.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

One pass over 12,800 MNIST examples in their own order. The costs are compared after ten steps:
Adam divides by the size of the gradient, so that small differences of rounding grow fast.
"""

from __future__ import annotations

import peers
from machine import Session


def main() -> None:
    session = Session(__doc__)
    X, Y = session.mnist(12_800)
    activations = ("relu", "relu", "softmax")
    plan = peers.Plan((784, 512, 512, 10), activations, "cross_entropy", "adam", 1e-3, batch=128)
    peers.compare_training(
        session,
        "W5",
        "784-512-512-10, Adam, batches of 128",
        plan,
        X,
        Y,
        check_steps=10,
        target=1.37,
    )
    session.finish()


if __name__ == "__main__":
    main()
