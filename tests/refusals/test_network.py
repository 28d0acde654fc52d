"""What a network is made of: sizes, functions, number type; what is rejected, what is accepted."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
from rejections import (
    SIZES,
    Row,
    Unprintable,
    Word,
    as_parameters,
    check_rejected,
    examples,
    label,
    network,
    not_integer,
)
from support import BACKENDS, every_backend, state

from cbackprop import Activation, Cost, EarlyStopping, Network

X, Y = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0, 1, 8).reshape(4, 2)


# ---- what of a Network is fixed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "sizes", "activations", "cost_function", "dtype", "threads", "backend", "n_parameters",
        "weights", "biases",
    ],
)  # fmt: skip
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_engine_would_not_see(name, backend):
    net = Network([3, 4, 2], seed=0, backend=backend)
    before, predicted = getattr(net, name), net.predict(X)
    with pytest.raises(
        AttributeError, match=rf"^{name} cannot be assigned; write into weights\[i\]\[\.\.\.\] or"
    ):
        setattr(net, name, None)
    assert getattr(net, name) is before
    assert np.array_equal(net.predict(X), predicted)
    net.note = "anything else is the user's own"
    assert net.note.startswith("anything")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("frozen", ": frozen is an argument of Network.fit()"),
        ("lr", ": learning_rate is an argument of Network.fit()"),
        ("learning_rate", ": learning_rate is an argument of Network.fit()"),
        ("optimizer", ": optimizer is an argument of Network.fit()"),
        ("dropout", ": dropout is an argument of Network.fit()"),
        ("cost", ": cost is an argument of Network()"),
        ("loss", ": cost is an argument of Network()"),
        ("activation", ": activation is an argument of Network()"),
        ("momentum", ": momentum is an argument of SGD()"),
        ("parameter", "; did you mean 'parameters'?"),
        ("paraneters", "; did you mean 'parameters'?"),
        ("meta_data", "; did you mean 'metadata'?"),
        ("feature_name", "; did you mean 'feature_names'?"),
        ("class_name", "; did you mean 'class_names'?"),
    ],
)
def test_an_attribute_that_would_change_nothing(name, says):
    net = Network([3, 4, 2], seed=0)
    with pytest.raises(AttributeError) as raised:
        setattr(net, name, None)
    assert str(raised.value) == f"a Network has no attribute {name!r}{says}"
    assert name not in vars(net)

    class Own(Network):
        pass

    own = Own([3, 4, 2], seed=0)
    setattr(own, name, (1,))
    assert getattr(own.copy(), name) == (1,)


@pytest.mark.parametrize(
    "name",
    (
        "note tag data scaler owner _private predictions my_history history_ gradient_log costs "
        "scores features units rate weight bias weight_log classes params X Y path device name "
        "metadata_ parameters_before feature_names_in_ n_layers best_cost gradients losses"
    ).split(),
)
def test_attributes_of_the_user_s_own(name):
    net = Network([3, 4, 2], seed=0)
    setattr(net, name, 1)
    assert getattr(net, name) == 1


def test_load_of_an_instance(tmp_path):
    """It makes another network, and would leave this one as it was."""
    net, path = Network([3, 4, 2], seed=0), tmp_path / "model"
    net.save(path)
    other = Network([3, 4, 2], seed=1)
    with pytest.raises(AttributeError, match=r"^load makes .* use net = Network\.load\(path\)$"):
        other.load(path)
    assert np.array_equal(type(other).load(path).parameters, net.parameters)
    assert "load" in dir(Network)
    assert inspect.ismethod(Network.load)
    assert next(iter(inspect.signature(Network.load).parameters)) == "path"


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_while_a_fit_is_running(backend):
    net = Network([3, 4, 2], seed=0, backend=backend)
    twin = net.copy()
    refused = []

    def replace(network, history):
        for call in (
            lambda: setattr(network, "parameters", np.zeros(network.n_parameters)),
            lambda: network.reset(1),
        ):
            with pytest.raises(
                RuntimeError, match=r"^a fit of this network is running; .*copy\(\)"
            ):
                call()
            refused.append(history.epochs)

    net.fit(X, Y, epochs=3, callbacks=replace)
    twin.fit(X, Y, epochs=3)
    assert refused == [1, 1, 2, 2, 3, 3]
    assert np.array_equal(net.parameters, twin.parameters)
    net.parameters = np.zeros(net.n_parameters)
    assert not net.parameters.any()


def test_the_class_can_be_inspected():
    """What stands in the class for a network's attributes raises in a network alone."""
    names = dict(inspect.getmembers(Network))
    assert {"sizes", "weights", "_engine", "fit"} <= set(names)
    with pytest.raises(RuntimeError, match=r"^this Network is not initialised"):
        Network.__new__(Network).weights  # noqa: B018


