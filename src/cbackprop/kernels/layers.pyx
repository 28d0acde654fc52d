# The lesson's formulas over the rows of one block of examples, and looks at all of its numbers.
#
# a) z, a, da_dz and delta of a layer are (n, ld) blocks: n examples, ld = n_l padded to whole 64-byte groups. Loops run
#    over whole vectors, padding included, so that a number's bits do not depend on where it stands.
# b) Padding of delta is 0, because the output mask makes it 0 and W's padding is 0; padding of a is never read.
# c) Whether all numbers are finite is asked of a sum of 0 x: a product and a sum a number instead of a comparison and a
#    branch, in a pass that reads them anyway. 0 x is NaN for infinities and NaN, and a NaN stays in the sum.
# d) Threads share a layer number by number, or a product by columns: each number is made by one thread, in the order of
#    one, so that their count does not change a bit.

from libc.stdint cimport uint64_t

from cbackprop.kernels.simd cimport (
    GROUP, LANES, SQUARE, group_sum, real, transpose_square, vec, vec_abs, vec_all_zero, vec_fma, vec_load,
    vec_load_partial, vec_max, vec_set1, vec_store,
)
from cbackprop.kernels.threads cimport MOST_THREADS, run_task, task_function

cdef enum:
    BLOCK = 256   # examples whose activations are held at once: they and a tile's panel fit the L2 cache
    LEAF = BLOCK  # examples whose gradients are summed in one chain, see tree.pyx
    INPUT_GRADIENT_ROWS = 64  # dC/dx of so many are made at once: the caches hold them until they are copied


cdef bint all_finite(const real *x, Py_ssize_t count) noexcept nogil:
    """Whether every number is finite, as in direct_loop; four sums side by side."""
    cdef Py_ssize_t i = 0, c
    cdef vec zero = vec_set1(0)
    # Four, because one chain of additions would wait 4 cycles for each.
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


cdef void fill(real *x, real value, Py_ssize_t count) noexcept nogil:
    """Every number = value."""
    cdef Py_ssize_t i
    for i in range(count):
        x[i] = value


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


cdef inline real row_sum(const real *x_j, Py_ssize_t ld) noexcept nogil:
    """Sum of a padded row whose padding is 0; ld is a multiple of GROUP."""
    cdef real lanes[16]
    cdef Py_ssize_t i, j
    if ld == GROUP:
        return group_sum(x_j)
    for i in range(GROUP):
        lanes[i] = x_j[i]
    j = GROUP
    while j < ld:
        for i in range(GROUP):
            lanes[i] = lanes[i] + x_j[j + i]
        j += GROUP
    return group_sum(lanes)


cdef void drop_out(
    real *a_nj, real *da_dz_nj, Py_ssize_t ld,  # IN/OUT (n, n_out), rows ld apart
    Py_ssize_t n, Py_ssize_t n_out,
    uint64_t key, uint64_t first, uint64_t step,  # the random word of neuron j of example i is first + i step + j
    uint64_t threshold, real scale,               # words whose upper half is below it drop the neuron
) noexcept nogil:
    """a m scale and da/dz m scale with a random m of 0 or 1 (Srivastava et al. 2014, "Dropout"): the scale, 1/(1 - p),
    keeps the mean. Backpropagation through m is the product with the new da/dz.
    """
    cdef Py_ssize_t i, j
    cdef real factor
    for i in range(n):
        for j in range(n_out):
            factor = scale if (word_at(key, first + <uint64_t> i * step + <uint64_t> j) >> 32) >= threshold else 0
            a_nj[i * ld + j] = a_nj[i * ld + j] * factor
            da_dz_nj[i * ld + j] = da_dz_nj[i * ld + j] * factor


# ---- one layer's numbers, shared by threads --------------------------------------------------------------------------

