"""Python threads: networks of their own give the bits that they give alone, and so does one network
that all of them read; one that is changed gives correct results or a RuntimeError. With the GIL
and, on a free-threaded Python, without.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import sysconfig
import threading
from typing import Any

import numpy as np
import pytest
from rejections import CURVATURE, FURTHER, WITH_X, besides, examples, network
from support import (
    BACKENDS,
    bits,
    both_dtypes,
    data,
    every_backend,
    needs_compiled,
    needs_fork,
    output_of,
    state,
)

import cbackprop
from cbackprop import SGD, Activation, Adam, Cost, Network
from cbackprop.gradients import Forward
from cbackprop.model import Model
from cbackprop.training import loop

CLOCK_LIMIT = 120
N_THREADS = 6
MANY = 1_000 if cbackprop.info()["checked_build"] else 100_000  # whose calls are slow
REFUSED = r"this network is already in use|a fit of this network is running in another thread"


@pytest.fixture(autouse=True)
def _frequent_switches():
    """With the GIL, threads take turns a thousand times as often as they would."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


def together(works):
    """Run all of them at once, each in a thread of its own; what they returned."""
    start = threading.Barrier(len(works))
    results = [None] * len(works)
    errors = []

    def run(place, work):
        try:
            start.wait(CLOCK_LIMIT)
            results[place] = work()
        except BaseException as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(place, work), daemon=True)
        for place, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CLOCK_LIMIT)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]
    return results


def all_bits(result):
    """Those of whatever a call returns: an array, a Gradient, factors by layer, two of these, …"""
    if isinstance(result, (tuple, list)):
        return [all_bits(part) for part in result]
    if isinstance(result, Forward):
        return [all_bits(part) for part in vars(result).values()]
    if hasattr(result, "vector"):
        return [bits(result.vector), all_bits(result.cost)]
    return None if result is None else bits(np.asarray(result))


def successes(call, tries):
    """Call so often; what came of the calls that were not refused."""
    results = []
    for _ in range(tries):
        try:
            results.append(call())
        except RuntimeError as error:
            with pytest.raises(RuntimeError, match=REFUSED):
                raise error
    return results


# ---- networks of their own -----------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize(
    ("backend", "threads"), [(backend, t) for backend in BACKENDS for t in (1, 2)][:3]
)
def test_threads_with_networks_of_their_own_have_the_bits_of_one(backend, threads, dtype):
    sizes = (2, 3, 1), (150, 128, 65, 3), (20, 30, 5)

    def work(seed):
        shape = sizes[seed % 3]
        X, Y = data(130, shape, dtype)
        net = Network(shape, "tanh", dtype=dtype, seed=seed, threads=threads, backend=backend)
        net.fit(X, Y, epochs=2, batch_size=32, optimizer=Adam(0.01))
        net.partial_fit(X, Y, optimizer=SGD(0.01, momentum=0.9), options={"dropout": 0.2})
        for x, y in zip(X[:20], Y[:20], strict=True):
            net.partial_fit(x, y)
        gradient = net.gradient(X, Y)
        each = net.gradient(X[:8], Y[:8], per_example=True)
        arrays = net.parameters, net.predict(X), gradient.vector, each.vector, net.copy().parameters
        return [bits(array) for array in arrays], gradient.cost

    seeds = range(N_THREADS if backend == "compiled" else 3)
    alone = [work(seed) for seed in seeds]
    assert together([lambda seed=seed: work(seed) for seed in seeds]) == alone


def test_networks_are_made_saved_and_loaded_at_the_same_time(tmp_path):
    shared = tmp_path / "shared"

    def make(seed):
        dtype = ("float32", "float64")[seed % 2]
        return Network((30, 40, 10), seed=seed, dtype=dtype, backend=BACKENDS[seed % len(BACKENDS)])

    known = {bits(make(seed).parameters) for seed in range(N_THREADS)}
    make(0).save(shared)

    def work(seed):
        for _ in range(10):
            net = make(seed)
            net.save(tmp_path / str(seed))
            net.save(shared)
            assert bits(Network.load(tmp_path / str(seed)).parameters) == bits(net.parameters)
            # Whosever it is, it is whole.
            assert bits(Network.load(shared).parameters) in known

    together([lambda seed=seed: work(seed) for seed in range(N_THREADS)])


# ---- one network between them --------------------------------------------------------------------


class States:
    """What a network gives after each number of the same steps, taken one after the other."""

    def __init__(self, net, X, Y, steps):
        self.X, self.Y = X, Y
        self.after = []
        self.outputs, self.gradients, self.costs = set(), set(), set()
        for _ in range(steps + 1):
            gradient = net.gradient(X, Y)
            self.after.append(bits(net.parameters))
            self.outputs.add(bits(net.predict(X)))
            self.gradients.add((bits(gradient.vector), gradient.cost))
            self.costs.add(net.cost(X, Y))
            net.partial_fit(X, Y)
        self.parameters = set(self.after)

    def looks_at(self, net):
        """Calls that say whether what they saw of the network is a state."""

        def gradient():
            found = net.gradient(self.X, self.Y)
            return (bits(found.vector), found.cost) in self.gradients

        return (
            lambda: bits(net.predict(self.X)) in self.outputs,
            lambda: bits(net.parameters) in self.parameters,
            lambda: bits(net.copy().parameters) in self.parameters,
            lambda: net.cost(self.X, self.Y) in self.costs,
            gradient,
        )


