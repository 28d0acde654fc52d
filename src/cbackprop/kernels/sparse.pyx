# The first layer's two products from sparse rows: of each example the numbers that are not 0, with their columns.
#
# a) A row of them is columns[p], values[p] for p = starts[i] ... starts[i + 1] - 1, the columns ascending, each once.
# b) A zero left out changes no chain of multiply-adds, but for the sign of a sum that is -0: x + 0 w is x, and -0 + 0
#    is 0. Such a sum comes from a bias of -0, or from a product that vanished. So z is looked at for -0 where it is
#    made; and where a product of an a and a delta may vanish, the rows of a block are made dense and go the dense way.
#    That is rare, and the bits are always those of dense rows.
# c) A row's weighted inputs are few chains, each of which waits for its last sum: several rows run side by side, and
#    the next one comes in when one of them has ended.
# d) A gradient is summed by pieces of so many rows of Wt as stay in the cache: each example's numbers of these
#    columns, one example after the other.

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memcpy, memset

from cbackprop.kernels.simd cimport (
    LANES, real, vec, vec_abs, vec_fma, vec_load, vec_load_partial, vec_min, vec_set1, vec_store, vec_where_gt,
    vec_with_sign_of,
)

cdef enum:
    ROWS_TOUCHED_SHIFT = 2
    ROWS_TOUCHED = 4  # of a gradient, that are known to be 0 or not as a group
    MOST_GROUPS = 32768 // (4 * ROWS_TOUCHED)  # of a piece, which has 32 kB (sums.pyx) and a number a row at least

# Below it a product of two numbers may lose digits, or all of them, to underflow.
cdef double LEAST_PRODUCT = 2.0 ** -101 if sizeof(real) == 4 else 2.0 ** -968

# Rows of a call, or of a block.
cdef struct SparseBlock:
    const int64_t *starts  # NULL where the rows are dense
    const int32_t *columns
    const real *values
    const int64_t *order   # which rows; NULL for first, first + 1, ...
    Py_ssize_t first
    double least           # what no |value| that is not 0 is below

# A row's chains under way.
cdef struct Chains:
    real *z
    const int32_t *columns
    const real *values
    Py_ssize_t left  # numbers still to come

# How many rows go side by side: one type a number, so that the loop below stands once and is compiled for each.
cdef struct abreast1:
    char count[1]
cdef struct abreast2:
    char count[2]
cdef struct abreast4:
    char count[4]
ctypedef fused abreast:
    abreast1
    abreast2
    abreast4


cdef inline Py_ssize_t sparse_row(const SparseBlock *rows, Py_ssize_t i) noexcept nogil:
    return rows.first + i if rows.order == NULL else rows.order[i]


cdef void scatter_rows(
    real *X, Py_ssize_t width,               # OUT (n, width)
    const SparseBlock *rows, Py_ssize_t n,
) noexcept nogil:
    """The rows made dense."""
    cdef Py_ssize_t i, row
    cdef int64_t p
    memset(X, 0, n * width * sizeof(real))
    for i in range(n):
        row = sparse_row(rows, i)
        for p in range(rows.starts[row], rows.starts[row + 1]):
            X[i * width + rows.columns[p]] = rows.values[p]


# ---- forward ---------------------------------------------------------------------------------------------------------

cdef void go_on_with_chains(
    abreast *abreast_tag, columns *columns_tag,
    Chains *chains,                   # IN/OUT
    const real *w_kj, Py_ssize_t ld,  # IN  (n_in, columns * LANES), rows ld apart
    Py_ssize_t count,
) noexcept nogil:
    """z_j += w_jk a_k for the next `count` numbers of each row; none has fewer left."""
    cdef vec acc[4][2]
    cdef vec a
    cdef Py_ssize_t p, r, c, row_bytes = ld * sizeof(real)
    cdef const real *w
    for r in range(<Py_ssize_t> sizeof(abreast)):
        for c in range(<Py_ssize_t> sizeof(columns)):
            acc[r][c] = vec_load(chains[r].z + c * LANES)
    for p in range(count):
        for r in range(<Py_ssize_t> sizeof(abreast)):
            a = vec_set1(chains[r].values[p])
            w = <const real *> (<const char *> w_kj + chains[r].columns[p] * row_bytes)
            for c in range(<Py_ssize_t> sizeof(columns)):
                acc[r][c] = vec_fma(a, vec_load(w + c * LANES), acc[r][c])
    for r in range(<Py_ssize_t> sizeof(abreast)):
        for c in range(<Py_ssize_t> sizeof(columns)):
            vec_store(chains[r].z + c * LANES, acc[r][c])
        chains[r].columns += count
        chains[r].values += count
        chains[r].left -= count


