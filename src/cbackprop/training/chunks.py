"""Examples that come in chunks, from whatever can be gone through again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.sparse_rows import dense

# A chunk is a pair (X, Y); a function gives a new pass at each call.
Source = Iterable[tuple[object, object]] | Callable[[], Iterable[tuple[object, object]]]


class Chunks(NamedTuple):
    """A source of examples, which nobody has looked into yet."""

    source: Source

    def batches(
        self, model: Model, batch_size: int, missing: bool, warns: bool
    ) -> Iterator[tuple[Array, Array]]:
        """One pass: pieces of whole batches, but for the last; cut anew where chunks end in one.

        Judged as they come. The model takes the names of the first chunk's columns where it has
        none, and the later chunks are put in their order. ``warns`` of targets out of reach.

        Raises
        ------
        TypeError, ValueError
            Naming the chunk.
        """
        left: list[tuple[Array, Array]] = []  # of less than a batch, in memory of their own
        i = n_left = n = n_targets = 0
        for chunk in validation.one_pass(self.source):  # enumerate would keep the last one
            try:
                X, Y = _judged(model, chunk, missing)
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"in chunk {i}: {error}") from error
            del chunk
            if warns and validation.reachable_targets(f"in chunk {i}: Y", Y, model.activations[-1]):
                warns = False
            n, n_targets = n + len(X), n_targets + int(np.isfinite(Y).sum())
            if n_left + len(X) >= batch_size:
                first = (batch_size - n_left) % batch_size
                if n_left > 0:
                    yield _joined([*left, (X[:first], Y[:first])])
                end = len(X) - (len(X) - first) % batch_size
                if end > first:
                    yield X[first:end], Y[first:end]
                X, Y = X[end:], Y[end:]
                left, n_left = [], 0
            # Copied: a source may write its next chunk where this one was.
            left.append((X.copy(), Y.copy()))
            n_left += len(X)
            i += 1
            del X, Y
        if n_left > 0:
            yield _joined(left)
        validation.whole_pass(n, n_targets)


def _joined(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    X, Y = zip(*parts, strict=True)
    return np.concatenate(X), np.concatenate(Y)


def _judged(model: Model, chunk: object, missing: bool) -> tuple[Array, Array]:
    """A chunk's X (n, n_0) and Y (n, n_L), in memory of their own or the source's."""
    X, Y = validation.chunk(chunk)
    about = model.about
    tables = validation.table_names(about.feature_names, about.class_names, model.sizes, X, Y)
    X, Y = tables.pair(X, Y)
    model.take_names(tables)
    facts = model.sizes, model.dtype.name
    examples = dense(validation.batch("X", X, *facts))
    validation.require_finite("X", examples)
    targets = validation.targets(
        "Y", Y, len(examples), False, *facts, model.cost_function,
        missing=missing, class_names=about.class_names,
    )  # fmt: skip
    return model.apart(examples), model.apart(targets)