@pytest.mark.parametrize("n", [None, 20])
@pytest.mark.parametrize("optimizer", [SGD(0.05), Adam(0.01)], ids=["sgd", "adam"])
@pytest.mark.parametrize("sizes", [(2, 3, 1), (30, 50, 10)], ids=str)
@every_backend
def test_one_network_hammered_by_threads(backend, sizes, optimizer, n):
    """Every result is that of a number of whole steps, and none of the steps that succeeded is
    lost."""
    tries = 60 if backend == "compiled" else 15
    X, Y = data(1 if n is None else n, sizes)
    if n is None:
        X, Y = X[0], Y[0]
    net = Network(sizes, seed=0, backend=backend)
    net.partial_fit(X, Y, optimizer=optimizer)
    states = States(net.copy(), X, Y, N_THREADS * tries)
    looks = states.looks_at(net)

    def work(place):
        steps = 0
        for round in range(tries):
            steps += len(successes(lambda: net.partial_fit(X, Y), 1))
            assert all(successes(looks[(place + round) % len(looks)], 1))
        return steps

    steps = sum(together([lambda place=place: work(place) for place in range(N_THREADS)]))
    assert steps > 0
    assert bits(net.parameters) == states.after[steps]
    assert net._engine.step_count == steps + 1


def hurried(call, arguments, tries, expected):
    """Call so often with next to nothing between the calls; how many were not refused."""
    refused = 0
    for _ in range(tries):
        try:
            if call(*arguments) != expected:
                raise AssertionError("a wrong result")
        except RuntimeError:
            refused += 1
    return tries - refused


@every_backend
def test_of_many_quick_steps_none_is_lost(backend):
    """Without the GIL two threads are to meet within nanoseconds, so it takes many."""
    tries = MANY if backend == "compiled" else 300
    X, Y = data(1, (2, 3, 1))
    x, y = X[0], Y[0]
    net = Network((2, 3, 1), seed=0, backend=backend)
    net.partial_fit(x, y, optimizer=SGD(1e-4))
    alone = net.copy()
    steps = sum(together([lambda: hurried(net.partial_fit, (x, y), tries, net)] * 2))
    for _ in range(steps):
        alone.partial_fit(x, y)
    assert net._engine.step_count == alone._engine.step_count
    assert bits(net.parameters) == bits(alone.parameters)


@every_backend
@pytest.mark.parametrize("method", ["cost", "gradient", "gradient_moments"])
def test_of_many_quick_sums_none_is_anothers(method, backend):
    tries = MANY if backend == "compiled" else 300
    X, Y = data(3, (2, 3, 1))
    net = Network((2, 3, 1), seed=0, backend=backend)
    P = net.n_parameters

    def work(x, y):
        rest = {
            "cost": (np.empty(1), None),
            "gradient": (None, 1.0, np.empty(P)),
            "gradient_moments": (np.empty(P), np.empty(P), np.empty(1)),
        }[method]
        call = getattr(net._engine, method)
        expected = call(x, y, *rest)
        return lambda: hurried(call, (x, y, *rest), tries, expected)

    works = [work(X[i : i + 1], Y[i : i + 1]) for i in range(2)]
    assert together(works) == [tries, tries]


@every_backend
def test_steps_whose_optimizer_is_given_are_whole_too(backend):
    """The one that is in use is looked at, and replaced, by one thread at a time."""
    X, Y = data(8, (4, 5, 3))
    makes = (lambda: Adam(0.01)), (lambda: SGD(0.05, momentum=0.9)), (lambda: None)
    order = []

    def note(z):
        # In the forward pass of a step: whose turn it is, in the order of the steps.
        order.append(current[threading.get_ident()])
        return np.tanh(z)

    current = {}
    mine = Activation(note, lambda z: 1 - np.tanh(z) ** 2)
    net = Network((4, 5, 3), [mine, "sigmoid"], seed=0, backend=backend)
    mine_alone = Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    alone = Network((4, 5, 3), [mine_alone, "sigmoid"], seed=0, backend=backend)

    def work(place):
        current[threading.get_ident()] = place
        step = lambda: net.partial_fit(X, Y, optimizer=makes[place]())  # noqa: E731
        return len(successes(step, 25))

    counts = together([lambda place=place: work(place) for place in range(3)])
    assert [order.count(place) for place in range(3)] == counts
    for place in order:
        alone.partial_fit(X, Y, optimizer=makes[place]())
    assert bits(net.parameters) == bits(alone.parameters)
    assert net._model.optimizer == alone._model.optimizer


