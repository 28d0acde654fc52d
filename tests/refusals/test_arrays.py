"""Bad input and faults: what is rejected, how, and that nothing has changed afterwards.

The contract for a rejected call: the exact exception class; a message that begins with the
argument's name and shows what came and what was expected; parameters, optimiser, generator and the
caller's arrays as before; no warning and no output; the same from both backends; and the next call
works as if nothing had happened.

1. The table of rejected calls, one test for each row.
2. The table of accepted arrays: the same bits as the plain native copy.
3. Families of arrays, drawn: accepted with the right bits or rejected by name, nothing else.
4. `out=`, live views, no-ops, the user's own functions, divergence.
5. Threads, Ctrl-C, copies.
6. The environment: SIMD levels, a missing compiled core, -OO, NumPy's error state.
"""

from __future__ import annotations

import array
import collections
import copy
import decimal
import enum
import fractions
import hashlib
import os
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cbackprop
from cbackprop import (
    LBFGS,
    SGD,
    Activation,
    Adagrad,
    Adam,
    AdamW,
    Cost,
    EarlyStopping,
    LevenbergMarquardt,
    Network,
    RMSprop,
    Rprop,
    schedules,
)
from cbackprop.training import STEP_OPTIONS

SIZES = [4, 5, 3]
HAS_COMPILED = Network([1, 1]).backend == "compiled"
BACKENDS = ["compiled", "reference"] if HAS_COMPILED else ["reference"]
CLOCK_LIMIT = 30.0  # seconds until a test that waits gives up


def data(n=6, n_in=4, n_out=3):
    """X (n, n_in) and Y (n, n_out) in (-2, 2) and (0, 1), the same every time."""
    generator = np.random.PCG64(7)
    raw = (generator.random_raw(n * (n_in + n_out)) >> np.uint64(11)).astype(float) * 2.0**-53
    raw = raw.reshape(n, n_in + n_out)
    return 4 * raw[:, :n_in].copy() - 2, raw[:, n_in:].copy()


def network(backend, **options):
    return Network(options.pop("sizes", SIZES), backend=backend, seed=1, **options)


def trained(backend, **options):
    """A network with moments, a step count and a generator that has been used; a copy of it."""
    key = f"{backend} {options}"
    if key not in _trained:
        net = network(backend, **options)
        X, Y = data(n_in=net.sizes[0], n_out=net.sizes[-1])
        net.fit(X, Y, epochs=1, batch_size=2, optimizer="adam")
        _trained[key] = net.partial_fit(X, Y)
    return _trained[key].copy()


_trained: dict[str, Network] = {}


def fingerprint(net):
    """SHA-256 of all that training changes."""
    engine = net._engine
    digest = hashlib.sha256(np.asarray(net.parameters).tobytes())
    for slot in engine.slots:
        digest.update(slot.tobytes())
    digest.update(
        repr(
            (
                engine.step_count,
                engine.rule_name,
                engine.hyper_parameters,
                engine.learning_rate,
                engine.previous_cost,
                net._optimizer,
                net._random.state,
            )
        ).encode()
    )
    return digest.hexdigest()


def arrays_in(value):
    """Every array in the arguments of a call, not those too large to be looked at."""
    if isinstance(value, np.ndarray) and value is not np.ma.masked:
        return [value] if value.size < 10**6 else []
    if isinstance(value, (list, tuple)):
        return [found for entry in value for found in arrays_in(entry)]
    if isinstance(value, dict):
        return arrays_in(list(value.values()))
    return []


def contents(arrays):
    return [
        (found.dtype, found.shape, found.strides, found.flags.writeable, found.tobytes())
        for found in arrays
    ]


# ---- things that are no arrays, or not quite -----------------------------------------------------


class ArrayOf:
    """Becomes whatever it is told to become, or raises it."""

    def __init__(self, result):
        self.result = result

    def __array__(self, dtype=None, copy=None):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Unprintable:
    def __repr__(self):
        raise KeyError("no repr")


class NoIndex:
    """Says that it is an integer, and is none."""

    def __index__(self):
        raise KeyError("no index")

    def __repr__(self):
        return "NoIndex()"


class Colour(enum.Enum):
    RED = 1


class Word(enum.StrEnum):
    """Members that are strings, and equal to them."""

    TANH = "tanh"
    ADAM = "adam"
    COST = "cost"


class Sparse:
    """What scipy's sparse matrices look like from outside."""

    nnz, shape = 3, (6, 4)

    def toarray(self):
        return np.zeros(self.shape)


class Column:
    def __init__(self, values):
        self.values = values

    def isna(self):
        return np.array([value is None for value in self.values])


class Frame:
    """What pandas' data frames look like from outside."""

    def __init__(self, columns, dtypes):
        self.content, self.columns, self.dtypes = columns, list(columns), dtypes

    def __getitem__(self, name):
        return Column(self.content[name])

    def __array__(self, dtype=None, copy=None):
        return np.array(list(self.content.values())).T


class NullableInteger:
    """A data frame's own number type, whose columns may lack entries."""

    kind = "i"

    def __str__(self):
        return "Int64"


class OtherNumber:
    """The number type of a data frame that knows no NumPy dtype."""


def pandas():
    return pytest.importorskip("pandas", reason="pandas is not installed")


def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


def scipy_sparse():
    return pytest.importorskip("scipy.sparse", reason="scipy is not installed")


def misaligned(values):
    """The same numbers in the same order, one byte off."""
    block = np.empty(values.nbytes + 1, np.uint8)
    result = block[1:].view(values.dtype).reshape(values.shape)
    result[...] = values
    return result


def read_only(values):
    result = values.copy()
    result.flags.writeable = False
    return result


def strided(values):
    """Every second number of a longer row, every third row of a longer array."""
    block = np.full(tuple(3 * n for n in values.shape), 99, values.dtype)
    view = block[(*(slice(1, None, 3) for _ in values.shape), ...)]
    view[...] = values
    return view


def reversed_axes(values):
    """Negative strides."""
    backwards = (*(slice(None, None, -1) for _ in values.shape), ...)
    return values[backwards].copy()[backwards]


def odd_strides(values):
    """Strides that mean nothing on the axes of length 1."""
    strides = tuple(
        12345 if n == 1 else stride for n, stride in zip(values.shape, values.strides, strict=True)
    )
    return np.lib.stride_tricks.as_strided(values, strides=strides)


# ---- 1. the table of rejected calls --------------------------------------------------------------


class Row(NamedTuple):
    """A call that must be rejected.

    call: a method of the network, "Network", a key of OBJECTS, "parameters" (assigned), or a
    function that takes the network and the arguments. arguments: a function of the network that
    makes the bad ones; the others are good. pattern: matched against the start of the message.
    group: rows of one group make one test.
    """

    name: str
    call: str | Callable[..., Any]
    error: type[Exception]
    pattern: str
    arguments: Callable[[Any], dict[str, Any]]
    options: dict[str, Any] = {}  # noqa: RUF012 - read only
    group: str = ""


WITH_X = ("predict", "forward", "jacobian", "input_jacobian")
CURVATURE = ("hessian_vector_product", "gauss_newton_vector_product")
MEANS = ("clipped_gradient", "gradient_moments", *CURVATURE)
TOOLBOX = (*MEANS, "gradient_gram", "input_gradient")
WITH_BOTH = (
    "cost",
    "backward",
    "gradient",
    "gradient_norms",
    *TOOLBOX,
    "check_gradient",
    "score",
    "partial_fit",
    "fit",
)
ONE_EXAMPLE_IS_FINE = (
    *WITH_X, "cost", "backward", "gradient", "gradient_norms", *TOOLBOX, "partial_fit"
)  # fmt: skip


def besides(net, call):
    """What a call wants besides X and Y."""
    if call == "clipped_gradient":
        return {"max_norm": 0.5}
    if call in CURVATURE:
        return {"v": np.linspace(-1, 1, net.n_parameters)}
    return {}


def numbers_of(result):
    """All numbers that a call returned, as one array."""
    if isinstance(result, tuple):
        return np.stack([np.asarray(part) for part in result])
    return np.asarray(result)


# What is made of arguments alone, and those it cannot do without.
OBJECTS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "SGD": (SGD, {}),
    "Adam": (Adam, {}),
    "AdamW": (AdamW, {}),
    "RMSprop": (RMSprop, {}),
    "Adagrad": (Adagrad, {}),
    "Rprop": (Rprop, {}),
    "LBFGS": (LBFGS, {}),
    "LevenbergMarquardt": (LevenbergMarquardt, {}),
    "EarlyStopping": (EarlyStopping, {}),
    "StepDecay": (schedules.StepDecay, {"every": 2}),
    "ExponentialDecay": (schedules.ExponentialDecay, {"factor": 0.5}),
    "CosineDecay": (schedules.CosineDecay, {"epochs": 5}),
    "OneCycle": (schedules.OneCycle, {"epochs": 5}),
    "ReduceOnPlateau": (schedules.ReduceOnPlateau, {}),
}


def perform(row, net, arguments, backend):
    if row.call == "parameters":
        net.parameters = arguments["parameters"]
    elif row.call == "Network":
        Network(**{"sizes": SIZES, **arguments, "backend": arguments.get("backend", backend)})
    elif row.call in OBJECTS:
        kind, needed = OBJECTS[row.call]
        kind(**{**needed, **arguments})
    elif isinstance(row.call, str):
        X, Y = data(n_in=net.sizes[0], n_out=net.sizes[-1])
        good = {"X": X} if row.call in WITH_X else {"X": X, "Y": Y}
        if row.call == "chain_rule":
            good = {"x": X[0], "y": Y[0]}
        if row.call == "partial_fit":
            options = {name: arguments.pop(name) for name in STEP_OPTIONS if name in arguments}
            arguments = {**arguments, **({"options": options} if options else {})}
        getattr(net, row.call)(**{**good, **besides(net, row.call), **arguments})
    else:
        row.call(net, **arguments)


def label(value):
    """A value in a test's name."""
    try:
        return " ".join(repr(value).split())[:24]
    except ValueError:
        return "10**5000"
    except KeyError:
        return "unprintable"


def rejected_rows():
    rows = [*construction_rows(), *array_rows(), *shape_rows(), *value_rows()]
    rows += [*layout_rows(), *hyper_parameter_rows(), *toolbox_rows()]
    rows += [*option_rows(), *rule_rows()]
    return [*rows, *other_rows()]


def construction_rows():
    def row(name, error, pattern, **arguments):
        return Row(f"Network {name}", "Network", error, pattern, lambda net: arguments)

    sizes = "expected a sequence of integers"
    two_floats = r"expected 'float32' or 'float64'"
    yield Row(
        "Network without sizes",
        lambda net: Network(),
        TypeError,
        r".*missing 1 required positional argument: 'sizes'",
        lambda net: {},
    )
    # A. sizes
    yield row("[]", ValueError, r"sizes is \[\]; expected at least 2", sizes=[])
    yield row("[4]", ValueError, r"sizes is \[4\]; expected at least 2", sizes=[4])
    yield row("0", ValueError, r"sizes\[1\] is 0; expected at least 1", sizes=[4, 0, 3])
    yield row("-1", ValueError, r"sizes\[1\] is -1; expected at least 1", sizes=[4, -1, 3])
    yield row(
        "nan", TypeError, r"sizes\[1\] is nan \(float\); expected an integer", sizes=[4, np.nan]
    )
    yield row("4.0", TypeError, r"sizes\[0\] is 4.0 \(float\); expected an int", sizes=[4.0, 3])
    yield row("None", TypeError, r"sizes\[1\] is None", sizes=[4, None])
    yield row("True", TypeError, r"sizes\[1\] is True; expected an integer", sizes=[4, True])
    yield row("np.True_", TypeError, r"sizes\[0\] is np.True_; exp", sizes=[np.True_, 4])
    yield row("'43'", TypeError, rf"sizes is '43' \(str\); {sizes}", sizes="43")
    yield row("b'43'", TypeError, rf"sizes is b'43' \(bytes\); {sizes}", sizes=b"43")
    yield row("['4', '3']", TypeError, r"sizes\[0\] is '4' \(str\)", sizes=["4", "3"])
    yield row("4", TypeError, rf"sizes is 4 \(int\); {sizes}", sizes=4)
    yield row("sizes None", TypeError, r"sizes is None", sizes=None)
    yield row("set", TypeError, rf"sizes is .* \(set\), which has no order; {sizes}", sizes={4, 3})
    yield row("dict", TypeError, r"sizes is .* \(dict\), which has no order", sizes={4: 1, 3: 1})
    yield row(
        "[[4, 3]] array",
        ValueError,
        r"sizes has shape \(1, 2\); expected one dimension",
        sizes=np.array([[4, 3]]),
    )
    yield row("float array", TypeError, r"sizes\[0\] is .*4.0", sizes=np.array([4.0, 3.0]))
    yield row(
        "2**31 twice",
        ValueError,
        r"sizes is \[2147483648, 2147483648\]: \d+ parameters, \d+ bytes, .*; expected at most",
        sizes=[2**31, 2**31],
    )
    yield row("2**63", ValueError, r"sizes\[0\] is 9223372036854775808; exp", sizes=[2**63, 1])
    yield row("10**5000", ValueError, r"sizes\[0\] is an .* int; expected", sizes=[10**5000, 1])
    # 10**15 numbers lie outside what a 64-bit processor can address: no overcommitting helps.
    yield row(
        "8 PB",
        MemoryError,
        r"sizes is \[10000000, 100000000\]: \d+ parameters take 8000000800000000 bytes, more than",
        sizes=[10**7, 10**8],
    )
    yield row("unprintable", TypeError, r"sizes is an object of type Unpr", sizes=Unprintable())
    # B. the other arguments
    yield row(
        "misspelt activation",
        ValueError,
        r"activation is 'sigmod'; expected one of 'sigmoid', .*; did you mean 'sigmoid'\?",
        activation="sigmod",
    )
    yield row(
        "one activation for two",
        ValueError,
        r"activation has 1 entries; expected 2",
        activation=["relu"],
    )
    yield row("no activations", ValueError, r"activation has 0 entries; exp", activation=[])
    yield row(
        "second misspelt",
        ValueError,
        r"activation\[1\] is 'tahn'; expected one of .* mean 'tanh'",
        activation=["relu", "tahn"],
    )
    yield row("bytes", TypeError, r"activation is b'relu' \(bytes\)", activation=b"relu")
    yield row("activation None", TypeError, r"activation is None", activation=None)
    yield row("function", TypeError, r"activation is <ufunc 'tanh'>", activation=np.tanh)
    yield row(
        "softmax below",
        ValueError,
        r"activation is 'softmax' in layer 1; expected it in the last layer",
        activation=["softmax", "sigmoid"],
    )
    yield row(
        "cost function",
        TypeError,
        r"cost is <function .*, a function without its derivative; expected a name or Cost",
        cost=lambda a, y: 0,
    )
    yield row("misspelt cost", ValueError, r"cost is 'mes'; expected one of", cost="mes")
    yield row("cost None", TypeError, r"cost is None", cost=None)
    yield row(
        "cross-entropy of linear",
        ValueError,
        r"cost is 'cross_entropy' with the output activation 'identity'; expected 'sigmoid' or",
        activation="linear",
        cost="cross_entropy",
    )
    yield row(
        "cross-entropy of the user's",
        ValueError,
        r"cost is 'cross_entropy' with the output activation 'mine'; expected 'sigmoid' or",
        activation=Activation(np.tanh, np.cos, "mine"),
        cost="cross_entropy",
    )
    yield row("poisson", ValueError, r"cost is 'poisson' with .* 'tanh'", activation="tanh",
              cost="poisson")  # fmt: skip
    for dtype in ("float16", np.longdouble, "complex64", int, object, ">f8", "f4,f4", None):
        pattern = rf"dtype is {re.escape(repr(dtype))}; {two_floats}"
        yield row(f"dtype {dtype}", ValueError, pattern, dtype=dtype)
    for dtype in ("banana", 5.0, {"a": 1}, "M8[xx]"):
        pattern = rf"dtype is {re.escape(repr(dtype))}; {two_floats}"
        yield row(f"dtype {dtype}", TypeError, pattern, dtype=dtype)
    yield row("init", ValueError, r"init is 'xavier'; expected one of 'auto'", init="xavier")
    yield row("init None", TypeError, r"init is None .*; expected one of 'auto'", init=None)
    for seed in (1.5, "a", np.array([1])):
        pattern = rf"seed is {re.escape(repr(seed))} \(\w+\); expected an integer"
        yield row(f"seed {seed!r}", TypeError, pattern, seed=seed)
    yield row("seed True", TypeError, r"seed is True; expected an integer", seed=True)
    yield row("seed -1", ValueError, r"seed is -1; expected at least 0", seed=-1)
    generator = np.random.default_rng(0)
    yield row("seed Generator", TypeError, r"seed is Generator.* expected an int", seed=generator)
    yield row("threads 0", ValueError, r"threads is 0; expected at least 1", threads=0)
    yield row("threads -1", ValueError, r"threads is -1; expected at least 1", threads=-1)
    yield row("threads 1.0", TypeError, r"threads is 1.0 \(float\); expected", threads=1.0)
    yield row("threads True", TypeError, r"threads is True; expected", threads=True)
    yield row("backend", ValueError, r"backend is 'gpu'; expected one of 'comp", backend="gpu")
    yield row("backend None", TypeError, r"backend is None .*; expected one of", backend=None)
    for kind, names in ((Activation, "value derivative"), (Cost, "value gradient")):
        for position, name in enumerate(names.split()):
            functions = [np.tanh, np.tanh]
            functions[position] = "tanh"
            yield Row(
                f"{kind.__name__} {name}",
                lambda net, kind=kind, functions=tuple(functions): kind(*functions),
                TypeError,
                rf"{name} is str; expected a function",
                lambda net: {},
            )
        for name in (3, b"mine", ["mine"], NotImplemented, Unprintable()):
            yield Row(
                f"{kind.__name__} name {label(name)}",
                lambda net, kind=kind, name=name: kind(np.tanh, np.tanh, name),
                TypeError,
                rf"name is {type(name).__name__}; expected a string or None",
                lambda net: {},
            )
    integer = r"\(\w+\); expected an integer"
    for argument in ("seed", "threads", "sizes[1]"):
        for value, error, pattern in not_integer(integer):
            given = {argument: value} if "[" not in argument else {"sizes": [4, value, 3]}
            pattern = f"{re.escape(argument)}{pattern}"
            yield row(f"{argument} {label(value)}", error, pattern, **given)
    yield Row(
        "reset", "reset", TypeError, "seed is 'a'", lambda net: {"seed": "a"}
    )._replace(call=lambda net, seed: net.reset(seed))  # fmt: skip


