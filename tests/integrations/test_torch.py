"""Networks as PyTorch's modules and back, and as a node of its graphs."""

from __future__ import annotations

import copy
import io
import re
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from support import ACTIVATIONS, ELEMENTWISE, Array, bits, both_dtypes

torch = pytest.importorskip("torch", minversion="2.5", reason="PyTorch is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrize, prune  # noqa: E402

from cbackprop import Activation, Network  # noqa: E402
from cbackprop.torch import activations, from_torch, to_torch, torch_function  # noqa: E402

# Threads only wait for each other on arrays as small as these.
torch.set_num_threads(1)

SINE = Activation(np.sin, np.cos, "sine")


def numbers(value: Any) -> Array:
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def largest_difference(got: Any, expected: Any) -> float:
    """Over the largest number that is expected."""
    difference = np.abs(numbers(got) - numbers(expected)).max()
    return float(difference / max(np.abs(numbers(expected)).max(), 1e-300))


def random_network(seed: int, dtype: str = "float64") -> Network:
    """Every activation comes in each layer where it may, the last ones by turns."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(2, 9, draw.integers(2, 5)).tolist()
    hidden = [str(draw.choice(ELEMENTWISE)) for _ in sizes[2:]]
    names: Any = [*hidden, ACTIVATIONS[seed % len(ACTIVATIONS)]]
    return Network(sizes, names, dtype=dtype, seed=seed)


def rows(net: Network, n: int, seed: int = 0) -> Any:
    X = np.random.default_rng(seed).normal(size=(n, net.sizes[0]))
    return torch.from_numpy(X.astype(net.dtype))


# ---- there and back ------------------------------------------------------------------------------


def test_every_activation_has_a_row() -> None:
    assert tuple(activations.ACTIVATIONS) == ACTIVATIONS


@pytest.mark.parametrize("seed", range(100))
def test_the_module_gives_what_the_network_gives(seed: int) -> None:
    """Outputs, and the derivatives by parameters and inputs."""
    net = random_network(seed)
    module = to_torch(net)
    X = rows(net, 7).requires_grad_()
    outputs = module(X)
    assert largest_difference(outputs, net.predict(X.detach())) < 1e-12
    V = torch.from_numpy(np.random.default_rng(seed).normal(size=outputs.shape))
    outputs.backward(V)
    gradient, by_inputs = net.vjp(X.detach(), V)
    theirs = torch.cat([parameter.grad.ravel() for parameter in module.parameters()])
    assert largest_difference(theirs, gradient) < 1e-12
    assert largest_difference(X.grad, by_inputs) < 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_outputs_in_saturation(activation: Any) -> None:
    """Of derivatives there, a (1 - a), PyTorch has no digits left."""
    net = Network([3, 5], activation, seed=0)
    X = torch.linspace(-9, 9, 300, dtype=torch.float64).reshape(-1, 3)
    net.parameters = 20 * net.parameters / np.abs(net.parameters).max()
    assert np.abs(net.forward(X).z[1]).max() > 40
    assert largest_difference(to_torch(net)(X), net.predict(X)) < 1e-12


@both_dtypes
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_there_and_back(activation: str, dtype: str) -> None:
    hidden = activation if activation in ELEMENTWISE else "tanh"
    net = Network([3, 4, 5], [hidden, activation], dtype=dtype, seed=2)
    back = from_torch(to_torch(net))
    assert (back.sizes, back.activations, back.dtype) == (net.sizes, net.activations, net.dtype)
    assert bits(back.parameters) == bits(net.parameters)


def test_what_a_module_is_made_of() -> None:
    """Its keys, its number type; copies; and nothing is drawn from PyTorch's generator."""
    net = Network([3, 4, 2], ["relu", "identity"], dtype="float32", seed=0)
    before = torch.get_rng_state()
    module = to_torch(net)
    assert torch.equal(torch.get_rng_state(), before)
    state = module.state_dict()
    assert [*state] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(tensor.dtype is torch.float32 for tensor in state.values())
    assert all(parameter.requires_grad for parameter in module.parameters())
    own = net.parameters
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert bits(net.parameters) == bits(own)
    # What PyTorch makes by itself takes the state.
    plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    plain.load_state_dict(to_torch(net).state_dict())
    X = rows(net, 5)
    assert largest_difference(plain(X), net.predict(X)) < 1e-6


class Renamed(nn.Linear):
    """Another class, the same pass."""


def test_modules_that_are_read() -> None:
    first, second = nn.Linear(6, 4, dtype=torch.float64), Renamed(4, 4, bias=False).double()
    third = nn.Linear(4, 2).double()
    module = nn.Sequential(
        OrderedDict(
            flat=nn.Flatten(),
            body=nn.Sequential(first, nn.Identity(), nn.Dropout(0.5), nn.ReLU(), nn.Sequential()),
            middle=second,
            head=nn.Sequential(third, nn.AlphaDropout(), nn.Softmax(1)),
        )
    )
    net = from_torch(module)
    assert net.activations == ("relu", "identity", "softmax")
    assert net.cost_function == "cross_entropy"
    assert from_torch(module, cost="mse").cost_function == "mse"
    assert from_torch(module[:3]).cost_function == "quadratic"
    X = torch.randn(5, 2, 3, dtype=torch.float64)
    assert largest_difference(module.eval()(X), net.predict(X.reshape(5, 6))) < 1e-12
    # Of a dict, in the order of its keys.
    state = {name: tensor for name, tensor in module.state_dict().items() if tensor.ndim}
    again = from_torch(state, ["relu", "identity", "softmax"])
    assert bits(again.parameters) == bits(net.parameters)
    # A weight that is made of others is what it makes.
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4, dtype=torch.float64))
    net = from_torch(nn.Sequential(normed))
    assert largest_difference(normed(X.reshape(5, 6)), net.predict(X.reshape(5, 6))) < 1e-12


