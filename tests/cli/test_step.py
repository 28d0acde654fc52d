"""``cbackprop step``: the page that it writes, its options and its one-line errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from cbackprop import Network, cli


def read(path: Path) -> dict:
    """The record in a page; test_stepper.py looks at the page itself."""
    text = path.read_text(encoding="utf-8")
    (record,) = re.findall(r'<script type="application/json" id="record">(.*?)</script>', text)
    return json.loads(record)


def test_command_writes_the_page(tmp_path, capsys):
    out = tmp_path / "xor.html"
    assert cli.main(["step", "--out", str(out), "--steps", "8", "--learning-rate", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 8 steps of a 2-3-1 network\n")
    found = read(out)
    assert (found["sizes"], found["learning_rate"]) == ([2, 3, 1], 2.0)
    pairs = {(tuple(step["a"][0]), tuple(step["y"])) for step in found["steps"]}
    assert pairs == {((0, 0), (0,)), ((0, 1), (1,)), ((1, 0), (1,)), ((1, 1), (0,))}
    # What is drawn is the network that the same options make in Python.
    for values, W in zip(
        found["parameters"]["weights"], Network([2, 3, 1], seed=0).weights, strict=True
    ):
        np.testing.assert_array_equal(values, W)


def test_one_step_is_a_step(tmp_path, capsys):
    out = tmp_path / "xor.html"
    assert cli.main(["step", "--out", str(out), "--steps", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 1 step of a 2-3-1 network\n")


def test_command_takes_the_network_s_options(tmp_path):
    out = tmp_path / "page.html"
    options = "--sizes 2,4,2,1 --activation tanh,relu,sigmoid --cost cross_entropy --seed 5"
    options += " --dtype float32 --init lecun"
    assert cli.main(["step", *options.split(), "--out", str(out)]) == 0
    found = read(out)
    assert found["sizes"] == [2, 4, 2, 1]
    assert [one["name"] for one in found["activations"]] == ["tanh", "relu", "sigmoid"]
    assert found["cost"]["name"] == "cross_entropy"
    assert found["dtype"] == "float32"
    assert len(found["steps"]) == 20
    net = Network(
        [2, 4, 2, 1],
        ["tanh", "relu", "sigmoid"],
        "cross_entropy",
        dtype="float32",
        init="lecun",
        seed=5,
    )
    for values, b in zip(found["parameters"]["biases"], net.biases, strict=True):
        np.testing.assert_array_equal(values, b)


@pytest.mark.parametrize("found", [True, False])
def test_command_opens_the_page(tmp_path, monkeypatch, capsys, found):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or found)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["step", "--open"]) == 0
    assert opened == [(tmp_path / "step.html").as_uri()]
    assert ("No browser was found" in capsys.readouterr().out) is not found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "3,1"], "X has shape (4, 2); expected (n, 3)"),
        (["--sizes", "2,x"], "argument --sizes: '2,x'; expected an integer"),
        (["--sizes", "2,40,1"], "expected at most 16 to draw"),
        (["--steps", "0"], "steps is 0"),
        (["--learning-rate", "-1"], "learning_rate is -1.0"),
        (["--out", "no/such/folder.html"], "no/such/folder.html"),
    ],
)
def test_command_s_errors_are_one_line(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["step", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("cbackprop: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_command_s_json(tmp_path, capsys):
    out = tmp_path / "page.html"
    assert cli.main(["step", "--steps", "3", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": str(out),
        "steps": 3,
        "sizes": [2, 3, 1],
    }
    assert len(read(out)["steps"]) == 3
