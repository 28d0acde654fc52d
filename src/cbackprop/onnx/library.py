"""What is used of onnx, with the types that it does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # Any: protobuf's messages have their fields, and the functions their arguments, at run time.
    class DecodeError(Exception): ...

    FLOATS: dict[int, tuple[str, str]]
    ModelProto: Any
    TensorProto: Any
    make_graph: Any
    make_model: Any
    make_node: Any
    make_opsetid: Any
    make_tensor_value_info: Any
    set_model_props: Any
else:
    try:
        from google.protobuf.message import DecodeError
        from onnx import ModelProto, TensorProto
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

    # By ONNX's number of a type: NumPy's name of it, and a tensor's field that lists such numbers.
    FLOATS = {
        TensorProto.FLOAT16: ("float16", "int32_data"),
        TensorProto.FLOAT: ("float32", "float_data"),
        TensorProto.DOUBLE: ("float64", "double_data"),
    }

__all__ = [
    "FLOATS",
    "DecodeError",
    "ModelProto",
    "TensorProto",
    "make_graph",
    "make_model",
    "make_node",
    "make_opsetid",
    "make_tensor_value_info",
    "set_model_props",
]
