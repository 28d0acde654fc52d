"""``cbackprop train``: tables, digits, MNIST; what it says, what it saves, what it refuses."""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import as_json, one_line_error, printed, refusal

from cbackprop import Network, cli, datasets
from cbackprop.cli.epochs import EpochTable
from cbackprop.random_numbers import RandomNumbers
from cbackprop.training import History

NUMBER = r"-?\d+\.\d+"


@pytest.fixture
def flowers(tmp_path: Path) -> str:
    """Three kinds that are easily told apart, on scales far from 0 and 1."""
    random = np.random.default_rng(0)
    rows = ["id,length,kind,width"]
    for i in range(150):
        kind = i % 3
        length, width = random.normal((500.0 + 20 * kind, 0.01 * kind), (3.0, 0.001)).tolist()
        rows.append(f"n{i},{length!r},{'rose aster lily'.split()[kind]},{width!r}")
    path = tmp_path / "flowers.csv"
    path.write_text("\n".join(rows))
    return str(path)


@pytest.fixture
def houses(tmp_path: Path) -> str:
    """A price that follows from three numbers and a little noise; no header."""
    random = np.random.default_rng(1)
    X = random.normal((100.0, 3.0, 1980.0), (30.0, 1.0, 15.0), size=(200, 3))
    price = 2000 * X[:, 0] + 9000 * X[:, 1] + 300 * (X[:, 2] - 1980) + random.normal(0, 500, 200)
    path = tmp_path / "houses.csv"
    np.savetxt(path, np.column_stack([X, price]), delimiter=",", fmt="%.6f")
    return str(path)


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


def epoch_rows(output: str) -> list[list[float]]:
    rows = re.findall(r"^ +\d+(?: +[\d.,-]+)+$", output, re.MULTILINE)
    return [[float(cell.replace(",", "")) for cell in row.split()] for row in rows]


# ---- tables -------------------------------------------------------------------------------------


def test_classes(flowers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "a model.safetensors")
    output = printed(capsys, "train", flowers, "--target", "kind", "--drop", "id", "--save", model)
    assert max(len(line) for line in output.splitlines()[:4]) <= 80
    assert "150 examples, 2 inputs, target kind: 3 classes (aster 50, lily" in " ".join(
        output.split()
    )
    assert "\n120 training examples in batches of 10, 30 held-out examples\n" in output
    assert re.search(r"^1 +30 +tanh +30 x 2 ", output, re.MULTILINE)
    assert re.search(r"^2 +3 +softmax +3 x 30 ", output, re.MULTILINE)
    assert "float64, cost cross_entropy," in output
    assert "\nAdam(learning_rate=0.001," in output
    right = re.search(r"^held-out accuracy \d\.\d{4} \((\d+) of 30 right\)$", output, re.MULTILINE)
    assert right is not None
    assert int(right[1]) >= 29
    assert output.endswith(
        f"saved to {model}\n"
        f"  cbackprop predict '{model}' DATA\n"
        f"  cbackprop explain '{model}' DATA\n"
    )
    assert not epoch_rows(output)  # standard output is no terminal
    # The model takes the numbers of the file as they are.
    net = Network.load(model)
    assert net.predict([500.0, 0.0]).argmax() == 2
    assert net.predict([520.0, 0.01]).argmax() == 0
    assert net.predict([540.0, 0.02]).argmax() == 1


def test_numbers(houses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "houses.model")
    output = printed(capsys, "train", houses, "--save", model)
    assert "200 examples, 3 inputs, target column 3: a number" in " ".join(output.split())
    assert "inputs and targets standardised" in output
    assert re.search(r"^2 +1 +identity ", output, re.MULTILINE)
    assert "cost mse," in output
    match = re.search(
        rf"^held-out R² ({NUMBER}), mean absolute error ({NUMBER}) \(40 examples\)$",
        output,
        re.MULTILINE,
    )
    assert match is not None
    assert float(match[1]) > 0.98
    assert float(match[2]) < 10_000
    price = float(Network.load(model).predict([100.0, 3.0, 1980.0])[0])
    assert price == pytest.approx(227_000, rel=0.05)


