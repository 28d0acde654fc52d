/* What this processor, with its operating system, can run of a SIMD level beyond what the level below it needs. */
#ifndef CBACKPROP_PROCESSOR_H
#define CBACKPROP_PROCESSOR_H

#if defined(__aarch64__)
#define CBACKPROP_NEON 1
#else
#define CBACKPROP_NEON 0
#endif

#if !defined(__x86_64__) || !(defined(__GNUC__) || defined(__clang__))

static int cbackprop_supports(int level) { (void)level; return 0; }

#else

#ifdef _MSC_VER

/* __builtin_cpu_supports asks clang's own library, with which MSVC's linker does not link. By hand, then: bits of CPUID's
 * registers, and what the operating system keeps of a thread's when it takes its processor away, in XCR0 (Intel,
 * Software Developer's Manual, volume 1, sections 14.3 and 15.2 to 15.4, and volume 2, CPUID). */
static unsigned int cbackprop_cpuid(unsigned int leaf, unsigned int *ebx, unsigned int *ecx)
{
    unsigned int eax, edx;
    __asm__ __volatile__("cpuid" : "=a"(eax), "=b"(*ebx), "=c"(*ecx), "=d"(edx) : "a"(leaf), "c"(0));
    return eax;
}

static int cbackprop_has_bits(unsigned int word, unsigned int bits) { return (word & bits) == bits; }

static int cbackprop_has_features(int level)
{
    unsigned int ebx, ecx, edx, saved, last_leaf = cbackprop_cpuid(0, &ebx, &ecx);
    cbackprop_cpuid(1, &ebx, &ecx);
    if (level == 2) /* SSSE3, SSE4.1, SSE4.2, POPCNT */
        return cbackprop_has_bits(ecx, 1u << 9 | 1u << 19 | 1u << 20 | 1u << 23);
    if (last_leaf < 7 || !cbackprop_has_bits(ecx, 1u << 12 | 1u << 27 | 1u << 28)) /* FMA, OSXSAVE, AVX */
        return 0;
    __asm__ __volatile__("xgetbv" : "=a"(saved), "=d"(edx) : "c"(0));
    cbackprop_cpuid(7, &ebx, &ecx);
    if (level == 3) /* BMI1, AVX2, BMI2; saved: the 128 bits of SSE and the 128 above them */
        return cbackprop_has_bits(saved, 0x6) && cbackprop_has_bits(ebx, 1u << 3 | 1u << 5 | 1u << 8);
    if (level == 4) /* AVX512F, DQ, CD, BW, VL; saved: also mask registers, upper halves, the upper 16 registers */
        return cbackprop_has_bits(saved, 0xe6) && cbackprop_has_bits(ebx, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31);
    return 0;
}

#else

static int cbackprop_has_features(int level)
{
    __builtin_cpu_init();
    if (level == 2)
        return __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("sse4.2") &&
               __builtin_cpu_supports("popcnt");
    if (level == 3)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("bmi2");
    if (level == 4)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512cd");
    return 0;
}

#endif

static int cbackprop_supports(int level)
{
#ifdef CBACKPROP_CHECKED
    if (level == 4) /* lowered to AVX2 in the checked build: what level 3 needs is enough */
        return 1;
#endif
    return cbackprop_has_features(level);
}

#endif
#endif
