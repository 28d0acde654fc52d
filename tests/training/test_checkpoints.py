"""A fit that goes on from its checkpoint has the bits of one that was never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import model_files as model_file
import numpy as np
import pytest
from fits import scripted
from model_files import DATA
from support import data, with_every_kind

import cbackprop
from cbackprop import (
    LBFGS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    EarlyStopping,
    LevenbergMarquardt,
    ModelFileError,
    Network,
    RMSprop,
    Rprop,
    schedules,
)
from cbackprop.training.plan import LATER, Plan

SIZES = (5, 8, 7, 2)
OPTIMIZERS = with_every_kind(
    SGD(0.1),
    SGD(0.1, 0.9),
    SGD(0.1, 0.9, True),
    Adam(0.01),
    AdamW(0.01),
    RMSprop(0.01),
    RMSprop(0.01, momentum=0.9, centred=True),
    Adagrad(0.05),
    Rprop(0.01),
    LBFGS(),
    LBFGS(max_evaluations=100),
    LevenbergMarquardt(),
)
EPOCHS, STOPPED_AT = 12, 5


def everything(optimizer: Any) -> dict[str, Any]:
    """All that keeps some state or draws random numbers, as far as the optimiser takes it."""
    options: dict[str, Any] = {
        "l2": 0.01,
        "validation_fraction": 0.2,
        "early_stopping": EarlyStopping(8),
        "metrics": ("mse", "r2"),
    }
    if not isinstance(optimizer, (LBFGS, LevenbergMarquardt)):
        options |= {
            "l1": 0.001,
            "dropout": 0.3,
            "max_norm": 2.0,
            "clip_norm": 0.5,
            "clip_gradient_norm": 0.3,
            "frozen": (2,),
            "schedule": schedules.ReduceOnPlateau(patience=1),
            "sample_weight": np.arange(60) % 4,
        }
    return options


@pytest.mark.parametrize("backend", ["compiled", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("with_all", [False, True], ids=["plain", "everything"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_resumed_equals_uninterrupted(
    optimizer: Any, with_all: bool, dtype: str, backend: str, tmp_path: Path
) -> None:
    if backend == "compiled" and cbackprop.info()["backend"] != "compiled":
        pytest.skip("the compiled core is not built here")
    X, Y = data(60, SIZES, seed=7)
    options = everything(optimizer) if with_all else {}
    file = tmp_path / "fit.checkpoint"

    def network(seed: int) -> Network:
        return Network(SIZES, ["tanh", "tanh", "sigmoid"], dtype=dtype, seed=seed, backend=backend)

    whole = network(1)
    expected = whole.fit(X, Y, epochs=EPOCHS, optimizer=optimizer, **options)
    stopped = network(1)
    stopped.fit(X, Y, epochs=STOPPED_AT, optimizer=optimizer, checkpoint=file, **options)
    # Nothing of another network's own state is left.
    other = network(9)
    other.fit(X, Y, epochs=1, optimizer="adam")
    history = other.fit(
        X, Y, epochs=EPOCHS, optimizer=optimizer, checkpoint=file, resume=True, **options
    )
    assert expected.epochs > STOPPED_AT
    assert other.parameters.tobytes() == whole.parameters.tobytes()
    differing = {"seconds"}
    for name, value in vars(expected).items():
        if name not in differing:
            assert getattr(history, name) == value, name
    # And both go on alike: optimiser, step count, generator.
    for net in (whole, other):
        net.partial_fit(X[:20], Y[:20])
    assert other.parameters.tobytes() == whole.parameters.tobytes()
    assert other._model.random.state == whole._model.random.state


def test_a_finished_fit_goes_no_further(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    net = Network(SIZES, seed=1)
    first = net.fit(X, Y, epochs=3, checkpoint=file)
    before = net.parameters
    history = net.fit(X, Y, epochs=3, checkpoint=file, resume=True)
    assert history.epochs == 3
    assert history.cost == first.cost
    assert net.parameters.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 7}, "batch_size"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"learning_rate": 0.5}, "optimizer"),
        ({"l2": 0.1}, r"options {'l2': 0\.0}, this one has {'l2': 0\.1}"),
        ({"shuffle": False}, "shuffle"),
        ({"sample_weight": np.ones(60)}, r"weights \(sample_weight or class_weight\) False"),
        ({"validation_fraction": 0.1}, r"held out \(validation_fraction\) 0"),
    ],
)
def test_another_fit_does_not_go_on(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    Network(SIZES, seed=1).fit(X, Y, epochs=2, optimizer="adam", checkpoint=file)
    net = Network(SIZES, seed=2)
    before = net.parameters
    arguments: dict[str, Any] = {"optimizer": "adam"} | change
    with pytest.raises(ValueError, match=f"resume: the checkpoint's fit had {named}"):
        net.fit(X, Y, epochs=4, checkpoint=file, resume=True, **arguments)
    assert net.parameters.tobytes() == before.tobytes()
    assert net._model.optimizer is None


def test_resume_of_what_is_not_there(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    net = Network(SIZES, seed=1)
    before = net.parameters
    with pytest.raises(ValueError, match="resume is True without checkpoint"):
        net.fit(X, Y, resume=True)
    with pytest.raises(FileNotFoundError):
        net.fit(X, Y, checkpoint=tmp_path / "none", resume=True)
    Network([5, 3, 2], seed=1).fit(X, Y, epochs=1, checkpoint=tmp_path / "smaller")
    with pytest.raises(ModelFileError, match="sizes"):
        net.fit(X, Y, checkpoint=tmp_path / "smaller", resume=True)
    net.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="kind"):
        net.fit(X, Y, checkpoint=tmp_path / "model", resume=True)
    assert net.parameters.tobytes() == before.tobytes()


def test_a_checkpoint_is_a_model(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    net = Network(SIZES, seed=1)
    net.fit(X, Y, epochs=2, checkpoint=file)
    assert Network.load(file).parameters.tobytes() == net.parameters.tobytes()


def test_other_things_may_be_looked_at_after_the_checkpoint(tmp_path: Path) -> None:
    """The epochs before it have no numbers for them."""
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    Network(SIZES, seed=1).fit(X, Y, epochs=2, metrics="mse", checkpoint=file)
    net = Network(SIZES, seed=1)
    history = net.fit(
        X, Y, epochs=4, metrics=("mse", "r2"), validation_data=(X, Y), checkpoint=file, resume=True
    )
    assert np.isfinite(history.metrics["mse"]).tolist() == [True] * 4
    for late in (history.metrics["r2"], history.validation_cost):
        assert np.isfinite(late).tolist() == [False, False, True, True]
    again = Network(SIZES, seed=1).fit(X, Y, epochs=5, checkpoint=file, resume=True)
    assert (again.metrics, again.validation_cost, again.epochs) == ({}, [], 5)


def test_early_stopping_after_the_checkpoint_may_be_another(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"

    def fit(epochs: int, resume: bool, **arguments: Any) -> tuple[Network, Any]:
        net = Network(SIZES, seed=1)
        arguments |= {"learning_rate": 0.5, "metrics": "mse", "checkpoint": file}
        return net, net.fit(X, Y, epochs=epochs, resume=resume, **arguments)

    fit(3, False, early_stopping=EarlyStopping(9, monitor="cost"))
    # No longer asked for: the last epoch's parameters stay.
    net, history = fit(4, True)
    plain, _ = fit(4, False)
    assert history.best_epoch is None
    assert net.parameters.tobytes() == plain.parameters.tobytes()
    # Asked for something that was not judged before: the first epoch that is judged is its best.
    fit(3, False, early_stopping=EarlyStopping(9, monitor="cost"))
    stopping = EarlyStopping(9, monitor="validation_cost")
    _, history = fit(4, True, early_stopping=stopping, validation_data=(X, Y))
    assert history.best_epoch == 3


def changed(name: str, value: Any) -> Any:
    def change(tensors: dict[str, Any], state: dict[str, Any]) -> None:
        state["history"][name] = value

    return change


def tensor(name: str, value: Any) -> Any:
    def change(tensors: dict[str, Any], state: dict[str, Any]) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return change


P = (5 + 1) * 8 + (8 + 1) * 7 + (7 + 1) * 2


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, state: state.pop("history"),
        lambda tensors, state: state["history"].pop("seconds"),
        changed("more", 1),
        changed("epochs", 2.0),
        changed("epochs", -1),
        changed("epochs", 10**9),
        changed("cost", [1.0, 2.0, 3.0]),
        tensor("history.cost", None),
        tensor("history.cost", np.ones(2)),
        tensor("history.cost", np.ones(4)),
        tensor("history.cost", np.array([1, 2, 3])),
        tensor("history.cost", np.ones((3, 1))),
        tensor("history.cost", np.array(1.0)),
        tensor("history.learning_rate", np.frombuffer(b"abc", np.uint8)),
        tensor("history.validation_cost", np.ones(1)),
        tensor("history.epochs", np.array(3.0)),
        tensor("history.more", np.ones(3)),
        changed("metrics", [0.5]),
        changed("metrics", ["mse", "mse"]),
        changed("metrics", []),
        changed("metrics", "mse"),
        changed("metrics", {"mse": [0.5, 0.5, 0.5]}),
        tensor("history.metrics", None),
        tensor("history.metrics", np.ones((2, 3))),
        tensor("history.metrics", np.ones((1, 2))),
        tensor("history.metrics", np.ones(1)),
        tensor("history.metrics", np.array(1.0)),
        changed("best_epoch", 3),
        changed("best_epoch", -1),
        changed("best_epoch", True),
        changed("seconds", None),
        changed("stop_reason", 3),
        tensor("best", np.zeros(P - 1)),
        tensor("best", np.full(P, np.nan)),
        tensor("best", np.zeros(P, np.float32)),
        tensor("held_out", None),
        tensor("held_out", np.arange(11)),
        tensor("held_out", np.arange(12)[::-1].copy()),
        tensor("held_out", np.arange(12) - 1),
        tensor("held_out", np.arange(12) + 49),
        tensor("held_out", np.arange(12.0)),
        tensor("second_order.s0", np.zeros(P)),
        lambda tensors, state: state.update(second_order={"mu": 0.1}),
    ],
)
def test_a_checkpoint_that_no_fit_has_written(change: Any, tmp_path: Path) -> None:
    """A whole file, its checksum right, with contents that make no sense."""
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    arguments: dict[str, Any] = {
        "validation_fraction": 0.2,
        "metrics": "mse",
        "early_stopping": 5,
        "checkpoint": file,
    }
    net = Network(SIZES, seed=1)
    assert net.n_parameters == P
    net.fit(X, Y, epochs=3, **arguments)
    tensors, state = model_file.read_checkpoint(file, net)
    change(tensors, state)
    model_file.write_checkpoint(file, net, tensors, state)
    net = Network(SIZES, seed=2)
    before = net.parameters
    with pytest.raises(ModelFileError, match=r"^path is .*; expected|are no number and text"):
        net.fit(X, Y, epochs=4, resume=True, **arguments)
    assert net.parameters.tobytes() == before.tobytes()
    assert (net._model.optimizer, net._model.whole_batch_state) == (None, None)


def test_a_best_epoch_beyond_the_networks_numbers(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    arguments: dict[str, Any] = {
        "validation_fraction": 0.2,
        "early_stopping": 5,
        "checkpoint": file,
    }
    net = Network(SIZES, seed=1, dtype="float32")
    net.fit(X, Y, epochs=3, **arguments)
    tensors, state = model_file.read_checkpoint(file, net)
    tensors["best"][5] = 1e300
    model_file.write_checkpoint(file, net, tensors, state)
    before = net.parameters
    with pytest.raises(ModelFileError, match=r"tensor 'best' has inf at \[5\]; expected finite"):
        net.fit(X, Y, epochs=4, resume=True, **arguments)
    assert net.parameters.tobytes() == before.tobytes()


def test_what_is_written_of_an_epoch_grows_by_its_numbers_alone(tmp_path: Path) -> None:
    """Eight bytes for each; as text the whole history was made and judged anew every time."""
    X, Y = data(6, (2, 1), seed=7)
    file = tmp_path / "fit.checkpoint"
    net, sizes, states = Network([2, 3, 1], seed=1), [], []

    def look(network: Network, history: Any) -> None:
        if history.epochs > 1:
            sizes.append(file.stat().st_size)
            states.append(model_file.read(file)[0]["state"].size)

    net.fit(
        X, Y, epochs=120, validation_data=(X, Y), metrics=["mse", "r2"], l2=0.1,
        callbacks=[look], checkpoint=file,
    )  # fmt: skip
    numbers = 6  # cost, validation cost, learning rate, penalty and two metrics
    # Of what grows besides: a digit more in shapes, in offsets and in the count of epochs.
    assert sizes[-1] - sizes[0] <= 8 * numbers * (len(sizes) - 1) + 100
    assert states[-1] - states[0] < 40


def test_a_history_comes_back_to_the_bit(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"

    def strange(predictions: Any, targets: Any) -> float:
        return (1 / 3, 1e308, -0.0, 5e-324)[calls.pop()]

    calls = list(range(4))
    arguments: dict[str, Any] = {"metrics": [strange], "checkpoint": file}
    before = Network(SIZES, seed=1).fit(X, Y, epochs=4, **arguments)
    again = Network(SIZES, seed=1).fit(X, Y, epochs=4, resume=True, **arguments)
    assert repr(vars(again)) == repr(vars(before))
    assert {type(value) for value in again.metrics["strange"]} == {float}


def test_numbers_of_a_history_that_are_none(tmp_path: Path) -> None:
    """Changed by a callback: refused before the file, of which the old one stays."""
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"

    for none in (None, "1", 1j, [1.0], object()):

        def spoil(network: Network, history: Any, none: Any = none) -> None:
            if history.epochs == 2:
                history.cost[0] = none

        with pytest.raises(ModelFileError, match=r"cost of history is \[.*; expected a float for"):
            Network(SIZES, seed=1).fit(X, Y, epochs=3, checkpoint=file, callbacks=[spoil])
        assert model_file.read(file)[0]["extra.history.cost"].shape == (1,)


def test_a_checkpoint_without_its_only_row_held_out(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    arguments: dict[str, Any] = {"validation_fraction": 1 / 60, "checkpoint": file}
    net = Network(SIZES, seed=1)
    net.fit(X, Y, epochs=2, **arguments)
    tensors, state = model_file.read_checkpoint(file, net)
    assert tensors.pop("held_out").shape == (1,)
    model_file.write_checkpoint(file, net, tensors, state)
    with pytest.raises(ModelFileError, match="held no examples out; expected 1"):
        Network(SIZES, seed=2).fit(X, Y, epochs=3, resume=True, **arguments)


@pytest.mark.parametrize(
    ("optimizer", "change"),
    [
        (LBFGS(memory=2), tensor("second_order.s0", np.zeros(3))),
        (LBFGS(memory=2), tensor("second_order.s0", None)),
        (LBFGS(memory=2), tensor("second_order.s5", np.zeros(P))),
        (LBFGS(memory=2), lambda tensors, state: state.update(second_order={"mu": 1.0})),
        (LBFGS(memory=2), lambda tensors, state: state.pop("second_order")),
        *(
            (
                LBFGS(max_evaluations=9),
                lambda tensors, state, bad=bad: state.update(second_order=bad),
            )
            for bad in (
                {},
                {"evaluations": 10.0},
                {"evaluations": 0.5},
                {"evaluations": 4},
                {"mu": 4.0},
            )
        ),
        (LevenbergMarquardt(), lambda tensors, state: state.update(second_order={})),
        (LevenbergMarquardt(), lambda tensors, state: state.update(second_order={"mu": 0.0})),
        (LevenbergMarquardt(), lambda tensors, state: state.update(second_order={"mu": "1"})),
        (LevenbergMarquardt(), tensor("second_order.s0", np.zeros(P))),
    ],
)
def test_a_state_of_a_whole_batch_optimiser_that_is_none(
    optimizer: Any, change: Any, tmp_path: Path
) -> None:
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    net = Network(SIZES, seed=1)
    net.fit(X, Y, epochs=4, optimizer=optimizer, checkpoint=file)
    tensors, state = model_file.read_checkpoint(file, net)
    change(tensors, state)
    model_file.write_checkpoint(file, net, tensors, state)
    net = Network(SIZES, seed=2)
    before = net.parameters
    with pytest.raises(ModelFileError, match=r"second_order"):
        net.fit(X, Y, epochs=6, optimizer=optimizer, checkpoint=file, resume=True)
    assert net.parameters.tobytes() == before.tobytes()


# ---- without the generator -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_generator_stays_out_of_a_fits_checkpoint(dtype: str, tmp_path: Path) -> None:
    """Who has its state can subtract a private training's noise. It goes on with a fresh one."""
    X, Y = data(60, SIZES, seed=7)
    file = tmp_path / "fit.checkpoint"
    private: dict[str, Any] = {
        "clip_norm": 1.0,
        "noise_multiplier": 0.5,
        "checkpoint": file,
        "checkpoint_generator": False,
    }
    net = Network(SIZES, seed=1, dtype=dtype)
    net.fit(X, Y, epochs=2, **private)
    assert model_file.read(file)[1]["generator"] == "null"
    words = net._model.random.state["state"]
    assert all(f"{word:x}".encode() not in file.read_bytes() for word in words.values())
    twins = [Network(SIZES, seed=1, dtype=dtype) for _ in range(2)]
    whole = Network(SIZES, seed=1, dtype=dtype)
    whole.fit(X, Y, epochs=4, clip_norm=1.0, noise_multiplier=0.5)
    contents = file.read_bytes()
    for twin in twins:
        file.write_bytes(contents)
        assert twin.fit(X, Y, epochs=4, resume=True, **private).epochs == 4
    # The noise is new each time, and not the one that the seed would give again.
    assert len({each.parameters.tobytes() for each in (*twins, whole)}) == 3
    assert Network.load(file).parameters.tobytes() == twins[1].parameters.tobytes()


