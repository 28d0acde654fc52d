"""Fixtures that several test files share."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

for shared in ("support", "command_line"):
    pytest.register_assert_rewrite(shared)
with warnings.catch_warnings():
    # Without the compiled core the first import gives its one RuntimeWarning (which has a test of
    # its own); as an error it would stop the suite on a build made without a compiler.
    warnings.simplefilter("ignore", RuntimeWarning)
    from support import REPOSITORY

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.fixture(scope="session")
def mnist_directory() -> Path:
    """Folder with the official MNIST files: CBACKPROP_MNIST, or one beside the repository."""
    folder = REPOSITORY / os.environ.get("CBACKPROP_MNIST", "../shared/data/mnist")
    for name in MNIST_FILES:
        if not (folder / name).is_file() and not (folder / f"{name}.gz").is_file():
            pytest.skip(f"no MNIST: {name}[.gz] is not in {folder}; set CBACKPROP_MNIST")
    return folder
