"""examples/mpi_allreduce.py on one, two and three ranks, beside the same steps in memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import REPOSITORY, SOURCE, needs_compiled

from cbackprop import Network, datasets

pytest.importorskip("mpi4py", reason="mpi4py is not installed")
SCRIPT = REPOSITORY / "examples" / "mpi_allreduce.py"
MPIEXEC = Path(sys.executable).with_name("mpiexec")


def steps_in_memory() -> tuple[list[float], str]:
    """The costs and the parameters that the example is to find."""
    X, labels = datasets.load_digits()
    Y = datasets.one_hot(labels, 10)
    net = Network([64, 30, 10], ["tanh", "softmax"], "cross_entropy", seed=0)
    velocity, costs = np.zeros(net.n_parameters), []
    for _ in range(60):
        gradient = net.gradient(X, Y)
        costs.append(gradient.cost)
        velocity = 0.9 * velocity + gradient.vector
        net.parameters = net.parameters - 0.3 * velocity
    return costs, hashlib.sha256(net.parameters.tobytes()).hexdigest()


@needs_compiled
def test_any_number_of_ranks_has_the_bits_of_one_process() -> None:
    if not MPIEXEC.exists():
        pytest.skip("mpiexec is not beside this Python: pip install mpich")
    costs, parameters = steps_in_memory()
    assert costs[-1] < 0.1 * costs[0]
    expected = [f"step {step:2}   cost {costs[step]:.17g}" for step in range(0, 60, 10)]
    expected.append(f"parameters of rank 0 after 60 steps: {parameters[:32]}")
    for n_ranks in (1, 2, 3):
        run = subprocess.run(
            [MPIEXEC, "-n", str(n_ranks), sys.executable, SCRIPT],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            env={**os.environ, "PYTHONPATH": SOURCE},
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.splitlines() == expected
