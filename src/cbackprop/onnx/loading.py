"""A network read from an ONNX file, of `export` or of another program.

The graph is what counts. Of a file of `export` the texts beside it say what no graph does: names,
metadata, the cost.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from cbackprop import validation
from cbackprop.exports import usual_cost
from cbackprop.files import format as file_format
from cbackprop.files import model as file_model
from cbackprop.files.format import ModelFileError, decoded, encoded
from cbackprop.files.model import ModelParts
from cbackprop.functions import Array, Cost, CostName
from cbackprop.network import Network
from cbackprop.onnx.entries import LARGEST_FILE, PRODUCER, TEXTS
from cbackprop.onnx.graph import Graph, Node
from cbackprop.onnx.layers import Layers, read_layers
from cbackprop.onnx.library import TensorProto
from cbackprop.scaling import Scales

_LABELS = ("ArgMax", "Greater", "ai.onnx.ml.Binarizer")
_MOST_AFTER_LABELS = 8  # operators: Cast, Reshape and the names' list
# The types of a Cast that leave a class as it is: its name, and its place.
_NAME_TYPES = {TensorProto.INT64, TensorProto.STRING}
_PLACE_TYPES = {TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT, TensorProto.DOUBLE}


class _Label(NamedTuple):
    """By an operator on the outputs, and where the classes have names: those."""

    node: Node
    names: list[str] | None


def load(
    path: validation.PathLike,
    *,
    cost: CostName | Cost | None = None,
    threads: int | Literal["auto"] = 1,
    backend: Literal["compiled", "reference"] = "compiled",
) -> Network:
    """The network in an ONNX file: of `export`, or of PyTorch, scikit-learn (skl2onnx), Keras, ….

    Nothing of the file runs, and no other file is read.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        A graph of one input and one output, besides labels: Gemm, or MatMul and Add, each with one
        of this package's activations after it or none. Flatten and Reshape that leave rows as they
        are, Cast, Identity and Dropout are passed over. A label is the place of the largest output,
        or whether a sigmoid's is above 1/2, and then what one list calls that place.
    cost : str or Cost, optional
        As `Network` takes it. By default the file's, where it is one of `export`; of others
        cross_entropy after sigmoid or softmax, else quadratic.
    threads : int or "auto"
        As `Network` takes it; it is not in the file.
    backend : {"compiled", "reference"}
        Likewise.

    Returns
    -------
    Network
        With the file's parameters, bit for bit, in float64 or float32 as they are; those of float16
        become float32. A file of `export` gives an equal network, but for the optimiser and the
        generator. What other programs' labels, or ZipMap, call the classes becomes
        ``class_names``, as texts, unless those are the numbers from 0 on.

    Raises
    ------
    TypeError, ValueError
        Naming the argument.
    ModelFileError
        Naming the path, if it is no ONNX file, or of no network: what in it is none.
    OSError
        If there is no such file, or it cannot be read.
    """
    target = validation.file_path("path", path)
    data = file_format.read_bytes(target, LARGEST_FILE)
    with file_format.naming(target):
        parts = _parts(data)
    description = parts.description
    network = Network(
        description.sizes,
        description.activations,  # type: ignore[arg-type]  # judged names
        description.cost if cost is None else cost,  # type: ignore[arg-type]  # likewise
        dtype=description.dtype,
        init=description.init,  # type: ignore[arg-type]  # likewise
        threads=threads,
        backend=backend,
        **parts.about._asdict(),
    )
    for own, read in zip(
        (*network.weights, *network.biases), (*parts.weights, *parts.biases), strict=True
    ):
        own[...] = read
    if parts.scales is not None:
        return _with_scales(network, parts.scales)
    return network


def _with_scales(network: Network, scales: Scales) -> Network:
    """By the way of a pickle, where they stand before the optimiser's state."""
    state: dict[str, Any] = network.__getstate__()
    tensors = state["tensors"]
    tensors |= {**file_model.scales_tensors(scales), "state": tensors.pop("state")}
    state["metadata"]["format_version"] = file_format.VERSION_WITH_SCALES
    twin = Network.__new__(Network)
    twin.__setstate__(state)
    return twin


def _parts(data: bytes) -> ModelParts:
    """What the file's bytes are, judged as a model file's contents are."""
    try:
        graph = Graph(data)
        output, labels, called = _output(graph)
        layers = read_layers(graph, output, len(data))
        names = _class_names(graph, layers, labels, called)
        texts = graph.metadata if graph.producer == PRODUCER else {}
        return _judged(layers, texts, names)
    except UnicodeDecodeError:
        raise ModelFileError("it has the name of a class that is no UTF-8; expected text") from None


def _output(graph: Graph) -> tuple[str, list[_Label], list[list[str]]]:
    """The output that is no label, before ZipMap; the labels; and the names that ZipMap gives."""
    found: list[str] = []
    labels: list[_Label] = []
    called: list[list[str]] = []
    for output in graph.outputs:
        label = _label(graph, output)
        if label is not None:
            labels.append(label)
            continue
        node = graph.node(graph.plain(output))
        if node is not None and node.operator == "ai.onnx.ml.ZipMap":
            called.append(_texts_of_zip_map(node.attributes))
            output = graph.only(node)
        found.append(output)
    if len(found) != 1:
        raise ModelFileError(
            f"it has {validation.counted(len(found), 'output')} besides labels; expected 1"
        )
    return found[0], labels, called


