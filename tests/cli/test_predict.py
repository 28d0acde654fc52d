"""``cbackprop predict``: a saved network's outputs for the rows of a table."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import as_json, printed, refusal

from cbackprop import Network, cli, datasets


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Two inputs, three classes."""
    path = str(tmp_path / "three.model")
    Network([2, 4, 3], ["tanh", "softmax"], "cross_entropy", seed=1).save(path)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n0.5,-2\n1,3\n-4,0.25\n")
    return str(path)


X = np.array([[0.5, -2.0], [1.0, 3.0], [-4.0, 0.25]])


def as_rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_csv(dtype: str, rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every digit of the number type, and no more."""
    net = Network([2, 4, 3], dtype=dtype, seed=1)
    net.save(tmp_path / "a.model")
    header, *values = as_rows(printed(capsys, "predict", str(tmp_path / "a.model"), rows))
    assert header == ["output 0", "output 1", "output 2"]
    assert (np.array(values, dtype=dtype) == net.predict(X)).all()
    longest = 25 if dtype == "float64" else 14
    assert max(len(cell) for row in values for cell in row) <= longest


def test_labels(model: str, rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network.load(model)
    largest = net.predict(X).argmax(axis=1)
    header, *values = as_rows(
        printed(capsys, "predict", model, rows, "--labels", 'red,"blue, dark", green')
    )
    names = ["red", "blue, dark", "green"]
    assert header == ["label", *names]
    assert [row[0] for row in values] == [names[j] for j in largest]
    assert (np.array([row[1:] for row in values], dtype=float) == net.predict(X)).all()
    header, *values = as_rows(printed(capsys, "predict", model, rows, "--labels"))
    assert header == ["label", "0", "1", "2"]
    assert [int(row[0]) for row in values] == largest.tolist()


def test_one_output_tells_two_classes_apart(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network([2, 1], seed=0)
    net.weights[0][...] = [[1, 0]]
    net.biases[0][...] = 0
    net.save(tmp_path / "a.model")
    header, *values = as_rows(
        printed(capsys, "predict", str(tmp_path / "a.model"), rows, "--labels", "no,yes")
    )
    assert header == ["label", "output 0"]
    assert [row[0] for row in values] == ["yes", "yes", "no"]


@pytest.mark.parametrize("activation", ["tanh", "softsign"])
@pytest.mark.parametrize("names", [("no", "yes"), ("-1", "1")])
def test_one_output_between_minus_one_and_one_tells_them_apart_at_0(
    activation: str, names: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the network's own score of targets that are −1 and 1 has it; explain's targets are so."""
    net = Network([1, 1], activation, class_names=names)
    net.weights[0][:] = 1
    net.biases[0][:] = 0
    model, rows = str(tmp_path / "a.model"), tmp_path / "a.csv"
    net.save(model)
    X = [[-2.0], [-0.25], [0.25], [0.5]]  # of the last two outputs none is above 1/2
    Y = [[-1], [1], [1], [1]]
    assert net.score(X, Y) == 0.75
    rows.write_text(
        "x,kind\n" + "".join(f"{x},{names[y > 0]}\n" for [x], [y] in zip(X, Y, strict=True))
    )
    facts = as_json(capsys, "predict", model, str(rows), "--target", "kind")
    assert facts["labels"] == [names[i] for i in (0, 0, 1, 1)]
    assert facts["scores"] == {"accuracy": 0.75}
    for row in range(4):
        facts = as_json(capsys, "explain", model, str(rows), "--target", "kind", "--row", str(row))
        assert facts["cost"] == net.cost(X[row], Y[row])


@pytest.mark.parametrize(
    ("cost", "targets"),
    [
        ("quadratic", [0, 1, 1]),
        ("quadratic", [0, 2, 1]),
        ("mse", [0, 1, 1]),
        ("mse", [0, 2, 1]),
        ("cross_entropy", [0, 1, 1]),
        ("poisson", [0, 1, 1]),
    ],
)
def test_numbers_are_judged_as_the_network_judges_them(
    cost: str, targets: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network([2, 1], "sigmoid", cost, seed=3)
    net.save(tmp_path / "a.model")
    lines = [f"{x},{y},{t}" for (x, y), t in zip(X.tolist(), targets, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["a,b,t", *lines]))
    facts = as_json(
        capsys, "predict", str(tmp_path / "a.model"), str(tmp_path / "a.csv"), "--target", "t"
    )
    first = next(iter(facts["scores"].values()))
    assert first == net.score(X, np.array(targets, float)[:, np.newaxis])
    # What train says of its model goes first.
    net.metadata = {"task": "regression"}
    net.save(tmp_path / "a.model")
    facts = as_json(
        capsys, "predict", str(tmp_path / "a.model"), str(tmp_path / "a.csv"), "--target", "t"
    )
    assert list(facts["scores"]) == ["r2", "mae"]


def test_json(model: str, rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = as_json(capsys, "predict", model, rows)
    assert facts == {
        "outputs": Network.load(model).predict(X).tolist(),
        "labels": None,
        "scores": None,
    }
    facts = as_json(capsys, "predict", model, rows, "--labels", "p,q,r")
    assert set(facts["labels"]) <= {"p", "q", "r"}


def test_files(model: str, rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = Network.load(model).predict(X)
    text = printed(capsys, "predict", model, rows)
    assert printed(capsys, "predict", model, rows, "--out", str(tmp_path / "a.csv")) == ""
    assert (tmp_path / "a.csv").read_bytes() == text.encode()
    assert printed(capsys, "predict", model, rows, "--out", str(tmp_path / "a.npy")) == ""
    assert (np.load(tmp_path / "a.npy") == outputs).all()
    printed(capsys, "predict", model, rows, "--out", str(tmp_path / "l.npy"), "--labels", "p,q,r")
    expected = ["pqr"[j] for j in outputs.argmax(axis=1)]
    assert np.load(tmp_path / "l.npy", allow_pickle=False).tolist() == expected


@pytest.mark.parametrize("names", ["in the model", "by --labels", "numbers"])
def test_true_classes(
    names: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where not every class occurs; without names a class is the number of its output."""
    net = Network.load(model)
    words = "210" if names == "numbers" else "nsw"
    labels = ["--labels", "n,s,w"] if names == "by --labels" else []
    if names == "in the model":
        net.class_names = list(words)
        net.save(model)
    words = sorted(words) if names == "numbers" else words
    guesses = [words[j] for j in net.predict(X).argmax(axis=1)]
    wrong = [words[1] if guess == words[0] else words[0] for guess in guesses]
    path = tmp_path / "true.csv"
    for true, right in ((guesses + wrong, 3), (wrong, 0)):
        path.write_text(
            "id,a,kind,b\n"
            + "".join(f"z,{a},{kind},{b}\n" for (a, b), kind in zip([*X, *X], true, strict=False))
        )
        command = ["predict", model, str(path), "--target", "kind", "--drop", "id", *labels]
        assert cli.main(command) == 0
        captured = capsys.readouterr()
        n = len(true)
        assert captured.err == f"accuracy {right / n:.4f} ({right} of {n} right)\n"
        assert len(as_rows(captured.out)) == n + 1
        assert as_json(capsys, *command)["scores"] == {"accuracy": right / n}


def test_true_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network([2, 2], "identity", "mse", seed=3)
    net.save(tmp_path / "a.model")
    Y = net.predict(X) + np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.25]])
    np.save(tmp_path / "a.npy", np.column_stack([Y, X]))
    command = ["predict", str(tmp_path / "a.model"), str(tmp_path / "a.npy"), "--target", "0,1"]
    scores = as_json(capsys, *command)["scores"]
    assert scores == {"r2": net.score(X, Y, "r2"), "mae": pytest.approx(1.25 / 6)}
    assert cli.main([*command, "--out", str(tmp_path / "a.csv")]) == 0
    error = capsys.readouterr().err
    assert error == f"R² {scores['r2']:.4f}, mean absolute error 0.208333 (3 examples)\n"


def test_true_probabilities_have_no_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network([2, 2], "sigmoid", "cross_entropy", seed=3)
    net.save(tmp_path / "a.model")
    command = ["predict", str(tmp_path / "a.model"), str(tmp_path / "a.npy"), "--target", "0,1"]
    for Y, expected in (
        (np.array([[0.5, 0.25], [0.0, 1.0], [0.75, 0.0]]), ["r2", "mae"]),
        (np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), ["accuracy"]),
    ):
        np.save(tmp_path / "a.npy", np.column_stack([Y, X]))
        scores = as_json(capsys, *command)["scores"]
        assert scores == {name: net.score(X, Y, name) for name in expected}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "numbers.csv --drop y,z --labels",
            "argument --labels: only for a model that tells classes",
        ),
        ("numbers.csv --drop y,z --labels p,q", "argument --labels: only for a model that tells"),
        (
            "names.csv --target y",
            "target is y, 1 column with names; expected {} of numbers, because",
        ),
        (
            "names.csv --target y,z",
            "target is y, z, 2 columns with names; expected {} of numbers, b",
        ),
    ],
)
@pytest.mark.parametrize("targets", ["y", "y,z"])
@pytest.mark.parametrize("task", [[], ["--task", "regression"]])
def test_a_model_of_numbers_has_no_classes(
    task: list[str],
    targets: str,
    options: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("numbers.csv").write_text("a,y,z\n1,2.5,1\n3,4,2\n5,1,3\n")
    Path("names.csv").write_text("a,y,z\n1,p,1\n3,q,2\n")
    train = ["train", "numbers.csv", "--target", targets, "--epochs", "1", "--save", "n.model"]
    if targets == "y":
        train += ["--drop", "z"]
    assert cli.main([*train, *task]) == 0
    capsys.readouterr()
    if options.endswith("--target y"):
        options += " --drop z"
    assert message.format(targets.count(",") + 1) in refusal(
        capsys, "predict", "n.model", *options.split()
    )


def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network([64, 10], seed=0)
    net.save(tmp_path / "a.model")
    images, labels = datasets.load_digits()
    facts = as_json(capsys, "predict", str(tmp_path / "a.model"), "--digits", "--labels")
    assert facts["outputs"] == net.predict(images).tolist()
    right = np.mean(np.array(facts["labels"], dtype=int) == labels)
    assert facts["scores"] == {"accuracy": pytest.approx(right)}


def test_mnist(mnist_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Network([784, 10], dtype="float32", seed=0)
    net.save(tmp_path / "a.model")
    facts = as_json(capsys, "predict", str(tmp_path / "a.model"), "--mnist", str(mnist_directory))
    assert len(facts["outputs"]) == 10_000
    _, (images, labels) = datasets.load_mnist(mnist_directory)
    expected = net.score(images, datasets.one_hot(labels, 10))
    assert facts["scores"] == {"accuracy": pytest.approx(expected)}


def test_what_train_says_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands at the end of a training, by a shell, DATA being the table without targets."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    table = ["x,y,kind"]
    for i in range(60):
        kind = i % 2
        x, y = random.normal(3 * kind, 1, 2)
        table.append(f"{x},{y},{['it is', 'is; not'][kind]}")
    Path("all.csv").write_text("\n".join(table))
    Path("new.csv").write_text("x,y\n0,0\n3,3\n")
    output = printed(capsys, "train", "all.csv", "--save", "my model")
    predict, explain = (line.strip() for line in output.splitlines()[-2:])
    if shutil.which("sh") is None:
        pytest.skip("no shell")

    def shell(line: str) -> str:
        command = line.replace("cbackprop", f"{sys.executable} -W ignore -m cbackprop", 1)
        return subprocess.run(
            ["sh", "-c", command],
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        ).stdout

    header, *values = as_rows(shell(predict.replace("DATA", "new.csv")))
    assert header == ["label", "is; not", "it is"]
    assert [row[0] for row in values] == ["it is", "is; not"]
    assert "∂C/∂w" in shell(explain.replace("DATA", "all.csv"))


@pytest.mark.skipif(os.name == "nt", reason="no such pipes on Windows")
def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    # More than any pipe holds.
    Network([1, 100], seed=0).save(tmp_path / "a.model")
    np.save(tmp_path / "a.npy", np.zeros((3000, 1)))
    process = subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-m", "cbackprop", "predict"),
            *(tmp_path / "a.model", tmp_path / "a.npy"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stderr:
        process.stdout.read(100)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "no DATA came; expected one of DATA, --digits, --mnist DIR"),
        ("three.csv", "the examples have 3 inputs; expected 2, as the model has: --target and"),
        ("one.csv", "the examples have 1 input; expected 2, as the model has\n"),
        ("none.csv", "none.csv: No such file or directory"),
        ("rows.csv --labels a,b", "labels is 'a,b'; expected 3 names, as the model has 3 outputs"),
        ("rows.csv --labels a,b,a", "labels is 'a,b,a'; expected no name twice"),
        ("rows.csv --out a.txt", "out is 'a.txt'; expected a name ending in .csv or .npy"),
        ("rows.csv --out a.csv --json", "argument --json: not with --out"),
        ("rows.csv --out no/a.csv", "no/a.csv: No such file or directory"),
        ("three.csv --target c", "c has the classes '7', '9', and the model no names for its 3;"),
        ("three.csv --target c --labels 7,8,x", "c has the class '9'; expected one of '7', '8',"),
        ("three.csv --target a,b", "target is a, b, 2 columns; expected 3 of numbers or one of"),
        ("text.csv", "text.csv:2: column 1 ('b') is 'x'; expected a number; --target and --drop"),
        ("rows.csv --save a", "unrecognized arguments: --save a"),
    ],
)
def test_refused(
    options: str,
    message: str,
    model: str,
    rows: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("three.csv").write_text("a,b,c\n1,2,7\n3,4,9\n")
    Path("one.csv").write_text("a\n1\n")
    Path("text.csv").write_text("a,b\n1,x\n")
    if "--target a,b" in options:  # two columns of targets, and two of inputs
        Path("three.csv").write_text("a,b,c,d\n1,2,7,8\n")
    assert message in refusal(capsys, "predict", model, *options.split())
    assert not Path("a.csv").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a header's length in the first 8"),
        (
            b"a,b\n1,2\n",
            "a.model', which is text, as a table is; expected a file of train",
        ),
        (b"PK\3\4\0\0\0\0\0", "its header's length is"),
        (b"\x80\4\x95\0", "a.model', which is a pickled object; expected a file of train"),
        (None, "No such file or directory"),
    ],
)
def test_refused_models(
    content: bytes | None,
    message: str,
    rows: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / "a.model").write_bytes(content)
    assert message in refusal(capsys, "predict", str(tmp_path / "a.model"), rows)


def test_a_checkpoint_is_no_model(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its inputs are standardised ones: what it says of others would be wrong."""
    checkpoint = str(tmp_path / "a.checkpoint")
    as_json(capsys, "train", rows, "--epochs", "1", "--checkpoint", checkpoint)
    assert "the checkpoint of a training; expected a file of train --save" in refusal(
        capsys, "predict", checkpoint, rows, "--target", "b"
    )


def test_outputs_that_overflow(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Network([2, 1], "exponential", "mse", seed=0)
    net.weights[0][...] = 1000
    net.save(tmp_path / "a.model")
    assert "is not finite" in refusal(capsys, "predict", str(tmp_path / "a.model"), rows, status=1)


def test_numbers_of_a_model_keep_their_order(
    model: str, rows: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = json.dumps(as_json(capsys, "predict", model, rows)["outputs"])
    assert (np.array(json.loads(text)) == Network.load(model).predict(X)).all()
