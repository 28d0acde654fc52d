"""``cbackprop bench``: this machine's limits, and how near to them the workloads come."""

from __future__ import annotations

import argparse
import json
from typing import Any

from cbackprop.validation import integer, number_type


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench",
        help="measure this machine's limits and how near to them this installation comes",
        description="Measure this machine's limits, and how near to them training, gradients and "
        "predictions of usual sizes come, on random numbers. Takes about half a minute.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--dtype", default="float32", help="float32 or float64 (float32)")
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="measurements of each workload (5)"
    )
    parser.add_argument(
        "--only", metavar="NAME[,NAME...]", help="these workloads, such as W1,W4 (all)"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    from cbackprop import bench  # the only command that needs it

    dtype = number_type(arguments.dtype)
    rounds = integer("rounds", arguments.rounds, 1)
    workloads = bench.chosen(arguments.only)
    limits = bench.measured_limits(dtype)
    machine = bench.machine(dtype, limits)
    if arguments.json:
        rows = [bench.row(workload, limits, dtype, rounds) for workload in workloads]
        print(json.dumps({"machine": machine, "rounds": rounds, "workloads": rows}, indent=2))
        return 0
    print(bench.machine_lines(machine))
    print()
    print(bench.HEADING, flush=True)
    for workload in workloads:
        print(bench.line(bench.row(workload, limits, dtype, rounds)), flush=True)
    return 0
