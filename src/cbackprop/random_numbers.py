"""Random numbers with the same bits on every machine and under every NumPy.

NumPy promises the raw words of its bit generators for good, but neither what its ``Generator``
makes of them (NEP 19) nor the last bit of its logarithm on another processor. So the words come
from NumPy's PCG64, and uniform numbers, normal numbers and orders are made of them here, with
additions, multiplications, divisions and square roots alone: those are exact by IEEE 754.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Wichura, "The Percentage Points of the Normal Distribution", Applied Statistics 37 (1988),
# algorithm AS 241, PPND16: the coefficients of numerator and denominator, constant term first, for
# the centre, the near and the far tail.
_CENTRE = (
    (3.3871328727963666080e0, 1.0),
    (1.3314166789178437745e2, 4.2313330701600911252e1),
    (1.9715909503065514427e3, 6.8718700749205790830e2),
    (1.3731693765509461125e4, 5.3941960214247511077e3),
    (4.5921953931549871457e4, 2.1213794301586595867e4),
    (6.7265770927008700853e4, 3.9307895800092710610e4),
    (3.3430575583588128105e4, 2.8729085735721942674e4),
    (2.5090809287301226727e3, 5.2264952788528545610e3),
)
_NEAR = (
    (1.42343711074968357734e0, 1.0),
    (4.63033784615654529590e0, 2.05319162663775882187e0),
    (5.76949722146069140550e0, 1.67638483018380384940e0),
    (3.64784832476320460504e0, 6.89767334985100004550e-1),
    (1.27045825245236838258e0, 1.48103976427480074590e-1),
    (2.41780725177450611770e-1, 1.51986665636164571966e-2),
    (2.27238449892691845833e-2, 5.47593808499534494600e-4),
    (7.74545014278341407640e-4, 1.05075007164441684324e-9),
)
_FAR = (
    (6.65790464350110377720e0, 1.0),
    (5.46378491116411436990e0, 5.99832206555887937690e-1),
    (1.78482653991729133580e0, 1.36929880922735805310e-1),
    (2.96560571828504891230e-1, 1.48753612908506148525e-2),
    (2.65321895265761230930e-2, 7.86869131145613259100e-4),
    (1.24266094738807843860e-3, 1.84631831751005468180e-5),
    (2.71155556874348757815e-5, 1.42151175831644588870e-7),
    (2.01033439929228813265e-7, 2.04426310338993978564e-15),
)
# Numerator and denominator of the centre, the near and the far tail: the kernels take them, too.
QUANTILE_COEFFICIENTS = tuple(
    column for part in (_CENTRE, _NEAR, _FAR) for column in zip(*part, strict=True)
)
_LN2 = 0.6931471805599453


class RandomNumbers:
    """A PCG64 stream and what is made of it.

    Parameters
    ----------
    seed : int or None
        A non-negative integer for a repeatable stream, None for one from the system's entropy.
    """

    def __init__(self, seed: int | None) -> None:
        self._bits = np.random.PCG64(seed)

    @property
    def state(self) -> dict[str, Any]:
        """The generator's words, as NumPy gives and takes them."""
        return dict(self._bits.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._bits.state = state  # type: ignore[assignment]  # NumPy's own dict, given back

    def words(self, count: int) -> Array:
        """``count`` raw 64-bit words, uint64."""
        return np.asarray(self._bits.random_raw(count), dtype=np.uint64)

    def uniform(self, count: int) -> Array:
        """``count`` numbers uniform on (0, 1): the middles of 2⁵² equal cells, float64."""
        return ((self.words(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, count: int) -> Array:
        """``count`` numbers from N(0, 1), float64, by the inverse distribution function."""
        return normal_quantile(self.uniform(count))


def normal_quantile(p: Array) -> Array:
    """The z with Φ(z) = p for p in (0, 1), to about 1e-16 relative (Wichura 1988, AS 241)."""
    q = p - 0.5
    r = 0.180625 - q * q
    z = q * _rational(_CENTRE, r)
    tail = np.abs(q) > 0.425
    if tail.any():
        lower = np.where(q[tail] < 0, p[tail], 1.0 - p[tail])
        r = np.sqrt(-logarithm(lower))
        size = np.where(r <= 5.0, _rational(_NEAR, r - 1.6), _rational(_FAR, r - 5.0))
        z[tail] = np.copysign(size, q[tail])
    return z


def logarithm(x: Array) -> Array:
    """ln x for positive normal x from basic arithmetic: x = m·2^k, ln m = 2 artanh((m−1)/(m+1))."""
    m, k = np.frexp(x)
    small = m < 0.7071067811865476
    m = np.where(small, 2.0 * m, m)
    k = k - small
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    series = np.zeros_like(s)
    for odd in range(23, 1, -2):
        series = (series + 1.0 / odd) * s2
    return k * _LN2 + 2.0 * (s + s * series)


def _rational(coefficients: tuple[tuple[float, float], ...], r: Array) -> Array:
    numerator, denominator = np.zeros_like(r), np.zeros_like(r)
    for above, below in reversed(coefficients):
        numerator = numerator * r + above
        denominator = denominator * r + below
    return numerator / denominator


# ---- numbers by their place: the kernels' random.pyx in NumPy ------------------------------------


def words_at(key: int, indices: Array) -> Array:
    """Words number ``indices`` (uint64) of the stream ``key``, by SplitMix64.

    The state is key + (index + 1) times the golden ratio's constant (Steele, Lea & Flood 2014,
    "Fast splittable pseudorandom number generators"). A word depends on its number alone, so that
    it does not matter in which order, or how many at a time, they are asked for.
    """
    z = np.uint64(key) + (indices + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words: Array = z ^ (z >> np.uint64(31))
    return words


def normals_at(key: int, indices: Array) -> Array:
    """Numbers from N(0, 1), float64, likewise."""
    cells = (words_at(key, indices) >> np.uint64(12)).astype(np.float64)
    return normal_quantile((cells + 0.5) * 2.0**-52)
