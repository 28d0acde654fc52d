"""What the tests of the command line share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cbackprop import cli


def one_line_error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("cbackprop: error: ")
    assert captured.err.endswith("\n")
    assert captured.err.count("\n") == 1
    return captured.err


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What a command prints on stdout, and nothing on stderr."""
    assert cli.main(arguments) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    """The one object that --json prints."""
    return json.loads(printed(capsys, *arguments, "--json", status=status))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    """The one line of an error, and nothing on stdout."""
    assert cli.main(arguments) == status
    return one_line_error(capsys)
