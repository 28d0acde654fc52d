# The compiled engine's calls: arrays in, arrays filled. The interface is that of reference/engine.py.
#
# a) Arguments are validated before they come here (validation/); `pointer` checks what memory safety needs.
# b) Pointers are taken before `enter_read` or `enter_change`, so that a refused array leaves the network free; all
#    between that and the call's end is its own, and what it found is read before: then another may have the scratch.
# c) Work above about 2 microseconds runs without the GIL: giving it up and taking it again costs some 25 nanoseconds.
# d) The quick ways, predict and step, are for calls of some microseconds, where validation in Python would cost more
#    than the work. They judge plain arrays by themselves and leave everything else, and every message, to the long way.
# e) New memory is allocated before a call begins or before the first number changes: MemoryError leaves all as it was.

cimport numpy as cnp
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memset

from cbackprop.kernels.lock cimport is_fit, is_free, is_own, set_fit, take
from cbackprop.kernels.simd cimport LANES, real

from cbackprop.sparse_rows import SparseRows


def activation_values(str name, z, a, da_dz, /):
    """a = sigma(z) and da_dz = sigma'(z) of one named elementwise activation, (n,) arrays; n a multiple of `lanes`."""
    cdef Py_ssize_t n = z.size
    if n % LANES:
        raise ValueError(f"z has {n} numbers; expected a multiple of {LANES}")
    if name == "softmax":
        raise ValueError("name is 'softmax'; expected an elementwise activation")
    activate(ACTIVATIONS[name], pointer(a, n, True), pointer(da_dz, n, True), pointer(z, n, False), n, n, 1)


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


# ---- one call --------------------------------------------------------------------------------------------------------

cdef int begin_without_targets(Core core, Call *call, X) except -1:
    """A call on these examples; what it fills is still to be set."""
    memset(call, 0, sizeof(Call))
    if not cnp.PyArray_Check(X):
        return take_sparse_rows(core, call, X)
    # Not X.shape, which an object of another class may say anything of.
    call.n = cnp.PyArray_DIM(X, 0) if is_plain(X) and cnp.PyArray_NDIM(X) > 0 else 0
    call.X = pointer(X, call.n * core.n_0, False)
    return 0


cdef int take_sparse_rows(Core core, Call *call, X) except -1:
    """Of a SparseRows, which has judged its arrays and keeps them from changing."""
    if type(X) is not SparseRows:
        raise TypeError(f"X is {type(X).__name__}; expected an array or SparseRows")
    if X.shape[1] != core.n_0:
        raise ValueError(f"X has {X.shape[1]} columns; expected {core.n_0}")
    starts, columns = X.starts, X.columns
    call.n = len(X)
    call.sparse.starts = <const int64_t *> cnp.PyArray_DATA(<cnp.ndarray> starts)
    call.sparse.columns = <const int32_t *> cnp.PyArray_DATA(<cnp.ndarray> columns)
    call.sparse.values = pointer(X.values, columns.size, False)
    if X.least is None:
        X.least = smallest(call.sparse.values, columns.size)
    call.sparse.least = X.least
    return 0


cdef int begin(Core core, Call *call, X, Y, sample_weight=None) except -1:
    """A call on these examples and targets, without weights where they are None."""
    begin_without_targets(core, call, X)
    call.Y = pointer(Y, call.n * core.n_L, False)
    if sample_weight is not None:
        call.sample_weight = weights_pointer(sample_weight, call.n)
    return 0


cdef tuple run(
    Core network, call_function work, Call *call, Py_ssize_t rows, Py_ssize_t passes, int needs=0, Py_ssize_t extra=0,
    bint release=True,
):
    """The work of a call that reads, as `reserve_call` has prepared it, without the GIL where `release` says so. What
    was not finite, None or (quantity, layer), and the sum of the costs as (sum, what its rounding has lost).
    """
    cdef int failed
    cdef Py_ssize_t n = call.n if call.second == NULL else max(call.n, call.second.n)
    cdef Core core = enter_read(network)
    if call.sparse.starts != NULL or (call.second != NULL and call.second.sparse.starts != NULL):
        needs |= NEEDS_GATHERED
    try:
        call.rows = reserve_call(core, n, rows, passes, needs, extra)
        if release:
            with nogil:
                failed = work(core, call)
        else:
            failed = work(core, call)
        return failure_of(core, failed), (core.cost_total, core.cost_correction)
    finally:
        leave_read(network, core)


