"""Activations, costs and initialisations by name, and the classes for a user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cbackprop.random_numbers import RandomNumbers

Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]

ACTIVATIONS = (
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "softsign",
    "exponential",
    "identity",
    "softmax",
)
ACTIVATION_ALIASES = {"linear": "identity"}

COSTS = ("quadratic", "half_quadratic", "mse", "cross_entropy", "mae", "huber", "poisson")

INITS = ("auto", "glorot", "he", "lecun", "standard_normal", "zeros")

# What the cost's formula needs of the last layer: ln a and ln(1 - a) from z, or a > 0.
OUTPUTS_OF_COST = {
    "cross_entropy": ("sigmoid", "softmax"),
    "poisson": ("exponential", "softplus", "sigmoid", "softmax"),
}

RELU_FAMILY = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus")


class Activation:
    """An activation of the user's own, applied neuron by neuron.

    Parameters
    ----------
    value : callable
        Takes an array of weighted inputs z, (n, n_l), and returns a = σ(z) of the same shape.
    derivative : callable
        Takes z and returns ∂a/∂z = σ′(z) of the same shape.
    name : str, optional
        Shown in summaries; the name of ``value`` by default.
    second_derivative : callable, optional
        Takes z and returns σ″(z) of the same shape. `Network.hessian_vector_product` needs it.

    Raises
    ------
    TypeError
        If one of the functions cannot be called.

    Notes
    -----
    The two run as Python, once for each layer and block of examples, on a read-only z. They should
    be vectorised;
    an example's result may differ in its last bit with its place in the batch where NumPy's
    functions do.
    """

    def __init__(
        self,
        value: Callable[[Array], Array],
        derivative: Callable[[Array], Array],
        name: str | None = None,
        *,
        second_derivative: Callable[[Array], Array] | None = None,
    ) -> None:
        functions = [("value", value), ("derivative", derivative)]
        if second_derivative is not None:
            functions.append(("second_derivative", second_derivative))
        for argument, function in functions:
            if not callable(function):
                raise TypeError(
                    f"{argument} is {type(function).__name__}; expected a function of an array of z"
                )
        _require_name(name)
        self.value = value
        self.derivative = derivative
        self.second_derivative = second_derivative
        self.name = name or str(getattr(value, "__name__", "activation"))

    def checked_value(self, z: Array) -> Array:
        """a = σ(z) for z (n, n_l), in z's number type.

        Raises
        ------
        ValueError
            If the function returns another shape.
        TypeError
            If it returns something that is not real numbers.
        """
        with np.errstate(all="ignore"):  # numbers not finite are found, and reported, by the call
            result = self.value(z)
        return _checked_result(f"activation {self.name!r}: value(z)", result, z)

    def checked_derivative(self, z: Array) -> Array:
        """∂a/∂z = σ′(z), likewise."""
        with np.errstate(all="ignore"):  # numbers not finite are found, and reported, by the call
            result = self.derivative(z)
        return _checked_result(f"activation {self.name!r}: derivative(z)", result, z)

    def checked_second_derivative(self, z: Array) -> Array:
        """σ″(z), likewise; there is one, as validation has seen."""
        assert self.second_derivative is not None
        with np.errstate(all="ignore"):
            result = self.second_derivative(z)
        return _checked_result(f"activation {self.name!r}: second_derivative(z)", result, z)

    def __repr__(self) -> str:
        return f"Activation({self.name})"


class Cost:
    """A cost of the user's own.

    Parameters
    ----------
    value : callable
        Takes activations a and targets y, both (n, n_L), and returns the cost C_i of each
        example, (n,).
    gradient : callable
        Takes a and y and returns ∂C_i/∂a, (n, n_L).
    name : str, optional
        Shown in summaries; the name of ``value`` by default.
    hessian_vector_product : callable, optional
        Takes a, y and v, all (n, n_L), and returns Σ_j ∂²C_i/∂a_i∂a_j v_j, (n, n_L): how the
        gradient moves when a moves along v. The calls of `Network` for curvature need it.

    Raises
    ------
    TypeError
        If one of the functions cannot be called.
    """

    def __init__(
        self,
        value: Callable[[Array, Array], Array],
        gradient: Callable[[Array, Array], Array],
        name: str | None = None,
        *,
        hessian_vector_product: Callable[[Array, Array, Array], Array] | None = None,
    ) -> None:
        functions: list[tuple[str, Any, str]] = [
            ("value", value, "(a, y)"),
            ("gradient", gradient, "(a, y)"),
        ]
        if hessian_vector_product is not None:
            functions.append(("hessian_vector_product", hessian_vector_product, "(a, y, v)"))
        for argument, function, arguments in functions:
            if not callable(function):
                raise TypeError(
                    f"{argument} is {type(function).__name__}; expected a function of {arguments}"
                )
        _require_name(name)
        self.value = value
        self.gradient = gradient
        self.hessian_vector_product = hessian_vector_product
        self.name = name or str(getattr(value, "__name__", "cost"))

    def checked_value(self, a: Array, y: Array) -> Array:
        """C_i (n,) for a and y (n, n_L), in a's number type.

        Raises
        ------
        ValueError
            If the function returns another shape.
        TypeError
            If it returns something that is not real numbers.
        """
        with np.errstate(all="ignore"):
            result = self.value(a, y)
        return _checked_result(f"cost {self.name!r}: value(a, y)", result, a[:, 0])

    def checked_gradient(self, a: Array, y: Array) -> Array:
        """∂C_i/∂a (n, n_L), likewise."""
        with np.errstate(all="ignore"):
            result = self.gradient(a, y)
        return _checked_result(f"cost {self.name!r}: gradient(a, y)", result, a)

    def checked_hessian_vector_product(self, a: Array, y: Array, v: Array) -> Array:
        """∂²C_i/∂a² · v (n, n_L), likewise; there is one, as validation has seen."""
        assert self.hessian_vector_product is not None
        with np.errstate(all="ignore"):
            result = self.hessian_vector_product(a, y, v)
        return _checked_result(f"cost {self.name!r}: hessian_vector_product(a, y, v)", result, a)

    def __repr__(self) -> str:
        return f"Cost({self.name})"


def _require_name(name: Any) -> None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name is {type(name).__name__}; expected a string or None")


def _checked_result(what: str, result: Any, like: Array) -> Array:
    try:
        array = np.asarray(result)
    except ValueError as error:
        raise ValueError(f"{what} returned no array ({error}); expected {like.shape}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} returned dtype {array.dtype}; expected real numbers")
    if array.shape != like.shape:
        raise ValueError(f"{what} returned shape {array.shape}; expected {like.shape}")
    return np.ascontiguousarray(array, dtype=like.dtype)


def read_only(array: Array) -> Array:
    """A view that a function of the user's cannot write through."""
    view = array.view()
    view.flags.writeable = False
    return view


