"""What the nodes of a sum over examples are, by what is summed.

Each kind is a function of an engine, which has the parameters, and of some examples; where they are
the leaves of one node, its result is that node, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cbackprop.functions import Array
from cbackprop.quantities import Failure
from cbackprop.reference.engine import Engine
from cbackprop.sparse_rows import Examples
from cbackprop.sums import EXAMPLES_PER_GROUP, Node, leaves_of, places


class NotFinite(FloatingPointError):
    """Cost or derivatives at the parameters as they stand are no finite numbers.

    Attributes
    ----------
    failure : (str, int)
        Which quantity, of which layer, as an engine's call returns it.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure[0]} of layer {failure[1]} is not finite")
        self.failure = failure

    def __reduce__(self) -> tuple[type[NotFinite], tuple[Failure]]:
        return NotFinite, (self.failure,)


# A node of these examples, weighted where weights are given, at place 0; NotFinite where none is.
Kind = Callable[[Engine, Examples, Array, Array | None], Node]


def gradient(engine: Engine, X: Examples, Y: Array, weight: Array | None) -> Node:
    """Σ w_i ∇C_i (P,), with the sum of the costs."""
    sums = np.empty(engine.n_parameters, X.dtype)
    failure, cost = engine.gradient(X, Y, weight, 1.0, sums)
    if failure is not None:
        raise NotFinite(failure)
    return Node(0, 0, len(X), (sums,), cost)


def cost(engine: Engine, X: Examples, Y: Array, weight: Array | None) -> Node:
    """Σ w_i C_i alone."""
    failure, total = engine.cost(X, Y, np.empty(len(X), X.dtype), weight)
    if failure is not None:
        raise NotFinite(failure)
    return Node(0, 0, len(X), (), total)


def of_leaves(
    kind: Kind, engine: Engine, X: Examples, Y: Array, weight: Array | None, first: int
) -> Iterator[Node]:
    """The fewest nodes that are these examples, which begin with the leaf ``first``, in order."""
    for place, level in places(first, first + leaves_of(len(X))):
        start = ((place << level) - first) * EXAMPLES_PER_GROUP
        rows = slice(start, start + (EXAMPLES_PER_GROUP << level))
        some = None if weight is None else weight[rows]
        yield kind(engine, X[rows], Y[rows], some)._replace(place=place, level=level)