# ---- what is shown -------------------------------------------------------------------------------


def test_results_say_what_they_are():
    net = Network([3, 4, 2], seed=0)
    one, each = net.gradient(X, Y), net.gradient(X, Y, per_example=True)
    assert (len(one), len(each)) == (26, 4)
    assert repr(one) == f"<Gradient 3-4-2, P = 26, cost {one.cost:.6g}, norm {one.norm():.6g}>"
    assert repr(each) == "<Gradient of 4 examples, 3-4-2, P = 26>"
    shapes = "activations of shape (4, 3), (4, 4), (4, 2)>"
    assert repr(net.forward(X)) == f"<Forward, {shapes}"
    assert repr(net.backward(X, Y)) == f"<Backward, {shapes}"


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
    for sizes in ([4, 1], [4, 3, 1]):
        for cost in ("quadratic", "cross_entropy", "poisson"):
            yield row(
                f"softmax of one output, {sizes}, {cost}",
                ValueError,
                r"activation is 'softmax' in the last layer with 1 output, .*; expected 'sigmoid'",
                sizes=sizes,
                activation=["tanh"] * (len(sizes) - 2) + ["softmax"],
                cost=cost,
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
    swapped = np.dtype(float).newbyteorder()
    others = [np.longdouble] if np.dtype(np.longdouble) != np.float64 else []  # not on Windows
    for dtype in ("float16", *others, "complex64", int, object, swapped, "f4,f4", None):
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
    yield row(
        "threads many", TypeError, r"threads is 'many' .* an integer or 'auto'", threads="many"
    )
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


@pytest.mark.parametrize("rows", as_parameters(construction_rows()))
def test_rejected(rows, capfd):
    for row in rows:
        check_rejected(row, capfd)


@every_backend
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


@every_backend
def test_words_of_a_subclass_of_str_become_the_words(backend):
    X, Y = examples()
    net = network(backend, activation=["relu", Word.TANH], init=np.str_("he"))
    assert {type(name) for name in net.activations} == {str}
    assert repr(net) == repr(network(backend, activation=["relu", "tanh"]))
    twin = network(backend, activation=["relu", "tanh"], init="he")
    net.fit(X, Y, optimizer=Word.ADAM, metrics=np.str_("mse"))
    twin.fit(X, Y, optimizer="adam", metrics="mse")
    assert state(net) == state(twin)
    stopping = EarlyStopping(monitor=Word.COST)
    assert type(stopping.monitor) is str
    assert repr(stopping) == repr(EarlyStopping(monitor="cost"))


@every_backend
def test_accepted_constructor_arguments(backend):
    X = examples()[0]
    for dtype in (np.float32, "f4", np.dtype("float32"), "=f4", "single"):
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


@every_backend
@pytest.mark.parametrize("method", ["predict", "summary", "gradient", "fit", "copy"])
def test_a_network_that_was_never_initialised(method, backend):
    class Mine(Network):
        def __init__(self):
            self.early()
            super().__init__(SIZES, backend=backend)

        def early(self):
            X, Y = examples()
            arguments = {"predict": (X,), "gradient": (X, Y), "fit": (X, Y)}.get(method, ())
            getattr(self, method)(*arguments)

    with pytest.raises(RuntimeError, match="not initialised"):
        Mine()
    with pytest.raises(RuntimeError, match="not initialised"):
        Mine.early(Network.__new__(Network))
