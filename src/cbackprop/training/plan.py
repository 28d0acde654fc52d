"""A fit as it was asked for: judged once, before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from cbackprop import validation
from cbackprop.functions import Activation, Array
from cbackprop.model import Model
from cbackprop.optimizers import Optimizer, WholeBatch, resolve
from cbackprop.schedules import RateOfEpoch, ReduceOnPlateau
from cbackprop.sparse_rows import Examples, dense
from cbackprop.training.history import EarlyStopping, History
from cbackprop.training.metrics import (
    LARGER_IS_BETTER,
    METRICS,
    Metric,
    MetricName,
    accuracy,
    function_of,
    named,
)
from cbackprop.update_rules import StepOptions
from cbackprop.validation import TableNames

if TYPE_CHECKING:  # which few fits need
    from cbackprop.streams.sources import Rows
    from cbackprop.streams.stream import Stream

# Of the epoch; what it returns is judged when it has.
OrderOfEpoch = Callable[[int], object]

# What checkpoints of earlier versions do not say of their fit.
LATER = ("data", "by class", "standardise")


class Plan(NamedTuple):
    """A fit as it was asked for, every part of it validated."""

    epochs: int
    batch_size: int
    optimizer: Optimizer
    shuffle: bool | Array | OrderOfEpoch
    sample_weight: Array | None
    options: StepOptions | None  # None for nothing
    validation_data: tuple[Examples, Array] | Stream | None
    n_held_out: int  # examples to keep from training and to judge instead
    strata: Array | None  # (n,), the class of each, whose share of them is kept; None for any
    metrics: dict[str, Metric]
    early_stopping: EarlyStopping | None
    schedule: RateOfEpoch | None
    callbacks: tuple[Callable[[History], object], ...]
    progress: bool | None
    checkpoint: str | None
    checkpoint_generator: bool  # whether the generator's state is in it
    resume: bool
    names: TableNames  # which the network takes where it has none
    sparse: bool | Literal["auto"]  # whether zeros of the examples are left out
    standardise: bool | None  # None: as the network's scales are
    stream: Stream | None  # what reads the examples, if they are not all there

    @property
    def is_judged(self) -> bool:
        """Whether there are validation data."""
        return self.validation_data is not None or self.n_held_out > 0

    @property
    def judge(self) -> EarlyStopping | None:
        """What finds the best epoch, where that is asked for or for a checkpoint, where it may be
        asked for later; never by costs of a private training, which have no noise."""
        is_private = self.options is not None and self.options.noise_multiplier > 0
        hidden = is_private and not self.is_judged
        if self.early_stopping is not None or self.checkpoint is None or hidden:
            return self.early_stopping
        return EarlyStopping(
            monitor="validation_cost" if self.is_judged else "cost", larger_is_better=False
        )

    def _shuffle_text(self) -> str:
        in_pieces = self.stream is not None and self.stream.shuffles_in_pieces
        return "True, in pieces" if self.shuffle is True and in_pieces else repr(self.shuffle)

    def description(self, X: Examples | Rows, Y: Array | Rows) -> dict[str, object]:
        """What must be the same for a fit to go on from a checkpoint."""
        from cbackprop.training.fingerprint import fingerprint  # for checkpoints alone

        shuffle: object = self.shuffle
        order = shuffle if validation.is_array(shuffle) else None
        return {
            "examples": len(X),  # that are known of: none, where they come in chunks
            "held out": self.n_held_out,
            "batch_size": self.batch_size,
            "optimizer": repr(self.optimizer),
            "options": repr(None) if self.options is None else self.options.text,
            "shuffle": self._shuffle_text() if isinstance(shuffle, bool) else "given",
            "weighted": self.sample_weight is not None,
            "by class": self.strata is not None,
            "standardise": self.standardise,
            "data": fingerprint((X, Y, self.sample_weight, order, self.strata)),
        }


def make(
    model: Model, network: object, X: object, Y: object, **asked: object
) -> tuple[Examples, Array, Plan]:
    """The examples, the targets and the plan of a fit.

    ``network`` is what callbacks get besides the history, ``asked`` what `Network.fit` takes
    besides the examples, all of it.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    """
    chosen = resolve(asked["optimizer"], asked["learning_rate"])
    network_facts = (model.sizes, model.dtype.name)
    scaled = validation.is_scaled(asked["standardise"], model.scales)
    stream = _stream(model, X, Y, asked, scaled)
    for argument in ("sample_weight", "stratify"):
        validation.same_order_of_rows(("X", argument), X, asked[argument])
    if stream is not None:
        stream.judge_options(asked, isinstance(chosen, WholeBatch), model.scales)
        # Of the examples that are there already, which are none.
        X, Y = model.no_examples()
    about = model.about  # once: another thread may assign
    tables = validation.table_names(about.feature_names, about.class_names, model.sizes, X, Y)
    if stream is not None and stream.tables is not None:
        tables = stream.tables
    X, Y = tables.pair(X, Y)
    sparse = validation.sparse("sparse", asked["sparse"])
    examples = validation.batch("X", X, *network_facts)
    if sparse is False:
        examples = dense(examples)
    n = len(examples)
    if stream is None:
        validation.at_least_one_example("X", n, "training")
    elif stream.n is not None:
        n = stream.n
    options = step_options(model, asked)
    missing = options is not None and options.missing_targets
    noise = 0.0 if options is None else options.noise_multiplier
    standardise = validation.standardise("standardise", asked["standardise"], noise)
    validation.noise_alone(
        noise, sample_weight=asked["sample_weight"], class_weight=asked["class_weight"]
    )
    targets = validation.targets(
        "Y", Y, len(examples), False, *network_facts, model.cost_function,
        missing=missing, class_names=about.class_names,
    )  # fmt: skip
    if missing and stream is None:
        validation.some_target("Y", targets)
    examples, targets = model.examples_apart(examples), model.apart(targets)
    output = model.activations[-1]
    validation.reachable_targets("Y", targets, output)
    weight = combined_weight(
        asked["sample_weight"],
        asked["class_weight"],
        output,
        targets,
        about.class_names or tables.outputs,
        n,
    )
    pair, path = asked["validation_data"], asked["checkpoint"]
    if validation.is_list(pair):
        pair = tuple(pair)  # once: what a list of the user's gives may be another one next time
    share = validation.fraction("validation_fraction", asked["validation_fraction"])
    n_held_out = validation.held_out(share, pair, n)
    resume = validation.flag("resume", asked["resume"])
    # The names of its columns are in the checkpoint, or come with the first chunk.
    if resume or (stream is not None and stream.tables is None):
        too_late = "resume finds" if resume else "chunks bring"
        own = about.feature_names, about.class_names
        validation.no_table_to_judge_by(pair, tables, own, too_late)
    judged: tuple[Examples, Array] | Stream | None = None
    if pair is not None and not scaled:
        from cbackprop.streams.choosing import stream_to_judge

        judged = stream_to_judge(model, pair, missing, tables)
    wanted = named(validation.metrics(asked["metrics"], METRICS))
    if judged is not None:
        known = targets if stream is None else stream.known_targets
        functions = _functions_of_read(wanted, output, [] if known is None else [known])
    else:
        judged = validation.validation_pair(
            pair, *network_facts, model.cost_function, tables, missing
        )
        if judged is not None:
            if missing:
                validation.some_target("validation_data[1]", judged[1])
            judged = model.examples_apart(judged[0]), model.apart(judged[1])
        functions = _functions(wanted, output, targets, *(() if judged is None else judged[1:]))
        if n_held_out == 0:
            judged_Y = ("Y", targets) if judged is None else ("validation_data[1]", judged[1])
            _accuracy_has_rows(functions, *judged_Y)
    stopping = _early_stopping(asked["early_stopping"])
    has_judges = judged is not None or n_held_out > 0
    if stopping is not None:
        validation.monitor(stopping.monitor, tuple(functions), METRICS, has_judges, noise)
        stopping = _with_direction(stopping, wanted)
    schedule = validation.schedule(asked["schedule"])
    validation.schedule_applies(schedule, chosen.name, isinstance(chosen, WholeBatch))
    if stopping is not None:
        looks = stopping.monitor == "cost" or not has_judges
        judged_by = ", such as the validation_cost, of validation_data or validation_fraction"
        what = f"early_stopping by {stopping.monitor!r}"
        validation.noise_hides_costs(noise, looks, what, judged_by)
    looks = isinstance(schedule, ReduceOnPlateau) and not has_judges
    validation.noise_hides_costs(noise, looks, "schedule is a ReduceOnPlateau")
    callbacks = asked["callbacks"]
    plan = Plan(
        checkpoint=None if path is None else validation.file_path("checkpoint", path),
        epochs=validation.integer("epochs", asked["epochs"], 0),
        batch_size=validation.integer("batch_size", asked["batch_size"], 1),
        optimizer=chosen,
        shuffle=validation.batch_order("shuffle", asked["shuffle"], n - n_held_out),
        sample_weight=weight,
        options=options,
        validation_data=judged,
        n_held_out=n_held_out,
        strata=validation.strata("stratify", asked["stratify"], output, targets, n_held_out),
        metrics=functions,
        early_stopping=stopping,
        schedule=schedule,
        callbacks=tuple(
            partial(callback, network) for callback in validation.functions("callbacks", callbacks)
        ),
        progress=validation.progress(asked["progress"]),
        checkpoint_generator=validation.flag("checkpoint_generator", asked["checkpoint_generator"]),
        resume=resume,
        names=tables,
        sparse=sparse,
        standardise=standardise,
        stream=stream,
    )
    validation.resume_needs_checkpoint(plan.resume, plan.checkpoint)
    return examples, targets, plan


def _stream(
    model: Model, X: object, Y: object, asked: Mapping[str, object], scaled: bool
) -> Stream | None:
    """What reads the examples where they are not arrays; None also where all of them are needed."""
    if type(X) is np.ndarray and type(Y) is np.ndarray:
        return None
    from cbackprop.streams.choosing import stream_of_pairs
    from cbackprop.streams.stream import Stream

    if isinstance(X, Stream):
        return X
    if Y is not None and (scaled or validation.needs_all_examples(asked)):
        return None
    missing = validation.flag("missing_targets", asked["missing_targets"])
    return stream_of_pairs(model, X, Y, missing)


def step_options(model: Model, asked: Mapping[str, object]) -> StepOptions | None:
    """The step's options that are asked for by name; None where they come to nothing.

    Raises
    ------
    TypeError, ValueError
        Naming the option.
    """
    judges: dict[str, Callable[[str, object], object]] = {
        "dropout": validation.fraction,
        "max_norm": _norm_or_none,
        "clip_norm": _norm_or_none,
        "clip_gradient_norm": _norm_or_none,
        "frozen": partial(validation.frozen_layers, n_layers=len(model.weights)),
        "missing_targets": validation.flag,
    }
    values: dict[str, Any] = {
        name: judges.get(name, validation.non_negative)(name, asked[name])
        for name in StepOptions._fields
        if name in asked
    }
    options = StepOptions(**values)
    validation.noise_needs_clipping(options.noise_multiplier, options.clip_norm)
    validation.one_way_of_clipping(options.noise_multiplier, options.clip_gradient_norm)
    validation.missing_targets_cost(options.missing_targets, model.cost_function)
    return options if any(options) else None


def _norm_or_none(argument: str, value: object) -> float:
    return 0.0 if value is None else validation.positive(argument, value)


def _early_stopping(value: object) -> EarlyStopping | None:
    """None, an EarlyStopping, or one of that patience."""
    if value is None or validation.is_a(value, EarlyStopping):
        return value
    return EarlyStopping(validation.integer("early_stopping", value, 1))


def _with_direction(
    stopping: EarlyStopping, wanted: Mapping[str, MetricName | Metric]
) -> EarlyStopping:
    """A copy that knows what is better: the user's own may serve other fits."""
    known = {"cost": False, "validation_cost": False}
    known |= {
        name: LARGER_IS_BETTER[word] for name, word in wanted.items() if isinstance(word, str)
    }
    from copy import copy  # which starts slowly, for fits that stop early alone

    changed = copy(stopping)
    changed.larger_is_better = validation.direction(
        stopping.monitor, known, stopping.larger_is_better
    )
    return changed


