"""The calculus of backpropagation in NumPy: what the compiled kernels must compute.

Read it beside the lesson. The names are the kernels'; arrays stand where the kernels have pointers
and sizes, and results are returned where the kernels fill them in. n is the number of examples, l
counts layers, j the neurons of layer l and k those of layer l-1, so that w_jk joins neuron k to
neuron j and W has shape (n_out, n_in). z is the weighted input, a the activation, delta = ∂C/∂z.

Everything is written so that complex numbers pass through it: the imaginary part then carries a
derivative that owes nothing to the backward pass (see gradient_check.py).
"""

from __future__ import annotations

import math

import numpy as np

from cbackprop import layout
from cbackprop.functions import COSTS, Activation, Array, Cost
from cbackprop.update_rules import UpdateRule

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
LEAKY_SLOPE = 0.01


# ---- activations: a = σ(z) and da_dz = σ′(z) ----------------------------------------------------


def sigmoid_pair(z: Array) -> tuple[Array, Array, Array]:
    """σ(z), 1 − σ(z) = σ(−z) and σ′(z), all from e = exp(−|z|): nothing overflows or cancels.

    σ′(z) = e^(−z)/(1 + e^(−z))², which is even in z. Never a(1−a): that is 0 from z = 37 on.
    """
    positive = np.real(z) >= 0
    e = np.exp(np.where(positive, -z, z))
    one = np.ones_like(e)
    total = 1 + e
    return (
        np.where(positive, one, e) / total,
        np.where(positive, e, one) / total,
        e / (total * total),
    )


def softplus_pair(z: Array) -> tuple[Array, Array]:
    """ln(1 + e^z) = −ln σ(−z) and ln(1 + e^(−z)) = −ln σ(z)."""
    positive = np.real(z) >= 0
    tail = np.log1p(np.exp(np.where(positive, -z, z)))
    zero = np.zeros_like(z)
    return np.where(positive, z, zero) + tail, np.where(positive, zero, -z) + tail


def activation_values(name: str, z: Array) -> tuple[Array, Array]:
    """a = σ(z) and da_dz = σ′(z) of one elementwise activation, in the shape of z."""
    positive = np.real(z) > 0
    one = np.ones_like(z)
    if name == "sigmoid":
        a, _, da_dz = sigmoid_pair(z)
        return a, da_dz
    if name == "tanh":
        size = np.where(np.real(z) >= 0, z, -z)
        minus_one = np.expm1(-2 * size)
        a = -minus_one / (2 + minus_one)
        e = np.exp(-2 * size)
        return np.where(np.real(z) >= 0, a, -a), 4 * e / ((1 + e) * (1 + e))
    if name == "relu":
        return np.where(positive, z, 0 * one), np.where(positive, one, 0 * one)
    if name == "leaky_relu":
        slope = one * z.dtype.type(LEAKY_SLOPE)
        return np.where(positive, z, slope * z), np.where(positive, one, slope)
    if name in ("elu", "selu"):
        scale, alpha = (SELU_SCALE, SELU_ALPHA) if name == "selu" else (1.0, 1.0)
        below = np.where(positive, 0 * one, z)
        return (
            np.where(positive, scale * z, scale * alpha * np.expm1(below)),
            np.where(positive, scale * one, scale * alpha * np.exp(below)),
        )
    if name == "gelu":
        # Φ(z) = erfc(−z/√2)/2; φ(z) = e^(−z²/2)/√(2π)  (Hendrycks & Gimpel 2016).
        probability = _erfc(-z * math.sqrt(0.5)) / 2
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return _typed(z * probability, z), _typed(probability + z * density, z)
    if name == "silu":
        a, _, da_dz = sigmoid_pair(z)
        return z * a, a + z * da_dz
    if name == "softplus":
        return softplus_pair(z)[0], sigmoid_pair(z)[0]
    if name == "softsign":
        total = 1 + np.where(np.real(z) >= 0, z, -z)
        a = z / total
        if np.iscomplexobj(z):
            # The imaginary part of z/total is a difference, which cancels where |z| is large.
            a = np.where(np.abs(z) > 1, np.sign(np.real(z)) * (1 - 1 / total), a)
        return a, 1 / (total * total)
    if name == "exponential":
        e = np.exp(z)
        return e, e
    if name == "identity":
        return z.copy(), one
    raise KeyError(name)


