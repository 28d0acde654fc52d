"""Objects that lie about themselves or change while they are looked at.

A value is taken once, and what was taken is judged: after that no len(), shape, __array__ or == of
the user's has a say. So nothing here crashes, and no network is left changed by a refusal.
"""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest
from support import BACKENDS, DTYPES, data, every_backend, needs_compiled, state

from cbackprop import SGD, Activation, Adam, Cost, EarlyStopping, Network, datasets, schedules
from cbackprop import backend as backends
from cbackprop.update_rules import UpdateRule

SIZES = (3, 4, 2)
X, Y = data(6, SIZES)
Y = np.eye(2)[Y.argmax(axis=1)]  # classes
LYING = (0, 1, 2, 3, 4, 7, 10**6)  # what a len() says


class Taken(AssertionError):
    """Somebody has looked a second time."""


class Once:
    """Gives what it holds once, in whichever way it is asked for it."""

    def __init__(self, held):
        self.held = [held]

    def take(self):
        if not self.held:
            raise Taken
        return self.held.pop()


class OnceIndex(Once):
    def __index__(self):
        return self.take()


class OnceArray(Once):
    def __array__(self, dtype=None, copy=None):
        return np.array(self.take(), dtype)


class OncePath(Once):
    def __fspath__(self):
        return self.take()


class OnceFloat(float):
    def __new__(cls, value):
        self = super().__new__(cls, np.nan)
        self.once = Once(value)
        return self

    def __float__(self):
        return self.once.take()


class LyingList(list):
    """A list whose len() and places say other things than its entries; these come once."""

    says = 2
    gone = False

    def __len__(self):
        return self.says

    def __getitem__(self, place):
        return None

    def __iter__(self):
        if self.gone:
            raise Taken
        self.gone = True
        return super().__iter__()


class LyingTuple(tuple):
    def __len__(self):
        return 2

    def __getitem__(self, place):
        return None


