"""What a network is about: names of its inputs and classes, free texts; and tables matched by name.

A table is what has ``columns``, whichever library it is from: none is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from cbackprop.validation import scalars
from cbackprop.validation.arrays import as_array, is_lazy
from cbackprop.validation.scalars import (
    attribute,
    is_array,
    is_list,
    is_mapping,
    is_text,
    shown,
    wrong_type,
)

Names = tuple[str, ...]
MOST_NAMES_SHOWN = 8


def feature_names(value: object, sizes: tuple[int, ...]) -> Names | None:
    """A name for each input, or None."""
    if value is None:
        return None
    return names("feature_names", value, (sizes[0],), f"sizes[0] is {sizes[0]}")


def class_names(value: object, sizes: tuple[int, ...]) -> Names | None:
    """A name for each output, or None; of one output also names of its two classes."""
    n_L = sizes[-1]
    if value is None:
        return None
    if n_L > 1:
        return names("class_names", value, (n_L,), f"sizes[-1] is {n_L}")
    because = "sizes[-1] is 1: the output's name, or those of the targets 0 (or -1) and 1"
    return names("class_names", value, (1, 2), because)


class Texts(dict[str, str]):
    """Texts by text, read-only; its copies and pickles are plain dicts."""

    def refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            "metadata cannot be changed in place; assign all of it: "
            "net.metadata = {**net.metadata, key: text}"
        )

    def __reduce__(self) -> tuple[type, tuple[dict[str, str]]]:
        return dict, (dict(self),)


for _name in (
    "__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"
):  # fmt: skip
    setattr(Texts, _name, Texts.refuse)


def metadata(value: object) -> Texts:
    """Texts by text, read-only; None is none."""
    if value is None:
        return Texts()
    if not is_mapping(value):
        raise wrong_type("metadata", value, "a dict of texts by text")
    texts: dict[str, str] = {}
    for key, entry in value.items():
        # Keys first: a message about an entry shows its key.
        name = unicode_text("a key of metadata", key)
        texts[name] = unicode_text(f"metadata[{shown(name)}]", entry)
    return Texts(texts)


def unicode_text(argument: str, value: object) -> str:
    """A string that every file can hold: without half of a surrogate pair."""
    word = scalars.text(argument, value)
    try:
        word.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(
            f"{argument} is {shown(word)}; expected Unicode, without lone surrogates"
        ) from None
    return word


def names_to_go_on_with(argument: str, own: Names | None, found: Names | None) -> Names | None:
    """The network's or the checkpoint's: a fit goes on with its columns in the order they had."""
    if own is not None and found is not None and own != found:
        raise ValueError(
            f"resume: the checkpoint has the {argument} {shown(found)}, this fit has {shown(own)}; "
            "expected the same"
        )
    return found if own is None else own


def same_names(argument: str, own: Names | None, used: Names | None) -> None:
    """What another call has called the columns meanwhile, they may not be in the order of."""
    if own is not None and used is not None and own != used:
        raise RuntimeError(
            f"{argument} has become {shown(list(own))} by another call while this one looked at "
            f"its examples by {shown(list(used))}; call again"
        )


# ---- tables --------------------------------------------------------------------------------------


class TableNames:
    """What the columns of tables are called; None where they go by position.

    ``zero`` is what the only column of targets is not called: the name of the target 0 (or −1).
    """

    def __init__(
        self, features: Names | None, outputs: Names | None, zero: str | None = None
    ) -> None:
        self.features, self.outputs, self.zero = features, outputs, zero

    def examples(self, argument: str, X: object) -> object:
        """A table X with its columns in the order of the features; anything else as it came."""
        return _in_order(argument, X, self.features, "feature_names")

    def pair(
        self, X: object, Y: object, arguments: tuple[str, str] = ("X", "Y")
    ) -> tuple[object, object]:
        """X likewise, and Y in that of the outputs."""
        if not (is_array(Y) or is_list(Y)):
            if self.zero is not None and _columns(arguments[1], Y) == (self.zero,):
                raise ValueError(
                    f"{arguments[1]} has the column {shown(self.zero)}, which class_names has for "
                    "the target 0 (or -1); expected a column that is 1 where the class is the other"
                )
            same_order_of_rows(arguments, X, Y)
        outputs = self.outputs
        if outputs is not None and len(outputs) > 1 and _is_one_column(arguments[1], Y):
            outputs = None  # of labels, say: what becomes of them the targets' shape says
        return self.examples(arguments[0], X), _in_order(arguments[1], Y, outputs, "class_names")


def table_names(
    feature_names: Names | None,
    class_names: Names | None,
    sizes: tuple[int, ...],
    X: object = None,
    Y: object = None,
) -> TableNames:
    """A network's names, and in the place of none those of X's and of Y's columns.

    The latter where they are texts. Two names of one output are those of its targets, and no
    column's.
    """
    features = _names_of_columns("X", X, sizes[0]) if feature_names is None else feature_names
    outputs = _names_of_columns("Y", Y, sizes[-1]) if class_names is None else class_names
    if outputs is not None and len(outputs) > sizes[-1]:
        return TableNames(features, None, outputs[0])
    return TableNames(features, outputs)


def no_table_to_judge_by(
    pair: object, tables: TableNames, own: tuple[Names | None, ...], too_late: str
) -> None:
    """Where X or Y is an array and names are still to come, its table would go by position.

    ``own`` are the network's feature_names and class_names, ``too_late`` what brings them. One
    column has but one place.
    """
    if not is_list(pair) or len(pair) != 2:
        return
    found = (tables.features, tables.outputs)
    for i, given in enumerate(("X", "Y")):
        value = pair[i]
        if found[i] is not None or own[i] is not None or is_array(value) or is_list(value):
            continue
        argument = f"validation_data[{i}]"
        labels = _columns(argument, value)
        if labels is None or len(labels) < 2 or all(scalars.is_real(name) for name in labels):
            continue
        raise ValueError(
            f"{argument} has the columns {shown(list(labels))}, and {given} has none; expected "
            f"a table as {given}, too, or {('feature_names', 'class_names')[i]}: {too_late} the "
            "names too late"
        )


def _in_order(argument: str, value: object, names: Names | None, attribute: str) -> object:
    """A table with its columns in the order of these names; anything else as it came.

    So is one example of a table, whose entries have labels. Labels that are numbers say no more
    than a place.
    """
    if names is None or is_array(value) or is_list(value):
        return value
    count = len(names)
    labels = _columns(argument, value)
    if labels is None:
        labels = _labels_of_one_example(argument, value, count)
    if labels is None or labels == names or all(scalars.is_real(name) for name in labels):
        return value
    places, misfit = in_order(labels, names)
    if misfit:
        raise ValueError(
            f"{argument} has the columns {shown(list(labels))}, {misfit}; expected those of "
            f"{attribute}, {shown(list(names))}, in any order (an array goes by position)"
        )
    array = as_array(argument, value)
    if array.ndim == 0 or array.shape[-1] != count:
        raise ValueError(
            f"{argument} has {count} columns and the shape {array.shape}; expected as many numbers "
            "in a row"
        )
    return array[..., places]


def in_order(found: Sequence[object], wanted: Sequence[str]) -> tuple[list[int], str]:
    """The place of each wanted name among those found, and in words what does not fit, if anything.

    What is found and no text fits nothing, and need not be hashable.
    """
    places = {name: place for place, name in enumerate(found) if isinstance(name, str)}
    known = set(wanted)
    missing = [name for name in wanted if name not in places]
    others = [name for name in found if not isinstance(name, str) or name not in known]
    parts = [f"without {some(missing)}"] if missing else []
    parts += [f"with {some(others)}"] if others else []
    if not parts and len(found) > len(wanted):
        repeated = first_repeated(tuple(found))
        parts = [f"with {shown(repeated)} {found.count(repeated)} times"]
    return [] if parts else [places[name] for name in wanted], " and ".join(parts)


def _names_of_columns(argument: str, value: object, count: int) -> Names | None:
    """Texts; None where no column has one, as numbers have it, or dates, or levels of labels."""
    labels = None if is_array(value) or is_list(value) else _columns(argument, value)
    if labels is None or len(labels) != count or not any(is_text(name) for name in labels):
        return None
    others = [name for name in labels if not is_text(name)]
    if others:
        raise TypeError(
            f"{argument} has the columns {shown(list(labels))}, with {some(others)} beside text; "
            "expected names that are all texts, or none of them"
        )
    return names(f"{argument}.columns", labels, (count,), "")


def _is_one_column(argument: str, value: object) -> bool:
    columns = None if is_array(value) or is_list(value) else _columns(argument, value)
    return columns is not None and len(columns) == 1


def same_order_of_rows(arguments: tuple[str, str], X: Any, other: Any) -> None:
    """What is of pandas', and has labels of rows that X has, too, has them in the same order.

    Rows go by position: those sorted or shuffled without the others would not belong together.
    """
    for argument, value in zip(arguments, (X, other), strict=True):
        if is_array(value) or is_list(value) or attribute(argument, value, "iloc") is None:
            return
    # The labels of one example are those of the columns.
    if X.ndim != 2 or X.index.equals(other.index):
        return
    one, other = list(X.index), list(other.index)
    if len(one) == len(other) and set(one) == set(other):
        place = next(i for i, label in enumerate(one) if label != other[i])
        raise ValueError(
            f"{arguments[0]} and {arguments[1]} have the same rows in another order, first at row "
            f"{place}: {shown(one[place])} and {shown(other[place])}; expected one order, such as "
            f"{arguments[1]}.loc[{arguments[0]}.index], or arrays, which go by position"
        )


def _columns(argument: str, value: object) -> tuple[object, ...] | None:
    """The labels of a table's columns; None where there are none, or a query has still to run."""
    columns = None if is_lazy(value) else attribute(argument, value, "columns")
    if columns is None:
        # polars' column of structs, which becomes an array of as many columns.
        fields = attribute(argument, attribute(argument, value, "dtype"), "fields")
        names = [getattr(field, "name", None) for field in fields] if is_list(fields) else []
        return tuple(names) or None
    try:
        labels: tuple[object, ...] = tuple(columns)
    except TypeError:
        return None
    if not any(isinstance(label, str) for label in labels):
        # pyarrow's tables have the columns themselves there.
        names = attribute(argument, value, "column_names")
        if is_list(names) and len(names) == len(labels):
            return tuple(names)
    return labels


