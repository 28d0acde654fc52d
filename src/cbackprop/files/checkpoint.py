"""A checkpoint: a model with more after it, what its optimiser, its generator and its fit are at.

What is read becomes plain parts first, each of them judged: arrays, numbers and texts. Only what is
whole makes a model, or, in training's hands, a history.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from cbackprop import layout, validation
from cbackprop.files import format as file_format
from cbackprop.files.format import JSON, Metadata, ModelFileError, Tensors, decoded, encoded
from cbackprop.files.model import SCALED, ModelParts, described, judged_model, model_file
from cbackprop.functions import Array
from cbackprop.model import About, Description, Model
from cbackprop.optimizers import OPTIMIZERS, Optimizer, WholeBatch, WholeBatchState
from cbackprop.random_numbers import RandomNumbers
from cbackprop.update_rules import UpdateRule

_UPDATE_ENTRIES = ("rule", "hyper_parameters", "learning_rate", "step_count", "previous_cost")
_GENERATOR_ENTRIES = ("bit_generator", "state", "inc", "has_uint32", "uinteger")
_SECOND_ORDER = "second_order."
_HISTORY = "history."


class Training(NamedTuple):
    """Where a training is, as a checkpoint has it."""

    optimizer: Optimizer | None
    rule: UpdateRule | None  # the optimiser's, or None where it has made no step
    learning_rate: float
    step_count: int
    previous_cost: float
    # As `RandomNumbers.state` gives and takes it; None where it was kept out of the file.
    generator: dict[str, Any] | None
    slots: list[Array]  # each (P,), in the order of the parameters
    extra: dict[str, Array]
    state: dict[str, JSON]


class Checkpoint(NamedTuple):
    """A network in the middle of its training."""

    model: ModelParts
    training: Training


class Fit(NamedTuple):
    """A fit as its checkpoint has it."""

    checkpoint: Checkpoint
    about: About  # the network's own, and in the place of nothing the file's
    whole_batch_state: WholeBatchState | None
    history: dict[str, JSON]  # its attributes
    best: tuple[int, Array] | None  # the best epoch and its parameters, (P,), float64
    held_out: Array | None  # int64: the rows that are kept from training, ascending


# ---- a network's checkpoint ----------------------------------------------------------------------


def write_checkpoint(
    path: str,
    model: Model,
    extra: Mapping[str, Array],
    state: Mapping[str, object],
    *,
    generator: bool = True,
    allow_nonfinite: bool = False,
    rehearsal: bool = False,
) -> None:
    """Write the network's model with its optimiser, its generator and what the fit is at.

    Parameters
    ----------
    path : str
    model : Model
    extra : dict of str to ndarray
        Arrays of the fit's: float32, float64, int64, uint64 or uint8.
    state : dict
        Values of the fit's: None, booleans, numbers, text, lists, and dicts by text. They come back
        exactly, infinities and NaN too, a tuple as a list.
    generator : bool
        Whether the generator is among it: who reads its state knows every number that it drew.
    allow_nonfinite : bool
        Whether numbers that are not finite are written, too.
    rehearsal : bool
        Whether it is only found out what writing would raise.

    Raises
    ------
    TypeError, ValueError, ModelFileError, OSError
        As `save`; ModelFileError also for an optimiser of the user's own.
    """
    contents = _readable_file(
        path, model, extra, state, generator=generator, allow_nonfinite=allow_nonfinite
    )
    (file_format.require_writable if rehearsal else file_format.write)(path, *contents)


def _readable_file(
    path: str,
    model: Model,
    extra: Mapping[str, Array],
    state: Mapping[str, object],
    *,
    generator: bool,
    allow_nonfinite: bool,
) -> tuple[Tensors, Metadata]:
    """A checkpoint's tensors and metadata: what could not be read again is not written."""
    with file_format.naming(path):
        contents = checkpoint_file(
            model,
            described(model),
            extra,
            state,
            generator=generator,
            allow_nonfinite=allow_nonfinite,
        )
        judged_checkpoint(*contents, allow_nonfinite=allow_nonfinite)
    return contents


def read_checkpoint(path: str, model: Model) -> Checkpoint:
    """What `write_checkpoint` wrote of a network like this one, which stays as it is.

    Raises
    ------
    ModelFileError
        If the file is no whole checkpoint of a network like this one.
    OSError
        If there is no such file, or it cannot be read.
    """
    own = described(model)
    tensors, metadata = file_format.read(path)
    with file_format.naming(path):
        return judged_checkpoint(tensors, metadata, own)