@every_backend
def test_fits_of_one_network_at_the_same_time(backend):
    X, Y = data(64, (20, 30, 5))
    net = Network((20, 30, 5), seed=0, backend=backend)
    alone = net.copy()
    fit = {"epochs": 2, "batch_size": 16, "optimizer": "adam"}

    def work():
        return len(successes(lambda: net.fit(X, Y, **fit), 8))

    fits = sum(together([work] * N_THREADS))
    assert fits > 0
    for _ in range(fits):
        alone.fit(X, Y, **fit)
    assert bits(net.parameters) == bits(alone.parameters)
    # The generator's words, too, went to one fit at a time.
    assert net._model.random.state == alone._model.random.state


@every_backend
def test_parameters_are_replaced_and_read_as_a_whole(backend, tmp_path):
    sizes = (200, 200, 10)
    X, Y = data(2, sizes)
    net = Network(sizes, seed=0, backend=backend)
    alone = [Network(sizes, seed=seed, backend=backend) for seed in range(3)]
    known = {bits(other.parameters): other.cost(X[0], Y[0]) for other in alone}

    def write(other):
        vector = other.parameters
        return lambda: successes(lambda: setattr(net, "parameters", vector), 40)

    def saved():
        net.save(tmp_path / "net")
        return Network.load(tmp_path / "net").parameters

    def chain_rule():
        chain = net.chain_rule(X[0], Y[0])
        vector = chain._engine.storage
        assert known[bits(vector)] == chain.cost
        return vector

    def checked():
        check = net.check_gradient(X[:1, :], Y[:1, :])
        assert check.passed
        return alone[0].parameters

    def look(read, tries):
        return lambda: all(bits(vector) in known for vector in successes(read, tries))

    found = together(
        [
            write(alone[1]),
            write(alone[2]),
            lambda: successes(lambda: net.reset(0), 10),
            look(lambda: net.parameters, 40),
            look(lambda: net.copy().parameters, 40),
            look(saved, 20),
            look(chain_rule, 40),
            look(checked, 1),
        ]
    )
    assert all(found[3:])
    assert bits(net.parameters) in known


@every_backend
def test_what_was_not_finite_is_told_to_whose_call_it_was(backend):
    net = Network((2, 2, 1), "identity", seed=0, backend=backend)
    net.weights[0][...] = [[1, 1], [1, 1]]
    net.weights[1][...] = 4
    net.biases[0][...] = net.biases[1][...] = 0
    first, second = np.full(2, 1e308), np.full(2, 4e307)

    def predict(x, layer):
        def work():
            for _ in range(200):
                with pytest.raises(FloatingPointError, match=f"z of layer {layer} is not finite"):
                    net.predict(x)

        return work

    together([predict(first, 1), predict(second, 2)] * 2)


@every_backend
def test_a_call_of_an_engine_returns_what_was_not_finite(backend):
    """To whoever called: nothing of it stays behind for another thread to find."""
    net = Network((2, 2, 1), "identity", seed=0, backend=backend)
    engine, P = net._engine, net.n_parameters
    net.parameters = [1, 1, 1, 1, 0, 0, 4, 4, 0]
    y, out, C = np.zeros((1, 1)), np.empty(P), np.empty(1)
    for value, failure in ((1e308, ("z", 1)), (4e307, ("z", 2)), (1e200, ("delta", 2)), (1, None)):
        x = np.full((1, 2), float(value))
        outputs = engine.forward(x, [None] * 2, [None, np.empty((1, 1))])
        assert outputs == (None if failure == ("delta", 2) else failure)
        assert engine.cost(x, y, C, None)[0] == failure
        assert engine.gradient(x, y, None, 1.0, out)[0] == failure
        assert engine.gradient_moments(x, y, out, np.empty(P), C)[0] == failure
        assert engine.per_example_gradient(x, y, np.empty((1, P)), True, C) == failure
    net._model.set_optimizer(SGD(1e308))
    assert engine.train(x, y, None, 1, None, None, 0)[0] == ("parameters", 0)


