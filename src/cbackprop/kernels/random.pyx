# Random numbers inside the kernels: 64 random bits for each place, by its number, so that neither the size of a block
# nor the number of threads changes one. random_numbers.py has the same.

from libc.math cimport frexp, sqrt
from libc.stdint cimport uint64_t

from cbackprop.random_numbers import QUANTILE_COEFFICIENTS


cdef inline uint64_t word_at(uint64_t key, uint64_t index) noexcept nogil:
    """Word `index` of the stream `key`: SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
    generators"), whose state is key + (index + 1) times the golden ratio's constant.
    """
    cdef uint64_t z = key + (index + 1) * <uint64_t> 0x9E3779B97F4A7C15u
    z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9u
    z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EBu
    return z ^ (z >> 31)


# Wichura (1988), algorithm AS 241, PPND16: numerator and denominator of the centre, the near and the far tail.
cdef double QUANTILE[6][8]
for _row, _coefficients in enumerate(QUANTILE_COEFFICIENTS):
    for _column, _coefficient in enumerate(_coefficients):
        QUANTILE[_row][_column] = _coefficient


cdef inline double rational(Py_ssize_t row, double r) noexcept nogil:
    cdef Py_ssize_t i
    cdef double numerator = 0, denominator = 0
    for i in range(7, -1, -1):
        numerator = numerator * r + QUANTILE[row][i]
        denominator = denominator * r + QUANTILE[row + 1][i]
    return numerator / denominator


cdef double logarithm(double x) noexcept nogil:
    """ln x for positive normal x from basic arithmetic, as random_numbers.logarithm: the same bits everywhere."""
    cdef int k, odd
    cdef double m = frexp(x, &k), s, s2, series = 0
    if m < 0.7071067811865476:
        m = 2.0 * m
        k -= 1
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    for odd in range(23, 1, -2):
        series = (series + 1.0 / odd) * s2
    return k * 0.6931471805599453 + 2.0 * (s + s * series)


cdef double normal_at(uint64_t key, uint64_t index) noexcept nogil:
    """Number `index` of N(0, 1): the quantile of a uniform number from the word's upper 52 bits."""
    cdef double p = (<double> (word_at(key, index) >> 12) + 0.5) * 2.0 ** -52
    cdef double q = p - 0.5, r = 0.180625 - q * q, size
    if abs(q) <= 0.425:
        return q * rational(0, r)
    r = sqrt(-logarithm(p if q < 0 else 1.0 - p))
    size = rational(2, r - 1.6) if r <= 5.0 else rational(4, r - 5.0)
    return -size if q < 0 else size
