"""W12: installed size and import time beyond NumPy.

    python benchmarks/size_and_import.py [--rounds 15]

Run it on an installed package: in a checkout the sources count as well. A package's size is that of
its files and of what it needs, without NumPy and bytecode.
"""

from __future__ import annotations

import importlib.metadata
import pathlib
import re
import subprocess
import sys

import peers
from machine import OURS, Report, Run, Session

import cbackprop

# What is imported to have a network that can be trained.
PEERS = {
    "mlpfile": ("mlpfile", "mlpfile"),
    peers.SCIKIT_LEARN: ("scikit-learn", "sklearn.neural_network"),
    "PyTorch": ("torch", "torch"),
    "JAX": ("jax", "jax"),
    "thinc": ("thinc", "thinc.api"),
}


def import_seconds(statement: str) -> Run:
    """Time of one statement after `import numpy`, in a fresh interpreter."""
    code = (
        "import numpy, time; start = time.perf_counter(); "
        f"{statement}; print(time.perf_counter() - start)"
    )

    def run() -> float:
        finished = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return float(finished.stdout)

    return run


def needed(distribution: str, found: set[str]) -> set[str]:
    """The distribution and, of what is installed, all that it needs; NumPy is not counted."""
    name = re.sub(r"[-_.]+", "-", distribution).lower()
    if name == "numpy" or name in found:
        return found
    try:
        requirements = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return found
    found.add(name)
    for requirement in requirements:
        if "extra ==" not in requirement:
            needed(re.match(r"[\w.-]+", requirement).group(), found)
    return found


def megabytes(files: list[pathlib.Path]) -> float:
    kept = {file.resolve() for file in files if file.suffix != ".pyc" and file.is_file()}
    return sum(file.stat().st_size for file in kept) / 1e6


def installed_size(distribution: str) -> float:
    files = []
    for name in needed(distribution, set()):
        files += [path.locate() for path in importlib.metadata.files(name) or []]
    return megabytes([pathlib.Path(str(file)) for file in files])


def our_size() -> float:
    try:
        importlib.metadata.distribution("cbackprop")
        return installed_size("cbackprop")
    except importlib.metadata.PackageNotFoundError:
        print("cbackprop is not installed: its folder is measured, sources and all")
        return megabytes(list(pathlib.Path(cbackprop.__file__).parent.rglob("*")))


def main() -> None:
    session = Session(__doc__, rounds=15)
    sizes = {OURS: [our_size()]}
    runs = {
        OURS: import_seconds("import cbackprop"),
        "cbackprop, a first network": import_seconds(
            "import cbackprop; cbackprop.Network([2, 3, 1])"
        ),
    }
    for name, (distribution, module) in PEERS.items():
        if peers.installed(session, module.split(".")[0], name):
            sizes[name] = [installed_size(distribution)]
            runs[name] = import_seconds(f"import {module}")
    session.report(
        "W12",
        "import beyond NumPy",
        runs,
        unit="ms",
        limit=0.010,
        limited_by="the target, 10 ms",
        other_work=["cbackprop, a first network", "mlpfile"],
        target=70,
    )
    sizes = {name: value for name, value in sizes.items() if session.wanted(name)}
    session.add(
        Report(
            "W12",
            "installed size beyond NumPy",
            session.dtype,
            "MB",
            sizes,
            2.0,
            "the target, 2 MB",
            100,
            [name for name in sizes if name == "mlpfile"],
        )
    )
    session.finish()


if __name__ == "__main__":
    main()
