"""The gradient, found once more without backpropagation.

Each parameter is nudged by an imaginary step, and the nudge is followed forward, through the
reference's formulas in float64, to the cost. Its imaginary part is then the derivative itself, with
nothing subtracted, right to the last digits (Squire & Trapp 1998, "Using complex variables to
estimate derivatives of real functions", SIAM Review 40:110–112). The real parts stay those of the
network as it is: no nudge carries a number over a kink, nor off one.

A function of the user's may take no complex numbers. Its own slope, at the very numbers where the
network calls it, then comes from difference quotients of its values: from the left, from the right
and around, at steps from 0.3 down to 1e-15, extrapolated to step 0 (Richardson 1911); the one that
the table of extrapolations itself calls surest is taken (Ridders 1982, "Accurate computation of
F′(x) and F′(x)F″(x)", Advances in Engineering Software 4:75–76). The user's derivative is taken
where it lies within what that leaves open: some last digits, or, at a kink, where every slope
between those of the two sides is right.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

import numpy as np

from cbackprop import layout
from cbackprop.functions import Activation, Array, Cost, read_only
from cbackprop.gradients import Gradient
from cbackprop.model import Model
from cbackprop.random_numbers import RandomNumbers
from cbackprop.reference.calculus import activate, weighted_input
from cbackprop.reference.engine import Engine

# What it leaves out is of the order of its square. Where the cost moves by less than 1e-284 of what
# z_j moves, the nudge may underflow.
COMPLEX_STEP = 2.0**-70
UNDERFLOW = 1e-284
RICHARDSON_TOLERANCE = 1e-10

# Difference quotients: the widest step, relative to max(1, |x|) and to |x|, and how often halved.
WIDEST_STEP = 0.3
LADDERS = ((1.0, 47), (0.0, 25))
EXTRAPOLATIONS = 7

# A gradient is judged by no less than what it is before its terms cancel, over this: an error of
# 4096/128 = 32 ε of that is rounding. Converged networks were measured to have 2 ε at most.
CANCELLED = 128.0

BLOCK = 1 << 21  # numbers of a layer that are nudged at a time


class Part(NamedTuple):
    """A line of the table: the weights or the biases of one layer."""

    layer: int
    kind: str
    largest_gradient: float
    largest_error: float
    relative_error: float
    place: tuple[int, ...]

    @property
    def parameter(self) -> str:
        """The parameter of the largest error, such as "layer 2 weight [3, 7]"."""
        name = "weight" if self.kind == "weights" else "bias"
        return f"layer {self.layer} {name} {list(self.place)}"


class GradientCheck:
    """A gradient, and the one found by nudging.

    Attributes
    ----------
    max_relative_error : float
        ``max |ĝ − g| / max |g|`` over all parameters; infinite where a derivative is no number.
    worst : str
        The parameter whose error is largest relative to the gradients of its own part, such as
        "layer 2 weight [3, 7]".
    passed : bool
        Whether the relative error of every part is at most ``tolerance``.
    tolerance : float
        4096 ε of the network's number type; 1e-10 at least where functions of the user's take part.
    method : str
        "complex step", or "Richardson extrapolation" where functions of the user's take part.
    gradient, expected : Gradient
        The network's and the nudged one.
    parts : tuple of Part
        The weights and the biases of each layer: ``layer``, ``kind`` ("weights" or "biases"),
        ``largest_gradient``, ``largest_error``, ``relative_error`` and the ``place`` of that error.

    Notes
    -----
    The relative error of a part is ``max |ĝ − g| / max |g|`` over its own parameters, so that what
    is wrong low in a deep network is not hidden by the larger gradients above. Where ``max |g|`` is
    less than 1/128 of what the examples and outputs add up to without their signs, or of how it
    moves with relative changes of the parameters, as when training has converged, that part takes
    its place: rounding leaves no more of it.
    Gradients too small for the number type, or for the nudges, count as 0.
    """

    def __init__(
        self,
        gradient: Gradient,
        expected: Gradient,
        method: str,
        epsilon: float,
        magnitudes: Gradient | None = None,
    ) -> None:
        self.gradient = gradient
        self.expected = expected
        self.method = method
        self.tolerance = 4096 * epsilon
        if method != "complex step":
            self.tolerance = max(self.tolerance, RICHARDSON_TOLERANCE)
        scale = smallest = float(np.finfo(gradient.vector.dtype).tiny) / self.tolerance
        parts: list[Part] = []
        arrays = (_arrays(g) for g in (gradient, expected, magnitudes or expected))
        for i, (found, true, magnitude) in enumerate(zip(*arrays, strict=True)):
            with np.errstate(invalid="ignore"):
                error = np.abs(found.astype(np.float64) - true)
            error = np.where(np.isfinite(error), error, np.inf)
            place = tuple(int(index) for index in np.unravel_index(error.argmax(), error.shape))
            largest = _largest(true)
            part_scale = max(largest, _largest(magnitude) / CANCELLED, smallest)
            scale = max(scale, part_scale)
            of_place = float(error[place])
            kind = ("weights", "biases")[i % 2]
            parts.append(Part(i // 2 + 1, kind, largest, of_place, of_place / part_scale, place))
        self.parts = tuple(parts)
        self.max_relative_error = max(part.largest_error for part in parts) / scale
        self._worst = max(parts, key=lambda part: part.relative_error)
        self.worst = self._worst.parameter
        self.passed = self._passes(self._worst)

    def _passes(self, part: Part) -> bool:
        return part.relative_error <= self.tolerance

    columns = ("layer", "part", "largest |∂C/∂w|", "largest error", "relative", "at", "")

    def rows(self) -> list[tuple[str, ...]]:
        """The columns of each part as text.

        Returns
        -------
        list of tuple of str
            The seven columns above, a tuple for each layer's weights and one for its biases.
        """
        return [
            (
                str(part.layer),
                part.kind,
                f"{part.largest_gradient:.6e}",
                f"{part.largest_error:.2e}",
                f"{part.relative_error:.1e}",
                str(list(part.place)),
                "passed" if self._passes(part) else "FAILED",
            )
            for part in self.parts
        ]

    def __str__(self) -> str:
        lines: list[str] = []
        for layer, kind, size, error, relative, at, verdict in (self.columns, *self.rows()):
            line = f"{layer:>5}  {kind:<7}  {size:>15}  {error:>13}  {relative:>8}  {at}"
            lines.append(f"{line}  FAILED" if verdict == "FAILED" else line)
        worst = self._worst
        verdict = "passed" if self.passed else "FAILED"
        lines.append(
            f"gradient check {verdict}: relative error {worst.relative_error:.2e} at {self.worst}"
        )
        if not self.passed:
            part = self.parts.index(worst)
            found, true = (
                float(_arrays(g)[part][worst.place]) for g in (self.gradient, self.expected)
            )
            lines.append(f"there the gradient has {found:.12g}, and nudging finds {true:.12g}")
        lines.append(f"by {self.method}, with a tolerance of {self.tolerance:.1e}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return (
            f"<GradientCheck {'passed' if self.passed else 'FAILED'}, max_relative_error "
            f"{self.max_relative_error:.2e} at {self.worst}>"
        )

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.gradient_check(self)


def _arrays(gradient: Gradient) -> list[Array]:
    """The weights' part of the first layer, its biases', the weights' of the second, …"""
    return list(chain.from_iterable(zip(gradient.weights, gradient.biases, strict=True)))


