"""What is made of single examples' gradients, of input derivatives and of curvature, in one run.

    python benchmarks/per_example.py --mnist DIRECTORY [--only norms,clipped] [--markdown]

784-128-64-10, sigmoid, quadratic cost; a table each (their names are those of --only):

gradients       every gradient of 256 examples, beside writing as many bytes (as W8)
norms           the norms of 4,096 gradients, beside the passes that make the δ (as W9)
clipped         the mean of 4,096 gradients, each shortened to the median of their norms
gram            the inner products of all pairs of 1,024 gradients
moments         mean and variance of every derivative over 4,096 examples
hessian         Hv of the mean cost of 4,096 examples, beside its gradient
input_jacobian  ∂a/∂x of 1,024 examples

By hand are the formulas that make no gradient of a single example, in NumPy, PyTorch and JAX: on
all rows at once, and, where sums are wanted, in blocks that stay in the cache. Every result is
compared with ours before it is timed, each weight matrix and each bias by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import gradient_norms
import machine
import numpy as np
import peers
import per_example_gradients
from gradient_norms import squared_norms
from machine import OURS, Array, Session
from per_example_gradients import PLAN, SIZES

from cbackprop import Gradient, Network

N, N_GRAM, N_INPUT_JACOBIAN, BLOCK = 4096, 1024, 1024, 256
F = machine.forward_multiply_adds(SIZES)
F_ABOVE = machine.forward_multiply_adds(SIZES[1:])  # without the first layer
EXPS = machine.n_exponentials(SIZES, PLAN.activations)

Calls = dict[str, Callable[[], Any]]


def hidden_options(parser: argparse.ArgumentParser) -> None:
    """The NumPy reference in the place of the compiled core: to try the script, not to time it."""
    parser.add_argument("--backend", default="compiled", help=argparse.SUPPRESS)


def main() -> None:
    session = Session(__doc__, extra=hidden_options, parts=tuple(TABLES))
    net = PLAN.network(session.dtype, session.options.backend)
    X, Y = session.mnist(N)
    for part in session.parts:
        TABLES[part](session, net, X, Y)
    session.finish()


# ---- the tables ----------------------------------------------------------------------------------


def gradients(session: Session, net: Network, X: Array, Y: Array) -> None:
    n = per_example_gradients.N
    per_example_gradients.measure(session, "gradients", net, X[:n], Y[:n], target=1.5)


def norms(session: Session, net: Network, X: Array, Y: Array) -> None:
    slow = ("PyTorch, torch.func",)  # some 150 times as slow as the others: W9 has it
    gradient_norms.measure(session, "norms", net, X, Y, leave_out=slow)


def clipped(session: Session, net: Network, X: Array, Y: Array) -> None:
    table(
        session,
        "clipped",
        f"mean of {len(X):,} clipped gradients",
        clipped_calls(session, net, X, Y),
        multiply_adds=len(X) * (2 * F + F_ABOVE),
        exponentials=len(X) * EXPS,
        yardstick=lambda: net.gradient(X, Y),
        most=1.2,
    )


def gram(session: Session, net: Network, X: Array, Y: Array) -> None:
    n = N_GRAM
    pairs, widths = n * (n + 1) // 2, sum(SIZES[:-1]) + sum(SIZES[1:])
    table(
        session,
        "gram",
        f"inner products of {n:,} gradients",
        gram_calls(session, net, X[:n], Y[:n]),
        multiply_adds=n * (F + F_ABOVE) + pairs * widths,
        exponentials=n * EXPS,
    )


def moments(session: Session, net: Network, X: Array, Y: Array) -> None:
    table(
        session,
        "moments",
        f"mean and variance of {len(X):,} gradients",
        moments_calls(session, net, X, Y),
        multiply_adds=len(X) * (3 * F + F_ABOVE),
        exponentials=len(X) * EXPS,
        yardstick=lambda: net.gradient(X, Y),
    )


def hessian(session: Session, net: Network, X: Array, Y: Array) -> None:
    table(
        session,
        "hessian",
        f"Hessian-vector product of {len(X):,} examples",
        hessian_calls(session, net, X, Y),
        multiply_adds=len(X) * (3 * F + 5 * F_ABOVE),
        exponentials=len(X) * EXPS,
        yardstick=lambda: net.gradient(X, Y),
    )


def input_jacobian(session: Session, net: Network, X: Array, Y: Array) -> None:
    n = N_INPUT_JACOBIAN
    below = machine.forward_multiply_adds(SIZES[:-1])  # the last layer's W is scaled, no more
    table(
        session,
        "input_jacobian",
        f"input Jacobian of {n:,} examples",
        input_jacobian_calls(session, net, X[:n]),
        multiply_adds=n * (F + SIZES[-1] * below),
        exponentials=n * EXPS,
    )


TABLES: dict[str, Callable[[Session, Network, Array, Array], None]] = {
    "gradients": gradients,
    "norms": norms,
    "clipped": clipped,
    "gram": gram,
    "moments": moments,
    "hessian": hessian,
    "input_jacobian": input_jacobian,
}


def table(
    session: Session,
    part: str,
    title: str,
    calls: Calls,
    *,
    multiply_adds: int,
    exponentials: int,
    yardstick: Callable[[], Any] | None = None,
    most: float | None = None,
) -> None:
    """Compare the results, then run all in turn; the yardstick is the gradient of the same mean."""
    peers.require_same_results(session, calls, in_parts)
    yardsticks = {} if yardstick is None else {"cbackprop, the mean gradient": yardstick}
    session.report(
        part,
        f"{title}, {peers.named(SIZES)}",
        {name: machine.repeated(call, 1) for name, call in (calls | yardsticks).items()},
        unit="ms",
        limit=session.limits.seconds_of_arithmetic(multiply_adds, exponentials),
        yardsticks=list(yardsticks),
        most=most,
    )


def in_parts(result: Any) -> Any:
    """A gradient, or several, as a list of W's and b's arrays; other arrays as they are."""
    if isinstance(result, Gradient):
        layers = zip(result.weights, result.biases, strict=True)
        return [array for layer in layers for array in layer]
    if isinstance(result, tuple):
        return [array for gradient in result for array in in_parts(gradient)]
    return result


def all_at_once_and_in_blocks(of_block: Callable[..., list[Any]], name: str, *rows: Any) -> Calls:
    """A sum over the examples, on all rows and in blocks of them."""
    return {
        name: lambda: of_block(*rows),
        f"{name} in blocks": lambda: peers.summed_in_blocks(of_block, BLOCK, *rows),
    }


def wanted(session: Session, calls: Calls) -> Calls:
    return {name: call for name, call in calls.items() if session.wanted(name)}


# ---- clipped gradients ---------------------------------------------------------------------------


def clipped_by_hand(
    library: peers.Library, layers: Any, x: Any, y: Any, n: int, max_norm: float
) -> list[Any]:
    """Norms from δ and a, then scaled δ and one product a layer."""
    a, deltas = peers.passes_by_hand(library, PLAN, layers, x, y)
    scale = (max_norm * squared_norms(a, deltas) ** -0.5).clip(max=1) / n
    sums: list[Any] = []
    for below, delta in zip(a[:-1], deltas, strict=True):
        scaled = delta * scale[:, None]
        sums += [scaled.T @ below, scaled.sum(0)]
    return sums


def clipped_calls(session: Session, net: Network, X: Array, Y: Array) -> Calls:
    n = len(X)
    max_norm = float(np.median(net.gradient_norms(X, Y)))
    calls: Calls = {OURS: lambda: net.clipped_gradient(X, Y, max_norm)}
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)

    def numpy_by_hand(x: Array, y: Array) -> list[Array]:
        return clipped_by_hand(library, layers, x, y, n, max_norm)

    calls |= all_at_once_and_in_blocks(numpy_by_hand, "NumPy, by hand", X, Y)
    if peers.installed(session, "torch", "PyTorch"):
        torch = peers.torch_module()
        torch_library = peers.torch_library()
        torch_layers = peers.our_layers(net, torch.from_numpy)

        @torch.no_grad()
        def torch_by_hand(x: Any, y: Any) -> list[Any]:
            return clipped_by_hand(torch_library, torch_layers, x, y, n, max_norm)

        calls |= all_at_once_and_in_blocks(
            torch_by_hand, "PyTorch, by hand", torch.from_numpy(X), torch.from_numpy(Y)
        )
    if peers.usable(session, "opacus", "Opacus"):
        calls["Opacus, ghost clipping"] = opacus_clipped(net, X, Y, max_norm)
    if peers.installed(session, "jax", "JAX"):
        calls["JAX, by hand"] = jax_call(
            net,
            lambda library, layers, x, y: clipped_by_hand(library, layers, x, y, n, max_norm),
            X,
            Y,
        )
    return wanted(session, calls)


def opacus_clipped(net: Network, X: Array, Y: Array, max_norm: float) -> Callable[[], Any]:
    """A backward pass for the norms, and one of the costs scaled; the graph serves both."""
    torch = peers.torch_module()
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    model = peers.opacus_ghost_model(PLAN, net)

    def call() -> list[Any]:
        model.zero_grad()
        costs = (model(x) - y).square().sum(1)
        costs.sum().backward(retain_graph=True)
        scale = (max_norm / model.get_norm_sample()).clamp(max=1).detach() / len(x)
        model.zero_grad()
        model.disable_hooks()
        (scale * costs).sum().backward()
        model.enable_hooks()
        return [p.grad.clone() for p in model.parameters()]

    return call


def jax_call(net: Network, by_hand: Callable[..., Any], *arrays: Array) -> Callable[[], Any]:
    """The same formulas, compiled by JAX."""
    jax, jnp = peers.jax_modules(arrays[0].dtype.name)
    library, layers = peers.jax_library(), peers.our_layers(net, jnp.asarray)
    compiled = jax.jit(lambda layers, *arrays: by_hand(library, layers, *arrays))
    own = [jnp.asarray(array) for array in arrays]
    return lambda: jax.block_until_ready(compiled(layers, *own))


# ---- inner products ------------------------------------------------------------------------------


def gram_by_hand(library: peers.Library, layers: Any, x: Any, y: Any) -> Any:
    """Σ_l (δ_i · δ_j)(a_i · a_j + 1), in place where the library can."""
    a, deltas = peers.passes_by_hand(library, PLAN, layers, x, y)
    total = None
    for below, delta in zip(a[:-1], deltas, strict=True):
        product = below @ below.T
        product += 1
        product *= delta @ delta.T
        if total is None:
            total = product
        else:
            total += product
    return total


def gram_calls(session: Session, net: Network, X: Array, Y: Array) -> Calls:
    calls: Calls = {OURS: lambda: net.gradient_gram(X, Y)}
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)
    calls["NumPy, by hand"] = lambda: gram_by_hand(library, layers, X, Y)
    if peers.installed(session, "torch", "PyTorch"):
        torch = peers.torch_module()
        torch_library = peers.torch_library()
        torch_layers = peers.our_layers(net, torch.from_numpy)
        x, y = torch.from_numpy(X), torch.from_numpy(Y)
        calls["PyTorch, by hand"] = torch.no_grad()(
            lambda: gram_by_hand(torch_library, torch_layers, x, y)
        )
    if peers.installed(session, "jax", "JAX"):
        calls["JAX, by hand"] = jax_call(net, gram_by_hand, X, Y)
    return wanted(session, calls)


# ---- moments -------------------------------------------------------------------------------------


def sums_by_hand(library: peers.Library, layers: Any, x: Any, y: Any) -> list[Any]:
    """Σ g and Σ g² of every derivative: (δ_j a_k)² is a product of squares. All of Σ g first."""
    a, deltas = peers.passes_by_hand(library, PLAN, layers, x, y)
    sums: list[Any] = []
    squares: list[Any] = []
    for below, delta in zip(a[:-1], deltas, strict=True):
        delta_squares = delta * delta
        sums += [delta.T @ below, delta.sum(0)]
        squares += [delta_squares.T @ (below * below), delta_squares.sum(0)]
    return [*sums, *squares]


def moments_of(sums: list[Any], n: int) -> list[Any]:
    """Mean, and the mean of the squares less the mean's square: ours squares the deviations."""
    half = len(sums) // 2
    mean = [total / n for total in sums[:half]]
    variance = [total / n - m * m for total, m in zip(sums[half:], mean, strict=True)]
    return [*mean, *variance]


