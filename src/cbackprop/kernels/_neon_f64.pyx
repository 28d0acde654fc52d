# arm64 (NEON, which every such processor has, FMA included), float64.
include "rows_14.pxi"
include "engine.pyx"
include "normal_equations.pyx"
