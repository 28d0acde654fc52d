"""Dense networks trained in NumPy, PyTorch, JAX and scikit-learn: the same steps as ours.

Each trainer starts from a network's parameters, takes the same batches in the same order and can
give its parameters back in the order of `Network.parameters`. Weights stand as (n_in, n_out), so
that z = a W + b, except where the other way round was measured to be faster (JAX, whose scan trains
784-30-10 a third faster with (n_out, n_in)); delta = ∂C/∂z.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import machine
import numpy as np
from machine import OURS, Array, Run, Session

from cbackprop import SGD, Adam, Network

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True)
class Plan:
    """A network and how it is trained.

    ``optimizer`` is sgd, momentum (0.9) or adam; ``cost`` quadratic, mse or, after softmax,
    cross_entropy.
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    cost: str
    optimizer: str
    learning_rate: float
    batch: int

    def network(self, dtype: str, backend: str = "compiled") -> Network:
        return Network(
            self.sizes,
            list(self.activations),
            self.cost,
            dtype=dtype,
            seed=0,
            threads=machine.THREADS,
            backend=backend,
        )

    def our_optimizer(self) -> SGD | Adam:
        if self.optimizer == "adam":
            return Adam(self.learning_rate)
        return SGD(self.learning_rate, momentum=0.9 if self.optimizer == "momentum" else 0.0)

    def output_factor(self) -> float:
        """What a − y is multiplied by in ∂C/∂a, or in delta after softmax; the mean included."""
        factors = {"quadratic": 2.0, "mse": 2.0 / self.sizes[-1], "cross_entropy": 1.0}
        return factors[self.cost] / self.batch


def installed(session: Session, name: str, shown: str) -> bool:
    """Whether a peer is wanted and there; a printed line if it is not there."""
    if not session.wants_any_of(shown):
        return False
    if importlib.util.find_spec(name) is None:
        print(f"{shown} is not installed: left out")
        return False
    return True


def usable(session: Session, name: str, shown: str) -> bool:
    """Whether a peer that rests on PyTorch is wanted, there, and can be imported."""
    if not installed(session, name, shown):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch_module()
            importlib.import_module(name)
    except Exception as error:  # PyTorch is missing, or has left it behind
        print(f"{shown} cannot be imported ({type(error).__name__}): left out")
        return False
    # What enters the first layer needs no gradient, and so gets none: that is meant.
    warnings.filterwarnings("ignore", "Full backward hook is firing")
    return True


def torch_module() -> Any:
    """PyTorch, on as many threads as ours."""
    import torch

    torch.set_num_threads(machine.THREADS)
    return torch


def jax_modules(dtype: str) -> tuple[Any, Any]:
    """jax and jax.numpy; with float64 where it is asked for."""
    import jax

    jax.config.update("jax_enable_x64", dtype == "float64")
    return jax, jax.numpy


def flat_layers(vector: Any, sizes: Sequence[int]) -> list[tuple[Any, Any]]:
    """W (n_in, n_out) and b (n_out,) of each layer as views of one vector (NumPy or PyTorch)."""
    layers, start = [], 0
    for n_in, n_out in pairwise(sizes):
        end = start + n_in * n_out
        layers.append((vector[start:end].reshape(n_in, n_out), vector[end : end + n_out]))
        start = end + n_out
    return layers


def first_vector(net: Network) -> Array:
    """The network's parameters with each W transposed, for `flat_layers`."""
    parts = []
    for W, b in zip(net.weights, net.biases, strict=True):
        parts += [W.T.ravel(), b]
    return np.concatenate(parts)


def in_our_order(layers: Sequence[tuple[Any, Any]]) -> Array:
    """The vector that `Network.parameters` takes, from W (n_in, n_out) and b of each layer."""
    parts = []
    for W, b in layers:
        parts += [np.asarray(W).T.ravel(), np.asarray(b)]
    return np.concatenate(parts)


