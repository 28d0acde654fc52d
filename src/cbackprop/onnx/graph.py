"""A graph as a file has it: who makes which value, and which values are known numbers.

Nothing of it is trusted: it may have been made to mislead. No other file is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from cbackprop import validation
from cbackprop.files.format import ModelFileError
from cbackprop.functions import Array
from cbackprop.onnx.library import FLOATS, DecodeError, ModelProto, TensorProto
from cbackprop.reference.calculus import LEAKY_SLOPE, SELU_ALPHA, SELU_SCALE

Value: TypeAlias = Any  # a number, bytes, a tensor, or a list of the first two

OLDEST_OPSET = 7  # with the broadcasting of NumPy
# The operators that mean something here, and what their attributes may be: one of these values, or
# anything of a type, which is then looked at where it is used. A missing one has its default value,
# which is among these, or stands below: None where it has to be there.
Choices: TypeAlias = "tuple[float | bytes, ...] | type | list[type]"
OPERATORS: dict[str, dict[str, Choices]] = {
    **{
        word: {}
        for word in (
            "Abs Add Div Equal Erf Exp Greater Identity Log MatMul Max Min Mul Neg Relu Sigmoid "
            "Softplus Softsign Sub Tanh Where ai.onnx.ml.ArrayFeatureExtractor"
        ).split()
    },
    "Elu": {"alpha": (1.0,)},
    "Gelu": {"approximate": (b"none",)},
    "LeakyRelu": {"alpha": (LEAKY_SLOPE,)},
    "Selu": {"alpha": (SELU_ALPHA,), "gamma": (SELU_SCALE,)},
    "Softmax": {"axis": (-1, 1)},
    "Swish": {"alpha": (1.0,)},
    "Gemm": {"alpha": (1.0,), "beta": (1.0,), "transA": (0,), "transB": (0, 1)},
    "Cast": {"to": int, "saturate": int, "round_mode": bytes},
    "Concat": {"axis": (-1, 1)},
    "Constant": {
        "value": TensorProto, "value_float": float, "value_floats": [float], "value_int": int,
        "value_ints": [int],
    },
    "Dropout": {"ratio": float, "seed": int},
    "Flatten": {"axis": (1,)},
    "Reshape": {"allowzero": (0, 1)},
    "Transpose": {"perm": [int]},
    # What comes after a classifier's probabilities.
    "ArgMax": {"axis": (-1, 1), "keepdims": (0, 1), "select_last_index": (0,)},
    "Gather": {"axis": (0,)},
    "ai.onnx.ml.Binarizer": {"threshold": float},
    "ai.onnx.ml.ZipMap": {"classlabels_int64s": [int], "classlabels_strings": [bytes]},
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Value]] = {"ArgMax": {"axis": 0}, "Concat": {"axis": None}}
_NUMBERS = FLOATS | {
    TensorProto.INT64: ("int64", "int64_data"),
    TensorProto.INT32: ("int32", "int32_data"),
    TensorProto.BOOL: ("uint8", "int32_data"),
}
_NUMBERS_OF_CONSTANTS = {
    "value_float": "<f4",
    "value_floats": "<f4",
    "value_int": "<i8",
    "value_ints": "<i8",
}


class Node(NamedTuple):
    """An operator with its domain before it, where that is another than ONNX's own."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Value]

    def __str__(self) -> str:
        called = f" (node {validation.shown(self.name)})" if self.name else ""
        return f"{printable(self.operator)}{called}"


