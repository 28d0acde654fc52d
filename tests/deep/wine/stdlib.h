/* Wine's, with a function of Visual C++ that Cython's code calls. */
#include_next <stdlib.h>
#ifndef LACKING_STDLIB
#define LACKING_STDLIB
__int64 _abs64(__int64);
#endif
