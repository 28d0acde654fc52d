# Costs of one example: value, dC/da, delta at the output layer, and the second derivatives that curvature asks for.
#
# a) The formulas stand here and, for NumPy, in calculus.py and curvature.py.
# b) A further cost: a row in functions.py, its formulas there, and here an id, a name and a branch in each function.
# c) Where dC/da and da/dz saturate in opposite directions (cross_entropy with sigmoid, poisson), delta is their
#    product formed before rounding, from z; after rounding it would be 0 times infinity.
# d) An id that no branch knows makes NaN, as in activations.pyx.
# e) Sums over outputs j run in the lanes of one 64-byte group whatever the vector's width and are then folded in a
#    fixed order: the same bits on every SIMD level.

from libc.math cimport NAN

from cbackprop.kernels.math cimport log1p_minus, sigmoid_pair, vec_exp, vec_log, vec_log1p
from cbackprop.kernels.simd cimport (
    LANES, real, vec, vec_abs, vec_fma, vec_load, vec_load_partial, vec_min, vec_set1, vec_store, vec_where_ge,
    vec_where_gt,
)

cdef enum:
    QUADRATIC, HALF_QUADRATIC, MSE, CROSS_ENTROPY, MAE, HUBER, POISSON
    USER_COST

COSTS = {
    "quadratic": QUADRATIC, "half_quadratic": HALF_QUADRATIC, "mse": MSE, "cross_entropy": CROSS_ENTROPY, "mae": MAE,
    "huber": HUBER, "poisson": POISSON,
}


cdef inline real divisor(int cost, Py_ssize_t n_out) noexcept nogil:
    """n_L where the cost is the mean over the outputs j, 1 where it is their sum."""
    if cost == MSE or cost == MAE or cost == HUBER or cost == POISSON:
        return <real> n_out
    elif cost == QUADRATIC or cost == HALF_QUADRATIC or cost == CROSS_ENTROPY:
        return 1
    return <real> NAN


cdef inline void softplus_pair(vec z, vec *plus, vec *minus) noexcept nogil:
    """softplus(z) = -ln sigma(-z) and softplus(-z) = -ln sigma(z)."""
    cdef vec zero = vec_set1(0)
    cdef vec tail = vec_log1p(vec_exp(-vec_abs(z)))
    plus[0] = vec_where_gt(z, zero, z, zero) + tail
    minus[0] = vec_where_gt(z, zero, zero, -z) + tail


cdef inline void cost_formula(
    int cost, int activation,
    vec *C, vec *dC_da, vec *delta,             # OUT, each output's own part
    vec z, vec a, vec da_dz, vec y, vec n_out,  # IN
) noexcept nogil:
    """One output j: its part of the cost, dC/da and delta = dC/dz.

    delta = dC/da . da/dz, except where the two factors saturate in opposite directions (cross_entropy with sigmoid,
    poisson): there it is the product taken before rounding, from z.
    """
    cdef vec zero = vec_set1(0), one = vec_set1(1), half = vec_set1(<real> 0.5)
    cdef vec r = a - y
    cdef vec size = vec_abs(r)
    cdef vec g, b, sigma_prime, plus, minus, ratio, unknown = vec_set1(<real> NAN)
    if cost == QUADRATIC:
        C[0] = r * r
        g = r + r
    elif cost == HALF_QUADRATIC:
        C[0] = half * (r * r)
        g = r
    elif cost == MSE:
        C[0] = r * r
        g = (r + r) / n_out
    elif cost == MAE:
        C[0] = size
        g = vec_where_gt(r, zero, one, vec_where_gt(zero, r, -one, zero)) / n_out
    elif cost == HUBER:
        C[0] = vec_where_ge(one, size, half * (r * r), size - half)
        g = vec_where_ge(one, size, r, vec_where_gt(r, zero, one, -one)) / n_out
    elif cost == CROSS_ENTROPY and activation == SIGMOID:
        # -y ln a - (1 - y) ln(1 - a); delta = (1 - y) a - y (1 - a) with 1 - a = sigma(-z).
        sigmoid_pair(z, &a, &b, &sigma_prime)
        softplus_pair(z, &plus, &minus)
        C[0] = y * minus + (one - y) * plus
        delta[0] = (one - y) * a - y * b
        dC_da[0] = vec_where_gt(one, y, (one - y) / b, zero) - vec_where_gt(y, zero, y / a, zero)
        return
    elif cost == POISSON:
        # a - y ln a; y / a and y ln a are 0 for y = 0.
        g = (one - vec_where_gt(y, zero, y / a, zero)) / n_out
        if activation == EXPONENTIAL:
            C[0] = a - y * z
            delta[0] = r / n_out
        elif activation == SIGMOID:
            sigmoid_pair(z, &a, &b, &sigma_prime)
            softplus_pair(z, &plus, &minus)
            C[0] = a + y * minus
            delta[0] = b * r / n_out
        elif activation == SOFTPLUS:
            # ln a = z to rounding below -50, where a itself underflows in the end; so da_dz / a tends to 1.
            ratio = vec_where_gt(a, zero, da_dz / a, one)
            C[0] = a - vec_where_gt(y, zero, y * vec_where_gt(vec_set1(-50), z, z, vec_log(a)), zero)
            delta[0] = (da_dz - y * ratio) / n_out
        else:
            C[0] = delta[0] = unknown
        dC_da[0] = g
        return
    else:
        C[0] = dC_da[0] = delta[0] = unknown
        return
    dC_da[0] = g
    delta[0] = g * da_dz


