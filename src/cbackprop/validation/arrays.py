"""Arrays of numbers: examples, targets, weights, results, parameters."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop import quantities
from cbackprop.functions import COSTS, Array, Cost
from cbackprop.sparse_rows import Examples, SparseRows, in_order_of_columns, numbers_of
from cbackprop.validation.scalars import (
    attribute,
    counted,
    is_array,
    is_list,
    is_text,
    refuse_masked_entries,
    shown,
    wrong_type,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Advice = Callable[[str], str]  # what to do with labels that are written so
MANY_NUMBERS = 1 << 13  # whose sum takes less time than looking at each
LARGEST_ARRAY = sys.maxsize // 8  # numbers; float64 ones then take as many bytes as there can be


def numbers(
    argument: str,
    value: object,
    dtype: str,
    text_advice: Advice | None = None,
    place_of: Callable[[np.intp], tuple[np.intp, ...]] | None = None,
) -> Array:
    """Real numbers as a C-contiguous, aligned, native array of ``dtype``, in any shape.

    The caller's own array where it is one already; a copy otherwise. Numbers that are not finite
    pass; `require_finite` looks for them. ``text_advice`` ends the message where labels come,
    ``place_of`` says where an entry stands in what the user has.
    """
    array = as_array(argument, value, text_advice)
    try:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            converted = np.require(array, dtype=dtype, requirements=["C", "A"])
    except MemoryError:
        raise MemoryError(
            f"{argument} has shape {array.shape}: a contiguous copy takes "
            f"{array.size * np.dtype(dtype).itemsize} bytes, more than can be had"
        ) from None
    if array.dtype.kind == "f" and array.dtype.itemsize > converted.dtype.itemsize:
        lost = np.isinf(converted) & np.isfinite(array)
        if lost.any():
            index = _first(lost)
            place = index if place_of is None else place_of(*index)
            raise ValueError(
                f"{argument} has {array[index]!s} at {_place(place)}, which overflows {dtype}; "
                f"expected numbers up to {np.finfo(dtype).max:.4g}"
            )
    return converted


def as_array(argument: str, value: object, text_advice: Advice | None = None) -> Array:
    if type(value) is not np.ndarray:
        _refuse_what_is_no_array(argument, value)
        refuse_masked_entries(argument, value)
    try:
        array = np.asarray(_in_memory(value))
        if array.dtype.kind == "O":
            array = _from_nullable(argument, value, array)
    except MemoryError:
        raise
    except Exception as error:
        raise _no_array(argument, value, error) from error
    if type(value) is not np.ndarray:
        _refuse_columns(argument, value, array, text_advice)
    if array.dtype.kind == "O" and not is_array(value):
        if array.ndim == 0:
            raise wrong_type(argument, value, "an array of numbers")
        array = _from_large_integers(argument, array)
    if array.dtype.kind not in "fiub":
        advice = ""
        if _holds_text(array):
            advice = _not_text(argument, value, array, text_advice)
        elif array.dtype.kind == "O":
            as_floats = f"np.asarray({argument}, float)"
            if _has(value, "astype"):
                as_floats = f"{argument}.astype(float)"
            advice = f"; use {as_floats} if every entry is one"
        raise TypeError(f"{argument} has dtype {array.dtype}; expected real numbers{advice}")
    return array


def _in_memory(value: Any) -> Any:
    """The rows of what has a shape and slices, and does not become an array by itself."""
    if is_list(value) or _has(value, "__array__") or not _has(value, "__getitem__"):
        return value
    shape = getattr(value, "shape", None)
    return value[0 : shape[0]] if is_list(shape) and len(shape) > 0 else value


def _is_no_array(value: object) -> bool:
    return isinstance(value, (str, bytes, bytearray, Mapping, Set, Iterator))


def _refuse_what_is_no_array(argument: str, value: Any) -> None:
    """Objects that NumPy would take for one number, or for something they are not."""
    if value is None:
        raise TypeError(f"{argument} is None; expected an array of numbers")
    if _is_no_array(value):
        raise wrong_type(argument, value, "an array of numbers")
    if is_lazy(value):
        raise TypeError(
            f"{argument} is a {type(value).__name__}, which is a query; expected its numbers: use "
            ".collect()"
        )
    if is_sparse(argument, value):
        raise TypeError(
            f"{argument} is a sparse {type(value).__name__}; expected a dense array: use .toarray()"
        )


def is_sparse(argument: str, value: object) -> bool:
    """Whether it is a matrix or an array of scipy.sparse, or looks like one."""
    if type(value) is np.ndarray:
        return False
    return None not in (attribute(argument, value, "toarray"), attribute(argument, value, "nnz"))


def _has_sparse_rows(argument: str, value: object) -> bool:
    return is_sparse(argument, value) and _has(value, "tocsr")


def sparse_rows(argument: str, value: Any, n_0: int, dtype: str) -> tuple[SparseRows, bool]:
    """The numbers of a scipy.sparse matrix or array (n, n_0), and whether it was one example.

    Where several numbers stand in one place, their sum stands there.
    """
    shape = tuple(value.shape)
    single = shape == (n_0,)
    if not (single or (len(shape) == 2 and shape[1] == n_0)):
        raise ValueError(
            f"{argument} is a sparse {type(value).__name__} of shape {shape}; "
            f"expected (n, {n_0}) because sizes[0] is {n_0}"
            f"{_advice_on_examples(argument, value, shape, n_0)}"
        )
    csr = value.tocsr()
    n = 1 if single else shape[0]
    given: list[Array] = [np.asarray(getattr(csr, name)) for name in ("indptr", "indices", "data")]
    starts, columns = given[0].astype(np.int64), given[1].astype(np.int32)
    # Compiled code will trust them, and anybody may have written into the matrix's own.
    if (
        starts.shape != (n + 1,)
        or starts[0] != 0
        or (np.diff(starts) < 0).any()
        or any(len(array) < starts[-1] for array in given[1:])
        or (columns[: starts[-1]] != given[1][: starts[-1]]).any()
        or columns.min(initial=0) < 0
        or columns.max(initial=-1) >= n_0
    ):
        raise ValueError(
            f"{argument} is a sparse {type(value).__name__} whose indptr and indices name places "
            f"outside {shape}; expected those of one example after the other"
        )
    columns, values = columns[: starts[-1]], given[2][: starts[-1]]
    rows = SparseRows(starts, columns, values, n_0)
    later = np.ones(len(columns), bool)
    later[1:] = columns[1:] > columns[:-1]
    later[starts[:-1][np.diff(starts) > 0]] = True
    if not later.all():
        rows = in_order_of_columns(rows)

    def place_of(entry: np.intp) -> tuple[np.intp, ...]:
        return rows.rows[entry], rows.columns[entry]

    values = numbers(argument, rows.values, dtype, place_of=place_of)
    if (values == 0).any():
        values = values + 0  # -0 is 0 then, as toarray() has it
    return SparseRows(rows.starts, rows.columns, values, n_0), single


def _refuse_columns(argument: str, value: Any, array: Array, text_advice: Advice | None) -> None:
    """Those of a data frame, which became this array, that have no numbers."""
    columns, dtypes = (attribute(argument, value, name) for name in ("columns", "dtypes"))
    fields = attribute(argument, attribute(argument, value, "dtype"), "fields")
    if columns is None and is_list(fields):  # polars' column of structs
        columns, dtypes = (
            [getattr(field, name, None) for field in fields] for name in ("name", "dtype")
        )
    if columns is not None and dtypes is not None:
        for column, dtype in zip(columns, dtypes, strict=False):
            if not _is_of_numbers(dtype):
                advice = ""
                if array.ndim > 0 and array.size == len(array) and _holds_text(array):
                    advice = _not_text(argument, value, array, text_advice)
                raise TypeError(
                    f"{argument} has dtype {dtype} in column {column!r}; expected real numbers"
                    f"{advice}"
                )


def _is_of_numbers(dtype: object) -> bool:
    """Whether a data frame's column of such a type has numbers, or gaps alone, which are NaN.

    polars' types have no kind, and its frames make numbers of dates and times.
    """
    is_numeric = getattr(dtype, "is_numeric", None)
    if hasattr(dtype, "kind") or not callable(is_numeric):
        return getattr(dtype, "kind", "f") in "fiub"
    return bool(is_numeric()) or str(dtype) in ("Boolean", "Null")


def is_lazy(value: object) -> bool:
    """Whether it is a table still to be computed, such as polars' LazyFrame."""
    return _has(value, "collect") and not _has(value, "__array__")


