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
    """The part of `gradient` that makes the deltas, without what is then made of them. None, or what was not finite."""
    cdef Call call
    begin(network, &call, X, Y)
    return run(network, deltas_all, &call, call.n, 0)[0]


cdef int deltas_all(Core core, const Call *call) except -1 nogil:
    cdef Py_ssize_t start, m
    cdef real C[BLOCK]
    for start from 0 <= start < call.n by BLOCK:
        m = min(call.n - start, BLOCK)
        prefetch_later(core, call.X + (start + m) * core.n_0, NULL, min(call.n - start - m, BLOCK))
        if deltas_block(core, call.X + start * core.n_0, call.Y + start * core.n_L, C, m):
            return 1
    return 0
