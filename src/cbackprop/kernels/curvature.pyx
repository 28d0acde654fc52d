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

from cbackprop.kernels.math cimport (
    elu_second, gelu_second, log1p_minus, sigmoid_second, silu_second, softplus_second, softsign_second, tanh_second,
)
from cbackprop.kernels.simd cimport vec_min

# R{.} of one layer over a block.
cdef struct Moved:
    real *z
    real *a
    real *delta


cdef void second_derivatives(
    int activation,
    real *d2a_dz2,                                                              # OUT (count,)
    const real *z, const real *a, const real *da_dz, Py_ssize_t count,          # IN  (count,), a multiple of LANES
) noexcept nogil:
    """sigma''(z) of an elementwise activation."""
    cdef Py_ssize_t i = 0
    cdef vec value
    while i < count:
        if activation == SIGMOID:
            value = sigmoid_second(vec_load(z + i), vec_load(da_dz + i))
        elif activation == TANH:
            value = tanh_second(vec_load(a + i), vec_load(da_dz + i))
        elif activation == ELU or activation == SELU:
            value = elu_second(vec_load(z + i), vec_load(da_dz + i))
        elif activation == GELU:
            value = gelu_second(vec_load(z + i))
        elif activation == SILU:
            value = silu_second(vec_load(z + i))
        elif activation == SOFTPLUS:
            value = softplus_second(vec_load(z + i))
        elif activation == SOFTSIGN:
            value = softsign_second(vec_load(z + i), vec_load(da_dz + i))
        elif activation == EXPONENTIAL:
            value = vec_load(a + i)
        else:
            value = vec_set1(0)         # relu, leaky_relu, identity
        vec_store(d2a_dz2 + i, value)
        i += LANES


cdef void multiply(real *product, const real *x, const real *y, Py_ssize_t count) noexcept nogil:
    """product = x y, number by number; count is a multiple of LANES."""
    cdef Py_ssize_t i = 0
    while i < count:
        vec_store(product + i, vec_load(x + i) * vec_load(y + i))
        i += LANES


cdef void add_bend(
    real *R_delta,                                                                    # IN/OUT (count,)
    const real *dC_da, const real *d2a_dz2, const real *R_z, Py_ssize_t count,        # IN
) noexcept nogil:
    """R{delta} += dC/da sigma'' R{z}."""
    cdef Py_ssize_t i = 0
    while i < count:
        vec_store(R_delta + i, vec_fma(vec_load(dC_da + i) * vec_load(d2a_dz2 + i), vec_load(R_z + i),
                                       vec_load(R_delta + i)))
        i += LANES


cdef inline vec cost_curvature(int cost, vec a, vec y, vec n_out) noexcept nogil:
    """d2C/da_j^2 of the costs that have no special form."""
    cdef vec one = vec_set1(1), zero = vec_set1(0)
    if cost == QUADRATIC:
        return one + one
    elif cost == HALF_QUADRATIC:
        return one
    elif cost == MSE:
        return (one + one) / n_out
    elif cost == HUBER:
        return vec_where_ge(one, vec_abs(a - y), one, zero) / n_out
    else:
        return zero         # mae


cdef inline vec output_curvature(
    int cost, int activation, vec z, vec a, vec da_dz, vec dC_da, vec y, vec d2a_dz2, vec n_out, bint gauss_newton,
) noexcept nogil:
    """d2C/dz_j^2 of an elementwise output, or the part of it that Gauss-Newton keeps."""
    cdef vec one = vec_set1(1), zero = vec_set1(0)
    cdef vec share, slope, s, b, sigma_prime, result
    if cost == CROSS_ENTROPY:
        # delta = sigma(z) - y
        return da_dz
    elif cost == POISSON:
        # C = a - y ln a: dC/dz = da_dz - y share with share = da_dz / a, and a^2 d2C/da^2 = y.
        sigmoid_pair(z, &s, &b, &sigma_prime)
        if activation == EXPONENTIAL:
            share = one
            slope = zero
        elif activation == SIGMOID:
            share = b
            slope = -sigma_prime
        else:
            # softplus: share' = share (1 - sigma - share), which cancels for z < 0; share is 1 where a underflows.
            share = vec_where_gt(a, zero, da_dz / a, one)
            slope = share * vec_where_ge(z, zero, b - share, b * log1p_minus(vec_exp(vec_min(z, zero))))
        result = y * share * share if gauss_newton else d2a_dz2 - y * slope
        return result / n_out
    result = cost_curvature(cost, a, y, n_out) * da_dz * da_dz
    return result if gauss_newton else vec_fma(dC_da, d2a_dz2, result)


