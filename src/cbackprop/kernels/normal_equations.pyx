# The normal equations of least squares, summed over the rows of a Jacobian J and their residuals r.
#
# a) (J r)^T (J r) has J^T J, J^T r and |r|^2 in one product. Of it what lies on the diagonal and above is made, in
#    bands of BAND rows, each from its own first column on; `sums` has one band after the other. Columns go in whole
#    groups, the last filled with zeros. The lower half is neither made nor kept, but for that of a band's own square.
# b) Each number is one chain of multiply-adds in the order of the rows, which goes on where the call before left it. So
#    neither the pieces that rows come in, nor threads, which share columns, change a bit of it.
# c) A function of arrays, not of a network: the equations are float64 whatever the network computes in. The float64
#    modules alone include it, after engine.pyx.

from cpython.exc cimport PyErr_CheckSignals
from libc.string cimport memcpy

from cbackprop.kernels.simd cimport GROUP, LANES, real
from cbackprop.kernels.threads cimport MOST_THREADS

cdef enum:
    BAND = GATHERED_COLUMNS  # layout.py has the same
    PIECE_ROWS = 256         # of J and r at a time, in blocks of so many columns, which a second-level cache holds
    PIECE_BLOCK = 2 * BAND


cdef void add_piece(
    real *sums, Py_ssize_t P,                                     # IN/OUT, see note (a)
    const real *piece, Py_ssize_t ld, Py_ssize_t n, bint begins,  # IN  (blocks, PIECE_ROWS, ld), n rows of each
    const real *zeros, Panels panels,                             # IN  (PIECE_BLOCK,)
) noexcept nogil:
    """Block by block of columns, each with all the bands that come down to it."""
    cdef Py_ssize_t i, j, first, end, height, width = (P + GROUP) // GROUP * GROUP
    cdef real *band
    cdef real *target
    for j from 0 <= j < width by PIECE_BLOCK:
        end = min(j + PIECE_BLOCK, width)
        band = sums
        for i from 0 <= i < min(end, P + 1) by BAND:
            first = max(i, j)
            height = min(BAND, P + 1 - i)
            target = band + first - i
            multiply_columns(target, width - i, piece + i // PIECE_BLOCK * PIECE_ROWS * ld + i % PIECE_BLOCK, ld,
                             piece + j // PIECE_BLOCK * PIECE_ROWS * ld + first - j, ld,
                             zeros if begins else target, 0 if begins else width - i,
                             height, end - first, n, False, 0, panels)
            band += height * (width - i)


def add_normal_equations(sums, J, r, Py_ssize_t P, bint begins, int threads, /):
    """Add (J r)^T (J r) of some rows, J (n, P) and r (n,), to the bands of sums (note a), or begin them with it."""
    cdef Py_ssize_t n = r.size, width = (P + GROUP) // GROUP * GROUP, size = 0, ld = padded(width), start, rows, i, j
    cdef Panels panels
    cdef real *all_bands
    cdef real *piece
    cdef const real *J_ip = pointer(J, n * P, False)
    cdef const real *r_i = pointer(r, n, False)
    for i from 0 <= i <= P by BAND:
        size += min(BAND, P + 1 - i) * (width - i)
    all_bands = pointer(sums, size, True)
    panels.threads = max(1, min(threads, MOST_THREADS))
    panels.gathered = panels.size = 0
    if width > PIECE_BLOCK:
        # Rows so far apart that products gather columns and copy panels.
        ld = FAR + GROUP
        panels.gathered = PIECE_ROWS * 2 * LANES
        panels.size = panels.gathered + GATHERED_COLUMNS * GATHERED_DEPTH + GROUP
    size = pieces_of(width, PIECE_BLOCK) * PIECE_ROWS * ld
    array = aligned_zeros(size + PIECE_BLOCK + panels.threads * panels.size)
    piece = data(array)
    panels.first = piece + size + PIECE_BLOCK
    for start from 0 <= start < n by PIECE_ROWS:
        rows = min(PIECE_ROWS, n - start)
        with nogil:
            for i in range(rows):
                for j from 0 <= j < P by PIECE_BLOCK:
                    memcpy(piece + (j // PIECE_BLOCK * PIECE_ROWS + i) * ld, J_ip + (start + i) * P + j,
                           min(PIECE_BLOCK, P - j) * sizeof(real))
                piece[(P // PIECE_BLOCK * PIECE_ROWS + i) * ld + P % PIECE_BLOCK] = r_i[start + i]
            add_piece(all_bands, P, piece, ld, rows, begins and start == 0, piece + size, panels)
        PyErr_CheckSignals()
