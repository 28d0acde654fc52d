"""What messages call a quantity that was not finite.

A call of an engine returns which one failed, and in which layer.
"""

from __future__ import annotations

from typing import NamedTuple

Failure = tuple[str, int]  # a quantity, and its layer from 1; 0 where it is no layer's


class Words(NamedTuple):
    """One quantity's words; None where it cannot be what failed."""

    call: str | None  # a call that only asks: finite numbers overflowed
    step: str | None  # a training step: it diverged


WORDS = {
    "z": Words("the weighted input z", "z"),
    "a": Words("the activation a", "a"),
    "delta": Words("the cost or its gradient", "delta"),
    "parameters": Words("a parameter", "the parameters"),
    "norm": Words("the norm of a gradient", "the norm of an example's gradient"),
    "penalty": Words(None, "the penalty by l1 and l2"),
    "jacobian": Words("a derivative of the outputs", "a derivative by the parameters"),
    "gram": Words("an inner product of two gradients", None),
    "moments": Words("the variance of a derivative", None),
    "cost_variance": Words("the variance of the costs", None),
    "curvature": Words("the product of the curvature with v", None),
}


def in_call(quantity: str, layer: int) -> str:
    """What failed in a call: "the weighted input z of layer 2"."""
    return _where(WORDS[quantity].call, quantity, layer)


def in_step(quantity: str, layer: int) -> str:
    """What failed in a training step: "z of layer 2"."""
    return _where(WORDS[quantity].step, quantity, layer)


def _where(words: str | None, quantity: str, layer: int) -> str:
    if words is None:
        raise NotImplementedError(f"no words for {quantity!r} here")
    return f"{words} of layer {layer}" if layer else words