def uses(net, X, Y, path):
    """Every call that reads or changes the network's numbers."""
    return {
        "predict": lambda: net.predict(X),
        "predict one": lambda: net.predict(X[0]),
        "forward": lambda: net.forward(X),
        "cost": lambda: net.cost(X, Y),
        "backward": lambda: net.backward(X, Y),
        "gradient": lambda: net.gradient(X, Y),
        "per example": lambda: net.gradient(X, Y, per_example=True),
        "norms": lambda: net.gradient_norms(X, Y),
        "clipped": lambda: net.clipped_gradient(X, Y, 1.0),
        "gram": lambda: net.gradient_gram(X, Y),
        "moments": lambda: net.gradient_moments(X, Y),
        "jacobian": lambda: net.jacobian(X),
        "input gradient": lambda: net.input_gradient(X, Y),
        "input jacobian": lambda: net.input_jacobian(X),
        "vjp": lambda: net.vjp(X, Y),
        "jvp": lambda: net.jvp(X, np.ones(net.n_parameters)),
        "hessian": lambda: net.hessian_vector_product(X, Y, np.ones(net.n_parameters)),
        "gauss-newton": lambda: net.gauss_newton_vector_product(X, Y, np.ones(net.n_parameters)),
        "chain rule": lambda: net.chain_rule(X[0], Y[0]),
        "check": lambda: net.check_gradient(X[:1], Y[:1]),
        "diagnosis": lambda: net.diagnose_gradient(X, Y, net.parameters),
        "score": lambda: net.score(X, Y, "mse"),
        "parameters": lambda: net.parameters,
        "assign": lambda: setattr(net, "parameters", np.zeros(net.n_parameters)),
        "copy": net.copy,
        "pickle": lambda: pickle.dumps(net),
        "save": lambda: net.save(path),
        "reset": lambda: net.reset(0),
        "partial_fit": lambda: net.partial_fit(X, Y),
        "partial_fit one": lambda: net.partial_fit(X[0], Y[0]),
        "fit": lambda: net.fit(X, Y, epochs=1),
        "fit nothing": lambda: net.fit(X, Y, epochs=0),
    }


CHANGES = ("assign", "reset", "partial_fit", "partial_fit one", "fit", "fit nothing")
OF_THE_USERS = (
    Activation(np.sin, np.cos, second_derivative=lambda z: -np.sin(z)),
    Cost(
        lambda a, y: ((a - y) ** 2).sum(axis=1),
        lambda a, y: 2 * (a - y),
        hessian_vector_product=lambda a, y, v: 2 * v,
    ),
)


@both_dtypes
@pytest.mark.parametrize("kind", ["tiny", "wide", "of the user's"])
@every_backend
def test_threads_that_read_one_network_at_the_same_time(backend, kind, dtype, tmp_path):
    """None is refused, and each has the bits that it has alone, whatever the others ask for."""
    sizes, n = {"tiny": ((2, 3, 1), 3), "wide": ((150, 128, 65, 3), 40)}.get(kind, ((4, 5, 3), 300))
    functions = ("tanh", "quadratic") if kind != "of the user's" else OF_THE_USERS
    net = Network(sizes, *functions, dtype=dtype, seed=0, threads=2, backend=backend)
    X, Y = data(n, sizes, dtype)
    net.partial_fit(X, Y, optimizer=Adam(0.01))
    file = tmp_path / "net"
    reads = {name: call for name, call in uses(net, X, Y, file).items() if name not in CHANGES}
    if kind == "of the user's":  # of which neither a file nor a pickle of lambdas can be made
        del reads["save"], reads["pickle"]
    if kind == "wide":  # which takes seconds
        del reads["check"]

    def seen(name):
        result = reads[name]()
        if name == "save":
            return file.read_bytes()
        if name == "chain rule":
            return result.cost, str(result.weight(1, 0, 0))
        if name == "check":
            return bits(result.expected.vector), bits(result.gradient.vector)
        if name == "diagnosis":
            return str(result)
        return bits(result.parameters) if name == "copy" else all_bits(result)

    expected = {name: seen(name) for name in reads}
    before = state(net)

    def work(place):
        names = list(reads)[place:] + list(reads)[:place]
        for _ in range(3 if backend == "reference" or kind == "wide" else 20):
            for name in names:
                assert seen(name) == expected[name], name

    together([lambda place=place: work(3 * place) for place in range(N_THREADS)])
    assert state(net) == before
    net.partial_fit(X, Y)


@every_backend
def test_readers_beside_threads_that_change_the_network(backend):
    """What they read is what the network was before a change or after it; nobody waits for ever."""
    sizes = (200, 200, 10)
    X, _ = data(3, sizes)
    net = Network(sizes, seed=0, backend=backend)
    known = [Network(sizes, seed=seed, backend=backend) for seed in range(3)]
    outputs = {bits(other.predict(X)) for other in known}
    vectors = {bits(other.parameters) for other in known}
    found = {"predict": 0, "parameters": 0, "changes": 0}

    def predict():
        for _ in range(300):
            seen = successes(lambda: net.predict(X), 1)
            assert all(bits(each) in outputs for each in seen)
            found["predict"] += len(seen)

    def parameters():
        for _ in range(300):
            seen = successes(lambda: net.parameters, 1)
            assert all(bits(each) in vectors for each in seen)
            found["parameters"] += len(seen)

    def change():
        written = [other.parameters for other in known]
        for vector in written * 100:
            write = lambda vector=vector: setattr(net, "parameters", vector)  # noqa: E731
            found["changes"] += len(successes(write, 1))

    together([predict, predict, parameters, change])
    # Who gets a turn beside whom is the system's choice; somebody always does, and all are done.
    assert any(found.values()), found
    net.parameters = known[0].parameters
    assert bits(net.predict(X)) == bits(known[0].predict(X))


