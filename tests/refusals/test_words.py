"""What messages say of another library's words, and of shapes and lists that can be put right."""

from __future__ import annotations

import inspect
import os
import time
import tracemalloc

import numpy as np
import pytest

from cbackprop import (
    LBFGS,
    SGD,
    AdamW,
    EarlyStopping,
    LevenbergMarquardt,
    Network,
    RMSprop,
    Rprop,
    datasets,
)
from cbackprop.functions import ACTIVATION_ALIASES, ACTIVATIONS, COSTS, INITS
from cbackprop.optimizers import OPTIMIZERS
from cbackprop.training.metrics import METRICS
from cbackprop.validation import words

X, Y = np.linspace(-1, 1, 12).reshape(4, 3), np.linspace(0, 1, 8).reshape(4, 2)


def network():
    return Network([3, 4, 2], seed=0)


def message_of(call, error=(TypeError, ValueError)):
    with pytest.raises(error) as raised:
        call()
    return str(raised.value)


# ---- words of a list -----------------------------------------------------------------------------

MEANT = {
    "activation": {
        "relu": "Relu ReLU RELU relu6-ish rectifier",
        "leaky_relu": "LeakyReLU leaky-relu leakyrelu lrelu LeakyRelu",
        "sigmoid": "Sigmoid logistic Logistic expit logsig sigmiod",
        "silu": "swish Swish SiLU silu_",
        "tanh": "Tanh tansig TanH",
        "gelu": "GELU GeLU gelu_",
        "elu": "ELU Elu",
        "selu": "SELU",
        "softmax": "Softmax softMax log_softmax",
        "softplus": "SoftPlus",
        "softsign": "Softsign",
        "identity": "Identity purelin",
        "linear": "Linear LINEAR",
        "exponential": "exp Exponential",
    },
    "cost": {
        "mse": "MSE MSELoss mean_squared_error squared_error mean-squared-error",
        "cross_entropy": (
            "bce BCELoss log_loss logloss nll_loss NLLLoss CrossEntropyLoss crossentropy "
            "binary_crossentropy categorical_crossentropy sparse_categorical_crossentropy "
            "BCEWithLogitsLoss cross-entropy categorical_crosentropy"
        ),
        "mae": "MAE mean_absolute_error L1Loss absolute_error",
        "huber": "Huber HuberLoss huber_loss smooth_l1 SmoothL1Loss",
        "poisson": "PoissonNLLLoss Poisson",
        "quadratic": "SSE sum_squared_error Quadratic",
        "half_quadratic": "half-quadratic HalfQuadratic",
    },
    "init": {
        "glorot": "xavier glorot_uniform xavier_normal Glorot",
        "he": "kaiming he_normal kaiming_uniform He",
        "lecun": "lecun_normal LeCun",
        "zeros": "Zeros zero",
        "standard_normal": "normal randn",
    },
    "optimizer": {
        "sgd": "SGD sdg gradient_descent momentum",
        "adam": "Adam ADAM",
        "adamw": "AdamW",
        "rmsprop": "RMSprop RMSProp rms_prop",
        "adagrad": "AdaGrad",
        "lbfgs": "L-BFGS L-BFGS-B bfgs LBFGS",
        "levenberg_marquardt": "lm trainlm LevenbergMarquardt levenberg-marquardt",
        "rprop": "Rprop iRprop+ trainrp",
    },
    "metric": {
        "accuracy": "acc Accuracy accuracy_score binary_accuracy acuracy",
        "mse": "MSE mean_squared_error",
        "mae": "mean_absolute_error MAE",
        "r2": "R2 r2_score R^2 r_squared",
    },
    "backend": {"reference": "numpy Reference python", "compiled": "Compiled cython"},
}
CALLS = {
    "activation": lambda word: Network([2, 2], word),
    "cost": lambda word: Network([2, 2], cost=word),
    "init": lambda word: Network([2, 2], init=word),
    "optimizer": lambda word: network().fit(X, Y, optimizer=word),
    "metric": lambda word: network().score(X, Y, word),
    "backend": lambda word: Network([2, 2], backend=word),
}


