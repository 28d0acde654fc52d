"""Where a training and its fit are: what a checkpoint has besides the model, judged again."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from cbackprop import optimizers, reference, second_order, validation
from cbackprop.files import format as file_format
from cbackprop.files.format import (
    ModelFileError,
    decoded,
    encoded,
    json_text,
    naming,
    require_entries,
    require_finite,
    require_tensor,
)
from cbackprop.files.model import (
    Description,
    checked_parts,
    model_parts,
    named_parts,
    set_parameters,
)
from cbackprop.functions import Array
from cbackprop.optimizers import LBFGS, LevenbergMarquardt, Optimizer
from cbackprop.random_numbers import RandomNumbers

if TYPE_CHECKING:
    from cbackprop.network import Network
    from cbackprop.training import History, Plan

    AnyNetwork = TypeVar("AnyNetwork", bound=Network)

_UPDATE_ENTRIES = ("rule", "hyper_parameters", "learning_rate", "step_count", "previous_cost")
_GENERATOR_ENTRIES = ("bit_generator", "state", "inc", "has_uint32", "uinteger")
_SECOND_ORDER = "second_order."


class Training(NamedTuple):
    """Where a training is, as a checkpoint has it."""

    rule: str | None
    hyper_parameters: tuple[float, ...]
    learning_rate: float
    step_count: int
    previous_cost: float
    optimizer: optimizers.Optimizer | None
    generator: dict[str, Any]
    slots: list[Array]
    extra: dict[str, Array]
    state: dict[str, Any]


def write_checkpoint(
    path: validation.PathLike,
    network: Network,
    extra_tensors: dict[str, Array],
    state: dict[str, Any],
) -> None:
    """Write the network's model with its optimiser, its generator and what the fit is at.

    Parameters
    ----------
    path : str, bytes or os.PathLike
    network : Network
    extra_tensors : dict of str to ndarray
        Arrays of the fit's: float32, float64, int64, uint64 or uint8.
    state : dict
        Values of the fit's: None, booleans, numbers, text, lists, and dicts by text. They come back
        exactly, infinities and NaN too, a tuple as a list.

    Raises
    ------
    ModelFileError, OSError
        As `write`.
    """
    name = validation.file_path("path", path)
    tensors, metadata = model_parts(network)
    with naming(name):
        _add_training(network, tensors, metadata, extra_tensors, state)
        # What could not be read again is not written.
        _checked_training(checked_parts(tensors, metadata), tensors, metadata)
        file_format._write(name, tensors, metadata)


def _add_training(
    network: Network,
    tensors: dict[str, Array],
    metadata: dict[str, str],
    extra_tensors: dict[str, Array],
    state: dict[str, Any],
) -> None:
    """Make a checkpoint's parts of a model's."""
    engine = network._engine
    for i, slot in enumerate(engine.slots):
        tensors[f"optimizer.slots.{i}"] = np.concatenate(
            [
                part
                for W, b in zip(*engine.layer_views(slot), strict=True)
                for part in (W.ravel(), b)
            ]
        )
    for key, array in extra_tensors.items():
        tensors[f"extra.{key}"] = array
    text = encoded("state", state)
    tensors["state"] = np.frombuffer(text.encode("ascii"), np.uint8)
    update = (
        engine.rule_name,
        engine.hyper_parameters or (),
        engine.learning_rate,
        engine.step_count,
        engine.previous_cost,
    )
    metadata["kind"] = "checkpoint"
    metadata["optimizer"] = encoded("optimizer", _optimizer_as_json(network._optimizer))
    metadata["update"] = encoded("update", dict(zip(_UPDATE_ENTRIES, update, strict=True)))
    metadata["generator"] = encoded("generator", _generator_as_json(network._random.state))


def read_checkpoint(
    path: validation.PathLike, network: Network
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Put the network where `write_checkpoint` found it; returns the extra tensors and the state.

    Raises
    ------
    ModelFileError
        If the file is no whole checkpoint of a network like this one. Nothing has changed then.
    OSError
        If there is no such file, or it cannot be read.
    """
    name = validation.file_path("path", path)
    activations, cost = validation.functions_with_names(network.activations, network.cost_function)
    own = Description(network.sizes, activations, cost, network.dtype.name, network._init)
    with naming(name):
        tensors, metadata = file_format._read(name)
        description = checked_parts(tensors, metadata)
        if metadata["kind"] != "checkpoint":
            raise ModelFileError(f"its kind is {metadata['kind']!r}; expected 'checkpoint'")
        for field, came, expected in zip(own._fields, description, own, strict=True):
            if came != expected:
                raise ModelFileError(
                    f"its {field} is {validation.shown(came)}; expected "
                    f"{validation.shown(expected)}, as the network's"
                )
        training = _checked_training(description, tensors, metadata)
    set_training(network, tensors, training)
    return training.extra, training.state