def _from_nullable(argument: str, value: Any, objects: Array) -> Array:
    """The numbers of pandas' types some of which may be missing, which are NaN; else the objects.

    NumPy makes objects of those, and of columns of which only some are of such a type.
    """
    dtypes = attribute(argument, value, "dtypes")
    try:
        types: tuple[object, ...] = tuple(dtypes)
    except TypeError:
        types = (dtypes,)  # of a column
    kinds = {getattr(dtype, "kind", "O") for dtype in types}
    if not (_has(value, "isna") and _has(value, "to_numpy") and kinds <= {*"fiub"}):
        return objects
    array: Array = value.to_numpy(dtype="float64", na_value=np.nan)
    return array


def _no_array(argument: str, value: object, error: Exception) -> TypeError | ValueError:
    """What to raise for a value that NumPy made no array of."""
    if isinstance(error, OverflowError):
        return _too_large(argument)
    if isinstance(error, ValueError) and not hasattr(value, "__array__"):
        return ValueError(
            f"{argument} is {shown(value)}; expected a rectangular array of numbers ({error})"
        )
    return TypeError(
        f"{argument} is {shown(value)} ({type(value).__name__}), which does not become an array "
        f"({error}); expected an array of numbers"
    )


def _too_large(argument: str) -> ValueError:
    return ValueError(
        f"{argument} has an integer too large for a float; "
        f"expected numbers up to {np.finfo(np.float64).max:.4g}"
    )


