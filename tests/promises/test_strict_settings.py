"""Public calls under the strictest settings of NumPy and Python.

np.seterr(all="raise") and warnings as errors are for the user's own arithmetic: what underflows,
overflows or saturates in ours is looked at by ourselves, and the results are the same.
"""

from __future__ import annotations

import copy
import pickle
import traceback
import warnings

import numpy as np
import pytest
from support import BACKENDS, DTYPES, PAIRS, Array

from cbackprop import (
    LBFGS,
    Activation,
    ChainRule,
    Cost,
    EarlyStopping,
    Gradient,
    History,
    LevenbergMarquardt,
    Network,
    datasets,
    schedules,
)
from cbackprop.chain_rule import Term
from cbackprop.optimizers import OPTIMIZERS

N, SIZES = 6, (3, 4, 2)


def fit(net, X, Y, **options):
    history = net.fit(X, Y, epochs=2, batch_size=4, progress=False, **options)
    return [history.cost, history.validation_cost, history.penalty, *history.metrics.values()]


def terms(net, X, Y):
    rule = net.chain_rule(X[0], Y[0])
    return [rule.weight(1, 1, 2), rule.weight(2, 0, 3), rule.bias(1, 0), rule.bias(2, 1),
            rule.activation(0, 1), rule.activation(1, 2), rule.activation(2, 0)]  # fmt: skip


def of_terms(look):
    return lambda net, X, Y: [look(term) for term in terms(net, X, Y)]


def nudges(term):
    """Of a size that the cost stays finite with."""
    try:
        table = term.nudges([1e-3, -1e-5])
        return [term.nudge(1e-3).ratio, table.errors, table.rows(), str(table), table._repr_html_()]
    except FloatingPointError as error:
        return str(error)


def gradient_facts(gradient):
    return [gradient.vector, gradient.cost, gradient.norm(), gradient.weights, gradient.biases,
            repr(gradient), gradient._repr_html_()]  # fmt: skip


def v(net):
    return np.linspace(-1, 1, net.n_parameters)


def saved(net, folder):
    net.save(folder / "net.safetensors")
    return Network.load(folder / "net.safetensors").parameters


