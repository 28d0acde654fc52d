"""A model knows its inputs and classes by name: columns and classes in any order mean the same."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import as_json, printed, refusal

from cbackprop import Network, cli

RANDOM = np.random.default_rng(0)
KINDS = np.arange(90) % 3
ROWS = np.column_stack([RANDOM.normal(5 + KINDS, 0.3), RANDOM.normal(300 - 100 * KINDS, 20)])


def table(columns: str, classes: Sequence[str] = "abc", rows: Iterable[int] = range(90)) -> str:
    """The examples with these columns, in this order."""
    lines = [columns]
    for i in rows:
        cells = {"x": f"{ROWS[i, 0]}", "y": f"{ROWS[i, 1]}", "kind": classes[KINDS[i]]}
        lines.append(",".join(cells.get(name, "7") for name in columns.split(",")))
    return "\n".join(lines) + "\n"


@pytest.fixture
def model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.chdir(tmp_path)
    Path("train.csv").write_text(table("x,y,kind"))
    printed(capsys, *"train train.csv --epochs 60 --save a.model".split())
    return "a.model"


def scores(capsys: pytest.CaptureFixture[str], *arguments: str) -> float:
    return as_json(capsys, "predict", *arguments)["scores"]["accuracy"]


def test_a_model_has_its_names(model: str) -> None:
    net = Network.load(model)
    assert net.feature_names == ("x", "y")
    assert net.class_names == ("a", "b", "c")
    assert net.metadata["task"] == "classification"
    assert net.metadata["target"] == "kind"
    assert (net.metadata["seed"], net.metadata["held out"]) == ("0", "0.2")
    assert net.metadata["standardised"] == "inputs"


def test_columns_in_every_order(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(table("x,y,kind"))
    expected = as_json(capsys, "predict", model, "a.csv", "--target", "kind")
    assert expected["scores"]["accuracy"] > 0.95
    for order in itertools.permutations(("x", "y", "kind")):
        Path("a.csv").write_text(table(",".join(order)))
        assert as_json(capsys, "predict", model, "a.csv", "--target", "kind") == expected
        # explain takes what the model was trained to tell, wherever it stands.
        facts = as_json(capsys, "explain", model, "a.csv", "--row", "4")
        net = Network.load(model)
        assert facts["cost"] == net.cost(ROWS[4], [0.0, 1.0, 0.0])


def test_a_table_without_answers_to_explain(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The column that would be taken for them is an input."""
    for columns, last in (("x,y", "y"), ("y,x", "x")):
        Path("a.csv").write_text(table(columns))
        assert (
            f"target is '{last}', the last column, an input of the model; expected a column of "
            "answers, 'kind' in the training: --target names it"
        ) in refusal(capsys, "explain", model, "a.csv")
    Path("a.csv").write_text("\n".join(table("x,y").splitlines()[1:]))
    error = refusal(capsys, "explain", model, "a.csv", "--no-header")
    assert "have 1 input; expected 2, as the model has, besides the target, 'column 1'" in error
    # A network that does not know what it was trained to tell.
    net = Network.load(model)
    net.metadata = {}
    net.class_names = None
    net.save("b.model")
    Path("a.csv").write_text(table("x,y"))
    error = refusal(capsys, "explain", "b.model", "a.csv")
    assert "an input of the model; expected a column of answers: --target names it" in error


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            "x,kind",
            "--target kind",
            "the table has the inputs 'x', without 'y'; expected the model's 2, 'x', 'y'\n",
        ),
        (
            "x,z,kind",
            "--target kind",
            "has the inputs 'x', 'z', without 'y' and with 'z'; expected",
        ),
        (
            "x,y,z,kind",
            "--target kind",
            "has the inputs 'x', 'y', 'z', with 'z'; expected the model's 2",
        ),
        (
            "x,y,kind",
            "",
            "'x', 'y', 'kind', with 'kind'; expected the model's 2, 'x', 'y': --target",
        ),
        ("x,y", "--drop y", "the table has the inputs 'x', without 'y'"),
        ("x,kind", "--target x", "target is 'x', an input of the model; expected a column of"),
        ("X,y", "", "has the inputs 'X', 'y', without 'x' and with 'X'"),
    ],
)
def test_columns_that_are_others(
    columns: str, options: str, message: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.csv").write_text(table(columns))
    assert message in refusal(capsys, "predict", model, "a.csv", *options.split())


def test_without_a_header_and_from_arrays_by_position(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.csv").write_text(table("x,y,kind").partition("\n")[2])
    assert scores(capsys, model, "a.csv", "--target", "-1") > 0.95
    np.save("a.npy", ROWS)
    assert as_json(capsys, "predict", model, "a.npy")["labels"][:3] == ["a", "b", "c"]


def test_classes_that_occur_are_not_all_there_are(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was counted by position before: b and c as the first and the second class."""
    rows = [i for i in range(90) if KINDS[i] > 0]
    Path("a.csv").write_text(table("x,y,kind", rows=rows))
    assert scores(capsys, model, "a.csv", "--target", "kind") > 0.95
    Path("a.csv").write_text(table("x,y,kind", "bcd"))
    message = "kind has the class 'd'; expected one of 'a', 'b', 'c'"
    assert message in refusal(capsys, "predict", model, "a.csv", "--target", "kind")


def test_classes_that_are_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of 1, 2, 3 on rows of 2 and 3; and of halves, on rows that are all whole."""
    monkeypatch.chdir(tmp_path)
    halves = ("0.5", "1.0", "1.5")
    for classes in ("123", halves):
        Path("train.csv").write_text(table("x,y,kind", classes))
        printed(capsys, *"train train.csv --task classification --epochs 60 --save a.model".split())
        assert Network.load("a.model").class_names == (
            ("1", "2", "3") if classes == "123" else ("0.5", "1", "1.5")
        )
        for kinds in ([1, 2], [1], [2]):
            rows = [i for i in range(90) if KINDS[i] in kinds]
            Path("a.csv").write_text(table("x,y,kind", classes, rows))
            assert scores(capsys, "a.model", "a.csv", "--target", "kind") > 0.9


@pytest.mark.parametrize("classes", [("01", "1", "2"), ("7", f"{2**53 + 1}", f"{2**53 + 3}")])
def test_classes_that_are_codes(
    classes: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number would have become another class; rows of some of them alone go to the same."""
    monkeypatch.chdir(tmp_path)
    Path("train.csv").write_text(table("x,y,kind", classes))
    printed(capsys, *"train train.csv --task classification --epochs 60 --save a.model".split())
    assert Network.load("a.model").class_names == classes
    for kinds in ([0, 1, 2], [0], [1], [2]):
        rows = [i for i in range(90) if KINDS[i] in kinds]
        Path("a.csv").write_text(table("x,y,kind", classes, rows))
        assert scores(capsys, "a.model", "a.csv", "--target", "kind") > 0.9


def test_labels_cannot_be_another_order(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(table("x,y"))
    expected = printed(capsys, "predict", model, "a.csv")
    assert expected.startswith("label,a,b,c\na,")
    for labels in (["--labels", "a,b,c"], ["--labels"]):
        assert printed(capsys, "predict", model, "a.csv", *labels) == expected
    for labels in ("b,a,c", "p,q,r"):
        message = f"labels is '{labels}'; expected none: the model has the names of its classes"
        assert message in refusal(capsys, "predict", model, "a.csv", "--labels", labels)


def test_a_model_without_names(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network.load(model)
    net.class_names, net.metadata = None, {}
    net.save("bare.model")
    Path("a.csv").write_text(table("x,y,kind"))
    command = ("bare.model", "a.csv", "--target", "kind")
    message = (
        "kind has the classes 'a', 'b', 'c', and the model no names for its 3; expected --labels"
    )
    assert message in refusal(capsys, "predict", *command)
    assert scores(capsys, *command, "--labels", "a,b,c") > 0.95
    Path("a.csv").write_text(table("x,y,kind", "012"))
    assert scores(capsys, *command) > 0.95  # the numbers of its outputs
    Path("a.csv").write_text(table("x,y,kind", "123"))
    assert "the model no names for its 3" in refusal(capsys, "predict", *command)


def test_outputs_that_are_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their columns have names, too: several targets come in the model's order."""
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text(
        "u,p,v,q\n" + "".join(f"{i},{3 * i},{i % 7},{-i}\n" for i in range(60))
    )
    printed(capsys, *"train a.csv --target p,q --save a.model --epochs 60".split())
    net = Network.load("a.model")
    assert (net.feature_names, net.class_names) == (("u", "v"), ("p", "q"))
    assert net.metadata["standardised"] == "inputs and targets"
    r2 = [
        as_json(capsys, "predict", "a.model", "a.csv", "--target", target)["scores"]["r2"]
        for target in ("p,q", "q,p")
    ]
    assert r2[0] == r2[1] > 0.9
    command = ["predict", "a.model", "a.csv", "--drop", "p,q"]
    header = next(csv.reader(io.StringIO(printed(capsys, *command))))
    assert header == ["p", "q"]  # no classes: no labels
    assert as_json(capsys, "explain", "a.model", "a.csv")["cost"] == net.cost([0, 0], [0, 0])


def test_explain_names_inputs_and_classes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text(table("kind,y,x"))
    text = " ".join(printed(capsys, "explain", model, "a.csv", "--layer", "1", "--k", "1").split())
    assert "the weight from input 1 (y) to neuron" in text
    assert " of (a, b, c) y = (1, 0, 0) a = (" in text
    text = " ".join(printed(capsys, "explain", model, "a.csv", "--layer", "2", "--j", "2").split())
    assert "to neuron 2 of layer 2 (c)?" in text


def test_a_name_twice_is_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,a,y\n1,2,3.5\n2,3,4.5\n")
    assert "the columns 'a' have one name; expected one for each" in refusal(
        capsys, "train", str(path)
    )
    assert as_json(capsys, "train", str(path), "--drop", "1", "--epochs", "1")["sizes"] == [
        1,
        30,
        1,
    ]


def test_digits_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "digits.model")
    printed(capsys, "train", "--digits", "--epochs", "1", "--save", path)
    assert Network.load(path).class_names == tuple("0123456789")
    facts = as_json(capsys, "predict", path, "--digits")
    assert facts["labels"][0] in "0123456789"
    assert facts["scores"]["accuracy"] > 0.5


def test_pandas_index_is_left_out_with_a_word(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table("x,y").splitlines()
    Path("a.csv").write_text(
        "\n".join([f",{rows[0]}", *(f"{i},{row}" for i, row in enumerate(rows[1:]))])
    )
    assert cli.main(["predict", model, "a.csv"]) == 0
    captured = capsys.readouterr()
    told = "column 0 has no name of its own and numbers or names the rows: left out"
    assert captured.err == f"cbackprop: a.csv: {told}\n"
    Path("b.csv").write_text(table("x,y"))
    assert captured.out == printed(capsys, "predict", model, "b.csv")


def test_columns_of_numbers_go_by_the_names_of_the_outputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net = Network([1, 2], "identity", "mse", class_names=["p", "q"], feature_names=["x"], seed=0)
    net.save("a.model")
    Path("a.csv").write_text("q,x,p\n0.5,1,2\n0.25,3,4\n")
    facts = as_json(capsys, "predict", "a.model", "a.csv", "--target", "q,p")
    assert facts["scores"]["mae"] == net.score([[1.0], [3.0]], [[2.0, 0.5], [4.0, 0.25]], "mae")
    Path("a.csv").write_text("r,x,p\n0.5,1,2\n0.25,3,4\n")
    assert (
        "target has the columns 'r', 'p', without 'q' and with 'r'; expected those of the model's "
        "outputs, 'p', 'q'"
    ) in refusal(capsys, "predict", "a.model", "a.csv", "--target", "r,p")
