"""Calls that must be rejected, and how that is judged; bad values of every kind.

The contract for a rejected call: the exact exception class; a message that begins with the
argument's name and shows what came and what was expected; parameters, optimiser, generator and the
caller's arrays as before; no warning and no output; the same from both backends; and the next call
works as if nothing had happened.
"""

from __future__ import annotations

import decimal
import enum
import fractions
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from support import BACKENDS, data, state

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
from cbackprop.update_rules import StepOptions

SIZES = [4, 5, 3]


def examples(n=6, n_in=4, n_out=3):
    """Good X and Y for a network of SIZES."""
    return data(n, (n_in, n_out), seed=7)


def network(backend, **options):
    return Network(options.pop("sizes", SIZES), backend=backend, seed=1, **options)


def trained(backend, **options):
    """A network with moments, a step count and a generator that has been used; a copy of it."""
    key = f"{backend} {options}"
    if key not in _trained:
        net = network(backend, **options)
        X, Y = examples(n_in=net.sizes[0], n_out=net.sizes[-1])
        net.fit(X, Y, epochs=1, batch_size=2, optimizer="adam")
        _trained[key] = net.partial_fit(X, Y)
    return _trained[key].copy()


_trained: dict[str, Network] = {}


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
    """What a sparse array that has no rows looks like from outside."""

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


class Query:
    """What polars' lazy frames look like from outside."""

    @property
    def columns(self):
        warnings.warn("to know the columns takes a run of the query", stacklevel=1)
        return ["a", "b", "c", "d"]

    def collect(self):
        raise NotImplementedError


class FailingProperty:
    """An array by all accounts, one of whose attributes is a property that raises."""

    columns = ndim = None

    def __init__(self, name):
        self.name = name

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "name"):
            raise KeyError("not now")
        return object.__getattribute__(self, name)

    def __array__(self, dtype=None, copy=None):
        return np.zeros((6, 4))


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


# ---- rejected calls ------------------------------------------------------------------------------


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
FURTHER = (*MEANS, "gradient_gram", "input_gradient")
WITH_BOTH = (
    "cost",
    "backward",
    "gradient",
    "gradient_norms",
    *FURTHER,
    "check_gradient",
    "score",
    "partial_fit",
    "fit",
)
ONE_EXAMPLE_IS_FINE = (
    *WITH_X, "cost", "backward", "gradient", "gradient_norms", *FURTHER, "partial_fit"
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
        *(numbers_of(getattr(net, call)(X, Y, **besides(net, call))) for call in FURTHER),
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
    history = net.fit(X, Y, epochs=2, batch_size=4, validation_data=(X, Y), metrics="mae")
    found += [net.parameters, history.cost, history.validation_cost, history.metrics["mae"]]
    return [np.asarray(value).tobytes() for value in found]


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
        X, Y = examples(n_in=net.sizes[0], n_out=net.sizes[-1])
        good = {"X": X} if row.call in WITH_X else {"X": X, "Y": Y}
        if row.call == "chain_rule":
            good = {"x": X[0], "y": Y[0]}
        if row.call == "partial_fit":
            options = {
                name: arguments.pop(name) for name in StepOptions._fields if name in arguments
            }
            arguments = {**arguments, **({"options": options} if options else {})}
        getattr(net, row.call)(**{**good, **besides(net, row.call), **arguments})
    else:
        row.call(net, **arguments)


def label(value):
    """A value in a test's name, which is the same in every process."""
    try:
        return " ".join(re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(value)).split())[:24]
    except ValueError:
        return "10**5000"
    except KeyError:
        return "unprintable"


def put(shape, index, value, dtype=float):
    result = np.zeros(shape, dtype)
    result[index] = value
    return result


def overflow_call(call):
    """The call with the overflowing X and targets of 0."""

    def function(net, X):
        good = {"X": X} if call in WITH_X else {"X": X, "Y": X[:, :3] * 0, **besides(net, call)}
        return getattr(net, call)(**good)

    return function


FREE = Cost(lambda a, y: np.zeros(len(a)), lambda a, y: y, "free")
BENT = {"second_derivative": lambda z: -np.sin(z)}
PLAIN = Activation(np.sin, np.cos, "plain")
SINE = Activation(np.sin, np.cos, "sine", **BENT)


WEIGHTS = np.linspace(0.5, 1, 6)


def not_finite(number):
    """What is rejected wherever a number is asked for."""
    yield np.nan, ValueError, r" is nan; expected a finite number"
    yield -np.inf, ValueError, r" is -inf; expected a finite number"
    yield 10**400, ValueError, r" is 1000.*; expected a finite number"
    yield 10**5000, ValueError, r" is an object of type int; expected a finite number"
    for value in (
        "0.1", b"0.1", 1j, True, np.False_, [0.1], np.array([0.1]), np.array("0.1"),
        np.array(True), decimal.Decimal(1), fractions.Fraction(1, 2),
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
    yield np.ma.array(2, mask=True), ValueError, r" has 1 masked entry; expected none"
    yield np.ma.masked, ValueError, r" has 1 masked entry; expected none"
    for value in (
        1.0, np.float32(1), np.nan, np.inf, "3", b"3", 1j, [3], np.array([3]), np.array([[3]]),
        np.array(3.0), np.array("3"), np.array(True), decimal.Decimal(1), fractions.Fraction(1),
        np.timedelta64(1, "s"), np.datetime64("2020"), np.void(b"12345678"),
        object(), int, Unprintable(), Colour.RED, NoIndex(),
    ):  # fmt: skip
        yield value, TypeError, rf" is .* {integer}"


def as_parameters(rows):
    """The rows of each group together."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group or row.name, []).append(row)
    return [pytest.param(members, id=name) for name, members in groups.items()]


def check_rejected(row, capfd):
    messages = set()
    for backend in BACKENDS:
        net = trained(backend, **row.options)
        arguments = row.arguments(net)
        owned = arrays_in(arguments)
        before, owned_before = state(net), contents(owned)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(row.error) as failure:
                perform(row, net, arguments, backend)
        message = str(failure.value)
        assert type(failure.value) is row.error, failure.value
        assert re.match(row.pattern, message, re.DOTALL), message
        assert "\n" not in message
        assert state(net) == before
        assert contents(owned) == owned_before
        assert [str(warning.message) for warning in caught] == []
        assert capfd.readouterr() == ("", "")
        # And the network goes on as one that never saw the call.
        if row.call not in ("Network", *OBJECTS) and net.n_parameters < 1000:
            twin = trained(backend, **row.options)
            row.arguments(twin)
            if row.error is FloatingPointError:
                net.parameters = twin.parameters = np.full(net.n_parameters, 0.5)
            X, Y = examples(n_in=net.sizes[0], n_out=net.sizes[-1])
            np.testing.assert_array_equal(net.predict(X), twin.predict(X))
            net.partial_fit(X, Y)
            twin.partial_fit(X, Y)
            assert state(net) == state(twin)
        messages.add(re.sub(r"0x[0-9A-Fa-f]+|\(Unable .*\)", "", message))
    assert len(messages) == 1, messages
