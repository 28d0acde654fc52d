"""fit on examples that are read a piece at a time: the steps of those in memory."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from row_sources import SOURCES, Slices, of_chunks
from support import Array, bits, both_dtypes, every_backend, needs_compiled, posix_only, state

from cbackprop import LBFGS, Adam, EarlyStopping, Network
from cbackprop.streams import sources as reading
from cbackprop.streams.rows import row_stream

SIZES = (7, 9, 3)
N = 1_500
BY_NUMBERS = ["memmaps", "X a memmap", "Y a memmap", "Fortran", "big-endian", "shards"]
FITS: dict[str, dict[str, Any]] = {
    "batches": {},
    "batches over the ends of pieces": {"batch_size": 100},
    "batches of more than a piece": {"batch_size": 700, "optimizer": Adam(0.01)},
    "one batch": {"batch_size": N, "optimizer": "rprop"},
    "dropout": {"batch_size": 10, "dropout": 0.3},
    "noise": {"batch_size": 50, "clip_norm": 0.5, "noise_multiplier": 0.4},
    "penalties": {"l1": 1e-4, "l2": 1e-3, "max_norm": 1.0, "frozen": (1,)},
}


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 rows at a time in float32, 256 in float64."""
    monkeypatch.setattr(reading, "PIECE_BYTES", 512 * 10 * 4)
    monkeypatch.setattr(reading, "SHUFFLED_BYTES", 512 * 10 * 4)


def examples() -> tuple[Array, Array]:
    random = np.random.default_rng(1)
    X = random.normal(size=(N, SIZES[0])).astype(np.float32)
    return X, np.tanh(X[:, : SIZES[-1]])


def network(dtype: str = "float64", backend: str = "compiled") -> Network:
    return Network(SIZES, "tanh", dtype=dtype, backend=backend, seed=3)  # type: ignore[arg-type]


def both_fits(net: Network, given: Any, **options: Any) -> None:
    """The same parameters, optimiser, generator and history as from arrays in memory."""
    twin = net.copy()
    one, other = net.fit(*examples(), **options), twin.fit(*given, **options)
    assert bits(net.parameters) == bits(twin.parameters)
    assert state(net) == state(twin)
    assert one.cost == other.cost


@every_backend
@both_dtypes
@pytest.mark.parametrize("fit", FITS)
def test_any_order_by_numbers(fit: str, dtype: str, backend: str, tmp_path: Path) -> None:
    for name in BY_NUMBERS:
        given = SOURCES[name](*examples(), tmp_path)
        both_fits(network(dtype, backend), given, epochs=2, **FITS[fit])


@every_backend
@both_dtypes
@pytest.mark.parametrize("fit", FITS)
def test_in_their_order(fit: str, dtype: str, backend: str, tmp_path: Path) -> None:
    for name in ("memmaps", "slices", "slices and lists", "chunks"):
        given = SOURCES[name](*examples(), tmp_path)
        both_fits(network(dtype, backend), given, epochs=2, shuffle=False, **FITS[fit])


@needs_compiled
@both_dtypes
@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt"])
def test_whole_batch_methods(optimizer: str, dtype: str, tmp_path: Path) -> None:
    weight = np.random.default_rng(2).random(N)
    for name in (*BY_NUMBERS, "slices"):
        given = SOURCES[name](*examples(), tmp_path)
        for options in ({}, {"l2": 1e-3, "frozen": (1,)}, {"sample_weight": weight}):
            both_fits(network(dtype), given, epochs=4, optimizer=optimizer, **options)


@needs_compiled
def test_a_later_source_is_another_one(tmp_path: Path) -> None:
    """L-BFGS keeps the last point, and does not take it for one of other examples."""
    X, Y = examples()
    net, twin = network(), network()
    for i in range(3):
        net.fit(Slices(X[i:]), Slices(Y[i:]), epochs=2, optimizer="lbfgs")
        twin.fit(X[i:], Y[i:], epochs=2, optimizer="lbfgs")
        assert bits(net.parameters) == bits(twin.parameters)


def test_targets_out_of_reach_are_told_once_by_whole_batch_methods() -> None:
    X, Y = examples()
    for given in ((X, Y * 5), (Slices(X), Y * 5), (Slices(X), Slices(Y * 5))):
        with pytest.warns(UserWarning, match="cannot be reached") as told:
            network().fit(*given, epochs=3, optimizer="lbfgs")
        assert len(told) == 1
    changed = Y.copy()
    changed[300] = 9
    with pytest.warns(UserWarning, match=r"^in rows 256 to 511: Y has "):
        network().fit(Slices(X), Slices(changed), epochs=1, shuffle=False)


