# First-order steps over a piece of one layer's parameters: `rows` rows of `width` numbers. Parameters and slots share
# one layout, rows ld apart; the gradient's rows are ld_sum apart. Padding stays 0 (0 / (sqrt 0 + epsilon) = 0).
# Formulas are PyTorch's, named beside each. gradient_sum / n is the mean gradient.

from libc.math cimport pow, sqrt

from cbackprop.kernels.simd cimport (
    LANES, real, vec, vec_abs, vec_fma, vec_load, vec_max, vec_min, vec_set1, vec_sqrt, vec_store, vec_where_gt,
)

cdef enum:
    NO_RULE, SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, ADAGRAD, RPROP

UPDATE_RULES = {
    "sgd": SGD, "momentum": MOMENTUM, "nesterov": NESTEROV, "adam": ADAM, "adamw": ADAMW, "rmsprop": RMSPROP,
    "adagrad": ADAGRAD, "rprop": RPROP,
}


cdef void sgd_update(
    real *w, Py_ssize_t ld,                                                     # IN/OUT
    const real *gradient_sum, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width, real factor,  # IN
) noexcept nogil:
    """w <- w + factor . sum, factor = -learning_rate / n: the plain downhill step, with the rounding of the fused one.
    """
    cdef Py_ssize_t j, _k
    cdef vec f = vec_set1(factor)
    for _k in range(rows):
        j = 0
        while j < width:
            vec_store(w + j, vec_fma(f, vec_load(gradient_sum + j), vec_load(w + j)))
            j += LANES
        w += ld
        gradient_sum += ld_sum


cdef void momentum_update(
    real *w, real *velocity, Py_ssize_t ld,                                     # IN/OUT
    const real *gradient_sum, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
    real n, real learning_rate, real momentum, bint nesterov,
) noexcept nogil:
    """v <- momentum v + g; w <- w - learning_rate v, or - learning_rate (g + momentum v)  (torch.optim.SGD)."""
    cdef Py_ssize_t j, _k
    cdef vec g, v
    cdef vec one_nth = vec_set1(1 / n), mu = vec_set1(momentum), step = vec_set1(-learning_rate)
    for _k in range(rows):
        j = 0
        while j < width:
            g = vec_load(gradient_sum + j) * one_nth
            v = vec_fma(mu, vec_load(velocity + j), g)
            vec_store(velocity + j, v)
            if nesterov:
                v = vec_fma(mu, v, g)
            vec_store(w + j, vec_fma(step, v, vec_load(w + j)))
            j += LANES
        w += ld
        velocity += ld
        gradient_sum += ld_sum


cdef void adam_update(
    real *w, real *m, real *v, Py_ssize_t ld,                                   # IN/OUT
    const real *gradient_sum, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
    real n, real beta1, real one_minus_beta1, real beta2, real one_minus_beta2,
    real step_size_root, real epsilon_root,
) noexcept nogil:
    """m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2;
    w <- w - (learning_rate / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)  (torch.optim.Adam).

    Written with one division, w - step_size root m / (sqrt(v) + epsilon root), where step_size = learning_rate /
    (1 - b1^t) and root = sqrt(1 - b2^t). These and 1 - b are formed in float64: in float32 1 - 0.999 would lose three
    digits.
    """
    cdef Py_ssize_t j, _k
    cdef vec g, m_new, v_new
    cdef vec one_nth = vec_set1(1 / n), b1 = vec_set1(beta1), c1 = vec_set1(one_minus_beta1)
    cdef vec b2 = vec_set1(beta2), c2 = vec_set1(one_minus_beta2)
    cdef vec step = vec_set1(-step_size_root), eps = vec_set1(epsilon_root)
    for _k in range(rows):
        j = 0
        while j < width:
            g = vec_load(gradient_sum + j) * one_nth
            m_new = vec_fma(b1, vec_load(m + j), c1 * g)
            v_new = vec_fma(b2, vec_load(v + j), (c2 * g) * g)
            vec_store(m + j, m_new)
            vec_store(v + j, v_new)
            vec_store(w + j, vec_fma(step, m_new / (vec_sqrt(v_new) + eps), vec_load(w + j)))
            j += LANES
        w += ld
        m += ld
        v += ld
        gradient_sum += ld_sum