# ---- files of each version -----------------------------------------------------------------------


def golden_fit(epochs: int, dtype: str, **arguments: Any) -> tuple[Network, Any]:
    """What the files in tests/data were written by, each in the version that its name says."""
    X, Y = data(40, (3, 2), seed=11)
    net = Network([3, 4, 2], ["tanh", "sigmoid"], "cross_entropy", dtype=dtype, seed=7)
    history = net.fit(
        X,
        (Y > 0.5).astype(float),
        epochs=epochs,
        batch_size=8,
        optimizer="adam",
        learning_rate=0.05,
        validation_fraction=0.25,
        metrics=["mse", "mae"],
        early_stopping=EarlyStopping(5),
        l2=1e-3,
        **arguments,
    )
    return net, history


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kept", ["fit", "fit_2"])
def test_a_fit_of_every_version_goes_on(kept: str, dtype: str) -> None:
    """Up to the last bits, which depend on the processor that wrote it."""
    file = DATA / f"{kept}_{dtype}.safetensors"
    before = file.read_bytes()
    net, stored = golden_fit(3, dtype, checkpoint=file, resume=True)
    _, history = golden_fit(6, dtype)
    bound = {"float32": 1e-4, "float64": 1e-12}[dtype]
    for name, value in vars(history).items():
        if isinstance(value, list):
            assert getattr(stored, name) == pytest.approx(value[:3], rel=bound), name
    assert stored.metrics["mae"] == pytest.approx(history.metrics["mae"][:3], rel=bound)
    assert file.read_bytes() == before
    assert np.allclose(net.parameters, golden_fit(3, dtype)[0].parameters, bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kept", ["fit", "fit_2"])
def test_a_fit_of_every_version_ends_as_one_that_was_not_stopped(
    kept: str, dtype: str, tmp_path: Path
) -> None:
    file = tmp_path / "fit"
    file.write_bytes((DATA / f"{kept}_{dtype}.safetensors").read_bytes())
    net, history = golden_fit(6, dtype, checkpoint=file, resume=True)
    whole, expected = golden_fit(6, dtype)
    bound = {"float32": 1e-4, "float64": 1e-12}[dtype]
    assert np.allclose(net.parameters, whole.parameters, bound)
    assert history.cost == pytest.approx(expected.cost, rel=bound)
    assert net._model.random.state == whole._model.random.state
    assert model_file.read(file)[1]["format_version"] == "2"


# ---- what must be as it was, and what may change -------------------------------------------------


def fit_of(file: Path, epochs: int, **changes: Any) -> tuple[Network, Any]:
    """A fit, with arguments of its own."""
    X, Y = data(60, SIZES, seed=7)
    arguments: dict[str, Any] = {
        "X": X, "Y": Y, "epochs": epochs, "learning_rate": 0.5, "checkpoint": file, **changes
    }  # fmt: skip
    net = Network(SIZES, seed=1)
    return net, net.fit(**arguments)


def changed_data(seed: int) -> dict[str, Any]:
    """A single number of it, in the last digit, somewhere."""
    X, Y = (array.copy() for array in data(60, SIZES, seed=7))
    rng = np.random.default_rng(seed)
    array = (X, Y)[seed % 2].reshape(-1)
    place = rng.integers(array.size)
    array[place] = np.nextafter(array[place], 9)
    return {"X": X, "Y": Y}


ORDER = np.random.default_rng(0).permutation(60)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *[({}, changed_data(seed)) for seed in range(20)],
        ({"sample_weight": np.ones(60)}, {"sample_weight": np.arange(60) + 1}),
        ({"sample_weight": np.ones(60)}, {"class_weight": None, "sample_weight": 2 * np.ones(60)}),
        ({"shuffle": ORDER}, {"shuffle": ORDER[::-1]}),
        ({"validation_fraction": 0.5, "stratify": np.arange(60) % 2},
         {"validation_fraction": 0.5, "stratify": np.arange(60) % 3}),
    ],
)  # fmt: skip
def test_other_data_of_the_same_shape_do_not_go_on(
    first: dict[str, Any], second: dict[str, Any], tmp_path: Path
) -> None:
    fit_of(tmp_path / "fit", 2, **first)
    with pytest.raises(
        ValueError, match=r"^resume: X, Y, sample_weight, class_weight, stratify or the order"
    ):
        fit_of(tmp_path / "fit", 3, resume=True, **{**first, **second})
    fit_of(tmp_path / "fit", 3, resume=True, **first)