class Trainer:
    """One contestant: ``start`` sets it back to the first parameters, ``train`` takes steps."""

    def __init__(self, plan: Plan, net: Network, X: Array, Y: Array) -> None:
        self.plan, self.net, self.X, self.Y = plan, net, X, Y

    def start(self) -> None:
        raise NotImplementedError

    def train(self, steps: int, order: Array | None = None) -> None:
        """The first ``steps`` batches, of the rows as they are or in a given order."""
        raise NotImplementedError

    def parameters(self) -> Array:
        raise NotImplementedError

    def batches(self, steps: int, X: Any, Y: Any) -> Iterator[tuple[Any, Any]]:
        batch = self.plan.batch
        for first in range(0, steps * batch, batch):
            yield X[first : first + batch], Y[first : first + batch]


# ---- ours ----------------------------------------------------------------------------------------


class OursInFit(Trainer):
    """All steps inside one `fit`; an order that is given means our own shuffle."""

    def start(self) -> None:
        self.twin = self.net.copy()

    def train(self, steps: int, order: Array | None = None) -> None:
        n, batch = steps * self.plan.batch, self.plan.batch
        self.twin.fit(
            self.X[:n],
            self.Y[:n],
            epochs=1,
            batch_size=batch,
            optimizer=self.plan.our_optimizer(),
            shuffle=order is not None,
        )

    def parameters(self) -> Array:
        return self.twin.parameters


class OursByCalls(OursInFit):
    """One `partial_fit` a step."""

    def train(self, steps: int, order: Array | None = None) -> None:
        batch, step = self.plan.batch, self.twin.partial_fit
        batches = self.batches(steps, self.X, self.Y)
        x, y = next(batches)
        step(x, y, batch_size=batch, optimizer=self.plan.our_optimizer())
        for x, y in batches:
            step(x, y, batch_size=batch)


# ---- NumPy ---------------------------------------------------------------------------------------


class NumpyMatrices(Trainer):
    """Whole batches as matrices, everything in place and allocated once."""

    def start(self) -> None:
        plan, dtype = self.plan, self.X.dtype
        self.w = first_vector(self.net)
        self.g = np.zeros_like(self.w)
        self.layers = flat_layers(self.w, plan.sizes)
        self.gradients = flat_layers(self.g, plan.sizes)
        self.a = [np.empty((plan.batch, n), dtype) for n in plan.sizes[1:]]
        self.delta = [np.empty((plan.batch, n), dtype) for n in plan.sizes[1:]]
        self.spare = [np.empty((plan.batch, n), dtype) for n in plan.sizes[1:]]
        # The learning rate goes into delta, so that g is the step itself; Adam cannot do that.
        rate = 1.0 if plan.optimizer == "adam" else plan.learning_rate
        self.factor = dtype.type(rate * plan.output_factor())
        self.one, self.zero = dtype.type(1), dtype.type(0)
        self.x = np.empty((plan.batch, plan.sizes[0]), dtype)
        self.y = np.empty((plan.batch, plan.sizes[-1]), dtype)
        self.velocity = np.zeros_like(self.w)
        self.squares = np.zeros_like(self.w)
        self.t = 0

    def train(self, steps: int, order: Array | None = None) -> None:
        if order is None:
            for x, y in self.batches(steps, self.X, self.Y):
                self.step(x, y)
            return
        for rows in order[: steps * self.plan.batch].reshape(steps, -1):
            np.take(self.X, rows, axis=0, out=self.x, mode="clip")
            np.take(self.Y, rows, axis=0, out=self.y, mode="clip")
            self.step(self.x, self.y)

    def step(self, x: Array, y: Array) -> None:
        self.forward(x)
        self.backward(x, y)
        self.update()

    def forward(self, x: Array) -> Array:
        below = x
        for (W, b), a, name in zip(self.layers, self.a, self.plan.activations, strict=True):
            np.matmul(below, W, out=a)
            a += b
            if name == "sigmoid":
                np.negative(a, out=a)
                np.exp(a, out=a)
                a += self.one
                np.reciprocal(a, out=a)
            elif name == "tanh":
                np.tanh(a, out=a)
            elif name == "relu":
                np.maximum(a, self.zero, out=a)
            elif name == "softmax":
                a -= a.max(axis=1, keepdims=True)
                np.exp(a, out=a)
                a /= a.sum(axis=1, keepdims=True)
            below = a
        return below

    def backward(self, x: Array, y: Array) -> None:
        """∂C/∂w into g, times the learning rate where that is a mere factor."""
        last = len(self.layers) - 1
        np.subtract(self.a[last], y, out=self.delta[last])
        self.delta[last] *= self.factor
        for l in range(last, -1, -1):
            self.times_derivative(self.plan.activations[l], self.a[l], self.delta[l], self.spare[l])
            dC_dW, dC_db = self.gradients[l]
            np.matmul((self.a[l - 1] if l > 0 else x).T, self.delta[l], out=dC_dW)
            np.add.reduce(self.delta[l], axis=0, out=dC_db)
            if l > 0:
                np.matmul(self.delta[l], self.layers[l][0].T, out=self.delta[l - 1])

    def times_derivative(self, name: str, a: Array, delta: Array, spare: Array) -> None:
        if name == "sigmoid":
            np.subtract(self.one, a, out=spare)
            spare *= a
        elif name == "tanh":
            np.multiply(a, a, out=spare)
            np.subtract(self.one, spare, out=spare)
        elif name == "relu":
            np.greater(a, self.zero, out=spare)
        else:  # identity; softmax with cross-entropy has a − y as its delta
            return
        delta *= spare

    def update(self) -> None:
        if self.plan.optimizer == "sgd":
            self.w -= self.g
        elif self.plan.optimizer == "momentum":
            self.velocity *= self.w.dtype.type(0.9)
            self.velocity += self.g
            self.w -= self.velocity
        else:
            self.t += 1
            # In blocks that stay in the cache.
            for first in range(0, len(self.w), 16_384):
                self.adam(slice(first, first + 16_384))

    def adam(self, block: slice) -> None:
        number = self.w.dtype.type
        w, g, m, v = self.w[block], self.g[block], self.velocity[block], self.squares[block]
        m *= number(BETA_1)
        v *= number(BETA_2)
        square = g * g
        square *= number(1 - BETA_2)
        v += square
        g *= number(1 - BETA_1)
        m += g
        np.sqrt(v, out=square)
        square *= number((1 - BETA_2**self.t) ** -0.5)
        square += number(EPSILON)
        np.divide(m, square, out=square)
        square *= number(self.plan.learning_rate / (1 - BETA_1**self.t))
        w -= square

    def parameters(self) -> Array:
        return in_our_order(self.layers)


