"""The epoch loop: it carries out a plan, and keeps the record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from cbackprop import quantities, validation
from cbackprop.functions import Array
from cbackprop.model import Model, Snapshot, total_weight
from cbackprop.optimizers import Optimizer, WholeBatch, resolve
from cbackprop.schedules import Rates
from cbackprop.sparse_rows import Examples, numbers_of
from cbackprop.training import stop_reasons
from cbackprop.training.history import History
from cbackprop.training.metrics import measured
from cbackprop.training.plan import Plan, held_rows, hold_out
from cbackprop.training.progress import Progress
from cbackprop.training.sparsity import examples_of
from cbackprop.training.standardised import (
    ForStandardised,
    fold_back,
    require_finite,
    standardised,
    take_scales,
)
from cbackprop.update_rules import StepOptions

if TYPE_CHECKING:  # which few fits need
    from cbackprop.streams.stream import PassOrder, Stream

LARGE = 20.0  # no standardised number is


def run(model: Model, X: Examples, Y: Array, plan: Plan) -> History:
    """Train as planned, the optimiser started afresh.

    Raises
    ------
    ValueError
        If the network cannot be trained so: its parameters, number type or cost are not for it.
    FloatingPointError
        If a pass diverges, naming its epoch.
    Exception
        Whatever a function of the user's raises, or MemoryError.

    After any of them parameters, optimiser, generator and names are as they were at the start of
    that epoch, and before the first one as they were before the call; only what comes after an
    epoch, such as a callback, finds it completed, and leaves it so. Ctrl-C leaves the parameters of
    the last full batch, or those of the best epoch where early stopping brings them back. The model
    has the history then, too.
    """
    with model.engine:
        _require_trainable(model, plan.optimizer, plan.options)
        model.engine.begin_fit()
        try:
            model.engine.missing_targets = plan.options is not None and plan.options.missing_targets
            return _run(model, X, Y, plan)
        finally:
            model.engine.missing_targets = False


def run_pass(
    model: Model,
    X: Examples,
    Y: Array,
    batch_size: int,
    optimizer: object,
    learning_rate: object,
    sample_weight: Array | None,
    options: StepOptions | None,
    names: validation.TableNames | None = None,
) -> None:
    """One pass over the rows as they come, with the optimiser in use where it can go on.

    Raises
    ------
    TypeError, ValueError
        Naming ``optimizer`` or ``learning_rate``, and as `run`.
    FloatingPointError
        If a step diverges. After it, and after any other Exception, everything is as it was before
        the call.
    """
    examples, targets = model.examples_apart(X), model.apart(Y)
    with model.engine:
        used = model.optimizer
        if optimizer is None:
            optimizer = "sgd" if used is None else used
        chosen = resolve(optimizer, learning_rate)
        _require_trainable(model, chosen, options)
        model.engine.begin_fit()
        before = Snapshot(model)
        try:
            if names is not None:
                model.take_names(names)
            if used is not None and chosen.goes_on(used):
                model.engine.learning_rate = chosen.learning_rate
                model.optimizer = chosen
            else:
                model.set_optimizer(chosen)
        except BaseException:  # also Ctrl-C: the engine's optimiser is the model's, or neither
            before.restore(model)
            raise
        try:
            model.engine.missing_targets = options is not None and options.missing_targets
            examples, targets = standardised(model, examples, targets)
            with ForStandardised(model, options):
                _train_once(
                    model, examples, targets, None, batch_size, sample_weight, options, None
                )
            require_finite(model)
        except Exception:
            fold_back(model)
            before.restore(model)
            raise
        except BaseException:
            fold_back(model)
            raise
        finally:
            model.engine.missing_targets = False


def _require_trainable(model: Model, optimizer: Optimizer, options: StepOptions | None) -> None:
    validation.require_finite_parameters(model.weights, model.biases)
    validation.optimizer_in(optimizer, model.dtype.name)
    if options is not None and optimizer.rule is not None:
        compares = optimizer.rule.compares_costs
        what = f"optimizer {optimizer.name!r} compares costs"
        validation.noise_hides_costs(options.noise_multiplier, compares, what)
    if isinstance(optimizer, WholeBatch):
        validation.whole_batch_options(optimizer.name, options)
        from cbackprop.training import second_order

        second_order.start(optimizer, model.engine)  # which refuses a cost that is not for it


def _run(model: Model, X: Examples, Y: Array, plan: Plan) -> History:
    before = Snapshot(model)
    history = History()
    history.metrics = {name: [] for name in plan.metrics}
    best: tuple[int, Array] | None = None
    rows: Array | None = None
    description: dict[str, object] = {}
    if plan.checkpoint is not None:
        contents = (X, Y) if plan.stream is None else plan.stream.contents(model)
        description = plan.description(*contents)
    stopping, judge = plan.early_stopping, plan.judge
    keeps_best = plan.checkpoint is not None or (stopping is not None and stopping.restore_best)
    rates = Rates(plan.schedule, plan.optimizer.learning_rate)

    def is_over() -> bool:
        return stopping is not None and stopping.is_over(history)

    def restore_best() -> None:
        if best is not None and stopping is not None and stopping.restore_best:
            model.set_parameters(best[1])

    def checkpoint(rehearsal: bool = False) -> None:
        if plan.checkpoint is None:
            return
        from cbackprop.files.checkpoint import write_fit

        write_fit(
            plan.checkpoint,
            model,
            description,
            vars(history),
            best,
            rows,
            generator=plan.checkpoint_generator,
            rehearsal=rehearsal,
        )

    progress = Progress(plan.epochs, plan.progress)
    try:
        model.take_names(plan.names)
        if plan.epochs > 0:
            model.set_optimizer(plan.optimizer)
        if plan.resume:
            from cbackprop.training.checkpoints import resume

            best, rows = resume(model, plan, history, description)
        elif plan.n_held_out > 0 and plan.epochs > 0:
            rows = held_rows(model, len(X), plan)
        trained = (X, Y, plan) if rows is None else hold_out(X, Y, rows, plan)
        judged = trained[2].validation_data
        judged = trained[:2] if judged is None else judged
        first = history.epochs
        best_epoch = history.best_epoch if best is None else best[0]
        if first < plan.epochs and not is_over():
            trained = _in_scales(model, *trained, before)
            checkpoint(rehearsal=True)  # what no file can hold is not found out after an epoch
            trained = examples_of(model, trained[0], plan), *trained[1:]
        # What a failure goes back to; None when an epoch is complete.
        epoch_start = None if plan.resume else before
    except BaseException:
        before.restore(model)
        raise
    model.history = history
    try:
        for epoch in range(first, plan.epochs):
            if is_over():
                break
            if epoch_start is None:
                epoch_start = Snapshot(model)
            watcher = None
            if plan.stream is None:  # whose passes are of several calls
                watcher = progress.watcher(history, len(trained[0]), plan.batch_size)
            rate = rates.of(epoch, history)
            reason = _train_and_judge(model, *trained, judged, history, epoch, rate, watcher)
            epoch_start = None
            if judge is not None and judge.is_best(history, best_epoch):
                best_epoch = epoch
                if stopping is not None:
                    history.best_epoch = epoch
                if keeps_best:
                    best = epoch, model.parameters().astype(np.float64)
            # Every callback is called, whatever the ones before it answered.
            answers = [callback(history) for callback in plan.callbacks]
            if any(bool(answer) for answer in answers if validation.is_flag(answer)):
                reason = stop_reasons.CALLBACK
            checkpoint()
            progress.show(history, reason is not None or epoch + 1 == plan.epochs or is_over())
            if reason is not None:
                history.stop_reason = reason
                break
        if history.stop_reason == stop_reasons.EPOCHS and is_over():
            history.stop_reason = stop_reasons.EARLY_STOPPING
    except Exception:
        fold_back(model)
        history.stop_reason = stop_reasons.ERROR
        if epoch_start is not None:
            epoch_start.restore(model)
        raise
    except BaseException:  # Ctrl-C above all
        fold_back(model)
        history.stop_reason = stop_reasons.INTERRUPTED
        history.cut()
        restore_best()
        raise
    finally:
        progress.close()
    restore_best()
    return history


def _in_scales(
    model: Model, X: Examples, Y: Array, plan: Plan, before: Snapshot
) -> tuple[Examples, Array, Plan]:
    """The examples as they are trained on, and the plan with those that judge in the same scales.

    The scales are those that the fit asks for; a checkpoint brings its own.
    """
    if plan.standardise and not plan.resume:
        is_new = before.scales is None
        validation.not_trained_without_scales(is_new and before.optimizer is not None)
        take_scales(model, X, Y, plan.options, is_new)
    elif plan.standardise is False:
        model.set_scales(None)
    if model.scales is None:
        return X, Y, plan
    pair = plan.validation_data
    if pair is not None:
        assert isinstance(pair, tuple)  # as the plan has seen
        names = "validation_data[0]", "validation_data[1]"
        plan = plan._replace(validation_data=standardised(model, *pair, names))
    return *standardised(model, X, Y), plan


def _order(model: Model, plan: Plan, n: int, epoch: int) -> Array | PassOrder | None:
    """The order of an epoch's examples; None for that of the rows."""
    if isinstance(plan.optimizer, WholeBatch) or plan.shuffle is False:
        return None
    if plan.shuffle is True:
        return model.random_order(n) if plan.stream is None else plan.stream.random_order(model)
    if callable(plan.shuffle):
        return validation.permutation(f"the result of shuffle({epoch})", plan.shuffle(epoch), n)
    assert isinstance(plan.shuffle, np.ndarray)
    return plan.shuffle


