"""``cbackprop bench``: this machine's limits, and how near to them the workloads come."""

from __future__ import annotations

import argparse
from typing import Any

from cbackprop.cli.options import add_command, add_json, print_json
from cbackprop.validation import integer, number_type


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "bench",
        run,
        "measure this machine's limits and how near to them this installation comes",
        "Measure this machine's limits, and how near to them training, gradients and predictions "
        "of usual sizes come, on random numbers. Takes about half a minute.",
        """
        cbackprop bench
        cbackprop bench --only W1,W4 --dtype float64
        cbackprop bench --threads 2
        """,
    )
    parser.add_argument("--dtype", default="float32", help="float32 or float64 (float32)")
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="measurements of each workload (5)"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="that share the work, at most (1)"
    )
    parser.add_argument(
        "--only", metavar="NAME[,NAME...]", help="these workloads, such as W1,W4 (all)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    from cbackprop.cli import workloads  # the only command that needs it

    dtype = number_type(arguments.dtype)
    rounds = integer("rounds", arguments.rounds, 1)
    threads = integer("threads", arguments.threads, 1)
    chosen = workloads.chosen(arguments.only)
    limits = workloads.measured_limits(dtype)
    machine = workloads.machine(dtype, limits, threads)
    if arguments.json:
        rows = [workloads.row(workload, limits, dtype, rounds, threads) for workload in chosen]
        print_json({"machine": machine, "rounds": rounds, "workloads": rows})
        return 0
    print(workloads.machine_lines(machine))
    print()
    print(workloads.HEADING, flush=True)
    for workload in chosen:
        print(workloads.line(workloads.row(workload, limits, dtype, rounds, threads)), flush=True)
    return 0
