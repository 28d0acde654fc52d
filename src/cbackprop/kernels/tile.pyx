# The one product kernel:  C[m x n] = init + A . B,  or  C += factor * (A . B).
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
    const real *init, Py_ssize_t ld_init, Py_ssize_t depth, real factor,
) noexcept nogil

# [columns - 1][rows]
cdef tile_function tiles_by_rows[2][15]
cdef tile_function tiles_by_columns[2][15]


cdef void tile(
    rows *rows_tag, layout *layout_tag, columns *columns_tag,
    real *C, Py_ssize_t ldc,            # OUT (rows, columns * LANES)
    const real *A, Py_ssize_t stride,   # IN  (rows, depth), see layout
    const real *B, Py_ssize_t ldb,      # IN  (depth, columns * LANES)
    const real *init, Py_ssize_t ld_init,  # IN  (rows, columns * LANES)
    Py_ssize_t depth, real factor,
) noexcept nogil:
    cdef vec acc[14][2]
    cdef vec b[2]
    cdef vec a, f
    cdef Py_ssize_t i, c, p
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
    if factor == 0:
        for i in range(<Py_ssize_t> sizeof(rows)):
            for c in range(<Py_ssize_t> sizeof(columns)):
                vec_store(C + i * ldc + c * LANES, acc[i][c])
    else:
        f = vec_set1(factor)
        for i in range(<Py_ssize_t> sizeof(rows)):
            for c in range(<Py_ssize_t> sizeof(columns)):
                vec_store(C + i * ldc + c * LANES, vec_fma(f, acc[i][c], vec_load(C + i * ldc + c * LANES)))


cdef inline void product(
    const tile_function *table1, const tile_function *table2,
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t row_step, Py_ssize_t stride,
    const real *B, Py_ssize_t ldb, const real *init, Py_ssize_t ld_init,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth, real factor,
) noexcept nogil:
    """C (m, n) over all tiles; n is a multiple of LANES, row_step the distance of A's rows."""
    cdef Py_ssize_t j = 0, i, blocks, count
    while j < n:
        i = 0
        blocks = (m + TILE_ROWS - 1) // TILE_ROWS
        while blocks > 0:
            # Balanced: 10 rows are 5 + 5, not 6 + 4.
            count = (m - i + blocks - 1) // blocks
            if n - j >= 2 * LANES:
                table2[count](NULL, NULL, NULL, C + i * ldc + j, ldc, A + i * row_step, stride, B + j, ldb,
                              init + i * ld_init + j, ld_init, depth, factor)
            else:
                table1[count](NULL, NULL, NULL, C + i * ldc + j, ldc, A + i * row_step, stride, B + j, ldb,
                              init + i * ld_init + j, ld_init, depth, factor)
            i += count
            blocks -= 1
        j += 2 * LANES


cdef void multiply_rows(
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
    const real *init, Py_ssize_t ld_init, Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth,
) noexcept nogil:
    """C (m, n) = init + A (m, depth) . B (depth, n)."""
    product(&tiles_by_rows[0][0], &tiles_by_rows[1][0], C, ldc, A, lda, lda, B, ldb, init, ld_init, m, n, depth, 0)


cdef void multiply_columns(
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
    const real *init, Py_ssize_t ld_init, Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth, real factor,
) noexcept nogil:
    """C (m, n) = init + A^T . B, or C += factor * (A^T . B); A is (depth, m), B (depth, n)."""
    product(&tiles_by_columns[0][0], &tiles_by_columns[1][0], C, ldc, A, 1, lda, B, ldb, init, ld_init, m, n, depth,
            factor)
