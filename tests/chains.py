"""Networks and chain rules that several test files look at."""

from __future__ import annotations

import numpy as np
import pytest
from support import pairs

from cbackprop import Activation, Cost, Network

ULP = float(np.finfo(np.float64).eps)

SINE = Activation(np.sin, np.cos, name="sine")
QUARTIC = Cost(lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3, "quartic")


every_pair = pytest.mark.parametrize(("activation", "cost"), pairs([SINE], [QUARTIC]), ids=str)


def make_rule(sizes, activation, cost, dtype="float64"):
    """A rule whose output takes the activation; hidden layers are tanh, and smooth."""
    activations = ["tanh"] * (len(sizes) - 2) + [activation]
    net = Network(sizes, activations, cost, dtype=dtype, seed=3)
    rng = np.random.default_rng(3)
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