def _from_large_integers(argument: str, array: Array) -> Array:
    """Python integers beyond 64 bits make an object array; as floats they may still do."""
    if array.size and all(type(entry) in (int, float, bool) for entry in array.flat):
        try:
            return array.astype(np.float64)
        except OverflowError:
            raise _too_large(argument) from None
    return array


def _holds_text(array: Array) -> bool:
    """Whether its entries are words: by its type, or by that of the first that is not missing."""
    if array.dtype.kind != "O":
        return array.dtype.kind in "SUT"
    return is_text(next((entry for entry in array.flat if not _is_missing(entry)), None))


def _is_missing(entry: object) -> bool:
    """Whether it is None, NaN, NaT or pandas' NA."""
    kind = type(entry)
    if kind.__name__ in ("NAType", "NaTType"):
        return True
    may_be_nan = issubclass(kind, (float, np.floating, np.datetime64, np.timedelta64))
    return entry is None or (may_be_nan and entry != entry)


def missing_label(argument: str, value: object, labels: Array) -> ValueError | None:
    """What to raise where not every example has a label.

    NumPy makes texts of all that a list has beside some.
    """
    if labels.dtype.kind == "U" and is_list(value):
        labels = np.array(value, object)
    for row, entry in enumerate(labels.flat if labels.dtype.kind in "OMm" else ()):
        if _is_missing(entry):
            return ValueError(
                f"{argument} has missing labels, the first of them {entry} at row {row}; "
                "expected one for each example"
            )
    return None


def _not_text(argument: str, value: object, array: Array, advice: Advice | None) -> str:
    """The end of a message about an array of words, with advice where they may be labels."""
    if advice is None or array.ndim == 0 or array.size != len(array):
        return ", not text"
    missing = missing_label(argument, value, array)
    if missing is not None:
        raise missing
    # One column more than NumPy's numbering takes; and pyarrow's entries are not Python's.
    plain = is_array(value) or is_list(value) or attribute(argument, value, "iloc") is not None
    return ", not text" + advice(argument if array.ndim == 1 and plain else f"np.ravel({argument})")


def _has(value: object, method: str) -> bool:
    return callable(getattr(type(value), method, None))


