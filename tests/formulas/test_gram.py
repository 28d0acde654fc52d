"""Inner products of the examples' gradients."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath
import numpy as np
from small_networks import (
    COUNTS,
    FREE,
    SIZES,
    SMALL,
    assert_within,
    each_network,
    every_pair,
    part_sizes,
    small_case,
    true_gradients,
    unit_roundoff,
)
from support import Array, both_dtypes, data, every_backend

from cbackprop import Network


@every_pair
@both_dtypes
@every_backend
def test_gradient_gram_of_every_activation_and_cost(
    activation: str, cost: str, dtype: str, backend: str
) -> None:
    net, _, X, Y, _ = small_case(activation, cost, dtype, backend)
    each = true_gradients(activation, cost)
    sizes, u = part_sizes(each, SIZES), unit_roundoff(dtype)
    truth = each @ each.T
    # ⟨g, h⟩ moves by ⟨|dg|, |h|⟩ + ⟨|g|, |dh|⟩; then the sums, as long as the widths.
    moved = sizes @ np.abs(each).T
    tolerance = SMALL * u * (moved + moved.T) + 20 * u * (np.abs(each) @ np.abs(each).T)
    gram = net.gradient_gram(X, Y)
    assert (gram.dtype, gram.shape) == (np.dtype(dtype), (2, 2))
    assert_within(gram, truth, tolerance)
    for i, j in np.ndindex(2, 2):
        assert_within(net.gradient_gram(X[i], Y[i], X[j], Y[j]), truth[i, j], tolerance[i, j])
    assert_within(net.gradient_gram(X[:1], Y[:1], X, Y), truth[:1], tolerance[:1])


@each_network
@both_dtypes
@every_backend
def test_gram_is_symmetric_and_has_the_norms_on_its_diagonal(
    sizes: tuple[int, ...], activation: Any, cost: str, dtype: str, backend: str
) -> None:
    net = Network(sizes, activation, cost, dtype=dtype, backend=backend, seed=3)
    u = unit_roundoff(dtype)
    for n in COUNTS:
        X, Y = data(n, sizes, dtype)
        gram = net.gradient_gram(X, Y)
        assert gram.shape == (n, n)
        assert gram.tobytes() == np.ascontiguousarray(gram.T).tobytes()
        squares = net.gradient_norms(X, Y).astype(np.longdouble) ** 2
        # Sums of squares, each as long as a layer is wide; and the norm's own rounding, twice.
        assert_within(np.diag(gram), squares, (2 * max(sizes) + 12) * u * squares)
        between = net.gradient_gram(X, Y, X, Y)
        if backend == "compiled":
            assert between.tobytes() == gram.tobytes()
        roots = np.sqrt(squares)
        limit = (2 * max(sizes) + 12) * u * roots[:, np.newaxis] * roots
        assert_within(between, gram, limit)
        # ⟨g_i, g_j⟩ of the gradients themselves.
        each = net.gradient(X[:20], Y[:20], per_example=True).vector.astype(np.longdouble)
        assert_within(gram[:20, :20], each @ each.T, limit[:20, :20])


@both_dtypes
@every_backend
def test_inner_products_at_both_ends_of_the_numbers(dtype: str, backend: str) -> None:
    """Σ_l (δ_i · δ_j)(a_i · a_j + 1) where one factor vanishes, or overflows, on its own."""
    info = np.finfo(dtype)
    least, tiny, largest = (float(x) for x in (info.smallest_subnormal, info.tiny, info.max))
    sizes = [0.0, 64 * least, 1.0, tiny, tiny**0.75, tiny**0.5, largest**0.5, largest**0.75]
    net = Network((3, 2), "identity", FREE, dtype=dtype, backend=backend, init="zeros")
    pairs = [(x, y) for x in sizes for y in sizes if x * y < largest / 64]
    X = np.array([[x, -0.75 * x, 0.25 * x] for x, _ in pairs], dtype)
    Y = np.array([[0.5 * y, y] for _, y in pairs], dtype)
    # The kernels' two sums have five terms in all; the reference sums float32 in float64 and rounds
    # once.
    units = 1.001 if (dtype, backend) == ("float32", "reference") else 12
    checked = 0
    with mpmath.workdps(60):

        def exact(row: Array) -> list[Any]:
            return [mpmath.mpf(float(w)) for w in row]

        each = [(exact(x), exact(y)) for x, y in zip(X, Y, strict=True)]
        for i, j in itertools.combinations_with_replacement(range(len(pairs)), 2):
            (x, y), (x2, y2) = each[i], each[j]
            # Every term of either sum has the same sign: its relative error is its terms' own.
            delta = sum(p * q for p, q in zip(y, y2, strict=True))
            true = delta * (sum(p * q for p, q in zip(x, x2, strict=True)) + 1)
            if true > largest / 4:
                continue
            got = mpmath.mpf(float(net.gradient_gram(X[i], Y[i], X[j], Y[j])))
            limit = units * unit_roundoff(dtype) * true + least
            assert abs(got - true) <= limit, (pairs[i], pairs[j], got, true)
            checked += 1
    assert checked > 500
