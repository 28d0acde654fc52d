"""The command line, run in-process: what it prints, its exit statuses and its one-line errors."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import as_json, one_line_error, printed
from support import REPOSITORY, output_of, run_python

import cbackprop
from cbackprop import cli
from cbackprop.cli import check, workloads
from cbackprop.functions import ACTIVATIONS
from cbackprop.gradient_check import GradientCheck
from cbackprop.model import Model

NUMBER = r"-?\d+\.\d+"


def named(text: str, label: str) -> float:
    """The number that stands after a label at the start of a line."""
    match = re.search(rf"^ *{re.escape(label)} *({NUMBER})", text, re.MULTILINE)
    assert match is not None, label
    return float(match[1])


# ---- demo --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo() -> str:
    """What the demo with its defaults prints."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        assert cli.main(["demo"]) == 0
    return output.getvalue()


def test_demo_fits_a_terminal(demo: str) -> None:
    lines = demo.splitlines()
    assert len(lines) <= 75
    assert max(len(line) for line in lines) <= 80
    assert not [line for line in lines if line != line.rstrip()]


def test_demo_says_what_computes(demo: str) -> None:
    level = cbackprop.info()["simd_level"]
    said = "The NumPy reference computes." if level is None else f"SIMD level {level}."
    assert said in "\n".join(demo.splitlines()[:4])