def test_json(flowers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "flowers.model")
    options = f"--target kind --drop id --hidden 8,4 --hidden 5 --epochs 3 --save {model}"
    facts = as_json(capsys, "train", flowers, *options.split())
    assert facts["sizes"] == [2, 8, 4, 5, 3]
    assert facts["activations"] == ["tanh", "tanh", "tanh", "softmax"]
    assert facts["classes"] == ["aster", "lily", "rose"]
    assert facts["training_examples"] == 120
    assert (facts["judged"], facts["judged_examples"]) == ("held-out", 30)
    assert facts["standardised"] is True
    assert facts["epochs"] == 3
    assert facts["stop_reason"] == "epochs"
    assert facts["best_epoch"] is None
    assert len(facts["history"]["cost"]) == len(facts["history"]["validation_cost"]) == 3
    assert facts["accuracy"] == pytest.approx(facts["history"]["accuracy"][-1])
    assert facts["saved"] == model
    assert Network.load(model).sizes == (2, 8, 4, 5, 3)


def test_every_option(houses: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--target 3,0 --sizes 2,6,2 --activation relu --output softplus --cost huber --l2 0.01"
        " --dtype float32 --init he --seed 3 --epochs 4 --batch-size 16 --optimizer rmsprop"
        " --learning-rate 0.02 --no-standardise --validation-fraction 0.1 --threads 2"
    )
    facts = as_json(capsys, "train", houses, *options.split())
    assert facts["sizes"] == [2, 6, 2]
    assert facts["activations"] == ["relu", "softplus"]
    assert facts["cost"] == "huber"
    assert facts["dtype"] == "float32"
    assert facts["optimizer"].startswith("RMSprop(learning_rate=0.02,")
    assert facts["batch_size"] == 16
    assert facts["training_examples"] == 180
    assert facts["standardised"] is False
    assert facts["classes"] is None
    assert facts["r2"] < 1
    assert facts["mae"] > 0
    again = as_json(capsys, "train", houses, *options.replace("--seed 3", "--seed 4").split())
    assert again["history"]["cost"] != facts["history"]["cost"]
    less = as_json(capsys, "train", houses, *options.replace("--l2 0.01", "").split())
    assert less["history"]["cost"] != facts["history"]["cost"]


