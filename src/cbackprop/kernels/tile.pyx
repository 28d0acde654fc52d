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
# e) A by columns is gathered first, where some depth and several panels of B pay for it: its rows lie far apart, a page
#    of the TLB and a cache line each for a tile's few columns, and it is walked once for each panel.
# f) B is walked where it lies, or through a panel: copied, where its rows lie far apart and many tiles walk it; turned
#    from Wt, for propagation, so that W itself is never stored.
#
# Register tiling after Goto & van de Geijn (2008), "Anatomy of high-performance matrix multiplication".

from cbackprop.kernels.simd cimport (
    CBACKPROP_PREFETCH, GROUP, KEEP, LANES, PUT_AWAY, ROWS_REACHED, SQUARE, real, transpose_square, vec, vec_fma,
    vec_load, vec_load_partial, vec_set1, vec_store,
)
from cbackprop.kernels.threads cimport run_task

cdef enum:
    # A thread's least share of the work, in multiply-adds: some 20 microseconds, many times what handing it over costs.
    LEAST_SHARE = 1000000
    PIECES_EACH = 4  # that a share is handed out in
    # Terms of one walk by columns that are not gathered, unless it ends in an update: each has a cache line of A, which
    # with the panel of B shall stay in the first-level cache.
    COLUMN_TERMS = 64
    # Columns of A that are gathered at once, with so many terms at most and at least, for so many panels at least.
    GATHERED_COLUMNS = 112
    GATHERED_DEPTH = 256
    LEAST_GATHERED_DEPTH = 96
    LEAST_GATHERED_PANELS = 4

# Terms of the summed index in one walk, and numbers of the panel that holds them. 128 rows of A take half an L2 cache.
# Rows so many numbers apart are far apart: two to a page.
cdef extern from *:
    """
    #define CBACKPROP_CHUNK (4096 / (int)sizeof(cbackprop_real))
    #define CBACKPROP_FAR (2048 / (int)sizeof(cbackprop_real))
    """
    const int CHUNK "CBACKPROP_CHUNK"
    const int FAR "CBACKPROP_FAR"

# How A is walked: A[i, p] = A[i * stride + p] or A[p * stride + i].
cdef struct by_rows:
    char count[1]
cdef struct by_columns:
    char count[2]
ctypedef fused layout:
    by_rows
    by_columns

# Vectors of C side by side in one tile.
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
    const real *ahead, Py_ssize_t ahead_step, Py_ssize_t ahead_block_step,
) noexcept nogil

# [columns - 1][rows]
cdef tile_function tiles_by_rows[2][15]
cdef tile_function tiles_by_columns[2][15]


# Where a product holds its piece of B, for each thread that may take part in it, and after that columns of A.
cdef struct Panels:
    real *first
    Py_ssize_t size
    Py_ssize_t gathered  # where the columns begin; 0 where there is no room for them
    int threads


# The arguments of `product`, for threads that share it.
cdef struct Product:
    const tile_function *table1
    const tile_function *table2
    real *C
    const real *A
    const real *B
    const real *init
    const real *next
    Py_ssize_t ldc, row_step, depth_step, stride, ldb, rows_there, ld_init, m, n, depth, next_lines
    bint update
    real factor
    Panels panels
    Py_ssize_t share  # columns of each piece


