"""How a training works on standardised numbers while its network takes them as they are."""

from __future__ import annotations

import numpy as np

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.model import Model
from cbackprop.sparse_rows import Examples
from cbackprop.update_rules import StepOptions


def take_scales(
    model: Model, X: Examples, Y: Array, options: StepOptions | None, is_new: bool
) -> None:
    """Take the scales of these examples in place of those that the model has.

    With ``is_new`` it has not been trained: its parameters are for standardised numbers, and become
    what takes numbers as they are. Otherwise the outputs stay what they are.

    Raises
    ------
    ValueError
        If the examples, or layers that do not learn, do not allow it.
    FloatingPointError
        As `require_finite`.
    """
    from cbackprop.scaling import Scales, scales_outputs, scaling_of  # for few fits

    examples = validation.dense_to_standardise("X", X)
    with_outputs = scales_outputs(model.activations[-1], model.cost_function)
    if is_new and options is not None:
        validation.frozen_not_scaled(options.frozen, len(model.weights), with_outputs)
    validation.require_finite("X", examples)
    outputs = scaling_of(Y) if with_outputs else None
    scales = Scales(scaling_of(examples), outputs)
    for argument, scaling in (("X", scales.inputs), ("Y", outputs)):
        if scaling is not None:
            validation.standardised_numbers(argument, *scaling)
    model.set_scales(scales)
    if is_new:
        _fold(model)
        require_finite(model)


def standardised(
    model: Model, X: Examples, Y: Array, names: tuple[str, str] = ("X", "Y")
) -> tuple[Examples, Array]:
    """The examples in the model's scales; as they are where it has none.

    Raises
    ------
    ValueError
        For sparse rows, whose zeros would be other numbers.
    """
    if model.scales is None:
        return X, Y
    return model.scales.apply(validation.dense_to_standardise(names[0], X), Y)


class ForStandardised:
    """``with ForStandardised(model)``: the parameters are for numbers in the model's scales.

    Afterwards they take numbers as they are again, those of frozen layers to the bit. Without
    scales nothing is done. To be used where the model is this thread's, and whoever is interrupted
    there calls `fold_back`: Ctrl-C comes between any two lines, also the following ones.
    """

    def __init__(self, model: Model, options: StepOptions | None) -> None:
        self.model = model
        self.frozen = () if options is None else options.frozen

    def __enter__(self) -> None:
        model = self.model
        if model.scales is None:
            return
        self.before = model.storage.copy()
        parameters = model.standardised()
        if parameters is None:
            parameters = self.before.copy()
            model.scales.unfold(*model.engine.layer_views(parameters))
        model.unfolded = self.before, self.frozen
        model.storage[...] = parameters

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        model = self.model
        if model.scales is None:
            return
        _fold(model, self.before, self.frozen)
        model.unfolded = None


def fold_back(model: Model) -> None:
    """End what a `ForStandardised` was interrupted in; nothing where none was."""
    if model.unfolded is None:
        return
    before, frozen = model.unfolded
    folded = before if model.scaled is None else model.scaled.as_is
    if not (np.array_equal(model.storage, before) or np.array_equal(model.storage, folded)):
        _fold(model, before, frozen)
    model.unfolded = None


def require_finite(model: Model) -> None:
    """FloatingPointError for folded parameters that the number type cannot hold."""
    if model.scales is not None and not np.isfinite(model.storage).all():
        raise FloatingPointError(
            "the first or the last layer, which takes or gives numbers as they are, has some that "
            f"{model.dtype.name} cannot hold"
        )


def _fold(model: Model, before: Array | None = None, frozen: tuple[int, ...] = ()) -> None:
    """Let parameters for standardised numbers take them as they are, but for frozen layers."""
    from cbackprop.scaling import Scaled

    assert model.scales is not None
    scaled, parameters = model.storage.copy(), model.storage.copy()
    weights, biases = model.engine.layer_views(parameters)
    model.scales.fold(weights, biases)
    if before is not None:
        old_weights, old_biases = model.engine.layer_views(before)
        for l in frozen:
            weights[l - 1][...], biases[l - 1][...] = old_weights[l - 1], old_biases[l - 1]
    model.scaled = Scaled(parameters, scaled)
    model.storage[...] = parameters
