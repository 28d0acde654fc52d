"""What a model file holds, and that all of it comes back."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import model_files as model_file
import numpy as np
import pytest
from model_files import (
    DATA,
    VERSIONS,
    compact,
    every_version,
    golden_network,
    is_written,
    kept_by_another_thread,
    only_files,
    padded,
    same_bits,
    small,
    taken_apart,
    with_checksum,
)
from support import BACKENDS, COSTS, DTYPES, ELEMENTWISE, PAIRS, both_dtypes, every_backend

import cbackprop
from cbackprop import Activation, Cost, ModelFileError, Network, optimizers
from cbackprop.functions import INITS


def every_network(dtype: str, backend: str) -> Iterator[Network]:
    """Every activation and every cost there is, and every way to draw the parameters."""
    inits = tuple(INITS)
    for output, cost in PAIRS:
        i = COSTS.index(cost)
        init = inits[i % len(inits)]
        yield Network([4, 3], output, cost, dtype=dtype, init=init, seed=i, backend=backend)
    for hidden in ELEMENTWISE:
        sizes = [5, 17, 1, 3]
        yield Network(sizes, hidden, dtype=dtype, seed=1, backend=backend)


@both_dtypes
@every_backend
def test_every_named_function_comes_back(path: Path, dtype: str, backend: str) -> None:
    for net in every_network(dtype, backend):
        # Numbers that arithmetic could lose.
        net.weights[0][0, 0] = -0.0
        net.weights[0][-1, -1] = np.finfo(dtype).smallest_subnormal
        net.biases[-1][0] = np.finfo(dtype).max
        net.save(path)
        read = Network.load(path, backend=backend, threads=3)
        assert same_bits(read, net)
        for name in ("sizes", "activations", "cost_function", "dtype", "backend"):
            assert getattr(read, name) == getattr(net, name), name
        assert read._model.description.init == net._model.description.init
        assert read._model.about == net._model.about
        assert read.threads == 3
        assert model_file.model_parts(read)[1] == model_file.model_parts(net)[1]
        net.biases[-1][0] = read.biases[-1][0] = 0.25
        x = np.linspace(-1, 1, net.sizes[0])
        assert net.predict(x).tobytes() == read.predict(x).tobytes()


@both_dtypes
def test_backends_write_the_same_file(path: Path, dtype: str) -> None:
    if cbackprop.info()["backend"] != "compiled":
        pytest.skip("the compiled core is not built here")
    files = []
    for backend in BACKENDS:
        Network([20, 17, 3], dtype=dtype, seed=5, backend=backend).save(path)
        files.append(path.read_bytes())
    assert files[0] == files[1]


@both_dtypes
@every_backend
def test_the_layout(path: Path, dtype: str, backend: str) -> None:
    """Read by hand, as the documentation of safetensors and ours say."""
    net = Network([3, 5, 2], "relu", dtype=dtype, seed=4, backend=backend)
    net.feature_names, net.metadata = ("a", "b", "σ"), {"unit": "mg"}
    net.save(path)
    contents = path.read_bytes()
    (length,) = struct.unpack("<Q", contents[:8])
    assert length % 8 == 0
    header, numbers = taken_apart(contents)
    metadata = header.pop("__metadata__")
    checksum = metadata.pop("checksum")
    assert metadata == {
        "format": "cbackprop",
        "format_version": "2",
        "kind": "model",
        "sizes": "[3,5,2]",
        "activations": '["relu","relu"]',
        "cost": "quadratic",
        "dtype": dtype,
        "init": "auto",
        "feature_names": '["a","b","\\u03c3"]',
        "class_names": "null",
        "metadata": '{"unit":"mg"}',
    }
    assert list(header) == [
        "layers.1.weight",
        "layers.1.bias",
        "layers.2.weight",
        "layers.2.bias",
    ]
    letter = {"float32": "f", "float64": "d"}[dtype]
    start = 0
    for l, (n_in, n_out) in enumerate(pairwise(net.sizes), start=1):
        for kind, expected in (("weight", net.weights), ("bias", net.biases)):
            entry = header[f"layers.{l}.{kind}"]
            assert entry["dtype"] == {"float32": "F32", "float64": "F64"}[dtype]
            assert entry["shape"] == ([n_out, n_in] if kind == "weight" else [n_out])
            assert entry["data_offsets"][0] == start
            start = entry["data_offsets"][1]
            values = struct.unpack(
                f"<{math.prod(entry['shape'])}{letter}", numbers[slice(*entry["data_offsets"])]
            )
            assert list(values) == expected[l - 1].ravel().tolist()
    assert start == len(numbers)
    plain = padded(compact({"__metadata__": metadata, **header}))
    assert sha256(plain + numbers).hexdigest() == checksum
    assert with_checksum({"__metadata__": metadata, **header}, numbers) == contents


def test_a_subclass_loads_as_itself(path: Path) -> None:
    class Named(Network):
        pass

    small().save(path)
    assert type(Named.load(path)) is Named
    assert same_bits(Named.load(path), small())


def test_a_loaded_network_has_no_optimizer_and_a_stream_of_its_own(path: Path) -> None:
    net = small()
    net._model.set_optimizer(optimizers.Adam())
    net.save(path)
    read = [Network.load(path) for _ in range(2)]
    assert [network._model.optimizer for network in read] == [None, None]
    assert read[0]._engine.slots == ()
    states = [network._model.random.state["state"]["state"] for network in (*read, net)]
    assert len(set(states)) == 3


def test_the_safetensors_package_opens_our_files(path: Path) -> None:
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
    for dtype in DTYPES:
        net = Network([3, 5, 2], dtype=dtype, seed=4)
        net.save(path)
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            assert metadata["sizes"] == "[3,5,2]"
            assert len(metadata["checksum"]) == 64
            for l in (1, 2):
                for kind, expected in (("weight", net.weights), ("bias", net.biases)):
                    tensor = file.get_tensor(f"layers.{l}.{kind}")
                    assert tensor.dtype == net.dtype
                    assert tensor.tobytes() == expected[l - 1].tobytes()
        net._model.set_optimizer(optimizers.Adam())
        model_file.write_checkpoint(path, net, {"order": np.arange(5)}, {"epoch": 2})
        with safetensors.safe_open(path, framework="numpy") as file:
            assert file.get_tensor("extra.order").tolist() == [0, 1, 2, 3, 4]
            assert file.get_tensor("optimizer.slots.1").shape == (net.n_parameters,)


def test_files_of_the_safetensors_package_are_not_ours(path: Path) -> None:
    numpy_files = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    tensors, metadata = model_file.model_parts(small())
    numpy_files.save_file(tensors, path)
    with pytest.raises(ModelFileError, match="'cbackprop' in it: another program wrote this file"):
        Network.load(path)
    # In another order, and without the checksum.
    numpy_files.save_file(tensors, path, metadata)
    with pytest.raises(ModelFileError, match="has no checksum at its end"):
        Network.load(path)
    small().save(path)
    metadata["checksum"] = taken_apart(path.read_bytes())[0]["__metadata__"]["checksum"]
    numpy_files.save_file(tensors, path, metadata)
    with pytest.raises(ModelFileError):
        Network.load(path)


@both_dtypes
@every_backend
@every_version
def test_the_model_file_of_every_version(
    path: Path, version: str, dtype: str, backend: str
) -> None:
    kept = DATA / f"model{version}_{dtype}.safetensors"
    net = Network.load(kept, backend=backend)
    expected = golden_network(dtype, backend=backend, **VERSIONS[version])
    assert same_bits(net, expected)
    assert net.activations == ("tanh", "softmax")
    assert (net.cost_function, net._model.description.init, net.dtype) == (
        "cross_entropy",
        "lecun",
        np.dtype(dtype),
    )
    assert net._model.about == expected._model.about
    net.save(path)
    assert (path.read_bytes() == kept.read_bytes()) == is_written(version)


def test_arguments_of_load(path: Path) -> None:
    small().save(path)
    for bad in ({"threads": 0}, {"backend": "gpu"}):
        with pytest.raises(ValueError, match=f"^{next(iter(bad))} is .*; expected"):
            Network.load(path, **bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^threads is '2'"):
        Network.load(path, threads="2")  # type: ignore[arg-type]


def test_functions_of_ones_own_are_refused(path: Path) -> None:
    swish = Activation(np.tanh, lambda z: 1 - np.tanh(z) ** 2, name="swish")
    distance = Cost(
        lambda a, y: ((a - y) ** 2).sum(axis=1), lambda a, y: 2 * (a - y), name="distance"
    )
    small().save(path)
    before = path.read_bytes()
    for net, message in (
        (Network([2, 3, 1], ["tanh", swish]), r"^activation of layer 2 is Activation\(swish\)"),
        (Network([2, 3, 1], cost=distance), r"^cost is Cost\(distance\)"),
    ):
        for call in (
            net.save,
            lambda name, net=net: model_file.write_checkpoint(name, net, {}, {}),
            lambda name, net=net: model_file.read_checkpoint(name, net),
        ):
            with pytest.raises(TypeError, match=message):
                call(path)
    assert path.read_bytes() == before
    assert only_files(path.parent) == [path.name]


@every_backend
def test_parameters_that_are_not_finite_are_refused(path: Path, backend: str) -> None:
    net = small(backend=backend)
    net.biases[1][1] = math.nan
    for call in (net.save, lambda name: model_file.write_checkpoint(name, net, {}, {})):
        with pytest.raises(ValueError, match=r"^biases\[1\] of layer 2 has nan at \[1\]"):
            call(path)
    assert only_files(path.parent) == []


@every_backend
def test_parameters_that_are_not_finite_where_asked_for(path: Path, backend: str) -> None:
    net = small(backend=backend)
    net.biases[1][1], net.weights[0][0, 0] = math.nan, -math.inf
    net.save(path, allow_nonfinite=True)
    with pytest.raises(ModelFileError, match=r"'layers.1.weight' has -inf at \[0, 0\]"):
        Network.load(path, backend=backend)
    twin = Network.load(path, backend=backend, allow_nonfinite=True)
    assert same_bits(twin, net)
    with pytest.raises(ValueError, match=r"^weights\[0\] of layer 1 has -inf"):
        twin.predict(np.zeros((1, 3)))
    for call in (net.save, Network.load):
        with pytest.raises(TypeError, match=r"^allow_nonfinite is 1 "):
            call(path, allow_nonfinite=1)  # type: ignore[operator]


@every_backend
def test_a_network_in_use_is_not_saved(path: Path, backend: str) -> None:
    net = small(backend=backend)
    with kept_by_another_thread(net):
        for call in (net.save, lambda name: model_file.write_checkpoint(name, net, {}, {})):
            with pytest.raises(RuntimeError, match="in another thread"):
                call(path)
    assert only_files(path.parent) == []
    # The fit's own thread may: from a callback, for a checkpoint.
    with net._engine:
        net.save(path)
    assert same_bits(Network.load(path), net)
