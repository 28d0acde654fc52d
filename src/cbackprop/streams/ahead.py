"""The next item is made by a thread of its own while the one before is worked on."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
# How long a wait lasts before Python looks for signals: some systems hear none in a wait.
LOOK_SECONDS = 0.05
# Those whose threads have not ended: one that was left may still be making an item.
_readers: list[_Reader[Any]] = []


class _Reader(Generic[Item]):
    """Gives one item at a time from a thread to the one that asks."""

    def __init__(self, items: Iterator[Item], sources: Sequence[object]) -> None:
        self.items, self.sources = items, sources
        self.item: Item | None = None
        self.error: BaseException | None = None
        self.is_over = self.is_left = False
        self.wanted, self.ready = threading.Semaphore(1), threading.Semaphore(0)
        self.idle = threading.Event()  # whether no item is being made
        # What is said of NumPy's errors, say, holds there as here.
        run = contextvars.copy_context().run
        self.thread = threading.Thread(target=run, args=(self.work,), daemon=True)

    def work(self) -> None:
        try:
            while True:
                self.wanted.acquire()
                if self.is_left:
                    break
                self.item = next(self.items)
                self.idle.set()
                self.ready.release()
        except StopIteration:
            self.is_over = True
        except BaseException as error:
            self.error = error
        finally:
            close = getattr(self.items, "close", None)
            if close is not None:
                close()
            self.is_over = True
            _readers.remove(self)
            self.idle.set()
            self.ready.release()

    def next(self) -> Item:
        while not self.ready.acquire(timeout=LOOK_SECONDS):
            pass
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        if self.is_over:
            raise StopIteration
        item, self.item = self.item, None
        self.idle.clear()
        self.wanted.release()
        assert item is not None
        return item


def wait_for_readers(*sources: object) -> None:
    """Until no thread makes an item from one of these, which two are not to do at a time.

    What is left early, by an error say, is at its last item still.
    """
    here = threading.current_thread()
    for other in [*_readers]:
        is_shared = any(one is another for one in sources for another in other.sources)
        if is_shared and other.thread is not here:
            while not other.idle.wait(LOOK_SECONDS):
                pass


def read_ahead(items: Iterator[Item], *sources: object) -> Iterator[Item]:
    """The same items, made from these sources; the next one is under way while one is used.

    What making them raises is raised here. Who leaves early leaves the thread to end with the item
    that it is at; nobody waits for it but who reads one of the sources next.
    """
    wait_for_readers(*sources)
    reader = _Reader(items, sources)
    _readers.append(reader)
    reader.thread.start()
    try:
        while True:
            try:
                item = reader.next()
            except StopIteration:
                return
            yield item
            del item  # which need not be there while the next one is waited for
    finally:
        reader.is_left = True
        reader.wanted.release()