def save(
    model: Model,
    path: validation.PathLike,
    *,
    optimizer: bool,
    generator: bool,
    allow_nonfinite: bool,
) -> None:
    """Write the network's model file, or with ``optimizer`` a checkpoint of no fit.

    Raises
    ------
    TypeError, ValueError
        Naming the argument; for a function of the user's own; for parameters that are not finite,
        where those are not allowed.
    ModelFileError, OSError
        As `format.write`; ModelFileError also for an optimiser of the user's own.
    """
    name = validation.file_path("path", path)
    allowed = validation.flag("allow_nonfinite", allow_nonfinite)
    with_optimizer = validation.flag("optimizer", optimizer)
    with_generator = validation.flag("generator", generator)
    if with_optimizer:
        with model.engine.reading():
            contents = _readable_file(
                name,
                model,
                *whole_batch_parts(model.whole_batch_state),
                generator=with_generator,
                allow_nonfinite=allowed,
            )
    else:
        contents = model_file(model, described(model), allow_nonfinite=allowed)
    file_format.write(name, *contents)


def load(
    path: validation.PathLike, *, threads: int | str, backend: str, allow_nonfinite: bool
) -> Model:
    """The network in a model file, or in a checkpoint, where its training was.

    Returns
    -------
    Model
        Of a model file without an optimiser; where the file has no generator, with one seeded from
        the system's entropy.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    ModelFileError
        Naming the path, if it is no whole and unchanged file of cbackprop.
    OSError
        If there is no such file, or it cannot be read.
    """
    name = validation.file_path("path", path)
    threads, backend = validation.threads(threads), validation.backend(backend)
    allowed = validation.flag("allow_nonfinite", allow_nonfinite)
    tensors, metadata = file_format.read(name)
    with file_format.naming(name):
        parts = judged_model(tensors, metadata, allow_nonfinite=allowed)
        checkpoint = whole_batch_state = None
        if metadata["kind"] == "checkpoint":
            training = _judged_training(parts, tensors, metadata, allow_nonfinite=allowed)
            checkpoint = Checkpoint(parts, training)
            whole_batch_state = judged_whole_batch(checkpoint)
    model = Model(parts.description, RandomNumbers(None), threads, backend)
    model.about = parts.about
    if checkpoint is None:
        parts.write_into(model)
    else:
        set_training(model, checkpoint, whole_batch_state)
    return model


def set_training(
    model: Model, checkpoint: Checkpoint, whole_batch_state: WholeBatchState | None
) -> None:
    """Put a network of that description where its training was."""
    parts, training = checkpoint
    engine = model.engine
    # First what can fail: for want of memory, or because the network is in use.
    engine.set_optimizer(training.rule)
    parts.write_into(model)
    for slot, vector in zip(engine.slots, training.slots, strict=True):
        layout.write(vector, *engine.layer_views(slot))
    # A schedule's last rate, which files of earlier versions have, belongs to the fit it was for.
    rate = training.learning_rate
    engine.learning_rate = rate if training.optimizer is None else training.optimizer.learning_rate
    engine.step_count = training.step_count
    engine.previous_cost = training.previous_cost
    model.optimizer = training.optimizer
    model.whole_batch_state = whole_batch_state
    if training.generator is not None:
        model.random.state = training.generator


# ---- a checkpoint's tensors and metadata ---------------------------------------------------------


def checkpoint_file(
    model: Model,
    description: Description,
    extra: Mapping[str, Array],
    state: Mapping[str, object],
    *,
    generator: bool = True,
    allow_nonfinite: bool = False,
) -> tuple[Tensors, Metadata]:
    """Those of a network with this description.

    Raises
    ------
    ValueError
        For parameters that are not finite, where those are not allowed.
    ModelFileError
        For an optimiser of the user's own.
    """
    tensors, metadata = model_file(model, description, allow_nonfinite=allow_nonfinite)
    engine = model.engine
    standardised = model.standardised()
    if standardised is not None:
        tensors[SCALED] = layout.flat(*engine.layer_views(standardised))
    for i, slot in enumerate(engine.slots):
        # The engine's own memory may be padded and laid out otherwise.
        tensors[f"optimizer.slots.{i}"] = layout.flat(*engine.layer_views(slot))
    for key, array in extra.items():
        tensors[f"extra.{key}"] = array
    text = encoded("state", state)
    tensors["state"] = np.frombuffer(text.encode("ascii"), np.uint8)
    numbers = (engine.learning_rate, engine.step_count, engine.previous_cost)
    update = (*_rule_as_json(engine.rule), *numbers)
    metadata["kind"] = "checkpoint"
    metadata["optimizer"] = encoded("optimizer", _optimizer_as_json(model.optimizer))
    metadata["update"] = encoded("update", dict(zip(_UPDATE_ENTRIES, update, strict=True)))
    words = _generator_as_json(model.random.state) if generator else None
    metadata["generator"] = encoded("generator", words)
    return tensors, metadata


