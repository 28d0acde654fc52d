"""Whole-batch steps on sums made anywhere have the bits of steps on arrays."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import (
    LEVELS,
    Array,
    both_dtypes,
    every_backend,
    needs_compiled,
    output_at_level,
    output_of,
)
from whole_batches import both_optimizers, data

from cbackprop import Network, backend, layout, nodes
from cbackprop.optimizers import LevenbergMarquardt, WholeBatch
from cbackprop.sums import EXAMPLES_PER_GROUP, JoinedSum, Node
from cbackprop.training import second_order
from cbackprop.training.whole_batch import AllExamples, InMemory, InParts

SIZES = (3, 4, 2)
N = 5 * EXAMPLES_PER_GROUP - 50


def in_parts(net: Network, X: Array, Y: Array, weight: Array | None, leaves: list[int]) -> InParts:
    """From parts of so many leaves, whose nodes come in no order."""

    def joined(kind: nodes.Kind) -> Node:
        found: list[Node] = []
        first = 0
        for count in leaves:
            rows = slice(first * EXAMPLES_PER_GROUP, (first + count) * EXAMPLES_PER_GROUP)
            some = None if weight is None else weight[rows]
            found += nodes.of_leaves(kind, net._engine, X[rows], Y[rows], some, first)
            first += count
        random.Random(len(leaves)).shuffle(found)
        total = JoinedSum()
        for node in found:
            total.add(node)
        return total.total()

    total_weight = None if weight is None else float(weight.sum())
    return InParts(net._engine, joined, len(X), Y.shape[1], "the examples", total_weight)


def run(
    net: Network,
    examples: AllExamples,
    optimizer: WholeBatch,
    l2: float,
    frozen: tuple[int, ...],
) -> tuple[list[Any], bytes, dict[str, bytes], dict[str, float]]:
    state = second_order.start(optimizer, net._engine)
    made = [
        second_order.step(net._engine, examples, l2, optimizer, state, frozen) for _ in range(6)
    ]
    arrays = {name: array.tobytes() for name, array in state.arrays.items()}
    return made, net.parameters.tobytes(), arrays, state.numbers


@needs_compiled
@both_dtypes
@both_optimizers
@pytest.mark.parametrize(
    ("l2", "weighted", "missing", "frozen"),
    [
        (0.0, False, False, ()),
        (0.01, True, False, ()),
        (0.0, False, True, ()),
        (0.01, True, True, (1,)),
        (0.0, False, False, (2,)),
    ],
)
def test_parts_have_the_bits_of_arrays(
    l2: float,
    weighted: bool,
    missing: bool,
    frozen: tuple[int, ...],
    optimizer: WholeBatch,
    dtype: str,
) -> None:
    X, Y = data(N, SIZES, dtype)
    weight = 0.25 + np.arange(N) % 5 / 3 if weighted else None
    if missing:
        Y[::3, 0] = np.nan
    results = []
    for leaves in (None, [5], [1] * 5, [2, 3], [1, 4], [3, 1, 1]):
        net = Network(SIZES, "tanh", "mse", dtype=dtype, seed=3)
        net._engine.missing_targets = missing
        examples: AllExamples = InMemory(net._engine, X, Y, weight)
        if leaves is not None:
            examples = in_parts(net, X, Y, weight, leaves)
        results.append(run(net, examples, optimizer, l2, frozen))
    costs = [cost for cost, _ in results[0][0]]
    assert costs[-1] < costs[0]
    assert all(result == results[0] for result in results)


@both_optimizers
@every_backend
def test_parts_have_the_numbers_of_arrays(backend: str, optimizer: WholeBatch) -> None:
    """The reference's, too, up to rounding."""
    X, Y = data(N, SIZES)
    nets = [Network(SIZES, "tanh", "mse", backend=backend, seed=3) for _ in range(2)]
    run(nets[0], InMemory(nets[0]._engine, X, Y, None), optimizer, 0.0, ())
    run(nets[1], in_parts(nets[1], X, Y, None, [2, 3]), optimizer, 0.0, ())
    assert nets[0].parameters == pytest.approx(nets[1].parameters, rel=1e-6, abs=1e-9)


