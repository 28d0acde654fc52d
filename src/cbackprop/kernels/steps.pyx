# Training: steps of the optimiser, one batch after the other, without the GIL.
#
# a) A step's forward and backward passes come first, for all of its examples; only then does a parameter change. So a
#    step that meets a number not finite, or a signal, has changed nothing.
# b) Plain gradient descent on one block is taken inside the gradient's product: w + factor . sum leaves the registers.
#    Other rules, and the last block of a larger batch, go through a piece of the gradient that stays in the cache.
# c) Which unit of the processor binds which network is written in docs/speed.md.

from libc.math cimport pow, sqrt

include "updates.pyx"
include "tiny.pyx"

cdef extern from *:
    """
    /* The largest update that need not be looked into for signals, in multiply-adds: some 60 milliseconds. */
    #define CBACKPROP_FUSED_WORK ((int64_t)200000000 * CBACKPROP_LANES)
    """
    const int64_t FUSED_WORK "CBACKPROP_FUSED_WORK"

cdef real LARGEST_NUMBER = <real> np.finfo(dtype).max


# What threads need to know of the update of a layer that they share.
cdef struct Update:
    void *steps
    Layer *layer
    const real *a           # (n, n_in), rows lda apart
    Py_ssize_t lda, n, total
    real *sums
    bint foresees           # whether rows are to be asked for
    Py_ssize_t share        # columns of each part


cdef void update_part(void *context, int part) noexcept nogil:
    cdef Update *update = <Update *> context
    (<Steps> update.steps).apply_columns(update, part)


