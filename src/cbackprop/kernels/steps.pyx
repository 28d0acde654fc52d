# Training: steps of the optimiser, one batch after the other, without the GIL.
#
# a) A step's forward and backward passes come first, for all of its examples; only then does a parameter change. So a
#    step that meets a number not finite, or a signal, has changed nothing.
# b) Plain gradient descent on one block is taken inside the gradient's product: w + factor . sum leaves the registers.
#    Other rules, and the last block of a larger batch, go through a piece of the gradient that stays in the cache.
# c) Which unit of the processor binds which network is written in docs/speed.md.
# d) Which rule is which, updates.pyx knows alone. Here only two of its properties matter: whether the step is the
#    product itself (b), and whether it looks at the batch's own cost.
# e) Noise is drawn by the place of its parameter and the number of its batch, penalties and norms are of single weights
#    and neurons: so neither pieces nor threads change a bit of them.

from libc.math cimport INFINITY, frexp, ldexp, sqrt
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from cbackprop.kernels.simd cimport real
from cbackprop.kernels.threads cimport run_task

import numpy as np

cdef extern from *:
    """
    /* The largest update that need not be looked into for signals, in multiply-adds: some 60 milliseconds. */
    #define CBACKPROP_FUSED_WORK ((int64_t)200000000 * CBACKPROP_LANES)
    """
    const int64_t FUSED_WORK "CBACKPROP_FUSED_WORK"

cdef real LARGEST_NUMBER = <real> np.finfo(dtype).max

# What threads need to know of the update of a layer that they share.
cdef struct LayerUpdate:
    void *core
    Layer *layer
    const real *a  # (n, n_in), rows lda apart; NULL for the block's sparse rows
    Py_ssize_t lda, n
    double total  # the examples of the step, or the sum of their weights
    bint prefetches   # whether rows wait to be prefetched
    Py_ssize_t share  # columns of each piece


cdef void update_piece_of_layer(void *context, int worker, Py_ssize_t piece) noexcept nogil:
    cdef LayerUpdate *update = <LayerUpdate *> context
    apply_columns(<Core> update.core, update, worker, piece)


cdef bint can_fuse(Core core, Py_ssize_t n) noexcept nogil:
    """Whether the update for a block of n examples is short enough to take without looking for signals."""
    return n * core.n_parameters <= FUSED_WORK


cdef bint needs_sums(Core core, Py_ssize_t n) noexcept nogil:
    """Whether a step on n examples has its gradient sums made in full before a parameter changes."""
    return n > LEAF or n == 0 or core.clip_gradient_norm > 0 or not can_fuse(core, n)


# ---- one step --------------------------------------------------------------------------------------------------------

cdef void apply_piece(
    Core core,
    Layer *layer,
    real *gradient_sum, Py_ssize_t ld_sum,  # IN/OUT (rows, width), rows ld_sum apart
    Py_ssize_t k, Py_ssize_t j, Py_ssize_t rows, Py_ssize_t width, double total,
) noexcept nogil:
    """Noise, penalties and the rule for rows k ... and columns j ... of a layer's Wt; row n_in is the bias, which has
    no penalty.
    """
    cdef Py_ssize_t kk, jj, end = min(width, layer.n_out - j)
    cdef uint64_t index
    # Each number of the sum has its own place in the documented order, whatever the layout in memory is.
    if core.noise > 0:
        for kk in range(rows):
            for jj in range(end):
                index = core.batch * core.n_parameters + layer.start
                if k + kk < layer.n_in:
                    index += (j + jj) * layer.n_in + k + kk
                else:
                    index += layer.n_in * layer.n_out + j + jj
                gradient_sum[kk * ld_sum + jj] += <real> (core.noise * normal_at(core.noise_key, index))
    if (core.l1 > 0 or core.l2 > 0) and k < layer.n_in:
        add_penalty(gradient_sum, ld_sum, core.storage + layer.offset + k * layer.ld + j, layer.ld, rows, width,
                    <real> (core.l1 * total), <real> (core.l2 * total))
    update_piece(core, layer.offset + k * layer.ld + j, layer.ld, gradient_sum, ld_sum, rows, width, total)


cdef int apply_sums(
    Core core,
    real *sums,  # IN  in the layout of the parameters; overwritten
    double total,
) except -1 nogil:
    """Take a step along gradient sums that are there in full, layer by layer."""
    cdef Py_ssize_t l
    cdef Layer *layer
    cdef real *gradient
    begin_update(core, total)
    for l in range(core.n_layers):
        layer = &core.layers[l]
        if layer.is_frozen:
            continue
        gradient = sums + layer.offset
        apply_piece(core, layer, gradient, layer.ld, 0, 0, layer.n_in, layer.ld, total)
        apply_piece(core, layer, gradient + layer.n_in * layer.ld, layer.ld, layer.n_in, 0, 1, layer.ld, total)
        if core.max_norm > 0:
            limit_norms(core.storage + layer.offset, layer.ld, layer.n_in, layer.width, <real> core.max_norm)
    return 0


