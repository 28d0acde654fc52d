"""What a fit is told: data to judge on, order, weights, options, optimiser, metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import numpy as np

from cbackprop.classes import Classes, classes_of
from cbackprop.functions import ACTIVATIONS, Activation, Array, Cost
from cbackprop.sparse_rows import Examples, SparseRows
from cbackprop.update_rules import StepOptions
from cbackprop.validation import arrays, scalars
from cbackprop.validation.names import Names, TableNames, first_repeated, is_series
from cbackprop.validation.scalars import (
    Word,
    choice,
    counted,
    is_flag,
    is_list,
    is_mapping,
    is_text,
    wrong_type,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def validation_pair(
    pair: object,
    sizes: tuple[int, ...],
    dtype: str,
    cost: str | Cost,
    tables: TableNames,
    missing: bool,
) -> tuple[Examples, Array] | None:
    """(X, Y) to judge each epoch on, or None."""
    if pair is None:
        return None
    if not is_list(pair):
        raise wrong_type("validation_data", pair, "a pair (X_validation, Y_validation)")
    entries = tuple(pair)  # once: a len() of the user's may tell another number
    if len(entries) != 2:
        raise ValueError(
            f"validation_data has {len(entries)} entries; expected 2, (X_validation, Y_validation)"
        )
    arguments = "validation_data[0]", "validation_data[1]"
    given_X, given_Y = tables.pair(entries[0], entries[1], arguments)
    X = arrays.batch("validation_data[0]", given_X, sizes, dtype)
    arrays.at_least_one_example("validation_data[0]", len(X), "a mean cost")
    arrays.require_finite("validation_data[0]", X)
    Y = arrays.targets(
        "validation_data[1]", given_Y, len(X), False, sizes, dtype, cost, "validation_data[0]",
        missing, tables.outputs,
    )  # fmt: skip
    return X, Y


def held_out(fraction_held: float, pair: object, n: int) -> int:
    """How many examples validation_fraction keeps from training."""
    if fraction_held == 0:
        return 0
    if pair is not None:
        raise ValueError(
            f"validation_fraction is {fraction_held} with validation_data given; expected one of "
            "the two"
        )
    count = max(1, round(fraction_held * n))
    if count >= n:
        raise ValueError(
            f"validation_fraction is {fraction_held} of {counted(n, 'example')}: none would be "
            "left to train on; expected more examples or a smaller fraction"
        )
    return count


def some_weight_left(weight: Array | None, held: int) -> None:
    """The mean cost of the examples that are trained on divides by the sum of their weights."""
    if weight is not None and not weight.any():
        raise ValueError(
            f"validation_fraction holds {held} examples out, and the weights of the others are all "
            "0; expected some weight to train on"
        )


def permutation(argument: str, value: object, n: int) -> NDArray[np.int64]:
    """An order of the examples: every number of 0 … n−1 once, as int64.

    A copy: what is read at these places must not change between this check and its use.
    """
    array = arrays.as_array(argument, value)
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ValueError(
            f"{argument} is an array of dtype {array.dtype} and shape {array.shape}; "
            f"expected ({n},) integers, the order of the examples"
        )
    array = array.copy()
    order = np.ascontiguousarray(array, dtype=np.int64)
    expected = f"expected every number from 0 to {n - 1} once"
    outside = (array < 0) | (array >= n)
    if outside.any():
        place = int(np.argmax(outside))
        raise ValueError(f"{argument} has {int(array[place])} at [{place}]; {expected}")
    counts = np.bincount(order, minlength=n)
    if (counts != 1).any():
        repeated = int(np.argmax(counts > 1))
        raise ValueError(f"{argument} has {repeated} {counts[repeated]} times; {expected}")
    return order


def batch_order(
    argument: str, value: object, n: int
) -> bool | NDArray[np.int64] | Callable[..., Any]:
    """True, False, an order of the examples, or a function of the epoch that returns one."""
    if is_flag(value):
        return bool(value)
    if callable(value):
        return value
    order: object = value
    if isinstance(value, (list, tuple, range)) or (
        hasattr(value, "__array__") and not isinstance(value, np.generic)
    ):
        return permutation(argument, order, n)
    expected = "True, False, an order of the examples, or a function of the epoch that returns one"
    raise wrong_type(argument, order, expected)


def classes(argument: str, output: str | Activation, *targets: Array) -> Classes:
    """What classes the targets stand for; where they stand for none, nothing is guessed."""
    found = classes_of(output, *targets)
    if found is None:
        others = np.concatenate([Y[~np.isin(Y, (-1, 0, 1)) & ~np.isnan(Y)] for Y in targets])
        shown = f"{float(others[0]):.6g}" if len(others) else "-1, 0 and 1"
        raise ValueError(
            f"{argument} needs targets that name classes, and Y has {shown}; expected 0 and 1 "
            "alone, or -1 and 1 (a class or several labels a row, or one output), or softmax "
            "outputs"
        )
    return found


def classes_of_accuracy(argument: str, output: str | Activation, *targets: Array) -> Classes:
    """The same for accuracy, which has alternatives."""
    try:
        return classes(f"{argument} 'accuracy'", output, *targets)
    except ValueError as error:
        raise ValueError(f"{error}; or 'r2', 'mse', 'mae', or a function of your own") from None


def some_whole_row(argument: str, Y_argument: str, Y: Array) -> None:
    """Accuracy is that of the examples whose targets are all there."""
    if np.isnan(Y).any(axis=1).all():
        raise ValueError(
            f"{argument} 'accuracy' needs an example whose targets are all there, and "
            f"{Y_argument} has nan in every row; expected 'r2', 'mse', 'mae', or a function of "
            "your own"
        )


def single_classes(argument: str, output: str | Activation, Y: Array, otherwise: str) -> Classes:
    """One class for each example."""
    found = classes(argument, output, Y)
    if found.kind == "any of many":
        raise ValueError(
            f"{argument} needs one class for each example, and Y has rows of none or several "
            f"labels; expected {otherwise}"
        )
    if np.isnan(Y).any():
        raise ValueError(
            f"{argument} needs the class of each example, and Y has missing targets; expected "
            f"{otherwise}"
        )
    return found


def class_weight(
    argument: str, value: Any, output: str | Activation, Y: Array, names: Names | None = None
) -> NDArray[np.float64] | None:
    """A weight for each example, (n,) float64, from a weight for each class.

    The class of an example is what accuracy takes for it; ``names`` are those of the classes. A
    series of pandas' is taken by its labels, as a dict is: value_counts() has the classes in the
    order of their counts.
    """
    if value is None:
        return None
    n, n_L = Y.shape
    n_classes = max(n_L, 2)
    weights = None
    if isinstance(value, str):
        choice(argument, value, ("balanced",), ", a dict or an array of weights")
    elif is_mapping(value) or (not is_list(value) and is_series(argument, value)):
        weights = np.ones(n_classes)
        entries = tuple(value.items())
        numbers = [_class_number(f"{argument} key", key, n_classes, names) for key, _ in entries]
        repeated = first_repeated(tuple(numbers))
        if repeated is not None:
            raise ValueError(
                f"{argument} has the class {repeated} {numbers.count(repeated)} times; expected "
                "each class once"
            )
        for number, (key, weight) in zip(numbers, entries, strict=True):
            weights[number] = scalars.non_negative(f"{argument}[{scalars.shown(key)}]", weight)
    else:
        weights = arrays.numbers(argument, value, "float64")
        if weights.shape != (n_classes,):
            raise ValueError(
                f"{argument} has shape {weights.shape}; expected ({n_classes},), one for each class"
            )
        arrays.require_finite(argument, weights)
        if (weights < 0).any():
            raise ValueError(f"{argument} has a negative number; expected numbers >= 0")
    otherwise = "None, and sample_weight for what each example counts"
    labels = single_classes(argument, output, Y, otherwise).numbers(Y)
    if weights is None:
        counts = np.bincount(labels, minlength=n_classes)
        # As scikit-learn: n / (classes that occur · examples of the class).
        weights = n / (np.count_nonzero(counts) * np.maximum(counts, 1))
    each: NDArray[np.float64] = weights[labels]
    return each


def _class_number(argument: str, key: object, n_classes: int, names: Names | None) -> int:
    """The number of a class that is given by it, or by its name."""
    if is_text(key):
        if names is None or len(names) != n_classes:
            because = "the network has no class_names"
            if names is not None:
                because = f"class_names has the output's name alone, {scalars.shown(names[0])}"
            raise wrong_type(argument, key, f"an integer, because {because}")
        name = choice(argument, key, names)
        return names.index(name)
    number = scalars.integer(argument, key, 0)
    if number >= n_classes:
        raise ValueError(f"{argument} is {number}; expected 0 to {n_classes - 1}")
    namesake = str(number)
    if names is not None and len(names) == n_classes and namesake in names:
        if names[number] != namesake:
            raise ValueError(
                f"{argument} is {number}, the number of the class {names[number]!r}, and "
                f"{namesake!r} is the name of another one; expected names, as texts"
            )
    return number


def strata(
    argument: str, value: object, output: str | Activation, Y: Array, held: int
) -> NDArray[np.intp] | None:
    """The number of each example's class, (n,), whose share is held out; None for any examples."""
    if value is None or (is_flag(value) and not value):
        return None
    n = len(Y)
    if held == 0:
        raise ValueError(
            f"{argument} is given without validation_fraction; expected both: it says which "
            "examples are held out"
        )
    if is_flag(value):
        found = single_classes(argument, output, Y, "None, or labels (n,) to go by")
        labels: Array = found.numbers(Y)
    else:
        labels = any_labels(argument, value, f"True, False, None or ({n},) labels", n)
    _, first, numbers, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    rare = int(np.argmin(counts))
    if counts[rare] < 2:
        raise ValueError(
            f"{argument} has one example of the class of row {int(first[rare])}; expected two at "
            "least of each class, one to train on and one to hold out"
        )
    if len(counts) > min(held, n - held):
        raise ValueError(
            f"{argument} has {len(counts)} classes, and validation_fraction parts {n} examples "
            f"into {n - held} and {held}; expected as many in each part as there are classes"
        )
    return numbers.reshape(-1)


