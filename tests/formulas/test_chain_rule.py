"""The chain rule beyond the lesson's own numbers: every path, tables of nudges, formulas, texts.

What the factors are is settled in test_lesson.py and test_calculus.py; here is what is made of
them.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from chains import QUARTIC, SINE, chain_1111, every_term, make_rule, network_784

from cbackprop import Network

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