def _label(graph: Graph, value: str) -> _Label | None:
    """What a class is made of, if the value is one."""
    names: list[str] | None = None
    types: set[Any] = set()  # of the casts after what is met next
    for _ in range(_MOST_AFTER_LABELS):
        node = graph.node(graph.plain(value))
        if node is None:
            break
        if node.operator in _LABELS:
            return _Label(node, names) if types <= _PLACE_TYPES else None
        if node.operator == "Cast":
            types.add(node.attributes.get("to"))
        elif node.operator in ("ai.onnx.ml.ArrayFeatureExtractor", "Gather"):
            if names is not None or len(node.inputs) != 2 or not types <= _NAME_TYPES:
                break
            names, types, value = graph.texts(node.inputs[0]), set(), node.inputs[1]
            if names is None:
                break
            continue
        elif node.operator != "Reshape":
            break
        value = graph.only(node)
    return None


def _class_names(
    graph: Graph, layers: Layers, labels: list[_Label], called: list[list[str]]
) -> list[str] | None:
    """The names by which labels and ZipMap call the classes, where each means the same ones.

    A label is the place of the largest output, or whether one probability is above 1/2.
    """
    lists = [*called]
    for zipped in called:
        if len(zipped) != layers.columns:
            raise ModelFileError(f"ZipMap has {len(zipped)} names; expected {layers.columns}")
    for node, names in labels:
        inputs = node.inputs
        makes: int | None  # classes; None where each output has a label of its own
        if node.operator == "ArgMax":
            is_label, makes = layers.columns > 1, layers.columns
        else:
            is_label = _is_above_half(graph, node) and (
                (layers.activations[-1], len(layers.biases[-1])) == ("sigmoid", layers.columns)
            )
            makes = 2 if layers.columns == 1 else None
        if not (inputs and graph.plain(inputs[0]) in layers.outputs and is_label):
            raise ModelFileError(
                f"its label by {node} is another class than the outputs say; expected ArgMax of "
                "several outputs, or whether a sigmoid's is above 0.5"
            )
        if names is not None:
            if len(names) != makes:
                raise ModelFileError(
                    f"its label by {node} has {validation.counted(len(names), 'name')}; expected "
                    f"{'none' if makes is None else makes}"
                )
            lists.append(names)
    if any(other != lists[0] for other in lists):
        raise ModelFileError(
            f"its classes are {' and '.join(map(validation.shown, lists))}; expected the same names"
        )
    if not lists or lists[0] == [str(number) for number in range(len(lists[0]))]:
        return None
    return lists[0]


def _is_above_half(graph: Graph, node: Node) -> bool:
    if node.operator == "Greater":
        return len(node.inputs) == 2 and graph.is_number(node.inputs[1], 0.5)
    return bool(node.attributes.get("threshold", 0.0) == 0.5)


def _texts_of_zip_map(attributes: dict[str, Any]) -> list[str]:
    texts = [text.decode() for text in attributes.get("classlabels_strings", [])]
    return texts or [str(number) for number in attributes.get("classlabels_int64s", [])]


def _judged(layers: Layers, texts: dict[str, str], names: list[str] | None) -> ModelParts:
    """The network, by the same rules as one in a model file.

    texts: what `export` has written; names: those of the classes that the graph gives out.
    """
    output = layers.activations[-1]
    dtype = np.dtype("float64" if layers.weights[0].dtype == np.float64 else "float32")
    tensors: dict[str, Array] = {}
    for l, (W, b) in enumerate(zip(layers.weights, layers.biases, strict=True), start=1):
        tensors[f"layers.{l}.weight"] = W.astype(dtype)
        tensors[f"layers.{l}.bias"] = b.astype(dtype)
    sizes = [layers.weights[0].shape[1], *(len(b) for b in layers.biases)]
    default = {
        "cost": usual_cost(output),
        "init": "auto",
        "feature_names": encoded("feature_names", None),
        "class_names": encoded("class_names", names),
        "metadata": encoded("metadata", {}),
    }
    said = {name: texts.get(name, default[name]) for name in TEXTS}
    if names is not None and decoded("class_names", said["class_names"]) != names:
        raise ModelFileError(
            f"its class_names are {validation.shown(said['class_names'])}, its labels "
            f"{validation.shown(names)}; expected the same"
        )
    version = file_format.FORMAT_VERSION
    if "scales" in texts:
        version = file_format.VERSION_WITH_SCALES
        tensors |= _scales_tensors(texts["scales"])
    try:
        validation.more_than_one_softmax_output((output,), sizes[-1])
    except ValueError as error:
        raise ModelFileError(str(error)) from None
    return file_model.judged_model(
        tensors,
        {
            "format": file_format.FORMAT,
            "format_version": version,
            "kind": "model",
            "sizes": encoded("sizes", sizes),
            "activations": encoded("activations", layers.activations),
            "cost": said["cost"],
            "dtype": dtype.name,
            "init": said["init"],
            "feature_names": said["feature_names"],
            "class_names": said["class_names"],
            "metadata": said["metadata"],
        },
    )


def _scales_tensors(text: str) -> dict[str, Array]:
    scales = decoded("scales", text)
    if not validation.is_mapping(scales):
        raise ModelFileError(f"its scales are {validation.shown(scales)}; expected lists by name")
    found: dict[str, Array] = {}
    for name, numbers in scales.items():
        if not validation.is_list(numbers) or not all(type(x) is float for x in numbers):
            raise ModelFileError(
                f"its scales have {validation.shown(numbers)}; expected a list of numbers"
            )
        found[str(name)] = np.array(numbers, np.float64)
    return found
