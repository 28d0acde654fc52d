# Gram matrices: inner products of the gradients of all pairs of examples, without the gradients being made.
#
# a) A gradient's part of one layer is an outer product of delta and a (with a 1 for the bias), so the inner product of
#    two of them is (delta_i . delta_j)(a_i . a_j + 1): two products of the kernel, whose chains run over the neurons.
#    An entry has the same bits wherever its examples stand.
# b) Rows of delta and of large a are scaled to the size of 1 by a power of two, which is put back in float64:
#    delta_i . delta_j of numbers around 1e-25 vanishes in float32, and a_i . a_j of numbers around 1e20 overflows,
#    although their product need not.

cimport numpy as cnp
from libc.math cimport frexp, ldexp
from libc.string cimport memset

from cbackprop.kernels.simd cimport LANES, real

import numpy as np

cdef enum:
    RIGHT_BYTES = 32 << 20       # of the second set's a and delta, which stay while the first set passes by
    PRODUCTS_SIZE = (2 * BLOCK + 1) * BLOCK


cdef double power_of_two(const real *x, Py_ssize_t count) noexcept nogil:
    """The largest power of two that is not above max |x_k|; 1 for zeros."""
    cdef int exponent
    cdef double size = <double> largest(x, count)
    if size == 0:
        return 1
    frexp(size, &exponent)
    return ldexp(1, exponent - 1)


cdef void copy_scaled(real *target, const real *x, Py_ssize_t count, double scale) noexcept nogil:
    """target = x / scale, exact but for numbers that vanish beside the largest."""
    cdef Py_ssize_t k
    # In two factors: 2^1074, for float64's least number, is none of its numbers.
    cdef double first = 1, second = 1 / scale
    if scale < 1e-300:
        first = 2.0 ** 100
        second = 1 / (scale * first)
    for k in range(count):
        target[k] = <real> (<double> x[k] * first * second)


cdef void add_inner_products(
    double *total_nm,                                # IN/OUT (n, ld)
    const real *delta_delta_nm, const real *a_a_nm,  # IN  (n, ld): delta_i . delta_j and a_i . a_j, scaled
    const double *scale_n, const double *scale_m,    # IN  (n,), (m,): of delta and a together
    const double *one_n, const double *one_m,        # IN  the bias's 1 over the scale of a
    Py_ssize_t n, Py_ssize_t m, Py_ssize_t ld,
) noexcept nogil:
    """total += (delta_i . delta_j)(a_i . a_j + 1) of one layer, the scales put back, the larger one first."""
    cdef Py_ssize_t i, j
    cdef double scale_i, one_i, product
    for i in range(n):
        scale_i = scale_n[i]
        one_i = one_n[i]
        for j in range(m):
            product = <double> delta_delta_nm[i * ld + j] * (<double> a_a_nm[i * ld + j] + one_i * one_m[j])
            product = product * (scale_i if scale_i > scale_m[j] else scale_m[j])
            total_nm[i * ld + j] += product * (scale_m[j] if scale_i > scale_m[j] else scale_i)

# Scaled copies of a set of examples: layer by layer a (rows, ld of a), then delta (rows, ld); their scales, and the
# bias's 1 over the scale of a, (n_layers, rows) each.
cdef struct ScaledExamples:
    real *numbers
    double *scales
    double *ones
    Py_ssize_t rows


# `left` has room for a block of a call's examples for each thread, `right` for some blocks of the second set, whose
# copies stay while the first set passes by: a block of it is computed once for as much of the second as there is room.
cdef struct GramScratch:
    ScaledExamples left, right
    real *products  # for each thread (2 BLOCK + 1, BLOCK), whose last row stays 0
    double *total   # for each thread (BLOCK, BLOCK)
    # The run under way: which copies are made, or which of them are multiplied.
    ScaledExamples *copies
    const ScaledExamples *rows
    Py_ssize_t first, n      # examples of the first set, from which
    Py_ssize_t first2, n2    # and of the second