# C. What cannot be an array of numbers, whatever its shape: name, how to make it, error, message.
BAD_ARRAYS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("None", lambda: None, TypeError, r" is None; expected an array of numbers"),
    ("ragged", lambda: [[1, 2, 3, 4], [5]], ValueError, r" is \[\[1, 2, .*expected a rectangular"),
    (
        "arrays of two lengths",
        lambda: [np.zeros((2, 3)), np.zeros((3, 3))],
        ValueError,
        r" is \[array.*; expected a rectangular array of numbers",
    ),
    ("text", lambda: "abcd", TypeError, r" is 'abcd' \(str\); expected an array of numbers"),
    ("bytes", lambda: b"abcd", TypeError, r" is b'abcd' \(bytes\); expected an array"),
    ("list of text", lambda: [["1.5"] * 4], TypeError, r" has dtype <U3; .*, not text"),
    ("one text", lambda: [[1.0, "2", 3.0, 4.0]], TypeError, r" has dtype <U32; .*, not text"),
    ("array of text", lambda: np.full((6, 4), "1"), TypeError, r" has dtype <U1; expected real"),
    ("array of bytes", lambda: np.full((6, 4), b"1"), TypeError, r" has dtype \|S1; expected"),
    (
        "object array of floats",
        lambda: np.ones((6, 4), object),
        TypeError,
        r" has dtype object; expected real numbers; use .astype\(float\)",
    ),
    ("object with None", lambda: [[1.0, None, 2.0, 3.0]], TypeError, r" has dtype object; expec"),
    ("Decimal", lambda: [[decimal.Decimal(1)] * 4], TypeError, r" has dtype object; expected"),
    ("Fraction", lambda: [[fractions.Fraction(1)] * 4], TypeError, r" has dtype object; expected"),
    (
        "10**400",
        lambda: [[10**400, 0, 0, 0]],
        ValueError,
        r" has an integer too large for a float; expected numbers up to 1.798e\+308",
    ),
    ("10**5000", lambda: [[10**5000, 0.5, 0, 0]], ValueError, r" has an integer too large for a"),
    ("complex", lambda: np.ones((6, 4), complex), TypeError, r" has dtype complex128; expected re"),
    ("complex list", lambda: [[1 + 0j] * 4], TypeError, r" has dtype complex128; expected real"),
    (
        "datetime64",
        lambda: np.zeros((6, 4), "datetime64[D]"),
        TypeError,
        r" has dtype datetime64\[D\]; expected real numbers",
    ),
    ("timedelta64", lambda: np.zeros((6, 4), "m8[s]"), TypeError, r" has dtype timedelta64\[s\];"),
    ("void", lambda: np.zeros((6, 4), "V8"), TypeError, r" has dtype \|V8; expected real numbers"),
    (
        "one-field structure",
        lambda: np.zeros((6, 4), [("a", "f8")]),
        TypeError,
        r" has dtype \[\('a', '<f8'\)\]; expected real numbers",
    ),
    (
        "masked entries",
        lambda: np.ma.masked_array(np.ones((6, 4)), mask=np.eye(6, 4)),
        ValueError,
        r" has 4 masked entries; expected none",
    ),
    (
        "masked entry in a list of lists",
        lambda: [[1.0, np.ma.masked, 3.0, np.ma.masked], (4.0, 5.0, 6.0, np.ma.masked)],
        ValueError,
        r" has 3 masked entries; expected none",
    ),
    (
        "array of strings of any length",
        lambda: np.full((6, 4), "1", np.dtypes.StringDType()),
        TypeError,
        r" has dtype StringDType\(\); expected real numbers, not text",
    ),
    (
        "list of masked rows",
        lambda: [np.ma.masked_array(np.ones(4), mask=[0, 1, 0, 0])] * 6,
        ValueError,
        r" has 6 masked entries; expected none",
    ),
    ("dict", lambda: {0: [1, 2, 3, 4]}, TypeError, r" is \{0: .* \(dict\); expected an array"),
    ("set", lambda: {1.0}, TypeError, r" is \{1.0\} \(set\); expected an array of numbers"),
    (
        "generator",
        lambda: (i for i in range(4)),
        TypeError,
        r" is <generator .* \(generator\); exp",
    ),
    ("iterator", lambda: iter([1, 2, 3, 4]), TypeError, r" is <list_iter.* expected an array of"),
    ("object()", object, TypeError, r" is <object .* \(object\); expected an array of numbers"),
    ("a type", lambda: float, TypeError, r" is <class 'float'> \(type\); expected an array"),
    ("unprintable", Unprintable, TypeError, r" is an object of type Unprintable .*; expected an"),
    (
        "__array__ of a wrong type",
        lambda: ArrayOf(5),
        TypeError,
        r" is <.*ArrayOf .*which does not become an array .*; expected an array of numbers",
    ),
    (
        "__array__ that raises",
        lambda: ArrayOf(KeyError("why")),
        TypeError,
        r" is <.*ArrayOf .*which does not become an array \('why'\); expected an array of numbers",
    ),
    (
        "tensor that needs its gradient",
        lambda: ArrayOf(RuntimeError("call .detach() first")),
        TypeError,
        r" is <.*ArrayOf .*which does not become an array \(call .detach\(\) first\); expected",
    ),
    (
        "torch tensor that needs its gradient",
        lambda: torch().zeros((6, 4), requires_grad=True),
        TypeError,
        r" is tensor.*which does not become an array .*; expected",
    ),
    ("sparse look-alike", Sparse, TypeError, r" is a sparse Sparse; expected .* use .toarray\(\)"),
    (
        "scipy sparse matrix",
        lambda: scipy_sparse().csr_matrix(np.eye(6, 4)),
        TypeError,
        r" is a sparse csr_matrix; expected a dense array: use .toarray\(\)",
    ),
    (
        "scipy sparse array",
        lambda: scipy_sparse().coo_array(np.eye(6, 4)),
        TypeError,
        r" is a sparse coo_array; expected a dense array: use .toarray\(\)",
    ),
    (
        "frame with text",
        lambda: Frame({"a": [1.0], "b": ["x"]}, [np.dtype(float), np.dtype(object)]),
        TypeError,
        r" has dtype object in column 'b'; expected real numbers without missing values",
    ),
    (
        "frame with a gap",
        lambda: Frame({"a": [1.0], "gap": [None]}, [np.dtype(float), NullableInteger()]),
        TypeError,
        r" has dtype Int64 in column 'gap'; expected real numbers without missing values",
    ),
    (
        "pandas frame with pd.NA",
        lambda: pandas().DataFrame({"a": pandas().array([1, None], dtype="Int64")}),
        TypeError,
        r" has dtype Int64 in column 'a'; expected real numbers without missing values",
    ),
    (
        "pandas frame with text",
        lambda: pandas().DataFrame({"a": [1.0], "b": ["x"]}),
        TypeError,
        r" has dtype \w+ in column 'b'; expected real numbers",
    ),
    (
        "a broadcast row of 512 TiB",
        lambda: np.broadcast_to(np.zeros(4), (2**44, 4)),
        MemoryError,
        r" has shape \(17592186044416, 4\): a contiguous copy takes 562949953421312 bytes",
    ),
]


def array_rows():
    """C. Every bad array as every argument that is one."""
    for kind in BAD_ARRAYS:
        for row in rows_of_kind(*kind):
            yield row._replace(group=f"array: {kind[0]}")


def rows_of_kind(name, make, error, pattern):
    if name.startswith(("pandas", "torch")):
        # The look-alikes go everywhere; the real ones only here, where they may be missing.
        yield Row(
            f"predict {name}", "predict", error, f"X{pattern}", lambda net, m=make: {"X": m()}
        )
        return
    for call in (*WITH_X, *WITH_BOTH):
        yield Row(f"{call} X {name}", call, error, f"X{pattern}", lambda net, m=make: {"X": m()})
    for call in WITH_BOTH:
        yield Row(f"{call} Y {name}", call, error, f"Y{pattern}", lambda net, m=make: {"Y": m()})
    if error is not MemoryError:
        for argument in ("x", "y"):
            yield Row(
                f"chain_rule {argument} {name}", "chain_rule", error, f"{argument}{pattern}",
                lambda net, a=argument, m=make: {a: m()},
            )  # fmt: skip
    for position in (0, 1):
        yield Row(
            f"fit validation_data[{position}] {name}",
            "fit",
            error,
            rf"validation_data\[{position}\]{pattern}",
            lambda net, m=make, p=position: {
                "validation_data": tuple(m() if i == p else data()[i] for i in (0, 1))
            },
        )
    yield Row(
        f"parameters {name}", "parameters", error, f"parameters{pattern}",
        lambda net, m=make: {"parameters": m()},
    )  # fmt: skip
    for call in CURVATURE:
        yield Row(f"{call} v {name}", call, error, f"v{pattern}", lambda net, m=make: {"v": m()})
    if name != "None":
        for position, argument in enumerate(("X2", "Y2")):
            yield Row(
                f"gradient_gram {argument} {name}", "gradient_gram", error, f"{argument}{pattern}",
                lambda net, m=make, p=position: {
                    name: m() if i == p else data()[i] for i, name in enumerate(("X2", "Y2"))
                },
            )  # fmt: skip
        for call in ("cost", "gradient"):
            yield Row(
                f"{call} sample_weight {name}", call, error, f"sample_weight{pattern}",
                lambda net, m=make: {"sample_weight": m()},
            )  # fmt: skip


def shape_rows():
    """D. Shapes that do not fit."""
    every = (*WITH_X, *WITH_BOTH)
    because = r"expected \(n, 4\) because sizes\[0\] is 4"
    for name, shape, hint in (
        ("(6, 3)", (6, 3), ""),
        ("(6, 5)", (6, 5), ""),
        ("(6, 0)", (6, 0), ""),
        ("(0, 3)", (0, 3), ""),
        ("transposed", (4, 6), "; the transpose has that shape"),
        ("3-D", (6, 4, 1), ""),
        ("a number", (), ""),
        ("(3,)", (3,), r", or \(4,\) for one example"),
        ("(0,)", (0,), r", or \(4,\) for one example"),
    ):
        for call in every:
            yield Row(
                f"{call} X {name}", call, ValueError,
                rf"X has shape {re.escape(str(shape))}; {because}{hint}$",
                lambda net, shape=shape: {"X": np.zeros(shape)},
            )  # fmt: skip
    yield Row(
        "fit one example", "fit", ValueError,
        r"X has shape \(4,\); expected \(n, 4\): use X.reshape\(1, -1\)",
        lambda net: {"X": np.zeros(4), "Y": np.zeros(3)},
    )  # fmt: skip
    for name, shape, hint in (
        ("(6, 2)", (6, 2), ""),
        ("(6, 0)", (6, 0), ""),
        ("transposed", (3, 6), "; the transpose has that shape"),
        ("3-D", (6, 3, 1), ""),
        ("a number", (), ""),
        ("labels", (6,), r"; class labels become targets by datasets.one_hot\(Y, 3\)"),
        ("(3,) for many", (3,), r"; class labels become targets by datasets.one_hot\(Y, 3\)"),
    ):
        for call in WITH_BOTH:
            yield Row(
                f"{call} Y {name}", call, ValueError,
                rf"Y has shape {re.escape(str(shape))}; expected \(n, 3\) because sizes\[-1\] is 3"
                rf"{hint}$",
                lambda net, shape=shape: {"Y": np.zeros(shape)},
            )  # fmt: skip
    for call in WITH_BOTH:
        yield Row(
            f"{call} Y 1-D of one output", call, ValueError,
            r"Y has shape \(6,\); expected \(n, 1\) because sizes\[-1\] is 1; "
            r"use Y.reshape\(-1, 1\)$",
            lambda net: {"Y": np.zeros(6)}, {"sizes": [4, 5, 1]},
        )  # fmt: skip
        for n in (0, 1, 5, 7):
            yield Row(
                f"{call} {n} rows of Y", call, ValueError,
                rf"Y has {n} rows and X has 6; expected as many",
                lambda net, n=n: {"Y": np.zeros((n, 3))},
            )  # fmt: skip
    for call in ONE_EXAMPLE_IS_FINE:
        if call in WITH_BOTH:
            for shape in ((1, 3), (4,), (6, 3)):
                yield Row(
                    f"{call} one X, Y {shape}", call, ValueError,
                    rf"Y has shape {re.escape(str(shape))}; expected \(3,\) because sizes\[-1\]",
                    lambda net, shape=shape: {"X": np.zeros(4), "Y": np.zeros(shape)},
                )  # fmt: skip
    for call in ("fit", "partial_fit", "check_gradient", "score", "cost", "gradient", *MEANS):
        yield Row(
            f"{call} of nothing", call, ValueError, r"X has 0 examples; expected at least 1 for ",
            lambda net: {"X": np.zeros((0, 4)), "Y": np.zeros((0, 3))},
        )  # fmt: skip
    for name, pair, error, pattern in (
        ("text", "ab", TypeError, r" is 'ab' \(str\); expected a pair"),
        ("dict", {}, TypeError, r" is \{\} \(dict\); expected a pair"),
        ("array", np.zeros((2, 6, 4)), TypeError, r" is array.* \(ndarray\); expected a pair"),
        ("one", (np.zeros((2, 4)),), ValueError, r" has 1 entries; expected 2"),
        ("three", (*data(), 1), ValueError, r" has 3 entries; expected 2"),
        ("no rows", (np.zeros((0, 4)), np.zeros((0, 3))), ValueError, r"\[0\] has 0 examples; exp"),
        (
            "one example",
            (np.zeros(4), np.zeros(3)),
            ValueError,
            r"\[0\] has shape \(4,\); expected",
        ),
        (
            "lengths",
            (np.zeros((2, 4)), np.zeros((3, 3))),
            ValueError,
            r"\[1\] has 3 rows and validation_data\[0\] has 2; expected as many",
        ),
        (
            "labels",
            (np.zeros((2, 4)), np.zeros(2)),
            ValueError,
            r"\[1\] has shape \(2,\); expected",
        ),
    ):
        yield Row(
            f"fit validation_data {name}", "fit", error, f"validation_data{pattern}",
            lambda net, pair=pair: {"validation_data": pair},
        )  # fmt: skip
    for argument, shapes in (
        ("x", ((2, 4), (1, 3), (3,), (), (1, 1, 4), (0, 4))),
        ("y", ((2, 3), (1, 4), (4,), (), (1, 1, 3), (0, 3))),
    ):
        for shape in shapes:
            # One row of a matrix has become a vector when its length is looked at.
            shown = shape[1:] if len(shape) == 2 and shape[0] == 1 else shape
            yield Row(
                f"chain_rule {argument} {shape}", "chain_rule", ValueError,
                rf"(?i:{argument}) has shape {re.escape(str(shown))}; expected",
                lambda net, a=argument, shape=shape: {a: np.zeros(shape)},
            )  # fmt: skip
    for shape in ((), (42,), (44,), (1, 43), (43, 1), (0,)):
        yield Row(
            f"parameters {shape}", "parameters", ValueError,
            rf"parameters has shape {re.escape(str(shape))}; expected \(43,\)",
            lambda net, shape=shape: {"parameters": np.zeros(shape)},
        )  # fmt: skip
    for call in ("cost", "gradient"):
        for shape in ((5,), (6, 1), ()):
            yield Row(
                f"{call} sample_weight {shape}", call, ValueError,
                rf"sample_weight has shape {re.escape(str(shape))}; expected \(6,\), one for each",
                lambda net, shape=shape: {"sample_weight": np.ones(shape)},
            )  # fmt: skip
    # 6,000,000 x 3,000,001 numbers: more than a 64-bit processor can address.
    yield Row(
        "gradient per example of 144 TB",
        lambda net, X: Network([1, 10**6, 1], init="zeros", backend=net.backend).gradient(
            X, X, per_example=True
        ),
        MemoryError,
        r"the gradient takes 144000048000000 bytes, more than can be had",
        lambda net: {"X": np.zeros((6_000_000, 1))},
    )
    yield Row(
        "jacobian of 144 TB",
        lambda net, X: Network([1, 10**6, 1], init="zeros", backend=net.backend).jacobian(X),
        MemoryError,
        r"the Jacobian takes 144000048000000 bytes, more than can be had",
        lambda net: {"X": np.zeros((6_000_000, 1))},
    )


def put(shape, index, value, dtype=float):
    result = np.zeros(shape, dtype)
    result[index] = value
    return result


def value_rows():
    """F. Numbers that are not finite, out of range, or that overflow."""
    every = (*WITH_X, *WITH_BOTH)
    for value in (np.nan, np.inf, -np.inf):
        for call in every:
            yield Row(
                f"{call} X {value}", call, ValueError,
                rf"X has {value} at \[2, 1\]; expected finite numbers",
                lambda net, v=value: {"X": put((6, 4), (2, 1), v)},
            )  # fmt: skip
        for call in WITH_BOTH:
            yield Row(
                f"{call} Y {value}", call, ValueError,
                rf"Y has {value} at \[5, 2\]; expected finite numbers",
                lambda net, v=value: {"Y": put((6, 3), (5, 2), v)},
            )  # fmt: skip
        for position, shape in enumerate(((6, 4), (6, 3))):
            yield Row(
                f"fit validation_data[{position}] {value}", "fit", ValueError,
                rf"validation_data\[{position}\] has {value} at \[0, 1\]; expected finite numbers",
                lambda net, v=value, p=position, s=shape: {
                    "validation_data": [put(s, (0, 1), v) if i == p else data()[i] for i in (0, 1)]
                },
            )  # fmt: skip
        yield Row(
            f"parameters {value}", "parameters", ValueError,
            rf"parameters has {value} at \[42\]; expected finite numbers",
            lambda net, v=value: {"parameters": put(43, 42, v)},
        )  # fmt: skip
        for call in ("cost", "gradient"):
            yield Row(
                f"{call} sample_weight {value}", call, ValueError,
                rf"sample_weight has {value} at \[3\]; expected finite numbers",
                lambda net, v=value: {"sample_weight": put(6, 3, v)},
            )  # fmt: skip
        yield Row(
            f"chain_rule x {value}", "chain_rule", ValueError,
            rf"x has {value} at \[0, 3\]; expected finite numbers",
            lambda net, v=value: {"x": put(4, 3, v)},
        )  # fmt: skip
        yield Row(
            f"chain_rule y {value}", "chain_rule", ValueError,
            rf"y has {value} at \[0, 2\]; expected finite numbers",
            lambda net, v=value: {"y": put(3, 2, v)},
        )  # fmt: skip
    # The second argument of a call that is wrong twice is not reached.
    yield Row(
        "gradient wrong twice", "gradient", ValueError, r"X has shape",
        lambda net: {"X": np.zeros((6, 3)), "Y": np.full((6, 3), np.nan)},
    )  # fmt: skip
    for call in every:
        yield Row(
            f"{call} X float32", call, ValueError,
            r"X has .*1e\+300\)? at \[2, 1\], which overflows float32; "
            r"expected numbers up to 3.403e\+38",
            lambda net: {"X": put((6, 4), (2, 1), 1e300)}, {"dtype": "float32"},
        )  # fmt: skip
    yield Row(
        "parameters float32", "parameters", ValueError,
        r"parameters has .*-1e\+39.* at \[7\], which overflows float32; expected numbers up to",
        lambda net: {"parameters": put(43, 7, -1e39)}, {"dtype": "float32"},
    )  # fmt: skip
    if np.finfo(np.longdouble).max > np.finfo(float).max:
        yield Row(
            "predict X long double", "predict", ValueError,
            r"X has .*1e\+4000.* at \[0, 0\], which overflows float64; expected numbers up to 1.79",
            lambda net: {"X": put((6, 4), (0, 0), np.longdouble("1e4000"), np.longdouble)},
        )  # fmt: skip
    for value, name in ((-0.1, "negative"), (1.1, "above 1")):
        for call in WITH_BOTH:
            yield Row(
                f"{call} cross-entropy target {name}", call, ValueError,
                rf"Y has {value} at \[1, 2\]; expected numbers in \[0, 1\] because the cost is "
                r"'cross_entropy'",
                lambda net, v=value: {"Y": put((6, 3), (1, 2), v)}, {"cost": "cross_entropy"},
            )  # fmt: skip
    for call in WITH_BOTH:
        yield Row(
            f"{call} poisson target", call, ValueError,
            r"Y has -0.5 at \[1, 2\]; expected numbers >= 0 because the cost is 'poisson'",
            lambda net: {"Y": put((6, 3), (1, 2), -0.5)}, {"cost": "poisson"},
        )  # fmt: skip
    for call in ("cost", "gradient"):
        yield Row(
            f"{call} no weight", call, ValueError,
            r"sample_weight has the sum 0.0; expected a sum > 0",
            lambda net: {"sample_weight": np.zeros(6)},
        )  # fmt: skip
        yield Row(
            f"{call} negative weight", call, ValueError,
            r"sample_weight has -1.0 at \[4\]; expected numbers >= 0",
            lambda net: {"sample_weight": [1, 1, 1, 1, -1, 1]},
        )  # fmt: skip
        for dtype, weight in (("float64", 1e308), ("float32", 2e38)):
            yield Row(
                f"{call} weights whose sum overflows {dtype}", call, ValueError,
                r"sample_weight has the sum .*; expected a sum > 0, up to",
                lambda net, w=weight: {"sample_weight": np.full(6, w)}, {"dtype": dtype},
            )  # fmt: skip
        yield Row(
            f"{call} weights per example", call, ValueError,
            r"sample_weight is given with per_example=True; expected None",
            lambda net: {"sample_weight": np.ones(6), "per_example": True},
        )  # fmt: skip
    huge = {"sizes": [4, 3], "activation": "identity", "init": "zeros"}

    def overflowing(net):
        # The sum that overflows is W.x of layer 1: 4 times 1e308.
        net.weights[0][...] = 1.0
        return {"X": np.full((6, 4), 1e308)}

    for call in every:
        if call not in ("partial_fit", "fit"):
            yield Row(
                f"{call} z overflows", overflow_call(call), FloatingPointError,
                r"the weighted input z of layer 1 is not finite: finite inputs and parameters "
                r"overflowed float64",
                overflowing, huge,
            )  # fmt: skip
    yield Row(
        "predict exp overflows", "predict", FloatingPointError,
        r"the activation a of layer 2 is not finite",
        lambda net: net.biases[1].fill(1e3) or {},
        {"activation": ["sigmoid", "exponential"]},
    )  # fmt: skip
    yield Row(
        "gradient cost overflows", "gradient", FloatingPointError,
        r"the cost or its gradient of layer 2 is not finite",
        lambda net: {"Y": np.full((6, 3), 1e200)},
    )  # fmt: skip
    # 1e200 passed back through 1e200; with relu at 0 that is then multiplied by 0.
    for first in ("identity", "relu"):
        yield Row(
            f"jacobian overflows below {first}", lambda net: net.jacobian(np.zeros((6, 1))),
            FloatingPointError, r"a derivative of the outputs of layer 1 is not finite",
            lambda net: [W.fill(1e200) for W in net.weights] and {},
            {
                "sizes": [1, 1, 1, 1], "init": "zeros",
                "activation": [first, "identity", "identity"],
            },
        )  # fmt: skip
    # Each derivative fits; the root of their squares' sum does not.
    yield Row(
        "norm overflows",
        lambda net: net.gradient_norms(np.zeros((6, 4)), np.full((6, 3), 1.7e308)),
        FloatingPointError,
        r"the norm of a gradient is not finite",
        lambda net: {},
        {
            "sizes": [4, 3],
            "activation": "identity",
            "init": "zeros",
            "cost": Cost(lambda a, y: np.zeros(len(a)), lambda a, y: y, "free"),
        },
    )


