# whatever the compiler's target has: NEON on arm64, plain numbers under MSVC, float64.
include "rows_6.pxi"
include "engine.pyx"
include "normal_equations.pyx"