def any_labels(argument: str, value: object, expected: str, n: int | None = None) -> Array:
    """Whatever can be told apart and put in order, (n,)."""
    if value is True or isinstance(value, (str, bytes)) or scalars.has_no_order(value):
        raise wrong_type(argument, value, expected)
    scalars.refuse_masked_entries(argument, value)
    try:
        array = np.asarray(value)
        missing = arrays.missing_label(argument, value, array)
        if missing is None:
            np.sort(array.reshape(-1))
    except MemoryError:
        raise
    except Exception as error:
        raise TypeError(
            f"{argument} is {scalars.shown(value)} ({error}); expected {expected}"
        ) from None
    if array.ndim == 0:
        raise wrong_type(argument, value, expected)
    if array.shape != (len(array) if n is None else n,):
        raise ValueError(
            f"{argument} has shape {array.shape}; expected ({'n' if n is None else n},), a label "
            "for each example"
        )
    if missing is not None:
        raise missing
    if array.dtype.kind == "f":
        arrays.require_finite(argument, array)
    return array


def reachable_targets(argument: str, Y: Array, output: str | Activation) -> bool:
    """Warn of targets that no output can come near, and of examples without a class.

    Returns whether it has.
    """
    texts = unreachable_targets(argument, Y, output)
    for text in texts:
        scalars.warn(text)
    return len(texts) > 0