cdef void softmax_delta_row(
    real *delta_j,                                                                      # OUT (n_out,)
    const real *a_j, const real *y_j, const real *dC_da_j, Py_ssize_t n_out, int cost,  # IN
    real *scratch, Py_ssize_t ld,                                                       # (3, ld)
) noexcept nogil:
    """delta_j = sum_i dC/da_i . da_i/dz_j with da_i/dz_j = a_i ([i = j] - a_j).

    cross_entropy:  a_j sum_{i!=j} y_i - y_j sum_{i!=j} a_i;  poisson: the same over n_L
    any other cost: a_j (g_j sum_{i!=j} a_i - sum_{i!=j} a_i g_i),  g = dC/da
    """
    cdef Py_ssize_t j
    cdef real *others_a = scratch
    cdef real *others_y = scratch + ld
    if cost == CROSS_ENTROPY or cost == POISSON:
        sums_of_others(others_a, a_j, n_out)
        sums_of_others(others_y, y_j, n_out)
        for j in range(n_out):
            delta_j[j] = a_j[j] * others_y[j] - y_j[j] * others_a[j]
            if cost == POISSON:
                delta_j[j] = delta_j[j] / <real> n_out
    else:
        softmax_product(delta_j, delta_j, a_j, dC_da_j, n_out, scratch, ld)


cdef void add_left_out(
    real *delta_j,                                        # IN/OUT (n_out,)
    const real *a_j, const real *y_j, Py_ssize_t n_out,  # IN     (n_out,); y is NaN where a target is missing
) noexcept nogil:
    """What poisson's delta is besides, where targets are missing: of sum_j a_j, which is 1 and has no derivative, their
    a_j are left out (calculus.softmax_delta).
    """
    cdef Py_ssize_t j
    cdef real left_out = 0, left_in = 0
    for j in range(n_out):
        if y_j[j] == y_j[j]:
            left_in = left_in + a_j[j]
        else:
            left_out = left_out + a_j[j]
    for j in range(n_out):
        delta_j[j] = delta_j[j] + a_j[j] * (left_out if y_j[j] == y_j[j] else -left_in) / <real> n_out


cdef real output_row(
    int cost, int activation, Py_ssize_t n_out, Py_ssize_t ld,
    real *delta_j, real *dC_da_j,                           # OUT (ld,), each with zeros in the padding
    const real *z_j, const real *a_j, const real *da_dz_j,  # IN  (ld,)
    const real *log_a_j,                                    # IN  (ld,), of a softmax alone, which has no da_dz_j
    const real *y_j,                                        # IN  (n_out,)
    const real *mask_j,                                     # IN  (ld,), 1 for an output, 0 in the padding
    real *scratch,                                          # (3, ld)
    bint missing,
) noexcept nogil:
    """C_i of one example; its delta and dC/da at the output layer. With `missing` a y that is NaN adds nothing to them.
    """
    cdef Py_ssize_t j
    cdef vec zero = vec_set1(0), inside, target, C_part, g, delta
    cdef vec count = vec_set1(<real> n_out)
    cdef const real *targets_j = y_j
    cdef real C
    # The last row of scratch is free for the costs whose softmax_delta_row reads targets.
    if missing:
        targets_j = scratch + 2 * ld
    for j from 0 <= j < ld by LANES:
        inside = vec_load(mask_j + j)
        target = vec_load_partial(y_j + j, n_out - j) if j < n_out else zero
        if missing:
            # Of no NaN a comparison holds. 0 is a target that every cost takes.
            inside = vec_where_ge(vec_abs(target), zero, inside, zero)
            target = vec_where_gt(inside, zero, target, zero)
            vec_store(scratch + 2 * ld + j, target)
        if activation == SOFTMAX and (cost == CROSS_ENTROPY or cost == POISSON):
            # Where y is 0 the term is 0, however far the logarithm goes.
            C_part = vec_where_gt(target, zero, -target * vec_load(log_a_j + j), zero)
            g = vec_where_gt(target, zero, -target / vec_load(a_j + j), zero)
            delta = zero
            if cost == POISSON:
                C_part = vec_load(a_j + j) + C_part
                g = (vec_set1(1) + g) / count
        else:
            cost_formula(cost, activation, &C_part, &g, &delta,
                         vec_load(z_j + j), vec_load(a_j + j), vec_load(da_dz_j + j), target, count)
        vec_store(scratch + j, vec_where_gt(inside, zero, C_part, zero))
        vec_store(dC_da_j + j, vec_where_gt(inside, zero, g, zero))
        vec_store(delta_j + j, vec_where_gt(inside, zero, delta, zero))
    C = row_sum(scratch, ld)
    C = C / divisor(cost, n_out)
    if activation == SOFTMAX:
        softmax_delta_row(delta_j, a_j, targets_j, dC_da_j, n_out, cost, scratch, ld)
        if missing and cost == POISSON:
            add_left_out(delta_j, a_j, y_j, n_out)
    return C


