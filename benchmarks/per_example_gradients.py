"""W8: the gradient of each of 256 examples, 784-128-64-10, sigmoid, quadratic cost.

    python benchmarks/per_example_gradients.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

By hand means δ_j a_k for each example, written into one reused array of 256 × 109,386 numbers where
the library can; all are limited by writing it.
"""

from __future__ import annotations

from typing import Any

import machine
import numpy as np
import peers
from machine import OURS, Array, Session

N, SIZES = 256, (784, 128, 64, 10)


def main() -> None:
    session = Session(__doc__)
    X, Y = session.mnist(N)
    plan = peers.Plan(SIZES, ("sigmoid",) * 3, "quadratic", "sgd", 0.1, batch=1)
    net = plan.network(session.dtype)
    P = machine.n_parameters(SIZES)
    out = np.empty((N, P), session.dtype)
    calls: dict[str, Any] = {OURS: lambda: net.gradient(X, Y, per_example=True, out=out).vector}
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)
    numpy_out = np.empty_like(out)
    views = peers.example_views(numpy_out, SIZES)

    def numpy_by_hand() -> Array:
        a = peers.forward_by_hand(library, plan, layers, X)
        deltas = peers.deltas_by_hand(plan, layers, a, 2 * (a[-1] - Y))
        for (dC_dW, dC_db), below, delta in zip(views, a[:-1], deltas, strict=True):
            np.multiply(delta[:, :, None], below[:, None, :], out=dC_dW)
            dC_db[...] = delta
        return numpy_out

    calls["NumPy, by hand"] = numpy_by_hand
    if peers.installed(session, "torch", "PyTorch"):
        calls.update(torch_calls(plan, net, X, Y))
    if peers.installed(session, "jax", "JAX"):
        calls.update(jax_calls(plan, net, X, Y))
    calls = {name: call for name, call in calls.items() if session.wanted(name)}
    results = {name: call() for name, call in calls.items()}
    machine.require_same(
        {
            name: peers.side_by_side(result, N) if isinstance(result, list) else result
            for name, result in results.items()
        },
        1e-4 if session.dtype == "float32" else 1e-12,
    )
    session.report(
        "W8",
        f"gradients of {N} examples, 784-128-64-10",
        {name: machine.repeated(call, 3) for name, call in calls.items()},
        unit="ms",
        limit=out.nbytes / session.limits.bytes_written,
        limited_by=f"{out.nbytes / 1e6:.0f} MB written to memory",
        target=1.6,
    )
    session.finish()


def torch_calls(plan: peers.Plan, net: Any, X: Array, Y: Array) -> dict[str, Any]:
    torch = peers.torch_module()
    library, layers = peers.torch_library(), peers.our_layers(net, torch.from_numpy)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    out = torch.zeros((N, machine.n_parameters(SIZES)), dtype=x.dtype)
    views = peers.example_views(out, SIZES)

    @torch.no_grad()
    def by_hand() -> Any:
        a = peers.forward_by_hand(library, plan, layers, x)
        deltas = peers.deltas_by_hand(plan, layers, a, 2 * (a[-1] - y))
        for (dC_dW, dC_db), below, delta in zip(views, a[:-1], deltas, strict=True):
            torch.mul(delta[:, :, None], below[:, None, :], out=dC_dW)
            dC_db.copy_(delta)
        return out

    @torch.no_grad()
    def einsum() -> Any:
        a = peers.forward_by_hand(library, plan, layers, x)
        deltas = peers.deltas_by_hand(plan, layers, a, 2 * (a[-1] - y))
        return [
            (torch.einsum("nj,nk->njk", delta, below), delta)
            for below, delta in zip(a[:-1], deltas, strict=True)
        ]

    def cost(layers: Any, x: Any, y: Any) -> Any:
        return (peers.forward_by_hand(library, plan, layers, x)[-1] - y).square().sum()

    gradients = torch.func.vmap(torch.func.grad(cost), in_dims=(None, 0, 0))
    return {
        "PyTorch, by hand": by_hand,
        "PyTorch, einsum": einsum,
        "PyTorch, torch.func": lambda: gradients(layers, x, y),
    }


def jax_calls(plan: peers.Plan, net: Any, X: Array, Y: Array) -> dict[str, Any]:
    jax, jnp = peers.jax_modules(X.dtype.name)
    layers, x, y = peers.our_layers(net, jnp.asarray), jnp.asarray(X), jnp.asarray(Y)
    gradients = jax.vmap(
        jax.grad(lambda w, x, y: ((peers.jax_outputs(plan, w, x) - y) ** 2).sum()), (None, 0, 0)
    )
    compiled = jax.jit(gradients)
    return {"JAX, vmap of grad": lambda: jax.block_until_ready(compiled(layers, x, y))}


if __name__ == "__main__":
    main()