# ---- PyTorch -------------------------------------------------------------------------------------


class TorchByHand(Trainer):
    """The four equations on tensors, without autograd; Adam by PyTorch's fused kernel."""

    def start(self) -> None:
        torch = self.torch = torch_module()
        plan = self.plan
        self.x_all, self.y_all = torch.from_numpy(self.X), torch.from_numpy(self.Y)
        self.w = torch.from_numpy(first_vector(self.net))
        self.g = torch.zeros_like(self.w)
        self.layers = flat_layers(self.w, plan.sizes)
        self.gradients = flat_layers(self.g, plan.sizes)
        rate = 1.0 if plan.optimizer == "adam" else plan.learning_rate
        self.factor = -rate * plan.output_factor()
        self.one = torch.ones((), dtype=self.w.dtype)
        if plan.optimizer == "adam":
            self.w.grad = self.g
            self.adam = torch.optim.Adam([self.w], lr=plan.learning_rate, fused=True, maximize=True)

    def train(self, steps: int, order: Array | None = None) -> None:
        with self.torch.no_grad():
            if order is None:
                for x, y in self.batches(steps, self.x_all, self.y_all):
                    self.step(x, y)
                return
            rows = self.torch.from_numpy(order)[: steps * self.plan.batch].reshape(steps, -1)
            for chosen in rows:
                self.step(self.x_all.index_select(0, chosen), self.y_all.index_select(0, chosen))

    def step(self, x: Any, y: Any) -> None:
        """Delta carries the sign and the learning rate, so that a step is an addition."""
        torch, plan = self.torch, self.plan
        a = [x]
        for (W, b), name in zip(self.layers, plan.activations, strict=True):
            z = torch.addmm(b, a[-1], W)
            if name == "sigmoid":
                z.sigmoid_()
            elif name == "tanh":
                z.tanh_()
            elif name == "relu":
                z.relu_()
            elif name == "softmax":
                z = torch.softmax(z, 1)
            a.append(z)
        delta = torch.sub(a[-1], y).mul_(self.factor)
        for l in range(len(self.layers), 0, -1):
            name, above = plan.activations[l - 1], delta
            if name == "sigmoid":
                above = delta.mul_(torch.addcmul(a[l], a[l], a[l], value=-1))
            elif name == "tanh":
                above = delta.mul_(torch.addcmul(self.one, a[l], a[l], value=-1))
            elif name == "relu":
                above = delta.mul_(a[l] > 0)
            if l > 1:
                delta = torch.mm(above, self.layers[l - 1][0].T)
            if plan.optimizer == "sgd":
                W, b = self.layers[l - 1]
                W.addmm_(a[l - 1].T, above)
                b.add_(above.sum(0))
            elif plan.optimizer == "momentum":
                velocity_W, velocity_b = self.gradients[l - 1]
                velocity_W.addmm_(a[l - 1].T, above, beta=0.9)
                velocity_b.mul_(0.9).add_(above.sum(0))
            else:
                dC_dW, dC_db = self.gradients[l - 1]
                torch.mm(a[l - 1].T, above, out=dC_dW)
                torch.sum(above, 0, out=dC_db)
        if plan.optimizer == "momentum":
            self.w.add_(self.g)
        elif plan.optimizer == "adam":
            self.adam.step()

    def parameters(self) -> Array:
        return in_our_order(self.layers)


