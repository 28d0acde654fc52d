"""What the calls return: gradients, and the values of the forward and the backward pass."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, TypeGuard, overload

import numpy as np

from cbackprop import layout, validation
from cbackprop.functions import Array, Floats

if TYPE_CHECKING:
    import numpy.typing as npt

# A number, or one for each example.
Numbers = float | Floats


def _multiplied(one: Any, other: Any) -> Any:
    return one * other


def _divided(one: Any, other: Any) -> Any:
    return one / other


# NumPy's functions that are operators of gradients, when its numbers stand on the left.
_OPERATORS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.divide: _divided,
    np.negative: operator.neg,
    np.positive: operator.pos,
}
# By layer, ndarray but for None at l = 0, where there is none: a reader of l ≥ 1 is not asked.
ByLayer = list[Any]


class LayerArrays(tuple[Floats, ...]):
    """An array for each layer: a tuple whose arrays are written into and never exchanged.

    Python ends ``weights[0] *= 0.5`` by putting the array, changed as it then is, into its place.
    """

    __slots__ = ()
    name: ClassVar[str]

    def __setitem__(self, place: SupportsIndex | slice, value: Floats) -> None:
        if value is not self[place]:
            validation.refuse_replacement(self.name, place)

    def __delitem__(self, place: SupportsIndex | slice) -> None:
        validation.refuse_replacement(self.name, place)


class Weights(LayerArrays):
    """W⁽¹⁾ … W⁽ᴸ⁾, each (n_l, n_{l-1}), or derivatives by them."""

    __slots__ = ()
    name = "weights"


class Biases(LayerArrays):
    """b⁽¹⁾ … b⁽ᴸ⁾, each (n_l,), or derivatives by them."""

    __slots__ = ()
    name = "biases"


class Gradient:
    """∇C, or one ∇C_i for each example.

    Attributes
    ----------
    vector : ndarray
        (P,), or (n, P) per example, in the order W⁽¹⁾, b⁽¹⁾, …, W⁽ᴸ⁾, b⁽ᴸ⁾, each W row by row.
    weights, biases : tuple of ndarray
        Views onto ``vector``: ∂C/∂W⁽ˡ⁾ (n_l, n_{l-1}) and ∂C/∂b⁽ˡ⁾ (n_l,) for l = 1 … L, with a
        leading n axis per example. Example i's gradient is ``vector[i]``.
    cost : float or ndarray
        The mean cost, or the cost C_i of each example, (n,).

    Notes
    -----
    Gradients of one network's sizes add up, and are multiplied and divided by numbers: ``g + h``,
    ``g - h``, ``-g``, ``2 * g``, ``g / n``, ``sum(gradients)``. The result is a new Gradient, of
    the same number type whatever the number's, and its cost is the same sum of the costs: it is the
    gradient of that. One for each example goes with as many others, or with a single one, which
    every row then gets. ``g @ h`` is the inner product; per example (n,), one with each row. Finite
    numbers whose result does not fit their type, in the vector or the cost, are a
    FloatingPointError.

    With an array, and in NumPy's functions, a Gradient is its ``vector``, and the result an array,
    as NumPy's rules have it: ``net.parameters - 0.1 * g``, ``np.array([g, h])`` (2, P), of which
    ``np.mean([g, h])`` is one number; ``(g + h) / 2`` is a Gradient. ``g == h`` asks for the same
    object, ``np.array_equal(g, h)`` for the same numbers.
    """

    __slots__ = ("_sizes", "cost", "vector")

    def __init__(self, vector: Floats, cost: Numbers, sizes: tuple[int, ...]) -> None:
        self.vector = vector
        self.cost = cost
        self._sizes = sizes

    @property
    def weights(self) -> Weights:
        """∂C/∂W⁽¹⁾ … ∂C/∂W⁽ᴸ⁾: views onto ``vector``, each (n_l, n_{l-1}), (n, …) per example."""
        return Weights(layout.views(self._sizes, self.vector)[0])

    @property
    def biases(self) -> Biases:
        """∂C/∂b⁽¹⁾ … ∂C/∂b⁽ᴸ⁾: views onto ``vector``, each (n_l,), (n, n_l) per example."""
        return Biases(layout.views(self._sizes, self.vector)[1])

    def norm(self) -> Numbers:
        """Euclidean length √(Σ g²), over all parameters.

        Returns
        -------
        float or ndarray
            Of the gradient, or of each example's own, (n,).
        """
        largest = np.max(np.abs(self.vector), axis=-1, keepdims=True, initial=0.0)
        scale = np.where(largest > 0, largest, 1)
        # Scaled, so that no square overflows, and none vanishes that matters.
        with np.errstate(under="ignore"):
            length = np.sqrt(np.sum((self.vector / scale) ** 2, axis=-1)) * scale[..., 0]
        return float(length) if self.vector.ndim == 1 else length

    # ---- arithmetic ------------------------------------------------------------------------------

    @overload
    def __add__(self, other: Gradient) -> Gradient: ...
    @overload
    def __add__(self, other: Array) -> Array: ...
    def __add__(self, other: object) -> Gradient | Array:
        """The gradient of the sum of the costs; with an array the sum of the numbers."""
        if isinstance(other, Gradient):
            self._require_fitting("+", other)
            return self._combined(operator.add, "sum", other)
        if _is_number(other) and other == 0:  # where sum() begins
            return self * 1
        return self.vector + other if _has_axes(other) else NotImplemented

    def __radd__(self, other: int) -> Gradient:
        """0 + g, with which ``sum(gradients)`` begins."""
        return self * 1 if _is_number(other) and other == 0 else NotImplemented

    @overload
    def __sub__(self, other: Gradient) -> Gradient: ...
    @overload
    def __sub__(self, other: Array) -> Array: ...
    def __sub__(self, other: object) -> Gradient | Array:
        """The gradient of the difference of the costs; with an array that of the numbers."""
        if isinstance(other, Gradient):
            self._require_fitting("-", other)
            return self._combined(operator.sub, "difference", other)
        return self.vector - other if _has_axes(other) else NotImplemented

    def __pos__(self) -> Gradient:
        """The same numbers, in a new Gradient."""
        return self * 1

    def __neg__(self) -> Gradient:
        """The gradient of −C."""
        return Gradient(-self.vector, -self.cost, self._sizes)

    @overload
    def __mul__(self, other: float) -> Gradient: ...
    @overload
    def __mul__(self, other: Array) -> Array: ...
    def __mul__(self, other: object) -> Gradient | Array:
        """The gradient of the cost times a number; with an array the products of the numbers."""
        if _is_number(other):
            factor = validation.real_number("the factor of a Gradient", other)
            return self._scaled(_multiplied, factor)
        return self.vector * other if _has_axes(other) else NotImplemented

    def __rmul__(self, other: float) -> Gradient:
        """As ``g * number``."""
        return self * other if _is_number(other) else NotImplemented

    @overload
    def __truediv__(self, other: float) -> Gradient: ...
    @overload
    def __truediv__(self, other: Array) -> Array: ...
    def __truediv__(self, other: object) -> Gradient | Array:
        """The gradient of the cost divided by a number; with an array the quotients."""
        if _is_number(other):
            divisor = validation.real_number("the divisor of a Gradient", other)
            if divisor == 0:
                raise ZeroDivisionError(f"the divisor of a Gradient is {divisor:g}")
            return self._scaled(_divided, divisor)
        return self.vector / other if _has_axes(other) else NotImplemented

    def __matmul__(self, other: Gradient | Array) -> Numbers:
        """The inner product with one gradient or array; per example (n,), one with each row."""
        if isinstance(other, Gradient):
            self._require_fitting("@", other)
            with np.errstate(all="ignore"):
                product = self.vector @ other.vector
            _require_fitting_result("the inner product of Gradients", product, self, other)
            return product
        return self.vector @ other if _has_axes(other) else NotImplemented

    def _combined(self, combine: Callable[[Any, Any], Any], name: str, other: Gradient) -> Gradient:
        with np.errstate(all="ignore"):  # what vanishes is 0
            vector: Floats = combine(self.vector, other.vector)
            cost = combine(self.cost, other.cost)
        what = f"the {name} of Gradients"
        _require_fitting_result(what, vector, self, other)
        _require_fitting_result(f"the cost of {what}", cost, self, other)
        return Gradient(vector, cost, self._sizes)

    def _scaled(self, scale: Callable[[Any, float], Any], number: float) -> Gradient:
        """Times or divided by a number, which need not be one of the vector's number type."""
        own = np.finfo(self.vector.dtype)
        wide = not float(own.tiny) <= abs(number) <= float(own.max) and number != 0
        with np.errstate(all="ignore"):  # what vanishes is 0
            numbers = self.vector.astype(np.float64) if wide else self.vector
            vector: Floats = scale(numbers, number).astype(self.vector.dtype, copy=False)
            cost = scale(self.cost, number)
        what = f"by the number {number:g} the Gradient"
        _require_fitting_result(what, vector, self)
        _require_fitting_result(f"{what}'s cost", cost, self)
        return Gradient(vector, cost, self._sizes)

    def _require_fitting(self, operator: str, other: Gradient) -> None:
        validation.gradients_fit(
            operator, self._sizes, self.vector.shape, other._sizes, other.vector.shape
        )

    # ---- as an array -----------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's functions take ``vector``, but for its numbers there are the operators above."""
        others = [x for x in inputs if not isinstance(x, Gradient)]
        plain = method == "__call__" and not options and all(np.ndim(x) == 0 for x in others)
        if plain and ufunc in _OPERATORS:
            # With Python's own numbers, which do not ask here again.
            numbers = [
                x
                if isinstance(x, Gradient)
                else validation.real_number(f"{ufunc.__name__}'s operand", x)
                for x in inputs
            ]
            return _OPERATORS[ufunc](*numbers)
        if any(isinstance(array, Gradient) for array in options.get("out", ())):
            return NotImplemented
        arrays = [x.vector if isinstance(x, Gradient) else x for x in inputs]
        return getattr(ufunc, method)(*arrays, **options)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        if copy is None:
            return np.asarray(self.vector, dtype=dtype)
        return np.array(self.vector, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.vector)

    def __repr__(self) -> str:
        layers = "-".join(str(n) for n in self._sizes)
        if self.vector.ndim == 2:
            n, P = self.vector.shape
            return f"<Gradient of {validation.counted(n, 'example')}, {layers}, P = {P}>"
        return (
            f"<Gradient {layers}, P = {self.vector.shape[0]}, cost {self.cost:.6g}, "
            f"norm {self.norm():.6g}>"
        )

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.gradient(self)