cdef void sparse_panel(
    columns *columns_tag,
    real *z_nj, Py_ssize_t ld,  # OUT (n, columns * LANES), rows ld apart
    const SparseBlock *rows,    # IN
    const real *w_kj,           # IN  (n_in, columns * LANES), rows ld apart
    const real *b_j,            # IN  (columns * LANES,)
    Py_ssize_t n,
) noexcept nogil:
    cdef Chains chains[4]
    cdef Chains *chain
    cdef Py_ssize_t i = 0, r, c, row, count, active = 0
    # Four chains keep the units busy that each of them waits for.
    cdef Py_ssize_t most = 4 // <Py_ssize_t> sizeof(columns)
    while True:
        while active < most and i < n:
            row = sparse_row(rows, i)
            chain = &chains[active]
            chain.z = z_nj + i * ld
            for c in range(<Py_ssize_t> sizeof(columns)):
                vec_store(chain.z + c * LANES, vec_load(b_j + c * LANES))
            chain.columns = rows.columns + rows.starts[row]
            chain.values = rows.values + rows.starts[row]
            chain.left = rows.starts[row + 1] - rows.starts[row]
            active += chain.left > 0
            i += 1
        if active < most:
            break
        count = chains[0].left
        for r in range(1, most):
            count = min(count, chains[r].left)
        if columns is columns1:
            go_on_with_chains[abreast4, columns](NULL, NULL, &chains[0], w_kj, ld, count)
        else:
            go_on_with_chains[abreast2, columns](NULL, NULL, &chains[0], w_kj, ld, count)
        r = 0
        while r < active:
            if chains[r].left == 0:
                active -= 1
                chains[r] = chains[active]
            else:
                r += 1
    for r in range(active):
        go_on_with_chains[abreast1, columns](NULL, NULL, &chains[r], w_kj, ld, chains[r].left)


cdef void sparse_weighted_input(
    real *z_nj, Py_ssize_t ld,        # OUT (n, width), rows ld apart
    const SparseBlock *rows,           # IN
    const real *w_kj,                 # IN  (n_in, width), rows ld apart
    const real *b_j,                  # IN  (width,)
    Py_ssize_t n, Py_ssize_t width,
) noexcept nogil:
    """z_j = b_j + sum_k w_jk a_k over the numbers that are there, one chain in the order of k."""
    cdef Py_ssize_t j = 0
    while j < width:
        if j + 2 * LANES <= width:
            sparse_panel[columns2](NULL, z_nj + j, ld, rows, w_kj + j, b_j + j, n)
            j += 2 * LANES
        else:
            sparse_panel[columns1](NULL, z_nj + j, ld, rows, w_kj + j, b_j + j, n)
            j += LANES


cdef bint has_negative_zero(const real *x, Py_ssize_t count) noexcept nogil:
    """Whether a number is -0; count is a multiple of LANES."""
    cdef Py_ssize_t i
    cdef vec zero = vec_set1(0), one = vec_set1(1), sign = vec_set1(0)
    cdef real lanes[16]
    for i from 0 <= i < count by LANES:
        sign = vec_min(sign, vec_where_gt(vec_abs(vec_load(x + i)), zero, zero, vec_with_sign_of(one, vec_load(x + i))))
    vec_store(lanes, sign)
    for i in range(LANES):
        if lanes[i] < 0:
            return True
    return False


# ---- gradient --------------------------------------------------------------------------------------------------------