def second_derivative(activation: str | Activation, z: Array, a: Array, da_dz: Array) -> Array:
    """σ″(z) of an elementwise activation, from z, a = σ(z) and da_dz = σ′(z)."""
    d2a_dz2: Array
    if isinstance(activation, Activation):
        d2a_dz2 = activation.checked_second_derivative(z)
    elif activation == "sigmoid":
        # σ′(1 − 2σ), and 1 − 2σ = −tanh(z/2) without the difference.
        d2a_dz2 = -da_dz * np.tanh(z / 2)
    elif activation == "tanh":
        d2a_dz2 = -2 * a * da_dz
    elif activation in ("elu", "selu"):
        d2a_dz2 = np.where(np.real(z) > 0, np.zeros_like(z), da_dz)
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
    elif activation in ("relu", "leaky_relu", "identity"):
        d2a_dz2 = np.zeros_like(z)
    else:
        raise KeyError(activation)
    return d2a_dz2


def activate(activation: str | Activation, z: Array) -> tuple[Array, Array]:
    """a and da_dz of any layer; for softmax, which is not elementwise, a and ln a."""
    if isinstance(activation, Activation):
        return activation.checked_value(z), activation.checked_derivative(z)
    return softmax(z) if activation == "softmax" else activation_values(activation, z)


def softmax(z: Array) -> tuple[Array, Array]:
    """a_j = exp(z_j − m)/Σ exp(z_i − m) and ln a_j, row by row; m is the largest z of the row.

    The largest term, 1, stays out of the sum of the rest: ln(1 + rest) keeps its digits when one
    output is nearly 1.
    """
    largest = np.argmax(np.real(z), axis=1)[:, np.newaxis]
    shifted = z - np.take_along_axis(z, largest, axis=1)
    e = np.exp(shifted)
    others = e.copy()
    np.put_along_axis(others, largest, 0, axis=1)
    rest = others.sum(axis=1, keepdims=True)
    return e / (1 + rest), shifted - np.log1p(rest)


def sums_of_others(x: Array) -> Array:
    """Σ_{i≠j} x_i for every j of each row: what stands before j plus what stands after it."""
    before = np.zeros_like(x)
    after = np.zeros_like(x)
    before[:, 1:] = np.cumsum(x[:, :-1], axis=1)
    after[:, :-1] = np.cumsum(x[:, :0:-1], axis=1)[:, ::-1]
    return before + after


def centred(a: Array, g: Array) -> Array:
    """g_j − Σ_i a_i g_i for a softmax's a (Σ a = 1), with 1 − a_j as the sum of the others."""
    rest: Array = g * sums_of_others(a) - sums_of_others(a * g)
    return rest


def softmax_slopes(a: Array) -> Array:
    """∂a_j/∂z_j = a_j(1 − a_j), (n, n_L), with 1 − a_j as the sum of the others."""
    with np.errstate(under="ignore"):
        slopes: Array = a * sums_of_others(a)
    return slopes


def softmax_jacobian(a: Array, columns: slice = slice(None)) -> Array:
    """∂a_i/∂z_j = a_i([i = j] − a_j), (n, n_L, n_L); of some j alone with these ``columns``."""
    with np.errstate(under="ignore"):
        jacobian: Array = -a[:, :, np.newaxis] * a[:, np.newaxis, columns]
    j = np.arange(a.shape[1], dtype=np.intp)[columns]
    jacobian[:, j, np.arange(len(j), dtype=np.intp)] = softmax_slopes(a)[:, columns]
    return jacobian


# ---- cost, ∂C/∂a and delta of the output layer --------------------------------------------------