def name_of(function: str | Activation | Cost) -> str:
    """The name to show for a named function or one of the user's."""
    return function if isinstance(function, str) else function.name


def initial_parameters(
    n_in: int, n_out: int, activation: str | Activation, init: str, random: RandomNumbers
) -> tuple[Array, Array]:
    """One layer's first weights (n_out, n_in) and biases (n_out,), float64.

    Notes
    -----
    glorot: uniform on ±√(6/(n_in + n_out)) (Glorot & Bengio 2010); he: N(0, 2/n_in) (He et al.
    2015); both with zero biases. lecun: weights N(0, 1/n_in) (LeCun et al. 1998), biases N(0, 1),
    as in Nielsen's book. standard_normal: N(0, 1) throughout.
    """
    if init == "auto":
        init = "he" if activation in RELU_FAMILY else "glorot"
    shape = (n_out, n_in)
    if init == "zeros":
        return np.zeros(shape), np.zeros(n_out)
    if init == "glorot":
        limit = np.sqrt(6.0 / (n_in + n_out))
        return limit * (2.0 * random.uniform(n_out * n_in) - 1.0).reshape(shape), np.zeros(n_out)
    weights = random.normal(n_out * n_in).reshape(shape)
    if init == "he":
        return np.sqrt(2.0 / n_in) * weights, np.zeros(n_out)
    if init == "lecun":
        weights = np.sqrt(1.0 / n_in) * weights
    return weights, random.normal(n_out)
