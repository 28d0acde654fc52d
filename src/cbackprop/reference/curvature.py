"""Second derivatives in NumPy: how z, a and delta move when the parameters move along v.

R{x} is the derivative of x along v, d/dr x(w + rv) at r = 0 (Pearlmutter 1994, "Fast exact
multiplication by the Hessian", Neural Computation 6:147–160). Applied to every line of the forward
and the backward pass it yields R{∇C} = Hv at the price of about two gradients, exactly:

    R{z} = W R{a₋} + V a₋ + v_b                 R{a} = σ′ R{z}
    R{δ} = (W⁺ᵀ R{δ⁺} + V⁺ᵀ δ⁺) σ′ + (∂C/∂a) σ″ R{z}        R{∂C/∂W} = R{δ} a₋ᵀ + δ R{a₋}ᵀ

The Gauss–Newton matrix JᵀHJ (Schraudolph 2002, Neural Computation 14:1723–1738) leaves out what
comes from the network's own curvature. J is the Jacobian of the network's outputs, H the Hessian of
the cost as a function of these outputs: of z for cross_entropy, of a for every other cost.

relu, leaky_relu, elu, selu, softsign, mae and huber have kinks in the value or in a derivative:
their second derivative there is the one of the side that the first derivative takes (0 for softsign
and mae); a jump of the first derivative itself counts as 0.
"""

from __future__ import annotations

import math

import numpy as np

from cbackprop.functions import Activation, Array, Cost, read_only
from cbackprop.reference.calculus import sums_of_others


def second_derivative(activation: str | Activation, z: Array, a: Array, da_dz: Array) -> Array:
    """σ″(z) of an elementwise activation, from z, a = σ(z) and da_dz = σ′(z)."""
    d2a_dz2: Array
    if isinstance(activation, Activation):
        d2a_dz2 = activation.checked_second_derivative(read_only(z))
    elif activation == "sigmoid":
        # σ′(1 − 2σ), and 1 − 2σ = −tanh(z/2) without the difference.
        d2a_dz2 = -da_dz * np.tanh(z / 2)
    elif activation == "tanh":
        d2a_dz2 = -2 * a * da_dz
    elif activation in ("elu", "selu"):
        d2a_dz2 = np.where(z.real > 0, np.zeros_like(z), da_dz)
    elif activation == "gelu":
        # 2φ + zφ′ with φ′ = −zφ; from z² = 4000 on all is 0, and z² may be infinite.
        square = np.minimum(z * z, 4000)
        d2a_dz2 = (2 - square) * np.exp(-square / 2) / math.sqrt(2 * math.pi)
    elif activation == "silu":
        # 2σ′ + zσ″ of the sigmoid
        e = np.exp(-np.abs(z))
        d2a_dz2 = e / ((1 + e) * (1 + e)) * (2 - z * np.tanh(z / 2))
    elif activation == "softplus":
        e = np.exp(-np.abs(z))
        d2a_dz2 = e / ((1 + e) * (1 + e))
    elif activation == "softsign":
        d2a_dz2 = -2 * np.sign(z) * da_dz / (1 + np.abs(z))
    elif activation == "exponential":
        d2a_dz2 = a
    else:  # relu, leaky_relu, identity
        d2a_dz2 = np.zeros_like(z)
    return d2a_dz2


def log1p_minus(e: Array) -> Array:
    """(ln(1 + e) − e)/ln(1 + e) for 0 ≤ e ≤ 1, −e/2 + e²/12 − … near 0, where it would cancel."""
    log = np.log1p(e)
    series = np.zeros_like(e)
    for k in range(20, 1, -1):
        series = (-1.0) ** (k + 1) / k + e * series
    # ln(1 + e)/e → 1; e² would vanish long before e does.
    some = np.where(log == 0, 1, log)
    quotient: Array = np.where(e < 0.125, e * series * (e / some), (log - e) / some)
    return quotient