def test_few_residuals_in_parts_are_refused() -> None:
    X, Y = data(12, SIZES)
    net = Network(SIZES, "tanh", "mse", seed=3)
    assert net.n_parameters == 26
    before = net.parameters
    with pytest.raises(
        ValueError,
        match=r"^X has 12 rows, which make 24 residuals; expected at "
        "least as many as parameters, 26, because X comes in parts: fit arrays in",
    ):
        run(net, in_parts(net, X, Y, None, [1]), LevenbergMarquardt(), 0.0, ())
    assert net.parameters.tobytes() == before.tobytes()
    X, Y = data(13, SIZES)
    run(net, in_parts(net, X, Y, None, [1]), LevenbergMarquardt(), 0.0, ())


@both_optimizers
def test_parts_that_overflow_are_not_finite(optimizer: WholeBatch) -> None:
    large = np.finfo(np.float64).max
    net = Network((1, 1), "identity", "mse", init="zeros")
    net.weights[0][...] = 8
    for X, Y, failure in (
        ([[large], [large]], [[0.0], [0.0]], ("z", 1)),
        ([[1.0], [2.0]], [[large], [0.0]], ("delta", 1)),
    ):
        examples = in_parts(net, np.array(X), np.array(Y), None, [1])
        with pytest.raises(nodes.NotFinite) as caught:
            run(net, examples, optimizer, 0.0, ())
        assert caught.value.failure == failure
        assert net.weights[0] == 8


@needs_compiled
@both_optimizers
def test_a_step_in_parts_begins_where_the_last_one_ended(optimizer: WholeBatch) -> None:
    """By the identity of the examples: L-BFGS need not ask for a gradient again."""
    X, Y = data(N, SIZES)
    net = Network(SIZES, "tanh", "mse", seed=3)
    asked: list[Callable[..., Any]] = []

    def examples(identity: str) -> InParts:
        inner = in_parts(net, X, Y, None, [5])

        def joined(kind: nodes.Kind) -> Node:
            asked.append(kind)
            return inner.sums(kind)

        return InParts(net._engine, joined, N, 2, identity)

    state = second_order.start(optimizer, net._engine)
    counts = []
    for identity in ("one", "one", "other"):
        asked.clear()
        second_order.step(net._engine, examples(identity), 0.0, optimizer, state)
        counts.append(len(asked))
    if optimizer.name == "lbfgs":
        assert counts[1] < counts[0]
        assert counts[2] == counts[1] + 1
    else:
        assert asked == [nodes.normal_equations, nodes.squares]


# ---- the sum itself -----------------------------------------------------------------------------


def matrix_of(sums: Array, size: int) -> Array:
    """The whole symmetric matrix of its bands."""
    matrix = np.full((size, size), np.nan)
    for first, band in layout.bands(sums, size):
        assert (band[:, size - first :] == 0).all()
        matrix[first : first + len(band), first:] = band[:, : size - first]
    below = np.isnan(matrix)
    matrix[below] = matrix.T[below]
    return matrix


EXACT = """
import sys
from fractions import Fraction
import numpy as np
from cbackprop import info, layout
from cbackprop.backend import kernels

assert info()["simd_level"] == sys.argv[1]
core = kernels("float64")
random = np.random.default_rng(0)

def added(J, r, pieces=1, threads=1):
    sums = np.full(layout.band_numbers(J.shape[1] + 1), np.nan)
    for i, rows in enumerate(np.array_split(np.arange(len(J)), pieces)):
        core.add_normal_equations(sums, J[rows], r[rows], J.shape[1], i == 0, threads)
    return sums

# Whole numbers have no rounding.
COUNTS = ((1, 0), (3, 1), (300, 6), (513, 7), (40, 111), (40, 112), (700, 113), (257, 223))
for n, P in (*COUNTS, (257, 224), (257, 225), (300, 500)):
    J = random.integers(-9, 10, (n, P)).astype(float)
    r = random.integers(-9, 10, n).astype(float)
    rows = np.column_stack((J, r)).astype(np.int64)
    expected = rows.T @ rows
    for pieces, threads in ((1, 1), (3, 1), (1, 3)):
        sums, seen = added(J, r, pieces, threads), 0
        for first, band in layout.bands(sums, P + 1):
            assert (band[:, : P + 1 - first] == expected[first : first + len(band), first:]).all()
            assert not band[:, P + 1 - first :].any()
            seen += band.size
        assert seen == sums.size

# One chain of multiply-adds each, whatever is beside it and by whomever.
J, r = random.normal(size=(300, 3)), random.normal(size=300)
rows = np.column_stack((J, r))
band = next(layout.bands(added(J, r), 4))[1]
for i in range(4):
    for j in range(i, 4):
        chain = 0.0
        for x, y in zip(rows[:, i].tolist(), rows[:, j].tolist()):
            exact = Fraction(x) * Fraction(y)
            chain = float(Fraction(chain) + (exact if core.has_fma else Fraction(x * y)))
        assert band[i, j] == chain, (i, j)
J, r = random.normal(size=(600, 333)), random.normal(size=600)
whole = added(J, r)
for pieces, threads in ((5, 1), (1, 2), (2, 3)):
    assert added(J, r, pieces, threads).tobytes() == whole.tobytes()
print("ok" if core.has_fma else "ok without")
if core.has_fma:
    import hashlib
    print(hashlib.sha256(whole.tobytes()).hexdigest())
"""


