"""Installed size and import time beyond NumPy.

    python benchmarks/size_and_import.py [--rounds 15]

Run it on an installed package, not on a checkout.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import statistics
import subprocess
import sys


def seconds(statement: str) -> float:
    """Time of one statement after `import numpy`, in a fresh interpreter."""
    code = (
        "import numpy, time; start = time.perf_counter(); "
        f"{statement}; print(time.perf_counter() - start)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    files = importlib.metadata.files("cbackprop") or []
    size = sum(
        path.stat().st_size
        for path in (file.locate() for file in files if file.suffix != ".pyc")
        if path.exists()
    )
    seconds("import cbackprop")  # the first import writes the bytecode
    times = [1e3 * seconds("import cbackprop") for _ in range(arguments.rounds)]
    first = [
        1e3 * seconds("import cbackprop; cbackprop.Network([2, 3, 1])")
        for _ in range(arguments.rounds)
    ]
    print(f"installed size beyond NumPy: {size / 1e6:.2f} MB in {len(files)} files")
    print(
        f"import beyond NumPy: median {statistics.median(times):.1f} ms "
        f"({min(times):.1f} to {max(times):.1f})"
    )
    print(f"import and a first network: median {statistics.median(first):.1f} ms")


if __name__ == "__main__":
    main()
