"""A network written as an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cbackprop import validation
from cbackprop._version import __version__
from cbackprop.classes import by_itself
from cbackprop.exports import NamedLayer, named_layers, require_network
from cbackprop.files import format as file_format
from cbackprop.files import model as file_model
from cbackprop.functions import Array, Cost
from cbackprop.network import Network
from cbackprop.onnx.entries import LARGEST_FILE, PRODUCER, TEXTS
from cbackprop.onnx.functions import FUNCTIONS, Formula, Operation
from cbackprop.onnx.library import (
    FLOATS,
    TensorProto,
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
    set_model_props,
)

# The first in which Softmax goes along one axis; of ONNX 1.8, which onnxruntime has from 1.6 on.
OPSET, IR_VERSION = 13, 7
NUMBER_TYPES = {name: number for number, (name, _) in FLOATS.items()}


def export(net: Network, path: validation.PathLike) -> None:
    """Write a network to an ONNX file, which onnxruntime and others run without this package.

    Parameters
    ----------
    net : Network
        Of activations that have names, and not of gelu in float64, which onnxruntime has in float32
        alone. A cost of your own stays behind: outputs need none.
    path : str, bytes or os.PathLike
        Where to, customarily with the ending ``.onnx``. As `Network.save` has it: whatever happens,
        path is the old file or the new one, whole.

    Raises
    ------
    TypeError
        For anything else than a network; for a path that is none.
    ValueError
        For an activation of your own, gelu in float64, parameters that are not finite, or more of
        them than 2 GiB hold.
    ModelFileError
        If what is at path is no regular file.
    OSError
        Whatever keeps the system from writing it.

    Notes
    -----
    The input is ``X`` (n, n_0), of the network's number type, the output ``outputs`` (n, n_L). A
    network that tells classes has two outputs instead, as skl2onnx's without ZipMap:

    * softmax: ``label`` (n,), the class's name or else its number, and ``probabilities`` (n, n_L);
    * one sigmoid output with cross_entropy or two names: likewise, ``probabilities`` (n, 2) of the
      targets 0 and 1;
    * several sigmoid outputs with cross_entropy: ``label`` (n, n_L) of 0 and 1, int64, and
      ``probabilities`` (n, n_L).

    Parameters are called as in the model file, ``layers.1.weight``, …; opset 13, IR version 7.
    Names, metadata, cost and version stand in the model's metadata, lists and dicts as JSON.
    Optimiser and generator stay behind.
    """
    # All of it at once: other threads may train the network, or give it other names.
    network = Network.copy(require_network("net", net))
    layers = named_layers("net", network)
    formulas = _formulas(layers)
    target = validation.file_path("path", path)
    if network.n_parameters * network.dtype.itemsize >= LARGEST_FILE:
        raise ValueError(
            f"net has {network.n_parameters} parameters of {network.dtype.itemsize} bytes; "
            f"expected fewer: an ONNX file holds {LARGEST_FILE} bytes at most"
        )
    validation.require_finite_parameters(
        tuple(layer.W for layer in layers), tuple(layer.b for layer in layers)
    )
    state: dict[str, Any] = network.__getstate__()
    texts: dict[str, str] = {name: state["metadata"][name] for name in TEXTS}
    if isinstance(network.cost_function, Cost):
        del texts["cost"]
    if network.scales is not None:
        scales = file_model.scales_tensors(network.scales)
        lists = {name: numbers.tolist() for name, numbers in scales.items()}
        texts["scales"] = file_format.encoded("scales", lists)
    graph = _Graph(network.dtype.name)
    for l, layer in enumerate(layers, start=1):
        graph.number(f"layers.{l}.weight", layer.W)
        graph.number(f"layers.{l}.bias", layer.b)
    outputs = _write_layers(graph, formulas, network)
    model = make_model(
        make_graph(
            graph.nodes,
            "network",
            [make_tensor_value_info("X", graph.number_type, ["n", network.sizes[0]])],
            outputs,
            list(graph.numbers.values()),
        ),
        opset_imports=[make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
        producer_version=__version__,
    )
    set_model_props(model, {"cbackprop_version": __version__, **texts})
    file_format.write_bytes(target, model.SerializeToString())


def _formulas(layers: list[NamedLayer]) -> list[Formula]:
    """Each layer's activation as it is written."""
    found: list[Formula] = []
    for l, layer in enumerate(layers, start=1):
        row = FUNCTIONS[layer.activation]
        formula = row.float32 if layer.W.dtype == np.float32 else row.float64
        if formula is None:
            raise ValueError(
                f"net has {layer.activation!r} in layer {l}, which onnxruntime has in float32 "
                f"alone, and is {layer.W.dtype}; expected a float32 network: Network(…, "
                "dtype='float32') with the same parameters"
            )
        found.append(formula)
    return found