def overflow_call(call):
    """The call with the overflowing X and targets of 0."""

    def function(net, X):
        good = {"X": X} if call in WITH_X else {"X": X, "Y": X[:, :3] * 0, **besides(net, call)}
        return getattr(net, call)(**good)

    return function


def layout_rows():
    """E. What `out` must not be."""

    def row(name, error, pattern, make, call="predict"):
        return Row(f"{call} out {name}", call, error, pattern, lambda net: {"out": make(net)})

    good = np.zeros((6, 3))
    for call, shape in (("predict", (6, 3)), ("gradient", (43,)), ("jacobian", (6, 3, 43))):
        width = shape[-1]
        yield row("list", TypeError, r"out is list; expected a NumPy array", lambda net: [0], call)
        # A mask could keep the results out; a matrix has rows of its own.
        for kind in (np.ma.MaskedArray, np.matrix, np.recarray):
            yield row(
                f"{kind.__name__}", TypeError, rf"out is {kind.__name__}; expected a NumPy array",
                lambda net, s=shape, k=kind: np.zeros(s if k is not np.matrix else (6, 3)).view(k),
                call,
            )  # fmt: skip
        for dtype in ("float32", "int64", ">f8", "complex128", object):
            shown = re.escape(str(np.dtype(dtype)))
            yield row(
                f"{dtype}", TypeError, rf"out has dtype {shown}; expected float64",
                lambda net, s=shape, d=dtype: np.zeros(s, d), call,
            )  # fmt: skip
        for wrong in ((*shape[:-1], width + 1), (*shape, 1), (), (0,), (*shape[::-1], 1)):
            yield row(
                f"{wrong}", ValueError,
                rf"out has shape {re.escape(str(wrong))}; expected {re.escape(str(shape))}",
                lambda net, w=wrong: np.zeros(w), call,
            )  # fmt: skip
        yield row(
            "strided", ValueError, r"out has strides .*; expected a C-contiguous, aligned array",
            lambda net, s=shape: np.zeros((*s[:-1], 2 * s[-1]))[..., ::2], call,
        )  # fmt: skip
        yield row(
            "reversed", ValueError, r"out has strides .*; expected a C-contiguous, aligned array",
            lambda net, s=shape: np.zeros(s)[..., ::-1], call,
        )  # fmt: skip
        yield row(
            "misaligned", ValueError, r"out has strides .*; expected a C-contiguous, aligned array",
            lambda net, s=shape: misaligned(np.zeros(s)), call,
        )  # fmt: skip
        yield row(
            "read-only", ValueError, r"out is read-only; expected a writeable array",
            lambda net, s=shape: read_only(np.zeros(s)), call,
        )  # fmt: skip
    yield row(
        "Fortran", ValueError, r"out has strides \(8, 48\); expected a C-contiguous, aligned array",
        lambda net: np.asfortranarray(good),
    )  # fmt: skip

    def overlapping(call, name, offset):
        """X (or Y) and out in one block of memory, `offset` numbers apart."""

        def make(net):
            X, Y = data()
            size = {"X": 24, "Y": 18}[name]
            block = np.zeros(2000)
            start = 1000 if offset < 0 else 0
            given = block[start : start + size].reshape(6, -1)
            given[...] = X if name == "X" else Y
            shapes = {"predict": (6, 3), "gradient": (43,), "jacobian": (6, 3, 43)}
            shape = shapes.get(call, (6, 43))
            out = block[start + offset :][: int(np.prod(shape))]
            return {name: given, "out": out.reshape(shape)}

        return make

    for call, name, offset in (
        ("predict", "X", 0), ("predict", "X", 23), ("predict", "X", -17),
        ("gradient", "X", 0), ("gradient", "X", 23), ("gradient", "X", -42),
        ("gradient", "Y", 0), ("gradient", "Y", 17), ("gradient", "Y", -42),
        ("jacobian", "X", 0), ("jacobian", "X", 23), ("jacobian", "X", -773),
    ):  # fmt: skip
        yield Row(
            f"{call} out overlaps {name} at {offset}", call, ValueError,
            rf"out overlaps {name}; expected memory of its own", overlapping(call, name, offset),
        )  # fmt: skip
    yield Row(
        "predict out is a bias", lambda net, x, out: net.predict(x, out=out), ValueError,
        r"out overlaps the parameters; expected memory of its own",
        lambda net: {"x": np.zeros(4), "out": net.biases[1]},
    )  # fmt: skip
    yield Row(
        "predict out is the weights", lambda net, X, out: net.predict(X, out=out), ValueError,
        r"out overlaps the parameters; expected memory of its own",
        lambda net: {"X": np.zeros((3, 1)), "out": net.weights[0]},
        {"sizes": [1, 3, 1], "activation": "tanh"},
    )  # fmt: skip
    yield Row(
        "predict out of one example", lambda net, x, out: net.predict(x, out=out), ValueError,
        r"out has shape \(1, 3\); expected \(3,\)",
        lambda net: {"x": np.zeros(4), "out": np.zeros((1, 3))},
    )  # fmt: skip
    yield Row(
        "jacobian out is the parameters", lambda net, x, out: net.jacobian(x, out=out), ValueError,
        r"out overlaps the parameters; expected memory of its own",
        lambda net: {"x": np.zeros(1), "out": net._storage[:2].reshape(1, 2)},
        {"sizes": [1, 1], "activation": "tanh"},
    )  # fmt: skip
    yield Row(
        "jacobian out of one example", lambda net, x, out: net.jacobian(x, out=out), ValueError,
        r"out has shape \(1, 3, 43\); expected \(3, 43\)",
        lambda net: {"x": np.zeros(4), "out": np.zeros((1, 3, 43))},
    )  # fmt: skip
    yield Row(
        "gradient out is the parameters", lambda net, x, y, out: net.gradient(x, y, out=out),
        ValueError, r"out overlaps the parameters; expected memory of its own",
        lambda net: {"x": np.zeros(1), "y": np.zeros(1), "out": net._storage[:2]},
        {"sizes": [1, 1], "activation": "tanh"},
    )  # fmt: skip
    for name, make, error, pattern in (
        ("float32", lambda: np.zeros((6, 43), "f4"), TypeError, r"out has dtype float32; expected"),
        ("strided", lambda: np.zeros((6, 86))[:, ::2], ValueError, r"out has strides"),
        ("Fortran", lambda: np.zeros((43, 6)).T, ValueError, r"out has strides"),
        ("read-only", lambda: read_only(np.zeros((6, 43))), ValueError, r"out is read-only; exp"),
        ("one row", lambda: np.zeros((1, 43)), ValueError, r"out has shape \(1, 43\); expected"),
    ):
        yield Row(
            f"gradient per example out {name}", "gradient", error, pattern,
            lambda net, m=make: {"per_example": True, "out": m()},
        )  # fmt: skip
    for name in ("X", "Y"):
        yield Row(
            f"gradient per example out overlaps {name}", "gradient", ValueError,
            rf"out overlaps {name}; expected memory of its own",
            lambda net, n=name: {
                **overlapping("per example", n, -257)(net), "per_example": True
            },
        )  # fmt: skip
    yield Row(
        "gradient out per example", "gradient", ValueError,
        r"out has shape \(43,\); expected \(6, 43\)",
        lambda net: {"per_example": True, "out": np.zeros(43)},
    )  # fmt: skip


def hyper_parameter_rows():
    """G. Arguments of fit and partial_fit, and the optimisers' own."""
    integer, number = r"\(\w+\); expected an integer", r"\(\w+\); expected a real number"
    table: list[tuple[str, Any, type[Exception], str]] = [
        ("epochs", -1, ValueError, r"epochs is -1; expected at least 0"),
        ("epochs", None, TypeError, rf"epochs is None {integer}"),
        ("batch_size", 0, ValueError, r"batch_size is 0; expected at least 1"),
        ("batch_size", -1, ValueError, r"batch_size is -1; expected at least 1"),
        ("batch_size", None, TypeError, rf"batch_size is None {integer}"),
        ("learning_rate", -0.1, ValueError, r"learning_rate is -0.1; expected a number >= 0"),
        ("learning_rate", np.inf, ValueError, r"learning_rate is inf; expected a finite number"),
        ("optimizer", "sdg", ValueError, r"optimizer is 'sdg'; expected one of 'sgd', 'adam'.*sgd"),
        ("optimizer", "lion", ValueError, r"optimizer is 'lion'; expected one of 'sgd', 'adam'"),
        ("optimizer", 3, TypeError, r"optimizer is 3 \(int\); expected one of 'sgd', 'adam'"),
        ("optimizer", SGD, TypeError, r"optimizer is <class .*SGD'> \(type\); expected one of"),
    ]  # fmt: skip
    for argument in ("epochs", "batch_size"):
        table += [(argument, v, e, f"{argument}{p}") for v, e, p in not_integer(integer)]
    table += [("learning_rate", v, e, f"learning_rate{p}") for v, e, p in not_finite(number)]
    for argument, value, error, pattern in table:
        for call in ("fit", "partial_fit"):
            if call == "fit" or argument != "epochs":
                yield Row(
                    f"{call} {argument}={label(value)}", call, error, pattern,
                    lambda net, a=argument, v=value: {a: v},
                )  # fmt: skip
        if argument == "learning_rate":
            for kind in ("SGD", "Adam"):
                yield Row(
                    f"{kind} {argument}={label(value)}", kind, error, pattern,
                    lambda net, a=argument, v=value: {a: v},
                )  # fmt: skip
    for kind in ("SGD", "Adam"):
        yield Row(
            f"{kind} learning_rate=None", kind, TypeError, rf"learning_rate is None {number}",
            lambda net: {"learning_rate": None},
        )  # fmt: skip
    unit = r"expected a number in \[0, 1\)"
    for kind, argument, value, error, pattern in (
        ("SGD", "momentum", 1.0, ValueError, rf" is 1.0; {unit}"),
        ("SGD", "momentum", -0.1, ValueError, rf" is -0.1; {unit}"),
        ("SGD", "momentum", np.nan, ValueError, r" is nan; expected a finite number"),
        ("SGD", "momentum", "0.9", TypeError, rf" is '0.9' {number}"),
        ("SGD", "nesterov", 1, TypeError, r" is 1 \(int\); expected True or False"),
        ("SGD", "nesterov", "yes", TypeError, r" is 'yes' \(str\); expected True or False"),
        ("SGD", "nesterov", True, ValueError, r" is True with momentum 0.0; expected a momentum"),
        ("Adam", "beta1", 1.0, ValueError, rf" is 1.0; {unit}"),
        ("Adam", "beta2", -1e-9, ValueError, rf" is -1e-09; {unit}"),
        ("Adam", "beta2", None, TypeError, rf" is None {number}"),
        ("Adam", "epsilon", 0, ValueError, r" is 0.0; expected a number > 0"),
        ("Adam", "epsilon", -1e-8, ValueError, r" is -1e-08; expected a number > 0"),
        ("Adam", "epsilon", np.inf, ValueError, r" is inf; expected a finite number"),
    ):
        yield Row(
            f"{kind} {argument}={value!r}", kind, error, f"{argument}{pattern}",
            lambda net, a=argument, v=value: {a: v},
        )  # fmt: skip
    for argument, value, error, pattern in (
        ("shuffle", 1, TypeError, r" is 1 \(int\); expected True, False, an order of"),
        ("shuffle", "no", TypeError, r" is 'no' \(str\); expected True, False, an order of"),
        ("shuffle", None, TypeError, r" is None \(NoneType\); expected True, False, an order"),
        ("metrics", "acuracy", ValueError, r"\[0\] is 'acuracy'; .* did you mean 'accuracy'"),
        ("metrics", [abs, 3], TypeError, r"\[1\] is 3 \(int\); expected one of 'accuracy', 'm"),
        ("metrics", 3, TypeError, r" is 3 \(int\); expected names or functions"),
        ("metrics", {"accuracy"}, TypeError, r" is \{'accuracy'\} \(set\); expected names or fun"),
        ("metrics", None, TypeError, r" is None \(NoneType\); expected names or functions"),
        ("metrics", np.array(abs), TypeError, r" is array.* \(ndarray\); expected names or fun"),
        ("metrics", np.ma.masked, TypeError, r" is masked \(MaskedConstant\); expected names or"),
        ("callbacks", np.array(abs), TypeError, r" is array.* \(ndarray\); expected functions"),
        ("callbacks", np.ma.masked, TypeError, r" is masked \(MaskedConstant\); expected funct"),
        ("callbacks", 3, TypeError, r" is 3 \(int\); expected functions"),
        ("callbacks", "print", TypeError, r" is 'print' \(str\); expected functions"),
        ("callbacks", None, TypeError, r" is None \(NoneType\); expected functions"),
        ("callbacks", [abs, None], TypeError, r"\[1\] is None \(NoneType\); expected a function"),
        ("callbacks", {abs}, TypeError, r" is \{<built-in .* \(set\); expected functions"),
    ):
        yield Row(
            f"fit {argument}={label(value)}", "fit", error, f"{argument}{pattern}",
            lambda net, a=argument, v=value: {a: v},
        )  # fmt: skip


FREE = Cost(lambda a, y: np.zeros(len(a)), lambda a, y: y, "free")
BENT = {"second_derivative": lambda z: -np.sin(z)}
PLAIN = Activation(np.sin, np.cos, "plain")
SINE = Activation(np.sin, np.cos, "sine", **BENT)


def toolbox_rows():
    """max_norm, v, a second set of examples, missing second derivatives, and what overflows."""
    number = r"\(\w+\); expected a real number"
    for value, error, pattern in (
        (0, ValueError, r" is 0.0; expected a number > 0"),
        (-0.0, ValueError, r" is -0.0; expected a number > 0"),
        (-1.0, ValueError, r" is -1.0; expected a number > 0"),
        (np.nan, ValueError, r" is nan; expected a finite number"),
        (np.inf, ValueError, r" is inf; expected a finite number"),
        (-np.inf, ValueError, r" is -inf; expected a finite number"),
        (10**400, ValueError, r" is 1000.*; expected a finite number"),
        (True, TypeError, rf" is True {number}"),
        ("1", TypeError, rf" is '1' {number}"),
        (None, TypeError, rf" is None {number}"),
        (1j, TypeError, rf" is 1j {number}"),
        (decimal.Decimal(1), TypeError, rf" is Decimal.* {number}"),
        (np.ones(6), TypeError, rf" is array.* {number}"),
        (np.ma.masked, TypeError, rf" is masked {number}"),
        *not_finite(number),
    ):
        yield Row(
            f"clipped_gradient max_norm={label(value)}", "clipped_gradient", error,
            f"max_norm{pattern}", lambda net, v=value: {"max_norm": v},
        )  # fmt: skip
    yield Row(
        "clipped_gradient without max_norm", lambda net: net.clipped_gradient(*data()), TypeError,
        r".*missing 1 required positional argument: 'max_norm'", lambda net: {},
    )  # fmt: skip
    for call in CURVATURE:
        for shape in ((), (42,), (44,), (1, 43), (43, 1), (0,), (6, 43)):
            yield Row(
                f"{call} v {shape}", call, ValueError,
                rf"v has shape {re.escape(str(shape))}; expected \(43,\)",
                lambda net, shape=shape: {"v": np.zeros(shape)},
            )  # fmt: skip
        yield Row(
            f"{call} v gradients per example", call, ValueError,
            r"v has shape \(6, 43\); expected \(43,\)",
            lambda net: {"v": net.gradient(*data(), per_example=True)},
        )  # fmt: skip
        for value in (np.nan, np.inf, -np.inf):
            yield Row(
                f"{call} v {value}", call, ValueError,
                rf"v has {value} at \[42\]; expected finite numbers",
                lambda net, v=value: {"v": put(43, 42, v)},
            )  # fmt: skip
        yield Row(
            f"{call} v float32", call, ValueError,
            r"v has .*-1e\+39.* at \[7\], which overflows float32; expected numbers up to",
            lambda net: {"v": put(43, 7, -1e39)}, {"dtype": "float32"},
        )  # fmt: skip
        yield Row(
            f"{call} without a cost's second derivatives", call, ValueError,
            r"cost 'free' has no hessian_vector_product; expected "
            r"Cost\(value, gradient, hessian_vector_product=...\) for this call",
            lambda net: {}, {"cost": FREE},
        )  # fmt: skip
    for layer, activations in ((1, [PLAIN, "tanh"]), (2, [SINE, PLAIN])):
        yield Row(
            f"hessian_vector_product without second derivative in layer {layer}",
            "hessian_vector_product", ValueError,
            rf"activation 'plain' of layer {layer} has no second_derivative; expected "
            r"Activation\(value, derivative, second_derivative=...\) for this call",
            lambda net: {}, {"activation": activations},
        )  # fmt: skip
    for name, make in (
        ("second_derivative", lambda: Activation(np.sin, np.cos, second_derivative=1.0)),
        ("hessian_vector_product", lambda: Cost(np.sin, np.cos, hessian_vector_product="no")),
    ):
        yield Row(
            f"{name} that is no function", lambda net, m=make: m(), TypeError,
            rf"{name} is (float|str); expected a function of", lambda net: {},
        )  # fmt: skip
    yield from second_set_rows()
    yield from overflowing_rows()


