"""What is looked at: a layer, a neuron, a nudge, gradients, a page of steps, a drawing."""

from __future__ import annotations

from typing import Any

import numpy as np

from cbackprop import layout
from cbackprop.validation.scalars import counted, integer, shown, wrong_type

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