def judged_checkpoint(
    tensors: Mapping[str, Array],
    metadata: Metadata,
    expected: Description | None = None,
    *,
    allow_nonfinite: bool = False,
) -> Checkpoint:
    """The network, which must be the expected one where there is one, and where its training is.

    Raises
    ------
    ModelFileError
        If they are no checkpoint's, or that of another network.
    """
    parts = judged_model(tensors, metadata, allow_nonfinite=allow_nonfinite)
    if metadata["kind"] != "checkpoint":
        raise ModelFileError(f"its kind is {metadata['kind']!r}; expected 'checkpoint'")
    if expected is not None:
        for field, came, own in zip(expected._fields, parts.description, expected, strict=True):
            if came != own:
                raise ModelFileError(
                    f"its {field} is {validation.shown(came)}; expected {validation.shown(own)}, "
                    "as the network's"
                )
    training = _judged_training(parts, tensors, metadata, allow_nonfinite=allow_nonfinite)
    return Checkpoint(parts, training)


def _judged_training(
    parts: ModelParts,
    tensors: Mapping[str, Array],
    metadata: Metadata,
    *,
    allow_nonfinite: bool = False,
) -> Training:
    """What a checkpoint has besides the model."""
    optimizer = _judged_optimizer(decoded("optimizer", metadata["optimizer"]))
    rule, hyper_parameters, learning_rate, step_count, previous_cost = file_format.entries_of(
        "update", decoded("update", metadata["update"]), _UPDATE_ENTRIES
    )
    known = None if optimizer is None else optimizer.rule
    known_name, known_numbers = _rule_as_json(known)
    # As texts: 0 and False are not 0.0 there.
    came = file_format.json_text([rule, hyper_parameters])
    if came == file_format.json_text(_rule_as_json(None)):
        known = None
    elif came != file_format.json_text([known_name, known_numbers]):
        raise ModelFileError(
            f"update has rule {validation.shown(rule)} with {validation.shown(hyper_parameters)}; "
            f"expected {known_name!r} with {known_numbers}, as the optimiser's"
        )
    if (
        type(learning_rate) is not float
        or type(previous_cost) is not float
        or math.isnan(previous_cost)
    ):
        raise ModelFileError(
            f"update has learning_rate {validation.shown(learning_rate)} and previous_cost "
            f"{validation.shown(previous_cost)}; expected floats, and no NaN"
        )
    try:
        validation.non_negative("learning_rate", learning_rate)
        count = validation.integer("step_count", step_count, 0)
    except (TypeError, ValueError) as error:
        raise ModelFileError(str(error)) from None
    slots, extra = _judged_further_tensors(parts, known, tensors, allow_nonfinite)
    text = extra.pop("state")
    if text.ndim != 1 or text.dtype != np.uint8:
        raise ModelFileError(
            f"tensor 'state' has shape {text.shape} and dtype {text.dtype}; expected uint8 in one "
            "dimension"
        )
    state = decoded("state", text.tobytes().decode("latin-1"))
    if type(state) is not dict:
        raise ModelFileError(f"state is {validation.shown(state)}; expected a dict")
    return Training(
        optimizer,
        known,
        learning_rate,
        count,
        previous_cost,
        _judged_generator(decoded("generator", metadata["generator"])),
        slots,
        {name.removeprefix("extra."): tensor for name, tensor in extra.items()},
        state,
    )


def _judged_further_tensors(
    parts: ModelParts,
    rule: UpdateRule | None,
    tensors: Mapping[str, Array],
    allow_nonfinite: bool,
) -> tuple[list[Array], dict[str, Array]]:
    """The optimiser's slots, and the tensors after them: the fit's own, and last the state."""
    description = parts.description
    shape = (layout.n_parameters(description.sizes),)
    name_of_rule, n_slots = (None, 0) if rule is None else (rule.name, len(rule.slots))
    further = dict(list(tensors.items())[parts.n_tensors :])
    slots: list[Array] = []
    for i in range(n_slots):
        name = f"optimizer.slots.{i}"
        if next(iter(further), None) != name:
            raise ModelFileError(
                f"it has {i} slots in their places; expected {n_slots} of {name_of_rule!r}"
            )
        slots.append(further.pop(name))
        file_format.require_tensor(name, slots[-1], shape, description.dtype)
        if not allow_nonfinite:
            file_format.require_finite(name, slots[-1])
    names = list(further)
    if names[-1:] != ["state"] or not all(name.startswith("extra.") for name in names[:-1]):
        raise ModelFileError(
            f"it has the further tensors {validation.shown(names)}; expected those of the fit, "
            "'extra. …', and last 'state'"
        )
    return slots, further


