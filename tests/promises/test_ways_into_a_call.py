"""Every way into a call has the same meaning: arrays, lists, other types, options spelled out.

Hypothesis draws a network, what happened to it before, a public call and two ways to make it. From
the same state both must give the same bits or the same error, and leave the same state behind:
parameters, optimiser, learning rate, generator. What quick ways exist for plain arrays, and what
they skip, must not be seen. tests/deep/ways_into_a_call.py draws for longer.
"""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import tempfile
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import BACKENDS, DTYPES, Array, state, with_every_kind

from cbackprop import SGD, Activation, Adam, Cost, EarlyStopping, Network, Rprop, schedules
from cbackprop.update_rules import StepOptions

# ---- the network, and what happened to it --------------------------------------------------------

SINE = Activation(np.sin, np.cos, second_derivative=lambda z: -np.sin(z))
FOURTH = Cost(
    lambda a, y: ((a - y) ** 4).sum(axis=1),
    lambda a, y: 4 * (a - y) ** 3,
    hessian_vector_product=lambda a, y, u: 12 * (a - y) ** 2 * u,
)
NETWORKS: tuple[tuple[list[int], Any, Any], ...] = (
    ([1, 1], "sigmoid", "quadratic"),
    ([2, 3, 1], "tanh", "half_quadratic"),
    ([3, 2], "identity", "mae"),
    ([3, 4, 4, 2], ["relu", "silu", "identity"], "mse"),
    ([3, 17, 5], ["softplus", "softmax"], "cross_entropy"),
    ([4, 33, 3], ["gelu", "sigmoid"], "cross_entropy"),
    ([2, 5, 2], ["elu", "exponential"], "poisson"),
    ([5, 9, 3], ["softsign", "leaky_relu"], "huber"),
    ([2, 4, 2], [SINE, "identity"], FOURTH),
)
OPTIMIZERS = with_every_kind(
    SGD(0.1), SGD(0.05, momentum=0.9), Adam(0.01), Rprop(0.01), whole_batch=False
)


def examples(net: Network, n: int, seed: int) -> tuple[Array, Array]:
    """Numbers that float32 has, so that every type above it holds the same ones."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, net.sizes[0]))
    Y = random.dirichlet(np.ones(net.sizes[-1] + 1), size=n)[:, :-1]
    if net.activations[-1] == "softmax":
        Y = Y / Y.sum(axis=1, keepdims=True)
    return X.astype(np.float32).astype(net.dtype), Y.astype(np.float32).astype(net.dtype)


HALVED = schedules.ExponentialDecay(0.5)


def scheduled_fit(net: Network, X: Array, Y: Array) -> Network:
    net.fit(X, Y, epochs=3, optimizer=Adam(0.01), schedule=lambda epoch, rate: rate * 0.1**epoch)
    return net


def failed_fit(net: Network, X: Array, Y: Array) -> Network:
    """The second epoch's callback fails after another rate than the optimiser's own."""

    def fails(network: Network, history: Any) -> None:
        if history.epochs == 2:
            raise ZeroDivisionError

    try:
        net.fit(X, Y, epochs=3, optimizer=SGD(0.01), schedule=HALVED, callbacks=[fails])
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("the callback's error was kept")
    return net


def interrupted_fit(net: Network, X: Array, Y: Array) -> Network:
    def interrupts(network: Network, history: Any) -> None:
        raise KeyboardInterrupt

    try:
        net.fit(X, Y, optimizer=SGD(0.01), schedule=HALVED, callbacks=[interrupts])
    except KeyboardInterrupt:
        return net
    raise AssertionError("the interrupt was kept")


def diverged_pass(net: Network, X: Array, Y: Array) -> Network:
    try:
        with np.errstate(all="ignore"):
            net.partial_fit(X, Y, 1, "sgd", float(np.finfo(net.dtype).max), None, {"l2": 1.0})
    except FloatingPointError:
        pass
    if not np.isfinite(net.parameters).all() or np.abs(net.parameters).max() > 100:
        net.reset(3)
    return net


def another_rate(net: Network, X: Array, Y: Array) -> Network:
    return net.partial_fit(X, Y, 4, Adam(), 0.003)


def whole_batch(net: Network, X: Array, Y: Array) -> Network:
    net.fit(X, Y, epochs=1, optimizer="lbfgs")
    return net.partial_fit(X, Y, 3, SGD(0.01))


PAST: dict[str, Callable[[Network, Array, Array], Network]] = {
    "nothing": lambda net, X, Y: net,
    "a pass": lambda net, X, Y: net.partial_fit(X, Y, 3, SGD(0.01)),
    "a pass with another rate": another_rate,
    "a fit with a schedule": scheduled_fit,
    "a fit that failed": failed_fit,
    "a fit that was interrupted": interrupted_fit,
    "a pass that diverged": diverged_pass,
    "a whole-batch fit": whole_batch,
    "a reset": lambda net, X, Y: net.partial_fit(X, Y, 3, SGD(0.01)).reset(8),
    "new parameters": lambda net, X, Y: assigned(net.partial_fit(X, Y, 3, SGD(0.01))),
}


def assigned(net: Network) -> Network:
    net.parameters = net.parameters / 2
    return net


# What comes back from these must behave as the network itself: they are ways, too.
TWINS: dict[str, Callable[[Network], Network]] = {
    "copy()": lambda net: net.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
}


# ---- ways to send an array -----------------------------------------------------------------------


class AsArray:
    """Neither an array nor a list, but it becomes one."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self._array.astype(dtype or self._array.dtype)


