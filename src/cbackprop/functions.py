"""Activations, costs and initialisations: one row each, and the classes for a user's own.

Whatever else depends on which function it is, reads it here. The formulas themselves stand in
reference/calculus.py and in the kernels; a function that has a row and no formula there fails
loudly, and the tests take their lists from these rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from cbackprop.random_numbers import RandomNumbers

# Any for what no caller can tell beforehand: an array's number of axes, and its number type.
Array = np.ndarray[Any, np.dtype[Any]]
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]  # what the public calls return

# The names once more, for editors and type checkers: a test compares them with the rows.
ActivationName = Literal[
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
    "linear",
]
CostName = Literal["quadratic", "half_quadratic", "mse", "cross_entropy", "mae", "huber", "poisson"]
InitName = Literal["auto", "glorot", "he", "lecun", "standard_normal", "zeros"]


class ActivationRow(NamedTuple):
    """What is to be known about an activation besides what the cores compute.

    In the texts an exponent is ^{…}, and z is one neuron's; _j lowers an index.
    """

    init: str  # what "auto" draws before it
    formula: str | None  # σ(z) and σ′(z) of one number; None where a needs every z of its layer
    derivative_formula: str | None
    picture_formula: str | None = None  # where a picture writes σ(z) in another way, or shorter
    note: str | None = None  # what the formula leaves open
    bounds: tuple[float, float] = (-math.inf, math.inf)  # of a, which need not reach them
    can_overflow: bool = False  # a may be infinite where z is finite
    elementwise: bool = True  # a_j depends on z_j alone; if not, only the last layer can have it


class CostTexts(NamedTuple):
    """C of one example and ∂C/∂a_j, then what one of n outputs adds to C and its derivative."""

    formula: str
    derivative_formula: str
    part_formula: str
    part_derivative_formula: str
    note: str | None = None


class CostRow(NamedTuple):
    """What is to be known about a cost besides what the cores compute."""

    texts: CostTexts
    softmax_texts: CostTexts | None = None  # where it is another one of softmax outputs
    outputs: tuple[str, ...] | None = None  # the last activations it is taken with; None for any
    target_range: tuple[float, float] = (-math.inf, math.inf)  # of y
    is_mean: bool = True  # over the outputs j; otherwise their sum
    squares: float | None = None  # f where it is f Σ_j (a − y)², or the mean over j of that
    delta_from_z: bool = False  # δ is taken before rounding, from z: no product of two factors


ACTIVATIONS: dict[str, ActivationRow] = {
    "sigmoid": ActivationRow("glorot", "1/(1 + e^{−z})", "e^{−z}/(1 + e^{−z})²", bounds=(0.0, 1.0)),
    "tanh": ActivationRow(
        "glorot",
        "(e^{z} − e^{−z})/(e^{z} + e^{−z})",
        "4/(e^{z} + e^{−z})²",
        "tanh z",
        bounds=(-1.0, 1.0),
    ),
    "relu": ActivationRow("he", "max(0, z)", "1 if z > 0, else 0", bounds=(0.0, math.inf)),
    "leaky_relu": ActivationRow(
        "he", "max(0.01·z, z)", "1 if z > 0, else 0.01", "z, or 0.01 z below 0"
    ),
    "elu": ActivationRow(
        "he",
        "z if z > 0, else e^{z} − 1",
        "1 if z > 0, else e^{z}",
        "z, or eᶻ − 1 below 0",
        bounds=(-1.0, math.inf),
    ),
    "selu": ActivationRow(
        "he",
        "1.0507·z if z > 0, else 1.0507·1.6733·(e^{z} − 1)",
        "1.0507 if z > 0, else 1.0507·1.6733·e^{z}",
        "1.0507·z, or 1.758·(eᶻ − 1) below 0",
        bounds=(-1.7580993408473766, math.inf),
        can_overflow=True,  # by its factor of 1.0507
    ),
    "gelu": ActivationRow(
        "he",
        "z·Φ(z)",
        "Φ(z) + z·φ(z)",
        "z Φ(z)",
        "Φ is the distribution function of the standard normal distribution, φ its density.",
        bounds=(-0.16997120747990369, math.inf),
    ),
    "silu": ActivationRow(
        "he",
        "z/(1 + e^{−z})",
        "1/(1 + e^{−z}) + z·e^{−z}/(1 + e^{−z})²",
        bounds=(-0.27846454276107374, math.inf),
    ),
    "softplus": ActivationRow("he", "ln(1 + e^{z})", "1/(1 + e^{−z})", bounds=(0.0, math.inf)),
    "softsign": ActivationRow("glorot", "z/(1 + |z|)", "1/(1 + |z|)²", bounds=(-1.0, 1.0)),
    "exponential": ActivationRow(
        "glorot", "e^{z}", "e^{z}", bounds=(0.0, math.inf), can_overflow=True
    ),
    "identity": ActivationRow("glorot", "z", "1"),
    "softmax": ActivationRow(
        "glorot", None, None, "exp z_j / Σ_i exp z_i", bounds=(0.0, 1.0), elementwise=False
    ),
}
ACTIVATION_ALIASES = {"linear": "identity"}

COSTS: dict[str, CostRow] = {
    "quadratic": CostRow(
        CostTexts("Σ_j (a_j − y_j)²", "2(a_j − y_j)", "(a − y)²", "2·(a − y)"),
        is_mean=False,
        squares=1.0,
    ),
    "half_quadratic": CostRow(
        CostTexts("½ Σ_j (a_j − y_j)²", "a_j − y_j", "½·(a − y)²", "a − y"),
        is_mean=False,
        squares=0.5,
    ),
    "mse": CostRow(
        CostTexts("1/n Σ_j (a_j − y_j)²", "2(a_j − y_j)/n", "(a − y)²/n", "2·(a − y)/n"),
        squares=1.0,
    ),
    # From z: ln a and ln(1 − a) keep their digits where a has rounded to 0 or 1.
    "cross_entropy": CostRow(
        CostTexts(
            "−Σ_j (y_j ln a_j + (1 − y_j) ln(1 − a_j))",
            "(a_j − y_j)/(a_j (1 − a_j))",
            "−y·ln(a) − (1 − y)·ln(1 − a)",
            "(1 − y)/(1 − a) − y/a",
        ),
        softmax_texts=CostTexts("−Σ_j y_j ln a_j", "−y_j/a_j", "−y·ln(a)", "−y/a"),
        outputs=("sigmoid", "softmax"),
        target_range=(0.0, 1.0),
        is_mean=False,
        delta_from_z=True,
    ),
    "mae": CostRow(
        CostTexts("1/n Σ_j |a_j − y_j|", "sign(a_j − y_j)/n", "|a − y|/n", "sign(a − y)/n")
    ),
    "huber": CostRow(
        CostTexts(
            "1/n Σ_j h(a_j − y_j)",
            "(a_j − y_j, between −1 and 1)/n",
            "huber(a − y)/n",
            "max(−1, min(1, a − y))/n",
            "huber(r) is r²/2 where |r| ≤ 1, and |r| − ½ elsewhere.",
        )
    ),
    "poisson": CostRow(
        CostTexts(
            "1/n Σ_j (a_j − y_j ln a_j)", "(1 − y_j/a_j)/n", "(a − y·ln(a))/n", "(1 − y/a)/n"
        ),
        outputs=("exponential", "softplus", "sigmoid", "softmax"),  # a > 0
        target_range=(0.0, math.inf),
        delta_from_z=True,
    ),
}


def cost_texts(cost: str, output: str | Activation) -> CostTexts:
    """How a cost is written, which may depend on the last layer's activation."""
    row = COSTS[cost]
    return row.softmax_texts if row.softmax_texts and output == "softmax" else row.texts


