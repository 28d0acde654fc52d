# What per-example gradients give together, without being made: inner products of all pairs, means and variances.
#
# a) A gradient's part of one layer is an outer product of delta and a (with a 1 for the bias), so the inner product of
#    two of them is (delta_i . delta_j)(a_i . a_j + 1): two products of the kernel, whose chains run over the neurons.
#    An entry has the same bits wherever its examples stand.
# b) Rows of delta and of large a are scaled to the size of 1 by a power of two, which is put back in float64:
#    delta_i . delta_j of numbers around 1e-25 vanishes in float32, and a_i . a_j of numbers around 1e20 overflows,
#    although their product need not.
# c) A variance is the mean square of the deviations a_k delta_j - mean, formed one by one: sum a^2 delta^2 - n mean^2
#    would cancel where the examples agree.

from libc.math cimport frexp, ldexp

# One type a number of rows, so that the loop below stands once and is compiled for both.
cdef struct one_row:
    char count[1]
cdef struct four_rows:
    char count[4]
ctypedef fused few_rows:
    one_row
    four_rows

cdef enum:
    KEPT_BYTES = 32 << 20       # of a and delta of the second set of a Gram matrix, kept while the first passes by


cdef void add_squared_deviations(
    few_rows *rows_tag, columns *columns_tag,
    real *sums, const real *mean, Py_ssize_t ld,                        # IN/OUT, IN  (rows, columns * LANES)
    const real *a, Py_ssize_t lda, const real *delta, Py_ssize_t ld_delta,  # IN  (n, rows), (n, columns * LANES)
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
            minus_mean[r][c] = -vec_load(mean + r * ld + c * LANES)
            sum[r][c] = vec_set1(0) if first else vec_load(sums + r * ld + c * LANES)
    for i in range(n):
        for c in range(<Py_ssize_t> sizeof(columns)):
            delta_j[c] = vec_load(delta + i * ld_delta + c * LANES)
        for r in range(<Py_ssize_t> sizeof(few_rows)):
            a_k = vec_set1(a[i * lda + r])
            for c in range(<Py_ssize_t> sizeof(columns)):
                deviation = vec_fma(a_k, delta_j[c], minus_mean[r][c])
                sum[r][c] = vec_fma(deviation, deviation, sum[r][c])
    for r in range(<Py_ssize_t> sizeof(few_rows)):
        for c in range(<Py_ssize_t> sizeof(columns)):
            vec_store(sums + r * ld + c * LANES, sum[r][c])


cdef void layer_squared_deviations(
    real *sums, const real *mean, Py_ssize_t ld,                            # IN/OUT, IN  (n_in, width), rows ld apart
    const real *a, Py_ssize_t lda, const real *delta, Py_ssize_t ld_delta,  # IN  (n, n_in), (n, width)
    Py_ssize_t n, Py_ssize_t n_in, Py_ssize_t width, bint first,
) noexcept nogil:
    cdef Py_ssize_t j = 0, k, at
    while j < width:
        k = 0
        while k < n_in:
            at = k * ld + j
            if j + 2 * LANES <= width:
                if k + 4 <= n_in:
                    add_squared_deviations[four_rows, columns2](NULL, NULL, sums + at, mean + at, ld, a + k, lda,
                                                                delta + j, ld_delta, n, first)
                else:
                    add_squared_deviations[one_row, columns2](NULL, NULL, sums + at, mean + at, ld, a + k, lda,
                                                              delta + j, ld_delta, n, first)
            elif k + 4 <= n_in:
                add_squared_deviations[four_rows, columns1](NULL, NULL, sums + at, mean + at, ld, a + k, lda, delta + j,
                                                            ld_delta, n, first)
            else:
                add_squared_deviations[one_row, columns1](NULL, NULL, sums + at, mean + at, ld, a + k, lda, delta + j,
                                                          ld_delta, n, first)
            k += 4 if k + 4 <= n_in else 1
        j += 2 * LANES if j + 2 * LANES <= width else LANES


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
    double *total,                                                   # IN/OUT (n, ld)
    const real *delta_delta, const real *a_a,                        # IN  (n, ld): delta_i . delta_j, a_i . a_j, scaled
    const double *scale_n, const double *scale_m,                    # IN  (n,), (m,): of delta and a together
    const double *one_n, const double *one_m,                        # IN  the bias's 1 over the scale of a
    Py_ssize_t n, Py_ssize_t m, Py_ssize_t ld,
) noexcept nogil:
    """total += (delta_i . delta_j)(a_i . a_j + 1) of one layer, the scales put back, the larger one first."""
    cdef Py_ssize_t i, j
    cdef double scale_i, one_i, product
    for i in range(n):
        scale_i = scale_n[i]
        one_i = one_n[i]
        for j in range(m):
            product = <double> delta_delta[i * ld + j] * (<double> a_a[i * ld + j] + one_i * one_m[j])
            product = product * (scale_i if scale_i > scale_m[j] else scale_m[j])
            total[i * ld + j] += product * (scale_m[j] if scale_i > scale_m[j] else scale_i)


