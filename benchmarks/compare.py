"""One workload in several fresh processes: the median ratio and its spread.

    python benchmarks/compare.py SCRIPT [--processes 5] [--apart] [arguments of the script]
    python benchmarks/compare.py benchmarks/mnist_784_30_10.py --processes 7 --rounds 3

The same program can differ by half between one process and the next: where its memory comes to lie
and which clock the core has are drawn once for each. A figure here is the median over processes of
each process's own median, of times and of ratios to ours. Within a process all run in turn; with
--apart each runs in a process of its own, ours, a peer, ours of the next round, and so on.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from machine import MARKDOWN_HEAD, OURS, Report


def run_script(script: pathlib.Path, arguments: Sequence[str]) -> dict[str, Any]:
    """One fresh process; what it wrote with --json."""
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder) / "result.json"
        command = [sys.executable, str(script), *arguments, "--json", str(result)]
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode:
            raise SystemExit(f"{script.name} failed\n{finished.stdout}{finished.stderr}")
        return dict(json.loads(result.read_text(encoding="utf-8")))


def joined(contents: Sequence[dict[str, Any]]) -> list[Report]:
    """The processes' reports as one for each table: a process counts as a round, by its medians."""
    tables: dict[tuple[str, str], Report] = {}
    for content in contents:
        for fields in content["reports"]:
            report = Report(**fields)
            empty = dataclasses.replace(report, seconds={}, medians_of_ratios={})
            table = tables.setdefault((report.workload, report.title), empty)
            for name, values in report.seconds.items():
                table.seconds.setdefault(name, []).append(statistics.median(values))
                if OURS in report.seconds:
                    ratios = table.medians_of_ratios.setdefault(name, [])
                    ratios.append(statistics.median(report.ratios(name)))
            if report.limit is not None:  # the least disturbed measurement of the machine
                table.limit = min(table.limit or report.limit, report.limit)
            table.other_work = sorted({*table.other_work, *report.other_work})
            table.yardsticks = sorted({*table.yardsticks, *report.yardsticks})
    return list(tables.values())


def side_by_side(
    script: pathlib.Path, processes: int, arguments: Sequence[str]
) -> list[dict[str, Any]]:
    """Each process runs all contestants in turn."""
    contents = []
    for process in range(processes):
        contents.append(run_script(script, arguments))
        print(f"{script.name}: process {process + 1} of {processes}", file=sys.stderr, flush=True)
    return contents


def apart(script: pathlib.Path, processes: int, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Each contestant in processes of its own, in turn."""
    first = run_script(script, [*arguments, "--rounds", "1"])
    names = dict.fromkeys(name for report in first["reports"] for name in report["seconds"])
    contents = []
    for process in range(processes):
        contents += [run_script(script, [*arguments, "--only", name]) for name in names]
        print(f"{script.name}: round {process + 1} of {processes}", file=sys.stderr, flush=True)
    return contents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("script", type=pathlib.Path)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--apart", action="store_true", help="a process for each contestant")
    parser.add_argument("--markdown", action="store_true", help="a Markdown table at the end")
    arguments, others = parser.parse_known_args()
    run = apart if arguments.apart else side_by_side
    reports = joined(run(arguments.script, arguments.processes, others))
    for report in reports:
        print(f"\n{report}")
    if arguments.markdown:
        print("\n".join(("", *MARKDOWN_HEAD, *(report.markdown() for report in reports))))


if __name__ == "__main__":
    main()
