"""What the tests of files call, by one name, and with a Network in place of its model."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

from support import Array

from cbackprop import Network
from cbackprop.files import checkpoint, model
from cbackprop.files import format as file_format


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