def _largest(array: Array) -> float:
    """The largest absolute value among those that are finite."""
    size = np.abs(array)
    return float(np.max(size, initial=0.0, where=np.isfinite(size)))


def check_gradient(
    model: Model, X: Array, Y: Array, gradient_of: Callable[[Array, Array], Gradient]
) -> GradientCheck:
    """Compare what ``gradient_of`` says with nudges of every parameter."""
    engine = Engine(model.sizes, model.activations, model.cost_function, "float64")
    with model.engine.reading():  # both of the same parameters
        gradient = gradient_of(X, Y)
        engine.storage[...] = layout.flat(model.weights, model.biases)
    examples = X.astype(np.float64), Y.astype(np.float64)
    epsilon = float(np.finfo(model.dtype).eps)
    # What a delta may lose: the nudges' underflow, or the network's own.
    lost = max(UNDERFLOW, float(np.finfo(model.dtype).tiny))
    with np.errstate(all="ignore"):
        expected, magnitudes = _nudged_gradient(engine, *examples, lost)
        # How far rounding may take it: as if the parameters had other last digits. From one such
        # place to another on the same side, so that a neuron that stands in a kink does not count.
        change = 4 * epsilon * (2 * RandomNumbers(0).uniform(model.n_parameters) - 1)
        parameters = engine.storage.copy()
        nearby: list[Array] = []
        for distance in (1, 2):
            engine.storage[...] = parameters * (1 + distance * change)
            nearby.append(_nudged_gradient(engine, *examples, lost)[0])
        magnitudes += np.abs(nearby[1] - nearby[0]) / (2 * epsilon)
    functions = (*model.activations, model.cost_function)
    return GradientCheck(
        gradient,
        Gradient(expected, gradient.cost, model.sizes),
        "complex step"
        if all(isinstance(f, str) for f in functions)
        else "Richardson extrapolation",
        epsilon,
        Gradient(magnitudes, gradient.cost, model.sizes),
    )


