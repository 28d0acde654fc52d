"""What the nodes of a sum over examples are, by what is summed.

Each kind is a function of an engine, which has the parameters, and of some examples; where they are
the leaves of one node, its result is that node, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from cbackprop import backend, layout
from cbackprop.functions import Array
from cbackprop.quantities import Failure
from cbackprop.reference.engine import Engine
from cbackprop.sparse_rows import Examples
from cbackprop.sums import EXAMPLES_PER_GROUP, JoinedSum, Node, added, leaves_of, places

# Rows of a Jacobian that are made at a time: at least so many, and so many bytes.
JACOBIAN_ROWS, JACOBIAN_BYTES = 256, 2 << 20


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


def mean_gradient(node: Node, total_weight: float, out: Array, n_layers: int) -> float:
    """Fill out (P,) with the mean whose sum a node of gradients is; returns the mean cost.

    Divided as a call in memory does it, once and in the end.

    Raises
    ------
    NotFinite
        If the sum, or that of the costs, is beyond the largest number.
    """
    (sums,) = node.arrays
    mean_cost = sum(node.cost) / total_weight
    if not (np.isfinite(sums).all() and math.isfinite(mean_cost)):
        raise NotFinite(("delta", n_layers))
    np.divide(sums, sums.dtype.type(total_weight), out=out)
    return mean_cost


def cost(engine: Engine, X: Examples, Y: Array, weight: Array | None) -> Node:
    """Σ w_i C_i alone."""
    failure, total = engine.cost(X, Y, np.empty(len(X), X.dtype), weight)
    if failure is not None:
        raise NotFinite(failure)
    return Node(0, 0, len(X), (), total)


def squares(engine: Engine, X: Examples, Y: Array, weight: Array | None) -> Node:
    """Σ w_i r_ij², r = a − y: the first number of one band, as ``normal_equations`` has it last."""
    return _sum_of_rows(engine, X, Y, weight, 0)


def normal_equations(engine: Engine, X: Examples, Y: Array, weight: Array | None) -> Node:
    """(J r)ᵀ(J r), which is JᵀJ with Jᵀr and ‖r‖², in bands (layout.bands), float64.

    The rows, one for each example i and output j, are √w_i ∂a_j/∂parameters and √w_i r_j.
    """
    return _sum_of_rows(engine, X, Y, weight, engine.n_parameters)


def _sum_of_rows(engine: Engine, X: Examples, Y: Array, weight: Array | None, P: int) -> Node:
    """The same with P derivatives a row, all or none, leaf by leaf."""
    spare: list[Array] = []

    def join(node: Node, other: Node) -> None:
        added(node, other)
        spare.append(other.arrays[0])

    total = JoinedSum(join)
    for leaf in range(leaves_of(len(X))):
        rows = slice(leaf * EXAMPLES_PER_GROUP, (leaf + 1) * EXAMPLES_PER_GROUP)
        sums = spare.pop() if spare else np.empty(layout.band_numbers(P + 1))
        some = None if weight is None else weight[rows]
        with np.errstate(all="ignore"):  # what overflows is found in the end
            n = _add_rows(engine, X[rows], Y[rows], some, sums, P)
        total.add(Node(leaf, 0, n, (sums,)))
    return total.total()._replace(place=0, level=0)


def _add_rows(
    engine: Engine, X: Examples, Y: Array, weight: Array | None, sums: Array, P: int
) -> int:
    """The rows of one leaf, one chain in their order; returns how many examples it has."""
    n, n_L = len(X), Y.shape[1]
    r, roots = weighted_residuals(engine, X, Y, weight)
    step = max(1, max(JACOBIAN_ROWS, JACOBIAN_BYTES // (8 * P + 8)) // n_L)
    J = np.empty((min(step, n), n_L, P))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        part = J[: rows.stop - start]
        if P > 0:
            weighted_jacobian(engine, X[rows], None if roots is None else roots[rows], part)
        J_rows = part.reshape(part.shape[0] * n_L, P)
        backend.add_normal_equations(engine, sums, J_rows, r[rows].ravel(), start == 0)
    return n


def weighted_residuals(
    engine: Engine, X: Examples, Y: Array, weight: Array | None
) -> tuple[Array, Array | None]:
    """√w_i r_j (n, n_L), float64, and √w_i (n, 1), (n, n_L) where targets are missing: 0 for those.

    Raises
    ------
    NotFinite
        If an output is not.
    """
    roots: Array | None = None
    if weight is not None:
        roots = np.sqrt(weight)[:, np.newaxis]
    missing = np.isnan(Y) if engine.missing_targets else None
    if missing is not None:
        roots = (~missing).astype(np.float64) if roots is None else roots * ~missing
    outputs = np.empty(Y.shape, Y.dtype)
    nothing: list[Array | None] = [None] * len(engine.parameter_arrays()[0])
    failure = engine.forward(X, nothing, [*nothing[1:], outputs])
    if failure is not None:
        raise NotFinite(failure)
    r: Array = np.subtract(outputs, Y, dtype=np.float64)
    if roots is not None:
        r *= roots
    if missing is not None:
        r[missing] = 0
    return r, roots


def weighted_jacobian(engine: Engine, X: Examples, roots: Array | None, out: Array) -> None:
    """Fill out (n, n_L, P), float64, with √w_i ∂a_j/∂parameters.

    Raises
    ------
    NotFinite
        If a derivative is not.
    """
    dtype = engine.parameter_arrays()[2].dtype
    target = out if dtype == np.float64 else np.empty(out.shape, dtype)
    failure = engine.jacobian(X, target, False)
    if failure is not None:
        raise NotFinite(failure)
    if roots is not None:
        np.multiply(target, roots[..., np.newaxis], out=out)
    elif target is not out:
        out[...] = target


def of_leaves(
    kind: Kind, engine: Engine, X: Examples, Y: Array, weight: Array | None, first: int
) -> Iterator[Node]:
    """The fewest nodes that are these examples, which begin with the leaf ``first``, in order."""
    for place, level in places(first, first + leaves_of(len(X))):
        start = ((place << level) - first) * EXAMPLES_PER_GROUP
        rows = slice(start, start + (EXAMPLES_PER_GROUP << level))
        some = None if weight is None else weight[rows]
        yield kind(engine, X[rows], Y[rows], some)._replace(place=place, level=level)
