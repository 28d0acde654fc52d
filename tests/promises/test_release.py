"""What is published: the same bytes from the same files, pages whose links lead somewhere, and
what tools/release.py refuses.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY, posix_only

import cbackprop

VERSION = cbackprop.__version__
RELEASE: dict[str, Any] = runpy.run_path(str(REPOSITORY / "tools" / "release.py"))
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
PAGE = (REPOSITORY / "docs" / "releasing.md").read_text(encoding="utf-8")
WHEELS: list[str] = RELEASE["identifiers"](PAGE)
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
    assert one.name == another.name == f"cbackprop-{VERSION}.tar.gz"
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
    files = f"{PROJECT['urls']['Repository']}/blob/v{VERSION}"
    expected = [link if "://" in link else f"{files}/{link}" for link in links(readme)]
    assert len(expected) > 20
    assert links(published) == expected


def test_the_changelog_has_an_entry_for_each_release() -> None:
    """What is not released yet comes first; else the newest entry is that of the version."""
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    if headings[0] == "Unreleased":
        headings.pop(0)
    else:
        assert headings[0].startswith(f"{VERSION} - ")
    assert [h for h in headings if not re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", h)] == []


def test_the_notes_of_a_release_are_its_entry() -> None:
    entry = "### Added\n\n- More.\n"
    for older in ("", "\n## 0.0.1 - 2020-01-01\n\n- First.\n"):
        changelog = f"# Changelog\n\n## {VERSION} - 2026-11-30\n\n{entry}{older}"
        assert RELEASE["notes"](f"v{VERSION}", changelog) == entry


@pytest.mark.parametrize(
    ("tag", "changelog", "told"),
    [
        ("v0.0.1", f"## {VERSION} - 2026-11-30\n\n- More.\n", "the tag is 'v0.0.1'; expected 'v"),
        (VERSION, f"## {VERSION} - 2026-11-30\n\n- More.\n", "the tag is '"),
        (f"v{VERSION}", "## Unreleased\n\n- More.\n", "begins with '## Unreleased'; expected"),
        (f"v{VERSION}", f"## {VERSION}\n\n- More.\n", "and a date"),
        (f"v{VERSION}", f"## {VERSION} - 2026-11-30\n\n## 0.0.1 - 2020-01-01\n", "says nothing of"),
    ],
)
def test_a_tag_without_its_version_or_entry_is_refused(tag: str, changelog: str, told: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(told)):
        RELEASE["notes"](tag, f"# Changelog\n\n{changelog}")


def files_of_a_release(folder: Path) -> list[Path]:
    """Empty files with the names that a release has."""
    platforms = {
        "manylinux": "manylinux_2_27_{0}.manylinux_2_28_{0}",
        "musllinux": "musllinux_1_2_{}",
    }
    platforms |= {"macosx": "macosx_11_0_{}", "win": "win_{}"}
    names = [f"cbackprop-{VERSION}.tar.gz"]
    for wheel in WHEELS:
        abi, _, system = wheel.partition("-")
        kind, _, machine = system.partition("_")
        tags = f"{abi.removesuffix('t')}-{abi}-{platforms[kind].format(machine)}"
        names.append(f"cbackprop-{VERSION}-{tags}.whl")
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def test_the_files_of_a_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = files_of_a_release(tmp_path)
    RELEASE["check_files"](tmp_path, PAGE)
    assert "49 wheels, 0 to 0 bytes" in capsys.readouterr().out
    with files[-1].open("wb") as file:
        file.truncate(1_700_001)
    with pytest.raises(SystemExit, match=r"larger than 1,700,000 bytes: \['cbackprop-"):
        RELEASE["check_files"](tmp_path, PAGE)
    files[-1].unlink()
    with pytest.raises(SystemExit, match=r"48 wheels; expected 49: missing \['cp315t-win_amd64'\]"):
        RELEASE["check_files"](tmp_path, PAGE)
    (tmp_path / "cbackprop-0.0.1.tar.gz").touch()
    with pytest.raises(SystemExit, match=r"there are \[.*'cbackprop-0\.0\.1\.tar\.gz"):
        RELEASE["check_files"](tmp_path, PAGE)


def test_the_page_lists_what_the_workflow_builds() -> None:
    pytest.importorskip("cibuildwheel", reason="cibuildwheel is not installed")
    workflow = (REPOSITORY / ".github/workflows/release.yml").read_text(encoding="utf-8")
    systems = re.findall(r"name: (\w+)-\w+, os: \S+, archs: (\w+)", workflow)
    built = []
    for system, machine in systems:
        command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers"]
        command += ["--platform", system, "--archs", machine]
        run = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
        built += run.stdout.split()
    assert sorted(built) == WHEELS