def checkpoint_parts(
    network: Network,
    activations: tuple[str, ...],
    cost: str,
    extra_tensors: dict[str, Array],
    state: dict[str, Any],
) -> tuple[dict[str, Array], dict[str, str]]:
    """A checkpoint's parts, its parameters finite or not, with these functions' names in them."""
    tensors, metadata = named_parts(network, activations, cost, allow_nonfinite=True)
    _add_training(network, tensors, metadata, extra_tensors, state)
    return tensors, metadata


def checked_checkpoint(
    tensors: dict[str, Array], metadata: dict[str, str]
) -> tuple[Description, Training]:
    """What such parts say: the network, and where its training is.

    Raises
    ------
    ModelFileError
        If they are no checkpoint's.
    """
    description = checked_parts(tensors, metadata, allow_nonfinite=True)
    if metadata["kind"] != "checkpoint":
        raise ModelFileError(f"its kind is {metadata['kind']!r}; expected 'checkpoint'")
    return description, _checked_training(description, tensors, metadata, allow_nonfinite=True)


def set_training(network: Network, tensors: dict[str, Array], training: Training) -> None:
    """Put a network of that description where its training was."""
    engine = network._engine
    # First what can fail: for want of memory, or because the network is in use.
    engine.set_optimizer(training.rule, training.hyper_parameters)
    set_parameters(network, tensors)
    for slot, vector in zip(engine.slots, training.slots, strict=True):
        start = 0
        for W, b in zip(*engine.layer_views(slot), strict=True):
            middle = start + W.size
            W[...] = vector[start:middle].reshape(W.shape)
            b[...] = vector[middle : middle + b.size]
            start = middle + b.size
    engine.learning_rate = training.learning_rate
    engine.step_count = training.step_count
    engine.previous_cost = training.previous_cost
    network._optimizer = training.optimizer
    network._random.state = training.generator


def _checked_training(
    description: Description,
    tensors: dict[str, Array],
    metadata: dict[str, str],
    allow_nonfinite: bool = False,
) -> Training:
    """What a checkpoint has beside the model."""
    optimizer = _checked_optimizer(decoded("optimizer", metadata["optimizer"]))
    update = decoded("update", metadata["update"])
    require_entries("update", update, _UPDATE_ENTRIES)
    rule, hyper_parameters, learning_rate, step_count, previous_cost = update.values()
    known: tuple[str | None, list[float]] = (None, [])
    if optimizer is not None and not isinstance(optimizer, optimizers.WholeBatch):
        known = (optimizer.rule, list(optimizer.hyper_parameters))
    # As texts: 0 and False are not 0.0 there.
    if json_text([rule, hyper_parameters]) not in (json_text([None, []]), json_text(known)):
        raise ModelFileError(
            f"update has rule {validation.shown(rule)} with {validation.shown(hyper_parameters)}; "
            f"expected {known[0]!r} with {known[1]}, as the optimiser's"
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
        validation.integer("step_count", step_count, 0)
    except (TypeError, ValueError) as error:
        raise ModelFileError(str(error)) from None
    slots, extra = _checked_further_tensors(
        description, rule, hyper_parameters, tensors, allow_nonfinite
    )
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
        rule,
        tuple(hyper_parameters),
        learning_rate,
        step_count,
        previous_cost,
        optimizer,
        _checked_generator(decoded("generator", metadata["generator"])),
        slots,
        {name.removeprefix("extra."): tensor for name, tensor in extra.items()},
        state,
    )