def test_the_same_data_in_other_forms_go_on(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    fit_of(tmp_path / "fit", 2)
    for i, (X_form, Y_form) in enumerate(
        ((X.tolist(), Y), (np.asfortranarray(X), Y.astype(">f8")), (X.astype("g"), Y.tolist()))
    ):
        net, _ = fit_of(tmp_path / "fit", 3 + i, X=X_form, Y=Y_form, resume=True)
        assert net.parameters.tobytes() == fit_of(tmp_path / "whole", 3 + i)[0].parameters.tobytes()


def test_checkpoints_without_a_fingerprint_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As earlier versions wrote them."""
    described = Plan.description

    def earlier(plan: Plan, X: Any, Y: Any) -> dict[str, object]:
        return {name: text for name, text in described(plan, X, Y).items() if name not in LATER}

    monkeypatch.setattr(Plan, "description", earlier)
    fit_of(tmp_path / "fit", 2)
    monkeypatch.undo()
    net, _ = fit_of(tmp_path / "fit", 4, resume=True)
    assert net.parameters.tobytes() == fit_of(tmp_path / "whole", 4)[0].parameters.tobytes()
    with pytest.raises(ValueError, match="fit had batch_size 32, this one has 5"):
        fit_of(tmp_path / "fit", 5, resume=True, batch_size=5)


METRIC = [3.0, 1.0, 2.0, 2.5, 2.0, 2.0]


def judged_by(values: list[float], **arguments: Any) -> dict[str, Any]:
    stopping = EarlyStopping(9, monitor="metric", larger_is_better=False, **arguments)
    return {"metrics": scripted(values), "early_stopping": stopping}


def test_the_best_epoch_of_a_first_part_that_did_not_bring_it_back(tmp_path: Path) -> None:
    parameters: list[bytes] = []

    def look(net: Network, history: Any) -> None:
        parameters.append(net.parameters.tobytes())

    fit_of(tmp_path / "fit", 3, callbacks=look, **judged_by(METRIC[:3], restore_best=False))
    net, history = fit_of(tmp_path / "fit", 6, resume=True, **judged_by(METRIC[3:]))
    assert history.best_epoch == 1
    assert net.parameters.tobytes() == parameters[1]
    # Nor does a fit that is over at once lose it.
    net, history = fit_of(tmp_path / "fit", 6, resume=True, **judged_by([]))
    assert (history.best_epoch, history.epochs) == (1, 6)
    assert net.parameters.tobytes() == parameters[1]


@pytest.mark.parametrize("judged", [True, False])
def test_the_best_epoch_of_a_first_part_without_early_stopping(
    judged: bool, tmp_path: Path
) -> None:
    """By the cost that early stopping looks at by itself, or by the training cost."""
    X, Y = data(60, SIZES, seed=7)
    options: dict[str, Any] = {"validation_data": (X[:5], 1 - Y[:5])} if judged else {}
    rates: dict[str, Any] = {"schedule": lambda epoch, rate: 1e-4 if epoch < 2 else 9.0}
    monitor = "validation_cost" if judged else "cost"
    _, first = fit_of(tmp_path / "fit", 5, **options, **rates)
    assert first.best_epoch is None
    net, history = fit_of(
        tmp_path / "fit", 8, resume=True, early_stopping=EarlyStopping(99, monitor=monitor),
        **options, **rates,
    )  # fmt: skip
    whole, expected = fit_of(
        tmp_path / "whole", 8, early_stopping=EarlyStopping(99, monitor=monitor), **options, **rates
    )
    assert history.best_epoch == expected.best_epoch
    assert net.parameters.tobytes() == whole.parameters.tobytes()
    # By something else: its best epoch's parameters are not there, and a new one is looked for.
    stopping = EarlyStopping(99, monitor="metric", larger_is_better=False)
    _, history = fit_of(
        tmp_path / "fit", 10, resume=True, early_stopping=stopping,
        metrics=scripted([2.0, 1.0]), **options, **rates,
    )  # fmt: skip
    assert history.best_epoch == 9


def test_plateaus_after_a_part_without_validation_data(tmp_path: Path) -> None:
    X, Y = data(60, SIZES, seed=7)
    schedule = schedules.ReduceOnPlateau(0.5, patience=6, min_delta=0.0)
    fit_of(tmp_path / "fit", 4, schedule=schedule)
    _, history = fit_of(
        tmp_path / "fit", 20, schedule=schedule, validation_data=(X, Y), resume=True
    )
    # It goes down and down; a NaN among the costs is no low that nothing can be below.
    assert min(history.validation_cost[10:]) < min(history.validation_cost[4:10])
    assert history.learning_rate == [0.5] * 20


def test_a_private_fits_checkpoint_has_no_generator(tmp_path: Path) -> None:
    private = {"clip_norm": 0.5, "noise_multiplier": 0.3, "checkpoint_generator": False}
    file = tmp_path / "fit"
    net, _ = fit_of(file, 3, **private)
    # Nor a best epoch, which the costs of the private examples would tell.
    assert model_file.read(file)[0].get("extra.best") is None
    word = f"{int(net._model.random.state['state']['inc']):#034x}".encode()
    assert word not in file.read_bytes()
    fit_of(tmp_path / "open", 3, **{**private, "checkpoint_generator": True})
    assert word in (tmp_path / "open").read_bytes()
    # What goes on draws other numbers, also from a network that is made as the first one was.
    again = [fit_of(file, 3, resume=True, **private)[0] for _ in range(2)]
    assert (
        again[0].parameters.tobytes() == again[1].parameters.tobytes() == net.parameters.tobytes()
    )
    keys = [
        int(net.copy()._model.random.words(1)[0]) for net in (net, Network(SIZES, seed=1), *again)
    ]
    assert len({*keys}) == 4
    net, history = fit_of(file, 4, resume=True, **private)
    assert history.epochs == 4
