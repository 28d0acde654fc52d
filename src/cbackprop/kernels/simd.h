/* One vector type, `cbackprop_vec`, and the few operations the kernels need on it.
 *
 * This header fixes the two things a compiled module is made for: the number type (float32 where
 * CBACKPROP_FLOAT32 is defined, float64 otherwise) and the SIMD level (read from the compiler's own
 * macros, so -march decides). Everything above it is written once.
 *
 * Same bits on every level with FMA: a multiply-add is fused exactly where a kernel says vec_fma or
 * real_fma, and nowhere else (setup.py passes -ffp-contract=off). No operation here crosses lanes.
 *
 * Without GCC's vector extension (MSVC's own compiler) a vector is one number and every operation is plain C:
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
/* The compiler forgets how this pointer came about, and goes on from it: it does not work it out once more. */
#define CBACKPROP_KEEP(x) __asm__("" : "+r"(x))
/* Wherever it was, this number lies in memory now, and no register holds it. */
#define CBACKPROP_PUT_AWAY(x) __asm__("" : "+m"(x))
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
#define CBACKPROP_KEEP(x) ((void)(x))
#define CBACKPROP_PUT_AWAY(x) ((void)(x))
#endif

#if defined(__x86_64__) && !defined(CBACKPROP_SCALAR)
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(CBACKPROP_SCALAR)
#include <arm_neon.h>
#endif

/* __FP_FAST_FMA: the compiler knows an instruction for it (s390x, POWER, RISC-V and others), not the library alone. */
#if defined(__FMA__) || defined(__aarch64__) || defined(_M_ARM64)
#define CBACKPROP_HAS_FMA 1
#elif defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
#define CBACKPROP_HAS_FMA 1
#else
#define CBACKPROP_HAS_FMA 0
#endif

/* What `info` says of the compiler. */
#if defined(__clang__)
#define CBACKPROP_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define CBACKPROP_COMPILER "GCC " __VERSION__
#elif defined(_MSC_VER)
#define CBACKPROP_TEXT_OF(number) #number
#define CBACKPROP_TEXT(number) CBACKPROP_TEXT_OF(number)
#define CBACKPROP_COMPILER "MSVC " CBACKPROP_TEXT(_MSC_VER)
#else
#define CBACKPROP_COMPILER "unknown"
#endif

/* Rows of a tile that one pointer reaches: x86 adds a multiple of the stride in the instruction that loads, and has few
 * registers; arm64 moves the pointer on in it, and has many. */
#if defined(__aarch64__)
#define CBACKPROP_ROWS_REACHED 1
#else
#define CBACKPROP_ROWS_REACHED 4
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

/* Masked access where the level has it; elsewhere a copy of `count` numbers. */
#if CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__)
#define CBACKPROP_MASKED 1
#ifdef CBACKPROP_FLOAT32
#define CBACKPROP_MASK(count) ((__mmask16)((1u << (count)) - 1u))
#define CBACKPROP_MASKED_LOAD(p, count) _mm512_maskz_loadu_ps(CBACKPROP_MASK(count), p)
#define CBACKPROP_MASKED_STORE(p, count, v) _mm512_mask_storeu_ps(p, CBACKPROP_MASK(count), (__m512)(v))
#else
#define CBACKPROP_MASK(count) ((__mmask8)((1u << (count)) - 1u))
#define CBACKPROP_MASKED_LOAD(p, count) _mm512_maskz_loadu_pd(CBACKPROP_MASK(count), p)
#define CBACKPROP_MASKED_STORE(p, count, v) _mm512_mask_storeu_pd(p, CBACKPROP_MASK(count), (__m512d)(v))
#endif
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX2__)
#define CBACKPROP_MASKED 1
/* LANES entries of all ones, then LANES zeros: what starts LANES - count in is the mask of `count` lanes. */
static const cbackprop_int cbackprop_mask_table[2 * CBACKPROP_LANES] = {
#ifdef CBACKPROP_FLOAT32
    -1, -1, -1, -1, -1, -1, -1, -1
#else
    -1, -1, -1, -1
#endif
};
#define CBACKPROP_MASK(count) _mm256_loadu_si256((const __m256i *)(cbackprop_mask_table + CBACKPROP_LANES - (count)))
#ifdef CBACKPROP_FLOAT32
#define CBACKPROP_MASKED_LOAD(p, count) _mm256_maskload_ps(p, CBACKPROP_MASK(count))
#define CBACKPROP_MASKED_STORE(p, count, v) _mm256_maskstore_ps(p, CBACKPROP_MASK(count), (__m256)(v))
#else
#define CBACKPROP_MASKED_LOAD(p, count) _mm256_maskload_pd(p, CBACKPROP_MASK(count))
#define CBACKPROP_MASKED_STORE(p, count, v) _mm256_maskstore_pd(p, CBACKPROP_MASK(count), (__m256d)(v))
#endif
#endif