cdef list gram_arrays(Core core, GramScratch *scratch, Py_ssize_t n2):
    """Memory for the scratch with a second set of n2 examples: the arrays that own it."""
    cdef Py_ssize_t l, size = 0, rows, threads = core.threads, left = BLOCK * core.threads
    for l in range(core.n_layers):
        size += ld_below(core, l) + core.layers[l].ld
    rows = RIGHT_BYTES // (size * <Py_ssize_t> sizeof(real)) // BLOCK * BLOCK
    rows = min(max(rows, BLOCK), (n2 + BLOCK - 1) // BLOCK * BLOCK)
    # One array of numbers, for both sets and the products, and one of float64, for scales and totals.
    numbers = aligned_zeros((rows + left) * size + threads * PRODUCTS_SIZE)
    doubles = np.empty(2 * core.n_layers * (rows + left) + threads * BLOCK * BLOCK)
    scratch.right.rows = rows
    scratch.left.rows = left
    scratch.right.numbers = data(numbers)
    scratch.left.numbers = scratch.right.numbers + rows * size
    scratch.products = scratch.left.numbers + left * size
    scratch.right.scales = <double *> cnp.PyArray_DATA(<cnp.ndarray> doubles)
    scratch.right.ones = scratch.right.scales + core.n_layers * rows
    scratch.left.scales = scratch.right.ones + core.n_layers * rows
    scratch.left.ones = scratch.left.scales + core.n_layers * left
    scratch.total = scratch.left.ones + core.n_layers * left
    return [numbers, doubles]


cdef int gradient_gram_all(Core core, const Call *call) except -1 nogil:
    """Inner products of the gradients of the call's examples and of the second set's, into out (n, n2)."""
    cdef Py_ssize_t start, start2
    cdef bint symmetric = call.second == NULL
    cdef const Call *second = call if symmetric else call.second
    cdef GramScratch *scratch = call.gram_scratch
    for start2 from 0 <= start2 < second.n by scratch.right.rows:
        scratch.first2, scratch.n2 = start2, min(scratch.right.rows, second.n - start2)
        scratch.copies, scratch.first = &scratch.right, start2
        if do_leaves(core, second, scaled_leaf, NULL, start2, scratch.n2, BLOCK, NULL):
            return 1
        for start from 0 <= start < (start2 if symmetric else call.n) by scratch.left.rows:
            scratch.first, scratch.n = start, min(scratch.left.rows, (start2 if symmetric else call.n) - start)
            scratch.copies = &scratch.left
            if do_leaves(core, call, scaled_leaf, NULL, start, scratch.n, BLOCK, NULL):
                return 1
            scratch.rows = &scratch.left
            if multiply_copies(core, call):
                return 1
        if symmetric:
            # Of the second set's own pairs, whose copies are there.
            scratch.rows, scratch.first, scratch.n = &scratch.right, start2, scratch.n2
            if multiply_copies(core, call):
                return 1
    return 0


cdef int scaled_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """Scaled copies of a and delta of n examples of the call from `start`."""
    cdef Py_ssize_t i, l, lda, row
    cdef real C[BLOCK]
    cdef ScaledExamples *copies = call.gram_scratch.copies
    cdef real *p = copies.numbers
    cdef const real *block_X = block_of(core, call, start, n, True)
    cdef const real *a
    cdef double a_scale, delta_scale
    cdef Layer *layer
    if deltas_block(core, block_X, call.Y + start * core.n_L, C, n):
        return 1
    for l in range(core.n_layers):
        layer = &core.layers[l]
        lda = ld_below(core, l)
        for i in range(n):
            row = start - call.gram_scratch.first + i
            a = a_below(core, block_X, l, i)
            a_scale = power_of_two(a, layer.n_in)
            # Beside the bias's 1 a small a may vanish.
            a_scale = max(a_scale, 1.0)
            delta_scale = power_of_two(layer.delta + i * layer.ld, layer.n_out)
            copies.scales[l * copies.rows + row] = a_scale * delta_scale
            copies.ones[l * copies.rows + row] = 1 / a_scale
            copy_scaled(p + row * lda, a, layer.n_in, a_scale)
            copy_scaled(p + copies.rows * lda + row * layer.ld, layer.delta + i * layer.ld, layer.n_out, delta_scale)
        p += copies.rows * (lda + layer.ld)
    look_for_signals(core, 0)
    return 0


cdef int multiply_copies(Core core, const Call *call) except -1 nogil:
    """All pairs of blocks of the copies that are there."""
    cdef GramScratch *scratch = call.gram_scratch
    cdef Py_ssize_t blocks = pieces_of(scratch.n, BLOCK) * pieces_of(scratch.n2, BLOCK)
    return do_leaves(core, call, inner_products_leaf, NULL, 0, blocks, 1, NULL)


cdef int inner_products_leaf(Core core, const Call *call, Py_ssize_t pair, Py_ssize_t n, real *sums) except -1 nogil:
    """One pair of blocks, counted with the second set's fast."""
    cdef GramScratch *scratch = call.gram_scratch
    cdef Py_ssize_t blocks2 = pieces_of(scratch.n2, BLOCK)
    cdef Py_ssize_t i = pair // blocks2 * BLOCK, j = pair % blocks2 * BLOCK
    cdef Py_ssize_t m = min(scratch.n - i, BLOCK), m2 = min(scratch.n2 - j, BLOCK)
    cdef Py_ssize_t all2 = call.n if call.second == NULL else call.second.n
    cdef double *total = scratch.total + core.place * BLOCK * BLOCK
    # A symmetric matrix has its lower blocks from the upper ones.
    if scratch.rows == &scratch.right and j < i:
        return 0
    inner_products_block(core, scratch, total, i, m, j, m2)
    if not copy_out_inner_products(call.out, all2, total, scratch.first + i, m, scratch.first2 + j, m2,
                                   call.second == NULL):
        return fail(core, QUANTITY_GRAM, 0)
    look_for_signals(core, m * m2 * (core.n_0 + core.n_layers))
    return 0


cdef void inner_products_block(
    Core core,
    const GramScratch *scratch, double *total_nm,  # IN, OUT (n, BLOCK)
    Py_ssize_t i, Py_ssize_t n, Py_ssize_t j, Py_ssize_t m,
) noexcept nogil:
    """total: n examples of the first copies, from row i on, with m of the second, from row j on."""
    cdef Py_ssize_t l, lda, width = (m + LANES - 1) // LANES * LANES
    cdef const ScaledExamples *right = &scratch.right
    cdef const ScaledExamples *left = scratch.rows
    cdef real *products = scratch.products + core.place * PRODUCTS_SIZE
    cdef real *a_a = products + BLOCK * BLOCK
    cdef const real *zeros = a_a + BLOCK * BLOCK
    cdef const real *p = left.numbers
    cdef const real *q = right.numbers
    cdef Layer *layer
    memset(total_nm, 0, n * BLOCK * sizeof(double))
    for l in range(core.n_layers):
        layer = &core.layers[l]
        lda = ld_below(core, l)
        multiply_transposed(a_a, BLOCK, p + i * lda, lda, q + j * lda, lda, m, zeros, 0, n, width, layer.n_in,
                            core.panels)
        p += left.rows * lda
        q += right.rows * lda
        multiply_transposed(products, BLOCK, p + i * layer.ld, layer.ld, q + j * layer.ld, layer.ld, m, zeros, 0, n,
                            width, layer.n_out, core.panels)
        p += left.rows * layer.ld
        q += right.rows * layer.ld
        add_inner_products(total_nm, products, a_a, left.scales + l * left.rows + i, right.scales + l * right.rows + j,
                           left.ones + l * left.rows + i, right.ones + l * right.rows + j, n, m, BLOCK)


cdef bint copy_out_inner_products(
    real *gram, Py_ssize_t n2,  # OUT (., n2)
    const double *total,        # IN  (n, BLOCK)
    Py_ssize_t i_start, Py_ssize_t n, Py_ssize_t j_start, Py_ssize_t m, bint symmetric,
) noexcept nogil:
    """A block of the matrix, and its transpose where it is symmetric. Whether every number is finite."""
    cdef Py_ssize_t i, j
    cdef real *row
    cdef bint finite = True
    for i in range(n):
        row = gram + (i_start + i) * n2 + j_start
        for j in range(m):
            row[j] = <real> total[i * BLOCK + j]
        if not all_finite(row, m):
            finite = False
    if symmetric and i_start != j_start:
        for i in range(n):
            for j in range(m):
                gram[(j_start + j) * n2 + i_start + i] = gram[(i_start + i) * n2 + j_start + j]
    return finite