cdef void apply_block(
    Core core,
    const real *X, Py_ssize_t n,  # IN  (n, n_0), NULL for the block's sparse rows
    double total,
) noexcept nogil:
    """Take a step of `total` examples, all n of them in the block whose deltas are there."""
    cdef LayerUpdate update
    cdef Layer *layer
    cdef Py_ssize_t l
    cdef int sharers
    update.core = <void *> core
    update.a = X if X != NULL else rows_to_sum(core, n)
    update.lda = core.n_0
    update.n = n
    update.total = total
    begin_update(core, total)
    for l in range(core.n_layers):
        layer = &core.layers[l]
        if not layer.is_frozen:
            update.layer = layer
            # Before the layer begins: what the threads see must not change while they share it.
            update.prefetches = core.prefetch_left > 0
            sharers = sharers_of(n * layer.n_in * layer.width, core.panels.threads)
            update.share = piece_columns(layer.width, sharers)
            run_task(update_piece_of_layer, &update, pieces_of(layer.width, update.share), sharers, False)
        update.a = layer.a
        update.lda = layer.ld


cdef void apply_columns(Core core, const LayerUpdate *update, int worker, Py_ssize_t piece) noexcept nogil:
    """A piece of a layer's update: its columns' product and the rule, by so many rows as stay in cache."""
    cdef Layer *layer = update.layer
    cdef Py_ssize_t first = piece * update.share, end = min(first + update.share, layer.width), j = first, columns
    cdef real *gradient = core.piece + worker * core.piece_size
    cdef real *b_j
    cdef bint alone = is_product_update(core) and not (core.l1 > 0 or core.l2 > 0 or core.noise > 0)
    while j < end:
        b_j = core.storage + layer.offset + layer.n_in * layer.ld + j
        if update.a == NULL:
            columns = min(SPARSE_COLUMNS, end - j)
            apply_sparse_columns(core, update, gradient, j, columns, alone)
        else:
            columns = end - j if alone else min(PIECE_COLUMNS, end - j)
            apply_dense_columns(core, update, gradient, worker, j, columns, alone)
        if alone and update.a != NULL:
            accumulate_bias_gradient(b_j, layer.delta + j, layer.ld, update.n, columns, True,
                                     core.update_rule.step_size)
        else:
            accumulate_bias_gradient(gradient, layer.delta + j, layer.ld, update.n, columns, False, 1)
            apply_piece(core, layer, gradient, columns, layer.n_in, j, 1, columns, update.total)
        j += columns
    # All rows of these columns are done, and a neuron's norm is of its column alone.
    if core.max_norm > 0:
        limit_norms(core.storage + layer.offset + first, layer.ld, layer.n_in, end - first, <real> core.max_norm)


cdef void apply_dense_columns(
    Core core, const LayerUpdate *update,
    real *gradient,  # scratch for a piece
    int worker, Py_ssize_t j, Py_ssize_t columns,
    bint fused,      # whether the product itself takes the step
) noexcept nogil:
    """The update of the weights in `columns` of a layer's columns, from j."""
    cdef Layer *layer = update.layer
    cdef Py_ssize_t k = 0, m, lines = 0, rows = layer.n_in
    cdef Panels panels = core.panels
    # This thread's own panel; its products are not shared once more.
    panels.first += worker * panels.size
    panels.threads = 1
    if not fused:
        rows = balanced(layer.n_in, piece_rows(columns))
    elif update.prefetches:
        # Few lines at a time: the fill buffers hold about twenty.
        rows = balanced(layer.n_in, 2 * TILE_ROWS)
    # What is to be prefetched is noted in the Core: for one thread alone, the caller, which is worker 0.
    if worker == 0:
        lines = prefetch_lines(core, layer.n_in, rows)
    while k < layer.n_in:
        m = min(rows, layer.n_in - k)
        if fused:
            accumulate_gradient(core.storage + layer.offset + k * layer.ld + j, layer.ld, update.a + k, update.lda,
                                layer.delta + j, layer.ld, update.n, m, columns, core.zeros, True,
                                core.update_rule.step_size, panels)
        else:
            accumulate_gradient(gradient, columns, update.a + k, update.lda, layer.delta + j, layer.ld, update.n, m,
                                columns, core.zeros, False, 1, panels)
            apply_piece(core, layer, gradient, columns, k, j, m, columns, update.total)
        if worker == 0:
            prefetch_rows(core, lines)
        k += m


