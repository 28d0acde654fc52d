"""Examples that come in chunks: what may be a source of them, and what a fit cannot ask of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cbackprop.validation.scalars import attribute, is_flag, is_list, is_real, shown, wrong_type

# What needs to know all examples before the first step, and what is given for nothing of it.
OF_ALL_EXAMPLES = {
    "sample_weight": None,
    "class_weight": None,
    "validation_fraction": 0.0,
    "stratify": None,
}
A_SOURCE = "a source of chunks (X, Y) to go through again and again, or a function that returns one"


def chunk_source(X: object, Y: object) -> Any:
    """X where it stands for chunks, without a Y beside it; None where there is one."""
    if Y is not None:
        return None
    if issubclass(type(X), Iterator):
        raise wrong_type("X", X, f"{A_SOURCE}, for it comes to its end once")
    if not _may_be_source(X):
        raise TypeError(
            f"Y is None; expected an array of numbers, or {A_SOURCE} in the place of both, not "
            f"{shown(X)} ({type(X).__name__})"
        )
    return X


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
        if asked[name] is not nothing and not (is_real(asked[name]) and asked[name] == nothing):
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


def _refuse(name: str, value: object, expected: object) -> None:
    raise ValueError(f"{name} is {shown(value)} where X comes in chunks; expected {expected}")


def one_pass(source: Any) -> Iterable[object]:
    """The chunks from the first to the last."""
    chunks: Iterable[object] = source if hasattr(source, "__iter__") else source()
    if not hasattr(chunks, "__iter__"):
        raise wrong_type("the result of X()", chunks, "what gives pairs (X, Y)")
    return chunks


def chunk(value: object) -> tuple[object, object]:
    """One of a source's pairs."""
    if not is_list(value) or len(value) != 2:
        raise wrong_type("what came", value, "a pair (X, Y)")
    return value[0], value[1]


def whole_pass(n_examples: int, n_targets: int) -> None:
    """What must have come from a source: a fit to nothing at all would look like a perfect one."""
    if n_examples == 0:
        raise ValueError("X had no examples in any chunk; expected at least 1 for training")
    if n_targets == 0:
        raise ValueError("Y had nothing but nan in all chunks; expected some targets")
