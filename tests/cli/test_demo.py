"""``cbackprop demo``: what it trains, what it shows, when it fails."""

from __future__ import annotations

import io
import re
import sys

import pytest
from command_line import NUMBER, named

import cbackprop
from cbackprop import cli
from cbackprop.gradient_check import GradientCheck

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
