"""The gradient toolbox against PyTorch's torch.func, which differentiates plain definitions.

PyTorch is given numbers alone: a network, its activations and costs are written out below, and
torch.func differentiates them. On random networks every quantity must agree in float64 within 1e-11
relative: for every activation, every cost and every pair of output activation and cost that fit
together.

PyTorch is no better than float64 itself, and some of its formulas lose digits where units saturate
(σ′ as a(1 − a), poisson's logarithm of a). So every |z| stays below 3 here; saturated units are
judged with hundreds of digits in test_calculus.py. Kinks are kept at a distance that no rounding
crosses: what holds at a kink is a convention, and has tests of its own.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from support import every_backend

from cbackprop import Network, functions
from cbackprop.random_numbers import RandomNumbers

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

# Threads only wait for each other on arrays as small as these.
torch.set_num_threads(1)

# torch.func.jvp itself calls what PyTorch no longer recommends.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")

Tensor = Any

BOUND = 1e-11
# Errors of rows smaller than this are taken relative to this. Such rows are exactly 0, but PyTorch
# may find some 1e-17 instead: a softmax of two outputs that mae pulls in the same direction.
FLOOR = 1e-4
LARGEST_Z = 3.0
DISTANCE_FROM_KINKS = 1e-8
NETWORKS_PER_PAIR = 5
# Every tenth network is wider than most vectors and has more examples than a tile has rows.
WIDTHS, WIDE = (1, 7), (8, 20)
COUNTS, MANY = (1, 6), (15, 20)


# ---- definitions ---------------------------------------------------------------------------------


def gelu(z: Tensor) -> Tensor:
    # With erfc: 1 + erf, as in torch's own, cancels for negative z.
    return z * torch.erfc(-z / math.sqrt(2)) / 2


def softplus(z: Tensor) -> Tensor:
    return torch.logaddexp(z, torch.zeros_like(z))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.nn.functional.relu,
    "leaky_relu": lambda z: torch.nn.functional.leaky_relu(z, 0.01),
    "elu": torch.nn.functional.elu,
    "selu": torch.nn.functional.selu,
    "gelu": gelu,
    "silu": torch.nn.functional.silu,
    "softplus": softplus,
    "softsign": torch.nn.functional.softsign,
    "exponential": torch.exp,
    "identity": lambda z: z,
    "softmax": lambda z: torch.softmax(z, dim=-1),
}


def sigmoid_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """−Σ y ln σ(z) + (1−y) ln(1−σ(z)), with ln σ(z) = −softplus(−z)."""
    return torch.sum(y * softplus(-z) + (1 - y) * softplus(z))


def softmax_cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """−Σ y ln a."""
    return -torch.sum(y * torch.log_softmax(z, dim=-1))


def huber(a: Tensor, y: Tensor) -> Tensor:
    size = torch.abs(a - y)
    return torch.mean(torch.where(size <= 1, size**2 / 2, size - 0.5))


# C_i of one example from its outputs a.
COSTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "quadratic": lambda a, y: torch.sum((a - y) ** 2),
    "half_quadratic": lambda a, y: torch.sum((a - y) ** 2) / 2,
    "mse": lambda a, y: torch.mean((a - y) ** 2),
    "mae": lambda a, y: torch.mean(torch.abs(a - y)),
    "huber": huber,
    "poisson": lambda a, y: torch.mean(a - y * torch.log(a)),
}
# The same from its z of the output layer.
COSTS_FROM_Z = {"sigmoid": sigmoid_cross_entropy, "softmax": softmax_cross_entropy}

HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]
PAIRS = [
    *itertools.product(ACTIVATIONS, ("quadratic", "half_quadratic", "mse", "mae", "huber")),
    *itertools.product(COSTS_FROM_Z, ["cross_entropy"]),
    *itertools.product(("exponential", "softplus", "sigmoid", "softmax"), ["poisson"]),
]


@dataclass(frozen=True, eq=False)
class Case:
    """A network, two sets of examples and a direction in the space of the parameters."""

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    cost: str
    parameters: Tensor
    X: Tensor
    Y: Tensor
    X2: Tensor
    Y2: Tensor
    sample_weight: Tensor
    v: Tensor
    V: Tensor
    dX: Tensor

    def layers(self, parameters: Tensor, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """z and a of every layer for one example."""
        zs, activations, start = [], [x], 0
        for n_in, n_out, name in zip(self.sizes, self.sizes[1:], self.activations, strict=False):
            middle = start + n_out * n_in
            W = parameters[start:middle].reshape(n_out, n_in)
            b = parameters[middle : middle + n_out]
            start = middle + n_out
            zs.append(W @ activations[-1] + b)
            activations.append(ACTIVATIONS[name](zs[-1]))
        return zs, activations

    def outputs(self, parameters: Tensor, x: Tensor) -> Tensor:
        """a of the output layer."""
        return self.layers(parameters, x)[1][-1]

    def inner(self, parameters: Tensor, x: Tensor) -> Tensor:
        """What the cost is a convex function of: z of the output layer for cross_entropy, or a."""
        z, a = self.layers(parameters, x)
        return z[-1] if self.cost == "cross_entropy" else a[-1]

    def cost_of_inner(self, inner: Tensor, y: Tensor) -> Tensor:
        if self.cost == "cross_entropy":
            return COSTS_FROM_Z[self.activations[-1]](inner, y)
        return COSTS[self.cost](inner, y)

    def example_cost(self, parameters: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """C_i."""
        return self.cost_of_inner(self.inner(parameters, x), y)

    def costs(self, parameters: Tensor) -> Tensor:
        """Every C_i, (n,)."""
        return torch.func.vmap(self.example_cost, (None, 0, 0))(parameters, self.X, self.Y)

    def mean_cost(self, parameters: Tensor) -> Tensor:
        return torch.mean(self.costs(parameters))

    def network(self, backend: str) -> Network:
        net = Network(self.sizes, list(self.activations), self.cost, backend=backend, seed=0)
        net.parameters = self.parameters.numpy()
        return net

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        return f"{sizes} {', '.join(self.activations)}; {self.cost}; n = {len(self.X)}"


def random_case(number: int, output: str, cost: str) -> Case:
    """1 to 4 layers; their widths and the numbers of examples as above."""
    random = RandomNumbers(number)

    def integer(low: int, high: int) -> int:
        return low + int(random.uniform(1)[0] * (high - low + 1))

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(random.normal(math.prod(shape)).reshape(shape))

    def targets(n: int) -> Tensor:
        shape = (n, sizes[-1])
        if cost == "cross_entropy":
            # Probabilities, some of them 0 or 1.
            return torch.clamp(1.5 * uniform(*shape) - 0.25, 0, 1)
        if cost == "poisson":
            return torch.floor(4 * uniform(*shape))
        return 1.5 * normal(*shape)

    def uniform(*shape: int) -> Tensor:
        return torch.from_numpy(random.uniform(math.prod(shape)).reshape(shape))

    depth = 1 + number % 4
    widths, counts = (WIDE, MANY) if number % 10 == 9 else (WIDTHS, COUNTS)
    sizes = tuple(integer(*widths) for _ in range(depth + 1))
    if output == "softmax":  # A network refuses one of a single output, which would always be 1.
        sizes = (*sizes[:-1], max(2, sizes[-1]))
    activations = (*(HIDDEN[integer(0, len(HIDDEN) - 1)] for _ in range(depth - 1)), output)
    n, n2 = integer(*counts), integer(*counts)
    X = normal(n + n2, sizes[0])
    a, parts = X, []
    for (n_in, n_out), name in zip(pairwise(sizes), activations, strict=True):
        W, b = normal(n_out, n_in) * math.sqrt(2 / n_in), normal(n_out) / 2
        largest = float(torch.max(torch.abs(a @ W.T + b)))
        shrink = min(1.0, LARGEST_Z / largest)
        W, b = W * shrink, b * shrink
        a = ACTIVATIONS[name](a @ W.T + b)
        parts += [W.ravel(), b]
    parameters = torch.cat(parts)
    sample_weight = 2 * uniform(n)
    sample_weight[1:2] = 0
    return Case(
        sizes,
        activations,
        cost,
        parameters,
        X[:n],
        targets(n),
        X[n:],
        targets(n2),
        sample_weight,
        normal(len(parameters)),
        normal(n, sizes[-1]),
        normal(n, sizes[0]),
    )


@functools.cache
def cases() -> list[Case]:
    pairs = PAIRS * NETWORKS_PER_PAIR
    return [random_case(number, *pair) for number, pair in enumerate(pairs)]


def test_the_networks_cover_every_activation_and_cost() -> None:
    assert set(ACTIVATIONS) == set(functions.ACTIVATIONS)
    assert {*COSTS, "cross_entropy"} == set(functions.COSTS)
    fitting = {
        (output, cost)
        for cost in functions.COSTS
        for output in functions.COSTS[cost].outputs or functions.ACTIVATIONS
    }
    assert len(cases()) >= 200
    assert {(case.activations[-1], case.cost) for case in cases()} == fitting
    assert {name for case in cases() for name in case.activations[:-1]} == set(HIDDEN)
    assert {len(case.activations) for case in cases()} == {1, 2, 3, 4}
    assert {size for case in cases() for size in case.sizes} == set(range(1, 21))
    assert {len(case.X) for case in cases()} == {*range(1, 7), *range(15, 21)}


def test_the_points_lie_off_kinks_and_out_of_saturation() -> None:
    near_and_far = set()
    for case in cases():
        run = torch.func.vmap(case.layers, (None, 0))
        for X, Y in ((case.X, case.Y), (case.X2, case.Y2)):
            z, a = run(case.parameters, X)
            distances = []
            for z_l, name in zip(z, case.activations, strict=True):
                assert torch.max(torch.abs(z_l)) <= LARGEST_Z * (1 + 1e-12), str(case)
                if name in ("relu", "leaky_relu", "elu", "selu", "softsign"):
                    distances.append(torch.abs(z_l))
            size = torch.abs(a[-1] - Y)
            if case.cost == "mae":
                distances.append(size)
            if case.cost == "huber":
                distances.append(torch.abs(size - 1))
                near_and_far |= set((size <= 1).ravel().tolist())
            for distance in distances:
                assert torch.min(distance) > DISTANCE_FROM_KINKS, str(case)
    assert near_and_far == {True, False}


def test_clipping_shortens_some_gradients_and_leaves_others() -> None:
    shortened = [gradient_norms(case) > max_norm(case) for case in cases()]
    assert sum(bool(torch.all(each)) for each in shortened) >= 20
    assert sum(bool(torch.any(each) and not torch.all(each)) for each in shortened) >= 200


# ---- what PyTorch finds --------------------------------------------------------------------------


@functools.cache
def per_example_gradients(case: Case) -> Tensor:
    each = torch.func.vmap(torch.func.grad(case.example_cost), (None, 0, 0))
    return each(case.parameters, case.X, case.Y)


@functools.cache
def per_example_gradients_of_the_second_set(case: Case) -> Tensor:
    each = torch.func.vmap(torch.func.grad(case.example_cost), (None, 0, 0))
    return each(case.parameters, case.X2, case.Y2)


@functools.cache
def mean_gradient(case: Case) -> Tensor:
    return torch.func.grad(case.mean_cost)(case.parameters)


@functools.cache
def weighted_gradient(case: Case) -> Tensor:
    w = case.sample_weight
    return torch.func.grad(lambda p: torch.sum(w * case.costs(p)) / torch.sum(w))(case.parameters)


def gradient_norms(case: Case) -> Tensor:
    return torch.linalg.vector_norm(per_example_gradients(case), dim=1)


def max_norm(case: Case) -> float:
    """The longest gradient is shortened, shorter ones are not."""
    return 0.7 * float(torch.max(gradient_norms(case))) or 1.0


def clipped_gradient(case: Case) -> Tensor:
    G, norms = per_example_gradients(case), gradient_norms(case)
    return torch.mean(G * torch.clamp(max_norm(case) / norms, max=1)[:, None], dim=0)


@functools.cache
def jacobian(case: Case) -> Tensor:
    return torch.func.vmap(torch.func.jacrev(case.outputs, 0), (None, 0))(case.parameters, case.X)


@functools.cache
def input_jacobian(case: Case) -> Tensor:
    return torch.func.vmap(torch.func.jacrev(case.outputs, 1), (None, 0))(case.parameters, case.X)


@functools.cache
def input_gradient(case: Case) -> Tensor:
    each = torch.func.vmap(torch.func.grad(case.example_cost, 1), (None, 0, 0))
    return each(case.parameters, case.X, case.Y)


@functools.cache
def hessian_vector_product(case: Case) -> Tensor:
    return torch.func.jvp(torch.func.grad(case.mean_cost), (case.parameters,), (case.v,))[1]


@functools.cache
def gauss_newton_vector_product(case: Case) -> Tensor:
    """(1/n) Σ_i JᵢᵀHᵢJᵢ v: forward along v, through the Hessian of the cost, and back."""

    def inner(parameters: Tensor) -> Tensor:
        return torch.func.vmap(case.inner, (None, 0))(parameters, case.X)

    values, Jv = torch.func.jvp(inner, (case.parameters,), (case.v,))
    H = torch.func.vmap(torch.func.hessian(case.cost_of_inner))(values, case.Y)
    HJv = torch.einsum("nij,nj->ni", H, Jv)
    return torch.func.vjp(inner, case.parameters)[1](HJv)[0] / len(case.X)


def all_outputs(case: Case) -> Callable[[Tensor, Tensor], Tensor]:
    return torch.func.vmap(case.outputs, (None, 0))


@functools.cache
def vjp(case: Case) -> tuple[Tensor, Tensor]:
    return torch.func.vjp(all_outputs(case), case.parameters, case.X)[1](case.V)


@functools.cache
def jvp(case: Case) -> Tensor:
    return torch.func.jvp(all_outputs(case), (case.parameters, case.X), (case.v, case.dX))[1]


# ---- the comparison ------------------------------------------------------------------------------


def relative_error(x: Any, y: Tensor, by_row: bool) -> float:
    """The largest of max|x − y| / max|y|, each row by itself or the whole at once.

    Single numbers of a row may be the differences of larger ones, so that neither side has 11 of
    their digits; the row's largest is the measure. Below FLOOR it is FLOOR.
    """
    x, y = np.asarray(x), y.detach().numpy()
    assert x.shape == y.shape
    assert x.dtype == y.dtype == np.float64
    n_rows = len(x) if by_row else 1
    x, y = x.reshape(n_rows, -1), y.reshape(n_rows, -1)
    scale = np.maximum(np.abs(y).max(axis=1), FLOOR)
    return float((np.abs(x - y).max(axis=1) / scale).max())


def assert_equal_everywhere(
    backend: str,
    computed: Callable[[Network, Case], Any],
    expected: Callable[[Case], Tensor],
    by_row: bool = False,
) -> None:
    """On every network, within BOUND; by_row where a row is an example's own."""
    errors = [
        (relative_error(computed(case.network(backend), case), expected(case), by_row), case)
        for case in cases()
    ]
    wrong = [f"{error:.2g}  {case}" for error, case in errors if not error <= BOUND]
    # For pytest -rP: how far below the bound.
    print(f"{backend}: largest relative error {max(error for error, _ in errors):.2g}")
    assert not wrong, f"{len(wrong)} of {len(errors)} networks:\n" + "\n".join(wrong)


