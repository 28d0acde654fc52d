"""Scales in model files: a version of their own, read as strictly as everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import model_files
import numpy as np
import pytest
from support import REPOSITORY, Array

from cbackprop import ModelFileError, Network

FILES = sorted((REPOSITORY / "tests" / "data").glob("*.safetensors"))


def standardised(output: str = "identity", cost: str = "mse") -> Network:
    net = Network([3, 4, 2], ["tanh", output], cost, seed=1)
    X = np.random.default_rng(0).normal(5.0, 2.0, (20, 3))
    net.fit(X, np.eye(2)[np.arange(20) % 2], epochs=1, standardise=True)
    return net


def test_without_scales_files_are_what_they_were(tmp_path: Path) -> None:
    """Version 2, to the byte: readers of earlier versions take them."""
    for file in FILES:
        if file.name.startswith("model_2"):
            Network.load(file).save(tmp_path / "again")
            assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_files_of_earlier_versions_have_none() -> None:
    assert len(FILES) > 8
    for file in FILES:
        assert Network.load(file).scales is None


def test_they_are_tensors_after_the_parameters(tmp_path: Path) -> None:
    net = standardised()
    net.save(tmp_path / "a")
    tensors, metadata = model_files.read(tmp_path / "a")
    assert metadata["format_version"] == "3"
    assert net.scales is not None
    assert net.scales.outputs is not None
    names = ["inputs.mean", "inputs.deviation", "outputs.mean", "outputs.deviation"]
    assert list(tensors)[4:] == [f"scales.{name}" for name in names]
    for found, part in zip(
        list(tensors.values())[4:], (*net.scales.inputs, *net.scales.outputs), strict=True
    ):
        np.testing.assert_array_equal(found, part)
    net = standardised("softmax", "cross_entropy")
    net.save(tmp_path / "a")
    assert list(model_files.read(tmp_path / "a")[0])[4:] == [f"scales.{name}" for name in names[:2]]


def without(name: str) -> Any:
    return lambda tensors: tensors.pop(name)


def put(name: str, value: Any) -> Any:
    return lambda tensors: tensors.__setitem__(name, np.array(value))


CHANGES: dict[str, tuple[Any, str]] = {
    "none": (
        lambda tensors: [tensors.pop(name) for name in list(tensors)[4:]],
        r"has the tensors \[\] after the parameters; expected scales.inputs.mean",
    ),
    "no deviation": (without("scales.inputs.deviation"), "expected scales.inputs.mean, scales"),
    "half of the outputs": (without("scales.outputs.deviation"), "expected scales.outputs.mean"),
    "a mean of outputs": (without("scales.outputs.mean"), "it has 7 tensors; expected 6"),
    "another shape": (put("scales.inputs.mean", [1.0, 2.0]), r"has shape \(2,\).*expected \(3,\)"),
    "another type": (put("scales.inputs.mean", np.ones(3, "float32")), "dtype float32; expected"),
    "not finite": (put("scales.inputs.mean", [1.0, np.inf, 0.0]), "inf at"),
    "a deviation of 0": (put("scales.outputs.deviation", [1.0, 0.0]), "not above 0"),
    "one below 0": (put("scales.outputs.deviation", [-1.0, 1.0]), "not above 0"),
    "more": (put("scales.parameters", np.ones(26)), "it has 9 tensors; expected 8"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_what_no_network_has_written_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    tensors, metadata = model_files.model_parts(standardised())
    change(tensors)
    model_files.write(tmp_path / "a", tensors, metadata)
    with pytest.raises(ModelFileError, match=message):
        Network.load(tmp_path / "a")


def test_scales_of_outputs_that_have_none(tmp_path: Path) -> None:
    tensors, metadata = model_files.model_parts(standardised())
    metadata["activations"] = '["tanh","tanh"]'
    model_files.write(tmp_path / "a", tensors, metadata)
    with pytest.raises(ModelFileError, match="scales of outputs whose activation is 'tanh'"):
        Network.load(tmp_path / "a")


def test_version_2_has_no_scales(tmp_path: Path) -> None:
    tensors, metadata = model_files.model_parts(standardised())
    model_files.write(tmp_path / "a", tensors, metadata | {"format_version": "2"})
    with pytest.raises(ModelFileError, match="it has 8 tensors; expected 4"):
        Network.load(tmp_path / "a")


PARAMETERS: dict[str, Array] = {
    "another shape": np.ones(7),
    "another type": np.ones(26, "float32"),
    "not finite": np.full(26, np.nan),
}


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_of_a_checkpoint_for_standardised_numbers(
    parameters: Array, tmp_path: Path
) -> None:
    standardised().save(tmp_path / "a", optimizer=True)
    tensors, metadata = model_files.read(tmp_path / "a")
    assert list(tensors)[8] == "scales.parameters"
    tensors["scales.parameters"] = parameters
    model_files.write(tmp_path / "a", tensors, metadata)
    with pytest.raises(ModelFileError, match=r"tensor 'scales\.parameters' has"):
        Network.load(tmp_path / "a")
