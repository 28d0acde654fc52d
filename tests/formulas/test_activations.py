"""Elementary functions: the kernels' activations at every SIMD level that runs here, and the random
numbers, against 60 digits or a wider number type."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import mpmath
import numpy as np
import oracle
import pytest
from support import (
    ELEMENTWISE,
    FMA_LEVELS,
    Array,
    both_dtypes,
    every_level,
    kernels_at,
    needs_two_fma_levels,
)

from cbackprop.random_numbers import RandomNumbers

# (a, da_dz) in ulp: with FMA, and without. Rounded up a little from the largest met over every 13th
# float32 and 10⁷ float64 points (kernels/math.pxd). All are below the limits of accuracy.md: exp
# 1.1, sigmoid 2.5, σ′ 4, tanh 2.6, tanh′ 5.2.
LIMITS = {
    "sigmoid": ((0.85, 1.6), (1.9, 3.9)),
    "tanh": ((0.95, 2.65), (2.2, 3.9)),
    "exponential": ((0.85, 0.85), (0.85, 0.85)),
    "relu": ((0.0, 0.0), (0.0, 0.0)),
    "leaky_relu": ((1.55, 0.5), (1.55, 0.5)),
    "elu": ((1.05, 0.85), (1.05, 0.85)),
    "selu": ((2.1, 2.1), (2.1, 2.1)),
    "gelu": ((3.6, 5.5), (3.6, 5.5)),
    "silu": ((1.6, 3.7), (3.1, 8.0)),
    "softplus": ((2.1, 0.85), (2.1, 1.9)),
    "softsign": ((1.6, 3.7), (1.6, 3.7)),
    "identity": ((0.0, 0.0), (0.0, 0.0)),
}
# Where the derivative of silu and gelu is 0: near it the error is measured in ulp of 1.
ZEROS_OF_DERIVATIVE = {"silu": -1.278464542761, "gelu": -0.751791524693}

every_name = pytest.mark.parametrize("name", ELEMENTWISE)


# ---- points and truth ----------------------------------------------------------------------------


@functools.cache
def points(dtype: str) -> Array:
    """About 10⁵ finite numbers: random bit patterns, uniform ones of several widths, tiny and
    subnormal ones, the edges of overflow and underflow, zeros."""
    random = RandomNumbers(17)
    kind = np.dtype(dtype)
    info = np.finfo(kind)
    words = random.words(30000)
    patterns = (words >> np.uint64(64 - 8 * kind.itemsize)).astype(f"u{kind.itemsize}").view(kind)
    edge = 104.0 if dtype == "float32" else 746.0
    parts = [patterns[np.isfinite(patterns)]]
    for width in (1.0, 5.0, 40.0, edge):
        parts.append((width * (2 * random.uniform(15000) - 1)).astype(kind))
    parts.append(2.0 ** (random.uniform(5000) * info.minexp).astype(kind))
    subnormal = (random.words(4000) % np.uint64(2**info.nmant)).astype(f"u{kind.itemsize}")
    parts += [subnormal.view(kind), -subnormal.view(kind)]
    edges = [88.722839, 89, 103.97, 700, 709.78, 709.79, 710, 745.1, 745.2, 746]
    ends = [info.max, info.tiny, info.smallest_subnormal]
    special = [0.0, 1.0, 0.5, math.log(2), math.log(2) / 2, 20, 37, 40, 80, *edges, *ends]
    special = np.array(special).astype(kind)
    parts += [special, -special]
    for value in (-1.278464542761, -0.751791524693):
        near = np.array(value, kind)
        parts.append(near + np.arange(-500, 500).astype(kind) * np.spacing(near))
    assert all(part.dtype == kind for part in parts)
    return np.concatenate(parts)


def padded(z: Array, lanes: int) -> Array:
    return np.concatenate([z, np.zeros(-len(z) % lanes, z.dtype)])


def activation_values(module: ModuleType, name: str, z: Array) -> tuple[Array, Array]:
    whole = padded(z, module.lanes)
    a, da_dz = np.full_like(whole, np.nan), np.full_like(whole, np.nan)
    module.activation_values(name, whole, a, da_dz)
    return a[: len(z)], da_dz[: len(z)]


def wide_truth(name: str, z: Array) -> tuple[Array, Array]:
    """σ(z) and σ′(z) in z's number type, wider than the kernel's: the stable textbook forms."""
    one = z.dtype.type(1)
    size = np.abs(z)
    e = np.exp(-size)
    positive = z > 0
    if name == "sigmoid":
        return np.where(positive, one, e) / (1 + e), e / ((1 + e) * (1 + e))
    if name == "tanh":
        e2 = np.exp(-2 * size)
        return np.tanh(z), 4 * e2 / ((1 + e2) * (1 + e2))
    if name == "exponential":
        return np.exp(z), np.exp(z)
    if name == "relu":
        return np.where(positive, z, 0 * one), np.where(positive, one, 0 * one)
    if name == "leaky_relu":
        return np.where(positive, z, z / 100), np.where(positive, one, one / 100)
    if name == "elu":
        return np.where(positive, z, np.expm1(-size)), np.where(positive, one, e)
    if name == "selu":
        # Klambauer et al. 2017.
        scale = z.dtype.type(np.longdouble("1.0507009873554804934193349852946"))
        alpha = z.dtype.type(np.longdouble("1.6732632423543772848170429916717"))
        return (
            np.where(positive, scale * z, scale * alpha * np.expm1(-size)),
            np.where(positive, scale, scale * alpha * e),
        )
    if name == "silu":
        a = np.where(positive, one, e) / (1 + e)
        return z * a, a * (1 + z * np.where(positive, e, one) / (1 + e))
    if name == "softplus":
        return np.where(positive, z, 0 * one) + np.log1p(e), np.where(positive, one, e) / (1 + e)
    if name == "softsign":
        return z / (1 + size), (1 / (1 + size)) * (1 / (1 + size))
    if name == "identity":
        return z, np.ones_like(z)
    if name != "gelu":
        raise KeyError(name)
    assert z.dtype == np.float64, "the standard library's erfc is for float64"
    probability = np.array([math.erfc(v) for v in (-z / math.sqrt(2)).tolist()]) / 2
    bounded = np.clip(z, -1e3, 1e3)
    return z * probability, probability + z * np.exp(-bounded * bounded / 2) / math.sqrt(
        2 * math.pi
    )


def sixty_digits(name: str, z: float) -> tuple[Any, Any]:
    """σ(z) and σ′(z) from their definitions; digits enough for 1 − e^(−745)."""
    x = mpmath.mpf(z)
    one = mpmath.mpf(1)
    e = mpmath.exp(-abs(x))
    sigma = (one if x >= 0 else e) / (1 + e)
    sigma_of_minus = (e if x >= 0 else one) / (1 + e)
    forms: dict[str, Callable[[], tuple[Any, Any]]] = {
        "sigmoid": lambda: (sigma, sigma * sigma_of_minus),
        "tanh": lambda: (mpmath.tanh(x), mpmath.sech(x) ** 2),
        "exponential": lambda: (mpmath.exp(x), mpmath.exp(x)),
        "elu": lambda: (x, one) if x > 0 else (mpmath.expm1(x), mpmath.exp(x)),
        "silu": lambda: (x * sigma, sigma + x * sigma * sigma_of_minus),
        "softplus": lambda: (max(x, 0 * x) + mpmath.log1p(e), sigma),
        "softsign": lambda: (x / (1 + abs(x)), 1 / (1 + abs(x)) ** 2),
        "gelu": lambda: (
            x * mpmath.ncdf(x),
            mpmath.ncdf(x) + x * mpmath.npdf(x),
        ),
    }
    return forms[name]()


def from_sixty_digits(name: str, z: Array) -> tuple[Array, Array]:
    """As longdouble pairs: good to its own precision."""
    with mpmath.workdps(60), np.errstate(over="ignore"):
        pairs = [sixty_digits(name, v) for v in z.tolist()]
        both = [[oracle.as_longdouble(v) for v in p] for p in pairs]
    values = np.array(both, dtype=np.longdouble)
    return values[:, 0], values[:, 1]


@functools.cache
def truth(name: str, dtype: str) -> tuple[Array, Array, Array]:
    """Points, σ and σ′ there: float32 against float64, float64 against long double; gelu in
    float64, and everything where long double is no wider, against 60 digits at fewer points."""
    z = points(dtype)
    if dtype == "float32":
        with np.errstate(over="ignore", under="ignore"):
            return (z, *wide_truth(name, z.astype(np.float64)))
    if oracle.LONGDOUBLE_IS_WIDER and name != "gelu":
        with np.errstate(over="ignore", under="ignore"):
            return (z, *wide_truth(name, z.astype(np.longdouble)))
    if name in ("relu", "leaky_relu", "selu", "identity"):
        pytest.skip("long double is double here: nothing judges this one")
    few = np.concatenate([z[:600], z[29000::30]])
    if name == "gelu":
        few = few[np.abs(few) < 45]
    return (few, *from_sixty_digits(name, few))


def errors_in_ulp(value: Array, true: Array) -> Array:
    """|value − true| over the spacing of numbers at the true value, subnormal ones included."""
    info = np.finfo(value.dtype)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rounded = true.astype(value.dtype)
        overflow = np.isinf(rounded)
        # The type's spacing is that of the power of 2 below.
        ulp = np.spacing(np.minimum(np.abs(rounded), info.max))
        error = np.abs(value.astype(true.dtype) - true) / ulp.astype(true.dtype)
    return np.where(overflow, np.where(value == rounded, 0.0, np.inf), error).astype(np.float64)


@every_level
@every_name
@both_dtypes
def test_activation_and_derivative_in_ulp(name: str, dtype: str, level: str) -> None:
    module = kernels_at(level, dtype)
    z, true_a, true_da_dz = truth(name, dtype)
    a, da_dz = activation_values(module, name, z)
    limits = LIMITS[name][0 if module.has_fma else 1]
    for what, value, true, limit in (
        ("a", a, true_a, limits[0]),
        ("da_dz", da_dz, true_da_dz, limits[1]),
    ):
        assert value.dtype == np.dtype(dtype)
        error = errors_in_ulp(value, true)
        if true.dtype == value.dtype:
            limit += 0.5  # by which the truth is rounded itself
        with np.errstate(invalid="ignore"):
            absolute = np.abs(value.astype(true.dtype) - true)
        allowed = np.zeros(len(z), bool)
        if name in ZEROS_OF_DERIVATIVE and what == "da_dz":
            allowed = np.abs(z - ZEROS_OF_DERIVATIVE[name]) < 0.5
            allowed &= absolute <= 1.25 * np.finfo(dtype).eps
        if name == "gelu":
            # Where Φ is subnormal its last digit counts |z| times.
            far = -12.5 if dtype == "float32" else -37.0
            allowed |= (z < far) & (absolute <= 40 * float(np.finfo(dtype).smallest_subnormal))
        error = np.where(allowed, 0.0, error)
        worst = int(np.argmax(error))
        assert error[worst] <= limit, (
            f"{what} is {value[worst]!r} at z = {float(z[worst]).hex()}, {error[worst]:.3f} ulp"
        )


@pytest.mark.parametrize(
    "name", [n for n in LIMITS if n not in ("relu", "identity", "leaky_relu", "selu")]
)
def test_the_wide_truth_agrees_with_sixty_digits(name: str) -> None:
    z = points("float64")
    z = np.concatenate([z[:100], z[30000::700]])
    z = z[np.abs(z) < (30 if name == "gelu" else 11000)]
    wide = z if name == "gelu" else z.astype(np.longdouble)
    tolerance = 2.0**-50 * 200 if name == "gelu" else 64 * float(np.finfo(np.longdouble).eps)
    with np.errstate(under="ignore", over="ignore"):
        got = wide_truth(name, wide)
    for value, true in zip(got, from_sixty_digits(name, z), strict=True):
        # Of the size of the terms: near a zero of the derivative they cancel.
        near = np.abs(z - ZEROS_OF_DERIVATIVE.get(name, 1e9)) < 0.5
        finite = np.isfinite(true)
        error = np.abs(value[finite] - true[finite])
        scale = np.where(near[finite], 1, np.abs(true[finite]))
        assert (error <= tolerance * scale + 1e-320).all()


@every_level
@every_name
@both_dtypes
def test_infinities_zeros_and_nan(name: str, dtype: str, level: str) -> None:
    module = kernels_at(level, dtype)
    kind = np.dtype(dtype).type
    a, da_dz = activation_values(module, name, np.array([np.inf, -np.inf, 0.0, np.nan], kind))
    at_zero = {
        "sigmoid": (0.5, 0.25),
        "tanh": (0, 1),
        "exponential": (1, 1),
        "relu": (0, 0),
        "leaky_relu": (0, kind(0.01)),
        "elu": (0, 1),
        "selu": (0, kind(1.7580993408473768599)),
        "gelu": (0, 0.5),
        "silu": (0, 0.5),
        "softplus": (kind(math.log(2)), 0.5),
        "softsign": (0, 1),
        "identity": (0, 1),
    }[name]
    limits = {
        "sigmoid": (1, 0, 0, 0),
        "tanh": (1, -1, 0, 0),
        "exponential": (np.inf, 0, np.inf, 0),
        "relu": (np.inf, 0, 1, 0),
        "leaky_relu": (np.inf, -np.inf, 1, kind(0.01)),
        "elu": (np.inf, -1, 1, 0),
        "selu": (np.inf, kind(-1.7580993408473768599), kind(1.0507009873554805), 0),
        "gelu": (np.inf, 0, 1, 0),
        "silu": (np.inf, 0, 1, 0),
        "softplus": (np.inf, 0, 1, 0),
        "softsign": (1, -1, 0, 0),
        "identity": (np.inf, -np.inf, 1, 1),
    }[name]
    assert (a[0], a[1], da_dz[0], da_dz[1]) == limits
    assert (a[2], da_dz[2]) == at_zero
    assert np.isnan(a[3])


@every_level
@every_name
@both_dtypes
def test_a_lane_knows_nothing_of_its_neighbours(name: str, dtype: str, level: str) -> None:
    module = kernels_at(level, dtype)
    lanes = module.lanes
    z = points(dtype)[::211]
    expected_a, expected_da_dz = activation_values(module, name, z)
    neighbours = np.array([np.nan, np.inf, -np.inf, 0.0, 1e30, -3.5, -1e-40], dtype)
    for lane in range(lanes):
        block = np.resize(neighbours, (len(z), lanes)).copy()
        block[:, lane] = z
        a, da_dz = activation_values(module, name, block.ravel())
        assert a.reshape(-1, lanes)[:, lane].tobytes() == expected_a.tobytes()
        assert da_dz.reshape(-1, lanes)[:, lane].tobytes() == expected_da_dz.tobytes()


@needs_two_fma_levels
@every_name
@both_dtypes
def test_levels_with_fma_give_the_same_bits(name: str, dtype: str) -> None:
    z = points(dtype)
    found = {
        tuple(part.tobytes() for part in activation_values(kernels_at(level, dtype), name, z))
        for level in FMA_LEVELS
    }
    assert len(found) == 1
