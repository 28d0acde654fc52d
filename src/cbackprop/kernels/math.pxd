# cython: cdivision=True
# Elementary functions and activations on one vector: no memory, no loops over neurons.
#
# Design. Everything that has an exponential in it stands on one reduction and one polynomial,
#     exp(x) = 2^n (1 + r + rest),  n = round(x / ln 2),  r = x - n ln 2,  |r| <= ln(2)/2,
# with the rounding errors of r and of the last sum kept (a "double-word" number: a value and what it is off by), so
# that exp itself is rounded once, and sigmoid and tanh, which divide by 1 + exp, once more. The reduction is Cody &
# Waite's (Software Manual for the Elementary Functions, 1980), the error-free sums are Dekker's (Higham, Accuracy and
# Stability of Numerical Algorithms, 2002, section 4.3; Muller, Elementary Functions, 2016, section 2.2). Constants and
# polynomials: math_coefficients.h, printed by tools/fit_polynomials.py. There are no branches and no tables: every
# lane takes the same way, so a number gets the same bits in any lane of any vector width. Multiply-adds are fused only
# where vec_fma stands: the bits are those of one level with FMA on all of them; without FMA they differ.
#
# Errors are given as the largest met, in ulp (the spacing of the numbers at the true value, subnormal ones included),
# the larger of the two number types: float32 every 13th bit pattern against float64, float64 10^7 points against
# the 80-bit type and 20,000 against 60 digits. "without": on the level without FMA, where it is more.

from libc.math cimport INFINITY, NAN

from cbackprop.kernels.simd cimport (
    HAS_FMA, ROUNDING_MAGIC, real, vec, vec_abs, vec_divide_few, vec_fma, vec_log_exponent, vec_log_mantissa,
    vec_max, vec_min, vec_minus_abs, vec_scale, vec_set1, vec_where_ge, vec_where_gt, vec_with_sign_of,
)


cdef extern from "math_coefficients.h" nogil:
    const real EXP_LOW "CBACKPROP_EXP_LOW"
    const real EXP_HIGH "CBACKPROP_EXP_HIGH"
    const real LOG2_E "CBACKPROP_LOG2_E"
    const real LN2_HIGH "CBACKPROP_LN2_HIGH"
    const real LN2_LOW "CBACKPROP_LN2_LOW"
    const real LARGEST "CBACKPROP_LARGEST"
    const real SMALLEST_NORMAL "CBACKPROP_SMALLEST_NORMAL"
    const real SUBNORMAL_SHIFT "CBACKPROP_SUBNORMAL_SHIFT"
    const real SUBNORMAL_SCALE "CBACKPROP_SUBNORMAL_SCALE"
    const real SPLITTER "CBACKPROP_SPLITTER"
    const int EXP_TERMS "CBACKPROP_EXP_TERMS"
    const real *EXP "CBACKPROP_EXP"
    const int LOG_TERMS "CBACKPROP_LOG_TERMS"
    const real *LOG "CBACKPROP_LOG"
    const int LOG1P_TERMS "CBACKPROP_LOG1P_TERMS"
    const real *LOG1P "CBACKPROP_LOG1P"
    const int NORMAL_TAIL_TERMS "CBACKPROP_NORMAL_TAIL_TERMS"
    const real *NORMAL_TAIL "CBACKPROP_NORMAL_TAIL"


# ---- helpers ---------------------------------------------------------------------------------------------------

cdef inline vec at_least(vec x, real low) noexcept nogil:
    """max(x, low); NaN stays."""
    return vec_max(vec_set1(low), x)


cdef inline vec at_most(vec x, real high) noexcept nogil:
    """min(x, high); NaN stays."""
    return vec_min(vec_set1(high), x)


cdef inline vec product_error(vec a, vec b, vec product) noexcept nogil:
    """a*b - product exactly, product being a*b rounded: one FMA, or Dekker's splitting where there is none."""
    cdef vec a_high, a_low, b_high, b_low
    if HAS_FMA:
        return vec_fma(a, b, -product)
    a_high = a * vec_set1(SPLITTER)
    a_high = a_high - (a_high - a)
    a_low = a - a_high
    b_high = b * vec_set1(SPLITTER)
    b_high = b_high - (b_high - b)
    b_low = b - b_high
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


