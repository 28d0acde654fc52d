/* Printed by tools/fit_polynomials.py: the constants of math.pxd. Not to be edited. */
#ifndef CBACKPROP_MATH_COEFFICIENTS_H
#define CBACKPROP_MATH_COEFFICIENTS_H

#include "simd.h"

#ifdef CBACKPROP_FLOAT32
#define CBACKPROP_EXP_LOW ((cbackprop_real)-0x1.b8p+6f)  /* exp is 0 here and below */
#define CBACKPROP_EXP_HIGH ((cbackprop_real)0x1.68p+6f)  /* exp is inf here and above */
#define CBACKPROP_LOG2_E ((cbackprop_real)0x1.715476p+0f)  /* 1 / ln 2 */
#define CBACKPROP_LN2_HIGH ((cbackprop_real)0x1.62e4p-1f)  /* ln 2 in 16 bits */
#define CBACKPROP_LN2_LOW ((cbackprop_real)0x1.7f7d1cp-20f)
#define CBACKPROP_LARGEST ((cbackprop_real)0x1.fffffep+127f)
#define CBACKPROP_SMALLEST_NORMAL ((cbackprop_real)0x1p-126f)
#define CBACKPROP_SUBNORMAL_SHIFT ((cbackprop_real)0x1.9p+4f)  /* what log scales subnormal numbers by: 2 to this */
#define CBACKPROP_SUBNORMAL_SCALE ((cbackprop_real)0x1p+25f)
#define CBACKPROP_SPLITTER ((cbackprop_real)0x1.001p+12f)  /* 2^ceil(bits/2) + 1 (Dekker) */
/* exp(r) = 1 + r + r^2 q(r), |r| <= ln(2)/2: q, error 1.3e-9 */
#define CBACKPROP_EXP_TERMS 6
static const cbackprop_real CBACKPROP_EXP[CBACKPROP_EXP_TERMS] = {
    0x1p-1f,
    0x1.555556p-3f,
    0x1.5554eap-5f,
    0x1.1110acp-7f,
    0x1.6d431ep-10f,
    0x1.a17df6p-13f,
};
/* log((1+s)/(1-s)) = 2s + s w p(w), w = s^2 <= 0.0294: p, error 1.1e-9 */
#define CBACKPROP_LOG_TERMS 4
static const cbackprop_real CBACKPROP_LOG[CBACKPROP_LOG_TERMS] = {
    0x1.555556p-1f,
    0x1.9999ecp-2f,
    0x1.245c0ep-2f,
    0x1.ddd848p-3f,
};
/* the same for w <= 1/9: p, error 6.9e-9 */
#define CBACKPROP_LOG1P_TERMS 5
static const cbackprop_real CBACKPROP_LOG1P[CBACKPROP_LOG1P_TERMS] = {
    0x1.555556p-1f,
    0x1.9998cep-2f,
    0x1.24ca56p-2f,
    0x1.bc6abcp-3f,
    0x1.dc3cc2p-3f,
};
/* Phi(-u) exp(u^2/2) = p(w) / (u + 4), w = (u - 4)/(u + 4), 0 <= u <= 40: p, error 6.3e-10 */
#define CBACKPROP_NORMAL_TAIL_TERMS 12
static const cbackprop_real CBACKPROP_NORMAL_TAIL[CBACKPROP_NORMAL_TAIL_TERMS] = {
    0x1.82b4bcp-1f,
    -0x1.373e3ap-1f,
    0x1.8c6dbep-2f,
    -0x1.7dff4ep-3f,
    0x1.eec53ep-5f,
    -0x1.ee01c2p-8f,
    -0x1.c8380ap-9f,
    0x1.a9463ep-10f,
    0x1.1b4348p-13f,
    -0x1.c36fep-13f,
    -0x1.665ecep-19f,
    0x1.5b2742p-16f,
};
#else
#define CBACKPROP_EXP_LOW ((cbackprop_real)-0x1.7cp+9)  /* exp is 0 here and below */
#define CBACKPROP_EXP_HIGH ((cbackprop_real)0x1.68p+9)  /* exp is inf here and above */
#define CBACKPROP_LOG2_E ((cbackprop_real)0x1.71547652b82fep+0)  /* 1 / ln 2 */
#define CBACKPROP_LN2_HIGH ((cbackprop_real)0x1.62e42fefa38p-1)  /* ln 2 in 42 bits */
#define CBACKPROP_LN2_LOW ((cbackprop_real)0x1.ef35793c7673p-45)
#define CBACKPROP_LARGEST ((cbackprop_real)0x1.fffffffffffffp+1023)
#define CBACKPROP_SMALLEST_NORMAL ((cbackprop_real)0x1p-1022)
#define CBACKPROP_SUBNORMAL_SHIFT ((cbackprop_real)0x1.bp+5)  /* what log scales subnormal numbers by: 2 to this */
#define CBACKPROP_SUBNORMAL_SCALE ((cbackprop_real)0x1p+54)
#define CBACKPROP_SPLITTER ((cbackprop_real)0x1.0000002p+27)  /* 2^ceil(bits/2) + 1 (Dekker) */
/* exp(r) = 1 + r + r^2 q(r), |r| <= ln(2)/2: q, error 1.4e-18 */
#define CBACKPROP_EXP_TERMS 11
static const cbackprop_real CBACKPROP_EXP[CBACKPROP_EXP_TERMS] = {
    0x1p-1,
    0x1.5555555555557p-3,
    0x1.5555555555558p-5,
    0x1.11111111100dep-7,
    0x1.6c16c16c15202p-10,
    0x1.a01a01abe67b5p-13,
    0x1.a01a01acf8d19p-16,
    0x1.71de02367f22ap-19,
    0x1.27e4ccd2b2ee1p-22,
    0x1.af4ddf12afa19p-26,
    0x1.1f8b4455eda73p-29,
};
/* log((1+s)/(1-s)) = 2s + s w p(w), w = s^2 <= 0.0294: p, error 3.1e-16 */
#define CBACKPROP_LOG_TERMS 7
static const cbackprop_real CBACKPROP_LOG[CBACKPROP_LOG_TERMS] = {
    0x1.5555555555558p-1,
    0x1.999999999522fp-2,
    0x1.2492492e02a9cp-2,
    0x1.c71c62d1ccb69p-3,
    0x1.7462b9b6f6c64p-3,
    0x1.39fdc7ebbd547p-3,
    0x1.2b5f0a346457dp-3,
};
/* the same for w <= 1/9: p, error 8.6e-17 */
#define CBACKPROP_LOG1P_TERMS 10
static const cbackprop_real CBACKPROP_LOG1P[CBACKPROP_LOG1P_TERMS] = {
    0x1.5555555555555p-1,
    0x1.999999999a454p-2,
    0x1.24924923cd3edp-2,
    0x1.c71c72765e1b5p-3,
    0x1.745cefc416914p-3,
    0x1.3b18caab880f8p-3,
    0x1.10ab0571c409ap-3,
    0x1.ebaa04ebe6982p-4,
    0x1.67ff2f40f2c62p-4,
    0x1.4b8582bedbe1p-3,
};
/* Phi(-u) exp(u^2/2) = p(w) / (u + 4), w = (u - 4)/(u + 4), 0 <= u <= 40: p, error 9.3e-19 */
#define CBACKPROP_NORMAL_TAIL_TERMS 24
static const cbackprop_real CBACKPROP_NORMAL_TAIL[CBACKPROP_NORMAL_TAIL_TERMS] = {
    0x1.82b4bb8c94dcep-1,
    -0x1.373e3a893c28ap-1,
    0x1.8c6dbf2cfc2b3p-2,
    -0x1.7dff2bff683adp-3,
    0x1.eec4cc3e4d561p-5,
    -0x1.ee2761047a804p-8,
    -0x1.c81719d58778bp-9,
    0x1.ab825fbff2d61p-10,
    0x1.17a4ae5bdae22p-13,
    -0x1.e4a4252bd684p-13,
    -0x1.001e97390e5adp-19,
    0x1.26d0942da5711p-15,
    0x1.80b63a440474bp-21,
    -0x1.8d4a903f421ddp-18,
    -0x1.51f02a8faa18cp-21,
    0x1.1231a0988d318p-20,
    0x1.2362934c779b4p-22,
    -0x1.4cae023ae9956p-23,
    -0x1.6cbb9f9112402p-24,
    0x1.ca7cd141f4f33p-27,
    0x1.4bb203596f6e1p-26,
    0x1.f4143072d7b2p-30,
    -0x1.4eba52c97c7e8p-29,
    -0x1.7928f3996acf8p-31,
};
#endif

#endif
