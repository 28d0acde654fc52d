# Products with the curvature: how z, a and delta move when the parameters move along v.
#
# a) R{x} is the derivative of x along v (Pearlmutter 1994, "Fast exact multiplication by the Hessian"):
#        R{z} = W R{a below} + V a below + v_b                    R{a} = sigma' R{z}
#        R{delta} = (W'T R{delta'} + V'T delta') sigma' + dC/da sigma'' R{z}
#        R{dC/dW} = R{delta} a below^T + delta R{a below}^T       primes: of the layer above
# b) The Gauss-Newton matrix leaves out V'T delta', sigma'' and delta R{a below}, and of the cost what is not its
#    curvature by the outputs: by z for cross_entropy, by a for every other cost.
# c) v is laid out as the parameters are, so the three products are the kernel's. Padding of v is 0, hence that of R{z}.
# d) What is said of kinks in curvature.py holds here.
# e) Nothing of R{.} is looked at on its way: a number not finite stays so through sums and products, and the call looks
#    at the sums. z, a and delta are looked at as in every pass, so that a failure is told by its first cause.
# f) Without a cost, R{a} of the outputs is the Jacobian's product with v; there X may move, too, and then the first
#    layer has W R{x} besides.
# g) Gauss-Newton's matrix is positive semidefinite where the cost is convex in what it is curved by: by z for
#    cross_entropy with its own output (Schraudolph 2002, "Fast curvature matrix-vector products").

from libc.string cimport memset

from cbackprop.kernels.simd cimport (
    LANES, real, vec, vec_first, vec_fma, vec_load, vec_load_partial, vec_set1, vec_store, vec_where_gt,
)


cdef void add_second_order(
    real *R_delta,                                                              # IN/OUT (count,)
    const real *dC_da, const real *d2a_dz2, const real *R_z, Py_ssize_t count,  # IN
) noexcept nogil:
    """R{delta} += dC/da sigma'' R{z}."""
    cdef Py_ssize_t i
    for i from 0 <= i < count by LANES:
        vec_store(R_delta + i, vec_fma(vec_load(dC_da + i) * vec_load(d2a_dz2 + i), vec_load(R_z + i),
                                       vec_load(R_delta + i)))


cdef int curvature_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """sum_i R{dC_i/dparameters} along v."""
    cdef real C[BLOCK]
    cdef const real *block_X = block_of(core, call, start, n, True)
    cdef const real *block_Y = call.Y + start * core.n_L
    core.direction = call.packed
    if forward_block(core, block_X, n, True) or output_block(core, C, block_Y, n):
        return 1
    # delta of the layers below is made again beside R{delta}, which wants dC/da before it becomes delta.
    tangent_forward(core, block_X, NULL, n)
    tangent_output(core, block_Y, n, call.gauss_newton)
    if tangent_backward(core, n, call.gauss_newton):
        return 1
    sum_tangent_block(core, sums, block_X, n, call.gauss_newton)
    return 0


cdef int curvature_product_all(Core core, const Call *call) except -1 nogil:
    """The sum over all examples, over n into out (P,)."""
    cdef real *sums
    pack(core, call.packed, call.v)
    if do_leaves(core, call, curvature_leaf, join_sums, 0, call.n, LEAF, &sums):
        return 1
    if not all_finite(sums, core.storage_size):
        return fail(core, QUANTITY_CURVATURE, 0)
    unpack(core, call.out, sums, <real> call.n)
    return 0


cdef int tangent_forward(
    Core core,
    const real *X, const real *dX, Py_ssize_t n,  # IN  (n, n_0), and NULL where the inputs do not move
) except -1 nogil:
    """R{z} of every layer and R{a} of all but the last; without a direction the parameters do not move."""
    cdef Py_ssize_t l, j, width, step, lda, ld_z
    cdef const real *V
    cdef const real *R_a_below = dX
    cdef const real *R_z
    cdef Layer *layer
    cdef Tangent *tangent
    for l in range(core.n_layers):
        layer = &core.layers[l]
        tangent = &core.tangents[l]
        lda = layer.n_in if l == 0 else core.layers[l - 1].ld
        step = columns_between_looks(core, layer.width, 2 * n * layer.n_in)
        for j from 0 <= j < layer.width by step:
            width = min(step, layer.width - j)
            R_z, ld_z = core.zeros, 0
            if core.direction != NULL:
                V = core.direction + layer.offset + j
                multiply_rows(tangent.z + j, layer.ld, a_below(core, X, l, 0), lda, V, layer.ld,
                              V + layer.n_in * layer.ld, 0, n, width, layer.n_in, core.panels, NULL, 0)
                R_z, ld_z = tangent.z + j, layer.ld
            if R_a_below != NULL:
                multiply_rows(tangent.z + j, layer.ld, R_a_below, lda, core.storage + layer.offset + j, layer.ld, R_z,
                              ld_z, n, width, layer.n_in, core.panels, NULL, 0)
            look_for_signals(core, 2 * width * n * layer.n_in)
        R_a_below = tangent.a
        if l < core.n_layers - 1:
            multiply(tangent.a, layer.da_dz, tangent.z, n * layer.ld)
    return 0


