"""``cbackprop info``: what this installation computes with."""

from __future__ import annotations

import argparse
from typing import Any

from cbackprop import info
from cbackprop.cli.options import add_command, add_json, print_json


def add(commands: Any) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "info",
        run,
        "say what this installation computes with",
        "Say what this installation computes with.",
        """
        cbackprop info
        cbackprop info --json
        """,
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    facts = dict(info())
    if arguments.json:
        print_json(facts)
        return 0
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {_plain(value)}")
    return 0


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def computed_by() -> str:
    level = info()["simd_level"]
    if level is None:
        return "The NumPy reference computes."
    return f"Compiled core, SIMD level {level}."
