# Activations over the numbers of one layer: a = sigma(z), sigma'(z) and sigma''(z), and softmax, which mixes a row.
#
# a) The formula of one vector stands in math.pxd, that of NumPy in calculus.py; here are the loops over a layer. Each
#    is compiled once for each formula: a branch within the loop would cost more than a cheap formula does.
# b) A further activation: a row in functions.py, its formula in calculus.py and in math.pxd, and here an id, a name, a
#    formula type, a branch in its loop, in `activate` and in `second_derivatives`. Nothing else asks which one it is.
# c) An id that no branch knows makes every number NaN, which the passes find and report: it must never come out as
#    another activation's formula.

from libc.math cimport NAN

from cbackprop.kernels.math cimport (
    elu_exponent, elu_finish, elu_second, exp_reduced, exponential_exponent, exponential_finish, gelu, gelu_second,
    identity, leaky_relu, relu, selu_finish, sigmoid_exponent, sigmoid_finish, sigmoid_second, silu_exponent,
    silu_finish, silu_second, softplus_finish, softplus_second, softsign, softsign_second, tanh_exponent, tanh_finish,
    tanh_second, vec_exp, vec_log, vec_log1p,
)
from cbackprop.kernels.simd cimport (
    LANES, real, vec, vec_all_zero, vec_first, vec_fma, vec_load, vec_load_partial, vec_set1, vec_store,
)

cdef enum:
    SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, GELU, SILU, SOFTPLUS, SOFTSIGN, EXPONENTIAL, IDENTITY, SOFTMAX
    USER_ACTIVATION

ACTIVATIONS = {
    "sigmoid": SIGMOID, "tanh": TANH, "relu": RELU, "leaky_relu": LEAKY_RELU, "elu": ELU, "selu": SELU, "gelu": GELU,
    "silu": SILU, "softplus": SOFTPLUS, "softsign": SOFTSIGN, "exponential": EXPONENTIAL, "identity": IDENTITY,
    "softmax": SOFTMAX,
}


cdef inline bint is_elementwise(int activation) noexcept nogil:
    """Whether `activate` knows it: each number of a is a function of its own z, by one of the formulas here."""
    return activation != SOFTMAX and activation != USER_ACTIVATION


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

ctypedef fused direct_formula:
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


cdef bint direct_loop(
    direct_formula *tag,
    real *a, real *da_dz,             # OUT (count,); da_dz may be NULL
    const real *z, Py_ssize_t count,  # IN  (count,), a multiple of LANES
) noexcept nogil:
    """Whether every z is finite: 0 z is NaN for infinities and NaN, and a NaN stays in the sum."""
    cdef Py_ssize_t i
    cdef vec value, derivative, zero = vec_set1(0), sum = vec_set1(0)
    for i from 0 <= i < count by LANES:
        sum = vec_fma(vec_load(z + i), zero, sum)
        if direct_formula is relu_formula:
            relu(vec_load(z + i), &value, &derivative)
        elif direct_formula is leaky_relu_formula:
            leaky_relu(vec_load(z + i), &value, &derivative)
        elif direct_formula is gelu_formula:
            gelu(vec_load(z + i), &value, &derivative)
        elif direct_formula is softsign_formula:
            softsign(vec_load(z + i), &value, &derivative)
        elif direct_formula is identity_formula:
            identity(vec_load(z + i), &value, &derivative)
        else:
            value = derivative = NULL       # no formula: does not compile
        vec_store(a + i, value)
        if da_dz != NULL:
            vec_store(da_dz + i, derivative)
    return vec_all_zero(sum)