cdef class Engine(Core):
    """Parameters and calls of one network.

    Every call returns None, or what it met that was not finite: one of QUANTITIES, and the layer from 1 (0 where none
    has it). A sum of costs comes as two numbers, sum and correction (sums.CostSum), which together are it.
    """

    backend = "compiled"

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
    def slots(self):
        """The optimiser's state arrays, in the layout of the parameter block."""
        return tuple(self.slot_arrays)

    def set_optimizer(self, rule, /):
        """Choose the update rule, an update_rules.UpdateRule or None, and start its state afresh."""
        cdef Py_ssize_t i, n_slots
        cdef UpdateRule chosen
        memset(&chosen, 0, sizeof(UpdateRule))
        n_slots = read_rule(&chosen, rule)
        slots = []
        for _ in range(n_slots):
            slots.append(aligned_zeros(self.storage_size))
        # A step under way uses the slots that are freed here.
        enter_change(self)
        self.update_rule = chosen
        self.step_count, self.previous_cost = 0, INFINITY
        self.rule = rule
        self.slot_arrays = slots
        self.n_slots = len(slots)
        for i in range(MOST_SLOTS):
            self.slot_data[i] = data(slots[i]) if i < self.n_slots else NULL
        leave_change(self)

    # ---- the calls from Python: arrays in, arrays filled ------------------------------------------------------------

    def forward(self, X, list z, list a, /):
        """Fill z[l] and a[l] (n, n_l), l = 1 ... L; a None is left out, as predict leaves out all but the last a."""
        cdef Call call
        begin_without_targets(self, &call, X)
        # The tables are Python objects: they must outlive the work.
        z_table = pointer_table(self, z, call.n, 0)
        a_table = pointer_table(self, a, call.n, 0)
        call.z, call.a = pointers(z_table), pointers(a_table)
        return run(self, forward_all, &call, call.n, 1, 0, 0, call.n * self.n_parameters > RELEASE_GIL_WORK)[0]

    def predict(self, X, out, /):
        """The outputs of plain arrays, (n_0,) or at most BLOCK rows of them, in `out` where it is given; the quick way.

        Returns None, with nothing changed, for whatever needs validation, conversion or a message first.
        """
        cdef Py_ssize_t n = 0, n_outputs = 0
        cdef Core core
        cdef Layer *layer
        cdef cnp.npy_intp shape[2]
        cdef int failed, axis = neuron_axis(X, self.n_0, &n)
        cdef real *x
        cdef real *a
        if axis < 0:
            return None
        shape[0] = n
        shape[axis] = self.n_L
        if out is None:
            result = cnp.PyArray_SimpleNew(axis + 1, shape, REAL_TYPE)
        elif neuron_axis(out, self.n_L, &n_outputs) == axis and n_outputs == n and cnp.PyArray_ISWRITEABLE(out):
            result = out
        else:
            return None
        x = data(X)
        a = data(result)
        if overlap(a, n * self.n_L, x, n * self.n_0) or overlap(a, n * self.n_L, self.storage, self.storage_size):
            return None
        core = enter_read(self)
        try:
            reserve(core, n)
            # Without da/dz, which nobody asks for.
            if n * core.n_parameters > RELEASE_GIL_WORK:
                with nogil:
                    failed = forward_block(core, x, n, False)
            else:
                failed = forward_block(core, x, n, False)
            if failed:
                return None
            layer = &core.layers[core.n_layers - 1]
            copy_out(a, layer.a, layer, 0, n)
        finally:
            leave_read(self, core)
        return result

    def backward(self, X, Y, list z, list a, list da_dz, list delta, list dC_da, cost, /):
        """Fill every factor: z, a, da_dz, delta of the layers 1 ... L, dC_da of 0 ... L, and the costs (n,).

        A None is left out; for softmax da_dz is not a vector and must be None.
        """
        cdef Call call
        begin(self, &call, X, Y)
        call.C = pointer(cost, call.n, True)
        tables = []
        for arrays in (z, a, da_dz, delta):
            tables.append(pointer_table(self, arrays, call.n, 0))
        tables.append(pointer_table(self, dC_da, call.n, 1))
        call.z, call.a, call.da_dz = pointers(tables[0]), pointers(tables[1]), pointers(tables[2])
        call.delta, call.dC_da = pointers(tables[3]), pointers(tables[4])
        return run(self, backward_all, &call, call.n, 2, 0 if dC_da[0] is None else NEEDS_INPUT_GRADIENT)[0]

    def cost(self, X, Y, cost, sample_weight, /):
        """Fill the costs C_i (n,). Returns (None or what was not finite, sum_i w_i C_i); sample_weight may be None."""
        cdef Call call
        begin(self, &call, X, Y, sample_weight)
        call.C = pointer(cost, call.n, True)
        return run(self, costs_all, &call, call.n, 1, NEEDS_LEAVES)

    def gradient(self, X, Y, sample_weight, double total_weight, out, /):
        """Fill out (P,) with sum_i w_i dC_i / total_weight. Returns (None or what was not finite, sum_i w_i C_i)."""
        cdef Call call
        begin(self, &call, X, Y, sample_weight)
        call.total_weight = total_weight
        call.out = pointer(out, self.n_parameters, True)
        return run(self, mean_gradient, &call, call.n, 3, NEEDS_LEAVES | NEEDS_SUMS)

    def clipped_gradient(self, X, Y, double max_norm, out, /):
        """Fill out (P,) with sum_i min(1, max_norm / |dC_i|) dC_i / n. Returns (None or what was not finite,
        sum_i C_i).
        """
        cdef Call call
        begin(self, &call, X, Y)
        call.total_weight, call.clip_norm = <double> call.n, max_norm
        call.out = pointer(out, self.n_parameters, True)
        return run(self, mean_gradient, &call, call.n, 3, NEEDS_LEAVES | NEEDS_SUMS)

    def per_example_gradient(self, X, Y, out, bint fresh, cost, /):
        """Fill out (n, P), which may be fresh memory, with every dC_i, and the costs C_i (n,)."""
        cdef Call call
        begin(self, &call, X, Y)
        call.out, call.new_memory = pointer(out, call.n * self.n_parameters, True), fresh
        call.C = pointer(cost, call.n, True)
        return run(self, per_example_gradients, &call, call.n, 3, WRITES_PARAMETERS)[0]

    def gradient_norms(self, X, Y, out, /):
        """Fill out (n,) with the Euclidean norm of every dC_i."""
        cdef Call call
        begin(self, &call, X, Y)
        call.out = pointer(out, call.n, True)
        return run(self, gradient_norms_all, &call, call.n, 2)[0]

    def jacobian(self, X, out, bint fresh, /):
        """Fill out (n, n_L, P), which may be fresh memory, with da_j/dparameters of every example and output j."""
        cdef Call call
        begin_without_targets(self, &call, X)
        call.out, call.new_memory = pointer(out, call.n * self.n_L * self.n_parameters, True), fresh
        return run(self, jacobian_all, &call, call.n * self.n_L, 2 * self.n_L, WRITES_PARAMETERS)[0]

    def input_jacobian(self, X, out, /):
        """Fill out (n, n_L, n_0) with da_j/dx of every example and output j."""
        cdef Call call
        begin_without_targets(self, &call, X)
        call.out = pointer(out, call.n * self.n_L * self.n_0, True)
        return run(self, input_jacobian_all, &call, call.n * self.n_L, self.n_L, NEEDS_INPUT_GRADIENT)[0]

    def gradient_gram(self, X, Y, X2, Y2, out, /):
        """Fill out (n, n2) with the inner products of all pairs of dC_i, i of X and j of X2, or of X where it is None.
        """
        cdef Call call, second
        cdef GramScratch scratch
        begin(self, &call, X, Y)
        begin(self, &second, X if X2 is None else X2, Y if X2 is None else Y2)
        call.out = pointer(out, call.n * second.n, True)
        call.second = NULL if X2 is None else &second
        call.gram_scratch = second.gram_scratch = &scratch
        _arrays = gram_arrays(self, &scratch, second.n)  # held until the work is done
        return run(self, gradient_gram_all, &call, max(call.n, second.n),
                   3 + call.n * self.n_neurons // self.n_parameters)[0]

    def gradient_moments(self, X, Y, mean, variance, cost, /):
        """Fill mean and variance (P,) over the examples, and the costs C_i (n,). Returns (None or what was not finite,
        sum_i C_i).
        """
        cdef Call call
        begin(self, &call, X, Y)
        call.out, call.variance = pointer(mean, self.n_parameters, True), pointer(variance, self.n_parameters, True)
        call.C = pointer(cost, call.n, True)
        return run(self, gradient_moments_all, &call, call.n, 5, NEEDS_LEAVES | NEEDS_SUMS,
                   self.moment_numbers - self.storage_size)

    @property
    def moment_numbers(self):
        """How many numbers the sums have from which moments are made."""
        return 3 * self.storage_size + self.n_0 + 2 * self.n_neurons

    def moment_sums(self, X, Y, cost, sums, /):
        """Fill sums (moment_numbers,) with those of one node of a sum over examples, and the costs C_i (n,). Returns
        (None or what was not finite, sum_i C_i).
        """
        cdef Call call
        begin(self, &call, X, Y)
        call.sums = pointer(sums, self.moment_numbers, True)
        call.C = pointer(cost, call.n, True)
        return run(self, moment_sums_all, &call, call.n, 5, NEEDS_LEAVES | NEEDS_SUMS,
                   self.moment_numbers - self.storage_size)

    def join_moments(self, sums, other, Py_ssize_t n, Py_ssize_t n_other, /):
        """Add the other node's sums, of n_other examples, to those of n."""
        join_moments(self, pointer(sums, self.moment_numbers, True), pointer(other, self.moment_numbers, False),
                     n, n_other)

    def moments_of(self, sums, Py_ssize_t n, mean, variance, /):
        """Fill mean and variance (P,) from the sums of all n examples, which are overwritten. Returns None or what was
        not finite.
        """
        cdef Call call
        memset(&call, 0, sizeof(Call))
        call.n, call.sums = n, pointer(sums, self.moment_numbers, True)
        call.out, call.variance = pointer(mean, self.n_parameters, True), pointer(variance, self.n_parameters, True)
        return run(self, moments_of_sums, &call, 1, 1)[0]

    def curvature_product(self, X, Y, v, bint gauss_newton, out, /):
        """Fill out (P,) with Hv of the mean cost, or with the Gauss-Newton matrix's product."""
        cdef Call call
        begin(self, &call, X, Y)
        call.v, call.gauss_newton = pointer(v, self.n_parameters, False), gauss_newton
        call.out = pointer(out, self.n_parameters, True)
        packed = aligned_zeros(self.storage_size)
        call.packed = data(packed)
        return run(self, curvature_product_all, &call, call.n, 8, NEEDS_LEAVES | NEEDS_SUMS | NEEDS_CURVATURE)[0]

    def vjp(self, X, V, out, by_inputs, /):
        """Fill out (P,) and by_inputs (n, n_0) with the derivatives of sum_ij V_ij a_ij, V (n, n_L). Returns (None or
        what was not finite, that sum).
        """
        cdef Call call
        begin(self, &call, X, V)
        call.out = pointer(out, self.n_parameters, True)
        call.by_inputs = pointer(by_inputs, call.n * self.n_0, True)
        return run(self, vjp_all, &call, call.n, 3, NEEDS_LEAVES | NEEDS_SUMS | NEEDS_INPUT_GRADIENT)

    def jvp(self, X, v, dX, out, /):
        """Fill out (n, n_L) with what the outputs change along v (P,) and dX (n, n_0); either may be None."""
        cdef Call call
        begin_without_targets(self, &call, X)
        call.out = pointer(out, call.n * self.n_L, True)
        if dX is not None:
            call.dX = pointer(dX, call.n * self.n_0, False)
        if v is not None:
            call.v = pointer(v, self.n_parameters, False)
            packed = aligned_zeros(self.storage_size)
            call.packed = data(packed)
        return run(self, jvp_all, &call, call.n, 3, NEEDS_CURVATURE)[0]

    def train(self, X, Y, order, Py_ssize_t batch_size, sample_weight, options, key, watcher=None,
              Py_ssize_t first_batch=0, cost_so_far=(0.0, 0.0), /):
        """One pass in batches, in the order of the rows or of `order` (int64, each in 0 ... n-1; validated before).

        sample_weight (n,) float64 or None, by the rows of X; options: update_rules.StepOptions, or None for nothing;
        key: the stream of random words of dropout and noise; watcher: None, or a function that long passes call
        between two pieces of work, every few milliseconds, with the number of batches done; first_batch and
        cost_so_far: how many there were in earlier calls for the same pass, and the costs' sum that those returned.
        Without a row a pass with noise is one step of noise alone, and any other is none.
        Returns (None or what was not finite, sum of the costs, weighted, each example had when its batch came). A pass
        that ends early, by a signal or a number not finite, leaves the parameters as the last full batch made them.
        """
        cdef Call call
        cdef int failed
        begin(self, &call, X, Y, sample_weight)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1")
        if not 0 <= first_batch <= (PY_SSIZE_T_MAX - call.n) // batch_size:
            raise ValueError(f"first_batch is {first_batch}; expected a number of batches from 0 on")
        if order is not None:
            # Of no subclass, whose min and max may be its own.
            if (not cnp.PyArray_CheckExact(order) or cnp.PyArray_TYPE(<cnp.ndarray> order) != cnp.NPY_INT64
                    or not cnp.PyArray_ISCARRAY_RO(order) or cnp.PyArray_SIZE(order) != call.n):
                raise TypeError(f"order must be {call.n} contiguous int64 numbers")
            if call.n > 0 and (order.min() < 0 or order.max() >= call.n):
                raise ValueError(f"order has entries outside 0 ... {call.n - 1}")
            call.order = <const int64_t *> cnp.PyArray_DATA(<cnp.ndarray> order)
        enter_change(self)
        try:
            begin_pass(self, options, key, first_batch, batch_size)
            self.cost_total, self.cost_correction = cost_so_far
            self.watcher = watcher
            self.rule_alone = self.rule_alone and call.sample_weight == NULL
            call.clip_norm = self.clip_norm
            reserve_training(self, call.n, batch_size, order is not None or call.sparse.starts != NULL)
            with nogil:
                failed = train_pass(self, &call, batch_size)
            return failure_of(self, failed), (self.cost_total, self.cost_correction)
        finally:
            begin_pass(self, None, 0, 0, 0)
            self.watcher = None
            leave_change(self)

    def step_along(self, sums, cost, double total, options, /):
        """One step along sum_i w_i dC_i (P,), as a batch of `total` examples, or of that sum of weights, takes it.

        cost: the sum of the batch's costs; options: update_rules.StepOptions, or None, nothing in it that is random or
        of single examples. Returns None or what was not finite: then the step has been taken.
        """
        cdef bint failed = False
        cdef const real *vector = pointer(sums, self.n_parameters, False)
        enter_change(self)
        try:
            begin_pass(self, options, 0, 0, 1)
            self.cost_total, self.cost_correction = cost
            reserve_training(self, LEAF + 1, LEAF + 1, False)
            fill(self.sums, 0, self.storage_size)
            pack(self, self.sums, vector)
            if self.clip_gradient_norm > 0:
                clip_sums(self, self.sums, total)
            apply_sums(self, self.sums, total)
            if not state_is_finite(self):
                failed = fail(self, QUANTITY_PARAMETERS, 0)
            return failure_of(self, failed)
        finally:
            begin_pass(self, None, 0, 0, 0)
            leave_change(self)

    def step(self, X, Y, batch_size, /):
        """One update from plain arrays of one batch, (n_0,) and (n_L,) or (n, n_0) and (n, n_L); the quick way.

        Returns False, with nothing changed, for whatever needs validation, conversion or a message first.
        """
        cdef Py_ssize_t n = 0, n_targets = 0
        cdef real backup[SMALL]
        cdef int answer, axis, overflow = 0
        cdef real *x
        cdef real *y
        # Inside a fit a step is refused, even to the thread that fits.
        if not is_free(&self.lock_word) or not PyLong_CheckExact(batch_size):
            return False
        axis = neuron_axis(X, self.n_0, &n)
        if axis < 0 or neuron_axis(Y, self.n_L, &n_targets) != axis or n_targets != n:
            return False
        if PyLong_AsLongAndOverflow(batch_size, &overflow) < n or overflow != 0:
            return False
        x = data(X)
        y = data(Y)
        # The copy is made by the long way. What looks at the parameters themselves must be copied first.
        if (overlap(x, n * self.n_0, self.storage, self.storage_size)
                or overlap(y, n * self.n_L, self.storage, self.storage_size)
                or not targets_are_valid(self, y, n * self.n_L) or not can_fuse(self, n)):
            return False
        enter_change(self)
        try:
            if self.update_rule.kind == NO_RULE:
                return False
            reserve_training(self, n, n, False)
            if n * self.n_parameters > RELEASE_GIL_WORK:
                with nogil:
                    answer = try_step(self, x, y, n)
            else:
                answer = try_step(self, x, y, n)
            # 2: the step may leave the finite numbers, and is taken with a copy to go back to.
            if answer == 2 and self.storage_size * (1 + self.n_slots) <= SMALL:
                answer = finish_or_restore(self, x, n, backup)
            elif answer == 2:
                array = aligned_zeros(self.storage_size * (1 + self.n_slots))
                answer = finish_or_restore(self, x, n, data(array))
        finally:
            leave_change(self)
        return answer == 0

    def sparse_rows(self, X, /):
        """The SparseRows of X (n, n_0): whatever is not 0, -0 included, so that dense rows come back to the bit."""
        cdef Py_ssize_t i, n
        cdef int64_t p = 0
        cdef int64_t *starts
        cdef int32_t *columns
        cdef real *values
        cdef const real *x
        n = cnp.PyArray_DIM(X, 0)
        x = pointer(X, n * self.n_0, False)
        starts_array = np.zeros(n + 1, np.int64)
        starts = <int64_t *> cnp.PyArray_DATA(<cnp.ndarray> starts_array)
        with nogil:
            for i in range(n):
                p += count_nonzero(x + i * self.n_0, self.n_0)
                starts[i + 1] = p
        # One more: the loop writes before it knows whether it will keep what it wrote.
        columns_array, values_array = np.empty(p + 1, np.int32), np.empty(p + 1, dtype)
        columns = <int32_t *> cnp.PyArray_DATA(<cnp.ndarray> columns_array)
        values = data(values_array)
        with nogil:
            for i in range(n):
                take_nonzero(columns + starts[i], values + starts[i], x + i * self.n_0, self.n_0)
        return SparseRows(starts_array, columns_array[:p], values_array[:p], self.n_0)

    # ---- who has the network ----------------------------------------------------------------------------------------

    def reading(self):
        """`with engine.reading()`: nobody changes the network through several calls that read it; may be nested."""
        return Reading(self)

    def __enter__(self):
        """Keep the network for this thread alone through several calls; may be nested. RuntimeError as in
        `enter_change`.
        """
        if take(&self.lock_word):
            self.depth = 1
        elif not may_change(self):
            refuse(self)
        else:
            self.depth += 1
        return self

    def __exit__(self, kind, error, traceback):
        keep_no_longer(self)

    @property
    def is_fitting(self):
        """Whether this thread keeps the network for a fit."""
        return is_own(&self.lock_word) and is_fit(&self.lock_word)

    def begin_fit(self):
        """Say that what this thread keeps the network for is a fit; until the outermost `with` ends."""
        if not is_own(&self.lock_word):
            raise RuntimeError("a fit begins inside `with engine`")
        set_fit(&self.lock_word, True)
