"""What the tests of several files share."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

import cbackprop
from cbackprop import Network, functions, optimizers, simd_levels
from cbackprop.random_numbers import RandomNumbers
from cbackprop.reference.calculus import activation_values

Array = np.ndarray[Any, np.dtype[Any]]

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
# Where the package is imported from: processes that a test starts take it from there, too.
SOURCE = str(Path(cbackprop.__file__).resolve().parent.parent)

HAS_COMPILED = cbackprop.info()["backend"] == "compiled"
BACKENDS = ("compiled", "reference") if HAS_COMPILED else ("reference",)
DTYPES = ("float32", "float64")

every_backend = pytest.mark.parametrize("backend", BACKENDS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
needs_compiled = pytest.mark.skipif(not HAS_COMPILED, reason="the compiled core is not built here")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
posix_only = pytest.mark.skipif(os.name != "posix", reason="of POSIX systems")


# ---- names of functions --------------------------------------------------------------------------

ACTIVATIONS = tuple(functions.ACTIVATIONS)
ELEMENTWISE = tuple(name for name in ACTIVATIONS if name != "softmax")
# Those whose σ(z) is beyond all numbers for a z of some hundreds.
with np.errstate(over="ignore"):
    STEEP = tuple(
        name for name in ELEMENTWISE if np.isinf(activation_values(name, np.array(1e3))[0])
    )
COSTS = tuple(functions.COSTS)


def go_together(activation: Any, cost: Any) -> bool:
    """Whether a network may have this cost on an output layer of this activation."""
    row = functions.COSTS.get(cost)  # a function of the test's own has none
    return row is None or row.outputs is None or activation in row.outputs


def pairs(own_activations: Sequence[Any] = (), own_costs: Sequence[Any] = ()) -> list[Any]:
    """Every output activation with every cost that takes it, those of the test's own included."""
    activations, costs = (*ACTIVATIONS, *own_activations), (*COSTS, *own_costs)
    return [(a, cost) for a in activations for cost in costs if go_together(a, cost)]


PAIRS = pairs()
# Those that take any outputs.
FREE_COSTS = tuple(cost for cost in COSTS if all(go_together(a, cost) for a in ACTIVATIONS))


def with_every_kind(*chosen: Any, whole_batch: bool = True) -> list[Any]:
    """These optimisers, and one of every kind that is not among them, with its own numbers."""
    kinds = {type(optimizer) for optimizer in chosen}
    others = [
        kind()
        for kind in optimizers.OPTIMIZERS.values()
        if kind not in kinds and (whole_batch or not issubclass(kind, optimizers.WholeBatch))
    ]
    return [*chosen, *others]


# ---- numbers -------------------------------------------------------------------------------------


def data(
    n: int, sizes: tuple[int, ...] | list[int], dtype: str = "float64", seed: int = 5
) -> tuple[Array, Array]:
    """n examples for a network of these sizes: x about N(0, 1), y in (0, 1).

    From the package's own generator, whose numbers stay the same whatever NumPy is installed.
    """
    random = RandomNumbers(seed)
    X = random.normal(n * sizes[0]).reshape(n, sizes[0])
    Y = random.uniform(n * sizes[-1]).reshape(n, sizes[-1])
    return X.astype(dtype), Y.astype(dtype)


def bits(array: Any) -> bytes:
    return np.ascontiguousarray(array).tobytes()


class Csr:
    """What scipy.sparse's compressed rows look like from outside."""

    def __init__(self, X: Array) -> None:
        rows, self.indices = np.nonzero(X)
        self.data = X[rows, self.indices]
        self.indptr = np.searchsorted(rows, np.arange(len(X) + 1))
        self.shape, self.nnz = X.shape, len(rows)

    def tocsr(self) -> Csr:
        return self

    def toarray(self) -> Array:
        X = np.zeros(self.shape, self.data.dtype)
        rows = np.repeat(np.arange(len(X)), np.diff(self.indptr))
        np.add.at(X, (rows, self.indices), self.data)
        return X