def _nudged_gradient(engine: Engine, X: Array, Y: Array, lost: float) -> tuple[Array, Array]:
    """∇C and the size of its terms, (P,), a few examples at a time where layers are wide."""
    widest = max(X.shape[1], *(len(b) for b in engine.biases))
    rows = max(1, BLOCK // ((widest + 1) * widest))
    blocks = [slice(start, start + rows) for start in range(0, len(X), rows)]
    sums = [_NudgedPass(engine, X[block], Y[block]).derivatives(lost) for block in blocks]
    mean, magnitude = (np.sum(np.stack(part), axis=0) / len(X) for part in zip(*sums, strict=True))
    return mean, magnitude


# ---- nudges, and what becomes of them ------------------------------------------------------------


class _NudgedPass:
    """A forward pass as it stands, and how nudges of its weighted inputs move the cost."""

    def __init__(self, engine: Engine, X: Array, Y: Array) -> None:
        self.engine = engine
        self.Y = Y
        self.z: list[Array] = []
        self.a = [X]
        self.slopes: list[Array | None] = []  # ∂a/∂z where the activation is the user's
        for W, b, activation in zip(engine.weights, engine.biases, engine.activations, strict=True):
            self.z.append(weighted_input(W, b, self.a[-1]))
            self.a.append(activate(activation, self.z[-1])[0])
            self.slopes.append(
                activation_slopes(activation, self.z[-1])
                if isinstance(activation, Activation)
                else None
            )
        cost = engine.cost_function
        self.cost_slopes = cost_slopes(cost, self.a[-1], Y) if isinstance(cost, Cost) else None

    def derivatives(self, lost: float) -> tuple[Array, Array]:
        """Σ_i ∂C_i/∂parameters, (P,), and what its terms, of each example and output, are in size.

        The latter not below what underflows where ∂C/∂z is as small as ``lost``.
        """
        n = len(self.Y)
        parts: list[Array] = []
        magnitudes: list[Array] = []
        for l, W in enumerate(self.engine.weights):
            # w_jk by h moves z_j by h·a_k, and b_j by h moves it by h.
            moves = np.concatenate([self.a[l], np.ones((n, 1))], axis=1)
            scale = np.maximum(1.0, np.abs(moves).max(axis=0))
            step = COMPLEX_STEP * (moves / scale).T
            derivatives = np.empty((2, W.shape[0], W.shape[1] + 1))
            for j in range(W.shape[0]):
                parts_of_dC = self.nudged_costs(l, j, step)
                derivatives[0, j] = parts_of_dC.sum(axis=(1, 2))
                derivatives[1, j] = np.abs(parts_of_dC).sum(axis=(1, 2))
            # One after the other: together they may overflow.
            derivatives = derivatives / COMPLEX_STEP * scale
            derivatives[1] += n * lost * scale
            for target, values in zip((parts, magnitudes), derivatives, strict=True):
                target += [values[:, :-1].ravel(), values[:, -1]]
        return np.concatenate(parts), np.concatenate(magnitudes)

    def nudged_costs(self, l: int, j: int, step: Array) -> Array:
        """Im of each output's part of C_i, (m, n, n_L), when i·step (m, n) is added to z_j.

        Of layer l, from 0. All nudges of the parameters into one neuron j are followed at a time.
        """
        m, n = step.shape
        W, L = self.engine.weights, len(self.z)
        dz = step[:, :, np.newaxis]
        if l < L - 1 and not self.mixes(l):  # then only a_j moves
            da, _ = self.nudged_activations(l, slice(j, j + 1), dz)
            l, dz = l + 1, da * W[l + 1][:, j]
        else:
            dz = dz * np.eye(len(W[l]))[j]
        while l < L - 1:
            da, _ = self.nudged_activations(l, slice(None), dz)
            l, dz = l + 1, weighted_input(W[l + 1], np.zeros(1), da)
        da, da_dz = self.nudged_activations(l, slice(None), dz)
        if self.cost_slopes is not None:
            dC: Array = da * self.cost_slopes
            return dC
        if self.engine.cost_function == "mae":
            da = np.where(self.a[L] == self.Y, 0, da)  # mae′ at 0 is 0
        z, a = ((x + 1j * dx).reshape(m * n, -1) for x, dx in ((self.z[-1], dz), (self.a[-1], da)))
        C = self.engine.cost_parts(z, a, da_dz, np.tile(self.Y, (m, 1)))
        return np.imag(C).reshape(m, n, -1)

    def mixes(self, l: int) -> bool:
        """Whether a z of the layer moves other neurons' activations: the user's mistake."""
        slopes = self.slopes[l]
        return slopes is not None and slopes.ndim == 3

    def nudged_activations(self, l: int, neurons: slice, dz: Array) -> tuple[Array, Array]:
        """Im a (m, n, neurons) where dz is Im z; and what the cost takes as da_dz, (m·n, neurons).

        z and a stay what they are, their imaginary parts apart.
        """
        m, n, width = dz.shape
        slopes = self.slopes[l]
        if slopes is None:
            z = self.z[l][:, neurons] + 1j * dz
            a, da_dz = activate(self.engine.activations[l], z.reshape(m * n, width))
            return np.imag(a).reshape(dz.shape), da_dz
        if slopes.ndim == 3:
            da = (dz[:, :, np.newaxis] @ slopes)[:, :, 0]
        else:
            da = dz * slopes[:, neurons]
        return da, np.ones((m * n, width))  # no cost by name makes use of it


# ---- slopes of the user's functions --------------------------------------------------------------


def activation_slopes(activation: Activation, z: Array) -> Array:
    """∂a/∂z (n, n_l) from the values alone; kinks as the module's docstring says.

    Should the function mix the neurons of a layer, which it must not: ∂a_k/∂z_j, (n, n_l, n_l).
    """

    def value(z: Array) -> Array:
        return activation.checked_value(read_only(z))

    one = np.repeat(z[:1], z.shape[1], axis=0)
    change = np.abs(value(one + 0.0625 * np.eye(z.shape[1])) - value(one))
    np.fill_diagonal(change, 0)
    if (change > 1e-12 * (1 + np.abs(value(one)))).any():
        n, n_l = z.shape
        slopes, _, _ = extrapolated_slopes(
            lambda z_j: value(_moved(z, z_j)).reshape(n_l, n, n_l), z.T
        )
        return slopes.swapaxes(0, 1)
    _, low, high = extrapolated_slopes(value, z)
    return np.clip(activation.checked_derivative(read_only(z)), low, high)


def cost_slopes(cost: Cost, a: Array, y: Array) -> Array:
    """∂C_i/∂a (n, n_L) from the values alone, likewise."""
    n, n_L = a.shape
    y_of_each = read_only(np.tile(y, (n_L, 1)))

    def value(a_j: Array) -> Array:
        return cost.checked_value(read_only(_moved(a, a_j)), y_of_each).reshape(n_L, n)

    _, low, high = extrapolated_slopes(value, a.T)
    return np.clip(cost.checked_gradient(read_only(a), read_only(y)), low.T, high.T)


def _moved(x: Array, x_j: Array) -> Array:
    """n_l times x (n, n_l), one below the other, the j-th with its column j replaced by x_j[j]."""
    n, n_l = x.shape
    copies = np.repeat(x[np.newaxis], n_l, axis=0)
    j = np.arange(n_l, dtype=np.intp)
    copies[j, :, j] = x_j
    return copies.reshape(n_l * n, n_l)


def extrapolated_slopes(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array, Array]:
    """df/dx from values of the function at x and near it: the surest, and the range it is in.

    The range is as wide as the surest may be wrong, and takes in the slopes on the left, on the
    right and around where these disagree by more than that.
    """
    at_x = function(x)
    left, around, right = limits = [_Limit(1), _Limit(2), _Limit(1)]
    for floor, halvings in LADDERS:
        widest = WIDEST_STEP * np.maximum(floor, np.abs(x))
        for limit in limits:
            limit.row = []
        for halving in range(halvings):
            below, above = x - widest * 0.5**halving, x + widest * 0.5**halving
            at_below, at_above = function(below), function(above)
            left.add(at_x, at_below, x - below)
            around.add(at_above, at_below, above - below)
            right.add(at_above, at_x, above - x)
    slopes = np.stack([limit.slope for limit in limits])
    errors = np.stack([limit.error for limit in limits])
    surest = np.take_along_axis(slopes, errors.argmin(axis=0)[np.newaxis], axis=0)[0]
    # Random values have no slope at all.
    surest = np.where(at_x == function(x), surest, np.nan)
    margin = np.minimum(4 * errors.min(axis=0), 1e-4 * np.maximum(1, np.abs(surest)))
    apart = np.zeros(surest.shape, bool)
    for p, q in ((0, 1), (1, 2), (0, 2)):
        apart |= np.abs(slopes[p] - slopes[q]) > 8 * (errors[p] + errors[q])
    apart &= np.isfinite(surest)
    low = np.where(apart, np.fmin.reduce(slopes), surest) - margin
    high = np.where(apart, np.fmax.reduce(slopes), surest) + margin
    return surest, low, high


class _Limit:
    """The limit of a difference quotient for ever smaller steps, and how wrong it may be.

    Its error is a series in h where order is 1, in h² where it is 2; from the steps h and h/2 the
    first term of that is extrapolated away, then the next (Neville's table, row by row). An entry
    is as sure as it is near to the two it comes from, but for what rounding leaves of the values'
    difference.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.row: list[Array] = []
        self.slope = np.array(np.nan)
        self.error = np.array(np.inf)

    def add(self, above: Array, below: Array, step: Array) -> None:
        """The function's values at both ends of the next smaller step."""
        step = step.reshape(step.shape + (1,) * (above.ndim - step.ndim))
        rounding = 4 * np.finfo(np.float64).eps * (np.abs(above) + np.abs(below)) / step
        row = [(above - below) / step]
        for k, before in enumerate(self.row[:EXTRAPOLATIONS], start=1):
            better = row[-1] + (row[-1] - before) / (2 ** (self.order * k) - 1)
            error = np.maximum(np.abs(better - row[-1]), np.abs(better - before)) + rounding
            closer = error < self.error
            self.slope = np.where(closer, better, self.slope)
            self.error = np.where(closer, error, self.error)
            row.append(better)
        self.row = row