cdef void tile(
    rows *rows_tag, layout *layout_tag, columns *columns_tag,
    real *C, Py_ssize_t ldc,               # OUT (blocks * rows, columns * LANES)
    const real *A, Py_ssize_t stride,      # IN  (blocks * rows, depth), see layout
    const real *B, Py_ssize_t ldb,         # IN  (depth, columns * LANES)
    const real *init, Py_ssize_t ld_init,  # IN  (blocks * rows, columns * LANES)
    Py_ssize_t blocks, Py_ssize_t depth, bint update, real factor,
    const real *ahead, Py_ssize_t ahead_step, Py_ssize_t ahead_block_step,  # by rows: ask for a line with each p
) noexcept nogil:
    """Blocks of rows, one tile after the other down the panel.

    GCC unrolls a loop of known count before it takes arrays apart only where another loop stands around it: without
    the loop over blocks the accumulators would be spilled before and after every walk along p. Addresses go on from row
    to row; without KEEP it works out all of them beforehand, more than there are registers for.
    """
    cdef vec acc[14][2]
    cdef vec b[2]
    cdef vec a, f
    cdef Py_ssize_t i, c, _p, _block
    cdef const real *line
    cdef const real *b_row
    cdef const real *row[14]  # A at row i, for every ROWS_REACHED-th i
    for _block in range(blocks):
        for i in range(<Py_ssize_t> sizeof(rows)):
            for c in range(<Py_ssize_t> sizeof(columns)):
                acc[i][c] = vec_load(init + c * LANES)
            init += ld_init
            KEEP(init)
        line = ahead
        b_row = B
        if layout is by_rows:
            for i from 0 <= i < <Py_ssize_t> sizeof(rows) by ROWS_REACHED:
                row[i] = A + i * stride
        else:
            row[0] = A
        for _p in range(depth):
            if layout is by_rows:
                CBACKPROP_PREFETCH(line)
                line += ahead_step
            for c in range(<Py_ssize_t> sizeof(columns)):
                b[c] = vec_load(b_row + c * LANES)
            b_row += ldb
            if layout is by_rows:
                for i from 0 <= i < <Py_ssize_t> sizeof(rows) by ROWS_REACHED:
                    KEEP(row[i])
            for i in range(<Py_ssize_t> sizeof(rows)):
                if layout is by_rows:
                    a = vec_set1(row[i - i % ROWS_REACHED][i % ROWS_REACHED * stride])
                else:
                    # On arm64 clang would load four at once, into registers that the accumulators need.
                    if ROWS_REACHED == 1:
                        KEEP(row[0])
                    a = vec_set1(row[0][i])
                for c in range(<Py_ssize_t> sizeof(columns)):
                    acc[i][c] = vec_fma(a, b[c], acc[i][c])
            if layout is by_rows:
                for i from 0 <= i < <Py_ssize_t> sizeof(rows) by ROWS_REACHED:
                    row[i] += 1
            else:
                row[0] += stride
        # The largest tile leaves no register for it while it sums.
        PUT_AWAY(factor)
        f = vec_set1(factor)
        for i in range(<Py_ssize_t> sizeof(rows)):
            for c in range(<Py_ssize_t> sizeof(columns)):
                if update:
                    acc[i][c] = vec_fma(f, acc[i][c], vec_load(C + c * LANES))
                vec_store(C + c * LANES, acc[i][c])
            C += ldc
            KEEP(C)
        ahead += ahead_block_step
        if layout is by_rows:
            A += <Py_ssize_t> sizeof(rows) * stride
        else:
            A += <Py_ssize_t> sizeof(rows)


cdef void enter_tile(rows *rows_tag) noexcept nogil:
    """The tiles of this many rows into each table at [rows]; [0] stays unused."""
    tiles_by_rows[0][sizeof(rows)] = <tile_function> tile[rows, by_rows, columns1]
    tiles_by_rows[1][sizeof(rows)] = <tile_function> tile[rows, by_rows, columns2]
    tiles_by_columns[0][sizeof(rows)] = <tile_function> tile[rows, by_columns, columns1]
    tiles_by_columns[1][sizeof(rows)] = <tile_function> tile[rows, by_columns, columns2]


cdef void copy_panel(
    real *panel, Py_ssize_t width,  # OUT (depth, width)
    const real *B, Py_ssize_t ldb,  # IN  (depth, width), rows ldb apart
    Py_ssize_t depth,
) noexcept nogil:
    """The panel's rows one after the other: far apart they would cost a page of the TLB each."""
    cdef Py_ssize_t p, c
    for p in range(depth):
        for c from 0 <= c < width by LANES:
            vec_store(panel + p * width + c, vec_load(B + p * ldb + c))


