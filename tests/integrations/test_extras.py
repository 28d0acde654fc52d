"""Other libraries: none comes along with the package, and where one is missing, that is said."""

from __future__ import annotations

import tomllib
from typing import Any

from support import REPOSITORY, output_of, run_code

EXTRAS: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))[
    "project"
]["optional-dependencies"]


def test_the_package_imports_none_of_them() -> None:
    code = """
        import sys, cbackprop
        print({"sklearn", "scipy", "pandas", "polars", "joblib"} & {*sys.modules})
    """
    assert output_of(code, options=("-W", "ignore")) == "set()\n"


def test_what_to_install_is_said() -> None:
    code = """
        import sys
        sys.modules["sklearn"] = None
        import cbackprop.sklearn
    """
    result = run_code(code, options=("-W", "ignore"))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(
        "ImportError: cbackprop.sklearn needs scikit-learn 1.6 or newer ("
    )
    assert "pip install 'scikit-learn>=1.6'" in result.stderr
    assert "'cbackprop[sklearn]'" in result.stderr


def test_all_is_all_of_them_but_torch() -> None:
    assert EXTRAS["all"] == ["cbackprop[sklearn]"]
    assert EXTRAS["sklearn"] == ["scikit-learn>=1.6"]
