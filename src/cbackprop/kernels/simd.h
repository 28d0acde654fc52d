/* One vector type, `cbackprop_vec`, and the few operations the kernels need on it.
 *
 * This header fixes the two things a compiled module is made for: the number type (float32 where
 * CBACKPROP_FLOAT32 is defined, float64 otherwise) and the SIMD level (read from the compiler's own
 * macros, so -march decides). Everything above it is written once.
 *
 * Same bits on every level with FMA: a multiply-add is fused exactly where a kernel says vec_fma or
 * real_fma, and nowhere else (setup.py passes -ffp-contract=off). No operation here crosses lanes.
 *
 * Without GCC's vector extension (MSVC) a vector is one number and every operation is plain C:
 * slower, but the same source and the same results as the baseline without FMA.
 */
#ifndef CBACKPROP_SIMD_H
#define CBACKPROP_SIMD_H

#if defined(__FAST_MATH__)
#error "cbackprop must not be compiled with -ffast-math: its results would not be those it promises"
#endif

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef CBACKPROP_FLOAT32
typedef float cbackprop_real;
typedef int32_t cbackprop_int;
typedef uint32_t cbackprop_uint;
#define CBACKPROP_MANTISSA_BITS 23
#define CBACKPROP_EXPONENT_BIAS 127
#else
typedef double cbackprop_real;
typedef int64_t cbackprop_int;
typedef uint64_t cbackprop_uint;
#define CBACKPROP_MANTISSA_BITS 52
#define CBACKPROP_EXPONENT_BIAS 1023
#endif

/* Adding and subtracting 1.5 * 2^mantissa rounds to the nearest integer, which then stands in the low bits. */
#define CBACKPROP_ROUNDING_MAGIC \
    ((cbackprop_real)1.5 * (cbackprop_real)((int64_t)1 << CBACKPROP_MANTISSA_BITS))

/* ---- the vector type ------------------------------------------------------------------------- */

#if defined(__GNUC__) || defined(__clang__)
#ifndef CBACKPROP_VECTOR_BYTES
#if defined(__AVX512F__)
#define CBACKPROP_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define CBACKPROP_VECTOR_BYTES 32
#else
#define CBACKPROP_VECTOR_BYTES 16
#endif
#endif
typedef cbackprop_real cbackprop_vec __attribute__((vector_size(CBACKPROP_VECTOR_BYTES), may_alias));
typedef cbackprop_int cbackprop_ivec __attribute__((vector_size(CBACKPROP_VECTOR_BYTES), may_alias));
typedef cbackprop_uint cbackprop_uvec __attribute__((vector_size(CBACKPROP_VECTOR_BYTES), may_alias));
/* The same in memory aligned only as a single number is: rows of a caller's array. */
typedef cbackprop_real cbackprop_vec_unaligned
    __attribute__((vector_size(CBACKPROP_VECTOR_BYTES), may_alias, aligned(sizeof(cbackprop_real))));
#define CBACKPROP_LANES ((int)(CBACKPROP_VECTOR_BYTES / sizeof(cbackprop_real)))
#define CBACKPROP_LANE(v, i) ((v)[i])
#define CBACKPROP_INLINE static inline __attribute__((always_inline))
#define CBACKPROP_PREFETCH(p) __builtin_prefetch(p)
#else
#ifdef CBACKPROP_FLOAT32
#define CBACKPROP_VECTOR_BYTES 4
#else
#define CBACKPROP_VECTOR_BYTES 8
#endif
typedef cbackprop_real cbackprop_vec;
typedef cbackprop_int cbackprop_ivec;
typedef cbackprop_uint cbackprop_uvec;
#define CBACKPROP_LANES 1
#define CBACKPROP_LANE(v, i) (v)
#define CBACKPROP_SCALAR 1
#define CBACKPROP_INLINE static __inline
#define CBACKPROP_PREFETCH(p) ((void)(p))
#endif

#if defined(__x86_64__) && !defined(CBACKPROP_SCALAR)
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(CBACKPROP_SCALAR)
#include <arm_neon.h>
#endif

#if defined(__FMA__) || defined(__aarch64__) || defined(_M_ARM64)
#define CBACKPROP_HAS_FMA 1
#else
#define CBACKPROP_HAS_FMA 0
#endif

/* Rows of one product tile: accumulators of (rows x 2 vectors) that fit the register file. */
#if CBACKPROP_VECTOR_BYTES == 64
#define CBACKPROP_TILE_ROWS 14
#else
#define CBACKPROP_TILE_ROWS 6
#endif