def second_set_rows():
    """X2 and Y2 of gradient_gram: named as such, and as what goes with them."""

    def row(name, pattern, make, **options):
        return Row(
            f"gradient_gram {name}", "gradient_gram", ValueError, pattern, lambda net: make(),
            options,
        )  # fmt: skip

    X, Y = data(n=5)
    yield row("X2 alone", r"Y2 is None with X2 given; expected both or neither", lambda: {"X2": X})
    yield row("Y2 alone", r"X2 is None with Y2 given; expected both or neither", lambda: {"Y2": Y})
    for shape, hint in (
        ((5, 3), ""),
        ((5, 5), ""),
        ((4, 5), "; the transpose has that shape"),
        ((5, 4, 1), ""),
        ((3,), r", or \(4,\) for one example"),
    ):
        yield row(
            f"X2 {shape}",
            rf"X2 has shape {re.escape(str(shape))}; expected \(n, 4\) because sizes\[0\] is 4"
            rf"{hint}$",
            lambda shape=shape: {"X2": np.zeros(shape), "Y2": Y},
        )
    for shape, hint in (
        ((5, 4), ""),
        ((3, 5), "; the transpose has that shape"),
        ((5,), r"; class labels become targets by datasets.one_hot\(Y2, 3\)"),
    ):
        yield row(
            f"Y2 {shape}",
            rf"Y2 has shape {re.escape(str(shape))}; expected \(n, 3\) because sizes\[-1\] is 3"
            rf"{hint}$",
            lambda shape=shape: {"X2": X, "Y2": np.zeros(shape)},
        )
    yield row(
        "Y2 of one X2", r"Y2 has shape \(1, 3\); expected \(3,\) because sizes\[-1\] is 3",
        lambda: {"X2": X[0], "Y2": Y[:1]},
    )  # fmt: skip
    yield row(
        "rows of Y2", r"Y2 has 4 rows and X2 has 5; expected as many of one as of the other",
        lambda: {"X2": X, "Y2": Y[:4]},
    )  # fmt: skip
    for value in (np.nan, np.inf, -np.inf):
        yield row(
            f"X2 {value}", rf"X2 has {value} at \[2, 1\]; expected finite numbers",
            lambda v=value: {"X2": put((5, 4), (2, 1), v), "Y2": Y},
        )  # fmt: skip
        yield row(
            f"Y2 {value}", rf"Y2 has {value} at \[2, 1\]; expected finite numbers",
            lambda v=value: {"X2": X, "Y2": put((5, 3), (2, 1), v)},
        )  # fmt: skip
        yield row(
            f"X {value} with X2", rf"X has {value} at \[2, 1\]; expected finite numbers",
            lambda v=value: {"X": put((6, 4), (2, 1), v), "X2": X, "Y2": Y},
        )  # fmt: skip
    yield row(
        "X2 float32", r"X2 has .*1e\+300\)? at \[2, 1\], which overflows float32; expected",
        lambda: {"X2": put((5, 4), (2, 1), 1e300), "Y2": Y}, dtype="float32",
    )  # fmt: skip
    yield row(
        "cross-entropy target in Y2",
        r"Y2 has 1.5 at \[2, 1\]; expected numbers in \[0, 1\] because the cost is 'cross_entropy'",
        lambda: {"X2": X, "Y2": put((5, 3), (2, 1), 1.5)}, cost="cross_entropy",
    )  # fmt: skip
    yield Row(
        "gradient_gram of 288 TB",
        lambda net, X: Network([1, 1], backend=net.backend).gradient_gram(X, X), MemoryError,
        r"the Gram matrix takes 288000000000000 bytes, more than can be had",
        lambda net: {"X": np.zeros((6_000_000, 1))},
    )  # fmt: skip
    yield Row(
        "input_jacobian of 144 TB",
        lambda net, X: Network([1, 10**6], init="zeros", backend=net.backend).input_jacobian(X),
        MemoryError, r"the Jacobian takes 144000000000000 bytes, more than can be had",
        lambda net: {"X": np.zeros((18_000_000, 1))},
    )  # fmt: skip


def overflowing_rows():
    """Finite numbers whose results are not: each is named for what it is."""
    linear = {"sizes": [4, 3], "activation": "identity", "init": "zeros", "cost": FREE}

    def row(name, call, pattern, **options):
        return Row(name, call, FloatingPointError, pattern, lambda net: {}, {**linear, **options})

    zeros, ones = np.zeros((6, 4)), np.ones((6, 4))
    for dtype, y in (("float64", 1e200), ("float32", 1e25)):
        yield row(
            f"an inner product overflows {dtype}",
            lambda net, y=y: net.gradient_gram(zeros, np.full((6, 3), y)),
            r"an inner product of two gradients is not finite: .* overflowed " + dtype, dtype=dtype,
        )  # fmt: skip
        yield row(
            f"an inner product with a second set overflows {dtype}",
            lambda net, y=y: net.gradient_gram(
                zeros, np.full((6, 3), y), ones, np.full((6, 3), -y)
            ),
            r"an inner product of two gradients is not finite: .* overflowed " + dtype, dtype=dtype,
        )  # fmt: skip
        yield row(
            f"a variance overflows {dtype}",
            lambda net, y=y: net.gradient_moments(zeros, np.array([[y] * 3, [-y] * 3] * 3)),
            r"the variance of a derivative is not finite: .* overflowed " + dtype, dtype=dtype,
        )  # fmt: skip
    yield row(
        "a norm that clips overflows",
        lambda net: net.clipped_gradient(zeros, np.full((6, 3), 1.7e308), 1.0),
        r"the norm of a gradient is not finite",
    )  # fmt: skip
    yield row(
        "the variance of the costs overflows",
        lambda net: net.gradient_moments(zeros, np.array([[1e90, 0, 0], [0, 0, 0]] * 3)),
        r"the variance of the costs is not finite", cost="quadratic",
    )  # fmt: skip
    # Every layer's z of the second set: the weights are ones.
    yield Row(
        "z of a second set overflows",
        lambda net: net.gradient_gram(zeros, zeros[:, :3], np.full((6, 4), 1e308), zeros[:, :3]),
        FloatingPointError, r"the weighted input z of layer 1 is not finite",
        lambda net: net.weights[0].fill(1.0) or {}, linear,
    )  # fmt: skip
    for call in CURVATURE:
        yield row(
            f"{call} overflows",
            lambda net, call=call: getattr(net, call)(ones, zeros[:, :3], np.full(15, 1e308)),
            r"the product of the curvature with v is not finite", cost="quadratic",
        )  # fmt: skip
    # 1e200 passed back through 1e200.
    steep = {"sizes": [1, 1, 1], "init": "zeros", "activation": "identity"}

    def fill(net):
        for W in net.weights:
            W.fill(1e200)
        return {}

    yield Row(
        "input_jacobian overflows", lambda net: net.input_jacobian(np.zeros((6, 1))),
        FloatingPointError, r"a derivative of the outputs of layer 1 is not finite", fill, steep,
    )  # fmt: skip
    yield Row(
        "input_gradient overflows",
        lambda net: net.input_gradient(np.zeros((6, 1)), np.full((6, 1), 1e-100)),
        FloatingPointError, r"the cost or its gradient of layer 1 is not finite", fill, steep,
    )  # fmt: skip


WEIGHTS = np.linspace(0.5, 1, 6)


def not_finite(number):
    """What is rejected wherever a number is asked for."""
    yield np.nan, ValueError, r" is nan; expected a finite number"
    yield -np.inf, ValueError, r" is -inf; expected a finite number"
    yield 10**400, ValueError, r" is 1000.*; expected a finite number"
    yield 10**5000, ValueError, r" is an object of type int; expected a finite number"
    for value in (
        "0.1", b"0.1", 1j, True, np.False_, [0.1], np.array([0.1]), np.array("0.1"),
        np.array(True), decimal.Decimal(1), fractions.Fraction(1, 2), np.timedelta64(1),
        np.timedelta64(1, "s"), np.datetime64("2020"), np.ma.masked, np.ma.array(0.1, mask=True),
        np.void(b"12345678"), object(), float, Unprintable(), Colour.RED,
    ):  # fmt: skip
        yield value, TypeError, rf" is .* {number}"


def not_integer(integer):
    """What is rejected wherever an integer is asked for."""
    yield 2**63, ValueError, r" is 9223372036854775808; expected "
    yield 10**5000, ValueError, r" is an object of type int; expected at most"
    yield True, TypeError, r" is True; expected an integer, not a boolean"
    yield np.False_, TypeError, r" is np.False_; expected an integer, not a boolean"
    yield np.ma.array(2, mask=True), ValueError, r" has 1 masked entries; expected none"
    yield np.ma.masked, ValueError, r" has 1 masked entries; expected none"
    for value in (
        1.0, np.float32(1), np.nan, np.inf, "3", b"3", 1j, [3], np.array([3]), np.array([[3]]),
        np.array(3.0), np.array("3"), np.array(True), decimal.Decimal(1), fractions.Fraction(1),
        np.timedelta64(1), np.timedelta64(1, "s"), np.datetime64("2020"), np.void(b"12345678"),
        object(), int, Unprintable(), Colour.RED, NoIndex(),
    ):  # fmt: skip
        yield value, TypeError, rf" is .* {integer}"


def option_rows():
    """G, what fit and partial_fit can be asked for beside the rule."""
    integer, number = r"\(\w+\); expected an integer", r"\(\w+\); expected a real number"
    unit = r"expected a number in \[0, 1\)"

    def row(call, argument, value, error, pattern, named=None, **others):
        shown = "".join(f" {name}={label(other)}" for name, other in others.items())
        return Row(
            f"{call} {argument}={label(value)}{shown}", call, error,
            f"{named or argument}{pattern}", lambda net: {argument: value, **others},
        )  # fmt: skip

    numbers: list[tuple[str, Any, type[Exception], str]] = []
    for argument in ("l1", "l2", "noise_multiplier"):
        numbers.append((argument, -1e-9, ValueError, r" is -1e-09; expected a number >= 0"))
    for argument in ("max_norm", "clip_norm"):
        numbers.append((argument, 0, ValueError, r" is 0.0; expected a number > 0"))
        numbers.append((argument, -1.0, ValueError, r" is -1.0; expected a number > 0"))
    numbers.append(("dropout", 1.0, ValueError, rf" is 1.0; {unit}"))
    numbers.append(("dropout", -0.1, ValueError, rf" is -0.1; {unit}"))
    for argument in ("l1", "l2", "dropout", "noise_multiplier", "max_norm", "clip_norm"):
        numbers += [(argument, *rest) for rest in not_finite(number)]
    for argument in ("l1", "l2", "dropout", "noise_multiplier"):
        numbers.append((argument, None, TypeError, rf" is None {number}"))
    for argument, value, error, pattern in numbers:
        for call in ("fit", "partial_fit"):
            yield row(call, argument, value, error, pattern)
    for call in ("fit", "partial_fit"):
        yield row(
            call, "noise_multiplier", 0.5, ValueError, r" is 0.5 without clip_norm; expected both"
        )
        for value, error, pattern in (
            (np.ones(5), ValueError, r" has shape \(5,\); expected \(6,\), one for each example"),
            (np.ones((6, 1)), ValueError, r" has shape \(6, 1\); expected \(6,\)"),
            (2.0, ValueError, r" has shape \(\); expected \(6,\)"),
            (np.zeros(6), ValueError, r" has the sum 0.0; expected a sum > 0"),
            (-WEIGHTS, ValueError, r" has -0.5 at \[?\(?0.*; expected numbers >= 0"),
            (np.where(WEIGHTS > 0.8, np.nan, 1), ValueError, r" has nan at .*; expected finite"),
            (np.full(6, 1e308), ValueError, r" has the sum inf; expected a sum > 0, up to"),
            ("heavy", TypeError, r" is 'heavy' \(str\); expected an array of numbers"),
            (["1"] * 6, TypeError, r" has dtype <U1; expected real numbers, not text"),
        ):
            yield row(call, "sample_weight", value, error, pattern)
    for value, error, pattern in (
        ("balnced", ValueError, r" is 'balnced'; expected one of 'balanced', a .* mean 'balanced'"),
        (np.ones(2), ValueError, r" has shape \(2,\); expected \(3,\), one for each class"),
        (2.0, ValueError, r" has shape \(\); expected \(3,\)"),
        ([1, -1, 1], ValueError, r" has a negative number; expected numbers >= 0"),
        ([1, np.inf, 1], ValueError, r" has inf at .*; expected finite numbers"),
        ([0, 0, 0], ValueError, r" has the sum 0.0; expected a sum > 0"),
        ({3: 1.0}, ValueError, r" has the class 3; expected 0 to 2"),
        ({0: -1.0}, ValueError, r"\[0\] is -1.0; expected a number >= 0"),
        ({1: "2"}, TypeError, rf"\[1\] is '2' {number}"),
        ({1, 2, 3}, TypeError, r" is \{1, 2, 3\} \(set\)"),
    ):
        yield row("fit", "class_weight", value, error, pattern)
    for key, error, pattern in (
        (-1, ValueError, r" is -1; expected at least 0"),
        ("0", TypeError, rf" is '0' {integer}"),
        (1.0, TypeError, rf" is 1.0 {integer}"),
        (True, TypeError, r" is True; expected an integer"),
    ):
        yield Row(
            f"fit class_weight key {key!r}", "fit", error, f"class_weight key{pattern}",
            lambda net, k=key: {"class_weight": {k: 1.0}},
        )  # fmt: skip
    yield Row(
        "fit class_weight times sample_weight", "fit", ValueError,
        r"class_weight times sample_weight has the sum 0.0; expected a sum > 0",
        lambda net: {"class_weight": [0, 1, 1], "Y": np.eye(3)[[0, 1, 1, 1, 2, 2]],
                     "sample_weight": [1.0, 0, 0, 0, 0, 0]},
    )  # fmt: skip
    for value, error, pattern in (
        (
            np.arange(5),
            ValueError,
            r" is an array of dtype int64 and shape \(5,\); expected \(6,\)",
        ),
        (np.arange(7).tolist(), ValueError, r" is .*shape \(7,\); expected \(6,\) integers"),
        (np.arange(6.0), ValueError, r" is an array of dtype float64 .* expected \(6,\) integers"),
        (np.ones(6, bool), ValueError, r" is an array of dtype bool .* expected \(6,\) integers"),
        ([0, 1, 2, 3, 4, 4], ValueError, r" has 4 2 times; expected every number from 0 to 5"),
        ([1, 2, 3, 4, 5, 6], ValueError, r" has 6 at \[5\]; expected every number from 0 to 5"),
        ([-1, 0, 1, 2, 3, 4], ValueError, r" has -1 at \[0\]; expected every number from 0 to 5"),
        (np.full(6, 2**64 - 1, np.uint64), ValueError, r" has 1844\d* at \[0\]; expected every"),
        ([[0, 1], [2]], ValueError, r" is \[\[0, 1\], \[2\]\]; expected a rectangular array"),
        ([], ValueError, r" is an array of dtype float64 and shape \(0,\); expected \(6,\)"),
        (
            {0, 1},
            TypeError,
            r" is \{0, 1\} \(set\); expected True, False, an order of the examples",
        ),
        (1.0, TypeError, r" is 1.0 \(float\); expected True, False, an order of the examples"),
    ):
        yield row("fit", "shuffle", value, error, pattern)
    # Of the examples that are left to train on.
    yield row(
        "fit", "shuffle", np.arange(6), ValueError, r" is .* shape \(6,\); expected \(3,\)",
        validation_fraction=0.5,
    )  # fmt: skip
    for rest in not_finite(number):
        yield row("fit", "validation_fraction", *rest)
    for value, error, pattern in (
        (1.0, ValueError, rf" is 1.0; {unit}"),
        (-0.1, ValueError, rf" is -0.1; {unit}"),
        (None, TypeError, rf" is None {number}"),
        (0.95, ValueError, r" is 0.95 of 6 examples: none would be left to train on"),
    ):
        yield row("fit", "validation_fraction", value, error, pattern)
    X, Y = data()
    yield row(
        "fit", "validation_fraction", 0.5, ValueError, r" is 0.5 with validation_data given; exp",
        validation_data=(X, Y),
    )  # fmt: skip
    stops = r"; validation_data makes a validation_cost"
    for value, error, pattern in (
        (0, ValueError, r" is 0; expected at least 1"),
        (True, TypeError, r" is True; expected an integer"),
        ("yes", TypeError, rf" is 'yes' {integer}"),
        (2.0, TypeError, rf" is 2.0 {integer}"),
        (EarlyStopping, TypeError, rf" is <class .*EarlyStopping'> {integer}"),
        (3, ValueError, rf" monitors 'validation_cost'; expected one of 'cost'{stops}"),
        (
            EarlyStopping(monitor="mse"),
            ValueError,
            rf" monitors 'mse'; expected one of 'cost'{stops}",
        ),
    ):
        yield row("fit", "early_stopping", value, error, pattern)
    yield row(
        "fit", "early_stopping", EarlyStopping(monitor="mea"), ValueError,
        r" monitors 'mea'; expected one of 'cost', 'validation_cost', 'mae'$",
        metrics="mae", validation_data=(X, Y),
    )  # fmt: skip
    for value in (np.int64(1), np.float64(1), np.str_("no")):
        yield row("fit", "shuffle", value, TypeError, r" is .* expected True, False, an order of")
    yield row(
        "fit", "shuffle", np.ma.array(np.arange(6), mask=np.arange(6) > 3), ValueError,
        r" has 2 masked entries; expected none",
    )  # fmt: skip
    for name, value in (("l1", 1e200), ("l1", 1e300), ("l2", 1e160), ("l2", 1e300)):
        # The steps may still be finite where the sum of the squares is not.
        yield Row(
            f"fit {name}={value} overflows", "fit", FloatingPointError,
            r"training diverged in epoch \d: the (parameters|penalty by l1 and l2) overflowed; ",
            lambda net, name=name, value=value: {name: value, "l2": 1e-3, **{name: value}},
        )  # fmt: skip
    for value in (0.5, "cosine", [0.1, 0.2], True):
        yield row("fit", "schedule", value, TypeError, r" is .* \(\w+\); expected a function")
    for value in (1, 0, "yes", np.array([True])):
        yield row("fit", "progress", value, TypeError, r" is .* \(\w+\); expected True or False")
        yield row("fit", "resume", value, TypeError, r" is .* \(\w+\); expected True or False")
    yield row("fit", "resume", True, ValueError, r" is True without checkpoint; expected the path")
    yield row("fit", "checkpoint", 3, TypeError, r" is 3 \(int\); expected a str")
    yield row("fit", "checkpoint", bytearray(b"f"), TypeError, r" is bytearray.*; expected a str")
    yield row("fit", "checkpoint", "", ValueError, r" is ''; expected a path of at least one char")
    yield row("fit", "metrics", "maee", ValueError, r"\[0\] is 'maee'; .* did you mean 'mae'")
    for optimizer in ("lbfgs", "levenberg_marquardt"):
        for options in (
            {"l1": 0.1}, {"dropout": 0.5}, {"max_norm": 1.0}, {"clip_norm": 2.0},
        ):  # fmt: skip
            for call in ("fit", "partial_fit"):
                ((name, value),) = options.items()
                yield row(
                    call, name, value, ValueError,
                    rf" is {value} with optimizer '{optimizer}'; expected none: only l2",
                    optimizer=optimizer,
                )  # fmt: skip
    # Options that a pass of partial_fit does not have.
    known = "'l1', 'l2', 'dropout', 'max_norm', 'clip_norm', 'noise_multiplier'"
    for name, hint in (
        ("epochs", ""), ("class_weight", ""), ("shuffle", ""), ("schedule", ""),
        ("clipnorm", r"; did you mean 'clip_norm'\?"), ("drop_out", r"; did you mean 'dropout'\?"),
    ):  # fmt: skip
        yield row(
            "partial_fit", "options", {name: 1}, ValueError,
            rf" is '{name}'; expected one of {known}{hint}", named="options key",
        )  # fmt: skip
    for value in (0.1, "l2", ["l2"], True, {("l2",)}):
        yield row(
            "partial_fit", "options", value, TypeError, r" is .* \(\w+\); expected a dict with some"
        )
    yield Row(
        "partial_fit l2", "partial_fit", TypeError,
        r".*partial_fit\(\) got an unexpected keyword argument 'lambda_'",
        lambda net: {"lambda_": 1},
    )  # fmt: skip