def _reshaped(argument: str, value: object, shape: str) -> str:
    """How the user brings it into a shape: lists and data frames have no reshape of their own."""
    if _has(value, "reshape"):
        return f"use {argument}.reshape({shape})"
    if _has(value, "to_numpy"):
        return f"use {argument}.to_numpy().reshape({shape})"
    return f"use np.reshape({argument}, ({shape}))"


def require_finite(
    argument: str, examples: Examples, but_nan: bool = False, hint: str = ""
) -> None:
    """No infinity and, unless ``but_nan``, no NaN; ``hint`` is for those who have some."""
    # A block at a time: no temporary as large as the data.
    array = numbers_of(examples)
    flat = array.reshape(-1)
    for start in range(0, flat.size, 1 << 20):
        block = flat[start : start + (1 << 20)]
        if block.size >= MANY_NUMBERS and _has_finite_sum(block):
            continue
        wrong = np.isinf(block) if but_nan else ~np.isfinite(block)
        if wrong.any():
            index = np.unravel_index(start + int(np.argmax(wrong)), array.shape)
            place = index
            if isinstance(examples, SparseRows):
                place = examples.rows[index], examples.columns[index]
            raise ValueError(
                f"{argument} has {float(array[index])!r} at {_place(place)}; "
                f"expected finite numbers{hint if np.isnan(array[index]) else ''}"
            )