cdef void scale_piece(real *w, Py_ssize_t ld, Py_ssize_t rows, Py_ssize_t width, real factor) noexcept nogil:
    """w <- factor w: AdamW's decay, 1 - learning_rate weight_decay  (torch.optim.AdamW)."""
    cdef Py_ssize_t j, _k
    cdef vec f = vec_set1(factor)
    for _k in range(rows):
        j = 0
        while j < width:
            vec_store(w + j, f * vec_load(w + j))
            j += LANES
        w += ld


cdef void rmsprop_update(
    real *w, real *v, real *mean, real *velocity, Py_ssize_t ld,                # IN/OUT; mean and velocity may be NULL
    const real *gradient_sum, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
    real n, real learning_rate, real alpha, real one_minus_alpha, real epsilon, real momentum,
) noexcept nogil:
    """v <- alpha v + (1 - alpha) g^2; step = g / (sqrt(v) + epsilon); w <- w - learning_rate step
    (torch.optim.RMSprop).

    Centred: mean <- alpha mean + (1 - alpha) g, and v - mean^2 in the place of v. With momentum: velocity <- momentum
    velocity + step, and that in the place of step.
    """
    cdef Py_ssize_t j, _k
    cdef vec g, v_new, m_new, step, zero = vec_set1(0)
    cdef vec one_nth = vec_set1(1 / n), decay = vec_set1(alpha), rest = vec_set1(one_minus_alpha)
    cdef vec eps = vec_set1(epsilon), mu = vec_set1(momentum), rate = vec_set1(-learning_rate)
    for _k in range(rows):
        j = 0
        while j < width:
            g = vec_load(gradient_sum + j) * one_nth
            v_new = vec_fma(decay, vec_load(v + j), (rest * g) * g)
            vec_store(v + j, v_new)
            if mean != NULL:
                m_new = vec_fma(decay, vec_load(mean + j), rest * g)
                vec_store(mean + j, m_new)
                # Not below 0, where rounding would take it.
                v_new = vec_max(vec_fma(-m_new, m_new, v_new), zero)
            step = g / (vec_sqrt(v_new) + eps)
            if velocity != NULL:
                step = vec_fma(mu, vec_load(velocity + j), step)
                vec_store(velocity + j, step)
            vec_store(w + j, vec_fma(rate, step, vec_load(w + j)))
            j += LANES
        w += ld
        v += ld
        if mean != NULL:
            mean += ld
        if velocity != NULL:
            velocity += ld
        gradient_sum += ld_sum


cdef void adagrad_update(
    real *w, real *sum, Py_ssize_t ld,                                          # IN/OUT
    const real *gradient_sum, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
    real n, real learning_rate, real epsilon,
) noexcept nogil:
    """sum <- sum + g^2; w <- w - learning_rate g / (sqrt(sum) + epsilon)  (torch.optim.Adagrad)."""
    cdef Py_ssize_t j, _k
    cdef vec g, total
    cdef vec one_nth = vec_set1(1 / n), eps = vec_set1(epsilon), rate = vec_set1(-learning_rate)
    for _k in range(rows):
        j = 0
        while j < width:
            g = vec_load(gradient_sum + j) * one_nth
            total = vec_fma(g, g, vec_load(sum + j))
            vec_store(sum + j, total)
            vec_store(w + j, vec_fma(rate, g / (vec_sqrt(total) + eps), vec_load(w + j)))
            j += LANES
        w += ld
        sum += ld
        gradient_sum += ld_sum