def unreachable_targets(argument: str, Y: Array, output: str | Activation) -> list[str]:
    """What there is to warn of."""
    texts: list[str] = []
    if not isinstance(output, str):
        return texts
    if output == "softmax":
        empty = np.flatnonzero(~Y.any(axis=1))
        if len(empty):
            texts.append(
                f"{argument} has only zeros in {len(empty)} of {len(Y)} rows (the first is row "
                f"{int(empty[0])}), and softmax outputs add up to 1: such an example has no class "
                "to learn. Give it one, leave it out, or take sigmoid outputs"
            )
    low, high = ACTIVATIONS[output].bounds
    with np.errstate(invalid="ignore", over="ignore"):
        if len(Y) == 0 or (Y.min() >= low and Y.max() <= high):
            return texts  # as most do: no second look at every number
        # Rounding and a little noise are no mistake: a tenth of the range, or of the targets' own.
        largest = float(np.nanmax(np.abs(Y), initial=0.0))
        margin = 0.1 * min(high - low, largest)
        wrong = (Y < low - margin) | (Y > high + margin)
    if wrong.any():
        count = np.count_nonzero(wrong.any(axis=1))
        i, j = np.argwhere(wrong)[0].tolist()
        bounds = f"above {low:.3g}" if np.isinf(high) else f"between {low:g} and {high:g}"
        texts.append(
            f"{argument} has {float(Y[i, j]):.4g} at [{i}, {j}], and {output} outputs are "
            f"{bounds}: the targets of {count} of {len(Y)} examples cannot be reached. Scale the "
            "targets to that range, or take identity outputs"
        )
    return texts


