"""The only place that raises about what the user passed.

Each function takes an argument's name and value and returns the value in the form the engines
want, or raises TypeError or ValueError with a message that begins with the name, shows what came
and says what was expected. Nothing is changed before everything has been looked at.
"""

from __future__ import annotations

import difflib
import operator
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from itertools import pairwise
from typing import Any

import numpy as np

from cbackprop.functions import (
    ACTIVATION_ALIASES,
    ACTIVATIONS,
    COSTS,
    INITS,
    OUTPUTS_OF_COST,
    Activation,
    Array,
    Cost,
    name_of,
)
from cbackprop.update_rules import StepOptions

LARGEST_ARRAY = sys.maxsize // 8

# What a page of `Network.stepper_html` can show; a number takes some 20 bytes of it.
STEPPER_NEURONS = 16
STEPPER_LAYERS = 8
STEPPER_NUMBERS = 200_000

PathLike = str | bytes | os.PathLike[str] | os.PathLike[bytes]


# ---- single numbers and words --------------------------------------------------------------------


def shown(value: Any) -> str:
    """A value as messages show it: its repr, cut to one short line."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        # A repr of the user's that fails, or an integer of more digits than Python prints.
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def integer(argument: str, value: Any, lowest: int) -> int:
    """A Python int of at least ``lowest``; booleans are not numbers here."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{argument} is {value!r}; expected an integer, not a boolean")
    _refuse_masked_entries(argument, value)
    try:
        number = operator.index(value)
    except Exception as error:
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected an integer"
        ) from (None if isinstance(error, TypeError) else error)
    if number < lowest:
        raise ValueError(f"{argument} is {shown(number)}; expected at least {lowest}")
    if number > sys.maxsize:
        raise ValueError(f"{argument} is {shown(number)}; expected at most {sys.maxsize}")
    return number


def real_number(argument: str, value: Any) -> float:
    """A finite Python float from a real number or a 0-d array of one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    # NumPy counts a timedelta64 among its integers.
    if isinstance(value, (bool, np.bool_, np.timedelta64)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected a real number"
        )
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{argument} is {shown(value)}; expected a finite number") from None
    if not np.isfinite(number):
        raise ValueError(f"{argument} is {number}; expected a finite number")
    return number


def non_negative(argument: str, value: Any) -> float:
    """A finite number ≥ 0."""
    number = real_number(argument, value)
    if number < 0:
        raise ValueError(f"{argument} is {number}; expected a number >= 0")
    return number


def positive(argument: str, value: Any) -> float:
    """A finite number > 0."""
    number = real_number(argument, value)
    if number <= 0:
        raise ValueError(f"{argument} is {number}; expected a number > 0")
    return number


def at_least(argument: str, value: Any, lowest: float) -> float:
    """A finite number ≥ ``lowest``."""
    number = real_number(argument, value)
    if number < lowest:
        raise ValueError(f"{argument} is {number}; expected a number >= {lowest}")
    return number


def above(argument: str, value: Any, bound: float) -> float:
    """A finite number > ``bound``."""
    number = real_number(argument, value)
    if number <= bound:
        raise ValueError(f"{argument} is {number}; expected a number > {bound:g}")
    return number


def learning_rate_applies(optimizer: str, steps_set_by: str) -> None:
    """Levenberg–Marquardt's steps have the length they have."""
    if steps_set_by != "learning_rate":
        raise ValueError(
            f"learning_rate is given with {optimizer}; expected None: {steps_set_by} sets its steps"
        )


def not_zero(argument: str, value: Any) -> float:
    """A finite number other than 0."""
    number = real_number(argument, value)
    if number == 0:
        raise ValueError(f"{argument} is {number}; expected a number other than 0")
    return number


def fraction(argument: str, value: Any) -> float:
    """A number in [0, 1)."""
    number = real_number(argument, value)
    if not 0 <= number < 1:
        raise ValueError(f"{argument} is {number}; expected a number in [0, 1)")
    return number