@every_backend
def test_what_is_read_through_several_calls_is_not_changed_between_them(backend):
    X, Y = data(6, (4, 5, 3))
    net = Network((4, 5, 3), seed=0, backend=backend)
    before, expected = bits(net.parameters), bits(net.predict(X))
    refused = []

    def other():
        assert bits(net.predict(X)) == expected
        with net._engine.reading():
            assert bits(net.copy().predict(X)) == expected
        for change in (lambda: net.partial_fit(X, Y), lambda: net.fit(X, Y), net.reset):
            with pytest.raises(RuntimeError, match="cannot be changed while another call reads it"):
                change()
            refused.append(change)

    with net._engine.reading(), net._engine.reading():
        other()
        together([other, other])
        assert not net._engine.is_fitting
        with pytest.raises(RuntimeError, match="a fit begins inside"):
            net._engine.begin_fit()
    assert len(refused) == 9
    assert bits(net.parameters) == before
    with net._engine:
        with net._engine.reading():
            assert bits(net.predict(X)) == expected
        net.parameters = np.zeros(net.n_parameters)
    net.partial_fit(X, Y)
    together([lambda: net.partial_fit(X, Y), lambda: None])


@every_backend
def test_nothing_changes_while_its_own_thread_reads_a_network_that_it_keeps(backend):
    """`with engine.reading()` says the same inside `with engine` and outside."""
    X, Y = data(6, (4, 5, 3))
    net = Network((4, 5, 3), seed=0, backend=backend)
    engine = net._engine
    before = state(net)
    changes = (
        lambda: net.partial_fit(X, Y),
        lambda: net.partial_fit(X[0], Y[0]),
        lambda: net.fit(X, Y),
        lambda: engine.set_optimizer(SGD().rule),
        lambda: setattr(net, "parameters", np.zeros(net.n_parameters)),
        engine.__enter__,
        net.reset,
    )
    with engine:
        with engine.reading(), engine.reading():
            expected = bits(net.predict(X))
            for change in changes:
                with pytest.raises(
                    RuntimeError, match="cannot be changed while another call reads it"
                ):
                    change()
            assert bits(net.predict(X)) == expected
            with pytest.raises(RuntimeError, match="another call on it is running"):
                together([lambda: net.partial_fit(X, Y)])
        assert state(net) == before
        with engine:  # changes it again, and reads in that
            net.parameters = np.zeros(net.n_parameters)
            with engine.reading():
                assert not net.parameters.any()
    together([lambda: net.partial_fit(X, Y)])


@every_backend
def test_a_reading_that_ends_after_what_it_stood_in_leaves_the_network_free(backend):
    net = Network((4, 5, 3), seed=0, backend=backend)
    X, Y = data(6, net.sizes)
    engine = net._engine
    reading = engine.reading()
    engine.__enter__()
    reading.__enter__()
    engine.__exit__(None, None, None)
    with pytest.raises(RuntimeError, match=REFUSED):
        together([lambda: net.partial_fit(X, Y)])
    reading.__exit__(None, None, None)
    together([lambda: net.partial_fit(X, Y)])


