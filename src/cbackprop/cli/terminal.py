"""What is printed where: terminals, pipes and one-line errors."""

from __future__ import annotations

import codecs
import os
import sys
import textwrap
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TextIO, cast

WIDTH = 80


def printable(text: str, besides: str = "") -> str:
    """A text whose control characters are shown, as repr shows them, and not sent to a terminal.

    Names come from files. What is no letter, digit or sign may clear the screen, write into the
    clipboard, or turn the direction of what follows.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in besides else repr(letter)[1:-1]
        for letter in text
    )


class _Shown:
    """A text stream that shows control characters; tabs and line ends are layout."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(printable(text, "\n\t"))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def shown_output() -> Generator[None, None, None]:
    """While it lasts, what is printed for people sends no control character."""
    stream = sys.stdout
    if stream is not None:  # where there is none, nothing is printed
        sys.stdout = cast("TextIO", _Shown(stream))
    try:
        yield
    finally:
        sys.stdout = stream


def data_output() -> TextIO | None:
    """Where data go, every character as it is, unless a terminal would obey it."""
    stream: TextIO | None = sys.stdout
    shown: object = stream
    return shown.stream if isinstance(shown, _Shown) and not shown.isatty() else stream


def note(text: str) -> None:
    """Say on stderr, in one line, what should be known of what is printed elsewhere."""
    print(f"cbackprop: {printable(' '.join(text.split()))}", file=sys.stderr)


def print_wrapped(text: str, indent: str = "  ") -> None:
    """Print lines of any length; what follows the first row of each is indented."""
    for line in text.splitlines():
        for part in textwrap.wrap(line, WIDTH, subsequent_indent=indent):
            print(part)


def failed(error: Exception, status: int) -> int:
    """Say what went wrong in one line, without a traceback."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        text = f"{error.filename}: {error.strerror}"
    note(f"error: {text}")
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Standard output itself is what failed; Python would try it again at exit.
        discard_output()
    return status


def discard_output() -> None:
    """Send what is still in stdout's buffer nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def make_encodable() -> None:
    """Let a terminal that lacks the lesson's letters show plain ones of the same width."""
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        codecs.register_error("cbackprop.plain", _plain_letters)
        reconfigure(errors="cbackprop.plain")


def _plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = {"∂": "d", "σ": "s", "′": "'", "·": "*", "Σ": "S", "µ": "u", "²": "2", "…": "~"}
    text = error.object[error.start : error.end]
    return "".join(letters.get(letter, "?") for letter in text), error.end
