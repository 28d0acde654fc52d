"""Published runs, again by this package: the counts, costs and weights that others wrote down.

benchmarks/published_runs.py holds the runs and the published figures, docs/published_runs.md says
what they are.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys

import numpy as np
import pytest
from support import HAS_COMPILED, REPOSITORY, every_backend

SCRIPT = REPOSITORY / "benchmarks" / "published_runs.py"


def load_script():
    specification = importlib.util.spec_from_file_location("published_runs", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up there
    specification.loader.exec_module(module)
    return module


runs = load_script()


@pytest.fixture(scope="module")
def mnist(mnist_directory):
    return runs.Mnist.read(mnist_directory)


needs_compiled = pytest.mark.skipif(
    not HAS_COMPILED, reason="the compiled core is not built; NumPy would take minutes"
)


def assert_as_logged(log, record, epochs, cost_tolerance):
    """Every count the same, every cost within the tolerance, and so many epochs of each."""
    assert record.values
    for name, ours in record.values.items():
        theirs = runs.published(log, name)
        assert len(ours) >= epochs
        if name.endswith("count"):
            exact = runs.exact_epochs(log, name, record.net)
            different = [epoch for epoch in ours if ours[epoch] != theirs[epoch]]
            assert [epoch for epoch in different if epoch < exact] == [], name
        else:
            for epoch, cost in ours.items():
                assert cost == pytest.approx(theirs[epoch], rel=cost_tolerance, abs=0), epoch


# ---- Nielsen's logs ------------------------------------------------------------------------------


@needs_compiled
def test_the_logged_run_on_1000_images_count_for_count(mnist):
    """400 epochs from May 2014: 5,887 of the 10,000 test images after the first, 8,223 at last."""
    record = runs.logged_run(
        "overfitting", mnist, only=lambda epoch: epoch < 15 or epoch % 20 == 19
    )
    counts = record.values["test_count"]
    assert [counts[epoch] for epoch in (0, 1, 9, 99, 279, 399)] == [
        5887, 6505, 7899, 8173, 8223, 8223,
    ]  # fmt: skip
    assert record.values["training_count"][0] == 690
    assert record.values["training_count"][399] == 1000
    assert_as_logged("overfitting", record, 11, 1e-11)


@every_backend
def test_its_first_epochs_on_either_backend(mnist, backend):
    record = runs.logged_run("overfitting", mnist, 4, backend=backend)
    assert_as_logged("overfitting", record, 4, 1e-12)


@every_backend
def test_the_penalised_run_s_first_epochs(mnist, backend):
    """λ = 0.1 on the same images: the decay of the weights, and the penalty in the cost."""
    record = runs.logged_run("regularized", mnist, 3, backend=backend)
    assert_as_logged("regularized", record, 3, 1e-12)


@needs_compiled
@pytest.mark.slow
@pytest.mark.parametrize("log", [log for log in runs.LOGGED_RUNS if log != "overfitting"])
def test_the_other_logged_runs(mnist, log):
    """All epochs that rounding lets agree; the costs by what rounding has grown to."""
    run = runs.LOGGED_RUNS[log]
    if run.exact == 0:
        pytest.skip("rounding decides it within the first epoch: docs/published_runs.md")
    record = runs.logged_run(log, mnist, min(run.epochs, run.exact))
    assert_as_logged(log, record, 1, 1e-3)


@needs_compiled
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("quadratic_30", 94.4, 95.6),
        ("quadratic_30_glorot", 95.2, 96.2),
        ("cross_entropy_100", 97.3, 98.2),
        ("cross_entropy_100_slow", 97.7, 98.3),
    ],
)
def test_final_accuracy_in_its_band(mnist, name, lowest, highest, seed):
    """The published figures are one run's; other seeds are a few tenths beside them."""
    accuracy = runs.band_run(runs.BANDS[name], mnist, seed)
    assert len(accuracy) == runs.BANDS[name].epochs
    assert lowest <= accuracy[-1] <= highest


# ---- Rumelhart, Hinton and Williams --------------------------------------------------------------


@needs_compiled
def test_xor_takes_some_hundred_sweeps():
    """558 in the book; here a median of about 600 over 30 seeds, and some stay stuck."""
    sweeps = [runs.xor(seed) for seed in range(30)]
    solved = [n for n in sweeps if n is not None]
    assert 400 <= statistics.median(solved) <= 900
    assert 18 <= len(solved) < 30