def option_names(argument: str, value: object, known: tuple[str, ...]) -> dict[str, object]:
    """A dict whose keys are among ``known``; None is an empty one."""
    if value is None:
        return {}
    if not is_mapping(value):
        raise wrong_type(argument, value, f"a dict with some of {', '.join(known)}")
    return {choice(f"{argument} key", key, known): entry for key, entry in value.items()}


def noise_needs_clipping(noise_multiplier: float, clip_norm: float) -> None:
    """Noise is measured in units of the clipping length."""
    if noise_multiplier > 0 and clip_norm == 0:
        raise ValueError(
            f"noise_multiplier is {noise_multiplier} without clip_norm; expected both: the noise's "
            "standard deviation is noise_multiplier * clip_norm"
        )


def noise_alone(noise_multiplier: float, **weights: object) -> None:
    """Noise is as large as it is said to be only where every example counts once."""
    for name, value in weights.items():
        if noise_multiplier > 0 and value is not None:
            raise ValueError(
                f"{name} is given with noise_multiplier {noise_multiplier}; expected None: an "
                "example of twice the weight would have half the noise that is stated"
            )


def noise_hides_costs(
    noise_multiplier: float, looks_at_costs: bool, what: str, otherwise: str = ""
) -> None:
    """What looks at costs or metrics of the training data tells of them without noise."""
    if noise_multiplier > 0 and looks_at_costs:
        raise ValueError(
            f"{what} with noise_multiplier {noise_multiplier}; expected what looks at noisy "
            f"gradients alone{otherwise}: costs of the training data have no noise"
        )


def frozen_layers(argument: str, value: object, n_layers: int) -> tuple[int, ...]:
    """Layers of 1 … n_layers, in order; not all of them."""
    expected = f"numbers of layers, each from 1 to {n_layers}"
    if not _has_entries(value):
        raise wrong_type(argument, value, expected)
    layers = [scalars.integer(f"{argument}[{i}]", entry, 1) for i, entry in enumerate(value)]
    for i, layer in enumerate(layers):
        if layer > n_layers:
            raise ValueError(f"{argument}[{i}] is {layer}; expected {expected}")
        if layer in layers[:i]:
            raise ValueError(f"{argument} has {layer} twice; expected each layer once")
    if len(layers) == n_layers:
        raise ValueError(
            f"{argument} is {scalars.shown(value)}, every layer; expected one at least to learn"
        )
    return tuple(sorted(layers))


def one_way_of_clipping(noise_multiplier: float, clip_gradient_norm: float) -> None:
    """Private steps clip each example's gradient, and the noise is part of their mean."""
    if noise_multiplier > 0 and clip_gradient_norm > 0:
        raise ValueError(
            f"clip_gradient_norm is {clip_gradient_norm} with noise_multiplier "
            f"{noise_multiplier}; expected None: clip_norm bounds what the noise is to hide"
        )


def missing_targets_cost(missing: bool, cost: str | Cost) -> None:
    """Only of our own costs is it known what one output adds to them."""
    if missing and not isinstance(cost, str):
        raise ValueError(
            f"missing_targets is True with the cost {cost.name!r} of your own; expected one of the "
            "named costs: what each output adds to yours is not known"
        )


def sparse(argument: str, value: object) -> bool | Literal["auto"]:
    """A boolean or "auto"."""
    if is_flag(value):
        return bool(value)
    choice(argument, value, ("auto",), ", True or False")
    return "auto"


def standardise(argument: str, value: object, noise_multiplier: float) -> bool | None:
    """A boolean or None; no scales of data that is to stay private."""
    if value is None:
        return None
    wanted = scalars.flag(argument, value)
    if wanted and noise_multiplier > 0:
        raise ValueError(
            f"{argument} is True with noise_multiplier {noise_multiplier}; expected False or None: "
            "mean and deviation of the training data have no noise"
        )
    return wanted


def not_trained_without_scales(trained: bool) -> None:
    """Parameters for numbers as they are would be taken for those of standardised ones."""
    if trained:
        raise ValueError(
            "standardise is True, and the network has been trained on numbers as they are; "
            "expected a new one, or one after reset()"
        )


def frozen_not_scaled(frozen: tuple[int, ...], n_layers: int, with_outputs: bool) -> None:
    """The first scales go into the first layer and the last, which must be free to change."""
    for layer, what in ((1, "first"), (n_layers, "last")):
        if layer in frozen and (layer == 1 or with_outputs):
            raise ValueError(
                f"frozen has layer {layer} with standardise=True; expected others: the scales "
                f"become part of the {what} layer"
            )