def rule_rows():
    """G, the numbers of the optimisers, of early stopping and of the schedules."""
    integer, number = r"\(\w+\); expected an integer", r"\(\w+\); expected a real number"
    unit, above_0 = r"expected a number in \[0, 1\)", r"expected a number > 0"
    least_0, least_1 = r"expected a number >= 0", r"expected a number >= 1.0"
    flag = r"expected True or False"
    fractions_of = {
        "AdamW": ("beta1", "beta2"), "RMSprop": ("alpha", "momentum"), "OneCycle": ("warm_up",),
        "ReduceOnPlateau": ("min_delta",),
    }  # fmt: skip
    positives_of = {
        "AdamW": ("epsilon",), "RMSprop": ("epsilon",), "Adagrad": ("epsilon",),
        "Rprop": ("learning_rate", "shrink", "least"), "StepDecay": ("factor",),
        "ExponentialDecay": ("factor",), "ReduceOnPlateau": ("factor",),
        "LBFGS": ("learning_rate",), "LevenbergMarquardt": ("mu", "decrease"),
    }  # fmt: skip
    not_negative_of = {
        "AdamW": ("learning_rate", "weight_decay"), "RMSprop": ("learning_rate",),
        "Adagrad": ("learning_rate", "learning_rate_decay"), "EarlyStopping": ("min_delta",),
        "CosineDecay": ("least",), "ReduceOnPlateau": ("least",),
        "LBFGS": ("gradient_tolerance",), "LevenbergMarquardt": ("gradient_tolerance",),
    }  # fmt: skip
    at_least_1_of = {"Rprop": ("grow",), "OneCycle": ("start_divisor", "end_divisor")}
    rows: list[tuple[str, str, Any, type[Exception], str]] = []
    for table, wrong, pattern in (
        (fractions_of, (1.0, -0.25), unit),
        (positives_of, (0.0, -1.0), above_0),
        (not_negative_of, (-0.5,), least_0),
        (at_least_1_of, (0.5, -2.0), least_1),
    ):
        for kind, arguments in table.items():
            for argument in arguments:
                for value in wrong:
                    rows.append((kind, argument, value, ValueError, rf" is {value}; {pattern}"))
                for rest in (*not_finite(number), (None, TypeError, rf" is None {number}")):
                    rows.append((kind, argument, *rest))
    for kind, argument in (
        ("Rprop", "shrink"), ("ReduceOnPlateau", "factor"), ("LevenbergMarquardt", "decrease"),
    ):  # fmt: skip
        rows.append((kind, argument, 1.0, ValueError, rf" is 1.0; {unit}"))
    for argument, value, pattern in (
        ("increase", 1.0, r" is 1.0; expected a number > 1"),
        ("most_mu", 1e-9, r" is 1e-09; expected a number >= 0.001"),
    ):
        rows.append(("LevenbergMarquardt", argument, value, ValueError, pattern))
        rows += [("LevenbergMarquardt", argument, *rest) for rest in not_finite(number)]
    rows.append(("Rprop", "most", 1e-9, ValueError, r" is 1e-09; expected a number >= 1e-06"))
    for kind, argument, lowest in (
        ("EarlyStopping", "patience", 1), ("StepDecay", "every", 1), ("CosineDecay", "epochs", 1),
        ("OneCycle", "epochs", 2), ("ReduceOnPlateau", "patience", 0), ("LBFGS", "memory", 1),
        ("LBFGS", "line_search", 1),
    ):  # fmt: skip
        below = lowest - 1
        rows += [
            (kind, argument, below, ValueError, rf" is {below}; expected at least {lowest}"),
            (kind, argument, None, TypeError, rf" is None {integer}"),
            *((kind, argument, *rest) for rest in not_integer(integer)),
        ]
    for kind, argument in (
        ("RMSprop", "centred"), ("Rprop", "takes_back"), ("EarlyStopping", "restore_best"),
    ):  # fmt: skip
        for value in (1, "yes", None):
            rows.append((kind, argument, value, TypeError, rf" is .* \(\w+\); {flag}"))
    for value in (1, "yes"):
        rows.append(
            ("EarlyStopping", "larger_is_better", value, TypeError, rf" is .* \(\w+\); {flag}")
        )
    for value in (None, 3, abs, b"cost", ["cost"]):
        rows.append(
            ("EarlyStopping", "monitor", value, TypeError, r" is .* \(\w+\); expected a string")
        )
    for kind, argument, value, error, pattern in rows:
        yield Row(
            f"{kind} {argument}={label(value)}", kind, error, f"{argument}{pattern}",
            lambda net, a=argument, v=value: {a: v}, group=f"{kind} {argument}",
        )  # fmt: skip
    for name in ("rprop", "lbfgs"):
        for call in ("fit", "partial_fit"):
            yield Row(
                f"{call} {name} learning_rate=0", call, ValueError,
                rf"learning_rate is 0.0; {above_0}",
                lambda net, name=name: {"optimizer": name, "learning_rate": 0.0},
            )  # fmt: skip
    for optimizer in ("levenberg_marquardt", LevenbergMarquardt()):
        yield Row(
            f"fit {label(optimizer)} learning_rate", "fit", ValueError,
            r"learning_rate is given with LevenbergMarquardt; expected None",
            lambda net, o=optimizer: {"optimizer": o, "learning_rate": 0.1},
        )  # fmt: skip
    for optimizer, pattern in (
        (RMSprop(epsilon=1e-50), r"epsilon is 1e-50, which is 0 in float32; expected a larger"),
        (Adagrad(epsilon=1e-50), r"epsilon is 1e-50, which is 0 in float32; expected a larger"),
        (AdamW(epsilon=3e-45), r"epsilon is 3e-45 with beta2 0.999: .* is 0 in float32; expected"),
        (Rprop(least=1e-50), r"least is 1e-50, which is 0 in float32; expected a larger"),
    ):
        for call in ("fit", "partial_fit"):
            yield Row(
                f"{call} float32 {optimizer!r}", call, ValueError, pattern,
                lambda net, o=optimizer: {"optimizer": o}, {"dtype": "float32"},
            )  # fmt: skip


def other_rows():
    """H and the rest: flags, metrics, the chain rule's places, networks half made."""
    for call in ("cost", "gradient"):
        for value in ("yes", 1, None, np.array([True])):
            yield Row(
                f"{call} per_example={value!r}", call, TypeError,
                r"per_example is .* \(\w+\); expected True or False",
                lambda net, v=value: {"per_example": v},
            )  # fmt: skip
    for value, error, pattern in (
        ("acuracy", ValueError, r"metric\w*(\[0\])? is 'acuracy'; .* did you mean 'accuracy'"),
        (None, TypeError, r"metric\w* is None .*; expected"),
        (3, TypeError, r"metric\w* is 3 .*; expected"),
    ):
        yield Row(f"score {value}", "score", error, pattern, lambda net, v=value: {"metric": v})

    def place(method, *arguments):
        def function(net):
            X, Y = data()
            return getattr(net.chain_rule(X[0], Y[0]), method)(*arguments)

        return function

    counted = "counted from 0"
    for method, arguments, error, pattern in (
        ("weight", (0, 0, 0), ValueError, r"layer is 0; expected (at least 1|1 to 2)"),
        ("weight", (3, 0, 0), ValueError, r"layer is 3; expected 1 to 2"),
        ("weight", (1.0, 0, 0), TypeError, r"layer is 1.0 \(float\); expected an integer"),
        ("weight", (True, 0, 0), TypeError, r"layer is True; expected an integer"),
        ("weight", (1, 5, 0), ValueError, rf"j is 5; expected 0 to 4 .*, {counted}"),
        ("weight", (1, -1, 0), ValueError, r"j is -1; expected at least 0"),
        ("weight", (1, 0, 4), ValueError, rf"k is 4; expected 0 to 3 .*, {counted}"),
        ("weight", (1, 0, "a"), TypeError, r"k is 'a' \(str\); expected an integer"),
        ("bias", (2, 3), ValueError, rf"j is 3; expected 0 to 2 .*, {counted}"),
        ("bias", (-1, 0), ValueError, r"layer is -1; expected at least"),
        ("activation", (-1, 0), ValueError, r"layer is -1; expected at least 0"),
        ("activation", (3, 0), ValueError, r"layer is 3; expected 0 to 2"),
        ("activation", (0, 4), ValueError, rf"k is 4; expected 0 to 3 .*, {counted}"),
        ("activation", (0, 2**70), ValueError, r"k is 1180591620717411303424; expected"),
    ):
        yield Row(
            f"chain_rule {method}{arguments}", place(method, *arguments), error, pattern,
            lambda net: {},
        )  # fmt: skip
    for place_of in ("layer", "j", "k"):
        for value, error, pattern in not_integer(r"\(\w+\); expected an integer"):
            where = {"layer": 1, "j": 0, "k": 0, place_of: value}
            yield Row(
                f"chain_rule {place_of} {label(value)}",
                lambda net, w=where: net.chain_rule(*(v[0] for v in data())).weight(**w),
                error, f"{place_of}{pattern}", lambda net: {}, group=f"chain_rule {place_of}",
            )  # fmt: skip
    for size, error, pattern in (
        (0, ValueError, r"size is 0.0; expected a number other than 0"),
        *((v, e, f"size{p}") for v, e, p in not_finite(r"\(\w+\); expected a real number")),
    ):
        for method, arguments in (("weight", (1, 0, 0)), ("bias", (2, 0)), ("activation", (0, 0))):
            yield Row(
                f"nudge {method} {label(size)}",
                lambda net, m=method, a=arguments, s=size: place(m, *a)(net).nudge(s),
                error, pattern, lambda net: {},
            )  # fmt: skip


REJECTED = list(rejected_rows())


