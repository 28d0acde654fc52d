"""The chain rule beyond the lesson's own numbers: every path, tables of nudges, formulas, texts.

What the factors are is settled in test_lesson.py and test_calculus.py; here is what is made of
them.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from chains import QUARTIC, SINE, chain_1111, every_pair, every_term, make_rule, network_784

from cbackprop import Network
from cbackprop.drawing import PICTURES

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


# ---- saturated outputs: an infinite factor, and a product that is right --------------------------

# Activation and cost of three outputs, their z, the target, and ∂C/∂z as the exponent tends to 0.
SATURATED = [
    ("sigmoid", "cross_entropy", [800, -800, 0], [0, 1, 0.5], [1, -1, 0]),
    ("softmax", "cross_entropy", [800, 0, -800], [0, 0.25, 0.75], [1, -0.25, -0.75]),
    ("softmax", "cross_entropy", [-800, 800, 0], [0, 1, 0], [0, 0, 0]),
    ("softmax", "poisson", [800, 0, -800], [0, 0.25, 0.75], [1 / 3, -0.25 / 3, -0.25]),
    ("sigmoid", "poisson", [-800, 800, -800], [3, 1, 0], [-1, 0, 0]),
    ("softplus", "poisson", [-800, 1, -800], [3, 0, 6], [-1, 1 / (1 + math.exp(-1)) / 3, -2]),
    ("exponential", "poisson", [-800, 1, -800], [3, 0, 6], [-1, math.e / 3, -2]),
]


def saturated_rule(activation, cost, z, y, dtype="float64"):
    net = Network([1, 3], activation, cost, dtype=dtype)
    net.weights[0][:, 0] = z
    net.biases[0][...] = 0
    return net.chain_rule([1.0], y)


def every_text(rule):
    """Whatever prints, exports or draws a factor of the last layer."""
    yield str(rule)
    yield rule._repr_html_()
    top = len(rule.sizes) - 1
    terms = [rule.activation(l, 0) for l in (top - 1, top)]
    terms += [
        term for j in range(rule.sizes[top]) for term in (rule.weight(top, j, 0), rule.bias(top, j))
    ]
    for term in terms:
        yield str(term)
        yield repr(term)
        yield term.latex()
        for path in (*getattr(term, "paths", ()), *term.all_paths()):
            yield str(path)
    for term in terms[:3]:
        for kind in ("tree", "chain", "indices", "summary"):
            yield term.svg(kind)


def assert_no_text_says_nan(rule):
    for text in every_text(rule):
        assert not re.search(r"\bnan\b|not a number", text), text


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("activation", "cost", "z", "y", "delta"), SATURATED)
def test_saturated_factors_have_the_product_of_before_rounding(
    activation, cost, z, y, delta, dtype
):
    rule = saturated_rule(activation, cost, z, y, dtype)
    with np.errstate(all="raise"):
        for j in range(3):
            weight, bias = rule.weight(1, j, 0), rule.bias(1, j)
            for term in (weight, bias):
                assert term.dC_dz == term.value == pytest.approx(delta[j], rel=1e-6, abs=1e-30)
            if activation == "softmax":
                terms = rule.softmax_terms(j)
                assert terms.sum() == pytest.approx(delta[j], rel=1e-6, abs=1e-30)
        (path, *_) = rule.activation(0, 0).paths
        assert (path.dC_dz, path.value) == (rule.bias(1, 0).value, path.dz_da * path.dC_dz)
        assert_no_text_says_nan(rule)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_product_that_vanishes_raises_nothing(dtype):
    net = Network([1, 1], "sigmoid", "half_quadratic", dtype=dtype)
    net.parameters = [{"float64": -740.0, "float32": -100.0}[dtype], 0.0]
    smallest = float(np.finfo(dtype).smallest_subnormal)
    with np.errstate(all="raise"):
        rule = net.chain_rule([1.0], [1.0])
        net.parameters = [1.0, -740.0 if dtype == "float64" else -100.0]
        tiny = net.chain_rule([smallest], [1.0]).weight(1, 0, 0)
        assert (tiny.dz_dw, tiny.value) == (smallest, 0.0)
        assert_no_text_says_nan(rule)


def test_each_softmax_term_of_an_output_that_has_vanished():
    """−y_i ([i = j] − a_j), where ∂a_i/∂z_j · ∂C/∂a_i is 0 · ∞."""
    rule = saturated_rule("softmax", "cross_entropy", [1000, 1000, -1000], [0.25, 0.25, 0.5])
    assert rule.backward.dC_da[1].tolist() == [-0.5, -0.5, -math.inf]
    assert rule.softmax_terms(0).tolist() == [-0.125, 0.125, 0.25]
    assert rule.softmax_terms(2).tolist() == [0.0, 0.0, -0.5]
    # ∂a_2/∂z_1 is subnormal in float32, and has lost its digits.
    rule = saturated_rule("softmax", "cross_entropy", [0, -10, -85], [0, 0, 1], "float32")
    assert rule.softmax_terms(1)[2] == float(rule.backward.a[1][1])


def test_text_of_an_infinite_factor():
    rule = saturated_rule("sigmoid", "cross_entropy", [800, -800, 0], [0, 1, 0.5])
    assert str(rule.weight(1, 1, 0)) == "\n".join(
        [
            "∂C/∂w[1, 0] of layer 1 = ∂z/∂w · ∂a/∂z · ∂C/∂a",
            "  ∂z/∂w = a[0] of layer 0     1",
            "  ∂a/∂z = σ′(z[1])            0",
            "  ∂C/∂a[1]                   -inf",
            "  ∂C/∂z[1], before rounding  -1",
            "  product                    -1",
        ]
    )
    assert "before rounding" not in str(rule.weight(1, 2, 0))
    paths = rule.activation(0, 0).paths
    assert str(paths[0]) == "through neuron 0: 800 · [0 · inf → 1] = 800"
    assert str(paths[2]) == "through neuron 2: 0 · 0.25 · 0 = 0"
    (path,) = rule.weight(1, 0, 0).all_paths()
    assert str(path) == "neuron 0 of layer 1: 1 · [0 · inf → 1] = 1"
    (path,) = rule.activation(1, 0).all_paths()
    assert str(path) == "neuron 0 of layer 1: inf"
    rule = saturated_rule("softmax", "cross_entropy", [800, 0, -800], [0, 0.25, 0.75])
    assert "\n  sum of their products, before rounding  -0.75\n" in str(rule.weight(1, 2, 0))


def test_latex_of_an_infinite_factor():
    rule = saturated_rule("sigmoid", "cross_entropy", [800, -800, 0], [0, 1, 0.5])
    assert rule.weight(1, 1, 0).latex() == (
        r"\frac{\partial C}{\partial w^{(1)}_{1,0}} = "
        r"\frac{\partial z^{(1)}_{1}}{\partial w^{(1)}_{1,0}} \, "
        r"\frac{\partial C}{\partial z^{(1)}_{1}} = 1 \cdot (-1) = -1"
    )
    assert (
        rule.activation(0, 0)
        .latex()
        .endswith(r" = 800 \cdot 1 + (-800) \cdot (-1) + 0 \cdot 0.25 \cdot 0 = 1600")
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@every_pair
def test_factors_of_steep_networks(activation, cost, dtype):
    """Neurons drawn from the middle to far beyond saturation: no text says nan."""
    rng = np.random.default_rng(11)
    drawn = 0
    for _ in range(2):
        net = Network([2, 2, 3], ["tanh", activation], cost, dtype=dtype, seed=0)
        net.parameters = rng.standard_normal(net.n_parameters) * 10 ** rng.uniform(-1, 3.2)
        y = rng.random(3) * (rng.random(3) < 0.7)
        y = y / y.sum() if activation == "softmax" and y.any() else y
        try:
            rule = net.chain_rule(rng.standard_normal(2), y)
        except FloatingPointError:  # an activation or a cost that overflows
            continue
        with np.errstate(all="raise"):
            assert_no_text_says_nan(rule)
        for j in range(3):
            term = rule.weight(2, j, 0)
            assert term.dC_dz == rule.backward.delta[2][j]
            if activation == "softmax":
                terms = rule.softmax_terms(j)
                eps = np.finfo(dtype).eps
                assert abs(terms.sum() - term.dC_dz) <= 16 * eps * np.abs(terms).sum() + 1e-30
        drawn += 1
    assert drawn >= 1


# ---- text ----------------------------------------------------------------------------------------


def test_no_zero_has_a_sign():
    """A product that vanishes may be -0; it is written as 0."""
    rule = Network([1, 1], init="zeros").chain_rule([0.0], [1.0])
    term = rule.weight(1, 0, 0)
    assert str(term.value) == "-0.0"
    below = rule.activation(0, 0)
    paths = [*below.paths, *term.all_paths(), *below.all_paths()]
    for shown in (rule, term, below, *paths, term.nudges(), term.nudge()):
        for text in (str(shown), repr(shown)):
            assert not re.search(r"-0(?![.\d])", text), text
    for shown in (term, below):
        texts = [shown.latex(), shown._repr_html_(), *map(shown.svg, PICTURES)]
        for text in texts:
            labels = re.sub(r"<style>.*?</style>", "", text)
            assert not re.search(r"[ >(]-0(?![.\d])", labels)
    assert repr(term.nudges([0.1])).startswith("<1 nudge of ")


def test_text_of_the_chain_rule():
    net, x, y = chain_1111()
    assert str(net.chain_rule(x, y)) == "\n".join(
        [
            "layer 0, input, 1 neuron",
            "  a = x   0.5",
            "  ∂C/∂a   0.0265683",
            "layer 1, sigmoid, 1 neuron",
            "  z       0.5",
            "  a       0.622459",
            "  ∂a/∂z   0.235004",
            "  ∂C/∂a   0.0753699",
            "  ∂C/∂z   0.0177122",
            "layer 2, sigmoid, 1 neuron",
            "  z      -0.994919",
            "  a       0.269942",
            "  ∂a/∂z   0.197073",
            "  ∂C/∂a  -0.191223",
            "  ∂C/∂z  -0.037685",
            "layer 3, sigmoid, 1 neuron",
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
