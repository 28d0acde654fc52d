"""What the tests of the command line share."""

from __future__ import annotations

import json
import re
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


NUMBER = r"-?\d+\.\d+"


def named(text: str, label: str) -> float:
    """The number that stands after a label at the start of a line."""
    match = re.search(rf"^ *{re.escape(label)} *({NUMBER})", text, re.MULTILINE)
    assert match is not None, label
    return float(match[1])
