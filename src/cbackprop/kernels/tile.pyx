# The one product kernel:  C[m x n] = init + A . B,  or  C += factor * (init + A . B).
#
# a) It serves the three products of backpropagation. With Wt = W^T, the bias as its last row:
#        forward        Z      (n x n_out) = b + A . Wt      A by rows, init = b in every row
#        accumulation   dC/dWt (n_in x n_out) = A^T . Delta  A by columns, init = 0 or the sum so far
#        propagation    dC/dA  (n x n_in) = Delta . W        A by rows, init = 0
# b) A tile holds rows x (columns vectors) of C in registers and walks the summed index p once. Vectors lie across
#    outputs; each output is one chain of fused multiply-adds in the order p = 0, 1, 2, ... So its bits depend neither
#    on the tile it falls in, nor on the SIMD level, nor on the other rows (design guarantee "same bits").
# c) rows is a compile-time constant through the fused type of rows_6.pxi / rows_14.pxi. Tiles are called
#    through a table of function pointers: inlined side by side, they would spill their accumulators.
# d) init always points at numbers: the bias with stride 0, C itself, or a row of zeros with stride 0.
#
# Register tiling after Goto & van de Geijn (2008), "Anatomy of high-performance matrix multiplication".

from cbackprop.kernels.simd cimport LANES, TILE_ROWS, real, vec, vec_fma, vec_load, vec_set1, vec_store

# How A is walked: A[i, p] = A[i * stride + p] or A[p * stride + i].
cdef struct by_rows:
    char count[1]
cdef struct by_columns:
    char count[2]
ctypedef fused layout:
    by_rows
    by_columns

# Vectors of C beside each other in one tile.
cdef struct columns1:
    char count[1]
cdef struct columns2:
    char count[2]
ctypedef fused columns:
    columns1
    columns2

ctypedef void (*tile_function)(
    const void *rows_tag, const void *layout_tag, const void *columns_tag,
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t stride, const real *B, Py_ssize_t ldb,
    const real *init, Py_ssize_t ld_init, Py_ssize_t blocks, Py_ssize_t depth, bint update, real factor,
) noexcept nogil

# [columns - 1][rows]
cdef tile_function tiles_by_rows[2][15]
cdef tile_function tiles_by_columns[2][15]


cdef void tile(
    rows *rows_tag, layout *layout_tag, columns *columns_tag,
    real *C, Py_ssize_t ldc,               # OUT (blocks * rows, columns * LANES)
    const real *A, Py_ssize_t stride,      # IN  (blocks * rows, depth), see layout
    const real *B, Py_ssize_t ldb,         # IN  (depth, columns * LANES)
    const real *init, Py_ssize_t ld_init,  # IN  (blocks * rows, columns * LANES)
    Py_ssize_t blocks, Py_ssize_t depth, bint update, real factor,
) noexcept nogil:
    """Blocks of rows, one tile after the other down the panel.

    GCC unrolls a loop of known count before it takes arrays apart only where another loop stands around it: without
    the loop over blocks the accumulators would be spilled before and behind every walk along p.
    """
    cdef vec acc[14][2]
    cdef vec b[2]
    cdef vec a, f = vec_set1(factor)
    cdef Py_ssize_t i, c, p, _block
    for _block in range(blocks):
        for i in range(<Py_ssize_t> sizeof(rows)):
            for c in range(<Py_ssize_t> sizeof(columns)):
                acc[i][c] = vec_load(init + i * ld_init + c * LANES)
        for p in range(depth):
            for c in range(<Py_ssize_t> sizeof(columns)):
                b[c] = vec_load(B + p * ldb + c * LANES)
            for i in range(<Py_ssize_t> sizeof(rows)):
                if layout is by_rows:
                    a = vec_set1(A[i * stride + p])
                else:
                    a = vec_set1(A[p * stride + i])
                for c in range(<Py_ssize_t> sizeof(columns)):
                    acc[i][c] = vec_fma(a, b[c], acc[i][c])
        if update:
            for i in range(<Py_ssize_t> sizeof(rows)):
                for c in range(<Py_ssize_t> sizeof(columns)):
                    vec_store(C + i * ldc + c * LANES, vec_fma(f, acc[i][c], vec_load(C + i * ldc + c * LANES)))
        else:
            for i in range(<Py_ssize_t> sizeof(rows)):
                for c in range(<Py_ssize_t> sizeof(columns)):
                    vec_store(C + i * ldc + c * LANES, acc[i][c])
        C += <Py_ssize_t> sizeof(rows) * ldc
        init += <Py_ssize_t> sizeof(rows) * ld_init
        if layout is by_rows:
            A += <Py_ssize_t> sizeof(rows) * stride
        else:
            A += <Py_ssize_t> sizeof(rows)


cdef inline void product(
    const tile_function *table1, const tile_function *table2,
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t row_step, Py_ssize_t stride,
    const real *B, Py_ssize_t ldb, const real *init, Py_ssize_t ld_init,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth, bint update, real factor,
) noexcept nogil:
    """C (m, n) over all tiles; n is a multiple of LANES, row_step the distance of A's rows.

    The rows are split evenly, as 10 = 5 + 5 and not 6 + 4: the first `larger` blocks have one row more than the rest.
    """
    cdef Py_ssize_t j = 0
    cdef Py_ssize_t blocks = (m + TILE_ROWS - 1) // TILE_ROWS
    cdef Py_ssize_t count, larger, split
    cdef const tile_function *table
    if m == 0:
        return
    count = m // blocks
    larger = m - count * blocks
    split = larger * (count + 1)
    while j < n:
        table = table2 if n - j >= 2 * LANES else table1
        if larger > 0:
            table[count + 1](NULL, NULL, NULL, C + j, ldc, A, stride, B + j, ldb, init + j, ld_init,
                             larger, depth, update, factor)
        table[count](NULL, NULL, NULL, C + split * ldc + j, ldc, A + split * row_step, stride, B + j, ldb,
                     init + split * ld_init + j, ld_init, blocks - larger, depth, update, factor)
        j += 2 * LANES


cdef void multiply_rows(
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
    const real *init, Py_ssize_t ld_init, Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth,
) noexcept nogil:
    """C (m, n) = init + A (m, depth) . B (depth, n)."""
    product(&tiles_by_rows[0][0], &tiles_by_rows[1][0], C, ldc, A, lda, lda, B, ldb, init, ld_init, m, n, depth,
            False, 0)


cdef void multiply_columns(
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
    const real *init, Py_ssize_t ld_init, Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth,
    bint update, real factor,
) noexcept nogil:
    """C (m, n) = init + A^T . B, or with update C += factor * (init + A^T . B); A is (depth, m), B (depth, n)."""
    product(&tiles_by_columns[0][0], &tiles_by_columns[1][0], C, ldc, A, 1, lda, B, ldb, init, ld_init, m, n, depth,
            update, factor)