class Graph:
    """A model's graph, judged as far as its form goes.

    Raises
    ------
    ModelFileError
        If it is none, or has parts that no network has.
    """

    def __init__(self, data: bytes) -> None:
        try:
            model = ModelProto.FromString(data)
        except DecodeError:
            raise ModelFileError("it is no ONNX model, or not a whole one") from None
        graph = model.graph
        _require_texts(*_texts_of(model))
        if not graph.node:
            raise ModelFileError("it has no operators; expected an ONNX model of a network")
        if model.functions:
            raise ModelFileError(
                f"it has {validation.counted(len(model.functions), 'function')} of its own; "
                "expected plain operators: onnx.inliner.inline_local_functions takes them apart"
            )
        if graph.sparse_initializer:
            raise ModelFileError("it has sparse initialisers; expected dense ones")
        self._judge_opsets(model)
        self.producer = model.producer_name
        self.metadata: dict[str, str] = {}
        for entry in model.metadata_props:
            if entry.key in self.metadata:
                raise ModelFileError(
                    f"its metadata has {validation.shown(entry.key)} more than once"
                )
            self.metadata[entry.key] = entry.value
        self._tensors: dict[str, Any] = {}
        self._makers: dict[str, Node] = {}
        self._judged: set[str] = set()
        self._plain: dict[str, str] = {}
        for tensor in graph.initializer:
            self._add(self._tensors, tensor.name, tensor)
        for node in map(_node, graph.node):
            for output in node.outputs:
                if output:  # an optional one that is left out has no name
                    self._add(self._makers, output, node)
        inputs = [value for value in graph.input if value.name not in self._tensors]
        if len(inputs) != 1:
            raise ModelFileError(
                f"it has {validation.counted(len(inputs), 'input')}; expected 1, the examples"
            )
        self.input, self.input_dimensions = inputs[0].name, _dimensions(inputs[0])
        if self.input in self._makers:
            raise ModelFileError(f"its input {validation.shown(self.input)} is made by a node, too")
        self.outputs = [value.name for value in graph.output]

    def _judge_opsets(self, model: Any) -> None:
        versions = [entry.version for entry in model.opset_import if _is_onnx(entry.domain)]
        if len(versions) != 1 or versions[0] < OLDEST_OPSET:
            raise ModelFileError(
                f"its operators are of opset {validation.shown(versions)}; expected one, "
                f"{OLDEST_OPSET} or newer"
            )

    def _add(self, where: dict[str, Any], name: str, made: object) -> None:
        if not name or name in self._tensors or name in self._makers:
            what = f"the value {validation.shown(name)} twice" if name else "a value without a name"
            raise ModelFileError(f"it has {what}; expected each once, by its name")
        where[name] = made

    def node(self, value: str) -> Node | None:
        """Which operator makes a value, if any does, once its attributes have been looked at."""
        node = self._makers.get(value)
        if node is not None and value not in self._judged:
            _judge_attributes(node)
            self._judged.add(value)
        return node

    def plain(self, value: str) -> str:
        """The value itself, before what hands it on as it is: Identity, and Dropout at work."""
        passed: dict[str, None] = {}
        while value not in self._plain and value not in passed:
            node = self.node(value)
            if node is None or node.operator not in ("Dropout", "Identity"):
                break
            if node.operator == "Dropout":
                self._judge_dropout(node, value)
            passed[value] = None
            value = self.only(node)
        value = self._plain.get(value, value)
        self._plain |= dict.fromkeys(passed, value)  # once, however often it is asked for
        return value

    def _judge_dropout(self, node: Node, value: str) -> None:
        if value != node.outputs[0]:
            raise ModelFileError(f"the mask of {node} is used; expected its first output alone")
        if len(node.inputs) > 2 and node.inputs[2]:
            training = self.numbers(node.inputs[2])
            if training is None or training.any():
                raise ModelFileError(f"{node} is in training; expected a model for inference")

    def only(self, node: Node) -> str:
        """The first input, which such an operator has."""
        if not node.inputs:
            raise ModelFileError(f"{node} has no input; expected one")
        return node.inputs[0]

    def is_number(self, value: str, number: float) -> bool:
        """Whether a value is this one number, in its own number type.

        One of more than two axes would give its axes to what it is added to.
        """
        tensor = self._tensor(value)
        if tensor is not None and math.prod(tensor.dims) != 1:
            return False
        array = self.numbers(value)
        if array is None or array.dtype.kind != "f" or array.ndim > 2:
            return False
        return bool((array == np.asarray(number, array.dtype)).all())

    def numbers(self, value: str) -> Array | None:
        """Known numbers; None for what is computed, or no numbers."""
        value = self.plain(value)
        node = self.node(value)
        if node is not None and node.operator == "Constant":
            for name, kind in _NUMBERS_OF_CONSTANTS.items():
                if name in node.attributes:
                    return np.asarray(node.attributes[name], kind)
        tensor = self._tensor(value)
        return None if tensor is None or tensor.data_type not in _NUMBERS else _array(tensor)

    def matrix(self, value: str) -> Array | None:
        """Likewise, of two axes, which may be stored transposed."""
        node = self.node(self.plain(value))
        if node is None or node.operator != "Transpose":
            array = self.numbers(value)
            return None if array is None or array.ndim != 2 else array
        array = self.numbers(self.only(node))
        if array is None or array.ndim != 2 or node.attributes.get("perm", [1, 0]) != [1, 0]:
            return None
        return array.T

    def texts(self, value: str) -> list[str] | None:
        """A list of known texts, or of whole numbers as texts; None for anything else."""
        tensor = self._tensor(value)
        if tensor is None or len(tensor.dims) != 1:
            return None
        if tensor.data_type == TensorProto.STRING:
            texts = [text.decode() for text in tensor.string_data]
            return texts if len(texts) == tensor.dims[0] else None
        if tensor.data_type in (TensorProto.INT32, TensorProto.INT64):
            return [str(number) for number in _array(tensor).tolist()]
        return None

    def _tensor(self, value: str) -> Any:
        value = self.plain(value)
        node = self.node(value)
        if node is None:
            return self._tensors.get(value)
        tensor = node.attributes.get("value") if node.operator == "Constant" else None
        return tensor if isinstance(tensor, TensorProto) else None


