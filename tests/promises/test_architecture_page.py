"""docs/architecture.md: what it names is there, and it names every formula."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "cbackprop"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`([\w/]+\.(?:py|pyx|pxd|pxi|h)): (\w+)`", PAGE)))
FILES = sorted(set(re.findall(r"`([\w/]+\.(?:py|pyx|pxd|pxi|h|toml|md))\b[^`]*`", PAGE)))

# A function, class, enum's name or table at the start of a line, whatever comes before its name.
DEFINITION = r"(?m)^ *(?:(?:c?p?def|class|static)\b[^(=\n]*\b{0}\b *[(:]|{0}\b[^=\n]*=[^=])"


@cache
def text_of(path: str) -> str:
    return (PACKAGE / path).read_text(encoding="utf-8")


def test_the_page_names_many_places() -> None:
    assert len(PLACES) > 70


@pytest.mark.parametrize(("path", "name"), PLACES, ids=lambda part: part)
def test_what_the_page_names_is_there(path: str, name: str) -> None:
    assert re.search(DEFINITION.format(name), text_of(path)), f"{path} defines no {name}"


@pytest.mark.parametrize("path", FILES)
def test_the_files_are_there(path: str) -> None:
    assert (PACKAGE / path).is_file() or (ROOT / path).is_file()


@pytest.mark.parametrize("module", ["calculus", "curvature"])
def test_every_formula_is_on_the_map(module: str) -> None:
    path = f"reference/{module}.py"
    formulas = {
        node.name
        for node in ast.parse(text_of(path)).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    assert formulas - {name for file, name in PLACES if file == path} == set()
