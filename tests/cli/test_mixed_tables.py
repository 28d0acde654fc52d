"""Tables of words, gaps and numbers: from the file to predictions by the command line."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from command_line import as_json, printed, refusal

from cbackprop import Network, cli

PRICES = {"red": 10.0, "blue": -5.0, "green": 0.0}


def table(n: int = 120, gaps: bool = True, header: str = "colour,size,age,price") -> str:
    """Prices that colour, size and whether an age is known say nearly exactly."""
    rng = np.random.default_rng(8)
    rows = [header]
    for i in range(n):
        colour = list(PRICES)[i % 3]
        size, age = rng.uniform(1, 9), int(rng.integers(20, 60))
        missing = gaps and i % 10 == 0
        price = PRICES[colour] + 2 * size + (30 if missing else 0.1 * age)
        cells = {"colour": colour, "size": f"{size:.3f}", "age": "" if missing else str(age)}
        cells["price"] = f"{price:.3f}"
        rows.append(",".join(cells[name] for name in header.split(",")))
    return "\n".join(rows) + "\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(table())
    return tmp_path


TRAIN = "train a.csv --target price --categorical colour --missing mean --save a.model".split()


def predictions(capsys: pytest.CaptureFixture[str], text: str, *options: str) -> list[float]:
    Path("new.csv").write_text(text)
    rows = csv.reader(io.StringIO(printed(capsys, "predict", "a.model", "new.csv", *options)))
    return [float(row[0]) for row in list(rows)[1:]]


def test_from_a_file_to_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = printed(capsys, *TRAIN)
    assert "120 examples, 6 inputs of 3 columns, target price: a number" in output
    assert "R² 0.99" in output
    net = Network.load("a.model")
    names = ("colour=blue", "colour=green", "colour=red", "size", "age", "age missing")
    assert net.feature_names == names
    # In any order of the columns; a gap says that it is one, the words say which category.
    known, unknown = "red,5,40", "red,5,"
    values = predictions(capsys, f"colour,size,age\n{known}\n{unknown}\nblue,5,40\n")
    assert values == pytest.approx([24, 50, 9], abs=2.5)
    assert predictions(capsys, "age,colour,size\n40,red,5\nNA,red,5\n") == values[:2]
    # By position where there are no names, and as the network has it for the numbers themselves.
    assert predictions(capsys, f"{known}\n", "--no-header") == values[:1]
    assert net.predict([[0, 0, 1, 5, 40, 0]])[0] == pytest.approx(values[0], rel=1e-12)


def test_means_are_those_of_the_examples_trained_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, *TRAIN)
    net = Network.load("a.model")
    (_, _, age) = json.loads(net.metadata["columns"])
    ages = [row["age"] for row in csv.DictReader(io.StringIO(table())) if row["age"]]
    assert age[:3] == ["age", None, True]
    assert net.scales is not None
    assert age[3] == pytest.approx(net.scales.inputs.mean[4], rel=1e-12)  # the gaps hold it
    assert age[3] != pytest.approx(np.mean([float(one) for one in ages]), rel=1e-6)
    # A gap where the training had none gets the mean as well.
    mean = json.loads(net.metadata["columns"])[1][3]
    values = predictions(capsys, f"colour,size,age\nred,?,40\nred,{mean!r},40\n")
    assert values[0] == values[1]


def test_a_category_that_is_missing_is_none_of_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, *TRAIN)
    net = Network.load("a.model")
    values = predictions(capsys, "colour,size,age\n,5,40\nNA,5,40\n")
    assert values == pytest.approx([net.predict([0, 0, 0, 5, 40, 0])[0]] * 2, rel=1e-12)


def test_explain_and_resume(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, *TRAIN)
    output = printed(capsys, *"explain a.model a.csv --row 3 --layer 1 --k 2".split())
    assert "input 2 (colour=red)" in output
    train = [*TRAIN[:-2], "--checkpoint", "a.checkpoint", "--epochs"]
    part = as_json(capsys, *train, "3")
    whole = as_json(capsys, *train, "5", "--resume")
    assert whole["history"]["cost"][:3] == part["history"]["cost"]


def test_a_class_of_words_and_nothing_but_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{'ab'[i % 2]},{'xyz'[i % 3]},{'no' if i % 2 else 'yes'}\n" for i in range(60))
    Path("b.csv").write_text("first,second,answer\n" + rows)
    command = "train b.csv --target answer --categorical first,second --save b.model"
    assert "accuracy 1.0000" in printed(capsys, *command.split())
    Path("new.csv").write_text("second,first\nz,a\nz,b\n")
    output = printed(capsys, "predict", "b.model", "new.csv")
    assert [line.split(",")[0] for line in output.splitlines()] == ["label", "yes", "no"]


def test_a_table_without_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything goes by position, then and later."""
    Path("b.csv").write_text("".join(table().splitlines(keepends=True)[1:]))
    command = "train b.csv --no-header --categorical 0 --missing mean --save a.model"
    printed(capsys, *command.split())
    assert Network.load("a.model").feature_names is None
    values = predictions(capsys, "red,5,40\nred,5,\nblue,5,40\n", "--no-header")
    assert values == pytest.approx([24, 50, 9], abs=2.5)
    assert predictions(capsys, "c,s,a\nred,5,40\n") == values[:1]
    Path("new.csv").write_text("red,5\n")
    error = refusal(capsys, *"predict a.model new.csv --no-header".split())
    assert "the table has 2 inputs; expected 3, as the model has: 'column 0', 'column 1'" in error