def _array(tensor: Any) -> Array:
    """A tensor's numbers, which are in this file or nowhere."""
    what = f"tensor {validation.shown(tensor.name)}"
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ModelFileError(
            f"{what} is in another file; expected it in this one: onnx.save(onnx.load(path), "
            "path) puts it there"
        )
    name, field = _NUMBERS[tensor.data_type]
    kind = np.dtype(name).newbyteorder("<")
    shape = tuple(tensor.dims)
    if len(shape) > 8 or min(shape, default=1) < 1:
        raise ModelFileError(
            f"{what} has shape {validation.shown(shape)}; expected at most 8 lengths of 1 or more"
        )
    raw, numbers = tensor.raw_data, getattr(tensor, field)
    count = len(raw) / kind.itemsize if raw else len(numbers)
    if count != math.prod(shape):
        raise ModelFileError(
            f"{what} has {count:g} numbers; expected {math.prod(shape)}, as its shape "
            f"{validation.shown(shape)} says"
        )
    if raw:
        return np.frombuffer(raw, kind).reshape(shape)
    if tensor.data_type == TensorProto.FLOAT16:  # their bits, as integers
        return np.array(numbers, "<i8").astype("<u2").view("<f2").reshape(shape)
    return np.array(numbers, kind).reshape(shape)


def _texts_of(model: Any) -> Iterator[str]:
    """Whatever is used as a text."""
    graph = model.graph
    yield model.producer_name
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in (*graph.input, *graph.output))
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    yield from (entry.domain for entry in model.opset_import)


def _require_texts(*texts: object) -> None:
    """What is no UTF-8 comes as bytes."""
    for text in texts:
        if not isinstance(text, str):
            raise ModelFileError(f"it has the text {validation.shown(text)}; expected UTF-8")


def _node(node: Any) -> Node:
    domain = "" if _is_onnx(node.domain) else f"{node.domain}."
    attributes: dict[str, Value] = {}
    for attribute in node.attribute:
        if attribute.name in attributes:
            raise ModelFileError(
                f"{printable(node.op_type)} has {validation.shown(attribute.name)} more than once"
            )
        attributes[attribute.name] = _value(attribute)
    return Node(domain + node.op_type, node.name, (*node.input,), (*node.output,), attributes)


def _value(attribute: Any) -> Value:
    """What it has, by its kind's number; nothing of a kind that no operator here takes."""
    fields: dict[int, Value] = {
        1: attribute.f,
        2: attribute.i,
        3: attribute.s,
        4: attribute.t,
        6: [*attribute.floats],
        7: [*attribute.ints],
        8: [*attribute.strings],
    }
    return fields.get(attribute.type, b"")


def _judge_attributes(node: Node) -> None:
    expected = OPERATORS.get(node.operator)
    if expected is None:
        return  # whoever wants the value sees that it is none of these
    for name, value in (DEFAULTS.get(node.operator, {}) | node.attributes).items():
        choices = expected.get(name, ())
        if isinstance(choices, tuple):
            right = any(_is_equal(value, choice) for choice in choices)
            words = " or ".join(
                choice.decode() if isinstance(choice, bytes) else f"{choice:g}"
                for choice in choices
            )
        elif isinstance(choices, list):
            right = validation.is_list(value) and all(isinstance(x, choices[0]) for x in value)
            words = f"a list of {choices[0].__name__}"
        else:
            right, words = isinstance(value, choices), choices.__name__
        if not right:
            raise ModelFileError(
                f"{node} has {printable(name)} {validation.shown(value)}; expected "
                f"{words or 'no such attribute'}"
            )


def _is_equal(value: Value, choice: float | bytes) -> bool:
    """As the file has it: attributes are float32."""
    if isinstance(choice, float) and isinstance(value, (float, int)):
        return bool(np.float32(value) == np.float32(choice))
    return type(value) is type(choice) and value == choice


def _is_onnx(domain: str) -> bool:
    return domain in ("", "ai.onnx")


def _dimensions(value: Any) -> list[int | None] | None:
    """Those of a tensor, None where one may be any; None where nothing is said."""
    if not value.type.HasField("tensor_type"):
        raise ModelFileError(f"its input {validation.shown(value.name)} is no tensor")
    if not value.type.tensor_type.HasField("shape"):
        return None
    dimensions = value.type.tensor_type.shape.dim
    return [entry.dim_value if entry.HasField("dim_value") else None for entry in dimensions]


def printable(word: str) -> str:
    """A word of the file, as messages show it."""
    return (
        word
        if word.isidentifier() or word.replace(".", "_").isidentifier()
        else validation.shown(word)
    )
