# Gradients of single examples and of single outputs, over blocks of examples: written out, or their lengths alone.
#
# a) One layer's gradient of one example is the outer product delta a^T. So its length is |delta| sqrt(|a|^2 + 1), the 1
#    for the bias, and it need not be made to be measured (Goodfellow 2015, "Efficient per-example gradient
#    computations"); written out, it costs what its P numbers cost to write.
# b) A row of the Jacobian is such a product, too, with delta_j = da_j/dz at the output in the place of dC/dz: the same
#    backward pass, once for each output, over one forward pass.
#    V^T times the Jacobian is one such pass for all outputs, with V, another program's derivatives by them, in the
#    place of dC/da.
# c) delta of every layer is finite before an outer product is formed, but a_k delta_j may overflow. The largest of each
#    tell: the P numbers of each example would have to be read again, from memory, to be looked at.

from libc.string cimport memset

from cbackprop.kernels.simd cimport GROUP, real, stream_fence


cdef int per_example_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """Every example's own gradient into out (n, P), one row after the other, and the costs."""
    cdef Py_ssize_t i
    cdef const real *block_X = block_of(core, call, start, n, True)
    # A vector runs over the end of a row into the next one, which is then written; the last must not.
    cdef const real *end = call.out + (start + n) * core.n_parameters
    cdef bint stream = past_the_caches(call.n * core.n_parameters, call.new_memory)
    if deltas_block(core, block_X, call.Y + start * core.n_L, call.C + start, n):
        return 1
    # Before anything is written: a call that fails leaves nothing half done of this block.
    if not outer_products_are_finite(core, block_X, n, 1, 0, n):
        return 1
    for i in range(n):
        outer_products(core, call.out + (start + i) * core.n_parameters, end, block_X, i, n, i, stream)
        look_for_signals(core, core.n_parameters)
    return 0


cdef int per_example_gradients(Core core, const Call *call) except -1 nogil:
    return do_leaves(core, call, per_example_leaf, NULL, 0, call.n, call.rows, NULL)


cdef bint outer_products_are_finite(
    Core core,
    const real *block_X, Py_ssize_t n,  # IN  (n, n_0)
    Py_ssize_t n_L, Py_ssize_t first, Py_ssize_t rows,
) noexcept nogil:
    """Whether every a_k delta_j is, for `rows` rows of delta and the n examples of the block; otherwise after
    `fail`. Row r of delta is of example (first + r) / n_L.

    The largest numbers of the block (its padding included) settle it nearly always.
    """
    cdef Py_ssize_t l, r, i
    cdef const real *a
    cdef Layer *layer
    for l in range(core.n_layers):
        layer = &core.layers[l]
        a = a_below(core, block_X, l, 0)
        if product_is_finite(largest(a, n * (layer.n_in if l == 0 else core.layers[l - 1].ld)),
                             largest(layer.delta, rows * layer.ld)):
            continue
        for r in range(rows):
            i = (first + r) // n_L
            if not product_is_finite(largest(a_below(core, block_X, l, i), layer.n_in),
                                     largest(layer.delta + r * layer.ld, layer.n_out)):
                fail(core, QUANTITY_DELTA, l + 1)
                return False
    return True


cdef void outer_products(
    Core core, real *row, const real *end,                          # OUT (P,), in an array that ends at `end`
    const real *block_X, Py_ssize_t i, Py_ssize_t n, Py_ssize_t r,  # IN  example i of n, row r of delta
    bint stream,
) noexcept nogil:
    """All the derivatives with respect to parameters that one row of delta makes."""
    cdef Py_ssize_t l, readable, size = sizeof(real)
    cdef bint stream_layer, streamed = False
    cdef Layer *layer
    for l in range(core.n_layers):
        layer = &core.layers[l]
        # A whole vector may be loaded where n_in is less, as long as it ends within the block.
        readable = (n - i) * layer.n_in if l == 0 else core.layers[l - 1].ld
        stream_layer = stream and layer.n_in >= GROUP and layer.n_in * layer.n_out * size >= STREAM_LAYER_BYTES
        streamed = streamed or stream_layer
        per_example_gradient_row(row, end, a_below(core, block_X, l, i), readable, layer.delta + r * layer.ld,
                                 layer.n_in, layer.n_out, stream_layer)
        row += (layer.n_in + 1) * layer.n_out
    # Stores past the caches keep no order with the others: they must be done before another thread is told to read.
    if streamed:
        stream_fence()