def _train_once(
    model: Model,
    X: Examples,
    Y: Array,
    order: Array | PassOrder | None,
    batch_size: int,
    sample_weight: Array | None,
    options: StepOptions | None,
    epoch: int | None,
    watcher: Callable[[int], None] | None = None,
    stream: Stream | None = None,
) -> tuple[float, float, str | None]:
    """One pass with the network's optimiser; ``epoch``, from 1, is what a divergence names.

    A long pass tells the watcher now and then how many batches are done.

    Returns the sum of the (weighted) costs, that of the weights, and why a whole-batch optimiser
    goes no further.
    """
    engine = model.engine
    if isinstance(model.optimizer, WholeBatch):
        # Few fits need these, and every import of the package would pay for them.
        from cbackprop.nodes import NotFinite
        from cbackprop.training import second_order, whole_batch

        l2, frozen = (0.0, ()) if options is None else (options.l2, options.frozen)
        if model.whole_batch_state is None:
            model.whole_batch_state = second_order.start(model.optimizer, engine)
        examples: whole_batch.AllExamples
        if stream is None:
            examples = whole_batch.InMemory(engine, X, Y, sample_weight)
        else:
            assert stream.n is not None  # others are refused
            weight = None if sample_weight is None else float(sample_weight.sum(dtype=np.float64))
            missing = engine.missing_targets
            examples = whole_batch.InParts(
                engine,
                lambda kind: stream.joined(
                    model, kind, sample_weight, missing=missing, trains=True
                ),
                stream.n,
                model.sizes[-1],
                None,  # a fit has one stream, and a state of its own
                weight,
            )
        try:
            cost, reason = second_order.step(
                engine, examples, l2, model.optimizer, model.whole_batch_state, frozen
            )
        except NotFinite as error:
            failure = error.failure
        else:
            return cost * examples.total_weight, examples.total_weight, reason
    else:
        # A word is drawn only where it is used, so that other fits' orders stay what they were.
        key = int(model.random.words(1)[0]) if options is not None and options.is_random else 0
        if stream is not None:
            done = stream.train(model, batch_size, order, sample_weight, options, key)
            if done.failure is None:
                return sum(done.cost), total_weight(sample_weight, done.n), None
            _raise_divergence(epoch, done.failure, *done.examples)
        assert order is None or isinstance(order, np.ndarray)  # others are of streams
        failed, total = engine.train(X, Y, order, batch_size, sample_weight, options, key, watcher)
        if failed is None:
            return sum(total), total_weight(sample_weight, len(X)), None
        failure = failed
    _raise_divergence(epoch, failure, X, Y)


