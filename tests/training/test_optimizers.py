"""Update rules: against textbook loops, and the compiled core against the reference with every
option, shape and number type; the same bits with any number of threads and at every SIMD level.

test_optimizers_against_torch.py has the trajectories of torch.optim.
"""

from __future__ import annotations

import functools
import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support
from hypothesis import given, settings
from hypothesis import strategies as st
from support import (
    BACKENDS,
    FMA_LEVELS,
    TESTS,
    both_dtypes,
    every_backend,
    needs_compiled,
    needs_two_fma_levels,
    output_at_level,
    state,
)

import cbackprop
from cbackprop import SGD, Activation, Adagrad, Adam, AdamW, Network, RMSprop, Rprop, optimizers
from cbackprop.random_numbers import RandomNumbers
from cbackprop.update_rules import StepOptions

RULES = {
    "sgd": SGD(0.3),
    "momentum": SGD(0.1, 0.9),
    "nesterov": SGD(0.1, 0.8, True),
    "adam": Adam(0.02, 0.85, 0.99, 1e-4),
    "adamw": AdamW(0.02, 0.9, 0.99, 1e-4, 0.3),
    "rmsprop": RMSprop(0.01, 0.95, 1e-4),
    "rmsprop momentum": RMSprop(0.004, 0.9, 1e-4, 0.8),
    "rmsprop centred": RMSprop(0.004, 0.9, 1e-2, 0.0, True),
    "rmsprop centred momentum": RMSprop(0.002, 0.9, 1e-2, 0.7, True),
    "adagrad": Adagrad(0.05, 1e-4),
    "adagrad decay": Adagrad(0.2, 1e-2, 0.05),
    "rprop": Rprop(0.02, 0.4, 1.3, 1e-5, 0.3),
    "rprop minus": Rprop(0.02, 0.4, 1.3, 1e-5, 0.3, takes_back=False),
}
# Those that take a step for each batch.
UPDATE_RULES = {
    name: kind
    for name, kind in optimizers.OPTIMIZERS.items()
    if not issubclass(kind, optimizers.WholeBatch)
}
every_rule = pytest.mark.parametrize("rule", list(RULES))

OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "l1": {"l1": 0.002},
    "l2": {"l2": 0.05},
    "weights": {"weighted": True},
    "dropout": {"dropout": 0.3},
    "max_norm": {"max_norm": 0.9},
    "clipping": {"clip_norm": 0.2},
    "noise": {"clip_norm": 0.2, "noise_multiplier": 0.5},
    "private": {
        "l1": 0.002, "l2": 0.05, "dropout": 0.2, "max_norm": 0.9, "clip_norm": 0.3,
        "noise_multiplier": 0.4,
    },
    "everything": {
        "l1": 0.002, "l2": 0.05, "weighted": True, "dropout": 0.2, "max_norm": 0.9,
        "clip_norm": 0.3, "clip_gradient_norm": 0.1,
    },
}  # fmt: skip

_own = Activation(lambda z: z / (1 + np.abs(z)), lambda z: 1 / (1 + np.abs(z)) ** 2, "own")

# Sizes, activations, cost, examples, examples a batch, passes.
SHAPES: dict[str, tuple[Any, ...]] = {
    "one vector": ([3, 4, 2], "sigmoid", "quadratic", 20, 7, 3),
    "one unit": ([1, 1], "sigmoid", "quadratic", 5, 2, 3),
    "some vectors": ([17, 21, 19, 6], "tanh", "half_quadratic", 40, 16, 2),
    "one layer": ([9, 4], "softmax", "cross_entropy", 30, 10, 2),
    "softmax": ([6, 10, 5], ["gelu", "softmax"], "cross_entropy", 33, 11, 2),
    "own activation": ([4, 9, 3], [_own, "sigmoid"], "cross_entropy", 20, 7, 2),
    "wide": ([70, 530, 4], "tanh", "mse", 24, 12, 1),
    "several blocks": ([4, 6, 3], "sigmoid", "mse", 700, 600, 2),
    "chains of blocks": ([2, 3, 1], "sigmoid", "quadratic", 16500, 16450, 1),
}


def one_pass(net, X, Y, **arguments):
    """partial_fit with arguments as fit takes them."""
    options = {name: arguments.pop(name) for name in StepOptions._fields if name in arguments}
    return net.partial_fit(X, Y, **arguments, options=options or None)