cdef double smallest(const real *x, Py_ssize_t count) noexcept nogil:
    """The least |x| that is not 0; infinite where there is none."""
    cdef Py_ssize_t i
    cdef vec size, zero = vec_set1(0), least = vec_set1(<real> INFINITY)
    cdef real lanes[16]
    for i from 0 <= i < count by LANES:
        size = vec_abs(vec_load_partial(x + i, count - i))
        least = vec_min(least, vec_where_gt(size, zero, size, least))
    vec_store(lanes, least)
    for i in range(1, LANES):
        lanes[0] = min(lanes[0], lanes[i])
    return <double> lanes[0]


cdef bint products_keep_digits(
    const SparseBlock *rows, const real *delta_nj, Py_ssize_t ld, Py_ssize_t n,  # IN  (n, ld)
) noexcept nogil:
    """Whether no a_k delta_j of a block's n rows is so small that digits of it are lost."""
    # Where there is none of either, there is no product.
    return rows.least * smallest(delta_nj, n * ld) >= LEAST_PRODUCT


# A piece of a gradient on its way into the parameters: rows k ... k + m of Wt's, all of the layer's `width` columns or
# some of them.
cdef struct SparsePiece:
    real *sums            # (m, width), rows ld apart; 0 but for what has been added
    Py_ssize_t ld
    Py_ssize_t k, m
    int64_t first[BLOCK]       # of each example the first number not before column k
    int64_t last[BLOCK]        # and the first after those of the m columns
    char touched[MOST_GROUPS]  # 1 for each group of rows that is not 0


cdef void begin_piece(SparsePiece *piece, const SparseBlock *rows, Py_ssize_t n) noexcept nogil:
    """The first piece, k = 0, is to come."""
    cdef Py_ssize_t i
    for i in range(n):
        piece.last[i] = rows.starts[sparse_row(rows, i)]
    memset(piece.touched, 0, sizeof(piece.touched))