@every_backend
def test_per_example_costs(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.cost(case.X, case.Y, per_example=True),
        lambda case: case.costs(case.parameters),
        by_row=True,
    )


@every_backend
def test_mean_costs_beside_the_gradients(backend: str) -> None:
    def computed(net: Network, case: Case) -> list[float]:
        X, Y = case.X, case.Y
        return [
            net.cost(X, Y),
            net.gradient(X, Y).cost,
            net.clipped_gradient(X, Y, max_norm(case)).cost,
            net.gradient_moments(X, Y)[0].cost,
        ]

    assert_equal_everywhere(
        backend, computed, lambda case: case.mean_cost(case.parameters).repeat(4), by_row=True
    )


@every_backend
def test_variance_of_the_costs_beside_the_moments(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: [net.gradient_moments(case.X, case.Y)[1].cost],
        lambda case: torch.var(case.costs(case.parameters), dim=0, correction=0).reshape(1),
    )


@every_backend
def test_per_example_gradients(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.gradient(case.X, case.Y, per_example=True).vector,
        per_example_gradients,
        by_row=True,
    )


@every_backend
def test_mean_gradient(backend: str) -> None:
    assert_equal_everywhere(
        backend, lambda net, case: net.gradient(case.X, case.Y).vector, mean_gradient
    )