cdef int gradient_norms_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """The Euclidean norm of every example's gradient, which is not made, into out (n,)."""
    cdef Py_ssize_t i, next_start = min(start + core.crew_size * call.rows, call.n)
    cdef real C[BLOCK]
    cdef const real *block_X = block_of(core, call, start, n, True)
    prefetch_next(core, call, next_start, min(call.n - next_start, call.rows))
    if deltas_block(core, block_X, call.Y + start * core.n_L, C, n):
        return 1
    for i in range(n):
        call.out[start + i] = <real> gradient_norm(core, block_X, i)
    if not all_finite(call.out + start, n):
        return fail(core, QUANTITY_NORM, 0)
    look_for_signals(core, 0)
    return 0


cdef int gradient_norms_all(Core core, const Call *call) except -1 nogil:
    return do_leaves(core, call, gradient_norms_leaf, NULL, 0, call.n, call.rows, NULL)


cdef int jacobian_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """da_j/dparameters of every example and output j into out (n, n_L, P).

    Each pair of them is a row of delta that starts as da_j/dz and is propagated as any other; the n_L rows of an
    example share its a and da_dz.
    """
    cdef Py_ssize_t first, rows, r, i, n_L = core.n_L
    cdef const real *block_X = block_of(core, call, start, n, True)
    cdef const real *end = call.out + (start + n) * n_L * core.n_parameters
    cdef bint stream = past_the_caches(call.n * n_L * core.n_parameters, call.new_memory)
    if forward_block(core, block_X, n, True):
        return 1
    for first from 0 <= first < n * n_L by BLOCK:
        rows = min(n * n_L - first, BLOCK)
        if output_deltas(core, first, rows) or not outer_products_are_finite(core, block_X, n, n_L, first, rows):
            # No cost is there: what overflowed is not a delta but a derivative of an output.
            return fail(core, QUANTITY_JACOBIAN, core.failed_layer)
        for r in range(rows):
            i = (first + r) // n_L
            outer_products(core, call.out + (start * n_L + first + r) * core.n_parameters, end, block_X, i, n, r,
                           stream)
            look_for_signals(core, core.n_parameters)
    return 0


cdef int jacobian_all(Core core, const Call *call) except -1 nogil:
    return do_leaves(core, call, jacobian_leaf, NULL, 0, call.n, call.rows, NULL)


cdef int input_jacobian_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """da_j/dx of every example and output j into out (n, n_L, n_0): the same, passed back once more."""
    cdef Py_ssize_t first, rows, n_L = core.n_L
    cdef real *target
    if forward_block(core, block_of(core, call, start, n, False), n, True):
        return 1
    for first from 0 <= first < n * n_L by BLOCK:
        rows = min(n * n_L - first, BLOCK)
        target = call.out + (start * n_L + first) * core.n_0
        if output_deltas(core, first, rows) or input_gradient_block(core, target, rows):
            return fail(core, QUANTITY_JACOBIAN, core.failed_layer)
        look_for_signals(core, rows * core.n_0 * core.layers[0].n_out)
    return 0


cdef int input_jacobian_all(Core core, const Call *call) except -1 nogil:
    return do_leaves(core, call, input_jacobian_leaf, NULL, 0, call.n, call.rows, NULL)