@pytest.mark.parametrize("argument", MEANT)
def test_another_library_s_word_suggests_ours(argument):
    for meant, others in MEANT[argument].items():
        for other in others.split():
            message = message_of(lambda other=other: CALLS[argument](other), ValueError)
            assert message.startswith(f"{argument} is {other!r}; expected one of ")
            assert message.endswith(f"; did you mean {meant!r}?"), message


@pytest.mark.parametrize("word", ["banana", "qqq", "", "🦊", "μ"])
def test_a_word_like_none_suggests_none(word):
    for call in CALLS.values():
        assert "did you mean" not in message_of(lambda call=call: call(word), ValueError)


def test_a_function_or_class_of_that_name():
    class ReLU:
        pass

    for given, meant in ((np.tanh, "tanh"), (ReLU, "relu"), (ReLU(), "relu"), (np.exp, None)):
        message = message_of(lambda given=given: Network([2, 2], given), TypeError)
        assert message.endswith(
            f"; did you mean {meant!r}?" if meant else "did you mean 'exponential'?"
        )
    message = message_of(lambda: network().fit(X, Y, optimizer=SGD), TypeError)
    assert message.endswith("or an optimiser object; did you mean 'sgd'?")
    assert "did you mean" not in message_of(lambda: Network([2, 2], 3), TypeError)


def test_the_table_knows_no_word_of_ours_by_another():
    """Every key is a word of ours; no other word stands for two that a place may take both."""
    ours = {*ACTIVATIONS, *ACTIVATION_ALIASES}, {*COSTS}, {*INITS}, {*OPTIMIZERS}, {*METRICS}
    keywords = [
        set(inspect.signature(call).parameters)
        for call in (Network, Network.fit, *OPTIMIZERS.values(), EarlyStopping, Network.score)
    ]
    known = set().union(*ours, *keywords, {"compiled", "reference", "hidden"})
    assert set(words.OTHER_WORDS) <= known
    for together in (*ours, *keywords):
        others = [w for k in together for w in words.OTHER_WORDS.get(k, "").split()]
        assert len(others) == len(set(others)), sorted(others)
        assert not {k.replace("_", "") for k in together} & set(others)


# ---- keyword arguments ---------------------------------------------------------------------------

