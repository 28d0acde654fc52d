"""Coverage-guided fuzzing of what reads files: model files, checkpoints, and a fit that resumes.

atheris mutates the golden files of ``tests/data`` and keeps what reaches new lines of the reader:
as raw bytes, and with the header's form and the checksum put right again, so that the mutations
reach what comes after them. A file is refused with the documented error, or it makes a network that
predicts, trains and goes on; another exception, a crash, a hang or a lot of memory is an escape.
The input of an escape is left in the folder that --keep names, for a test of its own.

    PYTHONPATH=src python tests/deep/fuzz_model_file.py [--quick] [--seconds N] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "data"
MEMORY = 1024  # MiB that no file may make the process use
HANG = 20  # seconds
RESUMED = ("lbfgs", "levenberg_marquardt", "adam")
WORDS = (
    *'{}[],:"-0123456789.eE\\ ',
    *("null", "true", "false", "NaN", "Infinity", "1e999", "-0.0", "1.0", "18446744073709551616"),
    *("__metadata__", "dtype", "shape", "data_offsets", "F32", "F64", "I64", "U64", "U8"),
    *("format", "cbackprop", "kind", "model", "checkpoint", "sizes", "activations", "cost", "init"),
    *(
        "optimizer",
        "update",
        "generator",
        "rule",
        "hyper_parameters",
        "learning_rate",
        "step_count",
    ),
    *("previous_cost", "PCG64", "history", "plan", "second_order", "extra.best", "extra.held_out"),
    *("relu", "softmax", "sigmoid", "cross_entropy", "quadratic", "he", "zeros", "float32"),
    *("sgd", "adam", "lbfgs", "levenberg_marquardt", "rprop", "momentum", "arguments", "dict"),
    *("layers.1.weight", "layers.1.bias", "optimizer.slots.0", "state", "best_epoch", "metrics"),
    *("feature_names", "class_names", "metadata", "extra.history.cost", "extra.history.metrics"),
)

# ---- bytes in, a file out ------------------------------------------------------------------------


def as_it_is(data: bytes) -> bytes:
    return data


def header_text(contents: bytes) -> tuple[bytes, bytes]:
    length = int.from_bytes(contents[:8], "little")
    return contents[8 : 8 + length].rstrip(b" "), contents[8 + length :]


def taken_apart(contents: bytes) -> bytes:
    """What `put_right` makes the file of again: header, NUL, numbers."""
    header, numbers = header_text(contents)
    return header + b"\0" + numbers


def put_right(data: bytes) -> bytes:
    """A file with a header of the right length and form and a checksum that fits, if it can have
    one; a checkpoint's state is as long as it has become."""
    text, _, numbers = data.partition(b"\0")

    def padded(value: Any) -> bytes:
        header = json.dumps(value, separators=(",", ":")).encode()
        return header + b" " * (-len(header) % 8)

    try:
        header = json.loads(text)
        metadata = {key: word for key, word in header["__metadata__"].items() if key != "checksum"}
        if list(header)[-1] == "state":
            start = header["state"]["data_offsets"][0]
            header["state"]["shape"] = [len(numbers) - start]
            header["state"]["data_offsets"] = [start, len(numbers)]
        plain = {**header, "__metadata__": metadata}
        metadata["checksum"] = sha256(padded(plain) + numbers).hexdigest()
        # The checksum is of a header without it.
        text = padded({**header, "__metadata__": metadata})
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + numbers


# ---- what may come of a file ---------------------------------------------------------------------


def judge_model(path: str) -> None:
    import numpy as np

    from cbackprop import ModelFileError, Network

    try:
        net = Network.load(path)
    except ModelFileError:
        return
    try:
        outputs = net.predict(np.ones((2, net.sizes[0])))
    except FloatingPointError:
        return
    assert np.isfinite(outputs).all()
    assert repr(net)
    assert all(line.isprintable() for line in net.summary().split("\n"))


def judge_checkpoint(path: str) -> None:
    import numpy as np

    from cbackprop import ModelFileError, Network
    from cbackprop.files import checkpoint

    try:
        net = Network.load(path)
    except ModelFileError:
        return
    before = net.parameters
    try:
        found = checkpoint.read_checkpoint(path, net._model)
        checkpoint.set_training(net._model, found, None)
    except ModelFileError:
        assert np.array_equal(net.parameters, before)
        return
    with contextlib.suppress(FloatingPointError):
        net.partial_fit(np.ones((2, net.sizes[0])), np.full((2, net.sizes[-1]), 0.5))


def fit_to_resume(path: str, resume: bool, optimizer: str) -> None:
    """A fit of few numbers; its checkpoint has all that one can have."""
    import numpy as np

    from cbackprop import EarlyStopping, Network

    X = np.linspace(-1, 1, 6).reshape(6, 1)
    Network([1, 1], dtype="float32", seed=1).fit(
        X,
        X**2,
        epochs=3 if resume else 2,
        batch_size=2,
        optimizer=optimizer,
        validation_fraction=0.3,
        metrics="mse",
        early_stopping=EarlyStopping(5),
        checkpoint=path,
        resume=resume,
    )


