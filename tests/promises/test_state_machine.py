"""Any order of calls: the compiled network does what the reference does from the same state.

Hypothesis draws the calls. Before each one the reference is brought to the compiled network's state
through a pickle, then both make the call, and parameters, optimiser, generator and results must
agree: exactly where nothing is rounded, closely where the order of sums differs. Calls that fail
must change nothing, and whatever leaves the network and comes back (copy, pickle, model file,
checkpoint) must be its twin to the bit. tests/deep/state_machine.py runs it for longer.
"""

from __future__ import annotations

import copy
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import with_every_kind

import cbackprop
from cbackprop import LBFGS, SGD, Adagrad, Adam, AdamW, LevenbergMarquardt, Network, RMSprop, Rprop

pytestmark = pytest.mark.skipif(
    cbackprop.info()["backend"] != "compiled", reason="the compiled core is not built"
)

FIRST_ORDER = with_every_kind(
    SGD(0.1),
    SGD(0.05, momentum=0.9),
    SGD(0.05, momentum=0.5, nesterov=True),
    Adam(0.01),
    AdamW(0.01),
    RMSprop(0.01),
    RMSprop(0.01, momentum=0.9, centred=True),
    Adagrad(0.05),
    Rprop(0.01),
    whole_batch=False,
)
WHOLE_BATCH = (LBFGS(memory=3), LevenbergMarquardt())
NETWORKS = (
    ([1, 1], "sigmoid", "quadratic"),
    ([2, 3, 1], "tanh", "half_quadratic"),
    ([3, 4, 4, 2], ["relu", "silu", "identity"], "mse"),
    ([3, 17, 5], ["softplus", "softmax"], "cross_entropy"),
    ([4, 33, 3], ["gelu", "sigmoid"], "cross_entropy"),
    ([2, 5, 2], ["elu", "exponential"], "poisson"),
)
STEP_OPTIONS = {
    "l1": (0.0, 0.01),
    "l2": (0.0, 0.01),
    "dropout": (0.0, 0.4),
    "max_norm": (None, 1.5),
    "clip_norm": (None, 0.7),
    "noise_multiplier": (0.0, 0.1),
    "clip_gradient_norm": (None, 0.1),
    "frozen": ((), (2,)),
    "missing_targets": (False, True),
}
CLOSE = {"float32": 2e-4, "float64": 1e-10}


def step_options(draw, optimizer):
    """A few of the options, as keywords; noise only with what goes with it."""
    options = {name: draw(st.sampled_from(values)) for name, values in STEP_OPTIONS.items()}
    if options["clip_norm"] is None or isinstance(optimizer, Rprop):
        options["noise_multiplier"] = 0.0
    if options["noise_multiplier"] > 0:
        options["clip_gradient_norm"] = None
    return options


def kept(net):
    """What every call must leave alone, or change alike, that is no number of the network's."""
    engine = net._engine
    return (
        engine.rule,
        engine.learning_rate,
        engine.step_count,
        net._model.optimizer,
        net._model.random.state,
        None if net._model.whole_batch_state is None else list(net._model.whole_batch_state.arrays),
    )


def numbers(net):
    return [net.parameters, *(part for slot in net._engine.slots for part in views(net, slot))]


def views(net, slot):
    weights, biases = net._engine.layer_views(slot)
    return [*weights, *biases]


def bits(net):
    return [np.ascontiguousarray(array).tobytes() for array in numbers(net)], kept(net)


def through_state(net, backend):
    """The same network on that backend."""
    state = net.__getstate__()
    state["backend"] = backend
    twin = Network.__new__(Network)
    twin.__setstate__(state)
    return twin