def data(n, n_in, n_out, dtype, one_hot=False):
    X, Y = support.data(n, (n_in, n_out), seed=31)
    if one_hot:
        Y = (Y == Y.max(axis=1, keepdims=True)).astype(float)
    return X.astype(dtype), Y.astype(dtype)


def options_for(rule, option):
    """The option's values; without noise for the rule that compares costs, which have none."""
    values = dict(OPTIONS[option])
    if rule.startswith("rprop"):
        values.pop("noise_multiplier", None)
    return values


def options_of(shape):
    """Every option; the large shapes take their time, and have fewer."""
    if shape in ("wide", "chains of blocks"):
        return ("nothing", "weights", "private", "everything")
    return tuple(OPTIONS)


def trained(backend, dtype, shape, rule, option, threads=1, **changes):
    """A network after some passes; weights are drawn where the option asks for them."""
    sizes, activation, cost, n, batch_size, epochs = SHAPES[shape]
    options = options_for(rule, option)
    X, Y = data(n, sizes[0], sizes[-1], dtype, cost == "cross_entropy")
    if options.pop("weighted", False):
        options["sample_weight"] = np.where(np.arange(n) % 5 == 1, 0, 1 + np.arange(n) % 3 / 2)
    net = Network(sizes, activation, cost, dtype=dtype, seed=2, threads=threads, backend=backend)
    history = net.fit(
        X, Y, epochs=epochs, batch_size=batch_size, optimizer=RULES[rule], **{**options, **changes}
    )
    return net, history


# ---- against textbook loops ----------------------------------------------------------------------


def textbook(rule):
    """A function of (w, g, memory, t) that returns the next w, number by number as in a book."""
    o = RULES[rule]

    def step(w, g, memory, t):
        if isinstance(o, SGD):
            memory["v"] = o.momentum * memory.get("v", 0.0) + g
            along = g + o.momentum * memory["v"] if o.nesterov else memory["v"]
            return w - o.learning_rate * along
        if isinstance(o, Adam):
            if isinstance(o, AdamW):
                w = w - o.learning_rate * o.weight_decay * w
            memory["m"] = o.beta1 * memory.get("m", 0.0) + (1 - o.beta1) * g
            memory["v"] = o.beta2 * memory.get("v", 0.0) + (1 - o.beta2) * g * g
            m, v = memory["m"] / (1 - o.beta1**t), memory["v"] / (1 - o.beta2**t)
            return w - o.learning_rate * m / (math.sqrt(v) + o.epsilon)
        if isinstance(o, RMSprop):
            memory["v"] = o.alpha * memory.get("v", 0.0) + (1 - o.alpha) * g * g
            memory["m"] = o.alpha * memory.get("m", 0.0) + (1 - o.alpha) * g
            spread = memory["v"] - memory["m"] ** 2 if o.centred else memory["v"]
            memory["u"] = o.momentum * memory.get("u", 0.0) + g / (math.sqrt(spread) + o.epsilon)
            return w - o.learning_rate * memory["u"]
        assert isinstance(o, Adagrad), f"no textbook for {o}"
        memory["s"] = memory.get("s", 0.0) + g * g
        rate = o.learning_rate / (1 + (t - 1) * o.learning_rate_decay)
        return w - rate * g / (math.sqrt(memory["s"]) + o.epsilon)

    return step


@every_backend
@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.startswith("rprop")])
def test_rules_are_the_textbooks(rule, backend):
    X, Y = data(10, 4, 2, "float64")
    net = Network([4, 5, 2], seed=6, backend=backend)
    other = net.copy()
    step = textbook(rule)
    memories: list[dict[str, float]] = [{} for _ in range(net.n_parameters)]
    for t in range(1, 31):
        g = other.gradient(X, Y).vector
        other.parameters = [
            step(*numbers, t)
            for numbers in zip(other.parameters.tolist(), g.tolist(), memories, strict=True)
        ]
        one_pass(net, X, Y, optimizer=RULES[rule])
        np.testing.assert_allclose(net.parameters, other.parameters, rtol=1e-11, atol=1e-12)


