# Gradients written out in the documented order (W1, b1, ..., WL, bL), each W row by row: j slow, k fast.
#
# a) A per-example gradient is one outer product a layer, dC_i/dw_jk = a_k delta_j, and costs what its bytes cost: it is
#    written front to back, once, in whole vectors. Rows of the output are not aligned (P is any number).
# b) What is written later may be written over before: a vector runs over the end of a short row or of a bias, but never
#    over the end of the whole array.
# c) An output larger than the caches goes past them (vec_stream): written the ordinary way, its lines may be read from
#    memory first. Not so new memory, whose pages the system fills with zeros just before, in the caches. vec_stream
#    takes whole lines, one after the other; the vector between two rows holds the end of one and the start of the next:
#    the a of both, and delta_j in its first lanes, delta_{j+1} in the others.

from libc.math cimport sqrt
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy

from cbackprop.kernels.simd cimport (
    GROUP, LANES, WIDE_LANES, real, vec, vec_load, vec_load_partial, vec_set1, vec_store, vec_store_partial, vec_stream,
    vec_where_gt, wide, wide_add_squares, wide_store, wide_zero,
)

cdef enum:
    STREAM_BYTES = 32 << 20         # outputs above this go past the caches: about the size of a last-level one
    STREAM_LAYER_BYTES = 32 << 10   # ... in the layers where the two lines that are not whole do not count

# Below it a sum of squares may have lost terms, or digits, to underflow: some 2^100 above the least float64.
cdef double LEAST_SUM_OF_SQUARES = 2.0 ** -970


cdef bint past_the_caches(Py_ssize_t count, bint new_memory) noexcept nogil:
    """Whether an output of `count` numbers is written with vec_stream where its layers are long enough (note c)."""
    return not new_memory and count * <Py_ssize_t> sizeof(real) > STREAM_BYTES


cdef bint product_is_finite(real largest_a, real largest_delta) noexcept nogil:
    """Whether every a_k delta_j is finite, from the largest of each: the products are not read again."""
    cdef real product = largest_a * largest_delta
    return product - product == 0


cdef void streamed_rows(
    real *dC_dw_jk,                                                           # OUT (n_out, n_in)
    const real *a_k, const real *delta_j, Py_ssize_t n_in, Py_ssize_t n_out,  # IN  (n_in,), (n_out,)
) noexcept nogil:
    """dC/dw_jk = a_k delta_j past the caches (note c); n_in is a whole 64-byte line at least."""
    cdef Py_ssize_t j = 0, k, rest
    cdef vec delta_now, delta_next, lane
    cdef real lanes[16]
    cdef real seam[32]  # the end of a, then its start again
    cdef real *p = dC_dw_jk
    # The numbers before the first whole line, and those after the last vector, go the ordinary way.
    k = <Py_ssize_t> ((64 - (<uintptr_t> p & 63)) & 63) // <Py_ssize_t> sizeof(real)
    for rest in range(LANES):
        lanes[rest] = <real> rest
    lane = vec_load(lanes)
    vec_store(seam, vec_load(a_k + n_in - LANES))
    vec_store(seam + LANES, vec_load(a_k))
    for rest in range(k):
        p[rest] = a_k[rest] * delta_j[0]
    p += k
    delta_now = vec_set1(delta_j[0])
    while True:
        while k + LANES <= n_in:
            vec_stream(p, delta_now * vec_load(a_k + k))
            p += LANES
            k += LANES
        j += 1
        rest = n_in - k
        if j == n_out:
            break
        delta_next = vec_set1(delta_j[j])
        k = 0
        if rest > 0:
            delta_now = vec_where_gt(vec_set1(<real> rest), lane, delta_now, delta_next)
            vec_stream(p, delta_now * vec_load(seam + LANES - rest))
            p += LANES
            k = LANES - rest
        delta_now = delta_next
    vec_store_partial(p, delta_now * vec_load(seam + LANES - rest), rest)