cdef inline vec two_terms(vec x, const real *c, int terms) noexcept nogil:
    """c[0] + c[1] x, as far as there are terms; the next ones the same of four, of eight and of sixteen."""
    return vec_set1(c[0]) if terms == 1 else vec_fma(vec_set1(c[1]), x, vec_set1(c[0]))


cdef inline vec four_terms(vec x, vec x2, const real *c, int terms) noexcept nogil:
    if terms <= 2:
        return two_terms(x, c, terms)
    return vec_fma(two_terms(x, c + 2, terms - 2), x2, two_terms(x, c, 2))


cdef inline vec eight_terms(vec x, vec x2, vec x4, const real *c, int terms) noexcept nogil:
    if terms <= 4:
        return four_terms(x, x2, c, terms)
    return vec_fma(four_terms(x, x2, c + 4, terms - 4), x4, four_terms(x, x2, c, 4))


cdef inline vec sixteen_terms(vec x, vec x2, vec x4, vec x8, const real *c, int terms) noexcept nogil:
    if terms <= 8:
        return eight_terms(x, x2, x4, c, terms)
    return vec_fma(eight_terms(x, x2, x4, c + 8, terms - 8), x8, eight_terms(x, x2, x4, c, 8))


cdef inline vec polynomial(vec x, vec x2, const real *c, int terms) noexcept nogil:
    """c[0] + c[1] x + … + c[terms-1] x^(terms-1), at most 32 terms, x2 = x^2: halves are joined by powers of x, and the
    chain is as long as the logarithm of their number (Estrin, 1960; Muller, section 5.1). `terms` is a constant of the
    C compiler, which leaves out what is not needed."""
    cdef vec x4 = x2 * x2
    cdef vec x8 = x4 * x4
    if terms <= 16:
        return sixteen_terms(x, x2, x4, x8, c, terms)
    return vec_fma(sixteen_terms(x, x2, x4, x8, c + 16, terms - 16), x8 * x8, sixteen_terms(x, x2, x4, x8, c, 16))


# ---- exp -------------------------------------------------------------------------------------------------------

cdef inline void exp_reduced(vec x, vec *n_rounded, vec *r, vec *rest) noexcept nogil:
    """exp(x) = 2^n (1 + r + rest) for EXP_LOW <= x <= EXP_HIGH; n_rounded = n + ROUNDING_MAGIC, as vec_scale takes it.

    r is rounded once; what that drops is in rest = (r_exact - r) + r^2 q(r). n LN2_HIGH is exact (Cody & Waite)."""
    cdef vec magic = vec_set1(<real> ROUNDING_MAGIC)
    n_rounded[0] = vec_fma(x, vec_set1(LOG2_E), magic)
    cdef vec n = n_rounded[0] - magic
    cdef vec r_high = vec_fma(n, vec_set1(-LN2_HIGH), x)
    r[0] = vec_fma(n, vec_set1(-LN2_LOW), r_high)
    cdef vec r_low = vec_fma(n, vec_set1(-LN2_LOW), r_high - r[0])
    cdef vec square = r[0] * r[0]
    rest[0] = vec_fma(square, polynomial(r[0], square, EXP, EXP_TERMS), r_low)


cdef inline void exp_mantissa(vec r, vec rest, vec *m, vec *m_low) noexcept nogil:
    """1 + r + rest as a value in about [0.7, 1.42] and what it is off by (two of Dekker's sums)."""
    cdef vec one = vec_set1(1)
    cdef vec s = one + r
    cdef vec t = ((one - s) + r) + rest
    m[0] = s + t
    m_low[0] = t - (m[0] - s)


cdef inline vec vec_exp(vec x) noexcept nogil:
    """exp(x): inf above, gradual underflow to 0 below, NaN stays. 0.77 ulp (0.69 where the result is normal)."""
    cdef vec n_rounded, r, rest
    exp_reduced(at_least(at_most(x, EXP_HIGH), EXP_LOW), &n_rounded, &r, &rest)
    return exp_finish(n_rounded, r, rest)


cdef inline vec exp_finish(vec n_rounded, vec r, vec rest) noexcept nogil:
    cdef vec m, m_low
    exp_mantissa(r, rest, &m, &m_low)
    return vec_scale(m, n_rounded)


cdef inline void exp_double(vec n_rounded, vec r, vec rest, vec *e, vec *e_low) noexcept nogil:
    """exp(x) as a double-word number, from exp_reduced(x)."""
    cdef vec m, m_low
    exp_mantissa(r, rest, &m, &m_low)
    e[0] = vec_scale(m, n_rounded)
    e_low[0] = vec_scale(m_low, n_rounded)


