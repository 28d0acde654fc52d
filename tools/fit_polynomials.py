"""Print src/cbackprop/kernels/math_coefficients.h: the constants and polynomials of math.pxd.

    python tools/fit_polynomials.py > src/cbackprop/kernels/math_coefficients.h

Each polynomial is the minimax one in 60 digits (Remez exchange; Muller, Elementary Functions, 2016,
section 3.5), its coefficients then rounded to the number type. Needs mpmath.
"""

import mpmath as mp

mp.mp.dps = 60
LN2 = mp.log(2)
# Precision in bits; bits of LN2_HIGH (its product with any exponent n is exact); where exp is 0 and
# where it is inf; numbers of coefficients for exp, log, log1p and the normal distribution's tail.
FORMATS = {
    "float32": {
        "bits": 24,
        "ln2_bits": 16,
        "exp_low": -110,
        "exp_high": 90,
        "terms": (6, 4, 5, 12),
    },
    "float64": {
        "bits": 53,
        "ln2_bits": 42,
        "exp_low": -760,
        "exp_high": 720,
        "terms": (11, 7, 10, 24),
    },
}
# Beyond 40 Phi is 0 or 1 in both number types; 4 makes the polynomials of the tail the shortest.
TAIL_END, TAIL_MIDDLE = mp.mpf(40), mp.mpf(4)


def exp_tail(r):
    """q of exp(r) = 1 + r + r^2 q(r)."""
    return mp.nsum(lambda k: r ** int(k) / mp.factorial(k + 2), [0, 40], method="direct")


def log_tail(w):
    """p of log((1 + s)/(1 - s)) = 2s + s w p(w), w = s^2."""
    return mp.nsum(lambda k: 2 * w ** int(k) / (2 * k + 3), [0, 70], method="direct")


def normal_tail(w):
    """p of Phi(-u) exp(u^2/2) = p(w) / (u + 4), w = (u - 4)/(u + 4)."""
    u = TAIL_MIDDLE * (1 + w) / (1 - w)
    return mp.erfc(u / mp.sqrt(2)) / 2 * mp.exp(u * u / 2) * (u + TAIL_MIDDLE)


def minimax(function, low, high, terms):
    """Coefficients, lowest first, of the polynomial whose largest error is smallest; that error."""
    middle, half = (low + high) / 2, (high - low) / 2
    points = [middle - half * mp.cos(mp.pi * k / terms) for k in range(terms + 1)]
    grid = [middle - half * mp.cos(mp.pi * k / (40 * terms)) for k in range(40 * terms + 1)]
    values = [function(x) for x in grid]
    for _ in range(8):
        # f(x_k) = p(x_k) + (-1)^k E at terms + 1 points
        rows = mp.matrix(terms + 1, terms + 1)
        right = mp.matrix(terms + 1, 1)
        for k, x in enumerate(points):
            for j in range(terms):
                rows[k, j] = x**j
            rows[k, terms] = (-1) ** k
            right[k] = function(x)
        solution = mp.lu_solve(rows, right)
        coefficients = list(solution[:terms])
        errors = [
            value - mp.polyval(coefficients[::-1], x) for x, value in zip(grid, values, strict=True)
        ]
        # The new points: where the error is largest between its changes of sign.
        best = [0]
        for i in range(1, len(grid)):
            if errors[i] * errors[best[-1]] < 0:
                best.append(i)
            elif abs(errors[i]) > abs(errors[best[-1]]):
                best[-1] = i
        if len(best) != terms + 1:
            raise ArithmeticError(f"{len(best)} extrema instead of {terms + 1}")
        points = [grid[i] for i in best]
    return coefficients, max(map(abs, errors))


def rounded(x, bits):
    """The nearest number of `bits` bits as a hexadecimal literal: the C compiler rounds nothing."""
    with mp.workprec(bits):
        digits, exponent = float.hex(float(+x)).split("p")
    return (digits.rstrip("0").rstrip(".") if "." in digits else digits) + "p" + exponent


