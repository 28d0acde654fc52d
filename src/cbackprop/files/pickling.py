"""Pickles of a network: the parts of a checkpoint, as plain data, judged again when they come back.

They carry what `copy` carries: parameters, finite or not, the optimiser's state, the generator's,
and what a subclass keeps besides. Functions of the user's go along as pickle takes them, by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cbackprop import validation
from cbackprop.files import checkpoint as checkpoint_files
from cbackprop.files.format import ModelFileError
from cbackprop.functions import Activation, Array, Cost
from cbackprop.model import Model
from cbackprop.random_numbers import RandomNumbers

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


def state_of(model: Model, attributes: dict[str, object]) -> dict[str, object]:
    """What a pickle holds: plain data, and the user's own functions and attributes.

    Parameters
    ----------
    model : Model
    attributes : dict
        What a subclass keeps besides.
    """
    own = {
        layer: activation
        for layer, activation in enumerate(model.activations)
        if isinstance(activation, Activation)
    }
    cost = model.cost_function
    description = model.description._replace(
        activations=tuple(
            _ACTIVATION if isinstance(a, Activation) else a for a in model.activations
        ),
        cost=_COST if isinstance(cost, Cost) else cost,
    )
    arrays, numbers = checkpoint_files.whole_batch_parts(model.whole_batch_state)
    tensors, metadata = checkpoint_files.checkpoint_file(
        model, description, arrays, numbers, allow_nonfinite=True
    )
    own_cost = cost if isinstance(cost, Cost) else None
    values = (tensors, metadata, own, own_cost, model.threads, model.backend, attributes)
    return dict(zip(_ENTRIES, values, strict=True))


def restored(state: object, own_attributes: tuple[str, ...]) -> tuple[Model, dict[str, object]]:
    """The model that `state_of` saw, and a subclass's attributes.

    Parameters
    ----------
    state : object
        What `state_of` returned, once it has been through a pickle.
    own_attributes : tuple of str
        Names by which no subclass can have kept something.

    Raises
    ------
    TypeError, ValueError
        Saying what in the state is wrong.
    MemoryError
        As `Network`.
    """
    kind = type(state)
    if kind is not dict or not validation.is_mapping(state) or tuple(state) != _ENTRIES:
        raise TypeError(
            f"state is {validation.shown(state)} ({kind.__name__}); expected the dict that "
            "a pickled Network has"
        )
    values: list[Any] = list(state.values())  # judged one by one
    tensors, metadata, own, cost, threads, backend, attributes = values
    for name in ("tensors", "metadata", "own_activations", "attributes"):
        value = state[name]
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
        checkpoint = checkpoint_files.judged_checkpoint(native, metadata, allow_nonfinite=True)
        whole_batch_state = checkpoint_files.judged_whole_batch(checkpoint)
    except ModelFileError as error:
        raise ValueError(f"state is that of no Network: {error}") from None
    description = checkpoint.model.description
    activations = list(description.activations)
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
    judged_cost = validation.cost(description.cost if cost is None else cost, chosen[-1])
    description = description._replace(activations=chosen, cost=judged_cost)
    threads, backend = validation.threads(threads), validation.backend(backend)
    model = Model(description, RandomNumbers(None), threads, backend)
    model.about = checkpoint.model.about
    checkpoint_files.set_training(model, checkpoint, whole_batch_state)
    return model, attributes
