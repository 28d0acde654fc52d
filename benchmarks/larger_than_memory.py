"""Calls on a mapped file beside the same calls on arrays in memory: rate, memory, bits.

    python benchmarks/larger_than_memory.py [GB] [--dtype float64]

A 256-64-10 network on float32 examples, 3 GB of them by default, in a file that is read once first
(so that the page cache has it, as far as it goes). Each call runs in a process of its own, once on
the map and once on arrays of the network's number type, in turn; the least of three times of each.
Memory is what a call adds to RssAnon, the pages of the process that are no file's, at its highest.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cbackprop import Network

SIZES = (256, 64, 10)
CALLS: dict[str, Callable[[Network, Any, Any, Any], Any]] = {
    "fit": lambda net, X, Y, out: net.fit(X, Y, epochs=1, progress=False) and net.parameters,
    "fit in order": lambda net, X, Y, out: (
        net.fit(X, Y, epochs=1, shuffle=False, progress=False) and net.parameters
    ),
    "gradient": lambda net, X, Y, out: net.gradient(X, Y).vector,
    "predict": lambda net, X, Y, out: net.predict(X, out=out),
    "gradient_norms": lambda net, X, Y, out: net.gradient_norms(X, Y),
}


def anonymous_bytes() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


def one_call(folder: str, n: int, dtype: str, name: str, in_memory: bool) -> None:
    """Print seconds, bytes and a hash of the result, as JSON."""
    X: Any = np.memmap(os.path.join(folder, "X"), np.float32, "r", shape=(n, SIZES[0]))
    Y: Any = np.memmap(os.path.join(folder, "Y"), np.float32, "r", shape=(n, SIZES[-1]))
    for start in range(0, n, 1 << 16):
        X[start : start + (1 << 16)].max()
    out: Any = np.memmap(os.path.join(folder, "out"), dtype, "w+", shape=(n, SIZES[-1]))
    if in_memory:
        X, Y, out = np.array(X, dtype), np.array(Y, dtype), np.empty(out.shape, dtype)
        out[...] = 0
    net = Network(SIZES, seed=0, dtype=dtype)
    net.fit(np.zeros((4096, SIZES[0]), dtype), np.zeros((4096, SIZES[-1]), dtype), epochs=1)
    before = most = anonymous_bytes()
    is_over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not is_over.wait(0.01):
            most = max(most, anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds = []
    for _ in range(3):
        twin = net.copy()
        start_time = time.perf_counter()
        result = CALLS[name](twin, X, Y, out)
        seconds.append(time.perf_counter() - start_time)
    is_over.set()
    watcher.join()
    digest = hashlib.sha256(np.ascontiguousarray(result).data).hexdigest()
    print(json.dumps({"seconds": min(seconds), "bytes": most - before, "bits": digest}))


class Measured(NamedTuple):
    """One call on arrays in memory and on the files."""

    name: str
    seconds_in_memory: float
    seconds: float
    added_bytes: int
    is_equal: bool


def measured(n: int, dtype: str) -> Iterator[Measured]:
    """Every call on n examples."""
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        for name, width in (("X", SIZES[0]), ("Y", SIZES[-1])):
            with open(os.path.join(folder, name), "wb") as file:
                for start in range(0, n, 1 << 16):
                    random.random((min(1 << 16, n - start), width), np.float32).tofile(file)
        for name in CALLS:
            found = []
            for where in ("memory", "file"):
                command = [sys.executable, __file__, "--dtype", dtype, "--one"]
                done = subprocess.run(
                    [*command, folder, name, where, str(n)], check=True, stdout=subprocess.PIPE
                )
                found.append(json.loads(done.stdout))
            memory, mapped = found
            yield Measured(
                name,
                memory["seconds"],
                mapped["seconds"],
                mapped["bytes"],
                memory["bits"] == mapped["bits"],
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gigabytes", nargs="?", type=float, default=3.0)
    parser.add_argument("--dtype", default="float64", choices=("float32", "float64"))
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        folder, name, where, rows = asked.one
        one_call(folder, int(rows), asked.dtype, name, where == "memory")
        return
    n = round(asked.gigabytes * 1e9 / (4 * SIZES[0]))
    print(f"{n} examples of {SIZES[0]} float32 numbers; {SIZES}, {asked.dtype}")
    print(f"{'call':<16}{'memory':>10}{'file':>10}{'rate':>8}{'added':>10}  bits")
    for one in measured(n, asked.dtype):
        print(
            f"{one.name:<16}{one.seconds_in_memory:>8.2f} s{one.seconds:>8.2f} s"
            f"{one.seconds_in_memory / one.seconds:>8.2f}{one.added_bytes / 1e6:>7.0f} MB"
            f"  {'equal' if one.is_equal else 'DIFFER'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