def dense_to_standardise(argument: str, X: Examples) -> Array:
    """No sparse rows: without their means they would be other numbers, with them all dense."""
    if isinstance(X, SparseRows):
        raise ValueError(
            f"{argument} is sparse, and standardised its zeros are other numbers; expected "
            f"{argument}.toarray(), or standardise=False"
        )
    return X


def standardised_numbers(argument: str, mean: Array, deviation: Array) -> None:
    """Whether mean and deviation are numbers that float64 can hold."""
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        raise ValueError(
            f"{argument} has numbers too large to be standardised; expected smaller ones, or "
            "standardise=False (--no-standardise)"
        )


def some_target(argument: str, Y: Array) -> None:
    """A fit to nothing at all would look like a perfect one."""
    if np.isnan(Y).all():
        raise ValueError(f"{argument} has nothing but nan; expected some targets")


def whole_batch_options(optimizer: str, options: StepOptions | None) -> None:
    """What a whole-batch optimiser cannot take."""
    if options is None:
        return
    for name, value in options._asdict().items():
        if value and name not in ("l2", "frozen", "missing_targets"):
            raise ValueError(
                f"{name} is {value} with optimizer {optimizer!r}; expected none: only l2, frozen "
                "and missing_targets"
            )


def schedule_applies(schedule: object, optimizer: str, is_whole_batch: bool) -> None:
    """A whole-batch optimiser finds its steps' lengths anew each time."""
    if schedule is not None and is_whole_batch:
        raise ValueError(
            f"schedule is given with optimizer {optimizer!r}; expected None: it sets its steps "
            "itself"
        )


def learning_rate_applies(optimizer: str, steps_set_by: str) -> None:
    """Levenberg–Marquardt's steps have the length they have."""
    if steps_set_by != "learning_rate":
        raise ValueError(
            f"learning_rate is given with {optimizer}; expected None: {steps_set_by} sets its steps"
        )


def nesterov_needs_momentum(nesterov: bool, momentum: float) -> None:
    """Nesterov's form of momentum 0 is nothing at all."""
    if nesterov and momentum == 0:
        raise ValueError("nesterov is True with momentum 0.0; expected a momentum > 0")


def optimizer_in(optimizer: Any, dtype: str) -> None:
    """ε must not round to 0 in the network's numbers: a weight without gradient has 0/ε.

    Adam's least form of it is ε √(1 − β₂), which the first step uses.
    """
    epsilon, beta2 = getattr(optimizer, "epsilon", None), getattr(optimizer, "beta2", None)
    number = np.dtype(dtype).type
    least = getattr(optimizer, "least", None)
    if least is not None and number(least) == 0:
        # A step that has shrunk to 0 would count as one that was never set.
        raise ValueError(
            f"least is {least}, which is 0 in {dtype}; expected a larger one, such as 1e-6"
        )
    if epsilon is None:
        return
    if beta2 is not None and number(epsilon * (1 - beta2) ** 0.5) == 0:
        raise ValueError(
            f"epsilon is {epsilon} with beta2 {beta2}: epsilon * sqrt(1 - beta2) is 0 in "
            f"{dtype}; expected a larger epsilon, such as 1e-8"
        )
    if number(epsilon) == 0:
        raise ValueError(
            f"epsilon is {epsilon}, which is 0 in {dtype}; expected a larger epsilon, such as 1e-8"
        )


def schedule(value: object) -> Callable[..., Any] | None:
    """None, or a function of the epoch and the learning rate."""
    if value is None or callable(value):
        return value
    raise wrong_type(
        "schedule", value, "a function f(epoch, learning_rate) that returns a learning rate"
    )


def monitor(
    monitored: str,
    names: tuple[str, ...],
    metrics: Collection[str],
    is_judged: bool,
    noise_multiplier: float,
) -> None:
    """What early stopping looks at must be there to look at."""
    known = ("cost", *(("validation_cost",) if is_judged else ()), *names)
    if monitored in known:
        return
    if noise_multiplier > 0:  # which is not stopped by what is seen of the training data
        known = known[1:] if is_judged else ("validation_cost",)
    hint = ""
    if monitored in metrics:
        hint = f"; metrics=[{monitored!r}] makes it"
    elif not is_judged:
        hint = "; validation_data or validation_fraction makes a validation_cost"
    raise ValueError(
        f"early_stopping monitors {monitored!r}; expected one of "
        f"{', '.join(repr(name) for name in known)}{hint}"
    )