def flag(argument: str, value: Any) -> bool:
    """A boolean, and nothing that merely counts as one."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected True or False"
        )
    return bool(value)


def choice(argument: str, value: Any, choices: tuple[str, ...], otherwise: str = "") -> str:
    """One of the words ``choices``."""
    expected = ", ".join(repr(word) for word in choices)
    if not isinstance(value, str):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); "
            f"expected one of {expected}{otherwise}"
        )
    if value not in choices:
        near = difflib.get_close_matches(value, choices, 1)
        suggestion = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{argument} is {shown(value)}; expected one of {expected}{otherwise}{suggestion}"
        )
    # The word itself, where an enum's member or another subclass of str equals it.
    return choices[choices.index(value)]


def word(argument: str, value: Any) -> str:
    """A string, and of no subclass."""
    if not isinstance(value, str):
        raise TypeError(f"{argument} is {shown(value)} ({type(value).__name__}); expected a string")
    return str.__str__(value)


def file_path(argument: str, value: Any) -> str:
    """A path as a str. Numbers are not paths: open() would take one for a file descriptor."""
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); "
            "expected a str, bytes or a pathlib.Path"
        )
    path = os.fsdecode(value)
    if not path:
        raise ValueError(f"{argument} is {path!r}; expected a path of at least one character")
    if "\0" in path:
        raise ValueError(f"{argument} is {shown(path)}; expected a path without NUL characters")
    return path


def nesterov_needs_momentum(nesterov: bool, momentum: float) -> None:
    """Nesterov's form of momentum 0 is nothing at all."""
    if nesterov and momentum == 0:
        raise ValueError("nesterov is True with momentum 0.0; expected a momentum > 0")


# ---- Network(...) --------------------------------------------------------------------------------


def layer_sizes(sizes: Any) -> tuple[int, ...]:
    """n_0, …, n_L: at least two positive integers, in an order that means something."""
    if isinstance(sizes, (str, bytes, bytearray)):
        raise TypeError(
            f"sizes is {shown(sizes)} ({type(sizes).__name__}); "
            "expected a sequence of integers such as [784, 30, 10]"
        )
    if isinstance(sizes, (Set, Mapping)):
        raise TypeError(
            f"sizes is {shown(sizes)} ({type(sizes).__name__}), which has no order; "
            "expected a sequence of integers such as [784, 30, 10]"
        )
    if isinstance(sizes, np.ndarray) and sizes.ndim != 1:
        raise ValueError(f"sizes has shape {sizes.shape}; expected one dimension")
    try:
        entries = tuple(sizes)
    except TypeError:
        raise TypeError(
            f"sizes is {shown(sizes)} ({type(sizes).__name__}); "
            "expected a sequence of integers such as [784, 30, 10]"
        ) from None
    if len(entries) < 2:
        raise ValueError(
            f"sizes is {shown(list(entries))}; expected at least 2 entries, inputs and outputs"
        )
    result = tuple(integer(f"sizes[{i}]", entry, 1) for i, entry in enumerate(entries))
    count = sum((n_in + 1) * n_out for n_in, n_out in pairwise(result))
    if count > LARGEST_ARRAY:
        raise ValueError(
            f"sizes is {shown(list(result))}: {count} parameters, {8 * count} bytes, are more than "
            f"an array can hold; expected at most {LARGEST_ARRAY} parameters"
        )
    return result


def activations(argument: Any, n_layers: int) -> tuple[str | Activation, ...]:
    """One activation for every layer after the input."""
    choices = (*ACTIVATIONS, *ACTIVATION_ALIASES)
    if isinstance(argument, (list, tuple)):
        if len(argument) != n_layers:
            raise ValueError(
                f"activation has {len(argument)} entries; expected {n_layers}, "
                "one for each layer after the input"
            )
        named = [(f"activation[{i}]", entry) for i, entry in enumerate(argument)]
    else:
        named = [("activation", argument)] * n_layers
    result: list[str | Activation] = []
    for name, entry in named:
        if isinstance(entry, Activation):
            result.append(entry)
        else:
            word = choice(name, entry, choices, " or an Activation")
            result.append(ACTIVATION_ALIASES.get(word, word))
    if "softmax" in result[:-1]:
        raise ValueError(
            f"activation is 'softmax' in layer {result.index('softmax') + 1}; "
            "expected it in the last layer only"
        )
    return tuple(result)


def cost(argument: Any, output: str | Activation) -> str | Cost:
    """A cost that the last layer's activation can serve."""
    if isinstance(argument, Cost):
        return argument
    if callable(argument):
        raise TypeError(
            f"cost is {shown(argument)}, a function without its derivative; "
            "expected a name or Cost(value, gradient)"
        )
    word = choice("cost", argument, COSTS, " or a Cost")
    expected = OUTPUTS_OF_COST.get(word)
    if expected is not None and output not in expected:
        raise ValueError(
            f"cost is {word!r} with the output activation {name_of(output)!r}; "
            f"expected {' or '.join(repr(name) for name in expected)} in the last layer"
        )
    return word


