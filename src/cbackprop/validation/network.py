"""What a network is made of: sizes, functions, number type, seed, threads."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import numpy as np

from cbackprop import layout
from cbackprop.functions import (
    ACTIVATION_ALIASES,
    ACTIVATIONS,
    COSTS,
    INITS,
    Activation,
    Cost,
    name_of,
)
from cbackprop.validation import scalars
from cbackprop.validation.arrays import LARGEST_ARRAY
from cbackprop.validation.scalars import choice, integer, shown, wrong_type


def layer_sizes(sizes: Any) -> tuple[int, ...]:
    """n_0, …, n_L: at least two positive integers, in an order that means something."""
    if issubclass(type(sizes), (str, bytes, bytearray)):
        raise wrong_type("sizes", sizes, "a sequence of integers such as [784, 30, 10]")
    if scalars.has_no_order(sizes):
        raise TypeError(
            f"sizes is {shown(sizes)} ({type(sizes).__name__}), which has no order; "
            "expected a sequence of integers such as [784, 30, 10]"
        )
    if scalars.is_array(sizes) and sizes.ndim != 1:
        raise ValueError(f"sizes has shape {sizes.shape}; expected one dimension")
    try:
        entries: tuple[object, ...] = tuple(sizes)
    except TypeError:
        raise wrong_type("sizes", sizes, "a sequence of integers such as [784, 30, 10]") from None
    if len(entries) < 2:
        raise ValueError(
            f"sizes is {shown(list(entries))}; expected at least 2 entries, inputs and outputs"
        )
    result = tuple(integer(f"sizes[{i}]", entry, 1) for i, entry in enumerate(entries))
    count = layout.n_parameters(result)
    if count > LARGEST_ARRAY:
        raise ValueError(
            f"sizes is {shown(list(result))}: {count} parameters, {8 * count} bytes, are more than "
            f"an array can hold; expected at most {LARGEST_ARRAY} parameters"
        )
    return result


def activations(argument: object, n_layers: int) -> tuple[str | Activation, ...]:
    """One activation for every layer after the input."""
    choices = (*ACTIVATIONS, *ACTIVATION_ALIASES)
    if scalars.is_list(argument):
        entries = tuple(argument)  # once: a len() of the user's may tell another number
        if len(entries) != n_layers:
            raise ValueError(
                f"activation has {len(entries)} entries; expected {n_layers}, "
                "one for each layer after the input"
            )
        named = [(f"activation[{i}]", entry) for i, entry in enumerate(entries)]
    else:
        named = [("activation", argument)] * n_layers
    result: list[str | Activation] = []
    for name, entry in named:
        if scalars.is_a(entry, Activation):
            result.append(entry)
        else:
            word = choice(name, entry, choices, " or an Activation")
            result.append(ACTIVATION_ALIASES.get(word, word))
    for layer, function in enumerate(result[:-1], start=1):
        if isinstance(function, str) and not ACTIVATIONS[function].elementwise:
            raise ValueError(
                f"activation is {function!r} in layer {layer}; expected it in the last layer only"
            )
    return tuple(result)


def more_than_one_softmax_output(activations: tuple[str | Activation, ...], n_L: int) -> None:
    """A softmax of one number is 1 whatever that is, and its gradient 0.

    Files and pickles are not asked: what has once been saved stays readable.
    """
    if n_L == 1 and isinstance(activations[-1], str) and activations[-1] == "softmax":
        raise ValueError(
            "activation is 'softmax' in the last layer with 1 output, which would always be 1; "
            "expected 'sigmoid' for two classes told apart by one output, or an output for each "
            "class"
        )


def cost(argument: object, output: str | Activation) -> str | Cost:
    """A cost that the last layer's activation can serve."""
    if scalars.is_a(argument, Cost):
        return argument
    if callable(argument):
        raise TypeError(
            f"cost is {shown(argument)}, a function without its derivative; "
            "expected a name or Cost(value, gradient)"
        )
    word = choice("cost", argument, COSTS, " or a Cost")
    expected = COSTS[word].outputs
    if expected is not None and (isinstance(output, Activation) or output not in expected):
        raise ValueError(
            f"cost is {word!r} with the output activation {name_of(output)!r}; "
            f"expected {' or '.join(repr(name) for name in expected)} in the last layer"
        )
    return word


