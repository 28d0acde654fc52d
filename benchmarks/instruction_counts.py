"""Instructions of one training step, W1 to W7 of `cbackprop bench`, counted by valgrind.

    python benchmarks/instruction_counts.py            # count and print
    python benchmarks/instruction_counts.py --check    # 1 where a count is more than 5 % above
    python benchmarks/instruction_counts.py --write    # what instruction_counts.json records

Unlike times, counts are the same on a busy machine. They are of the v3 kernels, the best ones that
valgrind understands, and of the C compiler at hand: under another one than recorded nothing is
compared. Under another Python or NumPy the workloads of one call a step are shown but not judged,
because a part of each call is theirs (two builds of Python 3.11 differ by 6 % in W3). A step's
count is the difference of two runs divided by the difference of their steps, so that what comes
before the first step is left out.

Valgrind computes each fused multiply-add in software, number by number. So W5 and W6 take smaller
batches here: W5 still shows the work of an example, W6 that of the parameters (Adam above all).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cbackprop import backend
from cbackprop.cli import workloads

RECORD = Path(__file__).with_suffix(".json")
LEVEL = "v3"
DTYPES = ("float32", "float64")
TOLERANCE = 0.05

# Steps of the shorter and the longer run, and examples a step where not the workload's own. A call
# of fit takes a million instructions besides its steps, some ten thousand more or less each time:
# the tiny steps of W3 must be many to be counted to a few instructions.
STEPS: dict[str, tuple[int, int, int | None]] = {
    "W1": (10, 30, None),
    "W2": (2, 6, None),
    "W3": (100, 300, None),
    "W3 in fit": (2_000, 22_000, None),
    "W4": (3, 9, None),
    "W5": (1, 2, 64),
    "W6": (1, 2, 8),
    "W7": (2, 6, None),
}

Counts = dict[str, dict[str, float]]


def counted() -> Iterator[tuple[str, workloads.Workload, int, int]]:
    """What is counted, under its name, with the steps of the shorter and the longer run."""
    for workload in workloads.WORKLOADS:
        if workload.name in STEPS:
            name = f"{workload.name} {'a call' if workload.call else 'in fit'}"
            fewer, more, n = STEPS.get(name, STEPS[workload.name])
            if n is not None:
                name += f", batch {n}"
                workload = workload._replace(n=n)
            yield name, workload, fewer, more


# ---- under valgrind ----------------------------------------------------------------------------


def run_all(dtype: str) -> None:
    """Every workload's two runs, with a mark before, between and after them."""
    # Callgrind is told to write its counters down and start anew at each call of this function of
    # the C library: a mark that needs neither symbols of ours nor a compiler.
    mark = os.getppid
    if backend.simd_level() != LEVEL:
        raise SystemExit(f"the SIMD level is {backend.simd_level()}; expected {LEVEL}")
    for _, workload, fewer, more in counted():
        run = steps_of(workload, dtype, more)
        mark()
        run(fewer)
        mark()
        run(more)
        mark()


def steps_of(workload: workloads.Workload, dtype: str, most: int) -> Callable[[int], object]:
    """A function that takes so many steps, with everything done that is done but once."""
    net = workload.network(dtype)
    if workload.call:
        return workloads.timed_call(workload, net).timeit
    X, Y = workload.examples(most * workload.n, dtype)

    def fit(n_examples: int) -> None:
        net.fit(
            X[:n_examples],
            Y[:n_examples],
            epochs=1,
            batch_size=workload.n,
            optimizer=workload.optimizer,
            shuffle=False,
        )

    fit(1)
    return lambda steps: fit(steps * workload.n)


# ---- around valgrind ---------------------------------------------------------------------------


def measure() -> Counts:
    """Both number types, side by side."""
    with tempfile.TemporaryDirectory() as folder:
        files = {dtype: Path(folder) / dtype for dtype in DTYPES}
        processes = {dtype: start(dtype, file) for dtype, file in files.items()}
        try:
            for dtype, process in processes.items():
                _, error = process.communicate()
                if process.returncode != 0:
                    raise SystemExit(f"{error}\nvalgrind failed on {dtype}")
        finally:
            for process in processes.values():
                process.kill()
                process.wait()
        return {dtype: per_step(file) for dtype, file in files.items()}