def as_parameters(rows):
    """The rows of each group together."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group or row.name, []).append(row)
    return [pytest.param(members, id=name) for name, members in groups.items()]


@pytest.mark.parametrize("rows", as_parameters(REJECTED))
def test_rejected(rows, capfd):
    for row in rows:
        check_rejected(row, capfd)


def check_rejected(row, capfd):
    messages = set()
    for backend in BACKENDS:
        net = trained(backend, **row.options)
        arguments = row.arguments(net)
        owned = arrays_in(arguments)
        before, owned_before = fingerprint(net), contents(owned)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(row.error) as failure:
                perform(row, net, arguments, backend)
        message = str(failure.value)
        assert type(failure.value) is row.error, failure.value
        assert re.match(row.pattern, message, re.DOTALL), message
        assert "\n" not in message
        assert fingerprint(net) == before
        assert contents(owned) == owned_before
        assert [str(warning.message) for warning in caught] == []
        assert capfd.readouterr() == ("", "")
        # And the network goes on as one that never saw the call.
        if row.call not in ("Network", *OBJECTS) and net.n_parameters < 1000:
            twin = trained(backend, **row.options)
            row.arguments(twin)
            if row.error is FloatingPointError:
                net.parameters = twin.parameters = np.full(net.n_parameters, 0.5)
            X, Y = data(n_in=net.sizes[0], n_out=net.sizes[-1])
            np.testing.assert_array_equal(net.predict(X), twin.predict(X))
            net.partial_fit(X, Y)
            twin.partial_fit(X, Y)
            assert fingerprint(net) == fingerprint(twin)
        messages.add(re.sub(r"0x[0-9a-f]+|\(Unable .*\)", "", message))
    assert len(messages) == 1, messages


# ---- 2. the table of accepted arrays -------------------------------------------------------------


def plain(values, dtype):
    """The contiguous native copy, made number by number."""
    values = np.asarray(values)
    numbers = [np.dtype(dtype).type(float(value)) for value in values.ravel().tolist()]
    return np.array(numbers, dtype).reshape(values.shape)


def results(net, X, Y):
    """What every call makes of X and Y, as bytes; and the training."""
    gradient = net.gradient(X, Y)
    backward = net.backward(X, Y)
    found = [
        net.predict(X),
        net.cost(X, Y),
        net.cost(X, Y, per_example=True),
        gradient.vector,
        gradient.cost,
        net.gradient(X, Y, per_example=True).vector,
        net.gradient_norms(X, Y),
        net.jacobian(X),
        *(numbers_of(getattr(net, call)(X, Y, **besides(net, call))) for call in TOOLBOX),
        net.gradient_gram(X, Y, X, Y),
        net.input_jacobian(X),
        net.forward(X).z[1],
        *backward.dC_da,
        *backward.delta[1:],
        *backward.a,
        net.check_gradient(X, Y).max_relative_error,
        net.score(X, Y),
    ]
    net.partial_fit(X, Y)
    net.partial_fit(X, Y, batch_size=4)
    history = net.fit(X, Y, epochs=2, batch_size=4, validation_data=(X, Y), metrics="accuracy")
    found += [net.parameters, history.cost, history.validation_cost, history.metrics["accuracy"]]
    return [np.asarray(value).tobytes() for value in found]


def whole(n, width):
    """Small whole numbers, which every number type has."""
    return np.arange(n * width).reshape(n, width) * 7 % 5


def memory_mapped(values, folder):
    path = folder / "values.bin"
    path.write_bytes(values.tobytes())
    return np.memmap(path, values.dtype, "r", shape=values.shape)


KINDS = {
    **{f"dtype {code}": lambda v, code=code: v.astype(code) for code in "bBhHiIlLqQefdg?"},
    **{f"dtype {code}": lambda v, code=code: v.astype(code) for code in (">f8", ">f4", ">i2")},
    **{f"dtype {code}": lambda v, code=code: v.astype(code) for code in ("<f8", ">f2", ">i8")},
    "list": lambda v: v.tolist(),
    "tuple of tuples": lambda v: tuple(tuple(row) for row in v.tolist()),
    "list of arrays": lambda v: list(v),
    "list of booleans": lambda v: (v > 1).tolist(),
    "Fortran order": lambda v: np.asfortranarray(v.astype(float)),
    "strided": lambda v: strided(v.astype(float)),
    "strided float32": lambda v: strided(v.astype("f4")),
    "reversed": lambda v: reversed_axes(v.astype(float)),
    "misaligned": lambda v: misaligned(v.astype(float)),
    "misaligned float32": lambda v: misaligned(v.astype("f4")),
    "read-only": lambda v: read_only(v.astype(float)),
    "rows repeated by stride 0": lambda v: np.broadcast_to(v[:1].astype(float), v.shape),
    "masked array, empty mask": lambda v: np.ma.masked_array(v.astype(float), mask=v > 99),
    "masked array, no mask": lambda v: np.ma.masked_array(v.astype(float)),
    "np.matrix": lambda v: v.astype(float).view(np.matrix),
    "__array__": lambda v: ArrayOf(v.astype(float)),
    "memoryview": lambda v: memoryview(v.astype(float)),
    "list of array.array": lambda v: [array.array("d", row) for row in v],
    "frame": lambda v: Frame({k: list(v[:, k]) for k in range(v.shape[1])}, [np.dtype(int)] * 9),
    "frame of its own number type": lambda v: Frame(
        {k: list(v[:, k]) for k in range(v.shape[1])}, [NullableInteger()] * 9
    ),
    "frame without NumPy's types": lambda v: Frame(
        {k: list(v[:, k]) for k in range(v.shape[1])}, [OtherNumber()] * 9
    ),
    "pandas frame": lambda v: pandas().DataFrame(v.astype(float)),
    "pandas frame of columns of two types": lambda v: (
        pandas().DataFrame(v.astype(float)).astype({0: "float32", 1: "int8"})
    ),
    "torch tensor": lambda v: torch().tensor(v.astype(float)),
    "negative zeros": lambda v: np.where(v == 0, -0.0, v.astype(float)),
    "denormal numbers": lambda v: np.where(v == 0, 5e-324, v.astype(float)),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_accepted_kinds_give_the_bits_of_the_plain_copy(kind, dtype, backend):
    X, Y = KINDS[kind](whole(9, 4)), KINDS[kind](whole(9, 3))
    owned = [v for v in (X, Y) if isinstance(v, np.ndarray)]
    before = contents(owned)
    net, twin = (network(backend, dtype=dtype, activation="tanh") for _ in "ab")
    plain_X, plain_Y = plain(X, dtype), plain(Y, dtype)
    predicted = net.predict(X)
    assert type(predicted) is np.ndarray
    assert predicted.dtype == np.dtype(dtype)
    assert results(net, X, Y) == results(twin, plain_X, plain_Y)
    assert contents(owned) == before
    x, y = KINDS[kind](whole(1, 4)), KINDS[kind](whole(1, 3))
    rules = [net.chain_rule(x, y), twin.chain_rule(plain(x, dtype), plain(y, dtype))]
    values = [rule.weight(1, 2, 3).value for rule in rules]
    changes = [rule.weight(1, 2, 3).nudge().measured for rule in rules]
    assert values[0] == values[1]
    assert changes[0] == changes[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_accepted_memory_map(backend, tmp_path):
    X, Y = data()
    mapped = memory_mapped(X, tmp_path)
    assert not mapped.flags.writeable
    nets = [network(backend) for _ in "ab"]
    assert results(nets[0], mapped, Y) == results(nets[1], X, Y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_accepted_integers_above_64_bits(backend):
    net = network(backend)
    for X in ([[2**80, -(10**30), 0, 1]], [[2**80, 0.5, True, -1]], [2**64, -1, 10**308, 3]):
        assert net.predict(X).tobytes() == net.predict(plain_list(X)).tobytes()


def plain_list(values):
    return [plain_list(v) if isinstance(v, list) else float(v) for v in values]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_accepted_odd_strides_on_axes_of_length_1(n, backend):
    X, Y = data(n=n, n_in=1, n_out=1)
    nets = [network(backend, sizes=[1, 3, 1]) for _ in "ab"]
    assert results(nets[0], odd_strides(X), odd_strides(Y)) == results(nets[1], X, Y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_accepted_float64_is_rounded_once_for_a_float32_network(backend):
    X, Y = data()
    nets = [network(backend, dtype="float32") for _ in "ab"]
    rounded = [values.astype("f4") for values in (X, Y)]
    assert results(nets[0], X, Y) == results(nets[1], *rounded)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_example_is_the_first_row_of_a_batch_of_one(backend):
    X, Y = data(n=1)
    net = trained(backend)
    assert net.predict(X[0]).tobytes() == net.predict(X).tobytes()
    assert net.predict(X[0]).shape == (3,)
    assert net.forward(X[0]).a[1].shape == (5,)
    assert net.cost(X[0], Y[0]) == net.cost(X, Y)
    assert net.backward(X[0], Y[0]).delta[2].shape == (3,)
    np.testing.assert_array_equal(net.gradient(X[0], Y[0]).vector, net.gradient(X, Y).vector)
    twin = net.copy()
    net.partial_fit(X[0], Y[0])
    twin.partial_fit(X, Y)
    assert fingerprint(net) == fingerprint(twin)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_example_per_example_gradient(backend):
    X, Y = data(n=1)
    net = trained(backend)
    one, batch = (net.gradient(*pair, per_example=True) for pair in ((X[0], Y[0]), (X, Y)))
    assert one.vector.shape == (43,)
    assert one.vector.tobytes() == batch.vector.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_examples_norm_and_jacobian(backend):
    X, Y = data(n=1)
    net = trained(backend)
    norm, norms = net.gradient_norms(X[0], Y[0]), net.gradient_norms(X, Y)
    assert (np.shape(norm), norms.shape) == ((), (1,))
    assert norm == norms[0]
    one, batch = net.jacobian(X[0]), net.jacobian(X)
    assert (one.shape, batch.shape) == ((3, 43), (1, 3, 43))
    assert one.tobytes() == batch.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_kind_of_direction_and_limit(dtype, backend):
    X, Y = data()
    net = trained(backend, dtype=dtype)
    whole = (np.arange(43) * 7 % 5).astype(dtype)
    for call in CURVATURE:
        product = getattr(net, call)
        expected = product(X, Y, whole).tobytes()
        for kind in (
            np.float32, np.float64, np.int8, np.uint64, ">f4", ">i2", "g", "f2", list, tuple,
            strided, reversed_axes, misaligned, read_only,
        ):  # fmt: skip
            v = kind(whole) if callable(kind) and not isinstance(kind, type) else whole
            if isinstance(kind, (str, type)):
                v = whole.tolist() if kind in (list, tuple) else whole.astype(kind)
            before = contents(arrays_in(v))
            assert product(X, Y, v).tobytes() == expected, kind
            assert contents(arrays_in(v)) == before
        gradient = net.gradient(X, Y)
        assert product(X, Y, gradient).tobytes() == product(X, Y, gradient.vector).tobytes()
        assert product(X, Y, np.arange(43) > 20).shape == (43,)
    for limit in (1, np.float32(1), np.int8(1), np.array(1.0), np.array(1)):
        got = net.clipped_gradient(X, Y, limit).vector
        assert got.tobytes() == net.clipped_gradient(X, Y, 1.0).vector.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_direction_that_is_the_parameters_themselves(backend):
    """A view of w and b where they stand, whatever lies between them."""
    net = network(backend, sizes=[1, 1])
    X, Y = data(n_in=1, n_out=1)
    W, b = net.weights[0], net.biases[0]
    net.parameters = [0.75, -0.5]
    apart = b.ctypes.data - W.ctypes.data
    v = np.lib.stride_tricks.as_strided(W[0], (2,), (apart,))
    assert v.tolist() == [0.75, -0.5]
    for call in CURVATURE:
        expected = getattr(net, call)(X, Y, net.parameters)
        assert getattr(net, call)(X, Y, v).tobytes() == expected.tobytes()
    assert net.parameters.tolist() == [0.75, -0.5]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_examples_give_empty_results(backend):
    net = trained(backend)
    before = fingerprint(net)
    X, Y = np.zeros((0, 4)), np.zeros((0, 3))
    assert net.predict(X).shape == (0, 3)
    assert net.predict(X, out=np.zeros((0, 3))).shape == (0, 3)
    assert [a.shape for a in net.forward(X).a] == [(0, 4), (0, 5), (0, 3)]
    assert net.cost(X, Y, per_example=True).shape == (0,)
    assert net.gradient(X, Y, per_example=True).vector.shape == (0, 43)
    assert net.gradient_norms(X, Y).shape == (0,)
    assert net.jacobian(X).shape == net.jacobian(X, out=np.zeros((0, 3, 43))).shape == (0, 3, 43)
    out = np.zeros((0, 43))
    assert net.gradient(X, Y, per_example=True, out=out).vector is out
    assert net.input_gradient(X, Y).shape == (0, 4)
    assert net.input_jacobian(X).shape == (0, 3, 4)
    some = data(n=2)
    assert net.gradient_gram(X, Y).shape == (0, 0)
    assert net.gradient_gram(X, Y, *some).shape == (0, 2)
    assert net.gradient_gram(*some, X, Y).shape == (2, 0)
    assert net.gradient_gram(some[0][0], some[1][0], X, Y).shape == (0,)
    assert [d.shape for d in net.backward(X, Y).dC_da] == [(0, 4), (0, 5), (0, 3)]
    assert fingerprint(net) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_that_do_not_divide_n_count_by_their_own_size(backend):
    X, Y = data(n=7)
    nets = [network(backend) for _ in "ab"]
    nets[0].fit(X, Y, epochs=1, batch_size=3, shuffle=False, learning_rate=0.5)
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
        nets[1].partial_fit(X[rows], Y[rows], learning_rate=0.5)
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)
    # One row alone moves the weights three times as far as when it is one of three.
    step = nets[0].parameters - network(backend).parameters
    assert np.abs(step).max() > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_accepted_sizes(backend):
    assert network(backend, sizes=(n for n in (4, 3))).sizes == (4, 3)
    assert network(backend, sizes=np.array([4, 3], np.int8)).sizes == (4, 3)
    assert network(backend, sizes=range(2, 5)).sizes == (2, 3, 4)
    assert network(backend, sizes=[1, 1]).predict([[0.5]]).shape == (1, 1)
    sizes = [4, 5, 3]
    net = network(backend, sizes=sizes)
    sizes[0] = 99
    sizes.append(7)
    assert net.sizes == (4, 5, 3)
    assert net.predict(np.zeros((2, 4))).shape == (2, 3)
    assert all(type(n) is int for n in net.sizes)


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_of_a_subclass_of_str_become_the_words(backend):
    X, Y = data()
    net = network(backend, activation=["relu", Word.TANH], init=np.str_("he"))
    assert {type(name) for name in net.activations} == {str}
    assert repr(net) == repr(network(backend, activation=["relu", "tanh"]))
    twin = network(backend, activation=["relu", "tanh"], init="he")
    net.fit(X, Y, optimizer=Word.ADAM, metrics=np.str_("mse"))
    twin.fit(X, Y, optimizer="adam", metrics="mse")
    assert fingerprint(net) == fingerprint(twin)
    stopping = EarlyStopping(monitor=Word.COST)
    assert type(stopping.monitor) is str
    assert repr(stopping) == repr(EarlyStopping(monitor="cost"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_accepted_orders_of_the_examples(backend):
    X, Y = data()
    order = [3, 0, 5, 1, 4, 2]
    twin = network(backend)
    twin.fit(X, Y, epochs=2, batch_size=2, shuffle=np.array(order))
    for shuffle in (
        order, tuple(order), np.array(order, ">i2"), np.array(order, np.uint8),
        strided(np.array(order)), ArrayOf(np.array(order)), lambda epoch: order,
    ):  # fmt: skip
        net = network(backend)
        net.fit(X, Y, epochs=2, batch_size=2, shuffle=shuffle)
        assert fingerprint(net) == fingerprint(twin)


@pytest.mark.parametrize("backend", BACKENDS)
def test_accepted_constructor_arguments(backend):
    X = data()[0]
    for dtype in (np.float32, "f4", np.dtype("float32"), "<f4", "single"):
        assert network(backend, dtype=dtype).dtype == np.float32
    for dtype in (float, "d", np.float64, "=f8"):
        assert network(backend, dtype=dtype).dtype == np.float64
    many = network(backend, threads=10**6)
    assert 1 <= many.threads <= 1024
    assert many.predict(X).tobytes() == network(backend).predict(X).tobytes()
    unseeded = [Network(SIZES, backend=backend).parameters for _ in "ab"]
    assert not np.array_equal(*unseeded)
    seeded = [Network(SIZES, backend=backend, seed=s).parameters for s in (3, np.int64(3))]
    np.testing.assert_array_equal(*seeded)
    linear = network(backend, activation=["linear", "linear"])
    assert linear.activations == ("identity", "identity")


@pytest.mark.parametrize("backend", BACKENDS)
def test_accepted_hyper_parameters(backend):
    X, Y = data()

    def after(**arguments):
        net = network(backend)
        net.fit(X, Y, **{"epochs": 2, "batch_size": 4, **arguments})
        return net.parameters.tobytes()

    expected = after(learning_rate=0.25)
    for rate in (np.array(0.25), np.float32(0.25), np.float16(0.25), np.longdouble(0.25)):
        assert after(learning_rate=rate) == expected
    assert after(learning_rate=1) == after(learning_rate=np.int8(1)) == after(learning_rate=1.0)
    assert after(learning_rate=0.25, batch_size=np.uint8(4), epochs=np.array(2)) == expected
    assert after(optimizer=SGD(9.0), learning_rate=0.25, shuffle=np.True_) == expected
    assert after(batch_size=2**63 - 1) == after(batch_size=6)
    assert after(optimizer=SGD(0.1, momentum=0.0)) == after(optimizer="sgd")
    for one, other in (
        ({"l1": np.float32(0.5), "l2": 1}, {"l1": 0.5, "l2": np.array(1.0)}),
        ({"dropout": np.float16(0.5)}, {"dropout": 0.5}),
        ({"max_norm": 1, "clip_norm": np.int8(2)}, {"max_norm": 1.0, "clip_norm": 2.0}),
        ({"shuffle": range(6)}, {"shuffle": False, "progress": np.False_}),
        ({"sample_weight": [1, 2, 3, 4, 5, 6]}, {"sample_weight": np.arange(1, 7, dtype="int8")}),
        ({"class_weight": (1, 2, 3)}, {"class_weight": {1: np.int8(2), np.uint8(2): 3.0}}),
        ({"validation_fraction": np.float32(0.5), "early_stopping": np.int64(1)},
         {"validation_fraction": 0.5, "early_stopping": EarlyStopping(1)}),
    ):  # fmt: skip
        assert after(**one) == after(**other), one
    callback = collections.Counter()
    after(callbacks=lambda net, history: callback.update(epochs=1))
    after(callbacks=iter([lambda net, history: callback.update(epochs=1)]))
    assert callback["epochs"] == 4


# ---- H. gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_of_2_is_the_row_twice(backend):
    X, Y = data()
    net = trained(backend)
    twice = [np.concatenate([values, values[2:3]]) for values in (X, Y)]
    weight = [1, 1, 2, 1, 1, 1]
    weighted, repeated = net.gradient(X, Y, sample_weight=weight), net.gradient(*twice)
    # Sums of 7 terms in another order: a few ulp of the largest.
    atol = 1e-15 * np.abs(repeated.vector).max()
    np.testing.assert_allclose(weighted.vector, repeated.vector, rtol=1e-14, atol=atol)
    assert weighted.cost == pytest.approx(repeated.cost, rel=1e-15)
    assert net.cost(X, Y, sample_weight=weight) == pytest.approx(net.cost(*twice), rel=1e-15)
    ones = net.gradient(X, Y, sample_weight=np.ones(6, bool))
    np.testing.assert_allclose(ones.vector, net.gradient(X, Y).vector, rtol=1e-14, atol=atol)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_weight_of_0_leaves_the_row_out(backend):
    X, Y = data()
    net = trained(backend)
    one = net.gradient(X, Y, sample_weight=put(6, 4, 3.0))
    alone = net.gradient(X[4:5], Y[4:5])
    np.testing.assert_allclose(one.vector, alone.vector, rtol=1e-14, atol=1e-17)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_change_nothing_and_rows_keep_their_bits(backend):
    X, Y = data(n=9)
    net = trained(backend)
    before = fingerprint(net)
    batch = net.gradient(X, Y)
    each = net.gradient(X, Y, per_example=True)
    # A mean of 9: a few ulp of the largest entry.
    atol = 4e-16 * np.abs(each.vector).max()
    np.testing.assert_allclose(each.vector.mean(axis=0), batch.vector, rtol=1e-14, atol=atol)
    net.backward(X, Y)
    for call in TOOLBOX:
        getattr(net, call)(X, Y, **besides(net, call))
    net.input_jacobian(X)
    net.check_gradient(X, Y)
    net.score(X, Y)
    net.chain_rule(X[0], Y[0]).activation(0, 1).nudge()
    assert fingerprint(net) == before
    if backend == "compiled":  # the reference does not promise it
        order = [5, 2, 8, 0, 7, 1, 3, 6, 4]
        permuted = net.gradient(X[order], Y[order], per_example=True).vector
        assert permuted.tobytes() == each.vector[order].tobytes()
        for i in range(9):
            alone = net.gradient(X[i : i + 1], Y[i : i + 1], per_example=True).vector
            assert alone.tobytes() == each.vector[i].tobytes()


# ---- 3. families of arrays, drawn ----------------------------------------------------------------

DTYPES = ["<f8", ">f8", "<f4", ">f4", "<f2", "g", "b", "<u8", ">i4", "?", "<c16", "<U2", "O", "V8"]
NUMBERS = [0.0, -0.0, 1.0, -2.5, 0.1, 3e4, 5e-324, 1e-40, 1e39, np.nan, np.inf]
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": lambda v: v.copy(),
    "Fortran": lambda v: v.copy(order="F"),
    "strided": strided,
    "reversed": reversed_axes,
    "read-only": read_only,
    "odd": lambda v: odd_strides(np.ascontiguousarray(v)),
    "misaligned": lambda v: v.copy() if v.dtype.hasobject else misaligned(v),
}


class Drawn(NamedTuple):
    """An array, and what there is to say about it."""

    value: Any
    is_real: bool
    numbers: Any  # the numbers meant, in the network's dtype, where it is_real
    overflows: bool


@st.composite
def drawn_arrays(draw, width, dtype):
    """An array that is often right and sometimes wrong in one way or several."""
    code = draw(st.sampled_from(DTYPES[:10] if draw(st.integers(0, 9)) else DTYPES))
    n = draw(st.sampled_from([0, 1, 2, 3, 5]))
    columns = width if draw(st.integers(0, 9)) else draw(st.integers(0, 5))
    shape = {0: (n, columns, 1), 1: (columns,), 2: ()}.get(draw(st.integers(0, 19)), (n, columns))
    harmless = draw(st.integers(0, 3))
    pool = NUMBERS[:6] if harmless else NUMBERS
    size = int(np.prod(shape))
    numbers = draw(st.lists(st.sampled_from(pool), min_size=size, max_size=size))
    kind = np.dtype(code).kind
    if kind == "f":
        with np.errstate(over="ignore"):
            values = np.array(numbers, float).astype(code).reshape(shape)
    elif kind in "iu?b":
        values = np.array([abs(int(v)) % 100 if np.isfinite(v) else 3 for v in numbers])
        values = values.astype(code).reshape(shape)
    else:
        values = np.zeros(shape, code)
    value = LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))](values)
    is_real = kind in "fiub"
    meant = None
    overflows = False
    if is_real:
        with np.errstate(over="ignore", under="ignore"):
            meant = np.array(values.ravel().tolist(), float).astype(dtype).reshape(shape)
        overflows = bool((np.isinf(meant) & np.isfinite(values)).any())
    return Drawn(value, is_real, meant, overflows)


def fits_one(array, width):
    return array.value.shape == (width,)


def fits_rows(array, width):
    return array.value.ndim == 2 and array.value.shape[1] == width


def must_be_accepted(call, X, Y):
    if not X.is_real or X.overflows:
        return False
    single = fits_one(X, 4) and call in (*ONE_EXAMPLE_IS_FINE, "check_gradient", "score")
    if not (single or fits_rows(X, 4)) or not np.isfinite(X.numbers).all():
        return False
    if call in WITH_X:
        return True
    if not Y.is_real or Y.overflows or not np.isfinite(Y.numbers).all():
        return False
    if single:
        return fits_one(Y, 3)
    n = len(X.value)
    needs_rows = call in (
        "cost", "gradient", *MEANS, "check_gradient", "score", "partial_fit", "fit"
    )  # fmt: skip
    return fits_rows(Y, 3) and len(Y.value) == n and not (needs_rows and n == 0)


def outcome(net, call, X, Y):
    """The bits that a call gives, and what it leaves behind."""
    keywords = {"epochs": 2, "batch_size": 2} if call == "fit" else {}
    arguments = (X,) if call in WITH_X else (X, Y)
    result = getattr(net, call)(*arguments, **keywords, **besides(net, call))
    if call == "forward":
        result = np.concatenate([np.ravel(a) for a in result.a])
    elif call == "backward":
        result = np.concatenate([np.ravel(a) for a in (*result.dC_da, *result.delta[1:])])
    elif call == "check_gradient":
        result = result.gradient
    elif call in ("fit", "partial_fit"):
        result = net.parameters
    numbers = numbers_of(result)
    return numbers.shape, numbers.tobytes()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("call", [*WITH_X, *WITH_BOTH])
def test_any_array_is_accepted_with_the_right_bits_or_rejected_by_name(call, dtype):
    nets = {backend: trained(backend, dtype=dtype) for backend in BACKENDS}

    @settings(max_examples=35, deadline=None, derandomize=True, database=None)
    @given(X=drawn_arrays(4, dtype), Y=drawn_arrays(3, dtype))
    def check(X, Y):
        messages = set()
        for original in nets.values():
            net, twin = original.copy(), original.copy()
            before = contents([X.value, Y.value])
            if must_be_accepted(call, X, Y):
                got = outcome(net, call, X.value, Y.value)
                assert got == outcome(twin, call, X.numbers, Y.numbers)
            else:
                with pytest.raises((TypeError, ValueError)) as failure:
                    outcome(net, call, X.value, Y.value)
                messages.add(str(failure.value))
                assert re.match(r"[XY] (has|is) .*; expected ", str(failure.value))
                if call != "fit":
                    assert fingerprint(net) == fingerprint(original)
                np.testing.assert_array_equal(net.parameters, original.parameters)
            assert contents([X.value, Y.value]) == before
        assert len(messages) <= 1, messages

    check()


SMALL = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(-2, 2)
    | st.sampled_from(["1", "x", b"1", 1j, 2**80, 10**400, np.nan, np.inf]),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(
        st.integers(0, 2), inner, max_size=2
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(value=SMALL)
def test_any_nest_of_python_objects_is_accepted_or_rejected_by_name(value):
    """Every argument: TypeError or ValueError that begins with its name, or it is fine."""
    X, Y = data(n=2)
    net = trained(BACKENDS[0])
    before = fingerprint(net)

    def tries(name, function):
        try:
            function()
        except (TypeError, ValueError) as error:
            assert re.match(rf"{name}[\[ ]", str(error)), (name, str(error))  # noqa: PT017
            assert fingerprint(net) == before

    tries("X", lambda: net.predict(value))
    tries("Y", lambda: net.cost(X, value))
    tries("sample_weight", lambda: net.gradient(X, Y, sample_weight=value))
    tries("per_example", lambda: net.gradient(X, Y, per_example=value))
    tries("out", lambda: net.predict(X, out=value))
    tries("max_norm", lambda: net.clipped_gradient(X, Y, value))
    tries("v", lambda: net.hessian_vector_product(X, Y, value))
    tries("(X2|Y2)", lambda: net.gradient_gram(X, Y, value, Y))
    tries("(X2|Y2)", lambda: net.gradient_gram(X, Y, X, value))
    tries("[xX]", lambda: net.chain_rule(value, Y[0]))
    tries("(layer|j|k)", lambda: net.chain_rule(X[0], Y[0]).weight(1, value, 0))
    tries("size", lambda: net.chain_rule(X[0], Y[0]).bias(1, 0).nudge(value))
    tries("activation", lambda: Network(SIZES, activation=value))
    tries("cost", lambda: Network(SIZES, cost=value))
    tries("dtype", lambda: Network(SIZES, dtype=value))
    tries("init", lambda: Network(SIZES, init=value))
    tries("seed", lambda: Network(SIZES, seed=value))
    tries("threads", lambda: Network(SIZES, threads=value))
    tries("backend", lambda: Network(SIZES, backend=value))
    tries("sizes", lambda: Network(value))
    tries("learning_rate", lambda: SGD(value))
    tries("momentum", lambda: SGD(0.1, value))
    tries("nesterov", lambda: SGD(0.1, 0.5, value))
    tries("beta1", lambda: Adam(beta1=value))
    tries("epsilon", lambda: Adam(epsilon=value))
    twin = net.copy()
    for name in ("epochs", "batch_size", "shuffle", "validation_data", "metrics", "callbacks"):
        if name == "validation_data" and value is None:
            continue
        with pytest.raises((TypeError, ValueError), match=rf"^({name}|optimizer)[\[ ]"):
            twin.fit(X, Y, **{name: value, "optimizer": "stop here"})
    assert fingerprint(twin) == before


# ---- 4. out=, live views, no-ops, the user's own functions, divergence ---------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_out_takes_the_result_and_nothing_around_it(dtype, backend):
    X, Y = data()
    net = trained(backend, dtype=dtype)
    calls = {
        (6, 3): lambda out: net.predict(X, out=out),
        (3,): lambda out: net.predict(X[0], out=out),
        (43,): lambda out: net.gradient(X, Y, out=out).vector,
        (6, 43): lambda out: net.gradient(X, Y, per_example=True, out=out).vector,
        (6, 3, 43): lambda out: net.jacobian(X, out=out),
        (3, 43): lambda out: net.jacobian(X[0], out=out),
    }
    for shape, call in calls.items():
        size = int(np.prod(shape))
        block = np.full(size + 20, 77, dtype)
        out = block[10 : 10 + size].reshape(shape)
        assert np.shares_memory(call(out), out)
        assert out.tobytes() == np.asarray(call(None)).tobytes()
        assert set(block[:10]) == set(block[-10:]) == {77}
        assert call(odd_strides(out)).tobytes() == out.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_out_may_be_a_file_in_memory(backend, tmp_path):
    X, Y = data()
    net = trained(backend)
    calls = {
        (6, 3): lambda out: net.predict(X, out=out),
        (43,): lambda out: net.gradient(X, Y, out=out).vector,
        (6, 43): lambda out: net.gradient(X, Y, per_example=True, out=out).vector,
        (6, 3, 43): lambda out: net.jacobian(X, out=out),
    }
    for shape, call in calls.items():
        out = np.memmap(tmp_path / "out.bin", np.float64, "w+", shape=shape)
        result = call(out)
        assert type(result) is np.ndarray
        assert np.shares_memory(result, out)
        out.flush()
        assert (tmp_path / "out.bin").read_bytes() == call(None).tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_out_beside_x_in_one_block_is_fine(backend):
    X, _ = data()
    block = np.zeros(42)
    block[:24] = X.ravel()
    net = trained(backend)
    net.predict(block[:24].reshape(6, 4), out=block[24:].reshape(6, 3))
    assert block[24:].tobytes() == net.predict(X).tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failed_predict_leaves_out_as_it_was(backend):
    net = network(backend)
    overflowing = np.full((6, 4), 1e308) * np.sign(net.weights[0][0])
    for X, error in (
        (put((6, 4), (5, 3), np.nan), ValueError),
        (overflowing, FloatingPointError),
    ):
        out = np.full((6, 3), 77.0)
        with pytest.raises(error):
            net.predict(X, out=out)
        assert set(out.ravel()) == {77.0}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("row", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 4])
def test_a_bad_number_is_found_wherever_it_stands(row, backend):
    """Numbers are looked at in blocks of 2^20."""
    n = (1 << 20) + 5
    net = network(backend, sizes=[1, 1], dtype="float32")
    values = np.zeros((n, 1), np.float32)
    wrong = put((n, 1), (row, 0), np.inf, np.float32)
    for name, pair in (("X", (wrong, values)), ("Y", (values, wrong))):
        with pytest.raises(ValueError, match=rf"^{name} has inf at \[{row}, 0\]; expected finite"):
            net.cost(*pair)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["weights[0]", "biases[0]", "weights[1]", "biases[1]"])
def test_a_number_written_into_a_live_view_is_found_and_named(place, bad, backend):
    X, Y = data()
    net = trained(backend)
    kind, position = place[:-3], int(place[-2])
    view = getattr(net, kind)[position]
    index = (2, 1) if view.ndim == 2 else (2,)
    view[index] = bad
    before = fingerprint(net)
    message = (
        rf"{kind}\[{position}\] of layer {position + 1} has {bad} at "
        rf"{re.escape(str(list(index)))}; expected finite numbers"
    )
    calls = [lambda call=call: getattr(net, call)(X) for call in WITH_X]
    calls += [
        lambda call=call: getattr(net, call)(X, Y, **besides(net, call)) for call in WITH_BOTH
    ]
    calls += [lambda: net.gradient_gram(X, Y, X, Y)]
    calls += [lambda: net.partial_fit(X[0], Y[0]), lambda: net.fit(X, Y, epochs=0)]
    calls += [lambda: net.chain_rule(X[0], Y[0])]
    calls += [lambda: net.gradient(X, Y, per_example=True)]
    for call in calls:
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
        assert fingerprint(net) == before
    view[index] = 0.25
    twin = net.copy()
    assert net.predict(X).tobytes() == twin.predict(X).tobytes()
    assert net.partial_fit(X, Y).parameters.tobytes() == twin.partial_fit(X, Y).parameters.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_live_views_and_assigned_parameters(backend):
    X, Y = data()
    net = trained(backend)
    before = net.predict(X)
    net.weights[0][1, 2] += 1.0
    assert not np.array_equal(net.predict(X), before)
    assert net.parameters[1 * 4 + 2] == net.weights[0][1, 2]
    vector = net.parameters
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 1.0
    # Assigned from any array, and independent of it afterwards.
    mine = np.arange(43.0)[::-1]
    net.parameters = mine
    mine[...] = -1
    np.testing.assert_array_equal(net.parameters, np.arange(43.0)[::-1])
    net.parameters = net.gradient(X, Y)
    net.parameters = list(range(43))
    np.testing.assert_array_equal(net.parameters, np.arange(43.0))


ALIASED = {
    # X, or Y, is a live view of the parameters that the batches change.
    "X weights": ([1, 6, 3], lambda net: (net.weights[0], data(n=6)[1])),
    "X weights of a square": ([4, 4, 3], lambda net: (net.weights[0], data(n=4)[1])),
    "Y weights": ([4, 5, 1], lambda net: (data(n=5)[0], net.weights[1].T)),
    "X bias": ([5, 5, 3], lambda net: (net.biases[0], data()[1][0])),
    "Y bias": ([4, 5, 3], lambda net: (data()[0][0], net.biases[1])),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("name", list(ALIASED))
def test_a_live_view_as_data_is_taken_as_it_is_when_the_call_starts(name, batch_size, backend):
    sizes, make = ALIASED[name]
    nets = [network(backend, sizes=sizes) for _ in "ab"]
    for net in nets:
        net.partial_fit(*data(n_in=sizes[0], n_out=sizes[-1]), optimizer=SGD(0.5))
    views, copies = make(nets[0]), [values.copy() for values in make(nets[1])]
    assert nets[0].predict(views[0]).tobytes() == nets[1].predict(copies[0]).tobytes()
    nets[0].partial_fit(*views, batch_size=batch_size)
    nets[1].partial_fit(*copies, batch_size=batch_size)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fit_of_no_epochs_does_nothing(backend):
    X, Y = data()
    net = trained(backend)
    before = fingerprint(net)
    for arguments in ({}, {"optimizer": "sgd", "validation_data": (X, Y)}):
        history = net.fit(X, Y, epochs=0, **arguments)
        assert (history.epochs, history.cost) == (0, [])
        assert fingerprint(net) == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("optimizer", "dtype", "rate"),
    [
        ("sgd", "float64", 0),
        ("sgd", "float64", -0.0),
        ("sgd", "float32", 1e-50),  # 0 in float32
        ("adam", "float64", 0),
        (SGD(1.0, momentum=0.5), "float64", 0),
        (SGD(1.0, 0.5, nesterov=True), "float64", 0),
        (Adam(1.0), "float32", 1e-50),
    ],
)
def test_a_learning_rate_of_0_does_nothing(optimizer, dtype, rate, backend):
    X, Y = data()
    net = network(backend, dtype=dtype)
    before = net.parameters
    for batch_size in (1, 4, 6):
        net.fit(X, Y, epochs=2, batch_size=batch_size, optimizer=optimizer, learning_rate=rate)
        np.testing.assert_array_equal(net.parameters, before)
    net.partial_fit(X, Y, batch_size=4)
    net.partial_fit(X, Y)
    net.partial_fit(X[0], Y[0])
    np.testing.assert_array_equal(net.parameters, before)


def broken(how, values):
    """What a user's function returns when it fails in one way or another."""
    if how == "raises":
        raise ZeroDivisionError("mine")
    return {
        "wrong shape": values[..., :0],
        "a number": 1.0,
        "text": np.full(values.shape, "1"),
        "complex": values + 0j,
        "object": values.astype(object),
        "None": None,
        "NaN": values * np.nan,
        "infinity": values + np.inf,
    }[how]


