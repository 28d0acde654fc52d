"""An id that no branch of the kernels knows makes NaN or an error, never another one's numbers.

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


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam()], ids=repr)
@pytest.mark.parametrize("sizes", SIZES)
def test_unknown_update_rule(kernels, sizes, optimizer, monkeypatch):
    """Nothing reads its hyper-parameters: no step is taken with those of another rule."""
    monkeypatch.setitem(kernels.UPDATE_RULES, optimizer.rule.name, UNKNOWN)
    net = network(kernels, sizes)
    x = X[:, : sizes[0]]
    for call in (
        lambda: net.partial_fit(x, Y, optimizer=optimizer),
        lambda: net.fit(x, Y, epochs=1, optimizer=optimizer),
    ):
        before = state(net)
        with pytest.raises(NotImplementedError, match="no hyper-parameters are read for"):
            call()
        assert state(net) == before
