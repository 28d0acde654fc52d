"""One thread at a time has a network: what the reference engine does about it.

The compiled engine does the same by kernels/lock.h.
"""

from __future__ import annotations

import os
import threading
from typing import Self


class OneThreadAtATime:
    """A call, or a thread that keeps the network for several of them, has it alone.

    Nobody waits: whoever comes meanwhile gets a RuntimeError.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # For whoever has the lock to change; others look at it to say why they are refused.
        self._keeper: threading.Thread | None = None  # through several calls, see __enter__
        self._fitting = False
        self._depth = 0
        self._process = os.getpid()
        self.busy = False  # a call is under way

    def __enter__(self) -> Self:
        """Keep the network for this thread through several calls; may be nested."""
        if not self._is_kept():
            self._take()
            self._keeper = threading.current_thread()
        elif self.busy:
            self._refuse()
        self._depth += 1
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._fitting = False
            self._keeper = None
            self._lock.release()

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
        # The object, not the system's number of it: that is given anew to later threads.
        return self._keeper is threading.current_thread()

    def _take(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._refuse()
        self._process = os.getpid()

    def _refuse(self) -> None:
        if self._process != os.getpid() and not self._is_kept():
            raise RuntimeError(
                "this network was in use when the process was forked, and what another thread did "
                "with it will never be finished here; use a copy() made before the fork"
            )
        if self._fitting and not self._is_kept():
            raise RuntimeError(
                "a fit of this network is running in another thread; use copy() to work on it at "
                "the same time"
            )
        raise RuntimeError(
            "this network is already in use: another call on it is running, in another thread "
            "or in a callback; use copy() to work on it at the same time"
        )


class InUse:
    """A call: ``with InUse(engine)``."""

    def __init__(self, engine: OneThreadAtATime) -> None:
        self.engine = engine

    def __enter__(self) -> None:
        engine = self.engine
        if not engine._is_kept():
            engine._take()
        elif engine.busy:
            engine._refuse()
        engine.busy = True

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.engine.busy = False
        if not self.engine._is_kept():
            self.engine._lock.release()
