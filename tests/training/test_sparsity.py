"""Fits that leave out zeros, where asked or by themselves: the same bits as dense rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import BACKENDS, Array, Csr, bits, both_dtypes, needs_compiled, state, with_every_kind

from cbackprop import SGD, Network
from cbackprop.sparse_rows import SparseRows
from cbackprop.training import loop

SIZES = (300, 9, 4, 2)


def examples(n: int = 120, density: float = 0.15, n_0: int = 300) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    X = random.normal(size=(n, n_0))
    X[random.random(X.shape) >= density] = 0
    return X, random.uniform(0.1, 0.9, (n, 2))


OPTIONS: dict[str, dict[str, Any]] = {
    "rows in order": {"shuffle": False, "batch_size": 10},
    "batches of more than a group": {"batch_size": 1000},
    "weights": {"sample_weight": np.arange(120.0)},
    "penalties": {"l1": 0.001, "l2": 0.01},
    "dropout": {"dropout": 0.3},
    "max_norm": {"max_norm": 0.5},
    "clip_norm": {"clip_norm": 0.1, "noise_multiplier": 0.5},
    "clip_gradient_norm": {"clip_gradient_norm": 0.1},
    "frozen first": {"frozen": (1,)},
    "frozen second": {"frozen": (2,)},
    "held out": {"validation_fraction": 0.25, "metrics": ("mse",), "early_stopping": 3},
}


@both_dtypes
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_same_bits_with_every_option(options: dict[str, Any], backend: Any, dtype: str) -> None:
    X, Y = examples()
    one, other, third = (Network(SIZES, dtype=dtype, seed=0, backend=backend) for _ in range(3))
    expected = one.fit(X, Y, epochs=4, sparse=False, **options)
    for net, x, sparse in ((other, X, True), (third, Csr(X), "auto")):
        history = net.fit(x, Y, epochs=4, sparse=sparse, **options)
        assert history.cost == expected.cost
        assert history.validation_cost == expected.validation_cost
        assert state(net) == state(one)


@needs_compiled
@both_dtypes
@pytest.mark.parametrize(
    "optimizer", with_every_kind(SGD(0.1), SGD(0.1, momentum=0.9), SGD(0.1, 0.9, nesterov=True)),
    ids=repr,
)  # fmt: skip
def test_same_bits_with_every_optimiser(optimizer: Any, dtype: str) -> None:
    X, Y = examples(40, n_0=60)
    one, other = (Network((60, 5, 2), dtype=dtype, seed=0) for _ in "12")
    one.fit(X, Y, epochs=3, batch_size=7, optimizer=optimizer, sparse=False)
    other.fit(X, Y, epochs=3, batch_size=7, optimizer=optimizer, sparse=True)
    assert state(other) == state(one)


@needs_compiled
def test_a_tiny_network() -> None:
    X, Y = examples(40, n_0=3)
    one, other = (Network((3, 2, 2), seed=0) for _ in "12")
    one.fit(X, Y, epochs=3, sparse=False)
    other.fit(X, Y, epochs=3, sparse=True)
    assert bits(other.parameters) == bits(one.parameters)


def test_a_checkpoint_goes_on_with_either_form(tmp_path: Path) -> None:
    X, Y = examples()
    straight = Network(SIZES, seed=0)
    straight.fit(X, Y, epochs=4)
    for first, second in ((X, Csr(X)), (Csr(X), X)):
        path = tmp_path / "fit.safetensors"
        Network(SIZES, seed=0).fit(first, Y, epochs=2, checkpoint=path)
        net = Network(SIZES, seed=5)
        net.fit(second, Y, epochs=4, checkpoint=path, resume=True)
        assert bits(net.parameters) == bits(straight.parameters)


def test_other_sparse_data_are_refused_by_a_checkpoint(tmp_path: Path) -> None:
    X, Y = examples()
    path = tmp_path / "fit.safetensors"
    Network(SIZES, seed=0).fit(Csr(X), Y, epochs=1, checkpoint=path)
    other = Csr(X)
    other.data[7] += 1
    with pytest.raises(
        ValueError, match=r"X, Y, sample_weight.* is not that of the checkpoint's fit"
    ):
        Network(SIZES, seed=0).fit(other, Y, epochs=2, checkpoint=path, resume=True)


def test_rows_that_are_views_of_the_parameters() -> None:
    nets = [Network((4, 4, 2), seed=0) for _ in range(2)]
    sparse = Csr(np.ones((1, 4)))
    sparse.data = nets[0].weights[0].T[0][:4]
    nets[0].fit(sparse, np.ones((1, 2)) / 2, epochs=5)
    sparse.data = nets[1].weights[0].T[0][:4].copy()
    nets[1].fit(sparse, np.ones((1, 2)) / 2, epochs=5)
    assert bits(nets[0].parameters) == bits(nets[1].parameters)


def taken(monkeypatch: pytest.MonkeyPatch, X: Any, Y: Array, **options: Any) -> bool:
    """Whether the passes of a fit get sparse rows."""
    kinds = []

    class Seen(Exception):
        pass

    def look(model: Any, X: Any, *others: Any) -> Any:
        kinds.append(type(X))
        raise Seen

    monkeypatch.setattr(loop, "_train_and_judge", look)
    with pytest.raises(Seen):
        Network((X.shape[1], 30, 2), seed=0).fit(X, Y, **options)
    return kinds == [SparseRows]


@needs_compiled
def test_what_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = examples(1000)
    long = {"epochs": 20}
    assert taken(monkeypatch, X, Y, **long)
    assert taken(monkeypatch, X, Y, validation_fraction=0.1, **long)
    assert not taken(monkeypatch, X, Y, epochs=2)
    assert not taken(monkeypatch, X[:100], Y[:100], **long)
    assert not taken(monkeypatch, X[:, :200], Y, **long)
    assert not taken(monkeypatch, X, Y, sparse=False, **long)
    assert not taken(monkeypatch, X, Y, clip_norm=1.0, **long)
    assert not taken(monkeypatch, X, Y, optimizer="levenberg_marquardt", **long)
    assert not taken(monkeypatch, *examples(1000, 0.4), **long)
    assert taken(monkeypatch, *examples(1000, 0.4), sparse=True, **long)
    assert taken(monkeypatch, Csr(examples(1000, 0.4)[0]), Y, epochs=1)
    assert not taken(monkeypatch, Csr(X), Y, sparse=False, **long)


@pytest.mark.parametrize(
    ("value", "error"), [("yes", ValueError), (1, TypeError), (None, TypeError)]
)
def test_what_is_no_choice(value: Any, error: type[Exception]) -> None:
    X, Y = examples(5)
    with pytest.raises(error, match=r"^sparse is .*expected one of 'auto', True or False"):
        Network(SIZES, seed=0).fit(X, Y, sparse=value)


def test_a_divergence_is_told_as_of_dense_rows() -> None:
    X, Y = examples()
    texts = []
    for x in (1e4 * X, Csr(1e4 * X)):
        with pytest.raises(FloatingPointError) as told:
            Network(SIZES, "identity", seed=0).fit(x, Y, learning_rate=1.0)
        texts.append(str(told.value))
    assert texts[0] == texts[1]
    X[3, 5] = np.inf
    with pytest.raises(ValueError, match=r"^X has inf at \[3, 5\]"):
        Network(SIZES, seed=0).fit(Csr(X), Y)