cdef void add_sparse_products(
    columns *columns_tag,
    SparsePiece *piece, Py_ssize_t j,     # IN/OUT columns j ... j + columns * LANES of it
    const SparseBlock *rows,              # IN
    const real *delta_nj, Py_ssize_t ld,  # IN  (n, columns * LANES), rows ld apart
    Py_ssize_t n,
) noexcept nogil:
    cdef Py_ssize_t i, c, row_bytes = piece.ld * sizeof(real), stop = piece.k + piece.m
    cdef int64_t p, end
    cdef const int32_t *column = rows.columns
    cdef const real *values = rows.values
    # Of the first neuron k, as if the piece began there: so a number's column needs one product and no difference.
    cdef uintptr_t column_0 = <uintptr_t> (piece.sums + j) - <uintptr_t> (piece.k * row_bytes)
    cdef uintptr_t group_0 = <uintptr_t> &piece.touched[0] - <uintptr_t> (piece.k // ROWS_TOUCHED)
    cdef real *sums
    cdef vec delta_j[2]
    cdef vec a
    for i in range(n):
        end = rows.starts[sparse_row(rows, i) + 1]
        p = piece.first[i]
        for c in range(<Py_ssize_t> sizeof(columns)):
            delta_j[c] = vec_load(delta_nj + i * ld + c * LANES)
        while p < end and column[p] < stop:
            a = vec_set1(values[p])
            (<char *> (group_0 + <uintptr_t> (column[p] >> ROWS_TOUCHED_SHIFT)))[0] = 1
            sums = <real *> (column_0 + <uintptr_t> (column[p] * row_bytes))
            for c in range(<Py_ssize_t> sizeof(columns)):
                vec_store(sums + c * LANES, vec_fma(a, delta_j[c], vec_load(sums + c * LANES)))
            p += 1
        piece.last[i] = p


cdef void accumulate_sparse_gradient(
    SparsePiece *piece,                   # IN/OUT
    real *dC_dw_kj, Py_ssize_t ld_sum,    # IN/OUT (m, width), rows ld_sum apart; 0 at first
    const SparseBlock *rows,              # IN
    const real *delta_nj, Py_ssize_t ld,  # IN  (n, width), rows ld apart
    Py_ssize_t n, Py_ssize_t k, Py_ssize_t m, Py_ssize_t width,
) noexcept nogil:
    """dC/dw_jk += sum_i a_k delta_j over the n examples, one chain in their order, for m of the neurons k, which come
    piece by piece from k = 0 on, and `width` of the neurons j; k is a multiple of ROWS_TOUCHED.
    """
    cdef Py_ssize_t j = 0
    piece.sums, piece.ld, piece.k, piece.m = dC_dw_kj, ld_sum, k, m
    memcpy(piece.first, piece.last, n * sizeof(int64_t))
    while j < width:
        if j + 2 * LANES <= width:
            add_sparse_products[columns2](NULL, piece, j, rows, delta_nj + j, ld, n)
            j += 2 * LANES
        else:
            add_sparse_products[columns1](NULL, piece, j, rows, delta_nj + j, ld, n)
            j += LANES


cdef void add_touched_rows(
    columns *columns_tag,
    real *w_kj, Py_ssize_t ld,           # IN/OUT (m, columns * LANES), rows ld apart
    SparsePiece *piece, Py_ssize_t j,    # IN/OUT columns j ... j + columns * LANES of it: 0 afterwards
    real factor,
) noexcept nogil:
    cdef Py_ssize_t group, _k, c, ld_sum = piece.ld
    cdef real *w
    cdef real *sums
    cdef vec f = vec_set1(factor), zero = vec_set1(0)
    for group in range((piece.m + ROWS_TOUCHED - 1) // ROWS_TOUCHED):
        if piece.touched[group]:
            w = w_kj + group * ROWS_TOUCHED * ld
            sums = piece.sums + group * ROWS_TOUCHED * ld_sum + j
            for _k in range(min(ROWS_TOUCHED, piece.m - group * ROWS_TOUCHED)):
                for c in range(<Py_ssize_t> sizeof(columns)):
                    vec_store(w + c * LANES, vec_fma(f, vec_load(sums + c * LANES), vec_load(w + c * LANES)))
                    vec_store(sums + c * LANES, zero)
                w += ld
                sums += ld_sum


cdef void update_touched_rows(
    real *w_kj, Py_ssize_t ld,  # IN/OUT (m, width), rows ld apart
    SparsePiece *piece,         # IN/OUT 0 afterwards
    Py_ssize_t width, real factor,
) noexcept nogil:
    """w += factor . sum, as sgd_update, but for rows whose sums are 0: these change no w."""
    cdef Py_ssize_t j = 0
    while j < width:
        if j + 2 * LANES <= width:
            add_touched_rows[columns2](NULL, w_kj + j, ld, piece, j, factor)
            j += 2 * LANES
        else:
            add_touched_rows[columns1](NULL, w_kj + j, ld, piece, j, factor)
            j += LANES
    memset(piece.touched, 0, (piece.m + ROWS_TOUCHED - 1) // ROWS_TOUCHED)


# ---- rows from dense ones --------------------------------------------------------------------------------------------

cdef extern from *:
    """
    #include <string.h>
    /* Whether a number has any bit: so it is of every number but 0, also of -0. */
    static inline int cbackprop_has_bits(const cbackprop_real *x)
    {
        uint64_t bits = 0;
        memcpy(&bits, x, sizeof(*x));
        return bits != 0;
    }
    """
    bint has_bits "cbackprop_has_bits"(const real *x) noexcept nogil


cdef int64_t count_nonzero(const real *x, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t k
    cdef int64_t total = 0
    for k in range(count):
        total += has_bits(x + k)
    return total


cdef void take_nonzero(int32_t *columns, real *values, const real *x, Py_ssize_t count) noexcept nogil:
    """The numbers that are not 0, and where they stand; one more of each is written over."""
    cdef Py_ssize_t k, p = 0
    for k in range(count):
        columns[p] = <int32_t> k
        values[p] = x[k]
        p += has_bits(x + k)
