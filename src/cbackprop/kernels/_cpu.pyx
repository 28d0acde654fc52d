# Which SIMD levels this processor and its operating system can run. Compiled for the baseline: a module of a higher
# level must not be imported to ask, its very first instructions may be the wrong ones.

cdef extern from "processor.h":
    int cbackprop_supports(int level)
    bint CBACKPROP_NEON


def supported_levels():
    """Those of simd_levels.LEVELS that run here, the best first; 'generic' always does."""
    names = []
    for level in (4, 3, 2):
        if all(cbackprop_supports(lower) for lower in range(2, level + 1)):
            names.append(f"v{level}")
    if CBACKPROP_NEON:
        names.append("neon")
    return (*names, "generic")
