"""What an editor tells of the package: uses are accepted, misuses refused, by mypy and pyright."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHECKERS = {
    "mypy": ["--strict", "--no-error-summary"],
    "pyright": ["--pythonpath", sys.executable],
}


def marked_lines(file: str) -> set[tuple[str, int]]:
    lines = (HERE / file).read_text(encoding="utf-8").splitlines()
    return {(file, i) for i, line in enumerate(lines, start=1) if line.endswith("# refused")}


# Both files in one run, as most of it goes into reading NumPy's types.
@pytest.mark.parametrize("checker", CHECKERS)
def test_uses_are_accepted_and_misuses_refused(checker, tmp_path, monkeypatch):
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed: pip install '.[lint]'")
    monkeypatch.setenv("MYPY_CACHE_DIR", str(tmp_path))
    run = subprocess.run(
        [sys.executable, "-m", checker, *CHECKERS[checker], "uses.py", "misuses.py"],
        cwd=HERE,  # away from the sources: what is installed is looked at
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    found = re.findall(r"(\w+\.py):(\d+):[^:]*error:", run.stdout)
    refused = {(file, int(line)) for file, line in found}
    assert len(refused) > 20
    assert refused == marked_lines("misuses.py") | marked_lines("uses.py"), run.stdout
