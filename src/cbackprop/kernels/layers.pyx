# The lesson's formulas over the rows of one block: activation with derivative, cost, output delta, delta propagation.
#
# a) z, a, da_dz and delta of a layer are (n, ld) blocks: n examples, ld = n_l padded to whole 64-byte groups. Loops run
#    over whole vectors, padding included, so that a number's bits do not depend on where it stands.
# b) Padding of delta is 0, because the output mask makes it 0 and W's padding is 0; padding of a is never read.
# c) Sums over outputs j (costs, softmax) run in the lanes of one 64-byte group whatever the vector's width and are
#    then folded in a fixed order: the same bits on every SIMD level.
# d) Activation formulas stand in math.pxd; costs and their derivatives stand here; both also in calculus.py.

from cbackprop.kernels.math cimport (
    elu_exponent, elu_finish, exp_reduced, exponential_exponent, exponential_finish, gelu, identity, leaky_relu, relu,
    selu_finish, sigmoid_exponent, sigmoid_finish, sigmoid_pair, silu_exponent, silu_finish, softplus_finish, softsign,
    tanh_exponent, tanh_finish, vec_exp, vec_log, vec_log1p,
)
from cbackprop.kernels.simd cimport (
    GROUP, LANES, SQUARE, group_sum, real, transpose_square, vec, vec_abs, vec_all_zero, vec_first, vec_fma, vec_load,
    vec_load_partial, vec_max, vec_set1, vec_store, vec_where_ge, vec_where_gt,
)

# ---- activations -----------------------------------------------------------------------------------------------------

cdef enum:
    SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, GELU, SILU, SOFTPLUS, SOFTSIGN, EXPONENTIAL, IDENTITY, SOFTMAX
    USER_ACTIVATION

ACTIVATIONS = {
    "sigmoid": SIGMOID, "tanh": TANH, "relu": RELU, "leaky_relu": LEAKY_RELU, "elu": ELU, "selu": SELU, "gelu": GELU,
    "silu": SILU, "softplus": SOFTPLUS, "softsign": SOFTSIGN, "exponential": EXPONENTIAL, "identity": IDENTITY,
    "softmax": SOFTMAX,
}

# One type a formula, so that the loops below stand once and are compiled once for each.
cdef struct sigmoid_formula:
    char tag[1]
cdef struct tanh_formula:
    char tag[1]
cdef struct relu_formula:
    char tag[1]
cdef struct leaky_relu_formula:
    char tag[1]
cdef struct elu_formula:
    char tag[1]
cdef struct selu_formula:
    char tag[1]
cdef struct gelu_formula:
    char tag[1]
cdef struct silu_formula:
    char tag[1]
cdef struct softplus_formula:
    char tag[1]
cdef struct softsign_formula:
    char tag[1]
cdef struct exponential_formula:
    char tag[1]
cdef struct identity_formula:
    char tag[1]
ctypedef fused plain_formula:
    relu_formula
    leaky_relu_formula
    gelu_formula
    softsign_formula
    identity_formula
ctypedef fused exponential_kind:
    sigmoid_formula
    tanh_formula
    elu_formula
    selu_formula
    silu_formula
    softplus_formula
    exponential_formula


cdef bint plain_loop(
    plain_formula *tag,
    real *a, real *da_dz,                 # OUT (count,); da_dz may be NULL
    const real *z, Py_ssize_t count,      # IN  (count,), a multiple of LANES
) noexcept nogil:
    """Whether every z is finite: 0 z is NaN for infinities and NaN, and a NaN stays in the sum."""
    cdef Py_ssize_t i = 0
    cdef vec value, derivative, zero = vec_set1(0), sum = vec_set1(0)
    while i < count:
        sum = vec_fma(vec_load(z + i), zero, sum)
        if plain_formula is relu_formula:
            relu(vec_load(z + i), &value, &derivative)
        elif plain_formula is leaky_relu_formula:
            leaky_relu(vec_load(z + i), &value, &derivative)
        elif plain_formula is gelu_formula:
            gelu(vec_load(z + i), &value, &derivative)
        elif plain_formula is softsign_formula:
            softsign(vec_load(z + i), &value, &derivative)
        else:
            identity(vec_load(z + i), &value, &derivative)
        vec_store(a + i, value)
        if da_dz != NULL:
            vec_store(da_dz + i, derivative)
        i += LANES
    return vec_all_zero(sum)


