"""Activations and costs of the user's own that fail: the error says so, and nothing has changed."""

from __future__ import annotations

import numpy as np
import pytest
from rejections import CURVATURE, FURTHER, besides, examples, network
from support import BACKENDS, every_backend, state

from cbackprop import Activation, Cost, Network


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_activation_of_the_user_that_returns_ragged_rows(backend):
    ragged = Activation(lambda z: [[1.0], [2.0, 3.0]], lambda z: np.ones_like(z), "ragged")
    net = Network([3, 2], activation=ragged, seed=0, backend=backend)
    with pytest.raises(ValueError, match=r"returned no array \(.*\); expected \(4, 2\)$"):
        net.predict(np.ones((4, 3)))


def broken(how, values):
    """What a user's function returns when it fails in one way or another."""
    if how == "raises":
        raise ZeroDivisionError("mine")
    return {
        "wrong shape": values[..., :0],
        "a number": 1.0,
        "text": np.full(values.shape, "1"),
        "complex": values + 0j,
        "object": values.astype(object),
        "None": None,
        "NaN": values * np.nan,
        "infinity": values + np.inf,
    }[how]


FAILURES = {
    "raises": (ZeroDivisionError, "mine"),
    "wrong shape": (ValueError, r"'mine': \w+\(.*\) returned shape .*; expected \("),
    "a number": (ValueError, r"'mine': \w+\(.*\) returned shape \(\); expected \("),
    "text": (TypeError, r"'mine': \w+\(.*\) returned dtype [<>]U1; expected real numbers"),
    "complex": (TypeError, r"'mine': \w+\(.*\) returned dtype complex\d+; expected real numbers"),
    "object": (TypeError, r"'mine': \w+\(.*\) returned dtype object; expected real numbers"),
    "None": (TypeError, r"'mine': \w+\(.*\) returned dtype object; expected real numbers"),
    "NaN": (FloatingPointError, r"not finite|overflowed"),
    "infinity": (FloatingPointError, r"not finite|overflowed"),
}


class Faulty:
    """Functions of the user's that work until they are told to fail."""

    def __init__(self):
        self.function = self.how = None
        self.wait = 0  # calls of that function to let pass

    def arm(self, function, how, wait=0):
        self.function, self.how, self.wait = function, how, wait

    def result(self, function, values):
        if self.function == function and self.how is not None:
            if self.wait == 0:
                return broken(self.how, values)
            self.wait -= 1
        return values

    def network(self, backend, dtype="float64"):
        activation = Activation(
            lambda z: self.result("value", z / (1 + np.abs(z))),
            lambda z: self.result("derivative", 1 / (1 + np.abs(z)) ** 2),
            "mine",
            second_derivative=lambda z: self.result(
                "second derivative", -2 * np.sign(z) / (1 + np.abs(z)) ** 3
            ),
        )
        cost = Cost(
            lambda a, y: self.result("cost", ((a - y) ** 2).sum(axis=1)),
            lambda a, y: self.result("gradient", 2 * (a - y)),
            "mine",
            hessian_vector_product=lambda a, y, v: self.result("product", 2 * v),
        )
        return network(backend, activation=activation, cost=cost, dtype=dtype)


@every_backend
@pytest.mark.parametrize("how", list(FAILURES))
@pytest.mark.parametrize(
    "function", ["value", "derivative", "cost", "gradient", "second derivative", "product"]
)
def test_a_failing_function_of_the_users_changes_nothing(function, how, backend):
    X, Y = examples()
    faulty = Faulty()
    net = faulty.network(backend)
    net.fit(X, Y, epochs=1, optimizer="adam")
    error, message = FAILURES[how]
    calls = {
        "gradient": lambda: net.gradient(X, Y),
        "per example": lambda: net.gradient(X, Y, per_example=True),
        "norms": lambda: net.gradient_norms(X, Y),
        "backward": lambda: net.backward(X, Y),
        "partial_fit": lambda: net.partial_fit(X, Y),
        "partial_fit, one example": lambda: net.partial_fit(X[0], Y[0]),
        "chain_rule": lambda: net.chain_rule(X[0], Y[0]),
        "check_gradient": lambda: net.check_gradient(X, Y),
    }
    further = {
        call: lambda call=call: getattr(net, call)(X, Y, **besides(net, call)) for call in FURTHER
    }
    further["two sets"] = lambda: net.gradient_gram(X, Y, X[:2], Y[:2])
    calls |= further
    if function in ("second derivative", "product"):
        needing = CURVATURE if function == "product" else CURVATURE[:1]
        calls = {call: further[call] for call in needing}
    if function in ("value", "derivative"):
        calls["input_jacobian"] = lambda: net.input_jacobian(X)
    if function == "value":
        calls["predict"] = lambda: net.predict(X)
    if function in ("value", "derivative"):
        calls["jacobian"] = lambda: net.jacobian(X)
    if function in ("value", "cost"):
        calls["cost"] = lambda: net.cost(X, Y)
    before = state(net)
    for call in calls.values():
        faulty.arm(function, how)
        with pytest.raises(error, match=message):
            call()
        assert state(net) == before
        faulty.arm(None, None)
        twin = net.copy()
        assert net.gradient(X, Y).vector.tobytes() == twin.gradient(X, Y).vector.tobytes()
    assert state(net.partial_fit(X, Y)) == state(twin.partial_fit(X, Y))


@every_backend
@pytest.mark.parametrize("how", ["raises", "wrong shape", "text", "NaN"])
@pytest.mark.parametrize("function", ["value", "gradient"])
def test_a_function_that_fails_in_the_second_batch(function, how, backend):
    """partial_fit takes its first batch back too."""
    X, Y = examples()
    faulty = Faulty()
    net = faulty.network(backend)
    net.fit(X, Y, epochs=1, optimizer="adam")
    before = state(net)
    faulty.arm(function, how, wait={"value": 3, "gradient": 1}[function])
    error, message = FAILURES[how]
    with pytest.raises(error, match=message):
        net.partial_fit(X, Y, batch_size=2)
    assert faulty.wait == 0
    assert state(net) == before


@every_backend
@pytest.mark.parametrize("how", ["raises", "wrong shape", "text", "NaN"])
def test_a_function_that_fails_in_fit_leaves_a_network_that_works(how, backend):
    X, Y = examples()
    faulty = Faulty()
    net = faulty.network(backend)
    seen = []
    faulty.arm("value", how, wait=17)
    error, message = FAILURES[how]
    with pytest.raises(error, match=message):
        net.fit(X, Y, epochs=5, batch_size=2, callbacks=lambda *_: seen.append(state(net)))
    assert faulty.wait == 0
    assert len(seen) == 2
    faulty.arm(None, None)
    assert np.isfinite(net.parameters).all()
    assert net.fit(X, Y, epochs=3).epochs == 3