def judge_resume(path: str) -> None:
    from cbackprop import ModelFileError

    contents = Path(path).read_bytes()
    optimizer = next((name for name in RESUMED if f'"{name}"'.encode() in contents), RESUMED[0])
    try:
        fit_to_resume(path, True, optimizer)
    except (ModelFileError, FloatingPointError):
        pass
    except ValueError as error:
        # Of another fit than this one.
        if "checkpoint" not in str(error):
            raise


def seeds_of_data() -> list[bytes]:
    return [path.read_bytes() for path in sorted(DATA.glob("*.safetensors"))]


def seeds_of_fits() -> list[bytes]:
    contents = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "checkpoint")
        for optimizer in RESUMED:
            fit_to_resume(path, False, optimizer)
            contents.append(Path(path).read_bytes())
    return contents


# Each: the seeds; a seed's mutable form; the file of mutated bytes; what may come of the file.
Kind = tuple[Callable[..., Any], Callable[..., bytes], Callable[..., bytes], Callable[..., None]]
KINDS: dict[str, Kind] = {
    "raw bytes": (seeds_of_data, as_it_is, as_it_is, judge_model),
    "models put right": (seeds_of_data, taken_apart, put_right, judge_model),
    "checkpoints put right": (seeds_of_data, taken_apart, put_right, judge_checkpoint),
    "resumed fits": (seeds_of_fits, taken_apart, put_right, judge_resume),
}


# ---- processes -----------------------------------------------------------------------------------


def work(kind: str, arguments: list[str]) -> None:
    """The fuzzer itself: never returns."""
    import atheris

    with atheris.instrument_imports(include=["cbackprop.files", "cbackprop.validation"]):
        import cbackprop  # noqa: F401
    made, judge = KINDS[kind][2:]
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(dir=memory)
    path = os.path.join(folder, "file")

    def once(data: bytes) -> None:
        with open(path, "wb", buffering=0) as file:
            file.write(made(data))
        judge(path)

    atheris.Setup([sys.argv[0], *arguments], once)
    atheris.Fuzz()


def fuzz(kind: str, seconds: int, keep: str) -> tuple[int, str | None]:
    """How many files were tried, and what escaped."""
    seeds, mutable = KINDS[kind][:2]
    with tempfile.TemporaryDirectory() as folder:
        corpus = os.path.join(folder, "corpus")
        os.mkdir(corpus)
        for i, contents in enumerate(seeds()):
            Path(corpus, f"seed{i}").write_bytes(mutable(contents))
        words = Path(folder, "words")
        quoted = [word.replace("\\", "\\\\").replace('"', '\\"') for word in WORDS]
        words.write_text("".join(f'"{word}"\n' for word in quoted))
        os.makedirs(keep, exist_ok=True)
        options = [
            f"-max_total_time={seconds}",
            f"-rss_limit_mb={MEMORY}",
            f"-timeout={HANG}",
            "-max_len=8192",
            "-print_final_stats=1",
            f"-artifact_prefix={keep}/{kind.replace(' ', '_')}-",
            f"-dict={words}",
        ]
        result = subprocess.run(
            [sys.executable, __file__, "--work", kind, *options, corpus],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + 300,
            check=False,
        )
    count = re.findall(r"number_of_executed_units: (\d+)", result.stderr)
    executed = int(count[-1]) if count else 0
    if result.returncode == 0 and executed > 0:
        return executed, None
    lines = [line for line in result.stderr.splitlines() if not line.startswith(("#", "INFO"))]
    return executed, f"{kind}: status {result.returncode}\n" + "\n".join(lines[-60:])


def report(passed: bool | None, figure: str, did: str) -> int:
    print(json.dumps({"part": "model file fuzzed", "did": did, "figure": figure, "passed": passed}))
    return 1 if passed is False else 0


def main() -> int:
    if "--work" in sys.argv:
        place = sys.argv.index("--work")
        work(sys.argv[place + 1], sys.argv[place + 2 :])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10 seconds of each kind")
    parser.add_argument("--seconds", type=int, help="of each kind; 150 without it")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--keep", default=os.path.join(tempfile.gettempdir(), "fuzzed"))
    arguments = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        return report(None, "", "skipped: atheris is not installed")
    seconds = arguments.seconds or (10 if arguments.quick else 150)
    tried, escapes = 0, []
    for kind in arguments.kinds:
        count, escape = fuzz(kind, seconds, arguments.keep)
        tried += count
        print(f"{kind}: {count} files", flush=True)
        if escape is not None:
            escapes.append(kind)
            print(escape, flush=True)
    figure = f"{tried} files tried, {len(escapes)} kinds with an escape"
    return report(not escapes, figure, f"atheris, {seconds} s each: {', '.join(arguments.kinds)}")


if __name__ == "__main__":
    raise SystemExit(main())
