"""Drawn files and options for the command line: whatever comes, an answer or one line.

Tables are drawn cell by cell, in many notations, and then damaged; so are .npy and .npz files and
models. Options are drawn with values that are right, nearly right and absurd. Each command must end
with a status that is documented; a refusal is one line on stderr and nothing on stdout that was
begun as data; no control character reaches a terminal; nothing takes long.

    PYTHONPATH=src python tests/deep/fuzz_command_line.py [--quick] [--seed N] [--n N]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from cbackprop import Network, cli

HANG = 20.0  # seconds, for files of a few kilobytes
KINDS = ("table", "damaged table", "array", "model", "options")
STATUSES = (0, 1, 2)

CELLS = (
    *("0", "1", "2", "-1", "1.5", "-2.5e3", ".5", "1.", "007", "1e999", "-0", "1_000", "٣", "0x10"),
    *("1,5", "1.234,5", "1,234", "1,234.5", "1 234", "1'234", "12%", "$5", "True", "FALSE"),
    *("", " ", "NA", "nan", "?", "-", "NULL", "inf", "#N/A", "#", "# a", "//", "%"),
    *("a", "b", "x y", "setosa", "é", "naïve", "2020-01-01", "10:30", "0,1", "id", "=1+1"),
    *(
        "\x1b[2J",
        "\x1b]52;c;aGk=\x07",
        "\x9b31m",
        "\u202eabc",
        "a\x7f",
        "a\x00b",
        "\ufeff",
        "\u2028",
    ),
    *('"', '""', '"a', 'a"b', "'", "\\", "x" * 300, "9" * 400, "-" * 50),
)
DELIMITERS = (",", ",", ",", ";", "\t", "|", " ", "  ", "\t\t", ":", ", ")
ENDS = ("\n", "\n", "\n", "\r\n", "\r")
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252", "utf-16-le")
WORDS = (
    *(
        "",
        "0",
        "-1",
        "1",
        "2",
        "-2,-1",
        "-1,1",
        "0,1",
        "a",
        "b",
        "a,b",
        "x",
        "species",
        "y",
        "--",
        "-",
    ),
    *(
        "1e400",
        "nan",
        "-5",
        "999999999999999999999",
        "9" * 5000,
        "\x1b[2J",
        "a\nb",
        '"',
        '"a',
        '"a,b",c',
    ),
    *(
        "x" * 200_000,
        "relu",
        "tanh,softmax",
        "sgd",
        "adam",
        "lbfgs",
        "mse",
        "cross_entropy",
        "float32",
    ),
    *(
        "classification",
        "regression",
        "utf-8",
        "utf-16",
        "cp1252",
        "hex",
        ";",
        "tab",
        "\t",
        "é",
        "\udc80",
    ),
    *("16", "16,16", "16 16", "64,10", "3,0", "1,2,3,4,5,6,7,8,9", "he", "zeros", "nothing/there"),
)
READING = ("--target", "--drop", "--delimiter", "--encoding", "--x-key", "--y-key")
OPTIONS = {
    "train": (
        *READING,
        *(
            "--task",
            "--categorical",
            "--missing",
            "--hidden",
            "--sizes",
            "--activation",
            "--output",
            "--cost",
            "--dtype",
            "--init",
        ),
        *("--seed", "--batch-size", "--optimizer", "--learning-rate", "--l2", "--train-size"),
        *("--validation-fraction", "--early-stopping", "--save", "--checkpoint"),
    ),
    "predict": (*READING, "--labels", "--out"),
    "explain": (*READING, "--labels", "--row", "--layer", "--j", "--k", "--svg", "--html"),
    "check": ("--sizes", "--dtype", "--init", "--cost", "--activation", "--output", "--examples"),
    "step": ("--sizes", "--dtype", "--init", "--cost", "--activation", "--output", "--steps"),
}
FLAGS = {
    "train": ("--header", "--no-header", "--json", "--standardise", "--no-standardise", "--resume"),
    "predict": ("--header", "--no-header", "--json"),
    "explain": ("--header", "--no-header", "--json", "--latex"),
    "check": ("--json",),
    "step": ("--json",),
}


class Terminal(io.StringIO):
    """What a person would see."""

    def isatty(self) -> bool:
        return True


class Drawn:
    """Files and command lines of one seed, in a folder."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder

    def cell(self) -> str:
        if self.random.random() < 0.6:
            return f"{self.random.uniform(-5, 5):.3g}"
        return self.random.choice(CELLS)

    def table(self) -> bytes:
        choose, chance = self.random.choice, self.random.random
        delimiter, end = choose(DELIMITERS), choose(ENDS)
        tidy = chance() < 0.6  # as the model's own, but for a cell or two
        width, n = (3, 30) if tidy else (self.random.randint(1, 6), self.random.randint(0, 30))
        kinds = [0.0, 0.0, 0.9] if tidy else [chance() for _ in range(width)]
        odd = choose((0.0, 0.0, 0.01)) if tidy else 0.02
        rows = []
        if tidy:
            rows.append(choose((["c0", "c1", "kind"], ["c1", "c0", "2"], ["0", "1", "kind"])))
        elif chance() < 0.7:
            names = [
                choose((f"c{k}", str(k), str(2000 + k), "", choose(CELLS))) for k in range(width)
            ]
            rows.append(names)
        for i in range(n):
            row = []
            for kind in kinds:
                if kind < 0.7:
                    word = f"{self.random.uniform(-5, 5):.3g}"
                elif kind < 0.8:
                    word = str(i)
                elif kind < 0.95:
                    word = choose(("a", "b"))
                else:
                    word = self.cell()
                row.append(word if chance() >= odd else choose(CELLS))
            if chance() < odd / 2:
                row = row[: self.random.randint(0, width)] * self.random.randint(1, 2)
            rows.append(row)
        lines = []
        if chance() < 0.1:
            lines.append(choose(("# a comment", "sep=;", '# "', "", "#a,b,c", "%")))
        for row in rows:
            quoted = chance() < 0.1
            cells = [f'"{cell}"' if quoted else cell for cell in row]
            lines.append(delimiter.join(cells))
        text = end.join(lines) + (end if chance() < 0.8 else "")
        encoding = choose(ENCODINGS)
        return text.encode(encoding, "replace")

    def damaged(self, content: bytes) -> bytes:
        data = bytearray(content)
        for _ in range(self.random.randint(1, 8)):
            place = self.random.randint(0, max(0, len(data) - 1))
            what = self.random.random()
            if what < 0.4 and data:
                data[place] = self.random.randrange(256)
            elif what < 0.6:
                del data[place : place + self.random.randint(1, 20)]
            elif what < 0.8:
                data[place:place] = self.random.choice(CELLS).encode("utf-8")
            else:
                data[place:place] = bytes(self.random.randrange(256) for _ in range(4))
        return bytes(data)

    def array(self) -> bytes:
        """A .npy or .npz file whose header or data are damaged, in most cases."""
        stream = io.BytesIO()
        values = np.array([[self.random.uniform(-1, 1) for _ in range(3)] for _ in range(6)])
        dtype = self.random.choice(("f8", "f4", ">i2", "?", "U3", "c8", "O", "M8[s]", "f2"))
        values = values.astype(dtype) if dtype != "O" else values.astype(object)
        if self.random.random() < 0.5:
            np.save(stream, values, allow_pickle=True)
        else:
            method = self.random.choice((0, 8, 12, 14))
            with zipfile.ZipFile(stream, "w", method) as archive:
                for name in self.random.choice((("X",), ("X", "Y"), ("a", "b"), ("x", "sub/y"))):
                    part = io.BytesIO()
                    np.save(part, values, allow_pickle=True)
                    archive.writestr(f"{name}.npy", part.getvalue())
        data = stream.getvalue()
        if self.random.random() < 0.3:
            old, new = self.random.choice(
                (
                    (b"(6, 3)", b"(6,-3)"),
                    (b"(6, 3)", b"(6,9**9)"),
                    (b"6, 3", b"9" * 25),
                    (b"{", b"{{"),
                    (b"'shape'", b"'sh"),
                    (b"True", b"1"),
                    (b"False", b"()"),
                    (b"descr", b"d\0scr"),
                )
            )
            data = data.replace(old, new)
        return self.damaged(data) if self.random.random() < 0.6 else data

    def value(self) -> str:
        return self.random.choice(WORDS)

    def command(self, kind: str) -> list[str]:
        choose = self.random.choice
        command = choose(("train", "predict", "explain"))
        if kind == "options":
            command = choose(tuple(OPTIONS))
        arguments = [command]
        if command in ("predict", "explain"):
            arguments.append("m.model" if kind != "model" else "damaged.model")
        if command in ("train", "predict", "explain"):
            arguments.append("data")
        n = self.random.randint(1, 4) if kind == "options" else self.random.choice((0, 0, 0, 1, 2))
        if kind != "options" and command == "predict":
            arguments += self.random.choice((["--target", "-1"], ["--drop", "-1"]))
        for _ in range(n):
            option = choose(OPTIONS[command])
            if kind != "options" and option in (
                "--save",
                "--checkpoint",
                "--out",
                "--svg",
                "--html",
            ):
                continue
            arguments += [option, self.value()] if self.random.random() < 0.95 else [option]
        if self.random.random() < 0.3:
            arguments.append(choose(FLAGS[command]))
        if command == "train":
            arguments += ["--epochs", "1", "--hidden", "3"]
        return arguments

    def prepare(self, kind: str) -> None:
        data = self.array() if kind == "array" else self.table()
        if kind == "damaged table":
            data = self.damaged(data)
        (self.folder / "data").write_bytes(data)
        model = (self.folder / "m.model").read_bytes()
        (self.folder / "damaged.model").write_bytes(
            self.damaged(model) if self.random.random() < 0.8 else self.table()
        )


