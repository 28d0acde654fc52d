"""Which engine computes: the compiled one, at the SIMD level chosen, or the reference."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from cbackprop import simd_levels
from cbackprop._version import __version__
from cbackprop.functions import Activation, Array, Cost

if TYPE_CHECKING:
    from cbackprop.reference.engine import Engine


def simd_level() -> str | None:
    """The level of the compiled core in use; None where the reference computes."""
    return _CHOICE.level


def kernels(dtype: str) -> ModuleType:
    """The compiled module of a number type at the level in use; loaded when first asked for."""
    return importlib.import_module(simd_levels.module_name(_CHOICE.level, dtype))


def available(backend: str) -> str:
    """``backend`` itself, or "reference" where "compiled" is not to be had (said at import)."""
    return "reference" if _CHOICE.level is None else backend


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
        ``version``, ``platform`` (as sysconfig calls it), ``python`` and ``numpy`` (versions),
        ``backend``, ``simd_level``, ``why_this_level``, ``faster_here`` (what would be, on this
        processor), ``vector_bytes``, ``fused_multiply_add``, ``compiler`` and ``checked_build``.
        Without the compiled core the level and what follows from it are None.
    """
    import platform
    import sysconfig

    level, why, faster = _CHOICE
    core = None
    try:
        core = None if level is None else kernels("float64")
    except ImportError as error:  # damaged: the rest is all the more to be known
        why, faster = f"{error}", f"the core, built anew {simd_levels.how_to_build()}"
    if core is not None and core.checked:
        faster = "a build without CBACKPROP_CHECKED"
    elif core is not None and core.lanes == 1:
        # MSVC makes no vectors.
        faster = f"with clang-cl installed, the core built anew {simd_levels.how_to_build()}"
    return {
        "version": __version__,
        "platform": sysconfig.get_platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "backend": available("compiled"),
        "simd_level": level,
        "why_this_level": why,
        "faster_here": faster,
        "vector_bytes": None if core is None else core.vector_bytes,
        "fused_multiply_add": None if core is None else core.has_fma,
        "compiler": None if core is None else core.compiler,
        "checked_build": None if core is None else core.checked,
    }


_CHOICE = simd_levels.choose()