KEYWORDS = [
    (Network, "Network", "lr", "; learning_rate is an argument of Network.fit()"),
    (Network, "Network", "loss", "; did you mean 'cost'?"),
    (Network, "Network", "hidden_layer_sizes", "; did you mean 'sizes'?"),
    (Network, "Network", "random_state", "; did you mean 'seed'?"),
    (Network, "Network", "activations", "; did you mean 'activation'?"),
    (Network, "Network", "n_jobs", "; did you mean 'threads'?"),
    (Network, "Network", "kernel_initializer", "; did you mean 'init'?"),
    (Network, "Network", "solver", "; optimizer is an argument of Network.fit()"),
    (Network, "Network", "max_iter", "; epochs is an argument of Network.fit()"),
    (Network, "Network", "momentum", "; momentum is an argument of SGD()"),
    (Network, "Network", "device", "; did you mean 'backend'?"),
    (Network, "Network", "banana", ""),
    ("fit", "Network.fit", "lr", "; did you mean 'learning_rate'?"),
    ("fit", "Network.fit", "learning_rate_init", "; did you mean 'learning_rate'?"),
    ("fit", "Network.fit", "n_epochs", "; did you mean 'epochs'?"),
    ("fit", "Network.fit", "epoch", "; did you mean 'epochs'?"),
    ("fit", "Network.fit", "optimiser", "; did you mean 'optimizer'?"),
    ("fit", "Network.fit", "solver", "; did you mean 'optimizer'?"),
    ("fit", "Network.fit", "verbose", "; did you mean 'progress'?"),
    ("fit", "Network.fit", "weight_decay", "; did you mean 'l2'?"),
    ("fit", "Network.fit", "alpha", "; did you mean 'l2'?"),
    ("fit", "Network.fit", "validation_split", "; did you mean 'validation_fraction'?"),
    ("fit", "Network.fit", "val_data", "; did you mean 'validation_data'?"),
    ("fit", "Network.fit", "patience", "; did you mean 'early_stopping'?"),
    ("fit", "Network.fit", "loss", "; cost is an argument of Network()"),
    ("fit", "Network.fit", "random_state", "; seed is an argument of Network()"),
    ("fit", "Network.fit", "hidden_layer_sizes", "; sizes is an argument of Network()"),
    ("fit", "Network.fit", "momentum", "; momentum is an argument of SGD()"),
    ("fit", "Network.fit", "betas", "; beta1 is an argument of Adam()"),
    ("fit", "Network.fit", "restore_best", "; restore_best is an argument of EarlyStopping()"),
    ("fit", "Network.fit", "qqq", ""),
    (SGD, "SGD", "lr", "; did you mean 'learning_rate'?"),
    (SGD, "SGD", "weight_decay", "; l2 is an argument of Network.fit()"),
    (AdamW, "AdamW", "eps", "; did you mean 'epsilon'?"),
    (AdamW, "AdamW", "betas", "; did you mean 'beta1'?"),
    (RMSprop, "RMSprop", "rho", "; did you mean 'alpha'?"),
    (RMSprop, "RMSprop", "centered", "; did you mean 'centred'?"),
    (Rprop, "Rprop", "lr", "; did you mean 'learning_rate'?"),
    (LBFGS, "LBFGS", "history_size", "; did you mean 'memory'?"),
    (LBFGS, "LBFGS", "max_eval", "; did you mean 'max_evaluations'?"),
    (LevenbergMarquardt, "LevenbergMarquardt", "Mu", "; did you mean 'mu'?"),
    (EarlyStopping, "EarlyStopping", "tol", "; did you mean 'min_delta'?"),
    (EarlyStopping, "EarlyStopping", "restore_best_weights", "; did you mean 'restore_best'?"),
]


@pytest.mark.parametrize(("call", "name", "word", "hint"), KEYWORDS)
def test_an_unknown_keyword_argument(call, name, word, hint):
    positional = [[3, 4, 2]] if call is Network else [X, Y] if call == "fit" else []
    net = network()
    function = getattr(net, call) if isinstance(call, str) else call
    before = net.parameters
    message = message_of(lambda: function(*positional, **{word: 1}), TypeError)
    assert message == f"{name}() got an unexpected keyword argument {word!r}{hint}"
    assert np.array_equal(net.parameters, before)


def test_other_type_errors_are_python_s_own():
    assert "missing 1 required" in message_of(Network, TypeError)
    assert "positional" in message_of(lambda: Network([2, 2], "relu", "mse", 3), TypeError)
    assert "multiple values" in message_of(lambda: Network([2, 2], sizes=[2, 2]), TypeError)

    def callback(net, history):
        return Network([2, 2], nonsense=1)

    message = message_of(lambda: network().fit(X, Y, callbacks=callback), TypeError)
    assert message == "Network() got an unexpected keyword argument 'nonsense'"


def test_signatures_stay():
    assert next(iter(inspect.signature(Network).parameters)) == "sizes"
    assert "epochs" in inspect.signature(Network.fit).parameters
    assert Network.fit.__name__ == "fit"
    assert Network.fit.__doc__.startswith("Train by repeated")


# ---- shapes --------------------------------------------------------------------------------------