def number_type(dtype: Any) -> str:
    """'float32' or 'float64'."""
    try:
        result = np.dtype(dtype)
    except Exception:
        raise TypeError(f"dtype is {shown(dtype)}; expected 'float32' or 'float64'") from None
    if dtype is None or result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype is {shown(dtype)}; expected 'float32' or 'float64'")
    return str(result.name)


def init(argument: Any) -> str:
    """How the first parameters are drawn."""
    return choice("init", argument, INITS)


def seed(argument: Any) -> int | None:
    """A non-negative integer, or None."""
    if argument is None:
        return None
    return integer("seed", argument, 0)


def threads(argument: Any) -> int:
    """An upper limit ≥ 1; the kernels have 64 at most (threads.h)."""
    return min(integer("threads", argument, 1), 64)


def backend(argument: Any) -> str:
    """'compiled' or 'reference'."""
    return choice("backend", argument, ("compiled", "reference"))


def functions_with_names(
    activations: tuple[str | Activation, ...], cost: str | Cost
) -> tuple[tuple[str, ...], str]:
    """The names of all functions, where every one has a name that a file can hold."""
    names = []
    for layer, activation in enumerate(activations, start=1):
        if isinstance(activation, Activation):
            raise TypeError(
                f"activation of layer {layer} is {shown(activation)}, a function of your own; "
                "expected a named activation: a model file holds no code. Keep the parameters"
            )
        names.append(activation)
    if isinstance(cost, Cost):
        raise TypeError(
            f"cost is {shown(cost)}, a function of your own; "
            "expected a named cost: a model file holds no code. Keep the parameters"
        )
    return tuple(names), cost


# ---- arrays of numbers ---------------------------------------------------------------------------


def numbers(argument: str, value: Any, dtype: str) -> Array:
    """Real numbers as a C-contiguous, aligned, native array of ``dtype``, in any shape.

    The caller's own array where it is one already; a copy otherwise. Numbers that are not finite
    pass; `require_finite` looks for them.
    """
    array = _as_array(argument, value)
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
            raise ValueError(
                f"{argument} has {array[index]!s} at {_place(index)}, which overflows {dtype}; "
                f"expected numbers up to {np.finfo(dtype).max:.4g}"
            )
    return converted


def _as_array(argument: str, value: Any) -> Array:
    if type(value) is not np.ndarray:
        _refuse_what_is_no_array(argument, value)
        _refuse_masked_entries(argument, value)
    try:
        array = np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:
        raise _no_array(argument, value, error) from error
    if array.dtype.kind == "O" and not isinstance(value, np.ndarray):
        if array.ndim == 0:
            raise TypeError(
                f"{argument} is {shown(value)} ({type(value).__name__}); "
                "expected an array of numbers"
            )
        array = _from_large_integers(argument, array)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{argument} has dtype {array.dtype}; expected real numbers{_advice(array)}"
        )
    return array


def _refuse_what_is_no_array(argument: str, value: Any) -> None:
    """Objects that NumPy would take for one number, or for something they are not."""
    if value is None:
        raise TypeError(f"{argument} is None; expected an array of numbers")
    if isinstance(value, (str, bytes, bytearray, Mapping, Set, Iterator)):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected an array of numbers"
        )
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(
            f"{argument} is a sparse {type(value).__name__}; expected a dense array: use .toarray()"
        )
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        for column, dtype in zip(value.columns, value.dtypes, strict=False):
            # Data frames whose types have no kind make their own arrays, NaN for what is missing.
            kind = getattr(dtype, "kind", "f")
            nullable = not isinstance(dtype, np.dtype) and hasattr(value[column], "isna")
            if kind not in "fiub" or (nullable and np.any(value[column].isna())):
                raise TypeError(
                    f"{argument} has dtype {dtype} in column {column!r}; "
                    "expected real numbers without missing values"
                )


def _refuse_masked_entries(argument: str, value: Any) -> None:
    """Masked entries, also in lists: NumPy would take what is under the mask."""
    masked = _count_masked(value)
    if masked:
        raise ValueError(
            f"{argument} has {masked} masked entries; expected none: fill or drop them first"
        )


def _count_masked(value: Any, depth: int = 3) -> int:
    if isinstance(value, np.ma.MaskedArray):
        return int(np.count_nonzero(np.ma.getmaskarray(value)))
    # A list of plain numbers needs no second look, and one that holds itself has no end.
    if isinstance(value, (list, tuple)) and depth > 0 and not {*map(type, value)} <= {int, float}:
        return sum(_count_masked(entry, depth - 1) for entry in value)
    return 0


def _no_array(argument: str, value: Any, error: Exception) -> TypeError | ValueError:
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