class AnyOrderOfCalls(RuleBasedStateMachine):
    calls = 0  # of all runs together

    @initialize(
        which=st.sampled_from(NETWORKS),
        dtype=st.sampled_from(["float32", "float64"]),
        seed=st.integers(0, 2**32),
        threads=st.sampled_from([1, 2]),
    )
    def make(self, which, dtype, seed, threads):
        sizes, activation, cost = which
        self.net = Network(sizes, activation, cost, dtype=dtype, seed=seed, threads=threads)
        self.least_squares = cost in ("quadratic", "half_quadratic", "mse")
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "model"

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def examples(self, n, seed):
        random = np.random.default_rng(seed)
        X = random.normal(size=(n, self.net.sizes[0]))
        Y = random.dirichlet(np.ones(self.net.sizes[-1] + 1), size=n)[:, :-1]
        if self.net.activations[-1] == "softmax":
            Y = Y / Y.sum(axis=1, keepdims=True)
        return X.astype(self.net.dtype), Y.astype(self.net.dtype)

    def both(self, call, tolerance=None):
        """The call on the network and on the reference in its state; the results must agree."""
        AnyOrderOfCalls.calls += 1
        reference = through_state(self.net, "reference")
        before, outcomes = bits(self.net), []
        for net in (self.net, reference):
            try:
                outcomes.append((None, call(net)))
            except (ValueError, TypeError, FloatingPointError) as error:
                outcomes.append(((type(error), str(error)), None))
        (error, result), (expected_error, expected) = outcomes
        assert error == expected_error
        if error is not None:
            assert bits(self.net) == before
        assert kept(self.net) == kept(reference)
        if tolerance is None:
            tolerance = CLOSE[self.net.dtype.name]
        for found, wanted in zip(
            [*arrays(result), *numbers(self.net)],
            [*arrays(expected), *numbers(reference)],
            strict=True,
        ):
            scale = max(float(np.abs(wanted).max(initial=0)), 1e-3)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale)

    @rule(
        data=st.data(),
        n=st.integers(1, 40),
        batch_size=st.integers(1, 50),
        epochs=st.integers(0, 2),
        optimizer=st.sampled_from(FIRST_ORDER),
        shuffle=st.booleans(),
        seed=st.integers(0, 2**32),
    )
    def fit(self, data, n, batch_size, epochs, optimizer, shuffle, seed):
        X, Y = self.examples(n, seed)
        options = step_options(data.draw, optimizer)
        if len(self.net.sizes) == 2:
            options["frozen"] = ()
        if options["missing_targets"]:
            Y[1::3, 0] = np.nan
        self.both(
            lambda net: net.fit(
                X,
                Y,
                epochs=epochs,
                batch_size=batch_size,
                optimizer=optimizer,
                shuffle=shuffle,
                **options,
            )
        )

    @rule(n=st.integers(1, 40), optimizer=st.sampled_from(WHOLE_BATCH), seed=st.integers(0, 2**32))
    def fit_whole_batch(self, n, optimizer, seed):
        X, Y = self.examples(n, seed)
        # A line search or a damping may branch on a rounding.
        self.both(
            lambda net: net.fit(X, Y, epochs=1, optimizer=optimizer),
            1e-2 if self.net.dtype == np.float32 else 1e-6,
        )

    @rule(n=st.integers(0, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 2**32))
    def partial_fit_goes_on(self, n, batch_size, seed):
        X, Y = self.examples(n, seed)
        whole_batch = isinstance(self.net._model.optimizer, (LBFGS, LevenbergMarquardt))
        tolerance = (1e-2 if self.net.dtype == np.float32 else 1e-6) if whole_batch else None
        self.both(lambda net: net.partial_fit(X, Y, batch_size), tolerance)

    @rule(
        data=st.data(),
        optimizer=st.sampled_from(FIRST_ORDER),
        rate=st.sampled_from([None, 0.0, 0.02]),
        weighted=st.booleans(),
        seed=st.integers(0, 2**32),
    )
    def partial_fit(self, data, optimizer, rate, weighted, seed):
        X, Y = self.examples(12, seed)
        options = step_options(data.draw, optimizer)
        if len(self.net.sizes) == 2:
            options["frozen"] = ()
        if options["missing_targets"]:
            Y[1::3, 0] = np.nan
        weight = np.arange(12.0) if weighted and options["noise_multiplier"] == 0 else None
        self.both(lambda net: net.partial_fit(X, Y, 5, optimizer, rate, weight, options))

    @rule(seed=st.integers(0, 2**32))
    def partial_fit_of_one(self, seed):
        X, Y = self.examples(1, seed)
        if isinstance(self.net._model.optimizer, (LBFGS, LevenbergMarquardt)):
            self.net.partial_fit(X, Y, optimizer="sgd")
        self.both(lambda net: net.partial_fit(X[0], Y[0]))

    @rule(n=st.integers(1, 20), seed=st.integers(0, 2**32))
    def look(self, n, seed):
        X, Y = self.examples(n, seed)
        before = bits(self.net)
        self.both(lambda net: [net.predict(X), net.cost(X, Y, per_example=True)])
        self.both(lambda net: [net.gradient(X, Y).vector, net.gradient_norms(X, Y)])
        self.both(lambda net: [net.input_gradient(X, Y), net.gradient_gram(X, Y)])
        assert bits(self.net) == before

    @rule(
        how=st.sampled_from(["nan", "short", "shape", "option", "rate"]),
        seed=st.integers(0, 2**32),
    )
    def fail(self, how, seed):
        X, Y = self.examples(6, seed)
        arguments = {"epochs": 2, "optimizer": "adam"}
        if how == "nan":
            X[3, 0] = np.nan
        elif how == "short":
            Y = Y[:4]
        elif how == "shape":
            X = X[:, :, None]
        elif how == "option":
            arguments["dropout"] = 1.0
        else:
            arguments["learning_rate"] = -1.0
        AnyOrderOfCalls.calls += 1
        before = bits(self.net)
        with pytest.raises(ValueError, match="expected"):
            self.net.fit(X, Y, **arguments)
        assert bits(self.net) == before

    @rule(optimizer=st.sampled_from(FIRST_ORDER), seed=st.integers(0, 2**32))
    def diverge(self, optimizer, seed):
        """On a copy, which the largest rate may also leave with finite, huge parameters."""
        X, Y = self.examples(6, seed)
        net = self.net.copy()
        before = bits(net)
        AnyOrderOfCalls.calls += 1
        try:
            net.fit(
                X,
                Y,
                epochs=1,
                batch_size=1,
                optimizer=optimizer,
                learning_rate=float(np.finfo(net.dtype).max),
                l2=1.0,
            )
        except FloatingPointError:
            assert bits(net) == before
        else:
            assert np.isfinite(net.parameters).all()

    @rule(seed=st.integers(0, 2**32))
    def reset(self, seed):
        self.both(lambda net: net.reset(seed).parameters)

    @rule(seed=st.integers(0, 2**32))
    def assign(self, seed):
        vector = np.random.default_rng(seed).normal(size=self.net.n_parameters)
        self.both(lambda net: setattr(net, "parameters", vector))

    @rule(
        way=st.sampled_from(
            [
                lambda net: net.copy(),
                copy.deepcopy,
                lambda net: pickle.loads(pickle.dumps(net)),
            ]
        )
    )
    def leave_and_come_back(self, way):
        AnyOrderOfCalls.calls += 1
        twin = way(self.net)
        assert bits(twin) == bits(self.net)
        assert not np.shares_memory(twin.weights[0], self.net.weights[0])
        self.net = twin

    @rule(n=st.integers(1, 10), seed=st.integers(0, 2**32))
    def save_and_load(self, n, seed):
        AnyOrderOfCalls.calls += 1
        before = bits(self.net)
        self.net.save(self.path)
        assert bits(self.net) == before
        read = Network.load(self.path)
        X, _ = self.examples(n, seed)
        assert read.parameters.tobytes() == self.net.parameters.tobytes()
        assert read.predict(X).tobytes() == self.net.predict(X).tobytes()

    @rule(optimizer=st.sampled_from((*FIRST_ORDER, *WHOLE_BATCH)), seed=st.integers(0, 2**32))
    def stop_and_resume(self, optimizer, seed):
        """Two epochs, and one epoch, a checkpoint and another one."""
        if isinstance(optimizer, LevenbergMarquardt) and not self.least_squares:
            optimizer = LBFGS()
        AnyOrderOfCalls.calls += 1
        X, Y = self.examples(9, seed)
        arguments = {"batch_size": 4, "optimizer": optimizer}
        stopped = self.net.copy()
        try:
            self.net.fit(X, Y, epochs=2, **arguments)
        except FloatingPointError:
            return
        stopped.fit(X, Y, epochs=1, checkpoint=self.path, **arguments)
        resumed = Network(
            self.net.sizes, list(self.net.activations), self.net.cost_function, dtype=self.net.dtype
        )
        resumed.fit(X, Y, epochs=2, checkpoint=self.path, resume=True, **arguments)
        assert bits(resumed) == bits(self.net)

    @invariant()
    @precondition(lambda self: hasattr(self, "net"))
    def views_are_live_and_finite(self):
        vector = self.net.parameters
        assert np.isfinite(vector).all()
        first = self.net.weights[0][0, 0]
        assert vector[0] == first
        assert np.shares_memory(self.net.weights[0], self.net._model.storage)


def arrays(result):
    if isinstance(result, list):
        return result
    return [result] if isinstance(result, np.ndarray) else []


AnyOrderOfCalls.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestAnyOrderOfCalls = AnyOrderOfCalls.TestCase