def moments_calls(session: Session, net: Network, X: Array, Y: Array) -> Calls:
    n = len(X)
    calls: Calls = {OURS: lambda: net.gradient_moments(X, Y)}
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)
    sums = all_at_once_and_in_blocks(
        lambda x, y: sums_by_hand(library, layers, x, y), "NumPy, by hand", X, Y
    )
    if peers.installed(session, "torch", "PyTorch"):
        torch = peers.torch_module()
        torch_library = peers.torch_library()
        torch_layers = peers.our_layers(net, torch.from_numpy)
        x, y = torch.from_numpy(X), torch.from_numpy(Y)
        sums |= all_at_once_and_in_blocks(
            torch.no_grad()(lambda x, y: sums_by_hand(torch_library, torch_layers, x, y)),
            "PyTorch, by hand",
            x,
            y,
        )
    if peers.usable(session, "backpack", "BackPACK"):
        sums["BackPACK"] = backpack_sums(net, X, Y)
    calls |= {name: moments_from(call, n) for name, call in sums.items()}
    if peers.installed(session, "jax", "JAX"):
        calls["JAX, by hand"] = jax_call(
            net,
            lambda library, layers, x, y: moments_of(sums_by_hand(library, layers, x, y), n),
            X,
            Y,
        )
    return wanted(session, calls)


