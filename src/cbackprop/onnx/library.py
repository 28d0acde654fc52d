"""What is used of onnx, with the types that it does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    class DecodeError(Exception): ...

    class TensorProto:
        FLOAT: int
        DOUBLE: int
        FLOAT16: int
        INT32: int
        INT64: int
        BOOL: int
        STRING: int
        EXTERNAL: int
        name: str
        data_type: int
        data_location: int
        dims: Sequence[int]
        raw_data: bytes
        float_data: Sequence[float]
        double_data: Sequence[float]
        int32_data: Sequence[int]
        int64_data: Sequence[int]
        string_data: Sequence[bytes]
        external_data: Sequence[object]

        def __init__(self, **fields: object) -> None: ...

    class AttributeProto:
        name: str
        type: int
        ref_attr_name: str
        f: float
        i: int
        s: bytes
        t: TensorProto
        floats: Sequence[float]
        ints: Sequence[int]
        strings: Sequence[bytes]

    class NodeProto:
        op_type: str
        domain: str
        name: str
        input: Sequence[str]
        output: Sequence[str]
        attribute: Sequence[AttributeProto]

    class Entry:
        key: str
        value: str

    class ValueInfoProto:
        name: str
        type: Any  # of types nested four deep

    class GraphProto:
        node: Sequence[NodeProto]
        initializer: Sequence[TensorProto]
        sparse_initializer: Sequence[object]
        input: Sequence[ValueInfoProto]
        output: Sequence[ValueInfoProto]

    class OperatorSet:
        domain: str
        version: int

    class ModelProto:
        graph: GraphProto
        producer_name: str
        functions: Sequence[object]
        metadata_props: Sequence[Entry]
        opset_import: Sequence[OperatorSet]

        @classmethod
        def FromString(cls, data: bytes) -> Self: ...
        def SerializeToString(self) -> bytes: ...

    def make_graph(
        nodes: Sequence[NodeProto],
        name: str,
        inputs: Sequence[ValueInfoProto],
        outputs: Sequence[ValueInfoProto],
        initializer: Sequence[TensorProto],
    ) -> GraphProto: ...
    def make_model(graph: GraphProto, **fields: object) -> ModelProto: ...
    def make_node(
        operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: object
    ) -> NodeProto: ...
    def make_opsetid(domain: str, version: int) -> OperatorSet: ...
    def make_tensor_value_info(
        name: str, data_type: int, shape: Sequence[int | str]
    ) -> ValueInfoProto: ...
    def set_model_props(model: ModelProto, entries: Mapping[str, str]) -> None: ...
else:
    try:
        from google.protobuf.message import DecodeError
        from onnx import (
            AttributeProto,
            GraphProto,
            ModelProto,
            NodeProto,
            TensorProto,
            ValueInfoProto,
        )
        from onnx.helper import (
            make_graph,
            make_model,
            make_node,
            make_opsetid,
            make_tensor_value_info,
            set_model_props,
        )
    except ImportError as error:
        raise ImportError(
            f"cbackprop.onnx needs onnx 1.14.1 or newer ({error}): "
            "pip install 'onnx>=1.14.1', or cbackprop with its extra: 'cbackprop[onnx]'"
        ) from error

__all__ = [
    "AttributeProto",
    "DecodeError",
    "GraphProto",
    "ModelProto",
    "NodeProto",
    "TensorProto",
    "ValueInfoProto",
    "make_graph",
    "make_model",
    "make_node",
    "make_opsetid",
    "make_tensor_value_info",
    "set_model_props",
]