class Column:
    """What a pandas Series offers: no reshape, but a way to NumPy."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)

    def to_numpy(self):
        return self.values


SHAPES = [
    # sizes, X, Y, what the message ends with and the way it names done
    ([784, 2], np.zeros((5, 28, 28)), np.zeros((5, 2)), "use X.reshape(len(X), -1)"),
    ([6, 2], np.zeros((5, 2, 3)).tolist(), np.zeros((5, 2)), "use np.reshape(X, (len(X), -1))"),
    ([6, 2], np.zeros((2, 3)), np.zeros((1, 2)), "use X.reshape(1, -1) for one example"),
    ([1, 2], np.zeros(5), np.zeros((5, 2)), "use X.reshape(-1, 1)"),
    ([1, 2], [0.0] * 5, np.zeros((5, 2)), "use np.reshape(X, (-1, 1))"),
    ([1, 2], Column([0.0] * 5), np.zeros((5, 2)), "use X.to_numpy().reshape(-1, 1)"),
    ([3, 1], X, np.zeros(4), "use Y.reshape(-1, 1)"),
    ([3, 1], X, [0.0] * 4, "use np.reshape(Y, (-1, 1))"),
    ([3, 1], X, Column([0.0] * 4), "use Y.to_numpy().reshape(-1, 1)"),
    ([3, 2], X, np.zeros((4, 1, 2)), "use Y.reshape(len(Y), -1)"),
    ([3, 2], X[:1], np.zeros(2), "use Y.reshape(1, -1)"),
    ([3, 2], X, [0, 1, 1, 0], "class labels become targets by datasets.one_hot(Y, 2)"),
    ([3, 2], X, [[0], [1], [1], [0]],
     "class labels become targets by datasets.one_hot(np.ravel(Y), 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "examples", "targets", "advice"), SHAPES)
def test_the_advice_on_a_shape_works(sizes, examples, targets, advice):
    message = message_of(lambda: Network(sizes).fit(examples, targets, epochs=1), ValueError)
    assert message.endswith(f"; {advice}"), message
    way = advice.removeprefix("use ").removesuffix(" for one example").rpartition(" by ")[2]
    names = {"np": np, "datasets": datasets, "X": examples, "Y": targets}
    put_right = eval(way, names)
    names["X" if message.startswith("X") else "Y"] = put_right
    Network(sizes).fit(names["X"], names["Y"], epochs=1)


def test_one_example_s_targets():
    message = message_of(lambda: network().cost(X[0], Y[:1]), ValueError)
    assert message.endswith("; use Y.reshape(-1)")
    message = message_of(lambda: network().fit(X[0].tolist(), Y[0]), ValueError)
    assert message.endswith("use np.reshape(X, (1, -1)) for one example")


class Frame:
    """As a data frame of one column, the entries of which iteration does not give."""

    columns = ("label",)

    def __init__(self, names, dtype="O"):
        self.names, self.dtypes = names, (np.dtype(dtype),)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.names, object)[:, None]

    def __iter__(self):
        return iter(self.columns)


KINDS_OF_LABELS = [
    list,
    np.array,
    lambda names: np.array(names, object),
    lambda names: np.array(names)[:, None],
    lambda names: [[name] for name in names],
    Frame,
]


@pytest.mark.parametrize("kind", KINDS_OF_LABELS)
@pytest.mark.parametrize("n_L", [1, 2])
def test_names_of_classes(kind, n_L):
    names = ["setosa", "virginica", "setosa", "virginica"]
    net = Network([3, n_L])
    targets = kind(names)
    message = message_of(lambda: net.fit(X, targets), TypeError)
    assert (
        ", not text; names of classes, in the order of the alphabet, become targets by " in message
    )
    way = message.rpartition(" by ")[2]
    net.fit(X, eval(way, {"np": np, "datasets": datasets, "Y": targets}), epochs=1)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("known", [None, ("c", "a", "b")])
def test_names_of_classes_in_a_data_frame(library, known):
    labels = ["c", "a", "b", "c"]
    Y = pytest.importorskip(library).DataFrame({"label": labels})
    net = Network([3, 3], class_names=known)
    way = message_of(lambda: net.fit(X, Y), TypeError).rpartition(" by ")[2]
    put_right = eval(way, {"np": np, "datasets": datasets, "Y": Y, "net": net})
    assert put_right.argmax(axis=1).tolist() == [(known or "abc").index(label) for label in labels]


def test_texts_of_several_columns_get_no_way_that_fails():
    message = message_of(lambda: network().fit(X, [["a", "b"]] * len(X)), TypeError)
    assert message == f"Y has dtype {np.dtype('U1')}; expected real numbers, not text"


@pytest.mark.parametrize("missing", [None, np.nan])
@pytest.mark.parametrize("row", [0, 2])
def test_missing_names_of_classes(missing, row):
    """NumPy would make a class "nan" of some, and cannot put others in order."""
    names = ["a", "b", "a", "b"]
    names[row] = missing
    for labels in (names, tuple(names), np.array(names, object), Frame(names)):
        for argument, call in (
            ("Y", lambda labels=labels: network().fit(X, labels)),
            ("labels", lambda labels=labels: datasets.one_hot(labels, 2)),
            (
                "stratify",
                lambda labels=labels: network().fit(
                    X, Y, stratify=np.ravel(np.array(labels, object)), validation_fraction=0.5
                ),
            ),
        ):
            assert message_of(call, ValueError) == (
                f"{argument} has missing labels, the first of them {missing} at row {row}; "
                "expected one for each example"
            )


def test_names_of_classes_that_the_network_knows():
    """In the order of the network, whatever the alphabet's is."""
    for n_L, known in ((3, ("c", "a", "b")), (1, ("no", "a"))):
        net = Network([3, n_L], class_names=known, seed=0)
        names = [known[i] for i in (0, 1, 1, 0)]
        for kind in KINDS_OF_LABELS:
            check_way_of_the_network(net, kind(names), n_L)