@needs_compiled
def test_memory_of_readers_is_kept_for_the_next(monkeypatch):
    """As many have some of their own as were reading beside another one, however often."""
    gate = Gate(armed=False)
    net = gate.network("compiled")
    X, _ = examples()
    expected = bits(net.predict(X))
    made, zeros = [], np.zeros

    def counted(*arguments, **options):
        made.append(arguments)
        return zeros(*arguments, **options)

    monkeypatch.setattr(np, "zeros", counted)
    gate.armed = True
    thread = threading.Thread(target=net.predict, args=(X,))
    thread.start()
    try:
        assert gate.inside.wait(CLOCK_LIMIT)
        for beside in range(4):
            before = len(made)
            assert bits(net.predict(X)) == expected
            assert bits(net.predict(X[0])) == expected[: len(expected) // len(X)]
            assert (len(made) > before) == (beside == 0)
    finally:
        gate.go_on.set()
        thread.join(CLOCK_LIMIT)
    net.partial_fit(*examples())


@pytest.mark.parametrize("fitting", [True, False])
@every_backend
def test_every_call_on_a_network_that_another_thread_keeps_is_refused(backend, fitting, tmp_path):
    X, Y = data(6, (4, 5, 3))
    net = Network((4, 5, 3), seed=0, backend=backend)
    net.partial_fit(X, Y)
    before = bits(net.parameters)
    inside, over = threading.Event(), threading.Event()

    def keep():
        if fitting:
            net.fit(X, Y, epochs=1, learning_rate=0.0, callbacks=lambda *_: wait())
        else:
            with net._engine:
                wait()

    def wait():
        inside.set()
        assert over.wait(CLOCK_LIMIT)

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        assert inside.wait(CLOCK_LIMIT)
        message = "^a fit of this network is running" if fitting else "^this network is already in"
        for name, call in uses(net, X, Y, tmp_path / "net").items():
            with pytest.raises(RuntimeError, match=message):
                pytest.fail(f"{name} returned {call()}")
    finally:
        over.set()
        thread.join(CLOCK_LIMIT)
    assert not thread.is_alive()
    assert bits(net.parameters) == before
    assert not (tmp_path / "net").exists()
    for call in uses(net, X, Y, tmp_path / "net").values():
        call()


@pytest.mark.parametrize(
    ("method", "owner", "between"),
    [
        ("chain_rule", Model, "backward"),
        ("check_gradient", Model, "gradient"),
        ("partial_fit", loop, "resolve"),
        ("partial_fit", loop, "_require_trainable"),
        ("fit", loop, "_require_trainable"),
    ],
)
@every_backend
def test_nothing_comes_between_what_a_call_looks_at_first_and_the_rest(
    backend, method, owner, between, monkeypatch
):
    X, Y = data(6, (4, 5, 3))
    refused, others = [], []

    def other():
        calls = (
            lambda: net.partial_fit(X, Y, optimizer=Adam(0.01)),
            lambda: setattr(net, "parameters", np.zeros(net.n_parameters)),
        )
        for call in calls:
            with pytest.raises(RuntimeError, match=REFUSED):
                call()
            refused.append(call)

    whole = getattr(owner, between)

    def watched(*arguments):
        result = whole(*arguments)
        if not others:
            others.append(other)
            together(others)
        return result

    monkeypatch.setattr(owner, between, watched)
    net = Network((4, 5, 3), seed=0, backend=backend)
    x, y = (X[0], Y[0]) if method == "chain_rule" else (X, Y)
    getattr(net, method)(x, y)
    assert len(refused) == 2


@every_backend
def test_a_network_is_free_after_every_error(backend):
    """Whatever ends a call, a fit or what is kept between them."""
    X, Y = data(6, (4, 5, 3))
    net = Network((4, 5, 3), seed=0, backend=backend)

    def fail(*arguments):
        raise ZeroDivisionError("mine")

    for call in (
        lambda: net.fit(X, Y, callbacks=fail),
        lambda: net.fit(X, Y, metrics=fail),
        lambda: net.fit(X, Y, callbacks=lambda net, _: net.fit(X, Y)),
        lambda: net.fit(X, Y, epochs=1, optimizer=SGD(1e308)),
        lambda: net.partial_fit(X, Y, optimizer=SGD(1e308)),
        lambda: net.partial_fit(X, Y, optimizer="unknown"),
        lambda: net.predict(np.full((1, 4), np.nan)),
        lambda: net.save("/"),
    ):
        with contextlib.suppress(Exception):
            call()
        together([lambda: net.parameters, lambda: None])
        assert not net._engine.is_fitting


@every_backend
def test_an_order_that_is_changed_after_it_was_given(backend):
    """It is read where nothing is checked any more: the fit has a copy."""
    X, Y = data(6, (4, 5, 3))
    order = np.array([3, 1, 2, 0, 5, 4])
    nets = [Network((4, 5, 3), seed=0, backend=backend) for _ in range(2)]
    nets[0].fit(X, Y, epochs=3, batch_size=2, shuffle=order.copy())
    nets[1].fit(
        X, Y, epochs=3, batch_size=2, shuffle=order, callbacks=lambda *_: order.fill(10**15)
    )
    assert bits(nets[0].parameters) == bits(nets[1].parameters)


# ---- forks ---------------------------------------------------------------------------------------


FORK = """
    import os, signal, sys, threading, warnings
    import numpy as np
    from cbackprop import Activation, Network

    # Python 3.12 warns of forks beside threads; these are meant.
    warnings.simplefilter("ignore", DeprecationWarning)
    backend = "BACKEND"
    X, Y = np.linspace(-1, 1, 24).reshape(6, 4), np.linspace(0, 1, 18).reshape(6, 3)
    inside, over, armed = threading.Event(), threading.Event(), []

    def value(z):
        if armed:
            inside.set()
            over.wait(60)
        return np.tanh(z)

    mine = Activation(value, lambda z: 1 - np.tanh(z) ** 2)
    net = Network((4, 5, 3), [mine, "sigmoid"], seed=0, backend=backend)
    net.partial_fit(X, Y)
    spare = net.copy()
    READS = {
        "predict": lambda: net.predict(X).tobytes(),
        "predict one": lambda: net.predict(X[0]).tobytes(),
        "gradient": lambda: net.gradient(X, Y).vector.tobytes(),
        "parameters": lambda: net.parameters.tobytes(),
        "copy": lambda: net.copy().parameters.tobytes(),
    }

    def in_a_child(work):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            try:
                work()
                os._exit(0)
            except BaseException as error:
                print("child:", repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
"""


@needs_fork
@every_backend
@pytest.mark.parametrize("running", ["predict", "fit"])
def test_a_child_forked_while_another_thread_is_in_a_call(running, backend):
    code = """
    call = {"predict": lambda: net.predict(X), "fit": lambda: net.fit(X, Y, epochs=1)}["RUNNING"]
    thread = threading.Thread(target=call)

    # What another thread only read is whole: it can be read on, and copied.
    reading = "RUNNING" == "predict"
    cure = "use a copy()" + " made before the fork" * (not reading)
    expected = {name: read() for name, read in READS.items()}

    def refused():
        changes = (
            lambda: net.partial_fit(X, Y), lambda: net.partial_fit(X[0], Y[0]),
            lambda: net.fit(X, Y), net.reset,
        )
        for call in changes if reading else (*changes, *READS.values()):
            try:
                call()
            except RuntimeError as error:
                assert "in use when the process was forked" in str(error), error
                assert str(error).endswith(cure), error
            else:
                raise AssertionError("not refused")
        if reading:
            for name, read in READS.items():
                assert read() == expected[name], name
            net.copy().fit(X, Y, epochs=1)

    def child(depth=2):
        armed.clear()
        refused()
        # New threads, one of which may have the number that the system gave to the lost one.
        errors = []

        def in_thread():
            try:
                refused()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=in_thread) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors, errors
        assert np.isfinite(spare.fit(X, Y, epochs=1).cost[0])
        # A network that was idle, and one that is made here, are told what is true of them.
        for other in (spare, Network((4, 5, 3), seed=0, backend=backend)):
            def callback(net, history):
                found = []

                def look():
                    try:
                        net.predict(X)
                    except RuntimeError as error:
                        found.append(str(error))

                thread = threading.Thread(target=look)
                thread.start()
                thread.join()
                assert found and found[0].startswith("a fit of this network is running"), found

            other.fit(X, Y, epochs=1, callbacks=callback)
        if depth > 1:
            in_a_child(lambda: child(depth - 1))

    armed.append(True)
    thread.start()
    assert inside.wait(60)
    in_a_child(child)
    over.set()
    thread.join()
    armed.clear()
    net.fit(X, Y, epochs=1)
    in_a_child(lambda: net.fit(X, Y, epochs=1))
    print("ok")
    """
    code = code.replace("RUNNING", running)
    assert output_of(FORK.replace("BACKEND", backend) + code) == "ok\n"


@needs_fork
@every_backend
def test_a_callback_that_forks(backend):
    """In the child, too, the fit is its own thread's: it may look, and go on."""
    code = """
    expected = net.copy()
    expected.fit(X, Y, epochs=3)
    main = os.getpid()
    children = []

    def callback(net, history):
        if history.epochs == 2 and os.getpid() == main:
            children.append(os.fork())
        assert net.predict(X).shape == (6, 3)

    net.fit(X, Y, epochs=3, callbacks=callback)
    same = np.array_equal(net.parameters, expected.parameters)
    net.fit(X, Y, epochs=1)
    if os.getpid() != main:
        os._exit(0 if same else 1)
    assert same and os.waitpid(children[0], 0)[1] == 0
    print("ok")
    """
    assert output_of(FORK.replace("BACKEND", backend) + code) == "ok\n"


# ---- imports, and the GIL ------------------------------------------------------------------------


def test_threads_that_import_the_package_at_the_same_time():
    code = """
    import threading

    start, seen, errors = threading.Barrier(8), [], []

    def work(place):
        try:
            start.wait()
            import cbackprop
            net = cbackprop.Network((4, 5, 3), seed=0, dtype=("float32", "float64")[place % 2])
            seen.append(net.predict([[1.0, 2.0, 3.0, 4.0]]).tolist())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert len(seen) == 8
    assert all(abs(a - b) < 1e-4 for outputs in seen for a, b in zip(outputs[0], seen[0][0]))
    print("ok")
    """
    options = () if cbackprop.info()["backend"] == "compiled" else ("-W", "ignore")
    for _ in range(3):
        assert output_of(code, options=options) == "ok\n"


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED") or cbackprop.info()["backend"] != "compiled",
    reason="no compiled core on a free-threaded Python",
)
def test_the_import_leaves_the_gil_off():
    """A module that did not say it needs none would switch it on, with a RuntimeWarning."""
    code = """
    import importlib, pkgutil, sys
    import cbackprop, cbackprop.kernels
    from cbackprop.kernels import _cpu

    loaded = ["_cpu"]
    for module in pkgutil.iter_modules(cbackprop.kernels.__path__):
        if module.name.split("_")[1] in _cpu.supported_levels():
            importlib.import_module(f"cbackprop.kernels.{module.name}")
            loaded.append(module.name)
    assert len(loaded) >= 3, loaded
    assert not sys._is_gil_enabled()
    print("ok")
    """
    # Also where the tests themselves run with the GIL on.
    assert output_of(code, options=("-W", "error"), PYTHON_GIL="") == "ok\n"