cdef void gather_columns(
    real *gathered,                 # OUT (depth, height), and LANES numbers more of any value
    const real *A, Py_ssize_t lda,  # IN  (depth, height), rows lda apart
    Py_ssize_t height, Py_ssize_t depth,
) noexcept nogil:
    """A tile's columns of A, row after row."""
    cdef Py_ssize_t _p, c
    cdef const real *end = A + (depth - 1) * lda + height
    for _p in range(depth):
        for c from 0 <= c < height by LANES:
            # What is too much the next row overwrites.
            if A + c + LANES <= end:
                vec_store(gathered + c, vec_load(A + c))
            else:
                vec_store(gathered + c, vec_load_partial(A + c, height - c))
        A += lda
        gathered += height


cdef void transpose_panel(
    real *panel, Py_ssize_t width,  # OUT (depth, width), depth rounded up to whole squares
    const real *Wt, Py_ssize_t ld,  # IN  (rows_there, depth), rows ld apart, zeros after depth
    Py_ssize_t rows_there, Py_ssize_t depth,
) noexcept nogil:
    """panel[p, c] = Wt[c, p], and 0 for c >= rows_there: a piece of W made where it is used."""
    cdef Py_ssize_t p, c, i, j, rows
    cdef real square[64]  # the last rows of Wt, and zeros after them
    for c from 0 <= c < width by SQUARE:
        rows = rows_there - c
        if rows >= SQUARE:
            for p from 0 <= p < depth by SQUARE:
                transpose_square(panel + p * width + c, width, Wt + c * ld + p, ld)
            continue
        for i in range(SQUARE * SQUARE):
            square[i] = 0
        for p from 0 <= p < depth by SQUARE:
            for j in range(rows):
                for i in range(SQUARE):
                    square[j * SQUARE + i] = Wt[(c + j) * ld + p + i]
            transpose_square(panel + p * width + c, width, square, SQUARE)