# ---- second derivatives ----------------------------------------------------------------------------------------------

cdef inline vec cost_curvature(int cost, vec a, vec y, vec n_out) noexcept nogil:
    """d2C/da_j^2 of the costs that have no special form."""
    cdef vec one = vec_set1(1), zero = vec_set1(0)
    if cost == QUADRATIC:
        return one + one
    elif cost == HALF_QUADRATIC:
        return one
    elif cost == MSE:
        return (one + one) / n_out
    elif cost == HUBER:
        return vec_where_ge(one, vec_abs(a - y), one, zero) / n_out
    elif cost == MAE:
        return zero
    return vec_set1(<real> NAN)


cdef inline vec output_curvature(
    int cost, int activation, vec z, vec a, vec da_dz, vec dC_da, vec y, vec d2a_dz2, vec n_out, bint gauss_newton,
) noexcept nogil:
    """d2C/dz_j^2 of an elementwise output, or the part of it that Gauss-Newton keeps."""
    cdef vec one = vec_set1(1), zero = vec_set1(0)
    cdef vec share, slope, s, b, sigma_prime, result
    if cost == CROSS_ENTROPY and activation == SIGMOID:
        # delta = sigma(z) - y
        return da_dz
    elif cost == POISSON:
        # C = a - y ln a: dC/dz = da_dz - y share with share = da_dz / a, and a^2 d2C/da^2 = y.
        sigmoid_pair(z, &s, &b, &sigma_prime)
        if activation == EXPONENTIAL:
            share = one
            slope = zero
        elif activation == SIGMOID:
            share = b
            slope = -sigma_prime
        elif activation == SOFTPLUS:
            # share' = share (1 - sigma - share), which cancels for z < 0; share is 1 where a underflows.
            share = vec_where_gt(a, zero, da_dz / a, one)
            slope = share * vec_where_ge(z, zero, b - share, b * log1p_minus(vec_exp(vec_min(z, zero))))
        else:
            share = slope = vec_set1(<real> NAN)
        result = y * share * share if gauss_newton else d2a_dz2 - y * slope
        return result / n_out
    result = cost_curvature(cost, a, y, n_out) * da_dz * da_dz
    return result if gauss_newton else vec_fma(dC_da, d2a_dz2, result)


cdef void softmax_curvature_row(
    real *R_delta_j,                                                                            # OUT (n_out,)
    const real *a_j, const real *dC_da_j, const real *y_j, const real *t_j, const real *R_a_j,  # IN (n_out,)
    real *h_j,  # IN R{dC/da}; overwritten
    Py_ssize_t n_out, int cost, bint gauss_newton,
    real *scratch, Py_ssize_t ld,  # (4, ld)
) noexcept nogil:
    """R{delta} of a softmax output: a (h - sum a h) with h = R{dC/da} + t (dC/da - sum a dC/da), the latter left out
    by Gauss-Newton; cross_entropy, whose delta is a sum y - y, has R{a} sum y. h is read for the other costs only.
    """
    cdef Py_ssize_t j
    cdef real total = 0
    cdef real *u_j = scratch + 3 * ld
    if cost == CROSS_ENTROPY or (cost == POISSON and not gauss_newton):
        for j in range(n_out):
            total = total + y_j[j]
        for j in range(n_out):
            R_delta_j[j] = R_a_j[j] * total
            if cost == POISSON:
                R_delta_j[j] = R_delta_j[j] / <real> n_out
        return
    if cost == POISSON:
        # a R{dC/da} = y t / n_L
        sums_of_others(scratch, a_j, n_out)
        for j in range(n_out):
            u_j[j] = y_j[j] * t_j[j]
        sums_of_others(scratch + ld, u_j, n_out)
        for j in range(n_out):
            R_delta_j[j] = (u_j[j] * scratch[j] - a_j[j] * scratch[ld + j]) / <real> n_out
        return
    if not gauss_newton:
        centred(u_j, a_j, dC_da_j, n_out, scratch, ld)
        for j in range(n_out):
            h_j[j] = h_j[j] + t_j[j] * u_j[j]
    softmax_product(R_delta_j, R_delta_j, a_j, h_j, n_out, scratch, ld)