@every_backend
@both_dtypes
@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.startswith("rprop")])
def test_the_first_step_in_both_number_types(rule, dtype, backend):
    """A step of each rule from gradients between 1e-12 and 1e6."""
    g = np.geomspace(1e-12, 1e6, 37).astype(dtype) * np.where(np.arange(37) % 2, -1, 1)
    net = Network([37, 1], "identity", "half_quadratic", dtype=dtype, init="zeros", backend=backend)
    net.biases[0][...] = 1
    # The output is 1, the target 0: the gradient is x itself, and 1 for the bias.
    one_pass(net, g[np.newaxis], [[0.0]], optimizer=RULES[rule])
    step = textbook(rule)
    expected = [step(0.0, float(g_k), {}, 1) for g_k in g]
    rtol = 1e-12 if dtype == "float64" else 3e-6
    np.testing.assert_allclose(net.weights[0][0], expected, rtol=rtol)
    np.testing.assert_allclose(net.biases[0][0], step(1.0, 1.0, {}, 1), rtol=rtol)


def test_centred_rmsprop_counts_a_spread_below_0_as_0():
    """With the same gradient throughout v − m² comes to nothing, from either side."""
    for backend in BACKENDS:
        for dtype in ("float32", "float64"):
            net = Network(
                [1, 1], "identity", "mae", dtype=dtype, init="zeros", backend=backend, seed=0
            )
            optimizer = RMSprop(1e-9, 0.5, 1e-3, centred=True)
            for _ in range(60):
                one_pass(net, [[0.7]], [[5.0]], optimizer=optimizer)
            # 60 steps at most 1e-9·0.7/1e-3 long, all of them upwards.
            assert 0 < net.weights[0][0, 0] <= 60 * 0.7e-6 * 1.001


# ---- iRprop+ -------------------------------------------------------------------------------------


class RpropPlus:
    """The pseudo-code of Igel & Hüsken 2003, algorithm iRprop⁺, parameter by parameter."""

    def __init__(self, optimizer, count):
        self.o = optimizer
        self.size = [optimizer.learning_rate] * count
        self.previous_g = [0.0] * count
        self.change = [0.0] * count
        self.previous_cost = math.inf
        self.taken_back = self.left = 0

    def step(self, parameters, gradient, cost):
        result = []
        for i, (w, g) in enumerate(zip(parameters, gradient, strict=True)):
            sign = (g > 0) - (g < 0)
            if self.previous_g[i] * g > 0:
                self.size[i] = min(self.size[i] * self.o.grow, self.o.most)
                self.change[i] = -sign * self.size[i]
                w += self.change[i]
            elif self.previous_g[i] * g < 0:
                self.size[i] = max(self.size[i] * self.o.shrink, self.o.least)
                if cost > self.previous_cost and self.o.takes_back:
                    w -= self.change[i]
                    self.taken_back += 1
                else:
                    self.left += 1
                g = 0.0
            else:
                self.change[i] = -sign * self.size[i]
                w += self.change[i]
            self.previous_g[i] = g
            result.append(w)
        self.previous_cost = cost
        return result


@every_backend
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [
        Rprop(0.02),
        Rprop(0.8),
        Rprop(0.8, takes_back=False),
        Rprop(0.5, 0.3, 1.5, 0.2, 0.9),
    ],
    ids=str,
)
def test_rprop_is_that_of_igel_and_huesken(optimizer, weighted, backend):
    """Steps of 0.8 are too long: the cost grows, and steps are taken back."""
    X, Y = data(12, 3, 2, "float64")
    weight = np.linspace(0, 2, 12) if weighted else None
    net = Network([3, 6, 2], "tanh", seed=4, backend=backend)
    other = net.copy()
    book = RpropPlus(optimizer, net.n_parameters)
    costs = []
    for _ in range(60):
        gradient = other.gradient(X, Y, sample_weight=weight)
        costs.append(gradient.cost)
        other.parameters = book.step(
            other.parameters.tolist(), gradient.vector.tolist(), gradient.cost
        )
        one_pass(net, X, Y, optimizer=optimizer, sample_weight=weight)
        np.testing.assert_allclose(net.parameters, other.parameters, rtol=0, atol=1e-11)
    assert book.left > 0
    if optimizer.learning_rate > 0.1:
        assert max(np.diff(costs)) > 0
        assert (book.taken_back > 0) == optimizer.takes_back
    assert costs[-1] < costs[0]


