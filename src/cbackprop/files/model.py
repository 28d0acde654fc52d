"""What of a network stands in its model file, judged when it comes back."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from cbackprop import validation
from cbackprop.files.format import (
    FORMAT,
    FORMAT_VERSION,
    ModelFileError,
    decoded,
    encoded,
    require_finite,
    require_tensor,
    write,
)
from cbackprop.functions import Array

if TYPE_CHECKING:
    from cbackprop.network import Network

_MODEL_ENTRIES = (
    "format",
    "format_version",
    "kind",
    "sizes",
    "activations",
    "cost",
    "dtype",
    "init",
)
_CHECKPOINT_ENTRIES = (*_MODEL_ENTRIES, "optimizer", "update", "generator")


class Description(NamedTuple):
    """What a network is, but for its parameters."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    cost: str
    dtype: str
    init: str


def model_parts(
    network: Network, *, allow_nonfinite: bool = False
) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors, copied, and the metadata of a network's model file."""
    activations, cost = validation.functions_with_names(network.activations, network.cost_function)
    return named_parts(network, activations, cost, allow_nonfinite)


def named_parts(
    network: Network, activations: tuple[str, ...], cost: str, allow_nonfinite: bool
) -> tuple[dict[str, Array], dict[str, str]]:
    with network._engine:
        weights = tuple(W.copy() for W in network.weights)
        biases = tuple(b.copy() for b in network.biases)
    # What could not be read again is not written.
    if not allow_nonfinite:
        validation.require_finite_parameters(weights, biases)
    tensors: dict[str, Array] = {}
    for l, (W, b) in enumerate(zip(weights, biases, strict=True), start=1):
        tensors[f"layers.{l}.weight"] = W
        tensors[f"layers.{l}.bias"] = b
    return tensors, {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": "model",
        "sizes": encoded("sizes", network.sizes),
        "activations": encoded("activations", activations),
        "cost": cost,
        "dtype": network.dtype.name,
        "init": network._init,
    }


def save_model(network: Network, path: validation.PathLike, *, allow_nonfinite: bool) -> None:
    """Write the network's model file."""
    validation.file_path("path", path)
    allow_nonfinite = validation.flag("allow_nonfinite", allow_nonfinite)
    write(path, *model_parts(network, allow_nonfinite=allow_nonfinite))


def set_parameters(network: Network, tensors: dict[str, Array]) -> None:
    for l, (W, b) in enumerate(zip(network.weights, network.biases, strict=True), start=1):
        W[...] = tensors[f"layers.{l}.weight"]
        b[...] = tensors[f"layers.{l}.bias"]


def checked_parts(
    tensors: dict[str, Array], metadata: dict[str, str], allow_nonfinite: bool = False
) -> Description:
    """What network the parts describe; its parameters come first among the tensors."""
    expected = {"model": _MODEL_ENTRIES, "checkpoint": _CHECKPOINT_ENTRIES}
    kind = metadata.get("kind")
    if kind not in expected:
        raise ModelFileError(
            f"its kind is {validation.shown(kind)}; expected 'model' or 'checkpoint'"
        )
    if tuple(metadata) != expected[kind]:
        raise ModelFileError(
            f"its __metadata__ has {validation.shown(list(metadata))}; expected "
            f"{', '.join(expected[kind])}"
        )
    description = _checked_description(metadata, len(tensors))
    n_layers = len(description.sizes) - 1
    names = list(tensors)
    if kind == "model" and len(names) > 2 * n_layers:
        raise ModelFileError(
            f"it has {len(names)} tensors; expected {2 * n_layers} for the parameters of "
            f"{n_layers} layers"
        )
    parameters: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n_out) in enumerate(pairwise(description.sizes), start=1):
        parameters[f"layers.{l}.weight"] = (n_out, n_in)
        parameters[f"layers.{l}.bias"] = (n_out,)
    for name, (expected_name, shape) in zip(names, parameters.items(), strict=False):
        if name != expected_name:
            raise ModelFileError(
                f"tensor {validation.shown(name)} is in the place of {expected_name!r}; expected "
                "the parameters first, in their order"
            )
        require_tensor(name, tensors[name], shape, description.dtype)
        if not allow_nonfinite:
            require_finite(name, tensors[name])
    return description


def _checked_description(metadata: dict[str, str], n_tensors: int) -> Description:
    sizes = decoded("sizes", metadata["sizes"])
    names = decoded("activations", metadata["activations"])
    if type(sizes) is not list or type(names) is not list:
        raise ModelFileError(
            f"its sizes and activations are {validation.shown(sizes)} and "
            f"{validation.shown(names)}; expected two lists"
        )
    # Before so many entries are judged one by one.
    if n_tensors < 2 * (len(sizes) - 1):
        raise ModelFileError(
            f"it has {n_tensors} tensors; expected {2 * (len(sizes) - 1)} for the parameters of "
            f"{len(sizes) - 1} layers"
        )
    try:
        checked_sizes = validation.layer_sizes(sizes)
        activations = validation.activations(names, len(checked_sizes) - 1)
        description = Description(
            checked_sizes,
            *validation.functions_with_names(
                activations, validation.cost(metadata["cost"], activations[-1])
            ),
            validation.number_type(metadata["dtype"]),
            validation.init(metadata["init"]),
        )
    except (TypeError, ValueError) as error:
        raise ModelFileError(str(error)) from None
    # Nor another word for the same thing.
    if (tuple(names), metadata["dtype"]) != (description.activations, description.dtype):
        raise ModelFileError(
            f"it has the activations {validation.shown(names)} and the dtype "
            f"{validation.shown(metadata['dtype'])}; expected {description.activations} and "
            f"{description.dtype!r}"
        )
    return description