FAILURES = {
    "raises": (ZeroDivisionError, "mine"),
    "wrong shape": (ValueError, r"'mine': \w+\(.*\) returned shape .*; expected \("),
    "a number": (ValueError, r"'mine': \w+\(.*\) returned shape \(\); expected \("),
    "text": (TypeError, r"'mine': \w+\(.*\) returned dtype <U1; expected real numbers"),
    "complex": (TypeError, r"'mine': \w+\(.*\) returned dtype complex\d+; expected real numbers"),
    "object": (TypeError, r"'mine': \w+\(.*\) returned dtype object; expected real numbers"),
    "None": (TypeError, r"'mine': \w+\(.*\) returned dtype object; expected real numbers"),
    "NaN": (FloatingPointError, r"not finite|overflowed"),
    "infinity": (FloatingPointError, r"not finite|overflowed"),
}


class Faulty:
    """Functions of the user's that work until they are told to fail."""

    def __init__(self):
        self.function = self.how = None
        self.wait = 0  # calls of that function to let pass

    def arm(self, function, how, wait=0):
        self.function, self.how, self.wait = function, how, wait

    def result(self, function, values):
        if self.function == function and self.how is not None:
            if self.wait == 0:
                return broken(self.how, values)
            self.wait -= 1
        return values

    def network(self, backend, dtype="float64"):
        activation = Activation(
            lambda z: self.result("value", z / (1 + np.abs(z))),
            lambda z: self.result("derivative", 1 / (1 + np.abs(z)) ** 2),
            "mine",
            second_derivative=lambda z: self.result(
                "second derivative", -2 * np.sign(z) / (1 + np.abs(z)) ** 3
            ),
        )
        cost = Cost(
            lambda a, y: self.result("cost", ((a - y) ** 2).sum(axis=1)),
            lambda a, y: self.result("gradient", 2 * (a - y)),
            "mine",
            hessian_vector_product=lambda a, y, v: self.result("product", 2 * v),
        )
        return network(backend, activation=activation, cost=cost, dtype=dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", list(FAILURES))
@pytest.mark.parametrize(
    "function", ["value", "derivative", "cost", "gradient", "second derivative", "product"]
)
def test_a_failing_function_of_the_users_changes_nothing(function, how, backend):
    X, Y = data()
    faulty = Faulty()
    net = faulty.network(backend)
    net.fit(X, Y, epochs=1, optimizer="adam")
    error, message = FAILURES[how]
    calls = {
        "gradient": lambda: net.gradient(X, Y),
        "per example": lambda: net.gradient(X, Y, per_example=True),
        "norms": lambda: net.gradient_norms(X, Y),
        "backward": lambda: net.backward(X, Y),
        "partial_fit": lambda: net.partial_fit(X, Y),
        "partial_fit, one example": lambda: net.partial_fit(X[0], Y[0]),
        "chain_rule": lambda: net.chain_rule(X[0], Y[0]),
        "check_gradient": lambda: net.check_gradient(X, Y),
    }
    toolbox = {
        call: lambda call=call: getattr(net, call)(X, Y, **besides(net, call)) for call in TOOLBOX
    }
    toolbox["two sets"] = lambda: net.gradient_gram(X, Y, X[:2], Y[:2])
    calls |= toolbox
    if function in ("second derivative", "product"):
        needing = CURVATURE if function == "product" else CURVATURE[:1]
        calls = {call: toolbox[call] for call in needing}
    if function in ("value", "derivative"):
        calls["input_jacobian"] = lambda: net.input_jacobian(X)
    if function == "value":
        calls["predict"] = lambda: net.predict(X)
    if function in ("value", "derivative"):
        calls["jacobian"] = lambda: net.jacobian(X)
    if function in ("value", "cost"):
        calls["cost"] = lambda: net.cost(X, Y)
    before = fingerprint(net)
    for call in calls.values():
        faulty.arm(function, how)
        with pytest.raises(error, match=message):
            call()
        assert fingerprint(net) == before
        faulty.arm(None, None)
        twin = net.copy()
        assert net.gradient(X, Y).vector.tobytes() == twin.gradient(X, Y).vector.tobytes()
    assert fingerprint(net.partial_fit(X, Y)) == fingerprint(twin.partial_fit(X, Y))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["raises", "wrong shape", "text", "NaN"])
@pytest.mark.parametrize("function", ["value", "gradient"])
def test_a_function_that_fails_in_the_second_batch(function, how, backend):
    """partial_fit takes its first batch back too."""
    X, Y = data()
    faulty = Faulty()
    net = faulty.network(backend)
    net.fit(X, Y, epochs=1, optimizer="adam")
    before = fingerprint(net)
    faulty.arm(function, how, wait={"value": 3, "gradient": 1}[function])
    error, message = FAILURES[how]
    with pytest.raises(error, match=message):
        net.partial_fit(X, Y, batch_size=2)
    assert faulty.wait == 0
    assert fingerprint(net) == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["raises", "wrong shape", "text", "NaN"])
def test_a_function_that_fails_in_fit_leaves_a_network_that_works(how, backend):
    X, Y = data()
    faulty = Faulty()
    net = faulty.network(backend)
    seen = []
    faulty.arm("value", how, wait=17)
    error, message = FAILURES[how]
    with pytest.raises(error, match=message):
        net.fit(X, Y, epochs=5, batch_size=2, callbacks=lambda *_: seen.append(fingerprint(net)))
    assert faulty.wait == 0
    assert len(seen) == 2
    faulty.arm(None, None)
    assert np.isfinite(net.parameters).all()
    assert net.fit(X, Y, epochs=3).epochs == 3


def diverging(backend, dtype="float64"):
    """A linear network that blows up after some epochs; X and Y for it."""
    X, Y = data()
    return network(backend, sizes=[4, 3], activation="identity", dtype=dtype), X, Y


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "optimizer", [SGD(3.0), SGD(3.0, 0.5), SGD(3.0, 0.5, True)], ids=["sgd", "momentum", "nesterov"]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_divergence_in_a_later_epoch(dtype, optimizer, backend, capfd):
    net, X, Y = diverging(backend, dtype)
    seen = []
    with pytest.raises(FloatingPointError) as failure:
        net.fit(
            X, Y, epochs=2000, batch_size=4, optimizer=optimizer,
            callbacks=lambda net, history: seen.append((fingerprint(net), history.epochs)),
        )  # fmt: skip
    assert len(seen) > 5
    # The epochs that were completed, and the one that was not, counted from 1.
    assert re.match(
        rf"training diverged in epoch {len(seen) + 1}: .* overflowed; the parameters are those at "
        r"the start of that epoch",
        str(failure.value),
    )
    assert (fingerprint(net), len(seen)) == seen[-1]
    assert np.isfinite(net.parameters).all()
    assert capfd.readouterr() == ("", "")
    net.reset(1)
    assert net.fit(X, Y, epochs=2, learning_rate=0.01).epochs == 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("optimizer", [SGD(), SGD(0.1, 0.5), SGD(0.1, 0.5, True), Adam()])
def test_divergence_in_the_first_epoch(optimizer, backend):
    X, Y = data()
    net = trained(backend, activation="identity")
    before, gradient = fingerprint(net), net.gradient(X, Y).vector
    with pytest.raises(FloatingPointError, match=r"^training diverged in epoch 1: "):
        net.fit(X, Y, epochs=3, batch_size=2, optimizer=optimizer, learning_rate=1e300)
    # The optimiser that was there before the fit is there again.
    assert fingerprint(net) == before
    assert net.gradient(X, Y).vector.tobytes() == gradient.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [32, 2])
@pytest.mark.parametrize("changes", [{}, {"learning_rate": 1e300}, {"optimizer": SGD(1e300)}])
def test_divergence_in_partial_fit_restores_everything(changes, batch_size, backend):
    X, Y = data()
    net = network(backend, activation="identity")
    net.partial_fit(X, Y, optimizer=SGD(0.01, 0.5))
    before = fingerprint(net)
    wide_X, wide_Y = np.concatenate([X, 1e200 * X]), np.concatenate([Y, Y])
    with pytest.raises(FloatingPointError, match=r"^the step diverged: .* it was before the call"):
        net.partial_fit(wide_X, wide_Y, batch_size=batch_size, **changes)
    assert fingerprint(net) == before


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "judge",
    [
        pytest.param({"validation_data": ([[1.0]], [[0.0]])}, id="cost"),
        pytest.param({"metrics": "accuracy"}, id="metric"),
    ],
)
def test_divergence_met_by_the_epochs_judgement(judge, backend):
    net = network(backend, sizes=[1, 1, 1], activation="identity")
    before = net.parameters
    with pytest.raises(FloatingPointError, match="epoch 1"):
        net.fit([[1.0]], [[0.0]], epochs=1, learning_rate=1e200, **judge)
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1.0, 1e4, 800.0, 1e300])
def test_saturated_networks_stay_finite_and_quiet(scale, backend):
    X, Y = data()
    for options in (
        {},
        {"activation": ["relu", "softmax"], "cost": "cross_entropy"},
        {"activation": ["tanh", "sigmoid"], "cost": "cross_entropy"},
        {"activation": ["softsign", "softplus"], "cost": "mae"},
    ):
        net = network(backend, **options)
        inputs = np.sign(X) * scale
        with np.errstate(all="raise"):
            try:
                predicted = net.predict(inputs)
                gradient = net.gradient(inputs, Y)
            except FloatingPointError as error:
                # Our own, for layers that do not bound their outputs.
                assert re.match("the (weighted input z|activation a|cost or)", str(error))  # noqa: PT017
                assert scale == 1e300
                continue
        assert np.isfinite(predicted).all()
        assert np.isfinite(gradient.vector).all()
        if options.get("activation", [""])[-1] == "softmax":
            np.testing.assert_allclose(predicted.sum(axis=1), 1, rtol=1e-15)
    sigmoid = network(backend, sizes=[1, 1])
    sigmoid.parameters = [1.0, 0.0]
    assert sigmoid.predict([[800.0]])[0, 0] == 1.0
    assert 0 <= sigmoid.predict([[-800.0]])[0, 0] < 1e-300
    assert 0 <= sigmoid.gradient([[-800.0]], [[1.0]]).vector[0] * -1 < 1e-300


@pytest.mark.parametrize("backend", BACKENDS)
def test_relu_at_zero_and_equal_weights(backend):
    net = network(backend, sizes=[2, 3, 1], activation=["relu", "identity"], init="zeros")
    X = np.array([[1.0, -2.0], [-0.0, 0.0]])
    assert [set(d.ravel()) for d in net.backward(X, [[1.0], [1.0]]).da_dz[1:]] == [{0.0}, {1.0}]
    for view in (*net.weights, *net.biases):
        view[...] = 0.5
    gradient = net.gradient(X, [[1.0], [1.0]])
    rows = gradient.weights[0]
    assert rows[0].tobytes() == rows[1].tobytes() == rows[2].tobytes()
    assert net.predict(X).tobytes() == net.predict(X + 0.0).tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_overflowing_gradient_of_one_example_is_an_error(backend):
    # dC/dw = a * delta = 1e200 * 1e150, though a, delta and the cost are finite.
    net = network(backend, sizes=[1, 1, 1], activation="identity", cost="mae")
    net.parameters = [1e-150, 0, 1e150, 0]
    with pytest.raises(FloatingPointError, match="not finite"):
        net.gradient([[1e200]], [[0.0]])
    with pytest.raises(FloatingPointError, match="not finite"):
        net.gradient([[1e200]], [[0.0]], per_example=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["predict", "summary", "gradient", "fit", "copy"])
def test_a_network_that_was_never_initialised(method, backend):
    class Mine(Network):
        def __init__(self):
            self.early()
            super().__init__(SIZES, backend=backend)

        def early(self):
            X, Y = data()
            arguments = {"predict": (X,), "gradient": (X, Y), "fit": (X, Y)}.get(method, ())
            getattr(self, method)(*arguments)

    with pytest.raises(RuntimeError, match="not initialised"):
        Mine()
    with pytest.raises(RuntimeError, match="not initialised"):
        Mine.early(Network.__new__(Network))


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_size_has_one_type_on_the_quick_way_too(backend):
    X, Y = data()
    net = trained(backend)
    for size in (32.0, np.array([32, 32]), True + 31.0):
        with pytest.raises(TypeError, match=r"^batch_size is"):
            net.partial_fit(X, Y, batch_size=size)


# ---- 5. threads, Ctrl-C, copies ------------------------------------------------------------------