# A layer's numbers, for threads that share what is done to each of them alone.
cdef struct ElementwiseTask:
    int activation
    real *a  # (count,), or delta
    real *da_dz
    const real *z
    Py_ssize_t count, share
    Py_ssize_t width, ld  # of a row
    bint finite[MOST_THREADS]  # what each of them did


cdef void activate_piece(void *context, int worker, Py_ssize_t piece) noexcept nogil:
    cdef ElementwiseTask *layer = <ElementwiseTask *> context
    cdef Py_ssize_t i = piece * layer.share
    cdef Py_ssize_t width = min(layer.share, layer.count - i), ld = width, n = 1
    # In long rows padding is little; and pieces that threads share begin and end anywhere in them.
    if width == layer.count and layer.ld <= 8 * GROUP:
        width, ld, n = layer.width, layer.ld, layer.count // layer.ld
    if not activate(layer.activation, layer.a + i, NULL if layer.da_dz == NULL else layer.da_dz + i, layer.z + i,
                    width, ld, n):
        layer.finite[worker] = False


cdef void multiply_piece(void *context, int worker, Py_ssize_t piece) noexcept nogil:
    cdef ElementwiseTask *layer = <ElementwiseTask *> context
    cdef Py_ssize_t i = piece * layer.share
    if not multiply_by_derivative(layer.a + i, layer.da_dz + i, min(layer.share, layer.count - i)):
        layer.finite[worker] = False


cdef bint run_elementwise(task_function task, ElementwiseTask *layer, int threads) noexcept nogil:
    """The task on every piece of the layer. Whether all of them were finite."""
    cdef int worker, sharers = sharers_of(ELEMENT_WORK * layer.count, threads)
    layer.share = piece_columns(layer.count, sharers)
    for worker in range(sharers):
        layer.finite[worker] = True
    run_task(task, layer, pieces_of(layer.count, layer.share), sharers, False)
    for worker in range(sharers):
        if not layer.finite[worker]:
            return False
    return True


# ---- delta propagation -----------------------------------------------------------------------------------------------

cdef void propagate_delta(
    real *dC_da_nk, Py_ssize_t ld_a,  # OUT (n, width), rows ld_a apart
    const real *delta_nj, Py_ssize_t ld,                                                 # IN  (n, n_out), rows ld apart
    const real *w_kj, Py_ssize_t n_in,  # IN  (n_in, n_out), rows ld apart
    Py_ssize_t n, Py_ssize_t width, Py_ssize_t n_out, const real *zeros, Panels panels,  # IN zeros (width,)
) noexcept nogil:
    """dC/da_k = sum_j w_jk delta_j, the sum over every path, for `width` of the neurons k; 0 for k >= n_in."""
    multiply_transposed(dC_da_nk, ld_a, delta_nj, ld, w_kj, ld, n_in, zeros, 0, n, width, n_out, panels)


cdef bint multiply_by_derivative(real *delta_nj, const real *da_dz_nj, Py_ssize_t count) noexcept nogil:
    """delta = dC/da . da/dz, in place of dC/da. Whether every delta is finite."""
    cdef Py_ssize_t i
    cdef vec product, zero = vec_set1(0), sum = vec_set1(0)
    for i from 0 <= i < count by LANES:
        product = vec_load(delta_nj + i) * vec_load(da_dz_nj + i)
        vec_store(delta_nj + i, product)
        sum = vec_fma(product, zero, sum)
    return vec_all_zero(sum)


cdef void multiply(real *product, const real *x, const real *y, Py_ssize_t count) noexcept nogil:
    """product = x y, number by number; count is a multiple of LANES."""
    cdef Py_ssize_t i
    for i from 0 <= i < count by LANES:
        vec_store(product + i, vec_load(x + i) * vec_load(y + i))


