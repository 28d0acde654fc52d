# The tiny network: every layer, the input too, lies within one vector. Then a step is bound by the latency of one chain
# of operations, not by their number, and this path leaves out all that is made for many: each layer is one vector in a
# register, W itself is stored besides Wt (`w_rowmajor`) and takes the same updates, and nothing is called but the rarer
# formulas.
#
# Every number is computed by the same operations in the same order as in the general path, so the bits are the same.

from cbackprop.kernels.math cimport (
    exp_reduced, identity, relu, sigmoid_exponent, sigmoid_finish, tanh_exponent, tanh_finish,
)
from cbackprop.kernels.simd cimport (
    LANES, real, vec, vec_all_zero, vec_fma, vec_load, vec_load_partial, vec_set1, vec_spread, vec_store, vec_where_gt,
)


cdef int set_up_tiny(Core core) except -1:
    """Whether the network is tiny, and if so memory for W; in row n_out of each layer, 1 for the columns in use."""
    cdef Py_ssize_t l, k, total = 0
    cdef Layer *layer
    core.is_tiny = core.n_0 <= LANES and core.cost_kind != USER_COST
    for l in range(core.n_layers):
        layer = &core.layers[l]
        if layer.n_out > LANES or not is_elementwise(layer.activation):
            core.is_tiny = False
    if not core.is_tiny:
        return 0
    for l in range(1, core.n_layers):
        core.layers[l].w_rowmajor_offset = total
        total += (core.layers[l].n_out + 1) * LANES
    core.w_rowmajor_array = aligned_zeros(total)
    core.w_rowmajor = data(core.w_rowmajor_array)
    for l in range(1, core.n_layers):
        layer = &core.layers[l]
        for k in range(layer.n_in):
            core.w_rowmajor[layer.w_rowmajor_offset + layer.n_out * LANES + k] = 1
    return 0


cdef inline vec tiny_activation(int activation, vec z, bint few, vec *da_dz) noexcept nogil:
    """few: half of the lanes are all that the layer has neurons in."""
    cdef vec a, n_rounded, r, rest
    cdef real values[3 * 16]
    if activation == SIGMOID:
        exp_reduced(sigmoid_exponent(z), &n_rounded, &r, &rest)
        sigmoid_finish(z, n_rounded, r, rest, few, &a, da_dz)
    elif activation == TANH:
        exp_reduced(tanh_exponent(z), &n_rounded, &r, &rest)
        tanh_finish(z, n_rounded, r, rest, few, &a, da_dz)
    elif activation == RELU:
        relu(z, &a, da_dz)
    elif activation == IDENTITY:
        identity(z, &a, da_dz)
    else:
        vec_store(values, z)
        activate(activation, values + 16, values + 32, values, LANES, LANES, 1)
        a = vec_load(values + 16)
        da_dz[0] = vec_load(values + 32)
    return a


cdef inline vec tiny_deltas(
    Layer *layers, Py_ssize_t n_layers, const real *storage, const real *w_rowmajor, int cost,
    const real *output_mask, real *output_scratch, real *dC_da,  # as output_row's
    real *C, Py_ssize_t i,                                       # OUT C_i; a and delta in row i of each layer
    bint *is_finite,                                             # OUT whether all its numbers are
    const real *x_k, const real *y_j,                            # IN  (n_0,), (n_L,)
) noexcept nogil:
    """Forward and backward of one example. Layer 1's delta once more: who waits for it need not read it again."""
    cdef Py_ssize_t l, j, k, n, ld
    cdef Layer *layer = layers
    cdef const real *W
    cdef vec zero = vec_set1(0), sum = vec_set1(0)
    cdef vec z = zero, delta, above, C_j, dC_da_j, a = zero, da_dz = zero
    cdef real *row
    # Fields are read once: after a store of numbers the compiler would read them again.
    for l in range(n_layers):
        layer = &layers[l]
        n = layer.n_in
        ld = layer.ld
        row = layer.a + i * ld
        W = storage + layer.offset
        z = vec_load(W + n * ld)
        if l == 0:
            for k in range(n):
                z = vec_fma(vec_set1(x_k[k]), vec_load(W + k * ld), z)
        else:
            for k in range(n):
                z = vec_fma(vec_spread(a, k), vec_load(W + k * ld), z)
        sum = vec_fma(z, zero, sum)
        a = tiny_activation(layer.activation, z, 2 * layer.n_out <= LANES, &da_dz)
        sum = vec_fma(a, zero, sum)
        vec_store(row, a)
        vec_store(layer.da_dz + i * ld, da_dz)
    ld = layer.ld
    row = layer.delta + i * ld
    if cost == QUADRATIC:
        cost_formula(QUADRATIC, layer.activation, &C_j, &dC_da_j, &delta, z, a, da_dz,
                     vec_load_partial(y_j, layer.n_out), zero)
        above = vec_load(output_mask)
        delta = vec_where_gt(above, zero, delta, zero)
        vec_store(row, delta)
        # The rest of the group stays 0.
        vec_store(output_scratch, vec_where_gt(above, zero, C_j, zero))
        C[0] = row_sum(output_scratch, ld)
    else:
        vec_store(layer.z + i * ld, z)
        C[0] = output_row(cost, layer.activation, layer.n_out, ld, row, dC_da, layer.z + i * ld,
                          layer.a + i * ld, layer.da_dz + i * ld, layer.log_a + i * ld, y_j, output_mask,
                          output_scratch, False)
        delta = vec_load(row)
    sum = vec_fma(delta, zero, sum)
    sum = vec_fma(vec_set1(C[0]), zero, sum)
    for l in range(n_layers - 1, 0, -1):
        n = layer.n_out
        W = w_rowmajor + layer.w_rowmajor_offset
        above = delta
        delta = zero
        for j in range(n):
            delta = vec_fma(vec_spread(above, j), vec_load(W + j * LANES), delta)
        layer = &layers[l - 1]
        ld = layer.ld
        row = layer.delta + i * ld
        delta = delta * vec_load(layer.da_dz + i * ld)
        sum = vec_fma(delta, zero, sum)
        vec_store(row, delta)
    is_finite[0] = vec_all_zero(sum)
    return delta