def _advice(array: Array) -> str:
    if array.dtype.kind == "O":
        return "; use .astype(float) if every entry is one"
    if array.dtype.kind in "SUT":
        return ", not text"
    return ""


def require_finite(argument: str, array: Array) -> None:
    """No NaN and no infinity."""
    # A block at a time: no temporary as large as the data.
    flat = array.reshape(-1)
    for start in range(0, flat.size, 1 << 20):
        wrong = ~np.isfinite(flat[start : start + (1 << 20)])
        if wrong.any():
            index = np.unravel_index(start + int(np.argmax(wrong)), array.shape)
            raise ValueError(
                f"{argument} has {float(array[index])!r} at {_place(index)}; "
                "expected finite numbers"
            )


def _first(wrong: Array) -> tuple[Any, ...]:
    return np.unravel_index(int(np.argmax(wrong)), wrong.shape)


def _place(index: tuple[Any, ...]) -> str:
    return f"[{', '.join(str(int(i)) for i in index)}]"


def examples(argument: str, X: Any, sizes: tuple[int, ...], dtype: str) -> tuple[Array, bool]:
    """X as (n, n_0), and whether it was a single example (n_0,)."""
    array = numbers(argument, X, dtype)
    n_0 = sizes[0]
    if array.ndim == 1 and array.shape[0] == n_0:
        return array.reshape(1, n_0), True
    if array.ndim != 2 or array.shape[1] != n_0:
        hint = ""
        if array.ndim == 2 and array.shape[0] == n_0:
            hint = "; the transpose has that shape"
        elif array.ndim == 1:
            hint = f", or ({n_0},) for one example"
        raise ValueError(
            f"{argument} has shape {array.shape}; expected (n, {n_0}) "
            f"because sizes[0] is {n_0}{hint}"
        )
    return array, False


def batch(argument: str, X: Any, sizes: tuple[int, ...], dtype: str) -> Array:
    """X as (n, n_0), for the calls that want examples in rows and nothing else."""
    array, single = examples(argument, X, sizes, dtype)
    if single:
        raise ValueError(
            f"{argument} has shape ({array.shape[1]},); expected (n, {array.shape[1]}): "
            f"use {argument}.reshape(1, -1) for one example"
        )
    return array


def targets(
    argument: str,
    Y: Any,
    n: int,
    single: bool,
    sizes: tuple[int, ...],
    dtype: str,
    cost: str | Cost,
    examples_argument: str = "X",
) -> Array:
    """Y as (n, n_L), finite, and in the range the cost asks for."""
    array = numbers(argument, Y, dtype)
    n_L = sizes[-1]
    if single and array.shape == (n_L,):
        array = array.reshape(1, n_L)
    elif array.ndim != 2 or array.shape[1] != n_L or single:
        expected = f"({n_L},)" if single else f"(n, {n_L})"
        hint = ""
        if array.ndim == 1 and not single:
            hint = (
                f"; use {argument}.reshape(-1, 1)"
                if n_L == 1
                else f"; class labels become targets by datasets.one_hot({argument}, {n_L})"
            )
        elif array.ndim == 2 and array.shape[0] == n_L and array.shape[1] == n:
            hint = "; the transpose has that shape"
        raise ValueError(
            f"{argument} has shape {array.shape}; expected {expected} "
            f"because sizes[-1] is {n_L}{hint}"
        )
    if array.shape[0] != n:
        raise ValueError(
            f"{argument} has {array.shape[0]} rows and {examples_argument} has {n}; "
            "expected as many of one as of the other"
        )
    require_finite(argument, array)
    low, high = {"cross_entropy": (0.0, 1.0), "poisson": (0.0, np.inf)}.get(
        cost if isinstance(cost, str) else "", (-np.inf, np.inf)
    )
    wrong = (array < low) | (array > high)
    if wrong.any():
        index = _first(wrong)
        expected = f"numbers in [{low:g}, {high:g}]" if high < np.inf else f"numbers >= {low:g}"
        raise ValueError(
            f"{argument} has {float(array[index])!r} at {_place(index)}; "
            f"expected {expected} because the cost is {cost!r}"
        )
    return array


def at_least_one_example(argument: str, n: int, what: str) -> None:
    """A mean over no examples is no number."""
    if n == 0:
        raise ValueError(f"{argument} has 0 examples; expected at least 1 for {what}")


def sample_weight(argument: str, weight: Any, n: int, dtype: str) -> tuple[Array | None, float]:
    """Weights (n,) ≥ 0, not all 0, and their sum; None is 1 for each example."""
    if weight is None:
        return None, float(n)
    array = numbers(argument, weight, dtype)
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
    with np.errstate(over="ignore"):
        total = float(array.sum(dtype=np.float64))
    largest = float(np.finfo(dtype).max)
    if not 0 < total <= largest:
        raise ValueError(f"{argument} has the sum {total}; expected a sum > 0, up to {largest:.4g}")
    return array, total