@every_backend
def test_gradient_with_sample_weight(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.gradient(case.X, case.Y, sample_weight=case.sample_weight).vector,
        weighted_gradient,
    )


@every_backend
def test_gradient_norms(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.gradient_norms(case.X, case.Y),
        gradient_norms,
        by_row=True,
    )


@every_backend
def test_clipped_gradient(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.clipped_gradient(case.X, case.Y, max_norm(case)).vector,
        clipped_gradient,
    )


@every_backend
def test_gradient_gram_within_a_set(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.gradient_gram(case.X, case.Y),
        lambda case: per_example_gradients(case) @ per_example_gradients(case).T,
        by_row=True,
    )


@every_backend
def test_gradient_gram_between_two_sets(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.gradient_gram(case.X, case.Y, case.X2, case.Y2),
        lambda case: per_example_gradients(case) @ per_example_gradients_of_the_second_set(case).T,
        by_row=True,
    )


@every_backend
def test_gradient_moments_mean(backend: str) -> None:
    assert_equal_everywhere(
        backend, lambda net, case: net.gradient_moments(case.X, case.Y)[0].vector, mean_gradient
    )


@every_backend
def test_gradient_moments_variance(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.gradient_moments(case.X, case.Y)[1].vector,
        lambda case: torch.var(per_example_gradients(case), dim=0, correction=0),
    )


