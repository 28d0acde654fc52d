# Which SIMD levels this processor and its operating system can run. Compiled for the baseline: a module of a higher
# level must not be imported to ask, its very first instructions may be the wrong ones.

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(__amd64__)) && (defined(__GNUC__) || defined(__clang__))
    static int cbackprop_supports(int level)
    {
        __builtin_cpu_init();
        if (level == 2)
            return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1")
                && __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
        if (level == 3)
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
                && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    #ifdef CBACKPROP_CHECKED
        if (level == 4) /* lowered to AVX2 in the checked build: what level 3 needs is enough */
            return 1;
    #endif
        if (level == 4)
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
                && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")
                && __builtin_cpu_supports("avx512cd");
        return 0;
    }
    #else
    static int cbackprop_supports(int level) { (void)level; return 0; }
    #endif
    #if defined(__aarch64__)
    #define CBACKPROP_NEON 1
    #else
    #define CBACKPROP_NEON 0
    #endif
    """
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
