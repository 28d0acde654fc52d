# Whatever the compiler's target has, plain numbers under MSVC, float64.
include "rows_6.pxi"
include "engine.pyx"
include "normal_equations.pyx"
