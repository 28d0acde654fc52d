"""Peak memory beyond the inputs: norms, clipped mean and moments of 20,000 gradients.

    python benchmarks/per_example_memory.py --mnist DIRECTORY [--only norms,moments] [--markdown]

784-128-64-10, sigmoid, quadratic cost: the gradients themselves would be 20,000 × 109,386 numbers.
Each call is made in a fresh process, after one that loads what is loaded at a first call (ours by
another network, so that its scratch counts). The process's resident memory is read from Linux,
its peak from the moment before the call; it is counted in steps of up to a quarter of a megabyte.
JAX is left out: it keeps the memory of the first call for the second.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gradient_norms
import peers
import per_example
from machine import OURS, Report, Session
from per_example_gradients import PLAN, SIZES

from cbackprop import Network

N = 20_000
CALLS = {
    "norms": gradient_norms.all_calls,
    "clipped": per_example.clipped_calls,
    "moments": per_example.moments_calls,
}
SHOWN = (OURS, "NumPy, by hand", "NumPy, by hand in blocks", "PyTorch, by hand")
OWN_PROCESS = pathlib.Path("/proc/self")


def options(parser: argparse.ArgumentParser) -> None:
    per_example.hidden_options(parser)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # in the fresh process


def main() -> None:
    if not (OWN_PROCESS / "clear_refs").exists():
        raise SystemExit("peaks are read from Linux's /proc/self, which is not there")
    session = Session(__doc__, rounds=1, extra=options, parts=tuple(CALLS))
    net = PLAN.network(session.dtype, session.options.backend)
    if session.options.measure:
        part, name = session.options.measure
        print(peak_of_call(session, net, part, name))
        return
    X, Y = session.mnist(4)
    for part in session.parts:
        found = CALLS[part](session, net, X, Y)
        measured: dict[str, list[float]] = {name: [] for name in SHOWN if name in found}
        for _ in range(session.rounds):
            for name, peaks in measured.items():
                peaks.append(in_a_fresh_process(part, name))
        if measured:
            gigabytes = 1e-9 * N * net.n_parameters * net.dtype.itemsize
            title = (
                f"peak memory of {part}, {N:,} examples, {peers.named(SIZES)} "
                f"(their gradients: {gigabytes:.1f} GB)"
            )
            session.add(Report(part, title, session.dtype, "MB", measured, None, "", None, []))
    session.finish()


def in_a_fresh_process(part: str, name: str) -> float:
    command = [sys.executable, __file__, *sys.argv[1:], "--measure", part, name]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        raise SystemExit(f"{part}, {name} failed\n{finished.stdout}{finished.stderr}")
    return float(finished.stdout.splitlines()[-1])


def peak_of_call(session: Session, net: Network, part: str, name: str) -> float:
    """Megabytes that one call takes at its peak, its result included."""
    X, Y = session.mnist(N)
    call = CALLS[part](session, net, X, Y)[name]
    first = call
    if name == OURS:
        other = net.copy()
        first = CALLS[part](session, other, X, Y)[name]
        del other
    first()
    del first
    return megabytes_beyond(call)


def megabytes_beyond(call: Callable[[], Any]) -> float:
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if malloc_trim is not None:  # freed memory that is still held would hide what the call takes
        malloc_trim(0)
    (OWN_PROCESS / "clear_refs").write_text("5")  # the peak is what is there now
    before = kilobytes("VmRSS")
    result = call()
    peak = kilobytes("VmHWM")
    del result
    return max(peak - before, 4) / 1000


def kilobytes(name: str) -> int:
    for line in (OWN_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise SystemExit(f"{name} is not in {OWN_PROCESS / 'status'}")


if __name__ == "__main__":
    main()
