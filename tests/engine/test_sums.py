"""Sums whose parts are made by themselves: the bits of a call on all examples."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from support import Array, bits, both_dtypes, data, every_backend, needs_compiled, with_every_kind

from cbackprop import Network, nodes, sums
from cbackprop.optimizers import Optimizer
from cbackprop.sums import JoinedSum, Node
from cbackprop.update_rules import StepOptions

SIZES = (3, 5, 2)


@pytest.mark.parametrize("first", range(18))
def test_places_are_the_fewest_nodes_in_order(first: int) -> None:
    for stop in range(first, 20):
        nodes_there = list(sums.places(first, stop))
        leaves = [
            leaf
            for place, level in nodes_there
            for leaf in range(place << level, place + 1 << level)
        ]
        assert leaves == list(range(first, stop))
        # Of two neighbours nobody makes one node.
        for (place, level), (after, its_level) in itertools.pairwise(nodes_there):
            assert level != its_level or place % 2 == 1 or after != place + 1


def test_places_begin_where_the_tree_allows() -> None:
    assert list(sums.places(0, 11)) == [(0, 3), (4, 1), (10, 0)]
    assert list(sums.places(3, 11)) == [(3, 0), (1, 2), (4, 1), (10, 0)]
    assert list(sums.places(6, 6)) == []


def written(node: Node) -> str:
    text: str = node.arrays[0][0]
    return text


def in_words(n: int, order: list[int], kept: int = 0) -> str:
    """The sum of leaves 0 … n − 1 as text: what was added to what."""

    def join(node: Node, other: Node) -> None:
        pair = sorted(
            (written(node), written(other)),
            key=lambda text: int(text.strip("(").split("+")[0].strip(")")),
        )
        node.arrays[0][0] = f"({pair[0]}+{pair[1]})"

    joined = JoinedSum(join)
    for leaf in order:
        joined.add(Node(leaf, 0, 1, (np.array([str(leaf)], object),)))
    total = joined.total()
    assert total.n == n
    return written(total)


def test_joins_are_the_same_in_any_order() -> None:
    assert in_words(1, [0]) == "0"
    assert in_words(3, [0, 1, 2]) == "((0+1)+2)"
    # Four and two and one: from the shortest to the longest.
    assert in_words(7, list(range(7))) == "(((0+1)+(2+3))+((4+5)+6))"
    for n in range(1, 12):
        expected = in_words(n, list(range(n)))
        for seed in range(5):
            order = list(range(n))
            random.Random(seed).shuffle(order)
            assert in_words(n, order) == expected


def test_joined_costs_lose_nothing() -> None:
    terms = [1e16, 1.0, -1e16, 1e-3, 3.0, 1e16, 7.0, -1e16]
    for seed in range(20):
        random.Random(seed).shuffle(terms)
        total = sums.NO_COST
        for term in terms:
            total = sums.joined_costs(total, (term, 0.0))
        assert sum(total) == pytest.approx(float(sum(map(Fraction, terms))), rel=1e-15)
    assert sums.joined_costs((1.0, 0.25), (2.0, 0.5)) == (3.0, 0.75)


def parts(
    kind: nodes.Kind, net: Network, X: Array, Y: Array, weight: Array | None, leaves: int
) -> list[Node]:
    """Nodes of the examples, so many leaves in each part, in no order."""
    found: list[Node] = []
    step = leaves * sums.EXAMPLES_PER_GROUP
    for start in range(0, len(X), step):
        rows = slice(start, start + step)
        some = None if weight is None else weight[rows]
        found += nodes.of_leaves(
            kind, net._engine, X[rows], Y[rows], some, start // sums.EXAMPLES_PER_GROUP
        )
    random.Random(leaves).shuffle(found)
    return found


def total_of(found: list[Node], join: sums.Join = sums.added) -> Node:
    joined = JoinedSum(join)
    for node in found:
        joined.add(node)
    return joined.total()


@needs_compiled
@both_dtypes
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 256, 257, 1000, 1792])
def test_gradient_and_cost_of_parts(n: int, weighted: bool, dtype: str) -> None:
    X, Y = data(n, SIZES, dtype)
    weight = 0.3 + np.arange(n) % 7 if weighted else None
    net = Network(SIZES, "tanh", dtype=dtype, seed=2)
    divisor = float(n) if weight is None else float(weight.sum())
    whole = np.empty(net.n_parameters, dtype)
    _, pair = net._engine.gradient(X, Y, weight, divisor, whole)
    for leaves in (1, 2, 3, 5):
        total = total_of(parts(nodes.gradient, net, X, Y, weight, leaves))
        assert total.n == n
        assert bits(total.arrays[0] / whole.dtype.type(divisor)) == bits(whole)
        assert total.cost == pair
    if weight is None:
        assert bits(net.gradient(X, Y).vector) == bits(whole)
        assert net.cost(X, Y) == sum(pair) / n


@needs_compiled
@both_dtypes
@pytest.mark.parametrize("n", [1, 257, 1000])
def test_moments_of_parts(n: int, dtype: str) -> None:
    X, Y = data(n, SIZES, dtype)
    X[:, 0] = X[0, 0]  # common to all
    net = Network(SIZES, "tanh", dtype=dtype, seed=2)
    engine: Any = net._engine
    mean, variance = net.gradient_moments(X, Y)

    def kind(_: Any, X: Array, Y: Array, weight: Array | None) -> Node:
        made = np.empty(engine.moment_numbers, dtype)
        failure, cost = engine.moment_sums(X, Y, np.empty(len(X), dtype), made)
        assert failure is None
        return Node(0, 0, len(X), (made,), cost)

    def join(node: Node, other: Node) -> None:
        engine.join_moments(node.arrays[0], other.arrays[0], node.n, other.n)

    for leaves in (1, 2, 3):
        total = total_of(parts(kind, net, X, Y, None, leaves), join)
        ours = np.empty((2, net.n_parameters), dtype)
        assert engine.moments_of(total.arrays[0], n, *ours) is None
        assert bits(ours[0]) == bits(mean.vector)
        assert bits(ours[1]) == bits(variance.vector)
        assert sum(total.cost) / n == mean.cost


OPTIONS = [
    StepOptions(),
    StepOptions(l1=0.01, l2=0.02),
    StepOptions(max_norm=0.5),
    StepOptions(clip_gradient_norm=0.05),
    StepOptions(frozen=(1,)),
    StepOptions(l1=0.01, max_norm=0.7, clip_gradient_norm=0.02, frozen=(2,)),
]


@both_dtypes
@every_backend
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.text or "nothing")
@pytest.mark.parametrize("optimizer", with_every_kind(whole_batch=False), ids=repr)
def test_a_step_along_a_sum_is_one_on_all_examples(
    optimizer: Optimizer, options: StepOptions, backend: str, dtype: str
) -> None:
    n = 600
    X, Y = data(n, SIZES, dtype)
    net, twin = (Network(SIZES, "tanh", dtype=dtype, backend=backend, seed=2) for _ in range(2))
    asked = {
        name: value
        for name, value in options._asdict().items()
        if value != StepOptions._field_defaults[name]
    }
    history = twin.fit(X, Y, epochs=4, batch_size=n, optimizer=optimizer, shuffle=False, **asked)
    net._model.set_optimizer(optimizer)
    for cost in history.cost:
        gradient = np.empty(net.n_parameters, dtype)
        _, pair = net._engine.gradient(X, Y, None, 1.0, gradient)
        assert net._engine.step_along(gradient, pair, float(n), options) is None
        if backend == "compiled":
            assert sum(pair) / n == cost
    if backend == "compiled":
        assert net.parameters.tobytes() == twin.parameters.tobytes()
        assert [bits(slot) for slot in net._engine.slots] == [
            bits(slot) for slot in twin._engine.slots
        ]
    else:
        close = 1e-5 if dtype == "float32" else 1e-12
        assert net.parameters == pytest.approx(twin.parameters, rel=close, abs=close)
    assert net._engine.step_count == twin._engine.step_count
    assert net._engine.previous_cost == pytest.approx(twin._engine.previous_cost, rel=1e-6)