class Table(AsArray):
    """What is used of a data frame whose columns have no names of their own."""

    def __init__(self, array: Array) -> None:
        super().__init__(array)
        width = array.shape[1] if array.ndim == 2 else 0
        self.columns, self.dtypes = range(width), [array.dtype] * width


def strided(array: Array) -> Array:
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1] + 1), np.nan, array.dtype)
    wide[..., 1::2] = array
    return wide[..., 1::2]


def misaligned(array: Array) -> Array:
    memory = np.zeros(array.nbytes + 1, np.uint8)
    result = memory[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def read_only(array: Array) -> Array:
    twin = array.copy()
    twin.flags.writeable = False
    return twin


def mapped(array: Array) -> Array:
    if array.size == 0:
        return array
    with tempfile.NamedTemporaryFile() as file:
        result = np.memmap(file, array.dtype, "w+", shape=array.shape)
    result[...] = array
    return result


def whole(array: Array) -> Any:
    """As integers, where all numbers are whole."""
    return array.astype(np.int16) if np.isin(array, np.arange(-99, 100)).all() else array


def other_width(array: Array) -> Array:
    """Where the numbers are the same in it."""
    twin = array.astype(np.float64 if array.dtype == np.float32 else np.float32)
    return twin if np.array_equal(twin, array, equal_nan=True) else array


SENT: dict[str, Callable[[Array], Any]] = {
    "array": lambda array: array,
    "copy": lambda array: array.copy(),
    "list": lambda array: array.tolist(),
    "tuple of arrays": tuple,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "backwards": lambda array: array[::-1].copy()[::-1],
    "misaligned": misaligned,
    "read-only": read_only,
    "memory map": mapped,
    "other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "float32 or float64": other_width,
    "longdouble": lambda array: array.astype(np.longdouble),
    "integers": whole,
    "__array__": AsArray,
    "table": Table,
}
ways = st.sampled_from(sorted(SENT))


# ---- the calls -----------------------------------------------------------------------------------


class Sent(NamedTuple):
    """How one of the two calls is made."""

    X: str
    Y: str
    spelled_out: bool  # every default given by name


Call = Callable[[Network, Any, Any, Sent], Any]
Y_IS_NOT_USED = (
    "predict", "forward", "jacobian", "input_jacobian", "jvp", "predict into out"
)  # fmt: skip


def defaults(sent: Sent, **values: Any) -> dict[str, Any]:
    return values if sent.spelled_out else {}


def into_out(net: Network, X: Any, Y: Any, sent: Sent) -> Any:
    if not sent.spelled_out:
        return net.predict(X)
    shape = np.shape(X) if not isinstance(X, AsArray) else X._array.shape
    out = np.full((*shape[:-1], net.sizes[-1]), 7.0, net.dtype)
    result = net.predict(X, out=out)
    assert result is out
    return result


LOOKS: dict[str, Call] = {
    "predict": lambda net, X, Y, sent: net.predict(X, **defaults(sent, out=None)),
    "predict into out": into_out,
    "forward": lambda net, X, Y, sent: [*net.forward(X).z[1:], *net.forward(X).a],
    "cost": lambda net, X, Y, sent: net.cost(
        X, Y, **defaults(sent, per_example=False, sample_weight=None)
    ),
    "costs": lambda net, X, Y, sent: net.cost(X, Y, True),
    "backward": lambda net, X, Y, sent: [
        part for parts in vars_of(net.backward(X, Y)) for part in parts
    ],
    "gradient": lambda net, X, Y, sent: (
        net.gradient(X, Y, **defaults(sent, per_example=False, sample_weight=None, out=None)).vector
    ),
    "gradients": lambda net, X, Y, sent: net.gradient(X, Y, per_example=True).vector,
    "gradient_norms": lambda net, X, Y, sent: net.gradient_norms(X, Y),
    "clipped_gradient": lambda net, X, Y, sent: net.clipped_gradient(X, Y, 0.5).vector,
    "gradient_gram": lambda net, X, Y, sent: net.gradient_gram(
        X, Y, **defaults(sent, X2=None, Y2=None)
    ),
    "gradient_gram of two": lambda net, X, Y, sent: net.gradient_gram(X, Y, X, Y),
    "gradient_moments": lambda net, X, Y, sent: [g.vector for g in net.gradient_moments(X, Y)],
    "jacobian": lambda net, X, Y, sent: net.jacobian(X, **defaults(sent, out=None)),
    "input_gradient": lambda net, X, Y, sent: net.input_gradient(X, Y),
    "input_jacobian": lambda net, X, Y, sent: net.input_jacobian(X),
    "vjp": lambda net, X, Y, sent: [
        np.asarray(part) for part in net.vjp(X, Y, **defaults(sent, out=None))
    ],
    "jvp": lambda net, X, Y, sent: net.jvp(X, direction(net, sent), **defaults(sent, out=None)),
    "hessian_vector_product": lambda net, X, Y, sent: net.hessian_vector_product(
        X, Y, direction(net, sent)
    ),
    "gauss_newton_vector_product": lambda net, X, Y, sent: net.gauss_newton_vector_product(
        X, Y, direction(net, sent)
    ),
    "score": lambda net, X, Y, sent: net.score(X, Y, "mse"),
}


def vars_of(backward: Any) -> list[Any]:
    names = ("z", "a", "delta", "dC_da")
    return [[part for part in getattr(backward, name) if part is not None] for name in names]


def direction(net: Network, sent: Sent) -> Any:
    v = np.linspace(-1, 1, net.n_parameters).astype(np.float32).astype(net.dtype)
    return SENT[sent.X](v)


OPTIONS: dict[str, Any] = {
    "l1": 0.01, "l2": 0.02, "dropout": 0.3, "max_norm": 1.5, "clip_norm": 0.5,
    "clip_gradient_norm": 0.2, "frozen": (1,), "missing_targets": True,
}  # fmt: skip


class Training(NamedTuple):
    """What both fits are told, one of them in other words."""

    batch_size: int
    optimizer: Any
    rate: float | None
    options: dict[str, Any]
    weighted: bool


def weight_of(training: Training, n: int) -> Array | None:
    return None if not training.weighted else np.arange(1.0, n + 1).astype(np.float32)


def passed(net: Network, X: Any, Y: Any, n: int, training: Training, sent: Sent) -> list[Any]:
    """One pass by partial_fit: the rule in use goes on, or another one starts."""
    arguments: dict[str, Any] = {"batch_size": training.batch_size}
    weight = weight_of(training, n)
    if weight is not None:
        arguments["sample_weight"] = SENT[sent.Y](weight)
    if training.optimizer is not None:
        arguments["optimizer"] = training.optimizer
    elif sent.spelled_out and net._model.optimizer is not None:
        arguments["optimizer"] = copy.copy(net._model.optimizer)
    if training.rate is not None:
        arguments["learning_rate"] = training.rate
    given = {name: value for name, value in training.options.items() if value}
    if sent.spelled_out:
        given = {**NO_OPTIONS, **given}
    if given:
        arguments["options"] = given
    assert net.partial_fit(X, Y, **arguments) is net
    return []


NO_OPTIONS = {
    name: inspect.signature(Network.fit).parameters[name].default for name in StepOptions._fields
}


def fitted(net: Network, X: Any, Y: Any, n: int, training: Training, sent: Sent) -> list[Any]:
    """Two epochs, said in two ways."""
    other = sent.spelled_out
    arguments: dict[str, Any] = {**training.options}
    optimizer = training.optimizer or SGD(0.1)
    weight = weight_of(training, n)
    if weight is not None:
        arguments["sample_weight"] = SENT[sent.Y](weight)
    if training.rate is not None:
        arguments["learning_rate"] = training.rate
    history = net.fit(
        X,
        Y,
        epochs=2,
        batch_size=training.batch_size,
        optimizer=copy.copy(optimizer) if other else optimizer,
        shuffle=(lambda epoch: range(n)) if other else False,
        schedule=schedules.Constant() if other else None,
        early_stopping=EarlyStopping(5, monitor="cost") if other else EarlyStopping(5, 0.0, "cost"),
        metrics="mse" if other else ["mse"],
        progress=False if other else None,
        callbacks=(lambda network, history: None) if other else (),
        **arguments,
    )
    return [
        np.array([*history.cost, *history.metrics["mse"], *history.learning_rate]),
        np.array(history.best_epoch),
    ]


# ---- what came of it -----------------------------------------------------------------------------


def outcome(call: Callable[[], Any]) -> tuple[str, list[bytes]]:
    """The error, or the results, to the bit."""
    try:
        with warnings.catch_warnings():
            # A fit says that some targets are out of reach; a pass, one of many, does not.
            warnings.simplefilter("ignore", UserWarning)
            result = call()
    except (ArithmeticError, TypeError, ValueError) as error:
        # Advice after the semicolon may speak of the kind of object that came.
        return f"{type(error).__name__}: {str(error).split(';')[0]}", []
    parts = result if isinstance(result, list) else [result]
    return "", [np.ascontiguousarray(part).tobytes() for part in parts]


def spoilt(data: Any, X: Array, Y: Array) -> tuple[Array, Array]:
    """Now and then something that must be refused, in the same words whichever way it comes."""
    how = data.draw(
        st.sampled_from([None] * 8 + ["NaN", "infinity", "short", "wide", "3-d", "huge", "target"])
    )
    if how == "NaN":
        X = X.copy()
        X[-1, 0] = np.nan
    elif how == "infinity":
        Y = Y.copy()
        Y[0, -1] = np.inf
    elif how == "short" and len(Y) > 1:  # a list of no rows has no columns either
        Y = Y[:-1]
    elif how == "wide":
        X = np.concatenate([X, X], axis=1)
    elif how == "3-d":
        X = X[:, :, None]
    elif how == "huge":
        X = X * np.array(1e30, X.dtype)
    elif how == "target":
        Y = Y - 3
    return X, Y


def two_of(which: Any, past: str, twin: str, seed: int) -> tuple[Network, Network]:
    """A network with this past, and its twin."""
    (sizes, activation, cost), dtype, backend, threads = which
    net = Network(
        sizes, activation, cost, dtype=dtype, seed=seed % 1000, threads=threads, backend=backend
    )
    net = PAST[past](net, *examples(net, 8, seed))
    # A pickle holds functions by their names, which these have not.
    other = TWINS[twin](net) if cost is not FOURTH else net.copy()
    assert state(other) == state(net)
    return net, other


PLAIN = Sent("array", "array", False)
# What every check draws.
WHATEVER_CAME_BEFORE: dict[str, Any] = {
    "which": st.tuples(
        st.sampled_from(NETWORKS),
        st.sampled_from(DTYPES),
        st.sampled_from(BACKENDS),
        st.integers(1, 2),
    ),
    "past": st.sampled_from(sorted(PAST)),
    "n": st.integers(1, 20),
    "seed": st.integers(0, 2**32),
}
TWO_WAYS: dict[str, Any] = {
    "data": st.data(),
    "twin": st.sampled_from(sorted(TWINS)),
    "sent": st.builds(Sent, ways, ways, st.booleans()),
}


def looks(which, past, n, seed, data, twin, sent, call, single):
    """A call that changes nothing, on arrays and in another way."""
    net, other = two_of(which, past, twin, seed)
    X, Y = spoilt(data, *examples(net, n, seed + 1))
    if single:
        X, Y = X[0], Y[0]
    before = state(net)
    found = outcome(lambda: LOOKS[call](net, SENT[sent.X](X), SENT[sent.Y](Y), sent))
    expected = outcome(lambda: LOOKS[call](other, X, Y, PLAIN))
    assert found == expected
    assert state(net) == state(other) == before


def trainings(which, past, n, seed, data, twin, sent, train, batch_size, optimizer, rate, weighted):
    """A fit or a pass likewise; then a quick pass beside a slow one, which show what was left."""
    net, other = two_of(which, past, twin, seed)
    X, Y = spoilt(data, *examples(net, n, seed + 1))
    options = {
        name: data.draw(st.sampled_from([NO_OPTIONS[name]] * 3 + [value]))
        for name, value in OPTIONS.items()
        if name != "frozen" or len(net.sizes) > 2
    }
    if options["missing_targets"] and net.cost_function is not FOURTH:
        Y = Y.copy()
        Y[0, -1] = np.nan
    training = Training(batch_size, optimizer, rate, options, weighted)
    found = outcome(lambda: train(net, SENT[sent.X](X), SENT[sent.Y](Y), n, training, sent))
    expected = outcome(lambda: train(other, X, Y, n, training, PLAIN))
    assert found == expected
    assert state(net) == state(other)
    X, Y = examples(net, 6, seed + 2)
    quick = outcome(lambda: net.partial_fit(X, Y, 6) and [])
    slow = outcome(lambda: other.partial_fit(X.tolist(), Y.tolist(), 6) and [])
    assert quick == slow
    assert state(net) == state(other)


def passes(which, past, n, seed, batch_size, optimizer, weighted, has_options, in_pieces):
    """partial_fit, whole or batch by batch, is fit's epoch over the rows as they come."""
    net, other = two_of(which, past, "copy()", seed)
    net._model.set_optimizer(None)  # a fit starts afresh
    X, Y = examples(net, n, seed + 1)
    options = {"l1": 0.01, "l2": 0.02, "clip_norm": 0.5} if has_options else {}
    weight = np.arange(1.0, n + 1) if weighted else None
    epoch = outcome(
        lambda: other.fit(
            X, Y, epochs=1, batch_size=batch_size, optimizer=optimizer, shuffle=False,
            sample_weight=weight, **options,
        ) and []
    )  # fmt: skip
    step = batch_size if in_pieces and not epoch[0] else n
    for start in range(0, n, step):
        rows = slice(start, start + step)
        some = None if weight is None else weight[rows]
        sent = functools.partial(net.partial_fit, X[rows], Y[rows], batch_size, optimizer)
        each = outcome(lambda: sent(sample_weight=some, options=options) and [])  # noqa: B023
        assert each[0][:20] == epoch[0][:20]  # they name the step, or the epoch
    if not epoch[0]:
        assert state(net) == state(other)


CHECKS: dict[Callable[..., None], dict[str, Any]] = {
    looks: {
        **WHATEVER_CAME_BEFORE,
        **TWO_WAYS,
        "call": st.sampled_from(sorted(LOOKS)),
        "single": st.booleans(),
    },
    trainings: {
        **WHATEVER_CAME_BEFORE,
        **TWO_WAYS,
        "train": st.sampled_from([passed, fitted]),
        "batch_size": st.integers(1, 25),
        "optimizer": st.sampled_from([None, None, None, *OPTIMIZERS]),
        "rate": st.sampled_from([None, None, None, 0.02]),
        "weighted": st.booleans(),
    },
    passes: {
        **WHATEVER_CAME_BEFORE,
        "batch_size": st.integers(1, 25),
        "optimizer": st.sampled_from(OPTIMIZERS),
        "weighted": st.booleans(),
        "has_options": st.booleans(),
        "in_pieces": st.booleans(),
    },
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_ways(check):
    chosen = settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    chosen(given(**CHECKS[check])(check))()


def test_every_public_call_is_drawn():
    """A call that is added to Network must find its way here, or say why not."""
    elsewhere = {
        "chain_rule", "check_gradient", "stepper_html",  # one example's numbers, in their own tests
        "diagnose_gradient",
        "copy", "reset", "save", "load", "summary",  # no arrays go in
    }  # fmt: skip
    public = {name for name, value in vars(Network).items() if not name.startswith("_")}
    callables = {name for name in public if callable(getattr(Network, name))}
    drawn = {name.split()[0] for name in LOOKS} - {"costs", "gradients"}
    assert callables - elsewhere == drawn | {"fit", "partial_fit"}
