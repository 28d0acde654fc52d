"""What a long fit shows of itself: a tqdm bar where tqdm is installed, a line of text otherwise."""

from __future__ import annotations

import importlib
import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from cbackprop.training.history import History

SECONDS_BEFORE = 1.0  # nothing is shown of a fit that is over by then, unless asked for
SECONDS_BETWEEN = 0.1


class Bar(Protocol):
    """What is used of tqdm's bar."""

    def set_postfix_str(self, s: str, refresh: bool) -> object: ...
    def update(self, n: int) -> object: ...
    def close(self) -> object: ...


class Progress:
    """Shows the epochs of one fit on stderr, once an epoch at most.

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
        if stream is None or wanted is False:
            return
        try:
            self._on_terminal = stream.isatty()
        except (AttributeError, OSError, ValueError):  # no terminal's interface, or a closed one
            self._on_terminal = False
        if wanted or self._on_terminal:
            self._stream = stream

    def show(self, history: History, done: bool) -> None:
        """After an epoch; ``done`` says that it was the last one."""
        if self._stream is None:
            return
        now = time.monotonic()
        if now - self._start < self._wait or (now - self._last < SECONDS_BETWEEN and not done):
            return
        self._last = now
        try:
            self._write(history, self._stream)
        except (OSError, ValueError):
            # The stream was closed, or the other end of a pipe: the fit goes on without.
            self._stream = None

    def _write(self, history: History, stream: TextIO) -> None:
        if self._shown == 0:
            self._bar = _tqdm(self._epochs, stream)
        text = _text(history)
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(history.epochs - self._shown)
        else:
            line = f"epoch {history.epochs}/{self._epochs}  {text}"
            # A terminal's line is written over; a file or a pipe gets lines.
            if self._on_terminal:
                stream.write(f"\r\x1b[K{line}")
            else:
                stream.write(f"{line}\n")
            stream.flush()
        self._shown = history.epochs

    def close(self) -> None:
        """Leave the terminal on a line of its own."""
        if self._stream is None or self._shown == 0:
            return
        try:
            if self._bar is not None:
                self._bar.close()
            elif self._on_terminal:
                self._stream.write("\n")
                self._stream.flush()
        except (OSError, ValueError):
            self._stream = None


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
