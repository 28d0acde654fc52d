#!/usr/bin/env python3
"""The package on Windows x86-64, without Windows: clang-cl builds it, Wine runs its tests.

    tests/deep/windows.py --python FOLDER [--quick] [TESTS ...]

FOLDER holds a Python for Windows as its installer lays it out, with include/ and libs/, of the same
version as the Python that runs this. In its Lib/site-packages are NumPy and what the tests need, by
`pip install --platform win_amd64 --only-binary :all: --target`. Debian's packages clang-tools-19,
lld-19, libwine-dev and wine64 bring the rest.

setup.py does what it does on Windows, with Wine's headers, its libraries and lld in the place of
Visual Studio's; what these lack is in the folder wine/.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from builds import COPIED, HANG_LIMIT, ROOT, tell

PART = "windows"
OWN = Path(__file__).resolve().parent / "wine"
HEADERS = Path("/usr/include/wine/wine")
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu/wine/x86_64-windows")
PROGRAMS = "/usr/lib/llvm-19/bin:/usr/lib/wine"  # where Debian puts clang-cl, lld-link and wine64
QUICK = ("tests/engine", "tests/formulas/test_lesson.py", "tests/promises/test_same_bits.py")

# setup.py, in a process that takes itself for one on Windows.
AS_ON_WINDOWS = """
import importlib.util, os, runpy, sys, sysconfig
from types import SimpleNamespace
import setuptools
import distutils.sysconfig  # setuptools' own

folder = os.environ["PYTHON_FOR_WINDOWS"]
sysconfig.get_platform = lambda: "win-amd64"
path, find_spec = sysconfig.get_path, importlib.util.find_spec
include = dict.fromkeys(("include", "platinclude"), f"{folder}/include")
sysconfig.get_path = lambda name, *rest: include.get(name) or path(name, *rest)
distutils.sysconfig.get_python_inc = lambda *_, **__: include["include"]
numpy = SimpleNamespace(submodule_search_locations=[f"{folder}/Lib/site-packages/numpy"])
importlib.util.find_spec = lambda name, *rest: numpy if name == "numpy" else find_spec(name, *rest)
sys.argv[0] = "setup.py"
runpy.run_path("setup.py", run_name="__main__")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", help="files or folders of tests in place of all")
    parser.add_argument("--quick", action="store_true", help="a short form: does the check work?")
    parser.add_argument("--python", type=Path, metavar="FOLDER", help="a Python for Windows")
    options = parser.parse_args()
    os.environ["PATH"] += f":{PROGRAMS}"
    missing = why_not(options.python)
    if missing is not None:
        tell(PART, "", f"skipped: {missing}", None)
    python = options.python.resolve()
    copy = ROOT / "build" / "deep" / PART
    shutil.rmtree(copy, ignore_errors=True)
    for what in COPIED:
        source, target = ROOT / what, copy / what
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    build(python, copy)
    n_modules = len([*copy.glob("src/cbackprop/kernels/*.pyd")])
    said = run(python, copy, options.tests or (QUICK if options.quick else ()))
    counts = re.findall(r"\d+ (?:passed|failed|skipped|errors?)\b", said.stdout.splitlines()[-1])
    tell(
        PART,
        f"clang-cl built {n_modules} modules; Wine ran {', '.join(options.tests) or 'the tests'}",
        ", ".join(counts),
        said.returncode == 0 and bool(counts),
    )


def why_not(python: Path | None) -> str | None:
    """What this machine lacks."""
    if python is None:
        return "no Python for Windows was given by --python"
    if not (python / "include" / "pyconfig.h").is_file():
        return f"{python} has no include/pyconfig.h"
    if platform.machine() != "x86_64" or not HEADERS.is_dir():
        return "Wine's headers, Debian's package libwine-dev, are not installed"
    for tool in ("clang-cl", "lld-link", "wine64"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    return None


def build(python: Path, copy: Path) -> None:
    """The extension modules, beside their sources; what the compiler says stands in build.log."""
    made = copy / "made"
    made.mkdir()
    headers = [f"/imsvc{folder}" for folder in (OWN, HEADERS / "msvcrt", HEADERS / "windows")]
    start = made / "start.obj"
    compile_start = ["clang-cl", "--target=x86_64-pc-windows-msvc", "/X", *headers, "/O2", "/GS-"]
    subprocess.run([*compile_start, "/c", f"/Fo{start}", "--", str(OWN / "start.c")], check=True)
    libraries = [LIBRARIES / f"lib{name}.a" for name in ("ucrtbase", "vcruntime140", "kernel32")]
    libraries.append(python / "libs" / f"python{sys.version_info[0]}{sys.version_info[1]}.lib")
    link = made / "link.exe"
    link.write_text(
        '#!/bin/sh\nexec lld-link "$@" /nodefaultlib /entry:start '
        f"{start} {' '.join(map(str, libraries))}\n",
        encoding="utf-8",
    )
    link.chmod(0o755)
    variables = {
        "DISTUTILS_USE_SDK": "1",  # setuptools takes headers and libraries from the next two
        "INCLUDE": ":".join(map(str, (OWN, HEADERS / "msvcrt", HEADERS / "windows"))),
        "LIB": str(LIBRARIES),
        "PATH": f"{made}:{os.environ['PATH']}",
        "PYTHON_FOR_WINDOWS": str(python),
        "SETUPTOOLS_EXT_SUFFIX": f".cp{sys.version_info[0]}{sys.version_info[1]}-win_amd64.pyd",
    }
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CBACKPROP_")}
    with open(copy / "build.log", "w", encoding="utf-8") as log:
        result = subprocess.run(
            [sys.executable, "-c", AS_ON_WINDOWS, "build_ext", "--inplace", "--compiler=msvc"],
            cwd=copy,
            env={**kept, **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode != 0:
        raise SystemExit(f"{copy / 'build.log'} says why the build failed")


def run(python: Path, copy: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """pytest's own words, passed on as they come."""
    mnist = ROOT / os.environ.get("CBACKPROP_MNIST", "../shared/data/mnist")
    variables = {
        "WINEDEBUG": "-all",
        "PYTHONUTF8": "1",  # a pipe's text is in the system's code page otherwise
        "PYTHONPATH": f"Z:{copy / 'src'}".replace("/", "\\"),
        "CBACKPROP_REQUIRE_EXT": "1",
        "CBACKPROP_MNIST": f"Z:{mnist.resolve()}".replace("/", "\\"),
    }
    command = [
        "timeout",
        str(HANG_LIMIT),
        "wine64",
        str(python / "python.exe"),
        "-m",
        "pytest",
        "-q",
    ]
    lines = []
    with subprocess.Popen(
        [*command, "-p", "no:cacheprovider", "--continue-on-collection-errors", *tests],
        cwd=copy,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return subprocess.CompletedProcess(command, process.returncode, "".join(lines) or "nothing")


if __name__ == "__main__":
    main()
