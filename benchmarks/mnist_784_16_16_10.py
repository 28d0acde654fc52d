"""W2: MNIST 784-16-16-10, sigmoid, quadratic cost, plain steps, batches of 100, 50,000 examples.

    python benchmarks/mnist_784_16_16_10.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

The lesson's own network. In the rows' own order and shuffled. scikit-learn's classifier ends in
softmax and cross-entropy instead: about the same arithmetic, other numbers.
"""

from __future__ import annotations

import peers
from machine import Session


def main() -> None:
    session = Session(__doc__)
    X, Y = session.mnist(50_000)
    plan = peers.Plan((784, 16, 16, 10), ("sigmoid",) * 3, "quadratic", "sgd", 1.5, batch=100)
    peers.compare_training(
        session,
        "W2",
        "784-16-16-10, batches of 100, one epoch",
        plan,
        X,
        Y,
        target=1.6,
        shuffled=True,
        other_work=[peers.SCIKIT_LEARN],
    )
    session.finish()


if __name__ == "__main__":
    main()
