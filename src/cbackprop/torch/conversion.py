"""Networks as PyTorch's modules, and those as networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from cbackprop import validation
from cbackprop.exports import named_layers, usual_cost
from cbackprop.functions import Activation, ActivationName, Array, Cost, CostName
from cbackprop.network import Network
from cbackprop.torch.activations import ACTIVATIONS, name_of_module
from cbackprop.torch.library import Linear, Module, Parameter, Sequential, from_numpy, nn
from cbackprop.torch.tensors import array_of

# What leaves an example in a row as it is; dropout where nothing is trained.
PASSED_OVER = (nn.Dropout, nn.AlphaDropout)
# Of each module, and of all modules.
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
EVERYWHERE = import_module("torch.nn.modules.module")
KNOWN = ", ".join(row.kind.__name__ for row in ACTIVATIONS.values())
# What PyTorch's modules are, its own types say, and none of ours.
TorchModule: TypeAlias = Any


def to_torch(net: Network) -> TorchModule:
    """The network as PyTorch's `torch.nn.Sequential`, with copies of its parameters.

    Parameters
    ----------
    net : Network
        Of named activations.

    Returns
    -------
    torch.nn.Sequential
        A Linear and a module of the activation for each layer, of the network's number type. An
        identity is one of them, so that the keys of its ``state_dict`` are "0.weight" (n_1, n_0),
        "0.bias", "2.weight" and so on. Nothing of PyTorch's random numbers is drawn.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        For an activation of your own.

    Notes
    -----
    The cost does not come along. PyTorch's losses beside ours: the page "Coming from PyTorch".
    """
    modules: list[Module] = []
    for W, b, activation in named_layers("net", net):
        linear = Linear(W.shape[1], W.shape[0], device="meta")
        linear.weight, linear.bias = Parameter(from_numpy(W)), Parameter(from_numpy(b))
        modules += [linear, ACTIVATIONS[activation].make()]
    return Sequential(*modules)


def from_torch(
    module: TorchModule,
    activation: ActivationName | Activation | Sequence[ActivationName | Activation] | None = None,
    cost: CostName | Cost | None = None,
) -> Network:
    """A network with the parameters of a PyTorch module, copied: the same outputs.

    Parameters
    ----------
    module : torch.nn.Sequential or state_dict
        Of Linear layers, the activations that both have, Flatten and Dropout, which is passed over
        as in PyTorch's ``eval()``; a Sequential may be in it. Or a dict of tensors, a weight
        (n_l, n_{l-1}) and a bias (n_l,) for each layer, in the order in which the layers run.
    activation : str, Activation or sequence, optional
        Of a state_dict, as `Network` takes it; a Sequential says its own.
    cost : str or Cost, optional
        As `Network` takes it; by default cross_entropy after sigmoid or softmax, else quadratic.

    Returns
    -------
    Network
        Of the tensors' number type. A layer without a bias has one of zeros.

    Raises
    ------
    TypeError, ValueError
        Naming the layer or the key, where it has no place in a network: other modules, other
        constants in an activation, hooks, shapes that do not follow one another, tensors that are
        neither float32 nor float64, lie elsewhere than on the CPU, or hold NaN.
    """
    if validation.is_mapping(module):
        if activation is None:
            raise ValueError(
                "activation is None with a state_dict, which names none; expected names"
            )
        layers = [*_layers_of_state(module)]
    else:
        if activation is not None:
            raise ValueError(
                f"activation is {activation!r} with a module, which has its own; expected None"
            )
        layers, activation = _layers_of_module(module)
    if not layers:
        raise ValueError("module has no Linear layer; expected one at least")
    sizes = [layers[0][1].shape[1]]
    for place, W, b in layers:
        if W.shape[1] != sizes[-1]:
            raise ValueError(
                f"{place} takes {W.shape[1]} numbers, and the layer before it gives {sizes[-1]}; "
                "expected layers in the order in which they run"
            )
        if b.dtype != W.dtype or W.dtype != layers[0][1].dtype:
            raise ValueError(f"{place} is of another dtype than the rest; expected one for all")
        sizes.append(W.shape[0])
    activations: list[Any] = [*validation.activations(activation, len(layers))]  # Any: known names
    cost = usual_cost(activations[-1]) if cost is None else cost
    net = Network(sizes, activations, cost, dtype=layers[0][1].dtype, init="zeros")
    for i, (place, W, b) in enumerate(layers):
        validation.require_finite(f"the weight of {place}", W)
        validation.require_finite(f"the bias of {place}", b)
        net.weights[i][...], net.biases[i][...] = W, b
    return net


Layer = tuple[str, Array, Array]  # how it is called, W (n_l, n_{l-1}), b (n_l,)


def _layers_of_module(module: object) -> tuple[list[Layer], list[Any]]:
    """The layers, and their activations, whose names are known."""
    if not isinstance(module, Module):
        raise validation.wrong_type("module", module, "a torch.nn.Sequential or a state_dict")
    layers: list[Layer] = []
    activations: list[str | None] = []
    for place, part in _in_order("module", module):
        if _runs_as(part, Linear):
            layers.append(_layer(place, part.weight, part.bias))
            activations.append(None)
        elif (name := name_of_module(place, part)) is None and not _is_passed_over(part):
            raise ValueError(
                f"{place} is {_shown(part)}; expected Linear, Flatten from axis 1 to the last, "
                f"Dropout, or one of the activations {KNOWN}; or, of a chain of them with its own "
                "forward, the state_dict and the activations"
            )
        elif name is not None and name != "identity":
            if not layers or activations[-1] is not None:
                raise ValueError(f"{place} is {_shown(part)}; expected a Linear layer before it")
            activations[-1] = name
    return layers, [name or "identity" for name in activations]


def _in_order(place: str, module: Any) -> Iterator[tuple[str, Any]]:
    """The modules that run, one after the other, and how each is called."""
    if "forward" in vars(module) or type(module).__call__ is not Module.__call__:
        raise ValueError(
            f"{place} is {_shown(module)} that is called in a way of its own; expected PyTorch's"
        )
    for hooks in HOOKS:
        if getattr(module, hooks) or getattr(EVERYWHERE, f"_global{hooks}"):
            raise ValueError(
                f"{place} is {_shown(module)} with a hook, which may change what it gives; "
                "expected none"
            )
    if not _runs_as(module, Sequential, "__iter__", "__len__", "__getitem__"):
        yield place, module
        return
    for i in range(len(module)):
        yield from _in_order(f"{place}[{i}]", module[i])


def _runs_as(module: Any, kind: type[Module], *methods: str) -> bool:
    """Whether it is of this kind, and does what that does."""
    return isinstance(module, kind) and all(
        getattr(type(module), name) is getattr(kind, name) for name in ("forward", *methods)
    )


def _is_passed_over(module: Module) -> bool:
    if type(module) is nn.Flatten:
        flatten: Any = module
        return bool(flatten.start_dim == 1 and flatten.end_dim == -1)
    return type(module) in PASSED_OVER


def _layers_of_state(state: Mapping[Any, Any]) -> Iterator[Layer]:
    """Every weight with its bias."""
    left = dict(state)
    for key in state:
        if key not in left or not str(key).endswith("weight"):
            continue
        weight, name = left.pop(key), str(key)
        yield _layer(name, weight, left.pop(f"{name.removesuffix('weight')}bias", None))
    if left:
        raise ValueError(
            f"module has {', '.join(map(repr, left))}; expected a weight, and a bias if there is "
            "one, for each Linear layer"
        )


def _layer(place: str, weight: object, bias: object) -> Layer:
    W = array_of(f"the weight of {place}", weight)
    if W.ndim != 2:
        raise ValueError(
            f"the weight of {place} has shape {W.shape}; expected (n_l, n_(l-1)), of a Linear layer"
        )
    b = np.zeros(len(W), W.dtype) if bias is None else array_of(f"the bias of {place}", bias)
    if b.shape != W.shape[:1]:
        raise ValueError(f"the bias of {place} has shape {b.shape}; expected {W.shape[:1]}")
    return place, W, b


def _shown(module: object) -> str:
    return f"a {type(module).__name__}"