/* The first `count` numbers, zeros in the lanes behind them; reads nothing beyond. */
CBACKPROP_INLINE cbackprop_vec vec_load_partial(const cbackprop_real *p, int64_t count)
{
    cbackprop_vec v = vec_set1(0);
    if (count >= CBACKPROP_LANES)
        return vec_load(p);
#ifdef CBACKPROP_MASKED
    v = (cbackprop_vec)CBACKPROP_MASKED_LOAD(p, count);
#else
    memcpy(&v, p, (size_t)count * sizeof(cbackprop_real));
#endif
    return v;
}

CBACKPROP_INLINE void vec_store_partial(cbackprop_real *p, cbackprop_vec v, int64_t count)
{
    if (count >= CBACKPROP_LANES)
        vec_store(p, v);
    else
#ifdef CBACKPROP_MASKED
        CBACKPROP_MASKED_STORE(p, count, v);
#else
        memcpy(p, &v, (size_t)count * sizeof(cbackprop_real));
#endif
}

/* Lane k in every lane, without a way through memory where the level can. */
CBACKPROP_INLINE cbackprop_vec vec_spread(cbackprop_vec v, int64_t k)
{
#if CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm512_permutexvar_ps(_mm512_set1_epi32((int)k), (__m512)v);
#elif CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return (cbackprop_vec)_mm512_permutexvar_pd(_mm512_set1_epi64(k), (__m512d)v);
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX2__) && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm256_permutevar8x32_ps((__m256)v, _mm256_set1_epi32((int)k));
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX2__)
    /* A float64 is a pair of 32-bit lanes. */
    return (cbackprop_vec)_mm256_permutevar8x32_ps(
        (__m256)v, _mm256_set1_epi64x((int64_t)(2 * k + 1) << 32 | 2 * k));
#elif defined(CBACKPROP_SCALAR)
    return v;
#else
    return vec_set1(v[k]);
#endif
}

CBACKPROP_INLINE cbackprop_real vec_first(cbackprop_vec v) { return CBACKPROP_LANE(v, 0); }

/* ---- transposing ----------------------------------------------------------------------------- */

/* A square of SQUARE x SQUARE numbers, turned in registers: target[i][j] = source[j][i]. */
#if defined(__AVX__) && !defined(CBACKPROP_SCALAR) && defined(CBACKPROP_FLOAT32)
#define CBACKPROP_SQUARE 8
CBACKPROP_INLINE void transpose_square(
    cbackprop_real *target, int64_t target_ld, const cbackprop_real *source, int64_t source_ld)
{
    /* Row j of the source's left half beside row j + 4's: two 4 x 4 squares are turned at once. */
    for (int half = 0; half < 8; half += 4) {
        __m256 row[4], pair[4];
        for (int j = 0; j < 4; j++)
            row[j] = _mm256_insertf128_ps(
                _mm256_castps128_ps256(_mm_loadu_ps(source + j * source_ld + half)),
                _mm_loadu_ps(source + (j + 4) * source_ld + half), 1);
        pair[0] = _mm256_unpacklo_ps(row[0], row[1]);
        pair[1] = _mm256_unpackhi_ps(row[0], row[1]);
        pair[2] = _mm256_unpacklo_ps(row[2], row[3]);
        pair[3] = _mm256_unpackhi_ps(row[2], row[3]);
        _mm256_storeu_ps(target + (half + 0) * target_ld, _mm256_shuffle_ps(pair[0], pair[2], 0x44));
        _mm256_storeu_ps(target + (half + 1) * target_ld, _mm256_shuffle_ps(pair[0], pair[2], 0xee));
        _mm256_storeu_ps(target + (half + 2) * target_ld, _mm256_shuffle_ps(pair[1], pair[3], 0x44));
        _mm256_storeu_ps(target + (half + 3) * target_ld, _mm256_shuffle_ps(pair[1], pair[3], 0xee));
    }
}
#elif defined(__AVX__) && !defined(CBACKPROP_SCALAR)
#define CBACKPROP_SQUARE 4
CBACKPROP_INLINE void transpose_square(
    cbackprop_real *target, int64_t target_ld, const cbackprop_real *source, int64_t source_ld)
{
    for (int half = 0; half < 4; half += 2) {
        __m256d row[2];
        for (int j = 0; j < 2; j++)
            row[j] = _mm256_insertf128_pd(
                _mm256_castpd128_pd256(_mm_loadu_pd(source + j * source_ld + half)),
                _mm_loadu_pd(source + (j + 2) * source_ld + half), 1);
        _mm256_storeu_pd(target + (half + 0) * target_ld, _mm256_unpacklo_pd(row[0], row[1]));
        _mm256_storeu_pd(target + (half + 1) * target_ld, _mm256_unpackhi_pd(row[0], row[1]));
    }
}
#else
#define CBACKPROP_SQUARE 4
CBACKPROP_INLINE void transpose_square(
    cbackprop_real *target, int64_t target_ld, const cbackprop_real *source, int64_t source_ld)
{
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            target[i * target_ld + j] = source[j * source_ld + i];
}
#endif

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

