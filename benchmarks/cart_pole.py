"""A plan of the cart and pole's controller: the network in CasADi's symbols, and called back.

    python benchmarks/cart_pole.py [--rounds 3] [--steps 40]      needs CasADi and PyTorch

The controller of examples/cart_pole.py, with the same model each time: in CasADi's own symbols, and
as a callback into PyTorch, which has value, Jacobian and Hessian by torch.func; each also without
the Hessian, which IPOPT then approximates from gradients (L-BFGS). Each drives the true cart from
hanging, in turn; the table has the median, the largest, and the sum of the seconds of its plans.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import casadi as ca
import numpy as np
import torch

from cbackprop import Network
from cbackprop.casadi import function
from cbackprop.torch import to_torch

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "cart_pole.py"


class Called(ca.Callback):  # type: ignore[misc]  # CasADi has no types
    """A function of CasADi that calls Python with its first input, (n, 4); others are unused."""

    def __init__(self, name: str, call: Any, inputs: list[Any], outputs: list[Any]) -> None:
        ca.Callback.__init__(self)
        self.python, self.inputs, self.outputs = call, inputs, outputs
        self.name_given = name
        self.derivative: Called | None = None

    def with_derivative(self, derivative: Called | None) -> Called:
        self.derivative = derivative
        self.construct(self.name_given, {})
        return self

    def get_n_in(self) -> int:
        return len(self.inputs)

    def get_n_out(self) -> int:
        return len(self.outputs)

    def get_sparsity_in(self, i: int) -> Any:
        return self.inputs[i]

    def get_sparsity_out(self, i: int) -> Any:
        return self.outputs[i]

    def has_jacobian(self) -> bool:
        return self.derivative is not None

    def get_jacobian(self, name: str, inputs: Any, outputs: Any, options: Any) -> Any:
        return self.derivative

    def eval(self, arguments: Any) -> Any:
        X = torch.from_numpy(arguments[0].full().T.copy())
        first = ca.DM(self.outputs[0], self.python(X).numpy().reshape(-1))
        return [first, *(ca.DM(other) for other in self.outputs[1:])]


class CalledBack:
    """The network by PyTorch: value, Jacobian and Hessian of all steps ahead, each one call."""

    def __init__(self, net: Network) -> None:
        self.module = to_torch(net).requires_grad_(False)

    def map(self, n: int) -> Called:
        # CasADi counts numbers by columns: of step k by input i, then by input c, then output j.
        jacobian = torch.func.vmap(torch.func.jacrev(self.module))
        hessian = torch.func.vmap(torch.func.hessian(self.module))
        matrix, empty = ca.Sparsity.dense(4, n), ca.Sparsity
        blocks = ca.diagcat(*[ca.Sparsity.dense(4, 4)] * n)
        k, i, c, j = (index.ravel() for index in np.indices((n, 4, 4, 4)))
        rows, columns = (4 * k + c) * 4 * n + 4 * k + j, 4 * k + i
        third = ca.Sparsity.triplet(16 * n * n, 4 * n, rows.tolist(), columns.tolist())
        second = Called(
            "jac_jac_called",
            lambda X: hessian(X).permute(0, 3, 2, 1),
            [matrix, empty(4, n), empty(4 * n, 4 * n)],
            [third, empty(16 * n * n, 4 * n)],
        ).with_derivative(None)
        first = Called(
            "jac_called", lambda X: jacobian(X).transpose(1, 2), [matrix, empty(4, n)], [blocks]
        ).with_derivative(second)
        # Kept here, because CasADi does not keep it.
        self.called = Called("called", self.module, [matrix], [matrix]).with_derivative(first)
        return self.called


def ways(example: Any, net: Network) -> dict[str, Any]:
    """Each way's controller, made anew."""
    approximated = {"hessian_approximation": "limited-memory"}
    called = CalledBack(net)
    return {
        "CasADi's symbols": lambda: example.controller(function(net)),
        "CasADi's symbols, L-BFGS": lambda: example.controller(function(net), approximated),
        "called back into PyTorch": lambda: example.controller(called),
        "called back, L-BFGS": lambda: example.controller(called, approximated),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of 0.05 s")
    options = parser.parse_args()
    torch.set_num_threads(1)
    specification = importlib.util.spec_from_file_location("example", EXAMPLE)
    example: Any = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(example)
    net = example.learned_model(20_000, np.random.default_rng(0), 0)
    seconds: dict[str, list[Any]] = {}
    makers = ways(example, net)
    for _ in range(options.rounds):
        for name, make in makers.items():
            states, _, of_plans = example.drive(make(), options.steps)
            seconds.setdefault(name, []).append(of_plans)
            if abs(example.from_upright(states[-1])) > 0.2:
                print(f"{name}: the pole is not upright in the end")
    print(f"{'':<28}{'median ms':>11}{'largest ms':>12}{'all s':>8}   of {options.steps} plans")
    for name, rounds in seconds.items():
        median, largest, total = (
            statistics.median(float(of(r)) for r in rounds) for of in (np.median, np.max, np.sum)
        )
        print(f"{name:<28}{1e3 * median:>11.1f}{1e3 * largest:>12.1f}{total:>8.2f}")
    print(f"CasADi {ca.__version__}, PyTorch {torch.__version__}, NumPy {np.__version__}")


if __name__ == "__main__":
    main()
