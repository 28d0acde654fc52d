# The compiled engine of one SIMD level and number type: all of its parts, in order. Nothing else includes any of them.
# What float64 alone has, normal_equations.pyx, comes after it in each _LEVEL_f64.pyx.
#
# a) Included by each _LEVEL_f32.pyx and _LEVEL_f64.pyx, after the row counts of the level's tiles.
# b) Each part cimports whatever it uses of the headers. What other parts define it sees, as one module does; only types
#    must stand before what holds them.
# c) Steps of a vector or a block are `for j from 0 <= j < n by LANES`: range() is a loop of C only where Cython itself
#    knows the sign of the step.

cimport numpy as cnp

cnp.import_array()

include "tile.pyx"
include "random.pyx"
include "activations.pyx"
include "costs.pyx"
include "layers.pyx"
include "sparse.pyx"
include "per_example.pyx"
include "updates.pyx"
include "core.pyx"
include "memory.pyx"
include "ownership.pyx"
include "tree.pyx"
include "passes.pyx"
include "sums.pyx"
include "derivatives.pyx"
include "gram.pyx"
include "moments.pyx"
include "curvature.pyx"
include "tiny.pyx"
include "steps.pyx"
include "calls.pyx"
include "measure.pyx"

initialise_tiles()
