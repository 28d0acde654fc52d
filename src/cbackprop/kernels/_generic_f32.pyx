# Whatever the compiler's target has, plain numbers under MSVC, float32.
include "rows_6.pxi"
include "engine.pyx"
