"""Other libraries: none comes along with the package, and where one is missing, that is said."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from typing import Any

import pytest
from support import REPOSITORY, output_of, run_code

EXTRAS: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))[
    "project"
]["optional-dependencies"]
# Each module that needs a library: the library's name in an import, and for people.
LIBRARIES = {
    "casadi": ("casadi", "CasADi"),
    "dask": ("distributed", "Dask"),
    "onnx": ("onnx", "onnx"),
    "sklearn": ("sklearn", "scikit-learn"),
    "torch": ("torch", "PyTorch"),
}


def test_the_package_imports_none_of_them() -> None:
    code = """
        import sys, cbackprop
        others = "sklearn scipy pandas polars joblib torch onnx casadi jax dask distributed".split()
        print({*others} & {*sys.modules})
    """
    assert output_of(code, options=("-W", "ignore")) == "set()\n"


@pytest.mark.parametrize("module", LIBRARIES)
def test_what_to_install_is_said(module: str) -> None:
    library, name = LIBRARIES[module]
    code = f"""
        import sys
        sys.modules["{library}"] = None
        import cbackprop.{module}
    """
    result = run_code(code, options=("-W", "ignore"))
    assert result.returncode == 1
    (requirement,) = EXTRAS[module]
    package, oldest = requirement.split(">=")
    told = result.stderr.splitlines()[-1]
    assert told.startswith(f"ImportError: cbackprop.{module} needs {name} {oldest} or newer (")
    assert f"pip install '{package}>={oldest}'" in told
    assert f"'cbackprop[{module}]'" in told


def test_every_module_with_an_extra_is_tried_here() -> None:
    modules = {name for name in EXTRAS if importlib.util.find_spec(f"cbackprop.{name}")}
    assert modules == {*LIBRARIES}


def test_all_is_all_of_them_but_torch() -> None:
    (everything,) = EXTRAS["all"]
    named = re.fullmatch(r"cbackprop\[(.*)\]", everything)
    assert named is not None
    assert {*named[1].split(",")} == {*LIBRARIES} - {"torch"}
