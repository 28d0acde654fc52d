# whatever the compiler's target has: NEON on arm64, plain numbers under MSVC, float32.
include "rows_6.pxi"
include "engine.pyx"
