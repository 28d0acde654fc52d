"""What people install."""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path

import pytest
from support import REPOSITORY, run_python

import cbackprop
from cbackprop import backend
from cbackprop.stepper import SCRIPTS

try:
    importlib.metadata.version("cbackprop")
except importlib.metadata.PackageNotFoundError:
    pytest.skip("the package is not installed but used from a checkout", allow_module_level=True)


def test_version_is_the_metadata_s():
    assert importlib.metadata.version("cbackprop") == cbackprop.__version__


def test_numpy_is_the_only_requirement():
    requirements = importlib.metadata.requires("cbackprop") or []
    assert [r for r in requirements if "extra ==" not in r] == ["numpy>=2.0"]


def installed_files() -> list[Path]:
    """The files of an installed package; skips on a checkout built in place."""
    files = importlib.metadata.files("cbackprop") or []
    paths = [Path(str(file.locate())) for file in files if file.suffix != ".pyc"]
    if not any(path.name == "network.py" for path in paths):
        pytest.skip("the package is not installed but used from a checkout")
    return [path for path in paths if path.exists()]


def test_installed_size():
    """At most 3.636 MB beyond NumPy; the checked build, which nobody installs, a little more.

    Bytecode does not count, nor pip's list of what it has installed, half of it names of bytecode.
    """
    limit = 3_846_000 if cbackprop.info()["checked_build"] else 3_636_000
    counted = [path for path in installed_files() if path.name != "RECORD"]
    assert sum(path.stat().st_size for path in counted) <= limit


def test_no_sources_of_the_core_are_installed():
    suffixes = {path.suffix for path in installed_files()}
    assert not suffixes & {".c", ".pyx", ".pxd", ".pxi", ".h"}
    assert any(path.name == "py.typed" for path in installed_files())


def test_page_of_steps_is_installed():
    page = {path.name for path in installed_files() if path.parent.name == "step_page"}
    assert page >= {"page.html", "page.css", *(f"{name}.js" for name in SCRIPTS)}


def test_compiled_core_is_there_where_it_is_required():
    if os.environ.get("CBACKPROP_REQUIRE_EXT", "") in ("", "0"):
        pytest.skip("CBACKPROP_REQUIRE_EXT is not set: a build without the core is allowed")
    assert backend.simd_level() is not None
    assert cbackprop.Network([2, 2]).backend == "compiled"


def test_readme_quick_start_begins_with_two_one_line_commands():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    quick_start = readme.split("## Quick start")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", quick_start, re.DOTALL)
    assert len(blocks) == 2
    assert all(block.count("\n") == 1 for block in blocks)


def test_readme_python_runs(tmp_path):
    """The README's Python, as a newcomer would paste it."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")
    run = run_python("-W", "error", "-X", "utf8", str(script), cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "passed" in run.stdout
    assert "History of 30 epochs" in run.stdout
