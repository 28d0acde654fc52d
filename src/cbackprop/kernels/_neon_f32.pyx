# arm64 (NEON, which every such processor has, FMA included), float32.
include "rows_14.pxi"
include "engine.pyx"
