"""What the repository's own files say of the project: a fact stands once, or everywhere alike."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import cbackprop

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_version_is_a_literal_in_one_file() -> None:
    """What setuptools reads without importing the package, which needs NumPy."""
    (assignment,) = (
        node
        for node in ast.parse((ROOT / "src/cbackprop/_version.py").read_text("utf-8")).body
        if isinstance(node, ast.Assign)
    )
    assert ast.literal_eval(assignment.value) == cbackprop.__version__
    assert "version" not in PYPROJECT["project"]
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "cbackprop._version.__version__"
    }
