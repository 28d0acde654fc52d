"""What a fit keeps in its checkpoint beside the network, and how it goes on from one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cbackprop import model_file, validation
from cbackprop.functions import Array
from cbackprop.model_file import ModelFileError
from cbackprop.training import second_order
from cbackprop.training.optimizers import Optimizer
from cbackprop.training.whole_batch import State

if TYPE_CHECKING:
    from cbackprop.network import Network
    from cbackprop.training.history import History
    from cbackprop.training.plan import Plan

_SECOND_ORDER = "second_order."


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
    model_file.write_checkpoint(path, network, tensors | arrays, state)


def resume(
    network: Network, plan: Plan, history: History, description: dict[str, Any]
) -> tuple[Array | None, Array | None]:
    """Go on from the checkpoint's file.

    Returns the best epoch's parameters and the rows that are held out, where there are any.

    Raises
    ------
    ModelFileError, OSError
        As `model_file.read_checkpoint`, and for what no fit can have written. The network may have
        changed then: the caller undoes it.
    ValueError
        If the fit was another one.
    """
    assert plan.checkpoint is not None
    tensors, state = model_file.read_checkpoint(plan.checkpoint, network)
    validation.same_plan(state.get("plan"), description)
    with model_file.naming(plan.checkpoint):
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
    state: State | None,
) -> tuple[dict[str, Array], dict[str, float] | None]:
    """The arrays and the numbers of a whole-batch optimiser's state, as a checkpoint has them."""
    if state is None:
        return {}, None
    arrays = {f"{_SECOND_ORDER}{name}": array for name, array in state.arrays.items()}
    return arrays, dict(state.numbers)


def checked_second_order(
    optimizer: Optimizer | None, n_parameters: int, tensors: dict[str, Array], numbers: Any
) -> State | None:
    """The state again, if it can be one of this optimiser's."""
    arrays = {
        name.removeprefix(_SECOND_ORDER): array
        for name, array in tensors.items()
        if name.startswith(_SECOND_ORDER)
    }
    if numbers is None and not arrays:
        return None
    if not second_order.is_state(optimizer, arrays, numbers):
        raise ModelFileError(
            f"second_order is {validation.shown(numbers)} with the arrays "
            f"{validation.shown(list(arrays))}; expected a state of {optimizer!r}"
        )
    for name, array in arrays.items():
        _require_vector(f"{_SECOND_ORDER}{name}", array, n_parameters)
        array.flags.writeable = False
    return State(arrays, numbers)


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
