# x86-64-v4 (AVX-512), float32.
include "rows_14.pxi"
include "engine.pyx"
