"""W11: the outputs for one example, 784-30-10, sigmoid: one call.

    python benchmarks/predict_one.py --mnist DIRECTORY [--rounds 7] [--dtype float32]

Into a reused array, and into a new one. scikit-learn's classifier has softmax outputs: other work.
"""

from __future__ import annotations

import warnings
from typing import Any

import machine
import numpy as np
import peers
from machine import OURS, Array, Session

SIZES, CALLS = (784, 30, 10), 2000


def main() -> None:
    session = Session(__doc__, rounds=7)
    X, Y = session.mnist(1000)
    plan = peers.Plan(SIZES, ("sigmoid",) * 2, "quadratic", "sgd", 0.1, batch=1)
    net = plan.network(session.dtype)
    x, out = X[0].copy(), np.empty(10, session.dtype)
    peers_calls: dict[str, Any] = {}
    if peers.installed(session, "torch", "PyTorch"):
        peers_calls.update(torch_calls(plan, net, x))
    if peers.installed(session, "jax", "JAX"):
        peers_calls.update(jax_calls(plan, net, x))
    other_work = [peers.SCIKIT_LEARN]
    limit = net.n_parameters * X.itemsize / session.limits.bytes_read_from_cache
    for title, target, ours, reused in (
        ("into a reused array", 7.0, lambda: net.predict(x, out=out), True),
        ("into a new array", None, lambda: net.predict(x), False),
    ):
        calls = {OURS: ours, "NumPy, by hand": numpy_call(net, x, reused), **peers_calls}
        calls = {name: call for name, call in calls.items() if session.wanted(name)}
        machine.require_same(
            {name: call() for name, call in calls.items()},
            1e-5 if session.dtype == "float32" else 1e-13,
        )
        if peers.installed(session, "sklearn", peers.SCIKIT_LEARN) and session.wanted(
            peers.SCIKIT_LEARN
        ):
            calls[peers.SCIKIT_LEARN] = scikit_learn_call(X, Y)
        session.report(
            "W11",
            f"outputs for one example {title}, 784-30-10",
            {name: machine.repeated(call, CALLS) for name, call in calls.items()},
            unit="µs",
            limit=limit,
            limited_by=f"{net.n_parameters * X.itemsize / 1e3:.0f} kB read from the cache",
            target=target,
            other_work=other_work,
        )
    session.finish()


def numpy_call(net: Any, x: Array, reused: bool) -> Any:
    (W1, b1), (W2, b2) = peers.our_layers(net, np.asarray)
    a1, a2, one = np.empty(30, x.dtype), np.empty(10, x.dtype), x.dtype.type(1)

    def in_place() -> Array:
        below = x
        for W, b, a in ((W1, b1, a1), (W2, b2, a2)):
            np.dot(W, below, out=a)
            np.add(a, b, out=a)
            np.negative(a, out=a)
            np.exp(a, out=a)
            np.add(a, one, out=a)
            np.reciprocal(a, out=a)
            below = a
        return a2

    def new() -> Array:
        a = one / (one + np.exp(-(W1 @ x + b1)))
        return one / (one + np.exp(-(W2 @ a + b2)))

    return in_place if reused else new


def torch_calls(plan: peers.Plan, net: Any, x: Array) -> dict[str, Any]:
    torch = peers.torch_module()
    (W1, b1), (W2, b2) = peers.our_layers(net, torch.from_numpy)
    model, example = peers.torch_network(plan, net), torch.from_numpy(x)

    @torch.inference_mode()
    def by_hand() -> Any:
        return torch.addmv(b2, W2, torch.addmv(b1, W1, example).sigmoid_()).sigmoid_()

    @torch.inference_mode()
    def modules() -> Any:
        return model(example)

    return {"PyTorch, by hand": by_hand, "PyTorch, modules": modules}


def jax_calls(plan: peers.Plan, net: Any, x: Array) -> dict[str, Any]:
    jax, jnp = peers.jax_modules(x.dtype.name)
    layers, example = peers.our_layers(net, jnp.asarray), jnp.asarray(x)
    outputs = jax.jit(lambda layers, x: peers.jax_outputs(plan, layers, x))
    return {"JAX": lambda: jax.block_until_ready(outputs(layers, example))}


def scikit_learn_call(X: Array, Y: Array) -> Any:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((30,), activation="logistic", max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one pass is not meant to converge
        model.fit(X, Y.argmax(axis=1))
    example = X[:1]
    return lambda: model.predict_proba(example)


if __name__ == "__main__":
    main()
