# Mean and variance of the per-example gradients, which are not kept.
#
# a) In one pass: each leaf has its own mean, and the squares of the deviations a_k delta_j - mean, formed one by one:
#    sum a^2 delta^2 - n mean^2 would cancel where the examples agree. Two neighbours of n and m examples, whose means
#    are d apart, have together the sum of both and d^2 n m / (n + m) (Chan, Golub & LeVeque 1983, "Algorithms for
#    computing the sample variance").
# b) Where all examples have the same a_k and the same delta_j the variance is 0: the mean of equal products is rounded,
#    and the deviations would be what was rounded off.
# c) The sums of a leaf: of the gradients, of their squared deviations, and room for its mean, each in the layout of the
#    parameters; then the numbers that its examples have in common, (n_0 + 2 n_neurons,).

from libc.math cimport NAN
from libc.string cimport memcpy

from cbackprop.kernels.simd cimport LANES, real, vec, vec_fma, vec_load, vec_set1, vec_store

# One type a number of rows, so that the loop below stands once and is compiled for both.
cdef struct one_row:
    char count[1]

cdef struct four_rows:
    char count[4]

ctypedef fused few_rows:
    one_row
    four_rows


cdef void add_squared_deviations(
    few_rows *rows_tag, columns *columns_tag,
    real *sums_kj, const real *mean_kj, Py_ssize_t ld,  # OUT, IN  (rows, columns * LANES)
    const real *a_nk, Py_ssize_t lda,                   # IN  (n, rows)
    const real *delta_nj, Py_ssize_t ld_delta,          # IN  (n, columns * LANES)
    Py_ssize_t n,
) noexcept nogil:
    """sums = sum_i (a_k delta_j - mean_jk)^2 over the n examples, one chain in their order."""
    cdef vec sum[4][2]
    cdef vec minus_mean[4][2]
    cdef vec delta_j[2]
    cdef vec a_k, deviation
    cdef Py_ssize_t i, r, c
    for r in range(<Py_ssize_t> sizeof(few_rows)):
        for c in range(<Py_ssize_t> sizeof(columns)):
            minus_mean[r][c] = -vec_load(mean_kj + r * ld + c * LANES)
            sum[r][c] = vec_set1(0)
    for i in range(n):
        for c in range(<Py_ssize_t> sizeof(columns)):
            delta_j[c] = vec_load(delta_nj + i * ld_delta + c * LANES)
        for r in range(<Py_ssize_t> sizeof(few_rows)):
            a_k = vec_set1(a_nk[i * lda + r])
            for c in range(<Py_ssize_t> sizeof(columns)):
                deviation = vec_fma(a_k, delta_j[c], minus_mean[r][c])
                sum[r][c] = vec_fma(deviation, deviation, sum[r][c])
    for r in range(<Py_ssize_t> sizeof(few_rows)):
        for c in range(<Py_ssize_t> sizeof(columns)):
            vec_store(sums_kj + r * ld + c * LANES, sum[r][c])


cdef void layer_squared_deviations(
    real *sums_kj, const real *mean_kj, Py_ssize_t ld,  # OUT, IN  (n_in, width), rows ld apart
    const real *a_nk, Py_ssize_t lda,                   # IN  (n, n_in)
    const real *delta_nj, Py_ssize_t ld_delta,          # IN  (n, width)
    Py_ssize_t n, Py_ssize_t n_in, Py_ssize_t width,
) noexcept nogil:
    cdef Py_ssize_t j = 0, k, at
    while j < width:
        k = 0
        while k < n_in:
            at = k * ld + j
            if j + 2 * LANES <= width:
                if k + 4 <= n_in:
                    add_squared_deviations[four_rows, columns2](
                        NULL, NULL, sums_kj + at, mean_kj + at, ld, a_nk + k, lda, delta_nj + j, ld_delta, n)
                else:
                    add_squared_deviations[one_row, columns2](
                        NULL, NULL, sums_kj + at, mean_kj + at, ld, a_nk + k, lda, delta_nj + j, ld_delta, n)
            elif k + 4 <= n_in:
                add_squared_deviations[four_rows, columns1](
                    NULL, NULL, sums_kj + at, mean_kj + at, ld, a_nk + k, lda, delta_nj + j, ld_delta, n)
            else:
                add_squared_deviations[one_row, columns1](
                    NULL, NULL, sums_kj + at, mean_kj + at, ld, a_nk + k, lda, delta_nj + j, ld_delta, n)
            k += 4 if k + 4 <= n_in else 1
        j += 2 * LANES if j + 2 * LANES <= width else LANES


cdef void note_common(
    real *common_j,                                                   # OUT (width,)
    const real *x_nj, Py_ssize_t ld, Py_ssize_t n, Py_ssize_t width,  # IN  (n, width)
) noexcept nogil:
    """The numbers of the first row that all rows have, NaN for the others."""
    cdef Py_ssize_t i, j
    for j in range(width):
        common_j[j] = x_nj[j]
    for i in range(1, n):
        for j in range(width):
            if x_nj[i * ld + j] != common_j[j]:
                common_j[j] = NAN


cdef void note_block(
    Core core,
    real *common,                       # OUT
    const real *block_X, Py_ssize_t n,  # IN  (n, n_0)
) noexcept nogil:
    """What is common in every layer's a, then in every layer's delta."""
    cdef Py_ssize_t l
    cdef Layer *layer
    note_common(common, block_X, core.n_0, n, core.n_0)
    for l in range(core.n_layers):
        layer = &core.layers[l]
        note_common(common + core.n_0 + layer.neurons, layer.a, layer.ld, n, layer.n_out)
        note_common(common + core.n_0 + core.n_neurons + layer.neurons, layer.delta, layer.ld, n, layer.n_out)