cdef class Steps(Curvature):
    """A network's optimiser and its steps."""

    cdef list slot_arrays
    cdef real *slot_data[2]
    cdef Py_ssize_t n_slots
    cdef bint is_tiny
    cdef int rule
    cdef readonly str rule_name
    cdef readonly tuple hyper_parameters
    cdef double momentum, beta1, beta2, epsilon
    cdef public double learning_rate
    cdef public int64_t step_count
    # Of the step under way: what the rule multiplies with.
    cdef real step_size, epsilon_root

    def __cinit__(self, tuple sizes, tuple activations, cost, dtype_name, int threads):
        cdef Py_ssize_t l, total = 0
        cdef Layer *layer
        self.slot_arrays = []
        self.rule = NO_RULE
        self.is_tiny = max(sizes) <= LANES and self.cost_kind != USER_COST
        for l in range(self.n_layers):
            if self.layers[l].activation >= SOFTMAX:
                self.is_tiny = False
        if self.is_tiny:
            for l in range(1, self.n_layers):
                self.layers[l].mirror_offset = total
                total += (self.layers[l].n_out + 1) * LANES
            self.mirror_array = aligned_zeros(total)
            self.mirror = data(self.mirror_array)
            for l in range(1, self.n_layers):
                layer = &self.layers[l]
                self.mirror_mask(self.mirror + layer.mirror_offset + layer.n_out * LANES, layer.n_in)

    cdef void mirror_mask(self, real *mask, Py_ssize_t n_in) noexcept:
        cdef Py_ssize_t k
        for k in range(n_in):
            mask[k] = 1

    cdef int reserve_training(self, Py_ssize_t n, Py_ssize_t batch_size, bint gathered) except -1:
        cdef Py_ssize_t l, columns
        if self.rule == NO_RULE:
            raise RuntimeError("no optimiser is set")
        self.reserve(min(n, batch_size))
        if gathered:
            self.reserve_gathered(min(n, batch_size))
        if min(n, batch_size) > BLOCK or not self.can_fuse(min(n, batch_size)):
            self.reserve_sums(min(n, batch_size))
        if self.hot_array is None:
            self.hot_size = HOT_COLUMNS
            for l in range(self.n_layers):
                # A thread's share may be narrower, its pieces then have more rows.
                columns = min(self.layers[l].width, HOT_COLUMNS)
                self.hot_size = max(self.hot_size, min(columns * self.layers[l].n_in,
                                                       max(columns * 4 * TILE_ROWS, HOT_NUMBERS)))
            array = aligned_zeros(self.panels.threads * self.hot_size)
            self.hot_array = array
            self.hot = data(array)
        return 0

    cdef bint can_fuse(self, Py_ssize_t n) noexcept nogil:
        """Whether the update for a block of n examples is short enough to take without looking for signals."""
        return n * self.n_parameters <= FUSED_WORK

    # ---- one step ---------------------------------------------------------------------------------------------------

    cdef void begin_step(self, Py_ssize_t n) noexcept nogil:
        """The step counts, and its factors are formed in float64; n is its number of examples."""
        cdef double root
        self.step_count += 1
        if self.rule == SGD:
            self.step_size = <real> (-self.learning_rate / <double> n)
        elif self.rule == ADAM:
            root = sqrt(1 - pow(self.beta2, <double> self.step_count))
            self.step_size = <real> (self.learning_rate / (1 - pow(self.beta1, <double> self.step_count)) * root)
            self.epsilon_root = <real> (self.epsilon * root)
        else:
            self.step_size = <real> self.learning_rate

    cdef void update_piece(
        self, Py_ssize_t offset, Py_ssize_t ld, const real *gradient_sum, Py_ssize_t ld_sum,
        Py_ssize_t rows, Py_ssize_t width, Py_ssize_t n,
    ) noexcept nogil:
        """The rule of the step begun on some of the parameters, along their mean gradient gradient_sum / n."""
        if width == ld and width == ld_sum:
            width *= rows
            rows = 1
        if self.rule == SGD:
            sgd_update(self.storage + offset, ld, gradient_sum, ld_sum, rows, width, self.step_size)
        elif self.rule == ADAM:
            adam_update(self.storage + offset, self.slot_data[0] + offset, self.slot_data[1] + offset, ld,
                        gradient_sum, ld_sum, rows, width, <real> n,
                        <real> self.beta1, <real> (1 - self.beta1), <real> self.beta2, <real> (1 - self.beta2),
                        self.step_size, self.epsilon_root)
        else:
            momentum_update(self.storage + offset, self.slot_data[0] + offset, ld, gradient_sum, ld_sum, rows, width,
                            <real> n, self.step_size, <real> self.momentum, self.rule == NESTEROV)

    cdef void apply_block(self, const real *X, Py_ssize_t n, real *sums, Py_ssize_t total) noexcept nogil:
        """Take a step of `total` examples whose last block's n deltas are there; sums holds the blocks before, or NULL.
        """
        cdef Update update
        cdef Layer *layer
        cdef Py_ssize_t l
        update.steps = <void *> self
        update.a = X
        update.lda = self.layers[0].n_in
        update.n = n
        update.sums = sums
        update.total = total
        self.begin_step(total)
        for l in range(self.n_layers):
            layer = &self.layers[l]
            update.layer = layer
            update.foresees = self.next_rows > 0
            update.share = shared_out(layer.width, n * layer.n_in * layer.width, self.panels.threads)
            run_task(update_part, &update, parts_of(layer.width, update.share))
            update.a = layer.a
            update.lda = layer.ld

    cdef void apply_columns(self, const Update *update, int part) noexcept nogil:
        """A thread's share of a layer's update: its columns' product and the rule, piece by piece."""
        cdef Layer *layer = update.layer
        cdef Py_ssize_t j = part * update.share, end = min(j + update.share, layer.width)
        cdef Py_ssize_t n = update.n, k, columns, rows, m, ld_sum, lines = 0
        cdef real *sums = update.sums
        cdef real *hot = self.hot + part * self.hot_size
        cdef real *gradient
        cdef Panels panels = self.panels
        cdef bint fused = self.rule == SGD and sums == NULL
        panels.first += part * panels.size
        panels.threads = 1
        while j < end:
            columns = end - j if fused else min(HOT_COLUMNS, end - j)
            rows = layer.n_in
            if not fused:
                rows = balanced(layer.n_in, piece_rows(columns))
            elif update.foresees:
                # Few lines at a time: the fill buffers hold about twenty.
                rows = balanced(layer.n_in, 2 * TILE_ROWS)
            if part == 0:
                lines = self.lines_a_piece(layer.n_in, rows)
            k = 0
            while k < layer.n_in:
                m = min(rows, layer.n_in - k)
                if fused:
                    accumulate_gradient(self.storage + layer.offset + k * layer.ld + j, layer.ld, update.a + k,
                                        update.lda, layer.delta + j, layer.ld, n, m, columns, self.zeros, True,
                                        self.step_size, panels)
                else:
                    gradient = hot if sums == NULL else sums + layer.offset + k * layer.ld + j
                    ld_sum = columns if sums == NULL else layer.ld
                    accumulate_gradient(gradient, ld_sum, update.a + k, update.lda, layer.delta + j, layer.ld, n, m,
                                        columns, self.zeros, sums != NULL, 1, panels)
                    self.update_piece(layer.offset + k * layer.ld + j, layer.ld, gradient, ld_sum, m, columns,
                                      update.total)
                # The rows foreseen are the caller's, which takes part 0.
                if part == 0:
                    self.ask_for_rows(lines)
                k += m
            k = layer.offset + layer.n_in * layer.ld + j
            if fused:
                accumulate_bias_gradient(self.storage + k, layer.delta + j, layer.ld, n, columns, True, self.step_size)
            else:
                gradient = hot if sums == NULL else sums + k
                accumulate_bias_gradient(gradient, layer.delta + j, layer.ld, n, columns, sums != NULL, 1)
                self.update_piece(k, layer.ld, gradient, layer.ld, 1, columns, update.total)
            j += columns

    cdef int take_step(
        self, const real *X, const real *Y, const int64_t *order, Py_ssize_t first, Py_ssize_t n, Py_ssize_t total_rows,
    ) except -1 nogil:
        """One step on the batch of n rows from `first`. 0, or 1 after `fail` with nothing changed."""
        cdef Py_ssize_t start = 0, m, last, rows
        cdef real C[BLOCK]
        cdef const real *block_X
        cdef const real *block_Y
        cdef real *sums
        if not self.can_fuse(min(n, BLOCK)) or n > BLOCK * GROUP_BLOCKS:
            if self.gradient_sums(X, Y, NULL, 0, order, first, n, &sums):
                return 1
            self.begin_step(n)
            self.update_piece(0, self.storage_size, sums, self.storage_size, 1, self.storage_size, n)
            self.look_for_signals(self.n_parameters)
            return 0
        while start < n:
            m = min(n - start, BLOCK)
            last = first + start + m
            block_X = self.gather(self.gathered_X, X, self.layers[0].n_in, order, first + start, m)
            block_Y = self.gather(self.gathered_Y, Y, self.layers[self.n_layers - 1].n_out, order, first + start, m)
            rows = min(min(n, BLOCK), total_rows - last)
            if order == NULL:
                self.foresee_rows(block_X + m * self.layers[0].n_in, NULL, rows)
            else:
                self.foresee_rows(X, order + last, rows)
            if self.deltas_block(block_X, block_Y, C, m):
                return 1
            self.count_cost(C, NULL, m)
            if start + m < n:
                self.sum_block(self.sums, block_X, m, start == 0)
            else:
                self.apply_block(block_X, m, NULL if start == 0 else self.sums, n)
            self.ask_for_rows(self.layers[0].n_in * BLOCK)
            start += m
        self.look_for_signals(n * self.n_parameters)
        return 0

    cdef int take_tiny_step(self, const real *X, const real *Y, Py_ssize_t n) except -1 nogil:
        """The same on at most BLOCK examples of a tiny network, whose mirror is up to date."""
        cdef Py_ssize_t i, n_0 = self.layers[0].n_in, n_L = self.layers[self.n_layers - 1].n_out
        cdef real C[BLOCK]
        for i in range(n):
            if not tiny_deltas(self.layers, self.n_layers, self.storage, self.mirror, self.cost_kind, self.output_mask,
                               self.output_scratch, self.dC_da_output, &C[i], i, X + i * n_0, Y + i * n_L):
                # The general path meets the same number and says which it is.
                if self.deltas_block(X, Y, C, n):
                    return 1
                return self.fail(2, self.n_layers)
        self.count_cost(C, NULL, n)
        return 0

    cdef void mirror_layers(self) noexcept nogil:
        cdef Py_ssize_t l
        cdef Layer *layer
        for l in range(1, self.n_layers):
            layer = &self.layers[l]
            mirror_weights(self.mirror + layer.mirror_offset, self.storage + layer.offset, layer.ld, layer.n_in,
                           layer.n_out)

    cdef void apply_tiny(self, const real *X, Py_ssize_t n) noexcept nogil:
        self.begin_step(n)
        tiny_update(self.layers, self.n_layers, self.storage, self.mirror, X, n, self.step_size)

    # ---- many steps -------------------------------------------------------------------------------------------------

    cdef int train_pass(
        self, const real *X, const real *Y, const int64_t *order, Py_ssize_t n, Py_ssize_t batch_size,
    ) except -1 nogil:
        cdef Py_ssize_t start = 0, m, n_0 = self.layers[0].n_in, n_L = self.layers[self.n_layers - 1].n_out
        cdef const real *batch_X
        cdef const real *batch_Y
        cdef bint tiny = self.is_tiny and self.rule == SGD and batch_size <= BLOCK
        if tiny:
            self.mirror_layers()
        while start < n:
            m = min(batch_size, n - start)
            if tiny:
                batch_X = X + start * n_0
                batch_Y = Y + start * n_L
                if order != NULL:
                    batch_X = self.gather(self.gathered_X, X, n_0, order, start, m)
                    batch_Y = self.gather(self.gathered_Y, Y, n_L, order, start, m)
                if self.take_tiny_step(batch_X, batch_Y, m):
                    return 1
                self.apply_tiny(batch_X, m)
                self.look_for_signals(1000 * m)
            elif self.take_step(X, Y, order, start, m, n):
                return 1
            start += m
        return 0

    # ---- a single step, from Python ---------------------------------------------------------------------------------

    cdef bint targets_are_valid(self, const real *y, Py_ssize_t count) noexcept nogil:
        """Finite, and in the range the cost asks for (as validation.targets)."""
        cdef Py_ssize_t i
        if not all_finite(y, count):
            return False
        if self.cost_kind == CROSS_ENTROPY or self.cost_kind == POISSON:
            for i in range(count):
                if y[i] < 0 or (y[i] > 1 and self.cost_kind == CROSS_ENTROPY):
                    return False
        return True

    cdef bint state_is_finite(self) noexcept nogil:
        """Whether every parameter and all of the optimiser's state is."""
        cdef Py_ssize_t i
        if not all_finite(self.storage, self.storage_size):
            return False
        for i in range(self.n_slots):
            if not all_finite(self.slot_data[i], self.storage_size):
                return False
        return True

    cdef bint cannot_overflow(self, const real *X, Py_ssize_t n) noexcept nogil:
        """Whether the step along the deltas that are there surely leaves every number finite.

        From the largest numbers alone: |sum_i a_k delta_j| <= n max|a| max|delta|, and so on through the rule. Nearly
        every step passes, and need not be undone.
        """
        cdef Py_ssize_t l
        cdef Layer *layer
        cdef double gradient = 0, step, a = largest(X, n * self.layers[0].n_in)
        cdef double bound = <double> LARGEST_NUMBER / 8, t = <double> (self.step_count + 1), root
        cdef double w = largest(self.storage, self.storage_size)
        for l in range(self.n_layers):
            layer = &self.layers[l]
            gradient = max(gradient, max(a, 1.0) * largest(layer.delta, n * layer.ld))
            a = largest(layer.a, n * layer.ld)
        step = gradient
        if not (n * gradient < bound and self.learning_rate < bound):
            return False
        if self.rule == MOMENTUM or self.rule == NESTEROV:
            step = gradient + largest(self.slot_data[0], self.storage_size)
            step += gradient
        elif self.rule == ADAM:
            root = sqrt(1 - pow(self.beta2, t))
            step = gradient + largest(self.slot_data[0], self.storage_size)
            if not (gradient * gradient < bound and self.learning_rate / (1 - pow(self.beta1, t)) < bound
                    and largest(self.slot_data[1], self.storage_size) < bound):
                return False
            step = step / (self.epsilon * root) / (1 - pow(self.beta1, t))
        return step < bound and w + self.learning_rate * step < bound and self.cost_is_finite()

    cdef int prepare_step(self, const real *X, const real *Y, Py_ssize_t n) except -1 nogil:
        """Everything before the first parameter changes. 0; 1 after `fail`; 2 if the step might have to be undone."""
        cdef real C[BLOCK]
        if self.is_tiny and self.rule == SGD:
            self.mirror_layers()
            return 1 if self.take_tiny_step(X, Y, n) else 2
        if self.deltas_block(X, Y, C, n):
            return 1
        self.count_cost(C, NULL, n)
        return 0 if self.cannot_overflow(X, n) else 2

    cdef void finish_step(self, const real *X, Py_ssize_t n) noexcept nogil:
        self.foresee_rows(NULL, NULL, 0)
        if self.is_tiny and self.rule == SGD:
            self.apply_tiny(X, n)
        else:
            self.apply_block(X, n, NULL, n)

    cdef int finish_or_restore(self, const real *X, Py_ssize_t n, real *backup) noexcept nogil:
        """The step, undone if it left a number that is not finite: then 1. backup has room for storage and slots."""
        cdef Py_ssize_t i
        cdef size_t size = self.storage_size * sizeof(real)
        cdef int64_t step_count = self.step_count
        memcpy(backup, self.storage, size)
        for i in range(self.n_slots):
            memcpy(backup + (i + 1) * self.storage_size, self.slot_data[i], size)
        self.finish_step(X, n)
        if self.state_is_finite() and self.cost_is_finite():
            return 0
        memcpy(self.storage, backup, size)
        for i in range(self.n_slots):
            memcpy(self.slot_data[i], backup + (i + 1) * self.storage_size, size)
        self.step_count = step_count
        return 1