def cost_formula(
    cost: str, activation: str, z: Array, a: Array, da_dz: Array, y: Array
) -> tuple[Array, Array, Array]:
    """Each output's part of C_i, ∂C_i/∂a and delta = ∂C_i/∂z, all (n, n_L).

    delta = ∂C/∂a · ∂a/∂z, except where the two saturate in opposite directions (cross_entropy,
    poisson): there the product is taken before rounding, from z. Softmax is not elementwise; its
    delta comes from `softmax_delta`. A cost that is a mean over j returns its parts over n_L.
    """
    r = a - y
    n_out = a.shape[1]
    if cost == "quadratic":
        C, g = r * r, 2 * r
    elif cost == "half_quadratic":
        C, g = r * r / 2, r
    elif cost == "mse":
        C, g = r * r / n_out, 2 * r / n_out
    elif cost == "mae":
        size = np.where(np.real(r) >= 0, r, -r)
        C, g = size / n_out, np.sign(np.real(r)).astype(r.dtype) / n_out
    elif cost == "huber":
        size = np.where(np.real(r) >= 0, r, -r)
        near = np.real(size) <= 1
        C = np.where(near, r * r / 2, size - size.dtype.type(0.5)) / n_out
        g = np.where(near, r, np.sign(np.real(r)).astype(r.dtype)) / n_out
    elif cost == "cross_entropy":
        # −y ln a − (1−y) ln(1−a); delta = (1−y)·a − y·(1−a).
        a, b, _ = sigmoid_pair(z)
        plus, minus = softplus_pair(z)
        C = y * minus + (1 - y) * plus
        g = _ratio(1 - y, b) - _ratio(y, a)
        return C, g, (1 - y) * a - y * b
    elif cost == "poisson":
        # a − y ln a
        g = (1 - _ratio(y, a)) / n_out
        if activation == "exponential":
            return (a - y * z) / n_out, g, r / n_out
        if activation == "sigmoid":
            _, b, _ = sigmoid_pair(z)
            return (a + y * softplus_pair(z)[1]) / n_out, g, b * r / n_out
        if activation != "softplus":
            raise KeyError(activation)
        # a → e^z, so ln a → z and da_dz/a → 1 where both underflow.
        log_a = np.where(np.real(z) < -50, z, np.log(np.where(a == 0, 1, a)))
        share = np.where(a == 0, np.ones_like(a), da_dz / np.where(a == 0, 1, a))
        return (a - y * log_a) / n_out, g, (da_dz - y * share) / n_out
    else:
        raise KeyError(cost)
    return C, g, g * da_dz


def cost_of_activations(cost: str, activation: str | Activation, a: Array, y: Array) -> Array:
    """C_i (n,) of a cost with a special form, of outputs a that need not be those of any z."""
    y_log_a = _product(y, np.log(a))
    if cost == "poisson":
        mean: Array = (a - y_log_a).mean(axis=1)
        return mean
    if cost != "cross_entropy":
        raise KeyError(cost)
    if activation != "softmax":
        y_log_a += _product(1 - y, np.log1p(-a))
    total: Array = -y_log_a.sum(axis=1)
    return total


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
    if COSTS[cost].is_mean:
        d2C_da2 /= a.shape[1]
    return d2C_da2


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
    if activation != "softplus":
        raise KeyError(activation)
    # With s = σ(z)/ln(1 + e^z), s′ = s(1 − σ(z) − s)
    below = np.exp(np.minimum(z, 0))
    log = np.where(z > 0, z, 0) + np.log1p(e)
    share = np.where(z >= 0, larger, smaller) / np.where(log == 0, 1, log)
    share = np.where(log == 0, 1, share)
    # 1 − σ − s = (1 − σ)(ln(1 + e^z) − e^z)/ln(1 + e^z) where that cancels, z < 0.
    slope = np.where(
        z >= 0, share * (smaller - share), share * larger * log1p_minus(np.where(z < 0, below, 0))
    )
    return share, slope


def softmax_cost(cost: str, a: Array, log_a: Array, y: Array) -> tuple[Array, Array]:
    """C_i's parts and ∂C_i/∂a for the two costs that softmax takes from its logarithm."""
    C, g = -_product(y, log_a), -_ratio(y, a)
    if cost == "cross_entropy":
        return C, g
    if cost == "poisson":
        return (a + C) / a.shape[1], (1 + g) / a.shape[1]
    raise KeyError(cost)