/* ---- loads, stores, constants ---------------------------------------------------------------- */

CBACKPROP_INLINE cbackprop_vec vec_load(const cbackprop_real *p)
{
#ifdef CBACKPROP_SCALAR
    return *p;
#else
    return *(const cbackprop_vec_unaligned *)p;
#endif
}

CBACKPROP_INLINE void vec_store(cbackprop_real *p, cbackprop_vec v)
{
#ifdef CBACKPROP_SCALAR
    *p = v;
#else
    *(cbackprop_vec_unaligned *)p = v;
#endif
}

CBACKPROP_INLINE cbackprop_vec vec_set1(cbackprop_real x)
{
#ifdef CBACKPROP_SCALAR
    return x;
#else
    /* x - 0, not x + 0: the sign of -0 survives, and the compiler emits a plain broadcast. */
    return x - (cbackprop_vec){0};
#endif
}

/* The first `count` numbers, zeros in the lanes behind them; reads nothing beyond. */
CBACKPROP_INLINE cbackprop_vec vec_load_partial(const cbackprop_real *p, int64_t count)
{
    cbackprop_vec v = vec_set1(0);
    if (count >= CBACKPROP_LANES)
        return vec_load(p);
    memcpy(&v, p, (size_t)count * sizeof(cbackprop_real));
    return v;
}

CBACKPROP_INLINE void vec_store_partial(cbackprop_real *p, cbackprop_vec v, int64_t count)
{
    if (count >= CBACKPROP_LANES)
        vec_store(p, v);
    else
        memcpy(p, &v, (size_t)count * sizeof(cbackprop_real));
}

CBACKPROP_INLINE cbackprop_real vec_first(cbackprop_vec v) { return CBACKPROP_LANE(v, 0); }

/* A store past the caches, for results larger than they are: p on a whole vector's boundary, and whole 64-byte lines
 * one after the other. Plain where the processor has none. stream_fence() puts such stores before all that follow. */
CBACKPROP_INLINE void vec_stream(cbackprop_real *p, cbackprop_vec v)
{
#if defined(__AVX512F__) && !defined(CBACKPROP_SCALAR) && CBACKPROP_VECTOR_BYTES == 64
    _mm512_stream_si512((void *)p, (__m512i)v);
#elif defined(__AVX2__) && !defined(CBACKPROP_SCALAR) && CBACKPROP_VECTOR_BYTES == 32
    _mm256_stream_si256((__m256i *)(void *)p, (__m256i)v);
#elif defined(__SSE2__) && !defined(CBACKPROP_SCALAR) && CBACKPROP_VECTOR_BYTES == 16
    _mm_stream_si128((__m128i *)(void *)p, (__m128i)v);
#else
    vec_store(p, v);
#endif
}

CBACKPROP_INLINE void stream_fence(void)
{
#if defined(__SSE2__) && !defined(CBACKPROP_SCALAR)
    _mm_sfence();
#endif
}

/* ---- arithmetic that plain operators do not give --------------------------------------------- */

CBACKPROP_INLINE cbackprop_real real_fma(cbackprop_real a, cbackprop_real b, cbackprop_real c)
{
#if CBACKPROP_HAS_FMA
    return sizeof(cbackprop_real) == 4 ? (cbackprop_real)fmaf((float)a, (float)b, (float)c)
                                       : (cbackprop_real)fma(a, b, c);
#else
    return a * b + c;
#endif
}

CBACKPROP_INLINE cbackprop_vec vec_fma(cbackprop_vec a, cbackprop_vec b, cbackprop_vec c)
{
#if defined(CBACKPROP_SCALAR)
    return real_fma(a, b, c);
#elif defined(__AVX512F__) && CBACKPROP_VECTOR_BYTES == 64 && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX512F__) && CBACKPROP_VECTOR_BYTES == 64
    return (cbackprop_vec)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__FMA__) && CBACKPROP_VECTOR_BYTES == 32 && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FMA__) && CBACKPROP_VECTOR_BYTES == 32
    return (cbackprop_vec)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__) && CBACKPROP_VECTOR_BYTES == 16 && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(__aarch64__) && CBACKPROP_VECTOR_BYTES == 16
    return (cbackprop_vec)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#elif CBACKPROP_HAS_FMA
    cbackprop_vec result;
    for (int i = 0; i < CBACKPROP_LANES; i++)
        result[i] = real_fma(a[i], b[i], c[i]);
    return result;
#else
    return a * b + c;
#endif
}

