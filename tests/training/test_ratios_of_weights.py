"""Of weights only the ratios count."""

from __future__ import annotations

import numpy as np
import pytest
from fits import OPTIMIZERS, data, network
from support import both_dtypes, every_backend, state

SCALES = {
    "float32": [1e-45, 1e-43, 1e-40, 1e-30, 2.0**-126, 1e30, 3e37],
    "float64": [5e-324, 1e-312, 1e-308, 1e-200, 2.0**-1022, 1e200, 1.7e307],
}


@every_backend
@both_dtypes
def test_weights_of_any_size_are_the_weight_1(dtype, backend):
    X, Y = data(dtype=dtype)
    net = network(backend, dtype=dtype)
    cost, gradient = net.cost(X, Y), net.gradient(X, Y).vector
    eps = float(np.finfo(dtype).eps)
    for scale in SCALES[dtype]:
        weight = np.full(24, scale, dtype)
        assert weight[0] > 0
        assert net.cost(X, Y, sample_weight=weight) == pytest.approx(cost, rel=4 * eps)
        found = net.gradient(X, Y, sample_weight=weight).vector
        np.testing.assert_allclose(found, gradient, rtol=0, atol=4 * eps * np.abs(gradient).max())
        twice = weight.copy()
        twice[3] *= 2
        ratios = np.where(np.arange(24) == 3, 2.0, 1.0)
        found = net.gradient(X, Y, sample_weight=twice).vector
        expected = net.gradient(X, Y, sample_weight=ratios).vector
        np.testing.assert_allclose(found, expected, rtol=0, atol=4 * eps * np.abs(gradient).max())


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_training_has_the_bits_of_the_weights_times_a_power_of_two(optimizer, dtype, backend):
    X, Y = data(dtype=dtype)
    weight = (1 + np.arange(24) % 5) / 4
    plain = network(backend, dtype=dtype)
    options = {"epochs": 2, "batch_size": 7, "optimizer": optimizer, "l2": 0.1, "clip_norm": 0.3}
    history = plain.fit(X, Y, sample_weight=weight, **options)
    exponents = (-1060, -900, 1020) if dtype == "float64" else (-130, -100, 120)
    for exponent in exponents:
        net = network(backend, dtype=dtype)
        other = net.fit(X, Y, sample_weight=np.ldexp(weight, exponent), **options)
        assert state(net) == state(plain), exponent
        assert other.cost == history.cost


@every_backend
@both_dtypes
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_a_batch_of_tiny_weights_steps_as_any(optimizer, dtype, backend):
    """Beside a batch whose weights are larger by more than the numbers have room for."""
    X, Y = data(dtype=dtype)
    for tiny in (2.0**-40, 2.0**-140, 2.0**-900):
        weight = np.ones(24)
        weight[8:16] = tiny * (1 + np.arange(8) % 2)
        same = np.ones(24)
        same[8:16] = 1 + np.arange(8) % 2
        nets = [network(backend, dtype=dtype) for _ in range(2)]
        for net, weights in zip(nets, (weight, same), strict=True):
            net.fit(
                X, Y, epochs=3, batch_size=8, shuffle=False, optimizer=optimizer,
                sample_weight=weights, max_norm=2.0,
            )  # fmt: skip
        atol = 1e-12 if dtype == "float64" else 1e-5
        np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=0, atol=atol)


@every_backend
@both_dtypes
def test_class_weights_of_any_size(dtype, backend):
    X, Y = data(dtype=dtype)
    Y = np.eye(3, dtype=dtype)[np.arange(24) % 3]
    plain = network(backend, dtype=dtype)
    plain.fit(X, Y, epochs=2, class_weight=[1, 2, 0.5], sample_weight=1 + np.arange(24) % 2)
    for scale, other in ((2.0**-1000, 2.0**900), (2.0**1000, 2.0**1000), (2.0**-1020, 2.0**-1020)):
        net = network(backend, dtype=dtype)
        net.fit(
            X, Y, epochs=2, class_weight=np.array([1, 2, 0.5]) * scale,
            sample_weight=(1 + np.arange(24) % 2) * other,
        )  # fmt: skip
        assert state(net) == state(plain)


@every_backend
@both_dtypes
def test_equal_derivatives_have_a_variance_of_0(dtype, backend):
    """One example, and the same one k times; also where an activation and a delta alone agree."""
    X, Y = data(dtype=dtype)
    for sizes in ((4, 6, 5, 3), (4, 130, 3)):
        net = network(backend, sizes, dtype=dtype)
        for i in range(6):
            for k in (1, 2, 3, 7, 300):
                mean, variance = net.gradient_moments(np.repeat(X[i : i + 1], k, 0),
                                                      np.repeat(Y[i : i + 1], k, 0))  # fmt: skip
                alone = net.gradient(X[i], Y[i])
                eps = float(np.finfo(dtype).eps)
                largest = float(np.abs(alone.vector).max())
                # NumPy's products give equal rows other last bits at other places.
                limits = (0.0, 0.0)
                if backend == "reference" and k > 1:
                    limits = (4 * eps * largest) ** 2, (4 * eps * float(alone.cost)) ** 2
                assert variance.vector.max() <= limits[0], (i, k)
                assert variance.cost <= limits[1]
                alone = alone.vector
                atol = (k + 4) * eps * largest
                np.testing.assert_allclose(mean.vector, alone, rtol=0, atol=atol)
                if k == 1:
                    assert mean.vector.tobytes() == alone.tobytes()
    # Two inputs that are always 0.1, of an example above its targets: mae's delta is ±1/3.
    net = network(backend, (4, 3), activation="identity", cost="mae", dtype=dtype)
    X[:, 1], X[:, 3] = 0.1, -0.7
    Y[...] = -9
    variance = net.gradient_moments(X, Y)[1]
    assert not variance.weights[0][:, [1, 3]].any()
    assert not variance.biases[0].any()
    assert variance.weights[0][:, [0, 2]].all()
