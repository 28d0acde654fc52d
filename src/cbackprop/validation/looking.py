"""What is looked at: a layer, a neuron, a nudge, gradients, a page of steps, a drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbackprop import layout
from cbackprop.functions import Array
from cbackprop.validation.arrays import numbers
from cbackprop.validation.scalars import counted, integer, is_array, is_list, shown, wrong_type

# What a page of `Network.stepper_html` can show; a number takes some 20 bytes of it.
STEPPER_NEURONS = 16
STEPPER_LAYERS = 8
STEPPER_NUMBERS = 200_000


def neuron(argument: str, value: object, count: int, layer: int) -> int:
    """A neuron's number in its layer, from 0."""
    number = integer(argument, value, 0)
    if number >= count:
        raise ValueError(
            f"{argument} is {number}; expected 0 to {count - 1} because layer {layer} has "
            f"{counted(count, 'neuron')}, counted from 0"
        )
    return number


def layer_number(value: object, lowest: int, n_layers: int) -> int:
    """A layer's number: 0 is the input, n_layers the output."""
    number = integer("layer", value, 0)
    if number < lowest:
        raise ValueError(
            f"layer is {number}; expected {lowest} to {n_layers}: layer 0 is the input, whose "
            f"derivatives are in activation(0, k)"
        )
    if number > n_layers:
        raise ValueError(
            f"layer is {number}; expected {lowest} to {n_layers}, the layers of this network"
        )
    return number


def nudge_stays_finite(size: float, change: float) -> None:
    """A nudge so large that the cost overflows measures nothing."""
    if not np.isfinite(change):
        raise FloatingPointError(
            f"size is {size}: the cost is not finite after such a nudge; expected a smaller one"
        )


def nudge_sizes(argument: str, value: Any) -> tuple[Any, ...]:
    """Some nudges; each of them is judged when it is made."""
    try:
        sizes: tuple[Any, ...] = tuple(value)
    except TypeError:
        raise wrong_type(argument, value, "a sequence of numbers") from None
    if not sizes:
        raise ValueError(f"{argument} is empty; expected at least one nudge")
    return sizes


def paths_within(limit: int, count: int) -> None:
    """Not more paths than are wanted in memory."""
    if count > limit:
        raise ValueError(
            f"limit is {limit}; expected at least {shown(count)}, the number of paths from there "
            "into the cost"
        )


def gradients_fit(
    operator: str,
    sizes: tuple[int, ...],
    shape: tuple[int, ...],
    other_sizes: tuple[int, ...],
    other_shape: tuple[int, ...],
) -> None:
    """Two gradients of the same sizes, and of as many examples where both have some."""
    what = f"Gradient {operator} Gradient has"
    if sizes != other_sizes:
        raise ValueError(
            f"{what} sizes {shown(list(sizes))} and {shown(list(other_sizes))}; expected the same"
        )
    if operator == "@" and len(other_shape) == 2:
        raise ValueError(
            f"{what} {counted(other_shape[0], 'example')} on the right; expected one gradient "
            "there, or the arrays, g.vector @ h.vector.T"
        )
    if len(shape) == len(other_shape) == 2 and shape != other_shape:
        raise ValueError(
            f"{what} {shape[0]} and {other_shape[0]} examples; expected as many, or one gradient"
        )


def own_gradient(
    argument: str, value: Any, sizes: tuple[int, ...]
) -> Array | tuple[list[Array], list[Array]]:
    """A gradient that somebody else has computed: a vector, or ∂C/∂W and ∂C/∂b of each layer.

    A vector has P numbers, or those of the weights alone. A weight's array may stand transposed,
    a bias's be a column, and both lists begin with the last layer. Numbers need not be finite.
    """
    P = layout.n_parameters(sizes)
    expected = f"({P},), or (weights, biases), two lists with an array for each layer"
    entries: tuple[Any, ...] = tuple(value) if is_list(value) else ()
    nested = [is_list(entry) or (is_array(entry) and entry.ndim > 0) for entry in entries]
    if not any(nested):
        vector = numbers(argument, value, "float64")
        if vector.shape not in ((P,), (P - sum(sizes[1:]),)):
            raise ValueError(f"{argument} has shape {vector.shape}; expected {expected}")
        return vector
    if len(entries) != 2 or not all(
        is_list(entry) or (is_array(entry) and entry.dtype.kind == "O") for entry in entries
    ):
        raise ValueError(
            f"{argument} is a {type(value).__name__} of {counted(len(entries), 'array')}; "
            f"expected {expected}"
        )
    weights, biases = (
        _layers_of_gradient(f"{argument}[{i}]", list(entry), len(sizes) - 1)
        for i, entry in enumerate(entries)
    )
    places = list(layout.places(sizes))

    def misfit(step: int) -> str:
        for l, place in enumerate(places):
            i = l if step > 0 else len(places) - 1 - l
            shape = (place.n_out, place.n_in)
            if weights[i].shape not in (shape, shape[::-1]):
                return f"{argument}[0][{i}] has shape {weights[i].shape}; expected {shape}"
            if biases[i].size != place.n_out:
                return f"{argument}[1][{i}] has shape {biases[i].shape}; expected ({place.n_out},)"
        return ""

    wrong = misfit(1)
    if wrong and misfit(-1):
        raise ValueError(f"{wrong} because sizes is {shown(list(sizes))}")
    return weights, [b.ravel() for b in biases]


def _layers_of_gradient(argument: str, entries: list[Any], n_layers: int) -> list[Array]:
    if len(entries) != n_layers:
        raise ValueError(
            f"{argument} has {counted(len(entries), 'array')}; expected {n_layers}, one for each "
            "layer"
        )
    return [numbers(f"{argument}[{i}]", entry, "float64") for i, entry in enumerate(entries)]


def stepper_size(sizes: tuple[int, ...], steps: int) -> None:
    """A page of steps is for eyes: few neurons, and no more numbers than a browser takes easily."""
    if max(sizes) > STEPPER_NEURONS:
        raise ValueError(
            f"sizes is {shown(list(sizes))}: layer {sizes.index(max(sizes))} has {max(sizes)} "
            f"neurons; expected at most {STEPPER_NEURONS} to draw"
        )
    if len(sizes) - 1 > STEPPER_LAYERS:
        raise ValueError(
            f"sizes is {shown(list(sizes))}: {len(sizes) - 1} layers after the input; expected at "
            f"most {STEPPER_LAYERS} to draw"
        )
    n_parameters = layout.n_parameters(sizes)
    # Gradient and updated parameters; z, a, ∂a/∂z, ∂C/∂a and δ; a softmax layer's Jacobian.
    numbers_of_step = 2 * n_parameters + 5 * sum(sizes) + sizes[-1] ** 2
    most = STEPPER_NUMBERS // numbers_of_step
    if steps > most:
        raise ValueError(
            f"steps is {shown(steps)}: the page would hold {numbers_of_step} numbers a step; "
            f"expected at most {most} steps of this network"
        )


def axes(argument: str, value: Any) -> Any:
    """None, or something to plot on."""
    if value is not None and not callable(getattr(value, "plot", None)):
        raise wrong_type(argument, value, "axes of matplotlib")
    return value