cdef bint exponential_loop(
    exponential_kind *tag,
    real *a, real *da_dz,                                          # OUT (n, width), rows ld apart; da_dz may be NULL
    const real *z, Py_ssize_t width, Py_ssize_t ld, Py_ssize_t n,  # IN  the same; width is a multiple of LANES
) noexcept nogil:
    """The same for formulas with an exponential, in two halves (see math.pxd), sixteen vectors at a time.

    Padding at the ends of rows is left out, and the sixteen stand below each other: side by side there may be too few.
    """
    cdef Py_ssize_t i, j, c, vectors, row = 0, columns = width // LANES, step = ld
    cdef vec value, derivative, x, zero = vec_set1(0), sum = vec_set1(0)
    cdef vec n_rounded[16]
    cdef vec r[16]
    cdef vec rest[16]
    if width == ld or n == 1:
        # Vectors one after the other.
        n = n * columns
        columns = 1
        step = LANES
    while row < n:
        vectors = min(n - row, 16)
        for j in range(columns):
            i = row * step + j * LANES
            for c in range(vectors):
                x = vec_load(z + i + c * step)
                sum = vec_fma(x, zero, sum)
                if exponential_kind is tanh_formula:
                    x = tanh_exponent(x)
                elif exponential_kind is elu_formula or exponential_kind is selu_formula:
                    x = elu_exponent(x)
                elif exponential_kind is silu_formula:
                    x = silu_exponent(x)
                elif exponential_kind is exponential_formula:
                    x = exponential_exponent(x)
                elif exponential_kind is sigmoid_formula or exponential_kind is softplus_formula:
                    x = sigmoid_exponent(x)
                else:
                    x = NULL                    # no formula: does not compile
                exp_reduced(x, &n_rounded[c], &r[c], &rest[c])
            for c in range(vectors):
                x = vec_load(z + i)
                if exponential_kind is sigmoid_formula:
                    sigmoid_finish(x, n_rounded[c], r[c], rest[c], False, &value, &derivative)
                elif exponential_kind is tanh_formula:
                    tanh_finish(x, n_rounded[c], r[c], rest[c], False, &value, &derivative)
                elif exponential_kind is elu_formula:
                    elu_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
                elif exponential_kind is selu_formula:
                    selu_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
                elif exponential_kind is silu_formula:
                    silu_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
                elif exponential_kind is softplus_formula:
                    softplus_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
                elif exponential_kind is exponential_formula:
                    exponential_finish(x, n_rounded[c], r[c], rest[c], &value, &derivative)
                else:
                    value = derivative = NULL   # no formula: does not compile
                vec_store(a + i, value)
                if da_dz != NULL:
                    vec_store(da_dz + i, derivative)
                i += step
        row += vectors
    return vec_all_zero(sum)


cdef bint activate(
    int activation, real *a, real *da_dz, const real *z, Py_ssize_t width, Py_ssize_t ld, Py_ssize_t n,
) noexcept nogil:
    """a = sigma(z) and da_dz = sigma'(z), both (n, width) with rows ld apart, for every elementwise activation. Whether
    every z is finite. The padding of a and da_dz is left alone, or gets the values at the padding of z.
    """
    if activation == SIGMOID:
        return exponential_loop[sigmoid_formula](NULL, a, da_dz, z, width, ld, n)
    elif activation == TANH:
        return exponential_loop[tanh_formula](NULL, a, da_dz, z, width, ld, n)
    elif activation == RELU:
        return direct_loop[relu_formula](NULL, a, da_dz, z, n * ld)
    elif activation == LEAKY_RELU:
        return direct_loop[leaky_relu_formula](NULL, a, da_dz, z, n * ld)
    elif activation == ELU:
        return exponential_loop[elu_formula](NULL, a, da_dz, z, width, ld, n)
    elif activation == SELU:
        return exponential_loop[selu_formula](NULL, a, da_dz, z, width, ld, n)
    elif activation == GELU:
        return direct_loop[gelu_formula](NULL, a, da_dz, z, n * ld)
    elif activation == SILU:
        return exponential_loop[silu_formula](NULL, a, da_dz, z, width, ld, n)
    elif activation == SOFTPLUS:
        return exponential_loop[softplus_formula](NULL, a, da_dz, z, width, ld, n)
    elif activation == SOFTSIGN:
        return direct_loop[softsign_formula](NULL, a, da_dz, z, n * ld)
    elif activation == EXPONENTIAL:
        return exponential_loop[exponential_formula](NULL, a, da_dz, z, width, ld, n)
    elif activation == IDENTITY:
        return direct_loop[identity_formula](NULL, a, da_dz, z, n * ld)
    fill(a, <real> NAN, n * ld)
    if da_dz != NULL:
        fill(da_dz, <real> NAN, n * ld)
    return False


cdef void second_derivatives(
    int activation,
    real *d2a_dz2,                                                      # OUT (count,)
    const real *z, const real *a, const real *da_dz, Py_ssize_t count,  # IN  (count,), a multiple of LANES
) noexcept nogil:
    """sigma''(z) of an elementwise activation."""
    cdef Py_ssize_t i
    cdef vec value
    for i from 0 <= i < count by LANES:
        if activation == SIGMOID:
            value = sigmoid_second(vec_load(z + i), vec_load(da_dz + i))
        elif activation == TANH:
            value = tanh_second(vec_load(a + i), vec_load(da_dz + i))
        elif activation == ELU or activation == SELU:
            value = elu_second(vec_load(z + i), vec_load(da_dz + i))
        elif activation == GELU:
            value = gelu_second(vec_load(z + i))
        elif activation == SILU:
            value = silu_second(vec_load(z + i))
        elif activation == SOFTPLUS:
            value = softplus_second(vec_load(z + i))
        elif activation == SOFTSIGN:
            value = softsign_second(vec_load(z + i), vec_load(da_dz + i))
        elif activation == EXPONENTIAL:
            value = vec_load(a + i)
        elif activation == RELU or activation == LEAKY_RELU or activation == IDENTITY:
            value = vec_set1(0)
        else:
            value = vec_set1(<real> NAN)
        vec_store(d2a_dz2 + i, value)