cdef void rprop_update(
    real *w, real *previous, real *size, real *change, Py_ssize_t ld,           # IN/OUT
    const real *gradient_sum, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
    real n, real first_size, real shrink, real grow, real least, real most, bint go_back,
) noexcept nogil:
    """iRprop+ (Igel & Huesken 2003, "Empirical evaluation of the improved Rprop learning algorithms").

    With s = g previous: size <- min(grow size, most) for s > 0, max(shrink size, least) for s < 0. Where s < 0 no step
    is taken, or, if the cost has grown (go_back), the last one is taken back, and g counts as 0 the next time.
    Otherwise w <- w - sign(g) size. Without going back it is torch.optim.Rprop. A size of 0 is one not yet set.
    """
    cdef Py_ssize_t j, _k
    cdef vec g, s, step, moved, w_old, zero = vec_set1(0), one_nth = vec_set1(1 / n)
    for _k in range(rows):
        j = 0
        while j < width:
            g = vec_load(gradient_sum + j) * one_nth
            # The signs alone: a product of two small derivatives would vanish.
            s = vec_load(previous + j)
            s = vec_where_gt(g, zero, s, vec_where_gt(zero, g, -s, zero))
            step = vec_load(size + j)
            w_old = vec_load(w + j)
            moved = vec_load(change + j)
            # Padding has no gradient ever, and its size stays 0.
            step = vec_where_gt(step, zero, step, vec_where_gt(vec_abs(g), zero, vec_set1(first_size), zero))
            step = vec_where_gt(s, zero, vec_min(step * vec_set1(grow), vec_set1(most)),
                                vec_where_gt(zero, s, vec_max(step * vec_set1(shrink), vec_set1(least)), step))
            vec_store(size + j, step)
            g = vec_where_gt(zero, s, zero, g)
            vec_store(previous + j, g)
            # -sign(g) size; where s < 0 back by the last change, or nothing.
            step = vec_where_gt(g, zero, -step, vec_where_gt(zero, g, step, zero))
            step = vec_where_gt(zero, s, -moved if go_back else zero, step)
            vec_store(change + j, step)
            vec_store(w + j, w_old + step)
            j += LANES
        w += ld
        previous += ld
        size += ld
        change += ld
        gradient_sum += ld_sum


cdef void add_penalty(
    real *gradient_sum, Py_ssize_t ld_sum,                                      # IN/OUT
    const real *w, Py_ssize_t ld, Py_ssize_t rows, Py_ssize_t width, real l1, real l2,  # IN
) noexcept nogil:
    """gradient_sum += l2 w + l1 sign(w), of weights, with both factors times the number of examples; sign(0) is 0."""
    cdef Py_ssize_t j, _k
    cdef vec x, zero = vec_set1(0), pull = vec_set1(l1), slope = vec_set1(l2)
    for _k in range(rows):
        j = 0
        while j < width:
            x = vec_load(w + j)
            vec_store(gradient_sum + j, vec_fma(slope, x, vec_load(gradient_sum + j))
                      + vec_where_gt(x, zero, pull, vec_where_gt(zero, x, -pull, zero)))
            j += LANES
        w += ld
        gradient_sum += ld_sum


cdef void limit_norms(
    real *Wt, Py_ssize_t ld, Py_ssize_t n_in, Py_ssize_t width, real max_norm,  # IN/OUT (n_in, width)
) noexcept nogil:
    """Every neuron's incoming weights w_j. shortened to the Euclidean length max_norm at most (Srivastava et al. 2014,
    section 5.1): columns of Wt."""
    cdef Py_ssize_t j = 0, k
    cdef vec sum, largest_w, scale, factor, x, zero = vec_set1(0), one = vec_set1(1), limit = vec_set1(max_norm)
    while j < width:
        # Scaled by the largest, so that no square overflows.
        largest_w = zero
        for k in range(n_in):
            largest_w = vec_max(vec_abs(vec_load(Wt + k * ld + j)), largest_w)
        scale = vec_where_gt(largest_w, zero, largest_w, one)
        sum = zero
        for k in range(n_in):
            x = vec_load(Wt + k * ld + j) / scale
            sum = vec_fma(x, x, sum)
        sum = vec_sqrt(sum)
        factor = vec_where_gt(sum, limit / scale, limit / scale / sum, one)
        for k in range(n_in):
            vec_store(Wt + k * ld + j, vec_load(Wt + k * ld + j) * factor)
        j += LANES