cdef inline void centred(
    real *rest,                                             # OUT (n_out,)
    const real *a, const real *g, Py_ssize_t n_out,         # IN
    real *scratch, Py_ssize_t ld,                           # (3, ld)
) noexcept nogil:
    """g_j - sum_i a_i g_i for a softmax's a, with 1 - a_j as the sum of the others; rest may be g."""
    cdef Py_ssize_t j
    cdef real *others_a = scratch
    cdef real *others = scratch + ld
    cdef real *a_g = scratch + 2 * ld
    sums_of_others(others_a, a, n_out)
    for j in range(n_out):
        a_g[j] = a[j] * g[j]
    sums_of_others(others, a_g, n_out)
    for j in range(n_out):
        rest[j] = g[j] * others_a[j] - others[j]


cdef void softmax_moves(
    real *t, real *R_a,                                                          # OUT (n_out,)
    const real *a, const real *R_z, Py_ssize_t n_out, real *scratch, Py_ssize_t ld,  # IN, (3, ld)
) noexcept nogil:
    """t = R{z} - sum a R{z} and R{a} = a t."""
    cdef Py_ssize_t j
    centred(t, a, R_z, n_out, scratch, ld)
    for j in range(n_out):
        R_a[j] = a[j] * t[j]


cdef void softmax_curvature_row(
    real *R_delta,                                                                # OUT (n_out,)
    const real *a, const real *dC_da, const real *y, const real *t, const real *R_a,  # IN (n_out,)
    real *h,                                                                      # IN R{dC/da}; overwritten
    Py_ssize_t n_out, int cost, bint gauss_newton,
    real *scratch, Py_ssize_t ld,                                                 # (4, ld)
) noexcept nogil:
    """R{delta} of a softmax output: a (h - sum a h) with h = R{dC/da} + t (dC/da - sum a dC/da), the latter left out
    by Gauss-Newton; cross_entropy, whose delta is a sum y - y, has R{a} sum y. h is read for the other costs only.
    """
    cdef Py_ssize_t j
    cdef real total = 0
    cdef real *u = scratch + 3 * ld
    if cost == CROSS_ENTROPY or (cost == POISSON and not gauss_newton):
        for j in range(n_out):
            total = total + y[j]
        for j in range(n_out):
            R_delta[j] = R_a[j] * total
            if cost == POISSON:
                R_delta[j] = R_delta[j] / <real> n_out
        return
    if cost == POISSON:
        # a R{dC/da} = y t / n_L
        sums_of_others(scratch, a, n_out)
        for j in range(n_out):
            u[j] = y[j] * t[j]
        sums_of_others(scratch + ld, u, n_out)
        for j in range(n_out):
            R_delta[j] = (u[j] * scratch[j] - a[j] * scratch[ld + j]) / <real> n_out
        return
    if not gauss_newton:
        centred(u, a, dC_da, n_out, scratch, ld)
        for j in range(n_out):
            h[j] = h[j] + t[j] * u[j]
    centred(R_delta, a, h, n_out, scratch, ld)
    for j in range(n_out):
        R_delta[j] = a[j] * R_delta[j]


