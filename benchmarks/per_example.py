"""What is made for each example on its own: milliseconds.

    python benchmarks/per_example.py [--rounds 25] [--dtype float32]

1. Every gradient of 784-128-64-10, 256 examples, into an array used again.
2. The norms of the gradients of the same network, 4,096 examples, beside the backward pass alone.
3. The Jacobian of the outputs of 8-32-32-1 (tanh), 1,000 examples, into an array used again.

Each in NumPy too, by hand, and on PyTorch's tensors where it is installed (one thread, by hand: the
fastest way there, without autograd). The results are compared first.
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

from cbackprop import Network
from cbackprop.random_numbers import RandomNumbers

Array = np.ndarray[Any, np.dtype[Any]]
Layers = list[tuple[Any, Any]]


def numpy_tanh(z: Array) -> tuple[Array, Array]:
    a = np.tanh(z)
    return a, 1 - a * a


def numpy_sigmoid(z: Array) -> tuple[Array, Array]:
    a = 1 / (1 + np.exp(-z))
    return a, a * (1 - a)


def torch_tanh(z: Any) -> tuple[Any, Any]:
    a = z.tanh()
    return a, 1 - a * a


def torch_sigmoid(z: Any) -> tuple[Any, Any]:
    a = z.sigmoid()
    return a, a * (1 - a)


def passes(layers: Layers, X: Any, Y: Any, activate: Callable[[Any], Any]) -> tuple[Any, Any]:
    """The a below and the δ of every layer, by the textbook, on NumPy's arrays or PyTorch's
    tensors; without Y the output's own derivative in the place of δ (for a single output)."""
    a, slopes = [X], []
    for W, b in layers:
        value, slope = activate(a[-1] @ W.T + b)
        a.append(value)
        slopes.append(slope)
    deltas = [slopes[-1] if Y is None else 2 * (a[-1] - Y) * slopes[-1]]
    for (W, _), slope in zip(layers[:0:-1], slopes[-2::-1], strict=True):
        deltas.insert(0, deltas[0] @ W * slope)
    return a[:-1], deltas


def write_rows(out: Any, a: Any, deltas: Any, multiply: Callable[..., Any]) -> None:
    """Outer products into the rows of out, in the order W1, b1, …."""
    start = 0
    for a_below, delta in zip(a, deltas, strict=True):
        n, n_out = delta.shape
        middle = start + n_out * a_below.shape[1]
        W = out[:, start:middle].reshape(n, n_out, a_below.shape[1])
        multiply(delta[:, :, None], a_below[:, None, :], out=W)
        out[:, middle : middle + n_out] = delta
        start = middle + n_out


def norms(a: Any, deltas: Any) -> Any:
    """√Σ ‖δ‖²(‖a‖² + 1)."""
    total = 0
    for a_below, delta in zip(a, deltas, strict=True):
        total = total + (delta * delta).sum(1) * ((a_below * a_below).sum(1) + 1)
    return total**0.5


def timed(runs: dict[str, Callable[[], Any]], rounds: int, what: str) -> None:
    """Everybody's result against ours, then the times."""

    def time_of(run: Callable[[], Any]) -> Callable[[], float]:
        def measured() -> float:
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) * 1e3

        return measured

    first = next(iter(runs))
    expected = np.array(runs[first]())
    for name, run in runs.items():
        result = run()
        if result is not None and not np.allclose(result, expected, rtol=1e-2, atol=1e-4):
            raise SystemExit(f"{name} computes something else")
    results = machine.in_turn({name: time_of(run) for name, run in runs.items()}, rounds)
    print(f"\n{what}\n{machine.table(results, 'ms', first)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    arguments = parser.parse_args()
    dtype, rounds = arguments.dtype, arguments.rounds
    print(machine.describe())
    try:
        import torch

        torch.set_num_threads(1)
        print(f"PyTorch {torch.__version__}, one thread")
    except ImportError:
        torch = None
        print("PyTorch is not installed: left out")

    def case(sizes: list[int], activation: str, n: int) -> tuple[Network, Array, Array]:
        net = Network(sizes, activation, dtype=dtype, seed=0)
        random = RandomNumbers(1)
        X = random.uniform(n * sizes[0]).reshape(n, -1).astype(dtype)
        Y = random.uniform(n * sizes[-1]).reshape(n, -1).astype(dtype)
        return net, X, Y

    def layers_of(net: Network, kind: Callable[[Array], Any]) -> Layers:
        return [
            (kind(W.copy()), kind(b.copy())) for W, b in zip(net.weights, net.biases, strict=True)
        ]

    # 1
    net, X, Y = case([784, 128, 64, 10], "sigmoid", 256)
    out = np.zeros((len(X), net.n_parameters), dtype)
    layers = layers_of(net, np.asarray)

    def by_numpy() -> Array:
        write_rows(out, *passes(layers, X, Y, numpy_sigmoid), np.multiply)
        return out

    runs: dict[str, Callable[[], Any]] = {
        "cbackprop": lambda: net.gradient(X, Y, per_example=True, out=out).vector,
        "NumPy, by hand": by_numpy,
    }
    if torch is not None:
        tensors = layers_of(net, torch.from_numpy)
        x, y, target = (torch.from_numpy(array) for array in (X, Y, out))

        def by_torch() -> Array:
            write_rows(target, *passes(tensors, x, y, torch_sigmoid), torch.mul)
            return out

        runs["PyTorch, by hand"] = by_torch
    timed(runs, rounds, f"all gradients, 784-128-64-10, n = 256, {out.nbytes / 1e6:.0f} MB")

    # 2
    net, X, Y = case([784, 128, 64, 10], "sigmoid", 4096)
    layers = layers_of(net, np.asarray)
    nothing: list[Any] = [None] * 3
    costs = np.empty(len(X), dtype)

    def backward_pass_alone() -> None:
        arrays = [list(nothing) for _ in range(4)]
        net._engine.backward(X, Y, *arrays, [None, *nothing], costs)

    runs = {
        "cbackprop": lambda: net.gradient_norms(X, Y),
        "its backward pass alone": backward_pass_alone,
        "NumPy, by hand": lambda: norms(*passes(layers, X, Y, numpy_sigmoid)),
    }
    if torch is not None:
        tensors = layers_of(net, torch.from_numpy)
        x, y = torch.from_numpy(X), torch.from_numpy(Y)
        runs["PyTorch, by hand"] = lambda: norms(*passes(tensors, x, y, torch_sigmoid))
    timed(runs, rounds, "norms, 784-128-64-10, n = 4096")

    # 3
    net, X, _ = case([8, 32, 32, 1], "tanh", 1000)
    jacobian = np.zeros((len(X), 1, net.n_parameters), dtype)
    layers = layers_of(net, np.asarray)

    def jacobian_by_numpy() -> Array:
        write_rows(jacobian[:, 0], *passes(layers, X, None, numpy_tanh), np.multiply)
        return jacobian

    runs = {
        "cbackprop": lambda: net.jacobian(X, out=jacobian),
        "NumPy, by hand": jacobian_by_numpy,
    }
    if torch is not None:
        tensors = layers_of(net, torch.from_numpy)
        x, target = torch.from_numpy(X), torch.from_numpy(jacobian[:, 0])

        def jacobian_by_torch() -> Array:
            write_rows(target, *passes(tensors, x, None, torch_tanh), torch.mul)
            return jacobian

        runs["PyTorch, by hand"] = jacobian_by_torch
    timed(runs, 20 * rounds, f"Jacobian, 8-32-32-1, n = 1000, {jacobian.nbytes / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