class State(NamedTuple):
    """All that training changes."""

    parameters: bytes
    memory: tuple[bytes, ...]  # the optimiser's
    rule: str
    counts: tuple[Any, ...]
    optimizer: str
    whole_batch: tuple[Any, ...]  # what L-BFGS and Levenberg–Marquardt go on from
    generator: str
    about: tuple[Any, ...]  # a fit on a table takes its columns' names
    scales: tuple[bytes, ...]  # in which it is trained, and the parameters for standardised numbers


def state(net: Network) -> State:
    """What of a network training changes.

    Read where it is: the public ways to it, pickles and checkpoints, are judged by this.
    """
    engine, whole_batch = net._engine, net._model.whole_batch_state
    return State(
        parameters=net.parameters.tobytes(),
        memory=tuple(slot.tobytes() for slot in engine.slots),
        rule=repr(engine.rule),
        counts=(engine.learning_rate, engine.step_count, engine.previous_cost),
        optimizer=repr(net._model.optimizer),
        whole_batch=()
        if whole_batch is None
        else (
            *((name, array.tobytes()) for name, array in whole_batch.arrays.items()),
            repr(whole_batch.numbers),
        ),
        generator=repr(net._model.random.state),
        about=(net.feature_names, net.class_names, *net.metadata.items()),
        scales=scales_of(net),
    )


def scales_of(net: Network) -> tuple[bytes, ...]:
    """Of `state`: the scales, and what training goes on from where nobody has written since."""
    model = net._model
    if model.scales is None:
        return ()
    arrays = [part for scaling in model.scales if scaling is not None for part in scaling]
    standardised = model.standardised()
    if standardised is not None:
        arrays.append(standardised)
    return tuple(array.tobytes() for array in arrays)


# ---- processes -----------------------------------------------------------------------------------


def run_python(
    *arguments: str,
    timeout: float = 120,
    cwd: Path | None = None,
    keep_switches: bool = True,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """A Python of its own, which has the package from where this one has it.

    Parameters
    ----------
    *arguments : str
        Of its command line.
    timeout : float, optional
        Seconds until it is ended and the test fails.
    cwd : Path, optional
    keep_switches : bool, optional
        Whether it has the variables CBACKPROP_… of this process.
    **environment : str
        Further variables.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if keep_switches or not name.startswith("CBACKPROP_")
    }
    path = os.pathsep.join([SOURCE, *filter(None, [kept.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        cwd=cwd,
        env={**kept, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **environment},
        check=False,
    )


def succeeds(result: subprocess.CompletedProcess[str]) -> str:
    """What a process printed that ended well and quietly."""
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout


def run_code(
    code: str, *arguments: str, options: tuple[str, ...] = (), **others: Any
) -> subprocess.CompletedProcess[str]:
    """Code in a Python of its own, with arguments for it and options for Python.

    The others are those of `run_python`.
    """
    return run_python(*options, "-c", textwrap.dedent(code), *arguments, **others)


def output_of(code: str, *arguments: str, **others: Any) -> str:
    """What code prints in a Python of its own, which must end well and quietly."""
    return succeeds(run_code(code, *arguments, **others))


# ---- SIMD levels ---------------------------------------------------------------------------------


def levels_here() -> tuple[str, ...]:
    """The SIMD levels that are built and that this processor runs, the best first."""
    if not HAS_COMPILED:
        return ()
    return tuple(level for level in simd_levels.supported_levels() if simd_levels.is_built(level))


def kernels_at(level: str, dtype: str) -> ModuleType:
    """A level's module itself, whatever level the package chose."""
    return importlib.import_module(simd_levels.module_name(level, dtype))


LEVELS = levels_here()
# Those with fused multiply-adds, of which the same bits are promised.
FMA_LEVELS = tuple(level for level in LEVELS if kernels_at(level, "float64").has_fma)

every_level = pytest.mark.parametrize("level", LEVELS)
every_fma_level = pytest.mark.parametrize("level", FMA_LEVELS)
needs_two_fma_levels = pytest.mark.skipif(
    len(FMA_LEVELS) < 2, reason="fewer than two levels with fused multiply-adds are here"
)


def output_at_level(level: str, code: str, *arguments: str) -> str:
    """What code prints at a SIMD level, which is its first argument."""
    return output_of(
        code,
        level,
        *arguments,
        options=("-W", "error"),
        timeout=300,
        CBACKPROP_SIMD=level,
        CBACKPROP_REQUIRE_EXT="1",
    )
