"""W9: the norm of each of 4,096 examples' gradient, 784-128-64-10, sigmoid, quadratic cost.

    python benchmarks/gradient_norms.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

By hand: ‖∇C_i‖² = Σ over layers of ‖δ_i‖² (‖a_i‖² + 1), so that no gradient is ever made.
torch.func makes them all, 256 examples at a time.
"""

from __future__ import annotations

from typing import Any

import machine
import numpy as np
import peers
from machine import OURS, Array, Session

N, SIZES = 4096, (784, 128, 64, 10)


def squared_norms(a: list[Any], deltas: list[Any]) -> Any:
    return sum(
        (delta * delta).sum(1) * ((below * below).sum(1) + 1)
        for below, delta in zip(a[:-1], deltas, strict=True)
    )


def main() -> None:
    session = Session(__doc__)
    X, Y = session.mnist(N)
    plan = peers.Plan(SIZES, ("sigmoid",) * 3, "quadratic", "sgd", 0.1, batch=1)
    net = plan.network(session.dtype)
    calls: dict[str, Any] = {}
    if hasattr(net, "gradient_norms"):
        calls[OURS] = lambda: net.gradient_norms(X, Y)
    else:
        print("gradient_norms is not in this version of cbackprop: peers only")
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)

    def numpy_by_hand() -> Array:
        a = peers.forward_by_hand(library, plan, layers, X)
        return np.sqrt(squared_norms(a, peers.deltas_by_hand(plan, layers, a, 2 * (a[-1] - Y))))

    calls["NumPy, by hand"] = numpy_by_hand
    if peers.installed(session, "torch", "PyTorch"):
        calls.update(torch_calls(plan, net, X, Y))
    if peers.installed(session, "jax", "JAX"):
        calls.update(jax_calls(plan, net, X, Y))
    calls = {name: call for name, call in calls.items() if session.wanted(name)}
    machine.require_same(
        {name: call() for name, call in calls.items()},
        1e-4 if session.dtype == "float32" else 1e-12,
    )
    forward = machine.forward_multiply_adds
    session.report(
        "W9",
        f"norms of {N:,} examples' gradients, 784-128-64-10",
        {name: machine.repeated(call, 1) for name, call in calls.items()},
        unit="ms",
        limit=session.limits.seconds_of_arithmetic(
            N * (forward(SIZES) + forward(SIZES[1:])),
            N * machine.n_exponentials(SIZES, plan.activations),
        ),
        target=1.28,
    )
    session.finish()


def torch_calls(plan: peers.Plan, net: Any, X: Array, Y: Array) -> dict[str, Any]:
    torch = peers.torch_module()
    library, layers = peers.torch_library(), peers.our_layers(net, torch.from_numpy)
    x_all, y_all = torch.from_numpy(X), torch.from_numpy(Y)

    @torch.no_grad()
    def by_hand() -> Any:
        a = peers.forward_by_hand(library, plan, layers, x_all)
        return squared_norms(a, peers.deltas_by_hand(plan, layers, a, 2 * (a[-1] - y_all))).sqrt()

    def cost(layers: Any, x: Any, y: Any) -> Any:
        return (peers.forward_by_hand(library, plan, layers, x)[-1] - y).square().sum()

    gradients = torch.func.vmap(torch.func.grad(cost), in_dims=(None, 0, 0))

    def by_torch_func() -> Any:
        norms = []
        for x, y in zip(x_all.split(256), y_all.split(256), strict=True):
            pairs = gradients(layers, x, y)
            parts = [g.flatten(1).square().sum(1) for pair in pairs for g in pair]
            norms.append(torch.stack(parts).sum(0).sqrt())
        return torch.cat(norms)

    return {"PyTorch, by hand": by_hand, "PyTorch, torch.func": by_torch_func}


def jax_calls(plan: peers.Plan, net: Any, X: Array, Y: Array) -> dict[str, Any]:
    jax, jnp = peers.jax_modules(X.dtype.name)
    library, layers = peers.jax_library(), peers.our_layers(net, jnp.asarray)
    x, y = jnp.asarray(X), jnp.asarray(Y)

    @jax.jit
    def by_hand(layers: Any, x: Any, y: Any) -> Any:
        a = peers.forward_by_hand(library, plan, layers, x)
        deltas = peers.deltas_by_hand(plan, layers, a, 2 * (a[-1] - y))
        return jnp.sqrt(squared_norms(a, deltas))

    return {"JAX, by hand": lambda: jax.block_until_ready(by_hand(layers, x, y))}


if __name__ == "__main__":
    main()
