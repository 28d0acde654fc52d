/* Plain steps of a 2-3-1 sigmoid network with quadratic cost, one example each: what a C compiler
   makes of the loop. Weights are those of W (n_out, n_in) and b, layer by layer: 13 numbers.
   Compile with -DREAL=float -DEXP=expf or -DREAL=double -DEXP=exp. */

#include <math.h>

static REAL sigmoid(REAL z) { return 1 / (1 + EXP(-z)); }

void steps(REAL *w, const REAL *X, const REAL *Y, long n, REAL learning_rate) {
    REAL W1[6], b1[3], W2[3], b2 = w[12];
    for (int i = 0; i < 6; i++) W1[i] = w[i];
    for (int j = 0; j < 3; j++) b1[j] = w[6 + j], W2[j] = w[9 + j];
    for (long i = 0; i < n; i++) {
        const REAL *x = X + 2 * i;
        REAL a1[3], z2 = b2;
        for (int j = 0; j < 3; j++)
            a1[j] = sigmoid(W1[2 * j] * x[0] + W1[2 * j + 1] * x[1] + b1[j]);
        for (int j = 0; j < 3; j++) z2 += W2[j] * a1[j];
        REAL a2 = sigmoid(z2);
        REAL step2 = learning_rate * 2 * (a2 - Y[i]) * a2 * (1 - a2);
        for (int j = 0; j < 3; j++) {
            REAL step1 = W2[j] * step2 * a1[j] * (1 - a1[j]);
            W2[j] -= step2 * a1[j];
            W1[2 * j] -= step1 * x[0];
            W1[2 * j + 1] -= step1 * x[1];
            b1[j] -= step1;
        }
        b2 -= step2;
    }
    for (int i = 0; i < 6; i++) w[i] = W1[i];
    for (int j = 0; j < 3; j++) w[6 + j] = b1[j], w[9 + j] = W2[j];
    w[12] = b2;
}

/* n multiply-adds, each waiting for the one before. */
REAL dependent(REAL x, long n) {
    for (long i = 0; i < n; i++) x = x * (REAL) 0.999 + (REAL) 0.001;
    return x;
}
