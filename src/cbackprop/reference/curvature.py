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

from cbackprop.functions import Array, Cost
from cbackprop.reference.calculus import centred, cost_curvature, poisson_share, sums_of_others


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
        h = cost.checked_hessian_vector_product(a, y, R_a)
    else:
        h = cost_curvature(cost, a, y) * R_a
    if not gauss_newton:
        h = h + t * centred(a, dC_da)
    R_delta = a * centred(a, h)
    return R_delta
