"""All workloads, each in several fresh processes, as one Markdown table.

    python benchmarks/summary.py --mnist DIRECTORY [--processes 5] [--rounds 3] [--output FILE]
    python benchmarks/summary.py --workloads W1 W4 [--dtype float64]

Ratios are a peer's time over ours (how many times ours is faster), the median over the processes
with the least and the greatest.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

from compare import joined, side_by_side
from machine import MARKDOWN_HEAD, Limits

SCRIPTS = {
    "W1": "mnist_784_30_10.py",
    "W2": "mnist_784_16_16_10.py",
    "W3": "one_step_2_3_1.py",
    "W4": "control_17_64_64_6.py",
    "W5": "mnist_784_512_512_10.py",
    "W6": "mnist_784_2048_2048_10.py",
    "W7": "deep_32_64x10_10.py",
    "W8": "per_example_gradients.py",
    "W9": "gradient_norms.py",
    "W10": "mean_gradient.py",
    "W11": "predict_one.py",
    "W12": "size_and_import.py",
    "W13": "jacobian.py",
    "W14": "matrix_exponential.py",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mnist", default=os.environ.get("CBACKPROP_MNIST"))
    parser.add_argument("--workloads", nargs="+", choices=tuple(SCRIPTS), default=list(SCRIPTS))
    parser.add_argument("--output", type=pathlib.Path, help="the table goes there, too")
    arguments = parser.parse_args()
    options = ["--rounds", str(arguments.rounds), "--dtype", arguments.dtype]
    options += ["--threads", str(arguments.threads)]
    if arguments.mnist:
        options += ["--mnist", arguments.mnist]
    rows: list[str] = []
    machine_line = ""
    for workload in arguments.workloads:
        script = pathlib.Path(__file__).parent / SCRIPTS[workload]
        try:
            contents = side_by_side(script, arguments.processes, options)
        except SystemExit as error:  # one that fails is shown as such; the others go on
            print(error, file=sys.stderr)
            rows.append(f"| {workload} | {SCRIPTS[workload]} failed | | | | | | |")
            continue
        best = {
            name: max(content["limits"][name] for content in contents)
            for name in ("multiply_adds", "bytes_written", "bytes_read_from_cache")
        }
        limits = Limits(arguments.dtype, **best)
        first = contents[0]
        machine_line = f"{first['processor']}, {first['cores']}, {first['versions']}: {limits}."
        rows += [report.markdown() for report in joined(contents)]
    text = "\n".join(
        (
            machine_line,
            f"{arguments.processes} processes of {arguments.rounds} rounds each; medians.",
            "",
            *MARKDOWN_HEAD,
            *rows,
        )
    )
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    if any(" failed |" in line for line in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