@every_backend
def test_one_parameter_steps_back_by_hand(backend):
    """w² from w = 1 with first steps of 1.5: −0.5 is better, so there is no way back; from 0.4 it
    is worse, and the step is taken back."""
    for start, expected in ((1.0, [-0.5, -0.5, 0.25]), (0.4, [-1.1, 0.4, -0.35])):
        net = Network([1, 1], "identity", init="zeros", backend=backend)
        net.biases[0][...] = start
        for value in expected:
            # x = 0: the weight has no gradient, and the cost is the bias squared.
            one_pass(net, [[0.0]], [[0.0]], optimizer=Rprop(1.5))
            assert net.biases[0][0] == pytest.approx(value, rel=1e-14)
        assert net.weights[0][0, 0] == 0


@every_backend
@both_dtypes
def test_rprop_reads_signs_where_products_vanish(dtype, backend):
    """Gradients of 1e-30 (float32) and 1e-200: their product is 0, their signs are not."""
    tiny = 1e-30 if dtype == "float32" else 1e-200
    net = Network([1, 1], "identity", "mae", init="zeros", dtype=dtype, backend=backend)
    for _ in range(3):
        one_pass(net, [[tiny]], [[1.0]], optimizer=Rprop(0.01, grow=2.0))
    assert net.weights[0][0, 0] == pytest.approx(0.01 + 0.02 + 0.04, rel=1e-6)


@every_backend
def test_a_step_size_that_float32_has_no_number_for_is_refused(backend):
    net = Network([2, 2], dtype="float32", backend=backend, seed=0)
    before = state(net)
    for call in (net.fit, net.partial_fit):
        with pytest.raises(ValueError, match=r"^least is 1e-60, which is 0 in float32; expected"):
            call([[1.0, 2.0]], [[0.0, 1.0]], optimizer=Rprop(least=1e-60))
    assert state(net) == before
    Network([2, 2], backend=backend).fit([[1.0, 2.0]], [[0.0, 1.0]], optimizer=Rprop(least=1e-60))


# ---- the optimisers as objects -------------------------------------------------------------------


def test_every_kind_is_among_the_rules():
    assert {type(rule) for rule in RULES.values()} == set(UPDATE_RULES.values())


def test_optimisers_show_compare_and_keep_their_numbers():
    for optimizer in RULES.values():
        again = eval(repr(optimizer), vars(cbackprop))
        assert again == optimizer
        assert repr(again) == repr(optimizer)
        for name in vars(optimizer):
            with pytest.raises(AttributeError, match=rf"^{name} cannot be assigned"):
                setattr(optimizer, name, 0.5)
    for one, other in itertools.combinations(RULES.values(), 2):
        assert one != other


@every_backend
@pytest.mark.parametrize("name", UPDATE_RULES)
def test_a_name_is_the_object_with_its_own_numbers(name, backend):
    X, Y = data(12, 3, 2, "float64")
    kind = UPDATE_RULES[name]
    assert kind.__name__.lower() == name
    states = []
    for optimizer in (name, kind()):
        for rate in (None, 0.03):
            net = Network([3, 4, 2], seed=0, backend=backend)
            net.fit(X, Y, epochs=2, batch_size=5, optimizer=optimizer, learning_rate=rate)
            states.append(state(net))
    net = Network([3, 4, 2], seed=0, backend=backend)
    net.fit(X, Y, epochs=2, batch_size=5, optimizer=kind(learning_rate=0.03))
    assert states[:2] == states[2:]
    assert states[1] == state(net)
    assert states[0] != states[1]


@every_backend
def test_adam_takes_the_right_step_however_late_it_is(backend):
    """From m = v = 0, so that the step is that of its two powers: against exact fractions."""
    beta1, beta2, epsilon = (Fraction(x) for x in (0.9, 0.999, 1e-3))
    m, v = 1 - beta1, 1 - beta2
    for t in (*range(1, 40), 255, 256, 257, 999, 4096, 54_321):
        net = Network([1, 1], "identity", "half_quadratic", dtype="float64", backend=backend)
        X, Y = np.ones((1, 1)), -np.ones((1, 1))
        net.partial_fit(X, Y, optimizer=Adam(1.0, 0.9, 0.999, 1e-3))  # makes the slots
        engine = net._model.engine
        for array in (*net.weights, *net.biases, *engine.slots):
            array[...] = 0
        engine.step_count = t - 1
        net.partial_fit(X, Y)
        # 200 bits for the square roots.
        root_v, root = (Fraction(math.isqrt(int(x * 4**200)), 2**200) for x in (v, 1 - beta2**t))
        step = m / (1 - beta1**t) / (root_v / root + epsilon)
        error = abs(Fraction(float(-net.weights[0][0, 0])) / step - 1)
        # 1 - beta^t itself has lost digits while it is small.
        assert error < 2.0**-52 * (8 + 4 / (1 - 0.999**t)), t


