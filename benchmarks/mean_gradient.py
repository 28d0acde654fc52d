"""W10: the gradient of the mean cost of 10,000 examples, 784-30-10, sigmoid, quadratic cost.

    python benchmarks/mean_gradient.py --mnist DIRECTORY [--rounds 5] [--dtype float32]

NumPy and PyTorch by hand take all rows at once, and in blocks of 1,000 that stay in the cache.
"""

from __future__ import annotations

from typing import Any

import machine
import numpy as np
import peers
from machine import OURS, Array, Session

N, SIZES, BLOCK = 10_000, (784, 30, 10), 1000


def main() -> None:
    session = Session(__doc__)
    X, Y = session.mnist(N)
    plan = peers.Plan(SIZES, ("sigmoid",) * 2, "quadratic", "sgd", 0.1, batch=N)
    net = plan.network(session.dtype)
    out = np.empty(net.n_parameters, session.dtype)
    calls: dict[str, Any] = {OURS: lambda: net.gradient(X, Y, out=out).vector}
    layers = peers.our_layers(net, np.asarray)
    for name, block in (("NumPy, by hand", N), ("NumPy, by hand in blocks", BLOCK)):
        calls[name] = by_hand(peers.numpy_library(), plan, layers, X, Y, block)
    if peers.installed(session, "torch", "PyTorch"):
        calls.update(torch_calls(plan, net, X, Y))
    if peers.installed(session, "jax", "JAX"):
        calls.update(jax_calls(plan, net, X, Y))
    calls = {name: call for name, call in calls.items() if session.wanted(name)}
    peers.require_same_results(
        session,
        calls,
        lambda result: peers.side_by_side(result, 1) if isinstance(result, list) else result,
    )
    session.report(
        "W10",
        f"mean gradient of {N:,} examples, 784-30-10",
        {name: machine.repeated(call, 3) for name, call in calls.items()},
        unit="ms",
        limit=session.limits.seconds_of_arithmetic(
            N * machine.gradient_multiply_adds(SIZES),
            N * machine.n_exponentials(SIZES, plan.activations),
        ),
        target=1.7,
    )
    session.finish()


def by_hand(
    library: peers.Library, plan: peers.Plan, layers: Any, X: Any, Y: Any, block: int
) -> Any:
    """The four equations on matrices of ``block`` rows; NumPy or PyTorch."""

    def of_block(x: Any, y: Any) -> list[Any]:
        a, deltas = peers.passes_by_hand(library, plan, layers, x, y, N)
        sums = [
            (delta.T @ below, delta.sum(0)) for below, delta in zip(a[:-1], deltas, strict=True)
        ]
        return [array for pair in sums for array in pair]

    return lambda: peers.pairs(peers.summed_in_blocks(of_block, block, X, Y))


def torch_calls(plan: peers.Plan, net: Any, X: Array, Y: Array) -> dict[str, Any]:
    torch = peers.torch_module()
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    layers = peers.our_layers(net, torch.from_numpy)
    model = peers.torch_network(plan, net)

    def autograd() -> Any:
        model.zero_grad()
        ((model(x) - y).square().sum() / N).backward()
        return peers.pairs([p.grad for p in model.parameters()])

    calls = {"PyTorch, modules": autograd}
    for name, block in (("PyTorch, by hand", N), ("PyTorch, by hand in blocks", BLOCK)):
        call = by_hand(peers.torch_library(), plan, layers, x, y, block)
        calls[name] = torch.no_grad()(call)
    return calls


def jax_calls(plan: peers.Plan, net: Any, X: Array, Y: Array) -> dict[str, Any]:
    jax, jnp = peers.jax_modules(X.dtype.name)
    layers, x, y = peers.our_layers(net, jnp.asarray), jnp.asarray(X), jnp.asarray(Y)
    compiled = jax.jit(jax.grad(lambda w, x, y: peers.jax_cost(plan, w, x, y)))
    return {"JAX, grad": lambda: jax.block_until_ready(compiled(layers, x, y))}


if __name__ == "__main__":
    main()