def torch_activations() -> dict[str, Any]:
    import torch

    return {"sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def torch_network(plan: Plan, net: Network) -> Any:
    """nn.Sequential with the network's parameters; softmax is left to the cost."""
    torch = torch_module()
    modules, kinds = [], torch_activations()
    for W, b, name in zip(net.weights, net.biases, plan.activations, strict=True):
        W_first, b_first = torch.from_numpy(W.copy()), torch.from_numpy(b.copy())
        linear = torch.nn.Linear(W.shape[1], W.shape[0], dtype=W_first.dtype)
        with torch.no_grad():
            linear.weight.copy_(W_first)
            linear.bias.copy_(b_first)
        modules.append(linear)
        if name in kinds:
            modules.append(kinds[name]())
    return torch.nn.Sequential(*modules)


def torch_total_cost(plan: Plan) -> Any:
    """The quadratic costs' sum as a function of layers, x and y."""
    library = torch_library()

    def total_cost(layers: Any, x: Any, y: Any) -> Any:
        return (forward_by_hand(library, plan, layers, x)[-1] - y).square().sum()

    return total_cost


def torch_compiled(function: Any, *arguments: Any) -> Any:
    """It through torch.compile, tried once; None, and a printed line, where that fails."""
    torch = torch_module()
    try:
        compiled = torch.no_grad()(torch.compile(function))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled(*arguments)
    except Exception as error:  # it needs a C++ compiler, and a version that can
        print(f"torch.compile failed ({type(error).__name__}): left out")
        return None
    return compiled


def opacus_ghost_model(plan: Plan, net: Network) -> Any:
    """Opacus's module whose backward pass leaves norms instead of gradients of single examples."""
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
        GradSampleModuleFastGradientClipping,
    )

    return GradSampleModuleFastGradientClipping(
        torch_network(plan, net), loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=True
    )


class TorchModules(Trainer):
    """nn.Sequential, autograd, and the fused optimiser."""

    def start(self) -> None:
        torch, plan = torch_module(), self.plan
        self.model = torch_network(plan, self.net)
        parameters, rate = self.model.parameters(), plan.learning_rate
        if plan.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, lr=rate, fused=True)
        else:
            momentum = 0.9 if plan.optimizer == "momentum" else 0.0
            self.optimizer = torch.optim.SGD(parameters, lr=rate, momentum=momentum, fused=True)
        self.x_all, self.y_all = torch.from_numpy(self.X), torch.from_numpy(self.Y)
        if plan.cost == "cross_entropy":
            self.y_all = self.y_all.argmax(1)
            self.cost = torch.nn.functional.cross_entropy
        elif plan.cost == "mse":
            self.cost = torch.nn.functional.mse_loss
        else:
            self.cost = lambda a, y: (a - y).square().sum() / plan.batch

    def train(self, steps: int, order: Array | None = None) -> None:
        for x, y in self.batches(steps, self.x_all, self.y_all):
            self.optimizer.zero_grad()
            self.cost(self.model(x), y).backward()
            self.optimizer.step()

    def parameters(self) -> Array:
        return np.concatenate([p.detach().numpy().ravel() for p in self.model.parameters()])