def test_a_module_that_comes_twice() -> None:
    """It runs twice: PyTorch's children name it once."""
    act, layer = nn.Tanh(), nn.Linear(3, 3).double()
    for module in (
        nn.Sequential(layer, act, nn.Linear(3, 4).double(), act),
        nn.Sequential(layer, act, layer),
        nn.Sequential(nn.Sequential(layer, act), nn.Sequential(layer, act)),
        nn.Sequential(block := nn.Sequential(layer, act), block),
    ):
        X = torch.randn(5, 3, dtype=torch.float64)
        assert largest_difference(module(X), from_torch(module).predict(X)) < 1e-12


def test_hooks_of_all_modules() -> None:
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, given, output: 2 * output
    )
    try:
        with pytest.raises(ValueError, match="module is a Sequential with a hook"):
            from_torch(nn.Sequential(nn.Linear(2, 2)))
    finally:
        handle.remove()


def called(module: Any) -> Any:
    """One whose forward is another one than its class's."""
    module.forward = lambda X: 2 * X
    return module


class OwnCall(nn.Linear):
    """Whose call does not reach its forward."""

    def __call__(self, X: Any) -> Any:
        return 2 * X


class OwnOrder(nn.Sequential):
    """Whose parts run in another order."""

    def __iter__(self) -> Any:
        return iter([*super().__iter__()][::-1])


class OwnPlaces(nn.Sequential):
    """Whose parts are not at the places where they run."""

    def __getitem__(self, place: Any) -> Any:
        return super().__getitem__(0)


def hooked() -> Any:
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    module[1].register_forward_hook(lambda module, given, output: 2 * output)
    return module


def with_nan(name: str) -> Any:
    module = nn.Sequential(nn.Linear(2, 3))
    with torch.no_grad():
        getattr(module[0], name)[1, ...].view(-1)[0] = float("nan")
    return module


class Own(nn.Sequential):
    """Whose pass nobody knows."""

    def forward(self, X: Any) -> Any:
        return X


class OwnReLU(nn.ReLU):
    """Likewise."""

    def forward(self, z: Any) -> Any:
        return -z


