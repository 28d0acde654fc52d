"""Examples that come in chunks, from whatever can be gone through again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.sparse_rows import dense
from cbackprop.streams.ahead import read_ahead
from cbackprop.streams.stream import Pair, PassOrder, Stream, in_units

# A chunk is a pair (X, Y); a function gives a new pass at each call.
Source = Iterable[tuple[object, object]] | Callable[[], Iterable[tuple[object, object]]]


_END = object()


class Chunks(Stream):
    """A source of chunks, which nobody has looked into yet.

    Judged as they come. Where the model has no names for the columns of tables, those of the first
    chunk are the order of the later ones; a model that is trained takes them.

    Parameters
    ----------
    source : iterable or callable
        What gives the chunks.
    argument : str
        What messages call it.
    missing : bool, optional
        As `validation.targets` takes it, where a pass is not told.
    names : TableNames, optional
        Of the columns, where the model has none.
    """

    def __init__(
        self,
        source: Source,
        argument: str = "X",
        missing: bool | None = None,
        names: validation.TableNames | None = None,
    ) -> None:
        self.source, self.argument, self.missing = source, argument, missing
        self.names = validation.TableNames(None, None) if names is None else names

    def pieces(
        self,
        model: Model,
        unit: int,
        order: Array | PassOrder | None = None,
        missing: bool | None = None,
        trains: bool = False,
    ) -> Iterator[Pair]:
        """As `Stream.pieces`, in the order of the source."""
        if missing is None:
            missing = self.missing
        chunks = read_ahead(self._chunks(model, True, missing, trains), self.source)
        return in_units(self._counted(model, chunks, trains and not self.has_warned), unit)

    def judge_options(
        self, asked: Mapping[str, object], is_whole_batch: bool, scales: object
    ) -> None:
        """As `Stream.judge_options`."""
        validation.options_with_chunks(asked, is_whole_batch, scales)

    def random_order(self, model: Model) -> None:
        """None: the order is the source's."""

    def memory(self) -> dict[str, Array]:
        """None is known; chunks are copied before the next one is asked for."""
        return {}

    def contents(self, model: Model) -> Pair:
        """Nothing by which chunks could be known again."""
        return model.no_examples()

    def examples(self, model: Model) -> Iterator[Array]:
        """X alone, chunk by chunk."""
        chunks = self._chunks(model, with_targets=False, missing=None, trains=False)
        return read_ahead((X for _, X, _ in chunks), self.source)

    def _counted(
        self, model: Model, chunks: Iterator[tuple[int, Array, Array]], warns: bool
    ) -> Iterator[Pair]:
        n = n_targets = 0
        for i, X, Y in chunks:
            if warns and validation.reachable_targets(f"in chunk {i}: Y", Y, model.activations[-1]):
                warns = False
            n, n_targets = n + len(X), n_targets + int(np.isfinite(Y).sum())
            yield X, Y
            del X, Y
        self.has_warned = True
        validation.whole_pass(self.argument, targets_of(self.argument), n, n_targets)

    def _chunks(
        self, model: Model, with_targets: bool, missing: bool | None, trains: bool
    ) -> Iterator[tuple[int, Array, Array]]:
        """The number of each chunk, its X (n, n_0) and its Y (n, n_L), in memory of their own."""
        facts = model.sizes, model.dtype.name
        features = model.about.feature_names or self.names.features
        classes = model.about.class_names or self.names.outputs
        chunks = iter(validation.one_pass(self.argument, self.source))
        for i in count():
            chunk = next(chunks, _END)
            if chunk is _END:
                return
            with _InChunk(i, self.argument):
                X, Y = validation.chunk(chunk)
                tables = validation.table_names(features, classes, model.sizes, X, Y)
                given = tables.pair(X, Y) if with_targets else (tables.examples("X", X), None)
                if trains:
                    model.take_names(tables)
                features, classes = features or tables.features, classes or tables.outputs
                examples = dense(validation.batch("X", given[0], *facts))
                validation.require_finite("X", examples)
                targets = model.no_examples()[1]
                if with_targets:
                    targets = validation.targets(
                        "Y", given[1], len(examples), False, *facts, model.cost_function,
                        missing=missing, class_names=classes,
                    )  # fmt: skip
            own = i, own_memory(examples, X), own_memory(targets, Y)
            del chunk, X, Y, given, examples, targets  # which need not be there meanwhile
            yield own
            del own


def targets_of(argument: str) -> str:
    """What messages call the targets of chunks that are called so."""
    return "Y" if argument == "X" else f"Y of {argument}"


class _InChunk:
    """``with _InChunk(i)``: messages name the chunk."""

    def __init__(self, i: int, argument: str) -> None:
        self.where = f"in chunk {i}" if argument == "X" else f"in chunk {i} of {argument}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (TypeError, ValueError)):
            named = TypeError if isinstance(error, TypeError) else ValueError
            raise named(f"{self.where}: {error}") from error


def own_memory(array: Array, given: object) -> Array:
    """In memory of its own: a source may write the next chunk, which is read ahead, where this is.

    Of lists NumPy has made an array, and of arrays another one where they had to be converted.
    """
    is_new = array.base is None and array is not given
    return (
        array
        if is_new and (validation.is_list(given) or validation.is_array(given))
        else array.copy()
    )
