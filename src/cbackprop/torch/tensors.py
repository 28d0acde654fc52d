"""Tensors as arrays of the same memory."""

from __future__ import annotations

from cbackprop import validation
from cbackprop.functions import Array
from cbackprop.torch.library import Tensor, float32, float64, strided

DTYPES = {"float32": float32, "float64": float64}


def array_of(argument: str, tensor: object, dtype: str | None = None) -> Array:
    """A tensor's numbers, in its own memory; judged as by `require_tensor`."""
    return plain(require_tensor(argument, tensor, dtype))


def plain(tensor: Tensor) -> Array:
    """A tensor's numbers; copied where PyTorch keeps them with the other sign."""
    return tensor.detach().resolve_neg().numpy()


def require_tensor(argument: str, tensor: object, dtype: str | None = None) -> Tensor:
    """A dense tensor on the CPU, of ``dtype``, or of float32 or float64 where None.

    Raises
    ------
    TypeError
        For anything else, naming what would make it one.
    """
    if not isinstance(tensor, Tensor):
        raise validation.wrong_type(argument, tensor, "a tensor of PyTorch")
    if tensor.device.type != "cpu":
        raise TypeError(
            f"{argument} is a tensor on {tensor.device}; expected one on the CPU: use .cpu()"
        )
    if tensor.layout is not strided or tensor.is_nested:
        raise TypeError(
            f"{argument} is a tensor of layout {tensor.layout}; expected a dense one: use "
            ".to_dense()"
        )
    expected = [dtype] if dtype else [*DTYPES]
    if tensor.dtype not in [DTYPES[name] for name in expected]:
        named = " or ".join(f"torch.{name}" for name in expected)
        cure = f"use .to(torch.{expected[-1]})"
        if dtype and tensor.dtype in DTYPES.values():
            cure += f", or a network of dtype {str(tensor.dtype).removeprefix('torch.')!r}"
        raise TypeError(f"{argument} has dtype {tensor.dtype}; expected {named}: {cure}")
    return tensor