cdef int second_derivatives_of_layer(Core core, Py_ssize_t l, Py_ssize_t n) except -1 nogil:
    """sigma'' of layer l into d2a_dz2."""
    cdef Layer *layer = &core.layers[l]
    if layer.activation == USER_ACTIVATION:
        apply_user_second_derivative(core, l, n)
    else:
        second_derivatives(layer.activation, core.d2a_dz2, layer.z, layer.a, layer.da_dz, n * layer.ld)
    return 0


cdef int tangent_output(
    Core core,
    const real *Y, Py_ssize_t n,  # IN  (n, n_L)
    bint gauss_newton,
) except -1 nogil:
    """R{delta} of the output layer."""
    cdef Py_ssize_t l = core.n_layers - 1, i, j
    cdef Layer *layer = &core.layers[l]
    cdef Py_ssize_t n_out = layer.n_out, ld = layer.ld, at
    cdef Tangent *tangent = &core.tangents[l]
    cdef real *scratch = core.tangent_scratch
    cdef real *t = scratch + 4 * ld
    cdef real *R_a = t + n * ld
    cdef real *h = R_a + n * ld
    cdef const real *y
    cdef vec zero = vec_set1(0), y_j, value
    if layer.activation == SOFTMAX:
        for i in range(n):
            softmax_product(t + i * ld, R_a + i * ld, layer.a + i * ld, tangent.z + i * ld, n_out, scratch, ld)
    else:
        # Gauss-Newton has no sigma'', and a user's activation may then have none either.
        if not gauss_newton:
            second_derivatives_of_layer(core, l, n)
        multiply(R_a, layer.da_dz, tangent.z, n * ld)
    if core.cost_kind == USER_COST:
        apply_user_cost_curvature(core, h, R_a, Y, n)
        if layer.activation != SOFTMAX:
            multiply(tangent.delta, h, layer.da_dz, n * ld)
            if not gauss_newton:
                add_second_order(tangent.delta, core.dC_da_output, core.d2a_dz2, tangent.z, n * ld)
            return 0
    for i in range(n):
        y = Y + i * n_out
        if layer.activation == SOFTMAX:
            # A softmax mixes its row, so h = R{dC/da} is needed number by number; a user's cost has given it.
            if core.cost_kind != USER_COST:
                for j in range(n_out):
                    h[i * ld + j] = R_a[i * ld + j] * vec_first(cost_curvature(
                        core.cost_kind, vec_set1(layer.a[i * ld + j]), vec_set1(y[j]), vec_set1(<real> n_out)))
            softmax_curvature_row(tangent.delta + i * ld, layer.a + i * ld, core.dC_da_output + i * ld, y, t + i * ld,
                                  R_a + i * ld, h + i * ld, n_out, core.cost_kind, gauss_newton, scratch, ld)
            continue
        for j from 0 <= j < ld by LANES:
            at = i * ld + j
            y_j = vec_load_partial(y + j, n_out - j) if j < n_out else zero
            value = output_curvature(
                core.cost_kind, layer.activation, vec_load(layer.z + at), vec_load(layer.a + at),
                vec_load(layer.da_dz + at), vec_load(core.dC_da_output + at), y_j, vec_load(core.d2a_dz2 + at),
                vec_set1(<real> n_out), gauss_newton) * vec_load(tangent.z + at)
            # The padding of z has its own sigma and curvature; R{delta} is 0 there, as delta is.
            vec_store(tangent.delta + at, vec_where_gt(vec_load(core.output_mask + j), zero, value, zero))
    return 0


cdef int tangent_backward(Core core, Py_ssize_t n, bint gauss_newton) except -1 nogil:
    """delta and R{delta} of the layers below the output. 0, or 1 after `fail`."""
    cdef Py_ssize_t l, j, width, step
    cdef const real *Wt
    cdef const real *Vt
    cdef Layer *layer
    cdef Layer *above
    cdef Tangent *tangent
    for l in range(core.n_layers - 2, -1, -1):
        layer = &core.layers[l]
        above = &core.layers[l + 1]
        tangent = &core.tangents[l]
        Wt = core.storage + above.offset
        Vt = core.direction + above.offset
        # dC/da, in the place of delta
        propagate_product(core, l, n)
        step = columns_between_looks(core, layer.width, 2 * n * above.n_out)
        for j from 0 <= j < layer.width by step:
            width = min(step, layer.width - j)
            propagate_delta(tangent.delta + j, layer.ld, core.tangents[l + 1].delta, above.ld, Wt + j * above.ld,
                            above.n_in - j, n, width, above.n_out, core.zeros, core.panels)
            # V'T delta' goes on in the chain of the product before, from where it lies.
            if not gauss_newton:
                multiply_transposed(tangent.delta + j, layer.ld, above.delta, above.ld, Vt + j * above.ld, above.ld,
                                    above.n_in - j, tangent.delta + j, layer.ld, n, width, above.n_out, core.panels)
            look_for_signals(core, 2 * width * n * above.n_out)
        multiply(tangent.delta, tangent.delta, layer.da_dz, n * layer.ld)
        if not gauss_newton:
            second_derivatives_of_layer(core, l, n)
            add_second_order(tangent.delta, layer.dC_da, core.d2a_dz2, tangent.z, n * layer.ld)
        if finish_delta(core, l, n):
            return 1
    return 0


