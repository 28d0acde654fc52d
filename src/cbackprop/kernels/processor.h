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
#include <cpuid.h>

static int cbackprop_has_bits(unsigned int word, unsigned int bits) { return (word & bits) == bits; }

static int cbackprop_has_features(int level)
{
    unsigned int eax, ebx = 0, ecx = 0, edx, saved = 0;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    if (level == 2)
        return cbackprop_has_bits(ecx, bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT);
    if (!cbackprop_has_bits(ecx, bit_OSXSAVE | bit_AVX | bit_FMA))
        return 0;
    __asm__ __volatile__("xgetbv" : "=a"(saved), "=d"(edx) : "c"(0));
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return 0;
    if (level == 3) /* saved: the 128 bits of SSE and the 128 above them */
        return cbackprop_has_bits(saved, 0x6) && cbackprop_has_bits(ebx, bit_AVX2 | bit_BMI | bit_BMI2);
    if (level == 4) /* also mask registers, upper halves and the upper 16 registers */
        return cbackprop_has_bits(saved, 0xe6) &&
               cbackprop_has_bits(ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ | bit_AVX512CD);
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