def _labels_of_one_example(argument: str, value: Any, count: int) -> tuple[object, ...] | None:
    """Those of pandas' rows; one number alone has but one place, whatever it is called."""
    if count == 1 or not is_series(argument, value):
        return None
    labels: tuple[object, ...] = tuple(value.index)
    return labels if len(labels) == count else None


def is_series(argument: str, value: object) -> bool:
    """Whether it is pandas' array with a label for each entry."""
    return (
        attribute(argument, value, "ndim") == 1 and attribute(argument, value, "iloc") is not None
    )


def some(names: Sequence[object]) -> str:
    """The first of the names, as messages show them, and how many more there are."""
    first = ", ".join(map(shown, names[:MOST_NAMES_SHOWN]))
    more = len(names) - MOST_NAMES_SHOWN
    return f"{first} and {more} more" if more > 0 else first


# ---- names ---------------------------------------------------------------------------------------


def names(argument: str, value: Any, counts: tuple[int, ...] = (), because: str = "") -> Names:
    """Different texts, as many as one of ``counts`` says, or any number of them."""
    expected = f"{' or '.join(map(str, counts))} names".strip()
    if isinstance(value, (str, bytes, bytearray)) or scalars.has_no_order(value):
        raise wrong_type(argument, value, f"a sequence of {expected}")
    try:
        entries: tuple[object, ...] = tuple(value)
    except TypeError:
        raise wrong_type(argument, value, f"a sequence of {expected}") from None
    if counts and len(entries) not in counts:
        raise ValueError(
            f"{argument} has {len(entries)} entries; expected {expected} because {because}"
        )
    texts = tuple(unicode_text(f"{argument}[{i}]", entry) for i, entry in enumerate(entries))
    repeated = first_repeated(texts)
    if repeated is not None:
        raise ValueError(
            f"{argument} has {shown(repeated)} {texts.count(repeated)} times; "
            "expected every name once"
        )
    return texts


def first_repeated(names: tuple[Any, ...]) -> Any:
    """The first of them that stands there again, or None."""
    seen: set[Any] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
