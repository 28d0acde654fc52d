"""Many threads may read a network at the same time, one alone may change it: the reference engine.

The compiled engine does the same by kernels/lock.h.
"""

from __future__ import annotations

import os
import threading
from typing import Self


class _Use:
    """A call that is under way, or several that belong together."""

    __slots__ = ("changes", "is_over", "keeps", "outer", "process", "thread")

    def __init__(self, changes: bool, keeps: bool = False) -> None:
        self.changes = changes
        self.keeps = keeps  # for all calls of its thread, see Shared.__enter__
        self.thread = threading.current_thread()
        self.process = os.getpid()
        self.is_over = False
        self.outer: _Use | None = None  # the one in whose `with` this one's stands

    def goes_with(self, other: _Use) -> bool:
        """Whether this use, which is under way, and another one may be so at the same time."""
        # The object, not the system's number of the thread: that is given anew to later ones.
        own = self.keeps and self.thread is other.thread
        return self.is_over or own or not (self.changes or other.changes)


class _Guard:
    """Held for a few statements, by one thread at a time; a forked child has its own."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        # A finalizer or a signal handler may come between two of the statements, and use a network.
        self.lock = threading.RLock()


_GUARD = _Guard()


class Shared:
    """Calls that read an engine go on together; one that changes it has it alone.

    Nobody waits: whoever comes meanwhile gets a RuntimeError.
    """

    def __init__(self) -> None:
        # Replaced as a whole, for a fork may come at any time. What is over leaves with the next.
        self._uses: tuple[_Use, ...] = ()
        # For the thread that keeps the engine to change; others look to say why they are refused.
        self._keep: _Use | None = None
        self._fitting = False

    def reading(self) -> Reading:
        """``with engine.reading()``: nobody changes it through several calls that read it."""
        return Reading(self)

    def __enter__(self) -> Self:
        """Keep the network for this thread alone through several calls; may be nested."""
        keep = _Use(changes=True, keeps=True)
        _begin(self, keep)
        keep.outer, self._keep = self._keep, keep
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        keep = self._keep
        assert keep is not None
        self._keep = keep.outer
        if keep.outer is None:
            self._fitting = False
        keep.is_over = True

    @property
    def is_fitting(self) -> bool:
        """Whether this thread keeps the network for a fit."""
        return self._is_kept() and self._fitting

    def begin_fit(self) -> None:
        """Say that what this thread keeps the network for is a fit, until the last with ends."""
        if not self._is_kept():
            raise RuntimeError("a fit begins inside `with engine`")
        self._fitting = True

    def _is_kept(self) -> bool:
        keep = self._keep
        return keep is not None and keep.thread is threading.current_thread()

    def _refuse(self, use: _Use, other: _Use) -> None:
        """Say why not, with that other one under way."""
        if other.process != use.process and other.thread is not use.thread:
            if other.changes:
                raise RuntimeError(
                    "this network was in use when the process was forked, and what another thread "
                    "did with it will never be finished here; use a copy() made before the fork"
                )
            raise RuntimeError(
                "this network was in use when the process was forked, by threads that are not here "
                "and read it: it can be read, but not changed; use a copy()"
            )
        if self._fitting and other.thread is not use.thread:
            raise RuntimeError(
                "a fit of this network is running in another thread; use a copy() made before it "
                "began to work at the same time"
            )
        if not other.changes:
            raise RuntimeError(
                "this network is already in use: it cannot be changed while another call reads it, "
                "in another thread or around this one; use copy() to work on it at the same time"
            )
        raise RuntimeError(
            "this network is already in use: another call on it is running, in another thread "
            "or in a callback; use copy() to work on it at the same time"
        )


def _begin(engine: Shared, use: _Use) -> None:
    try:
        with _GUARD.lock:
            for other in engine._uses:
                if not other.goes_with(use):
                    engine._refuse(use, other)
            engine._uses = (*[other for other in engine._uses if not other.is_over], use)
    except BaseException:  # Ctrl-C may come after that, too
        use.is_over = True
        raise


class Reading:
    """A call that reads, or several: ``with Reading(engine)``."""

    changes = False

    def __init__(self, engine: Shared) -> None:
        self.engine = engine
        self._use = _Use(self.changes)

    def __enter__(self) -> Self:
        _begin(self.engine, self._use)
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._use.is_over = True

    def end(self) -> None:
        """The network is free of this one; once more does no harm."""
        self._use.is_over = True


class Changing(Reading):
    """A call that changes something: ``with Changing(engine)``."""

    changes = True