/* a >= b ? x : y and a > b ? x : y, lane by lane; a NaN in a or b gives y. GCC's own vector comparison makes a mask of
 * whole lanes: on AVX-512, which compares into a mask register, that costs two instructions more than a blend. */
#if CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(CBACKPROP_FLOAT32)
#define CBACKPROP_WHERE(a, OP, b, x, y) \
    ((cbackprop_vec)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)(a), (__m512)(b), OP), (__m512)(y), (__m512)(x)))
#define CBACKPROP_GREATER_OR_EQUAL _CMP_GE_OQ
#define CBACKPROP_GREATER _CMP_GT_OQ
#elif CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__)
#define CBACKPROP_WHERE(a, OP, b, x, y) \
    ((cbackprop_vec)_mm512_mask_blend_pd(_mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), OP), (__m512d)(y), (__m512d)(x)))
#define CBACKPROP_GREATER_OR_EQUAL _CMP_GE_OQ
#define CBACKPROP_GREATER _CMP_GT_OQ
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX__) && defined(CBACKPROP_FLOAT32)
#define CBACKPROP_WHERE(a, OP, b, x, y) \
    ((cbackprop_vec)_mm256_blendv_ps((__m256)(y), (__m256)(x), _mm256_cmp_ps((__m256)(a), (__m256)(b), OP)))
#define CBACKPROP_GREATER_OR_EQUAL _CMP_GE_OQ
#define CBACKPROP_GREATER _CMP_GT_OQ
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX__)
#define CBACKPROP_WHERE(a, OP, b, x, y) \
    ((cbackprop_vec)_mm256_blendv_pd((__m256d)(y), (__m256d)(x), _mm256_cmp_pd((__m256d)(a), (__m256d)(b), OP)))
#define CBACKPROP_GREATER_OR_EQUAL _CMP_GE_OQ
#define CBACKPROP_GREATER _CMP_GT_OQ
#elif defined(CBACKPROP_SCALAR)
#define CBACKPROP_WHERE(a, OP, b, x, y) ((a)OP(b) ? (x) : (y))
#define CBACKPROP_GREATER_OR_EQUAL >=
#define CBACKPROP_GREATER >
#else
#define CBACKPROP_WHERE(a, OP, b, x, y) \
    ((cbackprop_vec)(((cbackprop_ivec)((a)OP(b)) & (cbackprop_ivec)(x)) | \
                     (~(cbackprop_ivec)((a)OP(b)) & (cbackprop_ivec)(y))))
#define CBACKPROP_GREATER_OR_EQUAL >=
#define CBACKPROP_GREATER >
#endif

CBACKPROP_INLINE cbackprop_vec vec_where_ge(cbackprop_vec a, cbackprop_vec b, cbackprop_vec x, cbackprop_vec y)
{
    return CBACKPROP_WHERE(a, CBACKPROP_GREATER_OR_EQUAL, b, x, y);
}

CBACKPROP_INLINE cbackprop_vec vec_where_gt(cbackprop_vec a, cbackprop_vec b, cbackprop_vec x, cbackprop_vec y)
{
    return CBACKPROP_WHERE(a, CBACKPROP_GREATER, b, x, y);
}

/* a > b ? a : b and a < b ? a : b, lane by lane; a NaN in a or b gives b: what x86's own instructions do. */
CBACKPROP_INLINE cbackprop_vec vec_max(cbackprop_vec a, cbackprop_vec b)
{
#if CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return (cbackprop_vec)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX__) && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX__)
    return (cbackprop_vec)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    return vec_where_gt(a, b, a, b);
#endif
}

CBACKPROP_INLINE cbackprop_vec vec_min(cbackprop_vec a, cbackprop_vec b)
{
#if CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return (cbackprop_vec)_mm512_min_pd((__m512d)a, (__m512d)b);
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX__) && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm256_min_ps((__m256)a, (__m256)b);
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX__)
    return (cbackprop_vec)_mm256_min_pd((__m256d)a, (__m256d)b);
#else
    return vec_where_gt(b, a, a, b);
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