# Scaled copies of a set of examples: layer by layer a (rows, ld of a), then delta (rows, ld); their scales, and the
# bias's 1 over the scale of a, (n_layers, rows) each.
cdef struct Kept:
    real *numbers
    double *scales
    double *ones
    Py_ssize_t rows


cdef class Pairs(Derivatives):
    """What per-example gradients give together."""

    cdef int gradient_gram_all(
        self, const real *X, const real *Y, Py_ssize_t n, const real *X2, const real *Y2, Py_ssize_t n2, bint symmetric,
        real *gram, Kept *own, Kept *kept, real *products, double *total,
    ) except -1 nogil:
        """Inner products (n, n2) of the gradients of X and X2. own has room for a block of X, kept for some blocks of
        X2; products (2 BLOCK + 1, BLOCK), whose last row stays 0, and total (BLOCK, BLOCK) are scratch.
        """
        cdef Py_ssize_t start, start2 = 0, rows2, m, m2, j
        cdef Py_ssize_t n_0 = self.layers[0].n_in, n_L = self.layers[self.n_layers - 1].n_out
        cdef bint both
        while start2 < n2:
            rows2 = min(kept.rows, n2 - start2)
            if self.keep_examples(X2 + start2 * n_0, Y2 + start2 * n_L, rows2, kept):
                return 1
            start = 0
            while start < n and not (symmetric and start >= start2 + rows2):
                m = min(n - start, BLOCK)
                # Whether the block is among those kept.
                both = symmetric and start >= start2
                if not both and self.keep_examples(X + start * n_0, Y + start * n_L, m, own):
                    return 1
                j = max(start - start2, 0) if symmetric else 0
                while j < rows2:
                    m2 = min(rows2 - j, BLOCK)
                    self.inner_products_block(kept if both else own, start - start2 if both else 0, m, kept, j, m2,
                                              products, total)
                    if not self.hand_out_inner_products(gram, n2, total, start, m, start2 + j, m2, symmetric):
                        return self.fail(6, 0)
                    self.look_for_signals(m * m2 * (n_0 + self.n_layers))
                    j += m2
                start += m
            start2 += rows2
        return 0

    cdef int keep_examples(self, const real *X, const real *Y, Py_ssize_t n, Kept *kept) except -1 nogil:
        """Scaled copies of a and delta of n examples, kept.rows at most."""
        cdef Py_ssize_t start = 0, m, i, l, lda, row
        cdef real C[BLOCK]
        cdef real *p
        cdef const real *block_X
        cdef const real *a
        cdef double a_scale, delta_scale
        cdef Layer *layer
        while start < n:
            m = min(n - start, BLOCK)
            block_X = X + start * self.layers[0].n_in
            if self.deltas_block(block_X, Y + start * self.layers[self.n_layers - 1].n_out, C, m):
                return 1
            p = kept.numbers
            for l in range(self.n_layers):
                layer = &self.layers[l]
                lda = self.ld_below(l)
                for i in range(m):
                    row = start + i
                    a = self.a_below(block_X, l, i)
                    a_scale = power_of_two(a, layer.n_in)
                    # Beside the bias's 1 a small a may vanish.
                    a_scale = max(a_scale, 1.0)
                    delta_scale = power_of_two(layer.delta + i * layer.ld, layer.n_out)
                    kept.scales[l * kept.rows + row] = a_scale * delta_scale
                    kept.ones[l * kept.rows + row] = 1 / a_scale
                    copy_scaled(p + row * lda, a, layer.n_in, a_scale)
                    copy_scaled(p + kept.rows * lda + row * layer.ld, layer.delta + i * layer.ld, layer.n_out,
                                delta_scale)
                p += kept.rows * (lda + layer.ld)
            self.look_for_signals(0)
            start += m
        return 0

    cdef Py_ssize_t ld_below(self, Py_ssize_t l) noexcept nogil:
        """Row length, padded, of the activations that enter layer l (counted from 0)."""
        return self.ld_input if l == 0 else self.layers[l - 1].ld

    cdef Py_ssize_t kept_row_size(self) noexcept nogil:
        """Numbers that `keep_examples` writes of each example."""
        cdef Py_ssize_t l, size = 0
        for l in range(self.n_layers):
            size += self.ld_below(l) + self.layers[l].ld
        return size

    cdef void inner_products_block(
        self, const Kept *left, Py_ssize_t i, Py_ssize_t n, const Kept *right, Py_ssize_t j, Py_ssize_t m,
        real *products, double *total,
    ) noexcept nogil:
        """total (n, BLOCK): the n examples of `left` from row i on with the m of `right` from row j on."""
        cdef Py_ssize_t l, lda, width = (m + LANES - 1) // LANES * LANES
        cdef real *a_a = products + BLOCK * BLOCK
        cdef const real *zeros = a_a + BLOCK * BLOCK
        cdef const real *p = left.numbers
        cdef const real *q = right.numbers
        cdef Layer *layer
        memset(total, 0, n * BLOCK * sizeof(double))
        for l in range(self.n_layers):
            layer = &self.layers[l]
            lda = self.ld_below(l)
            multiply_transposed(a_a, BLOCK, p + i * lda, lda, q + j * lda, lda, m, zeros, 0, n, width, layer.n_in,
                                self.panels)
            p += left.rows * lda
            q += right.rows * lda
            multiply_transposed(products, BLOCK, p + i * layer.ld, layer.ld, q + j * layer.ld, layer.ld, m, zeros, 0, n,
                                width, layer.n_out, self.panels)
            p += left.rows * layer.ld
            q += right.rows * layer.ld
            add_inner_products(total, products, a_a, left.scales + l * left.rows + i, right.scales + l * right.rows + j,
                               left.ones + l * left.rows + i, right.ones + l * right.rows + j, n, m, BLOCK)

    cdef bint hand_out_inner_products(
        self, real *gram, Py_ssize_t n2, const double *total, Py_ssize_t i_start, Py_ssize_t n, Py_ssize_t j_start,
        Py_ssize_t m, bint symmetric,
    ) noexcept nogil:
        """A block of the matrix, and its mirror image where it is symmetric. Whether every number is finite."""
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

    cdef int gradient_moments_all(
        self, const real *X, const real *Y, Py_ssize_t n, real *mean, real *C,  # OUT mean (storage_size,), C (n,)
    ) except -1 nogil:
        """The mean gradient, in the layout of the parameters, and the costs; the sums of the squared deviations from it
        are left in `squares`.
        """
        cdef Py_ssize_t start = 0, m, i, l, blocks = 0
        cdef const real *block_X
        cdef real *sums
        cdef real count = <real> n
        if self.gradient_sums(X, Y, NULL, 0, NULL, 0, n, &sums):
            return 1
        for i in range(self.storage_size):
            mean[i] = sums[i] / count
        if not all_finite(mean, self.storage_size):
            return self.fail(2, self.n_layers)
        while start < n:
            m = min(n - start, BLOCK)
            block_X = X + start * self.layers[0].n_in
            if self.deltas_block(block_X, Y + start * self.layers[self.n_layers - 1].n_out, C + start, m):
                return 1
            self.begin_block(blocks)
            for l in range(self.n_layers):
                self.squared_deviations_layer(l, self.sums, mean, block_X, m, blocks % GROUP_BLOCKS == 0)
            blocks += 1
            start += m
        self.squares = self.folded(blocks)
        if not all_finite(self.squares, self.storage_size):
            return self.fail(7, 0)
        return 0

    cdef int squared_deviations_layer(
        self, Py_ssize_t l, real *sums, const real *mean, const real *block_X, Py_ssize_t n, bint first,
    ) except -1 nogil:
        """One layer's part of a block, piece by piece for the sake of Ctrl-C."""
        cdef Layer *layer = &self.layers[l]
        cdef Py_ssize_t j = 0, width, lda = layer.n_in if l == 0 else self.layers[l - 1].ld
        cdef Py_ssize_t bias = layer.offset + layer.n_in * layer.ld
        cdef real one = 1
        while j < layer.width:
            width = self.columns_between_looks(layer.width - j, 2 * n * layer.n_in)
            layer_squared_deviations(sums + layer.offset + j, mean + layer.offset + j, layer.ld,
                                     self.a_below(block_X, l, 0), lda, layer.delta + j, layer.ld, n, layer.n_in, width,
                                     first)
            # A bias counts as an activation of 1.
            layer_squared_deviations(sums + bias + j, mean + bias + j, layer.ld, &one, 0, layer.delta + j, layer.ld, n,
                                     1, width, first)
            self.look_for_signals(2 * width * n * layer.n_in)
            j += width
        return 0