@every_backend
def test_jacobian(backend: str) -> None:
    assert_equal_everywhere(backend, lambda net, case: net.jacobian(case.X), jacobian, by_row=True)


@every_backend
def test_input_gradient(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.input_gradient(case.X, case.Y),
        input_gradient,
        by_row=True,
    )


@every_backend
def test_input_jacobian(backend: str) -> None:
    assert_equal_everywhere(
        backend, lambda net, case: net.input_jacobian(case.X), input_jacobian, by_row=True
    )


@every_backend
def test_hessian_vector_product(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.hessian_vector_product(case.X, case.Y, case.v),
        hessian_vector_product,
    )


@every_backend
def test_gauss_newton_vector_product(backend: str) -> None:
    assert_equal_everywhere(
        backend,
        lambda net, case: net.gauss_newton_vector_product(case.X, case.Y, case.v),
        gauss_newton_vector_product,
    )


# ---- what the pages say of PyTorch ---------------------------------------------------------------


def test_losses_of_pytorch() -> None:
    """Those that docs/training.md names beside the costs."""
    random = RandomNumbers(3)
    net = Network([4, 6], seed=0)
    X, Y = random.normal(8 * 4).reshape(8, 4), random.uniform(8 * 6).reshape(8, 6)
    nn, one_hot = torch.nn, np.eye(6)[np.arange(8) % 6]
    for cost, output, loss, targets, factor in (
        ("mse", "sigmoid", nn.MSELoss(), Y, 1),
        ("mae", "sigmoid", nn.L1Loss(), Y, 1),
        ("huber", "identity", nn.HuberLoss(), 3 * Y, 1),
        ("poisson", "exponential", nn.PoissonNLLLoss(log_input=False), 3 * Y, 1),
        ("cross_entropy", "sigmoid", nn.BCELoss(), Y, 6),
        ("cross_entropy", "softmax", nn.CrossEntropyLoss(), one_hot, 1),
    ):
        net = Network([4, 6], output, cost, seed=0)  # type: ignore[arg-type]
        values = net.forward(X)
        given = values.z[1] if output == "softmax" else values.a[1]
        found = factor * loss(torch.tensor(given), torch.tensor(targets)).item()
        assert net.cost(X, targets) == pytest.approx(found, rel=1e-7), cost


@every_backend
def test_vjp(backend: str) -> None:
    assert_equal_everywhere(
        backend, lambda net, case: net.vjp(case.X, case.V)[0].vector, lambda case: vjp(case)[0]
    )
    assert_equal_everywhere(
        backend,
        lambda net, case: net.vjp(case.X, case.V)[1],
        lambda case: vjp(case)[1],
        by_row=True,
    )


@every_backend
def test_jvp(backend: str) -> None:
    assert_equal_everywhere(
        backend, lambda net, case: net.jvp(case.X, case.v, case.dX), jvp, by_row=True
    )
