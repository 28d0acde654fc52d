"""The random numbers: the words of PCG64, uniform numbers and normals, at every SIMD level."""

from __future__ import annotations

import math
import statistics

import mpmath
import numpy as np
import pytest
from support import DTYPES, Array

import cbackprop
from cbackprop import backend, random_numbers
from cbackprop.random_numbers import RandomNumbers
from cbackprop.reference import calculus

# ---- random numbers ------------------------------------------------------------------------------


def probabilities() -> Array:
    random = RandomNumbers(5)
    tails = 10.0 ** (-300 * random.uniform(300))
    near = 10.0 ** (-16 * random.uniform(300))
    edges = np.array([0.5, 0.075, 0.925, 0.0749999, 0.9250001, 2.0**-53, 1 - 2.0**-53, 1e-300])
    return np.concatenate([random.uniform(3000), tails, near, 1 - near[near > 1e-15], edges])


def test_normal_quantile_agrees_with_sixty_digits() -> None:
    p = probabilities()
    z = random_numbers.normal_quantile(p)
    assert z.dtype == np.float64
    with mpmath.workdps(60):
        for p_i, z_i in zip(p.tolist()[::4], z.tolist()[::4], strict=True):
            # Newton's correction z + (p − Φ(z))/φ(z), from below the middle where digits are kept.
            x, q = (z_i, mpmath.mpf(p_i)) if p_i <= 0.5 else (-z_i, 1 - mpmath.mpf(p_i))
            true = x + (q - mpmath.ncdf(x)) / mpmath.npdf(x)
            # Wichura 1988: about 1 part in 10^16; rounding of the polynomials adds a few.
            assert abs(x - true) <= 1e-15 * abs(true) + 1e-17, p_i


def test_normal_quantile_agrees_with_the_standard_library() -> None:
    inverse = statistics.NormalDist().inv_cdf
    p = probabilities()
    expected = np.array([inverse(v) for v in p.tolist()])
    # The same algorithm, but its tails take another logarithm and square root.
    assert np.allclose(random_numbers.normal_quantile(p), expected, rtol=1e-15, atol=1e-17)


def test_normal_quantile_is_odd_and_rising() -> None:
    p = np.arange(1, 1024) / 1024
    z = random_numbers.normal_quantile(p)
    assert np.array_equal(z, -z[::-1])
    assert (np.diff(z) > 0).all()


def test_logarithm_agrees_with_sixty_digits() -> None:
    random = RandomNumbers(6)
    x = np.concatenate(
        [
            random.uniform(800),
            1 + (random.uniform(400) - 0.5) * 1e-3,
            2.0 ** (2000 * random.uniform(800) - 1000),
            [1.0, 0.5, 2.0, 0.7071067811865475, 0.7071067811865476, 1 - 2.0**-53, 1 + 2.0**-52],
            [float(np.finfo(float).tiny), float(np.finfo(float).max)],
        ]
    )
    got = random_numbers.logarithm(x)
    with mpmath.workdps(60):
        true = [mpmath.log(mpmath.mpf(v)) for v in x.tolist()]
        relative = [
            float(abs(mpmath.mpf(g) - t) / abs(t)) if t != 0 else abs(g)
            for g, t in zip(got.tolist(), true, strict=True)
        ]
    # k ln 2 and the series nearly cancel just below 1, where the quantile's tails do not go.
    assert max(relative) <= 1e-15


def test_uniform_numbers_lie_between_0_and_1() -> None:
    class Extremes(RandomNumbers):
        def words(self, count: int) -> Array:
            return np.array([0, 2**64 - 1], dtype=np.uint64)

    low, high = Extremes(0).uniform(2)
    assert low == 2.0**-53
    assert high == 1 - 2.0**-53
    assert np.isfinite(random_numbers.normal_quantile(np.array([low, high]))).all()
    u = RandomNumbers(1).uniform(200_000)
    assert 0 < u.min() < 1e-4
    assert 1 - 1e-4 < u.max() < 1
    # Five standard deviations of the mean, the variance and the count in each of 16 cells.
    assert abs(u.mean() - 0.5) < 5 / math.sqrt(12 * len(u))
    assert abs(u.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / len(u))
    counts = np.bincount((16 * u).astype(int), minlength=16)
    assert np.abs(counts - len(u) / 16).max() < 5 * math.sqrt(len(u) / 16)


def test_normal_numbers_have_the_moments_of_n_0_1() -> None:
    n = 200_000
    z = RandomNumbers(2).normal(n)
    # Var of the sample's k-th moment: (E z^2k − (E z^k)²)/n.
    for k, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(np.mean(z**k) - moment) < 5 * math.sqrt(variance / n)
    inside = np.mean(np.abs(z) < 1)
    assert abs(inside - 0.6826894921370859) < 5 * math.sqrt(0.22 / n)


def test_a_stream_continues_from_its_state() -> None:
    one = RandomNumbers(3)
    one.uniform(7)
    other = RandomNumbers(None)
    other.state = one.state
    assert np.array_equal(one.normal(11), other.normal(11))
    assert np.array_equal(one.words(3), other.words(3))
    # The words are PCG64's own, in any pieces.
    pieces = RandomNumbers(3)
    together = np.concatenate([pieces.words(2), pieces.words(0), pieces.words(3)])
    assert np.array_equal(together, np.random.PCG64(3).random_raw(5))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 1000, 70000])
def test_compiled_shuffle_is_the_reference_shuffle(n: int) -> None:
    words = RandomNumbers(n).words(n)
    expected = np.arange(n, dtype=np.int64)
    calculus.shuffle(expected, words)
    assert np.array_equal(np.sort(expected), np.arange(n))
    if n >= 1000:
        # A derangement but for about one place, not the order it started from.
        assert np.sum(expected == np.arange(n)) < 10
    if cbackprop.info()["backend"] != "compiled":
        pytest.skip("the compiled core is not built here; the reference's permutation is one")
    for dtype in DTYPES:
        order = np.arange(n, dtype=np.int64)
        backend.shuffle("compiled", dtype, order, words)
        assert np.array_equal(order, expected)


def test_every_order_of_four_is_as_likely() -> None:
    random = RandomNumbers(12)
    n = 12_000
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(n):
        order = np.arange(4, dtype=np.int64)
        calculus.shuffle(order, random.words(4))
        key = tuple(order.tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    # Chi-square, 23 degrees of freedom: 49.7 is passed once in a thousand.
    statistic = sum((count - n / 24) ** 2 for count in counts.values()) / (n / 24)
    assert statistic < 49.7