cdef void per_example_gradient_row(
    real *dC_dw_jk, const real *end,                         # OUT (n_out, n_in) then (n_out,); end of the whole array
    const real *a_k, Py_ssize_t readable,  # IN  (n_in,); how many numbers may be read there, n_in or more
    const real *delta_j, Py_ssize_t n_in, Py_ssize_t n_out,  # IN  (n_out,), padded to whole vectors
    bint stream,
) noexcept nogil:
    """One example and one layer: dC_i/dw_jk = a_k delta_j, then dC_i/db_j = delta_j."""
    cdef Py_ssize_t j = 0, k
    cdef vec delta_now, a_last
    cdef real *row = dC_dw_jk
    if stream:
        streamed_rows(row, a_k, delta_j, n_in, n_out)
        row += n_in * n_out
    elif n_in >= LANES:
        a_last = vec_load(a_k + n_in - LANES)
        for j in range(n_out):
            delta_now = vec_set1(delta_j[j])
            k = 0
            while k + LANES <= n_in:
                vec_store(row + k, delta_now * vec_load(a_k + k))
                k += LANES
            row += n_in
            # The last numbers of the row, with some before them once more.
            if k < n_in:
                vec_store(row - LANES, delta_now * a_last)
    else:
        a_last = vec_load_partial(a_k, readable)
        while j < n_out and row + LANES <= end:
            vec_store(row, vec_set1(delta_j[j]) * a_last)
            row += n_in
            j += 1
        while j < n_out:
            vec_store_partial(row, vec_set1(delta_j[j]) * a_last, n_in)
            row += n_in
            j += 1
    for j from 0 <= j < n_out by LANES:
        if row + j + LANES <= end:
            vec_store(row + j, vec_load(delta_j + j))
        else:
            vec_store_partial(row + j, vec_load(delta_j + j), n_out - j)


cdef double sum_of_squares(const real *x, Py_ssize_t count) noexcept nogil:
    """sum_k x_k^2; only the count numbers are read."""
    cdef Py_ssize_t i = 0, c, width = GROUP // 2
    cdef wide sums[16]
    cdef double lanes[16]
    cdef real rest[16]
    for c in range(GROUP // WIDE_LANES):
        sums[c] = wide_zero()
    while i + GROUP <= count:
        for c in range(GROUP // WIDE_LANES):
            sums[c] = wide_add_squares(sums[c], x + i + c * WIDE_LANES)
        i += GROUP
    if i < count:
        for c in range(GROUP):
            rest[c] = 0
        memcpy(rest, x + i, (count - i) * sizeof(real))
        for c in range(GROUP // WIDE_LANES):
            sums[c] = wide_add_squares(sums[c], rest + c * WIDE_LANES)
    for c in range(GROUP // WIDE_LANES):
        wide_store(lanes + c * WIDE_LANES, sums[c])
    while width > 0:
        for c in range(width):
            lanes[c] = lanes[c] + lanes[c + width]
        width //= 2
    return lanes[0]


cdef double scaled_norm(const real *x, Py_ssize_t count, double *scale) noexcept nogil:
    """|x| / scale with scale = max |x_k|, 1 for x = 0: between 1 and sqrt(count), whatever the size of x."""
    cdef Py_ssize_t k
    cdef double sum = 0, ratio
    scale[0] = <double> largest(x, count)
    if scale[0] == 0:
        scale[0] = 1
    for k in range(count):
        ratio = <double> x[k] / scale[0]
        sum = sum + ratio * ratio
    return sqrt(sum)


cdef double layer_norm(const real *a_k, const real *delta_j, Py_ssize_t n_in, Py_ssize_t n_out) noexcept nogil:
    """|delta| sqrt(|a|^2 + 1), infinite only where it does not fit a float64, 0 only where it is below the least."""
    cdef double a_scale, delta_scale, a_norm, delta_norm
    delta_norm = scaled_norm(delta_j, n_out, &delta_scale)
    a_norm = scaled_norm(a_k, n_in, &a_scale)
    if a_scale < 1:
        # The bias's 1 is the largest.
        a_norm = a_norm * a_scale
        a_scale = 1
    a_norm = sqrt(a_norm * a_norm + (1 / a_scale) * (1 / a_scale))
    # Both norms are between 1 and the root of a count, or 0.
    return (delta_scale * a_scale) * (a_norm * delta_norm)


cdef inline void add_to_norm(double *scale, double *sum, double x) noexcept nogil:
    """Keep scale^2 sum as the sum of squares of every x so far; x >= 0."""
    cdef double ratio
    if x > scale[0]:
        ratio = scale[0] / x
        sum[0] = 1 + sum[0] * ratio * ratio
        scale[0] = x
    elif x > 0:
        ratio = x / scale[0]
        sum[0] = sum[0] + ratio * ratio
