"""Results, optimisers, schedules and whatever else a user holds can be pickled and copied."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from support import BACKENDS, DTYPES, data, every_backend

import cbackprop
from cbackprop import Activation, Cost, EarlyStopping, ModelFileError, Network, schedules
from cbackprop.gradients import Biases, Weights
from cbackprop.optimizers import OPTIMIZERS

SIZES = (3, 4, 2)


def square(z):
    return z * z


def twice(z):
    return 2 * z


def own_cost(a, y):
    return ((a - y) ** 2).sum(axis=1)


def own_gradient(a, y):
    return 2 * (a - y)


ACTIVATION = Activation(square, twice, "square")
COST = Cost(own_cost, own_gradient, "own")


def network(kind, backend=BACKENDS[0], dtype="float64"):
    activation, cost = {
        "sigmoid": ("sigmoid", "quadratic"),
        "softmax": (["tanh", "softmax"], "cross_entropy"),
        "own": (["tanh", ACTIVATION], COST),
    }[kind]
    return Network(SIZES, activation, cost, backend=backend, dtype=dtype, seed=2)


def things(kind, backend=BACKENDS[0], dtype="float64"):
    """Whatever the public calls return, by a name."""
    net = network(kind, backend, dtype)
    X, Y = data(5, SIZES, dtype)
    rule = net.chain_rule(X[0], Y[0])
    terms = {
        "weight": rule.weight(2, 1, 3),
        "bias": rule.bias(1, 2),
        "activation": rule.activation(1, 0),
        "output activation": rule.activation(2, 0),
    }
    found = {
        "Network": net,
        "weights": net.weights,
        "biases": net.biases,
        "Forward": net.forward(X),
        "Backward": net.backward(X, Y),
        "Gradient": net.gradient(X, Y),
        "Gradients": net.gradient(X, Y, per_example=True),
        "moments": net.gradient_moments(X, Y),
        "GradientCheck": net.check_gradient(X, Y),
        "parts": net.check_gradient(X, Y).parts,
        "GradientDiagnosis": net.diagnose_gradient(X, Y, -net.gradient(X, Y)),
        "ChainRule": rule,
        **terms,
        "Path": terms["activation"].paths[0],
        "FullPath": terms["activation"].all_paths()[0],
        "Nudge": terms["weight"].nudge(0.1),
        "Nudges": terms["weight"].nudges(),
        "Drawing": rule.svg(),
        "page": net.stepper_html(X, Y, steps=2),
        "History": net.copy().fit(X, Y, epochs=3, validation_data=(X, Y), metrics=["mse"]),
        "activations": net.activations,
        "cost function": net.cost_function,
    }
    if kind == "sigmoid":
        found |= {name: optimizer() for name, optimizer in OPTIMIZERS.items()}
        found |= {
            "EarlyStopping": EarlyStopping(3, 0.1, "mse"),
            "ModelFileError": ModelFileError("no file"),
            "info": cbackprop.info(),
            "schedules": [
                schedules.Constant(), schedules.StepDecay(3), schedules.ExponentialDecay(0.5),
                schedules.CosineDecay(5), schedules.ReduceOnPlateau(),
            ],
        }  # fmt: skip
    return found


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda x, protocol=protocol: pickle.loads(pickle.dumps(x, protocol))
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


def facts(thing):
    """What can be seen of an object, to the bit."""
    if isinstance(thing, np.ndarray):
        return thing.dtype, thing.shape, thing.tobytes()
    if isinstance(thing, (list, tuple)):
        return type(thing).__name__, [facts(entry) for entry in thing]
    if isinstance(thing, dict):
        return {key: facts(value) for key, value in thing.items()}
    if thing is None or isinstance(thing, (str, int, float)):
        return repr(thing)
    seen = {"repr": repr(thing), "str": str(thing)} if "at 0x" not in repr(thing) else {}
    if isinstance(thing, Network):
        return seen, thing.parameters.tobytes()
    names = [*vars(thing)] if hasattr(thing, "__dict__") else []
    names += [*getattr(type(thing), "__slots__", ()), "da_dz", "weights", "biases", "paths", "y"]
    for name in names:
        if not name.startswith("_") and hasattr(thing, name) and name != "backward":
            seen[name] = facts(getattr(thing, name))
    for call in ("latex", "rows", "nudge", "norm"):
        if hasattr(thing, call) and type(thing).__module__.startswith("cbackprop"):
            seen[call] = facts(getattr(thing, call)())
    return seen


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["sigmoid", "softmax", "own"])
def test_every_result_can_be_copied(kind, dtype):
    for name, thing in things(kind, BACKENDS[0], dtype).items():
        expected = facts(thing)
        for way in WAYS.values():
            twin = way(thing)
            assert type(twin) is type(thing), name
            assert facts(twin) == expected, name


@every_backend
def test_a_copied_chain_rule_lives_by_itself(backend):
    """It has parameters of its own, read-only as they were, and pictures, nudges and paths."""
    net = network("softmax", backend)
    X, Y = data(5, SIZES)
    rule = net.chain_rule(X[0], Y[0])
    for way in WAYS.values():
        twin = way(rule)
        term, other = rule.weight(1, 2, 0), twin.weight(1, 2, 0)
        assert str(twin) == str(rule)
        assert other.nudge(0.1).measured == term.nudge(0.1).measured
        assert str(other) == str(term)
        assert [str(p) for p in other.all_paths()] == [str(p) for p in term.all_paths()]
        assert not twin.weights[0].flags.writeable
        assert not twin.y.flags.writeable
        assert not np.shares_memory(twin.weights[0], rule.weights[0])


def test_softmax_derivatives_are_those_of_the_call_whenever_they_are_read():
    """The Jacobian is made at the first look; what the user then wrote into a plays no part."""
    net = network("softmax")
    X, Y = data(5, SIZES)
    for arguments in ((X, Y), (X[0], Y[0])):
        expected = net.backward(*arguments).da_dz
        later = net.backward(*arguments)
        later.a[-1][...] = 7.0
        slopes = later.slopes(2)
        assert facts(later.da_dz) == facts(expected)
        assert np.array_equal(slopes, np.diagonal(expected[2], axis1=-2, axis2=-1))
        assert np.array_equal(later.slopes(2), slopes)
        assert np.array_equal(later.slopes(1), expected[1])
        assert later.slopes(0) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_softmax_outputs_cost_no_jacobian(dtype):
    """20,000 outputs: the matrix would take 3.2 GB, a column takes 160 KB."""
    import tracemalloc

    net = Network([2, 20_000], "softmax", "cross_entropy", dtype=dtype, seed=0)
    x, y = np.array([0.5, -0.5]), np.eye(1, 20_000, 3)[0]
    tracemalloc.start()
    rule = net.chain_rule(x, y)
    term = rule.weight(1, 3, 0)
    text = str(rule), str(term), rule.activation(0, 1).paths[7].da_dz, term.nudge().ratio
    value = float(np.dot(term.da_dz, term.dC_da))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6, peak
    assert len(text[1]) < 5000
    delta = float(rule.backward.a[1][3]) - 1
    assert value == pytest.approx(delta, rel=1e-4 if dtype == "float32" else 1e-12)
    assert term.value == pytest.approx(0.5 * delta, rel=1e-4 if dtype == "float32" else 1e-12)


def test_threads_may_nudge_one_chain_rule():
    """A nudge is of its own pass alone; it was written into what all of them read."""
    net = Network([4, 30, 3], seed=1)
    X, Y = data(1, (4, 3))
    rule = net.chain_rule(X[0], Y[0])
    terms = [rule.weight(1, j, k) for j in range(8) for k in range(4)]
    expected = [term.nudge(0.5).measured for term in terms]
    found, start = {}, threading.Barrier(4)

    def work(number):
        start.wait(30)
        found[number] = [[term.nudge(0.5).measured for term in terms] for _ in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(measured == expected for number in range(4) for measured in found[number])


# ---- the arrays of a layer -----------------------------------------------------------------------


@every_backend
def test_arithmetic_in_place_on_the_parameters(backend):
    """Python assigns the result to its place: that it is the array itself is no replacement."""
    net = network("sigmoid", backend)
    X, _ = data(5, SIZES)
    W, b = [w.copy() for w in net.weights], [v.copy() for v in net.biases]
    net.weights[0] *= 0.5
    net.weights[-1] += 1
    net.biases[np.int64(1)] -= 0.25
    net.biases[0] = net.biases[0]
    assert np.array_equal(net.weights[0], 0.5 * W[0])
    assert np.array_equal(net.weights[1], W[1] + 1)
    assert np.array_equal(net.biases[1], b[1] - 0.25)
    twin = network("sigmoid", backend)
    twin.parameters = net.parameters
    assert np.array_equal(net.predict(X), twin.predict(X))
    assert isinstance(net.weights, tuple)
    assert len(net.weights) == 2
    assert [*net.weights, *net.biases][2] is net.biases[0]


@every_backend
def test_arithmetic_in_place_on_a_gradient(backend):
    net = network("sigmoid", backend)
    X, Y = data(5, SIZES)
    for each in (False, True):
        g = net.gradient(X, Y, per_example=each)
        before = g.vector.copy()
        for l in range(2):
            g.weights[l] *= 0.5
            g.biases[l] /= 2
        assert np.array_equal(g.vector, 0.5 * before)


REFUSED = {
    "replaced": lambda arrays: arrays.__setitem__(0, arrays[0] * 0.5),
    "of another layer": lambda arrays: arrays.__setitem__(0, arrays[1]),
    "equal": lambda arrays: arrays.__setitem__(-1, arrays[-1].copy()),
    "a number": lambda arrays: arrays.__setitem__(1, 0.0),
    "a view": lambda arrays: arrays.__setitem__(1, arrays[1][:]),
    "a slice": lambda arrays: arrays.__setitem__(slice(None), list(arrays)),
    "deleted": lambda arrays: arrays.__delitem__(0),
    "deleted slice": lambda arrays: arrays.__delitem__(slice(None)),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("name", ["weights", "biases"])
def test_an_array_is_not_exchanged(name, what):
    net = network("sigmoid")
    X, Y = data(5, SIZES)
    for owner in (net, net.gradient(X, Y)):
        before = facts(tuple(getattr(owner, name)))
        with pytest.raises(
            TypeError, match=rf"^{name}\[\S+\] cannot become another array; .*\.\.\."
        ):
            REFUSED[what](getattr(owner, name))
        assert facts(tuple(getattr(owner, name))) == before
    with pytest.raises(IndexError):
        getattr(net, name)[2] = 0.0


@pytest.mark.parametrize(
    "name", ["sizes", "weights", "biases", "dtype", "cost_function", "n_parameters", "_model"]
)
def test_a_network_keeps_its_parts(name):
    net = network("sigmoid")
    with pytest.raises(AttributeError, match=f"^{name} cannot be deleted"):
        delattr(net, name)
    with pytest.raises(AttributeError, match="cannot be assigned"):
        net.weights *= 2
    net.note = 1
    del net.note
    assert not hasattr(net, "note")
    assert net.predict(np.zeros(3)).shape == (2,)


def test_layers_arrays_are_plain_tuples_otherwise():
    net = network("sigmoid")
    assert type(net.weights) is Weights
    assert type(net.biases) is Biases
    assert type(net.weights[:1]) is tuple
    assert net.weights + net.biases == (*net.weights, *net.biases)
