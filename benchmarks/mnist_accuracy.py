"""MNIST, 784-30-10, 30 epochs, batches of 10, learning rate 1.5: test accuracy by seed.

    python benchmarks/mnist_accuracy.py MNIST_DIRECTORY [--seeds 0 1 2] [--init auto]

Nielsen's network: his cost has a ½ that this one has not, so his learning rate 3 is 1.5 here.
"""

from __future__ import annotations

import argparse

import numpy as np

from cbackprop import Network, datasets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", help="folder with the four idx files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--init", nargs="+", default=["auto", "standard_normal"])
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    arguments = parser.parse_args()
    (X, labels), (X_test, labels_test) = datasets.load_mnist(arguments.mnist)
    X = np.asarray(X[:50_000], arguments.dtype)
    Y = datasets.one_hot(labels[:50_000], 10)
    test = (X_test, datasets.one_hot(labels_test, 10))
    print(f"{'init':<18}{'seed':>5}{'first':>9}{'best':>9}{'final':>9}")
    for init in arguments.init:
        for seed in arguments.seeds:
            net = Network([784, 30, 10], dtype=arguments.dtype, init=init, seed=seed)
            history = net.fit(
                X,
                Y,
                epochs=30,
                batch_size=10,
                learning_rate=1.5,
                validation_data=test,
                metrics=("accuracy",),
            )
            accuracy = history.metrics["accuracy"]
            print(
                f"{init:<18}{seed:>5}{accuracy[0]:>9.4f}{max(accuracy):>9.4f}{accuracy[-1]:>9.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