def check_way_of_the_network(net, targets, n_L):
    message = message_of(lambda: net.fit(X, targets), TypeError)
    assert "; names of classes, in the order of class_names, become targets by " in message
    assert message_of(lambda: net.cost(X, targets), TypeError) == message
    way = message.rpartition(" by ")[2]
    put_right = eval(way, {"np": np, "datasets": datasets, "Y": targets, "net": net})
    expected = np.array([0, 1, 1, 0])
    assert (put_right == (expected[:, None] if n_L == 1 else np.eye(3)[expected])).all()


def test_labels_beyond_the_outputs_and_no_examples_get_no_way_that_fails():
    for labels, says in (([1, 2, 3, 3], 3), ([0, -1, 0, 1], -1), ([[0], [7], [8], [1]], 7)):
        message = message_of(lambda y=labels: Network([3, 3]).fit(X, y), ValueError)
        assert message.endswith(f"; class labels are 0 to 2, and Y has {says}")
    for x, y in ((np.zeros((0, 3, 1)), Y[:0]), (X[:0], np.zeros((0, 2, 1))), (X[:0], np.zeros(0))):
        message = message_of(lambda x=x, y=y: network().cost(x, y), ValueError)
        assert "reshape" not in message, message
        assert "one_hot" not in message, message


def test_a_class_label_of_one_example():
    message = message_of(lambda: network().chain_rule(X[0], 1), ValueError)
    assert message.endswith("; a class label becomes targets by datasets.one_hot([y], 2)")
    network().chain_rule(X[0], datasets.one_hot([1], 2))
    for wrong in (0.5, [[0, 1], [1, 0]]):
        assert "one_hot" not in message_of(lambda y=wrong: network().chain_rule(X[0], y))


def test_names_in_the_place_of_labels():
    names = np.array(["b", "a", "b"])
    message = message_of(lambda: datasets.one_hot(names, 2), TypeError)
    way = message.rpartition("; ")[2].removesuffix(" in the place of k takes them")
    k = eval(way, {"datasets": datasets, "labels": names})
    assert datasets.one_hot(names, k).tolist() == [[0, 1], [1, 0], [0, 1]]


def test_what_early_stopping_looks_at():
    def stop(**options):
        asked = {name: options.pop(name) for name in ("metrics", "clip_norm", "noise_multiplier")
                 if name in options}  # fmt: skip
        return message_of(
            lambda: network().fit(X, Y, early_stopping=EarlyStopping(**options), **asked)
        )

    assert stop(monitor="r2").endswith("expected one of 'cost'; metrics=['r2'] makes it")
    assert stop(monitor=max) == (
        "monitor is <built-in function max> (builtin_function_or_method); expected a string: "
        "'max', with the function among metrics"
    )
    assert stop(mode="min").endswith("'mode'; did you mean 'larger_is_better'?")
    # Under noise the training data's cost is no way out.
    private = {"clip_norm": 1.0, "noise_multiplier": 1.0}
    assert stop(**private).endswith(
        "expected one of 'validation_cost'; validation_data or validation_fraction makes a "
        "validation_cost"
    )
    assert "such as the validation_cost" in stop(monitor="cost", **private)