def test_every_column_that_is_wrong_is_told_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "name,day,colour,size,kind,floor,price\n" + "".join(
        f"n{i},2024-01-{i:02},red,{'?' if i == 12 else i},{'' if i == 13 else 'k'},2,{i}\n"
        for i in range(10, 28)
    )
    Path("b.csv").write_text(rows)
    error = refusal(capsys, *"train b.csv --target price --categorical kind".split())
    for text in (
        "b.csv:2: column 0 ('name') is 'n10', column 1 ('day') is '2024-01-10', column 2 ('colour')"
        " is 'red', column 3 ('size') is '?' in line 4, column 4 ('kind') is empty in line 5; ",
        "expected numbers, a category",
        "; --categorical names columns of words, --target and --drop name columns that are no inp",
        "; a date is no number: give the days since some date, or year, month and weekday, as colu",
        "; what is missing is not filled in (--missing mean does it)",
        "; --drop name,day,colour,size,kind leaves all out",
    ):
        assert text in error


def test_a_category_that_the_model_does_not_know(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, *TRAIN)
    Path("new.csv").write_text("colour,size,age\nred,5,40\npurple,five,40\n")
    error = refusal(capsys, "predict", "a.model", "new.csv")
    assert "column 1 ('size') is 'five', column 0 ('colour') is 'purple'" in error
    assert "expected numbers, a category that the model knows, 'blue', 'green', 'red'" in error
    assert "--drop" not in error.replace("--target and --drop name columns", "")
    assert "--categorical" not in error
    # Without --missing nothing may be missing, in training or later.
    Path("a.csv").write_text(table(gaps=False))
    printed(capsys, *(word for word in TRAIN if word not in ("--missing", "mean")))
    Path("new.csv").write_text("colour,size,age\n,5,\n")
    error = refusal(capsys, "predict", "a.model", "new.csv")
    assert "column 2 ('age') is empty, column 0 ('colour') is empty; expected numbers" in error
    assert "--missing" not in error


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("a.csv --target price --categorical color", "categorical is 'color'; expected one of "),
        ("a.csv --target price --categorical price", "it has column 3, which is a target or left"),
        (
            "a.csv --target price --drop colour --categorical colour",
            "categorical is 'colour'; it has column 0, which is a target or left out",
        ),
        (
            "a.csv --target price --missing zero",
            "missing is 'zero'; expected one of 'refuse', 'mean'",
        ),
        ("--digits --categorical 1", "argument --categorical: only with DATA"),
        ("--digits --missing mean", "argument --missing: only with DATA"),
        ("a.npy --missing mean", "missing is True; expected none: a.npy is no CSV file"),
        ("a.npy --categorical 0", "categorical is '0'; expected none: a.npy is no CSV file"),
        ("many.csv --categorical 0", "has 120 categories in 120 rows; expected fewer: --drop"),
        ("twice.csv --categorical a", "the columns 'a=x' have one name; expected one for each"),
    ],
)
def test_refused(
    command: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("a.npy", np.eye(3))
    Path("many.csv").write_text("name,x,y\n" + "".join(f"n{i},{i},{i % 7}.5\n" for i in range(120)))
    Path("twice.csv").write_text("a,a=x,y\n" + "x,1,2.5\nz,2,3.5\n" * 9)
    assert message in refusal(capsys, "train", *command.split())


@pytest.mark.parametrize(
    "columns",
    [
        "{", "[]", "1", '[["colour"]]', '[["colour",["blue"],false,null]]', '[["colour",3,0,0]]',
        "[" * 100_000,
        *("a gap filled with abc", "a gap filled with NaN", "a gap filled with 10**400"),
    ],
    ids=range(10),
)  # fmt: skip
def test_metadata_that_is_not_of_the_inputs(
    columns: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, *TRAIN)
    net = Network.load("a.model")
    if columns.startswith("a gap"):
        good = json.loads(net.metadata["columns"])
        fill = columns.split()[-1]
        numbers = [column for column in good if column[1] is None]
        numbers[0][3] = {"NaN": math.nan, "10**400": 10**400}.get(fill, fill)
        columns = json.dumps(good)
    net.metadata = {**net.metadata, "columns": columns}
    net.save("a.model")
    error = refusal(capsys, "predict", "a.model", "a.csv", "--target", "price")
    assert "metadata of the model has columns" in error


def test_infinities_are_not_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.csv").write_text("x,y\n1,2.5\n,3.5\ninf,4.5\n")
    error = refusal(capsys, *"train b.csv --missing mean".split())
    assert "b.csv:4: column 0 ('x') is 'inf'; expected a number: what is missing is not" in error
    assert cli.main("train a.csv --target price --categorical colour --epochs 0".split()) == 2
