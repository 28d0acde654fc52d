# Mean and variance of the per-example gradients, which are not kept.
#
# A variance is the mean square of the deviations a_k delta_j - mean, formed one by one: sum a^2 delta^2 - n mean^2
# would cancel where the examples agree. Where all of them have the same a_k and the same delta_j it is 0: the mean of
# equal products is rounded, and the deviations would be what was rounded off.

from libc.math cimport NAN

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
    real *sums_kj, const real *mean_kj, Py_ssize_t ld,  # IN/OUT, IN  (rows, columns * LANES)
    const real *a_nk, Py_ssize_t lda,                   # IN  (n, rows)
    const real *delta_nj, Py_ssize_t ld_delta,          # IN  (n, columns * LANES)
    Py_ssize_t n, bint first,
) noexcept nogil:
    """sums += sum_i (a_k delta_j - mean_jk)^2 over the n examples, one chain in their order; the first store it."""
    cdef vec sum[4][2]
    cdef vec minus_mean[4][2]
    cdef vec delta_j[2]
    cdef vec a_k, deviation
    cdef Py_ssize_t i, r, c
    for r in range(<Py_ssize_t> sizeof(few_rows)):
        for c in range(<Py_ssize_t> sizeof(columns)):
            minus_mean[r][c] = -vec_load(mean_kj + r * ld + c * LANES)
            sum[r][c] = vec_set1(0) if first else vec_load(sums_kj + r * ld + c * LANES)
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
    real *sums_kj, const real *mean_kj, Py_ssize_t ld,  # IN/OUT, IN  (n_in, width), rows ld apart
    const real *a_nk, Py_ssize_t lda,                   # IN  (n, n_in)
    const real *delta_nj, Py_ssize_t ld_delta,          # IN  (n, width)
    Py_ssize_t n, Py_ssize_t n_in, Py_ssize_t width, bint first,
) noexcept nogil:
    cdef Py_ssize_t j = 0, k, at
    while j < width:
        k = 0
        while k < n_in:
            at = k * ld + j
            if j + 2 * LANES <= width:
                if k + 4 <= n_in:
                    add_squared_deviations[four_rows, columns2](
                        NULL, NULL, sums_kj + at, mean_kj + at, ld, a_nk + k, lda, delta_nj + j, ld_delta, n, first)
                else:
                    add_squared_deviations[one_row, columns2](
                        NULL, NULL, sums_kj + at, mean_kj + at, ld, a_nk + k, lda, delta_nj + j, ld_delta, n, first)
            elif k + 4 <= n_in:
                add_squared_deviations[four_rows, columns1](
                    NULL, NULL, sums_kj + at, mean_kj + at, ld, a_nk + k, lda, delta_nj + j, ld_delta, n, first)
            else:
                add_squared_deviations[one_row, columns1](
                    NULL, NULL, sums_kj + at, mean_kj + at, ld, a_nk + k, lda, delta_nj + j, ld_delta, n, first)
            k += 4 if k + 4 <= n_in else 1
        j += 2 * LANES if j + 2 * LANES <= width else LANES


cdef void note_others(
    real *first_j,                                                  # IN/OUT (width,)
    const real *x_nj, Py_ssize_t ld, Py_ssize_t n, Py_ssize_t width,  # IN  (n, width)
    bint begins,
) noexcept nogil:
    """first: the first row, from the block that `begins` with it on; NaN, once another row has another number."""
    cdef Py_ssize_t i, j
    for i in range(n):
        for j in range(width):
            if begins and i == 0:
                first_j[j] = x_nj[j]
            elif x_nj[i * ld + j] != first_j[j]:
                first_j[j] = NAN


