"""Examples whose rows are read from sources that have a shape and slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np

from cbackprop import backend as backends
from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.random_numbers import RandomNumbers
from cbackprop.sparse_rows import Examples, dense
from cbackprop.streams import sources
from cbackprop.streams.ahead import read_ahead
from cbackprop.streams.sources import Judge, Rows, rows_in
from cbackprop.streams.stream import Pair, PassOrder, Stream, in_units
from cbackprop.sums import EXAMPLES_PER_GROUP

Piece = TypeVar("Piece", Array, Pair)


class RowStream(Stream):
    """X (n, n_0) and Y (n, n_L), each an array or `Rows`; of X alone Y has no columns that count.

    Attributes
    ----------
    takes_numbers : bool
        Whether rows can be had by their numbers: then a pass may go in any order.
    """

    def __init__(
        self,
        X: Array | Rows,
        Y: Array | Rows,
        arguments: tuple[str, str] = ("X", "Y"),
        tables: validation.TableNames | None = None,
    ) -> None:
        self.X, self.Y, self.arguments, self.tables = X, Y, arguments, tables
        self.n = self.n_rows = len(X)
        self.takes_numbers = all(
            isinstance(part, np.ndarray) or part.takes_numbers for part in (X, Y)
        )
        self.shuffles_in_pieces = not self.takes_numbers
        self.known_targets = Y if isinstance(Y, np.ndarray) else None
        row_bytes = sum(part.shape[1] * part.dtype.itemsize for part in (X, Y))
        self.rows_of_piece = max(rows_in(sources.PIECE_BYTES, row_bytes), EXAMPLES_PER_GROUP)
        self.rows_shuffled = rows_in(sources.SHUFFLED_BYTES, row_bytes)

    def memory(self) -> dict[str, Array]:
        """The arrays that are read, by their names."""
        named = zip(self.arguments, (self.X, self.Y), strict=True)
        parts = {name: part.source if isinstance(part, Rows) else part for name, part in named}
        return {name: part for name, part in parts.items() if validation.is_array(part)}

    def judge_options(
        self, asked: Mapping[str, object], is_whole_batch: bool, scales: object
    ) -> None:
        """As `Stream.judge_options`."""
        if not self.takes_numbers:
            validation.order_of_slices("shuffle", asked["shuffle"])

    def contents(self, model: Model) -> tuple[Examples | Rows, Array | Rows]:
        """X and Y, to be gone through."""
        return self.X, self.Y

    def random_order(self, model: Model) -> Array | PassOrder:
        """Of all rows, as arrays in memory have it; of slices alone that of pieces and in them."""
        if self.takes_numbers:
            return model.random_order(self.n_rows)
        n_pieces = -(-self.n_rows // self.rows_shuffled)
        return PassOrder(model.random_order(n_pieces), int(model.random.words(1)[0]))

    def pieces(
        self,
        model: Model,
        unit: int,
        order: Array | PassOrder | None = None,
        missing: bool | None = None,
        trains: bool = False,
    ) -> Iterator[Pair]:
        """As `Stream.pieces`, read ahead."""
        n = n_targets = 0
        name, output = self.arguments[1], model.activations[-1]
        warns = trains and not self.has_warned
        if warns and not isinstance(self.Y, Rows):
            validation.reachable_targets(name, self.Y, output)
            warns = False
        for X, Y in self._read(self._ordered(model, unit, order)):
            n_targets += int(np.isfinite(Y).sum())
            which = "some rows" if order is not None else f"rows {n} to {n + len(X) - 1}"
            if warns and validation.reachable_targets(f"in {which}: {name}", Y, output):
                warns = False
            n += len(X)
            yield X, Y
            del X, Y
        self.has_warned = self.has_warned or trains
        validation.whole_pass(*self.arguments, self.n_rows, n_targets)

    def _read(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        return read_ahead(pieces, *(p.source for p in (self.X, self.Y) if isinstance(p, Rows)))

    def examples(self, model: Model) -> Iterator[Array]:
        """X alone, a piece at a time."""
        return self._read(self.X[rows] for rows in self._slices(EXAMPLES_PER_GROUP))

    def _slices(self, unit: int) -> Iterator[slice]:
        step = max(self.rows_of_piece // unit, 1) * unit
        for start in range(0, self.n_rows, step):
            yield slice(start, min(start + step, self.n_rows))

    def _ordered(self, model: Model, unit: int, order: Array | PassOrder | None) -> Iterator[Pair]:
        if isinstance(order, PassOrder):
            return in_units(self._shuffled(model, order), unit)
        return (self._pair(rows if order is None else order[rows]) for rows in self._slices(unit))

    def _shuffled(self, model: Model, order: PassOrder) -> Iterator[Pair]:
        for start, places in self._places(model, order):
            X, Y = self._pair(slice(start, start + len(places)))
            yield X[places], Y[places]

    def _places(self, model: Model, order: PassOrder) -> Iterator[tuple[int, Array]]:
        """Where each piece begins, and its rows from there in an order of their own."""
        for piece in order.pieces.tolist():
            start = piece * self.rows_shuffled
            places = np.arange(min(self.rows_shuffled, self.n_rows - start), dtype=np.int64)
            words = RandomNumbers((order.key + piece) % 2**64).words(len(places))
            backends.shuffle(model.backend, model.dtype.name, places, words)
            yield start, places

    def row_numbers(self, model: Model, order: Array | PassOrder) -> Array:
        """As `Stream.row_numbers`."""
        if not isinstance(order, PassOrder):
            return order
        return np.concatenate([start + places for start, places in self._places(model, order)])

    def _pair(self, rows: slice | Array) -> Pair:
        return self.X[rows], self.Y[rows]


def row_stream(
    model: Model,
    X: object,
    Y: object,
    arguments: tuple[str, str] = ("X", "Y"),
    missing: bool | None = None,
    with_targets: bool = True,
    tables: validation.TableNames | None = None,
) -> RowStream | None:
    """A stream where one of them is a source that is more than a piece; None where neither is.

    ``tables`` are the names of the columns where they are not those of the model or these.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    facts = model.sizes, model.dtype.name
    about, widths = model.about, (model.sizes[0], model.sizes[-1])
    lazy = [
        name
        for name, given, width in zip(arguments, (X, Y), widths, strict=True)
        if validation.is_row_source(name, given, model.dtype.name, not with_targets)
        and validation.n_rows(name, given)
        > rows_in(sources.PIECE_BYTES, width * model.dtype.itemsize)
    ]
    if not lazy:
        return None
    if tables is None:
        tables = validation.table_names(about.feature_names, about.class_names, model.sizes, X, Y)

    def examples(name: str, rows: object) -> Array:
        array = dense(validation.batch(name, rows, *facts))
        validation.require_finite(name, array)
        return np.asarray(array)

    def targets(name: str, rows: object) -> Array:
        array = validation.targets(
            name, rows, validation.n_rows(name, rows), False, *facts, model.cost_function,
            arguments[0], missing, about.class_names,
        )  # fmt: skip
        return np.asarray(array)

    def part(i: int, given: object, judge: Judge) -> Array | Rows:
        if arguments[i] not in lazy:
            return judge(arguments[i], given)
        return Rows(arguments[i], given, judge, widths[i], model.dtype)

    if not with_targets:
        rows = part(0, tables.examples(arguments[0], X), examples)
        return RowStream(rows, np.empty((len(rows), 0), model.dtype), arguments)
    given_X, given_Y = tables.pair(X, Y, arguments)
    rows, of_rows = part(0, given_X, examples), part(1, given_Y, targets)
    validation.as_many_rows_as(arguments, len(rows), len(of_rows))
    return RowStream(rows, of_rows, arguments, tables)