def test_the_kernel_is_exact_at_every_level() -> None:
    prints = set()
    for level in LEVELS:
        lines = output_at_level(level, EXACT).split("\n")
        assert lines[0] in ("ok", "ok without")
        prints.update(lines[1:-1])
    if not prints:
        pytest.skip("no level with fused multiply-adds is here")
    assert len(prints) == 1


@pytest.mark.parametrize("P", [0, 3, 111, 112, 250])
def test_the_references_bands(P: int) -> None:
    generator = np.random.default_rng(P)
    J = generator.integers(-9, 10, (40, P)).astype(float)
    r = generator.integers(-9, 10, 40).astype(float)
    rows = np.column_stack((J, r))
    net = Network((2, 1), backend="reference")
    sums = np.full(layout.band_numbers(P + 1), np.nan)
    for part in (slice(0, 17), slice(17, 40)):
        backend.add_normal_equations(net._engine, sums, J[part], r[part], part.start == 0)
    assert (matrix_of(sums, P + 1) == rows.T @ rows).all()


@every_backend
@both_dtypes
@pytest.mark.parametrize("P_parameters", [26, 241])
def test_the_equations_are_those_of_the_rows(P_parameters: int, dtype: str, backend: str) -> None:
    """Weighted and with targets missing, of one leaf and of several."""
    sizes = (3, 4, 2) if P_parameters == 26 else (3, 40, 1, 20)
    net = Network(sizes, "tanh", dtype=dtype, backend=backend, seed=3)
    P = net.n_parameters
    for n in (1, 256, 600):
        X, Y = data(n, sizes, dtype)
        weight = 0.25 + np.arange(n) % 5
        J = net.jacobian(X).astype(float) * np.sqrt(weight)[:, None, None]
        r = (net.predict(X).astype(float) - Y) * np.sqrt(weight)[:, None]
        J[::3, 0], r[::3, 0], Y[::3, 0] = 0, 0, np.nan
        net._engine.missing_targets = True
        examples = InMemory(net._engine, X, Y, weight)
        matrix, gradient, squares = examples.normal_equations(np.empty((P, P)))
        net._engine.missing_targets = False
        rounding = 1e-13 if (dtype, backend) != ("float32", "reference") else 1e-5
        for ours, expected in (
            (matrix, np.einsum("ijp,ijq->pq", J, J)),
            (gradient, np.einsum("ijp,ij->p", J, r)),
            (squares, np.sum(r**2)),
        ):
            assert np.abs(ours - expected).max() <= rounding * n * max(1, np.abs(expected).max())
        assert (matrix == matrix.T).all()


@needs_compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squares_have_the_bits_that_the_equations_give(dtype: str) -> None:
    """Otherwise a step could gain what rounding has made."""
    net = Network((3, 10, 2), "tanh", dtype=dtype, seed=3)
    P = net.n_parameters
    X, Y = data(1000, (3, 10, 2), dtype)
    for weight in (None, 0.3 + np.arange(1000) % 7):
        examples = InMemory(net._engine, X, Y, weight)
        assert examples.normal_equations(np.empty((P, P))).squares == examples.squares()


BLAS = """
import hashlib
import numpy as np
from cbackprop import Network, nodes

net = Network((20, 30, 2), "tanh", "mse", seed=1)
random = np.random.default_rng(0)
X, Y = random.normal(size=(1500, 20)), random.normal(size=(1500, 2))
node = nodes.normal_equations(net._engine, X, Y, None)
print(hashlib.sha256(node.arrays[0].tobytes()).hexdigest())
"""


@needs_compiled
def test_the_sums_do_not_depend_on_blas() -> None:
    prints = {
        output_of(BLAS, OPENBLAS_NUM_THREADS=count, CBACKPROP_REQUIRE_EXT="1")
        for count in ("1", "2")
    }
    assert len(prints) == 1