def test_it_is_what_a_caller_would_do(houses: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--no-standardise --validation-fraction 0 --epochs 3 --seed 5 --learning-rate 0.01"
    facts = as_json(capsys, "train", houses, *options.split())
    table = np.loadtxt(houses, delimiter=",")
    net = Network([3, 30, 1], ["tanh", "identity"], "mse", seed=5)
    history = net.fit(
        table[:, :3], table[:, 3:], epochs=3, batch_size=10, optimizer="adam", learning_rate=0.01
    )
    assert facts["history"]["cost"] == history.cost
    assert facts["judged"] == "training"
    assert facts["judged_examples"] == 200
    assert facts["r2"] == net.score(table[:, :3], table[:, 3:], "r2")


@pytest.mark.parametrize(
    ("cells", "options", "classes"),
    [
        ("0 1", "", ["0", "1"]),
        ("10 9 -1", "", ["-1", "9", "10"]),  # by value, not by letters
        ("3.0 4.0", "", ["3", "4"]),
        ("0.5 1.5", "", None),
        ("0.5 1.5", "--task classification", ["0.5", "1.5"]),
        ("0 1", "--task regression", None),
        ("1 x", "--task classification", ["1", "x"]),
        # What no number keeps apart, or as it stands.
        ("2 01 1", "--task classification", ["01", "1", "2"]),
        ("2 01 1", "--task regression", None),
        ("01 02.5", "--task regression", None),
        (f"{2**53 + 1} {2**53 + 3}", "--task classification", [f"{2**53 + 1}", f"{2**53 + 3}"]),
        (f"{2**53} {2**53 - 1}", "--task classification", [f"{2**53 - 1}", f"{2**53}"]),
        (f"{2**53 + 1} {2**53 + 3}", "", None),
        ("0 1.50", "--task classification", ["0", "1.5"]),
        (" ".join(map(str, range(20))), "", [str(i) for i in range(20)]),
        (" ".join(map(str, range(21))), "", None),
        (" ".join(map(str, range(21))), "--task classification", [str(i) for i in range(21)]),
    ],
)
def test_kinds_of_targets(
    cells: str,
    options: str,
    classes: list[str] | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{i},{cell}\n" for i in range(2) for cell in cells.split()))
    facts = as_json(capsys, "train", str(path), "--epochs", "1", *options.split())
    assert facts["classes"] == classes
    assert facts["sizes"][-1] == (1 if classes is None else len(classes))
    assert facts["activations"][-1] == ("identity" if classes is None else "softmax")
    assert facts["cost"] == ("mse" if classes is None else "cross_entropy")


def test_exclusive_or(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four rows: nothing is held out by itself, and whole numbers are classes."""
    path = tmp_path / "xor.csv"
    path.write_text("a,b,out\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n")
    facts = as_json(capsys, "train", str(path), "--epochs", "1000")
    assert (facts["judged"], facts["judged_examples"], facts["accuracy"]) == ("training", 4, 1.0)


@pytest.mark.parametrize(("rows", "held"), [(49, 0), (50, 10), (53, 11)])
def test_what_is_held_out_by_itself(
    rows: int, held: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{i},{i / 7}\n" for i in range(rows)))
    facts = as_json(capsys, "train", str(path), "--epochs", "1")
    assert facts["training_examples"] == rows - held
    assert facts["judged"] == ("held-out" if held else "training")


def test_what_is_held_out_is_drawn_by_the_seed() -> None:
    from cbackprop.cli.training_examples import Data, divided

    X = np.arange(100.0).reshape(-1, 1)
    data = Data(X, X, None, None, "")
    sets = [divided(data, 0.2, (1, 3, 1), seed) for seed in (0, 0, 1)]
    rows = [sorted(set_.learn[0].ravel()) + sorted(set_.final[0].ravel()) for set_ in sets]
    assert rows[0] == rows[1] != rows[2]
    assert sorted(rows[0]) == list(range(100))
    assert (sets[0].final[0] == sets[0].final[1]).all()
    held = sets[0].final[0].ravel()
    assert 30 < held.mean() < 70  # neither the first nor the last
    # Not by the words that the parameters are made of.
    order = np.argsort(RandomNumbers(0).words(100), kind="stable")
    assert held.tolist() != sorted(order[:20].tolist())


def test_standard_input(
    flowers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = Path(flowers).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    options = "--target kind --drop id --epochs 2"
    assert as_json(capsys, "train", *options.split(), "-")["training_examples"] == 120


def test_data_may_stand_anywhere(flowers: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--target", "kind", "--drop", "id", "--epochs", "1"]
    for place in (0, 2, 4, 6):
        command = [*options[:place], flowers, *options[place:]]
        assert as_json(capsys, "train", *command)["epochs"] == 1


def test_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    X, labels = datasets.load_digits()
    path = tmp_path / "digits.npz"
    np.savez(path, x_train=X[:200].reshape(-1, 8, 8), y_train=labels[:200])
    keys = "--x-key x_train --y-key y_train --epochs 1"
    facts = as_json(capsys, "train", str(path), *keys.split())
    assert facts["sizes"] == [64, 30, 10]
    np.save(tmp_path / "digits.npy", np.column_stack([labels, X])[:200])
    by_column = as_json(
        capsys, "train", str(tmp_path / "digits.npy"), "--target", "0", "--epochs", "1"
    )
    assert by_column["history"] == facts["history"]


# ---- scaling ------------------------------------------------------------------------------------


def test_numbers_too_large_to_standardise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1e308,0.5\n-1e308,1.5\n1e308,2.5\n")
    error = refusal_after_start(capsys, "train", str(path))
    assert "X has numbers too large to be standardised" in error


# ---- digits and MNIST ---------------------------------------------------------------------------


def test_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lesson's network, as the demo trains it."""
    model = str(tmp_path / "digits.model")
    output = printed(capsys, "train", "--digits", "--save", model)
    assert "\n1437 training examples in batches of 10, 360 test examples\n" in output
    assert "2260 parameters, float64, cost quadratic" in output
    assert "SGD(learning_rate=2.0, momentum=0.0, nesterov=False)" in output
    assert "standardised for the training" not in output
    assert output.endswith(
        f"saved to {model}\n  cbackprop predict {model} --digits\n"
        f"  cbackprop explain {model} --digits\n"
    )
    X, labels = datasets.load_digits()
    Y = datasets.one_hot(labels, 10)
    test = np.arange(len(X)) % 5 == 0
    net = Network([64, 30, 10], seed=0)
    net.fit(X[~test], Y[~test], epochs=30, batch_size=10, learning_rate=2.0)
    assert (net.parameters == Network.load(model).parameters).all()
    right = round(net.score(X[test], Y[test]) * 360)
    assert f"\ntest accuracy {right / 360:.4f} ({right} of 360 right)\n" in output
    assert right > 342


def test_early_stopping_of_digits_looks_at_no_test_digit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    facts = as_json(capsys, "train", "--digits", "--early-stopping", "2", "--optimizer", "adam")
    assert facts["training_examples"] == 1437 - round(0.2 * 1437)
    assert (facts["judged"], facts["judged_examples"]) == ("test", 360)
    assert facts["optimizer"].startswith("Adam(learning_rate=0.001,")
    assert facts["epochs"] <= 30


def test_early_stopping(houses: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--epochs 3000 --early-stopping 3 --learning-rate 0.02"
    facts = as_json(capsys, "train", houses, *options.split())
    costs = facts["history"]["validation_cost"]
    assert facts["stop_reason"] == "early stopping"
    assert facts["best_epoch"] == int(np.argmin(costs)) + 1 == facts["epochs"] - 3
    # The best epoch's parameters are those that are judged.
    assert facts["r2"] == pytest.approx(facts["history"]["r2"][facts["best_epoch"] - 1])
    output = printed(capsys, "train", houses, *options.split())
    assert (
        f"\n{facts['epochs']} epochs, the best of them epoch {facts['best_epoch']} "
        "(early stopping); " in output
    )


def test_mnist(
    mnist_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    command = ["train", "--mnist", str(mnist_directory), "--train-size", "2000", "--epochs", "2"]
    output = printed(capsys, *command)
    assert "23860 parameters, float32, cost quadratic" in output
    assert "2000 training examples in batches of 10, 10000 test examples" in output
    assert "SGD(learning_rate=1.5, momentum=0.0, nesterov=False)" in output
    heading = "epoch training cost test cost test accuracy seconds examples/s"
    assert heading in [" ".join(line.split()) for line in output.splitlines()]
    rows = epoch_rows(output)
    assert [row[0] for row in rows] == [1, 2]
    assert rows[1][1] < rows[0][1]
    assert rows[1][3] > 0.75
    assert f"\ntest accuracy {rows[1][3]:.4f} (" in output


def test_mnist_takes_every_option(
    mnist_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--train-size 1000 --epochs 1 --hidden 16,8 --hidden 12 --activation tanh,relu,relu,softmax"
        " --cost cross_entropy --optimizer adam --dtype float64 --init lecun --batch-size 20"
        " --learning-rate 0.01 --seed 3"
    )
    output = printed(capsys, "train", "--mnist", str(mnist_directory), *options.split())
    for line in (
        r"1 +16 +tanh +16 x 784",
        r"2 +8 +relu +8 x 16",
        r"3 +12 +relu +12 x 8",
        r"4 +10 +softmax +10 x 12",
        r"\d+ parameters, float64, cost cross_entropy",
        r"1000 training examples in batches of 20,",
        r"Adam\(learning_rate=0\.01, ",
    ):
        assert re.search(rf"^{line}", output, re.MULTILINE), line


def test_train_size_must_be_there(
    mnist_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--mnist", str(mnist_directory), "--train-size", "60001"]
    assert "train_size is 60001; expected at most 60000" in refusal(capsys, *command)


def test_no_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    output = printed(capsys, "train", "--digits", "--epochs", "0")
    assert "\n0 epochs; 0 s of training\n" in output


# ---- the table of epochs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "every"), [(1, 1), (40, 1), (41, 2), (80, 2), (100, 5), (400, 10), (100_000, 5000)]
)
def test_epoch_lines_are_few(
    epochs: int, every: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)  # never a second after the last line
    table = EpochTable("test", epochs, 7)
    net = Network([1, 1])
    history = History()
    for _ in range(epochs):
        history.epochs += 1
        history.cost = [1 / history.epochs]
        history.seconds += 0.5
        table(net, history)
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading.split() == ["epoch", "training", "cost", "seconds", "examples/s"]
    shown = [int(line.split()[0]) for line in lines]
    expected = sorted({1, *range(every, epochs + 1, every), epochs})
    assert shown == expected
    assert len(shown) <= 42
    assert {line.split()[3] for line in lines} == {"14"}  # 7 examples in half a second
    total = sum(float(line.split()[2]) for line in lines)
    assert total == pytest.approx(0.5 * epochs, rel=1e-3)


def test_slow_epochs_have_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = EpochTable("test", 100)
    history = History()
    for epoch in range(1, 5):
        history.epochs = epoch
        history.cost = [1.0]
        moment = 1.5 * epoch
        monkeypatch.setattr(time, "monotonic", lambda moment=moment: moment)
        table(Network([1, 1]), history)
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_on_a_terminal_epochs_are_shown(
    houses: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    output = printed(capsys, "train", houses, "--epochs", "3")
    assert [row[0] for row in epoch_rows(output)] == [1, 2, 3]
    assert "held-out R²" in output
    output = printed(capsys, "train", houses, "--epochs", "3", "--validation-fraction", "0")
    assert "training R²" in output
    # Never with --json. What fit itself shows of long epochs is left to fit.
    asked = []
    fit = Network.fit

    def recording(net: Network, *arguments: object, **options: object) -> History:
        assert "progress" not in options
        asked.append(len(options["callbacks"]))  # type: ignore[arg-type]
        return fit(net, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Network, "fit", recording)
    printed(capsys, "train", houses, "--epochs", "1")
    assert as_json(capsys, "train", houses, "--epochs", "3")["epochs"] == 3
    assert asked == [1, 0]


def test_rows_of_the_table_stand_above_the_progress_of_an_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that fit shows is emptied before each row, if it is on a terminal."""
    history = History()
    history.cost = [1.0]
    for on_a_terminal, expected in ((False, ""), (True, "\r\x1b[K")):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_one=on_a_terminal: is_one)
        EpochTable("test")(Network([1, 1]), history)
        assert capsys.readouterr().err == expected
    monkeypatch.setattr(sys, "stderr", None)
    EpochTable("test")(Network([1, 1]), history)


def run_apart(*arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", START, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        **options,  # type: ignore[call-overload]
    )


# A shell's background job passes on that SIGINT is ignored; a terminal does not.
START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from cbackprop import cli; sys.exit(cli.main(sys.argv[1:]))"
)


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals on Windows")
def test_a_real_terminal(houses: str) -> None:
    """Epochs as they come; Ctrl-C ends it with 130, one line, and no model."""
    import pty

    controller, terminal = pty.openpty()
    model = houses.replace("houses.csv", "houses.model")
    process = run_apart("train", houses, "--epochs", "100000000", "--save", model, stdout=terminal)
    try:
        os.close(terminal)
        shown = b""
        until = time.monotonic() + 60
        while not re.search(rb"\n +1 +[\d.]+", shown) and time.monotonic() < until:
            if select.select([controller], [], [], 1)[0]:
                shown += os.read(controller, 4096)
        assert re.search(rb"epoch +training cost +held-out cost", shown)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[1] == (
            "cbackprop: interrupted; nothing was saved: with --checkpoint FILE a training can go "
            "on\n"
        )
    finally:
        process.kill()
        process.wait()
        os.close(controller)
    assert process.returncode == 130
    assert not Path(model).exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_a_pipe_has_no_epochs_and_an_interrupted_training_goes_on(
    houses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "a.checkpoint"
    options = f"{houses} --seed 2 --hidden 3 --checkpoint {checkpoint}"
    process = run_apart("train", *options.split(), "--epochs", "100000000", stdout=subprocess.PIPE)
    try:
        until = time.monotonic() + 60
        while not checkpoint.exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert error == f"cbackprop: interrupted; --resume goes on from {checkpoint}\n"
    assert not epoch_rows(output)
    assert output.endswith("epsilon=1e-08)\n")
    # What came of it is what an uninterrupted training has by then, and goes on to the same bits.
    assert cli.main(["train", *options.split(), "--epochs", "0", "--resume", "--json"]) == 0
    captured = capsys.readouterr()
    done = json.loads(captured.out)["epochs"]
    assert captured.err == (
        f"cbackprop: the checkpoint has {done} epochs, and --epochs is 0: nothing is left to "
        "train\n"
    )
    epochs = str(done + 5)
    resumed, whole = tmp_path / "resumed.model", tmp_path / "whole.model"
    command = ["train", *options.split(), "--epochs", epochs]
    facts = as_json(capsys, *command, "--resume", "--save", str(resumed))
    assert facts["epochs"] == done + 5
    # Without --resume it would be lost after the first epoch.
    kept = checkpoint.read_bytes()
    assert "which is there already; expected --resume" in refusal(capsys, *command)
    assert checkpoint.read_bytes() == kept
    checkpoint.write_bytes(b"")
    as_json(capsys, *command, "--save", str(whole))
    assert resumed.read_bytes() == whole.read_bytes()


# ---- errors -------------------------------------------------------------------------------------


def test_divergence_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--activation exponential --learning-rate 1e6"
    assert cli.main(["train", "--digits", *options.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith("cbackprop: error: training diverged in epoch 1")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "lacks train-images-idx3-ubyte"),
        ("--hidden 0", "sizes[1] is 0"),
        ("--hidden 16,x", "argument --hidden: '16,x'; expected an integer or several"),
        ("--sizes 784,10 --hidden 3", "argument --sizes: not with --hidden"),
        ("--sizes 64,30,10", "sizes is [64, 30, 10]; expected 784 inputs and 10 outputs"),
        ("--epochs -1", "epochs is -1"),
        ("--epochs two", "argument --epochs: invalid int value: 'two'"),
        ("--batch-size 0", "batch_size is 0"),
        ("--learning-rate -1", "learning_rate is -1.0"),
        ("--learning-rate nan", "learning_rate is nan"),
        ("--l2 -1", "l2 is -1.0"),
        ("--train-size 0", "train_size is 0"),
        ("--seed -1", "seed is -1"),
        ("--threads 0", "threads is 0"),
        ("--dtype int8", "dtype is 'int8'"),
        ("--init best", "init is 'best'"),
        ("--optimizer newton", "optimizer is 'newton'"),
        ("--cost low", "cost is 'low'"),
        ("--cost cross_entropy --output relu", "cost is 'cross_entropy'"),
        ("--activation sigmoid,step", "activation[1] is 'step'"),
        ("--activation relu,relu,relu", "activation has 3"),
        ("--output step", "activation[1] is 'step'"),
        ("--validation-fraction 1", "validation_fraction is 1.0"),
        ("--early-stopping 0", "patience is 0"),
        ("--early-stopping --validation-fraction 0", "argument --early-stopping: only with a"),
        ("--task regression", "argument --task: only with DATA"),
        ("--target digit", "argument --target: only with DATA"),
        ("--x-key a", "argument --x-key: only with DATA"),
        ("--no-header", "argument --header: only with DATA"),
        ("--digits", "--digits and --mnist came; expected one of DATA, --digits, --mnist DIR"),
        ("more", "DATA and --mnist came; expected one of DATA, --digits, --mnist DIR"),
        ("more and more", "unrecognized arguments: and more (see cbackprop train --help)"),
        ("--resume", "argument --resume: only with --checkpoint"),
        ("--save no/such/folder", "save is 'no/such/folder'; expected a folder that is there"),
        ("--checkpoint no/such", "checkpoint is 'no/such'; expected a folder that is there"),
        ("--save .", "save is '.'; expected a file, not a folder"),
    ],
)
def test_bad_options(
    options: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told before the digits are read, of which none are there."""
    assert message in refusal(capsys, "train", "--mnist", str(tmp_path), *options.split())


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a,b\n1,2\n", "--target c", "target is 'c'; expected one of 'a', 'b', or a column's"),
        ("a,b\n1,x\n2,x\n", "", "b has one class, 'x'; expected two at least"),
        ("a,b\n1,x\n2,y\n", "--task regression", "task is 'regression'; b has names, expected"),
        ("a,b\n1,x\n2,y\n", "--task sort", "task is 'sort'; expected one of 'classification'"),
        ("a,b,c\n1,x,1\n2,y,2\n", "--target b,c", "target is b, c, 2 columns; expected one column"),
        ("1,2,3\n3,4,5\n", "--target 1,2 --task classification", "2 columns; expected one column"),
        ("1,2\n3,x\n", "", "a.csv:2: column 1 is 'x', no number, unlike '2' in line 1; expected"),
        ("1,2\nx,4\n", "", "a.csv:2: column 0 is 'x'; expected a number"),
        (
            "1,2\n3,02\n",
            "",
            "a.csv:2: column 1 is '02', a code or a number; expected --task classi",
        ),
        ("1,2\n3,4\n", "--sizes 1,3", "sizes is [1, 3]; expected 1 inputs and 2 outputs"),
        ("1,2\n3,4\n", "--delimiter ;", "of 1 column 1 is a target and 0 are dropped"),
        ("1,2\n3,4\n", "--delimiter ;;", "delimiter is ';;'; expected one character"),
        ("1,2.5\n", "--validation-fraction 0.5", "validation_fraction is 0.5 of 1 example: none"),
        ("1,0\n2,1\n", "--output relu --cost cross_entropy", "cost is 'cross_entropy'"),
        ("1,0\n2,1\n", "--train-size 2", "argument --train-size: only with --mnist"),
        ("1,0\n2,1\n", "--checkpoint none --resume", "checkpoint is 'none', which is not there"),
        ("1,0\n2,1\n", "--x-key a", "x_key is 'a'; expected none:"),
    ],
)
def test_bad_tables(
    content: str,
    options: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text(content)
    assert message in refusal_after_start(capsys, "train", "a.csv", *options.split())


def refusal_after_start(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error that may come behind what is printed first."""
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("cbackprop: error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train"], "no DATA came; expected one of DATA, --digits, --mnist DIR"),
        (["train", "none.csv"], "none.csv: No such file or directory"),
        (["train", "--mnist", "no\nwhere"], "lacks train-images-idx3-ubyte"),
    ],
)
def test_no_data(command: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(capsys, *command)


def test_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "t10k"):
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            (tmp_path / f"{part}-{kind}").write_bytes(b"no idx file")
    assert cli.main(["train", "--mnist", str(tmp_path)]) == 2
    assert "has magic number" in one_line_error(capsys)


def test_a_saved_model_that_float32_cannot_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("".join(f"{i}e-44,{i}.5\n" for i in range(10)))
    options = f"--dtype float32 --epochs 1 --save {tmp_path / 'a.model'}"
    assert cli.main(["train", str(path), *options.split()]) == 1
    assert "float32 cannot hold" in capsys.readouterr().err
    assert not (tmp_path / "a.model").exists()


# ---- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--seed 1", "seed was 0 and is 1 now; expected the same (--seed)"),
        ("--validation-fraction 0.3", "held out was 0.2 and is 0.3 now; expected the same"),
        (
            "--no-standardise",
            "standardised was inputs and targets and is no now; expected the same",
        ),
        ("--batch-size 5", "batch_size 10"),
        ("--optimizer sgd", "had optimizer 'Adam("),
        ("--l2 0.5", "options"),
    ],
)
def test_going_on_with_another_training_is_refused(
    options: str, message: str, houses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another seed holds out what was trained on, another scaling gives other numbers."""
    command = ["train", houses, "--checkpoint", str(tmp_path / "a.checkpoint")]
    as_json(capsys, *command, "--epochs", "2")
    before = (tmp_path / "a.checkpoint").read_bytes()
    error = refusal(capsys, *command, "--epochs", "4", "--resume", "--json", *options.split())
    assert message in error
    assert (tmp_path / "a.checkpoint").read_bytes() == before
    assert as_json(capsys, *command, "--epochs", "4", "--resume")["epochs"] == 4


def test_going_on_with_another_table_is_refused(
    houses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One cell of it changed; a copy in another place goes on."""
    command = ["--checkpoint", str(tmp_path / "a.checkpoint"), "--no-standardise", "--epochs"]
    as_json(capsys, "train", houses, *command, "2")
    rows = Path(houses).read_text().splitlines()
    copy = tmp_path / "copy.csv"
    copy.write_text("\n".join(rows))
    assert as_json(capsys, "train", str(copy), *command, "3", "--resume")["epochs"] == 3
    cells = rows[7].split(",")
    for column in range(4):
        changed = [*cells[:column], "7.25", *cells[column + 1 :]]
        copy.write_text("\n".join([*rows[:7], ",".join(changed), *rows[8:]]))
        error = refusal(capsys, "train", str(copy), *command, "4", "--resume", "--json")
        assert "X, Y" in error


def test_activation_means_the_hidden_layers_everywhere(
    flowers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def activations(command: str) -> list[str]:
        return list(as_json(capsys, *command.split())["activations"])

    train = f"train {flowers} --target kind --drop id --epochs 0 --hidden 4,4"
    check = "check --sizes 3,4,4,2"
    assert activations(f"{train} --activation relu") == ["relu", "relu", "softmax"]
    assert activations(f"{check} --activation relu") == ["relu", "relu", "sigmoid"]
    for command in (train, check):
        several = f"{command} --activation relu,tanh --output sigmoid"
        assert activations(several) == ["relu", "tanh", "sigmoid"]
        assert activations(f"{command} --activation relu,tanh,sigmoid") == activations(several)
        assert activations(f"{command} --output tanh --cost mse")[-1] == "tanh"
    page = tmp_path / "a.html"
    as_json(capsys, "step", "--activation", "tanh", "--out", str(page), "--steps", "1")
    text = page.read_text(encoding="utf-8")
    (record,) = re.findall(r'<script type="application/json" id="record">(.*?)</script>', text)
    assert [one["name"] for one in json.loads(record)["activations"]] == ["tanh", "sigmoid"]