class LyingText(str):
    """A word that says it equals every other."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __hash__(self):
        return hash("sigmoid")

    def __str__(self):
        return "sigmoid"

    def lower(self):
        return "sigmoid"


class LyingArray(np.ndarray):
    """An array that says other things of itself than are in its memory."""

    shape = (10**6, 3)
    ndim = 2
    size = 3 * 10**6
    dtype = np.dtype("float64")
    strides = (24, 8)

    def __array_finalize__(self, obj):
        self.seen = obj

    def __len__(self):
        return 10**6

    def __getitem__(self, place):
        return self

    def min(self, *_, **__):
        return 0

    def max(self, *_, **__):
        return 0

    def copy(self, *_, **__):
        return self

    def reshape(self, *_, **__):
        return self

    def astype(self, *_, **__):
        return self

    def __lt__(self, other):
        return np.zeros(1, bool)

    __gt__ = __lt__


class LyingDict(dict):
    """A dict whose items come once, whatever its length and its places say."""

    gone = False

    def __len__(self):
        return 0

    def __getitem__(self, key):
        return "nonsense"

    def keys(self):
        return ["nonsense"]

    def items(self):
        if self.gone:
            raise Taken
        self.gone = True
        return super().items()


class Pretending:
    """Says that it is of another class."""

    def __init__(self, kind):
        self.kind = kind

    @property
    def __class__(self):
        return self.kind


def network(backend=BACKENDS[0], dtype="float64", **options):
    return Network(SIZES, backend=backend, dtype=dtype, seed=3, **options)


def fitted(backend, **options):
    net = network(backend)
    net.fit(options.pop("X", X), options.pop("Y", Y), **{"epochs": 2, "batch_size": 4, **options})
    return state(net)


# ---- taken once ----------------------------------------------------------------------------------


@every_backend
def test_sizes_are_taken_once(backend):
    net = Network(LyingList(map(OnceIndex, SIZES)), backend=backend, seed=OnceIndex(3),
                  threads=OnceIndex(1))  # fmt: skip
    assert net.sizes == SIZES
    assert all(type(n) is int for n in net.sizes)
    assert np.array_equal(net.parameters, network(backend).parameters)


@pytest.mark.parametrize("says", LYING)
@pytest.mark.parametrize("n_layers", [1, 2, 3, 9])
@every_backend
def test_a_list_of_activations_that_lies_about_its_length(backend, n_layers, says):
    """The fault that this began with: fewer entries than layers, and a len() that hides it."""

    class Lying(LyingList):
        def __len__(self):
            return says

    sizes = [2] * (n_layers + 1)
    for n in range(12):
        activation = Lying(["tanh"] * n)
        if n == n_layers:
            net = Network(sizes, activation, backend=backend)
            assert net.activations == ("tanh",) * n
            assert net.predict(np.ones((3, 2))).shape == (3, 2)
        else:
            with pytest.raises(ValueError, match=f"^activation has {n} entries; expected "):
                Network(sizes, activation, backend=backend)


@every_backend
def test_a_pair_is_taken_once(backend):
    expected = fitted(backend, validation_data=(X, Y))
    assert fitted(backend, validation_data=LyingList([OnceArray(X), OnceArray(Y)])) == expected
    assert fitted(backend, validation_data=LyingTuple((X, Y))) == expected
    for n in (0, 1, 3):
        with pytest.raises(ValueError, match=f"^validation_data has {n} entries"):
            fitted(backend, validation_data=LyingList([X] * n))


@every_backend
def test_arrays_are_taken_once(backend):
    net = network(backend)
    for call in (
        net.predict, lambda X: net.forward(X).a[-1], net.jacobian, net.input_jacobian,
    ):  # fmt: skip
        assert np.array_equal(call(OnceArray(X)), call(X))
    v = np.linspace(-1, 1, net.n_parameters)
    for call in (
        net.cost, net.gradient, net.gradient_norms, net.gradient_gram, net.input_gradient,
        lambda X, Y: net.backward(X, Y).delta[1],
        lambda X, Y: net.clipped_gradient(X, Y, 0.1),
        lambda X, Y: net.gradient_moments(X, Y)[1],
        lambda X, Y: net.score(X, Y, "mse"),
    ):  # fmt: skip
        assert np.array_equal(call(OnceArray(X), OnceArray(Y)), call(X, Y))
    for call in (net.hessian_vector_product, net.gauss_newton_vector_product):
        assert np.array_equal(call(OnceArray(X), OnceArray(Y), OnceArray(v)), call(X, Y, v))
    weight = np.arange(6.0)
    assert net.cost(X, Y, sample_weight=OnceArray(weight)) == net.cost(X, Y, sample_weight=weight)
    rule = net.chain_rule(OnceArray(X[0]), OnceArray(Y[0]))
    term = rule.weight(OnceIndex(1), OnceIndex(2), OnceIndex(0))
    assert term.value == net.chain_rule(X[0], Y[0]).weight(1, 2, 0).value
    assert term.nudge(OnceFloat(0.5)).size == 0.5
    assert len(term.nudges(LyingList([OnceFloat(0.5), OnceFloat(0.25)]))) == 2
    assert net.check_gradient(OnceArray(X), OnceArray(Y)).passed
    net.parameters = OnceArray(v)
    assert np.array_equal(net.parameters, v)
    assert np.array_equal(datasets.one_hot(OnceArray([0, 1]), OnceIndex(2)), np.eye(2))


@every_backend
def test_what_a_fit_is_told_is_taken_once(backend):
    order, weight, by_class = [3, 1, 0, 2, 5, 4], np.arange(1.0, 7), [1.0, 2.0]
    expected = fitted(backend, optimizer=Adam(0.5), shuffle=order, sample_weight=weight,
                      class_weight=by_class, l2=0.25, dropout=0.25, max_norm=1.5)  # fmt: skip
    assert expected == fitted(
        backend, X=OnceArray(X), Y=OnceArray(Y), epochs=OnceIndex(2), batch_size=OnceIndex(4),
        optimizer="adam", learning_rate=OnceFloat(0.5), shuffle=OnceArray(order),
        sample_weight=OnceArray(weight), class_weight=OnceArray(by_class), l2=OnceFloat(0.25),
        dropout=OnceFloat(0.25), max_norm=OnceFloat(1.5),
    )  # fmt: skip
    net = network(backend)
    options = LyingDict({"l2": OnceFloat(0.25)})
    net.partial_fit(OnceArray(X), OnceArray(Y), OnceIndex(4), "sgd", OnceFloat(0.5), None, options)
    twin = network(backend).partial_fit(X, Y, 4, "sgd", 0.5, None, {"l2": 0.25})
    assert state(net) == state(twin)
    weights = LyingDict({OnceIndex(0): OnceFloat(1.0), OnceIndex(1): OnceFloat(2.0)})
    assert fitted(backend, class_weight=weights) == fitted(backend, class_weight={0: 1.0, 1: 2.0})
    assert EarlyStopping(OnceIndex(2), OnceFloat(0.5)).min_delta == 0.5
    assert SGD(OnceFloat(0.5), OnceFloat(0.25)).momentum == 0.25
    assert schedules.StepDecay(OnceIndex(3), OnceFloat(0.5)).factor == 0.5


def test_paths_are_taken_once(tmp_path):
    path = tmp_path / "net.safetensors"
    network().save(OncePath(str(path)))
    assert Network.load(OncePath(str(path))).sizes == SIZES

    class LyingPath(str):
        def __add__(self, other):
            return "/nowhere/else"

        __str__ = __fspath__ = lambda self: "/nowhere/else"

    network().save(LyingPath(path))
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


# ---- lies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["relu", "banana", "softmax", ""])
@every_backend
def test_words_that_equal_everything(backend, word):
    """The letters count."""
    calls = {
        "activation": lambda w: Network([2, 2], w, backend=backend).activations[0],
        "cost": lambda w: Network([2, 2], cost=w, backend=backend).cost_function,
        "init": lambda w: Network([2, 2], init=w, backend=backend),
        "backend": lambda w: Network([2, 2], backend=w),
        "optimizer": lambda w: fitted(backend, optimizer=w),
        "metric": lambda w: network(backend).score(X, Y, w),
    }
    for argument, call in calls.items():
        if argument == "activation" and word in ("relu", "softmax"):
            assert call(LyingText(word)) == word
            continue
        with pytest.raises(ValueError, match=rf"^{argument} is {word!r}; expected one of"):
            call(LyingText(word))
    with pytest.raises(ValueError, match=rf"^options key is {word!r}"):
        network(backend).partial_fit(X, Y, options={LyingText(word): 1.0})


@pytest.mark.parametrize("dtype", DTYPES)
@every_backend
def test_arrays_that_lie_about_their_memory(backend, dtype):
    """Taken for what is in their memory: six rows, or another number of them."""
    net = network(backend, dtype)
    v = np.zeros(net.n_parameters, dtype)
    for lying_X, lying_Y in (
        (X.astype(dtype).view(LyingArray), Y.astype(dtype).view(LyingArray)),
        (np.asfortranarray(X).view(LyingArray), Y.view(LyingArray)),
        (X.astype(">f4").view(LyingArray), Y.view(np.matrix)),
    ):
        expected = np.asarray(lying_X).astype(dtype), np.asarray(lying_Y).astype(dtype)
        for call in (net.cost, net.gradient, net.gradient_norms, net.gradient_gram):
            assert np.array_equal(call(lying_X, lying_Y), call(*expected))
        assert np.array_equal(net.predict(lying_X), net.predict(expected[0]))
        net.copy().fit(lying_X, lying_Y, epochs=1, validation_data=(lying_X, lying_Y))
        net.copy().partial_fit(lying_X, lying_Y)
    few = np.zeros((2, 2), dtype).view(LyingArray)
    before = state(net)
    for call in (
        lambda: net.predict(few),
        lambda: net.cost(few, Y),
        lambda: net.cost(X, few),
        lambda: net.fit(few, few),
        lambda: net.partial_fit(X, few),
        lambda: net.fit(X, Y, sample_weight=few),
        lambda: net.fit(X, Y, shuffle=few),
        lambda: net.fit(X, Y, shuffle=np.array([0, 1, 2, 3, 4, 10**9]).view(LyingArray)),
        lambda: net.fit(X, Y, shuffle=lambda epoch: np.full(6, 10**9).view(LyingArray)),
        lambda: net.hessian_vector_product(X, Y, few),
        lambda: setattr(net, "parameters", few),
        lambda: net.predict(X, out=few),
        lambda: net.gradient(X, Y, out=v.view(LyingArray)),
        lambda: net.gradient(X, Y, per_example=True, out=few),
        lambda: net.jacobian(X, out=few),
        lambda: datasets.one_hot(few, 2),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
        assert state(net) == before


def test_arrays_that_change_with_every_look():
    """The second answer of an __array__ is never heard."""

    class Changing:
        def __init__(self):
            self.looks = 0

        def __array__(self, dtype=None, copy=None):
            self.looks += 1
            return np.zeros((6, 3) if self.looks == 1 else (10**6, 9))

    for backend in BACKENDS:
        net = network(backend)
        given = Changing()
        assert net.predict(given).shape == (6, 2)
        assert given.looks == 1


@pytest.mark.parametrize(
    "kind",
    [str, int, float, bool, list, tuple, dict, np.ndarray, np.float64, Activation, Cost, Adam],
)
@every_backend
def test_what_says_it_is_of_another_class(backend, kind):
    """Its __class__ is not asked."""
    liar = Pretending(kind)
    assert isinstance(liar, kind)
    net = network(backend)
    before = state(net)
    for call in (
        lambda: Network(liar, backend=backend),
        lambda: Network([2, liar], backend=backend),
        lambda: Network([2, 2], liar, backend=backend),
        lambda: Network([2, 2, 2], ["tanh", liar], backend=backend),
        lambda: Network([2, 2], cost=liar, backend=backend),
        lambda: Network([2, 2], init=liar),
        lambda: Network([2, 2], seed=liar),
        lambda: net.predict(liar),
        lambda: net.predict(X, out=liar),
        lambda: net.fit(X, liar),
        lambda: net.fit(X, Y, optimizer=liar),
        lambda: net.fit(X, Y, learning_rate=liar),
        lambda: net.fit(X, Y, batch_size=liar),
        lambda: net.fit(X, Y, shuffle=liar),
        lambda: net.fit(X, Y, l2=liar),
        lambda: net.fit(X, Y, validation_data=liar),
        lambda: net.fit(X, Y, class_weight=liar),
        lambda: net.fit(X, Y, metrics=[liar]),
        lambda: net.fit(X, Y, callbacks=liar),
        lambda: net.partial_fit(X, Y, options=liar),
        lambda: net.score(X, Y, liar),
        lambda: net.cost(X, Y, per_example=liar),
        lambda: net.save(liar),
        lambda: net.chain_rule(X[0], Y[0]).weight(liar, 0, 0),
        lambda: EarlyStopping(monitor=liar),
        lambda: SGD(liar),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
        assert state(net) == before


def rules_of_the_user_s():
    numbers = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    yield UpdateRule("adam", numbers, ())
    yield UpdateRule("adam", numbers, ("m",))
    yield UpdateRule("adam", numbers, ("m",) * 50)
    yield UpdateRule("adam", numbers, LyingTuple(()))
    yield UpdateRule("adam", numbers, LyingTuple(("m",) * 50))
    yield UpdateRule("sgd", {}, ("v",) * 9)
    yield UpdateRule("rprop", dict.fromkeys(("shrink", "grow", "least", "most", "takes_back"), 1.0),
                     LyingTuple("ab"))  # fmt: skip


@pytest.mark.parametrize("rule", [*rules_of_the_user_s()], ids=range(7))
def test_an_optimizer_of_another_class_with_slots_of_its_own(rule):
    """Refused, or as many slots as the kernels use; never memory that nobody has."""

    class Own(SGD):
        pass

    Own.rule = property(lambda self: rule)
    net = network()
    with contextlib.suppress(ValueError):
        net.fit(X, Y, epochs=2, optimizer=Own())
    assert len(net._engine.slots) <= 3
    assert np.isfinite(network().fit(X, Y, epochs=1).cost).all()


# ---- the engines themselves ----------------------------------------------------------------------


@needs_compiled
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_compiled_engine_judges_what_memory_safety_needs(dtype):
    """Whoever reaches for it gets an exception for what does not fit."""
    engine = network(dtype=dtype)._engine
    x, y = X.astype(dtype), Y.astype(dtype)
    n, P = 6, 3 * 4 + 4 + 4 * 2 + 2
    out, cost = np.zeros(P, dtype), np.zeros(n, dtype)
    z = [np.zeros((n, 4), dtype), np.zeros((n, 2), dtype)]
    none = [None, None]
    order = np.arange(n)
    for call in (
        lambda: engine.forward(x, [], []),
        lambda: engine.forward(x, z, []),
        lambda: engine.forward(x, [None, *z], none),
        lambda: engine.forward(x, z[:1], none),
        lambda: engine.forward(np.array(1.0, dtype), none, none),
        lambda: engine.forward(x.view(LyingArray), none, none),
        lambda: engine.forward(X.tolist(), none, none),
        lambda: engine.backward(x, y, [], [], [], [], [], cost),
        lambda: engine.backward(x, y, none, none, none, none, none, cost),
        lambda: engine.backward(x, None, none, none, none, none, [None, None, None], cost),
        lambda: engine.cost(x, None, cost, None),
        lambda: engine.cost(x, y[:3], cost, None),
        lambda: engine.cost(x, y, cost[:3], None),
        lambda: engine.gradient(x, y, cost[:2], 1.0, out),
        lambda: engine.gradient(x, y, None, 1.0, out[:-1]),
        lambda: engine.gradient(x, None, None, 1.0, out),
        lambda: engine.gradient_gram(x, y, x, None, np.zeros((n, n), dtype)),
        lambda: engine.jacobian(x, out, False),
        lambda: engine.train(x, y, order.view(LyingArray) + 10**9, 2, None, None, 0),
        lambda: engine.train(x, y, order[:2], 2, None, None, 0),
        lambda: engine.train(x, y, order + 1, 2, None, None, 0),
        lambda: engine.train(x, y, order, 0, None, None, 0),
        lambda: engine.train(x, y, order, -3, None, None, 0),
        lambda: engine.train(x, y, order, 2, cost[:1], None, 0),
        lambda: type(engine)((3, 4, 2), ("tanh",), "quadratic", dtype, 1),
        lambda: type(engine)((3, 4, 2), (), "quadratic", dtype, 1),
        lambda: type(engine)((3,), (), "quadratic", dtype, 1),
        lambda: type(engine)((), (), "quadratic", dtype, 1),
        lambda: type(engine)((3, 0, 2), ("tanh", "tanh"), "quadratic", dtype, 1),
        lambda: type(engine)((3, -4, 2), ("tanh", "tanh"), "quadratic", dtype, 1),
        lambda: type(engine)((3, OnceIndex(4), 2), ("tanh", "tanh"), "quadratic", dtype, 1),
        lambda: backends.kernels(dtype).activation_values("tanh", 3, x, x),
        lambda: backends.kernels(dtype).shuffle(order, order),
        lambda: copy.copy(engine),
        lambda: pickle.dumps(engine),
    ):
        with pytest.raises((TypeError, ValueError, IndexError, AttributeError)):
            call()
    assert np.isfinite(engine.predict(x, None)).all()
