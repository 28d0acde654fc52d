"""What `train` writes into a network's metadata, and what the other commands take from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from cbackprop import Network
from cbackprop.classes import by_itself
from cbackprop.tables import Column
from cbackprop.validation import shown

TASK, TARGET, COLUMNS = "task", "target", "columns"
SEED, HELD_OUT, STANDARDISED = "seed", "held out", "standardised"
# By which option each of them is said.
OPTIONS = {
    TASK: "--task",
    SEED: "--seed",
    HELD_OUT: "--validation-fraction",
    STANDARDISED: "--standardise",
}
LONGEST = 1 << 18  # letters: a model file's header has room for a million


def task(net: Network) -> str:
    """ "classification" where the largest output tells a class, "regression" or "" otherwise."""
    said = net.metadata.get(TASK)
    if said is not None:
        return said
    found = by_itself(net.activations[-1], net.sizes[-1], len(net.class_names or ()))
    return "classification" if found else ""


def classes(net: Network) -> list[str] | None:
    """The names of the classes in the order of the outputs, if the network has them."""
    names = net.class_names
    if names is None or len(names) != max(net.sizes[-1], 2) or task(net) == "regression":
        return None
    return list(names)


def columns(net: Network) -> tuple[Column, ...] | None:
    """What the network's inputs are made of, if not of columns of numbers alone."""
    text = net.metadata.get(COLUMNS)
    if text is None:
        return None
    found: tuple[Column, ...] = ()
    try:
        found = tuple(
            Column(
                name,
                None if words is None else tuple(words),
                fill is not None,
                tells_missing,
                math.nan if fill is None else fill,
            )
            for name, words, tells_missing, fill in json.loads(text)
        )
        names = [name for column in found for name in column.inputs()]
        if not all(_is_known(column) for column in found):
            names = []
    except (TypeError, ValueError, OverflowError, RecursionError):
        names = []
    # Of a table without a header the network has no names.
    if tuple(names) != (net.feature_names or tuple(names)) or len(names) != net.sizes[0]:
        raise ValueError(
            f"metadata of the model has columns {shown(text)}; expected those that its inputs are "
            "made of, as train writes them"
        )
    return found


def _is_known(column: Column) -> bool:
    """Whether what stands for a gap is a number, or there are no gaps."""
    return not column.may_miss or math.isfinite(column.fill) or column.categories is not None


def as_text(made_of: Sequence[Column]) -> str:
    """The same as metadata: what stands for a gap, or null where there may be none."""
    return json.dumps(
        [
            (name, categories, tells_missing, fill if may_miss else None)
            for name, categories, may_miss, tells_missing, fill in made_of
        ]
    )


def fit_into_a_file(names: Sequence[str]) -> bool:
    """Whether a model file can have these names."""
    return len(json.dumps(list(names))) <= LONGEST


def of_training(
    task: str,
    target: str | None,
    seed: int,
    share: float,
    standardised: str,
    made_of: Sequence[Column] | None,
) -> dict[str, str]:
    """The metadata of a network that is to be trained so."""
    texts = {TASK: task, SEED: str(seed), HELD_OUT: repr(share), STANDARDISED: standardised or "no"}
    if target is not None:
        texts[TARGET] = target
    if made_of is not None:
        texts[COLUMNS] = as_text(made_of)
    return texts


def require_same(own: Mapping[str, str], kept: Mapping[str, str], path: str) -> None:
    """Refuse to go on from the checkpoint of a training that was asked for otherwise."""
    for name, option in OPTIONS.items():
        if name in kept and name in own and kept[name] != own[name]:
            raise ValueError(
                f"checkpoint is {path!r}, of another training: {name} was {kept[name]} and is "
                f"{own[name]} now; expected the same ({option})"
            )
