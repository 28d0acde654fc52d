"""What is published: the same bytes from the same files, and pages whose links lead somewhere."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import REPOSITORY, posix_only

import cbackprop

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def links(text: str) -> list[str]:
    """Where a page's links lead, but for those within it; code has brackets of its own."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not link.startswith("#")]


@posix_only
def test_two_source_distributions_of_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77", reason="setup.py needs setuptools 77 or newer")
    made = []
    for folder, copy, mode in (("one", shutil.copy2, 0o644), ("another", shutil.copyfile, 0o664)):
        unasked = shutil.ignore_patterns(
            *(".git", ".venv", "build", "dist", "*.egg-info", ".*_cache", ".hypothesis", "*.so")
        )
        repository = tmp_path / folder / "repository"
        shutil.copytree(REPOSITORY, repository, ignore=unasked, copy_function=copy)
        for path in repository.rglob("*"):
            if path.is_file():
                path.chmod(mode)
        command = [sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", tmp_path / folder]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        subprocess.run(command, cwd=repository, env=environment, check=True, capture_output=True)
        made += (tmp_path / folder).glob("*.tar.gz")
    one, another = made
    assert one.name == another.name == f"cbackprop-{cbackprop.__version__}.tar.gz"
    assert one.read_bytes() == another.read_bytes()
    # Both may have been packed within one second.
    assert int.from_bytes(one.read_bytes()[4:8], "little") == 1_700_000_000


@pytest.mark.parametrize(
    "page",
    [
        page.relative_to(REPOSITORY).as_posix()
        for where in ("*.md", "docs/**/*.md", "examples/*.md", "benchmarks/*.md")
        for page in sorted(REPOSITORY.glob(where))
        if "_build" not in page.parts
    ],
)
def test_links_lead_to_files(page: str) -> None:
    found = links((REPOSITORY / page).read_text(encoding="utf-8"))
    inside = [link.partition("#")[0] for link in found if "://" not in link]
    here = (REPOSITORY / page).parent
    assert [link for link in inside if not (here / link).exists()] == []


def test_links_of_the_published_readme_lead_to_the_files_of_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("setuptools", "77", reason="setup.py needs setuptools 77 or newer")
    monkeypatch.chdir(REPOSITORY)
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    published = runpy.run_path("setup.py")["long_description"]()
    files = f"{PROJECT['urls']['Repository']}/blob/v{cbackprop.__version__}"
    expected = [link if "://" in link else f"{files}/{link}" for link in links(readme)]
    assert len(expected) > 20
    assert links(published) == expected
