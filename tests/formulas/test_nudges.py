"""Tables of nudges: quotients that tend to the derivative."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from chains import QUARTIC, SINE, ULP, chain_1111, every_pair, every_term, make_rule
from support import pairs

from cbackprop import Network

# ---- nudges --------------------------------------------------------------------------------------

SMOOTH = [
    (activation, cost)
    for activation, cost in pairs([SINE], [QUARTIC])
    # Kinks within the nudge, and costs whose second derivative is 0, have no first order.
    if activation not in ("relu", "leaky_relu", "elu", "selu") and cost != "mae"
]


@pytest.mark.parametrize(("activation", "cost"), SMOOTH, ids=str)
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
    assert lines[0] == "nudges of w[0, 0] of layer 3, derivative -0.029496643"
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
