"""Sums of gradients made in parts: the bits of one call, and no wrong sum in silence."""

from __future__ import annotations

import itertools
import pickle
import re
from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
from support import Array, bits, both_dtypes, data, every_backend, needs_compiled, output_of

from cbackprop import Activation, Network
from cbackprop.distributed import GradientSum

SIZES = (5, 7, 3)


def network(dtype: str = "float64", **options: Any) -> Network:
    return Network(SIZES, ["tanh", "sigmoid"], "cross_entropy", dtype=dtype, seed=1, **options)


def parts_of(net: Network, X: Array, Y: Array, *cuts: int) -> list[GradientSum]:
    """Made elsewhere: each has been pickled, and its arrays are read-only, as Ray's are."""
    parts = []
    for first, stop in itertools.pairwise((0, *cuts, len(X))):
        buffers: list[Any] = []
        part = GradientSum(net, X[first:stop], Y[first:stop], first)
        content = pickle.dumps(part, protocol=5, buffer_callback=buffers.append)
        parts.append(pickle.loads(content, buffers=[bytes(buffer) for buffer in buffers]))
    return parts


@needs_compiled
@both_dtypes
@pytest.mark.parametrize(
    ("n", "cuts"),
    [
        (1, []),
        (256, []),
        (700, [256, 256, 512]),
        (5000, [256, 1024, 3840]),
        (20_000, [1536, 2304, 8192, 16_128]),
    ],
)
def test_any_order_and_grouping_has_the_bits_of_one_call(
    n: int, cuts: list[int], dtype: str
) -> None:
    net, (X, Y) = network(dtype, threads=2), data(n, SIZES, dtype)
    expected = net.gradient(X, Y)
    parts = parts_of(net, X, Y, *cuts)
    totals = [sum(parts), reduce(add, parts[::-1])]
    totals.append(sum([reduce(add, parts[::2]), *parts[1::2]]))
    for total in totals:
        assert isinstance(total, GradientSum)
        assert len(total) == n
        for _ in range(2):  # the sum stays what it is
            gradient = total.gradient()
            assert bits(gradient.vector) == bits(expected.vector)
            assert gradient.cost == expected.cost
    assert bits(sum(parts).gradient().vector) == bits(expected.vector)  # and so do the parts


@every_backend
def test_agrees_with_single_examples(backend: str) -> None:
    net, (X, Y) = network(backend=backend), data(600, SIZES)
    each = net.gradient(X, Y, per_example=True)
    gradient = sum(parts_of(net, X, Y, 512)).gradient()
    np.testing.assert_allclose(gradient.vector, each.vector.mean(axis=0), rtol=1e-12, atol=1e-15)
    assert gradient.cost == pytest.approx(np.mean(each.cost), rel=1e-13)
    assert gradient.weights[0].shape == (7, 5)


def test_few_vectors_are_sent() -> None:
    """Of 64 groups from a multiple of 64 on one, of 62 groups in between ten."""
    net, (X, Y) = network(), data(64 * 256, SIZES)
    vector = net.n_parameters * 8
    for first, stop, most in ((0, 64, 1), (1, 63, 10)):
        rows = slice(first * 256, stop * 256)
        size = len(pickle.dumps(GradientSum(net, X[rows], Y[rows], rows.start)))
        assert size < most * (vector + 100) + 1000


@needs_compiled
def test_it_is_of_the_parameters_that_the_network_had() -> None:
    net, (X, Y) = network(), data(512, SIZES)
    expected = bits(net.gradient(X, Y).vector)
    first = GradientSum(net, X[:256], Y[:256])
    second = GradientSum(net.copy(), X[256:], Y[256:], first=256)
    net.weights[0][...] += 0.5
    assert bits((first + second).gradient().vector) == expected
    with pytest.raises(ValueError, match="other sizes, activations, costs or parameters do not"):
        first + GradientSum(net, X[256:], Y[256:], first=256)


def test_columns_are_in_one_order() -> None:
    pandas = pytest.importorskip("pandas")
    X, Y = data(512, SIZES)
    names = [f"x{k}" for k in range(SIZES[0])]
    frame = pandas.DataFrame(X, columns=names)
    first = GradientSum(network(), frame[:256], Y[:256])
    with pytest.raises(ValueError, match="expected the same, in one order"):
        first + GradientSum(network(), frame[names[::-1]][256:], Y[256:], 256)
    both = first + GradientSum(network(), frame[256:], Y[256:], 256)
    assert bits(both.gradient().vector) == bits(network().gradient(frame, Y).vector)


