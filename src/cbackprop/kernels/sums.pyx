# Sums over examples: costs and gradients, in the order of the rows or in one drawn at random.
#
# A leaf's gradient is one product for each layer, a chain over the leaf's examples; leaves are added as tree.pyx says.

from libc.math cimport ldexp, sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from cbackprop.kernels.simd cimport CBACKPROP_PREFETCH, GROUP, real

cdef extern from *:
    """
    /* A piece of a gradient that stays in cache: so many numbers, half an L1 cache, and rows no wider than this. */
    #define CBACKPROP_PIECE_NUMBERS (32768 / (int)sizeof(cbackprop_real))
    #define CBACKPROP_PIECE_COLUMNS (2048 / (int)sizeof(cbackprop_real))
    """
    const int PIECE_NUMBERS "CBACKPROP_PIECE_NUMBERS"
    const int PIECE_COLUMNS "CBACKPROP_PIECE_COLUMNS"

cdef enum:
    SPARSE_COLUMNS = 8 * GROUP  # of a piece that is summed from sparse rows: more rows of it stay in the cache


cdef Py_ssize_t piece_rows(Py_ssize_t columns) noexcept nogil:
    """Rows of a piece of a gradient: whole tiles, PIECE_NUMBERS together where that is more than four tiles."""
    return max(4 * TILE_ROWS, PIECE_NUMBERS // columns // TILE_ROWS * TILE_ROWS)


cdef Py_ssize_t balanced(Py_ssize_t n, Py_ssize_t most) noexcept nogil:
    """The size of n's pieces, at most `most`, when they are cut as evenly as can be."""
    cdef Py_ssize_t pieces = (n + most - 1) // most
    return (n + pieces - 1) // pieces


cdef inline void add_compensated(double *total, double *correction, double term) noexcept nogil:
    """Neumaier's compensated sum: total + correction is the sum."""
    cdef double sum = total[0] + term
    if abs(total[0]) >= abs(term):
        correction[0] += (total[0] - sum) + term
    else:
        correction[0] += (term - sum) + total[0]
    total[0] = sum


cdef void count_cost(
    Core core,
    const real *C, const double *sample_weight,  # IN  (n,); no weights: NULL
    Py_ssize_t n,
) noexcept nogil:
    """In float64 and compensated: the mean cost keeps its digits over any number of examples."""
    cdef Py_ssize_t i
    for i in range(n):
        add_compensated(&core.cost_total, &core.cost_correction,
                        <double> C[i] * (sample_weight[i] if sample_weight != NULL else 1.0))


cdef bint cost_is_finite(Core core) noexcept nogil:
    """Whether the sum of the costs fits a float64; otherwise after `fail`."""
    if (core.cost_total + core.cost_correction) * 0 == 0:
        return True
    fail(core, QUANTITY_DELTA, core.n_layers)
    return False


# ---- rows in any order -----------------------------------------------------------------------------------------------

cdef const real *gather(
    real *gathered,                      # OUT (n, width)
    const real *rows, Py_ssize_t width,  # IN  rows of that width
    const int64_t *order,                # IN  or NULL
    Py_ssize_t start, Py_ssize_t n,
) noexcept nogil:
    """Rows start ... start + n of the pass: in place, or in the order given, brought together."""
    cdef Py_ssize_t i
    if order == NULL:
        return rows + start * width
    for i in range(n):
        memcpy(gathered + i * width, rows + order[start + i] * width, width * sizeof(real))
    return gathered


cdef const real *gather_block(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """Rows `start` ... of the pass, brought together; NULL for sparse ones, which are noted as the block's."""
    if call.sparse.starts == NULL:
        return gather(core.gathered_X, call.X, core.n_0, call.order, start, n)
    core.sparse = call.sparse
    core.sparse.first = start
    if call.order != NULL:
        core.sparse.order = call.order + start
    return NULL


cdef void prefetch_next(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """The next rows needed are n of the pass from `start`."""
    if call.sparse.starts != NULL:
        # Short rows: what follows them the processor guesses by itself.
        prefetch_later(core, NULL, NULL, 0)
    elif call.order == NULL:
        prefetch_later(core, call.X + start * core.n_0, NULL, n)
    else:
        prefetch_later(core, call.X, call.order + start, n)


cdef void prefetch_later(Core core, const real *X, const int64_t *order, Py_ssize_t rows) noexcept nogil:
    """The next rows needed are those of X that the first `rows` entries of `order` name, or the first of X."""
    core.prefetch_X = X
    core.prefetch_order = order
    core.prefetch_left = rows if order != NULL else 0
    core.prefetch_place = 0
    if order == NULL:
        core.prefetch_block = X
        core.prefetch_block_lines = (rows * core.n_0 + GROUP - 1) // GROUP


cdef void prefetch_rows(Core core, Py_ssize_t lines) noexcept nogil:
    """Ask memory for so many cache lines of the rows noted: the processor cannot guess an order drawn at random.

    A few at a time, between products: the fill buffers hold about twenty.
    """
    cdef const real *row
    cdef Py_ssize_t width = core.n_0
    while lines > 0 and core.prefetch_left > 0:
        row = core.prefetch_X + core.prefetch_order[0] * width
        while lines > 0 and core.prefetch_place < width:
            CBACKPROP_PREFETCH(row + core.prefetch_place)
            core.prefetch_place += GROUP
            lines -= 1
        if core.prefetch_place >= width:
            core.prefetch_place = 0
            core.prefetch_order += 1
            core.prefetch_left -= 1


cdef Py_ssize_t prefetch_lines(Core core, Py_ssize_t n_in, Py_ssize_t rows) noexcept nogil:
    """Cache lines to prefetch with each piece of `rows` of n_in, so that all are asked for in the end."""
    return core.prefetch_left * ((core.n_0 + GROUP - 1) // GROUP) * rows // n_in + 1


# ---- weights and clipping --------------------------------------------------------------------------------------------

cdef double gradient_norm(Core core, const real *block_X, Py_ssize_t i) noexcept nogil:
    """sqrt(sum_l |delta|^2 (|a|^2 + 1)) of example i of the block, over the layers that learn."""
    cdef Py_ssize_t l
    cdef double total = 0, delta_squares, scale = 0, sum = 0
    cdef bint exact = True
    cdef Layer *layer
    for l in range(core.lowest, core.n_layers):
        layer = &core.layers[l]
        if layer.is_frozen:
            continue
        delta_squares = sum_of_squares(layer.delta + i * layer.ld, layer.n_out)
        # A sum of float32's squares is 0 only if they are.
        exact = exact and (delta_squares >= LEAST_SUM_OF_SQUARES or (delta_squares == 0 and sizeof(real) == 4))
        total += delta_squares * (sum_of_squares(a_below(core, block_X, l, i), layer.n_in) + 1)
    if exact and total - total == 0:
        return sqrt(total)
    for l in range(core.lowest, core.n_layers):
        layer = &core.layers[l]
        if layer.is_frozen:
            continue
        add_to_norm(&scale, &sum, layer_norm(a_below(core, block_X, l, i), layer.delta + i * layer.ld,
                                             layer.n_in, layer.n_out))
    return scale * sqrt(sum)


cdef int weigh_block(
    Core core, const Call *call,
    const real *block_X, const real *C, Py_ssize_t n, Py_ssize_t start,  # IN  (n, n_0), (n,)
) noexcept nogil:
    """Count the costs of the block's n examples, rows `start` ... of the pass, and multiply their deltas: by their
    weights where they have any, and with a clip_norm by min(1, clip_norm / |dC_i|). 0, or 1 after `fail`.
    """
    cdef Py_ssize_t i, l
    cdef double norm
    cdef double weights[BLOCK]
    cdef double factors[BLOCK]
    if call.sample_weight == NULL and call.clip_norm == 0:
        count_cost(core, C, NULL, n)
        return 0
    for i in range(BLOCK):
        weights[i] = 1
    for i in range(n):
        if call.sample_weight != NULL:
            weights[i] = call.sample_weight[start + i if call.order == NULL else call.order[start + i]]
        factors[i] = weights[i] if core.weight_shift == 0 else ldexp(weights[i], core.weight_shift)
    count_cost(core, C, weights, n)
    if call.clip_norm > 0:
        for i in range(n):
            norm = gradient_norm(core, block_X, i)
            if not norm - norm == 0:
                return fail(core, QUANTITY_NORM, 0)
            if norm > call.clip_norm:
                factors[i] = factors[i] * (call.clip_norm / norm)
    for l in range(core.lowest, core.n_layers):
        scale_rows(core.layers[l].delta, core.layers[l].ld, factors, n)
    return 0


cdef int weighted_deltas(
    Core core, const Call *call,
    const real **block_X,  # OUT where the block's rows of X are
    Py_ssize_t start, Py_ssize_t n, Py_ssize_t next_start, Py_ssize_t next_n,
) except -1 nogil:
    """Forward and backward of the n rows of the pass from `start`, their costs counted and their deltas weighed, while
    the next rows that this thread needs are prefetched. 0, or 1 after `fail`.
    """
    cdef real C[BLOCK]
    cdef const real *block_Y = gather(core.gathered_Y, call.Y, core.n_L, call.order, start, n)
    block_X[0] = gather_block(core, call, start, n)
    # The lengths of gradients are of dense rows.
    if block_X[0] == NULL and call.clip_norm > 0:
        block_X[0] = dense_block(core, n)
    prefetch_next(core, call, next_start, next_n)
    core.block_row = core.first_row + start
    if deltas_block(core, block_X[0], block_Y, C, n):
        return 1
    return weigh_block(core, call, block_X[0], C, n, start)


# ---- a leaf ----------------------------------------------------------------------------------------------------------

cdef const real *rows_to_sum(Core core, Py_ssize_t n) noexcept nogil:
    """NULL, for the block's sparse rows, or these made dense, where their gradient might have another -0."""
    if core.layers[0].is_frozen or products_keep_digits(&core.sparse, core.layers[0].delta, core.layers[0].ld, n):
        return NULL
    return dense_block(core, n)


cdef Py_ssize_t sparse_piece_rows(Py_ssize_t columns, Py_ssize_t n_in) noexcept nogil:
    """Rows of a piece that is summed from sparse rows: whole groups of them, as few pieces as stay in the cache."""
    cdef Py_ssize_t rows = balanced(n_in, piece_rows(columns) - ROWS_TOUCHED)
    return (rows + ROWS_TOUCHED - 1) // ROWS_TOUCHED * ROWS_TOUCHED


cdef int sum_sparse_rows(
    Core core,
    real *sums,  # OUT (n_0, n_1), rows ld apart
    Py_ssize_t n,
) except -1 nogil:
    """The first layer's sum_i a_k delta_j over the block's n sparse rows."""
    cdef Layer *layer = &core.layers[0]
    cdef SparsePiece piece
    cdef Py_ssize_t j, k, width, rows
    fill(sums, 0, layer.n_in * layer.ld)
    for j from 0 <= j < layer.width by SPARSE_COLUMNS:
        width = min(SPARSE_COLUMNS, layer.width - j)
        rows = sparse_piece_rows(width, layer.n_in)
        begin_piece(&piece, &core.sparse, n)
        for k from 0 <= k < layer.n_in by rows:
            accumulate_sparse_gradient(&piece, sums + k * layer.ld + j, layer.ld, &core.sparse, layer.delta + j,
                                       layer.ld, n, k, min(rows, layer.n_in - k), width)
        look_for_signals(core, width * n * layer.n_in)
    return 0


cdef int sum_block(
    Core core,
    real *sums,     # OUT in the layout of the parameters
    const real *X,  # IN  (n, n_0), NULL for the block's sparse rows
    Py_ssize_t n,
) except -1 nogil:
    """The block's sum_i dC_i/dparameters; of layers that do not learn whatever was there."""
    cdef Py_ssize_t l, j, k, m, rows, lines, width, step, lda = core.n_0
    cdef const real *a = X if X != NULL else rows_to_sum(core, n)
    cdef Layer *layer
    for l in range(core.n_layers):
        layer = &core.layers[l]
        if layer.is_frozen:
            a = layer.a
            lda = layer.ld
            continue
        if a == NULL:
            sum_sparse_rows(core, sums + layer.offset, n)
        rows = layer.n_in if core.prefetch_left == 0 else balanced(layer.n_in, piece_rows(layer.width))
        lines = prefetch_lines(core, layer.n_in, rows)
        step = columns_between_looks(core, layer.width, n * layer.n_in)
        for j from 0 <= j < (layer.width if a != NULL else 0) by step:
            width = min(step, layer.width - j)
            k = 0
            while k < layer.n_in:
                m = min(rows, layer.n_in - k)
                accumulate_gradient(sums + layer.offset + k * layer.ld + j, layer.ld, a + k, lda, layer.delta + j,
                                    layer.ld, n, m, width, core.zeros, False, 1, core.panels)
                prefetch_rows(core, lines)
                k += m
            look_for_signals(core, width * n * layer.n_in)
        accumulate_bias_gradient(sums + layer.offset + layer.n_in * layer.ld, layer.delta, layer.ld, n, layer.width,
                                 False, 1)
        a = layer.a
        lda = layer.ld
    return 0


cdef int gradient_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """sum_i w_i dC_i/dparameters over n rows of the pass from `start`."""
    cdef const real *block_X
    cdef Py_ssize_t next_start = min(start + core.crew_size * LEAF, call.n)
    if (weighted_deltas(core, call, &block_X, start, n, next_start, min(call.n - next_start, LEAF))
            or sum_block(core, sums, block_X, n)):
        return 1
    look_for_signals(core, 0)
    return 0


cdef int gradient_sums(
    Core core, const Call *call, Py_ssize_t first, Py_ssize_t n,
    real **sums,  # OUT where they are
) except -1 nogil:
    """sum_i w_i dC_i/dparameters over n of all rows from `first`; of layers that do not learn whatever was there."""
    if n == 0:
        fill(core.sums, 0, core.storage_size)
    return do_leaves(core, call, gradient_leaf, join_sums, first, n, LEAF, sums)


cdef void pack(
    Core core,
    real *packed,        # OUT in the layout of the parameters, padding left alone
    const real *vector,  # IN  (P,)
) noexcept nogil:
    """The documented order into the layout of the parameters."""
    cdef Py_ssize_t l, j, k
    cdef Layer *layer
    for l in range(core.n_layers):
        layer = &core.layers[l]
        for j in range(layer.n_out):
            for k in range(layer.n_in):
                packed[layer.offset + k * layer.ld + j] = vector[j * layer.n_in + k]
            packed[layer.offset + layer.n_in * layer.ld + j] = vector[layer.n_out * layer.n_in + j]
        vector += (layer.n_in + 1) * layer.n_out


cdef void unpack(
    Core core,
    real *vector,        # OUT (P,)
    const real *packed,  # IN  in the layout of the parameters
    real total,
) noexcept nogil:
    """vector (P,) in the documented order: numbers in the layout of the parameters, divided by `total`."""
    cdef Py_ssize_t l
    cdef Layer *layer
    for l in range(core.n_layers):
        layer = &core.layers[l]
        unpack_gradient(vector, packed + layer.offset, layer.ld, layer.n_in, layer.n_out, total)
        vector += (layer.n_in + 1) * layer.n_out


cdef int mean_gradient(Core core, const Call *call) except -1 nogil:
    """sum_i w_i dC_i/dparameters / total_weight into out (P,)."""
    cdef real *sums
    if gradient_sums(core, call, 0, call.n, &sums):
        return 1
    if not all_finite(sums, core.storage_size):
        return fail(core, QUANTITY_DELTA, core.n_layers)
    if not cost_is_finite(core):
        return 1
    unpack(core, call.out, sums, <real> call.total_weight)
    return 0
