"""Reading ahead: the next item is made while one is used, and nothing of it is lost or left."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from cbackprop.streams.ahead import read_ahead


class Item:
    def __init__(self, number: int) -> None:
        self.number = number


def numbered(n: int, ended: list[threading.Thread] | None = None) -> Iterator[Item]:
    try:
        for i in range(n):
            yield Item(i)
    finally:
        if ended is not None:
            ended.append(threading.current_thread())


@pytest.mark.parametrize("n", [0, 1, 2, 50])
def test_all_items_in_their_order(n: int) -> None:
    assert [item.number for item in read_ahead(numbered(n))] == list(range(n))


def test_the_next_one_is_made_meanwhile() -> None:
    """One, and not the one after that."""
    made: list[int] = []

    def items() -> Iterator[Item]:
        for i in range(5):
            made.append(i)
            yield Item(i)

    for item in read_ahead(items()):
        wanted = min(item.number + 2, 5)
        until = time.monotonic() + 10
        while len(made) < wanted and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.02)
        assert len(made) == wanted


def test_what_was_used_is_let_go() -> None:
    alive: list[weakref.ref[Item]] = []

    def items() -> Iterator[Item]:
        for i in range(20):
            item = Item(i)
            alive.append(weakref.ref(item))
            yield item
            del item

    for item in read_ahead(items()):
        del item
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 2


def test_nothing_is_kept_while_one_is_waited_for() -> None:
    alive: list[weakref.ref[Item]] = []
    before: list[int] = []

    def items() -> Iterator[Item]:
        for i in range(5):
            time.sleep(0.05)  # until what was given is used and gone
            before.append(sum(ref() is not None for ref in alive))
            item = Item(i)
            alive.append(weakref.ref(item))
            yield item
            del item

    for item in read_ahead(items()):
        del item
    assert before == [0] * 5


def test_errors_come_after_what_came_before_them() -> None:
    def items() -> Iterator[Item]:
        yield Item(0)
        raise OSError("the disk is gone")

    found = read_ahead(items())
    assert next(found).number == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)


def test_who_leaves_early_leaves_no_thread() -> None:
    ended: list[threading.Thread] = []
    before = threading.active_count()
    for item in read_ahead(numbered(50, ended)):
        if item.number == 3:
            break
    gc.collect()
    until = time.monotonic() + 10
    while (not ended or threading.active_count() > before) and time.monotonic() < until:
        time.sleep(0.001)
    assert threading.active_count() == before
    assert len(ended) == 1


def test_what_is_said_of_errors_holds_there() -> None:
    def items() -> Iterator[np.floating]:  # type: ignore[type-arg]
        yield np.float64(1) / np.float64(0)

    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        list(read_ahead(items()))
    with np.errstate(divide="ignore"):
        assert list(read_ahead(items())) == [np.inf]


def test_nothing_is_kept_of_a_source_that_was_read() -> None:
    source = Item(0)
    gone = weakref.ref(source)
    assert len(list(read_ahead(numbered(3), source))) == 3
    for _ in read_ahead(numbered(3), source):
        break
    del source
    until = time.monotonic() + 10
    while gone() is not None and time.monotonic() < until:
        gc.collect()
        time.sleep(0.001)
    assert gone() is None
