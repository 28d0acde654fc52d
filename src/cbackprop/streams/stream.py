"""What reads examples for a call, whatever it reads them from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from cbackprop import nodes, validation
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.quantities import Failure
from cbackprop.sparse_rows import Examples
from cbackprop.streams.sources import Rows
from cbackprop.sums import EXAMPLES_PER_GROUP, NO_COST, CostSum, Join, JoinedSum, Node, added
from cbackprop.update_rules import StepOptions

# X (n, n_0) and Y (n, n_L) of some examples, judged.
Pair = tuple[Array, Array]


class PassOrder(NamedTuple):
    """The order of a pass over rows that come by slices alone: pieces, and the rows in each."""

    pieces: Array  # their numbers
    key: int  # of the words by which each piece's rows are ordered


class PassResult(NamedTuple):
    """What came of a pass of training."""

    failure: Failure | None
    cost: CostSum  # each example's when its batch came
    n: int  # examples
    examples: Pair  # the last piece's, or those of the failure


class Stream:
    """Examples that a call reads a piece at a time.

    Attributes
    ----------
    n : int or None
        How many there are; None where that is not known before they have come.
    tables : TableNames or None
        What their columns are called; None where that is not known before.
    shuffles_in_pieces : bool
        Whether `random_order` gives a `PassOrder`.
    known_targets : ndarray or None
        Y where it is in memory.
    has_warned : bool
        Whether a pass of training has looked for targets out of reach.
    """

    n: int | None = None
    shuffles_in_pieces = False
    known_targets: Array | None = None
    has_warned = False
    tables: validation.TableNames | None = None

    def pieces(
        self,
        model: Model,
        unit: int,
        order: Array | PassOrder | None = None,
        missing: bool | None = None,
        trains: bool = False,
    ) -> Iterator[Pair]:
        """One pass: pieces of whole units of so many examples, but for the last.

        Parameters
        ----------
        model : Model
            For which they are judged.
        unit : int
            Examples.
        order : optional
            One of `random_order`, or numbers of rows.
        missing : bool, optional
            As `validation.targets` takes it.
        trains : bool
            Whether the model is trained on them: it takes the names of tables' columns, and the
            first pass warns of targets out of reach.

        Raises
        ------
        TypeError, ValueError
            Naming the rows, or the chunk.
        """
        raise NotImplementedError

    def judge_options(
        self, asked: Mapping[str, object], is_whole_batch: bool, scales: object
    ) -> None:
        """Refuse what a fit on such examples cannot be asked for.

        Raises
        ------
        TypeError, ValueError
            Naming the option.
        """
        raise NotImplementedError

    def random_order(self, model: Model) -> Array | PassOrder | None:
        """An order for a pass, drawn from the model's generator; None for the source's own."""
        raise NotImplementedError

    def row_numbers(self, model: Model, order: Array | PassOrder) -> Array:
        """The numbers of all rows in this order."""
        raise NotImplementedError

    def examples(self, model: Model) -> Iterator[Array]:
        """X alone, a piece at a time."""
        raise NotImplementedError

    def memory(self) -> dict[str, Array]:
        """The arrays that are read, by their names: nothing may be written there meanwhile."""
        raise NotImplementedError

    def contents(self, model: Model) -> tuple[Examples | Rows, Array | Rows]:
        """X and Y as a fingerprint takes them; of no rows where they cannot be known again."""
        raise NotImplementedError

    # ---- sums over all examples ------------------------------------------------------------------

    def joined(
        self,
        model: Model,
        kind: nodes.Kind,
        weight: Array | None = None,
        join: Join = added,
        missing: bool | None = None,
        trains: bool = False,
    ) -> Node:
        """The sum of that kind over all examples, to the bit that over arrays in memory.

        Raises
        ------
        TypeError, ValueError
            As `pieces`.
        NotFinite
            If something that is summed is not.
        """
        total = JoinedSum(join)
        n = 0
        with model.engine.reading():
            for X, Y in self.pieces(model, EXAMPLES_PER_GROUP, missing=missing, trains=trains):
                first = n // EXAMPLES_PER_GROUP
                some = None if weight is None else weight[n : n + len(X)]
                for node in nodes.of_leaves(kind, model.engine, X, Y, some, first):
                    total.add(node)
                n += len(X)
                del X, Y  # which need not be there while the next piece comes
        validation.at_least_one_example("X", n, "a mean")
        return total.total()

    # ---- training --------------------------------------------------------------------------------

    def train(
        self,
        model: Model,
        batch_size: int,
        order: Array | PassOrder | None,
        sample_weight: Array | None,
        options: StepOptions | None,
        key: int,
    ) -> PassResult:
        """One pass with the steps, to the bit, of one over arrays in memory in this order."""
        cost, n = NO_COST, 0
        if sample_weight is not None and order is not None:
            sample_weight = sample_weight[self.row_numbers(model, order)]
        missing = options is not None and options.missing_targets
        X, Y = model.no_examples()
        for X, Y in self.pieces(model, batch_size, order, missing, True):
            weight = None if sample_weight is None else sample_weight[n : n + len(X)]
            failure, cost = model.engine.train(
                X, Y, None, batch_size, weight, options, key, None, n // batch_size, cost
            )
            n += len(X)
            if failure is not None:
                return PassResult(failure, cost, n, (X, Y))
            X, Y = model.no_examples()  # those need not be there while the next piece comes
        return PassResult(None, cost, n, (X, Y))


def in_units(pairs: Iterator[Pair], unit: int) -> Iterator[Pair]:
    """The same examples in pieces of whole units, but for the last; a unit begun is kept.

    Copied: a source may write its next rows where these were.
    """
    left: list[Pair] = []
    n_left = 0
    for X, Y in pairs:
        if n_left + len(X) >= unit:
            first = (unit - n_left) % unit
            if n_left > 0:
                yield _joined([*left, (X[:first], Y[:first])])
            end = len(X) - (len(X) - first) % unit
            if end > first:
                yield X[first:end], Y[first:end]
            X, Y = X[end:], Y[end:]
            left, n_left = [], 0
        left.append((X.copy(), Y.copy()))
        n_left += len(X)
        del X, Y
    if n_left > 0:
        yield _joined(left)


def _joined(parts: list[Pair]) -> Pair:
    X, Y = zip(*parts, strict=True)
    return np.concatenate(X), np.concatenate(Y)
