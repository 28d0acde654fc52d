"""The chain rule beyond the lesson's own numbers: every path, tables of nudges, formulas, texts.

What the factors are is settled in test_lesson.py and test_calculus.py; here is what is made of
them.
"""

from __future__ import annotations

import copy
import math
import pickle
import re

import numpy as np
import pytest

from cbackprop import Activation, Cost, Network
from cbackprop.functions import ACTIVATIONS, COSTS, can_serve

RNG = np.random.default_rng(7)
ULP = float(np.finfo(np.float64).eps)

SINE = Activation(np.sin, np.cos, name="sine")
QUARTIC = Cost(lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3, "quartic")


def pairs():
    """Every output activation with every cost that takes it, and functions of the user's."""
    for activation in (*ACTIVATIONS, SINE):
        for cost in (*COSTS, QUARTIC):
            if cost is QUARTIC or can_serve(activation, cost):
                yield pytest.param(activation, cost, id=f"{activation}-{cost}")


every_pair = pytest.mark.parametrize(("activation", "cost"), list(pairs()))


def make_rule(sizes, activation, cost, dtype="float64", seed=3):
    """A rule whose output takes the activation; hidden layers are tanh, and smooth."""
    activations = ["tanh"] * (len(sizes) - 2) + [activation]
    net = Network(sizes, activations, cost, dtype=dtype, seed=seed)
    rng = np.random.default_rng(seed)
    net.parameters = net.parameters + 0.3 * rng.standard_normal(net.n_parameters)
    x = rng.random(sizes[0])
    y = rng.random(sizes[-1])
    if activation == "softmax":
        y = y / y.sum()
    return net, net.chain_rule(x, y), x, y


def every_term(rule):
    """A weight and a bias of each layer, and an activation of each, the input and output too."""
    top = len(rule.sizes) - 1
    for l in range(1, top + 1):
        yield rule.weight(l, rule.sizes[l] - 1, 0)
        yield rule.bias(l, 0)
    for l in range(top + 1):
        yield rule.activation(l, rule.sizes[l] - 1)


def chain_1111():
    net = Network([1, 1, 1, 1])
    net.parameters = [1.5, -0.25, -2.0, 0.25, 1.75, 0.5]
    return net, [0.5], [1.0]


def network_784():
    net = Network([784, 16, 16, 10], seed=1)
    return net, np.random.default_rng(0).random(784), np.eye(10)[3]


# ---- factors and the gradient --------------------------------------------------------------------


