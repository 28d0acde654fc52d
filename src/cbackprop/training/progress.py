"""What a long fit shows of itself: a tqdm bar where tqdm is installed, a line of text otherwise.

After an epoch, and within one that is long: then with the time that is left.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from cbackprop.training.history import History

SECONDS_BEFORE = 1.0  # nothing is shown of a fit that is over by then, unless asked for
SECONDS_BETWEEN = 0.1
SECONDS_BETWEEN_LINES = 10.0  # within an epoch, where lines are not written over


class Bar(Protocol):
    """What is used of tqdm's bar."""

    n: float

    def refresh(self) -> object: ...
    def set_postfix_str(self, s: str, refresh: bool) -> object: ...
    def update(self, n: int) -> object: ...
    def close(self) -> object: ...


class Progress:
    """Shows the epochs of one fit on stderr.

    Parameters
    ----------
    epochs : int
        Of the whole fit.
    wanted : bool or None
        None shows on a terminal alone, and a fit of more than a second alone.
    """

    def __init__(self, epochs: int, wanted: bool | None) -> None:
        stream = sys.stderr
        self._stream: TextIO | None = None
        self._on_terminal = False
        self._bar: Bar | None = None
        self._epochs = epochs
        self._start = self._last = time.monotonic()
        self._wait = 0.0 if wanted else SECONDS_BEFORE
        self._shown = 0
        self._first: int | None = None  # epochs that there were when this began
        self._is_shown = False
        if stream is None or wanted is False:
            return
        try:
            self._on_terminal = stream.isatty()
        except (AttributeError, OSError, ValueError):  # no terminal's interface, or a closed one
            self._on_terminal = False
        if wanted or self._on_terminal:
            self._stream = stream

    def watcher(self, history: History, n: int, batch_size: int) -> Callable[[int], None] | None:
        """What a pass over n examples tells the number of batches done; None to be left alone."""
        if self._stream is None:
            return None
        if self._first is None:
            self._first = history.epochs

        def watch(batches: int) -> None:
            if self._stream is None:
                return
            now, between = time.monotonic(), SECONDS_BETWEEN
            if not self._on_terminal and self._bar is None:
                between = SECONDS_BETWEEN_LINES
            if now - self._start < max(self._wait, between) or now - self._last < between:
                return
            self._last = now
            self._show_share(history, min(batches * batch_size / n, 1.0), now)

        return watch

    def _show_share(self, history: History, share: float, now: float) -> None:
        assert self._first is not None
        done = history.epochs - self._first + share
        left = (now - self._start) * (self._epochs - self._first - done) / max(done, 1e-9)
        text = f"epoch {history.epochs + 1}/{self._epochs}  {share:.0%}  {in_words(left)} left"
        if history.cost:
            text = f"{text}  {_text(history)}"
        with self._while_it_lasts() as stream:
            self._open(stream)
            if self._bar is not None:
                self._bar.n = history.epochs + round(share, 2)
                self._bar.refresh()
            else:
                self._line(text, stream)

    def show(self, history: History, done: bool) -> None:
        """After an epoch; ``done`` says that it was the last one."""
        if self._stream is None:
            return
        now = time.monotonic()
        if now - self._start < self._wait or (now - self._last < SECONDS_BETWEEN and not done):
            return
        self._last = now
        text = _text(history)
        with self._while_it_lasts() as stream:
            self._open(stream)
            if self._bar is not None:
                self._bar.n = self._shown
                self._bar.set_postfix_str(text, refresh=False)
                self._bar.update(history.epochs - self._shown)
            else:
                self._line(f"epoch {history.epochs}/{self._epochs}  {text}", stream)
        self._shown = history.epochs

    @contextmanager
    def _while_it_lasts(self) -> Generator[TextIO, None, None]:
        """The stream to write to, and to nothing else: what is shown is made before.

        Where it was closed, or cannot write that text, or nobody reads the pipe any more, the fit
        goes on without.
        """
        assert self._stream is not None
        try:
            yield self._stream
        except (OSError, ValueError):
            self._stream = None

    def _open(self, stream: TextIO) -> None:
        if not self._is_shown:
            self._bar = _tqdm(self._epochs, stream)
            self._is_shown = True

    def _line(self, text: str, stream: TextIO) -> None:
        # A terminal's line is written over; a file or a pipe gets lines.
        stream.write(f"\r\x1b[K{text}" if self._on_terminal else f"{text}\n")
        stream.flush()

    def close(self) -> None:
        """Leave the terminal on a line of its own."""
        if self._stream is None or not self._is_shown:
            return
        with self._while_it_lasts() as stream:
            if self._bar is not None:
                self._bar.close()
            elif self._on_terminal:
                stream.write("\n")
                stream.flush()


def _tqdm(epochs: int, stream: TextIO) -> Bar | None:
    try:
        module = importlib.import_module("tqdm")
    except ImportError:
        return None
    bar: Bar = module.tqdm(total=epochs, unit="epoch", file=stream)
    return bar


def _text(history: History) -> str:
    parts = [f"cost {history.cost[-1]:.4g}"]
    if history.validation_cost:
        parts.append(f"validation cost {history.validation_cost[-1]:.4g}")
    parts += [f"{name} {values[-1]:.4g}" for name, values in history.metrics.items()]
    return "  ".join(parts)


def in_words(seconds: float) -> str:
    """A time that is not known to the second."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
