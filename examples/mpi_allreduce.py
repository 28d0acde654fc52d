"""Gradient descent over examples that lie on several processes (MPI), with the bits of one process.

    mpiexec -n 3 python examples/mpi_allreduce.py

Needs mpi4py and an MPI library: `pip install mpi4py mpich`. Each rank sums the gradients of its own
rows, and `allreduce` adds the sums up. MPI promises no order for that, and floating-point sums have
other digits in another order; a `GradientSum` is joined by position, so the order does not matter.
Every rank then has the same gradient to the bit and takes the same step itself: parameters are
never sent. Where rows are cut does not matter either, as long as each cut is at a multiple of
`cbackprop.EXAMPLES_PER_GROUP`.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from mpi4py import MPI

from cbackprop import EXAMPLES_PER_GROUP, Network, datasets
from cbackprop.distributed import GradientSum

STEPS, LEARNING_RATE, MOMENTUM = 60, 0.3, 0.9


class Result(NamedTuple):
    """The cost before each step, and the parameters after the last one as a hash."""

    costs: list[float]
    parameters: str


def rows_of(rank: int, n_ranks: int, n: int) -> slice:
    """The rank's share of n rows: whole groups, but for the last rows of all."""
    n_groups = -(-n // EXAMPLES_PER_GROUP)
    first, stop = (n_groups * r // n_ranks * EXAMPLES_PER_GROUP for r in (rank, rank + 1))
    return slice(first, min(stop, n))


def run() -> Result:
    """On each rank of those that were started; one is enough."""
    ranks = MPI.COMM_WORLD
    X, labels = datasets.load_digits()  # each rank would read its own rows from a file of its own
    rows = rows_of(ranks.rank, ranks.size, len(X))
    X, Y = X[rows], datasets.one_hot(labels[rows], 10)

    net = Network([64, 30, 10], ["tanh", "softmax"], "cross_entropy", seed=0)
    velocity = np.zeros(net.n_parameters)
    costs = []
    for _ in range(STEPS):
        mine = GradientSum(net, X, Y, first=rows.start)
        gradient = ranks.allreduce(mine).gradient()
        costs.append(gradient.cost)
        velocity = MOMENTUM * velocity + gradient.vector
        net.parameters = net.parameters - LEARNING_RATE * velocity
    return Result(costs, hashlib.sha256(net.parameters.tobytes()).hexdigest())


def main() -> None:
    result = run()
    if MPI.COMM_WORLD.rank == 0:
        for step in range(0, STEPS, 10):
            print(f"step {step:2}   cost {result.costs[step]:.17g}")
        print(f"parameters of rank 0 after {STEPS} steps: {result.parameters[:32]}")


if __name__ == "__main__":
    main()