cdef inline void exp_expm1_finish(vec n_rounded, vec r, vec rest, vec *e, vec *em1) noexcept nogil:
    """e = exp(x) and em1 = exp(x) - 1 for x <= 0, both to full relative accuracy; NaN stays. 0.77 and 0.96 ulp.

    Within |x| <= ln(2)/2 (n = 0) exp(x) - 1 is r + rest, without cancellation; beyond, e <= 0.71 and e - 1 loses at
    most one bit, which e_low gives back."""
    cdef vec e_low, high, low
    cdef vec magic = vec_set1(<real> ROUNDING_MAGIC)
    cdef vec one = vec_set1(1)
    exp_double(n_rounded, r, rest, e, &e_low)
    high = e[0] - one
    low = (e[0] - (high + one)) + e_low
    em1[0] = vec_where_ge(n_rounded, magic, r, high) + vec_where_ge(n_rounded, magic, rest, low)


# ---- log -------------------------------------------------------------------------------------------------------

cdef inline vec log_of_1_plus(vec f, vec k, const real *c, int terms) noexcept nogil:
    """k ln 2 + log(1 + f) with s = f/(2 + f): log(1 + f) = 2s + s w p(w), w = s^2 (2 atanh s), arranged as
    f - (f^2/2 - s (f^2/2 + w p(w))), so that the leading term f is exact (fdlibm's e_log.c)."""
    cdef vec s = f / (vec_set1(2) + f)
    cdef vec w = s * s
    cdef vec half_square = vec_set1(<real> 0.5) * f * f
    cdef vec tail = vec_fma(w, polynomial(w, w * w, c, terms), half_square)
    tail = half_square - vec_fma(s, tail, k * vec_set1(LN2_LOW))
    return vec_fma(k, vec_set1(LN2_HIGH), f - tail)


cdef inline vec vec_log(vec x) noexcept nogil:
    """log(x): -inf at 0, inf at inf, NaN for negatives and NaN; subnormal numbers are scaled up first. 0.86 ulp."""
    cdef vec normal = vec_set1(SMALLEST_NORMAL)
    cdef vec scaled = vec_where_gt(normal, x, x * vec_set1(SUBNORMAL_SCALE), x)
    cdef vec shift = vec_where_gt(normal, x, vec_set1(SUBNORMAL_SHIFT), vec_set1(0))
    cdef vec k = vec_log_exponent(scaled) - shift
    cdef vec result = log_of_1_plus(vec_log_mantissa(scaled) - vec_set1(1), k, LOG, LOG_TERMS)
    result = vec_where_gt(x, vec_set1(LARGEST), x, result)
    cdef vec outside = vec_where_ge(x, vec_set1(0), vec_set1(<real> -INFINITY), vec_set1(<real> NAN))
    return vec_where_gt(x, vec_set1(0), result, outside)


cdef inline vec vec_log1p(vec x) noexcept nogil:
    """log(1 + x) for 0 <= x <= 1, to full relative accuracy; NaN stays. 1.3 ulp."""
    return log_of_1_plus(x, vec_set1(0), LOG1P, LOG1P_TERMS)


# ---- activations: a = f(z) and da/dz at once -------------------------------------------------------------------
# Who wants the value alone ignores da_dz: after inlining the compiler drops what nobody reads.
#
# Those with an exponential come in two halves: x = name_exponent(z), and name_finish(z, ...) from exp_reduced(x). One
# half behind the other is a chain of some ninety cycles, and a processor looks ahead over little more than two of
# them; a loop that runs the first half over several vectors and then the second keeps its units busy (activations.pyx).

cdef inline void reciprocal_of_1_plus_exp(
    vec n_rounded, vec r, vec rest, bint few, vec *sum, vec *sum_low, vec *q, vec *h,
) noexcept nogil:
    """1 + exp(x) = sum + sum_low for x <= 0, from exp_reduced(x), and its reciprocal q (1 + h): one division and one
    Newton step for its error.

    `rest` comes last of all; the division begins one multiply-add after it, and what that sum is off by is made
    meanwhile. few: half of the lanes are all that matter."""
    cdef vec one = vec_set1(1)
    cdef vec two_to_n = vec_scale(one, n_rounded)
    cdef vec s = one + r
    cdef vec high = two_to_n * s
    cdef vec before = one + high
    sum[0] = vec_fma(two_to_n, rest, before)
    q[0] = vec_divide_few(one, sum[0]) if few else one / sum[0]
    sum_low[0] = (vec_fma(two_to_n, rest, before - sum[0])
                  + vec_fma(two_to_n, (one - s) + r, (one - before) + high))
    h[0] = vec_fma(-q[0], sum_low[0], vec_fma(-q[0], sum[0], one))