# ---- a call inside a call, a call beside a call --------------------------------------------------


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


@every_backend
@pytest.mark.parametrize(
    "running",
    [
        "fit", "partial_fit", "predict", "gradient", "gradient_norms", "jacobian", *FURTHER,
        "input_jacobian",
    ],
)  # fmt: skip
def test_a_second_call_from_another_thread(running, backend):
    X, Y = examples()
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
        methods = (*WITH_X, "gradient", "gradient_norms", *FURTHER, "cost", "backward")
        changes = ("partial_fit", "fit")
        for method in (*methods, *changes):
            arguments = (X,) if method in WITH_X else (X, Y)
            if running in changes or method in changes:
                with pytest.raises(RuntimeError, match=r"use (a )?copy\(\)"):
                    getattr(net, method)(*arguments, **besides(net, method))
            else:
                found, expected = (
                    getattr(each, method)(*arguments, **besides(each, method))
                    for each in (net, twin)
                )
                assert all_bits(found) == all_bits(expected)
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
    assert state(net) == state(twin)
    net.fit(X, Y)


@every_backend
def test_a_fit_refused_because_a_predict_runs_changes_nothing(backend):
    X, Y = examples()
    gate = Gate(armed=False)
    net = gate.network(backend)
    net.partial_fit(X, Y, optimizer=Adam(0.01))
    before = state(net)
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
    assert state(net) == before