def main():
    print("""/* Printed by tools/fit_polynomials.py: the constants of math.pxd. Not to be edited. */
#ifndef CBACKPROP_MATH_COEFFICIENTS_H
#define CBACKPROP_MATH_COEFFICIENTS_H

#include "simd.h"
""")
    for format_name, f in FORMATS.items():
        print("#ifdef CBACKPROP_FLOAT32" if format_name == "float32" else "#else")
        suffix = "f" if format_name == "float32" else ""
        bits = f["bits"]

        def define(name, value, comment="", suffix=suffix, bits=bits):
            literal = rounded(mp.mpf(value), bits) + suffix
            remark = f"  /* {comment} */" if comment else ""
            print(f"#define CBACKPROP_{name} ((cbackprop_real){literal}){remark}")

        def array(name, coefficients, comment, suffix=suffix, bits=bits):
            print(f"/* {comment} */")
            print(f"#define CBACKPROP_{name}_TERMS {len(coefficients)}")
            print(f"static const cbackprop_real CBACKPROP_{name}[CBACKPROP_{name}_TERMS] = {{")
            for c in coefficients:
                print(f"    {rounded(c, bits)}{suffix},")
            print("};")

        high = mp.floor(LN2 * 2 ** f["ln2_bits"]) / mp.mpf(2) ** f["ln2_bits"]
        largest = (2 - mp.mpf(2) ** (1 - bits)) * mp.mpf(2) ** (127 if bits == 24 else 1023)
        smallest = mp.mpf(2) ** (-126 if bits == 24 else -1022)
        define("EXP_LOW", f["exp_low"], "exp is 0 here and below")
        define("EXP_HIGH", f["exp_high"], "exp is inf here and above")
        define("LOG2_E", 1 / LN2, "1 / ln 2")
        define("LN2_HIGH", high, f"ln 2 in {f['ln2_bits']} bits")
        define("LN2_LOW", LN2 - high)
        define("LARGEST", largest)
        define("SMALLEST_NORMAL", smallest)
        define("SUBNORMAL_SHIFT", bits + 1, "what log scales subnormal numbers by: 2 to this")
        define("SUBNORMAL_SCALE", mp.mpf(2) ** (bits + 1))
        define("SPLITTER", 2 ** ((bits + 1) // 2) + 1, "2^ceil(bits/2) + 1 (Dekker)")

        exp_terms, log_terms, log1p_terms, tail_terms = f["terms"]
        c, error = minimax(exp_tail, -LN2 / 2, LN2 / 2, exp_terms)
        array("EXP", c, f"exp(r) = 1 + r + r^2 q(r), |r| <= ln(2)/2: q, error {mp.nstr(error, 2)}")
        s = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)
        c, error = minimax(log_tail, mp.mpf(0), s**2, log_terms)
        array(
            "LOG",
            c,
            "log((1+s)/(1-s)) = 2s + s w p(w), w = s^2 <= "
            f"{mp.nstr(s**2, 3)}: p, error {mp.nstr(error, 2)}",
        )
        c, error = minimax(log_tail, mp.mpf(0), mp.mpf(1) / 9, log1p_terms)
        array("LOG1P", c, f"the same for w <= 1/9: p, error {mp.nstr(error, 2)}")
        high = (TAIL_END - TAIL_MIDDLE) / (TAIL_END + TAIL_MIDDLE)
        c, error = minimax(normal_tail, mp.mpf(-1), high, tail_terms)
        array(
            "NORMAL_TAIL",
            c,
            "Phi(-u) exp(u^2/2) = p(w) / (u + 4), w = (u - 4)/(u + 4), 0 <= u <= 40: "
            f"p, error {mp.nstr(error, 2)}",
        )
    print("#endif\n\n#endif")


if __name__ == "__main__":
    main()