cdef inline vec times_reciprocal(vec x, vec x_low, vec q, vec h) noexcept nogil:
    """(x + x_low) q (1 + h), with FMA rounded once."""
    return vec_fma(x, q, vec_fma(x * q, h, x_low * q))


cdef inline vec sigmoid_exponent(vec z) noexcept nogil:
    """-|z|, as far as exp_reduced goes; tanh: -2|z|."""
    return at_least(vec_minus_abs(z), EXP_LOW)


cdef inline void sigmoid_pair_finish(
    vec z, vec n_rounded, vec r, vec rest, bint few, vec *a, vec *one_minus_a, vec *da_dz,
) noexcept nogil:
    """a = sigma(z), one_minus_a = sigma(-z), both to full relative accuracy, and sigma'(z) = e/(1 + e)^2 with
    e = exp(-|z|): never a(1 - a), which is 0 for z >= 37 (float64) or 20 (float32). 0.80, 0.80 and 1.5 ulp; without
    1.8, 1.8 and 3.7."""
    cdef vec zero = vec_set1(0)
    cdef vec e, e_low, sum, sum_low, q, h, large, small
    exp_double(n_rounded, r, rest, &e, &e_low)
    reciprocal_of_1_plus_exp(n_rounded, r, rest, few, &sum, &sum_low, &q, &h)
    large = vec_fma(q, h, q)
    small = times_reciprocal(e, e_low, q, h)
    a[0] = vec_where_ge(z, zero, large, small)
    one_minus_a[0] = vec_where_ge(z, zero, small, large)
    da_dz[0] = vec_fma(small, q, small * (q * h))


cdef inline void sigmoid_pair(vec z, vec *a, vec *one_minus_a, vec *da_dz) noexcept nogil:
    cdef vec n_rounded, r, rest
    exp_reduced(sigmoid_exponent(z), &n_rounded, &r, &rest)
    sigmoid_pair_finish(z, n_rounded, r, rest, False, a, one_minus_a, da_dz)


cdef inline void sigmoid_finish(vec z, vec n_rounded, vec r, vec rest, bint few, vec *a, vec *da_dz) noexcept nogil:
    """1/(1 + exp(-z)). 0.80 and 1.5 ulp; without 1.8 and 3.7."""
    cdef vec one_minus_a
    sigmoid_pair_finish(z, n_rounded, r, rest, few, a, &one_minus_a, da_dz)


cdef inline vec tanh_exponent(vec z) noexcept nogil:
    cdef vec x = vec_minus_abs(z)
    return at_least(x + x, EXP_LOW)


cdef inline void tanh_finish(vec z, vec n_rounded, vec r, vec rest, bint few, vec *a, vec *da_dz) noexcept nogil:
    """With e = exp(-2|z|): |tanh z| = -expm1(-2|z|)/(1 + e), tanh' = 4 e/(1 + e)^2, never 1 - a^2. 0.89 and
    2.6 ulp (1.5 where e is normal); without 2.0 and 3.8.

    expm1 is r + rest near 0, where n = 0, and (1 + e) - 2 beyond, whose subtraction is exact."""
    cdef vec magic = vec_set1(<real> ROUNDING_MAGIC)
    cdef vec e, e_low, sum, sum_low, q, h, high, low, em1, small, quarter
    exp_double(n_rounded, r, rest, &e, &e_low)
    reciprocal_of_1_plus_exp(n_rounded, r, rest, few, &sum, &sum_low, &q, &h)
    high = vec_where_ge(n_rounded, magic, r, sum - vec_set1(2))
    low = vec_where_ge(n_rounded, magic, rest, sum_low)
    em1 = high + low
    low = low - (em1 - high)
    a[0] = vec_with_sign_of(vec_abs(times_reciprocal(em1, low, q, h)), z)
    small = times_reciprocal(e, e_low, q, h)
    # Doubled twice by sums: the multipliers are the busier units here.
    quarter = vec_fma(small, q, small * (q * h))
    quarter = quarter + quarter
    da_dz[0] = quarter + quarter


