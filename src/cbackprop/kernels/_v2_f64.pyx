# x86-64-v2 (SSE4.2, no FMA), float64.
include "rows_6.pxi"
include "engine.pyx"
include "normal_equations.pyx"
