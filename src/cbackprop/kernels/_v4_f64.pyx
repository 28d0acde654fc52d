# x86-64-v4 (AVX-512), float64.
include "rows_14.pxi"
include "engine.pyx"
include "normal_equations.pyx"
