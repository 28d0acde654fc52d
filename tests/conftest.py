"""Fixtures that several test files share; whole folders run on every core, at most four."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

for shared in ("support", "command_line", "rejections", "oracle", "small_networks"):
    pytest.register_assert_rewrite(shared)
with warnings.catch_warnings():
    # Without the compiled core the first import gives its one RuntimeWarning (which has a test of
    # its own); as an error it would stop the suite on a build without it.
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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test may save a model."""
    return tmp_path / "model.safetensors"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Give whole folders a process for each core, as `-n` would, where nothing speaks against it.

    Here and not in the settings' addopts: `-p no:xdist`, `-n 0`, `--pdb`, `-s` and an installation
    without pytest-xdist do what they say. A file of its own is quicker in one process.
    """
    if not config.pluginmanager.hasplugin("xdist") or hasattr(config, "workerinput"):
        return
    options = config.option
    chosen = options.numprocesses is not None or options.dist != "no" or options.usepdb
    if chosen or options.capture == "no" or not all(map(os.path.isdir, config.args)):
        return
    # The cores that this process may use, where the system tells.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if (cores or 1) > 1:
        options.numprocesses = min(cores or 1, 4)
        options.dist = "worksteal"  # neighbours stay together, and with them what they cache
