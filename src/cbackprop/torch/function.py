"""A network as a node of PyTorch's graphs: its compiled passes, forward and backward."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import numpy as np

from cbackprop.exports import require_network
from cbackprop.functions import Array
from cbackprop.network import Network
from cbackprop.torch.library import (
    Function,
    Module,
    Parameter,
    Tensor,
    from_numpy,
    is_grad_enabled,
    no_grad,
    register_optimizer_step_post_hook,
)
from cbackprop.torch.tensors import array_of, require_tensor


def torch_function(net: Network) -> NetworkModule:
    """The network as a module of PyTorch whose one parameter trains it.

    Parameters
    ----------
    net : Network
        Of any activations, your own too. Its cost is not used: PyTorch has the loss.

    Returns
    -------
    torch.nn.Module
        Takes (…, n_0), gives (…, n_L), as `torch.nn.Linear` does: tensors on the CPU, of the
        network's number type. Its ``parameter`` (P,) has the numbers of `Network.parameters`, and
        its ``network`` is ``net`` itself.

    Raises
    ------
    TypeError
        For anything else.

    See Also
    --------
    Network.vjp : What the backward pass calls.

    Notes
    -----
    Parameter and network follow one another: the network after each step of an optimiser of
    PyTorch (by a hook of all optimisers, from the import of this module on), each
    ``load_state_dict`` and in each forward pass, the parameter in a forward pass where the network
    was trained by itself. Where both were changed apart, that is a RuntimeError. ``agree()`` of the
    module does the same where you have written into the parameter yourself and want the network
    next.

    First derivatives only: a second one, where ``create_graph=True`` asks for it, is a
    RuntimeError. The transforms of `torch.func` are not for it: `Network.gradient` with
    ``per_example=True``, `Network.jacobian` and `Network.hessian_vector_product` are the calls for
    what they are used for. Numbers that are not finite are refused, not handed on.

    The backward pass computes the activations again, and so is the step of a large network slower
    than that of PyTorch's own layers: this couples, `Network.fit` trains quickly.
    """
    return NetworkModule(require_network("net", net))


class Numbers:
    """The parameters that a network had once, as a vector and in the order of its memory.

    The latter to compare quickly: a flat vector of a network's numbers has to be made first.
    """

    def __init__(self, net: Network) -> None:
        self.vector = net.parameters
        self._arrays = [array.copy() for array in _memory(net)]

    def are_of(self, net: Network) -> bool:
        """Whether the network has them now."""
        return all(map(np.array_equal, self._arrays, _memory(net)))


def _memory(net: Network) -> list[Array]:
    return [*(W.T for W in net.weights), *net.biases]


class NetworkModule(Module):
    """What `torch_function` makes of a network.

    Attributes
    ----------
    network : Network
        Which computes.
    parameter : torch.nn.Parameter
        (P,), its parameters.
    agreed : Numbers
        What both had when they were last seen to be the same.
    """

    network: Network
    parameter: Parameter
    agreed: Numbers

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.network = net
        self.agreed = Numbers(net)
        self.parameter = Parameter(from_numpy(net.parameters.copy()))
        self.register_load_state_dict_post_hook(_after_loading)
        _MODULES.add(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Of a copy or a pickle, which is followed as the original is."""
        super().__setstate__(state)
        _MODULES.add(self)

    def forward(self, X: Tensor) -> Tensor:
        """a⁽ᴸ⁾ (…, n_L) of X (…, n_0).

        Raises
        ------
        TypeError, ValueError
            Naming ``X``, or ``parameter`` where that has been moved or has another number type.
        RuntimeError
            If parameter and network were both changed, each for itself.
        """
        sizes = self.network.sizes
        require_tensor("X", X, self.network.dtype.name)
        if X.shape[-1:] != sizes[:1]:
            raise ValueError(
                f"X has shape {(*X.shape,)}; expected (…, {sizes[0]}) because sizes[0] is "
                f"{sizes[0]}"
            )
        outputs: Tensor = NetworkNode.apply(X.reshape(-1, sizes[0]), self.parameter, self)
        return outputs.reshape(*X.shape[:-1], sizes[-1])

    def agree(self, parameter: Tensor | None = None) -> None:
        """Let the network have the parameter's numbers, or the parameter the network's.

        Whichever has changed since they were last the same is followed.

        Parameters
        ----------
        parameter : torch.Tensor, optional
            In the place of the module's own.

        Raises
        ------
        TypeError
            If the parameter is no longer on the CPU, or of another number type.
        RuntimeError
            If both have changed.
        ValueError
            If the parameter is not finite.
        """
        tensor = self.parameter if parameter is None else parameter
        here = array_of("parameter", tensor, self.network.dtype.name)
        is_here = np.array_equal(here, self.agreed.vector)
        is_there = self.agreed.are_of(self.network)
        if is_here and is_there:
            return
        if is_here:
            with no_grad():
                tensor.copy_(from_numpy(self.network.parameters.copy()))
        elif is_there or np.array_equal(here, self.network.parameters):
            self.network.parameters = here
        else:
            raise RuntimeError(
                "parameter and network have both changed since they were last the same, each "
                "for itself; expected one of them: copy the numbers to go on from into both"
            )
        self.agreed = Numbers(self.network)

    def vjp(self, numbers: Numbers, X: Array, V: Array) -> tuple[Array, Array]:
        """The derivatives by X and by the parameters (P,), which are to be these ``numbers``.

        The network may have others since: of another forward pass, or after a step.
        """
        if numbers.are_of(self.network):
            gradient, by_inputs = self.network.vjp(X, V)
            return by_inputs, gradient.vector
        twin = Network.copy(self.network)
        twin.parameters = numbers.vector
        gradient, by_inputs = twin.vjp(X, V)
        return by_inputs, gradient.vector

    def extra_repr(self) -> str:
        """What stands between the brackets of its repr."""
        return repr(self.network)


