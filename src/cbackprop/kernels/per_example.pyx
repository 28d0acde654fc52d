# Gradients written out in the documented order (W1, b1, ..., WL, bL), each W row by row: j slow, k fast.
#
# A per-example gradient is one outer product a layer, dC_i/dw_jk = a_k delta_j, and costs what its bytes cost: it is
# written front to back, once. Rows of the output are not aligned (P is any number), so stores are unaligned ones.

from cbackprop.kernels.simd cimport (
    LANES, SQUARE, real, transpose_square, vec, vec_abs, vec_load, vec_load_partial, vec_max, vec_set1, vec_store,
    vec_store_partial,
)


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


cdef bint product_is_finite(const real *a, Py_ssize_t n_in, const real *delta, Py_ssize_t n_out) noexcept nogil:
    """Whether every a_k delta_j is finite, from the largest of each: the (n_out, n_in) products are not read again."""
    cdef real product = largest(a, n_in) * largest(delta, n_out)
    return product - product == 0


cdef void per_example_gradient_row(
    real *dC_dW,                                                                 # OUT (n_out, n_in) then (n_out,)
    const real *a, const real *delta, Py_ssize_t n_in, Py_ssize_t n_out,         # IN  (n_in,), (n_out,)
) noexcept nogil:
    """One example and one layer: dC_i/dw_jk = a_k delta_j, then dC_i/db_j = delta_j."""
    cdef Py_ssize_t j, k
    cdef vec delta_j
    cdef real *row = dC_dW
    for j in range(n_out):
        delta_j = vec_set1(delta[j])
        k = 0
        while k + LANES <= n_in:
            vec_store(row + k, delta_j * vec_load(a + k))
            k += LANES
        if k < n_in:
            vec_store_partial(row + k, delta_j * vec_load_partial(a + k, n_in - k), n_in - k)
        row += n_in
    for j in range(n_out):
        row[j] = delta[j]


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
