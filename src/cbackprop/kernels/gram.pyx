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


# `left` has room for a block of a call's examples, `right` for some blocks of the second set, whose copies stay while
# the first set passes by: every block of it is then computed once for as much of the second as memory allows.
cdef struct GramScratch:
    ScaledExamples left, right
    real *products  # (2 BLOCK + 1, BLOCK), whose last row stays 0
    double *total   # (BLOCK, BLOCK)


cdef list gram_arrays(Core core, GramScratch *scratch, Py_ssize_t n2):
    """Memory for the scratch with a second set of n2 examples: the arrays that own it."""
    cdef Py_ssize_t l, size = 0, rows
    for l in range(core.n_layers):
        size += ld_below(core, l) + core.layers[l].ld
    rows = RIGHT_BYTES // (size * <Py_ssize_t> sizeof(real)) // BLOCK * BLOCK
    rows = min(max(rows, BLOCK), (n2 + BLOCK - 1) // BLOCK * BLOCK)
    # One array of numbers, for both sets and the products, and one of float64, for scales and totals.
    numbers = aligned_zeros((rows + BLOCK) * size + (2 * BLOCK + 1) * BLOCK)
    doubles = np.empty(2 * core.n_layers * (rows + BLOCK) + BLOCK * BLOCK)
    scratch.right.rows = rows
    scratch.left.rows = BLOCK
    scratch.right.numbers = data(numbers)
    scratch.left.numbers = scratch.right.numbers + rows * size
    scratch.products = scratch.left.numbers + BLOCK * size
    scratch.right.scales = <double *> cnp.PyArray_DATA(<cnp.ndarray> doubles)
    scratch.right.ones = scratch.right.scales + core.n_layers * rows
    scratch.left.scales = scratch.right.ones + core.n_layers * rows
    scratch.left.ones = scratch.left.scales + core.n_layers * BLOCK
    scratch.total = scratch.left.ones + core.n_layers * BLOCK
    return [numbers, doubles]


cdef int gradient_gram_all(Core core, const Call *call) except -1 nogil:
    """Inner products of the gradients of the call's examples and of the second set's, into out (n, n2)."""
    cdef Py_ssize_t start, start2, rows2, m, m2, j
    cdef bint both, symmetric = call.second == NULL
    cdef const Call *second = call if symmetric else call.second
    cdef GramScratch *scratch = call.gram_scratch
    for start2 from 0 <= start2 < second.n by scratch.right.rows:
        rows2 = min(scratch.right.rows, second.n - start2)
        if scale_examples(core, &scratch.right, second, start2, rows2):
            return 1
        # A symmetric matrix has its lower blocks from the upper ones.
        for start from 0 <= start < (min(call.n, start2 + rows2) if symmetric else call.n) by BLOCK:
            m = min(call.n - start, BLOCK)
            # Whether `right` has the block already.
            both = symmetric and start >= start2
            if not both and scale_examples(core, &scratch.left, call, start, m):
                return 1
            for j from (max(start - start2, 0) if symmetric else 0) <= j < rows2 by BLOCK:
                m2 = min(rows2 - j, BLOCK)
                inner_products_block(core, scratch, both, start - start2 if both else 0, m, j, m2)
                if not copy_out_inner_products(call.out, second.n, scratch.total, start, m, start2 + j, m2, symmetric):
                    return fail(core, QUANTITY_GRAM, 0)
                look_for_signals(core, m * m2 * (core.n_0 + core.n_layers))
    return 0


cdef int scale_examples(
    Core core,
    ScaledExamples *examples,  # OUT
    const Call *call, Py_ssize_t first, Py_ssize_t n,
) except -1 nogil:
    """Scaled copies of a and delta of n examples of the call from `first`, examples.rows at most."""
    cdef Py_ssize_t start, m, i, l, lda, row
    cdef real C[BLOCK]
    cdef real *p
    cdef const real *block_X
    cdef const real *a
    cdef double a_scale, delta_scale
    cdef Layer *layer
    for start from 0 <= start < n by BLOCK:
        m = min(n - start, BLOCK)
        block_X = call.X + (first + start) * core.n_0
        if deltas_block(core, block_X, call.Y + (first + start) * core.n_L, C, m):
            return 1
        p = examples.numbers
        for l in range(core.n_layers):
            layer = &core.layers[l]
            lda = ld_below(core, l)
            for i in range(m):
                row = start + i
                a = a_below(core, block_X, l, i)
                a_scale = power_of_two(a, layer.n_in)
                # Beside the bias's 1 a small a may vanish.
                a_scale = max(a_scale, 1.0)
                delta_scale = power_of_two(layer.delta + i * layer.ld, layer.n_out)
                examples.scales[l * examples.rows + row] = a_scale * delta_scale
                examples.ones[l * examples.rows + row] = 1 / a_scale
                copy_scaled(p + row * lda, a, layer.n_in, a_scale)
                copy_scaled(p + examples.rows * lda + row * layer.ld, layer.delta + i * layer.ld, layer.n_out,
                            delta_scale)
            p += examples.rows * (lda + layer.ld)
        look_for_signals(core, 0)
    return 0


cdef void inner_products_block(
    Core core,
    GramScratch *scratch,  # IN/OUT
    bint both, Py_ssize_t i, Py_ssize_t n, Py_ssize_t j, Py_ssize_t m,
) noexcept nogil:
    """total: n examples of `left`, or with `both` of `right`, from row i on, with m of `right` from row j on."""
    cdef Py_ssize_t l, lda, width = (m + LANES - 1) // LANES * LANES
    cdef const ScaledExamples *right = &scratch.right
    cdef const ScaledExamples *left = right if both else &scratch.left
    cdef real *products = scratch.products
    cdef real *a_a = products + BLOCK * BLOCK
    cdef const real *zeros = a_a + BLOCK * BLOCK
    cdef const real *p = left.numbers
    cdef const real *q = right.numbers
    cdef Layer *layer
    memset(scratch.total, 0, n * BLOCK * sizeof(double))
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
        add_inner_products(scratch.total, products, a_a, left.scales + l * left.rows + i,
                           right.scales + l * right.rows + j, left.ones + l * left.rows + i,
                           right.ones + l * right.rows + j, n, m, BLOCK)


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