def test_demo_trains(demo: str) -> None:
    rows = re.findall(rf"^ +(\d+) +({NUMBER}) +({NUMBER}) +({NUMBER})$", demo, re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(range(1, 31))
    first, last = ([float(value) for value in rows[i][1:]] for i in (0, -1))
    assert last[0] < first[0] / 10
    assert last[1] < first[1]
    assert 0.95 <= last[2] <= 1
    assert demo.endswith(f"Done: test accuracy {last[2]:.4f}, gradient check passed.\n")


def test_demo_reaches_its_accuracy_from_other_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(1, 10):
        assert cli.main(["demo", "--seed", str(seed)]) == 0
        match = re.search(rf"Done: test accuracy ({NUMBER}),", capsys.readouterr().out)
        assert match is not None
        assert float(match[1]) >= 0.95, seed


def test_demo_shows_the_digit_and_its_outputs(demo: str) -> None:
    pictures = re.findall(r"^  \|(.*)\|", demo, re.MULTILINE)
    assert [len(row) for row in pictures] == [16] * 8
    match = re.search(r"label (\d), prediction (\d): (right|wrong)", demo)
    assert match is not None
    assert (match[1] == match[2]) == (match[3] == "right")
    outputs = {int(j): float(a) for j, a in re.findall(r"\b(\d): (\d\.\d{4})\b", demo)}
    assert sorted(outputs) == list(range(10))
    assert max(outputs, key=lambda j: outputs[j]) == int(match[2])
    # The cost is the sum of squares of what is shown.
    cost = sum((a - (j == int(match[1]))) ** 2 for j, a in outputs.items())
    assert float(re.findall(rf"C = ({NUMBER})", demo)[0]) == pytest.approx(cost, abs=1e-3)


def test_demo_factors_make_the_product(demo: str) -> None:
    dz_dw, da_dz, dC_da = (named(demo, label) for label in ("∂z/∂w", "∂a/∂z", "∂C/∂a"))
    product = named(demo, "product")
    assert dz_dw * da_dz * dC_da == pytest.approx(product, abs=3e-9)
    assert abs(product) > 0.01
    a, y = re.findall(rf"2\(a - y\) = 2\(({NUMBER}) - (\d)\)", demo)[0]
    assert y == "1"
    assert 2 * (float(a) - 1) == pytest.approx(dC_da, abs=1.01e-4)
    assert float(a) * (1 - float(a)) == pytest.approx(da_dz, abs=1e-4)


def test_demo_nudges_tend_to_the_derivative(demo: str) -> None:
    derivative = named(demo, "product")
    errors = []
    for label in ("0.1", "0.01", "0.001"):
        match = re.search(rf"^ +{label} +({NUMBER}) +({NUMBER}) +({NUMBER})$", demo, re.MULTILINE)
        assert match is not None
        predicted, measured, ratio = (float(match[i]) for i in (1, 2, 3))
        assert predicted == pytest.approx(float(label) * derivative, abs=1e-9)
        assert measured / float(label) == pytest.approx(ratio, abs=1e-6)
        errors.append(abs(ratio - derivative))
    # Halved curvature times the nudge is what is left, so a tenth of the nudge leaves a tenth.
    assert 0 < errors[1] < errors[0] / 5
    assert 0 < errors[2] < errors[1] / 5


def test_demo_checks_the_whole_gradient(demo: str) -> None:
    assert "All 2260 derivatives" in demo
    match = re.search(r"^gradient check passed: relative error (\S+) at layer", demo, re.MULTILINE)
    assert match is not None
    assert float(match[1]) < 1e-12
    assert "by complex step, with a tolerance of 9.1e-13" in demo


def test_demo_tells_its_speed(demo: str) -> None:
    match = re.search(r"Speed: ([\d,]+) training examples a second \(30 epochs", demo)
    assert match is not None
    assert int(match[1].replace(",", "")) > 1000


def test_demo_fails_below_its_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    for epochs in ("0", "1"):
        assert cli.main(["demo", "--epochs", epochs]) == 1
        last = capsys.readouterr().out.splitlines()[-1]
        assert re.match(rf"FAILED: test accuracy {NUMBER} is below 0\.95 ", last)


def test_demo_fails_with_its_gradient_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = cbackprop.Network.check_gradient

    def failing(net: cbackprop.Network, X: object, Y: object) -> GradientCheck:
        result = check(net, X, Y)
        result.passed = False
        return result

    monkeypatch.setattr(cbackprop.Network, "check_gradient", failing)
    assert cli.main(["demo", "--epochs", "8"]) == 1
    assert capsys.readouterr().out.endswith("FAILED: the gradient check did not pass.\n")


# ---- check -------------------------------------------------------------------------------------


def with_a_fault(monkeypatch: pytest.MonkeyPatch, layer: int, place: tuple[int, int]) -> None:
    """Every gradient's ∂C/∂w at this place is wrong by a half."""
    gradient = Model.gradient

    def wrong(model: Model, *arguments: object) -> object:
        result = gradient(model, *arguments)
        result.weights[layer - 1][place] *= 1.5
        return result

    monkeypatch.setattr(Model, "gradient", wrong)


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
    gradient = Model.gradient

    def wrong(model: Model, *arguments: object) -> object:
        result = gradient(model, *arguments)
        result.weights[0][0, 0] = float("nan")
        return result

    monkeypatch.setattr(Model, "gradient", wrong)
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


# ---- bench -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bench_json(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "--only", "W11,W3", "--rounds", "2", "--dtype", dtype, "--json"]
    assert cli.main(command) == 0
    result = json.loads(capsys.readouterr().out)
    compiled = cbackprop.info()["simd_level"] is not None
    machine = result["machine"]
    assert machine["dtype"] == dtype
    assert machine["simd_level"] == cbackprop.info()["simd_level"]
    assert (machine["multiply_adds_gflop_per_second"] is not None) == compiled
    assert machine["written_gb_per_second"] > 0
    assert machine["read_from_cache_gb_per_second"] > 0
    assert result["rounds"] == 2
    rows = result["workloads"]
    assert [row["name"] for row in rows] == ["W3", "W3", "W11"]
    for row in rows:
        assert row["unit"] == "µs"
        assert 0 < row["min"] <= row["median"] <= row["max"]
    assert [row["limit"] is not None for row in rows] == [False, False, compiled]
    if compiled:
        reached = rows[2]["limit"] / rows[2]["median"]
        assert rows[2]["reached"] == pytest.approx(reached)


def test_bench_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--only", "W4", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{workloads.processor()}, one core"
    assert re.match(r"limits: .* \(float32\), [\d.]+ GB/s written, \d+ GB/s read", lines[1])
    assert lines[2].startswith(f"cbackprop {cbackprop.__version__} (")
    assert lines[4].split() == ["median", "min", "max", "unit", "limit", "reached"]
    assert re.match(r"W4  17-64-64-6 tanh, Adam, a call of 64 +([\d.,]+) +\1 +\1 µs ", lines[5])
    assert len(lines) == 6
    assert len(lines[5]) == len(lines[4]) <= 100


def test_bench_runs_every_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as each network takes what it is given; small ones, that this may take no time."""
    monkeypatch.setattr(workloads, "ROUND_SECONDS", 0.0)
    names = [workload.name for workload in workloads.WORKLOADS]
    assert names == ["W1", "W2", "W3", "W3", "W4", "W5", "W6", "W7", "W8", "W10", "W11"]
    for workload in workloads.WORKLOADS:
        n = min(workload.n, 4)
        small = workload._replace(
            sizes=tuple(min(size, 32) for size in workload.sizes), n=n, epoch=2 * n
        )
        seconds = workloads.seconds_of(small, "float32", 2)
        assert len(seconds) == 2
        assert min(seconds) > 0


def test_bench_inputs_are_as_sparse_as_mnist() -> None:
    workload = workloads.WORKLOADS[0]
    X, Y = workload.examples(1000, "float64")
    assert X.shape == (1000, 784)
    assert X.dtype == Y.dtype == "float64"
    assert 0.18 < (X != 0).mean() < 0.20
    assert (Y.sum(axis=1) == 1).all()


def test_bench_limits() -> None:
    """The roofline of three workloads, counted by hand."""
    limits = workloads.Limits(multiply_adds=100.0, written=20.0, read=50.0)
    first = {workload.name: workload for workload in workloads.WORKLOADS}
    # Per example: outputs, ∂C/∂w, ∂C/∂a of the hidden layer, 40 exponentials of 10 each.
    multiply_adds = 2 * (784 * 30 + 30 * 10) + 30 * 10 + 400
    seconds = first["W1"].limit(limits, "float32")
    assert seconds == pytest.approx(10 * 2 * multiply_adds / 100e9)
    assert first["W1"].in_unit(seconds) == pytest.approx(100e9 / (2 * multiply_adds))
    # 256 gradients of 109,386 numbers written; 23,860 parameters read.
    seconds = first["W8"].limit(limits, "float32")
    assert seconds == pytest.approx(256 * 109_386 * 4 / 20e9)
    assert first["W8"].in_unit(seconds) == pytest.approx(1000 * seconds)
    assert first["W11"].limit(limits, "float64") == pytest.approx(23_860 * 8 / 50e9)
    assert first["W3"].limit(limits, "float32") is None
    assert first["W1"].limit(limits._replace(multiply_adds=None), "float32") is None


def test_demo_json(capsys: pytest.CaptureFixture[str]) -> None:
    facts = as_json(capsys, "demo")
    assert facts["passed"] is True
    assert 0.95 <= facts["accuracy"] <= 1
    assert facts["epochs"] == 30
    chain = facts["chain_rule"]
    product = chain["dz_dw"] * chain["da_dz"] * chain["dC_da"]
    assert product == pytest.approx(chain["dC_dw"], rel=1e-12)
    assert facts["gradient_check"]["passed"] is True
    assert 0 < facts["gradient_check"]["max_relative_error"] < 1e-12
    assert as_json(capsys, "demo", "--epochs", "1", status=1)["passed"] is False


# ---- help ---------------------------------------------------------------------------------------

COMMANDS = ("demo", "train", "predict", "explain", "check", "bench", "info")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_can_be_asked(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit_:
        cli.main([command, "--help"])
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "--json" in text
    examples = re.findall(r"^  cbackprop (.*)$", text.split("\nexamples:\n")[1], re.MULTILINE)
    assert len(examples) >= 2
    for example in examples:
        arguments, rest = cli._parser().parse_known_args(example.split())
        assert example.split()[0] == command
        assert (arguments.run is not None, rest) == (True, [])


def test_the_readme_s_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, with small tables in place of the reader's own."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## On the command line\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    kinds = ("setosa", "versicolor", "virginica")
    rows = [f"{i % 3},{i},{1 / (i + 1)},0.5,{kinds[i % 3]}" for i in range(60)]
    Path("iris.csv").write_text("a,b,c,d,species\n" + "\n".join(rows))
    Path("new.csv").write_text("a,b,c,d\n1,2,3,4\n")
    commands = block.splitlines()
    outputs = [printed(capsys, *command.split()[1:]) for command in commands]
    assert outputs[3].startswith("label,setosa,versicolor,virginica\n")
    # What is shown of the second, its numbers rounded otherwise without FMA.
    number = re.compile(r"(?<= )-?\d+\.\d+(?:e-\d+)?")
    expected, printed_ = shown.splitlines(), outputs[1].splitlines()
    start = printed_.index(next(line for line in printed_ if line.startswith("How does")))
    for line, came in zip(expected, printed_[start:], strict=False):
        assert number.sub("#", line) == number.sub("#", came)
        values = [[float(x) for x in number.findall(text)] for text in (line, came)]
        assert values[0] == pytest.approx(values[1], rel=1e-4)
    assert len(expected) == 8


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["learn"], "invalid choice: 'learn'"),
        (["demo", "--epochs", "-1"], "epochs is -1"),
        (["demo", "--seed", "-1"], "seed is -1"),
        (["check", "--sizes", "64,x"], "argument --sizes: '64,x'; expected an integer or several"),
        (["check", "--sizes", "64"], "sizes is [64]; expected at least 2"),
        (["check", "--sizes", "0,3"], "sizes[0] is 0"),
        (["check", "--activation", "relu,step"], "activation[1] is 'step'"),
        (["check", "--cost", "poisson", "--activation", "relu"], "cost is 'poisson'"),
        (["check", "--init", "best"], "init is 'best'"),
        (["check", "--dtype", "int8"], "dtype is 'int8'"),
        (["check", "--backend", "gpu"], "backend is 'gpu'"),
        (["check", "--seed", "-1"], "seed is -1"),
        (["check", "--examples", "0"], "examples is 0; expected at least 1"),
        (["check", "--examples", "1798"], "examples is 1798; expected at most 1797, the bundled"),
        (["check", "--all", "--sizes", "2,2"], "argument --sizes: not with --all"),
        (["check", "--all", "--cost", "mse"], "argument --cost: not with --all"),
        (["check", "--all", "--activation", "tanh"], "argument --activation: not with --all"),
        (["check", "--all", "--init", "he"], "argument --init: not with --all"),
        (["check", "--all", "--dtype", "int8"], "dtype is 'int8'"),
        (["check", "--all", "--seed", "-1"], "seed is -1"),
        (["check", "--all", "--backend", "gpu"], "backend is 'gpu'"),
        (["bench", "--only", "W1,W9"], "only is 'W9'; expected one of 'W1', 'W2', 'W3', 'W4',"),
        (["bench", "--only", ""], "only is ''; expected one of 'W1'"),
        (["bench", "--rounds", "0"], "rounds is 0; expected at least 1"),
        (["bench", "--rounds", "few"], "argument --rounds: invalid int value: 'few'"),
        (["bench", "--dtype", "int8"], "dtype is 'int8'; expected 'float32' or 'float64'"),
        (["bench", "all"], "unrecognized arguments: all"),
        (["--loud"], "unrecognized arguments: --loud"),
    ],
)
def test_bad_commands(command: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command) == 2
    assert message in one_line_error(capsys)


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: cbackprop ")
    for command in COMMANDS:
        assert re.search(rf"^ +{command} ", error, re.MULTILINE)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"cbackprop {cbackprop.__version__}\n"


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cbackprop.Network, "fit", interrupted)
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "cbackprop: interrupted\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_interrupt_from_the_keyboard() -> None:
    # A shell's background job passes on that SIGINT is ignored; a terminal does not.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from cbackprop import cli; sys.exit(cli.main(['demo', '--epochs', '10000000']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    try:
        assert process.stdout is not None
        # The table has begun, so training is under way: each line comes when it is known.
        for line in process.stdout:
            if line.split()[:1] == ["2"]:
                break
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert error == "cbackprop: interrupted\n"


# ---- info, and standard output -----------------------------------------------------------------


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    facts = cbackprop.info()
    assert len(lines) == len(facts)
    assert lines[0].split() == ["version", cbackprop.__version__]
    assert len({re.search(r" {2,}", line).end() for line in lines if "  " in line}) == 1  # type: ignore[union-attr]
    shown = {None: "none", True: "yes", False: "no"}
    for line, (name, value) in zip(lines, facts.items(), strict=True):
        text = shown[value] if value is None or isinstance(value, bool) else str(value)
        assert re.fullmatch(rf"{name.replace('_', ' ')} +{re.escape(text)}", line)


def test_info_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == cbackprop.info()


def test_as_a_module() -> None:
    result = run_python("-W", "ignore", "-m", "cbackprop", "info")
    assert result.returncode == 0
    assert result.stderr == ""
    assert f"backend             {cbackprop.info()['backend']}\n" in result.stdout


def test_importing_the_package_leaves_the_command_line_alone() -> None:
    result = output_of(
        "import cbackprop, sys; print('cbackprop.cli' in sys.modules)", options=("-W", "ignore")
    )
    assert result == "False\n"


def test_plain_letters_for_a_terminal_without_the_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert cli.main(["demo"]) == 0
    text = raw.getvalue().decode("ascii")
    assert "dC/dw = dz/dw * da/dz * dC/da" in text
    assert "?/?" not in text
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    sys.stdout.flush()
    assert "times the sum of w2 to the cost" in " ".join(raw.getvalue().decode("ascii").split())


def test_closed_standard_output_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["info"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="no such pipes on Windows")
def test_a_reader_that_goes_away() -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "cbackprop", "demo", "--epochs", "2000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stderr:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "cbackprop", "info"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert result.returncode == 2
    assert result.stderr.startswith(b"cbackprop: error: ")
    assert result.stderr.count(b"\n") == 1