@every_backend
def test_symmetry_s_weights_are_as_one_two_and_four(backend):
    result = runs.symmetry(0, backend)
    assert result["solved"]
    assert np.allclose(result["ratios"], [1, 2, 4], rtol=0.01)
    assert result["asymmetry"] < 1e-3
    assert result["alternating"]


@every_backend
def test_encoder_learns_eight_codes(backend):
    result = runs.encoder(3, backend)
    assert result["sweeps"] is not None
    assert (result["outputs"].argmax(axis=1) == np.arange(8)).all()
    assert result["codes"] == 8


@needs_compiled
def test_encoder_tells_the_patterns_apart_from_every_start():
    """With units that stay at ½, as some did in 1986, rounding to 0, ½ and 1."""
    results = [runs.encoder(seed) for seed in range(10)]
    assert [result["codes_of_three_values"] for result in results] == [8] * 10
    assert all(result["sweeps"] is not None for result in results)


# ---- scikit-learn --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", runs.GALLERY)
def test_scikit_learn_s_gallery(name):
    """From its first weights and in its batches: its score and its loss, to the digits shown."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    ours = runs.gallery_run(name)
    _, _, score, loss = runs.GALLERY[name]
    assert (round(ours["score"], 6), round(ours["loss"], 6)) == (score, loss)
    assert (round(ours["score_by_steps"], 6), round(ours["loss_by_steps"], 6)) == (score, loss)
    assert ours["loss_by_steps"] == pytest.approx(ours["sklearn_loss"], rel=1e-12)
    assert ours["weights_apart"] < 1e-12


def test_a_gradient_is_judged_by_the_loss_that_comes_with_it():
    assert runs.our_gradient(3, "mse", "compiled").relative_error < 1e-9

    def three_times(point):
        return float(point @ point), 6 * point

    judged = runs.judged_gradient("three times", three_times, np.array([1.0, -2.0, 0.5]))
    assert judged.ratio == pytest.approx(3, rel=1e-9)
    assert judged.relative_error == pytest.approx(2, rel=1e-9)
    assert judged.residual < 1e-9


def test_scikit_learn_s_gradient_is_its_derivative_or_n_outputs_times_it():
    """Once that is mended there, both are right here; nothing else is."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    one, three, classifier = runs.sklearn_gradients((1, 3))
    assert one.ratio == pytest.approx(1, rel=1e-8)
    assert classifier.ratio == pytest.approx(1, rel=1e-8)
    assert three.ratio == pytest.approx(3 if three.ratio > 2 else 1, rel=1e-8)
    assert max(row.residual for row in (one, three, classifier)) < 1e-8


# ---- the script ----------------------------------------------------------------------------------


@needs_compiled
def test_the_script_runs_chosen_parts(capsys):
    assert runs.main(["--only", "rumelhart", "--quick"]) == 0
    printed = capsys.readouterr().out
    assert "XOR 2-2-1, 6 seeds" in printed
    assert "encoder 8-3-8, 6 seeds: 6 learnt" in printed
    assert "Nielsen" not in printed


@needs_compiled
def test_error_goals_of_levenberg_marquardt(capsys):
    assert runs.main(["--only", "levenberg-marquardt", "--quick"]) == 0
    assert capsys.readouterr().out.count("reached by 6 of 6 seeds") == 2


@needs_compiled
def test_the_script_says_where_a_count_differs(mnist, monkeypatch, capsys):
    monkeypatch.setattr(runs.Mnist, "read", lambda directory: mnist)
    arguments = ["--only", "nielsen", "--logs", "overfitting", "--quick", "--mnist", "there"]
    assert runs.main(arguments) == 0
    assert "test_count: 20 of 20 epochs identical" in capsys.readouterr().out
    counts = list(runs.LOGS["overfitting"]["test_count"])
    counts[2] += 1
    monkeypatch.setitem(runs.LOGS["overfitting"], "test_count", counts)
    assert runs.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "19 of 20 epochs identical, the first other one is 2" in printed
    assert "6970 (6971)" in printed


def test_the_script_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.delenv("CBACKPROP_MNIST", raising=False)
    assert runs.main(["--only", "nielsen", "bands"]) == 0
    assert "nielsen: no MNIST; give --mnist" in capsys.readouterr().out
