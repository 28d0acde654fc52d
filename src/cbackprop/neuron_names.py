"""What inputs and outputs are called, as texts and pictures show it: in one short line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

LONGEST_NAME = 24
WIDEST_LIST = 80
MOST_ENTRIES = 10
ISOLATE = "\N{FIRST STRONG ISOLATE}\N{POP DIRECTIONAL ISOLATE}"


class Named(Protocol):
    """A network, or what was made of one."""

    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def feature_names(self) -> tuple[str, ...] | None: ...
    @property
    def class_names(self) -> tuple[str, ...] | None: ...


class NamedWithMetadata(Named, Protocol):
    """A network, which also has texts that go along with it."""

    @property
    def metadata(self) -> Mapping[str, str]: ...


def printable(text: str, kept: str = "") -> str:
    """Text without what XML forbids or what would turn its neighbours around, but for ``kept``."""
    return "".join(c if c.isprintable() or c in kept else "\N{REPLACEMENT CHARACTER}" for c in text)


def short_name(name: str) -> str:
    """A name as labels show it: one of the user's may be long."""
    # What is cut away need not be looked at: it may be a megabyte.
    name = printable(" ".join(name[: 8 * LONGEST_NAME].split())) or "?"
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    if name.isascii():
        return name
    from unicodedata import bidirectional

    # What is written from right to left takes the numbers beside it along.
    if any(bidirectional(c) in ("R", "AL", "AN") for c in name):
        return f"{ISOLATE[0]}{name}{ISOLATE[1]}"
    return name


def called(network: Named, layer: int, j: int) -> str | None:
    """The name of an input or an output; one output with two is called by both targets' names."""
    if layer == 0 and network.feature_names is not None:
        return short_name(network.feature_names[j])
    if layer == len(network.sizes) - 1 and network.class_names is not None:
        if network.sizes[-1] == 1:
            return " / ".join(map(short_name, network.class_names))
        return short_name(network.class_names[j])
    return None


def listed(names: Sequence[str]) -> str:
    """The first of them, as many as fit a line, and how many more there are."""
    shown: list[str] = []
    for name in map(short_name, names):
        if shown and len(", ".join([*shown, name])) > WIDEST_LIST:
            return f"{', '.join(shown)} and {len(names) - len(shown)} more"
        shown.append(name)
    return ", ".join(shown)


def about(network: NamedWithMetadata) -> list[tuple[str, str]]:
    """What inputs and outputs are called, and the metadata: lines with a word before each."""
    lines: list[tuple[str, str]] = []
    if network.feature_names is not None:
        lines.append(("inputs", listed(network.feature_names)))
    classes = network.class_names
    if classes is not None and len(classes) > network.sizes[-1]:
        lines.append(
            ("target", ", ".join(f"{i} is {short_name(c)}" for i, c in enumerate(classes)))
        )
    elif classes is not None:
        lines.append(("outputs", listed(classes)))
    entries = list(network.metadata.items())
    lines += [
        ("metadata", f"{short_name(k)} = {_line(text)}") for k, text in entries[:MOST_ENTRIES]
    ]
    if len(entries) > MOST_ENTRIES:
        lines.append(("metadata", f"{len(entries) - MOST_ENTRIES} more"))
    return lines


def _line(text: str) -> str:
    """A text in one line, printable and cut."""
    line = printable(" ".join(text[: 4 * WIDEST_LIST].split()))
    return line if len(line) <= WIDEST_LIST else f"{line[: WIDEST_LIST - 1]}…"
