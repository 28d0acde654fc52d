"""Layers that do not learn, and a batch's gradient that is shortened."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fits import OPTIMIZERS, data, network, one_pass, step_taken
from support import both_dtypes, every_backend, state

from cbackprop import LBFGS, SGD, LevenbergMarquardt, Network

FROZEN = [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3)]
ALL_THAT_MOVES = {"l1": 0.01, "l2": 0.2, "dropout": 0.2, "max_norm": 0.3}


def layer(net: Any, l: int) -> list[bytes]:
    """All numbers of layer l (from 1), the optimiser's too."""
    engine = net._engine
    views = [engine.parameter_arrays()[:2], *(engine.layer_views(slot) for slot in engine.slots)]
    return [part[l - 1].tobytes() for view in views for part in view]


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_what_is_frozen_keeps_its_bits_and_the_others_learn(optimizer, dtype, backend):
    """After a pass in which all learn: the slots hold something then."""
    X, Y = data(dtype=dtype)
    for frozen in FROZEN:
        net = network(backend, dtype=dtype)
        for W in net.weights:
            W[0, 0] = -0.0
        one_pass(net, X, Y, optimizer=optimizer)
        before = [layer(net, l) for l in (1, 2, 3)]
        for batch_size in (5, 24):
            one_pass(net, X, Y, batch_size=batch_size, frozen=frozen, **ALL_THAT_MOVES)
        for l in (1, 2, 3):
            assert (layer(net, l) == before[l - 1]) == (l in frozen), (frozen, l)
        # In any order, and as fit has it.
        twin = network(backend, dtype=dtype)
        again = network(backend, dtype=dtype)
        twin.fit(X, Y, epochs=2, optimizer=optimizer, frozen=frozen)
        again.fit(X, Y, epochs=2, optimizer=optimizer, frozen=np.array(frozen[::-1]))
        assert state(twin) == state(again)


@every_backend
@both_dtypes
def test_the_others_step_as_they_would(dtype, backend):
    X, Y = data(dtype=dtype)
    for sizes in ((4, 6, 5, 3), (4, 130, 70, 3)):
        net = network(backend, sizes, dtype=dtype)
        gradient = net.gradient(X, Y)
        for frozen in FROZEN:
            parts = [
                np.zeros(part.size) if l in frozen else part.ravel()
                for l, pair in enumerate(zip(gradient.weights, gradient.biases, strict=True), 1)
                for part in pair
            ]
            step = step_taken(net.copy(), X, Y, frozen=frozen)
            atol = 1e-14 if dtype == "float64" else 5e-7
            np.testing.assert_allclose(step, np.concatenate(parts), rtol=0, atol=atol)


@every_backend
@pytest.mark.parametrize("optimizer", [LBFGS(), LevenbergMarquardt()], ids=repr)
@pytest.mark.parametrize("l2", [0.0, 0.01])
@pytest.mark.parametrize("n", [4, 60])
def test_whole_batches_work_on_the_others(n, l2, optimizer, backend):
    """As a smaller network fed with what the frozen layers say would: its costs, to the rounding
    of other sums."""
    X, Y = data(n)
    for frozen in ((1,), (3,), (1, 2)):
        net = network(backend)
        net.weights[0][0, 0] = -0.0
        one_pass(net, X, Y, optimizer=optimizer)  # of which L-BFGS remembers pairs
        before = [layer(net, l) for l in (1, 2, 3)]
        first = net.cost(X, Y)
        for _ in range(8):
            one_pass(net, X, Y, frozen=frozen, l2=l2)
        for l in (1, 2, 3):
            assert (layer(net, l) == before[l - 1]) == (l in frozen), (frozen, l)
        assert net.cost(X, Y) < first or l2 > 0  # the penalty is not in it
    net = network(backend)
    costs = net.fit(X, Y, epochs=6, optimizer=optimizer, frozen=(1,)).cost
    upper = Network(net.sizes[1:], seed=5, backend=backend)
    start = network(backend)
    for l in (0, 1):
        upper.weights[l][...] = start.weights[l + 1]
        upper.biases[l][...] = start.biases[l + 1]
    expected = upper.fit(start.forward(X).a[1], Y, epochs=6, optimizer=optimizer).cost
    np.testing.assert_allclose(costs, expected, rtol=1e-6)


@every_backend
@both_dtypes
def test_a_batch_is_shortened_as_a_whole(dtype, backend):
    """g · min(1, c/‖g‖) of the mean gradient, before penalties and after weights and clipping."""
    X, Y = data(dtype=dtype)
    atol = 1e-14 if dtype == "float64" else 5e-7
    weight = np.linspace(0, 3, 24)
    for sizes in ((4, 6, 5, 3), (4, 2, 3), (4, 130, 70, 3)):
        net = network(backend, sizes, dtype=dtype)
        for options, g in (
            ({}, net.gradient(X, Y).vector),
            ({"sample_weight": weight}, net.gradient(X, Y, sample_weight=weight).vector),
            ({"clip_norm": 0.1}, net.clipped_gradient(X, Y, 0.1).vector),
        ):
            g = g.astype(float)
            length = np.sqrt((g**2).sum())
            for share in (0.01, 0.5, 2.0):
                step = step_taken(net.copy(), X, Y, clip_gradient_norm=share * length, **options)
                np.testing.assert_allclose(step, min(1, share) * g, rtol=0, atol=atol)
    penalised = step_taken(net.copy(), X, Y, clip_gradient_norm=0.5 * length, l2=0.3)
    plain = step_taken(net.copy(), X, Y, clip_gradient_norm=0.5 * length)
    expected = np.concatenate(
        [part for W, b in zip(net.weights, net.biases, strict=True)
         for part in (0.3 * W.ravel(), 0 * b)]
    )  # fmt: skip
    np.testing.assert_allclose(penalised - plain, expected, rtol=0, atol=2 * atol)


@every_backend
def test_a_limit_that_no_batch_reaches_changes_no_bit(backend):
    X, Y = data()
    nets = [network(backend) for _ in range(2)]
    for net, limit in zip(nets, (None, 1e300), strict=True):
        net.fit(X, Y, epochs=3, batch_size=7, optimizer=SGD(0.3, 0.9), clip_gradient_norm=limit)
    assert state(nets[0]) == state(nets[1])


@every_backend
@both_dtypes
@pytest.mark.parametrize("size", ["small", "large"])
def test_gradients_whose_squares_leave_the_numbers_are_shortened(size, dtype, backend):
    """A linear network from 0: the gradient is −2y (x, 1), of numbers whose squares vanish or
    overflow; the step has the direction, and the length that was asked for, all the same."""
    number = {"float32": 1e15, "float64": 1e100}[dtype]
    if size == "small":
        number = 1 / number
    x, y = number * np.array([[3.0, 4.0]]), np.array([[number]])
    net = Network([2, 1], "identity", dtype=dtype, init="zeros", backend=backend)
    g = -2 * number * np.array([*x[0], 1.0])
    length = np.abs(g).max() * np.linalg.norm(g / np.abs(g).max())
    rtol = 1e-6 if dtype == "float32" else 1e-14
    for share in (0.5, 1e-3):
        twin = net.copy()
        options = {"clip_gradient_norm": share * length}
        twin.partial_fit(x, y, 1, SGD(1.0), options=options)
        np.testing.assert_allclose(twin.parameters, -share * g, rtol=rtol)
    net.partial_fit(x, y, 1, SGD(1.0), options={"clip_gradient_norm": 2 * length})
    np.testing.assert_allclose(net.parameters, -g, rtol=rtol)
