# Forward and backward passes over blocks of examples.
#
# a) A block is at most BLOCK examples: their activations and a tile's panel fit the L2 cache.
# b) Every number that is not finite is found where it first stands: z, then a, then delta. Later it could be hidden: a
#    sigmoid makes 1 of an infinite z.
# c) A user's functions get copies without padding, read-only: they may keep them, and must not write into scratch.

from libc.string cimport memcpy

from cbackprop.kernels.simd cimport LANES, real

# ---- one block of at most BLOCK examples -----------------------------------------------------------------------------

cdef const real *block_of(
    Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, bint dense,
) noexcept nogil:
    """n rows of the call's X from `start`: where they are, or NULL for sparse ones, which are noted as the block's and,
    with `dense`, made so.
    """
    if call.sparse.starts == NULL:
        return call.X + start * core.n_0
    core.sparse = call.sparse
    core.sparse.first = start
    return dense_block(core, n) if dense else NULL


cdef const real *dense_block(Core core, Py_ssize_t n) noexcept nogil:
    """The block's n sparse rows, made dense."""
    scatter_rows(core.gathered_X, core.n_0, &core.sparse, n)
    return core.gathered_X


cdef bint weigh_sparse_rows(Core core, Py_ssize_t n) except -1 nogil:
    """z of the first layer from the block's n sparse rows. False where dense ones might make another -0 of it."""
    cdef Layer *layer = &core.layers[0]
    cdef const real *Wt = core.storage + layer.offset
    cdef Py_ssize_t j, width, step = columns_between_looks(core, layer.width, n * layer.n_in)
    for j from 0 <= j < layer.width by step:
        width = min(step, layer.width - j)
        sparse_weighted_input(layer.z + j, layer.ld, &core.sparse, Wt + j, Wt + layer.n_in * layer.ld + j, n, width)
        look_for_signals(core, width * n * layer.n_in)
    return not has_negative_zero(layer.z, n * layer.ld)


cdef int forward_block(
    Core core,
    const real *X,  # IN  (n, n_0), NULL for the block's sparse rows
    Py_ssize_t n, bint derivative,
) except -1 nogil:
    """z, a (and da_dz) of every layer for the n examples of X (n, n_0). 0, or 1 after `fail`."""
    cdef Py_ssize_t l, i, j, width, step
    cdef const real *a = X
    cdef Py_ssize_t lda = core.n_0
    cdef Layer *layer
    cdef real *Wt
    cdef ElementwiseTask task
    cdef bint finite
    for l in range(core.n_layers):
        layer = &core.layers[l]
        Wt = core.storage + layer.offset
        if a == NULL and not weigh_sparse_rows(core, n):
            a = dense_block(core, n)
        step = columns_between_looks(core, layer.width, n * layer.n_in)
        for j from 0 <= j < (layer.width if a != NULL else 0) by step:
            width = min(step, layer.width - j)
            multiply_rows(layer.z + j, layer.ld, a, lda, Wt + j, layer.ld, Wt + layer.n_in * layer.ld + j, 0,
                          n, width, layer.n_in, core.panels, core.prefetch_block, core.prefetch_block_lines)
            # With the block's first product alone; once asked for, the lines are on their way.
            core.prefetch_block_lines = 0
            look_for_signals(core, width * n * layer.n_in)
        # NaN and infinities in X, in the parameters or from overflow all end in z, and nowhere else unseen.
        if is_elementwise(layer.activation):
            task.activation = layer.activation
            task.a, task.da_dz, task.z = layer.a, layer.da_dz if derivative else NULL, layer.z
            task.count, task.width, task.ld = n * layer.ld, layer.width, layer.ld
            finite = run_elementwise(activate_piece, &task, core.panels.threads)
        else:
            finite = all_finite(layer.z, n * layer.ld)
        if not finite:
            return fail(core, QUANTITY_Z, l + 1)
        if layer.activation == SOFTMAX:
            for i in range(n):
                softmax_row(layer.a + i * layer.ld, layer.log_a + i * layer.ld if derivative else NULL,
                            layer.z + i * layer.ld, layer.n_out, layer.ld)
        elif layer.activation == USER_ACTIVATION:
            apply_user_activation(core, l, n, derivative)
        if layer.can_overflow and not all_finite(layer.a, n * layer.ld):
            return fail(core, QUANTITY_A, l + 1)
        if core.dropping and l < core.n_layers - 1:
            drop_out(layer.a, layer.da_dz, layer.ld, n, layer.n_out, core.dropout_key,
                     core.block_row * core.n_neurons + layer.neurons, core.n_neurons, core.dropout_threshold,
                     core.dropout_scale)
        look_for_signals(core, 1000 + 100 * n * layer.ld)
        a = layer.a
        lda = layer.ld
    return 0