def _has_finite_sum(block: Array) -> bool:
    """Then all of it is finite; where it is not, that may be the sum's own overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.add.reduce(block)))


def _first(wrong: Array) -> tuple[np.intp, ...]:
    return np.unravel_index(int(np.argmax(wrong)), wrong.shape)


def _place(index: tuple[np.intp, ...]) -> str:
    return f"[{', '.join(str(int(i)) for i in index)}]"


def examples(argument: str, X: object, sizes: tuple[int, ...], dtype: str) -> tuple[Examples, bool]:
    """X as (n, n_0), and whether it was a single example (n_0,)."""
    if _has_sparse_rows(argument, X):
        return sparse_rows(argument, X, sizes[0], dtype)
    array = numbers(argument, X, dtype)
    n_0 = sizes[0]
    if array.ndim == 1 and array.shape[0] == n_0:
        return array.reshape(1, n_0), True
    if array.ndim != 2 or array.shape[1] != n_0:
        raise ValueError(
            f"{argument} has shape {array.shape}; expected (n, {n_0}) "
            f"because sizes[0] is {n_0}{_advice_on_examples(argument, X, array.shape, n_0)}"
        )
    return array, False


def _advice_on_examples(argument: str, X: object, shape: tuple[int, ...], n_0: int) -> str:
    """What brings an array of this shape to (n, n_0), if anything does."""
    if len(shape) == 1:
        if n_0 == 1:
            return f"; {_reshaped(argument, X, '-1, 1')}"
        return f", or ({n_0},) for one example"
    if len(shape) > 2 and shape[0] > 0 and math.prod(shape[1:]) == n_0:  # pictures, say
        return f"; {_reshaped(argument, X, f'len({argument}), -1')}"
    if len(shape) == 2 and shape[0] == n_0:
        return "; the transpose has that shape"
    if len(shape) > 1 and math.prod(shape) == n_0:
        return f"; {_reshaped(argument, X, '1, -1')} for one example"
    return ""


def batch(argument: str, X: object, sizes: tuple[int, ...], dtype: str) -> Examples:
    """X as (n, n_0), for the calls that want examples in rows and nothing else."""
    array, single = examples(argument, X, sizes, dtype)
    if single:
        raise ValueError(
            f"{argument} has shape ({array.shape[1]},); expected (n, {array.shape[1]}): "
            f"{_reshaped(argument, X, '1, -1')} for one example"
        )
    return array


def targets(
    argument: str,
    Y: object,
    n: int,
    single: bool,
    sizes: tuple[int, ...],
    dtype: str,
    cost: str | Cost,
    examples_argument: str = "X",
    missing: bool | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Array:
    """Y as (n, n_L), finite, and in the range the cost asks for.

    With ``missing`` NaN passes, for a target that is not there; None where the call knows no such.
    ``class_names`` are for the advice where words come.
    """
    n_L = sizes[-1]
    array = numbers(argument, Y, dtype, partial(_advice_on_names, n_L, class_names))
    if single and array.shape == (n_L,):
        array = array.reshape(1, n_L)
    elif array.ndim != 2 or array.shape[1] != n_L or single:
        expected = f"({n_L},)" if single else f"(n, {n_L})"
        raise ValueError(
            f"{argument} has shape {array.shape}; expected {expected} "
            f"because sizes[-1] is {n_L}{_advice_on_targets(argument, Y, array, n, single, n_L)}"
        )
    if array.shape[0] != n:
        raise ValueError(
            f"{argument} has {counted(array.shape[0], 'row')} and {examples_argument} has {n}; "
            "expected as many of one as of the other"
        )
    hint = "" if missing is None else "; missing_targets=True leaves out what is nan"
    require_finite(argument, array, bool(missing), hint)
    low, high = COSTS[cost].target_range if isinstance(cost, str) else (-np.inf, np.inf)
    wrong = (array < low) | (array > high)
    if wrong.any():
        index = _first(wrong)
        expected = f"numbers in [{low:g}, {high:g}]" if high < np.inf else f"numbers >= {low:g}"
        raise ValueError(
            f"{argument} has {float(array[index])!r} at {_place(index)}; "
            f"expected {expected} because the cost is {cost!r}"
        )
    return array


def _numbered(labels: str) -> str:
    return f"np.unique({labels}, return_inverse=True)[1]"


def _advice_on_names(n_L: int, class_names: tuple[str, ...] | None, labels: str) -> str:
    """What makes targets of names of classes."""
    order, numbered = "of the alphabet", _numbered(labels)
    known = f"datasets.classes({labels})"
    if class_names is not None and len(class_names) == max(n_L, 2):
        order, numbered = "of class_names", f"[net.class_names.index(y) for y in {labels}]"
        known = "net.class_names"
    targets = f"np.reshape({numbered}, (-1, 1))"
    if n_L > 1:
        targets = f"datasets.one_hot({labels}, {known})"
    return f"; names of classes, in the order {order}, become targets by {targets}"


def _advice_on_targets(
    argument: str, Y: object, array: Array, n: int, single: bool, n_L: int
) -> str:
    """What brings this array to (n, n_L), or to (n_L,) for one example, if anything does."""
    shape = array.shape
    if single:
        return f"; {_reshaped(argument, Y, '-1')}" if array.size == n_L else ""
    if len(shape) == 1 and n_L == 1:
        return f"; {_reshaped(argument, Y, '-1, 1')}"
    if len(shape) > 2 and shape[0] > 0 and math.prod(shape[1:]) == n_L:
        return f"; {_reshaped(argument, Y, f'len({argument}), -1')}"
    if len(shape) == 2 and shape == (n_L, n):
        return "; the transpose has that shape"
    if shape == (n_L,) and n == 1:
        return f"; {_reshaped(argument, Y, '1, -1')}"
    is_column = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    if n_L > 1 and is_column and array.size and (array == np.rint(array)).all():
        outside = array[(array < 0) | (array >= n_L)]
        if outside.size:
            return f"; class labels are 0 to {n_L - 1}, and {argument} has {outside.flat[0]:g}"
        labels = argument if len(shape) == 1 else f"np.ravel({argument})"
        return f"; class labels become targets by datasets.one_hot({labels}, {n_L})"
    return ""


def class_labels(argument: str, value: object) -> NDArray[np.integer[Any]]:
    """Integers (n,), whatever they are."""

    def advice(labels: str) -> str:
        return f"; datasets.classes({labels}) in the place of k takes them"

    array = as_array(argument, value, advice)
    if array.size == 0 and isinstance(value, (list, tuple)):
        array = array.astype(np.intp)  # NumPy calls [] a float array
    if array.dtype.kind not in "iu":
        hint = ""
        if array.dtype.kind == "f":
            require_finite(argument, array)  # a missing label, which .astype(int) would invent
            hint = "; use .astype(int) if the values are whole"
        raise TypeError(f"{argument} has dtype {array.dtype}; expected an integer dtype{hint}")
    if array.ndim != 1:
        raise ValueError(f"{argument} has shape {array.shape}; expected (n,)")
    return array


def at_least_one_example(argument: str, n: int, what: str) -> None:
    """A mean over no examples is no number."""
    if n == 0:
        raise ValueError(f"{argument} has 0 examples; expected at least 1 for {what}")


def sample_weight(argument: str, weight: object, n: int, dtype: str) -> tuple[Array | None, float]:
    """Weights (n,) ≥ 0, not all 0, and their sum; None is 1 for each example.

    Float64 numbers of as many digits as ``dtype`` has. Only their ratios matter: all are multiplied
    by one power of 4, so that the largest lies in [1, 4) and neither a sum nor its inverse leaves
    the numbers. That changes no digit, nor does it one of a square root.
    """
    if weight is None:
        return None, float(n)
    array = numbers(argument, weight, "float64")
    if array.shape != (n,):
        raise ValueError(
            f"{argument} has shape {array.shape}; expected ({n},), one for each example"
        )
    require_finite(argument, array)
    if (array < 0).any():
        index = _first(array < 0)
        raise ValueError(
            f"{argument} has {float(array[index])!r} at {_place(index)}; expected numbers >= 0"
        )
    largest = float(array.max(initial=0.0))
    if largest == 0:
        raise ValueError(f"{argument} has the sum 0.0; expected a sum > 0")
    digits, exponents = np.frexp(array)
    even = (math.frexp(largest)[1] - 1) // 2 * 2
    scaled = np.ldexp(digits.astype(dtype).astype(np.float64), exponents - even)
    return scaled, float(scaled.sum())


def mean_or_each(
    per_example: bool, weight: object, n: int, what: str, dtype: str
) -> tuple[Array | None, float]:
    """The weights of a mean and their sum; an example's own cost or gradient has none."""
    if per_example:
        if weight is not None:
            raise ValueError(
                "sample_weight is given with per_example=True; expected None: each example's own "
                "value is not weighted"
            )
    else:
        at_least_one_example("X", n, what)
    return sample_weight("sample_weight", weight, n, dtype)


