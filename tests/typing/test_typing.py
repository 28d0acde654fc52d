"""What an editor tells of the package: uses are accepted, misuses refused, by mypy and pyright."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHECKERS = {"mypy": ["--strict", "--no-error-summary"], "pyright": []}


def complaints(checker: str, file: str) -> set[int]:
    """The lines of a file that a type checker complains of."""
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed: pip install '.[lint]'")
    run = subprocess.run(
        [sys.executable, "-m", checker, *CHECKERS[checker], file],
        cwd=HERE,  # away from the sources: what is installed is looked at
        capture_output=True,
        text=True,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    lines = re.findall(rf"{re.escape(file)}:(\d+):.*error", run.stdout)
    assert bool(lines) == (run.returncode == 1), run.stdout + run.stderr
    return {int(line) for line in lines}


@pytest.mark.parametrize("checker", CHECKERS)
def test_uses_are_accepted(checker):
    assert complaints(checker, "uses.py") == set()


@pytest.mark.parametrize("checker", CHECKERS)
def test_misuses_are_refused(checker):
    text = (HERE / "misuses.py").read_text(encoding="utf-8")
    refused = {
        number
        for number, line in enumerate(text.splitlines(), start=1)
        if line.endswith("# refused")
    }
    assert len(refused) > 20
    assert complaints(checker, "misuses.py") == refused
