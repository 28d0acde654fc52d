"""W8: the gradient of each of 256 examples, 784-128-64-10, sigmoid, quadratic cost.

    python benchmarks/per_example_gradients.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

By hand means δ_j a_k for each example, written into one reused array of 256 × 109,386 numbers where
the library can; all are limited by writing it, and ours is measured by writing as much and nothing
else. JAX by hand gives its last result's memory back for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import machine
import numpy as np
import peers
from machine import OURS, Array, Session

from cbackprop import Network

N, SIZES = 256, (784, 128, 64, 10)
PLAN = peers.Plan(SIZES, ("sigmoid",) * 3, "quadratic", "sgd", 0.1, batch=1)


def main() -> None:
    session = Session(__doc__)
    measure(session, "W8", PLAN.network(session.dtype), *session.mnist(N), target=1.6)
    session.finish()


def measure(
    session: Session, workload: str, net: Network, X: Array, Y: Array, target: float
) -> None:
    n, P = len(X), net.n_parameters
    out = np.empty((n, P), session.dtype)
    calls: dict[str, Any] = {OURS: lambda: net.gradient(X, Y, per_example=True, out=out).vector}
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)
    numpy_out = np.empty_like(out)
    views = peers.example_views(numpy_out, net.sizes)

    def numpy_by_hand() -> Array:
        a, deltas = peers.passes_by_hand(library, PLAN, layers, X, Y)
        for (dC_dW, dC_db), below, delta in zip(views, a[:-1], deltas, strict=True):
            np.multiply(delta[:, :, None], below[:, None, :], out=dC_dW)
            dC_db[...] = delta
        return numpy_out

    calls["NumPy, by hand"] = numpy_by_hand
    if peers.installed(session, "torch", "PyTorch"):
        calls.update(torch_calls(net, X, Y))
    if peers.usable(session, "opacus", "Opacus"):
        calls["Opacus"] = opacus_call(net, X, Y)
    if peers.usable(session, "backpack", "BackPACK"):
        calls["BackPACK"] = backpack_call(net, X, Y)
    if peers.installed(session, "jax", "JAX"):
        calls.update(jax_calls(net, X, Y))
    calls = {name: call for name, call in calls.items() if session.wanted(name)}
    peers.require_same_results(session, calls, lambda result: in_layers(result, net.sizes))
    yardsticks = machine.writing(out)
    session.report(
        workload,
        f"gradients of {n} examples, {peers.named(net.sizes)}",
        {name: machine.repeated(call, 3) for name, call in calls.items()} | yardsticks,
        unit="ms",
        limit=out.nbytes / session.limits.bytes_written,
        limited_by=f"{out.nbytes / 1e6:.0f} MB written to memory",
        target=target,
        yardsticks=list(yardsticks),
        most=1 / 0.70,
    )


def in_layers(result: Any, sizes: Sequence[int]) -> list[Any]:
    """∂C_i/∂W and ∂C_i/∂b of each layer, from rows that hold all or from pairs of them."""
    layers = result if isinstance(result, list) else peers.example_views(result, sizes)
    return [derivatives for layer in layers for derivatives in layer]


def torch_calls(net: Network, X: Array, Y: Array) -> dict[str, Any]:
    torch = peers.torch_module()
    library, layers = peers.torch_library(), peers.our_layers(net, torch.from_numpy)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)

    def into(outer_product: Any) -> Any:
        """By hand into a reused array, with one of the two calls that can."""
        out = torch.zeros((len(x), net.n_parameters), dtype=x.dtype)
        views = peers.example_views(out, net.sizes)

        @torch.no_grad()
        def call() -> Any:
            a, deltas = peers.passes_by_hand(library, PLAN, layers, x, y)
            for (dC_dW, dC_db), below, delta in zip(views, a[:-1], deltas, strict=True):
                outer_product(delta[:, :, None], below[:, None, :], out=dC_dW)
                dC_db.copy_(delta)
            return out

        return call

    @torch.no_grad()
    def einsum() -> Any:
        a, deltas = peers.passes_by_hand(library, PLAN, layers, x, y)
        return [
            (torch.einsum("nj,nk->njk", delta, below), delta)
            for below, delta in zip(a[:-1], deltas, strict=True)
        ]

    gradients = torch.func.vmap(torch.func.grad(peers.torch_total_cost(PLAN)), (None, 0, 0))
    return {
        "PyTorch, by hand": into(torch.mul),
        "PyTorch, by hand with bmm": into(torch.bmm),
        "PyTorch, einsum": einsum,
        "PyTorch, torch.func": lambda: gradients(layers, x, y),
    }


def opacus_call(net: Network, X: Array, Y: Array) -> Any:
    from opacus.grad_sample import GradSampleModule

    torch = peers.torch_module()
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    model = GradSampleModule(peers.torch_network(PLAN, net), loss_reduction="sum")

    def call() -> list[tuple[Any, Any]]:
        model.zero_grad()
        (model(x) - y).square().sum().backward()
        return peers.pairs([p.grad_sample for p in model.parameters()])

    return call


def backpack_call(net: Network, X: Array, Y: Array) -> Any:
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad

    torch = peers.torch_module()
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    model = extend(peers.torch_network(PLAN, net))

    def call() -> list[tuple[Any, Any]]:
        model.zero_grad()
        with backpack(BatchGrad()):
            (model(x) - y).square().sum().backward()
        return peers.pairs([p.grad_batch for p in model.parameters()])

    return call


def jax_calls(net: Network, X: Array, Y: Array) -> dict[str, Any]:
    jax, jnp = peers.jax_modules(X.dtype.name)
    library, layers = peers.jax_library(), peers.our_layers(net, jnp.asarray)
    x, y = jnp.asarray(X), jnp.asarray(Y)
    gradients = jax.vmap(
        jax.grad(lambda w, x, y: ((peers.jax_outputs(PLAN, w, x) - y) ** 2).sum()), (None, 0, 0)
    )
    compiled = jax.jit(gradients)

    def by_hand(layers: Any, x: Any, y: Any, previous: Any) -> Any:
        a, deltas = peers.passes_by_hand(library, PLAN, layers, x, y)
        return [
            (delta[:, :, None] * below[:, None, :], delta)
            for below, delta in zip(a[:-1], deltas, strict=True)
        ]

    into_previous = jax.jit(by_hand, donate_argnums=3, keep_unused=True)
    held = [[(jnp.zeros((len(x), *W.shape)), jnp.zeros((len(x), *b.shape))) for W, b in layers]]

    def reusing() -> Any:
        held.append(jax.block_until_ready(into_previous(layers, x, y, held.pop())))
        return held[0]

    return {
        "JAX, vmap of grad": lambda: jax.block_until_ready(compiled(layers, x, y)),
        "JAX, by hand": reusing,
    }


if __name__ == "__main__":
    main()