@pytest.mark.parametrize("optimizer", ["lbfgs", LevenbergMarquardt()])
def test_a_schedule_that_would_have_no_effect(optimizer):
    name = optimizer if isinstance(optimizer, str) else optimizer.name
    message = message_of(
        lambda: network().fit(X, Y, optimizer=optimizer, schedule=lambda epoch, rate: rate / 2),
        ValueError,
    )
    assert message == (
        f"schedule is given with optimizer {name!r}; expected None: it sets its steps itself"
    )


def test_one_of_a_thing_is_singular():
    net = Network([3, 1, 2], seed=0)
    history = net.fit(X, Y, epochs=1)
    assert repr(history).startswith("<History of 1 epoch, ")
    assert "over 1 epoch<" in history.plot() or 'over 1 epoch"' in history.plot()
    assert ", 1 neuron\n" in str(net.chain_rule(X[0], Y[0]))
    assert repr(net.gradient(X[:1], Y[:1], per_example=True)).startswith("<Gradient of 1 example, ")
    assert "has 1 neuron, counted" in message_of(lambda: net.chain_rule(X[0], Y[0]).bias(1, 1))


def test_targets_that_are_no_labels_get_no_advice_on_labels():
    for wrong in (np.array([0.5, 1, 2, 3]), np.zeros((4, 3)), np.zeros((4, 5, 6)), np.zeros(())):
        message = message_of(lambda wrong=wrong: network().fit(X, wrong), ValueError)
        assert "one_hot" not in message, message


# ---- what a refusal costs ------------------------------------------------------------------------


class Rows(list):
    """A list of another class, with a list's own repr."""


@pytest.mark.parametrize("n", [400_000])
@pytest.mark.parametrize("kind", [list, Rows, tuple])
def test_a_long_ragged_list_is_refused_without_its_text(kind, n):
    rows = kind([[1.0, 2.0, 3.0], [4.0]] * (n // 2))
    tracemalloc.start()
    before = time.process_time()
    message = message_of(lambda: network().predict(rows), ValueError)
    seconds = time.process_time() - before
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert message.startswith("X is ")
    assert "[1.0, 2.0, 3.0], [4.0]" in message
    assert "expected a rectangular array of numbers" in message
    assert peak < 100e6, peak
    assert seconds < 60


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**7, b"x" * 10**7, ["ab"] * 10**6, {i: i for i in range(10**6)},
        (["a"] * 10**6,), [[[["deep"] * 10**6]]], "é" * 10**6,
    ],
    ids=["str", "bytes", "list", "dict", "tuple", "nested", "unicode"],
)  # fmt: skip
def test_what_is_shown_of_a_long_value_is_the_beginning_of_its_repr(value):
    from cbackprop import validation

    whole = " ".join(repr(value).split())
    tracemalloc.start()
    text = validation.shown(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert text == f"{whole[:57]}..."
    assert peak < 1e6


@pytest.mark.parametrize(
    "value",
    [
        [], (), {}, "", b"", (1,), [1], {"a": 1}, {"a": [1, (2,)]}, "it's", 'a "b"', "a\n b", [[]],
        None, 1.5, [None, ...], {1, 2}, range(3), [np.float64(1)], os.sep,
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_shown_of_a_short_value_is_its_repr(value):
    from cbackprop import validation

    assert validation.shown(value) == " ".join(repr(value).split())


def test_a_list_that_holds_itself_is_shown():
    from cbackprop import validation

    endless = [1]
    endless.append(endless)
    assert validation.shown(endless).startswith("[1, [1, ")