class NetworkNode(Function):
    """a⁽ᴸ⁾ of X and the parameters."""

    # PyTorch's newer form, with setup_context, asks for the signature in each call: 0.1 ms.

    @staticmethod
    def forward(ctx: Any, X: Tensor, parameter: Tensor, module: NetworkModule) -> Tensor:
        module.agree(parameter)
        ctx.save_for_backward(X, parameter)
        ctx.module, ctx.numbers = module, module.agreed
        return from_numpy(module.network.predict(X.numpy()))

    @staticmethod
    def backward(ctx: Any, V: Tensor) -> tuple[Tensor, Tensor, None]:
        X, parameter = ctx.saved_tensors
        arrays = ctx.module.vjp(ctx.numbers, X.detach().numpy(), V.detach().numpy())
        by_inputs, by_parameter = map(from_numpy, arrays)
        if is_grad_enabled():  # with create_graph=True
            by_inputs, by_parameter = FirstDerivatives.apply(
                by_inputs, by_parameter, X, parameter, V
            )
        return by_inputs, by_parameter, None


class FirstDerivatives(Function):
    """Hands the derivatives on, as numbers that depend on X, the parameters and V."""

    @staticmethod
    def forward(ctx: Any, by_inputs: Tensor, by_parameter: Tensor, *_: Tensor) -> Any:
        return by_inputs.clone(), by_parameter.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise RuntimeError(
            "torch_function has first derivatives only; for second ones there are "
            "Network.hessian_vector_product and Network.gauss_newton_vector_product, or "
            "to_torch(net)"
        )


_MODULES: WeakSet[NetworkModule] = WeakSet()


def _after_loading(module: NetworkModule, *_: object) -> None:
    module.agree()


def _after_step(optimizer: Any, *_: object) -> None:
    """Let networks have what an optimiser of PyTorch has made of their parameters."""
    trained = {id(tensor) for group in optimizer.param_groups for tensor in group["params"]}
    for module in [*_MODULES]:
        if id(module.parameter) in trained:
            module.agree()


register_optimizer_step_post_hook(_after_step)
