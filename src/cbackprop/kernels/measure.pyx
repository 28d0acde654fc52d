# What the machine can do at best, to compare with what a network reaches.

from cbackprop.kernels.simd cimport LANES, real, vec, vec_fma, vec_set1, vec_store


def fused_multiply_adds(Py_ssize_t rounds, /):
    """Run 12 * rounds vector multiply-adds on registers, 12 chains side by side; returns how many numbers that is.

    Two units of 4 to 5 cycles' latency are kept busy by 8 to 10 chains; 12 is what a tile has.
    """
    cdef vec acc[12]
    cdef vec factor = vec_set1(<real> 0.999), term = vec_set1(<real> 1e-3)
    cdef real lanes[16]
    cdef Py_ssize_t i, _round
    for i in range(12):
        acc[i] = vec_set1(<real> i)
    with nogil:
        for _round in range(rounds):
            for i in range(12):
                acc[i] = vec_fma(acc[i], factor, term)
    for i in range(1, 12):
        acc[0] = acc[0] + acc[i]
    # The sum is looked at, so that the compiler cannot drop the work.
    vec_store(lanes, acc[0])
    if not lanes[0] >= 0:
        raise ArithmeticError("multiply-adds of positive numbers went astray")
    return 12 * rounds * LANES


def deltas_pass(Core network not None, X, Y, /):
    """The part of `gradient` that makes the deltas, without what is then made of them. Whether all were finite."""
    cdef Py_ssize_t n = X.shape[0], n_in = network.layers[0].n_in, start = 0, m
    cdef Py_ssize_t n_out = network.layers[network.n_layers - 1].n_out
    cdef real *x = pointer(X, n * n_in, False)
    cdef real *y = pointer(Y, n * n_out, False)
    cdef real C[BLOCK]
    cdef bint failed = False
    enter(network)
    try:
        reserve(network, n)
        with nogil:
            while start < n and not failed:
                m = min(n - start, BLOCK)
                prefetch_later(network, x + (start + m) * n_in, NULL, min(n - start - m, BLOCK))
                failed = deltas_block(network, x + start * n_in, y + start * n_out, C, m)
                start += m
    finally:
        leave(network)
    return not failed
