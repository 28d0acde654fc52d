"""What the tests of files share: how they call them, and files made by hand."""

from __future__ import annotations

import json
import math
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import TESTS, Array, state

from cbackprop import Network, optimizers
from cbackprop.files import checkpoint, model
from cbackprop.files import format as file_format

DATA = TESTS / "data"  # files of each version


def write(path: PathLike[str], tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    file_format.write(fspath(path), tensors, metadata)


def read(path: PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    return file_format.read(fspath(path))


def model_parts(net: Network) -> tuple[dict[str, Array], dict[str, str]]:
    return model.model_file(net._model, model.described(net._model))


def write_checkpoint(
    path: PathLike[str], net: Network, extra: dict[str, Array], state: dict[str, Any]
) -> None:
    checkpoint.write_checkpoint(fspath(path), net._model, extra, state)


def read_checkpoint(path: PathLike[str], net: Network) -> tuple[dict[str, Array], dict[str, Any]]:
    """Put the network where the checkpoint's was; the fit's own arrays and values."""
    found = checkpoint.read_checkpoint(fspath(path), net._model)
    checkpoint.set_training(net._model, found, None)
    return found.training.extra, found.training.state


def small(**options: Any) -> Network:
    options = {"dtype": "float32", "seed": 3, **options}
    return Network([3, 2, 2], ["tanh", "softmax"], "cross_entropy", **options)


def same_bits(a: Network, b: Network) -> bool:
    return a.parameters.tobytes() == b.parameters.tobytes()


def only_files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def raw_file(header: bytes, numbers: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + numbers


def padded(text: str) -> bytes:
    header = text.encode("utf-8")
    return header + b" " * (-len(header) % 8)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def taken_apart(contents: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", contents[:8])
    return json.loads(contents[8 : 8 + length]), contents[8 + length :]


def with_checksum(header: dict[str, Any], numbers: bytes) -> bytes:
    """The file of a header and numbers, with the checksum that they have."""
    metadata = {key: text for key, text in header["__metadata__"].items() if key != "checksum"}
    plain = {**header, "__metadata__": metadata}
    checksum = sha256(padded(compact(plain)) + numbers).hexdigest()
    plain["__metadata__"] = {**metadata, "checksum": checksum}
    return raw_file(padded(compact(plain)), numbers)


def put(path: Path, contents: bytes) -> None:
    """Other contents in the same file: quicker by far than emptying it first."""
    with open(path, "r+b") as file:
        file.write(contents)
        file.truncate()


def contents_of(save: Callable[[str], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "file")
        save(name)
        return Path(name).read_bytes()


def model_bytes() -> bytes:
    return contents_of(small().save)


def golden_network(dtype: str, **options: Any) -> Network:
    return Network(
        [3, 4, 2],
        ["tanh", "softmax"],
        "cross_entropy",
        dtype=dtype,
        init="lecun",
        seed=7,
        **options,
    )


def golden_training(net: Network) -> tuple[dict[str, Array], dict[str, Any]]:
    """Puts the network in the middle of a training; the fit's own tensors and state."""
    net._model.set_optimizer(optimizers.RMSprop(0.05, alpha=0.75, momentum=0.5))
    net._model.random.words(11)
    for i, slot in enumerate(net._engine.slots):
        start = 0
        for W, b in zip(*net._engine.layer_views(slot), strict=True):
            for part in (W, b):
                part[...] = (i + np.arange(start, start + part.size)).reshape(part.shape) / 8
                start += part.size
    net._engine.learning_rate = 0.025
    net._engine.step_count = 40
    net._engine.previous_cost = 0.1
    extra = {"order": np.array([2, 0, 1]), "best": net.parameters + 1}
    return extra, {"epoch": 4, "cost": [0.5, 0.1], "best_cost": math.inf, "rule": "σ", "none": None}


ABOUT = {
    "feature_names": ("age", "dose \u202e\x00", "Größe 😀"),
    "class_names": ("no", "yes"),
    "metadata": {"unit": "mg", "float": "inf", "": '"\\\n'},
}
NOTHING: dict[str, Any] = {"feature_names": None, "class_names": None, "metadata": None}
# The files of each version, which are never rewritten, and what their networks are about.
VERSIONS = {"": NOTHING, "_2": ABOUT}
every_version = pytest.mark.parametrize("version", VERSIONS)


def is_written(version: str) -> bool:
    """Whether this version of the package writes files so."""
    return version == list(VERSIONS)[-1]


def small_checkpoint() -> bytes:
    net = Network([1, 1], dtype="float32", seed=2)
    net._model.set_optimizer(optimizers.SGD(momentum=0.5))
    extra = {"order": np.array([1, 0])}
    return contents_of(
        lambda name: write_checkpoint(name, net, extra, {"epoch": 1, "best": math.inf})
    )


def metadata(**values: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        changed = {**header["__metadata__"], **values}
        header["__metadata__"] = {k: v for k, v in changed.items() if v is not None}

    return change


@contextmanager
def kept_by_another_thread(net: Network) -> Iterator[None]:
    """As a fit of that thread keeps it."""
    begun, over = threading.Event(), threading.Event()

    def keep() -> None:
        with net._engine:
            net._engine.begin_fit()
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        assert begun.wait(60)
        yield
    finally:
        over.set()
        thread.join(60)


def state_with_padding(net: Network) -> tuple[Any, ...]:
    """All that a checkpoint restores, the padding of the engine's own memory included."""
    return state(net), net._engine.parameter_arrays()[2].tobytes()