def no_weights_per_example(per_example: bool, weight: Any) -> None:
    """Weights belong to a mean; an example's own cost or gradient has none."""
    if per_example and weight is not None:
        raise ValueError(
            "sample_weight is given with per_example=True; expected None: each example's own value "
            "is not weighted"
        )


def one_example(x: Any, y: Any) -> tuple[Any, Any]:
    """x and y of one example: (n_0,) and (n_L,), or one row of each, which becomes them."""
    result = []
    for argument, value in (("x", x), ("y", y)):
        array = _as_array(argument, value)
        if array.ndim == 2 and array.shape[0] == 1:
            array = array[0]
        elif array.ndim != 1:
            raise ValueError(f"{argument} has shape {array.shape}; expected one example")
        result.append(array)
    return result[0], result[1]


def output_array(
    argument: str, out: Any, shape: tuple[int, ...], dtype: str, others: Mapping[str, Array]
) -> Array:
    """The caller's array for results: exactly the right one, and none of ``others``' memory."""
    if type(out) not in (np.ndarray, np.memmap):
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


def result_size(what: str, n: int, width: int, dtype: str) -> None:
    """Reject sizes no array can have before asking for the memory."""
    if n * width > LARGEST_ARRAY:
        raise ValueError(
            f"X has {n} examples: {what} would have {n * width} numbers; "
            f"expected at most {LARGEST_ARRAY}"
        )


def parameter_vector(argument: str, value: Any, n_parameters: int, dtype: str) -> Array:
    """A number for each parameter (P,), finite."""
    array = numbers(argument, value, dtype)
    if array.shape != (n_parameters,):
        raise ValueError(f"{argument} has shape {array.shape}; expected ({n_parameters},)")
    require_finite(argument, array)
    return array


def both_or_neither(*pair: tuple[str, Any]) -> None:
    """Two optional arguments that make sense together only."""
    (name, value), (other_name, other) = pair
    if (value is None) != (other is None):
        missing, given = (name, other_name) if value is None else (other_name, name)
        raise ValueError(f"{missing} is None with {given} given; expected both or neither")


def second_derivatives(activations: tuple[str | Activation, ...], cost: str | Cost) -> None:
    """A product with the curvature needs them of every function of the user's."""
    for layer, activation in enumerate(activations, start=1):
        if isinstance(activation, Activation) and activation.second_derivative is None:
            raise ValueError(
                f"activation {activation.name!r} of layer {layer} has no second_derivative; "
                "expected Activation(value, derivative, second_derivative=...) for this call"
            )
    if isinstance(cost, Cost) and cost.hessian_vector_product is None:
        raise ValueError(
            f"cost {cost.name!r} has no hessian_vector_product; "
            "expected Cost(value, gradient, hessian_vector_product=...) for this call"
        )


# ---- fit and the like ----------------------------------------------------------------------------


def validation_pair(
    pair: Any, sizes: tuple[int, ...], dtype: str, cost: str | Cost
) -> tuple[Array, Array] | None:
    """(X, Y) to judge each epoch on, or None."""
    if pair is None:
        return None
    if not isinstance(pair, (tuple, list)):
        raise TypeError(
            f"validation_data is {shown(pair)} ({type(pair).__name__}); "
            "expected a pair (X_validation, Y_validation)"
        )
    if len(pair) != 2:
        raise ValueError(
            f"validation_data has {len(pair)} entries; expected 2, (X_validation, Y_validation)"
        )
    X = batch("validation_data[0]", pair[0], sizes, dtype)
    at_least_one_example("validation_data[0]", len(X), "a mean cost")
    require_finite("validation_data[0]", X)
    Y = targets(
        "validation_data[1]", pair[1], len(X), False, sizes, dtype, cost, "validation_data[0]"
    )
    return X, Y


def permutation(argument: str, value: Any, n: int) -> Array:
    """An order of the examples: every number of 0 … n−1 once, as int64.

    A copy: what is read at these places must not change between this check and its use.
    """
    array = _as_array(argument, value)
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"{argument} is an array of dtype {array.dtype} and shape {array.shape}; "
            f"expected ({n},) integers, the order of the examples"
        )
    array = array.copy()
    order = np.ascontiguousarray(array, dtype=np.int64)
    expected = f"expected every number from 0 to {n - 1} once"
    outside = (array < 0) | (array >= n)
    if outside.any():
        place = int(np.argmax(outside))
        raise ValueError(f"{argument} has {int(array[place])} at [{place}]; {expected}")
    counts = np.bincount(order, minlength=n)
    if (counts != 1).any():
        repeated = int(np.argmax(counts > 1))
        raise ValueError(f"{argument} has {repeated} {counts[repeated]} times; {expected}")
    return order


