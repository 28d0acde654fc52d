"""A gradient's sum in parts, for whatever brings rows to processes and sums back: MPI, Ray, Spark.

Plain Python and NumPy: the user's library pickles the parts, sends them and adds them up.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from cbackprop import backend, layout, nodes, validation
from cbackprop.exports import require_network
from cbackprop.functions import name_of
from cbackprop.gradients import Gradient
from cbackprop.network import Network
from cbackprop.sparse_rows import ExamplesLike
from cbackprop.sums import EXAMPLES_PER_GROUP, JoinedSum, Node
from cbackprop.training.fingerprint import fingerprint

if TYPE_CHECKING:
    import numpy.typing as npt


class GradientSum:
    """Σ_i ∇C_i over some rows of a whole; the sums over all of them add up to its mean gradient.

    ``+`` takes them in any order and grouping: what they are made of is joined by position. So
    `gradient` has the bits of `Network.gradient` over all rows, wherever the sums were made.

    Parameters
    ----------
    net : Network
        At whose parameters the gradients are; it is not kept.
    X, Y : array_like
        (n, n_0) and (n, n_L): the rows first … first + n − 1 of the whole; none is right, too.
    first : int
        A multiple of `EXAMPLES_PER_GROUP`.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    FloatingPointError
        If finite inputs overflow.

    See Also
    --------
    Network.gradient : The same in one call.

    Notes
    -----
    It holds, and its pickle sends, at most 2·log₂ of its groups vectors of P numbers; one vector
    where its rows are a multiple of 2^k groups and begin with a multiple of 2^k.

    With ``backend="reference"`` the bits depend on the parts, and agree to rounding.
    """

    def __init__(self, net: Network, X: ExamplesLike, Y: npt.ArrayLike, first: int = 0) -> None:
        network = require_network("net", net)
        start = validation.integer("first", first, 0)
        if start % EXAMPLES_PER_GROUP:
            raise ValueError(
                f"first is {start}; expected a multiple of cbackprop.EXAMPLES_PER_GROUP "
                f"({EXAMPLES_PER_GROUP})"
            )
        sizes, dtype, classes = network.sizes, network.dtype.name, network.class_names
        cost = network.cost_function
        tables = validation.table_names(network.feature_names, classes, sizes, X, Y)
        examples, targets, _ = validation.pair(
            *tables.pair(X, Y), sizes, dtype, cost, class_names=classes
        )
        parameters = network.parameters
        engine = backend.engine(
            network.backend, sizes, network.activations, cost, dtype, network.threads
        )
        weights, biases, _ = engine.parameter_arrays()
        layout.write(parameters, weights, biases)
        try:
            made = nodes.of_leaves(
                nodes.gradient, engine, examples, targets, None, start // EXAMPLES_PER_GROUP
            )
            self._nodes: tuple[Node, ...] = tuple(made)
        except nodes.NotFinite as error:
            validation.explain_not_finite(error.failure, examples, weights, biases)
            raise
        self._sizes = sizes
        self._names = tables.features, tables.outputs
        self._functions = [name_of(function) for function in (*network.activations, cost)]
        self._parameters = fingerprint([parameters])
        info = backend.info()  # what else decides on the bits
        self._made_by = info["version"], network.backend, info["fused_multiply_add"]

    def __len__(self) -> int:
        """The number of examples."""
        return sum(node.n for node in self._nodes)

    def __add__(self, other: object) -> GradientSum:
        """The sum over the examples of both."""
        if not isinstance(other, GradientSum):
            return NotImplemented
        if (self._sizes, self._functions, self._parameters) != (
            other._sizes,
            other._functions,
            other._parameters,
        ):
            raise ValueError(
                "sums of networks with other sizes, activations, costs or parameters do not add up"
            )
        if self._names != other._names:
            raise ValueError(
                f"the sums are of columns called {validation.shown(self._names)} and "
                f"{validation.shown(other._names)}; expected the same, in one order"
            )
        if self._made_by != other._made_by:
            raise ValueError(
                f"the sums were made by {self._made_by} and {other._made_by}; expected one and the "
                "same version, backend, and processors that all have fused multiply-adds, or none"
            )
        for node, following in pairwise(sorted((*self._nodes, *other._nodes), key=_first_row)):
            end, start = _first_row(node) + node.n, _first_row(following)
            if end > start:
                raise ValueError(f"the example {start} is in both sums")
            if node.n % EXAMPLES_PER_GROUP:
                raise ValueError(
                    f"a sum ends before the example {end}, and another one goes on at {start}; "
                    f"expected an end at a multiple of {EXAMPLES_PER_GROUP}"
                )
        both = object.__new__(GradientSum)
        both._sizes, both._functions = self._sizes, self._functions
        both._names, both._parameters = self._names, self._parameters
        both._made_by = self._made_by
        joined = JoinedSum()
        for node in self._nodes:
            joined.add(node)  # no neighbours among them: nothing is written
        for node in other._nodes:
            joined.add(_copied(node))
        both._nodes = tuple(joined.nodes())
        return both

    def __radd__(self, other: object) -> GradientSum:
        """0 + a sum, with which ``sum(parts)`` begins."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def gradient(self) -> Gradient:
        """∇C of the mean cost over all examples.

        Returns
        -------
        Gradient
            With ``.vector`` (P,) and ``.cost``.

        Raises
        ------
        ValueError
            If examples are missing before its last one, or there are none.
        FloatingPointError
            If the sum overflows.
        """
        row = 0
        for node in sorted(self._nodes, key=_first_row):
            if _first_row(node) != row:
                raise ValueError(f"the examples {row} to {_first_row(node) - 1} are in no sum yet")
            row += node.n
        if row == 0:
            raise ValueError("there are no examples in the sum; a gradient needs at least one")
        joined = JoinedSum()
        for node in self._nodes:
            joined.add(_copied(node))
        total = joined.total()
        vector = np.empty_like(total.arrays[0])
        try:
            cost = nodes.mean_gradient(total, row, vector, len(self._sizes) - 1)
        except nodes.NotFinite:
            raise FloatingPointError(
                f"the sum of the gradients is not finite: finite inputs and parameters overflowed "
                f"{vector.dtype}; scale them down"
            ) from None
        return Gradient(vector, cost, self._sizes)


def _first_row(node: Node) -> int:
    return (node.place << node.level) * EXAMPLES_PER_GROUP


def _copied(node: Node) -> Node:
    """To add to: a part's own arrays stay, and what came from elsewhere may be read-only."""
    return node._replace(arrays=tuple(array.copy() for array in node.arrays))