def moments_from(sums: Callable[[], list[Any]], n: int) -> Callable[[], list[Any]]:
    return lambda: moments_of(sums(), n)


def backpack_sums(net: Network, X: Array, Y: Array) -> Callable[[], Any]:
    from backpack import backpack, extend
    from backpack.extensions import SumGradSquared

    torch = peers.torch_module()
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    model = extend(peers.torch_network(PLAN, net))

    def call() -> list[Any]:
        model.zero_grad()
        with backpack(SumGradSquared()):
            (model(x) - y).square().sum().backward()
        parameters = list(model.parameters())
        return [p.grad for p in parameters] + [p.sum_grad_squared for p in parameters]

    return call


# ---- curvature -----------------------------------------------------------------------------------


def hessian_by_hand(
    library: peers.Library, layers: Any, directions: Any, x: Any, y: Any, n: int
) -> list[Any]:
    """Pearlmutter's R{}: the derivative along v of every line of both passes; sigmoid only.

    V and c stand for v's part of W and b. σ″ R{z} = (1 − 2a) σ′ R{z} = (1 − 2a) R{a}.
    """
    a, R_a = [x], [None]
    for (W, b), (V, c) in zip(layers, directions, strict=True):
        R_z = library.linear(a[-1], V, c)
        if R_a[-1] is not None:
            R_z += R_a[-1] @ W.T
        a.append(library.sigmoid(library.linear(a[-1], W, b)))
        R_a.append(peers.derivative_by_hand("sigmoid", a[-1]) * R_z)
    dC_da, R_dC_da = (2 / n) * (a[-1] - y), (2 / n) * R_a[-1]
    products: list[Any] = []
    for l in range(len(layers) - 1, -1, -1):
        da_dz = peers.derivative_by_hand("sigmoid", a[l + 1])
        delta = dC_da * da_dz
        R_delta = R_dC_da * da_dz + dC_da * ((1 - 2 * a[l + 1]) * R_a[l + 1])
        H_W = R_delta.T @ a[l]
        if l > 0:
            H_W += delta.T @ R_a[l]
            dC_da = delta @ layers[l][0]
            R_dC_da = R_delta @ layers[l][0] + delta @ directions[l][0]
        products = [H_W, R_delta.sum(0), *products]
    return products


