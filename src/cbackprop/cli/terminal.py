"""What is printed where: terminals, pipes and one-line errors."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import textwrap
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
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


@contextmanager
def naming(file: str) -> Generator[None, None, None]:
    """Let an error of the system say in which file it was, where that was opened already."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        # NumPy's own, of a disk without room, has no number.
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), file) from None


def write_text(path: str, text: str) -> None:
    """Write a file of text."""
    with naming(path), open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


class _Shown:
    """Standard output, which shows control characters; tabs and line ends are layout."""

    def __init__(self, stream: TextIO, as_they_are: bool = False) -> None:
        self.stream = stream
        self.as_they_are = as_they_are

    def write(self, text: str) -> int:
        with naming("standard output"):
            self.stream.write(text if self.as_they_are else printable(text, "\n\t"))
        return len(text)

    def flush(self) -> None:
        with naming("standard output"):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Closed(io.TextIOBase):
    """In the place of a standard output that is closed: what nobody can read is not done."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "closed; expected a file, a pipe or a terminal")


@contextmanager
def shown_output() -> Generator[None, None, None]:
    """While it lasts, what is printed for people sends no control character."""
    stream: TextIO | None = sys.stdout
    sys.stdout = cast("TextIO", _Shown(cast("TextIO", _Closed()) if stream is None else stream))
    try:
        yield
    finally:
        sys.stdout = cast("TextIO", stream)


class _Waiting(_Shown):
    """Standard output whose failure waits: what comes after it is for nobody."""

    failure: OSError | None = None

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self.stream.write(text)
            except OSError as error:
                self.failure = error
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self.stream.flush()
            except OSError as error:
                self.failure = error


@contextmanager
def output_may_fail() -> Generator[None, None, None]:
    """Let output that cannot be written stop nothing before the end, where it is the error."""
    stream = sys.stdout
    sys.stdout = waiting = cast("Any", _Waiting(stream))
    try:
        yield
    finally:
        sys.stdout = stream
    if waiting.failure is not None:
        raise waiting.failure


def data_output() -> TextIO:
    """Where data go, every character as it is, unless a terminal would obey it."""
    shown: object = sys.stdout
    if isinstance(shown, _Shown) and not shown.isatty():
        return cast("TextIO", _Shown(shown.stream, as_they_are=True))
    return sys.stdout


def note(text: str) -> None:
    """Say on stderr, in one line, what should be known of what is printed elsewhere."""
    aside(f"cbackprop: {printable(' '.join(text.split()))}")


def aside(text: str) -> None:
    """Print a line on stderr; where it cannot be written, there is nowhere to say so."""
    if sys.stderr is not None:  # print would take standard output instead
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def clear_progress() -> None:
    """Empty the line of a terminal that fit's progress is on; it comes again below."""
    if sys.stderr is not None and sys.stderr.isatty():
        with suppress(OSError):
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


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