def poisson_share(activation: str, z: Array) -> tuple[Array, Array]:
    """(da_dz)/a and its derivative by z, for the outputs that poisson takes."""
    if activation == "exponential":
        return np.ones_like(z), np.zeros_like(z)
    e = np.exp(-np.abs(z))
    smaller, larger = e / (1 + e), 1 / (1 + e)
    if activation == "sigmoid":
        # 1 − a, and −σ′
        return np.where(z >= 0, smaller, larger), -e / ((1 + e) * (1 + e))
    # softplus: with s = σ(z)/ln(1 + e^z), s′ = s(1 − σ(z) − s)
    below = np.exp(np.minimum(z, 0))
    log = np.where(z > 0, z, 0) + np.log1p(e)
    share = np.where(z >= 0, larger, smaller) / np.where(log == 0, 1, log)
    share = np.where(log == 0, 1, share)
    # 1 − σ − s = (1 − σ)(ln(1 + e^z) − e^z)/ln(1 + e^z) where that cancels, z < 0.
    slope = np.where(
        z >= 0, share * (smaller - share), share * larger * log1p_minus(np.where(z < 0, below, 0))
    )
    return share, slope


def cost_curvature(cost: str, a: Array, y: Array) -> Array:
    """∂²C/∂a_j², (n, n_L), of the costs that have no special form; the mixed ones are 0."""
    d2C_da2: Array
    if cost in ("quadratic", "mse"):
        d2C_da2 = np.full_like(a, 2)
    elif cost == "half_quadratic":
        d2C_da2 = np.ones_like(a)
    elif cost == "huber":
        d2C_da2 = np.where(np.abs(a - y) <= 1, np.ones_like(a), np.zeros_like(a))
    elif cost == "mae":
        d2C_da2 = np.zeros_like(a)
    else:
        raise KeyError(cost)
    if cost in ("mse", "huber"):
        d2C_da2 /= a.shape[1]
    return d2C_da2


def output_curvature(
    cost: str,
    activation: str,
    z: Array,
    a: Array,
    da_dz: Array,
    dC_da: Array,
    y: Array,
    d2a_dz2: Array,
    gauss_newton: bool,
) -> Array:
    """∂²C/∂z_j² of an elementwise output layer, or the part of it that Gauss–Newton keeps."""
    if cost == "cross_entropy":
        return da_dz  # δ = σ(z) − y
    if cost == "poisson":
        # C = (a − y ln a)/n_L: ∂C/∂z = (σ′ − ys)/n_L with s = σ′/a, and a²∂²C/∂a² = y/n_L.
        share, slope = poisson_share(activation, z)
        part: Array = y * share * share if gauss_newton else d2a_dz2 - y * slope
        part = part / a.shape[1]
        return part
    part = cost_curvature(cost, a, y) * da_dz * da_dz
    if not gauss_newton:
        part = part + dC_da * d2a_dz2
    return part


def centred(a: Array, g: Array) -> Array:
    """g_j − Σ_i a_i g_i for a softmax's a (Σ a = 1), with 1 − a_j as the sum of the others."""
    rest: Array = g * sums_of_others(a) - sums_of_others(a * g)
    return rest


def softmax_curvature(
    cost: str | Cost, a: Array, dC_da: Array, y: Array, R_z: Array, gauss_newton: bool
) -> Array:
    """R{δ} of a softmax output layer.

    With t = R{z} − Σ a R{z} it has R{a} = a t, and δ = a u with u = ∂C/∂a − Σ a ∂C/∂a; so that
    R{δ} = a (h − Σ a h) with h = R{∂C/∂a} + t u. Gauss–Newton drops t u. cross_entropy, whose
    δ is a Σy − y, has R{δ} = R{a} Σy.
    """
    t = centred(a, R_z)
    R_a = a * t
    R_delta: Array
    if cost == "cross_entropy" or (cost == "poisson" and not gauss_newton):
        R_delta = R_a * y.sum(axis=1, keepdims=True)
        if cost == "poisson":
            R_delta = R_delta / a.shape[1]
        return R_delta
    if cost == "poisson":
        # a R{∂C/∂a} = y t/n_L
        R_delta = (y * t * sums_of_others(a) - a * sums_of_others(y * t)) / a.shape[1]
        return R_delta
    if isinstance(cost, Cost):
        h = cost.checked_hessian_vector_product(read_only(a), read_only(y), read_only(R_a))
    else:
        h = cost_curvature(cost, a, y) * R_a
    if not gauss_newton:
        h = h + t * centred(a, dC_da)
    R_delta = a * centred(a, h)
    return R_delta
