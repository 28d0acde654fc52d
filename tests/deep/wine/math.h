/* Wine's, with what it lacks of C99. A long double is a double here. */
#include_next <math.h>
#ifndef LACKING_MATH
#define LACKING_MATH
double fma(double, double, double);
float fmaf(float, float, float);
#define atan2l atan2
#define cosl cos
#define expl exp
#define fabsl fabs
#define logl log
#define powl pow
#define sinl sin
#define sqrtl sqrt
#endif
