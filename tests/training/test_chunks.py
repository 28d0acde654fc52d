"""fit on chunks: the steps of the rows all at once, wherever the chunks end."""

from __future__ import annotations

import itertools
import re
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Array, Csr, bits, both_dtypes, data, every_backend

from cbackprop import LBFGS, Network

SIZES = (5, 7, 2)
N = 137
X, Y = data(N, SIZES)
ROW_BY_ROW = range(1, N)
EDGES: list[Any] = [(), (10, 20), (3, 4, 100), (0, 1, 2, 3, 50, 50, N), ROW_BY_ROW]


def source(edges: Any) -> Callable[[], Iterator[tuple[Array, Array]]]:
    """Chunks that end there, all in the same memory, which is spoilt after each."""

    def chunks() -> Iterator[tuple[Array, Array]]:
        memory = np.empty((N, SIZES[0])), np.empty((N, SIZES[-1]))
        for start, stop in itertools.pairwise((0, *edges, N)):
            pair = memory[0][: stop - start], memory[1][: stop - start]
            pair[0][...], pair[1][...] = X[start:stop], Y[start:stop]
            yield pair
            for array in memory:
                array[...] = np.nan

    return chunks


def network(**options: Any) -> Network:
    return Network(SIZES, seed=1, **options)


class Shaped:
    """Rows by slices, which are no pairs."""

    shape = X.shape

    def __iter__(self) -> Iterator[Array]:
        return iter(X)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return X


@every_backend
@both_dtypes
@pytest.mark.parametrize("edges", EDGES, ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam", "l2": 0.1},
        {"dropout": 0.3},
        {"clip_norm": 1.0, "noise_multiplier": 0.5, "dropout": 0.2},
        {"optimizer": "rprop"},
    ],
    ids=str,
)
def test_wherever_chunks_end(backend: str, dtype: str, edges: Any, options: Any) -> None:
    """The bits of the rows in their order, whatever is drawn for them; the costs but for rounding.

    Costs are summed by pieces, and joined in float64.
    """
    whole = network(backend=backend, dtype=dtype)
    by_chunks = whole.copy()
    expected = whole.fit(X, Y, epochs=3, batch_size=10, shuffle=False, **options)
    history = by_chunks.fit(source(edges), epochs=3, batch_size=10, **options)
    assert bits(by_chunks.parameters) == bits(whole.parameters)
    assert history.cost == pytest.approx(expected.cost, rel=1e-14)


def test_what_may_be_a_source() -> None:
    """Anything to go through again and again, or a function; pairs may be lists, rows lists."""
    whole = network()
    whole.fit(X, Y, epochs=2, shuffle=False)
    pairs = [(X[:50], Y[:50]), (X[50:].tolist(), Y[50:])]

    class Loader:
        def __iter__(self) -> Iterator[list[Any]]:
            return map(list, pairs)

        def __len__(self) -> int:
            return len(pairs)

    sources: list[Any] = [pairs, tuple(pairs), lambda: iter(pairs), Loader(), pairs.__iter__]
    for chunks in sources:
        net = network()
        net.fit(chunks, epochs=2)
        assert bits(net.parameters) == bits(whole.parameters)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        (iter([(X, Y)]), "X is <list_iterator"),
        ((pair for pair in [(X, Y)]), "X is <generator"),
        (X, "Y is None; expected an array of numbers, as X is one"),
        (X.tolist(), "in the place of both, not [["),
        ([], "in the place of both, not [] (list)"),
        ("XY", "in the place of both, not 'XY' (str)"),
        ({"X": X, "Y": Y}, "(dict)"),
        ((X, Y), "(tuple)"),
        ([X, Y], "(list)"),
        (3, "in the place of both, not 3 (int)"),
        (dict, "in the place of both, not <class 'dict'> (type)"),
        (lambda: [X], "in chunk 0: what came is array("),
        (lambda: [(X, Y), (X, Y, 1.0)], "in chunk 1: what came is (array("),
        ([(X, Y), (X, Y, 1.0)], "in chunk 1: what came is (array("),
        (Shaped(), "(Shaped)"),
        (lambda: [(X, Y), (X[:, :3], Y)], "in chunk 1: X has shape (137, 3); expected (n, 5)"),
        (lambda: [(X, Y), (X, Y[:9])], "in chunk 1: Y has 9 rows and X has 137"),
        (lambda: [(X, Y), (X, Y * np.nan)], "in chunk 1: Y has nan at [0, 0]"),
        (lambda: [(X, Y), (X * np.inf, Y)], "in chunk 1: X has "),
        (lambda: [(X, np.arange(N) % 2)], "one_hot"),
        (lambda: [], "X had no examples in any chunk"),
        (lambda: [(X[:0], Y[:0])], "X had no examples in any chunk"),
        (lambda: None, "the result of X() is None (NoneType); expected what gives pairs (X, Y)"),
    ],
)
def test_what_is_refused(chunks: Any, message: str) -> None:
    """With nothing changed: neither the parameters nor the optimiser nor the generator."""
    net = network()
    net.fit(X, Y, epochs=1, optimizer="adam")
    twin = net.copy()
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        net.fit(chunks, epochs=2, optimizer="adam")
    for each in (net, twin):
        each.partial_fit(X, Y)
        each.fit(X, Y, epochs=1, dropout=0.5)
    assert bits(net.parameters) == bits(twin.parameters)


