# The vector type of the module being compiled, as Cython sees it; the meaning of each name is in simd.h.
# Cython is told that real and vec are doubles: it then emits their arithmetic as plain C operators,
# which the C compiler resolves with the true types. Literals therefore go through vec_set1 or <real>.

cdef extern from "simd.h" nogil:
    ctypedef double real "cbackprop_real"
    ctypedef double vec "cbackprop_vec"

    const int LANES "CBACKPROP_LANES"
    const int ROWS_REACHED "CBACKPROP_ROWS_REACHED"
    const int HAS_FMA "CBACKPROP_HAS_FMA"
    const char *COMPILER "CBACKPROP_COMPILER"
    const int VECTOR_BYTES "CBACKPROP_VECTOR_BYTES"
    const int SQUARE "CBACKPROP_SQUARE"
    const int GROUP "CBACKPROP_GROUP"
    const double ROUNDING_MAGIC "CBACKPROP_ROUNDING_MAGIC"

    vec vec_load(const real *p)
    void vec_store(real *p, vec v)
    vec vec_set1(real x)
    vec vec_load_partial(const real *p, Py_ssize_t count)
    void vec_store_partial(real *p, vec v, Py_ssize_t count)
    vec vec_spread(vec v, Py_ssize_t k)
    real vec_first(vec v)
    void vec_stream(real *p, vec v)
    void stream_fence()

    void transpose_square(real *target, Py_ssize_t target_ld, const real *source, Py_ssize_t source_ld)

    vec vec_fma(vec a, vec b, vec c)
    vec vec_where_ge(vec a, vec b, vec x, vec y)
    vec vec_where_gt(vec a, vec b, vec x, vec y)
    vec vec_max(vec a, vec b)
    vec vec_min(vec a, vec b)
    real group_sum(const real *lanes)
    bint vec_all_zero(vec x)
    vec vec_abs(vec x)
    vec vec_minus_abs(vec x)
    vec vec_divide_few(vec x, vec y)
    vec vec_with_sign_of(vec magnitude, vec sign_source)
    vec vec_sqrt(vec x)
    vec vec_scale(vec x, vec rounded)
    vec vec_log_mantissa(vec x)
    vec vec_log_exponent(vec x)
    void CBACKPROP_PREFETCH(const void *p)
    void KEEP "CBACKPROP_KEEP"(const void *p)
    void PUT_AWAY "CBACKPROP_PUT_AWAY"(real x)  # a variable

    ctypedef double wide "cbackprop_wide"
    const int WIDE_LANES "CBACKPROP_WIDE_LANES"
    wide wide_zero()
    wide wide_add_squares(wide sum, const real *x)
    void wide_store(double *p, wide v)
