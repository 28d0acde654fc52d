# The compiled engine's calls: arrays in, arrays filled. The interface is that of reference.Engine.
#
# a) Arguments are validated before they come here (validation.py); `pointer` checks what memory safety needs.
# b) Pointers are taken before `enter`, so that a refused array leaves the network free; everything between `enter` and
#    `leave` is the call's own, and what it found is read before `leave`: then another thread may have the network.
# c) Work above about 2 microseconds runs without the GIL: giving it up and taking it again costs some 25 nanoseconds.
# d) The quick ways, predict and step, are for calls of some microseconds, where validation in Python would cost more
#    than the work. They judge plain arrays by themselves and leave everything else, and every message, to the long way.
# e) New memory is allocated before `enter` or before the first number changes: MemoryError leaves all as it was.

cimport numpy as cnp
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from cbackprop.kernels.lock cimport give_back, is_fit, is_free, is_own, set_fit, take, this_thread
from cbackprop.kernels.simd cimport LANES, real

import numpy as np


def activation_values(str name, z, a, da_dz, /):
    """a = sigma(z) and da_dz = sigma'(z) of one named elementwise activation, (n,) arrays; n a multiple of `lanes`."""
    cdef Py_ssize_t n = z.size
    if n % LANES:
        raise ValueError(f"z has {n} numbers; expected a multiple of {LANES}")
    if name == "softmax":
        raise ValueError("name is 'softmax'; expected an elementwise activation")
    activate(ACTIVATIONS[name], pointer(a, n, True), pointer(da_dz, n, True), pointer(z, n, False), n)


def shuffle(cnp.ndarray order, cnp.ndarray words, /):
    """Fisher and Yates: for i = n-1 ... 1 swap i with j = floor((i + 1) u), u a 32-bit uniform from words[i].

    order is int64 (n,), n < 2^32; words uint64 (n,).
    """
    cdef Py_ssize_t i, j
    cdef int64_t *p
    cdef const uint64_t *w
    if (cnp.PyArray_TYPE(order) != cnp.NPY_INT64 or cnp.PyArray_TYPE(words) != cnp.NPY_UINT64
            or not cnp.PyArray_ISCARRAY(order) or not cnp.PyArray_ISCARRAY_RO(words)
            or cnp.PyArray_SIZE(order) != cnp.PyArray_SIZE(words)):
        raise TypeError("order and words must be contiguous int64 and uint64 arrays of one length")
    p = <int64_t *> cnp.PyArray_DATA(order)
    w = <const uint64_t *> cnp.PyArray_DATA(words)
    i = cnp.PyArray_SIZE(order) - 1
    while i > 0:
        j = <Py_ssize_t> (((w[i] >> 32) * <uint64_t> (i + 1)) >> 32)
        p[i], p[j] = p[j], p[i]
        i -= 1


cdef fill_gradient(Core core, X, Y, sample_weight, double total_weight, double max_norm, out):
    """The same; with max_norm > 0 every dC_i is first shortened to that length at most."""
    cdef Py_ssize_t n = X.shape[0]
    cdef real *x = pointer(X, n * core.layers[0].n_in, False)
    cdef real *y = pointer(Y, n * core.layers[core.n_layers - 1].n_out, False)
    cdef real *weight = NULL if sample_weight is None else pointer(sample_weight, n, False)
    cdef real *vector = pointer(out, core.n_parameters, True)
    cdef real *sums
    cdef double total
    cdef int failed
    enter(core)
    try:
        reserve(core, n)
        reserve_sums(core, n)
        with nogil:
            failed = gradient_sums(core, x, y, weight, max_norm, NULL, 0, n, &sums)
            if not failed and not all_finite(sums, core.storage_size):
                failed = fail(core, QUANTITY_DELTA, core.n_layers)
            if not failed and not cost_is_finite(core):
                failed = 1
            if not failed:
                unpack(core, vector, sums, <real> total_weight)
            total = core.cost_total + core.cost_correction
    finally:
        leave(core)
    return not failed, total