def batch_order(argument: str, value: Any, n: int) -> Any:
    """True, False, an order of the examples, or a function of the epoch that returns one."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if callable(value):
        return value
    is_array = hasattr(value, "__array__") and not isinstance(value, np.generic)
    if is_array or isinstance(value, (list, tuple, range)):
        return permutation(argument, value, n)
    raise TypeError(
        f"{argument} is {shown(value)} ({type(value).__name__}); expected True, False, an order of "
        "the examples, or a function of the epoch that returns one"
    )


def class_weight(argument: str, value: Any, Y: Array) -> Array | None:
    """A weight for each example, (n,) float64, from a weight for each class.

    The class of an example is its largest target; with one output, whether that is above ½.
    """
    if value is None:
        return None
    n, n_L = Y.shape
    n_classes = max(n_L, 2)
    labels = Y.argmax(axis=1) if n_L > 1 else (Y[:, 0] > 0.5).astype(np.intp)
    if isinstance(value, str):
        choice(argument, value, ("balanced",), ", a dict or an array of weights")
        counts = np.bincount(labels, minlength=n_classes)
        # As scikit-learn: n / (classes that occur · examples of the class).
        weights = n / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(value, Mapping):
        weights = np.ones(n_classes)
        for key, weight in value.items():
            number = integer(f"{argument} key", key, 0)
            if number >= n_classes:
                raise ValueError(
                    f"{argument} has the class {number}; expected 0 to {n_classes - 1}"
                )
            weights[number] = non_negative(f"{argument}[{number}]", weight)
    else:
        weights = numbers(argument, value, "float64")
        if weights.shape != (n_classes,):
            raise ValueError(
                f"{argument} has shape {weights.shape}; expected ({n_classes},), one for each class"
            )
        require_finite(argument, weights)
        if (weights < 0).any():
            raise ValueError(f"{argument} has a negative number; expected numbers >= 0")
    each: Array = weights[labels]
    return each


def option_names(argument: str, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
    """A dict whose keys are among ``known``; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected a dict with some of "
            f"{', '.join(known)}"
        )
    for key in value:
        choice(f"{argument} key", key, known)
    return dict(value)


def class_labels(argument: str, value: Any) -> Array:
    """Integers (n,), whatever they are."""
    array = _as_array(argument, value)
    if array.size == 0 and isinstance(value, (list, tuple)):
        array = array.astype(np.intp)  # NumPy calls [] a float array
    if array.dtype.kind not in "iu":
        hint = "; use .astype(int) if the values are whole" if array.dtype.kind == "f" else ""
        raise TypeError(f"{argument} has dtype {array.dtype}; expected an integer dtype{hint}")
    if array.ndim != 1:
        raise ValueError(f"{argument} has shape {array.shape}; expected (n,)")
    return array


def noise_needs_clipping(noise_multiplier: float, clip_norm: float) -> None:
    """Noise is measured in units of the clipping length."""
    if noise_multiplier > 0 and clip_norm == 0:
        raise ValueError(
            f"noise_multiplier is {noise_multiplier} without clip_norm; expected both: the noise's "
            "standard deviation is noise_multiplier * clip_norm"
        )


def whole_batch_options(optimizer: str, options: StepOptions | None) -> None:
    """What a whole-batch optimiser cannot take beside l2."""
    if options is None:
        return
    for name, value in options._asdict().items():
        if value > 0 and name != "l2":
            raise ValueError(
                f"{name} is {value} with optimizer {optimizer!r}; expected none: only l2"
            )


def held_out(fraction_held: float, pair: Any, n: int) -> int:
    """How many examples validation_fraction keeps from training."""
    if fraction_held == 0:
        return 0
    if pair is not None:
        raise ValueError(
            f"validation_fraction is {fraction_held} with validation_data given; expected one of "
            "the two"
        )
    count = max(1, round(fraction_held * n))
    if count >= n:
        raise ValueError(
            f"validation_fraction is {fraction_held} of {n} examples: none would be left to train "
            "on; expected more examples or a smaller fraction"
        )
    return count


