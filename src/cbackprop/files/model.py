"""What of a network stands in its model file, judged as `Network` would when it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from types import NoneType
from typing import NamedTuple

from cbackprop import layout, validation
from cbackprop.files import format as file_format
from cbackprop.files.format import Metadata, ModelFileError, Tensors, decoded, encoded
from cbackprop.functions import Array, name_of
from cbackprop.model import About, Description, Model
from cbackprop.scaling import Scaled, Scales, Scaling, scales_outputs

# ---- a model and its parts -----------------------------------------------------------------------


# What the metadata has, in this order; files of version 1 say nothing of what a network is about.
_MODEL_ENTRIES = ("format", "format_version", "kind", *Description._fields)
_CHECKPOINT_ENTRIES = ("optimizer", "update", "generator")


# The tensors of scales, after the parameters: in files of version 3, which have no other purpose.
_INPUTS, _OUTPUTS, SCALED = "scales.inputs.", "scales.outputs.", "scales.parameters"


class ModelParts(NamedTuple):
    """A network as a file has it: its description, its names, its parameters and its scales."""

    description: Description
    about: About
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    scales: Scales | None
    scaled: Array | None  # (P,): the parameters for standardised numbers, of a checkpoint
    n_tensors: int  # that are all of this

    def write_into(self, model: Model) -> None:
        """Give parameters and scales to a network of that description."""
        pairs = zip((*model.weights, *model.biases), (*self.weights, *self.biases), strict=True)
        for own, read in pairs:
            own[...] = read
        scaled = None
        if self.scaled is not None:
            block = model.storage.copy()
            layout.write(self.scaled, *model.engine.layer_views(block))
            scaled = Scaled(model.storage.copy(), block)
        model.set_scales(self.scales, scaled)


def described(model: Model) -> Description:
    """The network's description, where all its functions have names.

    Raises
    ------
    TypeError
        For a function of the user's own, naming it.
    """
    validation.functions_with_names(model.activations, model.cost_function)
    return model.description


def scales_tensors(scales: Scales) -> Tensors:
    """The tensors of scales, in their order."""
    tensors: Tensors = {}
    for prefix, scaling in ((_INPUTS, scales.inputs), (_OUTPUTS, scales.outputs)):
        if scaling is not None:
            tensors |= {prefix + name: part for name, part in scaling._asdict().items()}
    return tensors


# ---- what the file has of it ---------------------------------------------------------------------


def model_file(
    model: Model, description: Description, *, allow_nonfinite: bool = False
) -> tuple[Tensors, Metadata]:
    """The tensors, copied, and the metadata of the network's model file, with this description."""
    with model.engine.reading():
        weights = tuple(W.copy() for W in model.weights)
        biases = tuple(b.copy() for b in model.biases)
        about, scales = model.about, model.scales
    # What could not be read again is not written.
    if not allow_nonfinite:
        validation.require_finite_parameters(weights, biases)
    tensors: Tensors = {}
    for l, (W, b) in enumerate(zip(weights, biases, strict=True), start=1):
        tensors[f"layers.{l}.weight"] = W
        tensors[f"layers.{l}.bias"] = b
    if scales is not None:
        tensors |= scales_tensors(scales)
    version = file_format.FORMAT_VERSION if scales is None else file_format.VERSION_WITH_SCALES
    return tensors, {
        "format": file_format.FORMAT,
        "format_version": version,
        "kind": "model",
        "sizes": encoded("sizes", description.sizes),
        "activations": encoded("activations", description.activations),
        "cost": name_of(description.cost),
        "dtype": description.dtype,
        "init": description.init,
        "feature_names": encoded("feature_names", about.feature_names),
        "class_names": encoded("class_names", about.class_names),
        "metadata": encoded("metadata", dict(about.metadata)),
    }