def number_type(dtype: Any) -> str:
    """'float32' or 'float64'."""
    try:
        result = np.dtype(dtype)
    except Exception:
        raise TypeError(f"dtype is {shown(dtype)}; expected 'float32' or 'float64'") from None
    if dtype is None or result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype is {shown(dtype)}; expected 'float32' or 'float64'")
    return str(result.name)


def init(argument: object) -> str:
    """How the first parameters are drawn."""
    return choice("init", argument, INITS)


def seed(argument: object) -> int | None:
    """A non-negative integer, or None."""
    if argument is None:
        return None
    return integer("seed", argument, 0)


def threads(argument: object) -> int | Literal["auto"]:
    """An upper limit ≥ 1, of which the kernels have 64 at most (threads.h), or 'auto'."""
    if isinstance(argument, str):
        if argument != "auto":
            raise wrong_type("threads", argument, "an integer or 'auto'")
        return "auto"
    return min(integer("threads", argument, 1), 64)


def backend(argument: object) -> Literal["compiled", "reference"]:
    """'compiled' or 'reference'."""
    return choice("backend", argument, ("compiled", "reference"))


def refuse_replacement(name: str, place: object) -> NoReturn:
    """Another array in the place of a layer's: nothing looks there, but at the array's memory."""
    i = place if isinstance(place, int) else "i"
    raise TypeError(
        f"{name}[{i}] cannot become another array; expected numbers written into the one that it "
        f"is: {name}[{i}][...] = numbers"
    )


def functions_with_names(
    activations: tuple[str | Activation, ...], cost: str | Cost
) -> tuple[tuple[str, ...], str]:
    """The names of all functions, where every one has a name that a file can hold."""
    names: list[str] = []
    for layer, activation in enumerate(activations, start=1):
        if isinstance(activation, Activation):
            raise TypeError(
                f"activation of layer {layer} is {shown(activation)}, a function of your own; "
                "expected a named activation: a model file holds no code. Keep the parameters"
            )
        names.append(activation)
    if isinstance(cost, Cost):
        raise TypeError(
            f"cost is {shown(cost)}, a function of your own; "
            "expected a named cost: a model file holds no code. Keep the parameters"
        )
    return tuple(names), cost


def second_derivatives(activations: tuple[str | Activation, ...], cost: str | Cost) -> None:
    """A product with the curvature needs them of every function of the user's."""
    for layer, activation in enumerate(activations, start=1):
        if isinstance(activation, Activation) and activation.second_derivative is None:
            raise ValueError(
                f"activation {activation.name!r} of layer {layer} has no second_derivative; "
                "expected Activation(value, derivative, second_derivative=...) for this call"
            )
    if isinstance(cost, Cost) and cost.hessian_vector_product is None:
        raise ValueError(
            f"cost {cost.name!r} has no hessian_vector_product; "
            "expected Cost(value, gradient, hessian_vector_product=...) for this call"
        )


def least_squares_cost(cost: str | Cost) -> str:
    """A cost that is a sum of squares, which is what Levenberg–Marquardt minimises."""
    if not isinstance(cost, str) or COSTS[cost].squares is None:
        *others, last = (repr(name) for name, row in COSTS.items() if row.squares is not None)
        raise ValueError(
            f"cost is {name_of(cost)!r}; expected {', '.join(others)} or {last} because "
            "LevenbergMarquardt minimises sums of squares"
        )
    return cost


def refuse_few_residuals(n: int, n_outputs: int, n_parameters: int) -> NoReturn:
    """Of examples in parts, whose rows are nowhere together as the smaller equations want them."""
    raise ValueError(
        f"X has {n} rows, which make {n * n_outputs} residuals; expected at least as many as "
        f"parameters, {n_parameters}, because X comes in parts: fit arrays in memory"
    )