@every_backend
def test_a_fit_beside_a_step_of_another_thread_leaves_the_steps_memory(backend):
    """A step runs without the GIL; a fit that is refused meanwhile must not free its memory."""
    X, Y = examples()
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


@every_backend
def test_a_predict_between_two_epochs_does_not_stop_the_fit(backend):
    """The other thread is told that a fit is running; the fit goes on, and may look itself."""
    X, Y = examples()
    net = network(backend)
    errors = []

    def other():
        for call in (lambda: net.predict(X), lambda: net.partial_fit(X, Y), net.copy, net.reset):
            with pytest.raises(
                RuntimeError, match=r"^a fit .* is running .*use a copy\(\)"
            ) as error:
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


@every_backend
def test_calls_from_inside_a_call(backend):
    """A callback may look but not train; an activation may look, too, in a call that looks."""
    X, Y = examples()
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
    assert state(net) == state(twin)

    inner = []

    def value(z):
        if inner:
            inner[0](X)
        return np.tanh(z)

    net = network(backend, activation=Activation(value, lambda z: 1 - np.tanh(z) ** 2))
    net.partial_fit(X, Y)
    before, expected = state(net), bits(net.predict(X))

    def once(X):
        call = inner.pop()
        try:
            assert bits(net.predict(X)) == expected
        finally:
            inner.append(call)

    inner.append(once)
    assert bits(net.predict(X)) == expected
    trainings = (lambda X: net.fit(X, Y, epochs=1)), (lambda X: net.partial_fit(X, Y))
    for call in trainings:
        with pytest.raises(RuntimeError, match="already in use"):
            call(X)
    # Without an end, and what would change what is being read.
    for call in (net.predict, *trainings):
        inner[:] = [call]
        with pytest.raises(RuntimeError, match=r"recursion|already in use"):
            net.predict(X)
    inner.clear()
    assert state(net) == before
    net.fit(X, Y)


@every_backend
@pytest.mark.parametrize(
    "function", ["value", "derivative", "cost", "gradient", "second", "product"]
)
def test_a_function_of_the_users_that_calls_its_own_network(function, backend):
    X, Y = examples()
    inner = []

    def then(name, result):
        if inner and name == function:
            call, inner[:] = inner[0], []
            call()
            inner.append(call)
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
    before = state(net)
    calls = {"second": CURVATURE[:1], "product": CURVATURE}.get(function, FURTHER)
    for call in calls:
        whole = lambda call=call: getattr(net, call)(X, Y, **besides(net, call))  # noqa: E731
        good = all_bits(whole())
        # It may look, by any call, the same one among them.
        for look in (lambda: net.predict(X), lambda: net.parameters, net.copy, whole):
            inner[:] = [look]
            assert all_bits(whole()) == good
            assert inner == [look]
        inner[:] = [lambda: net.partial_fit(X, Y)]
        with pytest.raises(RuntimeError, match="already in use"):
            whole()
        inner.clear()
        assert all_bits(whole()) == good
    assert state(net) == before


@every_backend
def test_different_networks_in_threads_give_the_bits_of_serial_runs(backend):
    n = 400 if backend == "compiled" else 40
    X, Y = examples(n=n)

    def work(seed):
        net = Network([4, 40, 30, 3], seed=seed, backend=backend)
        net.fit(X, Y, epochs=3, batch_size=16, optimizer="adam")
        return state(net), net.gradient(X, Y, per_example=True).vector.tobytes()

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