cdef void clear_alike(
    Core core,
    real *squares,       # IN/OUT in the layout of the parameters
    const real *common,  # IN
) noexcept nogil:
    """0 for every parameter whose derivative is the same product in all examples."""
    cdef Py_ssize_t l, k, j
    cdef Layer *layer
    cdef const real *a_k = common
    cdef const real *delta_j
    for l in range(core.n_layers):
        layer = &core.layers[l]
        delta_j = common + core.n_0 + core.n_neurons + layer.neurons
        for k in range(layer.n_in + 1):
            # A bias counts as an activation of 1.
            if k == layer.n_in or a_k[k] == a_k[k]:
                for j in range(layer.n_out):
                    if delta_j[j] == delta_j[j]:
                        squares[layer.offset + k * layer.ld + j] = 0
        a_k = common + core.n_0 + layer.neurons


cdef int moments_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """The leaf's sums (note c)."""
    cdef Py_ssize_t l, i, size = core.storage_size
    cdef real *squares = sums + size
    cdef real *mean = sums + 2 * size
    cdef const real *block_X = block_of(core, call, start, n, True)
    cdef real count = <real> n
    if deltas_block(core, block_X, call.Y + start * core.n_L, call.C + start, n) or sum_block(core, sums, block_X, n):
        return 1
    count_cost(core, call.C + start, NULL, n)
    note_block(core, sums + 3 * size, block_X, n)
    for i in range(size):
        mean[i] = sums[i] / count
    for l in range(core.n_layers):
        squared_deviations_layer(core, l, squares, mean, block_X, n)
    return 0


cdef void join_moments(Core core, real *sums, const real *other, Py_ssize_t n, Py_ssize_t n_other) noexcept nogil:
    cdef Py_ssize_t i, size = core.storage_size
    cdef vec apart, x, y
    cdef vec left = vec_set1(<real> n), right = vec_set1(<real> n_other)
    cdef vec factor = vec_set1(<real> (<double> n * <double> n_other / (<double> n + <double> n_other)))
    for i from 0 <= i < size by LANES:
        x = vec_load(sums + i)
        y = vec_load(other + i)
        apart = x / left - y / right
        vec_store(sums + i, x + y)
        vec_store(sums + size + i, vec_fma(apart * factor, apart, vec_load(sums + size + i)
                                           + vec_load(other + size + i)))
    for i in range(3 * size, 3 * size + core.n_0 + 2 * core.n_neurons):
        if sums[i] != other[i]:
            sums[i] = NAN


cdef int gradient_moments_all(Core core, const Call *call) except -1 nogil:
    """The mean gradient into out (P,), the variance about it, and the costs."""
    cdef real *sums
    if do_leaves(core, call, moments_leaf, join_moments, 0, call.n, LEAF, &sums):
        return 1
    return write_moments(core, call, sums) or not cost_is_finite(core)


cdef int moment_sums_all(Core core, const Call *call) except -1 nogil:
    """The sums (note c) into call.sums, and the costs."""
    cdef real *sums
    if do_leaves(core, call, moments_leaf, join_moments, 0, call.n, LEAF, &sums):
        return 1
    memcpy(call.sums, sums, (3 * core.storage_size + core.n_0 + 2 * core.n_neurons) * sizeof(real))
    return 0


cdef int moments_of_sums(Core core, const Call *call) except -1 nogil:
    return write_moments(core, call, call.sums)


cdef int write_moments(
    Core core, const Call *call,
    real *sums,  # IN/OUT (note c) of the call's examples
) except -1 nogil:
    cdef Py_ssize_t size = core.storage_size
    cdef real count = <real> call.n
    if not all_finite(sums, size):
        return fail(core, QUANTITY_DELTA, core.n_layers)
    clear_alike(core, sums + size, sums + 3 * size)
    if not all_finite(sums + size, size):
        return fail(core, QUANTITY_MOMENTS, 0)
    unpack(core, call.out, sums, count)
    unpack(core, call.variance, sums + size, count)
    return 0


cdef int squared_deviations_layer(
    Core core,
    Py_ssize_t l,
    real *sums,                         # OUT in the layout of the parameters
    const real *mean,                   # IN  likewise
    const real *block_X, Py_ssize_t n,  # IN  (n, n_0)
) except -1 nogil:
    """One layer's part of a leaf, piece by piece for the sake of Ctrl-C."""
    cdef Layer *layer = &core.layers[l]
    cdef Py_ssize_t j, width, step, lda = layer.n_in if l == 0 else core.layers[l - 1].ld
    cdef Py_ssize_t bias = layer.offset + layer.n_in * layer.ld
    cdef real one = 1
    step = columns_between_looks(core, layer.width, 2 * n * layer.n_in)
    for j from 0 <= j < layer.width by step:
        width = min(step, layer.width - j)
        layer_squared_deviations(sums + layer.offset + j, mean + layer.offset + j, layer.ld,
                                 a_below(core, block_X, l, 0), lda, layer.delta + j, layer.ld, n, layer.n_in, width)
        # A bias counts as an activation of 1.
        layer_squared_deviations(sums + bias + j, mean + bias + j, layer.ld, &one, 0, layer.delta + j, layer.ld, n,
                                 1, width)
        look_for_signals(core, 2 * width * n * layer.n_in)
    return 0