cdef void apply_sparse_columns(
    Core core, const LayerUpdate *update,
    real *gradient,  # scratch for a piece
    Py_ssize_t j, Py_ssize_t columns,
    bint alone,      # whether the sums times a factor are the step
) noexcept nogil:
    """The same from the block's sparse rows."""
    cdef Layer *layer = update.layer
    cdef Py_ssize_t k = 0, m, rows = sparse_piece_rows(columns, layer.n_in)
    cdef SparsePiece piece
    begin_piece(&piece, &core.sparse, update.n)
    while k < layer.n_in:
        m = min(rows, layer.n_in - k)
        if k == 0 or not alone:
            fill(gradient, 0, m * columns)
        accumulate_sparse_gradient(&piece, gradient, columns, &core.sparse, layer.delta + j, layer.ld, update.n, k, m,
                                   columns)
        if alone:
            update_touched_rows(core.storage + layer.offset + k * layer.ld + j, layer.ld, &piece, columns,
                                core.update_rule.step_size)
        else:
            apply_piece(core, layer, gradient, columns, k, j, m, columns, update.total)
        k += m


cdef double batch_weight(Core core, const Call *call, Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """The sum of the batch's weights; times 2^weight_shift where all of them are tiny (calculus.scaled_up)."""
    cdef Py_ssize_t m
    cdef double weight, total = 0, largest_weight = 0
    for m in range(first, first + n):
        weight = call.sample_weight[m if call.order == NULL else call.order[m]]
        total += weight
        largest_weight = max(largest_weight, weight)
    core.weight_shift = 0
    if 0 < largest_weight < 2.0 ** -32:
        frexp(largest_weight, &core.weight_shift)
        core.weight_shift = -core.weight_shift
    return ldexp(total, core.weight_shift)


# What is done with a row of sums: gets what came of the rows before it, returns what comes of them and of this one.
ctypedef double (*row_work)(real *row, Py_ssize_t n, double so_far, double number) noexcept nogil


cdef double each_learning_row(Core core, real *sums, row_work work, double number) noexcept nogil:
    """What comes, from 0 on, of all rows of the sums, in the layout of the parameters, of the layers that learn."""
    cdef Py_ssize_t l, k
    cdef Layer *layer
    cdef double so_far = 0
    for l in range(core.lowest, core.n_layers):
        layer = &core.layers[l]
        if not layer.is_frozen:
            for k in range(layer.n_in + 1):
                so_far = work(sums + layer.offset + k * layer.ld, layer.n_out, so_far, number)
    return so_far


cdef double add_squares(real *row, Py_ssize_t n, double so_far, double number) noexcept nogil:
    return so_far + sum_of_squares(row, n)


cdef double take_largest(real *row, Py_ssize_t n, double so_far, double number) noexcept nogil:
    return max(so_far, <double> largest(row, n))


cdef double add_scaled_squares(real *row, Py_ssize_t n, double so_far, double scale) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        so_far += (<double> row[j] / scale) * (<double> row[j] / scale)
    return so_far


cdef double multiply_row(real *row, Py_ssize_t n, double so_far, double factor) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        row[j] = <real> (<double> row[j] * factor)
    return so_far


cdef void clip_sums(
    Core core,
    real *sums,  # IN/OUT in the layout of the parameters
    double total,
) noexcept nogil:
    """The sums of the layers that learn times min(1, clip_gradient_norm / |sums / total|)."""
    cdef double scale = 1, factor, squares = each_learning_row(core, sums, add_squares, 0)
    if not (squares >= LEAST_SUM_OF_SQUARES and squares - squares == 0):
        # Squares have left the numbers: once more, of sums divided by the largest.
        scale = each_learning_row(core, sums, take_largest, 0)
        if scale == 0:
            return
        squares = each_learning_row(core, sums, add_scaled_squares, scale)
    # One by one: the norm itself may not be a number.
    factor = core.clip_gradient_norm / scale * total / sqrt(squares)
    if factor < 1:
        each_learning_row(core, sums, multiply_row, factor)


cdef int take_step(
    Core core, const Call *call, Py_ssize_t first, Py_ssize_t n, Py_ssize_t batch_size,
) except -1 nogil:
    """One step on the batch of n rows from `first`. 0, or 1 after `fail` with nothing changed.

    Examples whose weights are all 0 make no step. Private steps are divided by the size that a lot is meant to have:
    noise over the rows that a short one has would drown them, and be other noise than was asked for.
    """
    cdef const real *block_X
    cdef real *sums
    cdef double total = <double> (batch_size if core.is_private else n)
    if call.sample_weight != NULL:
        total = batch_weight(core, call, first, n)
        if total == 0:
            return 0
    if 0 < n <= LEAF:
        # What follows is the next batch.
        if weighted_deltas(core, call, &block_X, first, n, first + n, min(n, call.n - first - n)):
            return 1
        # Where an update takes long, or its sums are to be seen as a whole, they are made in full first: that can be
        # interrupted with nothing changed.
        if needs_sums(core, n):
            sum_block(core, core.sums, block_X, n)
            sums = core.sums
        else:
            apply_block(core, block_X, n, total)
            prefetch_rows(core, core.n_0 * BLOCK)
            look_for_signals(core, n * core.n_parameters)
            return 0
    elif gradient_sums(core, call, first, n, &sums):
        return 1
    if core.clip_gradient_norm > 0:
        clip_sums(core, sums, total)
    apply_sums(core, sums, total)
    look_for_signals(core, core.n_parameters)
    return 0


cdef int take_step_by_cost(
    Core core, const Call *call, Py_ssize_t first, Py_ssize_t n, Py_ssize_t batch_size,
) except -1 nogil:
    """The same for Rprop, which looks at the batch's own cost: as the difference of two sums over the pass it would
    not have the bits of the batch alone.
    """
    cdef double pass_total = core.cost_total, pass_correction = core.cost_correction
    core.cost_total = 0
    core.cost_correction = 0
    if take_step(core, call, first, n, batch_size):
        return 1
    pass_correction += core.cost_correction
    add_compensated(&pass_total, &pass_correction, core.cost_total)
    core.cost_total = pass_total
    core.cost_correction = pass_correction
    return 0


# ---- many steps ------------------------------------------------------------------------------------------------------

cdef int begin_pass(Core core, options, key, Py_ssize_t first_batch, Py_ssize_t batch_size) except -1:
    """What a pass of training does besides the rule: update_rules.StepOptions, None for nothing."""
    cdef double dropout = 0
    cdef Py_ssize_t l
    core.l1 = core.l2 = core.max_norm = core.clip_norm = core.clip_gradient_norm = core.noise = 0
    core.dropping = core.is_private = False
    core.rule_alone = options is None
    core.batch, core.first_row = first_batch, first_batch * batch_size
    core.lowest = core.weight_shift = 0
    for l in range(core.n_layers):
        core.layers[l].is_frozen = False
    if options is None:
        return 0
    core.l1 = options.l1
    core.l2 = options.l2
    core.max_norm = options.max_norm
    core.clip_norm = options.clip_norm
    core.clip_gradient_norm = options.clip_gradient_norm
    core.noise = <double> options.noise_multiplier * core.clip_norm
    core.is_private = options.noise_multiplier > 0
    for l in options.frozen:
        if not 1 <= l <= core.n_layers:
            raise ValueError(f"frozen has {l}; expected layers from 1 to {core.n_layers}")
        core.layers[l - 1].is_frozen = True
    while core.lowest < core.n_layers and core.layers[core.lowest].is_frozen:
        core.lowest += 1
    if core.lowest == core.n_layers:
        raise ValueError(f"frozen has all {core.n_layers} layers; expected one at least that learns")
    dropout = options.dropout
    core.dropping = dropout > 0
    core.dropout_key = key
    # Another stream for the noise: all bits of the key turned over.
    core.noise_key = ~core.dropout_key
    core.dropout_threshold = <uint64_t> (dropout * 4294967296.0)
    core.dropout_scale = <real> (1 / (1 - dropout))
    return 0


cdef int take_tiny_steps(Core core, const Call *call, Py_ssize_t batch_size) except -1 nogil:
    """All steps of a pass of a tiny network (tiny.pyx)."""
    cdef Py_ssize_t start, m
    cdef const real *batch_X
    cdef const real *batch_Y
    copy_layers_rowmajor(core)
    for start from 0 <= start < call.n by batch_size:
        m = min(batch_size, call.n - start)
        batch_X = gather_block(core, call, start, m)
        if batch_X == NULL:
            batch_X = dense_block(core, m)
        batch_Y = gather(core.gathered_Y, call.Y, core.n_L, call.order, start, m)
        if take_tiny_step(core, batch_X, batch_Y, m, True, True):
            return 1
        look_for_signals(core, 1000 * m)
        core.batch += 1
    return 0


cdef int train_pass(Core core, const Call *call, Py_ssize_t batch_size) except -1 nogil:
    # A lot without a row is a step of noise alone.
    cdef Py_ssize_t start, m, stop = max(call.n, 1) if core.is_private else call.n
    if core.is_tiny and is_product_update(core) and core.rule_alone and batch_size <= BLOCK:
        if take_tiny_steps(core, call, batch_size):
            return 1
        stop = 0
    for start from 0 <= start < stop by batch_size:
        m = min(batch_size, call.n - start)
        if looks_at_cost(core):
            if take_step_by_cost(core, call, start, m, batch_size):
                return 1
        elif take_step(core, call, start, m, batch_size):
            return 1
        core.batch += 1
    if not state_is_finite(core):
        return fail(core, QUANTITY_PARAMETERS, 0)
    return not cost_is_finite(core)


# ---- a single step, from Python --------------------------------------------------------------------------------------

cdef bint targets_are_valid(Core core, const real *y, Py_ssize_t count) noexcept nogil:
    """Finite, and in the range the cost asks for (as validation.targets)."""
    cdef Py_ssize_t i
    if not all_finite(y, count):
        return False
    if core.least_target > -INFINITY or core.most_target < INFINITY:
        for i in range(count):
            if y[i] < core.least_target or y[i] > core.most_target:
                return False
    return True


cdef bint state_is_finite(Core core) noexcept nogil:
    """Whether every parameter and all of the optimiser's state is."""
    cdef Py_ssize_t i
    if not all_finite(core.storage, core.storage_size):
        return False
    for i in range(core.n_slots):
        if not all_finite(core.slot_data[i], core.storage_size):
            return False
    return True


cdef bint cannot_overflow(Core core, const real *X, Py_ssize_t n) noexcept nogil:
    """Whether the step along the deltas that are there surely leaves every number finite.

    From the largest numbers alone: |sum_i a_k delta_j| <= n max|a| max|delta|, and so on through the rule. Nearly
    every step passes, and need not be undone.
    """
    cdef Py_ssize_t l
    cdef Layer *layer
    cdef double gradient = 0, step, a = largest(X, n * core.n_0)
    cdef double bound = <double> LARGEST_NUMBER / 8
    cdef double w = largest(core.storage, core.storage_size)
    for l in range(core.n_layers):
        layer = &core.layers[l]
        gradient = max(gradient, max(a, 1.0) * largest(layer.delta, n * layer.ld))
        a = largest(layer.a, n * layer.ld)
    if not (n * gradient < bound and core.learning_rate < bound):
        return False
    step = most_of_step(core, gradient, bound)
    return step < bound and w + core.learning_rate * step < bound and cost_is_finite(core)


cdef int try_step(
    Core core,
    const real *X, const real *Y, Py_ssize_t n,  # IN  (n, n_0), (n, n_L)
) except -1 nogil:
    """A step on one block. 0; with nothing changed 1 after `fail`, and 2 if it might have to be undone."""
    cdef real C[BLOCK]
    if core.is_tiny and is_product_update(core):
        copy_layers_rowmajor(core)
        return 1 if take_tiny_step(core, X, Y, n, True, False) else 2
    if deltas_block(core, X, Y, C, n):
        return 1
    count_cost(core, C, NULL, n)
    if not cannot_overflow(core, X, n):
        return 2
    finish_step(core, X, n)
    return 0


cdef void finish_step(Core core, const real *X, Py_ssize_t n) noexcept nogil:
    prefetch_later(core, NULL, NULL, 0)
    if core.is_tiny and is_product_update(core):
        take_tiny_step(core, X, NULL, n, False, True)
    else:
        apply_block(core, X, n, n)


cdef int finish_or_restore(
    Core core,
    const real *X, Py_ssize_t n,  # IN  (n, n_0)
    real *backup,                 # scratch for storage and slots
) noexcept nogil:
    """The step, undone if it left a number that is not finite: then 1. backup has room for storage and slots."""
    cdef Py_ssize_t i
    cdef size_t size = core.storage_size * sizeof(real)
    cdef int64_t step_count = core.step_count
    cdef double previous_cost = core.previous_cost
    # The pass is done and would be done again by the caller to say what overflowed: only the step is undone.
    memcpy(backup, core.storage, size)
    for i in range(core.n_slots):
        memcpy(backup + (i + 1) * core.storage_size, core.slot_data[i], size)
    finish_step(core, X, n)
    if state_is_finite(core) and cost_is_finite(core):
        return 0
    memcpy(core.storage, backup, size)
    for i in range(core.n_slots):
        memcpy(core.slot_data[i], backup + (i + 1) * core.storage_size, size)
    core.step_count = step_count
    core.previous_cost = previous_cost
    return 1
