"""Sums over examples whose parts are made by themselves, wherever, and joined by position.

The examples lie in leaves of `EXAMPLES_PER_GROUP`, the last of which may be shorter. Two neighbours
make a node, two neighbouring nodes the next one, as a binary counter carries, and what is left when
the leaves end is added from the shortest to the longest (kernels/tree.pyx). So a sum has the same
bits whoever has made its parts, and in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from cbackprop.functions import Array

# Examples in a leaf; 2^k leaves from a multiple of 2^k of them on are one node.
EXAMPLES_PER_GROUP = 256
# A sum of costs in float64 and what its rounding has lost: together they are the sum.
CostSum = tuple[float, float]
NO_COST: CostSum = (0.0, 0.0)


class Node(NamedTuple):
    """The sum over the leaves place · 2^level … (place + 1) · 2^level − 1, as many as there are."""

    place: int
    level: int
    n: int  # examples
    arrays: tuple[Array, ...]  # the node's own memory: a join adds into it
    cost: CostSum = NO_COST


# Adds the second node's arrays to the first one's.
Join = Callable[[Node, Node], None]


def added(node: Node, other: Node) -> None:
    """Number by number, in place."""
    with np.errstate(all="ignore"):  # what overflows is found in the end
        for sums, more in zip(node.arrays, other.arrays, strict=True):
            sums += more


def places(first: int, stop: int) -> Iterator[tuple[int, int]]:
    """(place, level) of the fewest nodes that are the leaves first … stop − 1, in order."""
    while first < stop:
        level = (stop - first).bit_length() - 1
        if first > 0:
            level = min(level, (first & -first).bit_length() - 1)
        yield first >> level, level
        first += 1 << level


def leaves_of(n: int) -> int:
    """How many leaves n examples have."""
    return -(-n // EXAMPLES_PER_GROUP)


class JoinedSum:
    """A sum whose nodes come one by one, in any order, each once."""

    def __init__(self, join: Join = added) -> None:
        self._join = join
        self._waiting: dict[tuple[int, int], Node] = {}  # by level and place

    def add(self, node: Node) -> None:
        """Join it with its neighbour, if that is there, and what they make with theirs."""
        while (neighbour := self._waiting.pop((node.level, node.place ^ 1), None)) is not None:
            node = self._joined(node, neighbour)._replace(
                place=node.place >> 1, level=node.level + 1
            )
        self._waiting[node.level, node.place] = node

    def nodes(self) -> list[Node]:
        """What those that came have made so far."""
        return list(self._waiting.values())

    def total(self) -> Node:
        """Of all that came, from the first leaf on and without a gap; one node at least."""
        shortest, *longer = (self._waiting[key] for key in sorted(self._waiting))
        for node in longer:
            shortest = self._joined(shortest, node)
        return shortest

    def _joined(self, node: Node, other: Node) -> Node:
        self._join(node, other)
        return node._replace(n=node.n + other.n, cost=joined_costs(node.cost, other.cost))


def joined_costs(cost: CostSum, other: CostSum) -> CostSum:
    """Neumaier's compensated sum (kernels/sums.pyx, add_compensated)."""
    (total, correction), (term, more) = cost, other
    both = total + term
    larger, smaller = (total, term) if abs(total) >= abs(term) else (term, total)
    return both, (correction + more) + ((larger - both) + smaller)
