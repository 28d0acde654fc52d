"""What is used of PyTorch, with the types of that alone: it need not be there to check ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbackprop.functions import Array

    class Tensor:
        dtype: object
        device: Any  # Any: PyTorch's descriptions of a tensor
        layout: object
        shape: tuple[int, ...]
        requires_grad: bool

        is_nested: bool

        def clone(self) -> Tensor: ...
        def cpu(self) -> Tensor: ...
        def double(self) -> Tensor: ...
        def resolve_neg(self) -> Tensor: ...
        def copy_(self, source: Tensor) -> Tensor: ...
        def detach(self) -> Tensor: ...
        def numpy(self) -> Array: ...
        def reshape(self, *shape: int) -> Tensor: ...

    class Module:
        forward: Callable[..., Any]  # Any: tensors of whatever the module gives

        def register_load_state_dict_post_hook(self, hook: Callable[..., None]) -> object: ...
        def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> object: ...
        def register_state_dict_pre_hook(self, hook: Callable[..., None]) -> object: ...
        def __setstate__(self, state: dict[str, Any]) -> None: ...

    class Parameter(Tensor):
        def __init__(self, data: Tensor) -> None: ...

    class Sequential(Module):
        def __init__(self, *modules: Module) -> None: ...
        def __len__(self) -> int: ...
        def __getitem__(self, place: int) -> Module: ...

    class Linear(Module):
        weight: Parameter
        bias: Parameter | None

        def __init__(self, n_in: int, n_out: int, *, device: str) -> None: ...

    class Function:
        apply: Callable[..., Any]  # Any: what the node's forward returns

    class no_grad:
        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...

    def from_numpy(array: Array) -> Tensor: ...
    def is_grad_enabled() -> bool: ...
    def register_optimizer_step_post_hook(hook: Callable[..., None]) -> object: ...

    nn: Any  # its modules by their names
    strided: object
    float32: object
    float64: object
else:
    try:
        from torch import (
            Tensor,
            float32,
            float64,
            from_numpy,
            is_grad_enabled,
            nn,
            no_grad,
            strided,
        )
        from torch.autograd import Function
        from torch.nn import Linear, Module, Parameter, Sequential
        from torch.optim.optimizer import register_optimizer_step_post_hook
    except ImportError as error:
        raise ImportError(
            f"cbackprop.torch needs PyTorch 2.5 or newer ({error}): pip install 'torch>=2.5', or "
            "cbackprop with its extra: 'cbackprop[torch]'"
        ) from error

__all__ = [
    "Function",
    "Linear",
    "Module",
    "Parameter",
    "Sequential",
    "Tensor",
    "float32",
    "float64",
    "from_numpy",
    "is_grad_enabled",
    "nn",
    "no_grad",
    "register_optimizer_step_post_hook",
    "strided",
]
