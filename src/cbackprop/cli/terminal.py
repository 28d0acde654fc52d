"""What is printed where: terminals, pipes and one-line errors."""

from __future__ import annotations

import codecs
import os
import sys
import textwrap
from collections.abc import Callable

WIDTH = 80


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
    print(f"cbackprop: error: {' '.join(text.split())}", file=sys.stderr)
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