def test_functions_are_one_network_s() -> None:
    X, Y = data(512, SIZES)
    net = network()
    others: list[tuple[Any, Any]] = [
        (["relu", "sigmoid"], "cross_entropy"), (["tanh", "sigmoid"], "mse")
    ]  # fmt: skip
    for activation, cost in others:
        other = Network(SIZES, activation, cost)
        other.parameters = net.parameters
        with pytest.raises(ValueError, match="activations, costs or parameters do not add up"):
            GradientSum(net, X[:256], Y[:256]) + GradientSum(other, X[256:], Y[256:], 256)


def test_parts_that_would_have_other_bits_are_refused() -> None:
    """From a processor without fused multiply-adds, say."""
    net, (X, Y) = network(), data(512, SIZES)
    first, second = parts_of(net, X, Y, 256)
    version, backend, fused = second._made_by
    second._made_by = version, backend, not fused
    with pytest.raises(ValueError, match=r"the sums were made by \(.*\) and \(.*\); expected one"):
        first + second
    reference = network(backend="reference")
    assert reference.parameters.tobytes() == net.parameters.tobytes()
    if net.backend == "compiled":
        with pytest.raises(ValueError, match=r"'compiled', .*'reference'"):
            first + GradientSum(reference, X[256:], Y[256:], 256)


def refused() -> dict[str, tuple[Callable[[Network, Array, Array], object], str]]:
    part = GradientSum
    return {
        "no network": (lambda net, X, Y: part(X, X, Y), "(ndarray); expected a Network"),  # type: ignore[arg-type]
        "inside a group": (
            lambda net, X, Y: part(net, X, Y, first=300),
            "first is 300; expected a multiple of cbackprop.EXAMPLES_PER_GROUP (256)",
        ),
        "before the first": (
            lambda net, X, Y: part(net, X, Y, first=-256),
            "first is -256; expected at least 0",
        ),
        "fewer targets": (lambda net, X, Y: part(net, X, Y[1:]), "Y has 599 rows"),
        "NaN": (
            lambda net, X, Y: part(net, X * np.nan, Y),
            "X has nan at [0, 0]; expected finite numbers",
        ),
        "twice": (
            lambda net, X, Y: part(net, X, Y) + part(net, X, Y, 512),
            "the example 512 is in both sums",
        ),
        "the same twice": (
            lambda net, X, Y: part(net, X, Y, 256) + part(net, X, Y, 256),
            "the example 256 is in both sums",
        ),
        "an end inside a group": (
            lambda net, X, Y: part(net, X, Y) + part(net, X, Y, 1024),
            "a sum ends before the example 600, and another one goes on at 1024",
        ),
        "a gap": (
            lambda net, X, Y: (part(net, X[:256], Y[:256]) + part(net, X, Y, 768)).gradient(),
            "the examples 256 to 767 are in no sum yet",
        ),
        "without the first": (
            lambda net, X, Y: part(net, X, Y, 256).gradient(),
            "the examples 0 to 255 are in no sum yet",
        ),
        "nothing": (
            lambda net, X, Y: part(net, X[:0], Y[:0], 256).gradient(),
            "there are no examples in the sum; a gradient needs at least one",
        ),
    }


@pytest.mark.parametrize("name", refused())
def test_refused(name: str) -> None:
    call, message = refused()[name]
    net, (X, Y) = network(), data(600, SIZES)
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        call(net, X, Y)


def test_other_things_do_not_add_up() -> None:
    net, (X, Y) = network(), data(10, SIZES)
    for other in (1, None, np.zeros(3), net.gradient(X, Y)):
        with pytest.raises(TypeError):
            GradientSum(net, X, Y) + other


def test_overflow_is_told() -> None:
    """Of a part, naming the layer; of the sum of parts that are finite, by itself."""
    steep = Activation(lambda z: 1e200 * z, lambda z: np.full_like(z, 1e200))
    net = Network([1, 1, 1], steep, seed=0)
    with pytest.raises(FloatingPointError, match="not finite: finite inputs"):
        GradientSum(net, [[1e200]], [[0.0]])
    large = Network([1, 1], "identity", "mae", init="zeros")
    X, Y = np.ones((256, 1)), np.full((256, 1), -4e305)
    parts = [GradientSum(large, X, Y, first=256 * k) for k in range(2)]
    with pytest.raises(FloatingPointError, match="the sum of the gradients is not finite"):
        sum(parts).gradient()


def test_columns_come_in_the_network_s_order() -> None:
    pandas = pytest.importorskip("pandas")
    X, Y = data(300, SIZES)
    names = list("abcde")
    net = network(feature_names=names)
    table = pandas.DataFrame(X, columns=names)[["e", "d", "c", "b", "a"]]
    assert bits(GradientSum(net, table, Y).gradient().vector) == bits(net.gradient(X, Y).vector)


def test_nothing_of_it_is_imported_with_the_package() -> None:
    code = "import sys, cbackprop; print('cbackprop.distributed' in sys.modules)"
    assert output_of(code, options=("-W", "ignore")) == "False\n"