/* a >= b ? x : y, lane by lane; a NaN in a or b gives y. */
CBACKPROP_INLINE cbackprop_vec vec_where_ge(cbackprop_vec a, cbackprop_vec b, cbackprop_vec x, cbackprop_vec y)
{
#ifdef CBACKPROP_SCALAR
    return a >= b ? x : y;
#else
    cbackprop_ivec mask = (cbackprop_ivec)(a >= b);
    return (cbackprop_vec)((mask & (cbackprop_ivec)x) | (~mask & (cbackprop_ivec)y));
#endif
}

/* a > b ? x : y, lane by lane; a NaN in a or b gives y. */
CBACKPROP_INLINE cbackprop_vec vec_where_gt(cbackprop_vec a, cbackprop_vec b, cbackprop_vec x, cbackprop_vec y)
{
#ifdef CBACKPROP_SCALAR
    return a > b ? x : y;
#else
    cbackprop_ivec mask = (cbackprop_ivec)(a > b);
    return (cbackprop_vec)((mask & (cbackprop_ivec)x) | (~mask & (cbackprop_ivec)y));
#endif
}

CBACKPROP_INLINE cbackprop_vec vec_abs(cbackprop_vec x)
{
#ifdef CBACKPROP_SCALAR
    return (cbackprop_real)fabs(x);
#else
    const cbackprop_uint sign = (cbackprop_uint)1 << (8 * sizeof(cbackprop_real) - 1);
    return (cbackprop_vec)((cbackprop_uvec)x & ~sign);
#endif
}

/* |magnitude| must be given non-negative: its sign bit is clear. */
CBACKPROP_INLINE cbackprop_vec vec_with_sign_of(cbackprop_vec magnitude, cbackprop_vec sign_source)
{
#ifdef CBACKPROP_SCALAR
    return (cbackprop_real)copysign(magnitude, sign_source);
#else
    const cbackprop_uint sign = (cbackprop_uint)1 << (8 * sizeof(cbackprop_real) - 1);
    return (cbackprop_vec)((cbackprop_uvec)magnitude | ((cbackprop_uvec)sign_source & sign));
#endif
}

CBACKPROP_INLINE cbackprop_vec vec_sqrt(cbackprop_vec x)
{
    cbackprop_vec result = x;
#ifdef CBACKPROP_SCALAR
    result = (cbackprop_real)sqrt(x);
#else
    /* Correctly rounded by IEEE 754 whichever instruction it becomes. */
    for (int i = 0; i < CBACKPROP_LANES; i++)
        result[i] = sizeof(cbackprop_real) == 4 ? (cbackprop_real)sqrtf((float)x[i]) : (cbackprop_real)sqrt(x[i]);
#endif
    return result;
}

/* erfc, lane by lane from the C library: the one function not our own (see math.pxd). */
CBACKPROP_INLINE cbackprop_vec vec_erfc(cbackprop_vec x)
{
#ifdef CBACKPROP_SCALAR
    return sizeof(cbackprop_real) == 4 ? (cbackprop_real)erfcf((float)x) : (cbackprop_real)erfc(x);
#else
    cbackprop_vec result = x;
    for (int i = 0; i < CBACKPROP_LANES; i++)
        result[i] = sizeof(cbackprop_real) == 4 ? (cbackprop_real)erfcf((float)x[i]) : (cbackprop_real)erfc(x[i]);
    return result;
#endif
}

/* ---- bits of floating-point numbers ---------------------------------------------------------- */

/* x * 2^n, where `rounded` = n + CBACKPROP_ROUNDING_MAGIC carries the integer n, |n| < 2048.
 * In two steps 2^(n >> 1) and 2^(n - (n >> 1)), so that gradual underflow rounds once. The shift is
 * done on the unsigned n + 2048: AVX2 has no arithmetic shift of 64-bit lanes. */
CBACKPROP_INLINE cbackprop_vec vec_scale(cbackprop_vec x, cbackprop_vec rounded)
{
    const cbackprop_real magic = CBACKPROP_ROUNDING_MAGIC;
    cbackprop_uint magic_bits;
    cbackprop_uvec n, half, first_bits, second_bits;
    cbackprop_vec first, second;
    memcpy(&magic_bits, &magic, sizeof magic);
    memcpy(&n, &rounded, sizeof n);
    n = n - magic_bits;
    half = ((n + (cbackprop_uint)2048) >> 1) - (cbackprop_uint)1024;
    first_bits = (half + (cbackprop_uint)CBACKPROP_EXPONENT_BIAS) << CBACKPROP_MANTISSA_BITS;
    second_bits = (n - half + (cbackprop_uint)CBACKPROP_EXPONENT_BIAS) << CBACKPROP_MANTISSA_BITS;
    memcpy(&first, &first_bits, sizeof first);
    memcpy(&second, &second_bits, sizeof second);
    return x * first * second;
}