@pytest.mark.parametrize("make", [chain_1111, network_784])
def test_factors_multiply_to_the_gradient_within_4_ulp(make):
    net, x, y = make()
    rule, gradient = net.chain_rule(x, y), net.gradient(x, y)
    for l in range(1, len(net.sizes)):
        n_in, n_out = net.sizes[l - 1], net.sizes[l]
        for j in range(n_out):
            term, found = rule.bias(l, j), gradient.biases[l - 1][j]
            product = term.dz_db * term.da_dz * term.dC_da
            assert abs(product - found) <= 4 * np.spacing(abs(found))
            for k in {0, n_in // 2, n_in - 1, int(np.argmax(x)) if l == 1 else 0}:
                term, found = rule.weight(l, j, k), gradient.weights[l - 1][j, k]
                product = term.dz_dw * term.da_dz * term.dC_da
                assert abs(product - found) <= 4 * np.spacing(abs(found))


# ---- every path ----------------------------------------------------------------------------------


@every_pair
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_path_adds_up_to_the_value(activation, cost, dtype):
    _, rule, _, _ = make_rule([3, 4, 2, 3], activation, cost, dtype)
    eps = float(np.finfo(dtype).eps)
    for term in every_term(rule):
        found = term.all_paths()
        count = math.prod(rule.sizes[term.layer + 1 :])
        assert len(found) == count
        assert len({path.neurons for path in found}) == count
        size = math.fsum(abs(path.value) for path in found)
        total = math.fsum(path.value for path in found)
        # Each value of the gradient is some six operations per layer, summed over 3 or 4 paths.
        assert abs(total - term.value) <= 16 * eps * max(size, abs(term.value))
        for path in found:
            assert len(path.neurons) == len(rule.sizes) - term.layer
            *factors, da_dz, dC_da = path.factors if len(path.factors) > 1 else (1.0, *path.factors)
            product = math.prod(factors) * np.dot(da_dz, dC_da)
            # ∂C/∂a is a difference of terms of about 1, rounded before it is multiplied.
            sizes = np.maximum(np.abs(dC_da), 1.0)
            spread = abs(math.prod(factors)) * np.dot(np.abs(da_dz), sizes)
            assert abs(product - path.value) <= 32 * eps * spread


def test_paths_have_the_factors_of_their_neurons():
    """One path by hand, in a network wide enough to mix indices up."""
    net, rule, _, _ = make_rule([3, 4, 2, 3], "sigmoid", "quadratic")
    back = rule.backward
    (path,) = [p for p in rule.weight(1, 2, 1).all_paths() if p.neurons == (2, 1, 0)]
    expected = (
        back.a[0][1],
        back.da_dz[1][2],
        net.weights[1][1, 2],
        back.da_dz[2][1],
        net.weights[2][0, 1],
        back.da_dz[3][0],
        back.dC_da[3][0],
    )
    assert path.factors == expected
    assert path.layer == 1
    assert str(path).startswith("neuron 2 of layer 1 → neuron 1 of layer 2 → neuron 0 of layer 3: ")
    (path,) = [p for p in rule.activation(0, 1).all_paths() if p.neurons == (1, 2, 1, 0)]
    assert path.factors == (net.weights[0][2, 1], *expected[1:])
    assert [p.neurons for p in rule.bias(3, 2).all_paths()] == [(2,)]
    assert rule.bias(3, 2).all_paths()[0].factors == (1.0, back.da_dz[3][2], back.dC_da[3][2])
    assert rule.activation(3, 2).all_paths()[0].factors == (back.dC_da[3][2],)


def test_one_layer_of_paths_groups_all_of_them():
    """What goes through neuron j of the next layer is the sum of the full paths through it."""
    net, x, y = network_784()
    term = net.chain_rule(x, y).activation(1, 5)
    full = term.all_paths()
    assert len(full) == 160
    for path in term.paths:
        through = [p.value for p in full if p.neurons[1] == path.j]
        assert math.fsum(through) == pytest.approx(path.value, rel=1e-12)


def test_paths_beyond_the_limit_are_counted_and_not_listed():
    net = Network([2, 300, 300, 5], seed=0)
    term = net.chain_rule([1, 2], np.zeros(5)).activation(0, 0)
    with pytest.raises(ValueError, match=r"limit is 10000; expected at least 450000, the number"):
        term.all_paths()
    with pytest.raises(ValueError, match=r"limit is 1499; expected at least 1500"):
        net.chain_rule([1, 2], np.zeros(5)).weight(1, 0, 0).all_paths(1499)
    assert len(net.chain_rule([1, 2], np.zeros(5)).weight(1, 0, 0).all_paths(1500)) == 1500
    for value, error in ((0, ValueError), (1.5, TypeError), (True, TypeError), ("1", TypeError)):
        with pytest.raises(error, match="limit is"):
            term.all_paths(value)


def test_paths_of_hundreds_of_layers_are_too_many_to_print():
    """10^400: no float, and more digits than a message should have."""
    net = Network([1] + [10] * 400, seed=0)
    term = net.chain_rule([1], np.zeros(10)).activation(0, 0)
    with pytest.raises(ValueError, match=r"limit is 10000; expected at least 10+\.\.\., the num"):
        term.all_paths()


# ---- nudges --------------------------------------------------------------------------------------

SMOOTH = [
    p
    for p in pairs()
    # Kinks within the nudge, and costs whose second derivative is 0, have no first order.
    if p.values[0] not in ("relu", "leaky_relu", "elu", "selu") and p.values[1] != "mae"
]


@pytest.mark.parametrize(("activation", "cost"), SMOOTH)
@pytest.mark.parametrize("sizes", [[2, 3], [3, 4, 2, 3]])
def test_nudges_converge_at_first_order(activation, cost, sizes):
    """(C(w + h) − C(w))/h − ∂C/∂w = h C″/2 + O(h²): divided by h it settles, as far as rounding
    lets one see."""
    _, rule, _, _ = make_rule(sizes, activation, cost)
    for term in every_term(rule):
        table = term.nudges([1e-3, 1e-4, 1e-5])
        slopes = [error / nudge.size for error, nudge in zip(table.errors, table, strict=True)]
        # C carries some ulp of its own size, and of the terms it may cancel from.
        size = 64 * ULP * max(1.0, abs(rule.cost))
        rounding = [size / nudge.size**2 for nudge in table]
        # The third derivative's share of h C″/2; those of a, y and w of about 1 are below 100.
        assert abs(slopes[1] - slopes[0]) <= 1e-3 * 100 + rounding[1]
        assert abs(slopes[2] - slopes[1]) <= 1e-4 * 100 + rounding[2]
        errors = np.abs(table.errors)
        if errors[1] > 100 * size / table[1].size and errors[1] > 1e-4 * table[1].size:
            assert 5 < errors[0] / errors[1] < 20
        assert errors[2] <= 1e-2 * max(1.0, abs(term.value))


@every_pair
def test_nudges_of_the_output_go_by_its_cost_alone(activation, cost):
    """C(a + h, y) from the cost's own formula: no z belongs to that a."""
    _, rule, _, _ = make_rule([2, 3], activation, cost)
    for k in range(3):
        term = rule.activation(1, k)
        nudge = term.nudge(1e-6)
        # Away from kinks C″ of every cost here is below 1000.
        assert abs(nudge.ratio - term.value) <= 1e-6 * 1000 + 1e-9


def test_nudge_table_reads_as_one():
    net, x, y = chain_1111()
    term = net.chain_rule(x, y).weight(3, 0, 0)
    table = term.nudges()
    assert [nudge.size for nudge in table] == [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    assert table.derivative == term.value
    assert table.errors == tuple(nudge.ratio - term.value for nudge in table)
    lines = str(table).split("\n")
    assert lines[0] == "nudges of w[0, 0] of layer 3, ∂C/∂ of it = -0.029496643"
    assert lines[1].split() == "nudge h measured change change / h error error / h".split()
    # The lesson's nudge of 0.01, as test_lesson.py has it from 60 digits.
    assert lines[3].split()[:3] == ["0.01", "-0.00029449821", "-0.029449821"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert repr(table) == "<5 nudges of w[0, 0] of layer 3, derivative -0.029496643>"
    for twin in (copy.copy(table), pickle.loads(pickle.dumps(table))):
        assert str(twin) == str(table)


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        (0.1, TypeError, r"sizes is 0\.1 \(float\); expected a sequence of numbers"),
        ([], ValueError, "sizes is empty"),
        ([0.1, 0.0], ValueError, r"size is 0\.0"),
        ([None], TypeError, "size is None"),
    ],
)
def test_nudge_sizes_are_judged(sizes, error, message):
    net, x, y = chain_1111()
    with pytest.raises(error, match=message):
        net.chain_rule(x, y).weight(3, 0, 0).nudges(sizes)


def test_a_nudge_out_of_the_costs_domain_says_so():
    """Cross-entropy has no value for an output above 1."""
    net = Network([1, 1], "sigmoid", "cross_entropy", seed=0)
    term = net.chain_rule([1.0], [0.5]).activation(1, 0)
    with pytest.raises(FloatingPointError, match=r"size is 2\.0: the cost is not finite"):
        term.nudge(2.0)


# ---- LaTeX ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "cost"),
    [("sigmoid", "quadratic"), ("softmax", "cross_entropy"), (SINE, QUARTIC)],
)
def test_latex_compiles(activation, cost):
    """With matplotlib's parser, whose language is a part of MathJax's and KaTeX's."""
    mathtext = pytest.importorskip("matplotlib.mathtext")
    parser = mathtext.MathTextParser("path")
    _, rule, _, _ = make_rule([3, 9, 3], activation, cost)
    for term in every_term(rule):
        text = term.latex()
        assert text.count("{") == text.count("}")
        parser.parse(f"${text}$")