def _train_and_judge(
    model: Model,
    X: Examples,
    Y: Array,
    plan: Plan,
    judged: tuple[Examples, Array] | Stream,
    history: History,
    epoch: int,
    rate: float,
    watcher: Callable[[int], None] | None,
) -> str | None:
    """One epoch and its line in the history. Returns why the fit should end, or None.

    ``judged`` are the examples of the metrics, as they are; all others are in the model's scales.
    """
    n = len(X) if plan.stream is None else plan.stream.n or 0
    order = _order(model, plan, n, epoch)
    validation_cost = measured_on = penalised = None
    with ForStandardised(model, plan.options):
        start = time.perf_counter()
        try:
            # For this pass alone: whatever looks at the network between two of them, or copies it,
            # finds the optimiser's own rate.
            model.engine.learning_rate = rate
            total, weight, reason = _train_once(
                model,
                X,
                Y,
                order,
                plan.batch_size,
                plan.sample_weight,
                plan.options,
                epoch + 1,
                watcher,
                plan.stream,
            )
        finally:
            model.engine.learning_rate = plan.optimizer.learning_rate
        seconds = time.perf_counter() - start
        try:
            if isinstance(plan.validation_data, tuple):
                validation_cost = model.mean_cost(*plan.validation_data)
            elif plan.validation_data is not None:
                from cbackprop.streams import calls

                validation_cost = calls.mean_cost(model, plan.validation_data)
        except FloatingPointError as error:
            raise _seen_when_judged(epoch, error, X, Y) from None
        if plan.options is not None and plan.options.has_penalty:
            penalised = penalty(model, plan.options)
            if not math.isfinite(penalised):
                _raise_divergence(epoch + 1, ("penalty", 0), X, Y)
    try:
        require_finite(model)
        if not plan.metrics:
            pass
        elif isinstance(judged, tuple):
            measured_on = model.predict(judged[0]), judged[1]
        else:
            from cbackprop.streams import calls

            measured_on = calls.outputs_and_targets(model, judged)
    except FloatingPointError as error:
        raise _seen_when_judged(epoch, error, X, Y) from None
    values: dict[str, float] = {}
    if measured_on is not None:
        for name, metric in plan.metrics.items():
            values[name] = measured(name, metric, *measured_on)
    history.seconds += seconds
    history.cost.append(total / weight)
    history.learning_rate.append(rate)
    if validation_cost is not None:
        history.validation_cost.append(validation_cost)
    for name, value in values.items():
        history.metrics[name].append(value)
    if penalised is not None:
        history.penalty.append(penalised)
    history.epochs = epoch + 1
    return reason


