"""Makes the files beside it: networks as other programs export them, with what they compute.

    python tests/data/onnx/make.py

Of each an .onnx file, and an .npz file of examples X and of the outputs Y that the program itself
computes. Made with scikit-learn 1.9.1 and skl2onnx 1.20.0, PyTorch 2.13.0 and onnxscript 0.7.2; the
tests read the files and need none of these.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import nn

FOLDER = Path(__file__).parent
ACTIVATIONS = [
    nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.ELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Softplus(),
    nn.Softsign(), nn.LeakyReLU(),
]  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")  # of fits that end early, and of the older exporter's age
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    single = X.astype(np.float32)
    words = np.array(["low", "middle", "high"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    for name, y, options in (
        ("sklearn_binary", X[:, 0] > 0, None),
        ("sklearn_words", words, {"zipmap": False}),
        ("sklearn_words_zipmap", words, None),
        ("sklearn_labels", (X[:, :3] > 0).astype(int), None),
    ):
        classifier = MLPClassifier((5,), random_state=0, max_iter=50).fit(single, y)
        model = to_onnx(classifier, single[:1], options=options)
        probabilities = classifier.predict_proba(single)
        probabilities = probabilities[:, 1:] if name == "sklearn_binary" else probabilities
        save(name, model.SerializeToString(), single, probabilities)
    for name, activation, y in (
        ("sklearn_regressor", "logistic", X[:, 0]),
        ("sklearn_regressor_outputs", "tanh", X[:, :2]),
    ):
        regressor = MLPRegressor(
            hidden_layer_sizes=(5, 3), activation=activation, random_state=0, max_iter=50
        ).fit(X, y)
        model = to_onnx(regressor, X[:1])
        save(name, model.SerializeToString(), X, regressor.predict(X).reshape(len(X), -1))

    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(4, 3)]
    for activation in ACTIVATIONS:
        layers += [activation, nn.Dropout(0.1), nn.Linear(3, 3)]
    net = nn.Sequential(*layers, nn.Tanh(), nn.Linear(3, 3, bias=False), nn.Softmax(dim=1)).eval()
    double = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).eval().double()
    images = torch.from_numpy(single.reshape(-1, 1, 2, 2))
    for name, module, examples, options in (
        ("torch", net, images, {"dynamo": True, "dynamic_shapes": [{0: torch.export.Dim("n")}]}),
        ("torch_opset_18", net, images, {"dynamo": True, "opset_version": 18}),
        ("torch_traced", net, images, {"dynamo": False, "dynamic_axes": {"x": {0: "n"}}}),
        ("torch_traced_opset_13", net, images, {"dynamo": False, "opset_version": 13}),
        ("torch_double", double, torch.from_numpy(X), {"dynamo": True}),
    ):
        path = FOLDER / f"{name}.onnx"
        torch.onnx.export(module, (examples,), path, input_names=["x"], verbose=False, **options)
        Path(f"{path}.data").unlink(missing_ok=True)  # an empty one
        with torch.no_grad():
            outputs = module(examples).numpy()
        save(name, path.read_bytes(), X if module is double else single, outputs)


def save(name: str, model: bytes, X: np.ndarray, Y: np.ndarray) -> None:
    """Both files, without the traces of this machine that PyTorch leaves in comments."""
    parsed = onnx.load_from_string(model)
    for part in (parsed.graph, *parsed.graph.node, *parsed.graph.value_info, *parsed.graph.input):
        del part.metadata_props[:]
        part.doc_string = ""
    (FOLDER / f"{name}.onnx").write_bytes(parsed.SerializeToString())
    np.savez_compressed(FOLDER / f"{name}.npz", X=X[:10], Y=Y[:10])


if __name__ == "__main__":
    main()
