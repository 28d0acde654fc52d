"""A network as a node of PyTorch's graphs: its compiled passes, forward and backward."""

from __future__ import annotations

from threading import RLock
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from cbackprop import layout, validation
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
from cbackprop.torch.tensors import array_of, plain, require_tensor


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
    ``load_state_dict`` and in each forward pass, the parameter in a forward pass and for
    ``state_dict`` where the network was trained by itself. Where both were changed apart, that is a
    RuntimeError. ``agree()`` of the module does the same where you have written into the parameter
    yourself and want the network next. What pruning, a parametrization or
    `torch.func.functional_call` puts in the parameter's place is computed with a copy of the
    network, and leaves both as they are.

    First derivatives only: a second one, where ``create_graph=True`` asks for it, is a
    RuntimeError. The transforms of `torch.func` are not for it: `Network.gradient` with
    ``per_example=True``, `Network.jacobian` and `Network.hessian_vector_product` are the calls for
    what they are used for. Numbers that are not finite are refused, not handed on.

    The backward pass computes the activations again, and so is the step of a large network slower
    than that of PyTorch's own layers: this couples, `Network.fit` trains quickly.
    """
    return NetworkModule(require_network("net", net))


class Numbers:
    """Parameters as a vector (P,), and as they lie in a network's memory, to compare them quickly.

    Nobody writes into either.
    """

    def __init__(self, net: Network, vector: Array) -> None:
        self.vector = vector
        weights, biases = layout.views(net.sizes, vector)
        self._arrays = [*(np.ascontiguousarray(W.T) for W in weights), *biases]

    def are_of(self, net: Network) -> bool:
        """Whether the network has them."""
        own = [*(W.T for W in net.weights), *net.biases]
        return all(map(np.array_equal, self._arrays, own))


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
        self.agreed = Numbers(net, net.parameters)
        self.parameter = Parameter(from_numpy(self.agreed.vector.copy()))
        self.is_loading = False
        self.register_state_dict_pre_hook(_before_saving)
        self.register_load_state_dict_pre_hook(_before_loading)
        self.register_load_state_dict_post_hook(_after_loading)
        self.lock = RLock()
        self.know_parameter()

    def __getstate__(self) -> dict[str, Any]:
        """Of a copy or a pickle: what the network has learnt is in both."""
        with self.lock:
            self.agree()
            return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.lock = RLock()
        self.know_parameter()

    def know_parameter(self) -> None:
        """Follow the parameter that there is now."""
        _MODULES[id(self.parameter)] = self

    def has_own(self, parameter: Tensor) -> bool:
        """Whether this is the module's parameter, and not something in its place.

        As pruning, parametrizations and `torch.func.functional_call` put there for a while.
        """
        return _MODULES.get(id(parameter)) is self

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

    def agree(self) -> None:
        """Let the network have the parameter's numbers, or the parameter the network's.

        Whichever has changed since they were last the same is followed.

        Raises
        ------
        TypeError
            If the parameter is no longer on the CPU, or of another number type.
        RuntimeError
            If both have changed.
        ValueError
            If the parameter is not finite.
        """
        with self.lock:
            if not self.has_own(self.parameter):
                return
            here = self._numbers_of(self.parameter)
            is_here = np.array_equal(here, self.agreed.vector)
            is_there = self.agreed.are_of(self.network)
            if is_here and is_there:
                return
            if is_there:
                self.network.parameters = here
            elif is_here:
                here = self.network.parameters
                with no_grad():
                    self.parameter.copy_(from_numpy(here.copy()))
            elif not np.array_equal(here, self.network.parameters):
                raise RuntimeError(
                    "parameter and network have both changed since they were last the same, each "
                    "for itself; expected one of them: go on from the parameter's numbers by "
                    "module.take_parameter(), or copy module.network.parameters into it"
                )
            self.agreed = Numbers(self.network, here)

    def take_parameter(self) -> None:
        """Let the network have the parameter's numbers, whatever it has itself.

        Raises
        ------
        TypeError, ValueError
            As `agree`.
        """
        with self.lock:
            here = self._numbers_of(self.parameter)
            self.network.parameters = here
            self.agreed = Numbers(self.network, here)

    def _numbers_of(self, parameter: Tensor) -> Array:
        """Copied at once, as another thread may take a step meanwhile."""
        return array_of("parameter", parameter, self.network.dtype.name).copy()

    def outputs(self, X: Array, parameter: Tensor) -> tuple[Array, Numbers]:
        """a⁽ᴸ⁾ (n, n_L), and the numbers that they were made with."""
        with self.lock:
            if self.has_own(parameter):
                self.agree()
                return self.network.predict(X), self.agreed
            numbers = Numbers(self.network, self._numbers_of(parameter))
            return self._with(numbers).predict(X), numbers

    def derivatives(self, X: Array, V: Array, numbers: Numbers) -> tuple[Array, Array]:
        """Those of Σ_ij V_ij a_ij by X and by the parameters, with these numbers.

        The network may have others since: of another forward pass, or after a step.
        """
        with self.lock:
            net = self.network if numbers.are_of(self.network) else self._with(numbers)
            gradient, by_inputs = net.vjp(X, V)
            return by_inputs, gradient.vector

    def _with(self, numbers: Numbers) -> Network:
        """A copy of the network that has them."""
        twin = Network.copy(self.network)
        twin.parameters = numbers.vector
        return twin

    def extra_repr(self) -> str:
        """What stands between the brackets of its repr."""
        return repr(self.network)


class NetworkNode(Function):
    """a⁽ᴸ⁾ of X and the parameters."""

    # PyTorch's newer form, with setup_context, asks for the signature in each call: 0.1 ms.

    @staticmethod
    def forward(ctx: Any, X: Tensor, parameter: Tensor, module: NetworkModule) -> Tensor:
        ctx.save_for_backward(X, parameter)
        ctx.module = module
        outputs, ctx.numbers = module.outputs(plain(X), parameter)
        return from_numpy(outputs)

    @staticmethod
    def backward(ctx: Any, V: Tensor) -> tuple[Tensor, Tensor, None]:
        X, parameter = ctx.saved_tensors
        arrays = ctx.module.derivatives(plain(X), plain(V), ctx.numbers)
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


# By the id of each one's parameter, which lives as long as it.
_MODULES: WeakValueDictionary[int, NetworkModule] = WeakValueDictionary()


def _before_saving(module: NetworkModule, *_: object) -> None:
    """A state has what the network has learnt by itself, too."""
    module.agree()


def _before_loading(module: NetworkModule, state: dict[str, Any], prefix: str, *_: object) -> None:
    loaded = state.get(f"{prefix}parameter")
    module.is_loading = getattr(loaded, "shape", None) == module.parameter.shape
    if module.is_loading and isinstance(loaded, Tensor):
        validation.require_finite("parameter", plain(loaded.cpu().double()))


def _after_loading(module: NetworkModule, *_: object) -> None:
    """What was loaded counts, whatever the network has learnt since."""
    if module.is_loading:
        module.know_parameter()  # with assign=True it is another one
        module.take_parameter()
    module.is_loading = False


def _after_step(optimizer: Any, *_: object) -> None:
    """Let networks have what an optimiser of PyTorch has made of their parameters."""
    failures: list[Exception] = []
    for group in optimizer.param_groups:
        for tensor in group["params"]:
            module = _MODULES.get(id(tensor))
            if module is not None:
                try:
                    module.agree()
                except Exception as error:  # told when all the others have been brought together
                    failures.append(error)
    if failures:
        raise failures[0]


register_optimizer_step_post_hook(_after_step)
