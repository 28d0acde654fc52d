"""An independent truth for networks and their derivatives: definitions, and no calculus.

Nothing here is taken from the package. A network is textbook loops over neurons; a derivative is
found by nudging one quantity and looking at the cost, never by backpropagation:

* complex step, Im C(w + ih)/h with h = 1e-30 (Squire & Trapp 1998): nothing is subtracted, so it is
  right to the last digits, wherever the cost is analytic on the branch that the real part takes;
* central differences at hundreds of digits (mpmath), where units are saturated, and for second
  derivatives: of both nudges the error is below what any digit shows;
* central differences with Richardson's extrapolation, right to some 1e-11, to see that the first
  way does what it should.

Every value is an array over (examples, nudges); only the loops over layers and neurons are written
out. Numbers are 80-bit or 128-bit ``longdouble`` where the platform has it, so that float64 is
judged by something better than itself; float32 always is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

STEP = 1e-30
DIGITS = 560
LONGDOUBLE_IS_WIDER = bool(np.finfo(np.longdouble).eps < np.finfo(np.float64).eps)

# ("w", l, j, k), ("b", l, j) and ("a", l, k): a weight, a bias, an activation (l = 0: an input).
Place = tuple[Any, ...]


@dataclass(frozen=True)
class Field:
    """A kind of number, and its elementary functions on arrays."""

    number: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    log: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    sin: Callable[[Any], Any]
    erfc: Callable[[Any], Any]
    real: Callable[[Any], Any]


def _numpy_field(dtype: Any, erfc: Callable[[Any], Any]) -> Field:
    return Field(
        lambda x: np.asarray(np.longdouble(x) if isinstance(x, str) else x).astype(dtype),
        np.exp,
        np.log,
        np.tanh,
        np.sin,
        erfc,
        np.real,
    )


def as_longdouble(number: Any) -> np.longdouble:
    """Of one of mpmath's numbers; 40 digits are more than any long double has (34 on arm64)."""
    return np.longdouble(mpmath.nstr(number, 40))


@functools.cache
def _erfc(x: np.longdouble) -> np.longdouble:
    with mpmath.workdps(45):
        return as_longdouble(mpmath.erfc(mpmath.mpf(str(x))))


def _complex_erfc(z: Any) -> Any:
    """erfc(x + ih) = erfc(x) − ih·2/√π·e^(−x²) + O(h²): erfc is the integral of that, and h² is
    1e-60."""
    slope = -2 / np.sqrt(np.longdouble(_PI)) * np.exp(-z.real * z.real)
    value = np.array([_erfc(x) for x in z.real.ravel()], dtype=np.longdouble)
    return value.reshape(z.shape) + np.clongdouble(1j) * (z.imag * slope)


_PI = "3.14159265358979323846264338327950288"


