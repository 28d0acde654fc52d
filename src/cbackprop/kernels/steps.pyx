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
    Py_ssize_t lda, n
    double total            # the examples of the step, or the sum of their weights
    real *sums
    bint foresees           # whether rows are to be asked for
    Py_ssize_t share        # columns of each part


cdef void update_part(void *context, int part) noexcept nogil:
    cdef Update *update = <Update *> context
    (<Steps> update.steps).apply_columns(update, part)


cdef class Steps(Curvature):
    """A network's optimiser and its steps."""

    cdef list slot_arrays
    cdef real *slot_data[3]
    cdef Py_ssize_t n_slots
    cdef bint is_tiny
    cdef int rule
    cdef readonly str rule_name
    cdef readonly tuple hyper_parameters
    cdef double momentum, beta1, beta2, epsilon, decay
    cdef double shrink, grow, least_size, most_size         # rprop's
    cdef bint takes_back, centred
    cdef public double previous_cost                        # of rprop's last step
    # Of the pass under way: 0 for none of each.
    cdef double l1, l2, max_norm, clip_norm, noise
    cdef uint64_t noise_key
    cdef Py_ssize_t batch
    cdef bint plain             # none of these, no weights and no dropout
    cdef public double learning_rate
    cdef public int64_t step_count
    # Of the step under way: what the rule multiplies with.
    cdef real step_size, epsilon_root
    cdef bint cost_has_grown

    def __cinit__(self, tuple sizes, tuple activations, cost, dtype_name, int threads):
        cdef Py_ssize_t l, total = 0
        cdef Layer *layer
        self.slot_arrays = []
        self.hyper_parameters = ()
        self.rule = NO_RULE
        self.plain = True
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

    cdef void begin_step(self, double total) noexcept nogil:
        """The step counts, and its factors are formed in float64; total is its number of examples, or their weights'
        sum.
        """
        cdef double root, cost
        self.step_count += 1
        self.step_size = <real> self.learning_rate
        if self.rule == SGD:
            self.step_size = <real> (-self.learning_rate / total)
        elif self.rule == ADAM or self.rule == ADAMW:
            root = sqrt(1 - pow(self.beta2, <double> self.step_count))
            self.step_size = <real> (self.learning_rate / (1 - pow(self.beta1, <double> self.step_count)) * root)
            self.epsilon_root = <real> (self.epsilon * root)
        elif self.rule == ADAGRAD:
            self.step_size = <real> (self.learning_rate / (1 + (self.step_count - 1) * self.decay))
        elif self.rule == RPROP:
            cost = (self.cost_total + self.cost_correction) / total
            self.cost_has_grown = cost > self.previous_cost
            self.previous_cost = cost

    cdef void update_piece(
        self, Py_ssize_t offset, Py_ssize_t ld, const real *gradient_sum, Py_ssize_t ld_sum,
        Py_ssize_t rows, Py_ssize_t width, double total,
    ) noexcept nogil:
        """The rule of the step begun on some of the parameters, along their mean gradient gradient_sum / total."""
        cdef real *w = self.storage + offset
        cdef real *slots[3]
        cdef Py_ssize_t i
        cdef real n = <real> total
        if width == ld and width == ld_sum:
            width *= rows
            rows = 1
        for i in range(3):
            slots[i] = NULL if self.slot_data[i] == NULL else self.slot_data[i] + offset
        if self.rule == SGD:
            sgd_update(w, ld, gradient_sum, ld_sum, rows, width, self.step_size)
        elif self.rule == ADAM or self.rule == ADAMW:
            if self.rule == ADAMW:
                scale_piece(w, ld, rows, width, <real> (1 - self.learning_rate * self.decay))
            adam_update(w, slots[0], slots[1], ld, gradient_sum, ld_sum, rows, width, n,
                        <real> self.beta1, <real> (1 - self.beta1), <real> self.beta2, <real> (1 - self.beta2),
                        self.step_size, self.epsilon_root)
        elif self.rule == RMSPROP:
            rmsprop_update(w, slots[0], slots[1] if self.centred else NULL, slots[2] if self.centred else slots[1], ld,
                           gradient_sum, ld_sum, rows, width, n, self.step_size, <real> self.decay,
                           <real> (1 - self.decay), <real> self.epsilon, <real> self.momentum)
        elif self.rule == ADAGRAD:
            adagrad_update(w, slots[0], ld, gradient_sum, ld_sum, rows, width, n, self.step_size, <real> self.epsilon)
        elif self.rule == RPROP:
            rprop_update(w, slots[0], slots[1], slots[2], ld, gradient_sum, ld_sum, rows, width, n,
                         <real> min(max(self.learning_rate, self.least_size), self.most_size), <real> self.shrink,
                         <real> self.grow, <real> self.least_size, <real> self.most_size,
                         self.takes_back and self.cost_has_grown)
        else:
            momentum_update(w, slots[0], ld, gradient_sum, ld_sum, rows, width, n, self.step_size,
                            <real> self.momentum, self.rule == NESTEROV)

    cdef void finish_gradient(
        self, Layer *layer, real *gradient_sum, Py_ssize_t ld_sum, Py_ssize_t k, Py_ssize_t j, Py_ssize_t rows,
        Py_ssize_t width, double total,
    ) noexcept nogil:
        """Noise and penalties for rows k ... and columns j ... of a layer's Wt; row n_in is the bias, which has no
        penalty.
        """
        cdef Py_ssize_t kk, jj, end = min(width, layer.n_out - j)
        cdef uint64_t index
        if self.noise > 0:
            for kk in range(rows):
                for jj in range(end):
                    index = self.batch * self.n_parameters + layer.start
                    if k + kk < layer.n_in:
                        index += (j + jj) * layer.n_in + k + kk
                    else:
                        index += layer.n_in * layer.n_out + j + jj
                    gradient_sum[kk * ld_sum + jj] += <real> (self.noise * normal_at(self.noise_key, index))
        if (self.l1 > 0 or self.l2 > 0) and k < layer.n_in:
            add_penalty(gradient_sum, ld_sum, self.storage + layer.offset + k * layer.ld + j, layer.ld, rows, width,
                        <real> (self.l1 * total), <real> (self.l2 * total))

    cdef int apply_sums(self, real *sums, double total) except -1 nogil:
        """Take a step along gradient sums that are there in full, layer by layer."""
        cdef Py_ssize_t l
        cdef Layer *layer
        cdef real *gradient
        self.begin_step(total)
        for l in range(self.n_layers):
            layer = &self.layers[l]
            gradient = sums + layer.offset
            if not self.plain:
                self.finish_gradient(layer, gradient, layer.ld, 0, 0, layer.n_in, layer.width, total)
                self.finish_gradient(layer, gradient + layer.n_in * layer.ld, layer.ld, layer.n_in, 0, 1, layer.width,
                                     total)
            self.update_piece(layer.offset, layer.ld, gradient, layer.ld, layer.n_in + 1, layer.ld, total)
            if self.max_norm > 0:
                limit_norms(self.storage + layer.offset, layer.ld, layer.n_in, layer.width, <real> self.max_norm)
        return 0

    cdef void apply_block(self, const real *X, Py_ssize_t n, real *sums, double total) noexcept nogil:
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
        cdef bint fused = self.rule == SGD and sums == NULL and not (self.l1 > 0 or self.l2 > 0 or self.noise > 0)
        cdef Py_ssize_t first = j
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
                    if not self.plain:
                        self.finish_gradient(layer, gradient, ld_sum, k, j, m, columns, update.total)
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
                if not self.plain:
                    self.finish_gradient(layer, gradient, layer.ld, layer.n_in, j, 1, columns, update.total)
                self.update_piece(k, layer.ld, gradient, layer.ld, 1, columns, update.total)
            j += columns
        if self.max_norm > 0:
            limit_norms(self.storage + layer.offset + first, layer.ld, layer.n_in, end - first, <real> self.max_norm)

    cdef int take_step(
        self, const real *X, const real *Y, const real *sample_weight, const int64_t *order,
        Py_ssize_t first, Py_ssize_t n, Py_ssize_t total_rows,
    ) except -1 nogil:
        """One step on the batch of n rows from `first`. 0, or 1 after `fail` with nothing changed.

        Examples whose weights are all 0 make no step.
        """
        cdef Py_ssize_t start = 0, m, last, rows
        cdef real C[BLOCK]
        cdef const real *block_X
        cdef const real *block_Y
        cdef real *sums
        cdef double total = <double> n
        if sample_weight != NULL:
            total = 0
            for m in range(first, first + n):
                total += sample_weight[m if order == NULL else order[m]]
            if total == 0:
                return 0
        if not self.can_fuse(min(n, BLOCK)) or n > BLOCK * GROUP_BLOCKS:
            if self.gradient_sums(X, Y, sample_weight, self.clip_norm, order, first, n, &sums):
                return 1
            self.apply_sums(sums, total)
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
            self.block_row = first + start
            if self.deltas_block(block_X, block_Y, C, m):
                return 1
            if self.weigh_block(block_X, C, m, sample_weight, order, first + start, self.clip_norm):
                return 1
            if start + m < n:
                self.sum_block(self.sums, block_X, m, start == 0)
            else:
                self.apply_block(block_X, m, NULL if start == 0 else self.sums, total)
            self.ask_for_rows(self.layers[0].n_in * BLOCK)
            start += m
        self.look_for_signals(n * self.n_parameters)
        return 0

    cdef int take_step_by_cost(
        self, const real *X, const real *Y, const real *sample_weight, const int64_t *order,
        Py_ssize_t first, Py_ssize_t n, Py_ssize_t total_rows,
    ) except -1 nogil:
        """The same for Rprop, which looks at the batch's own cost: as the difference of two sums over the pass it would
        not have the bits of the batch alone.
        """
        cdef double pass_total = self.cost_total, pass_correction = self.cost_correction
        self.cost_total = 0
        self.cost_correction = 0
        if self.take_step(X, Y, sample_weight, order, first, n, total_rows):
            return 1
        pass_correction += self.cost_correction
        add_compensated(&pass_total, &pass_correction, self.cost_total)
        self.cost_total = pass_total
        self.cost_correction = pass_correction
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
        self, const real *X, const real *Y, const real *sample_weight, const int64_t *order, Py_ssize_t n,
        Py_ssize_t batch_size,
    ) except -1 nogil:
        cdef Py_ssize_t start = 0, m, n_0 = self.layers[0].n_in, n_L = self.layers[self.n_layers - 1].n_out
        cdef const real *batch_X
        cdef const real *batch_Y
        cdef bint tiny = self.is_tiny and self.rule == SGD and self.plain and batch_size <= BLOCK
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
            elif self.rule == RPROP:
                if self.take_step_by_cost(X, Y, sample_weight, order, start, m, n):
                    return 1
            elif self.take_step(X, Y, sample_weight, order, start, m, n):
                return 1
            self.batch += 1
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
        elif self.rule != SGD and self.rule != ADAM:
            return False
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
        cdef double previous_cost = self.previous_cost
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
        self.previous_cost = previous_cost
        return 1