def can_serve(output: str | Activation, cost: str) -> bool:
    """Whether a cost can be taken of a last layer with this activation."""
    outputs = COSTS[cost].outputs
    return outputs is None or output in outputs


class _OwnFunction:
    """What a user's own activation and cost share: a name, and results that are looked at."""

    _kind: str

    def __init__(self, name: object, functions: list[tuple[str, object, str]]) -> None:
        """functions: name of the argument, what came for it, and what that is a function of."""
        for argument, function, arguments in functions:
            if not callable(function):
                raise TypeError(
                    f"{argument} is {type(function).__name__}; expected a function of {arguments}"
                )
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name is {type(name).__name__}; expected a string or None")
        self.name = name or str(getattr(functions[0][1], "__name__", self._kind))

    def _checked(
        self, call: str, function: Any, arguments: tuple[Array, ...], like: Array
    ) -> Array:
        """The function's result, of ``like``'s shape and number type.

        The function gets views that it cannot write through.

        Raises
        ------
        ValueError
            If it returns another shape.
        TypeError
            If it returns something that is not real numbers.
        """
        what = f"{self._kind} {self.name!r}: {call}"
        with np.errstate(all="ignore"):  # numbers not finite are found, and reported, by the call
            result = function(*map(read_only, arguments))
        try:
            array = np.asarray(result)
        except ValueError as error:
            raise ValueError(f"{what} returned no array ({error}); expected {like.shape}") from None
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{what} returned dtype {array.dtype}; expected real numbers")
        if array.shape != like.shape:
            raise ValueError(f"{what} returned shape {array.shape}; expected {like.shape}")
        return np.ascontiguousarray(array, dtype=like.dtype)

    def __repr__(self) -> str:
        return f"{self._kind.capitalize()}({self.name})"