cdef int output_block(
    Core core,
    real *C,        # OUT (n,)
    const real *Y,  # IN  (n, n_L)
    Py_ssize_t n,
) except -1 nogil:
    """C_i, dC/da and delta of the output layer for the n examples of Y (n, n_L). 0, or 1 after `fail`."""
    cdef Py_ssize_t i
    cdef Layer *layer = &core.layers[core.n_layers - 1]
    cdef Py_ssize_t ld = layer.ld
    if core.cost_kind == USER_COST:
        apply_user_cost(core, C, Y, n)
    else:
        for i in range(n):
            C[i] = output_row(core.cost_kind, layer.activation, layer.n_out, ld, layer.delta + i * ld,
                              core.dC_da_output + i * ld, layer.z + i * ld, layer.a + i * ld, layer.da_dz + i * ld,
                              layer.log_a + i * ld, Y + i * layer.n_out, core.output_mask, core.output_scratch,
                              core.missing_targets)
    if not all_finite(layer.delta, n * ld) or not all_finite(C, n):
        return fail(core, QUANTITY_DELTA, core.n_layers)
    return 0


cdef int propagate_product(Core core, Py_ssize_t l, Py_ssize_t n) except -1 nogil:
    """dC/da of layer l (counted from 0) from delta of layer l + 1."""
    cdef Layer *layer = &core.layers[l]
    cdef Layer *above = &core.layers[l + 1]
    cdef const real *Wt = core.storage + above.offset
    cdef Py_ssize_t j, width, step
    step = columns_between_looks(core, layer.width, n * above.n_out)
    for j from 0 <= j < layer.width by step:
        width = min(step, layer.width - j)
        propagate_delta(layer.dC_da + j, layer.ld, above.delta, above.ld, Wt + j * above.ld, above.n_in - j,
                        n, width, above.n_out, core.zeros, core.panels)
        look_for_signals(core, width * n * above.n_out)
    return 0


cdef int finish_delta(Core core, Py_ssize_t l, Py_ssize_t n) noexcept nogil:
    """delta = dC/da . da/dz of layer l. 0, or 1 after `fail`."""
    cdef Layer *layer = &core.layers[l]
    cdef ElementwiseTask task
    task.a, task.da_dz, task.count = layer.delta, layer.da_dz, n * layer.ld
    if not run_elementwise(multiply_piece, &task, core.panels.threads):
        return fail(core, QUANTITY_DELTA, l + 1)
    return 0


cdef int apply_user_activation(Core core, Py_ssize_t l, Py_ssize_t n, bint derivative) except -1 with gil:
    cdef Layer *layer = &core.layers[l]
    z = plain_copy(layer.z, layer.ld, n, layer.n_out)
    a = core.activations[l].checked_value(z)
    copy_rows(layer.a, layer.ld, pointer(a, n * layer.n_out, False), layer.n_out, n, layer.n_out)
    if derivative:
        da_dz = core.activations[l].checked_derivative(z)
        copy_rows(layer.da_dz, layer.ld, pointer(da_dz, n * layer.n_out, False), layer.n_out, n, layer.n_out)
    return 0


cdef int apply_user_cost(
    Core core,
    real *C,        # OUT (n,)
    const real *Y,  # IN  (n, n_L)
    Py_ssize_t n,
) except -1 with gil:
    cdef Layer *layer = &core.layers[core.n_layers - 1]
    cdef Py_ssize_t i, n_out = layer.n_out
    a = plain_copy(layer.a, layer.ld, n, n_out)
    y = plain_copy(Y, n_out, n, n_out)
    value = core.cost_function.checked_value(a, y)
    dC_da = core.cost_function.checked_gradient(a, y)
    memcpy(C, pointer(value, n, False), n * sizeof(real))
    copy_rows(core.dC_da_output, layer.ld, pointer(dC_da, n * n_out, False), n_out, n, n_out)
    if layer.activation == SOFTMAX:
        for i in range(n):
            softmax_delta_row(layer.delta + i * layer.ld, layer.a + i * layer.ld, Y + i * n_out,
                              core.dC_da_output + i * layer.ld, n_out, USER_COST, core.output_scratch, layer.ld)
    else:
        copy_rows(layer.delta, layer.ld, core.dC_da_output, layer.ld, n, n_out)
        multiply_by_derivative(layer.delta, layer.da_dz, n * layer.ld)
    return 0


