"""Which examples are read a piece at a time."""

from __future__ import annotations

from cbackprop import validation
from cbackprop.model import Model
from cbackprop.streams.chunks import Chunks
from cbackprop.streams.rows import row_stream
from cbackprop.streams.stream import Stream


def stream_of_pairs(
    model: Model, X: object, Y: object, missing: bool | None = None
) -> Stream | None:
    """What reads X and Y, or X alone where it gives chunks of both; None for arrays.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    source = validation.chunk_source(X, Y)
    return row_stream(model, X, Y, missing=missing) if source is None else Chunks(source)


def stream_of_examples(model: Model, X: object) -> Stream | None:
    """What reads X, or the X of the chunks that a function gives; None for arrays."""
    if validation.is_chunk_function(X):
        return Chunks(X)  # type: ignore[arg-type]  # whatever it gives is judged as it comes
    return row_stream(model, X, None, with_targets=False)


def stream_to_judge(
    model: Model, given: object, missing: bool, tables: validation.TableNames
) -> Stream | None:
    """What reads validation data; None for a pair of arrays, or for what is none.

    ``tables`` are the names of the training data's columns.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    names = "validation_data[0]", "validation_data[1]"
    if validation.is_list(given):
        if len(given) != 2:
            return None
        return row_stream(model, given[0], given[1], names, missing, tables=tables)
    if validation.is_chunk_source(given):
        return Chunks(given, "validation_data", missing, tables)  # type: ignore[arg-type]  # judged as it comes
    return None