def _functions(
    wanted: Mapping[str, MetricName | Metric], output: str | Activation, *targets: Array
) -> dict[str, Metric]:
    """The metrics as functions: accuracy by the classes of all targets, also those judged on."""
    if "accuracy" not in wanted.values():
        return {name: function_of(metric, None) for name, metric in wanted.items()}
    place = list(wanted.values()).index("accuracy")
    classes = validation.classes_of_accuracy(f"metrics[{place}]", output, *targets)
    return {name: function_of(metric, classes) for name, metric in wanted.items()}


def _functions_of_read(
    wanted: Mapping[str, MetricName | Metric], output: str | Activation, known: list[Array]
) -> dict[str, Metric]:
    """The same where the targets that are judged on come later: those ``known`` may be none."""

    def accuracy_of_these(place: int, predictions: Array, these: Array) -> float:
        classes = validation.classes_of_accuracy(f"metrics[{place}]", output, *known, these)
        return accuracy(classes, predictions, these)

    return {
        name: partial(accuracy_of_these, place)
        if metric == "accuracy"
        else function_of(metric, None)
        for place, (name, metric) in enumerate(wanted.items())
    }


def _accuracy_has_rows(functions: Mapping[str, Metric], argument: str, Y: Array) -> None:
    """That of no example would not be a number, and be found out after an epoch."""
    for place, metric in enumerate(functions.values()):
        if getattr(metric, "func", None) is accuracy:
            validation.some_whole_row(f"metrics[{place}]", argument, Y)