/* For a positive normal x = m * 2^k with m in [sqrt(1/2), sqrt(2)): the m. */
CBACKPROP_INLINE cbackprop_vec vec_log_mantissa(cbackprop_vec x);
/* ... and the k, as a number. */
CBACKPROP_INLINE cbackprop_vec vec_log_exponent(cbackprop_vec x);

/* Bits of sqrt(1/2) in this type: subtracting them aligns the exponent field with the range of m. */
#ifdef CBACKPROP_FLOAT32
#define CBACKPROP_SQRT_HALF_BITS ((cbackprop_uint)0x3f3504f3u)
#else
#define CBACKPROP_SQRT_HALF_BITS ((cbackprop_uint)0x3fe6a09e667f3bcdu)
#endif

CBACKPROP_INLINE cbackprop_vec vec_log_mantissa(cbackprop_vec x)
{
    cbackprop_uvec bits;
    memcpy(&bits, &x, sizeof bits);
    bits = bits - CBACKPROP_SQRT_HALF_BITS;
    bits = (bits & (((cbackprop_uint)1 << CBACKPROP_MANTISSA_BITS) - 1)) + CBACKPROP_SQRT_HALF_BITS;
    memcpy(&x, &bits, sizeof x);
    return x;
}

CBACKPROP_INLINE cbackprop_vec vec_log_exponent(cbackprop_vec x)
{
    const cbackprop_real magic = CBACKPROP_ROUNDING_MAGIC;
    const cbackprop_uint bias = (cbackprop_uint)1 << (8 * sizeof(cbackprop_real) - 2 - CBACKPROP_MANTISSA_BITS);
    cbackprop_uint magic_bits;
    cbackprop_uvec bits;
    memcpy(&magic_bits, &magic, sizeof magic);
    memcpy(&bits, &x, sizeof bits);
    /* The exponent field of (x / sqrt(1/2)), kept non-negative by `bias`, put into the low bits of the magic number. */
    bits = ((bits - CBACKPROP_SQRT_HALF_BITS + (bias << CBACKPROP_MANTISSA_BITS)) >> CBACKPROP_MANTISSA_BITS);
    bits = bits + magic_bits - bias;
    memcpy(&x, &bits, sizeof x);
    return x - magic;
}

/* ---- doubles as wide as a vector ------------------------------------------------------------- */

/* For sums that need float64's range and digits, whatever the number type: CBACKPROP_WIDE_LANES numbers. */
#ifdef CBACKPROP_SCALAR
typedef double cbackprop_wide;
#define CBACKPROP_WIDE_LANES 1
#else
typedef double cbackprop_wide __attribute__((vector_size(CBACKPROP_VECTOR_BYTES), may_alias));
typedef double cbackprop_wide_unaligned
    __attribute__((vector_size(CBACKPROP_VECTOR_BYTES), may_alias, aligned(sizeof(double))));
#define CBACKPROP_WIDE_LANES (CBACKPROP_VECTOR_BYTES / 8)
#endif

CBACKPROP_INLINE cbackprop_wide wide_zero(void)
{
    cbackprop_wide zero = {0};
    return zero;
}

/* sum + x * x, lane by lane. The square of a float32 is exact in float64: the same bits with FMA and without. */
CBACKPROP_INLINE cbackprop_wide wide_add_squares(cbackprop_wide sum, const cbackprop_real *x)
{
#if defined(CBACKPROP_SCALAR)
    return sizeof(cbackprop_real) == 4 ? sum + (double)*x * (double)*x : (double)real_fma(*x, *x, (cbackprop_real)sum);
#elif defined(CBACKPROP_FLOAT32)
    typedef float half_vector __attribute__((vector_size(CBACKPROP_VECTOR_BYTES / 2), may_alias, aligned(4)));
    cbackprop_wide wide = __builtin_convertvector(*(const half_vector *)x, cbackprop_wide);
    return sum + wide * wide;
#else
    cbackprop_vec v = vec_load(x);
    return vec_fma(v, v, sum);
#endif
}

CBACKPROP_INLINE void wide_store(double *p, cbackprop_wide v)
{
#ifdef CBACKPROP_SCALAR
    *p = v;
#else
    *(cbackprop_wide_unaligned *)p = v;
#endif
}

#endif
