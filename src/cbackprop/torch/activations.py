"""PyTorch's module of each activation, and what it must say of itself to be the same function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cbackprop.torch.library import Module, nn


class Exponential(Module):
    """e^z, of which PyTorch has no module."""

    def forward(self, z: Any) -> Any:
        """A tensor of any shape, of the same."""
        return z.exp()


class Row(NamedTuple):
    """A module of PyTorch's."""

    kind: type[Module]
    make: Callable[[], Module]
    needs: Mapping[str, Sequence[object]] = {}  # attributes, and what each may be
    least: Mapping[str, float] = {}  # likewise, and how small each may be


ACTIVATIONS: dict[str, Row] = {
    "sigmoid": Row(nn.Sigmoid, nn.Sigmoid),
    "tanh": Row(nn.Tanh, nn.Tanh),
    "relu": Row(nn.ReLU, nn.ReLU),
    "leaky_relu": Row(nn.LeakyReLU, nn.LeakyReLU, {"negative_slope": (0.01,)}),
    "elu": Row(nn.ELU, nn.ELU, {"alpha": (1.0,)}),
    "selu": Row(nn.SELU, nn.SELU),
    "gelu": Row(nn.GELU, nn.GELU, {"approximate": ("none",)}),
    "silu": Row(nn.SiLU, nn.SiLU),
    # Linear from the threshold on. PyTorch's own, 20, is wrong by 2e-9 there.
    "softplus": Row(
        nn.Softplus, lambda: nn.Softplus(threshold=40), {"beta": (1.0,)}, {"threshold": 20}
    ),
    "softsign": Row(nn.Softsign, nn.Softsign),
    "exponential": Row(Exponential, Exponential),
    "identity": Row(nn.Identity, nn.Identity),
    # None is 1 for rows of examples.
    "softmax": Row(nn.Softmax, lambda: nn.Softmax(dim=-1), {"dim": (-1, 1, None)}),
}


def name_of_module(place: str, module: Module) -> str | None:
    """Our activation that it is; None for what is none of these.

    Raises
    ------
    ValueError
        For one of these with other numbers in it.
    """
    for name, row in ACTIVATIONS.items():
        if type(module) is row.kind:
            for attribute, values in row.needs.items():
                if getattr(module, attribute) not in values:
                    raise _other_numbers(place, module, name, " or ".join(map(repr, values)))
            for attribute, least in row.least.items():
                if getattr(module, attribute) < least:
                    raise _other_numbers(place, module, name, f"{least} or more")
            return name
    return None


def _other_numbers(place: str, module: Module, name: str, expected: str) -> ValueError:
    return ValueError(f"{place} is {module!r}; expected {expected} there, as {name} is here")
