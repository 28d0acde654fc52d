# Gram matrices: inner products of the gradients of all pairs of examples, without the gradients being made.
#
# a) A gradient's part of one layer is an outer product of delta and a (with a 1 for the bias), so the inner product of
#    two of them is (delta_i . delta_j)(a_i . a_j + 1): two products of the kernel, whose chains run over the neurons.
#    An entry has the same bits wherever its examples stand.
# b) Rows of delta and of large a are scaled to the size of 1 by a power of two, which is put back in float64:
#    delta_i . delta_j of numbers around 1e-25 vanishes in float32, and a_i . a_j of numbers around 1e20 overflows,
#    although their product need not.

from libc.math cimport frexp, ldexp
from libc.string cimport memset

from cbackprop.kernels.simd cimport LANES, real

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


cdef int gradient_gram_all(
    Core core,
    const real *X, const real *Y, Py_ssize_t n,     # IN  (n, n_0), (n, n_L)
    const real *X2, const real *Y2, Py_ssize_t n2,  # IN  (n2, n_0), (n2, n_L)
    bint symmetric,
    real *gram,                                   # OUT (n, n2)
    ScaledExamples *left, ScaledExamples *right,  # scratch, as the next two
    real *products, double *total,                # (2 BLOCK + 1, BLOCK), (BLOCK, BLOCK)
) except -1 nogil:
    """Inner products (n, n2) of the gradients of X and X2.

    `left` has room for a block of X, `right` for some blocks of X2, whose copies stay while X passes by: every block of
    X is then computed once for as much of X2 as memory allows. The last row of `products` stays 0.
    """
    cdef Py_ssize_t start, start2 = 0, rows2, m, m2, j
    cdef Py_ssize_t n_0 = core.layers[0].n_in, n_L = core.layers[core.n_layers - 1].n_out
    cdef bint both
    while start2 < n2:
        rows2 = min(right.rows, n2 - start2)
        if scale_examples(core, right, X2 + start2 * n_0, Y2 + start2 * n_L, rows2):
            return 1
        start = 0
        while start < n and not (symmetric and start >= start2 + rows2):
            m = min(n - start, BLOCK)
            # Whether `right` has the block already.
            both = symmetric and start >= start2
            if not both and scale_examples(core, left, X + start * n_0, Y + start * n_L, m):
                return 1
            j = max(start - start2, 0) if symmetric else 0
            while j < rows2:
                m2 = min(rows2 - j, BLOCK)
                inner_products_block(core, total, right if both else left, start - start2 if both else 0, m, right, j,
                                     m2, products)
                if not copy_out_inner_products(core, gram, n2, total, start, m, start2 + j, m2, symmetric):
                    return fail(core, QUANTITY_GRAM, 0)
                look_for_signals(core, m * m2 * (n_0 + core.n_layers))
                j += m2
            start += m
        start2 += rows2
    return 0


cdef int scale_examples(
    Core core,
    ScaledExamples *examples,                    # OUT
    const real *X, const real *Y, Py_ssize_t n,  # IN  (n, n_0), (n, n_L)
) except -1 nogil:
    """Scaled copies of a and delta of n examples, examples.rows at most."""
    cdef Py_ssize_t start = 0, m, i, l, lda, row
    cdef real C[BLOCK]
    cdef real *p
    cdef const real *block_X
    cdef const real *a
    cdef double a_scale, delta_scale
    cdef Layer *layer
    while start < n:
        m = min(n - start, BLOCK)
        block_X = X + start * core.layers[0].n_in
        if deltas_block(core, block_X, Y + start * core.layers[core.n_layers - 1].n_out, C, m):
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
        start += m
    return 0


cdef Py_ssize_t scaled_row_size(Core core) noexcept nogil:
    """Numbers that `scale_examples` writes of each example."""
    cdef Py_ssize_t l, size = 0
    for l in range(core.n_layers):
        size += ld_below(core, l) + core.layers[l].ld
    return size


cdef void inner_products_block(
    Core core,
    double *total,                                            # OUT (n, BLOCK)
    const ScaledExamples *left, Py_ssize_t i, Py_ssize_t n,   # IN  n examples from row i
    const ScaledExamples *right, Py_ssize_t j, Py_ssize_t m,  # IN  m examples from row j
    real *products,                                           # scratch
) noexcept nogil:
    """total (n, BLOCK): the n examples of `left` from row i on with the m of `right` from row j on."""
    cdef Py_ssize_t l, lda, width = (m + LANES - 1) // LANES * LANES
    cdef real *a_a = products + BLOCK * BLOCK
    cdef const real *zeros = a_a + BLOCK * BLOCK
    cdef const real *p = left.numbers
    cdef const real *q = right.numbers
    cdef Layer *layer
    memset(total, 0, n * BLOCK * sizeof(double))
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
        add_inner_products(total, products, a_a, left.scales + l * left.rows + i, right.scales + l * right.rows + j,
                           left.ones + l * left.rows + i, right.ones + l * right.rows + j, n, m, BLOCK)


cdef bint copy_out_inner_products(
    Core core,
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
