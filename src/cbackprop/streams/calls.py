"""A network's calls on examples that are read a piece at a time: the bits of those on arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np

from cbackprop import nodes, validation
from cbackprop.functions import Array
from cbackprop.gradients import Gradient, variance_of
from cbackprop.model import Model, total_weight
from cbackprop.reference.engine import Engine
from cbackprop.sparse_rows import Examples
from cbackprop.streams.stream import Pair, Stream
from cbackprop.sums import EXAMPLES_PER_GROUP, Join, Node, added

Piece = TypeVar("Piece", Array, Pair)


def predict(model: Model, stream: Stream, out: Array | None) -> Array:
    """a⁽ᴸ⁾ (n, n_L)."""
    shape = model.sizes[-1:]
    return _filled(model, stream, "outputs", shape, out, stream.examples(model), model.predict)


def costs(model: Model, stream: Stream) -> Array:
    """C_i (n,)."""
    return _by_example(model, stream, "costs", (), lambda X, Y: model.costs(X, Y)[0])


def mean_cost(model: Model, stream: Stream, weight: Array | None = None) -> float:
    """Σ w_i C_i / Σ w_i."""
    node = _joined(model, stream, nodes.cost, weight)
    return sum(node.cost) / total_weight(weight, node.n)


def gradient(
    model: Model, stream: Stream, weight: Array | None = None, out: Array | None = None
) -> Gradient:
    """Σ w_i ∇C_i / Σ w_i."""
    vector = model.output_array(out, "the gradient", (model.n_parameters,), **stream.memory())
    node = _joined(model, stream, nodes.gradient, weight)
    try:
        cost = nodes.mean_gradient(node, total_weight(weight, node.n), vector, len(model.weights))
    except nodes.NotFinite as error:
        model.require(error.failure, model.no_examples()[0])
        raise
    return Gradient(vector, cost, model.sizes)


def per_example_gradient(model: Model, stream: Stream, out: Array | None) -> Gradient:
    """Every ∇C_i, (n, P)."""
    of_pieces: list[Array] = []

    def gradients(X: Array, Y: Array) -> Array:
        found = model.per_example_gradient(X, Y, False)
        assert isinstance(found.cost, np.ndarray)
        of_pieces.append(found.cost)
        return found.vector

    vectors = _by_example(model, stream, "gradients", (model.n_parameters,), gradients, out)
    return Gradient(vectors, np.concatenate(of_pieces), model.sizes)


def gradient_norms(model: Model, stream: Stream) -> Array:
    """‖∇C_i‖ (n,)."""
    return _by_example(model, stream, "norms", (), model.gradient_norms)


def gradient_moments(model: Model, stream: Stream) -> tuple[Gradient, Gradient]:
    """Mean and variance over the examples."""
    of_pieces: list[Array] = []

    def moments(engine: Engine, X: Examples, Y: Array, weight: Array | None) -> Node:
        sums, costs = np.empty(engine.moment_numbers, model.dtype), np.empty(len(X), model.dtype)
        failure, total = engine.moment_sums(X, Y, costs, sums)
        if failure is not None:
            raise nodes.NotFinite(failure)
        of_pieces.append(costs)
        return Node(0, 0, len(X), (sums,), total)

    def join(node: Node, other: Node) -> None:
        model.engine.join_moments(node.arrays[0], other.arrays[0], node.n, other.n)

    node = _joined(model, stream, moments, None, join)
    mean, variance = (np.empty(model.n_parameters, model.dtype) for _ in range(2))
    failure = model.engine.moments_of(node.arrays[0], node.n, mean, variance)
    cost, of_costs = sum(node.cost) / node.n, variance_of(np.concatenate(of_pieces))
    if failure is None and not np.isfinite(cost):
        failure = "delta", len(model.weights)
    if failure is None and not np.isfinite(of_costs):
        failure = "cost_variance", 0
    model.require(failure, model.no_examples()[0])
    return Gradient(mean, cost, model.sizes), Gradient(variance, of_costs, model.sizes)


def outputs_and_targets(model: Model, stream: Stream) -> Pair:
    """a⁽ᴸ⁾ and Y, both (n, n_L)."""
    targets: list[Array] = []

    def outputs(X: Array, Y: Array) -> Array:
        targets.append(Y.copy())
        return model.predict(X)

    return _by_example(model, stream, "outputs", model.sizes[-1:], outputs), np.concatenate(targets)


def _joined(
    model: Model, stream: Stream, kind: nodes.Kind, weight: Array | None, join: Join = added
) -> Node:
    """The sum over all examples, which have been looked at: what is not finite has overflowed."""
    try:
        return stream.joined(model, kind, weight, join)
    except nodes.NotFinite as error:
        model.require(error.failure, model.no_examples()[0])
        raise


def _by_example(
    model: Model,
    stream: Stream,
    what: str,
    shape: tuple[int, ...],
    call: Callable[[Array, Array], Array],
    out: Array | None = None,
) -> Array:
    """What a call gives for each example."""
    pairs = stream.pieces(model, EXAMPLES_PER_GROUP)
    return _filled(model, stream, what, shape, out, pairs, lambda pair: call(*pair))


def _filled(
    model: Model,
    stream: Stream,
    what: str,
    shape: tuple[int, ...],
    out: Array | None,
    pieces: Iterable[Piece],
    call: Callable[[Piece], Array],
) -> Array:
    """What a call gives for each example, an array of that shape, one after the other.

    Into ``out`` piece by piece: after an error it has those of the pieces before.
    """
    with model.engine.reading():
        n, results = stream.n, _results(pieces, call)
        if n is None and out is None:
            parts = list(results)
            return np.concatenate(parts) if parts else np.empty((0, *shape), model.dtype)
        n_rows = len(out) if n is None and validation.is_array(out) and out.ndim > 0 else n or 0
        target = model.output_array(out, f"the {what}", (n_rows, *shape), **stream.memory())
        done = 0
        for part in results:
            validation.room_for_rows("out", n_rows, done + len(part))
            target[done : done + len(part)] = part
            done += len(part)
        validation.rows_filled("out", n_rows, done)
        return target


def _results(pieces: Iterable[Piece], call: Callable[[Piece], Array]) -> Iterator[Array]:
    """Of one piece after the other, which need not be there while the next one comes."""
    for piece in pieces:
        result = call(piece)
        del piece
        yield result