REFUSED: list[tuple[Any, str]] = [
    (nn.Sequential(nn.Linear(2, 2), nn.ReLU6()), "module[1] is a ReLU6; expected Linear, Flatten"),
    (nn.Sequential(nn.Conv1d(2, 2, 1)), "module[0] is a Conv1d"),
    (nn.Sequential(nn.BatchNorm1d(2)), "module[0] is a BatchNorm1d"),
    (nn.Sequential(nn.Linear(2, 2), nn.LogSoftmax(1)), "module[1] is a LogSoftmax"),
    (
        nn.Sequential(nn.Linear(2, 2), nn.LeakyReLU(0.2)),
        "(negative_slope=0.2); expected 0.01",
    ),
    (
        nn.Sequential(nn.Linear(2, 2), nn.ELU(0.5)),
        "ELU(alpha=0.5); expected 1.0 there",
    ),
    (
        nn.Sequential(nn.Linear(2, 2), nn.GELU("tanh")),
        "='tanh'); expected 'none' there",
    ),
    (nn.Sequential(nn.Linear(2, 2), nn.Softplus(2.0)), "expected 1.0 there, as softplus is here"),
    (
        nn.Sequential(nn.Linear(2, 2), nn.Softplus(threshold=1.0)),
        "expected 20 or more there",
    ),
    (
        nn.Sequential(nn.Linear(2, 2), nn.Softmax(0)),
        "(dim=0); expected -1 or 1 or None",
    ),
    (
        nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh()),
        "module[2] is a Tanh; expected a Linear",
    ),
    (nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), "module[0] is a ReLU; expected a Linear"),
    (nn.Sequential(nn.Linear(2, 2), nn.Softmax(-1), nn.Linear(2, 2)), "softmax"),
    (nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 3)), "module[1] takes 2 numbers"),
    (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3).double()), "module[1] is of another dtype"),
    (nn.Sequential(nn.Linear(2, 3).half()), "the weight of module[0] has dtype torch.float16"),
    (nn.Sequential(nn.Linear(2, 3, device="meta")), "the weight of module[0] is a tensor on meta"),
    (nn.Sequential(nn.Flatten(0), nn.Linear(2, 2)), "module[0] is a Flatten"),
    (nn.Sequential(), "module has no Linear layer"),
    (nn.Sequential(nn.LazyLinear(3)), "module[0] is a LazyLinear"),
    (Own(nn.Linear(2, 2)), "module is a Own"),
    (nn.Sequential(nn.Linear(2, 2), OwnReLU()), "module[1] is a OwnReLU"),
    (nn.Sequential(nn.Flatten(1, 2), nn.Linear(2, 2)), "module[0] is a Flatten; expected Linear,"),
    (hooked(), "module[1] is a ReLU with a hook"),
    (nn.Sequential(called(nn.Linear(2, 2))), "module[0] is a Linear that is called in a way of"),
    (called(nn.Sequential(nn.Linear(2, 2))), "module is a Sequential that is called in a way of"),
    (nn.Sequential(OwnCall(2, 2)), "module[0] is a OwnCall that is called in a way of its own"),
    (OwnOrder(nn.Linear(2, 2)), "module is a OwnOrder; expected Linear"),
    (OwnPlaces(nn.Linear(2, 2), nn.Tanh()), "module is a OwnPlaces; expected Linear"),
    (with_nan("bias"), "the bias of module[0] has nan at [1]"),
    (with_nan("weight"), "the weight of module[0] has nan at [1, 0]"),
    ("model.pt", "module is 'model.pt' (str); expected a torch.nn.Sequential or a state_dict"),
    ({}, "module has no Linear layer"),
    ({"a.weight": torch.zeros(3, 2, 1)}, "the weight of a.weight has shape (3, 2, 1)"),
    ({"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(2)}, "the bias of a.weight has shape"),
    ({"a.weight": np.zeros((3, 2))}, "the weight of a.weight is array("),
    (
        {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(3).double()},
        "a.weight is of another dtype than the rest",
    ),
    ({"a.bias": torch.zeros(3)}, "module has 'a.bias'; expected a weight"),
    ({"a.weight": torch.zeros(3, 2), "n": torch.tensor(1)}, "module has 'n'; expected a weight"),
]


@pytest.mark.parametrize(("module", "message"), REFUSED, ids=[text for _, text in REFUSED])
def test_what_has_no_place_in_a_network(module: Any, message: str) -> None:
    activation = "tanh" if isinstance(module, dict) else None
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        from_torch(module, activation)


def test_activations_are_said_once() -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="activation is 'tanh' with a module"):
        from_torch(module, "tanh")
    with pytest.raises(ValueError, match="activation is None with a state_dict"):
        from_torch(module.state_dict())