def models(folder: Path) -> None:
    names = ["c0", "c1"]
    net = Network([2, 3, 3], ["tanh", "softmax"], "cross_entropy", seed=0)
    net.feature_names, net.class_names = names, ["a", "b", "c\x1b[2J\u202e"]
    net.save(folder / "m.model")


def fault_of(arguments: list[str]) -> tuple[int | None, str]:
    """The status of a command, and what is wrong with how it ended."""
    out, err = Terminal(), io.StringIO()
    began = time.monotonic()
    status: int | None = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(arguments)
    except BaseException:
        return None, traceback.format_exc()
    seconds = time.monotonic() - began
    said, told = out.getvalue(), err.getvalue()
    if status not in STATUSES:
        return status, f"status {status}"
    errors = [line for line in told.splitlines() if line.startswith("cbackprop: error: ")]
    if (status == 2) != (len(errors) == 1) and status != 1:
        return status, f"status {status} with {len(errors)} lines of an error: {told[:500]!r}"
    if "Traceback" in told or "Warning" in told:
        return status, told[:2000]
    for text in (said, told):
        odd = {letter for letter in text if not letter.isprintable() and letter not in "\n\t"}
        if odd:
            return status, f"sends {odd!r}"
    if seconds > HANG:
        return status, f"took {seconds:.1f} s"
    return status, ""