def pair(
    X: object,
    Y: object,
    sizes: tuple[int, ...],
    dtype: str,
    cost: str | Cost,
    names: tuple[str, str] = ("X", "Y"),
    missing: bool | None = None,
    class_names: tuple[str, ...] | None = None,
) -> tuple[Examples, Array, bool]:
    """X (n, n_0) and Y (n, n_L), and whether they came as a single example."""
    checked, single = examples(names[0], X, sizes, dtype)
    checked_Y = targets(
        names[1], Y, len(checked), single, sizes, dtype, cost, names[0], missing, class_names
    )
    return checked, checked_Y, single


def one_example(x: Any, y: Any, n_L: int) -> tuple[Array, Array]:
    """x and y of one example: (n_0,) and (n_L,), or one row of each, which becomes them."""
    result: list[Array] = []
    for argument, value in (("x", x), ("y", y)):
        is_sparse_x = argument == "x" and _has_sparse_rows(argument, value)
        array = as_array(argument, value.toarray() if is_sparse_x else value)
        if array.ndim == 2 and array.shape[0] == 1:
            array = array[0]
        elif array.ndim != 1:
            is_label = argument == "y" and array.ndim == 0 and array.dtype.kind in "iu" and n_L > 1
            way = f"; a class label becomes targets by datasets.one_hot([y], {n_L})"
            hint = way if is_label else ""
            raise ValueError(f"{argument} has shape {array.shape}; expected one example{hint}")
        result.append(array)
    return result[0], result[1]


