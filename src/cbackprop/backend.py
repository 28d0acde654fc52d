"""Which engine computes: the compiled one at the best SIMD level that runs here, or the reference.

Environment
-----------
CBACKPROP_SIMD
    ``v2``, ``v3``, ``v4`` or ``generic`` in place of the best level.
CBACKPROP_REQUIRE_EXT
    ``1``: a missing compiled core is an ImportError instead of a warning.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from cbackprop._version import __version__
from cbackprop.functions import Activation, Array, Cost

if TYPE_CHECKING:
    from cbackprop.reference.engine import Engine

SUFFIXES = {"float32": "f32", "float64": "f64"}
HOW_TO_BUILD = (
    "install it again with a C compiler at hand, by CBACKPROP_REQUIRE_EXT=1 pip install "
    "--force-reinstall --no-deps . in the repository's folder"
)


def _find_level() -> str | None:
    """The SIMD level to use, None without a compiled core. Asked once, at import."""
    asked = os.environ.get("CBACKPROP_SIMD", "")
    try:
        supported = importlib.import_module("cbackprop.kernels._cpu").supported_levels()
    except ImportError as error:
        _missing(error)
        return None
    built = [level for level in supported if _is_built(level)]
    if asked:
        if asked not in ("v2", "v3", "v4", "generic"):
            raise RuntimeError(
                f"CBACKPROP_SIMD is {asked!r}; expected one of 'v2', 'v3', 'v4', 'generic'"
            )
        if asked not in supported:
            raise RuntimeError(
                f"CBACKPROP_SIMD is {asked!r}, which this processor cannot run; it can run "
                f"{', '.join(supported)}"
            )
        if asked not in built:
            raise RuntimeError(
                f"CBACKPROP_SIMD is {asked!r}, which this installation was not built with; it has "
                f"{', '.join(built) or 'none'}"
            )
        return asked
    if not built:
        _missing(ImportError("no module of cbackprop.kernels fits this processor"))
        return None
    best: str = built[0]
    return best


def _is_built(level: str) -> bool:
    return all(
        importlib.util.find_spec(f"cbackprop.kernels._{level}_{suffix}") is not None
        for suffix in SUFFIXES.values()
    )


def _missing(error: ImportError) -> None:
    if os.environ.get("CBACKPROP_REQUIRE_EXT", "") not in ("", "0"):
        raise ImportError(
            f"the compiled core of cbackprop is missing ({error}) and CBACKPROP_REQUIRE_EXT is "
            f"set; {HOW_TO_BUILD}"
        ) from error
    warnings.warn(
        f"the compiled core of cbackprop is missing ({error}): the NumPy reference computes in its "
        "place, correct but tens of times slower and without the promise of the same bits in every "
        f"batch; {HOW_TO_BUILD}",
        RuntimeWarning,
        stacklevel=5,  # the user's import: above this module and the package itself
    )


def simd_level() -> str | None:
    """The level of the compiled core in use; None where the reference computes."""
    return _LEVEL


def kernels(dtype: str) -> ModuleType:
    """The compiled module of a number type at the level in use; loaded when first asked for."""
    return importlib.import_module(f"cbackprop.kernels._{_LEVEL}_{SUFFIXES[dtype]}")


def available(backend: str) -> str:
    """``backend`` itself, or "reference" where "compiled" is not to be had (said at import)."""
    return "reference" if _LEVEL is None else backend


def usable_cores() -> int:
    """Processors that this process may use: by its affinity, and its group's share of time."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        return cores  # no such limit here
    return cores if quota == "max" else max(1, min(cores, round(int(quota) / int(period))))


def engine(
    backend: str,
    sizes: tuple[int, ...],
    activations: tuple[str | Activation, ...],
    cost: str | Cost,
    dtype: str,
    threads: int | str,
) -> Engine:
    """An engine for one network; the compiled one has the reference's interface."""
    if isinstance(threads, str):  # "auto"
        threads = usable_cores()
    if backend == "compiled":
        compiled: Engine = kernels(dtype).Engine(sizes, activations, cost, dtype, threads)
        return compiled
    from cbackprop.reference import engine as reference  # imported only where it computes

    return reference.Engine(sizes, activations, cost, dtype, threads)


def shuffle(backend: str, dtype: str, order: Array, words: Array) -> None:
    """Put ``order`` (int64) in the random order that ``words`` (uint64) mean, in place."""
    if backend == "compiled":
        kernels(dtype).shuffle(order, words)
    else:
        from cbackprop.reference import calculus

        calculus.shuffle(order, words)


def add_normal_equations(engine: Engine, sums: Array, J: Array, r: Array, begins: bool) -> None:
    """Add (J r)ᵀ(J r), J (n, P) and r (n,), to the bands (layout.bands) that ``sums`` has of it.

    In float64, whatever the engine's numbers; ``begins`` writes over what was there.
    """
    if engine.backend == "compiled":
        kernels("float64").add_normal_equations(sums, J, r, J.shape[1], begins, engine.threads)
    else:
        from cbackprop.reference import calculus

        if begins:
            sums.fill(0)
        calculus.add_normal_equations(sums, J, r)


def info() -> Mapping[str, str | int | None]:
    """What this installation computes with.

    Returns
    -------
    dict
        ``version``, ``backend``, ``simd_level`` (None without the compiled core), ``vector_bytes``,
        ``fused_multiply_add``, ``checked_build``, ``numpy``.
    """
    level = simd_level()
    core = None if level is None else kernels("float64")
    return {
        "version": __version__,
        "backend": available("compiled"),
        "simd_level": level,
        "vector_bytes": None if core is None else core.vector_bytes,
        "fused_multiply_add": None if core is None else core.has_fma,
        "checked_build": None if core is None else core.checked,
        "numpy": np.__version__,
    }


_LEVEL = _find_level()