def some_weight_left(weight: Array | None, held: int) -> None:
    """The mean cost of the examples that are trained on divides by the sum of their weights."""
    if weight is not None and not weight.any():
        raise ValueError(
            f"validation_fraction holds {held} examples out, and the weights of the others are all "
            "0; expected some weight to train on"
        )


def monitor(early_stopping: Any, names: tuple[str, ...], is_judged: bool) -> None:
    """What early stopping looks at must be there to look at."""
    known = ("cost", *(("validation_cost",) if is_judged else ()), *names)
    if early_stopping.monitor not in known:
        hint = "" if is_judged else "; validation_data makes a validation_cost"
        raise ValueError(
            f"early_stopping monitors {early_stopping.monitor!r}; expected one of "
            f"{', '.join(repr(name) for name in known)}{hint}"
        )


def schedule(value: Any) -> Any:
    """None, or a function of the epoch and the learning rate."""
    if value is not None and not callable(value):
        raise TypeError(
            f"schedule is {shown(value)} ({type(value).__name__}); expected a function "
            "f(epoch, learning_rate) that returns a learning rate"
        )
    return value


def progress(value: Any) -> bool | None:
    """None, True or False."""
    return None if value is None else flag("progress", value)


def resume_needs_checkpoint(resume: bool, checkpoint: Any) -> None:
    """There is nothing else to go on from."""
    if resume and checkpoint is None:
        raise ValueError("resume is True without checkpoint; expected the path of one")


def same_plan(found: Any, expected: Mapping[str, Any]) -> None:
    """A fit goes on as it began."""
    for name, value in expected.items():
        before = found.get(name) if isinstance(found, Mapping) else None
        if before != value:
            raise ValueError(
                f"resume: the checkpoint's fit had {name} {shown(before)}, this one has "
                f"{shown(value)}; expected the same"
            )


def _has_an_order(value: Any) -> bool:
    """Whether it can be gone through, one entry after the other (no 0-d array can)."""
    if isinstance(value, (str, bytes, Set, Mapping)) or getattr(value, "ndim", 1) == 0:
        return False
    return hasattr(value, "__iter__")


def functions(argument: str, value: Any) -> tuple[Callable[..., Any], ...]:
    """One function or several."""
    if callable(value):
        return (value,)
    if not _has_an_order(value):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected functions"
        )
    entries = tuple(value)
    for i, entry in enumerate(entries):
        if not callable(entry):
            raise TypeError(
                f"{argument}[{i}] is {shown(entry)} ({type(entry).__name__}); expected a function"
            )
    return entries


def optimizer_in(optimizer: Any, dtype: str) -> None:
    """ε must not round to 0 in the network's numbers: a weight without gradient has 0/ε.

    Adam's least form of it is ε √(1 − β₂), which the first step uses.
    """
    epsilon, beta2 = getattr(optimizer, "epsilon", None), getattr(optimizer, "beta2", None)
    number = np.dtype(dtype).type
    least = getattr(optimizer, "least", None)
    if least is not None and number(least) == 0:
        # A step that has shrunk to 0 would count as one that was never set.
        raise ValueError(
            f"least is {least}, which is 0 in {dtype}; expected a larger one, such as 1e-6"
        )
    if epsilon is None:
        return
    if beta2 is not None and number(epsilon * (1 - beta2) ** 0.5) == 0:
        raise ValueError(
            f"epsilon is {epsilon} with beta2 {beta2}: epsilon * sqrt(1 - beta2) is 0 in "
            f"{dtype}; expected a larger epsilon, such as 1e-8"
        )
    if number(epsilon) == 0:
        raise ValueError(
            f"epsilon is {epsilon}, which is 0 in {dtype}; expected a larger epsilon, such as 1e-8"
        )


def least_squares_cost(cost: str | Cost) -> str:
    """A cost that is a sum of squares, which is what Levenberg–Marquardt minimises."""
    expected = ("quadratic", "half_quadratic", "mse")
    if not isinstance(cost, str) or cost not in expected:
        raise ValueError(
            f"cost is {name_of(cost)!r}; expected 'quadratic', 'half_quadratic' or 'mse' because "
            "LevenbergMarquardt minimises sums of squares"
        )
    return cost


def metric(argument: str, value: Any, known: tuple[str, ...]) -> Any:
    """The name of a metric, or a function of (predictions, targets)."""
    if callable(value):
        return value
    return choice(argument, value, known, " or a function of (predictions, targets)")


def metrics(value: Any, known: tuple[str, ...]) -> tuple[Any, ...]:
    """Names of metrics, or functions of (predictions, targets)."""
    entries = (value,) if isinstance(value, str) or callable(value) else value
    if not _has_an_order(entries):
        raise TypeError(
            f"metrics is {shown(value)} ({type(value).__name__}); expected names or functions"
        )
    return tuple(metric(f"metrics[{i}]", entry, known) for i, entry in enumerate(entries))