def output_array(
    argument: str, out: object, shape: tuple[int, ...], dtype: str, others: Mapping[str, Array]
) -> Array:
    """The caller's array for results: exactly the right one, and none of ``others``' memory."""
    if not is_array(out) or type(out) not in (np.ndarray, np.memmap):
        # Of another subclass nobody knows what assignment does: a mask may keep the results out.
        raise TypeError(f"{argument} is {type(out).__name__}; expected a NumPy array")
    if out.dtype != np.dtype(dtype) or not out.dtype.isnative:
        raise TypeError(f"{argument} has dtype {out.dtype}; expected {dtype}")
    if out.shape != shape:
        raise ValueError(f"{argument} has shape {out.shape}; expected {shape}")
    if not (out.flags.c_contiguous and out.flags.aligned):
        raise ValueError(
            f"{argument} has strides {out.strides}; expected a C-contiguous, aligned array"
        )
    if not out.flags.writeable:
        raise ValueError(f"{argument} is read-only; expected a writeable array")
    for name, other in others.items():
        if np.shares_memory(out, other):
            raise ValueError(f"{argument} overlaps {name}; expected memory of its own")
    return np.asarray(out)


def result_size(what: str, n: int, width: int) -> None:
    """Reject sizes no array can have before asking for the memory."""
    if n * width > LARGEST_ARRAY:
        raise ValueError(
            f"X has {n} examples: {what} would have {n * width} numbers; "
            f"expected at most {LARGEST_ARRAY}"
        )


def parameter_vector(argument: str, value: object, n_parameters: int, dtype: str) -> Array:
    """A number for each parameter (P,), finite."""
    array = numbers(argument, value, dtype)
    if array.shape != (n_parameters,):
        raise ValueError(f"{argument} has shape {array.shape}; expected ({n_parameters},)")
    require_finite(argument, array)
    return array


def rows_of_numbers(
    argument: str, value: object, n: int, width: int, single: bool, dtype: str, reason: str
) -> Array:
    """Finite numbers (n, width), a row for each example of X; (width,) where that is a single one.

    ``reason`` is why there are so many in a row.
    """
    array = numbers(argument, value, dtype)
    shape = (width,) if single else (n, width)
    if array.shape != shape:
        raise ValueError(
            f"{argument} has shape {array.shape}; expected {shape}, a row for each example of X, "
            f"because {reason} is {width}"
        )
    require_finite(argument, array)
    return array.reshape(n, width)


def two_outputs(argument: str, value: object) -> tuple[object, object]:
    """Two arrays for results, or None in the place of either, as a pair."""
    if value is None:
        return None, None
    pair: Any = value  # Any: of whatever length
    if type(value) is not tuple or len(pair) != 2:
        raise TypeError(f"{argument} is {type(pair).__name__}; expected a tuple of two arrays")
    return pair[0], pair[1]


def some_direction(**given: object) -> None:
    """One at least of what may move the outputs."""
    if all(value is None for value in given.values()):
        raise ValueError(f"{' and '.join(given)} are None; expected one of them at least")


def both_or_neither(*pair: tuple[str, object]) -> None:
    """Two optional arguments that make sense together only."""
    (name, value), (other_name, other) = pair
    if (value is None) != (other is None):
        missing, given = (name, other_name) if value is None else (other_name, name)
        raise ValueError(f"{missing} is None with {given} given; expected both or neither")


def require_finite_parameters(weights: tuple[Array, ...], biases: tuple[Array, ...]) -> None:
    """No NaN and no infinity was written into the live views."""
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True), start=1):
        for kind, array in (("weights", W), ("biases", b)):
            wrong = ~np.isfinite(array)
            if wrong.any():
                index = _first(wrong)
                raise ValueError(
                    f"{kind}[{layer - 1}] of layer {layer} has {float(array[index])!r} at "
                    f"{_place(index)}; expected finite numbers: assign some before the next call"
                )


def explain_not_finite(
    failure: quantities.Failure, X: Examples, weights: tuple[Array, ...], biases: tuple[Array, ...]
) -> None:
    """Raise for a call that met a number that is not finite: find out whose it was.

    Raises
    ------
    ValueError
        If X or the parameters hold NaN or infinity.
    FloatingPointError
        If finite ones overflowed, naming the layer.
    """
    require_finite("X", X)
    require_finite_parameters(weights, biases)
    raise FloatingPointError(
        f"{quantities.in_call(*failure)} is not finite: finite inputs and parameters overflowed "
        f"{X.dtype}; scale them down"
    )