cdef bint exponential_loop(
    exponential_kind *tag,
    real *a, real *da_dz,                 # OUT (count,); da_dz may be NULL
    const real *z, Py_ssize_t count,      # IN  (count,), a multiple of LANES
) noexcept nogil:
    """The same for formulas with an exponential, in two halves (see math.pxd), sixteen vectors at a time."""
    cdef Py_ssize_t i = 0, c, vectors
    cdef vec value, derivative, x, zero = vec_set1(0), sum = vec_set1(0)
    cdef vec n_rounded[16]
    cdef vec r[16]
    cdef vec rest[16]
    while i < count:
        vectors = min((count - i) // LANES, 16)
        for c in range(vectors):
            x = vec_load(z + i + c * LANES)
            sum = vec_fma(x, zero, sum)
            if exponential_kind is tanh_formula:
                x = tanh_exponent(x)
            elif exponential_kind is elu_formula or exponential_kind is selu_formula:
                x = elu_exponent(x)
            elif exponential_kind is silu_formula:
                x = silu_exponent(x)
            elif exponential_kind is exponential_formula:
                x = exponential_exponent(x)
            else:
                x = sigmoid_exponent(x)
            exp_reduced(x, &n_rounded[c], &r[c], &rest[c])
        for c in range(vectors):
            x = vec_load(z + i)
            if exponential_kind is sigmoid_formula:
                sigmoid_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
            elif exponential_kind is tanh_formula:
                tanh_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
            elif exponential_kind is elu_formula:
                elu_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
            elif exponential_kind is selu_formula:
                selu_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
            elif exponential_kind is silu_formula:
                silu_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
            elif exponential_kind is softplus_formula:
                softplus_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
            else:
                exponential_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
            vec_store(a + i, value)
            if da_dz != NULL:
                vec_store(da_dz + i, derivative)
            i += LANES
    return vec_all_zero(sum)


cdef bint activate(int activation, real *a, real *da_dz, const real *z, Py_ssize_t count) noexcept nogil:
    """a = sigma(z) and da_dz = sigma'(z) for every elementwise activation. Whether every z is finite."""
    if activation == SIGMOID:
        return exponential_loop[sigmoid_formula](NULL, a, da_dz, z, count)
    elif activation == TANH:
        return exponential_loop[tanh_formula](NULL, a, da_dz, z, count)
    elif activation == RELU:
        return plain_loop[relu_formula](NULL, a, da_dz, z, count)
    elif activation == LEAKY_RELU:
        return plain_loop[leaky_relu_formula](NULL, a, da_dz, z, count)
    elif activation == ELU:
        return exponential_loop[elu_formula](NULL, a, da_dz, z, count)
    elif activation == SELU:
        return exponential_loop[selu_formula](NULL, a, da_dz, z, count)
    elif activation == GELU:
        return plain_loop[gelu_formula](NULL, a, da_dz, z, count)
    elif activation == SILU:
        return exponential_loop[silu_formula](NULL, a, da_dz, z, count)
    elif activation == SOFTPLUS:
        return exponential_loop[softplus_formula](NULL, a, da_dz, z, count)
    elif activation == SOFTSIGN:
        return plain_loop[softsign_formula](NULL, a, da_dz, z, count)
    elif activation == EXPONENTIAL:
        return exponential_loop[exponential_formula](NULL, a, da_dz, z, count)
    else:
        return plain_loop[identity_formula](NULL, a, da_dz, z, count)


cdef bint all_finite(const real *x, Py_ssize_t count) noexcept nogil:
    """Whether every number is finite, as in plain_loop; four sums side by side."""
    cdef Py_ssize_t i = 0, c
    cdef vec zero = vec_set1(0)
    cdef vec sum[4]
    for c in range(4):
        sum[c] = zero
    while i + 4 * LANES <= count:
        for c in range(4):
            sum[c] = vec_fma(vec_load(x + i + c * LANES), zero, sum[c])
        i += 4 * LANES
    while i < count:
        sum[0] = vec_fma(vec_load_partial(x + i, count - i), zero, sum[0])
        i += LANES
    return vec_all_zero((sum[0] + sum[1]) + (sum[2] + sum[3]))


cdef real largest(const real *x, Py_ssize_t count) noexcept nogil:
    """max |x|, 0 of none; the order of comparisons does not matter."""
    cdef Py_ssize_t i = 0, c
    cdef vec result[4]
    cdef real lanes[16]
    for c in range(4):
        result[c] = vec_set1(0)
    while i + 4 * LANES <= count:
        for c in range(4):
            result[c] = vec_max(vec_abs(vec_load(x + i + c * LANES)), result[c])
        i += 4 * LANES
    while i < count:
        result[0] = vec_max(vec_abs(vec_load_partial(x + i, count - i)), result[0])
        i += LANES
    vec_store(lanes, vec_max(vec_max(result[0], result[1]), vec_max(result[2], result[3])))
    for i in range(1, LANES):
        lanes[0] = max(lanes[0], lanes[i])
    return lanes[0]


cdef void drop_out(
    real *a, real *da_dz, Py_ssize_t ld,                      # IN/OUT (n, n_out), rows ld apart
    Py_ssize_t n, Py_ssize_t n_out,
    uint64_t key, uint64_t first, uint64_t step,              # the word of neuron j of example i is first + i step + j
    uint64_t threshold, real scale,                           # words whose upper half is below it drop the neuron
) noexcept nogil:
    """a m scale and da_dz m scale with a random m of 0 or 1 (Srivastava et al. 2014, "Dropout"): the scale,
    1/(1 - p), keeps the mean. Backpropagation through m is the product with the new da_dz.
    """
    cdef Py_ssize_t i, j
    cdef real factor
    for i in range(n):
        for j in range(n_out):
            factor = scale if (word_at(key, first + <uint64_t> i * step + <uint64_t> j) >> 32) >= threshold else 0
            a[i * ld + j] = a[i * ld + j] * factor
            da_dz[i * ld + j] = da_dz[i * ld + j] * factor


# ---- sums over outputs -----------------------------------------------------------------------------------------------

cdef inline real row_sum(const real *x, Py_ssize_t ld) noexcept nogil:
    """Sum of a padded row whose padding is 0; ld is a multiple of GROUP."""
    cdef real lanes[16]
    cdef Py_ssize_t i, j
    if ld == GROUP:
        return group_sum(x)
    for i in range(GROUP):
        lanes[i] = x[i]
    j = GROUP
    while j < ld:
        for i in range(GROUP):
            lanes[i] = lanes[i] + x[j + i]
        j += GROUP
    return group_sum(lanes)


# ---- softmax ---------------------------------------------------------------------------------------------------------

cdef inline real log_of_one_plus(real x) noexcept nogil:
    """ln(1 + x) for x >= 0."""
    if x <= 1:
        return vec_first(vec_log1p(vec_set1(x)))
    return vec_first(vec_log(vec_set1(<real> 1 + x)))


cdef void softmax_row(
    real *a, real *log_a,                            # OUT (ld,), a with zeros in the padding; log_a may be NULL
    const real *z, Py_ssize_t n_out, Py_ssize_t ld,  # IN  (n_out,)
) noexcept nogil:
    """a_j = exp(z_j - m) / (1 + rest) and ln a_j = (z_j - m) - ln(1 + rest); m is the largest z, rest the sum over
    the others. Keeping the largest term out of the sum keeps the logarithm's digits when one output is nearly 1.
    """
    cdef Py_ssize_t j, largest = 0
    cdef vec m, total, log_total
    cdef real rest
    for j in range(1, n_out):
        if z[j] > z[largest]:
            largest = j
    m = vec_set1(z[largest])
    j = 0
    while j < n_out:
        vec_store(a + j, vec_exp(vec_load_partial(z + j, n_out - j) - m))
        j += LANES
    for j in range(n_out, ld):
        a[j] = 0
    a[largest] = 0
    rest = row_sum(a, ld)
    a[largest] = 1
    total = vec_set1(<real> 1 + rest)
    log_total = vec_set1(log_of_one_plus(rest))
    j = 0
    while j < ld:
        vec_store(a + j, vec_load(a + j) / total)
        if log_a != NULL:
            vec_store(log_a + j, (vec_load_partial(z + j, n_out - j) if j < n_out else m) - m - log_total)
        j += LANES


cdef inline void sums_of_others(
    real *others,                       # OUT (n_out,)
    const real *x, Py_ssize_t n_out,    # IN
) noexcept nogil:
    """others_j = sum_{i != j} x_i, as the sum before j plus the sum behind j: nothing is subtracted from the total."""
    cdef Py_ssize_t j
    cdef real sum = 0
    for j in range(n_out - 1, -1, -1):
        others[j] = sum
        sum = sum + x[j]
    sum = 0
    for j in range(n_out):
        others[j] = sum + others[j]
        sum = sum + x[j]


cdef void softmax_delta_row(
    real *delta,                                                           # OUT (n_out,)
    const real *a, const real *y, const real *dC_da, Py_ssize_t n_out, int cost,  # IN
    real *scratch, Py_ssize_t ld,                                          # (3, ld)
) noexcept nogil:
    """delta_j = sum_i dC/da_i . da_i/dz_j with da_i/dz_j = a_i ([i = j] - a_j).

    cross_entropy:  a_j sum_{i!=j} y_i - y_j sum_{i!=j} a_i;  poisson: the same over n_L
    any other cost: a_j (g_j sum_{i!=j} a_i - sum_{i!=j} a_i g_i),  g = dC/da
    """
    cdef Py_ssize_t j
    cdef real *others_a = scratch
    cdef real *others = scratch + ld
    cdef real *a_g = scratch + 2 * ld
    sums_of_others(others_a, a, n_out)
    if cost == CROSS_ENTROPY or cost == POISSON:
        sums_of_others(others, y, n_out)
        for j in range(n_out):
            delta[j] = a[j] * others[j] - y[j] * others_a[j]
            if cost == POISSON:
                delta[j] = delta[j] / <real> n_out
    else:
        for j in range(n_out):
            a_g[j] = a[j] * dC_da[j]
        sums_of_others(others, a_g, n_out)
        for j in range(n_out):
            delta[j] = a[j] * (dC_da[j] * others_a[j] - others[j])


# ---- cost and output delta -------------------------------------------------------------------------------------------

cdef enum:
    QUADRATIC, HALF_QUADRATIC, MSE, CROSS_ENTROPY, MAE, HUBER, POISSON
    USER_COST

COSTS = {
    "quadratic": QUADRATIC, "half_quadratic": HALF_QUADRATIC, "mse": MSE, "cross_entropy": CROSS_ENTROPY, "mae": MAE,
    "huber": HUBER, "poisson": POISSON,
}


cdef inline bint is_mean_cost(int cost) noexcept nogil:
    """Whether the cost is the mean over the outputs j, not the sum."""
    return cost == MSE or cost == MAE or cost == HUBER or cost == POISSON


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
    cdef vec g, b, sigma_prime, plus, minus, ratio
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
    elif cost == CROSS_ENTROPY:
        # -y ln a - (1 - y) ln(1 - a); delta = (1 - y) a - y (1 - a) with 1 - a = sigma(-z).
        sigmoid_pair(z, &a, &b, &sigma_prime)
        softplus_pair(z, &plus, &minus)
        C[0] = y * minus + (one - y) * plus
        delta[0] = (one - y) * a - y * b
        dC_da[0] = vec_where_gt(one, y, (one - y) / b, zero) - vec_where_gt(y, zero, y / a, zero)
        return
    else:
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
        else:
            # softplus: ln a = z to rounding below -50, where a itself underflows in the end; so da_dz / a tends to 1.
            ratio = vec_where_gt(a, zero, da_dz / a, one)
            C[0] = a - vec_where_gt(y, zero, y * vec_where_gt(vec_set1(-50), z, z, vec_log(a)), zero)
            delta[0] = (da_dz - y * ratio) / n_out
        dC_da[0] = g
        return
    dC_da[0] = g
    delta[0] = g * da_dz


cdef real output_row(
    int cost, int activation, Py_ssize_t n_out, Py_ssize_t ld,
    real *delta, real *dC_da,                                        # OUT (ld,), each with zeros in the padding
    const real *z, const real *a, const real *da_dz, const real *y,  # IN  (ld,) and y (n_out,)
    const real *mask,                                                # IN  (ld,), 1 for an output, 0 in the padding
    real *scratch,                                                   # (3, ld)
) noexcept nogil:
    """C_i of one example; its delta and dC/da at the output layer. For softmax da_dz holds ln a (see softmax_row)."""
    cdef Py_ssize_t j = 0
    cdef vec zero = vec_set1(0), keep, y_j, C_j, g_j, delta_j
    cdef vec count = vec_set1(<real> n_out)
    cdef real C
    while j < ld:
        keep = vec_load(mask + j)
        y_j = vec_load_partial(y + j, n_out - j) if j < n_out else zero
        if activation == SOFTMAX and (cost == CROSS_ENTROPY or cost == POISSON):
            # Where y is 0 the term is 0, however far the logarithm goes.
            C_j = vec_where_gt(y_j, zero, -y_j * vec_load(da_dz + j), zero)
            g_j = vec_where_gt(y_j, zero, -y_j / vec_load(a + j), zero)
            delta_j = zero
            if cost == POISSON:
                C_j = vec_load(a + j) + C_j
                g_j = (vec_set1(1) + g_j) / count
        else:
            cost_formula(cost, activation, &C_j, &g_j, &delta_j,
                         vec_load(z + j), vec_load(a + j), vec_load(da_dz + j), y_j, count)
        vec_store(scratch + j, vec_where_gt(keep, zero, C_j, zero))
        vec_store(dC_da + j, vec_where_gt(keep, zero, g_j, zero))
        vec_store(delta + j, vec_where_gt(keep, zero, delta_j, zero))
        j += LANES
    C = row_sum(scratch, ld)
    if is_mean_cost(cost):
        C = C / <real> n_out
    if activation == SOFTMAX:
        softmax_delta_row(delta, a, y, dC_da, n_out, cost, scratch, ld)
    return C


# ---- delta propagation -----------------------------------------------------------------------------------------------

cdef void propagate_delta(
    real *dC_da, Py_ssize_t ld_a,                                # OUT (n, width), rows ld_a apart
    const real *delta, Py_ssize_t ld,                            # IN  (n, n_out), rows ld apart
    const real *Wt, Py_ssize_t n_in,                             # IN  (n_in, n_out), rows ld apart
    Py_ssize_t n, Py_ssize_t width, Py_ssize_t n_out, const real *zeros, Panels panels,  # IN zeros (width,)
) noexcept nogil:
    """dC/da_k = sum_j w_jk delta_j, the sum over every path, for `width` of the neurons k; 0 for k >= n_in."""
    multiply_transposed(dC_da, ld_a, delta, ld, Wt, ld, n_in, zeros, 0, n, width, n_out, panels)


cdef bint multiply_by_derivative(real *delta, const real *da_dz, Py_ssize_t count) noexcept nogil:
    """delta = dC/da . da/dz, in place of dC/da. Whether every delta is finite."""
    cdef Py_ssize_t i = 0
    cdef vec product, zero = vec_set1(0), sum = vec_set1(0)
    while i < count:
        product = vec_load(delta + i) * vec_load(da_dz + i)
        vec_store(delta + i, product)
        sum = vec_fma(product, zero, sum)
        i += LANES
    return vec_all_zero(sum)


cdef void scale_rows(real *delta, Py_ssize_t ld, const double *factors, Py_ssize_t n) noexcept nogil:
    """Each example's delta times its factor, in float64: a clipping factor may lie below what float32 holds."""
    cdef Py_ssize_t i, j
    for i in range(n):
        if factors[i] == 1:
            continue
        for j in range(ld):
            delta[i * ld + j] = <real> (<double> delta[i * ld + j] * factors[i])


# ---- gradient accumulation -------------------------------------------------------------------------------------------

cdef void accumulate_gradient(
    real *dC_dWt, Py_ssize_t ld_sum,                                     # IN/OUT (n_in, width), rows ld_sum apart
    const real *a, Py_ssize_t lda, const real *delta, Py_ssize_t ld,     # IN  (n, n_in), (n, width), rows lda, ld apart
    Py_ssize_t n, Py_ssize_t n_in, Py_ssize_t width, const real *zeros,  # IN  zeros (width,)
    bint update, real factor, Panels panels,
) noexcept nogil:
    """dC/dw_jk = sum_i a_k delta_j over the n examples, one chain in their order, for n_in of the neurons k and `width`
    of the neurons j.

    With update factor times the sums is added instead of storing them: with -learning_rate / n and the parameters in
    place of dC_dWt, that is the whole gradient-descent step.
    """
    multiply_columns(dC_dWt, ld_sum, a, lda, delta, ld, zeros, n_in, width, n, update, factor, panels)


cdef void accumulate_bias_gradient(
    real *dC_db,                                                  # IN/OUT (width,)
    const real *delta, Py_ssize_t ld, Py_ssize_t n, Py_ssize_t width,  # IN  (n, width), rows ld apart
    bint update, real factor,
) noexcept nogil:
    """dC/db_j = sum_i delta_j, as accumulate_gradient with the bias's own first factor, 1."""
    cdef Py_ssize_t i, j = 0
    cdef vec sum
    while j < width:
        sum = vec_set1(0)
        for i in range(n):
            sum = sum + vec_load(delta + i * ld + j)
        if update:
            sum = vec_fma(vec_set1(factor), sum, vec_load(dC_db + j))
        vec_store(dC_db + j, sum)
        j += LANES


cdef void add(real *total, const real *part, Py_ssize_t count) noexcept nogil:
    """total += part."""
    cdef Py_ssize_t i = 0
    while i < count:
        vec_store(total + i, vec_load(total + i) + vec_load(part + i))
        i += LANES


cdef void pack_parameters(
    real *Wt, Py_ssize_t ld,                                                  # OUT (n_in + 1, ld), padding left alone
    const real *vector, Py_ssize_t n_in, Py_ssize_t n_out,                    # IN  (n_out, n_in) then (n_out,)
) noexcept nogil:
    """One layer's numbers from the documented order into the layout of the parameters."""
    cdef Py_ssize_t j, k
    for j in range(n_out):
        for k in range(n_in):
            Wt[k * ld + j] = vector[j * n_in + k]
        Wt[n_in * ld + j] = vector[n_out * n_in + j]


cdef void unpack_gradient(
    real *dC_dW,                                                                       # OUT (n_out, n_in) then (n_out,)
    const real *dC_dWt, Py_ssize_t ld, Py_ssize_t n_in, Py_ssize_t n_out, real total,  # IN  (n_in + 1, ld)
) noexcept nogil:
    """One layer's sums, transposed into the documented order and divided by the total weight (n without weights)."""
    cdef Py_ssize_t j = 0, k, jj, kk, j_end, k_end
    while j < n_out:
        j_end = min(j + SQUARE, n_out)
        k = 0
        while k < n_in:
            k_end = min(k + SQUARE, n_in)
            if j + SQUARE <= n_out and k + SQUARE <= n_in:
                transpose_square(dC_dW + j * n_in + k, n_in, dC_dWt + k * ld + j, ld)
            else:
                for jj in range(j, j_end):
                    for kk in range(k, k_end):
                        dC_dW[jj * n_in + kk] = dC_dWt[kk * ld + jj]
            k += SQUARE
        j += SQUARE
    for j in range(n_out):
        dC_dW[n_out * n_in + j] = dC_dWt[n_in * ld + j]
    for k in range(n_out * n_in + n_out):
        dC_dW[k] = dC_dW[k] / total