def _elementwise(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return np.frompyfunc(function, 1, 1)


COMPLEX = _numpy_field(np.clongdouble, _complex_erfc)
REAL = _numpy_field(np.float64, np.vectorize(math.erfc, otypes=[np.float64]))


@functools.lru_cache(maxsize=1 << 16)
def _value(function: Callable[[Any], Any], x: Any, digits: int) -> Any:
    return function(x)


def _remembered(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that takes long, for arrays: a nudge leaves most values as they were."""
    return _elementwise(lambda x: _value(function, x, mpmath.mp.dps))


MANY_DIGITS = Field(
    _elementwise(lambda x: mpmath.mpf(x if isinstance(x, (str, mpmath.mpf)) else float(x))),
    _remembered(mpmath.exp),
    _remembered(mpmath.log),
    _remembered(mpmath.tanh),
    _remembered(mpmath.sin),
    _remembered(mpmath.erfc),
    lambda x: x,
)


# ---- definitions ---------------------------------------------------------------------------------


def activation(f: Field, name: str, z: Any) -> Any:
    """a = σ(z), as a textbook writes it; "sine" stands for an activation of the user's."""
    one = f.number(1.0)
    positive = f.real(z) > 0
    size = np.where(positive, z, -z)
    if name == "sigmoid":
        return one / (one + f.exp(-z))
    if name == "tanh":
        return f.tanh(z)
    if name == "relu":
        return np.where(positive, z, 0 * z)
    if name == "leaky_relu":
        return np.where(positive, z, z / f.number(100.0))
    if name == "elu":
        return np.where(positive, z, f.exp(-size) - one)
    if name == "selu":
        # Klambauer et al. 2017, the constants of their code.
        scale = f.number("1.0507009873554804934193349852946")
        alpha = f.number("1.6732632423543772848170429916717")
        return np.where(positive, scale * z, scale * alpha * (f.exp(-size) - one))
    if name == "gelu":
        return z * f.erfc(-z / f.number(2.0) ** f.number(0.5)) / 2
    if name == "silu":
        return z / (one + f.exp(-z))
    if name == "softplus":
        return f.log(one + f.exp(z))
    if name == "softsign":
        return z / (one + size)
    if name == "exponential":
        return f.exp(z)
    if name == "identity":
        return z
    if name == "sine":
        return f.sin(z)
    raise KeyError(name)


def layer(f: Field, name: str, z: list[Any]) -> list[Any]:
    """a of a whole layer: softmax is not elementwise."""
    if name != "softmax":
        return [activation(f, name, z_j) for z_j in z]
    largest = z[0]
    for z_j in z[1:]:
        largest = np.where(f.real(z_j) > f.real(largest), z_j, largest)
    # The shift cancels; it only keeps exp in range. A real one leaves the derivative alone.
    e = [f.exp(z_j - f.real(largest)) for z_j in z]
    below = e[0]
    for e_j in e[1:]:
        below = below + e_j
    return [e_j / below for e_j in e]


def cost(f: Field, name: str, output: str, a: list[Any], y: list[Any]) -> Any:
    """C_i of one example from its outputs; "quartic" and "coupled", whose outputs do not come in
    one by one, stand for costs of the user's."""
    one = f.number(1.0)
    n = len(a)
    total = 0 * a[0]
    if name == "coupled":
        for a_j, y_j in zip(a, y, strict=True):
            total = total + (a_j - y_j) * (a_j - y_j)
        return total * total
    for j in range(n):
        r = a[j] - y[j]
        size = np.where(f.real(r) >= 0, r, -r)
        if name == "quadratic":
            total = total + r * r
        elif name == "half_quadratic":
            total = total + r * r / 2
        elif name == "mse":
            total = total + r * r / n
        elif name == "mae":
            total = total + size / n
        elif name == "huber":
            inside = f.real(size) <= 1
            total = total + np.where(inside, r * r / 2, size - f.number(0.5)) / n
        elif name == "quartic":
            total = total + r * r * r * r
        elif name == "poisson":
            total = total + (a[j] - y[j] * f.log(a[j])) / n
        elif name == "cross_entropy" and output == "softmax":
            total = total - y[j] * f.log(a[j])
        elif name == "cross_entropy":
            total = total - y[j] * f.log(a[j]) - (one - y[j]) * f.log(one - a[j])
        else:
            raise KeyError(name)
    return total


@dataclass(frozen=True)
class Model:
    """A network's parameters and functions, as plain arrays and names."""

    weights: Sequence[Array]
    biases: Sequence[Array]
    activations: Sequence[str]
    cost: str

    @property
    def parameter_places(self) -> list[Place]:
        """W by rows, then b, layer by layer: the order of the gradient vector."""
        places: list[Place] = []
        for l, (W, b) in enumerate(zip(self.weights, self.biases, strict=True), start=1):
            places += [("w", l, j, k) for j in range(W.shape[0]) for k in range(W.shape[1])]
            places += [("b", l, j) for j in range(len(b))]
        return places

    @property
    def activation_places(self) -> list[Place]:
        places: list[Place] = [("a", 0, k) for k in range(self.weights[0].shape[1])]
        for l, b in enumerate(self.biases, start=1):
            places += [("a", l, k) for k in range(len(b))]
        return places


# ---- forward, with one quantity nudged in each column --------------------------------------------


def run(
    f: Field, model: Model, X: Array, Y: Array, places: Sequence[Place] = (), step: Any = 0.0
) -> tuple[list[list[Any]], list[list[Any]], Any]:
    """z and a of every layer as lists over neurons, and C_i; each value is (n, columns).

    Column c is the network with ``step`` added to places[c]; without places there is one column,
    the network as it is.
    """
    columns = {place: c for c, place in enumerate(places)}
    shape = (len(X), max(1, len(places)))
    kind = f.number(np.zeros((1, 1)))

    def constant(value: Any) -> Any:
        return np.zeros(shape, kind.dtype) + kind + f.number(value)

    def nudged(value: Any, place: Place, factor: Any = None) -> Any:
        if place in columns:
            c = columns[place]
            value = value.copy()
            value[:, c] = value[:, c] + (step if factor is None else step * factor[:, c])
        return value

    a = [nudged(constant(X[:, k : k + 1]), ("a", 0, k)) for k in range(X.shape[1])]
    y = [f.number(Y[:, j : j + 1]) for j in range(Y.shape[1])]
    all_z: list[list[Any]] = [[]]
    all_a: list[list[Any]] = [a]
    for l, (W, b, name) in enumerate(
        zip(model.weights, model.biases, model.activations, strict=True), start=1
    ):
        z = []
        for j in range(W.shape[0]):
            total = nudged(constant(b[j]), ("b", l, j))
            for k in range(W.shape[1]):
                total = nudged(total + f.number(W[j, k]) * a[k], ("w", l, j, k), a[k])
            z.append(total)
        a = layer(f, name, z)
        a = [nudged(a_j, ("a", l, j)) for j, a_j in enumerate(a)]
        all_z.append(z)
        all_a.append(a)
    return all_z, all_a, cost(f, model.cost, model.activations[-1], a, y)


def values(model: Model, X: Array, Y: Array) -> tuple[list[Array], list[Array], Array]:
    """z[l] and a[l] (n, n_l), l = 0 … L, and C_i (n,), in longdouble."""
    z, a, C = run(COMPLEX, model, X, Y)
    columns = [
        [np.concatenate([v.real for v in layer], axis=1) if layer else X for layer in layers]
        for layers in (z, a)
    ]
    return columns[0], columns[1], C.real[:, 0]


def derivatives(model: Model, X: Array, Y: Array, places: Sequence[Place]) -> Array:
    """∂C_i/∂place by complex step, (n, places), in longdouble."""
    step = np.clongdouble(1j) * np.longdouble(STEP)
    return run(COMPLEX, model, X, Y, places, step)[2].imag / np.longdouble(STEP)


def output_derivatives(model: Model, X: Array, places: Sequence[Place] | None = None) -> Array:
    """∂a_j/∂place, of all parameters or those given, by complex step, (n, n_L, places), in
    longdouble."""
    step = np.clongdouble(1j) * np.longdouble(STEP)
    Y = np.zeros((len(X), len(model.biases[-1])))
    chosen = model.parameter_places if places is None else places
    a = run(COMPLEX, model, X, Y, chosen, step)[1][-1]
    return np.stack([a_j.imag for a_j in a], axis=1) / np.longdouble(STEP)


def richardson(model: Model, X: Array, Y: Array, places: Sequence[Place], h: float = 1e-3) -> Array:
    """(64 D(h/4) − 20 D(h/2) + D(h))/45 with the central difference D: h² and h⁴ cancel."""

    def central(size: float) -> Array:
        above = run(REAL, model, X, Y, places, size)[2]
        below = run(REAL, model, X, Y, places, -size)[2]
        return (above - below) / (2 * size)

    return (64 * central(h / 4) - 20 * central(h / 2) + central(h)) / 45


def gradients(model: Model, X: Array, Y: Array) -> Array:
    """Every ∇C_i, (n, P)."""
    return derivatives(model, X, Y, model.parameter_places)


def many_digit_derivatives(
    model: Model,
    X: Array,
    Y: Array,
    places: Sequence[Place],
) -> tuple[Array, Array]:
    """C_i (n,) and ∂C_i/∂place (n, places) as mpmath numbers, right to 60 digits and more.

    1 − e^(−700) needs 304 digits to differ from 1; a step of 1e-100 costs another hundred and
    leaves an error of 1e-200. What is below 1e-400 comes out as 0.
    """
    with mpmath.workdps(DIGITS):
        h = mpmath.mpf(10) ** -100
        above = run(MANY_DIGITS, model, X, Y, places, h)[2]
        below = run(MANY_DIGITS, model, X, Y, places, -h)[2]
        return run(MANY_DIGITS, model, X, Y)[2][:, 0], (above - below) / (2 * h)


# ---- second derivatives --------------------------------------------------------------------------

# What suffices where nothing is saturated: an error of 1e-50, from h² and from 1e-100/h².
FEWER_DIGITS = (100, 25)
# As for first derivatives, with h = 1e-100; what is below 1e-350 comes out as less than 1e-350.
ALL_DIGITS = (DIGITS, 100)
# For poisson: of ln(1 + e^(−700)) the first 304 digits go into the 1, and its logarithm counts.
MORE_DIGITS = (2 * DIGITS, 100)


def displaced(f: Field, model: Model, v: Array, r: Any) -> Model:
    """The network whose parameters are w + r v, v in the order of the gradient vector."""
    weights, biases, start = [], [], 0
    for W, b in zip(model.weights, model.biases, strict=True):
        middle = start + W.size
        stop = middle + len(b)
        weights.append(f.number(W) + r * f.number(v[start:middle].reshape(W.shape)))
        biases.append(f.number(b) + r * f.number(v[middle:stop]))
        start = stop
    return Model(weights, biases, model.activations, model.cost)


def hessian_vector_products(
    model: Model, X: Array, Y: Array, v: Array, digits: tuple[int, int] = FEWER_DIGITS
) -> Array:
    """Every H_i v, (n, P), as mpmath numbers: ∂²C_i/∂w∂r at w + r v, both by central differences.

    A kink is never stepped over, unless it is closer than h to the point itself.
    """
    with mpmath.workdps(digits[0]):
        h = mpmath.mpf(10) ** -digits[1]

        def costs(r: Any, step: Any) -> Any:
            moved = displaced(MANY_DIGITS, model, v, r)
            return run(MANY_DIGITS, moved, X, Y, model.parameter_places, step)[2]

        along_v = [costs(h, step) - costs(-h, step) for step in (h, -h)]
        return (along_v[0] - along_v[1]) / (4 * h * h)


def gauss_newton_products(
    model: Model, X: Array, Y: Array, v: Array, digits: tuple[int, int] = FEWER_DIGITS
) -> Array:
    """Every JᵀHJv, (n, P), as mpmath numbers, each factor by central differences.

    J has the derivatives of the outputs, H the second ones of the cost by the outputs: z of the
    last layer for cross_entropy, its a for every other cost.
    """
    f = MANY_DIGITS

    def outputs(moved: Model, places: Sequence[Place] = (), step: Any = 0.0) -> list[Any]:
        z, a, _ = run(f, moved, X, Y, places, step)
        return z[-1] if model.cost == "cross_entropy" else a[-1]

    def cost_of(o: list[Any]) -> Any:
        a = layer(f, model.activations[-1], o) if model.cost == "cross_entropy" else o
        return cost(f, model.cost, model.activations[-1], a, y)

    with mpmath.workdps(digits[0]):
        h = mpmath.mpf(10) ** -digits[1]
        y = [f.number(Y[:, j : j + 1]) for j in range(Y.shape[1])]

        def slopes(above: list[Any], below: list[Any]) -> list[Any]:
            return [(p - m) / (2 * h) for p, m in zip(above, below, strict=True)]

        places = model.parameter_places
        J = slopes(outputs(model, places, h), outputs(model, places, -h))
        Jv = slopes(*(outputs(displaced(f, model, v, r)) for r in (h, -h)))
        here = outputs(model)
        # The logarithm of an a of e^(−700) wants a nudge in proportion.
        steps = [h * o if model.cost == "poisson" else h for o in here]

        def second(j: int, k: int) -> Any:
            total = 0
            for sign_j, sign_k in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                o = list(here)
                o[j] = o[j] + sign_j * steps[j]
                o[k] = o[k] + sign_k * steps[k]
                total = total + sign_j * sign_k * cost_of(o)
            return total / (4 * steps[j] * steps[k])

        total = 0 * J[0]
        for j in range(len(here)):
            for k in range(len(here)):
                total = total + J[j] * (second(j, k) * Jv[k])
        return total


# ---- the proven bound ----------------------------------------------------------------------------


def error_bound(model: Model, x: Array, y: Array) -> tuple[Array, int]:
    """B (P,) and the operation count m of one example: |ĝ − g| ≤ u·B + η·m componentwise.

    For sigmoid layers and the quadratic cost, by running error analysis (Higham, Accuracy and
    Stability of Numerical Algorithms, 2002, section 3.3), first order in u = eps/2; η is the
    smallest subnormal number:

        EZ   = |W| EA₋ + (n₋ + 1) |W| |a₋| + |b|
        EA   = σ′ EZ + 4 |a|                          ES = σ′ EZ + 6 σ′     (|σ″| ≤ σ′)
        ED_L = 2 [(EA + |r|) σ′ + |r| ES] + 2 |δ|      r = a − y
        ED_l = (|W⁺|ᵀ ED⁺ + n⁺ |W⁺|ᵀ |δ⁺|) σ′ + |v| ES + |δ|,   v = W⁺ᵀ δ⁺
        B_W  = ED ⊗ |a₋| + |δ| ⊗ EA₋ + |δ ⊗ a₋|        B_b = ED
    """
    assert set(model.activations) == {"sigmoid"}
    assert model.cost == "quadratic"
    W = [np.asarray(w, np.float64) for w in model.weights]
    b = [np.asarray(v, np.float64) for v in model.biases]
    a, EA, slope, ES = [np.asarray(x, np.float64)], [np.zeros(len(x))], [], []
    for w, v in zip(W, b, strict=True):
        z = w @ a[-1] + v
        EZ = np.abs(w) @ EA[-1] + (w.shape[1] + 1) * (np.abs(w) @ np.abs(a[-1])) + np.abs(v)
        e = np.exp(-np.abs(z))
        slope.append(e / (1 + e) ** 2)
        a.append(np.where(z >= 0, 1, e) / (1 + e))
        EA.append(slope[-1] * EZ + 4 * a[-1])
        ES.append(slope[-1] * EZ + 6 * slope[-1])
    r = a[-1] - y
    delta = 2 * r * slope[-1]
    ED = 2 * ((EA[-1] + np.abs(r)) * slope[-1] + np.abs(r) * ES[-1]) + 2 * np.abs(delta)
    parts: list[Array] = []
    for l in range(len(W) - 1, -1, -1):
        B_W = (
            np.outer(ED, np.abs(a[l]))
            + np.outer(np.abs(delta), EA[l])
            + np.abs(np.outer(delta, a[l]))
        )
        parts = [B_W.ravel(), ED, *parts]
        if l > 0:
            v = W[l].T @ delta
            ED = (np.abs(W[l]).T @ ED + W[l].shape[0] * (np.abs(W[l]).T @ np.abs(delta))) * slope[
                l - 1
            ]
            delta = v * slope[l - 1]
            ED = ED + np.abs(v) * ES[l - 1] + np.abs(delta)
    operations = sum(3 * w.size + 40 * len(w) for w in W)
    return np.concatenate(parts), operations