# ---- the optimiser -------------------------------------------------------------------------------


def _rule_as_json(rule: UpdateRule | None) -> tuple[str | None, list[float]]:
    """An engine's rule, and its numbers in the rule's order."""
    return (None, []) if rule is None else (rule.name, list(rule.hyper_parameters.values()))


def _optimizer_as_json(optimizer: Optimizer | None) -> dict[str, JSON] | None:
    if optimizer is None:
        return None
    for name, kind in OPTIMIZERS.items():
        # Not isinstance: in place of a class derived from it, the file would bring back this one.
        if type(optimizer) is kind:
            return {"name": name, "arguments": dict(optimizer.arguments())}
    raise ModelFileError(
        f"optimizer is {validation.shown(optimizer)}, of a class of your own; expected one of "
        f"{', '.join(OPTIMIZERS)}: neither a checkpoint nor a pickle of a network holds its code"
    )


def _judged_optimizer(value: JSON) -> Optimizer | None:
    if value is None:
        return None
    name, arguments = file_format.entries_of("optimizer", value, ("name", "arguments"))
    if type(name) is not str or name not in OPTIMIZERS or type(arguments) is not dict:
        raise ModelFileError(
            f"optimizer is {validation.shown(value)}; expected one of "
            f"{', '.join(OPTIMIZERS)} and its arguments"
        )
    try:
        optimizer = OPTIMIZERS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"optimizer is {validation.shown(value)}: {error}") from None
    # Every argument, in its order and in the type that it has once it is judged.
    came = encoded("optimizer", value)
    if encoded("optimizer", _optimizer_as_json(optimizer)) != came:
        raise ModelFileError(
            f"optimizer is {validation.shown(value)}; expected all arguments of {optimizer!r}"
        )
    return optimizer


def whole_batch_parts(
    state: WholeBatchState | None,
) -> tuple[dict[str, Array], dict[str, dict[str, float]]]:
    """What of a whole-batch optimiser's state stands among the fit's arrays, and in its state."""
    if state is None:
        return {}, {}
    arrays = {f"{_SECOND_ORDER}{name}": array for name, array in state.arrays.items()}
    return arrays, {"second_order": dict(state.numbers)}


def judged_whole_batch(checkpoint: Checkpoint) -> WholeBatchState | None:
    """The state again, if it can be one of this optimiser's.

    Raises
    ------
    ModelFileError
        If it cannot.
    """
    training = checkpoint.training
    optimizer, numbers = training.optimizer, training.state.get("second_order")
    arrays = {
        name.removeprefix(_SECOND_ORDER): array
        for name, array in training.extra.items()
        if name.startswith(_SECOND_ORDER)
    }
    if numbers is None and not arrays:
        return None
    kept = optimizer.state_numbers(arrays, numbers) if isinstance(optimizer, WholeBatch) else None
    if kept is None:
        raise ModelFileError(
            f"second_order is {validation.shown(numbers)} with the arrays "
            f"{validation.shown(list(arrays))}; expected a state of {optimizer!r}"
        )
    n_parameters = layout.n_parameters(checkpoint.model.description.sizes)
    for name, array in arrays.items():
        _require_vector(f"{_SECOND_ORDER}{name}", array, n_parameters)
        array.flags.writeable = False
    return WholeBatchState(arrays, kept)


# ---- the generator -------------------------------------------------------------------------------


def _generator_as_json(state: dict[str, Any]) -> dict[str, JSON]:
    words = state["state"]
    # Numbers of 128 bits: more than other readers of JSON keep.
    values = (
        state["bit_generator"],
        f"{int(words['state']):#034x}",
        f"{int(words['inc']):#034x}",
        int(state["has_uint32"]),
        int(state["uinteger"]),
    )
    return dict(zip(_GENERATOR_ENTRIES, values, strict=True))