def softmax_delta(
    cost: str | Cost, a: Array, y: Array, dC_da: Array, missing: Array | None = None
) -> Array:
    """delta_j = Σ_i ∂C/∂a_i · ∂a_i/∂z_j, without subtracting anything from 1.

    cross_entropy: a_j Σ_{i≠j} y_i − y_j Σ_{i≠j} a_i, and poisson the same over n_L; any other
    cost: a_j (g_j Σ_{i≠j} a_i − Σ_{i≠j} a_i g_i) with g = ∂C/∂a.

    Where targets are ``missing``, (n, n_L), their y and ∂C/∂a are 0. Only for poisson is that not
    all: of Σ_j a_j, which is 1 and has no derivative, some a_j are left out. To delta_j comes
    a_j · (the sum of those) or, where y_j is missing itself, −a_j · (the sum of the others).
    """
    if isinstance(cost, Cost) or not COSTS[cost].delta_from_z:
        delta: Array = a * centred(a, dC_da)
        return delta
    if cost not in ("cross_entropy", "poisson"):
        raise KeyError(cost)
    delta = a * sums_of_others(y) - y * sums_of_others(a)
    if cost == "poisson" and missing is not None:
        nothing = np.zeros_like(a)
        left_out: Array = np.where(missing, a, nothing).sum(axis=1, keepdims=True)
        left_in: Array = np.where(missing, nothing, a).sum(axis=1, keepdims=True)
        further: Array = a * np.where(missing, -left_in, left_out)
        delta = delta + further
    return delta / a.shape[1] if COSTS[cost].is_mean else delta


def softmax_terms(cost: str | Cost, a: Array, y: Array, dC_da: Array, j: int) -> Array:
    """∂C/∂a_i · ∂a_i/∂z_j = a_i ∂C/∂a_i · ([i = j] − a_j) of every output i, (n, n_L).

    Their sum is delta_j. a_i ∂C/∂a_i is −y_i for cross_entropy and (a_i − y_i)/n_L for poisson,
    also where a_i has vanished and ∂C/∂a_i is infinite.
    """
    if isinstance(cost, Cost) or not COSTS[cost].delta_from_z:
        share = a * dC_da
    elif cost == "cross_entropy":
        share = -y
    elif cost == "poisson":
        share = (a - y) / a.shape[1]
    else:
        raise KeyError(cost)
    terms: Array = -share * a[:, j, np.newaxis]
    terms[:, j] = share[:, j] * sums_of_others(a)[:, j]
    return terms + 0.0  # what an output without a target adds is 0, and not −0


# ---- the three products -------------------------------------------------------------------------


def weighted_input(W: Array, b: Array, a: Array) -> Array:
    """z_j = Σ_k w_jk a_k + b_j, (n, n_out)."""
    z: Array = a @ W.T + b
    return z


def propagate_delta(W: Array, delta: Array) -> Array:
    """∂C/∂a_k = Σ_j w_jk delta_j, (n, n_in): the sum over every path."""
    dC_da: Array = delta @ W
    return dC_da


def accumulate_gradient(a: Array, delta: Array) -> tuple[Array, Array]:
    """Σ_i ∂C_i/∂w_jk = Σ_i a_k delta_j, (n_out, n_in), and Σ_i ∂C_i/∂b_j = Σ_i delta_j."""
    return delta.T @ a, delta.sum(axis=0)


def add_normal_equations(sums: Array, J: Array, r: Array) -> None:
    """Add (J r)ᵀ(J r), JᵀJ with Jᵀr and ‖r‖², to the bands that ``sums`` has of it."""
    rows = np.column_stack((J, r))
    size = rows.shape[1]
    for first, band in layout.bands(sums, size):
        product = rows[:, first : first + len(band)].T @ rows[:, first:]
        # NumPy 2.0's OpenBLAS rounds the halves of the square on the diagonal each in its own way.
        square = product[:, : len(band)]
        np.copyto(square, square.T, where=np.tri(len(band), k=-1, dtype=bool))
        if first + len(band) == size:
            product[-1, -1] = np.dot(r, r)  # the same bits whatever J is
        band[:, : size - first] += product