def _checked_further_tensors(
    description: Description,
    rule: str | None,
    hyper_parameters: list[float],
    tensors: dict[str, Array],
    allow_nonfinite: bool,
) -> tuple[list[Array], dict[str, Array]]:
    """The optimiser's slots, and the tensors behind them: the fit's own, and last the state."""
    n_parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(description.sizes))
    # The smallest network tells how many the rule has.
    engine = reference.Engine((1, 1), ("identity",), "quadratic", "float64")
    engine.set_optimizer(rule, tuple(hyper_parameters))
    further = dict(list(tensors.items())[2 * (len(description.sizes) - 1) :])
    slots = []
    for i in range(len(engine.slots)):
        name = f"optimizer.slots.{i}"
        if next(iter(further), None) != name:
            raise ModelFileError(
                f"it has {i} slots in their places; expected {len(engine.slots)} of {rule!r}"
            )
        slots.append(further.pop(name))
        require_tensor(name, slots[-1], (n_parameters,), description.dtype)
        if not allow_nonfinite:
            require_finite(name, slots[-1])
    names = list(further)
    if names[-1:] != ["state"] or not all(name.startswith("extra.") for name in names[:-1]):
        raise ModelFileError(
            f"it has the further tensors {validation.shown(names)}; expected those of the fit, "
            "'extra. …', and last 'state'"
        )
    return slots, further


def _optimizer_as_json(optimizer: optimizers.Optimizer | None) -> dict[str, Any] | None:
    if optimizer is None:
        return None
    for name, kind in optimizers.OPTIMIZERS.items():
        if type(optimizer) is kind:
            return {"name": name, "arguments": optimizer._shown()}
    raise ModelFileError(
        f"optimizer is {validation.shown(optimizer)}, of a class of your own; expected one of "
        f"{', '.join(optimizers.OPTIMIZERS)}: a checkpoint holds no code"
    )


def _checked_optimizer(value: Any) -> optimizers.Optimizer | None:
    if value is None:
        return None
    require_entries("optimizer", value, ("name", "arguments"))
    name, arguments = value.values()
    if type(name) is not str or name not in optimizers.OPTIMIZERS or type(arguments) is not dict:
        raise ModelFileError(
            f"optimizer is {validation.shown(value)}; expected one of "
            f"{', '.join(optimizers.OPTIMIZERS)} and its arguments"
        )
    try:
        optimizer = optimizers.OPTIMIZERS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"optimizer is {validation.shown(value)}: {error}") from None
    # Every argument, in its order and in the type that it has once it is judged.
    if encoded("optimizer", _optimizer_as_json(optimizer)) != encoded("optimizer", value):
        raise ModelFileError(
            f"optimizer is {validation.shown(value)}; expected all arguments of {optimizer!r}"
        )
    return optimizer


def _generator_as_json(state: dict[str, Any]) -> dict[str, Any]:
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


def _checked_generator(value: Any) -> dict[str, Any]:
    """The state as NumPy gives and takes it, of a stream that some seed has."""
    require_entries("generator", value, _GENERATOR_ENTRIES)
    name, *words, has_uint32, uinteger = value.values()
    numbers = []
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