class Gate:
    """An activation that stops inside a call until it is let go on."""

    def __init__(self, armed=True):
        self.armed, self.inside, self.go_on = armed, threading.Event(), threading.Event()

    def value(self, z):
        if self.armed:
            self.armed = False
            self.inside.set()
            assert self.go_on.wait(CLOCK_LIMIT)
        return np.tanh(z)

    def network(self, backend):
        activation = Activation(
            self.value,
            lambda z: 1 - np.tanh(z) ** 2,
            "gate",
            second_derivative=lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2),
        )
        return network(backend, activation=activation)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "running",
    [
        "fit", "partial_fit", "predict", "gradient", "gradient_norms", "jacobian", *TOOLBOX,
        "input_jacobian",
    ],
)  # fmt: skip
def test_a_second_call_from_another_thread(running, backend):
    X, Y = data()
    gate = Gate(armed=False)
    net = gate.network(backend)
    net.partial_fit(X, Y, optimizer=Adam(0.01))
    twin = net.copy()
    gate.armed = True
    errors = []

    def call():
        try:
            arguments = (X,) if running in WITH_X else (X, Y)
            getattr(net, running)(*arguments, **besides(net, running))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        assert gate.inside.wait(CLOCK_LIMIT)
        methods = (*WITH_X, "gradient", "gradient_norms", *TOOLBOX, "cost", "backward")
        for method in (*methods, "partial_fit"):
            arguments = (X,) if method in WITH_X else (X, Y)
            with pytest.raises(RuntimeError, match=r"use (a )?copy\(\)"):
                getattr(net, method)(*arguments, **besides(net, method))
        if running == "fit":
            for epochs in (0, 1):
                with pytest.raises(RuntimeError, match=r"in use|is running"):
                    net.fit(X, Y, epochs=epochs)
    finally:
        gate.go_on.set()
        thread.join(CLOCK_LIMIT)
    assert not thread.is_alive()
    assert errors == []
    if running not in WITH_X:
        getattr(twin, running)(X, Y, **besides(twin, running))
    assert fingerprint(net) == fingerprint(twin)
    net.fit(X, Y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fit_refused_because_a_predict_runs_changes_nothing(backend):
    X, Y = data()
    gate = Gate(armed=False)
    net = gate.network(backend)
    net.partial_fit(X, Y, optimizer=Adam(0.01))
    before = fingerprint(net)
    gate.armed = True
    thread = threading.Thread(target=net.predict, args=(X,))
    thread.start()
    try:
        assert gate.inside.wait(CLOCK_LIMIT)
        with pytest.raises(RuntimeError, match="already in use"):
            net.fit(X, Y)
    finally:
        gate.go_on.set()
        thread.join(CLOCK_LIMIT)
    assert fingerprint(net) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fit_beside_a_step_of_another_thread_leaves_the_steps_memory(backend):
    """A step runs without the GIL; a fit that is refused meanwhile must not free its memory."""
    X, Y = data()
    gate = Gate(armed=False)
    net = gate.network(backend)
    net.partial_fit(X, Y, optimizer=Adam(0.01))
    gate.armed = True
    thread = threading.Thread(target=net.partial_fit, args=(X, Y))
    thread.start()
    try:
        assert gate.inside.wait(CLOCK_LIMIT)
        before = [slot.ctypes.data for slot in net._engine.slots]
        for epochs in (0, 1):
            with pytest.raises(RuntimeError, match=r"in use|is running"):
                net.fit(X, Y, epochs=epochs)
        assert [slot.ctypes.data for slot in net._engine.slots] == before
    finally:
        gate.go_on.set()
        thread.join(CLOCK_LIMIT)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_predict_between_two_epochs_does_not_stop_the_fit(backend):
    """The other thread is told that a fit is running; the fit goes on, and may look itself."""
    X, Y = data()
    net = network(backend)
    errors = []

    def other():
        for call in (lambda: net.predict(X), lambda: net.partial_fit(X, Y), net.copy, net.reset):
            with pytest.raises(RuntimeError, match=r"^a fit .* is running .*use copy\(\)") as error:
                call()
            errors.append(error)

    def callback(net, history):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(CLOCK_LIMIT)
        assert not thread.is_alive()
        assert net.predict(X).shape == (6, 3)

    assert net.fit(X, Y, epochs=3, callbacks=callback).epochs == 3
    assert len(errors) == 12
    assert net.predict(X).shape == (6, 3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_from_inside_a_call(backend):
    """A callback may look but not train; an activation may not use its own network."""
    X, Y = data()
    net = network(backend)
    refused = []

    def callback(net, history):
        assert net.predict(X).shape == (6, 3)
        assert net.copy().fit(X, Y, epochs=1).epochs == 1
        for call in (lambda: net.fit(X, Y), lambda: net.partial_fit(X, Y)):
            with pytest.raises(RuntimeError, match="a fit of this network is running"):
                call()
            refused.append(history.epochs)

    assert net.fit(X, Y, epochs=2, callbacks=callback).epochs == 2
    assert refused == [1, 1, 2, 2]
    twin = network(backend)
    twin.fit(X, Y, epochs=2)
    assert fingerprint(net) == fingerprint(twin)

    inner = []

    def value(z):
        if inner:
            inner[0].predict(X)
        return np.tanh(z)

    net = network(backend, activation=Activation(value, lambda z: 1 - np.tanh(z) ** 2))
    net.partial_fit(X, Y)
    before = fingerprint(net)
    inner.append(net)
    for call in (net.predict, lambda X: net.fit(X, Y, epochs=1), lambda X: net.partial_fit(X, Y)):
        with pytest.raises(RuntimeError, match="already in use"):
            call(X)
    inner.clear()
    assert fingerprint(net) == before
    net.fit(X, Y)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "function", ["value", "derivative", "cost", "gradient", "second", "product"]
)
def test_a_function_of_the_users_that_calls_its_own_network(function, backend):
    X, Y = data()
    inner = []

    def then(name, result):
        if inner and name == function:
            inner[0].predict(X)
        return result

    net = network(
        backend,
        activation=Activation(
            lambda z: then("value", np.sin(z)),
            lambda z: then("derivative", np.cos(z)),
            second_derivative=lambda z: then("second", -np.sin(z)),
        ),
        cost=Cost(
            lambda a, y: then("cost", ((a - y) ** 2).sum(axis=1)),
            lambda a, y: then("gradient", 2 * (a - y)),
            hessian_vector_product=lambda a, y, v: then("product", 2 * v),
        ),
    )
    before = fingerprint(net)
    calls = {"second": CURVATURE[:1], "product": CURVATURE}.get(function, TOOLBOX)
    for call in calls:
        good = getattr(net, call)(X, Y, **besides(net, call))
        inner.append(net)
        with pytest.raises(RuntimeError, match="already in use"):
            getattr(net, call)(X, Y, **besides(net, call))
        inner.clear()
        again = getattr(net, call)(X, Y, **besides(net, call))
        assert numbers_of(again).tobytes() == numbers_of(good).tobytes()
    assert fingerprint(net) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callback_or_a_metric_that_raises(backend):
    X, Y = data()
    net, twin = network(backend), network(backend)

    def fail(*arguments):
        raise ZeroDivisionError("mine")

    # A callback finds its epoch completed; an epoch that cannot be judged has not been.
    for arguments, epochs in (({"callbacks": fail}, 1), ({"metrics": fail}, 0)):
        with pytest.raises(ZeroDivisionError, match="mine"):
            net.fit(X, Y, epochs=3, batch_size=2, **arguments)
        twin.fit(X, Y, epochs=epochs, batch_size=2)
        assert fingerprint(net) == fingerprint(twin)


@pytest.mark.parametrize("backend", BACKENDS)
def test_different_networks_in_threads_give_the_bits_of_serial_runs(backend):
    n = 400 if backend == "compiled" else 40
    X, Y = data(n=n)

    def work(seed):
        net = Network([4, 40, 30, 3], seed=seed, backend=backend)
        net.fit(X, Y, epochs=3, batch_size=16, optimizer="adam")
        return fingerprint(net), net.gradient(X, Y, per_example=True).vector.tobytes()

    serial = [work(seed) for seed in range(4)]
    together: list[Any] = [None] * 4
    threads = [
        threading.Thread(target=lambda s=seed: together.__setitem__(s, work(s)))
        for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CLOCK_LIMIT)
    assert together == serial


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("twin_of", [Network.copy, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_copies_are_equal_and_independent(dtype, twin_of, backend):
    X, Y = data()
    net = trained(backend, dtype=dtype)
    twin = twin_of(net)
    assert type(twin) is Network
    assert fingerprint(twin) == fingerprint(net)
    assert repr(twin) == repr(net)
    assert twin.predict(X).tobytes() == net.predict(X).tobytes()
    before = fingerprint(net)
    twin.fit(X, Y, epochs=2)
    twin.weights[0][...] = 7
    assert fingerprint(net) == before
    # The generator's state came along: the next shuffles are the same, and so are the slots.
    pair = [net, twin_of(net)]
    for one in pair:
        one.partial_fit(X, Y)
        one.fit(X, Y, epochs=3, batch_size=2)
    assert fingerprint(pair[0]) == fingerprint(pair[1])
    # One that was never trained has no optimiser to copy.
    assert fingerprint(twin_of(network(backend))) == fingerprint(network(backend))


# ---- 6. Ctrl-C and the environment, each in a process of its own ---------------------------------

SOURCE = str(Path(cbackprop.__file__).resolve().parent.parent)


def python(code, *options, timeout=60, **environment):
    """Run code in a fresh interpreter; what it printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CBACKPROP_")}
    path = os.pathsep.join([SOURCE, kept.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**kept, "PYTHONPATH": path, **environment},
        check=False,
    )


def succeeds(result):
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    return result.stdout.strip()


INTERRUPTED = """
    import os, signal, threading, time
    import numpy as np
    from cbackprop import SGD, Adam, Network, Rprop

    # A shell's background job passes on that SIGINT is ignored; a terminal does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    backend, optimizer, options = {backend!r}, {optimizer}, {options}
    # Batches of some milliseconds, far more of them than there is time for.
    n, rows, width = {n}, 200, {width}
    X = np.random.default_rng(0).normal(size=(n, width))
    Y = X[:, :3] * 0.1
    net = Network([width, width, 3], seed=0, backend=backend, activation="tanh")
    twin = net.copy()
    pressed = []

    def press(ready):
        while not ready():
            time.sleep(0.01)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def interrupted(call, ready=lambda: True):
        timer = threading.Timer(0.15, press, (ready,))
        timer.start()
        try:
            call()
        except KeyboardInterrupt:
            seconds = time.monotonic() - pressed[-1]
            assert seconds < 2, seconds
            return
        finally:
            timer.join()
        raise AssertionError("no KeyboardInterrupt")

    # A gradient changes nothing.
    before = net.parameters
    interrupted(lambda: [net.gradient(X, Y) for _ in range(10000)])
    assert np.array_equal(net.parameters, before)

    # fit keeps the last full batch: what so many steps of partial_fit give.
    interrupted(
        lambda: net.fit(
            X, Y, epochs=100000, batch_size=rows, shuffle=False, optimizer=optimizer, **options
        ),
        # However slow the machine is, there is a full batch to keep.
        lambda: net._engine.step_count > 0,
    )
    steps = 0
    while not np.array_equal(net.parameters, twin.parameters):
        start = steps * rows % n
        twin.partial_fit(
            X[start : start + rows], Y[start : start + rows], batch_size=rows, optimizer=optimizer,
            options=options,
        )
        steps += 1
        assert steps < 100000
    assert steps > 0
    assert net._engine.step_count == twin._engine.step_count
    assert net._engine.previous_cost == twin._engine.previous_cost
    assert all(np.array_equal(*pair) for pair in zip(net._engine.slots, twin._engine.slots))
    assert net.fit(X[:400], Y[:400], epochs=1).epochs == 1
    assert net.predict(X[:3]).shape == (3, 3)
    print("ok")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself are POSIX")
@pytest.mark.parametrize(
    ("backend", "optimizer", "options"),
    [(backend, "SGD(0.001)", "{}") for backend in BACKENDS]
    + [("compiled", o, "{}") for o in ("SGD(0.001, 0.9)", "Adam()") if HAS_COMPILED]
    + [(b, "Rprop(1e-4)", "dict(l2=0.01, max_norm=1.0, clip_norm=0.5)") for b in BACKENDS],
)
def test_ctrl_c_keeps_the_last_full_batch(backend, optimizer, options):
    n, width = (4000, 300) if backend == "compiled" else (4000, 100)
    code = INTERRUPTED.format(
        backend=backend, optimizer=optimizer, options=options, n=n, width=width
    )
    assert succeeds(python(code)) == "ok"


PROBE = """
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import cbackprop
        from cbackprop import Network
        net = Network([2, 3, 1], seed=0)
        Network([2, 3, 1], backend="compiled").predict([[1.0, 2.0]])
        net.fit([[1.0, 2.0]], [[0.5]])
    print(net.backend, cbackprop.info()["simd_level"])
    print([(w.category.__name__, str(w.message)) for w in caught])
"""

BLOCKED = """
    import sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("cbackprop.kernels._"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, Blocker())
"""

# A processor that runs no more than the baseline, whatever runs the test.
LESSER = """
    import sys, types
    cpu = types.ModuleType("cbackprop.kernels._cpu")
    cpu.supported_levels = lambda: ("v2", "generic")
    sys.modules["cbackprop.kernels._cpu"] = cpu
"""


def test_without_the_compiled_core_the_reference_and_one_warning():
    lines = succeeds(python(textwrap.dedent(BLOCKED) + textwrap.dedent(PROBE))).splitlines()
    assert lines[0] == "reference None"
    (only,) = eval(lines[1])
    assert only[0] == "RuntimeWarning"
    assert re.match("the compiled core of cbackprop is missing .* pip install", only[1])


@pytest.mark.parametrize("value", ["1", "yes"])
def test_a_required_compiled_core_that_is_missing(value):
    result = python(textwrap.dedent(BLOCKED) + "import cbackprop", CBACKPROP_REQUIRE_EXT=value)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert re.match("ImportError: the compiled core of cbackprop is missing .*REQUIRE_EXT", last)


def test_a_compiled_core_that_is_there_gives_no_warning():
    if not HAS_COMPILED:
        pytest.skip("the compiled core is not built")
    lines = succeeds(python(PROBE, CBACKPROP_REQUIRE_EXT="1")).splitlines()
    assert lines[0].startswith("compiled ")
    assert lines[1] == "[]"


@pytest.mark.skipif(not HAS_COMPILED, reason="the compiled core is not built")
@pytest.mark.parametrize("value", ["v9", "avx2", "V3", " v2", "none"])
def test_an_unknown_simd_level(value):
    result = python("import cbackprop", CBACKPROP_SIMD=value)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        f"RuntimeError: CBACKPROP_SIMD is {value!r}; expected one of 'v2', 'v3', 'v4', 'generic'"
    )


@pytest.mark.skipif(not HAS_COMPILED, reason="the compiled core is not built")
@pytest.mark.parametrize("level", ["v3", "v4"])
def test_a_simd_level_beyond_the_processor(level):
    result = python(textwrap.dedent(LESSER) + "import cbackprop", CBACKPROP_SIMD=level)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        f"RuntimeError: CBACKPROP_SIMD is {level!r}, which this processor cannot run; it can run "
        "v2, generic"
    )


@pytest.mark.skipif(not HAS_COMPILED, reason="the compiled core is not built")
def test_a_lesser_processor_gets_the_baseline():
    from cbackprop.kernels import _cpu

    if "v2" not in _cpu.supported_levels():
        pytest.skip("this processor has no level v2")
    lines = succeeds(python(textwrap.dedent(LESSER) + textwrap.dedent(PROBE))).splitlines()
    assert lines == ["compiled v2", "[]"]


def test_validation_does_not_rest_on_assertions():
    code = """
        import numpy as np
        from cbackprop import SGD, Network
        assert False, "assertions are still on"
        net = Network([4, 5, 3], seed=0)
        X, Y = np.zeros((2, 4)), np.zeros((2, 3))
        calls = [
            lambda: Network([4, 0]), lambda: Network([4, True]), lambda: SGD(-1.0),
            lambda: net.predict(None), lambda: net.predict(X[:, :3]), lambda: net.fit(X, Y[:1]),
            lambda: net.fit(X, Y + np.nan), lambda: net.gradient(X, Y, out=np.zeros(7)),
            lambda: net.predict(X, out=X[:, :3]), lambda: net.fit(X, Y, epochs=-1),
            lambda: net.chain_rule(X[0], Y[0]).weight(1, 5, 0), lambda: net.predict(X, out=X),
        ]
        for call in calls:
            try:
                call()
            except (TypeError, ValueError) as error:
                print(type(error).__name__)
        print(net.check_gradient(X, Y).passed)
    """
    printed = succeeds(python(code, "-OO", "-W", "error")).split()
    assert len(printed) == 13
    assert printed[-1] == "True"


QUIET = {
    "predict": lambda net, X, Y: net.predict(X),
    "forward": lambda net, X, Y: net.forward(X),
    "backward": lambda net, X, Y: net.backward(X, Y),
    "cost": lambda net, X, Y: net.cost(X, Y, sample_weight=np.full(6, 1e-30)),
    "gradient": lambda net, X, Y: net.gradient(X, Y),
    "weighted gradient": lambda net, X, Y: net.gradient(X, Y, sample_weight=np.full(6, 1e-30)),
    "gradient per example": lambda net, X, Y: net.gradient(X, Y, per_example=True),
    "norm": lambda net, X, Y: net.gradient(X, Y).norm(),
    "norms": lambda net, X, Y: net.gradient_norms(X, Y),
    "jacobian": lambda net, X, Y: net.jacobian(X),
    "clipped gradient": lambda net, X, Y: net.clipped_gradient(X, Y, 1e-30),
    "inner products": lambda net, X, Y: net.gradient_gram(X, Y),
    "inner products of two sets": lambda net, X, Y: net.gradient_gram(X, Y, X * 1e-9, Y),
    "moments": lambda net, X, Y: net.gradient_moments(X, Y),
    "input gradient": lambda net, X, Y: net.input_gradient(X, Y),
    "input Jacobian": lambda net, X, Y: net.input_jacobian(X),
    "Hessian": lambda net, X, Y: net.hessian_vector_product(X, Y, np.full(43, 1e-30)),
    "Gauss-Newton": lambda net, X, Y: net.gauss_newton_vector_product(X, Y, np.full(43, 1e-30)),
    "check_gradient": lambda net, X, Y: net.check_gradient(X[:1], Y[:1]),
    "nudge": lambda net, X, Y: net.chain_rule(X[0], Y[0]).activation(0, 0).nudge(1e-30),
    "fit": lambda net, X, Y: net.fit(X, Y, epochs=2, optimizer="adam", validation_data=(X, Y)),
    "fit with momentum": lambda net, X, Y: net.fit(X, Y, epochs=2, optimizer=SGD(1e-30, 0.5)),
    "fit with every rule": lambda net, X, Y: [
        net.fit(X, Y, epochs=3, batch_size=4, optimizer=optimizer)
        for optimizer in (
            "adamw",
            "rmsprop",
            RMSprop(0.01, 0.9, 1e-8, 0.5, True),
            "adagrad",
            Adagrad(0.1, 1e-10, 0.1),
            "rprop",
            Rprop(0.01, takes_back=False),
        )
    ],
    "fit with every option": lambda net, X, Y: net.fit(
        X,
        Y,
        epochs=3,
        batch_size=4,
        l1=1e-3,
        l2=1e-2,
        dropout=0.4,
        max_norm=0.5,
        clip_norm=1e-2,
        noise_multiplier=1e-3,
        sample_weight=np.full(6, 1e-30),
        class_weight="balanced",
        validation_fraction=0.3,
        metrics=("mse", "mae", "r2", "accuracy"),
        early_stopping=2,
        schedule=schedules.ReduceOnPlateau(0.1, 0),
    ),
    "fit with norms at the ends": lambda net, X, Y: [
        net.copy().fit(X, Y, epochs=2, max_norm=size, clip_norm=size) for size in (1e-30, 1e30)
    ],
    "partial_fit": lambda net, X, Y: net.partial_fit(X, Y).partial_fit(X[0], Y[0]),
    "reset": lambda net, X, Y: net.copy().reset(3),
    "score": lambda net, X, Y: net.score(X, Y),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("call", list(QUIET))
def test_numpys_error_state_makes_no_errors_of_its_own(call, dtype, backend):
    X, Y = data()
    # Small enough for gradients to underflow in float32, and saturated enough for exp to.
    with np.errstate(all="raise"):
        for inputs in (X, X * 1e-25, X * 300, X * 0):
            for init in ("auto", "lecun", "standard_normal", "zeros"):
                QUIET[call](network(backend, dtype=dtype, init=init), inputs, Y)


@pytest.mark.parametrize("backend", BACKENDS)
def test_numpys_error_state_is_left_as_it_was(backend):
    X, Y = data()
    with np.errstate(over="raise", under="warn", invalid="ignore", divide="call"):
        before = np.geterr()
        net = network(backend)
        net.fit(X, Y, epochs=1)
        with pytest.raises(ValueError, match=r"^X has nan"):
            net.predict(X * np.nan)
        assert np.geterr() == before
