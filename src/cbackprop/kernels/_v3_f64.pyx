# x86-64-v3 (AVX2 and FMA), float64.
include "rows_6.pxi"
include "engine.pyx"
include "normal_equations.pyx"