@pytest.mark.parametrize("place", [to_torch, torch_function])
def test_networks_alone(place: Any) -> None:
    with pytest.raises(TypeError, match=r"net is 3 \(int\); expected a Network"):
        place(3)


def test_no_activation_of_ones_own() -> None:
    with pytest.raises(ValueError, match=r"net has Activation\(sine\), of your own; expected"):
        to_torch(Network([2, 3], SINE))


# ---- as a node -----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [*ACTIVATIONS, SINE], ids=str)
def test_gradcheck(activation: Any) -> None:
    """By X and by the parameters, against differences."""
    hidden = activation if activation in (*ELEMENTWISE, SINE) else "tanh"
    net = Network([3, 4, 2], [hidden, activation], seed=3)
    module = torch_function(net)

    def outputs(X: Any, parameter: Any) -> Any:
        return torch.func.functional_call(module, {"parameter": parameter}, (X,))

    X = rows(net, 4).requires_grad_()
    other = (module.parameter + 0.01).detach().requires_grad_()
    assert torch.autograd.gradcheck(outputs, (X, other))
    # And once more through the module itself, whose parameter is the network's again.
    assert torch.autograd.gradcheck(module, (X,))
    assert bits(net.parameters) == bits(module.parameter.detach().numpy())


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "LBFGS"])
@pytest.mark.parametrize("fused", [False, True])
def test_a_model_of_two_parts(optimizer: str, fused: bool) -> None:
    """A layer of PyTorch's, one of ours, a loss of PyTorch's: trains as PyTorch alone does."""
    if optimizer == "LBFGS" and fused:
        pytest.skip("LBFGS has no such form")
    net = Network([5, 6, 3], ["tanh", "softmax"], seed=4)
    first = nn.Linear(4, 5).double()
    parts = [(copy.deepcopy(first), torch_function(net)), (copy.deepcopy(first), to_torch(net))]
    X, labels = torch.randn(50, 4, dtype=torch.float64), torch.arange(50) % 3
    losses: list[list[float]] = []
    for layer, ours in parts:
        model = nn.Sequential(layer, nn.Tanh(), ours)
        options: dict[str, Any] = {"fused": True} if fused else {}
        steps = getattr(torch.optim, optimizer)(model.parameters(), lr=0.05, **options)
        losses.append([])

        def loss(model: Any = model, steps: Any = steps, told: Any = losses[-1]) -> Any:
            steps.zero_grad()
            value = nn.functional.nll_loss(model(X).log(), labels)
            value.backward()
            told.append(value.item())
            return value

        for _ in range(3 if optimizer == "LBFGS" else 60):  # of 20 evaluations each
            steps.step(loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert losses[0][-1] < losses[0][0]
    alone = torch.cat([parameter.detach().ravel() for parameter in parts[1][1].parameters()])
    # The network has what the last step made, not what the last pass saw.
    assert largest_difference(net.parameters, alone) < 1e-9
    assert largest_difference(parts[0][0].weight, parts[1][0].weight) < 1e-9


def test_shapes_are_those_of_a_linear_layer() -> None:
    net = Network([3, 2], seed=0)
    module = torch_function(net)
    negative = torch._neg_view(rows(net, 4))  # as the imaginary part of a conjugate has it
    assert largest_difference(module(negative), net.predict(-rows(net, 4))) == 0
    for shape in ((3,), (0, 3), (1, 3), (2, 5, 3)):
        X = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        outputs = module(X)
        assert outputs.shape == (*shape[:-1], 2)
        outputs.sum().backward()
        assert X.grad.shape == shape
    assert repr(module) == f"NetworkModule({net!r})"
    assert [name for name, _ in module.named_parameters()] == ["parameter"]
    assert bits(module.parameter.detach().numpy()) == bits(net.parameters)


@both_dtypes
def test_memory_is_shared_where_it_can_be(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network's calls get is the tensor's own memory, and what they give the result's."""
    net = Network([3, 2], dtype=dtype, seed=0)
    module = torch_function(net)
    X = rows(net, 5)
    seen: list[Array] = []
    predict = Network.predict

    def watched(self: Network, X: Array) -> Array:
        seen.extend([X, predict(self, X)])
        return seen[-1]

    monkeypatch.setattr(Network, "predict", watched)
    outputs = module(X)
    assert np.shares_memory(seen[0], X.numpy())
    assert np.shares_memory(seen[1], outputs.detach().numpy())


def test_what_is_not_taken() -> None:
    net = Network([3, 2], seed=0)
    module = torch_function(net)
    X = rows(net, 4)
    before = bits(net.parameters)
    for wrong, message in (
        (X.float(), "use .to(torch.float64), or a network of dtype 'float32'"),
        (
            X.bfloat16(),
            "X has dtype torch.bfloat16; expected torch.float64: use .to(torch.float64)",
        ),
        (X.to("meta"), "X is a tensor on meta; expected one on the CPU: use .cpu()"),
        (X.to_sparse(), "X is a tensor of layout torch.sparse_coo; expected a dense one"),
        (X[:, :2], "X has shape (4, 2); expected (…, 3) because sizes[0] is 3"),
        (X[0, 0], "X has shape (); expected (…, 3)"),
        (torch.nested.nested_tensor([X[0]], layout=torch.jagged), "expected a dense one"),
        (X.numpy(), "X is array("),
        (X * torch.nan, "X has nan at [0, 0]"),
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            module(wrong)
    assert bits(net.parameters) == before
    with pytest.raises(TypeError, match=r"^parameter has dtype torch.float32; expected torch.f"):
        module.float()(X)


def test_second_derivatives_are_refused() -> None:
    net = Network([3, 2], seed=0)
    module = torch_function(net)
    X = rows(net, 4).requires_grad_()
    (by_inputs,) = torch.autograd.grad(module(X).sum(), X, create_graph=True)
    assert by_inputs.requires_grad  # so that whoever asks is told, and does not get zeros
    with pytest.raises(RuntimeError, match="torch_function has first derivatives only"):
        by_inputs.sum().backward()


@pytest.mark.parametrize("transform", [torch.func.vmap, lambda f: torch.func.grad(f)])
def test_transforms_of_torch_func_are_refused(transform: Any) -> None:
    """By PyTorch itself, as of every such node; nothing comes out."""
    module = torch_function(Network([3, 1], seed=0))
    with pytest.raises(RuntimeError, match=r"functorch|vmap"):
        transform(lambda X: module(X).sum())(torch.ones(2, 3, dtype=torch.float64))


# ---- parameter and network -----------------------------------------------------------------------


def module_and_copy() -> tuple[Any, Network, Any, Any]:
    net = Network([3, 4, 2], seed=5)
    return torch_function(net), net, rows(net, 6), torch.rand(6, 2, dtype=torch.float64)


def test_the_network_follows() -> None:
    module, net, X, _ = module_and_copy()
    other = Network([3, 4, 2], seed=6).parameters
    # A state that is loaded, also as a part of a larger model.
    nn.Sequential(module).load_state_dict({"0.parameter": torch.from_numpy(other.copy())})
    assert bits(net.parameters) == bits(other)
    # A hand that writes: with the next pass, or when asked to.
    with torch.no_grad():
        module.parameter.mul_(2)
    module(X)
    assert bits(net.parameters) == bits(2 * other)
    with torch.no_grad():
        module.parameter.mul_(2)
    module.agree()
    assert bits(net.parameters) == bits(4 * other)


def test_the_parameter_follows() -> None:
    """Where the network was trained by itself, steps of PyTorch's go on from there."""
    module, net, X, Y = module_and_copy()
    net.fit(X, Y, epochs=2)
    trained = net.parameters
    outputs = module(X)
    assert bits(module.parameter.detach().numpy()) == bits(trained)
    assert bits(outputs.detach().numpy()) == bits(net.predict(X))
    other = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=0.1)
    steps = torch.optim.SGD(module.parameters(), lr=0.1)
    outputs.sum().backward()
    other.step()  # of parameters that are none of ours
    steps.step()
    gradient = net.copy()
    gradient.parameters = trained
    expected = trained - 0.1 * gradient.vjp(X, np.ones((6, 2)))[0].vector
    assert largest_difference(net.parameters, expected) < 1e-15
    # And on its own again.
    net.fit(X, Y, epochs=1)
    assert bits(module(X).detach().numpy()) == bits(net.predict(X))


def test_a_state_has_what_the_network_has_learnt() -> None:
    module, net, X, Y = module_and_copy()
    first = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    net.fit(X, Y, epochs=2)
    trained = net.parameters
    assert bits(module.state_dict()["parameter"].numpy()) == bits(trained)
    # What is loaded counts, also where the parameter has not changed, or both have.
    for change in (None, 2.0):
        net.fit(X, Y, epochs=2)
        if change is not None:
            with torch.no_grad():
                module.parameter.mul_(change)
        module.load_state_dict(first)
        assert bits(net.parameters) == bits(first["parameter"].numpy())
        assert bits(module.parameter.detach().numpy()) == bits(net.parameters)
    # What is not loaded changes nothing.
    net.fit(X, Y, epochs=1)
    trained = net.parameters
    module.load_state_dict({}, strict=False)
    with pytest.raises(RuntimeError, match="size mismatch"):
        module.load_state_dict({"parameter": torch.zeros(3)})
    assert bits(net.parameters) == bits(trained)
    module(X)
    assert bits(module.parameter.detach().numpy()) == bits(trained)


def test_both_have_changed() -> None:
    module, net, X, Y = module_and_copy()
    with torch.no_grad():
        module.parameter.mul_(2)
    net.fit(X, Y, epochs=1)
    own, theirs = net.parameters, module.parameter.detach().clone()
    with pytest.raises(RuntimeError, match="parameter and network have both changed since"):
        module(X)
    assert bits(net.parameters) == bits(own)
    assert torch.equal(module.parameter, theirs)
    module.take_parameter()
    assert bits(net.parameters) == bits(theirs.numpy())
    module(X)


def test_backward_after_a_change() -> None:
    """It is of the numbers of its own forward pass, and leaves those that are there now."""
    module, net, X, Y = module_and_copy()
    expected = net.vjp(X, np.ones((6, 2)))[0]
    before = module(X).sum()
    net.fit(X, Y, epochs=1)
    after = net.parameters
    before.backward()
    assert bits(module.parameter.grad.numpy()) == bits(expected.vector)
    assert bits(net.parameters) == bits(after)


def test_a_parameter_that_is_not_finite() -> None:
    module, net, X, _ = module_and_copy()
    before = bits(net.parameters)
    with torch.no_grad():
        module.parameter[3] = torch.nan
    with pytest.raises(ValueError, match=r"parameters has nan at \[3\]"):
        module(X)
    assert bits(net.parameters) == before


def test_frozen_and_without_a_graph() -> None:
    module, _, X, _ = module_and_copy()
    module.requires_grad_(False)
    assert not module(X).requires_grad
    X = X.requires_grad_()
    module(X).sum().backward()
    assert module.parameter.grad is None
    assert X.grad is not None
    with torch.no_grad():
        assert not module(X).requires_grad


@pytest.mark.parametrize("way", ["prune", "parametrize", "functional_call"])
def test_something_in_the_place_of_the_parameter(way: str) -> None:
    """Computed from others it is computed with, and nothing follows."""
    module, net, X, Y = module_and_copy()
    own = net.parameters
    half = torch.from_numpy(own / 2).requires_grad_()
    call: Any = module

    class Half(nn.Module):
        def forward(self, parameter: Any) -> Any:
            return parameter / 2

    if way == "prune":
        prune.custom_from_mask(module, "parameter", torch.arange(len(own)) % 2)
    elif way == "parametrize":
        parametrize.register_parametrization(module, "parameter", Half())
    else:
        call = lambda X: torch.func.functional_call(module, {"parameter": half}, (X,))  # noqa: E731
    seen = own * (np.arange(len(own)) % 2) if way == "prune" else own / 2
    twin = net.copy()
    twin.parameters = seen
    outputs = call(X)
    assert bits(outputs.detach().numpy()) == bits(twin.predict(X))
    assert bits(net.parameters) == bits(own)
    outputs.sum().backward()
    leaf = half if way == "functional_call" else next(iter(module.parameters()))
    by_seen = twin.vjp(X, np.ones((6, 2)))[0].vector
    slope = {"prune": np.arange(len(own)) % 2, "parametrize": 0.5, "functional_call": 1.0}[way]
    assert largest_difference(leaf.grad, by_seen * slope) < 1e-15
    # A network that is trained meanwhile stays so, and so does what stands in the place.
    net.fit(X, Y, epochs=1)
    trained, before = net.parameters, leaf.detach().clone()
    assert bits(call(X).detach().numpy()) == bits(outputs.detach().numpy())
    assert bits(net.parameters) == bits(trained)
    assert torch.equal(leaf, before)


def test_all_follow_where_one_cannot() -> None:
    """An optimiser of two modules, one of which it makes NaN."""
    modules = [torch_function(Network([3, 2], seed=seed)) for seed in range(3)]
    steps = torch.optim.SGD([module.parameter for module in modules], lr=0.1)
    for place, module in enumerate(modules):
        module.parameter.grad = torch.full_like(module.parameter, torch.nan if place == 1 else 1)
    with pytest.raises(ValueError, match="parameters has nan"):
        steps.step()
    for place in (0, 2):
        assert bits(modules[place].network.parameters) == bits(
            modules[place].parameter.detach().numpy()
        )


def test_a_thread_that_predicts_beside_one_that_trains() -> None:
    """No step is undone."""
    module = torch_function(Network([40, 40], seed=0))
    first = module.parameter.detach().clone()
    X, over = torch.ones(3, 40, dtype=torch.float64), threading.Event()
    failures: list[Exception] = []

    def predict() -> None:
        try:
            while not over.is_set():
                with torch.no_grad():
                    module(X)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=predict)
    thread.start()
    steps = torch.optim.SGD(module.parameters(), lr=2.0**-20)
    try:
        for _ in range(300):
            module.parameter.grad = torch.ones_like(module.parameter)
            steps.step()
    finally:
        over.set()
        thread.join()
    assert failures == []
    expected = first.clone()
    for _ in range(300):
        expected -= 2.0**-20
    assert torch.equal(module.parameter.detach(), expected)
    assert bits(module.network.parameters) == bits(expected.numpy())


@pytest.mark.parametrize("way", ["deepcopy", "save"])
def test_copies(way: str) -> None:
    """With a network of their own, which follows their own parameter."""
    module, net, X, Y = module_and_copy()
    net.fit(X, Y, epochs=1)  # which only the network has learnt
    if way == "deepcopy":
        twin = copy.deepcopy(module)
    else:
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    before = bits(net.parameters)
    assert bits(twin.parameter.detach().numpy()) == bits(twin.network.parameters) == before
    assert torch.equal(twin(X), module(X))
    steps = torch.optim.SGD(twin.parameters(), lr=0.1)
    ((twin(X) - Y) ** 2).sum().backward()
    steps.step()
    assert bits(twin.network.parameters) == bits(twin.parameter.detach().numpy()) != before
    assert bits(net.parameters) == before


def test_tensors_in_the_network_s_own_calls() -> None:
    """A tensor is an array of the same memory; one that has a graph is told what to do."""
    net = Network([3, 2], seed=0)
    X, Y = rows(net, 4), torch.rand(4, 2, dtype=torch.float64)
    assert bits(net.gradient(X, Y).vector) == bits(net.gradient(X.numpy(), Y.numpy()).vector)
    for wrong, cure in (
        (X.clone().requires_grad_(), r"tensor\.detach\(\)\.numpy\(\)"),
        (X.to("meta"), r"Tensor\.cpu\(\)"),
        (X.to_sparse(), r"Tensor\.to_dense\(\)"),
    ):
        with pytest.raises(TypeError, match=rf"^X is .*{cure}"):
            net.predict(wrong)
