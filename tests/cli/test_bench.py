"""``cbackprop bench``: its table, its JSON, its networks."""

from __future__ import annotations

import json
import re

import pytest
from command_line import as_json

import cbackprop
from cbackprop import cli
from cbackprop.cli import workloads

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


def test_bench_with_threads(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", "--only", "W14", "--rounds", "1", "--threads"]
    assert cli.main([*command, "2"]) == 0
    assert capsys.readouterr().out.startswith(f"{workloads.processor()}, 2 threads; one core's\n")
    assert cli.main([*command, "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["machine"]["threads"] == 2
    limits = workloads.Limits(multiply_adds=100.0, written=20.0, read=50.0)
    assert limits.of(2) == workloads.Limits(multiply_adds=200.0, written=20.0, read=100.0)
    assert limits._replace(multiply_adds=None).of(2).multiply_adds is None


def test_bench_runs_every_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as each network takes what it is given; small ones, that this may take no time."""
    monkeypatch.setattr(workloads, "ROUND_SECONDS", 0.0)
    names = [workload.name for workload in workloads.WORKLOADS]
    assert names == ["W1", "W2", "W3", "W3", "W4", "W5", "W6", "W7", "W8", "W10", "W11", "W14"]
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
