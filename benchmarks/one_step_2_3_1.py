"""W3: one step of a 2-3-1 sigmoid network, quadratic cost, one example.

    python benchmarks/one_step_2_3_1.py [--rounds 5] [--dtype float32]

One call from Python a step, and many steps inside one call. Each step needs the one before, so the
limit is latency: a chain of about 40 operations that wait for each other as multiply-adds do (two
exps of ten each, with a table in float64, two divisions of three, the sums and products between).
Where a C compiler is found, that latency is measured, and the same loop in C stands beside. mlpfile
has relu and identity in place of sigmoid, which is less work: the ratio to it is a lower bound.
"""

from __future__ import annotations

import ctypes
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any

import machine
import numpy as np
import peers
from machine import Array, Run, Session
from peers import Plan, Trainer

STEPS, COMPILED = 20_000, "C, compiled here"
CHAIN = 40  # operations of a step that wait for each other
SLOW = {  # steps where a call takes longer than a hundred of ours
    "PyTorch, modules and fused": 500,
    "PyTorch, by hand": 2000,
    "NumPy, matrices in place": 4000,
    "JAX, a call a step": 4000,
    peers.SCIKIT_LEARN: 200,
}


class OursByCalls(peers.OursInFit):
    """One `partial_fit` a step, an example as a vector."""

    def start(self) -> None:
        super().start()
        self.x, self.y = list(self.X), list(self.Y)

    def train(self, steps: int, order: Array | None = None) -> None:
        step = self.twin.partial_fit
        step(self.x[0], self.y[0], optimizer=self.plan.our_optimizer())
        for x, y in zip(self.x[1:steps], self.y[1:steps], strict=True):
            step(x, y)


class CompiledLoop(Trainer):
    """one_step_2_3_1.c, compiled with the machine's own C compiler."""

    def start(self) -> None:
        self.w = self.net.parameters.copy()

    def train(self, steps: int, order: Array | None = None) -> None:
        real = ctypes.c_float if self.X.dtype == np.float32 else ctypes.c_double
        addresses = [array.ctypes.data_as(ctypes.c_void_p) for array in (self.w, self.X, self.Y)]
        self.loop.steps(*addresses, ctypes.c_long(steps), real(self.plan.learning_rate))

    def parameters(self) -> Array:
        return self.w


def compiled(dtype: str) -> Any:
    """one_step_2_3_1.c as a library, or None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        print("no C compiler: the loop in C and the limit are left out")
        return None
    names = ["-DREAL=float", "-DEXP=expf"] if dtype == "float32" else ["-DREAL=double", "-DEXP=exp"]
    source = pathlib.Path(__file__).with_suffix(".c")
    with tempfile.TemporaryDirectory() as folder:
        library = pathlib.Path(folder) / "one_step.so"
        flags = ["-O3", "-march=native", "-shared", "-fPIC", *names]
        subprocess.run([compiler, *flags, source, "-o", library, "-lm"], check=True)
        return ctypes.CDLL(str(library))


def latency(loop: Any, dtype: str) -> float:
    """Measured seconds from one multiply-add to the next that needs it, the best of a hundred."""
    real = ctypes.c_float if dtype == "float32" else ctypes.c_double
    loop.dependent.restype = real
    run = machine.repeated(lambda: loop.dependent(real(0.5), ctypes.c_long(100_000)), 1)
    return min(run() for _ in range(100)) / 100_000


def mlpfile_run() -> Run:
    """A call a step of a 2-3-1 network with relu and identity."""
    import mlpfile

    model, x, y = mlpfile.Model.random(2, [3], 1), np.ones(2, np.float32), np.ones(1, np.float32)
    return machine.repeated(lambda: model.grad_update(x, y, mlpfile.squared_error, 0.1), STEPS)


def main() -> None:
    session = Session(__doc__)
    X = session.random.random((STEPS, 2)).astype(session.dtype)
    Y = (X.sum(axis=1, keepdims=True) > 1).astype(session.dtype)
    plan = Plan((2, 3, 1), ("sigmoid", "sigmoid"), "quadratic", "sgd", 0.1, batch=1)
    net = plan.network(session.dtype)
    kinds = peers.trainers(session, by_calls=True)
    by_calls: dict[str, Trainer] = {
        name: kind(plan, net, X, Y)
        for name, kind in (kinds | {machine.OURS: OursByCalls}).items()
        if name != "JAX, scan over all steps"
    }
    in_one_call: dict[str, Trainer] = {machine.OURS: peers.OursInFit(plan, net, X, Y)}
    if "JAX, scan over all steps" in kinds:
        in_one_call["JAX, scan over all steps"] = peers.JaxScan(plan, net, X, Y)
    loop = compiled(session.dtype)
    if loop is not None:
        in_one_call[COMPILED] = CompiledLoop(plan, net, X, Y)
        in_one_call[COMPILED].loop = loop
    by_calls, in_one_call = (
        {name: trainer for name, trainer in group.items() if session.wanted(name)}
        for group in (by_calls, in_one_call)
    )
    peers.check_costs(session, by_calls, 100, [peers.SCIKIT_LEARN])
    peers.check_costs(session, in_one_call, 100, [])
    runs = {}
    for name, trainer in by_calls.items():
        steps = SLOW.get(name, STEPS)
        runs[name] = peers.timed(trainer, steps, steps)
    if session.dtype == "float32" and peers.installed(session, "mlpfile", "mlpfile"):
        runs["mlpfile"] = mlpfile_run()
    limit, limited_by = None, ""
    if loop is not None:
        limit, limited_by = CHAIN * latency(loop, session.dtype), f"{CHAIN} operations in a chain"
    session.report(
        "W3",
        "one step of 2-3-1, one call from Python each",
        runs,
        unit="µs",
        target=8.0,
        other_work=[peers.SCIKIT_LEARN],
        limit=limit,
        limited_by=limited_by,
    )
    session.report(
        "W3",
        "one step of 2-3-1, inside one call",
        {name: peers.timed(trainer, STEPS, STEPS) for name, trainer in in_one_call.items()},
        unit="µs",
        target=1.25,
        other_work=[COMPILED],
        limit=limit,
        limited_by=limited_by,
    )
    session.finish()


if __name__ == "__main__":
    main()
