"""Paths through the network: their factors, and that they add up to the derivative."""

from __future__ import annotations

import math

import numpy as np
import pytest
from chains import every_pair, every_term, make_rule, network_784

from cbackprop import Network

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
