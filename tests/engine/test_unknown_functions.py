"""An id that no branch of the kernels knows makes NaN, never another function's numbers.

A new function has a name and an id before all of its branches stand. Here a known name is given
an id that has none.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from support import state

import cbackprop
from cbackprop import SGD, Adam, Network, backend

pytestmark = pytest.mark.skipif(
    cbackprop.info()["backend"] != "compiled", reason="the reference looks formulas up by name"
)

UNKNOWN = 99
# The first takes the path of tiny networks, the second that of all others.
SIZES = [(2, 3, 2), (40, 50, 2)]
X = np.random.default_rng(0).uniform(0, 1, (5, 40))
Y = np.random.default_rng(1).uniform(0, 1, (5, 2))


@pytest.fixture(params=["float32", "float64"])
def kernels(request: pytest.FixtureRequest) -> ModuleType:
    return backend.kernels(request.param)


def network(kernels: ModuleType, sizes: tuple[int, ...], output: str = "sigmoid") -> Network:
    return Network(
        sizes, ["sigmoid", output], "quadratic", seed=0, dtype=kernels.dtype, backend="compiled"
    )


@pytest.mark.parametrize("sizes", SIZES)
def test_unknown_activation(kernels, sizes, monkeypatch):
    monkeypatch.setitem(kernels.ACTIVATIONS, "tanh", UNKNOWN)
    net = network(kernels, sizes, "tanh")
    x = X[:, : sizes[0]]
    calls = (
        lambda: net.predict(x),
        lambda: net.gradient(x, Y),
        lambda: net.partial_fit(x, Y),
        lambda: net.fit(x, Y, epochs=1),
    )
    for call in calls:
        before = state(net)
        with pytest.raises(FloatingPointError, match="layer 2"):
            call()
        assert state(net) == before


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("sizes", SIZES)
def test_unknown_cost(kernels, sizes, output, monkeypatch):
    monkeypatch.setitem(kernels.COSTS, "quadratic", UNKNOWN)
    net = network(kernels, sizes, output)
    x = X[:, : sizes[0]]
    assert np.isfinite(net.predict(x)).all()
    for call in (
        lambda: net.cost(x, Y),
        lambda: net.gradient(x, Y),
        lambda: net.partial_fit(x, Y),
        lambda: net.fit(x, Y, epochs=1),
    ):
        before = state(net)
        with pytest.raises(FloatingPointError):
            call()
        assert state(net) == before


@pytest.mark.parametrize("sizes", SIZES)
def test_unknown_update_rule(kernels, sizes, monkeypatch):
    monkeypatch.setitem(kernels.UPDATE_RULES, "sgd", UNKNOWN)
    net = network(kernels, sizes)
    x = X[:, : sizes[0]]
    for call in (
        lambda: net.partial_fit(x, Y, optimizer=SGD(0.1)),
        lambda: net.fit(x, Y, epochs=1, optimizer=SGD(0.1)),
    ):
        before = net.parameters.copy()
        with pytest.raises(FloatingPointError):
            call()
        assert net.parameters.tobytes() == before.tobytes()


def test_rule_whose_slots_its_id_does_not_know(kernels, monkeypatch):
    monkeypatch.setitem(kernels.UPDATE_RULES, "adam", UNKNOWN)
    net = network(kernels, SIZES[0])
    with pytest.raises(ValueError, match="expected 0 of them"):
        net.partial_fit(X[:, :2], Y, optimizer=Adam())