@pytest.mark.parametrize(
    "option",
    [
        {"sample_weight": np.ones(N)},
        {"class_weight": "balanced"},
        {"validation_fraction": 0.1},
        {"stratify": True},
        {"shuffle": np.arange(N)},
        {"shuffle": lambda epoch: np.arange(N)},
        {"sparse": True},
        {"standardise": True},
        {"optimizer": "lbfgs"},
        {"optimizer": LBFGS()},
        {"metrics": ["mse"]},
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_that_look_at_all_examples(option: dict[str, Any]) -> None:
    net = network()
    with pytest.raises(ValueError, match=rf"{next(iter(option))} is .* where X comes in chunks;"):
        net.fit([(X, Y)], **option)


def test_a_network_with_scales() -> None:
    net = network()
    net.fit(X, Y, epochs=1, standardise=True)
    with pytest.raises(
        ValueError, match="standardise is None where X comes in chunks and the network keeps scales"
    ):
        net.fit([(X, Y)], epochs=1)
    net.fit([(X, Y)], epochs=1, standardise=False)
    assert net.scales is None


def test_a_source_that_fails() -> None:
    """In a later epoch the parameters are those at its start; its own exception comes through."""
    net = network()
    twin = net.copy()
    passes = itertools.count()

    def chunks() -> Iterator[tuple[Array, Array]]:
        yield X, Y
        if next(passes) == 1:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        net.fit(chunks, epochs=3)
    twin.fit(X, Y, epochs=1, shuffle=False)
    assert bits(net.parameters) == bits(twin.parameters)
    assert net.history is not None
    assert net.history.epochs == 1


def test_divergence_names_the_epoch() -> None:
    net = Network(SIZES, "identity", seed=1)
    before = net.parameters
    with pytest.raises(FloatingPointError, match="training diverged in epoch 1"):
        net.fit(source((40,)), learning_rate=1e300)
    assert bits(net.parameters) == bits(before)


def test_a_source_works_beside_the_fit() -> None:
    """In a thread of its own, to which the network says so; a copy is the source's."""
    net = network()
    twin = net.copy()
    threads = set()

    def chunks() -> Iterator[tuple[Array, Array]]:
        for start in (0, 64):
            threads.add(threading.current_thread())
            twin.predict(X[:1])
            yield X[start : start + 64], Y[start : start + 64]

    net.fit(chunks, epochs=1)
    assert threading.current_thread() not in threads

    for call in (lambda: net.predict(X), lambda: net.partial_fit(X, Y)):

        def looks(call: Callable[[], object] = call) -> Iterator[tuple[Array, Array]]:
            call()
            yield X, Y

        with pytest.raises(RuntimeError, match="use a copy"):
            net.fit(looks, epochs=1)


def test_parameters_among_the_examples() -> None:
    """What is trained on is not written to by the training."""
    net, twin = (Network([8, 8, 8], "tanh", seed=2) for _ in range(2))
    rows = net.weights[0].T  # contiguous: taken as it is
    twin.fit(rows.copy(), rows.copy(), epochs=1, batch_size=1, shuffle=False)
    net.fit([(rows, rows)], epochs=1, batch_size=1)
    assert bits(net.parameters) == bits(twin.parameters)


def test_targets_out_of_reach_are_told_once() -> None:
    net = network()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        net.fit([(X, Y), (X, Y + 3), (X, Y + 4)], epochs=3)
    (warning,) = told
    assert str(warning.message).startswith("in chunk 1: Y has ")
    assert "cannot be reached" in str(warning.message)


def test_missing_targets() -> None:
    """A chunk may have none at all, not all of them."""
    partly = np.where(np.arange(N)[:, np.newaxis] < 60, np.nan, Y)
    whole, net = network(), network()
    options: dict[str, Any] = {"epochs": 2, "batch_size": 10, "missing_targets": True}
    whole.fit(X, partly, shuffle=False, **options)
    net.fit([(X[:60], partly[:60]), (X[60:], partly[60:])], **options)
    assert bits(net.parameters) == bits(whole.parameters)
    with pytest.raises(ValueError, match="Y had nothing but nan"):
        net.fit([(X, Y * np.nan)], **options)
    assert bits(net.parameters) == bits(whole.parameters)


def test_sparse_rows() -> None:
    """Made dense, a chunk at a time."""
    zeros = np.where(X > 0.5, X, 0.0)
    whole, net = network(), network()
    whole.fit(zeros, Y, epochs=2, shuffle=False)
    net.fit([(Csr(zeros[:40]), Y[:40]), (Csr(zeros[40:]), Y[40:])], epochs=2)
    assert bits(net.parameters) == bits(whole.parameters)


def test_metrics_are_those_of_the_validation_data() -> None:
    whole, net = network(), network()
    options: dict[str, Any] = {
        "epochs": 3,
        "metrics": ["mse"],
        "validation_data": (X[:30], Y[:30]),
        "early_stopping": 2,
    }
    expected = whole.fit(X, Y, shuffle=False, **options)
    history = net.fit([(X, Y)], **options)
    assert history.metrics == expected.metrics
    assert history.validation_cost == expected.validation_cost


def test_memory_is_that_of_three_chunks() -> None:
    """One is made, and copied, while another is trained on."""
    n, n_chunks = 4_000, 6
    net = Network([100, 2], seed=0)
    n_bytes = n * 102 * 8

    def chunks() -> Iterator[tuple[Array, Array]]:
        for _ in range(n_chunks):
            yield np.ones((n + 1, 100)), np.full((n + 1, 2), 0.5)

    net.fit(chunks, epochs=1)  # what is kept for good
    tracemalloc.start()
    try:
        net.fit(chunks, epochs=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3.2 * n_bytes


def test_resume(tmp_path: Path) -> None:
    """To the bit, where the source gives the same rows again."""
    whole, stopped = network(), network()
    options: dict[str, Any] = {"optimizer": "adam", "dropout": 0.2, "validation_data": (X, Y)}
    expected = whole.fit(source((40,)), epochs=4, **options)
    path = tmp_path / "fit.safetensors"
    stopped.fit(source((40,)), epochs=2, checkpoint=path, **options)
    resumed = network()
    history = resumed.fit(source((40,)), epochs=4, checkpoint=path, resume=True, **options)
    assert bits(resumed.parameters) == bits(whole.parameters)
    assert history.cost == expected.cost
    with pytest.raises(ValueError, match="examples"):
        resumed.fit(X, Y, epochs=5, checkpoint=path, resume=True, **options)
