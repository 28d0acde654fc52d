"""What the parts share that build the package their own way: a copy, its build, the last line."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent

# What a build and its tests read of the working tree.
COPIED = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "src",
    "tests",
    "docs",
    "examples",
)

HANG_LIMIT = 3 * 3600  # seconds for one file of tests


def arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a short form: does the check work?")
    return parser.parse_args()


def built_copy(name: str, level: str | None, **switches: str) -> Path:
    """A copy of the working tree in build/deep, built so, for one SIMD level or for all of them.

    It stays there, so that the next run compiles only what has changed: times of change are copied.
    """
    copy = ROOT / "build" / "deep" / name
    if copy.exists() and (copy / "setup.py").read_bytes() != (ROOT / "setup.py").read_bytes():
        shutil.rmtree(copy)  # other flags, perhaps
    for what in COPIED:
        source, target = ROOT / what, copy / what
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            compiled = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
            shutil.copytree(source, target, ignore=compiled)
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CBACKPROP_")}
    result = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=copy,
        env={**kept, "CBACKPROP_LEVELS": level or "", **switches},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise SystemExit(f"{result.stdout}\nthe build in {copy} failed")
    return copy


def environment(copy: Path, level: str, **variables: str) -> dict[str, str]:
    """The environment for a program that uses the copy's compiled core at one SIMD level."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CBACKPROP_")}
    mnist = os.environ.get("CBACKPROP_MNIST", "../shared/data/mnist")
    return {
        **kept,
        "CBACKPROP_MNIST": str(ROOT / mnist),
        "CBACKPROP_REQUIRE_EXT": "1",
        "CBACKPROP_SIMD": level,
        # Each block from malloc itself, so that the tools know where it ends.
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(copy / "src"),
        # NumPy's own threads are not what is looked at.
        "OPENBLAS_NUM_THREADS": "1",
        **variables,
    }


def levels() -> tuple[str, ...]:
    """Those of the SIMD levels v3 and v4 that this processor runs, or else the best one."""
    supported = importlib.import_module("cbackprop.kernels._cpu").supported_levels()
    return tuple(level for level in ("v3", "v4") if level in supported) or supported[:1]


def test_file(name: str) -> str:
    """Where tests/FOLDER/test_NAME.py lies, from the root; FOLDER/NAME where two have the name."""
    folder, _, own = name.rpartition("/")
    (path,) = ROOT.glob(f"tests/{folder or '*'}/test_{own}.py")
    return path.relative_to(ROOT).as_posix()


def run_tests(
    copy: Path, what: str, variables: dict[str, str], left_out: tuple[str, ...] = (), *options: str
) -> tuple[int, str]:
    """Let pytest run a file of the copy: how many tests passed, and what went wrong, if any."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", what, *options]
    for name in left_out:
        file, test = name.split("::")
        command.append(f"--deselect={test_file(file)}::{test}")
    try:
        result = subprocess.run(
            command,
            cwd=copy,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 0, f"no end after {HANG_LIMIT} s"
    count = re.search(r"(\d+) passed", result.stdout)
    problem = f"exit status {result.returncode}\n{result.stdout[-6000:]}"
    return int(count[1]) if count else 0, problem if result.returncode != 0 else ""


def compiler_library(name: str) -> str | None:
    """The path of one of GCC's own libraries; None where there is no GCC or no such library."""
    if shutil.which("gcc") is None:
        return None
    command = ["gcc", f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return found if os.path.isabs(found) else None


def tell(part: str, did: str, figure: str, passed: bool | None) -> NoReturn:
    """The last line, and the end."""
    print(json.dumps({"part": part, "did": did, "figure": figure, "passed": passed}), flush=True)
    sys.exit(passed is False)