def per_example_gradient(a: Array, delta: Array) -> tuple[Array, Array]:
    """∂C_i/∂w_jk = a_k delta_j, (n, n_out, n_in), and ∂C_i/∂b_j = delta_j, (n, n_out)."""
    return delta[:, :, np.newaxis] * a[:, np.newaxis, :], delta


def scaled(x: Array) -> tuple[Array, Array]:
    """The rows of x in float64, divided by the largest |x| of each, and these, (n,)."""
    x = x.astype(np.float64, copy=False)
    largest = np.abs(x).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, largest, 1)
    return x / scale[:, np.newaxis], scale


def scaled_lengths(x: Array) -> tuple[Array, Array]:
    """Euclidean lengths of the rows as two factors (n,), float64: of x/s, and s, the largest |x|.

    So no square overflows, and none vanishes that matters.
    """
    part, scale = scaled(x)
    return np.sqrt((part**2).sum(axis=1)), scale


def _with_bias(a: Array) -> Array:
    """The rows of a with a 1 at the end: what a bias multiplies."""
    return np.concatenate([a, np.ones_like(a[:, :1])], axis=1)


def gradient_norms(a: list[Array], delta: list[Array]) -> Array:
    """‖∇C_i‖ = √Σ_l ‖δ‖²(‖a‖² + 1), (n,), float64, from the a below and the δ of every layer.

    An outer product's norm is the product of the norms, and a bias counts as an activation of 1
    (Goodfellow 2015, "Efficient per-example gradient computations", arXiv:1510.01799).
    """
    layers: list[Array] = []
    for a_below, delta_l in zip(a, delta, strict=True):
        a_length, a_scale = scaled_lengths(_with_bias(a_below))
        delta_length, delta_scale = scaled_lengths(delta_l)
        layers.append(delta_scale * a_scale * (delta_length * a_length))
    length, scale = scaled_lengths(np.stack(layers, axis=1))
    norms: Array = length * scale
    return norms


def gradient_gram(
    a: list[Array], delta: list[Array], a2: list[Array], delta2: list[Array]
) -> Array:
    """⟨∇C_i, ∇C_j⟩ = Σ_l (δ_i · δ_j)(a_i · a_j + 1), (n, n2), float64, of two sets of examples.

    The inner product of two outer products is the product of the inner products. δ and a are scaled
    to the size of 1, so that no product of two small ones vanishes that matters, and none of two
    large ones overflows; the larger scale is multiplied first for the same reason.
    """
    total = np.zeros((len(a[0]), len(a2[0])))
    for a_l, delta_l, a2_l, delta2_l in zip(a, delta, a2, delta2, strict=True):
        inner: list[tuple[Array, Array]] = []
        scales: list[Array] = []
        for a_s, delta_s in ((a_l, delta_l), (a2_l, delta2_l)):
            a_part, a_scale = scaled(_with_bias(a_s))
            delta_part, delta_scale = scaled(delta_s)
            inner.append((delta_part, a_part))
            scales.append(delta_scale * a_scale)
        product: Array = (inner[0][0] @ inner[1][0].T) * (inner[0][1] @ inner[1][1].T)
        left, right = scales[0][:, np.newaxis], scales[1]
        total += product * np.maximum(left, right) * np.minimum(left, right)
    return total


def clipping_factors(norms: Array, max_norm: float) -> Array:
    """min(1, max_norm/‖∇C_i‖), (n,), float64."""
    factors: Array = max_norm / np.maximum(norms, max_norm)
    return factors


def limit_length(g: Array, max_norm: float) -> None:
    """Shorten a batch's mean gradient to g · min(1, max_norm/‖g‖), in place."""
    length, scale = scaled_lengths(g[np.newaxis])
    # In float64, as clipping_factors; divided one by one, since the norm itself may overflow.
    factor = max_norm / scale[0] / length[0] if length[0] > 0 else 1.0
    if factor < 1:
        g[...] = g.astype(np.float64) * factor