@every_backend
def test_partial_fit_goes_on_with_the_state_or_starts_afresh(backend):
    """Another number of the rule starts it afresh; another learning rate does not."""
    X, Y = data(12, 3, 2, "float64")
    for rule, optimizer in RULES.items():
        changed = Rprop(0.02, 0.3) if rule.startswith("rprop") else None
        net = Network([3, 4, 2], seed=0, backend=backend)
        for _ in range(2):
            one_pass(net, X, Y, optimizer=optimizer)
        assert net._engine.step_count == 2
        one_pass(net, X, Y, learning_rate=0.01)
        one_pass(net, X, Y, optimizer=optimizer)
        assert net._engine.step_count == 4
        assert net._engine.learning_rate == optimizer.learning_rate
        one_pass(net, X, Y, optimizer=changed or Adam(0.1))
        assert net._engine.step_count == 1


# ---- the compiled core against the reference -----------------------------------------------------


def difference(rule, dtype):
    """How far apart rounding may take two ways of the same steps: the rules that divide by the
    gradient's size enlarge it where that is small."""
    if dtype == "float64":
        return 1e-11
    return 2e-6 if rule in ("sgd", "momentum", "nesterov") else 2e-4


@needs_compiled
@every_rule
@pytest.mark.parametrize("shape", list(SHAPES))
def test_compiled_steps_are_those_of_the_reference(shape, rule):
    for option, dtype in itertools.product(options_of(shape), ("float64", "float32")):
        (net, history), (other, expected) = (
            trained(backend, dtype, shape, rule, option) for backend in ("compiled", "reference")
        )
        limit = difference(rule, dtype)
        message = f"{option}, {dtype}"
        np.testing.assert_allclose(
            net.parameters, other.parameters, rtol=0, atol=limit, err_msg=message
        )
        np.testing.assert_allclose(history.cost, expected.cost, rtol=10 * limit, err_msg=message)
        assert history.penalty == pytest.approx(expected.penalty, rel=10 * limit)
        assert net._engine.step_count == other._engine.step_count
        assert net._engine.previous_cost == pytest.approx(other._engine.previous_cost, rel=1e-3)
        assert net._model.random.state == other._model.random.state


