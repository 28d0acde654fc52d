"""W9: the norm of each of 4,096 examples' gradient, 784-128-64-10, sigmoid, quadratic cost.

    python benchmarks/gradient_norms.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

By hand: ‖∇C_i‖² = Σ over layers of ‖δ_i‖² (‖a_i‖² + 1), so that no gradient is ever made, on all
rows at once or in blocks of 256 that stay in the cache. torch.func makes the gradients, 256
examples at a time. Ours is measured by the passes that make the δ, as the mean gradient runs them.
"""

from __future__ import annotations

from typing import Any

import machine
import numpy as np
import peers
from machine import OURS, Array, Session
from per_example_gradients import PLAN, SIZES

from cbackprop import Network, backend

N, BLOCK = 4096, 256


def squared_norms(a: list[Any], deltas: list[Any]) -> Any:
    return sum(
        (delta * delta).sum(1) * ((below * below).sum(1) + 1)
        for below, delta in zip(a[:-1], deltas, strict=True)
    )


def main() -> None:
    session = Session(__doc__)
    measure(session, "W9", PLAN.network(session.dtype), *session.mnist(N), target=1.28)
    session.finish()


def measure(
    session: Session,
    workload: str,
    net: Network,
    X: Array,
    Y: Array,
    target: float | None = None,
    leave_out: tuple[str, ...] = (),
) -> None:
    n = len(X)
    calls = all_calls(session, net, X, Y)
    calls = {name: call for name, call in calls.items() if name not in leave_out}
    peers.require_same_results(session, calls, lambda result: result)
    yardsticks = {}
    if net.backend == "compiled":
        deltas_pass, engine = backend.kernels(session.dtype).deltas_pass, net._engine
        yardsticks["cbackprop, the passes alone"] = lambda: deltas_pass(engine, X, Y)
    forward = machine.forward_multiply_adds
    session.report(
        workload,
        f"norms of {n:,} examples' gradients, {peers.named(net.sizes)}",
        {name: machine.repeated(call, 1) for name, call in (calls | yardsticks).items()},
        unit="ms",
        limit=session.limits.seconds_of_arithmetic(
            n * (forward(SIZES) + forward(SIZES[1:])),
            n * machine.n_exponentials(SIZES, PLAN.activations),
        ),
        target=target,
        yardsticks=list(yardsticks),
        most=1.1,
    )


def all_calls(session: Session, net: Network, X: Array, Y: Array) -> dict[str, Any]:
    calls: dict[str, Any] = {OURS: lambda: net.gradient_norms(X, Y)}
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)

    def numpy_by_hand(x: Array, y: Array) -> Array:
        return np.sqrt(squared_norms(*peers.passes_by_hand(library, PLAN, layers, x, y)))

    calls["NumPy, by hand"] = lambda: numpy_by_hand(X, Y)
    calls["NumPy, by hand in blocks"] = lambda: np.concatenate(
        [numpy_by_hand(*rows) for rows in peers.blocks(BLOCK, X, Y)]
    )
    if peers.installed(session, "torch", "PyTorch"):
        calls.update(torch_calls(net, X, Y))
    if peers.usable(session, "opacus", "Opacus"):
        calls["Opacus, ghost norms"] = opacus_call(net, X, Y)
    if peers.usable(session, "backpack", "BackPACK"):
        calls["BackPACK"] = backpack_call(net, X, Y)
    if peers.installed(session, "jax", "JAX"):
        calls.update(jax_calls(net, X, Y))
    return {name: call for name, call in calls.items() if session.wanted(name)}


def torch_calls(net: Network, X: Array, Y: Array) -> dict[str, Any]:
    torch = peers.torch_module()
    library, layers = peers.torch_library(), peers.our_layers(net, torch.from_numpy)
    x_all, y_all = torch.from_numpy(X), torch.from_numpy(Y)

    @torch.no_grad()
    def by_hand(x: Any, y: Any) -> Any:
        return squared_norms(*peers.passes_by_hand(library, PLAN, layers, x, y)).sqrt()

    gradients = torch.func.vmap(torch.func.grad(peers.torch_total_cost(PLAN)), (None, 0, 0))

    def by_torch_func(x: Any, y: Any) -> Any:
        parts = [g.flatten(1).square().sum(1) for pair in gradients(layers, x, y) for g in pair]
        return torch.stack(parts).sum(0).sqrt()

    def in_blocks(of_block: Any) -> Any:
        return lambda: torch.cat([of_block(*rows) for rows in peers.blocks(BLOCK, x_all, y_all)])

    return {
        "PyTorch, by hand": lambda: by_hand(x_all, y_all),
        "PyTorch, by hand in blocks": in_blocks(by_hand),
        "PyTorch, torch.func": in_blocks(by_torch_func),
    }


def opacus_call(net: Network, X: Array, Y: Array) -> Any:
    torch = peers.torch_module()
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    model = peers.opacus_ghost_model(PLAN, net)

    def call() -> Any:
        model.zero_grad()
        (model(x) - y).square().sum().backward()
        return model.get_norm_sample().detach()

    return call


def backpack_call(net: Network, X: Array, Y: Array) -> Any:
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    torch = peers.torch_module()
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    model = extend(peers.torch_network(PLAN, net))

    def call() -> Any:
        model.zero_grad()
        with backpack(BatchL2Grad()):
            (model(x) - y).square().sum().backward()
        return torch.stack([p.batch_l2 for p in model.parameters()]).sum(0).sqrt()

    return call


def jax_calls(net: Network, X: Array, Y: Array) -> dict[str, Any]:
    jax, jnp = peers.jax_modules(X.dtype.name)
    library, layers = peers.jax_library(), peers.our_layers(net, jnp.asarray)
    x, y = jnp.asarray(X), jnp.asarray(Y)

    @jax.jit
    def by_hand(layers: Any, x: Any, y: Any) -> Any:
        return jnp.sqrt(squared_norms(*peers.passes_by_hand(library, PLAN, layers, x, y)))

    return {"JAX, by hand": lambda: jax.block_until_ready(by_hand(layers, x, y))}


if __name__ == "__main__":
    main()