def combined_weight(
    sample_weight: object,
    class_weight: object,
    output: str | Activation,
    Y: Array,
    class_names: tuple[str, ...] | None,
    n: int,
) -> Array | None:
    """Each example's weight (n,), as `validation.sample_weight` gives it; None where all are 1."""
    dtype = Y.dtype.name
    weight, _ = validation.sample_weight("sample_weight", sample_weight, n, dtype)
    by_class = validation.class_weight("class_weight", class_weight, output, Y, class_names)
    if by_class is None:
        return weight
    # Scaled before it is multiplied, so that no product overflows.
    by_class, _ = validation.sample_weight("class_weight", by_class, n, "float64")
    product = by_class if weight is None else by_class * weight
    name = "class_weight" if weight is None else "class_weight times sample_weight"
    return validation.sample_weight(name, product, n, dtype)[0]


def held_rows(model: Model, n: int, plan: Plan) -> Array:
    """The rows that are kept from training: random ones, or the last; of each class its share."""
    order = model.random_order(n) if plan.shuffle is True else np.arange(n, dtype=np.int64)
    if plan.strata is None:
        return np.sort(order[n - plan.n_held_out :])
    counts = np.bincount(plan.strata)
    by_class = np.split(
        order[np.argsort(plan.strata[order], kind="stable")], np.cumsum(counts)[:-1]
    )
    held = shares(counts, plan.n_held_out)
    kept = [rows[len(rows) - m :] for rows, m in zip(by_class, held, strict=True)]
    return np.sort(np.concatenate(kept))