cdef inline void relu(vec z, vec *a, vec *da_dz) noexcept nogil:
    """max(z, 0) (NaN stays); the derivative at 0 is 0."""
    cdef vec zero = vec_set1(0)
    a[0] = vec_where_ge(zero, z, zero, z)
    da_dz[0] = vec_where_gt(z, zero, vec_set1(1), zero)


cdef inline void leaky_relu(vec z, vec *a, vec *da_dz) noexcept nogil:
    """z > 0 ? z : 0.01 z; the derivative at 0 is 0.01. 0.01 is itself rounded: 1.5 ulp."""
    cdef vec zero = vec_set1(0)
    cdef vec slope = vec_set1(<real> 0.01)
    a[0] = vec_where_gt(z, zero, z, slope * z)
    da_dz[0] = vec_where_gt(z, zero, vec_set1(1), slope)


cdef inline vec elu_exponent(vec z) noexcept nogil:
    """min(z, 0), as far as exp_reduced goes; selu: the same."""
    return at_least(at_most(z, 0), EXP_LOW)


cdef inline void elu_finish(vec z, vec n_rounded, vec r, vec rest, vec *a, vec *da_dz) noexcept nogil:
    """z > 0 ? z : exp(z) - 1 (Clevert, Unterthiner & Hochreiter, 2016, alpha = 1). 0.96 and 0.77 ulp."""
    cdef vec zero = vec_set1(0)
    cdef vec e, em1
    exp_expm1_finish(n_rounded, r, rest, &e, &em1)
    a[0] = vec_where_gt(z, zero, z, em1)
    da_dz[0] = vec_where_gt(z, zero, vec_set1(1), e)


cdef inline void selu_finish(vec z, vec n_rounded, vec r, vec rest, vec *a, vec *da_dz) noexcept nogil:
    """scale * (z > 0 ? z : alpha (exp(z) - 1)) (Klambauer et al., 2017). 2.0 ulp both."""
    cdef vec zero = vec_set1(0)
    cdef vec scale = vec_set1(<real> 1.0507009873554804934193349852946)
    cdef vec scale_alpha = vec_set1(<real> 1.7580993408473768599402175208123)
    cdef vec e, em1
    exp_expm1_finish(n_rounded, r, rest, &e, &em1)
    a[0] = vec_where_gt(z, zero, scale * z, scale_alpha * em1)
    da_dz[0] = vec_where_gt(z, zero, scale, scale_alpha * e)


cdef inline vec gelu_bounded(vec z) noexcept nogil:
    return at_least(at_most(z, 40), -40)


cdef inline vec bell(vec z, vec *e_low) noexcept nogil:
    """exp(-z^2/2) as a double-word number; what rounding z^2 drops is put back to first order."""
    cdef vec half = vec_set1(<real> 0.5)
    cdef vec square = z * z
    cdef vec n_rounded, r, rest, e
    exp_reduced(at_least(-half * square, EXP_LOW), &n_rounded, &r, &rest)
    exp_double(n_rounded, r, rest, &e, e_low)
    e_low[0] = vec_fma(-half * product_error(z, z, square), e, e_low[0])
    return e


cdef inline vec normal_tail(vec u, vec *tail_low) noexcept nogil:
    """Phi(-u) exp(u^2/2) as a double-word number for 0 <= u <= 40, falling from 1/2 like 1/(sqrt(2 pi) u): what Phi is
    made of besides the exponential. p(w)/(u + 4) with w = (u - 4)/(u + 4) = 1 - 8/(u + 4) (as Schonfelder, 1978, has
    erfc)."""
    cdef vec one = vec_set1(1), four = vec_set1(4)
    cdef vec d = u + four
    cdef vec u_part = d - four
    cdef vec d_low = (u - u_part) + (four - (d - u_part))
    cdef vec q = one / d
    cdef vec product = q * d
    # 1/(u + 4) = q (1 + h)
    cdef vec h = ((one - product) - product_error(q, d, product)) - q * d_low
    cdef vec eighth = vec_set1(8) * q
    cdef vec w = vec_fma(-eighth, h, one - eighth)
    # The largest terms last and one by one (Horner): the errors of the others hardly count then.
    cdef vec p = polynomial(w, w * w, NORMAL_TAIL + 4, NORMAL_TAIL_TERMS - 4)
    cdef int k
    for k in range(3, -1, -1):
        p = vec_fma(w, p, vec_set1(NORMAL_TAIL[k]))
    cdef vec tail = q * p
    tail_low[0] = vec_fma(tail, h, product_error(q, p, tail))
    return tail