def _judged_generator(value: JSON) -> dict[str, Any] | None:
    """The state as NumPy gives and takes it, of a stream that some seed has."""
    if value is None:
        return None
    name, *words, has_uint32, uinteger = file_format.entries_of(
        "generator", value, _GENERATOR_ENTRIES
    )
    numbers: list[int] = []
    for word in words:
        try:
            number = int(word, 16) if type(word) is str and len(word) == 34 else -1
        except ValueError:
            number = -1
        numbers.append(number)
    if (
        name != "PCG64"
        or min(numbers) < 0
        or [f"{number:#034x}" for number in numbers] != words
        or numbers[1] % 2 == 0
        or type(has_uint32) is not int
        or has_uint32 not in (0, 1)
        or type(uinteger) is not int
        or not 0 <= uinteger < 2**32
    ):
        raise ModelFileError(
            f"generator is {validation.shown(value)}; expected the words of a PCG64 generator"
        )
    return {
        "bit_generator": name,
        "state": dict(zip(("state", "inc"), numbers, strict=True)),
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }


# ---- a fit's checkpoint --------------------------------------------------------------------------


def write_fit(
    path: str,
    model: Model,
    plan: Mapping[str, object],
    history: Mapping[str, object],
    best: tuple[int, Array] | None,
    held_out: Array | None,
    *,
    generator: bool,
    rehearsal: bool = False,
) -> None:
    """Write a fit's checkpoint after an epoch.

    Parameters
    ----------
    path, model
        As `write_checkpoint`'s.
    plan : dict
        What must be the same for a fit to go on.
    history, best, held_out
        As `Fit` has them.
    generator, rehearsal
        As `write_checkpoint`'s.

    Raises
    ------
    TypeError, ValueError, ModelFileError, OSError
        As `write_checkpoint`.
    """
    arrays, numbers = whole_batch_parts(model.whole_batch_state)
    epoch, parameters = (None, None) if best is None else best
    own = {"best": parameters, "held_out": held_out}
    extra = {name: array for name, array in own.items() if array is not None}
    with file_format.naming(path):
        series, others = _history_parts(history)
    state = {"plan": plan, "best_epoch": epoch, "history": others, **numbers}
    write_checkpoint(
        path, model, extra | arrays | series, state, generator=generator, rehearsal=rehearsal
    )


def read_fit(
    path: str,
    model: Model,
    plan: Mapping[str, object],
    later: Collection[str],
    history: Mapping[str, object],
) -> Fit:
    """What `write_fit` wrote of a fit like this one; nothing changes by it.

    Parameters
    ----------
    path, model
        As `read_checkpoint`'s.
    plan : dict
        As `write_fit` takes it; among it "examples", and how many of them are "held out".
    later : collection of str
        What of it files of earlier versions do not say.
    history : dict
        A new one's attributes: those that the file must have.

    Raises
    ------
    ModelFileError, OSError
        As `read_checkpoint`, and for what no fit can have written.
    ValueError
        If the fit was another one.
    """
    checkpoint = read_checkpoint(path, model)
    training = checkpoint.training
    # Before the data, which differ where their columns stand in another order.
    about = _joined(model.about, checkpoint.model.about)
    validation.same_plan(training.state.get("plan"), plan, later)
    n, held = plan["examples"], plan["held out"]
    assert isinstance(n, int)
    assert isinstance(held, int)
    with file_format.naming(path):
        came = _judged_history(_whole_history(training), tuple(history))
        whole_batch_state = judged_whole_batch(checkpoint)
        best, held_out = training.extra.get("best"), training.extra.get("held_out")
        epochs = came["epochs"]
        assert isinstance(epochs, int)
        # Files of earlier versions have the history's best epoch, or none.
        found = training.state.get("best_epoch", came["best_epoch"])
        epoch = _judged_epoch("best_epoch", found, epochs)
        if best is not None:
            _require_vector("best", best, model.n_parameters)
            # Parameters in float64, of a network that may be of float32.
            with np.errstate(over="ignore"):
                file_format.require_finite("best", best.astype(model.dtype))
        if (held_out is not None) != (held > 0):
            raise ModelFileError(
                f"its fit held {'no' if held_out is None else 'some'} examples out; expected {held}"
            )
        if held_out is not None:
            _require_rows(held_out, held, n)
    kept = None if best is None or epoch is None else (epoch, best)
    return Fit(checkpoint, about, whole_batch_state, came, kept, held_out)


