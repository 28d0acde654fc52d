# What per-example gradients give together, without being made: inner products of all pairs, means and variances.
#
# a) A gradient's part of one layer is an outer product of delta and a (with a 1 for the bias), so the inner product of
#    two of them is (delta_i . delta_j)(a_i . a_j + 1): two products of the kernel, whose chains run over the neurons.
#    An entry has the same bits wherever its examples stand.
# b) Rows of delta are scaled to the size of 1 by a power of two, which is put back in float64: delta_i . delta_j of
#    numbers around 1e-25 vanishes in float32 although its product with a large a_i . a_j need not.
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


cdef void scale_to_one(real *x, Py_ssize_t ld, Py_ssize_t n, Py_ssize_t width, double *scale) noexcept nogil:
    """Each row by the power of two that brings its largest number into [1, 2); scale (n,) puts it back."""
    cdef Py_ssize_t i, k
    cdef int exponent
    cdef real first, second
    cdef double size
    for i in range(n):
        size = <double> largest(x + i * ld, width)
        scale[i] = 1
        if size == 0:
            continue
        frexp(size, &exponent)
        exponent -= 1
        scale[i] = ldexp(1, exponent)
        # In two factors: 2^149, for float32's least number, is none of its numbers.
        first = <real> ldexp(1, -(exponent // 2))
        second = <real> ldexp(1, -(exponent - exponent // 2))
        for k in range(ld):
            x[i * ld + k] = x[i * ld + k] * first * second


cdef void add_inner_products(
    double *total,                                                   # IN/OUT (n, ld)
    const real *delta_delta, const real *a_a,                        # IN  (n, ld): delta_i . delta_j, a_i . a_j
    const double *scale_n, const double *scale_m,                    # IN  (n,), (m,)
    Py_ssize_t n, Py_ssize_t m, Py_ssize_t ld,
) noexcept nogil:
    """total += (delta_i . delta_j)(a_i . a_j + 1) of one layer, the scales of delta put back."""
    cdef Py_ssize_t i, j
    cdef double scale_i
    for i in range(n):
        scale_i = scale_n[i]
        for j in range(m):
            total[i * ld + j] += (<double> delta_delta[i * ld + j] * (<double> a_a[i * ld + j] + 1.0)) * scale_i \
                * scale_m[j]


cdef class Pairs(Derivatives):
    """What per-example gradients give together."""

    cdef int gradient_gram_all(
        self, const real *X, const real *Y, Py_ssize_t n, const real *X2, const real *Y2, Py_ssize_t n2, bint symmetric,
        real *gram, real *kept, double *scales, Py_ssize_t kept_rows, double *block_scales, real *products,
        double *total,
    ) except -1 nogil:
        """Inner products (n, n2) of the gradients of X and X2. kept holds kept_rows examples of X2, whole blocks of
        them, scales their scales, layer by layer; block_scales those of a block of X; products and total a block by a
        block each, and a row of zeros behind the products.
        """
        cdef Py_ssize_t start, start2 = 0, rows2, m, m2, j
        cdef const real *block_X
        while start2 < n2:
            rows2 = min(kept_rows, n2 - start2)
            if self.keep_examples(X2 + start2 * self.layers[0].n_in,
                                  Y2 + start2 * self.layers[self.n_layers - 1].n_out, rows2, kept, scales, kept_rows):
                return 1
            start = 0
            while start < n and not (symmetric and start >= start2 + rows2):
                m = min(n - start, BLOCK)
                block_X = X + start * self.layers[0].n_in
                if not symmetric or start < start2:
                    if self.scaled_deltas(block_X, Y + start * self.layers[self.n_layers - 1].n_out, m, block_scales):
                        return 1
                j = max(start - start2, 0) if symmetric else 0
                while j < rows2:
                    m2 = min(rows2 - j, BLOCK)
                    self.inner_products_block(
                        block_X, m, block_scales, kept, scales, kept_rows, j, m2,
                        start - start2 if symmetric and start >= start2 else -1, products, total)
                    if not self.hand_out_inner_products(gram, n2, total, start, m, start2 + j, m2, symmetric):
                        return self.fail(6, 0)
                    self.look_for_signals(m * m2 * (self.layers[0].n_in + 10))
                    j += m2
                start += m
            start2 += rows2
        return 0

    cdef int scaled_deltas(self, const real *X, const real *Y, Py_ssize_t n, double *scales) except -1 nogil:
        """The block's deltas, scaled; scales (n_layers, BLOCK)."""
        cdef Py_ssize_t l
        cdef real C[BLOCK]
        if self.deltas_block(X, Y, C, n):
            return 1
        for l in range(self.n_layers):
            scale_to_one(self.layers[l].delta, self.layers[l].ld, n, self.layers[l].n_out, scales + l * BLOCK)
        return 0

    cdef int keep_examples(
        self, const real *X, const real *Y, Py_ssize_t n, real *kept, double *scales, Py_ssize_t kept_rows,
    ) except -1 nogil:
        """a and scaled delta of n examples into `kept`: layer by layer a (kept_rows, ld of a), then delta."""
        cdef Py_ssize_t start = 0, m, l, lda
        cdef real C[BLOCK]
        cdef real *p
        cdef const real *block_X
        cdef Layer *layer
        while start < n:
            m = min(n - start, BLOCK)
            block_X = X + start * self.layers[0].n_in
            if self.deltas_block(block_X, Y + start * self.layers[self.n_layers - 1].n_out, C, m):
                return 1
            p = kept
            for l in range(self.n_layers):
                layer = &self.layers[l]
                scale_to_one(layer.delta, layer.ld, m, layer.n_out, scales + l * kept_rows + start)
                lda = self.ld_below(l)
                copy_rows(p + start * lda, lda, self.a_below(block_X, l, 0), layer.n_in if l == 0 else lda, m,
                          layer.n_in)
                p += kept_rows * lda
                copy_rows(p + start * layer.ld, layer.ld, layer.delta, layer.ld, m, layer.ld)
                p += kept_rows * layer.ld
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
        self, const real *block_X, Py_ssize_t n, const double *block_scales,
        const real *kept, const double *scales, Py_ssize_t kept_rows, Py_ssize_t j, Py_ssize_t m,
        Py_ssize_t own, real *products, double *total,
    ) noexcept nogil:
        """total (n, BLOCK): the block's n examples, or those kept from row `own` on, with the m kept from row j on."""
        cdef Py_ssize_t l, lda, width = (m + LANES - 1) // LANES * LANES
        cdef real *a_a = products + BLOCK * BLOCK
        cdef const real *zeros = a_a + BLOCK * BLOCK
        cdef const real *kept_a = kept
        cdef const real *kept_delta
        cdef Layer *layer
        memset(total, 0, n * BLOCK * sizeof(double))
        for l in range(self.n_layers):
            layer = &self.layers[l]
            lda = self.ld_below(l)
            kept_delta = kept_a + kept_rows * lda
            if own >= 0:
                multiply_transposed(a_a, BLOCK, kept_a + own * lda, lda, kept_a + j * lda, lda, m, zeros, 0, n, width,
                                    layer.n_in, self.panels)
                multiply_transposed(products, BLOCK, kept_delta + own * layer.ld, layer.ld, kept_delta + j * layer.ld,
                                    layer.ld, m, zeros, 0, n, width, layer.n_out, self.panels)
            else:
                multiply_transposed(a_a, BLOCK, self.a_below(block_X, l, 0), layer.n_in if l == 0 else lda,
                                    kept_a + j * lda, lda, m, zeros, 0, n, width, layer.n_in, self.panels)
                multiply_transposed(products, BLOCK, layer.delta, layer.ld, kept_delta + j * layer.ld, layer.ld, m,
                                    zeros, 0, n, width, layer.n_out, self.panels)
            add_inner_products(total, products, a_a,
                               block_scales + l * BLOCK if own < 0 else scales + l * kept_rows + own,
                               scales + l * kept_rows + j, n, m, BLOCK)
            kept_a = kept_delta + kept_rows * layer.ld

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
