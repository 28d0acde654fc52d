# First-order steps over a piece of one layer's parameters: `rows` rows of `width` numbers. Parameters and slots share
# one layout, rows ld apart; the gradient's rows are ld_sum apart. Padding stays 0 (0 / (sqrt 0 + epsilon) = 0).
# Formulas are PyTorch's, named at each. gradient_sum / n is the mean gradient.
#
# Rules are told apart in this file alone. A further one: a class in optimizers.py with its rule (name, slots and
# hyper-parameters), a formula in calculus.py, and here an id, a name, its hyper-parameters, the formula and a branch in
# `read_rule`, in `begin_update` (where a step has factors of its own) and in `update_piece`.

from libc.math cimport INFINITY, NAN, fma, ldexp, sqrt
from libc.stdint cimport int64_t

from cbackprop.kernels.simd cimport (
    LANES, real, vec, vec_abs, vec_fma, vec_load, vec_max, vec_min, vec_set1, vec_sqrt, vec_store, vec_where_gt,
)


cdef void sgd_update(
    real *w_kj, Py_ssize_t ld,                                                                   # IN/OUT
    const real *gradient_kj, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width, real factor,  # IN
) noexcept nogil:
    """w <- w + factor . sum, factor = -learning_rate / n: the bare downhill step, with the rounding of the fused one.
    """
    cdef Py_ssize_t j, _k
    cdef vec f = vec_set1(factor)
    for _k in range(rows):
        for j from 0 <= j < width by LANES:
            vec_store(w_kj + j, vec_fma(f, vec_load(gradient_kj + j), vec_load(w_kj + j)))
        w_kj += ld
        gradient_kj += ld_sum


cdef void momentum_update(
    real *w_kj, real *velocity, Py_ssize_t ld,                                      # IN/OUT
    const real *gradient_kj, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
    real n, real learning_rate, real momentum, bint nesterov,
) noexcept nogil:
    """v <- momentum v + g; w <- w - learning_rate v, or - learning_rate (g + momentum v)  (torch.optim.SGD)."""
    cdef Py_ssize_t j, _k
    cdef vec g, v
    cdef vec one_nth = vec_set1(1 / n), mu = vec_set1(momentum), step = vec_set1(-learning_rate)
    for _k in range(rows):
        for j from 0 <= j < width by LANES:
            g = vec_load(gradient_kj + j) * one_nth
            v = vec_fma(mu, vec_load(velocity + j), g)
            vec_store(velocity + j, v)
            if nesterov:
                v = vec_fma(mu, v, g)
            vec_store(w_kj + j, vec_fma(step, v, vec_load(w_kj + j)))
        w_kj += ld
        velocity += ld
        gradient_kj += ld_sum


