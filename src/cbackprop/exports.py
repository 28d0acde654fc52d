"""What places that take a network over ask of it, and what those that give one leave open."""

from __future__ import annotations

from typing import NamedTuple

from cbackprop import layout, validation
from cbackprop.functions import ACTIVATIONS, Activation, Array, CostName, can_serve
from cbackprop.network import Network


class NamedLayer(NamedTuple):
    """One layer, its activation by name."""

    W: Array  # (n_l, n_{l-1}), copied, as b (n_l,) is
    b: Array
    activation: str


def usual_cost(output: str | Activation) -> CostName:
    """The cost of a network from elsewhere, where nobody says it: by its last activation."""
    return "cross_entropy" if can_serve(output, "cross_entropy") else "quadratic"


def require_network(argument: str, net: object) -> Network:
    """TypeError for anything else."""
    if not isinstance(net, Network):
        raise validation.wrong_type(argument, net, "a Network")
    return net


def named_layers(argument: str, net: object) -> list[NamedLayer]:
    """The layers 1 … L, whatever another thread does meanwhile.

    Raises
    ------
    TypeError
        For anything else than a network.
    ValueError
        For an activation of the user's own, which has no name elsewhere.
    """
    network = require_network(argument, net)
    names: list[str] = []
    for activation in network.activations:
        if not isinstance(activation, str):
            raise ValueError(
                f"{argument} has {activation!r}, of your own; expected activations with a name: "
                f"{', '.join(ACTIVATIONS)}"
            )
        names.append(activation)
    parts = layout.views(network.sizes, network.parameters.copy())
    return [NamedLayer(*layer) for layer in zip(*parts, names, strict=True)]
