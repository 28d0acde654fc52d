"""Programs in one file: what PyInstaller is told, what it makes, and imports from a zip."""

from __future__ import annotations

import importlib.metadata
import os
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import DTYPES, SOURCE, run_python, succeeds

import cbackprop
from cbackprop import _pyinstaller, backend, simd_levels

PACKAGE = Path(cbackprop.__file__).parent
(HOOKS,) = _pyinstaller.hook_dirs()

# What a frozen program needs: the core and its fallback, the files that are read, pictures.
PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore" if sys.argv[1:] == ["reference"] else "error")
from cbackprop import Network, datasets, info
X, labels = datasets.load_digits()
Y = datasets.one_hot(labels, 10)
for backend in ("compiled", "reference"):
    for dtype in ("float32", "float64"):
        net = Network([64, 5, 10], dtype=dtype, seed=0, backend=backend)
        net.fit(X[:50], Y[:50], epochs=1, progress=False)
        net.save("digits.model")
        assert (Network.load("digits.model").parameters == net.parameters).all()
small = Network([2, 2, 1], seed=0)
assert small.check_gradient([1, 2], [1]).passed
assert len(small.stepper_html([1, 2], [1])) > 20_000
assert small.chain_rule([1, 2], [1]).svg()
print(info()["backend"], info()["simd_level"])
"""


def test_the_hook_names_what_the_sources_do_not():
    (file,) = Path(HOOKS).glob("hook-*.py")
    assert file.name == "hook-cbackprop.py"
    told = runpy.run_path(str(file))
    built = {
        path.name.partition(".")[0]
        for path in (PACKAGE / "kernels").iterdir()
        if path.suffix in (".so", ".pyd")
    }
    assert set(told["hiddenimports"]) == {f"cbackprop.kernels.{name}" for name in built}
    level = backend.simd_level()
    if level is not None:
        modules = {simd_levels.module_name(level, dtype) for dtype in DTYPES}
        assert modules < set(told["hiddenimports"])
    # Every file that is no module, but for sources of the core and the mark of typed packages.
    read = {
        path.parent
        for path in PACKAGE.rglob("*")
        if path.is_file()
        and path.parent.name not in ("kernels", "__pycache__")
        and path.suffix != ".py"
        and path.name != "py.typed"
    }
    assert {(str(folder), f"cbackprop/{folder.name}") for folder in read} == set(told["datas"])


def test_the_hook_is_found_by_its_entry_point():
    found = importlib.metadata.entry_points(group="pyinstaller40")
    points = [point for point in found if point.value.startswith("cbackprop")]
    if not points:
        pytest.skip("the package is not installed but used from a checkout")
    (point,) = points
    assert point.name == "hook-dirs"
    assert point.load()() == [HOOKS]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["--onefile", "--onedir"])
def test_a_frozen_program(form, tmp_path):
    pytest.importorskip("PyInstaller")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = ["-m", "PyInstaller", form, "--log-level", "WARN", "program.py", "--paths", SOURCE]
    if not importlib.metadata.entry_points(group="pyinstaller40").names:
        command += ["--additional-hooks-dir", HOOKS]
    run = run_python(*command, cwd=tmp_path, timeout=600)
    assert run.returncode == 0, run.stderr
    frozen = tmp_path / "dist" / ("program" if form == "--onefile" else "program/program")
    arguments = [] if backend.simd_level() else ["reference"]
    # Without this Python's paths: it has all that it needs.
    run = subprocess.run(
        [str(frozen), *arguments], capture_output=True, text=True, cwd=tmp_path, env={}, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"{cbackprop.info()['backend']} {backend.simd_level()}\n"


def test_from_a_zip_the_reference_computes(tmp_path):
    """Python loads no compiled module from there; all else works, and one warning says so."""
    archive = tmp_path / "program.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("__main__.py", PROGRAM)
        for path in PACKAGE.rglob("*"):
            if path.is_file() and path.parent.name not in ("kernels", "__pycache__"):
                packed.write(path, path.relative_to(PACKAGE.parent))
        packed.write(PACKAGE / "kernels" / "__init__.py", "cbackprop/kernels/__init__.py")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CBACKPROP_")}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**kept, "PYTHONPATH": str(archive)},
            check=False,
        )

    assert succeeds(run(str(archive), "reference")) == "reference None\n"
    warned = run("-c", "import cbackprop")
    assert warned.returncode == 0
    assert warned.stderr.count("RuntimeWarning: the compiled core of cbackprop is missing") == 1