WEIGHT = np.array([0.0, 1, 2, 3, 1e-300, 5])
CALLS = {
    "predict": lambda net, X, Y: [net.predict(X), net.predict(X.tolist()), net.predict(X[0])],
    "forward": lambda net, X, Y: [*net.forward(X).z[1:], *net.forward(X).a,
                                  net.forward(X)._repr_html_()],
    "cost": lambda net, X, Y: [net.cost(X, Y), net.cost(X, Y, per_example=True),
                               net.cost(X, Y, sample_weight=WEIGHT)],
    "backward": lambda net, X, Y: [*net.backward(X, Y).da_dz[1:], *net.backward(X, Y).dC_da,
                                   *net.backward(X, Y).delta[1:], net.backward(X, Y)._repr_html_(),
                                   net.backward(X, Y).slopes(2)],
    "gradient": lambda net, X, Y: [
        gradient_facts(net.gradient(X, Y)), gradient_facts(net.gradient(X, Y, per_example=True)),
        gradient_facts(net.gradient(X, Y, sample_weight=WEIGHT))],
    "gradient_norms": lambda net, X, Y: [net.gradient_norms(X, Y)],
    "clipped_gradient": lambda net, X, Y: gradient_facts(net.clipped_gradient(X, Y, 1e-3)),
    "gradient_gram": lambda net, X, Y: [net.gradient_gram(X, Y), net.gradient_gram(X, Y, X, Y)],
    "gradient_moments": lambda net, X, Y: [*map(gradient_facts, net.gradient_moments(X, Y))],
    "jacobian": lambda net, X, Y: [net.jacobian(X)],
    "input_gradient": lambda net, X, Y: [net.input_gradient(X, Y)],
    "input_jacobian": lambda net, X, Y: [net.input_jacobian(X)],
    "vjp": lambda net, X, Y: [gradient_facts(net.vjp(X, Y)[0]), net.vjp(X, Y)[1]],
    "jvp": lambda net, X, Y: [net.jvp(X, v(net), X)],
    "hessian_vector_product": lambda net, X, Y: [net.hessian_vector_product(X, Y, v(net))],
    "gauss_newton_vector_product":
        lambda net, X, Y: [net.gauss_newton_vector_product(X, Y, v(net))],
    "chain_rule": lambda net, X, Y: [str(net.chain_rule(X[0], Y[0])),
                                     net.chain_rule(X[0], Y[0])._repr_html_(),
                                     net.chain_rule(X[0], Y[0]).svg()],
    "terms": of_terms(lambda term: [term.value, str(term), repr(term), term.latex(),
                                    *map(str, term.all_paths())]),
    "nudges": of_terms(nudges),
    "pictures": of_terms(lambda term: [term.svg(kind) for kind in
                                       ("tree", "chain", "indices", "summary")]),
    "pages": of_terms(lambda term: term._repr_html_()),
    "check_gradient": lambda net, X, Y: [str(net.check_gradient(X, Y)),
                                         net.check_gradient(X, Y)._repr_html_()],
    "diagnose_gradient": lambda net, X, Y: [
        str(net.diagnose_gradient(X, Y, v(net))), net.diagnose_gradient(X, Y, v(net))._repr_html_(),
        str(net.diagnose_gradient(X, Y, -net.gradient(X, Y)))],
    "stepper_html": lambda net, X, Y: [net.stepper_html(X, Y, learning_rate=1e-3, steps=3)],
    "summary": lambda net, X, Y: [net.summary(), repr(net), net._repr_html_()],
    "score": lambda net, X, Y: [net.score(X, Y, metric) for metric in ("mse", "mae", "r2")],
    "copy": lambda net, X, Y: [net.copy().parameters, copy.deepcopy(net).parameters,
                               pickle.loads(pickle.dumps(net)).parameters],
    "reset": lambda net, X, Y: [net.copy().reset(3).parameters],
    "parameters": lambda net, X, Y: [setattr(net, "parameters", net.parameters * 1.0),
                                     net.parameters],
    **{
        f"fit {name}": lambda net, X, Y, name=name: fit(net, X, Y, optimizer=name)
        for name in OPTIMIZERS if name not in ("lbfgs", "levenberg_marquardt")
    },
    "fit options": lambda net, X, Y: fit(
        net, X, Y, l1=1e-8, l2=1e-300, dropout=0.5, max_norm=1e-3, sample_weight=WEIGHT,
        validation_data=(X, Y), metrics=["mse", "mae", "r2"], learning_rate=1e-3,
        schedule=schedules.ReduceOnPlateau(), early_stopping=EarlyStopping(3)),
    "fit DP-SGD": lambda net, X, Y: fit(net, X, Y, clip_norm=1e-3, noise_multiplier=1.0,
                                        validation_fraction=0.5),
    "partial_fit": lambda net, X, Y: [
        net.partial_fit(X, Y).partial_fit(X[0], Y[0]).partial_fit(X.tolist(), Y.tolist())
        .partial_fit(X, Y, optimizer="adam", options={"l2": 1e-300}).parameters],
}  # fmt: skip
WHOLE_BATCH = {
    "fit lbfgs": lambda net, X, Y: fit(net, X, Y, optimizer=LBFGS()),
    "fit lm": lambda net, X, Y: fit(net, X, Y, optimizer=LevenbergMarquardt(), l2=1e-9),
}

# What the reference computes whichever the backend, and pictures, which take time.
FROM_THE_REFERENCE = (
    "nudges",
    "pictures",
    "pages",
    "check_gradient",
    "diagnose_gradient",
    "stepper_html",
)

# Size of the parameters, and of X: everything saturates, everything underflows, and ordinary ones.
SCALES = {"saturated": (60.0, 3.0), "tiny": (1e-30, 1e-30), "tiniest": (None, None),
          "plain": (1.0, 1.0), "zero": (0.0, 0.0)}  # fmt: skip


