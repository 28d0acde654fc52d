"""Pickles of a network: the parts of a checkpoint, as plain data, judged again when they come back.

They carry what `copy` carries: parameters, finite or not, the optimiser's state, the generator's,
and what a subclass keeps beside. Functions of the user's go along as pickle takes them, by name.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop import validation
from cbackprop.files import checkpoint as checkpoints
from cbackprop.files.format import ModelFileError
from cbackprop.functions import Activation, Array, Cost
from cbackprop.random_numbers import RandomNumbers

if TYPE_CHECKING:
    from cbackprop.network import Network

_ENTRIES = (
    "tensors",
    "metadata",
    "own_activations",
    "own_cost",
    "threads",
    "backend",
    "attributes",
)
# In the metadata, in the places of the user's own functions.
_ACTIVATION, _COST = "identity", "quadratic"


def state_of(network: Network, attributes: dict[str, Any]) -> dict[str, Any]:
    """What a pickle holds: plain data, and the user's own functions and attributes.

    Parameters
    ----------
    network : Network
    attributes : dict
        What a subclass keeps beside.
    """
    own = {
        layer: activation
        for layer, activation in enumerate(network.activations)
        if isinstance(activation, Activation)
    }
    cost = network.cost_function
    arrays, numbers = checkpoints.second_order_parts(network._second_order)
    tensors, metadata = checkpoints.checkpoint_parts(
        network,
        tuple(_ACTIVATION if isinstance(a, Activation) else a for a in network.activations),
        _COST if isinstance(cost, Cost) else cost,
        arrays,
        {} if numbers is None else {"second_order": numbers},
    )
    values = (
        tensors,
        metadata,
        own,
        cost if isinstance(cost, Cost) else None,
        network.threads,
        network.backend,
        attributes,
    )
    return dict(zip(_ENTRIES, values, strict=True))


def restore(network: Network, state: Any, own_attributes: tuple[str, ...]) -> None:
    """Make a network that is not initialised the one that `state_of` saw.

    Raises
    ------
    TypeError, ValueError
        Saying what in the state is wrong. The network is then as it was.
    MemoryError
        As `Network`.
    """
    if type(state) is not dict or tuple(state) != _ENTRIES:
        raise TypeError(
            f"state is {validation.shown(state)} ({type(state).__name__}); expected the dict that "
            "a pickled Network has"
        )
    tensors, metadata, own, cost, threads, backend, attributes = state.values()
    for name, value in (
        ("tensors", tensors),
        ("metadata", metadata),
        ("own_activations", own),
        ("attributes", attributes),
    ):
        if type(value) is not dict:
            raise TypeError(
                f"{name} of state is {validation.shown(value)} ({type(value).__name__}); expected "
                "a dict"
            )
    taken = [name for name in attributes if name in own_attributes or type(name) is not str]
    if taken:
        raise ValueError(f"attributes of state has {taken}; expected a subclass's own alone")
    if not all(type(key) is str and type(text) is str for key, text in metadata.items()):
        raise TypeError(f"metadata of state is {validation.shown(metadata)}; expected texts")
    for name, tensor in tensors.items():
        if type(name) is not str or not isinstance(tensor, np.ndarray):
            raise TypeError(f"tensors of state has {validation.shown(tensor)}; expected arrays")
    # From a machine of the other byte order, or a memory map of joblib's.
    native: dict[str, Array] = {
        name: np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("="))
        for name, tensor in tensors.items()
    }
    try:
        description, training = checkpoints.checked_checkpoint(native, metadata)
        n_parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(description.sizes))
        second_order = checkpoints.checked_second_order(
            training.optimizer, n_parameters, training.extra, training.state.get("second_order")
        )
    except ModelFileError as error:
        raise ValueError(f"state is that of no Network: {error}") from None
    activations: list[Any] = list(description.activations)
    for layer, activation in own.items():
        if type(layer) is not int or not 0 <= layer < len(activations):
            raise ValueError(
                f"own_activations of state has the layer {validation.shown(layer)}; expected 0 to "
                f"{len(activations) - 1}"
            )
        if not isinstance(activation, Activation):
            raise TypeError(
                f"own_activations of state has {validation.shown(activation)}; expected Activations"
            )
        activations[layer] = activation
    chosen = validation.activations(activations, len(activations))
    network._build(
        description.sizes,
        chosen,
        validation.cost(description.cost if cost is None else cost, chosen[-1]),
        description.dtype,
        description.init,
        RandomNumbers(None),
        validation.threads(threads),
        validation.backend(backend),
    )
    checkpoints.set_training(network, native, training)
    network._second_order = second_order
    vars(network).update(attributes)
