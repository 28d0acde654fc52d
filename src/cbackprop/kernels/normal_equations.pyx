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
    BAND_ROWS = 256          # of J at a time: they and what is written of a band stay in the cache
    BAND_COLUMNS = 256       # of a band at a time


def add_normal_equations(sums, J, r, Py_ssize_t P, int threads, /):
    """Add (J r)^T (J r) of some rows, J (n, P) and r (n,), to the bands of sums, see note (a)."""
    cdef Py_ssize_t n = r.size, width = (P + GROUP) // GROUP * GROUP, ld = padded(P + 1), size = 0
    cdef Py_ssize_t start, rows, i, j, height
    cdef Panels panels
    cdef real *band
    cdef real *piece  # (BAND_ROWS, ld) of J and r
    cdef const real *J_ip = pointer(J, n * P, False)
    cdef const real *r_i = pointer(r, n, False)
    for i from 0 <= i <= P by BAND:
        size += min(BAND, P + 1 - i) * (width - i)
    pointer(sums, size, True)
    panels.threads = max(1, min(threads, MOST_THREADS))
    panels.gathered = panels.size = 0
    if ld >= FAR:  # where rows lie closer, no product wants any
        panels.gathered = BAND_ROWS * 2 * LANES
        panels.size = panels.gathered + GATHERED_COLUMNS * GATHERED_DEPTH + GROUP
    array = aligned_zeros(min(n, BAND_ROWS) * ld + panels.threads * panels.size)
    piece = data(array)
    panels.first = piece + min(n, BAND_ROWS) * ld
    for start from 0 <= start < n by BAND_ROWS:
        rows = min(BAND_ROWS, n - start)
        for i in range(rows):
            memcpy(piece + i * ld, J_ip + (start + i) * P, P * sizeof(real))
            piece[i * ld + P] = r_i[start + i]
        band = data(sums)
        for i from 0 <= i <= P by BAND:
            height = min(BAND, P + 1 - i)
            with nogil:
                for j from i <= j < width by BAND_COLUMNS:
                    multiply_columns(band + j - i, width - i, piece + i, ld, piece + j, ld, band + j - i, width - i,
                                     height, min(BAND_COLUMNS, width - j), rows, False, 0, panels)
            band += height * (width - i)
            PyErr_CheckSignals()