def problem(activation, cost, dtype, backend, scale) -> tuple[Network, Array, Array]:
    net = Network(SIZES, ["tanh", activation], cost, dtype=dtype, backend=backend, seed=1)
    tiniest = float(np.finfo(dtype).smallest_subnormal) * 5
    of_parameters, of_X = (tiniest if s is None else s for s in SCALES[scale])
    X = np.linspace(-1, 1, N * SIZES[0]).reshape(N, -1)
    numbers = np.sin(np.arange(net.n_parameters))
    with np.errstate(all="ignore"):
        net.parameters = of_parameters * numbers
        X = (of_X * X).astype(dtype)
    Y = (np.arange(N * SIZES[-1]).reshape(N, -1) % 2).astype(dtype)
    return net, X, Y


def outcome(call, net, X, Y, numpy_errors):
    """What the call returns, or the FloatingPointError of our own."""
    with np.errstate(all=numpy_errors), warnings.catch_warnings():
        warnings.simplefilter("error" if numpy_errors == "raise" else "ignore")
        try:
            return call(net, X, Y)
        except FloatingPointError as error:
            where = traceback.format_exc()
            message = str(error)
    assert "encountered in" not in message, where  # NumPy's words
    return message


def same(one, other) -> bool:
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return repr(one) == repr(other)


@pytest.mark.parametrize("name", [*CALLS, *WHOLE_BATCH])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_call_raises_for_the_user_s_settings(dtype, backend, scale, name):
    call = {**CALLS, **WHOLE_BATCH}[name]
    every = [("sigmoid", "quadratic"), ("identity", "mse"), ("softmax", "mse")]
    if name in FROM_THE_REFERENCE and backend != "reference":
        return
    if name in CALLS and name not in FROM_THE_REFERENCE:
        every += [("softmax", "cross_entropy"), ("sigmoid", "cross_entropy"),
                  ("softplus", "poisson"), ("exponential", "huber"), ("gelu", "mae")]  # fmt: skip
    for activation, cost in every:
        strict = outcome(call, *problem(activation, cost, dtype, backend, scale), "raise")
        plain = outcome(call, *problem(activation, cost, dtype, backend, scale), "ignore")
        assert same(strict, plain), (activation, cost)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_pair_of_output_and_cost(dtype, backend):
    for activation, cost in PAIRS:
        for scale in ("saturated", "tiniest"):
            for name in ("backward", "gradient", "hessian_vector_product", "terms", "partial_fit"):
                where = activation, cost, dtype, backend, scale
                strict = outcome(CALLS[name], *problem(*where), "raise")
                assert same(strict, outcome(CALLS[name], *problem(*where), "ignore")), where


def test_functions_of_the_user_s_own_are_not_raised_at_either():
    """They are looked at by the call, as ours are."""
    activation = Activation(np.exp, np.exp, second_derivative=np.exp)
    cost = Cost(lambda a, y: (a * a).sum(axis=1), lambda a, y: 2 * a)
    for scale in SCALES:
        for name in ("predict", "gradient", "check_gradient", "partial_fit"):
            where = (activation, cost, "float64", BACKENDS[0], scale)
            strict = outcome(CALLS[name], *problem(*where), "raise")
            assert same(strict, outcome(CALLS[name], *problem(*where), "ignore")), where


def test_files_and_data(tmp_path):
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        net = Network(SIZES, seed=0, dtype="float32")
        assert same(saved(net, tmp_path), net.parameters)
        X, labels = datasets.load_digits()
        assert datasets.one_hot(labels, 10).sum() == len(X)


@pytest.mark.parametrize("kind", [Network, ChainRule, Term, Gradient, History])
def test_every_public_call_is_here(kind):
    """By its name in this file."""
    with open(__file__, encoding="utf-8") as file:
        text = file.read()
    skipped = {"plot"}  # matplotlib's warnings are its own
    names = {n for n in vars(kind) if not n.startswith("_") and callable(getattr(kind, n))}
    internal = {"nudged_pass", "upper_factors", "slope", "softmax_terms", "cut"}
    assert {n for n in names - skipped - internal if f".{n}(" not in text} == set()