def judged_model(
    tensors: Mapping[str, Array], metadata: Metadata, *, allow_nonfinite: bool = False
) -> ModelParts:
    """What network a model's or a checkpoint's tensors and metadata are, its parameters first.

    Raises
    ------
    ModelFileError
        If they are none's.
    """
    further = {"model": (), "checkpoint": _CHECKPOINT_ENTRIES}
    kind = metadata.get("kind")
    if kind not in further:
        raise ModelFileError(
            f"its kind is {validation.shown(kind)}; expected 'model' or 'checkpoint'"
        )
    names_of_about = () if metadata.get("format_version") == "1" else About._fields
    expected = (*_MODEL_ENTRIES, *names_of_about, *further[kind])
    if tuple(metadata) != expected:
        raise ModelFileError(
            f"its __metadata__ has {validation.shown(list(metadata))}; expected "
            f"{', '.join(expected)}"
        )
    description = _judged_description(metadata, len(tensors))
    about = _judged_about(metadata, description.sizes) if names_of_about else About()
    n_layers = len(description.sizes) - 1
    names = list(tensors)
    scales, scaled, n_scales = None, None, 0
    if metadata["format_version"] == file_format.VERSION_WITH_SCALES:
        scales, scaled = _judged_scales(tensors, description, allow_nonfinite)
        n_scales = 2 + 2 * (scales.outputs is not None) + (scaled is not None)
    n_expected = 2 * n_layers + n_scales - (scaled is not None)
    if kind == "model" and len(names) > n_expected:
        raise ModelFileError(
            f"it has {len(names)} tensors; expected {n_expected} for the parameters of "
            f"{n_layers} layers{' and their scales' if scales is not None else ''}"
        )
    shapes: dict[str, tuple[int, ...]] = {}
    for l, (n_in, n_out) in enumerate(pairwise(description.sizes), start=1):
        shapes[f"layers.{l}.weight"] = (n_out, n_in)
        shapes[f"layers.{l}.bias"] = (n_out,)
    for name, (expected_name, shape) in zip(names, shapes.items(), strict=False):
        if name != expected_name:
            raise ModelFileError(
                f"tensor {validation.shown(name)} is in the place of {expected_name!r}; expected "
                "the parameters first, in their order"
            )
        file_format.require_tensor(name, tensors[name], shape, description.dtype)
        if not allow_nonfinite:
            file_format.require_finite(name, tensors[name])
    parameters = [tensors[name] for name in shapes]
    return ModelParts(
        description,
        about,
        tuple(parameters[0::2]),
        tuple(parameters[1::2]),
        scales,
        scaled,
        2 * n_layers + n_scales,
    )


def _judged_scales(
    tensors: Mapping[str, Array], description: Description, allow_nonfinite: bool
) -> tuple[Scales, Array | None]:
    """The scales, which such a file has, and the parameters for standardised numbers."""
    sizes, dtype = description.sizes, description.dtype
    further = dict(list(tensors.items())[2 * (len(sizes) - 1) :])
    found: list[Scaling | None] = []
    for prefix, width in ((_INPUTS, sizes[0]), (_OUTPUTS, sizes[-1])):
        names = [prefix + name for name in Scaling._fields]
        if prefix == _OUTPUTS and list(further)[:1] != names[:1]:
            found.append(None)
            continue
        if list(further)[:2] != names:
            raise ModelFileError(
                f"it has the tensors {validation.shown(list(further)[:2])} after the parameters; "
                f"expected {', '.join(names)}, as format_version {file_format.VERSION_WITH_SCALES} "
                "has them"
            )
        scaling = Scaling(*(further.pop(name) for name in names))
        for name, part in zip(names, scaling, strict=True):
            file_format.require_tensor(name, part, (width,), "float64")
            file_format.require_finite(name, part)
            part.flags.writeable = False
        if not (scaling.deviation > 0).all():
            raise ModelFileError(f"tensor {names[1]!r} has numbers that are not above 0")
        found.append(scaling)
    inputs, outputs = found
    assert inputs is not None
    if outputs is not None and not scales_outputs(description.activations[-1], description.cost):
        raise ModelFileError(
            f"it has scales of outputs whose activation is {description.activations[-1]!r} and "
            f"whose cost is {description.cost!r}; expected none"
        )
    scaled = further.get(SCALED) if list(further)[:1] == [SCALED] else None
    if scaled is not None:
        file_format.require_tensor(SCALED, scaled, (layout.n_parameters(sizes),), dtype)
        if not allow_nonfinite:
            file_format.require_finite(SCALED, scaled)
    return Scales(inputs, outputs), scaled


def _judged_description(metadata: Metadata, n_tensors: int) -> Description:
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


def _judged_about(metadata: Metadata, sizes: tuple[int, ...]) -> About:
    names, classes, texts = (decoded(entry, metadata[entry]) for entry in About._fields)
    if not isinstance(names, (list, NoneType)) or not isinstance(classes, (list, NoneType)):
        raise ModelFileError(
            f"its feature_names and class_names are {validation.shown(names)} and "
            f"{validation.shown(classes)}; expected lists or null"
        )
    if texts is None:
        raise ModelFileError("its metadata is null; expected a dict of texts")
    try:
        return About(
            validation.feature_names(names, sizes),
            validation.class_names(classes, sizes),
            validation.metadata(texts),
        )
    except (TypeError, ValueError) as error:
        raise ModelFileError(str(error)) from None