def latex_numbers(text):
    """The factors of the product between the last two equality signs, and the value."""
    product, value = re.split(" = ", text)[-2:]
    plain = [re.sub(r" \\times 10\^\{(-?\d+)\}", r"e\1", part) for part in (product, value)]
    factors = [float(part.strip("() ")) for part in plain[0].split(r" \cdot ")]
    return factors, float(plain[1])


def test_latex_has_the_numbers_of_the_term():
    net, x, y = network_784()
    rule = net.chain_rule(x, y)
    for term, first in ((rule.weight(2, 3, 5), "dz_dw"), (rule.bias(3, 1), "dz_db")):
        factors, value = latex_numbers(term.latex())
        expected = [getattr(term, first), term.da_dz, term.dC_da]
        assert factors == pytest.approx(expected, rel=1e-5)
        assert value == pytest.approx(term.value, rel=1e-5)
    text = rule.weight(2, 3, 5).latex()
    assert text.startswith(
        r"\frac{\partial C}{\partial w^{(2)}_{3,5}} = \frac{\partial z^{(2)}_{3}}"
    )


def test_latex_of_a_sum_over_paths():
    _, rule, _, _ = make_rule([2, 2, 3], "sigmoid", "quadratic")
    term = rule.activation(1, 1)
    symbols, numbers, value = term.latex().split(" = ")[1:]
    assert symbols.startswith(r"\sum_{j} w^{(2)}_{j,1} \, \frac{\partial a^{(2)}_{j}}{\partial")
    terms = [latex_numbers(f" = {part} = 0")[0] for part in numbers.split(" + ")]
    assert len(terms) == 3
    for factors, path in zip(terms, term.paths, strict=True):
        assert factors == pytest.approx([path.dz_da, path.da_dz, path.dC_da], rel=1e-5)
    assert float(value) == pytest.approx(term.value, rel=1e-5)
    wide = Network([2, 30, 3], seed=0).chain_rule([1, 2], np.zeros(3)).activation(0, 0).latex()
    assert wide.count(r"\cdots") == 1
    assert wide.split(" = ")[2].count(" + ") == 5