def network_from_parts(
    cls: type[AnyNetwork],
    tensors: dict[str, Array],
    metadata: dict[str, str],
    *,
    threads: int = 1,
    backend: str = "compiled",
    allow_nonfinite: bool = False,
) -> AnyNetwork:
    """The network of a model's or a checkpoint's parts; every value is judged as `Network` would.

    Raises
    ------
    ModelFileError
        If the parts make no network.
    """
    description = checked_parts(tensors, metadata, allow_nonfinite)
    if metadata["kind"] == "checkpoint":
        _checked_training(description, tensors, metadata, allow_nonfinite)
    network = cls.__new__(cls)
    cls._build(
        network,
        description.sizes,
        description.activations,
        description.cost,
        description.dtype,
        description.init,
        RandomNumbers(None),
        validation.threads(threads),
        validation.backend(backend),
    )
    set_parameters(network, tensors)
    return network


def load_model(
    cls: type[AnyNetwork],
    path: validation.PathLike,
    *,
    threads: int,
    backend: str,
    allow_nonfinite: bool,
) -> AnyNetwork:
    """The network of a model file, or of a checkpoint."""
    name = validation.file_path("path", path)
    threads, backend = validation.threads(threads), validation.backend(backend)
    allow_nonfinite = validation.flag("allow_nonfinite", allow_nonfinite)
    with naming(name):
        return network_from_parts(
            cls,
            *file_format._read(name),
            threads=threads,
            backend=backend,
            allow_nonfinite=allow_nonfinite,
        )


# ---- what a fit keeps besides ----


def write(
    network: Network,
    path: str,
    description: dict[str, Any],
    history: History,
    best: Array | None,
    rows: Array | None,
) -> None:
    """The fit's checkpoint after an epoch: `best` and `rows` are what `resume` returns."""
    tensors = {}
    if best is not None:
        tensors["best"] = best
    if rows is not None:
        tensors["held_out"] = rows
    state: dict[str, Any] = {"plan": description, "history": dict(vars(history))}
    arrays, numbers = second_order_parts(network._second_order)
    if numbers is not None:
        state["second_order"] = numbers
    write_checkpoint(path, network, tensors | arrays, state)


def resume(
    network: Network, plan: Plan, history: History, description: dict[str, Any]
) -> tuple[Array | None, Array | None]:
    """Go on from the checkpoint's file.

    Returns the best epoch's parameters and the rows that are held out, where there are any.

    Raises
    ------
    ModelFileError, OSError
        As `read_checkpoint`, and for what no fit can have written. The network may have
        changed then: the caller undoes it.
    ValueError
        If the fit was another one.
    """
    assert plan.checkpoint is not None
    tensors, state = read_checkpoint(plan.checkpoint, network)
    validation.same_plan(state.get("plan"), description)
    with naming(plan.checkpoint):
        found = checked_history(state.get("history"))
        network._second_order = checked_second_order(
            network._optimizer, network.n_parameters, tensors, state.get("second_order")
        )
        best, rows = tensors.get("best"), tensors.get("held_out")
        if best is not None:
            _require_vector("best", best, network.n_parameters)
        if (rows is not None) != (plan.held > 0):
            raise ModelFileError(
                f"its fit held {'no' if rows is None else 'some'} examples out; expected "
                f"{plan.held}"
            )
        if rows is not None:
            _require_rows(rows, plan.held, description["examples"])
    # What was not looked at before the checkpoint has no numbers for those epochs.
    missing = [math.nan] * found["epochs"]
    found["metrics"] = {name: found["metrics"].get(name, missing[:]) for name in plan.metrics}
    judged = plan.validation_data is not None or plan.held > 0
    found["validation_cost"] = (found["validation_cost"] or missing) if judged else []
    vars(history).update(found)
    history.stop_reason = "epochs"
    stopping = plan.early_stopping
    # Of what is no longer asked for, or was not judged then, no epoch is the best.
    if stopping is None or not stopping.knows_best(history):
        history.best_epoch = None
    if stopping is None or history.best_epoch is None or not stopping.restore_best:
        best = None
    network._optimizer = plan.optimizer
    return best, rows


