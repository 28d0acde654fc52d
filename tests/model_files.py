"""What the tests of files call, by one name, and with a Network in place of its model."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

import numpy as np

from cbackprop import Network
from cbackprop.files import checkpoint, model
from cbackprop.files import format as file_format
from cbackprop.model_of_network import ModelOfNetwork

Array = np.ndarray[Any, np.dtype[Any]]


def write(path: PathLike[str], tensors: dict[str, Array], metadata: dict[str, str]) -> None:
    file_format.write(fspath(path), tensors, metadata)


def read(path: PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    return file_format.read(fspath(path))


def model_parts(net: Network) -> tuple[dict[str, Array], dict[str, str]]:
    seen = ModelOfNetwork(net)
    return model.model_file(seen, model.described(seen))


def write_checkpoint(
    path: PathLike[str], net: Network, extra: dict[str, Array], state: dict[str, Any]
) -> None:
    checkpoint.write_checkpoint(fspath(path), ModelOfNetwork(net), extra, state)


def read_checkpoint(path: PathLike[str], net: Network) -> tuple[dict[str, Array], dict[str, Any]]:
    """Put the network where the checkpoint's was; the fit's own arrays and values."""
    seen = ModelOfNetwork(net)
    found = checkpoint.read_checkpoint(fspath(path), seen)
    checkpoint.set_training(seen, found)
    return found.training.extra, found.training.state