cdef inline int sharers_of(Py_ssize_t work, int threads) noexcept nogil:
    """How many threads so much work is worth, in multiply-adds."""
    return <int> max(min(<Py_ssize_t> threads, work // LEAST_SHARE), 1)


cdef inline Py_ssize_t piece_columns(Py_ssize_t columns, int sharers) noexcept nogil:
    """Columns of the pieces that the sharers come for: whole pairs of cache lines, and all of them for one alone."""
    if sharers == 1:
        return columns
    return max((columns // (PIECES_EACH * sharers) + 2 * GROUP - 1) // (2 * GROUP), 1) * (2 * GROUP)


cdef inline Py_ssize_t pieces_of(Py_ssize_t count, Py_ssize_t share) noexcept nogil:
    return (count + share - 1) // share


cdef void product_piece(void *context, int worker, Py_ssize_t piece) noexcept nogil:
    cdef Product *p = <Product *> context
    cdef Panels panels = p.panels
    cdef Py_ssize_t j = piece * p.share
    panels.first += worker * panels.size
    panels.threads = 1
    product(p.table1, p.table2, p.C + j, p.ldc, p.A, p.row_step, p.depth_step, p.stride,
            p.B + (j if p.rows_there < 0 else j * p.ldb), p.ldb, -1 if p.rows_there < 0 else max(p.rows_there - j, 0),
            p.init + j, p.ld_init, p.m, min(p.share, p.n - j), p.depth, p.update, p.factor, panels,
            p.next, p.next_lines if piece == 0 else 0)


cdef inline void product(
    const tile_function *table1, const tile_function *table2,
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t row_step, Py_ssize_t depth_step, Py_ssize_t stride,
    const real *B, Py_ssize_t ldb, Py_ssize_t rows_there, const real *init, Py_ssize_t ld_init,
    Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth, bint update, real factor, Panels panels,
    const real *next, Py_ssize_t next_lines,
) noexcept nogil:
    """C (m, n) over all tiles; n is a multiple of LANES, row_step and depth_step the distances along A.

    B is (depth, n); or, where rows_there >= 0, Wt (rows_there, depth), whose transpose is multiplied.
    The summed index is cut into chunks that leave A's rows in the L2 cache; between them C holds the sums, so the
    chain of each output goes on. The rows are split evenly, as 10 = 5 + 5 and not 6 + 4: the first `taller` blocks
    have one row more than the rest.
    While the tiles of a panel run they ask for what comes after it, a line with each p: its successor where it goes
    through `panel`, otherwise, with the first panel, `next_lines` lines from `next`, which the caller needs soon.
    Threads share the columns, so that each output is still one chain.
    """
    cdef Py_ssize_t j, width, ldp, start = 0, left, chunk, done, run, height, row
    cdef Py_ssize_t blocks = (m + TILE_ROWS - 1) // TILE_ROWS
    cdef Py_ssize_t count, taller, prefetching, step, block_step, most
    cdef const tile_function *table
    cdef const real *b
    cdef const real *a
    cdef const real *c0
    cdef const real *ahead
    cdef bint turned = rows_there >= 0
    cdef bint copied = not turned and m > 4 * TILE_ROWS and ldb >= FAR
    # A by columns, which the tables of that name walk.
    cdef bint gathers = (row_step < depth_step and panels.gathered > 0 and stride >= FAR and m > TILE_ROWS
                         and n >= LEAST_GATHERED_PANELS * 2 * LANES
                         and LEAST_GATHERED_DEPTH <= depth <= GATHERED_DEPTH)
    cdef Py_ssize_t group = GATHERED_COLUMNS // TILE_ROWS if gathers else blocks, first_block, last_block, first_row
    cdef real *panel = panels.first
    cdef real *gathered = panels.first + panels.gathered
    cdef Product shared
    cdef int sharers
    if m == 0:
        return
    if panels.threads > 1:
        sharers = sharers_of(m * n * depth, panels.threads)
        shared.share = piece_columns(n, sharers)
        if shared.share < n:
            shared.table1, shared.table2 = table1, table2
            shared.C, shared.A, shared.B, shared.init, shared.next = C, A, B, init, next
            shared.ldc, shared.row_step, shared.depth_step, shared.stride = ldc, row_step, depth_step, stride
            shared.ldb, shared.rows_there, shared.ld_init = ldb, rows_there, ld_init
            shared.m, shared.n, shared.depth, shared.next_lines = m, n, depth, next_lines
            shared.update, shared.factor, shared.panels = update, factor, panels
            run_task(product_piece, &shared, pieces_of(n, shared.share), sharers, False)
            return
    count = m // blocks
    taller = m - count * blocks
    if update or row_step >= depth_step:
        most = CHUNK
    else:
        most = GATHERED_DEPTH if gathers else COLUMN_TERMS
    while start < depth:
        left = (depth - start + most - 1) // most
        chunk = min(depth - start, ((depth - start) // left + SQUARE - 1) // SQUARE * SQUARE)
        a = A + start * depth_step
        for first_block from 0 <= first_block < blocks by group:
            last_block = min(first_block + group, blocks)
            first_row = first_block * count + min(first_block, taller)
            for done in range(first_block if gathers else last_block, last_block):
                row = done * count + min(done, taller)
                gather_columns(gathered + (row - first_row) * chunk, a + row, stride,
                               count + 1 if done < taller else count, chunk)
            j = 0
            while j < n:
                width = 2 * LANES if n - j >= 2 * LANES else LANES
                table = table2 if width > LANES else table1
                prefetching = 0
                step = GROUP
                block_step = chunk * GROUP
                ahead = a
                if turned:
                    transpose_panel(panel, width, B + j * ldb + start, ldb, rows_there - j, chunk)
                    if m > TILE_ROWS and j + width < n:
                        # Its successor's rows lie one after the other.
                        ahead = B + (j + width) * ldb + start
                        prefetching = (width * ldb // GROUP + chunk - 1) // chunk
                elif copied:
                    copy_panel(panel, width, B + start * ldb + j, ldb, chunk)
                    if j + width < n:
                        ahead = B + start * ldb + j + width
                        step = ldb
                        block_step = GROUP
                        prefetching = width // GROUP
                elif start == 0 and j == 0:
                    ahead = next
                    prefetching = (next_lines + chunk - 1) // chunk
                if turned or copied:
                    b = panel
                    ldp = width
                else:
                    b = B + start * ldb + j
                    ldp = ldb
                c0 = init + j
                if start > 0:
                    c0 = C + j
                    ld_init = ldc
                done = first_block
                while done < last_block:
                    # As many blocks as have one height, and ask or do not.
                    height = count + 1 if done < taller else count
                    run = (min(taller, last_block) if done < taller else last_block) - done
                    row = done * count + min(done, taller)
                    if gathers:
                        run = 1
                        table[height](NULL, NULL, NULL, C + row * ldc + j, ldc,
                                      gathered + (row - first_row) * chunk, height, b, ldp,
                                      c0 + row * ld_init, ld_init, 1, chunk, update, factor, b, 0, 0)
                    elif done < prefetching:
                        run = min(run, prefetching - done)
                        table[height](NULL, NULL, NULL, C + row * ldc + j, ldc, a + row * row_step, stride, b, ldp,
                                      c0 + row * ld_init, ld_init, run, chunk, update, factor,
                                      ahead + done * block_step, step, block_step)
                    else:
                        table[height](NULL, NULL, NULL, C + row * ldc + j, ldc, a + row * row_step, stride, b, ldp,
                                      c0 + row * ld_init, ld_init, run, chunk, update, factor, b, 0, 0)
                    done += run
                j += width
        start += chunk


cdef void multiply_rows(
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
    const real *init, Py_ssize_t ld_init, Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth, Panels panels,
    const real *next, Py_ssize_t next_lines,
) noexcept nogil:
    """C (m, n) = init + A (m, depth) . B (depth, n)."""
    product(&tiles_by_rows[0][0], &tiles_by_rows[1][0], C, ldc, A, lda, 1, lda, B, ldb, -1, init, ld_init, m, n, depth,
            False, 0, panels, next, next_lines)


cdef void multiply_transposed(
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t lda, const real *Wt, Py_ssize_t ld, Py_ssize_t rows_there,
    const real *init, Py_ssize_t ld_init, Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth, Panels panels,
) noexcept nogil:
    """C (m, n) = init + A (m, depth) . Wt^T, where Wt is (rows_there, depth) and 0 beyond."""
    product(&tiles_by_rows[0][0], &tiles_by_rows[1][0], C, ldc, A, lda, 1, lda, Wt, ld, rows_there, init, ld_init, m, n,
            depth, False, 0, panels, NULL, 0)


cdef void multiply_columns(
    real *C, Py_ssize_t ldc, const real *A, Py_ssize_t lda, const real *B, Py_ssize_t ldb,
    const real *init, Py_ssize_t ld_init, Py_ssize_t m, Py_ssize_t n, Py_ssize_t depth,
    bint update, real factor, Panels panels,
) noexcept nogil:
    """C (m, n) = init + A^T . B, or with update C += factor * (init + A^T . B); A is (depth, m), B (depth, n),
    depth <= CHUNK.
    """
    product(&tiles_by_columns[0][0], &tiles_by_columns[1][0], C, ldc, A, 1, lda, lda, B, ldb, -1, init, ld_init, m, n,
            depth, update, factor, panels, NULL, 0)
