"""W13: the derivative of the output by every parameter, 8-32-32-1, tanh, 1,000 examples.

    python benchmarks/jacobian.py [--rounds 5] [--dtype float32]

Random data. By hand means δ_j a_k for each example as for a gradient, with δ = ∂a/∂z at the output.
"""

from __future__ import annotations

from typing import Any

import machine
import numpy as np
import peers
from machine import OURS, Array, Session

N, SIZES = 1000, (8, 32, 32, 1)


def main() -> None:
    session = Session(__doc__)
    X = session.normal(N, 8)
    plan = peers.Plan(SIZES, ("tanh",) * 3, "quadratic", "sgd", 0.1, batch=1)
    net = plan.network(session.dtype)
    P = machine.n_parameters(SIZES)
    calls: dict[str, Any] = {}
    if hasattr(net, "jacobian"):
        out = np.empty((N, 1, P), session.dtype)
        calls[OURS] = lambda: net.jacobian(X, out=out)
    else:
        print("jacobian is not in this version of cbackprop: peers only")
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)
    numpy_out = np.empty((N, P), session.dtype)
    views = peers.example_views(numpy_out, SIZES)
    one = np.ones((), session.dtype)

    def numpy_by_hand() -> Array:
        a = peers.forward_by_hand(library, plan, layers, X)
        deltas = peers.deltas_by_hand(plan, layers, a, one)
        for (da_dW, da_db), below, delta in zip(views, a[:-1], deltas, strict=True):
            np.multiply(delta[:, :, None], below[:, None, :], out=da_dW)
            da_db[...] = delta
        return numpy_out

    calls["NumPy, by hand"] = numpy_by_hand
    if peers.installed(session, "torch", "PyTorch"):
        calls.update(torch_calls(plan, net, X))
    if peers.installed(session, "jax", "JAX"):
        calls.update(jax_calls(plan, net, X))
    calls = {name: call for name, call in calls.items() if session.wanted(name)}
    peers.require_same_results(
        session,
        calls,
        lambda result: peers.side_by_side(result, N) if isinstance(result, list) else result,
    )
    session.report(
        "W13",
        f"Jacobian of {N:,} examples, 8-32-32-1",
        {name: machine.repeated(call, 20) for name, call in calls.items()},
        unit="ms",
        limit=session.limits.seconds_of_arithmetic(N * machine.gradient_multiply_adds(SIZES)),
        limited_by="multiply-adds at the peak",
        target=3.7,
    )
    session.finish()


def torch_calls(plan: peers.Plan, net: Any, X: Array) -> dict[str, Any]:
    torch = peers.torch_module()
    library, layers = peers.torch_library(), peers.our_layers(net, torch.from_numpy)
    x = torch.from_numpy(X)
    out = torch.zeros((N, machine.n_parameters(SIZES)), dtype=x.dtype)
    views, one = peers.example_views(out, SIZES), torch.ones((), dtype=x.dtype)

    @torch.no_grad()
    def by_hand() -> Any:
        a = peers.forward_by_hand(library, plan, layers, x)
        deltas = peers.deltas_by_hand(plan, layers, a, one)
        for (da_dW, da_db), below, delta in zip(views, a[:-1], deltas, strict=True):
            torch.mul(delta[:, :, None], below[:, None, :], out=da_dW)
            da_db.copy_(delta)
        return out

    def outputs(layers: Any, x: Any) -> Any:
        return peers.forward_by_hand(library, plan, layers, x)[-1]

    jacobian = torch.func.vmap(torch.func.jacrev(outputs), in_dims=(None, 0))
    calls = {"PyTorch, by hand": by_hand, "PyTorch, torch.func": lambda: jacobian(layers, x)}
    compiled = peers.torch_compiled(jacobian, layers, x)
    if compiled is not None:
        calls["PyTorch, torch.func compiled"] = lambda: compiled(layers, x)
    return calls


def jax_calls(plan: peers.Plan, net: Any, X: Array) -> dict[str, Any]:
    jax, jnp = peers.jax_modules(X.dtype.name)
    layers, x = peers.our_layers(net, jnp.asarray), jnp.asarray(X)
    jacobian = jax.vmap(jax.jacrev(lambda w, x: peers.jax_outputs(plan, w, x)), (None, 0))
    compiled = jax.jit(jacobian)
    return {"JAX, vmap of jacrev": lambda: jax.block_until_ready(compiled(layers, x))}


if __name__ == "__main__":
    main()
