"""Which lines run in the tests? Those of the Python modules, and those of the kernels.

Python lines are counted by coverage.py, in the processes that a test starts, too. For the kernels
gcov counts the lines of Cython's C, whose comments name the line of the source that each stands
for; all SIMD levels and number types count together, and the pool's threads like the caller. Of
Cython's C only the functions that we wrote are looked at: wrappers for arguments belong to the line
of their `def`, and a line has run when any of its C has. Cython's own line tracing does not compile
here: in each function it wants to make a Python object of what is returned, and 0 in place of it
after an error, neither of which a vector can be.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from builds import arguments, built_copy, environment, run_tests, tell, test_file

PART = "coverage"
SETTINGS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
# Per cent of the lines; that of Python is the one that CI holds, too.
GOALS = {"Python": SETTINGS["tool"]["coverage"]["report"]["fail_under"], "kernels": 95.0}
QUICK_FILES = ("per_example", "engine/calls")

# What cannot run here, and why.
LEFT_OUT: tuple[str, ...] = ()

KERNELS = "src/cbackprop/kernels"
# "cbackprop/kernels/math.pxd":72, after which the C of that line follows
MARK = re.compile(r'\s*/\* "(?:src/)?cbackprop/kernels/([\w.]+)":(\d+)')
# cdef functions, their fused kinds, def functions and methods, and what takes their arguments
OURS = re.compile(r"__pyx_(f|fuse|pf|pw)_")
NOT_HERE = "check_guards"  # runs in the checked build alone

Lines = dict[str, dict[int, bool]]  # file: line: has it run?


def counted_tests(copy: Path, files: tuple[str, ...]) -> list[str]:
    """Let pytest run these files while lines are counted; what went wrong, if anything did."""
    for old in (*copy.rglob("*.gcda"), *copy.glob(".coverage*")):
        old.unlink()
    variables = environment(
        copy,
        "",  # the best level
        PYTHONMALLOC="pymalloc",
        COVERAGE_FILE=str(copy / ".coverage"),
        COVERAGE_PROCESS_START=str(copy / "pyproject.toml"),
    )
    problems = []
    for file in files:
        passed, problem = run_tests(copy, file, variables, LEFT_OUT)
        print(f"{file}: {passed} passed {problem}", flush=True)
        problems += [problem] if problem else []
    return problems


def python_lines(copy: Path) -> Lines:
    for command in (["combine"], ["json", "-o", "coverage.json", "--fail-under=0"]):
        subprocess.run(
            [sys.executable, "-m", "coverage", *command, "-q"],
            cwd=copy,
            env={**os.environ, "COVERAGE_FILE": str(copy / ".coverage")},
            check=True,
        )
    files = json.loads((copy / "coverage.json").read_text(encoding="utf-8"))["files"]
    return {
        name: dict.fromkeys(lines["executed_lines"], True)
        | dict.fromkeys(lines["missing_lines"], False)
        for name, lines in files.items()
    }


def kernel_lines(copy: Path) -> Lines:
    lines: Lines = {}
    for notes in sorted(copy.glob("build/*-coverage/temp*/**/*.gcno")):
        for name, line, has_run in module_lines(copy, notes):
            of_file = lines.setdefault(f"{KERNELS}/{name}", {})
            of_file[line] = of_file.get(line, False) or has_run
    return lines


def module_lines(copy: Path, notes: Path) -> Iterator[tuple[str, int, bool]]:
    """(file, line, has it run?) of one compiled module; a line may come more than once."""
    report = subprocess.run(
        ["gcov", "--json-format", "--stdout", str(notes)], cwd=copy, capture_output=True, check=True
    )
    for file in json.loads(report.stdout)["files"]:
        path = copy / file["file"]
        if path.name in ("simd.h", "threads.h"):
            for line in file["lines"]:
                yield path.name, line["line_number"], line["count"] > 0
        elif path.suffix == ".c":
            marks = marks_of(path)
            for line in file["lines"]:
                mark, function = marks[line["line_number"]], line.get("function_name", "")
                if mark and OURS.match(function) and not function.endswith(NOT_HERE):
                    yield *mark, line["count"] > 0


def marks_of(path: Path) -> list[tuple[str, int] | None]:
    """The file and line that each line of Cython's C stands for, from index 1."""
    marks: list[tuple[str, int] | None] = [None]
    for text in path.read_text(encoding="utf-8").splitlines():
        mark = MARK.match(text)
        marks.append((mark[1], int(mark[2])) if mark else marks[-1])
    return marks


def share(lines: Lines) -> float:
    """Per cent of the lines that have run."""
    runs = [has_run for of_file in lines.values() for has_run in of_file.values()]
    return 100 * sum(runs) / len(runs)


def print_missing(lines: Lines) -> None:
    for name, of_file in sorted(lines.items()):
        missing = sorted(line for line, has_run in of_file.items() if not has_run)
        ranges: list[list[int]] = []
        for line in missing:
            if ranges and not any(of_file.get(k) for k in range(ranges[-1][1], line)):
                ranges[-1][1] = line  # nothing between them has run
            else:
                ranges.append([line, line])
        said = ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in ranges) or "none"
        print(f"{name}: {len(of_file) - len(missing)} of {len(of_file)} lines; missing: {said}")


def main() -> None:
    quick = arguments(__doc__).quick
    if shutil.which("gcov") is None:
        tell(PART, "", "skipped: GCC with gcov is not installed", None)
    copy = built_copy("coverage", CBACKPROP_COVERAGE="1")
    problems = counted_tests(copy, tuple(map(test_file, QUICK_FILES)) if quick else ("tests",))
    found = {"Python": python_lines(copy), "kernels": kernel_lines(copy)}
    for lines in found.values():
        print_missing(lines)
    shares = {kind: share(lines) for kind, lines in found.items()}
    # A few tests reach no goal: they show that both kinds are counted.
    goals = dict.fromkeys(GOALS, 20.0) if quick else GOALS
    tell(
        PART,
        f"lines run in {'two files of tests' if quick else 'the tests'}",
        ", ".join(f"{kind} {share:.1f} %" for kind, share in shares.items()),
        not problems and all(shares[kind] >= goal for kind, goal in goals.items()),
    )


if __name__ == "__main__":
    main()