cdef void begin_step(Core core, double total) noexcept nogil:
    """The step counts, and its factors are formed in float64; total is its number of examples, or their weights'
    sum.
    """
    cdef double root, cost
    core.step_count += 1
    core.step_size = <real> core.learning_rate
    if core.rule == SGD:
        core.step_size = <real> (-core.learning_rate / total)
    elif core.rule == ADAM or core.rule == ADAMW:
        root = sqrt(1 - pow(core.beta2, <double> core.step_count))
        core.step_size = <real> (core.learning_rate / (1 - pow(core.beta1, <double> core.step_count)) * root)
        core.epsilon_root = <real> (core.epsilon * root)
    elif core.rule == ADAGRAD:
        core.step_size = <real> (core.learning_rate / (1 + (core.step_count - 1) * core.decay))
    elif core.rule == RPROP:
        cost = (core.cost_total + core.cost_correction) / total
        core.cost_has_grown = cost > core.previous_cost
        core.previous_cost = cost


cdef void update_piece(
    Core core, Py_ssize_t offset, Py_ssize_t ld, const real *gradient_sum, Py_ssize_t ld_sum,
    Py_ssize_t rows, Py_ssize_t width, double total,
) noexcept nogil:
    """The rule of the step begun on some of the parameters, along their mean gradient gradient_sum / total."""
    cdef real *w = core.storage + offset
    cdef real *slots[3]
    cdef Py_ssize_t i
    cdef real n = <real> total
    if width == ld and width == ld_sum:
        width *= rows
        rows = 1
    for i in range(3):
        slots[i] = NULL if core.slot_data[i] == NULL else core.slot_data[i] + offset
    if core.rule == SGD:
        sgd_update(w, ld, gradient_sum, ld_sum, rows, width, core.step_size)
    elif core.rule == ADAM or core.rule == ADAMW:
        if core.rule == ADAMW:
            scale_piece(w, ld, rows, width, <real> (1 - core.learning_rate * core.decay))
        adam_update(w, slots[0], slots[1], ld, gradient_sum, ld_sum, rows, width, n,
                    <real> core.beta1, <real> (1 - core.beta1), <real> core.beta2, <real> (1 - core.beta2),
                    core.step_size, core.epsilon_root)
    elif core.rule == RMSPROP:
        rmsprop_update(w, slots[0], slots[1] if core.centred else NULL, slots[2] if core.centred else slots[1], ld,
                       gradient_sum, ld_sum, rows, width, n, core.step_size, <real> core.decay,
                       <real> (1 - core.decay), <real> core.epsilon, <real> core.momentum)
    elif core.rule == ADAGRAD:
        adagrad_update(w, slots[0], ld, gradient_sum, ld_sum, rows, width, n, core.step_size, <real> core.epsilon)
    elif core.rule == RPROP:
        rprop_update(w, slots[0], slots[1], slots[2], ld, gradient_sum, ld_sum, rows, width, n,
                     <real> min(max(core.learning_rate, core.least_size), core.most_size), <real> core.shrink,
                     <real> core.grow, <real> core.least_size, <real> core.most_size,
                     core.takes_back and core.cost_has_grown)
    else:
        momentum_update(w, slots[0], ld, gradient_sum, ld_sum, rows, width, n, core.step_size,
                        <real> core.momentum, core.rule == NESTEROV)