def hessian_calls(session: Session, net: Network, X: Array, Y: Array) -> Calls:
    n = len(X)
    v = np.random.default_rng(2).standard_normal(net.n_parameters).astype(session.dtype)
    direction = Gradient(v, 0.0, net.sizes)
    parts = list(zip(direction.weights, direction.biases, strict=True))
    calls: Calls = {
        OURS: lambda: Gradient(net.hessian_vector_product(X, Y, v), 0.0, net.sizes),
    }
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)

    def numpy_by_hand(x: Array, y: Array) -> list[Array]:
        return hessian_by_hand(library, layers, parts, x, y, n)

    calls |= all_at_once_and_in_blocks(numpy_by_hand, "NumPy, by hand", X, Y)
    if peers.installed(session, "torch", "PyTorch"):
        calls |= torch_hessian_calls(net, parts, X, Y)
    if peers.installed(session, "jax", "JAX"):
        jax, jnp = peers.jax_modules(session.dtype)
        directions = [(jnp.asarray(V), jnp.asarray(c)) for V, c in parts]
        calls["JAX, by hand"] = jax_call(
            net,
            lambda library, layers, x, y, *v: hessian_by_hand(
                library, layers, peers.pairs(v), x, y, n
            ),
            X,
            Y,
            *in_parts(direction),
        )

        @jax.jit
        def jvp_of_grad(layers: Any, directions: Any, x: Any, y: Any) -> Any:
            gradient = jax.grad(lambda w: peers.jax_cost(PLAN, w, x, y))
            return jax.jvp(gradient, (layers,), (directions,))[1]

        jax_layers, x, y = peers.our_layers(net, jnp.asarray), jnp.asarray(X), jnp.asarray(Y)
        calls["JAX, jvp of grad"] = lambda: jax.tree.leaves(
            jax.block_until_ready(jvp_of_grad(jax_layers, directions, x, y))
        )
    return wanted(session, calls)