class Activation(_OwnFunction):
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
    be vectorised; an example's result may differ in its last bit with its place in the batch where
    NumPy's functions do.
    """

    _kind = "activation"

    def __init__(
        self,
        value: Callable[[Array], Array],
        derivative: Callable[[Array], Array],
        name: str | None = None,
        *,
        second_derivative: Callable[[Array], Array] | None = None,
    ) -> None:
        functions: list[tuple[str, object, str]] = [
            ("value", value, "an array of z"),
            ("derivative", derivative, "an array of z"),
        ]
        if second_derivative is not None:
            functions.append(("second_derivative", second_derivative, "an array of z"))
        super().__init__(name, functions)
        self.value = value
        self.derivative = derivative
        self.second_derivative = second_derivative

    def checked_value(self, z: Array) -> Array:
        """a = σ(z) for z (n, n_l), in z's number type; raises if that is not what comes."""
        return self._checked("value(z)", self.value, (z,), z)

    def checked_derivative(self, z: Array) -> Array:
        """∂a/∂z = σ′(z), likewise."""
        return self._checked("derivative(z)", self.derivative, (z,), z)

    def checked_second_derivative(self, z: Array) -> Array:
        """σ″(z), likewise; there is one, as validation has seen."""
        return self._checked("second_derivative(z)", self.second_derivative, (z,), z)


class Cost(_OwnFunction):
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

    _kind = "cost"

    def __init__(
        self,
        value: Callable[[Array, Array], Array],
        gradient: Callable[[Array, Array], Array],
        name: str | None = None,
        *,
        hessian_vector_product: Callable[[Array, Array, Array], Array] | None = None,
    ) -> None:
        functions: list[tuple[str, object, str]] = [
            ("value", value, "(a, y)"),
            ("gradient", gradient, "(a, y)"),
        ]
        if hessian_vector_product is not None:
            functions.append(("hessian_vector_product", hessian_vector_product, "(a, y, v)"))
        super().__init__(name, functions)
        self.value = value
        self.gradient = gradient
        self.hessian_vector_product = hessian_vector_product

    def checked_value(self, a: Array, y: Array) -> Array:
        """C_i (n,) for a and y (n, n_L), in a's number type; raises if that is not what comes."""
        return self._checked("value(a, y)", self.value, (a, y), a[:, 0])

    def checked_gradient(self, a: Array, y: Array) -> Array:
        """∂C_i/∂a (n, n_L), likewise."""
        return self._checked("gradient(a, y)", self.gradient, (a, y), a)

    def checked_hessian_vector_product(self, a: Array, y: Array, v: Array) -> Array:
        """∂²C_i/∂a² · v (n, n_L), likewise; there is one, as validation has seen."""
        return self._checked(
            "hessian_vector_product(a, y, v)", self.hessian_vector_product, (a, y, v), a
        )


def read_only(array: Array) -> Array:
    """A view that a function of the user's cannot write through."""
    view = array.view()
    view.flags.writeable = False
    return view


def name_of(function: str | Activation | Cost) -> str:
    """The name to show for a named function or one of the user's."""
    return function if isinstance(function, str) else function.name


# ---- initialisations -----------------------------------------------------------------------------

# From n_in, n_out and the generator: one layer's first weights (n_out, n_in) and biases (n_out,).
Draw = Callable[[int, int, RandomNumbers], tuple[Array, Array]]


def _glorot(n_in: int, n_out: int, random: RandomNumbers) -> tuple[Array, Array]:
    """Uniform on ±√(6/(n_in + n_out)), zero biases (Glorot & Bengio 2010)."""
    limit = np.sqrt(6.0 / (n_in + n_out))
    weights = limit * (2.0 * random.uniform(n_out * n_in) - 1.0)
    return weights.reshape(n_out, n_in), np.zeros(n_out)


def _he(n_in: int, n_out: int, random: RandomNumbers) -> tuple[Array, Array]:
    """N(0, 2/n_in), zero biases (He et al. 2015)."""
    weights = np.sqrt(2.0 / n_in) * random.normal(n_out * n_in)
    return weights.reshape(n_out, n_in), np.zeros(n_out)


def _lecun(n_in: int, n_out: int, random: RandomNumbers) -> tuple[Array, Array]:
    """N(0, 1/n_in) (LeCun et al. 1998), biases N(0, 1), as in Nielsen's book."""
    weights = np.sqrt(1.0 / n_in) * random.normal(n_out * n_in)
    return weights.reshape(n_out, n_in), random.normal(n_out)


def _standard_normal(n_in: int, n_out: int, random: RandomNumbers) -> tuple[Array, Array]:
    """N(0, 1) throughout."""
    return random.normal(n_out * n_in).reshape(n_out, n_in), random.normal(n_out)


def _zeros(n_in: int, n_out: int, random: RandomNumbers) -> tuple[Array, Array]:
    return np.zeros((n_out, n_in)), np.zeros(n_out)


INITS: dict[str, Draw | None] = {
    "auto": None,  # the one that the layer's activation names; glorot before a user's own
    "glorot": _glorot,
    "he": _he,
    "lecun": _lecun,
    "standard_normal": _standard_normal,
    "zeros": _zeros,
}


def initial_parameters(
    n_in: int, n_out: int, activation: str | Activation, init: str, random: RandomNumbers
) -> tuple[Array, Array]:
    """One layer's first weights (n_out, n_in) and biases (n_out,), float64."""
    draw = INITS[init]
    if draw is None:
        draw = _glorot
        if isinstance(activation, str):
            draw = INITS[ACTIVATIONS[activation].init] or _glorot
    return draw(n_in, n_out, random)