cdef void scale_rows(real *delta_nj, Py_ssize_t ld, const double *factor_n, Py_ssize_t n) noexcept nogil:
    """Each example's delta times its factor, in float64: a clipping factor may lie below what float32 holds."""
    cdef Py_ssize_t i, j
    for i in range(n):
        # Most are not clipped, and their bits are those of a pass without clipping.
        if factor_n[i] == 1:
            continue
        for j in range(ld):
            delta_nj[i * ld + j] = <real> (<double> delta_nj[i * ld + j] * factor_n[i])


# ---- gradient accumulation -------------------------------------------------------------------------------------------

cdef void accumulate_gradient(
    real *dC_dw_kj, Py_ssize_t ld_sum,                                   # IN/OUT (n_in, width), rows ld_sum apart
    const real *a_nk, Py_ssize_t lda,                                    # IN  (n, n_in), rows lda apart
    const real *delta_nj, Py_ssize_t ld,                                 # IN  (n, width), rows ld apart
    Py_ssize_t n, Py_ssize_t n_in, Py_ssize_t width, const real *zeros,  # IN  zeros (width,)
    bint update, real factor, Panels panels,
) noexcept nogil:
    """dC/dw_jk = sum_i a_k delta_j over the n examples, one chain in their order, for n_in of the neurons k and `width`
    of the neurons j.

    With update factor times the sums is added instead of storing them: with -learning_rate / n and the parameters in
    place of dC_dw_kj, that is the whole gradient-descent step.
    """
    multiply_columns(dC_dw_kj, ld_sum, a_nk, lda, delta_nj, ld, zeros, 0, n_in, width, n, update, factor, panels)


cdef void accumulate_bias_gradient(
    real *dC_db_j,                                                        # IN/OUT (width,)
    const real *delta_nj, Py_ssize_t ld, Py_ssize_t n, Py_ssize_t width,  # IN  (n, width), rows ld apart
    bint update, real factor,
) noexcept nogil:
    """dC/db_j = sum_i delta_j, as accumulate_gradient with the bias's own first factor, 1."""
    cdef Py_ssize_t i, j
    cdef vec sum
    for j from 0 <= j < width by LANES:
        sum = vec_set1(0)
        for i in range(n):
            sum = sum + vec_load(delta_nj + i * ld + j)
        if update:
            sum = vec_fma(vec_set1(factor), sum, vec_load(dC_db_j + j))
        vec_store(dC_db_j + j, sum)


cdef void add(real *total, const real *part, Py_ssize_t count) noexcept nogil:
    """total += part."""
    cdef Py_ssize_t i
    for i from 0 <= i < count by LANES:
        vec_store(total + i, vec_load(total + i) + vec_load(part + i))


cdef void unpack_gradient(
    real *dC_dw_jk,                       # OUT (n_out, n_in) then (n_out,)
    const real *dC_dw_kj, Py_ssize_t ld,  # IN  (n_in + 1, ld)
    Py_ssize_t n_in, Py_ssize_t n_out, real total,
) noexcept nogil:
    """One layer's sums, transposed into the documented order and divided by the total weight (n without weights)."""
    cdef Py_ssize_t j, k, jj, kk, j_end, k_end
    # By squares that fit the registers: a column of dC_dw_kj read alone would use one number of each cache line.
    for j from 0 <= j < n_out by SQUARE:
        j_end = min(j + SQUARE, n_out)
        for k from 0 <= k < n_in by SQUARE:
            k_end = min(k + SQUARE, n_in)
            if j + SQUARE <= n_out and k + SQUARE <= n_in:
                transpose_square(dC_dw_jk + j * n_in + k, n_in, dC_dw_kj + k * ld + j, ld)
            else:
                for jj in range(j, j_end):
                    for kk in range(k, k_end):
                        dC_dw_jk[jj * n_in + kk] = dC_dw_kj[kk * ld + jj]
    for j in range(n_out):
        dC_dw_jk[n_out * n_in + j] = dC_dw_kj[n_in * ld + j]
    for k in range(n_out * n_in + n_out):
        dC_dw_jk[k] = dC_dw_jk[k] / total