cdef inline void tiny_update(
    Layer *layers, Py_ssize_t n_layers, real *storage, real *w_rowmajor,  # IN/OUT
    const real *X, Py_ssize_t n, vec delta_1, real factor,                # IN  (n, n_0); a and delta in n rows
) noexcept nogil:
    """w += factor . sum over the examples, in Wt and in w_rowmajor, as accumulate_gradient has it. delta_1: layer 1's
    of the first example.
    """
    cdef Py_ssize_t l, i, j, k, n_in, n_out, ld, lda = layers[0].n_in
    cdef Layer *layer
    cdef real *Wt
    cdef real *W
    cdef const real *a = X
    cdef const real *delta
    cdef vec f = vec_set1(factor), zero = vec_set1(0), sum, inside, first
    for l in range(n_layers):
        layer = &layers[l]
        n_in = layer.n_in
        n_out = layer.n_out
        ld = layer.ld
        delta = layer.delta
        Wt = storage + layer.offset
        W = w_rowmajor + layer.w_rowmajor_offset
        first = vec_load(delta) if l > 0 else delta_1
        for k in range(n_in):
            sum = vec_fma(vec_set1(a[k]), first, zero)
            for i in range(1, n):
                sum = vec_fma(vec_set1(a[i * lda + k]), vec_load(delta + i * ld), sum)
            vec_store(Wt, vec_fma(f, sum, vec_load(Wt)))
            Wt += ld
        sum = zero + first
        for i in range(1, n):
            sum = sum + vec_load(delta + i * ld)
        vec_store(Wt, vec_fma(f, sum, vec_load(Wt)))
        if l > 0:
            # What a holds after its n_in numbers must not get into W.
            inside = vec_load(W + n_out * LANES)
            first = vec_load(a)
            for j in range(n_out):
                sum = vec_fma(vec_set1(delta[j]), first, zero)
                for i in range(1, n):
                    sum = vec_fma(vec_set1(delta[i * ld + j]), vec_load(a + i * lda), sum)
                sum = vec_fma(f, sum, vec_load(W))
                vec_store(W, vec_where_gt(inside, zero, sum, zero))
                W += LANES
        a = layer.a
        lda = ld


cdef void copy_layers_rowmajor(Core core) noexcept nogil:
    """W (n_out, LANES) from Wt (n_in, ld), zeros after n_in."""
    cdef Py_ssize_t l, j, k
    cdef Layer *layer
    cdef real *w_jk
    cdef const real *w_kj
    for l in range(1, core.n_layers):
        layer = &core.layers[l]
        w_jk = core.w_rowmajor + layer.w_rowmajor_offset
        w_kj = core.storage + layer.offset
        for j in range(layer.n_out):
            for k in range(LANES):
                w_jk[j * LANES + k] = w_kj[k * layer.ld + j] if k < layer.n_in else <real> 0


cdef int take_tiny_step(
    Core core,
    const real *X, const real *Y, Py_ssize_t n,  # IN  (n, n_0), (n, n_L)
    bint passes, bint update,
) except -1 nogil:
    """A step on at most BLOCK examples of a tiny network, whose w_rowmajor is up to date: the passes, the update along
    the deltas that are there, or both. 0, or 1 after `fail`.

    One function, so that the compiler has all of it in one: calls would cost a tenth of a step.
    """
    cdef Py_ssize_t i, n_0 = core.n_0, n_L = core.n_L
    cdef real C[BLOCK]
    cdef bint is_finite
    cdef vec delta, delta_1 = vec_set1(0)
    if passes:
        for i in range(n):
            delta = tiny_deltas(core.layers, core.n_layers, core.storage, core.w_rowmajor, core.cost_kind,
                                core.output_mask, core.output_scratch, core.dC_da_output, &C[i], i, &is_finite,
                                X + i * n_0, Y + i * n_L)
            if i == 0:
                delta_1 = delta
            if not is_finite:
                # The general path meets the same number and says which it is.
                if deltas_block(core, X, Y, C, n):
                    return 1
                return fail(core, QUANTITY_DELTA, core.n_layers)
        count_cost(core, C, NULL, n)
    else:
        delta_1 = vec_load(core.layers[0].delta)
    if update:
        begin_product_update(core, n)
        tiny_update(core.layers, core.n_layers, core.storage, core.w_rowmajor, X, n, delta_1,
                    core.update_rule.step_size)
    return 0