def torch_hessian_calls(net: Network, parts: Any, X: Array, Y: Array) -> Calls:
    torch = peers.torch_module()
    library, layers = peers.torch_library(), peers.our_layers(net, torch.from_numpy)
    x_all, y_all, n = torch.from_numpy(X), torch.from_numpy(Y), len(X)
    directions = [(torch.from_numpy(V.copy()), torch.from_numpy(c.copy())) for V, c in parts]

    @torch.no_grad()
    def by_hand(x: Any, y: Any) -> list[Any]:
        return hessian_by_hand(library, layers, directions, x, y, n)

    gradient = torch.func.grad(peers.torch_total_cost(PLAN))

    def jvp_of_grad(layers: Any, directions: Any, x: Any, y: Any) -> Any:
        return torch.func.jvp(lambda w: gradient(w, x, y), (layers,), (directions,))[1]

    def called(function: Any) -> Callable[[], list[Any]]:
        return lambda: [H / n for pair in function(layers, directions, x_all, y_all) for H in pair]

    calls = all_at_once_and_in_blocks(by_hand, "PyTorch, by hand", x_all, y_all)
    calls["PyTorch, jvp of grad"] = called(jvp_of_grad)
    compiled = peers.torch_compiled(jvp_of_grad, layers, directions, x_all, y_all)
    if compiled is not None:
        calls["PyTorch, jvp of grad compiled"] = called(compiled)
    return calls


# ---- input Jacobian ------------------------------------------------------------------------------


def rows_before_the_last_product(library: peers.Library, layers: Any, x: Any) -> Any:
    """∂a⁽ᴸ⁾/∂z⁽¹⁾ as n n_L rows of n_1: times W⁽¹⁾ they are ∂a⁽ᴸ⁾/∂x."""
    a = peers.forward_by_hand(library, PLAN, layers, x)
    rows = peers.derivative_by_hand(PLAN.activations[-1], a[-1])[:, :, None] * layers[-1][0]
    for l in range(len(layers) - 2, -1, -1):
        rows *= peers.derivative_by_hand(PLAN.activations[l], a[l + 1])[:, None, :]
        if l > 0:
            rows = (rows.reshape(-1, rows.shape[2]) @ layers[l][0]).reshape(len(x), -1, SIZES[l])
    return rows.reshape(-1, rows.shape[2])


def input_jacobian_calls(session: Session, net: Network, X: Array) -> Calls:
    shape = (len(X), net.sizes[-1], net.sizes[0])
    calls: Calls = {OURS: lambda: net.input_jacobian(X)}

    def into(out: Any, library: Any, layers: Any, x: Any, matmul: Any, size: int) -> Any:
        """By hand into a reused array, so many examples at a time."""

        def call() -> Any:
            for rows, target in peers.blocks(size, x, out):
                last = rows_before_the_last_product(library, layers, rows)
                matmul(last, layers[0][0], out=target.reshape(len(last), shape[2]))
            return out

        return call

    sizes = {"by hand": len(X), "by hand in blocks": BLOCK // shape[1]}
    library, layers = peers.numpy_library(), peers.our_layers(net, np.asarray)
    for name, size in sizes.items():
        out = np.empty(shape, session.dtype)
        calls[f"NumPy, {name}"] = into(out, library, layers, X, np.matmul, size)
    if peers.installed(session, "torch", "PyTorch"):
        torch = peers.torch_module()
        library, layers = peers.torch_library(), peers.our_layers(net, torch.from_numpy)
        x = torch.from_numpy(X)
        for name, size in sizes.items():
            out = torch.empty(shape, dtype=x.dtype)
            calls[f"PyTorch, {name}"] = torch.no_grad()(
                into(out, library, layers, x, torch.matmul, size)
            )
        calls |= torch_func_input_jacobian(library, layers, x)
    if peers.installed(session, "jax", "JAX"):
        jax, jnp = peers.jax_modules(session.dtype)
        calls["JAX, by hand"] = jax_call(
            net,
            lambda library, layers, x: (
                rows_before_the_last_product(library, layers, x) @ layers[0][0]
            ).reshape(shape),
            X,
        )
        jacobian = jax.jit(
            jax.vmap(jax.jacrev(lambda x, w: peers.jax_outputs(PLAN, w, x)), (0, None))
        )
        jax_layers, jax_x = peers.our_layers(net, jnp.asarray), jnp.asarray(X)
        calls["JAX, vmap of jacrev"] = lambda: jax.block_until_ready(jacobian(jax_x, jax_layers))
    return wanted(session, calls)


def torch_func_input_jacobian(library: peers.Library, layers: Any, x: Any) -> Calls:
    torch = peers.torch_module()

    def outputs(x: Any, layers: Any) -> Any:
        return peers.forward_by_hand(library, PLAN, layers, x)[-1]

    jacobian = torch.func.vmap(torch.func.jacrev(outputs), in_dims=(0, None))
    return {"PyTorch, torch.func": lambda: jacobian(x, layers)}


if __name__ == "__main__":
    main()