cdef void note_block(
    Core core, const Call *call,
    const real *block_X, Py_ssize_t n, bint begins,  # IN  (n, n_0)
) noexcept nogil:
    """Every layer's a, then every layer's delta, in call.first."""
    cdef Py_ssize_t l
    cdef Layer *layer
    note_others(call.first, block_X, core.n_0, n, core.n_0, begins)
    for l in range(core.n_layers):
        layer = &core.layers[l]
        note_others(call.first + core.n_0 + layer.neurons, layer.a, layer.ld, n, layer.n_out, begins)
        note_others(call.first + core.n_0 + core.n_neurons + layer.neurons, layer.delta, layer.ld, n, layer.n_out,
                    begins)


cdef void clear_alike(
    Core core, const Call *call,
    real *sums,  # IN/OUT in the layout of the parameters
) noexcept nogil:
    """0 for every parameter whose derivative is the same product in all examples."""
    cdef Py_ssize_t l, k, j
    cdef Layer *layer
    cdef const real *a_k = call.first
    cdef const real *delta_j
    for l in range(core.n_layers):
        layer = &core.layers[l]
        delta_j = call.first + core.n_0 + core.n_neurons + layer.neurons
        for k in range(layer.n_in + 1):
            # A bias counts as an activation of 1.
            if k == layer.n_in or a_k[k] == a_k[k]:
                for j in range(layer.n_out):
                    if delta_j[j] == delta_j[j]:
                        sums[layer.offset + k * layer.ld + j] = 0
        a_k = call.first + core.n_0 + layer.neurons


cdef int gradient_moments_all(Core core, const Call *call) except -1 nogil:
    """The mean gradient into out (P,), the variance about it, and the costs."""
    cdef Py_ssize_t start, m, i, l
    cdef bint first
    cdef const real *block_X
    cdef real *sums
    cdef real *mean = call.packed
    cdef real count = <real> call.n
    if gradient_sums(core, call, 0, call.n, &sums):
        return 1
    for i in range(core.storage_size):
        mean[i] = sums[i] / count
    if not all_finite(mean, core.storage_size):
        return fail(core, QUANTITY_DELTA, core.n_layers)
    for start from 0 <= start < call.n by BLOCK:
        m = min(call.n - start, BLOCK)
        block_X = call.X + start * core.n_0
        if deltas_block(core, block_X, call.Y + start * core.n_L, call.C + start, m):
            return 1
        note_block(core, call, block_X, m, start == 0)
        first = begin_block(core, start)
        for l in range(core.n_layers):
            squared_deviations_layer(core, l, core.sums, mean, block_X, m, first)
    sums = folded(core, call.n)
    clear_alike(core, call, sums)
    if not all_finite(sums, core.storage_size):
        return fail(core, QUANTITY_MOMENTS, 0)
    if not cost_is_finite(core):
        return 1
    unpack(core, call.out, mean, 1)
    unpack(core, call.variance, sums, count)
    return 0


cdef int squared_deviations_layer(
    Core core,
    Py_ssize_t l,
    real *sums,                         # IN/OUT, in the layout of the parameters
    const real *mean,                   # IN  likewise
    const real *block_X, Py_ssize_t n,  # IN  (n, n_0)
    bint first,
) except -1 nogil:
    """One layer's part of a block, piece by piece for the sake of Ctrl-C."""
    cdef Layer *layer = &core.layers[l]
    cdef Py_ssize_t j, width, step, lda = layer.n_in if l == 0 else core.layers[l - 1].ld
    cdef Py_ssize_t bias = layer.offset + layer.n_in * layer.ld
    cdef real one = 1
    step = columns_between_looks(core, layer.width, 2 * n * layer.n_in)
    for j from 0 <= j < layer.width by step:
        width = min(step, layer.width - j)
        layer_squared_deviations(sums + layer.offset + j, mean + layer.offset + j, layer.ld,
                                 a_below(core, block_X, l, 0), lda, layer.delta + j, layer.ld, n, layer.n_in, width,
                                 first)
        # A bias counts as an activation of 1.
        layer_squared_deviations(sums + bias + j, mean + bias + j, layer.ld, &one, 0, layer.delta + j, layer.ld, n,
                                 1, width, first)
        look_for_signals(core, 2 * width * n * layer.n_in)
    return 0