def shares(counts: Array, total: int) -> Array:
    """``total`` among classes of so many examples, in proportion; at least one and not all of each.

    By largest remainders, the first class where they are alike.
    """
    exact = counts * (total / counts.sum())
    result = np.clip(np.floor(exact).astype(np.int64), 1, counts - 1)
    while (missing := total - int(result.sum())) != 0:
        step = 1 if missing > 0 else -1
        possible = result < counts - 1 if step > 0 else result > 1
        wanting = np.where(possible, step * (exact - result), -np.inf)
        order = np.argsort(-wanting, kind="stable")[: abs(missing)]
        result[order[possible[order]]] += step
    return np.asarray(result)


def hold_out(X: Examples, Y: Array, rows: Array, plan: Plan) -> tuple[Examples, Array, Plan]:
    """The examples left to train on, and the plan with the others as validation data."""
    validation.require_finite("X", X)  # here a row still has the number by which it was given
    left = np.ones(len(X), dtype=bool)
    left[rows] = False
    weight = None if plan.sample_weight is None else plan.sample_weight[left]
    validation.some_weight_left(weight, len(rows))
    validation.some_target("Y of the examples held out", Y[rows])
    validation.some_target("Y of the examples to train on", Y[left])
    _accuracy_has_rows(plan.metrics, "Y of the examples held out", Y[rows])
    # The largest may have gone.
    weight, _ = validation.sample_weight("sample_weight", weight, len(X) - len(rows), "float64")
    changed = plan._replace(sample_weight=weight, validation_data=(X[rows], Y[rows]))
    return X[left], Y[left], changed