def run(kind: str, n: int, seed: int, folder: Path) -> tuple[Counter[int | None], list[str]]:
    """Statuses of n drawn commands, and the faults."""
    statuses: Counter[int | None] = Counter()
    faults: list[str] = []
    for i in range(n):
        drawn = Drawn(seed * 1_000_003 + i, folder)
        drawn.prepare(kind)
        arguments = drawn.command(kind)
        with contextlib.chdir(folder):
            status, fault = fault_of(arguments)
        statuses[status] += 1
        if fault:
            content = (folder / "data").read_bytes()
            shown = [word if len(word) < 80 else f"{word[:40]}…" for word in arguments]
            faults.append(f"{kind} {seed} {i}: {shown} on {content[:300]!r}\n{fault}")
    return statuses, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=20_000, help="commands of each kind (20000)")
    arguments = parser.parse_args()
    n = 150 if arguments.quick else arguments.n
    found: list[str] = []
    counts: dict[str, Counter[int | None]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models(folder)
        for kind in KINDS:
            counts[kind], faults = run(kind, n, arguments.seed, folder)
            print(
                f"{kind}: {n} commands, statuses {dict(counts[kind])}, {len(faults)} faults",
                flush=True,
            )
            for fault in faults[:5]:
                print(fault)
            found += faults
    read = {kind: statuses[0] for kind, statuses in counts.items()}
    figure = {"commands": n * len(KINDS), "done": read, "faults": len(found)}
    did = f"{n} drawn commands of each of {', '.join(KINDS)}"
    print(
        json.dumps({"part": "fuzz_command_line", "did": did, "figure": figure, "passed": not found})
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