cdef int sum_tangent_block(
    Core core,
    real *sums,                   # OUT in the layout of the parameters
    const real *X, Py_ssize_t n,  # IN  (n, n_0)
    bint gauss_newton,
) except -1 nogil:
    """The block's sum_i R{dC_i/dparameters}."""
    cdef Py_ssize_t l, j, width, step, lda
    cdef real *layer_sums
    cdef Layer *layer
    cdef Tangent *tangent
    for l in range(core.n_layers):
        layer = &core.layers[l]
        tangent = &core.tangents[l]
        lda = layer.n_in if l == 0 else core.layers[l - 1].ld
        layer_sums = sums + layer.offset
        step = columns_between_looks(core, layer.width, 2 * n * layer.n_in)
        for j from 0 <= j < layer.width by step:
            width = min(step, layer.width - j)
            accumulate_gradient(layer_sums + j, layer.ld, a_below(core, X, l, 0), lda, tangent.delta + j, layer.ld, n,
                                layer.n_in, width, core.zeros, False, 1, core.panels)
            # delta R{a below}^T: of the input nothing moves.
            if l > 0 and not gauss_newton:
                accumulate_gradient(layer_sums + j, layer.ld, core.tangents[l - 1].a, lda, layer.delta + j, layer.ld, n,
                                    layer.n_in, width, core.zeros, True, 1, core.panels)
            look_for_signals(core, 2 * width * n * layer.n_in)
        accumulate_bias_gradient(layer_sums + layer.n_in * layer.ld, tangent.delta, layer.ld, n, layer.width, False, 1)
    return 0


cdef int apply_user_second_derivative(Core core, Py_ssize_t l, Py_ssize_t n) except -1 with gil:
    cdef Layer *layer = &core.layers[l]
    z = plain_copy(layer.z, layer.ld, n, layer.n_out)
    value = core.activations[l].checked_second_derivative(z)
    memset(core.d2a_dz2, 0, n * layer.ld * sizeof(real))
    copy_rows(core.d2a_dz2, layer.ld, pointer(value, n * layer.n_out, False), layer.n_out, n, layer.n_out)
    return 0


cdef int apply_user_cost_curvature(
    Core core,
    real *h,                         # OUT (n, ld)
    const real *R_a, const real *Y,  # IN  (n, ld), (n, n_L)
    Py_ssize_t n,
) except -1 with gil:
    """R{dC/da} (n, ld), with zeros in the padding."""
    cdef Layer *layer = &core.layers[core.n_layers - 1]
    cdef Py_ssize_t n_out = layer.n_out
    a = plain_copy(layer.a, layer.ld, n, n_out)
    y = plain_copy(Y, n_out, n, n_out)
    v = plain_copy(R_a, layer.ld, n, n_out)
    value = core.cost_function.checked_hessian_vector_product(a, y, v)
    memset(h, 0, n * layer.ld * sizeof(real))
    copy_rows(h, layer.ld, pointer(value, n * n_out, False), n_out, n, n_out)
    return 0


cdef int jvp_leaf(Core core, const Call *call, Py_ssize_t start, Py_ssize_t n, real *sums) except -1 nogil:
    """R{a} of the outputs into out (n, n_L)."""
    cdef Py_ssize_t i, l = core.n_layers - 1
    cdef Layer *layer = &core.layers[l]
    cdef Tangent *tangent = &core.tangents[l]
    cdef const real *block_X = block_of(core, call, start, n, True)
    cdef const real *dX = call.dX
    if dX != NULL:
        dX += start * core.n_0
    core.direction = call.packed
    if forward_block(core, block_X, n, True):
        return 1
    tangent_forward(core, block_X, dX, n)
    if layer.activation == SOFTMAX:
        for i in range(n):
            softmax_product(tangent.a + i * layer.ld, tangent.a + i * layer.ld, layer.a + i * layer.ld,
                            tangent.z + i * layer.ld, core.n_L, core.tangent_scratch, layer.ld)
    else:
        multiply(tangent.a, layer.da_dz, tangent.z, n * layer.ld)
    copy_out(call.out, tangent.a, layer, start, n)
    if not all_finite(call.out + start * core.n_L, n * core.n_L):
        return fail(core, QUANTITY_JACOBIAN, 0)
    return 0


cdef int jvp_all(Core core, const Call *call) except -1 nogil:
    if call.v != NULL:
        pack(core, call.packed, call.v)
    return do_leaves(core, call, jvp_leaf, NULL, 0, call.n, call.rows, NULL)