cdef class Engine(Core):
    """Parameters and calls of one network.

    Every call returns True, or False when a number was not finite: `failure` then says which quantity of which layer.
    """

    # ---- state ------------------------------------------------------------------------------------------------------

    def parameter_arrays(self):
        """W views (n_out, n_in), b views (n_out,) and the whole block: all live, all onto the same memory."""
        return *self.layer_views(self.storage_array), self.storage_array

    def layer_views(self, cnp.ndarray block, /):
        """W views (n_out, n_in) and b views (n_out,) onto a block in the layout of the parameters, as a slot is."""
        cdef Py_ssize_t l
        cdef Layer *layer
        weights, biases = [], []
        for l in range(self.n_layers):
            layer = &self.layers[l]
            Wt = block[layer.offset:layer.offset + (layer.n_in + 1) * layer.ld].reshape(layer.n_in + 1, layer.ld)
            weights.append(Wt[:layer.n_in, :layer.n_out].T)
            biases.append(Wt[layer.n_in, :layer.n_out])
        return tuple(weights), tuple(biases)

    @property
    def cost_function(self):
        """The cost's name, or the user's own Cost."""
        return self.cost_or_name

    @property
    def slots(self):
        """The optimiser's state arrays, in the layout of the parameter block."""
        return tuple(self.slot_arrays)

    @property
    def rule(self):
        """The update_rules.UpdateRule in use, or None."""
        return self.rule_object

    def set_optimizer(self, rule, /):
        """Choose the update rule, an update_rules.UpdateRule or None, and start its state afresh."""
        cdef Py_ssize_t i
        cdef UpdateRule chosen
        memset(&chosen, 0, sizeof(UpdateRule))
        read_rule(&chosen, rule)
        slots = []
        for _ in () if rule is None else rule.slots:
            slots.append(aligned_zeros(self.storage_size))
        # A step under way uses the slots that are freed here.
        enter(self)
        chosen.learning_rate = self.update_rule.learning_rate
        self.update_rule = chosen
        self.rule_object = rule
        self.slot_arrays = slots
        self.n_slots = len(slots)
        for i in range(MOST_SLOTS):
            self.slot_data[i] = data(slots[i]) if i < self.n_slots else NULL
        leave(self)

    @property
    def learning_rate(self):
        """The factor of every step, until another is set."""
        return self.update_rule.learning_rate

    @learning_rate.setter
    def learning_rate(self, double learning_rate):
        self.update_rule.learning_rate = learning_rate

    @property
    def step_count(self):
        """Steps taken since set_optimizer."""
        return self.update_rule.step_count

    @step_count.setter
    def step_count(self, int64_t step_count):
        self.update_rule.step_count = step_count

    @property
    def previous_cost(self):
        """The cost that the last step's batch had, for a rule that looks at it; infinite before the first."""
        return self.update_rule.previous_cost

    @previous_cost.setter
    def previous_cost(self, double previous_cost):
        self.update_rule.previous_cost = previous_cost

    @property
    def failure(self):
        """What the last call that returned False met: one of QUANTITIES, and the layer from 1 (0 where none has it).

        RuntimeError if that was another thread's call.
        """
        cdef int quantity
        cdef Py_ssize_t layer
        cdef bint was_this_thread
        enter(self)
        quantity, layer = self.failed_quantity, self.failed_layer
        was_this_thread = self.failed_by == this_thread()
        leave(self)
        if not was_this_thread:
            raise RuntimeError("this network was used by two threads at the same time: what one of them met that was "
                               "not finite can no longer be told; use copy() to work on it at the same time")
        return QUANTITIES[quantity], layer

    # ---- the calls from Python: arrays in, arrays filled ------------------------------------------------------------

    def forward(self, X, list z, list a, /):
        """Fill z[l] and a[l] (n, n_l), l = 1 ... L; a None is left out, as predict leaves out all but the last a."""
        cdef Py_ssize_t n = X.shape[0], l
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef int failed
        cdef real **z_pointers
        cdef real **a_pointers
        for l in range(self.n_layers):
            for array in (z[l], a[l]):
                if array is not None:
                    pointer(array, n * self.layers[l].n_out, True)
        # The tables are Python objects: they must outlive the work without the GIL.
        z_table = pointer_table(z)
        a_table = pointer_table(a)
        z_pointers = <real **> cnp.PyArray_DATA(<cnp.ndarray> z_table)
        a_pointers = <real **> cnp.PyArray_DATA(<cnp.ndarray> a_table)
        enter(self)
        try:
            reserve(self, n)
            if n * self.n_parameters > RELEASE_GIL_WORK:
                with nogil:
                    failed = forward_all(self, x, n, z_pointers, a_pointers, NULL, NULL)
            else:
                failed = forward_all(self, x, n, z_pointers, a_pointers, NULL, NULL)
        finally:
            leave(self)
        return not failed

    def predict(self, X, out, /):
        """The outputs of plain arrays, (n_0,) or at most BLOCK rows of them, in `out` where it is given; the quick way.

        Returns None, with nothing changed, for whatever needs validation, conversion or a message first.
        """
        cdef Py_ssize_t n = 1, n_0 = self.layers[0].n_in
        cdef Layer *layer = &self.layers[self.n_layers - 1]
        cdef cnp.npy_intp shape[2]
        cdef int failed, axis = 0
        cdef real *x
        cdef real *a
        if not is_plain(X) or cnp.PyArray_NDIM(X) < 1 or cnp.PyArray_NDIM(X) > 2:
            return None
        if cnp.PyArray_NDIM(X) == 2:
            n = cnp.PyArray_DIM(X, 0)
            axis = 1
            if n < 1 or n > BLOCK:
                return None
        if cnp.PyArray_DIM(X, axis) != n_0:
            return None
        shape[0] = n
        shape[axis] = layer.n_out
        if out is None:
            result = cnp.PyArray_SimpleNew(axis + 1, shape, REAL_TYPE)
        else:
            if (not is_plain(out) or not cnp.PyArray_ISWRITEABLE(out) or cnp.PyArray_NDIM(out) != axis + 1
                    or cnp.PyArray_DIM(out, axis) != layer.n_out or cnp.PyArray_DIM(out, 0) != shape[0]):
                return None
            result = out
        x = data(X)
        a = data(result)
        if overlap(a, n * layer.n_out, x, n * n_0) or overlap(a, n * layer.n_out, self.storage, self.storage_size):
            return None
        enter(self)
        try:
            reserve(self, n)
            # Without da/dz, which nobody asks for.
            if n * self.n_parameters > RELEASE_GIL_WORK:
                with nogil:
                    failed = forward_block(self, x, n, False)
            else:
                failed = forward_block(self, x, n, False)
            if failed:
                return None
            copy_out(a, layer.a, layer, 0, n)
        finally:
            leave(self)
        return result

    def backward(self, X, Y, list z, list a, list da_dz, list delta, list dC_da, cost, /):
        """Fill every factor: z, a, da_dz, delta of the layers 1 ... L, dC_da of 0 ... L, and the costs (n,).

        A None is left out; for softmax da_dz is not a vector and must be None.
        """
        cdef Py_ssize_t n = X.shape[0], l
        cdef Layer *layer = &self.layers[self.n_layers - 1]
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef real *y = pointer(Y, n * layer.n_out, False)
        cdef real *C = pointer(cost, n, True)
        cdef int failed
        if dC_da[0] is not None:
            pointer(dC_da[0], n * self.layers[0].n_in, True)
        for l in range(self.n_layers):
            for array in (z[l], a[l], da_dz[l], delta[l], dC_da[l + 1]):
                if array is not None:
                    pointer(array, n * self.layers[l].n_out, True)
        tables = []
        for arrays in (z, a, da_dz, delta, dC_da):
            tables.append(pointer_table(arrays))
        cdef real **z_pointers = <real **> cnp.PyArray_DATA(<cnp.ndarray> tables[0])
        cdef real **a_pointers = <real **> cnp.PyArray_DATA(<cnp.ndarray> tables[1])
        cdef real **da_dz_pointers = <real **> cnp.PyArray_DATA(<cnp.ndarray> tables[2])
        cdef real **delta_pointers = <real **> cnp.PyArray_DATA(<cnp.ndarray> tables[3])
        cdef real **dC_da_pointers = <real **> cnp.PyArray_DATA(<cnp.ndarray> tables[4])
        enter(self)
        try:
            reserve(self, n)
            if dC_da[0] is not None:
                reserve_input_gradient(self, n)
            with nogil:
                failed = backward_all(self, x, y, n, z_pointers, a_pointers, da_dz_pointers, delta_pointers,
                                      dC_da_pointers, C)
        finally:
            leave(self)
        return not failed

    def cost(self, X, Y, cost, sample_weight, /):
        """Fill the costs C_i (n,). Returns (True or False, sum_i w_i C_i); sample_weight may be None."""
        cdef Py_ssize_t n = X.shape[0]
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef real *y = pointer(Y, n * self.layers[self.n_layers - 1].n_out, False)
        cdef real *C = pointer(cost, n, True)
        cdef real *weight = NULL if sample_weight is None else pointer(sample_weight, n, False)
        cdef double total
        cdef int failed
        enter(self)
        try:
            reserve(self, n)
            with nogil:
                failed = forward_all(self, x, n, NULL, NULL, C, y)
                if not failed:
                    count_cost(self, C, weight, n)
                    failed = not cost_is_finite(self)
                total = self.cost_total + self.cost_correction
        finally:
            leave(self)
        return not failed, total

    def gradient(self, X, Y, sample_weight, double total_weight, out, /):
        """Fill out (P,) with sum_i w_i dC_i / total_weight. Returns (True or False, sum_i w_i C_i)."""
        return fill_gradient(self, X, Y, sample_weight, total_weight, 0, out)

    def per_example_gradient(self, X, Y, out, bint fresh, cost, /):
        """Fill out (n, P), which may be fresh memory, with every dC_i, and the costs C_i (n,)."""
        cdef Py_ssize_t n = X.shape[0]
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef real *y = pointer(Y, n * self.layers[self.n_layers - 1].n_out, False)
        cdef real *gradients = pointer(out, n * self.n_parameters, True)
        cdef real *C = pointer(cost, n, True)
        cdef int failed
        enter(self)
        try:
            reserve(self, n)
            with nogil:
                failed = per_example_gradients(self, x, y, n, gradients, fresh, C)
        finally:
            leave(self)
        return not failed

    def gradient_norms(self, X, Y, out, /):
        """Fill out (n,) with the Euclidean norm of every dC_i."""
        cdef Py_ssize_t n = X.shape[0]
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef real *y = pointer(Y, n * self.layers[self.n_layers - 1].n_out, False)
        cdef real *norms = pointer(out, n, True)
        cdef int failed
        enter(self)
        try:
            reserve(self, n)
            with nogil:
                failed = gradient_norms_all(self, x, y, n, norms)
        finally:
            leave(self)
        return not failed

    def jacobian(self, X, out, bint fresh, /):
        """Fill out (n, n_L, P), which may be fresh memory, with da_j/dparameters of every example and output j."""
        cdef Py_ssize_t n = X.shape[0], n_L = self.layers[self.n_layers - 1].n_out
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef real *derivatives = pointer(out, n * n_L * self.n_parameters, True)
        cdef int failed
        enter(self)
        try:
            reserve(self, n * n_L)
            with nogil:
                failed = jacobian_all(self, x, n, derivatives, fresh)
        finally:
            leave(self)
        return not failed

    def input_jacobian(self, X, out, /):
        """Fill out (n, n_L, n_0) with da_j/dx of every example and output j."""
        cdef Py_ssize_t n = X.shape[0], n_L = self.layers[self.n_layers - 1].n_out, n_0 = self.layers[0].n_in
        cdef real *x = pointer(X, n * n_0, False)
        cdef real *derivatives = pointer(out, n * n_L * n_0, True)
        cdef int failed
        enter(self)
        try:
            reserve(self, n * n_L)
            reserve_input_gradient(self, n * n_L)
            with nogil:
                failed = input_jacobian_all(self, x, n, derivatives)
        finally:
            leave(self)
        return not failed

    def clipped_gradient(self, X, Y, double max_norm, out, /):
        """Fill out (P,) with sum_i min(1, max_norm / |dC_i|) dC_i / n. Returns (True or False, sum_i C_i)."""
        return fill_gradient(self, X, Y, None, <double> X.shape[0], max_norm, out)

    def gradient_gram(self, X, Y, X2, Y2, out, /):
        """Fill out (n, n2) with the inner products of all pairs of dC_i, i of X and j of X2, or of X where it is None.
        """
        cdef Py_ssize_t n = X.shape[0], n2 = n if X2 is None else X2.shape[0], right_rows, size
        cdef Py_ssize_t n_0 = self.layers[0].n_in, n_L = self.layers[self.n_layers - 1].n_out
        cdef real *x = pointer(X, n * n_0, False)
        cdef real *y = pointer(Y, n * n_L, False)
        cdef real *x2 = x if X2 is None else pointer(X2, n2 * n_0, False)
        cdef real *y2 = y if X2 is None else pointer(Y2, n2 * n_L, False)
        cdef real *gram = pointer(out, n * n2, True)
        cdef real *products
        cdef double *total
        cdef ScaledExamples left, right
        cdef bint symmetric = X2 is None
        cdef int failed
        enter(self)
        try:
            reserve(self, max(n, n2))
            size = scaled_row_size(self)
            right_rows = RIGHT_BYTES // (size * <Py_ssize_t> sizeof(real)) // BLOCK * BLOCK
            right_rows = min(max(right_rows, BLOCK), (n2 + BLOCK - 1) // BLOCK * BLOCK)
            # One array of numbers, for both sets and the products, and one of float64, for scales and totals.
            numbers = aligned_zeros((right_rows + BLOCK) * size + (2 * BLOCK + 1) * BLOCK)
            doubles = np.empty(2 * self.n_layers * (right_rows + BLOCK) + BLOCK * BLOCK)
            right.rows = right_rows
            left.rows = BLOCK
            right.numbers = data(numbers)
            left.numbers = right.numbers + right_rows * size
            products = left.numbers + BLOCK * size
            right.scales = <double *> cnp.PyArray_DATA(<cnp.ndarray> doubles)
            right.ones = right.scales + self.n_layers * right_rows
            left.scales = right.ones + self.n_layers * right_rows
            left.ones = left.scales + self.n_layers * BLOCK
            total = left.ones + self.n_layers * BLOCK
            with nogil:
                failed = gradient_gram_all(self, x, y, n, x2, y2, n2, symmetric, gram, &left, &right, products, total)
        finally:
            leave(self)
        return not failed

    def gradient_moments(self, X, Y, mean, variance, cost, /):
        """Fill mean and variance (P,) over the examples, and the costs C_i (n,). Returns (True or False, sum_i C_i)."""
        cdef Py_ssize_t n = X.shape[0]
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef real *y = pointer(Y, n * self.layers[self.n_layers - 1].n_out, False)
        cdef real *means = pointer(mean, self.n_parameters, True)
        cdef real *variances = pointer(variance, self.n_parameters, True)
        cdef real *C = pointer(cost, n, True)
        cdef real *packed
        cdef double total
        cdef int failed
        enter(self)
        try:
            reserve(self, n)
            reserve_sums(self, n)
            mean_array = aligned_zeros(self.storage_size)
            packed = data(mean_array)
            with nogil:
                failed = gradient_moments_all(self, x, y, n, packed, C)
                if not failed and not cost_is_finite(self):
                    failed = 1
                if not failed:
                    unpack(self, means, packed, 1)
                    unpack(self, variances, self.squares, <real> n)
                total = self.cost_total + self.cost_correction
        finally:
            leave(self)
        return not failed, total

    def curvature_product(self, X, Y, v, bint gauss_newton, out, /):
        """Fill out (P,) with Hv of the mean cost, or with the Gauss-Newton matrix's product."""
        cdef Py_ssize_t n = X.shape[0], l
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef real *y = pointer(Y, n * self.layers[self.n_layers - 1].n_out, False)
        cdef real *vector = pointer(v, self.n_parameters, False)
        cdef real *product = pointer(out, self.n_parameters, True)
        cdef real *packed
        cdef real *sums
        cdef Layer *layer
        cdef int failed
        enter(self)
        try:
            reserve(self, n)
            reserve_sums(self, n)
            reserve_curvature(self, n)
            # Held by the engine for the call, so that an exception in a user's function does not lose it.
            self.direction_array = aligned_zeros(self.storage_size)
            packed = data(self.direction_array)
            self.direction = packed
            with nogil:
                for l in range(self.n_layers):
                    layer = &self.layers[l]
                    pack_parameters(packed + layer.offset, layer.ld, vector, layer.n_in, layer.n_out)
                    vector += (layer.n_in + 1) * layer.n_out
                failed = curvature_sums(self, x, y, n, gauss_newton, &sums)
                if not failed and not all_finite(sums, self.storage_size):
                    failed = fail(self, QUANTITY_CURVATURE, 0)
                if not failed:
                    unpack(self, product, sums, <real> n)
        finally:
            self.direction_array = None
            leave(self)
        return not failed

    def train(self, X, Y, order, Py_ssize_t batch_size, sample_weight, options, key, /):
        """One pass in batches, in the order of the rows or of `order` (int64, each in 0 ... n-1; validated before).

        sample_weight (n,) or None, by the rows of X; options: update_rules.StepOptions, or None for nothing; key: the
        stream of random words of dropout and noise.
        Returns (True or False, sum of the costs, weighted, each example had when its batch came). A pass that ends
        early, by a signal or a number not finite, leaves the parameters as the last full batch made them.
        """
        cdef Py_ssize_t n = X.shape[0]
        cdef real *x = pointer(X, n * self.layers[0].n_in, False)
        cdef real *y = pointer(Y, n * self.layers[self.n_layers - 1].n_out, False)
        cdef real *weight = NULL if sample_weight is None else pointer(sample_weight, n, False)
        cdef const int64_t *indices = NULL
        cdef double total
        cdef int failed
        if order is not None:
            if (cnp.PyArray_TYPE(<cnp.ndarray?> order) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(order)
                    or cnp.PyArray_SIZE(order) != n):
                raise TypeError(f"order must be {n} contiguous int64 numbers")
            if n > 0 and (order.min() < 0 or order.max() >= n):
                raise ValueError(f"order has entries outside 0 ... {n - 1}")
            indices = <const int64_t *> cnp.PyArray_DATA(<cnp.ndarray> order)
        enter(self)
        try:
            begin_pass(self, options, key)
            self.rule_alone = self.rule_alone and weight == NULL
            reserve_training(self, n, batch_size, order is not None)
            with nogil:
                failed = train_pass(self, x, y, weight, indices, n, batch_size)
                if not failed and not state_is_finite(self):
                    failed = fail(self, QUANTITY_PARAMETERS, 0)
                if not failed and not cost_is_finite(self):
                    failed = 1
                total = self.cost_total + self.cost_correction
        finally:
            begin_pass(self, None, 0)
            leave(self)
        return not failed, total

    def step(self, X, Y, batch_size, /):
        """One update from plain arrays of one batch, (n_0,) and (n_L,) or (n, n_0) and (n, n_L); the quick way.

        Returns False, with nothing changed, for whatever needs validation, conversion or a message first.
        """
        cdef Py_ssize_t n = 1
        cdef Py_ssize_t n_0 = self.layers[0].n_in, n_L = self.layers[self.n_layers - 1].n_out
        cdef real backup[SMALL]
        cdef int answer, axis = 0, overflow = 0
        cdef real *x
        cdef real *y
        # Inside a fit a step is refused, even to the thread that fits.
        if not is_free(&self.lock_word) or not PyLong_CheckExact(batch_size):
            return False
        if not is_plain(X) or not is_plain(Y):
            return False
        if cnp.PyArray_NDIM(X) != cnp.PyArray_NDIM(Y) or cnp.PyArray_NDIM(X) < 1 or cnp.PyArray_NDIM(X) > 2:
            return False
        if cnp.PyArray_NDIM(X) == 2:
            n = cnp.PyArray_DIM(X, 0)
            axis = 1
            if cnp.PyArray_DIM(Y, 0) != n or n < 1 or n > BLOCK:
                return False
        if cnp.PyArray_DIM(X, axis) != n_0 or cnp.PyArray_DIM(Y, axis) != n_L:
            return False
        if PyLong_AsLongAndOverflow(batch_size, &overflow) < n or overflow != 0:
            return False
        x = data(X)
        y = data(Y)
        # The copy is made by the long way. What looks at the parameters themselves must be copied first.
        if (overlap(x, n * n_0, self.storage, self.storage_size) or overlap(y, n * n_L, self.storage, self.storage_size)
                or not targets_are_valid(self, y, n * n_L) or not can_fuse(self, n)):
            return False
        enter(self)
        try:
            if self.update_rule.kind == NO_RULE:
                return False
            reserve_training(self, n, n, False)
            if n * self.n_parameters > RELEASE_GIL_WORK:
                with nogil:
                    answer = prepare_step(self, x, y, n)
                    if answer == 0:
                        finish_step(self, x, n)
            else:
                answer = prepare_step(self, x, y, n)
                if answer == 0:
                    finish_step(self, x, n)
            # 2: the step may leave the finite numbers, and is taken with a copy to go back to.
            if answer == 2 and self.storage_size * (1 + self.n_slots) <= SMALL:
                answer = finish_or_restore(self, x, n, backup)
            elif answer == 2:
                array = aligned_zeros(self.storage_size * (1 + self.n_slots))
                answer = finish_or_restore(self, x, n, data(array))
        finally:
            leave(self)
        return answer == 0

    # ---- one thread at a time ----------------------------------------------------------------------------------------

    def __enter__(self):
        """Keep the network for this thread through several calls; may be nested. RuntimeError as in `enter`."""
        if take(&self.lock_word):
            self.depth = 1
        elif busy_or_not_own(self):
            refuse(self)
        else:
            self.depth += 1
        return self

    def __exit__(self, kind, error, traceback):
        self.depth -= 1
        if self.depth == 0:
            give_back(&self.lock_word)

    @property
    def is_fitting(self):
        """Whether this thread keeps the network for a fit."""
        return is_own(&self.lock_word) and is_fit(&self.lock_word)

    def begin_fit(self):
        """Say that what this thread keeps the network for is a fit; until the outermost `with` ends."""
        if not is_own(&self.lock_word):
            raise RuntimeError("a fit begins inside `with engine`")
        set_fit(&self.lock_word, True)
