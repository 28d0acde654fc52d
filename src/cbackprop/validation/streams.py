"""Examples that are read a piece at a time: what may be a source of them, and what a fit cannot ask
of one."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cbackprop.validation.arrays import is_sparse
from cbackprop.validation.scalars import (
    attribute,
    counted,
    is_array,
    is_flag,
    is_list,
    is_real,
    shown,
    wrong_type,
)

# What needs to know all examples before the first step, and what is given for nothing of it.
OF_ALL_EXAMPLES = {
    "sample_weight": None,
    "class_weight": None,
    "validation_fraction": 0.0,
    "stratify": None,
}
A_SOURCE = "a source of chunks (X, Y) to go through again and again, or a function that returns one"


# What has numbers in memory, by its own protocols, and tables, whose columns have names.
IN_MEMORY = ("__array_interface__", "__dlpack__", "__dataframe__", "iloc", "columns")


def is_row_source(argument: str, value: Any, dtype: str, and_plain: bool = False) -> bool:
    """Whether its rows are to be read as they are needed.

    Of memory-mapped arrays those that would be copied whole, unless also plain ones are asked for:
    these can be read where they are.
    """
    if type(value) is np.ndarray or is_list(value):
        return False
    if is_array(value):
        is_plain = value.flags.c_contiguous and value.flags.aligned and value.dtype.isnative
        has_rows = type(value) is np.memmap and value.ndim == 2
        return has_rows and (and_plain or not (is_plain and value.dtype == dtype))
    if is_sparse(argument, value) or not hasattr(value, "__getitem__"):
        return False
    shape = attribute(argument, value, "shape")
    if not is_list(shape) or len(shape) != 2:
        return False
    return all(attribute(argument, value, name) is None for name in IN_MEMORY)


def n_rows(argument: str, value: Any) -> int:
    """The first number of its shape."""
    if not hasattr(value, "shape") and not hasattr(value, "__len__"):
        raise TypeError(f"{argument} gave {shown(value)}; expected an array")
    n: Any = value.shape[0] if hasattr(value, "shape") else len(value)
    if not hasattr(n, "__index__") or n < 0:
        raise ValueError(
            f"{argument} has shape {value.shape}; expected a known number of rows"
            + ("; use .compute_chunk_sizes()" if hasattr(value, "compute_chunk_sizes") else "")
        )
    return operator.index(n)


def as_many_rows(argument: str, rows: object, n: int) -> None:
    """What a source gave must be what was asked for."""
    found = n_rows(argument, rows)
    if found != n:
        raise ValueError(f"{argument} gave {counted(found, 'row')}; expected {n}")


def as_many_rows_as(arguments: tuple[str, str], n: int, n_targets: int) -> None:
    """A row of targets for each example."""
    if n != n_targets:
        raise ValueError(
            f"{arguments[1]} has {counted(n_targets, 'row')} and {arguments[0]} has {n}; expected "
            "as many of one as of the other"
        )


def weights_of_counted(argument: str, weight: object, n: int | None) -> None:
    """Weights are of examples whose number is known."""
    if weight is not None and n is None:
        raise ValueError(
            f"{argument} is given where X comes in chunks; expected None, or arrays or a source "
            "with a shape"
        )


def room_for_rows(argument: str, room: int, n: int) -> None:
    """Rows that come without having been counted before must find room."""
    if n > room:
        raise ValueError(f"{argument} has {counted(room, 'row')}, and X has more; expected as many")


def rows_filled(argument: str, room: int, n: int) -> None:
    """Rows that come so must fill all of it."""
    if n < room:
        raise ValueError(f"{argument} has {counted(room, 'row')} and X has {n}; expected as many")


def chunk_source(X: object, Y: object, argument: str = "X") -> Any:
    """X where it stands for chunks, without a Y beside it; None where there is one."""
    if Y is not None:
        if is_chunk_function(X):
            raise TypeError(
                f"Y is given, and {argument} is {shown(X)}; expected arrays, or a function that "
                "gives pairs (X, Y) without Y beside it"
            )
        return None
    if issubclass(type(X), Iterator):
        raise wrong_type(argument, X, f"{A_SOURCE}, for it comes to its end once")
    if is_array(X):
        raise TypeError(f"Y is None; expected an array of numbers, as {argument} is one")
    if not _may_be_source(X):
        raise TypeError(
            f"Y is None; expected an array of numbers, or {A_SOURCE} in the place of both, not "
            f"{shown(X)} ({type(X).__name__})"
        )
    return X


def is_chunk_function(X: object) -> bool:
    """Whether it gives chunks, where what can be gone through may be examples: a function alone."""
    return callable(X) and _may_be_source(X)


def is_chunk_source(value: object) -> bool:
    """Whether it gives chunks, where a list may be a pair: what else can be gone through again."""
    return not is_list(value) and not isinstance(value, Iterator) and _may_be_source(value)


def _may_be_source(X: object) -> bool:
    if is_list(X):
        entries: Sequence[Any] = X
        return len(entries) > 0 and all(type(entry) is tuple for entry in entries)
    if issubclass(type(X), (str, bytes, Mapping, type)):
        return False
    if any(attribute("X", X, name) is not None for name in ("__array__", "shape")):
        return False
    return callable(X) or hasattr(X, "__iter__")


def options_with_chunks(asked: Mapping[str, object], is_whole_batch: bool, scales: object) -> None:
    """Refuse what looks at all examples at once."""
    for name, nothing in OF_ALL_EXAMPLES.items():
        if _is_given(name, asked[name]):
            _refuse(name, asked[name], nothing)
    if not is_flag(asked["shuffle"]):
        _refuse("shuffle", asked["shuffle"], "True or False, and the order of the source")
    if asked["sparse"] is True:
        _refuse("sparse", True, "'auto' or False")
    if asked["standardise"] is True:
        _refuse("standardise", True, "None or False")
    if asked["standardise"] is None and scales is not None:
        raise ValueError(
            "standardise is None where X comes in chunks and the network keeps scales; expected "
            "False, or arrays"
        )
    if is_whole_batch:
        _refuse("optimizer", asked["optimizer"], "one that takes its steps from batches")
    if asked["metrics"] and asked["validation_data"] is None:
        _refuse("metrics", asked["metrics"], "validation_data to measure them on")


def is_scaled(value: object, scales: object) -> bool:
    """Whether a fit is to train on standardised numbers."""
    return scales is not None if value is None else is_flag(value) and bool(value)


def needs_all_examples(asked: Mapping[str, object]) -> bool:
    """Whether something is asked for that looks at all examples at once: they are read whole then.

    Weights alone are not among them where the number of rows is known.
    """
    return (
        any(_is_given(name, asked[name]) for name in OF_ALL_EXAMPLES if name != "sample_weight")
        or asked["sparse"] is True
        or (bool(asked["metrics"]) and asked["validation_data"] is None)
    )


def _is_given(name: str, value: object) -> bool:
    nothing = OF_ALL_EXAMPLES[name]
    return value is not nothing and not (is_real(value) and value == nothing)


def order_of_slices(argument: str, value: object) -> None:
    """Rows that come by slices alone are not taken by their numbers."""
    if not is_flag(value):
        raise ValueError(
            f"{argument} is {shown(value)} where X and Y are read by slices; expected True or "
            "False, or arrays"
        )


def _refuse(name: str, value: object, expected: object) -> None:
    raise ValueError(f"{name} is {shown(value)} where X comes in chunks; expected {expected}")


def one_pass(argument: str, source: Any) -> Iterable[object]:
    """The chunks from the first to the last."""
    chunks: Iterable[object] = source if hasattr(source, "__iter__") else source()
    if not hasattr(chunks, "__iter__"):
        raise wrong_type(f"the result of {argument}()", chunks, "what gives pairs (X, Y)")
    return chunks


def chunk(value: object) -> tuple[object, object]:
    """One of a source's pairs."""
    if not is_list(value) or len(value) != 2:
        raise wrong_type("what came", value, "a pair (X, Y)")
    return value[0], value[1]


def whole_pass(argument: str, targets: str, n_examples: int, n_targets: int) -> None:
    """What must have come from a source: a fit to nothing at all would look like a perfect one."""
    if n_examples == 0:
        raise ValueError(
            f"{argument} had no examples in any chunk; expected at least 1, and of a function a "
            "new pass at each call"
        )
    if n_targets == 0:
        raise ValueError(f"{targets} had nothing but nan; expected some targets")