cdef void adam_update(
    real *w_kj, real *m, real *v, Py_ssize_t ld,                                    # IN/OUT
    const real *gradient_kj, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
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
        for j from 0 <= j < width by LANES:
            g = vec_load(gradient_kj + j) * one_nth
            m_new = vec_fma(b1, vec_load(m + j), c1 * g)
            v_new = vec_fma(b2, vec_load(v + j), (c2 * g) * g)
            vec_store(m + j, m_new)
            vec_store(v + j, v_new)
            vec_store(w_kj + j, vec_fma(step, m_new / (vec_sqrt(v_new) + eps), vec_load(w_kj + j)))
        w_kj += ld
        m += ld
        v += ld
        gradient_kj += ld_sum


cdef void scale_piece(real *w_kj, Py_ssize_t ld, Py_ssize_t rows, Py_ssize_t width, real factor) noexcept nogil:
    """w <- factor w: AdamW's decay, 1 - learning_rate weight_decay  (torch.optim.AdamW)."""
    cdef Py_ssize_t j, _k
    cdef vec f = vec_set1(factor)
    for _k in range(rows):
        for j from 0 <= j < width by LANES:
            vec_store(w_kj + j, f * vec_load(w_kj + j))
        w_kj += ld


cdef void rmsprop_update(
    real *w_kj, real *v, real *mean, real *velocity, Py_ssize_t ld,  # IN/OUT; mean and velocity may be NULL
    const real *gradient_kj, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
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
        for j from 0 <= j < width by LANES:
            g = vec_load(gradient_kj + j) * one_nth
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
            vec_store(w_kj + j, vec_fma(rate, step, vec_load(w_kj + j)))
        w_kj += ld
        v += ld
        if mean != NULL:
            mean += ld
        if velocity != NULL:
            velocity += ld
        gradient_kj += ld_sum


cdef void adagrad_update(
    real *w_kj, real *sum, Py_ssize_t ld,                                           # IN/OUT
    const real *gradient_kj, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
    real n, real learning_rate, real epsilon,
) noexcept nogil:
    """sum <- sum + g^2; w <- w - learning_rate g / (sqrt(sum) + epsilon)  (torch.optim.Adagrad)."""
    cdef Py_ssize_t j, _k
    cdef vec g, total
    cdef vec one_nth = vec_set1(1 / n), eps = vec_set1(epsilon), rate = vec_set1(-learning_rate)
    for _k in range(rows):
        for j from 0 <= j < width by LANES:
            g = vec_load(gradient_kj + j) * one_nth
            total = vec_fma(g, g, vec_load(sum + j))
            vec_store(sum + j, total)
            vec_store(w_kj + j, vec_fma(rate, g / (vec_sqrt(total) + eps), vec_load(w_kj + j)))
        w_kj += ld
        sum += ld
        gradient_kj += ld_sum


cdef void rprop_update(
    real *w_kj, real *previous, real *size, real *change, Py_ssize_t ld,            # IN/OUT
    const real *gradient_kj, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width,  # IN
    real n, real first_size, real shrink, real grow, real least, real most, bint go_back,
) noexcept nogil:
    """iRprop+ (Igel & Huesken 2003, "Empirical evaluation of the improved Rprop learning algorithms").

    With s = g previous: size <- min(grow size, most) for s > 0, max(shrink size, least) for s < 0. Where s < 0 no step
    is taken, or, if the cost has grown (go_back), the last one is taken back, and g counts as 0 the next time.
    Otherwise w <- w - sign(g) size. Without going back it is torch.optim.Rprop. A size of 0 is one not yet set.
    """
    cdef Py_ssize_t j, _k
    cdef vec g, s, step, last_change, w_old, zero = vec_set1(0), one_nth = vec_set1(1 / n)
    for _k in range(rows):
        for j from 0 <= j < width by LANES:
            g = vec_load(gradient_kj + j) * one_nth
            # The signs alone: a product of two small derivatives would vanish.
            s = vec_load(previous + j)
            s = vec_where_gt(g, zero, s, vec_where_gt(zero, g, -s, zero))
            step = vec_load(size + j)
            w_old = vec_load(w_kj + j)
            last_change = vec_load(change + j)
            # Padding has no gradient ever, and its size stays 0.
            step = vec_where_gt(step, zero, step, vec_where_gt(vec_abs(g), zero, vec_set1(first_size), zero))
            step = vec_where_gt(s, zero, vec_min(step * vec_set1(grow), vec_set1(most)),
                                vec_where_gt(zero, s, vec_max(step * vec_set1(shrink), vec_set1(least)), step))
            vec_store(size + j, step)
            g = vec_where_gt(zero, s, zero, g)
            vec_store(previous + j, g)
            # -sign(g) size; where s < 0 back by the last change, or nothing.
            step = vec_where_gt(g, zero, -step, vec_where_gt(zero, g, step, zero))
            step = vec_where_gt(zero, s, -last_change if go_back else zero, step)
            vec_store(change + j, step)
            vec_store(w_kj + j, w_old + step)
        w_kj += ld
        previous += ld
        size += ld
        change += ld
        gradient_kj += ld_sum


cdef void add_penalty(
    real *gradient_kj, Py_ssize_t ld_sum,                                                  # IN/OUT
    const real *w_kj, Py_ssize_t ld, Py_ssize_t rows, Py_ssize_t width, real l1, real l2,  # IN
) noexcept nogil:
    """gradient_kj += l2 w + l1 sign(w), of weights, with both factors times the number of examples; sign(0) is 0."""
    cdef Py_ssize_t j, _k
    cdef vec x, zero = vec_set1(0), pull = vec_set1(l1), slope = vec_set1(l2)
    for _k in range(rows):
        for j from 0 <= j < width by LANES:
            x = vec_load(w_kj + j)
            vec_store(gradient_kj + j, vec_fma(slope, x, vec_load(gradient_kj + j))
                      + vec_where_gt(x, zero, pull, vec_where_gt(zero, x, -pull, zero)))
        w_kj += ld
        gradient_kj += ld_sum


cdef void limit_norms(
    real *w_kj, Py_ssize_t ld, Py_ssize_t n_in, Py_ssize_t width, real max_norm,  # IN/OUT (n_in, width)
) noexcept nogil:
    """Every neuron's incoming weights w_j. shortened to the Euclidean length max_norm at most (Srivastava et al. 2014,
    section 5.1): columns of Wt."""
    cdef Py_ssize_t j, k
    cdef vec sum, largest_w, scale, factor, x, zero = vec_set1(0), one = vec_set1(1), limit = vec_set1(max_norm)
    for j from 0 <= j < width by LANES:
        # Scaled by the largest, so that no square overflows.
        largest_w = zero
        for k in range(n_in):
            largest_w = vec_max(vec_abs(vec_load(w_kj + k * ld + j)), largest_w)
        scale = vec_where_gt(largest_w, zero, largest_w, one)
        sum = zero
        for k in range(n_in):
            x = vec_load(w_kj + k * ld + j) / scale
            sum = vec_fma(x, x, sum)
        sum = vec_sqrt(sum)
        factor = vec_where_gt(sum, limit / scale, limit / scale / sum, one)
        for k in range(n_in):
            vec_store(w_kj + k * ld + j, vec_load(w_kj + k * ld + j) * factor)


# ---- which rule is which ---------------------------------------------------------------------------------------------

cdef enum:
    NO_RULE, SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, RMSPROP, ADAGRAD, RPROP

UPDATE_RULES = {
    "sgd": SGD, "momentum": MOMENTUM, "nesterov": NESTEROV, "adam": ADAM, "adamw": ADAMW, "rmsprop": RMSPROP,
    "adagrad": ADAGRAD, "rprop": RPROP,
}

cdef enum:
    MOST_SLOTS = 3


cdef class Core  # see core.pyx

# What beta^t is made of, t in digits of 16: [k][digit] is beta^(digit 16^k), rounded once.
cdef struct Powers:
    double factors[16][16]

# The rule in use, with the hyper-parameters of whichever it is.
cdef struct UpdateRule:
    int kind
    Powers beta1_powers, beta2_powers
    double momentum, beta1, beta2, epsilon, weight_decay, alpha, learning_rate_decay
    double shrink, grow, least, most
    bint centred, takes_back, compares_costs
    # Of the step under way: factors formed once, in float64.
    real step_size, epsilon_root
    bint cost_has_grown


cdef void set_powers(Powers *powers, double beta) noexcept nogil:
    """Products of double-word numbers (a value and what it is off by; fma is exact before it rounds)."""
    cdef int k, digit
    cdef double base = beta, base_low = 0, high, low, product, error
    for k in range(16):
        high, low = 1, 0
        for digit in range(17):
            if digit < 16:
                powers.factors[k][digit] = high
            else:
                base, base_low = high, low
            product = high * base
            error = fma(high, base, -product) + (high * base_low + low * base)
            high = product + error
            low = error - (high - product)


cdef double power(const Powers *powers, int64_t t) noexcept nogil:
    """beta^t, t >= 0, by a few multiplications of one order: the C library's pow differs from one to the next in the
    last bit.
    """
    cdef int k = 0
    cdef double result = 1
    while t > 0:
        result = result * powers.factors[k][t % 16]
        t = t // 16
        k += 1
    return result


cdef int read_rule(UpdateRule *rule, object chosen) except -1:
    """Take an update_rules.UpdateRule, None for none: its kind and its hyper-parameters by name; no step is taken yet.
    Returns how many slots it has.

    A kernel reads as many slots as its kind has: others are refused here, and a kind that reads nothing here.
    """
    cdef int n_slots
    rule.kind = NO_RULE if chosen is None else UPDATE_RULES[chosen.name]
    if rule.kind == NO_RULE:
        return 0
    rule.compares_costs = chosen.compares_costs
    values = chosen.hyper_parameters
    if rule.kind == SGD:
        n_slots = 0
    elif rule.kind == MOMENTUM or rule.kind == NESTEROV:
        rule.momentum = values["momentum"]
        n_slots = 1
    elif rule.kind == ADAM or rule.kind == ADAMW:
        rule.beta1 = values["beta1"]
        rule.beta2 = values["beta2"]
        set_powers(&rule.beta1_powers, rule.beta1)
        set_powers(&rule.beta2_powers, rule.beta2)
        rule.epsilon = values["epsilon"]
        if rule.kind == ADAMW:
            rule.weight_decay = values["weight_decay"]
        n_slots = 2
    elif rule.kind == RMSPROP:
        rule.alpha = values["alpha"]
        rule.epsilon = values["epsilon"]
        rule.momentum = values["momentum"]
        rule.centred = values["centred"]
        # The mean where it is centred, then the velocity with momentum.
        n_slots = 1 + rule.centred + (rule.momentum > 0)
    elif rule.kind == ADAGRAD:
        rule.epsilon = values["epsilon"]
        rule.learning_rate_decay = values["learning_rate_decay"]
        n_slots = 1
    elif rule.kind == RPROP:
        rule.shrink = values["shrink"]
        rule.grow = values["grow"]
        rule.least = values["least"]
        rule.most = values["most"]
        rule.takes_back = values["takes_back"]
        n_slots = 3
    else:
        raise NotImplementedError(f"no hyper-parameters are read for {chosen.name}")
    if len(chosen.slots) != n_slots or n_slots > MOST_SLOTS:
        raise ValueError(f"{chosen.name} has the slots {chosen.slots}; expected {n_slots} of them")
    return n_slots


cdef inline bint is_product_update(Core core) noexcept nogil:
    """Whether the step is w + factor . sum and nothing else, as the gradient's product can take it by itself."""
    return core.update_rule.kind == SGD


cdef inline bint looks_at_cost(Core core) noexcept nogil:
    """Whether a step depends on the cost of its own batch."""
    return core.update_rule.compares_costs


cdef inline void begin_product_update(Core core, double total) noexcept nogil:
    """A step of `total` examples (or of their weights' sum) counts, and its factor is formed in float64."""
    core.step_count += 1
    core.update_rule.step_size = <real> (-core.learning_rate / total)


cdef void begin_update(Core core, double total) noexcept nogil:
    """The same for every rule and all its factors."""
    cdef UpdateRule *rule = &core.update_rule
    cdef double root, cost
    # By itself, for its steps are the shortest there are: registers need not be kept for what the others call.
    if is_product_update(core):
        begin_product_update(core, total)
        return
    core.step_count += 1
    rule.step_size = <real> core.learning_rate
    if rule.compares_costs:
        cost = ldexp(core.cost_total + core.cost_correction, core.weight_shift) / total
        rule.cost_has_grown = cost > core.previous_cost
        core.previous_cost = cost
    if rule.kind == ADAM or rule.kind == ADAMW:
        root = sqrt(1 - power(&rule.beta2_powers, core.step_count))
        rule.step_size = <real> (core.learning_rate / (1 - power(&rule.beta1_powers, core.step_count)) * root)
        rule.epsilon_root = <real> (rule.epsilon * root)
    elif rule.kind == ADAGRAD:
        rule.step_size = <real> (core.learning_rate / (1 + (core.step_count - 1) * rule.learning_rate_decay))


cdef void update_piece(
    Core core, Py_ssize_t offset, Py_ssize_t ld,                                                   # IN/OUT at `offset`
    const real *gradient_sum, Py_ssize_t ld_sum, Py_ssize_t rows, Py_ssize_t width, double total,  # IN
) noexcept nogil:
    """The rule of the step begun on some of the parameters, along their mean gradient gradient_sum / total."""
    cdef const UpdateRule *rule = &core.update_rule
    cdef real *w = core.storage + offset
    cdef real *slots[MOST_SLOTS]
    cdef Py_ssize_t i, k
    cdef real n = <real> total
    if width == ld and width == ld_sum:
        width *= rows
        rows = 1
    for i in range(MOST_SLOTS):
        slots[i] = NULL if core.slot_data[i] == NULL else core.slot_data[i] + offset
    if rule.kind == SGD:
        sgd_update(w, ld, gradient_sum, ld_sum, rows, width, rule.step_size)
    elif rule.kind == MOMENTUM or rule.kind == NESTEROV:
        momentum_update(w, slots[0], ld, gradient_sum, ld_sum, rows, width, n, rule.step_size,
                        <real> rule.momentum, rule.kind == NESTEROV)
    elif rule.kind == ADAM or rule.kind == ADAMW:
        if rule.kind == ADAMW:
            scale_piece(w, ld, rows, width, <real> (1 - core.learning_rate * rule.weight_decay))
        adam_update(w, slots[0], slots[1], ld, gradient_sum, ld_sum, rows, width, n,
                    <real> rule.beta1, <real> (1 - rule.beta1), <real> rule.beta2, <real> (1 - rule.beta2),
                    rule.step_size, rule.epsilon_root)
    elif rule.kind == RMSPROP:
        rmsprop_update(w, slots[0], slots[1] if rule.centred else NULL, slots[2] if rule.centred else slots[1], ld,
                       gradient_sum, ld_sum, rows, width, n, rule.step_size, <real> rule.alpha,
                       <real> (1 - rule.alpha), <real> rule.epsilon, <real> rule.momentum)
    elif rule.kind == ADAGRAD:
        adagrad_update(w, slots[0], ld, gradient_sum, ld_sum, rows, width, n, rule.step_size, <real> rule.epsilon)
    elif rule.kind == RPROP:
        rprop_update(w, slots[0], slots[1], slots[2], ld, gradient_sum, ld_sum, rows, width, n,
                     <real> min(max(core.learning_rate, rule.least), rule.most), <real> rule.shrink,
                     <real> rule.grow, <real> rule.least, <real> rule.most, rule.takes_back and rule.cost_has_grown)
    else:
        # No rule's formula: parameters that are not finite, which the call reports.
        for k in range(rows):
            fill(w + k * ld, <real> NAN, width)


cdef double most_of_step(Core core, double gradient, double bound) noexcept nogil:
    """What |step / learning_rate| surely does not exceed, for no derivative larger than `gradient`, once the slots stay
    below `bound`, too; infinite where that is not known.
    """
    cdef const UpdateRule *rule = &core.update_rule
    cdef real *const *slot_data = core.slot_data
    cdef Py_ssize_t size = core.storage_size
    cdef int64_t t = core.step_count + 1
    cdef double root
    if rule.kind == SGD:
        return gradient
    elif rule.kind == MOMENTUM or rule.kind == NESTEROV:
        return gradient + largest(slot_data[0], size) + gradient
    elif rule.kind == ADAM:
        if (gradient * gradient < bound and core.learning_rate / (1 - power(&rule.beta1_powers, t)) < bound
                and largest(slot_data[1], size) < bound):
            root = sqrt(1 - power(&rule.beta2_powers, t))
            return (gradient + largest(slot_data[0], size)) / (rule.epsilon * root) / (1 - power(&rule.beta1_powers, t))
    return INFINITY