cdef inline void gelu(vec z, vec *a, vec *da_dz) noexcept nogil:
    """z Phi(z), and Phi(z) + z phi(z) (Hendrycks & Gimpel, 2016, the erf form); Phi(-u) is exp(-u^2/2) times its tail.

    Beyond |z| = 40 Phi is 0 or 1 in both number types. 3.5 and 4.1 ulp; near the zero of the derivative,
    z = -0.75, 1.2 ulp of 1; where Phi is subnormal its last digit times |z|, 30."""
    cdef vec zero = vec_set1(0)
    cdef vec bounded = gelu_bounded(z)
    cdef vec e_low, tail_low
    cdef vec e = bell(bounded, &e_low)
    cdef vec tail = normal_tail(vec_abs(bounded), &tail_low)
    # (e + e_low) (tail + tail_low), rounded once; near the subnormal numbers an error has no digits left.
    cdef vec small = e * tail
    cdef vec lost = vec_where_gt(small, vec_set1(64 * SMALLEST_NORMAL), product_error(e, tail, small), zero)
    small = small + (lost + vec_fma(e, tail_low, e_low * tail))
    cdef vec Phi = vec_where_ge(z, zero, vec_set1(1) - small, small)
    a[0] = at_least(z, -40) * Phi
    da_dz[0] = vec_fma(bounded, vec_set1(<real> 0.39894228040143267793994605993438) * (e + e_low), Phi)


cdef inline vec silu_bounded(vec z) noexcept nogil:
    return at_least(at_most(z, -EXP_LOW), EXP_LOW)


cdef inline vec silu_exponent(vec z) noexcept nogil:
    return vec_minus_abs(silu_bounded(z))


cdef inline void silu_finish(vec z, vec n_rounded, vec r, vec rest, vec *a, vec *da_dz) noexcept nogil:
    """z sigma(z), and sigma(z) (1 + z sigma(-z)) (Elfwing, Uchibe & Doya, 2018).

    For z < 0 the factor 2^n of exp(z) is multiplied in last: z sigma(z) keeps its digits where sigma(z) is
    subnormal. Beyond the bounds sigma(z) is 0 or 1. 1.5 and 2.5 ulp, near the zero of the derivative, z = -1.28,
    1.2 ulp of 1; without 2.9 and 4.8."""
    cdef vec zero = vec_set1(0)
    cdef vec one = vec_set1(1)
    cdef vec bounded = silu_bounded(z)
    cdef vec m, m_low, sum, sum_low, q, h, large, small, scale
    exp_mantissa(r, rest, &m, &m_low)
    reciprocal_of_1_plus_exp(n_rounded, r, rest, False, &sum, &sum_low, &q, &h)
    large = vec_fma(q, h, q)
    # sigma(-|z|) / 2^n
    small = times_reciprocal(m, m_low, q, h)
    scale = vec_where_ge(z, zero, vec_set1(<real> ROUNDING_MAGIC), n_rounded)
    a[0] = vec_scale(vec_where_ge(z, zero, z * large, bounded * small), scale)
    da_dz[0] = vec_scale(
        vec_where_ge(z, zero, large * vec_fma(bounded, vec_scale(small, n_rounded), one),
                     small * vec_fma(bounded, large, one)), scale)


cdef inline void softplus_finish(vec z, vec n_rounded, vec r, vec rest, vec *a, vec *da_dz) noexcept nogil:
    """log(1 + exp(z)) = max(z, 0) + log1p(exp(-|z|)); its derivative is sigma(z). 2.0 and 0.80 ulp; without 1.8."""
    cdef vec zero = vec_set1(0)
    cdef vec e, e_low, sum, sum_low, q, h
    exp_double(n_rounded, r, rest, &e, &e_low)
    reciprocal_of_1_plus_exp(n_rounded, r, rest, False, &sum, &sum_low, &q, &h)
    a[0] = vec_where_gt(zero, z, zero, z) + vec_log1p(e)
    da_dz[0] = vec_where_ge(z, zero, vec_fma(q, h, q), times_reciprocal(e, e_low, q, h))