# ---- JAX -----------------------------------------------------------------------------------------


def jax_outputs(plan: Plan, layers: Any, x: Any) -> Any:
    """a of the last layer, or z where softmax follows."""
    import jax

    functions = {
        "sigmoid": jax.nn.sigmoid,
        "tanh": jax.numpy.tanh,
        "relu": jax.nn.relu,
        "identity": lambda z: z,
        "softmax": lambda z: z,
    }
    for (W, b), name in zip(layers, plan.activations, strict=True):
        x = functions[name](x @ W.T + b)
    return x


def jax_cost(plan: Plan, layers: Any, x: Any, y: Any) -> Any:
    """The mean cost of a batch."""
    import jax

    a = jax_outputs(plan, layers, x)
    if plan.cost == "cross_entropy":
        return -(y * jax.nn.log_softmax(a)).sum(axis=1).mean()
    squares = (a - y) ** 2
    return squares.mean() if plan.cost == "mse" else squares.sum(axis=1).mean()


def jax_layers(net: Network) -> Any:
    import jax.numpy as jnp

    return [(jnp.array(W), jnp.array(b)) for W, b in zip(net.weights, net.biases, strict=True)]


class JaxScan(Trainer):
    """All steps inside one compiled `jax.lax.scan`."""

    def start(self) -> None:
        jax, jnp = jax_modules(self.X.dtype.name)
        self.state = self.first_state()
        if hasattr(self, "x_all"):
            return
        self.x_all, self.y_all = jnp.asarray(self.X), jnp.asarray(self.Y)
        batch = self.plan.batch

        def in_order(state: Any, x: Any, y: Any) -> Any:
            batches = (x.reshape(-1, batch, x.shape[1]), y.reshape(-1, batch, y.shape[1]))
            return jax.lax.scan(lambda s, xy: (self.stepped(s, *xy), None), state, batches)[0]

        def shuffled(state: Any, x: Any, y: Any, rows: Any) -> Any:
            def step(s: Any, chosen: Any) -> Any:
                return self.stepped(s, x[chosen], y[chosen]), None

            return jax.lax.scan(step, state, rows.reshape(-1, batch))[0]

        self.in_order = jax.jit(in_order, donate_argnums=0)
        self.shuffled = jax.jit(shuffled, donate_argnums=0)
        self.single = jax.jit(self.stepped, donate_argnums=0)

    def first_state(self) -> Any:
        import jax

        layers = jax_layers(self.net)
        zeros = [jax.tree.map(jax.numpy.zeros_like, layers) for _ in range(2)]
        slots = {"sgd": [], "momentum": zeros[:1], "adam": zeros}[self.plan.optimizer]
        return layers, slots, jax.numpy.zeros((), self.X.dtype)

    def stepped(self, state: Any, x: Any, y: Any) -> Any:
        """One step: the new state."""
        import jax

        layers, slots, t = state
        rate = self.plan.learning_rate
        g = jax.grad(lambda w: jax_cost(self.plan, w, x, y))(layers)
        if self.plan.optimizer == "sgd":
            return jax.tree.map(lambda w, g: w - rate * g, layers, g), slots, t
        if self.plan.optimizer == "momentum":
            velocity = jax.tree.map(lambda v, g: 0.9 * v + g, slots[0], g)
            return jax.tree.map(lambda w, v: w - rate * v, layers, velocity), [velocity], t
        t = t + 1
        m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, slots[0], g)
        v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, slots[1], g)
        rate_now = rate / (1 - BETA_1**t)
        correction = jax.lax.rsqrt(1 - BETA_2**t)
        layers = jax.tree.map(
            lambda w, m, v: w - rate_now * m / (jax.numpy.sqrt(v) * correction + EPSILON),
            layers,
            m,
            v,
        )
        return layers, [m, v], t

    def train(self, steps: int, order: Array | None = None) -> None:
        import jax

        n = steps * self.plan.batch
        if order is not None:
            state = self.shuffled(self.state, self.x_all, self.y_all, self.device_rows(order, n))
        else:
            state = self.in_order(self.state, *self.first_rows(n))
        self.state = jax.block_until_ready(state)

    def first_rows(self, n: int) -> tuple[Any, Any]:
        if n == len(self.X):
            return self.x_all, self.y_all
        return self.x_all[:n], self.y_all[:n]

    def device_rows(self, order: Array, n: int) -> Any:
        return order[:n].astype(np.int32)

    def parameters(self) -> Array:
        return in_our_order([(W.T, b) for W, b in self.state[0]])