class _Graph:
    """Nodes and numbers as they come."""

    def __init__(self, dtype: str) -> None:
        self.dtype, self.number_type = dtype, NUMBER_TYPES[dtype]
        self.nodes: list[Any] = []
        self.numbers: dict[str, Any] = {}

    def number(self, name: str, array: Array) -> str:
        """Known numbers, by their name."""
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        self.numbers[name] = TensorProto(
            name=name, data_type=self.number_type, dims=array.shape, raw_data=raw
        )
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: object) -> str:
        """One more operator, called as its result."""
        self.nodes.append(make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def formula(self, formula: Operation, z: str, output: str) -> None:
        """σ(z), each part of it once."""
        made: dict[Operation, str] = {}

        def value(part: Formula) -> str:
            if part == "z":
                return z
            if isinstance(part, float):
                return self.number(f"constant.{part}", np.array(part, self.dtype))
            assert isinstance(part, Operation)
            if part not in made:
                inputs = [*map(value, part.inputs)]  # these are counted before it
                name = output if part == formula else f"{output}.{part.operator}.{len(made)}"
                made[part] = self.node(part.operator, inputs, name)
            return made[part]

        value(formula)


def _write_layers(graph: _Graph, formulas: list[Formula], network: Network) -> list[Any]:
    """All layers, then what a classifier's outputs mean; returns the graph's outputs."""
    n_L = network.sizes[-1]
    names = network.class_names or ()
    kind = _kind_of(network, len(names))
    last = "outputs" if kind is None else "probabilities"
    a = "X"
    for l, formula in enumerate(formulas, start=1):
        output = last if l == len(formulas) and kind != "one of two" else f"layers.{l}.a"
        z = output if formula == "z" else f"layers.{l}.z"
        graph.node("Gemm", [a, f"layers.{l}.weight", f"layers.{l}.bias"], z, transB=1)
        if isinstance(formula, Operation):
            graph.formula(formula, z, output)
        a = output
    if kind is None:
        return [make_tensor_value_info(a, graph.number_type, ["n", n_L])]
    one, label_type = np.array(1.0, graph.dtype), TensorProto.INT64
    if kind == "any of many":
        half = graph.number("threshold", one / 2)
        graph.node("Cast", [graph.node("Greater", [a, half], "above")], "label", to=label_type)
        label = make_tensor_value_info("label", label_type, ["n", n_L])
        return [label, make_tensor_value_info(a, graph.number_type, ["n", n_L])]
    if kind == "one of two":
        other = graph.node("Sub", [graph.number("one", one), a], "other")
        a = graph.node("Concat", [other, a], "probabilities", axis=1)
    if len(names) < 2:
        graph.node("ArgMax", [a], "label", axis=1, keepdims=0)
    else:
        label_type = TensorProto.STRING
        place = graph.node("ArgMax", [a], "place", axis=1, keepdims=0)
        graph.numbers["class_names"] = TensorProto(
            name="class_names",
            data_type=label_type,
            dims=[len(names)],
            string_data=[name.encode() for name in names],
        )
        graph.node("Gather", ["class_names", place], "label", axis=0)
    label = make_tensor_value_info("label", label_type, ["n"])
    return [label, make_tensor_value_info(a, graph.number_type, ["n", max(n_L, 2)])]


def _kind_of(
    network: Network, n_names: int
) -> Literal["one of many", "one of two", "any of many"] | None:
    """How the outputs say what an example is; None where they are numbers, or nobody knows."""
    n_L, output, cost = network.sizes[-1], network.activations[-1], network.cost_function
    if output == "softmax" and cost != "poisson":
        return "one of many"
    if output != "sigmoid" or not (cost == "cross_entropy" or by_itself(output, n_L, n_names)):
        return None
    return "one of two" if n_L == 1 else "any of many"
