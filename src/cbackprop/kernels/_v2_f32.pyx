# x86-64-v2 (SSE4.2, no FMA), float32.
include "rows_6.pxi"
include "engine.pyx"
