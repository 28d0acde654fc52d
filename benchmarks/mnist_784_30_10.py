"""W1: MNIST 784-30-10, sigmoid, quadratic cost, plain steps, batches of 10, one epoch of 50,000.

    python benchmarks/mnist_784_30_10.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

In the rows' own order and shuffled. scikit-learn's classifier ends in softmax and cross-entropy
instead: about the same arithmetic, other numbers. After a whole epoch at this learning rate the
costs of equal work differ, since rounding grows; they are compared after 100 steps.
"""

from __future__ import annotations

import peers
from machine import Session


def main() -> None:
    session = Session(__doc__)
    X, Y = session.mnist(50_000)
    plan = peers.Plan((784, 30, 10), ("sigmoid", "sigmoid"), "quadratic", "sgd", 1.5, batch=10)
    peers.compare_training(
        session,
        "W1",
        "784-30-10, batches of 10, one epoch",
        plan,
        X,
        Y,
        target=2.2,
        shuffled=True,
        other_work=[peers.SCIKIT_LEARN],
    )
    session.finish()


if __name__ == "__main__":
    main()
