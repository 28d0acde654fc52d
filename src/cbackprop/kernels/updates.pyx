# First-order steps over a piece of one layer's parameters: `rows` rows of `width` numbers. Parameters and slots share
# one layout, rows ld apart; the gradient's rows are ld_sum apart. Padding stays 0 (0 / (sqrt 0 + epsilon) = 0).
# Formulas are PyTorch's, named beside each. gradient_sum / n is the mean gradient.

from cbackprop.kernels.simd cimport LANES, real, vec, vec_fma, vec_load, vec_set1, vec_sqrt, vec_store

cdef enum:
    NO_RULE, SGD, MOMENTUM, NESTEROV, ADAM

UPDATE_RULES = {"sgd": SGD, "momentum": MOMENTUM, "nesterov": NESTEROV, "adam": ADAM}


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