def scaled_up(weight: Array) -> tuple[Array, int]:
    """A batch's weights times 2^shift, and the shift: 0 but where all of them are tiny.

    Only the ratios of weights matter in a batch, but 1/Σw must be a number, and wδ keep its digits.
    """
    largest = float(weight.max(initial=0.0))
    shift = -math.frexp(largest)[1] if 0 < largest < 2.0**-32 else 0
    scaled: Array = np.ldexp(weight, shift)
    return scaled, shift


# ---- updates, PyTorch's formulas ----------------------------------------------------------------


def sgd_update(w: Array, g: Array, learning_rate: float) -> None:
    """w ← w − η g, in place."""
    w -= w.dtype.type(learning_rate) * g


def momentum_update(
    w: Array, velocity: Array, g: Array, learning_rate: float, momentum: float, nesterov: bool
) -> None:
    """v ← μ v + g; w ← w − η v, or − η (g + μ v) for Nesterov's form, in place."""
    velocity *= w.dtype.type(momentum)
    velocity += g
    step = g + w.dtype.type(momentum) * velocity if nesterov else velocity
    w -= w.dtype.type(learning_rate) * step


def adam_update(
    w: Array,
    m: Array,
    v: Array,
    g: Array,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    t: int,
) -> None:
    """m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − η/(1−β₁ᵗ) · m/(√v/√(1−β₂ᵗ) + ε), in place."""
    number = w.dtype.type
    m *= number(beta1)
    m += number(1 - beta1) * g
    v *= number(beta2)
    v += number(1 - beta2) * g * g
    denominator = np.sqrt(v) / number(math.sqrt(1 - beta2**t)) + number(epsilon)
    w -= number(learning_rate / (1 - beta1**t)) * (m / denominator)


def rmsprop_update(
    w: Array,
    v: Array,
    mean: Array | None,
    velocity: Array | None,
    g: Array,
    learning_rate: float,
    alpha: float,
    epsilon: float,
    momentum: float,
) -> None:
    """v ← αv + (1−α)g²; w ← w − η g/(√v + ε), in place.

    Centred, with mean ← α mean + (1−α)g: √(v − mean²) instead of √v. With momentum, velocity ←
    μ velocity + that step, and w ← w − η velocity.
    """
    number = w.dtype.type
    v *= number(alpha)
    v += number(1 - alpha) * g * g
    spread = v
    if mean is not None:
        mean[...] = number(alpha) * mean + number(1 - alpha) * g
        spread = np.maximum(v - mean * mean, number(0))
    step = g / (np.sqrt(spread) + number(epsilon))
    if velocity is not None:
        velocity *= number(momentum)
        velocity += step
        step = velocity
    w -= number(learning_rate) * step


def adagrad_update(w: Array, total: Array, g: Array, learning_rate: float, epsilon: float) -> None:
    """total ← total + g²; w ← w − η g/(√total + ε), in place."""
    total += g * g
    w -= w.dtype.type(learning_rate) * (g / (np.sqrt(total) + w.dtype.type(epsilon)))


def rprop_update(
    w: Array,
    previous: Array,
    size: Array,
    change: Array,
    g: Array,
    first_size: float,
    shrink: float,
    grow: float,
    least: float,
    most: float,
    go_back: bool,
) -> None:
    """iRprop⁺ (Igel & Hüsken 2003), in place: signs of the gradient alone, a step size per weight.

    Where g has the sign of the previous one the size grows, where it has the other one the size
    shrinks, no step is taken and g counts as 0 the next time; with ``go_back``, which says that the
    cost has grown, the last change is taken back there. A size of 0 is one not yet set.
    """
    number = w.dtype.type
    size[...] = np.where((size == 0) & (g != 0), number(first_size), size)
    s = np.sign(g) * np.sign(previous)
    size[...] = np.where(
        s > 0,
        np.minimum(size * number(grow), number(most)),
        np.where(s < 0, np.maximum(size * number(shrink), number(least)), size),
    )
    previous[...] = np.where(s < 0, number(0), g)
    back = -change if go_back else np.zeros_like(change)
    change[...] = np.where(s < 0, back, -np.sign(previous) * size)
    w += change


