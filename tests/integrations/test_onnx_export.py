"""`cbackprop.onnx.export`: what onnxruntime computes of its files, and what stands in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ELEMENTWISE, REPOSITORY, STEEP

from cbackprop import Activation, Cost, Network
from cbackprop.exports import NamedLayer, named_layers
from cbackprop.functions import ACTIVATIONS, COSTS, Array, can_serve

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from cbackprop.onnx import export, load  # noqa: E402 - once it is known to be there
from cbackprop.onnx.functions import FUNCTIONS  # noqa: E402

# Of the largest output.
BOUNDS = {"float64": 1e-12, "float32": 1e-6}
EXPORTED = [
    (name, dtype)
    for dtype in BOUNDS
    for name in ACTIVATIONS
    if dtype == "float32" or FUNCTIONS[name].float64 is not None
]


def outputs(path: Path, X: Array) -> dict[str, Any]:
    """What onnxruntime makes of a file that onnx finds nothing wrong with."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"X": X}), strict=True))


def assert_near(found: Array, expected: Array) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    error = np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max()
    assert error <= BOUNDS[expected.dtype.name], error


def test_every_activation_has_a_row_also_on_the_page() -> None:
    assert list(FUNCTIONS) == list(ACTIVATIONS)
    page = (REPOSITORY / "docs" / "into_a_service.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z_, ]+) \| (?:\S+|refused) \| \S+ \|$", page, re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == {*ACTIVATIONS}


@pytest.mark.parametrize(("activation", "dtype"), EXPORTED)
def test_outputs_are_the_network_s(activation: str, dtype: str, tmp_path: Path) -> None:
    """Of hidden layers and of outputs, in networks of many sizes, for inputs of many."""
    rng = np.random.default_rng(0)
    hidden = [activation, activation]
    if activation not in ELEMENTWISE:
        hidden = ["tanh", "tanh"]
    elif activation in STEEP:  # an exponential of exponentials would be beyond all numbers
        hidden = [activation, "tanh"]
    output = "probabilities" if activation == "softmax" else "outputs"
    for seed in range(4):
        sizes = rng.integers((1, 1, 1, 2), (9, 20, 20, 6)).tolist()
        activations = [*hidden, activation]
        net = Network(sizes, activations, dtype=dtype, seed=seed)  # type: ignore[arg-type]
        most = 5.0 if activation in STEEP else 50.0
        X = (rng.normal(size=(40, sizes[0])) * np.geomspace(1e-3, most, 40)[:, None]).astype(dtype)
        export(net, tmp_path / "net.onnx")
        assert_near(outputs(tmp_path / "net.onnx", X)[output], net.predict(X))


@pytest.mark.parametrize(("activation", "dtype"), EXPORTED)
def test_an_activation_keeps_its_digits(activation: str, dtype: str, tmp_path: Path) -> None:
    """One number at a time, so that no larger output hides what is lost."""
    if activation == "softmax":
        pytest.skip("of one number there is none")
    net = Network([1, 1], activation, dtype=dtype, init="zeros")
    net.weights[0][...] = 1
    export(net, tmp_path / "net.onnx")
    z = np.concatenate([np.geomspace(1e-12, 80, 60), -np.geomspace(1e-12, 80, 60)])
    X = z.reshape(-1, 1).astype(dtype)
    found, expected = outputs(tmp_path / "net.onnx", X)["outputs"], net.predict(X)
    # onnxruntime's own Sigmoid and Erf in float32 have an absolute error of 1e-7.
    scale = 1.0 if dtype == "float32" and activation in ("sigmoid", "gelu") else 0.0
    error = np.abs(found.astype(np.float64) - expected)
    np.testing.assert_array_less(error, BOUNDS[dtype] * np.maximum(np.abs(expected), scale) + 1e-40)


@pytest.mark.parametrize("n_L", [1, 3])
@pytest.mark.parametrize(
    ("activation", "dtype", "cost"),
    [(*pair, cost) for pair in EXPORTED for cost in COSTS if can_serve(pair[0], cost)],
)
def test_a_network_comes_back_as_it_was(
    activation: str, dtype: str, cost: str, n_L: int, tmp_path: Path
) -> None:
    if activation == "softmax":
        n_L += 1
    hidden = "relu" if activation == "softmax" else activation
    net = Network(
        [3, 4, n_L],
        [hidden, activation],
        cost,
        dtype=dtype,
        init="lecun",
        seed=5,
        feature_names=["length", "größe", "長さ"],
        class_names=["no", "yes", "perhaps", "never"][: max(n_L, 2)],
        metadata={"unit": "mm", "note": "{}\n"},
    )
    net.weights[0][0, 0] = -0.0
    export(net, tmp_path / "net.onnx")
    assert_same(load(tmp_path / "net.onnx"), net)


def assert_same(found: Network, expected: Network) -> None:
    """In what does not belong to training alone, and in the scales."""
    state, others = found.__getstate__(), expected.__getstate__()
    for name in (
        "sizes",
        "activations",
        "cost",
        "dtype",
        "init",
        "feature_names",
        "class_names",
        "metadata",
    ):
        assert state["metadata"][name] == others["metadata"][name], name
    assert found.parameters.tobytes() == expected.parameters.tobytes()
    assert (found.scales is None) == (expected.scales is None)
    if found.scales is not None:
        np.testing.assert_equal(found.scales, expected.scales)


@pytest.mark.parametrize("output", ["identity", "tanh"])
def test_scales_come_back(output: str, tmp_path: Path) -> None:
    """Those of inputs alone, too."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2)) * [3.0, 0.1] + [50.0, -1.0]
    net = Network([2, 3, 1], ["tanh", output], seed=0)
    net.fit(X, np.tanh(X[:, :1] - 50.0), epochs=2, standardise=True)
    export(net, tmp_path / "net.onnx")
    found = load(tmp_path / "net.onnx")
    assert found.scales is not None
    assert (found.scales.outputs is None) == (output == "tanh")
    assert_same(found, net)
    assert_near(outputs(tmp_path / "net.onnx", X)["outputs"], net.predict(X))


# ---- classifiers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("names", [None, ["ash", "beech", "oak"]])
def test_one_of_many_classes(names: list[str] | None, dtype: str, tmp_path: Path) -> None:
    net = Network(
        [4, 5, 3], ["tanh", "softmax"], "cross_entropy", dtype=dtype, seed=0, class_names=names
    )
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(dtype) * 5
    export(net, tmp_path / "net.onnx")
    found, expected = outputs(tmp_path / "net.onnx", X), net.predict(X)
    assert list(found) == ["label", "probabilities"]
    assert_near(found["probabilities"], expected)
    numbers = expected.argmax(axis=1)
    assert len({*numbers}) == 3
    assert found["label"].tolist() == (
        numbers.tolist() if names is None else [names[i] for i in numbers]
    )


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(
    ("cost", "names"),
    [("cross_entropy", None), ("cross_entropy", ["rain"]), ("quadratic", ["dry", "rain"])],
)
def test_one_of_two_classes(cost: str, names: list[str] | None, dtype: str, tmp_path: Path) -> None:
    net = Network([2, 1], "sigmoid", cost, dtype=dtype, seed=1, class_names=names)
    net.biases[0][...] = 0
    X = np.concatenate(
        [np.random.default_rng(0).normal(size=(50, 2)) * 9, np.zeros((1, 2))]
    ).astype(dtype)
    export(net, tmp_path / "net.onnx")
    found, p = outputs(tmp_path / "net.onnx", X), net.predict(X)
    assert list(found) == ["label", "probabilities"]
    assert_near(found["probabilities"], np.hstack([1 - p, p]))
    numbers = (p[:, 0] > 0.5).astype(int)  # the last one is ½
    assert 0 < numbers.sum() < 50
    words = names if names is not None and len(names) == 2 else [0, 1]
    assert found["label"].tolist() == [words[i] for i in numbers]


def test_any_of_many_labels(tmp_path: Path) -> None:
    net = Network([2, 3], "sigmoid", "cross_entropy", seed=1, class_names=["red", "round", "ripe"])
    X = np.random.default_rng(0).normal(size=(50, 2)) * 3
    export(net, tmp_path / "net.onnx")
    found, p = outputs(tmp_path / "net.onnx", X), net.predict(X)
    assert_near(found["probabilities"], p)
    assert found["label"].dtype == np.int64
    assert (found["label"] == (p > 0.5)).all()


@pytest.mark.parametrize(
    ("output", "cost", "n_L"),
    [
        ("sigmoid", "quadratic", 3),
        ("sigmoid", "mse", 1),
        ("tanh", "mse", 1),
        ("softmax", "poisson", 3),
    ],
)
def test_outputs_that_need_not_be_classes(output: str, cost: str, n_L: int, tmp_path: Path) -> None:
    net = Network([2, n_L], output, cost, seed=0)
    export(net, tmp_path / "net.onnx")
    X = np.eye(2)
    assert_near(outputs(tmp_path / "net.onnx", X)["outputs"], net.predict(X))


# ---- the file ------------------------------------------------------------------------------------


def test_what_stands_in_the_file(tmp_path: Path) -> None:
    net = Network(
        [3, 4, 2],
        ["elu", "identity"],
        "mse",
        seed=0,
        feature_names=["a", "b", "ü"],
        class_names=["f", "g"],
        metadata={"unit": "mm"},
    )
    export(net, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 13)]
    assert model.ir_version == 7
    tensors = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    for l in (1, 2):
        assert tensors[f"layers.{l}.weight"].tobytes() == net.weights[l - 1].tobytes()
        assert tensors[f"layers.{l}.bias"].tobytes() == net.biases[l - 1].tobytes()
    texts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(texts["feature_names"]) == ["a", "b", "ü"]
    assert json.loads(texts["class_names"]) == ["f", "g"]
    assert json.loads(texts["metadata"]) == {"unit": "mm"}
    assert texts["cost"] == "mse"
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    (X,) = session.get_inputs()
    assert (X.name, X.type, X.shape) == ("X", "tensor(double)", ["n", 3])
    assert session.get_modelmeta().producer_name == "cbackprop"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export(Network([2, 1], seed=0), str(path))
    before = path.read_bytes()
    bad = Network([2, 1], seed=1)
    bad.weights[0][0, 1] = np.nan
    with pytest.raises(ValueError, match=r"^weights\[0\] of layer 1 has nan at \[0, 1\]"):
        export(bad, path)
    with pytest.raises(IsADirectoryError):
        export(Network([2, 1], seed=1), tmp_path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    export(Network([2, 1], seed=1), bytes(path))
    assert path.read_bytes() != before


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(TypeError, match=r"^net is 3 .int.; expected a Network"):
        export(3, path)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^path is 3"):
        export(Network([2, 1]), 3)  # type: ignore[arg-type]
    own = Activation(np.sin, np.cos, name="sine")
    with pytest.raises(ValueError, match=r"^net has Activation\(sine\), of your own; expected"):
        export(Network([2, 3, 1], [own, "sigmoid"]), path)
    with pytest.raises(ValueError, match=r"^net has 'gelu' in layer 2, .*expected a float32 net"):
        export(Network([2, 3, 3, 1], ["tanh", "gelu", "tanh"]), path)
    monkeypatch.setattr("cbackprop.onnx.exporting.LARGEST_FILE", 24)
    with pytest.raises(ValueError, match=r"^net has 3 parameters of 8 bytes; expected fewer"):
        export(Network([2, 1]), path)
    assert not path.exists()


def test_a_change_meanwhile_is_not_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another thread makes it, once the layers have been read."""
    net = Network([2, 3], "softmax", seed=0, class_names=["a", "b", "c"])

    def layers_before_a_change(argument: str, network: Network) -> list[NamedLayer]:
        layers = named_layers(argument, network)
        net.class_names = ["d", "e", "f"]
        return layers

    monkeypatch.setattr("cbackprop.onnx.exporting.named_layers", layers_before_a_change)
    export(net, tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx").class_names == ("a", "b", "c")
    assert net.class_names == ("d", "e", "f")


def test_a_cost_of_one_s_own_stays_behind(tmp_path: Path) -> None:
    cost = Cost(lambda a, y: ((a - y) ** 4).sum(axis=1), lambda a, y: 4 * (a - y) ** 3)
    net = Network([2, 1], "identity", cost, seed=0)
    export(net, tmp_path / "net.onnx")
    assert load(tmp_path / "net.onnx").cost_function == "quadratic"
    assert load(tmp_path / "net.onnx", cost=cost).cost_function is cost
    model = onnx.load(tmp_path / "net.onnx")
    assert "cost" not in {entry.key for entry in model.metadata_props}
