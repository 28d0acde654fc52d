"""What the repository's own files say of the project: a fact stands once, or everywhere alike."""

from __future__ import annotations

import ast
import re
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
    assert "version" in PYPROJECT["project"]["dynamic"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {
        "attr": "cbackprop._version.__version__"
    }


def test_the_citation_says_what_the_package_says() -> None:
    """Its version is left out: whoever cites one names the release."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    stated = dict(re.findall(r"^([a-z-]+): *(.*)$", citation, re.MULTILINE))
    assert stated["cff-version"] == "1.2.0"
    assert "version" not in stated
    project = PYPROJECT["project"]
    assert stated["title"] == project["name"]
    # The software's; the bundled digits have one of their own, and authors to be named.
    assert project["license"] == f"{stated['license']} AND CC-BY-4.0"
    (digits,) = (name for name in project["license-files"] if name != "LICENSE")
    assert "CC BY 4.0" in (ROOT / digits).read_text(encoding="utf-8")
    abstract = re.search(r"^abstract: >-\n((?:  .*\n)+)", citation, re.MULTILINE)
    assert abstract is not None
    assert " ".join(abstract.group(1).split()) == project["description"]
    assert re.findall(r"^  - (?!name)(.*)$", citation, re.MULTILINE) == project["keywords"]


def test_the_versions_of_python_are_the_same_everywhere() -> None:
    """Wheels for all that are named; tests on the oldest, the newest and the free-threaded ones."""
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    assert PYPROJECT["project"]["requires-python"] == f">={named[0]}"
    built = PYPROJECT["tool"]["cibuildwheel"]["build"]
    assert re.findall(r"cp(3\d+)-", built) == [version.replace(".", "") for version in named]
    workflow = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    plain, free_threaded = re.findall(r" python: (\[.*\])", workflow)
    tested = ast.literal_eval(plain)
    assert (tested[0], tested[-1]) == (named[0], named[-1])
    threaded = [version.replace(".", "") for version in ast.literal_eval(free_threaded)]
    assert re.findall(r"cp(3\d+t)-", built) == threaded
