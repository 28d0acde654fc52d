"""``cbackprop explain``: the chain rule of one weight of a saved network, for one example."""

from __future__ import annotations

import io
import re
import sys
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import as_json, printed, refusal

from cbackprop import Network, cli, datasets


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "flowers.csv"
    path.write_text("a,b,kind\n0.5,-2,q\n1,3,p\n-4,0.25,r\n-0.3,90,p\n")
    return str(path)


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = str(tmp_path / "three.model")
    net = Network(
        [2, 4, 5, 3],
        ["tanh", "sigmoid", "softmax"],
        "cross_entropy",
        seed=1,
        class_names=["p", "q", "r"],
    )
    net.weights[0][...] /= 100  # none is saturated by the last row
    net.save(path)
    return path


X = np.array([[0.5, -2.0], [1.0, 3.0], [-4.0, 0.25], [-0.3, 90.0]])
Y = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]])  # q, p, r, p; the outputs are p, q, r


def test_named_weight(model: str, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = printed(
        capsys,
        *("explain", model, table, "--row", "2", "--layer", "2", "--j", "3", "--k", "1"),
    )
    net = Network.load(model)
    term = net.chain_rule(X[2], Y[2]).weight(2, 3, 1)
    assert str(term) in output
    assert max(len(line) for line in output.splitlines()) <= 80
    lines = output.splitlines()
    assert lines[0] == "Row 2: wanted outputs y, and those of the network, a:"
    assert lines[1] == "  of (p, q, r)"
    assert lines[2] == "  y = (0, 0, 1)"
    shown = ", ".join(f"{value:.6g}" for value in net.predict(X[2]))
    assert lines[3] == f"  a = ({shown})"
    text = " ".join(output.split())
    assert f"cost C = {net.cost(X[2], Y[2]):.6g} depend on w[3, 1] of layer 2 = " in text
    assert f"= {net.weights[1][3, 1]:.6g}, the weight from neuron 1 of layer 1 to neuron 3" in text
    rows = re.findall(r"^ +(0\.1|0\.01|0\.001) +(\S+) +(\S+) +(\S+)$", output, re.MULTILINE)
    assert [row[0] for row in rows] == ["0.1", "0.01", "0.001"]
    errors = []
    for size, predicted, measured, ratio in rows:
        assert float(predicted) == pytest.approx(float(size) * term.value, rel=1e-4)
        assert float(measured) == pytest.approx(term.nudge(float(size)).measured, rel=1e-4)
        errors.append(abs(float(ratio) - term.value))
    assert errors[2] < errors[1] < errors[0]


def test_json(model: str, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = as_json(capsys, "explain", model, table, "--layer", "2", "--j", "3", "--k", "1")
    chain = Network.load(model).chain_rule(X[0], Y[0])
    term = chain.weight(2, 3, 1)
    nudges = facts.pop("nudges")
    assert facts == {
        "row": 0,
        "cost": chain.cost,
        "layer": 2,
        "j": 3,
        "k": 1,
        "dz_dw": term.dz_dw,
        "da_dz": term.da_dz,
        "dC_da": term.dC_da,
        "dC_dz": term.dC_dz,
        "dC_dw": term.value,
    }
    assert [nudge["size"] for nudge in nudges] == [0.1, 0.01, 0.001]
    assert nudges[0]["measured"] == term.nudge(0.1).measured


def test_softmax_layer(model: str, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A factor for every output, and their products summed."""
    facts = as_json(capsys, "explain", model, table, "--layer", "3")
    assert len(facts["da_dz"]) == len(facts["dC_da"]) == 3
    assert facts["dz_dw"] * np.dot(facts["da_dz"], facts["dC_da"]) == pytest.approx(facts["dC_dw"])
    assert "sum of their products" in printed(capsys, "explain", model, table, "--layer", "3")


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_saturated_output(output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An infinite factor is null, as JSON has no word for it; the product is right."""
    (tmp_path / "a.csv").write_text("a,kind\n1,p\n1,q\n1,r\n")
    net = Network([1, 3], output, "cross_entropy", class_names=list("pqr"))
    net.weights[0][:, 0] = [-800, 800, -800]
    net.save(tmp_path / "a.model")
    command = ["explain", str(tmp_path / "a.model"), str(tmp_path / "a.csv"), "--j", "0"]
    facts = as_json(capsys, *command)
    none = [None, 0, 0] if output == "softmax" else None
    assert facts["dC_da"] == none
    assert (facts["dz_dw"], facts["dC_dz"], facts["dC_dw"]) == (1, -1, -1)
    assert facts["cost"] == {"sigmoid": 1600, "softmax": 1600}[output]
    assert [nudge["measured"] for nudge in facts["nudges"]] == pytest.approx([-0.1, -0.01, -0.001])
    text = printed(capsys, *command)
    assert "before rounding  -1\n" in text
    assert "nan" not in text


def test_nudge_that_overflows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("a,y,z\n1,0,0\n")
    net = Network([1, 2], "exponential", "quadratic")
    net.parameters = [0.0, 0.0, 354.5138, 354.5138]  # 2 e^(2z) is 0.94 of the largest float64
    net.save(tmp_path / "a.model")
    command = ["explain", str(tmp_path / "a.model"), str(tmp_path / "a.csv"), "--target", "y,z"]
    measured = [nudge["measured"] for nudge in as_json(capsys, *command)["nudges"]]
    assert measured[0] is None
    assert all(change > 1e304 for change in measured[1:])
    (row,) = re.findall(r"^ +0\.1 .*$", printed(capsys, *command), re.MULTILINE)
    assert row.endswith(" not finite")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"layer": 1},
        {"layer": 3},
        {"layer": 2, "j": 4},
        {"layer": 2, "k": 0},
        {"j": 1},
        {"j": 4},  # layer 2 alone has five neurons
        {"k": 4},  # and so layer 3 alone has them below
        {"j": 0, "k": 1},
        {"layer": 1, "j": 3, "k": 1},
    ],
)
@pytest.mark.parametrize("row", [0, 1, 3])
def test_the_largest_derivative_of_what_is_left(
    asked: dict[str, int], row: int, model: str, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gradient = Network.load(model).gradient(X[row], Y[row])
    largest, place = -1.0, {}
    for layer, dC_dw in enumerate(gradient.weights, start=1):
        for (j, k), value in np.ndenumerate(dC_dw):
            here = {"layer": layer, "j": j, "k": k}
            if all(here[name] == value_ for name, value_ in asked.items()) and abs(value) > largest:
                largest, place = abs(value), here
    if not asked:
        assert place["layer"] == {0: 3, 1: 1, 3: 1}[row]
    options = [text for name, value in asked.items() for text in (f"--{name}", str(value))]
    facts = as_json(capsys, "explain", model, table, "--row", str(row), *options)
    assert {name: facts[name] for name in ("layer", "j", "k")} == place
    assert abs(facts["dC_dw"]) == pytest.approx(largest)


def test_input_names_and_large_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a_k is large a nudge of 0.1 would say nothing: the nudges are as much smaller."""
    (tmp_path / "a.csv").write_text("size,year,price\n0.5,1980,3.5\n")
    net = Network([2, 3, 1], ["tanh", "identity"], "mse", seed=0)
    net.weights[0][:, 1] /= 1000
    net.save(tmp_path / "a.model")
    command = ["explain", str(tmp_path / "a.model"), str(tmp_path / "a.csv"), "--layer", "1"]
    output = printed(capsys, *command)
    assert "the weight from input 1 (year) to neuron" in " ".join(output.split())
    assert "  y = (3.5)\n" in output
    facts = as_json(capsys, *command)
    sizes = [nudge["size"] for nudge in facts["nudges"]]
    assert sizes == pytest.approx([1e-5, 1e-6, 1e-7])
    for nudge in facts["nudges"]:
        assert nudge["measured"] == pytest.approx(nudge["predicted"], rel=0.05)
    assert facts["nudges"][2]["measured"] / sizes[2] == pytest.approx(facts["dC_dw"], rel=1e-3)


def test_data_may_stand_behind_options(
    model: str, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = as_json(capsys, "explain", model, table, "--row", "2")
    assert as_json(capsys, "explain", model, "--row", "2", table) == expected
    assert as_json(capsys, "explain", "--row", "2", model, table) == expected


def test_data_from_standard_input_behind_options(
    model: str,
    table: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = as_json(capsys, "explain", model, table, "--row", "2")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(table).read_bytes())))
    assert as_json(capsys, "explain", model, "--row", "2", "-") == expected


def test_targets_of_an_archive_for_a_model_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model knows its target by a name that an array of targets does not have."""
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("a,b,klass\n1,2,p\n3,1,q\n2,2,p\n")
    train = ["train", "a.csv", "--epochs", "1", "--save", "a.model"]
    for kind, Y in (
        ([], ["p", "q"]),
        (["--target", "b", "--drop", "klass", "--task", "regression"], [2.0, 1.5]),
    ):
        assert cli.main([*train, *kind]) == 0
        capsys.readouterr()
        X = np.array([[1.0, 2.0], [3.0, 1.0]])[:, : 1 if kind else 2]
        np.savez("a.npz", X=X, Y=np.array(Y))
        cost = as_json(capsys, "explain", "a.model", "a.npz", "--row", "1")["cost"]
        net = Network.load("a.model")
        y = [Y[1]] if kind else [0.0, 1.0]
        assert cost == net.cost(X[1], y)
        error = refusal(capsys, "explain", "a.model", "a.npz", "--target", "klass")
        assert "target is 'klass'; expected none, because array 'Y' of a.npz has" in error


def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network([64, 12, 10], seed=0)
    net.save(tmp_path / "a.model")
    output = printed(capsys, "explain", str(tmp_path / "a.model"), "--digits", "--row", "7")
    images, labels = datasets.load_digits()
    pictures = re.findall(r"^  \|(.*)\|", output, re.MULTILINE)
    assert [len(row) for row in pictures] == [16] * 8
    dark = np.array([[pixel != " " for pixel in row[::2]] for row in pictures])
    assert (dark == (np.round(images[7] * 9) > 0).reshape(8, 8)).all()
    prediction = int(net.predict(images[7]).argmax())
    assert f"label {labels[7]}, prediction {prediction}: " in output
    chain = net.chain_rule(images[7], datasets.one_hot(labels, 10)[7])
    facts = as_json(capsys, "explain", str(tmp_path / "a.model"), "--digits", "--row", "7")
    assert str(chain.weight(facts["layer"], facts["j"], facts["k"])) in output


def test_mnist(mnist_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network([784, 10], dtype="float32", seed=0)
    net.save(tmp_path / "a.model")
    facts = as_json(
        capsys, "explain", str(tmp_path / "a.model"), "--mnist", str(mnist_directory), "--row", "9"
    )
    _, (images, labels) = datasets.load_mnist(mnist_directory)
    assert facts["cost"] == pytest.approx(
        float(net.cost(images[9], datasets.one_hot(labels, 10)[9]))
    )


def test_fewer_classes_than_outputs(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.csv"
    path.write_text("a,b,kind\n0.5,-2,q\n")
    facts = as_json(capsys, "explain", model, str(path), "--layer", "2")
    assert facts["cost"] == Network.load(model).cost(X[0], Y[0])
    assert (
        as_json(capsys, "explain", model, str(path), "--labels", "p,q,r", "--layer", "2") == facts
    )
    # Without names in the model none are made up.
    net = Network.load(model)
    net.class_names = None
    net.save(model)
    assert (
        "kind has the classes 'q', and the model no names for its 3; expected --labels"
        in refusal(capsys, "explain", model, str(path))
    )
    assert (
        as_json(capsys, "explain", model, str(path), "--labels", "p,q,r", "--layer", "2") == facts
    )


@pytest.mark.parametrize(("kind", "target"), [("no", 0.0), ("yes", 1.0)])
def test_two_classes_and_one_output(
    kind: str, target: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text(f"a,kind\n0.5,{kind}\n1,no\n1,yes\n")
    net = Network([1, 1], "sigmoid", "cross_entropy", seed=0, class_names=["no", "yes"])
    net.save(tmp_path / "a.model")
    facts = as_json(capsys, "explain", str(tmp_path / "a.model"), str(tmp_path / "a.csv"))
    assert facts["cost"] == net.cost([0.5], [target])


def test_pictures(
    model: str, table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["explain", model, table, "--layer", "2", "--j", "3", "--k", "1"]
    text = printed(capsys, *command)
    svg, html = tmp_path / "a.svg", tmp_path / "a.html"
    assert printed(capsys, *command, "--svg", str(svg), "--html", str(html)) == text
    term = Network.load(model).chain_rule(X[0], Y[0]).weight(2, 3, 1)
    assert svg.read_text(encoding="utf-8") == str(term.svg())
    assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    page = html.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>\n")
    assert "<title>∂C/∂w[3, 1] of layer 2</title>" in page
    for kind in ("tree", "summary"):
        assert term.svg(kind) in page
    assert escape(str(term)) in page
    # It is for phones and for dark rooms, too, and has the table that is printed.
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert '<meta name="color-scheme" content="light dark">' in page
    assert "@media (prefers-color-scheme: dark)" in page
    cells = re.findall("<t[hd] [^>]*>(.*?)</t[hd]>", page)
    head, *rows = (re.split(" {2,}", line.strip()) for line in text.splitlines()[-4:])
    assert head == ["nudge", "predicted change", "measured change", "measured / nudge"]
    assert cells == [*head, *(number for row in rows for number in " ".join(row).split())]
    assert printed(capsys, *command, "--latex") == f"{term.latex()}\n"
    assert as_json(capsys, *command, "--svg", str(tmp_path / "b.svg"))["j"] == 3
    assert (tmp_path / "b.svg").read_bytes() == svg.read_bytes()
    assert "not with --json" in refusal(capsys, *command, "--latex", "--json")
    assert "no/a.svg: No such file or directory" in refusal(capsys, *command, "--svg", "no/a.svg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("flowers.csv --row 4", "row is 4; expected 0 to 3"),
        ("flowers.csv --row -1", "row is -1; expected at least 0"),
        ("flowers.csv --layer 4", "layer is 4; expected 1 to 3"),
        ("flowers.csv --layer 0", "layer is 0; expected 1 to 3"),
        ("flowers.csv --layer 1 --j 4", "j is 4; expected 0 to 3"),
        ("flowers.csv --layer 1 --k 2", "k is 2; expected 0 to 1"),
        ("flowers.csv --layer 1 --j -1", "j is -1; expected at least 0"),
        ("flowers.csv --j 5", "j is 5 and k is None; expected neurons that one of the layers has"),
        ("flowers.csv --target a", "flowers.csv:2: column 2 ('kind') is 'q'; expected a number"),
        ("flowers.csv --drop a", "the examples have 1 input; expected 2"),
        ("flowers.csv --labels p,q", "labels is 'p,q'; expected 3 names, as the model has 3"),
        ("flowers.csv --labels p,q,s", "labels is 'p,q,s'; expected none: the model has the names"),
        ("--digits", "the examples have 64 inputs; expected 2"),
        ("", "no DATA came"),
        ("flowers.csv --j x", "argument --j: invalid int value: 'x'"),
    ],
)
def test_refused(
    options: str,
    message: str,
    model: str,
    table: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, "explain", model, *options.split())