cdef class Curvature(Pairs):
    """Products of the Hessian and of the Gauss-Newton matrix with a vector."""

    cdef object moved_memory, direction_array
    cdef Moved *moved               # of each layer
    cdef const real *direction      # v in the layout of the parameters
    cdef real *d2a_dz2              # (BLOCK at most, ld of the widest layer)
    cdef real *output_moves         # (4, ld) for a softmax row, (BLOCK at most, ld) three times: t, R{a}, R{dC/da}
    cdef Py_ssize_t moved_capacity

    cdef int reserve_curvature(self, Py_ssize_t n) except -1:
        """The scratch of a block of n examples, BLOCK at most, beside that of `reserve`."""
        cdef Py_ssize_t rows = min(n, BLOCK), l, total = 0, ld_max = 0
        cdef Py_ssize_t ld = self.layers[self.n_layers - 1].ld
        cdef real *p
        if rows <= self.moved_capacity:
            return 0
        for l in range(self.n_layers):
            total += 3 * rows * self.layers[l].ld
            ld_max = max(ld_max, self.layers[l].ld)
        array = aligned_zeros(total + rows * ld_max + (4 + 3 * rows) * ld)
        memory = np.zeros(self.n_layers * sizeof(Moved), dtype=np.uint8)
        self.moved_array = array
        self.moved_memory = memory
        self.moved = <Moved *> cnp.PyArray_DATA(<cnp.ndarray> memory)
        p = data(array)
        for l in range(self.n_layers):
            self.moved[l].z = p
            self.moved[l].a = p + rows * self.layers[l].ld
            self.moved[l].delta = p + 2 * rows * self.layers[l].ld
            p += 3 * rows * self.layers[l].ld
        self.d2a_dz2 = p
        self.output_moves = p + rows * ld_max
        self.moved_capacity = rows
        return 0

    cdef int curvature_sums(
        self, const real *X, const real *Y, Py_ssize_t n, bint gauss_newton, real **sums,
    ) except -1 nogil:
        """sum_i R{dC_i/dparameters} along `direction`, in the tree of the gradient's sums. 0, or 1 after `fail`."""
        cdef Py_ssize_t start = 0, m, blocks = 0
        cdef real C[BLOCK]
        cdef const real *block_X
        cdef const real *block_Y
        while start < n:
            m = min(n - start, BLOCK)
            block_X = X + start * self.layers[0].n_in
            block_Y = Y + start * self.layers[self.n_layers - 1].n_out
            if self.forward_block(block_X, m, True) or self.output_block(C, block_Y, m):
                return 1
            self.move_forward(block_X, m)
            self.move_output(block_Y, m, gauss_newton)
            if self.move_backward(m, gauss_newton):
                return 1
            self.begin_block(blocks)
            self.sum_moved_block(block_X, m, gauss_newton, blocks % GROUP_BLOCKS == 0)
            blocks += 1
            start += m
        sums[0] = self.folded(blocks)
        return 0

    cdef int move_forward(self, const real *X, Py_ssize_t n) except -1 nogil:
        """R{z} of every layer and R{a} of all but the last."""
        cdef Py_ssize_t l, j, width
        cdef const real *V
        cdef Layer *layer
        cdef Moved *moved
        for l in range(self.n_layers):
            layer = &self.layers[l]
            moved = &self.moved[l]
            V = self.direction + layer.offset
            j = 0
            while j < layer.width:
                width = self.columns_between_looks(layer.width - j, 2 * n * layer.n_in)
                multiply_rows(moved.z + j, layer.ld, self.a_below(X, l, 0),
                              layer.n_in if l == 0 else self.layers[l - 1].ld, V + j, layer.ld,
                              V + layer.n_in * layer.ld + j, 0, n, width, layer.n_in, self.panels, NULL, 0)
                if l > 0:
                    multiply_rows(moved.z + j, layer.ld, self.moved[l - 1].a, self.layers[l - 1].ld,
                                  self.storage + layer.offset + j, layer.ld, moved.z + j, layer.ld, n, width,
                                  layer.n_in, self.panels, NULL, 0)
                self.look_for_signals(2 * width * n * layer.n_in)
                j += width
            if l < self.n_layers - 1:
                multiply(moved.a, layer.da_dz, moved.z, n * layer.ld)
        return 0

    cdef int bend(self, Py_ssize_t l, Py_ssize_t n) except -1 nogil:
        """sigma'' of layer l into d2a_dz2."""
        cdef Layer *layer = &self.layers[l]
        if layer.activation == USER_ACTIVATION:
            self.apply_user_second_derivative(l, n)
        else:
            second_derivatives(layer.activation, self.d2a_dz2, layer.z, layer.a, layer.da_dz, n * layer.ld)
        return 0

    cdef int move_output(self, const real *Y, Py_ssize_t n, bint gauss_newton) except -1 nogil:
        """R{delta} of the output layer."""
        cdef Py_ssize_t l = self.n_layers - 1, i, j
        cdef Layer *layer = &self.layers[l]
        cdef Py_ssize_t n_out = layer.n_out, ld = layer.ld, at
        cdef Moved *moved = &self.moved[l]
        cdef real *scratch = self.output_moves
        cdef real *t = scratch + 4 * ld
        cdef real *R_a = t + n * ld
        cdef real *h = R_a + n * ld
        cdef const real *y
        cdef vec zero = vec_set1(0), y_j, value
        if layer.activation == SOFTMAX:
            for i in range(n):
                softmax_moves(t + i * ld, R_a + i * ld, layer.a + i * ld, moved.z + i * ld, n_out, scratch, ld)
        else:
            if not gauss_newton:
                self.bend(l, n)
            multiply(R_a, layer.da_dz, moved.z, n * ld)
        if self.cost_kind == USER_COST:
            self.apply_user_cost_curvature(h, R_a, Y, n)
            if layer.activation != SOFTMAX:
                multiply(moved.delta, h, layer.da_dz, n * ld)
                if not gauss_newton:
                    add_bend(moved.delta, self.dC_da_output, self.d2a_dz2, moved.z, n * ld)
                return 0
        for i in range(n):
            y = Y + i * n_out
            if layer.activation == SOFTMAX:
                if self.cost_kind != USER_COST:
                    for j in range(n_out):
                        h[i * ld + j] = R_a[i * ld + j] * vec_first(cost_curvature(
                            self.cost_kind, vec_set1(layer.a[i * ld + j]), vec_set1(y[j]), vec_set1(<real> n_out)))
                softmax_curvature_row(moved.delta + i * ld, layer.a + i * ld, self.dC_da_output + i * ld, y, t + i * ld,
                                      R_a + i * ld, h + i * ld, n_out, self.cost_kind, gauss_newton, scratch, ld)
                continue
            j = 0
            while j < ld:
                at = i * ld + j
                y_j = vec_load_partial(y + j, n_out - j) if j < n_out else zero
                value = output_curvature(
                    self.cost_kind, layer.activation, vec_load(layer.z + at), vec_load(layer.a + at),
                    vec_load(layer.da_dz + at), vec_load(self.dC_da_output + at), y_j, vec_load(self.d2a_dz2 + at),
                    vec_set1(<real> n_out), gauss_newton) * vec_load(moved.z + at)
                vec_store(moved.delta + at, vec_where_gt(vec_load(self.output_mask + j), zero, value, zero))
                j += LANES
        return 0

    cdef int move_backward(self, Py_ssize_t n, bint gauss_newton) except -1 nogil:
        """delta and R{delta} of the layers below the output. 0, or 1 after `fail`."""
        cdef Py_ssize_t l = self.n_layers - 2, j, width
        cdef const real *Wt
        cdef const real *Vt
        cdef Layer *layer
        cdef Layer *above
        cdef Moved *moved
        while l >= 0:
            layer = &self.layers[l]
            above = &self.layers[l + 1]
            moved = &self.moved[l]
            Wt = self.storage + above.offset
            Vt = self.direction + above.offset
            # dC/da, in the place of delta
            self.propagate_product(l, n)
            j = 0
            while j < layer.width:
                width = self.columns_between_looks(layer.width - j, 2 * n * above.n_out)
                propagate_delta(moved.delta + j, layer.ld, self.moved[l + 1].delta, above.ld, Wt + j * above.ld,
                                above.n_in - j, n, width, above.n_out, self.zeros, self.panels)
                if not gauss_newton:
                    multiply_transposed(moved.delta + j, layer.ld, above.delta, above.ld, Vt + j * above.ld, above.ld,
                                        above.n_in - j, moved.delta + j, layer.ld, n, width, above.n_out, self.panels)
                self.look_for_signals(2 * width * n * above.n_out)
                j += width
            multiply(moved.delta, moved.delta, layer.da_dz, n * layer.ld)
            if not gauss_newton:
                self.bend(l, n)
                add_bend(moved.delta, layer.delta, self.d2a_dz2, moved.z, n * layer.ld)
            if self.finish_delta(l, n):
                return 1
            l -= 1
        return 0

    cdef int sum_moved_block(self, const real *X, Py_ssize_t n, bint gauss_newton, bint first) except -1 nogil:
        """Add (or, for the first block, store) the block's sum_i R{dC_i/dparameters}."""
        cdef Py_ssize_t l, j, width, lda
        cdef real *sums
        cdef Layer *layer
        cdef Moved *moved
        for l in range(self.n_layers):
            layer = &self.layers[l]
            moved = &self.moved[l]
            lda = layer.n_in if l == 0 else self.layers[l - 1].ld
            sums = self.sums + layer.offset
            j = 0
            while j < layer.width:
                width = self.columns_between_looks(layer.width - j, 2 * n * layer.n_in)
                accumulate_gradient(sums + j, layer.ld, self.a_below(X, l, 0), lda, moved.delta + j, layer.ld, n,
                                    layer.n_in, width, self.zeros, not first, 1, self.panels)
                if l > 0 and not gauss_newton:
                    accumulate_gradient(sums + j, layer.ld, self.moved[l - 1].a, lda, layer.delta + j, layer.ld, n,
                                        layer.n_in, width, self.zeros, True, 1, self.panels)
                self.look_for_signals(2 * width * n * layer.n_in)
                j += width
            accumulate_bias_gradient(sums + layer.n_in * layer.ld, moved.delta, layer.ld, n, layer.width, not first, 1)
        return 0

    cdef int apply_user_second_derivative(self, Py_ssize_t l, Py_ssize_t n) except -1 with gil:
        cdef Layer *layer = &self.layers[l]
        z = np.empty((n, layer.n_out), dtype)
        copy_rows(data(z), layer.n_out, layer.z, layer.ld, n, layer.n_out)
        z.flags.writeable = False
        value = self.activations[l].checked_second_derivative(z)
        memset(self.d2a_dz2, 0, n * layer.ld * sizeof(real))
        copy_rows(self.d2a_dz2, layer.ld, pointer(value, n * layer.n_out, False), layer.n_out, n, layer.n_out)
        return 0

    cdef int apply_user_cost_curvature(self, real *h, const real *R_a, const real *Y, Py_ssize_t n) except -1 with gil:
        """R{dC/da} (n, ld), with zeros in the padding."""
        cdef Layer *layer = &self.layers[self.n_layers - 1]
        cdef Py_ssize_t n_out = layer.n_out
        a = np.empty((n, n_out), dtype)
        y = np.empty((n, n_out), dtype)
        v = np.empty((n, n_out), dtype)
        copy_rows(data(a), n_out, layer.a, layer.ld, n, n_out)
        copy_rows(data(y), n_out, Y, n_out, n, n_out)
        copy_rows(data(v), n_out, R_a, layer.ld, n, n_out)
        a.flags.writeable = False
        y.flags.writeable = False
        v.flags.writeable = False
        value = self.user_cost.checked_hessian_vector_product(a, y, v)
        memset(h, 0, n * layer.ld * sizeof(real))
        copy_rows(h, layer.ld, pointer(value, n * n_out, False), n_out, n, n_out)
        return 0