cdef int deltas_block(
    Core core,
    const real *X, const real *Y,  # IN  (n, n_0), (n, n_L)
    real *C,                       # OUT (n,)
    Py_ssize_t n,
) except -1 nogil:
    """Forward and backward: delta of every layer, down to the lowest that learns."""
    cdef Py_ssize_t l
    if forward_block(core, X, n, True) or output_block(core, C, Y, n):
        return 1
    for l in range(core.n_layers - 2, core.lowest - 1, -1):
        propagate_product(core, l, n)
        if finish_delta(core, l, n):
            return 1
    return 0


cdef int input_gradient_block(
    Core core,
    real *dC_dx,  # OUT (n, n_0)
    Py_ssize_t n,
) noexcept nogil:
    """dC_i/dx (n, n_0). 0, or 1 after `fail`."""
    cdef Layer *layer = &core.layers[0]
    cdef Py_ssize_t i, rows, width = (layer.n_in + LANES - 1) // LANES * LANES
    # So many rows at a time as the caches hold until they are copied and looked at.
    for i from 0 <= i < n by INPUT_GRADIENT_ROWS:
        rows = min(n - i, INPUT_GRADIENT_ROWS)
        propagate_delta(core.dC_dx, core.ld_input, layer.delta + i * layer.ld, layer.ld, core.storage + layer.offset,
                        layer.n_in, rows, width, layer.n_out, core.zeros, core.panels)
        copy_rows(dC_dx + i * layer.n_in, layer.n_in, core.dC_dx, core.ld_input, rows, layer.n_in)
        if not all_finite(dC_dx + i * layer.n_in, rows * layer.n_in):
            return fail(core, QUANTITY_DELTA, 1)
    return 0


cdef const real *a_below(Core core, const real *block_X, Py_ssize_t l, Py_ssize_t i) noexcept nogil:
    """The activations that enter layer l (counted from 0), of example i of the block."""
    if l == 0:
        return block_X + i * core.n_0
    return core.layers[l - 1].a + i * core.layers[l - 1].ld


cdef Py_ssize_t ld_below(Core core, Py_ssize_t l) noexcept nogil:
    """Row length, padded, of the activations that enter layer l (counted from 0)."""
    return core.ld_input if l == 0 else core.layers[l - 1].ld


# ---- calls over all examples -----------------------------------------------------------------------------------------

cdef int forward_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """Weighted inputs and activations of all layers into z and a."""
    cdef Py_ssize_t l
    cdef Layer *layer
    if forward_block(core, block_of(core, call, start, n, False), n, False):
        return 1
    for l in range(core.n_layers):
        layer = &core.layers[l]
        copy_out(call.z[l], layer.z, layer, start, n)
        copy_out(call.a[l], layer.a, layer, start, n)
    look_for_signals(core, 0)
    return 0


cdef int forward_all(Core core, const Call *call) except -1 nogil:
    return do_leaves(core, call, forward_leaf, NULL, 0, call.n, call.rows, NULL)


cdef int cost_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """The costs C_i, and their sum."""
    cdef const double *weights = call.sample_weight
    if (forward_block(core, block_of(core, call, start, n, False), n, True)
            or output_block(core, call.C + start, call.Y + start * core.n_L, n)):
        return 1
    look_for_signals(core, 0)
    if weights != NULL:
        weights += start
    count_cost(core, call.C + start, weights, n)
    return 0


cdef int costs_all(Core core, const Call *call) except -1 nogil:
    return do_leaves(core, call, cost_leaf, NULL, 0, call.n, LEAF, NULL) or not cost_is_finite(core)


cdef int backward_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """All of the chain rule's factors; dC_da has n_layers + 1 entries, its first the input gradient."""
    cdef Py_ssize_t l
    cdef Layer *layer
    if (forward_block(core, block_of(core, call, start, n, False), n, True)
            or output_block(core, call.C + start, call.Y + start * core.n_L, n)):
        return 1
    for l in range(core.n_layers - 1, -1, -1):
        layer = &core.layers[l]
        if l == core.n_layers - 1:
            copy_out(call.dC_da[l + 1], core.dC_da_output, layer, start, n)
        else:
            propagate_product(core, l, n)
            copy_out(call.dC_da[l + 1], layer.dC_da, layer, start, n)
            if finish_delta(core, l, n):
                return 1
        copy_out(call.z[l], layer.z, layer, start, n)
        copy_out(call.a[l], layer.a, layer, start, n)
        copy_out(call.da_dz[l], layer.da_dz, layer, start, n)
        copy_out(call.delta[l], layer.delta, layer, start, n)
    if call.dC_da[0] != NULL and input_gradient_block(core, call.dC_da[0] + start * core.n_0, n):
        return 1
    look_for_signals(core, 0)
    return 0


cdef int backward_all(Core core, const Call *call) except -1 nogil:
    return do_leaves(core, call, backward_leaf, NULL, 0, call.n, call.rows, NULL)
