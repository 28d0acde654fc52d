# What the machine can do at best, to compare with what a network reaches.

from cbackprop.kernels.simd cimport LANES, PUT_AWAY, real, vec, vec_fma, vec_set1, vec_store


def fused_multiply_adds(Py_ssize_t blocks, Py_ssize_t depth, /):
    """Run multiply-adds as the largest tile does, but on registers alone; returns how many numbers that is.

    A chain goes on through the addend, as a tile's do: many processors wait less long for it than for a factor.
    """
    cdef vec acc[TILE_ROWS][2]
    cdef vec factor = vec_set1(<real> 0.999), other = vec_set1(<real> 1e-3), total = vec_set1(0)
    cdef real lanes[16]
    cdef Py_ssize_t i, c, _p, _block
    with nogil:
        for _block in range(blocks):
            for i in range(TILE_ROWS):
                for c in range(2):
                    acc[i][c] = total + vec_set1(<real> (2 * i + c))  # no two the same, or one chain would do
            for _p in range(depth):
                # Without FMA the product would be taken once and for all.
                PUT_AWAY(factor)
                for i in range(TILE_ROWS):
                    for c in range(2):
                        acc[i][c] = vec_fma(factor, other, acc[i][c])
            for i in range(TILE_ROWS):
                for c in range(2):
                    total = total + acc[i][c]
            total = total * vec_set1(<real> 1e-3)
    # The sum is looked at, so that the compiler cannot drop the work.
    vec_store(lanes, total)
    if not lanes[0] >= 0:
        raise ArithmeticError("multiply-adds of positive numbers went astray")
    return blocks * depth * TILE_ROWS * 2 * LANES


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