def test_latex_of_the_output_and_of_softmax():
    _, rule, _, _ = make_rule([2, 3], "softmax", "cross_entropy")
    assert r"\sum_{i} \frac{\partial a^{(1)}_{i}}{\partial z^{(1)}_{2}}" in rule.bias(1, 2).latex()
    factors, _ = latex_numbers(rule.weight(1, 2, 0).latex())
    assert factors == pytest.approx([rule.backward.a[0][0], rule.backward.delta[1][2]], rel=1e-5)
    assert re.fullmatch(
        r"\\frac\{\\partial C\}\{\\partial a\^\{\(1\)\}_\{1\}\} = -[\d.]+",
        rule.activation(1, 1).latex(),
    )


def test_latex_of_numbers_that_are_not_finite():
    net = Network([1, 1], "sigmoid", "cross_entropy")
    net.parameters = [800.0, 0.0]
    assert net.chain_rule([1.0], [0.0]).activation(1, 0).latex().endswith(r" = \infty")
    assert net.chain_rule([-1.0], [1.0]).activation(1, 0).latex().endswith(r" = -\infty")
    net.parameters = [1e-300, 1e300]
    with np.errstate(all="raise"):  # 1e-300 · 1e-300 vanishes where the strongest input is sought
        assert net.chain_rule([1e-300], [0.5]).bias(1, 0).latex()


# ---- text ----------------------------------------------------------------------------------------


def test_text_of_the_chain_rule():
    net, x, y = chain_1111()
    assert str(net.chain_rule(x, y)) == "\n".join(
        [
            "layer 0, input, 1 neurons",
            "  a = x   0.5",
            "  ∂C/∂a   0.0265683",
            "layer 1, sigmoid, 1 neurons",
            "  z       0.5",
            "  a       0.622459",
            "  ∂a/∂z   0.235004",
            "  ∂C/∂a   0.0753699",
            "  ∂C/∂z   0.0177122",
            "layer 2, sigmoid, 1 neurons",
            "  z      -0.994919",
            "  a       0.269942",
            "  ∂a/∂z   0.197073",
            "  ∂C/∂a  -0.191223",
            "  ∂C/∂z  -0.037685",
            "layer 3, sigmoid, 1 neurons",
            "  z       0.972398",
            "  a       0.725597",
            "  ∂a/∂z   0.199106",
            "  ∂C/∂a  -0.548806",
            "  ∂C/∂z  -0.10927",
            "cost quadratic",
            "  y   1",
            "  C   0.0752969033",
        ]
    )


def test_text_of_wide_layers_is_short():
    net, x, y = network_784()
    text = str(net.chain_rule(x, y))
    assert "… 779 more …" in text
    assert max(len(line) for line in text.split("\n")) < 100
    softmax = Network([2, 3], "softmax", "cross_entropy", seed=0)
    assert "∂a_j/∂z_j" in str(softmax.chain_rule([1, 2], [0, 1, 0]))


def test_the_rule_keeps_what_it_was_made_of():
    """A later training changes neither its weights nor its nudges."""
    net, rule, x, y = make_rule([3, 4, 2], "sigmoid", "quadratic")
    before = [W.copy() for W in rule.weights], rule.weight(1, 2, 1).nudge().measured
    net.fit([x], [y], epochs=3)
    for W, b, kept in zip(rule.weights, rule.biases, before[0], strict=True):
        np.testing.assert_array_equal(W, kept)
        assert not W.flags.writeable
        assert not b.flags.writeable
    assert rule.weight(1, 2, 1).nudge().measured == before[1]
    np.testing.assert_array_equal(rule.y, y)
    assert not rule.y.flags.writeable