class JaxSteps(JaxScan):
    """One call of a compiled step a batch."""

    def train(self, steps: int, order: Array | None = None) -> None:
        import jax

        state, single = self.state, self.single
        for x, y in self.batches(steps, self.X, self.Y):
            state = single(state, x, y)
        self.state = jax.block_until_ready(state)


# ---- scikit-learn --------------------------------------------------------------------------------


class ScikitLearn(Trainer):
    """MLPClassifier where the last layer is softmax, MLPRegressor otherwise; one pass of `fit`."""

    def start(self) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        plan = self.plan
        self.classifies = plan.activations[-1] == "softmax" or len(self.Y[0]) == 10
        hidden = {"sigmoid": "logistic"}.get(plan.activations[0], plan.activations[0])
        kind = MLPClassifier if self.classifies else MLPRegressor
        self.model = kind(
            hidden_layer_sizes=plan.sizes[1:-1],
            activation=hidden,
            solver="adam" if plan.optimizer == "adam" else "sgd",
            alpha=0.0,
            batch_size=plan.batch,
            learning_rate_init=plan.learning_rate,
            momentum=0.9 if plan.optimizer == "momentum" else 0.0,
            nesterovs_momentum=False,
            shuffle=False,
            max_iter=1,
            warm_start=True,
        )
        self.targets = self.Y.argmax(axis=1) if self.classifies else self.Y
        if len(self.Y[0]) == 1:
            self.targets = self.Y[:, 0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.fit(self.X[: 50 * plan.batch], self.targets[: 50 * plan.batch])
        for (W, b), (W_first, b_first) in zip(
            zip(self.model.coefs_, self.model.intercepts_, strict=True),
            zip(self.net.weights, self.net.biases, strict=True),
            strict=True,
        ):
            W[...], b[...] = W_first.T, b_first

    def train(self, steps: int, order: Array | None = None) -> None:
        n = steps * self.plan.batch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one pass is not meant to converge
            self.model.fit(self.X[:n], self.targets[:n])

    def parameters(self) -> Array:
        return in_our_order(list(zip(self.model.coefs_, self.model.intercepts_, strict=True)))


class ScikitLearnByCalls(ScikitLearn):
    """One `partial_fit` a step."""

    def start(self) -> None:
        super().start()
        del self.model._optimizer  # the next call makes another one

    def train(self, steps: int, order: Array | None = None) -> None:
        for x, y in self.batches(steps, self.X, self.targets):
            self.model.partial_fit(x, y)


# ---- gradients by hand, in any of the libraries --------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Library:
    """What the three libraries call differently; W stands as (n_out, n_in)."""

    linear: Callable[[Any, Any, Any], Any]
    sigmoid: Callable[[Any], Any]
    tanh: Callable[[Any], Any]


def numpy_library() -> Library:
    def linear(a: Array, W: Array, b: Array) -> Array:
        z = a @ W.T
        z += b
        return z

    def sigmoid(z: Array) -> Array:
        np.negative(z, out=z)
        np.exp(z, out=z)
        z += z.dtype.type(1)
        return np.reciprocal(z, out=z)

    return Library(linear, sigmoid, np.tanh)


def torch_library() -> Library:
    torch = torch_module()
    return Library(torch.nn.functional.linear, torch.sigmoid, torch.tanh)


def jax_library() -> Library:
    import jax

    return Library(lambda a, W, b: a @ W.T + b, jax.nn.sigmoid, jax.numpy.tanh)


def forward_by_hand(library: Library, plan: Plan, layers: Any, x: Any) -> list[Any]:
    """a of every layer, the input's first; sigmoid and tanh only."""
    functions = {"sigmoid": library.sigmoid, "tanh": library.tanh}
    a = [x]
    for (W, b), name in zip(layers, plan.activations, strict=True):
        a.append(functions[name](library.linear(a[-1], W, b)))
    return a


def derivative_by_hand(name: str, a: Any) -> Any:
    return a * (1 - a) if name == "sigmoid" else 1 - a * a


def deltas_by_hand(plan: Plan, layers: Any, a: list[Any], dC_da: Any) -> list[Any]:
    """delta = ∂C/∂z of every layer but the input, each example's own."""
    deltas: list[Any] = []
    for l in range(len(layers) - 1, -1, -1):
        deltas.insert(0, dC_da * derivative_by_hand(plan.activations[l], a[l + 1]))
        if l > 0:
            dC_da = deltas[0] @ layers[l][0]
    return deltas


def passes_by_hand(
    library: Library, plan: Plan, layers: Any, x: Any, y: Any, n: int = 1
) -> tuple[list[Any], list[Any]]:
    """a and delta of every layer, of the quadratic costs over n."""
    a = forward_by_hand(library, plan, layers, x)
    return a, deltas_by_hand(plan, layers, a, (2 / n) * (a[-1] - y))


def blocks(size: int, *arrays: Any) -> Iterator[tuple[Any, ...]]:
    """So many rows of each array at a time."""
    for first in range(0, len(arrays[0]), size):
        yield tuple(array[first : first + size] for array in arrays)


def summed_in_blocks(of_block: Callable[..., list[Any]], size: int, *arrays: Any) -> list[Any]:
    """The sum of the lists of arrays made of so many rows at a time, added in place."""
    total: list[Any] = []
    for rows in blocks(size, *arrays):
        part = of_block(*rows)
        for whole, addend in zip(total, part, strict=True) if total else ():
            whole += addend
        total = total or part
    return total


def pairs(arrays: Sequence[Any]) -> list[tuple[Any, Any]]:
    """(W, b), (W, b), … from W, b, W, b, …"""
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def named(sizes: Sequence[int]) -> str:
    return "-".join(str(n) for n in sizes)


def require_same_results(
    session: Session, calls: dict[str, Callable[[], Any]], converted: Callable[[Any], Any]
) -> None:
    """What the calls return agrees, converted to an array or a list of arrays.

    It is the second result of each: one that keeps something from call to call shows it there.
    """
    for call in calls.values():
        call()
    machine.require_same(
        {name: converted(call()) for name, call in calls.items()},
        1e-4 if session.dtype == "float32" else 1e-12,
    )


def example_views(out: Any, sizes: Sequence[int]) -> list[tuple[Any, Any]]:
    """∂C_i/∂W (n, n_out, n_in) and ∂C_i/∂b (n, n_out) of each layer as views of out (n, P)."""
    views, start, n = [], 0, len(out)
    for n_in, n_out in pairwise(sizes):
        end = start + n_in * n_out
        views.append((out[:, start:end].reshape(n, n_out, n_in), out[:, end : end + n_out]))
        start = end + n_out
    return views


def our_layers(net: Network, converted: Callable[[Array], Any]) -> list[tuple[Any, Any]]:
    """W (n_out, n_in) and b of each layer, copied and converted to a library's arrays."""
    pairs = zip(net.weights, net.biases, strict=True)
    return [(converted(W.copy()), converted(b.copy())) for W, b in pairs]


def side_by_side(layers: Any, n: int) -> Any:
    """(n, P) from ∂C_i/∂W and ∂C_i/∂b of each layer (NumPy arrays or what becomes them)."""
    parts = []
    for W, b in layers:
        parts += [np.asarray(W).reshape(n, -1), np.asarray(b).reshape(n, -1)]
    return np.concatenate(parts, axis=1)


# ---- the comparison ------------------------------------------------------------------------------

SCIKIT_LEARN = "scikit-learn"


def trainers(session: Session, by_calls: bool) -> dict[str, type[Trainer]]:
    """Ours and the peers that are installed."""
    found: dict[str, type[Trainer]] = {OURS: OursByCalls if by_calls else OursInFit}
    found["NumPy, matrices in place"] = NumpyMatrices
    if installed(session, "torch", "PyTorch"):
        found["PyTorch, by hand"] = TorchByHand
        found["PyTorch, modules and fused"] = TorchModules
    if installed(session, "jax", "JAX"):
        found["JAX, a call a step"] = JaxSteps
        found["JAX, scan over all steps"] = JaxScan
    if installed(session, "sklearn", SCIKIT_LEARN):
        found[SCIKIT_LEARN] = ScikitLearnByCalls if by_calls else ScikitLearn
    return found


def check_costs(
    session: Session, contestants: dict[str, Trainer], steps: int, other_work: Sequence[str]
) -> None:
    """All have the same cost and parameters after a few steps; otherwise an end with an error.

    Differences count in relation to what training has changed: a wrong factor shows there. With
    relu and Adam they reach 0.4 % in float32, when one z near 0 falls on the other side.
    scikit-learn has Adam's ε in another place, which counts where a gradient is tiny.
    """
    judged = {name: c for name, c in contestants.items() if name not in other_work}
    if not judged:
        return
    reference = next(iter(judged.values()))
    judge, X, Y = reference.net.copy(), reference.X[:1000], reference.Y[:1000]
    first, first_cost = judge.parameters, judge.cost(X, Y)
    costs: dict[str, float] = {}
    ends: dict[str, Array] = {}
    for name, trainer in judged.items():
        trainer.start()
        trainer.train(steps)
        judge.parameters = ends[name] = trainer.parameters().copy()
        costs[name] = judge.cost(X, Y)
    print(f"cost before {first_cost:.6f}, after {steps} steps:")
    print("  " + ", ".join(f"{name} {cost:.7f}" for name, cost in costs.items()))
    cost, end = next(iter(costs.values())), next(iter(ends.values()))
    change, way = abs(cost - first_cost), np.linalg.norm(end - first)
    if not change > 1e-4 * first_cost:
        raise SystemExit("the cost has not changed: nothing was trained")
    adam = reference.plan.optimizer == "adam"
    for name in judged:
        allowed = session.tolerance * (10 if adam else 1)
        if adam and name == SCIKIT_LEARN:
            allowed = 0.1
        apart = np.linalg.norm(ends[name] - end) / way
        if not (abs(costs[name] - cost) <= allowed * change and apart <= allowed):
            raise SystemExit(
                f"{name}: after {steps} steps the parameters are {apart:.2g} of their way apart "
                "from the first's: not the same work"
            )


def timed(trainer: Trainer, steps: int, items: int, order: Array | None = None) -> Run:
    """A run of so many steps from the first parameters; seconds an item."""

    def run() -> float:
        trainer.start()
        start = time.perf_counter()
        trainer.train(steps, order)
        return (time.perf_counter() - start) / items

    return run


def compare_training(
    session: Session,
    workload: str,
    title: str,
    plan: Plan,
    X: Array,
    Y: Array,
    *,
    by_calls: bool = False,
    check_steps: int = 100,
    target: float | None = None,
    shuffled_target: float | None = None,
    shuffled: bool = False,
    other_work: Sequence[str] = (),
    leave_out: Sequence[str] = (),
) -> None:
    """Train over all rows, ours beside the peers: once in order and, if wanted, once shuffled.

    By calls, an item is a step and the unit µs; otherwise an item is an example.
    """
    net = plan.network(session.dtype)
    steps = len(X) // plan.batch
    items = steps if by_calls else steps * plan.batch
    contestants = {
        name: kind(plan, net, X, Y)
        for name, kind in trainers(session, by_calls).items()
        if session.wanted(name) and name not in leave_out
    }
    check_costs(session, contestants, min(check_steps, steps), other_work)
    limit = session.limits.seconds_of_arithmetic(
        machine.gradient_multiply_adds(plan.sizes),
        machine.n_exponentials(plan.sizes, plan.activations),
    )
    unit = "examples/s"
    if by_calls:
        limit, unit = limit * plan.batch, "µs"
    session.report(
        workload,
        title,
        {name: timed(trainer, steps, items) for name, trainer in contestants.items()},
        unit=unit,
        limit=limit,
        target=target,
        other_work=other_work,
    )
    if shuffled:
        order = np.random.default_rng(1).permutation(len(X))
        able = (OursInFit, NumpyMatrices, TorchByHand, JaxScan)
        session.report(
            workload,
            f"{title}, shuffled",
            {
                name: timed(trainer, steps, items, order)
                for name, trainer in contestants.items()
                if isinstance(trainer, able) and not isinstance(trainer, JaxSteps)
            },
            unit=unit,
            limit=limit,
            target=shuffled_target,
        )