# ---- what came from a file -----------------------------------------------------------------------


def checked_history(value: Any) -> dict[str, Any]:
    """A History's attributes, each of the kind that a fit gives it."""
    names = (
        "cost",
        "validation_cost",
        "metrics",
        "learning_rate",
        "penalty",
        "best_epoch",
        "epochs",
        "seconds",
        "stop_reason",
    )
    if type(value) is not dict or set(value) != set(names):
        raise ModelFileError(
            f"history is {validation.shown(value)}; expected a dict of {', '.join(names)}"
        )
    epochs, best_epoch = value["epochs"], value["best_epoch"]
    every_epoch, metrics = (0, epochs), value["metrics"]
    if type(epochs) is not int or epochs < 0:
        raise ModelFileError(f"epochs of history is {validation.shown(epochs)}; expected an int")
    if best_epoch is not None and (type(best_epoch) is not int or not 0 <= best_epoch < epochs):
        raise ModelFileError(
            f"best_epoch of history is {validation.shown(best_epoch)}; expected None or one of its "
            f"{epochs} epochs"
        )
    if type(value["seconds"]) is not float or type(value["stop_reason"]) is not str:
        raise ModelFileError("seconds and stop_reason of history are no number and text")
    if type(metrics) is not dict:
        raise ModelFileError(f"metrics of history is {validation.shown(metrics)}; expected a dict")
    for name, numbers, lengths in (
        ("cost", value["cost"], (epochs,)),
        ("learning_rate", value["learning_rate"], (epochs,)),
        ("validation_cost", value["validation_cost"], every_epoch),
        ("penalty", value["penalty"], every_epoch),
        *((f"metrics[{name!r}]", numbers, (epochs,)) for name, numbers in metrics.items()),
    ):
        if (
            type(numbers) is not list
            or len(numbers) not in lengths
            or not all(type(number) is float for number in numbers)
        ):
            raise ModelFileError(
                f"{name} of history is {validation.shown(numbers)}; expected {epochs} floats"
            )
    return value


def second_order_parts(
    state: second_order.State | None,
) -> tuple[dict[str, Array], dict[str, float] | None]:
    """The arrays and the numbers of a whole-batch optimiser's state, as a checkpoint has them."""
    if state is None:
        return {}, None
    arrays = {f"{_SECOND_ORDER}{name}": array for name, array in state.arrays.items()}
    return arrays, dict(state.numbers)


def checked_second_order(
    optimizer: Optimizer | None, n_parameters: int, tensors: dict[str, Array], numbers: Any
) -> second_order.State | None:
    """The state again, if it can be one of this optimiser's."""
    arrays = {
        name.removeprefix(_SECOND_ORDER): array
        for name, array in tensors.items()
        if name.startswith(_SECOND_ORDER)
    }
    if numbers is None and not arrays:
        return None
    pairs = [f"{letter}{i}" for i in range(len(arrays) // 2) for letter in "sy"]
    if isinstance(optimizer, LBFGS):
        known = numbers == {} and list(arrays) == pairs and len(arrays) <= 2 * optimizer.memory
    elif isinstance(optimizer, LevenbergMarquardt):
        known = (
            not arrays
            and type(numbers) is dict
            and list(numbers) == ["mu"]
            and type(numbers["mu"]) is float
            and 0 < numbers["mu"] < math.inf
        )
    else:
        known = False
    if not known:
        raise ModelFileError(
            f"second_order is {validation.shown(numbers)} with the arrays "
            f"{validation.shown(list(arrays))}; expected a state of {optimizer!r}"
        )
    for name, array in arrays.items():
        _require_vector(f"{_SECOND_ORDER}{name}", array, n_parameters)
        array.flags.writeable = False
    return second_order.State(arrays, numbers)


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