@st.composite
def fits(draw):
    """A network, its data and what fit is asked for."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=2, max_size=4))
    hidden = draw(st.sampled_from(["sigmoid", "tanh", "gelu", "softplus", "relu"]))
    output, cost = draw(
        st.sampled_from(
            [("sigmoid", "quadratic"), ("softmax", "cross_entropy"), ("identity", "huber")]
        )
    )
    if output == "softmax":
        sizes[-1] = max(sizes[-1], 2)
    amount = st.one_of(st.just(0.0), st.floats(1e-3, 0.5))
    limit = st.one_of(st.none(), st.floats(0.1, 2))
    options = {
        "l1": draw(amount),
        "l2": draw(amount),
        "dropout": draw(amount),
        "max_norm": draw(limit),
        "clip_norm": draw(limit),
    }
    if options["clip_norm"] is not None:
        options["noise_multiplier"] = draw(amount)
    if not options.get("noise_multiplier"):
        options["clip_gradient_norm"] = draw(limit)
        if cost == "cross_entropy" and draw(st.booleans()):  # which has classes here
            options["class_weight"] = "balanced"
    if len(sizes) > 2:
        options["frozen"] = draw(st.lists(st.integers(1, len(sizes) - 1), max_size=1))
    n = draw(st.integers(1, 600))
    options["shuffle"] = draw(st.booleans())
    options["batch_size"] = draw(st.one_of(st.integers(max(1, n // 8), n), st.just(n)))
    return sizes, [hidden] * (len(sizes) - 2) + [output], cost, n, options


@needs_compiled
@settings(deadline=None, max_examples=60)
@given(fit=fits(), rule=st.sampled_from(list(RULES)))
def test_any_fit_is_that_of_the_reference(fit, rule):
    sizes, activations, cost, n, options = fit
    if rule.startswith("rprop"):
        options.pop("noise_multiplier", None)
    X, Y = data(n, sizes[0], sizes[-1], "float64", cost == "cross_entropy")
    nets = [Network(sizes, activations, cost, seed=9, backend=b) for b in BACKENDS]
    costs = [net.fit(X, Y, epochs=2, optimizer=RULES[rule], **options).cost for net in nets]
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=0, atol=1e-9)
    np.testing.assert_allclose(costs[0], costs[1], rtol=1e-9)


@needs_compiled
@pytest.mark.parametrize(
    ("rule", "option"),
    [("sgd", "everything"), ("momentum", "max_norm"), ("adam", "weights"), ("rprop", "l2")],
)
def test_a_step_too_long_to_take_unlooked_at_is_that_of_short_ones(rule, option):
    """A layer of 14 million weights and 300 rows: Ctrl-C is looked for between its pieces. The
    layer's first columns, alone, are a small network whose steps need no looks."""
    options = dict(OPTIONS[option])
    for norm in ("clip_norm", "clip_gradient_norm"):
        options.pop(norm, None)  # which has all columns in it
    random = RandomNumbers(3)
    n, width, narrow = 300, 3600, 16
    X = np.tile(random.uniform(n * 40).reshape(n, 40), 100).astype("float32") / 100
    Y = np.tile(random.uniform(n * narrow).reshape(n, narrow), width // narrow).astype("float32")
    if options.pop("weighted", False):
        options["sample_weight"] = np.arange(n) % 3
    nets = []
    for outputs in (width, narrow):
        net = Network([4000, outputs], "identity", dtype="float32", init="zeros", seed=0)
        net.weights[0][...] = np.linspace(-0.05, 0.05, 4000, dtype="float32")
        one_pass(net, X, Y[:, :outputs], batch_size=n, optimizer=RULES[rule], **options)
        nets.append(net)
    large, small = nets
    assert large.weights[0][:narrow].tobytes() == small.weights[0].tobytes()
    assert large.biases[0][:narrow].tobytes() == small.biases[0].tobytes()
    assert large.biases[0].all()


# ---- the same bits -------------------------------------------------------------------------------


@needs_compiled
@both_dtypes
@every_rule
def test_same_bits_with_any_number_of_threads(rule, dtype):
    """A layer of which threads take columns each: 120 x 1030."""
    X, Y = data(70, 120, 40, dtype)
    weight = np.arange(70) % 4
    for option in ("nothing", "l2", "max_norm", "private", "everything"):
        options = options_for(rule, option)
        if options.pop("weighted", False):
            options["sample_weight"] = weight
        states = set()
        for threads in (1, 2, 3):
            net = Network([120, 1030, 40], dtype=dtype, seed=2, threads=threads)
            net.fit(X, Y, epochs=1, batch_size=64, optimizer=RULES[rule], **options)
            states.add(state(net))
        assert len(states) == 1, option


LEVELS = """
import hashlib, sys
sys.path[:0] = sys.argv[2:]
from test_optimizers import OPTIONS, RULES, SHAPES, options_of, state, trained
import cbackprop

assert cbackprop.info()["simd_level"] == sys.argv[1], cbackprop.info()
for shape in SHAPES:
    if shape == "chains of blocks":
        continue
    for rule in RULES:
        for option in options_of(shape):
            for dtype in ("float32", "float64"):
                net, history = trained("compiled", dtype, shape, rule, option)
                # Slots have other padding at other levels, parameters have none.
                text = repr((net.parameters.tobytes(), history.cost, history.penalty))
                print(shape, rule, option, dtype, hashlib.sha256(text.encode()).hexdigest())
"""


@functools.cache
def at_level(level):
    """What the trainings at a SIMD level leave, from a process of its own."""
    folder = str(Path(__file__).parent)
    lines = output_at_level(level, LEVELS, folder, str(TESTS)).splitlines()
    combinations = sum(len(options_of(shape)) for shape in SHAPES if shape != "chains of blocks")
    assert len(lines) == combinations * len(RULES) * 2
    return lines


@needs_two_fma_levels
def test_same_bits_at_every_simd_level_with_fma():
    best, *others = FMA_LEVELS
    for level in others:
        assert at_level(level) == at_level(best), level


@every_backend
@both_dtypes
@every_rule
def test_partial_fit_is_one_pass_of_fit(rule, dtype, backend):
    """Bit for bit, with every option: also the words that dropout and noise draw."""
    for shape, option in itertools.product(("one vector", "some vectors"), OPTIONS):
        net, _ = trained(backend, dtype, shape, rule, option, shuffle=False)
        sizes, activation, cost, n, batch_size, epochs = SHAPES[shape]
        options = options_for(rule, option)
        X, Y = data(n, sizes[0], sizes[-1], dtype)
        if options.pop("weighted", False):
            options["sample_weight"] = np.where(np.arange(n) % 5 == 1, 0, 1 + np.arange(n) % 3 / 2)
        passes = Network(sizes, activation, cost, dtype=dtype, seed=2, backend=backend)
        for _ in range(epochs):
            one_pass(passes, X, Y, batch_size=batch_size, optimizer=RULES[rule], **options)
        assert state(passes) == state(net), (shape, option)


@every_backend
@both_dtypes
@every_rule
def test_partial_fit_batch_by_batch_is_one_pass_of_fit(rule, dtype, backend):
    """To the last bit of Rprop's last cost, which must be the batch's own."""
    for shape, options in itertools.product(
        ("one vector", "some vectors", "several blocks"), ({}, {"l2": 0.1, "max_norm": 0.9})
    ):
        sizes, activation, cost, n, batch_size, _ = SHAPES[shape]
        X, Y = data(n, sizes[0], sizes[-1], dtype)
        net, pieces = (
            Network(sizes, activation, cost, dtype=dtype, seed=2, backend=backend) for _ in range(2)
        )
        net.fit(
            X, Y, epochs=3, batch_size=batch_size, optimizer=RULES[rule], shuffle=False, **options
        )
        for _, start in itertools.product(range(3), range(0, n, batch_size)):
            rows = slice(start, start + batch_size)
            one_pass(
                pieces, X[rows], Y[rows], batch_size=batch_size, optimizer=RULES[rule], **options
            )
        assert state(pieces) == state(net), (shape, options)


@every_backend
@both_dtypes
@every_rule
def test_an_imposed_order_is_that_of_permuted_rows(rule, dtype, backend):
    """Masks and noise go by the place in the pass, not by the row."""
    order = np.random.default_rng(8).permutation(40)
    sizes, activation, cost, n, batch_size, epochs = SHAPES["some vectors"]
    X, Y = data(n, sizes[0], sizes[-1], dtype)
    for option in OPTIONS:
        values = options_for(rule, option)
        options = {name: value for name, value in values.items() if name != "weighted"}
        weight = np.arange(n) % 4 if "weighted" in values else None
        states = []
        for permuted in (False, True):
            net = Network(sizes, activation, cost, dtype=dtype, seed=2, backend=backend)
            rows = order if permuted else np.arange(n)
            net.fit(
                X[rows], Y[rows], epochs=epochs, batch_size=batch_size, optimizer=RULES[rule],
                shuffle=False if permuted else order,
                sample_weight=None if weight is None else weight[rows], **options,
            )  # fmt: skip
            states.append(state(net))
        assert states[0] == states[1], option


@needs_compiled
@both_dtypes
@every_rule
@pytest.mark.parametrize("sizes", [[3, 4, 2], [6, 21, 3]])
def test_the_quick_way_of_partial_fit_is_the_slow_one(sizes, rule, dtype):
    """Plain arrays without options take it, also after a pass that had some."""
    X, Y = data(5, sizes[0], sizes[-1], dtype)
    quick, slow = (Network(sizes, dtype=dtype, seed=1) for _ in range(2))
    for net in (quick, slow):
        one_pass(net, X, Y, optimizer=RULES[rule], dropout=0.5, l2=0.1, max_norm=2.0)
    for _ in range(4):
        one_pass(quick, X, Y)
        one_pass(slow, X.tolist(), Y.tolist())
        one_pass(quick, X[1], Y[1])
        one_pass(slow, X[1].tolist(), Y[1].tolist())
    assert state(quick) == state(slow)


@every_backend
@every_rule
def test_a_copy_goes_on_alike(rule, backend):
    """Slots, step count, the last cost and the generator come along."""
    for option in OPTIONS:
        net, _ = trained(backend, "float64", "one vector", rule, option)
        twin = net.copy()
        assert state(twin) == state(net)
        X, Y = data(20, 3, 2, "float64")
        options = {k: v for k, v in options_for(rule, option).items() if k != "weighted"}
        for network in (net, twin):
            one_pass(network, X, Y, batch_size=7, **options)
        assert state(twin) == state(net)