def _joined(own: About, found: About) -> About:
    """What the network is about, and where it says nothing what the checkpoint says."""
    return About(
        validation.names_to_go_on_with("feature_names", own.feature_names, found.feature_names),
        validation.names_to_go_on_with("class_names", own.class_names, found.class_names),
        own.metadata or found.metadata,
    )


def _history_parts(
    history: Mapping[str, object],
) -> tuple[dict[str, Array], dict[str, object]]:
    """A History's numbers of each epoch as arrays, which cost little to write; and all else of it.

    The metrics are one array (metrics, epochs), and their names.
    """
    arrays: dict[str, Array] = {}
    others: dict[str, object] = {}
    for name, value in history.items():
        numbers = value
        if validation.is_mapping(value):
            others[name], numbers = list(value), list(value.values())
        if not validation.is_list(numbers):
            others[name] = value
            continue
        try:
            array = np.array(numbers)
        except ValueError:
            array = np.array("ragged")
        if array.dtype.kind != "f":
            raise ModelFileError(
                f"{name} of history is {validation.shown(value)}; expected a float for each epoch"
            )
        arrays[f"{_HISTORY}{name}"] = array.astype(np.float64, copy=False)
    return arrays, others


def _whole_history(training: Training) -> JSON:
    """The attributes again; files of version 1 have them all in the state."""
    others = training.state.get("history")
    if type(others) is not dict:
        return others
    whole = dict(others)
    for name, array in training.extra.items():
        if not name.startswith(_HISTORY):
            continue
        attribute, numbers = name.removeprefix(_HISTORY), array.tolist()
        if attribute not in others:
            whole[attribute] = numbers
            continue
        names = others[attribute]
        keys = [key for key in names if isinstance(key, str)] if type(names) is list else []
        if keys != names or len({*keys}) != len(keys) or array.shape[:1] != (len(keys),):
            raise ModelFileError(
                f"{attribute} of history is {validation.shown(names)} with an array of shape "
                f"{array.shape}; expected a name for each row, every one once"
            )
        whole[attribute] = dict(zip(keys, numbers, strict=True))
    return whole


def _judged_history(value: JSON, names: tuple[str, ...]) -> dict[str, JSON]:
    """A History's attributes, each of the kind that a fit gives it."""
    if type(value) is not dict or set(value) != set(names):
        raise ModelFileError(
            f"history is {validation.shown(value)}; expected a dict of {', '.join(names)}"
        )
    epochs, best_epoch, metrics = value["epochs"], value["best_epoch"], value["metrics"]
    if type(epochs) is not int or epochs < 0:
        raise ModelFileError(f"epochs of history is {validation.shown(epochs)}; expected an int")
    _judged_epoch("best_epoch of history", best_epoch, epochs)
    if type(value["seconds"]) is not float or type(value["stop_reason"]) is not str:
        raise ModelFileError("seconds and stop_reason of history are no number and text")
    if type(metrics) is not dict:
        raise ModelFileError(f"metrics of history is {validation.shown(metrics)}; expected a dict")
    for name in ("cost", "learning_rate"):
        _require_floats(name, value[name], epochs, (epochs,))
    # What is judged or penalised is so in every epoch, or in none.
    for name in ("validation_cost", "penalty"):
        _require_floats(name, value[name], epochs, (0, epochs))
    for name, numbers in metrics.items():
        _require_floats(f"metrics[{name!r}]", numbers, epochs, (epochs,))
    return value


def _judged_epoch(name: str, value: JSON, epochs: int) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < epochs):
        raise ModelFileError(
            f"{name} is {validation.shown(value)}; expected None or one of its {epochs} epochs"
        )
    assert value is None or isinstance(value, int)
    return value


def _require_floats(name: str, value: JSON, epochs: int, lengths: tuple[int, ...]) -> None:
    if (
        type(value) is not list
        or len(value) not in lengths
        or not all(type(number) is float for number in value)
    ):
        raise ModelFileError(
            f"{name} of history is {validation.shown(value)}; expected {epochs} floats"
        )


def _require_vector(name: str, array: Array, n_parameters: int) -> None:
    if array.shape != (n_parameters,) or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ModelFileError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; expected {n_parameters} "
            "finite float64 numbers"
        )


def _require_rows(rows: Array, held: int, n: int) -> None:
    if (
        rows.shape != (held,)
        or rows.dtype != np.int64
        or not (np.diff(rows) > 0).all()
        or not (0 <= rows[0] and rows[-1] < n)
    ):
        raise ModelFileError(
            f"held_out is {validation.shown(rows)}; expected {held} of {n} rows, in their order"
        )