def _seen_when_judged(epoch: int, error: Exception, X: Examples, Y: Array) -> FloatingPointError:
    return FloatingPointError(
        f"training diverged in epoch {epoch + 1}, seen when it was judged: {error}. {_cure(X, Y)}"
    )


def penalty(model: Model, options: StepOptions) -> float:
    """l1 Σ|w| + (l2/2) Σw² over the weights, in float64; infinite beyond its largest number."""
    l1, l2 = options.l1, options.l2
    total = 0.0
    with np.errstate(over="ignore", under="ignore"):
        for W in model.weights:
            w = W.astype(np.float64)
            # What is not asked for does not count, even where its sum would be infinite.
            total += l1 * float(np.abs(w).sum()) if l1 > 0 else 0.0
            total += l2 / 2 * float(np.square(w).sum()) if l2 > 0 else 0.0
    return total


def _raise_divergence(
    epoch: int | None, failure: quantities.Failure, X: Examples, Y: Array
) -> NoReturn:
    """Say where training diverged, and in which epoch of a fit, counted from 1.

    The whole of X is looked at only here: a NaN or an infinity in it cannot pass through z unseen.
    """
    validation.require_finite("X", X)
    where = quantities.in_step(*failure)
    cure = _cure(X, Y)
    if epoch is None:
        raise FloatingPointError(
            f"the step diverged: {where} overflowed; everything is as it was before the call. "
            f"{cure}"
        )
    raise FloatingPointError(
        f"training diverged in epoch {epoch}: {where} overflowed; the parameters are those at the "
        f"start of that epoch. {cure}"
    )


def _cure(X: Examples, Y: Array) -> str:
    """What to do about a divergence: numbers that are large want to be scaled."""
    largest = {
        "X": float(np.abs(numbers_of(X)).max(initial=0.0)),
        "Y": float(np.nanmax(np.abs(Y), initial=0.0)),
    }
    large = [
        f"{name} has numbers up to {value:.4g}" for name, value in largest.items() if value > LARGE
    ]
    if not large:
        return "A smaller learning_rate is the usual cure"
    return (
        f"{' and '.join(large)}: scaling to about 1 (fit(standardise=True), or subtract the mean "
        "and divide by the standard deviation) is the usual cure, a smaller learning_rate another"
    )
