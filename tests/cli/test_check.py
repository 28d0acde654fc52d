"""``cbackprop check``: gradients checked on the command line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from command_line import one_line_error

import cbackprop
from cbackprop import cli
from cbackprop.cli import check
from cbackprop.functions import ACTIVATIONS

# ---- check -------------------------------------------------------------------------------------


def with_a_fault(monkeypatch: pytest.MonkeyPatch, layer: int, place: tuple[int, int]) -> None:
    """Every gradient's ∂C/∂w at this place is wrong by a half."""
    gradient = cbackprop.Network.gradient

    def wrong(net: cbackprop.Network, *arguments: object) -> object:
        result = gradient(net, *arguments)
        result.weights[layer - 1][place] *= 1.5
        return result

    monkeypatch.setattr(cbackprop.Network, "gradient", wrong)


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    level = cbackprop.info()["simd_level"]
    computed = "reference" if level is None else f"compiled ({level})"
    assert lines[0] == f"64-30-10 sigmoid, quadratic, float64, {computed}; 5 digits"
    assert max(len(line) for line in lines) <= 80
    # The same as a caller gets.
    X, labels = cbackprop.datasets.load_digits()
    check = cbackprop.Network([64, 30, 10], seed=0).check_gradient(
        X[:5], cbackprop.datasets.one_hot(labels[:5], 10)
    )
    assert "\n".join(lines[1:]) == str(check)


def test_check_takes_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--sizes 3,8,6,2 --activation gelu,silu,softmax --cost cross_entropy --init lecun --seed 3"
        " --dtype float32 --backend reference --examples 1"
    )
    assert cli.main(["check", *options.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = "gelu, silu, softmax, cross_entropy, float32, reference; 1 random example"
    assert lines[0] == f"3-8-6-2 {named}"
    assert [line.split()[:2] for line in lines[2:8]] == [
        [str(layer), kind] for layer in (1, 2, 3) for kind in ("weights", "biases")
    ]
    assert lines[-2].startswith("gradient check passed: ")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_check_json(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--json", "--dtype", dtype, "--sizes", "4,3,2"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == [
        *("sizes", "activations", "cost", "dtype", "backend", "simd_level", "method", "tolerance"),
        *("passed", "max_relative_error", "worst", "parts", "examples", "data"),
    ]
    assert result["sizes"] == [4, 3, 2]
    assert result["activations"] == ["sigmoid", "sigmoid"]
    assert result["cost"] == "quadratic"
    assert result["dtype"] == dtype
    assert result["backend"] == cbackprop.info()["backend"]
    assert result["simd_level"] == cbackprop.info()["simd_level"]
    assert result["method"] == "complex step"
    assert result["passed"] is True
    assert 0 <= result["max_relative_error"] <= result["tolerance"]
    assert (result["examples"], result["data"]) == (5, "random")
    assert [(part["layer"], part["kind"]) for part in result["parts"]] == [
        (layer, kind) for layer in (1, 2) for kind in ("weights", "biases")
    ]
    for part in result["parts"]:
        assert 0 < part["largest_gradient"] < 1
        relative = part["largest_error"] / part["largest_gradient"]
        assert part["relative_error"] == pytest.approx(relative)
        assert len(part["place"]) == (2 if part["kind"] == "weights" else 1)
    assert result["worst"].startswith("layer ")


def test_check_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with_a_fault(monkeypatch, 2, (3, 7))
    assert cli.main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"  2  weights .*  \[3, 7\]  FAILED$", lines[4])
    assert lines[-3].startswith("gradient check FAILED: relative error ")
    assert lines[-3].endswith(" at layer 2 weight [3, 7]")
    assert cli.main(["check", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["passed"] is False
    assert result["worst"] == "layer 2 weight [3, 7]"
    assert result["data"] == "digits"
    assert result["parts"][2]["place"] == [3, 7]


def test_check_json_of_what_is_no_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient = cbackprop.Network.gradient

    def wrong(net: cbackprop.Network, *arguments: object) -> object:
        result = gradient(net, *arguments)
        result.weights[0][0, 0] = float("nan")
        return result

    monkeypatch.setattr(cbackprop.Network, "gradient", wrong)
    assert cli.main(["check", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["max_relative_error"] is None
    assert result["parts"][0]["largest_error"] is None
    assert result["parts"][0]["relative_error"] is None


def test_check_of_random_examples_is_repeatable(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for seed in ("1", "1", "2"):
        assert cli.main(["check", "--sizes", "3,4,2", "--seed", seed]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[0] != shown[2]


@pytest.mark.parametrize(
    ("output", "cost"), [("softmax", "mse"), ("sigmoid", "cross_entropy"), ("softplus", "poisson")]
)
def test_check_draws_targets_that_fit(output: str, cost: str) -> None:
    net = cbackprop.Network([3, 4], output, cost, seed=1)
    X, Y = check.random_examples(net, 200, 1)
    assert X.shape == (200, 3)
    assert abs(X.mean()) < 0.2
    assert 0.8 < X.std() < 1.2
    drawn = cbackprop.Network([3, 4], init="standard_normal", seed=1).parameters
    assert not np.isin(drawn, X).any()  # from the same seed, but not the same numbers
    assert Y.shape == (200, 4)
    if output == "softmax":
        assert (Y.sum(axis=1) == 1).all()
        assert set(Y.ravel()) == {0, 1}
        assert (Y.sum(axis=0) > 20).all()
    elif cost == "poisson":
        assert set(Y.ravel()) == {0, 1, 2, 3}
    else:
        assert 0 < Y.min() < 0.1
        assert 0.9 < Y.max() < 1


def test_check_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--all", "--examples", "3"]) == 0
    heading, *lines, last = capsys.readouterr().out.splitlines()
    assert heading.split() == ["hidden", "output", "cost", "float64", "float32"]
    rows = [line.split() for line in lines]
    pairs = {(output, cost) for _, output, cost, *_ in rows}
    assert len(pairs) == 13 * 5 + 2 + 4
    assert {pair for pair in pairs if pair[1] == "cross_entropy"} == {
        ("sigmoid", "cross_entropy"),
        ("softmax", "cross_entropy"),
    }
    assert {row[0] for row in rows} == set(ACTIVATIONS) - {"softmax"}
    assert len(rows) == len({tuple(row[:3]) for row in rows}) == 71 + 11
    for row in rows:
        assert float(row[3]) < 1e-13
        assert float(row[4]) < 1e-4
        assert row[5:] == ["passed"]
    assert re.match(r"164 checks of 5-7-6-4 networks, .*, 0 FAILED; [\d.]+ s$", last)


def test_check_all_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_fault(monkeypatch, 1, (2, 3))
    assert cli.main(["check", "--all", "--dtype", "float32", "--backend", "reference"]) == 1
    heading, *lines, last = capsys.readouterr().out.splitlines()
    assert heading.split() == ["hidden", "output", "cost", "float32"]
    failed = [line for line in lines if line.endswith("FAILED, float32: layer 1 weight [2, 3]")]
    assert len(failed) > 70
    assert f"82 checks of 5-7-6-4 networks, reference, {len(failed)} FAILED;" in last


def test_check_all_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--all", "--json", "--dtype", "float64", "--examples", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["passed"] is True
    assert result["examples"] == 1
    assert len(result["checks"]) == 82
    assert result["checks"][0]["activations"] == ["tanh", "tanh", "sigmoid"]
    assert all(check["passed"] for check in result["checks"])


def test_check_that_overflows(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--sizes 40,40,40,1 --activation exponential --init standard_normal"
    assert cli.main(["check", *options.split()]) == 1
    assert "is not finite" in one_line_error(capsys)
