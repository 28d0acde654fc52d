"""Every Python block of docs/ runs, in order, one name space for each page; every test that a
page names is there.

The README's is run by test_packaging.py, as a script.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY

import cbackprop
from cbackprop import Network, functions, optimizers

PAGES = sorted(
    page.relative_to(REPOSITORY).as_posix()
    for page in (REPOSITORY / "docs").rglob("*.md")
    if "```python" in page.read_text(encoding="utf-8")
)


def test_there_are_pages_with_code() -> None:
    assert {"docs/training.md", "docs/lesson.md", "docs/tutorials/digits.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for library in ("sklearn", "pandas", "torch", "jax", "onnx", "onnxruntime", "casadi", "dask"):
        if re.search(rf"^(import|from) {library}\b", text, re.MULTILINE):
            pytest.importorskip(library, reason=f"{library} is not installed")
    names: dict[str, Any] = {}
    printed = []
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        line = text[: block.start()].count("\n") + 1
        # Empty lines before it, so that an error names the page's own line.
        exec(compile("\n" * line + block.group(1), page, "exec"), names)
        printed.append(capsys.readouterr().out)
    # What a page shows as printed is what its code prints.
    for shown in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
        assert shown in "".join(printed)


def names_of_tests(file: Path) -> set[str]:
    """The names of a file's tests, by its source: nothing is imported."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_guarantees_name_is_there() -> None:
    text = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not name.startswith("test_") or name not in names_of_tests(REPOSITORY / file)
    ]
    assert missing == []
    # Each promise has its own short test, and none of those is left out.
    short = {name for file, name in named if file == "tests/promises/test_guarantees.py"}
    assert short == {
        name
        for name in names_of_tests(REPOSITORY / "tests/promises/test_guarantees.py")
        if name.startswith("test_")
    }


def test_lists_of_functions_and_optimisers_are_whole() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for name in (*functions.ACTIVATIONS, *functions.COSTS):
        for where, text in (("README.md", readme), ("Network", Network.__doc__ or "")):
            assert re.search(rf"\b{name}\b", text), f"{where} does not name {name}"
    for name, kind in optimizers.OPTIMIZERS.items():
        assert f'"{name}"' in (Network.fit.__doc__ or ""), name
        assert re.search(rf"\b{kind.__name__}\b", readme), f"README.md does not name {kind}"


def test_the_reference_has_every_public_class() -> None:
    index = (REPOSITORY / "docs" / "reference" / "index.rst").read_text(encoding="utf-8")
    entries = set(re.findall(r"(?m)^   ([\w.]+)$", index))
    classes = {name for name in cbackprop.__all__ if isinstance(getattr(cbackprop, name), type)}
    assert classes - entries == set()