cdef inline void softsign(vec z, vec *a, vec *da_dz) noexcept nogil:
    """z/(1 + |z|), and 1/(1 + |z|)^2 as the square of a quotient: it underflows gradually, (1 + |z|)^2 overflows.
    1.5 and 3.5 ulp."""
    cdef vec one = vec_set1(1)
    cdef vec size = at_most(vec_abs(z), LARGEST)
    cdef vec r = one / (one + size)
    a[0] = vec_with_sign_of(size / (one + size), z)
    da_dz[0] = r * r


cdef inline vec exponential_exponent(vec z) noexcept nogil:
    return at_least(at_most(z, EXP_HIGH), EXP_LOW)


cdef inline void exponential_finish(vec z, vec n_rounded, vec r, vec rest, vec *a, vec *da_dz) noexcept nogil:
    """exp(z), its own derivative. 0.77 ulp."""
    a[0] = exp_finish(n_rounded, r, rest)
    da_dz[0] = a[0]


cdef inline void identity(vec z, vec *a, vec *da_dz) noexcept nogil:
    """z, and 1."""
    a[0] = z
    da_dz[0] = vec_set1(1)


# ---- second derivatives of the activations, from z, or from a and da_dz where these serve ----------------------

cdef inline vec vec_tanh(vec z) noexcept nogil:
    cdef vec n_rounded, r, rest, a, da_dz
    exp_reduced(tanh_exponent(z), &n_rounded, &r, &rest)
    tanh_finish(z, n_rounded, r, rest, False, &a, &da_dz)
    return a


cdef inline vec sigmoid_second(vec z, vec da_dz) noexcept nogil:
    """sigma' (1 - 2 sigma), with 1 - 2 sigma = -tanh(z/2), which does not cancel at 0."""
    return -da_dz * vec_tanh(vec_set1(<real> 0.5) * z)


cdef inline vec tanh_second(vec a, vec da_dz) noexcept nogil:
    return -(a + a) * da_dz


cdef inline vec elu_second(vec z, vec da_dz) noexcept nogil:
    """0 for z > 0, otherwise the first derivative once more; selu: the same."""
    return vec_where_gt(z, vec_set1(0), vec_set1(0), da_dz)


cdef inline vec gelu_second(vec z) noexcept nogil:
    """2 phi + z phi' = phi(z) (2 - z^2), phi the normal density."""
    cdef vec bounded = gelu_bounded(z)
    cdef vec e_low
    cdef vec e = bell(bounded, &e_low)
    cdef vec density = vec_set1(<real> 0.39894228040143267793994605993438) * (e + e_low)
    return density * vec_fma(-bounded, bounded, vec_set1(2))


cdef inline vec silu_second(vec z) noexcept nogil:
    """2 sigma' + z sigma'' = sigma'(z) (2 - z tanh(z/2))."""
    cdef vec a, one_minus_a, sigma_prime
    cdef vec bounded = silu_bounded(z)
    sigmoid_pair(bounded, &a, &one_minus_a, &sigma_prime)
    return sigma_prime * vec_fma(-bounded, vec_tanh(vec_set1(<real> 0.5) * bounded), vec_set1(2))


cdef inline vec softplus_second(vec z) noexcept nogil:
    """sigma'(z)."""
    cdef vec a, one_minus_a, sigma_prime
    sigmoid_pair(z, &a, &one_minus_a, &sigma_prime)
    return sigma_prime


cdef inline vec softsign_second(vec z, vec da_dz) noexcept nogil:
    """-2 sign(z)/(1 + |z|)^3, 0 at 0."""
    cdef vec size = at_most(vec_abs(z), LARGEST)
    cdef vec magnitude = (da_dz + da_dz) / (vec_set1(1) + size)
    return vec_where_gt(size, vec_set1(0), -vec_with_sign_of(magnitude, z), vec_set1(0))


cdef inline vec log1p_minus(vec e) noexcept nogil:
    """(log(1 + e) - e)/log(1 + e) for 0 <= e <= 1: near 0, where the difference cancels, its series."""
    cdef vec log = vec_log1p(e)
    cdef vec series = vec_set1(0)
    cdef int k
    for k in range(20, 1, -1):
        series = vec_fma(e, series, vec_set1(<real> (1.0 / k if k % 2 else -1.0 / k)))
    # log(1 + e)/e -> 1; e^2 would vanish long before e does.
    cdef vec quotient = vec_where_gt(vec_set1(<real> 0.125), e, e * series * (e / log), (log - e) / log)
    return vec_where_gt(log, vec_set1(0), quotient, vec_set1(0))