def start(dtype: str, file: Path) -> subprocess.Popen[str]:
    """This script under valgrind, counters to ``file.1``, ``file.2`` and so on."""
    command = [
        "valgrind",
        "--tool=callgrind",
        f"--callgrind-out-file={file}",
        "--dump-before=getppid",
        "--dump-line=no",
        sys.executable,
        __file__,
        "--run",
        dtype,
    ]
    environment = {
        **os.environ,
        "CBACKPROP_SIMD": LEVEL,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def per_step(file: Path) -> dict[str, float]:
    """Instructions of a step of each workload, from the counters of one process."""
    counts = {}
    for place, (name, _, fewer, more) in enumerate(counted()):
        shorter, longer = (total(file, 3 * place + part) for part in (2, 3))
        counts[name] = round((longer - shorter) / (more - fewer), 1)
    return counts


def total(file: Path, number: int) -> int:
    """Instructions between two marks."""
    for line in file.with_name(f"{file.name}.{number}").read_text().splitlines():
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise SystemExit(f"callgrind's counters number {number} of {file.name} hold no total")


def compiler() -> str:
    """The first line of what the C compiler says about itself."""
    if shutil.which("cc") is None:
        return "none"
    run = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[0]


# ---- what is told ------------------------------------------------------------------------------


def facts() -> dict[str, str]:
    """What the counts depend on besides the package."""
    return {
        "machine": platform.machine(),
        "compiler": compiler(),
        "python": " ".join(sys.version.split()),
        "numpy": np.__version__,
        "simd_level": LEVEL,
    }


def compare(
    recorded: Counts, counts: Counts, with_calls: bool
) -> tuple[list[str], list[str], list[str]]:
    """The table's lines; what went up, and what down, by more than the tolerance."""
    lines = [f"{'':<30}{'recorded':>16}{'now':>16}{'change':>9}"]
    up: list[str] = []
    down: list[str] = []
    for dtype in DTYPES:
        for name, now in counts[dtype].items():
            label = f"{dtype} {name}"
            before = recorded.get(dtype, {}).get(name)
            if before is None:
                lines.append(f"{label:<30}{'-':>16}{now:>16,.0f}{'new':>9}")
                up.append(label)
                continue
            change = now / before - 1
            judged = with_calls or not name.endswith("a call")
            lines.append(
                f"{label:<30}{before:>16,.0f}{now:>16,.0f}{change:>+9.1%}"
                + ("" if judged else "  not judged")
            )
            if not judged:
                continue
            if change > TOLERANCE:
                up.append(label)
            elif change < -TOLERANCE:
                down.append(label)
    return lines, up, down


def check() -> int:
    """Compare with the record: 1 where a count is too high or not recorded."""
    if not RECORD.exists():
        raise SystemExit(f"{RECORD.name} is missing; write it with --write")
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    here = facts()
    other = [name for name in here if record.get(name) != here[name]]
    for name in other:
        print(f"{name} is {here[name]}, recorded with {record.get(name)}")
    if not {"machine", "compiler", "simd_level"}.isdisjoint(other):
        print("nothing is compared")
        return 0
    lines, up, down = compare(record["counts"], measure(), with_calls=not other)
    print("\n".join(lines))
    if down:
        print(f"more than {TOLERANCE:.0%} lower: {', '.join(down)}; record it with --write")
    if up:
        print(f"FAILED: more than {TOLERANCE:.0%} above the record, or new: {', '.join(up)}")
        return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help=f"compare with {RECORD.name}")
    what.add_argument("--write", action="store_true", help=f"write {RECORD.name}")
    what.add_argument("--run", choices=DTYPES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_all(arguments.run)
        return 0
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed")
    begin = time.perf_counter()
    if arguments.check:
        status = check()
    else:
        counts = measure()
        if arguments.write:
            text = json.dumps({**facts(), "counts": counts}, indent=2)
            RECORD.write_text(text + "\n", encoding="utf-8")
        for dtype in DTYPES:
            for name, count in counts[dtype].items():
                print(f"{dtype} {name:<22}{count:>16,.0f} instructions a step")
        status = 0
    print(f"{time.perf_counter() - begin:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
