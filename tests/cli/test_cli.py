"""The command line, run in-process: what it prints, its exit statuses and its one-line errors."""

from __future__ import annotations

import errno
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import one_line_error, printed, refusal
from support import REPOSITORY, output_of, run_python

import cbackprop
from cbackprop import cli
from cbackprop.cli.options import Parser

# ---- help ---------------------------------------------------------------------------------------

COMMANDS = ("demo", "train", "predict", "explain", "step", "check", "bench", "info")


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


def test_help_has_no_colours_on_a_terminal() -> None:
    """Those of argparse from Python 3.14 on: their escapes would be shown as text."""
    parser = Parser(prog="a")
    command = parser.add_subparsers().add_parser("b")
    assert (parser.color, command.color) == (False, False)


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals on Windows")
def test_help_on_a_real_terminal() -> None:
    import pty

    controller, terminal = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "cbackprop", "bench", "--help"],
            stdout=terminal,
            check=True,
            timeout=60,
        )
        shown = os.read(controller, 1 << 16)
    finally:
        os.close(terminal)
        os.close(controller)
    assert shown.startswith(b"usage: cbackprop bench [-h]")
    assert b"x1b" not in shown


def test_the_page_of_the_command_line_has_every_command() -> None:
    page = (REPOSITORY / "docs" / "command_line.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == COMMANDS


def test_the_page_says_what_only_python_takes(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "command_line.md").read_text(encoding="utf-8")
    [told] = re.findall(r"^- Python's `fit` alone takes (.*?), and what", page, re.DOTALL | re.M)
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    options = re.findall(r"^ +--([a-z0-9-]+)", capsys.readouterr().out, re.MULTILINE)
    arguments = list(inspect.signature(cbackprop.Network.fit).parameters)[3:]  # after self, X and Y
    expected = [name for name in arguments if name.replace("_", "-") not in options]
    assert re.findall(r"`(.*?)`", told) == expected


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
        (["check", "--cost", "poisson", "--output", "relu"], "cost is 'poisson'"),
        (["check", "--init", "best"], "init is 'best'"),
        (["check", "--dtype", "int8"], "dtype is 'int8'"),
        (["check", "--backend", "gpu"], "backend is 'gpu'"),
        (["check", "--seed", "-1"], "seed is -1"),
        (["check", "--examples", "0"], "examples is 0; expected at least 1"),
        (["check", "--examples", "1798"], "examples is 1798; expected at most 1797, the bundled"),
        (["check", "--all", "--sizes", "2,2"], "argument --sizes: not with --all"),
        (["check", "--all", "--cost", "mse"], "argument --cost: not with --all"),
        (["check", "--all", "--activation", "tanh"], "argument --activation: not with --all"),
        (["check", "--all", "--output", "tanh"], "argument --output: not with --all"),
        (["check", "--all", "--init", "he"], "argument --init: not with --all"),
        (["check", "--all", "--dtype", "int8"], "dtype is 'int8'"),
        (["check", "--all", "--seed", "-1"], "seed is -1"),
        (["check", "--all", "--backend", "gpu"], "backend is 'gpu'"),
        (["bench", "--only", "W1,W9"], "only is 'W9'; expected one of 'W1', 'W2', 'W3', 'W4',"),
        (["bench", "--only", ""], "only is ''; expected one of 'W1'"),
        (["bench", "--rounds", "0"], "rounds is 0; expected at least 1"),
        (["bench", "--rounds", "few"], "argument --rounds: invalid int value: 'few'"),
        (["bench", "--dtype", "int8"], "dtype is 'int8'; expected 'float32' or 'float64'"),
        (["bench", "all"], "unrecognized arguments: all (see cbackprop bench --help)"),
        (["--loud"], "unrecognized arguments: --loud (see cbackprop --help)"),
        (["train", "a", "--optimiser", "sgd"], "--optimiser sgd; did you mean --optimizer? (see"),
        (["train", "a", "--lr=0.1"], "did you mean --learning-rate? (see cbackprop train --help)"),
        (["train", "a", "--lr", "0.1", "b"], "did you mean --learning-rate?"),
        (["train", "a", "-lr", "0.1"], "did you mean --learning-rate?"),
        (["train", "a", "--standardize"], "did you mean --standardise?"),
        (["train", "a", "--hidden_layers", "3"], "did you mean --hidden?"),
        (["train", "a", "--layers", "3"], "did you mean --hidden?"),
        (["check", "--layers", "3"], "did you mean --sizes?"),
        (["train", "a", "--dropout", "0.5"], "; in Python dropout is an argument of Network.fit()"),
        (["train", "a", "--device", "gpu"], "; in Python backend is an argument of Network()"),
        (["train", "a", "--momentum", "0.9"], "; in Python momentum is an argument of SGD()"),
        (["predict", "a", "b", "--output", "c"], "did you mean --out? (see cbackprop predict"),
        (["train", "a", "--wxyz"], "unrecognized arguments: --wxyz (see"),
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


PRINTING = (
    "info",
    "--help",
    "--version",
    "check --sizes 2,1",
    "check --sizes 2,1 --json",
    "step",
    "demo --epochs 1",
    "train --digits --epochs 1 --hidden 2",
    "predict a.model --digits",
    "predict a.model --digits --json",
    "explain a.model --digits",
    "explain a.model --digits --latex",
)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cbackprop.Network([64, 10], seed=0).save("a.model")


@pytest.mark.parametrize("command", PRINTING)
@pytest.mark.usefixtures("saved")
def test_closed_standard_output(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        assert cli.main(command.split()) == 2
        assert sys.stdout is None
    assert one_line_error(capsys).startswith("cbackprop: error: standard output: closed")


@pytest.mark.usefixtures("saved")
def test_closed_streams_that_are_not_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is for standard error goes nowhere else, above all not among the outputs."""
    answers = ["predict", "a.model", "--digits"]
    assert cli.main(answers) == 0
    outputs = capsys.readouterr().out
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stderr", None)
        assert cli.main(answers) == 0
        assert cli.main(["predict", "none.model", "--digits"]) == 2
        closed.setattr(sys, "stdout", None)
        assert cli.main([*answers, "--out", "a.csv"]) == 0
    assert capsys.readouterr().out == outputs
    assert Path("a.csv").read_text() == outputs


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
@pytest.mark.parametrize("command", PRINTING)
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.usefixtures("saved")
def test_a_full_disk_is_one_line(
    command: str,
    buffered: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as full, open("/dev/full", "wb", 0) as raw:
        stream = io.TextIOWrapper(raw if not buffered else io.BufferedWriter(raw), "utf-8")
        full.setattr(sys, "stdout", stream)
        assert cli.main(command.split()) == 2
    text = os.strerror(errno.ENOSPC)
    assert one_line_error(capsys) == f"cbackprop: error: standard output: {text}\n"


class Unread(io.StringIO):
    """A stream whose reader goes away."""

    def __init__(self, error: OSError, writes: int, terminal: bool) -> None:
        super().__init__()
        self.error, self.writes, self.terminal = error, writes, terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.writes -= 1
        if self.writes < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("train --digits --epochs 2 --save b.model --checkpoint b.checkpoint", 2),
        ("train --digits --epochs 2 --save b.model --json", 1),
        ("train --digits --epochs 2 --checkpoint b.checkpoint", 1),
        ("explain a.model --digits --svg b.svg --html b.html", 2),
        ("step --out b.html", 1),
    ],
)
@pytest.mark.parametrize("writes", [None, 0, 1, 40])
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.usefixtures("saved")
def test_files_are_written_though_nobody_reads(
    command: str, files: int, writes: int | None, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the status is that of the error; of a training nothing is lost."""
    for error, status in (
        (BrokenPipeError(errno.EPIPE, "gone"), 141),
        (OSError(errno.EIO, "gone"), 2),
    ):
        stream = None if writes is None else Unread(error, writes, terminal)
        with monkeypatch.context() as unread:
            unread.setattr(sys, "stdout", stream)
            unread.setattr("cbackprop.cli.discard_output", lambda: None)
            ended = cli.main(command.split())
        if stream is None:
            assert ended == 2
        else:
            assert ended == (status if stream.writes < 0 else 0)
        written = list(Path().glob("b.*"))
        assert len(written) == files
        for path in written:
            if path.suffix == ".model":
                cbackprop.Network.load(path)
            path.unlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("step --out /dev/full", "/dev/full"),
        ("explain a.model --digits --svg /dev/full", "/dev/full"),
        ("explain a.model --digits --html /dev/full", "/dev/full"),
        ("train --digits --epochs 1 --json --save /dev/full", "/dev/full"),
        ("train --digits --epochs 1 --json --checkpoint /dev/full", "/dev/full"),
        ("predict a.model --digits --out full.csv", "full.csv"),
        ("predict a.model --digits --out full.npy", "full.npy"),
        ("predict a.model --digits --labels --out full.npy", "full.npy"),
    ],
)
@pytest.mark.usefixtures("saved")
def test_a_file_that_cannot_be_written_is_named(
    command: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("full.csv", "full.npy"):
        Path(name).symlink_to("/dev/full")
    text = os.strerror(errno.ENOSPC)
    assert refusal(capsys, *command.split()) == f"cbackprop: error: {file}: {text}\n"


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs /proc")
@pytest.mark.parametrize("command", ["train {}", "predict a.model {}", "predict {} --digits"])
@pytest.mark.usefixtures("saved")
def test_a_file_that_cannot_be_read_is_named(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, *command.format("/proc/self/mem").split())
    assert error == f"cbackprop: error: /proc/self/mem: {os.strerror(errno.EIO)}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_process_whose_output_has_no_room() -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "cbackprop", "info"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert result.returncode == 2
    assert result.stderr.startswith(b"cbackprop: error: standard output: ")
    assert result.stderr.count(b"\n") == 1