/* -|x|: the sign bit is set. */
CBACKPROP_INLINE cbackprop_vec vec_minus_abs(cbackprop_vec x)
{
#ifdef CBACKPROP_SCALAR
    return -(cbackprop_real)fabs(x);
#else
    const cbackprop_uint sign = (cbackprop_uint)1 << (8 * sizeof(cbackprop_real) - 1);
    return (cbackprop_vec)((cbackprop_uvec)x | sign);
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

/* x / y in the first half of the lanes at least: whoever waits for the quotient waits half as long again where 512 bits
 * are divided. */
CBACKPROP_INLINE cbackprop_vec vec_divide_few(cbackprop_vec x, cbackprop_vec y)
{
#if CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(CBACKPROP_FLOAT32)
    return (cbackprop_vec)_mm512_zextps256_ps512(
        _mm256_div_ps(_mm512_castps512_ps256((__m512)x), _mm512_castps512_ps256((__m512)y)));
#elif CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return (cbackprop_vec)_mm512_zextpd256_pd512(
        _mm256_div_pd(_mm512_castpd512_pd256((__m512d)x), _mm512_castpd512_pd256((__m512d)y)));
#else
    return x / y;
#endif
}

/* Correctly rounded by IEEE 754, whichever instruction it becomes. */
CBACKPROP_INLINE cbackprop_vec vec_sqrt(cbackprop_vec x)
{
    cbackprop_vec result = x;
#ifdef CBACKPROP_SCALAR
    result = (cbackprop_real)sqrt(x);
#else
    for (int i = 0; i < CBACKPROP_LANES; i++)
        result[i] = sizeof(cbackprop_real) == 4 ? (cbackprop_real)sqrtf((float)x[i]) : (cbackprop_real)sqrt(x[i]);
#endif
    return result;
}

/* The sum of one 64-byte group, halves added to halves: the same order whatever the vector's width. */
#define CBACKPROP_GROUP (64 / (int)sizeof(cbackprop_real))
CBACKPROP_INLINE cbackprop_real group_sum(const cbackprop_real *lanes)
{
#if defined(__AVX__) && !defined(CBACKPROP_SCALAR) && defined(CBACKPROP_FLOAT32)
    __m256 eight = _mm256_loadu_ps(lanes) + _mm256_loadu_ps(lanes + 8);
    __m128 four = _mm256_castps256_ps128(eight) + _mm256_extractf128_ps(eight, 1);
    __m128 two = four + _mm_movehl_ps(four, four);
    return two[0] + two[1];
#elif defined(__AVX__) && !defined(CBACKPROP_SCALAR)
    __m256d four = _mm256_loadu_pd(lanes) + _mm256_loadu_pd(lanes + 4);
    __m128d two = _mm256_castpd256_pd128(four) + _mm256_extractf128_pd(four, 1);
    return two[0] + two[1];
#else
    cbackprop_real sums[CBACKPROP_GROUP];
    memcpy(sums, lanes, sizeof sums);
    for (int width = CBACKPROP_GROUP / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            sums[i] += sums[i + width];
    return sums[0];
#endif
}

/* Whether every lane is 0, -0 included; a NaN is not. */
CBACKPROP_INLINE int vec_all_zero(cbackprop_vec x)
{
#if CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(CBACKPROP_FLOAT32)
    return _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_NEQ_UQ) == 0;
#elif CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return _mm512_cmp_pd_mask((__m512d)x, _mm512_setzero_pd(), _CMP_NEQ_UQ) == 0;
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX__) && defined(CBACKPROP_FLOAT32)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x, _mm256_setzero_ps(), _CMP_NEQ_UQ)) == 0;
#elif CBACKPROP_VECTOR_BYTES == 32 && defined(__AVX__)
    return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)x, _mm256_setzero_pd(), _CMP_NEQ_UQ)) == 0;
#elif defined(CBACKPROP_SCALAR)
    return x == 0;
#else
    for (int i = 0; i < CBACKPROP_LANES; i++)
        if (!(x[i] == 0))
            return 0;
    return 1;
#endif
}

/* ---- bits of floating-point numbers ---------------------------------------------------------- */

/* x * 2^n, where `rounded` = n + CBACKPROP_ROUNDING_MAGIC carries the integer n, |n| < 2048.
 * In two steps 2^(n >> 1) and 2^(n - (n >> 1)), so that gradual underflow rounds once. The shift is
 * done on the unsigned n + 2048: AVX2 has no arithmetic shift of 64-bit lanes. */
CBACKPROP_INLINE cbackprop_vec vec_scale(cbackprop_vec x, cbackprop_vec rounded)
{
    const cbackprop_real magic = CBACKPROP_ROUNDING_MAGIC;
#if CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(CBACKPROP_FLOAT32)
    /* One instruction, which rounds once too. */
    return (cbackprop_vec)_mm512_scalef_ps((__m512)x, (__m512)(rounded - vec_set1(magic)));
#elif CBACKPROP_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return (cbackprop_vec)_mm512_scalef_pd((__m512d)x, (__m512d)(rounded - vec_set1(magic)));
#else
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
#endif
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
