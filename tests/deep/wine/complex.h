/* Wine's, with what NumPy's headers want besides. */
#include_next <complex.h>
#ifndef LACKING_COMPLEX
#define LACKING_COMPLEX
typedef struct { long double _Val[2]; } _Lcomplex;
#define creal(z) ((z)._Val[0])
#define cimag(z) ((z)._Val[1])
#define crealf creal
#define cimagf cimag
#define creall creal
#define cimagl cimag
#endif
