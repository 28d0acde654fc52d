"""One epoch of MNIST, 50,000 examples, 784-30-10, batches of 10: examples a second.

    python benchmarks/mnist_epoch.py MNIST_DIRECTORY [--rounds 5] [--dtype float32]

Ours, in the rows' own order and shuffled; NumPy in matrix form; PyTorch (one thread) where it is
installed, written with its modules and by hand. All start from the same parameters and take the
same batches; after 100 steps their costs are compared, so that all are known to do the same work.
(After an epoch they would differ: rounding grows too fast at this learning rate.)
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

# One core for everybody.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import machine
import numpy as np

from cbackprop import Network, datasets

SIZES, BATCH, RATE = [784, 30, 10], 10, 1.5
Array = np.ndarray[Any, np.dtype[Any]]


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def numpy_matrix_form(net: Network, X: Array, Y: Array, steps: int) -> Array:
    """The textbook's four equations on whole batches; returns the parameters."""
    W1, W2 = (W.copy() for W in net.weights)
    b1, b2 = (b.copy() for b in net.biases)
    rate = X.dtype.type(RATE / BATCH)
    for start in range(0, steps * BATCH, BATCH):
        x, y = X[start : start + BATCH], Y[start : start + BATCH]
        a1 = sigmoid(x @ W1.T + b1)
        a2 = sigmoid(a1 @ W2.T + b2)
        delta2 = 2 * (a2 - y) * a2 * (1 - a2)
        delta1 = delta2 @ W2 * a1 * (1 - a1)
        W2 -= rate * (delta2.T @ a1)
        b2 -= rate * delta2.sum(axis=0)
        W1 -= rate * (delta1.T @ x)
        b1 -= rate * delta1.sum(axis=0)
    return np.concatenate([W1.ravel(), b1, W2.ravel(), b2])


def torch_modules(net: Network, X: Array, Y: Array, steps: int) -> Array:
    """nn.Sequential, autograd and torch.optim.SGD."""
    import torch

    torch.set_num_threads(1)
    dtype = torch.from_numpy(X[:1]).dtype
    first, second = torch.nn.Linear(784, 30, dtype=dtype), torch.nn.Linear(30, 10, dtype=dtype)
    with torch.no_grad():
        for linear, W, b in zip((first, second), net.weights, net.biases, strict=True):
            linear.weight.copy_(torch.from_numpy(W.copy()))
            linear.bias.copy_(torch.from_numpy(b.copy()))
    model = torch.nn.Sequential(first, torch.nn.Sigmoid(), second, torch.nn.Sigmoid())
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    x_all, y_all = torch.from_numpy(X), torch.from_numpy(Y)
    for start in range(0, steps * BATCH, BATCH):
        optimizer.zero_grad()
        a = model(x_all[start : start + BATCH])
        ((a - y_all[start : start + BATCH]) ** 2).sum().div(BATCH).backward()
        optimizer.step()
    return np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])


def torch_by_hand(net: Network, X: Array, Y: Array, steps: int) -> Array:
    """The four equations on tensors, without autograd, into preallocated results where it helps."""
    import torch

    torch.set_num_threads(1)
    W1, W2 = (torch.from_numpy(W.T.copy()) for W in net.weights)
    b1, b2 = (torch.from_numpy(b.copy()) for b in net.biases)
    x_all, y_all = torch.from_numpy(X), torch.from_numpy(Y)
    rate = RATE / BATCH
    with torch.inference_mode():
        for start in range(0, steps * BATCH, BATCH):
            x, y = x_all[start : start + BATCH], y_all[start : start + BATCH]
            a1 = torch.addmm(b1, x, W1).sigmoid_()
            a2 = torch.addmm(b2, a1, W2).sigmoid_()
            delta2 = 2 * (a2 - y) * a2 * (1 - a2)
            delta1 = (delta2 @ W2.T) * a1 * (1 - a1)
            W2.addmm_(a1.T, delta2, alpha=-rate)
            b2.sub_(delta2.sum(0), alpha=rate)
            W1.addmm_(x.T, delta1, alpha=-rate)
            b1.sub_(delta1.sum(0), alpha=rate)
    return np.concatenate([W1.T.numpy().ravel(), b1.numpy(), W2.T.numpy().ravel(), b2.numpy()])


def ours(net: Network, X: Array, Y: Array, steps: int, shuffle: bool = False) -> Array:
    """Network.fit."""
    twin = net.copy()
    n = steps * BATCH
    twin.fit(X[:n], Y[:n], epochs=1, batch_size=BATCH, learning_rate=RATE, shuffle=shuffle)
    return twin.parameters


def ours_shuffled(net: Network, X: Array, Y: Array, steps: int) -> Array:
    return ours(net, X, Y, steps, shuffle=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mnist", help="folder with the four idx files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    arguments = parser.parse_args()
    (X, labels), _ = datasets.load_mnist(arguments.mnist)
    X = np.ascontiguousarray(X[:50_000], arguments.dtype)
    Y = datasets.one_hot(labels[:50_000], 10).astype(arguments.dtype)
    net = Network(SIZES, dtype=arguments.dtype, seed=0)
    trainers: dict[str, Callable[[Network, Array, Array, int], Array]] = {
        "cbackprop, in order": ours,
        "cbackprop, shuffled": ours_shuffled,
        "NumPy, matrix form": numpy_matrix_form,
    }
    try:
        import torch

        trainers["PyTorch, by hand"] = torch_by_hand
        trainers["PyTorch, modules"] = torch_modules
        print(f"PyTorch {torch.__version__}, one thread")
    except ImportError:
        print("PyTorch is not installed: left out")
    print(machine.describe())

    judge = net.copy()
    costs = {}
    for name, train in trainers.items():
        if train is not ours_shuffled:
            judge.parameters = train(net, X, Y, 100)
            costs[name] = judge.cost(X[:1000], Y[:1000])
    print("cost after 100 steps:", ", ".join(f"{name} {c:.6f}" for name, c in costs.items()))
    if max(costs.values()) - min(costs.values()) > 1e-3 * min(costs.values()):
        raise SystemExit("the costs differ: not all did the same work")

    def rate(train: Callable[[Network, Array, Array, int], Array]) -> Callable[[], float]:
        def run() -> float:
            start = time.perf_counter()
            train(net, X, Y, len(X) // BATCH)
            return len(X) / (time.perf_counter() - start)

        return run

    results = machine.in_turn(
        {name: rate(train) for name, train in trainers.items()}, arguments.rounds
    )
    print(machine.table(results, f"examples/s, {arguments.dtype}", "cbackprop, in order"))


if __name__ == "__main__":
    main()
