"""The model file and the checkpoint under every fault of a disk, a system and a user's Ctrl-C.

Processes killed while they save, and while a fit writes checkpoints; no space left (a small tmpfs,
where it may be mounted); files that may not grow (RLIMIT_FSIZE, at every length); SIGINT in save;
every flipped bit, every truncation and many extensions of files of both kinds and number types.
What is at the path is the old file or the new one, whole; what was damaged is refused.

    PYTHONPATH=src python tests/deep/file_faults.py [--quick]
"""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from cbackprop import ModelFileError, Network

TESTS = Path(__file__).resolve().parent.parent
DATA = TESTS / "data"
GOLDEN = [f"{kind}_{dtype}" for kind in ("model", "checkpoint") for dtype in ("float32", "float64")]


class Finding(Exception):
    """What must not be."""


def require(condition: bool, text: str) -> None:
    if not condition:
        raise Finding(text)


def tests_module(name: str) -> Any:
    """A module of the ordinary tests of files, for what it has already."""
    for folder in (str(TESTS), str(TESTS / "files")):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    return importlib.import_module(name)


def temporary_files(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


def in_a_child(work: Callable[[], None]) -> int:
    """The process in which the work goes on; it ends with 0 after KeyboardInterrupt alone."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            work()
        except KeyboardInterrupt:
            status = 0
        finally:
            os._exit(status)
    return child


# ---- processes that die --------------------------------------------------------------------------


def killed_saves(folder: str, count: int) -> str:
    """SIGKILL at random moments of a save over an old file."""
    tests = tests_module("test_format")
    path = os.path.join(folder, "model")
    options = ("-W", "ignore")
    left = tests.output_of(tests.KILLS, path, str(count), options=options, timeout=1200)
    return f"{count} saves killed, {int(left)} temporary files left, every model whole"


def killed_fits(folder: str, count: int) -> str:
    """SIGKILL at random moments of a fit that writes a checkpoint after each epoch."""
    path = os.path.join(folder, "checkpoint")
    chance = random.Random(3)
    X = np.random.default_rng(0).normal(size=(40, 30))
    Y = np.abs(np.tanh(X[:, :20]))
    options = {"epochs": 60, "batch_size": 8, "optimizer": "adam", "checkpoint": path}

    def new() -> Network:
        return Network([30, 50, 20], seed=1)

    states = [new().parameters.tobytes()]
    whole = new()
    whole.fit(X, Y, **options, callbacks=lambda net, _: states.append(net.parameters.tobytes()))
    os.unlink(path)
    resumed = written = 0
    seen = set()
    for i in range(count):
        if i % 10 == 0 and os.path.exists(path):
            os.unlink(path)
        again = os.path.exists(path)
        child = in_a_child(lambda: new().fit(X, Y, **options, resume=again))  # noqa: B023
        time.sleep(chance.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if not os.path.exists(path):
            continue
        written += 1
        found = Network.load(path).parameters.tobytes()
        require(found in states, "a killed fit left a checkpoint of no epoch")
        require(states.index(found) > 0, "a killed fit left a checkpoint of no step")
        seen.add(states.index(found))
        if i % 10 == 9:
            net = new()
            net.fit(X, Y, **options, resume=True)
            require(net.parameters.tobytes() == states[-1], "a resumed fit has other parameters")
            resumed += 1
    require(resumed > 0 and len(seen) > 1, "the kills met no checkpoint")
    return f"{count} fits killed at {len(seen)} epochs, {resumed} resumed to the same bits"


def interrupted_saves(folder: str, count: int) -> str:
    """SIGINT at random moments: KeyboardInterrupt, one of the files, nothing beside it."""
    path = os.path.join(folder, "model")
    nets = [Network([200, 300], seed=seed, backend="reference") for seed in (1, 2)]
    bits = [net.parameters.tobytes() for net in nets]
    nets[0].save(path)
    chance = random.Random(4)
    begun = os.path.join(folder, "begun")

    def save_for_ever() -> None:
        Path(begun).touch()
        while True:
            for net in nets:
                net.save(path)

    for _ in range(count):
        child = in_a_child(save_for_ever)
        deadline = time.monotonic() + 60
        while not os.path.exists(begun) and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGINT)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.unlink(begun)
        require(status == 0, f"an interrupted save ended with {status}")
        require(Network.load(path).parameters.tobytes() in bits, "an interrupted save mixed files")
        require(temporary_files(folder) == [], f"an interrupted save left {os.listdir(folder)}")
    return f"{count} saves interrupted"


# ---- a system that writes no further -------------------------------------------------------------


@contextmanager
def small_disk(folder: str) -> Iterator[str | None]:
    """A file system of 256 KiB; None where it may not be mounted."""
    place = os.path.join(folder, "disk")
    os.mkdir(place)
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", place], check=True)


def no_space(folder: str) -> str:
    small, large = Network([20, 30], seed=1), Network([200, 300], seed=2)
    X, Y = np.ones((4, 200)), np.full((4, 300), 0.5)
    with small_disk(folder) as disk:
        if disk is None:
            return "ENOSPC skipped: no tmpfs may be mounted"
        path = os.path.join(disk, "model")
        small.save(path)
        before = Path(path).read_bytes()
        for room in (0, 1, 4096, 65536):
            filler = os.path.join(disk, "filler")
            with open(filler, "wb", buffering=0) as file:
                with suppress(OSError):
                    while True:
                        file.write(b"x" * 4096)
                file.truncate(max(0, os.fstat(file.fileno()).st_size - room))
            try:
                large.save(path)
            except OSError as error:
                require(error.errno == errno.ENOSPC, f"no space gave {error!r}")
            else:
                raise Finding("a model of 480 KB fitted into 256 KB")
            parameters = large.parameters.tobytes()
            try:
                large.fit(X, Y, epochs=1, learning_rate=0.0, checkpoint=path)
            except OSError as error:
                require(error.errno == errno.ENOSPC, f"no space gave {error!r}")
            else:
                raise Finding("a checkpoint of 480 KB fitted into 256 KB")
            require(large.parameters.tobytes() == parameters, "the network has changed")
            require(Path(path).read_bytes() == before, "no space: the old file has changed")
            require(temporary_files(disk) == [], f"no space left {os.listdir(disk)}")
            os.unlink(filler)
        small.save(path)
    return "ENOSPC 8 times"


def too_large(folder: str, step: int) -> str:
    """RLIMIT_FSIZE at every length of the new file, in a process of its own."""
    path = os.path.join(folder, "model")
    old, new = Network([5, 5], seed=1), Network([20, 20], seed=2)
    new.save(path)
    size = os.path.getsize(path)
    old.save(path)
    before = Path(path).read_bytes()
    lengths = range(0, size, step)

    def work() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        for length in lengths:
            resource.setrlimit(resource.RLIMIT_FSIZE, (length, hard))
            try:
                new.save(path)
            except OSError as error:
                require(error.errno == errno.EFBIG, f"a length of {length} gave {error!r}")
            else:
                raise Finding(f"a file of {size} bytes fitted into {length}")
            require(temporary_files(folder) == [], f"a length of {length} left a file")
            require(Path(path).read_bytes() == before, "the old file has changed")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        new.save(path)
        raise KeyboardInterrupt

    child = in_a_child(work)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    require(status == 0, f"files too large: the process ended with {status}")
    require(Network.load(path).parameters.tobytes() == new.parameters.tobytes(), "no new file")
    return f"EFBIG at {len(lengths)} lengths"


# ---- damaged files -------------------------------------------------------------------------------


def accepted(path: str, contents: bytes) -> bool:
    """Whether a file of these contents is taken; any other exception ends the run."""
    with open(path, "r+b", buffering=0) as file:
        file.write(contents)
        file.truncate()
    try:
        Network.load(path)
    except ModelFileError:
        return False
    return True


def damaged(folder: str, name: str) -> str:
    """Every flipped bit, every truncation, and extensions, of one file."""
    contents = (DATA / f"{name}.safetensors").read_bytes()
    path = os.path.join(folder, "damaged")
    Path(path).touch()
    require(accepted(path, contents), f"{name} is refused as it is")
    flipped = bytearray(contents)
    for place in range(len(contents)):
        for bit in range(8):
            flipped[place] ^= 1 << bit
            require(not accepted(path, flipped), f"{name}: bit {bit} of byte {place} is not seen")
            flipped[place] ^= 1 << bit
    for length in range(len(contents)):
        require(not accepted(path, contents[:length]), f"{name}: {length} bytes are taken")
    chance = random.Random(6)
    tails = [bytes(n) for n in range(1, 65)] + [chance.randbytes(n) for n in range(1, 65)]
    tails += [contents, contents[8:], b" " * 4096, bytes(1 << 20)]
    for tail in tails:
        require(not accepted(path, contents + tail), f"{name}: {len(tail)} more bytes are taken")
    require(accepted(path, contents), f"{name} is refused as it was")
    return f"{8 * len(contents)} flips, {len(contents)} truncations, {len(tails)} extensions"


# ---- all of it -----------------------------------------------------------------------------------


def report(passed: bool | None, figure: str, did: str = "") -> int:
    did = did or "kills, ENOSPC, EFBIG, SIGINT in save; flipped bits, truncations, extensions"
    print(json.dumps({"part": "file faults", "did": did, "figure": figure, "passed": passed}))
    return 1 if passed is False else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    quick = parser.parse_args().quick
    if os.name != "posix":
        return report(None, "", "skipped: signals, limits and file systems are POSIX's")
    parts: list[tuple[Callable[..., str], Any]] = [
        (killed_saves, 20 if quick else 200),
        (killed_fits, 20 if quick else 200),
        (interrupted_saves, 20 if quick else 200),
        (too_large, 97 if quick else 1),
        *((damaged, name) for name in (GOLDEN[:1] if quick else GOLDEN)),
    ]
    figures, problems = [], []
    for function, argument in [*parts, (no_space, None)]:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            arguments = [folder] if argument is None else [folder, argument]
            try:
                figures.append(function(*arguments))
                print(f"{figures[-1]}  ({time.monotonic() - start:.1f} s)", flush=True)
            except Exception as error:
                problems.append(f"{function.__name__}: {type(error).__name__}: {error}")
                print(problems[-1], flush=True)
    return report(not problems, "; ".join(problems or figures))


if __name__ == "__main__":
    raise SystemExit(main())