def test_fewer_residuals_than_parameters(tmp_path: Path) -> None:
    X, Y = examples()
    net = Network([7, 600, 3], "tanh", seed=0)
    before = state(net)
    with pytest.raises(ValueError, match=r"^X has 1500 rows, which make 4500 residuals; expected"):
        net.fit(Slices(X), Y, epochs=1, optimizer="levenberg_marquardt")
    assert state(net) == before


def test_orders_and_weights(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(N)
    weight = np.random.default_rng(2).random(N)
    for name in BY_NUMBERS:
        given = SOURCES[name](*examples(), tmp_path)
        for options in ({"shuffle": order}, {"shuffle": lambda epoch: np.roll(order, epoch)}, {}):
            both_fits(network(), given, epochs=2, sample_weight=weight, **options)


@pytest.mark.parametrize("source", ["memmaps", "slices", "chunks"])
def test_validation_data(source: str, tmp_path: Path) -> None:
    X, Y = examples()
    pair = SOURCES[source](X, Y, tmp_path)
    judged = pair[0] if source == "chunks" else pair
    options: dict[str, Any] = {
        "epochs": 3, "metrics": ["r2", "mse"], "early_stopping": EarlyStopping(2)
    }  # fmt: skip
    net, twin = network(), network()
    one = net.fit(X, Y, validation_data=(X, Y), **options)
    other = twin.fit(X, Y, validation_data=judged, **options)
    assert one.validation_cost == other.validation_cost
    assert one.metrics == other.metrics
    assert bits(net.parameters) == bits(twin.parameters)


def test_missing_targets_of_validation_data_in_chunks() -> None:
    X, Y = examples()
    gaps = Y.copy()
    gaps[::3, 1] = np.nan
    options: dict[str, Any] = {"epochs": 2, "missing_targets": True}
    net, twin = network(), network()
    one = net.fit(X, gaps, validation_data=(X, gaps), **options)
    other = twin.fit(X, gaps, validation_data=of_chunks(X, gaps, 333), **options)  # type: ignore[arg-type]
    assert one.validation_cost == other.validation_cost


@pytest.mark.parametrize("classes", [(0, 1), (-1, 1)])
def test_accuracy_by_the_classes_of_the_targets_that_are_read(
    classes: tuple[int, int], tmp_path: Path
) -> None:
    X, Y = examples()
    labels = np.where(Y > 0, classes[1], classes[0]).astype(np.float32)
    given = SOURCES["memmaps"](X, labels, tmp_path)
    net, twin = network(), network()
    one = net.fit(X, labels, epochs=2, validation_data=(X, labels), metrics=["accuracy"])
    other = twin.fit(*given, epochs=2, validation_data=given, metrics=["accuracy"])
    assert one.metrics == other.metrics
    assert net.score(X, labels) == twin.score(*given)


def test_slices_are_shuffled_by_pieces_and_within_them() -> None:
    """Every row once an epoch, each epoch in another order; the same for the same seed."""
    X, Y = examples()
    Y[:, 0] = np.arange(N) / N
    source = Slices(X)
    net = network()
    net.fit(source, Slices(Y), epochs=2)
    starts = [rows.start for rows in source.asked[1:]]  # after the row that is looked at first
    per_epoch = len(starts) // 2
    orders = [starts[:per_epoch], starts[per_epoch:]]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted({*starts})
    assert orders[0] != orders[1]
    twin = network()
    twin.fit(Slices(X), Slices(Y), epochs=2)
    assert bits(net.parameters) == bits(twin.parameters)
    other = network()
    other.fit(X, Y, epochs=2, shuffle=False)
    assert bits(other.parameters) != bits(net.parameters)


def test_an_order_of_slices() -> None:
    """Pieces in an order, the rows of each in one of their own, and others the next time."""
    X, Y = examples()
    stream = row_stream(network()._model, Slices(X), Slices(Y))
    assert stream is not None
    rows = stream.rows_shuffled
    orders = []
    model = network()._model
    for _ in range(2):
        numbers = stream.row_numbers(model, stream.random_order(model))
        assert sorted(numbers) == list(range(N))
        pieces = [numbers[i : i + rows] for i in range(0, N, rows)]
        within = [bits(piece - piece.min()) for piece in pieces if len(piece) == rows]
        assert len({*within}) == len(within) > 2
        orders.append(numbers)
    assert bits(orders[0]) != bits(orders[1])


def test_weights_go_with_their_rows() -> None:
    """Of rows without weight nothing is felt, in whatever order they come."""
    X, Y = examples()
    weight = np.ones(N)
    weight[1_000:] = 0
    changed = Y.copy()
    changed[1_000:] = 0.5
    net, twin = network(), network()
    one = net.fit(Slices(X), Slices(Y), epochs=3, sample_weight=weight)
    other = twin.fit(Slices(X), Slices(changed), epochs=3, sample_weight=weight)
    assert bits(net.parameters) == bits(twin.parameters)
    assert one.cost == other.cost


def test_a_source_is_read_by_one_thread_at_a_time() -> None:
    """Also where a pass is left early, as one is whose numbers overflow in a line search."""
    X, Y = examples()

    class Alone(Slices):
        def __getitem__(self, rows: slice) -> Array:
            assert busy.acquire(blocking=False), "two threads read"
            try:
                time.sleep(0.002)
                return super().__getitem__(rows)
            finally:
                busy.release()

    busy = threading.Lock()
    net = Network(SIZES, ["tanh", "exponential"], "mse", seed=0)
    source = Alone(X), Slices(np.abs(Y) + 0.1)
    net.fit(*source, epochs=3, optimizer=LBFGS(learning_rate=1000))
    with pytest.raises(FloatingPointError):
        net.fit(*source, epochs=1, learning_rate=1e200)
    net.gradient(*source)


def test_a_source_may_use_its_memory_again() -> None:
    X, Y = examples()

    class Shared(Slices):
        memory = np.empty((N, 7))

        def __getitem__(self, rows: slice) -> Array:
            found = self.memory[: rows.stop - rows.start]
            found[...] = super().__getitem__(rows)
            return found

    both_fits(network(), (Shared(X), Y), epochs=2, shuffle=False)


def test_targets_in_memory_are_looked_at_beside_a_source() -> None:
    X, Y = examples()
    nothing = np.full_like(Y, np.nan)
    net = network()
    before = state(net)
    with pytest.raises(ValueError, match=r"^Y had nothing but nan"):
        net.fit(Slices(X), nothing, missing_targets=True)
    with pytest.raises(ValueError, match=r"^validation_data\[1\] had nothing but nan"):
        net.fit(X, Y, missing_targets=True, validation_data=(Slices(X), nothing))
    assert state(net) == before
    with pytest.warns(UserWarning, match="cannot be reached"):
        net.fit(Slices(X), Y * 5, epochs=1)


def test_accuracy_knows_the_classes_of_the_training() -> None:
    """Ones alone may be of 0 and 1, or of -1 and 1: the examples trained on tell."""
    X, Y = examples()
    labels = (Y > 0).astype(np.float32)
    ones = np.ones_like(labels)
    net, twin = network(), network()
    options: dict[str, Any] = {"epochs": 1, "metrics": ["accuracy"], "shuffle": False}
    one = net.fit(X, labels, validation_data=(X, ones), **options)
    other = twin.fit(Slices(X), labels, validation_data=(Slices(X), ones), **options)
    assert one.metrics == other.metrics


def test_each_row_is_trained_on_once() -> None:
    """By a step along X itself: Σ of all steps is that of all rows, whatever the order."""
    net = Network([1, 1], "identity", cost="quadratic", seed=0)
    net.weights[0][...] = 0
    rows = 5_200  # more than a piece holds of two numbers
    X = np.tile(np.arange(1.0, N + 1), 4)[:rows, np.newaxis]
    Y = np.ones((rows, 1))
    options: dict[str, Any] = {"epochs": 1, "batch_size": 1, "learning_rate": 1e-30}
    net.biases[0][...] = 0
    net.fit(Slices(X), Slices(Y), **options)
    # dC/dw = 2 (0 − 1) x at every step, to far more digits than the steps change it by
    expected = 1e-30 * 2 * X.sum()
    assert net.weights[0][0, 0] == pytest.approx(expected, rel=1e-9)


def test_what_needs_all_examples_reads_them(tmp_path: Path) -> None:
    X, Y = examples()
    given = SOURCES["memmaps"](X, Y, tmp_path)
    for options in (
        {"validation_fraction": 0.2},
        {"standardise": True},
        {"metrics": ["mse"]},
        {"sparse": True},
    ):
        both_fits(network(), given, epochs=2, **options)
    net = network()
    net.fit(X, Y, epochs=1, standardise=True)
    both_fits(net, given, epochs=1, validation_data=given)


@pytest.mark.parametrize("source", ["memmaps", "slices"])
def test_resume_equals_uninterrupted(source: str, tmp_path: Path) -> None:
    """From memory, too: the fingerprint is that of the numbers."""
    X, Y = examples()
    given = SOURCES[source](X, Y, tmp_path)
    path = tmp_path / "fit.safetensors"
    whole, first, second = network(), network(), network()
    whole.fit(*given, epochs=4, checkpoint=tmp_path / "whole.safetensors")
    first.fit(*given, epochs=2, checkpoint=path)
    second.fit(*given, epochs=4, checkpoint=path, resume=True)
    assert bits(whole.parameters) == bits(second.parameters)
    if source == "memmaps":
        third = network()
        network().fit(*given, epochs=2, checkpoint=path)
        third.fit(X, Y, epochs=4, checkpoint=path, resume=True)
        assert bits(third.parameters) == bits(whole.parameters)
        changed = X.copy()
        changed[1_400, 3] += 1
        other = SOURCES[source](changed, Y, tmp_path)
        with pytest.raises(ValueError, match=r"^resume: X, Y, .* is not that of the checkpoint"):
            network().fit(*other, epochs=5, checkpoint=path, resume=True)


def test_resume_knows_another_way_to_shuffle(tmp_path: Path) -> None:
    X, Y = examples()
    path = tmp_path / "fit.safetensors"
    network().fit(*SOURCES["memmaps"](X, Y, tmp_path), epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match=r"shuffle"):
        network().fit(Slices(X), Slices(Y), epochs=2, checkpoint=path, resume=True)
    network().fit(X, Y, epochs=1, shuffle=False, checkpoint=path)
    network().fit(Slices(X), Slices(Y), epochs=2, shuffle=False, checkpoint=path, resume=True)


def test_an_error_leaves_all_as_it_was(tmp_path: Path) -> None:
    X, Y = examples()
    X[1_400, 2] = np.nan
    for name in ("memmaps", "slices", "shards"):
        given = SOURCES[name](X, Y, tmp_path)
        net = network()
        before = state(net)
        with pytest.raises(ValueError, match=r"^X\[1400:1401\] has nan at \[0, 2\]"):
            net.fit(*given, epochs=2)
        assert state(net) == before
        with pytest.raises(ValueError, match=r"^validation_data\[0\]\[1400:1401\] has nan"):
            net.fit(X[:50], Y[:50], epochs=2, validation_data=given)
        assert state(net) == before


def test_divergence_names_the_epoch(tmp_path: Path) -> None:
    X, Y = examples()
    given = SOURCES["memmaps"](X, Y, tmp_path)
    net = Network(SIZES, "identity", seed=0)
    before = state(net)
    with pytest.raises(FloatingPointError, match=r"^training diverged in epoch 1: "):
        net.fit(*given, epochs=2, learning_rate=1e200)
    assert state(net) == before


def test_what_slices_cannot_do() -> None:
    X, Y = examples()
    net = network()
    with pytest.raises(ValueError, match=r"^shuffle is .* read by slices; expected True or False"):
        net.fit(Slices(X), Y, shuffle=np.arange(N))
    with pytest.raises(ValueError, match=r"^sample_weight has shape \(3,\); expected \(1500,\)"):
        net.fit(Slices(X), Y, sample_weight=[1, 2, 3])
    net.fit(X, Y, epochs=1, standardise=True)
    with pytest.raises(TypeError, match=r"^validation_data is .*; expected a pair"):
        net.fit(X, Y, epochs=1, validation_data=of_chunks(X, Y, 200))  # type: ignore[arg-type]


@posix_only
def test_ctrl_c_is_heard_while_a_source_is_waited_for() -> None:
    """The thread that reads is not waited for; the parameters are those of the last full batch."""
    X, Y = examples()

    class Slow(Slices):
        def __getitem__(self, rows: slice) -> Array:
            if rows.start >= 512:
                asked.set()
                is_over.wait(60)
            return super().__getitem__(rows)

    asked, is_over = threading.Event(), threading.Event()

    def interrupt() -> None:
        asked.wait(60)
        time.sleep(0.2)  # for the batches before
        os.kill(os.getpid(), signal.SIGINT)

    net, twin = network(), network()
    thread = threading.Thread(target=interrupt)
    # A job in the background ignores the signal, and so do its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            net.fit(Slow(X), Y, epochs=1, shuffle=False)
    finally:
        is_over.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    twin.fit(X[:512], Y[:512], epochs=1, shuffle=False)
    assert bits(net.parameters) == bits(twin.parameters)