def monitored_name(argument: str, value: object) -> str:
    """What early stopping looks at, by its name."""
    if callable(value):
        name = getattr(value, "__name__", "its name")
        raise wrong_type(argument, value, f"a string: {name!r}, with the function among metrics")
    return scalars.text(argument, value)


def direction(monitored: str, known: Mapping[str, bool], larger_is_better: bool | None) -> bool:
    """Which values of what early stopping looks at are good, where that is known or told."""
    if larger_is_better is not None:
        return larger_is_better
    if monitored not in known:
        raise ValueError(
            f"early_stopping monitors {monitored!r}, a function of your own, and larger_is_better "
            "is None; expected EarlyStopping(..., larger_is_better=False) where smaller values are "
            "better, as of errors, or True"
        )
    return known[monitored]


def progress(value: object) -> bool | None:
    """None, True or False."""
    return None if value is None else scalars.flag("progress", value)


def resume_needs_checkpoint(resume: bool, checkpoint: object) -> None:
    """There is nothing else to go on from."""
    if resume and checkpoint is None:
        raise ValueError("resume is True without checkpoint; expected the path of one")


# Of what a checkpoint says of its fit, by which arguments it came.
_ARGUMENTS = {
    "held out": "held out (validation_fraction)",
    "weighted": "weights (sample_weight or class_weight)",
    "by class": "stratify",
}


def same_plan(found: object, expected: Mapping[str, object], later: Collection[str]) -> None:
    """A fit goes on as it began; ``later`` is what files of earlier versions do not say."""
    if not is_mapping(found):
        raise ValueError(
            "resume: the checkpoint is a file of save(optimizer=True); expected one that a fit has "
            "written: load this one, and go on with partial_fit or another fit"
        )
    for name, value in expected.items():
        before = found.get(name)
        if name in later and name not in found:
            continue
        if before != value and name == "data":
            raise ValueError(
                "resume: X, Y, sample_weight, class_weight, stratify or the order that shuffle "
                "gives is not that of the checkpoint's fit; expected the same"
            )
        if before != value and name == "options":
            before, value = _differences(before, value)
        if before != value:
            raise ValueError(
                f"resume: the checkpoint's fit had {_ARGUMENTS.get(name, name)} "
                f"{scalars.shown(before)}, this one has "
                f"{scalars.shown(value)}; expected the same"
            )


def _differences(*texts: object) -> tuple[object, object]:
    """Of two texts of options the entries that differ, by their names; texts of no options as they
    are."""
    from ast import literal_eval

    try:
        one, other = (StepOptions(*(literal_eval(str(text)) or ()))._asdict() for text in texts)
    except (SyntaxError, TypeError, ValueError):
        return texts[0], texts[1]
    names = [name for name in one if one[name] != other[name]]
    first, second = ({name: which[name] for name in names} for which in (one, other))
    return first, second


def metrics(value: object, known: Collection[Word]) -> tuple[Word | Callable[..., Any], ...]:
    """Names of metrics, or functions of (predictions, targets)."""
    entries = (value,) if isinstance(value, str) or callable(value) else value
    if not _has_entries(entries):
        raise wrong_type("metrics", value, "names or functions")
    return tuple(metric(f"metrics[{i}]", entry, known) for i, entry in enumerate(entries))


def metric(argument: str, value: object, known: Collection[Word]) -> Word | Callable[..., Any]:
    """The name of a metric, or a function of (predictions, targets)."""
    if callable(value):
        return value
    return choice(argument, value, known, " or a function of (predictions, targets)")


def functions(argument: str, value: object) -> tuple[Callable[..., Any], ...]:
    """One function or several."""
    if callable(value):
        return (value,)
    if not _has_entries(value):
        raise wrong_type(argument, value, "functions")
    entries: list[Callable[..., Any]] = []
    for i, entry in enumerate(value):
        if not callable(entry):
            raise wrong_type(f"{argument}[{i}]", entry, "a function")
        entries.append(entry)
    return tuple(entries)


def _has_entries(value: object) -> TypeGuard[Iterable[object]]:
    """Whether it can be gone through, one entry after the other (no 0-d array can)."""
    if isinstance(value, (str, bytes)) or scalars.has_no_order(value):
        return False
    return getattr(value, "ndim", 1) != 0 and hasattr(value, "__iter__")
