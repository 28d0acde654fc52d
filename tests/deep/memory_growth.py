"""The process does not grow: a million small calls, and thousands of each other kind.

Resident memory after a warm-up and at the end of each kind of call; the difference stays below one
MiB. Growth in the first half alone is a warm-up that was too short: judged is the second half.

    PYTHONPATH=src python tests/deep/memory_growth.py [--quick]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from cbackprop import Network

MOST = 1 << 20  # bytes


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def refused(call: Callable[[], Any], error: type[Exception]) -> None:
    with contextlib.suppress(error):
        call()
        raise AssertionError("the call was to be refused")


def calls(folder: str) -> dict[str, tuple[int, Callable[[], Any]]]:
    """How often, and what."""
    generator = np.random.default_rng(0)
    path = os.path.join(folder, "model")
    x, y = generator.normal(size=4), np.full(3, 0.5)
    X, Y = generator.normal(size=(64, 20)), np.full((64, 10), 0.5)
    tiny = Network([4, 5, 3], seed=1)
    tiny.partial_fit(x, y, optimizer="adam", learning_rate=1e-6)
    tiny_reference = Network([4, 5, 3], seed=1, backend="reference")
    net, threaded = Network([20, 40, 10], seed=1), Network([20, 300, 300, 10], seed=1, threads=2)
    linear = Network([20, 10], "identity", seed=1)
    v = np.ones(net.n_parameters)
    net.save(path)
    broken = os.path.join(folder, "broken")
    with open(path, "rb") as good, open(broken, "wb") as file:
        file.write(good.read()[:-1])
    bad = X.copy()
    bad[3, 2] = np.nan

    def fit(optimizer: str, **options: Any) -> Callable[[], Any]:
        subject = net.copy()
        options = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-6, **options}
        if optimizer == "levenberg_marquardt":
            del options["learning_rate"]
        return lambda: subject.fit(X, Y, optimizer=optimizer, **options)

    return {
        "predict": (10**6, lambda: tiny.predict(x)),
        "partial_fit": (10**6, lambda: tiny.partial_fit(x, y)),
        "predict, reference": (10**5, lambda: tiny_reference.predict(x)),
        "predict, many": (10**5, lambda: net.predict(X)),
        "predict, lists": (10**4, lambda: net.predict(X.tolist())),
        "partial_fit, many": (10**5, lambda: net.partial_fit(X, Y)),
        "partial_fit, two threads": (10**3, lambda: threaded.partial_fit(X, Y)),
        "forward": (10**4, lambda: net.forward(X)),
        "backward": (10**4, lambda: net.backward(X, Y)),
        "cost": (10**5, lambda: net.cost(X, Y)),
        "gradient": (10**5, lambda: net.gradient(X, Y)),
        "gradient per example": (10**4, lambda: net.gradient(X, Y, per_example=True)),
        "norms": (10**4, lambda: net.gradient_norms(X, Y)),
        "clipped gradient": (10**4, lambda: net.clipped_gradient(X, Y, 0.1)),
        "Gram matrix": (10**4, lambda: net.gradient_gram(X, Y)),
        "moments": (10**4, lambda: net.gradient_moments(X, Y)),
        "Jacobian": (10**3, lambda: net.jacobian(X)),
        "input Jacobian": (10**4, lambda: net.input_jacobian(X)),
        "vjp": (10**4, lambda: net.vjp(X, Y)),
        "jvp": (10**4, lambda: net.jvp(X, v)),
        "Hessian product": (10**4, lambda: net.hessian_vector_product(X, Y, v)),
        "chain rule": (10**4, lambda: str(net.chain_rule(X[0], Y[0]).activation(1, 2))),
        "construct": (10**4, lambda: Network([20, 40, 10], seed=1)),
        "copy": (10**4, lambda: net.copy()),
        "reset": (10**4, lambda: net.reset(1)),
        "save": (10**3, lambda: net.save(path)),
        "load": (10**4, lambda: Network.load(path)),
        "fit, adam": (10**3, fit("adam")),
        "fit, options": (10**3, fit("sgd", dropout=0.3, l2=0.1, max_norm=1.0, metrics="mse")),
        "fit, clipped": (10**3, fit("sgd", clip_norm=0.1, noise_multiplier=1.0)),
        "fit, held out": (10**3, fit("rmsprop", validation_fraction=0.2, early_stopping=1)),
        "fit, lbfgs": (10**3, fit("lbfgs")),
        "fit, levenberg_marquardt": (10, fit("levenberg_marquardt", epochs=1)),
        "refused: shape": (10**4, lambda: refused(lambda: net.predict(X[:, :3]), ValueError)),
        "refused: NaN": (10**4, lambda: refused(lambda: net.fit(bad, Y), ValueError)),
        "refused: NaN, per example": (
            10**4,
            lambda: refused(lambda: net.gradient(bad, Y, per_example=True), ValueError),
        ),
        "refused: divergence": (
            10**3,
            lambda: refused(
                lambda: linear.fit(X, Y, epochs=5, learning_rate=1e300), FloatingPointError
            ),
        ),
        "refused: file": (10**4, lambda: refused(lambda: Network.load(broken), ValueError)),
        "refused: sizes": (10**4, lambda: refused(lambda: Network([4, 0]), ValueError)),
    }


def growth(count: int, call: Callable[[], Any]) -> int:
    """Bytes that the second half of so many calls adds."""
    for _ in range(min(count // 2, 1000)):
        call()
    sizes = []
    for _ in range(3):
        gc.collect()
        sizes.append(resident())
        if len(sizes) < 3:
            for _ in range(count // 2):
                call()
    return sizes[2] - sizes[1]


def report(passed: bool | None, did: str, figure: str) -> int:
    print(json.dumps({"part": "memory growth", "did": did, "figure": figure, "passed": passed}))
    return 1 if passed is False else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the calls")
    quick = parser.parse_args().quick
    if not sys.platform.startswith("linux"):
        return report(None, "skipped: resident memory is read from Linux's /proc", "")
    total, worst, too_much = 0, (0, ""), []
    with tempfile.TemporaryDirectory() as folder:
        for name, (count, call) in calls(folder).items():
            count = max(count // 20, 10) if quick else count
            grown = growth(count, call)
            total += count
            worst = max(worst, (grown, name))
            print(f"{name:<26} {count:>8} calls {grown:>9} bytes", flush=True)
            if grown >= MOST:
                too_much.append(name)
    figure = f"{total} calls; the most was {worst[0]} bytes ({worst[1] or 'none'})"
    if too_much:
        figure += f"; too much in {', '.join(too_much)}"
    return report(not too_much, "resident memory over the second half of each kind's calls", figure)


if __name__ == "__main__":
    raise SystemExit(main())