def take_step(
    rule: UpdateRule,
    w: Array,
    slots: tuple[Array, ...],
    g: Array,
    learning_rate: float,
    t: int,
    cost_has_grown: bool,
) -> None:
    """Step number t ≥ 1 of a rule along a batch's mean gradient g, in place."""
    name, h = rule.name, rule.hyper_parameters
    if name == "sgd":
        sgd_update(w, g, learning_rate)
    elif name in ("momentum", "nesterov"):
        (velocity,) = slots
        momentum_update(w, velocity, g, learning_rate, h["momentum"], name == "nesterov")
    elif name in ("adam", "adamw"):
        if name == "adamw":
            w *= w.dtype.type(1 - learning_rate * h["weight_decay"])
        m, v = slots
        adam_update(w, m, v, g, learning_rate, h["beta1"], h["beta2"], h["epsilon"], t)
    elif name == "rmsprop":
        state = dict(zip(rule.slots, slots, strict=True))
        v, mean, mu = state["v"], state.get("m"), h["momentum"]
        rmsprop_update(w, v, mean, state.get("u"), g, learning_rate, h["alpha"], h["epsilon"], mu)
    elif name == "adagrad":
        rate = learning_rate / (1 + (t - 1) * h["learning_rate_decay"])
        (total,) = slots
        adagrad_update(w, total, g, rate, h["epsilon"])
    elif name == "rprop":
        shrink, grow, least, most = h["shrink"], h["grow"], h["least"], h["most"]
        first = min(max(learning_rate, least), most)
        go_back = bool(h["takes_back"]) and cost_has_grown
        previous, size, change = slots
        rprop_update(w, previous, size, change, g, first, shrink, grow, least, most, go_back)
    else:
        raise KeyError(name)


def penalty_gradient(W: Array, l1: float, l2: float) -> Array:
    """∂/∂w of l1 Σ|w| + (l2/2) Σw²: l2 w + l1 sign(w), 0 at 0."""
    slope: Array = W.dtype.type(l2) * W + W.dtype.type(l1) * np.sign(W)
    return slope


def limit_norms(W: Array, max_norm: float) -> None:
    """Shorten each neuron's incoming weights w_j· to a length of max_norm at most, in place.

    (Srivastava et al. 2014, "Dropout", section 5.1.)
    """
    length, scale = scaled_lengths(W)
    with np.errstate(divide="ignore"):
        factor = np.where(length * scale > max_norm, max_norm / scale / length, 1.0)
    W *= factor.astype(W.dtype)[:, np.newaxis]


def shuffle(order: Array, words: Array) -> None:
    """Fisher and Yates: for i = n−1 … 1 swap i with ⌊(i + 1)u⌋, u the upper half of words[i]."""
    for i in range(len(order) - 1, 0, -1):
        j = ((int(words[i]) >> 32) * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]


def _ratio(y: Array, a: Array) -> Array:
    """y / a, 0 where y is 0 whatever a is."""
    nothing = y == 0
    return np.where(nothing, np.zeros_like(a), y / np.where(nothing, np.ones_like(a), a))


def _product(y: Array, log_a: Array) -> Array:
    """y · ln a, 0 where y is 0 whatever the logarithm is."""
    return np.where(y == 0, np.zeros_like(log_a), y * np.where(y == 0, 0, log_a))


def _erfc(x: Array) -> Array:
    """The complementary error function, number by number: NumPy has none.

    Of a complex number to first order in its imaginary part, erfc(x + ih) = erfc(x) + ih·erfc′(x)
    with erfc′(x) = −2/√π·e^(−x²): enough for a step of 1e-21, whose square is beyond all digits.
    """
    real = np.real(x)
    value: Array = np.array([math.erfc(number) for number in real.ravel().tolist()])
    value = value.reshape(x.shape)
    if np.isrealobj(x):
        return value
    slope = -2 / math.sqrt(math.pi) * np.exp(-real * real)
    value = value + 1j * (np.imag(x) * slope)
    return value


def _typed(array: Array, like: Array) -> Array:
    return array.astype(like.dtype, copy=False)