def _require_fitting_result(what: str, result: Any, *operands: Gradient) -> None:
    """Numbers that are finite come to such, or to an error; others go their way, as NumPy's do."""
    if np.isfinite(result).all():
        return
    if all(np.isfinite(x.vector).all() and np.isfinite(x.cost).all() for x in operands):
        raise FloatingPointError(
            f"{what} overflows {np.asarray(result).dtype}; expected a finite result"
        )


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number; an array without axes is one."""
    return validation.is_real(
        value[()] if validation.is_array(value) and value.ndim == 0 else value
    )


def _has_axes(value: object) -> TypeGuard[Array]:
    return validation.is_array(value) and value.ndim > 0


class Forward:
    """Weighted inputs and activations of every layer.

    Attributes
    ----------
    z, a : list of ndarray
        z[l] and a[l] are (n, n_l), (n_l,) for a single example; a[0] is X, z[0] is None.
    """

    def __init__(self, z: ByLayer, a: list[Floats]) -> None:
        self.z = z
        self.a = a

    def __repr__(self) -> str:
        shapes = ", ".join(str(a.shape) for a in self.a)
        return f"<{type(self).__name__}, activations of shape {shapes}>"

    def _repr_html_(self) -> str:
        from cbackprop.drawing import html

        return html.forward(self)


class Backward(Forward):
    """Every factor of the chain rule, for every example (not divided by n).

    Attributes
    ----------
    z, a : list of ndarray
        As in `Forward`.
    da_dz : list of ndarray
        ∂a/∂z, (n, n_l); None at l = 0. For a softmax layer ∂a_i/∂z_j, (n, n_L, n_L), which is
        computed when ``da_dz`` is first read.
    dC_da : list of ndarray
        ∂C_i/∂a, (n, n_l); at l = 0 the gradient with respect to the input. At a cross-entropy or
        poisson output whose activation has rounded to 0 or 1 it may be infinite; delta is not.
    delta : list of ndarray
        ∂C_i/∂z, (n, n_l); None at l = 0.
    cost : ndarray or float
        C_i, (n,).
    """

    def __init__(
        self,
        z: ByLayer,
        a: list[Floats],
        da_dz: ByLayer,
        dC_da: list[Floats],
        delta: ByLayer,
        cost: Numbers,
    ) -> None:
        super().__init__(z, a)
        self._da_dz = da_dz  # None in the place of a softmax layer's
        self._outputs = a[-1].copy() if da_dz[-1] is None else a[-1]  # the user may write into a
        self.dC_da = dC_da
        self.delta = delta
        self.cost = cost

    @property
    def da_dz(self) -> ByLayer:
        """∂a/∂z by layer, (n, n_l); of a softmax layer ∂a_i/∂z_j, (n, n_L, n_L).

        Raises
        ------
        MemoryError
            If the derivatives of a softmax layer are more than can be had.
        """
        if self._da_dz[-1] is None:
            from cbackprop.reference.calculus import softmax_jacobian

            jacobian = softmax_jacobian(np.atleast_2d(self._outputs))
            self._da_dz[-1] = jacobian[0] if self._outputs.ndim == 1 else jacobian
        return self._da_dz

    def slopes(self, layer: int) -> Any:  # Any: as ByLayer
        """∂a_j/∂z_j of one layer, without what else a softmax layer's z_j moves.

        Parameters
        ----------
        layer : int
            1 … L.

        Returns
        -------
        ndarray
            (n, n_l), or (n_l,) for a single example; None of layer 0, as in ``da_dz``.
        """
        slopes: Floats | None = self._da_dz[layer]
        if layer != 0 and (slopes is None or slopes.ndim > self.a[layer].ndim):
            from cbackprop.reference.calculus import softmax_slopes

            return softmax_slopes(np.atleast_2d(self._outputs)).reshape(self._outputs.shape)
        return slopes


def variance_of(costs: Floats) -> float:
    """(1/n) Σ (C_i − mean)² over the costs (n,), n ≥ 1, in float64; infinite beyond its range."""
    if (costs == costs[0]).all():
        return 0.0  # the mean of equal numbers is rounded
    with np.errstate(all="ignore"):
        variance = float(np.var(costs, dtype=np.float64))
    return math.inf if math.isnan(variance) else variance