cdef int output_deltas(Core core, Py_ssize_t first, Py_ssize_t rows) except -1 nogil:
    """delta of every layer for `rows` pairs (example i, output j), counted from `first` with j fast: da_j/dz."""
    cdef Layer *layer = &core.layers[core.n_layers - 1]
    cdef Py_ssize_t n_L = layer.n_out, l, r, i, j
    cdef bint finite
    # Zeros for the other outputs, and in the padding, which propagation sums over.
    memset(layer.delta, 0, rows * layer.ld * sizeof(real))
    for r in range(rows):
        i = (first + r) // n_L
        j = (first + r) - i * n_L
        if layer.activation == SOFTMAX:
            softmax_jacobian_row(layer.delta + r * layer.ld, layer.a + i * layer.ld, n_L, j)
        else:
            layer.delta[r * layer.ld + j] = layer.da_dz[i * layer.ld + j]
    if not all_finite(layer.delta, rows * layer.ld):
        return fail(core, QUANTITY_DELTA, core.n_layers)
    for l in range(core.n_layers - 2, -1, -1):
        propagate_product(core, l, rows)
        layer = &core.layers[l]
        # With one output rows of delta and of da_dz match, and a block is one loop.
        if n_L == 1:
            finite = multiply_by_derivative(layer.delta, layer.da_dz + first * layer.ld, rows * layer.ld)
        else:
            finite = True
            for r in range(rows):
                i = (first + r) // n_L
                if not multiply_by_derivative(layer.delta + r * layer.ld, layer.da_dz + i * layer.ld, layer.ld):
                    finite = False
        if not finite:
            return fail(core, QUANTITY_DELTA, l + 1)
    return 0


cdef int vjp_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """sum_ij V_ij da_ij/dparameters, V in the place of the targets, and by the inputs of each example by itself."""
    cdef const real *block_X = block_of(core, call, start, n, False)
    cdef const real *V = call.Y + start * core.n_L
    cdef Layer *layer = &core.layers[core.n_layers - 1]
    cdef Py_ssize_t i, j, l, next_start = min(start + core.crew_size * LEAF, call.n)
    prefetch_next(core, call, next_start, min(call.n - next_start, LEAF))
    if forward_block(core, block_X, n, True):
        return 1
    for i in range(n):
        for j in range(core.n_L):
            add_compensated(&core.cost_total, &core.cost_correction,
                            <double> V[i * core.n_L + j] * <double> layer.a[i * layer.ld + j])
    # Zeros in the padding, which propagation sums over.
    memset(layer.delta, 0, n * layer.ld * sizeof(real))
    copy_rows(layer.delta, layer.ld, V, core.n_L, n, core.n_L)
    if layer.activation == SOFTMAX:
        for i in range(n):
            softmax_product(layer.delta + i * layer.ld, layer.delta + i * layer.ld, layer.a + i * layer.ld,
                            layer.delta + i * layer.ld, core.n_L, core.output_scratch, layer.ld)
    else:
        multiply_by_derivative(layer.delta, layer.da_dz, n * layer.ld)
    if not all_finite(layer.delta, n * layer.ld):
        return fail(core, QUANTITY_JACOBIAN, core.n_layers)
    for l in range(core.n_layers - 2, -1, -1):
        propagate_product(core, l, n)
        if finish_delta(core, l, n):
            return fail(core, QUANTITY_JACOBIAN, core.failed_layer)
    # While the caches have X.
    if sum_block(core, sums, block_X, n):
        return 1
    if input_gradient_block(core, call.by_inputs + start * core.n_0, n):
        return fail(core, QUANTITY_JACOBIAN, 1)
    return 0


cdef int vjp_all(Core core, const Call *call) except -1 nogil:
    cdef real *sums = core.sums
    if call.n == 0:
        fill(core.sums, 0, core.storage_size)
    if do_leaves(core, call, vjp_leaf, join_sums, 0, call.n, LEAF, &sums):
        return 1
    if not all_finite(sums, core.storage_size):
        return fail(core, QUANTITY_JACOBIAN, 0)
    if not cost_is_finite(core):
        return fail(core, QUANTITY_JACOBIAN, 0)
    unpack(core, call.out, sums, 1)
    return 0