def neuron(argument: str, value: Any, count: int, layer: int) -> int:
    """A neuron's number in its layer, from 0."""
    number = integer(argument, value, 0)
    if number >= count:
        raise ValueError(
            f"{argument} is {number}; expected 0 to {count - 1} because layer {layer} has "
            f"{count} neurons, counted from 0"
        )
    return number


def layer_number(value: Any, lowest: int, n_layers: int) -> int:
    """A layer's number: 0 is the input, n_layers the output."""
    number = integer("layer", value, 0)
    if number < lowest:
        raise ValueError(
            f"layer is {number}; expected {lowest} to {n_layers}: layer 0 is the input, whose "
            f"derivatives are in activation(0, k)"
        )
    if number > n_layers:
        raise ValueError(
            f"layer is {number}; expected {lowest} to {n_layers}, the layers of this network"
        )
    return number


def nudge_stays_finite(size: float, change: float) -> None:
    """A nudge so large that the cost overflows measures nothing."""
    if not np.isfinite(change):
        raise FloatingPointError(
            f"size is {size}: the cost is not finite after such a nudge; expected a smaller one"
        )


def stepper_size(sizes: tuple[int, ...], steps: int) -> None:
    """A page of steps is for eyes: few neurons, and no more numbers than a browser takes easily."""
    if max(sizes) > STEPPER_NEURONS:
        raise ValueError(
            f"sizes is {shown(list(sizes))}: layer {sizes.index(max(sizes))} has {max(sizes)} "
            f"neurons; expected at most {STEPPER_NEURONS} to draw"
        )
    if len(sizes) - 1 > STEPPER_LAYERS:
        raise ValueError(
            f"sizes is {shown(list(sizes))}: {len(sizes) - 1} layers after the input; expected at "
            f"most {STEPPER_LAYERS} to draw"
        )
    n_parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    # Gradient and updated parameters; z, a, ∂a/∂z, ∂C/∂a and δ; a softmax layer's Jacobian.
    numbers_of_step = 2 * n_parameters + 5 * sum(sizes) + sizes[-1] ** 2
    most = STEPPER_NUMBERS // numbers_of_step
    if steps > most:
        raise ValueError(
            f"steps is {shown(steps)}: the page would hold {numbers_of_step} numbers a step; "
            f"expected at most {most} steps of this network"
        )


def nudge_sizes(argument: str, value: Any) -> tuple[Any, ...]:
    """Some nudges; each of them is judged when it is made."""
    try:
        sizes = tuple(value)
    except TypeError:
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected a sequence of numbers"
        ) from None
    if not sizes:
        raise ValueError(f"{argument} is empty; expected at least one nudge")
    return sizes


def axes(argument: str, value: Any) -> None:
    """None, or something to plot on."""
    if value is not None and not callable(getattr(value, "plot", None)):
        raise TypeError(
            f"{argument} is {shown(value)} ({type(value).__name__}); expected axes of matplotlib"
        )


def paths_within(limit: int, count: int) -> None:
    """Not more paths than are wanted in memory."""
    if count > limit:
        raise ValueError(
            f"limit is {limit}; expected at least {shown(count)}, the number of paths from there "
            "into the cost"
        )


# ---- numbers that were not finite ----------------------------------------------------------------


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
    failure: tuple[str, int],
    X: Array,
    weights: tuple[Array, ...],
    biases: tuple[Array, ...],
    examples_argument: str = "X",
) -> None:
    """Raise for a call that met a number that is not finite: find out whose it was.

    Raises
    ------
    ValueError
        If X or the parameters hold NaN or infinity.
    FloatingPointError
        If finite ones overflowed, naming the layer.
    """
    require_finite(examples_argument, X)
    require_finite_parameters(weights, biases)
    quantity, layer = failure
    names = {
        "z": "the weighted input z",
        "a": "the activation a",
        "delta": "the cost or its gradient",
        "parameters": "a parameter",
        "norm": "the norm of a gradient",
        "jacobian": "a derivative of the outputs",
        "gram": "an inner product of two gradients",
        "moments": "the variance of a derivative",
        "cost_variance": "the variance of the costs",
        "curvature": "the product of the curvature with v",
    }
    where = f" of layer {layer}" if layer else ""
    raise FloatingPointError(
        f"{names[quantity]}{where} is not finite: finite inputs and parameters overflowed "
        f"{X.dtype}; scale them down"
    )