# ---- softmax ---------------------------------------------------------------------------------------------------------

cdef inline real log_of_one_plus(real x) noexcept nogil:
    """ln(1 + x) for x >= 0."""
    if x <= 1:
        return vec_first(vec_log1p(vec_set1(x)))
    return vec_first(vec_log(vec_set1(<real> 1 + x)))


cdef void softmax_row(
    real *a_j, real *log_a_j,                          # OUT (ld,), a with zeros in the padding; log_a_j may be NULL
    const real *z_j, Py_ssize_t n_out, Py_ssize_t ld,  # IN  (n_out,)
) noexcept nogil:
    """a_j = exp(z_j - m) / (1 + rest) and ln a_j = (z_j - m) - ln(1 + rest); m is the largest z, rest the sum over
    the others. Keeping the largest term out of the sum keeps the logarithm's digits when one output is nearly 1.
    """
    cdef Py_ssize_t j, largest = 0
    cdef vec m, total, log_total
    cdef real rest
    for j in range(1, n_out):
        if z_j[j] > z_j[largest]:
            largest = j
    m = vec_set1(z_j[largest])
    for j from 0 <= j < n_out by LANES:
        vec_store(a_j + j, vec_exp(vec_load_partial(z_j + j, n_out - j) - m))
    for j in range(n_out, ld):
        a_j[j] = 0
    a_j[largest] = 0
    rest = row_sum(a_j, ld)
    a_j[largest] = 1
    total = vec_set1(<real> 1 + rest)
    log_total = vec_set1(log_of_one_plus(rest))
    for j from 0 <= j < ld by LANES:
        vec_store(a_j + j, vec_load(a_j + j) / total)
        if log_a_j != NULL:
            vec_store(log_a_j + j, (vec_load_partial(z_j + j, n_out - j) if j < n_out else m) - m - log_total)


cdef inline void sums_of_others(
    real *others_j,                     # OUT (n_out,)
    const real *x_j, Py_ssize_t n_out,  # IN
) noexcept nogil:
    """others_j = sum_{i != j} x_i, as the sum before j plus the sum after j: nothing is subtracted from the total."""
    cdef Py_ssize_t j
    cdef real sum = 0
    for j in range(n_out - 1, -1, -1):
        others_j[j] = sum
        sum = sum + x_j[j]
    sum = 0
    for j in range(n_out):
        others_j[j] = sum + others_j[j]
        sum = sum + x_j[j]


cdef inline void centred(
    real *rest_j,                                        # OUT (n_out,)
    const real *a_j, const real *g_j, Py_ssize_t n_out,  # IN
    real *scratch, Py_ssize_t ld,                        # (3, ld)
) noexcept nogil:
    """g_j - sum_i a_i g_i for a softmax's a, with 1 - a_j as the sum of the others; rest may be g."""
    cdef Py_ssize_t j
    cdef real *others_a = scratch
    cdef real *others = scratch + ld
    cdef real *a_g = scratch + 2 * ld
    sums_of_others(others_a, a_j, n_out)
    for j in range(n_out):
        a_g[j] = a_j[j] * g_j[j]
    sums_of_others(others, a_g, n_out)
    for j in range(n_out):
        rest_j[j] = g_j[j] * others_a[j] - others[j]


cdef void softmax_product(
    real *rest_j, real *product_j,                                                     # OUT (n_out,)
    const real *a_j, const real *g_j, Py_ssize_t n_out, real *scratch, Py_ssize_t ld,  # IN, (3, ld)
) noexcept nogil:
    """rest = g - sum a g and a rest = da/dz g, whose matrix is symmetric; all of g, rest and the product may be one."""
    cdef Py_ssize_t j
    centred(rest_j, a_j, g_j, n_out, scratch, ld)
    for j in range(n_out):
        product_j[j] = a_j[j] * rest_j[j]


cdef void softmax_jacobian_row(
    real *delta_i,                                    # OUT (n_out,)
    const real *a_i, Py_ssize_t n_out, Py_ssize_t j,  # IN  (n_out,)
) noexcept nogil:
    """da_j/dz_i = a_j ([i = j] - a_i) for every i, with 1 - a_j as the sum of the others (see sums_of_others)."""
    cdef Py_ssize_t i
    cdef real before = 0, after = 0
    for i in range(j):
        before = before + a_i[i]
    for i in range(n_out - 1, j, -1):
        after = after + a_i[i]
    for i in range(n_out):
        delta_i[i] = -a_i[i] * a_i[j]
    delta_i[j] = a_i[j] * (before + after)
