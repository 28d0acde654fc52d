"""What nobody means well: odd names, damaged files, absurd options. One line, and nothing worse."""

from __future__ import annotations

import importlib.util
import io
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command_line import as_json, printed, refusal
from support import REPOSITORY

from cbackprop import Network, cli

# Clearing the screen, writing into the clipboard, C1, DEL, right to left, a line of its own.
ESCAPES = ("\x1b[2J", "\x1b]52;c;aGk=\x07", "\x9b31m", "a\x7f", "\u202eabc", "\u2066x", "a\u2028b")


def harmless(text: str) -> bool:
    return all(letter.isprintable() or letter in "\n\t" for letter in text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- what a terminal would obey -----------------------------------------------------------------


@pytest.mark.parametrize("escape", ESCAPES)
def test_names_send_nothing_to_a_terminal(
    escape: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of columns, of classes and of files, in tables and in messages."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    name = "a.csv"
    Path(name).write_text(
        f"{escape}x,{escape}kind\n"
        + "".join(f"{i % 5},{'pq'[i % 2]}{escape}\n" for i in range(60)),
        encoding="utf-8",
    )
    commands = (
        f"train {name} --epochs 2 --save m{escape}.model",
        f"predict m{escape}.model {name} --target -1",
        f"explain m{escape}.model {name} --layer 2",
        f"predict m{escape}.model {name}",
        f"predict m{escape}.model none{escape}.csv",
        f"train {name} --target {escape}",
        f"train {name} --{escape}",
        f"train {name} --cost {escape}",
    )
    for command in commands:
        cli.main(command.split(" "))
        captured = capsys.readouterr()
        assert captured.out or captured.err
        assert harmless(captured.out + captured.err), command
    shown = "a b" if "\u2028" in escape else repr(escape)[1:-1]  # a line's end becomes a blank
    Path(f"b{escape}.csv").write_text("")
    assert shown in refusal(capsys, "train", f"b{escape}.csv")


def test_data_in_a_pipe_are_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Network([1, 2], "softmax", "cross_entropy", class_names=["p\x1b[2J", "q"]).save("a.model")
    Path("a.csv").write_text("x\n1\n")
    assert printed(capsys, "predict", "a.model", "a.csv").startswith("label,p\x1b[2J,q\n")


def test_bench_shows_its_table_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a long fit would show its progress in the middle of it."""
    asked: list[object] = []
    fit = Network.fit

    def recording(net: Network, *arguments: object, **options: object) -> object:
        asked.append(options.get("progress"))
        return fit(net, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Network, "fit", recording)
    from cbackprop.cli import workloads

    tiny = workloads.WORKLOADS[3]._replace(epoch=10)
    workloads.seconds_of(tiny, "float64", 1)
    assert asked == [False]


# ---- damaged files ------------------------------------------------------------------------------


def npy(shape: str, data: bytes = b"\0" * 8, descr: str = "'<f8'") -> bytes:
    """A .npy file that says so of itself."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data


def npz(content: bytes, method: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("X.npy", content)
    return stream.getvalue()


def damaged_in_the_middle(content: bytes) -> bytes:
    middle = content.index(b"X.npy") + 40
    return (
        content[:middle]
        + bytes(255 - byte for byte in content[middle : middle + 20])
        + (content[middle + 20 :])
    )


NOISE = np.random.default_rng(0).bytes(4000)
DAMAGED = {
    "beyond int64": npy("(99999999999999999999, 2)"),
    "beyond the file": npy("(9999999999, 2)"),
    "negative": npy("(-1, 2)"),
    "no brackets": npy("(1, 2"),
    "a quote": npy("(1, 2)", descr="'<f8"),
    "odd dtype": npy("(1, 2)", descr="'<f9'"),
    "a dict": npy("(1, 2)", descr="{}"),
    "nested": npy("(" * 90 + "1" + ")" * 90),
    "old and quoted": npy("(1L, 2L)"),
    "no header": b"\x93NUMPY\1\0\xff\xff",
    "version": b"\x93NUMPY\7\0" + npy("(1, 1)")[8:],
    "cut": npy("(1, 2)"),
    "stored": npz(npy("(99999999999999999999, 2)"), zipfile.ZIP_STORED),
    "stored, too long": npz(npy("(999999999999, 2)"), zipfile.ZIP_STORED),
    "deflated": damaged_in_the_middle(npz(npy("(500, 1)", NOISE), zipfile.ZIP_DEFLATED)),
    "bzip2": damaged_in_the_middle(npz(npy("(500, 1)", NOISE), zipfile.ZIP_BZIP2)),
    "lzma": damaged_in_the_middle(npz(npy("(500, 1)", NOISE), zipfile.ZIP_LZMA)),
    "no archive": b"PK\3\4" + NOISE,
    "empty archive": b"PK\5\6" + b"\0" * 18,
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("command", ["train", "predict", "explain"])
def test_damaged_arrays(
    command: str, kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Network([2, 1], seed=0).save("a.model")
    Path("a.npy").write_bytes(DAMAGED[kind])
    model = [] if command == "train" else ["a.model"]
    error = refusal(capsys, command, *model, "a.npy")
    assert error.startswith("cbackprop: error: a.npy") or error.startswith("cbackprop: error: of ")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08\0", "is compressed by gzip"),
        (b"PAR1\x15\4", "is a Parquet file"),
        (b'[{"a": 1}]', "is JSON"),
    ],
)
def test_other_files(
    content: bytes, what: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a").write_bytes(content)
    assert what in refusal(capsys, "train", "a")
    Network([2, 1], seed=0).save("a.model")
    assert what in refusal(capsys, "predict", "a", "a.model")
    assert "a.model is a model file; expected CSV, .npy or .npz: give MODEL first" in refusal(
        capsys, "train", "a.model"
    )


# ---- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["a\nb", '"a', '"a"b,c', "x" * 200_000, '"' + "x" * 200_000])
def test_odd_lists_of_names(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Network([1, 2], "softmax", "cross_entropy", seed=0).save("a.model")
    Path("a.csv").write_text("x,y\n1,0\n")
    for option in ("--labels", "--target", "--drop"):
        error = refusal(capsys, "predict", "a.model", "a.csv", option, text)
        assert len(error) < 400


def test_values_that_begin_with_a_minus(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("".join(f"{i},{i % 3},{1 - 2 * (i % 2)},{i / 7}\n" for i in range(30)))
    facts = as_json(capsys, *"train a.csv --target -2 --drop -4,-3 --epochs 1 --save m".split())
    assert (facts["sizes"], facts["classes"]) == ([1, 30, 2], ["-1", "1"])
    assert as_json(capsys, *"train a.csv --target -2,-1 --epochs 1".split())["sizes"] == [2, 30, 2]
    command = "predict m a.csv --drop -4,-3 --target -2"
    expected = as_json(capsys, *command.split())
    assert expected["scores"] is not None
    # As any abbreviation, with = and in front of DATA.
    for labels in ("--labels -1,1", "--labels=-1,1", "--lab -1,1"):
        assert as_json(capsys, *command.split(), *labels.split()) == expected
    assert as_json(capsys, *"predict m --drop -4,-3 --target -2 a.csv".split()) == expected
    # Nothing else is taken for a value.
    assert "argument --labels: expected" not in refusal(capsys, *command.split(), "--labels", "-x")
    assert "expected one argument" in refusal(capsys, *"train a.csv --target --json".split())
    assert "row is -1; expected at least 0" in refusal(capsys, *"explain m a.csv --row -1".split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "train a.csv --hidden 16 16",
            "values of --hidden have commas between them: --hidden 16,16",
        ),
        ("train --hidden 16 8 a.csv", "values of --hidden have commas between them: --hidden 16,8"),
        ("train --hidden 16 8", "values of --hidden have commas between them: --hidden 16,8"),
        ("train a.csv --drop a b", "values of --drop have commas between them: --drop a,b"),
        ("check --sizes 2 3 1", "values of --sizes have commas between them: --sizes 2,3,1"),
        ("train a.csv b.csv", "unrecognized arguments: b.csv (see"),
        ("train a.csv --seed " + "9" * 5000, "argument --seed: invalid int value: '999"),
    ],
)
def test_what_is_left_over(
    arguments: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.csv").write_text("a,b,c\n1,2,3\n")
    error = refusal(capsys, *arguments.split())
    assert message in error
    assert len(error) < 700


# ---- time and memory ----------------------------------------------------------------------------


def seconds_of(*arguments: str) -> float:
    began = time.process_time()
    assert cli.main(arguments) in (0, 2)
    return time.process_time() - began


def test_thousands_of_columns(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four times the columns to drop take about four times as long, and not sixteen times."""
    seconds = []
    for width in (4_000, 16_000):
        names = ",".join(f"c{k}" for k in range(width))
        Path("a.csv").write_text(f"{names}\n" + ",".join(["0.5"] * width) + "\n")
        drop = ",".join(f"c{k}" for k in range(0, width - 1, 2))
        options = "--epochs 0 --hidden 1 --task regression"
        seconds.append(seconds_of("train", "a.csv", "--drop", drop, *options.split()))
    assert seconds[1] < 10 * seconds[0] + 1.0
    capsys.readouterr()


def test_names_of_rows_are_no_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.csv").write_text("x,id\n" + "".join(f"{i},n{i}\n" for i in range(16_000)))
    assert "id has 16000 classes in 16000 rows; expected fewer: --drop" in refusal(
        capsys, "train", "a.csv"
    )
    Path("a.csv").write_text("x,id\n" + "".join(f"{i},n{i % 25}\n" for i in range(50)))
    assert as_json(capsys, "train", "a.csv", "--epochs", "0")["sizes"][-1] == 25
    Path("a.csv").write_text("x,id\n" + "".join(f"{i},n{i % 26}\n" for i in range(50)))
    assert "id has 26 classes in 50 rows" in refusal(capsys, "train", "a.csv")
    command = "train a.csv --epochs 0 --task classification"
    assert as_json(capsys, *command.split())["sizes"][-1] == 26


def test_one_long_name_among_many_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NumPy's texts are as long as the longest: 52 GB for 1.5 MB."""
    Path("a.csv").write_text("x,k\n" + "1,a\n" * 100_000 + "1," + "b" * 130_000 + "\n")
    assert "expected the name of a class, of 200 letters at most" in refusal(
        capsys, "train", "a.csv"
    )


# ---- drawn commands -----------------------------------------------------------------------------


def fuzzer() -> object:
    """tests/deep/fuzz_command_line.py, which draws them for longer."""
    path = REPOSITORY / "tests" / "deep" / "fuzz_command_line.py"
    specification = importlib.util.spec_from_file_location("fuzz_command_line", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["table", "damaged table", "array", "model", "options"])
def test_drawn_files_and_options(kind: str, folder: Path) -> None:
    module = fuzzer()
    module.models(folder)  # type: ignore[attr-defined]
    _, faults = module.run(kind, 60, 1, folder)  # type: ignore[attr-defined]
    assert faults == []


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("option", ["--save", "--checkpoint"])
def test_the_table_is_not_written_over(tmp_path, capsys, option, link):
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n" + "".join(f"{i},{i * i},{i % 2}.5\n" for i in range(12)))
    before = table.read_bytes()
    place = tmp_path / "place" if link else table
    if link:
        place.symlink_to(table)
    assert cli.main(["train", str(table), "--epochs", "1", option, str(place)]) == 2
    assert "which is DATA, too; expected a file of its own" in capsys.readouterr().err
    assert table.read_bytes() == before
    both = ["--save", str(tmp_path / "m"), "--checkpoint", str(tmp_path / "m")]
    assert cli.main(["train", str(table), "--epochs", "1", *both]) == 2
    assert not (tmp_path / "m").exists()
